/* SPDX-License-Identifier: MIT */
/* Five bodies that attract one another, stepped in double precision: floating-point arithmetic with
 * a square root and a division per pair. NBODY names the function, because it is compiled twice
 * for i386: once for the x87 stack, once for SSE2. The two round differently, so their sums differ;
 * MIPS and SSE2 agree. */
#include "sys.h"

enum { BODIES = 5, STEPS = 1000 };

struct body {
    double at[3], speed[3], mass;
};

static double inverse_cube(double square)
{
    return 1 / (square * __builtin_sqrt(square));
}

static void step(struct body *bodies, double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            struct body *a = &bodies[i], *b = &bodies[j];
            double dx = a->at[0] - b->at[0], dy = a->at[1] - b->at[1], dz = a->at[2] - b->at[2];
            double pull = dt * inverse_cube(dx * dx + dy * dy + dz * dz);
            double from_b = b->mass * pull, from_a = a->mass * pull;
            a->speed[0] -= dx * from_b, b->speed[0] += dx * from_a;
            a->speed[1] -= dy * from_b, b->speed[1] += dy * from_a;
            a->speed[2] -= dz * from_b, b->speed[2] += dz * from_a;
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].at[k] += dt * bodies[i].speed[k];
}

/* Bodies of falling mass on rings of growing size, roughly on circular paths. */
static void place(struct body *bodies)
{
    static const double direction[BODIES][2] = {
        {0, 0}, {1, 0}, {0, 1.5}, {-2, 0}, {1.5, -2},
    };
    for (int i = 0; i < BODIES; i++)
        bodies[i] = (struct body){
            .at = {direction[i][0], direction[i][1], 0.1 * i},
            .speed = {-0.8 * direction[i][1], 0.8 * direction[i][0], 0},
            .mass = i ? 0.001 * i : 1,
        };
}

uint32_t NBODY(uint32_t count)
{
    struct body bodies[BODIES];
    uint32_t words[sizeof(bodies) / 4], sum = 0;
    while (count--) {
        place(bodies);
        for (int i = 0; i < STEPS; i++)
            step(bodies, 0.001);
    }
    __builtin_memcpy(words, bodies, sizeof(words));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        sum = sum * 31 + words[i];
    return sum;
}
