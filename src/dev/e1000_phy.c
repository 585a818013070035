/* SPDX-License-Identifier: MIT */
/* e1000: the serial EEPROM (manual 5.2 to 5.6) behind EECD and EERD, and the PHY (Marvell 88E1000
 * family, IEEE 802.3 clause 22 registers) behind MDIC.
 *
 * EECD gives a driver the wires of a Microwire EEPROM of 64 words. It shifts in a start bit, two
 * bits of operation and six of address; from the next rising clock on a read shifts out 16 bits,
 * most significant first. Left out: writing it. The link is always up at 1000 Mb/s, full duplex. */
#include "e1000.h"

#include <string.h>

enum {
    EECD_SK = 0x01,
    EECD_CS = 0x02,
    EECD_DI = 0x04,
    EECD_DO = 0x08,
    EECD_FWE = 0x30,
    EECD_REQ = 0x40,
    EECD_GNT = 0x80,
    EECD_PRESENT = 0x100,
};
#define EECD_KEPT (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ)
#define EE_SUM    0xbaba /* of all words */

enum { EERD_START = 0x01, EERD_DONE = 0x10 };
enum {
    MDIC_WRITE = 1,
    MDIC_READ = 2,
    MDIC_READY = 1 << 28,
    MDIC_INT = 1 << 29,
    MDIC_ERROR = 1 << 30
};
#define PHY_ADDRESS 1

/* Registers of the PHY that have an effect or a fixed value. */
enum {
    BMCR = 0,
    BMSR,
    PHY_ID1,
    PHY_ID2,
    ANAR,
    ANLPAR,
    ANER,
    GCON = 9,
    GSTAT,
    ESTAT = 15,
    PSSR = 17
};
enum { BMCR_RESET = 0x8000, BMCR_RESTART = 0x0200 };

/* Words that drivers look at (table 5-2). The rest is as erased. */
static const struct {
    uint8_t at;
    uint16_t value;
} words[] = {
    {3, 0},       {8, 0x3000},  {9, 0x1000},                  /* part number */
    {10, 0x6403}, {11, 0x100e}, {12, 0x8086},                 /* control 1, subsystem */
    {13, 0x100e}, {14, 0x8086}, {15, 0x3040}, {0x21, 0x7863}, /* identity, control 2, LEDs */
};

void e1000_eeprom_fill(struct e1000 *s)
{
    uint16_t sum = 0;
    memset(s->eeprom, 0xff, sizeof s->eeprom);
    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        s->eeprom[words[i].at] = words[i].value;
    for (unsigned i = 0; i < 3; i++)
        s->eeprom[i] = (uint16_t)(s->mac[2 * i] | s->mac[2 * i + 1] << 8);
    for (unsigned i = 0; i < EEPROM93_WORDS - 1; i++)
        sum = (uint16_t)(sum + s->eeprom[i]);
    s->eeprom[EEPROM93_WORDS - 1] = (uint16_t)(EE_SUM - sum);
}

void e1000_eeprom_reset(struct e1000 *s)
{
    eeprom93_deselect(&s->ee);
    *e1000_reg(s, R_EECD) = EECD_PRESENT | EECD_DO | EECD_CS;
}

void e1000_eecd_write(struct e1000 *s, uint32_t value)
{
    uint32_t old = *e1000_reg(s, R_EECD), out = old & EECD_DO;
    if (!(value & EECD_CS)) {
        eeprom93_deselect(&s->ee);
        out = EECD_DO;
    } else if ((value & EECD_SK) && !(old & EECD_SK)) {
        out = eeprom93_clock(&s->ee, s->eeprom, value & EECD_DI) ? EECD_DO : 0;
    }
    *e1000_reg(s, R_EECD) =
        (value & EECD_KEPT) | EECD_PRESENT | out | (value & EECD_REQ ? EECD_GNT : 0);
}

void e1000_eerd_write(struct e1000 *s, uint32_t value)
{
    if (value & EERD_START)
        value =
            (value & 0xff00) | EERD_DONE | (uint32_t)s->eeprom[(value >> 8) % EEPROM93_WORDS] << 16;
    *e1000_reg(s, R_EERD) = value;
}

void e1000_phy_reset(struct e1000 *s)
{
    memset(s->phy, 0, sizeof s->phy);
    s->phy[BMCR] = 0x1140; /* 1000 Mb/s, full duplex, negotiates */
    s->phy[BMSR] = 0x796d; /* all speeds, negotiated, link up */
    s->phy[PHY_ID1] = 0x0141;
    s->phy[PHY_ID2] = 0x0c20;
    s->phy[ANAR] = 0x0de1;
    s->phy[ANLPAR] = 0x4de1;
    s->phy[ANER] = 0x0001;
    s->phy[GCON] = 0x0e00;
    s->phy[GSTAT] = 0x3c00;
    s->phy[ESTAT] = 0x3000;
    s->phy[PSSR] = 0xac00; /* resolved: 1000 Mb/s, full duplex, link */
}

static void phy_write(struct e1000 *s, unsigned n, uint16_t value)
{
    static const uint32_t read_only = 1u << BMSR | 1u << PHY_ID1 | 1u << PHY_ID2 | 1u << ANLPAR |
                                      1u << ANER | 1u << GSTAT | 1u << ESTAT | 1u << PSSR;
    if (read_only >> n & 1)
        return;
    if (n == BMCR && (value & BMCR_RESET))
        e1000_phy_reset(s);
    else
        s->phy[n] = n == BMCR ? value & (uint16_t)~BMCR_RESTART : value;
}

void e1000_mdic_write(struct e1000 *s, uint32_t value)
{
    unsigned n = value >> 16 & 31, address = value >> 21 & 31, op = value >> 26 & 3;
    uint32_t result = value & ~(uint32_t)MDIC_ERROR;
    if (address != PHY_ADDRESS || (op != MDIC_READ && op != MDIC_WRITE))
        result |= MDIC_ERROR;
    else if (op == MDIC_READ)
        result = (result & 0xffff0000u) | s->phy[n];
    else
        phy_write(s, n, (uint16_t)value);
    *e1000_reg(s, R_MDIC) = result | MDIC_READY;
    if (value & MDIC_INT)
        e1000_cause(s, ICR_MDAC);
}
