/* SPDX-License-Identifier: MIT */
/* One virtual machine. Everything hangs off struct vm; there are no globals, and several VMs can
 * live in one process. */
#ifndef RING3_VM_H
#define RING3_VM_H

#include <pthread.h>

#include "ring3/backend.h"
#include "ring3/block.h"
#include "ring3/board.h"
#include "ring3/dev.h"
#include "ring3/display.h"
#include "ring3/engine.h"
#include "ring3/loop.h"
#include "ring3/net.h"
#include "ring3/vcpu.h"

/* Exit codes of `ring3 run`. 1 to 119 are the guest's own, given through the debug-exit port. */
enum vm_exit_code {
    VM_EXIT_POWER_OFF = 0,
    VM_EXIT_TRIPLE_FAULT = 120,
    VM_EXIT_PANIC = 121,       /* --fail-on matched */
    VM_EXIT_REBOOT = 122,      /* guest reset while --no-reboot (the default) */
    VM_EXIT_UNSUPPORTED = 123, /* guest operation ring3 does not implement */
    VM_EXIT_TIMEOUT = 124,     /* --timeout passed */
    VM_EXIT_FAILURE = 125,     /* ring3's own failure, bad usage, killed by a signal */
    VM_EXIT_HOST = 126,        /* the host lacks something */
    VM_EXIT_NOT_FOUND = 127,   /* a named file does not exist */
};

/* A drive and what is in it. */
enum drive_interface {
    DRIVE_AUTO, /* disks: virtio for kernels given on the command line, else IDE; see board */
    DRIVE_VIRTIO,
    DRIVE_IDE,
    DRIVE_FLOPPY,
};
struct drive_config {
    struct block_config image; /* .file NULL: the drive is empty (floppy and CD only) */
    enum drive_interface interface;
    bool cdrom;
};
struct nic_config {
    const char *model;   /* "virtio", "rtl8139", ...; NULL: the board's choice */
    const char *backend; /* as netdev_open() takes it */
    uint8_t mac[6];
};
struct share_config { /* a host directory for the guest, by 9P */
    const char *path, *tag;
    bool read_only;
};
/* What a board has only when it is asked for. */
enum vm_extra {
    VM_RNG = 1 << 0,     /* virtio entropy; comes with a kernel of the command line, too, */
    VM_BALLOON = 1 << 1, /* as does the memory balloon */
    VM_CONSOLE = 1 << 2, /* virtio console: input and output of the terminal, in place of com1 */
    VM_VIRTIO_LEGACY = 1 << 3, /* virtio devices serve drivers of this kind only */
    VM_VIRTIO_MODERN = 1 << 4,
};
#define VM_MAX_DRIVES 8
#define VM_MAX_NICS   4
#define VM_MAX_SHARES 4

/* Order in which firmware tries to start from drives. */
enum boot_device { BOOT_NONE, BOOT_FLOPPY, BOOT_DISK, BOOT_CDROM };
#define VM_MAX_BOOT 3

/* What the user asked for. Strings are borrowed for the VM's life. */
struct vm_config {
    const struct board_ops *board;
    /* NULL: auto. vm_build() takes the best that this host can run, and says so unless it is the
     * very best; with the virtual clock, which interprets in any case, that is the interpreter. */
    const struct engine_ops *engine;
    struct dbt_options dbt; /* for engines that translate */
    enum clock_kind clock;
    uint64_t ram_bytes;
    const char *kernel, *initrd, *append; /* paths; append "" when absent; kernel NULL: firmware */
    bool firmware;    /* run the firmware even if there is a kernel, which it then starts */
    const char *bios; /* file to use in place of the distribution's firmware, or NULL */
    enum boot_device boot[VM_MAX_BOOT]; /* BOOT_NONE from the first that is not given */
    bool boot_menu;                     /* firmware offers a menu and waits a little */
    struct drive_config drive[VM_MAX_DRIVES];
    unsigned drives;
    struct nic_config nic[VM_MAX_NICS];
    unsigned nics;
    struct share_config share[VM_MAX_SHARES];
    unsigned shares;
    unsigned extras;   /* VM_RNG and the like */
    bool restoring;    /* a snapshot will fill the machine: load no kernel, run no firmware */
    bool display;      /* a screen, even if no firmware wants one */
    bool allow_reboot; /* guest reset restarts the machine */
    /* Runs first on every thread the VM starts, with `opaque`; may be NULL. For what the process
     * keeps per thread, such as a stack for crash signals. */
    void (*thread_start)(void *opaque);
    void *thread_opaque;
};

struct snapshot_rest;
struct virtio;
struct vm {
    struct vm_config config;
    struct log log;
    struct clock *clock;
    struct loop *loop;
    struct phys *mem;
    struct bus *mmio, *pio;
    struct vcpu *vcpu;       /* one, so far */
    struct device *devices;  /* list, newest first; freed in that order */
    struct chardev *console; /* first serial port and debug console; owned */
    struct block
        *drive[VM_MAX_DRIVES];        /* as config.drive; opened by vm_build, owned; NULL: empty */
    char *medium_name[VM_MAX_DRIVES]; /* files that were put in later; owned */
    struct netdev *nic[VM_MAX_NICS];  /* as config.nic; owned */
    struct display display;           /* the board's; .ops NULL: it has no screen */
    struct virtio *balloon;           /* the board's memory balloon, or NULL: virtio_balloon.h */
    struct snapshot_rest *rest;       /* memory of a snapshot that is still to come, or NULL */
    void *board_state;                /* the board's own; freed by a device in the list */
    bool engine_attached;
    pthread_t vcpu_thread;
    bool vcpu_thread_started;
    bool timers_borrowed; /* vCPU thread's own: it runs the clock's timers, not the loop */
    bool woken_by_timer;  /* likewise: what ended the last halt */
    pthread_mutex_t stop_lock;
    pthread_cond_t parking; /* with stop_lock: of the next two */
    unsigned pauses;        /* under stop_lock: vm_pause() less vm_resume() */
    bool parked;            /* under stop_lock: the vCPU thread stands still, or is not there */
    bool stopped;           /* under stop_lock: the first vm_stop wins */
    int exit_code;          /* under stop_lock; valid once stopped */
    char stop_id[32], stop_text[256]; /* under stop_lock; text is "" for a plain power-off */
    /* A debugger, if there is one: called on the loop thread after EXIT_DEBUG; it has to
     * vm_pause(). */
    void (*debug_stopped)(void *opaque);
    void *debug_opaque;
    uint64_t created_ns;       /* host monotonic, for statistics */
    _Atomic bool reset_wanted; /* a device pulsed the reset line */
};

/* Make clock, loop, memory, buses, board and guest image. `console` passes into the VM's hands
 * even on error. 0 or -errno. */
int vm_build(struct vm *vm, const struct vm_config *config, struct log log, struct chardev *console,
             struct err *e);
/* Also right for a half-built VM. */
void vm_free(struct vm *vm);

/* Start the vCPU thread, serve the event loop in the calling thread until vm_stop, join.
 * Returns the exit code; the reason is in stop_id and stop_text. */
int vm_run(struct vm *vm);

/* Put another image into CD-ROM or floppy drive `drive` (an index of config.drive), or NULL to take
 * out what is in it. The guest is told. A file that cannot be opened changes nothing. Loop thread.
 */
int vm_change_medium(struct vm *vm, unsigned drive, const char *file, struct err *e);

/* End the VM with this code; the first call wins. text may be "" . Any thread. */
void vm_stop(struct vm *vm, int code, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Stop the machine between two instructions, so that its state is what tables and memory say:
 * the processor stands still, so does guest time, no block request is under way. They nest. The
 * loop goes on; its handlers may still change devices. Loop thread, or before vm_run(). */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
bool vm_is_paused(struct vm *vm); /* any thread */

/* Pulse the reset line: restart or stop (VM_EXIT_REBOOT), as configured. Any thread. */
void vm_reset_request(struct vm *vm);

/* Hand a device to the VM (owned). Build time only. */
void vm_add_device(struct vm *vm, struct device *d);

#endif
