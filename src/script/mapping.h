/* mapping.h -- memory that apps have the process map: stacks and arenas, how
 * many of them there may be, and the guard that each of them has.
 *
 * The kernel bounds the mappings of a process (vm.max_map_count). What is
 * mapped here stays below that, all loops together, whatever apps do; the
 * rest is for everything else. Any thread. */
#ifndef SCRIPT_MAPPING_H
#define SCRIPT_MAPPING_H

#include "base/base.h"

enum mapping_use { MAPPING_STACK, MAPPING_ARENA, MAPPING_USES };

/* Of the bytes, at that end where somebody may overstep: a signal frame can
 * jump over a guard of one page. */
#define MAPPING_GUARD_BYTES ((size_t)64 * 1024)

/* Reads what the system allows, and tries what it can. Happens by itself with
 * the first mapping; for whoever wants it to be early. */
void mapping_init(void);
/* Address space that takes memory where it is touched, with its guard: below a
 * stack, above an arena. NULL: the bound is reached, or the system refuses. */
void *mapping_new(enum mapping_use use, size_t bytes) NODISCARD;
void mapping_free(enum mapping_use use, void *p, size_t bytes);
/* Frees a part at its end; mapping_free() has the rest. */
void mapping_cut(void *p, size_t bytes);
/* Stacks that the process may have, beside the arenas there are; and how many
 * of those can still be had. */
size_t mapping_stacks_most(void);
size_t mapping_stacks_left(void);
/* For tests: as if vm.max_map_count were that; 0: as it is. `needs_none`: a
 * guard needs no mapping of its own, if that can be had here at all. */
void mapping_pretend(uint64_t max_map_count, bool needs_none);
/* Do guards of new mappings need none of their own? */
bool mapping_guards_are_free(void);

#endif
