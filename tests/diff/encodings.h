/* SPDX-License-Identifier: MIT */
/* The generator's instruction set: every encoding of it, found by asking the decoder. */
#ifndef RING3_TESTS_DIFF_ENCODINGS_H
#define RING3_TESTS_DIFF_ENCODINGS_H

#include "isa/x86/insn.h"
#include "oracle.h"

enum or_form { OR_NO_MODRM, OR_REGISTER, OR_MEMORY };

struct or_encoding {
    uint16_t key; /* ZydisMnemonic or enum x86_mnemonic */
    uint8_t prefix[2], prefixes;
    uint8_t map, opcode; /* as in struct x86_insn */
    enum or_form form;
    uint64_t modrm; /* allowed: bit reg * 8 + rm (OR_REGISTER), bit reg * 8 (OR_MEMORY) */
};

#define OR_KEYS X86_MN_END

struct or_encodings {
    ZydisDecoder decoder;
    struct or_encoding *list; /* sorted by key */
    unsigned count;
    unsigned first[OR_KEYS], entries[OR_KEYS]; /* slices of list */
    uint16_t keys[OR_KEYS];                    /* those with entries */
    unsigned key_count;
};

/* For 16-bit or 32-bit code. -ENOMEM. */
int or_encodings_init(struct or_encodings *e, bool code16);
void or_encodings_free(struct or_encodings *e);

/* The row a decoded instruction belongs to (compare decode.c), and its name. */
uint16_t or_key(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *ops);
const char *or_key_name(uint16_t key);
/* Why a key is not generated, or NULL. */
const char *or_excluded(uint16_t key);
/* Accesses memory more than once, in an order no manual gives. */
bool or_several_accesses(uint16_t key);
/* Every execution faults: to be used sparingly. */
bool or_always_faults(uint16_t key);

#endif
