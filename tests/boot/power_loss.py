#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the guest's file system has synced survives the end of ring3 at any moment.

    power_loss.py RING3 raw|qcow2 virtio|ide [KILLS]

Debian's kernel writes files to ext4 and says when fsync has returned; after a random while ring3 is killed by
SIGKILL. The next life mounts the same disk, which replays the journal, compares all that was said
to be safe, and goes on. In between the image is checked, at the end the file system from outside.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import harness
from harness import Failed, expect

RING3, FORMAT, INTERFACE = sys.argv[1:4]
KILLS = int(sys.argv[4]) if len(sys.argv) > 4 else 50
KEPT = 60  # files; older ones are removed
CHECKED = 40
MODULES = {'virtio': 'virtio_pci virtio_blk ext4', 'ide': 'ata_piix sd_mod ext4'}[INTERFACE]
DEVICE = {'virtio': '/dev/vda', 'ide': '/dev/sda'}[INTERFACE]

# File nN holds the numbers from N on; the large one is written in place.
SCRIPT = '''
mkdir /disk
mount -t ext4 {device} /disk || exit 1
for n in $(seq {low} {safe}); do
    seq $n $((n + 900)) | cmp -s - /disk/n$n ||
        {{ echo "lost $n"; ls -ln /disk/n$n; seq $n $((n + 900)) | cmp - /disk/n$n && echo found; }}
done
echo "compared to {safe}"
[ {last} = 1 ] && umount /disk && exit 0
n={next}
while :; do
    seq $n $((n + 900)) | dd of=/disk/n$n bs=8k conv=fsync 2>/dev/null &&
        dd if=/disk/n$n of=/disk/large bs=4k count=1 seek=$((n % 500)) conv=notrunc,fsync 2>/dev/null &&
        echo "safe $n"
    rm -f /disk/n$((n - {kept}))
    n=$((n + 1))
done
'''


def life(image, safe, last=False):
    """One life. Returns the last number that was said to be safe."""
    script = SCRIPT.format(device=DEVICE, low=max(1, safe - CHECKED), safe=safe, next=safe + 1,
                           last=int(last), kept=KEPT)
    # Timers of a busy host come late; what the kernel thinks of that is not the question here.
    append = harness.APPEND + ' no_timer_check'
    with harness.Guest(RING3, memory='64M', append=append, script=script, modules=MODULES,
                       disks=[f'{image},if={INTERFACE}']) as guest:
        guest.wait_for(f'compared to {safe}\n')
        if 'lost' in guest.output:
            guest.read(1)
        expect('lost' not in guest.output, 'the guest lost what was safe')
        if last:
            guest.wait_for('script ended with status 0')
            guest.wait_exit(0)
            return safe
        guest.wait_for(r'safe \d+\n')
        end = time.monotonic() + random.random() * 1.5
        while time.monotonic() < end:
            guest.read(end - time.monotonic())
        guest.process.kill()
        guest.process.wait()
        while guest.read(0.5):
            pass
        numbers = [int(line.split()[1]) for line in guest.output.split('\n')[:-1]
                   if line.startswith('safe ')]
        return numbers[-1]


def check_image(image):
    if FORMAT == 'qcow2':
        done = subprocess.run([RING3, 'image', 'check', image], stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        expect(done.returncode == 0, done.stdout)


def main():
    random.seed(1)
    with tempfile.TemporaryDirectory(prefix='ring3-power.', dir='/var/tmp') as folder:
        os.mkdir(folder + '/tree')
        raw = harness.ext4_image(folder + '/disk.img', folder + '/tree', size='24M')
        image = raw
        if FORMAT == 'qcow2':
            image = folder + '/disk.qcow2'
            subprocess.run([RING3, 'image', 'convert', raw, image], check=True)
        safe = 0
        for n in range(KILLS):
            safe = life(image, safe)
            check_image(image)
            print(f'life {n + 1}: safe up to {safe}')
        life(image, safe, last=True)
        check_image(image)
        if image != raw:
            os.remove(raw)
            subprocess.run([RING3, 'image', 'convert', image, raw], check=True)
        e2fsck = shutil.which('e2fsck', path=os.environ.get('PATH', '') + ':/sbin:/usr/sbin')
        done = subprocess.run([e2fsck, '-fn', raw], stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        expect(done.returncode == 0, 'e2fsck: ' + done.stdout)


if __name__ == '__main__':
    try:
        main()
    except Failed as why:
        print(f'FAIL: {why}')
        sys.exit(1)
