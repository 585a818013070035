/* SPDX-License-Identifier: MIT */
/* lock_mips_random's machines: one MIPS32 processor each, with its own memory and a device, that
 * runs the programs of lock_mips_program.h under one engine.
 *
 * Physical memory; programs can change all of it:
 *
 *   0000 exception vectors, and what they lead to    1fc00000 the same for Status.BEV
 *   1000 what handlers need: struct lock_mips_handling
 *   4000 data pages        8000 code pages           1f000000 a device
 */
#ifndef RING3_TESTS_DIFF_LOCK_MIPS_MACHINE_H
#define RING3_TESTS_DIFF_LOCK_MIPS_MACHINE_H

#include "isa/mips32/mips32.h"
#include "lock.h"

#define LOCK_MIPS_HANDLING 0x1000u
#define LOCK_MIPS_DATA     0x4000u
#define LOCK_MIPS_CODE     0x8000u
#define LOCK_MIPS_PAGES    10u /* pages of RAM from 0 on */
#define LOCK_MIPS_DEVICE   0x1f000000u
#define LOCK_MIPS_BOOT     0x1fc00000u

enum { LOCK_MIPS_DATA_PAGES = 4, LOCK_MIPS_CODE_PAGES = 2 };
#define LOCK_MIPS_DATA_BYTES (LOCK_MIPS_DATA_PAGES * 0x1000u)
#define LOCK_MIPS_CODE_WORDS (LOCK_MIPS_CODE_PAGES * 0x400u)

/* Read and written by the handlers, in the processor's byte order. */
struct lock_mips_handling {
    uint32_t fuel;   /* exceptions that are handled; the next one ends the program */
    uint32_t refill; /* not 0: a refill exception writes an entry of lo[] with TLBWR */
    uint32_t lo[2];
    uint32_t status, cause; /* written at the end, which clears the registers */
};

#define LOCK_MIPS_MODELS 5u
extern const struct mips32_model lock_mips_model[LOCK_MIPS_MODELS];

#define LOCK_MIPS_ENTRIES 16u /* of the TLB that are set; the others match nothing */
#define LOCK_MIPS_WORDS   64u
struct lock_mips_program {
    uint64_t index;
    unsigned model;
    uint32_t gpr[32], hi, lo, fcsr;
    uint64_t fpr[32];
    uint32_t status, cause, entry_hi, entry_lo[2], page_mask, tlb_index, wired, random, epc,
        error_epc, hwrena, count;
    uint32_t lines; /* interrupt pins, as in Cause */
    bool ll_bit;
    bool wide; /* it has other stores than those of words, halves and bytes */
    struct {
        uint32_t hi, mask, lo[2];
    } tlb[LOCK_MIPS_ENTRIES];
    struct lock_mips_handling handling;
    uint32_t at;           /* virtual address of the first word */
    unsigned first, words; /* where they are in the code pages, how many there are */
    uint32_t code[LOCK_MIPS_WORDS];
};

struct lock_mips_engine {
    const char *name;
    const struct engine_ops *ops;
    struct dbt_options dbt;
};

struct lock_mips_machine {
    const struct lock_mips_engine *engine;
    struct phys *mem;
    struct bus *mmio;
    struct clock *clock;
    struct log log;
    struct vcpu *v;
    struct irq_line pin;    /* the device's */
    uint8_t *base;          /* RAM without the program */
    uint64_t io, io_digest; /* what the device has seen */
    unsigned fault_base;
    struct lock_place start;
};

int lock_mips_machine_new(const struct lock_mips_engine *engine, const struct mips32_model *model,
                          struct lock_mips_machine **out, struct err *e);
void lock_mips_machine_free(struct lock_mips_machine *m);
/* Registers, TLB and memory for the program's start. */
void lock_mips_machine_load(struct lock_mips_machine *m, const struct lock_mips_program *p);
/* Run the engine once; the interpreter for `budget` instructions. */
void lock_mips_machine_run(struct lock_mips_machine *m, uint64_t budget, struct vm_exit *x);
/* Two entries of the TLB match the same address. */
bool lock_mips_machine_tlb_overlaps(const struct lock_mips_machine *m);
/* Since then the program has written to itself, or to the handlers. */
bool lock_mips_machine_code_changed(const struct lock_mips_machine *m,
                                    const struct lock_mips_program *p);
bool lock_mips_machine_same_memory(const struct lock_mips_machine *a,
                                   const struct lock_mips_machine *b, FILE *out);

/* A well-mixed function of x. */
uint64_t lock_mips_mix(uint64_t x);

#endif
