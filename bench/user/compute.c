/* SPDX-License-Identifier: MIT */
/* Programs that compute: integer loops, tables, branches, recursion, calls through pointers. None
 * makes a system call once its memory is touched. */
#include "sys.h"

/* ---- sieve of Eratosthenes: byte stores at strides, over 1 MiB ------------------------------ */

enum { SIEVE_BYTES = 1 << 20 };

uint32_t run_sieve(uint32_t count)
{
    static uint8_t composite[SIEVE_BYTES];
    uint32_t primes = 0;
    while (count--) {
        for (uint32_t i = 0; i < SIEVE_BYTES; i++)
            composite[i] = 0;
        primes = 0;
        for (uint32_t i = 2; i < SIEVE_BYTES; i++) {
            if (composite[i])
                continue;
            primes++;
            for (uint32_t j = i + i; j < SIEVE_BYTES; j += i)
                composite[j] = 1;
        }
    }
    return primes;
}

/* ---- CRC-32: a dependent table look-up per byte, over 256 KiB ------------------------------- */

enum { CRC_BYTES = 256 << 10 };

uint32_t crc32(uint32_t crc, const uint8_t *p, size_t bytes)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t r = i;
            for (int bit = 0; bit < 8; bit++)
                r = r >> 1 ^ (r & 1 ? 0xedb88320u : 0);
            table[i] = r;
        }
    crc = ~crc;
    while (bytes--)
        crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
    return ~crc;
}

uint32_t run_crc32(uint32_t count)
{
    static uint8_t data[CRC_BYTES];
    uint32_t seed = 1, crc = 0;
    for (uint32_t i = 0; i < CRC_BYTES; i++)
        data[i] = (uint8_t)(next_random(&seed) >> 24);
    while (count--)
        crc = crc32(0, data, CRC_BYTES);
    return crc;
}

/* ---- quicksort: unpredictable branches, swaps, recursion, over 64 K words ------------------- */

enum { SORT_WORDS = 64 << 10 };

static void quicksort(uint32_t *low, uint32_t *high)
{
    while (low < high) {
        uint32_t *i = low, *j = high, pivot = low[(high - low) / 2];
        while (i <= j) {
            while (*i < pivot)
                i++;
            while (*j > pivot)
                j--;
            if (i <= j) {
                uint32_t t = *i;
                *i++ = *j;
                *j-- = t;
            }
        }
        quicksort(low, j);
        low = i;
    }
}

uint32_t run_quicksort(uint32_t count)
{
    static uint32_t words[SORT_WORDS];
    uint32_t sum = 0;
    while (count--) {
        uint32_t seed = 1;
        for (uint32_t i = 0; i < SORT_WORDS; i++)
            words[i] = next_random(&seed);
        quicksort(words, words + SORT_WORDS - 1);
        sum = 0;
        for (uint32_t i = 0; i < SORT_WORDS; i++)
            sum = sum * 31 + words[i];
    }
    return sum;
}

/* ---- Fibonacci: calls and returns ----------------------------------------------------------- */

static __attribute__((noipa)) uint32_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

uint32_t run_fib(uint32_t count)
{
    uint32_t sum = 0;
    while (count--)
        sum = fib(24);
    return sum;
}

/* ---- calls through pointers: a byte-code machine, a handler per operation ------------------- */

struct machine {
    uint32_t a, b;
};

static void op_add(struct machine *m)
{
    m->a += m->b;
}
static void op_sub(struct machine *m)
{
    m->b -= m->a;
}
static void op_xor(struct machine *m)
{
    m->a ^= m->b;
}
static void op_mul(struct machine *m)
{
    m->b = m->b * 5 + 1;
}
static void op_rotate(struct machine *m)
{
    m->a = m->a << 7 | m->a >> 25;
}
static void op_swap(struct machine *m)
{
    uint32_t t = m->a;
    m->a = m->b;
    m->b = t;
}
static void op_not(struct machine *m)
{
    m->a = ~m->a;
}
static void op_inc(struct machine *m)
{
    m->b++;
}

uint32_t run_indirect(uint32_t count)
{
    enum { LENGTH = 61, REPEATS = 1000 };
    static void (*const operations[8])(struct machine *) = {op_add,    op_sub,  op_xor, op_mul,
                                                            op_rotate, op_swap, op_not, op_inc};
    static uint8_t code[LENGTH];
    struct machine m = {0};
    uint32_t seed = 1;
    for (int i = 0; i < LENGTH; i++)
        code[i] = (uint8_t)(next_random(&seed) >> 29);
    while (count--) {
        m = (struct machine){1, 2};
        for (int r = 0; r < REPEATS; r++)
            for (int i = 0; i < LENGTH; i++)
                operations[code[i]](&m);
    }
    return m.a ^ m.b;
}
