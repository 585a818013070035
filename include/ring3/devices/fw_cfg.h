/* SPDX-License-Identifier: MIT */
/* Firmware configuration device: what the machine tells its firmware, as numbered items and as
 * files with names. (The interface that SeaBIOS, OVMF and Linux know from QEMU:
 * docs/specs/fw_cfg.rst there.) */
#ifndef RING3_DEVICES_FW_CFG_H
#define RING3_DEVICES_FW_CFG_H

#include "ring3/dev.h"

#define FW_CFG_PORT     0x510 /* 16 bits: select an item; 0x511: its next byte */
#define FW_CFG_DMA_PORT 0x514 /* 64 bits, big-endian: address of a request */
#define FW_CFG_NAME_MAX 55    /* characters of a file's name */

/* Items with fixed numbers. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_RAM_SIZE = 0x03, /* 8 bytes */
    FW_CFG_CPUS = 0x05,     /* 2 bytes */
    FW_CFG_MAX_CPUS = 0x0f, /* 2 bytes */
    FW_CFG_DIRECTORY = 0x19,
    FW_CFG_FIRST_FILE = 0x20,
    FW_CFG_LOCAL = 0x8000, /* a board's own; SeaBIOS has a meaning for the first few */
};

/* Ports 0x510-0x511 and 0x514-0x51b. NULL on error. */
struct device *fw_cfg_new(const struct dev_host *h, struct err *e);

/* Contents of an item that is made each time the guest selects it, at most FW_CFG_MADE_MAX bytes;
 * they are zeros before. vCPU thread, no lock held. */
#define FW_CFG_MADE_MAX 64
typedef void fw_cfg_fill(void *opaque, uint8_t *bytes, size_t len);

/* Build time. Bytes are copied. -EEXIST if the item is there, -ENOSPC beyond the device's room. */
int fw_cfg_add(struct device *d, uint16_t key, const void *bytes, size_t len, struct err *e);
int fw_cfg_add_made(struct device *d, uint16_t key, size_t len, fw_cfg_fill *fill, void *opaque,
                    struct err *e);
/* The same by name; the guest finds it in the directory. */
int fw_cfg_add_file(struct device *d, const char *name, const void *bytes, size_t len,
                    struct err *e);

#endif
