/* SPDX-License-Identifier: MIT */
/* Exceptions, interrupts and debug events (Intel SDM vol. 3A ch. 6 and vol. 3B ch. 17): the frame
 * of every kind, gates, the interrupt flag and its one-instruction shadows, single-stepping,
 * hardware breakpoints. Faults during delivery are in nested.c; NMI is left out: nothing on the
 * board raises it. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"fault-flags-have-rf", "RF is never pushed as 1"},
    {"icebp*", "needs a debugger's option"},
    {"xm*", "SSE exceptions are not raised"},
    {"ac-ring3", "alignment is not checked"},
    {"ss-limit*", "segment limits are not checked"},
    {"gate-eip-at-limit*", "segment limits are not checked"},
    {"step-sti", "the shadow delays the trap"},
    {"exec-bp-on-rep-once", "the breakpoint fires for each element"},
    {"gate-eip-beyond-limit", "segment limits are not checked"},
    {"irq-gate-not-present-ext", "EXT is never set"},
    {"write-bp-aligns-address", "DR0 is not aligned down"},
    {"write-bp-rep-last", "reports the instruction, not the one behind it"},
    {"gd-*", "DR7.GD is not implemented"},
    {NULL, NULL},
};

static u8 data[64] __attribute__((aligned(16)));
static u8 copy[64] __attribute__((aligned(16)));
static u8 ring1_stack[1024] __attribute__((aligned(16)));

FRAG(f_nop, "nop");
FRAG(f_nops, "nop; nop; nop; nop");

/* ---- exceptions ------------------------------------------------------------------------------ */

FRAG(f_div0, "div %ecx");
FRAG(f_div_overflow, "div %cl");
FRAG(f_idiv_min, "idiv %ecx");
FRAG(f_aam0, "aam $0");
FRAG(f_int3, "int3");
FRAG(f_int_3, ".byte 0xcd, 3");
FRAG(f_into, "into");
FRAG(f_icebp, ".byte 0xf1");
FRAG(f_bound, "bound %eax, (%edi)");
FRAG(f_ud2, "ud2");
FRAG(f_fnop, "fnop");
FRAG(f_wait, "fwait");
FRAG(f_mf, "fninit; push $0x37b; fldcw (%esp); fld1; fldz; fdivrp; f_mf_at: fwait");
LABEL(f_mf_at);
FRAG(f_xm, "movl $0x1d80, (%edi); ldmxcsr (%edi); xorps %xmm0, %xmm0; movl $0x3f800000, (%edi);"
           "movss (%edi), %xmm1; f_xm_at: divss %xmm0, %xmm1");
LABEL(f_xm_at);
FRAG(f_load4, "mov (%edi), %eax");
FRAG(f_mov_ds, "mov %eax, %ds");
FRAG(f_mov_ss, "mov %eax, %ss");
FRAG(f_push, "push %eax");

static struct cpu go(unsigned ring, const void *code, u32 eax, u32 ecx, u32 edx, u32 fl)
{
    struct cpu c = cpu_make(ring, code);

    c.eax = eax;
    c.ecx = ecx;
    c.edx = edx;
    c.edi = (u32)data;
    c.eflags |= fl;
    cpu_run(&c);
    return c;
}

static void exceptions(void)
{
    struct cpu c;
    static const u32 bounds[2] = {5, 10};

    c = go(3, f_div0, 1, 0, 0, 0);
    check_fault("de-div-by-zero", &c, 0, 0, f_div0);
    check_eq("de-frame-cs", c.cs, U_CODE);
    check_eq("de-frame-ss", c.ss, U_DATA);
    check_eq("de-frame-esp", c.esp, (u32)frag_stack_top);
    c = go(0, f_div_overflow, 0x1000, 1, 0, 0);
    check_fault("de-overflow", &c, 0, 0, f_div_overflow);
    check_eq("de-eax-unchanged", c.eax, 0x1000);
    c = go(0, f_idiv_min, 0x80000000, 0xffffffff, 0xffffffff, 0);
    check_fault("de-idiv-min", &c, 0, 0, f_idiv_min);
    c = go(0, f_aam0, 5, 0, 0, 0);
    check_fault("de-aam-0", &c, 0, 0, f_aam0);
    c = go(3, f_div0, 1, 0, 0, IF | CF | OF);
    check_eq("fault-flags-have-rf", c.eflags & (IF | CF | OF | RF), IF | CF | OF | RF);

    c = go(3, f_int3, 0, 0, 0, IF);
    check_fault("bp-eip-behind", &c, 3, 0, f_int3 + 1);
    check_eq("trap-flags-no-rf", c.eflags & (IF | RF), IF);
    c = go(3, f_into, 0, 0, 0, OF);
    check_fault("of-into", &c, 4, 0, f_into + 1);
    c = go(3, f_into, 0, 0, 0, 0);
    check_done("into-without-of", &c);
    c = go(3, f_icebp, 0, 0, 0, 0);
    check_fault("icebp-no-dpl-check", &c, 1, 0, f_icebp + 1);
    memcpy(data, bounds, 8);
    c = go(3, f_bound, 4, 0, 0, 0);
    check_fault("br-below", &c, 5, 0, f_bound);
    c = go(3, f_bound, 11, 0, 0, 0);
    check_fault("br-above", &c, 5, 0, f_bound);
    c = go(3, f_bound, 10, 0, 0, 0);
    check_done("bound-inside", &c);
    c = go(3, f_ud2, 0, 0, 0, 0);
    check_fault("ud", &c, 6, 0, f_ud2);

    write_cr0(read_cr0() | 8);
    c = go(3, f_fnop, 0, 0, 0, 0);
    check_fault("nm-ts", &c, 7, 0, f_fnop);
    write_cr0((read_cr0() & ~2u) | 8);
    c = go(3, f_wait, 0, 0, 0, 0);
    check_done("wait-ts-without-mp", &c);
    write_cr0(read_cr0() | 2 | 8);
    c = go(3, f_wait, 0, 0, 0, 0);
    check_fault("nm-wait-ts-mp", &c, 7, 0, f_wait);
    write_cr0((read_cr0() & ~8u) | 4);
    c = go(3, f_fnop, 0, 0, 0, 0);
    check_fault("nm-em", &c, 7, 0, f_fnop);
    write_cr0(read_cr0() & ~4u);
    write_cr0(read_cr0() | 0x20);
    c = go(3, f_mf, 0, 0, 0, 0);
    check_fault("mf", &c, 16, 0, f_mf_at);
    asm volatile("fninit");
    write_cr4(read_cr4() | 0x600);
    c = go(3, f_xm, 0, 0, 0, 0);
    check_fault("xm", &c, 19, 0, f_xm_at);
    write_cr4(read_cr4() & ~0x400u);
    c = go(3, f_xm, 0, 0, 0, 0);
    check_fault("xm-without-osxmmexcpt-ud", &c, 6, 0, f_xm_at);
    write_cr4(read_cr4() & ~0x200u);

    write_cr0(read_cr0() | 0x40000);
    c = cpu_make(3, f_load4);
    c.edi = (u32)data + 1;
    c.eflags |= AC;
    cpu_run(&c);
    check_fault("ac-ring3", &c, 17, 0, f_load4);
    c = cpu_make(0, f_load4);
    c.edi = (u32)data + 1;
    c.eflags |= AC;
    cpu_run(&c);
    check_done("ac-not-ring0", &c);
    write_cr0(read_cr0() & ~0x40000u);
    c = cpu_make(3, f_load4);
    c.edi = (u32)data + 1;
    c.eflags |= AC;
    cpu_run(&c);
    check_done("ac-needs-am", &c);

    gdt_set(T_SEL, desc(0, 0xfffff, 0xc72)); /* not present, DPL 3 */
    c = go(3, f_mov_ds, T_SEL | 3, 0, 0, 0);
    check_fault("np-ds", &c, 11, T_SEL, f_mov_ds);
    c = go(3, f_mov_ss, T_SEL | 3, 0, 0, 0);
    check_fault("ss-not-present", &c, 12, T_SEL, f_mov_ss);
    c = go(3, f_mov_ds, 0xfff8, 0, 0, 0);
    check_fault("gp-beyond-gdt", &c, 13, 0xfff8, f_mov_ds);
    gdt_seg(T_SEL, 0, 0x0fff, 0xf3);
    c = cpu_make(3, f_push);
    c.ss = T_SEL | 3;
    c.esp = 0x1008;
    cpu_run(&c);
    check_fault("ss-limit", &c, 12, 0, f_push);
    check_eq("ss-limit-esp-kept", c.esp, 0x1008);
}

/* ---- software interrupts and gates ----------------------------------------------------------- */

static u8 int_n[5] __attribute__((aligned(16))) = {0xcd, 0, 0xcd, 0x81, 0xf4};

static void every_vector(void)
{
    unsigned good = 0;

    for (unsigned ring = 0; ring < 4; ring += 3)
        for (unsigned v = 0; v < 256; v++) {
            if (v < 32)
                idt_no_error((u8)v);
            else
                idt_set((u8)v, idt[v] | 0x600000000000ull);
            int_n[1] = (u8)v;
            struct cpu c = run(ring, int_n);
            good += c.vector == v && c.error == 0 && c.eip == (u32)int_n + 2 &&
                    c.cs == (ring ? U_CODE : K_CODE) && c.esp == (u32)frag_stack_top &&
                    !(c.eflags & RF);
            idt_reset((u8)v);
        }
    check_eq("int-n-every-vector-2-rings", good, 512);
}

FRAG(f_int90, "int $0x90");
FRAG(h_flags, "mov (%esp), %eax; pushf; pop %ebx");
FRAG(h_frame, "mov %esp, %ebp; mov %ss, %ecx");

static void gates(void)
{
    struct cpu c;

    idt_set(3, gate(K_CODE, (u32)h_flags, 0x8e));
    c = go(3, f_int3, 0, 0, 0, 0);
    check_fault("int3-gate-dpl", &c, 13, 3 * 8 + 2, f_int3);
    c = go(3, f_int_3, 0, 0, 0, 0);
    check_fault("int-3-gate-dpl", &c, 13, 3 * 8 + 2, f_int_3);
    idt_set(4, gate(K_CODE, (u32)h_flags, 0x8e));
    c = go(3, f_into, 0, 0, 0, OF);
    check_fault("into-gate-dpl", &c, 13, 4 * 8 + 2, f_into);
    idt_reset(3);
    idt_reset(4);

    idt_set(0x90, gate(K_CODE, (u32)h_flags, 0x6e));
    c = go(3, f_int90, 0, 0, 0, 0);
    check_fault("gate-not-present", &c, 11, 0x90 * 8 + 2, f_int90);
    idt_set(0x90, gate(K_CODE, (u32)h_flags, 0xec)); /* a call gate */
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-wrong-type", &c, 13, 0x90 * 8 + 2, f_int90);
    idt_set(0x90, gate(0, (u32)h_flags, 0xee));
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-null-cs", &c, 13, 0, f_int90);
    idt_set(0x90, gate(K_DATA, (u32)h_flags, 0xee));
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-cs-is-data", &c, 13, K_DATA, f_int90);
    idt_set(0x90, gate(U_CODE & ~3, (u32)h_flags, 0xee));
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-to-outer-ring", &c, 13, U_CODE & ~3, f_int90);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc1b));
    idt_set(0x90, gate(T_SEL, (u32)h_flags, 0xee));
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-cs-not-present", &c, 11, T_SEL, f_int90);
    gdt_set(T_SEL, desc(0, 0xff, 0x49b));
    idt_set(0x90, gate(T_SEL, 0x100, 0xee));
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-eip-beyond-limit", &c, 13, 0, f_int90);

    static const u8 nops[2] = {0x90, 0x90};
    gdt_seg(T_SEL, (u32)nops, 0, 0x9b); /* the last byte of the segment can run */
    idt_set(0x90, gate(T_SEL, 0, 0xee));
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("gate-eip-at-limit", &c, 13, 0, (void *)1);
    check_eq("gate-eip-at-limit-cs", c.cs, T_SEL);
    idt_set(1, idt[1] & ~0x800000000000ull);
    c = go(0, f_icebp, 0, 0, 0, 0);
    check_fault("icebp-gate-not-present-ext", &c, 11, 1 * 8 + 3, f_icebp);
    idt_reset(1);

    struct dtr small = {0x90 * 8 + 6, (u32)idt};
    lidt(&small);
    c = go(0, f_int90, 0, 0, 0, 0);
    check_fault("idt-limit", &c, 13, 0x90 * 8 + 2, f_int90);
    lidt(&idtr);

    idt_set(0x90, gate(K_CODE, (u32)h_flags, 0xee));
    c = go(3, f_int90, 0, 0, 0, IF | IOPL3 | NT | AC);
    check_eq("int-gate-flags-inside", c.ebx & (IF | NT | TF | IOPL3 | AC), IOPL3 | AC);
    check_eq("int-gate-cs-rpl", c.cs, K_CODE);
    idt_set(0x90, gate(K_CODE, (u32)h_flags, 0xef));
    c = go(3, f_int90, 0, 0, 0, IF | NT);
    check_eq("trap-gate-flags-inside", c.ebx & (IF | NT | TF), IF);

    idt_set(0x90, gate(K_CODE, (u32)h_frame, 0xee));
    c = go(3, f_int90, 0, 0, 0, IF);
    u32 *f = (void *)c.ebp;
    check_eq("frame32-esp", c.ebp, (u32)trap_stack_top - 20);
    check("frame32", f[0] == (u32)f_int90 + 2 && (f[1] & 0xffff) == U_CODE && (f[2] & IF) &&
                         f[3] == (u32)frag_stack_top && (f[4] & 0xffff) == U_DATA);
    c = go(0, f_int90, 0, 0, 0, IF);
    check_eq("frame32-same-ring-esp", c.ebp, (u32)frag_stack_top - 12);
    /* A 16-bit gate pushes words; its offset has 16 bits, so give the handler its own base. */
    gdt_set(T_SEL, desc((u32)h_frame, 0xfffff, D_CODE0));
    idt_set(0x90, gate(T_SEL, 0, 0xe6));
    c = go(0, f_int90, 0, 0, 0, IF);
    u16 *w = (void *)c.ebp;
    check_eq("frame16-esp", c.ebp, (u32)frag_stack_top - 6);
    check("frame16", w[0] == (u16)((u32)f_int90 + 2) && w[1] == K_CODE && (w[2] & IF));
    c = go(3, f_int90, 0, 0, 0, IF);
    w = (void *)c.ebp;
    check_eq("frame16-outer-esp", c.ebp, (u32)trap_stack_top - 10);
    check("frame16-outer", w[3] == (u16)(u32)frag_stack_top && w[4] == U_DATA);

    /* Ring 3 to ring 1 by an interrupt gate. */
    tss.ss1 = R1_DATA;
    tss.esp1 = (u32)ring1_stack + sizeof(ring1_stack);
    idt_set(0x90, gate(R1_CODE & ~3, (u32)h_frame, 0xee));
    c = go(3, f_int90, 0, 0, 0, 0);
    check("int-to-ring1", c.cs == R1_CODE && c.ecx == R1_DATA && c.ebp == tss.esp1 - 20);
    idt_reset(0x90);
}

/* ---- interrupt flag and shadows -------------------------------------------------------------- */

FRAG(f_sti_nop, "sti; nop; nop");
FRAG(f_sti_cli, "sti; cli; nop");
FRAG(f_sti_sti, "sti; sti; nop; nop");
FRAG(f_popf_nop, "push %eax; popf; f_popf_nop_at: nop; nop");
LABEL(f_popf_nop_at);
FRAG(f_movss, "mov %eax, %ss; nop; nop");
FRAG(f_popss, "push %eax; pop %ss; f_popss_at: nop; nop");
LABEL(f_popss_at);
FRAG(f_sti_movss, "mov %ss, %eax; sti; mov %eax, %ss; f_sti_movss_at: nop; nop");
LABEL(f_sti_movss_at);
FRAG(f_iret_if, "push %eax; push %cs; push $f_iret_if_at; iret; f_iret_if_at: nop");
LABEL(f_iret_if_at);
FRAG(f_movss_sti, "sti; mov %eax, %ss; nop; nop");
FRAG(f_rep, "rep stosb");

static struct cpu with_irq(const void *code, u32 eax, u32 fl)
{
    pit_start(0, 20);
    pic_mask(0xfffe);
    wait_irq0();
    struct cpu c = go(0, code, eax, 0, 0, fl);
    pic_mask(0xffff);
    if (c.vector == 0x20)
        outb(0x20, 0x20);
    return c;
}

/* An interrupt in the middle of a repeated instruction leaves it restartable. How long the store
 * takes is not known, so several delays are tried. */
static void rep_interrupt(void)
{
    unsigned n = 32 << 20;
    bool inside = false, consistent = true;

    for (unsigned count = 200; count < 60000 && !inside; count += count) {
        pit_start(0, (u16)count);
        pic_mask(0xfffe);
        struct cpu c = cpu_make(0, f_rep);
        c.edi = 0x400000;
        c.ecx = n;
        c.eflags |= IF;
        cpu_run(&c);
        if (c.vector == DONE)
            wait_irq0();
        pic_mask(0xffff);
        outb(0x20, 0x20);
        inside = c.vector == 0x20 && c.eip == (u32)f_rep && c.ecx > 0 && c.ecx < n;
        consistent &= c.edi == 0x400000 + n - c.ecx;
    }
    check("irq-inside-rep", inside);
    check("irq-inside-rep-restartable", consistent);
}

static void interrupt_flag(void)
{
    struct cpu c;

    c = with_irq(f_nops, 0, 0);
    check_done("irq-held-while-if-0", &c);
    c = with_irq(f_nops, 0, IF);
    check_fault("irq-at-first-boundary", &c, 0x20, 0, f_nops);
    check_eq("irq-frame-flags", c.eflags & (IF | RF), IF);
    c = with_irq(f_sti_nop, 0, 0);
    check_fault("sti-shadow", &c, 0x20, 0, f_sti_nop + 2);
    c = with_irq(f_sti_cli, 0, 0);
    check_done("sti-cli-no-window", &c);
    c = with_irq(f_sti_sti, 0, 0);
    check_fault("sti-sti-one-shadow", &c, 0x20, 0, f_sti_sti + 2);
    c = with_irq(f_popf_nop, 2 | IF, 0);
    check_fault("popf-no-shadow", &c, 0x20, 0, f_popf_nop_at);
    c = with_irq(f_iret_if, 2 | IF, 0);
    check_fault("iret-no-shadow", &c, 0x20, 0, f_iret_if_at);
    c = with_irq(f_sti_movss, 0, 0);
    check("sti-then-mov-ss",
          c.vector == 0x20 && (c.eip == (u32)f_sti_movss_at || c.eip == (u32)f_sti_movss_at + 1));

    gdt_set(T_SEL, gdt[K_DATA >> 3]);
    c = with_irq(f_sti_movss, 0, IF); /* the IRQ comes before the first instruction */
    check_fault("irq-before-anything", &c, 0x20, 0, f_sti_movss);

    /* An interrupt that meets a missing gate says EXT. */
    idt_set(0x20, idt[0x20] & ~0x800000000000ull);
    c = with_irq(f_nops, 0, IF);
    check_fault("irq-gate-not-present-ext", &c, 11, 0x20 * 8 + 3, f_nops);
    outb(0x20, 0x20);
    idt_reset(0x20);

    rep_interrupt();
}

/* MOV SS holds interrupts for one instruction. Interrupts at many moments of a loop that consists
 * of little else must never land there; stepping() looks at the same shadow through the trap flag.
 */
static volatile unsigned irqs;
static volatile u32 irq_eip[4];

static void log_irq(struct frame *f)
{
    if (irqs < 4)
        irq_eip[irqs] = f->eip;
    irqs++;
    outb(0x20, 0x20);
}

FRAG(f_race, "f_race_top: mov %ss, %eax; mov %eax, %ss; f_race_at: nop; dec %ecx; jnz f_race_top");
LABEL(f_race_at);

static void stack_shadow(void)
{
    bool inside = false, tried = false;

    hook[0x20] = log_irq;
    for (unsigned i = 0; i < 40; i++) {
        irqs = 0;
        pit_start(0, (u16)(150 + i * 7));
        pic_mask(0xfffe);
        go(0, f_race, 0, 20000, 0, IF);
        pic_mask(0xffff);
        tried |= irqs && irq_eip[0] >= (u32)f_race && irq_eip[0] <= (u32)f_race_at + 2;
        inside |= irqs && irq_eip[0] == (u32)f_race_at;
    }
    hook[0x20] = NULL;
    check("mov-ss-shadow-tried", tried);
    check_eq("mov-ss-shadow-never-broken", inside, false);
}

/* ---- single-step ----------------------------------------------------------------------------- */

#define LOG_MAX 16
static struct {
    unsigned n;
    u32 eip[LOG_MAX], dr6[LOG_MAX], flags[LOG_MAX];
} steps;
static volatile u32 resume_flags; /* ORed into the flags a debug hook returns with */

static void log_debug(struct frame *f)
{
    u32 dr6 = read_dr6();

    if (steps.n < LOG_MAX) {
        steps.eip[steps.n] = f->eip;
        steps.dr6[steps.n] = dr6;
        steps.flags[steps.n] = f->eflags;
    }
    steps.n++;
    write_dr6(0xffff0ff0);
    f->eflags |= resume_flags;
}

static struct cpu stepped(unsigned ring, const void *code, u32 eax, u32 ecx, u32 fl)
{
    struct cpu c = cpu_make(ring, code);

    memset(&steps, 0, sizeof(steps));
    hook[1] = log_debug;
    c.eax = eax;
    c.ecx = ecx;
    c.edi = (u32)copy;
    c.esi = (u32)data;
    c.eflags |= fl;
    cpu_run(&c);
    hook[1] = NULL;
    return c;
}

FRAG(f_step, "nop; inc %eax; jmp f_step_a; ud2; f_step_a: nop");
LABEL(f_step_a);
FRAG(f_step_popf,
     "push %eax; popf; f_step_popf_at: nop; nop; push %ecx; popf; f_step_popf_end: nop; nop");
LABEL(f_step_popf_at);
LABEL(f_step_popf_end);
FRAG(f_step_movss, "mov %eax, %ss; nop; nop");
FRAG(f_step_popss, "push %eax; pop %ss; f_step_popss_at: nop; nop");
LABEL(f_step_popss_at);
FRAG(f_step_rep, "rep movsb; nop");
FRAG(f_step_sti, "sti; nop; cli");
FRAG(f_step_pushf, "pushf; pop %eax");
FRAG(f_step_int, "int $0x90; f_step_int_at: nop");
LABEL(f_step_int_at);
FRAG(f_step_fault, "nop; ud2");
FRAG(f_step_iret, "push %eax; push %cs; push $f_step_iret_at; iret; f_step_iret_at: nop; nop");
LABEL(f_step_iret_at);

static volatile unsigned int90s;
static volatile u32 int90_flags;

static void count_int90(struct frame *f)
{
    int90s++;
    int90_flags = f->eflags;
}

static bool logged(const u32 *want, unsigned n)
{
    return steps.n == n && !memcmp(steps.eip, want, n * 4);
}
#define LOGGED(...)                                                                                \
    logged((const u32[]){__VA_ARGS__}, sizeof((const u32[]){__VA_ARGS__}) / sizeof(u32))
#define AT(label, plus) ((u32)(label) + (plus))

static void stepping(void)
{
    struct cpu c;

    c = stepped(3, f_step, 0, 0, TF);
    /* The int $0x81 at the end is not followed by a step: its handler runs with TF clear. */
    check("step-each", LOGGED(AT(f_step, 1), AT(f_step, 2), AT(f_step_a, 0), AT(f_step_a, 1)));
    check_eq("step-dr6-bs", steps.dr6[0], 0xffff4ff0);
    check_eq("step-frame-tf", steps.flags[0] & (TF | RF), TF);
    check_eq("step-result", c.eax, 1);
    c = stepped(0, f_step, 0, 0, TF);
    check("step-ring0", LOGGED(AT(f_step, 1), AT(f_step, 2), AT(f_step_a, 0), AT(f_step_a, 1)));
    stepped(0, f_step_popf, 2 | TF, 2, 0);
    check("step-popf-sets", steps.eip[0] == AT(f_step_popf_at, 1));
    check("step-popf-clears", LOGGED(AT(f_step_popf_at, 1), AT(f_step_popf_at, 2),
                                     AT(f_step_popf_at, 3), AT(f_step_popf_end, 0)));
    stepped(0, f_step_movss, K_DATA, 0, TF);
    check("step-mov-ss-skips-one", LOGGED(AT(f_step_movss, 3), AT(f_step_movss, 4)));
    stepped(0, f_step_popss, K_DATA, 0, TF);
    check("step-pop-ss-skips-one",
          LOGGED(AT(f_step_popss, 1), AT(f_step_popss_at, 1), AT(f_step_popss_at, 2)));
    stepped(0, f_step_sti, 0, 0, TF); /* its shadow is for interrupts only */
    check("step-sti", LOGGED(AT(f_step_sti, 1), AT(f_step_sti, 2), AT(f_step_sti, 3)));
    memset(data, 0x5a, sizeof(data));
    memset(copy, 0, sizeof(copy));
    stepped(3, f_step_rep, 0, 3, TF);
    check("step-rep-each-iteration",
          LOGGED(AT(f_step_rep, 0), AT(f_step_rep, 0), AT(f_step_rep, 2), AT(f_step_rep, 3)));
    check("step-rep-data", copy[2] == 0x5a && copy[3] == 0);
    stepped(3, f_step_rep, 0, 0, TF);
    check("step-rep-zero", LOGGED(AT(f_step_rep, 2), AT(f_step_rep, 3)));
    c = stepped(3, f_step_pushf, 0, 0, TF);
    check_eq("step-pushf-shows-tf", c.eax & TF, TF);
    idt_set(0x90, idt[0x90]);
    hook[0x90] = count_int90;
    int90s = 0;
    stepped(3, f_step_int, 0, 0, TF);
    check_eq("step-int-frame-tf", int90_flags & TF, TF);
    /* IRET restores TF: the trap comes after the instruction it returns to. */
    check("step-over-int", int90s == 1 && LOGGED(AT(f_step_int_at, 1)));
    hook[0x90] = NULL;
    c = stepped(3, f_step_fault, 0, 0, TF);
    check_fault("step-then-fault", &c, 6, 0, f_step_fault + 1);
    check("step-none-for-fault", LOGGED(AT(f_step_fault, 1)));
    check_eq("fault-frame-tf", c.eflags & TF, TF);
    stepped(0, f_step_iret, 2 | TF, 0, 0);
    check("step-iret-sets", LOGGED(AT(f_step_iret_at, 1), AT(f_step_iret_at, 2)));
}

/* ---- breakpoints ----------------------------------------------------------------------------- */

FRAG(f_bp, "nop; f_bp_at: inc %eax; nop");
LABEL(f_bp_at);
FRAG(f_st1, "movb $1, (%edi); f_st1_end: nop");
LABEL(f_st1_end);
FRAG(f_st2, "movw $1, (%edi); f_st2_end: nop");
LABEL(f_st2_end);
FRAG(f_st4, "movl $1, (%edi); f_st4_end: nop");
LABEL(f_st4_end);
FRAG(f_ld1, "movb (%edi), %al; f_ld1_end: nop");
LABEL(f_ld1_end);
FRAG(f_rmw, "incl (%edi); f_rmw_end: nop");
LABEL(f_rmw_end);
FRAG(f_bp_push, "push %eax; f_bp_push_end: nop");
LABEL(f_bp_push_end);
FRAG(f_bp_rep, "rep movsb; f_bp_rep_end: nop");
LABEL(f_bp_rep_end);
FRAG(f_bp_out, "outb %al, $0x80; f_bp_out_end: nop");
LABEL(f_bp_out_end);
FRAG(f_bp_in, "inb $0x80, %al; f_bp_in_end: nop");
LABEL(f_bp_in_end);
FRAG(f_bp_fldt, "fldt (%edi); f_bp_fldt_end: fstp %st(0)");
LABEL(f_bp_fldt_end);
FRAG(f_bp_long, "rep stosb; nop");
FRAG(f_rd_dr7, "mov %dr7, %eax");
FRAG(f_wr_dr0, "mov %eax, %dr0");
FRAG(f_bp_two, "movl $1, (%edi); f_bp_two_at: nop; nop");
LABEL(f_bp_two_at);

#define DR7_BP(n, rw, len) (1u << (n)*2 | ((rw) | ((len)-1) << 2) << (16 + (n)*4))

static struct cpu watch(const void *code, u32 edi, u32 address, u32 dr7)
{
    struct cpu c = cpu_make(3, code);

    memset(&steps, 0, sizeof(steps));
    hook[1] = log_debug;
    c.edi = edi;
    c.esi = (u32)copy;
    c.ecx = 4;
    c.eflags |= IOPL3;
    write_dr6(0xffff0ff0);
    write_dr0(address);
    write_dr7(dr7);
    cpu_run(&c);
    write_dr7(0x400);
    hook[1] = NULL;
    return c;
}

static bool hit(const void *eip)
{
    return steps.n == 1 && steps.eip[0] == (u32)eip && (steps.dr6[0] & 0xf00f) == 1;
}

static void breakpoints(void)
{
    u32 d = (u32)data;
    struct cpu c;

    resume_flags = RF;
    c = watch(f_bp, d, (u32)f_bp_at, DR7_BP(0, 0, 1));
    check("exec-bp-fault-class", hit(f_bp_at));
    check_eq("exec-bp-frame-no-rf", steps.flags[0] & RF, 0); /* the one fault without it */
    check("exec-bp-rf-resumes", c.vector == DONE && c.eax == 1);
    watch(f_bp, d, (u32)f_bp_at + 1, DR7_BP(0, 0, 1));
    check("exec-bp-next-insn", hit(f_bp_at + 1));
    c = watch(f_bp, d, (u32)f_bp_at, 0);
    check("exec-bp-disabled", steps.n == 0 && c.vector == DONE);
    resume_flags = RF;
    watch(f_bp, d, (u32)f_bp_at, DR7_BP(0, 0, 1) << 1 & 0x2);
    check("exec-bp-global-enable", hit(f_bp_at));
    resume_flags = 0;

    watch(f_st1, d, d, DR7_BP(0, 1, 1));
    check("write-bp-1", hit(f_st1_end));
    check_eq("write-bp-frame-rf", steps.flags[0] & RF, 0);
    watch(f_st1, d + 1, d, DR7_BP(0, 1, 1));
    check_eq("write-bp-1-neighbour", steps.n, 0);
    watch(f_st1, d + 1, d, DR7_BP(0, 1, 2));
    check("write-bp-2-second-byte", hit(f_st1_end));
    watch(f_st1, d + 3, d, DR7_BP(0, 1, 4));
    check("write-bp-4-last-byte", hit(f_st1_end));
    watch(f_st1, d + 4, d, DR7_BP(0, 1, 4));
    check_eq("write-bp-4-behind", steps.n, 0);
    watch(f_st4, d - 3 + 16, d + 16, DR7_BP(0, 1, 1));
    check("write-bp-overlap", hit(f_st4_end));
    watch(f_st4, d + 1, d + 6, DR7_BP(0, 1, 4)); /* address is aligned down to 4 */
    check("write-bp-aligns-address", hit(f_st4_end));
    watch(f_st2, d + 4, d + 6, DR7_BP(0, 1, 2));
    check_eq("write-bp-2-apart", steps.n, 0);
    watch(f_ld1, d, d, DR7_BP(0, 1, 1));
    check_eq("write-bp-ignores-read", steps.n, 0);
    watch(f_ld1, d, d, DR7_BP(0, 3, 1));
    check("rw-bp-read", hit(f_ld1_end));
    watch(f_st1, d, d, DR7_BP(0, 3, 1));
    check("rw-bp-write", hit(f_st1_end));
    watch(f_rmw, d, d, DR7_BP(0, 1, 4));
    check("write-bp-rmw-once", hit(f_rmw_end));
    watch(f_bp_push, d, (u32)frag_stack_top - 4, DR7_BP(0, 1, 4));
    check("write-bp-push", hit(f_bp_push_end));
    c = watch(f_bp_rep, d, d + 1, DR7_BP(0, 1, 1));
    check("write-bp-rep", steps.n == 1 && steps.eip[0] == (u32)f_bp_rep && c.vector == DONE);
    watch(f_bp_rep, d, d + 3, DR7_BP(0, 1, 1));
    check("write-bp-rep-last", hit(f_bp_rep_end));
    watch(f_bp, d, (u32)f_bp_at, DR7_BP(0, 3, 1));
    check_eq("rw-bp-ignores-fetch", steps.n, 0);

    write_cr4(read_cr4() | 8);
    watch(f_bp_out, d, 0x80, DR7_BP(0, 2, 1));
    check("io-bp", hit(f_bp_out_end));
    watch(f_bp_in, d, 0x80, DR7_BP(0, 2, 1));
    check("io-bp-in", hit(f_bp_in_end));
    watch(f_bp_out, d, 0x81, DR7_BP(0, 2, 1));
    check_eq("io-bp-other-port", steps.n, 0);
    write_cr4(read_cr4() & ~8u);

    /* Two at once: the data trap of one instruction and the fetch of the next. */
    resume_flags = RF;
    write_dr1((u32)f_bp_two_at);
    watch(f_bp_two, d, d, DR7_BP(0, 1, 4) | DR7_BP(1, 0, 1));
    check_eq("data-then-exec-bp", steps.dr6[0] & 1, 1);
    check("data-then-exec-bp-eip", steps.n >= 1 && steps.eip[0] == (u32)f_bp_two_at);
    resume_flags = 0;
    asm volatile("fninit");
    watch(f_bp_fldt, d, d + 8, DR7_BP(0, 1, 2));
    check_eq("write-bp-ignores-long-read", steps.n, 0);
    watch(f_bp_fldt, d, d + 8, DR7_BP(0, 3, 2));
    check("rw-bp-long-read", hit(f_bp_fldt_end));
    write_dr2(d + 8);
    watch(f_ld1, d + 8, d + 40, DR7_BP(2, 3, 1));
    check("bp-2", steps.n == 1 && (steps.dr6[0] & 0xf) == 4);
    resume_flags = RF;
    write_dr1((u32)f_bp_at);
    watch(f_bp, d, d + 40, DR7_BP(0, 1, 4) | DR7_BP(1, 0, 1));
    check("exec-bp-1", steps.n == 1 && (steps.dr6[0] & 0xf) == 2 && steps.eip[0] == (u32)f_bp_at);
    resume_flags = 0;
    write_dr1(0);
    write_dr3(d + 8);
    watch(f_st4, d + 8, d + 40, DR7_BP(3, 1, 4));
    check("bp-3", steps.n == 1 && (steps.dr6[0] & 0xf) == 8);
    write_dr3(0);
    write_dr1(0);
    write_dr0(0);
}

/* A breakpoint on a repeated instruction fires once, though interrupts break into it: they save RF.
 * On a busy host the timer may come too late for one run, so there are more. */
static void breakpoint_on_rep(void)
{
    struct cpu c;
    unsigned runs = 0;
    bool done = true;

    memset(&steps, 0, sizeof(steps));
    hook[1] = log_debug;
    hook[0x20] = log_irq;
    hook[0x27] = log_irq; /* spurious: acknowledged while the timer's output was low */
    resume_flags = RF;
    irqs = 0;
    write_dr0((u32)f_bp_long);
    pit_start(2, 300);
    pic_mask(0xfffe);
    while (irqs < 2 && runs < 1000) {
        c = cpu_make(0, f_bp_long);
        c.edi = 0x400000;
        c.ecx = 16 << 20;
        c.eflags |= IF;
        write_dr7(DR7_BP(0, 0, 1));
        cpu_run(&c);
        write_dr7(0x400);
        done &= c.vector == DONE && c.ecx == 0;
        runs++;
    }
    pic_mask(0xffff);
    pit_start(0, 0);
    write_dr6(0xffff0ff0);
    resume_flags = 0;
    hook[1] = hook[0x20] = hook[0x27] = NULL;
    check_eq("exec-bp-on-rep-once", steps.n, runs);
    check("exec-bp-on-rep-interrupted", irqs > 1 && done);
}

static volatile u32 gd_dr7, gd_dr6;
static volatile unsigned gd_hits;

static void log_gd(struct frame *f)
{
    gd_hits++;
    gd_dr7 = read_dr7();
    gd_dr6 = read_dr6();
    write_dr6(0xffff0ff0);
}

static void general_detect(void)
{
    struct cpu c;

    hook[1] = log_gd;
    write_dr7(0x2400);
    c = cpu_make(0, f_rd_dr7);
    cpu_run(&c);
    check("gd-read-faults-once", gd_hits == 1 && c.vector == DONE);
    check_eq("gd-cleared-on-entry", gd_dr7, 0x400);
    check_eq("gd-dr6-bd", gd_dr6 & 0x2000, 0x2000);
    write_dr7(0x2400);
    c = cpu_make(0, f_wr_dr0);
    c.eax = 0x1234;
    cpu_run(&c);
    check_eq("gd-write-faults", gd_hits, 2);
    check_eq("gd-write-then-done", read_dr0(), 0x1234);
    write_dr0(0);
    hook[1] = NULL;
    write_dr7(0x2400);
    c = run(0, f_wr_dr0);
    check_fault("gd-eip-at-insn", &c, 1, 0, f_wr_dr0);
    write_dr6(0xffff0ff0);
}

void test_main(void)
{
    exceptions();
    every_vector();
    gates();
    interrupt_flag();
    stack_shadow();
    stepping();
    breakpoints();
    breakpoint_on_rep();
    general_detect();
}
