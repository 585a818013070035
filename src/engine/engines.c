/* SPDX-License-Identifier: MIT */
/* The table of engines: a new one is a folder and a row here. */
#include "engine/engines.h"

#include <string.h>

const struct engine_ops *const engines[] = {
    &interp_engine,
    &dbt_engine,
    NULL,
};

const struct engine_ops *engine_find(const char *name)
{
    bool any = strcmp(name, "auto") == 0;
    for (unsigned i = 0; engines[i]; i++) {
        struct err why;
        if (any ? engines[i]->probe(&why) == 0 : strcmp(engines[i]->name, name) == 0)
            return engines[i];
    }
    return NULL;
}
