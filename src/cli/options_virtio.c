/* SPDX-License-Identifier: MIT */
/* --virtio WORD[,...]: virtio devices that are no drive or network card, and their kind. */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

int option_virtio(struct run_options *o, const char *arg, struct err *e)
{
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {
        {"rng", VM_RNG},
        {"balloon", VM_BALLOON},
        {"console", VM_CONSOLE},
        {"modern", VM_VIRTIO_MODERN},
        {"legacy", VM_VIRTIO_LEGACY},
    };
    for (const char *at = arg; *at;) {
        size_t n = strcspn(at, ",");
        unsigned i = 0;
        while (i < ARRAY_LEN(words) &&
               (strlen(words[i].word) != n || memcmp(words[i].word, at, n) != 0))
            i++;
        if (i == ARRAY_LEN(words))
            return err_set(e, EINVAL, "bad-option",
                           "--virtio does not know \"%.*s\"; it knows rng, balloon, console, "
                           "modern and legacy, with commas between",
                           (int)n, at);
        o->vm.extras |= words[i].bit;
        at += n + (at[n] == ',');
    }
    if ((o->vm.extras & VM_VIRTIO_MODERN) && (o->vm.extras & VM_VIRTIO_LEGACY))
        return err_set(e, EINVAL, "bad-option",
                       "--virtio modern and legacy exclude each other; devices are both unless "
                       "one is asked for");
    return 0;
}
