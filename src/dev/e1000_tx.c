/* SPDX-License-Identifier: MIT */
/* e1000: sending (manual 3.3 to 3.5). The driver writes TDT; descriptors from TDH to there are
 * carried out within that write.
 *
 *   legacy   63             0 | 63    48 47 40 39  36 35 32 31   24 23   16 15      0
 *            buffer address   | special  CSS    -   STA     CMD     CSO     length
 *   data     buffer address   | special  POPTS  -   STA     DCMD    DTYP 1, length of 20 bits
 *   context  TUCSE TUCSO TUCSS IPCSE IPCSO IPCSS | MSS  HDRLEN STA  TUCMD   DTYP 0, PAYLEN
 *
 * A frame is put together in tx_frame, checksums and VLAN tag are put in, and it goes out;
 * with TSE it may be a large TCP segment, which is cut only if the backend wants that. One that
 * does not fit or whose descriptors lie is dropped, and its descriptors are marked done.
 *
 * TX_BUDGET descriptors at most are carried out at once; the timer goes on. A descriptor that
 * allows delay (IDE) does not interrupt at once: LATE_NS later, or with the next other interrupt.
 * The chip would wait TIDV; a longer time saves a guest most of these interrupts. */
#include "e1000.h"

#include <string.h>

#include "ring3/net_offload.h"

#define TX_BUDGET 512
#define LATE_NS   (200 * 1000)
#define TCTL_EN   2u

enum {
    CMD_EOP = 1,
    CMD_IC = 4,
    CMD_TSE = 4,
    CMD_RS = 8,
    CMD_DEXT = 0x20,
    CMD_VLE = 0x40,
    CMD_IDE = 0x80
};
enum { POPTS_IXSM = 1, POPTS_TXSM = 2 };
enum { TUCMD_IP = 2 };
#define STATUS_DONE 1

struct tx_descriptor {
    uint64_t address;
    uint32_t lower, upper;
};

static unsigned command(const struct tx_descriptor *d)
{
    return d->lower >> 24;
}

static unsigned type(const struct tx_descriptor *d)
{
    return d->lower >> 20 & 15;
}

void e1000_tx_reset(struct e1000 *s)
{
    s->tx_len = s->tx_drop = s->tx_options = s->tx_said_late = 0;
    s->tx_first = 1;
    s->tx_at_ns = TIMER_NEVER;
    memset(s->context, 0, sizeof s->context);
}

/* ---- one frame ------------------------------------------------------------------------------- */

/* An offload's end of 0 means the frame's. */
static size_t end_of(const struct e1000 *s, unsigned inclusive)
{
    return inclusive ? inclusive + 1 : s->tx_len;
}

static void insert_checksums(struct e1000 *s)
{
    const uint32_t *c = s->context;
    if (s->tx_options & POPTS_TXSM)
        net_checksum(s->tx_frame, s->tx_len, c[1] & 0xff, end_of(s, c[1] >> 16), c[1] >> 8 & 0xff);
    if (s->tx_options & POPTS_IXSM) {
        unsigned at = c[0] >> 8 & 0xff;
        if (at + 2 <= s->tx_len)
            s->tx_frame[at] = s->tx_frame[at + 1] = 0;
        net_checksum(s->tx_frame, s->tx_len, c[0] & 0xff, end_of(s, c[0] >> 16), at);
    }
}

/* The tag goes behind the addresses; true if the frame has grown by it. */
static bool insert_vlan(struct e1000 *s, uint16_t tag)
{
    if (s->tx_len < NET_FRAME_MIN || s->tx_len + 4 > sizeof s->tx_frame)
        return false;
    uint16_t vet = (uint16_t)*e1000_reg(s, R_VET);
    uint8_t *p = s->tx_frame + 12;
    memmove(p + 4, p, s->tx_len - 12);
    p[0] = (uint8_t)(vet >> 8);
    p[1] = (uint8_t)vet;
    p[2] = (uint8_t)(tag >> 8);
    p[3] = (uint8_t)tag;
    s->tx_len += 4;
    return true;
}

static bool send_segmented(struct e1000 *s, size_t shift)
{
    const uint32_t *c = s->context;
    struct net_tso t = {.ip_at = (c[0] & 0xff) + shift,
                        .tcp_at = (c[1] & 0xff) + shift,
                        .headers = (c[3] >> 8 & 0xff) + shift,
                        .mss = c[3] >> 16,
                        .ipv6 = !(c[2] >> 24 & TUCMD_IP)};
    e1000_count(s, R_TSCTC, 1);
    return netdev_send_tso(s->net, s->tx_frame, s->tx_len, &t);
}

static void count_sent(struct e1000 *s)
{
    e1000_count(s, R_GPTC, 1);
    e1000_count(s, R_TPT, 1);
    e1000_count_bytes(s, R_GOTCL, s->tx_len + 4);
    e1000_count_bytes(s, R_TOTL, s->tx_len + 4);
}

static void send_frame(struct e1000 *s, const struct tx_descriptor *last)
{
    bool segment = (command(last) & CMD_DEXT) && (command(last) & CMD_TSE);
    bool good = !s->tx_drop && s->tx_len >= NET_FRAME_MIN;
    size_t shift = 0;
    if (good && !segment)
        insert_checksums(s);
    if (good && (command(last) & CMD_VLE) && (*e1000_reg(s, R_CTRL) & CTRL_VME))
        shift = insert_vlan(s, (uint16_t)(last->upper >> 16)) ? 4 : 0;
    if (good && segment) {
        good = send_segmented(s, shift) || !s->net;
    } else if (good) {
        struct iovec iov = {s->tx_frame, s->tx_len};
        netdev_send(s->net, &iov, 1);
    }
    if (good)
        count_sent(s);
    else
        log_guest(s->h.log, &s->limit, "e1000-tx", "guest sent a malformed frame: dropped");
    s->tx_len = s->tx_drop = s->tx_options = 0;
    s->tx_first = 1;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static void gather(struct e1000 *s, uint64_t address, uint32_t n)
{
    if (n > sizeof s->tx_frame - s->tx_len || s->tx_drop ||
        (n && phys_read(s->h.mem, address, s->tx_frame + s->tx_len, n) < 0))
        s->tx_drop = 1;
    else
        s->tx_len += n;
}

/* A legacy descriptor may ask for one checksum: from CSS to the end, stored at CSO. */
static void legacy_checksum(struct e1000 *s, const struct tx_descriptor *d)
{
    unsigned start = d->upper >> 8 & 0xff, at = d->lower >> 16 & 0xff;
    if (!s->tx_drop && (command(d) & CMD_IC))
        net_checksum(s->tx_frame, s->tx_len, start, s->tx_len, at);
}

static void carry_out(struct e1000 *s, const struct tx_descriptor *d)
{
    bool extended = command(d) & CMD_DEXT;
    if (extended && type(d) == 0) {
        memcpy(s->context, d, sizeof s->context);
        return;
    }
    if (s->tx_first && extended)
        s->tx_options = (uint8_t)(d->upper >> 8);
    s->tx_first = 0;
    gather(s, d->address, d->lower & (extended ? 0xfffff : 0xffff));
    if (!(command(d) & CMD_EOP))
        return;
    if (!extended)
        legacy_checksum(s, d);
    send_frame(s, d);
}

/* Mark it done; returns the interrupts to raise. */
static uint32_t report(struct e1000 *s, uint64_t at, struct tx_descriptor *d)
{
    if (!(command(d) & CMD_RS))
        return 0;
    d->upper |= STATUS_DONE;
    phys_write(s->h.mem, at + 12, &d->upper, sizeof d->upper);
    if (!(command(d) & CMD_IDE))
        return ICR_TXDW;
    s->tx_said_late = 1;
    return 0;
}

static uint64_t ring_base(struct e1000 *s)
{
    return (uint64_t)*e1000_reg(s, R_TDBAH) << 32 | *e1000_reg(s, R_TDBAL);
}

void e1000_transmit(struct e1000 *s)
{
    uint32_t entries = *e1000_reg(s, R_TDLEN) / 16, *head = e1000_reg(s, R_TDH);
    uint32_t tail = *e1000_reg(s, R_TDT), causes = 0, budget = TX_BUDGET;
    if (!(*e1000_reg(s, R_TCTL) & TCTL_EN) || !s->master || *head == tail)
        return;
    if (*head >= entries || tail >= entries) {
        log_guest(s->h.log, &s->limit, "e1000-ring",
                  "guest's transmit ring has %u entries, head %u, tail %u", entries, *head, tail);
        return;
    }
    while (*head != tail && budget) {
        struct tx_descriptor d;
        uint64_t at = ring_base(s) + 16 * (uint64_t)*head;
        if (phys_read(s->h.mem, at, &d, sizeof d) < 0) {
            log_guest(s->h.log, &s->limit, "e1000-ring", "guest's transmit ring is not in RAM");
            *head = tail;
            break;
        }
        carry_out(s, &d);
        causes |= report(s, at, &d);
        *head = *head + 1 == entries ? 0 : *head + 1;
        budget--;
    }
    if (*head == tail)
        causes |= ICR_TXQE;
    uint64_t now = clock_now_ns(s->h.clock);
    if (*head != tail)
        s->tx_at_ns = now;
    else if (s->tx_said_late && s->tx_at_ns == TIMER_NEVER)
        s->tx_at_ns = now + LATE_NS;
    if (s->tx_at_ns != TIMER_NEVER)
        timer_set(&s->tx_timer, s->tx_at_ns);
    e1000_cause(s, causes);
}

void e1000_tx_timer(void *opaque)
{
    struct e1000 *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (s->tx_at_ns <= clock_now_ns(s->h.clock)) {
        s->tx_at_ns = TIMER_NEVER;
        if (s->tx_said_late)
            e1000_cause(s, ICR_TXDW);
        e1000_transmit(s);
    }
    pthread_mutex_unlock(&s->lock);
}
