/* SPDX-License-Identifier: MIT */
/* Random MIPS32 instructions on the interpreter against what QEMU's user mode made of them.
 *
 *     mips32_oracle [-v] KIND FILE
 *
 * FILE is one that mips32/record.py wrote for that KIND; its layout of a state and its start values
 * are repeated here. With -v the state after each block that differs is printed, in the
 * form of `record.py --show`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../unit/mips32_rig.h"

enum { HI = 128, LO = 132, FPR = 136, FCSR = 392, SCR = 400, SIZE = 464, WORDS = 8 };

static const uint32_t special[32] = {
    0,          1,          2,          0xffffffff, 0x7fffffff, 0x80000000, 0x7f800000, 0xff800000,
    0x7fbfffff, 0x7fc00000, 0x00000001, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000, 0x4f000000,
    0x7f7fffff, 0x3f000000, 0x5f000000, 0x4b000000, 0x7ff00000, 0xfff00000, 0x7ff80000, 0x7ff7ffff,
    0x3ff00000, 0x41e00000, 0x43e00000, 0x00100000, 0x000fffff, 0x47efffff, 0x36a00000, 0xc1e00000};

static uint32_t next(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static uint32_t value(uint32_t *x)
{
    uint32_t pick = next(x);
    if (pick & 1)
        return next(x);
    uint32_t s = special[pick >> 1 & 31];
    return pick & 64 ? s : s + (pick >> 8 & 7) - 3;
}

static void start_values(uint32_t seed, uint32_t state[SIZE / 4])
{
    uint32_t x = seed ? seed : 1;
    memset(state, 0, SIZE);
    for (unsigned at = 0; at < FCSR; at += 4)
        state[at / 4] = value(&x);
    state[0] = 0;
    state[FCSR / 4] = next(&x) & 0xfe800003; /* rounding, condition codes */
    for (unsigned at = SCR; at < SIZE; at += 4)
        state[at / 4] = value(&x);
}

static bool harness_register(unsigned r)
{
    return r == 0 || r == 26 || r == 27;
}

static void load_state(struct mips32_rig *m, const uint32_t *state, bool fr)
{
    struct mips32_vcpu *v = m->v;
    for (unsigned r = 0; r < 32; r++) {
        if (!harness_register(r))
            v->gpr[r] = state[r];
        const uint32_t *f = &state[FPR / 4 + 2 * r];
        if (fr)
            mips32_set_d(v, r, f[0] | (uint64_t)f[1] << 32);
        else
            mips32_set_s(v, r, f[0]);
    }
    v->gpr[26] = DATA;
    v->hi = state[HI / 4];
    v->lo = state[LO / 4];
    mips32_set_fcsr(v, state[FCSR / 4]);
    for (unsigned at = SCR; at < SIZE; at += 4)
        poke32(m, DATA + at, state[at / 4]);
}

static void store_state(struct mips32_rig *m, uint32_t *state, bool fr)
{
    const struct mips32_vcpu *v = m->v;
    for (unsigned r = 0; r < 32; r++) {
        if (!harness_register(r))
            state[r] = v->gpr[r];
        state[FPR / 4 + 2 * r] = mips32_get_s(v, r);
        if (fr)
            state[FPR / 4 + 2 * r + 1] = (uint32_t)(mips32_get_d(v, r) >> 32);
    }
    state[HI / 4] = v->hi;
    state[LO / 4] = v->lo;
    state[FCSR / 4] = v->fcsr;
    for (unsigned at = SCR; at < SIZE; at += 4)
        state[at / 4] = peek32(m, DATA + at);
}

static uint64_t digest(const uint32_t *state)
{
    const uint8_t *p = (const uint8_t *)state;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (unsigned i = 0; i < SIZE; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void show(struct mips32_rig *m, unsigned line, const uint32_t *words, const uint32_t *state)
{
    printf("line %u differs:\n", line);
    for (unsigned i = 0; i < WORDS; i++) {
        char text[64];
        mips32_disassemble(m->v->decoder, CODE + 4 * i, words[i], text, sizeof text);
        printf("  %08" PRIx32 "  %s\n", words[i], text);
    }
    for (unsigned at = 0; at < SIZE / 4; at += 8) {
        printf("%3u:", 4 * at);
        for (unsigned i = at; i < at + 8 && i < SIZE / 4; i++)
            printf(" %08" PRIx32, state[i]);
        printf("\n");
    }
}

/* False if the line is none. */
static bool parse(const char *text, uint32_t *seed, uint32_t words[WORDS], uint64_t *expected)
{
    char *p;
    *seed = (uint32_t)strtoul(text, &p, 16);
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = (uint32_t)strtoul(p, &p, 16);
    if (strncmp(p, " = ", 3) != 0)
        return false;
    *expected = strtoull(p + 3, NULL, 16);
    return true;
}

static bool block_agrees(struct mips32_rig *m, const char *text, unsigned line, bool fr, bool loud)
{
    uint32_t seed, words[WORDS], state[SIZE / 4];
    uint64_t expected;
    if (!parse(text, &seed, words, &expected)) {
        printf("line %u is no block\n", line);
        return false;
    }
    start_values(seed, state);
    load_state(m, state, fr);
    put_code(m, CODE, words, WORDS);
    poke32(m, CODE + 4 * WORDS, WAIT);
    m->v->pc = CODE;
    bool ended = run(m) == CODE + 4 * WORDS;
    store_state(m, state, fr);
    if (ended && digest(state) == expected)
        return true;
    if (loud)
        show(m, line, words, state);
    acknowledge(m);
    return false;
}

int main(int argc, char **argv)
{
    bool loud = argc > 1 && strcmp(argv[1], "-v") == 0;
    if (argc != 3 + loud)
        return 2;
    bool fr = strcmp(argv[1 + loud], "float64") == 0;
    FILE *f = fopen(argv[2 + loud], "r");
    if (!f)
        return 2;
    struct mips32_model model = mips32_24kf;
    model.default_nan = true; /* as QEMU's 24Kf */
    model.big_endian = strcmp(argv[1 + loud], "memory-be") == 0;
    struct mips32_rig *m = rig_new(&model);
    mips32_set_status(m->v, m->v->cp0.status | ST_CU1 | (fr ? ST_FR : 0));
    char text[256];
    unsigned lines = 0, differ = 0;
    while (fgets(text, sizeof text, f))
        differ += !block_agrees(m, text, ++lines, fr, loud);
    fclose(f);
    rig_free(m);
    printf("%u blocks, %u differ\n", lines, differ);
    return !lines || differ ? 1 : 0;
}
