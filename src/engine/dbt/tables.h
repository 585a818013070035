/* SPDX-License-Identifier: MIT */
/* Jump tables, one per space and mode: see tables.c. vCPU thread only. */
#ifndef RING3_ENGINE_DBT_TABLES_H
#define RING3_ENGINE_DBT_TABLES_H

#include "ring3/translate.h"

#define TABLE_SET_MAX 256u /* linear pages a table remembers to have set */

struct jump_table {
    uint64_t *entry;         /* by linear page; what r14 holds */
    struct jump_table *next; /* of all */
    uint32_t set_count;
    bool many; /* more were set than `set` could take */
    uint32_t set[TABLE_SET_MAX];
};

struct dbt_tables {
    struct jump_table *of[DBT_SPACES][DBT_MODES];
    struct jump_table *all;
};

/* The table, made if it is new. NULL: no memory, or numbers out of range. */
struct jump_table *tables_get(struct dbt_tables *t, unsigned space, unsigned mode);
void tables_free(struct dbt_tables *t);

/* Code of linear page number `page`: `value` as ring3/translate.h says; not 0. */
void table_set(struct jump_table *j, uint32_t page, uint64_t value);
/* Code of the instruction that starts in that page and ends in the next; not 0. */
void table_set_straddle(struct jump_table *j, uint32_t page, uint32_t code);
static inline uint32_t *table_straddle(struct jump_table *j, uint32_t page)
{
    return (uint32_t *)(void *)((uint8_t *)j->entry + DBT_STRADDLE_OFFSET) + page;
}

/* Page number `page` of that space shows something else now. */
void tables_unmapped(struct dbt_tables *t, unsigned space, uint32_t page);
/* No space has an entry for this page any more. */
void tables_forget_array(struct dbt_tables *t, uint32_t page);
void tables_space_dropped(struct dbt_tables *t, unsigned space);
/* The straddling code at offset `code`, which starts in `page`, is gone. */
void tables_straddle_gone(struct dbt_tables *t, uint32_t page, uint32_t code);
void tables_clear(struct dbt_tables *t); /* all of them */

#endif
