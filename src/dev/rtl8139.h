/* SPDX-License-Identifier: MIT */
/* Inside the rtl8139 model: registers, and its two ways of moving frames. */
#ifndef RING3_DEV_RTL8139_H
#define RING3_DEV_RTL8139_H

#include <pthread.h>

#include "eeprom93.h"
#include "ring3/devices/nic.h"

/* Byte offsets. TSD and TSAD belong to the C mode; their places are used otherwise in C+ mode. */
enum {
    R_IDR = 0x00,
    R_MAR = 0x08,
    R_TSD = 0x10, /* four; C+: the address for a dump of counters */
    R_DTCCR = 0x10,
    R_TSAD = 0x20, /* four; C+: rings of normal and high priority */
    R_TNPDS = 0x20,
    R_THPDS = 0x28,
    R_RBSTART = 0x30,
    R_CR = 0x37,
    R_CAPR = 0x38,
    R_CBR = 0x3a,
    R_IMR = 0x3c,
    R_ISR = 0x3e,
    R_TCR = 0x40,
    R_RCR = 0x44,
    R_TCTR = 0x48,
    R_MPC = 0x4c,
    R_9346CR = 0x50,
    R_CONFIG0 = 0x51,
    R_CONFIG1 = 0x52,
    R_TIMERINT = 0x54,
    R_MSR = 0x58,
    R_CONFIG3 = 0x59,
    R_CONFIG4 = 0x5a,
    R_MULINT = 0x5c,
    R_TSADS = 0x60,
    R_BMCR = 0x62,
    R_BMSR = 0x64,
    R_ANAR = 0x66,
    R_ANLPAR = 0x68,
    R_ANER = 0x6a,
    R_NWAYTR = 0x70,
    R_CSCR = 0x74,
    R_CONFIG5 = 0xd8,
    R_TPPOLL = 0xd9,
    R_CPCR = 0xe0,
    R_RDSAR = 0xe4,
    R_ETTHR = 0xec,
};

enum { CR_BUFE = 0x01, CR_TE = 0x04, CR_RE = 0x08, CR_RST = 0x10 };
enum { ISR_ROK = 1, ISR_TOK = 4, ISR_TER = 8, ISR_RXOVW = 0x10, ISR_TDU = 0x80, ISR_SWINT = 0x100 };
enum { RCR_AAP = 1, RCR_APM = 2, RCR_AM = 4, RCR_AB = 8, RCR_WRAP = 0x80 };
enum { CPCR_TX = 1, CPCR_RX = 2, CPCR_RXCSUM = 0x20, CPCR_VLAN = 0x40 };

#define RTL_TX_BYTES NET_FRAME_MAX
#define RTL_CRC      4u

/* How a frame passed the filter: bits of the C mode's header. */
enum { PASSED_BROADCAST = 0x2000, PASSED_PHYSICAL = 0x4000, PASSED_MULTICAST = 0x8000 };

struct rtl8139 {
    struct device dev;
    struct pci_func pci;
    struct dev_host h;
    struct netdev *net;
    struct log_limit limit;
    struct timer tx_timer, mute_timer;
    bool c_plus; /* the chip knows C+ mode */
    uint8_t mac[6];
    uint16_t eeprom[EEPROM93_WORDS];

    pthread_mutex_t lock; /* the rest */
    struct nic_counts counts;
    uint8_t reg[256];
    struct eeprom93 ee;
    uint8_t master, starved, rx_news;
    uint16_t isr_reads;     /* since a cause or the mask changed, with the pin up */
    uint64_t mute_ns;       /* the pin stays down until then; TIMER_NEVER: it does not */
    uint64_t timer_base_ns; /* when TCTR was 0 */
    uint64_t sent, received;

    uint32_t tx_index[2], rx_index; /* C+: the next descriptors */
    uint32_t tx_len;                /* C+: of the frame being put together */
    uint8_t tx_drop, tx_unsaid;     /* it is no good; frames sent that no interrupt told of */
    uint64_t tx_at_ns;              /* TIMER_NEVER: off */
    uint8_t tx_frame[RTL_TX_BYTES];
};

static inline uint16_t rtl_get16(const struct rtl8139 *s, unsigned at)
{
    return (uint16_t)(s->reg[at] | s->reg[at + 1] << 8);
}
static inline uint32_t rtl_get32(const struct rtl8139 *s, unsigned at)
{
    return rtl_get16(s, at) | (uint32_t)rtl_get16(s, at + 2) << 16;
}
static inline void rtl_put16(struct rtl8139 *s, unsigned at, uint32_t value)
{
    s->reg[at] = (uint8_t)value;
    s->reg[at + 1] = (uint8_t)(value >> 8);
}
static inline void rtl_put32(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put16(s, at, value);
    rtl_put16(s, at + 2, value >> 16);
}
static inline bool rtl_cp_tx(const struct rtl8139 *s)
{
    return s->c_plus && (s->reg[R_CPCR] & CPCR_TX);
}
static inline bool rtl_cp_rx(const struct rtl8139 *s)
{
    return s->c_plus && (s->reg[R_CPCR] & CPCR_RX);
}

/* All with the lock held. */
void rtl_cause(struct rtl8139 *s, unsigned causes); /* set bits of ISR; the line follows */
bool rtl_loopback(const struct rtl8139 *s);

/* C mode (rtl8139_c.c). */
void rtl_c_send(struct rtl8139 *s, unsigned n);
bool rtl_c_store(struct rtl8139 *s, const uint8_t *frame, size_t n, unsigned how); /* false: full */
bool rtl_c_empty(const struct rtl8139 *s);
bool rtl_c_room(const struct rtl8139 *s);

/* C+ mode (rtl8139_cp.c). */
void rtl_cp_reset(struct rtl8139 *s);
void rtl_cp_transmit(struct rtl8139 *s);
void rtl_cp_timer(void *opaque);
bool rtl_cp_store(struct rtl8139 *s, const uint8_t *frame, size_t n, unsigned how);
bool rtl_cp_room(const struct rtl8139 *s);
void rtl_cp_dump(struct rtl8139 *s); /* counters, to where DTCCR says */

#endif
