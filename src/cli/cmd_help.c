/* SPDX-License-Identifier: MIT */
/* `ring3 help [TOPIC]`: pages of at most 23 lines of 79 columns, so that each fits a 24x80 screen
 * with the prompt below it. A new topic is a row of the table. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char overview[] =
    "usage: ring3 run [OPTIONS] KERNEL|IMAGE    run a guest; console: this terminal\n"
    "       ring3 image|snapshot|restore|stat|doctor|machines|version|help\n"
    "KERNEL is a bzImage, a vmlinux of i386 or MIPS, or multiboot; IMAGE a disk, CD,\n"
    "floppy. TOPIC: boards debugging disks images network screen snapshots virtio\n"
    "  -m, --mem SIZE    guest RAM: 256M (default), 1G, 131072K\n"
    "  --initrd FILE, --append STRING    initial RAM disk; kernel command line\n"
    "  --disk FILE[,...], --cdrom FILE, --floppy FILE, --snapshot    see help disks\n"
    "  --display text|vnc=[HOST]:N, --screenshot FILE    see help screen\n"
    "  --timeout D       stop after 30s, 500ms, 2m, ... with exit code 124\n"
    "  --expect REGEX    stop with code 0 once a line of output matches; repeat it\n"
    "                    for several matches in order. Guest ends before: code 125\n"
    "  --fail-on REGEX   stop with code 121 once a line of output matches\n"
    "  --reboot          let a guest that resets restart (else exit code 122)\n"
    "  --engine NAME     how to run guest code: auto (default) or see `ring3 doctor`\n"
    "  --net user|stream|tap|none[,...]    network cards; see help network\n"
    "  --board NAME, --clock real|virtual    see help boards; guest time\n"
    "  --stats[=json]    numbers about the run on stderr at the end\n"
    "  --trace EVENTS    on stderr: exits,exceptions,io,irq,blocks,firmware\n"
    "  --dbt LIST, --cache SIZE    see help translator\n"
    "On a terminal Ctrl-a x quits, c is the monitor, s statistics, h help.\n"
    "Exit codes: 0 guest powered off, 1-119 the guest's own, 120 triple fault,\n"
    "121 --fail-on, 122 reset, 123 unsupported operation, 124 timeout, 125 ring3\n"
    "failed or was killed, 126 host lacks something, 127 file not found.";

static const char boards_page[] =
    "Boards, the machines that ring3 can be; `ring3 machines` has their RAM. Without\n"
    "--board it is the one that runs the KERNEL, or pc.\n"
    "  pc        a PC of about 1999 with one i386 processor: BIOS, PCI, IDE, VGA,\n"
    "            serial console on ttyS0; or a kernel without a BIOS\n"
    "  mipsvirt  a MIPS32 24Kf, little-endian, and what a device tree lists, for ELF\n"
    "            kernels that read one, such as Debian's linux-image-mips32r2el:\n"
    "                ring3 run --initrd FILE --append console=ttyS0 vmlinuz\n"
    "            Disks, network cards, --share and --virtio are virtio-mmio. Up to\n"
    "            256M of RAM are low memory, the rest is high. No firmware, screen,\n"
    "            CD-ROM or floppy drives. There is no power switch: a kernel that\n"
    "            halts with all interrupts masked has powered off. What one says\n"
    "            before it has a console shows with --append earlycon.\n"
    "  malta     MIPS' Malta board with a 24Kf, GT-64120 and PIIX4, for kernels that\n"
    "            know it, such as Debian's linux-image-4kc-malta; say --board malta.\n"
    "            IDE, CD-ROM and virtio drives, a PCnet, the PC's PCI network cards,\n"
    "            serial console on ttyS0. RAM beyond 256M is at 0x90000000. No\n"
    "            firmware, screen or floppy drives.";

static const char disks[] =
    "Disks, CDs and floppies of `ring3 run`, at most 8 in all:\n"
    "  --disk FILE[,WORD...]   a disk; words:\n"
    "      if=virtio, if=ide     how the guest sees it\n"
    "      format=raw|qcow2      what FILE is; by its name without (.qcow2)\n"
    "      ro                    the guest cannot write to it\n"
    "      snapshot              writes are thrown away at the end\n"
    "      unsafe                what the guest flushes may be lost in a power loss\n"
    "  --cdrom FILE            a CD; an empty name is a drive without one\n"
    "  --floppy FILE           a floppy disk; likewise\n"
    "  --snapshot              as if every writable drive said snapshot\n"
    "  --boot ORDER            what the BIOS tries first: floppy, disk, cdrom with\n"
    "                          commas between, or their letters: a, c, d; menu: it\n"
    "                          waits 3 seconds for ESC, which gives a choice\n"
    "  --firmware              run the BIOS even if there is a KERNEL or no drive\n"
    "  --bios FILE             this BIOS, not SeaBIOS of Debian's package seabios\n"
    "FILE is a file, a block device or an NBD server: nbd://HOST/NAME or\n"
    "nbd+unix:///NAME?socket=PATH. A comma in its name is written twice.\n"
    "\n"
    "In place of a KERNEL, a FILE in .img, .raw, .qcow2 or .iso is a drive to boot:\n"
    ".iso a CD, .img of a floppy's size a floppy, all else a disk.";

static const char debugging[] =
    "Looking into a running guest:\n"
    "  --gdb PORT|HOST:PORT|unix:PATH    let gdb connect, one at a time;\n"
    "                    the guest stops then; -s is --gdb 1234\n"
    "  --stopped, -S     the guest waits for gdb before its first instruction\n"
    "In gdb:             target remote :1234\n"
    "  Addresses are linear: in real mode $pc and $sp have the segment's base added,\n"
    "  $ip_offset and $sp_offset do not. `set architecture i8086` suits such code.\n"
    "  Breakpoints and watchpoints are kept in the processor, not in memory; while\n"
    "  there are any the guest is interpreted. `monitor help` lists more commands.\n"
    "  --trace EVENTS    on stderr: exits,exceptions,io,irq,blocks,firmware\n"
    "  --stats[=json]    numbers about the run on stderr at the end\n"
    "Ctrl-a c on the terminal is the monitor: registers, mappings, devices, memory,\n"
    "screen, balloon, reset; its `help` lists commands. The same ones come by\n"
    "  --control SOCKET; `ring3 stat [--json] [--interval 1s] [--count N] SOCKET`\n"
    "                    shows what the guest does per second\n";

static const char network[] =
    "Network cards of `ring3 run`, at most 4. A guest that is not a bare KERNEL has\n"
    "one on `user` unless told otherwise; --net none is no card.\n"
    "  --net user[,WORD...]    a network behind the host, without privilege: it\n"
    "                          is 10.0.2.2, names 10.0.2.3, DHCP gives 10.0.2.15\n"
    "      fwd=tcp:2222-22       port 2222 of the host leads to the guest's 22; in\n"
    "                            full: udp:HOSTADDR:PORT-GUESTADDR:PORT. The host\n"
    "                            listens on 127.0.0.1 unless HOSTADDR says otherwise\n"
    "      restrict              nothing leaves but answers to fwd=\n"
    "      noloopback            the host's own 127.0.0.1 stays out of reach\n"
    "      net=10.0.2.0/24, hostname=NAME, domain=NAME, mtu=N, ipv6\n"
    "      tftp=DIR,bootfile=NAME    files for network boot\n"
    "  --net stream,path=SOCKET      frames as passt and QEMU's -netdev stream have\n"
    "  --net stream,connect=HOST:PORT    them; a lost connection is made anew\n"
    "  --net tap,name=tap0     an interface of the host that is yours\n"
    "Words for the card, behind any of these:\n"
    "      model=virtio|e1000|rtl8139|rtl8139c|ne2k|pcnet    on board pc virtio\n"
    "                            for a KERNEL from the command line, else e1000;\n"
    "                            ne2k suits the oldest; on board malta pcnet\n"
    "      mac=52:54:00:12:34:56";

static const char images[] =
    "Disk images; formats are raw and qcow2, by -f, -O or the name (.qcow2):\n"
    "  ring3 image create FILE SIZE        an empty disk; SIZE as for -m: 20G, 512M\n"
    "  ring3 image create -b BACKING [-F FORMAT] FILE.qcow2\n"
    "                                      one that holds what differs from BACKING\n"
    "  ring3 image info FILE               format, sizes, backing file\n"
    "  ring3 image convert FILE NEWFILE    copy; FILE may be an NBD server\n"
    "  ring3 image check [--repair] FILE   look through a qcow2 image\n"
    "No command overwrites a file that is there.";

static const char snapshots[] =
    "A snapshot is a whole running machine in a file:\n"
    "  ring3 run --control SOCKET ...    listen on a Unix socket for commands\n"
    "  ring3 snapshot SOCKET FILE        write it; the guest goes on afterwards\n"
    "  ring3 restore [OPTIONS] FILE      the machine goes on from there\n"
    "On a terminal Ctrl-a w writes ring3-DATE.snap into the working directory.\n"
    "\n"
    "Options of restore are those of run that do not describe the machine:\n"
    "--control, --timeout, --expect, --fail-on, --reboot, --engine, --stats,\n"
    "--trace, --dbt and --cache; and\n"
    "  --force           although a disk image is not what it was then\n"
    "\n"
    "Contents of disk images are not in the snapshot, but what a guest wrote to a\n"
    "disk with the word snapshot is. Network connections of the guest break.\n"
    "\n"
    "Commands on the socket are lines of JSON, such as\n"
    "  {\"command\": \"snapshot\", \"args\": [\"/tmp/x.snap\"]}\n"
    "of which {\"command\": \"help\"} gives a list.";

static const char screen[] =
    "The screen of `ring3 run`; each of these gives the machine a VGA, keyboard and\n"
    "mouse, which firmware has in any case:\n"
    "  --display text          the text screen in this terminal, in place of the\n"
    "                          serial console; keys go to the PC's keyboard\n"
    "  --display vnc=[HOST]:N[,password-file=FILE]\n"
    "                          a VNC server at TCP port 5900 + N, for this machine\n"
    "                          only or at address HOST; passwords have 1 to 8 bytes\n"
    "  --display vnc=unix:PATH[,password-file=FILE]    at a socket\n"
    "  --display none          nobody looks (the default)\n"
    "  --screenshot FILE       at the end, write the screen as PNG, or as text if\n"
    "                          FILE ends in .txt\n"
    "  --expect-screen REGEX   stop with code 0 once a row of its text matches\n"
    "  --type KEYS             type this: ASCII text and keys such as <enter> <esc>\n"
    "                          <up> <f2> <ctrl-alt-del>; <lt> is \"<\"\n"
    "--expect-screen and --type may come many times: each waits for those before it.\n"
    "\n"
    "In text mode Ctrl-a works as in the console; any key ends what a command shows.";

static const char translator[] =
    "The translator, engine dbt:\n"
    "  --cache SIZE      room for its code: 1M to 512M (32M)\n"
    "  --dbt LIST        words with commas between:\n"
    "      window, flat, auto       how code reaches memory\n"
    "      nochain, one, max=N      no jumps between translations; 1 or N guest\n"
    "                               instructions in each\n"
    "      noadapt, trap            keep faulting accesses; leave code for cli, sti\n"
    "      trace-tables             see stores to page tables at once\n"
    "      nobmi2, nofsgsbase       as if the host lacked them\n"
    "      check                    stop at generated code that must not be\n"
    "      count                    count all instructions, for --stats\n"
    "      perf-map                 write /tmp/perf-PID.map for perf";

static const char virtio[] =
    "virtio devices of `ring3 run`. Disks and network cards are virtio for a KERNEL\n"
    "without --firmware, and where if=virtio or model=virtio says so; such a KERNEL\n"
    "finds rng and balloon, too, unless the clock is virtual. All are PCI functions\n"
    "and serve drivers of virtio 1.x and older ones.\n"
    "  --virtio LIST     words with commas between:\n"
    "      rng                      entropy of the host\n"
    "      balloon                  memory that the guest does without goes back\n"
    "      console                  the terminal is the guest's hvc0 and no longer\n"
    "                               types on ttyS0, which can still be written to\n"
    "      modern, legacy           only drivers of virtio 1.x; only older ones";

static const struct topic {
    const char *name, *text;
} topics[] = {
    {"boards", boards_page},  {"debugging", debugging},   {"disks", disks},
    {"images", images},       {"network", network},       {"screen", screen},
    {"snapshots", snapshots}, {"translator", translator}, {"virtio", virtio},
};

int cmd_help(int argc, char **argv)
{
    if (argc < 2) {
        puts(overview);
        return cli_flush_stdout();
    }
    for (unsigned i = 0; i < ARRAY_LEN(topics); i++)
        if (!strcmp(argv[1], topics[i].name)) {
            puts(topics[i].text);
            return cli_flush_stdout();
        }
    struct err e;
    err_set(&e, EINVAL, "unknown-topic", "there is no help about \"%s\"; `ring3 help` lists topics",
            argv[1]);
    return cli_error(&e);
}
