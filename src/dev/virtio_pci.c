/* SPDX-License-Identifier: MIT */
/* virtio over PCI (virtio 1.2, 4.1): transitional, modern or legacy, with an INTx pin and, where
 * the board has a receiver of messages, MSI-X.
 *
 *   BAR 0, ports       legacy header (4.1.4.10), device configuration behind it
 *   BAR 1, memory      0x000 common configuration    0x100 interrupt status
 *                      0x200 device configuration    0x800 notification, 4 bytes a queue
 *                      0xc00 MSI-X table             0xe00 its pending bits
 *   capabilities       one for each of these, and a window to them in configuration space
 *
 * Left out: notification data, shared memory regions. */
#include "ring3/devices/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>

#include "ring3/devices/pci_msix.h"

#define VENDOR        0x1af4
#define DEVICE_MODERN 0x1040 /* plus the virtio id */
#define CAP_VENDOR    0x09
#define LEGACY_BAR    0
#define MODERN_BAR    1
#define LEGACY_BYTES  128
#define MODERN_BYTES  4096
#define LEGACY_CONFIG 20 /* 24 while MSI-X is enabled */
#define VECTORS       (VIRTIO_QUEUES + 1)

enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_PCI = 5 };
enum { AT_ISR = 0x100, AT_DEVICE = 0x200, AT_NOTIFY = 0x800, AT_TABLE = 0xc00, AT_PENDING = 0xe00 };
#define NOTIFY_STRIDE 4
/* Fields of a capability. */
enum { CAP_LEN = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_DATA = 16 };

struct virtio_pci {
    struct device dev;
    struct pci_func func;
    struct virtio *v;
    struct virtio_pci_config c;
    struct pci_msix msix; /* under the device's lock */
    unsigned window;      /* offset of the CAP_PCI capability */
};

/* A register within a window. */
struct row {
    uint8_t at, size;
    uint8_t reg; /* enum virtio_reg */
};

static const struct row common_rows[] = {
    {0, 4, VIRTIO_REG_OFFER_SELECT},      {4, 4, VIRTIO_REG_OFFER},
    {8, 4, VIRTIO_REG_ACCEPT_SELECT},     {12, 4, VIRTIO_REG_ACCEPT},
    {16, 2, VIRTIO_REG_CONFIG_VECTOR},    {18, 2, VIRTIO_REG_QUEUES},
    {20, 1, VIRTIO_REG_STATUS},           {21, 1, VIRTIO_REG_GENERATION},
    {22, 2, VIRTIO_REG_QUEUE_SELECT},     {24, 2, VIRTIO_REG_QUEUE_SIZE},
    {26, 2, VIRTIO_REG_QUEUE_VECTOR},     {28, 2, VIRTIO_REG_QUEUE_READY},
    {30, 2, VIRTIO_REG_QUEUE_NOTIFY_OFF}, {32, 4, VIRTIO_REG_QUEUE_DESC_LOW},
    {36, 4, VIRTIO_REG_QUEUE_DESC_HIGH},  {40, 4, VIRTIO_REG_QUEUE_AVAIL_LOW},
    {44, 4, VIRTIO_REG_QUEUE_AVAIL_HIGH}, {48, 4, VIRTIO_REG_QUEUE_USED_LOW},
    {52, 4, VIRTIO_REG_QUEUE_USED_HIGH},
};
static const struct row legacy_rows[] = {
    {0, 4, VIRTIO_REG_LEGACY_OFFER},   {4, 4, VIRTIO_REG_LEGACY_ACCEPT},
    {8, 4, VIRTIO_REG_LEGACY_PFN},     {12, 2, VIRTIO_REG_QUEUE_SIZE},
    {14, 2, VIRTIO_REG_QUEUE_SELECT},  {16, 2, VIRTIO_REG_NOTIFY},
    {18, 1, VIRTIO_REG_STATUS},        {19, 1, VIRTIO_REG_ISR_TAKE},
    {20, 2, VIRTIO_REG_CONFIG_VECTOR}, {22, 2, VIRTIO_REG_QUEUE_VECTOR},
};
#define COMMON_BYTES 56

/* The row that an access lies in; NULL: none. Registers are accessed whole or by a part of them
 * that starts where they do. */
static const struct row *find_row(const struct row *rows, size_t n, uint64_t at, unsigned size)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].at == at && size <= rows[i].size)
            return &rows[i];
    return NULL;
}

/* ---- BAR 1: messages ---------------------------------------------------------------------------
 */

static uint32_t table_read(struct virtio_pci *p, uint64_t at)
{
    pthread_mutex_lock(&p->v->lock);
    uint32_t value = at == AT_PENDING  ? p->msix.pending
                     : at < AT_PENDING ? pci_msix_read(&p->msix, (uint32_t)at - AT_TABLE)
                                       : 0;
    pthread_mutex_unlock(&p->v->lock);
    return value;
}

static void table_write(struct virtio_pci *p, uint64_t at, uint32_t value)
{
    if (at >= AT_PENDING)
        return;
    pthread_mutex_lock(&p->v->lock);
    pci_msix_write(&p->msix, (uint32_t)at - AT_TABLE, value);
    pthread_mutex_unlock(&p->v->lock);
}

/* The device's lock is held. */
static bool message(void *opaque, unsigned vector)
{
    struct virtio_pci *p = opaque;

    if (p->msix.enabled)
        pci_msix_notify(&p->msix, vector);
    return p->msix.enabled;
}

/* ---- BAR 1: modern --------------------------------------------------------------------------- */

static uint64_t modern_read(void *opaque, uint64_t at, unsigned size)
{
    struct virtio_pci *p = opaque;

    if (at < AT_ISR) {
        const struct row *row = find_row(common_rows, ARRAY_LEN(common_rows), at, size);
        return row ? virtio_reg_read(p->v, row->reg) : 0;
    }
    if (at < AT_DEVICE)
        return at == AT_ISR ? virtio_reg_read(p->v, VIRTIO_REG_ISR_TAKE) : 0;
    if (at < AT_NOTIFY)
        return virtio_config_read(p->v, at - AT_DEVICE, size);
    return at >= AT_TABLE && size == 4 ? table_read(p, at) : 0;
}

static void modern_write(void *opaque, uint64_t at, unsigned size, uint64_t value)
{
    struct virtio_pci *p = opaque;

    if (at < AT_ISR) {
        const struct row *row = find_row(common_rows, ARRAY_LEN(common_rows), at, size);
        if (row)
            virtio_reg_write(p->v, row->reg, (uint32_t)value);
    } else if (at >= AT_TABLE) {
        if (size == 4)
            table_write(p, at, (uint32_t)value);
    } else if (at >= AT_NOTIFY) {
        virtio_reg_write(p->v, VIRTIO_REG_NOTIFY, (uint32_t)(at - AT_NOTIFY) / NOTIFY_STRIDE);
    } else if (at >= AT_DEVICE) {
        virtio_config_write(p->v, at - AT_DEVICE, size, (uint32_t)value);
    }
}

/* ---- BAR 0: legacy --------------------------------------------------------------------------- */

/* Where device configuration begins. */
static unsigned legacy_config(struct virtio_pci *p)
{
    pthread_mutex_lock(&p->v->lock);
    bool enabled = p->msix.enabled;
    pthread_mutex_unlock(&p->v->lock);
    return enabled ? LEGACY_CONFIG + 4 : LEGACY_CONFIG;
}

static uint64_t legacy_read(void *opaque, uint64_t at, unsigned size)
{
    struct virtio_pci *p = opaque;

    if (at >= LEGACY_CONFIG && at >= legacy_config(p))
        return virtio_config_read(p->v, at - legacy_config(p), size);
    const struct row *row = find_row(legacy_rows, ARRAY_LEN(legacy_rows), at, size);
    return row ? virtio_reg_read(p->v, row->reg) : 0;
}

static void legacy_write(void *opaque, uint64_t at, unsigned size, uint64_t value)
{
    struct virtio_pci *p = opaque;

    if (at >= LEGACY_CONFIG && at >= legacy_config(p)) {
        virtio_config_write(p->v, at - legacy_config(p), size, (uint32_t)value);
        return;
    }
    const struct row *row = find_row(legacy_rows, ARRAY_LEN(legacy_rows), at, size);
    if (row && row->reg != VIRTIO_REG_QUEUE_SIZE) /* which is fixed for legacy drivers */
        virtio_reg_write(p->v, row->reg, (uint32_t)value);
}

static const struct io_ops modern_ops = {modern_read, modern_write, 1, 4};
static const struct io_ops legacy_ops = {legacy_read, legacy_write, 1, 4};

/* ---- the window in configuration space ------------------------------------------------------- */

/* Where the window points: false if it is aimed at nothing. */
static bool window_target(const struct virtio_pci *p, uint32_t *at, unsigned *size)
{
    const uint8_t *cap = p->func.config + p->window;

    *at = pci_get32(&p->func, p->window + CAP_OFFSET);
    uint32_t length = pci_get32(&p->func, p->window + CAP_LENGTH);
    if (cap[CAP_BAR] != MODERN_BAR || (length != 1 && length != 2 && length != 4))
        return false;
    *size = length;
    return *at % length == 0 && *at < MODERN_BYTES;
}

static bool is_data(const struct virtio_pci *p, unsigned offset)
{
    return p->window && offset >= p->window + CAP_DATA && offset < p->window + CAP_DATA + 4;
}

static void config_read(struct pci_func *f, unsigned offset, unsigned size)
{
    struct virtio_pci *p = container_of(f, struct virtio_pci, func);
    uint32_t at;
    unsigned n;

    if (is_data(p, offset) && window_target(p, &at, &n))
        virtio_put(f->config + p->window + CAP_DATA, modern_read(p, at, n), n);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
    struct virtio_pci *p = container_of(f, struct virtio_pci, func);
    uint32_t at;
    unsigned n;

    pthread_mutex_lock(&p->v->lock);
    pci_msix_update(&p->msix);
    pthread_mutex_unlock(&p->v->lock);
    if (is_data(p, offset) && window_target(p, &at, &n))
        modern_write(p, at, n, virtio_get(f->config + p->window + CAP_DATA, n));
}

static unsigned add_capability(struct virtio_pci *p, unsigned type, unsigned len, uint32_t at,
                               uint32_t bytes)
{
    unsigned cap = pci_func_capability(&p->func, CAP_VENDOR, len);
    uint8_t *c = p->func.config + cap;

    c[CAP_LEN] = (uint8_t)len;
    c[CAP_TYPE] = (uint8_t)type;
    c[CAP_BAR] = MODERN_BAR;
    virtio_put(c + CAP_OFFSET, at, 4);
    virtio_put(c + CAP_LENGTH, bytes, 4);
    return cap;
}

static void add_capabilities(struct virtio_pci *p)
{
    unsigned notify_bytes = NOTIFY_STRIDE * VIRTIO_QUEUES;

    add_capability(p, CAP_COMMON, 16, 0, COMMON_BYTES);
    add_capability(p, CAP_ISR, 16, AT_ISR, 1);
    add_capability(p, CAP_DEVICE, 16, AT_DEVICE, VIRTIO_CONFIG_BYTES);
    unsigned at = add_capability(p, CAP_NOTIFY, 20, AT_NOTIFY, notify_bytes);
    virtio_put(p->func.config + at + CAP_DATA, NOTIFY_STRIDE, 4);
    p->window = add_capability(p, CAP_PCI, 20, 0, 0);
    uint8_t *writable = p->func.writable + p->window;
    writable[CAP_BAR] = 0xff;
    virtio_put(writable + CAP_OFFSET, UINT32_MAX, 4);
    virtio_put(writable + CAP_LENGTH, UINT32_MAX, 4);
    virtio_put(writable + CAP_DATA, UINT32_MAX, 4);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void pin(void *opaque, unsigned n, int level)
{
    struct virtio_pci *p = opaque;
    pci_intx(&p->func, level);
}

static void release(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, dev);

    pci_remove(&p->func);
    p->v->line = (struct irq_line){0};
    p->v->message = NULL;
    free(p);
}

static void reset(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, dev);

    pci_func_reset(&p->func);
    pthread_mutex_lock(&p->v->lock);
    pci_msix_reset(&p->msix);
    pthread_mutex_unlock(&p->v->lock);
}

static void restored(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, dev);

    pci_func_restored(&p->func);
    pci_intx(&p->func, p->v->isr != 0);
    pthread_mutex_lock(&p->v->lock);
    pci_msix_update(&p->msix);
    pthread_mutex_unlock(&p->v->lock);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct virtio_pci, func.config),
    PCI_MSIX_STATE(struct virtio_pci, msix),
};
static const struct device_ops ops = {.name = "virtio-pci",
                                      .reset = reset,
                                      .free = release,
                                      .restored = restored,
                                      .state = state,
                                      .state_count = ARRAY_LEN(state)};

/* Device number of transitional and legacy devices (4.1.2.3). */
static uint16_t legacy_device(enum virtio_id id)
{
    static const uint16_t numbers[] = {
        [VIRTIO_NET] = 0x1000,     [VIRTIO_BLK] = 0x1001, [VIRTIO_BALLOON] = 0x1002,
        [VIRTIO_CONSOLE] = 0x1003, [VIRTIO_RNG] = 0x1005, [VIRTIO_9P] = 0x1009,
    };
    return numbers[id];
}

static void describe(struct virtio_pci *p, struct pci_host *pci)
{
    enum virtio_id id = p->v->ops->id;
    uint16_t device = p->c.legacy ? legacy_device(id) : (uint16_t)(DEVICE_MODERN + id);

    pci_func_init(&p->func, p->v->dev.instance, VENDOR, device, p->c.class_code, !p->c.legacy);
    virtio_put(p->func.config + PCI_SUBSYSTEM_VENDOR, VENDOR, 2);
    virtio_put(p->func.config + PCI_SUBSYSTEM, p->c.legacy ? id : 0x1100, 2);
    p->func.config[PCI_INT_PIN] = 1;
    if (p->c.legacy)
        pci_func_bar(&p->func, LEGACY_BAR, true, LEGACY_BYTES, &legacy_ops, p);
    pci_func_bar(&p->func, MODERN_BAR, false, MODERN_BYTES, &modern_ops, p);
    if (p->c.modern)
        add_capabilities(p);
    pci_msix_init(&p->msix, pci, &p->func, VECTORS, MODERN_BAR, AT_TABLE, AT_PENDING);
    p->func.config_read = config_read;
    p->func.config_written = config_written;
}

struct device *virtio_pci_new(struct pci_host *pci, const struct virtio_pci_config *config,
                              struct virtio *v, struct err *e)
{
    struct virtio_pci *p = calloc(1, sizeof *p);

    if (!p) {
        err_set(e, ENOMEM, "no-memory", "no memory for %s", v->dev.instance);
        return NULL;
    }
    p->dev = (struct device){.ops = &ops, .instance = v->dev.instance};
    p->v = v;
    p->c = *config;
    describe(p, pci);
    if (pci_add(pci, &p->func, config->slot, config->function, e) < 0) {
        free(p);
        return NULL;
    }
    v->line = (struct irq_line){pin, p, 0};
    v->vectors = p->msix.vectors;
    v->message = message;
    v->message_opaque = p;
    return &p->dev;
}
