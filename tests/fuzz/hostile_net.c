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
#include "../unit/pcnet_fuzz.h"
/* The registers of two chips have names in common. */
void hostile_rtl8139(uint64_t seed, unsigned steps);

struct job {
    uint64_t seed;
    unsigned long rounds;
};

static void rounds(void **state)
{
    struct job *j = *state;
    for (unsigned long i = 0; i < j->rounds; i++, j->seed++) {
        printf("seed %lu\n", (unsigned long)j->seed);
        fflush(stdout);
        e1000_fuzz(j->seed, 50000);
        hostile_rtl8139(j->seed, 50000);
        ne2k_fuzz(j->seed, 50000);
        pcnet_fuzz(j->seed, 50000);
        slirp_garbage(j->seed, 1000);
    }
}

int main(int argc, char **argv)
{
    struct job j = {argc > 1 ? strtoull(argv[1], NULL, 0) : 1,
                    argc > 2 ? strtoul(argv[2], NULL, 0) : 3};
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(rounds, &j)};
    return cmocka_run_group_tests(tests, NULL, NULL); /* which says what differed */
}
