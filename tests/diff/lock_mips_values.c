/* SPDX-License-Identifier: MIT */
/* Values for lock_mips_random's programs: random ones, and those with which something special
 * happens. */
#include "lock_mips_making.h"

uint32_t making_value32(struct making *m)
{
    static const uint32_t special[] = {0,          1,          2,          31,         32,
                                       0x7f,       0x80,       0xff,       0x7fff,     0x8000,
                                       0xffff,     0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
                                       0x80000001, 0x3f800000, 0x7f800000, 0xff800000, 0x7fbfffff};
    return making_chance(m, 50) ? MAKING_PICK(m, special) : (uint32_t)making_next(&m->r);
}

uint64_t making_value64(struct making *m)
{
    static const uint64_t special[] = {
        0,
        UINT64_C(0x8000000000000000),
        UINT64_C(0x3ff0000000000000), /* 1 */
        UINT64_C(0xbff0000000000000),
        UINT64_C(0x7ff0000000000000), /* infinity */
        UINT64_C(0x7ff7ffffffffffff), /* NaNs */
        UINT64_C(0x7ff8000000000001),
        UINT64_C(0x0000000000000001), /* denormal */
        UINT64_C(0x41dfffffffc00000), /* 2^31 - 1 */
        UINT64_C(0x43e0000000000000), /* 2^63 */
        UINT64_C(0x7f7fffff3f800000),
        UINT64_C(0x0000000100000001),
        UINT64_C(0x3fe00000bf000000),
    };
    return making_chance(m, 60) ? MAKING_PICK(m, special) : making_next(&m->r);
}

static const uint32_t windows[] = {0x10000000, 0x10002000, 0x10004000, 0xc1000000, 0xc1002000,
                                   0xc1004000, 0x20000000, 0x20004000, 0x80004000, 0x80006000,
                                   0xa0004000, 0xbf000000, 0x80001000, 0x9e000000, 0x30000000,
                                   0x30002000, 0xc3000000, 0x10006000, 0xc1006000};

uint32_t making_address(struct making *m)
{
    static const uint32_t offset[] = {0, 4, 8, 0x10, 0x100, 0x7fc, 0xff0, 0xff8, 0xffc, 0x1000};
    unsigned odd = making_chance(m, 15) ? making_below(m, 8) : 0;
    return MAKING_PICK(m, windows) + (making_chance(m, 50) ? 0x1000 : 0) + MAKING_PICK(m, offset) +
           odd;
}

uint32_t making_label(struct making *m)
{
    return m->p->at + 4 * making_below(m, m->body + 1);
}

uint32_t making_entry_lo(struct making *m, unsigned how)
{
    static const uint32_t rights[] = {LO_V | LO_D, LO_V | LO_D, LO_V | LO_D, LO_V | LO_D,
                                      LO_V,        LO_V,        0,           LO_D};
    uint32_t frame = LOCK_MIPS_DATA + 0x1000 * making_below(m, LOCK_MIPS_DATA_PAGES);
    if (how & CODE)
        frame = LOCK_MIPS_CODE + 0x1000 * making_below(m, LOCK_MIPS_CODE_PAGES);
    else if (making_chance(m, 8))
        frame = LOCK_MIPS_DEVICE;
    else if (making_chance(m, 2))
        frame = 0x1e000000; /* nothing is there */
    return frame >> 6 | 3u << 3 | MAKING_PICK(m, rights) |
           (making_chance(m, how & GLOBAL ? 60 : 3) ? LO_G : 0);
}

uint32_t making_status(struct making *m)
{
    static const uint32_t modes[] = {0, 0, ST_UM, ST_SM, ST_UM | ST_SM};
    uint32_t x = MAKING_PICK(m, modes) | (making_chance(m, 50) ? ST_IE : 0) |
                 (making_chance(m, 15) ? ST_EXL : 0);
    x |= (making_chance(m, 4) ? ST_ERL : 0) | (making_chance(m, 4) ? ST_BEV : 0);
    x |= (making_chance(m, 80) ? ST_CU1 : 0) | (making_chance(m, 40) ? ST_FR : 0) |
         (making_chance(m, 20) ? ST_CU0 : 0);
    return x | (making_chance(m, 60) ? (uint32_t)making_next(&m->r) & ST_IM : 0);
}

uint32_t making_asid(struct making *m)
{
    return making_chance(m, 75) ? ASID : ASID + 1 + making_below(m, 2);
}

uint32_t making_page_mask(struct making *m)
{
    static const uint32_t masks[] = {0x6000, 0x1e000, 0x4000, 0x1fffe000};
    return making_chance(m, 85) ? 0 : MAKING_PICK(m, masks);
}

const struct making_home making_homes[LOCK_MIPS_ENTRIES] = {
    {0x00400000, 0, 0, CODE},   {0xc0400000, 0, 0, CODE},   {0x10000000, 0, 0, 0},
    {0x10002000, 0, 0, 0},      {0x10004000, 0, 0, GLOBAL}, {0xc1000000, 0, 0, 0},
    {0xc1002000, 0, 0, 0},      {0xc1004000, 0, 0, GLOBAL}, {0x20000000, 0x6000, 0, 0},
    {0x10000000, 0, 1, 0},      {0x10002000, 0, 2, 0},      {0xc1000000, 0, 1, 0},
    {0xc1002000, 0, 2, 0},      {0x30000000, 0, 1, GLOBAL}, {0x30002000, 0, 0, GLOBAL},
    {0xc3000000, 0, 0, GLOBAL},
};
