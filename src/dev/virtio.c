/* SPDX-License-Identifier: MIT */
/* What all virtio devices have in common (virtio 1.2, chapter 2, and the registers of 4.1.4.3,
 * 4.1.4.8, 4.2.2 and 4.2.4 by meaning; the transports only know offsets).
 *
 * A driver of the modern kind negotiates VIRTIO_F_VERSION_1, which reading OFFER with select 1
 * shows it; one that does not is a legacy driver, gives queues as one page number, and may use
 * them before DRIVER_OK. After a queue turned out broken the device answers nothing until it is
 * reset, and says so (NEEDS_RESET, a configuration interrupt).
 *
 * Left out: resets of single queues, notification data, big-endian legacy drivers. The bus master
 * bit of PCI is not looked at, since legacy drivers forget it. */
#include "ring3/devices/virtio.h"

#include <stdatomic.h>
#include <string.h>

#define LEGACY_PAGE 4096u
#define ALIGN_MAX   (1u << 20)
#define NO_VECTOR   0xffffu

static void count(_Atomic uint64_t *n)
{
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

/* ---- interrupts, lock held ------------------------------------------------------------------- */

static void interrupt(struct virtio *v, uint8_t bit, unsigned vector)
{
    if (v->message && v->message(v->message_opaque, vector)) {
        count(&v->stats.interrupts);
        return;
    }
    if (!(v->isr & bit))
        count(&v->stats.interrupts);
    v->isr |= bit;
    irq_set(&v->line, 1);
}

static void isr_clear(struct virtio *v, uint8_t bits)
{
    v->isr &= (uint8_t)~bits;
    if (!v->isr)
        irq_set(&v->line, 0);
}

void virtio_publish(struct virtio *v, struct virtq *q)
{
    if (virtq_publish(q))
        interrupt(v, VIRTIO_ISR_QUEUE, v->vector[q - v->q]);
}

void virtio_config_changed(struct virtio *v)
{
    v->generation++;
    if (v->status & VIRTIO_STATUS_DRIVER_OK)
        interrupt(v, VIRTIO_ISR_CONFIG, v->config_vector);
}

/* ---- queues, lock held ----------------------------------------------------------------------- */

void virtio_broken(struct virtio *v, const char *why)
{
    if (v->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    log_guest(v->h.log, &v->limit, "virtio-broken", "%s stops until the guest resets it: %s",
              v->dev.instance, why);
    v->status |= VIRTIO_STATUS_NEEDS_RESET;
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
        if (!v->q[i].broken)
            v->q[i].broken = why;
    if (v->status & VIRTIO_STATUS_DRIVER_OK)
        interrupt(v, VIRTIO_ISR_CONFIG, v->config_vector);
}

static void see_memory(struct virtio *v)
{
    if (likely(!atomic_load_explicit(&v->memory_changed, memory_order_relaxed)))
        return;
    atomic_store(&v->memory_changed, false);
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
        virtq_remapped(&v->q[i]);
}

bool virtio_pop(struct virtio *v, struct virtq *q, struct virtq_chain *c)
{
    see_memory(v);
    enum virtq_result r = virtq_pop(q, c);
    if (r == VIRTQ_BROKEN)
        virtio_broken(v, q->broken);
    if (r == VIRTQ_TAKEN)
        count(&v->stats.requests);
    return r == VIRTQ_TAKEN;
}

static bool legacy(const struct virtio *v)
{
    return !virtio_has(v, VIRTIO_F_VERSION_1);
}

static void kick(struct virtio *v, unsigned n)
{
    bool started = legacy(v) || (v->status & VIRTIO_STATUS_DRIVER_OK);

    if (started && !(v->status & VIRTIO_STATUS_NEEDS_RESET))
        v->ops->kick(v, n);
}

/* Registers of the queue that is selected; NULL: there is none. */
static struct virtq *selected(struct virtio *v)
{
    return v->queue_select < v->ops->queues ? &v->q[v->queue_select] : NULL;
}

static void start_queue(struct virtio *v, struct virtq *q)
{
    q->event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
    virtq_start(q);
}

static void clear_queue(struct virtio *v, struct virtq *q)
{
    virtq_reset(q, v->h.mem);
    q->size = VIRTQ_MAX;
}

static void set_queue_size(struct virtq *q, uint32_t size)
{
    if (!q->ready && size && size <= VIRTQ_MAX && !(size & (size - 1)))
        q->size = (uint16_t)size;
}

static void set_queue_pfn(struct virtio *v, struct virtq *q, uint32_t pfn)
{
    uint16_t size = q->size;

    virtq_reset(q, v->h.mem);
    q->size = size;
    if (!pfn)
        return;
    virtq_legacy_layout(q, (gpa_t)pfn * v->page_bytes, v->align);
    start_queue(v, q);
}

static void set_half(struct virtq *q, gpa_t *address, bool high, uint32_t value)
{
    if (q->ready)
        return;
    *address = high ? (*address & UINT32_MAX) | (uint64_t)value << 32
                    : (*address & ~(uint64_t)UINT32_MAX) | value;
}

/* ---- status ---------------------------------------------------------------------------------- */

static void forget(struct virtio *v)
{
    v->accepted = 0;
    v->offer_select = v->accept_select = v->queue_select = 0;
    v->page_bytes = v->align = LEGACY_PAGE;
    v->status = 0;
    isr_clear(v, v->isr);
    v->config_vector = NO_VECTOR;
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        clear_queue(v, &v->q[i]);
        v->vector[i] = NO_VECTOR;
    }
    if (v->ops->reset)
        v->ops->reset(v);
}

static void reset(struct virtio *v)
{
    if (v->ops->quiesce)
        v->ops->quiesce(v);
    pthread_mutex_lock(&v->lock);
    forget(v);
    pthread_mutex_unlock(&v->lock);
    if (v->ops->resume)
        v->ops->resume(v);
}

static uint64_t offered(const struct virtio *v)
{
    return v->features | VIRTIO_F_VERSION_1;
}

/* lock held. */
static void status_write(struct virtio *v, uint8_t value)
{
    uint8_t old = v->status;

    /* Features the device cannot live with: the bit does not stay set, as the driver checks. */
    if ((value & ~old & VIRTIO_STATUS_FEATURES_OK) && legacy(v))
        value &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    v->status = value | (old & VIRTIO_STATUS_NEEDS_RESET);
    if (!(v->status & ~old & VIRTIO_STATUS_DRIVER_OK))
        return;
    if (v->ops->started)
        v->ops->started(v);
    for (unsigned i = 0; i < v->ops->queues; i++)
        kick(v, i);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void accept(struct virtio *v, bool high, uint32_t value)
{
    if (v->status & VIRTIO_STATUS_FEATURES_OK)
        return;
    uint64_t bits = high ? (uint64_t)value << 32 : value;
    uint64_t half = high ? ~(uint64_t)UINT32_MAX : UINT32_MAX;
    v->accepted = (v->accepted & ~half) | (bits & half & (offered(v) | VIRTIO_F_ANY_LAYOUT));
}

static uint32_t read_of_queue(const struct virtq *q, enum virtio_reg reg)
{
    switch (reg) {
    case VIRTIO_REG_QUEUE_SIZE:
        return q->size;
    case VIRTIO_REG_QUEUE_MAX:
        return VIRTQ_MAX;
    case VIRTIO_REG_QUEUE_READY:
        return q->ready;
    case VIRTIO_REG_QUEUE_DESC_LOW:
        return (uint32_t)q->desc;
    case VIRTIO_REG_QUEUE_DESC_HIGH:
        return (uint32_t)(q->desc >> 32);
    case VIRTIO_REG_QUEUE_AVAIL_LOW:
        return (uint32_t)q->avail;
    case VIRTIO_REG_QUEUE_AVAIL_HIGH:
        return (uint32_t)(q->avail >> 32);
    case VIRTIO_REG_QUEUE_USED_LOW:
        return (uint32_t)q->used;
    case VIRTIO_REG_QUEUE_USED_HIGH:
        return (uint32_t)(q->used >> 32);
    default:
        return 0;
    }
}

/* lock held. */
static uint32_t reg_read(struct virtio *v, enum virtio_reg reg)
{
    struct virtq *q = selected(v);
    uint8_t isr;

    switch (reg) {
    case VIRTIO_REG_OFFER_SELECT:
        return v->offer_select;
    case VIRTIO_REG_OFFER:
        return v->offer_select < 2 ? (uint32_t)(offered(v) >> 32 * v->offer_select) : 0;
    case VIRTIO_REG_ACCEPT_SELECT:
        return v->accept_select;
    case VIRTIO_REG_ACCEPT:
        return v->accept_select < 2 ? (uint32_t)(v->accepted >> 32 * v->accept_select) : 0;
    case VIRTIO_REG_LEGACY_OFFER:
        return (uint32_t)(v->features | VIRTIO_F_ANY_LAYOUT);
    case VIRTIO_REG_LEGACY_ACCEPT:
        return (uint32_t)v->accepted;
    case VIRTIO_REG_CONFIG_VECTOR:
        return v->config_vector;
    case VIRTIO_REG_QUEUE_VECTOR:
        return q ? v->vector[v->queue_select] : NO_VECTOR;
    case VIRTIO_REG_QUEUES:
        return v->ops->queues;
    case VIRTIO_REG_STATUS:
        return v->status;
    case VIRTIO_REG_GENERATION:
        return v->generation;
    case VIRTIO_REG_QUEUE_SELECT:
        return v->queue_select;
    case VIRTIO_REG_QUEUE_NOTIFY_OFF:
        return v->queue_select;
    case VIRTIO_REG_LEGACY_PFN:
        return q && q->ready ? (uint32_t)(q->desc / v->page_bytes) : 0;
    case VIRTIO_REG_ISR_TAKE:
        count(&v->stats.isr_reads);
        isr = v->isr;
        isr_clear(v, isr);
        return isr;
    case VIRTIO_REG_ISR:
        count(&v->stats.isr_reads);
        return v->isr;
    default:
        return q ? read_of_queue(q, reg) : 0;
    }
}

uint32_t virtio_reg_read(struct virtio *v, enum virtio_reg reg)
{
    pthread_mutex_lock(&v->lock);
    uint32_t value = reg_read(v, reg);
    pthread_mutex_unlock(&v->lock);
    return value;
}

static bool power_of_two(uint32_t n)
{
    return n && !(n & (n - 1));
}

static void write_of_queue(struct virtio *v, struct virtq *q, enum virtio_reg reg, uint32_t value)
{
    switch (reg) {
    case VIRTIO_REG_QUEUE_SIZE:
        set_queue_size(q, value);
        break;
    case VIRTIO_REG_QUEUE_READY:
        if (value == 1 && !q->ready)
            start_queue(v, q);
        else if (!value)
            clear_queue(v, q); /* only drivers of virtio-mmio do */
        break;
    case VIRTIO_REG_QUEUE_DESC_LOW:
    case VIRTIO_REG_QUEUE_DESC_HIGH:
        set_half(q, &q->desc, reg == VIRTIO_REG_QUEUE_DESC_HIGH, value);
        break;
    case VIRTIO_REG_QUEUE_AVAIL_LOW:
    case VIRTIO_REG_QUEUE_AVAIL_HIGH:
        set_half(q, &q->avail, reg == VIRTIO_REG_QUEUE_AVAIL_HIGH, value);
        break;
    case VIRTIO_REG_QUEUE_USED_LOW:
    case VIRTIO_REG_QUEUE_USED_HIGH:
        set_half(q, &q->used, reg == VIRTIO_REG_QUEUE_USED_HIGH, value);
        break;
    case VIRTIO_REG_LEGACY_PFN:
        set_queue_pfn(v, q, value);
        break;
    default:
        break;
    }
}

/* A driver reads back whether it got what it wanted. */
static uint16_t vector_of(const struct virtio *v, uint32_t value)
{
    return value < v->vectors ? (uint16_t)value : NO_VECTOR;
}

/* lock held. */
static void reg_write(struct virtio *v, enum virtio_reg reg, uint32_t value)
{
    struct virtq *q = selected(v);

    switch (reg) {
    case VIRTIO_REG_OFFER_SELECT:
        v->offer_select = value;
        break;
    case VIRTIO_REG_ACCEPT_SELECT:
        v->accept_select = value;
        break;
    case VIRTIO_REG_ACCEPT:
        if (v->accept_select < 2)
            accept(v, v->accept_select, value);
        break;
    case VIRTIO_REG_LEGACY_ACCEPT:
        accept(v, false, value);
        break;
    case VIRTIO_REG_STATUS:
        status_write(v, (uint8_t)value);
        break;
    case VIRTIO_REG_QUEUE_SELECT:
        v->queue_select = value;
        break;
    case VIRTIO_REG_LEGACY_PAGE_SIZE:
        if (power_of_two(value) && value <= ALIGN_MAX)
            v->page_bytes = value;
        break;
    case VIRTIO_REG_LEGACY_ALIGN:
        if (power_of_two(value) && value >= 4 && value <= ALIGN_MAX)
            v->align = value;
        break;
    case VIRTIO_REG_NOTIFY:
        count(&v->stats.kicks);
        if (value < v->ops->queues)
            kick(v, value);
        break;
    case VIRTIO_REG_CONFIG_VECTOR:
        v->config_vector = vector_of(v, value);
        break;
    case VIRTIO_REG_QUEUE_VECTOR:
        if (q)
            v->vector[v->queue_select] = vector_of(v, value);
        break;
    case VIRTIO_REG_ISR_ACK:
        isr_clear(v, (uint8_t)value);
        break;
    default:
        if (q)
            write_of_queue(v, q, reg, value);
        break;
    }
}

void virtio_reg_write(struct virtio *v, enum virtio_reg reg, uint32_t value)
{
    if (reg == VIRTIO_REG_STATUS && !(value & 0xff)) {
        reset(v);
        return;
    }
    pthread_mutex_lock(&v->lock);
    reg_write(v, reg, value);
    bool resume = v->resume && v->ops->resume;
    v->resume = false;
    pthread_mutex_unlock(&v->lock);
    if (resume)
        v->ops->resume(v);
}

uint32_t virtio_config_read(struct virtio *v, uint64_t at, unsigned size)
{
    uint32_t value = 0;

    pthread_mutex_lock(&v->lock);
    for (unsigned i = 0; i < size; i++)
        if (at + i < v->config_bytes)
            value |= (uint32_t)v->config[at + i] << 8 * i;
    pthread_mutex_unlock(&v->lock);
    return value;
}

void virtio_config_write(struct virtio *v, uint64_t at, unsigned size, uint32_t value)
{
    if (!v->ops->config_written || at >= v->config_bytes || size > v->config_bytes - at)
        return;
    pthread_mutex_lock(&v->lock);
    v->ops->config_written(v, (unsigned)at, size, value);
    pthread_mutex_unlock(&v->lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    struct virtio *v = opaque;
    atomic_store(&v->memory_changed, true);
}

void virtio_init(struct virtio *v, const struct dev_host *h)
{
    v->h = *h;
    pthread_mutex_init(&v->lock, NULL);
    v->watcher = (struct wp_watcher){.remapped = remapped, .opaque = v};
    wp_watch(h->mem, &v->watcher);
    forget(v);
}

void virtio_destroy(struct virtio *v)
{
    wp_unwatch(v->h.mem, &v->watcher);
    pthread_mutex_destroy(&v->lock);
}

void virtio_device_reset(struct device *d)
{
    reset(container_of(d, struct virtio, dev));
}

void virtio_device_restored(struct device *d)
{
    struct virtio *v = container_of(d, struct virtio, dev);

    pthread_mutex_lock(&v->lock);
    if (!power_of_two(v->page_bytes) || v->page_bytes > ALIGN_MAX)
        v->page_bytes = LEGACY_PAGE;
    if (!power_of_two(v->align) || v->align > ALIGN_MAX || v->align < 4)
        v->align = LEGACY_PAGE;
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        virtq_restored(&v->q[i]);
        if (v->status & VIRTIO_STATUS_NEEDS_RESET)
            v->q[i].broken = "it was before";
    }
    irq_set(&v->line, v->isr != 0);
    pthread_mutex_unlock(&v->lock);
}

void virtio_device_figures(struct device *d, const struct figure_sink *to)
{
    struct virtio *v = container_of(d, struct virtio, dev);
    const struct virtio_stats *s = &v->stats;
    double requests = (double)s->requests, exits = (double)s->kicks + (double)s->isr_reads;

    to->add(to->opaque, "requests", requests, 0, "");
    to->add(to->opaque, "kicks", (double)s->kicks, 0, "");
    to->add(to->opaque, "interrupts", (double)s->interrupts, 0, "");
    to->add(to->opaque, "exits_per_request", requests > 0 ? exits / requests : 0, 2,
            "(kicks and interrupt status reads)");
}
