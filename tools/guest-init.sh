#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# /init of the demonstration guest: process 1 of an initramfs that holds only busybox.
#
# Mounts the kernel's file systems, says hello, then either runs a script or gives a shell on the
# serial console, and powers off. The script is the file /script, or kernel parameter
# ring3.script="COMMANDS". Modules named in /lib/modules/order are loaded first (tools/initramfs.sh).
# Leaves out udev, users and disks.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM="${TERM:-vt100}" PS1='guest:\w\$ '
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
cd /root || cd /
while read -r module; do
    insmod "$module" || echo "ring3: cannot load $module"
done </lib/modules/order

echo "ring3: init running"
uname -srm
grep -E '^Mem(Total|Free)' /proc/meminfo

# The parameter's value, with or without quotes, up to its end.
commands=$(sed -n -e 's/.*ring3\.script="\([^"]*\)".*/\1/p' -e t \
    -e 's/.*"ring3\.script=\([^"]*\)".*/\1/p' -e t \
    -e 's/.*ring3\.script=\([^ ]*\).*/\1/p' /proc/cmdline)

if [ -f /script ]; then
    sh /script
    echo "ring3: script ended with status $?"
elif [ -n "$commands" ]; then
    sh -c "$commands"
    echo "ring3: script ended with status $?"
else
    echo "Type 'exit' to power the guest off."
    # A session of its own with the console as controlling terminal: job control and Ctrl-C work.
    setsid cttyhack sh
fi
sync
poweroff -f
