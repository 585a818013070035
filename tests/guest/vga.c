/* SPDX-License-Identifier: MIT */
/* The VGA as programs use it: text memory, fonts, the graphics controller's write modes, chain 4,
 * linear modes through a bank and through the PCI card's memory. The last word of the command line
 * says what is to stay on the screen: text, mode13 or linear; or keys, which prints the scan codes
 * that arrive until Esc, where F1 shows the linear picture and F2 the text. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {{NULL, NULL}};

#define TEXT    0xb8000u
#define WINDOW  0xa0000u
#define LINEAR  0xe0000000u /* where the card's memory goes if nobody placed it */
#define COLUMNS 80

static u8 font[8192];

static void outw(u16 port, u16 x)
{
    asm volatile("outw %0, %1" ::"a"(x), "Nd"(port));
}
static u16 inw(u16 port)
{
    u16 x;
    asm volatile("inw %1, %0" : "=a"(x) : "Nd"(port));
    return x;
}
static void outl(u16 port, u32 x)
{
    asm volatile("outl %0, %1" ::"a"(x), "Nd"(port));
}
static u32 inl(u16 port)
{
    u32 x;
    asm volatile("inl %1, %0" : "=a"(x) : "Nd"(port));
    return x;
}

static void seq(u8 i, u8 x)
{
    outw(0x3c4, (u16)(x << 8 | i));
}
static void gfx(u8 i, u8 x)
{
    outw(0x3ce, (u16)(x << 8 | i));
}
static void crtc(u8 i, u8 x)
{
    outw(0x3d4, (u16)(x << 8 | i));
}
static u8 crtc_get(u8 i)
{
    outb(0x3d4, i);
    return inb(0x3d5);
}
static void attr(u8 i, u8 x)
{
    inb(0x3da);
    outb(0x3c0, i);
    outb(0x3c0, x);
    outb(0x3c0, 0x20);
}
static void dispi(u16 i, u16 x)
{
    outw(0x1ce, i);
    outw(0x1cf, x);
}
static u16 dispi_get(u16 i)
{
    outw(0x1ce, i);
    return inw(0x1cf);
}

/* ---- modes ----------------------------------------------------------------------------------- */

struct mode {
    u8 misc, seq[4], gfx[9], crtc[25], attr16, attr19;
    bool straight; /* palette entries count up */
};

static const struct mode text_mode = {
    .misc = 0x67,
    .seq = {0x00, 0x03, 0x00, 0x02},
    .gfx = {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff},
    .crtc = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
             0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    .attr16 = 0x0c,
    .attr19 = 0x08,
};
static const struct mode mode_12 = {
    .misc = 0xe3,
    .seq = {0x01, 0x0f, 0x00, 0x06},
    .gfx = {0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff},
    .crtc = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00,
             0x00, 0x00, 0x00, 0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff},
    .attr16 = 0x01,
};
static const struct mode mode_13 = {
    .misc = 0x63,
    .seq = {0x01, 0x0f, 0x00, 0x0e},
    .gfx = {0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff},
    .crtc = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x00, 0x00, 0x00,
             0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
    .attr16 = 0x41,
    .straight = true,
};

static void set_mode(const struct mode *m)
{
    dispi(4, 0);
    outb(0x3c2, m->misc);
    for (u8 i = 0; i < 4; i++)
        seq(i + 1, m->seq[i]);
    crtc(0x11, 0);
    for (u8 i = 0; i < 25; i++)
        crtc(i, m->crtc[i]);
    for (u8 i = 0; i < 9; i++)
        gfx(i, m->gfx[i]);
    for (u8 i = 0; i < 16; i++)
        attr(i, m->straight || i < 6 ? i : i == 6 ? 20 : i == 7 ? 7 : i + 48);
    attr(16, m->attr16);
    attr(18, 15);
    attr(19, m->attr19);
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Sequential access to one plane, as programs load fonts. */
static void open_plane(u8 plane)
{
    seq(2, (u8)(1 << plane));
    seq(4, 7);
    gfx(4, plane);
    gfx(5, 0);
    gfx(6, 4);
}
static void close_plane(void)
{
    seq(2, 3);
    seq(4, 2);
    gfx(4, 0);
    gfx(5, 0x10);
    gfx(6, 0x0e);
}

static void text_memory(void)
{
    check_eq("text-colour-ports", inb(0x3cc) & 1, 1);
    u32 kept = peek(TEXT);
    poke(TEXT, 0x1f421e41);
    check_eq("text-as-written", peek(TEXT), 0x1f421e41);
    open_plane(0);
    check_eq("text-plane-0", peek8(WINDOW), 0x41);
    open_plane(1);
    check_eq("text-plane-1", peek8(WINDOW), 0x1e);
    open_plane(2);
    u8 old = peek8(WINDOW + 32 * 0xfe + 3);
    poke8(WINDOW + 32 * 0xfe + 3, 0x5a);
    check_eq("font-as-written", peek8(WINDOW + 32 * 0xfe + 3), 0x5a);
    poke8(WINDOW + 32 * 0xfe + 3, old);
    close_plane();
    check_eq("text-undisturbed", peek(TEXT), 0x1f421e41);
    poke(TEXT, kept);
    crtc(0x0e, 0x12);
    crtc(0x0f, 0x34);
    check_eq("cursor-high", crtc_get(0x0e), 0x12);
    check_eq("cursor-low", crtc_get(0x0f), 0x34);
}

/* Bytes of all planes at an address. */
static u32 planes(u32 at)
{
    u32 x = 0;
    for (u8 i = 0; i < 4; i++) {
        gfx(4, i);
        x |= (u32)peek8(WINDOW + at) << 8 * i;
    }
    return x;
}

static void write_modes(void)
{
    set_mode(&mode_12);
    for (u8 i = 0; i < 4; i++) {
        seq(2, (u8)(1 << i));
        poke8(WINDOW + 9, (u8)(0x11 << i));
    }
    seq(2, 15);
    check_eq("map-mask", planes(9), 0x88442211);
    gfx(3, 0x03); /* rotate by three */
    poke8(WINDOW, 0x87);
    check_eq("mode-0-rotates", planes(0), 0xf0f0f0f0);
    gfx(3, 0x08); /* AND with the latches */
    peek8(WINDOW + 9);
    poke8(WINDOW, 0x3c);
    check_eq("mode-0-and", planes(0), 0x08042010);
    gfx(3, 0x18); /* XOR */
    gfx(8, 0x0f); /* the upper half from the latches */
    peek8(WINDOW + 9);
    poke8(WINDOW, 0xff);
    check_eq("mode-0-xor-mask", planes(0), 0x874b2d1e);
    gfx(3, 0);
    gfx(8, 0xff);
    gfx(1, 0x05); /* planes 0 and 2 from set/reset */
    gfx(0, 0x04);
    poke8(WINDOW, 0xa5);
    check_eq("set-reset", planes(0), 0xa5ffa500);
    gfx(1, 0);
    gfx(5, 1);
    peek8(WINDOW + 9);
    poke8(WINDOW + 1, 0);
    check_eq("mode-1-copies", planes(1), 0x88442211);
    gfx(5, 2);
    gfx(8, 0x3c);
    peek8(WINDOW + 9);
    poke8(WINDOW + 2, 0x06);
    check_eq("mode-2-colour", planes(2), 0x807c3e01);
    gfx(5, 3);
    gfx(8, 0xf0);
    gfx(0, 0x09);
    peek8(WINDOW + 9);
    poke8(WINDOW + 2, 0x3f);
    check_eq("mode-3-mask", planes(2), 0xb8440231);
    gfx(8, 0xff);
    gfx(5, 8);
    gfx(2, 0x02); /* where only plane 1 is set */
    gfx(7, 0x0f);
    check_eq("read-mode-1", peek8(WINDOW + 9), 0x22);
    gfx(7, 0x00);
    check_eq("read-mode-1-careless", peek8(WINDOW + 9), 0xff);
}

static void chain_4(void)
{
    set_mode(&mode_13);
    for (u32 i = 0; i < 8; i++)
        poke8(WINDOW + i, (u8)(0x30 + i));
    check_eq("chain-4-as-written", peek(WINDOW + 4), 0x37363534);
    seq(4, 6);
    check_eq("chain-4-planes", planes(0), 0x33323130);
    seq(2, 15);
    poke8(WINDOW, 0x99); /* all planes at once: four pixels */
    seq(4, 14);
    check_eq("unchained-writes-four", peek(WINDOW), 0x99999999);
}

static u32 pci(u32 slot, u32 at)
{
    outl(0xcf8, 0x80000000u | slot << 11 | at);
    return inl(0xcfc);
}

/* Where the card's memory is; 0: there is no card. */
static u32 linear_memory(void)
{
    for (u32 slot = 0; slot < 32; slot++) {
        if (pci(slot, 0) != 0x11111234)
            continue;
        if (!(pci(slot, 0x10) & ~15u)) {
            pci(slot, 0x10);
            outl(0xcfc, LINEAR);
        }
        u32 command = pci(slot, 4);
        outl(0xcfc, command | 2);
        return pci(slot, 0x10) & ~15u;
    }
    return 0;
}

static void set_linear(u16 width, u16 height)
{
    dispi(4, 0);
    dispi(1, width);
    dispi(2, height);
    dispi(3, 32);
    dispi(4, 0x41);
    inb(0x3da);
    outb(0x3c0, 0x20);
}

static void linear_modes(void)
{
    u32 at = linear_memory();
    check("dispi-version", dispi_get(0) >= 0xb0c0 && dispi_get(0) <= 0xb0cf);
    check("card-on-pci", at != 0);
    check("dispi-memory", dispi_get(10) >= 64);
    if (!at)
        return;
    set_linear(800, 600);
    check_eq("linear-virtual-width", dispi_get(6), 800);
    check_eq("linear-cleared", peek(at), 0);
    poke(at + 4, 0x12345678);
    check_eq("linear-as-written", peek(at + 4), 0x12345678);
    dispi(5, 0);
    check_eq("bank-0-shows-it", peek(WINDOW + 4), 0x12345678);
    dispi(5, 3);
    poke(WINDOW + 8, 0xcafe);
    check_eq("bank-3-is-there", peek(at + 3 * 0x10000 + 8), 0xcafe);
}

/* ---- what stays on the screen ---------------------------------------------------------------- */

static void print(unsigned row, unsigned column, const char *text, u8 attribute)
{
    u32 at = TEXT + 2 * (row * COLUMNS + column);
    for (; *text; text++, at += 2) {
        poke8(at, (u8)*text);
        poke8(at + 1, attribute);
    }
}

/* Linear modes are cleared when they begin, and fonts lie there, too. */
static void copy_font(bool to_card)
{
    open_plane(2);
    for (u32 i = 0; i < sizeof font; i++) {
        if (to_card)
            poke8(WINDOW + i, font[i]);
        else
            font[i] = peek8(WINDOW + i);
    }
    close_plane();
}

static void show_text(void)
{
    set_mode(&text_mode);
    copy_font(true);
    for (unsigned i = 0; i < 25 * COLUMNS; i++) {
        poke8(TEXT + 2 * i, ' ');
        poke8(TEXT + 2 * i + 1, 0x07);
    }
    print(0, 0, "ring3 vga guest", 0x1f);
    print(2, 4, "\xc9\xcd\xcd\xbb caf\x82", 0x0e);
    print(24, 79, "!", 0x4f);
    crtc(0x0e, 0);
    crtc(0x0f, 16);
}

static void show_mode_13(void)
{
    set_mode(&mode_13);
    outb(0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) {
        outb(0x3c9, (u8)(i >> 2));
        outb(0x3c9, (u8)(63 - (i >> 2)));
        outb(0x3c9, (u8)(i & 63));
    }
    for (unsigned i = 0; i < 64000; i++)
        poke8(WINDOW + i, (u8)(i % 320 + i / 320));
}

static void show_linear(void)
{
    u32 at = linear_memory();
    set_linear(640, 480);
    for (u32 i = 0; i < 640 * 480; i++)
        poke(at + 4 * i, (i % 640 & 255) << 16 | (i / 640 & 255) << 8 | 0x80);
}

static void show_keys(void)
{
    put_str("keys:\n");
    for (u8 code = 0; code != 0x01;) {
        if (!(inb(0x64) & 1))
            continue;
        code = inb(0x60);
        put_hex(code);
        put_char('\n');
        if (code == 0x3b)
            show_linear();
        if (code == 0x3c)
            show_text();
    }
}

static const char *last_word(const char *s)
{
    const char *word = s;
    for (; *s; s++)
        if (*s == ' ')
            word = s + 1;
    return word;
}

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

void test_main(void)
{
    const char *word = last_word((const char *)((const u32 *)boot_info)[4]);

    copy_font(false);
    text_memory();
    write_modes();
    chain_4();
    linear_modes();
    show_text();
    if (same(word, "mode13"))
        show_mode_13();
    else if (same(word, "linear"))
        show_linear();
    else if (same(word, "keys"))
        show_keys();
}
