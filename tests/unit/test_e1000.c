/* SPDX-License-Identifier: MIT */
/* e1000 as the manual and Linux' driver use it, and as a hostile guest does. */
#include "e1000_fuzz.h"

#define TX_RING 0x1000u
#define RX_RING 0x2000u
#define BUFFERS 0x10000u
#define RING    16u

static const uint8_t frame_for_us[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2,
                                          0,    0,    0,    0,    1,    0x12, 0x34};

static struct nic_rig *new_card(void)
{
    return nic_rig_new(e1000_new, 0);
}

static void reg_set(struct nic_rig *b, unsigned at, uint32_t value)
{
    nic_write(b, at, 4, value);
}
static uint32_t reg_get(struct nic_rig *b, unsigned at)
{
    return nic_read(b, at, 4);
}

static void start_tx(struct nic_rig *b)
{
    reg_set(b, R_TDBAL, TX_RING);
    reg_set(b, R_TDLEN, RING * 16);
    reg_set(b, R_TCTL, 2);
    reg_set(b, R_IMS, ICR_TXDW);
}

static void start_rx(struct nic_rig *b, unsigned buffers)
{
    for (unsigned i = 0; i < RING; i++) {
        ram_set32(b, RX_RING + 16 * i, BUFFERS + 2048 * i);
        ram_set32(b, RX_RING + 16 * i + 12, 0);
    }
    reg_set(b, R_RDBAL, RX_RING);
    reg_set(b, R_RDLEN, RING * 16);
    reg_set(b, R_RDT, buffers);
    reg_set(b, R_RCTL, 1 << 1 | 1 << 15);
    reg_set(b, R_IMS, ICR_RXT0);
}

static void put_tx(struct nic_rig *b, unsigned n, uint32_t address, uint32_t lower, uint32_t upper)
{
    uint32_t d[4] = {address, 0, lower, upper};
    ram_write(b, TX_RING + 16 * n, d, sizeof d);
}

/* ---- what drivers find ----------------------------------------------------------------------- */

static uint16_t eeprom_word(struct nic_rig *b, unsigned n)
{
    uint32_t command = 6u << 6 | n, out = 0;
    reg_set(b, R_EECD, 0x40); /* request */
    assert_int_equal(reg_get(b, R_EECD) & 0x80, 0x80);
    for (int i = 8; i >= 0; i--) {
        uint32_t wires = 0x42 | (command >> i & 1) << 2;
        reg_set(b, R_EECD, wires);
        reg_set(b, R_EECD, wires | 1);
        reg_set(b, R_EECD, wires);
    }
    for (int i = 0; i < 16; i++) {
        reg_set(b, R_EECD, 0x43);
        out = out << 1 | (reg_get(b, R_EECD) >> 3 & 1);
        reg_set(b, R_EECD, 0x42);
    }
    reg_set(b, R_EECD, 0);
    return (uint16_t)out;
}

static void identity_and_eeprom(void **state)
{
    struct nic_rig *b = new_card();
    uint16_t sum = 0;
    assert_int_equal(nic_config_read(b, PCI_VENDOR, 4), 0x100e8086);
    assert_int_equal(nic_config_read(b, PCI_CLASS, 2), 0x0200);
    assert_int_equal(eeprom_word(b, 0), 0x5452);
    assert_int_equal(eeprom_word(b, 1), 0x1200);
    assert_int_equal(eeprom_word(b, 2), 0x5634);
    for (unsigned i = 0; i < 64; i++) {
        sum = (uint16_t)(sum + eeprom_word(b, i));
        reg_set(b, R_EERD, i << 8 | 1);
        assert_int_equal(reg_get(b, R_EERD) & 0x10, 0x10);
        assert_int_equal(reg_get(b, R_EERD) >> 16, eeprom_word(b, i));
    }
    assert_int_equal(sum, 0xbaba);
    assert_int_equal(reg_get(b, R_RA), 0x12005452);
    assert_int_equal(reg_get(b, R_RA + 4), 0x80005634);
    assert_int_equal(reg_get(b, R_STATUS) & 3, 3); /* link up, full duplex */
    nic_rig_free(b);
}

static void phy_over_mdio(void **state)
{
    struct nic_rig *b = new_card();
    reg_set(b, R_MDIC, 2u << 26 | 1u << 21 | 2u << 16);
    assert_int_equal(reg_get(b, R_MDIC), (1u << 28 | 2u << 26 | 1u << 21 | 2u << 16 | 0x0141));
    reg_set(b, R_MDIC, 2u << 26 | 1u << 21 | 1u << 16);
    assert_int_equal(reg_get(b, R_MDIC) & 0x24, 0x24);           /* link, negotiated */
    reg_set(b, R_MDIC, 1u << 26 | 1u << 21 | 0u << 16 | 0x9140); /* reset */
    reg_set(b, R_MDIC, 2u << 26 | 1u << 21 | 0u << 16);
    assert_int_equal(reg_get(b, R_MDIC) & 0xffff, 0x1140);
    reg_set(b, R_MDIC, 2u << 26 | 5u << 21); /* nobody there */
    assert_int_equal(reg_get(b, R_MDIC) >> 30, 1);
    reg_set(b, R_IMS, ICR_MDAC);
    reg_set(b, R_MDIC, 1u << 29 | 2u << 26 | 1u << 21);
    assert_string_equal(rig_trace(b->r), "+0 ");
    nic_rig_free(b);
}

static void registers_over_ports(void **state)
{
    struct nic_rig *b = new_card();
    nic_config(b, PCI_BAR0 + 8, 4, 0xc000);
    nic_config(b, PCI_COMMAND, 2, 7);
    bus_write(b->r->host.pio, 0xc000, 4, R_RA);
    assert_int_equal(bus_read(b->r->host.pio, 0xc004, 4), 0x12005452);
    bus_write(b->r->host.pio, 0xc000, 4, R_TDLEN);
    bus_write(b->r->host.pio, 0xc004, 4, 0x12345);
    assert_int_equal(reg_get(b, R_TDLEN), 0x12300);
    nic_rig_free(b);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void a_frame_of_two_descriptors(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    ram_write(b, BUFFERS, frame_for_us, 100);
    put_tx(b, 0, BUFFERS, 40, 0);
    put_tx(b, 1, BUFFERS + 40, 60 | 0x09000000u, 0); /* EOP, RS */
    reg_set(b, R_TDT, 2);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].n, 100);
    assert_memory_equal(b->sent[0].bytes, frame_for_us, 100);
    assert_int_equal(reg_get(b, R_TDH), 2);
    assert_int_equal(ram32(b, TX_RING + 16 + 12), 1); /* done */
    assert_int_equal(ram32(b, TX_RING + 12), 0);      /* was not to be reported */
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(reg_get(b, R_ICR), ICR_TXDW | ICR_TXQE);
    assert_string_equal(rig_trace(b->r), "-0 ");
    assert_int_equal(reg_get(b, R_GPTC), 1);
    assert_int_equal(reg_get(b, R_GPTC), 0); /* reading clears */
    nic_rig_free(b);
}

static void delayed_interrupts_come_late_or_along(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    start_rx(b, 8);
    put_tx(b, 0, BUFFERS, 60 | 0x89000000u, 0); /* IDE */
    reg_set(b, R_TDT, 1);
    assert_int_equal(ram32(b, TX_RING + 12), 1);
    assert_string_equal(rig_trace(b->r), "");
    rig_advance(b->r, NS_PER_SEC / 1000);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(reg_get(b, R_ICR) & ICR_TXDW, ICR_TXDW);
    put_tx(b, 1, BUFFERS, 60 | 0x89000000u, 0);
    reg_set(b, R_TDT, 2);
    assert_true(nic_receive(b, frame_for_us, 60));
    nic_batch_end(b);
    assert_int_equal(reg_get(b, R_ICR) & (ICR_TXDW | ICR_RXT0), ICR_TXDW | ICR_RXT0);
    rig_trace(b->r);
    rig_advance(b->r, NS_PER_SEC);
    assert_string_equal(rig_trace(b->r), "");
    nic_rig_free(b);
}

/* An IPv4 TCP frame with `data` bytes at BUFFERS, checksums left to the card. */
static size_t tcp_in_ram(struct nic_rig *b, unsigned data)
{
    uint8_t f[54] = {2, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0, 0x45};
    f[16] = (uint8_t)((40 + data) >> 8);
    f[17] = (uint8_t)(40 + data);
    f[22] = 64;
    f[23] = 6;
    f[26] = 10;
    f[30] = 10;
    f[33] = 2;
    f[46] = 5 << 4;
    ram_write(b, BUFFERS, f, sizeof f);
    for (unsigned i = 0; i < data; i += 4)
        ram_set32(b, BUFFERS + 54 + i, i * 0x01010101u);
    return 54 + data;
}

static void context(struct nic_rig *b, unsigned n, unsigned tucmd, uint32_t payload, unsigned mss)
{
    uint32_t d[4] = {14 | 24 << 8 | 33u << 16, 34 | 50 << 8, payload | tucmd << 24,
                     54 << 8 | mss << 16};
    ram_write(b, TX_RING + 16 * n, d, sizeof d);
}

static uint16_t sum_of(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void expect_good_sums(const uint8_t *f, size_t n)
{
    assert_int_equal(sum_of(f + 14, 20, 0), 0xffff);
    assert_int_equal(sum_of(f + 34, n - 34, sum_of(f + 26, 8, 6 + (uint32_t)n - 34)), 0xffff);
}

static void checksums_are_inserted(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    size_t n = tcp_in_ram(b, 100);
    uint8_t addresses[8];
    ram_read(b, BUFFERS + 26, addresses, 8);
    uint16_t pseudo = sum_of(addresses, 8, 6 + 120);
    uint8_t field[2] = {(uint8_t)(pseudo >> 8), (uint8_t)pseudo};
    ram_write(b, BUFFERS + 50, field, 2); /* the driver's part */
    context(b, 0, 0x23, 0, 0);
    put_tx(b, 1, BUFFERS, (uint32_t)n | 1u << 20 | 0x29000000u, 3 << 8);
    reg_set(b, R_TDT, 2);
    assert_int_equal(b->sent_count, 1);
    expect_good_sums(b->sent[0].bytes, n);
    nic_rig_free(b);
}

static void large_segments_are_cut(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    size_t n = tcp_in_ram(b, 4000);
    context(b, 0, 0x27, 4000, 1460);
    put_tx(b, 1, BUFFERS, 54 | 1u << 20 | 0x24000000u, 3 << 8);
    put_tx(b, 2, BUFFERS + 54, 4000 | 1u << 20 | 0x2d000000u, 3 << 8);
    reg_set(b, R_TDT, 3);
    assert_int_equal(b->sent_count, 3);
    assert_int_equal(b->sent[0].n, 1514);
    assert_int_equal(b->sent[2].n, 54 + 4000 - 2 * 1460);
    for (unsigned i = 0; i < 3; i++)
        expect_good_sums(b->sent[i].bytes, b->sent[i].n);
    b->net.max_frame = NET_FRAME_MAX;
    context(b, 3, 0x27, 4000, 1460);
    put_tx(b, 4, BUFFERS, (uint32_t)n | 1u << 20 | 0x2d000000u, 3 << 8);
    reg_set(b, R_TDT, 5);
    assert_int_equal(b->sent_count, 4);
    assert_int_equal(b->sent[3].n, n);
    nic_rig_free(b);
}

static void vlan_tags(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    start_rx(b, 8);
    reg_set(b, R_CTRL, 1 << 30);
    ram_write(b, BUFFERS, frame_for_us, 100);
    put_tx(b, 0, BUFFERS, 100 | 0x49000000u, 0x0123u << 16);
    reg_set(b, R_TDT, 1);
    assert_int_equal(b->sent[0].n, 104);
    assert_memory_equal(b->sent[0].bytes + 12, "\x81\x00\x01\x23\x12\x34", 6);
    assert_true(nic_receive(b, b->sent[0].bytes, 104));
    uint8_t got[100];
    ram_read(b, BUFFERS, got, 100);
    assert_memory_equal(got, frame_for_us, 100);
    assert_int_equal(ram32(b, RX_RING + 8) & 0xffff, 104); /* with CRC */
    assert_int_equal(ram32(b, RX_RING + 12), 0x0123000f);  /* tag; VP, IXSM, EOP, DD */
    nic_rig_free(b);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void frames_are_stored(void **state)
{
    struct nic_rig *b = new_card();
    start_rx(b, 8);
    assert_true(nic_receive(b, frame_for_us, 100));
    assert_string_equal(rig_trace(b->r), ""); /* until the batch ends */
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "+0 ");
    uint8_t got[100];
    ram_read(b, BUFFERS, got, 100);
    assert_memory_equal(got, frame_for_us, 100);
    assert_int_equal(ram32(b, RX_RING + 8) & 0xffff, 104);
    assert_int_equal(ram32(b, RX_RING + 12), 7); /* IXSM, EOP, DD */
    assert_int_equal(reg_get(b, R_RDH), 1);
    assert_int_equal(reg_get(b, R_ICR) & ICR_RXT0, ICR_RXT0);
    assert_string_equal(rig_trace(b->r), "-0 ");
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), ""); /* nothing new */
    nic_rig_free(b);
}

static void without_buffers_the_backend_waits(void **state)
{
    struct nic_rig *b = new_card();
    start_rx(b, 2);
    assert_true(nic_receive(b, frame_for_us, 60));
    assert_true(nic_receive(b, frame_for_us, 60));
    assert_false(nic_receive(b, frame_for_us, 60));
    assert_int_equal(b->resumes, 0);
    reg_set(b, R_RDT, 5);
    assert_int_equal(b->resumes, 1);
    assert_true(nic_receive(b, frame_for_us, 60));
    reg_set(b, R_RDT, 6);
    assert_int_equal(b->resumes, 1); /* nobody waits */
    nic_rig_free(b);
}

static void long_frames_take_several_buffers(void **state)
{
    struct nic_rig *b = new_card();
    start_rx(b, 4);
    static uint8_t frame[5000];
    memcpy(frame, frame_for_us, 14);
    frame[4999] = 0x77;
    assert_true(nic_receive(b, frame, 5000)); /* without LPE: dropped */
    assert_int_equal(reg_get(b, R_RDH), 0);
    reg_set(b, R_RCTL, 1 << 1 | 1 << 5);
    assert_true(nic_receive(b, frame, 5000));
    assert_int_equal(reg_get(b, R_RDH), 3);
    assert_int_equal(ram32(b, RX_RING + 12), 1);
    assert_int_equal(ram32(b, RX_RING + 44), 7);
    assert_int_equal(ram32(b, RX_RING + 40) & 0xffff, 5004 - 4096);
    assert_false(nic_receive(b, frame, 5000)); /* one buffer is left */
    nic_rig_free(b);
}

static void filters(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t f[60] = {2, 0, 0, 0, 0, 9};
    start_rx(b, 15);
    nic_receive(b, f, 60);
    assert_int_equal(reg_get(b, R_RDH), 0);
    reg_set(b, R_RCTL, 1 << 1 | 1 << 3); /* promiscuous */
    nic_receive(b, f, 60);
    assert_int_equal(reg_get(b, R_RDH), 1);
    reg_set(b, R_RCTL, 1 << 1);
    memset(f, 0xff, 6);
    nic_receive(b, f, 60); /* broadcasts were not asked for */
    memcpy(f, "\x01\x00\x5e\x00\x00\x05", 6);
    nic_receive(b, f, 60);
    assert_int_equal(reg_get(b, R_RDH), 1);
    reg_set(b, R_MTA + 4 * (0x050 >> 5), 1u << (0x050 & 31)); /* hash: bits 47 to 36 */
    nic_receive(b, f, 60);
    assert_int_equal(reg_get(b, R_RDH), 2);
    assert_int_equal(ram32(b, RX_RING + 16 + 12) & 0x80, 0x80); /* passed inexactly */
    memcpy(f, "\x02\x00\x00\x00\x00\x09", 6);
    reg_set(b, R_RA + 8, 0x00000002);
    reg_set(b, R_RA + 12, 0x80000900);
    nic_receive(b, f, 60);
    assert_int_equal(reg_get(b, R_RDH), 3);
    nic_rig_free(b);
}

static void received_checksums(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    size_t n = tcp_in_ram(b, 100);
    context(b, 0, 0x27, 100, 1460);
    put_tx(b, 1, BUFFERS, (uint32_t)n | 1u << 20 | 0x2d000000u, 3 << 8);
    reg_set(b, R_TDT, 2);
    uint8_t f[200];
    memcpy(f, b->sent[0].bytes, n); /* a good frame */
    memcpy(f, frame_for_us, 6);
    start_rx(b, 8);
    reg_set(b, R_RXCSUM, 0x300);
    nic_receive(b, f, n);
    assert_int_equal(ram32(b, RX_RING + 12), 0x63);
    f[60] ^= 1;
    nic_receive(b, f, n);
    assert_int_equal(ram32(b, RX_RING + 28), 0x2063); /* TCP or UDP is wrong */
    f[20] ^= 1;
    nic_receive(b, f, n);
    assert_int_equal(ram32(b, RX_RING + 44), 0x4043);
    nic_receive(b, frame_for_us, 60); /* not IP */
    assert_int_equal(ram32(b, RX_RING + 60), 0x03);
    nic_rig_free(b);
}

static void nothing_without_bus_mastering(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    start_rx(b, 8);
    nic_config(b, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    put_tx(b, 0, BUFFERS, 60 | 0x09000000u, 0);
    reg_set(b, R_TDT, 1);
    assert_int_equal(b->sent_count, 0);
    assert_true(nic_receive(b, frame_for_us, 60)); /* lost */
    assert_int_equal(reg_get(b, R_RDH), 0);
    nic_rig_free(b);
}

static void software_reset(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    put_tx(b, 0, BUFFERS, 60 | 0x09000000u, 0);
    reg_set(b, R_TDT, 1);
    assert_string_equal(rig_trace(b->r), "+0 ");
    reg_set(b, R_CTRL, CTRL_RST);
    assert_string_equal(rig_trace(b->r), "-0 ");
    assert_int_equal(reg_get(b, R_CTRL) & CTRL_RST, 0);
    assert_int_equal(reg_get(b, R_IMS), 0);
    assert_int_equal(reg_get(b, R_TDT), 0);
    assert_int_equal(reg_get(b, R_RA), 0x12005452);
    nic_rig_free(b);
}

/* ---- hostile guests -------------------------------------------------------------------------- */

static void bad_rings(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    reg_set(b, R_TDLEN, 0);
    reg_set(b, R_TDT, 1);
    reg_set(b, R_TDLEN, RING * 16);
    reg_set(b, R_TDT, RING); /* beyond the ring */
    assert_int_equal(reg_get(b, R_TDH), 0);
    reg_set(b, R_TDH, 0xffff);
    reg_set(b, R_TDT, 1);
    assert_int_equal(reg_get(b, R_TDH), 0xffff);
    reg_set(b, R_TDH, 0);
    reg_set(b, R_TDBAL, NIC_BAR); /* a ring in device registers */
    reg_set(b, R_TDT, 2);
    reg_set(b, R_TDBAL, 0xfffffff0);
    reg_set(b, R_TDBAH, 0xffffffff);
    reg_set(b, R_TDT, 3);
    assert_int_equal(b->sent_count, 0);
    start_rx(b, 8);
    reg_set(b, R_RDBAL, NIC_BAR);
    assert_true(nic_receive(b, frame_for_us, 60));
    reg_set(b, R_RDH, 0xffff);
    assert_false(nic_receive(b, frame_for_us, 60));
    nic_rig_free(b);
}

static void bad_descriptors(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    put_tx(b, 0, NIC_BAR, 60 | 0x09000000u, 0);           /* not memory */
    put_tx(b, 1, BUFFERS, 0x09000000u, 0);                /* empty */
    put_tx(b, 2, BUFFERS, 13 | 0x09000000u, 0);           /* less than a header */
    put_tx(b, 3, 0, 0xfffff | 1u << 20 | 0x29000000u, 0); /* 1 MiB */
    put_tx(b, 4, 0, 0xffff, 0);                           /* two of 64 KiB */
    put_tx(b, 5, 0, 0xffff | 0x09000000u, 0);
    context(b, 6, 0x27, 0, 0); /* segments of nothing */
    put_tx(b, 7, BUFFERS, 600 | 1u << 20 | 0x2d000000u, 3 << 8);
    uint32_t wild[4] = {0xffffffff, 0xffffffff, 0x20000000u, 0xffffff00};
    ram_write(b, TX_RING + 16 * 8, wild, sizeof wild); /* offsets beyond every frame */
    put_tx(b, 9, BUFFERS, 60 | 1u << 20 | 0x2d000000u, 3 << 8);
    reg_set(b, R_TDT, 10);
    assert_int_equal(b->sent_count, 0);
    assert_int_equal(reg_get(b, R_TDH), 10);
    for (unsigned i = 0; i < 10; i++)
        if (i != 4 && i != 6 && i != 8)
            assert_int_equal(ram32(b, TX_RING + 16 * i + 12) & 1, 1);
    put_tx(b, 10, BUFFERS, 60 | 1u << 20 | 0x29000000u, 3 << 8); /* wild checksums: sent as is */
    reg_set(b, R_TDT, 11);
    assert_int_equal(b->sent_count, 1);
    nic_rig_free(b);
}

/* The largest ring, all of it to be sent: done in portions, by the timer. */
static void huge_rings_are_sent_in_portions(void **state)
{
    struct nic_rig *b = new_card();
    start_tx(b);
    reg_set(b, R_TDBAL, 0);
    reg_set(b, R_TDLEN, 0xfff80);
    reg_set(b, R_TDT, 60000);
    uint32_t head = reg_get(b, R_TDH);
    assert_in_range(head, 1, 1000);
    for (unsigned i = 0; i < 200 && reg_get(b, R_TDH) != 60000; i++)
        rig_advance(b->r, 1000);
    assert_int_equal(reg_get(b, R_TDH), 60000);
    nic_rig_free(b);
}

static void random_guests_and_twins(void **state)
{
    e1000_fuzz(5, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_and_eeprom),
        cmocka_unit_test(phy_over_mdio),
        cmocka_unit_test(registers_over_ports),
        cmocka_unit_test(a_frame_of_two_descriptors),
        cmocka_unit_test(delayed_interrupts_come_late_or_along),
        cmocka_unit_test(checksums_are_inserted),
        cmocka_unit_test(large_segments_are_cut),
        cmocka_unit_test(vlan_tags),
        cmocka_unit_test(frames_are_stored),
        cmocka_unit_test(without_buffers_the_backend_waits),
        cmocka_unit_test(long_frames_take_several_buffers),
        cmocka_unit_test(filters),
        cmocka_unit_test(received_checksums),
        cmocka_unit_test(nothing_without_bus_mastering),
        cmocka_unit_test(software_reset),
        cmocka_unit_test(bad_rings),
        cmocka_unit_test(bad_descriptors),
        cmocka_unit_test(huge_rings_are_sent_in_portions),
        cmocka_unit_test(random_guests_and_twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
