/* SPDX-License-Identifier: MIT */
/* The event loop: see ring3/loop.h.
 *
 * One epoll set holds the watched descriptors, a timerfd that follows the guest clock's earliest
 * deadline, and an eventfd that says "look at the posts and at quit". The loop sleeps in
 * epoll_wait without a time-out: an idle VM costs nothing.
 *
 * An epoll record carries descriptor and generation, so an event that was fetched before its
 * watch was removed (or before the number was used again) finds nothing and is dropped. The
 * timerfd is edge-triggered: each expiry is one event and need not be read, which spares a system
 * call per guest tick. Handlers
 * run with no lock held. Left out: priorities, and more than one loop thread. */
#include "ring3/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MAX_POSTS  64
#define MAX_EVENTS 16

struct watch {
    int fd;
    uint32_t events, generation; /* events 0: known, but not in the epoll set */
    loop_fn fn;
    void *opaque;
    struct watch *next;
};

struct post {
    void (*fn)(void *opaque);
    void *opaque;
};

struct loop {
    int epoll_fd, timer_fd, wake_fd;
    struct clock *clock;
    _Atomic bool quit;

    pthread_mutex_t lock; /* guards the fields down to `borrower` */
    struct watch *watches;
    uint32_t generation;
    struct post posts[MAX_POSTS];
    unsigned post_count;
    uint64_t armed_ns;           /* guest time the timerfd is set to; TIMER_NEVER when it is off */
    void (*moved)(void *opaque); /* not NULL: the thread `borrower` runs the timers */
    void *moved_opaque;
    pthread_t borrower;

    pthread_t thread; /* valid while `running` */
    _Atomic bool running;
    bool in_timers; /* loop thread only: clock_run_due is on the stack */
};

static void wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t ignored = write(l->wake_fd, &one, sizeof one); /* full means it is awake already */
    (void)ignored;
}

/* Set the timerfd to the clock's next deadline. The deadline is read under the lock, so whoever
 * comes last sets the right one. */
static void arm_timer(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    bool off = l->moved || clock_is_paused(l->clock);
    uint64_t deadline = off ? TIMER_NEVER : clock_next_deadline(l->clock);
    if (deadline != l->armed_ns) {
        struct itimerspec t = {0};
        if (deadline != TIMER_NEVER) {
            uint64_t now = clock_now_ns(l->clock);
            uint64_t wait = deadline > now ? deadline - now : 1; /* 0 would switch it off */
            t.it_value.tv_sec = (time_t)(wait / NS_PER_SEC);
            t.it_value.tv_nsec = (long)(wait % NS_PER_SEC);
        }
        timerfd_settime(l->timer_fd, 0, &t, NULL);
        l->armed_ns = deadline;
    }
    pthread_mutex_unlock(&l->lock);
}

/* The clock's call when its earliest deadline moves. While the loop runs timers it will arm
 * the timerfd afterwards anyway. */
static void rearm(void *opaque)
{
    struct loop *l = opaque;
    if (l->running && pthread_equal(pthread_self(), l->thread) && l->in_timers)
        return;
    pthread_mutex_lock(&l->lock);
    bool own = l->moved && pthread_equal(pthread_self(), l->borrower);
    void (*moved)(void *) = l->moved;
    void *moved_opaque = l->moved_opaque;
    pthread_mutex_unlock(&l->lock);
    if (!moved)
        arm_timer(l);
    else if (!own) /* the borrower looks at the clock before it sleeps */
        moved(moved_opaque);
}

static void set_borrower(struct loop *l, void (*moved)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&l->lock);
    l->moved = moved;
    l->moved_opaque = opaque;
    l->borrower = pthread_self();
    pthread_mutex_unlock(&l->lock);
    arm_timer(l);
}

void loop_timers_borrow(struct loop *l, void (*moved)(void *opaque), void *opaque)
{
    set_borrower(l, moved, opaque);
}

void loop_timers_return(struct loop *l)
{
    set_borrower(l, NULL, NULL);
}

static void run_timers(struct loop *l)
{
    l->in_timers = true;
    clock_run_due(l->clock);
    l->in_timers = false;
    pthread_mutex_lock(&l->lock);
    l->armed_ns = TIMER_NEVER; /* it fired, so it is off: force a new setting */
    pthread_mutex_unlock(&l->lock);
    arm_timer(l);
}

static void run_posts(struct loop *l)
{
    uint64_t count;
    ssize_t ignored = read(l->wake_fd, &count, sizeof count);
    (void)ignored;
    struct post posts[MAX_POSTS];
    pthread_mutex_lock(&l->lock);
    unsigned n = l->post_count;
    memcpy(posts, l->posts, n * sizeof *posts);
    l->post_count = 0;
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < n; i++)
        posts[i].fn(posts[i].opaque);
}

static int add_own(struct loop *l, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u64 = (uint32_t)fd};
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

struct loop *loop_new(struct clock *clock, struct err *e)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l) {
        err_set(e, ENOMEM, "no-memory", "no memory for the event loop");
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->clock = clock;
    l->armed_ns = TIMER_NEVER;
    l->generation = 1;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || l->timer_fd < 0 || l->wake_fd < 0 ||
        add_own(l, l->timer_fd, EPOLLIN | EPOLLET) || add_own(l, l->wake_fd, EPOLLIN)) {
        err_set(e, errno, "loop-failed",
                "cannot make the event loop (epoll, timerfd, eventfd): %s; check the limit on "
                "open files (ulimit -n)",
                strerror(errno));
        loop_free(l);
        return NULL;
    }
    if (clock)
        clock_set_rearm(clock, rearm, l);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->clock)
        clock_set_rearm(l->clock, NULL, NULL);
    while (l->watches) {
        struct watch *w = l->watches;
        l->watches = w->next;
        free(w);
    }
    int fds[] = {l->epoll_fd, l->timer_fd, l->wake_fd};
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct watch **find_watch(struct loop *l, int fd)
{
    struct watch **link = &l->watches;
    while (*link && (*link)->fd != fd)
        link = &(*link)->next;
    return link;
}

/* Bring the epoll set from w->events to `events`. A paused descriptor leaves the set, because
 * epoll reports hang-ups whatever was asked for. */
static int set_events(struct loop *l, struct watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events,
                             .data.u64 = (uint64_t)w->generation << 32 | (uint32_t)w->fd};
    int op = !events ? EPOLL_CTL_DEL : w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if ((events || w->events) && epoll_ctl(l->epoll_fd, op, w->fd, &ev) < 0)
        return -errno;
    w->events = events;
    return 0;
}

int loop_watch(struct loop *l, int fd, uint32_t events, loop_fn fn, void *opaque)
{
    pthread_mutex_lock(&l->lock);
    struct watch **link = find_watch(l, fd);
    struct watch *w = *link;
    int r = 0;
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w) {
            pthread_mutex_unlock(&l->lock);
            return -ENOMEM;
        }
        w->fd = fd;
        w->generation = l->generation++;
        *link = w;
    }
    w->fn = fn;
    w->opaque = opaque;
    r = set_events(l, w, events);
    if (r < 0 && !w->events) { /* never got in: forget it */
        link = find_watch(l, fd);
        *link = w->next;
        free(w);
    }
    pthread_mutex_unlock(&l->lock);
    return r;
}

void loop_unwatch(struct loop *l, int fd)
{
    pthread_mutex_lock(&l->lock);
    struct watch **link = find_watch(l, fd), *w = *link;
    if (w) {
        set_events(l, w, 0);
        *link = w->next;
        free(w);
    }
    pthread_mutex_unlock(&l->lock);
}

int loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&l->lock);
    bool room = l->post_count < MAX_POSTS;
    if (room)
        l->posts[l->post_count++] = (struct post){fn, opaque};
    pthread_mutex_unlock(&l->lock);
    if (!room)
        return -EAGAIN;
    wake(l);
    return 0;
}

static void serve(struct loop *l, const struct epoll_event *ev)
{
    int fd = (int)(uint32_t)ev->data.u64;
    uint32_t generation = (uint32_t)(ev->data.u64 >> 32);
    if (!generation) { /* our own descriptors */
        if (fd == l->timer_fd)
            run_timers(l);
        else
            run_posts(l);
        return;
    }
    pthread_mutex_lock(&l->lock);
    const struct watch *w = *find_watch(l, fd);
    bool current = w && w->generation == generation && w->events;
    loop_fn fn = current ? w->fn : NULL;
    void *opaque = current ? w->opaque : NULL;
    pthread_mutex_unlock(&l->lock);
    if (fn)
        fn(opaque, ev->events);
}

int loop_run(struct loop *l, struct err *e)
{
    l->thread = pthread_self();
    l->running = true;
    int r = 0;
    while (!l->quit && r == 0) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(l->epoll_fd, events, MAX_EVENTS, -1);
        if (n < 0 && errno != EINTR)
            r = err_set(e, errno, "loop-failed", "epoll_wait failed: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            serve(l, &events[i]);
    }
    l->running = false;
    return r;
}

void loop_quit(struct loop *l)
{
    l->quit = true;
    wake(l);
}
