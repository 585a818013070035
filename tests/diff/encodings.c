/* SPDX-License-Identifier: MIT */
/* Which encodings the oracle generates. All prefixes, opcodes and ModRM bytes are offered to the
 * decoder; what it knows and what belongs to a Pentium III or to SSE2 stays, except the rows of
 * excluded[] below. So the list follows the manual's opcode map, aliases included, and not what
 * the interpreter happens to implement: an instruction without a row shows up as a difference. */
#include <errno.h>
#include <stdlib.h>

#include "encodings.h"

static const struct {
    uint16_t key;
    const char *why;
} excluded[] = {
#define GDT "depends on the kernel's descriptor tables"
    {ZYDIS_MNEMONIC_LAR, GDT},
    {ZYDIS_MNEMONIC_LSL, GDT},
    {ZYDIS_MNEMONIC_VERR, GDT},
    {ZYDIS_MNEMONIC_VERW, GDT},
    {ZYDIS_MNEMONIC_LDS, GDT},
    {ZYDIS_MNEMONIC_LES, GDT},
    {ZYDIS_MNEMONIC_LFS, GDT},
    {ZYDIS_MNEMONIC_LGS, GDT},
    {ZYDIS_MNEMONIC_LSS, GDT},
    {X86_MN_POP_SEG, GDT},
    {X86_MN_JMP_FAR, GDT},
    {X86_MN_CALL_FAR, GDT},
    {X86_MN_RET_FAR, GDT},
    {ZYDIS_MNEMONIC_IRET, GDT},
    {ZYDIS_MNEMONIC_IRETD, GDT},
#undef GDT
#define UMIP "faulted or faked by host kernels (UMIP)"
    {ZYDIS_MNEMONIC_SGDT, UMIP},
    {ZYDIS_MNEMONIC_SIDT, UMIP},
    {ZYDIS_MNEMONIC_SLDT, UMIP},
    {ZYDIS_MNEMONIC_STR, UMIP},
    {ZYDIS_MNEMONIC_SMSW, UMIP},
#undef UMIP
    {ZYDIS_MNEMONIC_INT, "enters the host's kernel"},
    {ZYDIS_MNEMONIC_SYSENTER, "enters the host's kernel"},
    {ZYDIS_MNEMONIC_SYSEXIT, "#UD or #GP by vendor in long mode"},
    {ZYDIS_MNEMONIC_UD0, "how many of its bytes are fetched depends on the vendor"},
    {ZYDIS_MNEMONIC_UD1, "how many of its bytes are fetched depends on the vendor"},
    {ZYDIS_MNEMONIC_ENDBR32, "a NOP of newer decoders"},
    {ZYDIS_MNEMONIC_INT1, "saved EIP depends on the hypervisor below the host"},
    {ZYDIS_MNEMONIC_CPUID, "reports another processor on purpose"},
    {ZYDIS_MNEMONIC_RDTSC, "not deterministic"},
    {ZYDIS_MNEMONIC_RDPMC, "not deterministic, CR4.PCE is the host's"},
};

const char *or_excluded(uint16_t key)
{
    for (size_t i = 0; i < ARRAY_LEN(excluded); i++)
        if (excluded[i].key == key)
            return excluded[i].why;
    return NULL;
}

bool or_several_accesses(uint16_t key)
{
    static const uint16_t keys[] = {
        ZYDIS_MNEMONIC_PUSHA,     ZYDIS_MNEMONIC_PUSHAD,  ZYDIS_MNEMONIC_POPA,
        ZYDIS_MNEMONIC_POPAD,     ZYDIS_MNEMONIC_ENTER,   ZYDIS_MNEMONIC_CMPSB,
        ZYDIS_MNEMONIC_CMPSW,     ZYDIS_MNEMONIC_CMPSD,   ZYDIS_MNEMONIC_CALL,
        ZYDIS_MNEMONIC_FRSTOR,    ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_MASKMOVQ,
        ZYDIS_MNEMONIC_MASKMOVDQU};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i] == key)
            return true;
    return false;
}

bool or_always_faults(uint16_t key)
{
    static const uint16_t keys[] = {
        ZYDIS_MNEMONIC_CLI,   ZYDIS_MNEMONIC_STI,    ZYDIS_MNEMONIC_CLTS,   ZYDIS_MNEMONIC_HLT,
        ZYDIS_MNEMONIC_IN,    ZYDIS_MNEMONIC_INSB,   ZYDIS_MNEMONIC_INSW,   ZYDIS_MNEMONIC_INSD,
        ZYDIS_MNEMONIC_OUT,   ZYDIS_MNEMONIC_OUTSB,  ZYDIS_MNEMONIC_OUTSW,  ZYDIS_MNEMONIC_OUTSD,
        ZYDIS_MNEMONIC_INT3,  ZYDIS_MNEMONIC_UD2,    ZYDIS_MNEMONIC_RSM,    ZYDIS_MNEMONIC_LGDT,
        ZYDIS_MNEMONIC_LIDT,  ZYDIS_MNEMONIC_LLDT,   ZYDIS_MNEMONIC_LTR,    ZYDIS_MNEMONIC_LMSW,
        ZYDIS_MNEMONIC_INVD,  ZYDIS_MNEMONIC_INVLPG, ZYDIS_MNEMONIC_WBINVD, ZYDIS_MNEMONIC_RDMSR,
        ZYDIS_MNEMONIC_WRMSR, X86_MN_MOV_CR,         X86_MN_MOV_DR};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i] == key)
            return true;
    return false;
}

static bool isa_wanted(ZydisISASet set)
{
    static const uint8_t wanted[] = {
        ZYDIS_ISA_SET_I86,           ZYDIS_ISA_SET_I186,        ZYDIS_ISA_SET_I286REAL,
        ZYDIS_ISA_SET_I286PROTECTED, ZYDIS_ISA_SET_I386,        ZYDIS_ISA_SET_I486,
        ZYDIS_ISA_SET_I486REAL,      ZYDIS_ISA_SET_PENTIUMREAL, ZYDIS_ISA_SET_PPRO,
        ZYDIS_ISA_SET_CMOV,          ZYDIS_ISA_SET_FCMOV,       ZYDIS_ISA_SET_FAT_NOP,
        ZYDIS_ISA_SET_LAHF,          ZYDIS_ISA_SET_X87,         ZYDIS_ISA_SET_PENTIUMMMX,
        ZYDIS_ISA_SET_FXSAVE,        ZYDIS_ISA_SET_SSE,         ZYDIS_ISA_SET_SSEMXCSR,
        ZYDIS_ISA_SET_SSE_PREFETCH,  ZYDIS_ISA_SET_SSE2,        ZYDIS_ISA_SET_SSE2MMX,
        ZYDIS_ISA_SET_CLFSH,         ZYDIS_ISA_SET_PAUSE,       ZYDIS_ISA_SET_RDPMC};
    return memchr(wanted, (int)set, sizeof(wanted)) != NULL;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static ZydisRegisterClass visible_class(const ZydisDecodedInstruction *in,
                                        const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < in->operand_count_visible; i++) {
        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegisterClass c = ZydisRegisterGetClass(ops[i].reg.value);
        if (c == ZYDIS_REGCLASS_SEGMENT || c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG)
            return c;
    }
    return ZYDIS_REGCLASS_INVALID;
}

uint16_t or_key(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *ops)
{
    bool far = in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    ZydisRegisterClass class = visible_class(in, ops);

    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        if (class == ZYDIS_REGCLASS_CONTROL)
            return X86_MN_MOV_CR;
        if (class == ZYDIS_REGCLASS_DEBUG)
            return X86_MN_MOV_DR;
        return class == ZYDIS_REGCLASS_SEGMENT ? X86_MN_MOV_SEG : ZYDIS_MNEMONIC_MOV;
    case ZYDIS_MNEMONIC_PUSH:
        return class == ZYDIS_REGCLASS_SEGMENT ? X86_MN_PUSH_SEG : ZYDIS_MNEMONIC_PUSH;
    case ZYDIS_MNEMONIC_POP:
        return class == ZYDIS_REGCLASS_SEGMENT ? X86_MN_POP_SEG : ZYDIS_MNEMONIC_POP;
    case ZYDIS_MNEMONIC_JMP:
        return far ? X86_MN_JMP_FAR : ZYDIS_MNEMONIC_JMP;
    case ZYDIS_MNEMONIC_CALL:
        return far ? X86_MN_CALL_FAR : ZYDIS_MNEMONIC_CALL;
    case ZYDIS_MNEMONIC_RET:
        return far ? X86_MN_RET_FAR : ZYDIS_MNEMONIC_RET;
    case ZYDIS_MNEMONIC_MOVSD:
        return in->meta.isa_set == ZYDIS_ISA_SET_SSE2 ? X86_MN_MOVSD_SSE : ZYDIS_MNEMONIC_MOVSD;
    case ZYDIS_MNEMONIC_CMPSD:
        return in->meta.isa_set == ZYDIS_ISA_SET_SSE2 ? X86_MN_CMPSD_SSE : ZYDIS_MNEMONIC_CMPSD;
    default:
        return (uint16_t)in->mnemonic;
    }
}

const char *or_key_name(uint16_t key)
{
    static const char *const own[] = {
        [X86_MN_MOV_SEG - X86_MN_MOV_SEG] = "mov_seg",
        [X86_MN_MOV_CR - X86_MN_MOV_SEG] = "mov_cr",
        [X86_MN_MOV_DR - X86_MN_MOV_SEG] = "mov_dr",
        [X86_MN_PUSH_SEG - X86_MN_MOV_SEG] = "push_seg",
        [X86_MN_POP_SEG - X86_MN_MOV_SEG] = "pop_seg",
        [X86_MN_JMP_FAR - X86_MN_MOV_SEG] = "jmp_far",
        [X86_MN_CALL_FAR - X86_MN_MOV_SEG] = "call_far",
        [X86_MN_RET_FAR - X86_MN_MOV_SEG] = "ret_far",
        [X86_MN_MOVSD_SSE - X86_MN_MOV_SEG] = "movsd_sse",
        [X86_MN_CMPSD_SSE - X86_MN_MOV_SEG] = "cmpsd_sse",
    };
    if (key >= X86_MN_MOV_SEG)
        return key - X86_MN_MOV_SEG < (int)ARRAY_LEN(own) ? own[key - X86_MN_MOV_SEG] : "?";
    return ZydisMnemonicGetString((ZydisMnemonic)key);
}

/* ---- building the list ----------------------------------------------------------------------- */

#define HAS_REP (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)

/* Prefix sets tried in front of every opcode: 67 only for jcxz and jecxz, the last two only for
 * string instructions. */
static const struct {
    uint8_t count, byte[2];
} prefix_sets[] = {{0, {0}},    {1, {0x66}},       {1, {0xf2}},      {1, {0xf3}},
                   {1, {0x67}}, {2, {0x66, 0xf2}}, {2, {0x66, 0xf3}}};

static bool is_prefix(unsigned map, unsigned op)
{
    static const uint8_t prefixes[] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64,
                                       0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    return map == 0 && memchr(prefixes, (int)op, sizeof(prefixes));
}

/* Does the decoder accept this candidate, and do we want it? */
static bool admit(const struct or_encodings *e, const struct or_encoding *c, uint8_t modrm,
                  uint16_t *key, bool *has_modrm)
{
    ZydisDecodedInstruction in;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    uint8_t b[15] = {0};
    unsigned n = 0;

    for (unsigned i = 0; i < c->prefixes; i++)
        b[n++] = c->prefix[i];
    if (c->map)
        b[n++] = 0x0f;
    b[n++] = c->opcode;
    b[n] = modrm;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&e->decoder, b, sizeof(b), &in, ops)))
        return false;
    *key = or_key(&in, ops);
    *has_modrm = in.attributes & ZYDIS_ATTRIB_HAS_MODRM;
    if (in.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || !isa_wanted(in.meta.isa_set) ||
        or_excluded(*key))
        return false;
    if (*key == X86_MN_MOV_SEG && ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(ops[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
        return false; /* a segment load */
    if (*key == X86_MN_PUSH_SEG && in.operand_width == 32)
        return false; /* P6 writes two bytes of the slot, AMD all four */
    /* A prefix without meaning for this opcode makes no new encoding. */
    for (unsigned i = 0; i < in.raw.prefix_count; i++)
        if (in.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_IGNORED)
            return false;
    uint8_t last = c->prefixes ? c->prefix[c->prefixes - 1] : 0;
    bool rep = last == 0xf2 || last == 0xf3;
    if (last == 0x67)
        return *key == ZYDIS_MNEMONIC_JCXZ || *key == ZYDIS_MNEMONIC_JECXZ;
    if (c->prefixes == 2)
        return in.attributes & HAS_REP;
    /* ZYDIS_PREFIX_TYPE_EFFECTIVE F2 and F3 that are not REP: BND, XACQUIRE and the like. */
    return !rep || in.attributes & HAS_REP ||
           in.raw.prefixes[0].type == ZYDIS_PREFIX_TYPE_MANDATORY;
}

static int append(struct or_encodings *e, const struct or_encoding *c)
{
    for (unsigned i = e->count; i-- > 0 && e->count - i <= 16;) {
        struct or_encoding *o = &e->list[i];
        if (o->key == c->key && o->map == c->map && o->opcode == c->opcode && o->form == c->form &&
            o->prefixes == c->prefixes && !memcmp(o->prefix, c->prefix, sizeof(o->prefix))) {
            o->modrm |= c->modrm;
            return 0;
        }
    }
    if (e->count % 256 == 0) {
        void *p = realloc(e->list, (e->count + 256) * sizeof(*e->list));
        if (!p)
            return -ENOMEM;
        e->list = p;
    }
    e->list[e->count++] = *c;
    return 0;
}

static int scan_opcode(struct or_encodings *e, struct or_encoding c)
{
    bool has_modrm;
    /* Memory operands as mod 0, rm 5 (an absolute address), then all registers. */
    for (unsigned i = 0; i < 8 + 64; i++) {
        bool memory = i < 8;
        unsigned bit = memory ? i * 8 : i - 8;
        uint8_t modrm = (uint8_t)(memory ? i << 3 | 5 : 0xc0 | bit);
        if (!admit(e, &c, modrm, &c.key, &has_modrm))
            continue;
        c.form = !has_modrm ? OR_NO_MODRM : memory ? OR_MEMORY : OR_REGISTER;
        c.modrm = UINT64_C(1) << bit;
        if (append(e, &c))
            return -ENOMEM;
        if (!has_modrm)
            break;
    }
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct or_encoding *x = a, *y = b;
    if (x->key != y->key)
        return (int)x->key - (int)y->key;
    return memcmp(&x->prefix, &y->prefix,
                  offsetof(struct or_encoding, form) - offsetof(struct or_encoding, prefix));
}

int or_encodings_init(struct or_encodings *e, bool code16)
{
    memset(e, 0, sizeof(*e));
    ZydisDecoderInit(&e->decoder,
                     code16 ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_LEGACY_32,
                     code16 ? ZYDIS_STACK_WIDTH_16 : ZYDIS_STACK_WIDTH_32);
    for (unsigned p = 0; p < ARRAY_LEN(prefix_sets); p++)
        for (unsigned map = 0; map < 2; map++)
            for (unsigned op = 0; op < 256; op++) {
                struct or_encoding c = {
                    .prefixes = prefix_sets[p].count, .map = (uint8_t)map, .opcode = (uint8_t)op};
                memcpy(c.prefix, prefix_sets[p].byte, sizeof(c.prefix));
                if (!is_prefix(map, op) && scan_opcode(e, c))
                    return -ENOMEM;
            }
    qsort(e->list, e->count, sizeof(*e->list), by_key);
    for (unsigned i = 0; i < e->count; i++) {
        uint16_t key = e->list[i].key;
        if (e->entries[key]++ == 0) {
            e->first[key] = i;
            e->keys[e->key_count++] = key;
        }
    }
    return 0;
}

void or_encodings_free(struct or_encodings *e)
{
    free(e->list);
}
