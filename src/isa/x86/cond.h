/* SPDX-License-Identifier: MIT */
/* Condition codes (Intel SDM vol. 1 appendix B): the low nibble of Jcc, SETcc and CMOVcc opcodes.
 */
#ifndef RING3_ISA_X86_COND_H
#define RING3_ISA_X86_COND_H

#include "isa/x86/x86.h"

static inline bool x86_cond_o(uint16_t cc)
{
    return cc & CC_OF;
}
static inline bool x86_cond_b(uint16_t cc)
{
    return cc & CC_CF;
}
static inline bool x86_cond_z(uint16_t cc)
{
    return cc & CC_ZF;
}
static inline bool x86_cond_be(uint16_t cc)
{
    return cc & (CC_CF | CC_ZF);
}
static inline bool x86_cond_s(uint16_t cc)
{
    return cc & CC_SF;
}
static inline bool x86_cond_p(uint16_t cc)
{
    return cc & CC_PF;
}
static inline bool x86_cond_l(uint16_t cc)
{
    return (cc >> 15 ^ cc) & 1;
} /* SF != OF */
static inline bool x86_cond_le(uint16_t cc)
{
    return x86_cond_l(cc) || (cc & CC_ZF);
}

/* X(name of the condition, name of its negation), in opcode order. */
#define X86_CONDITIONS(X)                                                                          \
    X(o, no) X(b, nb) X(z, nz) X(be, nbe) X(s, ns) X(p, np) X(l, nl) X(le, nle)

#endif
