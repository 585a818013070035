/* SPDX-License-Identifier: MIT */
/* Inside the e1000 model: registers, and its parts. Numbers of sections are those of Intel's "PCI/
 * PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453). */
#ifndef RING3_DEV_E1000_H
#define RING3_DEV_E1000_H

#include <pthread.h>

#include "eeprom93.h"
#include "ring3/devices/nic.h"

#define E1000_MMIO_BYTES 0x20000u
#define E1000_IO_BYTES   64u
#define E1000_REGS       (0x5c00u / 4) /* above lie diagnostics, which read 0 */
#define E1000_TX_BYTES   NET_FRAME_MAX
#define E1000_RING_MAX   65536u /* descriptors of 16 bytes */

/* Byte offsets. */
enum {
    R_CTRL = 0x0000,
    R_STATUS = 0x0008,
    R_EECD = 0x0010,
    R_EERD = 0x0014,
    R_CTRL_EXT = 0x0018,
    R_MDIC = 0x0020,
    R_FCAL = 0x0028,
    R_FCAH = 0x002c,
    R_FCT = 0x0030,
    R_VET = 0x0038,
    R_ICR = 0x00c0,
    R_ITR = 0x00c4,
    R_ICS = 0x00c8,
    R_IMS = 0x00d0,
    R_IMC = 0x00d8,
    R_RCTL = 0x0100,
    R_FCTTV = 0x0170,
    R_TXCW = 0x0178,
    R_TCTL = 0x0400,
    R_TIPG = 0x0410,
    R_AIT = 0x0458,
    R_LEDCTL = 0x0e00,
    R_PBA = 0x1000,
    R_FCRTL = 0x2160,
    R_FCRTH = 0x2168,
    R_RDBAL = 0x2800,
    R_RDBAH = 0x2804,
    R_RDLEN = 0x2808,
    R_RDH = 0x2810,
    R_RDT = 0x2818,
    R_RDTR = 0x2820,
    R_RXDCTL = 0x2828,
    R_RADV = 0x282c,
    R_RSRPD = 0x2c00,
    R_TDBAL = 0x3800,
    R_TDBAH = 0x3804,
    R_TDLEN = 0x3808,
    R_TDH = 0x3810,
    R_TDT = 0x3818,
    R_TIDV = 0x3820,
    R_TXDCTL = 0x3828,
    R_TADV = 0x382c,
    R_TSPMT = 0x3830,
    R_STATS = 0x4000, /* to 0x40ff */
    R_RXCSUM = 0x5000,
    R_MTA = 0x5200,
    R_RA = 0x5400,
    R_VFTA = 0x5600,
    R_WUC = 0x5800,
    R_WUFC = 0x5808,
    R_WUS = 0x5810,
    R_MANC = 0x5820,
};

/* Statistics that count (13.7). Those of 64 bits are pairs of registers. */
enum {
    R_MPC = 0x4010,
    R_GPRC = 0x4074,
    R_BPRC = 0x4078,
    R_MPRC = 0x407c,
    R_GPTC = 0x4080,
    R_GORCL = 0x4088,
    R_GOTCL = 0x4090,
    R_TORL = 0x40c0,
    R_TOTL = 0x40c8,
    R_TPR = 0x40d0,
    R_TPT = 0x40d4,
    R_TSCTC = 0x40f8,
};

enum { CTRL_RST = 1 << 26, CTRL_VME = 1 << 30, CTRL_SLU = 1 << 6 };
enum {
    ICR_TXDW = 1,
    ICR_TXQE = 2,
    ICR_LSC = 4,
    ICR_RXDMT0 = 0x10,
    ICR_RXO = 0x40,
    ICR_RXT0 = 0x80,
    ICR_MDAC = 0x200,
    ICR_TXD_LOW = 0x8000,
    ICR_CAUSES = 0x1ffff,
};

struct e1000 {
    struct device dev;
    struct pci_func pci;
    struct dev_host h;
    struct netdev *net;
    struct log_limit limit;
    struct timer tx_timer; /* goes on sending, or says that frames were sent */
    uint8_t mac[6];
    uint16_t eeprom[EEPROM93_WORDS];

    pthread_mutex_t lock; /* the rest */
    struct nic_counts counts;
    uint32_t reg[E1000_REGS];
    uint32_t io_address;
    uint8_t master;       /* may reach memory: PCI_COMMAND_MASTER */
    uint8_t starved;      /* refused a frame: the backend waits to hear of buffers */
    uint8_t rx_news;      /* causes of frames that came, which ICR does not show yet */
    uint8_t tx_said_late; /* sent frames to report when tx_at_ns comes */
    uint64_t tx_at_ns;    /* TIMER_NEVER: off */

    uint16_t phy[32];
    struct eeprom93 ee;

    uint32_t context[4]; /* the last context descriptor */
    uint32_t tx_len;     /* of the frame being put together */
    uint8_t tx_drop;     /* it is no good */
    uint8_t tx_options;  /* POPTS of its first data descriptor */
    uint8_t tx_first;    /* the next descriptor begins a frame */
    uint8_t tx_frame[E1000_TX_BYTES];
};

static inline uint32_t *e1000_reg(struct e1000 *s, unsigned at)
{
    return &s->reg[at / 4];
}

/* All with the lock held. */
void e1000_cause(struct e1000 *s, uint32_t causes); /* set bits of ICR; the line follows */
void e1000_count(struct e1000 *s, unsigned at, uint32_t n);
void e1000_count_bytes(struct e1000 *s, unsigned at, size_t n);

void e1000_transmit(struct e1000 *s); /* from TDH to TDT, or for a while */
void e1000_tx_reset(struct e1000 *s);
void e1000_tx_timer(void *opaque);

bool e1000_receive(void *opaque, const uint8_t *frame, size_t n); /* takes the lock */
void e1000_batch_end(void *opaque);                               /* takes the lock */
/* True if the backend is to be told, without the lock, that there are buffers. */
bool e1000_rx_buffers(struct e1000 *s);

/* The serial EEPROM and the PHY. */
void e1000_eeprom_fill(struct e1000 *s);
void e1000_eeprom_reset(struct e1000 *s);
void e1000_eecd_write(struct e1000 *s, uint32_t value);
void e1000_eerd_write(struct e1000 *s, uint32_t value);
void e1000_phy_reset(struct e1000 *s);
void e1000_mdic_write(struct e1000 *s, uint32_t value);

#endif
