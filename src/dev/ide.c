/* SPDX-License-Identifier: MIT */
/* The IDE function of the Intel 82371AB PIIX4 (datasheet 290562, chapters 5 and 9): two channels at
 * the legacy ports with interrupts 14 and 15, bus master registers at BAR 4. See dev/ide.h for the
 * other files.
 *
 * A channel decodes its ports while bit 15 of its timing register (0x40, 0x42) and the I/O bit of
 * the command register are set, as they are from the start: firmware would have done it.
 *
 * Left out: timing, which is kept without effect; the command register's bus master bit. */
#include "dev/ide.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMING        0x40 /* 16 bits per channel */
#define TIMING_DECODE 0x80 /* in the upper byte */
#define ULTRA_DMA     0x48
#define BAR           4

static const struct {
    uint16_t command, control;
    const char *name;
} ports[IDE_CHANNELS] = {{IDE_IO0, IDE_IO0 + 0x206, "ide0"}, {IDE_IO1, IDE_IO1 + 0x206, "ide1"}};

/* ---- configuration --------------------------------------------------------------------------- */

static void take_decoding(struct ide *s)
{
    bool io = s->func.config[PCI_COMMAND] & PCI_COMMAND_IO;

    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        s->channel[i].decoded = io && (s->func.config[TIMING + 2 * i + 1] & TIMING_DECODE);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
    struct ide *s = container_of(f, struct ide, func);

    pthread_mutex_lock(&s->lock);
    take_decoding(s);
    pthread_mutex_unlock(&s->lock);
}

static void describe_function(struct ide *s)
{
    struct pci_func *f = &s->func;

    pci_func_init(f, "piix4-ide", 0x8086, 0x7111, 0x010180, 1);
    f->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MASTER;
    f->writable[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MASTER;
    f->writable[PCI_COMMAND + 1] = 0;
    f->config[PCI_STATUS] = 0x80;     /* takes fast back-to-back transactions */
    f->config[PCI_STATUS + 1] = 0x02; /* medium decode */
    f->config[TIMING + 1] = f->config[TIMING + 3] = TIMING_DECODE;
    memset(f->writable + TIMING, 0xff, 5);
    f->writable[ULTRA_DMA] = 0x0f;
    f->writable[ULTRA_DMA + 2] = f->writable[ULTRA_DMA + 3] = 0x33;
    pci_func_bar(f, BAR, true, 16, &ide_bus_master_ops, s);
    f->config_written = config_written;
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct ide_drive *drive_of(struct ide *s, unsigned n)
{
    return &s->channel[n / 2].drive[n & 1];
}

/* No lock held: completions take it. */
static void drain(struct ide *s)
{
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        if (drive_of(s, n)->block)
            block_drain(drive_of(s, n)->block);
}

static void reset(struct device *d)
{
    struct ide *s = container_of(d, struct ide, dev);

    pci_func_reset(&s->func);
    drain(s);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide_channel_reset(&s->channel[i]);
    take_decoding(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct ide *s = container_of(d, struct ide, dev);

    for (; s->mapped; s->mapped--) {
        unsigned i = s->mapped - 1;
        bus_unmap(s->h.pio, i & 1 ? ports[i / 2].control : ports[i / 2].command);
    }
    pci_remove(&s->func);
    drain(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool has_drives(struct ide *s)
{
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        if (drive_of(s, n)->kind != IDE_ABSENT)
            return true;
    return false;
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct ide *s = container_of(d, struct ide, dev);

    if (!has_drives(s))
        return;
    pthread_mutex_lock(&s->lock);
    double accesses = (double)s->accesses, requests = (double)s->requests;
    double interrupts = (double)s->interrupts;
    pthread_mutex_unlock(&s->lock);
    to->add(to->opaque, "requests", requests, 0, "");
    to->add(to->opaque, "accesses", accesses, 0, "");
    to->add(to->opaque, "interrupts", interrupts, 0, "");
    to->add(to->opaque, "accesses_per_request", requests > 0 ? accesses / requests : 0, 1, "");
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static bool fits_drive(const struct ide_drive *d, enum ide_job job)
{
    if (job == JOB_REPLY)
        return d->kind != IDE_ABSENT;
    bool cd = job == JOB_PACKET || job == JOB_CD_READ || job == JOB_CD_REPLY;
    return d->kind == (cd ? IDE_CDROM : IDE_DISK);
}

/* May the transfer go on? A snapshot file is not trusted. */
static bool is_sound(const struct ide_channel *c)
{
    const struct ide_transfer *t = &c->t;

    if (t->phase >= PHASE_COUNT || t->job >= JOB_COUNT || t->drive > 1 || t->filled > IDE_BUFFER)
        return false;
    if (t->phase == PHASE_IDLE)
        return true;
    if (!fits_drive(&c->drive[t->drive], t->job))
        return false;
    if (t->phase == PHASE_DMA || t->phase == PHASE_STALLED)
        return true;
    if (t->at >= t->end || t->end > IDE_BUFFER || t->block < 2 || t->job == JOB_TRIM)
        return t->job == JOB_PACKET && t->at < t->end && t->end <= IDE_PACKET_BYTES;
    bool out = t->job == JOB_WRITE || t->job == JOB_PACKET;
    if (out != (t->phase == PHASE_OUT))
        return false;
    if (t->job == JOB_WRITE)
        return t->end % IDE_SECTOR == 0 && t->block % IDE_SECTOR == 0 && t->left <= 65536 &&
               t->end <= t->left * IDE_SECTOR;
    return out || t->end <= t->filled;
}

static void check_drive(struct ide_drive *d)
{
    if (!d->heads || d->heads > 16 || !d->track_sectors)
        ide_set_geometry(d);
    if (d->multiple > IDE_MAX_MULTIPLE || (d->multiple & (d->multiple - 1)))
        d->multiple = 0;
}

static void restored(struct device *d)
{
    struct ide *s = container_of(d, struct ide, dev);

    pci_func_restored(&s->func);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        struct ide_channel *c = &s->channel[i];
        check_drive(&c->drive[0]);
        check_drive(&c->drive[1]);
        if (!is_sound(c))
            memset(&c->t, 0, sizeof c->t);
        c->bm.table &= ~3u;
        ide_restore_irq(c);
    }
    take_decoding(s);
    pthread_mutex_unlock(&s->lock);
}

/* clang-format off */
#define DRIVE_STATE(c, n)                                                                          \
    STATE(struct ide, channel[c].drive[n].features), STATE(struct ide, channel[c].drive[n].count), \
    STATE_ARRAY(struct ide, channel[c].drive[n].lba),                                              \
    STATE(struct ide, channel[c].drive[n].old_features),                                           \
    STATE(struct ide, channel[c].drive[n].old_count),                                              \
    STATE_ARRAY(struct ide, channel[c].drive[n].old_lba),                                          \
    STATE(struct ide, channel[c].drive[n].error), STATE(struct ide, channel[c].drive[n].status),   \
    STATE(struct ide, channel[c].drive[n].intrq), STATE(struct ide, channel[c].drive[n].heads),    \
    STATE(struct ide, channel[c].drive[n].track_sectors),                                          \
    STATE(struct ide, channel[c].drive[n].multiple), STATE(struct ide, channel[c].drive[n].mode),  \
    STATE(struct ide, channel[c].drive[n].write_cache),                                            \
    STATE(struct ide, channel[c].drive[n].look_ahead),                                             \
    STATE(struct ide, channel[c].drive[n].smart), STATE(struct ide, channel[c].drive[n].standby),  \
    STATE(struct ide, channel[c].drive[n].sense_key), STATE(struct ide, channel[c].drive[n].asc),  \
    STATE(struct ide, channel[c].drive[n].ascq), STATE(struct ide, channel[c].drive[n].locked),    \
    STATE(struct ide, channel[c].drive[n].tray_open),                                              \
    STATE(struct ide, channel[c].drive[n].attention), STATE(struct ide, channel[c].drive[n].event)
#define CHANNEL_STATE(c)                                                                           \
    DRIVE_STATE(c, 0), DRIVE_STATE(c, 1),                                                          \
    STATE(struct ide, channel[c].device), STATE(struct ide, channel[c].control),                   \
    STATE(struct ide, channel[c].t.phase), STATE(struct ide, channel[c].t.job),                    \
    STATE(struct ide, channel[c].t.drive), STATE(struct ide, channel[c].t.ext),                    \
    STATE(struct ide, channel[c].t.fua), STATE(struct ide, channel[c].t.packet_dma),               \
    STATE(struct ide, channel[c].t.lba), STATE(struct ide, channel[c].t.left),                     \
    STATE(struct ide, channel[c].t.block), STATE(struct ide, channel[c].t.at),                     \
    STATE(struct ide, channel[c].t.end), STATE(struct ide, channel[c].t.filled),                   \
    STATE_ARRAY(struct ide, channel[c].t.buf),                                                     \
    STATE(struct ide, channel[c].bm.command), STATE(struct ide, channel[c].bm.status),             \
    STATE(struct ide, channel[c].bm.table)

static const struct state_field state[] = {
    STATE_ARRAY(struct ide, func.config),
    CHANNEL_STATE(0),
    CHANNEL_STATE(1),
};
/* clang-format on */

static const struct device_ops ops = {
    .name = "piix4-ide",
    .reset = reset,
    .free = release,
    .restored = restored,
    .figures = figures,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

/* ---- drives ---------------------------------------------------------------------------------- */

static void set_medium(struct ide_drive *d, struct block *b)
{
    d->block = b;
    d->sectors = b ? b->info.bytes / (d->kind == IDE_CDROM ? IDE_CD_SECTOR : IDE_SECTOR) : 0;
}

/* The geometry every BIOS takes for large disks. */
static struct ide_geometry geometry_for(uint64_t sectors)
{
    uint64_t cylinders = sectors / (16 * 63);

    cylinders = cylinders < 1 ? 1 : cylinders < 16383 ? cylinders : 16383;
    return (struct ide_geometry){(uint16_t)cylinders, 16, 63};
}

int ide_change_medium(struct device *d, unsigned n, struct block *medium)
{
    struct ide *s = container_of(d, struct ide, dev);

    if (n >= IDE_DRIVES || drive_of(s, n)->kind != IDE_CDROM)
        return -ENOTTY;
    struct ide_drive *drive = drive_of(s, n);
    pthread_mutex_lock(&s->lock);
    struct block *old = drive->block;
    set_medium(drive, NULL);
    pthread_mutex_unlock(&s->lock);
    if (old)
        block_drain(old);
    pthread_mutex_lock(&s->lock);
    set_medium(drive, medium);
    drive->tray_open = 0;
    drive->attention = medium != NULL;
    drive->event = medium ? IDE_EVENT_NEW_MEDIA : IDE_EVENT_REMOVED;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int map_ports(struct ide *s, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < 2 * IDE_CHANNELS && r == 0; i++) {
        unsigned n = i / 2;
        if (i & 1)
            r = bus_map(s->h.pio, ports[n].control, 1, &ide_control_ops, &s->channel[n],
                        ports[n].name, e);
        else
            r = bus_map(s->h.pio, ports[n].command, 8, &ide_command_ops, &s->channel[n],
                        ports[n].name, e);
        s->mapped += r == 0;
    }
    return r;
}

static int check_config(const struct ide_config *config, struct err *e)
{
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        if (config->drive[n].kind == IDE_DISK && !config->drive[n].medium)
            return err_set(e, EINVAL, "ide-no-disk", "IDE drive %u is a disk without an image", n);
    return 0;
}

struct device *ide_new(const struct dev_host *h, struct pci_host *pci, const struct ide_config *c,
                       struct err *e)
{
    struct ide *s;

    if (check_config(c, e) < 0)
        return NULL;
    s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the IDE controller");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "ide"};
    s->h = *h;
    pthread_mutex_init(&s->lock, NULL);
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        struct ide_drive *d = drive_of(s, n);
        d->number = (uint8_t)n;
        d->kind = c->drive[n].kind;
        set_medium(d, c->drive[n].medium);
        d->native = geometry_for(d->sectors);
    }
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        s->channel[i].ide = s;
        s->channel[i].irq = c->irq[i];
    }
    describe_function(s);
    if (pci_add(pci, &s->func, c->slot ? c->slot : 1, 1, e) < 0 || map_ports(s, e) < 0) {
        release(&s->dev);
        return NULL;
    }
    reset(&s->dev);
    return &s->dev;
}
