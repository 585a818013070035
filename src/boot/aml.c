/* SPDX-License-Identifier: MIT */
/* ACPI Machine Language writer: see aml.h. A package length counts itself and has one to four
 * bytes, so it is put in front when the contents are known.
 *
 *   length < 64:  one byte
 *   otherwise:    first byte = number of further bytes << 6 | low 4 bits; then 8 bits each */
#include "boot/aml.h"

#include <string.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_EXT = 0x5b,
    OP_EXT_DEVICE = 0x82,
};
enum {
    RES_IRQ_NO_FLAGS = 0x22, /* edge, active high, not shared */
    RES_DMA = 0x2a,
    RES_IO = 0x47,
    RES_END = 0x79,
    RES_DWORD_SPACE = 0x87,
    RES_WORD_SPACE = 0x88,
};
enum { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2 };
#define SPACE_FIXED     0x0c /* minimum and maximum are fixed */
#define SPACE_MEMORY_RW 0x01 /* not cacheable, writable */
#define SPACE_IO_ENTIRE 0x03 /* ISA and non-ISA ranges */

void aml_bytes(struct aml *a, const void *p, size_t n)
{
    if (a->full || n > a->room - a->used) {
        a->full = true;
        return;
    }
    memcpy(a->p + a->used, p, n);
    a->used += n;
}

void aml_byte(struct aml *a, uint8_t v)
{
    aml_bytes(a, &v, 1);
}

void aml_le(struct aml *a, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        aml_byte(a, (uint8_t)(v >> 8 * i));
}

void aml_int(struct aml *a, uint32_t v)
{
    if (v < 2) {
        aml_byte(a, v ? OP_ONE : OP_ZERO);
    } else if (v <= 0xff) {
        aml_byte(a, OP_BYTE);
        aml_le(a, v, 1);
    } else if (v <= 0xffff) {
        aml_byte(a, OP_WORD);
        aml_le(a, v, 2);
    } else {
        aml_byte(a, OP_DWORD);
        aml_le(a, v, 4);
    }
}

void aml_name(struct aml *a, const char *name)
{
    aml_byte(a, OP_NAME);
    aml_bytes(a, name, strlen(name));
}

static unsigned hex(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void aml_eisa_id(struct aml *a, const char *id)
{
    /* Three letters of 5 bits, then four hexadecimal digits; big-endian in memory. */
    uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
                 (uint32_t)(id[2] - '@') << 16 | hex(id[3]) << 12 | hex(id[4]) << 8 |
                 hex(id[5]) << 4 | hex(id[6]);

    aml_int(a, __builtin_bswap32(v));
}

size_t aml_begin_scope(struct aml *a, const char *name)
{
    aml_byte(a, OP_SCOPE);
    size_t mark = a->used;
    aml_bytes(a, name, strlen(name));
    return mark;
}

size_t aml_begin_device(struct aml *a, const char *name)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, OP_EXT_DEVICE);
    size_t mark = a->used;
    aml_bytes(a, name, strlen(name));
    return mark;
}

size_t aml_begin_package(struct aml *a, unsigned elements)
{
    aml_byte(a, OP_PACKAGE);
    size_t mark = a->used;
    aml_byte(a, (uint8_t)elements);
    return mark;
}

size_t aml_begin_resources(struct aml *a)
{
    aml_byte(a, OP_BUFFER);
    return a->used;
}

static void insert(struct aml *a, size_t at, const uint8_t *p, size_t n)
{
    if (a->full || n > a->room - a->used) {
        a->full = true;
        return;
    }
    memmove(a->p + at + n, a->p + at, a->used - at);
    memcpy(a->p + at, p, n);
    a->used += n;
}

void aml_end(struct aml *a, size_t mark)
{
    size_t len = a->used - mark;
    unsigned more = len + 1 < 64 ? 0 : len + 2 < 1u << 12 ? 1 : len + 3 < 1u << 20 ? 2 : 3;
    uint8_t head[4];

    len += 1 + more; /* the length counts itself */
    head[0] = (uint8_t)(more ? more << 6 | (len & 15) : len);
    for (unsigned i = 1; i <= more; i++)
        head[i] = (uint8_t)(len >> (8 * i - 4));
    insert(a, mark, head, 1 + more);
}

void aml_end_resources(struct aml *a, size_t mark)
{
    uint8_t size[3] = {OP_WORD};

    aml_byte(a, RES_END);
    aml_byte(a, 0); /* checksum: 0 is not checked */
    size_t len = a->used - mark;
    size[1] = (uint8_t)len, size[2] = (uint8_t)(len >> 8);
    insert(a, mark, size, sizeof size);
    aml_end(a, mark);
}

void aml_res_io(struct aml *a, uint16_t port, uint8_t len)
{
    aml_byte(a, RES_IO);
    aml_byte(a, 1);     /* decodes 16 bits */
    aml_le(a, port, 2); /* lowest base */
    aml_le(a, port, 2); /* highest base */
    aml_byte(a, 1);     /* alignment */
    aml_byte(a, len);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
    aml_byte(a, RES_IRQ_NO_FLAGS);
    aml_le(a, 1u << irq, 2);
}

void aml_res_dma(struct aml *a, uint8_t channels)
{
    aml_byte(a, RES_DMA);
    aml_byte(a, channels);
    aml_byte(a, 0);
}

/* An address space descriptor with fields of `width` bytes. */
static void space(struct aml *a, unsigned width, uint8_t type, uint8_t flags, uint32_t first,
                  uint32_t last)
{
    aml_byte(a, width == 4 ? RES_DWORD_SPACE : RES_WORD_SPACE);
    aml_le(a, 3 + 5 * width, 2);
    aml_byte(a, type);
    aml_byte(a, SPACE_FIXED);
    aml_byte(a, flags);
    aml_le(a, 0, width); /* granularity */
    aml_le(a, first, width);
    aml_le(a, last, width);
    aml_le(a, 0, width); /* translation */
    aml_le(a, (uint64_t)last - first + 1, width);
}

void aml_res_bus_numbers(struct aml *a, uint8_t first, uint8_t last)
{
    space(a, 2, SPACE_BUS, 0, first, last);
}

void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last)
{
    space(a, 2, SPACE_IO, SPACE_IO_ENTIRE, first, last);
}

void aml_res_memory_window(struct aml *a, uint32_t first, uint32_t last)
{
    space(a, 4, SPACE_MEMORY, SPACE_MEMORY_RW, first, last);
}
