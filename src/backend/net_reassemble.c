/* SPDX-License-Identifier: MIT */
/* IPv4 datagrams from their fragments: see net_reassemble.h. libslirp 4.7.0 can be made to write
 * beyond its buffers by fragments that fit badly, so it gets whole datagrams only.
 *
 * A slot holds the data of one datagram and a map of its blocks of eight bytes. Fragments that
 * overlap, are empty, end off a block though more follow, or reach beyond 65,535 bytes drop the
 * datagram. A new one takes the slot that was used least recently; there is no time-out besides. */
#include "net_reassemble.h"

#include <stdlib.h>
#include <string.h>

#include "ring3/net_offload.h"

#define IP_AT      NET_FRAME_MIN
#define IP_LEAST   20u
#define IP_MOST    60u
#define TOTAL_MOST 65535u
#define BLOCKS     (65536 / 8)
#define MORE       0x2000u
#define OFFSET     0x1fffu
#define KEY_BYTES  12

struct reassembly_slot {
    uint8_t key[KEY_BYTES]; /* source, destination, identification, protocol */
    uint64_t used;          /* turn of its last fragment; 0: free */
    size_t header;          /* bytes of the first fragment's IP header; 0: it has not come */
    size_t total, have;     /* bytes of data: in all (0: not known), so far */
    uint8_t map[BLOCKS / 8];
    uint8_t start[IP_AT + IP_MOST];              /* of the first fragment */
    uint8_t frame[IP_AT + IP_MOST + TOTAL_MOST]; /* data from IP_AT + IP_MOST on */
};

/* A fragment, taken apart. */
struct piece {
    uint8_t key[KEY_BYTES];
    const uint8_t *data;
    size_t header, at, len;
    bool more;
};

bool net_is_fragment(const uint8_t *frame, size_t n)
{
    return n >= IP_AT + IP_LEAST && frame[12] == 0x08 && frame[13] == 0x00 &&
           ((frame[IP_AT + 6] & 0x3f) || frame[IP_AT + 7]);
}

static bool parse(const uint8_t *frame, size_t n, struct piece *p)
{
    const uint8_t *ip = frame + IP_AT;
    unsigned flags = (unsigned)(ip[6] << 8 | ip[7]);
    size_t total = (size_t)(ip[2] << 8 | ip[3]);
    *p = (struct piece){.header = (ip[0] & 15u) * 4, .at = (flags & OFFSET) * 8};
    if (ip[0] >> 4 != 4 || p->header < IP_LEAST || total > n - IP_AT || total <= p->header ||
        net_sum_finish(net_sum(ip, p->header, 0)) != 0)
        return false;
    memcpy(p->key, ip + 12, 8);
    memcpy(p->key + 8, ip + 4, 2);
    p->key[10] = ip[9];
    p->data = ip + p->header;
    p->len = total - p->header;
    p->more = flags & MORE;
    return p->at + p->len + p->header <= TOTAL_MOST && !(p->more && p->len % 8);
}

static struct reassembly_slot *find_slot(struct reassembly *r, const struct piece *p)
{
    struct reassembly_slot **oldest = &r->slot[0];
    for (unsigned i = 0; i < REASSEMBLY_SLOTS; i++) {
        struct reassembly_slot **s = &r->slot[i];
        if (*s && (*s)->used && memcmp((*s)->key, p->key, KEY_BYTES) == 0)
            return *s;
        if (*oldest && (!*s || (*s)->used < (*oldest)->used))
            oldest = s;
    }
    if (!*oldest)
        *oldest = malloc(sizeof **oldest);
    if (*oldest) {
        memset(*oldest, 0, offsetof(struct reassembly_slot, start));
        memcpy((*oldest)->key, p->key, KEY_BYTES);
    }
    return *oldest;
}

/* False: it does not fit to what is there. */
static bool add(struct reassembly_slot *s, const struct piece *p, const uint8_t *frame)
{
    size_t end = p->at + p->len;
    if (s->total && (end > s->total || !p->more))
        return false;
    for (size_t block = p->at / 8; block < (end + 7) / 8; block++) {
        if (s->map[block / 8] >> block % 8 & 1)
            return false;
        s->map[block / 8] |= (uint8_t)(1u << block % 8);
    }
    memcpy(s->frame + IP_AT + IP_MOST + p->at, p->data, p->len);
    s->have += p->len;
    if (!p->more)
        s->total = end;
    if (p->at == 0) {
        s->header = p->header;
        memcpy(s->start, frame, IP_AT + p->header);
    }
    return s->have <= s->total || !s->total;
}

static const uint8_t *finish(struct reassembly_slot *s, size_t *whole)
{
    uint8_t *frame = s->frame + IP_MOST - s->header, *ip = frame + IP_AT;
    size_t total = s->header + s->total;
    s->used = 0;
    if (total > TOTAL_MOST)
        return NULL;
    memcpy(frame, s->start, IP_AT + s->header);
    ip[2] = (uint8_t)(total >> 8);
    ip[3] = (uint8_t)total;
    memset(ip + 6, 0, 2);
    memset(ip + 10, 0, 2);
    net_checksum(frame, IP_AT + total, IP_AT, IP_AT + s->header, IP_AT + 10);
    *whole = IP_AT + total;
    return frame;
}

const uint8_t *net_reassemble(struct reassembly *r, const uint8_t *frame, size_t n, size_t *whole)
{
    struct piece p;
    if (!parse(frame, n, &p))
        return NULL;
    struct reassembly_slot *s = find_slot(r, &p);
    if (!s)
        return NULL;
    s->used = ++r->turn;
    if (!add(s, &p, frame)) {
        s->used = 0;
        return NULL;
    }
    return s->total && s->have == s->total && s->header ? finish(s, whole) : NULL;
}

void net_reassembly_free(struct reassembly *r)
{
    for (unsigned i = 0; i < REASSEMBLY_SLOTS; i++)
        free(r->slot[i]);
    *r = (struct reassembly){0};
}
