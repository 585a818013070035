/* SPDX-License-Identifier: MIT */
/* Makes oracle cases: picks encodings evenly over the mnemonics, fills in operands at random, then
 * steers. Steering sets displacements and initial registers so that most memory operands hit
 * mapped pages, counts are small and branches go forward to an instruction of the case. A register
 * that an earlier instruction writes ("clobbered") has no known value any more, one that an
 * earlier address depends on ("used") is not moved again. What cannot be steered is mostly thrown
 * away and tried again, and sometimes kept, since faults are results too. */
#include <errno.h>
#include <stdlib.h>

#include "encodings.h"

#define ATTEMPTS             12
#define IMPLICIT_STACK_REACH 0x400

struct or_generator {
    struct or_encodings enc[2]; /* 32-bit code, 16-bit code */
    unsigned modes;
    uint16_t only; /* key or 0 */
    bool strict;
    uint64_t generated[OR_KEYS], completed[OR_KEYS];
};

struct branch { /* a target to fill in when the layout is known */
    enum { BRANCH_REL, BRANCH_GPR, BRANCH_MEMORY } kind;
    uint8_t insn;
    uint8_t at, size; /* BRANCH_REL: where in the instruction */
    uint32_t where;   /* BRANCH_GPR: register; BRANCH_MEMORY: address */
};

/* One case in the making. */
struct builder {
    struct or_generator *g;
    const struct or_encodings *enc;
    const struct or_mode *mode;
    struct or_case *c;
    struct or_rng rng;
    uint8_t clobbered, used; /* masks of general registers */
    uint32_t undefined;      /* EFLAGS */
    bool branched;
    bool stack_moved; /* ESP is no longer the initial one */
    bool environment; /* where the FPU last ran is somewhere in OR_SAVE */
    struct branch branch[OR_MAX_INSNS];
    unsigned branches;
};

struct candidate {
    const struct or_encoding *enc;
    uint8_t bytes[16];
    ZydisDecodedInstruction in;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    uint32_t target; /* linear address of the last steered operand */
    bool illegal_lock;
};

/* Instructions that store where the FPU last ran; they go to OR_SAVE, exactly. */
static bool stores_environment(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_FNSAVE || m == ZYDIS_MNEMONIC_FNSTENV || m == ZYDIS_MNEMONIC_FXSAVE;
}

static bool uses_save_area(ZydisMnemonic m)
{
    return stores_environment(m) || m == ZYDIS_MNEMONIC_FRSTOR || m == ZYDIS_MNEMONIC_FLDENV ||
           m == ZYDIS_MNEMONIC_FXRSTOR;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* short_address: the instruction has 16-bit addresses. */
static uint8_t pick_modrm(struct builder *b, const struct or_encoding *enc, bool short_address)
{
    unsigned bit;
    do
        bit = or_below(&b->rng, 64) & (enc->form == OR_MEMORY ? ~7u : ~0u);
    while (!(enc->modrm >> bit & 1));
    if (enc->form == OR_REGISTER)
        return (uint8_t)(0xc0 | bit);
    unsigned r = or_below(&b->rng, 100);
    if (r < 12)
        return (uint8_t)(bit | (short_address ? 6 : 5)); /* absolute */
    unsigned mod = r < 60 ? 2 : r < 82 ? 1 : 0;
    return (uint8_t)(mod << 6 | bit | or_below(&b->rng, 8));
}

/* Processors let F2 and F3 change the condition of these. */
static bool is_loop(uint16_t key)
{
    return key == ZYDIS_MNEMONIC_LOOPE || key == ZYDIS_MNEMONIC_LOOPNE;
}

/* Segment override and address size. Returns the number of bytes. */
static unsigned optional_prefixes(struct builder *b, const struct or_encoding *enc, uint8_t *p,
                                  bool *short_address)
{
    static const uint8_t seg[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    bool memory = enc->form == OR_MEMORY, flat = b->c->mode == 0;
    bool other_size = or_percent(&b->rng, memory ? 6 : 2);
    bool save = uses_save_area((ZydisMnemonic)enc->key);
    unsigned n = 0;

    *short_address = b->mode->code16 != other_size;
    if (other_size)
        p[n++] = 0x67;
    if (!flat && save) /* only GS reaches OR_SAVE */
        p[n++] = 0x65;
    else if (flat && *short_address && or_percent(&b->rng, 90)) /* only FS and GS reach data */
        p[n++] = seg[4 + or_below(&b->rng, 2)];
    else if (or_percent(&b->rng, memory ? 12 : 3))
        p[n++] = seg[or_below(&b->rng, 6)];
    if (or_percent(&b->rng, 1) && !is_loop(enc->key)) /* a prefix that should change nothing */
        p[n++] = (uint8_t)(0xf2 + or_below(&b->rng, 2));
    for (unsigned i = 0; i < enc->prefixes; i++)
        p[n++] = enc->prefix[i];
    return n;
}

static bool decode(struct builder *b, struct candidate *k)
{
    static const ZydisAccessedFlags none;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&b->enc->decoder, k->bytes, 15, &k->in, k->ops)))
        return false;
    if (!k->in.cpu_flags)
        k->in.cpu_flags = &none;
    return or_key(&k->in, k->ops) == k->enc->key;
}

static void random_immediates(struct builder *b, struct candidate *k)
{
    for (unsigned i = 0; i < 2; i++) {
        uint32_t x = or_random_word(&b->rng);
        if (k->in.raw.imm[i].size && or_percent(&b->rng, 50))
            memcpy(k->bytes + k->in.raw.imm[i].offset, &x, k->in.raw.imm[i].size / 8);
    }
    if (k->in.mnemonic == ZYDIS_MNEMONIC_ENTER && or_percent(&b->rng, 95)) {
        uint16_t frame = (uint16_t)or_below(&b->rng, 256);
        memcpy(k->bytes + k->in.raw.imm[0].offset, &frame, 2);
    }
}

/* LOCK: where it is allowed on a memory destination, and rarely where it is not. */
static bool add_lock(struct builder *b, struct candidate *k)
{
    bool allowed = k->in.attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK && k->enc->form == OR_MEMORY;
    if (!or_percent(&b->rng, allowed ? 15 : 1))
        return true;
    if (k->enc->key == X86_MN_MOV_CR) /* another register on some processors */
        return true;
    ZydisDecodedInstruction plain = k->in;
    memmove(k->bytes + 1, k->bytes, sizeof(k->bytes) - 1);
    k->bytes[0] = 0xf0;
    if (decode(b, k))
        return true;
    ZyanStatus s = ZydisDecoderDecodeInstruction(&b->enc->decoder, NULL, k->bytes, 15, &k->in);
    k->in = plain;
    k->in.length++;
    k->illegal_lock = s == ZYDIS_STATUS_ILLEGAL_LOCK;
    return k->illegal_lock && k->in.length <= 15;
}

/* Random bytes that decode to the wanted row. */
static bool random_candidate(struct builder *b, const struct or_encoding *enc, struct candidate *k)
{
    *k = (struct candidate){.enc = enc};
    bool short_address;
    unsigned n = optional_prefixes(b, enc, k->bytes, &short_address);
    if (enc->map)
        k->bytes[n++] = 0x0f;
    k->bytes[n++] = enc->opcode;
    if (enc->form != OR_NO_MODRM)
        k->bytes[n++] = pick_modrm(b, enc, short_address);
    while (n < sizeof(k->bytes))
        k->bytes[n++] = (uint8_t)or_rand(&b->rng);
    if (!decode(b, k))
        return false;
    random_immediates(b, k);
    return add_lock(b, k);
}

/* ---- registers ------------------------------------------------------------------------------- */

static int gpr_number(ZydisRegister r)
{
    ZydisRegisterClass c = ZydisRegisterGetClass(r);
    if (c != ZYDIS_REGCLASS_GPR8 && c != ZYDIS_REGCLASS_GPR16 && c != ZYDIS_REGCLASS_GPR32)
        return -1;
    return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LEGACY_32, r));
}

/* The initial value may still be chosen. */
static bool is_free(const struct builder *b, int r)
{
    return r >= 0 && r != X86_ESP && !((b->clobbered | b->used) >> r & 1);
}

static bool is_known(const struct builder *b, int r)
{
    return r < 0 || !(b->clobbered >> r & 1);
}

static void set_if_free(struct builder *b, int r, uint32_t value)
{
    if (is_free(b, r)) {
        b->c->init.gpr[r] = value;
        b->used |= (uint8_t)(1 << r);
    }
}

static uint32_t register_value(const struct builder *b, ZydisRegister r)
{
    int n = gpr_number(r);
    if (n < 0)
        return 0;
    uint32_t x = b->c->init.gpr[n];
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
        return (uint8_t)x; /* only al is ever an index */
    case ZYDIS_REGCLASS_GPR16:
        return (uint16_t)x;
    default:
        return x;
    }
}

/* Offset of OR_STACK in SS. */
static uint32_t stack_offset(const struct builder *b)
{
    return OR_STACK - b->mode->seg[X86_SS].base;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static const struct or_seg *segment_of(const struct builder *b, ZydisRegister seg)
{
    return &b->mode->seg[seg - ZYDIS_REGISTER_ES];
}

/* Stores go to the upper half of OR_SAVE, loads come from the lower half: what is stored there is
 * in part not compared. */
static uint32_t pick_save_target(struct builder *b, ZydisMnemonic m)
{
    uint32_t slots = OR_SAVE_BYTES / 512 / 2;
    uint32_t slot =
        OR_SAVE + 512 * (or_below(&b->rng, slots) + (stores_environment(m) ? slots : 0));
    if (m == ZYDIS_MNEMONIC_LDMXCSR)
        return slot + offsetof(struct or_fx, mxcsr);
    if (m == ZYDIS_MNEMONIC_FLDENV || m == ZYDIS_MNEMONIC_FNSTENV)
        return slot + or_below(&b->rng, 400);
    return or_percent(&b->rng, 95) || slot == OR_SAVE + OR_SAVE_BYTES - 512 ? slot : slot + 8;
}

/* Where an operand of `size` bytes should lie. */
static uint32_t pick_target(struct builder *b, const struct candidate *k, uint32_t size)
{
    ZydisMnemonic m = k->in.mnemonic;
    unsigned align = or_percent(&b->rng, 65) ? 16 : 1, p = or_below(&b->rng, 100);

    if (uses_save_area(m) || (m == ZYDIS_MNEMONIC_LDMXCSR && or_percent(&b->rng, 85)))
        return pick_save_target(b, m);
    if (size >= 16)
        align = or_percent(&b->rng, 92) ? 16 : 1;
    while (align > 1 && align > size)
        align /= 2;
    /* A split lock is a denial of service on some hosts: never split one. */
    bool locked = k->in.attributes & ZYDIS_ATTRIB_HAS_LOCK || m == ZYDIS_MNEMONIC_XCHG;
    if (locked)
        align = 8;
    if (p < 86 || (locked && p < 94))
        return OR_DATA + (or_below(&b->rng, OR_DATA_BYTES - size + 1) & ~(align - 1));
    if (p < 91 && !locked) /* over the boundary of two pages, read-write or read-only */
        return OR_DATA + (1 + or_below(&b->rng, 3)) * 0x1000 - or_below(&b->rng, size + 1);
    if (p < 96)
        return (OR_RO + or_below(&b->rng, OR_RO_BYTES - size)) & ~(align - 1);
    return (uint32_t)or_rand(&b->rng) & ~(align - 1);
}

/* Make base + index * scale + displacement of this operand reach a good address. */
static bool steer(struct builder *b, struct candidate *k, const ZydisDecodedOperand *op)
{
    int base = gpr_number(op->mem.base), index = gpr_number(op->mem.index);
    bool short_address = k->in.address_width == 16;
    uint32_t size = op->size / 8 ? op->size / 8 : 1;
    uint32_t seg = segment_of(b, op->mem.segment)->base;
    uint32_t sum =
        register_value(b, op->mem.base) + register_value(b, op->mem.index) * op->mem.scale;
    bool explicit = op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT;

    if (!is_known(b, base) || !is_known(b, index))
        return false;
    if (base == X86_ESP && !explicit)
        return true; /* push, pop and so on */
    if (base == X86_ESP && b->stack_moved && stores_environment(k->in.mnemonic))
        return false;
    k->target = pick_target(b, k, size);
    uint32_t want = k->target - seg;
    if (uses_save_area(k->in.mnemonic) &&
        (want > segment_of(b, op->mem.segment)->limit || (short_address && want > 0xffff)))
        return false;
    if (explicit && k->in.raw.disp.size == (short_address ? 16 : 32)) {
        want -= sum;
        memcpy(k->bytes + k->in.raw.disp.offset, &want, k->in.raw.disp.size / 8);
    } else {
        uint32_t disp = (uint32_t)op->mem.disp.value;
        int r = is_free(b, base) && base != index                          ? base
                : is_free(b, index) && op->mem.scale == 1 && base != index ? index
                                                                           : -1;
        if (r >= 0 && ZydisRegisterGetClass(r == base ? op->mem.base : op->mem.index) !=
                          ZYDIS_REGCLASS_GPR8) {
            uint32_t *x = &b->c->init.gpr[r], move = want - sum - disp;
            *x = short_address ? (*x & 0xffff0000) | (uint16_t)(*x + move) : *x + move;
        } else {
            uint32_t ea = sum + disp;
            k->target = (short_address ? (uint16_t)ea : ea) + seg;
            if (uses_save_area(k->in.mnemonic) || !or_writable(k->target, size))
                return false;
        }
    }
    if (base >= 0)
        b->used |= (uint8_t)(1 << base);
    if (index >= 0)
        b->used |= (uint8_t)(1 << index);
    return true;
}

static bool steer_all(struct builder *b, struct candidate *k)
{
    bool good = true;
    for (unsigned i = 0; i < k->in.operand_count; i++)
        if (k->ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            k->ops[i].mem.type == ZYDIS_MEMOP_TYPE_MEM)
            good &= steer(b, k, &k->ops[i]);
    return good;
}

/* ---- per instruction ------------------------------------------------------------------------- */

static void add_patch(struct builder *b, uint32_t addr, uint32_t size, uint64_t value)
{
    if (b->c->patches < ARRAY_LEN(b->c->patch) && or_writable(addr, size))
        b->c->patch[b->c->patches++] = (struct or_patch){addr, size, value};
}

static void add_ignore(struct builder *b, uint32_t addr, uint32_t size)
{
    if (b->c->ignores < ARRAY_LEN(b->c->ignore))
        b->c->ignore[b->c->ignores++] = (struct or_ignore){addr, size};
}

/* Equal operands are too rare to wait for. */
static void tune_cmpxchg(struct builder *b, struct candidate *k)
{
    uint32_t *gpr = b->c->init.gpr;
    if (or_percent(&b->rng, 50))
        return;
    if (k->in.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B)
        add_patch(b, k->target, 8, (uint64_t)gpr[X86_EDX] << 32 | gpr[X86_EAX]);
    else if (k->enc->form == OR_MEMORY)
        add_patch(b, k->target, k->ops[0].size / 8, gpr[X86_EAX]);
    else
        set_if_free(b, X86_EAX, register_value(b, k->ops[0].reg.value));
}

/* Registers an instruction takes without naming them as an address. */
static void tune_registers(struct builder *b, struct candidate *k)
{
    struct or_rng *r = &b->rng;

    if (k->in.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
        set_if_free(b, X86_ECX, or_percent(r, 93) ? or_below(r, 24) : or_below(r, 20000));
    switch (k->in.mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        if (or_percent(r, 75))
            set_if_free(b, X86_EDX, or_percent(r, 50) ? 0 : or_below(r, 8) - 4);
        break;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        if (k->enc->form == OR_MEMORY && k->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            or_percent(r, 90))
            set_if_free(b, gpr_number(k->ops[1].reg.value), or_below(r, 0x2000) - 0x1000);
        break;
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        tune_cmpxchg(b, k);
        break;
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
        set_if_free(b, X86_EBP, stack_offset(b) + 0x400 + or_below(r, 0x1800));
        break;
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
        if (or_percent(r, 60))
            set_if_free(b, X86_ECX, or_below(r, 2) | (or_below(r, 2) << 16));
        break;
    default:
        break;
    }
}

static void note_environment(struct builder *b, const struct candidate *k)
{
    bool word = k->ops[0].size == 14 * 8 || k->ops[0].size == 94 * 8;
    uint32_t t = k->target;
    if (!stores_environment(k->in.mnemonic))
        return;
    b->environment = true;
    b->clobbered |= b->used; /* some of these point there */
    if (k->in.mnemonic == ZYDIS_MNEMONIC_FXSAVE) {
        add_ignore(b, t + 6, 18); /* FOP, FIP, FCS, FDP, FDS */
        add_ignore(b, t + 28, 4); /* MXCSR_MASK: the virtual processor's own */
    } else {
        add_ignore(b, t + (word ? 6 : 12), word ? 8 : 16);
    }
}

/* Branch targets wait for the layout. */
static void note_branch(struct builder *b, const struct candidate *k)
{
    struct branch br = {.insn = (uint8_t)b->c->insns};
    const ZydisDecodedOperand *op = &k->ops[0];

    if (k->in.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE)
        return;
    b->branched = true;
    if (k->in.attributes & ZYDIS_ATTRIB_IS_RELATIVE) {
        br.kind = BRANCH_REL;
        br.at = k->in.raw.imm[0].offset;
        br.size = k->in.raw.imm[0].size / 8;
    } else if (k->in.mnemonic == ZYDIS_MNEMONIC_RET) {
        br.kind = BRANCH_MEMORY;
        br.where = b->c->init.gpr[X86_ESP];
        if (!b->mode->seg[X86_SS].big)
            br.where &= 0xffff;
        br.where += b->mode->seg[X86_SS].base;
    } else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        int r = gpr_number(op->reg.value);
        if (!is_free(b, r))
            return;
        b->used |= (uint8_t)(1 << r);
        br.kind = BRANCH_GPR;
        br.where = (uint32_t)r;
    } else {
        br.kind = BRANCH_MEMORY;
        br.where = k->target;
    }
    b->branch[b->branches++] = br;
}

static void note_writes(struct builder *b, const struct candidate *k)
{
    for (unsigned i = 0; i < k->in.operand_count; i++) {
        const ZydisDecodedOperand *op = &k->ops[i];
        if (op->type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        int r = gpr_number(op->reg.value);
        b->stack_moved |= r == X86_ESP;
        /* Pushes and pops move ESP a little; it still points to the stack. */
        if (r >= 0 && (r != X86_ESP || op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT))
            b->clobbered |= (uint8_t)(1 << r);
    }
    if (k->in.meta.category == ZYDIS_CATEGORY_STRINGOP)
        b->clobbered |= 1 << X86_ESI | 1 << X86_EDI;
    if (k->in.mnemonic == ZYDIS_MNEMONIC_POPA || k->in.mnemonic == ZYDIS_MNEMONIC_POPAD)
        b->clobbered |= 0xff & ~(1 << X86_ESP);
}

/* May write no flags at all: a count can be zero. */
static bool flags_conditional(const struct candidate *k)
{
    return k->in.meta.category == ZYDIS_CATEGORY_SHIFT ||
           k->in.meta.category == ZYDIS_CATEGORY_ROTATE ||
           k->in.attributes & (ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

static void note_flags(struct builder *b, const struct candidate *k)
{
    const ZydisAccessedFlags *f = k->in.cpu_flags;
    if (!b->branched && !flags_conditional(k))
        b->undefined &= ~(f->modified | f->set_0 | f->set_1);
    b->undefined |= f->undefined;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static const struct or_encoding *pick_encoding(struct builder *b, bool first)
{
    const struct or_encodings *e = b->enc;
    uint16_t key = e->keys[or_below(&b->rng, e->key_count)];
    if (or_always_faults(key) && or_percent(&b->rng, 80))
        key = e->keys[or_below(&b->rng, e->key_count)];
    if (first && b->g->only)
        key = b->g->only;
    return &e->list[e->first[key] + or_below(&b->rng, e->entries[key])];
}

static bool acceptable(struct builder *b, struct candidate *k, bool last_try)
{
    if (k->illegal_lock)
        return true;
    if (!b->g->strict && k->in.cpu_flags->tested & b->undefined)
        return false;
    bool good = steer_all(b, k);
    if (stores_environment(k->in.mnemonic))
        return good;
    if (b->environment && (!good || k->in.mnemonic == ZYDIS_MNEMONIC_ENTER))
        return false; /* it might read what is not comparable */
    return good || last_try || or_percent(&b->rng, 8);
}

static void commit(struct builder *b, struct candidate *k)
{
    struct or_case *c = b->c;

    c->undefined[c->insns] = b->undefined;
    if (!k->illegal_lock) { /* that one is #UD and does nothing */
        tune_registers(b, k);
        note_environment(b, k);
        note_branch(b, k);
        note_flags(b, k);
        note_writes(b, k);
    }
    memcpy(c->code + c->code_len, k->bytes, k->in.length);
    c->start[c->insns] = (uint8_t)c->code_len;
    c->mnemonic[c->insns++] = k->enc->key;
    c->code_len += k->in.length;
    b->g->generated[k->enc->key]++;
}

static void append_insn(struct builder *b)
{
    struct candidate k;
    bool first = b->c->insns == 0;
    const struct or_encoding *enc = pick_encoding(b, first);

    for (unsigned i = 0; i < ATTEMPTS; i++) {
        uint8_t used = b->used;
        if (random_candidate(b, enc, &k) && acceptable(b, &k, i >= ATTEMPTS - 2)) {
            commit(b, &k);
            return;
        }
        b->used = used;
        if (!first) /* the case may make this row impossible */
            enc = pick_encoding(b, false);
    }
}

static void initial_registers(struct builder *b)
{
    struct or_state *s = &b->c->init;
    struct or_rng *r = &b->rng;

    uint32_t data = OR_DATA - b->mode->seg[X86_DS].base, stack = stack_offset(b);
    for (unsigned i = 0; i < 8; i++)
        s->gpr[i] = or_percent(r, 15) ? data + or_below(r, OR_DATA_BYTES) : or_random_word(r);
    unsigned p = or_below(r, 100);
    s->gpr[X86_ESP] = p < 90   ? stack + 0x800 + (or_below(r, 0x1000) & ~3u)
                      : p < 94 ? stack + 0x800 + or_below(r, 0x1000)
                      : p < 96 ? stack + or_below(r, 64)
                      : p < 98 ? stack + OR_STACK_BYTES - or_below(r, 64)
                               : (uint32_t)or_rand(r);
    if (!b->mode->seg[X86_SS].big && or_percent(r, 50))
        s->gpr[X86_ESP] ^= (uint32_t)or_rand(r) << 16;
    s->eflags = FL_FIXED | FL_IF | ((uint32_t)or_rand(r) & (FL_ARITH | FL_ID));
    s->eflags |= or_percent(r, 8) ? FL_DF : 0;
    s->eflags |= or_percent(r, 3) ? FL_AC : 0;
    s->eflags |= or_percent(r, 2) ? FL_NT : 0;
    if (b->c->mode == 0) /* would trap in the helper's trampoline */
        s->eflags |= or_percent(r, 2) ? FL_TF : 0;
    or_random_fx(r, &s->fx);
}

/* Anywhere in the code pages; often over their boundary, rarely over their end. */
static void place_code(struct builder *b)
{
    struct or_case *c = b->c;
    struct or_rng *r = &b->rng;
    uint32_t offset = or_below(r, OR_CODE_BYTES - OR_MAX_CODE);

    if (or_percent(r, 15))
        offset = 0x1000 - or_below(r, c->code_len);
    else if (or_percent(r, 1))
        offset = OR_CODE_BYTES - 1 - or_below(r, c->code_len);
    c->code_addr = OR_CODE + offset;
    c->init.eip = c->code_addr - b->mode->seg[X86_CS].base;
}

static void resolve_branches(struct builder *b)
{
    struct or_case *c = b->c;

    for (unsigned i = 0; i < b->branches; i++) {
        const struct branch *br = &b->branch[i];
        unsigned to = br->insn + 1 + or_below(&b->rng, c->insns - br->insn);
        uint32_t target = c->init.eip + c->start[to];
        int32_t rel = c->start[to] - c->start[br->insn + 1];
        if (br->kind == BRANCH_REL)
            memcpy(c->code + c->start[br->insn] + br->at, &rel, br->size);
        else if (br->kind == BRANCH_GPR)
            c->init.gpr[br->where] = target;
        else
            add_patch(b, br->where, 4, target);
    }
}

void or_generate(struct or_generator *g, uint64_t seed, uint64_t index, struct or_case *c)
{
    struct builder b = {.g = g, .c = c, .rng = {or_mix(seed) + or_mix(index + 1)}};
    unsigned want = or_percent(&b.rng, 45) ? 1 : 2 + or_below(&b.rng, OR_MAX_INSNS - 1);

    memset(c, 0, sizeof(*c));
    c->index = index;
    c->mode = g->modes > 1 && or_percent(&b.rng, 30) ? 1 + or_below(&b.rng, g->modes - 1) : 0;
    b.mode = &or_modes[c->mode];
    b.enc = &g->enc[b.mode->code16];
    initial_registers(&b);
    for (unsigned i = 0; i < want; i++)
        append_insn(&b);
    c->start[c->insns] = (uint8_t)c->code_len;
    c->code[c->code_len++] = 0xcc;
    c->undefined[c->insns] = b.undefined;
    place_code(&b);
    resolve_branches(&b);
}

/* ---- the generator --------------------------------------------------------------------------- */

struct or_generator *or_generator_new(const char *only, bool strict, unsigned modes, struct err *e)
{
    struct or_generator *g = calloc(1, sizeof(*g));
    if (!g || or_encodings_init(&g->enc[0], false) || or_encodings_init(&g->enc[1], true)) {
        err_set(e, ENOMEM, "oracle-memory", "no memory for the encodings");
        or_generator_free(g);
        return NULL;
    }
    g->strict = strict;
    g->modes = modes;
    for (unsigned i = 0; only && i < g->enc[0].key_count; i++)
        if (!strcmp(only, or_key_name(g->enc[0].keys[i])))
            g->only = g->enc[0].keys[i];
    if (only && !g->only) {
        err_set(e, EINVAL, "oracle-mnemonic", "%s is not a mnemonic this generator makes", only);
        or_generator_free(g);
        return NULL;
    }
    return g;
}

void or_generator_free(struct or_generator *g)
{
    if (g)
        for (unsigned i = 0; i < ARRAY_LEN(g->enc); i++)
            or_encodings_free(&g->enc[i]);
    free(g);
}

void or_generator_completed(struct or_generator *g, const struct or_case *c)
{
    for (unsigned i = 0; i < c->insns; i++)
        g->completed[c->mnemonic[i]]++;
}

static unsigned check_rows(const struct or_generator *g, const struct x86_op *rows, FILE *out)
{
    unsigned missing = 0;
    for (; rows->mnemonic; rows++)
        if (!g->enc[0].entries[rows->mnemonic] && !or_excluded(rows->mnemonic)) {
            fprintf(out, "coverage: %s has a row but is neither generated nor excluded\n",
                    or_key_name(rows->mnemonic));
            missing++;
        }
    return missing;
}

unsigned or_generator_coverage(const struct or_generator *g, bool list, FILE *out)
{
    static const struct x86_op *const rows[] = {
        x86_ops_alu,     x86_ops_data, x86_ops_control, x86_ops_string, x86_ops_system,
        x86_ops_segment, x86_ops_far,  x86_ops_x87,     x86_ops_mmx,    x86_ops_sse};
    unsigned missing = 0;

    for (unsigned i = 0; list && i < g->enc[0].key_count; i++) {
        uint16_t key = g->enc[0].keys[i];
        fprintf(out, "coverage: %-12s %8llu generated %8llu in cases without a fault\n",
                or_key_name(key), (unsigned long long)g->generated[key],
                (unsigned long long)g->completed[key]);
    }
    for (uint16_t key = 0; key < OR_KEYS; key++) {
        if (list && or_excluded(key))
            fprintf(out, "coverage: %-12s excluded: %s\n", or_key_name(key), or_excluded(key));
        if (!g->enc[0].entries[key] || g->only)
            continue;
        if (!g->generated[key] || (!g->completed[key] && !or_always_faults(key))) {
            fprintf(out, "coverage: %s was never %s\n", or_key_name(key),
                    g->generated[key] ? "in a case without a fault" : "generated");
            missing++;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        missing += check_rows(g, rows[i], out);
    return missing;
}

void or_print_code(const struct or_generator *g, const struct or_case *c, FILE *out)
{
    ZydisFormatter f;
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    fprintf(out, "    mode: %s\n", or_modes[c->mode].name);
    for (unsigned i = 0; i < c->insns; i++) {
        unsigned at = c->start[i], len = c->start[i + 1] - at;
        ZydisDecodedInstruction in;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "(invalid)", hex[46] = "";
        for (unsigned k = 0; k < len && k < 15; k++)
            snprintf(hex + 3 * k, sizeof(hex) - 3 * k, "%02x ", c->code[at + k]);
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&g->enc[or_modes[c->mode].code16].decoder,
                                                c->code + at, len, &in, ops)))
            ZydisFormatterFormatInstruction(&f, &in, ops, in.operand_count_visible, text,
                                            sizeof(text), c->init.eip + at, NULL);
        fprintf(out, "    %08x  %-45s %s\n", c->init.eip + at, hex, text);
    }
}
