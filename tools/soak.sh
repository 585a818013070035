#!/bin/sh
# SPDX-License-Identifier: MIT
# `make soak`: set up and build as demo.sh does, then soak the translator for a while.
#
#   tools/soak.sh [MINUTES [OPTION...]]     60 minutes; tests/soak/soak.py says what happens
set -eu
me=soak
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
"$top/tools/setup.sh" bench
build_release
"$top/tools/guest.sh" >/dev/null
minutes=${1:-60}
[ $# -eq 0 ] || shift
exec /usr/bin/env python3 "$top/tests/soak/soak.py" "$(build_root)/release/ring3" "$minutes" "$@"
