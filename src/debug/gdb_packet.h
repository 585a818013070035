/* SPDX-License-Identifier: MIT */
/* Packets of gdb's remote serial protocol: $data#checksum, with +/- acknowledgements. */
#ifndef RING3_DEBUG_GDB_PACKET_H
#define RING3_DEBUG_GDB_PACKET_H

#include "ring3/types.h"

#define GDB_PACKET_MAX 4096u /* data bytes either way; told to gdb as PacketSize */

enum gdb_event {
    GDB_NOTHING,
    GDB_PACKET,  /* a whole one is in data[0..len), zero-terminated */
    GDB_BREAK,   /* the byte 3: stop the program */
    GDB_DAMAGED, /* checksum or length wrong */
};

struct gdb_reader {
    char data[GDB_PACKET_MAX + 1];
    unsigned len;
    uint8_t state, sum, claimed;
    bool too_long;
};

/* Take one byte. */
enum gdb_event gdb_read_byte(struct gdb_reader *r, uint8_t byte);

/* A packet being written. */
struct gdb_writer {
    char data[GDB_PACKET_MAX + 8]; /* $ ... #xx */
    unsigned len;
};
void gdb_begin(struct gdb_writer *w);
void gdb_text(struct gdb_writer *w, const char *text);
void gdb_hex(struct gdb_writer *w, const void *bytes, size_t n);
void gdb_number(struct gdb_writer *w, uint64_t x);                  /* hexadecimal */
void gdb_binary(struct gdb_writer *w, const void *bytes, size_t n); /* with escapes */
void gdb_end(struct gdb_writer *w);
unsigned gdb_room(const struct gdb_writer *w); /* data bytes that still fit */

/* Read hexadecimal from *at, which moves on. False if there is none or it is too large. */
bool gdb_parse_number(const char **at, uint64_t *x);
/* 2 * n digits; false if there are fewer. */
bool gdb_parse_hex(const char **at, uint8_t *bytes, size_t n);
/* The n bytes of an escaped binary tail of *len bytes. */
bool gdb_parse_binary(const char *at, size_t len, uint8_t *bytes, size_t n);

#endif
