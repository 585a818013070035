/* SPDX-License-Identifier: MIT */
/* Parts of the VNC server that need no VNC. */
#ifndef RING3_BACKEND_VNC_H
#define RING3_BACKEND_VNC_H

#include "ring3/err.h"
#include "ring3/types.h"

#define VNC_PASSWORD_MAX 8 /* what the protocol's authentication looks at */

/* Where to listen: as viewer_vnc_new() takes it. */
struct vnc_place {
    int fd;                              /* listening, non-blocking */
    char unix_path[108];                 /* removed at the end; or "" */
    char password[VNC_PASSWORD_MAX + 1]; /* or "" */
};
int vnc_listen(struct vnc_place *p, const char *where, struct err *e);
void vnc_unlisten(struct vnc_place *p);

/* The set-1 code for an X keysym (X11 protocol, appendix A), as display_key() takes it; 0: none. */
unsigned vnc_key(uint32_t keysym);

#endif
