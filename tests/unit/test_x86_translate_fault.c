/* SPDX-License-Identifier: MIT */
/* Host faults in translated code: at each access that an instruction makes, with nothing in the
 * view, the state that isa_translator.fault() leaves must be that before the instruction.
 *
 * A case is some guest code and registers. It runs on two processors: the interpreter steps through
 * it on one, which gives the state before each instruction; the translator runs it on the other
 * over views that are empty at first, so that the first access to each page faults (and a store to
 * a page that was only read faults again). After each fault and at the end registers and memory are
 * compared. The stack is moved through a page boundary, so that each access of a run of pushes is
 * once the first in its page. In the end every instruction of the generated code that accesses
 * guest memory must have faulted at least once. */
#include "x86_shadow_rig.h"

#include <signal.h>
#include <sys/mman.h>

#include "engine/dbt/cache.h"
#include "host/fault.h"
#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"
#include "isa/x86/translator.h"

#define CODE_PAGE 0x08048000u
#define OPERANDS  0x00501000u /* the boundary of two pages */
#define SOURCE    0x00a01000u
#define STACK     0x00701000u
#define THREAD    0x00b00000u /* base of FS */

#define AT 0x100u /* offset of the code in its page */

/* Linear pages and what is behind them, no two next to each other. */
static const struct {
    uint32_t lin, phys;
    bool user; /* data that supervisor code reaches by TB_SELECT */
} pages[] = {{CODE_PAGE, 0x200000, false},     {OPERANDS - 0x1000, 0x202000, true},
             {OPERANDS, 0x204000, true},       {STACK - 0x1000, 0x206000, false},
             {STACK, 0x208000, false},         {SOURCE - 0x1000, 0x20a000, true},
             {SOURCE, 0x20c000, true},         {THREAD, 0x20e000, true},
             {THREAD + 0x1000, 0x210000, true}};

enum way { WINDOW_WAY, FLAT_WAY, SELECT_WAY };

struct note {
    struct dbt_fault f;
    uint32_t at;
};

/* What is compared. */
struct seen {
    uint64_t gpr[8];
    uint32_t eip, cc, df, if_flag;
    uint8_t xmm[8][16];
};

#define MAX_STEPS 8
struct both {
    struct rig *r;     /* translates */
    struct machine *i; /* interprets */
    struct dbt_cache cache;
    void *tables;
    enum way way;
    struct note note;
    struct tb tb;
    uint8_t bytes[PAGE_BYTES];
    unsigned end;
    bool rep;
    /* Which host instruction of which guest instruction has faulted, by ordinal. */
    bool faulted[64][64];
};

/* ---- translate ----------------------------------------------------------------------------- */

static bool translated(void *opaque, uint16_t offset)
{
    return offset >= ((struct both *)opaque)->end;
}
static enum tb_policy policy(void *opaque, uint16_t offset)
{
    return ((struct both *)opaque)->way == SELECT_WAY ? TB_SELECT : TB_PLAIN;
}
static bool may_straddle(void *opaque, uint16_t offset)
{
    return false;
}
static const uint8_t *look_ahead(void *opaque, uint32_t lin, unsigned len)
{
    return NULL;
}

static void make_tb(struct both *b, uint16_t start, uint16_t mode)
{
    b->tb = (struct tb){.page = CODE_PAGE,
                        .start = start,
                        .mode = mode,
                        .bytes = b->bytes,
                        .max_insns = TB_MAX_INSNS,
                        .opaque = b,
                        .translated = translated,
                        .policy = policy,
                        .may_straddle = may_straddle,
                        .peek = look_ahead};
    x86_translate(&b->r->v->base, &b->tb);
}

/* As engine/dbt does it; links lead to stubs that leave. */
static uint32_t commit(struct both *b)
{
    const struct tb *tb = &b->tb;
    cache_reset(&b->cache);
    uint32_t at = cache_take(&b->cache, tb->code_len + tb->links * CACHE_STUB_LEN);
    uint32_t stub = at + tb->code_len;
    memcpy(b->cache.writable + at, tb->code, tb->code_len);
    for (unsigned i = 0; i < tb->tramps; i++)
        cache_link(&b->cache, at + tb->tramp[i].at, b->cache.tramp[tb->tramp[i].kind]);
    for (unsigned i = 0; i < tb->links; i++, stub += CACHE_STUB_LEN) {
        cache_stub(&b->cache, stub, tb->page + tb->link[i].target, 0, DBT_EXIT_LINK);
        cache_link(&b->cache, at + tb->link[i].at, stub);
    }
    return at;
}

static bool on_fault(void *opaque, const struct host_fault *f)
{
    struct both *b = opaque;
    greg_t *g = f->uc->uc_mcontext.gregs;
    if (!cache_holds(&b->cache, (uintptr_t)g[REG_RIP]))
        return false;
    b->note = (struct note){.f = {.sig = f->sig,
                                  .trapno = f->trapno,
                                  .error = f->error,
                                  .addr = f->addr,
                                  .r8 = (uint64_t)g[REG_R8],
                                  .r9 = (uint64_t)g[REG_R9],
                                  .r10 = (uint64_t)g[REG_R10]},
                            .at = (uint32_t)((uintptr_t)g[REG_RIP] - (uintptr_t)b->cache.reserve)};
    g[REG_RIP] = (greg_t)(uintptr_t)x86_fault_exit;
    return true;
}

/* ---- state --------------------------------------------------------------------------------- */

static void see(const struct x86_vcpu *v, struct seen *s)
{
    memset(s, 0, sizeof *s);
    memcpy(s->gpr, v->gpr, sizeof s->gpr);
    s->eip = (uint32_t)v->eip;
    s->cc = x86_cc_to_flags(v->cc);
    s->df = v->df_flag;
    s->if_flag = v->if_flag;
    memcpy(s->xmm, v->fx.xmm, sizeof s->xmm);
}

static bool same_memory(const struct both *b)
{
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
        gpfn_t n = {pages[i].phys >> PAGE_SHIFT};
        if (memcmp(phys_page(b->r->m->mem, n).host, phys_page(b->i->mem, n).host, PAGE_BYTES))
            return false;
    }
    return true;
}

/* In the middle of a repeated instruction the three registers have come equally far. */
static void forget_progress(struct seen *now, const struct seen *before, unsigned size)
{
    uint32_t rounds = (uint32_t)(before->gpr[X86_ECX] - now->gpr[X86_ECX]);
    assert_true(rounds <= before->gpr[X86_ECX]);
    for (unsigned r = X86_ESI; r <= X86_EDI; r++) {
        uint32_t moved = (uint32_t)(now->gpr[r] - before->gpr[r]);
        assert_true(moved == rounds * size || moved == 0);
        now->gpr[r] = before->gpr[r];
    }
    now->gpr[X86_ECX] = before->gpr[X86_ECX];
}

static void compare(const struct both *b, const char *what, const struct seen *wanted, bool middle)
{
    struct seen now;
    see(b->r->v, &now);
    if (middle && b->rep)
        forget_progress(&now, wanted, 4);
    for (unsigned i = 0; i < 8; i++)
        if (now.gpr[i] != wanted->gpr[i])
            fail_msg("%s: register %u is %#llx, not %#llx", what, i, (unsigned long long)now.gpr[i],
                     (unsigned long long)wanted->gpr[i]);
    if (now.eip != wanted->eip || now.cc != wanted->cc)
        fail_msg("%s: eip %#x not %#x, flags %#x not %#x", what, now.eip, wanted->eip, now.cc,
                 wanted->cc);
    assert_memory_equal(&now, wanted, sizeof now);
    if (!(middle && b->rep) && !same_memory(b))
        fail_msg("%s: memory differs", what);
}

/* ---- which accesses there are ---------------------------------------------------------------- */

static bool reaches_guest(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
    if (z->mnemonic == ZYDIS_MNEMONIC_LEA)
        return false;
    for (unsigned i = 0; i < z->operand_count; i++)
        if (o[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (o[i].mem.segment == ZYDIS_REGISTER_GS || o[i].mem.base == ZYDIS_REGISTER_RSI ||
             o[i].mem.base == ZYDIS_REGISTER_RDI ||
             (o[i].mem.base == ZYDIS_REGISTER_R9 && o[i].mem.index == ZYDIS_REGISTER_R8)))
            return true;
    return false;
}

/* Ordinal of the host instruction at `at` in its guest instruction; or check them all (at < 0). */
static unsigned walk(struct both *b, const char *what, int at)
{
    ZydisDecoder d;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    unsigned mark = 0, ordinal = 0;
    for (unsigned p = 0; p < b->tb.code_len; p += z.length, ordinal++) {
        assert_true(
            ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, b->tb.code + p, b->tb.code_len - p, &z, o)));
        while (mark + 1 < b->tb.marks && b->tb.mark[mark + 1].host <= p)
            mark++, ordinal = 0;
        if (at == (int)p)
            return ordinal;
        unsigned guest = b->tb.mark[mark].guest - AT;
        if (at < 0 && reaches_guest(&z, o) && !b->faulted[guest][ordinal])
            fail_msg("%s: host instruction %u of the guest's at +%u has never faulted", what,
                     ordinal, guest);
    }
    return 0;
}

/* ---- run ---------------------------------------------------------------------------------------
 */

static const struct tb_mark *mark_of(const struct both *b, uint32_t host)
{
    const struct tb_mark *m = b->tb.mark;
    while (m + 1 < b->tb.mark + b->tb.marks && m[1].host <= host)
        m++;
    return m;
}

/* The reference goes on until it is where the translator has come to. */
static void follow(struct both *b, uint32_t eip)
{
    struct vm_exit x;
    for (unsigned n = 0; (uint32_t)b->i->v->eip != eip; n++) {
        if (n > MAX_STEPS)
            fail_msg("eip %#x is none of the code's", eip);
        x86_isa.interpret(&b->i->v->base, 1, &x);
    }
}

static void serve_fault(struct both *b, const char *what, uint32_t at)
{
    struct dbt_fault *f = &b->note.f;
    f->mark = *mark_of(b, b->note.at - at);
    f->pc = b->tb.page + f->mark.guest;
    f->policy = policy(b, f->mark.guest);
    b->faulted[f->mark.guest - AT][walk(b, what, (int)(b->note.at - at))] = true;
    enum dbt_verdict verdict = x86_translator.fault(&b->r->v->base, f);
    struct seen before;
    follow(b, f->pc);
    see(b->i->v, &before);
    compare(b, what, &before, true);
    struct vm_exit x;
    if (verdict != DBT_RESUME)
        x86_isa.interpret(&b->r->v->base, 1, &x);
}

static void run_translated(struct both *b, const char *what)
{
    struct vcpu *v = &b->r->v->base;
    struct dbt_where w;
    struct vm_exit x;
    for (unsigned n = 0; b->r->v->eip != CODE_PAGE + b->end; n++) {
        if (n > 60)
            fail_msg("%s: no end", what);
        assert_true(x86_translator.prepare(v, &w));
        assert_int_equal(!!(w.mode & X86_MODE_FLAT), b->way == FLAT_WAY);
        make_tb(b, (uint16_t)(w.pc - CODE_PAGE), w.mode);
        uint32_t at = commit(b);
        uint64_t exit =
            x86_enter(v, b->cache.reserve + at, (uintptr_t)b->tables, (uintptr_t)b->cache.reserve);
        if (exit >> 32 == DBT_EXIT_FAULT)
            serve_fault(b, what, at);
        else if (exit >> 32 == DBT_EXIT_EMULATE)
            x86_isa.interpret(v, 1, &x);
        else
            assert_true(exit >> 32 == DBT_EXIT_LINK || exit >> 32 == DBT_EXIT_MISS);
    }
}

/* ---- the start ---------------------------------------------------------------------------------
 */

struct fault_case {
    const char *what;
    uint8_t len, bytes[24];
    uint32_t ebx, ecx;
    enum {
        STAYS = 0,
        MOVES = 1, /* the stack, through the page boundary */
        SOME = 2,  /* not all accesses fault: an earlier one has shown the page, or in a flat view
                    * the guard against straddling comes first */
    } how;
};

static void set_page_tables(struct both *b, uint32_t bits)
{
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
        uint32_t entry = pages[i].phys | bits;
        if (bits && pages[i].user && b->way == SELECT_WAY)
            entry |= US;
        map(b->r, pages[i].lin, bits ? entry : 0);
    }
    x86_tlb_flush(b->r->v, false);
}

/* Pages that were shown and are not there now are dropped, and so shown by faults only. */
static void empty_views(struct both *b)
{
    struct dbt_where w;
    set_page_tables(b, 0);
    x86_translator.prepare(&b->r->v->base, &w);
    set_page_tables(b, P | RW);
}

static void fill_memory(struct x86_vcpu *v, const struct fault_case *c)
{
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
        for (uint32_t at = 0; at < PAGE_BYTES; at += 4)
            poke(v, pages[i].phys + at, CODE_PAGE + AT + c->len, 4);
    assert_int_equal(phys_write(v->base.mem, pages[0].phys + AT, c->bytes, c->len), 0);
}

static void set_registers(struct x86_vcpu *v, const struct fault_case *c, uint32_t esp)
{
    static const uint32_t gpr[8] = {0x12345678, 0, 0x9abcde03, 0, 0, 0, SOURCE - 8, OPERANDS - 8};
    for (unsigned i = 0; i < 8; i++)
        x86_w32(v, (enum x86_gpr)i, gpr[i]);
    x86_w32(v, X86_ECX, c->ecx);
    x86_w32(v, X86_EBX, c->ebx);
    x86_w32(v, X86_EBP, esp + 0x20);
    x86_w32(v, X86_ESP, esp);
    v->eip = v->insn_eip = CODE_PAGE + AT;
    v->cc = CC_CF | CC_ZF | CC_OF;
    for (unsigned i = 0; i < sizeof v->fx.xmm[0] * 8; i++)
        v->fx.xmm[i / 16][i % 16] = (uint8_t)(i * 7);
    v->seg[X86_FS].base = THREAD;
}

static void run_case(struct both *b, const struct fault_case *c, uint32_t esp)
{
    b->end = AT + c->len;
    memset(b->bytes, 0xf4, sizeof b->bytes);
    memcpy(b->bytes + AT, c->bytes, c->len);
    b->rep = c->bytes[0] == 0xf3;
    fill_memory(b->r->v, c);
    fill_memory(b->i->v, c);
    set_registers(b->r->v, c, esp);
    set_registers(b->i->v, c, esp);
    empty_views(b);
    x86_tlb_flush(b->i->v, false);
    run_translated(b, c->what);
    struct seen end;
    follow(b, CODE_PAGE + b->end);
    see(b->i->v, &end);
    compare(b, c->what, &end, false);
}

/* ---- the cases ----------------------------------------------------------------------------------
 */

#define HERE (OPERANDS + 0x100)
#define EDGE (OPERANDS - 2) /* an operand that straddles */
#define CASE(what_, ebx_, ecx_, how_, ...)                                                         \
    {                                                                                              \
        .what = what_, .len = sizeof((uint8_t[]){__VA_ARGS__}), .bytes = {__VA_ARGS__},            \
        .ebx = ebx_, .ecx = ecx_, .how = how_                                                      \
    }
/* clang-format off */
static const struct fault_case cases[] = {
    CASE("mov eax, [ebx]", HERE, 0, STAYS, 0x8b, 0x03),
    CASE("mov esp, [ebx]", HERE, 0, STAYS, 0x8b, 0x23),
    CASE("mov [ebx], ah", HERE, 0, STAYS, 0x88, 0x23),
    CASE("mov [esp], ah", HERE, 0, STAYS, 0x88, 0x24, 0x24),
    CASE("add dh, [esp+esi-SOURCE]", HERE, 0, STAYS, 0x02, 0xb4, 0x34, 0x00, 0xf0, 0x5f, 0xff),
    CASE("add [ebx], eax", HERE, 0, STAYS, 0x01, 0x03),
    CASE("add [ebx], eax, straddling", EDGE, 0, SOME, 0x01, 0x03),
    CASE("mov [ebx], eax, straddling", EDGE, 0, SOME, 0x89, 0x03),
    CASE("xchg [ebx], esp", HERE, 0, STAYS, 0x87, 0x23),
    CASE("cmpxchg [ebx], ecx", HERE, 7, STAYS, 0x0f, 0xb1, 0x0b),
    CASE("lock cmpxchg8b [ebx]", HERE, 7, STAYS, 0xf0, 0x0f, 0xc7, 0x0b),
    CASE("rcl dword [ebx], cl", HERE, 7, STAYS, 0xd3, 0x13),
    CASE("mul dword [ebx]", HERE, 7, STAYS, 0xf7, 0x23),
    CASE("mov eax, fs:[ebx-OPERANDS]", 0x104, 0, STAYS, 0x64, 0x8b, 0x03),
    CASE("mov fs:[ebx+ecx*4], eax", 0x104, 3, STAYS, 0x64, 0x89, 0x04, 0x8b),
    CASE("inc dword fs:[8]", 0, 0, STAYS, 0x64, 0xff, 0x05, 8, 0, 0, 0),
    CASE("bts [ebx], ecx", HERE, 0x333, STAYS, 0x0f, 0xab, 0x0b),
    CASE("btr [ebx], ecx backwards", HERE, 0xffffff33, STAYS, 0x0f, 0xb3, 0x0b),
    CASE("xlat", HERE, 0, STAYS, 0xd7),
    CASE("movups [ebx], xmm1, straddling", EDGE, 0, SOME, 0x0f, 0x11, 0x0b),
    CASE("movaps [ebx], xmm1", HERE, 0, STAYS, 0x0f, 0x29, 0x0b),
    CASE("addps xmm1, [ebx]", HERE, 0, STAYS, 0x0f, 0x58, 0x0b),
    CASE("mov al, moffs", 0, 0, STAYS, 0xa0, 0x40, 0x10, 0x50, 0x00),
    CASE("mov moffs, eax", 0, 0, STAYS, 0xa3, 0x40, 0x10, 0x50, 0x00),
    CASE("pushes", HERE, 9, MOVES, 0x50, 0x51, 0x6a, 0x05, 0x53, 0x57),
    CASE("pops", HERE, 9, MOVES, 0x58, 0x59, 0x5f, 0x5a),
    CASE("pushes and pops", HERE, 9, MOVES | SOME, 0x50, 0x51, 0x58, 0x57, 0x56, 0x5a, 0x59),
    CASE("push esp", HERE, 0, MOVES, 0x50, 0x54, 0x51),
    CASE("pop esp", HERE, 0, MOVES, 0x58, 0x5c),
    CASE("pushes, then a load", HERE, 9, MOVES, 0x50, 0x51, 0x8b, 0x03, 0x50),
    CASE("push [ebx]", HERE, 0, MOVES, 0xff, 0x33),
    CASE("push [esp+4]", HERE, 0, MOVES, 0x50, 0xff, 0x74, 0x24, 4),
    CASE("pop [ebx]", HERE, 0, MOVES, 0x8f, 0x03),
    CASE("pop [esp+4]", HERE, 0, MOVES, 0x8f, 0x44, 0x24, 4),
    CASE("leave", HERE, 0, MOVES, 0xc9),
    CASE("pushf", HERE, 0, MOVES, 0x51, 0x9c),
    CASE("push ds", HERE, 0, MOVES, 0x1e),
    CASE("call rel32 of the next", HERE, 0, MOVES | SOME, 0xe8, 0, 0, 0, 0, 0x58),
    CASE("call [ebx]", HERE, 0, MOVES, 0xff, 0x13),
    CASE("call [esp+4]", HERE, 0, MOVES, 0xff, 0x54, 0x24, 4),
    CASE("jmp [ebx]", HERE, 0, STAYS, 0xff, 0x23),
    CASE("ret", HERE, 0, MOVES, 0xc3),
    CASE("ret 8", HERE, 0, MOVES, 0xc2, 8, 0),
    CASE("movsd", HERE, 0, STAYS, 0xa5),
    CASE("stosd", HERE, 0, STAYS, 0xab),
    CASE("lodsd", HERE, 0, STAYS, 0xad),
    CASE("scasd", HERE, 0, STAYS, 0xaf),
    CASE("cmpsd", HERE, 0, STAYS, 0xa7),
    CASE("rep movsd over page ends", HERE, 9, STAYS, 0xf3, 0xa5),
    CASE("rep stosd over a page end", HERE, 9, STAYS, 0xf3, 0xab),
    CASE("divide", HERE, 0, STAYS, 0x31, 0xd2, 0xf7, 0x33),
};
/* clang-format on */

/* Not in a fixture: cmocka puts handlers of its own in place between that and the test. */
static void take_faults(struct both *b)
{
    assert_int_equal(host_fault_enter(on_fault, b, NULL), 0);
}

static void all_cases(struct both *b)
{
    take_faults(b);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const struct fault_case *c = &cases[i];
        memset(b->faulted, 0, sizeof b->faulted);
        for (int off = c->how & MOVES ? -32 : 0x40; off <= (c->how & MOVES ? 32 : 0x40); off += 4)
            run_case(b, c, STACK + (uint32_t)off);
        if (c->how & SOME)
            continue;
        make_tb(b, AT, X86_MODE_FPU | X86_MODE_SSE | (b->way == FLAT_WAY ? X86_MODE_FLAT : 0));
        walk(b, c->what, -1);
    }
}

static void state_is_that_before(void **state)
{
    all_cases(*state);
}

/* FS is null: the load of its base faults, in front of all else. */
static void null_fs(void **state)
{
    struct both *b = *state;
    static const struct fault_case c = CASE("mov fs:[ebx], eax", 0x104, 0, STAYS, 0x64, 0x89, 0x03);
    struct x86_vcpu *v = b->r->v;
    struct dbt_where w;
    struct seen before;
    take_faults(b);
    fill_memory(v, &c);
    fill_memory(b->i->v, &c);
    b->end = AT + c.len;
    memcpy(b->bytes + AT, c.bytes, c.len);
    set_registers(v, &c, STACK);
    force_seg(v, X86_FS, 0);
    empty_views(b);
    see(v, &before);
    assert_true(x86_translator.prepare(&v->base, &w));
    make_tb(b, AT, w.mode);
    uint32_t at = commit(b);
    uint64_t exit = x86_enter(&v->base, b->cache.reserve + at, (uintptr_t)b->tables,
                              (uintptr_t)b->cache.reserve);
    assert_int_equal(exit >> 32, DBT_EXIT_FAULT);
    b->note.f.mark = *mark_of(b, b->note.at - at);
    b->note.f.pc = CODE_PAGE + AT;
    assert_int_equal(x86_translator.fault(&v->base, &b->note.f), DBT_INTERPRET);
    compare(b, c.what, &before, false);
    force_seg(v, X86_FS, DATA(0));
}

/* ---- rig ---------------------------------------------------------------------------------------
 */

static void set_up_processor(struct x86_vcpu *v)
{
    force_seg(v, X86_FS, DATA(0));
    v->cr4 |= CR4_OSFXSR;
    v->cr0 &= ~(CR0_EM | CR0_TS);
    x86_update_mode(v);
}

/* The same tables in the reference's memory. */
static void copy_tables(struct both *b)
{
    uint8_t page[PAGE_BYTES];
    for (uint32_t at = DIRECTORY(0); at < TABLES_END; at += (uint32_t)PAGE_BYTES) {
        assert_int_equal(phys_read(b->r->m->mem, at, page, sizeof page), 0);
        assert_int_equal(phys_write(b->i->mem, at, page, sizeof page), 0);
    }
    b->i->v->cr3 = b->r->v->cr3;
    b->i->v->cr4 = b->r->v->cr4;
    b->i->v->cr0 = b->r->v->cr0;
    x86_update_mode(b->i->v);
    x86_tlb_flush(b->i->v, false);
}

static int make(void **state, enum way way)
{
    struct both *b = test_calloc(1, sizeof *b);
    void *rig = NULL, *reference = NULL;
    enum dbt_view view = way == FLAT_WAY ? DBT_VIEW_FLAT : DBT_VIEW_WINDOW;
    if (rig_make_with(&rig, view) || machine_make(&reference))
        return -1;
    b->r = rig;
    b->i = reference;
    b->way = way;
    x86_shadow_free(b->r->s);
    struct dbt_options o = {.view = view};
    struct dbt_hooks h = {b->r, on_code_unmapped, on_space_dropped};
    b->r->v->gen = (struct x86_gen){.gs_current = b->r->v->gen.gs_current};
    if (x86_translator.attach(&b->r->v->base, &o, &h, NULL) ||
        cache_open(&b->cache, CACHE_MIN, x86_exit, NULL) || host_fault_enter(on_fault, b, NULL))
        return -1;
    b->tables = mmap(NULL, DBT_JUMP_TABLE_BYTES, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    set_up_processor(b->r->v);
    set_up_processor(b->i->v);
    for (uint32_t at = 0; at < 0x20000; at += PAGE_BYTES) /* descriptor tables */
        map(b->r, at, at | P | RW);
    set_page_tables(b, P | RW);
    copy_tables(b);
    *state = b;
    return b->tables == MAP_FAILED ? -1 : 0;
}
static int make_window(void **state)
{
    return make(state, WINDOW_WAY);
}
static int make_flat(void **state)
{
    return make(state, FLAT_WAY);
}
static int make_select(void **state)
{
    return make(state, SELECT_WAY);
}

static int unmake(void **state)
{
    struct both *b = *state;
    void *rig = b->r, *reference = b->i;
    host_fault_leave();
    munmap(b->tables, DBT_JUMP_TABLE_BYTES);
    cache_close(&b->cache);
    x86_translator.detach(&b->r->v->base);
    b->r->s = NULL;
    test_free(b);
    return rig_free(&rig) | machine_free(&reference);
}

int main(void)
{
    struct err e = {0};
    if (cache_probe(&e) || x86_translator.probe(&e)) {
        fprintf(stderr, "skipped: %s\n", e.text);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        {"faults in a window", state_is_that_before, make_window, unmake, NULL},
        {"faults in a flat view", state_is_that_before, make_flat, unmake, NULL},
        {"faults where the view is chosen", state_is_that_before, make_select, unmake, NULL},
        cmocka_unit_test_setup_teardown(null_fs, make_window, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
