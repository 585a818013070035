# SPDX-License-Identifier: MIT
"""Machines that run the measured programs: the host itself, ring3 under each engine, and QEMU; for
i386 and for MIPS guests.

Each serves the protocol of user/main.c over a pair of pipes; in a guest that is the serial console.
A machine takes two times of each program, both on the host, so that no guest clock is trusted:

    wall   from sending the request to reading the answer
    cpu    processor time of the monitor, all threads, in between; natively of the program

The guest only waits outside of that span, because it reads its next request from the console.
"""
import collections
import os
import select
import shutil
import subprocess
import tempfile
import time

APPEND = 'console=ttyS0 rdinit=/init quiet panic=-1'
QUICK_APPEND = APPEND + ' cryptomgr.notests'
FIRST_LINE = b'ring3: init running'
MEMORY = '256M'
# What runs the guests of an architecture. `boards`: ring3's, and the guest of tools/guest.sh that
# each boots; the first is QEMU's as well, whose processor is the one nearest to ring3's. `share`: the
# part of each count, for machines none of which is as fast as the host.
Platform = collections.namedtuple('Platform', 'boards qemu options share')
PLATFORMS = {
    'i386': Platform({'pc': 'i386'}, 'qemu-system-i386', ['-cpu', 'pentium3,+sse2'], 1),
    'mips': Platform({'malta': 'malta', 'mipsvirt': 'mipsel'}, 'qemu-system-mipsel',
                     ['-M', 'malta', '-cpu', '24Kf'], 1 / 4),
}
# Runs on the console: no echo, no CR before LF, and the programs' directory on a tmpfs.
SCRIPT = ('stty -echo -onlcr\nmount -t tmpfs tmpfs /tmp\ncd /tmp\n'
          'exec /bin/bench /bin/busybox\n')


class Broken(Exception):
    """The machine ended, kept silent, or said what it should not."""


def process_clock(pid):
    """Processor time of a process, all threads, in seconds: clock ids as in clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


class Machine:
    """A process that serves programs. `share` is the part of each count that it is asked for."""
    native = False
    share = 1

    def __init__(self, name):
        self.name = name
        self.process = None

    def spawn(self, command, **options):
        self.buffer, self.tail = b'', b''
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, **options)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def line(self, end):
        """The next line of output; Broken at the end of it or at this time."""
        while b'\n' not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Broken('silent for too long')
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Broken(f'ended with code {self.process.wait()}')
            self.buffer += data
            self.tail = (self.tail + data)[-2000:]
        line, _, self.buffer = self.buffer.partition(b'\n')
        return line.strip()

    def wait_for(self, text, seconds):
        """The first line with this text, from there on: QEMU's firmware ends its own without LF."""
        end = time.monotonic() + seconds
        while True:
            line = self.line(end)
            if text in line:
                return line[line.index(text):]
            if b'bench: ' in line:
                raise Broken(line.decode('utf-8', 'replace'))

    def ask(self, name, count, seconds):
        """Run a program; returns its times in seconds and its checksum."""
        cpu = None if self.native else process_clock(self.process.pid)
        began = time.monotonic()
        try:
            os.write(self.process.stdin.fileno(), f'{name} {count}\n'.encode())
        except BrokenPipeError:
            raise Broken(f'ended with code {self.process.wait()}') from None
        fields = self.wait_for(f'= {name} '.encode(), seconds).split()
        wall = time.monotonic() - began
        _, _, own_s, own_ns, own_cpu_us, total = fields
        cpu = int(own_cpu_us) / 1e6 if self.native else process_clock(self.process.pid) - cpu
        return {'wall': wall, 'cpu': cpu, 'guest': int(own_s) + int(own_ns) / 1e9,
                'sum': int(total)}


class Native(Machine):
    """The programs as processes of the host, all on one of its processors."""
    native = True

    def __init__(self, files, image):
        super().__init__('native')
        self.files, self.image, self.folder = files, image, None

    def start(self):
        place = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix='ring3-bench.', dir=place)
        processor = max(os.sched_getaffinity(0))
        try:
            self.spawn([self.image, self.files + '/busybox'], cwd=self.folder,
                       preexec_fn=lambda: os.sched_setaffinity(0, [processor]))
        except OSError as e:  # the host runs no 32-bit programs
            self.process = None
            raise Broken(str(e)) from None
        self.wait_for(b'= ready', 10)

    def stop(self):
        super().stop()
        if self.folder:
            shutil.rmtree(self.folder)
            self.folder = None


class Guest(Machine):
    """The programs in a Debian guest; `command` takes its initramfs and kernel command line."""

    def __init__(self, name, files, initrd, arch='i386'):
        super().__init__(name)
        self.files, self.initrd, self.platform = files, initrd, PLATFORMS[arch]
        self.share = self.platform.share

    def boot(self, append, seconds=600):
        """Start and wait for init's first line; returns wall and cpu seconds since the start."""
        self.spawn(self.command(append))
        self.wait_for(FIRST_LINE, seconds)
        return {'wall': time.monotonic() - self.began, 'cpu': process_clock(self.process.pid)}

    def start(self):
        """Boot for programs; returns the times of the boot."""
        times = self.boot(QUICK_APPEND)
        self.wait_for(b'= ready', 60)
        return times


def split(name, arch):
    """(board, engine, options for `--dbt`) of a machine named [BOARD/]ENGINE[:OPTIONS]."""
    place, _, rest = name.rpartition('/')
    engine, _, options = rest.partition(':')
    return place or next(iter(PLATFORMS[arch].boards)), engine, options.replace('+', ',')


class Ring3(Guest):
    """`name` is an engine, or `dbt:LIST` with a list of options for `--dbt`, plus signs between; a
    board other than the architecture's first and a slash may precede."""

    def __init__(self, name, ring3, files, initrd, arch='i386'):
        super().__init__(name, files, initrd, arch)
        self.ring3 = ring3
        self.board, self.engine, self.options = split(name, arch)
        if self.engine == 'interp':
            self.share /= 8

    def command(self, append):
        return [self.ring3, 'run', '--board', self.board, '--engine', self.engine,
                *(['--dbt', self.options] if self.options else []),
                '-m', MEMORY, '--initrd', self.initrd, '--append', append, self.files + '/vmlinuz']


class Qemu(Guest):
    """Nothing but the serial line is added."""

    def command(self, append):
        return [self.platform.qemu, *self.platform.options, '-accel', 'tcg', '-m', MEMORY,
                '-nographic', '-no-reboot', '-kernel', self.files + '/vmlinuz',
                '-initrd', self.initrd, '-append', append]


def engines(ring3):
    """Names of the engines that this host can use, as `ring3 doctor` lists them."""
    text = subprocess.run([ring3, 'doctor'], stdout=subprocess.PIPE, universal_newlines=True,
                          check=True).stdout
    found, inside = [], False
    for line in text.splitlines():
        words = line.split()
        if not line.startswith(' '):
            inside = words == ['engines']
        elif inside and words[1] == 'yes':
            found.append(words[0])
    return found


def qemu_version(arch='i386'):
    """First line of QEMU's own version text, None without QEMU."""
    program = PLATFORMS[arch].qemu
    if not shutil.which(program):
        return None
    return subprocess.run([program, '--version'], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True).stdout.splitlines()[0]
