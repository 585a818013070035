/* SPDX-License-Identifier: MIT */
/* Galileo GT-64120 (data sheet revision 1.4): what stands between a MIPS processor and PCI. See
 * ring3/devices/gt64120.h.
 *
 * CPU address decoding (section 3): three windows show PCI 0, one its I/O space and two its memory
 * space. A window has three registers in units of 2 MiB:
 *
 *           14          7 6            0
 *   low    [ bits 35..28 | bits 27..21  ]   first place of the window
 *   high                 [ bits 27..21  ]   last place; below the first: the window is off
 *   remap  [ bits 35..21                ]   upper bits of the address on PCI, as far as low and
 *                                           high agree; a write of low copies it here
 *
 * The internal space register says where these registers are; what it names, they follow at once.
 * Internal space has priority over windows, and an earlier window over a later one.
 *
 * Configuration (section 6.5): the address register is that of mechanism 1; the data register
 * follows it. Device 0 is the chip itself. Data of all others is byte-swapped unless MByteSwap is
 * set in the command register, as it is after reset on a little-endian board. A cycle without
 * answer sets MASABORT0 in the interrupt cause. Reading the interrupt acknowledge register asks
 * the board's controller for a vector.
 *
 * Interrupts (section 14): cause bits are set by events and cleared by writing 0; bit 0 is the OR
 * of those unmasked for the processor, which also drive the interrupt output.
 *
 * Left out: memory controller, DMA and timers (their registers keep what is written, or read 0),
 * PCI bus 1, byte order of what goes through windows other than as it comes, and the slave side:
 * functions reach all of memory at its physical addresses, and the chip has no BARs. */
#include "ring3/devices/gt64120.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS     0x1000u
#define PLACES        0x7fffu /* bits of a place */
#define PLACES_HIGH   0x7fu   /* those that high has */
#define PLACES_MMIO   0x7ffu  /* of a 32-bit bus */
#define PLACE_BYTES   (1u << GT_PLACE_SHIFT)
#define CONFIG_ENABLE 0x80000000u
#define CAUSE_SUMMARY 0x1u
#define CAUSE_EVENTS  0x7ffffffeu
#define PCI1_IACK     0xc30

/* What a register holds after reset, and which bits can be written. */
static const struct row {
    uint16_t at;
    uint32_t reset, writable;
} rows[] = {
    {0x000, 0x00000000, 0x0007fa00}, /* CPU interface configuration */
    {0x120, 0x00000000, 0x00000003}, /* multi-GT */
    {0x008, 0x000, PLACES},          /* SCS[1:0] low, and so on */
    {0x010, 0x007, PLACES_HIGH},
    {0x018, 0x008, PLACES},
    {0x020, 0x00f, PLACES_HIGH},
    {0x028, 0x0e0, PLACES},
    {0x030, 0x070, PLACES_HIGH},
    {0x038, 0x0f8, PLACES},
    {0x040, 0x07f, PLACES_HIGH},
    {GT_PCI0_IO_LOW, 0x080, PLACES},
    {GT_PCI0_IO_HIGH, 0x00f, PLACES_HIGH},
    {GT_PCI0_MEM0_LOW, 0x090, PLACES},
    {GT_PCI0_MEM0_HIGH, 0x01f, PLACES_HIGH},
    {GT_PCI0_MEM1_LOW, 0x790, PLACES},
    {GT_PCI0_MEM1_HIGH, 0x01f, PLACES_HIGH},
    {GT_INTERNAL_SPACE, GT64120_RESET_BASE >> GT_PLACE_SHIFT, PLACES},
    {GT_PCI0_IO_REMAP, 0x080, PLACES},
    {GT_PCI0_MEM0_REMAP, 0x090, PLACES},
    {GT_PCI0_MEM1_REMAP, 0x790, PLACES},
    {GT_PCI0_COMMAND, 0x00000000, 0x0007ffff},
    {0xc04, 0x0000070f, 0x00ffffff}, /* time-out and retry */
    {0xc08, 0x00fff000, 0xfffff000}, /* sizes of the slave's banks */
    {0xc0c, 0x00fff000, 0xfffff000},
    {0xc10, 0x01fff000, 0xfffff000},
    {0xc14, 0x00fff000, 0xfffff000},
    {GT_INT_MASK, 0x00000000, CAUSE_EVENTS},
    {0xc24, 0x00000000, CAUSE_EVENTS}, /* mask of interrupts to PCI */
    {0xc28, 0x00000000, 0x000007ff},   /* SERR0 mask */
    {GT_PCI0_ADDRESS, 0x00000000, 0x80fffffc},
};

/* Registers of the memory and device controllers: kept. */
#define KEPT_FIRST 0x400u
#define KEPT_END   0x480u

static const struct window {
    const char *name;
    uint16_t low, high, remap;
    bool io;
} windows[] = {
    {"gt-pci-io", GT_PCI0_IO_LOW, GT_PCI0_IO_HIGH, GT_PCI0_IO_REMAP, true},
    {"gt-pci-mem0", GT_PCI0_MEM0_LOW, GT_PCI0_MEM0_HIGH, GT_PCI0_MEM0_REMAP, false},
    {"gt-pci-mem1", GT_PCI0_MEM1_LOW, GT_PCI0_MEM1_HIGH, GT_PCI0_MEM1_REMAP, false},
};
#define WINDOWS ARRAY_LEN(windows)

/* A window as it is on the bus. Constant while the guest is inside it: only the vCPU thread, and
 * what stops it, changes it. */
struct shown {
    struct bus *to;
    bool mapped;
    uint32_t base, pci; /* address of the first byte, here and on PCI */
};

struct gt64120 {
    struct device dev;
    struct dev_host h;
    struct gt64120_config c;
    struct bus *memory; /* PCI memory space */
    struct pci_host *pci;
    struct pci_func self;
    struct log_limit limit;
    struct shown shown[WINDOWS];
    bool mapped;
    uint32_t base; /* of the registers, while mapped */

    pthread_mutex_t lock; /* the rest */
    uint32_t reg[REGISTERS / 4];
};

static uint32_t *reg_at(struct gt64120 *s, unsigned at)
{
    return &s->reg[at / 4];
}

/* ---- interrupts ------------------------------------------------------------------------------ */

/* lock held. */
static void update_line(struct gt64120 *s)
{
    uint32_t *cause = reg_at(s, GT_INT_CAUSE);
    bool up = *cause & *reg_at(s, GT_INT_MASK) & CAUSE_EVENTS;

    *cause = (*cause & ~CAUSE_SUMMARY) | (up ? CAUSE_SUMMARY : 0);
    irq_set(&s->c.interrupt, up);
}

static void add_cause(struct gt64120 *s, uint32_t bits)
{
    pthread_mutex_lock(&s->lock);
    *reg_at(s, GT_INT_CAUSE) |= bits;
    update_line(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- windows --------------------------------------------------------------------------------- */

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct shown *w = opaque;
    return bus_read(w->to, (uint32_t)(w->pci + offset), size);
}

static void window_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    const struct shown *w = opaque;
    bus_write(w->to, (uint32_t)(w->pci + offset), size, value);
}

static const struct io_ops window_ops = {window_read, window_write, 1, 4};

/* Bits of a place in which the two differ, or which are below one that does. */
static uint32_t open_bits(uint32_t first, uint32_t last)
{
    uint32_t bits = first ^ last;

    for (unsigned n = 1; n < 16; n *= 2)
        bits |= bits >> n;
    return bits;
}

/* Where window i belongs now; false: nowhere. */
static bool place(struct gt64120 *s, unsigned i, uint32_t *base, uint32_t *len, uint32_t *pci)
{
    uint32_t first = *reg_at(s, windows[i].low), high = *reg_at(s, windows[i].high);
    uint32_t last = (first & ~PLACES_HIGH) | high, remap = *reg_at(s, windows[i].remap);

    if (last < first || last > PLACES_MMIO)
        return false;
    uint32_t open = open_bits(first, last);
    *base = first << GT_PLACE_SHIFT;
    *len = (last - first + 1) << GT_PLACE_SHIFT;
    *pci = ((remap & ~open) | (first & open)) << GT_PLACE_SHIFT;
    return true;
}

static void warn_placed(struct gt64120 *s, const struct err *e)
{
    log_guest(s->h.log, &s->limit, "gt-window", "guest placed a window badly: %s", e->text);
}

static void hide(struct gt64120 *s, unsigned i)
{
    if (s->shown[i].mapped)
        bus_unmap(s->h.mmio, s->shown[i].base);
    s->shown[i].mapped = false;
}

static void show_registers(struct gt64120 *s);

/* Put all on the bus as the registers say: what wins first. What overlaps is left out, and is there
 * once it does not. lock held. */
static void show_all(struct gt64120 *s)
{
    struct err e;

    for (unsigned i = 0; i < WINDOWS; i++)
        hide(s, i);
    show_registers(s);
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct shown *w = &s->shown[i];
        uint32_t len;
        if (!place(s, i, &w->base, &len, &w->pci))
            continue;
        w->mapped = bus_map(s->h.mmio, w->base, len, &window_ops, w, windows[i].name, &e) == 0;
        if (!w->mapped)
            warn_placed(s, &e);
    }
}

/* ---- configuration space --------------------------------------------------------------------- */

static uint32_t swapped(uint32_t value, unsigned size)
{
    return __builtin_bswap32(value) >> 8 * (4 - size);
}

/* Where on PCI the `size` bytes at `offset` of the data register are; *swap: and in other order. */
static unsigned data_lane(struct gt64120 *s, uint32_t address, unsigned offset, unsigned size,
                          bool *swap)
{
    bool own = (address & 0x00fff800) == 0;

    pthread_mutex_lock(&s->lock);
    *swap = !own && !(*reg_at(s, GT_PCI0_COMMAND) & GT_COMMAND_NO_SWAP);
    pthread_mutex_unlock(&s->lock);
    return *swap ? 4 - offset - size : offset;
}

static uint32_t config_address(struct gt64120 *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t address = *reg_at(s, GT_PCI0_ADDRESS);
    pthread_mutex_unlock(&s->lock);
    return address;
}

static uint32_t data_read(struct gt64120 *s, unsigned offset, unsigned size)
{
    uint32_t address = config_address(s), value = UINT32_MAX >> 8 * (4 - size);
    bool swap;
    unsigned lane = data_lane(s, address, offset, size, &swap);

    if (!(address & CONFIG_ENABLE))
        return value;
    if (!pci_config_read(s->pci, address, lane, size, &value))
        add_cause(s, GT_CAUSE_MASTER_0);
    return swap ? swapped(value, size) : value;
}

static void data_write(struct gt64120 *s, unsigned offset, unsigned size, uint32_t value)
{
    uint32_t address = config_address(s);
    bool swap;
    unsigned lane = data_lane(s, address, offset, size, &swap);

    if (!(address & CONFIG_ENABLE))
        return;
    if (!pci_config_write(s->pci, address, lane, size, swap ? swapped(value, size) : value))
        add_cause(s, GT_CAUSE_MASTER_0);
}

/* ---- registers ------------------------------------------------------------------------------- */

static const struct row *row_at(unsigned at)
{
    static const struct row kept = {0, 0, UINT32_MAX};

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].at == at)
            return &rows[i];
    return at >= KEPT_FIRST && at < KEPT_END ? &kept : NULL;
}

static bool moves_something(unsigned at)
{
    bool moves = at == GT_INTERNAL_SPACE;

    for (unsigned i = 0; i < WINDOWS; i++)
        moves |= at == windows[i].low || at == windows[i].high || at == windows[i].remap;
    return moves;
}

/* A new start of a window is also its new address on PCI. */
static void copy_to_remap(struct gt64120 *s, unsigned at)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        if (at == windows[i].low)
            *reg_at(s, windows[i].remap) = *reg_at(s, at);
}

/* The bits of `lanes` become those of value. lock held. */
static void write_one(struct gt64120 *s, unsigned at, uint32_t lanes, uint32_t value)
{
    const struct row *row = row_at(at);
    uint32_t *reg = reg_at(s, at);

    if (at == GT_INT_CAUSE) {
        *reg &= value | ~lanes;
        update_line(s);
    }
    if (!row)
        return;
    lanes &= row->writable;
    *reg = (*reg & ~lanes) | (value & lanes);
    copy_to_remap(s, at);
    if (at == GT_INT_MASK)
        update_line(s);
    if (moves_something(at))
        show_all(s);
}

/* On a big-endian board the processor sees registers in its own order. */
static unsigned register_lane(const struct gt64120 *s, unsigned offset, unsigned size)
{
    return s->c.big_endian ? 4 - (offset & 3) - size : offset & 3;
}

static uint64_t reg_read(void *opaque, uint64_t offset, unsigned size)
{
    struct gt64120 *s = opaque;
    unsigned at = (unsigned)offset & (REGISTERS - 4),
             lane = register_lane(s, (unsigned)offset, size);
    uint32_t value;

    if (at == GT_PCI0_DATA) {
        value = data_read(s, lane, size);
    } else if (at == GT_PCI0_IACK) {
        value = (uint32_t)s->c.iack(s->c.iack_opaque) >> 8 * lane;
    } else {
        pthread_mutex_lock(&s->lock);
        value = *reg_at(s, at) >> 8 * lane;
        pthread_mutex_unlock(&s->lock);
    }
    return s->c.big_endian ? swapped(value, size) : value & UINT32_MAX >> 8 * (4 - size);
}

static void reg_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct gt64120 *s = opaque;
    unsigned at = (unsigned)offset & (REGISTERS - 4),
             lane = register_lane(s, (unsigned)offset, size);
    uint32_t bits = s->c.big_endian ? swapped((uint32_t)value, size) : (uint32_t)value;

    if (at == GT_PCI0_DATA) {
        data_write(s, lane, size, bits);
        return;
    }
    pthread_mutex_lock(&s->lock);
    write_one(s, at, (UINT32_MAX >> 8 * (4 - size)) << 8 * lane, bits << 8 * lane);
    pthread_mutex_unlock(&s->lock);
}

static const struct io_ops reg_ops = {reg_read, reg_write, 1, 4};

/* They stay where they are if something else is at the new place, so that the guest can go on. */
static void show_registers(struct gt64120 *s)
{
    uint32_t at = (*reg_at(s, GT_INTERNAL_SPACE) & PLACES_MMIO) << GT_PLACE_SHIFT;
    struct err e;

    if (s->mapped && s->base == at)
        return;
    if (bus_map(s->h.mmio, at, GT64120_BYTES, &reg_ops, s, "gt64120", &e) < 0) {
        warn_placed(s, &e);
        return;
    }
    if (s->mapped)
        bus_unmap(s->h.mmio, s->base);
    s->mapped = true;
    s->base = at;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void reset(struct device *d)
{
    struct gt64120 *s = container_of(d, struct gt64120, dev);

    if (s->pci)
        pci_func_reset(&s->self);
    pthread_mutex_lock(&s->lock);
    memset(s->reg, 0, sizeof s->reg);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        *reg_at(s, rows[i].at) = rows[i].reset;
    if (!s->c.big_endian) {
        *reg_at(s, 0x000) |= 0x1000;              /* little-endian processor */
        *reg_at(s, GT_PCI0_COMMAND) = 0x00010001; /* neither side swaps */
    }
    show_all(s);
    update_line(s);
    pthread_mutex_unlock(&s->lock);
}

/* A snapshot is not trusted: nothing but what could have been written. */
static void restored(struct device *d)
{
    struct gt64120 *s = container_of(d, struct gt64120, dev);

    if (s->pci)
        pci_func_restored(&s->self);
    pthread_mutex_lock(&s->lock);
    for (unsigned at = 0; at < REGISTERS; at += 4) {
        const struct row *row = row_at(at);
        uint32_t can = row ? row->reset | row->writable : at == GT_INT_CAUSE ? UINT32_MAX : 0;
        *reg_at(s, at) &= can | (at == 0 ? 0x1000 : 0);
    }
    show_all(s);
    update_line(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct gt64120 *s = container_of(d, struct gt64120, dev);

    for (unsigned i = 0; i < WINDOWS; i++)
        hide(s, i);
    if (s->mapped)
        bus_unmap(s->h.mmio, s->base);
    if (s->pci)
        pci_remove(&s->self);
    bus_free(s->memory);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct gt64120, reg),
    STATE_ARRAY(struct gt64120, self.config),
};
static const struct device_ops ops = {.name = "gt64120",
                                      .reset = reset,
                                      .free = release,
                                      .restored = restored,
                                      .state = state,
                                      .state_count = ARRAY_LEN(state)};

struct device *gt64120_new(const struct dev_host *h, const struct gt64120_config *c, struct err *e)
{
    struct gt64120 *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the system controller");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "gt64120"};
    s->h = *h;
    s->c = *c;
    pthread_mutex_init(&s->lock, NULL);
    s->memory = bus_new("pci-memory", 4 * GIB, e);
    for (unsigned i = 0; i < WINDOWS; i++)
        s->shown[i] = (struct shown){.to = windows[i].io ? h->pio : s->memory};
    if (s->memory)
        reset(&s->dev);
    if (!s->mapped) {
        if (s->memory)
            err_set(e, EEXIST, "bus-overlap", "something else is at 0x%x", GT64120_RESET_BASE);
        release(&s->dev);
        return NULL;
    }
    return &s->dev;
}

struct dev_host gt64120_pci_host(struct device *d)
{
    struct gt64120 *s = container_of(d, struct gt64120, dev);
    struct dev_host h = s->h;

    h.mmio = s->memory;
    return h;
}

int gt64120_connect(struct device *d, struct pci_host *pci, struct err *e)
{
    struct gt64120 *s = container_of(d, struct gt64120, dev);

    pci_func_init(&s->self, "gt64120", 0x11ab, 0x4620, 0x060000, 0x10);
    s->self.config[PCI_STATUS] = 0x80;
    s->self.config[PCI_STATUS + 1] = 0x02;
    int r = pci_add(pci, &s->self, 0, 0, e);
    if (r == 0)
        s->pci = pci;
    return r;
}
