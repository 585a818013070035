/* SPDX-License-Identifier: MIT */
/* rtl8139 in C mode, that of all chips since the RTL8139 (data sheet RTL8139C(L), 5 and 6).
 *
 * Sending: four pairs of registers. Writing TSD with OWN clear sends the TSD.SIZE bytes at TSAD.
 * Receiving: one ring in the guest's memory, 8 to 64 KiB; each frame has in front of it
 *
 *   15  14  13  12      6  5   4    3    2   1   0     31          16
 *   MAR PAM BAR          ISE RUNT LONG CRC FAE ROK     length with CRC
 *
 * and begins on a multiple of four. The chip writes at CBR; the driver has read up to CAPR + 16.
 * With WRAP a frame that reaches the end goes on behind it, else at the start. */
#include "rtl8139.h"

#include <string.h>

#define TSD_SIZE    0x1fffu
#define TSD_OWN     0x2000u
#define TSD_OK      0x8000u
#define TX_MOST     1792u /* the largest that the chip's buffer holds */
#define HEADER      4u
#define CAPR_OFFSET 16u
#define RX_ROK      1u

void rtl_c_send(struct rtl8139 *s, unsigned n)
{
    uint32_t tsd = rtl_get32(s, R_TSD + 4 * n), at = rtl_get32(s, R_TSAD + 4 * n);
    uint32_t size = tsd & TSD_SIZE;
    uint8_t frame[TX_MOST];
    if ((tsd & TSD_OWN) || !(s->reg[R_CR] & CR_TE) || !s->master)
        return;
    bool good = size <= sizeof frame && phys_read(s->h.mem, at, frame, size) == 0;
    if (good && size >= NET_FRAME_MIN && !rtl_loopback(s)) {
        struct iovec iov = {frame, size};
        netdev_send(s->net, &iov, 1);
        s->sent++;
    } else if (!good) {
        log_guest(s->h.log, &s->limit, "rtl8139-tx", "guest sends %u bytes from %#x: dropped", size,
                  at);
    }
    rtl_put32(s, R_TSD + 4 * n, tsd | TSD_OWN | TSD_OK);
    rtl_cause(s, good ? ISR_TOK : ISR_TER);
}

static uint32_t ring_bytes(const struct rtl8139 *s)
{
    return 8192u << (rtl_get32(s, R_RCR) >> 11 & 3);
}

static uint32_t write_at(const struct rtl8139 *s)
{
    return rtl_get16(s, R_CBR) & (ring_bytes(s) - 1);
}

/* Bytes that the driver has not read. */
static uint32_t used(const struct rtl8139 *s)
{
    uint32_t mask = ring_bytes(s) - 1;
    return (write_at(s) - (rtl_get16(s, R_CAPR) + CAPR_OFFSET)) & mask;
}

bool rtl_c_empty(const struct rtl8139 *s)
{
    return used(s) == 0;
}

/* Enough for any frame that was refused. */
bool rtl_c_room(const struct rtl8139 *s)
{
    return ring_bytes(s) - used(s) > 2048;
}

/* Copy into the ring at *at, and move that on. */
static void put(struct rtl8139 *s, uint32_t *at, const void *bytes, uint32_t n)
{
    uint32_t size = ring_bytes(s), base = rtl_get32(s, R_RBSTART);
    bool past = rtl_get32(s, R_RCR) & RCR_WRAP && size < 65536;
    uint32_t part = past || n < size - *at ? n : size - *at;
    phys_write(s->h.mem, base + *at, bytes, part);
    if (part < n)
        phys_write(s->h.mem, base, (const uint8_t *)bytes + part, n - part);
    *at = past ? *at + n : (*at + n) & (size - 1);
}

bool rtl_c_store(struct rtl8139 *s, const uint8_t *frame, size_t n, unsigned how)
{
    static const uint8_t crc[RTL_CRC];
    uint32_t all = (uint32_t)(n + RTL_CRC), at = write_at(s);
    uint32_t step = (HEADER + all + 3) & ~3u;
    if (n > 1792)
        return true;                     /* too long for this chip */
    if (used(s) + step >= ring_bytes(s)) /* full must not look like empty */
        return false;
    uint8_t header[HEADER] = {RX_ROK, (uint8_t)(how >> 8), (uint8_t)all, (uint8_t)(all >> 8)};
    put(s, &at, header, HEADER);
    put(s, &at, frame, (uint32_t)n);
    put(s, &at, crc, RTL_CRC);
    rtl_put16(s, R_CBR, (write_at(s) + step) & (ring_bytes(s) - 1));
    return true;
}
