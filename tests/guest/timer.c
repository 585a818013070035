/* SPDX-License-Identifier: MIT */
/* Time and interrupts as guests use them: the 8254 timer (modes 0, 2, 3, latch and read-back,
 * channel 2 with its gate), the MC146818 clock (periodic interrupt, registers, memory), HLT as a
 * wait, the 16550's interrupts in loopback, the time-stamp counter. Rates are compared with each
 * other and loosely: the host may be busy. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"channel2-gate-off-stops", "the gate has no effect in mode 0"},
    {NULL, NULL},
};

#define COM 0x3f8

static volatile unsigned pit_ticks, rtc_ticks, uart_ints;
static volatile u8 uart_iir[8];

static void on_pit(struct frame *f)
{
    pit_ticks++;
    outb(0x20, 0x20);
}

static u8 cmos(u8 reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

static void set_cmos(u8 reg, u8 x)
{
    outb(0x70, reg);
    outb(0x71, x);
}

static void on_rtc(struct frame *f)
{
    rtc_ticks++;
    cmos(0x0c);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

static void on_uart(struct frame *f)
{
    if (uart_ints < sizeof(uart_iir))
        uart_iir[uart_ints] = inb(COM + 2);
    uart_ints++;
    outb(0x20, 0x20);
}

static u64 tsc(void)
{
    u64 x;
    asm volatile("rdtsc" : "=A"(x));
    return x;
}

static u16 latch(u8 channel)
{
    outb(0x43, (u8)(channel << 6));
    u8 lo = inb((u16)(0x40 + channel));
    return (u16)(lo | inb((u16)(0x40 + channel)) << 8);
}

static u8 status(u8 channel)
{
    outb(0x43, (u8)(0xe0 | 2 << channel)); /* read-back: status only */
    return inb((u16)(0x40 + channel));
}

/* ---- 8254 ------------------------------------------------------------------------------------ */

static void pit(void)
{
    pit_start(0, 2000);
    pic_mask(0xfffe);
    u64 before = tsc();
    asm volatile("sti; hlt; cli");
    check_eq("mode0-wakes-hlt", pit_ticks, 1);
    check("tsc-grows-in-hlt", tsc() > before);
    check_eq("mode0-out-high", status(0) & 0x80, 0x80);
    for (unsigned i = 0; i < 1000; i++) /* well over the count */
        inb(0x61);
    check_eq("mode0-once", pit_ticks, 1);

    pit_ticks = 0;
    pit_start(2, 5966); /* 5 ms */
    while (pit_ticks < 5)
        asm volatile("sti; hlt; cli");
    check_eq("mode2-periodic", pit_ticks, 5);
    check_eq("mode2-status", status(0) & 0x3f, 0x34);
    pit_ticks = 0;
    pit_start(3, 5966);
    while (pit_ticks < 3)
        asm volatile("sti; hlt; cli");
    check_eq("mode3-periodic", pit_ticks, 3);
    pic_mask(0xffff);

    pit_start(2, 0); /* 65536 */
    unsigned tries = 0, down = 0;
    while (tries++ < 10 && !down) { /* the host may sleep in between */
        u16 a = latch(0), b = latch(0);
        down = (u16)(a - b) < 0x4000;
    }
    check("counts-down", down);
    bool in_range = true;
    pit_start(2, 1000);
    for (unsigned i = 0; i < 200; i++) {
        u16 x = latch(0);
        in_range &= x >= 1 && x <= 1000;
    }
    check("mode2-count-to-1", in_range);
    pit_start(2, 0);
    outb(0x43, 0x00); /* a latched value waits until it is read */
    for (unsigned i = 0; i < 1000; i++)
        inb(0x61);
    outb(0x43, 0x00); /* second latch is ignored */
    u8 lo = inb(0x40);
    u16 held = (u16)(lo | inb(0x40) << 8), now = latch(0);
    check("latch-holds", held != now);
    outb(0x43, 0x14); /* channel 0, low byte only, mode 2 */
    outb(0x40, 100);
    check("low-byte-only", inb(0x40) <= 100);
    pit_start(2, 0);

    /* Channel 2: gate by port 61h bit 0, output on bit 5. */
    u8 port = inb(0x61) & ~3;
    outb(0x61, port);
    outb(0x43, 0xb0);
    outb(0x42, 0xe8);
    outb(0x42, 0x03);
    check_eq("channel2-out-low", inb(0x61) & 0x20, 0);
    u16 stopped = latch(2);
    for (unsigned i = 0; i < 500; i++)
        inb(0x80);
    check_eq("channel2-gate-off-stops", latch(2), stopped);
    outb(0x61, port | 1);
    while (!(inb(0x61) & 0x20))
        ;
    check("channel2-ends", true);
    outb(0x61, port);
    /* The refresh bit toggles all the time. */
    u8 first = inb(0x61) & 0x10;
    tries = 0;
    while ((inb(0x61) & 0x10) == first && tries < 10000000)
        tries++;
    check("refresh-toggles", tries < 10000000);
}

/* ---- clock ----------------------------------------------------------------------------------- */

static void clock(void)
{
    u8 b = cmos(0x0b);

    set_cmos(0x50, 0x5a);
    set_cmos(0x51, 0xa5);
    check("memory", cmos(0x50) == 0x5a && cmos(0x51) == 0xa5);
    check_eq("valid-ram-and-time", cmos(0x0d) & 0x80, 0x80);
    while (cmos(0x0a) & 0x80)
        ;
    u8 month = cmos(8), day = cmos(7);
    if (!(b & 4))
        month = (u8)((month >> 4) * 10 + (month & 15)), day = (u8)((day >> 4) * 10 + (day & 15));
    check("date-plausible", month >= 1 && month <= 12 && day >= 1 && day <= 31);

    cmos(0x0c);
    set_cmos(0x0a, 0x2a); /* 64 Hz */
    set_cmos(0x0b, (u8)((b & ~0x70) | 0x40));
    pic_mask(0xfefb);
    while (rtc_ticks < 3)
        asm volatile("sti; hlt; cli");
    check_eq("periodic-wakes-hlt", rtc_ticks, 3);
    pic_mask(0xffff);
    while (!(cmos(0x0c) & 0xc0))
        ;
    check_eq("flags-cleared-by-read", cmos(0x0c) & 0xb0, 0);

    /* 30 timer ticks of 10 ms against 64 Hz: about 19; more if a busy host loses timer ticks. */
    rtc_ticks = pit_ticks = 0;
    cmos(0x0c);
    pit_start(2, 11932);
    pic_mask(0xfefa);
    while (pit_ticks < 30)
        asm volatile("sti; hlt; cli");
    unsigned r = rtc_ticks;
    pic_mask(0xffff);
    check("rates-agree", r >= 8 && r <= 120);
    set_cmos(0x0b, b & ~0x70);
    set_cmos(0x0a, 0x26);
    cmos(0x0c);
}

/* ---- serial port in loopback ----------------------------------------------------------------- */

static void window(void)
{
    asm volatile("sti; nop; nop; nop; nop; cli" ::: "memory");
}

static void drain(void)
{
    while (!(inb(COM + 5) & 0x40))
        ;
}

static void uart(void)
{
    u8 lsr, got, iir;
    bool modem;

    drain();
    outb(COM + 1, 0);
    outb(COM + 2, 0); /* no FIFO */
    outb(COM + 4, 0x1b);
    while (inb(COM + 5) & 1)
        inb(COM);
    /* On a PC the port's OUT2 pin gates its interrupt and is inactive in loopback, so whether IRQ 4
     * moves differs between machines; IIR tells in any case. */
    outb(COM + 1, 1);
    outb(COM, 0x5a);
    while (!(inb(COM + 5) & 1))
        ;
    lsr = inb(COM + 5);
    iir = inb(COM + 2);
    got = inb(COM);
    u8 after = inb(COM + 5), none = inb(COM + 2);
    /* Modem control lines are looped to modem status. */
    outb(COM + 4, 0x10);
    u8 off = inb(COM + 6) & 0xf0;
    outb(COM + 4, 0x1f);
    u8 on = inb(COM + 6) & 0xf0;
    modem = off == 0 && on == 0xf0;
    /* Transmitter-empty interrupt, cleared by reading IIR. */
    uart_ints = 0;
    outb(COM + 4, 0x0b);
    drain();
    pic_mask(0xffef);
    outb(COM + 1, 2);
    window();
    u8 empty = uart_iir[0];
    unsigned empties = uart_ints;
    u8 cleared = inb(COM + 2);
    outb(COM + 1, 0);
    outb(COM + 4, 3);
    pic_mask(0xffff);

    check("loopback-data", (lsr & 1) && got == 0x5a);
    check_eq("receive-iir", iir & 0xf, 4);
    check("receive-cleared-by-read", !(after & 1) && (none & 1));
    check("loopback-modem-lines", modem);
    check_eq("empty-interrupt", empties, 1);
    check_eq("empty-iir", empty & 0xf, 2);
    check_eq("empty-cleared-by-iir", cleared & 0xf, 1);
}

void test_main(void)
{
    hook[0x20] = on_pit;
    hook[0x28] = on_rtc;
    hook[0x24] = on_uart;
    pit();
    clock();
    uart();
}
