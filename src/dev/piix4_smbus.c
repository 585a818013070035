/* SPDX-License-Identifier: MIT */
/* SMBus host controller of the PIIX4 (datasheet 290562, section 7.3). Systems look for memory
 * modules and sensors there and complain if firmware has not set it up. Nobody is on this bus, so a
 * transaction ends at once, with "device error": the address was not acknowledged.
 *
 *   +0 host status     1 interrupt  2 device error  3 bus error  4 failed; write 1 to clear
 *   +1 slave status    +2 host control: 0 interrupt enable  1 kill  2-4 protocol  6 start (reads 0)
 *   +3 command   +4 address   +5, +6 data   +7 block data, 32 bytes in turn
 *   +8 slave control   +9 shadow command   +10 to +13 slave event and data
 *
 * Left out: interrupts (status has to be polled), the slave side, whose registers read 0. */
#include "ring3/devices/piix4_smbus.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS = 0, CONTROL = 2, COMMAND = 3, ADDRESS = 4, DATA0 = 5, DATA1 = 6, BLOCK = 7 };

#define STATUS_ERROR 0x04
#define STATUS_CLEAR 0x1e /* written 1 clears */
#define START        0x40
#define KEPT         0x1d /* interrupt enable, protocol */
#define BLOCK_BYTES  32u

struct smbus {
    struct device dev;
    struct bus *pio;
    pthread_mutex_t lock; /* the rest */
    uint8_t reg[BLOCK];   /* registers 0 to 6 */
    uint8_t block[BLOCK_BYTES], at;
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct smbus *s = opaque;
    uint8_t value = 0;

    pthread_mutex_lock(&s->lock);
    if (offset < BLOCK)
        value = s->reg[offset];
    else if (offset == BLOCK)
        value = s->block[s->at++ % BLOCK_BYTES];
    if (offset == CONTROL)
        s->at = 0; /* block data from the start */
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct smbus *s = opaque;
    uint8_t byte = (uint8_t)value;

    pthread_mutex_lock(&s->lock);
    if (offset == STATUS)
        s->reg[STATUS] &= (uint8_t) ~(byte & STATUS_CLEAR);
    else if (offset == CONTROL) {
        s->reg[CONTROL] = byte & KEPT;
        if (byte & START)
            s->reg[STATUS] |= STATUS_ERROR;
    } else if (offset >= COMMAND && offset <= DATA1)
        s->reg[offset] = byte;
    else if (offset == BLOCK)
        s->block[s->at++ % BLOCK_BYTES] = byte;
    pthread_mutex_unlock(&s->lock);
}

static void reset(struct device *d)
{
    struct smbus *s = container_of(d, struct smbus, dev);

    pthread_mutex_lock(&s->lock);
    memset(s->reg, 0, sizeof s->reg);
    memset(s->block, 0, sizeof s->block);
    s->at = 0;
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct smbus *s = container_of(d, struct smbus, dev);

    bus_unmap(s->pio, PIIX4_SMBUS_BASE);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct io_ops io = {port_read, port_write, 1, 1};
static const struct state_field state[] = {
    STATE_ARRAY(struct smbus, reg),
    STATE_ARRAY(struct smbus, block),
    STATE(struct smbus, at),
};
static const struct device_ops ops = {
    .name = "piix4-smbus",
    .reset = reset,
    .free = release,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *piix4_smbus_new(const struct dev_host *h, struct err *e)
{
    struct smbus *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the SMBus controller");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "smbus"};
    s->pio = h->pio;
    pthread_mutex_init(&s->lock, NULL);
    if (bus_map(h->pio, PIIX4_SMBUS_BASE, PIIX4_SMBUS_BYTES, &io, s, "smbus", e) < 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    return &s->dev;
}
