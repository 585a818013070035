/* SPDX-License-Identifier: MIT */
/* Programs of busybox over a generated text file, each a process of its own with its output in a
 * file of the current directory. The data are the same everywhere. */
#include "sys.h"

/* What busybox is called with; the first word is the program of main.c's table, too. */
static const char *const commands[][6] = {
    {"sha256", "sha256sum", "data"},
    {"gzip", "gzip", "-c", "data"},
    {"sort", "sort", "data"},
    {"awk", "awk",
     "{ n[$2] += $4; s += length($3) } END { for (k in n) t += n[k]; print NR, s, t }", "data"},
};

static int create(const char *name)
{
    long fd = sys3(SYS_OPEN, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail("cannot make a file in the current directory");
    return (int)fd;
}

static uint32_t crc_of_file(const char *name)
{
    static uint8_t buffer[32 << 10];
    uint32_t crc = 0;
    long n, fd = sys3(SYS_OPEN, name, O_RDONLY, 0);
    while ((n = sys3(SYS_READ, fd, buffer, sizeof(buffer))) > 0)
        crc = crc32(crc, buffer, (size_t)n);
    if (n < 0)
        fail("cannot read the output of busybox");
    sys1(SYS_CLOSE, fd);
    return crc;
}

static int starts_with(const char *s, const char *prefix)
{
    while (*prefix)
        if (*s++ != *prefix++)
            return 0;
    return !*s;
}

uint32_t run_app(const char *name, uint32_t count)
{
    const char *const *words = commands[0], *none[] = {NULL};
    while (!starts_with(name, words[0]))
        words += sizeof(commands[0]) / sizeof(commands[0][0]);
    const char *arguments[7] = {"busybox"};
    for (int i = 1; i < 6; i++)
        arguments[i] = words[i];
    while (count--) {
        long pid = sys0(SYS_FORK);
        if (!pid) {
            sys2(SYS_DUP2, create("output"), 1);
            sys3(SYS_EXECVE, environment.busybox, arguments, none);
            fail("cannot run busybox");
        }
        reap(pid);
    }
    return crc_of_file("output");
}

/* ---- the data ------------------------------------------------------------------------------- */

static char *put_letters(char *p, uint32_t *seed, uint32_t count)
{
    while (count--)
        *p++ = (char)('a' + (next_random(seed) >> 28));
    return p;
}

static char *put_digits(char *p, uint32_t value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        p[i] = (char)('0' + value % 10);
    return p + count;
}

/* Lines of a number, one of 64 keys, a word of 8 to 23 letters, and a small number. */
uint32_t make_data(uint32_t lines)
{
    static char buffer[64 << 10];
    uint32_t seed = 1;
    int fd = create("data");
    while (lines) {
        char *p = buffer;
        for (; lines && p < buffer + sizeof(buffer) - 64; lines--) {
            p = put_digits(p, next_random(&seed) >> 8, 8);
            *p++ = ' ';
            p = put_digits(p, next_random(&seed) >> 26, 3);
            *p++ = ' ';
            p = put_letters(p, &seed, 8 + (next_random(&seed) >> 28));
            *p++ = ' ';
            p = put_digits(p, next_random(&seed) >> 20, 4);
            *p++ = '\n';
        }
        if (sys3(SYS_WRITE, fd, buffer, p - buffer) != p - buffer)
            fail("cannot write the data");
    }
    sys1(SYS_CLOSE, fd);
    return crc_of_file("data");
}
