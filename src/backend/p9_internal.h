/* SPDX-License-Identifier: MIT */
/* Inside the 9P server: messages (p9_wire.c), handles (p9_fid.c), and what is done with files
 * (p9_files.c, p9_attr.c). Nobody else includes this. */
#ifndef RING3_BACKEND_P9_INTERNAL_H
#define RING3_BACKEND_P9_INTERNAL_H

#include <sys/stat.h>

#include "ring3/p9.h"

/* ---- messages --------------------------------------------------------------------------------
 * size[4] type[1] tag[2] body; strings are length[2] bytes. All little-endian. */

#define P9_HEADER    7u
#define P9_MSIZE     (1024u * 1024u) /* largest message: data, and what is around it */
#define P9_MSIZE_MIN 4096u
#define P9_BODY_MAX  65536u /* of a request without its data, and of an answer without */

/* A request being read. Reading past the end gives zeros and sets `bad`. */
struct p9_in {
    const uint8_t *at, *end;
    bool bad;
};
uint64_t p9_get(struct p9_in *m, unsigned bytes);
/* A name or path into text, zero-terminated. Bad if it is longer than room - 1 or has a zero. */
void p9_get_string(struct p9_in *m, char *text, size_t room);

/* An answer being written, into a buffer that takes P9_BODY_MAX. */
struct p9_out {
    uint8_t *start, *at, *end;
};
void p9_put(struct p9_out *m, uint64_t value, unsigned bytes);
void p9_put_bytes(struct p9_out *m, const void *bytes, size_t n);
void p9_put_string(struct p9_out *m, const char *text, size_t n);
struct p9_qid {
    uint8_t type;
    uint32_t version;
    uint64_t path;
};
void p9_put_qid(struct p9_out *m, const struct p9_qid *q);

/* ---- handles --------------------------------------------------------------------------------- */

#define P9_PATH_MAX 480u /* of a file below the shared directory, with its zero */

struct p9_fid {         /* P9_FID_BYTES, saved with the guest */
    uint32_t number;    /* the guest's */
    uint8_t used, open; /* open: `flags` are valid */
    uint8_t is_dir;
    uint8_t reserved;
    uint32_t flags; /* of open(2), the host's */
    uint32_t reserved2[5];
    char path[P9_PATH_MAX]; /* "" is the shared directory itself; "a/b" */
};
_Static_assert(sizeof(struct p9_fid) == P9_FID_BYTES, "a record");

struct p9 {
    const char *name; /* the directory, for messages; owned */
    int root;         /* O_PATH descriptor of it */
    bool read_only;
    uint32_t msize;
    uid_t uid; /* ours: what the guest sees as 0 */
    gid_t gid;
    struct p9_fid *fid; /* records; the first is the table's own */
    unsigned fid_count;
    struct p9_table *table;
    struct p9_stats stats;
    uint8_t request[P9_BODY_MAX], answer[P9_BODY_MAX];
};

int p9_table_open(struct p9 *p); /* 0 or -ENOMEM */
void p9_table_free(struct p9 *p);
/* The records came from a snapshot: find them again, and what of them was open. */
void p9_table_restored(struct p9 *p);

/* NULL: there is no such handle. */
struct p9_fid *p9_find(struct p9 *p, uint32_t number);
/* NULL: it exists (*error -EBADF) or there are too many (-ENFILE). */
struct p9_fid *p9_new(struct p9 *p, uint32_t number, const char *path, int *error);
void p9_drop(struct p9 *p, struct p9_fid *f);
void p9_drop_all(struct p9 *p);
int p9_fd(const struct p9 *p, const struct p9_fid *f); /* -1: not open */
void p9_set_fd(struct p9 *p, const struct p9_fid *f, int fd);
void *p9_dir(struct p9 *p, const struct p9_fid *f); /* DIR * of an open directory, or NULL */
/* A file was renamed: handles of it, and of what is below it, follow. */
void p9_renamed(struct p9 *p, const char *from, const char *to);

/* "a/b" and "c" to "a/b/c"; false: too long, or not a name (empty, ".", "..", with a slash). */
bool p9_join(const char *path, const char *name, char to[P9_PATH_MAX]);
/* Without its last component; "" stays. */
void p9_parent(const char *path, char to[P9_PATH_MAX]);

/* ---- files -----------------------------------------------------------------------------------
 * The guest's links are never followed by us: each component is opened by itself with
 * O_NOFOLLOW, and the guest resolves links. So nothing outside of the directory can be named. */

/* O_PATH descriptor of the directory that holds a path's last component, which *last points to;
 * -errno. The caller closes it. */
int p9_open_parent(const struct p9 *p, const char *path, const char **last);
/* openat() of a path, without following a link; -errno. */
int p9_open_path(const struct p9 *p, const char *path, int flags, mode_t mode);
void p9_reopen(struct p9 *p, const struct p9_fid *f); /* as its flags say; or it stays closed */
int p9_stat(const struct p9 *p, const char *path, struct stat *st); /* 0 or -errno */
struct p9_qid p9_qid(const struct stat *st);

/* A request: its body, the answer's body, and where data is. Returns 0 or -errno; what was put into
 * *out before an error is forgotten. */
struct p9_call {
    struct p9 *p;
    struct p9_in *in;
    struct p9_out *out;
    const struct iovec *data; /* Twrite: the data; Tread: where it goes */
    unsigned data_count;
    uint64_t data_bytes; /* how much there is, or room for */
    uint32_t moved;      /* Tread: bytes that were put there */
};
typedef int p9_handler(struct p9_call *c);

p9_handler p9_statfs, p9_getattr, p9_setattr, p9_readlink, p9_fsync, p9_lock, p9_getlock;
p9_handler p9_lopen, p9_lcreate, p9_read, p9_write, p9_readdir;
p9_handler p9_symlink, p9_mknod, p9_mkdir, p9_link, p9_rename, p9_renameat, p9_unlinkat, p9_remove;

#endif
