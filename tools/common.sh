# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154
# What demo.sh, check.sh and the tools share: messages, the cache and build directories, the build.
# Sourced, POSIX shell. The sourcing script sets `top` (the source tree) and `me` (its name) first.

# One line on stderr: who says it, and what.
say() { printf '%s: %s\n' "$me" "$*" >&2; }

# The same, then leave. $1 is the exit code: 125 our own failure, 126 the host lacks something.
die()
{
    code=$1
    shift
    say "$*"
    exit "$code"
}

# Where downloads and, for a read-only source tree, builds are kept.
cache_dir()
{
    if [ -z "${XDG_CACHE_HOME:-}" ] && [ -z "${HOME:-}" ]; then
        HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    fi
    printf '%s/ring3\n' "${XDG_CACHE_HOME:-$HOME/.cache}"
}

# The directory that holds one build directory per configuration.
build_root()
{
    if [ -n "${RING3_BUILD:-}" ]; then
        printf '%s\n' "$RING3_BUILD"
    elif [ -w "$top" ]; then
        printf '%s/build\n' "$top"
    else
        printf '%s/build-%s\n' "$(cache_dir)" "$(printf %s "$top" | cksum | cut -d' ' -f1)"
    fi
}

# build NAME MESON-OPTION...: configure and compile into build_root/NAME. A directory that is already
# configured keeps options not named here. The log is shown when something failed, else only kept.
build()
{
    dir=$(build_root)/$1
    log=$dir.log
    shift
    mkdir -p "$dir" || die 125 "cannot make $dir"
    if [ ! -f "$dir/build.ninja" ] || ! meson configure "$dir" "$@" >"$log" 2>&1; then
        again=
        [ ! -f "$dir/meson-private/coredata.dat" ] || again=--wipe
        # shellcheck disable=SC2086 # empty or one word
        meson setup $again "$dir" "$top" "$@" >"$log" 2>&1 ||
            { cat "$log" >&2; die 125 "meson could not configure $dir (above is why)"; }
    fi
    # ninja reconfigures by itself when options or a meson.build changed.
    ninja -C "$dir" >"$log" 2>&1 ||
        { tail -n 60 "$log" >&2; die 125 "the build in $dir failed (above is why)"; }
}

# The options of each configuration, in one place: what is tested is what is shown and measured.
# shellcheck disable=SC2120 # the arguments are optional
build_release() { build release --buildtype=debugoptimized "$@"; }
build_sanitize()
{
    build sanitize -Dwerror=false -Db_sanitize=address,undefined -Db_lundef=false "$@"
}
