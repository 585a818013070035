/* SPDX-License-Identifier: MIT */
/* hostile_net.c's part for the rtl8139. */
#include "../unit/rtl8139_fuzz.h"

void hostile_rtl8139(uint64_t seed, unsigned steps);

void hostile_rtl8139(uint64_t seed, unsigned steps)
{
    rtl8139_fuzz(seed, steps);
}
