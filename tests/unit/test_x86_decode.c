/* SPDX-License-Identifier: MIT */
/* decode.c: operands, forms, mnemonics that name several instructions, and refusals. */
#include "unit.h"

#include "isa/x86/insn.h"

static struct x86_decoder *decoder;

static int set_up(void **state)
{
    decoder = x86_decoder_new(NULL);
    return decoder ? 0 : -1;
}

static int tear_down(void **state)
{
    x86_decoder_free(decoder);
    return 0;
}

#define DECODE(in, size, ...)                                                                      \
    do {                                                                                           \
        const uint8_t code[] = {__VA_ARGS__};                                                      \
        assert_true(x86_decode(decoder, code, sizeof code, size, in));                             \
    } while (0)

static void memory_operand_with_sib(void **state)
{
    struct x86_insn in;
    DECODE(&in, 4, 0x03, 0x5c, 0xb5, 0xf8); /* add ebx, [ebp+esi*4-8] */
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_ADD);
    assert_int_equal(in.len, 4);
    assert_true(in.has_mem);
    assert_int_equal(in.r0, X86_EBX * 8);
    assert_int_equal(in.base, X86_EBP);
    assert_int_equal(in.index, X86_ESI);
    assert_int_equal(in.shift, 2);
    assert_int_equal(in.disp, 0xfffffff8);
    assert_int_equal(in.seg, X86_SS); /* by ebp */
    assert_int_equal(in.opsize, 4);
}

static void sixteen_bit_addressing_and_override(void **state)
{
    struct x86_insn in;
    DECODE(&in, 2, 0x26, 0x88, 0x40, 0x10); /* mov es:[bx+si+0x10], al */
    assert_int_equal(in.asize, 2);
    assert_int_equal(in.opsize, 1);
    assert_int_equal(in.base, X86_EBX);
    assert_int_equal(in.index, X86_ESI);
    assert_int_equal(in.seg, X86_ES);
    DECODE(&in, 4, 0x67, 0x8b, 0x07); /* mov eax, [bx] */
    assert_int_equal(in.asize, 2);
    assert_int_equal(in.opsize, 4);
}

static void absolute_address_has_no_registers(void **state)
{
    struct x86_insn in;
    DECODE(&in, 4, 0xa1, 0x78, 0x56, 0x34, 0x12); /* mov eax, [0x12345678] */
    assert_int_equal(in.base, X86_GPR_ZERO);
    assert_int_equal(in.index, X86_GPR_ZERO);
    assert_int_equal(in.disp, 0x12345678);
}

static void high_byte_registers(void **state)
{
    struct x86_insn in;
    DECODE(&in, 4, 0x88, 0xe7); /* mov bh, ah */
    assert_int_equal(in.r0, X86_EBX * 8 + 1);
    assert_int_equal(in.r1, X86_EAX * 8 + 1);
}

static void immediates_are_sign_extended(void **state)
{
    struct x86_insn in;
    DECODE(&in, 4, 0x6a, 0xff);
    assert_int_equal(in.imm, 0xffffffff);
    assert_int_equal(in.opsize, 4);
    DECODE(&in, 4, 0x83, 0xc0, 0x80);
    assert_int_equal(in.imm, 0xffffff80);
    DECODE(&in, 4, 0xc8, 0x34, 0x12, 0x03); /* enter 0x1234, 3 */
    assert_int_equal(in.imm, 0x1234);
    assert_int_equal(in.imm2, 3);
}

static void shared_mnemonics_are_told_apart(void **state)
{
    struct x86_insn in;
    DECODE(&in, 4, 0x8e, 0xd8); /* mov ds, ax */
    assert_int_equal(in.mnemonic, X86_MN_MOV_SEG);
    assert_int_equal(in.r0, X86_DS);
    DECODE(&in, 4, 0x0f, 0x22, 0xd8); /* mov cr3, eax */
    assert_int_equal(in.mnemonic, X86_MN_MOV_CR);
    DECODE(&in, 4, 0x0f, 0x21, 0xf8); /* mov eax, dr7 */
    assert_int_equal(in.mnemonic, X86_MN_MOV_DR);
    DECODE(&in, 4, 0x0f, 0xa0); /* push fs */
    assert_int_equal(in.mnemonic, X86_MN_PUSH_SEG);
    assert_int_equal(in.r0, X86_FS);
    DECODE(&in, 4, 0x07); /* pop es */
    assert_int_equal(in.mnemonic, X86_MN_POP_SEG);
    DECODE(&in, 4, 0xea, 0x44, 0x33, 0x22, 0x11, 0x08, 0x00);
    assert_int_equal(in.mnemonic, X86_MN_JMP_FAR);
    assert_int_equal(in.imm, 0x11223344);
    assert_int_equal(in.imm2, 8);
    DECODE(&in, 4, 0xff, 0x18); /* call far [eax] */
    assert_int_equal(in.mnemonic, X86_MN_CALL_FAR);
    DECODE(&in, 4, 0xff, 0x10); /* call [eax] */
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_CALL);
    DECODE(&in, 4, 0xcb);
    assert_int_equal(in.mnemonic, X86_MN_RET_FAR);
    DECODE(&in, 4, 0xa5);
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_MOVSD);
    DECODE(&in, 4, 0xf2, 0x0f, 0x10, 0xc1);
    assert_int_equal(in.mnemonic, X86_MN_MOVSD_SSE);
    DECODE(&in, 4, 0xa7);
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_CMPSD);
    DECODE(&in, 4, 0xf2, 0x0f, 0xc2, 0xc1, 0x00);
    assert_int_equal(in.mnemonic, X86_MN_CMPSD_SSE);
}

static void undefined_encodings_decode_to_ud(void **state)
{
    static const struct {
        uint8_t code[8];
        unsigned n;
    } cases[] = {
        {{0x0f, 0x0b}, 2},             /* ud2 */
        {{0xf0, 0x89, 0x18}, 3},       /* lock mov */
        {{0xf0, 0x01, 0xd8}, 3},       /* lock add eax, ebx: no memory */
        {{0x8e, 0xc8}, 2},             /* mov cs, ax */
        {{0xc5, 0xf8, 0x28, 0xc1}, 4}, /* vmovaps: AVX is not offered */
        {{0x0f, 0x38, 0x00, 0xc1}, 4}, /* pshufb: SSSE3 */
        {{0xf2, 0x0f, 0xd0, 0xc1}, 4}, /* addsubps: SSE3 */
        {{0x0f, 0x05}, 2},             /* syscall */
        {{0x0f, 0x01, 0xc1}, 3},       /* vmcall */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct x86_insn in;
        assert_true(x86_decode(decoder, cases[i].code, cases[i].n, 4, &in));
        if (in.fn != x86_undefined)
            fail_msg("case %u has a handler", i);
    }
}

static void newer_prefixed_forms_are_the_old_instruction(void **state)
{
    struct x86_insn in;
    DECODE(&in, 4, 0xf3, 0x0f, 0xbc, 0xc3); /* tzcnt later, rep bsf now */
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_BSF);
    DECODE(&in, 4, 0xf3, 0x0f, 0xbd, 0xc3);
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_BSR);
    DECODE(&in, 4, 0xf3, 0xc3);
    assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_RET);
}

static void more_bytes_are_asked_for(void **state)
{
    static const uint8_t code[] = {0x81, 0x84, 0x24, 1, 2, 3, 4, 5, 6, 7, 8};
    struct x86_insn in;
    for (unsigned n = 1; n < sizeof code; n++)
        assert_false(x86_decode(decoder, code, n, 4, &in));
    assert_true(x86_decode(decoder, code, sizeof code, 4, &in));
    assert_int_equal(in.len, sizeof code);
}

static void prefixes_without_end_are_refused(void **state)
{
    uint8_t code[15];
    struct x86_insn in;
    memset(code, 0x66, sizeof code);
    assert_true(x86_decode(decoder, code, sizeof code, 4, &in));
    assert_true(in.fn != x86_undefined); /* #GP(0), not #UD */
}

/* Every row can be reached: it has some handler, and its mnemonic is Zydis's or our own. */
static void rows_are_complete(void **state)
{
    unsigned rows = 0;
    for (unsigned m = 0; m < X86_MN_END; m++) {
        const struct x86_op *op = x86_op_row(decoder, m);
        if (!op)
            continue;
        rows++;
        assert_int_equal(op->mnemonic, m);
        assert_true(op->any || op->forms);
        if (op->class & (X86_CPL0 | X86_PROT_ONLY))
            assert_non_null(op->any); /* the guard calls it */
    }
    assert_in_range(rows, 400, 1000);
    assert_null(x86_op_row(decoder, X86_MN_END));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_operand_with_sib),
        cmocka_unit_test(sixteen_bit_addressing_and_override),
        cmocka_unit_test(absolute_address_has_no_registers),
        cmocka_unit_test(high_byte_registers),
        cmocka_unit_test(immediates_are_sign_extended),
        cmocka_unit_test(shared_mnemonics_are_told_apart),
        cmocka_unit_test(undefined_encodings_decode_to_ud),
        cmocka_unit_test(newer_prefixed_forms_are_the_old_instruction),
        cmocka_unit_test(more_bytes_are_asked_for),
        cmocka_unit_test(prefixes_without_end_are_refused),
        cmocka_unit_test(rows_are_complete),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
