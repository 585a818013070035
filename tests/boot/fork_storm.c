/* SPDX-License-Identifier: MIT */
/* Guest program: many processes alive at once, each with memory of its own scattered over its
 * address space, so that a monitor that mirrors address spaces runs into every budget it has.
 *
 *   fork_storm
 *
 * A round: CHILDREN processes are forked and touch every second page of two mappings, one private
 * and one shared by all; when all have (so all are alive), the parent lets them check and touch the
 * same again, TURNS times; then they exit. Each also touches pages all over 2 GiB, others than its
 * neighbours, so that tables by linear address fill, too. Prints `storm round N: K alive`, when
 * they are, and `storm: done` after ROUNDS rounds. Anything wrong ends it with code 1. Linux/i386
 * system calls by interrupt, no C library (arch/x86/entry/syscalls/syscall_32.tbl of Linux). */
#include <stddef.h>
#include <stdint.h>

enum {
    CHILDREN = 200,
    PRIVATE_PAGES = 64, /* 50 MiB of them all */
    WIDE_PAGES = 40,    /* one in each of as many of the WIDE_SLOTS slots of 4 MiB */
    WIDE_SLOTS = 512,
    SLOT = 4 << 20,
    SHARED_PAGES = 500, /* 64 processes that touch these use 36,000 host mappings */
    TURNS = 2,
    ROUNDS = 3,
    PAGE = 4096,
};
enum {
    SYS_EXIT = 1,
    SYS_FORK,
    SYS_READ,
    SYS_WRITE,
    SYS_WAITPID = 7,
    SYS_PIPE = 42,
    SYS_MMAP2 = 192
};
enum { PROT_RW = 3, MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000 };

/* `ready` children write, the parent reads; `go` the other way, one for even and one for odd turns,
 * so that a quick child cannot take the token of a slow one. */
struct pipes {
    int ready[2], go[2][2];
};

static long sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long result;
    __asm__ volatile("push %[f]\n\tpush %%ebp\n\tmov 4(%%esp), %%ebp\n\tint $0x80\n\t"
                     "pop %%ebp\n\tadd $4, %%esp"
                     : "=a"(result)
                     : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "rm"(f)
                     : "memory");
    return result;
}
static long sys3(long n, long a, long b, long c)
{
    return sys6(n, a, b, c, 0, 0, 0);
}

static void say(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    sys3(SYS_WRITE, 1, (long)text, (long)length);
}
static _Noreturn void fail(const char *why)
{
    say("storm: FAILED: ");
    say(why);
    say("\n");
    for (;;)
        sys3(SYS_EXIT, 1, 0, 0);
}

static volatile uint32_t *map(unsigned long bytes, long flags)
{
    long p = sys6(SYS_MMAP2, 0, (long)bytes, PROT_RW, flags | MAP_ANONYMOUS, -1, 0);
    if (p < 0 && p > -4096)
        fail("mmap");
    return (volatile uint32_t *)p;
}

/* Write to every second page, so that no two touched ones are neighbours. Each must hold what this
 * process, or anyone for the shared ones, wrote before. */
static void touch(volatile uint32_t *p, unsigned pages, uint32_t before, uint32_t after)
{
    for (unsigned i = 0; i < pages; i++) {
        volatile uint32_t *word = p + 2ul * i * PAGE / sizeof *p;
        if (*word != before + i && *word != after + i)
            fail("a page changed");
        *word = after + i;
    }
}

/* Slots far apart, by 37 each, from another one on in each process; the seed is `value`. */
static void touch_wide(volatile uint32_t *p, uint32_t value)
{
    for (unsigned i = 0; i < WIDE_PAGES; i++) {
        volatile uint32_t *word = p + (value + i * 37) % WIDE_SLOTS * (SLOT / sizeof *p);
        if (*word && *word != value)
            fail("a far page changed");
        *word = value;
    }
}

static void take(int fd, unsigned bytes)
{
    char buffer[CHILDREN];
    while (bytes) {
        long n = sys3(SYS_READ, fd, (long)buffer, (long)bytes);
        if (n <= 0)
            fail("read");
        bytes -= (unsigned)n;
    }
}
static void give(int fd, unsigned bytes)
{
    static const char tokens[CHILDREN];
    if (sys3(SYS_WRITE, fd, (long)tokens, (long)bytes) != (long)bytes)
        fail("write");
}

static _Noreturn void child(const struct pipes *p, volatile uint32_t *shared, uint32_t shared_value,
                            uint32_t value)
{
    volatile uint32_t *own = map(2ul * PRIVATE_PAGES * PAGE, MAP_PRIVATE);
    for (unsigned i = 0; i < PRIVATE_PAGES; i++)
        own[2ul * i * PAGE / sizeof *own] = value + i;
    volatile uint32_t *wide = map((unsigned long)WIDE_SLOTS * SLOT, MAP_PRIVATE | MAP_NORESERVE);
    for (unsigned turn = 0; turn <= TURNS; turn++) {
        touch_wide(wide, value >> 16);
        touch(own, PRIVATE_PAGES, value + turn, value + turn + (turn < TURNS));
        touch(shared, SHARED_PAGES, shared_value + turn, shared_value + turn + (turn < TURNS));
        if (turn == TURNS)
            break;
        give(p->ready[1], 1);
        take(p->go[turn % 2][0], 1);
    }
    for (;;)
        sys3(SYS_EXIT, 0, 0, 0);
}

static void say_round(unsigned number)
{
    char text[] = "storm round ?: 200 alive\n";
    text[12] = (char)('0' + number);
    say(text);
}

static void round_of(const struct pipes *p, volatile uint32_t *shared, unsigned number)
{
    uint32_t shared_value = number * TURNS;
    for (unsigned i = 0; i < CHILDREN; i++) {
        long pid = sys3(SYS_FORK, 0, 0, 0);
        if (pid < 0)
            fail("fork");
        if (!pid)
            child(p, shared, shared_value, (i + 1) << 16 | number << 28);
    }
    for (unsigned turn = 0; turn < TURNS; turn++) {
        take(p->ready[0], CHILDREN);
        if (turn == 0)
            say_round(number + 1);
        give(p->go[turn % 2][1], CHILDREN);
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        int status = -1;
        if (sys3(SYS_WAITPID, -1, (long)&status, 0) <= 0 || status)
            fail("a child ended badly");
    }
}

__attribute__((force_align_arg_pointer)) void _start(void)
{
    struct pipes p;
    if (sys3(SYS_PIPE, (long)p.ready, 0, 0) || sys3(SYS_PIPE, (long)p.go[0], 0, 0) ||
        sys3(SYS_PIPE, (long)p.go[1], 0, 0))
        fail("pipe");
    volatile uint32_t *shared = map(2ul * SHARED_PAGES * PAGE, MAP_SHARED);
    for (unsigned i = 0; i < SHARED_PAGES; i++)
        shared[2ul * i * PAGE / sizeof *shared] = i;
    for (unsigned number = 0; number < ROUNDS; number++)
        round_of(&p, shared, number);
    say("storm: done\n");
    sys3(SYS_EXIT, 0, 0, 0);
}
