/* SPDX-License-Identifier: MIT */
/* The boards this build has. */
#ifndef RING3_BOARD_BOARDS_H
#define RING3_BOARD_BOARDS_H

#include "ring3/board.h"

extern const struct board_ops malta_board, mipsvirt_board, pc_board;

/* The default first; ends with NULL. */
extern const struct board_ops *const boards[];

/* NULL if there is none of that name. */
const struct board_ops *board_find(const char *name);
/* The first that runs such kernels, or NULL. */
const struct board_ops *board_for(enum guest_arch arch);

#endif
