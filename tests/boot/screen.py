#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The screen as real systems use it, read back as text and as pictures.

    screen.py RING3 ENGINE CASE

Each case is a function below whose first line says what it shows. Exit code 0 passed, 1 failed, 77
skipped because the guest was never fetched.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'screen'))
import harness
import rfb
from harness import Failed, expect, picture

RING3 = sys.argv[1]
ENGINE = sys.argv[2]
WORDS = 'quiet rdinit=/init panic=-1 cryptomgr.notests no_timer_check'
# In one piece: Linux 6.1 forgets to flush writes of exactly one line.
DRAW = '''dmesg -n 1
cat /proc/fb
seq 1 40 > /dev/tty0
cat /sys/class/graphics/fb0/virtual_size
echo bits $(cat /sys/class/graphics/fb0/bits_per_pixel)
echo 0 > /sys/class/graphics/fbcon/cursor_blink
tr '\\0' '\\377' </dev/zero | dd of=/dev/fb0 bs=65536 count=1 iflag=fullblock
sleep 1
echo drawn
sleep 1000
'''


def run(folder, options, append, code=0, seconds=120, script=None, modules=''):
    """A guest with its console in result.stdout."""
    initrd = harness.initramfs(folder + '/initramfs.gz', script=script, modules=modules)
    result = subprocess.run([RING3, 'run', '--engine', ENGINE, '--timeout', f'{seconds}s',
                             *options, '--initrd', initrd, '--append', f'{append} {WORDS}',
                             harness.guest_files() + '/vmlinuz'], stdin=subprocess.DEVNULL,
                            capture_output=True, universal_newlines=True, check=False)
    if result.returncode != code:
        raise Failed(f'exit code {result.returncode}\n{result.stdout}\n{result.stderr}')
    return result


def console():
    """Linux's console on the VGA's text screen: a prompt, typing, what comes of it, scrolled."""
    with tempfile.TemporaryDirectory() as folder:
        text = folder + '/screen.txt'
        run(folder, ['--expect-screen', 'guest:.*#', '--type', 'seq 100 150; echo $((6*7)) "OK"<enter>',
                     '--expect-screen', '^42 OK$', '--screenshot', text],
            'console=ttyS0 console=tty0')
        with open(text, encoding='utf-8') as f:
            lines = f.read().split('\n')
    at = lines.index('42 OK')
    expect(lines[at - 15:at] == [str(n) for n in range(136, 151)], f'not scrolled: {lines}')


def check_drawn(folder, bits):
    width, height, rows = picture(folder + '/screen.png')
    expect((width, height) == (1024, 768), f'{width} by {height}')
    white = 65536 // (bits // 8) // 1024  # rows
    lit = sum(row.count(b'\xff') for row in rows[:white]) / (white * 3 * 1024)
    expect(lit > 0.8, f'{lit:.0%} of what was drawn is white')
    text = sum(row.count(b'\xaa') for row in rows[white:])
    expect(text > 500, f'{text} bytes of grey text')


def drm():
    """Linux's bochs-drm sets a mode and draws its console; a program draws, too."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(folder, ['--display', 'none', '--expect', '^drawn', '--screenshot',
                              folder + '/screen.png'], 'console=tty0 console=ttyS0', script=DRAW,
                     modules='bochs')
        expect('bochs-drmdrmfb\n1024,768\nbits 32' in result.stdout.replace('\r', ''), result.stdout)
        check_drawn(folder, 32)


def vesa():
    """The video BIOS sets a VESA mode for Linux's vesafb, which the command line asks for."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(folder, ['--firmware', '--expect', '^drawn', '--screenshot',
                              folder + '/screen.png'], 'vga=0x317 console=tty0 console=ttyS0',
                     script=DRAW)
        expect('VESA VGA\n1024,768\nbits 16' in result.stdout.replace('\r', ''), result.stdout)
        check_drawn(folder, 16)


def firmware():
    """SeaBIOS and its video BIOS on the text screen."""
    result = subprocess.run([RING3, 'run', '--engine', ENGINE, '--firmware', '--timeout', '60s',
                             '--expect-screen', '^SeaBIOS .version', '--expect-screen',
                             'No bootable device'], stdin=subprocess.DEVNULL, capture_output=True,
                            universal_newlines=True, check=False)
    expect(result.returncode == 0, result.stdout + result.stderr)


# ---- the graphical installer ----------------------------------------------------------------------


class Machine:
    """A running guest, its control socket and a VNC client that only points."""

    def __init__(self, folder, command):
        self.folder = folder
        self.process = subprocess.Popen([*command, '--control', folder + '/control', '--display',
                                         f'vnc=unix:{folder}/vnc'], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.vnc = rfb.Client(folder + '/vnc')
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(folder + '/control')
        self.file = self.socket.makefile('rw', encoding='utf-8')

    def run(self, command, *args):
        self.file.write(json.dumps({'command': command, 'args': args}) + '\n')
        self.file.flush()
        answer = json.loads(self.file.readline() or '{"ok": false}')
        if not answer['ok']:
            raise Failed(f'{command}: {answer}, exit code {self.process.poll()}')

    def look(self):
        self.run('screenshot', self.folder + '/screen.png')
        return picture(self.folder + '/screen.png')

    def wait_for(self, what, seen, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = seen(*self.look())
            if found:
                return found
            time.sleep(1)
        raise Failed(f'no {what} within {seconds} s')


def bars(width, height, rows):
    """First lines of what is marked in a list: over 30 times the same colour, which is no grey."""
    found = []
    for y in range(100, height - 60):
        middle = [rows[y][3 * x:3 * x + 3] for x in range(width // 2, width - 80, 4)]
        colour = middle[0]
        if middle.count(colour) == len(middle) and max(colour) - min(colour) > 40:
            if not found or y - found[-1][1] > 1:
                found.append([y, y])
            found[-1][1] = y
    return [first for first, last in found if last - first > 10]


def press_until(m, key, what, seen, times=12):
    """A key pressed before the program listens is lost."""
    for left in reversed(range(times)):
        m.run('type', key)
        try:
            return m.wait_for(what, seen, 10)
        except Failed:
            if not left:
                raise


def installer():
    """Debian's graphical installer: X shows its first question, keys and pointer move."""
    found = subprocess.run([os.path.join(harness.TOOLS, 'systems.sh'), '--cached', 'installer'],
                           stdout=subprocess.PIPE, universal_newlines=True, check=False)
    if found.returncode:
        harness.skip('the installer is not in the cache; tools/systems.sh installer makes it')
    files = found.stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        m = Machine(folder, [RING3, 'run', '--engine', ENGINE, '-m', '768M', '--firmware',
                             '--timeout', '850s', '--initrd', files + '/gtk-initrd.gz', '--append',
                             'vga=788 no_timer_check quiet', files + '/linux'])
        try:
            first = m.wait_for('list with a marked row', bars, 400)[0]
            press_until(m, '<down>', 'mark further down',
                        lambda *p: [y for y in bars(*p) if y > first])
            time.sleep(3)
            before = m.look()
            for x in range(100, 300, 10):
                m.vnc.point(x, 100)
            m.wait_for('pointer elsewhere', lambda *p: p != before, 60)
        finally:
            m.process.kill()
            m.process.communicate()


def main():
    case = globals()[sys.argv[3]]
    if case is firmware and not os.path.exists('/usr/share/seabios/bios-256k.bin'):
        harness.skip('SeaBIOS (package seabios) is not installed')
    try:
        case()
    except Failed as why:
        print(f'FAIL: {case.__name__} ({ENGINE}): {why}')
        return 1
    print(f'pass: {case.__name__} ({ENGINE}): {case.__doc__.splitlines()[0]}')
    return 0


sys.exit(main())
