/* SPDX-License-Identifier: MIT */
/* Nanobenchmarks: what single operations of an operating system cost, after the seven of Adams and
 * Agesen, "A Comparison of Software and Hardware Techniques for x86 Virtualization" (ASPLOS 2006):
 * syscall, in, cr8wr, call/ret, pgfault, divzero, ptemod. A 32-bit PC has no CR8, so its
 * counterparts stand in: cli/sti, pushf/cli/popf, the mask register of the interrupt controller.
 *
 * A bare-metal guest over tests/guest/lib. For each row the number of operations is doubled until
 * they take LEAST cycles; then PASSES runs of that many, of which the fastest counts: the rest had
 * the host's other work in them. A line of output is NAME, cycles an operation (loop and counter
 * included; the row "loop" is those alone), operations a run. A row first proves that its
 * operations happen: handlers and callees count, values read add up. If not, its line says FAILED
 * and the guest leaves with 1. */
#include "lib/lib.h"

#define LEAST  (16u << 20) /* cycles */
#define MOST   (1u << 24)  /* operations */
#define PASSES 7

#define LINEAR 0x40000000u
#define PAGES  1024u
#define FRAMES 0x1000000u /* of the pages at LINEAR; the machine has at least 24 MiB */

void loop_empty(u32), loop_in_device(u32), loop_in_absent(u32), loop_cli_sti(u32),
    loop_save_restore(u32), loop_pic_mask(u32), loop_call_ret(u32), loop_call_ret_pages(u32),
    loop_call_ret_indirect(u32), loop_pgfault(u32, u32), loop_divzero(u32), loop_ptemod_plain(u32),
    loop_ptemod_invlpg(u32), loop_ptemod_used(u32);
extern const char user_int80[], user_sysenter[], entry_int80[], entry_sysenter[], entry_fault[],
    entry_divide[], entry_irq0[];

/* Shared with loops.S. */
volatile u32 entries, calls, port_sum, frame_sum;
u32 page_table[PAGES] __attribute__((aligned(4096)));
asm(".globl nano_pte, nano_page_tables, NANO_LINEAR\n"
    "NANO_LINEAR = 0x40000000\n"
    "nano_pte = page_table\n"
    "nano_page_tables = page_table - (NANO_LINEAR >> 12) * 4");

static u8 sysenter_stack[256] __attribute__((aligned(16)));

static u64 tsc(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (u64)hi << 32 | lo;
}

static void wrmsr(u32 index, u32 x)
{
    asm volatile("wrmsr" ::"c"(index), "a"(x), "d"(0) : "memory");
}

/* ---- the rows -------------------------------------------------------------------------------- */

static u32 frame(u32 i)
{
    return FRAMES + i * 4096;
}

static void map(u32 flags)
{
    for (u32 i = 0; i < PAGES; i++)
        page_table[i] = frame(i) | flags;
    write_cr3(read_cr3());
}

/* A row runs n operations, says how long they took, and whether they all happened. */
struct row {
    const char *name;
    u64 (*run)(const struct row *row, u32 n, bool *good);
    union {
        void (*loop)(u32);
        const char *user;
    };
};

static u64 timed(void (*loop)(u32), u32 n)
{
    u64 t = tsc();

    loop(n);
    return tsc() - t;
}

static u64 run_empty(const struct row *row, u32 n, bool *good)
{
    *good = true;
    return timed(row->loop, n);
}

static u64 run_syscall(const struct row *row, u32 n, bool *good)
{
    struct cpu c = cpu_make(3, row->user);
    u64 t = tsc();

    c.esi = n;
    entries = 0;
    cpu_run(&c);
    t = tsc() - t;
    *good = c.vector == DONE && (c.cs & 3) == 3 && entries == n;
    return t;
}

static u64 run_in(const struct row *row, u32 n, bool *good)
{
    u32 value = row->loop == loop_in_device ? 0xfd : 0xff; /* a mask set for this, an open bus */

    outb(0x21, 0xfd);
    port_sum = 0;
    u64 t = timed(row->loop, n);
    *good = port_sum == n * value;
    outb(0x21, 0xff);
    return t;
}

/* Proof that the loop opens interrupts: one that waits is taken inside, and at its end IF is set.
 */
static u64 run_interrupt_flag(const struct row *row, u32 n, bool *good)
{
    idt_set(0x20, gate(K_CODE, (u32)entry_irq0, 0x8e));
    sti();
    u64 t = timed(row->loop, n);
    *good = flags() & IF;
    cli();
    entries = 0;
    pit_start(0, 10);
    pic_mask(0xfffe);
    wait_irq0();
    if (row->loop == loop_save_restore) { /* it restores: what was off must stay off */
        row->loop(1);
        *good &= entries == 0;
        sti();
    }
    row->loop(1);
    cli();
    *good &= entries == 1;
    pic_mask(0xffff);
    idt_reset(0x20);
    return t;
}

static u64 run_pic_mask(const struct row *row, u32 n, bool *good)
{
    u64 t = timed(row->loop, n);

    *good = inb(0x21) == 1; /* written in the last round: cl is 1 */
    outb(0x21, 0xff);
    return t;
}

static u64 run_calls(const struct row *row, u32 n, bool *good)
{
    calls = 0;
    u64 t = timed(row->loop, n);
    *good = calls == n;
    return t;
}

/* In batches of PAGES; only the touching is timed. */
static u64 run_pgfault(const struct row *row, u32 n, bool *good)
{
    u64 sum = 0;

    idt_set(14, gate(K_CODE, (u32)entry_fault, 0x8e));
    entries = 0;
    *good = true;
    for (u32 left = n, batch; left; left -= batch) {
        batch = left < PAGES ? left : PAGES;
        map(6);
        u64 t = tsc();
        loop_pgfault(batch, LINEAR);
        sum += tsc() - t;
        for (u32 i = 0; i < PAGES; i++)
            *good &= (page_table[i] & 0x61) == (i < batch ? 0x61 : 0);
    }
    *good &= entries == n;
    idt_reset(14);
    return sum;
}

static u64 run_divzero(const struct row *row, u32 n, bool *good)
{
    idt_set(0, gate(K_CODE, (u32)entry_divide, 0x8e));
    entries = 0;
    u64 t = timed(row->loop, n);
    *good = entries == n;
    idt_reset(0);
    return t;
}

/* n is even, so the entry is as before. */
static u64 run_ptemod(const struct row *row, u32 n, bool *good)
{
    u32 *first = (u32 *)frame(0), *second = (u32 *)frame(1);

    first[0] = 3, second[0] = 5;
    first[1] = second[1] = 0;
    frame_sum = 0;
    map(0x67);
    (void)*(volatile u32 *)(LINEAR + 5 * 4096); /* the table is in use, as tables are */
    u64 t = timed(row->loop, n);
    *good = (page_table[0] & ~0xfffu) == frame(0) && !(page_table[0] & 0x200);
    if (row->loop == loop_ptemod_used)
        *good &= frame_sum == n / 2 * 8 && first[1] == n / 2 && second[1] == n / 2;
    else {
        row->loop(1);
        *good &= page_table[0] >> 9 & 1;
    }
    return t;
}

static const struct row rows[] = {
    {"loop", run_empty, {loop_empty}},
    {"syscall-int80", run_syscall, {.user = user_int80}},
    {"syscall-sysenter", run_syscall, {.user = user_sysenter}},
    {"in-device", run_in, {loop_in_device}},
    {"in-absent", run_in, {loop_in_absent}},
    {"cr8wr-cli-sti", run_interrupt_flag, {loop_cli_sti}},
    {"cr8wr-save-restore", run_interrupt_flag, {loop_save_restore}},
    {"cr8wr-pic-mask", run_pic_mask, {loop_pic_mask}},
    {"callret", run_calls, {loop_call_ret}},
    {"callret-pages", run_calls, {loop_call_ret_pages}},
    {"callret-indirect", run_calls, {loop_call_ret_indirect}},
    {"pgfault", run_pgfault, {NULL}},
    {"divzero", run_divzero, {loop_divzero}},
    {"ptemod-plain", run_ptemod, {loop_ptemod_plain}},
    {"ptemod-invlpg", run_ptemod, {loop_ptemod_invlpg}},
    {"ptemod-used", run_ptemod, {loop_ptemod_used}},
};

/* ---- measuring ------------------------------------------------------------------------------- */

static void put_number(u32 x)
{
    if (x >= 10)
        put_number(x / 10);
    put_char((char)('0' + x % 10));
}

/* Tenths of a cycle an operation. */
static u32 tenths(u64 cycles, u32 n)
{
    u32 quotient, rest;
    u64 x = cycles * 10;

    if ((u32)(x >> 32) >= n)
        return ~0u;
    asm("divl %4" : "=a"(quotient), "=d"(rest) : "a"((u32)x), "d"((u32)(x >> 32)), "r"(n) : "cc");
    return quotient;
}

static bool measure(const struct row *row)
{
    u64 least = ~0ull;
    u32 n = 256;
    bool good;

    while (row->run(row, n, &good) < LEAST && good && n < MOST)
        n *= 2;
    for (unsigned i = 0; i < PASSES && good; i++) {
        u64 t = row->run(row, n, &good);
        least = t < least ? t : least;
    }
    put_str(row->name);
    put_char(' ');
    if (!good) {
        put_str("FAILED\n");
        return false;
    }
    u32 x = tenths(least, n);
    put_number(x / 10);
    put_char('.');
    put_number(x % 10);
    put_char(' ');
    put_number(n);
    put_char('\n');
    return true;
}

void test_main(void)
{
    bool good = true;

    gdt_set(T_SEL, desc(0, 0xfffff, D_CODE(0)));
    gdt_set(T_SEL + 8, desc(0, 0xfffff, D_DATA(0)));
    gdt_set(T_SEL + 16, desc(0, 0xfffff, D_CODE(3)));
    gdt_set(T_SEL + 24, desc(0, 0xfffff, D_DATA(3)));
    wrmsr(0x174, T_SEL);
    wrmsr(0x175, (u32)sysenter_stack + sizeof(sysenter_stack));
    wrmsr(0x176, (u32)entry_sysenter);
    idt_set(0x80, gate(K_CODE, (u32)entry_int80, 0xee));
    paging_on();
    page_dir[LINEAR >> 22] = (u32)page_table | 7;
    map(7);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        good &= measure(&rows[i]);
    leave(good ? 0 : 1);
}
