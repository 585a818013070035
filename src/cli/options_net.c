/* SPDX-License-Identifier: MIT */
/* --net SPEC[,model=NAME][,mac=52:54:00:...]: a card and what it is connected to. The backend reads
 * the other words (ring3/net.h). */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

/* Names that the board knows; here too, because configurations borrow strings. */
static const char *const models[] = {"virtio", "e1000", "rtl8139", "rtl8139c", "ne2k", "pcnet"};

static const uint8_t first_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

static int set_model(struct nic_config *nic, const struct net_word *w, struct err *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(models); i++)
        if (strlen(models[i]) == w->value_len && !memcmp(models[i], w->value, w->value_len)) {
            nic->model = models[i];
            return 0;
        }
    return err_set(
        e, EINVAL, "net-model",
        "--net: there is no card \"%.*s\"; model= knows virtio, e1000, rtl8139, rtl8139c, ne2k and "
        "pcnet",
        (int)w->value_len, w->value);
}

static int card_word(struct nic_config *nic, const struct net_word *w, struct err *e)
{
    if (!w->value)
        return 0;
    if (net_word_is(w, "model"))
        return set_model(nic, w, e);
    if (net_word_is(w, "mac") && !net_parse_mac(w->value, w->value_len, nic->mac))
        return err_set(e, EINVAL, "net-mac",
                       "--net: mac=%.*s is no address of a card; write it like "
                       "52:54:00:12:34:56, the first number even",
                       (int)w->value_len, w->value);
    return 0;
}

int option_net(struct run_options *o, const char *arg, struct err *e)
{
    struct net_word w;
    const char *at = arg;
    int r = 0;
    o->net_given = true;
    if (strcmp(arg, "none") == 0)
        return 0; /* not even a card */
    if (o->vm.nics == VM_MAX_NICS)
        return err_set(e, EINVAL, "net-too-many", "at most %d --net options", VM_MAX_NICS);
    struct nic_config *nic = &o->vm.nic[o->vm.nics];
    *nic = (struct nic_config){.backend = arg};
    memcpy(nic->mac, first_mac, sizeof nic->mac);
    nic->mac[5] += (uint8_t)o->vm.nics++;
    while (r == 0 && net_word_next(&at, &w))
        r = card_word(nic, &w, e);
    return r;
}

/* A guest that starts from a disk or from firmware gets a network unless --net said something; a
 * bare kernel is spared the time of finding a card. */
void nets_settle(struct run_options *o)
{
    struct err e;
    if (!o->net_given && (!o->vm.kernel || o->vm.firmware || o->vm.drives))
        option_net(o, "user", &e);
}
