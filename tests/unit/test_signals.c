/* SPDX-License-Identifier: MIT */
/* host/signals.c: signals of people as bytes on a pipe, and nobody woken by anything else. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host/fault.h"
#include "host/signals.h"
#include "ring3/types.h"

#define LIMIT_MS 20000 /* until a wait is called a hang */
#define FAULTS   1000
#define FEW      20 /* wake-ups of a thread that has other reasons: its start, its end */

static void start(struct signal_reader *r)
{
    sigset_t set;
    struct err e;
    *r = (struct signal_reader)SIGNAL_READER_INIT;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    assert_int_equal(signal_reader_start(r, &set, &e), 0);
}

/* A pending signal absorbs another one of its kind, and SIGCONT a SIGTSTP, so wait for each. */
static void send_and_wait(const struct signal_reader *r, int number)
{
    int before = 0, now = 0;
    assert_int_equal(ioctl(r->fd, FIONREAD, &before), 0);
    assert_int_equal(kill(getpid(), number), 0);
    for (int ms = 0; now <= before && ms < LIMIT_MS; ms++) {
        assert_int_equal(ioctl(r->fd, FIONREAD, &now), 0);
        if (now <= before)
            usleep(1000);
    }
    assert_int_equal(now, before + 1);
}

static bool readable(const struct signal_reader *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void signals_arrive_in_order(void **state)
{
    static const int sent[] = {SIGTERM, SIGTSTP, SIGCONT};
    struct signal_reader r;
    start(&r);
    assert_false(readable(&r));
    assert_int_equal(signal_reader_take(&r), 0);
    for (unsigned i = 0; i < ARRAY_LEN(sent); i++)
        send_and_wait(&r, sent[i]);
    for (unsigned i = 0; i < ARRAY_LEN(sent); i++) {
        assert_true(readable(&r));
        assert_int_equal(signal_reader_take(&r), sent[i]);
    }
    assert_false(readable(&r));
    assert_int_equal(signal_reader_take(&r), 0);
    signal_reader_stop(&r);
}

static void nothing_is_lost_while_nobody_reads(void **state)
{
    struct signal_reader r;
    unsigned n = 300;
    start(&r);
    for (unsigned i = 0; i < n; i++)
        send_and_wait(&r, i % 3 == 0 ? SIGTERM : i % 3 == 1 ? SIGTSTP : SIGCONT);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(signal_reader_take(&r), i % 3 == 0   ? SIGTERM
                                                 : i % 3 == 1 ? SIGTSTP
                                                              : SIGCONT);
    assert_int_equal(signal_reader_take(&r), 0);
    signal_reader_stop(&r);
}

/* ---- start and stop ---------------------------------------------------------------------------
 */

static unsigned threads(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Address space in KiB: a thread that nobody joins keeps its stack. */
static long address_space(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &pages), 1);
    fclose(f);
    return pages * 4;
}

static void stop_ends_the_thread_and_closes_the_pipe(void **state)
{
    long first = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct signal_reader r;
        if (i == 10)
            first = address_space();
        unsigned before = threads();
        start(&r);
        int fds[] = {r.fd, r.write_fd};
        assert_int_equal(threads(), before + 1);
        if (i % 2)
            send_and_wait(&r, SIGTERM); /* unread at the end */
        signal_reader_stop(&r);
        /* Joined; the kernel may need a moment more to take it off the list. */
        for (int ms = 0; threads() > before && ms < LIMIT_MS; ms++)
            usleep(1000);
        assert_int_equal(threads(), before);
        for (unsigned j = 0; j < ARRAY_LEN(fds); j++) {
            assert_int_equal(fcntl(fds[j], F_GETFD), -1);
            assert_int_equal(errno, EBADF);
        }
        assert_int_equal(r.fd, -1);
        signal_reader_stop(&r); /* twice is as good as once */
    }
    assert_in_range(address_space(), 0, first + 64 * 1024);
}

static void start_may_fail(void **state)
{
    struct signal_reader r = SIGNAL_READER_INIT;
    struct rlimit before, none;
    struct err e;
    sigset_t set;
    signal_reader_stop(&r); /* never started */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int result = signal_reader_start(&r, &set, &e);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(result, -EMFILE);
    assert_string_equal(e.id, "signals");
    signal_reader_stop(&r);
    assert_int_equal(r.fd, -1);
}

/* ---- host faults ------------------------------------------------------------------------------
 */

struct poller {
    struct signal_reader r;
    _Atomic pid_t tid;
    int taken;
};

static void *poll_for_signals(void *opaque)
{
    struct poller *p = opaque;
    struct epoll_event event = {.events = EPOLLIN};
    int fd = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(fd, EPOLL_CTL_ADD, p->r.fd, &event);
    atomic_store(&p->tid, gettid());
    while (epoll_wait(fd, &event, 1, LIMIT_MS) < 0 && errno == EINTR)
        ;
    p->taken = signal_reader_take(&p->r);
    close(fd);
    return NULL;
}

/* How often the thread has gone to sleep. */
static long sleeps(pid_t tid)
{
    char path[64], line[128];
    long n = -1;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)tid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        sscanf(line, "voluntary_ctxt_switches: %ld", &n);
    fclose(f);
    assert_true(n >= 0);
    return n;
}

struct skipper {
    uint64_t to;
    int count;
};

static bool jump_over(void *opaque, const struct host_fault *f)
{
    struct skipper *s = opaque;
    s->count++;
    f->uc->uc_mcontext.gregs[REG_RIP] = (greg_t)s->to;
    return f->sig == SIGSEGV;
}

static void host_faults_wake_nobody(void **state)
{
    struct poller p = {.taken = -1};
    struct skipper s = {0};
    struct err e;
    pthread_t thread;
    uint8_t *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    start(&p.r);
    assert_int_equal(pthread_create(&thread, NULL, poll_for_signals, &p), 0);
    while (!atomic_load(&p.tid))
        usleep(1000);
    usleep(20000); /* into epoll_wait */
    assert_int_equal(host_fault_enter(jump_over, &s, &e), 0);
    long before = sleeps(p.tid);
    for (int i = 0; i < FAULTS; i++) {
        __asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, %0\n\tmovb $0, (%1)\n1:"
                         : "=m"(s.to)
                         : "r"(page)
                         : "rax", "memory");
        if (i % 100 == 0)
            usleep(1000); /* a poller that has been woken runs now */
    }
    long after = sleeps(p.tid);
    host_fault_leave();
    assert_int_equal(s.count, FAULTS);
    assert_in_range(after - before, 0, FEW);
    assert_int_equal(kill(getpid(), SIGTERM), 0); /* it was awake to what matters */
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(p.taken, SIGTERM);
    signal_reader_stop(&p.r);
    munmap(page, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_arrive_in_order),
        cmocka_unit_test(nothing_is_lost_while_nobody_reads),
        cmocka_unit_test(stop_ends_the_thread_and_closes_the_pipe),
        cmocka_unit_test(start_may_fail),
        cmocka_unit_test(host_faults_wake_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
