/* SPDX-License-Identifier: MIT */
/* Hostile guests of the network: random registers, rings and frames for each card, compared with a
 * twin made from its state table; garbage for the user mode network.
 *
 *   hostile_net [SEED [ROUNDS]]     a round is one seed for each */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/e1000_fuzz.h"
#include "../unit/ne2k_fuzz.h"
#include "../unit/net_garbage.h"
/* The registers of two chips have names in common. */
void hostile_rtl8139(uint64_t seed, unsigned steps);

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 3;
    for (unsigned long i = 0; i < rounds; i++, seed++) {
        printf("seed %lu\n", (unsigned long)seed);
        fflush(stdout);
        e1000_fuzz(seed, 50000);
        hostile_rtl8139(seed, 50000);
        ne2k_fuzz(seed, 50000);
        slirp_garbage(seed, 1000);
    }
    printf("%lu rounds, nothing broke\n", rounds);
    return 0;
}
