/* SPDX-License-Identifier: MIT */
/* Keys of a US keyboard by what they write and by name, as PC set-1 codes. */
#ifndef RING3_BACKEND_KEYS_H
#define RING3_BACKEND_KEYS_H

#include <stddef.h>

#define KEY_WITH_SHIFT 0x100u /* in codes below 0xe000: with the shift key */

/* ASCII, Enter, Tab, Backspace and Escape too; 0: none. */
unsigned key_of_char(char c);
/* "enter", "f1", "ctrl", or a character; n bytes. 0: none. */
unsigned key_of_name(const char *name, size_t n);

#endif
