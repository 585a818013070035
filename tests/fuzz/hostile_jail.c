/* SPDX-License-Identifier: MIT */
/* hostile_x86's jail: random user code under a small kernel that no fault can disturb. Each
 * exception and interrupt ends in one handler, which sends the user on at a random address with
 * usable registers. User pages show random frames, each with rights of its own: so what may change
 * is known exactly, and the run must not end by itself.
 *
 * Physical memory: 0 kernel (GDT, IDT, TSS, handlers, stack), then page tables, then frames. */
#include <string.h>

#include "hostile.h"

#define K          0x80000000u /* linear address of physical 0, supervisor only */
#define GDT        0x1000u
#define IDT        0x2000u
#define TSS        0x3000u
#define HANDLERS   0x4000u /* with error code; four bytes before that: without */
#define STACK      0x5000u /* a page; its first 4 bytes are the handler's random state */
#define TABLES     0x6000u
#define FRAMES     0x20000u
#define FRAMES_END (RAM_BYTES - ROM_BYTES)
#define USER       0x40000000u
#define USER_PAGES 256u
#define SEL_CODE0  0x08u
#define SEL_DATA0  0x10u
#define SEL_TSS    0x18u
#define SEL_CODE3  0x23u
#define SEL_DATA3  0x2bu

enum { P = 1, RW = 2, US = 4, ACCESSED = 0x20, DIRTY = 0x40 };

static void put(struct machine *m, uint32_t gpa, uint64_t x, unsigned size)
{
    phys_load(m->mem, gpa, &x, size);
}

static uint64_t get(const uint8_t *at, unsigned size)
{
    uint64_t x = 0;
    memcpy(&x, at, size);
    return x;
}

/* ---- the kernel -------------------------------------------------------------------------------
 */

static void build_descriptors(struct machine *m)
{
    static const uint64_t gdt[] = {
        0,
        UINT64_C(0x00cf9b000000ffff), /* SEL_CODE0 */
        UINT64_C(0x00cf93000000ffff),
        UINT64_C(0x80008b0000000067) | (uint64_t)TSS << 16,
        UINT64_C(0x00cffb000000ffff), /* SEL_CODE3 */
        UINT64_C(0x00cff3000000ffff),
        UINT64_C(0x40c0f3000000ffff), /* for FS and GS: base USER, 64 Ki pages */
        UINT64_C(0x4040f2008000001f), /* 32 bytes */
        UINT64_C(0x008ffb000000ffff), /* 16-bit code */
    };
    phys_load(m->mem, GDT, gdt, sizeof gdt);
    put(m, TSS + 4, K + STACK + 0x1000, 4);
    put(m, TSS + 8, SEL_DATA0, 4);
    put(m, TSS + 0x66, 0x68, 2);
    for (uint32_t n = 0; n < 256; n++) {
        bool error = n == 8 || (n >= 10 && n <= 14) || n == 17;
        uint32_t at = K + HANDLERS - (error ? 0 : 2);
        uint64_t type = n == 3 || n == 4 || n == 0x80 ? 0xee00 : 0x8e00;
        put(m, IDT + 8 * n,
            (at & 0xffff) | SEL_CODE0 << 16 | type << 32 | (uint64_t)(at >> 16) << 48, 8);
    }
}

struct code {
    uint8_t bytes[256];
    unsigned len;
};

static void emit(struct code *c, const char *hex, int64_t imm32)
{
    for (; *hex; hex += 2) {
        static const char digits[] = "0123456789abcdef";
        unsigned hi = (unsigned)(strchr(digits, hex[0]) - digits);
        unsigned lo = (unsigned)(strchr(digits, hex[1]) - digits);
        c->bytes[c->len++] = (uint8_t)(hi << 4 | lo);
    }
    if (imm32 >= 0)
        for (unsigned i = 0; i < 4; i++)
            c->bytes[c->len++] = (uint8_t)(imm32 >> 8 * i);
}

static void build_handler(struct machine *m, uint64_t *s)
{
    const uint32_t mask = USER_PAGES * 0x1000 - 1;
    struct code c = {.len = 0};
    emit(&c, "6a00", -1);      /* push 0, in place of an error code */
    emit(&c, "60", -1);        /* pusha */
    emit(&c, "b8", SEL_DATA3); /* mov eax, ...; mov ds, eax; mov es, eax */
    emit(&c, "8ed88ec0", -1);
    emit(&c, "a1", K + STACK); /* eax = state = state * m + a */
    emit(&c, "69c0", 1664525);
    emit(&c, "05", 1013904223);
    emit(&c, "a3", K + STACK);
    emit(&c, "c1e808", -1); /* shr eax, 8 */
    emit(&c, "25", mask);
    emit(&c, "05", USER);
    emit(&c, "89442424", -1); /* eip */
    emit(&c, "c7442428", SEL_CODE3);
    emit(&c, "8164242c", 0xff3ffeff & ~(int64_t)(FL_TF | FL_AC | FL_NT | FL_RF));
    emit(&c, "814c242c", FL_IF);
    emit(&c, "c7442430", USER + (below(s, mask) & (below(s, 2) ? ~3u : ~0xffdu))); /* esp */
    emit(&c, "c7442434", SEL_DATA3);
    emit(&c, "35", below(s, mask));
    emit(&c, "0d", 0xffe - below(s, 8)); /* edi: operands run over the end of the page */
    emit(&c, "890424", -1);
    emit(&c, "35", below(s, mask) & 0xf000);
    emit(&c, "89442404", -1); /* esi */
    emit(&c, "35", below(s, mask));
    emit(&c, "89442410", -1);               /* ebx */
    emit(&c, "c7442418", below(s, 0x3000)); /* ecx */
    emit(&c, "6183c404cf", -1);             /* popa; add esp, 4; iret */
    phys_load(m->mem, HANDLERS - 2, c.bytes, c.len);
    put(m, STACK, next(s), 4);
}

/* ---- address space ------------------------------------------------------------------------------
 */

struct tables {
    struct machine *m;
    bool pae;
    uint32_t next;
};

static void map(struct tables *t, uint32_t lin, uint64_t entry)
{
    unsigned size = t->pae ? 8 : 4;
    uint32_t pde = t->pae ? TABLES + 0x1000 * (1 + (lin >> 30)) + (lin >> 21 & 511) * 8
                          : TABLES + (lin >> 22) * 4;
    uint64_t now = 0;
    phys_read(t->m->mem, pde, &now, size);
    if (!now) {
        now = t->next | P | RW | US;
        put(t->m, pde, now, size);
        t->next += 0x1000;
    }
    put(t->m,
        (uint32_t)(now & ~UINT64_C(0xfff)) + (t->pae ? lin >> 12 & 511 : lin >> 12 & 1023) * size,
        entry, size);
}

static uint64_t random_entry(uint64_t *s)
{
    static const uint8_t rights[] = {P | RW | US, P | RW | US, P | RW | US, P | US,
                                     P | US,      P | RW,      P,           0};
    uint32_t frame = FRAMES + below(s, (FRAMES_END - FRAMES) >> 12) * 0x1000;
    if (below(s, 32) == 0)
        frame = FRAMES_END + below(s, 48) * 0x1000; /* ROM, devices */
    if (below(s, 64) == 0)
        frame = below(s, FRAMES);
    uint32_t right = rights[below(s, ARRAY_LEN(rights))];
    return (frame & 0xfffff000) | (frame < FRAMES ? right & ~US : right);
}

static void build_tables(struct machine *m, uint64_t *s, bool pae)
{
    struct tables t = {m, pae, TABLES + (pae ? 0x5000 : 0x1000)};
    for (unsigned i = 0; pae && i < 4; i++)
        put(m, TABLES + 8 * i, (TABLES + 0x1000 * (1 + i)) | P, 8);
    for (uint32_t a = 0; a < TABLES; a += 0x1000)
        map(&t, K + a, a | P | RW);
    for (uint32_t i = 0; i < USER_PAGES; i++)
        map(&t, USER + i * 0x1000, random_entry(s));
    map(&t, 0, random_entry(s));
    map(&t, UINT32_C(0xfffff000), random_entry(s));
}

/* ---- the user -----------------------------------------------------------------------------------
 */

struct bytes {
    uint8_t n;
    char is[7];
};
#define B(s)                                                                                       \
    {                                                                                              \
        sizeof s - 1, s                                                                            \
    }

/* Opcodes in front of a ModRM byte, prefixes included. */
static const struct bytes opcodes[] = {
    B("\x89"),         B("\x8b"),         B("\x88"),     B("\x8a"),         B("\x01"),
    B("\x29"),         B("\x33"),         B("\x66\x89"), B("\x66\x8b"),     B("\xc6"),
    B("\xc7"),         B("\x80"),         B("\x81"),     B("\x83"),         B("\xff"),
    B("\xf7"),         B("\xf6"),         B("\xd3"),     B("\xc1"),         B("\x87"),
    B("\x86"),         B("\x0f\xb6"),     B("\x0f\xbf"), B("\x0f\xb1"),     B("\x0f\xc1"),
    B("\xf0\x0f\xb1"), B("\xf0\xff"),     B("\x0f\xc7"), B("\x0f\xab"),     B("\x0f\xa3"),
    B("\x0f\xa4"),     B("\x8f"),         B("\x0f\x7f"), B("\x66\x0f\x7f"), B("\x0f\x11"),
    B("\xf3\x0f\x7f"), B("\xdd"),         B("\xdb"),     B("\xd9"),         B("\xdf"),
    B("\x64\x89"),     B("\x65\x8b"),     B("\x0f\x18"), B("\x0f\x90"),     B("\x0f\x45"),
    B("\x8d"),         B("\x0f\xae"),     B("\x8e"),     B("\x8c"),         B("\x0f\xc3"),
    B("\x66\x0f\x2b"), B("\x66\x0f\xd7"), B("\x0f\xba"), B("\x0f\xaf"),
};
/* Whole instructions. */
static const struct bytes whole[] = {
    B("\xa4"),         B("\xa5"),     B("\xaa"),     B("\xab"),
    B("\xf3\xa4"),     B("\xf3\xa5"), B("\xf3\xaa"), B("\xf3\xab"),
    B("\xf3\x66\xa5"), B("\x50"),     B("\x53"),     B("\x56"),
    B("\x58"),         B("\x5b"),     B("\x5f"),     B("\xc3"),
    B("\xc9"),         B("\x60"),     B("\x61"),     B("\x9c"),
    B("\x9d"),         B("\xfc"),     B("\xfd"),     B("\xac"),
    B("\xae"),         B("\xf2\xae"), B("\xf3\xa6"), B("\x6a\x00"),
    B("\xcd\x80"),     B("\xcc"),     B("\xd7"),     B("\xff\x37"),
    B("\xff\x33"),     B("\x0f\xa2"), B("\x0f\x31"), B("\xe2\xfe"),
    B("\xfa"),         B("\xfb"),     B("\xf4"),     B("\x1e"),
    B("\x0f\xa1"),     B("\x0f\xa9"), B("\xf3\x6c"), B("\xc8\x10\x00\x01"),
    B("\xff\xd7"),     B("\xff\xe3"), B("\xeb\xfe"),
};

static unsigned put_bytes(uint8_t *at, const struct bytes *b)
{
    memcpy(at, b->is, b->n);
    return b->n;
}

static void fill_frame(struct machine *m, uint64_t *s, uint32_t frame)
{
    static const uint8_t bases[] = {3, 6, 7, 3, 6, 7, 4, 5};
    uint8_t page[4096 + 32];
    unsigned at = 0;
    while (at < 4096) {
        uint32_t kind = below(s, 16);
        uint64_t tail = next(s);
        if (kind < 9) {
            unsigned mod = below(s, 3);
            at += put_bytes(page + at, &opcodes[below(s, ARRAY_LEN(opcodes))]);
            page[at++] = (uint8_t)(mod << 6 | below(s, 8) << 3 | bases[below(s, ARRAY_LEN(bases))]);
            if (mod == 2)
                tail = (uint64_t)(int64_t)((int32_t)below(s, 0x4000) - 0x2000);
            memcpy(page + at, &tail, 8);
            at += mod == 2 ? 4 : mod;
        } else if (kind < 13) {
            at += put_bytes(page + at, &whole[below(s, ARRAY_LEN(whole))]);
        } else if (kind < 15) { /* a conditional jump */
            page[at++] = (uint8_t)(0x70 | below(s, 16));
            page[at++] = (uint8_t)tail;
        } else {
            memcpy(page + at, &tail, 8);
            at += 1 + below(s, 6);
        }
    }
    phys_load(m->mem, frame, page, 4096);
}

/* ---- the whole, and what became of it -----------------------------------------------------------
 */

static void set_seg(struct machine *m, enum x86_sreg r, uint16_t sel)
{
    struct x86_vcpu *v = x86_of(m->vcpu);
    uint32_t d[2];
    phys_read(m->mem, GDT + (sel & ~7u), d, sizeof d);
    x86_seg_from_desc(&v->seg[r], d[0], d[1]);
    v->seg[r].sel = sel;
}

void hostile_jail(struct machine *m, uint64_t *s)
{
    struct x86_vcpu *v = x86_of(m->vcpu);
    bool pae = below(s, 2);
    static const uint8_t zero[FRAMES];
    phys_load(m->mem, 0, zero, sizeof zero);
    build_descriptors(m);
    build_handler(m, s);
    build_tables(m, s, pae);
    for (uint32_t frame = FRAMES; frame < RAM_BYTES; frame += 0x1000)
        fill_frame(m, s, frame);
    m->vcpu->isa->reset(m->vcpu);
    v->gdtr = (struct x86_dtr){K + GDT, 9 * 8 - 1};
    v->idtr = (struct x86_dtr){K + IDT, 2047};
    v->cr0 =
        CR0_ET | CR0_PE | CR0_PG | (below(s, 2) ? CR0_WP : 0) | (below(s, 4) ? 0 : CR0_AM) | CR0_NE;
    v->cr4 = (pae ? CR4_PAE : 0) | (below(s, 2) ? CR4_OSFXSR : 0);
    v->cr3 = TABLES;
    for (unsigned i = 0; i < 4; i++)
        v->pdpte[i] = (TABLES + 0x1000 * (1 + i)) | P;
    v->cpl = 3;
    v->seg[X86_LDTR] =
        (struct x86_seg){0}; /* not the one of reset: 64 KiB at linear 0, a user page */
    set_seg(m, X86_TR, SEL_TSS);
    for (enum x86_sreg r = X86_ES; r <= X86_GS; r++)
        set_seg(m, r, r == X86_CS ? SEL_CODE3 : SEL_DATA3);
    for (unsigned r = 0; r < 8; r++)
        v->gpr[r] = USER + below(s, USER_PAGES * 0x1000);
    v->eip = USER + below(s, USER_PAGES * 0x1000);
    x86_set_eflags(v, FL_FIXED | FL_IF);
    x86_tlb_flush(v, false);
    x86_update_mode(v);
}

/* Frames that user code can write to. */
static void note_writable(const struct machine *m, bool *writable)
{
    unsigned size = x86_of(m->vcpu)->cr4 & CR4_PAE ? 8 : 4;
    for (uint32_t at = TABLES + (size == 8 ? 0x5000 : 0x1000); at < FRAMES; at += size) {
        uint64_t e = get(m->before + at, size);
        if ((e & (P | RW | US)) == (P | RW | US) && e < FRAMES_END)
            writable[e >> 12] = true;
    }
}

/* Bits that the processor itself sets in the kernel's memory. */
static uint8_t processor_owned(const struct machine *m, uint32_t gpa)
{
    unsigned size = x86_of(m->vcpu)->cr4 & CR4_PAE ? 8 : 4;
    if (gpa >= TABLES)
        return gpa % size == 0 ? ACCESSED | DIRTY : 0;
    return gpa - GDT < 9 * 8 && gpa % 8 == 5 ? 1 : 0;
}

const char *hostile_escape(const struct machine *m, uint32_t *gpa)
{
    const uint8_t *now = m->file + CANARY_BYTES;
    bool writable[RAM_BYTES >> 12] = {false};
    note_writable(m, writable);
    writable[STACK >> 12] = true;
    for (*gpa = 0; *gpa < RAM_BYTES; ++*gpa) {
        if (*gpa % 0x1000 == 0 &&
            (writable[*gpa >> 12] || !memcmp(now + *gpa, m->before + *gpa, 0x1000))) {
            *gpa += 0xfff;
            continue;
        }
        uint8_t own = *gpa < FRAMES ? processor_owned(m, *gpa) : 0;
        if ((now[*gpa] ^ m->before[*gpa]) & ~own)
            return *gpa < FRAMES ? "user code changed the kernel's memory"
                                 : "user code changed a frame it may not write to";
    }
    return NULL;
}
