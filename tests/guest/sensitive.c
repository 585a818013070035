/* SPDX-License-Identifier: MIT */
/* The x86 instructions that are sensitive and do not trap (Robin and Irvine's list; Intel SDM vol.
 * 2): each must show the guest's own state, at CPL 0 and at CPL 3 alike. A monitor that runs them
 * unguarded shows the host's tables, flags or rings instead. */
#include "lib/lib.h"

static u8 buffer[16] __attribute__((aligned(16)));

FRAG(f_sgdt, "sgdt (%edi)");
FRAG(f_sidt, "sidt (%edi)");
FRAG(f_sgdt16, "data16 sgdt (%edi)");
FRAG(f_sldt, "sldt %eax");
FRAG(f_sldt_mem, "sldt (%edi)");
FRAG(f_str, "str %eax");
FRAG(f_str_mem, "str (%edi)");
FRAG(f_smsw, "smsw %eax");
FRAG(f_smsw_mem, "smsw (%edi)");
FRAG(f_pushf, "pushf; pop %eax");
FRAG(f_pushfw, "mov $0, %eax; pushfw; pop %ax");
FRAG(f_popf, "push %eax; popf; pushf; pop %ebx");
FRAG(f_popfw, "push %ax; popfw; pushf; pop %ebx");
FRAG(f_lar, "lar %ecx, %eax; setz %bl");
FRAG(f_lsl, "lsl %ecx, %eax; setz %bl");
FRAG(f_verr, "verr %cx; setz %bl");
FRAG(f_verw, "verw %cx; setz %bl");
FRAG(f_push_cs, "push %cs; pop %eax");
FRAG(f_push_ss, "push %ss; pop %eax");
FRAG(f_push_ds, "push %ds; pop %eax");
FRAG(f_mov_cs, "mov %cs, %eax");
FRAG(f_mov_ss, "mov %ss, %eax");
FRAG(f_mov_ds_mem, "movl $-1, (%edi); mov %ds, (%edi)");
FRAG(f_push_fs, "movl $-1, -4(%esp); push %fs; pop %eax");
FRAG(f_pop_ds, "push %eax; f_pop_ds_at: pop %ds; mov %ds, %ebx");
LABEL(f_pop_ds_at);
FRAG(f_mov_ds, "mov %eax, %ds; mov %ds, %ebx");
FRAG(f_mov_ss_eax, "mov %eax, %ss; mov %ss, %ebx");
FRAG(f_ljmp, "ljmp *(%edi)");
FRAG(f_lcall, "mov %esp, %ebp; lcall *(%edi)");
FRAG(f_lret, "push %ecx; push %edx; lret");
FRAG(f_int80, "int $0x80");
FRAG(f_int20, "int $0x20");
FRAG(f_iret, "push %eax; push %ecx; push %edx; iret");
FRAG(f_land, "pushf; pop %eax; mov %cs, %ebx");

static struct cpu go(unsigned ring, const void *code, u32 eax, u32 ecx, u32 fl)
{
    struct cpu c = cpu_make(ring, code);

    c.eax = eax;
    c.ecx = ecx;
    c.edx = (u32)f_land;
    c.edi = (u32)buffer;
    c.eflags |= fl;
    memset(buffer, 0xee, sizeof(buffer));
    cpu_run(&c);
    return c;
}

static const char *tag(const char *name, unsigned ring)
{
    static char text[64];
    char *p = text;

    while (*name)
        *p++ = *name++;
    *p++ = '-';
    *p++ = 'c';
    *p++ = 'p';
    *p++ = 'l';
    *p++ = (char)('0' + ring);
    *p = 0;
    return text;
}

static void tables(unsigned ring)
{
    struct cpu c;

    c = go(ring, f_sgdt, 0, 0, 0);
    check(tag("sgdt", ring), c.vector == DONE && !memcmp(buffer, &gdtr, 6) && buffer[6] == 0xee);
    c = go(ring, f_sidt, 0, 0, 0);
    check(tag("sidt", ring), c.vector == DONE && !memcmp(buffer, &idtr, 6) && buffer[6] == 0xee);
    /* All 32 bits are stored whatever the operand size, as every processor since the 386 does. */
    c = go(ring, f_sgdt16, 0, 0, 0);
    check(tag("sgdt-16", ring), c.vector == DONE && !memcmp(buffer, &gdtr, 6));
    c = go(ring, f_sldt, 0xffffffff, 0, 0);
    check_eq(tag("sldt", ring), c.eax & 0xffff, LDT_SEL);
    c = go(ring, f_sldt_mem, 0, 0, 0);
    check_eq(tag("sldt-mem-16", ring), peek((u32)buffer), 0xeeee0000 | LDT_SEL);
    c = go(ring, f_str, 0xffffffff, 0, 0);
    check_eq(tag("str", ring), c.eax & 0xffff, TSS_SEL);
    c = go(ring, f_str_mem, 0, 0, 0);
    check_eq(tag("str-mem-16", ring), peek((u32)buffer), 0xeeee0000 | TSS_SEL);
    c = go(ring, f_smsw, 0, 0, 0);
    check_eq(tag("smsw", ring), c.eax & 0xffff, read_cr0() & 0xffff);
    c = go(ring, f_smsw_mem, 0, 0, 0);
    check_eq(tag("smsw-mem-16", ring), peek((u32)buffer), 0xeeee0000 | (read_cr0() & 0xffff));
    write_cr0(read_cr0() | 8);
    c = go(ring, f_smsw, 0, 0, 0);
    check_eq(tag("smsw-ts", ring), c.eax & 0xf, (read_cr0() & 0xf) | 8);
    asm volatile("clts");
}

static void flag_images(unsigned ring)
{
    struct cpu c;

    c = go(ring, f_pushf, 0, 0, 0);
    check_eq(tag("pushf-if-0", ring), c.eax, 2);
    c = go(ring, f_pushf, 0, 0, IF | 0x2000 | NT);
    check_eq(tag("pushf-if-iopl-nt", ring), c.eax, 2 | IF | 0x2000 | NT);
    c = go(ring, f_pushfw, 0, 0, IF | IOPL3);
    check_eq(tag("pushfw", ring), c.eax, 2 | IF | IOPL3);
    c = go(ring, f_pushf, 0, 0, RF | AC | 0x200000);
    check_eq(tag("pushf-rf-vm-zero", ring), c.eax, 2 | AC | 0x200000);
    c = go(ring, f_popf, 0x4fd7 & ~TF, 0, 0);
    check_eq(tag("popf-common", ring), c.ebx & ~(IF | IOPL3), 0x4ed7 & ~(IF | IOPL3));
}

static void popf_rules(void)
{
    struct cpu c;

    c = go(0, f_popf, IF | IOPL3, 0, 0);
    check_eq("popf-cpl0-if-iopl", c.ebx, 2 | IF | IOPL3);
    c = go(3, f_popf, IF | IOPL3, 0, 0);
    check_eq("popf-cpl3-iopl0-drops", c.ebx, 2);
    c = go(3, f_popf, 0, 0, IF);
    check_eq("popf-cpl3-iopl0-keeps-if", c.ebx, 2 | IF);
    c = go(3, f_popf, IF, 0, IOPL3);
    check_eq("popf-cpl3-iopl3-if-not-iopl", c.ebx, 2 | IF | IOPL3);
    c = go(1, f_popf, IF | IOPL3, 0, 0x1000);
    check_eq("popf-cpl1-iopl1", c.ebx, 2 | IF | 0x1000);
    c = go(2, f_popf, IF | IOPL3, 0, 0x1000);
    check_eq("popf-cpl2-iopl1", c.ebx, 2 | 0x1000);
    c = go(0, f_popf, 0xffffffff & ~(TF | VM), 0, 0);
    check_eq("popf-cpl0-reserved-rf-vif", c.ebx & 0xffd98028, 0);
    c = go(0, f_popfw, 0x4ed7, 0, AC | 0x200000);
    check_eq("popfw-keeps-upper", c.ebx, 0x4ed7 | AC | 0x200000);
    c = go(3, f_popfw, IF | IOPL3, 0, 0);
    check_eq("popfw-cpl3-drops", c.ebx, 2);
}

static volatile unsigned ticks;

static void tick(struct frame *f)
{
    ticks++;
    outb(0x20, 0x20);
}

/* POPF that opens IF lets a waiting interrupt in; the CPL 3 POPF that may not, does not. */
static void popf_interrupt(void)
{
    hook[0x20] = tick;
    pit_start(0, 100);
    pic_mask(0xfffe);
    do
        outb(0x20, 0x0a);
    while (!(inb(0x20) & 1));
    go(3, f_popf, IF, 0, 0);
    check_eq("popf-cpl3-iopl0-holds-irq", ticks, 0);
    go(3, f_popf, IF, 0, IOPL3);
    check_eq("popf-cpl3-iopl3-fires-irq", ticks, 1);
    pit_start(0, 100);
    do
        outb(0x20, 0x0a);
    while (!(inb(0x20) & 1));
    go(0, f_popf, IF, 0, 0);
    check_eq("popf-cpl0-fires-irq", ticks, 2);
    pic_mask(0xffff);
    hook[0x20] = NULL;
}

#define HI(attr, limit) ((u32)((attr)&0xff) << 8 | (u32)((attr)&0xf00) << 12 | ((limit)&0xf0000))

static void descriptor_views(void)
{
    static const struct {
        const char *name;
        u32 attr, limit;             /* attr as D_* */
        u32 lim;                     /* LSL result, 0 for ZF=0 */
        u8 lar, verr, verw;          /* visible at CPL 0 */
        u8 lar3, lsl3, verr3, verw3; /* at CPL 3 with RPL 3 */
    } t[] = {
        {"data-dpl0", 0xc92, 0xfffff, 0xffffffff, 1, 1, 1, 0, 0, 0, 0},
        {"data-dpl3", 0xcf2, 0x12345, 0x12345fff, 1, 1, 1, 1, 1, 1, 1},
        {"data-ro-dpl3", 0x4f0, 0x0abcd, 0x0abcd, 1, 1, 0, 1, 1, 1, 0},
        {"data-down-dpl3", 0x4f6, 0x0abcd, 0x0abcd, 1, 1, 1, 1, 1, 1, 1},
        {"code-xo-dpl3", 0x4f8, 0x01234, 0x1234, 1, 0, 0, 1, 1, 0, 0},
        {"code-xr-dpl3", 0x4fa, 0x01234, 0x1234, 1, 1, 0, 1, 1, 1, 0},
        {"code-xr-dpl0", 0x49a, 0x01234, 0x1234, 1, 1, 0, 0, 0, 0, 0},
        {"code-conforming-dpl0", 0x49e, 0x01234, 0x1234, 1, 1, 0, 1, 1, 1, 0},
        {"data-dpl2", 0x4d2, 0x01234, 0x1234, 1, 1, 1, 0, 0, 0, 0},
        {"data-not-present", 0x472, 0x01234, 0x1234, 1, 1, 1, 1, 1, 1, 1},
        {"tss16-dpl3", 0x0e1, 0x00067, 0x67, 1, 0, 0, 1, 1, 0, 0},
        {"tss32-dpl0", 0x089, 0x00067, 0x67, 1, 0, 0, 0, 0, 0, 0},
        {"tss32-busy-dpl3", 0x0eb, 0x00067, 0x67, 1, 0, 0, 1, 1, 0, 0},
        {"ldt-dpl3", 0x0e2, 0x0000f, 0xf, 1, 0, 0, 1, 1, 0, 0},
        {"call-gate16-dpl3", 0x0e4, 0, 0, 1, 0, 0, 1, 0, 0, 0},
        {"call-gate32-dpl3", 0x0ec, 0, 0, 1, 0, 0, 1, 0, 0, 0},
        {"task-gate-dpl3", 0x0e5, 0, 0, 1, 0, 0, 1, 0, 0, 0},
        {"int-gate32-dpl3", 0x0ee, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"trap-gate32-dpl3", 0x0ef, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"int-gate16-dpl3", 0x0e6, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"reserved-type0", 0x0e0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"reserved-type8", 0x0e8, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"reserved-type10", 0x0ea, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    static char name[64];
    struct cpu c;

    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        for (unsigned ring = 0; ring < 4; ring += 3) {
            u32 sel = T_SEL | ring, hi = HI(t[i].attr, t[i].limit) & 0xf0ff00;
            u8 lar = ring ? t[i].lar3 : t[i].lar, lsl = ring ? t[i].lsl3 : t[i].lim != 0;
            u8 verr = ring ? t[i].verr3 : t[i].verr, verw = ring ? t[i].verw3 : t[i].verw;
            char *p;
            const char *s;

            gdt_set(T_SEL, desc(0, t[i].limit, t[i].attr));
            for (p = name, s = "lar-"; *s;)
                *p++ = *s++;
            for (s = t[i].name; *s;)
                *p++ = *s++;
            *p = 0;
            c = go(ring, f_lar, 0x5a5a5a5a, sel, 0);
            check_eq(tag(name, ring), lar ? c.eax & 0xf0ff00 : c.eax, lar ? hi : 0x5a5a5a5a);
            check_eq(tag("..zf", ring), c.ebx & 0xff, lar);
            name[1] = 's', name[2] = 'l';
            c = go(ring, f_lsl, 0x5a5a5a5a, sel, ZF);
            check_eq(tag(name, ring), c.eax, lsl ? t[i].lim : 0x5a5a5a5a);
            check_eq(tag("..zf", ring), c.ebx & 0xff, lsl);
            name[0] = 'v', name[1] = 'e', name[2] = 'r';
            c = go(ring, f_verr, 0, sel, ZF);
            check_eq(tag(name, ring), c.ebx & 0xff, verr);
            name[2] = 'w';
            c = go(ring, f_verw, 0, sel, ZF);
            check_eq(tag(name, ring), c.ebx & 0xff, verw);
        }
    }
    c = go(0, f_lar, 0x5a5a5a5a, 0, ZF);
    check_eq("lar-null", c.ebx & 0xff, 0);
    c = go(0, f_lsl, 0x5a5a5a5a, 0xfff8, ZF);
    check_eq("lsl-beyond-gdt", c.ebx & 0xff, 0);
    c = go(0, f_verr, 0, 3, ZF);
    check_eq("verr-null-rpl3", c.ebx & 0xff, 0);
    c = go(0, f_lar, 0x5a5a5a5a, K_DATA | 3, ZF); /* RPL counts, not only CPL */
    check_eq("lar-rpl3-dpl0", c.ebx & 0xff, 0);
    c = go(0, f_verw, 0, K_DATA | 1, ZF);
    check_eq("verw-rpl1-dpl0", c.ebx & 0xff, 0);
}

static void selectors(void)
{
    struct cpu c;

    c = go(0, f_push_cs, 0, 0, 0);
    check_eq("push-cs-cpl0", c.eax & 0xffff, K_CODE);
    c = go(3, f_push_cs, 0, 0, 0);
    check_eq("push-cs-cpl3", c.eax & 0xffff, U_CODE);
    c = go(1, f_push_cs, 0, 0, 0);
    check_eq("push-cs-cpl1", c.eax & 0xffff, R1_CODE);
    c = go(0, f_push_ss, 0, 0, 0);
    check_eq("push-ss-cpl0", c.eax & 0xffff, K_DATA);
    c = go(3, f_push_ss, 0, 0, 0);
    check_eq("push-ss-cpl3", c.eax & 0xffff, U_DATA);
    c = go(3, f_push_ds, 0, 0, 0);
    check_eq("push-ds-cpl3", c.eax & 0xffff, U_DATA);
    c = go(0, f_push_fs, 0, 0, 0);
    check_eq("push-fs-cpl0", c.eax & 0xffff, K_DATA);
    c = go(0, f_mov_cs, 0xffffffff, 0, 0);
    check_eq("mov-cs-cpl0-zero-extends", c.eax, K_CODE);
    c = go(3, f_mov_cs, 0xffffffff, 0, 0);
    check_eq("mov-cs-cpl3-zero-extends", c.eax, U_CODE);
    c = go(0, f_mov_ss, 0, 0, 0);
    check_eq("mov-ss-cpl0", c.eax, K_DATA);
    c = go(3, f_mov_ss, 0, 0, 0);
    check_eq("mov-ss-cpl3", c.eax, U_DATA);
    c = go(3, f_mov_ds_mem, 0, 0, 0);
    check_eq("mov-ds-mem-16", peek((u32)buffer), 0xffff0000 | U_DATA);

    c = go(0, f_pop_ds, K_DATA, 0, 0);
    check_eq("pop-ds-dpl0-cpl0", c.ebx, K_DATA);
    c = go(3, f_pop_ds, K_DATA, 0, 0);
    check_fault("pop-ds-dpl0-cpl3", &c, 13, K_DATA, f_pop_ds_at);
    c = go(3, f_mov_ds, K_DATA | 3, 0, 0);
    check_fault("mov-ds-dpl0-cpl3", &c, 13, K_DATA, f_mov_ds);
    c = go(0, f_mov_ds, U_DATA, 0, 0);
    check_eq("mov-ds-dpl3-cpl0", c.ebx, U_DATA);
    c = go(0, f_mov_ds, K_DATA | 1, 0, 0);
    check_fault("mov-ds-dpl0-rpl1", &c, 13, K_DATA, f_mov_ds);
    c = go(3, f_mov_ss_eax, K_DATA | 3, 0, 0);
    check_fault("mov-ss-dpl0-cpl3", &c, 13, K_DATA, f_mov_ss_eax);
    c = go(0, f_mov_ss_eax, K_DATA, 0, 0);
    check_eq("mov-ss-dpl0-cpl0", c.ebx, K_DATA);
    c = go(0, f_mov_ss_eax, U_DATA, 0, 0);
    check_fault("mov-ss-dpl3-cpl0", &c, 13, U_DATA & ~3, f_mov_ss_eax);
    c = go(0, f_mov_ss_eax, 0, 0, 0);
    check_fault("mov-ss-null", &c, 13, 0, f_mov_ss_eax);
}

static void far_pointer(u32 offset, u16 sel)
{
    memcpy(buffer, &offset, 4);
    memcpy(buffer + 4, &sel, 2);
}

static struct cpu far_go(unsigned ring, const void *code, u16 sel)
{
    struct cpu c = cpu_make(ring, code);

    c.edi = (u32)buffer;
    far_pointer((u32)f_land, sel);
    cpu_run(&c);
    return c;
}

static void transfers(void)
{
    struct cpu c;

    c = far_go(0, f_ljmp, K_CODE);
    check_eq("ljmp-cpl0", c.ebx, K_CODE);
    c = far_go(3, f_ljmp, U_CODE);
    check_eq("ljmp-cpl3", c.ebx, U_CODE);
    c = far_go(3, f_ljmp, U_CODE & ~3); /* RPL 0 in the pointer: CPL stays 3 */
    check_eq("ljmp-cpl3-rpl0", c.ebx, U_CODE);
    c = far_go(3, f_ljmp, K_CODE);
    check_fault("ljmp-cpl3-to-dpl0", &c, 13, K_CODE, f_ljmp);
    c = far_go(0, f_ljmp, U_CODE);
    check_fault("ljmp-cpl0-to-dpl3", &c, 13, U_CODE & ~3, f_ljmp);
    c = far_go(3, f_lcall, U_CODE);
    check("lcall-cpl3-pushes-cs", c.ebx == U_CODE && (peek(c.ebp - 4) & 0xffff) == U_CODE);
    gdt_set(T_SEL, gate(K_CODE, (u32)f_land, 0xec));
    c = far_go(3, f_lcall, T_SEL | 3);
    check_eq("lcall-gate-cpl3-to-0", c.ebx, K_CODE);
    check_eq("lcall-gate-stack-switch", c.esp, (u32)trap_stack_top - 16);
    c = go(3, f_lret, 0, U_CODE, 0);
    check_eq("lret-cpl3", c.ebx, U_CODE);
    c = go(3, f_lret, 0, K_CODE, 0);
    check_fault("lret-cpl3-to-inner", &c, 13, K_CODE, f_lret + 2);

    c = run(3, f_int80);
    check("int80-cpl3", c.vector == 0x80 && c.cs == U_CODE && c.ss == U_DATA &&
                            c.eip == (u32)f_int80 + 2 && c.esp == (u32)frag_stack_top);
    c = run(3, f_int20);
    check_fault("int20-cpl3-gate-dpl0", &c, 13, 0x20 * 8 + 2, f_int20);
    c = run(0, f_int20);
    check_eq("int20-cpl0", c.vector, 0x20);

    c = go(0, f_iret, 2 | IF | IOPL3, K_CODE, 0);
    check_eq("iret-cpl0-flags", c.eax, 2 | IF | IOPL3);
    c = go(3, f_iret, 2 | IF | IOPL3, U_CODE, 0);
    check_eq("iret-cpl3-iopl0-keeps", c.eax, 2);
    c = go(3, f_iret, 2 | IF, U_CODE, IOPL3);
    check_eq("iret-cpl3-iopl3-if", c.eax, 2 | IF | IOPL3);
    c = go(3, f_iret, 2, K_CODE, 0);
    check_fault("iret-cpl3-to-inner", &c, 13, K_CODE, f_iret + 3);
}

void test_main(void)
{
    gdt_set(LDT_SEL, desc((u32)gdt, 7, 0x082));
    lldt(LDT_SEL);
    for (unsigned ring = 0; ring < 4; ring++) {
        tables(ring);
        flag_images(ring);
    }
    popf_rules();
    popf_interrupt();
    descriptor_views();
    selectors();
    transfers();
}
