/* SPDX-License-Identifier: MIT */
/* A 9P2000.L server: see ring3/p9.h. This file: messages, and the table of requests. The protocol
 * is that of Linux's client (Documentation/filesystems/9p, and the 9P2000.L description of diod).
 *
 * Requests are carried out at once, in the order they come, by the thread that brings them. Data of
 * reads and writes goes straight between guest memory and the file. Caching is the guest's
 * (`cache=loose` and the like).
 *
 * Left out: authentication, extended attributes, locks between guest and host (a lock is always
 * granted, as one guest alone sees it). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/p9_internal.h"

enum {
    RLERROR = 7,
    TSTATFS = 8,
    TLOPEN = 12,
    TLCREATE = 14,
    TSYMLINK = 16,
    TMKNOD = 18,
    TRENAME = 20,
    TREADLINK = 22,
    TGETATTR = 24,
    TSETATTR = 26,
    TREADDIR = 40,
    TFSYNC = 50,
    TLOCK = 52,
    TGETLOCK = 54,
    TLINK = 70,
    TMKDIR = 72,
    TRENAMEAT = 74,
    TUNLINKAT = 76,
    TVERSION = 100,
    TATTACH = 104,
    TFLUSH = 108,
    TWALK = 110,
    TREAD = 116,
    TWRITE = 118,
    TCLUNK = 120,
    TREMOVE = 122,
};
#define WALK_MAX     16u
#define READ_BODY    4u  /* of an answer, before the data */
#define WRITE_BODY   16u /* of a request, before the data */
#define DIALECT      "9P2000.L"
#define ERROR_ANSWER (P9_HEADER + 4)

/* ---- words of messages ----------------------------------------------------------------------- */

uint64_t p9_get(struct p9_in *m, unsigned bytes)
{
    uint64_t x = 0;
    if ((size_t)(m->end - m->at) < bytes) {
        m->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        x |= (uint64_t)*m->at++ << 8 * i;
    return x;
}

void p9_get_string(struct p9_in *m, char *text, size_t room)
{
    size_t n = p9_get(m, 2);
    *text = 0;
    if (m->bad || (size_t)(m->end - m->at) < n || n >= room || memchr(m->at, 0, n)) {
        m->bad = true;
        return;
    }
    memcpy(text, m->at, n);
    text[n] = 0;
    m->at += n;
}

void p9_put_bytes(struct p9_out *m, const void *bytes, size_t n)
{
    if ((size_t)(m->end - m->at) < n)
        return;
    memcpy(m->at, bytes, n);
    m->at += n;
}

void p9_put(struct p9_out *m, uint64_t value, unsigned bytes)
{
    uint8_t b[8];
    for (unsigned i = 0; i < bytes; i++)
        b[i] = (uint8_t)(value >> 8 * i);
    p9_put_bytes(m, b, bytes);
}

void p9_put_string(struct p9_out *m, const char *text, size_t n)
{
    p9_put(m, n, 2);
    p9_put_bytes(m, text, n);
}

void p9_put_qid(struct p9_out *m, const struct p9_qid *q)
{
    p9_put(m, q->type, 1);
    p9_put(m, q->version, 4);
    p9_put(m, q->path, 8);
}

/* ---- session and walks ----------------------------------------------------------------------- */

static int version(struct p9_call *c)
{
    char dialect[32];
    uint32_t msize = (uint32_t)p9_get(c->in, 4);
    p9_get_string(c->in, dialect, sizeof dialect);
    if (c->in->bad || msize < P9_MSIZE_MIN)
        return -EINVAL;
    p9_drop_all(c->p); /* a new session */
    c->p->msize = msize < P9_MSIZE ? msize : P9_MSIZE;
    p9_put(c->out, c->p->msize, 4);
    if (strcmp(dialect, DIALECT))
        p9_put_string(c->out, "unknown", 7);
    else
        p9_put_string(c->out, DIALECT, strlen(DIALECT));
    return 0;
}

static int attach(struct p9_call *c)
{
    char user[256], name[P9_PATH_MAX];
    struct stat st;
    int r;
    uint32_t number = (uint32_t)p9_get(c->in, 4);
    p9_get(c->in, 4); /* the authentication's handle */
    p9_get_string(c->in, user, sizeof user);
    p9_get_string(c->in, name, sizeof name);
    if (c->in->bad)
        return -EINVAL;
    r = p9_stat(c->p, "", &st);
    if (r < 0)
        return r;
    if (!p9_new(c->p, number, "", &r))
        return r;
    struct p9_qid q = p9_qid(&st);
    p9_put_qid(c->out, &q);
    return 0;
}

/* One component on. ".." does not leave the shared directory. */
static int step(struct p9 *p, char path[P9_PATH_MAX], const char *name, struct stat *st)
{
    char next[P9_PATH_MAX];
    if (!strcmp(name, ".."))
        p9_parent(path, next);
    else if (!strcmp(name, "."))
        strcpy(next, path);
    else if (!p9_join(path, name, next))
        return strlen(path) + strlen(name) + 2 > P9_PATH_MAX ? -ENAMETOOLONG : -ENOENT;
    int r = p9_stat(p, next, st);
    if (r == 0)
        strcpy(path, next);
    return r;
}

/* The new handle comes to be only if all names were found; those found before are answered. */
static int walk(struct p9_call *c)
{
    uint32_t number = (uint32_t)p9_get(c->in, 4), new_number = (uint32_t)p9_get(c->in, 4);
    unsigned names = (unsigned)p9_get(c->in, 2), done = 0;
    struct p9_fid *f = p9_find(c->p, number);
    char path[P9_PATH_MAX], name[P9_PATH_MAX];
    struct p9_qid qid[WALK_MAX];
    int r = 0;
    if (!f || c->in->bad || names > WALK_MAX)
        return f ? -EINVAL : -EBADF;
    strcpy(path, f->path);
    for (; done < names; done++) {
        struct stat st;
        p9_get_string(c->in, name, sizeof name);
        r = c->in->bad ? -EINVAL : step(c->p, path, name, &st);
        if (r < 0)
            break;
        qid[done] = p9_qid(&st);
    }
    if (r < 0 && done == 0)
        return r;
    if (done == names && new_number == number)
        snprintf(f->path, sizeof f->path, "%s", path);
    else if (done == names && !p9_new(c->p, new_number, path, &r))
        return r;
    p9_put(c->out, done, 2);
    for (unsigned i = 0; i < done; i++)
        p9_put_qid(c->out, &qid[i]);
    return 0;
}

static int clunk(struct p9_call *c)
{
    struct p9_fid *f = p9_find(c->p, (uint32_t)p9_get(c->in, 4));
    if (!f)
        return -EBADF;
    p9_drop(c->p, f);
    return 0;
}

/* Nothing is ever under way. */
static int flush(struct p9_call *c)
{
    return 0;
}

/* ---- requests -------------------------------------------------------------------------------- */

static p9_handler *const handlers[] = {
    [TSTATFS] = p9_statfs,     [TLOPEN] = p9_lopen,       [TLCREATE] = p9_lcreate,
    [TSYMLINK] = p9_symlink,   [TMKNOD] = p9_mknod,       [TRENAME] = p9_rename,
    [TREADLINK] = p9_readlink, [TGETATTR] = p9_getattr,   [TSETATTR] = p9_setattr,
    [TREADDIR] = p9_readdir,   [TFSYNC] = p9_fsync,       [TLOCK] = p9_lock,
    [TGETLOCK] = p9_getlock,   [TLINK] = p9_link,         [TMKDIR] = p9_mkdir,
    [TRENAMEAT] = p9_renameat, [TUNLINKAT] = p9_unlinkat, [TVERSION] = version,
    [TATTACH] = attach,        [TFLUSH] = flush,          [TWALK] = walk,
    [TREAD] = p9_read,         [TWRITE] = p9_write,       [TCLUNK] = clunk,
    [TREMOVE] = p9_remove,
};

static const uint8_t changes[] = {TLCREATE, TSYMLINK,  TMKNOD,    TRENAME, TSETATTR, TLINK,
                                  TMKDIR,   TRENAMEAT, TUNLINKAT, TWRITE,  TREMOVE};

static uint64_t total(const struct iovec *v, unsigned n)
{
    uint64_t bytes = 0;
    while (n--)
        bytes += v++->iov_len;
    return bytes;
}

static size_t gather(const struct iovec *v, unsigned n, uint8_t *to, size_t room)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < room; i++) {
        size_t part = v[i].iov_len < room - done ? v[i].iov_len : room - done;
        memcpy(to + done, v[i].iov_base, part);
        done += part;
    }
    return done;
}

static void scatter(const struct iovec *v, unsigned n, const uint8_t *from, size_t bytes)
{
    for (unsigned i = 0; i < n && bytes; i++) {
        size_t part = v[i].iov_len < bytes ? v[i].iov_len : bytes;
        memcpy(v[i].iov_base, from, part);
        from += part;
        bytes -= part;
    }
}

/* The pieces behind the first `skip` bytes, at most `limit` bytes of them. */
static unsigned pieces_behind(const struct iovec *v, unsigned n, uint64_t skip, uint64_t limit,
                              struct iovec *to)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n && limit; i++) {
        uint64_t off = skip < v[i].iov_len ? skip : v[i].iov_len;
        uint64_t part = v[i].iov_len - off < limit ? v[i].iov_len - off : limit;
        skip -= off;
        limit -= part;
        if (part)
            to[count++] = (struct iovec){(uint8_t *)v[i].iov_base + off, part};
    }
    return count;
}

static bool refused(const struct p9 *p, uint8_t type)
{
    return p->read_only && memchr(changes, type, sizeof changes);
}

/* The body of the answer is in p->answer behind the header; an error's replaces it. */
static uint32_t answer(struct p9 *p, uint8_t type, uint16_t tag, int r, struct p9_out *o,
                       uint32_t moved)
{
    if (r < 0) {
        p->stats.errors++;
        o->at = o->start + P9_HEADER;
        p9_put(o, (uint32_t)-r, 4);
        type = RLERROR - 1;
    }
    uint32_t bytes = (uint32_t)(o->at - o->start), all = r < 0 ? bytes : bytes + moved;
    o->at = o->start;
    p9_put(o, all, 4);
    p9_put(o, type + 1u, 1);
    p9_put(o, tag, 2);
    return bytes;
}

uint32_t p9_serve(struct p9 *p, const struct iovec *out, unsigned out_count, const struct iovec *in,
                  unsigned in_count)
{
    struct iovec data[512];
    size_t got = gather(out, out_count, p->request, sizeof p->request);
    uint64_t sent = total(out, out_count), room = total(in, in_count);
    struct p9_in m = {p->request, p->request + got, false};
    struct p9_out o = {p->answer, p->answer + P9_HEADER, p->answer + sizeof p->answer};
    uint64_t size = p9_get(&m, 4);
    uint8_t type = (uint8_t)p9_get(&m, 1);
    uint16_t tag = (uint16_t)p9_get(&m, 2);
    if (m.bad || size < P9_HEADER || size > sent || room < ERROR_ANSWER ||
        out_count > ARRAY_LEN(data) || in_count > ARRAY_LEN(data))
        return 0;
    if (size < got)
        m.end = p->request + size;
    struct p9_call c = {.p = p, .in = &m, .out = &o, .data = data};
    if (type == TREAD) {
        c.data_bytes = room - ERROR_ANSWER;
        c.data_count = pieces_behind(in, in_count, P9_HEADER + READ_BODY, c.data_bytes, data);
    } else if (type == TWRITE && size >= P9_HEADER + WRITE_BODY) {
        c.data_bytes = size - P9_HEADER - WRITE_BODY;
        c.data_count = pieces_behind(out, out_count, P9_HEADER + WRITE_BODY, c.data_bytes, data);
    }
    p9_handler *h = type < ARRAY_LEN(handlers) ? handlers[type] : NULL;
    int r = !h ? -EOPNOTSUPP : refused(p, type) ? -EROFS : h(&c);
    if (r == 0 && m.bad)
        r = -EINVAL;
    if (r == 0 && (uint64_t)(o.at - o.start) > room)
        r = -ENOBUFS;
    p->stats.requests++;
    uint32_t bytes = answer(p, type, tag, r, &o, c.moved);
    scatter(in, in_count, p->answer, bytes);
    return r < 0 ? bytes : bytes + c.moved;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct p9 *p9_open(const struct p9_config *c, struct err *e)
{
    struct p9 *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(e, ENOMEM, "no-memory", "no memory for the share of %s", c->path);
        return NULL;
    }
    p->root = open(c->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (p->root < 0) {
        err_set(e, errno, "share", "cannot share %s: %s; --share takes a directory", c->path,
                strerror(errno));
        free(p);
        return NULL;
    }
    p->read_only = c->read_only;
    p->msize = P9_MSIZE;
    p->uid = geteuid();
    p->gid = getegid();
    p->fid = c->fids;
    p->fid_count = c->fid_count;
    p->name = strdup(c->path);
    if (!p->name || p9_table_open(p) < 0) {
        err_set(e, ENOMEM, "no-memory", "no memory for the share of %s", c->path);
        p9_free(p);
        return NULL;
    }
    return p;
}

void p9_free(struct p9 *p)
{
    if (!p)
        return;
    p9_table_free(p);
    close(p->root);
    free((char *)p->name);
    free(p);
}

void p9_reset(struct p9 *p)
{
    p9_drop_all(p);
    p->msize = P9_MSIZE;
}

void p9_restored(struct p9 *p)
{
    p9_table_restored(p);
}

struct p9_stats p9_stats(const struct p9 *p)
{
    return p->stats;
}
