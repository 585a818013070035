/* SPDX-License-Identifier: MIT */
/* Commands that are not in commands.c, for its table. */
#ifndef RING3_CONTROL_COMMANDS_H
#define RING3_CONTROL_COMMANDS_H

#include "control/control.h"

/* info.c: look. */
int control_info(struct control_call *c, struct err *e);
int control_dump_linear(struct control_call *c, struct err *e);
int control_dump_physical(struct control_call *c, struct err *e);

/* devices.c: do. */
int control_screenshot(struct control_call *c, struct err *e);
int control_screen(struct control_call *c, struct err *e);
int control_type(struct control_call *c, struct err *e);
int control_balloon(struct control_call *c, struct err *e);
int control_reset(struct control_call *c, struct err *e);
int control_change(struct control_call *c, struct err *e);
int control_eject(struct control_call *c, struct err *e);
int control_nmi(struct control_call *c, struct err *e);

/* A whole argument as a number, decimal or with 0x. -EINVAL. */
int control_number(const char *text, uint64_t *x, struct err *e);

#endif
