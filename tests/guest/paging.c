/* SPDX-License-Identifier: MIT */
/* Paging (Intel SDM vol. 3A ch. 4): every permission bit against every access, ring and CR0.WP, in
 * two-level and PAE tables; accessed and dirty bits; large and global pages; what INVLPG, CR3 and
 * CR4 must flush (only what the architecture guarantees); error codes and CR2; accesses across a
 * page boundary; faults in the middle of long instructions; paging on and off. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"large-reserved-bit", "RSVD without P"},
    {"pae-2m-reserved-bit", "RSVD without P"},
    {"pae-reserved-bit*", "RSVD without P"},
    {"cross-rmw", "reported as a read"},
    {"cross-xchg", "reported as a read"},
    {"cross-cmpxchg8b", "reported as a read"},
    {"cross-bts", "reported as a read"},
    {"pdpte-held-until-cr3", "the entries are walked every time"},
    {"pdpte-reserved-gp", "not checked"},
    {NULL, NULL},
};

#define P      1u
#define RW     2u
#define US     4u
#define ACC    0x20u
#define DIRTY  0x40u
#define PS     0x80u
#define GLOBAL 0x100u
#define LIN    0x40000000u /* where the test pages are mapped */
#define NEXT   (LIN + 0x1000)
#define WP     0x10000u

static u32 pt[1024] __attribute__((aligned(4096)));
static u8 frames[4][4096] __attribute__((aligned(4096)));

FRAG(f_ld, "movl (%esi), %eax");
FRAG(f_st, "movl %eax, (%esi)");
FRAG(f_stb, "movb %al, (%esi)");
FRAG(f_rmw, "addl $1, (%esi)");
FRAG(f_rmw0, "addl $0, (%esi)");
FRAG(f_cmpxchg_fail, "cmpxchg %ecx, (%esi)");
FRAG(f_bts, "bt %ecx, (%esi)");

static void flush(void)
{
    write_cr3(read_cr3());
}
static void invlpg(u32 a)
{
    asm volatile("invlpg (%0)" ::"r"(a) : "memory");
}

/* The two test pages: page table entries for frames 0 and 1. */
static void map(u32 flags0, u32 flags1)
{
    pt[0] = (u32)frames[0] | flags0;
    pt[1] = (u32)frames[1] | flags1;
    page_dir[LIN >> 22] = (u32)pt | P | RW | US;
    flush();
}

static struct cpu go(unsigned ring, const void *code, u32 esi, u32 eax)
{
    struct cpu c = cpu_make(ring, code);

    c.esi = esi;
    c.eax = eax;
    cpu_run(&c);
    return c;
}

static void check_pf(const char *name, const struct cpu *c, u32 error, u32 cr2, const void *eip)
{
    check_eq(name, c->vector == 14 && c->eip == (u32)eip ? c->error : 0xbad0000 | c->vector, error);
    check_eq("..cr2", c->cr2, cr2);
}

/* ---- permissions ----------------------------------------------------------------------------- */

enum { READ, WRITE, FETCH };

/* Expected outcome: 0 or the error code + 1. */
static u32 expected(u32 dir, u32 table, unsigned access, unsigned ring, bool wp)
{
    u32 both = dir & table;
    bool user = ring == 3, write = access == WRITE, bad;

    if (!(both & P))
        return (write ? 2u : 0) + (user ? 4u : 0) + 1;
    bad = (user && !(both & US)) || (write && !(both & RW) && (user || wp));
    return bad ? 1u + (write ? 2u : 0) + (user ? 4u : 0) + 1 : 0;
}

static u32 outcome(unsigned access, unsigned ring, u32 a)
{
    struct cpu c = access == FETCH ? go(ring, (void *)a, 0, 0)
                                   : go(ring, access == WRITE ? f_st : f_ld, a, 0x810081cd);

    if (c.vector == DONE)
        return 0;
    return c.vector == 14 && c.cr2 == a ? c.error + 1 : 0xffff;
}

static void set_wp(bool on)
{
    write_cr0(on ? read_cr0() | WP : read_cr0() & ~WP);
}

static void two_level_matrix(bool wp)
{
    unsigned good = 0, bits = 0, n = 0;

    set_wp(wp);
    for (u32 dir = 0; dir < 8; dir++)
        for (u32 table = 0; table < 8; table++)
            for (unsigned access = READ; access <= FETCH; access++)
                for (unsigned ring = 0; ring < 4; ring += 3) {
                    map(table, 0);
                    page_dir[LIN >> 22] = (u32)pt | dir;
                    flush();
                    u32 want = expected(dir, table, access, ring, wp);
                    u32 got = outcome(access, ring, LIN);
                    u32 ad = pt[0] & (ACC | DIRTY);
                    n++;
                    good += got == want;
                    if (want)
                        bits += !(ad & DIRTY);
                    else
                        bits += ad == (ACC | (access == WRITE ? DIRTY : 0)) &&
                                (page_dir[LIN >> 22] & ACC);
                }
    check_eq(wp ? "permissions-wp" : "permissions-no-wp", good, n);
    check_eq(wp ? "accessed-dirty-wp" : "accessed-dirty-no-wp", bits, n);
}

static void large_matrix(void)
{
    static const u8 code[] = {0xcd, DONE};
    unsigned good = 0, bits = 0, n = 0;

    /* 4 MiB at physical 0x800000, which nothing else uses. */
    memcpy((void *)0x800000, code, 2);
    for (unsigned wp = 0; wp < 2; wp++)
        for (u32 dir = 0; dir < 8; dir++)
            for (unsigned access = READ; access <= FETCH; access++)
                for (unsigned ring = 0; ring < 4; ring += 3) {
                    set_wp(wp);
                    page_dir[LIN >> 22] = 0x800000 | PS | dir;
                    flush();
                    u32 want = expected(dir, dir, access, ring, wp);
                    u32 got = outcome(access, ring, LIN);
                    u32 ad = page_dir[LIN >> 22] & (ACC | DIRTY);
                    n++;
                    good += got == want;
                    bits += want ? !(ad & DIRTY) : ad == (ACC | (access == WRITE ? DIRTY : 0));
                }
    set_wp(false);
    check_eq("large-permissions", good, n);
    check_eq("large-accessed-dirty", bits, n);
    page_dir[LIN >> 22] = 0x800000 | PS | P | RW | US;
    flush();
    poke(0x800000 + 0x3ffffc, 0x1a57);
    check_eq("large-last-dword", go(3, f_ld, LIN + 0x3ffffc, 0).eax, 0x1a57);
    page_dir[LIN >> 22] |= 1u << 21; /* reserved in a 4 MiB entry */
    flush();
    struct cpu c = go(0, f_ld, LIN, 0);
    check_pf("large-reserved-bit", &c, 9, LIN, f_ld);
}

/* Without CR4.PSE bit 7 of a directory entry means nothing. Paging is entered again for it. */
static u32 plain_dir[1024] __attribute__((aligned(4096)));
static u32 plain_pt[4][1024] __attribute__((aligned(4096)));

static void without_pse(void)
{
    u32 x, y;

    for (u32 i = 0; i < 4; i++) {
        for (u32 k = 0; k < 1024; k++)
            plain_pt[i][k] = i << 22 | k << 12 | P | RW | US;
        plain_dir[i] = (u32)plain_pt[i] | PS | P | RW | US;
    }
    plain_pt[3][0] = (u32)frames[2] | P | RW | US;
    poke((u32)frames[2], 0xf2f2);
    poke(0xc00000, 0xf0f0);
    write_cr3((u32)plain_dir);
    write_cr0(read_cr0() | 0x80000000);
    x = peek(0xc00000);
    write_cr0(read_cr0() & ~0x80000000u);
    y = peek(0xc00000);
    check_eq("no-pse-ignores-ps", x, 0xf2f2);
    check_eq("paging-off-is-physical", y, 0xf0f0);
    check_eq("no-pse-accessed", plain_dir[3] & ACC, ACC);
    check_eq("no-pse-no-dirty-in-directory", plain_dir[3] & DIRTY, 0);
}

/* ---- accessed and dirty in detail ------------------------------------------------------------ */

static void dirty(void)
{
    map(P | RW | US, 0);
    go(0, f_ld, LIN, 0);
    check_eq("read-sets-a-only", pt[0] & (ACC | DIRTY), ACC);
    go(0, f_st, LIN, 1); /* translation is cached as clean */
    check_eq("write-after-read-sets-d", pt[0] & (ACC | DIRTY), ACC | DIRTY);
    pt[0] &= ~(ACC | DIRTY);
    invlpg(LIN);
    go(0, f_ld, LIN, 0);
    check_eq("a-again-after-invlpg", pt[0] & (ACC | DIRTY), ACC);
    map(P | RW | US, 0);
    go(0, f_rmw, LIN, 0);
    check_eq("rmw-sets-d", pt[0] & DIRTY, DIRTY);
    map(P | RW | US, 0);
    go(0, f_rmw0, LIN, 0);
    check_eq("rmw-same-value-sets-d", pt[0] & DIRTY, DIRTY);
    map(P | RW | US, 0);
    poke((u32)frames[0], 5);
    go(0, f_cmpxchg_fail, LIN, 7);
    check_eq("failed-cmpxchg-sets-d", pt[0] & DIRTY, DIRTY);
    map(P | RW | US, 0);
    go(0, f_bts, LIN, 0);
    check_eq("bt-reads-only", pt[0] & DIRTY, 0);
    map(P | RW | US | ACC, P | RW | US);
    go(0, f_ld, LIN + 0xffe, 0);
    check_eq("crossing-read-sets-a-in-both", pt[0] & pt[1] & ACC, ACC);
    go(0, f_st, LIN + 0xffe, 0);
    check_eq("crossing-write-sets-d-in-both", pt[0] & pt[1] & DIRTY, DIRTY);
    map(P | US, 0); /* cmpxchg writes always, so a read-only page faults */
    set_wp(true);
    struct cpu c = go(0, f_cmpxchg_fail, LIN, 7);
    check_pf("failed-cmpxchg-is-a-write", &c, 3, LIN, f_cmpxchg_fail);
    set_wp(false);
    map(P | RW | US | 0xe00, 0);
    go(0, f_st, LIN, 0);
    check_eq("available-bits-kept", pt[0] & 0xe00, 0xe00);
}

/* ---- invalidation: only what is guaranteed --------------------------------------------------- */

static void stale(void)
{
    poke((u32)frames[0], 0xf0);
    poke((u32)frames[1], 0xf1);
    map(P | RW | US, 0);
    check_eq("frame-0", go(0, f_ld, LIN, 0).eax, 0xf0);
    pt[0] = (u32)frames[1] | P | RW | US;
    invlpg(LIN + 0x123);
    check_eq("invlpg-drops", go(0, f_ld, LIN, 0).eax, 0xf1);
    pt[0] = (u32)frames[0] | P | RW | US;
    flush();
    check_eq("cr3-drops", go(0, f_ld, LIN, 0).eax, 0xf0);
    pt[0] = 0;
    invlpg(LIN);
    struct cpu c = go(0, f_ld, LIN, 0);
    check_pf("unmapped-after-invlpg", &c, 0, LIN, f_ld);
    pt[0] = (u32)frames[0] | P | RW | US;
    check_eq("absent-is-not-cached", go(0, f_ld, LIN, 0).eax, 0xf0);
    /* The user and the kernel view of one page. */
    check_eq("user-sees-it", go(3, f_ld, LIN, 0).eax, 0xf0);
    pt[0] &= ~US;
    invlpg(LIN);
    c = go(3, f_ld, LIN, 0);
    check_pf("user-bit-after-invlpg", &c, 5, LIN, f_ld);
    check_eq("kernel-still-sees-it", go(0, f_ld, LIN, 0).eax, 0xf0);
    /* INVLPG on a directory entry: a whole 4 MiB changes hands with one CR3 load. */
    page_dir[LIN >> 22] = 0x800000 | PS | P | RW | US;
    poke(0x800000, 0x1a);
    flush();
    check_eq("table-to-large", go(0, f_ld, LIN, 0).eax, 0x1a);
    map(P | RW | US, 0);
    check_eq("large-to-table", go(0, f_ld, LIN, 0).eax, 0xf0);
    page_dir[LIN >> 22] = 0x800000 | PS | P | RW | US;
    invlpg(LIN + 0x1000);
    poke(0x801000, 0x1b);
    check_eq("invlpg-large", go(0, f_ld, LIN + 0x1000, 0).eax, 0x1b);

    /* Global pages: gone after INVLPG, and after CR4.PGE changes. */
    write_cr4(read_cr4() | 0x80);
    map(P | RW | US | GLOBAL, 0);
    check_eq("global-frame-0", go(0, f_ld, LIN, 0).eax, 0xf0);
    pt[0] = (u32)frames[1] | P | RW | US | GLOBAL;
    invlpg(LIN);
    check_eq("global-invlpg", go(0, f_ld, LIN, 0).eax, 0xf1);
    pt[0] = (u32)frames[0] | P | RW | US | GLOBAL;
    write_cr4(read_cr4() & ~0x80u);
    check_eq("global-pge-off", go(0, f_ld, LIN, 0).eax, 0xf0);
    pt[0] = (u32)frames[1] | P | RW | US | GLOBAL;
    write_cr4(read_cr4() | 0x80);
    check_eq("global-pge-on", go(0, f_ld, LIN, 0).eax, 0xf1);
    map(P | RW | US, 0);
    invlpg(LIN);
    check_eq("not-global-frame-0", go(0, f_ld, LIN, 0).eax, 0xf0);
    pt[0] = (u32)frames[1] | P | RW | US;
    flush();
    check_eq("not-global-cr3-drops", go(0, f_ld, LIN, 0).eax, 0xf1);
    page_dir[LIN >> 22] = 0x800000 | PS | P | RW | US | GLOBAL;
    flush();
    poke(0x803000, 0x1c);
    poke(0xc03000, 0x1d);
    check_eq("global-large", go(0, f_ld, LIN + 0x3000, 0).eax, 0x1c);
    page_dir[LIN >> 22] = 0xc00000 | PS | P | RW | US | GLOBAL;
    invlpg(LIN + 0x200000);
    check_eq("global-large-invlpg", go(0, f_ld, LIN + 0x3000, 0).eax, 0x1d);
    map(P | RW | US, 0);
    write_cr4(read_cr4() & ~0x80u);
    pt[0] = (u32)frames[0] | P | RW | US | GLOBAL;
    flush();
    check_eq("global-bit-ignored-without-pge", go(0, f_ld, LIN, 0).eax, 0xf0);
    set_wp(false);
    map(P | US, 0);
    go(0, f_st, LIN, 0xf0); /* allowed: cached as writable for ring 0 */
    set_wp(true);
    c = go(0, f_st, LIN, 0xf0);
    check_pf("wp-on-takes-effect", &c, 3, LIN, f_st);
    set_wp(false);
    c = go(0, f_st, LIN, 0xf0);
    check_done("wp-off-takes-effect", &c);
}

/* ---- boundaries ------------------------------------------------------------------------------ */

FRAG(f_xchg, "xchg %eax, (%esi)");
FRAG(f_fstp, "fld1; f_fstp_at: fstpl (%esi)");
LABEL(f_fstp_at);
FRAG(f_movs, "movsl");
FRAG(f_push, "push %eax");
FRAG(f_cmpxchg8b, "cmpxchg8b (%esi)");
FRAG(f_bts_imm, "btsl $0, (%esi)");

static bool untouched(void)
{
    for (u32 i = 0xff0; i < 0x1000; i++)
        if (frames[0][i] != 0x33)
            return false;
    return true;
}

struct crossing {
    const char *name, *code, *at;
    u32 back; /* bytes of the operand on the first page */
};

static void crossing_stores(u32 second, u32 error)
{
    static const struct crossing t[] = {
        {"cross-store", f_st, f_st, 1},         {"cross-store-3", f_st, f_st, 3},
        {"cross-rmw", f_rmw, f_rmw, 2},         {"cross-xchg", f_xchg, f_xchg, 2},
        {"cross-fstp", f_fstp, f_fstp_at, 5},   {"cross-cmpxchg8b", f_cmpxchg8b, f_cmpxchg8b, 4},
        {"cross-bts", f_bts_imm, f_bts_imm, 1}, {"cross-movs", f_movs, f_movs, 2},
        {"cross-push", f_push, f_push, 2},
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        struct cpu c = cpu_make(3, t[i].code);
        memset(frames, 0x33, sizeof(frames));
        map(P | RW | US, second);
        c.esi = NEXT - t[i].back;
        c.eax = 0x33333333;
        if (t[i].code == f_movs) {
            c.edi = c.esi;
            c.esi = (u32)frames[2];
            memset(frames[2], 0x77, 8);
        }
        if (t[i].code == f_push)
            c.esp = NEXT + 2, c.eax = 0x77777777;
        if (t[i].code == f_st || t[i].code == f_xchg)
            c.eax = 0x77777777;
        asm volatile("fninit");
        cpu_run(&c);
        check_pf(t[i].name, &c, error, NEXT, t[i].at);
        check("..nothing-stored", untouched());
        if (t[i].code == f_push)
            check_eq("..esp-kept", c.esp, NEXT + 2);
    }
    asm volatile("fninit");
}

static void crossing(void)
{
    struct cpu c;

    set_wp(true);
    crossing_stores(0, 6);
    crossing_stores(P | US, 7);
    crossing_stores(P | RW, 7);
    set_wp(false);
    map(P | RW | US, 0);
    c = go(3, f_ld, LIN + 0xffd, 0);
    check_pf("crossing-read", &c, 4, NEXT, f_ld);
    map(0, P | RW | US);
    c = go(3, f_ld, LIN + 0xffd, 0);
    check_pf("crossing-read-first-page", &c, 4, LIN + 0xffd, f_ld);
    map(0, 0);
    c = go(3, f_ld, LIN + 0xffd, 0);
    check_pf("crossing-read-both-absent", &c, 4, LIN + 0xffd, f_ld);
    c = go(3, f_st, LIN + 0xfff, 0);
    check_pf("crossing-write-both-absent", &c, 6, LIN + 0xfff, f_st);
    /* Frames need not be neighbours. */
    map(P | RW | US, 0);
    pt[1] = (u32)frames[3] | P | RW | US;
    go(3, f_st, LIN + 0xffe, 0xaabbccdd);
    check("crossing-lands-in-both",
          (frames[0][0xfff] == 0xcc) && frames[3][0] == 0xbb && frames[3][1] == 0xaa);
    check_eq("crossing-reads-back", go(3, f_ld, LIN + 0xffe, 0).eax, 0xaabbccdd);

    /* An instruction over the boundary: fetch fault with CR2 on the second page, eip on the first.
     */
    frames[0][0xffe] = 0xb8; /* mov $imm32, %eax */
    map(P | RW | US, 0);
    c = go(3, (void *)(LIN + 0xffe), 0, 0);
    check_pf("crossing-fetch", &c, 4, NEXT, (void *)(LIN + 0xffe));
    frames[0][0xffe] = 0x90; /* ends exactly at the boundary: no fault before the next one */
    frames[0][0xfff] = 0x90;
    c = go(3, (void *)(LIN + 0xffe), 0, 0);
    check_pf("fetch-next-page", &c, 4, NEXT, (void *)NEXT);
    frames[0][0xfff] = 0xcd;
    frames[3][0] = DONE;
    pt[1] = (u32)frames[3] | P | US;
    c = go(3, (void *)(LIN + 0xffe), 0, 0);
    check_done("crossing-fetch-runs", &c);
}

/* ---- restart --------------------------------------------------------------------------------- */

static volatile unsigned repairs;

/* A pager: makes the page present and returns. */
static void repair(struct frame *f)
{
    u32 a = read_cr2();

    repairs++;
    if (a < LIN || a >= LIN + 0x4000 || repairs > 10) {
        hook[14] = NULL;
        return;
    }
    pt[(a - LIN) >> 12] |= P | RW;
    invlpg(a);
}

FRAG(r_pusha, "mov %esi, %esp; pusha; mov %esp, %ebx");
FRAG(r_popa, "mov %esi, %esp; popa");
FRAG(r_call, "mov %esi, %esp; call 1f; 1: pop %eax");
FRAG(r_call_mem, "mov %ebp, %esp; call *(%esi); r_call_mem_back: nop");
FRAG(r_ret, "mov %esi, %esp; ret");
FRAG(r_ret_to, "mov $0x600d, %eax; mov %esp, %ebx");
FRAG(r_push_mem, "pushl (%esi); pop %eax");
FRAG(r_pop_mem, "push %eax; popl (%esi); mov %esp, %ebx");
FRAG(r_movs, "rep movsb");
FRAG(r_movsl, "rep movsl");
FRAG(r_stos, "rep stosl");
FRAG(r_cmps, "repe cmpsb; mov %ecx, %eax");
FRAG(r_scas, "repne scasb; mov %ecx, %eax");
FRAG(r_enter, "mov %esi, %esp; enter $0x100, $4; mov %esp, %ebx");
FRAG(r_leave, "mov %esi, %ebp; leave; mov %esp, %ebx");
FRAG(r_xadd, "xadd %eax, (%esi)");
FRAG(r_lret, "mov %esi, %esp; lret");
FRAG(r_iret, "mov %esi, %esp; iret");
FRAG(r_pop_esp, "mov %esi, %esp; popl 4(%esp); mov %esp, %ebx");
FRAG(r_lods, "lodsl");

/* Start with both pages absent (their contents are what the caller put there). */
static struct cpu paged(unsigned ring, const void *code, struct cpu *init)
{
    struct cpu c = init ? *init : cpu_make(ring, code);

    for (u32 i = 0; i < 4; i++)
        pt[i] = (u32)frames[i] | US;
    page_dir[LIN >> 22] = (u32)pt | P | RW | US;
    flush();
    repairs = 0;
    hook[14] = repair;
    cpu_run(&c);
    hook[14] = NULL;
    return c;
}

static struct cpu with(const void *code, u32 esi)
{
    struct cpu c = cpu_make(3, code);

    c.esi = esi;
    c.eax = 0xe0, c.ecx = 0xc0, c.edx = 0xd0, c.ebp = (u32)frag_stack_top - 256;
    return c;
}

static void put(u32 offset, u32 x)
{
    memcpy((u8 *)frames + offset, &x, 4);
}

static u32 get(u32 offset)
{
    u32 x;
    memcpy(&x, (u8 *)frames + offset, 4);
    return x;
}

/* INS to an absent page must not take the byte from the device before it can store it. The serial
 * port in loopback, a byte in its receiver, is such a device; reading the byte empties it. */
FRAG(r_insb, "insb");

static void port_to_absent_page(void)
{
    struct cpu c = cpu_make(3, r_insb);

    while (!(inb(0x3fd) & 0x40))
        ;
    outb(0x3fc, 0x13);
    outb(0x3f8, 0x5a);
    while (!(inb(0x3fd) & 1))
        ;
    memset(frames, 0, sizeof(frames));
    c.edx = 0x3f8;
    c.edi = LIN + 0x20;
    c.eflags |= IOPL3;
    c = paged(3, 0, &c);
    u8 left = inb(0x3fd) & 1;
    outb(0x3fc, 3);
    check("restart-insb", c.vector == DONE && repairs == 1 && frames[0][0x20] == 0x5a &&
                              c.edi == LIN + 0x21 && !left);
}

static void restart(void)
{
    struct cpu c;
    u32 around = 0x1000; /* offset of the page boundary */

    memset(frames, 0, sizeof(frames));
    c = with(r_pusha, LIN + around + 16);
    c.edi = 0xd1;
    c = paged(3, 0, &c);
    check("restart-pusha", c.vector == DONE && repairs == 2 && c.ebx == LIN + around - 16 &&
                               get(around + 12) == 0xe0 && get(around - 16) == 0xd1 &&
                               get(around - 4) == LIN + around + 16);
    c = with(r_popa, LIN + around - 16);
    c = paged(3, 0, &c);
    check("restart-popa", c.vector == DONE && c.eax == 0xe0 && c.edi == 0xd1 && c.ecx == 0xc0 &&
                              c.esp == LIN + around + 16);
    c = with(r_call, LIN + around + 2);
    c = paged(3, 0, &c);
    check("restart-call", c.vector == DONE && repairs == 2 && c.eax == (u32)r_call + 7);
    put(around - 2, (u32)r_ret_to);
    c = with(r_ret, LIN + around - 2);
    c = paged(3, 0, &c);
    check("restart-ret", c.vector == DONE && c.eax == 0x600d && c.ebx == LIN + around + 2);
    put(around - 1, 0x1234abcd);
    c = with(r_push_mem, LIN + around - 1);
    c = paged(3, 0, &c);
    check("restart-push-mem", c.vector == DONE && c.eax == 0x1234abcd);
    c = with(r_pop_mem, LIN + around - 3);
    c.eax = 0x55667788;
    c = paged(3, 0, &c);
    check("restart-pop-mem",
          c.vector == DONE && get(around - 3) == 0x55667788 && c.ebx == (u32)frag_stack_top);
    put(around - 4, 0x9abc);
    c = with(r_pop_esp, LIN + around - 8);
    put(around - 8, 0x77);
    c = paged(3, 0, &c);
    check("restart-pop-esp-relative",
          c.vector == DONE && c.ebx == LIN + around - 4 && get(around) == 0x77);
    put(around - 6, (u32)r_ret_to);
    put(around - 2, U_CODE);
    c = with(r_lret, LIN + around - 6);
    c = paged(3, 0, &c);
    check("restart-lret", c.vector == DONE && c.eax == 0x600d && c.ebx == LIN + around + 2);
    put(around - 6, (u32)r_ret_to);
    put(around - 2, U_CODE);
    put(around + 2, 2 | CF);
    c = with(r_iret, LIN + around - 6);
    c = paged(3, 0, &c);
    check("restart-iret", c.vector == DONE && c.eax == 0x600d && (c.eflags & CF));
    c = with(r_enter, LIN + around + 4);
    c.ebp = (u32)frag_stack_top - 32;
    c = paged(3, 0, &c);
    check("restart-enter",
          c.vector == DONE && c.ebp == LIN + around && c.ebx == LIN + around - 16 - 0x100);
    put(around - 2, 0xb9);
    c = with(r_leave, LIN + around - 2);
    c = paged(3, 0, &c);
    check("restart-leave", c.vector == DONE && c.ebp == 0xb9 && c.ebx == LIN + around + 2);
    put(around - 2, 100);
    c = with(r_xadd, LIN + around - 2);
    c.eax = 11;
    c = paged(3, 0, &c);
    check("restart-xadd", c.eax == 100 && get(around - 2) == 111);

    for (u32 i = 0; i < 64; i++)
        ((u8 *)frames)[0xfe0 + i] = (u8)(i + 1);
    c = cpu_make(3, r_movs);
    c.esi = LIN + 0xfe0;
    c.edi = LIN + 0x1fe0;
    c.ecx = 64;
    c = paged(3, 0, &c);
    check("restart-rep-movsb", c.vector == DONE && c.ecx == 0 && repairs == 3 &&
                                   c.esi == LIN + 0x1020 && c.edi == LIN + 0x2020 &&
                                   !memcmp((u8 *)frames + 0x1fe0, (u8 *)frames + 0xfe0, 64));
    c = cpu_make(3, r_movsl);
    c.esi = LIN + 0xfde;
    c.edi = LIN + 0x2fe2;
    c.ecx = 16;
    for (u32 i = 0; i < 64; i++)
        ((u8 *)frames)[0xfde + i] = (u8)(i + 1);
    c = paged(3, 0, &c);
    check("restart-rep-movsl-straddling",
          c.vector == DONE && c.ecx == 0 && repairs == 4 &&
              !memcmp((u8 *)frames + 0x2fe2, (u8 *)frames + 0xfde, 64));
    c = cpu_make(3, r_stos);
    c.edi = LIN + 0x17fe;
    c.eax = 0x5a5b5c5d;
    c.ecx = 0x1000;
    memset(frames, 0, sizeof(frames));
    c.ecx = 0x800;
    c = paged(3, 0, &c);
    check("restart-rep-stosl", c.vector == DONE && c.edi == LIN + 0x37fe && repairs == 3 &&
                                   get(0x1ffe) == 0x5a5b5c5d && get(0x37fa) == 0x5a5b5c5d &&
                                   (get(0x37fe) & 0xffff) == 0);
    memset(frames, 1, sizeof(frames));
    frames[1][0x20] = 2;
    c = cpu_make(3, r_cmps);
    c.esi = LIN + 0xff0;
    c.edi = LIN + 0x2ff0;
    c.ecx = 0x100;
    c = paged(3, 0, &c);
    check("restart-repe-cmpsb",
          c.vector == DONE && c.eax == 0x100 - 0x31 && c.esi == LIN + 0x1021 && !(c.eflags & ZF));
    c = cpu_make(3, r_scas);
    c.edi = LIN + 0xff0;
    c.eax = 2;
    c.ecx = 0x100;
    c = paged(3, 0, &c);
    check("restart-repne-scasb", c.vector == DONE && c.edi == LIN + 0x1021 && (c.eflags & ZF));

    port_to_absent_page();
    /* Without a pager: registers of a repeated instruction show how far it came. */
    for (u32 i = 0; i < 4; i++)
        pt[i] = (u32)frames[i] | US | P | RW;
    pt[2] = 0;
    flush();
    c = cpu_make(3, r_movs);
    c.esi = LIN;
    c.edi = LIN + 0x1f00;
    c.ecx = 0x200;
    cpu_run(&c);
    check_pf("rep-fault", &c, 6, LIN + 0x2000, r_movs);
    check("rep-fault-progress", c.ecx == 0x100 && c.esi == LIN + 0x100 && c.edi == LIN + 0x2000);
    c = with(r_lods, LIN + 0x1ffe);
    cpu_run(&c);
    check("lods-fault-keeps-registers", c.vector == 14 && c.esi == LIN + 0x1ffe && c.eax == 0xe0);
}

/* ---- implicit supervisor accesses ------------------------------------------------------------ */

FRAG(f_mov_fs, "mov %ecx, %fs");

static void system_structures(void)
{
    struct dtr d = {0xfff, LIN};
    struct cpu c;

    /* The GDT seen through the test page, for the kernel only. */
    memset(frames, 0, sizeof(frames));
    memcpy(frames[0], gdt, sizeof(gdt));
    map(P | RW, 0);
    lgdt(&d);
    c = cpu_make(3, f_mov_fs);
    c.ecx = U_DATA;
    cpu_run(&c);
    check_done("descriptor-load-is-supervisor", &c);
    memcpy(&frames[0][T_SEL], &gdt[U_DATA >> 3], 8);
    frames[0][T_SEL + 5] &= 0xfe; /* accessed clear */
    map(P, 0);                    /* read-only page, WP off: the accessed bit still gets set */
    c = cpu_make(3, f_mov_fs);
    c.ecx = T_SEL | 3;
    cpu_run(&c);
    check("accessed-bit-store-is-supervisor", c.vector == DONE && (frames[0][T_SEL + 5] & 1));
    d.limit = 0x1fff;
    map(P | RW, 0);
    lgdt(&d);
    c = cpu_make(3, f_mov_fs);
    c.ecx = 0x1003;
    cpu_run(&c);
    lgdt(&gdtr);
    check_pf("descriptor-fault-has-no-user-bit", &c, 0, NEXT, f_mov_fs);
}

/* ---- PAE ------------------------------------------------------------------------------------- */

static u64 pdpt[4] __attribute__((aligned(32)));
static u64 pd[4][512] __attribute__((aligned(4096)));
static u64 pae_pt[512] __attribute__((aligned(4096)));

static void pae_map(u64 dir, u64 flags0, u64 flags1)
{
    pae_pt[0] = (u32)frames[0] | flags0;
    pae_pt[1] = (u32)frames[1] | flags1;
    pd[1][0] = (u32)pae_pt | dir;
    flush();
}

static void pae_on(void)
{
    for (u32 i = 0; i < 4; i++) {
        for (u32 k = 0; k < 512; k++)
            pd[i][k] = (u64)i << 30 | k << 21 | PS | P | RW | US;
        pdpt[i] = (u32)pd[i] | P;
    }
    write_cr4(read_cr4() | 0x20);
    write_cr3((u32)pdpt);
    write_cr0(read_cr0() | 0x80000000);
}

static void pae_matrix(void)
{
    unsigned good = 0, bits = 0, n = 0;

    for (unsigned wp = 0; wp < 2; wp++)
        for (u32 dir = 0; dir < 8; dir++)
            for (u32 table = 0; table < 16; table++)
                for (unsigned access = READ; access <= FETCH; access++)
                    for (unsigned ring = 0; ring < 4; ring += 3) {
                        bool large = table >= 8;
                        u32 t = large ? dir : table;
                        u64 *entry = large ? &pd[1][0] : &pae_pt[0];
                        set_wp(wp);
                        pae_map(dir, table, 0);
                        if (large)
                            pd[1][0] = 0x800000 | PS | dir;
                        flush();
                        u32 want = expected(dir, t, access, ring, wp);
                        u32 got = outcome(access, ring, LIN);
                        u32 ad = (u32)*entry & (ACC | DIRTY);
                        n++;
                        good += got == want;
                        bits += want ? !(ad & DIRTY) : ad == (ACC | (access == WRITE ? DIRTY : 0));
                    }
    set_wp(false);
    check_eq("pae-permissions", good, n);
    check_eq("pae-accessed-dirty", bits, n);
}

FRAG(f_wr_cr3, "mov %eax, %cr3");

static void pae(void)
{
    static const u8 code[] = {0xcd, DONE};
    u32 a = 1, b, c4, d;
    struct cpu c;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c4), "=d"(d));
    check("cpuid-has-pae-pse-pge", (d & 0x2048) == 0x2048);
    memcpy((void *)0x800000, code, 2);
    memcpy(frames[0], code, 2);
    poke(0xa00000, 0x2b);
    pae_on();
    check_eq("pae-2m-identity", peek(0xa00000), 0x2b);
    pae_matrix();
    pae_map(P | RW | US, P | RW | US, 0);
    poke(0x9ffffc, 0x2a57);
    pd[1][0] = 0x800000 | PS | P | RW | US;
    flush();
    check_eq("pae-2m-last-dword", go(3, f_ld, LIN + 0x1ffffc, 0).eax, 0x2a57);
    pd[1][0] = 0x800000 | PS | P | RW | US | 1u << 13; /* reserved in a 2 MiB entry */
    flush();
    c = go(0, f_ld, LIN, 0);
    check_pf("pae-2m-reserved-bit", &c, 9, LIN, f_ld);
    pae_map(P | RW | US, P | RW | US | 1ull << 52, 0);
    c = go(3, f_st, LIN, 0);
    check_pf("pae-reserved-bit-52", &c, 15, LIN, f_st);
    pae_map(P | RW | US | 1ull << 62, P | RW | US, 0);
    c = go(0, f_ld, LIN, 0);
    check_pf("pae-reserved-bit-in-directory", &c, 9, LIN, f_ld);
    pae_map(P | RW | US, P | RW | US, 0);
    c = go(3, f_ld, LIN + 0xffd, 0);
    check_pf("pae-crossing", &c, 4, NEXT, f_ld);
    poke((u32)frames[0], 0xf0);
    poke((u32)frames[1], 0xf1);
    go(3, f_ld, LIN, 0);
    pae_pt[0] = (u32)frames[1] | P | RW | US;
    invlpg(LIN);
    check_eq("pae-invlpg", go(3, f_ld, LIN, 0).eax, 0xf1);

    /* The four top entries are loaded with CR3, not at each walk. */
    pae_map(P | RW | US, P | RW | US, 0);
    pdpt[1] = 0;
    invlpg(LIN);
    check_eq("pdpte-held-until-cr3", go(3, f_ld, LIN, 0).eax, 0xf0);
    flush();
    c = go(3, f_ld, LIN, 0);
    check_pf("pdpte-absent", &c, 4, LIN, f_ld);
    pdpt[1] = (u32)pd[1] | P | RW; /* bits 1, 2 and 5 to 8 are reserved */
    c = cpu_make(0, f_wr_cr3);
    c.eax = (u32)pdpt;
    cpu_run(&c);
    check_fault("pdpte-reserved-gp", &c, 13, 0, f_wr_cr3);
    pdpt[1] = (u32)pd[1] | P;
    flush();
    check_eq("pdpte-back", go(3, f_ld, LIN, 0).eax, 0xf0);
    write_cr0(read_cr0() & ~0x80000000u);
    write_cr4(read_cr4() & ~0x20u);
}

void test_main(void)
{
    static const u8 code[] = {0xcd, DONE};

    set_wp(false);
    without_pse();
    memcpy(frames[0], code, 2);
    paging_on();
    two_level_matrix(false);
    two_level_matrix(true);
    large_matrix();
    dirty();
    stale();
    crossing();
    restart();
    system_structures();
    paging_off();
    pae();
}
