/* SPDX-License-Identifier: MIT */
/* i8042 keyboard controller with a keyboard and a mouse (IBM PS/2 Technical Reference, "Keyboard
 * and Auxiliary Device Controller", "Keyboard", "Mouse").
 *
 *   keyboard ─queue─┐                ┌ status (0x64)
 *   mouse ────queue─┼─▶ output byte ─┴▶ 0x60, interrupts 1 and 12
 *   replies ──queue─┘
 *
 * Each source has a small queue. When the guest has taken the output byte the next one moves up
 * at once: the controller's replies first, then keyboard, then mouse, the latter two only while
 * their interfaces are enabled. Commands are carried out within the register write, so the
 * input buffer is never full and nothing here takes time. The keyboard speaks scan code set 2
 * (set 1 on request); the controller translates to set 1 while its configuration says so.
 *
 * After reset the controller is as a BIOS leaves it: keyboard enabled with interrupt and
 * translation, mouse interface off, A20 on, self-test passed.
 *
 * Left out: scan code set 3, per-key typematic settings, key repeat (the host's keyboard
 * repeats), time-outs and parity errors, the multiplexing extension. */
#include "ring3/devices/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES 32
#define TYPED_BYTES 16 /* share of the keyboard's queue that key movements may fill */

enum {
    ST_OUT_FULL = 0x01,
    ST_SYSTEM = 0x04,
    ST_COMMAND = 0x08,
    ST_UNLOCKED = 0x10,
    ST_MOUSE = 0x20
};
enum {
    CFG_KEYBOARD_IRQ = 0x01,
    CFG_MOUSE_IRQ = 0x02,
    CFG_SYSTEM = 0x04,
    CFG_KEYBOARD_OFF = 0x10,
    CFG_MOUSE_OFF = 0x20,
    CFG_TRANSLATE = 0x40
};
enum { PORT_RESET = 0x01, PORT_A20 = 0x02, PORT_KEYBOARD_IRQ = 0x10, PORT_MOUSE_IRQ = 0x20 };
enum { ACK = 0xfa, RESEND = 0xfe, ECHO = 0xee, TEST_PASSED = 0xaa };

enum source { FROM_CONTROLLER, FROM_KEYBOARD, FROM_MOUSE, SOURCES };

struct queue {
    uint8_t bytes[QUEUE_BYTES];
    uint8_t head, count;
};

struct i8042 {
    struct device d;
    struct bus *pio;
    struct i8042_lines lines;
    pthread_mutex_t lock; /* guards everything below */

    uint8_t ram[32]; /* byte 0 is the configuration */
    uint8_t command; /* controller command that waits for its data byte, or 0 */
    uint8_t last_was_command, out_port, out, out_full, out_is_mouse;
    uint8_t release; /* translation saw the prefix F0 */
    struct queue queue[SOURCES];

    uint8_t key_command, key_scanning, key_set, key_leds, key_rate, key_last;
    uint8_t mouse_command, mouse_reporting, mouse_remote, mouse_wrap, mouse_scale2;
    uint8_t mouse_rate, mouse_resolution, mouse_id, mouse_last;
    uint8_t mouse_rates[2]; /* the last two before mouse_rate: the wheel's magic knock */
    uint8_t mouse_buttons;
    int32_t mouse_dx, mouse_dy, mouse_dz; /* not yet reported */
};

/* Scan code set 2 to set 1, as the controller translates. From 0x80 on only two codes change. */
static const uint8_t set1_of_set2[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static uint8_t to_set1(uint8_t code)
{
    return code < 0x80 ? set1_of_set2[code] : code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

/* One byte through a translator whose "release prefix seen" flag is *release. False: nothing
 * comes out yet. */
static bool translate(uint8_t *release, uint8_t *byte)
{
    if (*byte == 0xf0) {
        *release = 0x80;
        return false;
    }
    *byte = to_set1(*byte) | *release;
    *release = 0;
    return true;
}

/* --- queues and the output byte --- */

/* A full queue loses the byte, as a guest that never reads deserves. */
static void put(struct i8042 *s, enum source from, uint8_t byte)
{
    struct queue *q = &s->queue[from];
    if (q->count < QUEUE_BYTES)
        q->bytes[(q->head + q->count++) % QUEUE_BYTES] = byte;
}

static uint8_t take(struct queue *q)
{
    uint8_t byte = q->bytes[q->head % QUEUE_BYTES];
    q->head = (uint8_t)((q->head + 1) % QUEUE_BYTES);
    q->count--;
    return byte;
}

static bool may_send(const struct i8042 *s, enum source from)
{
    static const uint8_t off[SOURCES] = {0, CFG_KEYBOARD_OFF, CFG_MOUSE_OFF};
    return s->queue[from].count && !(s->ram[0] & off[from]);
}

/* Fill the output byte if it is empty, and drive the interrupt lines after it. */
static void settle(struct i8042 *s)
{
    for (enum source from = 0; from < SOURCES && !s->out_full; from++) {
        while (!s->out_full && may_send(s, from)) {
            uint8_t byte = take(&s->queue[from]);
            if (from == FROM_KEYBOARD)
                s->key_last = byte;
            if (from == FROM_MOUSE)
                s->mouse_last = byte;
            if (from == FROM_KEYBOARD && (s->ram[0] & CFG_TRANSLATE) &&
                !translate(&s->release, &byte))
                continue;
            s->out = byte;
            s->out_full = 1;
            s->out_is_mouse = from == FROM_MOUSE;
        }
    }
    bool mouse = s->out_full && s->out_is_mouse, keyboard = s->out_full && !s->out_is_mouse;
    irq_set(&s->lines.keyboard, keyboard && (s->ram[0] & CFG_KEYBOARD_IRQ));
    irq_set(&s->lines.mouse, mouse && (s->ram[0] & CFG_MOUSE_IRQ));
}

/* --- keyboard --- */

static void keyboard_defaults(struct i8042 *s, bool scanning)
{
    s->key_scanning = scanning;
    s->key_set = 2;
    s->key_rate = 0x2b;
    s->queue[FROM_KEYBOARD].count = 0;
    s->release = 0;
}

static void keyboard_argument(struct i8042 *s, uint8_t value)
{
    uint8_t command = s->key_command;
    s->key_command = 0;
    switch (command) {
    case 0xed:
        s->key_leds = value & 7;
        break;
    case 0xf3:
        s->key_rate = value & 0x7f;
        break;
    case 0xf0:
        if (value > 2) { /* no set 3 */
            put(s, FROM_KEYBOARD, RESEND);
            return;
        }
        put(s, FROM_KEYBOARD, ACK);
        if (value)
            s->key_set = value;
        else
            put(s, FROM_KEYBOARD, s->key_set);
        return;
    default:
        break;
    }
    put(s, FROM_KEYBOARD, ACK);
}

static void keyboard_reset(struct i8042 *s)
{
    keyboard_defaults(s, true);
    s->key_leds = 0;
    put(s, FROM_KEYBOARD, ACK);
    put(s, FROM_KEYBOARD, TEST_PASSED);
}

static void keyboard_write(struct i8042 *s, uint8_t value)
{
    if (s->key_command && value < 0xed) {
        keyboard_argument(s, value);
        return;
    }
    s->key_command = 0; /* a command ends one that waits for its argument */
    switch (value) {
    case 0xed: /* LEDs */
    case 0xf0: /* scan code set */
    case 0xf3: /* typematic rate */
        s->key_command = value;
        put(s, FROM_KEYBOARD, ACK);
        break;
    case 0xee:
        put(s, FROM_KEYBOARD, ECHO);
        break;
    case 0xf2:
        put(s, FROM_KEYBOARD, ACK);
        put(s, FROM_KEYBOARD, 0xab);
        put(s, FROM_KEYBOARD, 0x83);
        break;
    case 0xf4:
        s->queue[FROM_KEYBOARD].count = 0;
        s->key_scanning = 1;
        put(s, FROM_KEYBOARD, ACK);
        break;
    case 0xf5:
    case 0xf6:
        keyboard_defaults(s, value == 0xf6);
        put(s, FROM_KEYBOARD, ACK);
        break;
    case 0xf7: /* make and break, typematic for all keys: that is how it is */
    case 0xf8:
    case 0xf9:
    case 0xfa:
        put(s, FROM_KEYBOARD, ACK);
        break;
    case 0xfe:
        put(s, FROM_KEYBOARD, s->key_last);
        break;
    case 0xff:
        keyboard_reset(s);
        break;
    default:
        put(s, FROM_KEYBOARD, RESEND);
        break;
    }
}

bool i8042_key(struct device *kbc, const uint8_t *codes, size_t n)
{
    struct i8042 *s = (struct i8042 *)kbc;
    pthread_mutex_lock(&s->lock);
    bool taken =
        s->key_scanning && n <= TYPED_BYTES && s->queue[FROM_KEYBOARD].count + n <= TYPED_BYTES;
    uint8_t release = 0;
    for (size_t i = 0; taken && i < n; i++) {
        uint8_t byte = codes[i];
        if (s->key_set == 1 && !translate(&release, &byte))
            continue;
        put(s, FROM_KEYBOARD, byte);
    }
    settle(s);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

/* --- mouse --- */

static void mouse_defaults(struct i8042 *s)
{
    s->mouse_reporting = s->mouse_remote = s->mouse_scale2 = 0;
    s->mouse_rate = 100;
    s->mouse_resolution = 2;
    s->mouse_dx = s->mouse_dy = s->mouse_dz = 0;
    s->queue[FROM_MOUSE].count = 0;
}

static void mouse_reset(struct i8042 *s)
{
    mouse_defaults(s);
    s->mouse_id = s->mouse_wrap = 0;
    memset(s->mouse_rates, 0, sizeof s->mouse_rates);
}

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* Movement since the last packet; what does not fit stays for the next. */
static void mouse_packet(struct i8042 *s)
{
    int dx = clamp(s->mouse_dx, -255, 255), dy = clamp(s->mouse_dy, -255, 255);
    int dz = clamp(s->mouse_dz, -8, 7);
    s->mouse_dx -= dx;
    s->mouse_dy -= dy;
    s->mouse_dz = 0;
    put(s, FROM_MOUSE,
        (uint8_t)(0x08 | (s->mouse_buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    put(s, FROM_MOUSE, (uint8_t)dx);
    put(s, FROM_MOUSE, (uint8_t)dy);
    if (s->mouse_id)
        put(s, FROM_MOUSE, (uint8_t)(s->mouse_id == 4 ? dz & 15 : dz));
}

/* 200, 100, 80 turns the wheel on, 200, 200, 80 then the extra buttons (which are never down). */
static void set_mouse_rate(struct i8042 *s, uint8_t rate)
{
    const uint8_t *before = s->mouse_rates;
    if (before[0] == 200 && before[1] == 100 && rate == 80)
        s->mouse_id = 3;
    if (before[0] == 200 && before[1] == 200 && rate == 80 && s->mouse_id == 3)
        s->mouse_id = 4;
    s->mouse_rates[0] = s->mouse_rates[1];
    s->mouse_rates[1] = rate;
    s->mouse_rate = rate;
}

static void mouse_argument(struct i8042 *s, uint8_t value)
{
    if (s->mouse_command == 0xf3)
        set_mouse_rate(s, value);
    else
        s->mouse_resolution = value & 3;
    s->mouse_command = 0;
    put(s, FROM_MOUSE, ACK);
}

static void mouse_status(struct i8042 *s)
{
    static const uint8_t button_bits[] = {0, 4, 1, 5, 2, 6, 3, 7}; /* left is bit 2 here */
    put(s, FROM_MOUSE,
        (uint8_t)((s->mouse_remote ? 0x40 : 0) | (s->mouse_reporting ? 0x20 : 0) |
                  (s->mouse_scale2 ? 0x10 : 0) | button_bits[s->mouse_buttons & 7]));
    put(s, FROM_MOUSE, s->mouse_resolution);
    put(s, FROM_MOUSE, s->mouse_rate);
}

/* What a mouse command does after its acknowledge. False: unknown. */
static bool mouse_execute(struct i8042 *s, uint8_t command)
{
    switch (command) {
    case 0xe6:
        s->mouse_scale2 = 0;
        return true;
    case 0xe7:
        s->mouse_scale2 = 1;
        return true;
    case 0xe8: /* resolution */
    case 0xf3: /* sample rate */
        s->mouse_command = command;
        return true;
    case 0xe9:
        mouse_status(s);
        return true;
    case 0xea:
        s->mouse_remote = 0;
        return true;
    case 0xeb:
        mouse_packet(s);
        return true;
    case 0xee:
        s->mouse_wrap = 1;
        return true;
    case 0xec:
        s->mouse_wrap = 0;
        return true;
    case 0xf0:
        s->mouse_remote = 1;
        return true;
    case 0xf2:
        put(s, FROM_MOUSE, s->mouse_id);
        return true;
    case 0xf4:
        s->mouse_reporting = 1;
        return true;
    case 0xf5:
        s->mouse_reporting = 0;
        return true;
    case 0xf6:
        return true;
    case 0xff:
        put(s, FROM_MOUSE, TEST_PASSED);
        put(s, FROM_MOUSE, 0);
        return true;
    default:
        return false;
    }
}

static void mouse_write(struct i8042 *s, uint8_t value)
{
    struct queue *q = &s->queue[FROM_MOUSE];
    if (s->mouse_wrap && value != 0xff && value != 0xec) {
        put(s, FROM_MOUSE, value);
        return;
    }
    if (s->mouse_command) {
        mouse_argument(s, value);
        return;
    }
    if (value == 0xfe) {
        put(s, FROM_MOUSE, s->mouse_last);
        return;
    }
    q->count = 0; /* a command discards what waits to be sent */
    if (value == 0xf6)
        mouse_defaults(s);
    if (value == 0xff)
        mouse_reset(s);
    put(s, FROM_MOUSE, ACK);
    if (!mouse_execute(s, value)) {
        q->count = 0;
        put(s, FROM_MOUSE, RESEND);
    }
}

bool i8042_mouse(struct device *kbc, int dx, int dy, int dz, unsigned buttons)
{
    struct i8042 *s = (struct i8042 *)kbc;
    pthread_mutex_lock(&s->lock);
    bool room = s->queue[FROM_MOUSE].count + 4 <= TYPED_BYTES;
    bool taken = s->mouse_remote || (s->mouse_reporting && room);
    s->mouse_buttons = buttons & 7;
    if (taken) {
        s->mouse_dx = clamp(s->mouse_dx + clamp(dx, -255, 255), -255, 255);
        s->mouse_dy = clamp(s->mouse_dy + clamp(dy, -255, 255), -255, 255);
        s->mouse_dz = clamp(s->mouse_dz + clamp(dz, -8, 7), -8, 7);
        if (!s->mouse_remote && !s->mouse_wrap)
            mouse_packet(s);
    }
    settle(s);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

/* --- controller --- */

static void pulse_reset(struct i8042 *s)
{
    irq_set(&s->lines.reset, 1);
    irq_set(&s->lines.reset, 0);
}

static void write_out_port(struct i8042 *s, uint8_t value)
{
    s->out_port = value & (PORT_RESET | PORT_A20 | 0xcc);
    irq_set(&s->lines.a20, !!(value & PORT_A20));
    if (!(value & PORT_RESET)) {
        s->out_port |= PORT_RESET; /* the machine comes back with the line released */
        pulse_reset(s);
    }
}

static uint8_t read_out_port(const struct i8042 *s)
{
    uint8_t value = s->out_port;
    if (s->out_full)
        value |= s->out_is_mouse ? PORT_MOUSE_IRQ : PORT_KEYBOARD_IRQ;
    return value;
}

static void reply(struct i8042 *s, uint8_t byte)
{
    put(s, FROM_CONTROLLER, byte);
}

/* A write to port 0x64. */
static void controller_command(struct i8042 *s, uint8_t command)
{
    s->last_was_command = 1;
    s->command = 0;
    if (command >= 0x20 && command < 0x40) {
        reply(s, s->ram[command & 31]);
        return;
    }
    if (command >= 0x60 && command < 0x80) {
        s->command = command;
        return;
    }
    switch (command) {
    case 0xa7:
        s->ram[0] |= CFG_MOUSE_OFF;
        break;
    case 0xa8:
        s->ram[0] &= (uint8_t)~CFG_MOUSE_OFF;
        break;
    case 0xa9:
        reply(s, 0x00);
        break; /* mouse interface test */
    case 0xaa: /* self-test */
        s->ram[0] |= CFG_SYSTEM;
        reply(s, 0x55);
        break;
    case 0xab:
        reply(s, 0x00);
        break; /* keyboard interface test */
    case 0xad:
        s->ram[0] |= CFG_KEYBOARD_OFF;
        break;
    case 0xae:
        s->ram[0] &= (uint8_t)~CFG_KEYBOARD_OFF;
        break;
    case 0xc0:
        reply(s, 0x80);
        break; /* input port: keyboard not locked */
    case 0xd0:
        reply(s, read_out_port(s));
        break;
    case 0xd1: /* output port */
    case 0xd2: /* as if from the keyboard */
    case 0xd3: /* as if from the mouse */
    case 0xd4: /* to the mouse */
        s->command = command;
        break;
    case 0xdd:
        write_out_port(s, s->out_port & (uint8_t)~PORT_A20);
        break;
    case 0xdf:
        write_out_port(s, s->out_port | PORT_A20);
        break;
    case 0xe0:
        reply(s, 0x00);
        break; /* test inputs */
    default:
        if (command >= 0xf0 && !(command & 1)) /* pulse output port bits that are 0 */
            pulse_reset(s);
        break;
    }
}

/* The loopback commands fill the output byte past queues and translation. */
static void loop_back(struct i8042 *s, uint8_t byte, bool is_mouse)
{
    s->out = byte;
    s->out_full = 1;
    s->out_is_mouse = is_mouse;
    /* A line that is high already must show a new edge. */
    irq_set(is_mouse ? &s->lines.mouse : &s->lines.keyboard, 0);
}

/* A write to port 0x60: the argument of a command, or a byte for the keyboard. */
static void controller_data(struct i8042 *s, uint8_t value)
{
    uint8_t command = s->command;
    s->last_was_command = 0;
    s->command = 0;
    switch (command) {
    case 0:
        s->ram[0] &= (uint8_t)~CFG_KEYBOARD_OFF; /* sending to it enables it */
        keyboard_write(s, value);
        break;
    case 0xd1:
        write_out_port(s, value);
        break;
    case 0xd2:
        loop_back(s, value, false);
        break;
    case 0xd3:
        loop_back(s, value, true);
        break;
    case 0xd4:
        s->ram[0] &= (uint8_t)~CFG_MOUSE_OFF;
        mouse_write(s, value);
        break;
    default:
        s->ram[command & 31] = value;
        break; /* 0x60 to 0x7f */
    }
}

static uint8_t read_status(const struct i8042 *s)
{
    return (uint8_t)(ST_UNLOCKED | (s->out_full ? ST_OUT_FULL : 0) |
                     (s->out_full && s->out_is_mouse ? ST_MOUSE : 0) |
                     (s->ram[0] & CFG_SYSTEM ? ST_SYSTEM : 0) |
                     (s->last_was_command ? ST_COMMAND : 0));
}

static uint8_t read_data(struct i8042 *s)
{
    s->out_full = 0;
    irq_set(&s->lines.keyboard, 0); /* so that the next byte makes an edge */
    irq_set(&s->lines.mouse, 0);
    return s->out;
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8042 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint8_t value = read_data(s);
    settle(s);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void data_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *s = opaque;
    pthread_mutex_lock(&s->lock);
    controller_data(s, (uint8_t)value);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8042 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint8_t value = read_status(s);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void command_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *s = opaque;
    pthread_mutex_lock(&s->lock);
    controller_command(s, (uint8_t)value);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static void i8042_reset(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;
    pthread_mutex_lock(&s->lock);
    memset(s->ram, 0, sizeof s->ram);
    s->ram[0] = CFG_KEYBOARD_IRQ | CFG_SYSTEM | CFG_MOUSE_OFF | CFG_TRANSLATE;
    s->command = s->last_was_command = 0;
    s->out = s->out_full = s->out_is_mouse = 0;
    memset(s->queue, 0, sizeof s->queue);
    s->key_command = s->key_leds = s->key_last = 0;
    keyboard_defaults(s, true);
    s->mouse_command = s->mouse_last = s->mouse_buttons = 0;
    mouse_reset(s);
    write_out_port(s, 0xcc | PORT_RESET | PORT_A20);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static void i8042_free(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;
    bus_unmap(s->pio, 0x60);
    bus_unmap(s->pio, 0x64);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* A snapshot file is not trusted: indexes are brought into range. */
static void i8042_restored(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < SOURCES; i++) {
        s->queue[i].head %= QUEUE_BYTES;
        if (s->queue[i].count > QUEUE_BYTES)
            s->queue[i].count = QUEUE_BYTES;
    }
    s->mouse_dx = clamp(s->mouse_dx, -255, 255);
    s->mouse_dy = clamp(s->mouse_dy, -255, 255);
    s->mouse_dz = clamp(s->mouse_dz, -8, 7);
    irq_set(&s->lines.a20, !!(s->out_port & PORT_A20));
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

/* clang-format off */
#define F(field) STATE(struct i8042, field)
static const struct state_field state[] = {
    STATE_ARRAY(struct i8042, ram), F(command), F(last_was_command), F(out_port), F(out),
    F(out_full), F(out_is_mouse), F(release),
    STATE_ARRAY(struct i8042, queue[0].bytes), F(queue[0].head), F(queue[0].count),
    STATE_ARRAY(struct i8042, queue[1].bytes), F(queue[1].head), F(queue[1].count),
    STATE_ARRAY(struct i8042, queue[2].bytes), F(queue[2].head), F(queue[2].count),
    F(key_command), F(key_scanning), F(key_set), F(key_leds), F(key_rate), F(key_last),
    F(mouse_command), F(mouse_reporting), F(mouse_remote), F(mouse_wrap), F(mouse_scale2),
    F(mouse_rate), F(mouse_resolution), F(mouse_id), F(mouse_last),
    STATE_ARRAY(struct i8042, mouse_rates), F(mouse_buttons),
    F(mouse_dx), F(mouse_dy), F(mouse_dz),
};
#undef F
/* clang-format on */

static const struct device_ops ops = {
    .name = "i8042",
    .reset = i8042_reset,
    .free = i8042_free,
    .restored = i8042_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *i8042_new(const struct dev_host *h, const struct i8042_lines *lines, struct err *e)
{
    static const struct io_ops data_io = {data_read, data_write, 1, 1};
    static const struct io_ops command_io = {status_read, command_write, 1, 1};
    struct i8042 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the keyboard controller");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "kbc"};
    s->pio = h->pio;
    s->lines = *lines;
    pthread_mutex_init(&s->lock, NULL);
    if (bus_map(h->pio, 0x60, 1, &data_io, s, "kbc-data", e))
        goto fail;
    if (bus_map(h->pio, 0x64, 1, &command_io, s, "kbc-command", e))
        goto fail_data;
    i8042_reset(&s->d);
    return &s->d;

fail_data:
    bus_unmap(h->pio, 0x60);
fail:
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
