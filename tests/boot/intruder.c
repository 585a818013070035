/* SPDX-License-Identifier: MIT */
/* Guest program: a user of the guest who looks for the monitor. It tries every way that i386 has
 * out of its place: selectors of the host, system calls of all kinds and encodings, privileged
 * instructions, the tables of the processor, flags, the upper half, every page of 4 GiB, more
 * mappings than there can be. All that it may see is what the guest's processor and kernel say.
 *
 *   intruder          everything, while three other processes compute
 *   intruder traps    only what every i386 Linux answers alike, so that a host can be asked, too
 *
 * Prints what it saw, a line per attempt or sweep, without anything that differs from run to run;
 * intruder.expected has the lines. `intruder: done` comes last. */
#include "user.h"

static u8 *code;   /* a page to write instructions to */
static u8 *buffer; /* memory for operands */

static void put_bytes(const char *bytes, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        code[i] = (u8)bytes[i];
    code[len] = 0xc3;
}

/* ---- single instructions --------------------------------------------------------------------- */

/* With eax = 0, ecx = 1, edx = port 0x80, ebx, esi, edi = buffer, which holds zeroes. */
#define I(name, bytes)                                                                             \
    {                                                                                              \
        name, bytes, sizeof(bytes) - 1                                                             \
    }
static const struct instruction {
    const char *name, *bytes;
    unsigned len;
} everywhere[] = {
    I("hlt", "\xf4"),
    I("cli", "\xfa"),
    I("sti", "\xfb"),
    I("in al, dx", "\xec"),
    I("in eax, imm", "\xe5\x80"),
    I("out dx, al", "\xee"),
    I("insb", "\x6c"),
    I("rep outsl", "\xf3\x6f"),
    I("lgdt", "\x0f\x01\x13"),
    I("lidt", "\x0f\x01\x1b"),
    I("lldt", "\x0f\x00\xd0"),
    I("ltr", "\x0f\x00\xd8"),
    I("lmsw", "\x0f\x01\xf0"),
    I("clts", "\x0f\x06"),
    I("mov eax, cr0", "\x0f\x20\xc0"),
    I("mov cr0, eax", "\x0f\x22\xc0"),
    I("mov eax, cr2", "\x0f\x20\xd0"),
    I("mov cr3, eax", "\x0f\x22\xd8"),
    I("mov cr4, eax", "\x0f\x22\xe0"),
    I("mov eax, dr0", "\x0f\x21\xc0"),
    I("mov dr7, eax", "\x0f\x23\xf8"),
    I("invd", "\x0f\x08"),
    I("wbinvd", "\x0f\x09"),
    I("invlpg", "\x0f\x01\x3b"),
    I("rdmsr", "\x0f\x32"),
    I("wrmsr", "\x0f\x30"),
    I("sysexit", "\x0f\x35"),
    I("rsm", "\x0f\xaa"),
    I("ud2", "\x0f\x0b"),
    I("int3", "\xcc"),
    I("int1", "\xf1"),
    I("into", "\x70\x02\xb0\x7f\x04\x7f\xce"),
    I("bound", "\x62\x03"),
    I("div", "\xf7\xf0"),
    I("swapgs", "\x0f\x01\xf8"),
    I("rdfsbase", "\xf3\x0f\xae\xc0"),
    I("rdgsbase", "\xf3\x0f\xae\xc8"),
    I("wrfsbase", "\xf3\x0f\xae\xd0"),
    I("wrgsbase", "\xf3\x0f\xae\xd8"),
    I("lock nop", "\xf0\x90"),
    I("mov cs, eax", "\x8e\xc8"),
    I("lds of registers", "\xc5\xf8"),
    I("a page that is not there", "\xa1\x00\x00\x00\x00"),
};
/* What depends on the processor and its kernel. */
static const struct instruction here[] = {
    I("syscall", "\x0f\x05"),
    I("rex.w syscall", "\x48\x0f\x05\x40"),
    I("sysret", "\x0f\x07"),
    I("rex.w sysret", "\x48\x0f\x07"),
    I("rex.w sysexit", "\x48\x0f\x35"),
    I("rdpmc", "\x0f\x33"),
    I("xgetbv", "\x0f\x01\xd0"),
    I("xsetbv", "\x0f\x01\xd1"),
    I("vmcall", "\x0f\x01\xc1"),
    I("vmmcall", "\x0f\x01\xd9"),
    I("vmrun", "\x0f\x01\xd8"),
    I("vmlaunch", "\x0f\x01\xc2"),
    I("clgi", "\x0f\x01\xdd"),
    I("clac", "\x0f\x01\xca"),
    I("stac", "\x0f\x01\xcb"),
    I("monitor", "\x0f\x01\xc8"),
    I("mwait", "\x0f\x01\xc9"),
    I("rdtscp", "\x0f\x01\xf9"),
    I("rdpid", "\xf3\x0f\xc7\xf8"),
    I("rdrand", "\x0f\xc7\xf0"),
    I("xbegin", "\xc7\xf8\x00\x00\x00\x00"),
    I("xsave", "\x0f\xae\x23"),
    I("vex vaddps", "\xc5\xf8\x58\xc0"),
    I("evex vaddps", "\x62\xf1\x7c\x48\x58\xc0"),
    I("invpcid", "\x66\x0f\x38\x82\x03"),
    I("wrpkru", "\x0f\x01\xef"),
};

static void set_regs(void)
{
    regs = (struct regs){.ecx = 1, .edx = 0x80};
    regs.ebx = regs.esi = regs.edi = (u32)buffer;
}

static void try_instructions(const char *what, const struct instruction *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        put_bytes(list[i].bytes, list[i].len);
        set_regs();
        attempt(code);
        put(what);
        put(list[i].name);
        put(": ");
        put_ending();
        end_line();
    }
}

/* All software interrupts; most end alike. */
static void interrupts(void)
{
    unsigned refused = 0;
    for (unsigned n = 0; n < 256; n++) {
        const char bytes[] = {'\xcd', (char)n};
        put_bytes(bytes, 2);
        set_regs();
        regs.eax = SYS_GETPID;
        attempt(code);
        if (ending.signal && ending.trap == 13 && ending.error == n * 8 + 2) {
            refused++;
            continue;
        }
        put("int ");
        put_hex(n, 2);
        put(": ");
        put_ending();
        end_line();
    }
    put_number(refused);
    put(" interrupts refused");
    end_line();
}

/* ---- selectors ------------------------------------------------------------------------------- */

/* A sweep: code that gets the selector in ax or at `far`, and marks ebp-free success in ecx = 0. */
struct far {
    u32 offset;
    u16 selector;
} far;
void sweep_landing(void), sweep_ljmp(void), sweep_lcall(void), sweep_lret(void), sweep_iret(void);
void sweep_iretq(void), sweep_lretq(void), sweep_ds(void), sweep_es(void), sweep_fs(void);
void sweep_gs(void), sweep_ss(void), sweep_pop_ds(void), sweep_les(void), sweep_lss(void);
void sweep_lar(void), sweep_lsl(void), sweep_verr(void), sweep_verw(void);
/* ecx comes in as 1. Far transfers go to sweep_landing, which returns to attempt_run's ret address
 * by dropping what is on the stack. */
__asm__(
    "sweep_landing: xor %ecx, %ecx; jmp attempt_landed\n"
    "sweep_ljmp:  ljmp *far\n"
    "sweep_lcall: lcall *far\n"
    "sweep_lret:  push %eax; push $sweep_landing; lret\n"
    "sweep_iret:  pushfl; push %eax; push $sweep_landing; iret\n"
    "sweep_lretq: push $0; push %eax; push $0; push $sweep_landing; .byte 0x48, 0xcb\n"
    "sweep_iretq: push $0; push %eax; push $0; push $sweep_landing; .byte 0x48, 0xcf\n"
    "sweep_ds:  mov %ax, %ds; xor %ecx, %ecx; mov %ds, %eax; ret\n"
    "sweep_es:  mov %ax, %es; xor %ecx, %ecx; mov %es, %eax; ret\n"
    "sweep_fs:  mov %ax, %fs; xor %ecx, %ecx; mov %fs, %eax; ret\n"
    "sweep_gs:  mov %ax, %gs; xor %ecx, %ecx; mov %gs, %eax; ret\n"
    "sweep_ss:  mov %ss, %edx; mov %ax, %ss; mov %dx, %ss; xor %ecx, %ecx; ret\n"
    "sweep_pop_ds: push %eax; pop %ds; xor %ecx, %ecx; mov %ds, %eax; ret\n"
    "sweep_les: les far, %edx; xor %ecx, %ecx; mov %es, %eax; ret\n"
    "sweep_lss: mov %ss, %edi; mov %esp, far; lss far, %esp; mov %di, %ss; xor %ecx, %ecx; ret\n"
    "sweep_lar:  mov %eax, %edx; lar %edx, %eax; mov $0, %ecx; setnz %cl; ret\n"
    "sweep_lsl:  mov %eax, %edx; lsl %edx, %eax; mov $0, %ecx; setnz %cl; ret\n"
    "sweep_verr: mov %eax, %edx; mov $0, %eax; verr %dx; mov $0, %ecx; setnz %cl; ret\n"
    "sweep_verw: mov %eax, %edx; mov $0, %eax; verw %dx; mov $0, %ecx; setnz %cl; ret\n");

#define S(name, step, value)                                                                       \
    {                                                                                              \
#name, sweep_##name, step, value, 0                                                        \
    }
#define N(name, step)                                                                              \
    {                                                                                              \
#name, sweep_##name, step, 0, 1                                                            \
    }
static const struct sweep {
    const char *name;
    void (*code)(void);
    unsigned step; /* between selectors, above the first 1,024 */
    int value;     /* what is in eax is worth a look */
    int null;      /* 32-bit code finds a null selector where 64-bit code has its own */
} sweeps[] = {
    S(lar, 1, 1),  S(lsl, 1, 1),   S(verr, 1, 0),  S(verw, 1, 0),    S(ds, 7, 1),   S(es, 61, 1),
    S(fs, 61, 1),  S(gs, 61, 1),   S(ss, 61, 0),   S(pop_ds, 61, 1), S(les, 61, 1), S(lss, 61, 0),
    S(ljmp, 7, 0), S(lcall, 7, 0), S(lret, 61, 0), S(iret, 61, 0),   N(lretq, 61),  N(iretq, 61),
};

/* Selectors that follow each other and end alike are one line. */
struct run {
    u32 first, last, value;
    int kind; /* 0 nothing, 1 success, 2 an ending of its own */
    struct ending ending;
};

static void put_run(const struct sweep *s, const struct run *r)
{
    if (!r->kind)
        return;
    put(s->name);
    put(" ");
    put_hex(r->first, 4);
    put("-");
    put_hex(r->last, 4);
    put(": ");
    ending = r->ending;
    put_ending();
    if (r->kind == 1 && s->value) {
        put(" ");
        put_hex(r->value, 8);
    }
    end_line();
}

/* How this selector ends: false for the way of all that are not for users: no success of LAR and
 * the like, a general protection fault that names the selector for the rest. */
static int special(const struct sweep *s, u32 selector, struct run *r)
{
    set_regs();
    regs.eax = selector;
    far = (struct far){(u32)sweep_landing, (u16)selector};
    attempt((const void *)(u32)s->code);
    if (!ending.signal && regs.ecx)
        return 0;
    if (ending.signal && ending.trap == 13 && ending.error == (s->null ? 0 : selector & 0xfffc))
        return 0;
    /* Loads of segment registers give back what was loaded. */
    u32 value = s->value && regs.eax != selector ? regs.eax : 0;
    *r = (struct run){selector, selector, value, ending.signal ? 2 : 1, ending};
    return 1;
}

static void sweep(const struct sweep *s)
{
    struct run now = {0}, last = {0};
    unsigned refused = 0;
    for (u32 selector = 0; selector < 0x10000; selector += selector < 1024 ? 1 : s->step) {
        if (!special(s, selector, &now)) {
            refused++;
            continue;
        }
        if (last.kind == now.kind && last.last + 1 == selector && last.value == now.value &&
            last.ending.trap == now.ending.trap && last.ending.error == now.ending.error) {
            last.last = selector;
            continue;
        }
        put_run(s, &last);
        last = now;
    }
    put_run(s, &last);
    put(s->name);
    put(": ");
    put_number(refused);
    put(" selectors refused");
    end_line();
}

/* The selectors of a 64-bit host, by immediate operands, as code that is written anew each time. */
static void host_selectors(void)
{
    static const u16 selectors[] = {0x08, 0x10, 0x18, 0x20, 0x23, 0x2b, 0x33, 0x3b, 0x63,
                                    0x6b, 0x53, 0xe0, 0x07, 0x0f, 0x17, 0x27, 0x2f};
    for (unsigned i = 0; i < sizeof selectors / sizeof *selectors; i++)
        for (unsigned call = 0; call < 2; call++) {
            u32 target = (u32)sweep_landing;
            u8 *p = code;
            *p++ = call ? 0x9a : 0xea;
            for (unsigned b = 0; b < 4; b++)
                *p++ = (u8)(target >> 8 * b);
            *p++ = (u8)selectors[i];
            *p++ = (u8)(selectors[i] >> 8);
            set_regs();
            attempt(code);
            put(call ? "far call " : "far jump ");
            put_hex(selectors[i], 4);
            put(": ");
            put_ending();
            end_line();
        }
}

/* ---- what the processor tells of itself ------------------------------------------------------ */

void tell_sgdt(void), tell_sidt(void), tell_sldt(void), tell_str(void), tell_smsw(void);
void tell_segments(void), tell_flags(void), tell_flags_iret(void), tell_step(void), tell_gs(void);
__asm__("tell_sgdt: sgdt (%ebx); ret\n"
        "tell_sidt: sidt (%ebx); ret\n"
        "tell_sldt: sldt %eax; movl $-1, (%ebx); sldt (%ebx); ret\n"
        "tell_str:  str %eax; movl $-1, (%ebx); str (%ebx); ret\n"
        "tell_smsw: smsw %eax; movl $-1, (%ebx); smsw (%ebx); ret\n"
        "tell_segments: mov %cs, %eax; mov %ds, %ecx; mov %es, %edx; mov %ss, %esi\n"
        "    push %cs; pop %edi; shl $16, %eax; or %edi, %eax\n"
        "    push %ss; pop %edi; shl $16, %esi; or %edi, %esi; mov %gs, %edi\n"
        "    push %ds; pop %ebp; shl $16, %ecx; or %ebp, %ecx\n"
        "    push %es; pop %ebp; shl $16, %edx; or %ebp, %edx\n"
        "    mov %fs, %ebp; shl $16, %edi; or %ebp, %edi; ret\n"
        "tell_flags: push %eax; popfl; pushfl; pop %eax; push $2; popfl; ret\n"
        "tell_flags_iret: push %eax; push %cs; push $1f; iret\n"
        "1:  pushfl; pop %eax; push $2; popfl; ret\n"
        "tell_step: push $0x102; popfl; nop; nop; ret\n"
        "tell_gs: mov %ax, %gs; mov %gs:0, %eax; mov %gs:4, %edx; ret\n");

static u32 word(const u8 *at)
{
    return at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24;
}

/* The base of a table is the guest kernel's: in its half, the same each time, and not readable. */
static void tell_table(const char *name, void (*store)(void))
{
    u32 first = 0;
    for (unsigned i = 0; i < 1000; i++) {
        set_regs();
        attempt((const void *)(u32)store);
        u32 base = word(buffer + 2);
        if (ending.signal || (i && base != first))
            fail(name);
        first = base;
        if (i % 100 == 99)
            sys1(SYS_SCHED_YIELD, 0);
    }
    put(name);
    put(": limit ");
    put_hex(word(buffer) & 0xffff, 4);
    put(first >= 0xc0000000 ? " base in the kernel's half" : " base ELSEWHERE ");
    if (first < 0xc0000000)
        put_hex(first, 8);
    end_line();
}

static void tell_regs(const char *name, void (*read)(void), u32 eax, int all)
{
    set_regs();
    regs.eax = eax;
    attempt((const void *)(u32)read);
    put(name);
    put(": ");
    put_ending();
    put(" eax ");
    put_hex(regs.eax, 8);
    if (all) {
        put(" ecx ");
        put_hex(regs.ecx, 8);
        put(" edx ");
        put_hex(regs.edx, 8);
        put(" esi ");
        put_hex(regs.esi, 8);
        put(" edi ");
        put_hex(regs.edi, 8);
    } else if (!ending.signal) {
        put(" memory ");
        put_hex(word(buffer), 8);
    }
    end_line();
}

static void cpuid(u32 leaf, u32 *r)
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

static void tell_identity(void)
{
    u32 r[4], again[4];
    char vendor[13] = {0};
    cpuid(0, r);
    for (unsigned i = 0; i < 12; i++)
        vendor[i] = (char)(r[(const u8[]){1, 3, 2}[i / 4]] >> 8 * (i % 4));
    put("cpuid vendor ");
    put(vendor);
    cpuid(1, r);
    put(" signature ");
    put_hex(r[0], 8);
    put(r[2] & 1u << 27 ? " OSXSAVE" : "");
    for (unsigned i = 0; i < 1000; i++) {
        cpuid(1, again);
        if (r[0] != again[0] || r[2] != again[2] || r[3] != again[3])
            fail("cpuid changes");
    }
    end_line();
}

static void tell_time(void)
{
    u64 first, last = 0;
    unsigned moved = 0;
    __asm__ volatile("rdtsc" : "=A"(first));
    for (unsigned i = 0; i < 10000; i++) {
        u64 now;
        __asm__ volatile("rdtsc" : "=A"(now));
        if (now < last || now < first)
            fail("time stamp goes back");
        moved += now != last;
        last = now;
    }
    put(moved > 1000 ? "rdtsc: moves on" : "rdtsc: stands still");
    end_line();
}

/* A segment of our own shows our memory, whatever bases the host's FS and GS have. */
static void tell_thread_area(void)
{
    struct {
        u32 entry, base, limit, flags;
    } area = {~0u, (u32)buffer, 0xfffff, 0x51}; /* 32-bit, limit in pages, usable */
    if (sys1(SYS_SET_THREAD_AREA, (long)&area))
        fail("set_thread_area");
    ((u32 *)buffer)[0] = 0x11223344;
    ((u32 *)buffer)[1] = 0x55667788;
    set_regs();
    regs.eax = area.entry * 8 + 3;
    attempt((const void *)(u32)tell_gs);
    put("own segment: ");
    put_hex(regs.eax, 8);
    put(" ");
    put_hex(regs.edx, 8);
    end_line();
    area.base = area.limit = 0;
    area.flags = 0x28; /* empty */
    sys1(SYS_SET_THREAD_AREA, (long)&area);
}

static void tell(void)
{
    tell_table("sgdt", tell_sgdt);
    tell_table("sidt", tell_sidt);
    tell_regs("sldt", tell_sldt, 0, 0);
    tell_regs("str", tell_str, 0, 0);
    tell_regs("smsw", tell_smsw, 0, 0);
    tell_regs("segments", tell_segments, 0, 1);
    /* Neither IF, IOPL, VM, VIF nor VIP can be changed; ID, AC, NT and what programs use can. */
    tell_regs("popf none", tell_flags, 0, 1);
    tell_regs("popf IF IOPL VM RF VIF VIP", tell_flags, 0x1b3200, 1);
    tell_regs("popf all but TF", tell_flags, 0xfffffeff, 1);
    tell_regs("iret none", tell_flags_iret, 0, 1);
    tell_regs("iret all but TF, NT", tell_flags_iret, 0xffffbeff & ~0x20000u, 1);
    tell_regs("popf TF", tell_step, 0, 1);
    tell_identity();
    tell_time();
    tell_thread_area();
}

/* sysenter by the kernel's convention: it comes back behind its own in the vDSO, which pops ebp,
 * edx and ecx and returns. The syscall number is getpid's. */
void try_sysenter(void);
__asm__("try_sysenter: push %ecx; push %edx; push %ebp; mov %esp, %ebp; sysenter\n");

static void sysenter(void)
{
    long pid = sys1(SYS_GETPID, 0);
    set_regs();
    regs.eax = SYS_GETPID;
    attempt((const void *)(u32)try_sysenter);
    put("sysenter: ");
    put_ending();
    put(ending.signal ? "" : (long)regs.eax == pid ? " my pid" : " SOMETHING ELSE");
    end_line();
}

/* ---- memory ---------------------------------------------------------------------------------- */

void touch_read(void), touch_write(void), touch_jump(void), touch_call(void), touch_push(void);
__asm__("touch_read: movb (%eax), %dl; ret\n"
        "touch_write: movb $0xa5, (%eax); ret\n"
        "touch_jump: jmp *%eax\n"
        "touch_call: call *%eax\n"
        "touch_push: mov %esp, %esi; mov %eax, %esp; push %ecx; mov %esi, %esp; ret\n");

static void upper_half(void)
{
    static void (*const ways[])(void) = {touch_read, touch_write, touch_jump, touch_call,
                                         touch_push};
    static const char *const names[] = {"load", "store", "jump", "call", "push"};
    for (unsigned way = 0; way < 5; way++) {
        unsigned refused = 0, tries = 0;
        for (u32 at = 0xc0001000; at >= 0xc0000000; at += 0x00101000 + 64, tries++) {
            set_regs();
            regs.eax = at;
            attempt((const void *)(u32)ways[way]);
            refused += ending.signal == SIGSEGV && ending.trap == 14 &&
                       (ending.error & ~0x10u) == (way == 1 || way == 4 ? 7u : 5u) &&
                       (way == 4 ? ending.cr2 == at - 4 : ending.cr2 == at);
        }
        put(names[way]);
        put(" in the upper half: ");
        put_number(refused);
        put(" of ");
        put_number(tries);
        put(" refused");
        end_line();
    }
}

static struct mapping {
    u32 first, end;
    u8 readable, writable, skip;
} mappings[64];
static unsigned mapping_count;

static u32 parse_hex(const char **p)
{
    u32 x = 0;
    for (;; ++*p) {
        char c = **p;
        if (c >= '0' && c <= '9')
            x = x << 4 | (u32)(c - '0');
        else if (c >= 'a' && c <= 'f')
            x = x << 4 | (u32)(c - 'a' + 10);
        else
            return x;
    }
}

/* /proc/self/maps, which holds what the kernel thinks of our address space. */
static void read_mappings(void)
{
    static char text[8192];
    long fd = sys4(SYS_OPEN, (long)"/proc/self/maps", 0, 0, 0), len = 0, n;
    while ((n = sys4(SYS_READ, fd, (long)(text + len), (long)sizeof text - 1 - len, 0)) > 0)
        len += n;
    text[len] = 0;
    for (const char *p = text; *p && mapping_count < 64; p++) {
        struct mapping *m = &mappings[mapping_count++];
        m->first = parse_hex(&p);
        p++;
        m->end = parse_hex(&p);
        m->readable = p[1] == 'r';
        m->writable = p[2] == 'w';
        for (; *p != '\n'; p++) /* [vvar]: pages that may or may not be there */
            if (p[0] == '[' && ((p[1] == 'v' && p[2] == 'v') || p[1] == 's'))
                m->skip = p[1];
        if (m->skip == 's') /* [stack]: grows when somebody looks below it */
            m->first -= 8 << 20;
    }
}

/* Every page of the lower 3 GiB can be read if the kernel says so, and else not; and no store goes
 * through where none may. Whatever the monitor keeps lies elsewhere. */
static void walk(void)
{
    unsigned readable = 0, expected = 0, wrong = 0;
    const struct mapping *m = mappings;
    read_mappings();
    for (u32 at = 0; at < 0xc0000000; at += PAGE) {
        while (m < mappings + mapping_count && m->end <= at)
            m++;
        const struct mapping *in = m < mappings + mapping_count && m->first <= at ? m : NULL;
        if (in ? in->skip : (at >> 12) % 8 != (at >> 15) % 8) /* an eighth of what is empty */
            continue;
        regs = (struct regs){.eax = at + (at >> 12) % PAGE};
        int can_read = attempt((const void *)(u32)touch_read);
        readable += (unsigned)can_read;
        expected += in && in->readable;
        wrong += can_read != (in && in->readable);
        if (in && in->writable)
            continue;
        regs = (struct regs){.eax = at + (at >> 12) % PAGE};
        wrong += (unsigned)attempt((const void *)(u32)touch_write);
    }
    put("walk: ");
    put(readable == expected && readable && !wrong ? "as /proc/self/maps says" : "WRONG");
    end_line();
}

/* A child that cannot catch what it does dies of it, by the guest kernel. */
static void masked(void)
{
    static void (*const ways[])(void) = {touch_write, sweep_ljmp};
    for (unsigned way = 0; way < 2; way++) {
        long pid = fork();
        if (!pid) {
            const u32 mask[2] = {~0u, ~0u};
            sys4(SYS_RT_SIGPROCMASK, 0, (long)mask, 0, 8);
            set_regs();
            regs.eax = 0xc0100000;
            far = (struct far){(u32)sweep_landing, 0x33};
            attempt((const void *)(u32)ways[way]);
            leave(0);
        }
        put(way ? "masked far jump" : "masked store");
        put(": child status ");
        put_number((u32)wait_for(pid));
        end_line();
    }
}

/* As many mappings as the kernel gives, readable and writable ones in turn, so that none can be
 * joined with its neighbours; most show the kernel's page of zeroes. Then all are looked at. */
static void exhaust(void)
{
    enum { FIRST = 0x20000000, STEP = 2 * PAGE, MOST = 70000, LEAST = 60000 };
    long pid = fork();
    if (pid) {
        put("exhausted mappings: child status ");
        put_number((u32)wait_for(pid));
        end_line();
        return;
    }
    u32 made = 0;
    for (; made < MOST; made++) {
        u32 *p =
            map(FIRST + made * STEP, PAGE, made % 2 ? PROT_READ : PROT_RW, MAP_PRIVATE | MAP_FIXED);
        if (!p)
            break;
        if (made % 64 == 0)
            *p = made;
        else if (*p)
            leave(1);
    }
    for (u32 i = 0; i < made; i++)
        if (*(u32 *)(FIRST + i * STEP) != (i % 64 ? 0 : i))
            leave(2);
    leave(made >= LEAST && made < MOST ? 0 : 3);
}

/* ---- the others ------------------------------------------------------------------------------ */

struct shared {
    volatile u32 stop, rounds[3];
};

/* Computes the same over and over, in registers, memory and the FPU. */
static _Noreturn void bystander(struct shared *s, unsigned number)
{
    enum { WORDS = 65536 };
    u32 *data = map(0, WORDS * 4, PROT_RW, MAP_PRIVATE), right = 0;
    double right_sum = 0;
    while (!s->stop) {
        u32 x = number + 1, crc = ~0u;
        double sum = 0;
        for (unsigned i = 0; i < WORDS; i++) {
            data[i] = x;
            x = x * 1664525 + 1013904223;
        }
        for (unsigned i = 0; i < WORDS; i++) {
            crc ^= data[i];
            for (unsigned bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
            sum += (double)(data[i] & 0xffff) / 3;
        }
        if (s->rounds[number] && (crc != right || sum != right_sum))
            leave(1);
        right = crc;
        right_sum = sum;
        s->rounds[number]++;
    }
    leave(0);
}

static void everything(void)
{
    struct shared *s = map(0, PAGE, PROT_RW, MAP_SHARED);
    long pids[3];
    for (unsigned i = 0; i < 3; i++)
        if (!(pids[i] = fork()))
            bystander(s, i);
    try_instructions("", here, sizeof here / sizeof *here);
    sysenter();
    host_selectors();
    for (unsigned i = 0; i < sizeof sweeps / sizeof *sweeps; i++)
        sweep(&sweeps[i]);
    tell();
    upper_half();
    walk();
    masked();
    exhaust();
    s->stop = 1;
    for (unsigned i = 0; i < 3; i++) {
        int status = wait_for(pids[i]);
        put("bystander: ");
        put(!status && s->rounds[i] > 1 ? "computed right" : "WRONG");
        end_line();
    }
}

__attribute__((force_align_arg_pointer)) int program(int argc)
{
    code = map(0x10000000, PAGE, PROT_RWX, MAP_PRIVATE | MAP_FIXED);
    buffer = map(0x10010000, PAGE, PROT_RW, MAP_PRIVATE | MAP_FIXED);
    if (!code || !buffer)
        fail("mmap");
    catch_signals();
    try_instructions("", everywhere, sizeof everywhere / sizeof *everywhere);
    interrupts();
    /* Descriptors of the program that ran in this process before us are in the GDT until the kernel
     * next switches back to it. */
    long pid = fork();
    if (!pid)
        leave(0);
    wait_for(pid);
    if (argc < 2)
        everything();
    put("intruder: done");
    end_line();
    leave(0);
}
__asm__(".globl _start\n_start: push (%esp); call program\n");
