/* SPDX-License-Identifier: MIT */
/* String instructions (Intel SDM vol. 2, REP; vol. 1 7.3.9): all five at all sizes with and without
 * repeat, both directions, zero counts, 16-bit counts and addresses, overlap, segment overrides,
 * page boundaries, limits in the middle, flags. Page faults in the middle are in paging.c. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"destination-limit*", "segment limits are not checked"},
    {"source-limit*", "segment limits are not checked"},
    {"destination-read-only", "segment types are not checked on access"},
    {"destination-null", "null segments are not checked on access"},
    {NULL, NULL},
};

static u8 mem[0x4000] __attribute__((aligned(4096)));
static u8 want[0x4000];

FRAG(movsb, "rep movsb");
FRAG(movsw, "rep movsw");
FRAG(movsl, "rep movsl");
FRAG(stosb, "rep stosb");
FRAG(stosw, "rep stosw");
FRAG(stosl, "rep stosl");
FRAG(lodsb, "rep lodsb");
FRAG(lodsw, "rep lodsw");
FRAG(lodsl, "rep lodsl");
FRAG(cmpsb_e, "repe cmpsb");
FRAG(cmpsw_e, "repe cmpsw");
FRAG(cmpsl_e, "repe cmpsl");
FRAG(cmpsb_ne, "repne cmpsb");
FRAG(scasb_e, "repe scasb");
FRAG(scasw_e, "repe scasw");
FRAG(scasl_ne, "repne scasl");
FRAG(scasb_ne, "repne scasb");
FRAG(one_movsb, "movsb");
FRAG(one_movsw, "movsw");
FRAG(one_movsl, "movsl");
FRAG(one_stosl, "stosl");
FRAG(one_lodsb, "lodsb");
FRAG(one_cmpsb, "cmpsb");
FRAG(one_scasl, "scasl");
FRAG(repne_movsb, "repne movsb"); /* F2 counts like F3 here */
FRAG(a16_movsb, "addr16 rep movsb");
FRAG(a16_stosl, "addr16 rep stosl");
FRAG(fs_movsb, "rep movsb %fs:(%esi), %es:(%edi)");
FRAG(fs_lodsl, "lodsl %fs:(%esi), %eax");
FRAG(fs_cmpsb, "repe cmpsb %es:(%edi), %fs:(%esi)");

static struct cpu go(const void *code, u32 esi, u32 edi, u32 ecx, u32 eax, u32 fl)
{
    struct cpu c = cpu_make(3, code);

    c.esi = (u32)mem + esi;
    c.edi = (u32)mem + edi;
    c.ecx = ecx;
    c.eax = eax;
    c.eflags |= fl;
    cpu_run(&c);
    return c;
}

static void fill(void)
{
    for (u32 i = 0; i < sizeof(mem); i++)
        mem[i] = want[i] = (u8)(i * 7 + (i >> 8) * 13 + 1);
}

/* What a byte-by-byte machine would do. */
static void model_movs(u32 si, u32 di, u32 n, u32 size, bool down)
{
    for (u32 k = 0; k < n; k++) {
        u8 element[4];
        memcpy(element, want + si, size);
        memcpy(want + di, element, size);
        si += down ? -size : size;
        di += down ? -size : size;
    }
}

static void copies(void)
{
    static const struct {
        u32 si, di, n;
    } t[] = {{0x100, 0x800, 0x40}, {0x0ff5, 0x1ff3, 0x30}, {0x100, 0x101, 0x40},
             {0x100, 0x102, 0x41}, {0x101, 0x100, 0x40},   {0x100, 0x104, 0x200},
             {0x800, 0x100, 1},    {0x7fd, 0x1001, 0x300}, {0x900, 0x908, 0x77},
             {0x100, 0x100, 5},    {0x7f0, 0x800, 0x210},  {0x1000, 0xffc, 9}};
    static const char *const code[] = {movsb, movsw, NULL, movsl};
    unsigned good = 0, n = 0;

    for (u32 size = 1; size <= 4; size *= 2)
        for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
            for (unsigned down = 0; down < 2; down++) {
                u32 span = down ? (t[i].n - 1) * size : 0;
                u32 si = t[i].si + span, di = t[i].di + span;
                u32 step = down ? -t[i].n * size : t[i].n * size;
                fill();
                model_movs(si, di, t[i].n, size, down);
                struct cpu c = go(code[size - 1], si, di, t[i].n, 0, down ? DF : 0);
                n++;
                good += c.vector == DONE && c.ecx == 0 && c.esi == (u32)mem + si + step &&
                        c.edi == (u32)mem + di + step && !memcmp(mem, want, sizeof(mem));
            }
    check_eq("movs-sizes-overlaps-directions", good, n);
    fill();
    model_movs(0x10, 0x20, 8, 1, false);
    struct cpu c = go(repne_movsb, 0x10, 0x20, 8, 0, 0);
    check("movs-with-f2", c.ecx == 0 && !memcmp(mem, want, sizeof(mem)));
    check_eq("movs-leaves-flags", c.eflags & 0x8d5, 0);
}

static void stores(void)
{
    struct cpu c;

    fill();
    c = go(stosb, 0, 0xff0, 0x30, 0x1234abcd, 0);
    memset(want + 0xff0, 0xcd, 0x30);
    check("stosb", c.ecx == 0 && c.edi == (u32)mem + 0x1020 && !memcmp(mem, want, sizeof(mem)));
    c = go(stosw, 0, 0xfff, 3, 0x1234abcd, 0);
    for (u32 i = 0; i < 6; i++)
        want[0xfff + i] = i & 1 ? 0xab : 0xcd;
    check("stosw-odd", !memcmp(mem, want, sizeof(mem)));
    c = go(stosl, 0, 0x1ffe, 4, 0x11223344, DF);
    for (u32 i = 0; i < 16; i++)
        want[0x1ff2 + i] = (u8)(0x44 - (i & 3) * 0x11);
    check("stosl-down", c.edi == (u32)mem + 0x1fee && !memcmp(mem, want, sizeof(mem)));
    c = go(one_stosl, 0, 0x300, 9, 0x55667788, 0);
    check("stosl-once",
          c.ecx == 9 && c.edi == (u32)mem + 0x304 && peek((u32)mem + 0x300) == 0x55667788);
    memset(mem, 0, sizeof(mem));
    c = go(stosl, 0, 0, 0x1000, 0x01020304, 0);
    bool all = true;
    for (u32 i = 0; i < 0x1000; i++)
        all &= peek((u32)mem + i * 4) == 0x01020304;
    check("stosl-four-pages", all && c.edi == (u32)mem + 0x4000);
}

static void loads(void)
{
    struct cpu c;

    fill();
    c = go(lodsb, 0x200, 0, 5, 0xaabbccdd, 0);
    check_eq("lodsb-last-one", c.eax, 0xaabbcc00u | mem[0x204]);
    c = go(lodsw, 0x200, 0, 3, 0xaabbccdd, 0);
    check_eq("lodsw", c.eax, 0xaabb0000u | (peek((u32)mem + 0x204) & 0xffff));
    c = go(lodsl, 0xffe, 0, 1, 0, 0);
    check_eq("lodsl-crossing", c.eax, peek((u32)mem + 0xffe));
    c = go(one_lodsb, 0x200, 0, 5, 0, DF);
    check("lodsb-once-down", c.ecx == 5 && c.esi == (u32)mem + 0x1ff && c.eax == mem[0x200]);
    c = go(one_movsb, 0x200, 0x300, 5, 0, 0);
    check("movsb-once", c.ecx == 5 && mem[0x300] == mem[0x200] && mem[0x301] == want[0x301]);
    c = go(one_movsw, 0x200, 0x302, 5, 0, DF);
    check("movsw-once-down", c.esi == (u32)mem + 0x1fe && mem[0x303] == mem[0x201]);
    c = go(one_movsl, 0x1ffe, 0x2fff, 0, 0, 0);
    check("movsl-once-crossing", peek((u32)mem + 0x2fff) == peek((u32)mem + 0x1ffe));
}

#define ARITH 0x8d5u
static u32 sub_flags(u32 a, u32 b, unsigned size)
{
    u32 f;
    if (size == 1)
        asm("cmpb %b2, %b1; pushf; pop %0" : "=r"(f) : "q"(a), "q"(b) : "cc");
    else
        asm("cmpl %2, %1; pushf; pop %0" : "=r"(f) : "r"(a), "r"(b) : "cc");
    return f & ARITH;
}

static void compares(void)
{
    struct cpu c;

    fill();
    memcpy(mem + 0x2000, mem + 0xff0, 0x100);
    c = go(cmpsb_e, 0xff0, 0x2000, 0x80, 0, 0);
    check("cmpsb-all-equal", c.ecx == 0 && (c.eflags & ZF) && c.esi == (u32)mem + 0x1070);
    mem[0x2025] ^= 0x90;
    c = go(cmpsb_e, 0xff0, 0x2000, 0x80, 0, 0);
    check("cmpsb-differs-at",
          c.ecx == 0x80 - 0x26 && !(c.eflags & ZF) && c.edi == (u32)mem + 0x2026);
    check_eq("cmpsb-flags", c.eflags & ARITH, sub_flags(mem[0x1015], mem[0x2025], 1));
    c = go(cmpsw_e, 0xff0, 0x2000, 0x40, 0, 0);
    check("cmpsw", c.ecx == 0x40 - 0x13 && c.esi == (u32)mem + 0xff0 + 0x26);
    c = go(cmpsl_e, 0xff0, 0x2000, 0x20, 0, 0);
    check("cmpsl", c.ecx == 0x20 - 10 && c.edi == (u32)mem + 0x2028);
    check_eq("cmpsl-flags", c.eflags & ARITH,
             sub_flags(peek((u32)mem + 0x1014), peek((u32)mem + 0x2024), 4));
    c = go(cmpsb_e, 0x1070, 0x2080, 0x200, 0, DF);
    check("cmpsb-down", c.ecx == 0x200 - 0x5c && c.edi == (u32)mem + 0x2024);
    c = go(cmpsb_ne, 0x100, 0x100, 9, 0, 0);
    check("repne-cmpsb-first", c.ecx == 8 && (c.eflags & ZF));
    c = go(cmpsb_e, 0x100, 0x101, 0, 0, CF | ZF | OF);
    check_eq("cmpsb-zero-count-keeps-flags", c.eflags & ARITH, CF | ZF | OF);
    c = go(one_cmpsb, 0x100, 0x101, 3, 0, 0);
    check("cmpsb-once", c.ecx == 3 && (c.eflags & ARITH) == sub_flags(mem[0x100], mem[0x101], 1));

    memset(mem + 0x1000, 7, 0x1000);
    mem[0x1ffe] = 9;
    c = go(scasb_ne, 0, 0x1000, 0x2000, 9, 0);
    check("scasb-found", c.ecx == 0x1001 && c.edi == (u32)mem + 0x1fff && (c.eflags & ZF));
    c = go(scasb_e, 0, 0x1000, 0x2000, 7, 0);
    check("scasb-while-equal", c.edi == (u32)mem + 0x1fff && !(c.eflags & ZF));
    check_eq("scasb-flags", c.eflags & ARITH, sub_flags(7, 9, 1));
    c = go(scasb_ne, 0, 0x1000, 0x100, 9, 0);
    check("scasb-not-found", c.ecx == 0 && !(c.eflags & ZF));
    c = go(scasw_e, 0, 0x1000, 0x2000, 0x0707, 0);
    check_eq("scasw", c.edi, (u32)mem + 0x2000);
    poke((u32)mem + 0x1801, 0x12345678);
    c = go(scasl_ne, 0, 0x17fd, 0x100, 0x12345678, 0);
    check("scasl-unaligned", c.ecx == 0x100 - 2 && c.edi == (u32)mem + 0x1805);
    c = go(one_scasl, 0, 0x1801, 5, 0x12345677, DF);
    check("scasl-once-down", c.ecx == 5 && c.edi == (u32)mem + 0x17fd &&
                                 (c.eflags & ARITH) == sub_flags(0x12345677, 0x12345678, 4));
}

static void counts(void)
{
    struct cpu c;

    fill();
    c = go(movsb, 0x100, 0x200, 0, 0, 0);
    check("zero-count",
          c.vector == DONE && c.esi == (u32)mem + 0x100 && !memcmp(mem, want, 0x4000));
    c = cpu_make(3, movsb); /* nothing is touched, so bad addresses do not matter */
    c.esi = c.edi = 0xfffffff0;
    cpu_run(&c);
    check_done("zero-count-bad-address", &c);
    c = go(lodsl, 0x100, 0, 0, 0x1234, 0);
    check_eq("zero-count-lods", c.eax, 0x1234);

    /* 16-bit counts and addresses: through low memory. */
    u8 *low = (u8 *)0x9000;
    for (u32 i = 0; i < 0x40; i++)
        low[i] = (u8)(i + 1), low[0x100 + i] = 0;
    c = cpu_make(3, a16_movsb);
    c.esi = 0xaaaa9000, c.edi = 0xbbbb9100, c.ecx = 0xcccc0010;
    cpu_run(&c);
    check("addr16-rep", c.esi == 0xaaaa9010 && c.edi == 0xbbbb9110 && c.ecx == 0xcccc0000 &&
                            low[0x10f] == 0x10 && low[0x110] == 0);
    c = cpu_make(3, a16_movsb);
    c.esi = 0x9000, c.edi = 0x9100, c.ecx = 0x10000; /* CX is 0 */
    cpu_run(&c);
    check("addr16-zero-count", c.ecx == 0x10000 && c.esi == 0x9000);
    c = cpu_make(3, a16_stosl);
    c.edi = 0x19004, c.ecx = 2, c.eax = 0x44332211, c.eflags |= DF;
    cpu_run(&c);
    check("addr16-stosl-down",
          c.edi == 0x18ffc && peek(0x9000) == 0x44332211 && peek(0x9004) == 0x44332211);
}

static void segments(void)
{
    struct cpu c;

    fill();
    gdt_set(T_SEL, desc((u32)mem + 0x1000, 0xfff, 0x4f3));
    c = cpu_make(3, fs_movsb);
    c.fs = T_SEL | 3;
    c.esi = 0x10, c.edi = (u32)mem + 0x2000, c.ecx = 0x20;
    cpu_run(&c);
    check("override-source", c.vector == DONE && !memcmp(mem + 0x2000, mem + 0x1010, 0x20));
    c = cpu_make(3, fs_lodsl);
    c.fs = T_SEL | 3;
    c.esi = 0x20;
    cpu_run(&c);
    check_eq("override-lods", c.eax, peek((u32)mem + 0x1020));
    c = cpu_make(3, fs_cmpsb);
    c.fs = T_SEL | 3;
    c.esi = 0x10, c.edi = (u32)mem + 0x2000, c.ecx = 0x20;
    cpu_run(&c);
    check("override-cmps", c.ecx == 0 && (c.eflags & ZF));
    /* The destination is always ES, with its own base and limit. */
    c = cpu_make(3, movsb);
    c.es = T_SEL | 3;
    c.esi = (u32)mem + 0x10, c.edi = 0xff0, c.ecx = 0x20;
    cpu_run(&c);
    check_fault("destination-limit", &c, 13, 0, movsb);
    check("destination-limit-progress",
          c.ecx == 0x10 && c.edi == 0x1000 && c.esi == (u32)mem + 0x20 && mem[0x1fff] == mem[0x1f]);
    c = cpu_make(3, fs_movsb);
    c.fs = T_SEL | 3;
    c.esi = 0xff8, c.edi = (u32)mem, c.ecx = 0x20;
    cpu_run(&c);
    check_fault("source-limit", &c, 13, 0, fs_movsb);
    check("source-limit-progress", c.ecx == 0x18 && c.esi == 0x1000 && c.edi == (u32)mem + 8);
    gdt_set(T_SEL, desc((u32)mem + 0x1000, 0xfff, 0x4f1)); /* read-only */
    c = cpu_make(3, stosb);
    c.es = T_SEL | 3;
    c.ecx = 1;
    cpu_run(&c);
    check_fault("destination-read-only", &c, 13, 0, stosb);
    c = cpu_make(3, stosb);
    c.es = 3;
    c.ecx = 1;
    cpu_run(&c);
    check_fault("destination-null", &c, 13, 0, stosb);
    c = cpu_make(3, stosb);
    c.es = 3;
    cpu_run(&c);
    check_done("destination-null-zero-count", &c);
}

void test_main(void)
{
    copies();
    stores();
    loads();
    compares();
    counts();
    segments();
}
