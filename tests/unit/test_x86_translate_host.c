/* SPDX-License-Identifier: MIT */
/* Shifts and masks of generated code, with BMI2 and without: both are run with random values, must
 * give what C gives and leave the flags alone; without BMI2 no such instruction may be there. */
#include "unit.h"

#include <cpuid.h>
#include <sys/mman.h>

#include "isa/x86/translate.h"

#define CODE_BYTES 256u
#define ROUNDS     2000u
#define FLAGS      0x8d5u /* OF, SF, ZF, AF, PF, CF */
#define TAG        12u

/* What goes in and comes out: r8 and a guest register, the flags; r9, r10, the flags. */
struct registers {
    uint64_t r8, r9, r10, esi, flags;
};

struct sequence {
    const char *name;
    void (*emit)(struct x86_tr *tr);
    bool in_r10;
    uint32_t (*want)(uint32_t r8, uint32_t esi);
    uint32_t ignore; /* bits of the result */
};

static void emit_bit_word(struct x86_tr *tr)
{
    x86_tr_bit_word(tr, X64_RSI);
}
static void emit_bit_index(struct x86_tr *tr)
{
    x86_tr_bit_index(tr, X64_RSI);
}
static uint32_t page(uint32_t r8, uint32_t esi)
{
    return r8 >> 12;
}
static uint32_t quarter(uint32_t r8, uint32_t esi)
{
    return r8 >> 30;
}
static uint32_t offset16(uint32_t r8, uint32_t esi)
{
    return (r8 & 0xfff) << 4;
}
static uint32_t bit_word(uint32_t r8, uint32_t esi)
{
    return (uint32_t)((int32_t)esi >> 5);
}
static uint32_t bit_index(uint32_t r8, uint32_t esi)
{
    return esi & 31;
}

static const struct sequence sequences[] = {
    {"page", x86_tr_page, false, page, 0},
    {"quarter", x86_tr_quarter, true, quarter, 0},
    {"offset16", x86_tr_offset16, false, offset16, 15},
    {"bit word", emit_bit_word, false, bit_word, 0},
    {"bit index", emit_bit_index, true, bit_index, 0},
};

static bool host_has_bmi2(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 8 & 1;
}

static uint8_t *make(const struct sequence *q, bool bmi2, uint8_t *code)
{
    static const uint8_t ret = 0xc3;
    struct x86_translator t = {.bmi2 = bmi2};
    struct x86_tr tr = {.t = &t, .e = {code}};
    q->emit(&tr);
    uint8_t *end = tr.e.at;
    x64_bytes(&tr.e, &ret, 1);
    return end;
}

static void run(const uint8_t *code, struct registers *r)
{
    register uint64_t r8 __asm__("r8") = r->r8;
    register uint64_t r9 __asm__("r9") = r->r9;
    register uint64_t r10 __asm__("r10") = r->r10;
    register uint64_t r15 __asm__("r15") = UINT64_C(0x123456789000) | TAG;
    uint64_t esi = r->esi, flags = r->flags;
    __asm__ volatile("push %[flags]\n\tpopfq\n\tcall *%[code]\n\tpushfq\n\tpop %[flags]"
                     : "+r"(r8), "+r"(r9), "+r"(r10), "+S"(esi), [flags] "+a"(flags)
                     : [code] "b"(code), "r"(r15)
                     : "xmm8", "cc", "memory");
    struct registers out = {r8, r9, r10, esi, flags}; /* calls may change r8 to r10 */
    assert_int_equal(esi, r->esi);
    *r = out;
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void try_one(const struct sequence *q, const uint8_t *code, uint64_t *seed)
{
    uint32_t address = (uint32_t)next(seed), esi = (uint32_t)next(seed);
    uint64_t flags = 0x202 | (next(seed) & FLAGS), kept = next(seed);
    struct registers r = {address, next(seed), kept, esi, flags};
    run(code, &r);
    uint64_t got = q->in_r10 ? r.r10 : r.r9;
    if ((got & ~(uint64_t)q->ignore) != q->want(address, esi))
        fail_msg("%s of r8=%x esi=%x is %llx", q->name, address, esi, (unsigned long long)got);
    assert_int_equal(r.flags & FLAGS, flags & FLAGS);
    assert_int_equal(r.r8, address);
    if (!q->in_r10)
        assert_int_equal(r.r10, kept); /* callers keep a value there */
}

static uint8_t *new_code(void)
{
    uint8_t *code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(code != MAP_FAILED);
    return code;
}

static void results_are_right_and_flags_stay(void **state)
{
    uint8_t *code = new_code();
    uint64_t seed = 88172645463325252u;
    for (unsigned bmi2 = 0; bmi2 <= host_has_bmi2(); bmi2++)
        for (unsigned i = 0; i < ARRAY_LEN(sequences); i++) {
            make(&sequences[i], bmi2, code);
            for (unsigned n = 0; n < ROUNDS; n++)
                try_one(&sequences[i], code, &seed);
        }
    munmap(code, CODE_BYTES);
}

static unsigned count_bmi2(const uint8_t *code, const uint8_t *end)
{
    ZydisDecoder d;
    ZydisDecodedInstruction z;
    unsigned found = 0;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (; code < end; code += z.length) {
        assert_true(ZYAN_SUCCESS(
            ZydisDecoderDecodeInstruction(&d, NULL, code, (ZyanUSize)(end - code), &z)));
        found += z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    }
    return found;
}

static void bmi2_only_where_it_may_be(void **state)
{
    uint8_t code[CODE_BYTES];
    unsigned with = 0, without = 0;
    for (unsigned i = 0; i < ARRAY_LEN(sequences); i++) {
        with += count_bmi2(code, make(&sequences[i], true, code));
        without += count_bmi2(code, make(&sequences[i], false, code));
    }
    assert_int_equal(with, 2); /* page and quarter */
    assert_int_equal(without, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_right_and_flags_stay),
        cmocka_unit_test(bmi2_only_where_it_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
