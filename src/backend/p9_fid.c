/* SPDX-License-Identifier: MIT */
/* File handles of 9P guests. The records are in memory that is saved with the guest, packed, so
 * that only as much of it is touched as there were handles at a time; record 0 says how many that
 * is. Descriptors, a hash table of numbers and the list of free records are beside it. A record
 * names its file by its path below the shared directory. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/p9_internal.h"

struct p9_table {
    uint32_t *hash; /* record of a number, or 0; linear probing */
    uint32_t mask;
    uint32_t *next_free; /* record behind a free one */
    uint32_t free;       /* the first, or 0 */
    int *fd;             /* as fid[]: descriptor of an open one, or -1 */
    DIR **dir;           /* as fid[]: an open directory that is read, or NULL */
};

/* Records 1 to limit - 1 have been in use. */
static uint32_t limit(const struct p9 *p)
{
    return p->fid[0].number ? p->fid[0].number : 1;
}

int p9_table_open(struct p9 *p)
{
    struct p9_table *t = p->table = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->mask = 2 * p->fid_count - 1;
    t->hash = calloc(t->mask + 1, sizeof *t->hash);
    t->next_free = calloc(p->fid_count, sizeof *t->next_free);
    t->fd = calloc(p->fid_count, sizeof *t->fd);
    t->dir = calloc(p->fid_count, sizeof *t->dir);
    return t->hash && t->next_free && t->fd && t->dir ? 0 : -ENOMEM;
}

/* Descriptors are kept plus one: zeroed memory, which costs nothing, has none. */
int p9_fd(const struct p9 *p, const struct p9_fid *f)
{
    return p->table->fd[f - p->fid] - 1;
}

void p9_set_fd(struct p9 *p, const struct p9_fid *f, int fd)
{
    p->table->fd[f - p->fid] = fd + 1;
}

void *p9_dir(struct p9 *p, const struct p9_fid *f)
{
    DIR **dir = &p->table->dir[f - p->fid];
    if (!*dir && p9_fd(p, f) >= 0)
        *dir = fdopendir(p9_fd(p, f));
    return *dir;
}

static uint32_t home(const struct p9_table *t, uint32_t number)
{
    return (number * UINT32_C(0x9e3779b1)) >> 7 & t->mask;
}

/* The place of a number in the hash table, or the free one where it would go. */
static uint32_t place_of(const struct p9 *p, uint32_t number)
{
    const struct p9_table *t = p->table;
    uint32_t i = home(t, number);
    while (t->hash[i] && p->fid[t->hash[i]].number != number)
        i = (i + 1) & t->mask;
    return i;
}

struct p9_fid *p9_find(struct p9 *p, uint32_t number)
{
    uint32_t record = p->table->hash[place_of(p, number)];
    return record ? &p->fid[record] : NULL;
}

static uint32_t take_record(struct p9 *p)
{
    struct p9_table *t = p->table;
    uint32_t record = t->free;
    if (record) {
        t->free = t->next_free[record];
    } else if (limit(p) < p->fid_count) {
        record = limit(p);
        p->fid[0].number = record + 1;
    }
    return record;
}

struct p9_fid *p9_new(struct p9 *p, uint32_t number, const char *path, int *error)
{
    uint32_t place = place_of(p, number);
    *error = -EBADF;
    if (p->table->hash[place])
        return NULL;
    uint32_t record = take_record(p);
    *error = -ENFILE;
    if (!record)
        return NULL;
    struct p9_fid *f = &p->fid[record];
    *f = (struct p9_fid){.number = number, .used = 1};
    snprintf(f->path, sizeof f->path, "%s", path);
    p->table->hash[place] = record;
    p->stats.fids++;
    return f;
}

static void close_files(struct p9 *p, uint32_t record)
{
    struct p9_table *t = p->table;
    if (t->dir[record])
        closedir(t->dir[record]); /* the descriptor goes with it */
    else if (t->fd[record])
        close(t->fd[record] - 1);
    t->fd[record] = 0;
    t->dir[record] = NULL;
}

/* What probing put behind the place moves up, so that no gap comes between a hash and its entry. */
static void unhash(struct p9 *p, uint32_t hole)
{
    struct p9_table *t = p->table;
    t->hash[hole] = 0;
    for (uint32_t i = (hole + 1) & t->mask; t->hash[i]; i = (i + 1) & t->mask)
        if (((i - home(t, p->fid[t->hash[i]].number)) & t->mask) >= ((i - hole) & t->mask)) {
            t->hash[hole] = t->hash[i];
            t->hash[i] = 0;
            hole = i;
        }
}

void p9_drop(struct p9 *p, struct p9_fid *f)
{
    uint32_t record = (uint32_t)(f - p->fid);
    unhash(p, place_of(p, f->number));
    close_files(p, record);
    memset(f, 0, sizeof *f);
    p->table->next_free[record] = p->table->free;
    p->table->free = record;
    p->stats.fids--;
}

void p9_drop_all(struct p9 *p)
{
    uint32_t end = limit(p) < p->fid_count ? limit(p) : p->fid_count;
    for (uint32_t i = 1; i < end; i++) {
        close_files(p, i);
        memset(&p->fid[i], 0, sizeof p->fid[i]);
    }
    p->fid[0].number = 0;
    memset(p->table->hash, 0, (p->table->mask + 1) * sizeof *p->table->hash);
    p->table->free = 0;
    p->stats.fids = 0;
}

void p9_table_restored(struct p9 *p)
{
    struct p9_table *t = p->table;
    uint32_t end = limit(p);
    for (uint32_t i = 0; i < p->fid_count; i++)
        close_files(p, i);
    memset(t->hash, 0, (t->mask + 1) * sizeof *t->hash);
    t->free = 0;
    p->stats.fids = 0;
    if (end > p->fid_count) {
        p9_drop_all(p);
        return;
    }
    for (uint32_t i = 1; i < end; i++) {
        struct p9_fid *f = &p->fid[i];
        uint32_t place = f->used ? place_of(p, f->number) : 0;
        f->path[P9_PATH_MAX - 1] = 0;
        if (!f->used || p->table->hash[place]) {
            memset(f, 0, sizeof *f);
            p->table->next_free[i] = p->table->free;
            p->table->free = i;
            continue;
        }
        p->table->hash[place] = i;
        p->stats.fids++;
        if (f->open)
            p9_reopen(p, f);
    }
}

void p9_table_free(struct p9 *p)
{
    struct p9_table *t = p->table;
    if (!t)
        return;
    for (uint32_t i = 0; t->fd && t->dir && i < p->fid_count; i++)
        close_files(p, i);
    free(t->hash);
    free(t->next_free);
    free(t->fd);
    free(t->dir);
    free(t);
}

void p9_renamed(struct p9 *p, const char *from, const char *to)
{
    size_t n = strlen(from);
    for (uint32_t i = 1; i < limit(p); i++) {
        char *path = p->fid[i].path, old[P9_PATH_MAX];
        if (!p->fid[i].used || strncmp(path, from, n) || (path[n] && path[n] != '/'))
            continue;
        strcpy(old, path);
        /* One that would become too long names what is not there any more. */
        if (snprintf(path, P9_PATH_MAX, "%s%s", to, old + n) >= (int)P9_PATH_MAX)
            strcpy(path, old);
    }
}

bool p9_join(const char *path, const char *name, char to[P9_PATH_MAX])
{
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return false;
    return snprintf(to, P9_PATH_MAX, "%s%s%s", path, *path ? "/" : "", name) < (int)P9_PATH_MAX;
}

void p9_parent(const char *path, char to[P9_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    memmove(to, path, n);
    to[n] = 0;
}
