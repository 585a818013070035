/* SPDX-License-Identifier: MIT */
/* The three kinds of page fault of a monitor (MMU virtualization): access to a device page, a fault
 * that is the guest's own, and one that the monitor fills in unseen. The last word of the command
 * line says what to do COUNT times; run.py compares the monitor's counters over the runs:
 *
 *   base     nothing, after the common preparation
 *   device   read a device page (no memory behind it)
 *   guest    read an unmapped page; the handler skips the read
 *   first    read pages that are mapped and were never touched
 *   second   as first, and then read the same pages again
 *
 * Prints nothing, so that the runs differ in nothing else. */
#include "lib/lib.h"

#define COUNT 16
#define FRESH                                                                                      \
    0x40200000u             /* mapped to 0x800000 on; linear addresses clear of the image's in any \
                               direct-mapped TLB up to 1,024 entries */
#define MISSING 0x40600000u /* not mapped */
#define DEVICE  0xfe000000u /* identity; above RAM, below the local APIC */

static volatile unsigned faults;

static void skip(struct frame *f)
{
    faults++;
    f->eip += 2; /* mov (%reg), %reg */
}

static u32 load(u32 a)
{
    u32 x;
    asm volatile("movl (%1), %0" : "=a"(x) : "c"(a) : "memory");
    return x;
}

static const char *last_word(void)
{
    const char *s = (const char *)((const u32 *)boot_info)[4], *word = s;

    for (; *s; s++)
        if (*s == ' ')
            word = s + 1;
    return word;
}

void test_main(void)
{
    const char *what = last_word();
    unsigned want = 1;

    paging_on();
    page_dir[FRESH >> 22] = 0x800000 | 0x87;
    page_dir[MISSING >> 22] = 0;
    write_cr3((u32)page_dir);
    hook[14] = skip;
    load(MISSING);          /* brings the handler's pages in */
    load(FRESH + 0x100000); /* and the code's */
    load(DEVICE);

    for (u32 i = 0; i < COUNT; i++)
        switch (*what) {
        case 'd':
            load(DEVICE + i * 0x1000);
            break;
        case 'g':
            load(MISSING + i * 0x1000);
            want++;
            break;
        case 'f':
        case 's':
            load(FRESH + i * 0x1000);
            break;
        }
    for (u32 i = 0; i < COUNT && *what == 's'; i++)
        load(FRESH + i * 0x1000);
    leave(faults == want ? 0 : 1);
}
