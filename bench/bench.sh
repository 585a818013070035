#!/bin/sh
# SPDX-License-Identifier: MIT
# `make bench`: set up and build as demo.sh does, then measure with bench.py, to which arguments go.
set -eu
me=bench
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
"$top/tools/setup.sh" demo
build_release
guest=$("$top/tools/guest.sh")
out=$(build_root)/bench.json
/usr/bin/env python3 "$top/bench/bench.py" "$(build_root)/release/ring3" "$guest" --json "$out" "$@"
say "the figures are also in $out"
