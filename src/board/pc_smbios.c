/* SPDX-License-Identifier: MIT */
/* What the machine is called: strings that SeaBIOS puts into its SMBIOS tables in place of its own.
 * They come in fw_cfg item 0x8001, little-endian:
 *
 *   count 16, then for each:  length of all of it 16   kind 8 (0: a field)
 *                             table type 8   offset of the field in the table 16   string with NUL
 */
#include <string.h>

#include "board/pc_firmware.h"
#include "ring3/devices/fw_cfg.h"

#define SMBIOS_ITEM (FW_CFG_LOCAL + 1)
#define HEAD_BYTES  6u
#define VERSION     "1"

static const struct {
    uint8_t table, offset;
    const char *text;
} fields[] = {
    {0, 4, "SeaBIOS"},                   /* BIOS: vendor, version */
    {0, 5, "unknown"},  {1, 4, "ring3"}, /* system: manufacturer, product, version */
    {1, 5, "ring3 pc"}, {1, 6, VERSION}, {3, 4, "ring3"}, /* chassis: manufacturer, version */
    {3, 6, VERSION},    {4, 7, "ring3"},                  /* processor: manufacturer */
};

int pc_smbios_tell(struct pc *pc, struct err *e)
{
    uint8_t bytes[256] = {ARRAY_LEN(fields), 0}, *p = bytes + 2;

    for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
        size_t n = strlen(fields[i].text) + 1;
        if (p + HEAD_BYTES + n > bytes + sizeof bytes)
            BUG("SMBIOS strings have no room");
        p[0] = (uint8_t)(HEAD_BYTES + n);
        p[3] = fields[i].table;
        p[4] = fields[i].offset;
        memcpy(p + HEAD_BYTES, fields[i].text, n);
        p += HEAD_BYTES + n;
    }
    return fw_cfg_add(pc->fw_cfg, SMBIOS_ITEM, bytes, (size_t)(p - bytes), e);
}
