/* SPDX-License-Identifier: MIT */
/* From bytes to struct x86_insn. Zydis knows the encodings (Intel SDM vol. 2); this file refines
 * mnemonics that name several instructions, finds the row, picks the handler for the operand form
 * and compacts the operands. Whatever has no row is an undefined opcode: newer instruction sets
 * are left out simply by having no rows. */
#include "isa/x86/insn.h"

#include <errno.h>
#include <stdlib.h>

struct x86_decoder {
    ZydisDecoder by_size[2]; /* 16-bit and 32-bit code */
    const struct x86_op *rows[X86_MN_END];
};

static const struct x86_op *const subjects[] = {
    x86_ops_alu,     x86_ops_data, x86_ops_control, x86_ops_string, x86_ops_system,
    x86_ops_segment, x86_ops_far,  x86_ops_x87,     x86_ops_mmx,    x86_ops_sse,
};

/* Encodings that a P6 reads differently from newer processors (LZCNT is BSR, and so on). */
static const ZydisDecoderMode modes_off[] = {
    ZYDIS_DECODER_MODE_LZCNT, ZYDIS_DECODER_MODE_TZCNT,        ZYDIS_DECODER_MODE_MPX,
    ZYDIS_DECODER_MODE_CET,   ZYDIS_DECODER_MODE_WBNOINVD,     ZYDIS_DECODER_MODE_CLDEMOTE,
    ZYDIS_DECODER_MODE_KNC,   ZYDIS_DECODER_MODE_AMD_BRANCHES,
};

struct x86_decoder *x86_decoder_new(struct err *e)
{
    struct x86_decoder *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(e, ENOMEM, "out-of-memory", "no memory for the instruction decoder");
        return NULL;
    }
    ZydisDecoderInit(&d->by_size[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&d->by_size[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    for (unsigned i = 0; i < ARRAY_LEN(d->by_size); i++)
        for (unsigned m = 0; m < ARRAY_LEN(modes_off); m++)
            ZydisDecoderEnableMode(&d->by_size[i], modes_off[m], ZYAN_FALSE);
    for (unsigned s = 0; s < ARRAY_LEN(subjects); s++)
        for (const struct x86_op *op = subjects[s]; op->mnemonic; op++) {
            if (d->rows[op->mnemonic])
                BUG("two rows for %s", ZydisMnemonicGetString(op->mnemonic));
            d->rows[op->mnemonic] = op;
        }
    return d;
}

void x86_decoder_free(struct x86_decoder *d)
{
    free(d);
}

const struct x86_op *x86_op_row(const struct x86_decoder *d, unsigned mnemonic)
{
    return mnemonic < X86_MN_END ? d->rows[mnemonic] : NULL;
}

/* ---- handlers decode itself hands out -------------------------------------------------------- */

void x86_undefined(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_raise(v, X86_UD);
}
static void too_long(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_raise_error(v, X86_GP, 0);
}

static x86_handler pick(const struct x86_op *op, enum x86_form form, unsigned size_log2)
{
    x86_handler fn = op->forms ? op->forms[form * 3 + size_log2] : NULL;
    return fn ? fn : op->any ? op->any : x86_undefined;
}

/* In front of instructions that only some modes or privilege levels may execute. */
static void guarded(struct x86_vcpu *v, const struct x86_insn *in)
{
    const struct x86_op *op = x86_op_row(v->decoder, in->mnemonic);
    if ((op->class & X86_PROT_ONLY) && x86_real_or_v86(v))
        x86_raise(v, X86_UD);
    if ((op->class & X86_CPL0) && v->cpl != 0)
        x86_raise_error(v, X86_GP, 0);
    op->any(v, in);
}

/* ---- operands --------------------------------------------------------------------------- */

static uint8_t gpr_index(ZydisRegister r)
{
    return r == ZYDIS_REGISTER_NONE ? X86_GPR_ZERO : (uint8_t)ZydisRegisterGetId(r);
}

/* Byte offset of a general register in gpr[], or the plain number of any other register. */
static uint8_t reg_operand(ZydisRegister r)
{
    uint8_t id = (uint8_t)ZydisRegisterGetId(r);
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8: /* al cl dl bl ah ch dh bh */
        return id < 4 ? (uint8_t)(id * 8) : (uint8_t)((id - 4) * 8 + 1);
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
        return (uint8_t)(id * 8);
    default:
        return id;
    }
}

static uint8_t seg_operand(ZydisRegister r)
{
    return (uint8_t)(r - ZYDIS_REGISTER_ES); /* Zydis has the hardware's order too */
}

static void memory_operand(struct x86_insn *in, const ZydisDecodedOperand *o)
{
    static const uint8_t log2_scale[] = {[0] = 0, [1] = 0, [2] = 1, [4] = 2, [8] = 3};
    in->has_mem = true;
    in->base = gpr_index(o->mem.base);
    in->index = gpr_index(o->mem.index);
    in->shift = log2_scale[o->mem.scale];
    in->disp = (uint32_t)o->mem.disp.value;
    in->seg = seg_operand(o->mem.segment);
}

/* Fill operands and return the form of the first two. */
static enum x86_form operands(struct x86_insn *in, const ZydisDecodedOperand *ops, unsigned n)
{
    char kinds[3] = {0};
    for (unsigned i = 0; i < n; i++) {
        const ZydisDecodedOperand *o = &ops[i];
        char kind = 0;
        switch (o->type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            kind = 'R';
            if (i == 0)
                in->r0 = reg_operand(o->reg.value);
            else if (i == 1)
                in->r1 = reg_operand(o->reg.value);
            break;
        case ZYDIS_OPERAND_TYPE_MEMORY:
            kind = 'M';
            memory_operand(in, o);
            break;
        case ZYDIS_OPERAND_TYPE_POINTER:
            kind = 'I';
            in->imm = o->ptr.offset;
            in->imm2 = o->ptr.segment;
            break;
        default:
            kind = 'I';
            if (in->mnemonic == ZYDIS_MNEMONIC_ENTER && i == 1)
                in->imm2 = (uint16_t)o->imm.value.u;
            else
                in->imm = (uint32_t)o->imm.value.u;
        }
        if (i < 2)
            kinds[i] = kind;
    }
    if (kinds[0] == 'R')
        return kinds[1] == 'R'   ? X86_FORM_RR
               : kinds[1] == 'M' ? X86_FORM_RM
               : kinds[1] == 'I' ? X86_FORM_RI
                                 : X86_FORM_R;
    if (kinds[0] == 'M')
        return kinds[1] == 'R' ? X86_FORM_MR : kinds[1] == 'I' ? X86_FORM_MI : X86_FORM_M;
    return X86_FORM_I;
}

static bool is_reg_class(const ZydisDecodedOperand *o, ZydisRegisterClass c)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(o->reg.value) == c;
}

/* One mnemonic, several instructions: see enum x86_mnemonic. */
static unsigned refine(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        for (unsigned i = 0; i < 2; i++) {
            if (is_reg_class(&ops[i], ZYDIS_REGCLASS_SEGMENT))
                return X86_MN_MOV_SEG;
            if (is_reg_class(&ops[i], ZYDIS_REGCLASS_CONTROL))
                return X86_MN_MOV_CR;
            if (is_reg_class(&ops[i], ZYDIS_REGCLASS_DEBUG))
                return X86_MN_MOV_DR;
        }
        return z->mnemonic;
    case ZYDIS_MNEMONIC_PUSH:
        return is_reg_class(&ops[0], ZYDIS_REGCLASS_SEGMENT) ? X86_MN_PUSH_SEG : z->mnemonic;
    case ZYDIS_MNEMONIC_POP:
        return is_reg_class(&ops[0], ZYDIS_REGCLASS_SEGMENT) ? X86_MN_POP_SEG : z->mnemonic;
    case ZYDIS_MNEMONIC_JMP:
        return z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? X86_MN_JMP_FAR : z->mnemonic;
    case ZYDIS_MNEMONIC_CALL:
        return z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? X86_MN_CALL_FAR : z->mnemonic;
    case ZYDIS_MNEMONIC_RET:
        return z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? X86_MN_RET_FAR : z->mnemonic;
    case ZYDIS_MNEMONIC_MOVSD:
        return z->opcode_map == ZYDIS_OPCODE_MAP_0F ? X86_MN_MOVSD_SSE : z->mnemonic;
    case ZYDIS_MNEMONIC_CMPSD:
        return z->opcode_map == ZYDIS_OPCODE_MAP_0F ? X86_MN_CMPSD_SSE : z->mnemonic;
    default:
        return z->mnemonic;
    }
}

static void prefixes(struct x86_insn *in, const ZydisDecodedInstruction *z)
{
    in->seg = X86_DS;
    in->prefix = z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? 0 : X86_PFX_0F;
    for (unsigned i = 0; i < z->raw.prefix_count; i++)
        switch (z->raw.prefixes[i].value) {
        case 0x26:
            in->seg = X86_ES;
            break;
        case 0x2e:
            in->seg = X86_CS;
            break;
        case 0x36:
            in->seg = X86_SS;
            break;
        case 0x3e:
            in->seg = X86_DS;
            break;
        case 0x64:
            in->seg = X86_FS;
            break;
        case 0x65:
            in->seg = X86_GS;
            break;
        case 0x66:
            in->prefix |= X86_PFX_OPSIZE;
            break;
        case 0x67:
            in->prefix |= X86_PFX_ADDRSIZE;
            break;
        case 0xf0:
            in->prefix |= X86_PFX_LOCK;
            break;
        case 0xf2:
            in->prefix = (uint8_t)((in->prefix & ~X86_PFX_REP) | X86_PFX_REPNE);
            break;
        case 0xf3:
            in->prefix = (uint8_t)((in->prefix & ~X86_PFX_REPNE) | X86_PFX_REP);
            break;
        }
}

static bool refused(ZyanStatus s, struct x86_insn *in)
{
    if (s == ZYDIS_STATUS_NO_MORE_DATA)
        return false;
    in->fn = s == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? too_long : x86_undefined;
    in->len = 1; /* never used to advance: both handlers raise */
    return true;
}

/* What Zydis says of an instruction. */
struct decoded {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT_VISIBLE]; /* z.operand_count_visible */
    ZyanStatus status;                                        /* failed: the rest is not valid */
};

static inline bool decode(const struct x86_decoder *d, const uint8_t *bytes, unsigned n,
                          unsigned code_size, struct x86_insn *in, struct decoded *o)
{
    ZydisDecoderContext context;
    const ZydisDecoder *dec = &d->by_size[code_size == 4];
    const ZydisDecodedInstruction *z = &o->z;
    const ZydisDecodedOperand *ops = o->ops;

    *in = (struct x86_insn){.base = X86_GPR_ZERO, .index = X86_GPR_ZERO};
    o->status = ZydisDecoderDecodeInstruction(dec, &context, bytes, n, &o->z);
    if (!ZYAN_SUCCESS(o->status))
        return refused(o->status, in);
    unsigned count = z->operand_count_visible;
    ZydisDecoderDecodeOperands(dec, &context, z, o->ops, (ZyanU8)count);

    in->mnemonic = (uint16_t)refine(z, ops);
    in->len = z->length;
    in->opsize = (uint8_t)(z->operand_width / 8);
    in->asize = (uint8_t)(z->address_width / 8);
    in->opcode = z->opcode;
    in->modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM
                    ? (uint8_t)(z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm)
                    : 0;
    prefixes(in, z);
    enum x86_form form = operands(in, ops, count);
    if (count > 0 && is_reg_class(&ops[0], ZYDIS_REGCLASS_SEGMENT))
        in->r0 = seg_operand(ops[0].reg.value);
    if (count > 1 && is_reg_class(&ops[1], ZYDIS_REGCLASS_SEGMENT))
        in->r1 = seg_operand(ops[1].reg.value);

    const struct x86_op *op = d->rows[in->mnemonic];
    unsigned log2 = in->opsize == 1 ? 0 : in->opsize == 2 ? 1 : 2;
    /* SSE4.1 has a second PEXTRW in the map 0F 3A. */
    if (!op || z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
        z->opcode_map > ZYDIS_OPCODE_MAP_0F)
        in->fn = x86_undefined;
    else if (op->class & (X86_CPL0 | X86_PROT_ONLY))
        in->fn = guarded;
    else
        in->fn = pick(op, form, log2);
    return true;
}

bool x86_decode(const struct x86_decoder *d, const uint8_t *bytes, unsigned n, unsigned code_size,
                struct x86_insn *in)
{
    struct decoded o;
    return decode(d, bytes, n, code_size, in, &o);
}

/* ---- layout --------------------------------------------------------------------------------- */

static void layout_register(struct x86_layout *l, const ZydisDecodedOperand *o)
{
    switch (ZydisRegisterGetClass(o->reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
        l->byte_reg = true;
        l->high_byte |= ZydisRegisterGetId(o->reg.value) >= 4;
        break;
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
        l->reg_is_gpr |= o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG;
        l->rm_is_gpr |= o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM;
        l->opcode_reg_is_gpr |= o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE;
        break;
    default:
        break;
    }
}

static void layout_memory(struct x86_layout *l, const ZydisDecodedOperand *o)
{
    if (o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
        return;
    l->mem_read = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    l->mem_write = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    l->mem_bytes = o->size / 8;
}

/* Whether the operand size decides anything: not in x87, MMX and SSE, nor in what has a modrm and
 * yet no 16-bit operand (fences, CMPXCHG8B), where 66 may even name another instruction. */
static bool sized(const struct x86_decoder *d, const struct x86_insn *in, const struct decoded *o)
{
    const struct x86_op *op = d->rows[in->mnemonic];
    if (op && (op->class & (X86_FPU | X86_MMX | X86_SSE)))
        return false;
    bool word = !(o->z.attributes & ZYDIS_ATTRIB_HAS_MODRM);
    for (unsigned i = 0; i < o->z.operand_count_visible; i++)
        word |= o->ops[i].type != ZYDIS_OPERAND_TYPE_IMMEDIATE && o->ops[i].size == 16;
    return word;
}

static uint8_t mandatory_prefix(const ZydisDecodedInstruction *z)
{
    uint8_t found = 0;
    if (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
        return 0; /* a string instruction's */
    for (unsigned i = 0; i < z->raw.prefix_count; i++)
        if (z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            found = z->raw.prefixes[i].value;
    return found;
}

bool x86_decode_layout(const struct x86_decoder *d, const uint8_t *bytes, unsigned n,
                       unsigned code_size, struct x86_insn *in, struct x86_layout *l)
{
    struct decoded o;
    bool complete = decode(d, bytes, n, code_size, in, &o);
    const ZydisDecodedInstruction *z = &o.z;
    *l = (struct x86_layout){0};
    if (!ZYAN_SUCCESS(o.status) || z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return complete;
    l->opcode_at = z->raw.prefix_count;
    l->opcode_len = z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? 1
                    : z->opcode_map == ZYDIS_OPCODE_MAP_0F    ? 2
                                                              : 3;
    l->mandatory = mandatory_prefix(z);
    l->opsize_66 = in->opsize == 2 && sized(d, in, &o);
    l->has_modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM;
    l->imm_len = (uint8_t)((z->raw.imm[0].size + z->raw.imm[1].size) / 8);
    l->imm_at = l->imm_len ? z->raw.imm[0].offset : 0;
    for (unsigned i = 0; i < z->operand_count_visible; i++)
        if (o.ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
            layout_register(l, &o.ops[i]);
        else if (o.ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            layout_memory(l, &o.ops[i]);
    return complete;
}
