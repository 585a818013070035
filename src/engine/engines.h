/* SPDX-License-Identifier: MIT */
/* The engines this build has. */
#ifndef RING3_ENGINE_ENGINES_H
#define RING3_ENGINE_ENGINES_H

#include "ring3/engine.h"

extern const struct engine_ops interp_engine; /* engine/interp */
extern const struct engine_ops dbt_engine;    /* engine/dbt */

/* Best first; ends with NULL. */
extern const struct engine_ops *const engines[];

/* NULL if there is none of that name. */
const struct engine_ops *engine_find(const char *name);

#endif
