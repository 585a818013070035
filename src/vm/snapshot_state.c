/* SPDX-License-Identifier: MIT */
/* Sections of named fields: see snapshot_state.h. The reader trusts nothing: every length is
 * checked against what is left, once, while the lists are built. */
#include "vm/snapshot_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing --------------------------------------------------------------------------------- */

static uint8_t *grow(struct state_out *o, size_t n)
{
    if (o->failed)
        return NULL;
    if (o->room - o->len < n) {
        size_t room = 2 * (o->room + n);
        uint8_t *data = realloc(o->data, room);
        if (!data) {
            o->failed = true;
            return NULL;
        }
        o->data = data;
        o->room = room;
    }
    o->len += n;
    return o->data + o->len - n;
}

static void put(struct state_out *o, const void *p, size_t n)
{
    uint8_t *to = n ? grow(o, n) : NULL;
    if (to)
        memcpy(to, p, n);
}

static void put_name(struct state_out *o, char tag, const char *name)
{
    size_t n = strlen(name);
    uint8_t head[2] = {(uint8_t)tag, (uint8_t)n};
    if (n == 0 || n > 255)
        o->failed = true;
    put(o, head, sizeof head);
    put(o, name, n + 1);
}

void state_out_section(struct state_out *o, const char *name)
{
    put_name(o, 'S', name);
}

void state_out_field(struct state_out *o, const char *name, size_t size, size_t count,
                     const void *data)
{
    uint8_t size8 = (uint8_t)size;
    uint32_t count32 = (uint32_t)count;
    if (count > UINT32_MAX)
        o->failed = true;
    put_name(o, 'F', name);
    put(o, &size8, sizeof size8);
    put(o, &count32, sizeof count32);
    put(o, data, size * count);
}

void state_out_text(struct state_out *o, const char *name, const char *text)
{
    if (text)
        state_out_field(o, name, 1, strlen(text), text);
}

void state_out_table(struct state_out *o, const struct state_field *table, size_t rows,
                     const void *object)
{
    for (size_t i = 0; i < rows; i++)
        state_out_field(o, table[i].name, table[i].size, table[i].count,
                        (const uint8_t *)object + table[i].offset);
}

/* ---- parsing --------------------------------------------------------------------------------- */

struct cursor {
    const uint8_t *at;
    size_t left;
};

static const uint8_t *take(struct cursor *c, size_t n)
{
    if (c->left < n)
        return NULL;
    c->at += n;
    c->left -= n;
    return c->at - n;
}

static const char *take_name(struct cursor *c)
{
    const uint8_t *n = take(c, 1);
    const uint8_t *name = n && *n ? take(c, *n + 1u) : NULL;
    if (!name || name[*n])
        return NULL;
    for (unsigned i = 0; i < *n; i++)
        if (name[i] < 0x20 || name[i] > 0x7e)
            return NULL;
    return (const char *)name;
}

static bool take_field(struct cursor *c, struct state_in_field *f)
{
    const uint8_t *size, *count;
    uint32_t n;
    *f = (struct state_in_field){.name = take_name(c)};
    if (!f->name || !(size = take(c, 1)) || !(count = take(c, 4)))
        return false;
    if (*size != 1 && *size != 2 && *size != 4 && *size != 8)
        return false;
    memcpy(&n, count, sizeof n);
    f->size = *size;
    f->count = n;
    f->data = take(c, f->size * f->count); /* at most 32 GiB: no overflow */
    return f->data != NULL;
}

/* Room for one more in an array that doubles. */
static void *room_for(void *array, size_t count, size_t size)
{
    if (count & (count - 1)) /* not a power of two: there is room */
        return array;
    return realloc(array, (count ? 2 * count : 1) * size);
}

static int no_memory(struct err *e)
{
    return err_set(e, ENOMEM, "no-memory", "no memory for the snapshot's state");
}

static int add_section(struct state_in *in, struct cursor *c, bool *good, struct err *e)
{
    void *p = room_for(in->section, in->sections, sizeof *in->section);
    if (!p)
        return no_memory(e);
    in->section = p;
    struct state_in_section s = {.name = take_name(c), .first = in->fields};
    *good = s.name;
    if (*good)
        in->section[in->sections++] = s;
    return 0;
}

static int add_field(struct state_in *in, struct cursor *c, bool *good, struct err *e)
{
    void *p = room_for(in->field, in->fields, sizeof *in->field);
    if (!p)
        return no_memory(e);
    in->field = p;
    *good = in->sections && take_field(c, &in->field[in->fields]);
    if (*good) {
        in->fields++;
        in->section[in->sections - 1].fields++;
    }
    return 0;
}

int state_in_parse(struct state_in *in, const uint8_t *data, size_t len, struct err *e)
{
    struct cursor c = {data, len};
    *in = (struct state_in){0};
    while (c.left) {
        uint8_t tag = *take(&c, 1);
        bool good = false;
        int r = 0;
        if (in->sections + in->fields >= STATE_IN_MAX_FIELDS)
            break;
        if (tag == 'S')
            r = add_section(in, &c, &good, e);
        else if (tag == 'F')
            r = add_field(in, &c, &good, e);
        if (r < 0)
            return r;
        if (!good)
            return err_set(e, EINVAL, "snapshot-corrupt",
                           "the snapshot's list of fields is broken at byte %zu of %zu",
                           len - c.left, len);
    }
    if (c.left)
        return err_set(e, EINVAL, "snapshot-corrupt", "the snapshot has more than %u fields",
                       STATE_IN_MAX_FIELDS);
    return 0;
}

void state_in_free(struct state_in *in)
{
    free(in->section);
    free(in->field);
    *in = (struct state_in){0};
}

/* ---- reading --------------------------------------------------------------------------------- */

struct state_in_section *state_in_section(struct state_in *in, const char *name)
{
    for (size_t i = 0; i < in->sections; i++)
        if (!in->section[i].used && strcmp(in->section[i].name, name) == 0) {
            in->section[i].used = true;
            return &in->section[i];
        }
    return NULL;
}

struct state_in_field *state_in_field(struct state_in *in, const struct state_in_section *s,
                                      const char *name)
{
    for (size_t i = 0; i < s->fields; i++) {
        struct state_in_field *f = &in->field[s->first + i];
        if (!f->used && strcmp(f->name, name) == 0) {
            f->used = true;
            return f;
        }
    }
    return NULL;
}

int state_in_number(struct state_in *in, const struct state_in_section *s, const char *name,
                    size_t size, void *to, struct err *e)
{
    const struct state_in_field *f = state_in_field(in, s, name);
    if (!f || f->size != size || f->count != 1)
        return err_set(e, EINVAL, "snapshot-state",
                       "the snapshot's section \"%s\" has no number \"%s\" of %zu bytes", s->name,
                       name, size);
    memcpy(to, f->data, size);
    return 0;
}

int state_in_text(struct state_in *in, const struct state_in_section *s, const char *name,
                  char **text, struct err *e)
{
    const struct state_in_field *f = state_in_field(in, s, name);
    *text = NULL;
    if (!f)
        return 0;
    if (f->size != 1 || memchr(f->data, 0, f->count))
        return err_set(e, EINVAL, "snapshot-state",
                       "\"%s\" in the snapshot's section \"%s\" is no text", name, s->name);
    *text = strndup((const char *)f->data, f->count);
    return *text ? 0 : no_memory(e);
}

static void store(uint8_t *to, const struct state_field *row, const uint8_t *from)
{
    memcpy(to, from, row->size * row->count);
    for (size_t i = 0; row->is_bool && i < row->count; i++)
        to[i] = to[i] != 0;
}

int state_in_table(struct state_in *in, const struct state_in_section *s,
                   const struct state_field *table, size_t rows, void *object, unsigned *missing,
                   const char **example, struct err *e)
{
    for (size_t i = 0; i < rows; i++) {
        const struct state_field *row = &table[i];
        const struct state_in_field *f = state_in_field(in, s, row->name);
        if (!f) {
            if (!(*missing)++)
                *example = row->name;
        } else if (f->size != row->size || f->count != row->count) {
            return err_set(e, EINVAL, "snapshot-state",
                           "field \"%s\" of \"%s\" has %zu elements of %zu bytes in the snapshot, "
                           "%zu of %zu in this ring3: restore it with the ring3 that made it",
                           row->name, s->name, f->count, f->size, row->count, row->size);
        } else {
            store((uint8_t *)object + row->offset, row, f->data);
        }
    }
    return state_in_all_used(in, s, e);
}

int state_in_all_used(struct state_in *in, const struct state_in_section *s, struct err *e)
{
    for (size_t i = 0; i < s->fields; i++) {
        const struct state_in_field *f = &in->field[s->first + i];
        if (!f->used)
            return err_set(e, EINVAL, "snapshot-state",
                           "the snapshot's section \"%s\" has a field \"%s\", which this ring3 "
                           "does not know: restore it with the ring3 that made it",
                           s->name, f->name);
    }
    return 0;
}
