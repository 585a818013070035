/* SPDX-License-Identifier: MIT */
/* The whole board malta, without Linux: what the monitor leaves, what is in which PCI slot, how
 * interrupts reach the processor, power and reset, and registers written at random. */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

#include "board/boards.h"
#include "board/malta.h"
#include "engine/engines.h"
#include "isa/mips32/cpu.h"
#include "ring3/devices/gt64120.h"
#include "ring3/devices/malta_fpga.h"

#define RAM      (300 * MIB)
#define PORT(n)  (MALTA_PCI_IO + (n))
#define GT(reg)  (MALTA_GT_BASE + (reg))
#define IP(pin)  (1u << ((pin) + 10))
#define NIC_IO   0x2000u
#define ENTRY    0x80400000u
#define ELCR     0x4d0u
#define PIRQ_REG 0x60u
#define PM_BASE  0x40u

struct machine {
    struct vm vm;
    char kernel[32], disk[32];
};

static void make_file(char *path, const void *bytes, size_t n, off_t size)
{
    strcpy(path, "/tmp/ring3-malta-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

/* A kernel that loops where it is entered. */
static void make_kernel(char *path)
{
    struct {
        Elf32_Ehdr h;
        Elf32_Phdr ph;
        uint32_t code[2];
    } file = {.h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, 1},
                    .e_type = ET_EXEC,
                    .e_machine = EM_MIPS,
                    .e_version = 1,
                    .e_entry = ENTRY,
                    .e_phoff = sizeof file.h,
                    .e_ehsize = sizeof file.h,
                    .e_phentsize = sizeof file.ph,
                    .e_phnum = 1},
              .ph = {.p_type = PT_LOAD,
                     .p_offset = offsetof(__typeof__(file), code),
                     .p_vaddr = ENTRY,
                     .p_paddr = ENTRY,
                     .p_filesz = sizeof file.code,
                     .p_memsz = sizeof file.code},
              .code = {0x1000ffff, 0}}; /* b . ; nop */
    make_file(path, &file, sizeof file, sizeof file);
}

static struct machine *new_machine(void)
{
    static const char *const cards[] = {NULL, "virtio", "pcnet", "e1000"};
    struct machine *m = calloc(1, sizeof *m);
    struct err e = {0};
    make_kernel(m->kernel);
    make_file(m->disk, "", 0, MIB);
    struct vm_config c = {.board = &malta_board,
                          .engine = &interp_engine,
                          .clock = CLOCK_VIRTUAL,
                          .ram_bytes = RAM,
                          .kernel = m->kernel,
                          .append = "the command line",
                          .extras = VM_RNG | VM_BALLOON | VM_CONSOLE};
    static const struct drive_config drives[] = {{.interface = DRIVE_IDE},
                                                 {.interface = DRIVE_AUTO},
                                                 {.interface = DRIVE_IDE, .cdrom = true},
                                                 {.interface = DRIVE_VIRTIO}};
    for (unsigned i = 0; i < ARRAY_LEN(drives); i++) {
        c.drive[c.drives] = drives[i];
        c.drive[c.drives].image.file = m->disk;
        c.drive[c.drives++].image.read_only = true;
    }
    for (unsigned i = 0; i < ARRAY_LEN(cards); i++)
        c.nic[c.nics++] = (struct nic_config){
            .model = cards[i], .backend = "none", .mac = {2, 0, 0, 0, 0, (uint8_t)i}};
    if (vm_build(&m->vm, &c, (struct log){LOG_ERROR, STDERR_FILENO}, NULL, &e) < 0)
        fail_msg("[%s] %s", e.id, e.text);
    return m;
}

static void free_machine(struct machine *m)
{
    vm_free(&m->vm);
    unlink(m->kernel);
    unlink(m->disk);
    free(m);
}

static uint32_t get(struct machine *m, uint32_t at, unsigned size)
{
    return (uint32_t)bus_read(m->vm.mmio, at, size);
}
static void put(struct machine *m, uint32_t at, unsigned size, uint32_t value)
{
    bus_write(m->vm.mmio, at, size, value);
}
static void aim(struct machine *m, unsigned device, unsigned function, unsigned at)
{
    put(m, GT(GT_PCI0_ADDRESS), 4, 0x80000000 | device << 11 | function << 8 | (at & 0xfc));
}
static uint32_t config(struct machine *m, unsigned device, unsigned function, unsigned at)
{
    aim(m, device, function, at);
    return get(m, GT(GT_PCI0_DATA), 4);
}
static void set_config(struct machine *m, unsigned device, unsigned function, unsigned at,
                       unsigned size, uint32_t value)
{
    aim(m, device, function, at);
    put(m, GT(GT_PCI0_DATA) + (at & 3), size, value);
}
static unsigned pins(struct machine *m)
{
    return atomic_load(&mips32_of(m->vm.vcpu)->lines) & (IP(0) | IP(2) | IP(3));
}

/* A string in KSEG0 at word n of a list there. */
static const char *word(struct machine *m, uint32_t list, unsigned n)
{
    static char text[64];
    uint32_t address;
    phys_read(m->vm.mem, (list & 0x1fffffff) + 4 * n, &address, 4);
    phys_read(m->vm.mem, address & 0x1fffffff, text, sizeof text - 1);
    return text;
}

static void check_start(struct machine *m)
{
    const uint32_t *a = &mips32_of(m->vm.vcpu)->gpr[MIPS32_A0];
    assert_int_equal(m->vm.vcpu->isa->pc(m->vm.vcpu), ENTRY);
    assert_int_equal(a[0], 2);
    assert_string_equal(word(m, a[1], 1), "the command line");
    assert_string_equal(word(m, a[2], 0), "memsize");
    assert_string_equal(word(m, a[2], 1), "268435456");
    assert_string_equal(word(m, a[2], 2), "ememsize");
    assert_string_equal(word(m, a[2], 3), "314572800");
    assert_int_equal(a[3], MALTA_LOW_RAM);
    static const struct {
        uint32_t first, last;
        const char *name;
    } map[] = {{0x10000000, 0x17ffffff, "gt-pci-mem0"},   {0x18000000, 0x181fffff, "gt-pci-io"},
               {0x18200000, 0x1bdfffff, "gt-pci-mem1"},   {0x1be00000, 0x1bffffff, "gt64120"},
               {0x1f000000, 0x1f0008ff, "malta-fpga"},    {0x1f000900, 0x1f00093f, "com3"},
               {0x1fc00010, 0x1fc00013, "malta-revision"}};
    for (unsigned i = 0; i < ARRAY_LEN(map); i++) {
        assert_string_equal(bus_name_at(m->vm.mmio, map[i].first), map[i].name);
        assert_string_equal(bus_name_at(m->vm.mmio, map[i].last), map[i].name);
    }
    assert_string_equal(bus_name_at(m->vm.mmio, GT64120_RESET_BASE), "gt-pci-mem0");
    assert_int_equal(get(m, PORT(ELCR + 1), 1), 0x0c); /* 10 and 11 are levels */
}

static void monitor_leaves_a_machine(void **state)
{
    struct machine *m = new_machine();
    check_start(m);
    assert_int_equal(phys_page(m->vm.mem, gpa_page(0x0ffff000)).kind, PHYS_RAM);
    assert_int_equal(phys_page(m->vm.mem, gpa_page(0x10000000)).kind, PHYS_NONE);
    assert_int_equal(phys_page(m->vm.mem, gpa_page(MALTA_HIGH_BASE)).kind, PHYS_RAM);
    assert_int_equal(phys_page(m->vm.mem, gpa_page(MALTA_HIGH_BASE + 44 * MIB)).kind, PHYS_NONE);
    free_machine(m);
}

static void each_card_has_its_slot(void **state)
{
    static const struct {
        unsigned device, function;
        uint32_t id;
        bool many; /* functions in this slot */
    } slots[] = {{0, 0, 0x462011ab, false},  {10, 0, 0x71108086, true},  {10, 1, 0x71118086, false},
                 {10, 3, 0x71138086, false}, {11, 0, 0x20001022, false}, {18, 0, 0x10011af4, true},
                 {18, 1, 0x10011af4, false}, {20, 0, 0x10031af4, true},  {20, 1, 0x10051af4, false},
                 {20, 2, 0x10021af4, false}, {21, 0, 0x10001af4, true},  {21, 1, 0x20001022, false},
                 {21, 2, 0x100e8086, false}};
    struct machine *m = new_machine();
    unsigned found = 0;
    for (unsigned devfn = 0; devfn < 256; devfn++)
        found += config(m, devfn >> 3, devfn & 7, 0) != UINT32_MAX;
    assert_int_equal(found, ARRAY_LEN(slots));
    for (unsigned i = 0; i < ARRAY_LEN(slots); i++) {
        assert_int_equal(config(m, slots[i].device, slots[i].function, 0), slots[i].id);
        assert_int_equal(config(m, slots[i].device, slots[i].function, 0xc) >> 23 & 1,
                         slots[i].many);
    }
    free_machine(m);
}

/* Both controllers as Linux initializes them, with everything enabled. */
static void start_controllers(struct machine *m)
{
    static const uint16_t writes[][2] = {{0x20, 0x11}, {0x21, 0}, {0x21, 4}, {0x21, 1},
                                         {0xa0, 0x11}, {0xa1, 8}, {0xa1, 2}, {0xa1, 1},
                                         {0x21, 0},    {0xa1, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(writes); i++)
        put(m, PORT(writes[i][0]), 1, writes[i][1]);
}

static void end_of_interrupt(struct machine *m, unsigned n)
{
    if (n >= 8)
        put(m, PORT(0xa0), 1, 0x20);
    put(m, PORT(0x20), 1, 0x20);
}

/* A PCnet's registers, at ports; the pin of its slot goes up on demand. */
static void nic_csr(struct machine *m, unsigned n, unsigned value)
{
    put(m, PORT(NIC_IO + 0x12), 2, n);
    put(m, PORT(NIC_IO + 0x10), 2, value);
}

static void start_nic(struct machine *m)
{
    set_config(m, MALTA_SLOT_PCNET, 0, PCI_BAR0, 4, NIC_IO);
    set_config(m, MALTA_SLOT_PCNET, 0, PCI_COMMAND, 2, PCI_COMMAND_IO);
    nic_csr(m, 0, 0x40);
}

static void interrupts_reach_the_processor(void **state)
{
    struct machine *m = new_machine();
    start_controllers(m);
    put(m, PORT(0x3fc), 1, 8); /* OUT2 */
    put(m, PORT(0x3f9), 1, 2); /* transmitter empty */
    assert_int_equal(pins(m), IP(0));
    assert_int_equal(get(m, GT(GT_PCI0_IACK), 4), 4);
    put(m, PORT(0x3f9), 1, 0);
    end_of_interrupt(m, 4);
    assert_int_equal(pins(m), 0);
    put(m, MALTA_FPGA_UART + 8, 1, 2); /* the port on the CBUS: registers 8 bytes apart */
    assert_int_equal(pins(m), IP(2));
    put(m, MALTA_FPGA_UART + 8, 1, 0);
    assert_int_equal(pins(m), 0);
    put(m, GT(GT_INT_MASK), 4, GT_CAUSE_MASTER_0);
    config(m, 5, 0, 0);
    assert_int_equal(pins(m), IP(3));
    put(m, GT(GT_INT_CAUSE), 4, 0);
    assert_int_equal(pins(m), 0);
    free_machine(m);
}

static void pci_interrupts_are_routed_and_shared(void **state)
{
    struct machine *m = new_machine();
    start_controllers(m);
    start_nic(m);
    nic_csr(m, 4, 0x80); /* please interrupt */
    assert_int_equal(pins(m), IP(0));
    assert_int_equal(get(m, GT(GT_PCI0_IACK), 4), MALTA_PIRQ_AB);
    end_of_interrupt(m, MALTA_PIRQ_AB);
    assert_int_equal(pins(m), IP(0)); /* a level */
    nic_csr(m, 4, 0x40);
    assert_int_equal(pins(m), 0);

    /* Slot 11's pin A is PIRQB; with a serial port on one line, both hold it up. */
    set_config(m, MALTA_SLOT_PIIX4, 0, PIRQ_REG + 1, 1, 4);
    put(m, PORT(ELCR), 1, 1u << 4);
    nic_csr(m, 4, 0x80);
    assert_int_equal(get(m, GT(GT_PCI0_IACK), 4), 4);
    put(m, PORT(0x3fc), 1, 8);
    put(m, PORT(0x3f9), 1, 2);
    nic_csr(m, 4, 0x40);
    end_of_interrupt(m, 4);
    assert_int_equal(pins(m), IP(0));
    put(m, PORT(0x3f9), 1, 0);
    assert_int_equal(pins(m), 0);
    free_machine(m);
}

static void power_and_reset(void **state)
{
    struct machine *m = new_machine();
    uint32_t dirt = 0x12345678;
    struct err e;
    assert_string_equal(bus_name_at(m->vm.pio, MALTA_PM_BASE + 4), "acpi-pm1");
    set_config(m, MALTA_SLOT_PIIX4, 3, PM_BASE, 2, 0x3000);
    assert_null(bus_name_at(m->vm.pio, MALTA_PM_BASE + 4));
    put(m, PORT(0x3004), 2, 0x2000); /* SLP_EN, soft off */
    assert_true(m->vm.stopped);
    assert_int_equal(m->vm.exit_code, VM_EXIT_POWER_OFF);

    assert_false(m->vm.reset_wanted);
    put(m, MALTA_FPGA_BASE + MALTA_SOFT_RESET, 4, MALTA_GO_RESET);
    assert_true(m->vm.reset_wanted);
    put(m, GT(GT_PCI0_MEM0_LOW), 4, 0x100);
    put(m, GT(GT_INTERNAL_SPACE), 4, 0xa0);
    phys_write(m->vm.mem, 0x100000, &dirt, 4);
    phys_write(m->vm.mem, MALTA_HIGH_BASE, &dirt, 4);
    assert_int_equal(malta_board.reset(&m->vm, &e), 0);
    check_start(m);
    assert_string_equal(bus_name_at(m->vm.pio, MALTA_PM_BASE + 4), "acpi-pm1");
    phys_read(m->vm.mem, 0x100000, &dirt, 4);
    assert_int_equal(dirt, 0);
    phys_read(m->vm.mem, MALTA_HIGH_BASE, &dirt, 4);
    assert_int_equal(dirt, 0);
    free_machine(m);
}

static uint64_t next_random(uint64_t *seed) /* splitmix64 */
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Ports, registers of both kinds, configuration space and what it places, wherever they have got
 * to; a reset makes a whole machine of it again. */
static void random_accesses_are_survived(void **state)
{
    static const uint32_t places[][2] = {{MALTA_PCI_IO, 0x1000},     {MALTA_PCI_IO, 0x10000},
                                         {MALTA_PCI_MEM0, 0x10000},  {MALTA_GT_BASE, 0x1000},
                                         {MALTA_FPGA_BASE, 0x1000},  {GT64120_RESET_BASE, 0x1000},
                                         {MALTA_REVISION_AT, 0x10},  {MALTA_PCI_MEM1, 0x10000},
                                         {MALTA_GT_BASE + 0xcf8, 8}, {MALTA_GT_BASE + 0x40, 0x100}};
    struct machine *m = new_machine();
    uint64_t seed = 7, digest = 0;
    struct err e;
    for (unsigned i = 0; i < 300000; i++) {
        uint64_t x = next_random(&seed), value = next_random(&seed);
        const uint32_t *place = places[x % ARRAY_LEN(places)];
        unsigned size = 1u << (x >> 8) % 3;
        uint32_t address = place[0] + ((uint32_t)(x >> 16) % place[1] & ~(size - 1));
        if (x >> 60 == 0)
            set_config(m, (unsigned)value & 31, (unsigned)value >> 5 & 7,
                       (unsigned)value >> 8 & 0xfc, 4, (uint32_t)(value >> 32) & 0x1003ffff);
        else if (x >> 60 < 8)
            digest += get(m, address, size);
        else
            put(m, address, size, (uint32_t)(value >> (value & 31)));
        if (i % 100 == 99)
            clock_advance(m->vm.clock, value >> 40);
        if (i % 20000 == 19999) {
            assert_int_equal(malta_board.reset(&m->vm, &e), 0);
            check_start(m);
        }
    }
    assert_int_not_equal(digest, 0);
    free_machine(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monitor_leaves_a_machine),
        cmocka_unit_test(each_card_has_its_slot),
        cmocka_unit_test(interrupts_reach_the_processor),
        cmocka_unit_test(pci_interrupts_are_routed_and_shared),
        cmocka_unit_test(power_and_reset),
        cmocka_unit_test(random_accesses_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
