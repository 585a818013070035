/* SPDX-License-Identifier: MIT */
/* The virtual interrupt flag (Intel SDM vol. 3B 20.3 and 20.4): with CR4.VME, v8086 code at IOPL <
 * 3 runs CLI, STI, PUSHF, POPF and IRET on VIF, and INT n goes to its own handlers where the TSS's
 * redirection bitmap says so; with CR4.PVI, ring 3 code runs CLI and STI on VIF. VIP makes the
 * opening of VIF a fault. */
#include "lib/lib.h"

#define AREA 0x20000u
#define SEG  (AREA >> 4)
#define VIF  0x80000u
#define VIP  0x100000u

#define FRAG16(name, text)                                                                         \
    asm(".pushsection .text\n.code16\n.globl " #name "\n" #name ":\n\t" text                       \
        "\n\tint3\n\tud2\n.globl " #name "_end\n" #name "_end:\n.code32\n.popsection");            \
    extern const char name[], name##_end[]
#define RUN(name, fl, eax) run_v86(name, name##_end, fl, eax)

FRAG16(e_cli, "cli");
FRAG16(e_sti, "sti");
FRAG16(e_pushf, "pushf; pop %ax");
FRAG16(e_pushfd, "pushfl; popl %eax");
FRAG16(e_popf, "push %ax; popf");
FRAG16(e_popfd, "pushl %eax; popfl");
FRAG16(e_int, "int $0x21; mov $7, %cx");
FRAG16(e_iret, "push %ax; push %cs; push $(1f - e_iret); iret; ud2; 1:");
FRAG16(e_handler, "pushf; pop %bx; mov %sp, %bp; mov 4(%bp), %dx; iret");

FRAG(p_cli, "cli");
FRAG(p_sti, "sti");
FRAG(p_pushf, "pushf; pop %eax");
FRAG(p_popf, "push %eax; popf");

static struct cpu run_v86(const char *code, const char *end, u32 fl, u32 eax)
{
    struct cpu c = {.eflags = 2 | VM | fl,
                    .cs = SEG,
                    .ss = SEG,
                    .ds = SEG,
                    .es = SEG,
                    .fs = SEG,
                    .gs = SEG,
                    .esp = 0xfff0,
                    .eax = eax};

    memcpy((void *)AREA, code, (size_t)(end - code));
    cpu_run(&c);
    if (c.vector == 3 && c.cs == SEG && c.eip == (u32)(end - code) - 2)
        c.vector = DONE;
    return c;
}

static void check_gp(const char *name, const struct cpu *c, u32 ip)
{
    check_fault(name, c, 13, 0, (void *)ip);
}

static void v8086(void)
{
    struct cpu c;

    c = RUN(e_sti, 0, 0);
    check("sti-sets-vif", c.vector == DONE && (c.eflags & (VIF | IF)) == VIF);
    c = RUN(e_cli, VIF | IF, 0);
    check("cli-clears-vif", c.vector == DONE && (c.eflags & (VIF | IF)) == IF);
    c = RUN(e_sti, VIP, 0);
    check_gp("sti-vip-gp", &c, 0);
    check_eq("sti-vip-vif-kept", c.eflags & VIF, 0);
    c = RUN(e_cli, VIP, 0);
    check("cli-vip", c.vector == DONE && (c.eflags & (VIF | VIP)) == VIP);
    c = RUN(e_sti, IOPL3, 0);
    check("iopl3-uses-if", c.vector == DONE && (c.eflags & (VIF | IF)) == IF);
    c = RUN(e_pushf, VIF, 0);
    check_eq("pushf-vif-as-if", c.eax, 2 | IF | IOPL3);
    c = RUN(e_pushf, IF, 0);
    check_eq("pushf-no-vif", c.eax, 2 | IOPL3);
    c = RUN(e_pushfd, VIF, 0);
    check_gp("pushfd-gp", &c, 0);
    c = RUN(e_popf, 0x1000, IF | CF | IOPL3);
    check("popf-if-as-vif",
          c.vector == DONE && (c.eflags & (VIF | IF | CF | IOPL3)) == (VIF | CF | 0x1000));
    c = RUN(e_popf, VIF | IF, CF);
    check("popf-clears-vif", c.vector == DONE && (c.eflags & (VIF | IF | CF)) == (IF | CF));
    c = RUN(e_popf, VIP, IF);
    check_gp("popf-vip-gp", &c, 1);
    check_eq("popf-vip-sp", c.esp & 0xffff, 0xffee);
    c = RUN(e_popf, VIP, 0);
    check_done("popf-vip-closed", &c);
    c = RUN(e_popf, 0, TF);
    check_gp("popf-tf-gp", &c, 1);
    c = RUN(e_popfd, 0, 2);
    check_gp("popfd-gp", &c, 2);
    c = RUN(e_iret, 0x1000, IF | CF);
    check("iret-if-as-vif",
          c.vector == DONE && (c.eflags & (VIF | IF | CF | IOPL3)) == (VIF | CF | 0x1000));
    c = RUN(e_iret, VIP, IF);
    check_gp("iret-vip-gp", &c, 5);
    c = RUN(e_iret, 0, TF);
    check_gp("iret-tf-gp", &c, 5);
}

/* The redirection bitmap is the 32 bytes below the I/O bitmap: a clear bit keeps INT n inside. */
static void redirection(void)
{
    u8 *map = tss.bitmap;
    struct cpu c;

    tss.iomap = offsetof(struct tss, bitmap) + 32;
    memset(map, 0xff, 64);
    memcpy((void *)(AREA + 0x400), e_handler, (size_t)(e_handler_end - e_handler));
    u32 saved = peek(0x21 * 4);
    poke(0x21 * 4, SEG << 16 | 0x400);
    c = RUN(e_int, VIF, 0);
    check_gp("int-not-redirected-gp", &c, 0);
    map[0x21 / 8] &= (u8) ~(1 << (0x21 & 7));
    c = RUN(e_int, VIF | CF, 0);
    check("int-redirected", c.vector == DONE && (c.ecx & 0xffff) == 7);
    check_eq("int-image", c.edx & 0xffff, 2 | IF | CF | IOPL3); /* VIF as IF, IOPL as 3 */
    check_eq("int-inside-vif-clear", c.ebx & IF, 0);
    check_eq("int-back-vif", c.eflags & VIF, VIF);
    c = RUN(e_int, IF, 0);
    check_eq("int-image-vif-0", c.edx & 0xffff, 2 | IOPL3);
    check_eq("int-if-untouched", c.eflags & (IF | VIF), IF);
    c = RUN(e_int, IF | IOPL3, 0);
    check("int-redirected-iopl3", c.vector == DONE && (c.edx & 0xffff) == (2 | IF | IOPL3) &&
                                      !(c.ebx & IF) && (c.eflags & IF));
    poke(0x21 * 4, saved);
    tss.iomap = sizeof(tss);
}

static void protected_mode(void)
{
    struct cpu c;

    write_cr4(read_cr4() & ~1u);
    c = RUN(e_sti, 0, 0);
    check_gp("vme-off-gp", &c, 0);
    expect_fault("pvi-off-gp", 3, p_sti, 13);
    write_cr4(read_cr4() | 2);
    c = run(3, p_sti);
    check("pvi-sti", c.vector == DONE && (c.eflags & (VIF | IF)) == VIF);
    c = cpu_make(3, p_cli);
    c.eflags |= VIF | IF;
    cpu_run(&c);
    check("pvi-cli", c.vector == DONE && (c.eflags & (VIF | IF)) == IF);
    c = cpu_make(3, p_sti);
    c.eflags |= VIP;
    cpu_run(&c);
    check_fault("pvi-sti-vip-gp", &c, 13, 0, p_sti);
    c = run(1, p_sti);
    check_fault("pvi-ring3-only", &c, 13, 0, p_sti);
    c = cpu_make(3, p_pushf);
    c.eflags |= VIF;
    cpu_run(&c);
    check_eq("pvi-pushf-shows-vif", c.eax, 2 | VIF);
    c = cpu_make(3, p_popf);
    c.eax = IF;
    c.eflags |= VIF;
    cpu_run(&c);
    check_eq("pvi-popf-leaves-both", c.eflags & (IF | VIF), VIF);
    write_cr4(read_cr4() & ~2u);
}

void test_main(void)
{
    u32 a = 1, b, c, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    if (on_qemu() && !(d & 2)) {
        skip_on_qemu("vme", "this processor model has none");
        check("no-vme", true);
        return;
    }
    check_eq("cpuid-vme", d & 2, 2);
    write_cr4(read_cr4() | 1);
    v8086();
    redirection();
    protected_mode();
}
