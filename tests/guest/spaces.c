/* SPDX-License-Identifier: MIT */
/* Many address spaces (Intel SDM vol. 3A 4.10): user programs at the same linear addresses of 64
 * page directories under one kernel of global pages, switched by system calls and by the timer;
 * spaces edited while they are not loaded; page tables shared, freed, turned into data and back,
 * edited through another address, by user code, through a recursive entry; two-level and PAE
 * tables. Only what the architecture promises is asked for: a changed entry counts from INVLPG or a
 * load of CR3 on (CR4.PGE for global ones), an entry that was absent counts at once. views.c has
 * rights and A/D bits. */
#include "lib/lib.h"

#define P       1u
#define RW      2u
#define US      4u
#define PS      0x80u
#define GLOBAL  0x100u
#define ALL     (P | RW | US)
#define PGE     0x80u
#define PAE     0x20u
#define U       0x40000000u /* where the user programs are */
#define SPACES  64u
#define POOL    0x1000000u /* free memory, 16 to 48 MiB */
#define POOL_TO 0x3000000u

static u32 pool_next = POOL;
static u32 random_state = 12345;

static u32 page_new(void)
{
    u32 p = pool_next;

    pool_next += 4096;
    memset((void *)p, 0, 4096);
    return p;
}

static u32 random(u32 below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

static void invlpg(u32 a)
{
    asm volatile("invlpg (%0)" ::"r"(a) : "memory");
}

/* ---- a space --------------------------------------------------------------------------------- */

/* User pages: code, two of data (not neighbours), stack. Page tables are of either format; an
 * entry's low dword is all that is used. */
struct space {
    u32 cr3, dir, table; /* dir: the page directory that maps U */
    u32 code, data[2], stack;
    u32 key, seed, rounds, ecx;
    struct frame frame; /* while preempted */
};
static struct space spaces[SPACES];
static u32 pdpts[SPACES][8] __attribute__((aligned(32)));
static u32 kernel_dir, kernel_pae_dir;
static bool pae;

static u32 entry_at(u32 table, u32 index)
{
    return table + index * (pae ? 8 : 4);
}

/* The kernel's 48 MiB, supervisor's and global. */
static void kernel_part(u32 dir)
{
    for (u32 i = 0; i < POOL_TO >> (pae ? 21 : 22); i++)
        poke(entry_at(dir, i), i << (pae ? 21 : 22) | P | RW | PS | GLOBAL);
}

static void space_tables(struct space *s, u32 n)
{
    s->table = page_new();
    s->dir = page_new();
    poke(entry_at(s->dir, pae ? 0 : U >> 22), s->table | ALL);
    if (pae) { /* U is 1 GiB: the second directory */
        memset(pdpts[n], 0, sizeof(pdpts[n]));
        pdpts[n][0] = kernel_pae_dir | P;
        pdpts[n][2] = s->dir | P;
        s->cr3 = (u32)pdpts[n];
    } else {
        kernel_part(s->dir);
        s->cr3 = s->dir;
    }
}

static void set_pte(const struct space *s, u32 index, u32 entry)
{
    poke(entry_at(s->table, index), entry);
}

static void space_map(struct space *s)
{
    set_pte(s, 0, s->code | P | US);
    set_pte(s, 1, s->data[0] | ALL);
    set_pte(s, 2, s->data[1] | ALL);
    set_pte(s, 3, s->stack | ALL);
}

/* At U. eax = rol(key + seed, 3) + ecx, a counter over the edge of the data pages, some stack. */
asm(".pushsection .text\n.globl program, program_key, program_end, program_exit\n"
    "program: .byte 0xb8\n" /* mov $key, %eax */
    "program_key: .long 0\n\t"
    "add 0x40001000, %eax\n\t"
    "incl 0x40001ffe\n\t"
    "push %eax\n\t"
    "call 2f\n\t"
    "pop %edx\n\t"
    "mov %eax, 0x40002100\n\t"
    "int $0x80\n\t"
    "jmp program\n"
    "2: rol $3, %eax\n\t"
    "add %ecx, %eax\n\t"
    "ret\n"
    "program_exit: int $0x81\n"
    "program_end:\n.popsection");
extern const u8 program[], program_key[], program_exit[], program_end[];

static void space_make(struct space *s, u32 n)
{
    space_tables(s, n);
    s->data[0] = page_new();
    s->stack = page_new();
    s->data[1] = page_new();
    s->key = n % 3 ? n * 0x01010101 : 0x600d;
    if (n % 3 == 0 && n) /* every third shares its code with space 0 */
        s->code = spaces[0].code;
    else {
        s->code = page_new();
        memcpy((void *)s->code, program, (u32)(program_end - program));
        poke(s->code + (u32)(program_key - program), s->key);
    }
    s->rounds = 0;
    space_map(s);
}

static void spaces_make(void)
{
    pool_next = POOL;
    kernel_dir = page_new();
    kernel_part(kernel_dir);
    kernel_pae_dir = kernel_dir;
    for (u32 n = 0; n < SPACES; n++)
        space_make(&spaces[n], n);
}

static u32 kernel_pdpt[8] __attribute__((aligned(32)));

static u32 kernel_cr3(void)
{
    if (!pae)
        return kernel_dir;
    kernel_pdpt[0] = kernel_pae_dir | P;
    return (u32)kernel_pdpt;
}

static void tables_on(bool with_pae)
{
    pae = with_pae;
    spaces_make();
    write_cr3(kernel_cr3());
    write_cr4((read_cr4() & ~(PAE | PGE)) | 0x10 | (pae ? PAE : 0));
    write_cr0(read_cr0() | 0x80000000);
    write_cr4(read_cr4() | PGE);
}

static void tables_off(void)
{
    write_cr0(read_cr0() & ~0x80000000u);
    write_cr4(read_cr4() & ~(PAE | PGE));
}

/* ---- switched by system calls ---------------------------------------------------------------- */

static volatile u32 current, good, switches_left;
static u32 (*volatile schedule)(u32 now);

static u32 round_robin(u32 now)
{
    return (now + 1) % SPACES;
}
static u32 ping_pong(u32 now)
{
    return now ^ 1;
}
static u32 any(u32 now)
{
    return random(SPACES);
}
static u32 stay_mostly(u32 now)
{
    return random(8) ? now : random(SPACES);
}

static u32 expected(const struct space *s)
{
    u32 x = s->key + s->seed;

    return (x << 3 | x >> 29) + s->ecx;
}

/* What the kernel can see of the space it is in. */
static bool as_expected(const struct space *s, const struct frame *f)
{
    u32 lo = peek(s->data[0] + 0xffc) >> 16, hi = peek(s->data[1]) & 0xffff;

    return f->eax == expected(s) && f->edx == s->key + s->seed && peek(U + 0x2100) == f->eax &&
           peek(s->data[1] + 0x100) == f->eax && peek(U + 0x1ffe) == s->rounds &&
           (lo | hi << 16) == s->rounds;
}

static void enter_space(u32 n, struct frame *f)
{
    struct space *s = &spaces[n];

    current = n;
    s->seed = random(0xffffff);
    s->ecx = random(0xffffff);
    s->rounds++;
    poke(s->data[0], s->seed); /* through the kernel's address, not the user's */
    f->ecx = s->ecx;
    write_cr3(s->cr3);
}

static void system_call(struct frame *f)
{
    good += as_expected(&spaces[current], f) && f->cs == U_CODE;
    if (!--switches_left) {
        f->eip = U + (u32)(program_exit - program);
        return;
    }
    enter_space(schedule(current), f);
}

static void churn(const char *name, u32 (*by)(u32), u32 switches)
{
    struct frame first = {0};
    struct cpu c = cpu_make(3, (void *)U);

    schedule = by;
    switches_left = switches;
    good = 0;
    hook[0x80] = system_call;
    enter_space(current % SPACES, &first);
    c.ecx = first.ecx;
    c.esp = U + 0x4000;
    cpu_run(&c);
    hook[0x80] = NULL;
    write_cr3(kernel_cr3());
    check_eq(name, c.vector == DONE ? good : 0xbad00000 | c.vector, switches);
}

/* ---- switched by the timer ------------------------------------------------------------------- */

/* At U: a checksum of the round number over both data pages, which others would spoil. Its result
 * in eax. */
#define MIX_ROUNDS 1500u
asm(".pushsection .text\n.globl mixer, mixer_end\n"
    "mixer: mov 0x40001000, %eax\n\t"
    "mov $1500, %ecx\n"
    "1: lea (%eax, %eax, 4), %edx\n\t"
    "add %ecx, %edx\n\t"
    "mov %edx, 0x40001ffd\n\t" /* straddles */
    "push %edx\n\t"
    "xor 0x40001ffd, %eax\n\t"
    "pop %ebx\n\t"
    "ror $7, %eax\n\t"
    "adc %ebx, %eax\n\t"
    "dec %ecx\n\t"
    "jnz 1b\n\t"
    "int $0x80\n\t"
    "ud2\n"
    "mixer_end:\n.popsection");
extern const u8 mixer[], mixer_end[];

static u32 mixed(u32 x)
{
    for (u32 i = MIX_ROUNDS; i; i--) {
        u32 t = x * 5 + i;
        x ^= t;
        x = x >> 7 | x << 25;
        x += t + (x >> 31); /* ror leaves its top bit in CF */
    }
    return x;
}

#define PREEMPTIONS 200u
static volatile u32 alive, preemptions, ends;

static void dispatch(struct frame *f)
{
    do
        current = (current + 1) % SPACES;
    while (!spaces[current].rounds);
    *f = spaces[current].frame;
    write_cr3(spaces[current].cr3);
}

static void preempt(struct frame *f)
{
    outb(0x20, 0x20);
    preemptions++;
    if (!alive) /* on the way out */
        return;
    memcpy(&spaces[current].frame, f, offsetof(struct frame, v_es));
    dispatch(f);
}

/* The request went away before it was acknowledged, which a processor that is late sees: mode 2's
 * pulse. Not to be acknowledged. */
static void spurious(struct frame *f) {}

static void leave_space(struct frame *f)
{
    struct space *s = &spaces[current];

    ends++;
    good += f->eax == mixed(s->seed);
    if (preemptions < PREEMPTIONS || --s->rounds) { /* again, with another seed */
        s->seed = random(0xffffffff);
        poke(s->data[0], s->seed);
        f->eip = U;
        return;
    }
    if (--alive)
        dispatch(f);
    else
        f->eip = U + (u32)(program_exit - program);
}

static void preemptive(const char *name)
{
    struct cpu c = cpu_make(3, (void *)U);

    c.eflags |= IF;
    c.esp = U + 0x4000;
    alive = SPACES;
    good = ends = preemptions = 0;
    for (u32 n = 0; n < SPACES; n++) {
        struct space *s = &spaces[n];
        struct frame f = {.gs = U_DATA,
                          .fs = U_DATA,
                          .es = U_DATA,
                          .ds = U_DATA,
                          .eip = U,
                          .cs = U_CODE,
                          .eflags = 2 | IF,
                          .esp = U + 0x4000,
                          .ss = U_DATA};
        memcpy((void *)s->code, mixer, (u32)(mixer_end - mixer));
        memcpy((void *)(s->code + (u32)(program_exit - program)), "\xcd\x81", 2);
        s->seed = random(0xffffffff);
        poke(s->data[0], s->seed);
        s->rounds = 1 + n % 3;
        s->frame = f;
    }
    hook[0x20] = preempt;
    hook[0x27] = spurious;
    hook[0x80] = leave_space;
    current = 0;
    write_cr3(spaces[0].cr3);
    pit_start(2, 239); /* 5 kHz */
    pic_mask(0xfffe);
    cpu_run(&c);
    pic_mask(0xffff);
    hook[0x20] = hook[0x27] = hook[0x80] = NULL;
    write_cr3(kernel_cr3());
    check_eq(name, c.vector == DONE ? good : 0xbad00000 | c.vector, ends);
    check("..preempted", preemptions >= PREEMPTIONS);
}

/* ---- edited while elsewhere ------------------------------------------------------------------ */

FRAG(f_ld, "mov (%esi), %eax");
FRAG(f_st, "mov %eax, (%esi)");

/* A fragment at ring 3 in the space that is loaded; its code is in the user's code page. */
static struct cpu user(const char *code, u32 esi, u32 eax)
{
    struct cpu c = cpu_make(3, (void *)(U + 0x800));

    memcpy((void *)(spaces[current].code + 0x800), code, 4); /* 2 bytes, int $0x81 */
    c.esi = esi;
    c.eax = eax;
    c.esp = U + 0x4000;
    cpu_run(&c);
    return c;
}

static u32 user_ld(u32 a)
{
    struct cpu c = user(f_ld, a, 0);
    return c.vector == DONE ? c.eax : 0xbad00000 | c.vector << 4 | c.error;
}

static u32 user_st(u32 a, u32 x)
{
    struct cpu c = user(f_st, a, x);
    return c.vector == DONE ? 0 : 0xbad00000 | c.vector << 4 | c.error;
}

static void load(u32 n)
{
    current = n;
    write_cr3(spaces[n].cr3);
}

static void edited_elsewhere(void)
{
    u32 ok = 0, frame[2] = {page_new(), page_new()}, spare = page_new();

    poke(frame[0], 0xf0);
    poke(frame[1], 0xf1);
    for (u32 i = 0; i < 200; i++) {
        struct space *s = &spaces[i % SPACES];
        set_pte(s, 9, frame[0] | ALL);
        load(i % SPACES);
        ok += user_ld(U + 0x9000) == 0xf0 && peek(U + 0x9000) == 0xf0;
        load((i * 7 + 1) % SPACES);
        user_ld(U + 0x1000);
        set_pte(s, 9, frame[1] | ALL); /* no INVLPG: the load of CR3 is the rule */
        load(i % SPACES);
        ok += user_ld(U + 0x9000) == 0xf1 && peek(U + 0x9000) == 0xf1;
        load((i * 5 + 2) % SPACES);
        set_pte(s, 9, i & 1 ? 0 : frame[1] | P | US);
        load(i % SPACES);
        ok += user_st(U + 0x9000, 0xf1) == (i & 1 ? 0xbad000e6 : 0xbad000e7);
        set_pte(s, 9, 0);
    }
    check_eq("edited-while-elsewhere", ok, 600);

    /* The whole page table replaced, in the directory, while elsewhere and while loaded. */
    ok = 0;
    for (u32 i = 0; i < 100; i++) {
        struct space *s = &spaces[i % SPACES];
        u32 old = s->table;
        if (i & 1)
            load((i + 1) % SPACES);
        memcpy((void *)spare, (void *)old, 4096);
        s->table = spare;
        set_pte(s, 9, frame[i & 1] | ALL);
        poke(entry_at(s->dir, pae ? 0 : U >> 22), spare | ALL);
        load(i % SPACES);
        ok += user_ld(U + 0x9000) == 0xf0 + (i & 1);
        memset((void *)old, 0xff, 4096); /* what it was is nothing now */
        ok += user_ld(U + 0x9000) == 0xf0 + (i & 1);
        spare = old;
    }
    check_eq("table-replaced", ok, 200);
}

/* ---- shared and recursive tables ------------------------------------------------------------- */

static void shared_table(void)
{
    u32 ok = 0, frame[2] = {page_new(), page_new()}, table = page_new();

    poke(frame[0], 0xa0);
    poke(frame[1], 0xa1);
    for (u32 n = 0; n < 4; n++) /* the same table in four spaces, and twice in each */
        for (u32 k = 2; k < 4; k++)
            poke(entry_at(spaces[n].dir, pae ? k : (U >> 22) + k), table | ALL);
    for (u32 i = 0; i < 100; i++) {
        u32 at = U + (2u << (pae ? 21 : 22)) + 0x5000, again = at + (1u << (pae ? 21 : 22));
        poke(entry_at(table, 5), frame[i & 1] | ALL);
        for (u32 n = 0; n < 4; n++) {
            load(n);
            ok += user_ld(at) == 0xa0 + (i & 1) && user_ld(again) == 0xa0 + (i & 1);
        }
        poke(entry_at(table, 5), frame[~i & 1] | ALL);
        invlpg(at);
        ok += user_ld(at) == 0xa1 - (i & 1);
        invlpg(again);
        ok += user_ld(again) == 0xa1 - (i & 1);
    }
    check_eq("table-shared-by-4-spaces", ok, 600);
}

/* Two-level only: the directory's entry 1023 is itself, so the tables appear at the top. */
static void recursive(void)
{
    u32 ok = 0, frame[2] = {page_new(), page_new()};

    poke(frame[0], 0xb0);
    poke(frame[1], 0xb1);
    for (u32 n = 0; n < 8; n++)
        poke(spaces[n].dir + 4092, spaces[n].dir | P | RW);
    for (u32 i = 0; i < 160; i++) {
        u32 n = i % 8, pte = 0xffc00000 + (U >> 12) * 4 + 9 * 4;
        load(n);
        poke(pte, frame[i / 8 & 1] | ALL); /* the same address, another space's table */
        invlpg(U + 0x9000);
        ok += user_ld(U + 0x9000) == 0xb0 + (i / 8 & 1);
        ok += peek(spaces[n].table + 36) >> 12 == frame[i / 8 & 1] >> 12;
        /* A whole new table through the directory's own window, and away again. */
        u32 table = spaces[63].table;
        poke(0xfffff000 + ((U >> 22) + 5) * 4, table | ALL);
        ok += user_ld(U + (5u << 22) + 0x1000) == peek(spaces[63].data[0]);
        ok += peek(0xffc00000 + ((U >> 12) + (5u << 10)) * 4) >> 12 == spaces[63].code >> 12;
        poke(0xfffff000 + ((U >> 22) + 5) * 4, 0);
        write_cr3(read_cr3());
        ok += user_ld(U + (5u << 22) + 0x1000) == 0xbad000e4;
    }
    check_eq("recursive-directory", ok, 800);
}

/* ---- user code edits its own table ----------------------------------------------------------- */

static void user_edits(void)
{
    u32 ok = 0, frame[2] = {page_new(), page_new()};

    poke(frame[0], 0xc0);
    poke(frame[1], 0xc1);
    for (u32 i = 0; i < 150; i++) {
        struct space *s = &spaces[i % 6];
        u32 pte = U + 0xa000 + (entry_at(s->table, 9) & 0xfff);
        set_pte(s, 9, 0);
        set_pte(s, 10, s->table | ALL);
        load(i % 6);
        ok += user_ld(U + 0x9000) == 0xbad000e4;
        ok += user_st(pte, frame[0] | ALL) == 0;
        ok += user_ld(U + 0x9000) == 0xc0; /* was absent: no INVLPG needed */
        ok += user_st(pte, frame[1] | ALL) == 0;
        invlpg(U + 0x9000);
        ok += user_ld(U + 0x9000) == 0xc1;
        ok += (user_ld(pte) & ~0xf00u) == (frame[1] | ALL | 0x20); /* A, seen through the window */
        ok += user_st(pte, 0) == 0;
        invlpg(U + 0x9000);
        ok += user_st(U + 0x9000, 1) == 0xbad000e6;
    }
    check_eq("user-edits-own-table", ok, 1200);
}

/* ---- pages that change their use ------------------------------------------------------------- */

/* 24 pages, each a page table of a slot (4 MiB or 2 MiB of linear space), or data under a table's
 * entry 0, or free; 2,000 random changes, each looked at through the mapping. */
#define SLOTS 8u
static void changing_use(void)
{
    u32 ok = 0, n = 0, page[3 * SLOTS], step = 1u << (pae ? 21 : 22);
    u32 table[SLOTS] = {0}, data[SLOTS] = {0}, base = U + 16 * step;

    for (u32 i = 0; i < 3 * SLOTS; i++)
        page[i] = page_new();
    load(0);
    for (u32 i = 0; i < 2000; i++) {
        u32 slot = random(SLOTS), at = base + slot * step, k = random(3 * SLOTS);
        bool busy = false;
        for (u32 j = 0; j < SLOTS; j++)
            busy |= table[j] == page[k] || data[j] == page[k];
        n++;
        if (!table[slot]) {
            ok += user_ld(at) == 0xbad000e4;
            if (busy)
                continue;
            memset((void *)page[k], 0, 4096); /* data once, perhaps */
            poke(entry_at(spaces[0].dir, (pae ? 16 : (U >> 22) + 16) + slot), page[k] | ALL);
            table[slot] = page[k];
        } else if (!data[slot]) {
            ok += user_st(at, i) == 0xbad000e6;
            if (busy)
                continue;
            memset((void *)page[k], 0x5c, 4096); /* a table once, perhaps */
            poke(table[slot], page[k] | ALL);
            data[slot] = page[k];
        } else {
            ok += user_st(at + 8, i) == 0 && peek(data[slot] + 8) == i && user_ld(at) == 0x5c5c5c5c;
            if (random(3) == 0) { /* the data goes */
                poke(table[slot], 0);
                invlpg(at);
                data[slot] = 0;
            } else if (random(3) == 0) { /* the table goes */
                poke(entry_at(spaces[0].dir, (pae ? 16 : (U >> 22) + 16) + slot), 0);
                invlpg(at);
                table[slot] = data[slot] = 0;
            }
        }
    }
    check_eq("pages-change-use", ok, n);
    for (u32 slot = 0; slot < SLOTS; slot++)
        poke(entry_at(spaces[0].dir, (pae ? 16 : (U >> 22) + 16) + slot), 0);
}

/* ---- global pages ---------------------------------------------------------------------------- */

static void global_pages(void)
{
    u32 ok = 0, frame[2] = {page_new(), page_new()}, table = page_new();
    u32 at = 0x30000000, dir = entry_at(pae ? kernel_pae_dir : 0, at >> (pae ? 21 : 22));

    poke(frame[0], 0xd0);
    poke(frame[1], 0xd1);
    poke(entry_at(table, 0), frame[0] | P | RW | GLOBAL);
    if (pae)
        poke(dir, table | P | RW);
    else
        for (u32 n = 0; n < SPACES; n++)
            poke(spaces[n].dir + dir, table | P | RW);
    for (u32 i = 0; i < 100; i++) {
        u32 was = frame[i & 1], next = frame[~i & 1];
        poke(entry_at(table, 0), was | P | RW | GLOBAL);
        load(i % SPACES);
        invlpg(at);
        for (u32 n = 0; n < 4; n++) {
            load(random(SPACES));
            ok += peek(at) == 0xd0 + (i & 1) && user_ld(at) == 0xbad000e5;
        }
        poke(entry_at(table, 0), next | P | RW | GLOBAL);
        if (i % 3) {
            invlpg(at); /* in any space, for all */
        } else {
            write_cr4(read_cr4() & ~PGE);
            write_cr4(read_cr4() | PGE);
        }
        for (u32 n = 0; n < 4; n++) {
            ok += peek(at) == 0xd1 - (i & 1);
            load(random(SPACES));
        }
    }
    check_eq("global-pages", ok, 800);
}

/* ---- both formats ---------------------------------------------------------------------------- */

static void all(bool with_pae)
{
    tables_on(with_pae);
    put_str(with_pae ? "PAE tables\n" : "two-level tables\n");
    churn("switch-round-robin", round_robin, 2000);
    churn("switch-ping-pong", ping_pong, 1000);
    churn("switch-at-random", any, 2000);
    churn("switch-rarely", stay_mostly, 2000);
    edited_elsewhere();
    shared_table();
    if (!pae)
        recursive();
    user_edits();
    changing_use();
    global_pages();
    preemptive("switch-by-timer");
    write_cr3(kernel_cr3());
    tables_off();
}

void test_main(void)
{
    all(false);
    all(true);
    all(false); /* and the other format's leftovers do no harm */
}
