/* SPDX-License-Identifier: MIT */
/* Library of the bare-metal test guests.
 *
 * A test is a sequence of checks; each prints "ok NAME" or "FAIL NAME: got .. want ..". Its core
 * is cpu_run(): a processor context (registers, selectors, ring) goes in, runs until the next
 * event of any kind, and comes out with the event's vector, error code and frame. A code
 * fragment that finishes normally ends with int $0x81 (FRAG adds it), so "it ran" is vector
 * 0x81 and "it faulted" is anything else.
 *
 * Set up by lib_start before test_main: flat segments for all rings, TSS, IDT of 256 gates,
 * interrupts off, both PICs masked and remapped to 0x20, paging off. */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* ---- checks ---------------------------------------------------------------------------------- */

extern unsigned passed, failed;
void put_char(char c);
void put_str(const char *s);
void put_hex(u32 x);
/* Both print one line and count. */
void check_eq(const char *name, u32 got, u32 want);
void check(const char *name, bool ok);
/* Checks that QEMU's TCG is known to get wrong, so that it can serve as an oracle for the rest. A
 * test defines its own list if it needs one; it has effect only under TCG (CPUID 40000000h). A
 * name may end in '*'. Ends with a NULL name. */
struct deviation {
    const char *name, *reason;
};
extern const struct deviation qemu_deviations[];
bool on_qemu(void);
/* Leave out a check that would wreck the machine under QEMU; true if to be left out. */
bool skip_on_qemu(const char *name, const char *reason);
/* Print the totals and leave the machine with 0 or 1. */
_Noreturn void finish(void);
_Noreturn void leave(u8 code);
void test_main(void);

void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* ---- the machine ----------------------------------------------------------------------------- */

#define K_CODE      0x08 /* flat, by ring */
#define K_DATA      0x10
#define R1_CODE     0x19
#define R1_DATA     0x21
#define R2_CODE     0x2a
#define R2_DATA     0x32
#define U_CODE      0x3b
#define U_DATA      0x43
#define TSS_SEL     0x48
#define LDT_SEL     0x50 /* not present until ldt_use() */
#define T_SEL       0x60 /* first of the slots a test may use as it likes */
#define GDT_ENTRIES 64

/* Access byte and flags nibble of a descriptor: 0xFAA, F = G D L AVL. */
#define D_CODE0      0xc9b
#define D_DATA0      0xc93
#define D_CODE(ring) (D_CODE0 | (ring) << 5)
#define D_DATA(ring) (D_DATA0 | (ring) << 5)

struct tss {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
        edi, es, cs, ss, ds, fs, gs, ldt;
    u16 trap, iomap;
    u8 bitmap[8192 + 4];
};

struct dtr {
    u16 limit;
    u32 base;
} __attribute__((packed));

extern u64 gdt[GDT_ENTRIES], idt[256];
extern struct tss tss;
extern struct dtr gdtr, idtr;
extern u32 boot_magic, boot_info; /* as the loader handed them over */
extern u32 enter_esp;             /* kernel stack while a context runs */
extern char trap_stack_top[];
extern u8 image_start[], image_end[];
extern u8 frag_stack_top[]; /* stack of contexts made by cpu_make */

/* Descriptors. limit is the 20-bit field as stored; attr as D_*. */
u64 desc(u32 base, u32 limit, u32 attr);
u64 gate(u16 sel, u32 offset, u8 access);
void gdt_set(u16 sel, u64 d);
/* Exact limit in bytes (0 based, < 1 MiB) at byte granularity, 32-bit. */
void gdt_seg(u16 sel, u32 base, u32 limit, u32 access);
void idt_set(u8 vector, u64 g);
/* Put back the standard gate of a vector (DPL 3 for 3, 4, 0x80.., 0x81; else 0). */
void idt_reset(u8 vector);
void idt_no_error(u8 vector); /* a DPL 3 gate for "int n" of a vector that has error codes */

/* ---- contexts -------------------------------------------------------------------------------- */

struct cpu { /* offsets known to start.S */
    u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u32 eip, eflags, cs, ss, ds, es, fs, gs;
    u32 vector, error, cr2; /* out: what ended it */
};

/* The frame as a stub leaves it; esp and ss are present for inner-ring entries only. */
struct frame {
    u32 gs, fs, es, ds, edi, esi, ebp, esp0, ebx, edx, ecx, eax, vector, error, eip, cs, eflags,
        esp, ss, v_es, v_ds, v_fs, v_gs;
};

/* A context at `ring` that starts at `code` with flat segments, zero registers, flags 2. */
struct cpu cpu_make(unsigned ring, const void *code);
/* Run until an event that has no hook. */
void cpu_run(struct cpu *c);
struct cpu run(unsigned ring, const void *code);
/* An event with a hook is handled by it and returns by IRET; the hook may edit the frame. What a
 * hook shares with the rest of a test must be volatile. */
typedef void (*hook_fn)(struct frame *f);
extern hook_fn hook[256];

/* One check: the context ended with this vector, and for faults this error code and eip. */
void check_done(const char *name, const struct cpu *c);
void check_fault(const char *name, const struct cpu *c, u32 vector, u32 error, const void *eip);
/* As check_fault with error 0, after running the fragment at the ring. */
void expect_fault(const char *name, unsigned ring, const void *code, u32 vector);
void expect_done(const char *name, unsigned ring, const void *code);

/* A code fragment that ends by int $0x81. Its first instruction is the one under test unless the
 * text defines NAME_at. */
#define DONE 0x81
#define FRAG(name, text)                                                                           \
    asm(".pushsection .text\n.globl " #name "\n" #name ":\n\t" text                                \
        "\n\tint $0x81\n\tud2\n.popsection");                                                      \
    extern const char name[]
#define LABEL(name) extern const char name[]

/* ---- instructions ---------------------------------------------------------------------------- */

static inline void outb(u16 port, u8 x)
{
    asm volatile("outb %0, %1" ::"a"(x), "Nd"(port));
}
static inline u8 inb(u16 port)
{
    u8 x;
    asm volatile("inb %1, %0" : "=a"(x) : "Nd"(port));
    return x;
}
#define CR_ACCESSORS(n)                                                                            \
    static inline u32 read_cr##n(void)                                                             \
    {                                                                                              \
        u32 x;                                                                                     \
        asm volatile("mov %%cr" #n ", %0" : "=r"(x)::"memory");                                    \
        return x;                                                                                  \
    }                                                                                              \
    static inline void write_cr##n(u32 x)                                                          \
    {                                                                                              \
        asm volatile("mov %0, %%cr" #n ::"r"(x) : "memory");                                       \
    }
CR_ACCESSORS(0)
CR_ACCESSORS(2)
CR_ACCESSORS(3)
CR_ACCESSORS(4)
#define DR_ACCESSORS(n)                                                                            \
    static inline u32 read_dr##n(void)                                                             \
    {                                                                                              \
        u32 x;                                                                                     \
        asm volatile("mov %%dr" #n ", %0" : "=r"(x));                                              \
        return x;                                                                                  \
    }                                                                                              \
    static inline void write_dr##n(u32 x)                                                          \
    {                                                                                              \
        asm volatile("mov %0, %%dr" #n ::"r"(x) : "memory");                                       \
    }
DR_ACCESSORS(0)
DR_ACCESSORS(1)
DR_ACCESSORS(2)
DR_ACCESSORS(3)
DR_ACCESSORS(6)
DR_ACCESSORS(7)
static inline void lgdt(const struct dtr *d)
{
    asm volatile("lgdt %0" ::"m"(*d));
}
static inline void lidt(const struct dtr *d)
{
    asm volatile("lidt %0" ::"m"(*d));
}
static inline void lldt(u16 sel)
{
    asm volatile("lldt %0" ::"r"(sel));
}
static inline void ltr(u16 sel)
{
    asm volatile("ltr %0" ::"r"(sel));
}
static inline void cli(void)
{
    asm volatile("cli" ::: "memory");
}
static inline void sti(void)
{
    asm volatile("sti" ::: "memory");
}
static inline u32 flags(void)
{
    u32 x;
    asm volatile("pushf; pop %0" : "=r"(x));
    return x;
}
/* Plain accesses the compiler may neither drop nor merge. */
static inline u32 peek(u32 a)
{
    return *(volatile u32 *)a;
}
static inline void poke(u32 a, u32 x)
{
    *(volatile u32 *)a = x;
}
static inline u8 peek8(u32 a)
{
    return *(volatile u8 *)a;
}
static inline void poke8(u32 a, u8 x)
{
    *(volatile u8 *)a = x;
}

/* Paging on with 4 MiB pages, the whole space mapped onto itself, user and writable. The directory
 * is the test's to edit afterwards. */
extern u32 page_dir[1024];
void paging_on(void);
void paging_off(void);
/* Wait, with interrupts off, until the PIC shows a request on IRQ 0 (the PIT must be running). */
void wait_irq0(void);
/* Task state for a task that starts at `code` in ring 0 with the stack `esp`. */
void tss_make(struct tss *t, const void *code, u32 esp);
/* Make `sel` an available 32-bit TSS descriptor for t (0x67 bytes). */
void gdt_tss(u16 sel, const struct tss *t);
/* Back to the main TSS, whatever state its descriptor is in. */
void tss_restore(void);

/* Interrupt controllers: program both (vectors 0x20 and 0x28, 8086 mode), mask all. */
void pic_init(void);
void pic_mask(u16 mask); /* bit n masks IRQ n */
/* PIT channel 0: mode and 16-bit count (0 means 65536). */
void pit_start(u8 mode, u16 count);

#define CF    1u
#define ZF    0x40u
#define TF    0x100u
#define IF    0x200u
#define DF    0x400u
#define OF    0x800u
#define IOPL3 0x3000u
#define NT    0x4000u
#define RF    0x10000u
#define VM    0x20000u
#define AC    0x40000u

#endif
