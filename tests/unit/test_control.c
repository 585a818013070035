/* SPDX-License-Identifier: MIT */
/* The control socket: a machine that sleeps in a thread, clients that behave and that do not. */
#include "snapshot_rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/control.h"

struct fixture {
    struct machine_files files;
    struct vm vm;
    struct control *control;
    pthread_t thread;
    char folder[64], path[80];
    int code;
};

static void *run_machine(void *opaque)
{
    struct fixture *f = opaque;
    f->code = vm_run(&f->vm);
    return NULL;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    assert_non_null(f);
    machine_files_make(&f->files);
    strcpy(f->folder, "/tmp/ring3-test-control.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/c", f->folder);
    struct vm_config c = machine_config(&f->files);
    c.clock = CLOCK_REAL_TIME;
    machine_build(&f->vm, &c);
    f->vm.vcpu->halted = ATTN_NMI;
    f->control = control_listen(f->path, &f->vm, &e);
    assert_non_null(f->control);
    alarm(60);
    assert_int_equal(pthread_create(&f->thread, NULL, run_machine, f), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    vm_stop(&f->vm, 0, "test-over", "%s", "");
    pthread_join(f->thread, NULL);
    alarm(0);
    control_free(f->control);
    assert_int_equal(stat(f->path, &st), -1);
    vm_free(&f->vm);
    rmdir(f->folder);
    machine_files_remove(&f->files);
    free(f);
    return 0;
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line as an object; NULL at the end. */
static json_t *hear(int fd)
{
    static char line[1 << 20];
    size_t n = 0;
    while (n < sizeof line && recv(fd, line + n, 1, 0) == 1 && line[n] != '\n')
        n++;
    return n ? json_loadb(line, n, 0, NULL) : NULL;
}

static bool good(json_t *a)
{
    return json_is_true(json_object_get(a, "ok"));
}

/* One request whose answer is "ok", or an error of this id. */
static void expect_answer(int fd, const char *request, const char *error)
{
    say(fd, request);
    json_t *a = hear(fd);
    assert_non_null(a);
    const char *id = json_string_value(json_object_get(json_object_get(a, "error"), "id"));
    if (error && (!id || strcmp(id, error)))
        fail_msg("%s: the error is %s, expected %s", request, id ? id : "none", error);
    if (!error && !good(a))
        fail_msg("%s: failed with %s", request, id ? id : "?");
    json_decref(a);
}

static void commands_are_answered(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f->path);
    expect_answer(fd, "{\"command\":\"status\"}\n", NULL);
    expect_answer(fd, "{\"command\":\"help\"}\n", NULL);
    expect_answer(fd, "{\"command\":\"pause\"}\n{\"command\":", NULL);
    assert_true(vm_is_paused(&f->vm));
    expect_answer(fd, "\"resume\"}\n", NULL); /* lines may come in pieces */
    assert_false(vm_is_paused(&f->vm));
    expect_answer(fd, "{\"command\":\"resume\"}\n", NULL);
    expect_answer(fd, "{\"command\":\"power-button\"}\n", NULL);
    expect_answer(fd, "{\"command\":\"stats\"}\n", NULL);
    say(fd, "{\"command\":\"status\",\"id\":[1,{\"x\":null}]}\n");
    json_t *a = hear(fd);
    assert_string_equal(json_string_value(json_object_get(json_object_get(a, "result"), "status")),
                        "running");
    assert_int_equal(json_array_size(json_object_get(a, "id")), 2);
    json_decref(a);
    close(fd);
}

static void mistakes_are_named(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f->path);
    expect_answer(fd, "\n", "bad-request");
    expect_answer(fd, "pause\n", "bad-request");
    expect_answer(fd, "[\"pause\"]\n", "bad-request");
    expect_answer(fd, "{}\n", "bad-request");
    expect_answer(fd, "{\"command\":7}\n", "bad-request");
    expect_answer(fd, "{\"command\":\"pause\",\"args\":\"x\"}\n", "bad-request");
    expect_answer(fd, "{\"command\":\"pause\",\"args\":[1]}\n", "bad-request");
    expect_answer(fd, "{\"command\":\"pause\",\"command\":\"x\"}\n", "bad-request");
    expect_answer(fd, "{\"command\":\"paus\"}\n", "unknown-command");
    expect_answer(fd, "{\"command\":\"pause\",\"args\":[\"x\"]}\n", "bad-arguments");
    expect_answer(fd, "{\"command\":\"snapshot\"}\n", "bad-arguments");
    expect_answer(fd, "{\"command\":\"snapshot\",\"args\":[\"/nonexistent/x\"]}\n",
                  "snapshot-write");
    expect_answer(fd, "{\"command\":\"quit\",\"args\":[\"120\"]}\n", "bad-argument");
    expect_answer(fd, "{\"command\":\"quit\",\"args\":[\"x\"]}\n", "bad-argument");
    assert_false(vm_is_paused(&f->vm));
    close(fd);
}

static void snapshots_are_written_with_progress(void **state)
{
    struct fixture *f = *state;
    struct vm b;
    char request[256];
    int fd = connect_to(f->path);
    snprintf(request, sizeof request,
             "{\"command\":\"snapshot\",\"args\":[\"%s\"],\"progress\":true}\n", f->files.snapshot);
    say(fd, request);
    unsigned lines = 0;
    json_t *a = hear(fd);
    for (; a && json_object_get(a, "total"); lines++) {
        assert_true(json_integer_value(json_object_get(a, "done")) <=
                    json_integer_value(json_object_get(a, "total")));
        json_decref(a);
        a = hear(fd);
    }
    assert_true(lines > 0);
    assert_true(good(a));
    json_decref(a);
    struct snapshot *s = machine_restore(&b, f->files.snapshot);
    assert_int_not_equal(b.vcpu->halted, 0);
    vm_free(&b);
    snapshot_close(s);
    close(fd);
}

static void others_cannot_take_its_place(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_null(control_listen(f->path, &f->vm, &e));
    assert_string_equal(e.id, "control-socket");
    int fd = connect_to(f->path);
    expect_answer(fd, "{\"command\":\"status\"}\n", NULL);
    close(fd);
    char name[200];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    assert_null(control_listen(name, &f->vm, &e));
}

/* As a ring3 that was killed leaves it. */
static void a_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct err e = {0};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/stale", f->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    struct control *k = control_listen(a.sun_path, &f->vm, &e);
    assert_non_null(k);
    fd = connect_to(a.sun_path);
    expect_answer(fd, "{\"command\":\"status\"}\n", NULL);
    close(fd);
    /* On the loop thread it would be safe at any time. */
    vm_stop(&f->vm, 0, "test-over", "%s", "");
    pthread_join(f->thread, NULL);
    control_free(k);
    assert_int_equal(pthread_create(&f->thread, NULL, run_machine, f), 0);
}

static void too_many_clients_and_too_long_lines_are_turned_away(void **state)
{
    struct fixture *f = *state;
    int fd[9];
    for (unsigned i = 0; i < 9; i++)
        fd[i] = connect_to(f->path);
    for (unsigned i = 0; i < 8; i++)
        expect_answer(fd[i], "{\"command\":\"status\"}\n", NULL);
    assert_null(hear(fd[8]));
    close(fd[8]);
    static char noise[70000];
    memset(noise, '{', sizeof noise);
    ssize_t ignored = send(fd[0], noise, sizeof noise, MSG_NOSIGNAL);
    (void)ignored;
    json_t *a = hear(fd[0]);
    assert_false(good(a));
    json_decref(a);
    assert_null(hear(fd[0]));
    close(fd[0]);
    fd[0] = connect_to(f->path); /* its place is free again */
    expect_answer(fd[0], "{\"command\":\"status\"}\n", NULL);
    for (unsigned i = 0; i < 8; i++)
        close(fd[i]);
}

/* A client that asks and does not listen costs one answer, and harms nobody. */
static void who_does_not_listen_is_not_read(void **state)
{
    struct fixture *f = *state;
    int deaf = connect_to(f->path), fd = connect_to(f->path);
    const char *request = "{\"command\":\"stats\"}\n";
    unsigned stuck = 0; /* rounds in a row in which it took nothing more */
    for (unsigned i = 0; i < 10000 && stuck < 5; i++) {
        unsigned sent = 0;
        while (sent < 100000 &&
               send(deaf, request, strlen(request), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            sent++;
        assert_true(sent < 100000);
        stuck = sent ? 0 : stuck + 1;
        expect_answer(fd, "{\"command\":\"status\"}\n", NULL);
    }
    assert_int_equal(stuck, 5);
    json_t *a = hear(deaf);
    assert_true(good(a));
    json_decref(a);
    close(deaf);
    expect_answer(fd, "{\"command\":\"status\"}\n", NULL);
    close(fd);
}

/* Pieces of requests and noise, in any order. What ends the machine is not among them. */
static void noise_does_no_harm(void **state)
{
    static const char *const pieces[] = {"{\"command\":",
                                         "\"pause\"",
                                         "\"resume\"",
                                         "\"help\"",
                                         "\"args\":",
                                         "[",
                                         "]",
                                         "{",
                                         "}",
                                         ",",
                                         "\n",
                                         "\"\\u0000\"",
                                         "\xff\xfe",
                                         "\"stats\"",
                                         "1e999",
                                         "null",
                                         "\"id\":",
                                         "\"status\"",
                                         "}\n",
                                         "\"progress\":true"};
    struct fixture *f = *state;
    uint64_t seed = 5;
    for (unsigned round = 0; round < 200; round++) {
        int fd = connect_to(f->path);
        for (unsigned i = 0; i < 100; i++) {
            const char *p = pieces[machine_random(&seed) % ARRAY_LEN(pieces)];
            if (send(fd, p, strlen(p), MSG_NOSIGNAL) < 0)
                break;
        }
        if (round % 2)
            shutdown(fd, SHUT_WR);
        close(fd);
    }
    int fd = connect_to(f->path);
    while (fd >= 0) {
        say(fd, "{\"command\":\"status\"}\n");
        json_t *a = hear(fd);
        bool ok = good(a);
        json_decref(a);
        if (ok)
            break;
        close(fd); /* the others were not all gone yet */
        fd = connect_to(f->path);
    }
    expect_answer(fd, "{\"command\":\"resume\"}\n", NULL);
    close(fd);
}

static void quit_gives_the_exit_code(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f->path);
    expect_answer(fd, "{\"command\":\"pause\"}\n", NULL);
    expect_answer(fd, "{\"command\":\"quit\",\"args\":[\"7\"]}\n", NULL);
    pthread_join(f->thread, NULL);
    assert_int_equal(f->code, 7);
    assert_int_equal(pthread_create(&f->thread, NULL, run_machine, f), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(commands_are_answered),
        T(mistakes_are_named),
        T(snapshots_are_written_with_progress),
        T(others_cannot_take_its_place),
        T(a_stale_socket_is_replaced),
        T(too_many_clients_and_too_long_lines_are_turned_away),
        T(who_does_not_listen_is_not_read),
        T(noise_does_no_harm),
        T(quit_gives_the_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
