/* sched.h -- who runs Lua next on this loop.
 *
 * A unit is an app on this loop. It is posted when it has something to run
 * and is run in the loop's LOOP_RUN phase: an app that has something left of
 * its share goes before those that have used theirs up, and these take
 * turns. While units wait the loop does not block; a turn spends at most
 * LIMIT_TURN_LUA_MS on Lua, and ends when a script had to be stopped. */
#ifndef SCRIPT_SCHED_H
#define SCRIPT_SCHED_H

#include "base/histogram.h"
#include "loop/loop.h"

struct sched;

/* Of a unit; its loop counts, anybody reads. */
struct sched_stats {
    struct histogram wait; /* from being ready until it runs, in CPU time of
                              the loop's thread */
    _Atomic uint64_t slices;
    _Atomic uint64_t stops; /* slices at whose end a script was stopped */
    _Atomic uint64_t rests; /* times it had to rest for its share's sake */
    _Atomic uint64_t cpu_ns;
};

enum sched_place {
    SCHED_NOWHERE,
    SCHED_FRESH,  /* has something left of its share */
    SCHED_QUEUED, /* has used it up */
    SCHED_RESTING /* over its long-term share */
};

struct sched_unit {
    struct list node; /* in the list of its place, or alone */
    /* Runs one job; false: nothing left to run. */
    bool (*run)(struct sched_unit *u);
    /* It has to rest for so long; may be NULL. */
    void (*on_rest)(struct sched_unit *u, uint32_t ms);
    struct sched *sched; /* borrowed; NULL: never posted */
    bool *gone;          /* while it runs: what sched_remove() sets */
    enum sched_place place;
    bool is_posted;    /* while it runs: again */
    uint32_t weight;   /* in percent: 200 has slices of 2 ms */
    uint32_t share;    /* of the thread's time, in percent; 100: all */
    int64_t left_ns;   /* of its share of this round */
    uint64_t round;    /* whose share that is */
    uint64_t ready_ns; /* when it was posted, CPU time */
    uint64_t usual_ns; /* CPU time that it uses at a time, on average */
    int64_t bank_ns;   /* of the long-term share */
    uint64_t bank_at_ns;
    struct sched_stats stats;
};

struct sched *sched_new(struct loop *l) NODISCARD;
void sched_free(struct sched *s);
/* Weight and share are 100 until set. */
void sched_unit_init(struct sched_unit *u, bool (*run)(struct sched_unit *u));
/* Queues the unit unless it is queued. */
void sched_post(struct sched *s, struct sched_unit *u);
/* Takes it out of the queue; also from inside run(), after which the unit
 * may be freed. */
void sched_remove(struct sched_unit *u);
/* May a job of this unit run at once, from the reading side? True while it has
 * something left of its share, nobody is before it, and this turn's Lua time
 * is not used up. Cheap: the clock is read once in a few calls. */
bool sched_may_run_now(struct sched *s, struct sched_unit *u);
/* A job of this unit was stopped. Shall it go on at once, since it had only
 * just begun and nobody else is in sight? */
bool sched_goes_on(struct sched *s, struct sched_unit *u);
/* Such a job was stopped: its slice is over. (From inside run(): nothing.) */
void sched_stopped_now(struct sched *s, struct sched_unit *u);

#endif
