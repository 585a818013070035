/* SPDX-License-Identifier: MIT */
/* The MIPS Malta board's own registers (Malta User's Manual MD00048, 5): see
 * ring3/devices/malta_fpga.h.
 *
 * The display has eight characters. Each has a register; a write of the word register shows its
 * value as eight hexadecimal digits. Nobody sees display and LEDs, but they are kept, so that a
 * snapshot, a debugger of the board's code and tests find what was shown last.
 *
 * I2C is two open wires: a wire is low if it is driven (enable) low (out). Nothing else is on the
 * bus, so both read high otherwise, and no transfer is acknowledged.
 *
 * Left out: NMI button, the flash memory around the revision register, EEPROMs on the I2C bus, the
 * switches (all off: their register reads 0). */
#include "ring3/devices/malta_fpga.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*  15      10 9     8 7        4 3         0
 * [ core card | c.rev. | product | board rev. ]   a Core LV (1) on a Malta (2): GT-64120 */
#define REVISION 0x0420u

#define STATUS_MFWR       0x02u /* monitor flash is not write-protected */
#define STATUS_BIG_ENDIAN 0x10u
#define BREAK_CHARACTER   0x0au /* of the reset by a serial break */
#define I2C_WIRES         0x03u

#define LOW_BYTES  (MALTA_FPGA_UART - MALTA_FPGA_BASE)
#define HIGH_AT    0xa00u
#define HIGH_BYTES 0x200u

struct malta_fpga {
    struct device dev;
    struct bus *bus;
    struct irq_line reset;
    bool big_endian;
    unsigned mapped; /* entries of places[] */

    pthread_mutex_t lock; /* the rest */
    uint8_t leds, break_reset, i2c_enable, i2c_out, i2c_select;
    uint32_t gpio_out;
    uint8_t ascii[MALTA_DISPLAY_CHARS];
};

static uint32_t read_reg(const struct malta_fpga *s, unsigned at)
{
    switch (at) {
    case MALTA_STATUS:
        return STATUS_MFWR | (s->big_endian ? STATUS_BIG_ENDIAN : 0);
    case MALTA_LED_BAR:
        return s->leds;
    case MALTA_BREAK_RESET:
        return s->break_reset;
    case MALTA_GPIO_OUT:
        return s->gpio_out;
    case MALTA_I2C_IN:
        return (s->i2c_out | ~(uint32_t)s->i2c_enable) & I2C_WIRES;
    case MALTA_I2C_ENABLE:
        return s->i2c_enable;
    case MALTA_I2C_OUT:
        return s->i2c_out;
    case MALTA_I2C_SELECT:
        return s->i2c_select;
    default:
        return 0;
    }
}

static void show_word(struct malta_fpga *s, uint32_t value)
{
    char text[MALTA_DISPLAY_CHARS + 1];

    snprintf(text, sizeof text, "%08X", value);
    memcpy(s->ascii, text, sizeof s->ascii);
}

static void write_reg(struct malta_fpga *s, unsigned at, uint32_t value)
{
    unsigned position = (at - MALTA_ASCII_POSITION) / 8;

    switch (at) {
    case MALTA_LED_BAR:
        s->leds = (uint8_t)value;
        break;
    case MALTA_ASCII_WORD:
        show_word(s, value);
        break;
    case MALTA_BREAK_RESET:
        s->break_reset = (uint8_t)value;
        break;
    case MALTA_GPIO_OUT:
        s->gpio_out = value & 0xffff;
        break;
    case MALTA_I2C_ENABLE:
        s->i2c_enable = value & I2C_WIRES;
        break;
    case MALTA_I2C_OUT:
        s->i2c_out = value & I2C_WIRES;
        break;
    case MALTA_I2C_SELECT:
        s->i2c_select = value & 1;
        break;
    default:
        if (at >= MALTA_ASCII_POSITION && position < MALTA_DISPLAY_CHARS && at % 8 == 0)
            s->ascii[position] = (uint8_t)value;
    }
}

static uint64_t fpga_read(struct malta_fpga *s, unsigned at)
{
    pthread_mutex_lock(&s->lock);
    uint32_t value = read_reg(s, at);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void fpga_write(struct malta_fpga *s, unsigned at, uint32_t value)
{
    pthread_mutex_lock(&s->lock);
    write_reg(s, at, value);
    pthread_mutex_unlock(&s->lock);
    if (at == MALTA_SOFT_RESET && value == MALTA_GO_RESET) {
        irq_set(&s->reset, 1);
        irq_set(&s->reset, 0);
    }
}

static uint64_t low_read(void *opaque, uint64_t offset, unsigned size)
{
    return fpga_read(opaque, (unsigned)offset);
}

static void low_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    fpga_write(opaque, (unsigned)offset, (uint32_t)value);
}

static uint64_t high_read(void *opaque, uint64_t offset, unsigned size)
{
    return fpga_read(opaque, HIGH_AT + (unsigned)offset);
}

static void high_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    fpga_write(opaque, HIGH_AT + (unsigned)offset, (uint32_t)value);
}

static uint64_t revision_read(void *opaque, uint64_t offset, unsigned size)
{
    return REVISION;
}

static void revision_write(void *opaque, uint64_t offset, unsigned size, uint64_t value) {}

static const struct {
    uint32_t at, bytes;
    const char *name;
    struct io_ops ops;
} places[] = {
    {MALTA_FPGA_BASE, LOW_BYTES, "malta-fpga", {low_read, low_write, 4, 4}},
    {MALTA_FPGA_BASE + HIGH_AT, HIGH_BYTES, "malta-fpga", {high_read, high_write, 4, 4}},
    {MALTA_REVISION_AT, 4, "malta-revision", {revision_read, revision_write, 4, 4}},
};

void malta_fpga_display(struct device *d, char text[MALTA_DISPLAY_CHARS + 1])
{
    struct malta_fpga *s = container_of(d, struct malta_fpga, dev);

    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < MALTA_DISPLAY_CHARS; i++)
        text[i] = s->ascii[i] >= ' ' && s->ascii[i] < 0x7f ? (char)s->ascii[i] : '.';
    pthread_mutex_unlock(&s->lock);
    text[MALTA_DISPLAY_CHARS] = 0;
}

static void reset(struct device *d)
{
    struct malta_fpga *s = container_of(d, struct malta_fpga, dev);

    pthread_mutex_lock(&s->lock);
    s->leds = s->i2c_enable = s->i2c_out = s->i2c_select = 0;
    s->gpio_out = 0;
    s->break_reset = BREAK_CHARACTER;
    memset(s->ascii, ' ', sizeof s->ascii);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct malta_fpga *s = container_of(d, struct malta_fpga, dev);

    while (s->mapped)
        bus_unmap(s->bus, places[--s->mapped].at);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE(struct malta_fpga, leds),        STATE(struct malta_fpga, break_reset),
    STATE(struct malta_fpga, i2c_enable),  STATE(struct malta_fpga, i2c_out),
    STATE(struct malta_fpga, i2c_select),  STATE(struct malta_fpga, gpio_out),
    STATE_ARRAY(struct malta_fpga, ascii),
};
static const struct device_ops ops = {.name = "malta-fpga",
                                      .reset = reset,
                                      .free = release,
                                      .state = state,
                                      .state_count = ARRAY_LEN(state)};

struct device *malta_fpga_new(const struct dev_host *h, bool big_endian, struct irq_line line,
                              struct err *e)
{
    struct malta_fpga *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the board's registers");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "fpga"};
    s->bus = h->mmio;
    s->reset = line;
    s->big_endian = big_endian;
    pthread_mutex_init(&s->lock, NULL);
    reset(&s->dev);
    for (; s->mapped < ARRAY_LEN(places); s->mapped++)
        if (bus_map(s->bus, places[s->mapped].at, places[s->mapped].bytes, &places[s->mapped].ops,
                    s, places[s->mapped].name, e) < 0) {
            release(&s->dev);
            return NULL;
        }
    return &s->dev;
}
