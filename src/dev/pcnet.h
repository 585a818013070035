/* SPDX-License-Identifier: MIT */
/* Inside the pcnet model: registers, and how frames move. */
#ifndef RING3_DEV_PCNET_H
#define RING3_DEV_PCNET_H

#include <pthread.h>

#include "ring3/devices/nic.h"

/* Places in the 32 bytes of registers: 16-bit accesses (WIO), and 32-bit ones (DWIO). */
enum { W_RDP = 0x10, W_RAP = 0x12, W_RESET = 0x14, W_BDP = 0x16 };
enum { D_RDP = 0x10, D_RAP = 0x14, D_RESET = 0x18, D_BDP = 0x1c };
#define PCNET_BYTES 32u
#define PCNET_APROM 16u

enum {
    CSR0_ERR = 0x8000,
    CSR0_BABL = 0x4000,
    CSR0_MISS = 0x1000,
    CSR0_MERR = 0x0800,
    CSR0_RINT = 0x0400,
    CSR0_TINT = 0x0200,
    CSR0_IDON = 0x0100,
    CSR0_INTR = 0x0080,
    CSR0_IENA = 0x0040,
    CSR0_RXON = 0x0020,
    CSR0_TXON = 0x0010,
    CSR0_TDMD = 0x0008,
    CSR0_STOP = 0x0004,
    CSR0_STRT = 0x0002,
    CSR0_INIT = 0x0001,
};
#define CSR0_CAUSES (CSR0_BABL | CSR0_MISS | CSR0_MERR | CSR0_RINT | CSR0_TINT | CSR0_IDON)
enum {
    CSR4_APAD_XMT = 0x0800,
    CSR4_MFCO = 0x0200,
    CSR4_UINTCMD = 0x0080,
    CSR4_UINT = 0x0040,
    CSR4_TXSTRT = 0x0008,
};
enum { CSR5_TOKINTD = 0x8000, CSR5_LTINTEN = 0x4000, CSR5_SPND = 0x0001 };
enum {
    MODE_PROM = 0x8000,
    MODE_NO_BROADCAST = 0x4000,
    MODE_NO_PHYSICAL = 0x2000,
    MODE_LOOP = 0x0004,
    MODE_NO_TX = 0x0002,
    MODE_NO_RX = 0x0001,
};

/* CSRs with a meaning of their own for several functions. */
enum {
    CSR_INIT_LOW = 1,
    CSR_INIT_HIGH = 2,
    CSR_LENGTHS = 6, /* 15..12 log2 of entries to send, 11..8 to receive */
    CSR_LADRF = 8,
    CSR_PADR = 12,
    CSR_MODE = 15,
    CSR_RX_RING = 24,
    CSR_TX_RING = 30,
    CSR_MISSED = 112,
};
#define PCNET_LOG_MAX 9u /* of a ring's length */
enum { BCR_LINK = 4, BCR_BURST = 18, BCR_STYLE = 20 };
#define BCR18_DWIO 0x0080u

struct pcnet {
    struct device dev;
    struct pci_func pci;
    struct dev_host h;
    struct netdev *net;
    struct log_limit limit;
    struct timer poll; /* while a frame waits for a buffer */
    uint8_t mac[6], aprom[PCNET_APROM];

    pthread_mutex_t lock; /* the rest */
    struct nic_counts counts;
    uint16_t csr[128], bcr[32];
    uint8_t rap;
    uint8_t master, starved, rx_news;
    uint16_t rx_index, tx_index; /* descriptors that are next */
    uint64_t poll_ns;            /* TIMER_NEVER: off */
};

static inline uint32_t pcnet_csr32(const struct pcnet *s, unsigned n)
{
    return s->csr[n] | (uint32_t)s->csr[n + 1] << 16;
}
static inline bool pcnet_suspended(const struct pcnet *s)
{
    return s->csr[5] & CSR5_SPND;
}
static inline uint32_t pcnet_rx_entries(const struct pcnet *s)
{
    return 1u << (s->csr[CSR_LENGTHS] >> 8 & 15);
}
static inline uint32_t pcnet_tx_entries(const struct pcnet *s)
{
    return 1u << (s->csr[CSR_LENGTHS] >> 12 & 15);
}

/* What becomes of a received frame. It waits where it is for want of a buffer; it is dropped if no
 * buffer will ever do. */
enum pcnet_fate { PCNET_STORED, PCNET_WAITS, PCNET_DROPPED };

/* All with the lock held. */
void pcnet_update(struct pcnet *s); /* the pin follows the registers */

/* pcnet_rings.c. None touches the pin. */
bool pcnet_read_init(struct pcnet *s); /* the initialization block; false: it is not in memory */
void pcnet_transmit(struct pcnet *s);  /* all that the guest has handed over */
enum pcnet_fate pcnet_store(struct pcnet *s, const uint8_t *frame, size_t n); /* sets no RINT */
bool pcnet_room(struct pcnet *s); /* does the next descriptor offer a buffer? */
bool pcnet_wants(const struct pcnet *s, const uint8_t *frame); /* passes the filters */

#endif
