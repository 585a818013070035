/* SPDX-License-Identifier: MIT */
/* Real mode (Intel SDM vol. 3B 20.1), entered from protected mode and left again: segments, 16-bit
 * addressing and its wraps, the interrupt vector table, far transfers, flags, size prefixes,
 * "unreal" limits, strings that wrap, the A20 gate.
 *
 * A fragment is copied to AREA and run by real_run(): it switches, loads the registers of struct
 * rcpu, jumps, and comes back through INT 81h, whose real-mode handler saves everything. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"word-at-ffff-gp", "segment limits are not checked"},
    {"dword-at-fffd-gp", "segment limits are not checked"},
    {"address-prefix-limit-gp", "segment limits are not checked"},
    {"near-beyond-64k-gp", "segment limits are not checked"},
    {"movsw-*", "segment limits are not checked"},
    {"rep-addr32-*", "segment limits are not checked"},
    {"limits-back-to-64k", "segment limits are not checked"},
    {NULL, NULL},
};

#define LOW  0x8000u  /* switching code and its data, copied from real_blob */
#define AREA 0x20000u /* fragments run at AREA:0, stack below 64 KiB */
#define SEG  (AREA >> 4)
#define DATA 0x30000u /* 64 KiB for data */
#define DSEG (DATA >> 4)

/* In and out. Offsets are known to the code below. */
struct rcpu {
    u32 eax, ecx, edx, ebx, esp, ebp, esi, edi; /* 0..28 */
    u32 eip, cs, eflags;                        /* 32, 36, 40 */
    u32 ss, ds, es, fs, gs;                     /* 44..60 */
    u32 vector;                                 /* 64: out */
};

extern const char real_blob[], real_blob_end[], real_state[], real_handlers[], real_big[];
/* Protected 32-bit entry: real_go(). Everything between real_blob and its end is position-fixed at
 * LOW. */
asm(".pushsection .text\n"
    ".globl real_go\n"
    "real_go:\n"
    "pusha\n"
    "mov %esp, real_saved_esp\n"
    "sidt real_saved_idt\n"
    "lidt real_ivt\n"
    "ljmp $0x70, $(real_16 - real_blob + 0x8000)\n"
    "real_saved_idt: .word 0; .long 0\n"
    "real_ivt: .word 0x3ff; .long 0\n"
    "real_saved_esp: .long 0\n"
    "real_back:\n" /* 32-bit again, DS etc. still real */
    "mov $0x10, %eax\n"
    "mov %eax, %ds\nmov %eax, %es\nmov %eax, %fs\nmov %eax, %gs\nmov %eax, %ss\n"
    "mov real_saved_esp, %esp\n"
    "lidt real_saved_idt\n"
    "popa\n"
    "cld\n"
    "ret\n"

    ".code16\n"
    "real_blob:\n"
    "real_16:\n" /* still protected, 16-bit code; load 64 KiB segments, then clear PE */
    "cmpl $0, %cs:(real_big - real_blob + 0x8000)\n"
    "mov $0x78, %ax\n"
    "je 1f\n"
    "mov $0x10, %ax\n" /* unreal: keep flat limits */
    "1: mov %ax, %ds\nmov %ax, %es\nmov %ax, %fs\nmov %ax, %gs\n"
    "mov $0x78, %ax\nmov %ax, %ss\n"
    "mov %cr0, %eax\n"
    "and $~1, %al\n"
    "mov %eax, %cr0\n"
    "ljmp $0, $(1f - real_blob + 0x8000)\n"
    "1: xor %ax, %ax\n"
    "mov %ax, %ds\n"
    "mov $(real_state - real_blob + 0x8000), %bx\n"
    "mov 44(%bx), %ss\n"
    "mov 16(%bx), %esp\n"
    "mov 52(%bx), %es\nmov 56(%bx), %fs\nmov 60(%bx), %gs\n"
    "pushw 40(%bx)\npushw 36(%bx)\npushw 32(%bx)\n"
    "mov 0(%bx), %eax\nmov 4(%bx), %ecx\nmov 8(%bx), %edx\nmov 20(%bx), %ebp\n"
    "mov 24(%bx), %esi\nmov 28(%bx), %edi\n"
    "pushl 12(%bx)\n"
    "mov 48(%bx), %ds\n"
    "popl %ebx\n"
    "iret\n"
    /* 256 handlers of 4 bytes: a call leaves the number in its return address. */
    "real_handlers:\n"
    ".rept 256\n"
    "call real_common\nnop\n"
    ".endr\n"
    "real_common:\n" /* stack: address in real_handlers, then ip, cs, flags */
    "pushw %ds\n"
    "pushl %ebx\n"
    "mov $0, %bx\n"
    "mov %bx, %ds\n"
    "mov $(real_state - real_blob + 0x8000), %bx\n"
    "mov %eax, 0(%bx)\nmov %ecx, 4(%bx)\nmov %edx, 8(%bx)\nmov %ebp, 20(%bx)\n"
    "mov %esi, 24(%bx)\nmov %edi, 28(%bx)\n"
    "popl 12(%bx)\n"
    "popw 48(%bx)\n"
    "popw 64(%bx)\n"
    "popw 32(%bx)\npopw 36(%bx)\npopw 40(%bx)\n"
    "mov %esp, 16(%bx)\n"
    "mov %ss, 44(%bx)\nmov %es, 52(%bx)\nmov %fs, 56(%bx)\nmov %gs, 60(%bx)\n"
    "movl $0, %eax\n"
    "mov %ax, %ss\n"
    "mov $0x7f00, %esp\n"
    "mov %cr0, %eax\n"
    "or $1, %al\n"
    "mov %eax, %cr0\n"
    "ljmpl $0x08, $real_back\n"
    ".balign 4\n"
    "real_big: .long 0\n"
    "real_state: .skip 68\n"
    "real_blob_end:\n"
    ".code32\n.popsection");
void real_go(void);

#define AT_LOW(label) (LOW + (u32)((label)-real_blob))
#define FRAG16(name, text)                                                                         \
    asm(".pushsection .text\n.code16\n.globl " #name "\n" #name ":\n\t" text                       \
        "\n\tint $0x81\n\tud2\n.globl " #name "_end\n" #name "_end:\n.code32\n.popsection");       \
    extern const char name[], name##_end[]
#define RUN(name, ...)                                                                             \
    real_run(name, name##_end,                                                                     \
             (struct rcpu){.cs = SEG,                                                              \
                           .ss = SEG,                                                              \
                           .ds = DSEG,                                                             \
                           .es = DSEG,                                                             \
                           .fs = DSEG,                                                             \
                           .gs = DSEG,                                                             \
                           .esp = 0xfff0,                                                          \
                           .eflags = 2,                                                            \
                           __VA_ARGS__})
#define LO(x) ((x)&0xffff)

static void real_setup(void)
{
    memcpy((void *)LOW, real_blob, (size_t)(real_blob_end - real_blob));
    for (u32 v = 0; v < 256; v++)
        poke(v * 4, AT_LOW(real_handlers) + v * 4);
    gdt_set(0x70, desc(0, 0xffff, 0x09b));
    gdt_set(0x78, desc(0, 0xffff, 0x093));
}

static struct rcpu real_run(const char *code, const char *end, struct rcpu c)
{
    memcpy((void *)AREA, code, (size_t)(end - code));
    memcpy((void *)AT_LOW(real_state), &c, sizeof(c));
    real_go();
    memcpy(&c, (void *)AT_LOW(real_state), sizeof(c));
    c.vector = (LO(c.vector) - LO(AT_LOW(real_handlers))) / 4;
    c.eip = LO(c.eip), c.cs = LO(c.cs), c.eflags = LO(c.eflags);
    return c;
}

static void check_at(const char *name, struct rcpu c, u32 vector, u32 ip)
{
    check_eq(name, c.vector << 16 | c.eip, vector << 16 | ip);
}
#define OFF(label, name) ((u32)((label) - (name)))

/* ---- registers and addressing ---------------------------------------------------------------- */

FRAG16(r_basic,
       "mov $0x1234, %ax; mov $0x89abcdef, %ecx; mov %cs, %dx; mov %ss, %bp; mov %sp, %si");
FRAG16(r_smsw, "smsw %ax; mov %cr0, %ebx");
FRAG16(r_ds, "mov $0x3100, %ax; mov %ax, %ds; movb 0x10, %bl; mov $0xffff, %ax; mov %ax, %ds; movb "
             "0x0fff, %bh");
FRAG16(r_modes, "mov (%bx,%si), %al; mov (%bx,%di), %ah; mov 1(%bp,%si), %cl; mov -1(%bp,%di), %ch;"
                "mov %ds:2(%bp), %dl; mov 0x1234(%bx), %dh");
FRAG16(r_wrap_ea, "mov (%bx,%si), %al; mov 0x7fff(%bx), %ah; mov -1(%di), %cl");
FRAG16(r_wrap_word, "r_wrap_word_at: mov 0xffff, %ax");
LABEL(r_wrap_word_at);
FRAG16(r_wrap_dword, "mov 0xfffd, %eax");
FRAG16(r_ok_dword, "mov 0xfffc, %eax");
FRAG16(r_a32, "mov (%esi), %al; mov 4(%edi,%ecx,4), %ah");
FRAG16(r_a32_limit, "mov (%esi), %al");
FRAG16(
    r_lea,
    "lea 0x10(%bx,%si), %ax; addr32 lea 0x12345678, %ecx; lea (%bx,%si), %edx; leaw 1(%ecx), %bp");
FRAG16(r_push32, "pushl $0x12345678; pop %ax; pop %bx; push $-1; pushl $-1; mov %sp, %cx");
FRAG16(r_stack_wrap, "mov $0, %sp; push %ax; mov %sp, %bx");
FRAG16(r_seg_push, "push %ds; pop %ax; push %cs; pop %bx; push %es; pop %fs; mov %fs, %cx");
FRAG16(r_enter, "enter $4, $0; mov %sp, %ax; leave; mov %sp, %bx");
FRAG16(r_xlat, "xlatb; mov %al, %ah; movb $0xff, %al; xlatb");

static void addressing(void)
{
    struct rcpu c;
    u8 *d = (u8 *)DATA;

    c = RUN(r_basic, .eax = 0xffff0000);
    check("basic", c.vector == DONE && c.eax == 0xffff1234 && c.ecx == 0x89abcdef &&
                       LO(c.edx) == SEG && LO(c.ebp) == SEG && LO(c.esi) == 0xfff0);
    c = RUN(r_smsw);
    check("pe-clear", !(c.eax & 1) && !(c.ebx & 1));
    d[0x1010] = 0x5a;
    poke8(0x100fef, 0x77);
    c = RUN(r_ds);
    check("segment-times-16", (c.ebx & 0xff) == 0x5a && (c.ebx >> 8 & 0xff) == 0x77);
    for (u32 i = 0; i < 0x10000; i++)
        d[i] = (u8)(i ^ i >> 8);
    poke8(AREA + 0x3001, 0xa1);
    poke8(AREA + 0x4fff, 0xa2);
#define D(i) (u32)(u8)((i) ^ (i) >> 8)
    c = RUN(r_modes, .ebx = 0x1000, .esi = 0x234, .edi = 0x2234, .ebp = 0x2dcc, .esp = 0x9000);
    check("mode-bx-si", (c.eax & 0xff) == D(0x1234));
    check("mode-bx-di", (c.eax >> 8 & 0xff) == D(0x3234));
    check("mode-bp-si-is-ss", (c.ecx & 0xff) == 0xa1);
    check("mode-bp-di-is-ss", (c.ecx >> 8 & 0xff) == 0xa2);
    check("mode-override", (c.edx & 0xff) == D(0x2dce));
    check("mode-disp16", (c.edx >> 8 & 0xff) == D(0x2234));
    c = RUN(r_wrap_ea, .ebx = 0x8001, .esi = 0x8002, .edi = 0);
    check("ea-wraps",
          (c.eax & 0xff) == D(3) && (c.eax >> 8 & 0xff) == D(0) && (c.ecx & 0xff) == D(0xffff));
    c = RUN(r_wrap_word);
    check_at("word-at-ffff-gp", c, 13, 0);
    c = RUN(r_wrap_dword);
    check_at("dword-at-fffd-gp", c, 13, 0);
    c = RUN(r_ok_dword);
    check_eq("dword-at-fffc", c.vector, DONE);
    c = RUN(r_a32, .esi = 0x1234, .edi = 0x1000, .ecx = 0x10);
    check("address-prefix", (c.eax & 0xff) == D(0x1234) && (c.eax >> 8 & 0xff) == D(0x1044));
    c = RUN(r_a32_limit, .esi = 0x10000);
    check_at("address-prefix-limit-gp", c, 13, 0);
    c = RUN(r_lea, .ebx = 0xfff0, .esi = 0x28, .ecx = 0);
    check("lea", LO(c.eax) == 0x28 && c.ecx == 0x12345678 && c.edx == 0x18 && LO(c.ebp) == 0x5679);
    c = RUN(r_push32);
    check("push-sizes", LO(c.eax) == 0x5678 && LO(c.ebx) == 0x1234 && LO(c.ecx) == 0xffea);
    c = RUN(r_stack_wrap, .eax = 0xabcd);
    check("stack-wraps",
          c.vector == DONE && LO(c.ebx) == 0xfffe && peek(AREA + 0xfffc) >> 16 == 0xabcd);
    c = RUN(r_seg_push);
    check("push-pop-segments", LO(c.eax) == DSEG && LO(c.ebx) == SEG && LO(c.ecx) == DSEG);
    c = RUN(r_enter, .ebp = 0x1111);
    check("enter-leave", LO(c.eax) == 0xffea && LO(c.ebx) == 0xfff0 && LO(c.ebp) == 0x1111);
    c = RUN(r_xlat, .eax = 0x20, .ebx = 0xfff0);
    check("xlat-wraps", (c.eax >> 8 & 0xff) == D(0x10) && (c.eax & 0xff) == D(0xef));
}

/* ---- transfers, interrupts, flags ------------------------------------------------------------ */

FRAG16(
    r_lcall,
    "lcall $0x2000, $(1f - r_lcall); mov $7, %cx; jmp 2f; 1: mov %sp, %bx; lret; 2: mov %sp, %dx");
FRAG16(r_lret_n,
       "push $1; push $2; lcall $0x2000, $(1f - r_lret_n); mov %sp, %dx; jmp 2f; 1: lret $4; 2:");
FRAG16(r_ljmp, "ljmp $0x2001, $(1f - r_ljmp - 0x10)\n.balign 32\n1: mov %cs, %ax");
FRAG16(r_jmp_far_mem,
       "ljmp *%cs:(9f - r_jmp_far_mem); 9: .word 1f - r_jmp_far_mem, 0x2000; 1: mov %cs, %ax");
FRAG16(r_les, "les 0x100, %di; mov %es, %ax; lfs 0x100, %si; lds 0x100, %bx; mov %ds, %cx");
FRAG16(r_int, "stc; sti; int $0x60; mov $7, %cx");
FRAG16(r_int_ret, "pushf; pop %bx; push %bp; mov %sp, %bp; orw $0x41, 6(%bp); pop %bp; iret");
FRAG16(r_int3, "int3");
FRAG16(r_into, "mov $0x7f, %al; inc %al; into");
FRAG16(r_div0, "xor %cx, %cx; r_div0_at: div %cx");
LABEL(r_div0_at);
FRAG16(r_ud, "nop; ud2");
FRAG16(r_bound, "bound %ax, 0x100");
FRAG16(r_flags, "push $0x7ed7; popf; pushf; pop %ax; push $0; popf; pushf; pop %bx");
FRAG16(r_flags32, "pushl $0x247ed7; popfl; pushfl; popl %eax; pushl $0; popfl; pushfl; popl %ebx");
FRAG16(r_cli, "sti; pushf; pop %ax; cli; pushf; pop %bx");
FRAG16(r_io, "inb $0x80, %al; outb %al, $0x80; mov %cr0, %eax; clts; mov %eax, %cr0");
FRAG16(r_lar, "lar %ax, %bx");
FRAG16(r_ltr, "ltr %ax");
FRAG16(r_sldt, "sldt %ax");
FRAG16(r_arpl, "arpl %ax, %bx");
FRAG16(r_near32, "pushl $0x10000; retl");
FRAG16(r_step, "pushf; pop %ax; or $0x100, %ax; push %ax; popf; nop; r_step_at: nop");
LABEL(r_step_at);
FRAG16(r_iret32, "pushfl; pushl %cs; pushl $(1f - r_iret32); iretl; ud2; 1: mov %sp, %ax");
FRAG16(r_hlt, "sti; hlt; r_hlt_at: nop");
LABEL(r_hlt_at);
FRAG16(r_irq, "sti; nop; nop");
FRAG16(r_lidt, "lidt %cs:(9f - r_lidt); int $0x60; 9: .word 0x17f; .long 0");
FRAG16(r_lidt_end, "lidt %cs:(9f - r_lidt_end); int $0x81; 9: .word 0x207; .long 0");
FRAG16(r_loop,
       "loop 1f; ud2; 1: mov $1, %cx; loop 2f; jcxz 3f; 2: ud2; 3: mov $0x10000, %ecx; jcxz 4f;"
       "ud2; 4: jecxz 5f; jmp 6f; 5: ud2; 6:");

static void transfers(void)
{
    struct rcpu c;

    c = RUN(r_lcall);
    check("lcall-lret",
          c.vector == DONE && LO(c.ebx) == 0xffec && LO(c.edx) == 0xfff0 && LO(c.ecx) == 7);
    c = RUN(r_lret_n);
    check("lret-n", c.vector == DONE && LO(c.edx) == 0xfff0);
    c = RUN(r_ljmp);
    check("ljmp", c.vector == DONE && LO(c.eax) == 0x2001 && c.cs == 0x2001);
    c = RUN(r_jmp_far_mem);
    check("ljmp-mem", c.vector == DONE && LO(c.eax) == 0x2000);
    poke(DATA + 0x100, 0x56781234);
    c = RUN(r_les);
    check("les-lfs-lds", LO(c.edi) == 0x1234 && LO(c.eax) == 0x5678 && LO(c.esi) == 0x1234 &&
                             c.fs == 0x5678 && LO(c.ebx) == 0x1234 && LO(c.ecx) == 0x5678);
    memcpy((void *)(AREA + 0x400), r_int_ret, (size_t)(r_int_ret_end - r_int_ret));
    poke(0x60 * 4, SEG << 16 | 0x400);
    c = RUN(r_int);
    check("int-ivt", c.vector == DONE && LO(c.ecx) == 7);
    check_eq("int-clears-if", c.ebx & IF, 0);
    check_eq("int-keeps-cf", c.ebx & CF, CF);
    check_eq("iret-restores-and-edits", c.eflags & (IF | CF | ZF), IF | CF | ZF);
    c = RUN(r_int3);
    check_at("int3", c, 3, 1);
    c = RUN(r_into);
    check_at("into", c, 4, 5);
    c = RUN(r_div0);
    check_at("div-0-eip-at-insn", c, 0, OFF(r_div0_at, r_div0));
    c = RUN(r_ud);
    check_at("ud", c, 6, 1);
    poke(DATA + 0x100, 0x000a0005);
    c = RUN(r_bound, .eax = 4);
    check_at("bound", c, 5, 0);
    c = RUN(r_flags);
    check("popf-iopl-if-nt", LO(c.eax) == (0x7ed7 & ~0x100) && LO(c.ebx) == 2);
    c = RUN(r_flags32);
    check("popfd", c.eax == 0x247ed7 && c.ebx == 2);
    c = RUN(r_cli);
    check("cli-sti", (c.eax & IF) && !(c.ebx & IF));
    c = RUN(r_io);
    check_eq("io-and-cr0-allowed", c.vector, DONE);
    c = RUN(r_lar);
    check_at("lar-ud", c, 6, 0);
    c = RUN(r_ltr);
    check_at("ltr-ud", c, 6, 0);
    c = RUN(r_sldt);
    check_at("sldt-ud", c, 6, 0);
    c = RUN(r_arpl);
    check_at("arpl-ud", c, 6, 0);
    c = RUN(r_near32);
    check_at("near-beyond-64k-gp", c, 13, 6);
    c = RUN(r_step);
    check_at("single-step", c, 1, OFF(r_step_at, r_step));
    check_eq("single-step-tf-in-frame", c.eflags & TF, TF);
    write_dr6(0xffff0ff0);
    c = RUN(r_iret32);
    check("iret-32", c.vector == DONE && LO(c.eax) == 0xfff0);
    c = RUN(r_lidt);
    check_at("idt-limit-gp", c, 13, 6);
    c = RUN(r_lidt_end); /* the entry ends at the limit */
    check_eq("idt-limit-exact", c.vector, DONE);
    c = RUN(r_loop, .ecx = 2);
    check_eq("cx-or-ecx", c.vector, DONE);

    pit_start(0, 100);
    pic_mask(0xfffe);
    c = RUN(r_hlt);
    check_at("irq-wakes-hlt", c, 0x20, OFF(r_hlt_at, r_hlt));
    outb(0x20, 0x20);
    pit_start(0, 100);
    wait_irq0();
    c = RUN(r_irq);
    check_at("irq-sti-shadow", c, 0x20, 2);
    outb(0x20, 0x20);
    pic_mask(0xffff);
}

/* ---- strings, unreal, A20 -------------------------------------------------------------------- */

FRAG16(r_movsb, "rep movsb");
FRAG16(r_movsw, "rep movsw");
FRAG16(r_stosb, "rep stosb");
FRAG16(r_stosw, "rep stosw");
FRAG16(r_lodsb, "lodsb; mov %al, %ah; lodsb");
FRAG16(r_a32_movs, "rep; addr32 movsb");
FRAG16(r_unreal, "mov %fs:(%esi), %eax; mov %eax, (%edi)");
FRAG16(r_unreal_keeps, "mov $0x3000, %ax; mov %ax, %fs; mov %fs:(%esi), %eax");
FRAG16(r_a20,
       "mov $0xffff, %ax; mov %ax, %fs; movb %fs:0x10, %bl; movb $0x99, %fs:0x10; mov 0, %bh");

/* The gate opens if port 92h or the keyboard controller says so (some machines: whoever spoke
 * last). With it closed this program's own pages at 1 MiB would vanish, so: in real mode below 1
 * MiB only. */
FRAG16(
    r_a20_off,
    "call 7f; mov $0xd1, %al; outb %al, $0x64; call 7f; mov $0xdd, %al; outb %al, $0x60; call 7f;"
    "inb $0x92, %al; and $0xfc, %al; outb %al, $0x92;"
    "mov $0xffff, %ax; mov %ax, %fs; movb %fs:0x10, %bl; movb $0x88, %fs:0x10; movb 0, %bh;"
    "inb $0x92, %al; or $2, %al; and $0xfe, %al; outb %al, $0x92;"
    "call 7f; mov $0xd1, %al; outb %al, $0x64; call 7f; mov $0xdf, %al; outb %al, $0x60; call 7f;"
    "movb %fs:0x10, %cl; jmp 8f; 7: inb $0x64, %al; test $2, %al; jnz 7b; ret; 8:");

static void strings(void)
{
    struct rcpu c;
    u8 *d = (u8 *)DATA;

    for (u32 i = 0; i < 0x10000; i++)
        d[i] = (u8)(i ^ i >> 8);
    c = RUN(r_movsb, .esi = 0xfffe, .edi = 0x2000, .ecx = 4);
    check("movsb-si-wraps", c.vector == DONE && LO(c.esi) == 2 && LO(c.edi) == 0x2004 &&
                                LO(c.ecx) == 0 && d[0x2000] == D(0xfffe) && d[0x2002] == D(0) &&
                                d[0x2003] == D(1));
    c = RUN(r_movsb, .esi = 0xaaaa1000, .edi = 0xbbbbfffe, .ecx = 0xcccc0004);
    check("movsb-di-wraps-16-bit-counts",
          c.esi == 0xaaaa1004 && c.edi == 0xbbbb0002 && c.ecx == 0xcccc0000 && d[1] == D(0x1003));
    /* The same where the wrap is not at the end of a page. */
    c = RUN(r_movsb, .ds = DSEG + 1, .esi = 0xfff8, .edi = 0x3000, .ecx = 16);
    check("movsb-wraps-inside-page", c.ecx == 0 && d[0x3008] == d[0x10] && d[0x300f] == d[0x17] &&
                                         d[0x3000] == peek8(DATA + 0x10008));
    c = RUN(r_movsw, .esi = 0x1000, .edi = 0xfffb, .ecx = 4);
    check_at("movsw-straddles-gp", c, 13, 0);
    check("movsw-progress", LO(c.ecx) == 2 && LO(c.edi) == 0xffff && LO(c.esi) == 0x1004);
    c = RUN(r_stosb, .eax = 0x44, .edi = 0x10, .ecx = 4, .eflags = 2 | DF);
    check("stosb-down", d[0x10] == 0x44 && d[0xd] == 0x44 && LO(c.edi) == 0xc);
    c = RUN(r_stosb, .eax = 0x45, .edi = 1, .ecx = 4, .eflags = 2 | DF);
    check("stosb-down-wraps", d[0] == 0x45 && d[0xfffe] == 0x45 && LO(c.edi) == 0xfffd);
    c = RUN(r_stosw, .eax = 0x4646, .edi = 0, .ecx = 2, .eflags = 2 | DF);
    check("stosw-down-wraps", d[0] == 0x46 && d[0xffff] == 0x46 && LO(c.edi) == 0xfffc);
    c = RUN(r_movsb, .esi = 0x100, .edi = 0x200, .ecx = 0xffff0000);
    check("rep-cx-zero", c.ecx == 0xffff0000 && c.esi == 0x100 && c.edi == 0x200);
    c = RUN(r_lodsb, .esi = 0xffff);
    check("lodsb-wraps", LO(c.esi) == 1 && (c.eax >> 8 & 0xff) == d[0xffff]);
    c = RUN(r_a32_movs, .esi = 0x1000, .edi = 0x4000, .ecx = 0x20);
    check("rep-addr32", c.esi == 0x1020 && c.edi == 0x4020 && c.ecx == 0);
    c = RUN(r_a32_movs, .esi = 0x1000, .edi = 0xfff8, .ecx = 0x20);
    check_at("rep-addr32-limit-gp", c, 13, 0);
    check("rep-addr32-progress", c.ecx == 0x18 && c.edi == 0x10000);
}

static void unreal(void)
{
    struct rcpu c;

    poke(0x400000, 0x0ea1);
    poke(0x400010, 0);
    poke(AT_LOW(real_big), 1);
    /* The selectors are loaded in real mode too, which must not shrink the limits. */
    c = RUN(r_unreal, .esi = 0x400000 - DATA, .edi = 0x400010 - DATA);
    check("unreal-4g-access", c.vector == DONE && c.eax == 0x0ea1 && peek(0x400010) == 0x0ea1);
    c = RUN(r_unreal_keeps, .esi = 0x400000 - DATA);
    check("unreal-reload-keeps-limit", c.vector == DONE && c.eax == 0x0ea1);
    poke(AT_LOW(real_big), 0);
    c = RUN(r_unreal, .esi = 0x400000 - DATA, .edi = 0);
    check_at("limits-back-to-64k", c, 13, 0);
}

static void a20(void)
{
    struct rcpu c;
    u8 was = inb(0x92);

    poke8(0, 0x11);
    poke8(0x100000, 0x22);
    outb(0x92, was | 2);
    c = RUN(r_a20, .ds = 0);
    check("a20-on", (c.ebx & 0xff) == 0x22 && (c.ebx >> 8 & 0xff) == 0x11);
    check_eq("a20-on-store-above", peek8(0x100000), 0x99);
    c = RUN(r_a20_off, .ds = 0);
    check_eq("a20-off-wraps-read", c.ebx & 0xff, 0x11);
    check_eq("a20-off-wraps-write", c.ebx >> 8 & 0xff, 0x88);
    check_eq("a20-on-again", c.ecx & 0xff, 0x99);
    check_eq("a20-port-reads-back", inb(0x92) & 2, 2);
    poke(0, AT_LOW(real_handlers));
}

void test_main(void)
{
    real_setup();
    addressing();
    transfers();
    strings();
    unreal();
    a20();
}
