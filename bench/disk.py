#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disks: the same Debian kernel and virtio driver under ring3 and under QEMU's translator.

    disk.py RING3 GUEST_DIR [--rounds N] [--vms ring3,ring3:legacy,qemu] [--json FILE]

The guest reads past its own page cache (user/disk.c), the image lies in the host's. In each round
each machine boots once and runs all programs, one machine after the other. Prints the median rate by
the wall clock and the processor time of the monitor per transfer, and says whether the targets are
met: sequential reads at 1.5 GB/s or as fast as QEMU, random ones 1.5 times as fast.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import programs
import vms

HERE = os.path.dirname(os.path.abspath(__file__))
INITRAMFS = os.path.join(HERE, '..', 'tools', 'initramfs.sh')
MIB = 1 << 20
# Name, transfers in a measurement, bytes of each.
WORK = (('disk-sequential', 1500, MIB), ('disk-random', 40000, 4096), ('disk-small', 40000, 4096),
        ('disk-write', 600, MIB), ('disk-random-write', 40000, 4096))
SEQUENTIAL_GOAL = 1.5e9
RANDOM_GOAL = 1.5


class Ring3(vms.Guest):
    def __init__(self, name, ring3, files, initrd, image):
        super().__init__(name, files, initrd)
        self.ring3, self.image = ring3, image

    def command(self, append):
        _, _, kind = self.name.partition(':')
        return [self.ring3, 'run', '-m', vms.MEMORY, '--disk', self.image,
                *(['--virtio', kind] if kind else []), '--initrd', self.initrd,
                '--append', append, self.files + '/vmlinuz']


class Qemu(vms.Qemu):
    def __init__(self, name, files, initrd, image):
        super().__init__(name, files, initrd)
        self.image = image

    def command(self, append):
        return super().command(append) + ['-drive', f'file={self.image},format=raw,if=virtio']


def make_image(folder):
    path = f'{folder}/disk.img'
    block = b''.join(i.to_bytes(4, 'little') for i in range(MIB // 4))
    with open(path, 'wb') as f:
        for i in range(256):
            f.write(i.to_bytes(4, 'little') + block[4:])
        f.write(bytes(256 * MIB))  # is written to
    return path


def make_machines(arguments, folder):
    image, program = make_image(folder), programs.build(folder)
    script, initrd = f'{folder}/script', f'{folder}/initramfs.gz'
    with open(script, 'w', encoding='utf-8') as f:
        f.write(vms.SCRIPT)
    subprocess.run([INITRAMFS, '--modules', 'virtio_pci virtio_blk', arguments.guest + '/busybox',
                    initrd, script, program], check=True)
    machines = []
    for name in arguments.vms.split(','):
        if name == 'qemu':
            if vms.qemu_version():
                machines.append(Qemu(name, arguments.guest, initrd, image))
            else:
                print('disk: no QEMU here: left out', file=sys.stderr)
        else:
            machines.append(Ring3(name, arguments.ring3, arguments.guest, initrd, image))
    return machines


def one_round(machines, samples):
    sums = {}
    for machine in machines:
        machine.start()
        for name, count, size in WORK:
            machine.ask(name, count // 10, 300)  # code is translated, the image in the page cache
            sample = machine.ask(name, count, 300)
            samples[machine.name].setdefault(name, []).append(sample)
            if sums.setdefault(name, sample['sum']) != sample['sum']:
                raise vms.Broken(f'{machine.name}: {name} read other bytes than the others')
            print(f"disk: {machine.name}: {name} {count * size / sample['wall'] / 1e6:.0f} MB/s",
                  file=sys.stderr, flush=True)
        machine.stop()


def rate(samples, count):
    return count / statistics.median(s['wall'] for s in samples)


def table(samples):
    print(f"{'':18}" + ''.join(f'{name:>34}' for name in samples))
    for name, count, size in WORK:
        row = f'{name:18}'
        for of_vm in samples.values():
            r = rate(of_vm[name], count)
            cpu = statistics.median(s['cpu'] for s in of_vm[name]) / count * 1e6
            what = f'{r * size / 1e9:.2f} GB/s' if size == MIB else f'{r:.0f} /s'
            row += f'{what + f", {cpu:.1f} us of processor":>34}'
        print(row)


def verdict(samples):
    ours, theirs = samples.get('ring3'), samples.get('qemu')
    if not ours:
        return
    counts = {name: (count, size) for name, count, size in WORK}

    def speed(of_vm, name):
        return rate(of_vm[name], counts[name][0]) * counts[name][1]
    fast = speed(ours, 'disk-sequential')
    good = fast >= SEQUENTIAL_GOAL or (theirs and fast >= speed(theirs, 'disk-sequential'))
    print(f"sequential reads {fast / 1e9:.2f} GB/s: target {'met' if good else 'MISSED'}")
    if theirs:
        times = speed(ours, 'disk-random') / speed(theirs, 'disk-random')
        print(f"random reads {times:.2f} times QEMU's: target "
              f"{'met' if times >= RANDOM_GOAL else 'MISSED'}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument('ring3')
    p.add_argument('guest')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--vms', default='ring3,qemu')
    p.add_argument('--json')
    arguments = p.parse_args()
    # Not a tmpfs, which is no place for images: its reads cannot be asked not to wait.
    with tempfile.TemporaryDirectory(prefix='ring3-disk.', dir='/var/tmp') as folder:
        machines = make_machines(arguments, folder)
        samples = {m.name: {} for m in machines}
        try:
            for _ in range(arguments.rounds):
                one_round(machines, samples)
        except vms.Broken as e:
            tails = '\n'.join(m.tail.decode('utf-8', 'replace') for m in machines if m.process)
            sys.exit(f'disk: {e}; the guest said last:\n{tails}')
        finally:
            for machine in machines:
                machine.stop()
    table(samples)
    verdict(samples)
    if arguments.json:
        with open(arguments.json, 'w', encoding='utf-8') as f:
            json.dump(samples, f, indent=1)


if __name__ == '__main__':
    main()
