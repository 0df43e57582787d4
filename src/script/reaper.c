/* reaper.c -- what apps held is given back to the system a piece at a time:
 * large mappings here, and stacks (fiber.c).
 *
 * Called by arena.c at the end of an app's state. The kernel frees some 30
 * pages in a microsecond, so the arena of a dead app that had a gigabyte costs
 * its loop 30 ms in one munmap(), in which nobody else is served (I9). Here it
 * is taken down from its top, REAPER_PIECE bytes for each turn of the
 * scheduler (sched.c). The list lies in the mappings themselves: their first
 * page goes last. */
#include "script/reaper.h"
#include "base/limits.h"
#include "base/list.h"
#include "script/fiber.h"
#include "script/mapping.h"

#define REAPER_PIECE LIMIT_TURN_UNMAP_BYTES
#define PAGE_MOST    ((size_t)64 * 1024) /* on any system */

struct grave {
    struct list node;
    size_t reserved;
    size_t touched;
};

static _Thread_local struct list graves; /* all zero: not initialised yet */

static bool has_graves(void)
{
    return graves.next != NULL && !list_is_empty(&graves);
}

bool reaper_has_work(void)
{
    return has_graves() || fiber_has_freed();
}

void reaper_take(void *base, size_t reserved, size_t touched)
{
    if (touched <= REAPER_PIECE) {
        mapping_free(MAPPING_ARENA, base, reserved);
        return;
    }
    if (graves.next == NULL) {
        list_init(&graves);
    }
    struct grave *g = base;
    g->reserved = reserved;
    g->touched = (touched + PAGE_MOST - 1) & ~(PAGE_MOST - 1);
    if (g->touched > reserved) {
        g->touched = reserved;
    }
    list_push_tail(&graves, &g->node);
}

static void take_down(void)
{
    struct grave *g = container_of(graves.next, struct grave, node);
    if (g->touched > REAPER_PIECE) {
        /* What was never touched costs nothing, and goes with the first. */
        g->touched -= REAPER_PIECE;
        mapping_cut((char *)g + g->touched, g->reserved - g->touched);
        g->reserved = g->touched;
    } else {
        list_remove(&g->node);
        mapping_free(MAPPING_ARENA, g, g->reserved);
    }
}

bool reaper_work(void)
{
    if (has_graves()) {
        take_down();
    }
    (void)fiber_reap();
    return reaper_has_work();
}

void reaper_finish(void)
{
    while (reaper_work()) {
    }
}
