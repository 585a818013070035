/* SPDX-License-Identifier: MIT */
/* x86's side of the dbt engine: ring3/translate.h. */
#ifndef RING3_ISA_X86_TRANSLATOR_H
#define RING3_ISA_X86_TRANSLATOR_H

#include "ring3/translate.h"

extern const struct isa_translator x86_translator;

#endif
