/* SPDX-License-Identifier: MIT */
/* Where translated code lies and how it is found: engine/dbt/cache.c, map.c, tables.c. */
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/dbt/cache.h"
#include "engine/dbt/map.h"
#include "engine/dbt/tables.h"

/* ---- cache ------------------------------------------------------------------------------------
 */

/* Protection of the mapping at `at` as /proc/self/maps writes it ("r-xs"). */
static void protection(const void *at, char out[5])
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[512];
    strcpy(out, "none");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        uintptr_t from, to;
        char prot[5];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, prot) == 3 &&
            (uintptr_t)at >= from && (uintptr_t)at < to)
            strcpy(out, prot);
    }
    fclose(f);
}

static void assert_protection(const void *at, const char *expected)
{
    char prot[5];
    protection(at, prot);
    assert_string_equal(prot, expected);
}

static void reserve_is_laid_out_as_promised(void **state)
{
    struct dbt_cache c;
    assert_int_equal(cache_open(&c, 2 * MIB, NULL, NULL), 0);
    assert_protection(c.reserve, "r-xs");
    assert_protection(c.reserve + 2 * MIB - 1, "r-xs");
    assert_protection(c.reserve + 2 * MIB, "---p");
    assert_protection(c.writable, "rw-s");
    assert_protection(c.reserve + DBT_GUARD_OFFSET - 1, "---p");
    assert_protection(c.reserve + DBT_GUARD_OFFSET, "r--p");
    assert_protection(c.reserve + DBT_GUARD_OFFSET + DBT_GUARD_BYTES - 1, "r--p");
    assert_protection(c.reserve + DBT_GUARD_OFFSET + DBT_GUARD_BYTES, "---p");
    assert_protection(c.reserve + DBT_NOTHING_OFFSET - 1, "---p");
    assert_protection(c.reserve + DBT_NOTHING_OFFSET, "r--p");
    const uint8_t *nothing = c.reserve + DBT_NOTHING_OFFSET;
    assert_int_equal(nothing[0] | nothing[16 * GIB + 64 * KIB - 1], 0);
    /* What one view stores the other shows. */
    uint32_t at = cache_take(&c, 3);
    memcpy(c.writable + at, "abc", 3);
    assert_memory_equal(c.reserve + at, "abc", 3);
    cache_close(&c);
    assert_protection(nothing, "none");
}

static void nothing_is_writable_and_executable(void **state)
{
    struct dbt_cache c;
    char line[512];
    assert_int_equal(cache_open(&c, 2 * MIB, NULL, NULL), 0);
    FILE *f = fopen("/proc/self/maps", "re");
    assert_non_null(f);
    unsigned executable = 0;
    while (fgets(line, sizeof line, f)) {
        char prot[5] = "";
        sscanf(line, "%*s %4s", prot);
        assert_false(prot[1] == 'w' && prot[2] == 'x');
        executable += strstr(line, "/dev/zero") && prot[2] == 'x';
    }
    fclose(f);
    assert_int_equal(executable, 1);
    cache_close(&c);
}

static void code_is_taken_aligned_and_dropped_at_once(void **state)
{
    struct dbt_cache c;
    assert_int_equal(cache_open(&c, MIB, NULL, NULL), 0);
    uint32_t start = cache_take(&c, 1), room = cache_room(&c);
    assert_true(start >= DBT_EXIT_KINDS * 16);
    assert_int_equal(start % CACHE_ALIGN, 0);
    assert_int_equal(cache_take(&c, 17), start + CACHE_ALIGN);
    assert_int_equal(cache_room(&c), room - 2 * CACHE_ALIGN);
    assert_true(cache_holds(&c, (uintptr_t)c.reserve + start + 3 * CACHE_ALIGN - 1));
    assert_false(cache_holds(&c, (uintptr_t)c.reserve + start + 3 * CACHE_ALIGN));
    assert_false(cache_holds(&c, (uintptr_t)c.reserve - 1));
    cache_reset(&c);
    assert_int_equal(cache_take(&c, 1), start);
    cache_close(&c);
}

/* What a stub and its trampoline left in r8d, r9d and r10d, as 12 bytes in a register pair. */
struct left {
    uint32_t r8, r9, r10;
};
static struct left jump_to(const void *code)
{
    uint64_t r8, r9, r10;
    __asm__ volatile("sub $128, %%rsp\n\tcall *%[code]\n\tadd $128, %%rsp\n\t"
                     "mov %%r8, %[a]\n\tmov %%r9, %[b]\n\tmov %%r10, %[c]"
                     : [a] "=&a"(r8), [b] "=&d"(r9), [c] "=&c"(r10)
                     : [code] "b"(code)
                     : "r8", "r9", "r10", "memory", "cc");
    return (struct left){(uint32_t)r8, (uint32_t)r9, (uint32_t)r10};
}

void test_dbt_ret(void);
__asm__(".text\ntest_dbt_ret:\n    ret\n");

static void stubs_lead_to_their_exits(void **state)
{
    struct dbt_cache c;
    assert_int_equal(cache_open(&c, MIB, (const void *)test_dbt_ret, NULL), 0);
    assert_int_equal(c.tramp[DBT_EXIT_MISS], 0);
    for (unsigned kind = 0; kind < DBT_EXIT_KINDS; kind++) {
        uint32_t at = cache_take(&c, CACHE_STUB_LEN);
        cache_stub(&c, at, 0xc0001000 + kind, 0x1234 + kind, (enum dbt_exit)kind);
        struct left l = jump_to(c.reserve + at);
        assert_int_equal(l.r8, 0xc0001000 + kind);
        assert_int_equal(l.r9, 0x1234 + kind);
        assert_int_equal(l.r10, kind);
    }
    cache_close(&c);
}

/* ---- map --------------------------------------------------------------------------------------
 */

static struct tb *some_tb(uint16_t start, uint16_t code_len)
{
    struct tb *tb = calloc(1, sizeof *tb);
    assert_non_null(tb);
    tb->start = start;
    tb->code_len = code_len;
    return tb;
}

static void marks_come_back_as_they_were(void **state)
{
    struct dbt_map m;
    assert_int_equal(map_open(&m, MIB, NULL), 0);
    static const struct tb_mark marks[] = {
        {0, 100, 1, TB_FIX_NONE, 0},     {7, 101, 0, TB_FIX_ISA, -4},
        {7, 116, 1, TB_FIX_NONE, 0},     {519, 118, 1, TB_FIX_ISA + 9, 32767},
        {1031, 133, 0, TB_FIX_NONE, -1},
    };
    struct tb *tb = some_tb(100, 1040);
    memcpy(tb->mark, marks, sizeof marks);
    tb->marks = ARRAY_LEN(marks);
    assert_true(map_add(&m, 4096, 7, tb));
    tb->marks = 1;
    tb->code_len = 5;
    assert_true(map_add(&m, 5200, 8, tb));

    const struct translation *t = map_find(&m, 4096 + 1039);
    assert_int_equal(t->tpage, 7);
    assert_int_equal(map_find(&m, 5200)->tpage, 8);
    assert_int_equal(map_find(&m, UINT32_MAX)->tpage, 8);
    assert_null(map_find(&m, 4095));
    /* at, which mark, exact */
    static const int cases[][3] = {{0, 0, 1},    {6, 0, 0},    {7, 2, 1},
                                   {8, 2, 0},    {518, 2, 0},  {519, 3, 1},
                                   {1030, 3, 0}, {1031, 4, 1}, {1039, 4, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tb_mark mark;
        bool exact;
        assert_true(map_mark(&m, t, 4096u + (unsigned)cases[i][0], &mark, &exact));
        const struct tb_mark *want = &marks[cases[i][1]];
        assert_int_equal(mark.host, want->host);
        assert_int_equal(mark.guest, want->guest);
        assert_int_equal(mark.entry, want->entry);
        assert_int_equal(mark.fix, want->fix);
        assert_int_equal(mark.fix_arg, want->fix_arg);
        assert_int_equal(exact, cases[i][2]);
    }
    map_reset(&m);
    assert_null(map_find(&m, 4096));
    free(tb);
    map_close(&m);
}

static void many_translations_are_all_found(void **state)
{
    struct dbt_map m;
    assert_int_equal(map_open(&m, MIB, NULL), 0);
    struct tb *tb = some_tb(0, 16);
    tb->marks = 1;
    tb->mark[0].entry = 1;
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(map_add(&m, 128 + i * 32, i + 1, tb));
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(map_find(&m, 128 + i * 32)->tpage, i + 1);
        assert_int_equal(map_find(&m, 128 + i * 32 + 31)->tpage, i + 1);
    }
    free(tb);
    map_close(&m);
}

static void senseless_marks_are_refused(void **state)
{
    struct dbt_map m;
    assert_int_equal(map_open(&m, MIB, NULL), 0);
    static const struct tb_mark second[] = {
        {9, 10, 1, 0, 0},   /* back in host */
        {12, 8, 1, 0, 0},   /* back in guest */
        {12, 26, 1, 0, 0},  /* an instruction of 16 bytes */
        {1034, 11, 1, 0, 0} /* 1,024 bytes of code for one */
    };
    struct tb *tb = some_tb(10, 2000);
    tb->mark[0] = (struct tb_mark){10, 10, 1, 0, 0};
    tb->marks = 2;
    for (unsigned i = 0; i < ARRAY_LEN(second); i++) {
        tb->mark[1] = second[i];
        assert_false(map_add(&m, 128, 1, tb));
        assert_null(map_find(&m, 128));
    }
    tb->mark[1] = (struct tb_mark){1033, 25, 1, 0, 0};
    assert_true(map_add(&m, 128, 1, tb));
    struct tb_mark mark;
    bool exact;
    assert_false(map_mark(&m, map_find(&m, 128), 137, &mark, &exact)); /* before the first */
    free(tb);
    map_close(&m);
}

/* ---- tables -----------------------------------------------------------------------------------
 */

static void unmapping_clears_what_depends_on_the_page(void **state)
{
    struct dbt_tables *t = calloc(1, sizeof *t);
    struct jump_table *a = tables_get(t, 3, 0), *b = tables_get(t, 3, 5), *c = tables_get(t, 4, 0);
    assert_ptr_equal(tables_get(t, 3, 5), b);
    assert_null(tables_get(t, DBT_SPACES, 0));
    assert_null(tables_get(t, 0, DBT_MODES));
    struct jump_table *all[] = {a, b, c};
    for (unsigned i = 0; i < 3; i++)
        for (uint32_t page = 0x10; page < 0x14; page++) {
            table_set(all[i], page, page * 8);
            table_set_straddle(all[i], page, page * 16);
        }
    tables_unmapped(t, 3, 0x12);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(all[i]->entry[0x11], 0x11 * 8);
        assert_int_equal(all[i]->entry[0x12], 0);
        assert_int_equal(all[i]->entry[0x13], 0x13 * 8);
        assert_int_equal(*table_straddle(all[i], 0x10), 0x100);
        assert_int_equal(*table_straddle(all[i], 0x11), 0); /* ends in the page */
        assert_int_equal(*table_straddle(all[i], 0x12), 0); /* starts in it */
        assert_int_equal(*table_straddle(all[i], 0x13), 0x130);
    }
    assert_int_equal(c->entry[0x12], 0x12 * 8);
    assert_int_equal(*table_straddle(c, 0x11), 0x110);
    /* The last page ends in the first. */
    table_set_straddle(c, 0xfffff, 77);
    tables_unmapped(t, 4, 0);
    assert_int_equal(*table_straddle(c, 0xfffff), 0);
    tables_unmapped(t, DBT_SPACES, 0); /* nobody's */
    tables_free(t);
    free(t);
}

static void straddle_goes_wherever_it_was_known(void **state)
{
    struct dbt_tables *t = calloc(1, sizeof *t);
    struct jump_table *a = tables_get(t, 0, 0), *b = tables_get(t, 9, 1);
    table_set_straddle(a, 5, 400);
    table_set_straddle(b, 5, 400);
    tables_straddle_gone(t, 5, 401);
    tables_straddle_gone(t, 6, 400);
    assert_int_equal(*table_straddle(a, 5), 400);
    tables_straddle_gone(t, 5, 400);
    assert_int_equal(*table_straddle(a, 5), 0);
    assert_int_equal(*table_straddle(b, 5), 0);
    tables_free(t);
    free(t);
}

static void dropped_space_forgets_few_and_many(void **state)
{
    struct dbt_tables *t = calloc(1, sizeof *t);
    static const uint32_t counts[] = {3, TABLE_SET_MAX, 3 * TABLE_SET_MAX};
    struct jump_table *other = tables_get(t, 2, 0);
    table_set(other, 1, 42);
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        struct jump_table *j = tables_get(t, 1, i);
        for (uint32_t n = 0; n < counts[i]; n++)
            table_set(j, n * 300, 1);
        table_set_straddle(j, 0xfffff, 1);
        tables_space_dropped(t, 1);
        for (uint32_t n = 0; n < counts[i]; n++)
            assert_int_equal(j->entry[n * 300], 0);
        assert_int_equal(*table_straddle(j, 0xfffff), 0);
    }
    assert_int_equal(other->entry[1], 42);
    tables_clear(t);
    assert_int_equal(other->entry[1], 0);
    tables_free(t);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reserve_is_laid_out_as_promised),
        cmocka_unit_test(nothing_is_writable_and_executable),
        cmocka_unit_test(code_is_taken_aligned_and_dropped_at_once),
        cmocka_unit_test(stubs_lead_to_their_exits),
        cmocka_unit_test(marks_come_back_as_they_were),
        cmocka_unit_test(many_translations_are_all_found),
        cmocka_unit_test(senseless_marks_are_refused),
        cmocka_unit_test(unmapping_clears_what_depends_on_the_page),
        cmocka_unit_test(straddle_goes_wherever_it_was_known),
        cmocka_unit_test(dropped_space_forgets_few_and_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
