/* SPDX-License-Identifier: MIT */
/* What every virtio device is (virtio 1.2, chapter 2): status, features, configuration space,
 * virtqueues, one interrupt line; and what its transport (virtio_pci.h, virtio_mmio.h) asks of it.
 *
 * A device embeds struct virtio first and fills in struct virtio_ops; the board makes the device,
 * then the transport around it, and hands both to the VM in that order.
 *
 * Lock: `lock` is the device's only mutex. Transports call the functions below without it. */
#ifndef RING3_DEVICES_VIRTIO_H
#define RING3_DEVICES_VIRTIO_H

#include <pthread.h>

#include "ring3/dev.h"
#include "ring3/devices/virtq.h"

#define VIRTIO_QUEUES       8
#define VIRTIO_CONFIG_BYTES 64

enum virtio_id {
    VIRTIO_NET = 1,
    VIRTIO_BLK = 2,
    VIRTIO_CONSOLE = 3,
    VIRTIO_RNG = 4,
    VIRTIO_BALLOON = 5,
    VIRTIO_9P = 9,
};

/* Feature bits of all devices. */
#define VIRTIO_F_ANY_LAYOUT    (UINT64_C(1) << 27) /* legacy drivers only; else implied */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)

enum {
    VIRTIO_STATUS_DRIVER_OK = 0x04,
    VIRTIO_STATUS_FEATURES_OK = 0x08,
    VIRTIO_STATUS_NEEDS_RESET = 0x40,
};
enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

struct virtio;
struct virtio_ops {
    enum virtio_id id;
    unsigned queues;
    /* The guest notified queue n, which may be off. vCPU thread, lock held. */
    void (*kick)(struct virtio *v, unsigned n);
    /* The driver is ready (DRIVER_OK): lock held; or NULL. Every queue is kicked after it. */
    void (*started)(struct virtio *v);
    /* The guest writes [at, at+n) of config: store what is writable. Lock held. NULL: nothing is.
     */
    void (*config_written)(struct virtio *v, unsigned at, unsigned n, uint32_t value);
    /* Finish what is under way; vCPU thread, without the lock, before a reset; or NULL. */
    void (*quiesce)(struct virtio *v);
    /* Forget everything, queues are off; lock held; or NULL. */
    void (*reset)(struct virtio *v);
    /* Called without the lock after resets, and register writes that set `resume`; or NULL. */
    void (*resume)(struct virtio *v);
};

struct virtio_stats { /* relaxed */
    _Atomic uint64_t kicks, requests, interrupts, isr_reads;
};

struct virtio {
    struct device dev; /* first */
    const struct virtio_ops *ops;
    struct dev_host h;
    pthread_mutex_t lock;
    uint64_t features; /* what the device offers, without VERSION_1; constant */
    struct irq_line line;
    /* Transports with interrupt messages: send this one; false: the driver uses the line. */
    bool (*message)(void *opaque, unsigned vector);
    void *message_opaque;
    unsigned vectors; /* how many there are */
    struct wp_watcher watcher;
    _Atomic bool memory_changed; /* rings must be looked up again */
    bool resume;                 /* see virtio_ops */
    struct log_limit limit;
    struct virtio_stats stats;
    unsigned config_bytes;

    /* State: VIRTIO_STATE. */
    uint64_t accepted; /* features the driver took, VERSION_1 included */
    uint32_t offer_select, accept_select, queue_select, page_bytes, align;
    uint8_t status, isr, generation;
    uint16_t config_vector, vector[VIRTIO_QUEUES];
    uint8_t config[VIRTIO_CONFIG_BYTES]; /* device configuration space as the guest reads it */
    struct virtq q[VIRTIO_QUEUES];
};

/* Rows for a device's state table, `f` being its struct virtio. */
#define VIRTQ_STATE(type, q)                                                                       \
    STATE(type, q.desc), STATE(type, q.avail), STATE(type, q.used), STATE(type, q.size),           \
        STATE(type, q.ready), STATE(type, q.event_idx), STATE(type, q.next_avail),                 \
        STATE(type, q.next_used)
#define VIRTIO_STATE(type, f)                                                                      \
    STATE(type, f.accepted), STATE(type, f.offer_select), STATE(type, f.accept_select),            \
        STATE(type, f.queue_select), STATE(type, f.page_bytes), STATE(type, f.align),              \
        STATE(type, f.status), STATE(type, f.isr), STATE(type, f.generation),                      \
        STATE(type, f.config_vector), STATE_ARRAY(type, f.vector), STATE_ARRAY(type, f.config)

/* ---- for devices ----------------------------------------------------------------------------- */

/* After ops, features, config, config_bytes and dev were set: the rest. */
void virtio_init(struct virtio *v, const struct dev_host *h);
void virtio_destroy(struct virtio *v);
/* The device_ops.reset, .restored and .figures of a device (or called by its own). */
void virtio_device_reset(struct device *d);
void virtio_device_restored(struct device *d);
void virtio_device_figures(struct device *d, const struct figure_sink *to);

/* All with the lock held. pop: as virtq_pop; a broken queue is reported and stops the device. */
bool virtio_pop(struct virtio *v, struct virtq *q, struct virtq_chain *c);
/* The device met something in a chain that it cannot answer with an error: it needs a reset. */
void virtio_broken(struct virtio *v, const char *why);
/* virtq_publish, and the interrupt if the guest wants it. */
void virtio_publish(struct virtio *v, struct virtq *q);
/* config was changed by the device: tell the driver. */
void virtio_config_changed(struct virtio *v);
static inline bool virtio_has(const struct virtio *v, uint64_t feature)
{
    return v->accepted & feature;
}
/* The driver is ready and the device is well. */
static inline bool virtio_running(const struct virtio *v)
{
    return (v->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) ==
           VIRTIO_STATUS_DRIVER_OK;
}
static inline void virtio_put(uint8_t *p, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}
static inline uint64_t virtio_get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << 8 * i;
    return value;
}

/* ---- for transports -------------------------------------------------------------------------- */

/* Registers by meaning; transports map their offsets to these. */
enum virtio_reg {
    VIRTIO_REG_NONE, /* reads 0 */
    VIRTIO_REG_OFFER_SELECT,
    VIRTIO_REG_OFFER, /* the offered half selected; VERSION_1 is among them */
    VIRTIO_REG_ACCEPT_SELECT,
    VIRTIO_REG_ACCEPT,
    VIRTIO_REG_LEGACY_OFFER, /* the low half, ANY_LAYOUT among it */
    VIRTIO_REG_LEGACY_ACCEPT,
    VIRTIO_REG_CONFIG_VECTOR, /* messages (MSI-X); 0xffff: none */
    VIRTIO_REG_QUEUE_VECTOR,
    VIRTIO_REG_QUEUES,
    VIRTIO_REG_STATUS,
    VIRTIO_REG_GENERATION,
    VIRTIO_REG_QUEUE_SELECT,
    VIRTIO_REG_QUEUE_SIZE, /* before it is written, the largest possible; 0: no such queue */
    VIRTIO_REG_QUEUE_MAX,
    VIRTIO_REG_QUEUE_READY,
    VIRTIO_REG_QUEUE_NOTIFY_OFF,
    VIRTIO_REG_QUEUE_DESC_LOW,
    VIRTIO_REG_QUEUE_DESC_HIGH,
    VIRTIO_REG_QUEUE_AVAIL_LOW,
    VIRTIO_REG_QUEUE_AVAIL_HIGH,
    VIRTIO_REG_QUEUE_USED_LOW,
    VIRTIO_REG_QUEUE_USED_HIGH,
    VIRTIO_REG_LEGACY_PAGE_SIZE,
    VIRTIO_REG_LEGACY_ALIGN,
    VIRTIO_REG_LEGACY_PFN,
    VIRTIO_REG_NOTIFY,
    VIRTIO_REG_ISR_TAKE, /* reading clears and lowers the line */
    VIRTIO_REG_ISR,
    VIRTIO_REG_ISR_ACK,
};
uint32_t virtio_reg_read(struct virtio *v, enum virtio_reg reg);
void virtio_reg_write(struct virtio *v, enum virtio_reg reg, uint32_t value);
/* Device configuration space; size 1, 2 or 4. Beyond its end: 0, dropped. */
uint32_t virtio_config_read(struct virtio *v, uint64_t at, unsigned size);
void virtio_config_write(struct virtio *v, uint64_t at, unsigned size, uint32_t value);

#endif
