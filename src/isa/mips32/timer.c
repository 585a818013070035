/* SPDX-License-Identifier: MIT */
/* Count and Compare (vol. III 9.10, 9.13): Count runs with the VM's clock at the model's rate; a
 * timer of that clock raises the interrupt when the two become equal.
 *
 * Ticks are counted in 64 bits from the clock's zero, so that a deadline is a number that does not
 * wrap; Count is their low half plus an offset, which a write of Count moves. The timer's callback
 * runs on any thread and takes the lock; it goes by due_ticks alone. */
#include "isa/mips32/cpu.h"

static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

static uint64_t ticks_now(const struct mips32_vcpu *v)
{
    return mul_div(clock_now_ns(v->base.clock), v->model->count_hz, NS_PER_SEC);
}

/* When that many ticks have passed; rounded up. */
static uint64_t ns_of(const struct mips32_vcpu *v, uint64_t ticks)
{
    return mul_div(ticks, NS_PER_SEC, v->model->count_hz) + 1;
}

uint32_t mips32_count(const struct mips32_vcpu *v)
{
    if (v->cp0.cause & CA_DC)
        return v->timer.count_offset;
    return (uint32_t)ticks_now(v) + v->timer.count_offset;
}

static void fired(void *opaque)
{
    struct mips32_vcpu *v = opaque;
    pthread_mutex_lock(&v->timer.lock);
    if (ticks_now(v) >= v->timer.due_ticks) {
        mips32_set_lines(v, CA_TI, true);
        v->timer.due_ticks += UINT64_C(1) << 32;
        timer_set(&v->timer.timer, ns_of(v, v->timer.due_ticks));
    }
    pthread_mutex_unlock(&v->timer.lock);
}

/* The timer's thread may be late under load, but whoever sees that Count has passed Compare expects
 * to see the interrupt in Cause: Linux gives it half a microsecond, or thinks that there is none.
 */
uint32_t mips32_read_count(struct mips32_vcpu *v)
{
    uint64_t ticks = ticks_now(v);
    if (ticks >= atomic_load_explicit(&v->timer.due_ticks, memory_order_relaxed))
        fired(v);
    return v->timer.count_offset + (v->cp0.cause & CA_DC ? 0 : (uint32_t)ticks);
}

void mips32_timer_arm(struct mips32_vcpu *v)
{
    struct mips32_timer *t = &v->timer;
    pthread_mutex_lock(&t->lock);
    if (v->cp0.cause & CA_DC) {
        t->due_ticks = UINT64_MAX;
        timer_set(&t->timer, TIMER_NEVER);
    } else {
        uint64_t now = ticks_now(v);
        uint32_t left = v->cp0.compare - ((uint32_t)now + t->count_offset);
        t->due_ticks = now + (left ? left : UINT64_C(1) << 32);
        timer_set(&t->timer, ns_of(v, t->due_ticks));
    }
    pthread_mutex_unlock(&t->lock);
}

void mips32_set_count(struct mips32_vcpu *v, uint32_t count)
{
    v->timer.count_offset = v->cp0.cause & CA_DC ? count : count - (uint32_t)ticks_now(v);
    mips32_timer_arm(v);
}

void mips32_set_compare(struct mips32_vcpu *v, uint32_t compare)
{
    v->cp0.compare = compare;
    mips32_timer_arm(v); /* before the line: what was due of the old one no longer comes */
    mips32_set_lines(v, CA_TI, false);
    mips32_update_interrupts(v);
}

void mips32_stop_count(struct mips32_vcpu *v, bool stopped)
{
    uint32_t ticks = (uint32_t)ticks_now(v);
    v->timer.count_offset += stopped ? ticks : -ticks;
}

void mips32_timer_init(struct mips32_vcpu *v)
{
    pthread_mutex_init(&v->timer.lock, NULL);
    timer_init(&v->timer.timer, v->base.clock, fired, v);
    v->timer.due_ticks = UINT64_MAX;
}

void mips32_timer_free(struct mips32_vcpu *v)
{
    timer_set(&v->timer.timer, TIMER_NEVER);
    pthread_mutex_destroy(&v->timer.lock);
}
