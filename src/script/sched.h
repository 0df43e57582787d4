/* sched.h -- who runs Lua next on this loop.
 *
 * A unit is an app on this loop. It is posted when it has something to run
 * and is run in the loop's LOOP_RUN phase, in turn with the others, until it
 * has nothing left or its slice is over. While units wait the loop does not
 * block; a turn spends at most LIMIT_TURN_LUA_MS on Lua. (Deficits, weights
 * and preemption come with the sandbox.) */
#ifndef SCRIPT_SCHED_H
#define SCRIPT_SCHED_H

#include "loop/loop.h"

struct sched;

struct sched_unit {
    struct list node; /* in the run queue, or alone */
    /* Runs one job; false: nothing left to run. */
    bool (*run)(struct sched_unit *u);
    bool *gone; /* while it runs: what sched_remove() sets */
};

struct sched *sched_new(struct loop *l) NODISCARD;
void sched_free(struct sched *s);
void sched_unit_init(struct sched_unit *u, bool (*run)(struct sched_unit *u));
/* Queues the unit unless it is queued. */
void sched_post(struct sched *s, struct sched_unit *u);
/* Takes it out of the queue; also from inside run(), after which the unit
 * may be freed. */
void sched_remove(struct sched_unit *u);
/* May a job run at once, from the reading side? True while nobody is queued
 * and this turn's Lua time is not used up. Cheap: the clock is read once in
 * a few calls. */
bool sched_may_run_now(struct sched *s);

#endif
