/* SPDX-License-Identifier: MIT */
/* A bench with an IDE controller: drive 0 a disk of 2000 sectors, drive 1 one of 300, drive 2 a CD
 * of 100 sectors, drive 3 absent. 1 MiB of memory; bus master registers at BM. Lines 14 and 15. */
#ifndef RING3_TESTS_IDE_RIG_H
#define RING3_TESTS_IDE_RIG_H

#include "dev_rig.h"
#include "memory_disk.h"

#include <errno.h>

#include "ring3/devices/ide.h"

#define BM       0xc000u
#define TABLE    0x1000u /* where the tests put descriptor tables */
#define RAM      MIB
#define SECTORS0 2000u
#define SECTORS1 300u
#define CD_BYTES (100 * 2048u)

enum { DATA, ERROR, COUNT, LBA0, LBA1, LBA2, DEVICE, STATUS, FEATURES = 1, COMMAND = 7 };
enum { ERR = 0x01, DRQ = 0x08, DF = 0x20, READY = 0x50, BSY = 0x80 }; /* READY: DRDY, DSC */
enum { ABRT = 0x04, IDNF = 0x10, UNC = 0x40 };

struct ide_rig {
    struct rig *r;
    struct memory_disk *disk[3];
};

static inline void cfg_write(struct rig *r, unsigned at, unsigned size, uint32_t value)
{
    bus_write(r->host.pio, 0xcf8, 4, 0x80000900u | (at & 0xfc)); /* 00:01.1 */
    bus_write(r->host.pio, 0xcfc + (at & 3), size, value);
}
static inline uint32_t cfg_read(struct rig *r, unsigned at, unsigned size)
{
    bus_write(r->host.pio, 0xcf8, 4, 0x80000900u | (at & 0xfc));
    return (uint32_t)bus_read(r->host.pio, 0xcfc + (at & 3), size);
}

/* On a bench that has memory already. */
static inline struct device *ide_rig_device(struct rig *r, struct memory_disk *const disk[3])
{
    struct ide_config c = {.irq = {rig_line(r, 14), rig_line(r, 15)}};
    r->parent = pci_host_new(&r->host, (struct irq_line){0}, NULL);
    assert_non_null(r->parent);
    c.drive[0].kind = c.drive[1].kind = IDE_DISK;
    c.drive[2].kind = IDE_CDROM;
    for (unsigned i = 0; i < 3; i++)
        c.drive[i].medium = &disk[i]->block;
    struct device *d = ide_new(&r->host, pci_host_of(r->parent), &c, NULL);
    assert_non_null(d);
    cfg_write(r, 0x20, 4, BM);
    return d;
}

static inline void ide_rig_disks(struct memory_disk *disk[3])
{
    disk[0] = memory_disk_new(SECTORS0 * 512);
    disk[1] = memory_disk_new(SECTORS1 * 512);
    disk[2] = memory_disk_new(CD_BYTES);
}

static inline struct ide_rig ide_rig_new(void)
{
    struct ide_rig s = {.r = rig_new()};
    s.r->host.mem = phys_new(RAM, NULL);
    assert_non_null(s.r->host.mem);
    assert_int_equal(phys_map_ram(s.r->host.mem, 0, 0, RAM, NULL), 0);
    ide_rig_disks(s.disk);
    s.r->d = ide_rig_device(s.r, s.disk);
    return s;
}

static inline void ide_rig_free(struct ide_rig *s)
{
    struct phys *mem = s->r->host.mem;
    rig_free(s->r);
    for (unsigned i = 0; i < 3; i++)
        block_free(&s->disk[i]->block);
    phys_free(mem);
}

/* ---- registers: drives 0 to 3 ---- */

static inline unsigned ide_base(unsigned drive)
{
    return drive < 2 ? 0x1f0 : 0x170;
}
static inline void ide_select(struct rig *r, unsigned drive, unsigned more)
{
    out8(r, ide_base(drive) + DEVICE, 0xa0 | (drive & 1) << 4 | more);
}
static inline uint8_t ide_status(struct rig *r, unsigned drive)
{
    return in8(r, ide_base(drive) + STATUS);
}
static inline uint8_t ide_alternate(struct rig *r, unsigned drive)
{
    return in8(r, ide_base(drive) + 0x206);
}
static inline uint8_t ide_reg(struct rig *r, unsigned drive, unsigned reg)
{
    return in8(r, ide_base(drive) + reg);
}
/* A 28-bit command. */
static inline void ide_command(struct rig *r, unsigned drive, unsigned command, uint32_t lba,
                               unsigned count)
{
    unsigned base = ide_base(drive);
    ide_select(r, drive, 0x40 | lba >> 24);
    out8(r, base + COUNT, count);
    out8(r, base + LBA0, lba & 0xff);
    out8(r, base + LBA1, lba >> 8 & 0xff);
    out8(r, base + LBA2, lba >> 16 & 0xff);
    out8(r, base + COMMAND, command);
}
/* A 48-bit command. */
static inline void ide_command_ext(struct rig *r, unsigned drive, unsigned command, uint64_t lba,
                                   unsigned count)
{
    unsigned base = ide_base(drive);
    ide_select(r, drive, 0x40);
    out8(r, base + COUNT, count >> 8 & 0xff);
    for (unsigned i = 0; i < 3; i++)
        out8(r, base + LBA0 + i, lba >> (24 + 8 * i) & 0xff);
    out8(r, base + COUNT, count & 0xff);
    for (unsigned i = 0; i < 3; i++)
        out8(r, base + LBA0 + i, lba >> 8 * i & 0xff);
    out8(r, base + COMMAND, command);
}
static inline void ide_feature(struct rig *r, unsigned drive, unsigned feature, unsigned count)
{
    out8(r, ide_base(drive) + FEATURES, feature);
    ide_command(r, drive, 0xef, 0, count);
}
static inline void ide_read_data(struct rig *r, unsigned drive, void *to, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2) {
        uint16_t v = (uint16_t)bus_read(r->host.pio, ide_base(drive), 2);
        memcpy((uint8_t *)to + i, &v, bytes - i < 2 ? bytes - i : 2);
    }
}
static inline void ide_write_data(struct rig *r, unsigned drive, const void *from, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2) {
        uint16_t v = 0;
        memcpy(&v, (const uint8_t *)from + i, bytes - i < 2 ? bytes - i : 2);
        bus_write(r->host.pio, ide_base(drive), 2, v);
    }
}

/* ---- the bus master: channel 0 or 1 ---- */

static inline void prd(struct rig *r, unsigned n, uint32_t gpa, uint32_t bytes, bool last)
{
    uint32_t entry[2] = {gpa, (bytes & 0xffff) | (last ? 0x80000000u : 0)};
    assert_int_equal(phys_write(r->host.mem, TABLE + 8 * n, entry, sizeof entry), 0);
}
static inline uint8_t bm_status(struct rig *r, unsigned channel)
{
    return in8(r, BM + 8 * channel + 2);
}
static inline void bm_prepare(struct rig *r, unsigned channel)
{
    out8(r, BM + 8 * channel, 0);
    out8(r, BM + 8 * channel + 2, 0x66);
    bus_write(r->host.pio, BM + 8 * channel + 4, 4, TABLE);
}
static inline void bm_start(struct rig *r, unsigned channel, bool to_memory)
{
    out8(r, BM + 8 * channel, to_memory ? 9 : 1);
}

#endif
