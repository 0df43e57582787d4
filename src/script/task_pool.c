/* task_pool.c -- what is kept for an app's next job.
 *
 * Called by task.c, and by itself where there is too much of it. From dear to
 * cheap: a few idle tasks with their fibers (limited per vm and per loop
 * thread, for ten thousand idle apps must not hold a touched stack each), some
 * more bare tasks with T only, and nothing beyond that.
 *
 * A struct task is no object of Lua's, so for want of its memory nothing would
 * be collected. Each vm keeps one in reserve: whoever begins with that makes
 * his thread on his fiber, and finds all the memory that garbage holds. */
#include "base/err.h"
#include "script/task_priv.h"

#ifdef MOONWIRE_TINY
#    define IDLE_PER_VM     1
#    define IDLE_PER_THREAD 1
#    define BARE_PER_VM     1
#else
#    define IDLE_PER_VM     2
#    define IDLE_PER_THREAD 32
#    define BARE_PER_VM     4
#endif

/* Idle tasks of this thread, the last used first. */
static _Thread_local struct {
    struct list list; /* all zero: not initialised yet */
    size_t count;
} resting;

static struct task *alloc_task(struct vm *vm)
{
    struct task *t = arena_realloc(vm->arena, NULL, 0, sizeof(*t));
    if (t == NULL) {
        t = vm->spare;
        vm->spare = NULL;
    }
    return t;
}

void pool_free(struct task *t)
{
    struct vm *vm = t->vm;
    list_remove(&t->in_vm);
    t->magic = 0;
    if (vm->spare == NULL) {
        vm->spare = t;
    } else {
        (void)arena_realloc(vm->arena, t, sizeof(*t), 0);
    }
}

void pool_unlink(struct task *t)
{
    if (!list_is_empty(&t->node)) {
        list_remove(&t->node);
        list_remove(&t->resting);
        t->vm->idle_count--;
        resting.count--;
    }
}

bool pool_wants_bare(const struct vm *vm)
{
    return vm->bare_count < BARE_PER_VM;
}

/* The task has no fiber any more, or got none. */
static void give_bare(struct task *t)
{
    if (t->T == NULL) {
        pool_free(t);
        return;
    }
    list_push_head(&t->vm->bare, &t->node);
    t->vm->bare_count++;
}

/* Takes the fiber from an idle task. */
static void strip(struct task *t)
{
    pool_unlink(t);
    task_take_fiber(t);
    give_bare(t);
}

/* The task that has rested longest. A vm that is busy keeps its own: being
 * used since the last look puts it back to the front. One that is stopped or
 * dead is not entered. NULL: none can be had. */
static struct task *longest_resting(void)
{
    for (size_t looks = 2 * resting.count; looks > 0; looks--) {
        struct task *t = container_of(resting.list.prev, struct task, resting);
        if (!t->is_used && t->vm->stopped == NULL && t->vm->end == VM_ALIVE) {
            return t;
        }
        t->is_used = false;
        list_remove(&t->resting);
        list_push_head(&resting.list, &t->resting);
    }
    return NULL;
}

void pool_rest(struct task *t)
{
    if (UNLIKELY(resting.list.next == NULL)) {
        list_init(&resting.list);
    }
    struct vm *vm = t->vm;
    list_push_head(&vm->idle, &t->node);
    list_push_head(&resting.list, &t->resting);
    resting.count++;
    if (++vm->idle_count > IDLE_PER_VM) {
        strip(container_of(vm->idle.prev, struct task, node));
    }
    if (resting.count > IDLE_PER_THREAD) {
        struct task *longest = longest_resting();
        if (longest != NULL) {
            strip(longest);
        }
    }
}

/* A task without a fiber. NULL: no memory in the arena. */
static struct task *take_bare(struct vm *vm)
{
    struct list *node = list_pop_head(&vm->bare);
    if (node != NULL) {
        vm->bare_count--;
        return container_of(node, struct task, node);
    }
    struct task *t = alloc_task(vm);
    if (t == NULL) {
        return NULL;
    }
    *t = (struct task){.magic = TASK_MAGIC, .vm = vm};
    list_init(&t->node);
    list_init(&t->resting);
    list_push_tail(&vm->tasks, &t->in_vm);
    return t;
}

/* The process may have no more of them: then who rests goes without. */
static struct fiber *new_fiber(struct task *t)
{
    struct fiber *f = fiber_new(task_live, t);
    struct task *longest = NULL;
    if (f == NULL && resting.count > 0) {
        longest = longest_resting();
    }
    if (longest != NULL) {
        strip(longest);
        f = fiber_new(task_live, t);
    }
    return f;
}

int pool_make(struct vm *vm, struct task **out)
{
    struct task *t = take_bare(vm);
    if (t == NULL) {
        return ERR_NOMEM;
    }
    t->fiber = new_fiber(t);
    if (t->fiber == NULL) {
        give_bare(t);
        return ERR_QUOTA;
    }
    *out = t;
    return 0;
}

bool task_has_stack(const struct vm *vm, bool is_awaited)
{
    if (LIKELY(vm->busy_count == 0 && !list_is_empty(&vm->idle))) {
        return true; /* has had it all the time */
    }
    uint32_t share = fiber_share(resting.count);
    if (!is_awaited) {
        share -= share / 4;
    }
    return vm->busy_count < share;
}
