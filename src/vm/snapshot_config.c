/* SPDX-License-Identifier: MIT */
/* What made the machine, in a snapshot: section "config", and a section for each drive, network
 * card and share. Names of files are made absolute, since the restoring ring3 may run elsewhere.
 *
 * The contents of disk images are not in the snapshot. What is there is size and time of the last
 * change, so that an image which is no longer what the guest believes is refused. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vm/snapshot_file.h"

struct text_row {
    const char *name;
    size_t offset; /* of a const char * */
    bool file;
};

static const struct state_field numbers[] = {
    STATE(struct vm_config, clock),     STATE(struct vm_config, ram_bytes),
    STATE(struct vm_config, firmware),  STATE_ARRAY(struct vm_config, boot),
    STATE(struct vm_config, drives),    STATE(struct vm_config, nics),
    STATE(struct vm_config, shares),    STATE(struct vm_config, allow_reboot),
    STATE(struct vm_config, extras),    STATE(struct vm_config, display),
    STATE(struct vm_config, boot_menu),
};
static const struct text_row texts[] = {
    {"kernel", offsetof(struct vm_config, kernel), true},
    {"initrd", offsetof(struct vm_config, initrd), true},
    {"append", offsetof(struct vm_config, append), false},
    {"bios", offsetof(struct vm_config, bios), true},
};

static const struct state_field drive_numbers[] = {
    STATE(struct drive_config, image.format),   STATE(struct drive_config, image.read_only),
    STATE(struct drive_config, image.snapshot), STATE(struct drive_config, image.unsafe),
    STATE(struct drive_config, interface),      STATE(struct drive_config, cdrom),
};
static const struct text_row drive_texts[] = {
    {"file", offsetof(struct drive_config, image.file), true},
};

static const struct state_field nic_numbers[] = {STATE_ARRAY(struct nic_config, mac)};
static const struct text_row nic_texts[] = {
    {"model", offsetof(struct nic_config, model), false},
    {"backend", offsetof(struct nic_config, backend), false},
};

static const struct state_field share_numbers[] = {STATE(struct share_config, read_only)};
static const struct text_row share_texts[] = {
    {"path", offsetof(struct share_config, path), true},
    {"tag", offsetof(struct share_config, tag), false},
};

/* An array of things in vm_config, each a section. */
static const struct list {
    const char *name;
    size_t offset, size; /* of the first one in vm_config, of each */
    size_t count;        /* offset of the number of them */
    unsigned max;
    const struct state_field *numbers;
    size_t number_count;
    const struct text_row *texts;
    size_t text_count;
} lists[] = {
    {"drive", offsetof(struct vm_config, drive), sizeof(struct drive_config),
     offsetof(struct vm_config, drives), VM_MAX_DRIVES, drive_numbers, ARRAY_LEN(drive_numbers),
     drive_texts, ARRAY_LEN(drive_texts)},
    {"nic", offsetof(struct vm_config, nic), sizeof(struct nic_config),
     offsetof(struct vm_config, nics), VM_MAX_NICS, nic_numbers, ARRAY_LEN(nic_numbers), nic_texts,
     ARRAY_LEN(nic_texts)},
    {"share", offsetof(struct vm_config, share), sizeof(struct share_config),
     offsetof(struct vm_config, shares), VM_MAX_SHARES, share_numbers, ARRAY_LEN(share_numbers),
     share_texts, ARRAY_LEN(share_texts)},
};

static unsigned length_of(const struct list *l, const struct vm_config *c)
{
    return *(const unsigned *)(const void *)((const char *)c + l->count);
}

/* ---- saving ---------------------------------------------------------------------------------- */

static void save_texts(struct state_out *o, const struct text_row *rows, size_t n,
                       const void *object)
{
    for (size_t i = 0; i < n; i++) {
        const char *text =
            *(const char *const *)(const void *)((const char *)object + rows[i].offset);
        char *absolute = text && rows[i].file && !strstr(text, "://") ? realpath(text, NULL) : NULL;
        state_out_text(o, rows[i].name, absolute ? absolute : text);
        free(absolute);
    }
}

/* False for what is no file here. */
static bool identify(const char *file, struct snapshot_image *image)
{
    struct stat st;
    if (!file || stat(file, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    image->bytes = (uint64_t)st.st_size;
    image->changed_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_SEC + st.st_mtim.tv_nsec;
    return true;
}

/* Section "image.N" for drive N. */
static const struct state_field image_numbers[] = {
    STATE(struct snapshot_image, bytes),
    STATE(struct snapshot_image, changed_ns),
};

static void save_image(struct state_out *o, unsigned n, const struct drive_config *d)
{
    struct snapshot_image image;
    char name[32];
    if (!identify(d->image.file, &image))
        return;
    snprintf(name, sizeof name, "image.%u", n);
    state_out_section(o, name);
    state_out_table(o, image_numbers, ARRAY_LEN(image_numbers), &image);
}

static void section_name(char *to, size_t size, const struct list *l, unsigned n)
{
    snprintf(to, size, "%s.%u", l->name, n);
}

void snapshot_config_save(struct vm *vm, struct state_out *o)
{
    const struct vm_config *c = &vm->config;
    state_out_section(o, "config");
    state_out_text(o, "board", c->board->name);
    state_out_table(o, numbers, ARRAY_LEN(numbers), c);
    save_texts(o, texts, ARRAY_LEN(texts), c);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (unsigned n = 0; n < length_of(&lists[i], c); n++) {
            const struct list *l = &lists[i];
            const char *object = (const char *)c + l->offset + n * l->size;
            char name[32];
            section_name(name, sizeof name, l, n);
            state_out_section(o, name);
            state_out_table(o, l->numbers, l->number_count, object);
            save_texts(o, l->texts, l->text_count, object);
        }
    for (unsigned n = 0; n < c->drives; n++)
        save_image(o, n, &c->drive[n]);
}

/* ---- restoring ------------------------------------------------------------------------------- */

static int keep(struct snapshot_strings *s, char *text, struct err *e)
{
    char **list = realloc(s->text, (s->count + 1) * sizeof *list);
    if (!list) {
        free(text);
        return err_set(e, ENOMEM, "no-memory", "no memory for the snapshot's configuration");
    }
    s->text = list;
    s->text[s->count++] = text;
    return 0;
}

static int load_texts(struct state_in *in, const struct state_in_section *sec,
                      const struct text_row *rows, size_t n, void *object,
                      struct snapshot_strings *strings, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        char *text;
        int r = state_in_text(in, sec, rows[i].name, &text, e);
        if (r == 0 && text)
            r = keep(strings, text, e);
        if (r < 0)
            return r;
        *(const char **)(void *)((char *)object + rows[i].offset) = text;
    }
    return 0;
}

static int load_object(struct state_in *in, const struct state_in_section *sec,
                       const struct list *l, void *object, struct snapshot_strings *strings,
                       struct err *e)
{
    unsigned missing = 0;
    const char *example = NULL;
    int r = load_texts(in, sec, l->texts, l->text_count, object, strings, e);
    if (r == 0)
        r = state_in_table(in, sec, l->numbers, l->number_count, object, &missing, &example, e);
    return r;
}

static int bad(struct err *e, const char *what)
{
    return err_set(e, EINVAL, "snapshot-config", "the snapshot's configuration has a bad %s", what);
}

/* Enumerations come as numbers; nothing else looks at them before somebody uses one as an index. */
static int check(const struct vm_config *c, struct err *e)
{
    if (c->clock != CLOCK_REAL_TIME && c->clock != CLOCK_VIRTUAL)
        return bad(e, "clock");
    for (unsigned i = 0; i < VM_MAX_BOOT; i++)
        if ((unsigned)c->boot[i] > BOOT_CDROM)
            return bad(e, "boot order");
    for (unsigned i = 0; i < c->drives; i++)
        if ((unsigned)c->drive[i].interface > DRIVE_FLOPPY ||
            (unsigned)c->drive[i].image.format > BLOCK_FORMAT_QCOW2)
            return bad(e, "drive");
    for (unsigned i = 0; i < c->nics; i++)
        if (!c->nic[i].backend)
            return bad(e, "network card");
    for (unsigned i = 0; i < c->shares; i++)
        if (!c->share[i].path || !c->share[i].tag)
            return bad(e, "share");
    return 0;
}

static int load_lists(struct state_in *in, struct vm_config *c, struct snapshot_strings *strings,
                      struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const struct list *l = &lists[i];
        if (length_of(l, c) > l->max)
            return bad(e, "number of drives, network cards or shares");
        for (unsigned n = 0; n < length_of(l, c) && r == 0; n++) {
            char name[32];
            section_name(name, sizeof name, l, n);
            const struct state_in_section *sec = state_in_section(in, name);
            r = sec ? load_object(in, sec, l, (char *)c + l->offset + n * l->size, strings, e)
                    : bad(e, name);
        }
    }
    return r;
}

static int load_images(struct state_in *in, struct snapshot_machine *m, struct err *e)
{
    int r = 0;
    for (unsigned n = 0; n < m->config.drives && r == 0; n++) {
        unsigned missing = 0;
        const char *example = NULL;
        char name[32];
        snprintf(name, sizeof name, "image.%u", n);
        const struct state_in_section *sec = state_in_section(in, name);
        if (sec)
            r = state_in_table(in, sec, image_numbers, ARRAY_LEN(image_numbers), &m->image[n],
                               &missing, &example, e);
        m->image_known[n] = sec && !missing;
    }
    return r;
}

int snapshot_config_load(struct state_in *in, struct snapshot_machine *m, struct err *e)
{
    const struct state_in_section *sec = state_in_section(in, "config");
    struct vm_config *c = &m->config;
    unsigned missing = 0;
    const char *example = NULL;
    if (!sec)
        return bad(e, "or no section \"config\"");
    int r = state_in_text(in, sec, "board", &m->board, e);
    if (r == 0)
        r = load_texts(in, sec, texts, ARRAY_LEN(texts), c, &m->strings, e);
    if (r == 0)
        r = state_in_table(in, sec, numbers, ARRAY_LEN(numbers), c, &missing, &example, e);
    if (r == 0 && !m->board)
        r = bad(e, "board");
    if (r == 0)
        r = load_lists(in, c, &m->strings, e);
    if (r == 0)
        r = load_images(in, m, e);
    if (!c->append)
        c->append = "";
    return r < 0 ? r : check(c, e);
}

static int check_image(const struct snapshot_image *then, const char *file, struct err *e)
{
    struct snapshot_image now;
    if (!identify(file, &now))
        return err_set(e, ENOENT, "snapshot-disk",
                       "the disk image %s, which the snapshot needs, is gone", file);
    if (now.bytes != then->bytes || now.changed_ns != then->changed_ns)
        return err_set(e, EINVAL, "snapshot-disk",
                       "the disk image %s has changed since the snapshot was taken, which the "
                       "guest would take for corruption; put the old one back, or --force it",
                       file);
    return 0;
}

int snapshot_config_images(const struct snapshot_machine *m, struct err *e)
{
    int r = 0;
    for (unsigned n = 0; n < m->config.drives && r == 0; n++)
        if (m->image_known[n] && m->config.drive[n].image.file)
            r = check_image(&m->image[n], m->config.drive[n].image.file, e);
    return r;
}

void snapshot_config_free(struct snapshot_machine *m)
{
    for (size_t i = 0; i < m->strings.count; i++)
        free(m->strings.text[i]);
    free(m->strings.text);
    free(m->board);
    *m = (struct snapshot_machine){0};
}
