/* SPDX-License-Identifier: MIT */
/* Random guests of the rtl8139: what nic_fuzz needs to know. */
#ifndef RING3_TESTS_RTL8139_FUZZ_H
#define RING3_TESTS_RTL8139_FUZZ_H

#include "nic_rig.h"

#include "../../src/dev/rtl8139.h"

static inline void rtl8139_setup(struct nic_rig *b, uint64_t random)
{
    bool cp = random & 1;
    nic_write(b, R_CPCR, 2, cp ? 3 | ((unsigned)(random >> 8) & 0x60) : 0);
    nic_write(b, R_CR, 1, CR_RE | CR_TE);
    nic_write(b, R_RCR, 4, (uint32_t)(random >> 16) & 0x189f);
    nic_write(b, R_IMR, 2, (uint32_t)(random >> 32));
    nic_write(b, R_RBSTART, 4, (uint32_t)(random >> 24) & 0x7fff0);
    for (unsigned i = 0; i < 4; i++)
        nic_write(b, R_TSAD + 4 * i, 4, (uint32_t)(random >> (8 + i)) & 0xfff00);
    if (cp) {
        nic_write(b, R_TNPDS, 4, (uint32_t)(random >> 40) & 0x300);
        nic_write(b, R_TNPDS + 4, 4, 0);
        nic_write(b, R_THPDS, 4, random >> 63 ? 0x400 : 0);
        nic_write(b, R_THPDS + 4, 4, 0);
        nic_write(b, R_RDSAR, 4, 0x800 | ((uint32_t)(random >> 48) & 0x300));
        nic_write(b, R_RDSAR + 4, 4, 0);
    }
    nic_write(b, R_TSD, 4, random >> 20 & 0x7ff); /* C mode: sends */
}

static inline void rtl8139_descriptor(uint64_t random, uint32_t d[4])
{
    static const uint32_t sizes[] = {14, 60, 200, 1514, 1536, 65535};
    d[0] = sizes[(random >> 8) % 6] | 1u << 31 | (random & 15 ? 0 : 1u << 30);
    if (random >> 24 & 1)
        d[0] |= 0x30000000u | ((uint32_t)(random >> 25) & 0x07ff0000);
    d[1] = (uint32_t)(random >> 40) & 0x3ffff;
    d[2] = (uint32_t)(random >> 44) & (NIC_RAM - 1);
    d[3] = 0;
}

static inline void rtl8139_fuzz(uint64_t seed, unsigned steps)
{
    static const uint16_t hot[] = {
        R_CR,  R_CAPR, R_IMR,   R_ISR,     R_TCR,     R_RCR,   R_9346CR, R_CPCR,  R_TPPOLL,
        R_TSD, R_TSAD, R_RDSAR, R_TSD + 4, R_RBSTART, R_TNPDS, R_BMCR,   R_DTCCR, R_TCTR,
    };
    const struct nic_fuzz f = {.make = rtl8139_new,
                               .bar = 1,
                               .reg_bytes = 256,
                               .widest = 1,
                               .hot = hot,
                               .hot_count = ARRAY_LEN(hot),
                               .bell = {R_TPPOLL, R_TPPOLL},
                               .bell_bytes = 1,
                               .bell_mask = 0xc1,
                               .setup = rtl8139_setup,
                               .descriptor = rtl8139_descriptor};
    nic_fuzz(&f, seed, steps);
}

#endif
