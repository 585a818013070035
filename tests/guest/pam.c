/* SPDX-License-Identifier: MIT */
/* Shadow RAM (Intel 440FX datasheet 290549, 3.2.13): memory that shows something else from the
 * next instruction on. Data through both views and across the border of two; stores that count or
 * do not; code in shadow RAM that has run many times and is then switched away, switched back,
 * changed while it was away, or switches its own page; by linear address and by aliases; rings 0
 * and 3. Runs behind firmware: the pieces from 0xe4000 to 0xeffff are RAM or the BIOS, whose
 * bytes are also at the top of 4 GiB. SeaBIOS is not needed any more. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"page-hides-itself", "an OUT does not end a translation"},
    {NULL, NULL},
};

#define PAGE     4096u
#define A        0xe4000u /* three pieces of 16 KiB */
#define B        0xe8000u
#define C        0xec000u
#define PIECE    0x4000u
#define BIOS     (0u - 0x100000u) /* plus an address: the same byte of the image */
#define ALIAS    0x40000000u      /* 4 MiB page that shows the first 4 MiB again */
#define HIDDEN   0u
#define READONLY 1u
#define RAM      3u

static void outl(u16 port, u32 x)
{
    asm volatile("outl %0, %1" ::"a"(x), "Nd"(port));
}

/* Register and shift of a piece's attributes. */
static u8 reg_of(u32 piece)
{
    return piece == A ? 0x5e : 0x5f;
}
static unsigned shift_of(u32 piece)
{
    return piece == B ? 0 : 4;
}

static void show(u32 piece, u32 attributes)
{
    u8 reg = reg_of(piece);
    u16 port = 0xcfc + (reg & 3);
    outl(0xcf8, 0x80000000u | (reg & 0xfcu));
    outb(port, (u8)((inb(port) & ~(0xfu << shift_of(piece))) | attributes << shift_of(piece)));
}

static u32 call(u32 at, u32 eax)
{
    asm volatile("call *%1" : "+a"(eax) : "r"(at) : "ecx", "edx", "memory", "cc");
    return eax;
}

/* mov $n, %eax; ret */
static void put_fn(u32 at, u32 n)
{
    poke8(at, 0xb8);
    poke(at + 1, n);
    poke8(at + 5, 0xc3);
}

/* An address in a piece, not in its first page, where the BIOS has a return. */
static u32 find_return(u32 piece)
{
    for (u32 at = piece + PAGE + 16; at < piece + PIECE - 16; at++)
        if (peek8(at + BIOS) == 0xc3)
            return at;
    check("the BIOS has a return", false);
    finish();
}

/* ---- data ------------------------------------------------------------------------------------ */

static void data(void)
{
    u32 at = A + 0x100, rom = peek(at + BIOS), ram = ~rom;
    show(A, RAM);
    poke(at, ram);
    check_eq("ram", peek(at), ram);
    show(A, READONLY);
    check_eq("readonly-reads", peek(at), ram);
    poke(at, 1);
    check_eq("readonly-drops", peek(at), ram);
    show(A, HIDDEN);
    check_eq("hidden-reads-bios", peek(at), rom);
    poke(at, 2);
    check_eq("hidden-drops", peek(at), rom);
    check_eq("bios-unharmed", peek(at + BIOS), rom);
    show(A, RAM);
    check_eq("ram-again", peek(at), ram);
}

static void whole_piece(void)
{
    show(B, RAM);
    memcpy((void *)B, (void *)(B + BIOS), PIECE);
    for (u32 i = 0; i < PIECE; i += 4)
        poke(B + i, ~peek(B + i));
    show(B, HIDDEN);
    check("copied-from-bios", memcmp((void *)B, (void *)(B + BIOS), PIECE) == 0);
    show(B, READONLY);
    u32 good = 0;
    for (u32 i = 0; i < PIECE; i += 4)
        good += peek(B + i) == ~peek(B + BIOS + i);
    check_eq("inverted-in-ram", good, PIECE / 4);
    show(B, RAM);
}

/* The views of two pieces are switched in turns, with an access across their border and a store
 * before and after each change. */
static void restless_data(void)
{
    static const u32 turns[] = {RAM, HIDDEN, READONLY, RAM, READONLY, HIDDEN};
    u32 border = C - 2, good = 0, low[2], high[2], stored = 0;
    low[0] = *(volatile u16 *)border;
    high[0] = *(volatile u16 *)(border + 2);
    show(B, RAM);
    show(C, RAM);
    low[0] = *(volatile u16 *)(border + BIOS);
    high[0] = *(volatile u16 *)(border + 2 + BIOS);
    low[1] = low[0] ^ 0xffff;
    high[1] = high[0] ^ 0xffff;
    poke(border, low[1] | high[1] << 16);
    poke(C + 0x20, 0);
    for (u32 i = 0; i < 360; i++) {
        u32 b = turns[i % 6], c = turns[i / 6 % 6];
        show(B, b);
        show(C, c);
        good += peek(border) == (low[b != HIDDEN] | high[c != HIDDEN] << 16);
        if (c != HIDDEN)
            poke(C + 0x20, peek(C + 0x20) + 1);
        else
            poke(C + 0x20, 0x55555555);
        stored += c == RAM;
    }
    show(C, RAM);
    check_eq("border-of-two-views", good, 360);
    check_eq("stores-that-count", peek(C + 0x20), stored);
    show(B, RAM);
}

/* ---- code ------------------------------------------------------------------------------------ */

static void code(u32 base, const char *name, const char *changed)
{
    u32 at = find_return(A), good = 0;
    show(A, RAM);
    put_fn(at, 0x1234);
    for (u32 i = 0; i < 40; i++)
        good += call(base + at, 7) == 0x1234;
    for (u32 i = 0; i < 60; i++) {
        show(A, HIDDEN);
        good += call(base + at, i) == i;
        show(A, i & 1 ? RAM : READONLY);
        good += call(base + at, i) == 0x1234;
    }
    check_eq(name, good, 160);
    /* Through one view what the other runs. */
    good = 0;
    for (u32 i = 0; i < 60; i++) {
        show(A, RAM);
        poke(base + at + 1, i);
        good += call(at, 1000) == i;
        show(A, READONLY);
        poke(at + 1, 99);
        good += call(base + at, 1000) == i;
        show(A, HIDDEN);
        poke(at + 1, 98);
        good += call(base + at, 1000) == 1000;
    }
    show(A, RAM);
    check_eq(changed, good, 180);
}

/* "out %al, %dx" just before the BIOS's return hides the page that it is in: the next instruction
 * is the BIOS's. In RAM that instruction adds to %ebx. */
static void own_page(void)
{
    u32 at = find_return(C), good = 0;
    u8 old;
    show(C, RAM);
    memcpy((void *)(at - 1), "\xee\x43\xc3", 3); /* out %al, (%dx); inc %ebx; ret */
    outl(0xcf8, 0x8000005c);
    old = inb(0xcff);
    for (u32 i = 0; i < 80; i++) {
        u32 ebx = 5, hide = i % 4 == 3;
        u8 value = hide ? old & 0x0f : old;
        outl(0xcf8, 0x8000005c);
        asm volatile("call *%2" : "+b"(ebx) : "a"(value), "r"(at - 1), "d"(0xcff) : "memory", "cc");
        good += ebx == 5 + !hide;
        show(C, RAM);
    }
    check_eq("page-hides-itself", good, 80);
}

/* ---- ring 3 ---------------------------------------------------------------------------------- */

FRAG(user_read, "mov (%ebx), %eax");
FRAG(user_write, "mov %eax, (%ebx)");

static void user(void)
{
    u32 at = find_return(A), rom = peek(at + BIOS + 8), good = 0;
    show(A, RAM);
    poke(at + 8, ~rom);
    for (u32 i = 0; i < 60; i++) {
        struct cpu c = cpu_make(3, user_read), w = cpu_make(3, user_write);
        c.ebx = w.ebx = (i & 1 ? ALIAS : 0) + at + 8;
        w.eax = 0x77;
        show(A, i % 3 ? READONLY : HIDDEN);
        cpu_run(&c);
        good += c.vector == DONE && c.eax == (i % 3 ? ~rom : rom);
        cpu_run(&w); /* dropped, not a fault */
        good += w.vector == DONE;
    }
    show(A, RAM);
    good += peek(at + 8) == ~rom;
    check_eq("user-data", good, 121);

    good = 0;
    memcpy((void *)at, "\x40\xcd\x81", 3); /* inc %eax; int $0x81 */
    for (u32 i = 0; i < 60; i++) {
        struct cpu c = cpu_make(3, (void *)at);
        u32 stack[2] = {(u32) "\xcd\x81", 0};
        c.esp = (u32)stack;
        c.eax = i;
        show(A, i & 1 ? HIDDEN : RAM); /* hidden: returns to the string */
        cpu_run(&c);
        good += c.vector == DONE && c.eax == i + !(i & 1);
    }
    show(A, RAM);
    check_eq("user-code", good, 60);
}

void test_main(void)
{
    put_char('\n'); /* the BIOS may have left a line open */
    data();
    whole_piece();
    restless_data();
    code(0, "code-in-two-views", "code-changed-through-views");
    own_page();
    paging_on();
    page_dir[ALIAS >> 22] = page_dir[0];
    write_cr3(read_cr3());
    code(ALIAS, "code-at-an-alias", "code-changed-through-alias");
    restless_data();
    own_page();
    user();
}
