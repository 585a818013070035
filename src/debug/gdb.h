/* SPDX-License-Identifier: MIT */
/* A stub for gdb's remote serial protocol (GDB manual, appendix "Remote Serial Protocol"). */
#ifndef RING3_DEBUG_GDB_H
#define RING3_DEBUG_GDB_H

#include "ring3/err.h"
#include "ring3/vm.h"

struct gdb;

/* What `monitor ...` in gdb runs: write the answer to *out. */
typedef void (*gdb_command_fn)(void *opaque, const char *line, FILE *out);

/* Listen at `where`: "PORT", "HOST:PORT" (loopback only unless HOST says otherwise) or
 * "unix:PATH". With `stop` the guest waits for a debugger before its first instruction. NULL on
 * error. Before vm_run(); everything else happens on the loop thread. */
struct gdb *gdb_listen(struct vm *vm, const char *where, bool stop, gdb_command_fn command,
                       void *opaque, struct err *e);
void gdb_free(struct gdb *g); /* before the VM; NULL is fine */

#endif
