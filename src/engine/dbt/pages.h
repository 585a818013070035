/* SPDX-License-Identifier: MIT */
/* Which guest pages have translated code: see pages.c. vCPU thread only. */
#ifndef RING3_ENGINE_DBT_PAGES_H
#define RING3_ENGINE_DBT_PAGES_H

#include "engine/dbt/tables.h"
#include "ring3/mem.h"

#define TPAGES_MAX    (1u << 16)
#define STRADDLES_MAX (1u << 14)
#define PAGE_ENTRIES  4096u
#define NO_OFFSET     0xffffu

#define DEPENDS_MAX   (1u << 14)
#define DEPEND_HEADS  1024u /* power of two */
#define TPAGE_DEPENDS 16u

/* All structs below are numbered, from 1; 0 is none. */

/* An instruction that faulted: how it is translated, and how often for which reason it came here.
 */
struct site {
    uint16_t offset;
    uint8_t policy;   /* enum tb_policy */
    uint8_t quiet;    /* TB_CALLOUT: runs in a row that had no reason for it */
    uint8_t reverted; /* how often it went back to TB_PLAIN */
    uint8_t faults[DBT_VERDICTS];
};

/* Code of one guest page as it appears at one linear address in one mode. */
struct tpage {
    gpfn_t gpfn;
    uint32_t page;         /* linear address */
    uint16_t mode;         /* isa_translator.prepare's */
    uint16_t straddle_off; /* the instruction that may use the straddle slots, or NO_OFFSET */
    uint8_t touched;       /* bit n: entries [1024n, 1024n + 1024) may be set */
    uint8_t depend_count;
    bool no_depends;    /* spaces disagree about what it would depend on */
    uint32_t next;      /* tpage of the same gpfn */
    uint32_t depends;   /* what its code was built on besides its own page */
    uint32_t straddles; /* that start in it */
    uint16_t site_count, site_room;
    struct site *sites;
};

/* Code of the instruction at tpage.straddle_off when the next page is `next`. */
struct straddle {
    uint32_t tpage;
    gpfn_t next;
    uint32_t code; /* offset, 0: none now */
    uint32_t next_of_tpage, next_of_gpfn;
};

/* Code of a tpage that is right only as long as linear page `page` shows `gpfn`, and that holds
 * what it held. */
struct depend {
    uint32_t tpage, page; /* page: linear page number */
    gpfn_t gpfn;
    uint32_t next_of_tpage, next_of_gpfn, next_of_page;
};

/* A guest page from which code was translated. */
struct code_page {
    gpfn_t gpfn;
    bool protected;                      /* WP_TRANSLATED is ours */
    uint8_t patience;                    /* log2 of stray stores before the code goes */
    uint32_t stray;                      /* stores to bytes that are not covered, since then */
    uint32_t tpages;                     /* list */
    uint32_t straddles;                  /* that end in it */
    uint32_t depends;                    /* on it */
    uint64_t covered[PAGE_ENTRIES / 64]; /* bit per byte that went into a translation */
};

struct dbt_pages {
    struct phys *mem;
    struct dbt_tables *tables; /* told of straddles that go */
    uint32_t *by_gpfn;         /* number of the code_page */
    struct code_page *code;
    struct tpage *tpages;
    struct straddle *straddles;
    struct depend *depends;
    uint32_t depend_of_page[DEPEND_HEADS];
    uint32_t code_count, tpage_count, straddle_count, depend_count; /* used, number 0 included */
    uint64_t drops;   /* guest pages that lost their code */
    uint32_t *arrays; /* PAGE_ENTRIES code offsets per tpage */
};

int pages_open(struct dbt_pages *p, struct phys *mem, struct dbt_tables *tables, struct err *e);
void pages_close(struct dbt_pages *p);
/* Room for one more of each kind? */
bool pages_room(const struct dbt_pages *p);
/* Forget everything. The jump tables must be cleared, too. */
void pages_flush(struct dbt_pages *p);

/* Number of the tpage of this key, made if it is new; needs room. */
uint32_t pages_tpage(struct dbt_pages *p, gpfn_t gpfn, uint32_t page, uint16_t mode);
static inline uint32_t *tpage_array(const struct dbt_pages *p, uint32_t tp)
{
    return p->arrays + (size_t)tp * PAGE_ENTRIES;
}
void tpage_set(struct dbt_pages *p, uint32_t tp, uint16_t offset, uint32_t code);
/* Drop its code: entries become 0, straddles go. What jump tables point to stays valid. */
void tpage_clear(struct dbt_pages *p, uint32_t tp);

/* The straddle of tp into `next`, made (without code) if it is new; needs room. */
uint32_t pages_straddle(struct dbt_pages *p, uint32_t tp, gpfn_t next);

/* Code of tp builds on linear page number `page` showing gpfn. False: too many such facts, do
 * without. */
bool pages_depend(struct dbt_pages *p, uint32_t tp, uint32_t page, gpfn_t gpfn);
/* Linear page number `page` of this space shows something else from now on. */
void pages_unmapped(struct dbt_pages *p, unsigned space, uint32_t page);

/* Have stores to this page reported. To be called before its bytes are read for translation. */
void pages_protect(struct dbt_pages *p, gpfn_t gpfn);
/* Bytes [from, to) of the page went into a translation. */
void pages_cover(struct dbt_pages *p, gpfn_t gpfn, unsigned from, unsigned to);
/* Bytes [gpa, gpa+len), within one page, changed. True if that hit code, or if the page seems to be
 * data by now: then all code of the page is gone, and its protection. */
bool pages_written(struct dbt_pages *p, gpa_t gpa, uint64_t len);

enum tb_policy tpage_policy(const struct dbt_pages *p, uint32_t tp, uint16_t offset);
/* The site's record, made if it is new; NULL if there are too many or no memory. Valid until the
 * next call. */
struct site *tpage_site(struct dbt_pages *p, uint32_t tp, uint16_t offset);

#endif
