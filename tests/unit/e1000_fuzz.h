/* SPDX-License-Identifier: MIT */
/* Random guests of the e1000: what nic_fuzz needs to know. */
#ifndef RING3_TESTS_E1000_FUZZ_H
#define RING3_TESTS_E1000_FUZZ_H

#include "nic_rig.h"

#include "../../src/dev/e1000.h"

static inline void e1000_set(struct nic_rig *b, unsigned at, uint32_t value)
{
    nic_write(b, at, 4, value);
}

static inline void e1000_setup(struct nic_rig *b, uint64_t random)
{
    e1000_set(b, R_TDBAL, (uint32_t)(random & 7) << 8);
    e1000_set(b, R_TDBAH, 0);
    e1000_set(b, R_TDLEN, 128u << (random >> 4) % 4);
    e1000_set(b, R_TDH, 0);
    e1000_set(b, R_TCTL, 2);
    e1000_set(b, R_RDBAL, 0x800 + ((uint32_t)(random >> 6 & 3) << 8));
    e1000_set(b, R_RDBAH, 0);
    e1000_set(b, R_RDLEN, 128u << (random >> 10) % 4);
    e1000_set(b, R_RDH, 0);
    e1000_set(b, R_RDT, 7);
    e1000_set(b, R_RCTL, 2 | ((uint32_t)(random >> 12) & 0x0603b338));
    e1000_set(b, R_IMS, (uint32_t)(random >> 40));
    e1000_set(b, R_CTRL, (uint32_t)(random >> 30) & CTRL_VME);
    e1000_set(b, R_VET, 0x8100);
    e1000_set(b, R_RXCSUM, (uint32_t)(random >> 20));
}

static inline void e1000_descriptor(uint64_t random, uint32_t d[4])
{
    static const uint32_t sizes[] = {14, 60, 200, 1514, 9000, 65535};
    unsigned kind = random % 4;
    d[0] = (uint32_t)(random >> 8) & (NIC_RAM - 1);
    d[1] = 0;
    d[2] = sizes[(random >> 28) % 6] | (uint32_t)(random >> 31 & 0xff) << 24;
    d[3] = (uint32_t)(random >> 32);
    if (kind == 1)
        d[2] = (d[2] & 0xdf0fffff) | 1u << 20 | 0x20000000; /* data */
    if (kind == 2) { /* context with offsets of TCP over IPv4 */
        d[0] = 14 | 24 << 8 | 33u << 16;
        d[1] = 34 | 50 << 8;
        d[2] = (d[2] & 0xff0fffff) | 0x20000000;
        d[3] = 54 << 8 | (uint32_t)(random >> 40 & 0xfff) << 16;
    }
}

static inline void e1000_fuzz(uint64_t seed, unsigned steps)
{
    static const uint16_t hot[] = {
        R_CTRL,   R_EECD, R_EERD,  R_MDIC,  R_ICR, R_ICS,   R_IMS,   R_IMC,
        R_RCTL,   R_TCTL, R_RDH,   R_RDT,   R_TDH, R_RDLEN, R_TDLEN, R_VET,
        R_RXCSUM, R_MTA,  R_TDBAL, R_RDBAL, R_RA,  R_VFTA,  R_GPRC,  R_RA + 4,
    };
    const struct nic_fuzz f = {.make = e1000_new,
                               .bar = 0,
                               .reg_bytes = 0x6000,
                               .widest = 4,
                               .hot = hot,
                               .hot_count = ARRAY_LEN(hot),
                               .bell = {R_TDT, R_RDT},
                               .bell_bytes = 4,
                               .bell_mask = 31,
                               .setup = e1000_setup,
                               .descriptor = e1000_descriptor};
    nic_fuzz(&f, seed, steps);
}

#endif
