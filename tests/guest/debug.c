/* SPDX-License-Identifier: MIT */
/* Single-stepping and hardware breakpoints on code that is hot (Intel SDM vol. 3B 17.2, 17.3): the
 * programs run untraced first, then again under TF, breakpoints or both, and must come to the same
 * with exactly the expected number of #DB: loops, calls, branches, string instructions, sensitive
 * instructions, over page boundaries, in rings 0 and 3, with a timer running too. events.c has each
 * kind of trap once. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"step-sensitive", "a move to ES holds the trap, as one to SS does"},
    {NULL, NULL},
};

#define LIN 0x40000000u

static u32 pt[1024] __attribute__((aligned(4096)));
static u8 frames[3][4096] __attribute__((aligned(4096)));
static u8 source[256], target[256];
u32 d_words[64];

/* ---- the programs ---------------------------------------------------------------------------- */

/* With ecx = n, esi = source, edi = target. `steps` = a + b * n. */
FRAG(p_loop,
     "1: add %ecx, %eax; lea 3(%eax), %eax; rol $3, %eax; mov %eax, d_words; dec %ecx; jnz 1b");
FRAG(p_call, "1: call 2f; add %ebx, %eax; dec %ecx; jnz 1b; jmp 3f; 2: push %eax; pop %ebx; inc "
             "%ebx; ret; 3: nop");
FRAG(p_branch, "1: test $1, %cl; jnz 2f; add $5, %eax; jmp 3f; 2: sub $3, %eax; nop; 3: loop 1b");
FRAG(p_movs, "cld; rep movsb; mov %edi, %eax");
FRAG(p_stos,
     "mov %edi, %ebp; mov %ecx, %edx; rep stosb; mov %ebp, %edi; mov %edx, %ecx; rep stosb");
FRAG(p_scas, "mov $0x5a, %al; repne scasb; sete %al; movzbl %al, %eax"); /* not found: n steps */
FRAG(p_table,
     "1: mov %ecx, %edx; and $1, %edx; jmp *p_table_to(, %edx, 4); 2: inc %eax; loop 1b; jmp 4f;"
     "3: inc %ebx; loop 1b; jmp 4f; p_table_to: .long 2b, 3b; 4: nop");
FRAG(p_flags,
     "1: stc; pushf; pop %edx; and $1, %edx; add %edx, %eax; adc $0, %ebx; dec %ecx; jnz 1b");
FRAG(p_sensitive,
     "1: cli; in $0x21, %al; sti; mov %ss, %edx; mov %edx, %es; cpuid; xor %eax, %eax; dec %esi;"
     "jnz 1b; xor %ebx, %ebx; xor %edx, %edx; xor %ecx, %ecx");
FRAG(p_memory, "1: incl d_words + 4; xchg %eax, d_words + 8; push d_words + 4; pop d_words + 12; "
               "dec %ecx; jnz 1b");

#define N 40u
static const struct program {
    const char *name, *code;
    u32 steps, bound; /* bound: n goes to esi */
} programs[] = {
    {"step-loop", p_loop, 6 * N, 0},
    {"step-call", p_call, 8 * N + 2, 0},
    /* odd n: 2 + 2 + loop; even: 2 + 2 + loop */
    {"step-branch", p_branch, 5 * N, 0},
    {"step-movs", p_movs, 2 + N, 0},
    {"step-stos", p_stos, 4 + 2 * N, 0},
    {"step-scas", p_scas, 3 + N, 0},
    {"step-table", p_table, 5 * N + 2, 0},
    {"step-flags", p_flags, 8 * N, 0},
    {"step-sensitive", p_sensitive, 9 * N + 3, 1},
    {"step-memory", p_memory, 6 * N, 0},
};

struct outcome {
    struct cpu c;
    u8 target[sizeof(target)];
    u32 words[4];
};

static void go(struct outcome *o, const struct program *p, unsigned ring, u32 at, u32 fl)
{
    memset(target, 0, sizeof(target));
    memset(d_words, 0, sizeof(d_words));
    o->c = cpu_make(ring, (void *)at);
    o->c.esi = p->bound ? N : (u32)source;
    o->c.edi = (u32)target;
    o->c.ecx = N;
    o->c.eflags |= fl | IOPL3;
    cpu_run(&o->c);
    memcpy(o->target, target, sizeof(target));
    memcpy(o->words, d_words, sizeof(o->words));
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->c.vector == DONE && b->c.vector == DONE && a->c.esp == b->c.esp &&
           !memcmp(&a->c, &b->c, offsetof(struct cpu, esp)) && !memcmp(&a->c.ebp, &b->c.ebp, 12) &&
           !((a->c.eflags ^ b->c.eflags) & 0x8d5) &&
           !memcmp(a->target, b->target, sizeof(target)) && !memcmp(a->words, b->words, 16);
}

/* ---- stepping -------------------------------------------------------------------------------- */

static volatile u32 traps, odd_traps, ticks, trap_dr6;
static volatile u32 resume;

static void count_trap(struct frame *f)
{
    u32 dr6 = read_dr6();

    traps++;
    odd_traps += (dr6 & 0xf00f) != trap_dr6;
    write_dr6(0xffff0ff0);
    f->eflags |= resume;
}

static void tick(struct frame *f)
{
    ticks++;
    outb(0x20, 0x20);
}

static void spurious(struct frame *f) /* of a request that went away: nothing to acknowledge */ {}

static void timer(bool on)
{
    hook[0x20] = on ? tick : NULL;
    hook[0x27] = on ? spurious : NULL;
    if (on)
        pit_start(2, 239);
    pic_mask(on ? 0xfffe : 0xffff);
}

/* Steps of "mov %edx, %es" are like any other; STI's shadow does not hold the trap either. */
static void stepping(const struct program *p, unsigned ring)
{
    static struct outcome plain, traced;
    u32 bad = 0;

    for (unsigned i = 0; i < 30; i++)
        go(&plain, p, ring, (u32)p->code, 0);
    hook[1] = count_trap;
    trap_dr6 = 0x4000;
    resume = 0;
    for (unsigned i = 0; i < 8; i++) {
        traps = odd_traps = 0;
        timer(i >= 4);
        go(&traced, p, ring, (u32)p->code, TF | (i >= 4 ? IF : 0));
        timer(false);
        bad += traps != p->steps || odd_traps || !same(&plain, &traced);
        go(&traced, p, ring, (u32)p->code, 0); /* and untraced again */
        bad += traps != p->steps || !same(&plain, &traced);
    }
    hook[1] = NULL;
    check_eq(p->name, bad, 0);
}

/* TF on and off inside, by POPF, in the middle of hot code. */
FRAG(
    p_part,
    "1: inc %eax; pushf; orl $0x100, (%esp); popf; nop; inc %ebx; nop; pushf; andl $~0x100, (%esp);"
    "popf; inc %edx; dec %ecx; jnz 1b");

static void partly(void)
{
    u32 good = 0;

    hook[1] = count_trap;
    trap_dr6 = 0x4000;
    for (unsigned i = 0; i < 20; i++) {
        struct cpu c = cpu_make(i & 1 ? 3 : 0, p_part);
        c.ecx = 50;
        traps = odd_traps = 0;
        cpu_run(&c);
        /* nop, inc, nop, pushf, and, popf: six boundaries with TF set */
        good += c.vector == DONE && traps == 6 * 50 && !odd_traps && c.eax == 50 && c.ebx == 50 &&
                c.edx == 50;
    }
    hook[1] = NULL;
    check_eq("step-on-and-off", good, 20);
}

/* Code over a page boundary whose pages are not neighbours, the boundary at every byte. */
static void over_boundary(void)
{
    static const u8 code[] = {0xb9, 10,   0,    0, 0,       /* mov $10, %ecx */
                              0x05, 0x01, 0x01, 0, 0,       /* add $0x101, %eax */
                              0x8d, 0x9c, 0x08, 4, 0, 0, 0, /* lea 4(%eax, %ecx), %ebx */
                              0xe2, 0xf2,                   /* loop to the add */
                              0xcd, DONE};
    u32 good = 0;

    hook[1] = count_trap;
    trap_dr6 = 0x4000;
    for (u32 first = 1; first < sizeof(code) - 2; first++) {
        u32 at = LIN + 0x1000 - first;
        memcpy((void *)at, code, sizeof(code));
        for (unsigned i = 0; i < 12; i++) {
            struct cpu c = cpu_make(i & 1 ? 3 : 0, (void *)at);
            traps = odd_traps = 0;
            c.eflags |= i < 8 ? 0 : TF;
            cpu_run(&c);
            good += c.vector == DONE && c.eax == 0xa0a && c.ebx == 0xa0a + 5 &&
                    traps == (i < 8 ? 0 : 31) && !odd_traps;
        }
    }
    hook[1] = NULL;
    check_eq("step-over-boundary", good, (sizeof(code) - 3) * 12);
}

/* ---- breakpoints on instructions --------------------------------------------------------------
 */

#define DR7_BP(n, rw, len) (1u << (n)*2 | ((rw) | ((len)-1) << 2) << (16 + (n)*4))

FRAG(b_code,
     "b_1: inc %eax; b_2: test $3, %cl; b_3: jnz b_5; b_4: add $2, %ebx; b_5: lea 1(%edx), %edx;"
     "b_6: loop b_1");
LABEL(b_1);
LABEL(b_2);
LABEL(b_3);
LABEL(b_4);
LABEL(b_5);
LABEL(b_6);

static u32 hits(u32 dr7, unsigned ring, u32 n)
{
    struct cpu c = cpu_make(ring, b_code);

    c.ecx = n;
    traps = odd_traps = 0;
    write_dr6(0xffff0ff0);
    write_dr7(dr7);
    cpu_run(&c);
    write_dr7(0x400);
    bool right = c.vector == DONE && c.eax == n && c.ebx == n / 4 * 2 && c.edx == n && !odd_traps;
    return right ? traps : ~0u;
}

static void on_instructions(void)
{
    static const struct {
        const char *at;
        u32 hits;
    } t[] = {{b_1, 80}, {b_2, 80}, {b_3, 80}, {b_4, 20}, {b_5, 80}, {b_6, 80}};
    u32 good = 0;

    hook[1] = count_trap;
    resume = RF;
    for (unsigned i = 0; i < 6; i++)
        for (unsigned ring = 0; ring <= 3; ring += 3) {
            for (unsigned k = 0; k < 20; k++)
                good += hits(0x400, ring, 80) == 0;
            trap_dr6 = 1;
            write_dr0((u32)t[i].at);
            good += hits(DR7_BP(0, 0, 1), ring, 80) == t[i].hits;
            write_dr0((u32)t[i].at + 1); /* inside an instruction: none */
            good += hits(DR7_BP(0, 0, 1), ring, 80) == (t[i].at == b_1 ? t[1].hits : 0);
            write_dr0((u32)t[i].at);
            good += hits(0x400, ring, 80) == 0;
        }
    check_eq("exec-bp-in-loop", good, 276);
    /* Four at once, each with its own bit, so only their number is looked at. */
    write_dr0((u32)b_1), write_dr1((u32)b_4), write_dr2((u32)b_5), write_dr3((u32)b_6);
    hits(DR7_BP(0, 0, 1) | DR7_BP(1, 0, 1) | DR7_BP(2, 0, 1) | DR7_BP(3, 0, 1), 3, 80);
    check_eq("four-exec-bps", traps, 80 + 20 + 80 + 80);
    /* The address is linear: the same code elsewhere does not stop. */
    memcpy((void *)LIN, b_code, 32);
    write_dr0((u32)b_1);
    u32 before = traps;
    write_dr7(DR7_BP(0, 0, 1));
    struct cpu c = cpu_make(3, (void *)LIN);
    c.ecx = 8;
    cpu_run(&c);
    check("exec-bp-is-linear", c.vector == DONE && c.eax == 8 && traps == before);
    write_dr0(LIN);
    c = cpu_make(3, (void *)LIN);
    c.ecx = 8;
    cpu_run(&c);
    check("exec-bp-on-copy", c.vector == DONE && c.eax == 8 && traps == before + 8);
    write_dr7(0x400);
    hook[1] = NULL;
}

/* ---- breakpoints on data --------------------------------------------------------------------- */

FRAG(b_store, "1: mov %ecx, d_words(, %ecx, 4); mov d_words + 4(, %ecx, 4), %eax; loop 1b");
FRAG(b_rmw, "1: addl $3, d_words + 40; cmpl $0, d_words + 40; incb d_words + 44; loop 1b");
FRAG(b_stack, "1: push %ecx; pop %eax; call 2f; loop 1b; jmp 3f; 2: ret; 3: nop");
FRAG(b_stos, "mov %ecx, %edx; 1: mov $d_words, %edi; mov $16, %ecx; rep stosl; dec %edx; jnz 1b");
FRAG(b_cross, "1: mov %ecx, 0x40000ffe; mov %cx, 0x40001004; loop 1b");

/* On the stack only in ring 3: in ring 0 the #DB itself would use it. */
static void watch(const char *name, const char *code, u32 address, u32 dr7, u32 want)
{
    u32 good = 0;

    hook[1] = count_trap;
    resume = 0;
    trap_dr6 = 1;
    for (unsigned i = 0; i < 24; i++) { /* off, on, off, on: each is hot before the other */
        bool on = i / 4 & 1;
        struct cpu c = cpu_make(i & 1 || code == b_stack ? 3 : 0, code);
        c.ecx = 30;
        traps = odd_traps = 0;
        memset(d_words, 0, sizeof(d_words));
        write_dr6(0xffff0ff0);
        write_dr0(address);
        write_dr7(on ? dr7 : 0x400);
        cpu_run(&c);
        write_dr7(0x400);
        good += c.vector == DONE && traps == (on ? want : 0) && !odd_traps;
    }
    hook[1] = NULL;
    check_eq(name, good, 24);
}

static void on_data(void)
{
    u32 d = (u32)d_words, top = (u32)frag_stack_top;

    watch("write-bp-one-element", b_store, d + 40, DR7_BP(0, 1, 4), 1);
    watch("write-bp-one-byte", b_store, d + 43, DR7_BP(0, 1, 1), 1);
    watch("write-bp-unreached", b_store, d + 31 * 4, DR7_BP(0, 1, 4), 0);
    watch("rw-bp-element", b_store, d + 40, DR7_BP(0, 3, 4), 2);
    watch("rw-bp-half", b_store, d + 42, DR7_BP(0, 3, 2), 2);
    watch("write-bp-rmw", b_rmw, d + 40, DR7_BP(0, 1, 4), 30);
    watch("rw-bp-rmw", b_rmw, d + 40, DR7_BP(0, 3, 4), 60);
    watch("write-bp-rmw-neighbour", b_rmw, d + 44, DR7_BP(0, 1, 1), 30);
    watch("write-bp-stack", b_stack, top - 4, DR7_BP(0, 1, 4), 60);
    watch("rw-bp-stack", b_stack, top - 4, DR7_BP(0, 3, 4), 120);
    watch("write-bp-stos", b_stos, d + 20, DR7_BP(0, 1, 4), 30);
    watch("write-bp-stos-behind", b_stos, d + 64, DR7_BP(0, 1, 4), 0);
    watch("write-bp-crossing-first", b_cross, LIN + 0xfff, DR7_BP(0, 1, 1), 30);
    watch("write-bp-crossing-second", b_cross, LIN + 0x1001, DR7_BP(0, 1, 1), 30);
    watch("write-bp-crossing-behind", b_cross, LIN + 0x1002, DR7_BP(0, 1, 2), 0);
}

/* ---- both ------------------------------------------------------------------------------------ */

/* A breakpoint on an instruction that is also stepped: one #DB before it, one behind. */
static void both(void)
{
    u32 good = 0;

    hook[1] = count_trap;
    for (unsigned i = 0; i < 10; i++) {
        struct cpu c = cpu_make(i & 1 ? 3 : 0, b_code);
        c.ecx = 20;
        c.eflags |= TF;
        traps = 0;
        resume = RF;
        write_dr6(0xffff0ff0);
        write_dr0((u32)d_words);
        write_dr7(DR7_BP(0, 1, 4)); /* armed, never met */
        cpu_run(&c);
        write_dr7(0x400);
        good += c.vector == DONE && traps == 20 * 5 + 5 && c.edx == 20;
    }
    hook[1] = NULL;
    check_eq("step-with-bp-armed", good, 10);
}

void test_main(void)
{
    for (u32 i = 0; i < sizeof(source); i++)
        source[i] = (u8)(i * 3 + 1);
    paging_on();
    pt[0] = (u32)frames[2] | 7;
    pt[1] = (u32)frames[0] | 7;
    page_dir[LIN >> 22] = (u32)pt | 7;
    write_cr3(read_cr3());
    for (unsigned i = 0; i < sizeof(programs) / sizeof(*programs); i++)
        for (unsigned ring = 0; ring <= 3; ring += 3)
            stepping(&programs[i], ring);
    partly();
    over_boundary();
    on_instructions();
    on_data();
    both();
}
