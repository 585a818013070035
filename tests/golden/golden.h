/* SPDX-License-Identifier: MIT */
/* Translations as text: what golden.c (the cases) and text.c (a translation) share. */
#ifndef RING3_TESTS_GOLDEN_H
#define RING3_TESTS_GOLDEN_H

#include <stdio.h>

#include "isa/x86/x86.h"
#include "ring3/translate.h"

/* What a translation came to. */
struct golden_sum {
    unsigned guest_insns, guest_bytes, host_insns, host_bytes;
};

/* Print guest instructions, each followed by its host instructions, then what they amount to.
 * bytes are those of the page at tb->page and what follows. The tables in *tb are checked on the
 * way: what is wrong with them is printed and makes the result false. */
bool golden_print(const struct tb *tb, const uint8_t *bytes, FILE *out, struct golden_sum *sum);

#endif
