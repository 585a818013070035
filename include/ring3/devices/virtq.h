/* SPDX-License-Identifier: MIT */
/* A split virtqueue, the device's side (virtio 1.2, 2.6 and 2.7). Every virtqueue of every device
 * goes through virtq_pop(): it alone reads what the guest wrote, each word once, and what comes out
 * is checked.
 *
 * Nothing here locks: the device's mutex covers its queues. The guest runs meanwhile. */
#ifndef RING3_DEVICES_VIRTQ_H
#define RING3_DEVICES_VIRTQ_H

#include <sys/uio.h>

#include "ring3/mem.h"

#define VIRTQ_MAX         256u        /* entries of a queue, and descriptors of a chain */
#define VIRTQ_PIECES      (VIRTQ_MAX) /* pieces of host memory of a chain */
#define VIRTQ_CHAIN_BYTES (128 * MIB) /* all buffers of a chain */

struct virtq {
    /* What the driver set up, and positions: all of it belongs in the state table. */
    gpa_t desc, avail, used;
    uint16_t size;       /* entries: a power of two, at most VIRTQ_MAX */
    uint8_t ready;       /* the driver switched it on */
    uint8_t event_idx;   /* negotiated: VIRTIO_F_EVENT_IDX */
    uint16_t next_avail; /* next entry of the available ring to take */
    uint16_t next_used;  /* next entry of the used ring to fill */
    uint16_t published;  /* used index the guest has been shown */

    /* What follows is worked out again after a restore. */
    struct phys *mem;
    bool mapped; /* the three pointers are valid */
    const uint8_t *desc_host;
    const uint16_t *avail_host;
    uint8_t *used_host;
    uint16_t avail_seen; /* available index as last read */
    const char *broken;  /* what the guest did wrong; the queue is dead until virtq_reset() */
};

/* A chain of buffers: `out` pieces to read, behind them `in` pieces to write. */
struct virtq_chain {
    uint16_t head;
    uint16_t out, in;
    uint64_t out_bytes, in_bytes;
    struct iovec iov[VIRTQ_PIECES];
    gpa_t gpa[VIRTQ_PIECES]; /* of the same pieces */
};

enum virtq_result { VIRTQ_EMPTY, VIRTQ_TAKEN, VIRTQ_BROKEN };

/* As after the device's reset: off, empty. */
void virtq_reset(struct virtq *q, struct phys *mem);
/* Guest-physical memory shows something else, or the driver moved the rings: look again. */
void virtq_remapped(struct virtq *q);
/* Switch it on where desc, avail, used and size say. */
void virtq_start(struct virtq *q);
/* desc, avail, used of a legacy driver, which gives one address; align: power of two. */
void virtq_legacy_layout(struct virtq *q, gpa_t base, uint32_t align);
/* Fields were restored from a snapshot, which is not trusted. */
void virtq_restored(struct virtq *q);

/* Take the next chain. VIRTQ_EMPTY: the guest will notify when it adds one. VIRTQ_BROKEN: it did
 * what it must not, q->broken says what, the device needs a reset. A queue that is off is empty. */
enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *c);
/* Leave chains in the queue: the guest will notify when it adds further ones. */
void virtq_arm(struct virtq *q);
/* Give the last n chains back, as if never popped; none of them may have been pushed. */
void virtq_rewind(struct virtq *q, unsigned n);
/* As rewind, of chains that were pushed already, but not published. */
void virtq_undo(struct virtq *q, unsigned n);
/* The device is done with a chain and has stored to its first `written` writable bytes, which this
 * reports to whoever watches that memory. The guest sees it after virtq_publish(). */
void virtq_push(struct virtq *q, const struct virtq_chain *c, uint64_t written);
/* Report a change of writable bytes after the push. */
void virtq_report(struct virtq *q, const struct virtq_chain *c, uint64_t written);
/* Show the guest what was pushed. True: it wants an interrupt. */
bool virtq_publish(struct virtq *q);

/* Copy from the readable, to the writable pieces, from byte `at` on; returns the bytes copied,
 * fewer than n if the chain ends. */
uint64_t virtq_read(const struct virtq_chain *c, uint64_t at, void *buf, uint64_t n);
uint64_t virtq_write(const struct virtq_chain *c, uint64_t at, const void *buf, uint64_t n);

#endif
