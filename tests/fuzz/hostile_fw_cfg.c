/* SPDX-License-Identifier: MIT */
/* A guest that mistreats the firmware configuration device, against a second opinion.
 *
 *   hostile_fw_cfg [SEED [CASES]]      HOSTILE_SECONDS=N: go on with further seeds for so long
 *
 * A case builds a machine with some RAM, ROM and a hole, and a device with random items. Then come
 * port accesses of all kinds and requests in memory: over the edges of RAM, over themselves, with
 * lengths that wrap, in the middle of other ones. A model written from the specification, with one
 * byte array as memory, says what must come out; all of memory is compared, ROM included. The
 * memory maps that the option ROM for kernels hands over are tried, too: what is taken must be RAM.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "boot/kernel_rom.h"
#include "ring3/devices/fw_cfg.h"

#define MEMORY  (256 * KIB)
#define ROM_AT  0x10000u /* the upper half of this 64 KiB is a hole */
#define ROM_END 0x18000u
#define HOLE    0x20000u
#define ITEMS   8
#define MAX_LEN 6000u

struct fuzz {
    uint64_t seed, number;
    struct phys *mem;
    struct bus *pio;
    struct clock *clock;
    struct log log;
    struct device *d;
    uint64_t requests, moved, refused, maps, maps_taken;

    /* The model. */
    uint8_t memory[MEMORY];
    struct {
        uint16_t key;
        uint32_t len;
        uint8_t bytes[MAX_LEN];
    } item[2 + ITEMS]; /* the first two are the device's own */
    unsigned items;
    uint32_t key;
    uint64_t at;
};

static uint64_t rnd(struct fuzz *f)
{
    f->seed ^= f->seed << 13, f->seed ^= f->seed >> 7, f->seed ^= f->seed << 17;
    return f->seed;
}
static uint32_t below(struct fuzz *f, uint32_t n)
{
    return (uint32_t)(rnd(f) >> 32) % n;
}

static _Noreturn void fail(const struct fuzz *f, const char *what)
{
    fprintf(stderr, "hostile_fw_cfg: seed %llu: %s\n", (unsigned long long)f->number, what);
    exit(1);
}

/* ---- the model ------------------------------------------------------------------------------- */

static bool is_memory(uint64_t gpa, uint64_t len, bool writable)
{
    for (uint64_t i = 0; i < len; i++) {
        uint64_t at = gpa + i;
        if (at < gpa || at >= MEMORY || (at >= ROM_END && at < HOLE))
            return false;
        if (writable && at >= ROM_AT && at < ROM_END)
            return false;
    }
    return true;
}

static uint8_t model_next(struct fuzz *f)
{
    uint8_t value = 0;
    for (unsigned i = 0; i < f->items; i++)
        if (f->item[i].key == f->key && f->at < f->item[i].len)
            value = f->item[i].bytes[f->at];
    f->at++;
    return value;
}

static uint64_t get_be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

static void model_request(struct fuzz *f, uint64_t gpa)
{
    if (!is_memory(gpa, 16, false))
        return;
    uint32_t control = (uint32_t)get_be(f->memory + gpa, 4);
    uint32_t len = (uint32_t)get_be(f->memory + gpa + 4, 4);
    uint64_t to = get_be(f->memory + gpa + 8, 8);
    bool bad = false;
    if (control & 8)
        f->key = control >> 16, f->at = 0;
    if (control & 2) {
        /* more than all memory cannot be there */
        bad = len > MEMORY || !is_memory(to, len, true);
        for (uint32_t i = 0; i < len && !bad; i++)
            f->memory[to + i] = model_next(f);
        f->moved += !bad && len;
    } else if (control & 16) {
        bad = true;
    } else if (control & 4) {
        f->at += len;
    }
    f->refused += bad;
    if (is_memory(gpa, 4, true)) {
        memset(f->memory + gpa, 0, 4);
        f->memory[gpa + 3] = bad;
    }
}

/* ---- the guest ------------------------------------------------------------------------------- */

static uint64_t an_address(struct fuzz *f)
{
    static const uint64_t edges[] = {0,       ROM_AT,     ROM_END, HOLE,       MEMORY,
                                     4 * GIB, UINT64_MAX, 0x8000,  0xfffff000, UINT64_C(1) << 63};
    uint64_t near = edges[below(f, sizeof edges / sizeof *edges)];
    switch (below(f, 4)) {
    case 0:
        return near + below(f, 40) - 20;
    case 1:
        return rnd(f);
    default:
        return below(f, MEMORY);
    }
}

static uint32_t a_length(struct fuzz *f)
{
    static const uint32_t lengths[] = {0,      1,          MAX_LEN,    MEMORY,
                                       0x8000, 0x7fffffff, 0x80000000, UINT32_MAX};
    switch (below(f, 4)) {
    case 0:
        return lengths[below(f, sizeof lengths / sizeof *lengths)];
    case 1:
        return (uint32_t)rnd(f);
    default:
        return below(f, 300);
    }
}

static uint32_t a_key(struct fuzz *f)
{
    return below(f, 8) ? f->item[below(f, f->items)].key : below(f, 0x10000);
}

static void store(struct fuzz *f, uint64_t gpa, const void *p, size_t n)
{
    if (phys_write(f->mem, gpa, p, n) == 0)
        memcpy(f->memory + gpa, p, n);
}

static void a_request(struct fuzz *f)
{
    uint64_t gpa = below(f, 3) ? below(f, MEMORY) : an_address(f);
    uint64_t to = below(f, 8) ? an_address(f) : gpa + below(f, 40) - 20; /* over itself */
    uint32_t control = (below(f, 4) ? 2 : below(f, 32)) | (below(f, 2) ? 8 : 0) | a_key(f) << 16;
    uint32_t len = a_length(f);
    uint8_t p[16];
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(control >> 8 * (3 - i));
        p[4 + i] = (uint8_t)(len >> 8 * (3 - i));
    }
    for (unsigned i = 0; i < 8; i++)
        p[8 + i] = (uint8_t)(to >> 8 * (7 - i));
    if (is_memory(gpa, 16, true))
        store(f, gpa, p, 16);
    f->requests++;
    uint32_t high = (uint32_t)(gpa >> 32);
    if (high || below(f, 2))
        bus_write(f->pio, 0x514, 4, __builtin_bswap32(high));
    bus_write(f->pio, 0x518, 4, __builtin_bswap32((uint32_t)gpa));
    model_request(f, gpa);
}

static void port_accesses(struct fuzz *f)
{
    if (below(f, 2)) {
        uint32_t key = a_key(f);
        bus_write(f->pio, 0x510, 2, key);
        f->key = key, f->at = 0;
    }
    for (unsigned n = below(f, 40); n; n--)
        if (bus_read(f->pio, 0x511, 1) != model_next(f))
            fail(f, "a byte of the data port is wrong");
    /* What is no access of the specification has no effect. */
    unsigned size = 1u << below(f, 3);
    uint64_t port = 0x50e + below(f, 8);
    if (port + size <= 0x511 && !(port <= 0x510 && port + size >= 0x512))
        bus_write(f->pio, port, size, rnd(f));
    bus_write(f->pio, 0x511, 1, rnd(f));
    if (bus_read(f->pio, 0x514, 4) != 0x554d4551 || bus_read(f->pio, 0x518, 4) != 0x47464320)
        fail(f, "the DMA port does not answer");
}

static void a_map(struct fuzz *f)
{
    struct boot_e820 map[KERNEL_ROM_MAX];
    uint8_t raw[4 + KERNEL_ROM_MAX * KERNEL_ROM_ENTRY];
    uint32_t count = below(f, 6) ? below(f, 5) : (uint32_t)rnd(f);
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)rnd(f);
    memcpy(raw, &count, 4);
    for (unsigned i = 0; i < KERNEL_ROM_MAX; i++) {
        uint64_t base = an_address(f), len = a_length(f);
        memcpy(raw + 4 + i * KERNEL_ROM_ENTRY, &base, 8);
        memcpy(raw + 12 + i * KERNEL_ROM_ENTRY, &len, 8);
        memcpy(raw + 20 + i * KERNEL_ROM_ENTRY, &(uint32_t){below(f, 3)}, 4);
    }
    f->maps++;
    /* The map's place, 0x92000, is behind the memory of this machine: it has a larger one. */
    struct phys *mem = phys_new(MIB, NULL);
    if (!mem || phys_map_ram(mem, 0, 0, 0x80000, NULL) ||
        phys_map_rom(mem, 0x80000, 0x80000, 0x10000, NULL) ||
        phys_map_ram(mem, 0x90000, 0x90000, 0x10000, NULL) ||
        phys_write(mem, KERNEL_ROM_SEGMENT * 16 + KERNEL_ROM_MAP, raw, sizeof raw))
        fail(f, "no memory");
    int n = kernel_rom_map(mem, map);
    f->maps_taken += n > 0;
    if (n > KERNEL_ROM_MAX || n == 0)
        fail(f, "a map of impossible length was taken");
    for (int i = 0; i < n; i++) {
        uint64_t end = map[i].base + map[i].len;
        if (map[i].type == E820_RAM &&
            (end < map[i].base || end > 0xa0000 || (end > 0x80000 && map[i].base < 0x90000)))
            fail(f, "a map was taken that calls RAM what is not");
    }
    phys_free(mem);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void build(struct fuzz *f)
{
    struct dev_host h;
    f->log = (struct log){LOG_ERROR, 2};
    f->mem = phys_new(MIB, NULL);
    f->pio = bus_new("pio", 0x10000, NULL);
    f->clock = clock_new(CLOCK_VIRTUAL, NULL);
    if (!f->mem || !f->pio || !f->clock || phys_map_ram(f->mem, 0, 0, ROM_AT, NULL) ||
        phys_map_rom(f->mem, ROM_AT, ROM_AT, ROM_END - ROM_AT, NULL) ||
        phys_map_ram(f->mem, HOLE, HOLE, MEMORY - HOLE, NULL))
        fail(f, "no machine");
    h = (struct dev_host){f->mem, NULL, f->pio, f->clock, &f->log};
    f->d = fw_cfg_new(&h, NULL);
    memset(f->memory, 0, sizeof f->memory);
    f->item[0].key = FW_CFG_SIGNATURE, f->item[0].len = 4;
    memcpy(f->item[0].bytes, "QEMU", 4);
    f->item[1].key = FW_CFG_ID, f->item[1].len = 4;
    memcpy(f->item[1].bytes, (uint8_t[4]){3}, 4);
    f->items = 3 + below(f, ITEMS);
    for (unsigned i = 2; i < f->items; i++) {
        f->item[i].key = (uint16_t)(0x100 + 37 * i + below(f, 30));
        f->item[i].len = below(f, 3) ? below(f, 200) : below(f, MAX_LEN);
        for (uint32_t n = 0; n < f->item[i].len; n++)
            f->item[i].bytes[n] = (uint8_t)rnd(f);
        if (fw_cfg_add(f->d, f->item[i].key, f->item[i].bytes, f->item[i].len, NULL) < 0)
            fail(f, "no item");
    }
    f->key = UINT32_MAX;
    f->at = 0;
}

static void compare(struct fuzz *f)
{
    static uint8_t real[MEMORY];
    if (phys_read(f->mem, 0, real, ROM_END) < 0 ||
        phys_read(f->mem, HOLE, real + HOLE, MEMORY - HOLE) < 0)
        fail(f, "memory is gone");
    if (memcmp(real, f->memory, ROM_END) || memcmp(real + HOLE, f->memory + HOLE, MEMORY - HOLE))
        fail(f, "memory differs from the model's");
}

static void one_case(struct fuzz *f, uint64_t seed)
{
    f->number = seed;
    f->seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    build(f);
    for (unsigned n = 10 + below(f, 60); n; n--) {
        if (below(f, 3))
            a_request(f);
        else
            port_accesses(f);
    }
    compare(f);
    a_map(f);
    f->d->ops->free(f->d);
    bus_free(f->pio);
    clock_free(f->clock);
    phys_free(f->mem);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t cases = argc > 2 ? strtoull(argv[2], NULL, 0) : 1500;
    const char *seconds = getenv("HOSTILE_SECONDS");
    time_t end = time(NULL) + (seconds ? atol(seconds) : 0);
    static struct fuzz f;
    uint64_t n = 0;
    for (; n < cases || time(NULL) < end; n++)
        one_case(&f, seed + n);
    printf("%llu cases: %llu requests, %llu moved data, %llu refused; %llu maps, %llu taken\n",
           (unsigned long long)n, (unsigned long long)f.requests, (unsigned long long)f.moved,
           (unsigned long long)f.refused, (unsigned long long)f.maps,
           (unsigned long long)f.maps_taken);
    return f.moved > n && f.refused > n && f.maps_taken > n / 20 ? 0 : 1;
}
