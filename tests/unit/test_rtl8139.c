/* SPDX-License-Identifier: MIT */
/* rtl8139 in both modes, as the data sheets and Linux' 8139too and 8139cp use it, and as hostile
 * guests do. */
#include "rtl8139_fuzz.h"

#define RX_RING 0x20000u /* C mode */
#define TX_RING 0x1000u  /* C+ mode */
#define CP_RING 0x2000u
#define BUFFERS 0x40000u

static const uint8_t frame_for_us[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2,
                                          0,    0,    0,    0,    1,    0x12, 0x34};

static struct nic_rig *new_card(void)
{
    return nic_rig_new(rtl8139_new, 1);
}

/* ---- what drivers find ----------------------------------------------------------------------- */

/* As Linux does it: `bits` of address; three more if the EEPROM is smaller. */
static uint16_t eeprom_word(struct nic_rig *b, unsigned n, unsigned bits)
{
    uint32_t command = 6u << bits | n, out = 0;
    nic_write(b, R_9346CR, 1, 0x80);
    nic_write(b, R_9346CR, 1, 0x88);
    for (int i = (int)bits + 4; i >= 0; i--) {
        unsigned wires = 0x88 | (command >> i & 1) << 1;
        nic_write(b, R_9346CR, 1, wires);
        nic_write(b, R_9346CR, 1, wires | 4);
    }
    nic_write(b, R_9346CR, 1, 0x88);
    for (int i = 0; i < 16; i++) {
        nic_write(b, R_9346CR, 1, 0x8c);
        out = out << 1 | (nic_read(b, R_9346CR, 1) & 1);
        nic_write(b, R_9346CR, 1, 0x88);
    }
    nic_write(b, R_9346CR, 1, 0);
    return (uint16_t)out;
}

static void identity_and_eeprom(void **state)
{
    struct nic_rig *b = new_card();
    assert_int_equal(nic_config_read(b, PCI_VENDOR, 4), 0x813910ec);
    assert_int_equal(nic_config_read(b, PCI_REVISION, 1), 0x20);
    assert_int_not_equal(eeprom_word(b, 0, 8), 0x8129); /* six bits, not eight */
    assert_int_equal(eeprom_word(b, 0, 6), 0x8129);
    assert_int_equal(eeprom_word(b, 7, 6), 0x5452);
    assert_int_equal(eeprom_word(b, 8, 6), 0x1200);
    assert_int_equal(eeprom_word(b, 9, 6), 0x5634);
    assert_int_equal(nic_read(b, 0, 4), 0x12005452);
    assert_int_equal(nic_read(b, 4, 2), 0x5634);
    assert_int_equal(nic_read(b, R_TCR, 4) & 0x7cc00000, 0x74800000);
    assert_int_equal(nic_read(b, R_BMSR, 2) & 0x24, 0x24); /* negotiated, link */
    assert_int_equal(nic_read(b, R_MSR, 1) & 4, 0);
    nic_rig_free(b);
    b = nic_rig_new(rtl8139c_new, 1);
    assert_int_equal(nic_config_read(b, PCI_REVISION, 1), 0x10);
    assert_int_equal(nic_read(b, R_TCR, 4) & 0x7cc00000, 0x74000000);
    nic_write(b, R_CPCR, 2, 3); /* knows no C+ mode */
    assert_int_equal(nic_read(b, R_CPCR, 2), 0);
    nic_rig_free(b);
}

static void accesses_of_all_sizes(void **state)
{
    struct nic_rig *b = new_card();
    nic_write(b, 0, 4, 0x44332211);
    nic_write(b, 4, 4, 0x88776655); /* two bytes of it exist */
    assert_int_equal(nic_read(b, 0, 4), 0x44332211);
    assert_int_equal(nic_read(b, 4, 4), 0x6655);
    nic_write(b, 2, 1, 0xaa);
    assert_int_equal(nic_read(b, 0, 4), 0x44aa2211);
    nic_write(b, R_IMR, 1, 0x7f);
    assert_int_equal(nic_read(b, R_IMR, 2), 0x7f);
    nic_config(b, PCI_BAR0, 4, 0xc000);
    nic_config(b, PCI_COMMAND, 2, 7);
    assert_int_equal(bus_read(b->r->host.pio, 0xc000, 4), 0x44aa2211);
    nic_rig_free(b);
}

/* ---- C mode ---------------------------------------------------------------------------------- */

static void start_c(struct nic_rig *b)
{
    nic_write(b, R_CR, 1, CR_RST);
    assert_int_equal(nic_read(b, R_CR, 1) & CR_RST, 0);
    nic_write(b, R_RBSTART, 4, RX_RING);
    nic_write(b, R_CR, 1, CR_RE | CR_TE);
    nic_write(b, R_RCR, 4, RCR_APM | RCR_AB | RCR_AM | RCR_WRAP); /* 8 KiB */
    nic_write(b, R_IMR, 2, ISR_ROK | ISR_TOK | ISR_TER);
    assert_int_equal(nic_read(b, R_CR, 1) & CR_BUFE, CR_BUFE);
}

static void c_mode_sends(void **state)
{
    struct nic_rig *b = new_card();
    start_c(b);
    ram_write(b, BUFFERS + 1, frame_for_us, 100);
    for (unsigned i = 0; i < 4; i++) {
        nic_write(b, R_TSAD + 4 * i, 4, BUFFERS + 1);
        nic_write(b, R_TSD + 4 * i, 4, 60 + i);
        assert_int_equal(b->sent_count, i + 1);
        assert_int_equal(b->sent[i].n, 60 + i);
        assert_int_equal(nic_read(b, R_TSD + 4 * i, 4) & 0xa000, 0xa000); /* OWN, OK */
        assert_string_equal(rig_trace(b->r), "+0 ");
        assert_int_equal(nic_read(b, R_ISR, 2), ISR_TOK);
        nic_write(b, R_ISR, 2, ISR_TOK);
        assert_string_equal(rig_trace(b->r), "-0 ");
    }
    assert_memory_equal(b->sent[0].bytes, frame_for_us, 60);
    assert_int_equal(nic_read(b, R_TSADS, 2), 0xf00f);
    nic_write(b, R_TSD, 4, 0x2000 | 60); /* OWN set: not to be sent */
    assert_int_equal(b->sent_count, 4);
    nic_rig_free(b);
}

static void c_mode_receives(void **state)
{
    struct nic_rig *b = new_card();
    start_c(b);
    assert_true(nic_receive(b, frame_for_us, 61));
    assert_string_equal(rig_trace(b->r), "");
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(nic_read(b, R_ISR, 2), ISR_ROK);
    assert_int_equal(nic_read(b, R_CR, 1) & CR_BUFE, 0);
    assert_int_equal(ram32(b, RX_RING), 65u << 16 | 0x4001); /* length with CRC; PAM, ROK */
    uint8_t got[61];
    ram_read(b, RX_RING + 4, got, 61);
    assert_memory_equal(got, frame_for_us, 61);
    assert_int_equal(nic_read(b, R_CBR, 2), 72); /* a multiple of four */
    nic_write(b, R_CAPR, 2, 72 - 16);
    assert_int_equal(nic_read(b, R_CR, 1) & CR_BUFE, CR_BUFE);
    nic_rig_free(b);
}

static void c_mode_ring_fills_and_wraps(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t f[1016];
    unsigned taken = 0;
    memset(f, 0x5a, sizeof f);
    memcpy(f, frame_for_us, 14);
    start_c(b);
    while (taken < 100 && nic_receive(b, f, 1016))
        taken++;
    assert_int_equal(taken, 7); /* of 1,024 bytes; an eighth would make full look like empty */
    assert_int_equal(nic_read(b, R_CR, 1) & CR_BUFE, 0);
    start_c(b);
    for (unsigned i = 0; i < 8; i++)
        assert_true(nic_receive(b, f, 1000));
    assert_false(nic_receive(b, f, 1000));
    b->resumes = 0;
    nic_write(b, R_CAPR, 2, 1008 - 16);
    assert_int_equal(b->resumes, 0); /* not worth it yet */
    nic_write(b, R_CAPR, 2, 3 * 1008 - 16);
    assert_int_equal(b->resumes, 1);
    assert_true(nic_receive(b, f, 1000)); /* lies behind the end, as WRAP asks */
    uint8_t byte;
    ram_read(b, RX_RING + 8192 + 500, &byte, 1);
    assert_int_equal(byte, 0x5a);
    assert_int_equal(nic_read(b, R_CBR, 2), 9 * 1008 - 8192);

    start_c(b);
    nic_write(b, R_RCR, 4, RCR_APM); /* no WRAP: goes on at the start */
    for (unsigned i = 0; i < 8; i++)
        assert_true(nic_receive(b, f, 1000));
    nic_write(b, R_CAPR, 2, 8 * 1008 - 16);
    uint8_t zero[512] = {0};
    ram_write(b, RX_RING, zero, sizeof zero);
    assert_true(nic_receive(b, f, 1000));
    ram_read(b, RX_RING + 500, &byte, 1);
    assert_int_equal(byte, 0x5a);
    nic_rig_free(b);
}

/* A driver that clears ROK, reads some and enables interrupts again hears of the rest. */
static void frames_in_the_ring_are_not_forgotten(void **state)
{
    struct nic_rig *b = new_card();
    start_c(b);
    nic_receive(b, frame_for_us, 100);
    nic_receive(b, frame_for_us, 100);
    nic_batch_end(b);
    nic_write(b, R_IMR, 2, 0);
    nic_write(b, R_ISR, 2, ISR_ROK);
    nic_write(b, R_CAPR, 2, 108 - 16);
    rig_trace(b->r);
    nic_write(b, R_IMR, 2, ISR_ROK);
    assert_string_equal(rig_trace(b->r), "+0 ");
    nic_write(b, R_CAPR, 2, 216 - 16);
    nic_write(b, R_ISR, 2, ISR_ROK);
    nic_write(b, R_IMR, 2, ISR_ROK);
    assert_string_equal(rig_trace(b->r), "-0 ");
    nic_rig_free(b);
}

static void filters(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t f[60] = {2, 0, 0, 0, 0, 9};
    start_c(b);
    nic_receive(b, f, 60);
    assert_int_equal(nic_read(b, R_CBR, 2), 0);
    memset(f, 0xff, 6);
    nic_receive(b, f, 60);
    assert_int_equal(ram32(b, RX_RING) & 0xffff, 0x2001); /* BAR */
    memcpy(f, "\x01\x00\x5e\x00\x00\x01", 6);
    nic_receive(b, f, 60);
    assert_int_equal(nic_read(b, R_CBR, 2), 68);
    nic_write(b, R_MAR, 4, 1u << 31); /* its hash is 31 */
    nic_receive(b, f, 60);
    assert_int_equal(ram32(b, RX_RING + 68) & 0xffff, 0x8001); /* MAR */
    memcpy(f, "\x02\x00\x00\x00\x00\x09", 6);
    nic_write(b, R_RCR, 4, RCR_AAP);
    nic_receive(b, f, 60);
    assert_int_equal(nic_read(b, R_CBR, 2), 3 * 68);
    nic_rig_free(b);
}

/* ---- C+ mode --------------------------------------------------------------------------------- */

static void start_cp(struct nic_rig *b)
{
    nic_write(b, R_CR, 1, CR_RST);
    nic_write(b, R_CPCR, 2, CPCR_TX | CPCR_RX | CPCR_RXCSUM);
    nic_write(b, R_CR, 1, CR_RE | CR_TE);
    nic_write(b, R_TNPDS, 4, TX_RING);
    nic_write(b, R_TNPDS + 4, 4, 0);
    nic_write(b, R_THPDS, 4, 0);
    nic_write(b, R_RDSAR, 4, CP_RING);
    nic_write(b, R_RCR, 4, RCR_APM | RCR_AB);
    nic_write(b, R_IMR, 2, ISR_ROK | ISR_TOK);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t rx[4] = {1u << 31 | (i == 3) << 30 | 1536, 0, BUFFERS + 2048 * i, 0};
        uint32_t tx[4] = {(i == 3) << 30, 0, 0, 0};
        ram_write(b, CP_RING + 16 * i, rx, sizeof rx);
        ram_write(b, TX_RING + 16 * i, tx, sizeof tx);
    }
}

static void put_tx(struct nic_rig *b, unsigned n, uint32_t flags, uint32_t vlan, uint32_t address)
{
    uint32_t d[4] = {1u << 31 | (n == 3) << 30 | flags, vlan, address, 0};
    ram_write(b, TX_RING + 16 * n, d, sizeof d);
}

#define FIRST 0x20000000u
#define LAST  0x10000000u

static void cp_mode_sends(void **state)
{
    struct nic_rig *b = new_card();
    start_cp(b);
    ram_write(b, BUFFERS, frame_for_us, 100);
    put_tx(b, 0, FIRST | 40, 0, BUFFERS);
    put_tx(b, 1, LAST | 60, 0, BUFFERS + 40);
    nic_write(b, R_TPPOLL, 1, 0x40);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].n, 100);
    assert_memory_equal(b->sent[0].bytes, frame_for_us, 100);
    assert_int_equal(ram32(b, TX_RING), FIRST | 40); /* given back */
    assert_string_equal(rig_trace(b->r), "");
    rig_advance(b->r, NS_PER_SEC / 1000);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(nic_read(b, R_ISR, 2), ISR_TOK | ISR_TDU);
    put_tx(b, 2, FIRST | LAST | 100, 1u << 17 | 0x2301, BUFFERS); /* with a tag */
    put_tx(b, 3, FIRST | LAST | 100, 0, BUFFERS);
    put_tx(b, 0, FIRST | LAST | 100, 0, BUFFERS); /* behind the end of the ring */
    nic_write(b, R_TPPOLL, 1, 0x40);
    assert_int_equal(b->sent_count, 4);
    assert_int_equal(b->sent[1].n, 104);
    assert_memory_equal(b->sent[1].bytes + 12, "\x81\x00\x01\x23\x12\x34", 6);
    nic_rig_free(b);
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

static void cp_mode_offloads(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t f[54] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 0, 0x45};
    f[16] = (40 + 4000) >> 8;
    f[17] = (uint8_t)(40 + 4000);
    f[23] = 6;
    f[26] = f[30] = 10;
    f[46] = 5 << 4;
    start_cp(b);
    ram_write(b, BUFFERS, f, sizeof f);
    put_tx(b, 0, FIRST | LAST | 1u << 27 | 1460u << 16 | 4054, 0, BUFFERS);
    nic_write(b, R_TPPOLL, 1, 0x40);
    assert_int_equal(b->sent_count, 3);
    assert_int_equal(b->sent[0].n, 1514);
    assert_int_equal(b->sent[2].n, 54 + 4000 - 2 * 1460);
    for (unsigned i = 0; i < 3; i++)
        expect_good_sums(b->sent[i].bytes, b->sent[i].n);
    f[16] = 0;
    f[17] = 100;
    ram_write(b, BUFFERS, f, sizeof f);
    put_tx(b, 1, FIRST | LAST | 1u << 18 | 1u << 16 | 114, 0, BUFFERS);
    nic_write(b, R_TPPOLL, 1, 0x40);
    assert_int_equal(b->sent_count, 4);
    expect_good_sums(b->sent[3].bytes, 114);

    uint8_t good[114];
    memcpy(good, b->sent[3].bytes, 114);
    assert_true(nic_receive(b, good, 114));
    assert_int_equal(ram32(b, CP_RING), FIRST | LAST | 1u << 25 | 1u << 16 | 118); /* PAM, TCP */
    good[60] ^= 1;
    assert_true(nic_receive(b, good, 114));
    assert_int_equal(ram32(b, CP_RING + 16) & 0x3e000, 1u << 16 | 1u << 13); /* TCP is wrong */
    nic_rig_free(b);
}

static void cp_mode_runs_out_of_buffers(void **state)
{
    struct nic_rig *b = new_card();
    start_cp(b);
    for (unsigned i = 0; i < 4; i++)
        assert_true(nic_receive(b, frame_for_us, 100));
    assert_false(nic_receive(b, frame_for_us, 100));
    nic_read(b, R_ISR, 2);
    assert_int_equal(b->resumes, 0);
    ram_set32(b, CP_RING, 1u << 31 | 1536);
    nic_read(b, R_ISR, 2); /* iPXE only looks for interrupts, then */
    assert_int_equal(b->resumes, 1);
    assert_true(nic_receive(b, frame_for_us, 100));
    nic_rig_free(b);
}

/* A driver that reads its cause for ever and clears nothing gets a pause. */
static void interrupt_storms_pause(void **state)
{
    struct nic_rig *b = new_card();
    start_cp(b);
    nic_receive(b, frame_for_us, 100);
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "+0 ");
    for (unsigned i = 0; i < 1000; i++)
        nic_read(b, R_ISR, 2);
    assert_string_equal(rig_trace(b->r), "-0 ");
    rig_advance(b->r, NS_PER_SEC / 1000);
    assert_string_equal(rig_trace(b->r), "+0 ");
    for (unsigned i = 0; i < 1000; i++) { /* one that does its work does not */
        nic_read(b, R_ISR, 2);
        nic_write(b, R_IMR, 2, 0);
        nic_write(b, R_IMR, 2, ISR_ROK);
    }
    assert_int_equal(b->r->level[0], 1);
    nic_rig_free(b);
}

static void counters_are_dumped(void **state)
{
    struct nic_rig *b = new_card();
    start_cp(b);
    nic_receive(b, frame_for_us, 100);
    nic_write(b, R_DTCCR + 4, 4, 0);
    nic_write(b, R_DTCCR, 4, 0x3000 | 8);
    assert_int_equal(nic_read(b, R_DTCCR, 4) & 8, 0);
    assert_int_equal(ram32(b, 0x3000), 0);
    assert_int_equal(ram32(b, 0x3008), 1);
    nic_rig_free(b);
}

/* ---- hostile guests -------------------------------------------------------------------------- */

static void bad_addresses(void **state)
{
    struct nic_rig *b = new_card();
    start_c(b);
    nic_write(b, R_RBSTART, 4, NIC_BAR);
    assert_true(nic_receive(b, frame_for_us, 100));
    nic_write(b, R_TSAD, 4, NIC_BAR);
    nic_write(b, R_TSD, 4, 60);
    assert_int_equal(nic_read(b, R_ISR, 2) & ISR_TER, ISR_TER);
    nic_write(b, R_TSAD, 4, BUFFERS);
    nic_write(b, R_TSD, 4, 0x1fff); /* longer than the chip's memory */
    nic_write(b, R_TSD, 4, 0);
    assert_int_equal(b->sent_count, 0);
    start_cp(b);
    nic_write(b, R_TNPDS + 4, 4, 0xffffffff);
    nic_write(b, R_TPPOLL, 1, 0xc0);
    nic_write(b, R_RDSAR, 4, NIC_BAR);
    assert_false(nic_receive(b, frame_for_us, 100));
    nic_rig_free(b);
}

/* Descriptors that give themselves back for ever are not possible: each pass takes OWN away. A ring
 * without an end has at most 64. */
static void bad_descriptors(void **state)
{
    struct nic_rig *b = new_card();
    start_cp(b);
    for (unsigned i = 0; i < 256; i++)
        put_tx(b, i, 0xffff | (i == 3 ? 0x40000000u : 0), 0, 0); /* 64 KiB without end or start */
    for (unsigned i = 0; i < 4; i++)
        ram_set32(b, TX_RING + 16 * i, 0x8000ffffu);
    nic_write(b, R_TPPOLL, 1, 0x40);
    assert_int_equal(ram32(b, TX_RING + 16 * 63), 0xffff);
    assert_int_equal(ram32(b, TX_RING + 16 * 64), 0x8000ffffu);
    put_tx(b, 0, FIRST | LAST | 1u << 27 | 60, 0, BUFFERS); /* segments of nothing */
    put_tx(b, 1, FIRST | LAST | 13, 0, BUFFERS);
    put_tx(b, 2, FIRST | LAST | 60, 0, NIC_BAR);
    nic_write(b, R_TPPOLL, 1, 0x40);
    assert_int_equal(b->sent_count, 0);
    ram_set32(b, CP_RING, 1u << 31); /* a buffer of no bytes */
    assert_false(nic_receive(b, frame_for_us, 100));
    ram_set32(b, CP_RING, 1u << 31 | 1u << 30 | 1); /* one of one byte, for ever */
    assert_false(nic_receive(b, frame_for_us, 100));
    nic_rig_free(b);
}

static void random_guests_and_twins(void **state)
{
    rtl8139_fuzz(7, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_and_eeprom),
        cmocka_unit_test(accesses_of_all_sizes),
        cmocka_unit_test(c_mode_sends),
        cmocka_unit_test(c_mode_receives),
        cmocka_unit_test(c_mode_ring_fills_and_wraps),
        cmocka_unit_test(frames_in_the_ring_are_not_forgotten),
        cmocka_unit_test(filters),
        cmocka_unit_test(cp_mode_sends),
        cmocka_unit_test(cp_mode_offloads),
        cmocka_unit_test(cp_mode_runs_out_of_buffers),
        cmocka_unit_test(interrupt_storms_pause),
        cmocka_unit_test(counters_are_dumped),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(bad_descriptors),
        cmocka_unit_test(random_guests_and_twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
