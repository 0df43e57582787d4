/* preempt.h -- what code that a script can call has to know about being
 * stopped.
 *
 * A script is stopped every LIMIT_SLICE_US wherever it is: in the middle of
 * Lua, of a C function that Lua called, of an allocation. Then the loop goes
 * on and may do anything, to conns, hub, clients, timers. So a C function
 * that Lua calls and that touches what is not in the app's arena does it
 * between hold and release (I10):
 *
 *   check all arguments       may raise
 *   preempt_hold()
 *     look up, read, change   no Lua call in here, at most 50 us
 *   preempt_release()         may stop here: what was looked up is stale now
 *   push the results          may raise
 *
 * What may take longer is done in steps: each asks preempt_is_due() where it
 * could leave off, and ends there; between two of them preempt_breathe() lets
 * the script be stopped, if somebody waits for that. What the steps leave half
 * done meanwhile belongs to somebody who can drop it, for the fiber may never
 * come back (hub/walk.c).
 *
 * Sections nest. Nothing raises inside of one: the count would stay up, and
 * the app could not be stopped. No malloc, FILE, setlocale or time zone
 * outside of one: these belong to everybody, and somebody else is going to
 * call them while we are stopped in them. */
#ifndef SCRIPT_PREEMPT_H
#define SCRIPT_PREEMPT_H

#include "base/base.h"
#include <signal.h>

/* A tick found this thread in a section. Cleared before a fiber is entered: so
 * ticks that find it still set are ticks without work. It leaves its file
 * because walks ask for each member. */
extern _Thread_local volatile sig_atomic_t preempt_pending;

void preempt_hold(void);
void preempt_release(void);
/* In a section: has it lasted long enough? A hint; nothing has to be done. In
 * a build that measures sections (MOONWIRE_HOLDS) it always has. */
static inline bool preempt_is_due(void)
{
#ifdef MOONWIRE_HOLDS
    return true;
#else
    return UNLIKELY(preempt_pending != 0);
#endif
}
/* Ends the section and begins another one, if one is due. */
static inline void preempt_breathe(void)
{
    if (preempt_is_due()) {
        preempt_release();
        preempt_hold();
    }
}
/* Can the script be stopped at this point? For asserts and checks. */
bool preempt_is_possible(void);

/* The CPU time of this thread, in nanoseconds; a system call. */
uint64_t preempt_cpu_ns(void);
/* Of this thread: how often a script was stopped, and the longest that a
 * section has kept one running after its slice was over, in CPU time. Known
 * of those that a tick has hit. */
uint64_t preempt_count(void);
uint64_t preempt_longest_hold_ns(void);
/* How long a slice lasts on this thread now. */
uint64_t preempt_slice_ns(void);
/* Is the thread's timer running? */
bool preempt_is_ticking(void);
/* Deletes this thread's timer. */
void preempt_fini(void);

/* For tests: slices of this thread from now on; 0: as usual. */
void preempt_set_slice_us(uint32_t us);

#endif
