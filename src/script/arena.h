/* arena.h -- one app's memory: reserved as address space, capped, and gone
 * with one munmap.
 *
 * Lua's allocator and nothing else allocates here, from one thread. The cap
 * counts what the arena really takes from the system (pages in use), not
 * what is live. No call into malloc, so a script may be preempted in it. */
#ifndef SCRIPT_ARENA_H
#define SCRIPT_ARENA_H

#include "base/base.h"

struct arena;

/* NULL when the address space is refused, or a mapping (mapping.h). */
struct arena *arena_new(size_t cap_bytes) NODISCARD;
void arena_free(struct arena *a);
/* The contract of lua_Alloc: new_size 0 frees (returns NULL); NULL on growth:
 * over the cap, `p` is as it was. Shrinking never fails. Results are aligned
 * to 16 bytes. Torture (mem_fail_at) reaches this too. */
void *arena_realloc(struct arena *a, void *p, size_t old_size, size_t new_size);
/* `fn` is called at each refusal, which may be answered with a collection and
 * the same request once more. It must not allocate here. */
void arena_on_refusal(struct arena *a, void (*fn)(void *arg), void *arg);
size_t arena_used(const struct arena *a); /* bytes taken from the system */
size_t arena_live(const struct arena *a); /* bytes handed out */
/* The least that was live when Lua asked again, after a refusal and the
 * collection that follows it, since the last call; what is live now if that
 * is less. */
size_t arena_take_least(struct arena *a);
size_t arena_cap(const struct arena *a);

#endif
