/* SPDX-License-Identifier: MIT */
/* gdb's remote serial protocol: see gdb.h. One processor is one thread, number 1. The machine is
 * paused whenever gdb thinks that it is stopped; memory is read at linear addresses, as the
 * guest's page tables are now.
 *
 * Breakpoints of either kind (Z0, Z1) are points in the processor, never bytes in guest memory, so
 * the guest cannot see them, and code that is not there yet can have them.
 *
 * Left out: reverse execution, file transfer, non-stop mode, tracepoints. */
#include "debug/gdb.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "debug/gdb_packet.h"
#include "host/listen.h"
#include "ring3/debug.h"
#include "ring3/isa.h"
#include "ring3/vcpu.h"

#define LAST_READS 64u   /* before a second client is sent away */
#define MEMORY_MAX 2000u /* bytes of memory in one packet: two digits each must fit */

struct gdb {
    struct vm *vm;
    const struct isa_debug *ops;
    int listen_fd, fd; /* fd -1: nobody is connected */
    char unix_path[HOST_UNIX_PATH];
    bool no_ack, wants_no_ack; /* the second: once this packet is acknowledged */
    bool held;                 /* we have paused the machine */
    bool announce;             /* gdb waits to hear of a stop */
    struct debug_stop stop;
    bool interrupted; /* why it stopped: gdb asked */
    gdb_command_fn command;
    void *command_opaque;
    struct gdb_reader in;
    struct gdb_writer out;
    char pending[3 * GDB_PACKET_MAX]; /* not yet taken by the socket */
    unsigned pending_len;
    struct { /* points that gdb has set */
        uint64_t lin;
        unsigned len;
        enum debug_point kind;
    } point[256];
    unsigned points;
};

/* ---- the socket ------------------------------------------------------------------------------ */

static void on_socket(void *opaque, uint32_t events);

static void flush_pending(struct gdb *g)
{
    while (g->pending_len) {
        ssize_t n = send(g->fd, g->pending, g->pending_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            break;
        g->pending_len -= (unsigned)n;
        memmove(g->pending, g->pending + n, g->pending_len);
    }
    loop_watch(g->vm->loop, g->fd, EPOLLIN | (g->pending_len ? EPOLLOUT : 0u), on_socket, g);
}

/* What does not fit is lost; gdb asks again after a time-out. */
static void send_bytes(struct gdb *g, const char *p, unsigned n)
{
    if (g->fd < 0 || n > sizeof g->pending - g->pending_len)
        return;
    memcpy(g->pending + g->pending_len, p, n);
    g->pending_len += n;
    flush_pending(g);
}

static void reply(struct gdb *g)
{
    gdb_end(&g->out);
    send_bytes(g, g->out.data, g->out.len);
}

static void reply_text(struct gdb *g, const char *text)
{
    gdb_begin(&g->out);
    gdb_text(&g->out, text);
    reply(g);
}

static void reply_result(struct gdb *g, int r)
{
    reply_text(g, r < 0 ? "E01" : "OK");
}

/* ---- stop and go ----------------------------------------------------------------------------- */

static void hold(struct gdb *g)
{
    if (!g->held)
        vm_pause(g->vm);
    g->held = true;
}

static void release(struct gdb *g)
{
    if (g->held)
        vm_resume(g->vm);
    g->held = false;
}

static void reply_stop(struct gdb *g)
{
    static const char *const watch[] = {
        [DEBUG_WRITE] = "watch", [DEBUG_READ] = "rwatch", [DEBUG_ACCESS] = "awatch"};
    gdb_begin(&g->out);
    gdb_text(&g->out, g->interrupted ? "T02thread:1;" : "T05thread:1;");
    if (g->stop.point && g->stop.kind != DEBUG_EXECUTE) {
        gdb_text(&g->out, watch[g->stop.kind]);
        gdb_text(&g->out, ":");
        gdb_number(&g->out, g->stop.address);
        gdb_text(&g->out, ";");
    }
    reply(g);
}

/* The processor met a point or made its step. */
static void on_stop(void *opaque)
{
    struct gdb *g = opaque;
    if (g->held)
        return;
    hold(g);
    g->ops->reason(g->vm->vcpu, &g->stop);
    g->interrupted = false;
    if (g->announce)
        reply_stop(g);
    g->announce = false;
    if (g->fd < 0)
        release(g); /* gdb went while the news was on its way */
}

static void interrupt_guest(struct gdb *g)
{
    if (g->held)
        return;
    hold(g);
    g->ops->set_step(g->vm->vcpu, false);
    g->stop = (struct debug_stop){0};
    g->interrupted = true;
    if (g->announce)
        reply_stop(g);
    g->announce = false;
}

static void go(struct gdb *g, bool step)
{
    g->ops->set_step(g->vm->vcpu, step);
    g->announce = true;
    release(g);
}

static void remove_points(struct gdb *g)
{
    for (unsigned i = 0; i < g->points; i++)
        g->ops->set_point(g->vm->vcpu, g->point[i].kind, g->point[i].lin, g->point[i].len, false);
    g->points = 0;
}

static void disconnect(struct gdb *g)
{
    if (g->fd < 0)
        return;
    hold(g);
    remove_points(g);
    g->ops->set_step(g->vm->vcpu, false);
    loop_unwatch(g->vm->loop, g->fd);
    close(g->fd);
    g->fd = -1;
    g->announce = g->no_ack = g->wants_no_ack = false;
    g->pending_len = 0;
    g->in = (struct gdb_reader){0};
    release(g);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void cmd_read_registers(struct gdb *g, const char *at)
{
    uint8_t bytes[DEBUG_REGISTER_BYTES];
    gdb_begin(&g->out);
    for (unsigned n = 0; n < g->ops->registers; n++) {
        g->ops->read(g->vm->vcpu, n, bytes);
        gdb_hex(&g->out, bytes, g->ops->size(n));
    }
    reply(g);
}

/* What cannot be written stays as it is: gdb writes back all that it read. */
static void cmd_write_registers(struct gdb *g, const char *at)
{
    uint8_t bytes[DEBUG_REGISTER_BYTES];
    for (unsigned n = 0; n < g->ops->registers; n++) {
        if (!gdb_parse_hex(&at, bytes, g->ops->size(n))) {
            reply_text(g, "E16");
            return;
        }
        g->ops->write(g->vm->vcpu, n, bytes);
    }
    reply_text(g, "OK");
}

static void cmd_read_register(struct gdb *g, const char *at)
{
    uint8_t bytes[DEBUG_REGISTER_BYTES];
    uint64_t n;
    if (!gdb_parse_number(&at, &n) || n >= g->ops->registers) {
        reply_text(g, "E16");
        return;
    }
    g->ops->read(g->vm->vcpu, (unsigned)n, bytes);
    gdb_begin(&g->out);
    gdb_hex(&g->out, bytes, g->ops->size((unsigned)n));
    reply(g);
}

static void cmd_write_register(struct gdb *g, const char *at)
{
    uint8_t bytes[DEBUG_REGISTER_BYTES];
    uint64_t n;
    bool good = gdb_parse_number(&at, &n) && n < g->ops->registers && *at++ == '=' &&
                gdb_parse_hex(&at, bytes, g->ops->size((unsigned)n)) &&
                g->ops->write(g->vm->vcpu, (unsigned)n, bytes);
    reply_text(g, good ? "OK" : "E16");
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Copy as much as there is memory; returns how much. */
static unsigned copy_memory(struct gdb *g, uint64_t lin, uint8_t *bytes, unsigned n, bool write)
{
    unsigned done = 0;
    while (done < n) {
        uint64_t at = lin + done;
        unsigned left = (unsigned)(PAGE_BYTES - (at & ~PAGE_MASK));
        unsigned part = left < n - done ? left : n - done;
        gpa_t gpa;
        if (!g->ops->translate(g->vm->vcpu, at, &gpa))
            break;
        int r = write ? phys_load(g->vm->mem, gpa, bytes + done, part)
                      : phys_read(g->vm->mem, gpa, bytes + done, part);
        if (r < 0)
            break;
        done += part;
    }
    return done;
}

/* "ADDRESS,LENGTH" */
static bool parse_range(const char **at, uint64_t *lin, uint64_t *n)
{
    return gdb_parse_number(at, lin) && *(*at)++ == ',' && gdb_parse_number(at, n);
}

static void cmd_read_memory(struct gdb *g, const char *at)
{
    uint8_t bytes[MEMORY_MAX];
    uint64_t lin, n;
    if (!parse_range(&at, &lin, &n)) {
        reply_text(g, "E16");
        return;
    }
    unsigned got = copy_memory(g, lin, bytes, n < MEMORY_MAX ? (unsigned)n : MEMORY_MAX, false);
    if (!got && n) {
        reply_text(g, "E0e");
        return;
    }
    gdb_begin(&g->out);
    gdb_hex(&g->out, bytes, got);
    reply(g);
}

static void write_memory(struct gdb *g, const char *at, bool binary)
{
    uint8_t bytes[GDB_PACKET_MAX];
    uint64_t lin, n;
    bool good = parse_range(&at, &lin, &n) && n <= sizeof bytes && *at++ == ':';
    if (good && binary)
        good = gdb_parse_binary(at, (size_t)(g->in.data + g->in.len - at), bytes, n);
    else if (good)
        good = gdb_parse_hex(&at, bytes, n);
    if (!good)
        reply_text(g, "E16");
    else
        reply_text(g, copy_memory(g, lin, bytes, (unsigned)n, true) == n ? "OK" : "E0e");
}

static void cmd_write_memory(struct gdb *g, const char *at)
{
    write_memory(g, at, false);
}

static void cmd_write_binary(struct gdb *g, const char *at)
{
    write_memory(g, at, true);
}

/* ---- points ---------------------------------------------------------------------------------- */

/* "TYPE,ADDRESS,LENGTH": 0 and 1 are breakpoints, whose length is a kind and says nothing here. */
static bool parse_point(const char *at, enum debug_point *kind, uint64_t *lin, unsigned *len)
{
    uint64_t type, n;
    if (!gdb_parse_number(&at, &type) || type > 4 || *at++ != ',' || !parse_range(&at, lin, &n))
        return false;
    *kind = type < 2    ? DEBUG_EXECUTE
            : type == 2 ? DEBUG_WRITE
            : type == 3 ? DEBUG_READ
                        : DEBUG_ACCESS;
    *len = type < 2 ? 1 : n > PAGE_BYTES ? UINT16_MAX : (unsigned)n;
    return true;
}

static void change_point(struct gdb *g, const char *at, bool on)
{
    enum debug_point kind;
    uint64_t lin;
    unsigned len, i = 0;
    if (!parse_point(at, &kind, &lin, &len)) {
        reply_text(g, "");
        return;
    }
    while (i < g->points &&
           (g->point[i].kind != kind || g->point[i].lin != lin || g->point[i].len != len))
        i++;
    bool known = i < g->points;
    int r = on == known ? 0
            : on && g->points == ARRAY_LEN(g->point)
                ? -ENOSPC
                : g->ops->set_point(g->vm->vcpu, kind, lin, len, on);
    if (r == 0 && on && !known) {
        g->point[i].kind = kind;
        g->point[i].lin = lin;
        g->point[i].len = len;
        g->points++;
    } else if (r == 0 && !on && known) {
        g->point[i] = g->point[--g->points];
    }
    reply_result(g, r);
}

static void cmd_set_point(struct gdb *g, const char *at)
{
    change_point(g, at, true);
}

static void cmd_clear_point(struct gdb *g, const char *at)
{
    change_point(g, at, false);
}

/* ---- running --------------------------------------------------------------------------------- */

/* gdb writes the pc before it goes on elsewhere: an address in the packet is of older days. */
static void cmd_continue(struct gdb *g, const char *at)
{
    if (*at)
        reply_text(g, "E16");
    else
        go(g, false);
}

static void cmd_step(struct gdb *g, const char *at)
{
    if (*at)
        reply_text(g, "E16");
    else
        go(g, true);
}

/* With a signal to deliver: the guest has none of gdb's signals. */
static void cmd_continue_signal(struct gdb *g, const char *at)
{
    go(g, false);
}

static void cmd_step_signal(struct gdb *g, const char *at)
{
    go(g, true);
}

static void cmd_v(struct gdb *g, const char *at)
{
    if (!strcmp(at, "Cont?"))
        reply_text(g, "vCont;c;C;s;S");
    else if (!strncmp(at, "Cont;", 5) && strchr("cCsS", at[5]) && at[5])
        go(g, at[5] == 's' || at[5] == 'S');
    else if (!strncmp(at, "Kill", 4))
        vm_stop(g->vm, 0, "user-quit", "ended by the debugger");
    else
        reply_text(g, "");
}

static void cmd_reason(struct gdb *g, const char *at)
{
    reply_stop(g);
}

static void cmd_detach(struct gdb *g, const char *at)
{
    reply_text(g, "OK");
    disconnect(g);
}

static void cmd_kill(struct gdb *g, const char *at)
{
    vm_stop(g->vm, 0, "user-quit", "ended by the debugger");
}

static void cmd_thread(struct gdb *g, const char *at)
{
    reply_text(g, "OK"); /* there is one */
}

/* ---- queries --------------------------------------------------------------------------------- */

static void query_supported(struct gdb *g, const char *at)
{
    char text[128];
    snprintf(text, sizeof text,
             "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;hwbreak+",
             GDB_PACKET_MAX);
    reply_text(g, text);
}

/* "target.xml:OFFSET,LENGTH" */
static void query_features(struct gdb *g, const char *at)
{
    static const char annex[] = "target.xml:";
    uint64_t offset, n;
    size_t size = strlen(g->ops->target_xml);
    if (strncmp(at, annex, sizeof annex - 1) ||
        (at += sizeof annex - 1, !parse_range(&at, &offset, &n)) || offset > size) {
        reply_text(g, "E00");
        return;
    }
    size_t part = size - offset < n ? size - offset : n;
    if (part > GDB_PACKET_MAX / 2) /* escapes may double it */
        part = GDB_PACKET_MAX / 2;
    gdb_begin(&g->out);
    gdb_text(&g->out, offset + part < size ? "m" : "l");
    gdb_binary(&g->out, g->ops->target_xml + offset, part);
    reply(g);
}

/* monitor COMMAND, in hexadecimal; the answer too, in pieces. */
static void query_command(struct gdb *g, const char *at)
{
    char line[512] = "", *answer = NULL;
    size_t size = 0, n = strlen(at) / 2;
    if (n >= sizeof line || !gdb_parse_hex(&at, (uint8_t *)line, n)) {
        reply_text(g, "E16");
        return;
    }
    FILE *f = open_memstream(&answer, &size);
    if (f) {
        if (g->command)
            g->command(g->command_opaque, line, f);
        fclose(f);
    }
    for (size_t done = 0; done < size;) {
        size_t part = size - done < MEMORY_MAX ? size - done : MEMORY_MAX;
        gdb_begin(&g->out);
        gdb_text(&g->out, "O");
        gdb_hex(&g->out, answer + done, part);
        reply(g);
        done += part;
    }
    free(answer);
    reply_text(g, "OK");
}

static void query_no_ack(struct gdb *g, const char *at)
{
    g->wants_no_ack = true;
    reply_text(g, "OK");
}

static const struct query {
    const char *name;
    void (*fn)(struct gdb *g, const char *at); /* behind the name */
    const char *answer;                        /* or this */
} queries[] = {
    {"qSupported", query_supported, NULL},
    {"qXfer:features:read:", query_features, NULL},
    {"qRcmd,", query_command, NULL},
    {"QStartNoAckMode", query_no_ack, NULL},
    {"qAttached", NULL, "1"},
    {"qC", NULL, "QC1"},
    {"qfThreadInfo", NULL, "m1"},
    {"qsThreadInfo", NULL, "l"},
    {"qSymbol", NULL, "OK"},
};

static void query(struct gdb *g)
{
    for (unsigned i = 0; i < ARRAY_LEN(queries); i++) {
        size_t n = strlen(queries[i].name);
        if (strncmp(g->in.data, queries[i].name, n))
            continue;
        if (queries[i].fn)
            queries[i].fn(g, g->in.data + n);
        else
            reply_text(g, queries[i].answer);
        return;
    }
    reply_text(g, ""); /* not known: the protocol's way to say so */
}

static const struct command {
    char letter;
    void (*fn)(struct gdb *g, const char *at);
} commands[] = {
    {'?', cmd_reason},          {'g', cmd_read_registers}, {'G', cmd_write_registers},
    {'p', cmd_read_register},   {'P', cmd_write_register}, {'m', cmd_read_memory},
    {'M', cmd_write_memory},    {'X', cmd_write_binary},   {'Z', cmd_set_point},
    {'z', cmd_clear_point},     {'c', cmd_continue},       {'s', cmd_step},
    {'C', cmd_continue_signal}, {'S', cmd_step_signal},    {'v', cmd_v},
    {'D', cmd_detach},          {'k', cmd_kill},           {'H', cmd_thread},
    {'T', cmd_thread},
};

static void packet(struct gdb *g)
{
    char letter = g->in.data[0];
    if (!g->held) /* gdb talks to stopped programs only */
        interrupt_guest(g);
    if (letter == 'q' || letter == 'Q') {
        query(g);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].letter == letter) {
            commands[i].fn(g, g->in.data + 1);
            return;
        }
    reply_text(g, "");
}

/* ---- events ---------------------------------------------------------------------------------- */

static void byte_in(struct gdb *g, uint8_t byte)
{
    switch (gdb_read_byte(&g->in, byte)) {
    case GDB_PACKET:
        if (!g->no_ack)
            send_bytes(g, "+", 1);
        packet(g);
        g->no_ack |= g->wants_no_ack;
        break;
    case GDB_DAMAGED:
        if (!g->no_ack)
            send_bytes(g, "-", 1);
        break;
    case GDB_BREAK:
        interrupt_guest(g);
        break;
    case GDB_NOTHING:
        break;
    }
}

static void on_socket(void *opaque, uint32_t events)
{
    struct gdb *g = opaque;
    uint8_t bytes[4096];
    if (events & EPOLLOUT)
        flush_pending(g);
    ssize_t n = recv(g->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    for (ssize_t i = 0; i < n && g->fd >= 0; i++)
        byte_in(g, bytes[i]);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        disconnect(g);
}

static void on_connect(void *opaque, uint32_t events)
{
    struct gdb *g = opaque;
    int fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    /* The last one may be gone, with its end still behind what it sent. */
    for (unsigned i = 0; i < LAST_READS && g->fd >= 0; i++)
        on_socket(g, EPOLLIN);
    if (g->fd >= 0) { /* one at a time */
        close(fd);
        return;
    }
    g->fd = fd;
    hold(g); /* gdb expects a stopped program when it connects */
    g->interrupted = true;
    g->stop = (struct debug_stop){0};
    loop_watch(g->vm->loop, fd, EPOLLIN, on_socket, g);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct gdb *gdb_listen(struct vm *vm, const char *where, bool stop, gdb_command_fn command,
                       void *opaque, struct err *e)
{
    struct gdb *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(e, ENOMEM, "no-memory", "no memory for the debugger's stub");
        return NULL;
    }
    *g = (struct gdb){.vm = vm,
                      .ops = vm->vcpu->isa->debug,
                      .fd = -1,
                      .listen_fd = -1,
                      .command = command,
                      .command_opaque = opaque};
    int r = g->ops ? host_listen(where, "gdb-socket", g->unix_path, e)
                   : err_set(e, ENOSYS, "no-debugger", "processors of kind %s cannot be debugged",
                             vm->vcpu->isa->name);
    if (r >= 0) {
        g->listen_fd = r;
        r = loop_watch(vm->loop, g->listen_fd, EPOLLIN, on_connect, g);
    }
    if (r < 0) {
        gdb_free(g);
        return NULL;
    }
    vm->debug_stopped = on_stop;
    vm->debug_opaque = g;
    if (stop)
        hold(g);
    return g;
}

void gdb_free(struct gdb *g)
{
    if (!g)
        return;
    if (g->fd >= 0) {
        loop_unwatch(g->vm->loop, g->fd);
        close(g->fd);
    }
    if (g->listen_fd >= 0) {
        loop_unwatch(g->vm->loop, g->listen_fd);
        close(g->listen_fd);
    }
    if (g->unix_path[0])
        unlink(g->unix_path);
    g->vm->debug_stopped = NULL;
    free(g);
}
