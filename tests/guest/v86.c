/* SPDX-License-Identifier: MIT */
/* Virtual-8086 mode (Intel SDM vol. 3B ch. 20): segments and addresses as on an 8086, what traps by
 * IOPL, interrupts and faults out of the mode and IRET back into it, the I/O bitmap, entry by a
 * task switch. The VME extensions are left out (off in CR4). */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"limit-64k", "segment limits are not checked"},
    {"offset-beyond-64k", "segment limits are not checked"},
    {"iret-ip-beyond-64k", "not checked"},
    {"gate-to-ring1", "error code 0"},
    {"iret-cpl3-cannot-set-vm", "the bit is taken at any CPL"},
    {NULL, NULL},
};

#define AREA 0x20000u /* 64 KiB of low memory: code at offset 0, stack at the top */
#define SEG  (AREA >> 4)

static struct tss task __attribute__((aligned(16)));

/* 16-bit fragments, copied to AREA before they run. */
#define FRAG16(name, text)                                                                         \
    asm(".pushsection .text\n.code16\n.globl " #name "\n" #name ":\n\t" text                       \
        "\n\tint3\n\tud2\n.globl " #name "_end\n" #name "_end:\n.code32\n.popsection");            \
    extern const char name[], name##_end[]
#define RUN(name, flags_, eax_) run_v86(name, name##_end, flags_, eax_)

static struct cpu v86_make(const char *code, const char *end, u32 fl)
{
    struct cpu c = {.eflags = 2 | VM | fl,
                    .cs = SEG,
                    .ss = SEG,
                    .ds = SEG,
                    .es = SEG,
                    .fs = SEG,
                    .gs = SEG,
                    .esp = 0xfff0};

    memcpy((void *)AREA, code, (size_t)(end - code));
    return c;
}

/* INT n is IOPL-sensitive here, so fragments end by INT3; report that as completion. */
static void v86_run(struct cpu *c, const char *code, const char *end)
{
    cpu_run(c);
    if (c->vector == 3 && (c->cs << 4) + c->eip == AREA + (u32)(end - code) - 2)
        c->vector = DONE;
}

static struct cpu run_v86(const char *code, const char *end, u32 fl, u32 eax)
{
    struct cpu c = v86_make(code, end, fl);

    c.eax = eax;
    v86_run(&c, code, end);
    return c;
}

static void check_gp(const char *name, const struct cpu *c, u32 ip)
{
    check_fault(name, c, 13, 0, (void *)ip);
}

/* ---- plain code ------------------------------------------------------------------------------ */

FRAG16(v_add, "mov $0x1234, %ax; add $0x1111, %ax; mov %cs, %bx; mov %ss, %cx; mov %sp, %dx");
FRAG16(v_seg, "mov $0x2100, %ax; mov %ax, %ds; movb 0x10, %bl; mov %ds, %cx;"
              "mov $0xffff, %ax; mov %ax, %es; movb %es:0x20, %bh");
FRAG16(v_wrap, "mov $0xffff, %si; movb 2(%si), %al");
FRAG16(v_limit, "mov $0xffff, %si; movw (%si), %ax");
FRAG16(v_ea32, "mov $0x10000, %esi; movb (%esi), %al");
FRAG16(v_far,
       "ljmp $0x2010, $(v_far_to - v_far - 0x100)\n.fill 0x100, 1, 0x90\nv_far_to: mov %cs, %bx");
FRAG16(
    v_lcall,
    "lcall $0x2000, $(1f - v_lcall); mov $7, %cx; jmp 2f; 1: mov %sp, %bx; lret; 2: mov %sp, %dx");
FRAG16(v_lds, "lds %cs:(9f - v_lds), %si; mov %ds, %bx; jmp 1f; 9: .word 0x5678, 0x3456; 1:");
FRAG16(v_stack, "mov $0, %sp; push %ax; mov %sp, %bx");
FRAG16(v_osize32, "pushl $0x12345678; popl %ebx; mov %esp, %ecx");

static void plain(void)
{
    struct cpu c;

    c = RUN(v_add, 0, 0xffff0000);
    check("runs", c.vector == DONE && c.eax == 0xffff2345 && (c.ebx & 0xffff) == SEG &&
                      (c.ecx & 0xffff) == SEG && (c.edx & 0xffff) == 0xfff0);
    check("frame-selectors", c.cs == SEG && c.ss == SEG && c.ds == SEG && c.gs == SEG);
    check_eq("frame-vm", c.eflags & VM, VM);
    poke8(0x21010, 0x5a);
    poke8(0x100010, 0); /* 0xffff:0x20 is 0x100010: above 1 MiB, reachable */
    u8 hma = peek8(0x100010);
    c = RUN(v_seg, 0, 0);
    check("segment-is-paragraph", (c.ebx & 0xff) == 0x5a && (c.ecx & 0xffff) == 0x2100);
    check_eq("above-1m", c.ebx >> 8 & 0xff, hma);
    poke8(AREA + 1, 0);
    c = RUN(v_wrap, 0, 0);
    check_eq("offset-wraps", c.eax & 0xff, (u8)v_wrap[1]);
    c = RUN(v_limit, 0, 0);
    check_gp("limit-64k", &c, 3);
    c = RUN(v_ea32, 0, 0);
    check_gp("offset-beyond-64k", &c, 6);
    c = RUN(v_far, 0, 0);
    check("far-jump", c.vector == DONE && (c.ebx & 0xffff) == 0x2010 && c.cs == 0x2010);
    c = RUN(v_lcall, 0, 0);
    check("far-call-ret", c.vector == DONE && (c.ebx & 0xffff) == 0xffec &&
                              (c.edx & 0xffff) == 0xfff0 && (c.ecx & 0xffff) == 7);
    c = RUN(v_lds, 0, 0);
    check("lds", (c.esi & 0xffff) == 0x5678 && (c.ebx & 0xffff) == 0x3456);
    c = RUN(v_stack, 0, 0xabcd);
    check("stack-wraps",
          c.vector == DONE && (c.ebx & 0xffff) == 0xfffe && (peek(AREA + 0xfffc) >> 16) == 0xabcd);
    c = RUN(v_osize32, 0, 0);
    check("operand-prefix", c.vector == DONE && c.ebx == 0x12345678 && (c.ecx & 0xffff) == 0xfff0);
}

/* ---- what traps ------------------------------------------------------------------------------ */

FRAG16(v_cli, "cli; pushf; pop %ax");
FRAG16(v_sti, "sti; pushf; pop %ax");
FRAG16(v_pushf, "pushf; pop %ax");
FRAG16(v_pushfd, "pushfl; popl %eax");
FRAG16(v_popf, "push %ax; popf; pushf; pop %bx");
FRAG16(v_int, "int $0x21");
FRAG16(v_int3, "int3");
FRAG16(v_into, "into");
FRAG16(v_iret, "push %ax; push %cs; push $(1f - v_iret); iret; nop; 1: pushf; pop %bx");
FRAG16(v_in, "inb $0x80, %al");
FRAG16(v_out, "outb %al, $0x80");
FRAG16(v_outw, "outw %ax, $0x80");
FRAG16(v_outs, "outsb");
FRAG16(v_hlt, "hlt");
FRAG16(v_lgdt, "lgdt 0");
FRAG16(v_mov_cr, "mov %cr0, %eax");
FRAG16(v_clts, "clts");
FRAG16(v_sgdt, "sgdt 0x100");
FRAG16(v_smsw, "smsw %ax");
FRAG16(v_sldt, "sldt %ax");
FRAG16(v_str, "str %ax");
FRAG16(v_lar, "lar %ax, %bx");
FRAG16(v_verr, "verr %ax");
FRAG16(v_arpl, "arpl %ax, %bx");
FRAG16(v_lldt, "lldt %ax");
FRAG16(v_ltr, "ltr %ax");

static void traps(void)
{
    struct cpu c;

    c = RUN(v_cli, 0, 0);
    check_gp("cli-iopl0", &c, 0);
    c = RUN(v_cli, IOPL3 | IF, 0);
    check_eq("cli-iopl3", c.eax & IF, 0);
    c = RUN(v_sti, 0x2000, 0);
    check_gp("sti-iopl2", &c, 0);
    c = RUN(v_sti, IOPL3, 0);
    check_eq("sti-iopl3", c.eax & IF, IF);
    c = RUN(v_pushf, 0, 0);
    check_gp("pushf-iopl0", &c, 0);
    c = RUN(v_pushf, IOPL3, 0);
    check_eq("pushf-iopl3", c.eax & 0xffff, 2 | IOPL3);
    c = RUN(v_pushfd, IOPL3, 0);
    check_eq("pushfd-iopl3-vm-clear", c.eax, 2 | IOPL3);
    c = RUN(v_popf, 0, 0);
    check_gp("popf-iopl0", &c, 1);
    c = RUN(v_popf, IOPL3, IF);
    check_eq("popf-iopl3-if-not-iopl", c.ebx & 0xffff, 2 | IF | IOPL3);
    c = RUN(v_int, 0, 0);
    check_gp("int-iopl0", &c, 0);
    c = RUN(v_iret, 0, 0);
    check_gp("iret-iopl0", &c, 5);
    c = RUN(v_iret, IOPL3, IF | CF);
    check_eq("iret-iopl3", c.ebx & (IF | CF | IOPL3), IF | CF | IOPL3);
    check("iret-iopl3-stays", c.vector == DONE && (c.eflags & VM));
    c = RUN(v_hlt, IOPL3, 0);
    check_gp("hlt", &c, 0);
    c = RUN(v_lgdt, IOPL3, 0);
    check_gp("lgdt", &c, 0);
    c = RUN(v_mov_cr, IOPL3, 0);
    check_gp("mov-cr0", &c, 0);
    c = RUN(v_clts, IOPL3, 0);
    check_gp("clts", &c, 0);
    c = RUN(v_sgdt, 0, 0);
    check("sgdt-shows-own", c.vector == DONE && peek(AREA + 0x102) == gdtr.base);
    c = RUN(v_smsw, 0, 0);
    check_eq("smsw-shows-pe", c.eax & 1, 1);
    c = RUN(v_sldt, 0, 0);
    check_fault("sldt-ud", &c, 6, 0, 0);
    c = RUN(v_str, 0, 0);
    check_fault("str-ud", &c, 6, 0, 0);
    c = RUN(v_lar, 0, 0);
    check_fault("lar-ud", &c, 6, 0, 0);
    c = RUN(v_verr, 0, 0);
    check_fault("verr-ud", &c, 6, 0, 0);
    c = RUN(v_arpl, 0, 0);
    check_fault("arpl-ud", &c, 6, 0, 0);
    c = RUN(v_lldt, 0, 0);
    check_fault("lldt-ud", &c, 6, 0, 0);
    c = RUN(v_ltr, 0, 0);
    check_fault("ltr-ud", &c, 6, 0, 0);

    /* Ports go by the bitmap, whatever IOPL says. */
    c = RUN(v_in, IOPL3, 0);
    check_gp("in-no-bitmap-iopl3", &c, 0);
    tss.iomap = offsetof(struct tss, bitmap);
    memset(tss.bitmap, 0xff, sizeof(tss.bitmap));
    tss.bitmap[0x80 / 8] = 0xfe;
    c = RUN(v_in, 0, 0);
    check_done("in-bitmap-open-iopl0", &c);
    c = RUN(v_out, 0, 0);
    check_done("out-bitmap-open", &c);
    c = RUN(v_outw, IOPL3, 0);
    check_gp("outw-bitmap-half", &c, 0);
    c = v86_make(v_outs, v_outs_end, IOPL3);
    c.edx = 0x81;
    cpu_run(&c);
    check_gp("outs-bitmap-closed", &c, 0);
    tss.iomap = sizeof(tss);
}

/* ---- out of the mode ------------------------------------------------------------------------- */

FRAG16(v_ud, "nop; ud2");
FRAG16(v_div, "xor %cl, %cl; div %cl");
FRAG16(v_loop, "nop; nop; nop; nop");
FRAG16(v_sti_loop, "sti; nop; nop");

static u32 *volatile frame; /* of the last hook, the words the processor pushed */
static u32 seen[9];
static volatile u32 seen_segs;

static void look(struct frame *f)
{
    frame = &f->eip;
    memcpy(seen, frame, sizeof(seen));
    seen_segs = (f->ds | f->es | f->fs | f->gs) & 0xffff; /* as the stub found them */
    f->v_gs = 0x4444;
}

static void out(void)
{
    struct cpu c;

    c = v86_make(v_int, v_int_end, IOPL3 | IF | CF);
    c.ds = 0x1111, c.es = 0x2222, c.fs = 0x3333, c.gs = 0x1234;
    idt_set(0x21, idt[0x21] | 0x600000000000ull); /* DPL 3 */
    hook[0x21] = look;
    v86_run(&c, v_int, v_int_end);
    hook[0x21] = NULL;
    check("int-iopl3-frame", (seen[0] & 0xffff) == 2 && (seen[1] & 0xffff) == SEG &&
                                 (seen[3] & 0xffff) == 0xfff0 && (seen[4] & 0xffff) == SEG &&
                                 (seen[5] & 0xffff) == 0x2222 && (seen[6] & 0xffff) == 0x1111 &&
                                 (seen[7] & 0xffff) == 0x3333 && (seen[8] & 0xffff) == 0x1234);
    check_eq("int-frame-flags", seen[2] & (VM | IF | IOPL3 | CF), VM | IF | IOPL3 | CF);
    check_eq("int-frame-top", (u32)frame, (u32)trap_stack_top - 36);
    check_eq("data-segments-nulled", seen_segs, 0);
    check("iret-back", c.vector == DONE && c.ds == 0x1111 && c.es == 0x2222 && c.fs == 0x3333);
    check_eq("iret-back-edited-gs", c.gs, 0x4444);
    idt_reset(0x21);
    c = RUN(v_int, IOPL3, 0);
    check_fault("int-iopl3-gate-dpl", &c, 13, 0x21 * 8 + 2, 0);
    c = RUN(v_int3, 0, 0);
    check_fault("int3-not-iopl-sensitive", &c, 3, 0, (void *)1);
    c = RUN(v_into, OF, 0);
    check_fault("into-not-iopl-sensitive", &c, 4, 0, (void *)1);
    c = RUN(v_ud, 0, 0);
    check_fault("ud-out", &c, 6, 0, (void *)1);
    c = RUN(v_div, 0, 1);
    check_fault("de-out", &c, 0, 0, (void *)2);
    c = RUN(v_loop, TF, 0);
    check("single-step", c.vector == 1 && c.eip == 1);
    write_dr6(0xffff0ff0);

    /* The gate must lead to ring 0. */
    idt_set(0x21, gate(R1_CODE & ~3, 0, 0xee));
    tss.ss1 = R1_DATA;
    tss.esp1 = (u32)trap_stack_top - 4096;
    c = RUN(v_int, IOPL3, 0);
    check_fault("gate-to-ring1", &c, 13, R1_CODE & ~3, 0);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc9f)); /* conforming: CPL would stay 3 */
    idt_set(0x21, gate(T_SEL, 0, 0xee));
    c = RUN(v_int, IOPL3, 0);
    check_fault("gate-conforming", &c, 13, T_SEL, 0);
    idt_reset(0x21);

    pit_start(0, 20);
    pic_mask(0xfffe);
    wait_irq0();
    c = RUN(v_loop, 0, 0);
    check_done("irq-held", &c);
    c = RUN(v_loop, IF, 0);
    check_fault("irq-out", &c, 0x20, 0, 0);
    outb(0x20, 0x20);
    pit_start(0, 20);
    wait_irq0();
    c = RUN(v_sti_loop, IOPL3, 0);
    check_fault("irq-sti-shadow", &c, 0x20, 0, (void *)2);
    outb(0x20, 0x20);
    pic_mask(0xffff);
}

/* A task switch whose new EFLAGS has VM set enters the mode as well. */
FRAG(f_ljmp, "ljmp $0x60, $0"); /* T_SEL */
_Static_assert(T_SEL == 0x60, "the selector in f_ljmp");

static void by_task(void)
{
    tss_make(&task, 0, 0xfff0);
    task.eflags = 2 | VM;
    task.cs = task.ss = task.ds = task.es = task.fs = task.gs = SEG;
    task.eip = 0;
    gdt_tss(T_SEL, &task);
    memcpy((void *)AREA, v_add, (size_t)(v_add_end - v_add));
    struct cpu c = cpu_make(0, f_ljmp);
    v86_run(&c, v_add, v_add_end);
    check("task-switch-into-v86",
          c.vector == DONE && (c.eflags & VM) && c.cs == SEG && (c.eax & 0xffff) == 0x2345);
    check("task-switch-out-frame", c.ds == SEG && c.ss == SEG);
    tss_restore();
    asm volatile("clts");
}

/* IRET at CPL above 0 must not enter it: the bit is ignored. */
FRAG(f_iret3, "push %eax; push %cs; push $1f; iret; 1: pushf; pop %ebx");

static void no_back_door(void)
{
    struct cpu c = cpu_make(3, f_iret3);

    c.eax = 2 | VM;
    c.eflags |= IOPL3;
    cpu_run(&c);
    check("iret-cpl3-cannot-set-vm", c.vector == DONE && !(c.eflags & VM) && c.cs == U_CODE);
}

/* The offset must fit the mode; the fault belongs to the IRET at ring 0. */
static void beyond_64k(void)
{
    struct cpu c = v86_make(v_add, v_add_end, 0);

    c.eip = 0x10000;
    cpu_run(&c);
    check("iret-ip-beyond-64k", c.vector == 13 && c.error == 0 && c.cs == K_CODE);
}

/* With paging the mode is user code. */
static void paged(void)
{
    struct cpu c;

    paging_on();
    page_dir[0] &= ~4u; /* first 4 MiB for the kernel only */
    write_cr3((u32)page_dir);
    c = RUN(v_add, 0, 0);
    check("supervisor-page-faults", c.vector == 14 && c.error == 5 && c.cr2 == AREA && c.eip == 0);
    paging_off();
}

void test_main(void)
{
    plain();
    traps();
    out();
    by_task();
    no_back_door();
    beyond_64k();
    paged();
}
