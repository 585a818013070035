/* SPDX-License-Identifier: MIT */
/* Traced page tables (`--dbt trace-tables`): the other way to keep views right.
 *
 * Every page table that a record was made from, and every page directory of a space in the pool,
 * has the reason WP_PAGE_TABLE: the guest's views of it are read-only, so each store to it is
 * interpreted and reported (mem/wprot.c). The report drops exactly the pages whose entries changed,
 * in every space, whether it is current or not. So views never lag behind the tables, and neither
 * INVLPG nor a load of CR3 has anything to check. What remains of the load: space 0 is shared by
 * all page directories, so the directory loaded must agree with those that its records were made
 * from. That is compared once per directory, and again after space 0 has grown or the directory was
 * changed.
 *
 * Tables are found by physical page: a count of the directories and a list of the records that use
 * it. A page gets its protection back when the last use ends. That is when its records are dropped:
 * the guest clears the entry above; or it stores to the page again and again without any effect on
 * what is shown (PATIENCE), as it does when the page has become data, or a table that is being
 * filled. A directory that is written while its space shows nothing stands for a process that has
 * ended.
 *
 * Stores by other threads (devices) are queued, as in engine/dbt/watch.c, and served before
 * generated code is entered again.
 *
 * Left out: page-directory-pointer tables. The processor itself reads them only when CR3 is loaded
 * (Intel SDM vol. 3A 4.4.1). */
#include "isa/x86/shadow_internal.h"

#include <errno.h>
#include <sys/mman.h>

#define TABLES_COUNT (PHYS_LIMIT >> PAGE_SHIFT)
#define TABLES_BYTES (TABLES_COUNT * sizeof(struct table_uses))
#define PATIENCE     16u /* stores without effect before a table is let go */

/* ---- uses of a physical page as a table -------------------------------------------------------
 */

static void start(struct x86_shadow *s, uint32_t page)
{
    const struct table_uses *t = &s->tables[page];
    if (t->directories || t->regions)
        return;
    s->stats.traced_now++;
    s->stats.traced++;
    wp_add(s->v->base.mem, (gpfn_t){page}, WP_PAGE_TABLE);
}

static void end(struct x86_shadow *s, uint32_t page)
{
    const struct table_uses *t = &s->tables[page];
    if (t->directories || t->regions)
        return;
    s->stats.traced_now--;
    wp_drop(s->v->base.mem, (gpfn_t){page}, WP_PAGE_TABLE);
}

static uint32_t table_page(const struct x86_shadow *s, uint64_t entry)
{
    return (uint32_t)((entry & ENT_ADDR) >> PAGE_SHIFT & s->frame_mask);
}

void trace_region(struct x86_shadow *s, const struct space *sp, struct region *r)
{
    if (!s->tables)
        return;
    if (!sp->id) /* the current directory agrees, others have to show it */
        s->owner->agreed = ++s->agreement;
    if (r->large)
        return;
    uint32_t page = table_page(s, r->pde);
    struct table_uses *t = &s->tables[page];
    start(s, page);
    r->same_table = t->regions;
    r->table_link = &t->regions;
    if (r->same_table)
        r->same_table->table_link = &r->same_table;
    t->regions = r;
}

void trace_region_end(struct x86_shadow *s, struct region *r)
{
    if (!r->table_link)
        return;
    *r->table_link = r->same_table;
    if (r->same_table)
        r->same_table->table_link = r->table_link;
    r->table_link = NULL;
    end(s, table_page(s, r->pde));
}

void trace_space_end(struct x86_shadow *s, struct space *sp)
{
    for (unsigned q = 0; q < ARRAY_LEN(sp->directory); q++) {
        uint32_t page = sp->directory[q];
        sp->directory[q] = NO_DIRECTORY;
        if (page == NO_DIRECTORY)
            continue;
        s->tables[page].directories--;
        end(s, page);
    }
    sp->agreed = 0;
    sp->stray = 0;
}

/* ---- loads of CR3 -----------------------------------------------------------------------------
 */

/* Physical page of the directory for quarter q of linear memory. */
static uint32_t current_directory(const struct x86_shadow *s, unsigned q)
{
    const struct x86_vcpu *v = s->v;
    uint32_t page = table_page(s, s->pae ? v->pdpte[q] : v->cr3);
    bool present = s->paging && (s->pae ? v->pdpte[q] & ENT_P : q == 0);
    return present && page < TABLES_COUNT ? page : NO_DIRECTORY;
}

/* Trace the directories of the space that has become current; false if it had others before. */
static bool trace_directories(struct x86_shadow *s, struct space *sp)
{
    uint32_t now[ARRAY_LEN(sp->directory)];
    for (unsigned q = 0; q < ARRAY_LEN(now); q++)
        now[q] = current_directory(s, q);
    if (!memcmp(now, sp->directory, sizeof now))
        return true;
    trace_space_end(s, sp);
    for (unsigned q = 0; q < ARRAY_LEN(now); q++) {
        if (now[q] == NO_DIRECTORY)
            continue;
        start(s, now[q]);
        s->tables[now[q]].directories++;
        sp->directory[q] = now[q];
    }
    return false;
}

void trace_follow(struct x86_shadow *s)
{
    struct space *sp = s->owner;
    if (!trace_directories(s, sp))
        space_check_directory(s, sp, sp, 0, SPACE_REGIONS);
    if (sp->agreed == s->agreement)
        return;
    space_check_directory(s, &s->space[0], sp, 0, SPACE_REGIONS);
    sp->agreed = s->agreement;
}

/* ---- stores -----------------------------------------------------------------------------------
 */

static void directory_stored(struct x86_shadow *s, struct space *sp, unsigned from, unsigned to)
{
    s->stats.table_stores++;
    bool changed = space_check_directory(s, sp, sp, from, to);
    if (sp == s->owner) {
        space_check_directory(s, &s->space[0], sp, from, to);
    } else {
        sp->agreed = 0;
        sp->stray = changed ? 0 : sp->stray + 1;
        if (!sp->regions || sp->stray >= PATIENCE)
            shadow_give_up(s, sp);
    }
    if (sp->key != KEY_NONE && !sp->regions) { /* all gone: another program's from now on */
        sp->ran = 0;
        sp->promoted = false;
    }
}

static void stored_in_directories(struct x86_shadow *s, uint32_t page, unsigned from, unsigned to)
{
    unsigned each = s->pae ? 512 : 1024;
    for (unsigned n = 1; n < SHADOW_SPACES && s->tables[page].directories; n++)
        for (unsigned q = 0; q < ARRAY_LEN(s->space[n].directory); q++)
            if (s->space[n].directory[q] == page)
                directory_stored(s, &s->space[n], q * each + from, q * each + to);
}

static void stored_in_tables(struct x86_shadow *s, uint32_t page, unsigned from, unsigned to)
{
    for (struct region *r = s->tables[page].regions, *next; r; r = next) {
        next = r->same_table;
        s->stats.table_stores++;
        if (region_stored(s, r, from, to))
            r->stray = 0;
        else if (!r->used && ++r->stray >= PATIENCE)
            region_free(s, r);
    }
}

static void stored(struct x86_shadow *s, gpa_t gpa, uint64_t len)
{
    uint32_t page = (uint32_t)(gpa >> PAGE_SHIFT);
    unsigned shift = s->pae ? 3 : 2, at = (unsigned)(gpa & ~PAGE_MASK);
    if (gpa >= PHYS_LIMIT || !len)
        return;
    unsigned end_at = len < PAGE_BYTES - at ? at + (unsigned)len : (unsigned)PAGE_BYTES;
    unsigned from = at >> shift, to = ((end_at - 1) >> shift) + 1;
    if (s->tables[page].regions)
        stored_in_tables(s, page, from, to);
    if (s->tables[page].directories)
        stored_in_directories(s, page, from, to);
}

/* wp_watcher.written */
static void written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    struct x86_shadow *s = opaque;
    if (!(reasons & WP_PAGE_TABLE))
        return;
    if (pthread_equal(pthread_self(), s->v->owner)) {
        stored(s, gpa, len);
        return;
    }
    pthread_mutex_lock(&s->far_lock);
    if (s->far_count < TRACE_FAR)
        s->far[s->far_count] = (struct table_store){gpa, len};
    if (s->far_count <= TRACE_FAR)
        s->far_count++;
    pthread_mutex_unlock(&s->far_lock);
    /* First the queue, then the bit: who takes the bit looks at the queue later. */
    atomic_fetch_or(&s->pending, PEND_STORED);
    vcpu_attend(&s->v->base, ATTN_CODE);
}

static void stored_anywhere(struct x86_shadow *s)
{
    for (unsigned n = 1; n < SHADOW_SPACES; n++)
        if (&s->space[n] != s->owner && s->space[n].key != KEY_NONE)
            shadow_give_up(s, &s->space[n]);
    space_clear(s, &s->space[0]);
    space_clear(s, s->owner);
}

void trace_drain(struct x86_shadow *s)
{
    struct table_store far[TRACE_FAR];
    pthread_mutex_lock(&s->far_lock);
    unsigned count = s->far_count;
    s->far_count = 0;
    memcpy(far, s->far, sizeof far);
    pthread_mutex_unlock(&s->far_lock);
    if (count > TRACE_FAR && s->owner)
        stored_anywhere(s);
    for (unsigned i = 0; i < count && count <= TRACE_FAR; i++)
        stored(s, far[i].gpa, far[i].len);
}

/* ---- life -------------------------------------------------------------------------------------
 */

int trace_open(struct x86_shadow *s, struct err *e)
{
    pthread_mutex_init(&s->far_lock, NULL);
    for (unsigned n = 0; n < SHADOW_SPACES; n++)
        memset(s->space[n].directory, 0xff, sizeof s->space[n].directory);
    if (!s->options.trace_tables)
        return 0;
    void *m = mmap(NULL, TABLES_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED)
        return err_set(e, ENOMEM, "host-memory", "no address space for traced page tables");
    s->tables = m;
    s->watcher.written = written;
    return 0;
}

void trace_close(struct x86_shadow *s)
{
    for (unsigned n = 0; s->tables && n < SHADOW_SPACES; n++) {
        for (struct region *r = s->space[n].regions; r; r = r->next)
            trace_region_end(s, r);
        trace_space_end(s, &s->space[n]);
    }
    if (s->tables)
        munmap(s->tables, TABLES_BYTES);
    pthread_mutex_destroy(&s->far_lock);
}
