/* SPDX-License-Identifier: MIT */
/* The reading half of a 93C46: 64 words of 16 bits behind a Microwire bus, as network cards have
 * them for their address. A read is a start bit, the operation 10 and six bits of address in; then
 * a dummy bit and 16 bits out, most significant first, each behind a rising clock. Left out:
 * writing. */
#ifndef RING3_DEV_EEPROM93_H
#define RING3_DEV_EEPROM93_H

#include "ring3/types.h"

#define EEPROM93_WORDS 64
#define EEPROM93_IDLE  0xff

/* Part of a card's state. */
struct eeprom93 {
    uint16_t shift, out; /* bits in so far; the word going out */
    uint8_t bits;        /* of `out` that are out; EEPROM93_IDLE: not reading */
};

static inline void eeprom93_deselect(struct eeprom93 *e)
{
    *e = (struct eeprom93){.bits = EEPROM93_IDLE};
}

/* A rising clock with the chip selected. Returns the wire out. */
static inline bool eeprom93_clock(struct eeprom93 *e, const uint16_t words[EEPROM93_WORDS], bool in)
{
    if (e->bits != EEPROM93_IDLE) {
        bool out = e->bits >= 16 || (e->out >> (15 - e->bits) & 1);
        e->bits = e->bits < 16 ? (uint8_t)(e->bits + 1) : 16;
        return out;
    }
    e->shift = (uint16_t)(e->shift << 1 | in);
    if (!(e->shift & 0x100)) /* the start bit is not yet in front of eight others */
        return true;
    unsigned operation = e->shift >> 6 & 3, address = e->shift % EEPROM93_WORDS;
    e->shift = 0;
    if (operation != 2)
        return true;
    e->out = words[address];
    e->bits = 0;
    return false; /* the dummy bit */
}

#endif
