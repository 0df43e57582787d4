/* late.c -- blocks that go back to the system a piece at a time.
 *
 * A list for each thread; nobody else looks at it. Its nodes lie in the blocks
 * themselves, in their first page, which goes last. The others go from the end
 * of the block by madvise(), which drops the pages of any memory that is ours,
 * whatever allocator it came from; free() then finds nothing to give back.
 *
 * A thread that never works at it (a pool's, a test's) frees as usual, so that
 * nothing is left lying. Where the block is at its place in the list does not
 * matter; the newest is taken first, since it is in the caches. */
#include "base/late.h"
#include "base/limits.h"
#include "base/mem.h"

#ifdef MOONWIRE_TINY
#    define LATE_FROM_BYTES ((size_t)16 * 1024)
#else
#    define LATE_FROM_BYTES MEM_OWN_PAGES_BYTES
#endif

struct late_block {
    struct late_block *next;
    struct meter *meter; /* ref; NULL: charged to nobody */
    size_t left;         /* bytes, from the block's start */
};

static _Thread_local struct {
    struct late_block *first;
    size_t bytes; /* of all blocks */
    bool is_on;
} late;

static void uncharge(struct meter *m, size_t n)
{
    if (m != NULL) {
        meter_release(m, n);
    }
}

void late_free(void *p, size_t bytes, struct meter *m)
{
    if (p == NULL || bytes < LATE_FROM_BYTES || !late.is_on) {
        quota_free(p);
        uncharge(m, bytes);
        meter_unref(m);
        return;
    }
    struct late_block *b = p;
    *b = (struct late_block){.next = late.first, .meter = m, .left = bytes};
    late.first = b;
    late.bytes += bytes;
}

/* True: all of it is gone. */
static bool take_piece(struct late_block *b, size_t bytes)
{
    size_t n = mem_drop_end(b, b->left, sizeof(*b), bytes);
    uncharge(b->meter, n);
    b->left -= n;
    late.bytes -= n;
    return n == 0;
}

static void take_last(struct late_block **at)
{
    struct late_block *b = *at;
    struct meter *m = b->meter;
    size_t left = b->left;
    *at = b->next;
    late.bytes -= left;
    quota_free(b);
    uncharge(m, left);
    meter_unref(m);
}

bool late_work(struct meter *m, size_t bytes)
{
    struct late_block **at = &late.first;
    while (*at != NULL && m != NULL && (*at)->meter != m) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        return false;
    }
    if (take_piece(*at, bytes)) {
        take_last(at);
    }
    return true;
}

bool late_turn(void)
{
    late.is_on = true;
    /* A part of all that is there: so what comes in each turn cannot heap up
     * for ever, whatever it is. */
    size_t part = late.bytes / LIMIT_TURN_LATE_PARTS;
    for (size_t n = 0; n <= part; n += LIMIT_LATE_PIECE_BYTES) {
        if (!late_work(NULL, LIMIT_LATE_PIECE_BYTES)) {
            return false;
        }
    }
    return late.first != NULL;
}

void late_finish(void)
{
    while (late_work(NULL, LIMIT_LATE_PIECE_BYTES)) {
    }
    late.is_on = false;
}
