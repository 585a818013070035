#!/bin/sh
# SPDX-License-Identifier: MIT
# One command from a fresh Debian 12 to the result of the whole test suite.
#
#   ./check.sh          everything that belongs before a commit lands
#   ./check.sh --slow   the long runs as well (tests marked `slow`)
#
# Installs what is missing, builds the release configuration and one with ASan and UBSan, fetches
# the guests, and runs every test in both; lints and real boots run in the release one. The last
# line is `N passed, N failed`. Exit code 0 when nothing failed, 1 when a test did, 125 or 126
# when it did not come to testing.
set -eu
me=check
top=$(cd "$(dirname "$0")" && pwd)
. "$top/tools/common.sh"

slow=no
case ${1:-} in
'') ;;
--slow) slow=yes ;;
*) die 125 "usage: ./check.sh [--slow]" ;;
esac

began=$(date +%s)
step() { say "[$(($(date +%s) - began)) s] $*"; }

step "looking at the packages this needs"
"$top/tools/setup.sh" check
step "getting the guests for the boot tests"
"$top/tools/guest.sh" >/dev/null
"$top/tools/guest.sh" --arch mipsel >/dev/null
"$top/tools/guest.sh" --arch malta >/dev/null
# From here on a boot test without its guest is a failure, not a skip.
export RING3_REQUIRE_GUEST=1
if [ $slow = yes ]; then
    step "getting the systems for the slow boot tests"
    "$top/tools/setup.sh" systems
    "$top/tools/systems.sh" >/dev/null
    export RING3_REQUIRE_SYSTEMS=1
fi
root=$(build_root)
step "building: release"
build_release -Dtests=enabled
step "building: ASan and UBSan"
build_sanitize -Dtests=enabled

# tests NAME ARGUMENT...: run the build directory's tests; the outcome is read from the log below.
tests()
{
    dir=$root/$1
    shift
    rm -f "$dir"/meson-logs/testlog*.json
    meson test -C "$dir" --no-rebuild --print-errorlogs "$@" </dev/null >&2 ||
        say "some tests in $dir failed"
}
if [ $slow = yes ]; then leave_out=; else leave_out='--no-suite slow'; fi
step "testing: release"
# shellcheck disable=SC2086 # options
tests release $leave_out
step "testing: ASan and UBSan"
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# A boot of a whole kernel says little more here than it did above and takes ten times as long.
# shellcheck disable=SC2086
tests sanitize --timeout-multiplier 5 --no-suite lint --no-suite boot $leave_out
step "done"
exec python3 "$top/tools/summary.py" "$root/release" "$root/sanitize"
