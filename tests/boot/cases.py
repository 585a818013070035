# SPDX-License-Identifier: MIT
"""Cases that are the same on every board of an architecture. `Guest` makes a guest of the board."""
import os
import re
import shutil
import time

import harness
from harness import expect

PROMPT = r'guest:[^\n]*# '


def interactive(Guest):
    """Typing at a terminal: echo, job control, Ctrl-C; `exit` powers off and the terminal is as
    it was."""
    with Guest(tty=True) as guest:
        guest.wait_for(PROMPT)
        guest.type('echo $((6 * 7)) done\r')
        guest.wait_for(r'\n42 done\n')
        guest.wait_for(PROMPT)
        guest.type('sleep 2000\r')
        guest.wait_for(r'sleep 2000\n')
        time.sleep(1)
        guest.type('\x03')
        guest.wait_for(PROMPT, 30)
        # A burst longer than any FIFO arrives whole.
        guest.type('echo ' + 'x' * 200 + ' | wc -c\r')
        guest.wait_for(r'\n201\n')
        guest.wait_for(PROMPT)
        guest.type('exit\r')
        guest.wait_exit(0)


def reboot(Guest):
    """With --reboot a guest that resets the machine comes up again; without, that is code 122."""
    with Guest(options=['--reboot', '--expect', 'init r[u]nning', '--expect', 'init r[u]nning'],
               script='reboot -f\n') as guest:
        guest.wait_exit(0)
        expect(len(re.findall('init running', guest.output)) == 2, 'not two boots')
    with Guest(script='reboot -f\n') as guest:
        guest.wait_exit(122)


def date(Guest):
    """The guest has the host's time, and timers take as long as on the host."""
    script = 'date +now=%s; cat /proc/uptime; sleep 5; cat /proc/uptime; date +then=%s\n'
    with Guest(script=script) as guest:
        now = int(guest.wait_for(r'now=(\d+)\n').group(1))
        expect(abs(now - time.time()) < 5, f'the guest is at {now}, the host at {time.time():.0f}')
        began = time.monotonic()
        up = float(guest.wait_for(r'(?m)^(\d+\.\d+) ').group(1))
        up = float(guest.wait_for(r'(?m)^(\d+\.\d+) ').group(1)) - up
        took = time.monotonic() - began
        expect(abs(up - took) < 1.5, f'{up:.1f} s in the guest, {took:.1f} s on the host')
        guest.wait_exit(0)


def tool(name):
    """Path of a program of e2fsprogs."""
    path = shutil.which(name, path=os.environ.get('PATH', '') + ':/sbin:/usr/sbin')
    return path or harness.skip(f'{name} (package e2fsprogs) is not installed')
