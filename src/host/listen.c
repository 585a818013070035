/* SPDX-License-Identifier: MIT */
/* Sockets that wait for clients; see listen.h. */
#include "host/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ring3/types.h"

#define BACKLOG  8
#define LOOPBACK "127.0.0.1"

static int failed(int fd, int errnum, const char *what, const char *id, struct err *e)
{
    if (fd >= 0)
        close(fd);
    return err_set(e, errnum, id, "cannot listen on %s: %s", what, strerror(errnum));
}

/* Is a socket of this name left over from somebody who is gone? */
static bool is_stale(const struct sockaddr_un *a)
{
    struct stat st;
    if (lstat(a->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused =
        fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

int host_listen_unix(const char *path, const char *id, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return err_set(e, ENAMETOOLONG, id,
                       "the name of a socket has at most %zu characters, not %zu: %s",
                       sizeof a.sun_path - 1, strlen(path), path);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(fd, errno, path, id, e);
    if (is_stale(&a))
        unlink(path);
    mode_t old = umask(0177); /* for this user only, from the first moment */
    int r = bind(fd, (const struct sockaddr *)&a, sizeof a) < 0 ? errno : 0;
    umask(old);
    if (r == 0 && listen(fd, BACKLOG) < 0) {
        r = errno;
        unlink(path);
    }
    return r ? failed(fd, r, path, id, e) : fd;
}

static int listen_tcp(const char *where, const char *id, struct err *e)
{
    char host[256] = LOOPBACK;
    const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
    if (colon && colon != where)
        snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *a = NULL;
    int r = getaddrinfo(host, port, &hints, &a);
    if (r)
        return err_set(e, EINVAL, id,
                       "cannot listen on \"%s\": %s; it is PORT, HOST:PORT or unix:PATH", where,
                       gai_strerror(r));
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    r = fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ? errno : 0;
    freeaddrinfo(a);
    return r ? failed(fd, r, where, id, e) : fd;
}

int host_listen(const char *where, const char *id, char path[HOST_UNIX_PATH], struct err *e)
{
    static const char prefix[] = "unix:";
    path[0] = 0;
    if (strncmp(where, prefix, sizeof prefix - 1))
        return listen_tcp(where, id, e);
    where += sizeof prefix - 1;
    int fd = host_listen_unix(where, id, e);
    if (fd >= 0)
        snprintf(path, HOST_UNIX_PATH, "%s", where);
    return fd;
}
