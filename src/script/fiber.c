/* fiber.c -- C stacks: where they come from, how they are entered and left,
 * and where they go.
 *
 * Called by script/task.c, from the thread that owns the loop. A fiber is a
 * stack and the place where it stopped. The loop enters it, it leaves to the
 * loop; there is no switch from fiber to fiber, so there is one "outside"
 * only and it needs no scheduler.
 *
 *   guard, 64 KiB | stack, grows down ...                  | struct fiber
 *
 * A stack costs the pages it touched, two for a handler that waits, and a
 * mapping or two, of which the process has so many and no more (mapping.c).
 * struct fiber lies at the upper end, in a page that is touched anyway, so a
 * fiber needs no malloc (I10).
 *
 * Freeing a fiber unwinds nothing: whoever dropped it knows that nothing on
 * its stack owns anything outside the app's arena (I10). The stack then goes
 * to a pool of its thread, or back to the system, but not at once: an app that
 * dies with thousands of them would keep everybody else waiting (I9). So some
 * are looked at in each turn (reaper.c). A few deep stacks would fill the pool
 * with memory nobody uses, so one that was used deeply gives its pages back.
 * It is known by one page, some way down: once anything was called there,
 * it is not all zero any more (it holds return addresses, if nothing else).
 * Reading it does not take memory: an untouched page is read as the system's
 * page of zeros.
 *
 * Nobody can be made to give a stack back: it holds a handler that waits. So
 * how many one owner may have has to be said while there are some
 * (fiber_share()): as many as he likes while more than half are left, a few
 * dozen while more than an eighth is, and then a few. Whoever has fewer
 * notices nothing, unless so many have that few that all are taken.
 *
 * The sanitizers are told of every switch. A fiber that is freed while it
 * waits needs one last visit under ASan: only on its own stack can it say
 * that it is leaving for good, which frees the shadow of its locals. */
#include "script/fiber.h"
#include "base/limits.h"
#include "script/fiber_priv.h"
#include "script/mapping.h"
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* Stacks kept per thread; and how far down a kept one may be touched. */
#define POOL_STACKS 64
#define POOL_DEPTH  (64 * 1024)
#define PAGE_BYTES  4096
/* The last stacks: so many of all, as a fraction. */
#define LAST_PART    8
#define MAPPED_BYTES (MAPPING_GUARD_BYTES + FIBER_STACK_BYTES)
/* Below a frame that leaves: what the switch needs, ours or ucontext's. */
#define SWITCH_BYTES (16 * 1024)

/* Looked at in one turn: to unmap a stack takes 5 to 10 us. */
#define REAP_STACKS 16

struct pool {
    struct list stacks; /* all zero: not initialised yet */
    size_t count;
    struct list freed; /* and nobody has looked at them since */
    size_t freed_count;
};

static _Thread_local struct pool pool;

/* What is left below struct fiber. */
static size_t stack_bytes(void)
{
    size_t head = (sizeof(struct fiber) + 63) & ~(size_t)63;
    return FIBER_STACK_BYTES - head;
}

static char *stack_low(struct fiber *f)
{
    return (char *)f - stack_bytes();
}

/* The first function on every stack. */
static void begin(void *arg)
{
    struct fiber *f = arg;
    fiber_after_entering(f);
    f->state = FIBER_USED;
    f->entry(f->arg);
    ASSERT(false, "a fiber's entry never returns");
}

static struct fiber *map_stack(void)
{
    char *low = mapping_new(MAPPING_STACK, MAPPED_BYTES);
    if (low == NULL) {
        return NULL;
    }
    return (struct fiber *)(void *)(low + MAPPING_GUARD_BYTES + stack_bytes());
}

static void unmap_stack(struct fiber *f)
{
    mapping_free(
        MAPPING_STACK, stack_low(f) - MAPPING_GUARD_BYTES, MAPPED_BYTES);
}

/* Frames that are in use may lie there, with ASan's marks between them. */
static __attribute__((no_sanitize_address)) bool was_used_deeply(
    struct fiber *f)
{
    uintptr_t page = (uintptr_t)f - POOL_DEPTH;
    const uintptr_t *word =
        (const uintptr_t *)(page & ~(uintptr_t)(PAGE_BYTES - 1));
    uintptr_t any = 0;
    for (size_t i = 0; i < PAGE_BYTES / sizeof(*word); i++) {
        any |= word[i];
    }
    return any != 0;
}

static void begin_pool(void)
{
    if (UNLIKELY(pool.stacks.next == NULL)) {
        list_init(&pool.stacks);
        list_init(&pool.freed);
    }
}

/* What was used deeply gives back all but the page that `f` itself is in. */
static void clean(struct fiber *f)
{
    if (was_used_deeply(f)) {
        size_t unit = (size_t)sysconf(_SC_PAGESIZE);
        size_t bytes = stack_bytes() & ~(unit - 1);
        (void)madvise(stack_low(f), bytes, MADV_DONTNEED);
    }
}

/* To keep one more? When they are scarce another loop may want it. */
static bool has_room(void)
{
    return pool.count < POOL_STACKS &&
           mapping_stacks_left() > mapping_stacks_most() / LAST_PART;
}

/* NULL: none is kept. */
static struct fiber *take_kept(void)
{
    struct list *node = list_pop_head(&pool.stacks);
    if (node != NULL) {
        pool.count--;
        return container_of(node, struct fiber, node);
    }
    node = list_pop_head(&pool.freed);
    if (node == NULL) {
        return NULL;
    }
    pool.freed_count--;
    struct fiber *f = container_of(node, struct fiber, node);
    clean(f);
    return f;
}

uint32_t fiber_share(size_t spare)
{
    size_t most = mapping_stacks_most();
    size_t left = mapping_stacks_left() + pool.count + pool.freed_count + spare;
    if (LIKELY(left > most / 2)) {
        return UINT32_MAX;
    }
    if (left > most / LAST_PART) {
        return LIMIT_SCARCE_TASKS;
    }
    return left > 0 ? LIMIT_LAST_TASKS : 0;
}

struct fiber *fiber_new(void (*entry)(void *arg), void *arg)
{
    begin_pool();
    struct fiber *f = take_kept();
    if (f == NULL) {
        f = map_stack();
        if (f == NULL) {
            return NULL;
        }
    }
    *f = (struct fiber){.magic = FIBER_MAGIC,
        .entry = entry,
        .arg = arg,
        .home = &pool,
        .state = FIBER_NEW};
    list_init(&f->node);
#if SANITIZE_ASAN
    f->inside_low = stack_low(f);
    f->inside_bytes = stack_bytes();
#endif
#if SANITIZE_TSAN
    f->tsan_inside = __tsan_create_fiber(0);
#endif
    fiber_context_make(&f->inside, stack_low(f), stack_bytes(), begin, f);
    return f;
}

/* Are we on its stack? */
static bool is_inside(struct fiber *f)
{
    const char *here = __builtin_frame_address(0);
    return here >= stack_low(f) && here < (const char *)f;
}

void fiber_enter(struct fiber *f)
{
    CHECK(f, FIBER_MAGIC);
    ASSERT(f->home == &pool, "a fiber stays on its thread");
    ASSERT(f->state != FIBER_LOST, "who is lost stays so");
    ASSERT(!is_inside(f), "a fiber is entered from outside");
    fiber_enter_inline(f);
}

void fiber_leave(struct fiber *f)
{
    CHECK(f, FIBER_MAGIC);
    ASSERT(is_inside(f), "a fiber is left from inside");
    fiber_leave_inline(f);
}

#if !FIBER_UCONTEXT && defined(__linux__)

/* A signal that finds no room for its frame is turned into a SIGSEGV without
 * an address; then the stack pointer has to tell. */
#    define FRAME_BYTES (16 * 1024)

static uintptr_t *stack_pointer(ucontext_t *uc)
{
#    if defined(__x86_64__)
    return (uintptr_t *)(void *)&uc->uc_mcontext.gregs[REG_RSP];
#    else
    return (uintptr_t *)(void *)&uc->uc_mcontext.sp;
#    endif
}

bool fiber_is_overrun(const struct fiber *f, const void *info, void *context)
{
    const siginfo_t *si = info;
    uintptr_t low = (uintptr_t)f - stack_bytes();
    uintptr_t guard = low - MAPPING_GUARD_BYTES;
    if (si->si_code == SI_KERNEL) {
        uintptr_t sp = *stack_pointer(context);
        return sp >= guard && sp < low + FRAME_BYTES;
    }
    uintptr_t at = (uintptr_t)si->si_addr;
    return at >= guard && at < low;
}

/* What the switch back would do (fiber_priv.h), done by the kernel. */
void fiber_lose(struct fiber *f, void *context)
{
    ucontext_t *uc = context;
    const struct fiber_context *to = &f->outside;
    f->state = FIBER_LOST;
#    if SANITIZE_ASAN
    __sanitizer_start_switch_fiber(NULL, f->outside_low, f->outside_bytes);
#    endif
    *stack_pointer(uc) = (uintptr_t)to->sp;
#    if defined(__x86_64__)
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)to->pc;
    uc->uc_mcontext.gregs[REG_RBP] = (greg_t)to->fp;
    uc->uc_mcontext.gregs[REG_RBX] = (greg_t)to->bx;
#    else
    uc->uc_mcontext.pc = (uintptr_t)to->pc;
    uc->uc_mcontext.regs[29] = (uintptr_t)to->fp;
#    endif
}

#endif

/* A script that went deep and came back would keep all that it has touched
 * while it waits, 4,096 times over, and nothing of it counts against its app's
 * memory. */
void fiber_trim(struct fiber *f, uintptr_t frame)
{
    if (LIKELY(!was_used_deeply(f))) {
        return;
    }
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t low = (uintptr_t)stack_low(f) & ~(unit - 1);
    uintptr_t end = (frame - SWITCH_BYTES) & ~(unit - 1);
    if (end > low) {
        (void)madvise((void *)low, end - low, MADV_DONTNEED);
    }
}

void fiber_free(struct fiber *f)
{
    CHECK(f, FIBER_MAGIC);
    ASSERT(f->home == &pool, "a fiber stays on its thread");
    ASSERT(!is_inside(f), "a fiber is freed from outside");
#if SANITIZE_ASAN
    if (f->state == FIBER_USED) {
        f->is_dying = true;
        fiber_enter(f);
    }
    /* The frames that lay there left their red zones. */
    sanitize_unpoison(stack_low(f), stack_bytes());
#endif
#if SANITIZE_TSAN
    __tsan_destroy_fiber(f->tsan_inside);
#endif
    f->magic = 0;
    if (has_room() && !was_used_deeply(f)) {
        list_push_head(&pool.stacks, &f->node);
        pool.count++;
    } else {
        list_push_head(&pool.freed, &f->node);
        pool.freed_count++;
    }
}

bool fiber_reap(void)
{
    begin_pool();
    struct list *node;
    for (int i = 0; i < REAP_STACKS; i++) {
        node = list_pop_head(&pool.freed);
        if (node == NULL) {
            return false;
        }
        pool.freed_count--;
        struct fiber *f = container_of(node, struct fiber, node);
        if (has_room()) {
            clean(f);
            list_push_head(&pool.stacks, &f->node);
            pool.count++;
        } else {
            unmap_stack(f);
        }
    }
    return fiber_has_freed();
}

bool fiber_has_freed(void)
{
    return pool.freed_count > 0;
}

void fiber_pool_fini(void)
{
    struct list *node;
    while (fiber_reap()) {
    }
    while ((node = list_pop_head(&pool.stacks)) != NULL) {
        unmap_stack(container_of(node, struct fiber, node));
    }
    pool.count = 0;
}
