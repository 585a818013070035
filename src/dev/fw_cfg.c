/* SPDX-License-Identifier: MIT */
/* Firmware configuration device: see ring3/devices/fw_cfg.h. Two ways to read an item:
 *
 *   0x510  16 bits, little-endian: select an item, from its first byte on
 *   0x511  8 bits: the next byte of it; zeros behind its end
 *   0x514  64 bits, big-endian: guest-physical address of a request; a write of its lower half (at
 *          0x518) carries the request out. Reads "QEMU CFG".
 *
 *   request, big-endian:  control 32   length 32   address 64
 *     control: 0 error, 1 read, 2 skip, 3 select the item in bits 16-31, 4 write
 *     control is overwritten at the end, with 0 or the error bit
 *
 * Contents belong to the configuration of the machine, not to its state: who restores a snapshot
 * builds the same machine first. What was made on selection is state, as making it may have
 * effects.
 *
 * Left out: writable items (a request to write fails). */
#include "ring3/devices/fw_cfg.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS     64
#define FILES     40
#define ITEM_MAX  (4 * MIB)
#define SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */
#define ID        3u                           /* port and DMA interface */

#define DMA_ERROR   1u
#define DMA_READ    2u
#define DMA_SKIP    4u
#define DMA_SELECT  8u
#define DMA_WRITE   16u
#define DMA_BYTES   16
#define DMA_LOW     4 /* offset of the half that starts a request */
#define NOTHING     0xffffu
#define ENTRY_BYTES 64 /* directory: size 32, item 16, reserved 16, name */
#define ENTRY_NAME  8

struct item {
    uint16_t key;
    size_t len;
    uint8_t *bytes;    /* owned; NULL: made when it is selected */
    fw_cfg_fill *fill; /* makes it */
    void *opaque;
};

struct fw_cfg {
    struct device dev;
    struct dev_host h;
    unsigned mapped;         /* entries of blocks[] on the bus */
    struct item item[ITEMS]; /* fixed once the VM runs */
    unsigned items, files;
    struct log_limit limit;
    pthread_mutex_t lock;          /* the rest */
    uint16_t key;                  /* selected item */
    uint32_t at;                   /* offset of the next byte in it */
    uint32_t dma_high;             /* address of the next request, upper half */
    uint8_t made[FW_CFG_MADE_MAX]; /* contents of the selected item, if it is one that is made */
};

static void put_be(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

static uint64_t get_be(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | *p++;
    return v;
}

static struct item *find(struct fw_cfg *s, uint16_t key)
{
    for (unsigned i = 0; i < s->items; i++)
        if (s->item[i].key == key)
            return &s->item[i];
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void select_item(struct fw_cfg *s, uint16_t key)
{
    const struct item *it = find(s, key);
    uint8_t made[FW_CFG_MADE_MAX] = {0};

    if (it && it->fill)
        it->fill(it->opaque, made, it->len);
    pthread_mutex_lock(&s->lock);
    memcpy(s->made, made, sizeof made);
    s->key = key;
    s->at = 0;
    pthread_mutex_unlock(&s->lock);
}

/* The next bytes of the selected item, at most `want`; the position moves by `want`. */
static const uint8_t *take(struct fw_cfg *s, uint32_t want, uint32_t *got)
{
    const struct item *it = find(s, s->key);
    uint32_t left = it && s->at < it->len ? (uint32_t)it->len - s->at : 0;
    const uint8_t *from = left ? (it->fill ? s->made : it->bytes) + s->at : NULL;

    *got = left < want ? left : want;
    s->at = want > UINT32_MAX - s->at ? UINT32_MAX : s->at + want;
    return from;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fw_cfg *s = opaque;
    uint32_t got;

    if (size != 1 || offset != 1)
        return 0;
    pthread_mutex_lock(&s->lock);
    const uint8_t *p = take(s, 1, &got);
    uint8_t value = got ? *p : 0;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    if (size == 2)
        select_item(opaque, (uint16_t)value);
}

/* ---- requests in memory ---------------------------------------------------------------------- */

/* Is [gpa, +len) all RAM? */
static bool writable(const struct fw_cfg *s, uint64_t gpa, uint32_t len)
{
    return !len || phys_iovec(s->h.mem, gpa, len, true, NULL, 0) == -E2BIG;
}

static bool dma_read(struct fw_cfg *s, uint64_t gpa, uint32_t len)
{
    uint32_t got;

    if (!writable(s, gpa, len))
        return false;
    pthread_mutex_lock(&s->lock);
    const uint8_t *p = take(s, len, &got);
    pthread_mutex_unlock(&s->lock);
    if (got)
        phys_write(s->h.mem, gpa, p, got);
    if (len > got)
        phys_zero(s->h.mem, gpa + got, len - got);
    return true;
}

static bool carry_out(struct fw_cfg *s, uint32_t control, uint32_t len, uint64_t gpa)
{
    uint32_t got;

    if (control & DMA_SELECT)
        select_item(s, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        return dma_read(s, gpa, len);
    if (control & DMA_WRITE)
        return false;
    if (control & DMA_SKIP) {
        pthread_mutex_lock(&s->lock);
        take(s, len, &got);
        pthread_mutex_unlock(&s->lock);
    }
    return true;
}

static void dma(struct fw_cfg *s, uint64_t gpa)
{
    uint8_t request[DMA_BYTES], control[4];

    if (phys_read(s->h.mem, gpa, request, sizeof request) < 0) {
        log_guest(s->h.log, &s->limit, "fw-cfg",
                  "guest's request to the firmware configuration device at 0x%" PRIx64
                  " is not in memory",
                  gpa);
        return;
    }
    bool good = carry_out(s, (uint32_t)get_be(request, 4), (uint32_t)get_be(request + 4, 4),
                          get_be(request + 8, 8));
    put_be(control, good ? 0 : DMA_ERROR, 4);
    phys_write(s->h.mem, gpa, control, sizeof control);
}

static uint32_t swap(uint64_t v)
{
    return __builtin_bswap32((uint32_t)v);
}

static uint64_t dma_port_read(void *opaque, uint64_t offset, unsigned size)
{
    return swap(SIGNATURE >> (offset ? 0 : 32));
}

static void dma_port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *s = opaque;

    pthread_mutex_lock(&s->lock);
    uint64_t gpa = (uint64_t)s->dma_high << 32 | swap(value);
    s->dma_high = offset == DMA_LOW ? 0 : swap(value);
    pthread_mutex_unlock(&s->lock);
    if (offset == DMA_LOW)
        dma(s, gpa);
}

/* ---- contents -------------------------------------------------------------------------------- */

/* Make an item of len bytes. */
static int new_item(struct fw_cfg *s, uint16_t key, size_t len, struct item **it, struct err *e)
{
    if (find(s, key))
        return err_set(e, EEXIST, "fw-cfg", "firmware configuration item 0x%x is there already",
                       key);
    if (s->items == ITEMS || len > ITEM_MAX)
        return err_set(e, ENOSPC, "fw-cfg",
                       "no room for firmware configuration item 0x%x of %zu bytes: there may be %d "
                       "items of %" PRIu64 " KiB",
                       key, len, ITEMS, (uint64_t)(ITEM_MAX / KIB));
    *it = &s->item[s->items++];
    **it = (struct item){.key = key, .len = len};
    return 0;
}

/* The same with contents, zeros at first. */
static int new_bytes(struct fw_cfg *s, uint16_t key, size_t len, struct item **it, struct err *e)
{
    uint8_t *bytes = calloc(1, len ? len : 1);
    int r = bytes ? new_item(s, key, len, it, e)
                  : err_set(e, ENOMEM, "no-memory", "no memory for firmware configuration");

    if (r < 0)
        free(bytes);
    else
        (*it)->bytes = bytes;
    return r;
}

int fw_cfg_add(struct device *d, uint16_t key, const void *bytes, size_t len, struct err *e)
{
    struct item *it;
    int r = new_bytes(container_of(d, struct fw_cfg, dev), key, len, &it, e);

    if (r == 0 && len)
        memcpy(it->bytes, bytes, len);
    return r;
}

int fw_cfg_add_made(struct device *d, uint16_t key, size_t len, fw_cfg_fill *fill, void *opaque,
                    struct err *e)
{
    struct item *it;
    int r;

    if (len > FW_CFG_MADE_MAX)
        return err_set(e, ENOSPC, "fw-cfg", "an item that is made has at most %d bytes, not %zu",
                       FW_CFG_MADE_MAX, len);
    r = new_item(container_of(d, struct fw_cfg, dev), key, len, &it, e);
    if (r == 0) {
        it->fill = fill;
        it->opaque = opaque;
    }
    return r;
}

int fw_cfg_add_file(struct device *d, const char *name, const void *bytes, size_t len,
                    struct err *e)
{
    struct fw_cfg *s = container_of(d, struct fw_cfg, dev);
    struct item *directory = find(s, FW_CFG_DIRECTORY);

    if (strlen(name) > FW_CFG_NAME_MAX || s->files == FILES)
        return err_set(e, ENOSPC, "fw-cfg",
                       "no room for firmware file \"%s\": %d files with names of %d characters",
                       name, FILES, FW_CFG_NAME_MAX);
    uint16_t key = (uint16_t)(FW_CFG_FIRST_FILE + s->files);
    int r = fw_cfg_add(d, key, bytes, len, e);
    if (r < 0)
        return r;
    uint8_t *entry = directory->bytes + 4 + s->files++ * ENTRY_BYTES;
    put_be(entry, len, 4);
    put_be(entry + 4, key, 2);
    snprintf((char *)entry + ENTRY_NAME, FW_CFG_NAME_MAX + 1, "%s", name);
    put_be(directory->bytes, s->files, 4);
    return 0;
}

/* ---- device ---------------------------------------------------------------------------------- */

static const struct block {
    uint16_t base, len;
    struct io_ops ops;
} blocks[] = {
    {FW_CFG_PORT, 2, {port_read, port_write, 1, 2}},
    {FW_CFG_DMA_PORT, 8, {dma_port_read, dma_port_write, 4, 4}},
};

static void reset(struct device *d)
{
    struct fw_cfg *s = container_of(d, struct fw_cfg, dev);

    pthread_mutex_lock(&s->lock);
    s->key = NOTHING;
    s->at = s->dma_high = 0;
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct fw_cfg *s = container_of(d, struct fw_cfg, dev);

    while (s->mapped)
        bus_unmap(s->h.pio, blocks[--s->mapped].base);
    for (unsigned i = 0; i < s->items; i++)
        free(s->item[i].bytes);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE(struct fw_cfg, key),
    STATE(struct fw_cfg, at),
    STATE(struct fw_cfg, dma_high),
    STATE_ARRAY(struct fw_cfg, made),
};
static const struct device_ops ops = {
    .name = "fw-cfg",
    .reset = reset,
    .free = release,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

static int open_device(struct fw_cfg *s, struct err *e)
{
    static const uint8_t id[4] = {ID};
    struct item *directory;
    int r = fw_cfg_add(&s->dev, FW_CFG_SIGNATURE, "QEMU", 4, e);

    if (r == 0)
        r = fw_cfg_add(&s->dev, FW_CFG_ID, id, sizeof id, e);
    if (r == 0)
        r = new_bytes(s, FW_CFG_DIRECTORY, 4 + FILES * ENTRY_BYTES, &directory, e);
    for (; r == 0 && s->mapped < ARRAY_LEN(blocks); s->mapped++) {
        const struct block *b = &blocks[s->mapped];
        r = bus_map(s->h.pio, b->base, b->len, &b->ops, s, "fw-cfg", e);
        if (r < 0)
            break;
    }
    return r;
}

struct device *fw_cfg_new(const struct dev_host *h, struct err *e)
{
    struct fw_cfg *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the firmware configuration device");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "fw-cfg"};
    s->h = *h;
    s->key = NOTHING;
    pthread_mutex_init(&s->lock, NULL);
    if (open_device(s, e) < 0) {
        release(&s->dev);
        return NULL;
    }
    return &s->dev;
}
