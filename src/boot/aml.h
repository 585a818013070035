/* SPDX-License-Identifier: MIT */
/* Writing ACPI Machine Language (ACPI Specification 6.4, chapter 20) into a buffer. A writer that
 * runs out of room sets `full` and writes no more. */
#ifndef RING3_BOOT_AML_H
#define RING3_BOOT_AML_H

#include "ring3/types.h"

struct aml {
    uint8_t *p;
    size_t used, room;
    bool full;
};

void aml_byte(struct aml *a, uint8_t v);
void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_le(struct aml *a, uint64_t v, unsigned bytes); /* little-endian, no prefix */

void aml_int(struct aml *a, uint32_t v);         /* shortest integer constant */
void aml_name(struct aml *a, const char *name);  /* NameOp + 4 letters; an object follows */
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0A03" as an integer */

/* Something with a package length: the opcode, then what is written until aml_end(). Each begin
 * returns a mark that goes to its end. */
size_t aml_begin_scope(struct aml *a, const char *name); /* 4 letters, or "\\_SB_" */
size_t aml_begin_device(struct aml *a, const char *name);
size_t aml_begin_package(struct aml *a, unsigned elements);
size_t aml_begin_resources(struct aml *a); /* Buffer holding a resource template */
void aml_end(struct aml *a, size_t mark);
void aml_end_resources(struct aml *a, size_t mark); /* adds the end tag and the buffer size */

/* Resource descriptors (chapter 6.4). */
void aml_res_io(struct aml *a, uint16_t port, uint8_t len);
void aml_res_irq(struct aml *a, unsigned irq);
void aml_res_dma(struct aml *a, uint8_t channels); /* by bytes, one at a time */
void aml_res_bus_numbers(struct aml *a, uint8_t first, uint8_t last);
void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory_window(struct aml *a, uint32_t first, uint32_t last);

#endif
