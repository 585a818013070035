/* SPDX-License-Identifier: MIT */
/* The pair of 8259A interrupt controllers (data sheet 231468) as a guest sees it: mask, request and
 * service registers, priorities and nesting over three sources (PIT on 0, serial port on 4, clock
 * on 8), the kinds of EOI, rotation, automatic EOI, special mask and poll mode, other vector bases,
 * edge sensing. Spurious interrupts need a race that a guest cannot stage, so they are left to the
 * chip's unit test. */
#include "lib/lib.h"

#define COM 0x3f8

static volatile u8 order[16];
static volatile unsigned n;
static volatile bool no_eoi;

static void eoi(u32 vector)
{
    if (vector >= 0x28)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

static void log_vector(struct frame *f)
{
    if (n < sizeof(order))
        order[n] = (u8)f->vector;
    n++;
    if (!no_eoi)
        eoi(f->vector);
}

static void window(void)
{
    asm volatile("sti; nop; nop; nop; nop; cli" ::: "memory");
}

static u8 irr(u16 port)
{
    outb(port, 0x0a);
    return inb(port);
}

static u8 isr(u16 port)
{
    outb(port, 0x0b);
    return inb(port);
}

/* ---- the three sources ----------------------------------------------------------------------- */

static void raise_pit(void)
{
    pit_start(0, 30);
    wait_irq0();
}

/* The serial port's transmitter-empty interrupt; the line stays up until IIR is read. */
static void raise_uart(void)
{
    while (!(inb(COM + 5) & 0x40))
        ;
    outb(COM + 4, 0x0b); /* OUT2 gates the interrupt */
    outb(COM + 1, 2);
    while (!(irr(0x20) & 0x10))
        ;
}

static void lower_uart(void)
{
    outb(COM + 1, 0);
    inb(COM + 2);
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

/* One periodic interrupt of the clock chip, then off again; the line stays up until C is read. */
static void raise_rtc(void)
{
    cmos(0x0c);
    set_cmos(0x0a, 0x23); /* 8192 Hz */
    set_cmos(0x0b, (u8)(cmos(0x0b) | 0x40));
    while (!(irr(0xa0) & 1))
        ;
    set_cmos(0x0a, 0x20);
}

static void lower_rtc(void)
{
    set_cmos(0x0b, (u8)(cmos(0x0b) & ~0x70));
    set_cmos(0x0a, 0x26);
    cmos(0x0c);
}

/* Printing goes through the serial port and would disturb its interrupt, so results are kept until
 * quiet(). */
static struct {
    const char *name;
    u32 got, want;
} notes[32];
static unsigned note_count;

static void note(const char *name, u32 got, u32 want)
{
    if (note_count < sizeof(notes) / sizeof(*notes)) {
        notes[note_count].name = name;
        notes[note_count].got = got;
        notes[note_count].want = want;
    }
    note_count++;
}

static void note_if(const char *name, bool good)
{
    note(name, good, true);
}

static void quiet(void)
{
    lower_uart();
    for (unsigned i = 0; i < note_count; i++)
        check_eq(notes[i].name, notes[i].got, notes[i].want);
    note_count = 0;
    lower_rtc();
    pit_start(0, 0);
    outb(0x43, 0x30); /* no count follows: the output stays low */
    pic_init();
    n = 0;
    no_eoi = false;
}

static void start(u16 mask)
{
    quiet();
    pic_mask(mask);
}

static bool got(unsigned count, u8 a, u8 b, u8 c)
{
    return n == count && (count < 1 || order[0] == a) && (count < 2 || order[1] == b) &&
           (count < 3 || order[2] == c);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void registers(void)
{
    start(0xffff);
    pic_mask(0xa55a);
    note_if("mask-reads-back", inb(0x21) == 0x5a && inb(0xa1) == 0xa5);
    pic_mask(0xffff);
    raise_pit();
    note("request-while-masked", irr(0x20) & 1, 1);
    window();
    note("masked-is-not-delivered", n, 0);
    pic_mask(0xfffe);
    note("held-while-if-0", n, 0);
    no_eoi = true;
    window();
    note_if("delivered-after-unmask", got(1, 0x20, 0, 0));
    note("in-service", isr(0x20), 1);
    note("request-gone", irr(0x20) & 1, 0);
    eoi(0x20);
    note("eoi-clears-service", isr(0x20), 0);
    window();
    note("once-only", n, 1);
}

static void priorities(void)
{
    start(0xfeea); /* 0, 2, 4, 8 */
    raise_uart();
    raise_rtc();
    raise_pit();
    note_if("all-three-requested", (irr(0x20) & 0x15) == 0x15 && (irr(0xa0) & 1));
    window();
    note_if("priority-order", got(3, 0x20, 0x28, 0x24));
    note_if("nothing-left", !isr(0x20) && !isr(0xa0));

    /* While 4 is in service, 0 interrupts it; 4 itself does not. */
    start(0xffee);
    no_eoi = true;
    raise_uart();
    window();
    note("service-4", isr(0x20), 0x10);
    raise_pit();
    window();
    note_if("higher-nests", got(2, 0x24, 0x20, 0));
    note("service-both", isr(0x20), 0x11);
    outb(0x20, 0x20);
    note("plain-eoi-ends-highest", isr(0x20), 0x10);
    outb(0x20, 0x60); /* specific, of 0: not in service */
    note("specific-eoi-of-idle", isr(0x20), 0x10);
    outb(0x20, 0x64);
    note("specific-eoi", isr(0x20), 0);

    /* A higher one in service holds back the lower. */
    start(0xffee);
    no_eoi = true;
    raise_pit();
    window();
    raise_uart();
    window();
    note_if("lower-waits", got(1, 0x20, 0, 0));
    outb(0x20, 0x20);
    window();
    note_if("lower-after-eoi", got(2, 0x20, 0x24, 0));
    outb(0x20, 0x20);

    /* The slave's in-service bits, and IR2 of the master. */
    start(0xfeea);
    no_eoi = true;
    raise_rtc();
    window();
    note_if("slave-vector", got(1, 0x28, 0, 0));
    note_if("slave-service", isr(0xa0) == 1 && isr(0x20) == 4);
    raise_uart();
    window();
    note("slave-outranks-4", n, 1);
    outb(0xa0, 0x20);
    window();
    note("master-eoi-needed", n, 1);
    outb(0x20, 0x62);
    window();
    note_if("then-4", got(2, 0x28, 0x24, 0));
    outb(0x20, 0x20);
}

static void edge(void)
{
    start(0xffef);
    raise_uart();
    window();
    window();
    note("edge-once-while-high", n, 1);
    lower_uart();
    raise_uart();
    window();
    note("edge-again", n, 2);
}

static void modes(void)
{
    /* Rotation: after a rotating EOI the level served is the lowest. */
    start(0xffee);
    raise_pit();
    no_eoi = true;
    window();
    outb(0x20, 0xa0); /* rotate on plain EOI: 0 becomes the lowest */
    no_eoi = false;
    n = 0;
    raise_uart();
    raise_pit();
    window();
    note_if("rotated", got(2, 0x24, 0x20, 0));
    lower_uart();
    outb(0x20, 0xc7); /* set priority: 7 lowest again */
    n = 0;
    raise_uart();
    raise_pit();
    window();
    note_if("priority-set-back", got(2, 0x20, 0x24, 0));

    /* Special mask mode: a masked level in service does not hold back lower ones. */
    start(0xffee);
    no_eoi = true;
    raise_pit();
    window();
    raise_uart();
    outb(0x20, 0x68);
    pic_mask(0xffef);
    window();
    note_if("special-mask", got(2, 0x20, 0x24, 0));
    outb(0x20, 0x48);

    /* Poll: the command read acknowledges. */
    start(0xffee);
    outb(0x20, 0x0c);
    note("poll-none", inb(0x20) & 0x80, 0);
    raise_uart();
    outb(0x20, 0x0c);
    note("poll-4", inb(0x20) & 0x87, 0x84);
    note("poll-acknowledges", isr(0x20), 0x10);
    window();
    note("polled-is-not-delivered", n, 0);

    /* Automatic EOI, and another vector base. */
    quiet();
    outb(0x20, 0x11);
    outb(0x21, 0x50);
    outb(0x21, 4);
    outb(0x21, 3);
    pic_mask(0xfffe);
    hook[0x50] = log_vector;
    no_eoi = true;
    raise_pit();
    window();
    note_if("other-base", got(1, 0x50, 0, 0));
    note("automatic-eoi", isr(0x20), 0);
    quiet();
    note("init-clears-mask-and-service", isr(0x20), 0);
}

/* With CR0.NE clear an unmasked x87 error goes out on FERR# to IRQ 13, and a write to port F0h
 * takes it back; the next x87 instruction waits meanwhile. */
static volatile unsigned ferr;

static void on_ferr(struct frame *f)
{
    ferr++;
    outb(0xf0, 0);
    asm volatile("fnclex");
    eoi(f->vector);
}

static void fpu_error(void)
{
    u16 control = 0x37b; /* zero divide unmasked */

    start(0xdffb);
    hook[0x2d] = on_ferr;
    asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp; sti; fwait; nop; cli" ::"m"(control)
                 : "memory");
    note("ferr-is-irq-13", ferr, 1);
    asm volatile("fld1; sti; fwait; nop; cli; fninit" ::: "memory");
    note("ferr-once", ferr, 1);
}

void test_main(void)
{
    hook[0x20] = hook[0x24] = hook[0x28] = log_vector;
    registers();
    priorities();
    edge();
    modes();
    if (!skip_on_qemu("FERR#", "TCG of QEMU 7.2 aborts"))
        fpu_error();
    quiet();
}
