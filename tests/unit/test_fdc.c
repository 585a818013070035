/* SPDX-License-Identifier: MIT */
/* The floppy controller by script: 82077AA data sheet 290166, and the probes of SeaBIOS and Linux.
 * Drive 0 has a disk of 1.44M, drive 1 one of 720K. Line 6 is its interrupt. */
#include "dev_rig.h"
#include "memory_disk.h"

#include <errno.h>

#include "ring3/devices/fdc.h"
#include "ring3/devices/i8237.h"

#define RAM    MIB
#define MEMORY 0x10000u

enum { DOR = 0x3f2, MSR = 0x3f4, FIFO = 0x3f5, DIR = 0x3f7 };
enum { RQM = 0x80, DIO = 0x40, NDM = 0x20, BUSY = 0x10 };

struct fd_rig {
    struct rig *r;
    struct memory_disk *disk[2];
};

static struct device *make_on(struct rig *r, struct memory_disk *const disk[2])
{
    r->parent = i8237_new(&r->host, NULL);
    assert_non_null(r->parent);
    struct fdc_config c = {.irq = rig_line(r, 6), .dma = r->parent};
    for (unsigned i = 0; i < 2; i++) {
        c.drive[i].present = true;
        c.drive[i].medium = &disk[i]->block;
    }
    struct device *d = fdc_new(&r->host, &c, NULL);
    assert_non_null(d);
    return d;
}

static struct fd_rig fd_new(void)
{
    struct fd_rig s = {.r = rig_new()};
    s.r->host.mem = phys_new(RAM, NULL);
    assert_int_equal(phys_map_ram(s.r->host.mem, 0, 0, RAM, NULL), 0);
    s.disk[0] = memory_disk_new(1440 * KIB);
    s.disk[1] = memory_disk_new(720 * KIB);
    s.r->d = make_on(s.r, s.disk);
    out8(s.r, DOR, 0x3c); /* both motors, drive 0 */
    return s;
}

static void fd_free(struct fd_rig *s)
{
    struct phys *mem = s->r->host.mem;
    rig_free(s->r);
    block_free(&s->disk[0]->block);
    block_free(&s->disk[1]->block);
    phys_free(mem);
}

static void send(struct rig *r, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(in8(r, MSR) & (RQM | DIO), RQM);
        out8(r, FIFO, bytes[i]);
    }
}
#define SEND(r, ...) send(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void expect(struct rig *r, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(in8(r, MSR), RQM | DIO | BUSY);
        uint8_t got = in8(r, FIFO);
        if (got != bytes[i])
            fail_msg("result byte %u is %02x, not %02x", i, got, bytes[i]);
    }
    assert_int_equal(in8(r, MSR), RQM);
}
#define EXPECT(r, ...)                                                                             \
    expect(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* The DMA channel, as programs do it: mode 0x46 to memory, 0x4a from memory. */
static void dma(struct rig *r, unsigned mode, uint32_t at, unsigned bytes)
{
    out8(r, 0x0a, 6);
    out8(r, 0x0b, mode);
    out8(r, 0x0c, 0);
    out8(r, 0x04, at & 0xff);
    out8(r, 0x04, at >> 8 & 0xff);
    out8(r, 0x81, at >> 16);
    out8(r, 0x05, (bytes - 1) & 0xff);
    out8(r, 0x05, (bytes - 1) >> 8);
    out8(r, 0x0a, 2);
}

static void seek(struct rig *r, unsigned drive, unsigned cylinder)
{
    SEND(r, 0x0f, (uint8_t)drive, (uint8_t)cylinder);
    SEND(r, 0x08);
    EXPECT(r, 0x20 | drive, cylinder);
}

static uint8_t buf[64 * KIB];

static void check_memory(struct rig *r, unsigned lba, unsigned bytes)
{
    phys_read(r->host.mem, MEMORY, buf, bytes);
    for (unsigned i = 0; i < bytes; i++)
        if (buf[i] != memory_disk_byte(lba + i / 512, i % 512))
            fail_msg("byte %u is %02x", i, buf[i]);
}

static void reset_is_told_by_four_senses(void **state)
{
    struct fd_rig s = fd_new();
    out8(s.r, DOR, 0x08);
    assert_int_equal(in8(s.r, MSR), 0);
    assert_string_equal(rig_trace(s.r), "");
    out8(s.r, DOR, 0x0c);
    assert_string_equal(rig_trace(s.r), "+6 ");
    for (unsigned i = 0; i < 4; i++) {
        SEND(s.r, 0x08);
        EXPECT(s.r, 0xc0 | i, 0);
    }
    assert_string_equal(rig_trace(s.r), "-6 ");
    SEND(s.r, 0x08);
    EXPECT(s.r, 0x80);
    out8(s.r, MSR, 0x80); /* by the data rate register: comes out by itself */
    assert_string_equal(rig_trace(s.r), "+6 ");
    out8(s.r, DOR, 0x04); /* the gate */
    assert_string_equal(rig_trace(s.r), "-6 ");
    fd_free(&s);
}

/* Linux tells an 82077AA from others by these. */
static void identity_of_the_chip(void **state)
{
    struct fd_rig s = fd_new();
    SEND(s.r, 0x13, 0, 0x57, 5); /* CONFIGURE */
    SEND(s.r, 0x0e);
    EXPECT(s.r, 0, 0, 0, 0, 0, 0, 0, 0, 0x57, 5);
    SEND(s.r, 0x12, 0x88); /* PERPENDICULAR, overwriting */
    SEND(s.r, 0x94);       /* LOCK */
    EXPECT(s.r, 0x10);
    out8(s.r, MSR, 0x80);
    SEND(s.r, 0x0e);
    EXPECT(s.r, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x57, 5);
    SEND(s.r, 0x14);
    EXPECT(s.r, 0);
    out8(s.r, MSR, 0x80);
    SEND(s.r, 0x0e);
    EXPECT(s.r, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x20, 0);
    SEND(s.r, 0x10);
    EXPECT(s.r, 0x90);
    SEND(s.r, 0x18); /* PART ID came later */
    EXPECT(s.r, 0x80);
    SEND(s.r, 0x11 | 0x40); /* SCAN EQUAL is not built */
    EXPECT(s.r, 0x80);
    fd_free(&s);
}

static void heads_seek(void **state)
{
    struct fd_rig s = fd_new();
    assert_int_equal(in8(s.r, DIR), 0x80); /* since power on */
    rig_trace(s.r);
    SEND(s.r, 0x0f, 0, 40);
    assert_string_equal(rig_trace(s.r), "+6 ");
    SEND(s.r, 0x08);
    assert_string_equal(rig_trace(s.r), "-6 ");
    EXPECT(s.r, 0x20, 40);
    assert_int_equal(in8(s.r, DIR), 0); /* a step clears the change line */
    SEND(s.r, 0x8f, 0, 10);             /* relative, in and out */
    SEND(s.r, 0xcf, 1, 3);
    SEND(s.r, 0x08);
    EXPECT(s.r, 0x20, 30);
    SEND(s.r, 0x08);
    EXPECT(s.r, 0x21, 3);
    SEND(s.r, 0x04, 1);
    EXPECT(s.r, 0x29);
    SEND(s.r, 0x07, 1);
    SEND(s.r, 0x08);
    EXPECT(s.r, 0x21, 0);
    SEND(s.r, 0x04, 5);
    EXPECT(s.r, 0x3d); /* track 0 */
    seek(s.r, 0, 85);
    SEND(s.r, 0x07, 0); /* 79 steps do not get there */
    SEND(s.r, 0x08);
    EXPECT(s.r, 0x70, 6);
    SEND(s.r, 0x07, 2); /* no such drive */
    SEND(s.r, 0x08);
    EXPECT(s.r, 0x72, 0);
    fd_free(&s);
}

static void reads_by_dma(void **state)
{
    struct fd_rig s = fd_new();
    dma(s.r, 0x46, MEMORY, 3 * 512);
    rig_trace(s.r);
    SEND(s.r, 0xe6, 0, 0, 0, 5, 2, 18, 0x1b, 0xff);
    assert_string_equal(rig_trace(s.r), "+6 ");
    assert_int_equal(in8(s.r, FIFO), 0);
    assert_string_equal(rig_trace(s.r), "-6 "); /* by the first byte of the result */
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(in8(s.r, FIFO), ((uint8_t[]){0, 0, 0, 0, 8, 2})[i]);
    check_memory(s.r, 4, 3 * 512);
    assert_int_equal(in8(s.r, 8) & 0x0f, 4);
    seek(s.r, 0, 2);
    dma(s.r, 0x46, MEMORY, 20 * 512); /* over the end of head 0: multi-track */
    SEND(s.r, 0xe6, 0, 2, 0, 9, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 4, 0, 0, 2, 1, 11, 2);
    check_memory(s.r, 2 * 36 + 8, 20 * 512);
    dma(s.r, 0x46, MEMORY, 18 * 512); /* the last sector with terminal count: no error */
    SEND(s.r, 0x46, 4, 2, 1, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 4, 0, 0, 3, 1, 1, 2);
    dma(s.r, 0x46, MEMORY, 700); /* half a sector */
    SEND(s.r, 0x46, 0, 2, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0, 0, 0, 2, 0, 3, 2);
    dma(s.r, 0x46, MEMORY, 10 * 512); /* without terminal count: end of cylinder */
    SEND(s.r, 0x46, 0, 2, 0, 17, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 0x80, 0, 3, 0, 1, 2);
    dma(s.r, 0x46, MEMORY, 10 * 512); /* EOT is not on the disk */
    SEND(s.r, 0x46, 0, 2, 0, 17, 2, 20, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 0x04, 0, 2, 0, 19, 2);
    fd_free(&s);
}

static void writes_by_dma(void **state)
{
    struct fd_rig s = fd_new();
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)(i * 11 + i / 512);
    phys_write(s.r->host.mem, MEMORY, buf, 40 * 512);
    dma(s.r, 0x4a, MEMORY, 36 * 512);
    SEND(s.r, 0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 4, 0, 0, 1, 0, 1, 2);
    assert_memory_equal(s.disk[0]->bytes, buf, 36 * 512);
    assert_string_equal(memory_disk_trace(s.disk[0]), "w0+18 w18+18 ");
    dma(s.r, 0x4a, MEMORY, 100); /* a part of a sector: zeros follow */
    SEND(s.r, 0x45, 0, 0, 0, 18, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0, 0, 0, 1, 0, 1, 2);
    assert_memory_equal(s.disk[0]->bytes + 17 * 512, buf, 100);
    assert_int_equal(s.disk[0]->bytes[17 * 512 + 100], 0);
    assert_memory_equal(s.disk[0]->bytes + 18 * 512, buf + 18 * 512, 512);
    s.disk[0]->block.info.read_only = true;
    SEND(s.r, 0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 0x02, 0, 0, 0, 1, 2);
    SEND(s.r, 0x04, 0);
    EXPECT(s.r, 0x78);
    fd_free(&s);
}

static void sectors_that_are_not_found(void **state)
{
    static const struct {
        uint8_t command[9], st1, st2;
    } cases[] = {
        {{0x46, 0, 1, 0, 1, 2, 18}, 0x04, 0x10},    /* another cylinder */
        {{0x46, 0, 0xff, 0, 1, 2, 18}, 0x04, 0x02}, /* a bad one */
        {{0x46, 0, 0, 1, 1, 2, 18}, 0x04, 0},       /* another head */
        {{0x46, 0, 0, 0, 19, 2, 19}, 0x04, 0},      /* no such sector */
        {{0x46, 0, 0, 0, 0, 2, 18}, 0x04, 0},
        {{0x46, 0, 0, 0, 1, 3, 18}, 0x04, 0}, /* of another size */
        {{0x06, 0, 0, 0, 1, 2, 18}, 0x01, 0}, /* FM */
        {{0x46, 1, 0, 0, 1, 2, 9}, 0x01, 0},  /* 720K at the wrong data rate */
        {{0x46, 2, 0, 0, 1, 2, 9}, 0x01, 0},  /* no drive */
    };
    struct fd_rig s = fd_new();
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        dma(s.r, 0x46, MEMORY, 512);
        const uint8_t *c = cases[i].command;
        send(s.r, c, 9);
        EXPECT(s.r, 0x40 | c[1], cases[i].st1, cases[i].st2, c[2], 0, c[4], 2);
    }
    out8(s.r, DIR, 2); /* 250 kbit/s */
    dma(s.r, 0x46, MEMORY, 512);
    SEND(s.r, 0x46, 1, 0, 0, 9, 2, 9, 0x1b, 0xff);
    EXPECT(s.r, 1, 0, 0, 1, 0, 1, 2);
    check_memory(s.r, 8, 512);
    out8(s.r, DIR, 0);
    out8(s.r, DOR, 0x0c); /* motor off */
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 1, 0, 0, 0, 1, 2);
    out8(s.r, DOR, 0x1c);
    seek(s.r, 0, 80);
    SEND(s.r, 0x46, 0, 80, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 1, 0, 80, 0, 1, 2);
    SEND(s.r, 0x13, 0, 0x40, 0); /* implied seeks */
    dma(s.r, 0x46, MEMORY, 512);
    SEND(s.r, 0x46, 0, 7, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0, 0, 0, 7, 0, 2, 2);
    check_memory(s.r, 7 * 36, 512);
    s.disk[0]->fail = -EIO;
    SEND(s.r, 0x46, 0, 7, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 0x20, 0x20, 7, 0, 1, 2);
    fd_free(&s);
}

static void reads_and_writes_byte_by_byte(void **state)
{
    struct fd_rig s = fd_new();
    SEND(s.r, 0x03, 0xdf, 0x03); /* SPECIFY: without DMA */
    rig_trace(s.r);
    SEND(s.r, 0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    for (unsigned i = 0; i < 1024; i++) {
        assert_int_equal(in8(s.r, MSR), RQM | DIO | NDM | BUSY);
        assert_int_equal(s.r->level[6], 1);
        assert_int_equal(in8(s.r, FIFO), memory_disk_byte(16 + i / 512, i % 512));
    }
    EXPECT(s.r, 0x40, 0x80, 0, 1, 0, 1, 2); /* nothing gives terminal count */
    SEND(s.r, 0x45, 0, 0, 0, 3, 2, 18, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(in8(s.r, MSR), RQM | NDM | BUSY);
        out8(s.r, FIFO, i * 9);
    }
    assert_string_equal(memory_disk_trace(s.disk[0]), "r16+2 w2+1 ");
    assert_int_equal(s.disk[0]->bytes[1024 + 20], 180);
    rig_advance(s.r, 49 * 1000 * 1000);
    assert_int_equal(in8(s.r, MSR), RQM | NDM | BUSY);
    rig_advance(s.r, 2 * 1000 * 1000); /* too late */
    EXPECT(s.r, 0x40, 0x10, 0, 0, 0, 4, 2);
    fd_free(&s);
}

static void dma_that_comes_late(void **state)
{
    struct fd_rig s = fd_new();
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    assert_int_equal(in8(s.r, MSR), BUSY);
    assert_int_equal(in8(s.r, 8), 0x40); /* it asks */
    dma(s.r, 0x46, MEMORY, 512);
    EXPECT(s.r, 0, 0, 0, 0, 0, 2, 2);
    assert_int_equal(in8(s.r, 8), 0x04);
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff); /* masked since terminal count */
    rig_advance(s.r, 51 * 1000 * 1000);
    EXPECT(s.r, 0x40, 0x10, 0, 0, 0, 1, 2);
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    out8(s.r, DOR, 0x30); /* a reset in the middle */
    out8(s.r, DOR, 0x3c);
    assert_int_equal(in8(s.r, MSR), RQM);
    assert_int_equal(in8(s.r, 8), 0);
    fd_free(&s);
}

static void formats_a_track(void **state)
{
    struct fd_rig s = fd_new();
    seek(s.r, 0, 3);
    for (unsigned i = 0; i < 18; i++) { /* two to one */
        const uint8_t id[4] = {3, 1, (uint8_t)(i % 2 * 9 + i / 2 + 1), 2};
        phys_write(s.r->host.mem, MEMORY + 4 * i, id, 4);
    }
    dma(s.r, 0x4a, MEMORY, 72);
    SEND(s.r, 0x4d, 4, 2, 18, 0x6c, 0xf6);
    EXPECT(s.r, 4, 0, 0, 3, 1, 1, 2);
    assert_string_equal(memory_disk_trace(s.disk[0]), "w126+18 ");
    assert_int_equal(s.disk[0]->bytes[126 * 512], 0xf6);
    assert_int_equal(s.disk[0]->bytes[144 * 512 - 1], 0xf6);
    phys_write(s.r->host.mem, MEMORY, "\3\1\2\2", 4); /* sector 2 twice, 1 missing */
    dma(s.r, 0x4a, MEMORY, 72);
    SEND(s.r, 0x4d, 4, 2, 18, 0x6c, 0xf6);
    EXPECT(s.r, 0x44, 4, 0, 3, 1, 1, 2);
    SEND(s.r, 0x4d, 4, 3, 9, 0x6c, 0xf6); /* 1024 bytes a sector */
    EXPECT(s.r, 0x44, 4, 0, 3, 1, 1, 2);
    assert_string_equal(memory_disk_trace(s.disk[0]), "");
    fd_free(&s);
}

static void small_data_commands(void **state)
{
    struct fd_rig s = fd_new();
    for (unsigned i = 0; i < 19; i++) { /* READ ID sees one after the other */
        SEND(s.r, 0x4a, 0);
        EXPECT(s.r, 0, 0, 0, 0, 0, i % 18 + 1, 2);
    }
    SEND(s.r, 0x4a, 1);
    EXPECT(s.r, 0x41, 1, 0, 0, 0, 1, 2);
    SEND(s.r, 0x56, 0, 0, 0, 2, 2, 18, 0x1b, 0xff); /* VERIFY */
    EXPECT(s.r, 0, 0, 0, 1, 0, 1, 2);
    SEND(s.r, 0x56, 0x80, 0, 0, 2, 2, 18, 0x1b, 20);
    EXPECT(s.r, 0x40, 4, 0, 1, 0, 1, 2);
    dma(s.r, 0x46, MEMORY, 4 * 512);
    SEND(s.r, 0x42, 0, 0, 0, 9, 2, 4, 0x1b, 0xff); /* READ TRACK: from the first on */
    EXPECT(s.r, 0, 0, 0, 1, 0, 1, 2);
    check_memory(s.r, 0, 4 * 512);
    SEND(s.r, 0x4c, 0, 0, 0, 9, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0, 0, 0x40, 0, 0, 10, 2);
    fd_free(&s);
}

static void a_reset_waits_for_the_image(void **state)
{
    struct fd_rig s = fd_new();
    s.disk[0]->hold = true;
    dma(s.r, 0x46, MEMORY, 512);
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    assert_int_equal(in8(s.r, MSR), BUSY);
    out8(s.r, DOR, 0x30);
    out8(s.r, DOR, 0x3c);
    assert_int_equal(in8(s.r, MSR), 0);
    memory_disk_finish(s.disk[0]);
    assert_int_equal(in8(s.r, MSR), RQM);
    SEND(s.r, 0x08);
    EXPECT(s.r, 0xc0, 0);
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    memory_disk_finish(s.disk[0]);
    EXPECT(s.r, 0, 0, 0, 0, 0, 2, 2);
    SEND(s.r, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    s.r->d->ops->reset(s.r->d);
    assert_null(s.disk[0]->held);
    assert_int_equal(in8(s.r, MSR), RQM);
    fd_free(&s);
}

static void disks_come_and_go(void **state)
{
    struct fd_rig s = fd_new();
    struct memory_disk *other = memory_disk_new(1440 * KIB), *odd = memory_disk_new(1000 * KIB);
    seek(s.r, 0, 5);
    assert_int_equal(in8(s.r, DIR), 0);
    assert_int_equal(fdc_change_medium(s.r->d, 0, NULL), 0);
    assert_int_equal(in8(s.r, DIR), 0x80);
    seek(s.r, 0, 6);
    assert_int_equal(in8(s.r, DIR), 0x80); /* a step does not help without a disk */
    SEND(s.r, 0x46, 0, 6, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(s.r, 0x40, 1, 0, 6, 0, 1, 2);
    assert_int_equal(fdc_change_medium(s.r->d, 0, &odd->block), -EINVAL);
    assert_int_equal(fdc_change_medium(s.r->d, 2, &other->block), -ENOTTY);
    assert_int_equal(fdc_change_medium(s.r->d, 0, &other->block), 0);
    assert_int_equal(in8(s.r, DIR), 0x80);
    seek(s.r, 0, 5);
    assert_int_equal(in8(s.r, DIR), 0);
    assert_int_equal(fdc_drive_type(s.r->d, 0), 4);
    assert_int_equal(fdc_drive_type(s.r->d, 1), 3);
    assert_int_equal(fdc_drive_type(s.r->d, 2), 0);
    struct fdc_config c = {.irq = rig_line(s.r, 6), .dma = s.r->parent};
    c.drive[0].present = true;
    c.drive[0].medium = &odd->block;
    struct err e;
    assert_null(fdc_new(&s.r->host, &c, &e));
    assert_string_equal(e.id, "floppy-size");
    fd_free(&s);
    block_free(&other->block);
    block_free(&odd->block);
}

/* ---- twins ---- */

static struct memory_disk *shared[2];
static struct phys *shared_mem;

static struct device *make_twin(struct rig *r)
{
    r->host.mem = shared_mem;
    return make_on(r, shared);
}

static void give(struct rig *r, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n && (in8(r, MSR) & (RQM | DIO)) == RQM; i++)
        out8(r, FIFO, bytes[i]);
}

/* A data command that works, with or without DMA, for other steps to carry on. */
static void begin_transfer(struct rig *r, uint64_t random)
{
    static const uint8_t commands[] = {0xe6, 0x46, 0x45, 0xc5, 0x4d, 0x66, 0x45, 0x42};
    uint8_t unit = random & 1, head = random >> 1 & 1, cylinder = random >> 2 & 3;
    uint8_t command = commands[random >> 4 & 7];
    out8(r, DOR, 0x3c | unit);
    out8(r, DIR, unit ? 2 : 0);
    for (unsigned i = 0; i < 10; i++) /* out of a result phase */
        in8(r, FIFO);
    give(r, (uint8_t[]){0x03, 0xdf, random >> 8 & 1}, 3);
    give(r, (uint8_t[]){0x0f, unit, cylinder}, 3);
    if (command == 0x4d)
        give(r, (uint8_t[]){command, (uint8_t)(unit | head << 2), 2, unit ? 9 : 18, 0x1b, 0xf6}, 6);
    else
        give(r,
             (uint8_t[]){command, (uint8_t)(unit | head << 2), cylinder, head,
                         1 + (random >> 16 & 7), 2, unit ? 9 : 18, 0x1b, 0xff},
             9);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    static const uint8_t commands[] = {0x4a, 0x0f, 0x07, 0x08, 0x03, 0x13, 0x0e, 0x56, 0x94, 0x04};
    uint64_t seen = 0;
    switch (random & 7) {
    case 0:
        dma(r, random >> 41 & 1 ? 0x46 : 0x4a, MEMORY, 1 + (random >> 42 & 4095));
        return in8(r, MSR);
    case 1:
        give(
            r,
            (uint8_t[]){commands[(random >> 4 & 15) % 10], random >> 16 & 5, random >> 8 & 0x41, 0},
            1 + (random >> 20 & 3));
        return in8(r, MSR);
    case 2:
    case 3:
        begin_transfer(r, random >> 8);
        return in8(r, MSR);
    case 4:
        for (unsigned i = 0; i < (random >> 8 & 511); i++)
            out8(r, FIFO, i * 3);
        return in8(r, MSR);
    default:
        for (unsigned i = 0; i < (random >> 8 & 255); i++)
            seen = seen * 31 + in8(r, FIFO);
        return seen << 8 | in8(r, MSR);
    }
}

static void state_table_is_complete(void **state)
{
    static const uint16_t ports[] = {DOR, 0x3f3, MSR, FIFO, FIFO, DIR, 0x3f3, 0x3f0};
    struct rig_fuzz f = {make_twin, ports, ARRAY_LEN(ports), 100000000, poke};
    shared[0] = memory_disk_new(1440 * KIB);
    shared[1] = memory_disk_new(720 * KIB);
    shared_mem = phys_new(RAM, NULL);
    assert_int_equal(phys_map_ram(shared_mem, 0, 0, RAM, NULL), 0);
    rig_fuzz(&f);
    block_free(&shared[0]->block);
    block_free(&shared[1]->block);
    phys_free(shared_mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_is_told_by_four_senses),
        cmocka_unit_test(identity_of_the_chip),
        cmocka_unit_test(heads_seek),
        cmocka_unit_test(reads_by_dma),
        cmocka_unit_test(writes_by_dma),
        cmocka_unit_test(sectors_that_are_not_found),
        cmocka_unit_test(reads_and_writes_byte_by_byte),
        cmocka_unit_test(dma_that_comes_late),
        cmocka_unit_test(formats_a_track),
        cmocka_unit_test(small_data_commands),
        cmocka_unit_test(a_reset_waits_for_the_image),
        cmocka_unit_test(disks_come_and_go),
        cmocka_unit_test(state_table_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
