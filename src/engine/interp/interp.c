/* SPDX-License-Identifier: MIT */
/* The interpreting engine: the ISA's own interpreter, as long as nothing needs the monitor. It is
 * the reference for all others and runs on every host. */
#include "engine/engines.h"

/* Instructions between two looks at the run loop; stops come sooner, through attention. */
#define SLICE UINT64_C(1000000000)

static int probe(struct err *e)
{
    return 0;
}
static int attach(struct vcpu *v, const struct dbt_options *dbt, struct err *e)
{
    return 0;
}
static void detach(struct vcpu *v) {}

static void run(struct vcpu *v, struct vm_exit *x)
{
    v->isa->interpret(v, SLICE, x);
}

const struct engine_ops interp_engine = {
    .name = "interp",
    .summary = "interpreter: every instruction, any host",
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .run = run,
};
