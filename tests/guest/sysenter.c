/* SPDX-License-Identifier: MIT */
/* SYSENTER and SYSEXIT (Intel SDM vol. 2): where they go, what they load into the hidden parts of
 * CS and SS, which flags change, and when they are refused. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"enter-msr-3", "taken"},
    {NULL, NULL},
};

FRAG(f_sysenter, "sysenter");
FRAG(f_sysexit, "sysexit");
FRAG(h_entered, "mov %cs, %eax; mov %ss, %ebx; pushf; pop %ecx; mov %esp, %ebp");
FRAG(h_outside, "mov %cs, %eax; mov %ss, %ebx; mov %esp, %ebp; pushf; pop %esi");

static u8 stack[1024] __attribute__((aligned(16)));

static void wrmsr(u32 index, u32 x)
{
    asm volatile("wrmsr" ::"c"(index), "a"(x), "d"(0) : "memory");
}

static void set_up(u32 cs)
{
    wrmsr(0x174, cs);
    wrmsr(0x175, (u32)stack + sizeof(stack));
    wrmsr(0x176, (u32)h_entered);
}

static struct cpu leave_to(const void *eip)
{
    struct cpu c = cpu_make(0, f_sysexit);

    c.edx = (u32)eip;
    c.ecx = (u32)frag_stack_top - 128;
    cpu_run(&c);
    return c;
}

void test_main(void)
{
    u32 a = 1, b, c4, d;
    struct cpu c;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c4), "=d"(d));
    check_eq("cpuid-sep", d & 0x800, 0x800);

    /* CS, SS, then user CS and SS must follow each other in the GDT. */
    gdt_set(T_SEL, desc(0, 0xfffff, D_CODE(0)));
    gdt_set(T_SEL + 8, desc(0, 0xfffff, D_DATA(0)));
    gdt_set(T_SEL + 16, desc(0, 0xfffff, D_CODE(3)));
    gdt_set(T_SEL + 24, desc(0, 0xfffff, D_DATA(3)));
    set_up(T_SEL);
    for (unsigned ring = 0; ring < 4; ring++) {
        c = cpu_make(ring, f_sysenter);
        c.eflags |= IF | CF | 0x1000 * ring;
        cpu_run(&c);
        check("enter", c.vector == DONE && c.cs == T_SEL && c.ss == T_SEL + 8 && c.eax == T_SEL &&
                           c.ebx == T_SEL + 8);
        check_eq("enter-esp", c.ebp, (u32)stack + sizeof(stack));
        check_eq("enter-flags", c.ecx & (IF | CF | IOPL3), CF | 0x1000 * ring);
    }
    set_up(T_SEL | 3); /* RPL is ignored */
    c = run(3, f_sysenter);
    check("enter-rpl-forced", c.vector == DONE && c.cs == T_SEL && c.ss == T_SEL + 8);
    set_up(0);
    c = run(3, f_sysenter);
    check_fault("enter-msr-0", &c, 13, 0, f_sysenter);
    set_up(3); /* null but for RPL */
    c = run(3, f_sysenter);
    check_fault("enter-msr-3", &c, 13, 0, f_sysenter);

    set_up(T_SEL);
    c = leave_to(h_outside);
    check("exit", c.vector == DONE && c.cs == (T_SEL | 3) + 16 && c.ss == (T_SEL | 3) + 24 &&
                      c.eax == (T_SEL | 3) + 16 && c.ebp == (u32)frag_stack_top - 128);
    c = run(3, f_sysexit);
    check_fault("exit-ring3", &c, 13, 0, f_sysexit);
    c = run(1, f_sysexit);
    check_fault("exit-ring1", &c, 13, 0, f_sysexit);
    set_up(0);
    c = leave_to(h_outside);
    check_fault("exit-msr-0", &c, 13, 0, f_sysexit);

    /* The descriptors are not read: flat, present segments come whatever the table says. */
    gdt_set(T_SEL, desc(0, 0, 0x418));
    gdt_set(T_SEL + 8, desc(0, 0, 0x410));
    set_up(T_SEL);
    c = run(3, f_sysenter);
    check("enter-reads-no-descriptor", c.vector == DONE && c.cs == T_SEL && c.ss == T_SEL + 8);
}
