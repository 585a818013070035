/* SPDX-License-Identifier: MIT */
/* The pc board's screen, keyboard and pointer. */
#ifndef RING3_BOARD_PC_DISPLAY_H
#define RING3_BOARD_PC_DISPLAY_H

#include "board/pc.h"

/* The card, if firmware wants it or the user asked for a screen, and vm->display. Build time. */
int pc_display_build(struct pc *pc, struct err *e);
/* Give the card's ROM to the firmware. Build time, after fw_cfg. */
int pc_display_rom(struct pc *pc, struct err *e);
/* Without firmware: leave the card in text mode. After reset. */
void pc_display_boot(struct pc *pc);

#endif
