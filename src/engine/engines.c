/* SPDX-License-Identifier: MIT */
/* The table of engines: a new one is a folder and a row here. */
#include "engine/engines.h"

#include <string.h>

const struct engine_ops *const engines[] = {
    &dbt_engine,
    &interp_engine,
    NULL,
};

const struct engine_ops *engine_find(const char *name)
{
    for (unsigned i = 0; engines[i]; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}
