/* SPDX-License-Identifier: MIT */
/* Segmentation (Intel SDM vol. 3A ch. 3 and 5): limits of every kind, types, null and missing
 * segments, cached descriptors (a GDT edit counts only after a reload), 16-bit code and stacks,
 * conforming code, call gates, all ring transitions, data registers nulled on the way out, LDT. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"byte-behind", "segment limits are not checked"},
    {"word-straddles", "segment limits are not checked"},
    {"dword-straddles*", "segment limits are not checked"},
    {"dword-far-behind", "segment limits are not checked"},
    {"store-straddles", "segment limits are not checked"},
    {"rmw-straddles", "segment limits are not checked"},
    {"limit-0-word", "segment limits are not checked"},
    {"page-granular-behind", "segment limits are not checked"},
    {"page-granular-0-behind", "segment limits are not checked"},
    {"down-*", "segment limits are not checked"},
    {"read-only-*", "segment types are not checked on access"},
    {"code-readable-write", "segment types are not checked on access"},
    {"ss-by-default-is-ss-fault", "segment limits are not checked"},
    {"override-is-gp", "segment limits are not checked"},
    {"push-beyond-limit", "segment limits are not checked"},
    {"pop-beyond-limit*", "segment limits are not checked"},
    {"pusha-*", "segment limits are not checked"},
    {"enter-through-the-floor", "segment limits are not checked"},
    {"stack16-pusha-straddles", "segment limits are not checked"},
    {"long-store-straddles", "segment limits are not checked"},
    {"null-use*", "null segments are not checked on access"},
    {"cached-limit", "segment limits are not checked"},
    {"cached-type", "segment types are not checked on access"},
    {"iret-ss-not-present", "raises #NP"},
    {NULL, NULL},
};

static u8 arena[0x3000] __attribute__((aligned(4096)));
static u64 ldt[8] __attribute__((aligned(8)));
static u8 ring_stack[3][1024] __attribute__((aligned(16)));
static struct {
    u32 offset;
    u16 sel;
} __attribute__((packed)) far_to;

/* Accesses through FS, so that DS stays usable. */
FRAG(f_ld1, "movb %fs:(%esi), %al");
FRAG(f_ld2, "movw %fs:(%esi), %ax");
FRAG(f_ld4, "movl %fs:(%esi), %eax");
FRAG(f_st1, "movb %al, %fs:(%esi)");
FRAG(f_st4, "movl %eax, %fs:(%esi)");
FRAG(f_rmw4, "addl $1, %fs:(%esi)");
FRAG(f_cmpxchg, "cmpxchg %ecx, %fs:(%esi)");
FRAG(f_fstpt, "fninit; fld1; f_fstpt_at: fstpt %fs:(%esi)");
LABEL(f_fstpt_at);
FRAG(f_mov_fs, "mov %ecx, %fs");
FRAG(f_mov_es, "mov %ecx, %es");
FRAG(f_mov_ss, "mov %ecx, %ss");
FRAG(f_lfs, "lfs (%edi), %eax");
FRAG(f_lss, "lss (%edi), %eax");
FRAG(f_push, "push %eax");
FRAG(f_pop, "pop %eax");
FRAG(f_pusha, "pusha");
FRAG(f_bp, "movl (%ebp), %eax"); /* SS by default */
FRAG(f_enter, "enter $16, $0");
FRAG(f_fs_ss, "mov %fs:(%ebp), %eax");

static struct cpu at(unsigned ring, const void *code, u16 fs, u32 esi)
{
    struct cpu c = cpu_make(ring, code);

    c.fs = fs;
    c.esi = esi;
    c.edi = (u32)&far_to;
    c.eax = 0x11223344;
    cpu_run(&c);
    return c;
}

/* ---- limits and types ------------------------------------------------------------------------ */

struct limit_row {
    const char *name;
    const char *code;
    u32 limit; /* stored field */
    u32 attr;
    u32 offset;
    bool faults;
};

static const struct limit_row limits[] = {
    {"byte-last", f_ld1, 0xfff, 0x493, 0xfff, false},
    {"byte-behind", f_ld1, 0xfff, 0x493, 0x1000, true},
    {"word-last", f_ld2, 0xfff, 0x493, 0xffe, false},
    {"word-straddles", f_ld2, 0xfff, 0x493, 0xfff, true},
    {"dword-last", f_ld4, 0xfff, 0x493, 0xffc, false},
    {"dword-straddles-1", f_ld4, 0xfff, 0x493, 0xffd, true},
    {"dword-straddles-3", f_ld4, 0xfff, 0x493, 0xfff, true},
    {"dword-far-behind", f_ld4, 0xfff, 0x493, 0xfffffff0, true},
    {"store-last", f_st4, 0xfff, 0x493, 0xffc, false},
    {"store-straddles", f_st4, 0xfff, 0x493, 0xffd, true},
    {"rmw-straddles", f_rmw4, 0xfff, 0x493, 0xffe, true},
    {"limit-0-byte", f_ld1, 0, 0x493, 0, false},
    {"limit-0-word", f_ld2, 0, 0x493, 0, true},
    {"page-granular-last", f_ld4, 1, 0xc93, 0x1ffc, false},
    {"page-granular-behind", f_ld4, 1, 0xc93, 0x1ffd, true},
    {"page-granular-0", f_ld1, 0, 0xc93, 0xfff, false},
    {"page-granular-0-behind", f_ld1, 0, 0xc93, 0x1000, true},
    {"down-at-limit", f_ld1, 0xfff, 0x497, 0xfff, true},
    {"down-above-limit", f_ld1, 0xfff, 0x497, 0x1000, false},
    {"down-below", f_ld4, 0xfff, 0x497, 0, true},
    {"down-straddles-limit", f_ld2, 0xfff, 0x497, 0xfff, true},
    {"down-16-top", f_ld2, 0xfff, 0x097, 0xfffe, false},
    {"down-16-beyond-64k", f_ld1, 0xfff, 0x097, 0x10000, true},
    {"down-16-straddles-64k", f_ld2, 0xfff, 0x097, 0xffff, true},
    {"down-page-granular-in", f_ld1, 0, 0xc97, 0x1000, false},
    {"down-page-granular-out", f_ld1, 0, 0xc97, 0xfff, true},
    {"read-only-read", f_ld4, 0xfff, 0x491, 0, false},
    {"read-only-write", f_st4, 0xfff, 0x491, 0, true},
    {"read-only-byte-write", f_st1, 0xfff, 0x491, 0, true},
    {"read-only-rmw", f_rmw4, 0xfff, 0x491, 0, true},
    {"read-only-cmpxchg", f_cmpxchg, 0xfff, 0x491, 0, true},
    {"code-readable-read", f_ld4, 0xfff, 0x49b, 0, false},
    {"code-readable-write", f_st4, 0xfff, 0x49b, 0, true},
};

static void limit_checks(void)
{
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        const struct limit_row *r = &limits[i];
        gdt_set(T_SEL, desc((u32)arena, r->limit, r->attr));
        struct cpu c = at(0, r->code, T_SEL, r->offset);
        if (r->faults)
            check_fault(r->name, &c, 13, 0, r->code);
        else
            check_done(r->name, &c);
    }
    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x491));
    struct cpu c = at(0, f_fstpt, T_SEL, 0);
    check_fault("read-only-long-store", &c, 13, 0, f_fstpt_at);
    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x493));
    c = at(0, f_fstpt, T_SEL, 0xff6);
    check_done("long-store-last", &c);
    c = at(0, f_fstpt, T_SEL, 0xff7);
    check_fault("long-store-straddles", &c, 13, 0, f_fstpt_at);
    asm volatile("fninit");
    /* The same store through SS is #SS. */
    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x493));
    c = cpu_make(0, f_bp);
    c.ss = T_SEL;
    c.esp = 0x800;
    c.ebp = 0xffd;
    cpu_run(&c);
    check_fault("ss-by-default-is-ss-fault", &c, 12, 0, f_bp);
    c = cpu_make(0, f_fs_ss);
    c.fs = T_SEL;
    c.ebp = 0xffd;
    cpu_run(&c);
    check_fault("override-is-gp", &c, 13, 0, f_fs_ss);
    c = cpu_make(3, f_push);
    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x4f3));
    c.ss = T_SEL | 3;
    c.esp = 0x1004;
    cpu_run(&c);
    check_fault("push-beyond-limit", &c, 12, 0, f_push);
    c.vector = 0;
    c = cpu_make(3, f_push);
    c.ss = T_SEL | 3;
    c.esp = 0x1000;
    cpu_run(&c);
    check_done("push-to-last-dword", &c);
    c = cpu_make(3, f_pop);
    c.ss = T_SEL | 3;
    c.esp = 0xffe;
    cpu_run(&c);
    check_fault("pop-beyond-limit", &c, 12, 0, f_pop);
    check_eq("pop-beyond-limit-esp", c.esp, 0xffe);
    gdt_set(T_SEL, desc((u32)arena, 0x7ff, 0x4f7)); /* expand-down stack */
    c = cpu_make(3, f_pusha);
    c.ss = T_SEL | 3;
    c.esp = 0x810;
    memset(arena, 0x77, sizeof(arena));
    cpu_run(&c);
    check_fault("pusha-through-the-floor", &c, 12, 0, f_pusha);
    check_eq("pusha-esp-kept", c.esp, 0x810);
    c = cpu_make(3, f_enter);
    c.ss = T_SEL | 3;
    c.esp = 0x802;
    cpu_run(&c);
    check_fault("enter-through-the-floor", &c, 12, 0, f_enter);
}

static u8 code_bytes[0x40] __attribute__((aligned(16)));

/* Execution may not run over the end of CS: the fault is at the instruction that straddles. */
static void code_limits(void)
{
    struct cpu c = cpu_make(0, 0);

    memset(code_bytes, 0x90, sizeof(code_bytes));
    code_bytes[0x1e] = 0xb8; /* mov $imm32, %eax would end at 0x22 */
    gdt_seg(T_SEL, (u32)code_bytes, 0x1f, 0x9b);
    c.cs = T_SEL;
    cpu_run(&c);
    check_fault("code-straddles-limit", &c, 13, 0, (void *)0x1e);
    code_bytes[0x1e] = 0x90;
    c = cpu_make(0, 0);
    c.cs = T_SEL;
    cpu_run(&c);
    check_fault("code-runs-off-limit", &c, 13, 0, (void *)0x20);
    code_bytes[0] = 0xeb; /* jmp beyond: the fault belongs to the jump */
    code_bytes[1] = 0x3e;
    c = cpu_make(0, 0);
    c.cs = T_SEL;
    cpu_run(&c);
    check_fault("near-jump-beyond-limit", &c, 13, 0, (void *)0);
    code_bytes[0] = 0xe8; /* call beyond pushes nothing */
    memset(code_bytes + 1, 0, 4);
    code_bytes[1] = 0x40;
    c = cpu_make(0, 0);
    c.cs = T_SEL;
    cpu_run(&c);
    check_fault("near-call-beyond-limit", &c, 13, 0, (void *)0);
    check_eq("near-call-beyond-limit-esp", c.esp, (u32)frag_stack_top);
    code_bytes[0] = 0x50; /* push %eax; ret with eax beyond */
    code_bytes[1] = 0xc3;
    c = cpu_make(0, 0);
    c.cs = T_SEL;
    c.eax = 0x1000;
    cpu_run(&c);
    check_fault("near-ret-beyond-limit", &c, 13, 0, (void *)1);
    check_eq("near-ret-beyond-limit-esp", c.esp, (u32)frag_stack_top - 4);
    /* Execute-only code cannot be read through CS. */
    memset(code_bytes, 0x90, sizeof(code_bytes));
    code_bytes[0] = 0x2e; /* mov %cs:0, %eax */
    code_bytes[1] = 0xa1;
    memset(code_bytes + 2, 0, 4);
    code_bytes[6] = 0xcd;
    code_bytes[7] = DONE;
    gdt_seg(T_SEL, (u32)code_bytes, 0x1f, 0x99);
    c = cpu_make(0, 0);
    c.cs = T_SEL;
    cpu_run(&c);
    check_fault("execute-only-read", &c, 13, 0, (void *)0);
    gdt_seg(T_SEL, (u32)code_bytes, 0x1f, 0x9b);
    c = cpu_make(0, 0);
    c.cs = T_SEL;
    cpu_run(&c);
    check_done("code-read-through-cs", &c);
}

/* ---- loading --------------------------------------------------------------------------------- */

static struct cpu load(unsigned ring, const void *code, u32 sel)
{
    struct cpu c = cpu_make(ring, code);

    c.ecx = sel;
    cpu_run(&c);
    return c;
}

static void loading(void)
{
    struct cpu c;

    c = load(0, f_mov_fs, 0);
    check("null-load", c.vector == DONE && c.fs == 0);
    c = load(3, f_mov_fs, 3);
    check("null-load-rpl3", c.vector == DONE && c.fs == 3);
    c = at(0, f_ld1, 0, (u32)arena);
    check_fault("null-use", &c, 13, 0, f_ld1);
    c = at(3, f_st1, 3, (u32)arena);
    check_fault("null-use-store-ring3", &c, 13, 0, f_st1);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc13));
    c = load(0, f_mov_fs, T_SEL);
    check_fault("not-present", &c, 11, T_SEL, f_mov_fs);
    c = load(0, f_mov_ss, T_SEL);
    check_fault("not-present-ss", &c, 12, T_SEL, f_mov_ss);
    check_eq("failed-load-keeps-fs", c.fs, K_DATA);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc99)); /* execute-only */
    c = load(0, f_mov_fs, T_SEL);
    check_fault("execute-only-load", &c, 13, T_SEL, f_mov_fs);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc91)); /* read-only */
    c = load(0, f_mov_ss, T_SEL);
    check_fault("read-only-ss", &c, 13, T_SEL, f_mov_ss);
    c = load(0, f_mov_ss, K_CODE);
    check_fault("code-ss", &c, 13, K_CODE, f_mov_ss);
    c = load(0, f_mov_fs, TSS_SEL);
    check_fault("system-segment-load", &c, 13, TSS_SEL, f_mov_fs);
    c = load(3, f_mov_es, K_CODE);
    check_fault("inner-code-load", &c, 13, K_CODE, f_mov_es);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc9f)); /* conforming, readable, DPL 0 */
    c = load(3, f_mov_es, T_SEL | 3);
    check_done("conforming-load-any-ring", &c);
    c = load(0, f_mov_fs, GDT_ENTRIES * 8);
    check_fault("beyond-gdt", &c, 13, GDT_ENTRIES * 8, f_mov_fs);
    c = load(0, f_mov_fs, 0x0c); /* LDT not loaded */
    check_fault("no-ldt", &c, 13, 0x0c, f_mov_fs);

    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x492)); /* accessed bit clear */
    c = load(0, f_mov_fs, T_SEL);
    check_eq("accessed-set-by-load", (u32)(gdt[T_SEL >> 3] >> 40) & 0xff, 0x93);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc12));
    load(0, f_mov_fs, T_SEL);
    check_eq("accessed-not-set-by-fault", (u32)(gdt[T_SEL >> 3] >> 40) & 0xff, 0x12);

    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x493));
    far_to.offset = 0x1234;
    far_to.sel = T_SEL;
    c = at(0, f_lfs, K_DATA, 0);
    check("lfs", c.vector == DONE && c.eax == 0x1234 && c.fs == T_SEL);
    far_to.sel = 0xfff8;
    c = at(0, f_lfs, K_DATA, 0);
    check_fault("lfs-bad-selector", &c, 13, 0xfff8, f_lfs);
    check_eq("lfs-bad-keeps-register", c.eax, 0x11223344);
    far_to.sel = K_DATA;
    c = at(0, f_lss, K_DATA, 0);
    check("lss", c.vector == DONE && c.eax == 0x1234 && c.ss == K_DATA);
}

static void local_table(void)
{
    struct cpu c;

    ldt[1] = desc((u32)arena, 0xff, 0x493);
    ldt[2] = desc((u32)arena + 0x100, 0xff, 0x4f3);
    gdt_set(LDT_SEL, desc((u32)ldt, sizeof(ldt) - 1, 0x082));
    lldt(LDT_SEL);
    poke((u32)arena, 0xaaaa);
    poke((u32)arena + 0x100, 0xbbbb);
    c = at(0, f_ld4, 0x0c, 0);
    check_eq("ldt-load", c.eax, 0xaaaa);
    c = at(3, f_ld4, 0x17, 0);
    check_eq("ldt-load-ring3", c.eax, 0xbbbb);
    c = load(3, f_mov_fs, 0x0f);
    check_fault("ldt-dpl", &c, 13, 0x0c, f_mov_fs);
    c = load(0, f_mov_fs, sizeof(ldt) | 4);
    check_fault("ldt-limit", &c, 13, sizeof(ldt) | 4, f_mov_fs);
    gdt_set(LDT_SEL, desc((u32)ldt, 15, 0x082)); /* cached: no effect before the next LLDT */
    c = load(0, f_mov_fs, 0x14);
    check_done("ldt-limit-cached", &c);
    lldt(LDT_SEL);
    c = load(0, f_mov_fs, 0x14);
    check_fault("ldt-limit-reloaded", &c, 13, 0x14, f_mov_fs);
    lldt(0);
}

/* ---- cached descriptors ---------------------------------------------------------------------- */

/* FS is loaded, the GDT entry changed under it, then used, then reloaded (ECX) and used again. */
FRAG(f_cached, "mov %ecx, %fs; movl %fs:0, %eax; movl %edx, (%edi); movl %ebp, 4(%edi);"
               "movl %fs:0, %ebx; mov %ecx, %fs; movl %fs:0, %esi");
FRAG(f_cached_limit, "mov %ecx, %fs; movl %edx, (%edi); movl %ebp, 4(%edi); movl %fs:0x800, %eax;"
                     "mov %ecx, %fs; f_cached_limit_at: movl %fs:0x800, %eax");
LABEL(f_cached_limit_at);
FRAG(f_cached_type, "mov %ecx, %fs; movl %edx, (%edi); movl %ebp, 4(%edi); movl %eax, %fs:0;"
                    "mov %ecx, %fs; f_cached_type_at: movl %eax, %fs:0");
LABEL(f_cached_type_at);
FRAG(f_cached_gone, "mov %ecx, %fs; movl %edx, (%edi); movl %ebp, 4(%edi); movl %eax, %fs:0;"
                    "f_cached_gone_at: mov %ecx, %fs");
LABEL(f_cached_gone_at);
FRAG(f_cached_pop, "mov %ecx, %fs; push %fs; movl %edx, (%edi); movl %ebp, 4(%edi);"
                   "f_cached_pop_at: pop %fs");
LABEL(f_cached_pop_at);

static struct cpu cached(const void *code, u64 before, u64 after)
{
    struct cpu c = cpu_make(0, code);

    gdt_set(T_SEL, before);
    c.ecx = T_SEL;
    c.edx = (u32)after;
    c.ebp = (u32)(after >> 32);
    c.edi = (u32)&gdt[T_SEL >> 3];
    cpu_run(&c);
    return c;
}

static void cached_descriptors(void)
{
    u64 here = desc((u32)arena, 0xfff, 0x493), there = desc((u32)arena + 0x1000, 0xfff, 0x493);
    struct cpu c;

    poke((u32)arena, 0x1111);
    poke((u32)arena + 0x1000, 0x2222);
    c = cached(f_cached, here, there);
    check_eq("cached-base-before", c.eax, 0x1111);
    check_eq("cached-base-after-edit", c.ebx, 0x1111);
    check_eq("cached-base-after-reload", c.esi, 0x2222);
    c = cached(f_cached_limit, here, desc((u32)arena, 0xff, 0x493));
    check_fault("cached-limit", &c, 13, 0, f_cached_limit_at);
    c = cached(f_cached_type, here, desc((u32)arena, 0xfff, 0x491));
    check_fault("cached-type", &c, 13, 0, f_cached_type_at);
    c = cached(f_cached_gone, here, 0);
    check_fault("cached-descriptor-gone", &c, 13, T_SEL, f_cached_gone_at);
    c = cached(f_cached_pop, here, desc((u32)arena, 0xfff, 0x413));
    check_fault("cached-not-present-on-pop", &c, 11, T_SEL, f_cached_pop_at);
    /* LGDT itself reloads nothing. */
    u64 other[] = {0, gdt[1], gdt[2]};
    struct dtr d = {sizeof(other) - 1, (u32)other};
    u32 x;
    gdt_set(T_SEL, here);
    poke((u32)arena, 0x1111);
    asm volatile("mov %1, %%fs; lgdt %2; mov %%fs:0, %0; lgdt gdtr; mov %3, %%fs"
                 : "=&r"(x)
                 : "r"(T_SEL), "m"(d), "r"(K_DATA)
                 : "memory");
    check_eq("lgdt-reloads-nothing", x, 0x1111);
}

/* ---- 16-bit segments ------------------------------------------------------------------------- */

/* Runs in a 16-bit code segment whose base is its own address. 66h makes 32-bit operations. */
#define FRAG16(name, text)                                                                         \
    asm(".pushsection .text\n.globl " #name "\n.code16\n" #name ":\n\t" text                       \
        "\n\tint $0x81\n\tud2\n.code32\n.popsection");                                             \
    extern const char name[]

FRAG16(f16_ops, "mov $0x1234, %ax; mov $0x89abcdef, %ebx; push $0x55; pop %cx; mov %sp, %dx");
FRAG16(f16_wrap, "xor %eax, %eax; mov $0xffff, %si; mov %fs:2(%si), %al");
FRAG16(f16_addr32, "mov $0x12, %esi; movb %fs:(%esi), %al");
FRAG16(f16_ea_wrap, "mov $0x8000, %bx; mov $0x8010, %si; movb %fs:(%bx,%si), %al");
FRAG16(f16_call, "call 1f; jmp 2f; 1: mov %sp, %bx; ret; 2: mov %sp, %cx");
FRAG16(f16_jmp, "jmp *%ax; ud2; f16_jmp_to:");
LABEL(f16_jmp_to);
FRAG(f_stack16, "mov %esp, %esi; push %eax; push %ecx; mov %esp, %ebx; pop %edx");
FRAG(f_stack16_call,
     "mov %esp, %esi; call f_stack16_call_at; f_stack16_call_at: mov %esp, %ebx; pop %edx");
LABEL(f_stack16_call_at);
FRAG(f_stack16_leave,
     "mov %esp, %esi; mov %esp, %ebp; push %eax; enter $4, $0; leave; mov %esp, %ebx");
FRAG(f_stack16_pusha, "mov %esp, %esi; pushal; mov %esp, %ebx");
FRAG(f_stack16_pushw, "mov %esp, %esi; pushw %ax; mov %esp, %ebx; popw %cx");

static struct cpu in16(const void *code, u32 eax)
{
    struct cpu c = cpu_make(0, 0);

    gdt_set(T_SEL, desc((u32)code, 0xffff, 0x09b));
    c.cs = T_SEL;
    c.eax = eax;
    gdt_set(T_SEL + 8, desc((u32)arena, 0xffff, 0x493));
    c.fs = T_SEL + 8;
    cpu_run(&c);
    return c;
}

static struct cpu on16(const void *code, u32 esp)
{
    struct cpu c = cpu_make(3, code);

    c.ss = T_SEL | 3;
    c.esp = esp;
    c.eax = 0x99;
    c.ecx = 2;
    cpu_run(&c);
    return c;
}

/* A 16-bit stack: only SP moves and wraps, the upper half of ESP stays what it was. And IRET to
 * such a stack loads SP alone, so that half is the kernel's (what operating systems call espfix).
 */
static void stack16(void)
{
    struct cpu c;

    gdt_set(T_SEL, desc((u32)arena - 0xe000, 0xffff, 0x0f3));
    c = on16(f_stack16, 0xabcdf000);
    check_eq("iret-to-stack16-loads-sp-only", c.esi, (enter_esp & 0xffff0000) | 0xf000);
    check_eq("stack16-push", c.esi - c.ebx, 8);
    check_eq("stack16-data", peek((u32)arena + 0xffc), 0x99);
    check_eq("stack16-pop", c.edx, 2);
    c = on16(f_stack16_call, 0xf000);
    check("stack16-call", c.esi - c.ebx == 4 && c.edx == (u32)f_stack16_call_at);
    c = on16(f_stack16_leave, 0xf000);
    check_eq("stack16-enter-leave", c.esi - c.ebx, 4);
    c = on16(f_stack16_pushw, 0xf000);
    check("stack16-pushw", c.esi - c.ebx == 2 && (c.ecx & 0xffff) == 0x99);
    gdt_set(T_SEL, desc((u32)arena - 0xfffe, 0xffff, 0x0f3)); /* SP 0 wraps to 0xfffe */
    poke((u32)arena, 0);
    c = on16(f_stack16_pushw, 0);
    check_eq("stack16-wraps-keeps-upper", c.ebx, (c.esi & 0xffff0000) | 0xfffe);
    check_eq("stack16-wraps-data", peek((u32)arena), 0x99);
    /* 32 bytes, half below offset 0. The segment is 64 KiB of otherwise unused memory. */
    gdt_set(T_SEL, desc(0x800000, 0xffff, 0x0f3));
    c = on16(f_stack16_pusha, 0x10);
    check("stack16-pusha-wraps", c.vector == DONE && (c.ebx & 0xffff) == 0xfff0 &&
                                     peek(0x80000c) == 0x99 && peek(0x800008) == 2 &&
                                     peek(0x80fffc) == c.esi && peek(0x80fff0) == 0);
    c = on16(f_stack16_pusha, 0x12); /* an element straddles: beyond the limit */
    check_fault("stack16-pusha-straddles", &c, 12, 0, f_stack16_pusha + 2);
}

static void sixteen_bit(void)
{
    struct cpu c;
    u32 top = (u32)frag_stack_top;

    c = in16(f16_ops, 0xffff0000);
    check_eq("16-bit-mov-keeps-upper", c.eax, 0xffff1234);
    check_eq("16-bit-operand-prefix", c.ebx, 0x89abcdef);
    check_eq("16-bit-push-pop", c.ecx & 0xffff, 0x55);
    check_eq("16-bit-sp", c.edx & 0xffff, top & 0xffff);
    poke8((u32)arena + 1, 0x5e);
    c = in16(f16_wrap, 0);
    check_eq("16-bit-address-wraps", c.eax, 0x5e);
    poke8((u32)arena + 0x12, 0x6f);
    c = in16(f16_addr32, 0);
    check_eq("16-bit-address-prefix", c.eax & 0xff, 0x6f);
    poke8((u32)arena + 0x10, 0x7a);
    c = in16(f16_ea_wrap, 0);
    check_eq("16-bit-base-index-wraps", c.eax & 0xff, 0x7a);
    c = in16(f16_call, 0);
    check_eq("16-bit-call-pushes-2", (c.ecx - c.ebx) & 0xffff, 2);
    c = in16(f16_jmp, 0x50000 | (f16_jmp_to - f16_jmp));
    check_fault("16-bit-jmp-truncates-eip", &c, DONE, 0, (void *)(f16_jmp_to - f16_jmp + 2));

    stack16();
}

/* ---- conforming code, call gates, rings ------------------------------------------------------ */

FRAG(f_lcall, "lcall *(%edi); f_lcall_back: mov %cs, %edx");
LABEL(f_lcall_back);
FRAG(f_ljmp, "ljmp *(%edi)");
FRAG(h_where, "mov %cs, %eax; mov %ss, %ecx; mov %esp, %ebp");
FRAG(h_params, "mov %esp, %ebp; mov 8(%esp), %eax; mov 12(%esp), %ebx; lret $8");
FRAG(h_ret, "mov %cs, %eax; mov %ss, %ecx; lret");
FRAG(f_call_params, "push $0x111; push $0x222; lcall *(%edi); f_call_params_back: mov %esp, %esi");
LABEL(f_call_params_back);
FRAG(f_lret, "push %ecx; push %ebx; push %edx; push %eax; lret");
FRAG(f_lret_n, "pushl %ecx; pushl %ebx; pushl $0; pushl $0; push %edx; push %eax; lret $8");
FRAG(f_iret_out, "push %ecx; push %ebx; push %esi; push %edx; push %eax; iret");
FRAG(h_segs, "mov %ds, %eax; mov %es, %ebx; mov %fs, %ecx; mov %gs, %edx; mov %esp, %ebp");

static struct cpu far_go(unsigned ring, const void *code, u16 sel, u32 offset)
{
    struct cpu c = cpu_make(ring, code);

    far_to.sel = sel;
    far_to.offset = offset;
    c.edi = (u32)&far_to;
    cpu_run(&c);
    return c;
}

static void conforming(void)
{
    struct cpu c;

    gdt_set(T_SEL, desc(0, 0xfffff, 0xc9f));
    c = far_go(3, f_ljmp, T_SEL, (u32)h_where);
    check_eq("conforming-keeps-cpl", c.eax, T_SEL | 3);
    check_eq("conforming-keeps-stack", c.ecx, U_DATA);
    c = far_go(3, f_lcall, T_SEL | 3, (u32)h_ret);
    check("conforming-call-ret", c.vector == DONE && c.eax == (T_SEL | 3) && c.edx == U_CODE);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xcff)); /* conforming DPL 3 from ring 0 */
    c = far_go(0, f_ljmp, T_SEL, (u32)h_where);
    check_fault("conforming-to-outer", &c, 13, T_SEL, f_ljmp);
    c = far_go(0, f_ljmp, K_DATA, (u32)h_where);
    check_fault("jump-to-data", &c, 13, K_DATA, f_ljmp);
    c = far_go(0, f_ljmp, 0, (u32)h_where);
    check_fault("jump-to-null", &c, 13, 0, f_ljmp);
    gdt_set(0, gdt[K_CODE >> 3]); /* what entry 0 holds does not matter */
    c = far_go(0, f_ljmp, 0, (u32)h_where);
    check_fault("jump-to-null-good-entry", &c, 13, 0, f_ljmp);
    gdt_set(0, 0);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc1b));
    c = far_go(0, f_ljmp, T_SEL, (u32)h_where);
    check_fault("jump-not-present", &c, 11, T_SEL, f_ljmp);
    gdt_seg(T_SEL, 0, 0xff, 0x9b);
    c = far_go(0, f_ljmp, T_SEL, 0x100);
    check_fault("jump-beyond-limit", &c, 13, 0, f_ljmp);
    c = far_go(3, f_ljmp, U_CODE & ~3, (u32)h_where);
    check_eq("jump-rpl-ignored-inward", c.eax, U_CODE);
}

static void call_gates(void)
{
    struct cpu c;

    gdt_set(T_SEL, gate(K_CODE, (u32)h_where, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0xdeadbeef);
    check("gate-to-ring0", c.eax == K_CODE && c.ecx == K_DATA);
    u32 *f = (void *)c.ebp;
    check_eq("gate-frame-at", c.ebp, (u32)trap_stack_top - 16);
    check("gate-frame", f[0] == (u32)f_lcall_back && (f[1] & 0xffff) == U_CODE &&
                            f[2] == (u32)frag_stack_top && (f[3] & 0xffff) == U_DATA);
    c = far_go(0, f_lcall, T_SEL, 0);
    check("gate-same-ring", c.eax == K_CODE && c.ebp == (u32)frag_stack_top - 8);
    c = far_go(0, f_ljmp, T_SEL, 0);
    check("gate-jump-same-ring", c.eax == K_CODE && c.ebp == (u32)frag_stack_top);
    c = far_go(3, f_ljmp, T_SEL, 0);
    check_fault("gate-jump-inward", &c, 13, K_CODE, f_ljmp);
    gdt_set(T_SEL, gate(R1_CODE & ~3, (u32)h_where, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0);
    check("gate-to-ring1", c.eax == R1_CODE && c.ecx == R1_DATA && c.ebp == tss.esp1 - 16);
    gdt_set(T_SEL, gate(R2_CODE & ~3, (u32)h_where, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0);
    check("gate-to-ring2", c.eax == R2_CODE && c.ecx == R2_DATA && c.ebp == tss.esp2 - 16);
    c = far_go(1, f_lcall, T_SEL, 0);
    check_fault("gate-to-outer", &c, 13, R2_CODE & ~3, f_lcall);

    gdt_set(T_SEL, gate(K_CODE, (u32)h_params, 0xec) | 2ull << 32);
    c = far_go(3, f_call_params, T_SEL, 0);
    check("gate-params-copied", c.vector == DONE && c.eax == 0x222 && c.ebx == 0x111);
    check_eq("gate-params-released-both", c.esi, (u32)frag_stack_top);
    gdt_set(T_SEL, gate(K_CODE, (u32)h_ret, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0);
    check("gate-call-ret", c.vector == DONE && c.eax == K_CODE && c.edx == U_CODE &&
                               c.ss == U_DATA && c.esp == (u32)frag_stack_top);

    gdt_set(T_SEL + 8, desc((u32)h_where, 0xffff, D_CODE0));
    gdt_set(T_SEL, gate(T_SEL + 8, 0, 0xe4)); /* 16-bit gate */
    c = far_go(3, f_lcall, T_SEL, 0);
    u16 *w = (void *)c.ebp;
    check_eq("gate16-frame-at", c.ebp, (u32)trap_stack_top - 8);
    check("gate16-frame", w[0] == (u16)(u32)f_lcall_back && w[1] == U_CODE &&
                              w[2] == (u16)(u32)frag_stack_top && w[3] == U_DATA);
    gdt_set(T_SEL, gate(T_SEL + 8, 0, 0xe4) | 1ull << 32); /* one word parameter */
    c = far_go(3, f_call_params, T_SEL, 0);
    w = (void *)c.ebp;
    check("gate16-param", c.ebp == (u32)trap_stack_top - 10 && w[2] == 0x222);

    gdt_set(T_SEL, gate(K_CODE, (u32)h_where, 0x8c)); /* DPL 0 */
    c = far_go(3, f_lcall, T_SEL, 0);
    check_fault("gate-dpl", &c, 13, T_SEL, f_lcall);
    c = far_go(0, f_lcall, T_SEL | 3, 0);
    check_fault("gate-rpl", &c, 13, T_SEL, f_lcall);
    gdt_set(T_SEL, gate(K_CODE, (u32)h_where, 0x6c));
    c = far_go(3, f_lcall, T_SEL, 0);
    check_fault("gate-not-present", &c, 11, T_SEL, f_lcall);
    gdt_set(T_SEL, gate(0, (u32)h_where, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0);
    check_fault("gate-null-code", &c, 13, 0, f_lcall);
    gdt_set(T_SEL, gate(K_DATA, (u32)h_where, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0);
    check_fault("gate-to-data", &c, 13, K_DATA, f_lcall);
    gdt_set(T_SEL, gate(K_CODE, (u32)h_where, 0xec));
    gdt_set(T_SEL, gate(T_SEL + 8, (u32)h_where, 0xec));
    gdt_set(T_SEL + 8, desc(0, 0xfffff, 0xc1b));
    c = far_go(3, f_lcall, T_SEL, 0);
    check_fault("gate-to-code-not-present", &c, 11, T_SEL + 8, f_lcall);
    /* Ring 1's stack is the broken one: reporting the fault needs ring 0's. */
    tss.ss1 = U_DATA;
    gdt_set(T_SEL, gate(R1_CODE & ~3, (u32)h_where, 0xec));
    c = far_go(3, f_lcall, T_SEL, 0);
    check_fault("gate-bad-inner-stack", &c, 10, U_DATA & ~3, f_lcall);
    check_eq("gate-bad-inner-stack-esp", c.esp, (u32)frag_stack_top);
    tss.ss1 = R1_DATA;
}

static struct cpu ret_to(const void *code, unsigned from, u32 cs, u32 ss, u16 ds, u16 fs)
{
    struct cpu c = cpu_make(from, code);

    c.eax = (u32)h_segs;
    c.edx = cs;
    c.ebx = (u32)frag_stack_top - 512;
    c.ecx = ss;
    c.esi = 2;
    c.ds = c.es = c.gs = ds;
    c.fs = fs;
    cpu_run(&c);
    return c;
}

static void returns(void)
{
    struct cpu c;

    gdt_set(T_SEL, desc(0, 0xfffff, 0xc9f)); /* conforming DPL 0 stays usable everywhere */
    c = ret_to(f_lret, 0, U_CODE, U_DATA, K_DATA, U_DATA);
    check("lret-0-to-3", c.vector == DONE && c.cs == U_CODE && c.ss == U_DATA &&
                             c.ebp == (u32)frag_stack_top - 512);
    check_eq("lret-nulls-inner-ds", c.eax, 0);
    check_eq("lret-nulls-inner-es", c.ebx, 0);
    check_eq("lret-keeps-outer-fs", c.ecx, U_DATA);
    check_eq("lret-nulls-inner-gs", c.edx, 0);
    c = ret_to(f_lret, 0, U_CODE, U_DATA, T_SEL, K_CODE);
    check_eq("lret-keeps-conforming", c.eax, T_SEL);
    check_eq("lret-nulls-inner-code", c.ecx, 0);
    c = ret_to(f_iret_out, 0, U_CODE, U_DATA, R1_DATA & ~3, R2_DATA);
    check("iret-nulls-ring1-ring2", c.vector == DONE && c.eax == 0 && c.ecx == 0);
    c = ret_to(f_lret, 0, R1_CODE, R1_DATA, R1_DATA, K_DATA);
    check("lret-0-to-1", c.cs == R1_CODE && c.ss == R1_DATA && c.eax == R1_DATA && c.ecx == 0);
    c = ret_to(f_lret, 1, R2_CODE, R2_DATA, R1_DATA, U_DATA);
    check("lret-1-to-2", c.cs == R2_CODE && c.ss == R2_DATA && c.eax == 0 && c.ecx == U_DATA);
    c = ret_to(f_lret, 2, U_CODE, U_DATA, R2_DATA, U_DATA);
    check("lret-2-to-3", c.cs == U_CODE && c.ss == U_DATA && c.eax == 0);
    c = ret_to(f_lret_n, 0, U_CODE, U_DATA, U_DATA, U_DATA);
    check("lret-n-releases-both", c.vector == DONE && c.ebp == (u32)frag_stack_top - 512 + 8);
    c = ret_to(f_lret, 3, R2_CODE, R2_DATA, U_DATA, U_DATA);
    check_fault("lret-inward", &c, 13, R2_CODE & ~3, f_lret + 4);
    check_eq("lret-inward-esp", c.esp, (u32)frag_stack_top - 16);
    c = ret_to(f_lret, 0, U_CODE, K_DATA, U_DATA, U_DATA);
    check_fault("lret-ss-wrong-rpl", &c, 13, K_DATA, f_lret + 4);
    c = ret_to(f_lret, 0, U_CODE, 0, U_DATA, U_DATA);
    check_fault("lret-ss-null", &c, 13, 0, f_lret + 4);
    c = ret_to(f_lret, 0, U_CODE & ~3, U_DATA, U_DATA, U_DATA); /* RPL 0 with DPL 3 */
    check_fault("lret-cs-dpl", &c, 13, U_CODE & ~3, f_lret + 4);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc7b)); /* DPL 3, not present */
    c = ret_to(f_lret, 0, T_SEL | 3, U_DATA, U_DATA, U_DATA);
    check_fault("lret-cs-not-present", &c, 11, T_SEL, f_lret + 4);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc73));
    c = ret_to(f_iret_out, 0, U_CODE, T_SEL | 3, U_DATA, U_DATA);
    check_fault("iret-ss-not-present", &c, 12, T_SEL, f_iret_out + 5);
    check_eq("iret-fault-esp", c.esp, (u32)frag_stack_top - 20);
    c = ret_to(f_iret_out, 0, 0, U_DATA, U_DATA, U_DATA);
    check_fault("iret-cs-null", &c, 13, 0, f_iret_out + 5);
    c = ret_to(f_iret_out, 0, R1_CODE, R1_DATA, R1_DATA, R1_DATA);
    check("iret-0-to-1", c.vector == DONE && c.cs == R1_CODE && c.ss == R1_DATA);
}

/* ---- FS, GS and wrap-around ------------------------------------------------------------------ */

FRAG(f_fs_gs, "movl %fs:4, %eax; movl %gs:4, %ebx; movl %ds:4(%esi), %ecx");
FRAG(f_wrap, "movl %fs:0x10, %eax");

static void fs_gs(void)
{
    struct cpu c = cpu_make(3, f_fs_gs);

    gdt_set(T_SEL, desc((u32)arena, 0xfff, 0x4f3));
    gdt_set(T_SEL + 8, desc((u32)arena + 0x1000, 0xfff, 0x4f3));
    poke((u32)arena + 4, 0xf5);
    poke((u32)arena + 0x1004, 0x95);
    poke((u32)arena + 0x2004, 0xd5);
    c.fs = T_SEL | 3;
    c.gs = (T_SEL + 8) | 3;
    c.esi = (u32)arena + 0x2000;
    cpu_run(&c);
    check("fs-gs-ds", c.eax == 0xf5 && c.ebx == 0x95 && c.ecx == 0xd5);
    gdt_set(T_SEL, desc((u32)arena - 0xc, 0xfffff, 0xcf3));
    c = cpu_make(3, f_wrap);
    c.fs = T_SEL | 3;
    cpu_run(&c);
    check_eq("negative-offset-base", c.eax, 0xf5);
    gdt_set(T_SEL, desc(0xfffff000, 0xfffff, 0xcf3));
    c = cpu_make(3, f_ld4);
    c.fs = T_SEL | 3;
    c.esi = (u32)arena + 0x1004;
    cpu_run(&c);
    check_eq("linear-address-wraps", c.eax, 0xf5);
}

void test_main(void)
{
    tss.ss1 = R1_DATA;
    tss.esp1 = (u32)ring_stack[1];
    tss.ss2 = R2_DATA;
    tss.esp2 = (u32)ring_stack[2];
    limit_checks();
    if (!skip_on_qemu("code limits", "not checked, the guest would run away"))
        code_limits();
    loading();
    local_table();
    cached_descriptors();
    sixteen_bit();
    conforming();
    call_gates();
    returns();
    fs_gs();
}
