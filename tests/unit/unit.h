/* SPDX-License-Identifier: MIT */
/* What every unit test includes: cmocka with the headers it wants, in the order it wants. */
#ifndef RING3_TESTS_UNIT_H
#define RING3_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
