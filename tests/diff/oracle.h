/* SPDX-License-Identifier: MIT */
/* The host oracle: what generator, native side, interpreter side and driver share.
 *
 * A case is 1 to 8 instructions, the registers and FPU state they start from and a few words of
 * memory. It runs twice, once on the host processor in 32-bit mode and once in the interpreter, in
 * the same linear address space:
 *
 *   OR_CODE   2 pages, read and execute; int3 wherever the case has no instruction
 *   OR_DATA   2 pages read-write, then OR_RO 1 page read-only, then nothing
 *   OR_SAVE   1 page read-write: well-formed FXSAVE images, target of the environment stores
 *   OR_STACK  2 pages read-write, above 2 GiB
 *
 * No page but the code is executable, and nothing else is mapped. How segments lie over it is one
 * of the modes of modes.c. Every run ends with an exception, the terminating int3 at the latest:
 * the outcome is its vector, error code and saved registers. */
#ifndef RING3_TESTS_DIFF_ORACLE_H
#define RING3_TESTS_DIFF_ORACLE_H

#include <stdio.h>
#include <string.h>

#include "ring3/err.h"
#include "ring3/types.h"

#define OR_CODE        0x08048000u
#define OR_CODE_BYTES  0x2000u
#define OR_DATA        0x10000000u
#define OR_DATA_BYTES  0x2000u
#define OR_RO          (OR_DATA + OR_DATA_BYTES)
#define OR_RO_BYTES    0x1000u
#define OR_SAVE        0x20000000u
#define OR_SAVE_BYTES  0x1000u
#define OR_STACK       0xbfffe000u
#define OR_STACK_BYTES 0x2000u
#define OR_MAX_INSNS   8
#define OR_MAX_CODE    136  /* bytes */
#define OR_VECTOR_HANG 0xff /* neither side: the sequence did not end */

/* The writable memory of a case, in one piece. */
struct or_image {
    uint8_t data[OR_DATA_BYTES];
    uint8_t save[OR_SAVE_BYTES];
    uint8_t stack[OR_STACK_BYTES];
};

struct or_fx { /* FXSAVE image, SDM vol. 1 table 10-2; 32-bit layout */
    uint16_t fcw, fsw;
    uint8_t ftw, reserved0;
    uint16_t fop;
    uint32_t fip, fcs, fdp, fds;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[8][16];
    uint8_t reserved1[224];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct or_fx) == 512, "FXSAVE image");

struct or_state {
    struct or_fx fx;
    uint32_t gpr[8];             /* in the order of the register encoding */
    uint32_t eip, eflags;        /* eip is an offset in CS */
    uint32_t vector, error, cr2; /* outcome only; cr2 valid for vector 14 */
};

/* Memory that differs from the run's base image: up to 8 bytes at a writable address. */
struct or_patch {
    uint32_t addr, size;
    uint64_t value;
};

/* Memory whose final contents say where the FPU last ran, which is not compared. */
struct or_ignore {
    uint32_t addr, size;
};

struct or_case {
    struct or_state init;
    uint64_t index;     /* number of the case within its seed */
    uint32_t mode;      /* index into or_modes[] */
    uint32_t code_addr; /* linear */
    uint32_t code_len;
    uint8_t code[OR_MAX_CODE];
    uint32_t insns;
    uint8_t start[OR_MAX_INSNS + 1]; /* offsets of the instructions in code; then the int3 */
    uint16_t mnemonic[OR_MAX_INSNS];
    uint32_t undefined[OR_MAX_INSNS + 1]; /* EFLAGS no manual defines before each start[] */
    uint32_t patches, ignores;
    struct or_patch patch[12];
    struct or_ignore ignore[2 * OR_MAX_INSNS];
};

struct or_result {
    struct or_state state;
    struct or_image image;
};

/* Where a linear address lies in an image, or NULL when [addr, addr+size) is not all writable. */
static inline uint8_t *or_image_at(struct or_image *m, uint32_t addr, uint32_t size)
{
    if (addr - OR_DATA < OR_DATA_BYTES && addr - OR_DATA + size <= OR_DATA_BYTES)
        return m->data + (addr - OR_DATA);
    if (addr - OR_SAVE < OR_SAVE_BYTES && addr - OR_SAVE + size <= OR_SAVE_BYTES)
        return m->save + (addr - OR_SAVE);
    if (addr - OR_STACK < OR_STACK_BYTES && addr - OR_STACK + size <= OR_STACK_BYTES)
        return m->stack + (addr - OR_STACK);
    return NULL;
}
static inline bool or_writable(uint32_t addr, uint32_t size)
{
    return (addr - OR_DATA < OR_DATA_BYTES && addr - OR_DATA + size <= OR_DATA_BYTES) ||
           (addr - OR_SAVE < OR_SAVE_BYTES && addr - OR_SAVE + size <= OR_SAVE_BYTES) ||
           (addr - OR_STACK < OR_STACK_BYTES && addr - OR_STACK + size <= OR_STACK_BYTES);
}

static inline void or_apply_patches(struct or_image *m, const struct or_case *c)
{
    for (uint32_t i = 0; i < c->patches; i++)
        memcpy(or_image_at(m, c->patch[i].addr, c->patch[i].size), &c->patch[i].value,
               c->patch[i].size);
}

/* ---- modes.c: segments ------------------------------------------------------------------ */

enum or_seg_kind { OR_SEG_DATA, OR_SEG_READ_ONLY, OR_SEG_EXPAND_DOWN, OR_SEG_CODE };

struct or_seg {
    uint16_t sel;
    enum or_seg_kind kind;
    bool big;             /* the D/B bit */
    uint32_t base, limit; /* bytes; a limit of 1 MiB or more ends in fff */
};

struct or_mode {
    const char *name;
    bool code16;
    struct or_seg seg[6]; /* ES CS SS DS FS GS */
};

/* The first mode uses the kernel's flat selectors, with bases in FS and GS so that 16-bit
 * addresses reach the data. The others use an LDT, which some hosts refuse. */
#define OR_MODES   3
#define OR_FLAT_CS 0x23
#define OR_FLAT_DS 0x2b
extern const struct or_mode or_modes[OR_MODES];

/* ---- random numbers: splitmix64, so that every case has its own stream ----------------------- */

struct or_rng {
    uint64_t x;
};
static inline uint64_t or_mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
static inline uint64_t or_rand(struct or_rng *r)
{
    return or_mix(r->x += UINT64_C(0x9e3779b97f4a7c15));
}
static inline uint32_t or_below(struct or_rng *r, uint32_t n) /* 0 .. n-1 */
{
    return (uint32_t)((or_rand(r) >> 32) * n >> 32);
}
static inline bool or_percent(struct or_rng *r, unsigned p)
{
    return or_below(r, 100) < p;
}

/* ---- values.c: initial contents -------------------------------------------------------------- */

uint32_t or_random_word(struct or_rng *r); /* biased to edges and small numbers */
void or_random_fx(struct or_rng *r, struct or_fx *fx);
void or_random_image(struct or_rng *r, struct or_image *m, uint8_t ro[OR_RO_BYTES]);

/* ---- generate.c ------------------------------------------------------------------------------ */

struct or_generator;
/* only: a mnemonic in lower case that every case must contain, or NULL. strict: sequences may look
 * at flags an earlier instruction leaves undefined. modes: how many of or_modes[] to use. NULL and
 * *e on an unknown mnemonic. */
struct or_generator *or_generator_new(const char *only, bool strict, unsigned modes, struct err *e);
void or_generator_free(struct or_generator *g);
void or_generate(struct or_generator *g, uint64_t seed, uint64_t index, struct or_case *c);
/* Tell the coverage table that this case ran to its int3. */
void or_generator_completed(struct or_generator *g, const struct or_case *c);
/* Print mnemonics with counts if `list`; always check the table against the interpreter's rows.
 * Returns how many mnemonics are missing; they are named on `out`. */
unsigned or_generator_coverage(const struct or_generator *g, bool list, FILE *out);
/* Disassemble a case, one instruction a line. */
void or_print_code(const struct or_generator *g, const struct or_case *c, FILE *out);

/* ---- native.c: the host processor, in a helper process --------------------------------------- */

#define OR_BATCH 64
struct or_native;
/* helper: path of the program. -ENOTSUP when this host cannot run such code (why is in *e). */
int or_native_new(const char *helper, const struct or_image *base, const uint8_t ro[OR_RO_BYTES],
                  struct or_native **out, struct err *e);
void or_native_free(struct or_native *n);
/* How many modes the host can run: OR_MODES, or 1 if it has no LDT. */
unsigned or_native_modes(const struct or_native *n);
/* Fill with or_native_case(n, 0..OR_BATCH-1), run the first `count`, read or_native_result(). */
struct or_case *or_native_case(struct or_native *n, unsigned slot);
const struct or_result *or_native_result(const struct or_native *n, unsigned slot);
int or_native_run(struct or_native *n, unsigned count, struct err *e);

/* Layout of the memory shared with the helper. */
struct or_shared {
    struct or_image base;
    uint8_t ro[OR_RO_BYTES];
    char verdict[256]; /* "" if the host can do it */
    uint32_t modes;
    struct {
        struct or_case c;
        struct or_result r;
    } slot[OR_BATCH];
};

/* ---- interp.c -------------------------------------------------------------------------------- */

struct or_interp;
int or_interp_new(const struct or_image *base, const uint8_t ro[OR_RO_BYTES],
                  struct or_interp **out, struct err *e);
void or_interp_free(struct or_interp *i);
void or_interp_run(struct or_interp *i, const struct or_case *c, struct or_result *r);

#endif
