# SPDX-License-Identifier: MIT
"""Run `ring3 run` on the Debian guest and talk to it, by pipe or by terminal.

A Guest owns the process and a temporary directory; leaving the `with` block ends and removes both.
Everything that the guest printed stays in `output` and is shown when a check fails.
"""
import codecs
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.normpath(os.path.join(HERE, '..', '..', 'tools'))
LOAD = os.path.normpath(os.path.join(HERE, '..', 'soak', 'load.sh'))
# Without the kernel's crypto self-tests, which are more than half of all instructions of a boot.
FULL_APPEND = 'console=ttyS0 rdinit=/init quiet panic=-1'
APPEND = FULL_APPEND + ' cryptomgr.notests'
SKIP = 77


class Failed(Exception):
    pass


def skip(why):
    """End the test as skipped; as failed under check.sh, which fetches and installs first."""
    print(why)
    sys.exit(1 if os.environ.get('RING3_REQUIRE_GUEST') else SKIP)


def guest_files(arch='i386'):
    """The directory with vmlinuz and busybox. Skips the test when the guest was not fetched,
    except under check.sh, which fetches it first."""
    found = subprocess.run([os.path.join(TOOLS, 'guest.sh'), '--arch', arch, '--cached'],
                           stdout=subprocess.PIPE, universal_newlines=True, check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    return skip(f'the guest is not in the cache; tools/guest.sh --arch {arch} fetches it')


def known_good(seed):
    """The lines that load.sh prints for this seed, by the guest's busybox on the host. Skips the
    test when the host runs no 32-bit programs."""
    busybox = guest_files() + '/busybox'
    with tempfile.TemporaryDirectory(prefix='ring3-load.') as folder:
        os.mkdir(folder + '/bin')
        try:
            subprocess.run([busybox, '--install', '-s', folder + '/bin'], check=True)
        except OSError as why:
            print(f'nothing to compare with, the host does not run the guest\'s busybox: {why}')
            sys.exit(SKIP)
        return subprocess.run([busybox, 'sh', LOAD, folder + '/bin', str(seed)], cwd=folder,
                              check=True, stdout=subprocess.PIPE,
                              universal_newlines=True).stdout.splitlines()


def ext4_image(path, tree, size='64M', options=()):
    """An ext4 file system in a file, filled from a directory, without privilege (mke2fs -d).
    Skips the test when mke2fs is missing."""
    mke2fs = shutil.which('mke2fs', path=os.environ.get('PATH', '') + ':/sbin:/usr/sbin')
    if not mke2fs:
        skip('mke2fs (package e2fsprogs) is not installed')
    with open(path, 'wb'):
        pass
    subprocess.run([mke2fs, '-q', '-F', '-t', 'ext4', '-d', tree, *options, path, size], check=True)
    return path


def initramfs(path, script=None, program=None, modules='', add=(), arch='i386'):
    """Busybox, kernel modules with what they need, loaded by /init, a script and further files:
    each of `add` as tools/initramfs.sh takes it, FILE or FILE=NAME."""
    arguments = [os.path.join(TOOLS, 'initramfs.sh')]
    if modules:
        arguments += ['--modules', modules]
    for file in add:
        arguments += ['--add', file]
    arguments += [guest_files(arch) + '/busybox', path]
    with tempfile.NamedTemporaryFile('w', encoding='utf-8', prefix='ring3-script.') as f:
        if script is not None:
            f.write(script)
            f.flush()
            arguments.append(f.name)
        if program is not None:
            arguments.append(program)
        subprocess.run(arguments, check=True)
    return path


def picture(path):
    """Of a screenshot: width, height, rows of 3 bytes a pixel. Only as ring3 writes PNG files: one
    piece of data, no filters."""
    with open(path, 'rb') as f:
        data = f.read()
    width, height = struct.unpack('>II', data[16:24])
    at = data.index(b'IDAT')
    raw = zlib.decompress(data[at + 4:at + 4 + struct.unpack('>I', data[at - 4:at])[0]])
    row = 1 + 3 * width
    return width, height, [raw[y * row + 1:(y + 1) * row] for y in range(height)]


class Guest:
    """One run. `script` becomes the guest's /script, None gives a shell; `program` is a file that
    goes to the guest's /bin beside a script; `modules` and `add` as initramfs() has them. `tty` puts
    stdin and stdout on a terminal of its own; otherwise stdin is empty and stdout a pipe. What to
    start is Debian's kernel unless `start` is given: a list of a kernel or an image and its options,
    which then need no initramfs. `disks` are values of --disk. `restore` is a
    snapshot to go on from. `arch` is the guest's, as tools/guest.sh has it. `command` replaces all of
    this."""

    def __init__(self, ring3, memory='256M', options=(), append=APPEND, script=None, program=None,
                 tty=False, modules='', add=(), disks=(), start=None, restore=None,
                 arch='i386', command=None):
        self.output = ''
        self.stderr = ''
        self.seen = 0
        self.decoder = codecs.getincrementaldecoder('utf-8')('replace')
        self.folder = tempfile.mkdtemp(prefix='ring3-boot.')
        self.tty = tty
        if restore is not None:
            command = [ring3, 'restore', *options, restore]
        if start is None and command is None:
            initrd = initramfs(os.path.join(self.folder, 'initramfs.gz'), script, program, modules,
                               add, arch)
            start = ['--initrd', initrd, '--append', append, guest_files(arch) + '/vmlinuz']
        if command is None:
            command = [ring3, 'run', '-m', memory, *options]
            for disk in disks:
                command += ['--disk', disk]
            command += start
        self.errors = open(os.path.join(self.folder, 'stderr'), 'w+', encoding='utf-8')
        self.began = time.monotonic()
        if tty:
            self.fd, self.slave = os.openpty()
            self.modes = termios.tcgetattr(self.slave)
            self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave,
                                            stderr=self.errors, start_new_session=True)
        else:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=self.errors)
            self.fd = self.process.stdout.fileno()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.errors.seek(0)
        self.stderr = self.errors.read()
        self.errors.close()
        if kind:
            print('--- guest console\n' + self.output)
            print('--- ring3 stderr\n' + self.stderr)
        if self.tty:
            os.close(self.slave)
            os.close(self.fd)
        else:
            self.process.stdout.close()
        shutil.rmtree(self.folder)

    def read(self, seconds):
        """Take in what comes within this time. False at end of file."""
        if not select.select([self.fd], [], [], max(0, seconds))[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.output += self.decoder.decode(data).replace('\r', '')
        return bool(data)

    def wait_for(self, pattern, seconds=180):
        """Read until the pattern matches in what came after the previous match."""
        end = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.output[self.seen:])
            if match:
                self.seen += match.end()
                return match
            if time.monotonic() > end:
                raise Failed(f'no {pattern!r} within {seconds} s')
            if not self.read(min(0.5, end - time.monotonic())) or self.process.poll() is not None:
                while select.select([self.fd], [], [], 0)[0] and self.read(0):
                    pass
                if not re.search(pattern, self.output[self.seen:]):
                    raise Failed(f'ring3 ended with code {self.process.wait()} before {pattern!r}')

    def type(self, text):
        os.write(self.fd, text.encode())

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait_exit(self, code, seconds=180):
        """Read to the end; the exit code must be this one and the terminal as it was."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise Failed(f'ring3 still runs after {seconds} s')
            if not self.read(0.2):
                time.sleep(0.05)
        while select.select([self.fd], [], [], 0)[0] and self.read(0):
            pass
        self.seconds = time.monotonic() - self.began
        if self.process.returncode != code:
            raise Failed(f'exit code {self.process.returncode}, expected {code}')
        if self.tty and termios.tcgetattr(self.slave) != self.modes:
            raise Failed('the terminal was not restored')

    def complaints(self):
        """ring3's own lines so far."""
        self.errors.flush()
        with open(self.errors.name, encoding='utf-8') as f:
            return f.read()

    def cpu_seconds(self):
        """Processor time that the process has used, user and system."""
        with open(f'/proc/{self.process.pid}/stat', encoding='utf-8') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def mappings(self):
        """How many the process has; 0 when it is over. It is stopped meanwhile: a long list is not
        read at once, and mappings that move would count twice."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            with open(f'/proc/{self.process.pid}/maps', 'rb') as f:
                return sum(1 for _ in f)
        finally:
            self.process.send_signal(signal.SIGCONT)


def expect(condition, text):
    if not condition:
        raise Failed(text)
