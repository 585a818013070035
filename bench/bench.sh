#!/bin/sh
# SPDX-License-Identifier: MIT
# `make bench`: set up and build as demo.sh does, then measure.
#
#   bench/bench.sh [compare] [OPTION...]   user programs: host, every engine, QEMU (bench.py)
#   bench/bench.sh engine [OPTION...]      one engine by itself: MIPS, memory, idle guest (engine.py)
#
# Without arguments both. QEMU is measured when qemu-system-i386 is installed, never installed.
set -eu
me=bench
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
"$top/tools/setup.sh" bench
build_release
guest=$("$top/tools/guest.sh")
root=$(build_root)

# measure SCRIPT NAME OPTION...: the figures go to NAME.json as well.
measure()
{
    script=$1 out=$root/$2.json
    shift 2
    /usr/bin/env python3 "$top/bench/$script" "$root/release/ring3" "$guest" --json "$out" "$@"
    say "the figures are also in $out"
}
what=both
case ${1:-} in
compare | engine)
    what=$1
    shift
    ;;
-*) what=compare ;;
esac
[ "$what" = engine ] || measure bench.py bench --svg "$root/bench.svg" "$@"
[ "$what" = compare ] || measure engine.py bench-engine "$@"
