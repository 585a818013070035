/* SPDX-License-Identifier: MIT */
/* A whole VM in one file: configuration, processor, devices, memory. See src/vm/snapshot.c.
 *
 *     save:     vm_pause, snapshot_save, vm_resume
 *     restore:  snapshot_open, snapshot_config, vm_build (with that), snapshot_restore, vm_run
 *
 * All on the loop thread, or while there is none. */
#ifndef RING3_SNAPSHOT_H
#define RING3_SNAPSHOT_H

#include "ring3/vm.h"

/* Called now and then on the calling thread; the last time with done == total. fn may be NULL. */
struct snapshot_progress {
    void (*fn)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* Write the paused VM to `path`, which is replaced once everything is on the disk; on error it
 * stays as it was. 0 or -errno. */
int snapshot_save(struct vm *vm, const char *path, const struct snapshot_progress *progress,
                  struct err *e);

struct snapshot;
/* Read and check all but the memory. NULL on error. */
struct snapshot *snapshot_open(const char *path, struct err *e);
void snapshot_close(struct snapshot *s); /* NULL is fine */

/* Name of the board that the machine had. Valid until snapshot_close(). */
const char *snapshot_board(const struct snapshot *s);
/* Fill in what made the machine: all of *c but board, engine and the thread hooks. Strings belong
 * to *s, which must outlive the VM. Disk images that are not what they were are an error unless
 * `force`. 0 or -errno. */
int snapshot_config(struct snapshot *s, struct vm_config *c, bool force, struct err *e);
/* Fill a machine that vm_build() made of that configuration and that has not run. Much of its
 * memory stays in the file until it is wanted, so *s has to stay open as long as the VM. Afterwards
 * only vm_run() and vm_free() make sense; after an error only vm_free(). 0 or -errno. */
int snapshot_restore(struct snapshot *s, struct vm *vm, struct err *e);

#endif
