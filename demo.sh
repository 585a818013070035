#!/bin/sh
# SPDX-License-Identifier: MIT
# One command from a fresh Debian 12 to a Debian i386 kernel running in ring3.
# Installs what is missing, builds, fetches the guest, boots it: on a terminal to a shell to type
# at, otherwise through a short session of commands. See --help.
set -eu
me=demo
top=$(cd "$(dirname "$0")" && pwd)
. "$top/tools/common.sh"

usage()
{
    cat <<'END'
usage: ./demo.sh [--memory SIZE] [--scripted] [--refresh]

  --memory SIZE   RAM of the guest, for example 128M or 2G (default 256M)
  --scripted      run the short session even on a terminal
  --refresh       fetch the guest's packages anew

At the guest's prompt: 'exit' powers it off; Ctrl-a x ends ring3, Ctrl-a h lists its keys.
The exit code is ring3's: 0 when the guest powered off.
END
}

memory=256M scripted=no refresh=
while [ $# -gt 0 ]; do
    case $1 in
    --memory) [ $# -ge 2 ] || die 125 "--memory needs a size"; memory=$2; shift ;;
    --memory=*) memory=${1#*=} ;;
    --scripted) scripted=yes ;;
    --refresh) refresh=--refresh ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die 125 "unknown option '$1'" ;;
    esac
    shift
done
[ -t 0 ] && [ -t 1 ] || scripted=yes

began=$(date +%s)
say "1/4 looking at the packages this needs"
"$top/tools/setup.sh" demo
say "2/4 building ring3"
build_release
ring3=$(build_root)/release/ring3
# A short name to type afterwards, where no other build lives in its place.
[ -f "$(build_root)/build.ninja" ] || ln -sf release/ring3 "$(build_root)/ring3"
say "3/4 getting the guest (Debian's i386 kernel, busybox)"
guest=$("$top/tools/guest.sh" $refresh)
initrd=$(build_root)/demo-initramfs.gz
if [ $scripted = yes ]; then session=$top/tools/demo-session.sh; else session=; fi
"$top/tools/initramfs.sh" "$guest/busybox" "$initrd" ${session:+"$session"}

# The kernel's self-tests of its ciphers would be more than half of the boot.
append='console=ttyS0 rdinit=/init quiet panic=-1 cryptomgr.notests'
say "4/4 booting: ring3 run -m $memory --initrd $initrd --append '$append' $guest/vmlinuz"
code=0
if [ $scripted = yes ]; then
    # A limit, so that nothing that calls this waits for ever.
    "$ring3" run -m "$memory" --timeout "${RING3_DEMO_TIMEOUT:-300s}" --initrd "$initrd" \
        --append "$append" "$guest/vmlinuz" </dev/null || code=$?
else
    say "the prompt comes in a few seconds; 'exit' powers off, Ctrl-a x quits"
    "$ring3" run -m "$memory" --initrd "$initrd" --append "$append" "$guest/vmlinuz" || code=$?
fi
say "guest ended with exit code $code after $(($(date +%s) - began)) s in all"
exit $code
