/* SPDX-License-Identifier: MIT */
/* --dbt check: is all generated code innocuous?
 *
 * Not a list of what is forbidden, which new processors would make incomplete, but one of what may
 * be there: the instructions whose rows say X86_COPY, with their legacy encodings, and those that
 * the translator itself writes, in the forms it writes them. Segment, control and debug registers
 * are never operands, and the registers that keep the monitor apart from the guest (rsp, r11, r13
 * to r15) are never written. Where memory operands may point is not checked here but with the
 * golden files (tests/golden). */
#include "isa/x86/translate.h"

static bool is_copied(unsigned mnemonic)
{
    static const struct x86_op *const subjects[] = {x86_ops_alu, x86_ops_data, x86_ops_control,
                                                    x86_ops_x87, x86_ops_mmx,  x86_ops_sse};
    for (unsigned s = 0; s < ARRAY_LEN(subjects); s++)
        for (const struct x86_op *op = subjects[s]; op->mnemonic; op++)
            if (op->mnemonic == mnemonic)
                return op->class & X86_COPY;
    return false;
}

/* jmp and jcc to a constant, jmp r9: never through memory, never far. */
static bool jump_ok(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
    if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_SHORT &&
        z->meta.branch_type != ZYDIS_BRANCH_TYPE_NEAR)
        return false;
    return (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && o->imm.is_relative) ||
           (z->mnemonic == ZYDIS_MNEMONIC_JMP && o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
            o->reg.value == ZYDIS_REGISTER_R9);
}

/* call [r13 + gen.callout] */
static bool call_ok(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
    return z->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR && o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
           o->mem.base == ZYDIS_REGISTER_R13 && o->mem.index == ZYDIS_REGISTER_NONE &&
           o->mem.disp.value == offsetof(struct x86_vcpu, gen.callout);
}

static bool glue_ok(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_CALL:
        return call_ok(z, o);
    case ZYDIS_MNEMONIC_POP: /* behind pushfq */
        return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value == ZYDIS_REGISTER_R10;
    case ZYDIS_MNEMONIC_PUSHFQ:
    case ZYDIS_MNEMONIC_CLD:
    case ZYDIS_MNEMONIC_STD:
    case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD: /* the SSE instructions of these names are copied, too */
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
        return true;
    default:
        return z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && jump_ok(z, o);
    }
}

/* A jump to 16 bits of rip on some processors: 66 means nothing else on a branch. */
static bool is_cut(const ZydisDecodedInstruction *z)
{
    return z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
           z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
}

static bool register_ok(const ZydisDecodedOperand *o)
{
    switch (ZydisRegisterGetClass(o->reg.value)) {
    case ZYDIS_REGCLASS_SEGMENT:
    case ZYDIS_REGCLASS_CONTROL:
    case ZYDIS_REGCLASS_DEBUG:
    case ZYDIS_REGCLASS_TEST:
        return false;
    default:
        break;
    }
    if (!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
        return true;
    switch (ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value)) {
    case ZYDIS_REGISTER_RSP:
    case ZYDIS_REGISTER_R11:
    case ZYDIS_REGISTER_R13:
    case ZYDIS_REGISTER_R14:
    case ZYDIS_REGISTER_R15:
        return false;
    default:
        return true;
    }
}

static bool innocuous(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
    bool known = z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY
                     ? (is_copied(z->mnemonic) || glue_ok(z, o)) && !is_cut(z)
                     : z->mnemonic == ZYDIS_MNEMONIC_SHRX;
    for (unsigned i = 0; known && i < z->operand_count_visible; i++)
        known = o[i].type != ZYDIS_OPERAND_TYPE_REGISTER || register_ok(&o[i]);
    return known;
}

int64_t x86_find_sensitive(const uint8_t *code, uint64_t len)
{
    ZydisDecoder d;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (uint64_t at = 0; at < len; at += z.length)
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, code + at, len - at, &z, o)) ||
            !innocuous(&z, o))
            return (int64_t)at;
    return -1;
}
