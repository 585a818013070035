/* SPDX-License-Identifier: MIT */
/* backend/net_reassemble.c: datagrams come back from fragments in any order; bad ones do not. */
#include "net_rig.h"

#include "backend/net_reassemble.h"

#define DATA 3000

static uint8_t content[DATA + 4000];

/* Bytes [at, at+len) of the datagram `id` as a fragment. */
static size_t fragment(uint8_t *f, unsigned id, size_t at, size_t len, bool more)
{
    memcpy(f + L4_AT, content + at % DATA, len);
    ethernet(f, 0x0800);
    uint8_t *ip = f + IP_AT;
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(20 + len));
    put16(ip + 4, id);
    put16(ip + 6, (unsigned)(at / 8) | (more ? 0x2000 : 0));
    ip[8] = 64;
    ip[9] = 17;
    put32(ip + 12, GUEST_IP);
    put32(ip + 16, HOST_IP);
    put16(ip + 10, fold16(sum16(ip, 20, 0)));
    return L4_AT + len;
}

static const uint8_t *give(struct reassembly *r, unsigned id, size_t at, size_t len, bool more,
                           size_t *whole)
{
    static uint8_t f[70000];
    size_t n = fragment(f, id, at, len, more);
    assert_int_equal(net_is_fragment(f, n), at || more);
    return net_reassemble(r, f, n, whole);
}

static void expect_whole(const uint8_t *f, size_t n)
{
    assert_non_null(f);
    assert_int_equal(n, L4_AT + DATA);
    assert_int_equal(get16(f + IP_AT + 2), 20 + DATA);
    assert_int_equal(get16(f + IP_AT + 6), 0);
    assert_int_equal(fold16(sum16(f + IP_AT, 20, 0)), 0);
    assert_memory_equal(f + L4_AT, content, DATA);
}

static void any_order(void **state)
{
    static const size_t at[4] = {0, 800, 1600, 2400};
    for (unsigned first = 0; first < 4; first++)
        for (unsigned step = 1; step < 4; step += 2) {
            struct reassembly r = {0};
            size_t n = 0;
            const uint8_t *f = NULL;
            for (unsigned i = 0; i < 4; i++) {
                assert_null(f);
                size_t a = at[(first + i * step) % 4];
                f = give(&r, 7, a, a == 2400 ? 600 : 800, a != 2400, &n);
            }
            expect_whole(f, n);
            assert_null(give(&r, 7, 0, 800, true, &n)); /* begins anew */
            net_reassembly_free(&r);
        }
}

static void datagrams_do_not_mix(void **state)
{
    struct reassembly r = {0};
    size_t n = 0;
    assert_null(give(&r, 1, 0, 1600, true, &n));
    assert_null(give(&r, 2, 1600, 1400, false, &n));
    const uint8_t *f = give(&r, 1, 1600, 1400, false, &n);
    expect_whole(f, n);
    f = give(&r, 2, 0, 1600, true, &n);
    expect_whole(f, n);
    assert_null(give(&r, 1, 0, 1600, true, &n));
    for (unsigned id = 10; id < 10 + REASSEMBLY_SLOTS; id++) /* push it out */
        assert_null(give(&r, id, 0, 1600, true, &n));
    assert_null(give(&r, 1, 1600, 1400, false, &n));
    net_reassembly_free(&r);
}

static void bad_fragments_drop_the_datagram(void **state)
{
    static const struct {
        size_t at, len;
        bool more;
    } bad[] = {
        {0, 8, true},         /* again */
        {1592, 8, true},      /* overlaps */
        {1600, 7, true},      /* ends off a block */
        {65528, 100, false},  /* beyond the largest */
        {1600, 64000, false}, /* the same */
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct reassembly r = {0};
        size_t n = 0;
        assert_null(give(&r, 1, 0, 1600, true, &n));
        static uint8_t f[70000];
        size_t len = fragment(f, 1, bad[i].at, bad[i].len > 2000 ? 2000 : bad[i].len, bad[i].more);
        if (bad[i].len > 2000) {
            len = L4_AT + bad[i].len;
            put16(f + IP_AT + 2, (unsigned)(20 + bad[i].len));
            put16(f + IP_AT + 10, 0);
            put16(f + IP_AT + 10, fold16(sum16(f + IP_AT, 20, 0)));
        }
        assert_null(net_reassemble(&r, f, len, &n));
        net_reassembly_free(&r);
    }
    struct reassembly r = {0};
    size_t n = 0;
    assert_null(give(&r, 1, 1600, 1400, false, &n));
    assert_null(give(&r, 1, 3000 / 8 * 8 + 8, 8, true, &n)); /* behind the last: dropped */
    assert_null(give(&r, 1, 0, 1600, true, &n));
    net_reassembly_free(&r);
}

static void random_fragments(void **state)
{
    struct reassembly r = {0};
    static uint8_t f[3000];
    uint64_t seed = 1;
    unsigned complete = 0;
    for (unsigned i = 0; i < 200000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t x = seed >> 20;
        size_t len = 8 * (x % 8), n = 0, whole = 0;
        n = fragment(f, (unsigned)(x >> 8 & 3), 8 * (x >> 12 & 7), len, x >> 16 & 3);
        if ((x >> 20 & 63) == 0)
            f[IP_AT + (x >> 26) % 20] ^= (uint8_t)(x >> 31);
        if (net_is_fragment(f, n) && net_reassemble(&r, f, n, &whole)) {
            assert_in_range(whole, IP_AT + 20, 65549);
            complete++;
        }
    }
    assert_true(complete > 100);
    net_reassembly_free(&r);
}

int main(void)
{
    for (unsigned i = 0; i < DATA; i++)
        content[i] = (uint8_t)(i * 31 + (i >> 8));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order),
        cmocka_unit_test(datagrams_do_not_mix),
        cmocka_unit_test(bad_fragments_drop_the_datagram),
        cmocka_unit_test(random_fragments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
