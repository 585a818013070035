#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Debian's kernel on each network card, through the user mode network to servers on loopback.

    net.py RING3 ENGINE CASE MODEL

Each case is a function below whose first line says what it shows. MODEL is a row of CARDS. Nothing
leaves the machine. Exit code 0 passed, 1 failed, 77 skipped because the guest was never fetched.
"""
import hashlib
import http.client
import http.server
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import Failed, expect

RING3 = sys.argv[1]
ENGINE, _, DBT = sys.argv[2].partition(':')
ENGINES = ['--engine', ENGINE, *(['--dbt', DBT] if DBT else [])]
MODEL = sys.argv[4] if len(sys.argv) > 4 else 'e1000'
BYTES = 12_000_000
if ENGINE == 'interp' or MODEL == 'ne2k':  # which moves four bytes at a time
    BYTES = 2_000_000

# What --net calls it, and the modules that drive it.
CARDS = {
    'e1000': 'e1000',
    'rtl8139': '8139cp',
    'rtl8139c': '8139too',
    'ne2k': 'ne2k-pci',
    'pcnet': 'pcnet32',
    'virtio': 'virtio_pci virtio_net',
}

# Address by DHCP, then the network is up. udhcpc runs a script for what it learns.
UP = r'''mkdir -p /tmp /www
cat >/tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ifconfig $interface $ip netmask $subnet
[ -z "$router" ] || route add default gw $router
echo "bound $ip router $router dns $dns host $hostname"
END
chmod +x /tmp/dhcp
ifconfig lo up
ifconfig eth0 up
udhcpc -i eth0 -n -q -t 10 -s /tmp/dhcp -O hostname | grep bound
'''


def Guest(script, options=()):
    """A guest with this card that brings the network up and runs a script."""
    return harness.Guest(RING3, options=[*ENGINES, *options], script=UP + script,
                         modules=CARDS[MODEL] + ' af_packet')


def net(words=''):
    """The option for the card."""
    return ['--net', f'user{words},model={MODEL},mac=52:54:00:aa:bb:cc']


class Server:
    """HTTP and plain TCP on 127.0.0.1: gives BYTES random bytes, and takes any, as digests."""

    def __init__(self):
        self.content = random.Random(1).randbytes(BYTES)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.received = []
        content = self.content

        class Handler(http.server.BaseHTTPRequestHandler):
            """Any path gives the content."""

            def do_GET(self):
                """The only verb."""
                self.send_response(200)
                self.send_header('Content-Length', str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                """Silent."""

        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.sink = socket.create_server(('127.0.0.1', 0))
        for target in (self.http.serve_forever, self.take):
            threading.Thread(target=target, daemon=True).start()

    def take(self):
        """Digest what each connection brings."""
        while True:
            connection, _ = self.sink.accept()
            digest = hashlib.sha256()
            count = 0
            while True:
                data = connection.recv(1 << 16)
                if not data:
                    break
                digest.update(data)
                count += len(data)
            self.received.append((count, digest.hexdigest()))
            connection.close()

    @property
    def ports(self):
        """Of HTTP and of the sink."""
        return self.http.server_address[1], self.sink.getsockname()[1]


def free_port():
    """One that nobody listens on now."""
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def transfers():
    """DHCP, ping, and megabytes in both directions, compared by digest."""
    server = Server()
    web, sink = server.ports
    script = (f'ifconfig eth0 | grep HWaddr\nping -c 3 10.0.2.2 | grep received\n'
              f'wget -q -O /tmp/big http://10.0.2.2:{web}/big\nsha256sum /tmp/big\n'
              f'nc 10.0.2.2 {sink} </tmp/big\necho sent\n'
              'cat /sys/class/net/eth0/statistics/rx_errors /sys/class/net/eth0/statistics/tx_errors\n')
    with Guest(script, net(',hostname=alpha')) as guest:
        guest.wait_for(r'bound 10\.0\.2\.15 router 10\.0\.2\.2 dns 10\.0\.2\.3 host alpha\n')
        guest.wait_for(r'HWaddr 52:54:00:AA:BB:CC')
        guest.wait_for(r'3 packets received')
        guest.wait_for(server.digest + '  /tmp/big')
        guest.wait_for(r'sent\n0\n0\n')
        guest.wait_for(r'script ended with status 0')
        guest.wait_exit(0)
    expect(server.received == [(BYTES, server.digest)], f'received {server.received}')


def forward():
    """A port of the host leads to a web server in the guest, from the first moment on."""
    port = free_port()
    script = ('head -c 3000000 /dev/urandom >/www/f\nsha256sum /www/f\n'
              'httpd -p 80 -h /www\necho listening\n'
              'sleep 1000\n')
    with Guest(script, net(f',restrict,fwd=tcp:{port}-80')) as guest:
        digest = guest.wait_for(r'(?m)^([0-9a-f]{64})  /www/f').group(1)
        guest.wait_for(r'listening')
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        connection.request('GET', '/f')
        got = hashlib.sha256(connection.getresponse().read()).hexdigest()
        expect(got == digest, f'{got} came, {digest} was sent')
        guest.signal()
        guest.wait_exit(125)


def restricted():
    """A restricted guest gets an address and reaches no server."""
    server = Server()
    web, sink = server.ports
    script = (f'wget -T 3 -q -O /tmp/big http://10.0.2.2:{web}/big || echo no web\n'
              f'echo hello | nc -w 3 10.0.2.2 {sink} || echo no sink\n')
    with Guest(script, net(',restrict')) as guest:
        guest.wait_for(r'bound 10\.0\.2\.15')
        guest.wait_for(r'no web')
        guest.wait_exit(0)
    expect(not server.received, f'received {server.received}')


def stream():
    """Two guests on one wire: a stream socket for each, with this program between them."""
    with tempfile.TemporaryDirectory(prefix='ring3-stream.') as folder:
        ends = []
        listeners = []
        for name in ('a', 'b'):
            s = socket.socket(socket.AF_UNIX)
            s.bind(os.path.join(folder, name))
            s.listen(1)
            listeners.append(s)

        def pump(source, sink):
            while True:
                data = source.recv(1 << 16)
                if not data:
                    return
                sink.sendall(data)

        script = ('ifconfig eth0 10.9.0.%d netmask 255.255.255.0\n'
                  'for i in $(seq 1 100); do ping -c 1 -W 1 10.9.0.%d >/dev/null && break; done\n%s')
        serve = 'seq 1 200000 | nc -l -p 7000\n'
        fetch = 'sleep 1\nnc 10.9.0.1 7000 | sha256sum\n'
        guests = []
        for name, text in (('a', script % (1, 2, serve)), ('b', script % (2, 1, fetch))):
            guests.append(harness.Guest(
                RING3, script=text, modules=CARDS[MODEL] + ' af_packet',
                options=[*ENGINES, '--net',
                         f'stream,path={folder}/{name},model={MODEL},mac=52:54:00:00:00:0{name}']))
        with guests[0] as one, guests[1] as two:
            for s in listeners:
                ends.append(s.accept()[0])
            for a, b in (ends, ends[::-1]):
                threading.Thread(target=pump, args=(a, b), daemon=True).start()
            text = ''.join(f'{i}\n' for i in range(1, 200001)).encode()
            try:
                two.wait_for(hashlib.sha256(text).hexdigest(), seconds=60)
            except Failed:
                one.read(0.1)
                raise
            one.wait_exit(0)
            two.wait_exit(0)


def netboot():
    """iPXE, which has drivers of its own: DHCP, a script by TFTP, from there another by HTTP."""
    found = subprocess.run([os.path.join(harness.TOOLS, 'systems.sh'), '--cached', 'ipxe'],
                           stdout=subprocess.PIPE, universal_newlines=True, check=False)
    if found.returncode:
        print('iPXE is not in the cache; tools/systems.sh ipxe makes it')
        sys.exit(1 if os.environ.get('RING3_REQUIRE_SYSTEMS') else harness.SKIP)
    ipxe = found.stdout.strip() + '/ipxe.lkrn'

    class Handler(http.server.BaseHTTPRequestHandler):
        """Any path gives the second script."""

        def do_GET(self):
            """The only verb."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'#!ipxe\necho second-script-runs\n')

        def log_message(self, *_):
            """Silent."""

    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix='ring3-tftp.') as folder:
        with open(os.path.join(folder, 'boot.ipxe'), 'w', encoding='ascii') as f:
            f.write('#!ipxe\necho first-script-runs ${net0/ip}\n'
                    f'chain http://10.0.2.2:{web.server_address[1]}/next\n')
        with harness.Guest(RING3, start=[ipxe],
                           options=[*ENGINES, *net(f',tftp={folder},bootfile=boot.ipxe'),
                                    '--firmware', '--expect-screen',
                                    r'first-script-runs 10\.0\.2\.15', '--expect-screen',
                                    'second-script-runs', '--timeout', '150']) as guest:
            guest.wait_exit(0)


def errors():
    """A port in use, a card nobody knows, a tap without a name: told before anything starts."""
    with socket.create_server(('127.0.0.1', 0)) as s:
        port = s.getsockname()[1]
        for words, pattern in ((f'user,fwd=tcp:{port}-22', rf'\[net-port-used\].*{port}'),
                               ('user,model=ne9000', r'\[net-model\].*e1000'),
                               ('user,fwd=22', r'\[net-forward\].*fwd=tcp:2222-22'),
                               ('tap', r'\[net-spec\].*name=tap0'),
                               ('stream,path=/nowhere', r'\[net-stream\].*passt')):
            with harness.Guest(RING3, options=['--net', words]) as guest:
                code = guest.process.wait(timeout=60)
                expect(code in (125, 126, 127), f'{words}: exit code {code}')
                expect(re.search(pattern, guest.complaints()), f'{words}: {guest.complaints()}')


def main():
    """Run the case."""
    case = sys.argv[3]
    began = time.monotonic()
    try:
        globals()[case]()
    except Failed as e:
        print(f'{case}: {e}')
        sys.exit(1)
    print(f'{case}: passed in {time.monotonic() - began:.1f} s')


main()
