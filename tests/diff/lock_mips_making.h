/* SPDX-License-Identifier: MIT */
/* A program of lock_mips_random in the making: what lock_mips_program.c (the state at the start),
 * lock_mips_words.c (instructions) and lock_mips_values.c (values that lead somewhere) share. */
#ifndef RING3_TESTS_DIFF_LOCK_MIPS_MAKING_H
#define RING3_TESTS_DIFF_LOCK_MIPS_MAKING_H

#include "isa/mips32/insn.h"
#include "lock_mips_program.h"

#define ASID     5u /* the program's */
#define MAX_ROWS 512u

enum kind { ALU, LOAD, STORE, BRANCH, FPU, SYSTEM, KINDS };

struct lock_mips_generator {
    struct mips32_decoder *decoder; /* of release 2: programs for release 1 have its rows, too */
    uint16_t row[KINDS][MAX_ROWS];
    unsigned rows[KINDS];
    uint64_t used[MAX_ROWS];
};

struct random {
    uint64_t state;
};

struct making {
    struct lock_mips_generator *g;
    struct lock_mips_program *p;
    struct random r;
    bool kernel, narrow; /* `narrow`: plain stores only */
    unsigned body;       /* words of the program proper */
};

static inline uint64_t making_next(struct random *r)
{
    return lock_mips_mix(r->state++);
}

static inline unsigned making_below(struct making *m, unsigned n)
{
    return (unsigned)(making_next(&m->r) >> 32) % n;
}

static inline bool making_chance(struct making *m, unsigned percent)
{
    return making_below(m, 100) < percent;
}

#define MAKING_PICK(m, array) ((array)[making_below(m, ARRAY_LEN(array))])

/* ---- lock_mips_values.c -----------------------------------------------------------------------
 */

/* Whatever registers may hold. */
uint32_t making_value32(struct making *m);
uint64_t making_value64(struct making *m);
/* An address that something is likely to be at, near the border of a page as a rule. */
uint32_t making_address(struct making *m);
uint32_t making_label(struct making *m); /* of a word of the program */

/* What entry n of the TLB is for. */
struct making_home {
    uint32_t va, mask;
    uint8_t asid; /* plus ASID */
    uint8_t how;
};
enum { CODE = 1, GLOBAL = 2 /* often so */ };
extern const struct making_home making_homes[LOCK_MIPS_ENTRIES];

/* Values of CP0's registers. */
uint32_t making_entry_lo(struct making *m, unsigned how);
uint32_t making_status(struct making *m);
uint32_t making_asid(struct making *m);
uint32_t making_page_mask(struct making *m);

/* ---- lock_mips_words.c ------------------------------------------------------------------------
 */

/* Registers that are bases of addresses, and seldom written. */
static inline bool making_is_base(unsigned reg)
{
    return UINT32_C(0x701f0038) >> reg & 1; /* v1 a0 a1 s0-s4 gp sp fp */
}

/* Fill p->code. */
void making_words(struct making *m);

#endif
