/* SPDX-License-Identifier: MIT */
/* Stream sockets that wait for clients: the control socket, the debugger's. */
#ifndef RING3_HOST_LISTEN_H
#define RING3_HOST_LISTEN_H

#include "ring3/err.h"

#define HOST_UNIX_PATH 108 /* bytes of a socket's name with its zero: the kernel's limit */

/* A Unix socket that only this user may connect to. A socket file that nobody listens on any more
 * is replaced; the caller unlinks it at the end. `id` is for errors. Returns a descriptor (close on
 * exec, non-blocking) or -errno. */
int host_listen_unix(const char *path, const char *id, struct err *e);

/* "unix:PATH", "PORT" or "HOST:PORT"; without HOST on the IPv4 loopback. *path gets the name of the
 * socket file, or "". */
int host_listen(const char *where, const char *id, char path[HOST_UNIX_PATH], struct err *e);

#endif
