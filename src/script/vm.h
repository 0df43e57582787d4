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
    void *owner;
    /* A parked task became ready (task_wake): arrange for task_resume(). */
    void (*on_ready)(void *owner);
};

struct vm;

/* NULL when memory or address space is refused. The state is bare: no
 * library is open. */
struct vm *vm_new(const struct vm_config *config) NODISCARD;
/* Drops everything with one munmap: no lua_close, no unwinding. Parked tasks'
 * waits are cancelled first; their jobs get finished() with no done(). Not
 * from a fiber of this vm. */
void vm_free(struct vm *vm);
lua_State *vm_state(struct vm *vm);
void *vm_owner(const struct vm *vm);
struct arena *vm_arena(const struct vm *vm);
/* The vm of any of its threads: Lua hands the extra space of the first one,
 * where it stands, on to all others. */
static inline struct vm *vm_from(lua_State *L)
{
    return *(struct vm **)lua_getextraspace(L);
}

#endif
