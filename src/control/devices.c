/* SPDX-License-Identifier: MIT */
/* Commands that do something to the machine from outside: screen, keyboard, balloon, reset, NMI. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"
#include "ring3/devices/virtio_balloon.h"

static int no_screen(const struct control_call *c, struct err *e)
{
    return c->vm->display.ops ? 0
                              : err_set(e, ENODEV, "no-screen",
                                        "this machine has no screen; firmware brings one, and so "
                                        "does --display");
}

int control_screenshot(struct control_call *c, struct err *e)
{
    int r = no_screen(c, e);
    if (r == 0)
        r = display_screenshot(&c->vm->display, c->argv[1], e);
    if (r == 0)
        fprintf(c->out, "written to %s\n", c->argv[1]);
    return r;
}

int control_screen(struct control_call *c, struct err *e)
{
    char *text = NULL;
    int r = no_screen(c, e);
    if (r == 0)
        r = display_text(&c->vm->display, &text, e);
    if (r == 0) {
        fputs(text, c->out);
        json_object_set_new(c->result, "screen", json_string(text));
    }
    free(text);
    return r;
}

/* The words come apart at blanks; so does what is typed come together. */
int control_type(struct control_call *c, struct err *e)
{
    char keys[1024] = "";
    size_t used = 0;
    int r = no_screen(c, e);
    for (unsigned i = 1; r == 0 && i < c->argc; i++) {
        int n = snprintf(keys + used, sizeof keys - used, "%s%s", i > 1 ? " " : "", c->argv[i]);
        if (n < 0 || (size_t)n >= sizeof keys - used)
            return err_set(e, E2BIG, "bad-argument", "too much to type at once");
        used += (size_t)n;
    }
    return r ? r : display_type(&c->vm->display, keys, e);
}

static void print_report(struct control_call *c)
{
    struct virtio_balloon_report r;
    virtio_balloon_query(c->vm->balloon, &r);
    fprintf(c->out, "driver %s; asked for %" PRIu64 " MiB, given %" PRIu64 " MiB\n",
            r.driver ? "present" : "absent", r.target_bytes / MIB, r.given_bytes / MIB);
    for (unsigned n = 0; n < VIRTIO_BALLOON_STATS; n++)
        if ((r.known >> n & 1) && virtio_balloon_stat_name(n))
            fprintf(c->out, "  %-20s %" PRIu64 "\n", virtio_balloon_stat_name(n), r.stat[n]);
    json_object_set_new(c->result, "target_bytes", json_integer((json_int_t)r.target_bytes));
    json_object_set_new(c->result, "given_bytes", json_integer((json_int_t)r.given_bytes));
}

static int change(struct control_call *c, const char *file, struct err *e)
{
    uint64_t drive;
    int r = control_number(c->argv[1], &drive, e);

    if (r == 0)
        r = vm_change_medium(c->vm, drive < VM_MAX_DRIVES ? (unsigned)drive : VM_MAX_DRIVES, file,
                             e);
    if (r == 0)
        fprintf(c->out, "drive %u: %s\n", (unsigned)drive, file ? file : "empty");
    return r;
}

int control_change(struct control_call *c, struct err *e)
{
    return change(c, c->argv[2], e);
}

int control_eject(struct control_call *c, struct err *e)
{
    return change(c, NULL, e);
}

int control_balloon(struct control_call *c, struct err *e)
{
    uint64_t mib;
    if (!c->vm->balloon)
        return err_set(e, ENODEV, "no-balloon", "this machine has no memory balloon");
    if (c->argc > 1) {
        int r = control_number(c->argv[1], &mib, e);
        if (r < 0)
            return r;
        if (mib * MIB > c->vm->config.ram_bytes)
            return err_set(e, EINVAL, "bad-argument", "the guest has %" PRIu64 " MiB in all",
                           c->vm->config.ram_bytes / MIB);
        virtio_balloon_set(c->vm->balloon, mib * MIB);
    }
    print_report(c);
    return 0;
}

int control_reset(struct control_call *c, struct err *e)
{
    vm_reset_request(c->vm);
    return 0;
}

int control_nmi(struct control_call *c, struct err *e)
{
    vcpu_attend(c->vm->vcpu, ATTN_NMI);
    return 0;
}
