/* SPDX-License-Identifier: MIT */
/* Jump tables: how translated code finds translated code in another page without asking.
 *
 * A table is a reserve of DBT_JUMP_TABLE_BYTES: a u64 per linear page (where the page's array of
 * code offsets is, see pages.c) and a u32 per linear page (code of the instruction that crosses
 * into the next one). A process uses a handful of its pages, and so few host pages of it are ever
 * touched. Which entries were set is remembered in a short list, because spaces are recycled often;
 * with more than it takes, the host takes the memory back as a whole. */
#include "engine/dbt/tables.h"

#include <stdlib.h>
#include <sys/mman.h>

#define TABLE_PAGES 0x100000u

static struct jump_table *new_table(struct dbt_tables *t)
{
    struct jump_table *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->entry = mmap(NULL, DBT_JUMP_TABLE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (j->entry == MAP_FAILED) {
        free(j);
        return NULL;
    }
    madvise(j->entry, DBT_JUMP_TABLE_BYTES, MADV_NOHUGEPAGE); /* it stays sparse */
    j->next = t->all;
    t->all = j;
    return j;
}

struct jump_table *tables_get(struct dbt_tables *t, unsigned space, unsigned mode)
{
    if (space >= DBT_SPACES || mode >= DBT_MODES)
        return NULL;
    struct jump_table **j = &t->of[space][mode];
    if (unlikely(!*j))
        *j = new_table(t);
    return *j;
}

void tables_free(struct dbt_tables *t)
{
    while (t->all) {
        struct jump_table *j = t->all;
        t->all = j->next;
        munmap(j->entry, DBT_JUMP_TABLE_BYTES);
        free(j);
    }
}

static void remember(struct jump_table *j, uint32_t page)
{
    if (j->set_count < TABLE_SET_MAX)
        j->set[j->set_count++] = page;
    else
        j->many = true;
}

void table_set(struct jump_table *j, uint32_t page, uint64_t value)
{
    if (!j->entry[page])
        remember(j, page);
    j->entry[page] = value;
}

void table_set_straddle(struct jump_table *j, uint32_t page, uint32_t code)
{
    uint32_t *slot = table_straddle(j, page);
    if (!*slot)
        remember(j, page);
    *slot = code;
}

static void clear(struct jump_table *j)
{
    if (j->many) {
        madvise(j->entry, DBT_JUMP_TABLE_BYTES, MADV_DONTNEED);
    } else {
        for (uint32_t i = 0; i < j->set_count; i++) {
            j->entry[j->set[i]] = 0;
            *table_straddle(j, j->set[i]) = 0;
        }
    }
    j->set_count = 0;
    j->many = false;
}

/* Entries stay in the list of those that were set: most come back. Only what is not 0 is written,
 * for a store would touch a host page that nobody used. */
void tables_unmapped(struct dbt_tables *t, unsigned space, uint32_t page)
{
    if (space >= DBT_SPACES)
        return;
    page &= TABLE_PAGES - 1;
    uint32_t before = (page - 1) & (TABLE_PAGES - 1);
    for (unsigned mode = 0; mode < DBT_MODES; mode++) {
        struct jump_table *j = t->of[space][mode];
        if (!j)
            continue;
        if (j->entry[page])
            j->entry[page] = 0;
        if (*table_straddle(j, page))
            *table_straddle(j, page) = 0;
        if (*table_straddle(j, before))
            *table_straddle(j, before) = 0;
    }
}

void tables_forget_array(struct dbt_tables *t, uint32_t page)
{
    for (struct jump_table *j = t->all; j; j = j->next)
        if (j->entry[page])
            j->entry[page] = 0;
}

void tables_space_dropped(struct dbt_tables *t, unsigned space)
{
    if (space >= DBT_SPACES)
        return;
    for (unsigned mode = 0; mode < DBT_MODES; mode++)
        if (t->of[space][mode])
            clear(t->of[space][mode]);
}

void tables_straddle_gone(struct dbt_tables *t, uint32_t page, uint32_t code)
{
    for (struct jump_table *j = t->all; j; j = j->next)
        if (*table_straddle(j, page) == code)
            *table_straddle(j, page) = 0;
}

void tables_clear(struct dbt_tables *t)
{
    for (struct jump_table *j = t->all; j; j = j->next)
        clear(j);
}
