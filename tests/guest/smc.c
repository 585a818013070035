/* SPDX-License-Identifier: MIT */
/* Self-modifying code (Intel SDM vol. 3A 8.1.3, 11.6): a store to code that has run, or is about
 * to, must be seen when it runs: in another page, in the own page, the very next instruction,
 * across a page boundary, through another linear address, by string instructions, by remapping. The
 * P6 family needs no jump in between when the addresses are the same. */
#include "lib/lib.h"

static u8 code[3][4096] __attribute__((aligned(4096)));
static u32 pt[1024] __attribute__((aligned(4096)));
#define LIN 0x40000000u

/* mov $n, %eax; ret */
static void put_fn(u8 *at, u32 n)
{
    at[0] = 0xb8;
    memcpy(at + 1, &n, 4);
    at[5] = 0xc3;
}

static u32 call(const void *at)
{
    u32 r;
    asm volatile("call *%1" : "=a"(r) : "r"(at) : "ecx", "edx", "memory");
    return r;
}

static void patch_then_run(void)
{
    u8 *f = code[0];
    u32 sum = 0;

    put_fn(f, 1);
    check_eq("first", call(f), 1);
    put_fn(f, 2);
    check_eq("patched", call(f), 2);
    f[1] = 3; /* one byte of an immediate */
    check_eq("patched-byte", call(f), 3);
    for (u32 i = 0; i < 1000; i++) {
        memcpy(f + 1, &i, 4);
        sum += call(f);
    }
    check_eq("patched-1000-times", sum, 999 * 1000 / 2);
    f[0] = 0x31; /* mov becomes xor %eax, %eax; ret */
    f[1] = 0xc0;
    f[2] = 0xc3;
    check_eq("other-instruction", call(f), 0);
    /* The same bytes with another start: instructions overlap. */
    static const u8 overlap[] = {0xb8, 0x40, 0x40, 0x40, 0xc3, 0xc3};
    memcpy(f, overlap, sizeof(overlap));
    check_eq("overlap-outer", call(f), 0xc3404040);
    u32 r;
    asm volatile("xor %%eax, %%eax; call *%1" : "=&a"(r) : "r"(f + 1));
    check_eq("overlap-inner", r, 3);
}

/* Stores ahead in the running code. Each fragment starts by a store to a later instruction. */
FRAG(s_next, "movb $7, s_next_at + 1; s_next_at: mov $1, %eax");
FRAG(s_ahead, "movb $7, s_ahead_at + 1; nop; inc %ecx; s_ahead_at: mov $1, %eax");
FRAG(s_opcode, "movb $0x43, s_opcode_at; s_opcode_at: inc %ecx"); /* becomes inc %ebx */
FRAG(s_rep, "mov $s_rep_at, %edi; mov $0x90, %al; mov $8, %ecx; rep stosb; s_rep_at: ud2; ud2; "
            "ud2; ud2; mov %ecx, %ebx");
FRAG(s_movs,
     "mov $s_movs_at, %edi; mov $s_movs_from, %esi; movsl; movsl; s_movs_at: ud2; ud2; ud2; ud2;"
     "jmp 1f; s_movs_from: mov $0x1234, %eax; nop; nop; nop; 1:");
FRAG(s_push,
     "mov %esp, %ebp; mov $s_push_at + 4, %esp; push $0x42424242; mov %ebp, %esp; jmp s_push_at;"
     "s_push_at: nop; nop; nop; nop"); /* becomes four inc %edx */
FRAG(s_rmw, "incb s_rmw_at + 1; s_rmw_at: mov $1, %eax");
FRAG(s_xchg, "mov $0x42, %al; xchg %al, s_xchg_at; s_xchg_at: nop"); /* becomes inc %edx */
FRAG(s_loop,
     "mov $100, %ecx; xor %eax, %eax; 1: s_loop_at: add $1, %eax; incb s_loop_at + 2; loop 1b");
FRAG(s_back, "xor %ecx, %ecx; s_back_at: mov $1, %eax; test %ecx, %ecx; jnz 1f; inc %ecx;"
             "movb $9, s_back_at + 1; jmp s_back_at; 1:");

static void own_page(void)
{
    struct cpu c;

    for (unsigned ring = 0; ring < 4; ring += 3) {
        c = run(ring, s_next);
        check("next-instruction", c.vector == DONE && c.eax == 7);
        poke8((u32)s_next + 7 + 1, 1);
        c = run(ring, s_ahead);
        check("two-ahead", c.vector == DONE && c.eax == 7);
        poke8((u32)s_ahead + 9 + 1, 1);
        c = run(ring, s_opcode);
        check("next-opcode", c.vector == DONE && c.ebx == 1 && c.ecx == 0);
        poke8((u32)s_opcode + 7, 0x41);
        c = run(ring, s_rmw);
        check("next-by-rmw", c.vector == DONE && c.eax == 2);
        poke8((u32)s_rmw + 6 + 1, 1);
        c = run(ring, s_xchg);
        check("next-by-xchg", c.vector == DONE && c.edx == 1 && (c.eax & 0xff) == 0x90);
        poke8((u32)s_xchg + 8, 0x90);
        c = run(ring, s_back);
        check("loop-back", c.vector == DONE && c.eax == 9);
        poke8((u32)s_back + 2 + 1, 1);
    }
    c = run(0, s_rep);
    check("rep-stosb-over-next", c.vector == DONE && c.ecx == 0);
    c = run(0, s_movs);
    check("movsl-over-next", c.vector == DONE && c.eax == 0x1234);
    c = run(0, s_push);
    check("push-over-code", c.vector == DONE && c.edx == 4);
    c = run(0, s_loop);
    /* 1 + 2 + ... + 100 with the immediate a signed byte: no overflow up to 100. */
    check("loop-patches-itself", c.vector == DONE && c.eax == 5050);
}

static void boundaries(void)
{
    u8 *edge = code[1] - 3; /* mov's immediate straddles the page boundary */

    put_fn(edge, 0x11111111);
    check_eq("straddling", call(edge), 0x11111111);
    code[1][0] = 0x22; /* byte 3 of the instruction, on the second page */
    check_eq("straddling-second-page", call(edge), 0x11221111);
    edge[1] = 0x33;
    check_eq("straddling-first-page", call(edge), 0x11221133);
    poke((u32)edge + 1, 0x44444444); /* a store over the boundary */
    check_eq("straddling-crossing-store", call(edge), 0x44444444);
    /* A run of straight code over the boundary, patched behind it. */
    memset(code, 0x90, sizeof(code));
    put_fn(code[1] + 16, 5);
    check_eq("run-over-boundary", call(code[0] + 0xff0), 5);
    put_fn(code[1] + 16, 6);
    check_eq("run-over-boundary-patched", call(code[0] + 0xff0), 6);
    put_fn(code[1], 7);
    check_eq("run-over-boundary-first-byte", call(code[0] + 0xff0), 7);
}

static void aliases(void)
{
    paging_on();
    for (u32 i = 0; i < 3; i++)
        pt[i] = (u32)code[i] | 7;
    pt[8] = (u32)code[0] | 7; /* a second alias */
    page_dir[LIN >> 22] = (u32)pt | 7;
    write_cr3((u32)page_dir);
    put_fn(code[0], 1);
    check_eq("alias-runs", call((void *)LIN), 1);
    put_fn(code[0], 2); /* stored through the identity map */
    check_eq("alias-sees-store", call((void *)LIN), 2);
    put_fn((u8 *)LIN, 3);
    check_eq("identity-sees-alias-store", call(code[0]), 3);
    check_eq("both-aliases", call((void *)(LIN + 0x8000)), 3);
    put_fn((u8 *)LIN + 0x8000, 4);
    check_eq("alias-to-alias", call((void *)LIN), 4);
    /* The page changes under the address instead of the bytes in it. */
    put_fn(code[1], 21);
    pt[0] = (u32)code[1] | 7;
    asm volatile("invlpg (%0)" ::"r"(LIN) : "memory");
    check_eq("remapped", call((void *)LIN), 21);
    pt[0] = (u32)code[0] | 7;
    write_cr3((u32)page_dir);
    check_eq("remapped-back", call((void *)LIN), 4);
    /* Straddling code whose two linear pages swap physical order. */
    put_fn((u8 *)LIN + 0xffd, 0x01020304);
    check_eq("alias-straddles", call((void *)(LIN + 0xffd)), 0x01020304);
    memset(code[2], 0x55, 16);
    code[2][2] = 0xc3;
    pt[1] = (u32)code[2] | 7;
    asm volatile("invlpg (%0)" ::"r"(LIN + 0x1000) : "memory");
    check_eq("alias-second-page-remapped", call((void *)(LIN + 0xffd)), 0x55550304);
    pt[1] = (u32)code[1] | 7;
    write_cr3((u32)page_dir);
    check_eq("alias-second-page-back", call((void *)(LIN + 0xffd)), 0x01020304);
    paging_off();
}

static void bulk(void)
{
    u8 *f = code[0] + 0x100;

    put_fn(f, 1);
    call(f);
    u32 ecx = sizeof(code) / 4;
    void *edi = code;
    asm volatile("rep stosl" : "+c"(ecx), "+D"(edi) : "a"(0xc3c3c3c3) : "memory");
    u32 r;
    asm volatile("mov $0x99, %%eax; call *%1" : "=&a"(r) : "r"(f));
    check_eq("rep-stosl-whole-pages", r, 0x99);
    static u8 fn[16];
    put_fn(fn, 0x31);
    memcpy(f, fn, 6);
    check_eq("rep-movsb-over-code", call(f), 0x31);
    /* Data next to code that is executed: slow is fine, wrong is not. */
    u32 sum = 0;
    put_fn(f, 1);
    for (u32 i = 0; i < 2000; i++) {
        poke((u32)f + 8, i);
        sum += call(f) + peek((u32)f + 8);
    }
    check_eq("data-beside-code", sum, 2000 + 1999 * 2000 / 2);
}

void test_main(void)
{
    patch_then_run();
    own_page();
    boundaries();
    aliases();
    bulk();
}
