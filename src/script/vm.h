/* vm.h -- one Lua state in an arena of its own, and the tasks that run in it.
 *
 * Lua is entered in script/task.c only, always on a fiber (I7). A vm knows
 * nothing of WebSockets: its owner (app/state) hangs behind `owner`. */
#ifndef SCRIPT_VM_H
#define SCRIPT_VM_H

#include "base/list.h"
#include "script/arena.h"
#include <lua.h>

struct vm_config {
    size_t memory_bytes; /* cap of the arena */
    uint32_t max_tasks;  /* fibers at once, parked ones included */
    /* A job may use so much CPU time before it is ended. 0: jobs are not
     * ended, and not stopped either (what they run is known to be short). */
    uint32_t cpu_ms;
    void *owner;
    /* A parked task became ready (task_wake): arrange for task_resume(). */
    void (*on_ready)(void *owner);
};

struct vm;

/* Why a vm cannot be entered any more. */
enum vm_end {
    VM_ALIVE,
    VM_END_CPU,  /* a job did not end */
    VM_END_FULL, /* what it keeps, or what waits in it, leaves no memory for
                    its jobs */
    VM_END_CRASH /* its stack was full, or Lua found itself broken */
};

#define VM_WHY_BYTES 128

/* NULL when memory or address space is refused. The state is bare: no
 * library is open. */
struct vm *vm_new(const struct vm_config *config) NODISCARD;
/* Drops everything with one munmap: no lua_close, no unwinding. Parked tasks'
 * waits are cancelled first; their jobs get finished() with no done(). Not
 * from a fiber of this vm. */
void vm_free(struct vm *vm);
/* Does some of that, for a vm with thousands of tasks, of which none is entered
 * any more. False: what is left is no work. */
bool vm_drop_some(struct vm *vm);
lua_State *vm_state(struct vm *vm);
/* Is a job stopped in the middle of it? Then nothing of its Lua state may be
 * touched; task_resume() goes on with it. */
bool vm_is_stopped(const struct vm *vm);
/* Nobody enters it any more: its owner finds it full. From the loop's stack,
 * while no job of it is stopped. */
void vm_give_up(struct vm *vm, const char *why);
/* Once it is not VM_ALIVE, all that can be done is vm_free(). */
enum vm_end vm_end(const struct vm *vm);
const char *vm_why(const struct vm *vm); /* in words */
void *vm_owner(const struct vm *vm);
struct arena *vm_arena(const struct vm *vm);
/* The vm of any of its threads: Lua hands the extra space of the first one,
 * where it stands, on to all others. */
static inline struct vm *vm_from(lua_State *L)
{
    return *(struct vm **)lua_getextraspace(L);
}

#endif
