/* SPDX-License-Identifier: MIT */
/* What a VGA shows: cells of text, single pixels where FreeVGA says they are, and whole pictures as
 * checksums. Those were looked at once; with a folder as argument the program writes them there. */
#include "vga_rig.h"

#include "ring3/display.h"

static const char *folder; /* or NULL */

struct screen {
    struct display_mode m;
    uint32_t *pixels;
    struct display_rect changed;
};

static void look(struct rig *r, struct screen *s)
{
    vga_display_ops.mode(r->d, &s->m);
    free(s->pixels);
    s->pixels = calloc((size_t)s->m.width * s->m.height, sizeof *s->pixels);
    assert_true(vga_display_ops.draw(r->d, &s->m, s->pixels, s->m.width, &s->changed));
}

static uint32_t pixel(const struct screen *s, unsigned x, unsigned y)
{
    assert_true(x < s->m.width && y < s->m.height);
    return s->pixels[(size_t)y * s->m.width + x];
}

static void is_picture(struct rig *r, const struct screen *s, const char *name, uint64_t golden)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < (size_t)s->m.width * s->m.height; i++)
        sum = (sum ^ s->pixels[i]) * UINT64_C(0x100000001b3);
    if (folder) {
        struct display d = {.ops = &vga_display_ops, .opaque = r->d};
        char path[256];
        snprintf(path, sizeof path, "%s/%s.png", folder, name);
        assert_int_equal(display_screenshot(&d, path, NULL), 0);
        print_message("%s: 0x%016lx\n", name, (unsigned long)sum);
    } else if (sum != golden) {
        fail_msg("%s: 0x%016lx, %u by %u", name, (unsigned long)sum, s->m.width, s->m.height);
    }
}

static void leave(struct rig *r, struct screen *s)
{
    free(s->pixels);
    rig_free(r);
}

/* The 16 colours of a PC: black, blue, green, cyan, red, magenta, brown, grey; and bright ones. */
static const uint32_t colours[16] = {0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa,
                                     0xaa5500, 0xaaaaaa, 0x555555, 0x5555ff, 0x55ff55, 0x55ffff,
                                     0xff5555, 0xff55ff, 0xffff55, 0xffffff};

/* ---- text ------------------------------------------------------------------------------------ */

/* Character c has the bits of c in each row, so that it can be told by its dots. */
static struct rig *text_rig(void)
{
    struct rig *r = vga_rig();
    uint8_t font[256 * 16];
    for (unsigned i = 0; i < sizeof font; i++)
        font[i] = (uint8_t)(i / 16);
    vga_text_mode(r->d, font);
    return r;
}

static void put_text(struct rig *r, unsigned at, const char *text, unsigned attribute)
{
    for (; *text; text++, at++) {
        store8(r, 0xb8000 + 2 * at, (uint8_t)*text);
        store8(r, 0xb8001 + 2 * at, attribute);
    }
}

static void set_cursor(struct rig *r, unsigned at)
{
    put_reg(r, 0x3d4, 0x0e, at >> 8);
    put_reg(r, 0x3d4, 0x0f, at & 255);
}

static void text_as_cells(void **state)
{
    struct rig *r = text_rig();
    struct display_text *t = malloc(sizeof *t);
    struct display_mode m;
    vga_display_ops.mode(r->d, &m);
    assert_true(m.text && !m.blank);
    assert_int_equal(m.width, 720);
    assert_int_equal(m.height, 400);
    put_text(r, 80 + 3, "hello", 0x1e);
    set_cursor(r, 88);
    assert_true(vga_display_ops.text(r->d, t));
    assert_int_equal(t->columns, 80);
    assert_int_equal(t->rows, 25);
    assert_int_equal(t->cursor, 88);
    assert_int_equal(t->cells[83].character, 'h');
    assert_int_equal(t->cells[83].attribute, 0x1e);
    assert_int_equal(t->cells[82].character, ' ');
    assert_int_equal(t->cells[82].attribute, 7);
    put_reg(r, 0x3d4, 0x0d, 80); /* scrolled by a line */
    put_reg(r, 0x3d4, 0x0a, 0x2d);
    assert_true(vga_display_ops.text(r->d, t));
    assert_int_equal(t->cells[3].character, 'h');
    assert_int_equal(t->cursor, -1);
    put_reg(r, 0x3d4, 0x09, 0x47); /* 50 lines of 8 */
    vga_display_ops.text(r->d, t);
    assert_int_equal(t->rows, 50);
    put_reg(r, 0x3ce, 6, 0x0f);
    assert_false(vga_display_ops.text(r->d, t));
    assert_int_equal(t->rows, 0);
    free(t);
    rig_free(r);
}

static void text_as_pixels(void **state)
{
    struct rig *r = text_rig();
    struct screen s = {0};
    for (unsigned i = 0; i < 256; i++) {
        store8(r, 0xb8000 + 2 * (i + 16 * (i / 64)), i);
        store8(r, 0xb8001 + 2 * (i + 16 * (i / 64)), i);
    }
    put_text(r, 400, "\xc3\x83", 0x4f); /* nine dots: the eighth goes on in line graphics */
    set_cursor(r, 405);
    look(r, &s);
    assert_int_equal(pixel(&s, 9 * 5 + 7, 0), colours[5]); /* character 5, attribute 5: 00000101 */
    assert_int_equal(pixel(&s, 9 * 5 + 6, 0), colours[0]);
    assert_int_equal(pixel(&s, 9 * 5 + 5, 15), colours[5]);
    assert_int_equal(pixel(&s, 9 * 0x1f + 7, 0), colours[15]);
    assert_int_equal(pixel(&s, 9 * 0x1f, 0), colours[1]);
    assert_int_equal(pixel(&s, 8, 80), colours[15]);
    assert_int_equal(pixel(&s, 9 + 8, 80), colours[4]);
    assert_int_equal(pixel(&s, 9 * 5, 80 + 13), colours[7]); /* cursor: lines 13 and 14 */
    assert_int_equal(pixel(&s, 9 * 5, 80 + 12), colours[0]);
    assert_int_equal(pixel(&s, 9 * 5, 80 + 15), colours[0]);
    is_picture(r, &s, "text", UINT64_C(0xfb9402f5c99f8685));
    put_attr(r, 0x10, 0x04); /* no blinking: 16 colours of background */
    look(r, &s);
    assert_int_equal(pixel(&s, 9 * 0x3f, 0), colours[3]);
    unsigned at = 0x90 + 16 * 2; /* character 90h */
    assert_int_equal(pixel(&s, 9 * (at % 80) + 1, 16 * (at / 80)), colours[9]);
    leave(r, &s);
}

/* Two fonts, as Linux uses them: bit 3 of the attribute chooses. */
static void second_font(void **state)
{
    struct rig *r = text_rig();
    struct screen s = {0};
    put_text(r, 0, "a", 0x0f);
    put_reg(r, 0x3c4, 3, 0x04); /* bright: the font at 4000h, which is empty */
    look(r, &s);
    assert_int_equal(pixel(&s, 7, 0), 0);
    put_text(r, 0, "a", 0x07);
    look(r, &s);
    assert_int_equal(pixel(&s, 7, 0), colours[7]);
    leave(r, &s);
}

static void split_screen(void **state)
{
    struct rig *r = text_rig();
    struct screen s = {0};
    put_text(r, 0, "\xff\xff", 0x02);
    put_reg(r, 0x3d4, 0x0c, 0x08); /* the upper part shows what lies 800h further on */
    put_reg(r, 0x3d4, 0x18, 199);
    put_reg(r, 0x3d4, 0x07, 0x0f);
    put_reg(r, 0x3d4, 0x11, 0x0e);
    put_reg(r, 0x3d4, 0x07, 0x0f);
    put_reg(r, 0x3d4, 0x09, 0x0f);
    look(r, &s);
    assert_int_equal(pixel(&s, 3, 0), 0);
    assert_int_equal(pixel(&s, 3, 199), 0);
    assert_int_equal(pixel(&s, 3, 200), colours[2]);
    leave(r, &s);
}

static void blank_screens(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    look(r, &s); /* never programmed */
    assert_true(s.m.blank);
    vga_text_mode(r->d, NULL);
    put_text(r, 0, "x", 0x70);
    look(r, &s);
    assert_false(s.m.blank);
    assert_int_equal(pixel(&s, 0, 0), colours[7]);
    put_reg(r, 0x3c4, 1, 0x20); /* screen off */
    look(r, &s);
    assert_true(s.m.blank);
    assert_int_equal(pixel(&s, 0, 0), 0);
    put_reg(r, 0x3c4, 1, 0);
    in8(r, 0x3da);
    out8(r, 0x3c0, 0); /* the palette is the processor's */
    look(r, &s);
    assert_true(s.m.blank);
    leave(r, &s);
}

/* ---- graphics -------------------------------------------------------------------------------- */

/* Fill the window with something of which every part differs. */
static void fill(struct rig *r, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        store8(r, 0xa0000 + i, (i * 7 + i / 320) & 255);
}

static void planar_16(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    set_mode(r, &mode_12);
    for (unsigned i = 0; i < 4; i++) { /* a plane each: vertical, horizontal stripes, a diagonal */
        put_reg(r, 0x3c4, 2, 1 << i);
        for (unsigned y = 0; y < 480; y++)
            for (unsigned x = 0; x < 80; x++)
                store8(r, 0xa0000 + 80 * y + x,
                       i == 0   ? 0xf0
                       : i == 1 ? (y & 8 ? 255 : 0)
                       : i == 2 ? x
                                : (x + y / 8) & 8);
    }
    look(r, &s);
    assert_int_equal(s.m.width, 640);
    assert_int_equal(s.m.height, 480);
    assert_int_equal(pixel(&s, 0, 0), colours[1]);
    assert_int_equal(pixel(&s, 4, 0), colours[0]);
    assert_int_equal(pixel(&s, 4, 8), colours[2]);
    assert_int_equal(pixel(&s, 8 + 7, 0), colours[4]);
    is_picture(r, &s, "planar", UINT64_C(0xc111a092a169a925));
    put_attr(r, 0x12, 0x0e); /* plane 0 off */
    look(r, &s);
    assert_int_equal(pixel(&s, 0, 0), colours[0]);
    put_attr(r, 0x12, 15);
    put_attr(r, 0x13, 3); /* three dots to the left */
    look(r, &s);
    assert_int_equal(pixel(&s, 0, 0), colours[1]);
    assert_int_equal(pixel(&s, 1, 0), colours[0]);
    assert_int_equal(pixel(&s, 8 + 4, 0), colours[4]);
    leave(r, &s);
}

static uint32_t dac_colour(unsigned i)
{
    uint32_t rgb = 0;
    for (unsigned gun = 0; gun < 3; gun++) {
        unsigned six = (i >> (2 - gun) & 1) * 42 + (i >> (5 - gun) & 1) * 21;
        rgb = rgb << 8 | six << 2 | six >> 4;
    }
    return i < 64 ? rgb : 0;
}

static void mode_13h(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    set_mode(r, &mode_13);
    fill(r, 64000);
    look(r, &s);
    assert_int_equal(s.m.width, 640);
    assert_int_equal(s.m.height, 400);
    for (unsigned y = 0; y < 400; y += 33)
        for (unsigned x = 0; x < 640; x++) {
            unsigned i = y / 2 * 320 + x / 2;
            assert_int_equal(pixel(&s, x, y), dac_colour((i * 7 + i / 320) & 255));
        }
    is_picture(r, &s, "mode13h", UINT64_C(0xbed3f7b923bfd595));
    out8(r, 0x3c6, 0x01); /* the DAC's mask */
    look(r, &s);
    assert_int_equal(pixel(&s, 2, 0), colours[1]);
    leave(r, &s);
}

/* Unchained: four planes, pages, panning by a pixel. */
static void mode_x_pages(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    set_mode(r, &mode_x);
    for (unsigned i = 0; i < 4; i++) {
        put_reg(r, 0x3c4, 2, 1 << i);
        store8(r, 0xa0000 + 0x8000 + 80 * 10 + 5, 0x30 + i); /* pixels 20 to 23 of line 10 */
    }
    put_reg(r, 0x3d4, 0x0c, 0x80);
    look(r, &s);
    assert_int_equal(s.m.height, 480);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pixel(&s, 2 * (20 + i), 20), dac_colour(0x30 + i));
    put_attr(r, 0x13, 2);
    look(r, &s);
    assert_int_equal(pixel(&s, 2 * 19, 20), dac_colour(0x30));
    leave(r, &s);
}

/* Odd lines lie 2000h further on. */
static void cga_mode_4(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    set_mode(r, &mode_4);
    for (unsigned i = 0; i < 0x4000; i++)
        store8(r, 0xb8000 + i, 0);
    store8(r, 0xb8000, 0x1b);      /* pixels 0 1 2 3 */
    store8(r, 0xb8001, 0xe4);      /* 3 2 1 0 */
    store8(r, 0xba000, 0x40);      /* line 1 */
    store8(r, 0xb8000 + 80, 0x80); /* line 2 */
    assert_true(is_plain(r, 0xb8000));
    look(r, &s);
    assert_int_equal(s.m.width, 640);
    assert_int_equal(s.m.height, 400);
    static const unsigned want[] = {0, 0x13, 0x15, 0x17, 0x17, 0x15, 0x13, 0};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pixel(&s, 2 * i, 1), dac_colour(want[i]));
    assert_int_equal(pixel(&s, 0, 2), dac_colour(0x13));
    assert_int_equal(pixel(&s, 0, 4), dac_colour(0x15));
    assert_int_equal(pixel(&s, 2, 4), 0);
    leave(r, &s);
}

static void set_linear(struct rig *r, unsigned width, unsigned height, unsigned depth)
{
    put_dispi(r, 4, 0);
    put_dispi(r, 1, width);
    put_dispi(r, 2, height);
    put_dispi(r, 3, depth);
    put_dispi(r, 4, 0x41);
    in8(r, 0x3da);
    out8(r, 0x3c0, 0x20);
}

static void linear_depths(void **state)
{
    static const struct {
        unsigned depth, bytes;
        uint32_t value, rgb;
    } cases[] = {
        {15, 2, 0x7c1f, 0xff00ff}, {15, 2, 0x03e0, 0x00ff00},   {16, 2, 0xf81f, 0xff00ff},
        {16, 2, 0x07e0, 0x00ff00}, {24, 3, 0x123456, 0x123456}, {32, 4, 0xff123456, 0x123456},
    };
    struct rig *r = vga_rig();
    struct screen s = {0};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        set_linear(r, 320, 200, cases[i].depth);
        for (unsigned b = 0; b < cases[i].bytes; b++)
            store8(r, 0xa0000 + (320 * 3 + 5) * cases[i].bytes + b, cases[i].value >> 8 * b);
        look(r, &s);
        assert_int_equal(s.m.width, 320);
        assert_int_equal(s.m.height, 200);
        assert_int_equal(pixel(&s, 5, 3), cases[i].rgb);
        assert_int_equal(pixel(&s, 6, 3), 0);
        put_dispi(r, 8, 2);
        put_dispi(r, 9, 1);
        look(r, &s);
        assert_int_equal(pixel(&s, 3, 2), cases[i].rgb);
    }
    set_linear(r, 640, 400, 8);
    set_mode(r, &mode_13); /* for its colours */
    fill(r, 65536);
    look(r, &s);
    is_picture(r, &s, "linear8", UINT64_C(0x6b85cf7df2d36409));
    leave(r, &s);
}

/* Four bits a pixel are planes, and have banks. */
static void linear_planes(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    set_mode(r, &mode_12);
    set_linear(r, 1024, 768, 4);
    put_reg(r, 0x3c4, 2, 2);
    put_dispi(r, 5, 1);
    store8(r, 0xa0000 + 128 * 600 - 65536, 0x80);
    look(r, &s);
    assert_int_equal(s.m.width, 1024);
    assert_int_equal(pixel(&s, 0, 600), colours[2]);
    assert_int_equal(pixel(&s, 1, 600), 0);
    leave(r, &s);
}

/* What a viewer has is compared with what is there. */
static void only_what_changed(void **state)
{
    struct rig *r = vga_rig();
    struct screen s = {0};
    set_linear(r, 640, 480, 32);
    look(r, &s);
    assert_int_equal(s.changed.width, 0);
    store8(r, 0xa0000 + 4 * (640 * 7 + 9), 1);
    store8(r, 0xa0000 + 4 * (640 * 10 + 3), 1);
    assert_true(vga_display_ops.draw(r->d, &s.m, s.pixels, s.m.width, &s.changed));
    assert_int_equal(s.changed.x, 3);
    assert_int_equal(s.changed.y, 7);
    assert_int_equal(s.changed.width, 7);
    assert_int_equal(s.changed.height, 4);
    assert_int_equal(pixel(&s, 9, 7), 1);
    assert_true(vga_display_ops.draw(r->d, &s.m, s.pixels, s.m.width, &s.changed));
    assert_int_equal(s.changed.width, 0);
    set_linear(r, 800, 600, 32);
    assert_false(vga_display_ops.draw(r->d, &s.m, s.pixels, s.m.width, &s.changed));
    leave(r, &s);
}

/* Whatever is programmed, drawing stays within memory and picture (a sanitizer looks). */
static void draws_anything(void **state)
{
    static const uint16_t ports[] = {0x3c0, 0x3c2, 0x3c4, 0x3c5, 0x3ce, 0x3cf, 0x3d4, 0x3d5};
    struct rig *r = text_rig();
    struct screen s = {0};
    struct display_text *t = malloc(sizeof *t);
    uint64_t seed = 5;
    for (unsigned i = 0; i < 300; i++) {
        for (unsigned n = 0; n < 40; n++) {
            uint64_t x = rig_random(&seed);
            if (x >> 60)
                out8(r, ports[x % ARRAY_LEN(ports)], (x >> 8) & 255);
            else
                put_dispi(r, x & 15, (x >> 8 & 1) ? (x >> 16) & 0xffff : (x >> 16) & 0x3ff);
        }
        in8(r, 0x3da);
        out8(r, 0x3c0, 0x20);
        look(r, &s);
        vga_display_ops.text(r->d, t);
        assert_in_range(t->columns * t->rows, 0, DISPLAY_MAX_CELLS);
    }
    free(t);
    leave(r, &s);
}

static void finds_the_font(void **state)
{
    enum { AT = 777, BYTES = 6000 };
    uint8_t *image = calloc(1, BYTES), *blocks = image + AT + 0xdb * 16;
    assert_null(vga_find_font(image, BYTES));
    memset(blocks, 0xff, 16);
    memset(blocks + 16 + 7, 0xff, 9); /* a half may begin a row earlier */
    memset(blocks + 32, 0xf0, 16);
    memset(blocks + 48, 0x0f, 16);
    memset(blocks + 64, 0xff, 8);
    assert_ptr_equal(vga_find_font(image, BYTES), image + AT);
    image[AT + 3] = 1; /* character 0 is not empty */
    assert_null(vga_find_font(image, BYTES));
    free(image);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_as_cells),  cmocka_unit_test(text_as_pixels),
        cmocka_unit_test(second_font),    cmocka_unit_test(split_screen),
        cmocka_unit_test(blank_screens),  cmocka_unit_test(planar_16),
        cmocka_unit_test(mode_13h),       cmocka_unit_test(mode_x_pages),
        cmocka_unit_test(cga_mode_4),     cmocka_unit_test(linear_depths),
        cmocka_unit_test(linear_planes),  cmocka_unit_test(only_what_changed),
        cmocka_unit_test(draws_anything), cmocka_unit_test(finds_the_font),
    };
    folder = argc > 1 ? argv[1] : NULL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
