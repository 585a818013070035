/* SPDX-License-Identifier: MIT */
/* Disks by NBD, against qemu-nbd. */
#include "block_rig.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define BYTES (8 * MIB)

static bool have_qemu;

/* A server of disk.qcow2 on the socket "nbd" of the test's directory. It ends with the test. */
static pid_t start_server(const char *option)
{
    char file[128], socket[128];
    snprintf(socket, sizeof socket, "%s", rig_path("nbd"));
    snprintf(file, sizeof file, "%s", rig_path("disk.qcow2"));
    unlink(socket);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("qemu-nbd", "qemu-nbd", "-t", "-f", "qcow2", "-k", socket, option, file, NULL);
        _exit(127);
    }
    for (int i = 0; i < 10000 && access(socket, F_OK) < 0; i++)
        usleep(1000);
    return child;
}

static void stop_server(pid_t child, int sig)
{
    kill(child, sig);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static struct block *try_open(bool read_only, struct err *e)
{
    static char uri[160];
    snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", rig_path("nbd"));
    struct block_config c = {.file = uri, .read_only = read_only};
    struct block *b = NULL;
    for (int i = 0; !b && i < 5000; i++) { /* the socket is there before the server listens */
        b = block_open(&c, e);
        if (b || strcmp(e->id, "nbd-failed") != 0 || access(rig_path("nbd"), F_OK) < 0)
            break;
        usleep(1000);
    }
    return b;
}

static struct block *must_open(bool read_only)
{
    struct err e = {0};
    struct block *b = try_open(read_only, &e);
    if (!b)
        fail_msg("%s: %s", e.id, e.text);
    return b;
}

static int make_disk(void)
{
    char command[256];
    snprintf(command, sizeof command,
             "qemu-img create -q -f qcow2 %s/disk.qcow2 8M >/dev/null 2>&1", rig_dir);
    return system(command);
}

static void random_requests_match_a_copy(void **state)
{
    if (!have_qemu)
        skip();
    assert_int_equal(make_disk(), 0);
    pid_t server = start_server("--discard=unmap");
    struct block *b = must_open(false);
    struct rig_shadow s;
    assert_int_equal(b->info.bytes, BYTES);
    assert_string_equal(b->info.format, "nbd");
    rig_shadow_open(&s, b, NULL, 3, 3 * MIB);
    rig_shadow_run(&s, 600);
    rig_shadow_compare(&s);
    assert_int_equal(rig_io(b, BLOCK_DISCARD, 0, NULL, BYTES), 0);
    assert_int_equal(rig_io(b, BLOCK_WRITE, 0, s.copy, BYTES), 0);
    block_free(b);
    b = must_open(true); /* the server has let go of the first connection */
    assert_true(b->info.read_only);
    s.b = b;
    rig_shadow_compare(&s);
    block_free(b);
    rig_shadow_close(&s);
    stop_server(server, SIGTERM);
}

static void server_that_goes_away_gives_errors(void **state)
{
    if (!have_qemu)
        skip();
    uint8_t buf[4096];
    assert_int_equal(make_disk(), 0);
    pid_t server = start_server("--cache=writeback");
    struct block *b = must_open(false);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, sizeof buf), 0);
    stop_server(server, SIGKILL);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, sizeof buf), -EIO);
    assert_int_equal(rig_io(b, BLOCK_FLUSH, 0, NULL, 0), -EIO);
    block_free(b);
    struct err e = {0};
    unlink(rig_path("nbd"));
    assert_null(try_open(false, &e));
    assert_string_equal(e.id, "nbd-failed");
}

static void read_only_exports_say_so(void **state)
{
    if (!have_qemu)
        skip();
    assert_int_equal(make_disk(), 0);
    pid_t server = start_server("--read-only");
    struct err e = {0};
    assert_null(try_open(false, &e));
    assert_string_equal(e.id, "disk-read-only");
    struct block *b = must_open(true);
    block_free(b);
    stop_server(server, SIGTERM);
}

int main(void)
{
    have_qemu = system("qemu-nbd --version >/dev/null 2>&1") == 0;
    if (!have_qemu)
        fprintf(stderr, "qemu-nbd (package qemu-utils) is missing: these tests are skipped\n");
    struct err e = {0};
    struct block_config c = {.file = "nbd+unix:///?socket=/nonexistent"};
    if (!block_open(&c, &e) && !strcmp(e.id, "no-libnbd")) {
        fprintf(stderr, "libnbd (package libnbd0) is missing: these tests are skipped\n");
        have_qemu = false;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests_match_a_copy),
        cmocka_unit_test(server_that_goes_away_gives_errors),
        cmocka_unit_test(read_only_exports_say_so),
    };
    return cmocka_run_group_tests(tests, rig_enter, rig_leave);
}
