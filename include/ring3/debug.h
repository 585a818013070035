/* SPDX-License-Identifier: MIT */
/* What a debugger outside of the guest needs of an instruction set: registers by number, points
 * that stop the processor, single steps, addresses. All of it while the processor is parked
 * (vm_pause), on the loop thread. The guest's own debug registers are not touched. */
#ifndef RING3_DEBUG_H
#define RING3_DEBUG_H

#include "ring3/types.h"

struct vcpu;

enum debug_point { DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };
#define DEBUG_REGISTER_BYTES 16 /* the largest register */

/* Why the processor left with EXIT_DEBUG. */
struct debug_stop {
    bool point; /* at a point of this kind; else after a step */
    enum debug_point kind;
    uint64_t address; /* of the point */
};

struct isa_debug {
    /* Target description for gdb, annex target.xml: one document, whatever mode the processor is
     * in. Registers are numbered in its order. */
    const char *target_xml;
    unsigned registers;
    unsigned (*size)(unsigned n); /* bytes, up to DEBUG_REGISTER_BYTES; 0 if there is no such */
    void (*read)(struct vcpu *v, unsigned n, uint8_t *bytes); /* little-endian, size(n) of them */
    bool (*write)(struct vcpu *v, unsigned n, const uint8_t *bytes); /* false: not writable */
    /* Set or clear a point at linear addresses [lin, lin+len). -ENOSPC: there are too many,
     * -ENOENT: none to clear, -EINVAL: length. Execution points stop before the instruction, the
     * others after it. */
    int (*set_point)(struct vcpu *v, enum debug_point kind, uint64_t lin, unsigned len, bool on);
    /* Stop after one instruction; interrupts wait meanwhile. */
    void (*set_step)(struct vcpu *v, bool on);
    void (*reason)(const struct vcpu *v, struct debug_stop *s);
    /* Where a linear address is now, without side effects. False: nowhere. */
    bool (*translate)(struct vcpu *v, uint64_t lin, gpa_t *gpa);
};

#endif
