/* SPDX-License-Identifier: MIT */
/* An address space of device registers: see ring3/bus.h.
 *
 * Mappings are kept sorted by base; an access finds its mapping by binary search under the lock,
 * copies it out, drops the lock and calls the device. An access is cut into naturally aligned
 * pieces no wider than the device's max_size; an access that runs over the end of its mapping is
 * done byte by byte, each byte going where it belongs (x86 guests do write words to two
 * neighbouring byte ports).
 *
 * Left out: a device unmapped by one thread while another is inside its handler must be kept
 * alive by its owner; devices live as long as the VM, so the bus does not count references. */
#include "ring3/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct mapping {
    uint64_t base, len;
    struct io_ops ops; /* min_size and max_size filled in */
    void *opaque;
    const char *name;
};

struct bus {
    const char *name;
    uint64_t limit;
    pthread_mutex_t lock; /* guards the three below */
    struct mapping *maps; /* sorted by base, no overlaps */
    size_t count, room;
};

struct bus *bus_new(const char *name, uint64_t limit, struct err *e)
{
    struct bus *b = calloc(1, sizeof *b);
    if (!b) {
        err_set(e, ENOMEM, "no-memory", "no memory for the %s bus", name);
        return NULL;
    }
    b->name = name;
    b->limit = limit;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->lock);
    free(b->maps);
    free(b);
}

/* Index of the first mapping whose end is above addr; b->count if there is none. */
static size_t lower_bound(const struct bus *b, uint64_t addr)
{
    size_t low = 0, high = b->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (b->maps[mid].base + b->maps[mid].len <= addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool valid_size(unsigned n)
{
    return n == 1 || n == 2 || n == 4 || n == 8;
}

static int insert(struct bus *b, const struct mapping *m, struct err *e)
{
    size_t at = lower_bound(b, m->base);
    if (at < b->count && b->maps[at].base < m->base + m->len)
        return err_set(e, EEXIST, "bus-overlap", "%s: %s at %#lx+%#lx overlaps %s at %#lx", b->name,
                       m->name, (unsigned long)m->base, (unsigned long)m->len, b->maps[at].name,
                       (unsigned long)b->maps[at].base);
    if (b->count == b->room) {
        size_t room = b->room ? 2 * b->room : 32;
        struct mapping *maps = realloc(b->maps, room * sizeof *maps);
        if (!maps)
            return err_set(e, ENOMEM, "no-memory", "no memory to map %s", m->name);
        b->maps = maps;
        b->room = room;
    }
    memmove(&b->maps[at + 1], &b->maps[at], (b->count - at) * sizeof *m);
    b->maps[at] = *m;
    b->count++;
    return 0;
}

int bus_map(struct bus *b, uint64_t base, uint64_t len, const struct io_ops *ops, void *opaque,
            const char *name, struct err *e)
{
    struct mapping m = {base, len, *ops, opaque, name};
    if (!m.ops.min_size)
        m.ops.min_size = 1;
    if (!m.ops.max_size)
        m.ops.max_size = 4;
    if (!valid_size(m.ops.min_size) || !valid_size(m.ops.max_size) ||
        m.ops.min_size > m.ops.max_size)
        return err_set(e, EINVAL, "bus-size", "%s: %s has impossible access sizes", b->name, name);
    if (!len || base >= b->limit || len > b->limit - base)
        return err_set(e, EINVAL, "bus-range", "%s: %s at %#lx+%#lx lies outside the bus", b->name,
                       name, (unsigned long)base, (unsigned long)len);
    pthread_mutex_lock(&b->lock);
    int r = insert(b, &m, e);
    pthread_mutex_unlock(&b->lock);
    return r;
}

void bus_unmap(struct bus *b, uint64_t base)
{
    pthread_mutex_lock(&b->lock);
    size_t at = lower_bound(b, base);
    if (at < b->count && b->maps[at].base == base) {
        b->count--;
        memmove(&b->maps[at], &b->maps[at + 1], (b->count - at) * sizeof *b->maps);
    }
    pthread_mutex_unlock(&b->lock);
}

static bool find(struct bus *b, uint64_t addr, struct mapping *out)
{
    pthread_mutex_lock(&b->lock);
    size_t at = lower_bound(b, addr);
    bool found = at < b->count && b->maps[at].base <= addr;
    if (found)
        *out = b->maps[at];
    pthread_mutex_unlock(&b->lock);
    return found;
}

static uint64_t mask_of(unsigned size)
{
    return size >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * size) - 1;
}

/* Widest piece of an access at `offset` with `left` bytes to go: aligned, at most max_size. */
static unsigned piece(const struct mapping *m, uint64_t offset, unsigned left)
{
    unsigned n = m->ops.max_size;
    while (n > left || offset % n)
        n /= 2;
    return n;
}

static uint64_t read_piece(const struct mapping *m, uint64_t offset, unsigned n)
{
    unsigned min = m->ops.min_size;
    if (!m->ops.read)
        return mask_of(n);
    if (n >= min)
        return m->ops.read(m->opaque, offset, n) & mask_of(n);
    unsigned shift = 8 * (unsigned)(offset % min);
    return m->ops.read(m->opaque, offset - offset % min, min) >> shift & mask_of(n);
}

static void write_piece(const struct mapping *m, uint64_t offset, unsigned n, uint64_t value)
{
    unsigned min = m->ops.min_size;
    if (!m->ops.write)
        return;
    value &= mask_of(n);
    if (n >= min)
        m->ops.write(m->opaque, offset, n, value);
    else
        m->ops.write(m->opaque, offset - offset % min, min, value << 8 * (unsigned)(offset % min));
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
    struct mapping m;
    uint64_t value = 0;
    for (unsigned done = 0, n; done < size; done += n) {
        uint64_t at = addr + done;
        n = size - done;
        if (!find(b, at, &m)) {
            n = 1;
            value |= UINT64_C(0xff) << 8 * done;
            continue;
        }
        uint64_t offset = at - m.base;
        if (n > m.len - offset)
            n = (unsigned)(m.len - offset);
        n = piece(&m, offset, n);
        value |= read_piece(&m, offset, n) << 8 * done;
    }
    return value;
}

unsigned bus_read_many(struct bus *b, uint64_t addr, unsigned size, void *buf, unsigned count)
{
    struct mapping m;
    if (!find(b, addr, &m) || !m.ops.read_many || size < m.ops.min_size || size > m.ops.max_size)
        return 0;
    uint64_t offset = addr - m.base;
    if (offset % size || size > m.len - offset)
        return 0;
    return m.ops.read_many(m.opaque, offset, size, buf, count);
}

void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t value)
{
    struct mapping m;
    for (unsigned done = 0, n; done < size; done += n) {
        uint64_t at = addr + done;
        n = size - done;
        if (!find(b, at, &m)) {
            n = 1;
            continue;
        }
        uint64_t offset = at - m.base;
        if (n > m.len - offset)
            n = (unsigned)(m.len - offset);
        n = piece(&m, offset, n);
        write_piece(&m, offset, n, value >> 8 * done);
    }
}

const char *bus_name_at(struct bus *b, uint64_t addr)
{
    struct mapping m;
    return find(b, addr, &m) ? m.name : NULL;
}
