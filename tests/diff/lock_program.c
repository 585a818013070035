/* SPDX-License-Identifier: MIT */
/* lock_random's programs. The oracle's generator gives every instruction an even chance and steers
 * its operands to mapped memory; what makes a translator interesting is rather how instructions
 * follow each other. So before and after its case, and around it, come snippets: runs of pushes and
 * pops with stack accesses among them, calls and returns, segment loads, flag changes, frames,
 * loops, stores into the code ahead. Those before the case leave the general registers as they are,
 * since its operands depend on them. */
#include "lock_program.h"

#include <Zydis/Zydis.h>

#include "encodings.h"

#define PRE_MAX  160
#define POST_MAX 160

struct buffer {
    struct or_rng *rng;
    uint8_t cpl;
    bool keep_segments;
    uint32_t len, max;
    uint32_t at; /* linear address of byte[0], where known */
    uint8_t byte[PRE_MAX + POST_MAX];
};

static void emit(struct buffer *b, unsigned n, const void *bytes)
{
    memcpy(b->byte + b->len, bytes, n);
    b->len += n;
}
#define EMIT(b, ...) emit(b, sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

static void emit32(struct buffer *b, uint32_t x)
{
    emit(b, 4, &x);
}

/* Any register but esp. */
static uint8_t any_register(struct buffer *b)
{
    uint8_t r = (uint8_t)or_below(b->rng, 7);
    return r >= X86_ESP ? r + 1 : r;
}

/* ---- snippets that leave the registers as they are --------------------------------------------
 */

/* An access to the stack around esp; writes at or above it would change what is popped. */
static void peek_at_stack(struct buffer *b)
{
    uint8_t disp = (uint8_t)(or_below(b->rng, 8) * 4);
    switch (or_below(b->rng, 6)) {
    case 0: /* cmp [esp+disp], r */
        EMIT(b, 0x39, 0x44 | any_register(b) << 3, 0x24, disp);
        break;
    case 1: /* test byte [esp+disp], imm; unaligned */
        EMIT(b, 0xf6, 0x44, 0x24, disp | 1, (uint8_t)or_rand(b->rng));
        break;
    case 2: /* mov [esp-disp-8], r */
        EMIT(b, 0x89, 0x44 | any_register(b) << 3, 0x24, (uint8_t)(0xf8 - disp));
        break;
    case 3: /* push dword [esp+disp]; lea esp, [esp+4] */
        EMIT(b, 0xff, 0x74, 0x24, disp, 0x8d, 0x64, 0x24, 4);
        break;
    case 4: /* xor dword [esp-disp-4], imm8 */
        EMIT(b, 0x83, 0x74, 0x24, (uint8_t)(0xfc - disp), (uint8_t)or_rand(b->rng));
        break;
    default: /* cmp ah or so, [esp+disp] */
        EMIT(b, 0x3a, 0x64 | or_below(b->rng, 4) << 3, 0x24, disp);
    }
}

static void pushes_and_pops(struct buffer *b)
{
    uint8_t r[6];
    unsigned n = 1 + or_below(b->rng, ARRAY_LEN(r));
    for (unsigned i = 0; i < n; i++) {
        r[i] = any_register(b);
        if (or_percent(b->rng, 15)) {
            EMIT(b, 0x68); /* push imm32 */
            emit32(b, (uint32_t)or_rand(b->rng));
            EMIT(b, 0x8d, 0x64, 0x24, 4); /* lea esp, [esp+4] */
        }
        EMIT(b, 0x50 | r[i]);
        if (or_percent(b->rng, 20))
            peek_at_stack(b);
    }
    if (or_percent(b->rng, 40))
        peek_at_stack(b);
    for (unsigned i = n; i-- > 0;) {
        EMIT(b, 0x58 | r[i]);
        if (or_percent(b->rng, 20))
            peek_at_stack(b);
    }
}

static void load_segment(struct buffer *b)
{
    static const uint16_t sel[] = {LOCK_SEL_DATA0, LOCK_SEL_DATA3, LOCK_SEL_FS,   LOCK_SEL_GS, 0, 3,
                                   LOCK_SEL_SMALL, LOCK_SEL_CODE3, LOCK_GDT_BYTES};
    static const uint8_t reg[] = {X86_ES, X86_DS, X86_FS, X86_GS, X86_FS, X86_GS, X86_SS};
    uint8_t s = reg[or_below(b->rng, ARRAY_LEN(reg))];
    if (b->keep_segments)
        return;
    /* What keeps the processor fit for translated code is most of it. */
    uint16_t x = s == X86_FS || s == X86_GS || or_percent(b->rng, 15)
                     ? sel[or_below(b->rng, ARRAY_LEN(sel))]
                 : b->cpl == 3 ? LOCK_SEL_DATA3
                               : LOCK_SEL_DATA0;
    if (or_percent(b->rng, 50)) { /* push r; mov r, sel; mov sreg, r; pop r */
        uint8_t r = any_register(b);
        EMIT(b, 0x50 | r, 0xb8 | r);
        emit32(b, x | (uint32_t)or_rand(b->rng) << 16);
        EMIT(b, 0x8e, 0xc0 | s << 3 | r, 0x58 | r);
        return;
    }
    EMIT(b, 0x68); /* push sel; pop sreg */
    emit32(b, x);
    if (s == X86_FS || s == X86_GS)
        EMIT(b, 0x0f, s == X86_FS ? 0xa1 : 0xa9);
    else
        EMIT(b, s << 3 | 7);
}

static void store_segment(struct buffer *b)
{
    static const uint8_t push[] = {0x06, 0x0e, 0x16, 0x1e};
    if (or_percent(b->rng, 50))
        EMIT(b, push[or_below(b->rng, ARRAY_LEN(push))], 0x8d, 0x64, 0x24, 4);
    else /* push r; mov r, sreg; pop r */
        EMIT(b, 0x50, 0x8c, 0xc0 | or_below(b->rng, 6) << 3, 0x58);
}

static void change_flags(struct buffer *b)
{
    static const uint8_t one[] = {0xfa, 0xfb, 0xfc, 0xfd, 0xf8, 0xf9, 0xf5, 0x9e, 0x9b};
    static const uint32_t bits[] = {FL_IF, FL_DF, FL_AC,    FL_NT, FL_ID,
                                    FL_CF, FL_OF, FL_ARITH, FL_TF};
    bool harmless = b->cpl == 0 || or_percent(b->rng, 10);
    switch (or_below(b->rng, 4)) {
    case 0: /* pushf; xor dword [esp], bits; popf */
        EMIT(b, 0x9c, 0x81, 0x34, 0x24);
        emit32(b, bits[or_below(b->rng, ARRAY_LEN(bits) - or_percent(b->rng, 80))]);
        EMIT(b, 0x9d);
        break;
    case 1: /* cli, nop, sti, and something in its shadow */
        if (harmless)
            EMIT(b, 0xfa, 0x90, 0xfb, or_percent(b->rng, 50) ? 0x90 : 0xfb);
        break;
    case 2:
        if (harmless)
            EMIT(b, 0xfb, 0x50, 0xfa, 0x58); /* sti; push eax; cli; pop eax */
        break;
    default: {
        uint8_t x = one[or_below(b->rng, ARRAY_LEN(one))];
        if (harmless || (x != 0xfa && x != 0xfb))
            EMIT(b, x);
    }
    }
}

static void call_and_return(struct buffer *b)
{
    switch (or_below(b->rng, 4)) {
    case 0: /* call +2; jmp +1; ret */
        EMIT(b, 0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3);
        break;
    case 1: /* call +3 (to ret 4 with an argument pushed) */
        EMIT(b, 0x6a, (uint8_t)or_rand(b->rng), 0xe8, 2, 0, 0, 0, 0xeb, 3, 0xc2, 4, 0);
        break;
    case 2: /* call +0; lea esp, [esp+4] */
        EMIT(b, 0xe8, 0, 0, 0, 0, 0x8d, 0x64, 0x24, 4);
        break;
    default: /* call +0; add dword [esp], 9; jmp [esp]; (target:) lea esp, [esp+4] */
        EMIT(b, 0xe8, 0, 0, 0, 0, 0x83, 0x04, 0x24, 7, 0xff, 0x24, 0x24, 0x8d, 0x64, 0x24, 4);
    }
}

static void frame(struct buffer *b)
{
    EMIT(b, 0x55, 0x89, 0xe5); /* push ebp; mov ebp, esp */
    uint8_t n = (uint8_t)(or_below(b->rng, 16) * 4);
    EMIT(b, 0x83, 0xec, n); /* sub esp, n */
    if (n && or_percent(b->rng, 50))
        EMIT(b, 0x89, 0x45 | any_register(b) << 3, 0xfc); /* mov [ebp-4], r */
    if (or_percent(b->rng, 50))
        pushes_and_pops(b);
    if (or_percent(b->rng, 50))
        EMIT(b, 0xc9); /* leave */
    else
        EMIT(b, 0x8d, 0x65, 0, 0x5d); /* lea esp, [ebp]; pop ebp */
}

/* Over the next instruction or not, by whatever the flags are. */
static void hop(struct buffer *b)
{
    if (or_percent(b->rng, 70))
        EMIT(b, 0x70 | or_below(b->rng, 16), 2, 0x89, 0xc0);
    else
        EMIT(b, 0x0f, 0x80 | or_below(b->rng, 16), 1, 0, 0, 0, 0x90);
}

typedef void (*snippet)(struct buffer *b);
static const snippet snippets[] = {pushes_and_pops, pushes_and_pops, load_segment, store_segment,
                                   change_flags,    call_and_return, frame,        hop};
#define SNIPPET_MAX 100 /* bytes */

static void add_snippets(struct buffer *b, unsigned most)
{
    for (unsigned n = or_below(b->rng, most + 1); n > 0 && b->len + SNIPPET_MAX <= b->max; n--)
        snippets[or_below(b->rng, ARRAY_LEN(snippets))](b);
}

/* ---- snippets behind the case -----------------------------------------------------------------
 */

/* mov byte [next + 1], imm; mov al, imm8: the instruction ahead changes. */
static void patch_ahead(struct buffer *b)
{
    uint32_t next = b->at + b->len + 7;
    EMIT(b, 0xc6, 0x05);
    emit32(b, next + 1);
    EMIT(b, (uint8_t)or_rand(b->rng), 0xb0, (uint8_t)or_rand(b->rng));
}

/* dec byte [counter]; jnz `to`. The counter is a byte of a save slot that loads seldom use. */
static void loop_back(struct buffer *b, struct lock_program *p, uint32_t to)
{
    uint32_t counter = OR_SAVE + 508;
    EMIT(b, 0xfe, 0x0d);
    emit32(b, counter);
    EMIT(b, 0x0f, 0x85);
    emit32(b, to - (b->at + b->len + 4));
    if (p->c.patches < ARRAY_LEN(p->c.patch))
        p->c.patch[p->c.patches++] = (struct or_patch){counter, 1, 2 + or_below(b->rng, 6)};
}

/* ---- the program ------------------------------------------------------------------------------
 */

/* May come at CPL 0, where it would succeed and change what the machine is. */
static bool too_strong(uint16_t key)
{
    switch (key) {
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_WRMSR:
    case X86_MN_MOV_CR:
    case X86_MN_MOV_DR:
        return true;
    default:
        return false;
    }
}

static void pick_case(struct or_generator *g, uint64_t seed, struct lock_program *p, uint64_t index)
{
    bool again = true;
    for (uint64_t attempt = 0; again; attempt++) {
        or_generate(g, seed, index + (attempt << 40), &p->c);
        again = false;
        for (unsigned i = 0; p->cpl == 0 && i < p->c.insns; i++)
            again |= too_strong(p->c.mnemonic[i]);
    }
    p->c.index = index;
}

static void pick_state(struct or_rng *r, struct lock_program *p)
{
    p->cpl = or_percent(r, 50) ? 0 : 3;
    p->space = (uint8_t)(or_percent(r, 40) ? 0 : or_below(r, lock_spaces()));
    p->flush = or_percent(r, 10);
    p->retable = or_percent(r, 4);
    p->interrupt = p->cpl == 0 && or_percent(r, 20);
    p->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_AM | CR0_WP;
    if (or_percent(r, 10))
        p->cr0 &= ~CR0_WP;
    if (or_percent(r, 3))
        p->cr0 |= CR0_TS;
    if (or_percent(r, 1))
        p->cr0 |= CR0_EM;
    p->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (or_percent(r, 2))
        p->cr4 &= ~CR4_OSFXSR;
}

void lock_generate(struct or_generator *g, uint64_t seed, uint64_t index, struct lock_program *p)
{
    struct or_rng r = {or_mix(seed ^ UINT64_C(0x6c6f636b)) + or_mix(index + 1)};
    struct buffer pre = {.rng = &r, .max = PRE_MAX}, post = {.rng = &r, .max = POST_MAX};
    memset(p, 0, sizeof *p);
    pick_state(&r, p);
    pick_case(g, seed, p, index);
    if (p->interrupt)
        p->c.init.eflags &= ~FL_IF;
    pre.cpl = post.cpl = p->cpl;
    /* Its environment stores are to hit the place whose contents are not compared. */
    pre.keep_segments = p->c.ignores;
    add_snippets(&pre, 3);
    if (p->c.code_addr - OR_CODE < pre.len)
        pre.len = 0;
    p->at = p->c.code_addr - pre.len;
    uint32_t body = p->c.code_len - 1; /* without its int3 */
    post.at = p->c.code_addr + body;
    add_snippets(&post, 2);
    if (or_percent(&r, 10))
        patch_ahead(&post);
    if (!p->c.ignores && or_percent(&r, 35)) /* it might read what is not comparable */
        loop_back(&post, p, or_percent(&r, 50) ? p->at : p->c.code_addr);
    memcpy(p->code, pre.byte, pre.len);
    memcpy(p->code + pre.len, p->c.code, body);
    memcpy(p->code + pre.len + body, post.byte, post.len);
    p->stop = pre.len + body + post.len;
    p->code[p->stop] = 0xcc;
    p->len = p->stop + 1;
}

bool lock_several_accesses(const struct lock_program *p)
{
    for (unsigned i = 0; i < p->c.insns; i++)
        if (or_several_accesses(p->c.mnemonic[i]))
            return true;
    return false;
}

void lock_print_program(const struct lock_program *p, FILE *out)
{
    ZydisDecoder d;
    ZydisFormatter f;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    fprintf(out, "    CPL %u, %s, cr0 %08x, cr4 %08x%s\n", p->cpl, lock_space_name(p->space),
            p->cr0, p->cr4, p->interrupt ? ", interrupt pending" : "");
    for (uint32_t at = 0; at < p->len;) {
        ZydisDecodedInstruction in;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "(invalid)", hex[46] = "";
        uint32_t len = 1;
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, p->code + at, p->len - at, &in, ops))) {
            len = in.length;
            ZydisFormatterFormatInstruction(&f, &in, ops, in.operand_count_visible, text,
                                            sizeof text, p->at + at, NULL);
        }
        for (unsigned k = 0; k < len; k++)
            snprintf(hex + 3 * k, sizeof hex - 3 * k, "%02x ", p->code[at + k]);
        fprintf(out, "    %08x  %-45s %s\n", p->at + at, hex, text);
        at += len;
    }
    for (unsigned i = 0; i < p->c.patches; i++)
        fprintf(out, "    [%08x] is %llx before\n", p->c.patch[i].addr,
                (unsigned long long)p->c.patch[i].value);
}
