/* SPDX-License-Identifier: MIT */
/* An instruction set just large enough to exercise engine/dbt: a processor with one accumulator
 * (host ebx), linear pages that the test maps as it likes, and instructions of 1 to 7 bytes:
 *
 *     NOP                       1 byte
 *     ADD i8                    acc += i8
 *     JMP o16                   jump to offset o16 of this page: a direct link
 *     FAR a32                   jump to a32 through the jump table
 *     HALT                      leaves the engine with EXIT_HALT; declined by the translator
 *     LOAD n8                   acc += u32 at data page n8, which may fault
 *     STORE p32 i8              store i8 at physical p32; declined
 *     SLOW                      acc += 1, by 21 host instructions
 *     REP                       a host instruction that takes 64 million rounds
 *     FACT a32                  acc += byte at a32; the translator puts the byte it sees in place
 *
 * Registers of generated code beyond what ring3/translate.h says: r12 the data pages. */
#ifndef RING3_TESTS_DBT_TOY_H
#define RING3_TESTS_DBT_TOY_H

#include "unit.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/dbt/dbt.h"
#include "engine/engines.h"

enum { NOP, ADD, JMP, FAR, HALT, LOAD, STORE, SLOW, REP, FACT, OPS };
static const uint8_t toy_len[OPS] = {1, 2, 3, 5, 1, 2, 6, 1, 1, 5};

#define TOY_RAM    MIB
#define TOY_PAGES  16u /* linear pages per space, the last ones of the address space among them */
#define TOY_SPACES 4u

struct toy_regs {
    uint64_t acc, pc;
    _Atomic uint32_t *attention;
    uint8_t *data;
};

struct toy {
    struct vcpu base; /* first */
    struct toy_regs r;
    unsigned space, mode;
    uint32_t map[TOY_SPACES][TOY_PAGES]; /* gpfn, 0: not present */
    bool unfit, device;                  /* what prepare() answers; LOAD is served by a device */
    void (*preparing)(struct toy *t);    /* prepare() calls it first */
    enum dbt_verdict verdict;            /* what fault() answers */
    struct dbt_fault fault;              /* the last it saw */
    unsigned faults, interpreted, interrupts;
    struct dbt_options options;
    const struct dbt_hooks *hooks;
    struct log log;
};

uint64_t toy_enter_asm(struct toy_regs *r, const void *code, uintptr_t table, uintptr_t reserve);
void toy_exit(void);
void toy_fault_exit(void);
void toy_enter_begin(void);
void toy_enter_end(void);
void toy_enter_abort(void);
void toy_callout_begin(void); /* no code calls them; the signal handler only looks at the address */
void toy_callout_end(void);
void toy_callout_leave(void);
__asm__(".text\n"
        "toy_enter_asm:\n"
        "    push %rbx\n    push %rbp\n    push %r12\n    push %r13\n    push %r14\n"
        "    mov %rdi, %r13\n    mov %rdx, %r14\n    mov %rcx, %r11\n"
        "    mov (%r13), %rbx\n    mov 24(%r13), %r12\n    mov 16(%r13), %rax\n"
        "toy_enter_begin:\n"
        "    cmpl $0, (%rax)\n"
        "    jne toy_enter_abort\n"
        "    jmp *%rsi\n"
        "toy_enter_end:\n"
        "toy_enter_abort:\n"
        "    movabs $0x600000000, %rax\n"
        "    jmp 1f\n"
        "toy_fault_exit:\n"
        "    movabs $0x500000000, %rax\n"
        "    jmp 1f\n"
        "toy_exit:\n"
        "    mov %r8d, %r8d\n    mov %r8, 8(%r13)\n"
        "    mov %r9d, %eax\n    shl $32, %r10\n    or %r10, %rax\n"
        "1:  mov %rbx, (%r13)\n"
        "    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbp\n    pop %rbx\n"
        "    ret\n"
        "toy_callout_begin:\n    nop\n    ret\n"
        "toy_callout_end:\n    nop\n"
        "toy_callout_leave:\n    ret\n");
_Static_assert(DBT_EXIT_FAULT == 5 && DBT_EXIT_ABORTED == 6, "numbers in the assembly above");
_Static_assert(offsetof(struct toy_regs, pc) == 8 && offsetof(struct toy_regs, data) == 24, "");

static inline struct toy *toy_of(const struct vcpu *v)
{
    return container_of(v, struct toy, base);
}

static inline bool toy_fetch(struct vcpu *v, uint32_t page, gpfn_t *gpfn)
{
    const struct toy *t = toy_of(v);
    *gpfn = (gpfn_t){t->map[t->space][page >> PAGE_SHIFT & (TOY_PAGES - 1)]};
    return gpfn->n != 0;
}

/* ---- interpreter ---------------------------------------------------------------------------- */

static inline uint8_t toy_byte(struct toy *t, uint32_t pc)
{
    gpfn_t g;
    uint8_t b = HALT;
    if (toy_fetch(&t->base, pc & (uint32_t)PAGE_MASK, &g))
        phys_read(t->base.mem, (g.n << PAGE_SHIFT) + (pc & ~PAGE_MASK), &b, 1);
    return b;
}

static inline uint32_t toy_word(struct toy *t, uint32_t pc)
{
    uint32_t x = 0;
    for (unsigned i = 0; i < 4; i++)
        x |= (uint32_t)toy_byte(t, pc + i) << 8 * i;
    return x;
}

/* False: *x is an exit. */
static inline bool toy_step(struct toy *t, struct vm_exit *x)
{
    uint32_t pc = (uint32_t)t->r.pc;
    uint8_t op = toy_byte(t, pc) % OPS, value;
    t->interpreted++;
    t->r.pc = pc + toy_len[op];
    switch (op) {
    case ADD:
        t->r.acc += toy_byte(t, pc + 1);
        break;
    case JMP:
        t->r.pc = (pc & (uint32_t)PAGE_MASK) | (toy_word(t, pc + 1) & 0xfff);
        break;
    case FAR:
        t->r.pc = toy_word(t, pc + 1);
        break;
    case HALT:
        *x = (struct vm_exit){.kind = EXIT_HALT};
        return false;
    case LOAD:
        t->r.acc += 1000;
        t->base.stats.exits[EXIT_MMIO] += t->device;
        break;
    case STORE:
        value = toy_byte(t, pc + 5);
        phys_write(t->base.mem, toy_word(t, pc + 1), &value, 1);
        break;
    case SLOW:
        t->r.acc++;
        break;
    case FACT:
        t->r.acc += toy_byte(t, toy_word(t, pc + 1));
        break;
    }
    return true;
}

static inline void toy_interpret(struct vcpu *v, uint64_t budget, struct vm_exit *x)
{
    struct toy *t = toy_of(v);
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
    while (budget--) {
        uint32_t a = atomic_load(&v->attention);
        if (a & ATTN_STOP)
            return;
        vcpu_unattend(v, ATTN_CODE | ATTN_INTERRUPT);
        t->interrupts += (a & ATTN_INTERRUPT) != 0;
        if (!toy_step(t, x))
            return;
    }
}

/* ---- translator ---------------------------------------------------------------------------------
 */

static inline void emit(struct tb *tb, const void *bytes, size_t n)
{
    memcpy(tb->code + tb->code_len, bytes, n);
    tb->code_len = (uint16_t)(tb->code_len + n);
}
#define EMIT(tb, ...)                                                                              \
    do {                                                                                           \
        const uint8_t bytes_[] = {__VA_ARGS__};                                                    \
        emit(tb, bytes_, sizeof bytes_);                                                           \
    } while (0)

static inline void emit32(struct tb *tb, uint32_t x)
{
    emit(tb, &x, 4);
}

static inline void emit_pc(struct tb *tb, uint32_t pc)
{
    EMIT(tb, 0x41, 0xb8); /* mov r8d, pc */
    emit32(tb, pc);
}

static inline void emit_exit(struct tb *tb, enum dbt_exit kind, uint32_t pc, uint32_t argument)
{
    emit_pc(tb, pc);
    EMIT(tb, 0x41, 0xb9); /* mov r9d, argument */
    emit32(tb, argument);
    EMIT(tb, 0xe9);
    tb->tramp[tb->tramps++] = (struct tb_tramp){tb->code_len, (uint8_t)kind};
    emit32(tb, 0);
}

static inline void emit_link(struct tb *tb, uint16_t target)
{
    EMIT(tb, 0xe9);
    tb->link[tb->links++] = (struct tb_link){tb->code_len, target};
    emit32(tb, 0);
}

static inline void emit_far(struct tb *tb, uint32_t pc)
{
    emit_pc(tb, pc);
    EMIT(tb, 0x45, 0x89, 0xc1,                    /* mov r9d, r8d */
         0x41, 0xc1, 0xe9, 0x0c,                  /* shr r9d, 12 */
         0x4f, 0x8b, 0x0c, 0xce,                  /* mov r9, [r14+r9*8] */
         0x4f, 0x8d, 0x0c, 0x81,                  /* lea r9, [r9+r8*4] */
         0x41, 0xba, 0x00, 0x00, 0x00, 0x40,      /* mov r10d, DBT_NOTHING_OFFSET */
         0x4d, 0x01, 0xd1, 0x47, 0x8b, 0x0c, 0x0b /* add r9, r10; mov r9d, [r11+r9] */
    );
    EMIT(tb, 0x4d, 0x01, 0xd9, 0x41, 0xff, 0xe1); /* add r9, r11; jmp r9 */
}

static inline void emit_straddle(struct tb *tb, uint32_t pc)
{
    emit_pc(tb, pc);
    EMIT(tb, 0x45, 0x8b, 0x8e); /* mov r9d, [r14+disp32] */
    emit32(tb, DBT_STRADDLE_OFFSET + (pc >> PAGE_SHIFT) * 4);
    EMIT(tb, 0x4d, 0x01, 0xd9, 0x41, 0xff, 0xe1);
}

/* One instruction of `len` bytes at p. False: nothing follows it. */
static inline bool toy_emit(struct tb *tb, const uint8_t *p, uint16_t at)
{
    uint32_t pc = tb->page + at, word = 0;
    const uint8_t *fact;
    uint8_t op = p[0] % OPS;
    if (toy_len[op] >= 5)
        memcpy(&word, p + 1, 4);
    switch (op) {
    case NOP:
        EMIT(tb, 0x90);
        return true;
    case ADD:
        EMIT(tb, 0x81, 0xc3); /* add ebx, imm32 */
        emit32(tb, p[1]);
        return true;
    case SLOW:
        for (unsigned i = 0; i < 20; i++)
            EMIT(tb, 0x90);
        EMIT(tb, 0x83, 0xc3, 1);
        return true;
    case REP:
        EMIT(tb, 0x49, 0x8d, 0xb3, 0, 0, 0, 0x40, 0xb9, 0, 0, 0, 4, 0xf3, 0xac);
        return true;
    case FACT:
        fact = tb->peek(tb->opaque, word, 1);
        if (fact) {
            EMIT(tb, 0x81, 0xc3);
            emit32(tb, *fact);
            return true;
        }
        emit_exit(tb, DBT_EXIT_EMULATE, pc, op);
        return false;
    case LOAD:
        if (tb->policy(tb->opaque, at) == TB_PLAIN) {
            EMIT(tb, 0x41, 0x03, 0x9c, 0x24); /* add ebx, [r12+disp32] */
            emit32(tb, p[1] * (uint32_t)PAGE_BYTES);
            return true;
        }
        emit_exit(tb, DBT_EXIT_EMULATE, pc, op | DBT_CALLOUT);
        return false;
    case JMP:
        emit_link(tb, (uint16_t)((p[1] | p[2] << 8) & 0xfff));
        return false;
    case FAR:
        emit_far(tb, word);
        return false;
    default:
        emit_exit(tb, DBT_EXIT_EMULATE, pc, op);
        return false;
    }
}

static inline void toy_straddling(struct tb *tb)
{
    uint8_t bytes[8];
    uint16_t here = (uint16_t)(PAGE_BYTES - tb->start);
    memcpy(bytes, tb->bytes + tb->start, here);
    memcpy(bytes + here, tb->next, sizeof bytes - here);
    uint8_t len = toy_len[bytes[0] % OPS];
    tb->mark[tb->marks++] = (struct tb_mark){.guest = tb->start, .entry = 1};
    tb->end = PAGE_BYTES;
    tb->next_end = (uint16_t)(len - here);
    if (toy_emit(tb, bytes, tb->start))
        emit_far(tb, tb->page + tb->start + len);
}

static inline void toy_translate(struct vcpu *v, struct tb *tb)
{
    uint16_t at = tb->start;
    if (tb->straddle) {
        toy_straddling(tb);
        return;
    }
    for (bool more = true; more;) {
        uint8_t len = toy_len[tb->bytes[at] % OPS];
        tb->mark[tb->marks++] = (struct tb_mark){.host = tb->code_len, .guest = at, .entry = 1};
        if (at + len > PAGE_BYTES) {
            if (tb->may_straddle(tb->opaque, at))
                emit_straddle(tb, tb->page + at);
            else
                emit_exit(tb, DBT_EXIT_EMULATE, tb->page + at, OPS);
            tb->end = PAGE_BYTES;
            return;
        }
        more = toy_emit(tb, tb->bytes + at, at);
        at = tb->end = (uint16_t)(at + len);
        if (!more)
            return;
        if (at == PAGE_BYTES) {
            emit_far(tb, tb->page + at);
            return;
        }
        if (tb->marks == tb->max_insns || tb->translated(tb->opaque, at)) {
            emit_link(tb, at);
            return;
        }
    }
}

static inline bool toy_prepare(struct vcpu *v, struct dbt_where *w)
{
    struct toy *t = toy_of(v);
    if (t->preparing)
        t->preparing(t);
    *w = (struct dbt_where){(uint32_t)t->r.pc, (uint16_t)t->space, (uint16_t)t->mode};
    return !t->unfit;
}

static inline uint64_t toy_enter(struct vcpu *v, const void *code, uintptr_t table,
                                 uintptr_t reserve)
{
    return toy_enter_asm(&toy_of(v)->r, code, table, reserve);
}

static inline enum dbt_verdict toy_fault(struct vcpu *v, const struct dbt_fault *f)
{
    struct toy *t = toy_of(v);
    t->fault = *f;
    t->faults++;
    t->r.pc = f->pc;
    if (t->verdict == DBT_RESUME)
        mprotect(t->r.data, 4 * PAGE_BYTES, PROT_READ);
    return t->verdict;
}

static inline void toy_set_pc(struct vcpu *v, uint32_t pc)
{
    toy_of(v)->r.pc = pc;
}
static inline uint64_t toy_pc(const struct vcpu *v)
{
    return toy_of(v)->r.pc;
}
static inline int toy_probe(struct err *e)
{
    return 0;
}
static inline int toy_attach(struct vcpu *v, const struct dbt_options *o, const struct dbt_hooks *h,
                             struct err *e)
{
    toy_of(v)->hooks = h;
    return 0;
}
static inline void toy_detach(struct vcpu *v) {}

/* The repeated instruction stands for what must not be in generated code. */
static inline int64_t toy_find_sensitive(const uint8_t *code, uint64_t len)
{
    for (uint64_t i = 0; i + 1 < len; i++)
        if (code[i] == 0xf3 && code[i + 1] == 0xac)
            return (int64_t)i;
    return -1;
}

static const struct isa_translator toy_translator = {
    .probe = toy_probe,
    .attach = toy_attach,
    .detach = toy_detach,
    .prepare = toy_prepare,
    .fetch = toy_fetch,
    .translate = toy_translate,
    .enter = toy_enter,
    .exit = (const void *)toy_exit,
    .fault_exit = (const void *)toy_fault_exit,
    .enter_begin = (const void *)toy_enter_begin,
    .enter_end = (const void *)toy_enter_end,
    .enter_abort = (const void *)toy_enter_abort,
    .callout_begin = (const void *)toy_callout_begin,
    .callout_end = (const void *)toy_callout_end,
    .callout_leave = (const void *)toy_callout_leave,
    .fault = toy_fault,
    .set_pc = toy_set_pc,
    .find_sensitive = toy_find_sensitive,
};

static const struct isa_ops toy_isa = {
    .name = "toy", .translator = &toy_translator, .interpret = toy_interpret, .pc = toy_pc};

/* ---- a machine of it ------------------------------------------------------------------------ */

static inline void toy_free(struct toy *t)
{
    if (t->base.engine_state)
        dbt_engine.detach(&t->base);
    if (t->r.data)
        munmap(t->r.data, 4 * PAGE_BYTES);
    if (t->base.mem)
        phys_free(t->base.mem);
    free(t);
}

/* Linear page n shows guest page n in space 0. The data pages are readable. */
static inline struct toy *toy_new(const struct dbt_options *o)
{
    struct toy *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->log = (struct log){LOG_INFO, 2};
    t->base.isa = &toy_isa;
    t->base.log = &t->log;
    t->base.mem = phys_new(TOY_RAM, NULL);
    assert_non_null(t->base.mem);
    assert_int_equal(phys_map_ram(t->base.mem, 0, 0, TOY_RAM, NULL), 0);
    t->r.attention = &t->base.attention;
    t->r.data = mmap(NULL, 4 * PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(t->r.data, MAP_FAILED);
    for (unsigned i = 1; i < TOY_PAGES; i++)
        t->map[0][i] = i;
    if (o)
        t->options = *o;
    struct err e = {0};
    if (dbt_engine.attach(&t->base, &t->options, &e) < 0)
        fail_msg("%s", e.text);
    return t;
}

static inline struct dbt *toy_dbt(const struct toy *t)
{
    return t->base.engine_state;
}

/* Put a program into guest memory without anybody noticing. */
static inline void toy_put(struct toy *t, gpa_t at, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++, at++)
        phys_page(t->base.mem, gpa_page(at)).host[at & ~PAGE_MASK] = ((const uint8_t *)bytes)[i];
}
#define PUT(t, at, ...)                                                                            \
    do {                                                                                           \
        const uint8_t bytes_[] = {__VA_ARGS__};                                                    \
        toy_put(t, at, bytes_, sizeof bytes_);                                                     \
    } while (0)

/* Run from pc until an exit; returns what the accumulator gained. */
static inline uint64_t toy_run(struct toy *t, uint32_t pc, enum exit_kind expected)
{
    struct vm_exit x;
    uint64_t before = t->r.acc;
    t->r.pc = pc;
    dbt_engine.run(&t->base, &x);
    assert_int_equal(x.kind, expected);
    return t->r.acc - before;
}

#endif
