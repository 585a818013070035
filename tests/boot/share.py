#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Host directories shared with Debian's own 9P client.

    share.py RING3 ENGINE CASE

Each case is a function below. Exit code 0 passed, 1 failed, 77 skipped.
"""
import hashlib
import json
import os
import stat
import sys
import tempfile

import harness
from harness import Failed, expect

RING3, ENGINE = sys.argv[1], sys.argv[2]
MODULES = 'virtio_pci 9pnet_virtio 9p'
MOUNT = 'mkdir -p /s\nmount -t 9p -o trans=virtio,version=9p2000.L,msize={msize}{more} share /s || echo no mount\n'


def run(share, script, more='', msize=524288, options=()):
    """What the guest says between marks."""
    text = MOUNT.format(msize=msize, more=more) + 'echo BEGIN\n' + script + '\necho END\n'
    with harness.Guest(RING3, options=['--engine', ENGINE, '--share', share, *options], modules=MODULES,
                       script=text) as guest:
        guest.wait_exit(0)
        output = guest.output.replace('\r', '')
    expect('BEGIN\n' in output and 'END\n' in output, 'the script ran to its end')
    return output[output.index('BEGIN\n') + 6:output.index('END\n')]


def noise(path, size):
    data = os.urandom(size)
    with open(path, 'wb') as f:
        f.write(data)
    return hashlib.sha256(data).hexdigest()


def files():
    """Both sides see what the other writes; names, modes, links, times, holes."""
    with tempfile.TemporaryDirectory(prefix='ring3-share.') as folder:
        digest = noise(folder + '/big', 9_000_001)
        os.mkdir(folder + '/sub')
        for n in range(300):
            with open(f'{folder}/sub/file{n}', 'w', encoding='utf-8') as f:
                f.write(str(n))
        os.symlink('sub/file7', folder + '/link')
        out = run(folder, '''
sha256sum /s/big
ls /s/sub | wc -l
cat /s/link; echo
dd if=/dev/urandom of=/s/made bs=100k count=31 2>/dev/null; sha256sum /s/made
mkdir /s/dir && echo one >/s/dir/a && mv /s/dir /s/moved && cat /s/moved/a
exec 3>>/s/moved/a; mv /s/moved /s/again; echo two >&3; exec 3>&-; cat /s/again/a
ln /s/again/a /s/hard && stat -c %h /s/hard
ln -s ../outside /s/out; readlink /s/out
chmod 640 /s/hard; stat -c '%a %u' /s/hard
touch -d @1000000000 /s/hard; stat -c %Y /s/hard
truncate -s 5000000 /s/hole; stat -c %s /s/hole
rm -r /s/sub /s/link; rmdir /s/again 2>&1 | grep -c empty
mkfifo /s/fifo; ls -l /s/fifo | cut -c1
cp -a /bin/busybox /s/copy; cmp /bin/busybox /s/copy && echo same
df /s | tail -n 1 | grep -c share
sync''')
        lines = out.split('\n')
        with open(folder + '/made', 'rb') as f:
            made = hashlib.sha256(f.read()).hexdigest()
        want = [f'{digest}  /s/big', '300', '7', f'{made}  /s/made', 'one', 'one', 'two', '2',
                '../outside', '640 0', '1000000000', '5000000', '1', 'p', 'same', '1']
        if [x for x in lines if x] != want:
            raise Failed(f'the guest said {lines}, expected {want}')
        expect(sorted(os.listdir(folder)) == sorted(['big', 'made', 'again', 'hard', 'out', 'hole', 'fifo',
                                                    'copy']), str(os.listdir(folder)))
        st = os.stat(folder + '/hard')
        expect(stat.S_IMODE(st.st_mode) == 0o640 and st.st_mtime == 1000000000, 'mode and time')
        expect(open(folder + '/again/a', encoding='utf-8').read() == 'one\ntwo\n', 'append after a rename')


def confined():
    """What the guest makes cannot lead out of the directory, and nothing gets special rights."""
    with tempfile.TemporaryDirectory(prefix='ring3-share.') as folder:
        os.mkdir(folder + '/share')
        with open(folder + '/secret', 'w', encoding='utf-8') as f:
            f.write('secret')
        os.symlink('..', folder + '/share/up')
        os.symlink(folder, folder + '/share/absolute')
        out = run(folder + '/share', '''
cat /s/../secret /s/up/secret /s/absolute/secret 2>/dev/null
ls /s/.. >/dev/null; cat /s/./../s/../secret 2>/dev/null
(echo overwritten >/s/up/secret; echo overwritten >/s/absolute/secret) 2>/dev/null
echo x >/s/setuid; chmod 6755 /s/setuid; stat -c %a /s/setuid
mknod /s/null c 1 3 2>&1 | grep -c "not permitted"''')
        expect('secret' not in out, out)
        expect([x for x in out.split('\n') if x] == ['755', '1'], out)
        expect(open(folder + '/secret', encoding='utf-8').read() == 'secret', 'the file outside')
        expect(sorted(os.listdir(folder)) == ['secret', 'share'], str(os.listdir(folder)))


def read_only():
    with tempfile.TemporaryDirectory(prefix='ring3-share.') as folder:
        with open(folder + '/a', 'w', encoding='utf-8') as f:
            f.write('kept\n')
        out = run(folder + ',ro', '''
cat /s/a
for c in "touch /s/b" "rm /s/a" "mkdir /s/d" "mv /s/a /s/c" "chmod 0 /s/a" "ln -s a /s/l" "sh -c echo>/s/a"; do
  $c 2>&1 | grep -c -i read-only
done''')
        expect([x for x in out.split('\n') if x][:7] == ['kept'] + ['1'] * 6, out)
        expect(os.listdir(folder) == ['a'] and os.path.getsize(folder + '/a') == 5, 'nothing changed')


def caches_and_sizes():
    """Each way to cache, small and large messages, two shares at once."""
    with tempfile.TemporaryDirectory(prefix='ring3-share.') as folder:
        digest = noise(folder + '/big', 3_000_000)
        script = 'sha256sum </s/big; cp /s/big /s/copy; sha256sum </s/copy; rm /s/copy'
        for more, msize in (('', 4096), (',cache=loose', 1048576), (',cache=mmap', 65536),
                            (',cache=fscache', 8192)):
            out = run(folder, script, more, msize)
            expect(out.count(digest) == 2, f'{more} {msize}: {out}')
        with tempfile.TemporaryDirectory(prefix='ring3-share.') as other:
            out = run(folder, 'mkdir /t; mount -t 9p -o trans=virtio,version=9p2000.L tools /t\n'
                      'cp /s/big /t/x; sync; sha256sum </t/x', options=['--share', other + ',tag=tools'])
            expect(digest in out and os.listdir(other) == ['x'], out)


def many_files():
    """More files than a cache of names holds at once; handles come and go."""
    with tempfile.TemporaryDirectory(prefix='ring3-share.') as folder:
        for d in range(40):
            os.mkdir(f'{folder}/{d}')
            for n in range(250):
                open(f'{folder}/{d}/{n}', 'w', encoding='utf-8').close()
        with harness.Guest(RING3, options=['--engine', ENGINE, '--share', folder, '--stats=json'],
                           modules=MODULES,
                           script=MOUNT.format(msize=65536, more=',cache=loose') +
                           'find /s | wc -l\nrm -r /s/1*; find /s -type f | wc -l\numount /s\n') as guest:
            guest.wait_exit(0)
            output = guest.output.replace('\r', '').split('\n')
            figures = json.loads([x for x in guest.complaints().splitlines() if x[0] == '{'][-1])
        expect('10041' in output and str(29 * 250) in output, str(output[-8:]))
        expect(figures['share0_handles'] == 0 and figures['share0_requests'] > 10000,
               f"{figures['share0_handles']} handles, {figures['share0_requests']} requests")


try:
    globals()[sys.argv[3]]()
except Failed as why:
    print(f'FAIL: {sys.argv[3]}: {why}')
    sys.exit(1)
print(f'pass: {sys.argv[3]}, engine {ENGINE}')
