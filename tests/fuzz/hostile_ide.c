/* SPDX-License-Identifier: MIT */
/* Hostile drivers of IDE, floppy and DMA controllers.
 *
 *   hostile_ide [SEED [CASES]]      HOSTILE_SECONDS=N: go on with further seeds for so long
 *                                   HOSTILE_RACE=1: requests finish on another thread
 *
 * A case is a machine with up to four IDE drives, two floppy drives and a driver that knows the
 * commands and gives them at the wrong time: descriptor tables anywhere, with any address; packets
 * of noise; data ports read and written too little or too much; resets and other registers under
 * way; discs that are changed; memory that is remapped; state tables full of noise, as from a
 * malicious snapshot. Requests to images finish at once or later, some with errors. Nothing that
 * the driver cannot reach may change; after a reset of the machine each drive must identify itself
 * and read. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring3/devices/fdc.h"
#include "ring3/devices/i8237.h"
#include "ring3/devices/ide.h"

#define RAM         (2 * MIB)
#define HOLE        0xa0000u
#define ROM         0xe0000u
#define HIGH        0x100000u
#define EXTRA       (64 * KIB)
#define SECRET      0xc5 /* what everything out of reach holds */
#define ARENA       0x10000u
#define ARENA_BYTES 0x40000u
#define BM          0xc000u
#define STEPS       1000
#define DISK_BYTES  (400 * 2048u)
#define IMAGES      6 /* four IDE drives, two floppies */

enum { DATA, FEATURES, COUNT, LBA0, LBA1, LBA2, DEVICE, COMMAND };
enum { ST_ERR = 0x01, ST_DRQ = 0x08 };

struct fuzz {
    uint64_t seed, commands, packets, floppy, requests, interrupts, restores, answers;
};

struct image {
    struct block block;
    struct machine *m;
    struct block_request *waiting; /* under lock */
    uint8_t *bytes;
};

struct machine {
    struct fuzz *f;
    struct dev_host h;
    struct log log;
    struct device *pci, *ide, *dma, *fdc;
    enum ide_kind kind[IDE_DRIVES];
    struct image image[IMAGES];
    _Atomic uint64_t interrupts;
    bool race;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, fewer;
    bool stop;
};

static uint64_t rnd(struct fuzz *f)
{
    f->seed ^= f->seed << 13, f->seed ^= f->seed >> 7, f->seed ^= f->seed << 17;
    return f->seed * UINT64_C(2685821657736338717) >> 11;
}
static uint64_t below(struct machine *m, uint64_t n)
{
    return rnd(m->f) % n;
}

_Noreturn static void fail(uint64_t which, const char *what)
{
    fprintf(stderr, "FAIL: hostile_ide %llu 1: %s\n", (unsigned long long)which, what);
    abort();
}

/* ---- images ---------------------------------------------------------------------------------- */

/* By address, so that the thread needs no random numbers. */
static void transfer(struct image *im, struct block_request *r)
{
    uint8_t *p = im->bytes + r->offset;
    r->result = r->offset / 512 % 13 == 7 ? -EIO : 0;
    for (unsigned i = 0; i < r->iov_count; i++) {
        if (r->op == BLOCK_READ)
            memcpy(r->iov[i].iov_base, p, r->iov[i].iov_len);
        else if (r->op == BLOCK_WRITE)
            memcpy(p, r->iov[i].iov_base, r->iov[i].iov_len);
        p += r->iov[i].iov_len;
    }
}

static bool image_submit(struct block *b, struct block_request *r)
{
    struct image *im = container_of(b, struct image, block);
    struct machine *m = im->m;
    m->f->requests++;
    if (below(m, 2)) {
        transfer(im, r);
        return true;
    }
    pthread_mutex_lock(&m->lock);
    if (im->waiting)
        fail(0, "two requests to one drive");
    im->waiting = r;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
    return false;
}

/* With the lock: it is let go meanwhile. */
static void finish(struct image *im)
{
    struct block_request *r = im->waiting;
    im->waiting = NULL;
    pthread_mutex_unlock(&im->m->lock);
    transfer(im, r);
    r->done(r);
    pthread_mutex_lock(&im->m->lock);
}

static void finish_some(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < IMAGES && !m->race; i++)
        if (m->image[i].waiting && below(m, 2))
            finish(&m->image[i]);
    pthread_mutex_unlock(&m->lock);
}

static void *worker(void *opaque)
{
    struct machine *m = opaque;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        bool any = false;
        for (unsigned i = 0; i < IMAGES; i++)
            if (m->image[i].waiting) {
                m->image[i].block.info.cluster |= 1; /* at work */
                finish(&m->image[i]);
                m->image[i].block.info.cluster &= ~1u;
                any = true;
                pthread_cond_broadcast(&m->fewer);
            }
        if (!any)
            pthread_cond_wait(&m->more, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static void image_drain(struct block *b)
{
    struct image *im = container_of(b, struct image, block);
    struct machine *m = im->m;
    pthread_mutex_lock(&m->lock);
    while (im->waiting || (im->block.info.cluster & 1)) {
        if (m->race)
            pthread_cond_wait(&m->fewer, &m->lock);
        else
            finish(im);
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void line(void *opaque, unsigned n, int level)
{
    struct machine *m = opaque;
    m->interrupts += (unsigned)level;
}

static void make_memory(struct machine *m)
{
    uint64_t bytes, offset;
    m->h.mem = phys_new(RAM, NULL);
    phys_extra(m->h.mem, EXTRA, &offset, NULL);
    phys_map_ram(m->h.mem, 0, 0, HOLE, NULL);
    phys_map_rom(m->h.mem, ROM, ROM, HIGH - ROM, NULL);
    phys_map_ram(m->h.mem, HIGH, HIGH, RAM - HIGH, NULL);
    uint8_t *p = phys_memory(m->h.mem, &bytes);
    memset(p + HOLE, SECRET, HIGH - HOLE);
    memset(p + offset, SECRET, EXTRA);
}

static void check_memory(struct machine *m, uint64_t which)
{
    uint64_t bytes;
    const uint8_t *p = phys_memory(m->h.mem, &bytes);
    for (uint64_t i = HOLE; i < HIGH; i++)
        if (p[i] != SECRET)
            fail(which, "memory that is not the guest's to write has changed");
    for (uint64_t i = RAM; i < RAM + EXTRA; i++)
        if (p[i] != SECRET)
            fail(which, "memory behind the guest's has changed");
}

static void make_image(struct machine *m, unsigned n, uint64_t bytes)
{
    static const struct block_ops ops = {image_submit, image_drain, NULL};
    struct image *im = &m->image[n];
    im->block.ops = &ops;
    im->block.info = (struct block_info){bytes, below(m, 8) == 0, below(m, 2), 512, "x", "x"};
    im->m = m;
    im->bytes = malloc(bytes);
    for (uint64_t i = 0; i < bytes; i++)
        im->bytes[i] = (uint8_t)(i / 512);
}

static void config_write(struct machine *m, unsigned at, unsigned size, uint32_t value)
{
    bus_write(m->h.pio, 0xcf8, 4, 0x80000900u | (at & 0xfc));
    bus_write(m->h.pio, 0xcfc + (at & 3), size, value);
}

static void place(struct machine *m)
{
    config_write(m, 0x20, 4, BM);
    config_write(m, 0x04, 1, 5);
    config_write(m, 0x40, 4, 0x80008000);
}

static void make_devices(struct machine *m)
{
    static const enum ide_kind kinds[] = {IDE_DISK, IDE_DISK, IDE_CDROM, IDE_CDROM, IDE_ABSENT};
    struct ide_config ide = {.irq = {{line, m, 14}, {line, m, 15}}};
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        m->kind[n] = ide.drive[n].kind = kinds[below(m, ARRAY_LEN(kinds))];
        if (m->kind[n] != IDE_ABSENT)
            ide.drive[n].medium = &m->image[n].block;
    }
    m->pci = pci_host_new(&m->h, (struct irq_line){0}, NULL);
    m->ide = ide_new(&m->h, pci_host_of(m->pci), &ide, NULL);
    m->dma = i8237_new(&m->h, NULL);
    struct fdc_config fdc = {.irq = {line, m, 6}, .dma = m->dma};
    for (unsigned n = 0; n < FDC_DRIVES; n++) {
        fdc.drive[n].present = true;
        fdc.drive[n].medium = &m->image[IDE_DRIVES + n].block;
    }
    m->fdc = fdc_new(&m->h, &fdc, NULL);
    if (!m->ide || !m->fdc)
        fail(0, "cannot make the devices");
    place(m);
}

static struct machine *new_machine(struct fuzz *f, bool race)
{
    struct machine *m = calloc(1, sizeof *m);
    m->f = f;
    m->race = race;
    m->log = (struct log){LOG_ERROR, 2};
    m->h.log = &m->log;
    m->h.clock = clock_new(CLOCK_VIRTUAL, NULL);
    m->h.pio = bus_new("pio", 0x10000, NULL);
    m->h.mmio = bus_new("mmio", 4 * GIB, NULL);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->more, NULL);
    pthread_cond_init(&m->fewer, NULL);
    make_memory(m);
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        make_image(m, n, DISK_BYTES);
    make_image(m, IDE_DRIVES, 1440 * KIB);
    make_image(m, IDE_DRIVES + 1, 720 * KIB);
    if (race)
        pthread_create(&m->thread, NULL, worker, m);
    make_devices(m);
    return m;
}

static void free_machine(struct machine *m)
{
    m->fdc->ops->free(m->fdc);
    m->dma->ops->free(m->dma);
    m->ide->ops->free(m->ide);
    m->pci->ops->free(m->pci);
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_broadcast(&m->more);
    pthread_mutex_unlock(&m->lock);
    if (m->race)
        pthread_join(m->thread, NULL);
    bus_free(m->h.pio);
    bus_free(m->h.mmio);
    clock_free(m->h.clock);
    phys_free(m->h.mem);
    for (unsigned n = 0; n < IMAGES; n++)
        free(m->image[n].bytes);
    free(m);
}

/* ---- the driver: IDE ------------------------------------------------------------------------- */

static void out(struct machine *m, unsigned port, unsigned size, uint64_t value)
{
    bus_write(m->h.pio, port, size, value);
}
static uint64_t in(struct machine *m, unsigned port, unsigned size)
{
    return bus_read(m->h.pio, port, size);
}
static unsigned base_of(unsigned drive)
{
    return drive < 2 ? IDE_IO0 : IDE_IO1;
}

static uint32_t somewhere(struct machine *m)
{
    switch (below(m, 60)) {
    case 0:
        return (uint32_t)(ROM + below(m, HIGH - ROM));
    case 1:
        return (uint32_t)(HOLE - below(m, 4096));
    case 2:
        return (uint32_t)(RAM - below(m, 4096));
    case 3:
        return (uint32_t)(rnd(m->f) << below(m, 20));
    case 4:
        return (uint32_t)(UINT32_MAX - below(m, 4096));
    default:
        return (uint32_t)(ARENA + below(m, ARENA_BYTES));
    }
}

static void make_table(struct machine *m, unsigned channel)
{
    uint32_t table = (uint32_t)(ARENA + below(m, ARENA_BYTES)) & ~3u, entry[2];
    if (below(m, 30) == 0)
        table = somewhere(m);
    unsigned n = 1 + (unsigned)below(m, 8);
    for (unsigned i = 0; i < n; i++) {
        static const uint32_t lengths[] = {0, 0, 2, 510, 512, 2048, 4096, 8192, 0xfffe};
        entry[0] = somewhere(m);
        entry[1] = below(m, 8) ? lengths[below(m, ARRAY_LEN(lengths))] : (uint32_t)below(m, 65536);
        if (i + 1 == n && below(m, 12))
            entry[1] |= 0x80000000u;
        phys_write(m->h.mem, table + 8 * i, entry, sizeof entry);
    }
    out(m, BM + 8 * channel, 1, 0);
    out(m, BM + 8 * channel + 2, 1, 6);
    out(m, BM + 8 * channel + 4, 4, table);
}

static void start(struct machine *m, unsigned channel)
{
    make_table(m, channel);
    out(m, BM + 8 * channel, 1, 1 | below(m, 2) << 3);
}

static void move(struct machine *m, unsigned drive)
{
    static const uint16_t amounts[] = {1, 2, 12, 256, 255, 300, 1024, 4096};
    unsigned n = amounts[below(m, ARRAY_LEN(amounts))], size = 1u << below(m, 3);
    bool read = below(m, 2);
    for (unsigned i = 0; i < n; i++) {
        if (read)
            in(m, base_of(drive), size);
        else
            out(m, base_of(drive), size, rnd(m->f));
    }
}

/* Mostly wait as a driver does, and out of a reset. */
static void ready(struct machine *m, unsigned drive)
{
    if (below(m, 4))
        finish_some(m);
    if (below(m, 4))
        out(m, base_of(drive) + 0x206, 1, 0);
}

/* What is written to it first, and then. */
static uint64_t count_register(struct machine *m, unsigned i)
{
    if (below(m, 30) == 0)
        return rnd(m->f);
    return i ? 1 + below(m, below(m, 3) ? 8 : 100) : 0;
}

static void command(struct machine *m, unsigned drive)
{
    static const uint8_t usual[] = {0x20, 0x24, 0x25, 0x25, 0x29, 0x30, 0x34, 0x35, 0x35,
                                    0x39, 0x3d, 0xc4, 0xc5, 0xc8, 0xc8, 0xca, 0xca, 0xce,
                                    0x20, 0x30, 0xc8, 0xca, 0xc6, 0x06, 0xec, 0xa1, 0xef,
                                    0xe7, 0x90, 0x91, 0xb0, 0x08, 0xa0, 0xea, 0xf8, 0x27};
    unsigned base = base_of(drive);
    ready(m, drive);
    out(m, base + DEVICE, 1, 0xa0 | (drive & 1) << 4 | (below(m, 4) ? 0x40 : below(m, 16)));
    for (unsigned i = 0; i < 2; i++) {
        out(m, base + FEATURES, 1, below(m, 4) ? below(m, 4) : rnd(m->f));
        out(m, base + COUNT, 1, count_register(m, i));
        out(m, base + LBA0, 1, i ? rnd(m->f) : 0);
        out(m, base + LBA1, 1, i && below(m, 2) ? below(m, 7) : 0);
        out(m, base + LBA2, 1, below(m, 50) ? 0 : rnd(m->f));
    }
    if (below(m, 2))
        make_table(m, drive / 2);
    out(m, base + COMMAND, 1, below(m, 10) ? usual[below(m, ARRAY_LEN(usual))] : rnd(m->f));
    if (below(m, 2))
        start(m, drive / 2);
    m->f->commands++;
}

static void set_multiple(struct machine *m)
{
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        out(m, base_of(n) + DEVICE, 1, 0xa0 | (n & 1) << 4);
        out(m, base_of(n) + COUNT, 1, UINT64_C(1) << below(m, 5));
        out(m, base_of(n) + COMMAND, 1, 0xc6);
    }
}

static void packet(struct machine *m, unsigned drive)
{
    static const uint8_t usual[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x28, 0x2b, 0x43,
                                    0x46, 0x4a, 0x51, 0x52, 0x5a, 0xa8, 0xa8, 0xbd, 0xbe};
    unsigned base = base_of(drive), bytes = below(m, 16) ? 12 : (unsigned)below(m, 20);
    uint8_t cdb[20] = {0};
    for (unsigned i = 0; i < sizeof cdb; i++)
        cdb[i] = (uint8_t)(below(m, 3) ? 0 : below(m, 2) ? below(m, 64) : rnd(m->f));
    if (below(m, 12))
        cdb[0] = usual[below(m, ARRAY_LEN(usual))];
    if (below(m, 2) && (cdb[0] == 0x28 || cdb[0] == 0xa8))
        cdb[2] = cdb[3] = cdb[6] = cdb[7] = 0;
    ready(m, drive);
    out(m, base + DEVICE, 1, 0xa0 | (drive & 1) << 4);
    out(m, base + FEATURES, 1, below(m, 2));
    out(m, base + LBA1, 1, rnd(m->f));
    out(m, base + LBA2, 1, below(m, 2) ? below(m, 16) : rnd(m->f));
    out(m, base + COMMAND, 1, 0xa0);
    for (unsigned i = 0; i < bytes; i += 2)
        out(m, base, 2, cdb[i] | (unsigned)cdb[i + 1] << 8);
    if (below(m, 2))
        start(m, drive / 2);
    m->f->packets++;
}

static void random_register(struct machine *m)
{
    static const struct {
        uint16_t first, count;
    } ranges[] = {{0x1f0, 8}, {0x170, 8}, {0x3f6, 1}, {0x376, 1}, {BM, 16},  {0x3f0, 6},
                  {0x3f7, 1}, {0x00, 16}, {0x81, 15}, {0xc0, 32}, {0x3f5, 1}};
    unsigned i = (unsigned)below(m, ARRAY_LEN(ranges)), size = 1u << below(m, 3);
    unsigned port = ranges[i].first + (unsigned)below(m, ranges[i].count);
    if (below(m, 2))
        in(m, port, size);
    else
        out(m, port, size, rnd(m->f));
}

/* ---- the driver: floppies -------------------------------------------------------------------- */

static void floppy_dma(struct machine *m)
{
    uint32_t at = (uint32_t)(below(m, 4) ? ARENA + below(m, 0x20000) : rnd(m->f));
    unsigned n = (unsigned)below(m, 2) ? 512 * (1 + (unsigned)below(m, 40)) : (unsigned)rnd(m->f);
    out(m, 0x0a, 1, 6);
    out(m, 0x0b, 1, below(m, 8) ? (below(m, 2) ? 0x46 : 0x4a) : (rnd(m->f) & 0xfc) | 2);
    out(m, 0x0c, 1, 0);
    out(m, 0x04, 1, at);
    out(m, 0x04, 1, at >> 8);
    out(m, 0x81, 1, at >> 16);
    out(m, 0x05, 1, n - 1);
    out(m, 0x05, 1, (n - 1) >> 8);
    out(m, 0x0a, 1, 2);
}

static void floppy_command(struct machine *m)
{
    static const uint8_t usual[] = {0xe6, 0x46, 0x45, 0xc5, 0x4d, 0x4a, 0x0f, 0x07, 0x08, 0x03,
                                    0x13, 0x0e, 0x56, 0x94, 0x04, 0x42, 0x8f, 0x4c, 0x12, 0x10};
    uint8_t unit = (uint8_t)below(m, below(m, 8) ? 2 : 4), head = (uint8_t)below(m, 2);
    if (below(m, 2)) {
        out(m, 0x3f2, 1, 0x3c | unit);
        out(m, 0x3f7, 1, unit ? 2 : 0);
    }
    for (unsigned i = 0; i < 10 && below(m, 4); i++) /* the last result, mostly */
        in(m, 0x3f5, 1);
    if (below(m, 2))
        floppy_dma(m);
    uint8_t first = (uint8_t)(below(m, 12) ? usual[below(m, ARRAY_LEN(usual))] : rnd(m->f));
    uint8_t bytes[9] = {first,
                        (uint8_t)(unit | head << 2),
                        first == 0x4d || first == 0x03 ? 2 + (uint8_t)below(m, 2)
                                                       : (uint8_t)below(m, 3),
                        first == 0x4d ? (uint8_t)(unit ? 9 : 18) : head,
                        (uint8_t)(1 + below(m, 20)),
                        2,
                        (uint8_t)(unit ? 9 : 18),
                        0x1b,
                        0xff};
    if (below(m, 8) == 0)
        bytes[below(m, sizeof bytes)] = (uint8_t)rnd(m->f);
    for (unsigned i = 0; i < 9 && (in(m, 0x3f4, 1) & 0xc0) == 0x80; i++)
        out(m, 0x3f5, 1, bytes[i]);
    for (unsigned i = (unsigned)below(m, 2) ? 0 : (unsigned)below(m, 3000); i; i--) {
        if (below(m, 2))
            in(m, 0x3f5, 1);
        else
            out(m, 0x3f5, 1, rnd(m->f));
    }
    m->f->floppy++;
}

/* ---- what happens to the machine ------------------------------------------------------------- */

static void change_disc(struct machine *m)
{
    unsigned n = (unsigned)below(m, IDE_DRIVES), k = (unsigned)below(m, FDC_DRIVES);
    if (m->kind[n] == IDE_CDROM) {
        ide_change_medium(m->ide, n, NULL);
        ide_change_medium(m->ide, n, &m->image[n].block);
    }
    fdc_change_medium(m->fdc, k, NULL);
    fdc_change_medium(m->fdc, k, &m->image[IDE_DRIVES + k].block);
}

static void drain_all(struct machine *m)
{
    for (unsigned i = 0; i < IMAGES; i++)
        block_drain(&m->image[i].block);
}

/* As a malicious snapshot may: noise in some of the state. Never while requests are under way. */
static void restore_noise(struct machine *m)
{
    struct device *const devices[] = {m->ide, m->fdc, m->dma};
    struct device *d = devices[below(m, ARRAY_LEN(devices))];
    uint64_t often = 1 + below(m, 12);
    drain_all(m);
    for (size_t i = 0; i < d->ops->state_count; i++) {
        const struct state_field *s = &d->ops->state[i];
        uint8_t *p = (uint8_t *)d + s->offset;
        for (size_t k = 0; k < s->size * s->count && below(m, often) == 0; k++)
            p[k] = (uint8_t)(below(m, 2) ? rnd(m->f) : below(m, 8));
    }
    d->ops->restored(d);
    place(m);
    m->f->restores++;
}

static void remap(struct machine *m)
{
    gpa_t at = ARENA + PAGE_BYTES * below(m, ARENA_BYTES / PAGE_BYTES);
    if (below(m, 2))
        phys_remap(m->h.mem, at, PHYS_NONE, 0, PAGE_BYTES);
    else
        phys_remap(m->h.mem, at, PHYS_ROM, ROM, PAGE_BYTES);
    command(m, (unsigned)below(m, IDE_DRIVES));
    start(m, (unsigned)below(m, 2));
    phys_remap(m->h.mem, at, PHYS_RAM, at, PAGE_BYTES);
}

static void step(struct machine *m)
{
    unsigned drive = (unsigned)below(m, IDE_DRIVES), action = (unsigned)below(m, 100);
    if (action < 25 && (m->kind[drive] == IDE_DISK || below(m, 8) == 0))
        command(m, drive);
    else if (action < 45 && m->kind[drive] == IDE_CDROM)
        packet(m, drive);
    else if (action < 58)
        move(m, drive);
    else if (action < 66)
        start(m, drive / 2);
    else if (action < 78)
        floppy_command(m);
    else if (action < 86)
        finish_some(m);
    else if (action < 90)
        clock_advance(m->h.clock, UINT64_C(1000000) << below(m, 7));
    else if (action < 94)
        random_register(m);
    else if (action < 96)
        out(m, base_of(drive) + 0x206, 1, below(m, 2) << 2);
    else if (action < 97)
        change_disc(m);
    else if (action < 98)
        remap(m);
    else if (action < 99)
        place(m);
    else if (below(m, 3) == 0)
        restore_noise(m);
}

/* ---- afterwards: drives that were reset do their work ---------------------------------------- */

static unsigned wait_for_data(struct machine *m, unsigned drive)
{
    drain_all(m);
    return (unsigned)in(m, base_of(drive) + COMMAND, 1);
}

static void ide_works(struct machine *m, unsigned drive, uint64_t which)
{
    unsigned base = base_of(drive);
    bool cd = m->kind[drive] == IDE_CDROM;
    out(m, base + DEVICE, 1, 0xe0 | (drive & 1) << 4);
    out(m, base + COMMAND, 1, cd ? 0xa1 : 0xec);
    if (!(wait_for_data(m, drive) & ST_DRQ) || in(m, base, 2) != (cd ? 0x85c0 : 0x0040))
        fail(which, "a drive does not identify itself after a reset");
    for (unsigned i = 1; i < 256; i++)
        in(m, base, 2);
    if (cd) {
        m->f->answers++;
        return;
    }
    out(m, base + COUNT, 1, 1);
    out(m, base + LBA0, 1, 3);
    out(m, base + LBA1, 1, 0);
    out(m, base + LBA2, 1, 0);
    out(m, base + COMMAND, 1, 0x20);
    unsigned status = wait_for_data(m, drive);
    if (!(status & ST_DRQ) || (status & ST_ERR) || in(m, base, 1) != m->image[drive].bytes[3 * 512])
        fail(which, "a disk does not read after a reset");
    m->f->answers++;
}

static void floppy_works(struct machine *m, uint64_t which)
{
    out(m, 0x3f2, 1, 0);
    out(m, 0x3f2, 1, 0x0c);
    out(m, 0x3f5, 1, 0x08);
    if (in(m, 0x3f5, 1) != 0xc0)
        fail(which, "the floppy controller does not come out of a reset");
    in(m, 0x3f5, 1);
    if (in(m, 0x3f4, 1) != 0x80)
        fail(which, "the floppy controller is not ready after a reset");
}

static void works(struct machine *m, uint64_t which)
{
    m->ide->ops->reset(m->ide);
    m->dma->ops->reset(m->dma);
    m->fdc->ops->reset(m->fdc);
    place(m);
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        if (m->kind[n] != IDE_ABSENT)
            ide_works(m, n, which);
    floppy_works(m, which);
}

static void one_case(struct fuzz *f, uint64_t which, bool race)
{
    f->seed = which * UINT64_C(0x9e3779b97f4a7c15) + 1;
    rnd(f);
    struct machine *m = new_machine(f, race);
    set_multiple(m);
    for (unsigned i = 0; i < STEPS; i++)
        step(m);
    works(m, which);
    check_memory(m, which);
    f->interrupts += m->interrupts;
    free_machine(m);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t cases = argc > 2 ? strtoull(argv[2], NULL, 0) : 500;
    const char *seconds = getenv("HOSTILE_SECONDS"), *race = getenv("HOSTILE_RACE");
    time_t end = time(NULL) + (seconds ? atol(seconds) : 0);
    struct fuzz f = {0};
    uint64_t n = 0;
    for (; n < cases || time(NULL) < end; n++)
        one_case(&f, seed + n, race != NULL);
    printf("%llu machines: %llu ATA commands, %llu packets, %llu floppy commands, %llu requests to "
           "images, %llu interrupts, %llu restored, %llu drives work after a reset\n",
           (unsigned long long)n, (unsigned long long)f.commands, (unsigned long long)f.packets,
           (unsigned long long)f.floppy, (unsigned long long)f.requests,
           (unsigned long long)f.interrupts, (unsigned long long)f.restores,
           (unsigned long long)f.answers);
    return f.requests > 20 * n && f.interrupts > 50 * n && f.answers > 2 * n ? 0 : 1;
}
