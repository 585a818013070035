/* SPDX-License-Identifier: MIT */
/* The table of boards: a new one is a file and a row here. */
#include "board/boards.h"

#include <string.h>

const struct board_ops *const boards[] = {
    &pc_board,
    &mipsvirt_board,
    &malta_board,
    NULL,
};

const struct board_ops *board_find(const char *name)
{
    for (unsigned i = 0; boards[i]; i++)
        if (strcmp(boards[i]->name, name) == 0)
            return boards[i];
    return NULL;
}

const struct board_ops *board_for(enum guest_arch arch)
{
    for (unsigned i = 0; boards[i]; i++)
        if (boards[i]->arch == arch)
            return boards[i];
    return NULL;
}
