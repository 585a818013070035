/* SPDX-License-Identifier: MIT */
/* Self-modifying code, hot (Intel SDM vol. 3A 8.1.3, 11.6): what smc.c checks once is here done to
 * code that has run many times before, so that an engine has translated and linked it, and in all
 * combinations: every kind of store, at distances from the very next instruction to another page,
 * backwards too, through the same address, another linear address or the identity map, in rings 0
 * and 3; instructions that straddle two pages that are not neighbours in memory, patched or
 * remapped in either half; branches retargeted; code changed from another privilege level and from
 * an interrupt; pages that mix code and data, and pages that change between the two; string
 * instructions over running code; the same bytes entered at other offsets and as 16-bit code. An
 * engine may treat pages that were patched before otherwise, so most cases get fresh ones. */
#include "lib/lib.h"

#define LIN   0x40000000u /* four pages of code, in shuffled order */
#define ALIAS 0x40010000u /* the same again */
#define PAGE  4096u

#define POOL 0x1000000u

static u8 *frames[4];
static u32 pool_next = POOL;
static const u8 order[4] = {2, 0, 3, 1}; /* linear page i is frames[order[i]] */
static u32 pt[1024] __attribute__((aligned(4096)));

static void invlpg(u32 a)
{
    asm volatile("invlpg (%0)" ::"r"(a) : "memory");
}

static void map_pages(void)
{
    for (u32 i = 0; i < 4; i++) {
        pt[i] = (u32)frames[order[i]] | 7;
        pt[16 + i] = (u32)frames[order[i]] | 7;
    }
    write_cr3(read_cr3());
}

/* Four pages that never held code. */
static void fresh(void)
{
    for (u32 i = 0; i < 4; i++, pool_next += PAGE)
        frames[i] = (u8 *)pool_next;
    map_pages();
}

static u32 identity(u32 a)
{
    return (u32)frames[order[(a - LIN) / PAGE]] + a % PAGE;
}

enum via { SAME, THROUGH_ALIAS, THROUGH_IDENTITY, VIAS };

static u32 view(u32 a, enum via via)
{
    return via == SAME ? a : via == THROUGH_ALIAS ? a - LIN + ALIAS : identity(a);
}

static u32 call(u32 at)
{
    u32 r;
    asm volatile("call *%1" : "=a"(r) : "r"(at) : "ecx", "edx", "memory", "cc");
    return r;
}

static void warm(u32 at)
{
    for (unsigned i = 0; i < 40; i++)
        call(at);
}

/* ---- emitting -------------------------------------------------------------------------------- */

static u32 here; /* linear address */

static void b1(u8 x)
{
    poke8(here++, x);
}
static void b4(u32 x)
{
    for (unsigned i = 0; i < 4; i++)
        b1((u8)(x >> 8 * i));
}
static void op(u16 opcode, u32 x) /* one or two opcode bytes, a dword behind */
{
    if (opcode >> 8)
        b1((u8)(opcode >> 8));
    b1((u8)opcode);
    b4(x);
}
static void jump(u16 opcode, u32 to)
{
    op(opcode, to - (here + (opcode >> 8 ? 6 : 5)));
}
/* mov $n, %eax; ret */
static void put_fn(u32 at, u32 n)
{
    here = at;
    op(0xb8, n);
    b1(0xc3);
}

/* ---- every store at every distance ----------------------------------------------------------- */

/* With edi = where, eax = VALUE, esi = 16 bytes that start with VALUE, ecx = 4, ebp = esp. */
#define VALUE 0x01020304u
static const struct store {
    const char *name;
    u8 n, code[10];
    u32 want; /* of a dword that was 0 */
} stores[] = {
    {"mov", 2, {0x89, 0x07}, VALUE},
    {"mov-byte", 2, {0x88, 0x07}, 4},
    {"mov-word", 3, {0x66, 0x89, 0x07}, 0x304},
    {"add", 2, {0x01, 0x07}, VALUE},
    {"inc", 2, {0xff, 0x07}, 1},
    {"xchg", 2, {0x87, 0x07}, VALUE},
    {"lock-xadd", 4, {0xf0, 0x0f, 0xc1, 0x07}, VALUE},
    {"bts", 5, {0xf9, 0x0f, 0xba, 0x2f, 5}, 0x20},
    {"sete", 5, {0x39, 0xc0, 0x0f, 0x94, 0x07}, 1},
    {"stosl", 1, {0xab}, VALUE},
    {"movsl", 1, {0xa5}, VALUE},
    {"rep-stosb", 2, {0xf3, 0xaa}, 0x04040404},
    {"rep-movsb", 2, {0xf3, 0xa4}, VALUE},
    {"push", 6, {0x8d, 0x67, 0x04, 0x50, 0x89, 0xec}, VALUE},
    {"pop", 3, {0x50, 0x8f, 0x07}, VALUE},
    {"fistp", 4, {0xdb, 0x06, 0xdb, 0x1f}, VALUE},
    {"movq", 8, {0x0f, 0x6f, 0x06, 0x0f, 0x7f, 0x07, 0x0f, 0x77}, VALUE},
    {"movups", 6, {0x0f, 0x10, 0x06, 0x0f, 0x11, 0x07}, VALUE},
};

static volatile u32 destination, countdown, sum;
static u8 source[16], dummy[16];

/* A loop at `at`: the store, `distance` increments of edx, then "mov $0, %ebx" whose immediate is
 * the target, then sum += ebx. Its first 30 rounds store to `dummy`, one to the target, one to
 * `dummy` again. With a negative distance the target precedes the store. Returns how far it is off;
 * 0 is right. */
#define ROUNDS 30
static u32 patch_loop(const struct store *s, u32 at, int distance, enum via via, unsigned ring)
{
    unsigned fill = (unsigned)(distance < 0 ? -distance : distance);
    u32 loop = at, target = 0, set;

    here = at;
    for (int part = 0; part < 3; part++) {
        if (part == (distance < 0 ? 0 : 2)) {
            op(0xbb, 0); /* mov $0, %ebx */
            target = here - 4;
            op(0x011d, (u32)&sum);
        } else if (part == 1) {
            for (unsigned i = 0; i < fill; i++)
                b1(0x42); /* inc %edx */
        } else {
            op(0x8b3d, (u32)&destination); /* mov destination, %edi */
            op(0xb8, VALUE);
            op(0xbe, (u32)source);
            op(0xb9, 4);
            b1(0x89), b1(0xe5); /* mov %esp, %ebp */
            for (unsigned i = 0; i < s->n; i++)
                b1(s->code[i]);
        }
    }
    op(0xff0d, (u32)&countdown); /* decl */
    jump(0x0f8f, loop);
    jump(0x0f84, here + 6 + 7 + 6 + 10 + 5);
    set = here;
    b1(0x83), b1(0x3d), b4((u32)&countdown), b1(0xfe); /* cmpl $-2, countdown */
    jump(0x0f8e, set + 7 + 6 + 10 + 5 + 10 + 5);       /* jle out */
    op(0xc705, (u32)&destination), b4((u32)dummy);
    jump(0xe9, loop);
    if (target % PAGE > PAGE - 4 && via == THROUGH_IDENTITY)
        via = SAME; /* not in one piece there */
    op(0xc705, (u32)&destination), b4(view(target, via));
    jump(0xe9, loop);
    b1(0xcd), b1(DONE);

    memcpy(source, (void *)target, sizeof(source));
    poke((u32)source, VALUE);
    destination = (u32)dummy;
    countdown = ROUNDS;
    sum = 0;
    struct cpu c = cpu_make(ring, (void *)at);
    cpu_run(&c);
    u32 want = s->want * (distance < 0 ? 1 : 2);
    if (c.vector != DONE)
        return 0xbad00000 | c.vector;
    if (sum != want)
        return sum - want;
    return c.edx == fill * (ROUNDS + 2) ? 0 : 0xedc00000 | c.edx;
}

static void every_store(void)
{
    static const int distances[] = {0, 1, 2, 5, 15, 40, 130, 700, -1, -40};
    static const u32 starts[] = {LIN + 0x100, LIN + PAGE - 60, LIN + PAGE - 31, LIN + PAGE - 28};

    for (unsigned i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
        u32 wrong = 0;
        for (unsigned d = 0; d < sizeof(distances) / sizeof(*distances); d++)
            for (unsigned k = 0; k < 24; k++) { /* each with other cases first */
                unsigned n = (k + 5 * i + 7 * d) % 24, at = n % 4, ring = n / 12 * 3;
                enum via via = n / 4 % VIAS;
                if (k % 6 == 0)
                    fresh();
                if (patch_loop(&stores[i], starts[at], distances[d], via, ring) && !wrong)
                    wrong = 0x10000 | d << 12 | at << 8 | via << 4 | ring;
            }
        check_eq(stores[i].name, wrong, 0);
    }
}

/* ---- straddling ------------------------------------------------------------------------------ */

/* Instructions that end up in eax, and where their immediate is. */
static const struct straddler {
    u8 n, code[12], imm;
} straddlers[] = {
    {5, {0xb8, 1, 2, 3, 4}, 1},                        /* mov $n, %eax */
    {7, {0x36, 0x3e, 0xb8, 1, 2, 3, 4}, 3},            /* with prefixes */
    {8, {0x8d, 0x04, 0x25, 1, 2, 3, 4, 0x90}, 3},      /* lea n, %eax; nop */
    {6, {0x69, 0xc1, 1, 2, 3, 4}, 2},                  /* imul $n, %ecx, %eax */
    {9, {0x31, 0xc0, 0x0d, 1, 2, 3, 4, 0x90, 0x90}, 3} /* xor %eax, %eax; or $n, %eax */
};

static u32 call_ecx1(u32 at)
{
    u32 r;
    asm volatile("mov $1, %%ecx; call *%1" : "=a"(r) : "r"(at) : "ecx", "edx", "memory", "cc");
    return r;
}

static void straddling(void)
{
    u32 wrong = 0;

    for (unsigned i = 0; i < sizeof(straddlers) / sizeof(*straddlers); i++) {
        const struct straddler *s = &straddlers[i];
        for (u32 first = 1; first < s->n; first++)
            for (enum via via = SAME; via < VIAS; via++) {
                u32 at = LIN + PAGE - first, want = 0x04030201;
                fresh();
                for (unsigned k = 0; k < s->n; k++)
                    poke8(at + k, s->code[k]);
                poke8(at + s->n, 0xc3);
                for (unsigned k = 0; k < 20; k++)
                    if (call_ecx1(at) != want)
                        wrong = wrong ? wrong : 0x100 | i;
                for (unsigned k = 0; k < 4; k++) {
                    u8 x = (u8)(0x51 + 16 * k + first);
                    poke8(view(at + s->imm + k, via), x);
                    want = (want & ~(0xffu << 8 * k)) | (u32)x << 8 * k;
                    if (call_ecx1(at) != want || call_ecx1(at) != want)
                        wrong = wrong ? wrong : 0x1000 | i << 8 | first << 4 | k;
                }
            }
    }
    check_eq("straddling-bytes", wrong, 0);

    /* Its opcode, then its tail turned into other instructions. */
    fresh();
    put_fn(LIN + PAGE - 2, 0x11223344);
    warm(LIN + PAGE - 2);
    poke8(LIN + PAGE - 2, 0xb9);
    u32 r;
    asm volatile("xor %%eax, %%eax; call *%2; mov %%ecx, %1"
                 : "=&a"(r), "=&d"(sum)
                 : "b"(LIN + PAGE - 2)
                 : "ecx", "memory", "cc");
    check("straddling-opcode", r == 0 && sum == 0x11223344);
    fresh();
    put_fn(LIN + PAGE - 1, 0x90909090);
    warm(LIN + PAGE - 1);
    poke8(LIN + PAGE - 1, 0x40); /* inc %eax; four nops; ret */
    asm volatile("mov $7, %%eax; call *%1" : "=&a"(r) : "b"(LIN + PAGE - 1) : "memory", "cc");
    check_eq("straddling-becomes-short", r, 8);
    poke8(LIN + PAGE - 1, 0xb8);
    check_eq("straddling-becomes-long", call(LIN + PAGE - 1), 0x90909090);
}

static void straddling_remapped(void)
{
    u32 at = LIN + PAGE - 3;

    fresh();
    for (u32 i = 0; i < 4; i++)
        memset(frames[i], 0x10 * ((int)i + 1), PAGE);
    put_fn(at, 0xddccbbaa); /* bb and aa in the first page */
    memcpy(frames[3] + PAGE - 3, "\xb8\x01\x02", 3);
    memcpy(frames[1], "\x03\x04\xc3", 3);
    warm(at);
    pt[1] = (u32)frames[1] | 7;
    invlpg(LIN + PAGE);
    check_eq("second-half-remapped", call(at), 0x0403bbaa);
    pt[0] = (u32)frames[3] | 7;
    invlpg(LIN);
    check_eq("both-halves-remapped", call(at), 0x04030201);
    warm(at);
    pt[1] = (u32)frames[order[1]] | 7;
    invlpg(LIN + PAGE);
    check_eq("first-half-remapped", call(at), 0xddcc0201);
    /* Absent: the fetch faults, as an instruction fetch is seen: error code 0 or 4. */
    warm(at);
    pt[1] = 0;
    invlpg(LIN + PAGE);
    for (unsigned ring = 0; ring < 4; ring += 3) {
        struct cpu c = run(ring, (void *)at);
        check_fault("second-half-absent", &c, 14, ring ? 4 : 0, (void *)at);
        check_eq("second-half-absent-cr2", c.cr2, LIN + PAGE);
    }
    pt[1] = (u32)frames[order[1]] | 7;
    check_eq("second-half-back", call(at), 0xddcc0201); /* absent entries are not cached */
    pt[0] = 0;
    invlpg(LIN);
    struct cpu c = run(0, (void *)at);
    check_fault("first-half-absent", &c, 14, 0, (void *)at);
    check_eq("first-half-absent-cr2", c.cr2, at);
    map_pages();
    check_eq("halves-as-at-first", call(at), 0xddccbbaa);
}

/* ---- branches -------------------------------------------------------------------------------- */

static void branches(void)
{
    u32 at = LIN + 0x200, r;

    fresh();
    for (u32 i = 0; i < 4; i++)
        put_fn(LIN + PAGE * (i % 3) + 0x800 + 32 * i, 100 + i);
    /* call rel32; ret: another callee each time, in this page and others */
    here = at;
    jump(0xe8, LIN + 0x800);
    b1(0xc3);
    for (u32 i = 0, good = 0; i < 64; i++) {
        u32 to = LIN + PAGE * (i % 4 % 3) + 0x800 + 32 * (i % 4);
        poke(at + 1, to - (at + 5));
        warm(at);
        good += call(at) == 100 + i % 4;
        if (i == 63)
            check_eq("call-retargeted", good, 64);
    }
    here = at;
    jump(0xe9, LIN + 0x800);
    warm(at);
    poke(at + 1, LIN + PAGE + 0x820 - (at + 5));
    check_eq("jump-retargeted", call(at), 101);
    fresh();
    /* The direction of a condition: cmp %eax, %eax; je +6; mov $2, %eax; ret; mov $3, %eax; ret */
    here = at;
    b1(0x39), b1(0xc0), b1(0x74), b1(6);
    op(0xb8, 2), b1(0xc3), op(0xb8, 3), b1(0xc3);
    warm(at);
    check_eq("je-taken", call(at), 3);
    poke8(at + 2, 0x75);
    check_eq("je-becomes-jne", call(at), 2);
    warm(at);
    poke8(at + 2, 0xeb);
    check_eq("jne-becomes-jmp", call(at), 3);
    poke8(at + 3, 0);
    check_eq("jmp-to-next", call(at), 2);
    fresh();
    /* The callee patches the place it returns to. */
    here = at;
    jump(0xe8, LIN + PAGE + 0x900);
    op(0xb8, 1), b1(0xc3);
    here = LIN + PAGE + 0x900;
    op(0xff05, at + 6), b1(0xc3); /* incl at + 6 */
    r = 0;
    for (u32 i = 0; i < 100; i++)
        r += call(at) == i + 2;
    check_eq("return-site-patched", r, 100);
    fresh();
    /* A callee that is overwritten while its caller stays hot. */
    here = at;
    jump(0xe8, LIN + 2 * PAGE + 0x900);
    b1(0xc3);
    r = 0;
    for (u32 i = 0; i < 100; i++) {
        put_fn(LIN + 2 * PAGE + 0x900, i);
        r += call(at) == i && call(at) == i;
    }
    check_eq("callee-replaced", r, 100);
}

/* ---- other privilege levels, interrupts ------------------------------------------------------ */

static volatile u32 patched_at, patched_with, kernel_calls;

static void patch_from_kernel(struct frame *f)
{
    kernel_calls++;
    poke(patched_at, patched_with);
}

static void patch_from_timer(struct frame *f)
{
    outb(0x20, 0x20);
    if (++kernel_calls == 3)
        poke8(patched_at, (u8)patched_with);
}

static void spurious(struct frame *f) /* of a request that went away: nothing to acknowledge */ {}

/* Runs the spin loop until the timer's third interrupt rewrites it. */
static struct cpu spin(u32 at, unsigned ring)
{
    struct cpu c = cpu_make(ring, (void *)at);

    c.eflags |= IF;
    kernel_calls = 0;
    hook[0x20] = patch_from_timer;
    hook[0x27] = spurious;
    pit_start(2, 1193);
    pic_mask(0xfffe);
    cpu_run(&c);
    pic_mask(0xffff);
    hook[0x20] = hook[0x27] = NULL;
    return c;
}

static void other_levels(void)
{
    u32 at = LIN + 0x300, good = 0;

    /* User code whose next instruction the kernel rewrites during a system call. */
    hook[0x80] = patch_from_kernel;
    fresh();
    here = at;
    b1(0xcd), b1(0x80), op(0xb8, 0), b1(0xcd), b1(DONE);
    for (u32 i = 0; i < 60; i++) {
        patched_at = view(at + 3, i % VIAS);
        patched_with = i;
        struct cpu c = run(3, (void *)at);
        good += c.vector == DONE && c.eax == i;
    }
    hook[0x80] = NULL;
    check_eq("kernel-patches-user", good, 60);

    fresh();
    /* User code rewrites what the kernel runs in the same page, both hot. */
    here = at;
    op(0xff05, at + 0x41), b1(0xcd), b1(DONE); /* incl the immediate of the function below */
    put_fn(at + 0x40, 0);
    good = 0;
    for (u32 i = 1; i <= 60; i++) {
        struct cpu c = run(3, (void *)at);
        good += c.vector == DONE && call(at + 0x40) == i;
    }
    check_eq("user-patches-kernel", good, 60);

    /* Loops that end only because an interrupt rewrites them: jmp to itself, jnz to itself. */
    for (unsigned ring = 0; ring < 4; ring += 3) {
        fresh();
        here = at;
        b1(0xeb), b1(0xfe), op(0xb8, 9), b1(0xcd), b1(DONE);
        patched_at = at + 1, patched_with = 0;
        struct cpu c = spin(at, ring);
        check("timer-ends-self-jump", c.vector == DONE && c.eax == 9 && kernel_calls >= 3);
        fresh();
        here = at; /* or $1, %eax; inc %ecx; test %eax, %eax; jnz back; mov $8, %eax */
        b1(0x83), b1(0xc8), b1(1), b1(0x41), b1(0x85), b1(0xc0), b1(0x75), b1(0xf8);
        op(0xb8, 8), b1(0xcd), b1(DONE);
        patched_at = identity(at + 6), patched_with = 0x74;
        c = spin(at, ring);
        check("timer-ends-loop", c.vector == DONE && c.eax == 8 && c.ecx && kernel_calls >= 3);
    }
}

/* ---- mixed and changing pages ---------------------------------------------------------------- */

static void mixed(void)
{
    u32 at = LIN + 0x400, good = 0;

    /* loop: incl counter in the same page; dec %ecx; jnz; the counter near, far, straddling */
    static const u32 counters[] = {0x420, 0x500, 0xf00, 0xffe, 0x1000, 0x3f0};
    for (unsigned i = 0; i < sizeof(counters) / sizeof(*counters); i++)
        for (unsigned ring = 0; ring < 4; ring += 3) {
            fresh();
            here = at;
            op(0xb9, 4000);
            op(0xff05, LIN + counters[i]);
            b1(0x49), b1(0x75), b1(0xf7), b1(0xcd), b1(DONE);
            poke(LIN + counters[i], 0);
            struct cpu c = run(ring, (void *)at);
            good += c.vector == DONE && peek(LIN + counters[i]) == 4000;
        }
    check_eq("counter-in-code-page", good, 12);

    fresh();
    /* Its stack in the code page: 500 calls deep. */
    here = at; /* dec %ecx; jz +6; call at; ret; inc %eax; ret */
    b1(0x49), b1(0x74), b1(7);
    jump(0xe8, at);
    b1(0x40), b1(0xc3), b1(0x40), b1(0xc3);
    here = at + 0x40;
    jump(0xe8, at);
    b1(0xcd), b1(DONE);
    struct cpu c = cpu_make(3, (void *)(at + 0x40));
    c.ecx = 500;
    c.esp = LIN + PAGE;
    cpu_run(&c);
    check("stack-in-code-page", c.vector == DONE && c.eax == 500);

    fresh();
    /* Many writes by the kernel to a page that user code runs in, and the code changes at times. */
    good = 0;
    for (u32 i = 0; i < 3000; i++) {
        poke(LIN + 0x800 + i % 64 * 4, i);
        if (i % 100 == 0)
            put_fn(at, i);
        good += call(at) == i / 100 * 100 && peek(LIN + 0x800 + i % 64 * 4) == i;
    }
    check_eq("data-and-code-interleaved", good, 3000);

    fresh();
    /* A page's life: code, data, other code at other offsets, zero, code again. */
    good = 0;
    for (u32 i = 0; i < 50; i++) {
        u32 off = i * 8 % 0x800;
        put_fn(LIN + PAGE + off, i);
        warm(LIN + PAGE + off);
        good += call(LIN + PAGE + off) == i;
        for (u32 k = 0; k < PAGE; k += 64)
            poke(ALIAS + PAGE + k, k ^ i);
        for (u32 k = 0; k < PAGE; k += 64)
            good += peek(LIN + PAGE + k) == (k ^ i);
        memset((void *)identity(LIN + PAGE), 0, PAGE);
        good += peek(LIN + PAGE + off) == 0;
    }
    check_eq("page-changes-use", good, 50 * 66);
}

/* ---- string instructions over running code --------------------------------------------------- */

static u8 image[PAGE];

/* A program whose rep instruction copies `image` over itself: the same bytes up to the end of the
 * rep instruction, others behind it. */
static void over_itself(const char *name, u8 width, bool down)
{
    u32 at = LIN + PAGE - 64, start = at - 256, size = 1024, good = 0;

    for (unsigned round = 0; round < 6; round++) {
        if (round % 3 == 0)
            fresh();
        memset((void *)start, 0x90, size);
        here = at;
        op(0xb9, width == 1 ? size : size / 4);
        op(0xbe, (u32)image + (down ? size - width : 0));
        op(0xbf, start + (down ? size - width : 0));
        b1(down ? 0xfd : 0xfc);
        b1(0xf3), b1(width == 1 ? 0xa4 : 0xa5);
        u32 behind = here;
        op(0xb8, 1), b1(0xfc), b1(0xcd), b1(DONE);
        memcpy(image, (void *)start, size);
        poke((u32)image + behind - start + 1, 0x77 + round);
        struct cpu c = run(round & 1 ? 3 : 0, (void *)at);
        good += c.vector == DONE && c.eax == 0x77 + round && c.ecx == 0 &&
                !memcmp((void *)start, image, size);
    }
    check_eq(name, good, 6);
}

static void strings(void)
{
    over_itself("rep-movsb-over-itself", 1, false);
    over_itself("rep-movsl-over-itself", 4, false);
    over_itself("rep-movsb-down-over-itself", 1, true);
    over_itself("rep-movsl-down-over-itself", 4, true);
    fresh();
    /* Over the code of a caller that is hot, in a function that returns to it. */
    u32 at = LIN + 0x500, good = 0;
    here = LIN + 2 * PAGE + 0x10;
    b1(0xf3), b1(0xab), b1(0xc3);
    here = at;
    op(0xbf, at + 5 + 5 + 5 + 5);
    op(0xb8, 0x43434343);
    op(0xb9, 0);
    jump(0xe8, LIN + 2 * PAGE + 0x10);
    for (unsigned i = 0; i < 64; i++)
        b1(0x42); /* inc %edx; some become inc %ebx */
    b1(0xcd), b1(DONE);
    for (u32 i = 0; i <= 16; i++) {
        poke(at + 11, i);
        struct cpu c = run(3, (void *)at);
        good += c.vector == DONE && c.ebx == 4 * i && c.edx == 64 - 4 * i;
    }
    check_eq("rep-stosl-over-caller", good, 17);
}

/* ---- the same bytes, entered otherwise ------------------------------------------------------- */

/* Five entries into one run of bytes; each reads it as other instructions. */
static void middles(void)
{
    static const u8 bytes[] = {0x05, 0x05, 0x05, 0x05, 0x05, /* add $n, %eax */
                               0x01, 0x00, 0x00, 0x00, 0x40, 0x40, 0x40, 0x40, 0x40, 0xc3, 0xc3};
    static const struct {
        u32 entry, eax;
    } want[] = {{4, 1 + 5}, {9, 5}, {10, 4}, {13, 1}, {14, 0}};
    u32 at = LIN + PAGE - 7, good = 0, r;

    fresh();
    for (unsigned i = 0; i < sizeof(bytes); i++)
        poke8(at + i, bytes[i]);
    for (unsigned round = 0; round < 40; round++)
        for (unsigned i = 0; i < sizeof(want) / sizeof(*want); i++) {
            asm volatile("xor %%eax, %%eax; call *%1"
                         : "=&a"(r)
                         : "b"(at + want[i].entry)
                         : "memory", "cc");
            good += r == want[i].eax;
        }
    check_eq("entered-in-the-middle", good, 200);
    poke8(at + 12, 0x48); /* one inc becomes dec: five entries see it, or do not */
    static const u32 after[] = {4, 3, 2, 1, 0};
    good = 0;
    for (unsigned i = 0; i < 5; i++) {
        asm volatile("xor %%eax, %%eax; call *%1"
                     : "=&a"(r)
                     : "b"(at + want[i].entry)
                     : "memory", "cc");
        good += r == after[i];
    }
    check_eq("middles-see-patch", good, 5);
}

static void sixteen_bit(void)
{
    u32 at = LIN + 0x600, good = 0;

    fresh();
    /* 32-bit: mov $0x40400001, %eax. 16-bit: mov $1, %ax; inc %ax; inc %ax. */
    here = at;
    op(0xb8, 0x40400001), b1(0xcd), b1(DONE);
    gdt_set(T_SEL, desc(LIN, 0xffff, 0x09b));
    for (u32 i = 1; i <= 30; i++) {
        poke8(at + 1, (u8)i);
        struct cpu wide = run(0, (void *)at), narrow = cpu_make(0, (void *)(at - LIN));
        narrow.cs = T_SEL;
        cpu_run(&narrow);
        good += wide.vector == DONE && wide.eax == (0x40400000 | i) && narrow.vector == DONE &&
                narrow.eax == i + 2;
    }
    check_eq("same-bytes-16-and-32-bit", good, 30);
}

void test_main(void)
{
    write_cr4(read_cr4() | 0x600); /* OSFXSR, OSXMMEXCPT */
    asm volatile("fninit");
    paging_on();
    page_dir[LIN >> 22] = (u32)pt | 7;
    write_cr3(read_cr3());
    every_store();
    straddling();
    straddling_remapped();
    branches();
    other_levels();
    mixed();
    strings();
    middles();
    sixteen_bit();
}
