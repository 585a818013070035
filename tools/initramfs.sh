#!/bin/sh
# SPDX-License-Identifier: MIT
# Build a small initramfs around a static busybox, as any user.
#
#   tools/initramfs.sh BUSYBOX OUTPUT [SCRIPT [PROGRAM]]
#
# The archive is written entry by entry in cpio's "newc" form (Documentation/driver-api/early-
# userspace/buffer-format.rst of Linux), so device nodes need no privilege, cpio need not be
# installed and the same input gives the same bytes. SCRIPT becomes /script in the guest, PROGRAM
# a file of its own name in /bin.
set -eu
me=initramfs
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
[ $# -ge 2 ] || die 125 "usage: tools/initramfs.sh BUSYBOX OUTPUT [SCRIPT [PROGRAM]]"
busybox=$1 output=$2 script=${3:-} program=${4:-}
for f in "$busybox" ${script:+"$script"} ${program:+"$program"}; do
    [ -r "$f" ] || die 127 "cannot read $f"
done

offset=0
inode=0

# pad: zero bytes up to the next multiple of four.
pad()
{
    n=$(((4 - offset % 4) % 4))
    [ $n -eq 0 ] || head -c $n /dev/zero
    offset=$((offset + n))
}

# entry NAME MODE [FILE|MAJOR:MINOR]: one archive member; MODE is octal with the file type.
entry()
{
    size=0 major=0 minor=0
    case ${3:-} in
    *:*) major=${3%:*} minor=${3#*:} ;;
    ?*) size=$(wc -c <"$3") ;;
    esac
    inode=$((inode + 1))
    # magic, ino, mode, uid, gid, nlink, mtime, size, dev, rdev, name size, checksum
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' $inode "$2" 0 0 1 0 \
        "$size" 0 0 "$major" "$minor" $((${#1} + 1)) 0
    printf '%s\0' "$1"
    offset=$((offset + 110 + ${#1} + 1))
    pad
    if [ "$size" -gt 0 ]; then
        cat "$3"
        offset=$((offset + size))
        pad
    fi
}

temp=$(mktemp -d "${TMPDIR:-/tmp}/ring3-initramfs.XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 125' HUP INT TERM

{
    for d in bin dev etc proc root sys tmp; do
        entry $d 040755
    done
    # The kernel opens it for /init before devtmpfs is there.
    entry dev/console 020600 5:1
    entry bin/busybox 0100755 "$busybox"
    entry init 0100755 "$top/tools/guest-init.sh"
    [ -z "$script" ] || entry script 0100755 "$script"
    [ -z "$program" ] || entry "bin/${program##*/}" 0100755 "$program"
    entry 'TRAILER!!!' 0
} >"$temp/archive"
gzip -n -6 <"$temp/archive" >"$temp/archive.gz"
# Renamed into place, so a reader never sees half of it.
mkdir -p "$(dirname "$output")"
cp "$temp/archive.gz" "$output.$$"
mv "$output.$$" "$output"
