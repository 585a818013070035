# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154
# Debian packages of any architecture for guests, without privilege and without touching the machine's
# package state: apt runs with a private configuration, private lists and an empty private dpkg
# status. apt checks the signatures as it always does; a pin lets only packages of origin Debian in.
# The mirrors are the machine's own Debian entries, so proxies and local mirrors work; deb.debian.org
# comes after them. Packages are downloaded, never installed.
#
# Sourced after common.sh; the sourcing script has set `top` and `me`. archive_begin sets `work`, a
# directory that goes at exit; what is in `also` by then goes too.

suite=bookworm # the release the tests know; an i386 kernel no longer exists in the next one
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
also=

# archive_lock DIRECTORY: make it, and be the only one who fetches into it until the script ends.
archive_lock()
{
    mkdir -p "$1" || die 125 "cannot make $1"
    exec 9>"$1/lock" || die 125 "cannot write to $1"
    flock -n 9 || { say "another ring3 is fetching; waiting for it"; flock 9; }
}

# archive_begin ARCHITECTURE
archive_begin()
{
    work=$(mktemp -d "${TMPDIR:-/tmp}/ring3-$me.XXXXXX")
    # shellcheck disable=SC2086 # several directories
    trap 'rm -rf "$work" $also' EXIT
    trap 'exit 125' HUP INT TERM
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$work/sources" "$work/root"
    : >"$work/status"
    if [ "$(id -u)" -eq 0 ] && id _apt >/dev/null 2>&1; then
        # As root, apt downloads as _apt: let it reach these directories.
        chmod 755 "$work"
        chown _apt "$work/debs" "$work/lists/partial" "$work/archives/partial"
    fi
    archive_configure "$1"
}

# Read by apt after the machine's own configuration, of which proxies and the like stay in force.
archive_configure()
{
    cat >"$work/apt.conf" <<END
APT::Architecture "$1";
#clear APT::Architectures;
APT::Architectures { "$1"; };
#clear APT::Default-Release;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::CNF;
#clear Acquire::IndexTargets::deb::Contents-deb;
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/sources";
Dir::Etc::preferences "$work/preferences";
Dir::Etc::preferencesparts "/dev/null";
END
    cat >"$work/preferences" <<END
Package: *
Pin: release o=Debian
Pin-Priority: 500

Package: *
Pin: origin *
Pin-Priority: -1
END
}

# The machine's Debian entries: main, from any mirror whose suite is this release's. Entries of
# other vendors can slip through; the pin below makes them harmless.
machine_sources()
{
    host=$(. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}") || host=
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk -v host="${host:-$suite}" -v suite="$suite" '
        $1 == "deb" {
            options = ""
            sub(/^[ \t]*deb[ \t]+/, "")
            sub(/#.*/, "")
            if (match($0, /^\[[^]]*\]/)) {
                options = substr($0, 2, RLENGTH - 2)
                $0 = substr($0, RLENGTH + 1)
                gsub(/arch(-|\+|\+-)?=[^ ]*/, "", options)
                options = "[ " options " ] "
            }
            if ($1 !~ /debian/ || $0 !~ / main/)
                next
            if ($2 !~ "^(" host "|" suite "|stable)(-updates|-security)?$")
                next
            sub("^(" host "|stable)", suite, $2)
            print "deb " options $1 " " $2 " main"
        }' >"$work/sources/machine.list"
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -r "$f" ] || continue
        cat "$f"
        echo
    done | awk -v host="${host:-$suite}" -v suite="$suite" '
        # One stanza a record: keep every field (an inline key too) but types, suites, components
        # and architectures.
        function finish(   n, i, part, suites) {
            n = split(field["suites"], part, /[ \t]+/)
            for (i = 1; i <= n; i++)
                if (part[i] ~ "^(" host "|" suite "|stable)(-updates|-security)?$") {
                    sub("^(" host "|stable)", suite, part[i])
                    suites = suites " " part[i]
                }
            if (suites != "" && field["types"] ~ /deb( |$)/ && field["uris"] ~ /debian/ &&
                field["components"] ~ /main/ && tolower(field["enabled"]) !~ /no|false|off|0/)
                print kept "Types: deb\nSuites:" suites "\nComponents: main\n"
            kept = name = ""
            split("", field)
        }
        /^#/ { next }
        /^[ \t]*$/ { finish(); next }
        /^[^ \t]/ {
            name = tolower(substr($0, 1, index($0, ":") - 1))
            field[name] = substr($0, index($0, ":") + 1)
            sub(/^[ \t]+/, "", field[name])
        }
        /^[ \t]/ { field[name] = field[name] " " $0 }
        name !~ /^(types|suites|components|architectures|enabled|targets)$/ { kept = kept $0 "\n" }
        END { finish() }' >"$work/sources/machine.sources"
    [ -s "$work/sources/machine.list" ] || [ -s "$work/sources/machine.sources" ]
}

default_sources()
{
    rm -f "$work"/sources/*
    [ -r "$keyring" ] || die 126 "no $keyring to check Debian's signatures with;" \
        "install the package debian-archive-keyring"
    cat >"$work/sources/default.list" <<END
deb [signed-by=$keyring] http://deb.debian.org/debian $suite main
deb [signed-by=$keyring] http://deb.debian.org/debian-security $suite-security main
END
}

# Progress bars on a terminal only; what apt says is kept for the error message.
private_apt()
{
    program=$1
    shift
    if [ -t 2 ] && [ "$program" = apt-get ]; then
        LC_ALL=C.UTF-8 "$program" -c "$work/apt.conf" "$@" </dev/null >&2
    else
        LC_ALL=C.UTF-8 "$program" -c "$work/apt.conf" -qq "$@" </dev/null 2>>"$work/log"
    fi
}

# archive_try FUNCTION: until it succeeds, or gives up after the third time.
archive_try()
{
    for pause in 3 10 0; do
        : >"$work/log"
        # One broken index among several must not stop us: what counts is what can be downloaded.
        private_apt apt-get update || echo "apt-get update had errors" >>"$work/log"
        if "$@"; then return 0; fi
        [ $pause = 0 ] || { say "that failed; trying again in $pause s"; sleep $pause; }
    done
    cat "$work/log" >&2
    return 1
}

# archive_fetch FUNCTION [ARGUMENT...]: it downloads with private_apt, from the machine's mirrors or,
# if these do not have it, from Debian's.
archive_fetch()
{
    if machine_sources && archive_try "$@"; then return 0; fi
    say "the machine's own Debian mirrors did not serve; using deb.debian.org"
    default_sources
    archive_try "$@" || die 126 "could not download the packages (above is why); is there a network?"
}

# archive_download PACKAGE...: into $work/debs, which then holds no others.
archive_download()
{
    rm -rf "$work"/debs/*
    (cd "$work/debs" && private_apt apt-get download "$@")
}

# Unpack what was downloaded into $work/root, and say what it was in the file $1.
archive_unpack()
{
    for deb in "$work"/debs/*.deb; do
        dpkg-deb -x "$deb" "$work/root" || die 125 "dpkg-deb could not unpack $deb"
        # shellcheck disable=SC2016 # dpkg's own variables
        dpkg-deb -W --showformat='${Package} ${Version} ${Architecture}\n' "$deb"
    done >"$1"
}

# archive_keep NEW DESTINATION: under the lock; readers see the old directory or the new one, never a
# mixture.
archive_keep()
{
    chmod 755 "$1"
    if [ -e "$2" ]; then
        mv "$2" "$1.old"
        mv "$1" "$2"
        rm -rf "$1.old"
    else
        mv "$1" "$2"
    fi
}
