/* SPDX-License-Identifier: MIT */
/* REP INS from ports that give many values at once: the same bytes, registers and order as one at a
 * time, whatever pages, wraps, direction and other watchers are in the way. */
#include "x86_machine.h"

#define PORT 0x1f0u
#define BUF  0x40000u

/* Counts up by bytes; has `block` values at once, gives no further ones until a single read. */
struct port {
    uint8_t next;
    unsigned block, left, singles, many;
};

static uint64_t read_one(void *opaque, uint64_t offset, unsigned size)
{
    struct port *p = opaque;
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)p->next++ << 8 * i;
    p->singles++;
    p->left = p->block;
    return v;
}

static unsigned read_many(void *opaque, uint64_t offset, unsigned size, void *buf, unsigned count)
{
    struct port *p = opaque;
    unsigned n = count < p->left ? count : p->left;
    assert_int_equal(offset, 0);
    for (unsigned i = 0; i < n * size; i++)
        ((uint8_t *)buf)[i] = p->next++;
    p->left -= n;
    p->many += n != 0;
    return n;
}

static const struct io_ops ops = {read_one, NULL, 1, 4, read_many};

static void map_port(struct x86_vcpu *v, struct port *p)
{
    assert_int_equal(bus_map(v->base.pio, PORT, 8, &ops, p, "port", NULL), 0);
    x86_w32(v, X86_EDX, PORT);
}

/* Bytes first, first + 1, ... from `at` on. */
static void expect_bytes(struct x86_vcpu *v, uint32_t at, unsigned n, uint8_t first)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(peek(v, at + i, 1), (uint8_t)(first + i));
}

static void blocks_over_pages(void **state)
{
    static const struct {
        uint8_t code[3], bytes, opsize;
    } forms[] = {{{0xf3, 0x6c}, 2, 1}, {{0xf3, 0x66, 0x6d}, 3, 2}, {{0xf3, 0x6d}, 2, 4}};
    struct x86_vcpu *v = vcpu_of(state);
    struct port p = {.block = 100, .left = 100};
    map_port(v, &p);
    for (unsigned i = 0; i < ARRAY_LEN(forms); i++) {
        uint8_t first = p.next;
        uint32_t at = BUF + 0x1000 - 37; /* misaligned: a value lies in two pages */
        p.many = 0;
        poke(v, at - 1, 0xee, 1);
        poke(v, at + 1000 * forms[i].opsize, 0xee, 1);
        x86_w32(v, X86_EDI, at);
        x86_w32(v, X86_ECX, 1000);
        assert_int_equal(run(v, forms[i].code, forms[i].bytes), STEP_OK);
        assert_int_equal(x86_r32(v, X86_ECX), 0);
        assert_int_equal(x86_r32(v, X86_EDI), at + 1000 * forms[i].opsize);
        expect_bytes(v, at, 1000 * forms[i].opsize, first);
        assert_int_equal(peek(v, at - 1, 1), 0xee);
        assert_int_equal(peek(v, at + 1000 * forms[i].opsize, 1), 0xee);
        assert_in_range(p.many, 8, 20); /* it was used */
    }
}

static void downwards_and_single(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    struct port p = {.block = 100, .left = 100};
    map_port(v, &p);
    x86_w32(v, X86_EDI, BUF + 20);
    x86_w32(v, X86_ECX, 10);
    v->df_flag = FL_DF;
    assert_int_equal(RUN(v, 0xf3, 0x6c), STEP_OK);
    assert_int_equal(x86_r32(v, X86_EDI), BUF + 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(peek(v, BUF + 20 - i, 1), i);
    v->df_flag = 0;
    assert_int_equal(RUN(v, 0x6c), STEP_OK);
    assert_int_equal(peek(v, BUF + 10, 1), 10);
    assert_int_equal(p.many, 0);
}

/* 16-bit addresses wrap at 64 KiB, and only cx counts. */
static void wraps_in_real_mode(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    struct port p = {.block = 5000, .left = 5000};
    map_port(v, &p);
    set_real(v);
    x86_update_mode(v);
    uint32_t base = (uint32_t)v->seg[X86_ES].base;
    x86_w32(v, X86_EDI, 0xabcdff00);
    x86_w32(v, X86_ECX, 0x12340000 + 0x200);
    assert_int_equal(RUN(v, 0xf3, 0x6c), STEP_OK);
    assert_int_equal(x86_r32(v, X86_EDI), 0xabcd0100);
    assert_int_equal(x86_r32(v, X86_ECX), 0x12340000);
    expect_bytes(v, base + 0xff00, 0x100, 0);
    expect_bytes(v, base, 0x100, 0);
    assert_true(p.many >= 2);
}

static void stops_at_a_limit(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    struct port p = {.block = 5000, .left = 5000};
    map_port(v, &p);
    set_desc(v, SLOT, BUF, 0xff, SEG_P | SEG_DB | SEG_S | SEG_WRITABLE | SEG_ACCESSED);
    assert_int_equal(load_seg(v, X86_ES, SLOT), STEP_OK);
    x86_w32(v, X86_EDI, 0);
    x86_w32(v, X86_ECX, 0x200);
    assert_int_equal(RUN(v, 0xf3, 0x6c), 13);
    assert_int_equal(x86_r32(v, X86_EDI), 0x100);
    assert_int_equal(x86_r32(v, X86_ECX), 0x100);
    assert_int_equal(p.next, 0); /* 256 bytes and no more were taken */
    expect_bytes(v, BUF, 0x100, 0);
}

static void written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    assert_in_range(gpa, BUF, BUF + 0xfff);
    ++*(unsigned *)opaque;
}

/* Stores to a watched page are reported one by one, as those of any instruction. */
static void watchers_see_the_stores(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    struct port p = {.block = 5000, .left = 5000};
    struct wp_watcher w = {.written = written, .opaque = &(unsigned){0}};
    map_port(v, &p);
    wp_watch(v->base.mem, &w);
    wp_add(v->base.mem, (gpfn_t){BUF >> PAGE_SHIFT}, WP_DIRTY_LOG);
    x86_w32(v, X86_EDI, BUF);
    x86_w32(v, X86_ECX, 64);
    assert_int_equal(RUN(v, 0xf3, 0x6c), STEP_OK);
    assert_int_equal(*(unsigned *)w.opaque, 64);
    assert_int_equal(p.many, 0);
    expect_bytes(v, BUF, 64, 0);
    wp_unwatch(v->base.mem, &w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, machine_make, machine_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(blocks_over_pages), T(downwards_and_single),    T(wraps_in_real_mode),
        T(stops_at_a_limit),  T(watchers_see_the_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
