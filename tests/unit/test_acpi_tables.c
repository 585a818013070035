/* SPDX-License-Identifier: MIT */
/* ACPI tables as a guest finds them: signatures, checksums, pointers, and the DSDT's contents,
 * which iasl disassembles when it is installed. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/acpi_loader.h"
#include "boot/acpi_tables.h"
#include "boot/aml.h"

static const struct acpi_config config = {
    .chips = ACPI_HAS_RTC | ACPI_HAS_KEYBOARD | ACPI_HAS_MOUSE | ACPI_HAS_COM1 | ACPI_HAS_FLOPPY,
    .pirq = {10, 11, 5, 7},
    .pci_start = 0xe0000000,
    .pci_end = 0xfec00000,
};

struct tables {
    struct phys *mem;
    uint8_t area[ACPI_TABLES_BYTES];
};

static int setup(void **state)
{
    struct tables *t = calloc(1, sizeof *t);
    t->mem = phys_new(MIB, NULL);
    assert_non_null(t->mem);
    assert_int_equal(phys_map_rom(t->mem, 0xe0000, 0xe0000, 0x20000, NULL), 0);
    assert_int_equal(acpi_tables_load(t->mem, &config, NULL), 0);
    assert_int_equal(phys_read(t->mem, ACPI_TABLES_GPA, t->area, sizeof t->area), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tables *t = *state;
    phys_free(t->mem);
    free(t);
    return 0;
}

static uint64_t le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

/* The table at a guest address, checked. */
static const uint8_t *table(struct tables *t, uint64_t gpa, const char *signature)
{
    assert_in_range(gpa, ACPI_TABLES_GPA, ACPI_TABLES_GPA + ACPI_TABLES_BYTES - 64);
    const uint8_t *p = t->area + (gpa - ACPI_TABLES_GPA);
    assert_memory_equal(p, signature, 4);
    assert_true(p + le(p + 4, 4) <= t->area + sizeof t->area);
    if (strcmp(signature, "FACS"))
        assert_int_equal(sum(p, le(p + 4, 4)), 0);
    return p;
}

/* As an operating system does: scan from 0xe0000 in steps of 16. */
static const uint8_t *rsdt(struct tables *t)
{
    for (size_t i = 0; i < sizeof t->area; i += 16)
        if (!memcmp(t->area + i, "RSD PTR ", 8) && sum(t->area + i, 20) == 0)
            return table(t, le(t->area + i + 16, 4), "RSDT");
    fail_msg("no RSDP");
    return NULL;
}

static void chain_of_tables_holds(void **state)
{
    struct tables *t = *state;
    const uint8_t *root = rsdt(t);
    assert_int_equal(le(root + 4, 4), 40); /* one entry */
    const uint8_t *fadt = table(t, le(root + 36, 4), "FACP");
    assert_int_equal(le(fadt + 4, 4), 244);
    const uint8_t *facs = table(t, le(fadt + 36, 4), "FACS");
    assert_int_equal(le(fadt + 36, 4) % 64, 0);
    assert_int_equal(le(facs + 4, 4), 64);
    table(t, le(fadt + 40, 4), "DSDT");
    assert_int_equal(le(fadt + 140, 8), le(fadt + 40, 4));
}

static void fadt_names_the_registers(void **state)
{
    struct tables *t = *state;
    const uint8_t *f = table(t, le(rsdt(t) + 36, 4), "FACP");
    assert_int_equal(le(f + 46, 2), 9);
    assert_int_equal(le(f + 48, 4), 0xb2);
    assert_int_equal(f[52], 0xf1);
    assert_int_equal(f[53], 0xf0);
    assert_int_equal(le(f + 56, 4), 0x600);
    assert_int_equal(le(f + 64, 4), 0x604);
    assert_int_equal(le(f + 76, 4), 0x608);
    assert_int_equal(f[88], 4);
    assert_int_equal(f[89], 2);
    assert_int_equal(f[91], 4);
    assert_int_equal(le(f + 112, 4) & 1u << 10, 1u << 10); /* reset register supported */
    assert_int_equal(le(f + 112, 4) & 1u << 8, 0);         /* 24-bit timer */
    assert_int_equal(le(f + 112, 4) & 1u << 4, 0);         /* fixed power button */
    assert_int_equal(f[116], 1);                           /* in port space */
    assert_int_equal(le(f + 120, 8), 0xcf9);
    assert_int_equal(f[128], 6);
    assert_int_equal(le(f + 148 + 4, 8), 0x600);
    assert_int_equal(le(f + 172 + 4, 8), 0x604);
    assert_int_equal(le(f + 208 + 4, 8), 0x608);
}

static const uint8_t *find(const uint8_t *p, size_t n, const void *what, size_t len)
{
    const uint8_t *found = memmem(p, n, what, len);
    assert_non_null(found);
    return found;
}

static void dsdt_has_soft_off_and_pci(void **state)
{
    static const uint8_t s5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0};
    static const uint8_t hid[] = {0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0a, 0x03};
    /* device 3, pin B: PIRQ (3 + 2 + 2) & 3 = 3 */
    static const uint8_t prt[] = {0x12, 0x0b, 0x04, 0x0c, 0xff, 0xff, 3, 0, 0x01, 0x00, 0x0a, 7};
    static const uint8_t com1[] = {0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x22, 0x10, 0, 0x79, 0};
    struct tables *t = *state;
    const uint8_t *fadt = table(t, le(rsdt(t) + 36, 4), "FACP");
    const uint8_t *p = table(t, le(fadt + 40, 4), "DSDT");
    size_t n = le(p + 4, 4);
    find(p, n, s5, sizeof s5);
    find(p, n, hid, sizeof hid);
    find(p, n, prt, sizeof prt);
    find(p, n, com1, sizeof com1);
}

/* What iasl makes of a table; skips the test where there is no iasl. Definition blocks are compiled
 * again as well: both ways must be free of errors and warnings. */
static const char *disassembled(const uint8_t *p)
{
    char dir[] = "/tmp/ring3-acpi-XXXXXX", cmd[512];
    static char text[200000];

    if (system("command -v iasl >/dev/null 2>&1"))
        skip();
    assert_non_null(mkdtemp(dir));
    snprintf(cmd, sizeof cmd, "%s/t.aml", dir);
    FILE *f = fopen(cmd, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, le(p + 4, 4), f), le(p + 4, 4));
    fclose(f);
    snprintf(cmd, sizeof cmd, "cd %s && iasl -d t.aml >d.log 2>&1 && iasl -we t.dsl >c.log 2>&1",
             dir);
    int r = system(cmd);
    snprintf(cmd, sizeof cmd, "cat %s/*.log %s/t.dsl", dir, dir);
    FILE *out = popen(cmd, "r");
    assert_non_null(out);
    text[fread(text, 1, sizeof text - 1, out)] = 0;
    pclose(out);
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
    if (r)
        fail_msg("iasl: %s", text);
    return text;
}

static void dsdt_disassembles(void **state)
{
    struct tables *t = *state;
    const uint8_t *fadt = table(t, le(rsdt(t) + 36, 4), "FACP");
    const char *text = disassembled(table(t, le(fadt + 40, 4), "DSDT"));
    assert_non_null(strstr(text, "EisaId (\"PNP0A03\")"));
    assert_non_null(strstr(text, "Device (COM1)"));
    assert_non_null(strstr(
        text, "DMA (Compatibility, NotBusMaster, Transfer8, )\n                            {2}"));
    assert_non_null(strstr(text, "0xE0000000,         // Range Minimum"));
}

static void interrupt_controllers_and_hpet(void **state)
{
    struct tables *t = *state;
    struct acpi_config c = {.chips = ACPI_HAS_APIC | ACPI_HAS_HPET, .pirq = {10, 11, 10, 11}};
    assert_int_equal(acpi_tables_load(t->mem, &c, NULL), 0);
    assert_int_equal(phys_read(t->mem, ACPI_TABLES_GPA, t->area, sizeof t->area), 0);
    const uint8_t *root = rsdt(t);
    assert_int_equal(le(root + 4, 4), 48); /* three entries */
    const uint8_t *madt = table(t, le(root + 40, 4), "APIC");
    const uint8_t *hpet = table(t, le(root + 44, 4), "HPET");
    assert_int_equal(le(madt + 36, 4), 0xfee00000);
    assert_int_equal(le(madt + 4, 4), 44 + 8 + 12 + 4 * 10 + 6);
    assert_int_equal(le(hpet + 44, 8), 0xfed00000);
    const char *text = disassembled(madt);
    assert_non_null(strstr(text, "[I/O APIC]"));
    assert_non_null(strstr(text, "Address : FEC00000"));
    assert_non_null(strstr(text, "Source : 0B"));
    assert_null(strstr(text, "Source : 05"));
    assert_non_null(strstr(text, "[Local APIC NMI]"));
    assert_non_null(strstr(disassembled(hpet), "Hardware Block ID : 8086A201"));
}

static void absent_chips_are_not_described(void **state)
{
    struct tables *t = *state;
    struct acpi_config bare = {.chips = ACPI_HAS_VGA};
    assert_int_equal(acpi_tables_load(t->mem, &bare, NULL), 0);
    assert_int_equal(phys_read(t->mem, ACPI_TABLES_GPA, t->area, sizeof t->area), 0);
    const uint8_t *fadt = table(t, le(rsdt(t) + 36, 4), "FACP");
    const uint8_t *p = table(t, le(fadt + 40, 4), "DSDT");
    assert_null(memmem(p, le(p + 4, 4), "COM1", 4));
    assert_null(memmem(p, le(p + 4, 4), "_PRT", 4));
    assert_int_equal(le(fadt + 109, 2), 0x21); /* legacy devices, no RTC; VGA may be probed */
}

static void missing_memory_is_an_error(void **state)
{
    struct err e = {0};
    struct phys *mem = phys_new(MIB, NULL);
    assert_int_equal(acpi_tables_load(mem, &config, &e), -EINVAL);
    assert_string_equal(e.id, "memory-map");
    phys_free(mem);
}

static void aml_lengths_have_one_to_three_bytes(void **state)
{
    static const struct {
        size_t body;
        uint8_t head[3], bytes;
    } cases[] = {
        {10, {11}, 1},
        {62, {63}, 1},
        {63, {0x41, 0x04}, 2},
        {4093, {0x4f, 0xff}, 2},
        {4094, {0x81, 0x00, 0x01}, 3},
    };
    static uint8_t buf[8192];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct aml a = {.p = buf, .room = sizeof buf};
        size_t mark = aml_begin_scope(&a, "");
        for (size_t n = 0; n < cases[i].body; n++)
            aml_byte(&a, 0xa3);
        aml_end(&a, mark);
        assert_memory_equal(buf + 1, cases[i].head, cases[i].bytes);
        assert_int_equal(a.used, 1 + cases[i].bytes + cases[i].body);
        assert_int_equal(buf[a.used - 1], 0xa3);
    }
    struct aml small = {.p = buf, .room = 5};
    aml_name(&small, "ABCD");
    assert_false(small.full);
    aml_int(&small, 0);
    assert_true(small.full);
    assert_int_equal(small.used, 5);
}

/* Follow the script as firmware does, with the tables at `where`, the RSDP at the start of t->area
 * and everything addressed from there. */
static void follow_script(struct tables *t, const struct acpi_files *f, uint32_t where)
{
    uint8_t *tables = NULL, *rsdp = NULL;
    for (size_t at = 0; at < f->script_bytes; at += 128) {
        const uint8_t *c = f->script + at;
        bool is_rsdp = strcmp((const char *)c + 4, "etc/acpi/rsdp") == 0;
        uint8_t *file = is_rsdp ? rsdp : tables;
        assert_true(is_rsdp || strcmp((const char *)c + 4, "etc/acpi/tables") == 0);
        switch (le(c, 4)) {
        case 1: /* allocate */
            assert_null(file);
            if (is_rsdp) {
                assert_int_equal(c[64], 2);
                rsdp = memcpy(t->area, f->rsdp, sizeof f->rsdp);
            } else {
                assert_int_equal(le(c + 60, 4), 64);
                tables = memcpy(t->area + (where - ACPI_TABLES_GPA), f->tables, sizeof f->tables);
            }
            break;
        case 2: { /* pointer */
            uint8_t *p = file + le(c + 116, 4);
            assert_string_equal(c + 60, "etc/acpi/tables");
            uint64_t v = le(p, c[120]) + where;
            memcpy(p, &v, c[120]);
            break;
        }
        case 3: /* checksum: the byte is lessened by the sum */
            file[le(c + 60, 4)] =
                (uint8_t)(file[le(c + 60, 4)] - sum(file + le(c + 64, 4), le(c + 68, 4)));
            break;
        default:
            fail_msg("command %u", (unsigned)le(c, 4));
        }
    }
}

/* The tables that firmware places differ from ours in pointers and checksums only. */
static void firmware_can_move_them(void **state)
{
    struct tables *t = *state;
    static struct acpi_files f;
    static uint8_t ours[ACPI_BLOCK_BYTES];
    const uint32_t where = ACPI_TABLES_GPA + 0x4040;
    unsigned different = 0;
    memcpy(ours, t->area, sizeof ours);
    memset(t->area, 0, sizeof t->area);
    acpi_files_build(&f, &config);
    follow_script(t, &f, where);
    assert_int_equal(le(rsdt(t) + 36, 4) & ~0xfffu, where & ~0xfffu);
    chain_of_tables_holds(state);
    fadt_names_the_registers(state);
    dsdt_has_soft_off_and_pci(state);
    for (unsigned i = ACPI_RSDP_BYTES; i < sizeof ours; i++)
        different += ours[i] != t->area[where - ACPI_TABLES_GPA + i];
    assert_in_range(different, 4, 12);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(chain_of_tables_holds),
        T(fadt_names_the_registers),
        T(dsdt_has_soft_off_and_pci),
        T(dsdt_disassembles),
        T(firmware_can_move_them),
        T(interrupt_controllers_and_hpet),
        T(absent_chips_are_not_described),
        cmocka_unit_test(missing_memory_is_an_error),
        cmocka_unit_test(aml_lengths_have_one_to_three_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
