#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch or build the real systems that the slow tests run: everything from Debian's archive, i386.
#
#   tools/systems.sh [NAME...]           what is not cached yet; all when none is named
#   tools/systems.sh --cached NAME       never fetch: prints the directory, or fails
#   tools/systems.sh --refresh [NAME...] anew
#
#   debian     Debian 12 with systemd: disk.img (MBR, GRUB, one ext4), vmlinuz and initrd.img of the
#              same installation; `root` has no password
#   installer  Debian's installer, netboot: linux and initrd.gz, for text and (gtk-) for the screen;
#              installer.iso starts the text one by ISOLINUX
#   grub       rescue images of GRUB: floppy.img and cdrom.iso
#   memtest    Memtest86+: memtest.bin (a Linux-like kernel and a floppy) and memtest.iso
#   ipxe       network boot: ipxe.lkrn (a Linux-like kernel) and ipxe.iso
#   hdt        hdt.iso: the Hardware Detection Tool on ISOLINUX, on the serial port
#   invaders   a multiboot kernel for the text screen
#
# Packages come as tools/archive.sh says and are unpacked; only `debian` is installed, by mmdebstrap,
# into a directory of its own. As root or as a user who may have user namespaces. No loop devices:
# file systems are made by mke2fs -d, the boot loader is put where it belongs by tools/diskimage.py.
# Each system has its directory under ~/.cache/ring3/systems, with checksums of all that is in it.
# --cached looks only whether sizes and times of the files are as they were, because a gigabyte takes
# seconds to read.
# shellcheck disable=SC2016,SC2034 # packages_NAME are used by name; apt has dollars of its own
set -eu
me=systems
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/common.sh"
. "$top/tools/archive.sh"
PATH=$PATH:/usr/sbin:/sbin

layout=2 # of the cache; another number is fetched again
all='grub memtest ipxe hdt invaders installer debian'
usage="usage: tools/systems.sh [--cached|--refresh] [NAME...]; the names are $all"
mode=
case ${1:-} in
--cached | --refresh)
    mode=$1
    shift
    ;;
-*) die 125 "$usage" ;;
esac
for name in "$@"; do
    case " $all " in *" $name "*) ;; *) die 125 "there is no system $name; $usage" ;; esac
done
[ $# -gt 0 ] || eval "set -- $all"

cache=$(cache_dir)/systems

# stamp DIRECTORY: names, sizes and times of what is in it.
stamp() { (cd "$1" && stat -c '%n %s %Y' -- * | grep -v -e '^stamp ' -e '^SHA256SUMS '); }

untouched()
{
    [ "$(cat "$cache/$1/layout" 2>/dev/null)" = "$layout" ] &&
        stamp "$cache/$1" | cmp -s - "$cache/$1/stamp"
}
intact() { untouched "$1" && (cd "$cache/$1" && sha256sum --status -c SHA256SUMS) 2>/dev/null; }

if [ "$mode" = --cached ]; then
    for name in "$@"; do
        untouched "$name" || exit 1
        printf '%s\n' "$cache/$name"
    done
    exit 0
fi

need()
{
    command -v "$1" >/dev/null || die 126 "$1 is missing; install the package $2 (tools/setup.sh systems)"
}

# ---- each fills $new, with the unpacked packages in $work/root ----------------------------------

packages_grub=grub-rescue-pc
make_grub()
{
    cp "$work/root/usr/lib/grub-rescue/grub-rescue-floppy.img" "$new/floppy.img"
    # A floppy has 1.44 MB; the image ends with its data.
    truncate -s 1474560 "$new/floppy.img"
    cp "$work/root/usr/lib/grub-rescue/grub-rescue-cdrom.iso" "$new/cdrom.iso"
}

packages_memtest=memtest86+
make_memtest()
{
    cp "$work/root/boot/memtest86+ia32.bin" "$new/memtest.bin"
    cp "$work/root/usr/lib/memtest86+/memtest86+ia32.iso" "$new/memtest.iso"
}

packages_ipxe=ipxe
make_ipxe()
{
    cp "$work/root/boot/ipxe.lkrn" "$work/root/usr/lib/ipxe/ipxe.iso" "$new"
}

packages_invaders=grub-invaders
make_invaders()
{
    cp "$work/root/boot/invaders.exec" "$new/invaders"
}

# iso OUTPUT: a CD that starts ISOLINUX (El Torito, no emulation), from the tree $work/iso.
iso()
{
    need xorriso xorriso
    mkdir -p "$work/iso/isolinux"
    cp "$work/root/usr/lib/ISOLINUX/isolinux.bin" "$work/iso/isolinux"
    for module in ldlinux libcom32 libutil libgpl libmenu hdt; do
        cp "$work/root/usr/lib/syslinux/modules/bios/$module.c32" "$work/iso/isolinux"
    done
    # -r: the same owner and rights for everybody.
    xorriso -as mkisofs -quiet -r -V RING3 -o "$1" -b isolinux/isolinux.bin -c isolinux/boot.cat \
        -no-emul-boot -boot-load-size 4 -boot-info-table "$work/iso" 2>>"$work/log" ||
        { cat "$work/log" >&2; die 125 "xorriso could not make $1 (above is why)"; }
    rm -rf "$work/iso"
}

packages_hdt='isolinux syslinux-common'
make_hdt()
{
    mkdir -p "$work/iso/isolinux"
    cat >"$work/iso/isolinux/isolinux.cfg" <<'END'
SERIAL 0 115200
DEFAULT hdt
PROMPT 0
LABEL hdt
    COM32 hdt.c32
    APPEND nomenu
END
    iso "$new/hdt.iso"
}

packages_installer='debian-installer-12-netboot-i386 isolinux syslinux-common'
make_installer()
{
    images=$work/root/usr/lib/debian-installer/images/12/i386
    cp "$images/text/debian-installer/i386/linux" "$new/linux"
    cp "$images/text/debian-installer/i386/initrd.gz" "$new/initrd.gz"
    cp "$images/gtk/debian-installer/i386/initrd.gz" "$new/gtk-initrd.gz"
    cmp -s "$images/gtk/debian-installer/i386/linux" "$new/linux" ||
        cp "$images/gtk/debian-installer/i386/linux" "$new/gtk-linux"
    mkdir -p "$work/iso/isolinux"
    cp "$new/linux" "$new/initrd.gz" "$work/iso"
    cat >"$work/iso/isolinux/isolinux.cfg" <<'END'
SERIAL 0 115200
DEFAULT install
PROMPT 1
TIMEOUT 20
SAY ISOLINUX of the Debian installer
LABEL install
    KERNEL /linux
    INITRD /initrd.gz
    APPEND vga=normal console=ttyS0 DEBIAN_FRONTEND=text priority=critical quiet
END
    iso "$new/installer.iso"
}

# The tree of the root file system becomes an image. Under fakeroot, unless we are root: owners and
# device nodes of the archive are then remembered, not made.
packages_debian=
root_image()
{
    mkdir "$work/tree"
    tar -C "$work/tree" -xpf "$work/root.tar" --exclude='./dev/*'
    (cd "$work/tree/boot" && cat vmlinuz-*) >"$new/vmlinuz"
    (cd "$work/tree/boot" && cat initrd.img-*) >"$new/initrd.img"
    cp "$work/tree/boot/ring3/boot.img" "$work/tree/boot/ring3/core.img" "$work"
    rm -rf "$work/tree/boot/ring3"
    mke2fs -q -F -t ext4 -L root -d "$work/tree" "$work/root.img" 1100M
}

# The sources whose package lists could be had: mmdebstrap wants all or none.
sources()
{
    private_apt apt-get indextargets --format '$(FILENAME) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        while read -r file uri release; do
            # Compressed or not, as apt keeps it.
            set -- "$file"*
            [ ! -e "$1" ] || echo "deb [signed-by=$keyring] $uri $release main"
        done
}

has_kernel() { private_apt apt-cache show linux-image-686 >/dev/null; }

make_debian()
{
    need mmdebstrap mmdebstrap
    need arch-test arch-test
    need mke2fs e2fsprogs
    # What an administrator would do after installing.
    cat >"$work/customize" <<'END'
set -eu
chroot "$1" passwd -d root
echo guest >"$1/etc/hostname"
echo '127.0.0.1 localhost guest' >"$1/etc/hosts"
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >"$1/etc/fstab"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >"$1/etc/systemd/network/20-dhcp.network"
chroot "$1" systemctl enable systemd-networkd
# No use on a machine that lives for a minute.
chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    systemd-networkd-wait-online.service
rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*
mkdir -p "$1/boot/grub" "$1/boot/ring3"
cat >"$1/boot/grub/grub.cfg" <<'CFG'
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=1
set root=(hd0,msdos1)
menuentry 'Debian' {
    linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0,115200 quiet cryptomgr.notests
    initrd /initrd.img
}
CFG
echo 'set prefix=(hd0,msdos1)/boot/grub' >"$1/boot/ring3/early.cfg"
chroot "$1" grub-mkimage -O i386-pc -o /boot/ring3/core.img -p '(hd0,msdos1)/boot/grub' \
    biosdisk part_msdos ext2 normal linux serial terminal minicmd configfile echo
cp "$1/usr/lib/grub/i386-pc/boot.img" "$1/boot/ring3/"
END
    # As a user mmdebstrap runs it under other ids.
    chmod 755 "$work" "$work/customize"
    proxy=$(apt-config dump --format '%f "%v";%n' Acquire::http::Proxy 2>/dev/null)
    sources >"$work/mmdebstrap.list"
    mmdebstrap --quiet --arch=i386 --variant=minbase ${proxy:+"--aptopt=$proxy"} \
        --include=systemd-sysv,udev,kmod,login,passwd,iproute2,procps,dbus,libpam-systemd,linux-image-686,zstd,grub-common,grub-pc-bin,e2fsprogs,wget \
        --customize-hook="$work/customize" $suite "$work/root.tar" "$work/mmdebstrap.list" >>"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die 125 "mmdebstrap could not install Debian (above is why); as a user" \
            "it needs newuidmap (package uidmap) and ids in /etc/subuid and /etc/subgid"; }
    say "debian: making the disk"
    if [ "$(id -u)" -eq 0 ]; then
        root_image
    else
        need fakeroot fakeroot
        export work new
        fakeroot sh -c "set -eu; $(sed -n '/^root_image()/,/^}/p' "$0"); root_image"
    fi
    "$top/tools/diskimage.py" "$work/boot.img" "$work/core.img" "$work/root.img" "$new/disk.img"
    rm -rf "$work/tree" "$work/root.tar" "$work/root.img"
}

# ------------------------------------------------------------------------------------------------

download()
{
    say "$1: downloading $2"
    # shellcheck disable=SC2086 # several names
    archive_download $2
}

archive_lock "$cache"
begun=
for name in "$@"; do
    if [ "$mode" != --refresh ] && intact "$name"; then
        printf '%s\n' "$cache/$name"
        continue
    fi
    command -v apt-get >/dev/null || die 126 "systems come from Debian's archive through apt-get," \
        "which this machine lacks"
    [ -n "$begun" ] || { archive_begin i386; begun=yes; }
    new=$(mktemp -d "$cache/$name.XXXXXX")
    also="$also $new"
    eval "packages=\$packages_$name"
    if [ -n "$packages" ]; then
        archive_fetch download "$name" "$packages"
        archive_unpack "$new/packages"
    else
        say "$name: installing (a minute or two)"
        archive_fetch has_kernel
    fi
    "make_$name"
    printf '%s\n' "$layout" >"$new/layout"
    stamp "$new" >"$work/stamp"
    # shellcheck disable=SC2035 # our own names
    (cd "$new" && sha256sum * >"$work/SHA256SUMS")
    mv "$work/stamp" "$work/SHA256SUMS" "$new"
    archive_keep "$new" "$cache/$name"
    say "$name: ready, $(du -sh "$cache/$name" | cut -f1)"
    printf '%s\n' "$cache/$name"
done
