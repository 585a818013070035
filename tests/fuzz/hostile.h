/* SPDX-License-Identifier: MIT */
/* What the files of hostile_x86 share: the machine and its malicious guests. */
#ifndef RING3_TESTS_FUZZ_HOSTILE_H
#define RING3_TESTS_FUZZ_HOSTILE_H

#include "engine/engines.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

/* Guest-physical memory: RAM, ROM at its end, nothing else. The file that holds it is larger:
 * CANARY_BYTES in front and behind are not the guest's. */
#define RAM_BYTES    (2 * MIB)
#define ROM_BYTES    (64 * KIB)
#define CANARY_BYTES (64 * KIB)
#define FILE_BYTES   (RAM_BYTES + 2 * CANARY_BYTES)
#define CANARIES     4

struct machine {
    const struct engine_ops *engine;
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    struct log log;
    struct vcpu *vcpu;
    uint64_t irq_seed;
    uint8_t *file;             /* the monitor's own map of guest memory, FILE_BYTES */
    uint8_t *canary[CANARIES]; /* mappings made before, between and after the parts */
    uint8_t before[RAM_BYTES]; /* guest memory when the run began */
};

/* xorshift64*: small, repeatable, good enough to pick bytes. */
static inline uint64_t next(uint64_t *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * UINT64_C(2685821657736338717);
}
static inline uint32_t below(uint64_t *s, uint32_t n)
{
    return (uint32_t)(next(s) >> 32) % n;
}

/* ---- hostile_guest.c ------------------------------------------------------------------------- */

void hostile_wild(struct machine *m, uint64_t *s);
void hostile_flatten(struct machine *m, uint64_t *s);

/* ---- hostile_jail.c -------------------------------------------------------------------------- */

void hostile_jail(struct machine *m, uint64_t *s);
/* What the jailed code has changed beyond its rights, or NULL; *gpa says where. */
const char *hostile_escape(const struct machine *m, uint32_t *gpa);

#endif
