/* SPDX-License-Identifier: MIT */
/* A board wires processor, memory, chips and firmware into a machine. Wiring is explicit code in
 * board/NAME.c: read it top to bottom and you have seen the machine. */
#ifndef RING3_BOARD_H
#define RING3_BOARD_H

#include "ring3/arch.h"
#include "ring3/err.h"
#include "ring3/types.h"

struct vm;
struct block;

struct board_ops {
    const char *name, *summary;
    enum guest_arch arch;      /* of the kernels that it runs */
    uint64_t min_ram, max_ram; /* bytes */
    /* A processor that waits with all interrupts masked is a machine that was turned off: the board
     * has nothing else that could end the wait, and its kernels know no other way. */
    bool halt_is_off;
    /* Build everything into *vm (memory, buses, vcpu, devices) and load vm->config's kernel.
     * On error the caller frees *vm, which must be safe in any half-built state. */
    int (*build)(struct vm *vm, struct err *e);
    /* Put guest memory, devices and processor back to the state after build (guest reset). */
    int (*reset)(struct vm *vm, struct err *e);
    /* Somebody presses the power button; NULL if there is none. Loop thread. */
    void (*power_button)(struct vm *vm);
    /* Exchange what is in drive n, an index of vm->config.drive, a CD-ROM or floppy drive; NULL:
     * take it out. No request to the old one is under way afterwards. May be NULL. Loop thread. */
    int (*change_medium)(struct vm *vm, unsigned n, struct block *medium, struct err *e);
};

#endif
