/* SPDX-License-Identifier: MIT */
/* An engine runs guest instructions until something needs the monitor. */
#ifndef RING3_ENGINE_H
#define RING3_ENGINE_H

#include "ring3/err.h"
#include "ring3/exit.h"
#include "ring3/figures.h"
#include "ring3/translate.h"
#include "ring3/vcpu.h"

struct engine_ops {
    const char *name, *summary;
    /* 0 when this host can run it, else -errno and why not in *e. */
    int (*probe)(struct err *e);
    /* Allocate and free v->engine_state. `dbt` is what the user asked of a translating engine; it
     * outlives v. */
    int (*attach)(struct vcpu *v, const struct dbt_options *dbt, struct err *e);
    void (*detach)(struct vcpu *v);
    /* Run until an exit vm/run.c must serve. vCPU thread. Fills *x; guest state precise. */
    void (*run)(struct vcpu *v, struct vm_exit *x);
    /* Figures of its own, exact once the vCPU thread has ended; may be NULL. Any thread. */
    void (*figures)(const struct vcpu *v, const struct figure_sink *to);
};

#endif
