#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch the guest that ring3 is shown and tested with: Debian's own i386 kernel and static busybox.
#
#   tools/guest.sh             fetch unless cached; prints the directory with vmlinuz, busybox, modules
#   tools/guest.sh --cached    never fetch: prints the directory, or fails
#   tools/guest.sh --refresh   fetch anew
#
# Needs no privilege and does not touch the machine's package state: apt runs with a private
# configuration, private lists and an empty private dpkg status, for architecture i386. apt checks
# the signatures as it always does; a pin lets only packages of origin Debian in. Packages are
# unpacked, never installed. The mirrors are the machine's own Debian entries, so proxies and local
# mirrors work; deb.debian.org comes after them. Cached under ~/.cache/ring3 with checksums.
#
# The kernel's modules are in modules/, as tools/modules.py wants them: a hundred megabytes, so their
# checksums are a file of their own, against which each is checked when it is used. Left out are
# those for hardware that no board of ring3 will have.
set -eu
me=guest
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"

suite=bookworm # the release the tests know; an i386 kernel no longer exists in the next one
layout=2       # of the cache; another number is fetched again
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mode=${1:-}
case $mode in
'' | --cached | --refresh) ;;
*) die 125 "usage: tools/guest.sh [--cached|--refresh]" ;;
esac

cache=$(cache_dir)
dest=$cache/guest-i386

# Whole, unaltered since it was fetched, and of today's layout? Modules are checked by their user.
intact()
{
    [ -f "$dest/SHA256SUMS" ] && [ -d "$dest/modules" ] &&
        [ "$(cat "$dest/layout" 2>/dev/null)" = "$layout" ] &&
        (cd "$dest" && sha256sum --status -c SHA256SUMS) 2>/dev/null
}

if [ "$mode" = --cached ]; then
    intact || exit 1
    printf '%s\n' "$dest"
    exit 0
fi

mkdir -p "$cache" || die 125 "cannot make $cache"
exec 9>"$cache/lock" || die 125 "cannot write to $cache"
flock -n 9 || { say "another ring3 is fetching; waiting for it"; flock 9; }
if [ "$mode" != --refresh ]; then
    if intact; then
        printf '%s\n' "$dest"
        exit 0
    fi
    [ ! -e "$dest" ] || say "the cached guest in $dest is damaged or of an older ring3; fetching it again"
fi
command -v apt-get >/dev/null || die 126 "guests come from Debian's archive through apt-get, which" \
    "this machine lacks. Put an i386 vmlinuz, its modules and a static i386 busybox into $dest as $0 says"

work=$(mktemp -d "${TMPDIR:-/tmp}/ring3-guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 125' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$work/sources" "$work/root"
: >"$work/status"
if [ "$(id -u)" -eq 0 ] && id _apt >/dev/null 2>&1; then
    # As root, apt downloads as _apt: let it reach these directories.
    chmod 755 "$work"
    chown _apt "$work/debs" "$work/lists/partial" "$work/archives/partial"
fi

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

# Read by apt after the machine's own configuration, of which proxies and the like stay in force.
cat >"$work/apt.conf" <<END
APT::Architecture "i386";
#clear APT::Architectures;
APT::Architectures { "i386"; };
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

packages=
fetch()
{
    rm -rf "$work"/debs/*
    # One broken index among several must not stop us: what counts is what can be downloaded.
    private_apt apt-get update || echo "apt-get update had errors" >>"$work/log"
    kernel=$(private_apt apt-cache show --no-all-versions linux-image-686 |
        sed -n 's/^Depends: \(linux-image-[^ ,]*-686\)\( .*\)\{0,1\}$/\1/p' | head -n 1)
    [ -n "$kernel" ] || { echo "no linux-image-686 for i386 in these sources" >>"$work/log"; return 1; }
    packages="$kernel busybox-static"
    say "downloading $packages for i386 (about 70 MB)"
    # shellcheck disable=SC2086 # two names
    (cd "$work/debs" && private_apt apt-get download $packages)
}

try()
{
    for pause in 3 10 0; do
        : >"$work/log"
        if fetch; then return 0; fi
        [ $pause = 0 ] || { say "that failed; trying again in $pause s"; sleep $pause; }
    done
    cat "$work/log" >&2
    return 1
}

say "looking for Debian's i386 kernel and busybox"
if ! { machine_sources && try; }; then
    say "the machine's own Debian mirrors did not serve; using deb.debian.org"
    default_sources
    try || die 126 "could not download the guest's packages (above is why); is there a network?"
fi

say "unpacking"
for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/root" || die 125 "dpkg-deb could not unpack $deb"
done
new=$(mktemp -d "$cache/guest-i386.XXXXXX")
trap 'rm -rf "$work" "$new"' EXIT
cp "$work/root/boot/vmlinuz-${kernel#linux-image-}" "$new/vmlinuz"
cp "$work/root/bin/busybox" "$new/busybox"
mv "$work/root/lib/modules/${kernel#linux-image-}" "$new/modules"
(
    cd "$new/modules"
    rm -rf kernel/sound kernel/drivers/media kernel/drivers/infiniband kernel/drivers/iio \
        kernel/drivers/staging kernel/drivers/comedi kernel/drivers/net/wireless kernel/drivers/isdn \
        kernel/drivers/gpu/drm/amd kernel/drivers/gpu/drm/i915 kernel/drivers/gpu/drm/nouveau \
        kernel/drivers/gpu/drm/radeon kernel/drivers/bluetooth kernel/drivers/hwmon
    find . -type f ! -name SHA256SUMS | sort | sed 's|^\./||' | xargs sha256sum >SHA256SUMS
)
printf '%s\n' "$layout" >"$new/layout"
for deb in "$work"/debs/*.deb; do
    # shellcheck disable=SC2016 # dpkg's own variables
    dpkg-deb -W --showformat='${Package} ${Version} ${Architecture}\n' "$deb"
done >"$new/packages"
(cd "$new" && sha256sum vmlinuz busybox packages layout modules/SHA256SUMS >SHA256SUMS)
chmod 755 "$new"
# Under the lock: readers see the old directory or the new one, never a mixture.
if [ -e "$dest" ]; then
    mv "$dest" "$new.old"
    mv "$new" "$dest"
    rm -rf "$new.old"
else
    mv "$new" "$dest"
fi
say "ready: $(tr '\n' ';' <"$dest/packages")"
printf '%s\n' "$dest"
