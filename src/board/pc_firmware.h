/* SPDX-License-Identifier: MIT */
/* Firmware on the pc board: the steps of its wiring and start. */
#ifndef RING3_BOARD_PC_FIRMWARE_H
#define RING3_BOARD_PC_FIRMWARE_H

#include "board/pc.h"
#include "ring3/devices/i440fx.h"

/* Does firmware run first, rather than a kernel? */
bool pc_has_firmware(const struct pc *pc);

/* Load the BIOS, if the machine has one; *c says what is behind shadow RAM. Build time. */
int pc_firmware_memory(struct pc *pc, struct i440fx_config *c, struct err *e);
/* fw_cfg (pc->fw_cfg) and what it tells; nothing without firmware. Later steps of the board may add
 * files, e.g. vgaroms/. */
int pc_firmware_build(struct pc *pc, struct err *e);
/* pc_bootorder.c: kinds of drives in the order to try them, ends with BOOT_NONE if there are fewer
 * than VM_MAX_BOOT; and a file that names each drive. */
const enum boot_device *pc_boot_devices(const struct pc *pc);
int pc_bootorder_tell(struct pc *pc, struct err *e);
int pc_smbios_tell(struct pc *pc, struct err *e); /* pc_smbios.c */
/* Devices and processor are freshly reset: set what a battery keeps. Build time and vCPU thread. */
void pc_firmware_start(struct pc *pc);

#endif
