/* SPDX-License-Identifier: MIT */
/* IPv4 datagrams from their fragments (RFC 791, RFC 815). */
#ifndef RING3_BACKEND_NET_REASSEMBLE_H
#define RING3_BACKEND_NET_REASSEMBLE_H

#include "ring3/types.h"

#define REASSEMBLY_SLOTS 4

struct reassembly_slot;
struct reassembly {
    struct reassembly_slot *slot[REASSEMBLY_SLOTS]; /* made when first needed */
    uint64_t turn;
};

bool net_is_fragment(const uint8_t *frame, size_t n);
/* Take a fragment in. When it completes a datagram: that, as one frame, valid until the next call;
 * else NULL. */
const uint8_t *net_reassemble(struct reassembly *r, const uint8_t *frame, size_t n, size_t *whole);
void net_reassembly_free(struct reassembly *r);

#endif
