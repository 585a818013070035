#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the Debian packages that ring3 needs and that are missing; do nothing when none is.
#
#   tools/setup.sh demo|check|systems|bench|tidy
#
# Looks with dpkg-query, which needs no privilege. Only when something is missing does it call apt:
# directly as root, else through sudo. The package lists are refreshed only when apt does not know
# a package or can no longer download it. Never asks a question. It leaves the machine's
# architecture list and sources alone; guests are fetched by tools/guest.sh.
set -eu
me=setup
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"

# package, and why it is needed
demo_needs='
gcc            the C compiler
libc6-dev      C library headers
meson          build system
ninja-build    build system
pkgconf        finds the libraries
libzydis-dev   x86 instruction decoder
libslirp-dev   network without privileges
zlib1g-dev     pictures of the screen, compressed qcow2 disks
libvncserver-dev  VNC; loaded when it is asked for
seabios        firmware that starts disks, CDs and floppies
libzstd-dev    packs snapshots, compressed qcow2 disks
libxxhash-dev  checksums of snapshots
libjansson-dev the control socket speaks JSON
libfdt-dev     device trees, which tell guests what machine they run on
'
check_needs="$demo_needs
libcmocka-dev  unit tests
clang-format   source format check
gdb            talks to the debugger's stub in a test
acpica-tools   disassembles the ACPI tables in their test
python3        test scripts
e2fsprogs      disks for guests of the boot tests
gcc-mipsel-linux-gnu  compiles the measured programs for MIPS guests
qemu-utils     makes, checks and serves the disk images of tests
libnbd0        disks by NBD, which are tested against qemu-nbd
xorriso        CD images
"

systems_needs="$check_needs
mmdebstrap     installs Debian for the guest that boots from a disk
arch-test      mmdebstrap asks it whether i386 programs run here
fakeroot       keeps owners of files for those who are not root
uidmap         user namespaces for them, in which mmdebstrap installs
"

bench_needs="$demo_needs
python3        measuring scripts
gcc-mipsel-linux-gnu  compiles the measured programs for MIPS guests
"

tidy_needs="$demo_needs
clang-tidy     static analysis
"

case ${1:-} in
demo) needs=$demo_needs ;;
check) needs=$check_needs ;;
systems) needs=$systems_needs ;;
bench) needs=$bench_needs ;;
tidy) needs=$tidy_needs ;;
*) die 125 "usage: tools/setup.sh demo|check|systems|bench|tidy" ;;
esac

all=$(printf '%s' "$needs" | awk 'NF { printf "%s ", $1 }')
if [ -n "${RING3_SKIP_SETUP:-}" ]; then
    say "RING3_SKIP_SETUP is set: not looking for packages"
    exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die 126 "this is not a Debian system (no dpkg or apt). Install what these Debian 12 packages" \
        "hold, then run again with RING3_SKIP_SETUP=1: $all"
fi

missing=
for p in $all; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

say "Debian packages missing, to be installed with apt:"
printf '%s' "$needs" | while read -r p why; do
    [ -n "$p" ] || continue
    case " $missing " in *" $p "*) printf '    %-14s %s\n' "$p" "$why" >&2 ;; esac
done

by_hand="apt-get update && apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    # Without a terminal sudo could only hang or fail at its password prompt.
    if [ -t 0 ] && [ -t 2 ]; then as_root=sudo; else as_root='sudo -n'; fi
    $as_root true || die 126 "sudo is refused to $(id -un). Have root run: $by_hand"
    say "using sudo for apt only"
else
    die 126 "not root, and there is no sudo. Have root run: $by_hand"
fi

apt()
{
    # stdin is empty and debconf silent, so no package can ask anything.
    $as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
        apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
        "$@" </dev/null >&2
}
refresh()
{
    say "refreshing apt's package lists"
    # Another vendor's source may be broken; what counts is whether the install then works.
    apt update || say "apt-get update had errors; trying all the same"
}

fresh=no
# shellcheck disable=SC2086 # a list of package names
if ! apt-get -s -qq --no-install-recommends install $missing </dev/null >/dev/null 2>&1; then
    refresh
    fresh=yes
fi
# shellcheck disable=SC2086
if ! apt install --no-install-recommends $missing; then
    # Old lists name versions that the mirror has since dropped.
    [ $fresh = no ] || die 126 "apt could not install:$missing (above is why)"
    refresh
    apt install --no-install-recommends $missing ||
        die 126 "apt could not install:$missing (above is why)"
fi
say "packages installed"
