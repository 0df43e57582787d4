/* reaper.h -- large mappings are given back to the system a piece at a time.
 *
 * All of this thread. */
#ifndef SCRIPT_REAPER_H
#define SCRIPT_REAPER_H

#include "base/base.h"

/* Gives back [base, base + reserved), of which up to `touched` bytes from the
 * start on may hold memory: at once if that is little, else later. Nobody looks
 * at it any more. Page-aligned. */
void reaper_take(void *base, size_t reserved, size_t touched);
/* One piece. False: nothing is left. */
bool reaper_work(void);
bool reaper_has_work(void);
/* Everything. */
void reaper_finish(void);

#endif
