/* SPDX-License-Identifier: MIT */
/* Random guests of the pcnet: what nic_fuzz needs to know. All by 32-bit accesses, which the first
 * write switches on. */
#ifndef RING3_TESTS_PCNET_FUZZ_H
#define RING3_TESTS_PCNET_FUZZ_H

#include "nic_rig.h"

#include "../../src/dev/pcnet.h"

#define PCNET_FUZZ_INIT 0x8000u

static inline void pcnet_csr(struct nic_rig *b, unsigned n, uint32_t value)
{
    nic_write(b, D_RAP, 4, n);
    nic_write(b, D_RDP, 4, value);
}

/* Rings in the first page, one behind the other or not. RAP stays at CSR0. */
static inline void pcnet_setup(struct nic_rig *b, uint64_t random)
{
    static const uint16_t modes[] = {0, 0, MODE_PROM, MODE_LOOP, MODE_NO_BROADCAST, MODE_NO_TX};
    uint32_t lengths = (uint32_t)(random & 0x3030) << 16 | 0x10100000;
    uint32_t block[7] = {lengths | modes[(random >> 16) % 6],
                         0x12005452,
                         0x5634,
                         UINT32_MAX,
                         UINT32_MAX,
                         (uint32_t)(random >> 24) & 0x700,
                         0x800 | ((uint32_t)(random >> 36) & 0x700)};
    ram_write(b, PCNET_FUZZ_INIT, block, sizeof block);
    nic_write(b, D_RDP, 4, 0);
    pcnet_csr(b, 0, CSR0_STOP);
    nic_write(b, D_RAP, 4, BCR_STYLE);
    nic_write(b, D_BDP, 4, random >> 50 & 7 ? 2 + (random >> 53 & 1) : random >> 54 & 1);
    pcnet_csr(b, 1, PCNET_FUZZ_INIT);
    pcnet_csr(b, 2, 0);
    pcnet_csr(b, 3, (uint32_t)(random >> 56) << 8);
    pcnet_csr(b, 4, random >> 55 & 1 ? 0x0915 : 0);
    pcnet_csr(b, 0, CSR0_INIT);
    pcnet_csr(b, 0, CSR0_STRT | CSR0_IENA);
}

/* Of either 32-bit style; both dwords that may be the address are one. */
static inline void pcnet_descriptor(uint64_t random, uint32_t d[4])
{
    static const uint32_t sizes[] = {14, 60, 200, 1514, 1600, 4096};
    uint32_t flags = (uint32_t)(random & 15 ? 0x8300 : random >> 8 & 0xff00);
    d[0] = d[2] = (uint32_t)(random >> 24) & 0xfffff;
    d[1] = flags << 16 | (0xffff & -sizes[(random >> 16) % 6]);
    d[3] = 0;
    if (random >> 60 == 0)
        d[0] |= 0x83000000; /* style 0 */
}

static inline void pcnet_fuzz(uint64_t seed, unsigned steps)
{
    static const uint16_t hot[] = {D_RDP, D_RAP, D_BDP, D_RDP, 0}; /* reading D_RESET ends it all */
    const struct nic_fuzz f = {.make = pcnet_new,
                               .bar = 1,
                               .reg_bytes = PCNET_BYTES,
                               .widest = 1,
                               .hot = hot,
                               .hot_count = ARRAY_LEN(hot),
                               .bell = {D_RDP, D_RDP},
                               .bell_bytes = 4,
                               .bell_mask = CSR0_TDMD | CSR0_IENA | CSR0_CAUSES,
                               .setup = pcnet_setup,
                               .descriptor = pcnet_descriptor};
    nic_fuzz(&f, seed, steps);
}

#endif
