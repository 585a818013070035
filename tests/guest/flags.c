/* SPDX-License-Identifier: MIT */
/* Flags under a running timer (Intel SDM vol. 3A 6.8, vol. 1 3.4.3): the interrupt flag in every
 * idiom that opens and closes it, in hot loops, where an interrupt may only come at the addresses
 * the architecture leaves open (STI and MOV SS hold it for one instruction, POPF and IRET do not),
 * and a waiting one comes at the first of them; sti;hlt without a lost wake-up; DF and the
 * arithmetic flags kept over interrupts through millions of rounds of code that depends on them;
 * who may change IF, by IOPL and ring. events.c has the single cases. */
#include "lib/lib.h"

#define ROUNDS 5000u /* of a fragment in one run */

/* ---- interrupts come in, and where ----------------------------------------------------------- */

struct range {
    const char *from, *to; /* both allowed */
};
static struct range allowed[2];
static volatile u32 ticks, closed, misplaced, first_eip, directed;

static bool is_allowed(u32 eip)
{
    for (unsigned i = 0; i < 2; i++)
        if (eip >= (u32)allowed[i].from && eip <= (u32)allowed[i].to)
            return true;
    return false;
}

static void tick(struct frame *f)
{
    outb(0x20, 0x20);
    if (!ticks++)
        first_eip = f->eip;
    closed += !(f->eflags & IF);
    directed += !!(f->eflags & DF);
    if (allowed[0].from && !is_allowed(f->eip))
        misplaced = f->eip;
}

static void spurious(struct frame *f) /* of a request that went away: nothing to acknowledge */ {}

static void timer_on(u8 mode, u16 count)
{
    ticks = closed = misplaced = directed = 0;
    hook[0x20] = tick;
    hook[0x27] = spurious;
    pit_start(0, 0); /* low for 55 ms */
    pic_init();      /* forget what came while masked */
    pit_start(mode, count);
    pic_mask(0xfffe);
}

static void timer_off(void)
{
    pic_mask(0xffff);
    hook[0x20] = hook[0x27] = NULL;
}

/* Fragments start with IF clear, loop ecx times, and close IF before their end. edx stays 0. */
FRAG(w_cli_sti, "w_cli_sti_1: cli; inc %eax; inc %ebx; sti; inc %eax; w_cli_sti_2: nop; nop;"
                "dec %ecx; jnz w_cli_sti_1; w_cli_sti_3: cli");
FRAG(w_save, "sti; w_save_1: pushf; w_save_2: cli; inc %eax; inc %ebx; popf; w_save_3: nop;"
             "dec %ecx; jnz w_save_1; w_save_4: cli");
FRAG(w_nested,
     "sti; w_nested_1: pushf; w_nested_2: cli; pushf; cli; inc %eax; popf; inc %ebx; inc %eax;"
     "popf; w_nested_3: nop; dec %ecx; jnz w_nested_1; w_nested_4: cli");
FRAG(w_sti_cli, "1: sti; cli; inc %eax; dec %ecx; jnz 1b");
FRAG(w_sti_nop_cli, "1: sti; nop; w_sti_nop_cli_1: cli; inc %eax; dec %ecx; jnz 1b");
FRAG(w_sti_sti_cli, "1: sti; sti; w_sti_sti_cli_1: cli; inc %eax; dec %ecx; jnz 1b");
FRAG(w_popf_cli, "1: push $0x3202; popf; w_popf_cli_1: cli; inc %eax; dec %ecx; jnz 1b");
FRAG(w_popf_popf,
     "1: push $0x3002; push $0x3202; popf; w_popf_popf_1: popf; inc %eax; dec %ecx; jnz 1b");
FRAG(w_popfw, "1: pushw $0x3202; popfw; w_popfw_1: cli; inc %eax; dec %ecx; jnz 1b");
FRAG(w_iret,
     "1: push $0x3202; push %cs; push $w_iret_1; iret; ud2; w_iret_1: cli; dec %ecx; jnz 1b");
FRAG(w_sti_jmp, "1: sti; jmp w_sti_jmp_1; ud2; w_sti_jmp_1: cli; dec %ecx; jnz 1b");
FRAG(w_sti_jcc, "1: sti; jz w_sti_jcc_1; w_sti_jcc_1: cli; dec %ecx; jnz 1b");
FRAG(w_sti_ret, "1: call 2f; w_sti_ret_1: cli; dec %ecx; jnz 1b; jmp 3f; 2: sti; ret; 3: nop");
FRAG(w_sti_call,
     "1: sti; call w_sti_call_1; dec %ecx; jnz 1b; jmp 3f; w_sti_call_1: cli; ret; 3: nop");
FRAG(w_sti_loop, "w_sti_loop_1: cli; sti; loop w_sti_loop_1; w_sti_loop_2: cli");
FRAG(w_sti_in, "1: sti; in $0x21, %al; w_sti_in_1: cli; dec %ecx; jnz 1b");
FRAG(w_sti_store, "1: sti; mov %eax, w_word; w_sti_store_1: cli; inc %eax; dec %ecx; jnz 1b");
FRAG(w_mov_ss, "mov %ss, %eax; sti; nop; w_mov_ss_1: mov %eax, %ss; nop; w_mov_ss_2: inc %ebx;"
               "dec %ecx; jnz w_mov_ss_1; w_mov_ss_3: cli");
FRAG(w_pop_ss, "sti; nop; w_pop_ss_1: push %ss; w_pop_ss_2: pop %ss; nop; w_pop_ss_3: dec %ecx;"
               "jnz w_pop_ss_1; w_pop_ss_4: cli");
FRAG(w_sti_mov_ss, "mov %ss, %eax; 1: sti; mov %eax, %ss; w_sti_mov_ss_1: nop; w_sti_mov_ss_2: cli;"
                   "dec %ecx; jnz 1b");
FRAG(w_visible, "w_visible_1: cli; pushf; pop %eax; and $0x200, %eax; or %eax, %edx; sti; pushf;"
                "w_visible_2: pop %eax; not %eax; and $0x200, %eax; or %eax, %edx; dec %ecx;"
                "jnz w_visible_1; w_visible_3: cli");
FRAG(w_invlpg, "1: sti; invlpg (%esp); w_invlpg_1: cli; dec %ecx; jnz 1b");
FRAG(w_cr, "1: sti; mov %cr0, %eax; w_cr_1: cli; dec %ecx; jnz 1b");
u32 w_word;
LABEL(w_cli_sti_1);
LABEL(w_cli_sti_2);
LABEL(w_cli_sti_3);
LABEL(w_save_1);
LABEL(w_save_2);
LABEL(w_save_3);
LABEL(w_save_4);
LABEL(w_nested_1);
LABEL(w_nested_2);
LABEL(w_nested_3);
LABEL(w_nested_4);
LABEL(w_sti_nop_cli_1);
LABEL(w_sti_sti_cli_1);
LABEL(w_popf_cli_1);
LABEL(w_popf_popf_1);
LABEL(w_popfw_1);
LABEL(w_iret_1);
LABEL(w_sti_jmp_1);
LABEL(w_sti_jcc_1);
LABEL(w_sti_ret_1);
LABEL(w_sti_call_1);
LABEL(w_sti_loop_1);
LABEL(w_sti_loop_2);
LABEL(w_sti_in_1);
LABEL(w_sti_store_1);
LABEL(w_mov_ss_1);
LABEL(w_mov_ss_2);
LABEL(w_mov_ss_3);
LABEL(w_pop_ss_1);
LABEL(w_pop_ss_2);
LABEL(w_pop_ss_3);
LABEL(w_pop_ss_4);
LABEL(w_sti_mov_ss_1);
LABEL(w_sti_mov_ss_2);
LABEL(w_visible_1);
LABEL(w_visible_2);
LABEL(w_visible_3);
LABEL(w_invlpg_1);
LABEL(w_cr_1);

/* `first` is where an interrupt that waits comes in, or NULL if it never may or two places are
 * right. */
static const struct window {
    const char *name, *code;
    struct range allowed[2];
    const char *first;
    bool ring0_only, never;
} windows[] = {
#define AT(label) {{label, label}, {label, label}}, label
    {"cli-sti",
     w_cli_sti,
     {{w_cli_sti_1, w_cli_sti_1}, {w_cli_sti_2, w_cli_sti_3}},
     w_cli_sti_2,
     0,
     0},
    {"save-restore", w_save, {{w_save_1, w_save_2}, {w_save_3, w_save_4}}, w_save_2, 0, 0},
    {"nested", w_nested, {{w_nested_1, w_nested_2}, {w_nested_3, w_nested_4}}, w_nested_2, 0, 0},
    {"sti-cli", w_sti_cli, {{"", NULL}}, NULL, 0, 1},
    {"sti-nop-cli", w_sti_nop_cli, AT(w_sti_nop_cli_1), 0, 0},
    {"sti-sti-cli", w_sti_sti_cli, AT(w_sti_sti_cli_1), 0, 0},
    {"popf-cli", w_popf_cli, AT(w_popf_cli_1), 0, 0},
    {"popf-popf", w_popf_popf, AT(w_popf_popf_1), 0, 0},
    {"popfw-cli", w_popfw, AT(w_popfw_1), 0, 0},
    {"iret-cli", w_iret, AT(w_iret_1), 0, 0},
    {"sti-jmp-cli", w_sti_jmp, AT(w_sti_jmp_1), 0, 0},
    {"sti-jcc-cli", w_sti_jcc, AT(w_sti_jcc_1), 0, 0},
    {"sti-ret-cli", w_sti_ret, AT(w_sti_ret_1), 0, 0},
    {"sti-call-cli", w_sti_call, AT(w_sti_call_1), 0, 0},
    {"sti-loop-cli",
     w_sti_loop,
     {{w_sti_loop_1, w_sti_loop_1}, {w_sti_loop_2, w_sti_loop_2}},
     NULL,
     0,
     0},
    {"sti-in-cli", w_sti_in, AT(w_sti_in_1), 0, 0},
    {"sti-store-cli", w_sti_store, AT(w_sti_store_1), 0, 0},
    {"mov-ss", w_mov_ss, {{w_mov_ss_1, w_mov_ss_1}, {w_mov_ss_2, w_mov_ss_3}}, w_mov_ss_1, 0, 0},
    {"pop-ss", w_pop_ss, {{w_pop_ss_1, w_pop_ss_2}, {w_pop_ss_3, w_pop_ss_4}}, w_pop_ss_1, 0, 0},
    {"sti-mov-ss",
     w_sti_mov_ss,
     {{w_sti_mov_ss_1, w_sti_mov_ss_2}, {w_sti_mov_ss_1, w_sti_mov_ss_2}},
     NULL,
     0,
     0},
    {"pushf-shows-if",
     w_visible,
     {{w_visible_1, w_visible_1}, {w_visible_2, w_visible_3}},
     w_visible_2,
     0,
     0},
    {"sti-invlpg-cli", w_invlpg, AT(w_invlpg_1), 1, 0},
    {"sti-mov-cr-cli", w_cr, AT(w_cr_1), 1, 0},
};

static struct cpu run_window(const struct window *w, unsigned ring, u32 rounds)
{
    struct cpu c = cpu_make(ring, w->code);

    c.ecx = rounds;
    c.eflags |= IOPL3;
    cpu_run(&c);
    return c;
}

static const char *named(const struct window *w, const char *what)
{
    static char name[64];
    char *at = name;

    for (const char *s = w->name; *s;)
        *at++ = *s++;
    for (const char *s = what; *s;)
        *at++ = *s++;
    *at = 0;
    return name;
}

/* Interrupts at unknown moments of a hot loop, then some that wait before it starts. */
static void window(const struct window *w, unsigned ring)
{
    u32 bad = 0, late = 0;

    allowed[0] = w->allowed[0], allowed[1] = w->allowed[1];
    timer_on(2, 60); /* 20 kHz */
    for (u32 i = 0; i < (w->never ? 40 : 4000) && ticks < 12; i++) {
        struct cpu c = run_window(w, ring, ROUNDS);
        bad += c.vector != DONE || c.ecx || c.edx || c.esp != (u32)frag_stack_top;
    }
    timer_off();
    check_eq(w->name, bad, 0);
    check_eq(named(w, "-never-closed"), closed, 0);
    check_eq(named(w, "-only-where-open"), misplaced, 0);
    if (w->never)
        check_eq(named(w, "-none"), ticks, 0);
    else
        check(named(w, "-interrupted"), ticks >= 12);
    for (u32 i = 0; i < 4; i++) {
        timer_on(0, 20);
        wait_irq0();
        struct cpu c = run_window(w, ring, 1 + i % 2);
        late += c.vector != DONE || ticks != !w->never || (w->first && first_eip != (u32)w->first);
        timer_off();
    }
    check_eq(named(w, "-at-first-chance"), late, 0);
    allowed[0] = allowed[1] = (struct range){NULL, NULL};
}

/* ---- waiting --------------------------------------------------------------------------------- */

FRAG(f_idle, "1: cli; cmpl $0, ticks; jne 2f; sti; hlt; inc %ebx; jmp 1b; 2: nop");

/* The idiom of every idle loop: an interrupt before, at or behind the test must end it. A lost
 * wake-up would hang. */
static void idle(void)
{
    u32 good = 0, n = 0;

    for (u32 count = 2; count < 400; count += 3, n++) {
        timer_on(0, (u16)count);
        struct cpu c = run(0, f_idle);
        good += c.vector == DONE && ticks == 1 && c.ebx <= 1 && !closed;
        timer_off();
    }
    check_eq("sti-hlt-always-wakes", good, n);
    timer_on(2, 597);
    for (u32 i = 0; i < 30; i++)
        asm volatile("sti; hlt; cli" ::: "memory");
    timer_off();
    check("sti-hlt-periodic", ticks >= 29 && ticks <= 60 && !closed);
}

/* ---- flags that must survive ----------------------------------------------------------------- */

/* The carry goes from round to round: nothing between but instructions that leave it alone. */
FRAG(
    l_adc,
    "clc; 1: adc %esi, %eax; mov %eax, w_word; lea 3(%edi), %edi; adc w_word, %ebx; mov %ebx, %edx;"
    "not %edx; movzbl %dl, %edx; inc %ebp; dec %ecx; jnz 1b; sbb %edx, %edx");
FRAG(l_rotate,
     "stc; 1: rcl $1, %eax; mov %eax, w_word; rcrl $1, %ebx; lea (%eax, %ebx), %edx; bswap %edx;"
     "rcl $1, %esi; xchg %edx, w_word; inc %edi; dec %ecx; jnz 1b; setc %dl");
FRAG(l_setcc,
     "1: add $0x12345671, %eax; mov %eax, %edx; seto %dl; sets %dh; lea (%ebx, %edx), %ebx;"
     "jp 2f; lea 1(%esi), %esi; 2: jno 3f; lea 7(%esi), %esi; 3: cmovbel %ecx, %edi; mov %edi, "
     "w_word;"
     "jbe 4f; lea 9(%esi), %esi; 4: lea -1(%ecx), %ecx; jecxz 5f; jmp 1b; 5: nop");
FRAG(l_decimal,
     "1: add $0x37, %al; mov %al, w_word; daa; adc $0, %ah; add $0x29, %al; das; xchg %ebx, %eax;"
     "aaa; aas; add %eax, %ebx; lahf; xor %ah, %bh; sahf; adc %ecx, %esi; dec %ecx; jnz 1b");
FRAG(l_compare,
     "1: cmp %eax, %ebx; mov %ecx, %edx; jl 2f; lea 5(%ebx, %eax), %ebx; jmp 3f; 2: lea 3(%ebx), "
     "%ebx;"
     "3: setg %dl; mov %dl, w_word; jae 4f; lea (%esi, %ecx), %esi; 4: lea 0x3333(%eax), %eax;"
     "loop 1b");
FRAG(l_string,
     "1: mov $w_string, %edi; mov %ecx, %eax; and $63, %eax; mov $80, %edx; xchg %ecx, %edx;"
     "repne scasb; mov %edx, %ecx; jne 2f; sub $w_string, %edi; add %edi, %ebx; 2: dec %ecx; jnz "
     "1b");
u8 w_string[64];

static const struct loop {
    const char *name, *code;
    u32 rounds;
} loops[] = {
    {"flags-adc", l_adc, 2000000},        {"flags-rotate", l_rotate, 300000},
    {"flags-setcc", l_setcc, 300000},     {"flags-decimal", l_decimal, 200000},
    {"flags-compare", l_compare, 300000}, {"flags-string", l_string, 20000},
};

static struct cpu run_loop(const struct loop *l, unsigned ring)
{
    struct cpu c = cpu_make(ring, l->code);

    c.eax = 0x9e3779b9;
    c.ebx = 0x7f4a7c15;
    c.esi = 0x85ebca6b;
    c.edi = 0xc2b2ae35;
    c.ecx = l->rounds;
    c.eflags |= IF;
    cpu_run(&c);
    return c;
}

/* l_adc in C. */
static bool adc_is_right(const struct cpu *c, u32 rounds)
{
    u32 a = 0x9e3779b9, b = 0x7f4a7c15, carry = 0;

    for (u32 i = 0; i < rounds; i++) {
        u64 x = (u64)a + 0x85ebca6b + carry;
        a = (u32)x;
        u64 y = (u64)b + a + (u32)(x >> 32);
        b = (u32)y;
        carry = (u32)(y >> 32);
    }
    return c->eax == a && c->ebx == b && c->edx == 0u - carry && c->ebp == rounds;
}

static void arithmetic(void)
{
    for (u32 i = 0; i < sizeof(w_string); i++)
        w_string[i] = (u8)(i * 5);
    for (unsigned i = 0; i < sizeof(loops) / sizeof(*loops); i++) {
        const struct loop *l = &loops[i];
        u32 bad = 0;
        timer_off();
        struct cpu quiet = run_loop(l, 0);
        bad += quiet.vector != DONE;
        if (l->code == l_adc)
            bad += !adc_is_right(&quiet, l->rounds);
        for (unsigned ring = 0; ring <= 3; ring += 3) {
            timer_on(2, l->code == l_adc ? 1193 : 119);
            for (u32 again = 0; again < 200 && (!again || ticks < 8); again++) {
                struct cpu c = run_loop(l, ring);
                bad += memcmp(&c, &quiet, offsetof(struct cpu, esp)) ||
                       memcmp(&c.ebp, &quiet.ebp, 12) || (c.eflags ^ quiet.eflags) & 0x8d5;
            }
            timer_off();
            bad += ticks < 8 || closed;
        }
        check_eq(l->name, bad, 0);
    }
}

static u8 from[4096], to[4096];

FRAG(d_down, "std; 1: lodsb; stosb; lodsw; stosw; dec %ecx; jnz 1b; cld");
FRAG(d_rep, "std; 1: mov %ebx, %ecx; push %esi; push %edi; rep movsb; pop %edi; pop %esi; dec "
            "%edx; jnz 1b; cld");
FRAG(d_both, "1: std; lodsb; lodsb; cld; lodsb; add %al, %ah; std; scasb; scasb; cld; scasb; dec "
             "%ecx; jnz 1b");

static struct cpu downwards(const char *code, unsigned ring)
{
    struct cpu c = cpu_make(ring, code);

    c.esi = (u32)from + 4095;
    c.edi = (u32)to + 4095;
    c.ecx = 1300;
    c.ebx = 4000;
    c.edx = 20;
    c.eflags |= IF;
    if (code == d_down) /* words behind bytes: one lower */
        c.esi--, c.edi--;
    memset(to, 0, sizeof(to));
    cpu_run(&c);
    return c;
}

static void direction(void)
{
    static const struct {
        const char *name, *code;
    } t[] = {{"df-byte-by-byte", d_down}, {"df-rep", d_rep}, {"df-both-ways", d_both}};
    static u8 reference[4096];

    for (u32 i = 0; i < 4096; i++)
        from[i] = (u8)(i * 7 + i / 256);
    for (unsigned i = 0; i < 3; i++) {
        /* An engine may well take interrupts only where d_both has DF clear. */
        volatile u32 *enough = t[i].code == d_both ? &ticks : &directed;
        u32 bad = 0;
        struct cpu quiet = downwards(t[i].code, 0);
        memcpy(reference, to, sizeof(to));
        bad += quiet.vector != DONE;
        if (t[i].code == d_rep)
            bad += memcmp(to + 96, from + 96, 4000) || to[95];
        if (t[i].code == d_both)
            bad += quiet.esi != (u32)from + 4095 - 1300 || quiet.edi != (u32)to + 4095 - 1300;
        for (unsigned ring = 0; ring <= 3; ring += 3) {
            timer_on(2, 97);
            for (u32 again = 0; again < 3000 && *enough < 5; again++) {
                struct cpu c = downwards(t[i].code, ring);
                bad += memcmp(&c, &quiet, offsetof(struct cpu, esp)) ||
                       memcmp(&c.ebp, &quiet.ebp, 12) || memcmp(reference, to, sizeof(to));
            }
            timer_off();
            bad += *enough < 5;
        }
        check_eq(t[i].name, bad, 0);
    }
}

/* ---- who may change IF ----------------------------------------------------------------------- */

FRAG(p_cli, "mov $3, %ecx; 1: loop 1b; p_cli_at: cli; pushf; pop %eax");
FRAG(p_sti, "mov $3, %ecx; 1: loop 1b; p_sti_at: sti; pushf; pop %eax");
FRAG(p_popf, "mov $3, %ecx; 1: loop 1b; push %ebx; popf; pushf; pop %eax");
FRAG(p_popfw, "mov $3, %ecx; 1: loop 1b; pushw %bx; popfw; pushf; pop %eax");
LABEL(p_cli_at);
LABEL(p_sti_at);

static void privilege(void)
{
    u32 good = 0, state = 7;

    for (u32 i = 0; i < 1024; i++) {
        state = state * 1664525 + 1013904223;
        unsigned ring = i & 3, iopl = i >> 2 & 3, what = i >> 4 & 3;
        bool on = i >> 6 & 1, allow = ring <= iopl;
        static const char *const codes[] = {p_cli, p_sti, p_popf, p_popfw};
        u32 flags0 = 2 | iopl << 12 | (on ? IF : 0), want = flags0;
        struct cpu c = cpu_make(ring, codes[what]);
        c.eflags = flags0;
        c.ebx = 2 | (state >> 8 & (IF | IOPL3 | CF | ZF | OF));
        cpu_run(&c);
        if (what < 2 && !allow) {
            good += c.vector == 13 && c.error == 0 && c.eip == (u32)(what ? p_sti_at : p_cli_at) &&
                    (c.eflags & (IF | IOPL3)) == (flags0 & (IF | IOPL3));
            continue;
        }
        if (what < 2)
            want = what ? want | IF : want & ~IF;
        else
            want = (c.ebx & ~(IF | IOPL3)) | ((allow ? c.ebx : flags0) & IF) |
                   ((ring ? flags0 : c.ebx) & IOPL3);
        good += c.vector == DONE && c.eax == want;
    }
    check_eq("if-by-ring-and-iopl", good, 1024);
}

void test_main(void)
{
    paging_on();
    for (unsigned i = 0; i < sizeof(windows) / sizeof(*windows); i++)
        for (unsigned ring = 0; ring <= (windows[i].ring0_only ? 0 : 3); ring += 3)
            window(&windows[i], ring);
    idle();
    arithmetic();
    direction();
    privilege();
}
