#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TCP through the user mode network: ring3 and QEMU with the same kernel, initramfs and card.

    net.py RING3 [--cards virtio,e1000,...] [--rounds N] [--turns N] [--mib N] [--engine NAME]
           [--only-ring3] [--json FILE]

A guest receives and sends --mib MiB of zeros by busybox nc, --rounds times each, to and from a
server in this process on loopback, which takes the times; the guest's clock is not trusted. Then it
pings its gateway. Machines take --turns turns. The table shows medians, the ratio of ring3 to QEMU, and of
ring3 how many exits a frame took. Goal: at least QEMU's rate in both directions.
"""
import argparse
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

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
sys.path.insert(0, os.path.join(TOP, 'tests', 'boot'))
import harness  # noqa: E402  pylint: disable=wrong-import-position

APPEND = 'console=ttyS0 rdinit=/init quiet panic=-1 cryptomgr.notests'
# Name here, of --net's model, of QEMU's, modules.
CARDS = {
    'e1000': ('e1000', 'e1000', 'e1000'),
    'rtl8139': ('rtl8139', 'rtl8139', '8139cp'),
    'rtl8139c': ('rtl8139c', None, '8139too'),
    'pcnet': ('pcnet', 'pcnet', 'pcnet32'),
    'ne2k': ('ne2k', 'ne2k_pci', 'ne2k-pci'),
    'virtio': ('virtio', 'virtio-net-pci', 'virtio_pci virtio_net'),
}
SCRIPT = r'''ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
ping -c 1 10.0.2.2 >/dev/null
for i in $(seq {rounds}); do
    nc 10.0.2.2 {source} >/dev/null
    dd if=/dev/zero bs=64k count={blocks} 2>/dev/null | nc 10.0.2.2 {sink}
done
ping -q -c 30 -i 0.02 10.0.2.2 | grep round-trip
echo finished
'''


class Server:
    """Two ports on loopback: one gives zeros, one takes them; both note bytes per second."""

    def __init__(self, size):
        self.size = size
        self.down, self.up = [], []
        self.source = socket.create_server(('127.0.0.1', 0))
        self.sink = socket.create_server(('127.0.0.1', 0))
        for target in (self.give, self.take):
            threading.Thread(target=target, daemon=True).start()

    def give(self):
        """From the first byte sent until the guest has closed, so that it has them all."""
        block = bytes(1 << 16)
        while True:
            c, _ = self.source.accept()
            began = time.monotonic()
            try:
                for _ in range(self.size // len(block)):
                    c.sendall(block)
                c.shutdown(socket.SHUT_WR)
                while c.recv(4096):
                    pass
                self.down.append(self.size / (time.monotonic() - began))
            except OSError:
                pass
            c.close()

    def take(self):
        """From the first byte received to the end."""
        buffer = bytearray(1 << 18)
        while True:
            c, _ = self.sink.accept()
            began, count = 0, 0
            while True:
                n = c.recv_into(buffer)
                if not n:
                    break
                began = began or time.monotonic()
                count += n
            if count == self.size:
                self.up.append(count / (time.monotonic() - began))
            c.close()


def run(command, server, rounds):
    """One machine, to its end: rates of both directions, ping in ms, statistics."""
    server.down.clear()
    server.up.clear()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False)
    text = done.stdout.decode('utf-8', 'replace')
    if 'finished' not in text or len(server.down) != rounds or len(server.up) != rounds:
        print(text[-2000:], done.stderr.decode()[-2000:])
        raise SystemExit(f'{command[0]}: the guest did not finish')
    ping = re.search(r'= [\d.]+/([\d.]+)/', text)
    stats = re.findall(r'^\{.*\}$', done.stderr.decode(), re.M)
    return (list(server.down), list(server.up), float(ping.group(1)) if ping else float('nan'),
            json.loads(stats[-1]) if stats else {})


def measure(args, card, folder):
    """A line of the table."""
    model, qemu_model, modules = CARDS[card]
    server = Server(args.mib << 20)
    script = SCRIPT.format(rounds=args.rounds, source=server.source.getsockname()[1],
                           sink=server.sink.getsockname()[1], blocks=args.mib * 16)
    initrd = harness.initramfs(os.path.join(folder, card), script, modules=modules + ' af_packet')
    kernel = harness.guest_files() + '/vmlinuz'
    ring3 = [args.ring3, 'run', '--engine', args.engine, '--stats=json', '--net',
             f'user,model={model}', '--initrd', initrd, '--append', APPEND, kernel]
    qemu = ['qemu-system-i386', '-accel', 'tcg', '-m', '256', '-nographic', '-monitor', 'none',
            '-nic', f'user,model={qemu_model}', '-kernel', kernel, '-initrd', initrd, '-append',
            APPEND]
    with_qemu = qemu_model and not args.only_ring3 and shutil.which(qemu[0])
    results = {'ring3': [], 'qemu': []}
    for _ in range(args.turns):
        results['ring3'].append(run(ring3, server, args.rounds))
        if with_qemu:
            results['qemu'].append(run(qemu, server, args.rounds))

    def median(name, what):
        values = [x for r in results[name] for x in (r[what] if what < 2 else [r[2]])]
        return statistics.median(values) if values else float('nan')

    cells = [f'{card:9}']
    for what in (0, 1):
        own, other = median('ring3', what) / 1e6, median('qemu', what) / 1e6
        cells.append(f'{own:7.1f} {other:7.1f} {own / other:6.2f}')
    cells.append(f'{median("ring3", 2):6.2f} {median("qemu", 2):6.2f}')
    stats = results['ring3'][-1][3]
    cells.append(f'{stats.get("net0_exits_per_frame", float("nan")):6.2f}')
    print(' | '.join(cells), flush=True)
    return {'card': card, 'exits_per_frame': stats.get('net0_exits_per_frame'),
            **{name: {'to_guest': [x for r in rows for x in r[0]],
                      'from_guest': [x for r in rows for x in r[1]],
                      'ping_ms': [r[2] for r in rows]} for name, rows in results.items()}}


def main():
    """The table."""
    p = argparse.ArgumentParser()
    p.add_argument('ring3')
    p.add_argument('--cards', default='virtio,e1000,rtl8139')
    p.add_argument('--engine', default='auto')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--turns', type=int, default=2)
    p.add_argument('--mib', type=int, default=32)
    p.add_argument('--only-ring3', action='store_true')
    p.add_argument('--json')
    args = p.parse_args()
    print('          |  to guest, MB/s        | from guest, MB/s       | ping, ms      | exits')
    print('card      |   ring3    QEMU  ratio |   ring3    QEMU  ratio |  ring3   QEMU | a frame')
    with tempfile.TemporaryDirectory(prefix='ring3-net.') as folder:
        rows = [measure(args, card, folder) for card in args.cards.split(',')]
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as f:
            json.dump(rows, f, indent=1)


main()
