/* SPDX-License-Identifier: MIT */
/* Initial contents of registers, FPU and memory. Uniform random bits almost never hit the cases
 * that matter (carries, infinities, denormals, equal operands), so edges are mixed in. */
#include "oracle.h"

uint32_t or_random_word(struct or_rng *r)
{
    static const uint32_t edge[] = {0,          1,          2,          0xffffffff, 0xfffffffe,
                                    0x7fffffff, 0x80000000, 0x80000001, 0x7fff,     0x8000,
                                    0xffff,     0x10000,    0x7f,       0x80,       0xff,
                                    0x100,      0x0f,       0x10,       0x99,       0x9a};
    uint32_t x = (uint32_t)or_rand(r);

    switch (or_below(r, 6)) {
    case 0:
        return edge[x % ARRAY_LEN(edge)];
    case 1:
        return x & 0x3f;
    case 2:
        return (uint32_t)(int8_t)x;
    case 3:
        return x >> (x & 31);
    default:
        return x;
    }
}

static uint32_t random_f32(struct or_rng *r)
{
    static const uint32_t edge[] = {
        0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
        0x7f800001, 0xffc12345, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
        0xff7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0x3f000000, 0x40490fdb};
    uint32_t x = (uint32_t)or_rand(r);

    switch (or_below(r, 4)) {
    case 0:
        return edge[x % ARRAY_LEN(edge)];
    case 1:
        return x;
    default: /* exponents within 16 of one, so that sums do not just pick an operand */
        return (x & 0x807fffff) | (127 - 16 + (x >> 23 & 31)) << 23;
    }
}

static uint64_t random_f64(struct or_rng *r)
{
    static const uint64_t edge[] = {0,
                                    UINT64_C(0x8000000000000000),
                                    UINT64_C(0x3ff0000000000000),
                                    UINT64_C(0xbff0000000000000),
                                    UINT64_C(0x7ff0000000000000),
                                    UINT64_C(0xfff0000000000000),
                                    UINT64_C(0x7ff8000000000000),
                                    UINT64_C(0x7ff0000000000001),
                                    UINT64_C(0xfff8000012345678),
                                    1,
                                    UINT64_C(0x000fffffffffffff),
                                    UINT64_C(0x0010000000000000),
                                    UINT64_C(0x7fefffffffffffff),
                                    UINT64_C(0x41e0000000000000),
                                    UINT64_C(0xc1e0000000200000),
                                    UINT64_C(0x43e0000000000000),
                                    UINT64_C(0x47efffffe0000000),
                                    UINT64_C(0x380fffffffffffff),
                                    UINT64_C(0x3fe0000000000000),
                                    UINT64_C(0x400921fb54442d18)};
    uint64_t x = or_rand(r);

    switch (or_below(r, 4)) {
    case 0:
        return edge[x % ARRAY_LEN(edge)];
    case 1:
        return x;
    default:
        return (x & UINT64_C(0x800fffffffffffff)) | (1023 - 32 + (x >> 52 & 63)) << 52;
    }
}

/* 80-bit: also the encodings no current processor produces (unnormals, pseudo-denormals). */
static void random_f80(struct or_rng *r, uint8_t out[10])
{
    static const struct {
        uint64_t mantissa;
        uint16_t top;
    } edge[] = {{0, 0},
                {0, 0x8000},
                {1ull << 63, 0x3fff},
                {1ull << 63, 0xbfff},
                {1ull << 63, 0x7fff},
                {1ull << 63, 0xffff},
                {3ull << 62, 0x7fff},
                {1ull << 63 | 1, 0x7fff},
                {3ull << 62, 0xffff},
                {1, 0},
                {1ull << 63, 0},
                {~0ull, 0x7ffe},
                {1ull << 62, 0x3fff},
                {0, 0x7fff},
                {~0ull, 0x403d},
                {0xc90fdaa22168c235, 0x4000},
                {1ull << 63, 0x403e},
                {1ull << 63, 0x3ffe}};
    uint64_t mantissa = or_rand(r) | 1ull << 63;
    uint16_t top = (uint16_t)or_rand(r);

    switch (or_below(r, 5)) {
    case 0: {
        unsigned i = or_below(r, ARRAY_LEN(edge));
        mantissa = edge[i].mantissa;
        top = edge[i].top;
        break;
    }
    case 1:
        mantissa = or_rand(r);
        break;
    case 2: /* an integer */
        mantissa = 1ull << 63 | or_rand(r) << (32 + or_below(r, 31));
        top = (uint16_t)((top & 0x8000) | (0x3fff + or_below(r, 64)));
        break;
    default:
        top = (uint16_t)((top & 0x8000) | (0x3fff - 16 + or_below(r, 32)));
        break;
    }
    memcpy(out, &mantissa, 8);
    memcpy(out + 8, &top, 2);
}

static void random_bcd(struct or_rng *r, uint8_t out[16])
{
    for (unsigned i = 0; i < 16; i++)
        out[i] = (uint8_t)(or_below(r, 10) | or_below(r, 10) << 4);
    out[9] &= 0x80;
}

/* 16 bytes of one kind of data. */
static void random_chunk(struct or_rng *r, uint8_t out[16])
{
    uint32_t w[4];
    uint64_t q[2];

    switch (or_below(r, 8)) {
    case 0:
        for (unsigned i = 0; i < 4; i++)
            w[i] = random_f32(r);
        memcpy(out, w, 16);
        return;
    case 1:
    case 2:
        for (unsigned i = 0; i < 2; i++)
            q[i] = random_f64(r);
        memcpy(out, q, 16);
        return;
    case 3:
        memset(out, 0, 16);
        random_f80(r, out);
        return;
    case 4:
        random_bcd(r, out);
        return;
    case 5:
        memset(out, or_percent(r, 50) ? 0 : (int)or_rand(r), 16);
        return;
    default:
        for (unsigned i = 0; i < 4; i++)
            w[i] = or_random_word(r);
        memcpy(out, w, 16);
        return;
    }
}

static uint32_t random_mxcsr(struct or_rng *r)
{
    if (or_percent(r, 50))
        return 0x1f80;
    uint32_t x = (uint32_t)or_rand(r) & 0xe07f; /* RC, FTZ, DAZ, sticky flags */
    if (or_percent(r, 50))
        x &= ~0x3fu;
    return x | (or_percent(r, 85) ? 0x1f80 : (uint32_t)or_rand(r) & 0x1f80);
}

void or_random_fx(struct or_rng *r, struct or_fx *fx)
{
    memset(fx, 0, sizeof(*fx));
    fx->fcw = 0x37f;
    if (or_percent(r, 50))
        fx->fcw = (uint16_t)(0x7f | ((uint32_t)or_rand(r) & 0xf00));
    if (or_percent(r, 10))
        fx->fcw &= (uint16_t)(or_rand(r) | 0x0fc0);
    fx->fsw = (uint16_t)or_rand(r) & 0x7f00; /* C0-C3 and TOP */
    if (or_percent(r, 30))
        fx->fsw |= (uint16_t)or_rand(r) & 0x7f;
    if (fx->fsw & ~fx->fcw & 0x3f)
        fx->fsw |= 0x8080;
    fx->ftw = or_percent(r, 50) ? 0xff : or_percent(r, 25) ? 0 : (uint8_t)or_rand(r);
    fx->mxcsr = random_mxcsr(r);
    bool mmx = or_percent(r, 40);
    for (unsigned i = 0; i < 8; i++) {
        if (mmx) {
            random_chunk(r, fx->st[i]);
            memset(fx->st[i] + 8, 0xff, 2);
        } else {
            random_f80(r, fx->st[i]);
        }
        memset(fx->st[i] + 10, 0, 6);
        random_chunk(r, fx->xmm[i]);
    }
}

void or_random_image(struct or_rng *r, struct or_image *m, uint8_t ro[OR_RO_BYTES])
{
    for (unsigned i = 0; i < OR_DATA_BYTES; i += 16)
        random_chunk(r, m->data + i);
    for (unsigned i = 0; i < OR_STACK_BYTES; i += 16)
        random_chunk(r, m->stack + i);
    for (unsigned i = 0; i < OR_RO_BYTES; i += 16)
        random_chunk(r, ro + i);
    for (unsigned i = 0; i < OR_SAVE_BYTES; i += sizeof(struct or_fx)) {
        struct or_fx fx;
        or_random_fx(r, &fx);
        memcpy(m->save + i, &fx, sizeof(fx));
    }
}
