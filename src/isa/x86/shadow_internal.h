/* SPDX-License-Identifier: MIT */
/* What the files of the shadow views share. Nobody else includes this.
 *
 *   shadow.c        life, which space is current, prepare()
 *   shadow_space.c  records of what a space shows: keeping, checking against guest memory, dropping
 *   shadow_fill.c   showing more: faults, instruction fetch
 *   shadow_trace.c  `--dbt trace-tables`: stores to page tables are seen when they happen
 *
 * A space keeps a record per region: the linear addresses behind one page-directory entry, 4 MiB
 * or 2 MiB with PAE. For each page of it the record says in which forms the page is shown and the
 * page-table entry that said so. A large page is a region without page table; so is everything
 * while paging is off. */
#ifndef RING3_ISA_X86_SHADOW_INTERNAL_H
#define RING3_ISA_X86_SHADOW_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "isa/x86/mmu.h"
#include "isa/x86/shadow.h"
#include "mem/flat.h"
#include "mem/window.h"

#define SHADOW_USER_SPACES 64u /* address spaces whose user view is kept */
#define SHADOW_SPACES      (SHADOW_USER_SPACES + 1)
#define SHADOW_REGIONS_MAX 4096u /* records of all spaces; 5.5 KiB each */
#define REGION_PAGES       1024u
#define CHURN_LIMIT        32u /* flushed pages of a region that make it restless */
#define REGION_WORDS       (REGION_PAGES / 64)
#define SPACE_REGIONS      2048u

_Static_assert(SHADOW_SPACES <= DBT_SPACES, "space numbers");

/* Bits of a page's state. The _W bits follow the ones they belong to. */
enum {
    PG_WINDOW = 1 << 0,   /* shown in the window */
    PG_WINDOW_W = 1 << 1, /* and writable there */
    PG_FLAT = 1 << 2,     /* shown in the flat table */
    PG_FLAT_W = 1 << 3,
    PG_CODE = 1 << 4, /* fetch() told the engine which page this is */
    PG_WRITABLE = PG_WINDOW_W | PG_FLAT_W,
    PG_ALL = 0x1f,
};

/* Bits of page-table entries, and those that the processor ignores (SDM vol. 3A 4.3, 4.4). */
#define ENT_P    (UINT64_C(1) << 0)
#define ENT_RW   (UINT64_C(1) << 1)
#define ENT_US   (UINT64_C(1) << 2)
#define ENT_A    (UINT64_C(1) << 5)
#define ENT_D    (UINT64_C(1) << 6)
#define ENT_PS   (UINT64_C(1) << 7)
#define ENT_OS   (UINT64_C(7) << 9)
#define ENT_ADDR UINT64_C(0x0000000ffffff000)

struct region {
    struct region *next, **link; /* the space's list; the free list uses next only */
    uint32_t base;               /* linear address */
    uint32_t used, nonglobal;    /* pages with a state; those of them that CR3 loads flush */
    uint8_t churn;               /* pages lately flushed one by one, see restless() */
    bool large;                  /* no page table: page i is frame + i */
    uint8_t stray;               /* stores to the table without effect, see shadow_trace.c */
    uint16_t space;              /* whose record this is */
    struct region *same_table, **table_link; /* table_uses.regions; link is NULL: not traced */
    uint64_t pde;         /* what this record was made from, after A (and D) were set */
    const uint8_t *table; /* the page table in the monitor's map */
    uint64_t frame;       /* large: physical page of the first page, before the A20 gate */
    uint64_t used_map[REGION_WORDS], global_map[REGION_WORDS];
    uint8_t state[REGION_PAGES];
    union {
        uint32_t e32[REGION_PAGES];
        uint64_t e64[REGION_PAGES / 2];
    } pte; /* valid where state is not 0 and the region is not large */
};

#define KEY_NONE     (UINT64_C(1) << 33)
#define KEY_IDENTITY (UINT64_C(1) << 32) /* paging is off */

struct space {
    unsigned id;    /* 0: the supervisor's */
    uint64_t key;   /* CR3, or one of the above; not used by space 0 */
    uint64_t stamp; /* when it was last current: least recently used goes first */
    uint64_t ran;   /* TSC ticks that user code has run here, estimated */
    bool promoted;  /* lives long: gets a window */
    bool no_window; /* none can be had */
    /* Traced tables: physical pages of the directories, one for each quarter of linear memory with
     * PAE; the value of x86_shadow.agreement when the entries that space 0 was made from were found
     * to be in them, too; stores to them without effect. */
    uint32_t directory[4];
    uint64_t agreed;
    unsigned stray;
    struct window *window;
    struct flat *flat;
    struct region *regions;
    struct region **dir; /* SPACE_REGIONS, by linear address */
};

/* What prepare() has to look at (x86_shadow.pending). */
enum {
    PEND_FLUSH = 1 << 0,   /* CR3 was loaded: everything but global pages may have changed */
    PEND_GLOBAL = 1 << 1,  /* global pages, too */
    PEND_PROTECT = 1 << 2, /* another thread gave some page a reason to be write-protected */
    PEND_SWITCH = 1 << 3,  /* forms of the current space changed */
    PEND_STORED = 1 << 4,  /* another thread stored to a traced table */
};

/* Traced tables: what a physical page is used as. */
#define NO_DIRECTORY UINT32_MAX
struct table_uses {
    struct region *regions; /* made from this page table */
    uint32_t directories;   /* of spaces; a page can be several quarters' of one */
};
#define TRACE_FAR 64u
struct table_store {
    gpa_t gpa;
    uint64_t len;
};

/* Supervisor accesses by plain code to pages that are better served by select[]: see foreign(). */
#define FOREIGN_SLOTS    64u /* power of two */
#define FOREIGN_RESTLESS UINT64_MAX
struct foreign {
    uint32_t page;
    uint16_t count;
    uint64_t epoch; /* for user pages: x86_shadow.foreign_epoch; else FOREIGN_RESTLESS */
};

struct x86_shadow {
    struct x86_vcpu *v;
    struct dbt_options options;
    struct dbt_hooks hooks;
    struct wp_watcher watcher;
    struct window_pool *windows; /* NULL: this host has none */
    struct flat_pool *flats;
    struct flat *nothing; /* always empty: the view of a space for which there is no memory */

    _Atomic uint32_t pending;
    bool wrgsbase;       /* the instruction may be used here */
    bool user;           /* v->user when cur became current */
    uint8_t flavour;     /* enum x86_flavour of cur */
    struct space *cur;   /* current space */
    struct space *owner; /* user space of the current CR3 */
    uint64_t mode;       /* control bits that change what all tables mean; see mode_of() */
    bool paging, pae;
    unsigned region_shift; /* of linear addresses */
    uint64_t frame_mask;   /* A20 gate, for physical page numbers */
    uint64_t stamp;
    uint64_t entered; /* TSC when user code got the processor; 0: this stay is not measured */
    unsigned switches;
    unsigned fault_seen; /* v->fault_next up to which faults were looked at */

    /* TB_SELECT: does quarter q show the user's flat table, and how often did that change? */
    bool select_user[4];
    uint32_t flips[4];
    bool user_seen; /* the guest has run user code with paging on */
    uint64_t foreign_epoch;
    struct foreign foreign[FOREIGN_SLOTS];

    /* Writable pages by physical page: how many (UINT8_MAX: that or more, for good) and the one
     * noted last, as space << 20 | linear page. Large pages of space 0 are left out. */
    uint8_t *writers;
    uint32_t *writer;

    struct region *free_regions;
    unsigned regions;

    /* Traced tables. */
    struct table_uses *tables; /* by physical page; NULL: tables are not traced */
    uint64_t agreement;        /* counts records made for space 0 */
    pthread_mutex_t far_lock;
    struct table_store far[TRACE_FAR]; /* by other threads; under far_lock */
    unsigned far_count;                /* the same; more than TRACE_FAR: any table */

    struct x86_shadow_stats stats;
    struct space space[SHADOW_SPACES];
};

/* ---- shadow.c -------------------------------------------------------------------------------- */

/* Make room for mappings: empty the window used least recently. False if there is none. */
bool shadow_evict_window(struct x86_shadow *s);
/* Give back records of another space than `sp`, or of sp itself if there is no other. */
void shadow_evict_records(struct x86_shadow *s, struct space *sp);
bool shadow_need_flat(struct x86_shadow *s, struct space *sp);
/* The space stands for nothing any more. Not for space 0. */
void shadow_give_up(struct x86_shadow *s, struct space *sp);
void shadow_update_select(struct x86_shadow *s);

/* ---- shadow_space.c -------------------------------------------------------------------------- */

/* The entries that map a linear address now. */
struct entries {
    uint64_t pde, pte; /* pte: pde again for a large page */
    const uint8_t *table;
    bool large;
};
/* False: not present, or the tables are not in memory. */
bool shadow_entries(const struct x86_shadow *s, uint32_t lin, struct entries *n);
/* Access rights of both levels together. */
static inline uint64_t entries_rights(const struct entries *n)
{
    return n->pde & n->pte & (ENT_RW | ENT_US);
}

static inline unsigned page_index(const struct x86_shadow *s, uint32_t lin)
{
    return lin >> PAGE_SHIFT & ((1u << (s->region_shift - PAGE_SHIFT)) - 1);
}
static inline struct region *region_at(const struct x86_shadow *s, const struct space *sp,
                                       uint32_t lin)
{
    return sp->dir[lin >> s->region_shift];
}
static inline uint8_t page_state(const struct x86_shadow *s, const struct space *sp, uint32_t lin)
{
    const struct region *r = region_at(s, sp, lin);
    return r ? r->state[page_index(s, lin)] : 0;
}
static inline uint32_t region_page(const struct region *r, unsigned i) /* linear page number */
{
    return (r->base >> PAGE_SHIFT) + i;
}
/* Physical page that page i shows, by its record. */
gpfn_t region_gpfn(const struct x86_shadow *s, const struct region *r, unsigned i);
/* The page-table entry of page i as it is in guest memory now; not for large regions. */
uint64_t region_entry_now(const struct x86_shadow *s, const struct region *r, unsigned i);
uint64_t region_entry(const struct x86_shadow *s, const struct region *r, unsigned i);

/* The record for lin, made for the entries *n: what contradicts them has been dropped, and the
 * page's entry is noted. NULL: no memory. */
struct region *shadow_record(struct x86_shadow *s, struct space *sp, uint32_t lin,
                             const struct entries *n);
/* Note the entry of a neighbour that is about to be shown. */
void region_note(struct x86_shadow *s, struct region *r, unsigned i, uint64_t pte);
/* Set bits of a page's state. */
void region_add(struct x86_shadow *s, struct space *sp, struct region *r, unsigned i, uint8_t bits,
                bool global);

/* INVLPG: what the space shows at lin goes, a page or the large page around it, unless the tables
 * still say the same. */
void space_flush_page(struct x86_shadow *s, struct space *sp, uint32_t lin);
void space_clear(struct x86_shadow *s, struct space *sp);
/* The space's window is empty by now. */
void space_window_lost(struct x86_shadow *s, struct space *sp);
/* Compare with guest memory and drop what changed; `global`: global pages, too. */
void space_validate(struct x86_shadow *s, struct space *sp, bool global);
/* Compare records with directory entries [from, to) of the space `by`, and drop what changed. True
 * if something was. */
bool space_check_directory(struct x86_shadow *s, struct space *sp, const struct space *by,
                           unsigned from, unsigned to);
/* Entries [from, to) of the page table were written: drop those pages that changed. False: none of
 * them is shown. */
bool region_stored(struct x86_shadow *s, struct region *r, unsigned from, unsigned to);
void region_free(struct x86_shadow *s, struct region *r); /* shows nothing by now */
/* No writable view of this page from now on; of any page. */
void shadow_protect(struct x86_shadow *s, gpfn_t page);
void shadow_protect_all(struct x86_shadow *s);

/* ---- shadow_trace.c -------------------------------------------------------------------------- */

int trace_open(struct x86_shadow *s, struct err *e);
void trace_close(struct x86_shadow *s);
/* A record has been made; is about to go. */
void trace_region(struct x86_shadow *s, const struct space *sp, struct region *r);
void trace_region_end(struct x86_shadow *s, struct region *r);
void trace_space_end(struct x86_shadow *s, struct space *sp);
/* x86_shadow.owner has become current: in place of checking all it shows. */
void trace_follow(struct x86_shadow *s);
/* Serve what other threads queued. */
void trace_drain(struct x86_shadow *s);

/* ---- shadow_fill.c --------------------------------------------------------------------------- */

/* A page that was in the flat table has gone because its entry changed: show what it is now, if it
 * is a page that has been accessed already. */
void shadow_refill_flat(struct x86_shadow *s, struct space *sp, uint32_t lin);
/* The guest returns to user code: see x86_shadow_prepare in shadow.h. */
void shadow_map_on_return(struct x86_shadow *s);

#endif
