/* SPDX-License-Identifier: MIT */
/* Which guest pages have translated code: engine/dbt/pages.c. */
#include "unit.h"

#include <stdlib.h>

#include "engine/dbt/pages.h"

struct rig {
    struct phys *mem;
    struct dbt_tables *tables;
    struct dbt_pages p;
};

static int make(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->mem = phys_new(MIB, NULL);
    r->tables = calloc(1, sizeof *r->tables);
    if (!r->mem || !r->tables || phys_map_ram(r->mem, 0, 0, MIB, NULL) ||
        pages_open(&r->p, r->mem, r->tables, NULL))
        return -1;
    *state = r;
    return 0;
}

static int unmake(void **state)
{
    struct rig *r = *state;
    pages_close(&r->p);
    tables_free(r->tables);
    free(r->tables);
    phys_free(r->mem);
    free(r);
    return 0;
}

static gpfn_t gpfn(uint64_t n)
{
    return (gpfn_t){n};
}
static unsigned reasons(const struct rig *r, uint64_t n)
{
    return phys_page(r->mem, gpfn(n)).wp;
}

static void keys_are_guest_page_linear_page_and_mode(void **state)
{
    struct rig *r = *state;
    uint32_t a = pages_tpage(&r->p, gpfn(3), 0xc0000000, 1);
    assert_int_not_equal(a, 0);
    assert_int_equal(pages_tpage(&r->p, gpfn(3), 0xc0000000, 1), a);
    assert_int_not_equal(pages_tpage(&r->p, gpfn(3), 0xc0000000, 2), a);
    assert_int_not_equal(pages_tpage(&r->p, gpfn(3), 0xc0001000, 1), a);
    assert_int_not_equal(pages_tpage(&r->p, gpfn(4), 0xc0000000, 1), a);
    assert_int_equal(r->p.tpage_count, 5);
}

/* Every single byte: covered ones are code, all others data. */
static void stores_hit_code_to_the_byte(void **state)
{
    struct rig *r = *state;
    uint32_t tp = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    static const unsigned ranges[][2] = {{0, 1}, {63, 65}, {100, 300}, {4095, 4096}};
    for (unsigned at = 0; at < PAGE_BYTES; at++) {
        bool code = false;
        for (unsigned i = 0; i < ARRAY_LEN(ranges); i++) {
            pages_cover(&r->p, gpfn(3), ranges[i][0], ranges[i][1]);
            code |= at >= ranges[i][0] && at < ranges[i][1];
        }
        tpage_set(&r->p, tp, 100, 777);
        assert_int_equal(pages_written(&r->p, 3 * PAGE_BYTES + at, 1), code);
        assert_int_equal(tpage_array(&r->p, tp)[100], code ? 0 : 777);
    }
    pages_cover(&r->p, gpfn(3), 100, 300);
    assert_false(pages_written(&r->p, 3 * PAGE_BYTES + 84, 16));
    assert_false(pages_written(&r->p, 3 * PAGE_BYTES + 300, 16));
    assert_false(pages_written(&r->p, 4 * PAGE_BYTES + 100, 16));
    assert_false(pages_written(&r->p, PHYS_LIMIT + 5, 16));
    assert_true(pages_written(&r->p, 3 * PAGE_BYTES + 85, 16));
    assert_false(pages_written(&r->p, 3 * PAGE_BYTES + 85, 16)); /* not twice */
}

static void all_code_of_the_page_goes_and_the_arrays_stay(void **state)
{
    struct rig *r = *state;
    uint32_t a = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    uint32_t b = pages_tpage(&r->p, gpfn(3), 0x9000, 4);
    uint32_t other = pages_tpage(&r->p, gpfn(5), 0xa000, 0);
    const uint32_t *array = tpage_array(&r->p, a);
    static const uint16_t offsets[] = {0, 1023, 1024, 4095};
    for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
        tpage_set(&r->p, a, offsets[i], 1000 + i);
        tpage_set(&r->p, b, offsets[i], 2000 + i);
        tpage_set(&r->p, other, offsets[i], 3000 + i);
    }
    pages_cover(&r->p, gpfn(3), 10, 20);
    assert_true(pages_written(&r->p, 3 * PAGE_BYTES + 10, 4));
    for (unsigned i = 0; i < PAGE_ENTRIES; i++)
        assert_int_equal(array[i] | tpage_array(&r->p, b)[i], 0);
    assert_int_equal(tpage_array(&r->p, other)[4095], 3003);
    assert_int_equal(pages_tpage(&r->p, gpfn(3), 0x8000, 0), a);
    assert_ptr_equal(tpage_array(&r->p, a), array);
}

static void protection_lasts_as_long_as_the_code(void **state)
{
    struct rig *r = *state;
    uint32_t tp = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    wp_add(r->mem, gpfn(3), WP_CODE); /* the interpreter's */
    pages_protect(&r->p, gpfn(3));
    assert_int_equal(reasons(r, 3), WP_CODE | WP_TRANSLATED);
    pages_cover(&r->p, gpfn(3), 0, 5);
    tpage_set(&r->p, tp, 0, 99);
    assert_true(pages_written(&r->p, 3 * PAGE_BYTES, 1));
    assert_int_equal(reasons(r, 3), WP_CODE);
    pages_protect(&r->p, gpfn(3));
    wp_drop(r->mem, gpfn(3), WP_CODE);
    assert_int_equal(reasons(r, 3), WP_TRANSLATED);
    pages_flush(&r->p);
    assert_int_equal(reasons(r, 3), 0);
}

static void pages_turned_data_are_let_go(void **state)
{
    struct rig *r = *state;
    uint32_t tp = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    for (unsigned stores = 16; stores <= 128; stores *= 2) {
        pages_protect(&r->p, gpfn(3));
        pages_cover(&r->p, gpfn(3), 0, 5);
        tpage_set(&r->p, tp, 0, 99);
        for (unsigned i = 0; i < stores; i++) {
            assert_int_equal(tpage_array(&r->p, tp)[0], 99);
            assert_int_equal(pages_written(&r->p, 3 * PAGE_BYTES + 80, 4), i == stores - 1);
        }
        assert_int_equal(tpage_array(&r->p, tp)[0], 0);
        assert_int_equal(reasons(r, 3), 0);
    }
}

static void straddle_goes_with_either_page(void **state)
{
    struct rig *r = *state;
    struct jump_table *j = tables_get(r->tables, 0, 0);
    for (unsigned written = 3; written <= 6; written++) {
        uint32_t tp = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
        r->p.tpages[tp].straddle_off = 4094;
        uint32_t s = pages_straddle(&r->p, tp, gpfn(5));
        assert_int_equal(pages_straddle(&r->p, tp, gpfn(5)), s);
        assert_int_not_equal(pages_straddle(&r->p, tp, gpfn(6)), s);
        r->p.straddles[s].code = 640;
        table_set_straddle(j, 8, 640);
        pages_cover(&r->p, gpfn(3), 4094, 4096);
        pages_cover(&r->p, gpfn(5), 0, 3);
        pages_cover(&r->p, gpfn(6), 0, 3); /* the other one's, which has no code */
        assert_int_equal(pages_written(&r->p, written * PAGE_BYTES + 3, 1), false);
        assert_int_equal(*table_straddle(j, 8), 640);
        uint64_t at = written == 3 ? 4095 : 2;
        assert_int_equal(pages_written(&r->p, written * PAGE_BYTES + at, 1), written != 4);
        bool gone = written == 3 || written == 5;
        assert_int_equal(r->p.straddles[s].code, gone ? 0 : 640);
        assert_int_equal(*table_straddle(j, 8), gone ? 0 : 640);
        assert_int_equal(r->p.tpages[tp].straddle_off, written == 3 ? NO_OFFSET : 4094);
    }
}

/* ---- facts about other pages ------------------------------------------------------------------
 */

#define CODE_AT   8u /* linear pages */
#define FACT_AT   9u
#define SPACES    3u
#define SOMEWHERE 1234u

/* A tpage at CODE_AT with code at offset 40, an entry for it in the tables of all spaces. */
static uint32_t code_everywhere(struct rig *r)
{
    uint32_t tp = pages_tpage(&r->p, gpfn(3), CODE_AT << PAGE_SHIFT, 0);
    pages_cover(&r->p, gpfn(3), 40, 50);
    tpage_set(&r->p, tp, 40, 99);
    for (unsigned space = 0; space < SPACES; space++)
        table_set(tables_get(r->tables, space, space), CODE_AT, SOMEWHERE);
    return tp;
}

static bool in_table(const struct rig *r, unsigned space)
{
    return tables_get(r->tables, space, space)->entry[CODE_AT] == SOMEWHERE;
}

static void a_fact_is_recorded_once_and_shown_to_all_spaces(void **state)
{
    struct rig *r = *state;
    uint32_t tp = code_everywhere(r);
    assert_true(pages_depend(&r->p, tp, FACT_AT, gpfn(5)));
    assert_int_equal(r->p.tpages[tp].depend_count, 1);
    for (unsigned space = 0; space < SPACES; space++)
        assert_false(in_table(r, space)); /* they have to look at it themselves */
    code_everywhere(r);
    assert_true(pages_depend(&r->p, tp, FACT_AT, gpfn(5)));
    assert_int_equal(r->p.tpages[tp].depend_count, 1);
    assert_int_equal(r->p.depend_count, 2);
    for (unsigned space = 0; space < SPACES; space++)
        assert_true(in_table(r, space));
    assert_false(pages_depend(&r->p, tp, FACT_AT, gpfn(6))); /* not both */
    assert_int_equal(r->p.depend_count, 2);
}

static void code_goes_with_the_bytes_it_was_built_on(void **state)
{
    struct rig *r = *state;
    uint32_t tp = code_everywhere(r);
    uint32_t other = pages_tpage(&r->p, gpfn(4), 0x20000, 0);
    tpage_set(&r->p, other, 40, 77);
    pages_depend(&r->p, tp, FACT_AT, gpfn(5));
    pages_protect(&r->p, gpfn(5));
    pages_cover(&r->p, gpfn(5), 100, 104);
    assert_false(pages_written(&r->p, 5 * PAGE_BYTES + 99, 1));
    assert_false(pages_written(&r->p, 5 * PAGE_BYTES + 104, 4));
    assert_int_equal(tpage_array(&r->p, tp)[40], 99);
    assert_true(pages_written(&r->p, 5 * PAGE_BYTES + 103, 1));
    assert_int_equal(tpage_array(&r->p, tp)[40], 0);
    assert_int_equal(tpage_array(&r->p, other)[40], 77);
    assert_int_equal(reasons(r, 5), 0);
    /* New code may build on it again, or not. */
    assert_int_equal(r->p.tpages[tp].depends, 0);
    code_everywhere(r);
    assert_false(pages_written(&r->p, 5 * PAGE_BYTES + 103, 1));
    assert_int_equal(tpage_array(&r->p, tp)[40], 99);
    assert_true(pages_depend(&r->p, tp, FACT_AT, gpfn(5)));
    pages_cover(&r->p, gpfn(5), 100, 104);
    assert_true(pages_written(&r->p, 5 * PAGE_BYTES + 100, 1));
    assert_int_equal(tpage_array(&r->p, tp)[40], 0);
}

static void code_that_is_gone_has_no_facts(void **state)
{
    struct rig *r = *state;
    uint32_t tp = code_everywhere(r);
    assert_true(pages_depend(&r->p, tp, FACT_AT, gpfn(5)));
    assert_true(pages_written(&r->p, 3 * PAGE_BYTES + 40, 1));
    assert_int_equal(r->p.tpages[tp].depends, 0);
    assert_true(pages_depend(&r->p, tp, FACT_AT, gpfn(6)));
    assert_int_equal(r->p.tpages[tp].depend_count, 1);
}

static void a_space_that_shows_another_page_looks_again(void **state)
{
    struct rig *r = *state;
    uint32_t tp = code_everywhere(r);
    pages_depend(&r->p, tp, FACT_AT, gpfn(5));
    code_everywhere(r);
    /* Pages in the same bucket, and neighbours, are nothing to it. */
    static const uint32_t strangers[] = {FACT_AT + DEPEND_HEADS, FACT_AT + 2 * DEPEND_HEADS,
                                         FACT_AT + 1, 0};
    for (unsigned i = 0; i < ARRAY_LEN(strangers); i++)
        pages_unmapped(&r->p, 1, strangers[i]);
    assert_true(in_table(r, 1));
    pages_unmapped(&r->p, 1, FACT_AT);
    assert_true(in_table(r, 0));
    assert_false(in_table(r, 1));
    assert_true(in_table(r, 2));
    assert_int_equal(tpage_array(&r->p, tp)[40], 99);
    pages_unmapped(&r->p, 2, CODE_AT); /* the page itself, as ever */
    assert_false(in_table(r, 2));
    pages_flush(&r->p);
    code_everywhere(r);
    pages_unmapped(&r->p, 1, FACT_AT);
    assert_true(in_table(r, 1));
}

static void facts_have_limits(void **state)
{
    struct rig *r = *state;
    uint32_t tp = code_everywhere(r), tps = 1;
    r->p.tpages[tp].no_depends = true;
    assert_false(pages_depend(&r->p, tp, FACT_AT, gpfn(5)));
    assert_int_equal(r->p.depend_count, 1);
    uint64_t made = 0;
    for (uint32_t last = 1; made + 1 < DEPENDS_MAX; tps++) {
        assert_true(last);
        tp = pages_tpage(&r->p, gpfn(3), 0x100000 + tps * 4096, 0);
        for (last = 0; last < TPAGE_DEPENDS && made + 1 < DEPENDS_MAX; last++, made++)
            assert_true(pages_depend(&r->p, tp, 100 + last, gpfn(5)));
        assert_false(pages_depend(&r->p, tp, 100 + last, gpfn(5))); /* one more than fits */
        assert_true(pages_depend(&r->p, tp, 100, gpfn(5)));         /* but it is known */
    }
    tp = pages_tpage(&r->p, gpfn(3), 0x100000, 0);
    assert_false(pages_depend(&r->p, tp, 100, gpfn(5)));
    assert_int_equal(r->p.depend_count, DEPENDS_MAX);
    pages_flush(&r->p);
    tp = pages_tpage(&r->p, gpfn(3), 0x100000, 0);
    assert_true(pages_depend(&r->p, tp, 100, gpfn(5)));
}

static void flush_forgets_everything(void **state)
{
    struct rig *r = *state;
    uint32_t tp = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    tpage_set(&r->p, tp, 17, 99);
    pages_cover(&r->p, gpfn(3), 0, 100);
    tpage_site(&r->p, tp, 17)->policy = TB_CALLOUT;
    pages_straddle(&r->p, tp, gpfn(4));
    pages_flush(&r->p);
    assert_false(pages_written(&r->p, 3 * PAGE_BYTES, 100));
    uint32_t again = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    assert_int_equal(tpage_array(&r->p, again)[17], 0);
    assert_int_equal(tpage_policy(&r->p, again, 17), TB_PLAIN);
    assert_int_equal(r->p.tpages[again].straddles, 0);
    assert_false(pages_written(&r->p, 3 * PAGE_BYTES, 100));
}

static void sites_keep_their_policy(void **state)
{
    struct rig *r = *state;
    uint32_t tp = pages_tpage(&r->p, gpfn(3), 0x8000, 0);
    uint32_t other = pages_tpage(&r->p, gpfn(3), 0x8000, 1);
    unsigned made = 0;
    for (uint16_t off = 0; off < 4096; off += 7) {
        struct site *s = tpage_site(&r->p, tp, off);
        if (!s)
            break;
        s->policy = off % 2 ? TB_CALLOUT : TB_SELECT;
        made++;
    }
    assert_in_range(made, 64, 585);
    assert_null(tpage_site(&r->p, tp, 4095)); /* a limit there is */
    for (unsigned i = 0; i < made; i++)
        assert_int_equal(tpage_policy(&r->p, tp, (uint16_t)(i * 7)),
                         i % 2 ? TB_CALLOUT : TB_SELECT);
    assert_int_equal(tpage_policy(&r->p, tp, 1), TB_PLAIN);
    assert_int_equal(tpage_policy(&r->p, other, 7), TB_PLAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_guest_page_linear_page_and_mode, make, unmake),
        cmocka_unit_test_setup_teardown(stores_hit_code_to_the_byte, make, unmake),
        cmocka_unit_test_setup_teardown(all_code_of_the_page_goes_and_the_arrays_stay, make,
                                        unmake),
        cmocka_unit_test_setup_teardown(protection_lasts_as_long_as_the_code, make, unmake),
        cmocka_unit_test_setup_teardown(pages_turned_data_are_let_go, make, unmake),
        cmocka_unit_test_setup_teardown(straddle_goes_with_either_page, make, unmake),
        cmocka_unit_test_setup_teardown(a_fact_is_recorded_once_and_shown_to_all_spaces, make,
                                        unmake),
        cmocka_unit_test_setup_teardown(code_goes_with_the_bytes_it_was_built_on, make, unmake),
        cmocka_unit_test_setup_teardown(code_that_is_gone_has_no_facts, make, unmake),
        cmocka_unit_test_setup_teardown(a_space_that_shows_another_page_looks_again, make, unmake),
        cmocka_unit_test_setup_teardown(facts_have_limits, make, unmake),
        cmocka_unit_test_setup_teardown(flush_forgets_everything, make, unmake),
        cmocka_unit_test_setup_teardown(sites_keep_their_policy, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
