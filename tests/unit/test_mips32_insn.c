/* SPDX-License-Identifier: MIT */
/* MIPS32 instructions one by one: arithmetic at its edges, traps, delay slots, unaligned accesses
 * in both byte orders, LL and SC, what user mode may not do, the table of rows. */
#include "mips32_rig.h"

static const struct mips32_model big = {.name = "big",
                                        .prid = 0x00019300,
                                        .tlb_entries = 16,
                                        .big_endian = true,
                                        .release2 = true,
                                        .fpu = true,
                                        .count_hz = 100000000};
static const struct mips32_model release1 = {
    .name = "release 1", .prid = 0x00018000, .tlb_entries = 16, .count_hz = 100000000};

static void register_zero_stays_zero(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    RUN(m, ORI(T0, ZERO, 5), ADDU(ZERO, T0, T0), LW(ZERO, 0, ZERO), ADDU(T1, ZERO, ZERO), WAIT);
    /* The load is from KUSEG: a TLB refill before T1 is written. */
    assert_int_equal(exc_code(m), EXC_TLBL);
    acknowledge(m);
    RUN(m, ORI(T0, ZERO, 5), ADDU(ZERO, T0, T0), MFC0(ZERO, 15, 0), ADDU(T1, ZERO, T0), WAIT);
    assert_int_equal(m->v->gpr[T1], 5);
    assert_int_equal(m->v->gpr[0], 0);
    rig_free(m);
}

static void overflow_traps_and_writes_nothing(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[T0] = 0x7fffffff;
    m->v->gpr[T1] = 1;
    m->v->gpr[T2] = 42;
    assert_int_equal(RUN(m, NOP, ADD(T2, T0, T1), WAIT), VECTOR(GENERAL));
    assert_int_equal(exc_code(m), EXC_OV);
    assert_int_equal(m->v->cp0.epc, CODE + 4);
    assert_int_equal(m->v->gpr[T2], 42);
    assert_false(in_delay_slot(m));
    rig_free(m);
}

struct slot_case {
    uint32_t branch;
    bool runs; /* the slot is run */
};

static void exceptions_in_delay_slots_name_the_branch(void **state)
{
    static const struct slot_case cases[] = {
        {BEQ(ZERO, ZERO, 10), true},
        {BNE(ZERO, ZERO, 10), true},
        {BEQL(ZERO, ZERO, 10), true},
        {BNEL(ZERO, ZERO, 10), false},
        {J(CODE + 0x100), true},
        {JAL(CODE + 0x100), true},
        {JR(T9), true},
        {JALR(RA, T9), true},
        {BGEZAL(ZERO, 10), true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mips32_rig *m = rig_new(&mips32_24kf);
        m->v->gpr[T9] = CODE + 0x100;
        uint32_t at = RUN(m, NOP, cases[i].branch, BREAK, WAIT);
        if (cases[i].runs) {
            assert_int_equal(at, VECTOR(GENERAL));
            assert_int_equal(exc_code(m), EXC_BP);
            assert_int_equal(m->v->cp0.epc, CODE + 4);
            assert_true(in_delay_slot(m));
        } else {
            assert_int_equal(at, CODE + 12);
        }
        rig_free(m);
    }
}

static void branches_go_where_they_should(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    poke32(m, CODE + 0x40, WAIT);
    /* Taken: the slot runs, then the target. */
    assert_int_equal(RUN(m, BEQ(ZERO, ZERO, 15), ADDIU(T0, ZERO, 1), WAIT), CODE + 0x40);
    assert_int_equal(m->v->gpr[T0], 1);
    /* Not taken: the slot runs, then what follows. */
    assert_int_equal(RUN(m, BNE(ZERO, ZERO, 15), ADDIU(T0, ZERO, 2), WAIT), CODE + 8);
    assert_int_equal(m->v->gpr[T0], 2);
    /* Likely, not taken: the slot does not run. */
    assert_int_equal(RUN(m, BNEL(ZERO, ZERO, 15), ADDIU(T0, ZERO, 3), WAIT), CODE + 8);
    assert_int_equal(m->v->gpr[T0], 2);
    /* A link is behind the slot, and there before the slot runs. */
    assert_int_equal(RUN(m, JAL(CODE + 0x40), ADDU(T1, RA, ZERO), WAIT), CODE + 0x40);
    assert_int_equal(m->v->gpr[RA], CODE + 8);
    assert_int_equal(m->v->gpr[T1], CODE + 8);
    /* The register of a jump is read before the slot runs. */
    m->v->gpr[T9] = CODE + 0x40;
    assert_int_equal(RUN(m, JR(T9), ADDU(T9, ZERO, ZERO), WAIT), CODE + 0x40);
    rig_free(m);
}

static void a_slot_may_be_on_the_next_page(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    uint32_t last = CODE + 0xffc;
    poke32(m, last - 4, ADDIU(T0, ZERO, 7));
    poke32(m, last, BEQ(ZERO, ZERO, (uint32_t)-9));
    poke32(m, last + 4, ADDIU(T0, T0, 1));
    poke32(m, last - 32, WAIT);
    m->v->pc = last - 4;
    assert_int_equal(run(m), last - 32);
    assert_int_equal(m->v->gpr[T0], 8);
    /* And straight on. */
    poke32(m, last, NOP);
    poke32(m, last + 8, WAIT);
    m->v->pc = last - 4;
    uint64_t before = m->v->retired;
    assert_int_equal(run(m), last + 8);
    assert_int_equal(m->v->gpr[T0], 8);
    assert_int_equal(m->v->retired - before, 4);
    rig_free(m);
}

static void a_branch_in_a_slot_is_reserved(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    static const uint32_t second[] = {
        BEQ(ZERO, ZERO, 4), BNEL(ZERO, ZERO, 4), J(CODE), JR(T9), ERET, JAL(CODE), WAIT};
    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        m->v->gpr[RA] = 99;
        assert_int_equal(RUN(m, BEQ(ZERO, ZERO, 4), second[i], NOP, NOP, NOP, WAIT),
                         VECTOR(GENERAL));
        assert_int_equal(exc_code(m), EXC_RI);
        assert_true(in_delay_slot(m));
        assert_int_equal(m->v->cp0.epc, CODE);
        assert_int_equal(m->v->gpr[RA], 99);
        acknowledge(m);
    }
    /* A page full of them ends all the same. */
    for (uint32_t a = 0; a < 2 * PAGE_BYTES; a += 4)
        poke32(m, CODE + a, BEQ(ZERO, ZERO, 1));
    m->v->pc = CODE;
    assert_int_equal(run(m), VECTOR(GENERAL));
    rig_free(m);
}

/* Each of the four places of an unaligned word, loaded and stored. */
static void unaligned_words(void **state)
{
    for (unsigned order = 0; order < 2; order++) {
        struct mips32_rig *m = rig_new(order ? &big : &mips32_24kf);
        uint32_t left = order ? 0 : 3, right = order ? 3 : 0;
        static const uint8_t memory[8] = {0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87};
        for (uint32_t at = 0; at < 4; at++) {
            uint32_t expected = 0;
            for (unsigned i = 0; i < 4; i++)
                expected |= (uint32_t)memory[at + i] << (order ? 24 - 8 * i : 8 * i);
            assert_int_equal(phys_write(m->mem, DATA & 0x1fffffff, memory, 8), 0);
            m->v->gpr[A0] = DATA + at;
            m->v->gpr[A1] = DATA + 16 + at;
            RUN(m, LWL(T0, left, A0), LWR(T0, right, A0), SW(ZERO, 16, SP), WAIT);
            assert_int_equal(exc_code(m), EXC_TLBS); /* SP is 0: stops behind the loads */
            acknowledge(m);
            assert_int_equal(m->v->gpr[T0], expected);
            uint8_t out[12], wanted[12];
            memset(wanted, 0xee, sizeof wanted);
            memcpy(wanted + at, memory + at, 4);
            for (unsigned i = 0; i < 12; i++)
                assert_int_equal(phys_write(m->mem, (DATA & 0x1fffffff) + 16 + i, "\xee", 1), 0);
            RUN(m, SWL(T0, left, A1), SWR(T0, right, A1), WAIT);
            assert_int_equal(phys_read(m->mem, (DATA & 0x1fffffff) + 16, out, 12), 0);
            assert_memory_equal(out, wanted, 12);
        }
        rig_free(m);
    }
}

static void misaligned_accesses_are_address_errors(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    static const struct {
        uint32_t insn;
        unsigned code;
    } cases[] = {{LW(T0, 2, A0), EXC_ADEL}, {LH(T0, 1, A0), EXC_ADEL}, {LHU(T0, 3, A0), EXC_ADEL},
                 {SW(T0, 1, A0), EXC_ADES}, {SH(T0, 1, A0), EXC_ADES}, {LL(T0, 2, A0), EXC_ADEL},
                 {SC(T0, 2, A0), EXC_ADES}};
    m->v->gpr[A0] = DATA;
    /* A word nearby is in the soft TLB: the fast path must not take these. */
    RUN(m, LW(T1, 0, A0), SW(T1, 0, A0), WAIT);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        m->v->gpr[T0] = 77;
        uint32_t context = m->v->cp0.context;
        assert_int_equal(RUN(m, cases[i].insn, WAIT), VECTOR(GENERAL));
        assert_int_equal(exc_code(m), cases[i].code);
        assert_int_equal(m->v->cp0.bad_vaddr, DATA + (cases[i].insn & 3));
        assert_int_equal(m->v->gpr[T0], 77);
        assert_int_equal(m->v->cp0.context, context);
        acknowledge(m);
    }
    m->v->gpr[T9] = CODE + 2;
    assert_int_equal(RUN(m, JR(T9), NOP, WAIT), VECTOR(GENERAL));
    assert_int_equal(exc_code(m), EXC_ADEL);
    assert_int_equal(m->v->cp0.epc, CODE + 2);
    assert_int_equal(m->v->cp0.bad_vaddr, CODE + 2);
    rig_free(m);
}

static void byte_order_of_memory(void **state)
{
    struct mips32_rig *m = rig_new(&big);
    m->v->gpr[A0] = DATA;
    m->v->gpr[T0] = 0x12345678;
    RUN(m, SW(T0, 0, A0), SH(T0, 4, A0), SB(T0, 6, A0), LBU(T1, 0, A0), LHU(T2, 2, A0), WAIT);
    uint8_t bytes[7];
    assert_int_equal(phys_read(m->mem, DATA & 0x1fffffff, bytes, 7), 0);
    assert_memory_equal(bytes, ((uint8_t[]){0x12, 0x34, 0x56, 0x78, 0x56, 0x78, 0x78}), 7);
    assert_int_equal(m->v->gpr[T1], 0x12);
    assert_int_equal(m->v->gpr[T2], 0x5678);
    rig_free(m);
}

/* A register of a device means the same in both orders. */
static void devices_see_values(void **state)
{
    for (unsigned order = 0; order < 2; order++) {
        struct mips32_rig *m = rig_new(order ? &big : &mips32_24kf);
        m->v->gpr[A0] = DEVICE;
        m->v->gpr[T0] = 0x11223344;
        m->device[1] = 0xcafe0001;
        RUN(m, SW(T0, 0, A0), LW(T1, 4, A0), LBU(T2, 4, A0), WAIT);
        assert_int_equal(m->device[0], 0x11223344);
        assert_int_equal(m->v->gpr[T1], 0xcafe0001);
        assert_int_equal(m->v->gpr[T2], 1);
        assert_int_equal(m->device_size, 1);
        assert_int_equal(m->v->base.stats.exits[EXIT_MMIO], 3);
        rig_free(m);
    }
}

static void store_conditional(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[A0] = DATA;
    poke32(m, DATA, 5);
    RUN(m, LL(T0, 0, A0), ADDIU(T1, T0, 1), SC(T1, 0, A0), ORI(T2, ZERO, 9), SC(T2, 0, A0), WAIT);
    assert_int_equal(m->v->gpr[T0], 5);
    assert_int_equal(m->v->gpr[T1], 1);
    assert_int_equal(m->v->gpr[T2], 0); /* the first one ended the link */
    assert_int_equal(peek32(m, DATA), 6);
    /* ERET ends it, too. */
    m->v->cp0.epc = CODE + 0x40;
    PUT(m, CODE + 0x40, SC(T1, 0, A0), WAIT);
    RUN(m, LL(T0, 0, A0), ORI(T1, ZERO, 9), ERET, NOP);
    assert_int_equal(m->v->gpr[T1], 0);
    assert_int_equal(peek32(m, DATA), 6);
    rig_free(m);
}

static void user_mode_may_not(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    static const uint32_t privileged[] = {
        MFC0(T0, 12, 0), MTC0(T0, 12, 0), TLBR,           TLBWI, TLBWR, TLBP, ERET, WAIT,
        DI(T0),          EI(T0),          CACHE(0, 0, A0)};
    set_tlb(m, 0, 0x00400000, 0, LO(CODE & 0x1fffffff, LO_V | LO_D | LO_G), LO_G);
    for (size_t i = 0; i < ARRAY_LEN(privileged); i++) {
        m->v->gpr[T0] = 0x55;
        poke32(m, CODE, privileged[i]);
        mips32_set_status(m->v, ST_UM | ST_IM);
        m->v->pc = 0x00400000;
        assert_int_equal(run(m), VECTOR(GENERAL));
        assert_int_equal(exc_code(m), EXC_CPU);
        assert_int_equal(m->v->cp0.cause >> CA_CE_SHIFT & 3, 0);
        assert_int_equal(m->v->gpr[T0], 0x55);
        assert_int_equal(m->v->cp0.status, ST_UM | ST_IM | ST_EXL);
    }
    /* With CU0 it may. */
    PUT(m, CODE, MFC0(T0, 15, 0), SYSCALL);
    mips32_set_status(m->v, ST_UM | ST_CU0 | ST_IM);
    m->v->pc = 0x00400000;
    run(m);
    assert_int_equal(exc_code(m), EXC_SYS);
    assert_int_equal(m->v->gpr[T0], 0x00019300);
    rig_free(m);
}

static void coprocessors_one_and_two(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    static const struct {
        uint32_t insn;
        unsigned n;
    } cases[] = {{0x46000000, 1}, {0xc4800000, 1}, {0x00050001, 1}, {0x45000001, 1},
                 {0x4c000020, 1}, {0x46c00000, 1}, {0x4c00001e, 1}, {0x48000000, 2},
                 {0xc8800000, 2}, {0xf8800000, 2}};
    m->v->gpr[A0] = DATA;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(RUN(m, cases[i].insn, NOP, WAIT), VECTOR(GENERAL));
        assert_int_equal(exc_code(m), EXC_CPU);
        assert_int_equal(m->v->cp0.cause >> CA_CE_SHIFT & 3, cases[i].n);
        acknowledge(m);
    }
    /* Usable, but there is no such instruction. */
    static const uint32_t none[] = {0x46c00000 /* add.ps */, 0x4c00001e /* alnv.ps */, 0x4200003f,
                                    0x40600000};
    mips32_set_status(m->v, m->v->cp0.status | ST_CU1);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_int_equal(RUN(m, none[i], NOP, WAIT), VECTOR(GENERAL));
        assert_int_equal(exc_code(m), EXC_RI);
        acknowledge(m);
    }
    rig_free(m);
}

static void hardware_registers(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->cp0.user_local = 0x12340000;
    RUN(m, RDHWR(T0, 29), RDHWR(T1, 1), RDHWR(T2, 3), WAIT);
    assert_int_equal(m->v->gpr[T0], 0x12340000);
    assert_int_equal(m->v->gpr[T1], 32);
    assert_int_equal(m->v->gpr[T2], 2);
    RUN(m, RDHWR(T0, 5), WAIT);
    assert_int_equal(exc_code(m), EXC_RI);
    set_tlb(m, 0, 0x00400000, 0, LO(CODE & 0x1fffffff, LO_V | LO_D | LO_G), LO_G);
    for (unsigned enabled = 0; enabled < 2; enabled++) {
        mips32_cp0_write(m->v, 7, 0, enabled ? 1u << 29 : 0);
        PUT(m, CODE, RDHWR(T0, 29), SYSCALL);
        mips32_set_status(m->v, ST_UM | ST_IM);
        m->v->pc = 0x00400000;
        run(m);
        assert_int_equal(exc_code(m), enabled ? EXC_SYS : EXC_RI);
    }
    rig_free(m);
}

/* Release 2's instructions are reserved on release 1, and so is what no row has. */
static void reserved_instructions(void **state)
{
    struct mips32_rig *m = rig_new(&release1);
    static const uint32_t words[] = {
        RDHWR(T0, 29),         0x7c0800a0 /* wsbh */,  0x00280842 /* rotr */, DI(T0),
        0x74000000 /* jalx */, 0x7000003f /* sdbbp */, 0x7c000010 /* DSP */,  0xdc000000 /* ld */};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(RUN(m, words[i], NOP, WAIT), VECTOR(GENERAL));
        assert_int_equal(exc_code(m), EXC_RI);
        acknowledge(m);
    }
    rig_free(m);
}

/* A store changes the very next instruction, and one in another page that has run before. */
static void stores_to_code(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[A0] = CODE;
    m->v->gpr[T0] = ADDIU(T1, ZERO, 2);
    RUN(m, SW(T0, 4, A0), ADDIU(T1, ZERO, 1), WAIT);
    assert_int_equal(m->v->gpr[T1], 2);
    /* Loop once over a block of another page, changed in between: through the fast path, too. */
    PUT(m, CODE + 0x1000, JR(RA), ADDIU(T2, ZERO, 1));
    m->v->gpr[A0] = CODE + 0x1000;
    m->v->gpr[T0] = ADDIU(T2, ZERO, 2);
    RUN(m, SW(ZERO, 16, A0), JAL(CODE + 0x1000), NOP, ADDU(T3, T2, ZERO), SW(T0, 4, A0),
        JAL(CODE + 0x1000), NOP, WAIT);
    assert_int_equal(m->v->gpr[T3], 1);
    assert_int_equal(m->v->gpr[T2], 2);
    /* By a device. */
    poke32(m, CODE + 0x1004, ADDIU(T2, ZERO, 3));
    RUN(m, JAL(CODE + 0x1000), NOP, WAIT);
    assert_int_equal(m->v->gpr[T2], 3);
    /* A page that is data beside its code becomes writable again. */
    PUT(m, CODE, SW(T0, 0x100, A0), ADDIU(T4, T4, -1), BNE(T4, ZERO, -3), NOP, JAL(CODE + 0x1000),
        NOP, WAIT);
    m->v->gpr[T4] = 100;
    m->v->pc = CODE;
    run(m);
    assert_int_equal(m->v->gpr[T2], 3);
    rig_free(m);
}

/* Every row is found by its own word, and has text. */
static void rows_are_reachable(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    for (unsigned i = 0; i < mips32_rows(m->v->decoder); i++) {
        const struct mips32_op *op = mips32_row(m->v->decoder, i);
        struct mips32_insn in = {0};
        char text[64];
        assert_int_equal(op->match & ~op->mask, 0);
        mips32_decode(m->v->decoder, op->match, &in);
        assert_int_not_equal(in.row, MIPS32_NO_ROW);
        /* nop is an encoding of sll; "cop" rows are what is left of their opcode */
        if (in.row != i && memcmp(op->name, "cop", 3) != 0)
            assert_string_equal(mips32_row(m->v->decoder, in.row)->name, "nop");
        mips32_disassemble(m->v->decoder, CODE, op->match, text, sizeof text);
        assert_memory_equal(text, mips32_row(m->v->decoder, in.row)->name,
                            strlen(mips32_row(m->v->decoder, in.row)->name));
    }
    char text[64];
    mips32_disassemble(m->v->decoder, CODE, LW(T0, -4, SP), text, sizeof text);
    assert_string_equal(text, "lw t0,-4(sp)");
    mips32_disassemble(m->v->decoder, CODE, BEQ(T0, ZERO, -2), text, sizeof text);
    assert_string_equal(text, "beq t0,zero,0x8000fffc");
    rig_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(register_zero_stays_zero),
        cmocka_unit_test(overflow_traps_and_writes_nothing),
        cmocka_unit_test(exceptions_in_delay_slots_name_the_branch),
        cmocka_unit_test(branches_go_where_they_should),
        cmocka_unit_test(a_slot_may_be_on_the_next_page),
        cmocka_unit_test(a_branch_in_a_slot_is_reserved),
        cmocka_unit_test(unaligned_words),
        cmocka_unit_test(misaligned_accesses_are_address_errors),
        cmocka_unit_test(byte_order_of_memory),
        cmocka_unit_test(devices_see_values),
        cmocka_unit_test(store_conditional),
        cmocka_unit_test(user_mode_may_not),
        cmocka_unit_test(coprocessors_one_and_two),
        cmocka_unit_test(hardware_registers),
        cmocka_unit_test(reserved_instructions),
        cmocka_unit_test(stores_to_code),
        cmocka_unit_test(rows_are_reachable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
