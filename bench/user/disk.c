/* SPDX-License-Identifier: MIT */
/* Reads and writes of a disk past the guest's page cache (O_DIRECT), one at a time: what counts is
 * the way of a request to the disk and back. The disk is /dev/vda, or /dev/sda where there is none,
 * and holds DISK_BYTES of the same words everywhere (bench/disk.py makes them), so sums compare; as
 * much lies behind them to be written. */
#include "sys.h"

enum { DISK_BYTES = 256 << 20, LARGE = 1 << 20, SMALL = 4096 };

static long open_disk(int how)
{
    long fd = sys3(SYS_OPEN, "/dev/vda", how | O_DIRECT, 0);
    if (fd < 0)
        fd = sys3(SYS_OPEN, "/dev/sda", how | O_DIRECT, 0);
    if (fd < 0)
        fail("cannot open the disk");
    return fd;
}

/* `count` transfers of `bytes` at what place() says; the sum is over the first words of one run
 * through the same sequence, so it does not depend on count. */
static uint32_t transfers(uint32_t count, uint32_t bytes, int random, int write)
{
    uint32_t *buffer = map_pages(bytes), seed = 1, first = 0;
    long fd = open_disk(write ? O_RDWR : O_RDONLY);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slots = DISK_BYTES / bytes;
        uint32_t at = (random ? (next_random(&seed) >> 8) % slots : i % slots) * bytes;
        if (write)
            at += DISK_BYTES;
        long n = sys_at(write ? SYS_PWRITE64 : SYS_PREAD64, fd, buffer, bytes, at);
        if (n != (long)bytes)
            fail("a transfer failed");
        if (i == 0)
            first = buffer[0] ^ buffer[bytes / 4 - 1];
    }
    sys1(SYS_CLOSE, fd);
    sys2(SYS_MUNMAP, buffer, bytes);
    return write ? 0 : first;
}

uint32_t run_disk_sequential(uint32_t count)
{
    return transfers(count, LARGE, 0, 0);
}
uint32_t run_disk_random(uint32_t count)
{
    return transfers(count, SMALL, 1, 0);
}
/* Sequential like the first, in small pieces. */
uint32_t run_disk_small(uint32_t count)
{
    return transfers(count, SMALL, 0, 0);
}
uint32_t run_disk_write(uint32_t count)
{
    return transfers(count, LARGE, 0, 1);
}
uint32_t run_disk_random_write(uint32_t count)
{
    return transfers(count, SMALL, 1, 1);
}
