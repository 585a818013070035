/* SPDX-License-Identifier: MIT */
/* The x86 translator's main loop, and the instructions that are copied.
 *
 * A translation is a straight run of guest code, past conditional jumps and calls, up to an
 * unconditional jump, the end of the page, an instruction that has code already, or one that is
 * declined. Each instruction start is a mark; where registers are exact there, it is an entry, so
 * that backward jumps lead into the middle of existing code. */
#include "isa/x86/translate.h"

#include "isa/x86/mmu.h"

/* ---- small services ------------------------------------------------------------------------- */

static uint16_t here(const struct x86_tr *tr)
{
    return (uint16_t)(tr->e.at - tr->tb->code);
}

void x86_tr_fix(struct x86_tr *tr, unsigned fix)
{
    tr->tb->mark[tr->tb->marks - 1].fix = (uint8_t)fix;
}

void x86_tr_flush_esp(struct x86_tr *tr)
{
    if (tr->esp)
        x64_lea32(&tr->e, X64_R12, x64_at(X64_R12, tr->esp));
    tr->esp = 0;
}

void x86_tr_count(struct x86_tr *tr)
{
    if (!tr->t->options.count || !tr->uncounted)
        return;
    tr->uncounted = 0;
    x64_load64(&tr->e, X64_R9, X86_STATE(retired));
    x64_lea64(&tr->e, X64_R9, x64_at(X64_R9, 1));
    x64_store64(&tr->e, X86_STATE(retired), X64_R9);
}

void x86_tr_exit(struct x86_tr *tr, enum dbt_exit kind)
{
    struct tb *tb = tr->tb;
    uint8_t *at = x64_jmp(&tr->e);
    tb->tramp[tb->tramps++] = (struct tb_tramp){(uint16_t)(at - tb->code), (uint8_t)kind};
}

bool x86_tr_may_call(const struct x86_tr *tr)
{
    return !tr->t->options.trap && !tr->t->options.count && !tr->after_sti;
}

void x86_tr_callout(struct x86_tr *tr, unsigned number)
{
    x64_mov32_imm(&tr->e, X64_R8, tr->pc);
    x64_mov32_imm(&tr->e, X64_R9, tr->in.mnemonic | number << 16 | (uint32_t)tr->in.len << 24);
    x64_op_mem(&tr->e, X64_OP(0xff), 2, X86_STATE(gen.callout));
}

/* shadow_until = retired: the interpreter takes no interrupt before the next instruction. */
void x86_tr_set_shadow(struct x86_tr *tr)
{
    x64_load64(&tr->e, X64_R9, X86_STATE(retired));
    x64_store64(&tr->e, X86_STATE(shadow_until), X64_R9);
    x64_op_mem(&tr->e, X64_OP(0xc6), 0, X86_STATE(shadow_debug));
    x64_u8(&tr->e, 0);
}

void x86_tr_decline(struct x86_tr *tr)
{
    tr->uncounted = 0; /* the interpreter counts it */
    tr->done = true;
    x86_tr_flush_esp(tr);
    if (tr->after_sti)
        x86_tr_set_shadow(tr);
    x64_mov32_imm(&tr->e, X64_R8, tr->pc);
    x64_mov32_imm(&tr->e, X64_R9, tr->in.mnemonic | (tr->policy == TB_CALLOUT ? DBT_CALLOUT : 0));
    x86_tr_exit(tr, DBT_EXIT_EMULATE);
}

/* ---- copied instructions -------------------------------------------------------------------- */

struct x64_op x86_tr_op(const struct x86_tr *tr)
{
    const struct x86_insn *in = &tr->in;
    struct x64_op op = {.len = tr->l.opcode_len, .lock = in->prefix & X86_PFX_LOCK};
    memcpy(op.opcode, tr->raw + tr->l.opcode_at, op.len);
    if (op.len == 1 && op.opcode[0] == 0x82) /* an alias of 80 that 64-bit code lacks */
        op.opcode[0] = 0x80;
    const struct x86_op *row = x86_op_row(tr->v->decoder, in->mnemonic);
    if (tr->l.mandatory == 0x66)
        op.opsize16 = true;
    else if (tr->l.mandatory)
        op.mandatory = tr->l.mandatory;
    else if (!(row->class & (X86_FPU | X86_MMX | X86_SSE)))
        op.opsize16 = in->prefix & X86_PFX_OPSIZE;
    return op;
}

static void immediate(struct x86_tr *tr)
{
    x64_bytes(&tr->e, tr->raw + tr->l.imm_at, tr->l.imm_len);
}

/* inc and dec of 40 to 4F are REX prefixes in 64-bit code: FF /0 and /1 are the same. */
static void one_byte_inc_dec(struct x86_tr *tr, struct x64_op op)
{
    unsigned opcode = op.opcode[0];
    op.opcode[0] = 0xff;
    x64_op_reg(&tr->e, op, opcode >> 3 & 1, x86_host_reg(opcode & 7));
}

static void copy_register_form(struct x86_tr *tr)
{
    struct x64_op op = x86_tr_op(tr);
    if (op.len == 1 && (op.opcode[0] & 0xf0) == 0x40) {
        one_byte_inc_dec(tr, op);
    } else if (tr->l.has_modrm) {
        unsigned reg = tr->in.modrm >> 3 & 7, rm = tr->in.modrm & 7;
        reg = tr->l.reg_is_gpr ? x86_host_reg(reg) : reg;
        rm = tr->l.rm_is_gpr ? x86_host_reg(rm) : rm;
        if (tr->l.high_byte && (reg >= 8 || rm >= 8)) {
            x86_tr_decline(tr);
            return;
        }
        x64_op_reg(&tr->e, op, reg, rm);
    } else {
        unsigned reg = op.opcode[op.len - 1] & 7;
        op.opcode[op.len - 1] &= 0xf8;
        x64_op_short(&tr->e, op, tr->l.opcode_reg_is_gpr ? x86_host_reg(reg) : reg);
    }
    immediate(tr);
}

/* With a REX prefix ah, ch, dh and bh cannot be named: lend the address a low register. Byte
 * operands cannot straddle and FS and GS are declined, so nothing faults before esi has been put
 * aside. */
static void copy_with_high_byte(struct x86_tr *tr, struct x64_op op, struct x64_mem m)
{
    struct x64_mem low = {.base = X64_RSI, .index = X64_NONE, .gs = m.gs, .addr32 = m.addr32};
    x64_mov64(&tr->e, X64_R10, X64_RSI);
    m.gs = false;
    if (m.addr32)
        x64_lea32(&tr->e, X64_RSI, (m.addr32 = false, m));
    else
        x64_lea64(&tr->e, X64_RSI, m);
    x86_tr_fix(tr, X86_FIX_ESI);
    x64_op_mem(&tr->e, op, tr->in.modrm >> 3 & 7, low);
    immediate(tr);
    x64_mov64(&tr->e, X64_RSI, X64_R10);
}

static void copy_memory_form(struct x86_tr *tr)
{
    struct x64_mem m;
    unsigned reg = tr->in.modrm >> 3 & 7;
    reg = tr->l.reg_is_gpr ? x86_host_reg(reg) : reg;
    bool faults_early = tr->l.high_byte && (tr->in.seg == X86_FS || tr->in.seg == X86_GS);
    if (!tr->l.mem_bytes || faults_early || !x86_tr_mem(tr, tr->l.mem_bytes, tr->l.mem_write, &m)) {
        x86_tr_decline(tr);
        return;
    }
    if (tr->l.high_byte && x64_mem_needs_rex(&m)) {
        copy_with_high_byte(tr, x86_tr_op(tr), m);
        return;
    }
    x64_op_mem(&tr->e, x86_tr_op(tr), reg, m);
    immediate(tr);
}

void x86_tr_copy(struct x86_tr *tr)
{
    tr->copied = true;
    if (tr->in.has_mem)
        copy_memory_form(tr);
    else
        copy_register_form(tr);
}

/* May it run at all in this mode? If not the interpreter raises what is due. The rows of MMX
 * instructions are also those of their XMM forms, which have a prefix. */
static bool enabled(const struct x86_tr *tr, const struct x86_op *row)
{
    bool xmm = row->class & X86_SSE || (row->class & X86_MMX && tr->l.mandatory);
    unsigned need = (row->class & (X86_FPU | X86_MMX) ? X86_MODE_FPU : 0) |
                    (xmm ? X86_MODE_FPU | X86_MODE_SSE : 0);
    return (tr->tb->mode & need) == need;
}

static void translate_one(struct x86_tr *tr)
{
    const struct x86_op *row = x86_op_row(tr->v->decoder, tr->in.mnemonic);
    x86_special special = tr->in.mnemonic < X86_MN_END ? tr->t->special[tr->in.mnemonic] : NULL;
    if (tr->in.fn == x86_undefined || !row || tr->policy == TB_CALLOUT)
        x86_tr_decline(tr);
    else if (special)
        special(tr);
    else if (!(row->class & X86_COPY) || !enabled(tr, row))
        x86_tr_decline(tr);
    else
        x86_tr_copy(tr);
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* Decode at `offset`. False: the instruction goes on in the next page. */
static bool decode(struct x86_tr *tr, unsigned offset)
{
    const struct tb *tb = tr->tb;
    uint8_t both[2 * 16];
    const uint8_t *bytes = tb->bytes + offset;
    unsigned room = (unsigned)PAGE_BYTES - offset, n = room < 15 ? room : 15;
    if (tb->straddle) {
        memcpy(both, bytes, n);
        memcpy(both + n, tb->next, 15 - n);
        bytes = both;
        n = 15;
    }
    tr->pc = tb->page + offset;
    if (!x86_decode_layout(tr->v->decoder, bytes, n, 4, &tr->in, &tr->l))
        return false;
    if (tb->straddle) {
        memcpy(tr->straddled, both, sizeof tr->straddled);
        bytes = tr->straddled;
    }
    tr->raw = bytes;
    tr->next = tr->pc + tr->in.len;
    return true;
}

static void begin_instruction(struct x86_tr *tr, unsigned offset)
{
    struct tb *tb = tr->tb;
    bool exact = tr->esp == 0 && !tr->after_sti;
    tb->mark[tb->marks++] = (struct tb_mark){
        .host = here(tr),
        .guest = (uint16_t)offset,
        .entry = exact,
        .fix = tr->esp ? X86_FIX_ESP : TB_FIX_NONE,
        .fix_arg = tr->esp,
    };
    tr->policy = tb->straddle ? TB_PLAIN : tb->policy(tb->opaque, (uint16_t)offset);
    tr->uncounted = 1;
    tr->copied = false;
}

static bool room_left(const struct x86_tr *tr)
{
    const struct tb *tb = tr->tb;
    return tb->marks < tb->max_insns && here(tr) + TB_INSN_CODE + tr->tails * 48u < TB_MAX_CODE;
}

/* For statistics: did the instruction whose code began at `at` stay what it was? */
static void count_copied(struct x86_tr *tr, uint16_t at)
{
    struct tb *tb = tr->tb;
    if (!tr->copied || tr->done)
        return;
    tb->copied++;
    if (here(tr) - at == tr->in.len && memcmp(tb->code + at, tr->raw, tr->in.len) == 0)
        tb->identical++;
}

/* One instruction; returns the offset behind it. */
static unsigned instruction(struct x86_tr *tr, unsigned offset)
{
    bool shadowed = tr->after_sti;
    if (!x86_tr_merges(tr))
        x86_tr_flush_esp(tr);
    begin_instruction(tr, offset);
    uint16_t at = here(tr);
    translate_one(tr);
    count_copied(tr, at);
    if (!tr->done)
        x86_tr_count(tr);
    if (shadowed)
        tr->after_sti = false;
    return offset + tr->in.len;
}

static void page_ends(struct x86_tr *tr, unsigned offset)
{
    struct tb *tb = tr->tb;
    x86_tr_flush_esp(tr);
    begin_instruction(tr, offset);
    tb->end = PAGE_BYTES;
    if (!tr->after_sti && tb->may_straddle(tb->opaque, (uint16_t)offset)) {
        x86_tr_straddle(tr);
    } else {
        tr->in.mnemonic = 0;
        x86_tr_decline(tr);
    }
    tr->done = true;
}

/* sti was the last instruction of the page: the interpreter takes the next one, before which an
 * interrupt would come too early (sti; hlt would sleep through it). */
static void leave_shadowed(struct x86_tr *tr, uint32_t pc)
{
    x86_tr_set_shadow(tr);
    x64_mov32_imm(&tr->e, X64_R8, pc);
    x86_tr_exit(tr, DBT_EXIT_MISS);
}

static void run_of_code(struct x86_tr *tr)
{
    struct tb *tb = tr->tb;
    unsigned offset = tb->start;
    do {
        if (offset >= PAGE_BYTES && tr->after_sti) {
            leave_shadowed(tr, tb->page + offset);
            break;
        }
        if (offset >= PAGE_BYTES ||
            (tb->marks && tb->translated(tb->opaque, (uint16_t)offset) && !tr->after_sti)) {
            x86_tr_flush_esp(tr);
            x86_tr_jump(tr, tb->page + offset);
            break;
        }
        if (!decode(tr, offset)) {
            page_ends(tr, offset);
            return;
        }
        offset = instruction(tr, offset);
        if (!tr->done && !room_left(tr) && !tr->after_sti) {
            x86_tr_flush_esp(tr);
            x86_tr_jump(tr, tb->page + offset);
            break;
        }
    } while (!tr->done);
    tb->end = (uint16_t)offset;
}

/* The one instruction that lies in two pages. */
static void straddling(struct x86_tr *tr)
{
    struct tb *tb = tr->tb;
    if (!decode(tr, tb->start)) { /* 15 bytes always decode to something */
        tr->in = (struct x86_insn){.fn = x86_undefined, .len = 1};
        tr->next = tr->pc + 1;
    }
    instruction(tr, tb->start);
    x86_tr_flush_esp(tr);
    if (!tr->done && tr->after_sti) /* one with prefixes */
        leave_shadowed(tr, tr->next);
    else if (!tr->done)
        x86_tr_jump(tr, tr->next);
    tb->end = PAGE_BYTES;
    unsigned end = tb->start + tr->in.len;
    tb->next_end = end > PAGE_BYTES ? (uint16_t)(end - PAGE_BYTES) : 1;
}

void x86_translate(struct vcpu *base, struct tb *tb)
{
    struct x86_vcpu *v = x86_of(base);
    struct x86_tr tr = {.v = v, .t = v->gen.translator, .tb = tb, .e = {tb->code}};
    tb->marks = tb->links = tb->tramps = 0;
    tb->copied = tb->identical = tb->next_end = 0;
    if (tb->straddle)
        straddling(&tr);
    else
        run_of_code(&tr);
    x86_tr_tails(&tr);
    tb->code_len = here(&tr);
}
