/* SPDX-License-Identifier: MIT */
/* How the pcnet moves frames: initialization block, rings of descriptors in four software styles,
 * filters (data sheet Am79C970A, "Buffer management", "Initialization block").
 *
 * A descriptor of the 32-bit styles is four dwords, of which three are used; where they are
 * depends on the style. In style 0, the LANCE's, it is two:
 *
 *              31       24 23   16 15          0
 *   control    [ flags             | -bytes      ]     address  [ flags | address (24 bits)    ]
 *   message    [ errors    |       | length      ]     message  [ errors, or length | -bytes   ]
 *
 * OWN is the chip's turn. A frame may have several buffers: STP is in the first, ENP in the last.
 * Whatever a guest writes there, one demand sends at most as often as the ring has entries. */
#include "pcnet.h"

#include <string.h>

enum {
    FLAG_OWN = 0x8000,
    FLAG_ERR = 0x4000,
    FLAG_LTINT = 0x1000, /* to send: interrupt for this one, if CSR5 says that not all do */
    FLAG_STP = 0x0200,
    FLAG_ENP = 0x0100,
    FLAG_PHYSICAL = 0x0040, /* received: how it passed */
    FLAG_MULTICAST = 0x0020,
    FLAG_BROADCAST = 0x0010,
};
#define KEPT_TX       (FLAG_STP | FLAG_ENP)
#define MSG_UNDERFLOW 0xc0000000u /* BUFF and UFLO */
#define CRC           4u
#define SHORTEST      60u
#define LONGEST       2044u /* what fits into a buffer of ours with the CRC */
#define LONGEST_SENT  1518u /* with a VLAN's tag */

/* Indexes of dwords. */
static const struct layout {
    uint8_t bytes, address, control, message;
} layouts[] = {{8, 0, 0, 1}, {16, 0, 1, 2}, {16, 0, 1, 2}, {16, 2, 1, 0}};

struct descriptor {
    const struct layout *l;
    gpa_t at;
    uint32_t word[4];
    uint32_t address, bytes;
    uint16_t flags;
};

static unsigned style(const struct pcnet *s)
{
    return s->bcr[BCR_STYLE] & 3;
}

/* False: the ring is not in memory. */
static bool load(struct pcnet *s, uint32_t ring, unsigned index, struct descriptor *d)
{
    d->l = &layouts[style(s)];
    d->at = (uint32_t)(ring + index * d->l->bytes);
    if (phys_read(s->h.mem, d->at, d->word, d->l->bytes) < 0)
        return false;
    uint32_t control = d->word[d->l->control];
    d->address = d->word[d->l->address];
    d->flags = (uint16_t)(control >> 16);
    if (style(s) == 0) {
        d->address = (d->address & 0xffffff) | (uint32_t)(s->csr[CSR_INIT_HIGH] & 0xff00) << 16;
        d->flags &= 0xff00;
        control = d->word[1];
    }
    d->bytes = 4096 - (control & 0xfff);
    return true;
}

/* Back to the driver, with new flags, and a message if it is not NULL: that first. */
static void give_back(struct pcnet *s, const struct descriptor *d, uint16_t flags,
                      const uint32_t *message)
{
    uint32_t control = d->word[d->l->control], kept = style(s) == 0 ? 0xffffff : 0xffff;
    uint32_t text = message ? *message : 0;

    if (style(s) == 0)
        text |= d->word[1] & 0xffff;
    control = (control & kept) | ((uint32_t)flags << 16 & ~kept);
    if (message)
        phys_write(s->h.mem, d->at + 4u * d->l->message, &text, 4);
    phys_write(s->h.mem, d->at + 4u * d->l->control, &control, 4);
}

/* ---- initialization block -------------------------------------------------------------------- */

static unsigned short_log(uint32_t n)
{
    return n < PCNET_LOG_MAX ? n : PCNET_LOG_MAX;
}

static void set_rings(struct pcnet *s, uint32_t rx, uint32_t tx, unsigned rx_log, unsigned tx_log)
{
    uint32_t mask = ~(uint32_t)(layouts[style(s)].bytes - 1);

    for (unsigned i = 0; i < 2; i++) {
        s->csr[CSR_RX_RING + i] = (uint16_t)((rx & mask) >> 16 * i);
        s->csr[CSR_TX_RING + i] = (uint16_t)((tx & mask) >> 16 * i);
    }
    s->csr[CSR_LENGTHS] = (uint16_t)(tx_log << 12 | rx_log << 8);
    s->rx_index = s->tx_index = 0;
}

/* 32-bit structures: lengths and mode, address, filter, rings. */
static bool read_wide(struct pcnet *s, uint32_t at)
{
    uint32_t b[7];

    if (phys_read(s->h.mem, at, b, sizeof b) < 0)
        return false;
    s->csr[CSR_MODE] = (uint16_t)b[0];
    for (unsigned i = 0; i < 3; i++)
        s->csr[CSR_PADR + i] = (uint16_t)(b[1 + i / 2] >> 16 * (i % 2));
    for (unsigned i = 0; i < 4; i++)
        s->csr[CSR_LADRF + i] = (uint16_t)(b[3 + i / 2] >> 16 * (i % 2));
    set_rings(s, b[5], b[6], short_log(b[0] >> 20 & 15), short_log(b[0] >> 28));
    return true;
}

/* The LANCE's: mode, address, filter, and two words a ring, with its length on top. */
static bool read_narrow(struct pcnet *s, uint32_t at)
{
    uint16_t b[12];
    uint32_t high = (uint32_t)(s->csr[CSR_INIT_HIGH] & 0xff00) << 16;

    if (phys_read(s->h.mem, at, b, sizeof b) < 0)
        return false;
    s->csr[CSR_MODE] = b[0];
    memcpy(&s->csr[CSR_PADR], &b[1], 6);
    memcpy(&s->csr[CSR_LADRF], &b[4], 8);
    set_rings(s, high | (uint32_t)(b[9] & 0xff) << 16 | b[8],
              high | (uint32_t)(b[11] & 0xff) << 16 | b[10], b[9] >> 13, b[11] >> 13);
    return true;
}

bool pcnet_read_init(struct pcnet *s)
{
    uint32_t at = pcnet_csr32(s, CSR_INIT_LOW);

    return style(s) == 0 ? read_narrow(s, at) : read_wide(s, at);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void memory_error(struct pcnet *s, uint16_t off)
{
    log_guest(s->h.log, &s->limit, "pcnet-memory",
              "the guest's descriptors or buffers are where no memory is: the card stops %s",
              off == CSR0_TXON ? "sending" : "receiving");
    s->csr[0] |= CSR0_MERR;
    s->csr[0] &= (uint16_t)~off;
}

static void send_frame(struct pcnet *s, uint8_t *frame, uint32_t n)
{
    struct iovec iov = {frame, n};

    if ((s->csr[4] & CSR4_APAD_XMT) && n < SHORTEST) {
        memset(frame + n, 0, SHORTEST - n);
        iov.iov_len = SHORTEST;
    }
    if (s->csr[CSR_MODE] & MODE_LOOP) {
        if ((s->csr[0] & CSR0_RXON) && pcnet_wants(s, frame) &&
            pcnet_store(s, frame, iov.iov_len) == PCNET_STORED)
            s->csr[0] |= CSR0_RINT;
    } else if (n <= LONGEST_SENT && (!s->net || n <= s->net->max_frame)) {
        netdev_send(s->net, &iov, 1);
    } else {
        s->csr[0] |= CSR0_BABL;
    }
}

static bool next_tx(struct pcnet *s, struct descriptor *d)
{
    if (load(s, pcnet_csr32(s, CSR_TX_RING), s->tx_index, d))
        return true;
    memory_error(s, CSR0_TXON);
    return false;
}

static void step_tx(struct pcnet *s)
{
    s->tx_index = (uint16_t)((s->tx_index + 1u) & (pcnet_tx_entries(s) - 1));
}

static void tell_sent(struct pcnet *s, uint16_t flags)
{
    bool tell = s->csr[5] & CSR5_LTINTEN ? flags & FLAG_LTINT : !(s->csr[5] & CSR5_TOKINTD);

    s->csr[4] |= CSR4_TXSTRT;
    if (tell)
        s->csr[0] |= CSR0_TINT;
}

/* The buffers of a frame from *d on, all of which the driver has to have handed over. On return *d
 * is the last, not yet given back. Returns the frame's bytes; 0: it cannot be sent. */
static uint32_t gather(struct pcnet *s, struct descriptor *d, uint8_t *frame)
{
    static const uint32_t underflow = MSG_UNDERFLOW;
    uint32_t n = 0;

    for (uint32_t left = pcnet_tx_entries(s); left; left--) {
        uint32_t part = d->bytes <= LONGEST - n ? d->bytes : LONGEST - n;
        if (phys_read(s->h.mem, d->address, frame + n, part) < 0) {
            memory_error(s, CSR0_TXON);
            return 0;
        }
        n += part;
        step_tx(s);
        if (d->flags & FLAG_ENP)
            return n;
        struct descriptor last = *d;
        if (!next_tx(s, d))
            return 0;
        if (!(d->flags & FLAG_OWN)) { /* as if the driver were late */
            give_back(s, &last, (last.flags & KEPT_TX) | FLAG_ERR, &underflow);
            s->csr[0] |= CSR0_TINT;
            s->csr[0] &= (uint16_t)~CSR0_TXON;
            return 0;
        }
        give_back(s, &last, last.flags & KEPT_TX, NULL);
    }
    memory_error(s, CSR0_TXON); /* once around: descriptors cannot be given back, say in ROM */
    return 0;
}

/* Send what begins at the next descriptor. False: nothing does, or sending is over. */
static bool send_one(struct pcnet *s)
{
    static const uint32_t fine = 0;
    uint8_t frame[LONGEST];
    struct descriptor d;

    if (!next_tx(s, &d) || !(d.flags & FLAG_OWN))
        return false;
    if (!(d.flags & FLAG_STP)) { /* the rest of a frame that is gone */
        give_back(s, &d, d.flags & KEPT_TX, NULL);
        step_tx(s);
        return true;
    }
    uint32_t n = gather(s, &d, frame);
    if (!n)
        return false;
    if (n >= NET_FRAME_MIN)
        send_frame(s, frame, n);
    give_back(s, &d, d.flags & KEPT_TX, &fine);
    tell_sent(s, d.flags);
    return true;
}

void pcnet_transmit(struct pcnet *s)
{
    bool more = s->master;

    for (uint32_t i = pcnet_tx_entries(s); i && more; i--)
        more = (s->csr[0] & CSR0_TXON) && !pcnet_suspended(s) && send_one(s);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* The six bits by which the logical address filter goes: the top of the address's CRC as the wire
 * has it. */
static unsigned filter_bit(const uint8_t mac[6])
{
    uint32_t crc = UINT32_MAX;

    for (unsigned i = 0; i < 48; i++) {
        uint32_t bit = (crc ^ mac[i / 8] >> i % 8) & 1;
        crc = crc >> 1 ^ (bit ? 0xedb88320 : 0);
    }
    return crc >> 26;
}

static bool is_broadcast(const uint8_t *frame)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    return memcmp(frame, all, 6) == 0;
}

static bool is_mine(const struct pcnet *s, const uint8_t *frame)
{
    bool mine = true;

    for (unsigned i = 0; i < 6; i++)
        mine &= frame[i] == (uint8_t)(s->csr[CSR_PADR + i / 2] >> 8 * (i % 2));
    return mine;
}

/* How a frame passes, as a bit of its descriptor; 0: it does not. */
static uint16_t match(const struct pcnet *s, const uint8_t *frame)
{
    uint16_t mode = s->csr[CSR_MODE];

    if (is_broadcast(frame))
        return mode & MODE_NO_BROADCAST ? 0 : FLAG_BROADCAST;
    if (frame[0] & 1) {
        unsigned bit = filter_bit(frame);
        return s->csr[CSR_LADRF + bit / 16] >> bit % 16 & 1 ? FLAG_MULTICAST : 0;
    }
    return !(mode & MODE_NO_PHYSICAL) && is_mine(s, frame) ? FLAG_PHYSICAL : 0;
}

bool pcnet_wants(const struct pcnet *s, const uint8_t *frame)
{
    return match(s, frame) || (s->csr[CSR_MODE] & MODE_PROM);
}

static bool next_rx(struct pcnet *s, unsigned index, struct descriptor *d)
{
    if (load(s, pcnet_csr32(s, CSR_RX_RING), index & (pcnet_rx_entries(s) - 1), d))
        return true;
    memory_error(s, CSR0_RXON);
    return false;
}

/* No memory is as good as room: the frame is dropped then, rather than kept for ever. */
bool pcnet_room(struct pcnet *s)
{
    struct descriptor d;

    return !next_rx(s, s->rx_index, &d) || (!pcnet_suspended(s) && (d.flags & FLAG_OWN));
}

/* Do the buffers from the next on hold n bytes? */
static enum pcnet_fate check_buffers(struct pcnet *s, uint32_t n)
{
    struct descriptor d;
    uint32_t room = 0, entries = pcnet_rx_entries(s);

    for (uint32_t i = 0; i < entries && room < n; i++) {
        if (!next_rx(s, s->rx_index + i, &d))
            return PCNET_DROPPED;
        if (!(d.flags & FLAG_OWN))
            return PCNET_WAITS;
        room += d.bytes;
    }
    return room >= n ? PCNET_STORED : PCNET_DROPPED;
}

static void count_missed(struct pcnet *s)
{
    s->csr[CSR_MISSED]++;
    s->csr[0] |= CSR0_MISS;
    if (!s->csr[CSR_MISSED]) /* around */
        s->csr[4] |= CSR4_MFCO;
}

/* One buffer's part of a frame with its CRC; false: there is no memory. */
static bool fill(struct pcnet *s, const uint8_t *frame, uint32_t n, uint32_t *done, uint16_t how)
{
    struct descriptor d;

    if (!next_rx(s, s->rx_index, &d))
        return false;
    uint32_t part = d.bytes < n - *done ? d.bytes : n - *done;
    uint16_t flags = *done ? 0 : FLAG_STP;
    if (phys_write(s->h.mem, d.address, frame + *done, part) < 0) {
        memory_error(s, CSR0_RXON);
        return false;
    }
    *done += part;
    if (*done == n)
        flags |= (uint16_t)(FLAG_ENP | how);
    uint32_t length = style(s) == 0 ? n << 16 : n;
    give_back(s, &d, flags, *done == n ? &length : NULL);
    s->rx_index = (uint16_t)((s->rx_index + 1u) & (pcnet_rx_entries(s) - 1));
    return true;
}

enum pcnet_fate pcnet_store(struct pcnet *s, const uint8_t *frame, size_t n)
{
    uint8_t padded[LONGEST + CRC] = {0};
    uint32_t all = (uint32_t)(n < SHORTEST ? SHORTEST : n) + CRC, done = 0;

    if (n > LONGEST)
        return PCNET_DROPPED; /* no such frame on a wire */
    enum pcnet_fate fate = check_buffers(s, all);
    if (fate == PCNET_DROPPED)
        count_missed(s);
    if (fate != PCNET_STORED)
        return fate;
    memcpy(padded, frame, n);
    uint16_t how = match(s, frame);
    while (done < all)
        if (!fill(s, padded, all, &done, how))
            return PCNET_DROPPED;
    return PCNET_STORED;
}
