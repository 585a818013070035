/* SPDX-License-Identifier: MIT */
/* Memory traces under the translator (MISSION W13): a page with a write trace is mapped at three
 * linear addresses, and translated code stores to it through each of them, as the supervisor and as
 * the user, through windows and flat tables, before and after its sites have been retranslated as
 * call-outs. Each store, and each of a device meanwhile, is reported exactly once, with its offset
 * and length. The guest sees nothing of it: its memory and registers end up as the interpreter's
 * do.
 *
 * A report comes after the store, so what was there before is the tracer's own to keep: a copy of
 * the page, brought up to date by each report, as here. (Handing out the old bytes would cost every
 * reported store a copy, and reports of other threads could not promise them.)
 *
 *   100000 page directory   101000 to 103000 page tables   208000 the traced page */
#include "x86_machine.h"

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engines.h"
#include "isa/x86/shadow.h"

#define DIRECTORY 0x100000u
#define TRACED    0x208000u
#define ROUNDS    60u
#define PORT      0x80u

enum { P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define ALL (P | RW | US | A | D)

static const uint32_t views[] = {0x40000000, 0x50003000, 0x9fc01000};

struct report {
    uint32_t at, len;
    uint64_t before, after;
};
static const struct report stores[] = {{.at = 0x010, .len = 4},
                                       {.at = 0x123, .len = 2},
                                       {.at = 0xfff, .len = 1},
                                       {.at = 0x020, .len = 4}};
#define STORES ARRAY_LEN(stores)

struct rig {
    struct machine *m;
    struct x86_vcpu *v;
    bool attached;
    struct wp_watcher watcher;
    pthread_mutex_t lock;
    pthread_t processor;
    uint8_t copy[PAGE_BYTES]; /* the tracer's */
    struct report reports[ROUNDS * STORES + 8];
    unsigned count, far_count;
    struct report far;
};

/* mov [v0 + 10], eax; mov [v1 + 123], ax; mov [v2 + fff], al; add [v0 + 20], ecx; mov [v0 + 1010],
 * eax: the page beside; inc eax; dec ecx; jnz; out PORT, al */
static const uint8_t code[] = {0xa3, 0x10, 0x00, 0x00, 0x40, 0x66, 0xa3, 0x23, 0x31, 0x00, 0x50,
                               0xa2, 0xff, 0x1f, 0xc0, 0x9f, 0x01, 0x0d, 0x20, 0x00, 0x00, 0x40,
                               0xa3, 0x10, 0x10, 0x00, 0x40, 0x40, 0x49, 0x75, 0xe1, 0xe6, PORT};

static void on_out(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct rig *r = opaque;
    vcpu_attend(&r->v->base, ATTN_STOP);
}

static void on_written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    struct rig *r = opaque;
    if (gpa >> PAGE_SHIFT != TRACED >> PAGE_SHIFT || !(reasons & WP_DIRTY_LOG))
        return;
    struct report x = {.at = gpa & ~PAGE_MASK, .len = (uint32_t)len};
    pthread_mutex_lock(&r->lock);
    memcpy(&x.before, r->copy + x.at, len <= 8 ? len : 8);
    phys_read(r->m->mem, gpa, r->copy + x.at, len);
    memcpy(&x.after, r->copy + x.at, len <= 8 ? len : 8);
    if (!pthread_equal(pthread_self(), r->processor)) {
        r->far = x;
        r->far_count++;
    } else if (r->count < ARRAY_LEN(r->reports)) {
        r->reports[r->count++] = x;
    }
    pthread_mutex_unlock(&r->lock);
}

static void map_page(struct rig *r, uint32_t table, uint32_t lin, uint32_t gpa)
{
    poke(r->v, DIRECTORY + (lin >> 22) * 4, table | ALL, 4);
    poke(r->v, table + (lin >> 12 & 1023) * 4, gpa | ALL, 4);
}

static int make(void **state)
{
    static const struct io_ops port = {.write = on_out, .min_size = 1, .max_size = 1};
    void *machine = NULL;
    if (machine_make(&machine))
        return -1;
    struct rig *r = test_calloc(1, sizeof *r);
    r->m = machine;
    r->v = r->m->v;
    r->processor = pthread_self();
    pthread_mutex_init(&r->lock, NULL);
    r->watcher = (struct wp_watcher){.written = on_written, .opaque = r};
    wp_watch(r->m->mem, &r->watcher);
    if (bus_map(r->m->pio, PORT, 1, &port, r, "end", NULL))
        return -1;
    poke(r->v, DIRECTORY, ALL | PS, 4);
    for (unsigned i = 0; i < ARRAY_LEN(views); i++)
        map_page(r, DIRECTORY + (i + 1) * 0x1000, views[i], TRACED);
    map_page(r, DIRECTORY + 0x1000, views[0] + 0x1000, TRACED + 0x1000);
    phys_write(r->m->mem, CODE_AT, code, sizeof code);
    *state = r;
    return 0;
}

static int done(void **state)
{
    struct rig *r = *state;
    void *machine = r->m;
    wp_unwatch(r->m->mem, &r->watcher);
    pthread_mutex_destroy(&r->lock);
    test_free(r);
    return machine_free(&machine);
}

/* Run the program in a ring. */
static void run_program(struct rig *r, const struct engine_ops *engine, unsigned ring)
{
    struct x86_vcpu *v = r->v;
    struct vm_exit x = {0};
    v->cr3 = DIRECTORY;
    v->cr0 |= CR0_PG | CR0_WP;
    v->cr4 = CR4_PSE;
    x86_tlb_flush(v, false);
    set_ring(v, ring);
    x86_set_eflags(v, 3 << 12);
    x86_w32(v, X86_EAX, 0x11223344);
    x86_w32(v, X86_ECX, ROUNDS);
    atomic_store(&v->base.attention, 0);
    uint64_t faults = v->base.stats.fault_guest;
    unsigned log = v->fault_next;
    r->count = 0;
    engine->run(&v->base, &x);
    assert_int_equal(x.kind, EXIT_ATTENTION);
    assert_int_equal(v->eip, CODE_AT + sizeof code);
    assert_int_equal((uint32_t)v->gpr[X86_EAX], 0x11223344 + ROUNDS);
    assert_int_equal((uint32_t)v->gpr[X86_ECX], 0);
    assert_int_equal(v->base.stats.fault_guest, faults);
    assert_int_equal(v->fault_next, log);
}

static void set_trace(struct rig *r, bool on)
{
    phys_read(r->m->mem, TRACED, r->copy, sizeof r->copy);
    if (on)
        wp_add(r->m->mem, gpa_page(TRACED), WP_DIRTY_LOG);
    else
        wp_drop(r->m->mem, gpa_page(TRACED), WP_DIRTY_LOG);
}

/* Every store of the run, in order, with what was there and what it wrote. */
static void expect_reports(const struct rig *r, uint32_t sum)
{
    uint64_t old[STORES];
    assert_int_equal(r->count, ROUNDS * STORES);
    for (unsigned i = 0; i < r->count; i++) {
        const struct report *x = &r->reports[i];
        unsigned n = i % STORES, round = i / STORES;
        uint64_t mask = ~UINT64_C(0) >> (64 - 8 * stores[n].len), eax = 0x11223344 + round;
        sum += n == 3 ? ROUNDS - round : 0;
        assert_int_equal(x->at, stores[n].at);
        assert_int_equal(x->len, stores[n].len);
        assert_int_equal(x->after, n == 3 ? sum : eax & mask);
        if (round)
            assert_int_equal(x->before, old[n]);
        old[n] = x->after;
    }
}

static void *device(void *opaque)
{
    static const uint8_t bytes[3] = {0xd1, 0xd2, 0xd3};
    struct rig *r = opaque;
    phys_write(r->m->mem, TRACED + 0x805, bytes, sizeof bytes);
    return NULL;
}

static void trace_with(struct rig *r, const struct dbt_options *o)
{
    for (unsigned ring = 0; ring <= 3; ring += 3) {
        uint8_t want[2 * PAGE_BYTES], got[2 * PAGE_BYTES], none[sizeof want] = {0};
        pthread_t t;
        phys_write(r->m->mem, TRACED, none, sizeof none);
        run_program(r, &interp_engine, ring);
        run_program(r, &interp_engine, ring);
        phys_read(r->m->mem, TRACED, want, sizeof want);
        memcpy(want + 0x805, "\xd1\xd2\xd3", 3);
        phys_write(r->m->mem, TRACED, none, sizeof none);

        assert_int_equal(dbt_engine.attach(&r->v->base, o, NULL), 0);
        run_program(r, &dbt_engine, ring); /* the page is shown writable already */
        assert_int_equal(r->count, 0);
        phys_read(r->m->mem, TRACED, got, sizeof got);
        uint32_t sum;
        memcpy(&sum, got + 0x20, 4);
        assert_int_equal(sum, ROUNDS * (ROUNDS + 1) / 2);
        set_trace(r, true);
        r->far_count = 0;
        assert_int_equal(pthread_create(&t, NULL, device, r), 0);
        run_program(r, &dbt_engine, ring);
        assert_int_equal(pthread_join(t, NULL), 0);
        expect_reports(r, sum);
        assert_int_equal(r->far_count, 1);
        assert_int_equal(r->far.at, 0x805);
        assert_int_equal(r->far.len, 3);
        assert_int_equal(r->far.before, 0);
        assert_int_equal(r->far.after, 0xd3d2d1);
        phys_read(r->m->mem, TRACED, got, sizeof got);
        assert_memory_equal(got, want, sizeof want);
        assert_memory_equal(r->copy, want, sizeof r->copy);
        set_trace(r, false);
        run_program(r, &dbt_engine, ring);
        assert_int_equal(r->count, 0);
        dbt_engine.detach(&r->v->base);
    }
}

static void in_windows(void **state)
{
    trace_with(*state, &(struct dbt_options){.view = DBT_VIEW_WINDOW});
}
static void in_flat_tables(void **state)
{
    trace_with(*state, &(struct dbt_options){.view = DBT_VIEW_FLAT});
}
static void by_choice(void **state)
{
    trace_with(*state, &(struct dbt_options){.view = DBT_VIEW_AUTO});
}
static void without_call_outs(void **state)
{
    trace_with(*state, &(struct dbt_options){.view = DBT_VIEW_AUTO, .no_adapt = true});
}
static void beside_traced_tables(void **state)
{
    trace_with(*state, &(struct dbt_options){.view = DBT_VIEW_WINDOW, .trace_tables = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_windows, make, done),
        cmocka_unit_test_setup_teardown(in_flat_tables, make, done),
        cmocka_unit_test_setup_teardown(by_choice, make, done),
        cmocka_unit_test_setup_teardown(without_call_outs, make, done),
        cmocka_unit_test_setup_teardown(beside_traced_tables, make, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
