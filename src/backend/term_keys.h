/* SPDX-License-Identifier: MIT */
/* What a terminal sends for its keys, as names of keys. */
#ifndef RING3_BACKEND_TERM_KEYS_H
#define RING3_BACKEND_TERM_KEYS_H

#include <stddef.h>

#define TERM_KEYS_MAX 12 /* characters that a byte may become, at most */

/* Turn n bytes from a terminal into a string for display_type(), in keys[] of n * TERM_KEYS_MAX + 1
 * bytes. An escape sequence must lie within the n bytes, as it does when a key was pressed. */
void term_keys(const char *bytes, size_t n, char *keys);

#endif
