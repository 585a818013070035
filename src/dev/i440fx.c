/* SPDX-License-Identifier: MIT */
/* Intel 82441FX host bridge (datasheet 290549, chapter 3): identity, and the registers firmware
 * programs, which are stored.
 *
 * Left out: their effect. Shadow RAM (PAM), SMRAM and the memory hole stay as the board mapped
 * them; without firmware nobody changes them. */
#include "ring3/devices/i440fx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAM_FIRST 0x59
#define PAM_LAST  0x5f
#define DRB_FIRST 0x60 /* DRAM row boundaries */
#define DRB_LAST  0x67
#define SMRAM     0x72

struct i440fx {
    struct device dev;
    struct pci_func func;
};

static void reset(struct device *d)
{
    pci_func_reset(&container_of(d, struct i440fx, dev)->func);
}

static void release(struct device *d)
{
    struct i440fx *s = container_of(d, struct i440fx, dev);

    pci_remove(&s->func);
    free(s);
}

static void restored(struct device *d)
{
    pci_func_restored(&container_of(d, struct i440fx, dev)->func);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct i440fx, func.config),
};
static const struct device_ops ops = {
    .name = "i440fx",
    .reset = reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *i440fx_new(struct pci_host *pci, struct err *e)
{
    struct i440fx *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the host bridge");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "i440fx"};
    pci_func_init(&s->func, "i440fx", 0x8086, 0x1237, 0x060000, 2);
    memset(s->func.writable + PAM_FIRST, 0x33, PAM_LAST - PAM_FIRST + 1);
    memset(s->func.writable + DRB_FIRST, 0xff, DRB_LAST - DRB_FIRST + 1);
    s->func.writable[SMRAM] = 0x78;
    s->func.config[SMRAM] = 0x02;
    if (pci_add(pci, &s->func, 0, 0, e) < 0) {
        free(s);
        return NULL;
    }
    return &s->dev;
}
