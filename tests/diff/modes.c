/* SPDX-License-Identifier: MIT */
/* The segments cases run with. Limits are chosen so that they cut through mapped pages: limit
 * violations, expand-down segments and 16-bit stacks then happen often. */
#include "oracle.h"

#define LDT(n) ((n) << 3 | 7)
#define FLAT   0xffffffffu

const struct or_mode or_modes[OR_MODES] = {
    {"flat 32-bit",
     false,
     {{OR_FLAT_DS, OR_SEG_DATA, true, 0, FLAT},
      {OR_FLAT_CS, OR_SEG_CODE, true, 0, FLAT},
      {OR_FLAT_DS, OR_SEG_DATA, true, 0, FLAT},
      {OR_FLAT_DS, OR_SEG_DATA, true, 0, FLAT},
      {OR_FLAT_DS, OR_SEG_DATA, true, OR_DATA, FLAT},
      {OR_FLAT_DS, OR_SEG_DATA, true, OR_DATA - 0xc000, FLAT}}},
    {"16-bit",
     true,
     {{LDT(1), OR_SEG_EXPAND_DOWN, false, OR_DATA - 0x4000, 0x47ff},
      {LDT(0), OR_SEG_CODE, false, OR_CODE - 0x4000, 0xffff},
      {LDT(2), OR_SEG_DATA, false, OR_STACK - 0x8000, 0x9bff},
      {LDT(3), OR_SEG_DATA, false, OR_DATA - 0x4000, 0x67ff},
      {LDT(4), OR_SEG_DATA, true, OR_DATA, FLAT},
      {LDT(5), OR_SEG_DATA, false, OR_SAVE - 0x1000, 0xffff}}},
    {"segmented 32-bit",
     false,
     {{LDT(7), OR_SEG_EXPAND_DOWN, true, 0, 0x10000fff},
      {LDT(6), OR_SEG_CODE, true, OR_CODE - 0x10000, 0x11fff},
      {LDT(8), OR_SEG_EXPAND_DOWN, true, 0, 0xbfffefff},
      {LDT(9), OR_SEG_DATA, true, OR_DATA - 0x40000000, 0x400017ff | 0xfff},
      {LDT(10), OR_SEG_READ_ONLY, true, OR_DATA, 0x1fff},
      {LDT(11), OR_SEG_DATA, true, OR_SAVE - 0x1000, 0x1fff}}},
};
