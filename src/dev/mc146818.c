/* SPDX-License-Identifier: MIT */
/* mc146818 battery clock (Motorola MC146818A data sheet) with 128 bytes of CMOS memory, behind
 * the PC's index port 0x70 (bit 7, the NMI mask, is kept and has no effect) and data port 0x71.
 *
 * Time is guest time plus an offset that makes it the host's date when the chip is built, and still
 * after a pause or a snapshot, since a battery keeps the chip going meanwhile. The
 * time registers are filled in when the guest looks; writing one moves the offset. Interrupt
 * flags are likewise caught up with when looked at, so the host needs a timer only for a source
 * that is enabled and whose flag is not yet set: a guest that does not answer costs nothing.
 *
 * Left out: daylight saving, the square wave pin, time bases other than 32.768 kHz, a day of the
 * week that differs from the calendar's. */
#include "ring3/devices/mc146818.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CMOS_BYTES 128
#define DAY_S      86400
#define CRYSTAL_HZ 32768
#define UPDATE_NS  (2228 * 1000) /* how long before the second UIP is set */

enum {
    SECOND,
    SECOND_ALARM,
    MINUTE,
    MINUTE_ALARM,
    HOUR,
    HOUR_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    FIRST_RAM,
    CENTURY = 0x32
};
enum { A_UPDATING = 0x80, A_HOLD = 0x60, A_RATE = 0x0f };
enum { B_24H = 0x02, B_BINARY = 0x04, B_SET = 0x80 };
/* Flags in C, enables in B. */
enum { UPDATE = 0x10, ALARM = 0x20, PERIODIC = 0x40, SOURCES = 0x70, C_IRQ = 0x80 };
enum { D_VALID = 0x80, HOUR_PM = 0x80, ALARM_ANY = 0xc0 };

struct mc146818 {
    struct device d;
    struct bus *pio;
    struct clock *clock;
    struct irq_line irq;
    struct timer timer;
    pthread_mutex_t lock; /* guards everything below */
    uint8_t index;        /* as written to port 0x70 */
    uint8_t cmos[CMOS_BYTES];
    int64_t base_s;    /* the chip's date is base_s seconds since 1970 plus clock_missed_s() ... */
    uint64_t phase_ns; /* ... plus guest time plus this, below a second */
    uint64_t seen_ns;  /* chip time (see chip_ns) up to which flags are caught up */
};

static const uint8_t time_registers[] = {SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, CENTURY, WEEKDAY};

static bool is_time_register(unsigned i)
{
    return memchr(time_registers, (int)i, sizeof time_registers) != NULL;
}

/* Nanoseconds on a scale whose whole seconds are the chip's. */
static uint64_t chip_ns(const struct mc146818 *s)
{
    return clock_now_ns(s->clock) + s->phase_ns;
}

/* Updates stand still while SET is on or the divider is held in reset. */
static bool is_frozen(const struct mc146818 *s)
{
    return (s->cmos[REG_B] & B_SET) || (s->cmos[REG_A] & A_HOLD) == A_HOLD;
}

/* --- calendar --- */

/* Days since 1970-01-01 of a date in the Gregorian calendar; month 1 to 12, any day. Counts in
 * years that begin in March, so that the leap day is the last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

struct date {
    int64_t year;
    unsigned month, day;
};

static struct date date_of(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, in_era = days - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100), m = (5 * in_year + 2) / 153;
    unsigned month = (unsigned)(m < 10 ? m + 3 : m - 9);
    return (struct date){year + era * 400 + (month <= 2), month,
                         (unsigned)(in_year - (153 * m + 2) / 5 + 1)};
}

static uint8_t encode(const struct mc146818 *s, unsigned n)
{
    return (uint8_t)(s->cmos[REG_B] & B_BINARY ? n : n / 10 % 10 << 4 | n % 10);
}

static unsigned decode(const struct mc146818 *s, uint8_t v)
{
    return s->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const struct mc146818 *s, unsigned hour)
{
    if (s->cmos[REG_B] & B_24H)
        return encode(s, hour);
    return (uint8_t)(encode(s, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct mc146818 *s, uint8_t v)
{
    if (s->cmos[REG_B] & B_24H)
        return decode(s, v);
    return decode(s, v & 0x7f) % 12 + (v & HOUR_PM ? 12 : 0);
}

static void fill_time_registers(struct mc146818 *s)
{
    int64_t now_s = s->base_s + clock_missed_s(s->clock) + (int64_t)(chip_ns(s) / NS_PER_SEC);
    int64_t days = now_s / DAY_S - (now_s % DAY_S < 0);
    unsigned in_day = (unsigned)(now_s - days * DAY_S);
    struct date date = date_of(days);
    s->cmos[SECOND] = encode(s, in_day % 60);
    s->cmos[MINUTE] = encode(s, in_day / 60 % 60);
    s->cmos[HOUR] = encode_hour(s, in_day / 3600);
    s->cmos[WEEKDAY] = encode(s, (unsigned)(((days + 4) % 7 + 7) % 7 + 1)); /* Sunday is 1 */
    s->cmos[DAY] = encode(s, date.day);
    s->cmos[MONTH] = encode(s, date.month);
    s->cmos[YEAR] = encode(s, (unsigned)(date.year % 100));
    unsigned century = (unsigned)(date.year / 100 % 100);
    s->cmos[CENTURY] = (uint8_t)(century / 10 << 4 | century % 10); /* the BIOS keeps it in BCD */
}

/* Make the date the time registers show the chip's. Nonsense in them gives some date. */
static void take_time_registers(struct mc146818 *s)
{
    const uint8_t *r = s->cmos;
    unsigned month = decode(s, r[MONTH]);
    month = month < 1 ? 1 : month > 12 ? 12 : month;
    int64_t year = 100 * ((r[CENTURY] >> 4) * 10 + (r[CENTURY] & 15)) + decode(s, r[YEAR]);
    int64_t seconds = days_of(year, month, decode(s, r[DAY])) * DAY_S +
                      decode_hour(s, r[HOUR]) * 3600 + decode(s, r[MINUTE]) * 60 +
                      decode(s, r[SECOND]);
    s->base_s = seconds - clock_missed_s(s->clock) - (int64_t)(chip_ns(s) / NS_PER_SEC);
}

/* --- interrupts --- */

static bool alarm_field(const struct mc146818 *s, unsigned reg, unsigned n)
{
    uint8_t v = s->cmos[reg];
    if ((v & ALARM_ANY) == ALARM_ANY)
        return true;
    return (reg == HOUR_ALARM ? decode_hour(s, v) : decode(s, v)) == n;
}

/* Second of the day, from `from` on, at which the alarm goes off; -1 if not before midnight. */
static int alarm_in_day(const struct mc146818 *s, unsigned from)
{
    unsigned hour = from / 3600, minute = from / 60 % 60, second = from % 60;
    for (; hour < 24; hour++, minute = second = 0) {
        if (!alarm_field(s, HOUR_ALARM, hour))
            continue;
        for (; minute < 60; minute++, second = 0) {
            if (!alarm_field(s, MINUTE_ALARM, minute))
                continue;
            for (; second < 60; second++)
                if (alarm_field(s, SECOND_ALARM, second))
                    return (int)(hour * 3600 + minute * 60 + second);
        }
    }
    return -1;
}

/* Chip times of the first event of each kind after `ns`; TIMER_NEVER if there is none. */
static uint64_t next_periodic(const struct mc146818 *s, uint64_t ns)
{
    unsigned rate = s->cmos[REG_A] & A_RATE;
    if (!rate || (s->cmos[REG_A] & A_HOLD) == A_HOLD)
        return TIMER_NEVER;
    unsigned cycles = rate < 3 ? 64u << rate : 1u << (rate - 1);
    unsigned __int128 one = (unsigned __int128)cycles * NS_PER_SEC;
    uint64_t n = (uint64_t)((unsigned __int128)ns * CRYSTAL_HZ / one) + 1;
    uint64_t at = (uint64_t)((n * one + CRYSTAL_HZ - 1) / CRYSTAL_HZ);
    /* `ns` may be the rounded-up moment of event n itself. */
    return at > ns ? at : (uint64_t)(((n + 1) * one + CRYSTAL_HZ - 1) / CRYSTAL_HZ);
}

static uint64_t next_update(const struct mc146818 *s, uint64_t ns)
{
    return is_frozen(s) ? TIMER_NEVER : (ns / NS_PER_SEC + 1) * NS_PER_SEC;
}

static uint64_t next_alarm(const struct mc146818 *s, uint64_t ns)
{
    if (is_frozen(s))
        return TIMER_NEVER;
    int64_t first = s->base_s + clock_missed_s(s->clock) + (int64_t)(ns / NS_PER_SEC) + 1;
    int from = (int)(((first % DAY_S) + DAY_S) % DAY_S);
    int at = alarm_in_day(s, (unsigned)from), wait = at - from;
    if (at < 0) {
        at = alarm_in_day(s, 0);
        if (at < 0)
            return TIMER_NEVER;
        wait = DAY_S - from + at;
    }
    return (ns / NS_PER_SEC + 1 + (uint64_t)wait) * NS_PER_SEC;
}

static const struct {
    uint8_t flag;
    uint64_t (*next)(const struct mc146818 *s, uint64_t ns);
} sources[] = {{PERIODIC, next_periodic}, {UPDATE, next_update}, {ALARM, next_alarm}};

/* Set the flags of all events up to now. */
static void catch_up(struct mc146818 *s)
{
    uint64_t now = chip_ns(s);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (!(s->cmos[REG_C] & sources[i].flag) && sources[i].next(s, s->seen_ns) <= now)
            s->cmos[REG_C] |= sources[i].flag;
    s->seen_ns = now;
}

/* Drive the interrupt line, and set the timer for the next flag that could raise it. */
static void settle(struct mc146818 *s)
{
    uint8_t *c = &s->cmos[REG_C], enabled = s->cmos[REG_B] & SOURCES;
    *c = (uint8_t)((*c & SOURCES) | (*c & enabled ? C_IRQ : 0));
    irq_set(&s->irq, !!(*c & C_IRQ));
    uint64_t deadline = TIMER_NEVER;
    for (size_t i = 0; i < ARRAY_LEN(sources) && !(*c & C_IRQ); i++) {
        if (!(enabled & sources[i].flag))
            continue;
        uint64_t at = sources[i].next(s, s->seen_ns);
        deadline = at < deadline ? at : deadline;
    }
    timer_set(&s->timer, deadline == TIMER_NEVER ? TIMER_NEVER : deadline - s->phase_ns);
}

static void on_timer(void *opaque)
{
    struct mc146818 *s = opaque;
    pthread_mutex_lock(&s->lock);
    catch_up(s);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

/* --- registers --- */

/* Restart updates after SET or the divider was released: with the registers' time, and half a
 * second before the next one if it was the divider. */
static void thaw(struct mc146818 *s, bool divider)
{
    if (divider) {
        uint64_t now = clock_now_ns(s->clock);
        s->phase_ns = (NS_PER_SEC + NS_PER_SEC / 2 - now % NS_PER_SEC) % NS_PER_SEC;
    }
    take_time_registers(s);
    s->seen_ns = chip_ns(s);
}

static void write_control(struct mc146818 *s, unsigned reg, uint8_t value)
{
    bool was_frozen = is_frozen(s), was_held = (s->cmos[REG_A] & A_HOLD) == A_HOLD;
    if (!was_frozen)
        fill_time_registers(s);
    if (reg == REG_A)
        value &= (uint8_t)~A_UPDATING;
    else if (value & B_SET)
        value &= (uint8_t)~UPDATE;
    s->cmos[reg] = value;
    if (was_frozen && !is_frozen(s))
        thaw(s, was_held);
}

static void write_register(struct mc146818 *s, unsigned i, uint8_t value)
{
    if (i == REG_A || i == REG_B) {
        write_control(s, i, value);
    } else if (is_time_register(i)) {
        if (!is_frozen(s))
            fill_time_registers(s);
        s->cmos[i] = value;
        if (!is_frozen(s))
            take_time_registers(s);
    } else if (i != REG_C && i != REG_D) {
        s->cmos[i] = value;
    }
}

static uint8_t read_register(struct mc146818 *s, unsigned i)
{
    uint8_t value;
    if (is_time_register(i) && !is_frozen(s))
        fill_time_registers(s);
    switch (i) {
    case REG_A:
        value = s->cmos[REG_A];
        if (!is_frozen(s) && chip_ns(s) % NS_PER_SEC >= NS_PER_SEC - UPDATE_NS)
            value |= A_UPDATING;
        return value;
    case REG_C:
        settle(s); /* so that bit 7 is right */
        value = s->cmos[REG_C];
        s->cmos[REG_C] = 0;
        return value;
    case REG_D:
        return D_VALID;
    default:
        return s->cmos[i];
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct mc146818 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint8_t value = s->index;
    if (offset) {
        catch_up(s);
        value = read_register(s, s->index % CMOS_BYTES);
        settle(s);
    }
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct mc146818 *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (!offset) {
        s->index = (uint8_t)value;
    } else {
        catch_up(s);
        write_register(s, s->index % CMOS_BYTES, (uint8_t)value);
        settle(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void mc146818_set_cmos(struct device *rtc, unsigned index, uint8_t value)
{
    struct mc146818 *s = (struct mc146818 *)rtc;
    if (index < FIRST_RAM || index >= CMOS_BYTES || index == CENTURY)
        return;
    pthread_mutex_lock(&s->lock);
    s->cmos[index] = value;
    pthread_mutex_unlock(&s->lock);
}

static void set_word(struct device *rtc, unsigned index, uint64_t value)
{
    value = value < 0xffff ? value : 0xffff;
    mc146818_set_cmos(rtc, index, (uint8_t)value);
    mc146818_set_cmos(rtc, index + 1, (uint8_t)(value >> 8));
}

void mc146818_set_memory(struct device *rtc, uint64_t ram_bytes)
{
    uint64_t above_1m = ram_bytes > MIB ? ram_bytes - MIB : 0;
    uint64_t above_16m = ram_bytes > 16 * MIB ? ram_bytes - 16 * MIB : 0;
    uint64_t extended_kib = above_1m / KIB < 63 * KIB ? above_1m / KIB : 63 * KIB;
    set_word(rtc, 0x15, ram_bytes < 640 * KIB ? ram_bytes / KIB : 640);
    set_word(rtc, 0x17, extended_kib);
    set_word(rtc, 0x30, extended_kib);
    set_word(rtc, 0x34, above_16m / (64 * KIB));
}

/* The battery keeps time and memory; the reset pin clears enables and flags. */
static void mc146818_reset(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;
    pthread_mutex_lock(&s->lock);
    s->cmos[REG_B] &= (uint8_t)~SOURCES;
    s->cmos[REG_C] = 0;
    s->index = 0;
    s->seen_ns = chip_ns(s);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static void mc146818_free(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;
    timer_set(&s->timer, TIMER_NEVER);
    bus_unmap(s->pio, 0x70);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void mc146818_restored(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;
    const int64_t far_s = INT64_C(1) << 40; /* a snapshot file is not trusted */
    pthread_mutex_lock(&s->lock);
    s->phase_ns %= NS_PER_SEC;
    s->base_s = s->base_s > far_s ? far_s : s->base_s < -far_s ? -far_s : s->base_s;
    s->seen_ns = s->seen_ns > chip_ns(s) ? chip_ns(s) : s->seen_ns;
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static const struct state_field state[] = {
    STATE(struct mc146818, index),   STATE_ARRAY(struct mc146818, cmos),
    STATE(struct mc146818, base_s),  STATE(struct mc146818, phase_ns),
    STATE(struct mc146818, seen_ns),
};

static const struct device_ops ops = {
    .name = "mc146818",
    .reset = mc146818_reset,
    .free = mc146818_free,
    .restored = mc146818_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *mc146818_new(const struct dev_host *h, struct irq_line irq, struct err *e)
{
    static const struct io_ops io = {rtc_read, rtc_write, 1, 1};
    struct mc146818 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the battery clock");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "rtc"};
    s->pio = h->pio;
    s->clock = h->clock;
    s->irq = irq;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timer, h->clock, on_timer, s);
    if (bus_map(h->pio, 0x70, 2, &io, s, "rtc", e)) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    s->cmos[REG_A] = 0x26; /* 32.768 kHz, periodic rate 1024 Hz */
    s->cmos[REG_B] = B_24H;
    s->base_s = clock_wall_s(h->clock) - clock_missed_s(h->clock) -
                (int64_t)(clock_now_ns(h->clock) / NS_PER_SEC);
    mc146818_reset(&s->d);
    return &s->d;
}
