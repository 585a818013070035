#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Systems that nobody prepared for ring3: Debian with systemd from a disk, its installer, boot
loaders, a memory test, a hardware lister. All come from tools/systems.sh.

    systems.py MACHINE CASE

MACHINE is the path of ring3, or qemu: then the same case runs under QEMU's TCG, which shows that image
and test are right. Each case is a function below whose first line says what it shows. Exit code 0
passed, 1 failed, 77 skipped because the system was never fetched or something is not installed.

What these systems print on the text screen comes on the serial port, too: without a screen SeaBIOS
puts its console there.
"""
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import Failed, expect, skip

MACHINE = sys.argv[1]
QEMU = MACHINE == 'qemu'
LOGIN = r'guest login: '
PROMPT = r'ready> '
QUIET = 'root=LABEL=root ro console=ttyS0 quiet cryptomgr.notests'
PARTITION = 1 << 20  # where tools/diskimage.py puts it
# Time for a whole boot. Generous: other tests run beside it.
BOOT = 240
ROUNDS = 5


def system(name):
    """The directory of a system."""
    found = subprocess.run([os.path.join(harness.TOOLS, 'systems.sh'), '--cached', name],
                           stdout=subprocess.PIPE, universal_newlines=True, check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    print(f'{name} is not in the cache; tools/systems.sh {name} makes it')
    sys.exit(1 if os.environ.get('RING3_REQUIRE_SYSTEMS') else harness.SKIP)


class Machine(harness.Guest):
    """A machine with a terminal on its serial port. Files of drives are written to unless they are
    a CD or `throw_away`. `net` is a list of port forwards, (host port, guest port)."""

    def __init__(self, memory='512M', kernel=None, initrd=None, append=None, disk=None,
                 interface='ide', throw_away=False, cdrom=None, floppy=None, net=None,
                 model='virtio', options=()):
        self.control = tempfile.mktemp(prefix='ring3-control.')
        arguments = dict(memory=memory, kernel=kernel, initrd=initrd, append=append, disk=disk,
                         interface=interface, throw_away=throw_away, cdrom=cdrom, floppy=floppy,
                         net=net, model=model)
        command = self.qemu(**arguments) if QEMU else self.ring3(**arguments)
        super().__init__(MACHINE, command=command[:1 if QEMU else 2] + list(options) +
                         command[1 if QEMU else 2:], tty=True)

    def ring3(self, memory, kernel, initrd, append, disk, interface, throw_away, cdrom, floppy, net,
              model):
        command = [MACHINE, 'run', '-m', memory, '--control', self.control]
        if disk:
            command += ['--disk', f'{disk},if={interface}' + (',snapshot' if throw_away else '')]
        for name, value in (('--cdrom', cdrom), ('--floppy', floppy), ('--initrd', initrd),
                            ('--append', append)):
            command += [name, value] if value else []
        if net is None:
            command += ['--net', 'none']
        else:
            forwards = ''.join(f',fwd=tcp:{host}-{guest}' for host, guest in net)
            command += ['--net', f'user,model={model}{forwards}']
        return command + ([kernel] if kernel else [])

    def qemu(self, memory, kernel, initrd, append, disk, interface, throw_away, cdrom, floppy, net,
             model):
        if not shutil.which('qemu-system-i386'):
            skip('qemu-system-i386 (package qemu-system-x86) is not installed')
        command = ['qemu-system-i386', '-accel', 'tcg', '-machine', 'pc,graphics=off', '-m', memory,
                   '-display', 'none', '-serial', 'stdio', '-vga', 'none', '-no-reboot',
                   '-monitor', f'unix:{self.control},server=on,wait=off']
        if disk:
            snapshot = ',snapshot=on' if throw_away else ''
            command += ['-drive', f'file={disk},format=raw,if={interface}{snapshot}']
        for name, value in (('-cdrom', cdrom), ('-kernel', kernel), ('-initrd', initrd),
                            ('-append', append)):
            command += [name, value] if value else []
        if floppy:
            command += ['-drive', f'file={floppy},format=raw,if=floppy,snapshot=on']
        if net is None:
            command += ['-nic', 'none']
        else:
            forwards = ''.join(f',hostfwd=tcp:127.0.0.1:{host}-:{guest}' for host, guest in net)
            card = {'virtio': 'virtio-net-pci'}.get(model, model)
            command += ['-nic', f'user,model={card}{forwards}']
        return command

    def tell(self, *words):
        """A command on the control socket; it must be obeyed."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control)
            s.settimeout(60)
            line = {'command': words[0], 'args': list(words[1:])}
            s.sendall(b'system_powerdown\n' if QEMU else json.dumps(line).encode() + b'\n')
            answer = s.recv(65536)
            expect(QEMU or b'"error"' not in answer, f'{words}: {answer}')
            time.sleep(0.5 if QEMU else 0)

    def keys(self, text):
        """Type slowly: a BIOS takes what the serial port's 16 bytes hold and no more."""
        for key in text:
            self.type(key)
            time.sleep(0.05)

    def log_in(self, seconds=BOOT):
        self.wait_for(LOGIN, seconds)
        self.type('root\r')
        self.wait_for(r'root@guest:[^\n]*# ', 60)
        # No line editing, no echo, no pager: what comes is what commands print.
        self.type("stty -echo; PAGER=cat PS1='re''ady> ' exec sh\r")
        self.wait_for(PROMPT, 60)

    def shell(self, command, seconds=120):
        """What a command prints; it must succeed."""
        self.type(command + '; echo status $?\r')
        match = self.wait_for(r'(?s)(.*?)status (\d+)\n', seconds)
        self.wait_for(PROMPT, 30)
        expect(match.group(2) == '0', f'{command!r} ended with status {match.group(2)}')
        return match.group(1)


def own_copy(folder):
    """A copy of Debian's disk that a machine may write to."""
    path = os.path.join(folder, 'disk.img')
    subprocess.run(['cp', '--sparse=always', system('debian') + '/disk.img', path], check=True)
    return path


def check_disk(path):
    """The file system was left clean, by the host's own checker. As a file of its own, because a
    partition table is no file system."""
    fsck = shutil.which('e2fsck', path=os.environ.get('PATH', '') + ':/sbin:/usr/sbin')
    if not fsck:
        print('e2fsck is not installed; the disk is not checked')
        return
    done = subprocess.run([fsck, '-f', '-n', f'{path}?offset={PARTITION}'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    expect(done.returncode == 0, f'the guest left its file system damaged:\n{done.stdout}')


# ---- Debian ------------------------------------------------------------------------------------


def healthy(m):
    """The system runs as systemd wants it to, and its disk gives back what was written."""
    expect(m.shell('systemctl is-system-running --wait').strip() == 'running',
           m.shell('systemctl --failed --no-legend'))
    expect('/dev/' in m.shell('findmnt -n -o SOURCE /'), 'no root file system')
    # 32 MiB through the page cache to the disk and back.
    m.shell('openssl version 2>/dev/null || true')
    before = m.shell('head -c 32M /dev/urandom > /var/tmp/big; sync; sha256sum < /var/tmp/big')
    after = m.shell('echo 3 > /proc/sys/vm/drop_caches; sha256sum < /var/tmp/big')
    expect(before == after, f'the disk gives back {after}, not {before}')
    expect(len(before.strip()) == 67, 'no digest')
    # Packages as dpkg remembers them, from all over the disk.
    expect(m.shell('dpkg --verify | grep -v -e " c /" -e /usr/share/doc -e /usr/share/man -e '
                   '/usr/share/locale; true') == '', 'a file differs from its package')


def power_off(m, how):
    how(m)
    m.wait_for(r'(?i)power(ing)? ?(off|down)', 120)
    m.wait_exit(0, 60)


def debian(interface, firmware, model='virtio'):
    with tempfile.TemporaryDirectory(prefix='ring3-system.') as folder:
        disk, files = own_copy(folder), system('debian')
        direct = {} if firmware else {'kernel': files + '/vmlinuz', 'initrd': files + '/initrd.img',
                                      'append': QUIET}
        with Machine(disk=disk, interface=interface, **direct) as m:
            if firmware:
                m.wait_for('GRUB', 60)
            m.log_in()
            healthy(m)
            power_off(m, lambda m: m.type('systemctl poweroff\r'))
        check_disk(disk)


def debian_virtio():
    """Kernel and initrd given; root on virtio-blk; systemd to login, a healthy system, power off."""
    debian('virtio', False)


def debian_ide():
    """The same from an IDE disk, with bus-master DMA."""
    debian('ide', False)


def debian_bios_ide():
    """SeaBIOS, GRUB from the master boot record of an IDE disk, Debian's own kernel and initrd."""
    debian('ide', True)


def debian_bios_virtio():
    """The same from virtio-blk."""
    debian('virtio', True)


def debian_button():
    """The ACPI power button ends the system in good order."""
    with tempfile.TemporaryDirectory(prefix='ring3-system.') as folder:
        disk, files = own_copy(folder), system('debian')
        with Machine(disk=disk, interface='virtio', kernel=files + '/vmlinuz',
                     initrd=files + '/initrd.img', append=QUIET) as m:
            m.log_in()
            m.shell('systemctl is-active systemd-logind && grep -rq PNP0C0C\\\\\\|LNXPWRBN '
                    '/sys/bus/acpi/devices/*/hid')
            power_off(m, lambda m: m.tell('power-button'))
        check_disk(disk)


# One connection gets one file.
SERVE = (r'use IO::Socket::INET; my \$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 1, '
         r'ReuseAddr => 1) or die; my \$c = \$s->accept; open my \$f, q(<), q(/opt/ring3-test-0); '
         r'binmode \$f; local \$/ = \65536; print \$c \$_ while <\$f>; close \$c;')


class Repository:
    """A Debian-style archive of a few packages, and big files, on a web server on loopback."""

    def __init__(self, folder):
        self.folder = folder
        self.sums = {}
        packages = []
        for number in range(8):
            packages.append(self.package(f'ring3-test-{number}', 1 << 20))
        with open(folder + '/Packages', 'w', encoding='utf-8') as f:
            f.write('\n'.join(packages))
        with open(folder + '/Release', 'w', encoding='utf-8') as f:
            data = open(folder + '/Packages', 'rb').read()
            f.write('Origin: test\nSuite: test\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n'
                    f' {hashlib.sha256(data).hexdigest()} {len(data)} Packages\n')
        with open(folder + '/big', 'wb') as f:
            f.write(self.noise('big', 64 << 20))

    def noise(self, seed, size):
        """Bytes that compress as badly as packages do and are the same each time."""
        block = hashlib.shake_256(seed.encode()).digest(1 << 20)
        data = b''.join(i.to_bytes(4, 'little') + block[4:] for i in range(size >> 20))
        self.sums[seed] = hashlib.sha256(data).hexdigest()
        return data

    def package(self, name, size):
        tree = os.path.join(self.folder, name)
        os.makedirs(tree + '/DEBIAN')
        os.makedirs(tree + '/opt')
        with open(f'{tree}/opt/{name}', 'wb') as f:
            f.write(self.noise(name, size))
        control = (f'Package: {name}\nVersion: 1\nArchitecture: all\n'
                   'Maintainer: Nobody <nobody@example.org>\nDescription: a test\n')
        with open(tree + '/DEBIAN/control', 'w', encoding='utf-8') as f:
            f.write(control)
        deb = f'{self.folder}/{name}.deb'
        subprocess.run(['dpkg-deb', '--root-owner-group', '-Znone', '--build', tree, deb],
                       check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
        with open(deb, 'rb') as f:
            data = f.read()
        return (control + f'Filename: ./{name}.deb\nSize: {len(data)}\n'
                f'SHA256: {hashlib.sha256(data).hexdigest()}\n')

    def __enter__(self):
        folder = self.folder

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=folder)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def debian_snapshot():
    """A running Debian goes through snapshots: its services live on. Prints times and sizes."""
    if QEMU:
        skip('the snapshots of ring3')
    saved, restored = [], []
    with tempfile.TemporaryDirectory(prefix='ring3-system.') as folder:
        files = system('debian')
        with Machine(memory='256M', disk=files + '/disk.img', interface='virtio',
                     throw_away=True, kernel=files + '/vmlinuz', initrd=files + '/initrd.img',
                     append=QUIET) as m:
            m.log_in()
            m.shell('x=17; sync')
            for n in range(ROUNDS):
                began = time.monotonic()
                text = subprocess.run([MACHINE, 'snapshot', m.control, f'{folder}/{n}'],
                                      check=True, stdout=subprocess.PIPE,
                                      universal_newlines=True).stdout
                saved.append(time.monotonic() - began)
            m.process.kill()
        size, used = (float(x) for x in re.search(r'([\d.]+) MiB for ([\d.]+) MiB', text).groups())
        for n in range(ROUNDS):
            began = time.monotonic()
            with harness.Guest(MACHINE, restore=f'{folder}/{ROUNDS - 1}', tty=True) as m:
                m.type('echo alive$x\r')
                m.wait_for('alive17', 60)
                restored.append(time.monotonic() - began)
                if n == ROUNDS - 1:
                    m.type('systemctl --failed --no-legend | wc -l; systemctl is-active dbus\r')
                    m.wait_for(r'ready> 0\nactive', 60)
    print(f'saved in {statistics.median(saved):.2f} s, an answer {statistics.median(restored):.2f} s '
          f'after the start of a restore (medians of {ROUNDS}); {size} MiB for {used} MiB in use')
    expect(size < used / 2, 'the file is more than half of the memory in use')


def debian_apt(model='virtio'):
    """apt-get update and install, and a big download, from a web server on the host's loopback; and
    the host reaches a server in the guest by a forwarded port."""
    with tempfile.TemporaryDirectory(prefix='ring3-system.') as folder:
        disk, files = own_copy(folder), system('debian')
        os.mkdir(folder + '/archive')
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            forward = s.getsockname()[1]
        with Repository(folder + '/archive') as archive, \
                Machine(disk=disk, interface='virtio', kernel=files + '/vmlinuz',
                        initrd=files + '/initrd.img', append=QUIET, model=model,
                        net=[(forward, 8080)]) as m:
            m.log_in()
            m.shell('for i in $(seq 60); do ip -4 addr | grep -q " 10\\.0\\.2\\." && break; '
                    'sleep 1; done; ip -4 addr | grep " 10\\.0\\.2\\."', 90)
            url = f'http://10.0.2.2:{archive.port}'
            m.shell(f'echo "deb [trusted=yes] {url}/ ./" > /etc/apt/sources.list')
            m.shell('apt-get -q update', 120)
            names = ' '.join(f'ring3-test-{i}' for i in range(8))
            m.shell(f'apt-get -q -y install {names}', 240)
            for name, digest in archive.sums.items():
                if name != 'big':
                    seen = m.shell(f'sha256sum < /opt/{name}')
                    expect(digest in seen, f'{name} was installed as {seen}')
            began = time.monotonic()
            seen = m.shell(f'wget -q -O - {url}/big | sha256sum', 240)
            expect(archive.sums['big'] in seen, f'the big file arrived as {seen}')
            print(f'64 MiB in {time.monotonic() - began:.1f} s')
            # The other way: the guest serves one file over a port that the host forwards. Debian's
            # perl-base has sockets.
            m.shell('printf "%s\\n" "' + SERVE + '" > /var/tmp/serve.pl')
            m.type('perl /var/tmp/serve.pl &\r')
            m.wait_for(PROMPT, 30)
            expect(download(forward) == archive.sums['ring3-test-0'],
                   'the file came wrong out of the guest')
            power_off(m, lambda m: m.type('systemctl poweroff\r'))
        check_disk(disk)


def debian_apt_e1000():
    """The same with an Intel 82540EM."""
    debian_apt('e1000')


def download(port):
    """The digest of all that a server sends. It may not listen yet: then nothing comes."""
    for _ in range(60):
        with socket.create_connection(('127.0.0.1', port), 60) as s:
            digest, total = hashlib.sha256(), 0
            try:
                while True:
                    data = s.recv(65536)
                    if not data:
                        break
                    digest.update(data)
                    total += len(data)
            except ConnectionError:
                pass
            if total:
                return digest.hexdigest()
        time.sleep(1)
    return 'nothing'


# ---- the installer -----------------------------------------------------------------------------


def first_dialog(m):
    """The language is the first thing the text installer asks for."""
    m.wait_for(r'Select a language', BOOT)
    m.wait_for(r'Language:|Prompt:', 60)


def installer():
    """Debian's installer, netboot image, kernel and initrd given: its first dialog."""
    files = system('installer')
    with Machine(kernel=files + '/linux', initrd=files + '/initrd.gz',
                 append='console=ttyS0 DEBIAN_FRONTEND=text priority=critical quiet') as m:
        first_dialog(m)


def installer_cd():
    """The same from a CD by ISOLINUX: El Torito, BIOS calls, ATAPI."""
    with Machine(cdrom=system('installer') + '/installer.iso') as m:
        m.wait_for('ISOLINUX', 60)
        first_dialog(m)


# ---- boot loaders and what runs without a system -----------------------------------------------


def grub_floppy():
    """GRUB's rescue floppy comes to its command line, which knows the floppy and tells the time."""
    with Machine(memory='64M', floppy=system('grub') + '/floppy.img') as m:
        grub_rescue(m)


def grub_cd():
    """The same from its CD."""
    with Machine(memory='64M', cdrom=system('grub') + '/cdrom.iso') as m:
        grub_rescue(m)


def grub_rescue(m):
    m.wait_for('GNU GRUB', 120)
    m.wait_for('command-line', 30)
    m.type('c')
    m.wait_for(r'grub> ', 60)
    m.keys('echo a-$grub_platform-b\r')
    m.wait_for('a-pc-b', 30)
    m.keys('lsmmap\r')
    m.wait_for(r'base_addr = 0x0, length = 0x9fc00, available RAM', 30)
    m.keys('halt\r')
    m.wait_exit(0, 60)


def memtest():
    """Memtest86+ finds the memory and no error in it, up to a tenth of its pass."""
    with Machine(memory='32M', kernel=system('memtest') + '/memtest.bin',
                 append='console=ttyS0,115200') as m:
        memtest_runs(m)


def on_screen(rows, seconds, **machine):
    """A row of text after the other comes on the text screen; then ring3 ends."""
    if QEMU:
        skip('nothing here reads the text screen of QEMU')
    options = []
    for row in rows:
        options += ['--expect-screen', row]
    with Machine(options=options, **machine) as m:
        m.wait_exit(0, seconds)


def memtest_cd():
    """The same from its CD, on the text screen."""
    on_screen([r'Memtest86\+', r'Pass +[1-9][0-9]% ', r'Errors: 0'], 600, memory='32M',
              cdrom=system('memtest') + '/memtest.iso')


def installer_screen():
    """The installer on the text screen: the same question as a dialog in a frame."""
    files = system('installer')
    on_screen([r'Select a language', r'English'], BOOT, kernel=files + '/linux',
              initrd=files + '/initrd.gz', append='vga=normal fb=false nomodeset priority=critical quiet')


def languages_drawn(path):
    """Is this the installer's first page? A coloured banner, below it light grey; a white list with
    one dark line in it."""
    width, height, rows = harness.picture(path)
    if (width, height) != (1024, 768):
        return False
    pixels = [rows[y][3 * x:3 * x + 3] for y in range(4, height, 8) for x in range(4, width, 8)]
    white = pixels.count(b'\xff\xff\xff') / len(pixels)
    banner, below = rows[30][3 * 60:3 * 60 + 3], rows[85][3 * 60:3 * 60 + 3]
    line = [y for y in range(180, 700) if max(rows[y][3 * 600:3 * 600 + 3]) < 0xa0]
    return white > 0.5 and min(below) > 0xd0 and banner[0] < 0x40 < banner[2] and \
        10 < len(line) < 40 and line[-1] - line[0] == len(line) - 1


def installer_graphics():
    """The graphical installer, X on the linear frame buffer, draws its first page and turns to the
    second when Enter is pressed."""
    if QEMU:
        skip('pictures are of ring3 only')
    files = system('installer')
    with tempfile.TemporaryDirectory(prefix='ring3-system.') as folder, \
            Machine(memory='1G', kernel=files + '/linux', initrd=files + '/gtk-initrd.gz',
                    append='vga=788 quiet', options=['--display', 'none', '--screenshot',
                                                     folder + '/last.png']) as m:
        path, end = folder + '/now.png', time.monotonic() + 2 * BOOT
        for drawn in (True, False):
            while True:
                expect(time.monotonic() < end, 'the page did not come, or not go')
                m.read(2)
                m.tell('screenshot', path)
                if languages_drawn(path) == drawn:
                    break
            if drawn:
                m.tell('type', '<enter>')
        m.tell('quit', '0')
        m.wait_exit(0, 30)


def invaders():
    """A multiboot game of another century on the text screen."""
    on_screen([r'-\*- +-\*-', r'/ \\'], 60, memory='32M', kernel=system('invaders') + '/invaders')


def memtest_runs(m):
    m.wait_for(r'Memtest86\+', 120)
    # It draws only what changes: at line 2 the share of the pass that is done, at 4 the test.
    m.wait_for(r'\[2;35H(\x1b\[0m)? *[1-9]\d%', 240)
    m.wait_for(r'\[4;35H[^\n]{0,10}#[1-9]', 60)
    expect('Errors: 0' in m.output and not re.search(r'Errors: *[1-9]', m.output), 'errors')


def ipxe():
    """iPXE gets an address by DHCP, from the kernel image and a virtio network card."""
    firmware = [] if QEMU else ['--firmware']
    with Machine(memory='64M', kernel=system('ipxe') + '/ipxe.lkrn', net=[],
                 options=firmware) as m:
        m.wait_for(r'net0: 10\.0\.2\.\d+/255\.255\.255\.0', 120)


def ipxe_cd():
    """The same from its CD, with an e1000."""
    with Machine(memory='64M', cdrom=system('ipxe') + '/ipxe.iso', net=[], model='e1000') as m:
        m.wait_for(r'net0: 10\.0\.2\.\d+/255\.255\.255\.0', 120)


def hdt():
    """The Hardware Detection Tool reads processor, memory and PCI bus by BIOS calls."""
    with Machine(memory='64M', cdrom=system('hdt') + '/hdt.iso') as m:
        m.wait_for(r'hdt> ?', 120)
        m.keys('show pci\r')
        m.wait_for(r'NB Devices *: *[3-9]', 60)
        m.keys('show memory\r')
        m.wait_for(r'(?i)memory', 60)


CASES = {f.__name__: f for f in
         (debian_virtio, debian_ide, debian_bios_ide, debian_bios_virtio, debian_button,
          debian_snapshot, debian_apt, debian_apt_e1000, installer, installer_cd, grub_floppy,
          grub_cd, memtest, memtest_cd, ipxe, ipxe_cd, hdt, installer_screen, installer_graphics,
          invaders)}


def main():
    try:
        CASES[sys.argv[2]]()
    except Failed as why:
        print(f'FAIL: {sys.argv[2]}: {why}')
        return 1
    print(f'pass: {sys.argv[2]}')
    return 0


sys.exit(main())
