#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The command line from outside: exit codes, messages, terminal modes, signals, bad input.

    cli.py RING3 GUEST CASE

RING3 is the program, GUEST the multiboot guest of guest.S, CASE a function below. A case passes by
returning. Every wait has a limit, so a hang is a failure.
"""
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

RING3, GUEST = sys.argv[1], sys.argv[2]
GREETING = b'hello from the guest\r\n'
LIMIT = 20  # seconds until a wait is called a hang


def check(condition, *what):
    if not condition:
        raise AssertionError(' '.join(repr(w) if isinstance(w, bytes) else str(w) for w in what))


def ring3(*args, do=None, **more):
    command = [os.path.abspath(RING3), *args]
    if do:
        command += ['--append', 'do=' + do, GUEST]
    more.setdefault('stdin', subprocess.DEVNULL)
    more.setdefault('stdout', subprocess.PIPE)
    return subprocess.run(command, stderr=subprocess.PIPE, timeout=LIMIT, check=False, **more)


def one_line(result, code, identifier, level='error'):
    """Exit code `code` and exactly one line on stderr, with this id."""
    text = result.stderr.decode()
    check(result.returncode == code, 'exit code', result.returncode, 'not', code, text)
    check(re.fullmatch(rf'ring3: {level} \[{identifier}\] [^\n]+\n', text), 'stderr is', text)
    return text


def wait_for(read, pattern):
    """Read until the bytes match; returns all of them."""
    data, end = b'', time.monotonic() + LIMIT
    while not re.search(pattern, data):
        check(time.monotonic() < end, 'no', pattern, 'in', data)
        data += read()
    return data


def reader(fd):
    def read():
        ready, _, _ = select.select([fd], [], [], 0.2)
        if not ready:
            return b''
        data = os.read(fd, 65536)
        check(data, 'early end of output')
        return data
    return read


class Terminal:
    """ring3 on a terminal of its own (session leader, as under a login)."""

    def __init__(self, *args, do):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        os.set_inheritable(slave, True)

        def own_terminal():
            os.setsid()
            import fcntl
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            os.tcsetpgrp(slave, os.getpgrp())

        self.process = subprocess.Popen(
            [RING3, 'run', *args, '--append', 'do=' + do, GUEST], stdin=slave, stdout=slave,
            stderr=subprocess.PIPE, preexec_fn=own_terminal)
        self.read = reader(self.master)

    def wait_for(self, pattern):
        return wait_for(self.read, pattern)

    def type(self, keys):
        os.write(self.master, keys)

    def is_raw(self):
        modes = termios.tcgetattr(self.slave)
        return not modes[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def eventually(self, condition, what):
        end = time.monotonic() + LIMIT
        while not condition():
            check(time.monotonic() < end, 'never:', what)
            time.sleep(0.01)

    def finish(self):
        """Wait for the end; the terminal must be as it was. Returns (code, stderr)."""
        error = self.process.communicate(timeout=LIMIT)[1].decode()
        check(termios.tcgetattr(self.slave) == self.before, 'terminal modes not restored', error)
        os.close(self.master)
        os.close(self.slave)
        return self.process.returncode, error


# ---- the guest ends -------------------------------------------------------------------------------

def power_off():
    r = ring3('run', do='o')
    check(r.returncode == 0 and r.stdout == GREETING and r.stderr == b'', r)


def guest_code():
    r = ring3('run', do='3')
    check(r.returncode == 3 and r.stdout == GREETING and r.stderr == b'', r)


def triple_fault():
    r = ring3('run', do='t')
    check(r.returncode == 120, r)
    text = r.stderr.decode()
    check(text.startswith('ring3: error [triple-fault] '), text)
    for word in ('#GP', '#DF', 'branches', 'eip=', 'cr0='):
        check(word in text, word, 'missing in', text)


def guest_reset():
    one_line(ring3('run', do='r'), 122, 'guest-reset')


def reboot():
    # The whole greeting: the run ends as soon as the pattern is there, in the middle of a line.
    whole = ['--expect', 'hello from the guest']
    r = ring3('run', '--reboot', *whole, *whole, *whole, do='r')
    one_line(r, 0, 'expect-matched', 'info')
    check(r.stdout.count(GREETING.strip()) >= 3, r)  # it reboots on until the stop arrives


# ---- time limit and patterns ------------------------------------------------------------------------

def timeout():
    start = time.monotonic()
    text = one_line(ring3('run', '--timeout', '300ms', do='s'), 124, 'timeout')
    check(0.3 <= time.monotonic() - start < 5, text)
    text = one_line(ring3('run', '--timeout=300ms', '--expect', 'never', do='p'), 124, 'timeout')
    check("'never'" in text, text)


def expect():
    r = ring3('run', '--expect', '^guest login: ', do='p')
    one_line(r, 0, 'expect-matched', 'info')
    check(r.stdout == GREETING + b'guest login: ', r)
    one_line(ring3('run', '--expect', 'the$', '--timeout', '300ms', do='p'), 124, 'timeout')
    one_line(ring3('run', '--expect', 'guest$', do='o'), 0, 'expect-matched', 'info')


def expect_missed():
    text = one_line(ring3('run', '--expect', 'hello', '--expect', 'bye', do='o'), 125,
                    'expect-missed')
    check("'bye'" in text, text)
    check(ring3('run', '--expect', 'bye', do='3').returncode == 3)


def fail_on():
    one_line(ring3('run', '--fail-on', 'from', do='f'), 121, 'fail-on-matched')
    # the last output of a guest that ends at once counts, too
    one_line(ring3('run', '--fail-on', 'from', do='o'), 121, 'fail-on-matched')
    one_line(ring3('run', '--fail-on', 'from', '--expect', 'from the', do='o'), 121,
             'fail-on-matched')


# ---- bad input --------------------------------------------------------------------------------------

def files():
    one_line(ring3('run', '/nonexistent/kernel'), 127, 'kernel-missing')
    one_line(ring3('run', '--initrd', '/nonexistent/initrd', GUEST), 127, 'initrd-missing')
    with tempfile.TemporaryDirectory() as folder:
        one_line(ring3('run', folder), 125, 'kernel-unreadable')
        secret = os.path.join(folder, 'secret')
        with open(secret, 'wb') as f:
            f.write(b'x' * 10000)
        one_line(ring3('run', secret), 125, 'kernel-format')
        os.chmod(secret, 0)
        if not os.access(secret, os.R_OK):  # root may read everything
            one_line(ring3('run', secret), 125, 'kernel-unreadable')
        empty = os.path.join(folder, 'empty')
        with open(empty, 'wb'):
            pass
        one_line(ring3('run', empty), 125, 'kernel-empty')


def firmware():
    """Missing firmware is the host's lack, a named file that is missing is the user's; a kernel that
    firmware starts is looked at before the machine runs, and runs."""
    with tempfile.TemporaryDirectory() as folder:
        text = one_line(ring3('run', '--firmware', env={**os.environ, 'RING3_FIRMWARE': folder}), 126,
                        'firmware-missing')
        check('apt install seabios' in text and folder in text, text)
        one_line(ring3('run', '--bios', folder + '/none'), 127, 'firmware-missing')
        odd = os.path.join(folder, 'odd')
        with open(odd, 'wb') as f:
            f.write(b'x' * 10000)
        one_line(ring3('run', '--bios', odd), 125, 'firmware-size')
        one_line(ring3('run', '--firmware', odd), 125, 'kernel-format')
        with open(odd, 'wb') as f:
            f.write(b'\xf4' * 65536)  # the reset vector has HLT, interrupts are off
        one_line(ring3('run', '--bios', odd, '--timeout', '300ms'), 124, 'timeout')
    one_line(ring3('run', '--firmware', '/nonexistent/kernel'), 127, 'kernel-missing')
    one_line(ring3('run', '--firmware', '--boot', 'tape'), 125, 'bad-option')
    for memory in ('1M', '3G'):
        r = ring3('run', '-m', memory, '--firmware', '--expect', 'No bootable device')
        check(r.returncode == 0 and b'SeaBIOS' in r.stdout, r)
    r = ring3('run', '--firmware', do='3')
    check(r.returncode == 3 and r.stdout.endswith(GREETING), r)


def ram_size():
    for size in ('', 'x', '1.5G', '-1M', '12Q', '99999999999999999999'):
        one_line(ring3('run', '-m', size, GUEST), 125, 'bad-size')
    for size in ('0', '512K', '4G', '999999G', '1025K'):
        text = one_line(ring3('run', '-m', size, GUEST), 125, 'ram-size')
        check('1M' in text and '3072M' in text or '4K' in text, text)
    for size in ('2M', '131072K', '64', '3G'):
        check(ring3('run', '-m', size, do='o').returncode == 0, size)


def options():
    for args, identifier in (
            ((), 'no-command'), (('fly',), 'unknown-command'), (('run',), 'no-kernel'),
            (('run', '--fly', GUEST), 'unknown-option'), (('run', '-z', GUEST), 'unknown-option'),
            (('run', '-m'), 'bad-option'), (('run', '--append'), 'bad-option'),
            (('run', '--reboot=yes', GUEST), 'bad-option'),
            (('run', '--stats=xml', GUEST), 'bad-option'),
            (('run', '--clock', 'sun', GUEST), 'bad-option'),
            (('run', GUEST, 'more'), 'too-many-arguments'),
            (('run', '--engine', 'steam', GUEST), 'unknown-engine'),
            (('run', '--board', 'surf', GUEST), 'unknown-board'),
            (('run', '--timeout', 'soon', GUEST), 'bad-duration'),
            (('run', '--timeout', '0', GUEST), 'bad-duration'),
            (('run', '--expect', '(', GUEST), 'bad-regex'),
            (('run', '--fail-on', '[', GUEST), 'bad-regex'),
            (('run', '--trace', 'exits,dreams', GUEST), 'unknown-event'),
            (('run', '--trace', '', GUEST), 'unknown-event'),
            (('doctor', 'who'), 'too-many-arguments')):
        text = one_line(ring3(*args), 125, identifier)
        if identifier in ('unknown-option', 'unknown-command'):
            check('--help' in text, text)
    one_line(ring3('help', 'cooking'), 125, 'unknown-topic')
    for args in (('run', '--help'), ('--help',), ('help',), ('run', GUEST, '-h'),
                 ('help', 'boards'), ('help', 'disks'), ('help', 'translator')):
        r = ring3(*args)
        lines = r.stdout.decode().splitlines()
        check(r.returncode == 0 and r.stderr == b'', r)
        check(lines[0].startswith('usage:') or len(args) == 2, r)
        check(len(lines) <= 23 and max(map(len, lines)) <= 79, len(lines), max(map(len, lines)))


def drives():
    """Options that name drives, and what an image in place of a kernel is taken for."""
    with tempfile.TemporaryDirectory() as folder:
        def make(name, size, head=b''):
            path = os.path.join(folder, name)
            with open(path, 'wb') as f:
                f.write(head)
                f.truncate(size)
            return path
        disk = make('a,b.img', 1 << 20)
        doubled = disk.replace(',', ',,')
        check(ring3('run', '--disk', doubled + ',if=ide,unsafe', '--cdrom', '', do='o').returncode == 0)
        for args, code, identifier in (
                (('--disk', disk), 125, 'bad-option'), (('--disk', ''), 125, 'bad-option'),
                (('--disk', doubled + ',fast'), 125, 'bad-option'),
                (('--disk', folder + '/none'), 127, 'disk-missing'),
                (('--disk', folder), 125, 'disk-unreadable'),
                (('--disk', make('empty.img', 0)), 125, 'disk-empty'),
                (('--disk', make('q.img', 4096, b'QFI\xfb')), 125, 'disk-format'),
                (('--floppy', '') * 3, 125, 'too-many-floppies'),
                (('--cdrom', '') * 5, 125, 'too-many-ide'),
                (('--floppy', '') * 9, 125, 'too-many-drives')):
            one_line(ring3('run', *args, GUEST), code, identifier)
        text = ring3('run', '--disk', doubled, '--disk', doubled, GUEST).stderr
        check(b'disk-locked' in text, text)
        grub = b'\0' * 510 + b'\x55\xaa' + b'\0' * 8 + bytes.fromhex('02b0ad1b00000000fe4f52e4')
        for name, size, head, what in (
                ('f.img', 1474560, b'', b'floppy, by its size of 1.44M'),
                ('d.img', 1474561, b'', b'raw disk'), ('mbr.img', 1 << 20, grub, b'raw disk'),
                ('c.ISO', 1 << 20, b'', b'CD, by its name'),
                ('disc', 1 << 20, bytes(32769) + b'CD001', b'CD, by its contents'),
                ('x.qcow2', 1474560, b'', b'qcow2 disk')):
            text = ring3('run', '--timeout', '1s', make(name, size, head)).stderr
            check(b'[image]' in text and what in text, name, text)
        kernel = os.path.join(folder, 'kernel.img')
        shutil.copy(GUEST, kernel)
        r = ring3('run', kernel)
        check(r.stdout.startswith(GREETING) and b'[image]' not in r.stderr, r)


def image():
    """Disk images are made, copied, checked, repaired; nothing is overwritten."""
    with tempfile.TemporaryDirectory() as folder:
        def run(code, *args, identifier=None):
            r = ring3('image', *args, cwd=folder)
            check(r.returncode == code, args, r)
            check(not identifier or identifier.encode() in r.stderr, args, r.stderr)
            return r.stdout.decode()
        random = os.urandom(300000) + bytes(700000) + os.urandom(48576)
        with open(os.path.join(folder, 'a.img'), 'wb') as f:
            f.write(random)
        run(0, 'convert', 'a.img', 'a.qcow2')
        check('none leaked' in run(0, 'check', 'a.qcow2'))
        text = run(0, 'info', 'a.qcow2')
        check('1048576 bytes' in text and 'qcow2' in text, text)
        check(os.path.getsize(os.path.join(folder, 'a.qcow2')) < 800000)
        run(0, 'create', '-b', 'a.qcow2', 'b.qcow2')
        check('a.qcow2 (qcow2)' in run(0, 'info', 'b.qcow2'))
        run(0, 'convert', 'b.qcow2', 'b.img')
        with open(os.path.join(folder, 'b.img'), 'rb') as f:
            check(f.read() == random, 'the bytes differ')
        run(0, 'create', 'c.img', '3M')
        check(os.path.getsize(os.path.join(folder, 'c.img')) == 3 << 20)
        run(0, 'create', '-f', 'qcow2', 'd', '1G')
        check('1024.0 MiB' in run(0, 'info', '-f', 'qcow2', 'd'))
        run(125, 'create', 'c.img', '3M', identifier='disk-exists')
        run(125, 'convert', 'a.img', 'c.img', identifier='disk-exists')
        run(125, 'create', 'e.img', identifier='bad-usage')
        run(125, 'create', 'e.img', '0', identifier='image-size')
        run(125, 'create', '-b', 'a.img', 'e.img', identifier='bad-option')
        run(127, 'create', '-b', 'none.img', 'e.qcow2', identifier='disk-missing')
        run(127, 'info', 'none.img', identifier='disk-missing')
        run(125, 'info', '-f', 'vdi', 'a.img', identifier='bad-option')
        run(125, 'check', 'a.img', identifier='image-format')
        run(125, identifier='bad-usage')
        check(not os.path.exists(os.path.join(folder, 'e.qcow2')))
        with open(os.path.join(folder, 'a.qcow2'), 'r+b') as f:
            f.seek(2 * 65536 + 8)
            f.write(b'\0\0')  # a refcount
        run(125, 'check', 'a.qcow2', identifier='image-damaged')
        check('none leaked' in run(0, 'check', '--repair', 'a.qcow2'))
        run(0, 'check', 'a.qcow2')


def commands():
    check(ring3('version').stdout.startswith(b'ring3 '))
    r = ring3('machines')
    check(re.match(rb'pc .*\n.* i386 .*\nmipsvirt .*\n.* little-endian MIPS .*\nmalta .*\n'
                   rb'.* little-endian MIPS ', r.stdout), r)
    r = ring3('doctor')
    check(r.returncode == 0 and r.stderr == b'', r)
    for word in (b'interp', b'yes', b'max_map_count', b'memfd', b'seccomp', b'fsgsbase', b'bmi2',
                 b'time stamp counter', b'page first touched', b'4 GiB windows', b'low 4 GiB',
                 b'address space', b'overcommit', b'host fault', b'page mapped'):
        check(word in r.stdout, word, 'missing in', r.stdout)


def without_address_space():
    """A limit on virtual memory: first windows go, then the translator, with one line saying so."""
    def limited(gib, *args):
        return ring3('run', *args, do='k', preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_AS, (gib << 30, gib << 30)))

    def engine(result):
        check(result.returncode == 0 and result.stdout == GREETING, result)
        return json.loads(result.stderr[result.stderr.index(b'{'):])
    if (ring3('run', '--engine', 'dbt', do='o').returncode == 126 or
            limited(12, '--engine', 'interp').returncode):
        return  # a host without translator; a sanitizer build, which needs all address space
    figures = engine(limited(21, '--stats=json'))
    check(figures['engine'] == 'dbt' and figures['view_fills_window'] == 0, figures)
    r = limited(12, '--stats=json')
    check(engine(r)['engine'] == 'interp', r)
    check(r.stderr.startswith(b'ring3: info [engine-fallback] ') and b'ulimit -v' in r.stderr, r)
    one_line(limited(12, '--engine', 'dbt'), 126, 'code-reserve')
    # The virtual clock interprets in any case, so nothing is missed.
    check(limited(12, '--clock', 'virtual').stderr == b'')


# ---- standard descriptors -------------------------------------------------------------------------

def stdout_trouble():
    shell = ['sh', '-c', '"$@" >&-', 'sh', RING3]
    for args in (['run', GUEST], ['--help'], ['doctor']):
        r = subprocess.run(shell + args, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           timeout=LIMIT, check=False)
        one_line(r, 125, 'stdout-closed')
    with open('/dev/full', 'wb') as full:
        one_line(ring3('run', do='o', stdout=full), 125, 'stdout-failed')
        one_line(ring3('run', do='f', stdout=full), 125, 'stdout-failed')
        one_line(ring3('version', stdout=full), 125, 'stdout-failed')
    with open('/dev/null', 'rb') as read_only:
        one_line(ring3('run', do='f', stdout=read_only), 125, 'stdout-failed')


def reader_leaves():
    p = subprocess.Popen([RING3, 'run', '--append', 'do=f', GUEST], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(reader(p.stdout.fileno()), GREETING)
    p.stdout.close()
    error = p.stderr.read()
    r = subprocess.CompletedProcess([], p.wait(timeout=LIMIT), b'', error)
    p.stderr.close()
    check('Broken pipe' in one_line(r, 125, 'stdout-failed'), r)


def other_descriptors_closed():
    shell = ['sh', '-c', '"$@" <&- 2>&-', 'sh', RING3, 'run', '--append', 'do=o', GUEST]
    r = subprocess.run(shell, stdout=subprocess.PIPE, timeout=LIMIT, check=False)
    check(r.returncode == 0 and r.stdout == GREETING, r)


def no_terminal():
    r = ring3('run', do='o', start_new_session=True)
    check(r.returncode == 0 and r.stdout == GREETING and r.stderr == b'', r)


BULK = b''.join(bytes(97 + (i + 49 * line) % 16 for i in range(48)) + b'\r\n'
                for line in range(4000))


def output_is_complete():
    """Nothing is lost on a file, a pipe, or a pipe whose reader dawdles."""
    with tempfile.TemporaryFile() as f:
        check(ring3('run', do='b', stdout=f).returncode == 0)
        f.seek(0)
        check(f.read() == GREETING + BULK, 'file differs')
    check(ring3('run', do='b').stdout == GREETING + BULK, 'pipe differs')
    p = subprocess.Popen([RING3, 'run', '--append', 'do=b', GUEST], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE)
    time.sleep(1)
    got = b''
    while True:
        piece = os.read(p.stdout.fileno(), 30000)
        if not piece:
            break
        got += piece
        time.sleep(0.05)
    p.stdout.close()
    check(p.wait(timeout=LIMIT) == 0 and got == GREETING + BULK, 'slow pipe differs', len(got))


def stalled_reader():
    """A reader that never reads must not keep a stop from working."""
    p = subprocess.Popen([RING3, 'run', '--append', 'do=f', GUEST], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.7)
    start = time.monotonic()
    p.terminate()
    error = p.stderr.read().decode()
    check(p.wait(timeout=LIMIT) == 125 and time.monotonic() - start < 3, error)
    check('[killed]' in error and '[output-lost]' in error, error)
    p.stdout.close()
    p.stderr.close()


def input_from_pipe_and_file():
    text = b'abc\x01xyz' + b'0123456789' * 500 + b'q'
    r = ring3('run', do='e', input=text, stdin=None)
    check(r.returncode == 0 and r.stdout == GREETING + text, r.stdout[:80])
    with tempfile.TemporaryFile() as f:
        f.write(text)
        f.seek(0)
        r = ring3('run', do='e', stdin=f)
        check(r.returncode == 0 and r.stdout == GREETING + text, r.stdout[:80])


# ---- signals and the terminal --------------------------------------------------------------------------

def signals():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        p = subprocess.Popen([RING3, 'run', '--append', 'do=s', GUEST], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(reader(p.stdout.fileno()), GREETING)
        p.send_signal(number)
        error = p.communicate(timeout=LIMIT)[1]
        r = subprocess.CompletedProcess([], p.returncode, b'', error)
        check(number.name in one_line(r, 125, 'killed'), error)


def terminal_quit_key():
    t = Terminal(do='p')
    t.wait_for(b'login: ')
    check(t.is_raw(), 'terminal is not raw while the guest runs')
    t.type(b'\x01x')
    code, error = t.finish()
    check(code == 0 and '[user-quit]' in error, code, error)


def terminal_keys():
    t = Terminal(do='e')
    t.wait_for(b'guest\r+\n')
    t.type(b'a\x03\x1a\x01ab')  # Ctrl-C, Ctrl-Z and Ctrl-a are the guest's
    t.wait_for(b'a\x03\x1a\x01b')
    t.type(b'\x01h\x01sq')
    code, error = t.finish()
    check(code == 0 and '[keys]' in error and 'instructions' in error, code, error)


def terminal_monitor():
    t = Terminal(do='e')
    t.wait_for(b'guest\r+\n')
    t.type(b'\x01cinfo regx\x7fisters\rxp 0x100000 12\rinfo irq\rinfo device com1\rinfo block\r'
           b'info nothing\rx 1 9999999\rfrobnicate\rinfo tlb\rscreen\rhelp\rjunk\x15exit\r')
    t.type(b'zq')  # to the guest again
    code, error = t.finish()
    check(code == 0, code, error)
    for word in ('(ring3) ', 'eip=', '00100000  ', 'i8259', 'ioapic', 'lapic', 'ns16550', 'no info about',
                 'bytes below 4 GiB', 'there is no command "frobnicate"', '00000000-',
                 'this machine has no screen', 'power-button'):
        check(word in error, word, 'missing in', error)


def stat():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'c')
        guest = subprocess.Popen([RING3, 'run', '--control', path, '--append', 'do=i', GUEST],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + LIMIT
        while not os.path.exists(path):
            check(time.monotonic() < end, 'no socket')
            time.sleep(0.02)
        try:
            r = ring3('stat', '--json', '--interval', '100ms', '--count', '2', path)
            check(r.returncode == 0, r)
            first, second = (json.loads(line) for line in r.stdout.splitlines())
            check(second['exit_halt'] > first['exit_halt'], first, second)
            r = ring3('stat', '--interval', '200ms', '--count', '1', path)
            check(r.returncode == 0 and b'exit_halt' in r.stdout and b'guest busy' in r.stdout, r)
        finally:
            guest.terminate()
            guest.wait(LIMIT)
        r = ring3('stat', '--count', '1', path)
        check(r.returncode == 127 and b'[control-socket]' in r.stderr, r)
    for bad in (['stat'], ['stat', 'a', 'b'], ['stat', '--count', 'x', 'a'], ['stat', '--what', 'a'],
                ['stat', '--interval', '0', 'a']):
        check(ring3(*bad).returncode == 125, bad)


def terminal_after_signals():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        t = Terminal(do='p')
        t.wait_for(b'login: ')
        t.process.send_signal(number)
        code, error = t.finish()
        check(code == 125 and number.name in error, code, error)


def terminal_after_crash():
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        t = Terminal(do='p')
        t.wait_for(b'login: ')
        t.process.send_signal(number)
        code, error = t.finish()
        check(code == -number and error.count('\n') == 1, code, error)
        check(error.startswith('ring3: error [crash] ' + number.name), error)


def terminal_after_timeout():
    t = Terminal('--timeout', '300ms', do='p')
    code, error = t.finish()
    check(code == 124 and '[timeout]' in error, code, error)


def terminal_suspend():
    t = Terminal(do='e')
    t.wait_for(b'guest\r+\n')
    t.process.send_signal(signal.SIGTSTP)
    state = f'/proc/{t.process.pid}/stat'

    def stopped():
        with open(state, encoding='ascii') as f:
            return f.read().rsplit(')', 1)[1].split()[0] == 'T'
    t.eventually(stopped, 'stopped by SIGTSTP')
    check(termios.tcgetattr(t.slave) == t.before, 'modes not restored while stopped')
    t.process.send_signal(signal.SIGCONT)
    t.eventually(t.is_raw, 'raw again after SIGCONT')
    t.type(b'q')
    check(t.finish()[0] == 0)


# ---- statistics, traces, time ------------------------------------------------------------------------

def stats():
    r = ring3('run', '--stats=json', do='k')
    figures = json.loads(r.stderr)
    check(r.returncode == 0 and figures['interrupts'] == 50, figures)
    check(figures['instructions'] > 100 and figures['exit_halt'] >= 25, figures)
    check(figures['exit_pio'] > 20 and figures['time_idle_s'] > 0.3, figures)
    check(0 < figures['ram_touched_mib'] < 8, figures)
    check(0 < figures['resident_beyond_mib'] < 48, figures)
    r = ring3('run', '--stats', do='m')
    check(r.returncode == 0 and r.stderr.startswith(b'ring3: statistics'), r)
    check(re.search(rb'fault_device +1 ', r.stderr), r.stderr)


def trace():
    r = ring3('run', '--trace', 'io,exits,irq', do='k')
    text = r.stderr.decode()
    check(r.returncode == 0, text)
    check(re.search(r'\[trace-io\] pio write addr=0x3f8 size=1 value=0x68 device=com1 pc=0x1\w+',
                    text), text[:300])
    check(text.count('[trace-irq] vector=0x20') == 50, text.count('[trace-irq]'))
    check('[trace-exit] halt' in text, 'no exits')
    r = ring3('run', '--trace', 'exceptions', do='t')
    check(b'[trace-exception]' in r.stderr, r)
    r = ring3('run', '--trace', 'io', do='m')
    check(re.search(rb'mmio write addr=0xc0001000 size=4 value=0x12345678 device=none', r.stderr),
          r.stderr[-300:])


def virtual_clock():
    """Half a second of guest time, much faster, and the same twice."""
    runs = [json.loads(ring3('run', '--clock', 'virtual', '--stats=json', do='k').stderr)
            for _ in range(2)]
    check(runs[0]['interrupts'] == 50 and runs[0]['time_total_s'] < 0.45, runs[0])
    for key in runs[0]:
        if key.startswith(('instructions', 'exit_', 'fault_')):
            check(runs[0][key] == runs[1][key], key, runs)


def idle():
    """A halted guest with a 100 Hz timer takes less than 2% of a processor, start-up included."""
    def used():
        r = resource.getrusage(resource.RUSAGE_CHILDREN)
        return r.ru_utime + r.ru_stime
    start, before = time.monotonic(), used()
    r = ring3('run', '--timeout', '4s', do='i')
    check(r.returncode == 124 and r.stdout == GREETING, r)
    share = (used() - before) / (time.monotonic() - start)
    print(f'idle guest: {share:.2%} of a processor')
    check(share < 0.02, f'{share:.2%}')


if __name__ == '__main__':
    globals()[sys.argv[3]]()
