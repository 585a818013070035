/* SPDX-License-Identifier: MIT */
/* Where a VNC server listens: "[HOST]:N" or "unix:PATH", and words behind a comma. TCP without HOST
 * is for this machine only. */
#include "backend/vnc.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_PORT 5900
#define WHERE_MAX  512
#define BACKLOG    4

static int bad(const char *where, struct err *e)
{
    return err_set(e, EINVAL, "bad-option",
                   "a VNC server listens at [HOST]:N (TCP port 5900 + N) or at unix:PATH, not "
                   "\"%s\"",
                   where);
}

static int cannot(const char *where, int errnum, struct err *e)
{
    return err_set(e, errnum, "vnc-listen", "cannot listen for VNC at %s: %s%s", where,
                   strerror(errnum),
                   errnum == EADDRINUSE ? "; another program does: choose another N" : "");
}

/* A socket file that nobody listens on any more is replaced. */
static void remove_stale(const struct sockaddr_un *a)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        connect(fd, (const struct sockaddr *)a, sizeof *a) < 0 && errno == ECONNREFUSED)
        unlink(a->sun_path);
    if (fd >= 0)
        close(fd);
}

static int listen_unix(struct vnc_place *p, const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof a.sun_path)
        return err_set(e, ENAMETOOLONG, "vnc-listen",
                       "a socket's path has 1 to %zu bytes, \"%s\" has %zu", sizeof a.sun_path - 1,
                       path, strlen(path));
    strcpy(a.sun_path, path);
    remove_stale(&a);
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0 || bind(p->fd, (const struct sockaddr *)&a, sizeof a) < 0)
        return cannot(path, errno, e);
    strcpy(p->unix_path, path);
    if (chmod(path, 0600) < 0 || listen(p->fd, BACKLOG) < 0) /* nobody connects before listen */
        return cannot(path, errno, e);
    return 0;
}

static int listen_tcp(struct vnc_place *p, char *where, struct err *e)
{
    char *colon = strrchr(where, ':'), *end, port[8];
    if (!colon || colon[1] < '0' || colon[1] > '9')
        return bad(where, e);
    unsigned long n = strtoul(colon + 1, &end, 10);
    if (*end || n > 65535 - FIRST_PORT)
        return bad(where, e);
    snprintf(port, sizeof port, "%lu", FIRST_PORT + n);
    char shown[WHERE_MAX], host[WHERE_MAX];
    snprintf(shown, sizeof shown, "%s", where);
    *colon = 0;
    size_t len = strlen(where);
    bool bracketed = len > 1 && where[0] == '[' && where[len - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? len - 2 : len),
             bracketed ? where + 1 : where);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    int r = getaddrinfo(*host ? host : "127.0.0.1", port, &hints, &found);
    if (r)
        return err_set(e, EINVAL, "vnc-listen", "no address of host \"%s\": %s", host,
                       gai_strerror(r));
    int one = 1;
    p->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0 || setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(p->fd, found->ai_addr, found->ai_addrlen) < 0 || listen(p->fd, BACKLOG) < 0)
        r = cannot(shown, errno, e);
    freeaddrinfo(found);
    return r;
}

static int read_password(struct vnc_place *p, const char *path, struct err *e)
{
    char line[256] = "";
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(e, errno, "vnc-password", "cannot read the VNC password from %s: %s", path,
                       strerror(errno));
    if (!fgets(line, sizeof line, f))
        line[0] = 0;
    fclose(f);
    line[strcspn(line, "\r\n")] = 0;
    if (!line[0] || strlen(line) > VNC_PASSWORD_MAX)
        return err_set(e, EINVAL, "vnc-password",
                       "the first line of %s has %zu characters; a VNC password has 1 to %d", path,
                       strlen(line), VNC_PASSWORD_MAX);
    memcpy(p->password, line, strlen(line) + 1);
    return 0;
}

int vnc_listen(struct vnc_place *p, const char *where, struct err *e)
{
    static const char password[] = ",password-file=";
    char text[WHERE_MAX];
    int r = 0;

    *p = (struct vnc_place){.fd = -1};
    if (strlen(where) >= sizeof text)
        return bad(where, e);
    strcpy(text, where);
    char *word = strchr(text, ',');
    if (word && strncmp(word, password, sizeof password - 1) != 0)
        return err_set(e, EINVAL, "bad-option", "VNC knows the word password-file=FILE, not \"%s\"",
                       word + 1);
    if (word) {
        r = read_password(p, word + sizeof password - 1, e);
        *word = 0;
    }
    if (r == 0)
        r = strncmp(text, "unix:", 5) == 0 ? listen_unix(p, text + 5, e) : listen_tcp(p, text, e);
    if (r < 0)
        vnc_unlisten(p);
    return r;
}

void vnc_unlisten(struct vnc_place *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (p->unix_path[0])
        unlink(p->unix_path);
    p->unix_path[0] = 0;
}
