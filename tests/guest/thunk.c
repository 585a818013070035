/* SPDX-License-Identifier: MIT */
/* A call whose target may be looked into by a translator: position-independent code learns its own
 * address by calling `mov (%esp), %ebx; ret` (Intel SDM vol. 2, CALL, RET), usually in another
 * page. What is there when the call runs is what counts, however often something else was: another
 * page in another address space, other bytes, another page table entry, nothing at all. Both rings,
 * because kernel and user code may be seen through different views. */
#include "lib/lib.h"

#define LIN    0x40000000u
#define P      1u
#define RW     2u
#define US     4u
#define ALL    (P | RW | US)
#define PF     14u
#define CALLER 0x100u  /* offsets in the code page: of the calling code, */
#define PLAIN  0x400u  /* of code that calls nothing, */
#define INSIDE 0x800u  /* of a thunk in the same page, */
#define OTHER  0x1010u /* in the next one, */
#define EDGE   0x1ffeu /* and across its end */
#define ADDEND 0x2000u
#define HERE   (LIN + CALLER + 5 + ADDEND) /* what the caller computes if it calls a thunk */
#define HOT    300u

/* Two address spaces: a shared code page, then two pages of each one's own. Each test has a code
 * page that no other has used: a translator may remember that the spaces disagreed. */
#define TESTS 7
static u8 code_pages[TESTS][4096] __attribute__((aligned(4096)));
static u8 *code;
static u8 pages[2][2][4096] __attribute__((aligned(4096)));
static u8 spare[4096] __attribute__((aligned(4096)));
static u32 dirs[2][1024] __attribute__((aligned(4096)));
static u32 tables[2][1024] __attribute__((aligned(4096)));

static void put_thunk(u8 *at)
{
    static const u8 bytes[] = {0x8b, 0x1c, 0x24, 0xc3}; /* mov (%esp), %ebx; ret */
    memcpy(at, bytes, sizeof(bytes));
}

/* Something else: mov $n, %ebx; ret */
static void put_constant(u8 *at, u32 n)
{
    at[0] = 0xbb;
    memcpy(at + 1, &n, 4);
    at[5] = 0xc3;
}

/* call target; add $ADDEND, %ebx; mov %ebx, %eax; mov -4(%esp), %ecx; int $0x81 */
static void put_caller(u32 target)
{
    u8 *f = code + CALLER;
    u32 rel = target - (CALLER + 5), addend = ADDEND;

    f[0] = 0xe8;
    memcpy(f + 1, &rel, 4);
    f[5] = 0x81;
    f[6] = 0xc3;
    memcpy(f + 7, &addend, 4);
    memcpy(f + 11, "\x89\xd8\x8b\x4c\x24\xfc\xcd\x81", 8);
}

static void load(unsigned space)
{
    write_cr3((u32)dirs[space]);
}

static void invlpg(u32 a)
{
    asm volatile("invlpg (%0)" ::"r"(a) : "memory");
}

static struct cpu call_once(unsigned ring)
{
    return run(ring, (const void *)(LIN + CALLER));
}

/* How many of so many runs of the caller compute `want` and push the return address. */
static u32 right(unsigned ring, u32 want, unsigned times)
{
    u32 good = 0;

    for (unsigned i = 0; i < times; i++) {
        struct cpu c = call_once(ring);
        good += c.vector == DONE && c.eax == want && c.esp == (u32)frag_stack_top &&
                c.ecx == LIN + CALLER + 5;
    }
    return good;
}

/* `times` is HOT where the caller shall be translated and joined before the next thing happens. */
static void expect(const char *name, unsigned ring, u32 want, unsigned times)
{
    check_eq(name, right(ring, want, times), times);
}

static void expect_fetch_fault(const char *name, unsigned ring, u32 error, u32 at)
{
    struct cpu c = call_once(ring);

    check_fault(name, &c, PF, error, (const void *)at);
    check_eq("its-cr2", c.cr2, at);
    check_eq("its-return-address", peek(c.esp), LIN + CALLER + 5);
}

static void set_up(unsigned test)
{
    code = code_pages[test];
    memset(code, 0x90, 4096);
    memcpy(code + PLAIN, "\xcd\x81", 2);
    memset(pages, 0x90, sizeof(pages));
    for (unsigned s = 0; s < 2; s++) {
        memcpy(dirs[s], page_dir, sizeof(dirs[s]));
        dirs[s][LIN >> 22] = (u32)tables[s] | ALL;
        tables[s][0] = (u32)code | ALL;
        tables[s][1] = (u32)pages[s][0] | ALL;
        tables[s][2] = (u32)pages[s][1] | ALL;
        put_thunk(pages[s][0] + (OTHER & 0xfff));
    }
    put_caller(OTHER);
    load(0);
}

/* ---- what may differ or change -----------------------------------------------------------------
 */

static void spaces_differ(unsigned ring)
{
    set_up(0);
    expect("thunk-hot", ring, HERE, HOT);
    put_constant(pages[1][0] + (OTHER & 0xfff), 77);
    load(1);
    expect("other-code-in-other-space", ring, 77 + ADDEND, 3);
    u32 good = 0;
    for (unsigned i = 0; i < 60; i++) {
        load(i & 1);
        good += right(ring, i & 1 ? 77 + ADDEND : HERE, 1);
    }
    check_eq("in-turns", good, 60);
    /* They agree again. */
    put_thunk(pages[1][0] + (OTHER & 0xfff));
    load(1);
    expect("second-space-has-thunk-again", ring, HERE, HOT);
    load(0);
    expect("first-space-as-before", ring, HERE, HOT);
}

static void patched(unsigned ring)
{
    u8 *first = pages[0][0] + (OTHER & 0xfff);

    set_up(1);
    expect("before-patch", ring, HERE, HOT);
    put_constant(first, 5);
    expect("patched", ring, 5 + ADDEND, HOT);
    poke((u32)first + 1, 6);
    expect("patched-constant", ring, 6 + ADDEND, 3);
    put_thunk(first);
    expect("patched-back", ring, HERE, HOT);
    first[1] = 0x14; /* mov (%esp), %edx: ebx keeps what it was, 0 */
    expect("patched-register", ring, ADDEND, HOT);
    first[1] = 0x1c;
    expect("patched-register-back", ring, HERE, HOT);
    /* Through the very address, while the call is hot. */
    poke8(LIN + OTHER + 4, 0xc3);
    poke8(LIN + OTHER + 3, 0x43); /* inc %ebx; ret takes the place of ret */
    expect("patched-ret", ring, HERE + 1, HOT);
    u32 good = 0;
    for (unsigned i = 0; i < 40; i++) {
        poke8(LIN + OTHER + 3, i & 1 ? 0x43 : 0xc3);
        good += right(ring, HERE + (i & 1), 1);
    }
    check_eq("patched-in-turns", good, 40);
    poke8(LIN + OTHER + 3, 0xc3);
    expect("before-other-addend", ring, HERE, HOT);
    poke((u32)code + CALLER + 7, ADDEND + 4);
    expect("caller-patched", ring, HERE + 4, 3);
    poke((u32)code + CALLER + 7, ADDEND);
    load(1);
    expect("second-space-before-patch", ring, HERE, HOT);
    put_constant(first, 5);
    expect("patched-in-first-not-second", ring, HERE, 3);
    load(0);
    expect("patched-in-first", ring, 5 + ADDEND, 3);
}

static void remapped(unsigned ring)
{
    set_up(2);
    memset(spare, 0x90, sizeof(spare));
    put_constant(spare + (OTHER & 0xfff), 9);
    expect("before-remap", ring, HERE, HOT);
    tables[0][1] = (u32)spare | ALL;
    invlpg(LIN + OTHER);
    expect("remapped", ring, 9 + ADDEND, HOT);
    tables[0][1] = (u32)pages[0][0] | ALL;
    load(0);
    expect("remapped-back", ring, HERE, HOT);
    load(1);
    expect("second-not-remapped", ring, HERE, HOT);
    tables[0][1] = (u32)spare | ALL; /* while the other space is loaded */
    tables[1][1] = (u32)spare | ALL;
    invlpg(LIN + OTHER);
    expect("second-remapped", ring, 9 + ADDEND, 3);
    load(0);
    expect("first-remapped-unloaded", ring, 9 + ADDEND, 3);
}

/* The spaces share both pages, as processes share a library. */
static void shared(unsigned ring)
{
    u8 *thunk = pages[0][0] + (OTHER & 0xfff);

    set_up(3);
    tables[1][1] = tables[0][1];
    put_constant(pages[1][0] + (OTHER & 0xfff), 12);
    for (unsigned s = 0; s < 2; s++) {
        load(s);
        expect("shared-hot", ring, HERE, HOT);
    }
    put_constant(thunk, 11);
    for (unsigned s = 0; s < 2; s++) {
        load(s);
        expect("shared-patched", ring, 11 + ADDEND, HOT);
    }
    put_thunk(thunk);
    for (unsigned s = 0; s < 2; s++) {
        load(s);
        expect("shared-patched-back", ring, HERE, HOT);
    }
    tables[1][1] = (u32)pages[1][0] | ALL;
    invlpg(LIN + OTHER);
    expect("second-left", ring, 12 + ADDEND, 3);
    load(0);
    expect("first-did-not", ring, HERE, 3);
}

/* Both spaces have run other code of the page before one of them meets the call. */
static void learned_late(unsigned ring)
{
    set_up(4);
    put_constant(pages[1][0] + (OTHER & 0xfff), 13);
    for (unsigned i = 0; i < HOT; i++) {
        load(i & 1);
        run(ring, (const void *)(LIN + PLAIN));
    }
    load(0);
    expect("late-thunk", ring, HERE, HOT);
    load(1);
    expect("late-other-code", ring, 13 + ADDEND, 3);
    load(0);
    expect("late-thunk-again", ring, HERE, 3);
}

static void taken_away(unsigned ring)
{
    u32 user = ring == 3 ? US : 0;

    set_up(5);
    expect("before-absent", ring, HERE, HOT);
    tables[0][1] &= ~P;
    invlpg(LIN + OTHER);
    expect_fetch_fault("absent", ring, user, LIN + OTHER);
    tables[0][1] |= P;
    expect("present-again", ring, HERE, HOT);
    tables[0][1] &= ~US;
    invlpg(LIN + OTHER);
    if (ring == 3)
        expect_fetch_fault("supervisor-only", ring, user | P, LIN + OTHER);
    expect("supervisor-may", 0, HERE, HOT);
    tables[0][1] |= US;
    invlpg(LIN + OTHER);
    expect("user-may-again", ring, HERE, HOT);
    tables[0][1] = 0xf0000000u | ALL; /* neither RAM nor ROM: reads as ones */
    load(0);
    struct cpu c = call_once(ring);
    check("no-memory-is-no-thunk", c.vector != DONE);
    tables[0][1] = (u32)pages[0][0] | ALL;
    load(0);
    expect("memory-again", ring, HERE, 3);
}

static void elsewhere(unsigned ring)
{
    set_up(6);
    put_caller(INSIDE);
    put_thunk(code + INSIDE);
    expect("same-page", ring, HERE, HOT);
    put_constant(code + INSIDE, 21);
    expect("same-page-patched", ring, 21 + ADDEND, 3);
    put_thunk((u8 *)LIN + INSIDE);
    expect("same-page-back", ring, HERE, HOT);
    put_caller(EDGE);
    put_thunk(pages[0][0] + (EDGE & 0xfff)); /* runs on into pages[0][1] */
    expect("across-the-edge", ring, HERE, HOT);
    pages[0][1][1] = 0x43; /* ret becomes inc %ebx; ret */
    pages[0][1][2] = 0xc3;
    expect("across-the-edge-patched", ring, HERE + 1, 3);
}

void test_main(void)
{
    paging_on();
    for (unsigned ring = 0; ring < 4; ring += 3) {
        spaces_differ(ring);
        patched(ring);
        remapped(ring);
        shared(ring);
        learned_late(ring);
        taken_away(ring);
        elsewhere(ring);
    }
    write_cr3((u32)page_dir);
    paging_off();
}
