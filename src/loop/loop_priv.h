/* loop_priv.h -- what the files of this room share: the body of a loop, its
 * mailbox, the seam between the loop and its readiness backend, and the bare
 * timer wheel (which tests drive with a clock of their own). */
#ifndef LOOP_LOOP_PRIV_H
#define LOOP_LOOP_PRIV_H

#include "base/limits.h"
#include "base/word.h"
#include "loop/io.h"
#include "loop/loop.h"
#include "loop/mailbox.h"
#include "loop/timers.h"
#include <pthread.h>
#include <uv.h>

#if defined(__linux__) && !defined(MOONWIRE_IO_UV)
#    define LOOP_IO_EPOLL 1
#    include <sys/epoll.h>
#else
#    define LOOP_IO_EPOLL 0
#endif

#if defined(MOONWIRE_TINY)
#    define TIMERS_BITS 2
#    define IO_BATCH    2
#else
#    define TIMERS_BITS 6
#    define IO_BATCH    1024
#endif
#define TIMERS_SLOTS  (1 << TIMERS_BITS)
#define TIMERS_LEVELS ((64 + TIMERS_BITS - 1) / TIMERS_BITS)
#define TIMERS_NEVER  UINT64_MAX

/* A level of the wheel is one digit of the due time, in base TIMERS_SLOTS; a
 * timer lies at the highest digit in which its due time and now_ms differ. So
 * whatever lies on a lower level is due earlier than all above it, and all
 * occupied slots of a level lie ahead of now_ms's own digit. */
struct timers {
    uint64_t now_ms; /* everything due by then has been moved to `due` */
    /* A clear bit says the slot is empty. A set one may lie: timer_stop()
     * does not know the wheel. The visit that finds nothing clears it. */
    uint64_t occupied[TIMERS_LEVELS];
    struct list slots[TIMERS_LEVELS][TIMERS_SLOTS];
    struct list due; /* fires at the next timers_advance() */
};

void timers_init(struct timers *w, uint64_t now_ms);
bool timers_is_empty(const struct timers *w);
/* Files a timer, which is in no list, by its due_ms. Returns when the wheel
 * wants to be advanced for it: at its due time or before. */
uint64_t timers_file(struct timers *w, struct timer *t);
/* When to advance next at the latest; TIMERS_NEVER: nothing is filed. */
uint64_t timers_next(const struct timers *w);
/* Fires all that is due by now_ms, in the order of (due time, start). What
 * the callbacks start fires at a later advance at the earliest. */
void timers_advance(struct timers *w, uint64_t now_ms);

/* Letters in order; `last` is where the next one is hung. */
struct letter_chain {
    struct letter *first;
    struct letter **last;
};

struct mailbox {
    struct word pending;    /* sent here and not opened yet */
    struct word has_staged; /* outgoing_mask is not 0 */
    pthread_mutex_t lock;   /* a leaf: for box and is_asleep */
    struct letter_chain box;
    bool is_asleep; /* the owner waits in its poll and wants a ring */
    /* The rest is the owner's. */
    struct letter_chain opening; /* taken out of the box */
    struct outgoing {
        struct loop *to;
        uint64_t count;
        struct letter_chain chain;
    } outgoing[LIMIT_LOOPS]; /* staged, by the receiver's index */
    uint64_t outgoing_mask;  /* those that are not empty */
};

void mailbox_init(struct mailbox *m);
void mailbox_fini(struct mailbox *m);
/* All staged letters leave. */
void mailbox_send(struct loop *l);
/* Before a wait. False: there are letters, so do not wait. */
bool mailbox_doze(struct loop *l);
/* Opens what has come, as far as the turn has time for it. */
void mailbox_open(struct loop *l);

struct load {
    struct word figure;    /* when it was taken, and permille */
    struct word is_asleep; /* in a poll that waits */
    uint64_t sampled_ms;
    uint64_t cpu_ns;
};

void load_turn(struct loop *l);
void load_sleep(struct loop *l); /* before a wait */
void load_wake(struct loop *l);  /* behind it, before anybody is called */

#define LOOP_MAGIC 0x4c4f4f50u /* "LOOP" */

struct loop {
    uint32_t magic;
    uint32_t index;
    uv_loop_t uv;
    /* Never rings. It is always active, and libuv neither waits nor runs
     * anything when no handle is. */
    uv_async_t anchor;
    struct list hooks[LOOP_PHASES];
    struct list deferred;
    struct timers timers;
    uv_timer_t alarm;  /* ends the wait for the earliest timer */
    uint64_t alarm_ms; /* TIMERS_NEVER: not set */
    uint32_t watch_count;
    struct list grounds; /* watch_ground.c */
    bool is_in_turn;
    bool is_stopping;
    bool keeps_polling;
    bool has_no_fs_events; /* for tests: watch.c falls back to polling */
#if LOOP_IO_EPOLL
    int epoll_fd;
    struct epoll_event batch[IO_BATCH];
#endif
    struct metrics metrics;
    struct load load;
    struct timer spare_timer; /* memory goes back to the system */
    struct mailbox mailbox;
};

/* The backend: io_epoll.c or io_uv.c. */
int io_init(struct loop *l) NODISCARD;
void io_fini(struct loop *l);
/* Waits at most wait_ms (-1: without bound), but never past what libuv has to
 * do; wakes up (load_wake); brings loop_now_ms() up to date, calls what is
 * ready and lets libuv run. */
void io_poll(struct loop *l, int wait_ms);

/* For the backend: wait_ms cut to what libuv's timers, closing handles and new
 * watchers leave of it. */
int loop_bound_wait(struct loop *l, int wait_ms);

/* The loop's end of the wheel (timers.c). */
void timers_open(struct loop *l);
void timers_close(struct loop *l); /* all timers must be stopped */
void timers_turn(struct loop *l);

#endif
