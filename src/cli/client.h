/* SPDX-License-Identifier: MIT */
/* A client of a running ring3's control socket (control/control.h). */
#ifndef RING3_CLI_CLIENT_H
#define RING3_CLI_CLIENT_H

#include <jansson.h>
#include <stdio.h>

#include "ring3/err.h"

/* A stream to the socket, or NULL. */
FILE *client_connect(const char *path, struct err *e);
/* Send a request and wait for its answer; `progress`, which may be NULL, gets what comes before it.
 * NULL, with *e filled, on failure, the other side's included. */
json_t *client_ask(FILE *f, const json_t *request, void (*progress)(double done, double total),
                   struct err *e);

#endif
