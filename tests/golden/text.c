/* SPDX-License-Identifier: MIT */
/* One translation as text. Host code is disassembled by Zydis; what would change for no good reason
 * is given by name: fields of the vCPU (r13), exits, calls, numbers of mnemonics. Jumps to the same
 * page are "link OFFSET", those inside the code lead to labels.
 *
 * Checked for every translation: marks ascend, an entry has nothing to put right, links and
 * trampolines are the rel32 fields of jumps and no other jump is open, and each access to memory is
 * one to guest memory through a view or to what belongs to generated code. */
#include "golden.h"

#include <stdarg.h>
#include <stdlib.h>

#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"
#include "isa/x86/translator.h"

#define MAX_HOST 4096

struct host_insn {
    unsigned at;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

struct text {
    const struct tb *tb;
    FILE *out;
    bool good;
    ZydisFormatter formatter;
    unsigned n;
    struct host_insn insn[MAX_HOST];
    uint8_t label[TB_MAX_CODE]; /* number of the label there, or 0 */
};

static void complain(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("!! ", t->out);
    vfprintf(t->out, format, args);
    fputc('\n', t->out);
    va_end(args);
    t->good = false;
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool disassemble(struct text *t)
{
    ZydisDecoder d;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned at = 0; at < t->tb->code_len && t->n < MAX_HOST; t->n++) {
        struct host_insn *h = &t->insn[t->n];
        h->at = at;
        if (!ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&d, t->tb->code + at, t->tb->code_len - at, &h->z, h->op))) {
            complain(t, "no instruction at %#x", at);
            return false;
        }
        at += h->z.length;
    }
    return true;
}

/* The rel32 or rel8 of a jump, or NULL. */
static const ZydisDecodedOperand *relative(const struct host_insn *h)
{
    const ZydisDecodedOperand *o = &h->op[0];
    bool is = h->z.operand_count_visible > 0 && o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
              o->imm.is_relative;
    return is ? o : NULL;
}

static const struct tb_link *link_of(const struct text *t, const struct host_insn *h)
{
    for (unsigned i = 0; i < t->tb->links; i++)
        if (t->tb->link[i].at == h->at + h->z.raw.imm[0].offset && h->z.raw.imm[0].size == 32)
            return &t->tb->link[i];
    return NULL;
}

static const struct tb_tramp *tramp_of(const struct text *t, const struct host_insn *h)
{
    for (unsigned i = 0; i < t->tb->tramps; i++)
        if (t->tb->tramp[i].at == h->at + h->z.raw.imm[0].offset && h->z.raw.imm[0].size == 32)
            return &t->tb->tramp[i];
    return NULL;
}

static void find_labels(struct text *t)
{
    unsigned links = 0, tramps = 0;
    for (unsigned i = 0; i < t->n; i++) {
        const struct host_insn *h = &t->insn[i];
        const ZydisDecodedOperand *to = relative(h);
        if (!to)
            continue;
        links += link_of(t, h) != NULL;
        tramps += tramp_of(t, h) != NULL;
        if (link_of(t, h) || tramp_of(t, h))
            continue;
        int64_t target = (int64_t)h->at + h->z.length + to->imm.value.s;
        if (target <= h->at || target >= t->tb->code_len)
            complain(t, "the jump at %#x leads to %#llx", h->at, (unsigned long long)target);
        else
            t->label[target] = 1;
    }
    if (links != t->tb->links || tramps != t->tb->tramps)
        complain(t, "%u of %u links and %u of %u exits are fields of jumps", links, t->tb->links,
                 tramps, t->tb->tramps);
    unsigned number = 0;
    for (unsigned i = 0; i < t->n; i++)
        if (t->label[t->insn[i].at])
            t->label[t->insn[i].at] = (uint8_t)++number;
}

/* ---- checks -------------------------------------------------------------------------------- */

static void check_marks(struct text *t)
{
    const struct tb *tb = t->tb;
    for (unsigned i = 0; i < tb->marks; i++) {
        const struct tb_mark *m = &tb->mark[i];
        if (i && (m->host < m[-1].host || m->guest <= m[-1].guest)) /* nop has no code */
            complain(t, "mark %u does not ascend", i);
        if (m->entry && (m->fix == X86_FIX_ESP || m->fix_arg))
            complain(t, "mark %u is an entry with esp behind", i);
        bool found = false;
        for (unsigned k = 0; k < t->n; k++)
            found |= t->insn[k].at == m->host;
        if (!found)
            complain(t, "mark %u is inside an instruction", i);
    }
    if (!tb->marks || !tb->mark[0].entry || tb->mark[0].host || tb->mark[0].guest != tb->start)
        complain(t, "the first mark is not the start");
}

/* Operands that cannot miss: through GS with 32 bits of address, or off a register of the
 * translator's own. Of the guest's, esi and edi serve as addresses: of strings, moved into the
 * window, and for high bytes. */
static bool may_access(const struct host_insn *h, const ZydisDecodedOperandMem *m)
{
    if (m->segment == ZYDIS_REGISTER_GS)
        return h->z.address_width == 32;
    switch (m->base) {
    case ZYDIS_REGISTER_RSP: /* pushfq, pop, call */
    case ZYDIS_REGISTER_R9:
    case ZYDIS_REGISTER_R10:
    case ZYDIS_REGISTER_R11:
    case ZYDIS_REGISTER_R13:
    case ZYDIS_REGISTER_R14:
    case ZYDIS_REGISTER_R15:
    case ZYDIS_REGISTER_RSI:
    case ZYDIS_REGISTER_RDI:
        return h->z.address_width == 64;
    default:
        return false;
    }
}

static void check_accesses(struct text *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        const struct host_insn *h = &t->insn[i];
        for (unsigned k = 0; k < h->z.operand_count; k++)
            if (h->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
                h->op[k].mem.type == ZYDIS_MEMOP_TYPE_MEM && !may_access(h, &h->op[k].mem))
                complain(t, "the access at %#x may go anywhere", h->at);
    }
    int64_t bad = x86_translator.find_sensitive(t->tb->code, t->tb->code_len);
    if (bad >= 0)
        complain(t, "what is at %#llx must not be there", (unsigned long long)bad);
}

/* ---- names --------------------------------------------------------------------------------- */

struct field {
    size_t offset;
    const char *name;
};
#define FIELD(f)                                                                                   \
    {                                                                                              \
        offsetof(struct x86_vcpu, f), #f                                                           \
    }
#define SELECTOR(s)                                                                                \
    {                                                                                              \
        offsetof(struct x86_vcpu, seg) + X86_##s * sizeof(struct x86_seg) +                        \
            offsetof(struct x86_seg, sel),                                                         \
            #s                                                                                     \
    }
static const struct field fields[] = {
    FIELD(base.attention),
    FIELD(eflags),
    FIELD(if_flag),
    FIELD(df_flag),
    FIELD(attn_mask),
    FIELD(retired),
    FIELD(shadow_until),
    FIELD(shadow_debug),
    FIELD(gen.select),
    FIELD(gen.callout),
    {offsetof(struct x86_vcpu, gen.base_at), "base of fs"},
    {offsetof(struct x86_vcpu, gen.base_at) + sizeof(uint64_t), "base of gs"},
    SELECTOR(ES),
    SELECTOR(CS),
    SELECTOR(SS),
    SELECTOR(DS),
    SELECTOR(FS),
    SELECTOR(GS),
};

/* [r13+0x12] becomes [vcpu FIELD]. */
static void name_field(struct text *t, const struct host_insn *h, char *text)
{
    char *at = strstr(text, "[r13+");
    const ZydisDecodedOperand *o = h->op;
    while (at && o->type != ZYDIS_OPERAND_TYPE_MEMORY)
        o++;
    for (unsigned i = 0; at && i < ARRAY_LEN(fields); i++)
        if ((size_t)o->mem.disp.value == fields[i].offset) {
            char rest[96];
            bool indexed = o->mem.index != ZYDIS_REGISTER_NONE;
            snprintf(rest, sizeof rest, "%s", strchr(at, ']'));
            sprintf(at, "[vcpu %s%s%s", fields[i].name, indexed ? "[r10]" : "", rest);
            return;
        }
    if (at)
        complain(t, "no name for %s", at);
}

static const char *mnemonic_name(uint32_t argument)
{
    return x86_translator.declined_name(argument & 0xffff & ~DBT_CALLOUT);
}

/* The argument of what comes next, if that is an exit or a call that takes a mnemonic. */
static bool argument(const struct text *t, unsigned i, char *text, size_t size)
{
    const struct host_insn *h = &t->insn[i];
    if (i + 1 == t->n || h->z.mnemonic != ZYDIS_MNEMONIC_MOV ||
        h->op[0].reg.value != ZYDIS_REGISTER_R9D || h->op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return false;
    uint32_t x = (uint32_t)h->op[1].imm.value.u;
    const struct tb_tramp *exit = tramp_of(t, &h[1]);
    if (h[1].z.mnemonic == ZYDIS_MNEMONIC_CALL)
        snprintf(text, size, "mov r9d, {%s, function %u, length %u}", mnemonic_name(x),
                 x >> 16 & 0xff, x >> 24);
    else if (exit && exit->kind == DBT_EXIT_EMULATE)
        snprintf(text, size, "mov r9d, {%s%s}", mnemonic_name(x),
                 x & DBT_CALLOUT ? ", call-out" : "");
    else
        return false;
    return true;
}

static void host_text(struct text *t, unsigned i, char *text, size_t size)
{
    static const char *const exits[] = {"miss", "link", "emulate", "attention", "shadowed"};
    const struct host_insn *h = &t->insn[i];
    const ZydisDecodedOperand *to = relative(h);
    if (argument(t, i, text, size))
        return;
    if (!to) {
        ZydisFormatterFormatInstruction(&t->formatter, &h->z, h->op, h->z.operand_count_visible,
                                        text, size, ZYDIS_RUNTIME_ADDRESS_NONE, NULL);
        name_field(t, h, text);
        return;
    }
    const char *name = ZydisMnemonicGetString(h->z.mnemonic);
    if (tramp_of(t, h))
        snprintf(text, size, "%s exit %s", name, exits[tramp_of(t, h)->kind]);
    else if (link_of(t, h))
        snprintf(text, size, "%s link %03x", name, link_of(t, h)->target);
    else
        snprintf(text, size, "%s L%u", name,
                 t->label[(int64_t)h->at + h->z.length + to->imm.value.s]);
}

/* ---- printing ------------------------------------------------------------------------------ */

static void print_guest(struct text *t, const struct tb_mark *m, const uint8_t *bytes)
{
    char text[128];
    const uint8_t *at = bytes + m->guest;
    if (!x86_translator.disassemble(NULL, at, 15, t->tb->page + m->guest, text, sizeof text))
        snprintf(text, sizeof text, "(%02x %02x %02x)", at[0], at[1], at[2]);
    fprintf(t->out, "  %03x%c %s", m->guest, m->entry ? ' ' : '.', text);
    if (m->fix == X86_FIX_ESP)
        fprintf(t->out, "   [esp %+d]", m->fix_arg);
    else if (m->fix)
        fprintf(t->out, "   [%s]", m->fix == X86_FIX_STRING ? "strings" : "esi");
    fputc('\n', t->out);
}

static void print_all(struct text *t, const uint8_t *bytes)
{
    unsigned mark = 0;
    for (unsigned i = 0; i < t->n; i++) {
        unsigned at = t->insn[i].at;
        char text[192];
        while (mark < t->tb->marks && t->tb->mark[mark].host == at)
            print_guest(t, &t->tb->mark[mark++], bytes);
        if (t->label[at])
            fprintf(t->out, "       L%u:\n", t->label[at]);
        host_text(t, i, text, sizeof text);
        fprintf(t->out, "          %s\n", text);
    }
}

bool golden_print(const struct tb *tb, const uint8_t *bytes, FILE *out, struct golden_sum *sum)
{
    struct text *t = calloc(1, sizeof *t);
    if (!t)
        return false;
    t->tb = tb;
    t->out = out;
    t->good = true;
    ZydisFormatterInit(&t->formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterSetProperty(&t->formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    ZydisFormatterSetProperty(&t->formatter, ZYDIS_FORMATTER_PROP_DISP_PADDING,
                              ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&t->formatter, ZYDIS_FORMATTER_PROP_IMM_PADDING,
                              ZYDIS_PADDING_DISABLED);
    if (disassemble(t)) {
        find_labels(t);
        check_marks(t);
        check_accesses(t);
        print_all(t, bytes);
    }
    struct golden_sum s = {tb->marks, (unsigned)(tb->end - tb->start) + tb->next_end, t->n,
                           tb->code_len};
    fprintf(out, "  = guest %u in %u bytes, host %u in %u bytes, %u links, %u exits\n\n",
            s.guest_insns, s.guest_bytes, s.host_insns, s.host_bytes, tb->links, tb->tramps);
    sum->guest_insns += s.guest_insns;
    sum->guest_bytes += s.guest_bytes;
    sum->host_insns += s.host_insns;
    sum->host_bytes += s.host_bytes;
    bool good = t->good;
    free(t);
    return good;
}
