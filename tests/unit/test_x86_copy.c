/* SPDX-License-Identifier: MIT */
/* X86_COPY: a row that has it may be copied into 64-bit code. The sweep goes through all opcodes,
 * prefixes and addressing forms, writes each instruction of such a row down anew as a translator
 * would, and asks Zydis whether 64-bit mode reads the same instruction. */
#include "unit.h"

#include "isa/x86/insn.h"

static struct x86_decoder *decoder;
static ZydisDecoder guest, host;

static int set_up(void **state)
{
    decoder = x86_decoder_new(NULL);
    ZydisDecoderInit(&guest, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    /* As the processor with every extension would: TZCNT, MPX, CET are the host's. */
    ZydisDecoderInit(&host, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return decoder ? 0 : -1;
}

static int tear_down(void **state)
{
    x86_decoder_free(decoder);
    return 0;
}

static void copied_rows_are_innocuous(void **state)
{
    const unsigned never = X86_PRIVILEGED | X86_CONTROL_SENSITIVE | X86_BEHAVIOUR_SENSITIVE |
                           X86_CPL0 | X86_PROT_ONLY | X86_BRANCH;
    unsigned copied = 0;
    for (unsigned m = 0; m < X86_MN_END; m++) {
        const struct x86_op *op = x86_op_row(decoder, m);
        if (!op || !(op->class & X86_COPY))
            continue;
        copied++;
        if (op->class & never)
            fail_msg("mnemonic %s has class %#x", ZydisMnemonicGetString(m), op->class);
    }
    assert_in_range(copied, 300, 500);
}

static void some_rows_are_never_copied(void **state)
{
    static const uint16_t never[] = {
        ZYDIS_MNEMONIC_PUSH,    ZYDIS_MNEMONIC_POP,     ZYDIS_MNEMONIC_PUSHAD,
        ZYDIS_MNEMONIC_POPAD,   ZYDIS_MNEMONIC_ENTER,   ZYDIS_MNEMONIC_LEAVE,
        ZYDIS_MNEMONIC_CLD,     ZYDIS_MNEMONIC_STD,     ZYDIS_MNEMONIC_CLI,
        ZYDIS_MNEMONIC_STI,     ZYDIS_MNEMONIC_PUSHFD,  ZYDIS_MNEMONIC_POPFD,
        ZYDIS_MNEMONIC_CALL,    ZYDIS_MNEMONIC_RET,     ZYDIS_MNEMONIC_JMP,
        ZYDIS_MNEMONIC_JZ,      ZYDIS_MNEMONIC_LOOP,    ZYDIS_MNEMONIC_BOUND,
        ZYDIS_MNEMONIC_MOVSB,   ZYDIS_MNEMONIC_MOVSD,   ZYDIS_MNEMONIC_CMPSD,
        ZYDIS_MNEMONIC_STOSD,   ZYDIS_MNEMONIC_SCASB,   ZYDIS_MNEMONIC_IN,
        ZYDIS_MNEMONIC_OUT,     ZYDIS_MNEMONIC_INSB,    ZYDIS_MNEMONIC_OUTSB,
        ZYDIS_MNEMONIC_DAA,     ZYDIS_MNEMONIC_DAS,     ZYDIS_MNEMONIC_AAA,
        ZYDIS_MNEMONIC_AAS,     ZYDIS_MNEMONIC_AAM,     ZYDIS_MNEMONIC_AAD,
        ZYDIS_MNEMONIC_SALC,    ZYDIS_MNEMONIC_ARPL,    ZYDIS_MNEMONIC_LES,
        ZYDIS_MNEMONIC_INT,     ZYDIS_MNEMONIC_INTO,    ZYDIS_MNEMONIC_IRETD,
        ZYDIS_MNEMONIC_HLT,     ZYDIS_MNEMONIC_CPUID,   ZYDIS_MNEMONIC_RDTSC,
        ZYDIS_MNEMONIC_SGDT,    ZYDIS_MNEMONIC_SMSW,    ZYDIS_MNEMONIC_LAR,
        ZYDIS_MNEMONIC_VERR,    ZYDIS_MNEMONIC_SLDT,    ZYDIS_MNEMONIC_STR,
        ZYDIS_MNEMONIC_FNSAVE,  ZYDIS_MNEMONIC_FRSTOR,  ZYDIS_MNEMONIC_FNSTENV,
        ZYDIS_MNEMONIC_FLDENV,  ZYDIS_MNEMONIC_FNINIT,  ZYDIS_MNEMONIC_MASKMOVQ,
        ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_FXSAVE,  ZYDIS_MNEMONIC_FXRSTOR,
        X86_MN_MOV_SEG,         X86_MN_MOV_CR,          X86_MN_MOV_DR,
        X86_MN_PUSH_SEG,        X86_MN_POP_SEG,         X86_MN_JMP_FAR,
        X86_MN_CALL_FAR,        X86_MN_RET_FAR,         ZYDIS_MNEMONIC_MASKMOVDQU,
        ZYDIS_MNEMONIC_SYSEXIT, ZYDIS_MNEMONIC_SYSENTER};
    for (unsigned i = 0; i < ARRAY_LEN(never); i++) {
        const struct x86_op *op = x86_op_row(decoder, never[i]);
        assert_non_null(op);
        if (op->class & X86_COPY)
            fail_msg("%s may be copied", ZydisMnemonicGetString(never[i]));
    }
}

/* ---- the sweep ------------------------------------------------------------------------------- */

/* The encodings insn.h names: no translator may copy these bytes. */
static bool needs_another_encoding(const struct x86_insn *in)
{
    if (in->prefix & X86_PFX_0F)
        return in->mnemonic == ZYDIS_MNEMONIC_NOP && in->opcode != 0x1f;
    return (in->opcode & 0xf0) == 0x40 || in->opcode == 0x82 || (in->opcode & 0xfc) == 0xa0;
}

/* The instruction with the prefixes a translator writes and everything behind them as it was. */
static unsigned canonical(const uint8_t *code, const struct x86_insn *in,
                          const struct x86_layout *l, uint8_t *out)
{
    unsigned n = 0;
    if (in->has_mem) {
        out[n++] = 0x65;
        out[n++] = 0x67;
    }
    if (l->opsize_66)
        out[n++] = 0x66;
    if (l->mandatory)
        out[n++] = l->mandatory;
    memcpy(out + n, code + l->opcode_at, in->len - l->opcode_at);
    return n + in->len - l->opcode_at;
}

static bool same_operand(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b)
{
    if (a->type != b->type || a->actions != b->actions)
        return false;
    switch (a->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return a->reg.value == b->reg.value;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        return a->mem.type == ZYDIS_MEMOP_TYPE_AGEN || a->size == b->size;
    default:
        return (uint32_t)a->imm.value.u == (uint32_t)b->imm.value.u;
    }
}

static bool means_the_same(const uint8_t *code, const struct x86_insn *in,
                           const struct x86_layout *l)
{
    uint8_t out[24];
    unsigned n = canonical(code, in, l, out);
    ZydisDecodedInstruction a, b;
    ZydisDecodedOperand x[ZYDIS_MAX_OPERAND_COUNT], y[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&host, out, n, &b, y)))
        return false;
    /* Decode the guest's form without prefixes that mean nothing to it but much to the host. */
    unsigned skip = in->has_mem ? 1 : 0;
    out[skip] = out[0]; /* the same bytes without 67 */
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&guest, out + skip, n - skip, &a, x)))
        return false;
    if (a.mnemonic != b.mnemonic || a.length != n - skip || b.length != n ||
        a.operand_count_visible != b.operand_count_visible)
        return false;
    for (unsigned i = 0; i < a.operand_count_visible; i++)
        if (!same_operand(&x[i], &y[i]))
            return false;
    return true;
}

static void check(const uint8_t *code, unsigned code_size, bool *reached)
{
    struct x86_insn in;
    struct x86_layout l;
    assert_true(x86_decode_layout(decoder, code, 15, code_size, &in, &l));
    const struct x86_op *op = x86_op_row(decoder, in.mnemonic);
    if (in.fn == x86_undefined || !op || !(op->class & X86_COPY))
        return;
    if (l.opcode_len < 1 || l.opcode_len > 2)
        fail_msg("no layout, or an opcode of three bytes");
    reached[in.mnemonic] = true;
    if (in.asize == 2 || needs_another_encoding(&in))
        return;
    if (!means_the_same(code, &in, &l))
        fail_msg("%02x %02x %02x %02x %02x in %u-bit code is another instruction, or none, "
                 "in 64-bit mode",
                 code[0], code[1], code[2], code[3], code[4], code_size * 8);
}

static void sweep(const uint8_t *prefix, unsigned prefixes, unsigned escapes, bool *reached)
{
    static const uint8_t escape[][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    unsigned length = escapes > 2 ? 2 : escapes;
    for (unsigned op = 0; op < 256; op++) {
        uint8_t code[24] = {0};
        memcpy(code, prefix, prefixes);
        memcpy(code + prefixes, escape[escapes], length);
        code[prefixes + length] = (uint8_t)op;
        code[prefixes + length + 2] = 0x23; /* SIB: [ebx] */
        for (unsigned modrm = 0; modrm < 256; modrm++) {
            code[prefixes + length + 1] = (uint8_t)modrm;
            check(code, 4, reached);
            check(code, 2, reached);
        }
    }
}

static void copies_mean_the_same_in_64_bit_mode(void **state)
{
    static const uint8_t prefix[][2] = {{0},          {0x66},       {0xf3}, {0xf2},
                                        {0x66, 0xf3}, {0xf2, 0x66}, {0xf0}};
    static const uint8_t length[] = {0, 1, 1, 1, 2, 2, 1};
    static bool const none[X86_MN_END];
    bool reached[X86_MN_END];
    memcpy(reached, none, sizeof reached);
    for (unsigned p = 0; p < ARRAY_LEN(prefix); p++)
        for (unsigned e = 0; e < 4; e++)
            sweep(prefix[p], length[p], e, reached);
    for (unsigned m = 0; m < X86_MN_END; m++) {
        const struct x86_op *op = x86_op_row(decoder, m);
        if (op && (op->class & X86_COPY) && !reached[m])
            fail_msg("the sweep has not met %s", ZydisMnemonicGetString(m));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copied_rows_are_innocuous),
        cmocka_unit_test(some_rows_are_never_copied),
        cmocka_unit_test(copies_mean_the_same_in_64_bit_mode),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
