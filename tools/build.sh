#!/bin/sh
# SPDX-License-Identifier: MIT
# Build the release configuration into build/release, as demo.sh does, without installing anything.
set -eu
me=build
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
build_release "$@"
say "built $(build_root)/release"
