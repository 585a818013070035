/* SPDX-License-Identifier: MIT */
/* pcnet as the data sheet and Linux' pcnet32 use it, in all software styles and both widths of
 * registers, and as hostile guests do. */
#include "pcnet_fuzz.h"

#define INIT    0x1000u
#define RX_RING 0x2000u
#define TX_RING 0x3000u
#define BUFFERS 0x40000u
#define ENTRIES 4u
#define OWN     0x8000u
#define STP     0x0200u
#define ENP     0x0100u

static const uint8_t frame_for_us[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2,
                                          0,    0,    0,    0,    1,    0x12, 0x34};

static struct nic_rig *new_card(void)
{
    return nic_rig_new(pcnet_new, 1);
}

/* ---- registers, by 16-bit accesses ----------------------------------------------------------- */

static unsigned csr(struct nic_rig *b, unsigned n)
{
    nic_write(b, W_RAP, 2, n);
    return nic_read(b, W_RDP, 2);
}
static void set_csr(struct nic_rig *b, unsigned n, unsigned value)
{
    nic_write(b, W_RAP, 2, n);
    nic_write(b, W_RDP, 2, value);
}
static unsigned bcr(struct nic_rig *b, unsigned n)
{
    nic_write(b, W_RAP, 2, n);
    return nic_read(b, W_BDP, 2);
}
static void set_bcr(struct nic_rig *b, unsigned n, unsigned value)
{
    nic_write(b, W_RAP, 2, n);
    nic_write(b, W_BDP, 2, value);
}

static void what_drivers_find(void **state)
{
    struct nic_rig *b = new_card();
    unsigned sum = 0;
    assert_int_equal(nic_config_read(b, PCI_VENDOR, 4), 0x20001022);
    assert_int_equal(nic_config_read(b, PCI_CLASS, 2), 0x0200);
    assert_int_equal(csr(b, 0), CSR0_STOP);
    nic_write(b, W_RAP, 2, 88);
    assert_int_equal(nic_read(b, W_RAP, 2), 88);
    assert_int_equal(csr(b, 88) & 0xfff, 0x003);
    assert_int_equal((csr(b, 88) | csr(b, 89) << 16) >> 12 & 0xffff, 0x2621);
    assert_int_equal(csr(b, 12), 0x5452);
    assert_int_equal(csr(b, 13), 0x1200);
    assert_int_equal(csr(b, 14), 0x5634);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(nic_read(b, i, 1), frame_for_us[i]);
    assert_int_equal(nic_read(b, 0, 4), 0x12005452);
    assert_int_equal(nic_read(b, 14, 2), 0x5757);
    assert_int_equal(nic_read(b, 9, 1), 0x11);
    for (unsigned i = 0; i < 16; i++)
        sum += i == 12 || i == 13 ? 0 : nic_read(b, i, 1);
    assert_int_equal(nic_read(b, 12, 2), sum);
    assert_int_not_equal(bcr(b, 4), 0xc0); /* the link is up */
    nic_config(b, PCI_BAR0, 4, 0xc000);
    nic_config(b, PCI_COMMAND, 2, 7);
    assert_int_equal(bus_read(b->r->host.pio, 0xc000, 4), 0x12005452);
    nic_rig_free(b);
}

static void registers_are_wide_on_demand(void **state)
{
    struct nic_rig *b = new_card();
    assert_int_equal(nic_read(b, D_RAP, 4), UINT32_MAX);
    assert_int_equal(nic_read(b, W_RDP, 1), 0xff);
    nic_write(b, D_RDP, 4, 0); /* the switch */
    nic_write(b, D_RAP, 4, 88);
    assert_int_equal(nic_read(b, D_RAP, 4), 88);
    assert_int_equal(nic_read(b, D_RDP, 4), 0x1003);
    assert_int_equal(nic_read(b, W_RDP, 2), 0xffff);
    nic_write(b, D_RAP, 4, BCR_BURST);
    assert_int_equal(nic_read(b, D_BDP, 4) & BCR18_DWIO, BCR18_DWIO);
    nic_write(b, D_BDP, 4, 0); /* not writable */
    assert_int_equal(nic_read(b, D_BDP, 4), BCR18_DWIO);
    nic_read(b, D_RESET, 4);
    assert_int_equal(nic_read(b, D_RAP, 4), 0);
    assert_int_equal(nic_read(b, D_RDP, 4), CSR0_STOP); /* still wide */
    b->card->ops->reset(b->card);
    nic_enable(b);
    assert_int_equal(nic_read(b, W_RDP, 2), CSR0_STOP);
    nic_rig_free(b);
}

static void most_is_writable_while_stopped(void **state)
{
    struct nic_rig *b = new_card();
    set_csr(b, 8, 0x1234);
    set_csr(b, 1, 0x5678);
    assert_int_equal(csr(b, 8), 0x1234);
    assert_int_equal(csr(b, 16), 0x5678);
    set_csr(b, 17, 0x9abc);
    assert_int_equal(csr(b, 2), 0x9abc);
    set_csr(b, 88, 0);
    assert_int_equal(csr(b, 88), 0x1003);
    set_csr(b, 0, CSR0_STRT);
    assert_int_equal(csr(b, 0), CSR0_STRT | CSR0_RXON | CSR0_TXON);
    set_csr(b, 8, 0);
    assert_int_equal(csr(b, 8), 0x1234);
    set_csr(b, 5, CSR5_SPND);
    assert_int_equal(csr(b, 5), CSR5_SPND);
    set_csr(b, 8, 0x4321);
    assert_int_equal(csr(b, 8), 0x4321);
    set_csr(b, 5, 0);
    set_csr(b, 0, CSR0_STOP | CSR0_STRT | CSR0_INIT); /* stop wins */
    assert_int_equal(csr(b, 0), CSR0_STOP);
    set_csr(b, 15, MODE_NO_RX | MODE_NO_TX);
    set_csr(b, 0, CSR0_STRT);
    assert_int_equal(csr(b, 0), CSR0_STRT);
    set_bcr(b, 20, 2); /* not while it runs */
    assert_int_equal(bcr(b, 20), 0x0200);
    nic_read(b, W_RESET, 2);
    assert_int_equal(csr(b, 0), CSR0_STOP);
    assert_int_equal(csr(b, 8), 0x4321);
    assert_int_equal(csr(b, 15), 0);
    static const uint16_t styles[] = {0x0200, 0x0101, 0x0302, 0x0303};
    for (unsigned i = 0; i < 4; i++) {
        set_bcr(b, 20, i);
        assert_int_equal(bcr(b, 20), styles[i]);
        assert_int_equal(csr(b, 58), styles[i]);
    }
    set_bcr(b, 20, 4); /* no such style */
    assert_int_equal(bcr(b, 20), 0x0303);
    nic_rig_free(b);
}

/* ---- rings ----------------------------------------------------------------------------------- */

/* Place of descriptor n of a ring, and its fields, for each style. */
static void put_descriptor(struct nic_rig *b, unsigned style, uint32_t ring, unsigned n,
                           uint32_t address, unsigned bytes, unsigned flags)
{
    uint32_t control = flags << 16 | (0xffff & -bytes);
    uint32_t wide[4] = {address, control, 0xdeadbeef, 0x55},
             last[4] = {0xdeadbeef, control, address, 0x55};
    uint32_t narrow[2] = {flags << 16 | address, 0xdead0000 | (0xffff & -bytes)};
    if (style == 0)
        ram_write(b, ring + 8 * n, narrow, 8);
    else
        ram_write(b, ring + 16 * n, style == 3 ? last : wide, 16);
}

static unsigned flags_of(struct nic_rig *b, unsigned style, uint32_t ring, unsigned n)
{
    return ram32(b, style == 0 ? ring + 8 * n : ring + 16 * n + 4) >> 16 &
           (style == 0 ? 0xff00 : 0xffff);
}

static unsigned length_of(struct nic_rig *b, unsigned style, uint32_t ring, unsigned n)
{
    if (style == 0)
        return ram32(b, ring + 8 * n + 4) >> 16;
    return ram32(b, ring + 16 * n + (style == 3 ? 0 : 8));
}

/* What pcnet32 does on "up". Interrupts on, all receive buffers of 1,600 bytes the card's. */
static void start(struct nic_rig *b, unsigned style, unsigned mode)
{
    uint32_t wide[7] = {0x20200000 | mode, 0x12005452, 0x5634, 0, 1u << 31, RX_RING, TX_RING};
    uint16_t narrow[12] = {(uint16_t)mode, 0x5452,  0x1200, 0x5634,  0,     0, 0,
                           0x8000,         RX_RING, 0x4000, TX_RING, 0x4000};
    nic_read(b, W_RESET, 2);
    set_bcr(b, 20, style);
    if (style == 0)
        ram_write(b, INIT, narrow, sizeof narrow);
    else
        ram_write(b, INIT, wide, sizeof wide);
    for (unsigned i = 0; i < ENTRIES; i++) {
        put_descriptor(b, style, RX_RING, i, BUFFERS + 2048 * i, 1600, OWN);
        put_descriptor(b, style, TX_RING, i, 0, 0, 0);
    }
    set_csr(b, 1, INIT);
    set_csr(b, 2, 0);
    set_csr(b, 4, 0x0915);
    set_csr(b, 0, CSR0_INIT);
    assert_int_equal(csr(b, 0) & (CSR0_IDON | CSR0_INIT | CSR0_STOP), CSR0_IDON | CSR0_INIT);
    assert_int_equal(csr(b, 6), 0x2200);
    assert_int_equal(csr(b, 24), RX_RING);
    assert_int_equal(csr(b, 30), TX_RING);
    assert_int_equal(csr(b, 76), 0x10000 - ENTRIES);
    set_csr(b, 0, CSR0_IENA | CSR0_STRT | CSR0_IDON);
    assert_int_equal(csr(b, 0) & (CSR0_STRT | CSR0_IENA | CSR0_IDON), CSR0_STRT | CSR0_IENA);
    rig_trace(b->r);
}

static void sends_in_every_style(void **state)
{
    for (unsigned style = 0; style < 4; style++) {
        struct nic_rig *b = new_card();
        start(b, style, 0);
        ram_write(b, BUFFERS + 1, frame_for_us, 100);
        for (unsigned i = 0; i < 6; i++) { /* around the ring */
            put_descriptor(b, style, TX_RING, i % ENTRIES, BUFFERS + 1, 60 + i, OWN | STP | ENP);
            set_csr(b, 0, CSR0_IENA | CSR0_TDMD);
            assert_int_equal(b->sent_count, i + 1);
            assert_int_equal(b->sent[i].n, 60 + i);
            assert_int_equal(flags_of(b, style, TX_RING, i % ENTRIES), STP | ENP);
            assert_string_equal(rig_trace(b->r), "+0 ");
            assert_int_equal(csr(b, 0) & (CSR0_TINT | CSR0_INTR | CSR0_ERR), CSR0_TINT | CSR0_INTR);
            set_csr(b, 0, CSR0_IENA | CSR0_TINT);
            assert_string_equal(rig_trace(b->r), "-0 ");
        }
        assert_memory_equal(b->sent[5].bytes, frame_for_us, 65);
        put_descriptor(b, style, TX_RING, 2, BUFFERS, 20, OWN | STP | ENP); /* padded */
        set_csr(b, 0, CSR0_TDMD);
        assert_int_equal(b->sent[6].n, 60);
        nic_rig_free(b);
    }
}

static void receives_in_every_style(void **state)
{
    for (unsigned style = 0; style < 4; style++) {
        struct nic_rig *b = new_card();
        uint8_t got[100];
        start(b, style, 0);
        assert_true(nic_receive(b, frame_for_us, 100));
        assert_true(nic_receive(b, frame_for_us, 42));
        assert_string_equal(rig_trace(b->r), "");
        nic_batch_end(b);
        assert_string_equal(rig_trace(b->r), "+0 ");
        assert_int_equal(csr(b, 0) & (CSR0_RINT | CSR0_INTR), CSR0_RINT | CSR0_INTR);
        assert_int_equal(flags_of(b, style, RX_RING, 0), STP | ENP | (style ? 0x40 : 0));
        assert_int_equal(length_of(b, style, RX_RING, 0), 104); /* with CRC */
        assert_int_equal(length_of(b, style, RX_RING, 1), 64);  /* padded */
        ram_read(b, BUFFERS, got, 100);
        assert_memory_equal(got, frame_for_us, 100);
        assert_int_equal(csr(b, 72), ENTRIES - 2);
        set_csr(b, 0, CSR0_RINT);
        assert_string_equal(rig_trace(b->r), "-0 ");
        nic_rig_free(b);
    }
}

static void frames_have_several_buffers(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t f[1000], got[1000];
    start(b, 2, 0);
    for (unsigned i = 0; i < sizeof f; i++)
        f[i] = (uint8_t)(i * 7);
    ram_write(b, BUFFERS, f, sizeof f);
    put_descriptor(b, 2, TX_RING, 0, BUFFERS, 10, OWN | STP);
    put_descriptor(b, 2, TX_RING, 1, BUFFERS + 10, 300, OWN);
    put_descriptor(b, 2, TX_RING, 2, BUFFERS + 310, 690, OWN | ENP);
    set_csr(b, 0, CSR0_TDMD | CSR0_IENA);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].n, 1000);
    assert_memory_equal(b->sent[0].bytes, f, 1000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(flags_of(b, 2, TX_RING, i) & OWN, 0);

    for (unsigned i = 0; i < ENTRIES; i++)
        put_descriptor(b, 2, RX_RING, i, BUFFERS + 400 * i, 300, OWN);
    memcpy(f, frame_for_us, 14);
    assert_true(nic_receive(b, f, 800));
    assert_int_equal(flags_of(b, 2, RX_RING, 0), STP);
    assert_int_equal(flags_of(b, 2, RX_RING, 1), 0);
    assert_int_equal(flags_of(b, 2, RX_RING, 2), ENP | 0x40);
    assert_int_equal(length_of(b, 2, RX_RING, 0), 0xdeadbeef); /* in the last one only */
    assert_int_equal(length_of(b, 2, RX_RING, 2), 804);
    for (unsigned i = 0; i < 3; i++)
        ram_read(b, BUFFERS + 400 * i, got + 300 * i, i < 2 ? 300 : 200);
    assert_memory_equal(got, f, 800);
    nic_rig_free(b);
}

static void frames_wait_for_buffers(void **state)
{
    struct nic_rig *b = new_card();
    start(b, 2, 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        assert_true(nic_receive(b, frame_for_us, 100));
    assert_false(nic_receive(b, frame_for_us, 100));
    assert_int_equal(csr(b, 112), 0);
    b->resumes = 0;
    csr(b, 0);
    assert_int_equal(b->resumes, 0);
    put_descriptor(b, 2, RX_RING, 0, BUFFERS, 1600, OWN);
    csr(b, 0); /* any access */
    assert_int_equal(b->resumes, 1);
    assert_true(nic_receive(b, frame_for_us, 100));
    assert_false(nic_receive(b, frame_for_us, 100));
    rig_advance(b->r, 10 * 1000 * 1000);
    assert_int_equal(b->resumes, 1);
    put_descriptor(b, 2, RX_RING, 1, BUFFERS, 1600, OWN);
    rig_advance(b->r, 2 * 1000 * 1000); /* it looks by itself, too */
    assert_int_equal(b->resumes, 2);
    assert_int_equal(clock_next_deadline(b->r->host.clock), TIMER_NEVER);
    /* Suspended: nothing is stored, nothing is lost. */
    put_descriptor(b, 2, RX_RING, 2, BUFFERS, 1600, OWN);
    set_csr(b, 5, CSR5_SPND);
    assert_false(nic_receive(b, frame_for_us, 100));
    assert_int_equal(b->resumes, 2);
    set_csr(b, 5, 0);
    assert_int_equal(b->resumes, 3);
    assert_true(nic_receive(b, frame_for_us, 100));
    /* Larger than all buffers together: missed. */
    start(b, 2, 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        put_descriptor(b, 2, RX_RING, i, BUFFERS, 20, OWN);
    assert_true(nic_receive(b, frame_for_us, 100));
    assert_int_equal(csr(b, 112), 1);
    assert_int_equal(csr(b, 0) & (CSR0_MISS | CSR0_ERR), CSR0_MISS | CSR0_ERR);
    nic_rig_free(b);
}

/* A snapshot between frame and interrupt, while another frame waits. */
static void state_has_what_is_under_way(void **state)
{
    static uint8_t ram[NIC_RAM];
    struct nic_rig *a = new_card(), *b = new_card();
    start(a, 2, 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        assert_true(nic_receive(a, frame_for_us, 100));
    assert_false(nic_receive(a, frame_for_us, 100));
    ram_read(a, 0, ram, NIC_RAM);
    ram_write(b, 0, ram, NIC_RAM);
    rig_copy_state(b->r->d, a->r->d);
    rig_copy_state(b->card, a->card);
    assert_string_equal(rig_trace(b->r), "");
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "+0 ");
    b->resumes = 0;
    rig_advance(b->r, 2 * 1000 * 1000);
    assert_int_equal(b->resumes, 0);
    put_descriptor(b, 2, RX_RING, 0, BUFFERS, 1600, OWN);
    rig_advance(b->r, 2 * 1000 * 1000);
    assert_int_equal(b->resumes, 1);
    nic_rig_free(a);
    nic_rig_free(b);
}

static bool gets(struct nic_rig *b, unsigned mode, const char *to)
{
    uint8_t f[60] = {0};
    start(b, 2, mode);
    memcpy(f, to, 6);
    assert_true(nic_receive(b, f, sizeof f));
    return !(flags_of(b, 2, RX_RING, 0) & OWN);
}

static void filters(void **state)
{
    struct nic_rig *b = new_card();
    const char *mine = (const char *)frame_for_us, *other = "\x52\x54\0\x12\x34\x57";
    const char *all = "\xff\xff\xff\xff\xff\xff";
    assert_true(gets(b, 0, mine));
    assert_false(gets(b, 0, other));
    assert_true(gets(b, MODE_PROM, other));
    assert_true(gets(b, 0, all));
    assert_int_equal(flags_of(b, 2, RX_RING, 0), STP | ENP | 0x10);
    assert_false(gets(b, MODE_NO_BROADCAST, all));
    assert_false(gets(b, MODE_NO_PHYSICAL, mine));
    assert_false(gets(b, MODE_NO_RX, mine));
    nic_rig_free(b);
}

/* The bit that Linux computes: the upper six of the little-endian CRC. */
static void multicast_bits(void **state)
{
    static const char *const groups[] = {"\x01\0\x5e\0\0\x01", "\x33\x33\0\0\0\x01",
                                         "\x01\x80\xc2\0\0\0"};
    struct nic_rig *b = new_card();
    for (unsigned i = 0; i < ARRAY_LEN(groups); i++) {
        uint8_t f[60] = {0};
        uint32_t crc = UINT32_MAX;
        memcpy(f, groups[i], 6);
        for (unsigned n = 0; n < 6; n++) { /* byte by byte, another way than the card's */
            crc ^= f[n];
            for (unsigned k = 0; k < 8; k++)
                crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
        }
        unsigned bit = crc >> 26;
        for (unsigned other = 0; other < 2; other++) {
            start(b, 2, 0);
            set_csr(b, 5, CSR5_SPND);
            for (unsigned n = 0; n < 4; n++)
                set_csr(b, 8 + n, (n == bit / 16 ? 1u << bit % 16 : 0) ^ (other ? 0xffff : 0));
            set_csr(b, 5, 0);
            nic_receive(b, f, sizeof f);
            assert_int_equal(flags_of(b, 2, RX_RING, 0), other ? OWN : STP | ENP | 0x20);
        }
    }
    nic_rig_free(b);
}

static void interrupts_are_masked(void **state)
{
    struct nic_rig *b = new_card();
    start(b, 2, 0);
    set_csr(b, 3, CSR0_RINT);
    assert_true(nic_receive(b, frame_for_us, 100));
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "");
    assert_int_equal(csr(b, 0) & (CSR0_RINT | CSR0_INTR), CSR0_RINT);
    set_csr(b, 3, 0);
    assert_string_equal(rig_trace(b->r), "+0 ");
    set_csr(b, 0, 0); /* IENA off */
    assert_string_equal(rig_trace(b->r), "-0 ");
    set_csr(b, 0, CSR0_IENA | CSR0_RINT);
    set_csr(b, 4, 0x0915 | CSR4_UINTCMD);
    assert_string_equal(rig_trace(b->r), "+0 ");
    set_csr(b, 4, 0x0915 | CSR4_UINT);
    assert_string_equal(rig_trace(b->r), "-0 ");
    /* Not for every frame sent. */
    set_csr(b, 5, CSR5_LTINTEN);
    put_descriptor(b, 2, TX_RING, 0, BUFFERS, 60, OWN | STP | ENP);
    set_csr(b, 0, CSR0_IENA | CSR0_TDMD);
    assert_string_equal(rig_trace(b->r), "");
    put_descriptor(b, 2, TX_RING, 1, BUFFERS, 60, OWN | STP | ENP | 0x1000);
    set_csr(b, 0, CSR0_IENA | CSR0_TDMD);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(b->sent_count, 2);
    set_csr(b, 0, CSR0_STOP);
    assert_string_equal(rig_trace(b->r), "-0 ");
    nic_rig_free(b);
}

static void internal_loopback(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t got[60];
    start(b, 2, MODE_LOOP | 0x40);
    ram_write(b, BUFFERS + 0x8000, frame_for_us, 60);
    assert_true(nic_receive(b, frame_for_us, 60)); /* the wire is cut */
    put_descriptor(b, 2, TX_RING, 0, BUFFERS + 0x8000, 60, OWN | STP | ENP);
    set_csr(b, 0, CSR0_TDMD);
    assert_int_equal(b->sent_count, 0);
    assert_int_equal(csr(b, 0) & (CSR0_RINT | CSR0_TINT), CSR0_RINT | CSR0_TINT);
    assert_int_equal(flags_of(b, 2, RX_RING, 0), STP | ENP | 0x40);
    assert_int_equal(flags_of(b, 2, RX_RING, 1), OWN);
    ram_read(b, BUFFERS, got, 60);
    assert_memory_equal(got, frame_for_us, 60);
    nic_rig_free(b);
}

/* ---- what drivers should not do -------------------------------------------------------------- */

static void bad_descriptors(void **state)
{
    struct nic_rig *b = new_card();
    /* The second buffer of a frame is not there: an underflow, and sending ends. */
    start(b, 2, 0);
    put_descriptor(b, 2, TX_RING, 0, BUFFERS, 100, OWN | STP);
    set_csr(b, 0, CSR0_TDMD);
    assert_int_equal(b->sent_count, 0);
    assert_int_equal(flags_of(b, 2, TX_RING, 0), STP | 0x4000);
    assert_int_equal(length_of(b, 2, TX_RING, 0), 0xc0000000);
    assert_int_equal(csr(b, 0) & (CSR0_TINT | CSR0_TXON), CSR0_TINT);
    /* A frame without a beginning is skipped. */
    start(b, 2, 0);
    put_descriptor(b, 2, TX_RING, 0, BUFFERS, 100, OWN | ENP);
    put_descriptor(b, 2, TX_RING, 1, BUFFERS, 100, OWN | STP | ENP);
    set_csr(b, 0, CSR0_TDMD);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(flags_of(b, 2, TX_RING, 0), ENP);
    /* No end in the whole ring, and too long besides. */
    start(b, 2, 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        put_descriptor(b, 2, TX_RING, i, BUFFERS, 4096, OWN | STP);
    set_csr(b, 0, CSR0_TDMD);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(csr(b, 0) & CSR0_TXON, 0);
    /* The same in memory that cannot be written, so that no descriptor is ever given back. */
    struct phys *mem = b->r->host.mem;
    gpa_t page = TX_RING & PAGE_MASK;
    start(b, 2, 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        put_descriptor(b, 2, TX_RING, i, BUFFERS, 100, OWN | STP);
    phys_remap(mem, page, PHYS_ROM, page, PAGE_BYTES);
    set_csr(b, 0, CSR0_TDMD);
    phys_remap(mem, page, PHYS_RAM, page, PAGE_BYTES);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(csr(b, 0) & (CSR0_MERR | CSR0_TXON), CSR0_MERR);
    start(b, 2, 0);
    put_descriptor(b, 2, TX_RING, 0, BUFFERS, 1519, OWN | STP | ENP);
    set_csr(b, 0, CSR0_TDMD);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(csr(b, 0) & (CSR0_BABL | CSR0_TXON), CSR0_BABL | CSR0_TXON);
    /* Buffers and rings where nothing is. */
    start(b, 2, 0);
    put_descriptor(b, 2, TX_RING, 0, NIC_RAM - 10, 60, OWN | STP | ENP);
    set_csr(b, 0, CSR0_TDMD);
    assert_int_equal(csr(b, 0) & (CSR0_MERR | CSR0_TXON | CSR0_RXON), CSR0_MERR | CSR0_RXON);
    put_descriptor(b, 2, RX_RING, 0, NIC_RAM - 10, 1600, OWN);
    assert_true(nic_receive(b, frame_for_us, 100));
    assert_int_equal(csr(b, 0) & CSR0_RXON, 0);
    set_csr(b, 0, CSR0_STOP);
    set_csr(b, 2, 0xffff);
    set_csr(b, 0, CSR0_INIT);
    assert_int_equal(csr(b, 0) & (CSR0_IDON | CSR0_MERR), CSR0_MERR);
    /* Without bus mastering nothing moves. */
    start(b, 2, 0);
    nic_config(b, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    put_descriptor(b, 2, TX_RING, 0, BUFFERS, 60, OWN | STP | ENP);
    set_csr(b, 0, CSR0_TDMD);
    assert_true(nic_receive(b, frame_for_us, 100));
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(flags_of(b, 2, RX_RING, 0), OWN);
    nic_rig_free(b);
}

static void ring_lengths_are_bounded(void **state)
{
    struct nic_rig *b = new_card();
    uint32_t wide[7] = {0xf0f00000, 0, 0, 0, 0, RX_RING | 0xf, TX_RING | 0xf};
    ram_write(b, INIT, wide, sizeof wide);
    set_bcr(b, 20, 2);
    set_csr(b, 1, INIT);
    set_csr(b, 0, CSR0_INIT);
    assert_int_equal(csr(b, 76), 0x10000 - 512);
    assert_int_equal(csr(b, 24), RX_RING); /* aligned */
    nic_rig_free(b);
}

static void random_guests(void **state)
{
    pcnet_fuzz(1, 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_drivers_find),
        cmocka_unit_test(registers_are_wide_on_demand),
        cmocka_unit_test(most_is_writable_while_stopped),
        cmocka_unit_test(sends_in_every_style),
        cmocka_unit_test(receives_in_every_style),
        cmocka_unit_test(frames_have_several_buffers),
        cmocka_unit_test(frames_wait_for_buffers),
        cmocka_unit_test(state_has_what_is_under_way),
        cmocka_unit_test(filters),
        cmocka_unit_test(multicast_bits),
        cmocka_unit_test(interrupts_are_masked),
        cmocka_unit_test(internal_loopback),
        cmocka_unit_test(bad_descriptors),
        cmocka_unit_test(ring_lengths_are_bounded),
        cmocka_unit_test(random_guests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
