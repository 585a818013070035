#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch the guests that ring3 is shown and tested with: Debian's own kernels and static busyboxes.
#
#   tools/guest.sh [--arch GUEST]             fetch unless cached; prints the guest's directory
#   tools/guest.sh [--arch GUEST] --cached    never fetch: prints the directory, or fails
#   tools/guest.sh [--arch GUEST] --refresh   fetch anew
#
# GUEST is a row of the table below: an architecture by Debian's word, i386 (when none is given) or
# mipsel, or malta, the kernel that Debian makes for that MIPS board. The directory holds the kernel
# (vmlinuz, for MIPS an ELF file), busybox and modules.
#
# Needs no privilege and does not touch the machine's package state (tools/archive.sh). Packages are
# unpacked, never installed. Cached under ~/.cache/ring3 with checksums.
#
# The kernel's modules are in modules/, as tools/modules.py wants them: a hundred megabytes, so their
# checksums are a file of their own, against which each is checked when it is used. Left out are
# those for hardware that no board of ring3 will have.
set -eu
me=guest
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
. "$top/tools/archive.sh"

# guest, architecture, flavour of the kernel (linux-image-FLAVOUR depends on the newest), its file in
# /boot
guests='
i386   i386   686        vmlinuz
mipsel mipsel mips32r2el vmlinuz
malta  mipsel 4kc-malta  vmlinuz
'
usage='usage: tools/guest.sh [--arch i386|mipsel|malta] [--cached|--refresh]'

layout=2 # of the cache; another number is fetched again
guest=i386
if [ "${1:-}" = --arch ]; then
    guest=${2:-}
    shift 2 || die 125 "$usage"
fi
row=$(printf '%s' "$guests" | awk -v guest="$guest" '$1 == guest { print $2, $3, $4 }')
[ -n "$row" ] || die 125 "there is no guest of architecture \"$guest\". $usage"
arch=${row%% *} image=${row##* } flavour=${row#* }
flavour=${flavour% *}
mode=${1:-}
case $mode in
'' | --cached | --refresh) ;;
*) die 125 "$usage" ;;
esac

cache=$(cache_dir)
dest=$cache/guest-$guest

# Whole, unaltered since it was fetched, and of today's layout? Modules are checked by their user.
intact()
{
    [ -f "$dest/SHA256SUMS" ] && [ -d "$dest/modules" ] &&
        [ "$(cat "$dest/layout" 2>/dev/null)" = "$layout" ] &&
        (cd "$dest" && sha256sum --status -c SHA256SUMS) 2>/dev/null
}

if [ "$mode" = --cached ]; then
    intact || exit 1
    printf '%s\n' "$dest"
    exit 0
fi

archive_lock "$cache"
if [ "$mode" != --refresh ]; then
    if intact; then
        printf '%s\n' "$dest"
        exit 0
    fi
    [ ! -e "$dest" ] || say "the cached guest in $dest is damaged or of an older ring3; fetching it again"
fi
command -v apt-get >/dev/null || die 126 "guests come from Debian's archive through apt-get, which" \
    "this machine lacks. Put a kernel for $arch as vmlinuz, its modules and a static busybox for $arch into" \
    "$dest as $0 says"
archive_begin "$arch"

fetch()
{
    kernel=$(private_apt apt-cache show --no-all-versions "linux-image-$flavour" |
        sed -n "s/^Depends: \\(linux-image-[^ ,]*-$flavour\\)\\( .*\\)\\{0,1\\}\$/\\1/p" | head -n 1)
    [ -n "$kernel" ] ||
        { echo "no linux-image-$flavour for $arch in these sources" >>"$work/log"; return 1; }
    say "downloading $kernel busybox-static for $arch (about 70 MB)"
    archive_download "$kernel" busybox-static
}

say "looking for Debian's $arch kernel and busybox"
archive_fetch fetch
say "unpacking"
new=$(mktemp -d "$cache/guest-$guest.XXXXXX")
also=$new
archive_unpack "$new/packages"
cp "$work/root/boot/$image-${kernel#linux-image-}" "$new/vmlinuz"
cp "$work/root/bin/busybox" "$new/busybox"
mv "$work/root/lib/modules/${kernel#linux-image-}" "$new/modules"
(
    cd "$new/modules"
    rm -rf kernel/sound kernel/drivers/media kernel/drivers/infiniband kernel/drivers/iio \
        kernel/drivers/staging kernel/drivers/comedi kernel/drivers/net/wireless kernel/drivers/isdn \
        kernel/drivers/gpu/drm/amd kernel/drivers/gpu/drm/i915 kernel/drivers/gpu/drm/nouveau \
        kernel/drivers/gpu/drm/radeon kernel/drivers/bluetooth kernel/drivers/hwmon
    find . -type f ! -name SHA256SUMS | sort | sed 's|^\./||' | xargs sha256sum >SHA256SUMS
)
printf '%s\n' "$layout" >"$new/layout"
(cd "$new" && sha256sum vmlinuz busybox packages layout modules/SHA256SUMS >SHA256SUMS)
archive_keep "$new" "$dest"
say "ready: $(tr '\n' ';' <"$dest/packages")"
printf '%s\n' "$dest"
