/* SPDX-License-Identifier: MIT */
/* State as a list of sections of named fields: how it is written to memory and read back.
 *
 *     section  'S'  length  name 0
 *     field    'F'  length  name 0  size  count (32 bits)  size * count bytes, little-endian
 *
 * Length, size: a byte. Names are printable and have 1 to 255 characters. Fields belong to the
 * section before them. size is 1, 2, 4 or 8; a text is a field of size 1. */
#ifndef RING3_VM_SNAPSHOT_STATE_H
#define RING3_VM_SNAPSHOT_STATE_H

#include "ring3/dev.h"
#include "ring3/err.h"

/* ---- writing --------------------------------------------------------------------------------- */

struct state_out {
    uint8_t *data; /* malloc'ed; the caller frees it */
    size_t len, room;
    bool failed; /* no memory, or a name that is too long */
};
void state_out_section(struct state_out *o, const char *name);
void state_out_field(struct state_out *o, const char *name, size_t size, size_t count,
                     const void *data);
void state_out_text(struct state_out *o, const char *name, const char *text);
/* Every row of a table, from an object. */
void state_out_table(struct state_out *o, const struct state_field *table, size_t rows,
                     const void *object);

/* ---- reading --------------------------------------------------------------------------------- */

struct state_in_field {
    const char *name;
    size_t size, count;
    const uint8_t *data; /* not aligned */
    bool used;
};
struct state_in_section {
    const char *name;
    size_t first, fields; /* in state_in.field */
    bool used;
};
struct state_in { /* points into the data */
    struct state_in_section *section;
    size_t sections;
    struct state_in_field *field;
    size_t fields;
};

#define STATE_IN_MAX_FIELDS 65536u

/* Check everything and build the lists. 0 or -errno. Free in either case. */
int state_in_parse(struct state_in *in, const uint8_t *data, size_t len, struct err *e);
void state_in_free(struct state_in *in);

/* Mark as used; NULL if it is not there. */
struct state_in_section *state_in_section(struct state_in *in, const char *name);
struct state_in_field *state_in_field(struct state_in *in, const struct state_in_section *s,
                                      const char *name);
/* A field that must be there and be one number. */
int state_in_number(struct state_in *in, const struct state_in_section *s, const char *name,
                    size_t size, void *to, struct err *e);
/* A text as a new string, which the caller frees; *text NULL if it is not there. */
int state_in_text(struct state_in *in, const struct state_in_section *s, const char *name,
                  char **text, struct err *e);
/* Store what the section has for the rows of a table into an object. Rows without a field are left
 * alone and counted in *missing, the first one's name in *example. A field of another shape, or one
 * that no row knows, is an error. */
int state_in_table(struct state_in *in, const struct state_in_section *s,
                   const struct state_field *table, size_t rows, void *object, unsigned *missing,
                   const char **example, struct err *e);
/* Error if the section has a field that nobody has asked for. */
int state_in_all_used(struct state_in *in, const struct state_in_section *s, struct err *e);

#endif
