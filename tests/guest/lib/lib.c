/* SPDX-License-Identifier: MIT */
/* Library of the bare-metal test guests: console, checks, descriptor tables, contexts. lib.h says
 * how to use it. */
#include "lib.h"

unsigned passed, failed;
u64 gdt[GDT_ENTRIES] __attribute__((aligned(8)));
u64 idt[256] __attribute__((aligned(8)));
struct tss tss __attribute__((aligned(16)));
struct dtr gdtr, idtr;
hook_fn hook[256];

static struct cpu *current; /* the context under cpu_run, or NULL */

extern char trap_stubs[], trap_stubs_no_error[], odd_stack_top[];
void cpu_enter(struct cpu *c);
_Noreturn void cpu_leave(void);
void lib_start(void);
void trap_entry(u32 ss, u32 esp);

/* ---- console --------------------------------------------------------------------------------- */

void put_char(char c)
{
    while (!(inb(0x3fd) & 0x20))
        ;
    outb(0x3f8, (u8)c);
}

void put_str(const char *s)
{
    while (*s)
        put_char(*s++);
}

void put_hex(u32 x)
{
    bool seen = false;

    put_str("0x");
    for (int i = 28; i >= 0; i -= 4) {
        unsigned d = x >> i & 15;
        seen |= d || i == 0;
        if (seen)
            put_char("0123456789abcdef"[d]);
    }
}

static void put_dec(unsigned x)
{
    if (x >= 10)
        put_dec(x / 10);
    put_char((char)('0' + x % 10));
}

void leave(u8 code)
{
    outb(0xf4, code);
    while (!(inb(0x3fd) & 0x40))
        ;
    for (const char *s = "Shutdown"; *s; s++) /* Bochs has no exit code, only this */
        outb(0x8900, (u8)*s);
    for (;;)
        asm volatile("cli; hlt");
}

void finish(void)
{
    put_dec(passed);
    put_str(" passed, ");
    put_dec(failed);
    put_str(" failed\n");
    leave(failed ? 1 : 0);
}

static void ok(const char *name)
{
    passed++;
    put_str("ok ");
    put_str(name);
    put_char('\n');
}

__attribute__((weak)) const struct deviation qemu_deviations[] = {{NULL, NULL}};

bool on_qemu(void)
{
    u32 a = 0x40000000, b, c, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    return b == 0x54474354; /* "TCGT" */
}

bool skip_on_qemu(const char *name, const char *reason)
{
    if (!on_qemu())
        return false;
    put_str("skip ");
    put_str(name);
    put_str(": ");
    put_str(reason);
    put_char('\n');
    return true;
}

static bool matches(const char *pattern, const char *name)
{
    while (*pattern && *pattern == *name)
        pattern++, name++;
    return *pattern == '*' || *pattern == *name;
}

static void fail(const char *name)
{
    const struct deviation *d = qemu_deviations;

    while (d->name && !matches(d->name, name))
        d++;
    if (d->name && on_qemu()) {
        put_str("known ");
        put_str(name);
        put_str(" (");
        put_str(d->reason);
        put_str("): ");
        return;
    }
    failed++;
    put_str("FAIL ");
    put_str(name);
    put_str(": ");
}

void check_eq(const char *name, u32 got, u32 want)
{
    if (got == want) {
        ok(name);
        return;
    }
    fail(name);
    put_str("got ");
    put_hex(got);
    put_str(" want ");
    put_hex(want);
    put_char('\n');
}

void check(const char *name, bool good)
{
    check_eq(name, good, true);
}

static void put_event(u32 vector, u32 error, u32 eip)
{
    put_str("vector ");
    put_hex(vector);
    put_str(" error ");
    put_hex(error);
    put_str(" eip ");
    put_hex(eip);
}

void check_done(const char *name, const struct cpu *c)
{
    if (c->vector == DONE) {
        ok(name);
        return;
    }
    fail(name);
    put_str("got ");
    put_event(c->vector, c->error, c->eip);
    put_str(" want completion\n");
}

void check_fault(const char *name, const struct cpu *c, u32 vector, u32 error, const void *eip)
{
    if (c->vector == vector && c->error == error && c->eip == (u32)eip) {
        ok(name);
        return;
    }
    fail(name);
    put_str("got ");
    put_event(c->vector, c->error, c->eip);
    put_str(" want ");
    put_event(vector, error, (u32)eip);
    put_char('\n');
}

void expect_fault(const char *name, unsigned ring, const void *code, u32 vector)
{
    struct cpu c = run(ring, code);
    check_fault(name, &c, vector, 0, code);
}

void expect_done(const char *name, unsigned ring, const void *code)
{
    struct cpu c = run(ring, code);
    check_done(name, &c);
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *memset(void *d, int c, size_t n)
{
    void *to = d;
    asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
    return d;
}

void *memcpy(void *d, const void *s, size_t n)
{
    void *to = d;
    asm volatile("rep movsb" : "+D"(to), "+S"(s), "+c"(n)::"memory");
    return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

u64 desc(u32 base, u32 limit, u32 attr)
{
    u32 lo = (limit & 0xffff) | base << 16;
    u32 hi = (base >> 16 & 0xff) | (attr & 0xff) << 8 | (limit & 0xf0000) | (attr & 0xf00) << 12 |
             (base & 0xff000000);
    return (u64)hi << 32 | lo;
}

u64 gate(u16 sel, u32 offset, u8 access)
{
    u32 lo = (u32)sel << 16 | (offset & 0xffff);
    u32 hi = (offset & 0xffff0000) | (u32)access << 8;
    return (u64)hi << 32 | lo;
}

void gdt_set(u16 sel, u64 d)
{
    gdt[sel >> 3] = d;
}

void gdt_seg(u16 sel, u32 base, u32 limit, u32 access)
{
    gdt_set(sel, desc(base, limit, 0x400 | access));
}

void idt_set(u8 vector, u64 g)
{
    idt[vector] = g;
}

void idt_reset(u8 vector)
{
    bool open = vector == 3 || vector == 4 || vector >= 0x80;
    idt_set(vector, gate(K_CODE, (u32)trap_stubs + vector * 16u, open ? 0xee : 0x8e));
}

void idt_no_error(u8 vector)
{
    idt_set(vector, gate(K_CODE, (u32)trap_stubs_no_error + vector * 16u, 0xee));
}

/* ---- contexts -------------------------------------------------------------------------------- */

struct cpu cpu_make(unsigned ring, const void *code)
{
    static const u16 cs[] = {K_CODE, R1_CODE, R2_CODE, U_CODE};
    static const u16 ds[] = {K_DATA, R1_DATA, R2_DATA, U_DATA};
    struct cpu c = {.eip = (u32)code, .eflags = 2, .cs = cs[ring], .esp = (u32)frag_stack_top};

    c.ss = c.ds = c.es = c.fs = c.gs = ds[ring];
    return c;
}

void cpu_run(struct cpu *c)
{
    current = c;
    cpu_enter(c);
    current = NULL;
}

struct cpu run(unsigned ring, const void *code)
{
    struct cpu c = cpu_make(ring, code);
    cpu_run(&c);
    return c;
}

static u32 seg_base(u16 sel)
{
    u64 d = gdt[sel >> 3];
    return (u32)(d >> 16 & 0xffffff) | (u32)(d >> 56) << 24;
}

static void unexpected(const struct frame *f)
{
    fail("unexpected-event");
    put_event(f->vector, f->error, f->eip);
    put_str(" cs ");
    put_hex(f->cs);
    put_str(" flags ");
    put_hex(f->eflags);
    put_str(" cr2 ");
    put_hex(read_cr2());
    put_char('\n');
    finish();
}

void trap_entry(u32 ss, u32 esp)
{
    bool wide = ss == K_DATA || gdt[ss >> 3] >> 54 & 1;
    struct frame *f = (void *)((ss == K_DATA ? 0 : seg_base((u16)ss)) + (wide ? esp : (u16)esp));
    struct cpu *c = current;

    if (hook[f->vector]) {
        hook[f->vector](f);
        return;
    }
    if (!c)
        unexpected(f);
    current = NULL;
    *c = (struct cpu){.eax = f->eax,
                      .ecx = f->ecx,
                      .edx = f->edx,
                      .ebx = f->ebx,
                      .ebp = f->ebp,
                      .esi = f->esi,
                      .edi = f->edi,
                      .eip = f->eip,
                      .eflags = f->eflags,
                      .cs = f->cs & 0xffff,
                      .ds = f->ds & 0xffff,
                      .es = f->es & 0xffff,
                      .fs = f->fs & 0xffff,
                      .gs = f->gs & 0xffff,
                      .vector = f->vector,
                      .error = f->error};
    if (f->vector == 14)
        c->cr2 = read_cr2();
    if (f->eflags & VM) {
        c->es = f->v_es & 0xffff;
        c->ds = f->v_ds & 0xffff;
        c->fs = f->v_fs & 0xffff;
        c->gs = f->v_gs & 0xffff;
    }
    if (f->eflags & VM || f->cs & 3) {
        c->esp = f->esp;
        c->ss = f->ss & 0xffff;
    } else {
        c->esp = esp + offsetof(struct frame, esp);
        c->ss = ss & 0xffff;
    }
    cpu_leave();
}

/* ---- chips ----------------------------------------------------------------------------------- */

void pic_mask(u16 mask)
{
    outb(0x21, (u8)mask);
    outb(0xa1, (u8)(mask >> 8));
}

void pic_init(void)
{
    outb(0x20, 0x11);
    outb(0xa0, 0x11);
    outb(0x21, 0x20);
    outb(0xa1, 0x28);
    outb(0x21, 4);
    outb(0xa1, 2);
    outb(0x21, 1);
    outb(0xa1, 1);
    pic_mask(0xffff);
}

void pit_start(u8 mode, u16 count)
{
    outb(0x43, (u8)(0x30 | mode << 1));
    outb(0x40, (u8)count);
    outb(0x40, (u8)(count >> 8));
}

void wait_irq0(void)
{
    do
        outb(0x20, 0x0a);
    while (!(inb(0x20) & 1));
}

/* ---- paging and tasks ------------------------------------------------------------------------ */

u32 page_dir[1024] __attribute__((aligned(4096)));

void paging_on(void)
{
    for (u32 i = 0; i < 1024; i++)
        page_dir[i] = i << 22 | 0x87;
    write_cr4(read_cr4() | 0x10);
    write_cr3((u32)page_dir);
    write_cr0(read_cr0() | 0x80000000);
}

void paging_off(void)
{
    write_cr0(read_cr0() & ~0x80000000u);
    write_cr4(read_cr4() & ~0x10u);
}

void tss_make(struct tss *t, const void *code, u32 esp)
{
    memset(t, 0, 0x68);
    t->eip = (u32)code;
    t->esp = esp;
    t->eflags = 2;
    t->cs = K_CODE;
    t->ss = t->ds = t->es = t->fs = t->gs = K_DATA;
    t->ss0 = K_DATA;
    t->esp0 = (u32)trap_stack_top;
    t->cr3 = read_cr3();
    t->iomap = 0x68;
}

void gdt_tss(u16 sel, const struct tss *t)
{
    gdt_set(sel, desc((u32)t, 0x67, 0x089));
}

void tss_restore(void)
{
    gdt_set(TSS_SEL, desc((u32)&tss, sizeof(tss) - 1, 0x089));
    ltr(TSS_SEL);
}

/* ---- start ----------------------------------------------------------------------------------- */

static void tables(void)
{
    static const u16 code[] = {K_CODE, R1_CODE, R2_CODE, U_CODE};
    static const u16 data[] = {K_DATA, R1_DATA, R2_DATA, U_DATA};

    for (unsigned ring = 0; ring < 4; ring++) {
        gdt_set(code[ring], desc(0, 0xfffff, D_CODE(ring)));
        gdt_set(data[ring], desc(0, 0xfffff, D_DATA(ring)));
    }
    tss.ss0 = K_DATA;
    tss.esp0 = (u32)trap_stack_top;
    tss.iomap = sizeof(tss); /* no bitmap: every port is denied */
    gdt_set(TSS_SEL, desc((u32)&tss, sizeof(tss) - 1, 0x089));
    gdtr = (struct dtr){sizeof(gdt) - 1, (u32)gdt};
    idtr = (struct dtr){sizeof(idt) - 1, (u32)idt};
    lgdt(&gdtr);
    asm volatile("ljmp %0, $1f\n1:\tmov %1, %%ds\n\tmov %1, %%es\n\tmov %1, %%fs\n\t"
                 "mov %1, %%gs\n\tmov %1, %%ss" ::"i"(K_CODE),
                 "r"(K_DATA));
    for (unsigned v = 0; v < 256; v++)
        idt_reset((u8)v);
    lidt(&idtr);
    lldt(0);
    ltr(TSS_SEL);
}

void lib_start(void)
{
    tables();
    pic_init();
    outb(0x3fb, 3); /* 8 bits, no parity */
    outb(0x3f9, 0);
    test_main();
    finish();
}
