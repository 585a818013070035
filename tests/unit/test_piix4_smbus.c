/* SPDX-License-Identifier: MIT */
/* SMBus controller of the PIIX4, as Linux's i2c-piix4 drives it. */
#include "dev_rig.h"

#include "ring3/devices/piix4_smbus.h"

enum { STATUS = 0x700, CONTROL = 0x702, COMMAND, ADDRESS, DATA0, DATA1, BLOCK };

static struct device *make(struct rig *r)
{
    return piix4_smbus_new(&r->host, NULL);
}

/* A probe for a memory module at 0x50: "no such device" from the first look on. */
static void nobody_answers(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_int_equal(in8(r, STATUS), 0);
    out8(r, ADDRESS, 0x50 << 1 | 1);
    out8(r, COMMAND, 2);
    assert_int_equal(in8(r, ADDRESS), 0xa1);
    out8(r, CONTROL, 0x48); /* byte data, start */
    assert_int_equal(in8(r, CONTROL), 0x08);
    assert_int_equal(in8(r, STATUS), 0x04); /* not busy; device error */
    out8(r, STATUS, 0x02);
    assert_int_equal(in8(r, STATUS), 0x04);
    out8(r, STATUS, 0xff);
    assert_int_equal(in8(r, STATUS), 0);
    out8(r, CONTROL, 0x08); /* no start */
    assert_int_equal(in8(r, STATUS), 0);
    r->d->ops->reset(r->d);
    assert_int_equal(in8(r, ADDRESS), 0);
    rig_free(r);
}

static void block_data_goes_round(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    in8(r, CONTROL);
    for (unsigned i = 0; i < 32; i++)
        out8(r, BLOCK, 100 + i);
    in8(r, CONTROL); /* from the start again */
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(in8(r, BLOCK), 100 + i % 32);
    rig_free(r);
}

static void survive_anything(void **state)
{
    static const uint16_t ports[] = {0x700, 0x701, 0x702, 0x703, 0x704, 0x705,
                                     0x706, 0x707, 0x708, 0x70c, 0x70f};
    rig_fuzz(&(struct rig_fuzz){make, ports, ARRAY_LEN(ports), 1000, NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(block_data_goes_round),
        cmocka_unit_test(survive_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
