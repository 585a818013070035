#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The screen from outside: text, pictures, a terminal, VNC, typing.

    screen.py RING3 GUEST MODES CASE

GUEST is tests/guest/vga.c, whose last word says what it leaves on the screen. MODES is the boot
sector modes.S. CASE is a function below; it passes by returning. Exit code 77: skipped, with a reason.
"""
import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zlib

import rfb

RING3, GUEST, MODES = sys.argv[1:4]
LIMIT = 30
SKIP = 77
ESC, F1, F2, RETURN = 0xff1b, 0xffbe, 0xffbf, 0xff0d


def check(condition, *what):
    if not condition:
        raise AssertionError(' '.join(str(w) for w in what))


def ring3(word, *options, limit=LIMIT):
    return subprocess.run([RING3, 'run', '-m', '64M', '--timeout', f'{LIMIT - 5}s', *options,
                           '--append', word, GUEST], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=limit, check=False)


def start(*options, word='keys', **more):
    return subprocess.Popen([RING3, 'run', '-m', '64M', '--timeout', f'{LIMIT}s', *options,
                             '--append', word, GUEST], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def wait_line(p, pattern):
    while True:
        line = p.stdout.readline().decode()
        check(line, 'ended before', pattern, p.stderr.read() if p.poll() is not None else '')
        if re.search(pattern, line):
            return


class Control:
    """A control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile('rw', encoding='utf-8')

    def run(self, command, *args):
        self.file.write(json.dumps({'command': command, 'args': args}) + '\n')
        self.file.flush()
        return json.loads(self.file.readline())


def read_png(path):
    """Width, height and rows of RGB bytes. Filters other than 0 are not what we write."""
    with open(path, 'rb') as f:
        data = f.read()
    check(data[:8] == b'\x89PNG\r\n\x1a\n', 'no PNG')
    at, packed, names = 8, b'', []
    while at < len(data):
        n, name = struct.unpack('>I4s', data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        check(struct.unpack('>I', data[at + 8 + n:at + 12 + n])[0] == zlib.crc32(name + body),
              'checksum of', name)
        names.append(name)
        if name == b'IHDR':
            width, height, depth, colour = struct.unpack('>IIBB', body[:10])
            check((depth, colour) == (8, 2), 'not RGB')
        if name == b'IDAT':
            packed += body
        at += 12 + n
    check(names == [b'IHDR', b'IDAT', b'IEND'], names)
    raw, row = zlib.decompress(packed), 1 + 3 * width
    check(len(raw) == row * height and not any(raw[::row]), 'rows')
    return width, height, [raw[y * row + 1:(y + 1) * row] for y in range(height)]


def pixel(rows, x, y):
    return tuple(rows[y][3 * x:3 * x + 3])


# ---- pictures and text ----------------------------------------------------------------------------


def text_file():
    """A file that ends in .txt gets the text screen."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/screen.txt'
        result = ring3('text', '--screenshot', path)
        check(result.returncode == 0, result.stderr)
        with open(path, encoding='utf-8') as f:
            lines = f.read().split('\n')
    check(len(lines) == 26 and lines[25] == '', len(lines), 'lines')
    check(lines[0] == 'ring3 vga guest', lines[0])
    check(lines[2] == '    ╔══╗ café', lines[2])
    check(lines[24] == ' ' * 79 + '!', lines[24])


def text_picture():
    """Characters have the font of the video BIOS, and colours."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/screen.png'
        result = ring3('text', '--screenshot', path)
        check(result.returncode == 0, result.stderr)
        width, height, rows = read_png(path)
    check((width, height) == (720, 400), width, height)
    colours = {pixel(rows, x, y) for y in range(16) for x in range(15 * 9)}
    check(colours <= {(0, 0, 0xaa), (255, 255, 255)}, colours)
    check(pixel(rows, 8, 8) == (0, 0, 0xaa), pixel(rows, 8, 8))
    cursor = [pixel(rows, 16 * 9, y) == (0xaa, 0xaa, 0xaa) for y in range(16)]
    check([y for y in range(16) if cursor[y]] == [13, 14], cursor)
    if not os.path.exists('/usr/share/seabios/vgabios-stdvga.bin'):
        return
    check(len(colours) == 2, 'no font')


def mode_13_picture():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/screen.png'
        result = ring3('mode13', '--screenshot', path)
        check(result.returncode == 0, result.stderr)
        width, height, rows = read_png(path)
    check((width, height) == (640, 400), width, height)
    for x, y in ((0, 0), (639, 0), (100, 57), (3, 399), (639, 399)):
        i = (x // 2 + y // 2) & 255
        six = (i >> 2, 63 - (i >> 2), i & 63)
        check(pixel(rows, x, y) == tuple(c << 2 | c >> 4 for c in six), x, y, pixel(rows, x, y))


def linear_picture():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/screen.png'
        result = ring3('linear', '--screenshot', path)
        check(result.returncode == 0, result.stderr)
        width, height, rows = read_png(path)
        check((width, height) == (640, 480), width, height)
        for x, y in ((0, 0), (639, 479), (300, 1)):
            check(pixel(rows, x, y) == (x & 255, y & 255, 0x80), x, y, pixel(rows, x, y))
        result = ring3('linear', '--screenshot', folder + '/screen.txt')
        check(result.returncode != 0 and b'[not-text]' in result.stderr, result.stderr)
        result = ring3('text', '--screenshot', folder + '/none/screen.png')
        check(result.returncode == 127 and b'[screenshot-failed]' in result.stderr, result.stderr)


# As in modes.S: mode, width, height. SeaBIOS draws single dots of modes with a byte a pixel within the
# first 64 KiB only: there the corners come round.
BIOS_MODES = (
    (0x04, 320, 200), (0x06, 640, 200), (0x0d, 320, 200), (0x0e, 640, 200), (0x10, 640, 350),
    (0x11, 640, 480), (0x12, 640, 480), (0x13, 320, 200), (0x101, 640, 480), (0x102, 800, 600),
    (0x103, 800, 600), (0x105, 1024, 768), (0x110, 640, 480), (0x111, 640, 480), (0x112, 640, 480),
    (0x115, 800, 600), (0x118, 1024, 768), (0x104, 1024, 512))
PACKED = (0x101, 0x103, 0x105)


def lit(rows, width):
    return {(x, y) for y, row in enumerate(rows) if any(row) for x in range(width)
            if any(row[3 * x:3 * x + 3])}


def corners(mode, width, height, shown_width):
    points = [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
    if mode in PACKED:
        at = [(y * width + x) % 65536 for x, y in points]
        points = [(a % width, a // width) for a in at]
    across, down = shown_width // width, 2 if height == 200 else 1
    return {(x * across + i, y * down + j) for x, y in points for i in range(across)
            for j in range(down)}


def bios_modes():
    """The video BIOS sets its modes, the CGA's, planes, mode 13h and VESA's from 4 to 32 bits, and the
    corners are where they belong."""
    if not os.path.exists('/usr/share/seabios/vgabios-stdvga.bin'):
        print('SeaBIOS (package seabios) is not installed')
        sys.exit(SKIP)
    with tempfile.TemporaryDirectory() as folder:
        with open(MODES, 'rb') as f, open(folder + '/disk.img', 'wb') as to:
            to.write(f.read().ljust(1 << 20, b'\0'))
        p = subprocess.Popen([RING3, 'run', '-m', '32M', '--disk', folder + '/disk.img', '--timeout',
                              '100s', '--control', folder + '/c'], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        run = None
        for n, (mode, width, height) in enumerate(BIOS_MODES):
            wait_line(p, chr(ord('a') + n) + '$')
            run = run or Control(folder + '/c').run
            check(run('screenshot', folder + '/screen.png')['ok'], 'no screenshot')
            w, h, rows = read_png(folder + '/screen.png')
            got, want = lit(rows, w), corners(mode, width, height, w)
            check(got == want, f'mode {mode:x}h, {w} by {h}:', sorted(got)[:9], sorted(want)[:9])
            check(run('type', 'x')['ok'], 'not typed')
        _, errors = p.communicate(timeout=LIMIT)
        check(p.returncode == 0, p.returncode, errors)


# ---- patterns and typing --------------------------------------------------------------------------


def expect_and_type():
    """Steps come in order; keys arrive as scan codes, with shift where it is needed."""
    result = ring3('keys', '--expect-screen', '^ring3 vga guest$', '--type', 'aB<f5><ctrl-del><esc>')
    check(result.returncode == 0, result.stderr)
    codes = [int(c, 16) for c in re.findall(r'^0x([0-9a-f]+)$', result.stdout.decode(), re.M)]
    want = [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa, 0x3f, 0xbf, 0x1d, 0xe0, 0x53, 0xe0, 0xd3, 0x9d, 1]
    check(codes == want, codes)
    result = ring3('keys', '--expect-screen', 'vga', '--expect-screen', 'caf.')
    check(result.returncode == 0 and b'[expect-matched]' in result.stderr, result.stderr)
    result = ring3('text', '--expect-screen', 'vga', '--expect-screen', 'not there')
    check(result.returncode == 125 and b'[expect-missed]' in result.stderr, result.stderr)
    check(b"'not there'" in result.stderr, result.stderr)
    result = ring3('keys', '--expect-screen', 'nowhere', '--timeout', '2s')
    check(result.returncode == 124 and b"--expect-screen 'nowhere'" in result.stderr, result.stderr)


def bad_options():
    for options, identifier in (
            (['--display', 'sdl'], b'bad-option'),
            (['--display', 'text'], b'no-terminal'),
            (['--display', 'vnc=here'], b'bad-option'),
            (['--display', 'vnc=:99999'], b'bad-option'),
            (['--display', 'vnc=:1,tls'], b'bad-option'),
            (['--display', 'vnc=:1,password-file=/nonexistent'], b'vnc-password'),
            (['--display', 'vnc=:1,password-file=/dev/null'], b'vnc-password'),
            (['--display', 'vnc=unix:/nonexistent/socket'], b'vnc-listen'),
            (['--display', 'vnc=unix:' + 'x' * 200], b'vnc-listen'),
            (['--display', 'vnc=no host:1'], b'vnc-listen'),
            (['--expect-screen', '('], b'bad-regex'),
            (['--type', '<nosuchkey>'], b'bad-keys'),
            (['--type', '\xe9'], b'bad-keys')):
        result = ring3('keys', *options)
        check(result.returncode in (125, 127), options, result.returncode)
        check(b'error [' + identifier + b']' in result.stderr, options, result.stderr)
    # A port that somebody has.
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = s.getsockname()[1]
        if port >= 5900:
            result = ring3('keys', '--display', f'vnc=:{port - 5900}')
            check(result.returncode == 125 and b'choose another N' in result.stderr, result.stderr)


def library_missing():
    """Without libvncserver the error names the package."""
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + '/libvncserver.so.1', 'w', encoding='ascii'):
            pass
        p = start('--display', f'vnc=unix:{folder}/socket',
                  env={**os.environ, 'LD_LIBRARY_PATH': folder})
        _, errors = p.communicate(timeout=LIMIT)
        check(p.returncode == 126 and b'apt install libvncserver1' in errors, p.returncode, errors)
        check(not os.path.exists(folder + '/socket'), 'the socket was left behind')


def commands():
    """The control socket's commands for the screen; and a snapshot, which goes on with the same
    screen: plain memory of the window, fonts and registers are in it."""
    with tempfile.TemporaryDirectory() as folder:
        p = start('--display', 'none', '--control', folder + '/c', '--type', '')
        wait_line(p, 'keys:')
        run = Control(folder + '/c').run
        screen = run('screen')
        check(screen['ok'] and screen['result']['screen'].startswith('ring3 vga guest\n'), screen)
        check(run('screenshot', folder + '/before.png')['ok'], 'no screenshot')
        check(run('type', 'x', 'y')['ok'], 'not typed')
        for code in ('0x2d', '0x39', '0x15', '0x95'):
            wait_line(p, f'^{code}$')
        check(run('type', '<nokey>')['error']['id'] == 'bad-keys', 'no such key')
        check(run('snapshot', folder + '/s')['ok'], 'no snapshot')
        check(run('type', '<esc>')['ok'], 'not typed')
        p.communicate(timeout=LIMIT)
        check(p.returncode == 0, p.returncode)
        result = subprocess.run([RING3, 'restore', '--timeout', '20s', '--screenshot',
                                 folder + '/after.png', '--expect-screen', '^ring3 vga guest$',
                                 '--type', '<f2>a<esc>', folder + '/s'], stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=LIMIT, check=False)
        check(result.returncode == 0, result.stdout, result.stderr)
        check(b'0x1e\n0x9e\n0x1\n' in result.stdout.replace(b'\r', b''), result.stdout)
        check(read_png(folder + '/before.png') == read_png(folder + '/after.png'), 'another screen')


# ---- a terminal -----------------------------------------------------------------------------------


class Terminal:
    """ring3 on a terminal of its own."""

    def __init__(self, *options, rows=25, columns=80, word='keys'):
        self.fd, self.slave = pty.openpty()
        self.modes = termios.tcgetattr(self.slave)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.output = b''
        self.process = subprocess.Popen([RING3, 'run', '-m', '64M', '--timeout', f'{LIMIT}s',
                                         *options, '--append', word, GUEST], stdin=self.slave,
                                        stdout=self.slave, stderr=subprocess.PIPE,
                                        start_new_session=True)

    def read(self, seconds=0.2):
        if select.select([self.fd], [], [], seconds)[0]:
            self.output += os.read(self.fd, 65536)

    def wait_for(self, pattern):
        end = time.monotonic() + LIMIT
        while not re.search(pattern, self.output):
            check(time.monotonic() < end, 'no', pattern, 'in', self.output)
            check(self.process.poll() is None, self.process.returncode, 'before', pattern)
            self.read()
        self.output = self.output[re.search(pattern, self.output).end():]

    def type(self, data):
        os.write(self.fd, data)

    def wait_exit(self, code):
        end = time.monotonic() + LIMIT
        while self.process.poll() is None:
            check(time.monotonic() < end, 'does not end')
            self.read()
        self.read(0)
        errors = self.process.stderr.read()
        check(self.process.returncode == code, self.process.returncode, errors)
        check(termios.tcgetattr(self.slave) == self.modes, 'the terminal was not restored')
        return errors


def terminal():
    """--display text: colours, cursor, graphics as a line, keys, and all of it back at the end."""
    t = Terminal('--display', 'text', '--expect', 'x{4}')
    t.wait_for(rb'\x1b\[\?1049h')
    t.wait_for(rb'\x1b\[97;44mring3 vga guest')
    t.wait_for('╔══╗ café'.encode())
    t.wait_for(rb'\x1b\[25;(1H *|80H)\x1b\[97;41m!')
    t.wait_for(rb'\x1b\[1;17H\x1b\[\?25h')
    time.sleep(0.3)
    t.read(0)
    check(not t.output, 'an unchanged screen was drawn again:', t.output)
    t.type(b'\x1bOP')  # F1
    t.wait_for(rb'graphics, 640 by 480')
    t.type(b'\x1bOQ')
    t.wait_for(rb'ring3 vga guest')
    t.type(b'\x01h')
    time.sleep(0.5)
    t.type(b' ')
    t.wait_for(rb'ring3 vga guest')
    t.type(b'\x01x')
    errors = t.wait_exit(0)
    check(b'Ctrl-a x' in errors, errors)
    check(re.search(rb'\x1b\[\?1049lring3 vga guest\r\n.*!\r\n$', t.output, re.S), t.output)


def terminal_small():
    """A terminal of few rows shows those around the cursor, and narrow ones what fits."""
    t = Terminal('--display', 'text', rows=10, columns=40)
    t.wait_for(rb'ring3 vga guest')
    t.wait_for('café'.encode())
    t.read(0.3)
    check(b'!' not in t.output, t.output)
    check(not re.search(rb'\x1b\[(1[1-9]|2\d);', t.output), t.output)
    fcntl.ioctl(t.slave, termios.TIOCSWINSZ, struct.pack('HHHH', 25, 80, 0, 0))
    t.wait_for(rb'\x1b\[25;(1H *|80H)\x1b\[97;41m!')
    t.type(b'\x1b')
    t.wait_exit(0)


# ---- VNC ------------------------------------------------------------------------------------------


def vnc():
    """A picture of the text screen, a key, another size, back again, and no socket at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/vnc'
        p = start('--display', 'vnc=unix:' + path)
        wait_line(p, 'keys:')
        check(os.stat(path).st_mode & 0o777 == 0o600, 'others may connect')
        c = rfb.Client(path)
        check(c.name == 'ring3' and c.kinds == [1], c.name, c.kinds)
        c.wait_for(lambda: (c.width, c.height) == (720, 400) and c.pixels.get((8, 8)) == 0x0000aa)
        check({c.pixels[x, y] for y in range(16) for x in range(135)} <= {0xaa, 0xffffff}, 'colours')
        c.key(ord('x'))
        wait_line(p, '^0x2d$')
        c.key(F1)
        c.wait_for(lambda: (c.width, c.height) == (640, 480) and
                   c.pixels.get((300, 479)) == (300 & 255) << 16 | (479 & 255) << 8 | 0x80)
        second = rfb.Client(path)
        second.wait_for(lambda: second.pixels.get((1, 1)) == 0x010180)
        second.close()
        c.key(F2)
        c.wait_for(lambda: (c.width, c.height) == (720, 400) and c.pixels.get((8, 8)) == 0x0000aa)
        c.read_on()
        c.key(ESC)
        _, errors = p.communicate(timeout=LIMIT)
        check(p.returncode == 0, p.returncode, errors)
        check(not os.path.exists(path), 'the socket was left behind')
        c.close()


def vnc_stale_socket():
    """A socket that nobody serves any more is replaced; one in use is not."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/vnc'
        p = start('--display', 'vnc=unix:' + path)
        rfb.Client(path).close()
        other = ring3('keys', '--display', 'vnc=unix:' + path)
        check(other.returncode == 125 and b'[vnc-listen]' in other.stderr, other.stderr)
        p.kill()
        p.communicate()
        p = start('--display', 'vnc=unix:' + path)
        c = rfb.Client(path)
        c.key(ESC)
        p.communicate(timeout=LIMIT)
        check(p.returncode == 0, p.returncode)


def vnc_password():
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + '/password', 'w', encoding='ascii') as f:
            f.write('sesame\n')
        p = start('--display', f'vnc=unix:{folder}/vnc,password-file={folder}/password')
        try:
            rfb.Client(folder + '/vnc', b'0' * 16)
            raise AssertionError('any answer is taken')
        except rfb.Refused:
            pass
        if rfb.answer(b'0' * 16, 'x') is None:
            print('openssl has no DES: the right password is not tried')
            p.kill()
            p.communicate()
            return
        c = rfb.Client(folder + '/vnc', 'sesame')
        check(c.kinds == [2], c.kinds)
        c.key(ESC)
        p.communicate(timeout=LIMIT)
        check(p.returncode == 0, p.returncode)


def vnc_tcp_is_local():
    """TCP without a host is bound to the loopback address; clients that send rubbish or nothing, or
    do not read, do no harm."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    if port < 5900:
        print('the kernel gives ports below 5900')
        sys.exit(SKIP)
    p = start('--display', f'vnc=:{port - 5900}')
    c = rfb.Client(port)
    with open('/proc/net/tcp', encoding='ascii') as f:
        listening = [line.split()[1] for line in f if line.split()[3] == '0A']
    check(f'0100007F:{port:04X}' in listening, listening)
    silent = socket.create_connection(('127.0.0.1', port))
    rude = socket.create_connection(('127.0.0.1', port))
    rude.sendall(bytes(range(256)) * 16)
    deaf = rfb.Client(port)
    for _ in range(50):
        deaf.ask(0)
    c.wait_for(lambda: c.pixels.get((8, 8)) == 0x0000aa)
    c.read_on()
    c.key(ESC)
    _, errors = p.communicate(timeout=LIMIT)
    check(p.returncode == 0, p.returncode, errors)
    silent.close()
    rude.close()


globals()[sys.argv[4]]()
