/* SPDX-License-Identifier: MIT */
/* host/probe.c: the facts that the test can arrange, and that measurements measure. */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/probe.h"

#define LOW_PAGE UINT64_C(0x200000) /* below programs that are linked to a fixed address */

static void measurements_are_taken(void **state)
{
    struct host_facts f;
    stack_t before, after;
    sigaltstack(NULL, &before);
    host_probe(&f);
    sigaltstack(NULL, &after);
    assert_ptr_equal(before.ss_sp, after.ss_sp);
    assert_int_equal(f.memfd_errno, 0);
    assert_in_range(f.syscall_ns, 1, 1000000);
    assert_in_range(f.page_fault_ns, 1, 10000000);
    /* Not compared with each other: on a busy machine each may have been interrupted. */
    assert_in_range(f.fault_ns, 1, 10000000);
    assert_in_range(f.map_page_ns, 1, 10000000);
    assert_in_range(f.map_read_ns, 1, 10000000);
    assert_in_range(f.overcommit, 0, 2);
}

static void reserves_are_given_back(void **state)
{
    struct host_facts f, again;
    host_probe(&f);
    host_probe(&again);
    assert_int_equal(f.window_errno, again.window_errno);
    assert_int_equal(f.low_errno, again.low_errno);
    assert_int_equal(f.low_taken, again.low_taken);
    assert_int_equal(f.low_errno == 0, f.low_taken == 0);
}

static void low_mapping_is_found(void **state)
{
    struct host_facts f;
    void *p = mmap((void *)LOW_PAGE, 4096, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED)
        skip();
    host_probe(&f);
    munmap(p, 4096);
    assert_int_equal(f.low_errno, EEXIST);
    assert_int_equal(f.low_taken, LOW_PAGE);
}

/* 0: as it should be under a limit of 2 GiB; else which check failed. */
static int check_limited(void)
{
    struct rlimit limit = {UINT64_C(1) << 31, UINT64_C(1) << 31};
    struct host_facts f;
    if (setrlimit(RLIMIT_AS, &limit) < 0)
        return 1;
    host_probe(&f);
    return f.address_space_limit != limit.rlim_cur ? 2
           : f.window_errno != ENOMEM              ? 3
           : f.low_errno == 0                      ? 4
           : f.fault_ns == 0                       ? 5
                                                   : 0;
}

static void address_space_limit_is_seen(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its shadow is beyond any limit */
#endif
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(check_limited());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct rlimit mine;
    struct host_facts f;
    host_probe(&f);
    assert_int_equal(getrlimit(RLIMIT_AS, &mine), 0);
    assert_true(f.address_space_limit ==
                (mine.rlim_cur == RLIM_INFINITY ? UINT64_MAX : mine.rlim_cur));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measurements_are_taken),
        cmocka_unit_test(reserves_are_given_back),
        cmocka_unit_test(low_mapping_is_found),
        cmocka_unit_test(address_space_limit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
