#!/bin/sh
# SPDX-License-Identifier: MIT
# `make bench`: set up and build as demo.sh does, then measure.
#
#   bench/bench.sh compare [OPTION...]   user programs: host, every engine, QEMU (bench.py)
#   bench/bench.sh mips [OPTION...]      the same in MIPS guests: every engine and QEMU (bench.py)
#   bench/bench.sh engine [OPTION...]    one engine by itself: MIPS, memory, idle guest (engine.py)
#   bench/bench.sh nano [OPTION...]      single operations in cycles, all ways to translate (nano.py)
#   bench/bench.sh figures [OPTION...]   the translator in counts, against targets (figures.py)
#   bench/bench.sh disk [OPTION...]      virtio disks beside QEMU's (disk.py)
#   bench/bench.sh net [OPTION...]       TCP on each card beside QEMU's (net.py)
#   bench/bench.sh [all] [--rounds N] [OPTION...]
#
# `all`, which `make bench` does, runs them in this order, `engine` for both engines; N rounds (3) of
# each where rounds make sense, further options are those of `compare`. Figures go to
# build/bench*.json, and the chart of a run without further options to docs/bench.svg, of any other to
# build/bench.svg. QEMU is measured when qemu-system-i386 and qemu-system-mipsel are installed, never
# installed. On two idle processors all of it takes about 30 minutes, most of them `compare`.
set -eu
me=bench
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"

what=all
case ${1:-} in
compare | mips | engine | nano | figures | disk | net | all)
    what=$1
    shift
    ;;
'' | -*) ;;
*) die 125 "usage: bench/bench.sh [compare|mips|engine|nano|figures|disk|net|all] [OPTION...]" ;;
esac

"$top/tools/setup.sh" bench
build_release
guest=$("$top/tools/guest.sh")
root=$(build_root)
ring3=$root/release/ring3
began=$(date +%s)

# measure SCRIPT NAME ARGUMENT...: the figures go to NAME.json as well.
measure()
{
    script=$1 out=$root/$2.json
    shift 2
    /usr/bin/env python3 "$top/bench/$script" "$ring3" "$@" --json "$out"
    say "the figures are also in $out"
}

# The guest of board malta is QEMU's, too; mipsvirt needs its own kernel.
mips()
{
    malta=$("$top/tools/guest.sh" --arch malta)
    mipsvirt=$("$top/tools/guest.sh" --arch mipsel)
    measure bench.py bench-mips "$malta" "mipsvirt=$mipsvirt" --arch mips \
        --svg "$root/bench-mips.svg" "$@"
}

everything()
{
    rounds=3 svg=$top/docs/bench.svg
    if [ "${1:-}" = --rounds ]; then
        rounds=${2:?--rounds needs a number}
        shift 2
    fi
    [ $# = 0 ] || svg=$root/bench.svg
    measure bench.py bench "$guest" --svg "$svg" --rounds "$rounds" "$@"
    say "MIPS guests"
    mips --rounds "$rounds"
    for engine in interp dbt; do
        say "engine $engine by itself"
        measure engine.py "bench-engine-$engine" "$guest" --engine $engine --rounds "$rounds"
    done
    say "single operations"
    measure nano.py bench-nano --qemu --rounds "$rounds"
    say "the translator in counts"
    measure figures.py bench-figures "$guest"
    say "disks"
    measure disk.py bench-disk "$guest" --rounds "$rounds"
    say "network"
    measure net.py bench-net --rounds "$rounds"
    say "the chart is $svg; all of it took $(($(date +%s) - began)) s"
}

case $what in
all) everything "$@" ;;
compare) measure bench.py bench "$guest" --svg "$root/bench.svg" "$@" ;;
mips) mips "$@" ;;
engine) measure engine.py bench-engine "$guest" "$@" ;;
nano) measure nano.py bench-nano "$@" ;;
figures) measure figures.py bench-figures "$guest" "$@" ;;
disk) measure disk.py bench-disk "$guest" "$@" ;;
net) measure net.py bench-net "$@" ;;
esac
