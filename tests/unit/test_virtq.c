/* SPDX-License-Identifier: MIT */
/* Virtqueues from the driver's side: what the specification says, what a hostile driver does, and
 * random descriptors against a plain model. */
#include "virtq_rig.h"

#include <stdlib.h>

#define RINGS 0x10000u
#define DATA  0x200000u

struct bench {
    struct phys *mem;
    struct gq g;
    struct virtq q;
    struct virtq_chain c;
};

static struct bench *new_bench(unsigned size)
{
    struct bench *b = calloc(1, sizeof *b);
    b->mem = guest_memory();
    b->g = gq_at(b->mem, RINGS, size);
    gq_attach(&b->g, &b->q);
    return b;
}

static void free_bench(struct bench *b)
{
    phys_free(b->mem);
    free(b);
}

/* ---- what the specification says ------------------------------------------------------------- */

static void legacy_layout_is_that_of_2_6_2(void **state)
{
    struct virtq q = {.size = 256};
    virtq_legacy_layout(&q, 0x100000, 4096);
    assert_int_equal(q.desc, 0x100000);
    assert_int_equal(q.avail, 0x101000);
    assert_int_equal(q.used, 0x102000);
    q.size = 8;
    virtq_legacy_layout(&q, 0x3000, 64);
    assert_int_equal(q.avail, 0x3080);
    assert_int_equal(q.used, 0x30c0);
}

static void chains_come_in_order_with_their_pieces(void **state)
{
    struct bench *b = new_bench(8);
    char text[16] = {0};
    phys_load(b->mem, DATA, "hello ", 6);
    phys_load(b->mem, DATA + 0x1000, "world", 5);
    gq_desc(&b->g, 3, DATA, 6, D_NEXT, 1);
    gq_desc(&b->g, 1, DATA + 0x1000, 5, D_NEXT, 7);
    gq_desc(&b->g, 7, DATA + 0x2000, 4, D_WRITE | D_NEXT, 0);
    gq_desc(&b->g, 0, DATA + 0x3000, 100, D_WRITE, 5);
    gq_desc(&b->g, 4, DATA + 0x5000, 1, 0, 0);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    gq_offer(&b->g, 3);
    gq_offer(&b->g, 4);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(b->c.head, 3);
    assert_int_equal(b->c.out, 2);
    assert_int_equal(b->c.in, 2);
    assert_int_equal(b->c.out_bytes, 11);
    assert_int_equal(b->c.in_bytes, 104);
    assert_int_equal(virtq_read(&b->c, 0, text, sizeof text), 11);
    assert_string_equal(text, "hello world");
    assert_int_equal(virtq_read(&b->c, 4, text, 3), 3);
    assert_memory_equal(text, "o w", 3);
    assert_int_equal(virtq_write(&b->c, 2, "abcdef", 6), 6);
    assert_int_equal(get(b->mem, DATA + 0x2002, 2), 'a' | 'b' << 8);
    assert_int_equal(get(b->mem, DATA + 0x3000, 4), 'c' | 'd' << 8 | 'e' << 16 | 'f' << 24);
    assert_int_equal(virtq_write(&b->c, 100, "abcdef", 6), 4);
    virtq_push(&b->q, &b->c, 104);
    uint32_t id, len;
    assert_false(gq_used(&b->g, &id, &len)); /* not before it is published */
    assert_true(virtq_publish(&b->q));
    assert_true(gq_used(&b->g, &id, &len));
    assert_int_equal(id, 3);
    assert_int_equal(len, 104);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(b->c.head, 4);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    assert_false(virtq_publish(&b->q)); /* nothing new */
    free_bench(b);
}

static void indirect_tables_are_chains(void **state)
{
    struct bench *b = new_bench(4);
    gpa_t table = DATA + 0x10000;
    gq_desc_at(b->mem, table, 0, DATA, 16, D_NEXT, 5);
    gq_desc_at(b->mem, table, 5, DATA + 0x1000, 512, D_NEXT | D_WRITE, 2);
    gq_desc_at(b->mem, table, 2, DATA + 0x2000, 1, D_WRITE, 0);
    gq_desc(&b->g, 2, table, 6 * 16, D_TABLE, 0);
    gq_offer(&b->g, 2);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(b->c.head, 2);
    assert_int_equal(b->c.out_bytes, 16);
    assert_int_equal(b->c.in_bytes, 513);
    assert_int_equal(b->c.gpa[1], DATA + 0x1000);
    free_bench(b);
}

/* 256 descriptors of a page each, the most a queue holds, scattered. */
static void longest_chain_fits(void **state)
{
    struct bench *b = new_bench(256);
    for (unsigned i = 0; i < 256; i++)
        gq_desc(&b->g, i, DATA + 0x2000 * i, 0x1000, D_WRITE | (i < 255 ? D_NEXT : 0), i + 1);
    gq_offer(&b->g, 0);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(b->c.in, 256);
    assert_int_equal(b->c.in_bytes, 256 * 0x1000);
    free_bench(b);
}

static void rings_wrap_after_65536(void **state)
{
    struct bench *b = new_bench(2);
    uint32_t id, len;
    gq_desc(&b->g, 1, DATA, 4, D_WRITE, 0);
    for (unsigned i = 0; i < 70000; i++) {
        gq_offer(&b->g, 1);
        assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
        virtq_push(&b->q, &b->c, i & 3);
        assert_true(virtq_publish(&b->q));
        assert_true(gq_used(&b->g, &id, &len));
        assert_int_equal(len, i & 3);
    }
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    free_bench(b);
}

static void rewound_chains_come_again(void **state)
{
    struct bench *b = new_bench(4);
    for (unsigned i = 0; i < 3; i++) {
        gq_desc(&b->g, i, DATA + i, 1, D_WRITE, 0);
        gq_offer(&b->g, i);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    virtq_rewind(&b->q, 2);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(b->c.head, 1);
    free_bench(b);
}

/* Without event index: the flag of the available ring. With it: 2.6.7.2 and vring_need_event. */
static void interrupts_are_asked_for(void **state)
{
    struct bench *b = new_bench(8);
    gq_desc(&b->g, 0, DATA, 4, D_WRITE, 0);
    for (unsigned i = 0; i < 8; i++)
        gq_offer(&b->g, 0);
    for (unsigned i = 0; i < 2; i++) {
        put(b->mem, b->g.avail, i, 2);
        assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
        virtq_push(&b->q, &b->c, 0);
        assert_int_equal(virtq_publish(&b->q), i == 0);
    }
    b->q.event_idx = 1; /* the flag, still set, no longer counts */
    static const struct {
        unsigned pushes, event;
        bool interrupt;
    } rows[] = {{1, 2, true}, {1, 2, false}, {2, 5, true}, {1, 7, false}, {1, 7, true}};
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        gq_used_event(&b->g, rows[i].event);
        for (unsigned n = 0; n < rows[i].pushes; n++) {
            assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
            virtq_push(&b->q, &b->c, 0);
        }
        assert_int_equal(virtq_publish(&b->q), rows[i].interrupt);
    }
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    assert_int_equal(gq_avail_event(&b->g), 8); /* notify me of the ninth */
    free_bench(b);
}

/* Left with chains in the queue, it wants to hear of those that are added later. */
static void queues_may_be_left_early(void **state)
{
    struct bench *b = new_bench(8);
    b->q.event_idx = 1;
    gq_desc(&b->g, 0, DATA, 4, D_WRITE, 0);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    for (unsigned i = 0; i < 3; i++)
        gq_offer(&b->g, 0);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(gq_avail_event(&b->g), 0);
    gq_offer(&b->g, 0); /* not seen yet */
    virtq_arm(&b->q);
    assert_int_equal(gq_avail_event(&b->g), 4);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_EMPTY);
    free_bench(b);
}

static unsigned written_bytes;
static void on_written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    written_bytes += (unsigned)len;
}

/* Who watches guest memory hears of data, and of the rings. */
static void stores_are_reported(void **state)
{
    struct bench *b = new_bench(4);
    struct wp_watcher w = {.written = on_written};
    wp_watch(b->mem, &w);
    wp_add(b->mem, gpa_page(DATA), WP_CODE);
    gq_desc(&b->g, 0, DATA + 0xff0, 0x20, D_WRITE, 0);
    gq_offer(&b->g, 0);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    written_bytes = 0;
    virtq_push(&b->q, &b->c, 0x20); /* half of it in the watched page */
    assert_int_equal(written_bytes, 0x10);
    wp_add(b->mem, gpa_page(b->g.used), WP_DIRTY_LOG);
    written_bytes = 0;
    virtq_publish(&b->q);
    assert_int_equal(written_bytes, 2);
    wp_unwatch(b->mem, &w);
    free_bench(b);
}

static void moved_memory_is_looked_up_again(void **state)
{
    struct bench *b = new_bench(4);
    gq_desc(&b->g, 0, DATA, 4, D_WRITE, 0);
    gq_offer(&b->g, 0);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    /* The rings' pages now show other memory, where the available index is 2. */
    phys_remap(b->mem, RINGS, PHYS_RAM, 0x400000, 0x4000);
    gq_desc(&b->g, 1, DATA, 9, D_WRITE, 0);
    b->g.next_avail = 1;
    gq_offer(&b->g, 1);
    virtq_remapped(&b->q);
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_TAKEN);
    assert_int_equal(b->c.in_bytes, 9);
    phys_remap(b->mem, RINGS, PHYS_NONE, 0, 0x4000);
    virtq_remapped(&b->q);
    virtq_push(&b->q, &b->c, 9); /* goes nowhere */
    assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_BROKEN);
    free_bench(b);
}

/* ---- what a hostile driver does -------------------------------------------------------------- */

static void loop(struct bench *b)
{
    gq_desc(&b->g, 0, DATA, 1, D_NEXT, 1);
    gq_desc(&b->g, 1, DATA, 1, D_NEXT, 0);
}
static void out_of_queue(struct bench *b)
{
    gq_desc(&b->g, 0, DATA, 1, D_NEXT, 8);
}
static void out_of_memory(struct bench *b)
{
    gq_desc(&b->g, 0, GUEST_RAM - 1, 2, D_WRITE, 0);
}
static void above_4g(struct bench *b)
{
    gq_desc(&b->g, 0, UINT64_MAX - 1, 4, 0, 0);
}
static void into_rom(struct bench *b)
{
    gq_desc(&b->g, 0, GUEST_ROM, 4, D_WRITE, 0);
}
static void giant(struct bench *b)
{
    gq_desc(&b->g, 0, 0, UINT32_MAX, 0, 0);
}
static void giant_together(struct bench *b)
{
    for (unsigned i = 0; i < 16; i++)
        gq_desc_at(b->mem, DATA, i, GUEST_ABOVE, GUEST_RAM - GUEST_ABOVE, i < 15 ? D_NEXT : 0,
                   i + 1);
    gq_desc(&b->g, 0, DATA, 256, D_TABLE, 0);
}
static void write_then_read(struct bench *b)
{
    gq_desc(&b->g, 0, DATA, 1, D_NEXT | D_WRITE, 1);
    gq_desc(&b->g, 1, DATA, 1, 0, 0);
}
static void table_odd(struct bench *b)
{
    gq_desc(&b->g, 0, DATA, 17, D_TABLE, 0);
}
static void table_empty(struct bench *b)
{
    gq_desc(&b->g, 0, DATA, 0, D_TABLE, 0);
}
static void table_giant(struct bench *b)
{
    gq_desc(&b->g, 0, DATA, 0xfffffff0, D_TABLE, 0);
}
static void table_nowhere(struct bench *b)
{
    gq_desc(&b->g, 0, GUEST_RAM - 8, 16, D_TABLE, 0);
}
static void table_in_table(struct bench *b)
{
    gq_desc_at(b->mem, DATA, 0, DATA, 16, D_TABLE, 0);
    gq_desc(&b->g, 0, DATA, 16, D_TABLE, 0);
}
static void table_and_next(struct bench *b)
{
    gq_desc_at(b->mem, DATA, 0, DATA, 16, 0, 0);
    gq_desc(&b->g, 0, DATA, 16, D_TABLE | D_NEXT, 1);
}
static void table_loop(struct bench *b)
{
    gq_desc_at(b->mem, DATA, 0, DATA, 16, D_NEXT, 0);
    gq_desc(&b->g, 0, DATA, 16, D_TABLE, 0);
}
static void table_out(struct bench *b)
{
    gq_desc_at(b->mem, DATA, 0, DATA, 16, D_NEXT, 1);
    gq_desc(&b->g, 0, DATA, 16, D_TABLE, 0);
}
static void bad_head(struct bench *b)
{
    put(b->mem, b->g.avail + 4, 8, 2);
}
static void index_ahead(struct bench *b)
{
    put(b->mem, b->g.avail + 2, 9, 2);
}
static void rings_in_rom(struct bench *b)
{
    b->q.used = GUEST_ROM;
    virtq_remapped(&b->q);
}
static void rings_outside(struct bench *b)
{
    b->q.desc = GUEST_RAM - 16;
    virtq_remapped(&b->q);
}
static void rings_misaligned(struct bench *b)
{
    b->q.desc += 8;
    virtq_remapped(&b->q);
}
static void rings_half(struct bench *b)
{
    b->q.used += 2;
    virtq_remapped(&b->q);
}

static void hostile_rings_break_the_queue(void **state)
{
    static const struct {
        const char *name;
        void (*spoil)(struct bench *b);
    } rows[] = {
        {"loop", loop},
        {"out_of_queue", out_of_queue},
        {"out_of_memory", out_of_memory},
        {"above_4g", above_4g},
        {"into_rom", into_rom},
        {"giant", giant},
        {"giant_together", giant_together},
        {"write_then_read", write_then_read},
        {"table_odd", table_odd},
        {"table_empty", table_empty},
        {"table_giant", table_giant},
        {"table_nowhere", table_nowhere},
        {"table_in_table", table_in_table},
        {"table_and_next", table_and_next},
        {"table_loop", table_loop},
        {"table_out", table_out},
        {"bad_head", bad_head},
        {"index_ahead", index_ahead},
        {"rings_in_rom", rings_in_rom},
        {"rings_outside", rings_outside},
        {"rings_misaligned", rings_misaligned},
        {"rings_half", rings_half},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench *b = new_bench(8);
        uint32_t id, len;
        gq_desc(&b->g, 0, DATA, 4, D_WRITE, 0);
        gq_offer(&b->g, 0);
        rows[i].spoil(b);
        if (virtq_pop(&b->q, &b->c) != VIRTQ_BROKEN)
            fail_msg("%s was taken", rows[i].name);
        assert_non_null(b->q.broken);
        assert_int_equal(virtq_pop(&b->q, &b->c), VIRTQ_BROKEN); /* and stays so */
        virtq_push(&b->q, &b->c, 0);
        assert_false(virtq_publish(&b->q));
        assert_false(gq_used(&b->g, &id, &len));
        gq_attach(&b->g, &b->q);
        assert_null(b->q.broken);
        free_bench(b);
    }
}

/* ---- random rings against a plain model ------------------------------------------------------ */

static uint64_t seed;
static uint64_t dice(uint64_t n)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % n;
}

struct model {
    bool ok;
    uint64_t out_bytes, in_bytes;
    uint8_t out[65536]; /* the first readable bytes */
    gpa_t in[65536];    /* where the first writable bytes are */
};

static bool is_ram(gpa_t a, bool write)
{
    return a < GUEST_RAM && (!write || a < GUEST_ROM || a >= GUEST_ABOVE);
}

/* Byte by byte; nothing clever. */
static bool model_buffer(struct model *m, struct phys *mem, gpa_t at, uint64_t len, bool write)
{
    if (len && !write && m->in_bytes)
        return false;
    for (uint64_t i = 0; i < len; i++) {
        if (!is_ram(at + i, write) || at + i < at)
            return false;
        if (write && m->in_bytes < 65536)
            m->in[m->in_bytes] = at + i;
        if (!write && m->out_bytes < 65536)
            m->out[m->out_bytes] = (uint8_t)get(mem, at + i, 1);
        *(write ? &m->in_bytes : &m->out_bytes) += 1;
    }
    return true;
}

static void model_chain(struct model *m, struct phys *mem, gpa_t table, unsigned entries,
                        unsigned at, bool nested)
{
    m->ok = false;
    for (unsigned i = 0; i < entries; i++) {
        gpa_t d = table + 16 * at;
        uint64_t address = get(mem, d, 8), len = get(mem, d + 8, 4);
        unsigned flags = (unsigned)get(mem, d + 12, 2), next = (unsigned)get(mem, d + 14, 2);
        if (flags & D_TABLE) {
            unsigned count = (unsigned)len / 16;
            if (nested || flags & D_NEXT || !count || len % 16 || count > 256 ||
                !is_ram(address, false) || !is_ram(address + len - 1, false))
                return;
            model_chain(m, mem, address, count, 0, true);
            return;
        }
        if (!model_buffer(m, mem, address, len, flags & D_WRITE))
            return;
        if (!(flags & D_NEXT)) {
            m->ok = true;
            return;
        }
        if (next >= entries)
            return;
        at = next;
    }
}

static void random_desc(struct phys *mem, gpa_t table, unsigned n, unsigned entries, bool nested)
{
    static const uint32_t lens[] = {0, 1, 16, 100, 4096, 9000};
    static const gpa_t places[] = {
        0, 0x7ff, DATA, GUEST_ROM - 50, GUEST_ABOVE - 50, GUEST_RAM - 9000, DATA + 0xffe};
    unsigned flags = (dice(3) ? D_NEXT : 0) | (dice(3) == 0 ? D_WRITE : 0);
    gpa_t at = places[dice(ARRAY_LEN(places))] + dice(200);
    uint32_t len = lens[dice(ARRAY_LEN(lens))];
    if (!nested && dice(4) == 0) {
        flags = D_TABLE | (dice(10) ? 0 : D_NEXT);
        len = 16 * (uint32_t)(1 + dice(8)) + (dice(20) ? 0 : 1);
        at = DATA + 0x10000 * (1 + dice(4));
    }
    if (dice(60) == 0)
        len = (uint32_t)dice(UINT32_MAX);
    if (dice(60) == 0)
        at = dice(UINT64_MAX);
    if (len > 100000 && at < GUEST_RAM)
        at = GUEST_RAM - 1; /* the model goes byte by byte */
    gq_desc_at(mem, table, n, at, len, flags, (unsigned)(dice(12) ? dice(entries) : dice(65536)));
}

static void compare(struct bench *b, const struct model *m, unsigned round)
{
    static uint8_t copy[65536];
    enum virtq_result r = virtq_pop(&b->q, &b->c);
    if ((r == VIRTQ_TAKEN) != m->ok)
        fail_msg("round %u: model %d, queue %s", round, m->ok, b->q.broken);
    if (r != VIRTQ_TAKEN)
        return;
    assert_int_equal(b->c.out_bytes, m->out_bytes);
    assert_int_equal(b->c.in_bytes, m->in_bytes);
    uint64_t n = m->out_bytes < sizeof copy ? m->out_bytes : sizeof copy;
    assert_int_equal(virtq_read(&b->c, 0, copy, n), n);
    assert_memory_equal(copy, m->out, n);
    uint64_t at = 0;
    for (unsigned i = b->c.out; i < b->c.out + b->c.in; i++) {
        struct phys_page page = phys_page(b->mem, gpa_page(b->c.gpa[i]));
        assert_ptr_equal(b->c.iov[i].iov_base, page.host + (b->c.gpa[i] & ~PAGE_MASK));
        for (uint64_t k = 0; k < b->c.iov[i].iov_len; k++, at++)
            if (at < 65536)
                assert_int_equal(m->in[at], b->c.gpa[i] + k);
    }
    assert_int_equal(at, m->in_bytes);
}

static void random_rings_are_what_the_model_says(void **state)
{
    static struct model m;
    unsigned taken = 0, rounds = 3000;
    struct bench *b = new_bench(16);
    seed = 11;
    for (unsigned i = 0; i < 65536; i += 8)
        put(b->mem, DATA + i, dice(UINT64_MAX), 8);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 16; i++)
            random_desc(b->mem, b->g.desc, i, 16, false);
        for (unsigned t = 1; t <= 4; t++)
            for (unsigned i = 0; i < 9; i++)
                random_desc(b->mem, DATA + 0x10000 * t, i, 6, true);
        unsigned head = (unsigned)dice(16);
        b->g.next_avail = 0;
        gq_attach(&b->g, &b->q);
        gq_offer(&b->g, head);
        m.out_bytes = m.in_bytes = 0;
        model_chain(&m, b->mem, b->g.desc, 16, head, false);
        taken += m.ok;
        compare(b, &m, round);
    }
    assert_in_range(taken, rounds / 10, rounds * 9 / 10); /* both kinds were seen */
    free_bench(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legacy_layout_is_that_of_2_6_2),
        cmocka_unit_test(chains_come_in_order_with_their_pieces),
        cmocka_unit_test(indirect_tables_are_chains),
        cmocka_unit_test(longest_chain_fits),
        cmocka_unit_test(rings_wrap_after_65536),
        cmocka_unit_test(rewound_chains_come_again),
        cmocka_unit_test(interrupts_are_asked_for),
        cmocka_unit_test(queues_may_be_left_early),
        cmocka_unit_test(stores_are_reported),
        cmocka_unit_test(moved_memory_is_looked_up_again),
        cmocka_unit_test(hostile_rings_break_the_queue),
        cmocka_unit_test(random_rings_are_what_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
