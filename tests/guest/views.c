/* SPDX-License-Identifier: MIT */
/* What each privilege sees of the same tables (Intel SDM vol. 3A 4.6 to 4.8, 4.10), by code that is
 * hot: accessed and dirty bits exact over hundreds of pages after random accesses in both rings;
 * CR0.WP, R/W and U/S changed back and forth at both levels of the tables; large pages split and
 * merged; the same code run as kernel and as user; the kernel's pages closed to the user who runs
 * into, calls or reads them; rings 1 and 2, which page like the kernel. paging.c has each rule
 * once. */
#include "lib/lib.h"

#define P      1u
#define RW     2u
#define US     4u
#define ALL    (P | RW | US)
#define ACC    0x20u
#define DIRTY  0x40u
#define PS     0x80u
#define WP     0x10000u
#define LIN    0x40000000u
#define PAGES  512u
#define BIG    0x80000000u /* large pages */
#define BIGS   16u
#define FRAMES 0x1000000u

static u32 pt[1024] __attribute__((aligned(4096)));
static u32 split_pt[1024] __attribute__((aligned(4096)));
static u32 random_state = 99;

static u32 random(u32 below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

static void invlpg(u32 a)
{
    asm volatile("invlpg (%0)" ::"r"(a) : "memory");
}

static void set_wp(bool on)
{
    write_cr0(on ? read_cr0() | WP : read_cr0() & ~WP);
}

FRAG(f_ld, "mov (%esi), %eax");
FRAG(f_st, "mov %eax, (%esi)");

/* 0 if it went through, otherwise 0x100 + error code of the page fault. */
static u32 access(unsigned ring, const char *code, u32 a)
{
    struct cpu c = cpu_make(ring, code);

    c.esi = a;
    cpu_run(&c);
    if (c.vector == DONE)
        return 0;
    return c.vector == 14 && c.cr2 == a && c.eip == (u32)code ? 0x100 | c.error : 0xbad;
}

/* ---- accessed and dirty ---------------------------------------------------------------------- */

/* ecx entries at esi: an address whose two low bits say read, write, read-modify-write, or a write
 * that fails its comparison (which is a write all the same). */
FRAG(accesses, "1: lodsl; mov %eax, %ebx; and $3, %ebx; and $-4, %eax; jmp *accesses_to(, %ebx, 4);"
               "2: mov (%eax), %edx; jmp 9f;"
               "3: mov %edx, (%eax); jmp 9f;"
               "4: incl (%eax); jmp 9f;"
               "5: mov %eax, %edi; xor %eax, %eax; cmpxchg %edx, (%edi);"
               "9: loop 1b; jmp 8f; accesses_to: .long 2b, 3b, 4b, 5b; 8:");

static u32 list[256];
static u8 want_small[PAGES], want_big[BIGS];

static u32 *entry_of(u32 i)
{
    return i < PAGES ? &pt[i] : &page_dir[(BIG >> 22) + i - PAGES];
}
static u32 address_of(u32 i)
{
    return i < PAGES ? LIN + i * 4096 : BIG + ((i - PAGES) << 22);
}
static u8 *wanted(u32 i)
{
    return i < PAGES ? &want_small[i] : &want_big[i - PAGES];
}

static void touch(unsigned ring, u32 n)
{
    struct cpu c = cpu_make(ring, accesses);

    for (u32 k = 0; k < n; k++) {
        u32 kind = random(4), i = random(8) ? random(PAGES) : PAGES + random(BIGS);
        if (kind && random(4))
            kind = 0; /* most are reads */
        list[k] = (address_of(i) + 0x40 + random(64) * 4) | kind;
        *wanted(i) |= kind ? ACC | DIRTY : ACC;
    }
    c.esi = (u32)list;
    c.ecx = n;
    cpu_run(&c);
}

static u32 wrong_bits(void)
{
    u32 wrong = 0;

    for (u32 i = 0; i < PAGES + BIGS; i++)
        wrong += (*entry_of(i) & (ACC | DIRTY)) != *wanted(i);
    return wrong;
}

static void accessed_dirty(void)
{
    static const char *const names[] = {"ad-ring0", "ad-ring3", "ad-both-rings"};
    u32 wrong[3] = {0}, wrong_again[3] = {0};

    for (u32 round = 0; round < 90; round++) {
        u32 by = round % 3;
        for (u32 i = 0; i < PAGES + BIGS; i++) {
            *entry_of(i) &= ~(ACC | DIRTY);
            *wanted(i) = 0;
        }
        write_cr3(read_cr3());
        for (u32 k = 0; k < 4; k++)
            touch(by == 0 ? 0 : by == 1 ? 3 : k & 1 ? 3 : 0, 40);
        wrong[by] += wrong_bits();
        /* Clear some bits of some entries, flush those alone, go on in the other ring. */
        for (u32 k = 0; k < 100; k++) {
            u32 i = random(PAGES + BIGS), keep = random(2) ? ~DIRTY : ~(ACC | DIRTY);
            *entry_of(i) &= keep;
            *wanted(i) &= (u8)keep;
            invlpg(address_of(i) + random(4096));
        }
        touch(by ? 0 : 3, 120);
        touch(by == 1 ? 3 : 0, 40);
        wrong_again[by] += wrong_bits();
    }
    for (u32 by = 0; by < 3; by++) {
        check_eq(names[by], wrong[by], 0);
        check_eq("..again-after-clearing", wrong_again[by], 0);
    }
    check_eq("ad-directory", page_dir[LIN >> 22] & (ACC | DIRTY), ACC);
}

/* Running code reads it: A without D, and none on pages it does not run into. */
static void fetches(void)
{
    u32 good = 0;

    for (u32 round = 0; round < 40; round++) {
        unsigned ring = round & 1 ? 3 : 0;
        u32 at = LIN + 0x10ffc; /* runs over into the next page */
        memcpy((void *)at, "\x90\x90\x90\x40\x40\xcd\x81", 7);
        pt[15] &= ~(ACC | DIRTY), pt[16] &= ~(ACC | DIRTY);
        pt[17] &= ~(ACC | DIRTY), pt[18] &= ~(ACC | DIRTY);
        write_cr3(read_cr3());
        struct cpu c = run(ring, (void *)at);
        good += c.vector == DONE && c.eax == 2;
        good += (pt[16] & (ACC | DIRTY)) == ACC && (pt[17] & (ACC | DIRTY)) == ACC;
        good += !((pt[15] | pt[18]) & (ACC | DIRTY));
        poke8(at + 1, 0x40);
        c = run(ring, (void *)at);
        good += c.eax == 3 && (pt[16] & DIRTY) && !(pt[17] & DIRTY);
        poke8(at + 1, 0x90);
    }
    check_eq("ad-of-code", good, 160);
}

/* A store that faults leaves D alone; one the kernel may do (WP off) sets it. */
static void dirty_of_faults(void)
{
    u32 good = 0, at = LIN + 0x5000;

    for (u32 round = 0; round < 30; round++) {
        set_wp(true);
        pt[5] = FRAMES | P | US;
        invlpg(at);
        good += access(3, f_st, at) == 0x107 && !(pt[5] & DIRTY);
        good += access(0, f_st, at) == 0x103 && !(pt[5] & DIRTY);
        good += access(3, f_ld, at) == 0 && (pt[5] & (ACC | DIRTY)) == ACC;
        set_wp(false);
        good += access(3, f_st, at) == 0x107 && !(pt[5] & DIRTY);
        good += access(0, f_st, at) == 0 && (pt[5] & DIRTY);
        good += access(3, f_st, at) == 0x107; /* the kernel's right is not the user's */
    }
    check_eq("dirty-only-if-stored", good, 180);
}

/* ---- rights back and forth ------------------------------------------------------------------- */

static u32 expected(u32 dir, u32 table, bool store, unsigned ring, bool wp)
{
    u32 rights = dir & table, error = (store ? 2 : 0) | (ring == 3 ? 4 : 0);

    if (!(rights & P))
        return 0x100 | error;
    if (ring == 3 && !(rights & US))
        return 0x101 | error;
    if (store && !(rights & RW) && (ring == 3 || wp))
        return 0x101 | error;
    return 0;
}

static void rights(void)
{
    u32 good = 0, n = 0, at = LIN + 0x6000, dir = page_dir[LIN >> 22] & ~7u;

    u32 dir_flags = ALL, flags = ALL;
    for (u32 round = 0; round < 2000; round++) {
        bool wp = random(2);
        if ((read_cr0() >> 16 & 1) != wp)
            set_wp(wp); /* every third time this alone: it needs no flush */
        if (round % 3) {
            dir_flags = random(4) ? ALL : random(8);
            flags = random(3) ? ALL & ~(1u << random(3)) : ALL;
            page_dir[LIN >> 22] = dir | dir_flags;
            pt[6] = FRAMES | flags;
            if (random(2))
                invlpg(at);
            else
                write_cr3(read_cr3());
        }
        for (u32 k = 0; k < 4; k++) {
            bool store = random(2);
            unsigned ring = random(4); /* 1 and 2 page like 0 */
            n++;
            good += access(ring, store ? f_st : f_ld, at) ==
                    expected(dir_flags, flags, store, ring, wp);
        }
    }
    page_dir[LIN >> 22] = dir | ALL;
    check_eq("rights-at-random", good, n);
}

static volatile u32 retries;

static void retry(struct frame *f)
{
    retries++;
}

/* More rights without a flush: the old ones may still fault, but only once. */
static void more_rights(void)
{
    u32 good = 0, at = LIN + 0x7000;
    static const u32 less[] = {0, P | US, P | RW, P};

    set_wp(true);
    for (u32 round = 0; round < 80; round++) {
        unsigned ring = round & 1 ? 3 : 0;
        pt[7] = FRAMES | less[round / 2 % 4];
        invlpg(at);
        good += access(3, f_st, at) == (0x106 | (pt[7] & P));
        pt[7] = FRAMES | ALL;
        hook[14] = retry;
        retries = 0;
        good += access(ring, f_st, at) == 0 && retries <= (less[round / 2 % 4] & P);
        hook[14] = NULL;
    }
    check_eq("more-rights-need-no-flush", good, 160);
}

/* ---- large pages split and merged ------------------------------------------------------------ */

static void split(void)
{
    u32 good = 0, slot = BIG >> 22, to = FRAMES;

    for (u32 round = 0; round < 60; round++) {
        u32 odd = 1 + random(1022), at = BIG + odd * 4096 + random(1000) * 4;
        unsigned ring = round & 1 ? 3 : 0;

        page_dir[slot] = to | ALL | PS;
        invlpg(BIG + random(1024) * 4096);
        poke(to + (at & 0x3fffff), round);
        good += access(ring, f_st, at) == 0 && access(3, f_ld, at) == 0; /* in the views, large */
        good += peek(to + (at & 0x3fffff)) == 0;
        for (u32 i = 0; i < 1024; i++)
            split_pt[i] = to | i << 12 | ALL;
        split_pt[odd] = round % 3 == 0   ? 0
                        : round % 3 == 1 ? to | odd << 12 | P | US
                                         : (to + 0x400000) | odd << 12 | ALL;
        page_dir[slot] = (u32)split_pt | ALL;
        if (round % 2)
            write_cr3(read_cr3());
        else /* that one would do for the rest of what was a large page is not promised */
            for (u32 i = odd - 1; i <= odd + 1; i++)
                invlpg(BIG + i * 4096);
        if (round % 3 == 2) {
            poke(to + 0x400000 + (at & 0x3fffff), 5);
            good += access(ring, f_st, at) == 0 && peek(to + 0x400000 + (at & 0x3fffff)) == 0;
        } else
            good += access(3, f_st, at) == (round % 3 ? 0x107 : 0x106);
        good += access(ring, f_st, at - 4096) == 0 && access(ring, f_ld, at + 4096) == 0;
        good += (split_pt[odd - 1] & DIRTY) && (split_pt[odd + 1] & (ACC | DIRTY)) == ACC;
    }
    page_dir[slot] = to | ALL | PS;
    invlpg(BIG);
    check_eq("split-and-merged", good, 300);

    /* Two large pages that trade places, with any address inside flushing all of it. */
    good = 0;
    for (u32 round = 0; round < 60; round++) {
        u32 a = random(0x400000) & ~3u, b = random(0x400000) & ~3u;
        poke(to + b, 0xa), poke(to + 0x400000 + b, 0xb);
        page_dir[slot] = (round & 1 ? to : to + 0x400000) | ALL | PS;
        invlpg(BIG + a);
        good += peek(BIG + b) == (round & 1 ? 0xa : 0xb);
        struct cpu c = cpu_make(3, f_ld);
        c.esi = BIG + b;
        cpu_run(&c);
        good += c.vector == DONE && c.eax == (round & 1 ? 0xa : 0xb);
    }
    check_eq("large-remapped", good, 120);
}

/* ---- the same code, two privileges ----------------------------------------------------------- */

FRAG(f_who,
     "mov %cs, %eax; mov %ss, %ebx; pushf; pop %edx; mov $50, %ecx; 1: add %eax, %esi; loop 1b");
FRAG(f_cli, "mov $20, %ecx; 1: inc %eax; loop 1b; f_cli_at: cli; inc %ebx");
LABEL(f_cli_at);

static void both_privileges(void)
{
    u32 good = 0;

    for (u32 round = 0; round < 200; round++) {
        unsigned ring = random(4);
        static const u16 cs[] = {K_CODE, R1_CODE, R2_CODE, U_CODE},
                         ss[] = {K_DATA, R1_DATA, R2_DATA, U_DATA};
        struct cpu c = run(ring, f_who);
        good +=
            c.vector == DONE && c.eax == cs[ring] && c.ebx == ss[ring] && c.esi == 50u * cs[ring];
        c = run(ring, f_cli);
        good += ring ? c.vector == 13 && c.error == 0 && c.eip == (u32)f_cli_at && c.ebx == 0
                     : c.vector == DONE && c.ebx == 1;
        good += c.eax == 20;
    }
    check_eq("same-code-four-rings", good, 600);
}

static volatile u32 *const kernel_counter = (u32 *)(LIN + 0x9000);
static volatile u32 kernel_faults, kernel_calls;

static void count_call(struct frame *f)
{
    kernel_calls++;
    ++*kernel_counter; /* the kernel's page, in the middle of user code that may not */
}

static void count_fault(struct frame *f)
{
    kernel_faults += f->error == (f->eip & 1 ? 7u : 5u) && read_cr2() == (u32)kernel_counter;
    f->eip += f->eip & 1 ? 3 : 2;
}

/* User code that asks the kernel to change a page, and fails to do so itself, reading at an even
 * and writing at an odd address. */
FRAG(f_intrude,
     ".p2align 4; mov $0x40009000, %esi; mov $100, %ecx; jmp 1f; .p2align 4; 1: int $0x80;"
     "mov (%esi), %eax; nop; .byte 0x3e, 0x89, 0x06; loop 1b");

static void intruding(void)
{
    pt[9] = (FRAMES + 0x9000) | P | RW;
    invlpg((u32)kernel_counter);
    *kernel_counter = 0;
    kernel_faults = kernel_calls = 0;
    hook[14] = count_fault;
    hook[0x80] = count_call;
    struct cpu c = run(3, f_intrude);
    hook[14] = hook[0x80] = NULL;
    check("intrusions-fault", c.vector == DONE && c.eax == 0 && kernel_faults == 200);
    check_eq("kernel-page-only-kernel", *kernel_counter, 100);

    /* User code that jumps, calls or runs into a page of the kernel that the kernel runs all the
     * time. */
    u32 good = 0, fn = LIN + 0x9100;
    memcpy((void *)fn, "\xb8\x07\x00\x00\x00\xc3", 6);
    memcpy((void *)(LIN + 0x8ff0),
           "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90", 16);
    memcpy((void *)(LIN + 0x8f00), "\xff\xe6", 2); /* jmp *%esi */
    memcpy((void *)(LIN + 0x8f10), "\xff\xd6", 2); /* call *%esi */
    poke8(LIN + 0x9000, 0x90);
    for (u32 round = 0; round < 50; round++) {
        u32 r;
        asm volatile("call *%1" : "=a"(r) : "r"(fn) : "ecx", "edx", "memory");
        good += r == 7;
        struct cpu c2 = cpu_make(3, (void *)(LIN + 0x8f00));
        c2.esi = fn;
        cpu_run(&c2);
        good += c2.vector == 14 && c2.error == 5 && c2.eip == fn && c2.cr2 == fn;
        c2 = cpu_make(3, (void *)(LIN + 0x8f10));
        c2.esi = fn;
        cpu_run(&c2);
        good +=
            c2.vector == 14 && c2.error == 5 && c2.eip == fn && c2.esp == (u32)frag_stack_top - 4;
        c2 = run(3, (void *)(LIN + 0x8ff0));
        good +=
            c2.vector == 14 && c2.error == 5 && c2.eip == LIN + 0x9000 && c2.cr2 == LIN + 0x9000;
    }
    check_eq("kernel-code-not-for-user", good, 200);
    /* Opened, it runs; closed again, it does not. */
    good = 0;
    for (u32 round = 0; round < 40; round++) {
        pt[9] = (FRAMES + 0x9000) | P | RW | (round & 1 ? US : 0);
        invlpg(fn);
        memcpy((void *)(fn + 5), "\xcd\x81", 2);
        struct cpu c2 = run(3, (void *)fn);
        good += round & 1 ? c2.vector == DONE && c2.eax == 7 : c2.vector == 14 && c2.error == 5;
        c2 = run(0, (void *)fn);
        good += c2.vector == DONE && c2.eax == 7;
    }
    check_eq("code-opened-and-closed", good, 80);
}

void test_main(void)
{
    for (u32 i = 0; i < 1024; i++)
        pt[i] = (FRAMES + i * 4096) | ALL;
    paging_on();
    page_dir[LIN >> 22] = (u32)pt | ALL;
    for (u32 i = 0; i < BIGS; i++) /* several addresses of the same memory */
        page_dir[(BIG >> 22) + i] = (FRAMES + (i % 4 << 22)) | ALL | PS;
    write_cr3(read_cr3());
    accessed_dirty();
    fetches();
    dirty_of_faults();
    rights();
    more_rights();
    split();
    both_privileges();
    intruding();
}
