/* vm.c -- one Lua state in one arena: made here, dropped here, run by task.c.
 *
 * Called by app/state. The arena is Lua's only allocator and holds struct vm
 * too, so everything of an app's state goes with its mapping: no lua_close(),
 * no finalizers, no walk over the heap, however large it is and in whatever
 * condition. That is also the only way to drop a state that was stopped in
 * the middle of something (I9, I10).
 *
 * The collector stays incremental. The generational mode of 5.4.4 has known
 * bugs that were fixed later, and a minor collection cannot be split, which
 * an app that shares its loop would feel.
 *
 * Opens no library: what a script may see is sandbox.c's business. */
#include "script/vm.h"
#include "base/log.h"
#include "script/task_priv.h"
#include <stdlib.h>

/* Tasks that vm_drop_some() looks at: 3 us each, for they have gone cold. */
#ifdef MOONWIRE_TINY
#    define DROP_STEP 2
#else
#    define DROP_STEP 64
#endif

static void *allocate(void *ud, void *p, size_t old_size, size_t new_size)
{
    return arena_realloc(ud, p, old_size, new_size);
}

/* An error outside of any protected call. We have no such place: task.c runs
 * everything inside one (I7). But Lua 5.4.4 has: at the cap it can fail while
 * it puts the error's text onto the stack (fixed in 5.4.8). Returning from
 * here would end the process. */
static int on_panic(lua_State *L)
{
    struct vm *vm = vm_from(L);
    if (vm != NULL && vm->current != NULL) {
        kill_leave_for_good(vm, "Lua failed outside of a protected call");
    }
    const char *text =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "not a string";
    struct log_fields f = {.kind = "crash", .err = text};
    log_event(LOG_ERROR, &f, "I7: Lua error outside of a protected call");
    abort();
}

struct vm *vm_new(const struct vm_config *config)
{
    struct arena *arena = arena_new(config->memory_bytes);
    if (arena == NULL) {
        return NULL;
    }
    struct vm *vm = arena_realloc(arena, NULL, 0, sizeof(*vm));
    lua_State *L = lua_newstate(allocate, arena);
    if (vm == NULL || L == NULL) {
        arena_free(arena);
        return NULL;
    }
    *vm = (struct vm){.magic = VM_MAGIC,
        .arena = arena,
        .L = L,
        .config = *config,
        .end = VM_ALIVE};
    list_init(&vm->tasks);
    list_init(&vm->dropped);
    list_init(&vm->ready);
    list_init(&vm->idle);
    list_init(&vm->bare);
    *(struct vm **)lua_getextraspace(L) = vm;
    (void)lua_atpanic(L, on_panic);
    arena_on_refusal(arena, where_note, vm);
    return vm;
}

bool vm_drop_some(struct vm *vm)
{
    CHECK(vm, VM_MAGIC);
    ASSERT(vm->current == NULL, "a vm is not dropped from its own fiber");
    return task_drop_some(vm, DROP_STEP);
}

void vm_free(struct vm *vm)
{
    if (vm == NULL) {
        return;
    }
    CHECK(vm, VM_MAGIC);
    ASSERT(vm->current == NULL, "a vm is not freed from its own fiber");
    (void)task_drop_some(vm, UINT32_MAX);
    ASSERT(list_is_empty(&vm->dropped), "tasks are fewer");
    vm->magic = 0;
    arena_free(vm->arena);
}

lua_State *vm_state(struct vm *vm)
{
    return vm->L;
}

bool vm_is_stopped(const struct vm *vm)
{
    return vm->stopped != NULL;
}

void vm_give_up(struct vm *vm, const char *why)
{
    ASSERT(vm->current == NULL && vm->stopped == NULL, "I7");
    kill_vm(vm, VM_END_FULL, why);
}

enum vm_end vm_end(const struct vm *vm)
{
    return vm->end;
}

const char *vm_why(const struct vm *vm)
{
    return vm->why;
}

void *vm_owner(const struct vm *vm)
{
    return vm->config.owner;
}

struct arena *vm_arena(const struct vm *vm)
{
    return vm->arena;
}
