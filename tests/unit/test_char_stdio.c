/* SPDX-License-Identifier: MIT */
/* backend/char_stdio.c on pipes, files and a pseudo-terminal. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "ring3/char_stdio.h"

#define MUCH (300 * 1024)

/* A device and an owner in one: a small receive buffer, and notes of what was called. */
struct bench {
    struct loop *loop;
    struct chardev *c;
    int in[2], out[2]; /* pipes; [1] of in and [0] of out are ours */
    uint8_t got[MUCH];
    size_t got_count, got_limit, quit_at;
    char commands[16];
    unsigned command_count;
    int failed, writable;
    size_t tapped;
};

static size_t client_room(void *opaque)
{
    struct bench *b = opaque;
    return b->got_limit - b->got_count;
}

static void client_receive(void *opaque, const uint8_t *p, size_t n)
{
    struct bench *b = opaque;
    assert_true(n <= client_room(b));
    memcpy(b->got + b->got_count, p, n);
    b->got_count += n;
    if (b->quit_at && b->got_count >= b->quit_at)
        loop_quit(b->loop);
}

static void client_writable(void *opaque)
{
    struct bench *b = opaque;
    b->writable++;
    loop_quit(b->loop);
}

static void on_command(void *opaque, char key)
{
    struct bench *b = opaque;
    b->commands[b->command_count++] = key;
    if (key == 'x')
        loop_quit(b->loop);
}

static void on_output(void *opaque, const uint8_t *p, size_t n)
{
    struct bench *b = opaque;
    b->tapped += n;
}

static void on_failed(void *opaque, int errnum)
{
    struct bench *b = opaque;
    b->failed = errnum;
    loop_quit(b->loop);
}

static void open_bench(struct bench *b, int in_fd, int out_fd, bool escapes)
{
    struct err e = {0};
    struct chardev_stdio_config config = {in_fd,     out_fd,    escapes, on_command,
                                          on_output, on_failed, b};
    b->loop = loop_new(NULL, &e);
    b->c = chardev_stdio_new(&config, &e);
    assert_non_null(b->c);
    b->got_limit = sizeof b->got;
    b->c->client = (struct chardev_client){client_room, client_receive, client_writable, b};
    assert_int_equal(chardev_stdio_start(b->c, b->loop, &e), 0);
}

static struct bench *open_pipes(bool escapes)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    assert_int_equal(pipe(b->in), 0);
    assert_int_equal(pipe(b->out), 0);
    open_bench(b, b->in[0], b->out[1], escapes);
    return b;
}

static void close_bench(struct bench *b)
{
    b->c->ops->free(b->c);
    loop_free(b->loop);
    for (int i = 0; i < 2; i++) {
        if (b->in[i])
            close(b->in[i]);
        if (b->out[i])
            close(b->out[i]);
    }
    free(b);
}

static void run(struct bench *b)
{
    struct err e = {0};
    alarm(20);
    assert_int_equal(loop_run(b->loop, &e), 0);
    alarm(0);
}

static void input_reaches_the_device(void **state)
{
    struct bench *b = open_pipes(false);
    b->quit_at = 6;
    assert_int_equal(write(b->in[1], "ab\001xcd", 6), 6);
    run(b);
    assert_memory_equal(b->got, "ab\001xcd", 6); /* no escapes on a pipe */
    assert_int_equal(b->command_count, 0);
    close_bench(b);
}

static void escapes_are_commands(void **state)
{
    struct bench *b = open_pipes(true);
    assert_int_equal(write(b->in[1], "A\001aB\001sC\001\001\001x", 11), 11);
    run(b);
    assert_int_equal(b->got_count, 5);
    assert_memory_equal(b->got, "A\001BC\001", 5);
    assert_int_equal(b->command_count, 2);
    assert_memory_equal(b->commands, "sx", 2);
    close_bench(b);
}

/* A hung guest takes no input; Ctrl-a x must get through behind more input than we can keep. */
static void quit_key_works_when_the_guest_is_deaf(void **state)
{
    struct bench *b = open_pipes(true);
    char noise[40000];
    memset(noise, 'n', sizeof noise);
    b->got_limit = 0;
    assert_int_equal(write(b->in[1], noise, sizeof noise), sizeof noise);
    assert_int_equal(write(b->in[1], "\001x", 2), 2);
    run(b);
    assert_memory_equal(b->commands, "x", 1);
    assert_int_equal(b->got_count, 0);
    close_bench(b);
}

struct trickle {
    struct bench *b;
    size_t total;
};

/* The device takes seven bytes at a time and asks for more, as a UART's guest does. */
static void *take_slowly(void *opaque)
{
    struct trickle *t = opaque;
    while (__atomic_load_n(&t->b->got_count, __ATOMIC_ACQUIRE) < t->total) {
        size_t have = __atomic_load_n(&t->b->got_count, __ATOMIC_ACQUIRE);
        __atomic_store_n(&t->b->got_limit, have + 7, __ATOMIC_RELEASE);
        chardev_resume(t->b->c);
        sched_yield();
    }
    return NULL;
}

static void file_input_is_delivered_whole_and_in_order(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    char name[] = "/tmp/ring3-stdio-XXXXXX";
    uint8_t data[30000];
    int fd = mkstemp(name);
    unlink(name);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(write(fd, data, sizeof data), sizeof data);
    lseek(fd, 0, SEEK_SET);
    assert_int_equal(pipe(b->out), 0);
    open_bench(b, fd, b->out[1], false);
    b->got_limit = 0;
    b->quit_at = sizeof data;
    struct trickle t = {b, sizeof data};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take_slowly, &t), 0);
    run(b);
    pthread_join(thread, NULL);
    assert_int_equal(b->got_count, sizeof data);
    assert_memory_equal(b->got, data, sizeof data);
    close_bench(b);
    close(fd);
}

static void *quit_soon(void *opaque)
{
    struct bench *b = opaque;
    struct timespec pause = {0, 100 * 1000 * 1000};
    nanosleep(&pause, NULL);
    loop_quit(b->loop);
    return NULL;
}

/* End of input is quiet: no failure, and no spinning on the hang-up either. */
static void end_of_input_is_no_error(void **state)
{
    struct bench *b = open_pipes(false);
    struct timespec before, after;
    pthread_t t;
    close(b->in[1]);
    b->in[1] = 0;
    pthread_create(&t, NULL, quit_soon, b);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    run(b);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    pthread_join(t, NULL);
    assert_int_equal(b->failed, 0);
    assert_true((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec <
                50 * 1000 * 1000);
    close_bench(b);
}

/* A reader that has stalled: write() never blocks, takes at most what fits, and the device hears
 * when there is room again. Nothing is lost or doubled. */
static void congestion_is_backpressure(void **state)
{
    struct bench *b = open_pipes(false);
    uint8_t chunk[1000];
    size_t accepted = 0, n;
    for (size_t i = 0; i < sizeof chunk; i++)
        chunk[i] = (uint8_t)i;
    alarm(20);
    do { /* the loop does not run yet: only the ring takes bytes */
        n = chardev_write(b->c, chunk, sizeof chunk);
        accepted += n;
    } while (n == sizeof chunk);
    assert_int_equal(accepted, 64 * 1024);
    run(b); /* until writable() */
    assert_int_equal(b->writable, 1);
    assert_int_equal(b->tapped, accepted);
    accepted += chardev_write(b->c, chunk, 500);

    uint8_t *all = malloc(accepted + 1);
    size_t total = 0;
    assert_int_equal(chardev_stdio_finish(b->c, 10), 500); /* the pipe holds 64 KiB */
    while (total < accepted) {
        ssize_t k = read(b->out[0], all + total, accepted + 1 - total);
        assert_true(k > 0);
        total += (size_t)k;
        assert_int_equal(chardev_stdio_finish(b->c, 10), 0);
    }
    assert_int_equal(total, accepted);
    size_t ring = 64 * 1024; /* the last piece taken before the ring was full was cut */
    for (size_t i = 0; i < total; i++)
        assert_int_equal(all[i], (uint8_t)((i < ring ? i : i - ring) % 1000));
    alarm(0);
    free(all);
    close_bench(b);
}

static void reader_that_left_is_reported_once(void **state)
{
    struct bench *b = open_pipes(false);
    close(b->out[0]);
    b->out[0] = 0;
    chardev_write(b->c, (const uint8_t *)"hello", 5);
    run(b);
    assert_int_equal(b->failed, EPIPE);
    assert_int_equal(b->tapped, 5);
    b->failed = 0;
    assert_int_equal(chardev_write(b->c, (const uint8_t *)"more", 4), 4);
    assert_int_equal(chardev_stdio_finish(b->c, 1000), 0);
    assert_int_equal(b->failed, 0);
    assert_int_equal(b->tapped, 9);
    close_bench(b);
}

static void full_device_is_reported(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    int full = open("/dev/full", O_WRONLY);
    if (full < 0)
        skip();
    assert_int_equal(pipe(b->in), 0);
    open_bench(b, b->in[0], full, false);
    chardev_write(b->c, (const uint8_t *)"hello", 5);
    run(b);
    assert_int_equal(b->failed, ENOSPC);
    close_bench(b);
    close(full);
}

/* The terminal's open file is shared with the user's shell: its flags must stay as they are. */
static void terminal_works_and_keeps_its_flags(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    int master, slave;
    struct termios raw;
    char text[6] = {0};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    int flags = fcntl(slave, F_GETFL);
    open_bench(b, slave, slave, true);
    b->quit_at = 3;
    assert_int_equal(write(master, "key", 3), 3);
    chardev_write(b->c, (const uint8_t *)"hello", 5);
    run(b);
    assert_memory_equal(b->got, "key", 3);
    assert_int_equal(chardev_stdio_finish(b->c, 1000), 0);
    assert_int_equal(read(master, text, 5), 5);
    assert_string_equal(text, "hello");
    assert_int_equal(fcntl(slave, F_GETFL), flags);
    close_bench(b);
    close(master);
    close(slave);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_reaches_the_device),
        cmocka_unit_test(escapes_are_commands),
        cmocka_unit_test(quit_key_works_when_the_guest_is_deaf),
        cmocka_unit_test(file_input_is_delivered_whole_and_in_order),
        cmocka_unit_test(end_of_input_is_no_error),
        cmocka_unit_test(congestion_is_backpressure),
        cmocka_unit_test(reader_that_left_is_reported_once),
        cmocka_unit_test(full_device_is_reported),
        cmocka_unit_test(terminal_works_and_keeps_its_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
