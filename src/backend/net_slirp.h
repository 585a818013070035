/* SPDX-License-Identifier: MIT */
/* Inside the user mode network: what its words say. */
#ifndef RING3_BACKEND_NET_SLIRP_H
#define RING3_BACKEND_NET_SLIRP_H

#include <netinet/in.h>

#include "ring3/err.h"
#include "ring3/types.h"

#define SLIRP_MAX_FORWARDS 32
#define SLIRP_TEXT         256

struct slirp_forward {
    bool udp;
    struct in_addr host, guest; /* guest 0.0.0.0: the first address that DHCP gives */
    uint16_t host_port, guest_port;
};

struct slirp_words {
    bool restricted;  /* nothing leaves the virtual network but answers to forwards */
    bool no_loopback; /* the host's own services stay out of reach */
    bool ipv6;
    struct in_addr net, mask;
    unsigned mtu;                                                           /* 0: as Ethernet */
    char hostname[64], domain[SLIRP_TEXT], tftp[SLIRP_TEXT], bootfile[128]; /* "": none */
    struct slirp_forward forward[SLIRP_MAX_FORWARDS];
    unsigned forwards;
};

/* 0 or -EINVAL. */
int slirp_words_parse(const char *words, struct slirp_words *w, struct err *e);
/* Address n of the network, as in 10.0.2.n. */
struct in_addr slirp_address(const struct slirp_words *w, unsigned n);

#endif
