/* SPDX-License-Identifier: MIT */
/* x86_decode_layout(): a table of encodings with what each part must be, and a sweep over opcodes,
 * prefixes and addressing forms in which the parts must add up to the length. */
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

enum {
    O66 = 1 << 0,  /* opsize_66 */
    REG = 1 << 1,  /* reg_is_gpr */
    RM = 1 << 2,   /* rm_is_gpr */
    OPR = 1 << 3,  /* opcode_reg_is_gpr */
    BYTE = 1 << 4, /* byte_reg */
    HIGH = 1 << 5, /* high_byte */
    RD = 1 << 6,   /* mem_read */
    WR = 1 << 7,   /* mem_write */
    MRM = 1 << 8   /* has_modrm */
};

struct expected {
    const char *what;
    unsigned code_size;
    const char *hex;
    unsigned opcode_at, opcode_len, mandatory, imm_at, imm_len, mem_bytes, bits;
};

/* clang-format off */
static const struct expected table[] = {
    /* operand size by prefix and by mode */
    {"add eax, ebx",             4, "01d8",             0, 1, 0,    0, 0, 0, MRM | REG | RM},
    {"add ax, bx",               4, "6601d8",           1, 1, 0,    0, 0, 0, MRM | REG | RM | O66},
    {"add ax, bx",               2, "01d8",             0, 1, 0,    0, 0, 0, MRM | REG | RM | O66},
    {"add eax, ebx",             2, "6601d8",           1, 1, 0,    0, 0, 0, MRM | REG | RM},
    {"cbw",                      4, "6698",             1, 1, 0,    0, 0, 0, O66},
    {"cwde",                     2, "6698",             1, 1, 0,    0, 0, 0, 0},
    {"mul cx",                   4, "66f7e1",           1, 1, 0,    0, 0, 0, MRM | RM | O66},
    {"movzx ax, ah",             2, "0fb6c4",           0, 2, 0,    0, 0, 0, MRM | REG | O66 | BYTE | HIGH},
    {"bswap ax",                 4, "660fc8",           1, 2, 0,    0, 0, 0, OPR | O66},
    /* immediates */
    {"add dword [esp+], imm32",  4, "81842401020304" "05060708", 0, 1, 0, 7, 4, 4, MRM | RD | WR},
    {"add word [esp], imm16",    4, "668104240102",     1, 1, 0,    4, 2, 2, MRM | RD | WR | O66},
    {"add esp, imm8",            4, "83c410",           0, 1, 0,    2, 1, 0, MRM | RM},
    {"imul eax, ebx, imm8",      4, "6bc37f",           0, 1, 0,    2, 1, 0, MRM | REG | RM},
    {"imul eax, [ebx], imm32",   4, "690301020304",     0, 1, 0,    2, 4, 4, MRM | REG | RD},
    {"mov [ebx+ecx*4+], imm32",  4, "c7848b10000000" "78563412", 0, 1, 0, 7, 4, 4, MRM | WR},
    {"mov eax, imm32",           4, "b801020304",       0, 1, 0,    1, 4, 0, OPR},
    {"mov ax, imm16",            4, "66b80102",         1, 1, 0,    2, 2, 0, OPR | O66},
    {"mov ah, imm8",             4, "b407",             0, 1, 0,    1, 1, 0, BYTE | HIGH},
    {"mov al, imm8",             4, "b007",             0, 1, 0,    1, 1, 0, BYTE},
    {"add al, imm8 by 82",       4, "82c001",           0, 1, 0,    2, 1, 0, MRM | BYTE},
    {"enter",                    4, "c8341203",         0, 1, 0,    1, 3, 0, 0},
    {"jmp far",                  4, "ea010203040506",   0, 1, 0,    1, 6, 0, 0},
    {"jz rel32",                 4, "0f8401020304",     0, 2, 0,    2, 4, 0, 0},
    {"call rel16",               4, "66e80102",         1, 1, 0,    2, 2, 0, O66},
    {"shld eax, ebx, imm8",      4, "0fa4d805",         0, 2, 0,    3, 1, 0, MRM | REG | RM},
    /* registers in the opcode */
    {"xchg eax, ebx",            4, "93",               0, 1, 0,    0, 0, 0, OPR},
    {"inc esp",                  4, "44",               0, 1, 0,    0, 0, 0, OPR},
    {"push esp",                 4, "54",               0, 1, 0,    0, 0, 0, OPR},
    {"nop",                      4, "90",               0, 1, 0,    0, 0, 0, 0},
    /* byte registers */
    {"add ah, bl",               4, "00dc",             0, 1, 0,    0, 0, 0, MRM | BYTE | HIGH},
    {"sub [eax], bl",            4, "2818",             0, 1, 0,    0, 0, 1, MRM | BYTE | RD | WR},
    {"setz ah",                  4, "0f94c4",           0, 2, 0,    0, 0, 0, MRM | BYTE | HIGH},
    {"setz [eax]",               4, "0f9400",           0, 2, 0,    0, 0, 1, MRM | WR},
    {"shl esp, cl",              4, "d3e4",             0, 1, 0,    0, 0, 0, MRM | RM | BYTE},
    {"movsx ax, ah",             4, "660fbec4",         1, 2, 0,    0, 0, 0, MRM | REG | O66 | BYTE | HIGH},
    {"movzx eax, sp",            4, "0fb7c4",           0, 2, 0,    0, 0, 0, MRM | REG | RM},
    {"mov [disp32], al",         4, "a278563412",       0, 1, 0,    0, 0, 1, BYTE | WR},
    /* memory: what is done to it */
    {"lea",                      4, "8d448b04",         0, 1, 0,    0, 0, 0, MRM | REG},
    {"mov eax, [disp32]",        4, "a178563412",       0, 1, 0,    0, 0, 4, RD},
    {"mov eax, [disp16]",        4, "67a13412",         1, 1, 0,    0, 0, 4, RD},
    {"pop [esp]",                4, "8f0424",           0, 1, 0,    0, 0, 4, MRM | WR},
    {"lock xadd [eax], esp",     4, "f00fc120",         1, 2, 0,    0, 0, 4, MRM | REG | RD | WR},
    {"lock cmpxchg8b",           4, "f00fc708",         1, 2, 0,    0, 0, 8, MRM | RD | WR},
    {"cmpxchg8b in 16-bit code", 2, "0fc708",           0, 2, 0,    0, 0, 8, MRM | RD | WR},
    {"cmovz esp, [eax]",         4, "0f4420",           0, 2, 0,    0, 0, 4, MRM | REG | RD},
    {"bts [eax], ebx",           4, "0fab18",           0, 2, 0,    0, 0, 4, MRM | REG | RD | WR},
    {"xlat",                     4, "d7",               0, 1, 0,    0, 0, 0, 0},
    /* prefixes in number, order and without meaning */
    {"mov ax, [bx]",             4, "66662e3ef3678b07", 6, 1, 0,    0, 0, 2, MRM | REG | RD | O66},
    {"add eax, [bx+si+16]",      4, "67034010",         1, 1, 0,    0, 0, 4, MRM | REG | RD},
    {"add eax, gs:[ecx*4+]",     4, "6503048d78563412", 1, 1, 0,    0, 0, 4, MRM | REG | RD},
    {"mov ax, [esp+8]",          2, "678b442408",       1, 1, 0,    0, 0, 2, MRM | REG | RD | O66},
    {"rep bsf",                  4, "f30fbcc3",         1, 2, 0,    0, 0, 0, MRM | REG | RM},
    {"repne bsr",                4, "f20fbdc0",         1, 2, 0,    0, 0, 0, MRM | REG | RM},
    {"rep movsd",                4, "f3a5",             1, 1, 0,    0, 0, 0, 0},
    {"rep stosw",                4, "f366ab",           2, 1, 0,    0, 0, 0, O66},
    {"repne scasb",              4, "f2ae",             1, 1, 0,    0, 0, 0, 0},
    {"pause",                    4, "f390",             1, 1, 0xf3, 0, 0, 0, 0},
    {"repne nop",                4, "f290",             1, 1, 0,    0, 0, 0, 0},
    {"rep ret",                  4, "f3c3",             1, 1, 0,    0, 0, 0, 0},
    /* x87, MMX, SSE: 66 is part of the opcode or means nothing */
    {"fld tbyte",                4, "db28",             0, 1, 0,    0, 0, 10, MRM | RD},
    {"fnstsw ax",                2, "dfe0",             0, 1, 0,    0, 0, 0, MRM},
    {"fild word",                4, "66df00",           1, 1, 0,    0, 0, 2, MRM | RD},
    {"movd mm0, esp",            4, "0f6ec4",           0, 2, 0,    0, 0, 0, MRM | RM},
    {"movd xmm0, esp",           4, "660f6ec4",         1, 2, 0x66, 0, 0, 0, MRM | RM},
    {"movd mm0, esp",            2, "0f6ec4",           0, 2, 0,    0, 0, 0, MRM | RM},
    {"movq mm0, [eax]",          4, "0f6f00",           0, 2, 0,    0, 0, 8, MRM | RD},
    {"movdqa",                   4, "660f6f00",         1, 2, 0x66, 0, 0, 16, MRM | RD},
    {"movdqu with 66 first",     4, "66f30f6f00",       2, 2, 0xf3, 0, 0, 16, MRM | RD},
    {"movdqu with 66 last",      4, "f3660f6f00",       2, 2, 0xf3, 0, 0, 16, MRM | RD},
    {"movss: the last one",      4, "f2f30f1000",       2, 2, 0xf3, 0, 0, 4, MRM | RD},
    {"movsd: the last one",      4, "f3f20f1000",       2, 2, 0xf2, 0, 0, 8, MRM | RD},
    {"pextrw eax, xmm1, 3",      4, "660fc5c103",       1, 2, 0x66, 4, 1, 0, MRM | REG},
    {"pinsrw mm0, esp, 3",       4, "0fc4c403",         0, 2, 0,    3, 1, 0, MRM | RM},
    {"cvttsd2si esp, xmm1",      4, "f2660f2ce1",       2, 2, 0xf2, 0, 0, 0, MRM | REG},
    {"psrldq xmm1, 4",           4, "660f73d904",       1, 2, 0x66, 4, 1, 0, MRM},
    {"movq2dq",                  4, "f30fd6c1",         1, 2, 0xf3, 0, 0, 0, MRM},
    {"mfence in 16-bit code",    2, "0faef0",           0, 2, 0,    0, 0, 0, MRM},
    {"prefetch in 16-bit code",  2, "0f1800",           0, 2, 0,    0, 0, 1, MRM | RD},
    {"fxsave",                   4, "0fae00",           0, 2, 0,    0, 0, 512, MRM | WR},
    /* three-byte opcodes: no rows, but the parts are where they are */
    {"pshufb",                   4, "660f3800c1",       1, 3, 0x66, 0, 0, 0, MRM},
    {"palignr",                  4, "660f3a0fc108",     1, 3, 0x66, 5, 1, 0, MRM},
    {"movbe",                    4, "0f38f000",         0, 3, 0,    0, 0, 4, MRM | REG | RD},
    {"crc32 with 66",            4, "66f20f38f1c0",     2, 3, 0xf2, 0, 0, 0, MRM | REG | RM | O66},
    /* none of ours */
    {"vmovaps",                  4, "c5f828c1",         0, 0, 0,    0, 0, 0, 0},
    {"pfadd",                    4, "0f0fc19e",         0, 0, 0,    0, 0, 0, 0},
    {"lock mov",                 4, "f08918",           0, 0, 0,    0, 0, 0, 0},
};
/* clang-format on */

static unsigned parse(const char *hex, uint8_t *code)
{
    unsigned n = 0, byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        code[n++] = (uint8_t)byte;
    return n;
}

static unsigned bits_of(const struct x86_layout *l)
{
    return (l->opsize_66 ? O66 : 0) | (l->reg_is_gpr ? REG : 0) | (l->rm_is_gpr ? RM : 0) |
           (l->opcode_reg_is_gpr ? OPR : 0) | (l->byte_reg ? BYTE : 0) | (l->high_byte ? HIGH : 0) |
           (l->mem_read ? RD : 0) | (l->mem_write ? WR : 0) | (l->has_modrm ? MRM : 0);
}

static void table_of_encodings(void **state)
{
    for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
        const struct expected *t = &table[i];
        struct x86_insn in, plain;
        struct x86_layout l;
        uint8_t code[16];
        unsigned n = parse(t->hex, code);
        assert_true(x86_decode_layout(decoder, code, n, t->code_size, &in, &l));
        assert_true(x86_decode(decoder, code, n, t->code_size, &plain));
        assert_memory_equal(&in, &plain, sizeof in);
        if (l.opcode_at != t->opcode_at || l.opcode_len != t->opcode_len ||
            l.mandatory != t->mandatory || l.imm_at != t->imm_at || l.imm_len != t->imm_len ||
            l.mem_bytes != t->mem_bytes || bits_of(&l) != t->bits)
            fail_msg("%s (%s): opcode %u+%u mandatory %02x imm %u+%u mem %u bits %03x, not %03x",
                     t->what, t->hex, l.opcode_at, l.opcode_len, l.mandatory, l.imm_at, l.imm_len,
                     l.mem_bytes, bits_of(&l), t->bits);
    }
}

static void nothing_of_what_is_incomplete(void **state)
{
    static const uint8_t code[] = {0x66, 0x81, 0x84, 0x24, 1, 2, 3, 4, 5, 6};
    struct x86_insn in;
    struct x86_layout l;
    for (unsigned n = 1; n < sizeof code; n++) {
        assert_false(x86_decode_layout(decoder, code, n, 4, &in, &l));
        assert_int_equal(l.opcode_len, 0);
    }
    assert_true(x86_decode_layout(decoder, code, sizeof code, 4, &in, &l));
    assert_int_equal(l.imm_at, 8);
}

/* Bytes of SIB and displacement by the manual's tables (SDM vol. 2A tables 2-1 and 2-2). */
static unsigned address_bytes(unsigned asize, uint8_t modrm, uint8_t sib)
{
    unsigned mod = modrm >> 6, rm = modrm & 7;
    if (mod == 3)
        return 0;
    if (asize == 2)
        return mod == 0 ? (rm == 6 ? 2 : 0) : mod;
    unsigned base = rm == 4 ? sib & 7 : rm;
    return (rm == 4) + (mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0);
}

static void check_sum(const uint8_t *code, unsigned prefixes, unsigned code_size, unsigned *seen)
{
    struct x86_insn in;
    struct x86_layout l;
    assert_true(x86_decode_layout(decoder, code, 15, code_size, &in, &l));
    if (l.opcode_len == 0)
        return;
    unsigned end = l.opcode_at + l.opcode_len;
    bool ok = l.opcode_at == prefixes && code[end - 1] == in.opcode;
    if (l.has_modrm) {
        ok &= code[end] == in.modrm;
        /* Moves of control and debug registers take any mod for 3. */
        bool registers = l.opcode_len == 2 && in.opcode >= 0x20 && in.opcode <= 0x23;
        end += 1 + (registers ? 0 : address_bytes(in.asize, code[end], code[end + 1]));
    } else if (in.has_mem && in.opcode >= 0xa0 && in.opcode <= 0xa3) {
        end += in.asize;
    }
    ok &= l.imm_len ? l.imm_at == end : l.imm_at == 0;
    ok &= end + l.imm_len == in.len;
    if (!ok)
        fail_msg("prefixes %u, %02x %02x %02x %02x %02x, %u-bit code", prefixes, code[0], code[1],
                 code[2], code[3], code[4], code_size * 8);
    (*seen)++;
}

static void parts_add_up_to_the_length(void **state)
{
    static const char *const prefixes[] = {"",     "66",     "67",   "6667", "f3",
                                           "66f2", "2e6765", "f366", "f0"};
    static const char *const escapes[] = {"", "0f", "0f38", "0f3a"};
    unsigned seen = 0;
    for (unsigned p = 0; p < ARRAY_LEN(prefixes); p++)
        for (unsigned e = 0; e < ARRAY_LEN(escapes); e++)
            for (unsigned op = 0; op < 256; op++) {
                uint8_t code[24] = {0};
                unsigned start = parse(prefixes[p], code);
                unsigned at = start + parse(escapes[e], code + start);
                static const uint8_t again[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
                                                0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f};
                if (e == 0 && memchr(again, (int)op, sizeof again))
                    continue; /* a prefix or an escape */
                code[at] = (uint8_t)op;
                for (unsigned modrm = 0; modrm < 256; modrm++)
                    for (unsigned sib = 0; sib < 2; sib++) {
                        code[at + 1] = (uint8_t)modrm;
                        code[at + 2] = sib ? 0x25 : 0x24;
                        check_sum(code, start, 2, &seen);
                        check_sum(code, start, 4, &seen);
                    }
            }
    assert_in_range(seen, 1000000, 20000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_of_encodings),
        cmocka_unit_test(nothing_of_what_is_incomplete),
        cmocka_unit_test(parts_add_up_to_the_length),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
