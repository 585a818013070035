/* SPDX-License-Identifier: MIT */
/* The contract between an engine that runs translated code (engine/dbt) and an instruction set
 * that has a translator. The engine owns the code cache, which translations exist, how they are
 * chained, and host faults; the ISA owns what instructions mean, the views of guest memory that
 * translated code accesses, and the registers at entry and exit.
 *
 * Host registers that all generated code agrees on:
 *   r13 the vCPU            r14 jump table of the current space and mode
 *   r11 start of the code reserve (DBT_*_OFFSET below are relative to it)
 *   r8  guest pc of a jump that leaves; effective address of a faulting access (the ISA's own use)
 *   r9, r10 scratch; r9d is the argument of an exit, r10d its kind
 *   rsp a host stack
 * The others are the ISA's. Everything here belongs to the vCPU thread. */
#ifndef RING3_TRANSLATE_H
#define RING3_TRANSLATE_H

#include "ring3/err.h"
#include "ring3/types.h"

struct vcpu;
struct figure_sink; /* ring3/figures.h */

/* ---- the code reserve and the jump tables ---------------------------------------------------
 *
 * One reserve of host addresses: code, then the guard page, then "nothing": 16 GiB that read as
 * zero. Code is named by its offset from the start; offset 0 is the exit DBT_EXIT_MISS, so a zero
 * in any table means "ask the monitor".
 *
 * A jump table has a u64 per guest-linear page at r14 and finds the code for guest pc r8 as
 *     entry = u32 at (r11 + DBT_NOTHING_OFFSET + table[pc >> 12] + pc * 4);  jump to r11 + entry
 * table[] holds a biased address of the page's array of 4,096 entries, or 0, which leads to
 * nothing. No flags change on the way. */
#define DBT_CODE_LIMIT     (512 * MIB) /* largest code cache */
#define DBT_GUARD_OFFSET   0x3ffe0000u /* DBT_GUARD_BYTES that can be read; as many behind fault */
#define DBT_GUARD_BYTES    (16 * PAGE_BYTES)
#define DBT_NOTHING_OFFSET 0x40000000u /* r11 + this: 16 GiB of zeros */
#define DBT_STRADDLE_OFFSET                                                                        \
    0x00800000u /* r14 + this: u32 per page, code of the instruction that                          \
                 * starts there and ends in the next page, or 0 */
#define DBT_JUMP_TABLE_BYTES 0x00c00000u

/* Exits. Generated code sets r8d = guest pc and r9d = argument, and jumps to a trampoline of the
 * kind. */
enum dbt_exit {
    DBT_EXIT_MISS,      /* indirect jump without translation; offset 0 of the cache */
    DBT_EXIT_LINK,      /* direct jump inside a page; argument: offset of its rel32 */
    DBT_EXIT_EMULATE,   /* declined instruction at pc; argument: ISA's number for it (counted),
                         * and DBT_CALLOUT if that is due to TB_CALLOUT alone */
    DBT_EXIT_ATTENTION, /* look at vcpu.attention; pc is the next instruction */
    DBT_EXIT_SHADOWED,  /* the same, but pc is in the shadow of an instruction that just enabled
                         * interrupts: interpret one instruction first */
    DBT_EXIT_KINDS,
    /* Not jumped to by generated code: */
    DBT_EXIT_FAULT = DBT_EXIT_KINDS, /* host fault or kick redirected to isa->fault_exit */
    DBT_EXIT_ABORTED,                /* enter() saw attention, nothing was run */
};

#define DBT_CALLOUT 0x8000u /* in the argument of DBT_EXIT_EMULATE */

/* ---- one translation being built ----------------------------------------------------------- */

#define TB_MAX_INSNS  128u
#define TB_MAX_CODE   16384u /* bytes; one instruction takes at most TB_INSN_CODE */
#define TB_INSN_CODE  512u
#define TB_MAX_LINKS  256u
#define TB_MAX_TRAMPS 256u

/* How an instruction that accesses memory is translated: "innocent until proven guilty". */
enum tb_policy {
    TB_PLAIN,   /* as an ordinary access to the current view */
    TB_CALLOUT, /* device, traced page, or a trap: leave with DBT_EXIT_EMULATE at once */
    TB_SELECT,  /* supervisor code that accesses user memory: the view is chosen by address */
};

/* What must be put right when an instruction is abandoned between its mark and the next. */
enum tb_fix {
    TB_FIX_NONE,
    TB_FIX_ISA, /* this and higher values: the ISA's own, with fix_arg */
};

/* A guest instruction starts at host offset `host`. Marks ascend in both. */
struct tb_mark {
    uint16_t host, guest; /* byte offset in code[]; offset in the page */
    uint8_t entry;        /* state is exact here: jumps and interrupts may come in */
    uint8_t fix;
    int16_t fix_arg;
};

struct tb_link {         /* rel32 of a jump to an instruction of the same page */
    uint16_t at, target; /* byte offset in code[]; offset in the page */
};
struct tb_tramp { /* rel32 of a jump to the trampoline of an exit kind */
    uint16_t at;
    uint8_t kind;
};

struct tb {
    /* Given by the engine. */
    uint32_t page;        /* guest-linear address of the page */
    uint16_t start;       /* offset of the first instruction */
    uint16_t mode;        /* as isa_translator.prepare said */
    const uint8_t *bytes; /* the guest page */
    const uint8_t *next;  /* bytes of the next page, for `straddle` only */
    bool straddle;        /* translate only the one instruction at `start`, which goes on in next */
    uint16_t max_insns;
    void *opaque;
    bool (*translated)(void *opaque, uint16_t offset); /* has code already: end there with a link */
    enum tb_policy (*policy)(void *opaque, uint16_t offset);
    bool (*may_straddle)(void *opaque, uint16_t offset); /* may jump through the straddle slot */
    /* The `len` bytes at a linear address of the current space, within one page, or NULL. The
     * translation may build on them: it goes when they change or when that page shows others. */
    const uint8_t *(*peek)(void *opaque, uint32_t lin, unsigned len);

    /* Made by the ISA. The translation covers guest bytes [start, end) of the page without gaps (up
     * to 4096 if it ends with an instruction that straddles, and next_end bytes of the next page if
     * it is that instruction). */
    uint16_t end, next_end;
    uint16_t code_len, marks, links, tramps;
    uint16_t copied, identical; /* instructions that run as themselves, perhaps with operands
                                 * renamed or prefixes; those of them without any change */
    uint8_t code[TB_MAX_CODE];
    struct tb_mark mark[TB_MAX_INSNS + 1];
    struct tb_link link[TB_MAX_LINKS];
    struct tb_tramp tramp[TB_MAX_TRAMPS];
};

/* ---- host faults ---------------------------------------------------------------------------- */

struct dbt_fault {
    int sig, trapno;
    uint64_t error, addr;  /* page faults: error code and CR2; addr 0 for other traps */
    uint64_t r8, r9, r10;  /* scratch registers at the fault */
    struct tb_mark mark;   /* the instruction */
    uint32_t pc;           /* its guest pc */
    enum tb_policy policy; /* as it is translated now */
};

/* What the ISA made of it. Guest state is precise, at the start of the instruction, afterwards. */
enum dbt_verdict {
    DBT_RESUME,    /* view filled: run on */
    DBT_INTERPRET, /* interpret this one instruction (it may fault for the guest) */
    DBT_DEVICE,    /* as INTERPRET; counts towards TB_CALLOUT */
    DBT_TRACED,    /* as INTERPRET; counts towards TB_CALLOUT */
    DBT_FOREIGN,   /* as INTERPRET; counts towards TB_SELECT */
    DBT_TRAPPED,   /* as INTERPRET, the host's processor objected; counts towards TB_CALLOUT */
    DBT_VERDICTS,
};

/* ---- what the ISA tells the engine ----------------------------------------------------------- */

/* Spaces are numbered 0 to DBT_SPACES - 1; jump tables belong to a space and mode. */
#define DBT_SPACES 256u
#define DBT_MODES  64u

struct dbt_hooks {
    void *opaque;
    /* The page at linear address `page` of this space no longer shows what fetch() said. */
    void (*code_unmapped)(void *opaque, unsigned space, uint32_t page);
    /* The space now stands for something else altogether. */
    void (*space_dropped)(void *opaque, unsigned space);
};

/* `--dbt`: choices for tests, measurements and debugging. */
enum dbt_view { DBT_VIEW_AUTO, DBT_VIEW_WINDOW, DBT_VIEW_FLAT };
struct dbt_options {
    uint64_t cache_bytes; /* 1 MiB to DBT_CODE_LIMIT; 0: DBT_CACHE_DEFAULT */
    enum dbt_view view;   /* how generated code reaches guest memory */
    uint16_t max_insns;   /* per translation, 1 to TB_MAX_INSNS; 0: TB_MAX_INSNS */
    bool no_chain;        /* every jump leaves to the dispatcher */
    bool no_adapt;        /* never retranslate a faulting site */
    bool trap;            /* pure trap-and-emulate: no_adapt, and no virtual interrupt flag */
    bool count;           /* translated code counts the instructions it retires */
    bool single;          /* run() returns after each translation (lock-step tests) */
    bool trace_tables;    /* page tables are write-traced instead of re-validated */
    bool check_code;      /* scan generated code for sensitive and privileged instructions */
    bool no_bmi2;         /* as if the host had no BMI2 */
    bool no_fsgsbase;     /* as if the host had no FSGSBASE */
    bool perf_map;        /* name translations for perf(1) in /tmp/perf-PID.map */
};
#define DBT_CACHE_DEFAULT (32 * MIB)

struct dbt_where { /* where the processor is */
    uint32_t pc;
    uint16_t space, mode;
};

struct isa_translator {
    /* 0 if this host can run what translate() makes, else -errno and why not. */
    int (*probe)(struct err *e);
    int (*attach)(struct vcpu *v, const struct dbt_options *o, const struct dbt_hooks *h,
                  struct err *e);
    void (*detach)(struct vcpu *v);

    /* Get ready to run translated code at the current pc: make the views of the current space
     * current and valid. False: this state (real mode, non-flat segments, trap flag, ...) is for
     * the interpreter. */
    bool (*prepare)(struct vcpu *v, struct dbt_where *w);
    /* Physical page behind a linear page for instruction fetch in the current space. False: not
     * present, not permitted, not memory. The space remembers it and tells code_unmapped(). */
    bool (*fetch)(struct vcpu *v, uint32_t page, gpfn_t *gpfn);
    /* Fill the second half of *tb. Always makes something: at least an exit. */
    void (*translate)(struct vcpu *v, struct tb *tb);

    /* Load guest registers and jump to `code`; comes back through `exit` or `fault_exit` with
     * guest registers stored. Returns kind << 32 | argument. Checks attention first. */
    uint64_t (*enter)(struct vcpu *v, const void *code, uintptr_t jump_table, uintptr_t reserve);
    /* Assembly labels. Trampolines jump to `exit` with r8d, r9d, r10d set. A signal handler that
     * interrupts generated code sets rip to fault_exit (stores registers but neither pc nor
     * anything of r8 to r10; returns DBT_EXIT_FAULT); one that finds rip in [enter_begin,
     * enter_end) sets it to enter_abort. The same goes for calls that generated code makes
     * (callout_begin, _end, _leave): an interrupt must not get lost between their own look at
     * attention and their return. */
    const void *exit, *fault_exit, *enter_begin, *enter_end, *enter_abort;
    const void *callout_begin, *callout_end, *callout_leave;

    /* Make the state precise at f->pc and decide. */
    enum dbt_verdict (*fault)(struct vcpu *v, const struct dbt_fault *f);
    /* Set the pc (when an interrupt stopped at an entry mark). */
    void (*set_pc)(struct vcpu *v, uint32_t pc);
    /* Name of a declined instruction (argument of DBT_EXIT_EMULATE), for statistics. */
    const char *(*declined_name)(uint32_t argument);
    /* Text of the guest instruction at `bytes` for traces; returns its length, 0 if there is none
     * in len bytes. May be NULL. */
    unsigned (*disassemble)(const struct vcpu *v, const uint8_t *bytes, unsigned len, uint32_t pc,
                            char *text, size_t size);
    /* What it has to say for `--stats`, as engine_ops.figures. May be NULL. */
    void (*figures)(const struct vcpu *v, const struct figure_sink *to);
    /* First byte offset of an instruction in code[0..len) that must never be there, or -1. */
    int64_t (*find_sensitive)(const uint8_t *code, uint64_t len);
};

#endif
