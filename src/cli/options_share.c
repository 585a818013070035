/* SPDX-License-Identifier: MIT */
/* --share DIR[,tag=NAME][,ro]: a host directory that the guest mounts by 9P. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_word(struct run_options *o, struct share_config *s, const char *word, size_t n,
                    struct err *e)
{
    if (n == 2 && !memcmp(word, "ro", 2)) {
        s->read_only = true;
        return 0;
    }
    if (n > 4 && !memcmp(word, "tag=", 4)) {
        free(o->share_text[2 * o->vm.shares + 1]);
        s->tag = o->share_text[2 * o->vm.shares + 1] = strndup(word + 4, n - 4);
        return s->tag ? 0 : err_set(e, ENOMEM, "no-memory", "no memory");
    }
    return err_set(e, EINVAL, "bad-option",
                   "--share does not know \"%.*s\"; behind the directory it knows tag=NAME and ro",
                   (int)n, word);
}

/* Tags are what the guest mounts by: share, share1, ... unless they are given. */
static int settle_tag(struct run_options *o, struct share_config *s, struct err *e)
{
    char name[16] = "share";
    if (o->vm.shares)
        snprintf(name, sizeof name, "share%u", o->vm.shares);
    if (!s->tag)
        s->tag = o->share_text[2 * o->vm.shares + 1] = strdup(name);
    if (!s->tag)
        return err_set(e, ENOMEM, "no-memory", "no memory");
    for (unsigned i = 0; i < o->vm.shares; i++)
        if (!strcmp(o->vm.share[i].tag, s->tag))
            return err_set(e, EINVAL, "bad-option", "two shares with the tag \"%s\"", s->tag);
    return 0;
}

int option_share(struct run_options *o, const char *arg, struct err *e)
{
    const char *rest;
    if (o->vm.shares == VM_MAX_SHARES)
        return err_set(e, EINVAL, "too-many-shares", "at most %d --share options", VM_MAX_SHARES);
    struct share_config *s = &o->vm.share[o->vm.shares];
    *s = (struct share_config){.path = option_take_name(arg, &rest)};
    o->share_text[2 * o->vm.shares] = (char *)s->path;
    if (!s->path)
        return err_set(e, ENOMEM, "no-memory", "no memory");
    int r = 0;
    while (*rest && r == 0) {
        size_t n = strcspn(rest, ",");
        r = set_word(o, s, rest, n, e);
        rest += n + (rest[n] == ',');
    }
    if (r == 0)
        r = settle_tag(o, s, e);
    o->vm.shares += r == 0;
    return r;
}
