#!/bin/sh
# SPDX-License-Identifier: MIT
# Build a small initramfs around a static busybox, as any user.
#
#   tools/initramfs.sh [--modules "NAME..."] [--add FILE[=NAME]]... BUSYBOX OUTPUT [SCRIPT [PROGRAM]]
#
# The archive is written entry by entry in cpio's "newc" form (Documentation/driver-api/early-
# userspace/buffer-format.rst of Linux), so device nodes need no privilege, cpio need not be
# installed and the same input gives the same bytes. SCRIPT becomes /script in the guest, PROGRAM
# a file of its own name in /bin. --add puts a further file there, or at NAME, a path from the root.
#
# --modules puts kernel modules in, with what they depend on, from the directory `modules` beside
# BUSYBOX (tools/modules.py; needs python3). /init loads them in order, before anything else.
set -eu
me=initramfs
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
usage='usage: tools/initramfs.sh [--modules "NAME..."] [--add FILE[=NAME]]... BUSYBOX OUTPUT [SCRIPT [PROGRAM]]'
modules='' added=''
while :; do
    case ${1:-} in
    --modules) modules="$modules ${2:?$usage}" ;;
    --add) added="$added${2:?$usage}
" ;;
    -*) die 125 "$usage" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || die 125 "$usage"
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

# folders PATH: the directories above a member that the archive does not have yet.
made=' '
folders()
{
    case $1 in */*) ;; *) return 0 ;; esac
    folders "${1%/*}"
    case $made in *" ${1%/*} "*) return 0 ;; esac
    made="$made${1%/*} "
    entry "${1%/*}" 040755
}

temp=$(mktemp -d "${TMPDIR:-/tmp}/ring3-initramfs.XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 125' HUP INT TERM

: >"$temp/modules"
if [ -n "$modules" ]; then
    # shellcheck disable=SC2086 # several names
    "$top/tools/modules.py" "$(dirname "$busybox")/modules" $modules >"$temp/modules" ||
        die 127 "no initramfs without these modules"
fi
sed 's|.*/|/lib/modules/|' "$temp/modules" >"$temp/order"

{
    for d in bin dev etc lib lib/modules proc root sys tmp; do
        made="$made$d "
        entry $d 040755
    done
    # The kernel opens it for /init before devtmpfs is there.
    entry dev/console 020600 5:1
    entry bin/busybox 0100755 "$busybox"
    entry init 0100755 "$top/tools/guest-init.sh"
    [ -z "$script" ] || entry script 0100755 "$script"
    [ -z "$program" ] || entry "bin/${program##*/}" 0100755 "$program"
    entry lib/modules/order 0100644 "$temp/order"
    while read -r module; do
        entry "lib/modules/${module##*/}" 0100644 "$module"
    done <"$temp/modules"
    printf %s "$added" >"$temp/added"
    while IFS='=' read -r file name; do
        [ -n "$name" ] || name=bin/${file##*/}
        name=${name#/}
        folders "$name"
        if [ -x "$file" ]; then mode=0100755; else mode=0100644; fi
        entry "$name" $mode "$file"
    done <"$temp/added"
    entry 'TRAILER!!!' 0
} >"$temp/archive"
gzip -n -6 <"$temp/archive" >"$temp/archive.gz"
# Renamed into place, so a reader never sees half of it.
mkdir -p "$(dirname "$output")"
cp "$temp/archive.gz" "$output.$$"
mv "$output.$$" "$output"
