/* SPDX-License-Identifier: MIT */
/* A VNC server (RFC 6143) by libvncserver, which is loaded when it is asked for.
 *
 * All of it runs on a thread of its own, since libvncserver writes to its clients and waits for
 * them; a slow one delays other clients only. While a client is connected the screen is compared
 * with what the server has, 30 times a second. Keys go through the typist, whose ring a client can
 * fill but not overrun. The pointer is a mouse: it moves as far as the client's did.
 *
 * Left out: sound, clipboard, TLS (use a socket and ssh), absolute pointers. */
#include "ring3/viewer.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <rfb/rfb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/vnc.h"
#include "ring3/devices/i8042.h"

#define LIBRARY     "libvncserver.so.1"
#define PACKAGE     "libvncserver1"
#define FRAME_MS    33
#define CLIENTS_MAX 16
#define PATIENCE_MS 2000 /* with a client that does not read */
#define STEP_MAX    127  /* of the pointer, in one report */
#define STEPS_MAX   32

/* What is called of the library. */
struct library {
    void *handle;
    __typeof__(rfbGetScreen) *get_screen;
    __typeof__(rfbInitServer) *init_server;
    __typeof__(rfbNewClient) *new_client;
    __typeof__(rfbProcessEvents) *process_events;
    __typeof__(rfbMarkRectAsModified) *mark;
    __typeof__(rfbNewFramebuffer) *new_framebuffer;
    __typeof__(rfbShutdownServer) *shutdown_server;
    __typeof__(rfbScreenCleanup) *cleanup;
    __typeof__(rfbCheckPasswordByList) *check_password;
    __typeof__(rfbLogEnable) *log_enable;
};

struct viewer_vnc {
    struct viewer base; /* first */
    const struct display *display;
    struct library lib;
    struct vnc_place place;
    char *passwords[2]; /* list for the library */
    void (*thread_start)(void *opaque);
    void *thread_opaque;
    pthread_t thread;
    int wake_fd;
    _Atomic bool quit;

    /* The rest belongs to the thread. */
    rfbScreenInfoPtr screen;
    struct display_mode mode;
    uint32_t *pixels, *frame; /* as drawn; as the library wants it: red in the low byte */
    int client_fd[CLIENTS_MAX];
    unsigned clients;
    bool pointed; /* x and y are valid */
    int x, y, dx, dy, dz;
    unsigned buttons, sent_buttons;
};

/* ---- the library ----------------------------------------------------------------------------- */

#define TEXT(x)   #x
#define SYMBOL(x) TEXT(x) /* some names are macros */
#define NEED(field, name)                                                                          \
    {                                                                                              \
        offsetof(struct library, field), SYMBOL(name)                                              \
    }

static int load(struct library *lib, struct err *e)
{
    static const struct {
        size_t at;
        const char *name;
    } needs[] = {
        NEED(get_screen, rfbGetScreen),
        NEED(init_server, rfbInitServer),
        NEED(new_client, rfbNewClient),
        NEED(process_events, rfbProcessEvents),
        NEED(mark, rfbMarkRectAsModified),
        NEED(new_framebuffer, rfbNewFramebuffer),
        NEED(shutdown_server, rfbShutdownServer),
        NEED(cleanup, rfbScreenCleanup),
        NEED(check_password, rfbCheckPasswordByList),
        NEED(log_enable, rfbLogEnable),
    };
    lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lib->handle)
        return err_set(e, ENOSYS, "vnc-missing",
                       "VNC needs %s, which is not there (%s): apt install %s", LIBRARY, dlerror(),
                       PACKAGE);
    for (unsigned i = 0; i < ARRAY_LEN(needs); i++) {
        void *symbol = dlsym(lib->handle, needs[i].name);
        if (!symbol)
            return err_set(e, ENOSYS, "vnc-missing", "%s has no %s: apt install %s", LIBRARY,
                           needs[i].name, PACKAGE);
        memcpy((char *)lib + needs[i].at, &symbol, sizeof symbol);
    }
    lib->log_enable(FALSE);
    return 0;
}

/* ---- input ----------------------------------------------------------------------------------- */

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr client)
{
    struct viewer_vnc *v = client->screen->screenData;
    unsigned code = vnc_key(keysym);
    if (code)
        display_key(v->display, code, down);
}

static int limited(int x)
{
    return x > STEP_MAX ? STEP_MAX : x < -STEP_MAX ? -STEP_MAX : x;
}

/* Report what has not been reported, as far as the mouse takes it. */
static void move_pointer(struct viewer_vnc *v)
{
    const struct display *d = v->display;
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        if (!v->dx && !v->dy && !v->dz && v->buttons == v->sent_buttons)
            return;
        int dx = limited(v->dx), dy = limited(v->dy);
        if (!d->pointer(d->input_opaque, dx, dy, v->dz, v->buttons))
            return;
        v->dx -= dx;
        v->dy -= dy;
        v->dz = 0;
        v->sent_buttons = v->buttons;
    }
}

static void on_pointer(int mask, int x, int y, rfbClientPtr client)
{
    struct viewer_vnc *v = client->screen->screenData;
    if (v->pointed) {
        v->dx += x - v->x;
        v->dy += y - v->y;
    }
    v->pointed = true;
    v->x = x;
    v->y = y;
    v->buttons =
        (mask & 1 ? I8042_LEFT : 0) | (mask & 2 ? I8042_MIDDLE : 0) | (mask & 4 ? I8042_RIGHT : 0);
    v->dz += mask & 8 ? -1 : mask & 16 ? 1 : 0;
    move_pointer(v);
}

/* ---- clients --------------------------------------------------------------------------------- */

static void on_gone(rfbClientPtr client)
{
    struct viewer_vnc *v = client->screen->screenData;
    for (unsigned i = 0; i < v->clients; i++)
        if (v->client_fd[i] == client->sock) {
            v->client_fd[i] = v->client_fd[--v->clients];
            return;
        }
}

static enum rfbNewClientAction on_client(rfbClientPtr client)
{
    struct viewer_vnc *v = client->screen->screenData;
    if (v->clients == CLIENTS_MAX)
        return RFB_CLIENT_REFUSE;
    v->client_fd[v->clients++] = client->sock;
    client->clientGoneHook = on_gone;
    return RFB_CLIENT_ACCEPT;
}

static void accept_clients(struct viewer_vnc *v)
{
    int fd = accept4(v->place.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        v->lib.new_client(v->screen, fd); /* closes it if it comes to nothing */
}

/* ---- the picture ----------------------------------------------------------------------------- */

/* Buffers for a new size; the library gets the new one before the old one goes. */
static bool resize(struct viewer_vnc *v, const struct display_mode *m)
{
    size_t n = (size_t)m->width * m->height;
    uint32_t *pixels = calloc(n, sizeof *pixels), *frame = calloc(n, sizeof *frame);
    if (!pixels || !frame) {
        free(pixels);
        free(frame);
        return false;
    }
    if (v->screen)
        v->lib.new_framebuffer(v->screen, (char *)frame, (int)m->width, (int)m->height, 8, 3, 4);
    free(v->pixels);
    free(v->frame);
    v->pixels = pixels;
    v->frame = frame;
    v->mode = *m;
    return true;
}

static void refresh(struct viewer_vnc *v)
{
    const struct display *d = v->display;
    struct display_mode m;
    struct display_rect c;
    d->ops->mode(d->opaque, &m);
    if ((m.width != v->mode.width || m.height != v->mode.height) && !resize(v, &m))
        return;
    if (!d->ops->draw(d->opaque, &v->mode, v->pixels, v->mode.width, &c) || !c.width)
        return;
    for (unsigned y = c.y; y < c.y + c.height; y++)
        for (unsigned x = c.x; x < c.x + c.width; x++) {
            uint32_t p = v->pixels[(size_t)y * v->mode.width + x];
            v->frame[(size_t)y * v->mode.width + x] =
                (p >> 16 & 0xff) | (p & 0xff00) | (p & 0xff) << 16;
        }
    v->lib.mark(v->screen, (int)c.x, (int)c.y, (int)(c.x + c.width), (int)(c.y + c.height));
}

static void *serve(void *opaque)
{
    struct viewer_vnc *v = opaque;
    if (v->thread_start)
        v->thread_start(v->thread_opaque);
    while (!v->quit) {
        struct pollfd fds[2 + CLIENTS_MAX] = {{v->wake_fd, POLLIN, 0}, {v->place.fd, POLLIN, 0}};
        for (unsigned i = 0; i < v->clients; i++)
            fds[2 + i] = (struct pollfd){v->client_fd[i], POLLIN, 0};
        poll(fds, 2 + v->clients, v->clients ? FRAME_MS : -1);
        if (fds[1].revents & POLLIN)
            accept_clients(v);
        if (!v->clients)
            continue;
        refresh(v);
        move_pointer(v);
        v->lib.process_events(v->screen, 0);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int open_screen(struct viewer_vnc *v, struct err *e)
{
    struct display_mode m;
    v->display->ops->mode(v->display->opaque, &m);
    if (resize(v, &m))
        v->screen = v->lib.get_screen(NULL, NULL, (int)m.width, (int)m.height, 8, 3, 4);
    if (!v->screen)
        return err_set(e, ENOMEM, "no-memory", "no memory for the VNC server");
    rfbScreenInfoPtr s = v->screen;
    s->frameBuffer = (char *)v->frame;
    s->screenData = v;
    s->desktopName = "ring3";
    s->port = s->ipv6port = s->httpPort = s->http6Port = 0; /* we listen */
    s->autoPort = FALSE;
    s->alwaysShared = TRUE;
    s->deferUpdateTime = 0;
    s->maxClientWait = PATIENCE_MS;
    s->cursor = NULL;
    s->kbdAddEvent = on_key;
    s->ptrAddEvent = on_pointer;
    s->newClientHook = on_client;
    if (v->place.password[0]) {
        v->passwords[0] = v->place.password;
        s->authPasswdData = v->passwords;
        s->passwordCheck = v->lib.check_password;
    }
    v->lib.init_server(s);
    return 0;
}

static void vnc_release(struct viewer_vnc *v)
{
    if (v->screen) {
        v->lib.shutdown_server(v->screen, TRUE);
        v->lib.cleanup(v->screen);
    }
    vnc_unlisten(&v->place);
    if (v->wake_fd >= 0)
        close(v->wake_fd);
    /* The library stays loaded: what it loaded itself does not like to be unloaded. */
    free(v->pixels);
    free(v->frame);
    free(v);
}

static void vnc_free(struct viewer *base)
{
    struct viewer_vnc *v = container_of(base, struct viewer_vnc, base);
    uint64_t one = 1;
    v->quit = true;
    ssize_t ignored = write(v->wake_fd, &one, sizeof one);
    (void)ignored;
    pthread_join(v->thread, NULL);
    vnc_release(v);
}

/* With every signal blocked but those of a crash. */
static int start_thread(struct viewer_vnc *v)
{
    static const int crash[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all, old;
    sigfillset(&all);
    for (unsigned i = 0; i < ARRAY_LEN(crash); i++)
        sigdelset(&all, crash[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&v->thread, NULL, serve, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_setname_np(v->thread, "ring3-vnc");
    return r;
}

struct viewer *viewer_vnc_new(const struct display *d, const char *where,
                              void (*thread_start)(void *opaque), void *thread_opaque,
                              struct err *e)
{
    static const struct viewer_ops ops = {.free = vnc_free};
    struct viewer_vnc *v = calloc(1, sizeof *v);
    if (!v) {
        err_set(e, ENOMEM, "no-memory", "no memory for the VNC server");
        return NULL;
    }
    v->base.ops = &ops;
    v->display = d;
    v->thread_start = thread_start;
    v->thread_opaque = thread_opaque;
    v->place.fd = -1;
    v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = v->wake_fd < 0 ? err_set(e, errno, "vnc-failed", "eventfd: %s", strerror(errno))
                           : vnc_listen(&v->place, where, e);
    if (r == 0)
        r = load(&v->lib, e);
    if (r == 0)
        r = open_screen(v, e);
    if (r == 0) {
        r = start_thread(v);
        if (r)
            err_set(e, r, "vnc-failed", "cannot start the VNC server's thread: %s", strerror(r));
    }
    if (r) {
        vnc_release(v);
        return NULL;
    }
    return &v->base;
}
