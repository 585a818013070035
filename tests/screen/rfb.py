# SPDX-License-Identifier: MIT
"""A small RFB client (RFC 6143): enough to see the picture and to press keys. Raw encoding and the
DesktopSize pseudo-encoding only."""
import shutil
import socket
import struct
import subprocess
import threading
import time

DESKTOP_SIZE = -223


class Refused(Exception):
    pass


def answer(challenge, password):
    """The challenge under DES, by openssl: the key is the password with each byte's bits turned
    round. None without openssl's old ciphers."""
    key = bytes(int(f'{c:08b}'[::-1], 2) for c in password.encode().ljust(8, b'\0'))
    if not shutil.which('openssl'):
        return None
    done = subprocess.run(['openssl', 'enc', '-des-ecb', '-nopad', '-K', key.hex(), '-provider',
                           'legacy', '-provider', 'default'], input=challenge,
                          capture_output=True, check=False)
    return done.stdout if done.returncode == 0 and len(done.stdout) == 16 else None


class Client:
    """`where` is a socket's path or a TCP port of this machine. With a password as bytes of 16 it is
    the answer itself."""

    def __init__(self, where, password=None, seconds=20):
        end = time.monotonic() + seconds
        while True:
            self.socket = socket.socket(socket.AF_UNIX if isinstance(where, str) else
                                        socket.AF_INET)
            self.socket.settimeout(seconds)
            try:
                self.socket.connect(where if isinstance(where, str) else ('127.0.0.1', where))
                break
            except OSError: # not yet there
                self.socket.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.handshake(password)

    def take(self, n):
        data = b''
        while len(data) < n:
            piece = self.socket.recv(n - len(data))
            if not piece:
                raise EOFError('the server closed the connection')
            data += piece
        return data

    def handshake(self, password):
        version = self.take(12)
        if version != b'RFB 003.008\n':
            raise Refused(version)
        self.socket.sendall(version)
        self.kinds = list(self.take(self.take(1)[0]))
        if password is None:
            self.socket.sendall(b'\x01')
        else:
            self.socket.sendall(b'\x02')
            challenge = self.take(16)
            self.socket.sendall(password if isinstance(password, bytes) else
                                answer(challenge, password))
        if struct.unpack('>I', self.take(4))[0]:
            raise Refused('authentication')
        self.socket.sendall(b'\x01')
        self.width, self.height = struct.unpack('>HH', self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack('>I', self.take(4))[0]).decode()
        # 32 bits, little-endian, red in bits 16 to 23
        self.socket.sendall(struct.pack('>B3xBBBBHHHBBB3x', 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.socket.sendall(struct.pack('>BxHii', 2, 2, 0, DESKTOP_SIZE))
        self.pixels = {}

    def ask(self, incremental):
        self.socket.sendall(struct.pack('>BBHHHH', 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        """One answer of the server into self.pixels, by (x, y)."""
        while True:
            kind = self.take(1)[0]
            if kind == 0:
                break
            if kind == 3:
                self.take(struct.unpack('>3xI', self.take(7))[0])
            elif kind != 2:
                raise Refused(f'message {kind}')
        for _ in range(struct.unpack('>xH', self.take(3))[0]):
            x, y, width, height, encoding = struct.unpack('>HHHHi', self.take(12))
            if encoding == DESKTOP_SIZE:
                self.width, self.height, self.pixels = width, height, {}
                continue
            data = struct.unpack(f'<{width * height}I', self.take(4 * width * height))
            for i, p in enumerate(data):
                self.pixels[x + i % width, y + i // width] = p & 0xffffff

    def wait_for(self, seen, seconds=20):
        """Ask for pictures until seen() says so."""
        end = time.monotonic() + seconds
        self.ask(0)
        while time.monotonic() < end:
            self.update()
            if seen():
                return
            self.ask(1)
        raise AssertionError('the picture did not come')

    def read_on(self):
        """Take what still comes: a server that cannot write does not listen either. A new size is
        an update of its own, so there may be one more than was asked for."""
        def take_all():
            try:
                while self.socket.recv(65536):
                    pass
            except OSError:
                pass
        threading.Thread(target=take_all, daemon=True).start()

    def key(self, keysym):
        for down in (1, 0):
            self.socket.sendall(struct.pack('>BBxxI', 4, down, keysym))

    def point(self, x, y, buttons=0):
        self.socket.sendall(struct.pack('>BBHH', 5, buttons, x, y))

    def close(self):
        self.socket.close()
