/* SPDX-License-Identifier: MIT */
/* Whole machines of the board "pc" for tests of snapshots: no kernel, no threads, virtual time;
 * random accesses to registers of all their devices. */
#ifndef RING3_TESTS_SNAPSHOT_RIG_H
#define RING3_TESTS_SNAPSHOT_RIG_H

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "board/boards.h"
#include "engine/engines.h"
#include "isa/x86/x86.h"
#include "ring3/snapshot.h"

#define MACHINE_RAM   (4 * MIB)
#define MACHINE_DISKS 4

/* Where a machine's files are; the test deletes them. */
struct machine_files {
    char disk[MACHINE_DISKS][64], snapshot[64];
};

static inline void machine_files_make(struct machine_files *f)
{
    static const uint64_t bytes[MACHINE_DISKS] = {4 * MIB, 3 * MIB, 1440 * KIB, 2 * MIB};
    for (unsigned i = 0; i < MACHINE_DISKS; i++) {
        strcpy(f->disk[i], "/tmp/ring3-test-disk.XXXXXX");
        int fd = mkstemp(f->disk[i]);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)bytes[i]), 0);
        close(fd);
    }
    strcpy(f->snapshot, "/tmp/ring3-test-snap.XXXXXX");
    int fd = mkstemp(f->snapshot);
    assert_true(fd >= 0);
    close(fd);
}

static inline void machine_files_remove(const struct machine_files *f)
{
    for (unsigned i = 0; i < MACHINE_DISKS; i++)
        unlink(f->disk[i]);
    unlink(f->snapshot);
}

/* Every kind of drive and network card that the board has. `restoring`: no firmware starts. */
static inline struct vm_config machine_config(const struct machine_files *f)
{
    struct vm_config c = {.board = &pc_board,
                          .engine = &interp_engine,
                          .clock = CLOCK_VIRTUAL,
                          .ram_bytes = MACHINE_RAM,
                          .append = "",
                          .restoring = true};
    static const struct drive_config drives[] = {
        {.interface = DRIVE_VIRTIO},
        {.interface = DRIVE_IDE},
        {.interface = DRIVE_FLOPPY},
        {.interface = DRIVE_IDE, .cdrom = true},
    };
    for (unsigned i = 0; i < ARRAY_LEN(drives); i++) {
        c.drive[c.drives] = drives[i];
        c.drive[c.drives].image.file = f->disk[i];
        c.drive[c.drives].image.snapshot = i == 0; /* two machines have it open */
        c.drive[c.drives++].image.read_only = i != 0;
    }
    static const char *const cards[] = {"e1000", "rtl8139", "ne2k", "virtio"};
    for (unsigned i = 0; i < ARRAY_LEN(cards); i++)
        c.nic[c.nics++] = (struct nic_config){
            .model = cards[i], .backend = "none", .mac = {2, 0, 0, 0, 0, (uint8_t)i}};
    c.display = true;
    c.extras = VM_RNG | VM_BALLOON | VM_CONSOLE;
    return c;
}

static inline void machine_build(struct vm *vm, const struct vm_config *c)
{
    struct err e = {0};
    if (vm_build(vm, c, (struct log){LOG_ERROR, STDERR_FILENO}, NULL, &e) < 0)
        fail_msg("[%s] %s", e.id, e.text);
}

static inline void machine_save(struct vm *vm, const char *path)
{
    struct err e = {0};
    vm_pause(vm);
    if (snapshot_save(vm, path, NULL, &e) < 0)
        fail_msg("[%s] %s", e.id, e.text);
    vm_resume(vm);
}

/* The snapshot stays open: it has the configuration's strings. */
static inline struct snapshot *machine_restore(struct vm *vm, const char *path)
{
    struct err e = {0};
    struct vm_config c = {.board = &pc_board, .engine = &interp_engine};
    struct snapshot *s = snapshot_open(path, &e);
    if (!s || snapshot_config(s, &c, true, &e) < 0)
        fail_msg("[%s] %s", e.id, e.text);
    machine_build(vm, &c);
    if (snapshot_restore(s, vm, &e) < 0)
        fail_msg("[%s] %s", e.id, e.text);
    return s;
}

static inline uint64_t machine_random(uint64_t *seed) /* splitmix64 */
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A configuration register of a function of bus 0. */
static inline uint32_t machine_pci_read(struct vm *vm, unsigned devfn, unsigned at)
{
    bus_write(vm->pio, 0xcf8, 4, 0x80000000u | devfn << 8 | (at & 0xfc));
    return (uint32_t)bus_read(vm->pio, 0xcfc, 4);
}
static inline void machine_pci_write(struct vm *vm, unsigned devfn, unsigned at, uint32_t value)
{
    bus_write(vm->pio, 0xcf8, 4, 0x80000000u | devfn << 8 | (at & 0xfc));
    bus_write(vm->pio, 0xcfc, 4, value);
}

#define MACHINE_IO_BASE  0xc000u
#define MACHINE_MEM_BASE 0xe0000000u
#define MACHINE_BARS     64

/* What can be reached, besides fixed ports. */
struct machine_map {
    unsigned functions, bars;
    uint8_t devfn[MACHINE_BARS];
    struct machine_bar {
        uint32_t base, len;
        bool io;
    } bar[MACHINE_BARS];
};

static inline void machine_place_bar(struct vm *vm, struct machine_map *m, unsigned devfn,
                                     unsigned at, uint32_t next[2])
{
    machine_pci_write(vm, devfn, at, UINT32_MAX);
    uint32_t size = machine_pci_read(vm, devfn, at);
    bool io = size & 1;
    uint32_t len = 0u - (size & ~(io ? 3u : 15u));
    if (!size || m->bars == MACHINE_BARS)
        return;
    next[io] = (next[io] + len - 1) & (0u - len);
    machine_pci_write(vm, devfn, at, next[io]);
    m->bar[m->bars++] = (struct machine_bar){next[io], len, io};
    next[io] += len;
}

/* Give every BAR of every function a place and switch decoding and bus mastering on. */
static inline void machine_place_bars(struct vm *vm, struct machine_map *m)
{
    uint32_t next[2] = {MACHINE_MEM_BASE, MACHINE_IO_BASE};
    *m = (struct machine_map){0};
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if ((machine_pci_read(vm, devfn, 0) & 0xffff) == 0xffff || m->functions == MACHINE_BARS)
            continue;
        m->devfn[m->functions++] = (uint8_t)devfn;
        for (unsigned at = 0x10; at < 0x28; at += 4)
            machine_place_bar(vm, m, devfn, at, next);
        machine_pci_write(vm, devfn, 4, 7);
    }
}

static inline unsigned machine_any_port(uint64_t random)
{
    static const struct {
        uint16_t first, count;
    } ranges[] = {{0x00, 0x20},
                  {0x20, 2},
                  {0x40, 4},
                  {0x60, 2},
                  {0x70, 2},
                  {0x80, 0x10},
                  {0xa0, 2},
                  {0xc0, 0x20},
                  {0x170, 8},
                  {0x1f0, 8},
                  {0x376, 1},
                  {0x3f6, 1},
                  {0x3b0, 0x30},
                  {0x3f0, 16},
                  {0x4d0, 2},
                  {0x510, 12},
                  {0x600, 0x40},
                  {0x1ce, 3},
                  {MACHINE_IO_BASE, 0x200}};
    unsigned i = (unsigned)(random % ARRAY_LEN(ranges));
    return ranges[i].first + (unsigned)(random >> 8) % ranges[i].count;
}

/* A register of a BAR, mostly one of the first. */
static inline uint64_t machine_poke_bar(struct vm *vm, const struct machine_map *m, uint64_t random,
                                        uint64_t value, bool write)
{
    const struct machine_bar *b = &m->bar[random % m->bars];
    unsigned size = 1u << (random >> 8) % 3;
    uint32_t offset = (uint32_t)(random >> 16) & (UINT32_MAX >> (random >> 48) % 31) & (b->len - 1);
    uint64_t at = b->base + (offset & ~(size - 1));
    struct bus *bus = b->io ? vm->pio : vm->mmio;
    if (!write)
        return bus_read(bus, at, size);
    bus_write(bus, at, size, value);
    return 0;
}

/* Registers from 0x40 on, and a few harmless ones: BARs stay where they are. */
static inline uint64_t machine_poke_config(struct vm *vm, const struct machine_map *m,
                                           uint64_t random, uint32_t value, bool write)
{
    unsigned devfn = m->devfn[random % m->functions], at = (unsigned)(random >> 8) & 0xfc;
    if (!write)
        return machine_pci_read(vm, devfn, at);
    if (at >= 0x40 || at == 0x3c)
        machine_pci_write(vm, devfn, at, value);
    return 0;
}

static inline uint64_t machine_poke_port(struct vm *vm, uint64_t random, uint64_t value, bool write)
{
    unsigned size = 1u << (random >> 40) % 3, port = machine_any_port(random) & ~(size - 1);
    if (!write)
        return bus_read(vm->pio, port, size);
    bus_write(vm->pio, port, size, value);
    return 0;
}

/* One random access, acknowledge or step of time; what was read. Nothing runs, so what would end
 * or reset the machine only leaves a mark. */
static inline uint64_t machine_poke(struct vm *vm, const struct machine_map *m, uint64_t *seed)
{
    uint64_t what = machine_random(seed), value = machine_random(seed),
             where = machine_random(seed);
    bool write = what >> 8 & 1;
    if (what >> 16 & 1)
        value &= 0xff;
    switch (what % 8) {
    case 0:
    case 1:
    case 2:
        return machine_poke_port(vm, where, value, write);
    case 3:
    case 4:
        return m->bars ? machine_poke_bar(vm, m, where, value, write) : 0;
    case 5:
        return machine_poke_config(vm, m, where, (uint32_t)value, write);
    case 6:
        if (vm->vcpu->attention & ATTN_INTERRUPT)
            return (uint64_t)vm->vcpu->intc.ack(vm->vcpu->intc.opaque);
        return 0;
    default:
        clock_advance(vm->clock, (UINT64_C(1) << 26) >> (where % 27));
        return 0;
    }
}

#endif
