/* SPDX-License-Identifier: MIT */
/* A guest that mistreats the 9P server of a shared directory.
 *
 *   hostile_9p [SEED [CASES]]      HOSTILE_SECONDS=N: go on with further seeds for so long
 *
 * A case makes a directory with files, links that lead out of it, and, beside it, a file that must
 * stay as it is. Then come messages of all types with plausible and absurd fields, cut anywhere, in
 * pieces of any size, answered into any room; now and then the server is closed and a new one
 * gets its records, sometimes with bytes changed, as a forged snapshot would have it. Afterwards
 * the file outside is compared, nothing may have come to be beside it, and no descriptor may
 * remain. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ring3/p9.h"

#define FIDS     64u
#define MESSAGES 3000u
#define BYTES    70000u
#define SECRET   "the guest must not see this"

struct fuzz {
    uint64_t seed, number;
    char dir[64];
    struct p9 *p;
    uint8_t *records;
    uint8_t out[BYTES], in[BYTES];
    uint32_t len;
    uint64_t messages, answers, errors, restores;
};

static uint32_t rng(struct fuzz *f)
{
    uint64_t z = f->number += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)((z ^ z >> 27) >> 16);
}

static void fail(const struct fuzz *f, const char *what)
{
    fprintf(stderr, "hostile_9p: seed %llu: %s\n", (unsigned long long)f->seed, what);
    abort();
}

static void put(struct fuzz *f, uint64_t x, unsigned n)
{
    for (; n-- && f->len < BYTES; x >>= 8)
        f->out[f->len++] = (uint8_t)x;
}

static void put_name(struct fuzz *f)
{
    static const char *const names[] = {"a",   "b",     "dir",       "up",      "abs",  "file",
                                        "..",  ".",     "",          "a/b",     "../x", "f\1",
                                        "new", "other", "up/secret", "\xff\xfe"};
    const char *name = names[rng(f) % ARRAY_LEN(names)];
    size_t n = strlen(name);
    put(f, rng(f) % 50 ? n : rng(f), 2);
    for (size_t i = 0; i < n; i++)
        put(f, (uint8_t)name[i], 1);
}

/* A number as a field of a message might be. */
static uint64_t number(struct fuzz *f)
{
    static const uint64_t odd[] = {0,          1,          2,          0x7fffffff, 0x80000000,
                                   0xffffffff, UINT64_MAX, 4096,       0x241,      0x8000,
                                   0777,       INT64_MAX,  0x100000000};
    return rng(f) % 3 ? rng(f) % 8 : odd[rng(f) % ARRAY_LEN(odd)];
}

static void make_message(struct fuzz *f)
{
    /* What each type consists of: digits are numbers of so many bytes, s a name, f a handle. */
    static const struct {
        uint8_t type;
        const char *body;
    } forms[] = {
        {8, "f"},     {12, "f4"},     {14, "fs444"},   {16, "fss4"},       {18, "fs4444"},
        {20, "ffs"},  {22, "f"},      {24, "f8"},      {26, "f444488888"}, {30, "ffs"},
        {40, "f84"},  {50, "f4"},     {52, "f14884s"}, {54, "f1884s"},     {70, "ffs"},
        {72, "fs44"}, {74, "fsfs"},   {76, "fs4"},     {100, "4s"},        {104, "f4ss4"},
        {108, "2"},   {110, "ff2ss"}, {116, "f84"},    {118, "f84"},       {120, "f"},
        {122, "f"},   {99, "448"},
    };
    unsigned i = rng(f) % ARRAY_LEN(forms);
    f->len = 4;
    put(f, forms[i].type, 1);
    put(f, rng(f), 2);
    for (const char *c = forms[i].body; *c; c++)
        if (*c == 's')
            put_name(f);
        else if (*c == 'f')
            put(f, rng(f) % 30 ? 1 + rng(f) % 6 : rng(f), 4);
        else
            put(f, number(f), (unsigned)(*c - '0'));
    for (unsigned n = rng(f) % 4 ? 0 : rng(f) % 3000; n--;)
        put(f, rng(f), 1);
    uint32_t size = rng(f) % 20 ? f->len : rng(f) % 3 ? rng(f) % 100 : rng(f);
    memcpy(f->out, &size, 4);
    for (unsigned n = rng(f) % 10 ? 0 : rng(f) % 4; n--;)
        f->out[rng(f) % f->len] = (uint8_t)rng(f);
}

/* [bytes, +n) as pieces. */
static unsigned cut(struct fuzz *f, uint8_t *bytes, uint32_t n, struct iovec *v, unsigned max)
{
    unsigned count = 0;
    while (n && count < max) {
        uint32_t part = count + 1 == max || rng(f) % 2 ? n : 1 + rng(f) % n;
        v[count++] = (struct iovec){bytes, part};
        bytes += part;
        n -= part;
    }
    return count;
}

static void send(struct fuzz *f)
{
    struct iovec out[6], in[6];
    uint32_t sent = rng(f) % 30 ? f->len : rng(f) % (f->len + 1);
    uint32_t room = rng(f) % 6 ? BYTES : rng(f) % 80;
    unsigned outs = cut(f, f->out, sent, out, ARRAY_LEN(out));
    unsigned ins = cut(f, f->in, room, in, ARRAY_LEN(in));
    uint32_t n = p9_serve(f->p, out, outs, in, ins);
    f->messages++;
    if (n > room)
        fail(f, "an answer is longer than its room");
    if (!n)
        return;
    uint32_t size;
    memcpy(&size, f->in, 4);
    if (size != n || n < 7)
        fail(f, "an answer says another length");
    if (memmem(f->in, n, SECRET, strlen(SECRET)))
        fail(f, "the file outside was read");
    f->answers++;
    f->errors += f->in[4] == 7;
}

static void open_server(struct fuzz *f)
{
    char path[128];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/share", f->dir);
    const struct p9_config c = {path, rng(f) % 8 == 0, f->records, FIDS};
    f->p = p9_open(&c, &e);
    if (!f->p)
        fail(f, e.text);
}

static void restore(struct fuzz *f)
{
    p9_free(f->p);
    for (unsigned n = rng(f) % 2 ? 0 : rng(f) % 40; n--;)
        f->records[rng(f) % (FIDS * P9_FID_BYTES)] = (uint8_t)rng(f);
    if (rng(f) % 6 == 0) {
        static const char *const paths[] = {"../secret", "up/secret", "abs/secret", "/etc/passwd",
                                            "a/../../secret"};
        strcpy((char *)f->records + (1 + rng(f) % 5) * P9_FID_BYTES + 32,
               paths[rng(f) % ARRAY_LEN(paths)]);
    }
    open_server(f);
    p9_restored(f->p);
    f->restores++;
}

static void attach(struct fuzz *f)
{
    f->len = 4;
    put(f, 104, 1);
    put(f, 1, 2);
    put(f, 1, 4);
    put(f, UINT32_MAX, 4);
    put(f, 0, 2);
    put(f, 0, 2);
    put(f, 0, 4);
    memcpy(f->out, &f->len, 4);
    send(f);
}

static void in_dir(const struct fuzz *f, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", f->dir, name);
}

static void write_file(const struct fuzz *f, const char *name, const char *text)
{
    char path[128];
    in_dir(f, name, path);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        fail(f, "cannot write a file");
}

static void make_tree(struct fuzz *f)
{
    char path[128], target[128];
    strcpy(f->dir, "/tmp/ring3-9p-XXXXXX");
    if (!mkdtemp(f->dir))
        fail(f, "cannot make a directory");
    in_dir(f, "share", path);
    mkdir(path, 0700);
    in_dir(f, "share/dir", path);
    mkdir(path, 0700);
    write_file(f, "secret", SECRET);
    write_file(f, "share/file", "some text");
    write_file(f, "share/dir/a", "more text");
    in_dir(f, "share/up", path);
    in_dir(f, "share/abs", target);
    if (symlink("..", path) || symlink(f->dir, target))
        fail(f, "cannot make a link");
}

static void check_outside(const struct fuzz *f)
{
    char path[128], text[64] = "";
    unsigned names = 0;
    in_dir(f, "secret", path);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(text, sizeof text, file) || strcmp(text, SECRET))
        fail(f, "the file outside was changed");
    fclose(file);
    DIR *d = opendir(f->dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        names += e->d_name[0] != '.';
    closedir(d);
    if (names != 2)
        fail(f, "something came to be outside, or went");
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void run_case(struct fuzz *f, uint64_t seed)
{
    char command[256];
    unsigned before = descriptors();
    f->seed = f->number = seed;
    make_tree(f);
    memset(f->records, 0, FIDS * P9_FID_BYTES);
    open_server(f);
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (i % 200 == 0)
            attach(f);
        make_message(f);
        send(f);
        if (rng(f) % 400 == 0)
            restore(f);
    }
    p9_free(f->p);
    check_outside(f);
    if (descriptors() != before)
        fail(f, "descriptors remain");
    snprintf(command, sizeof command, "chmod -R u+rwx %s/share 2>/dev/null; rm -rf %s", f->dir,
             f->dir);
    if (system(command))
        fail(f, "cannot clear up");
}

int main(int argc, char **argv)
{
    static struct fuzz f;
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, cases = 0;
    uint64_t wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 40;
    const char *seconds = getenv("HOSTILE_SECONDS");
    time_t end = seconds ? time(NULL) + atoi(seconds) : 0;
    umask(022);
    f.records =
        mmap(NULL, FIDS * P9_FID_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    while (cases < wanted || (end && time(NULL) < end))
        run_case(&f, seed + cases++);
    printf("hostile_9p: %llu cases, %llu messages, %llu answered, %llu of them errors, %llu "
           "restores\n",
           (unsigned long long)cases, (unsigned long long)f.messages, (unsigned long long)f.answers,
           (unsigned long long)f.errors, (unsigned long long)f.restores);
    return 0;
}
