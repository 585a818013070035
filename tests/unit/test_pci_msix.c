/* SPDX-License-Identifier: MIT */
/* MSI-X, seen through the virtio entropy device. */
#include "virtio_rig.h"

#include "ring3/devices/virtio_rng.h"

#define DATA  0x300000u
#define TABLE 0xc00u
#define NONE  0xffffu

static struct {
    uint64_t address;
    uint32_t data;
    unsigned count;
} sent;

static void take(void *opaque, uint64_t address, uint32_t data)
{
    sent.address = address;
    sent.data = data;
    sent.count++;
}

static struct vr *new_device(bool modern, bool legacy)
{
    struct device *pci;
    struct rig *r = vr_rig(&pci);
    sent.count = 0;
    pci_set_messages(pci_host_of(pci), take, NULL);
    struct vr *d = vr_new(r, pci, virtio_rng_new(&r->host, "rng", NULL), modern, legacy);
    vr_cfg_write(d, PCI_BAR0 + 4, 4, VR_MEMORY);
    return d;
}

static unsigned capability(struct vr *d)
{
    unsigned at = vr_cfg_read(d, PCI_CAPABILITIES, 1);
    while (at && vr_cfg_read(d, at, 1) != 0x11)
        at = vr_cfg_read(d, at + 1, 1);
    assert_int_not_equal(at, 0);
    return at;
}

static void entry(struct vr *d, unsigned n, uint32_t address, uint32_t data, unsigned masked)
{
    uint32_t at = VR_MEMORY + TABLE + 16 * n;
    mem_write(d, at, 4, address);
    mem_write(d, at + 4, 4, 0);
    mem_write(d, at + 8, 4, data);
    mem_write(d, at + 12, 4, masked);
}

/* One request. */
static void use(struct vr *d)
{
    const struct vr_buffer v = {DATA, 16, true};
    uint32_t id, len;
    vr_offer(d, 0, 0, &v, 1);
    vr_kick(d, 0);
    assert_true(gq_used(&d->q[0], &id, &len));
}

static void capability_and_table(void **state)
{
    struct vr *d = new_device(true, true);
    unsigned at = capability(d);
    assert_int_equal(vr_cfg_read(d, at + 2, 2), VIRTIO_QUEUES);
    assert_int_equal(vr_cfg_read(d, at + 4, 4), TABLE | 1);
    assert_int_equal(vr_cfg_read(d, at + 8, 4), 0xe00 | 1);
    for (unsigned i = 0; i <= VIRTIO_QUEUES; i++)
        assert_int_equal(mem_read(d, VR_MEMORY + TABLE + 16 * i + 12, 4), 1);
    entry(d, 3, 0xfee01004, 0x1234, 0xffffffff);
    assert_int_equal(mem_read(d, VR_MEMORY + TABLE + 48, 4), 0xfee01004);
    assert_int_equal(mem_read(d, VR_MEMORY + TABLE + 56, 4), 0x1234);
    assert_int_equal(mem_read(d, VR_MEMORY + TABLE + 60, 4), 1);
    mem_write(d, VR_MEMORY + TABLE + 16 * 9, 4, 7); /* behind the table */
    assert_int_equal(mem_read(d, VR_MEMORY + TABLE + 16 * 9, 4), 0);
    d->transport->ops->reset(d->transport);
    d->v->dev.ops->reset(&d->v->dev);
    vr_free(d);
}

static void messages_replace_the_pin(void **state)
{
    struct vr *d = new_device(true, true);
    unsigned at = capability(d);
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    use(d); /* not enabled: the pin */
    assert_int_equal(sent.count, 0);
    assert_int_equal(d->r->level[0], 1);
    vr_isr(d);
    vr_cfg_write(d, at + 2, 2, 0x8000);
    mem_write(d, d->common + 22, 2, 0);
    assert_int_equal(mem_read(d, d->common + 26, 2), NONE);
    use(d); /* no vector: nothing at all */
    assert_int_equal(sent.count, 0);
    assert_int_equal(d->r->level[0], 0);
    mem_write(d, d->common + 26, 2, 9); /* there is no such vector */
    assert_int_equal(mem_read(d, d->common + 26, 2), NONE);
    mem_write(d, d->common + 26, 2, 2);
    assert_int_equal(mem_read(d, d->common + 26, 2), 2);
    entry(d, 2, 0xfee00000, 0x41, 0);
    use(d);
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.address, 0xfee00000);
    assert_int_equal(sent.data, 0x41);
    assert_int_equal(d->r->level[0], 0);
    assert_int_equal(vr_isr(d), 0);
    vr_set_status(d, 0);
    assert_int_equal(mem_read(d, d->common + 26, 2), NONE);
    vr_free(d);
}

static void masked_messages_are_pending(void **state)
{
    struct vr *d = new_device(true, true);
    unsigned at = capability(d);
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    vr_cfg_write(d, at + 2, 2, 0x8000);
    mem_write(d, d->common + 26, 2, 1);
    entry(d, 1, 0xfee00000, 0x55, 1);
    use(d);
    use(d);
    assert_int_equal(sent.count, 0);
    assert_int_equal(mem_read(d, VR_MEMORY + 0xe00, 4), 1 << 1);
    mem_write(d, VR_MEMORY + TABLE + 16 + 12, 4, 0);
    assert_int_equal(sent.count, 1); /* two became one */
    assert_int_equal(mem_read(d, VR_MEMORY + 0xe00, 4), 0);
    vr_cfg_write(d, at + 2, 2, 0xc000); /* all masked */
    use(d);
    assert_int_equal(sent.count, 1);
    vr_cfg_write(d, at + 2, 2, 0x8000);
    assert_int_equal(sent.count, 2);
    vr_free(d);
}

/* 4.1.4.10: two more registers while MSI-X is enabled, device configuration behind them. */
static void legacy_registers_make_room(void **state)
{
    struct vr *d = new_device(false, true);
    unsigned at = capability(d);
    assert_int_equal(port_read(d, 20, 2), 0); /* configuration, of which there is none */
    vr_cfg_write(d, at + 2, 2, 0x8000);
    assert_int_equal(port_read(d, 20, 2), NONE);
    port_write(d, 20, 2, 0);
    assert_int_equal(port_read(d, 20, 2), 0);
    port_write(d, 14, 2, 0);
    port_write(d, 22, 2, 1);
    assert_int_equal(port_read(d, 22, 2), 1);
    entry(d, 1, 0xfee00000, 0x61, 0);
    vr_queue(d, 0);
    vr_ok(d);
    use(d);
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.data, 0x61);
    vr_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capability_and_table),
        cmocka_unit_test(messages_replace_the_pin),
        cmocka_unit_test(masked_messages_are_pending),
        cmocka_unit_test(legacy_registers_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
