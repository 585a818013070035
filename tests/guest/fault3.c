/* SPDX-License-Identifier: MIT */
/* A triple fault (Intel SDM vol. 3A 6.15, interrupt 8): with an empty IDT, a breakpoint cannot be
 * delivered, nor the general protection fault for that, nor the double fault. The processor shuts
 * down; run.py checks what the monitor says about it. */
#include "lib/lib.h"

void test_main(void)
{
    static const struct dtr none = {0, 0};

    put_str("shutting down\n");
    while (!(inb(0x3fd) & 0x40)) /* out of the serial port before the end */
        ;
    lidt(&none);
    asm volatile("int3");
    put_str("not reached\n");
}
