/* spans.c -- the pages of an arena: given out in spans, joined when they come
 * back, returned to the system when many lie idle.
 *
 * For arena.c alone. A span is a stretch of pages: free (in a bin by its
 * length), a run of small blocks, or one large block. Spans come from the
 * smallest bin that has one, else from above the top. A span that comes back
 * is joined with free neighbours at once; the entries of its first and last
 * page say what it is, so both neighbours are found in constant time.
 *
 * A free page that has been used still takes memory: it is dirty, and counts
 * in arena_used() until madvise() has given it back. That is done for all of
 * them together when they are many compared to what is in use, or when the
 * cap would be crossed. So what the system gives never exceeds the cap, and
 * a script that drops its garbage shrinks (I6). Joining and splitting mix
 * dirty and clean pages; `dirty` is then an upper bound, never too low.
 *
 * Nothing here calls malloc or takes a lock: a script may be stopped in the
 * middle of it (I10). */
#include "script/arena_priv.h"
#include "script/sanitize_priv.h"
#include <sys/mman.h>
#include <unistd.h>

/* Dirty pages are kept for reuse while they are fewer than those in use, or
 * than this. A smaller share costs a script that lives from collection to
 * collection dearly in page faults. */
#define KEEP_DIRTY_PAGES 64

/* Given back in one go: about 50 us. */
#define PURGE_BYTES ((uintptr_t)1024 * 1024)

/* Spans that are tried in a bin whose spans differ in length, before a larger
 * one is broken. */
#define FIT_TRIES 16

static uint32_t min_u32(uint32_t x, uint32_t y)
{
    return x < y ? x : y;
}

static unsigned bin_of(uint32_t pages)
{
    ASSERT(pages != 0, "a span has a page");
    if (pages <= ARENA_EXACT_BINS) {
        return pages - 1;
    }
    /* 33..64 pages: the first bin behind the exact ones. */
    unsigned log = 31u - (unsigned)__builtin_clz(pages - 1);
    unsigned bin = ARENA_EXACT_BINS + log - 5;
    return bin < ARENA_BINS ? bin : ARENA_BINS - 1;
}

/* Marks [at, at + pages) as free and puts it into its bin. */
static void put_free(
    struct arena *a, uint32_t at, uint32_t pages, uint32_t dirty)
{
    struct span *s = &a->table[at];
    struct span *last = &a->table[at + pages - 1];
    unsigned bin = bin_of(pages);
    last->kind = SPAN_FREE;
    last->pages = pages;
    s->kind = SPAN_FREE;
    s->pages = pages;
    s->dirty = dirty;
    s->prev = 0;
    s->next = a->bins[bin];
    if (s->next != 0) {
        a->table[s->next].prev = at;
    }
    a->bins[bin] = at;
    a->bins_used |= UINT64_C(1) << bin;
}

static void unlink_free(struct arena *a, uint32_t at)
{
    struct span *s = &a->table[at];
    unsigned bin = bin_of(s->pages);
    if (s->next != 0) {
        a->table[s->next].prev = s->prev;
    }
    if (s->prev != 0) {
        a->table[s->prev].next = s->next;
    } else {
        a->bins[bin] = s->next;
        if (s->next == 0) {
            a->bins_used &= ~(UINT64_C(1) << bin);
        }
    }
    s->kind = SPAN_NONE;
    a->table[at + s->pages - 1].kind = SPAN_NONE;
}

/* The cap and the table's own pages, as if [0, top) were in use. */
static size_t table_growth(const struct arena *a, uint32_t top)
{
    size_t touched = pages_of((size_t)top * sizeof(struct span));
    return touched > a->table_pages ? touched - a->table_pages : 0;
}

/* Moves the top up to `top`; the caller has judged the cap. */
static void raise_top(struct arena *a, uint32_t top)
{
    size_t growth = table_growth(a, top);
    a->table_pages += growth;
    a->taken += growth;
    a->top = top;
}

static bool has_room(const struct arena *a, size_t pages)
{
    return a->taken + pages <= a->cap_pages;
}

/* `tries` spans of one bin; 0: none is long enough. */
static uint32_t search_bin(
    const struct arena *a, unsigned bin, uint32_t pages, uint32_t tries)
{
    uint32_t at = a->bins[bin];
    while (at != 0 && tries-- != 0) {
        if (a->table[at].pages >= pages) {
            return at;
        }
        at = a->table[at].next;
    }
    return 0;
}

static uint32_t find_free(const struct arena *a, uint32_t pages)
{
    unsigned bin = bin_of(pages);
    uint32_t at = search_bin(a, bin, pages, FIT_TRIES);
    if (at != 0 || bin + 1 >= ARENA_BINS) {
        return at;
    }
    uint64_t larger = a->bins_used & (~UINT64_C(0) << (bin + 1));
    return larger == 0 ? 0 : a->bins[__builtin_ctzll(larger)];
}

/* Length of the free span that ends at the top; 0: there is none. */
static uint32_t free_below_top(const struct arena *a)
{
    const struct span *last = &a->table[a->top - 1];
    return last->kind == SPAN_FREE ? last->pages : 0;
}

/* Makes a free span of at least `pages` at the top, or returns 0. */
static uint32_t extend_top(struct arena *a, uint32_t pages)
{
    uint32_t below = min_u32(free_below_top(a), pages);
    uint32_t at = a->top - below;
    if (pages > a->limit - at ||
        !has_room(a, pages + table_growth(a, at + pages))) {
        return 0;
    }
    uint32_t dirty = 0;
    if (below != 0) {
        at = a->top - a->table[a->top - 1].pages;
        dirty = a->table[at].dirty;
        unlink_free(a, at);
    }
    uint32_t top = a->top - below + pages;
    raise_top(a, top);
    put_free(a, at, top - at, dirty);
    return at;
}

/* Cuts the first `pages` off a free span and marks them in use. */
static void cut_free(
    struct arena *a, uint32_t at, uint32_t pages, enum span_kind kind)
{
    struct span *s = &a->table[at];
    uint32_t rest = s->pages - pages;
    uint32_t dirty = min_u32(s->dirty, rest);
    a->dirty -= s->dirty - dirty;
    unlink_free(a, at);
    if (rest != 0) {
        put_free(a, at + pages, rest, dirty);
    }
    s->kind = (uint8_t)kind;
    s->pages = pages;
    s->back = 0;
    if (pages > 1) {
        a->table[at + pages - 1].kind = (uint8_t)kind;
    }
    a->taken += pages;
    if (UNLIKELY(a->taken + a->dirty > a->cap_pages)) {
        spans_purge(a);
    }
}

void spans_init(struct arena *a)
{
    a->table_pages = 0;
    a->top = 1;
}

uint32_t spans_take(struct arena *a, uint32_t pages, enum span_kind kind)
{
    if (!has_room(a, pages)) {
        return 0;
    }
    uint32_t at = find_free(a, pages);
    if (at == 0) {
        at = extend_top(a, pages);
    }
    if (at == 0) {
        /* No address space above: now every span of the bin is tried. */
        at = search_bin(a, bin_of(pages), pages, UINT32_MAX);
    }
    if (at != 0) {
        cut_free(a, at, pages, kind);
    }
    return at;
}

/* Joins [at, at + pages), just fallen free and all dirty, with its free
 * neighbours. */
static void join(struct arena *a, uint32_t at, uint32_t pages)
{
    uint32_t dirty = pages;
    a->dirty += pages;
    sanitize_poison(span_start(a, at), (size_t)pages << ARENA_PAGE_SHIFT);
    if (a->table[at - 1].kind == SPAN_FREE) {
        uint32_t below = at - a->table[at - 1].pages;
        dirty += a->table[below].dirty;
        unlink_free(a, below);
        pages += at - below;
        at = below;
    }
    uint32_t above = at + pages;
    if (above < a->top && a->table[above].kind == SPAN_FREE) {
        dirty += a->table[above].dirty;
        pages += a->table[above].pages;
        unlink_free(a, above);
    }
    put_free(a, at, pages, dirty);
    if (a->dirty > KEEP_DIRTY_PAGES && a->dirty > a->taken) {
        spans_purge(a);
    }
}

void spans_give(struct arena *a, uint32_t at)
{
    uint32_t pages = a->table[at].pages;
    a->table[at].kind = SPAN_NONE;
    a->table[at + pages - 1].kind = SPAN_NONE;
    a->taken -= pages;
    join(a, at, pages);
}

bool spans_resize(struct arena *a, uint32_t at, uint32_t pages)
{
    struct span *s = &a->table[at];
    uint32_t old = s->pages;
    uint32_t next = at + old;
    if (pages <= old) {
        if (pages < old) {
            s->pages = pages;
            a->table[at + pages - 1].kind = SPAN_LARGE;
            a->table[next - 1].kind = SPAN_NONE;
            a->taken -= old - pages;
            join(a, at + pages, old - pages);
        }
        return true;
    }
    uint32_t more = pages - old;
    uint32_t have = 0;
    if (next < a->top && a->table[next].kind == SPAN_FREE) {
        have = a->table[next].pages;
    }
    if (!has_room(a, more)) {
        return false;
    }
    if (have < more && (next + have != a->top || extend_top(a, more) == 0)) {
        return false;
    }
    cut_free(a, next, more, SPAN_LARGE);
    /* One span now: the seam inside it must not look like an end. */
    a->table[next].kind = SPAN_NONE;
    a->table[next - 1].kind = SPAN_NONE;
    s->kind = SPAN_LARGE;
    s->pages = pages;
    a->table[at + pages - 1].kind = SPAN_LARGE;
    return true;
}

/* The script may be stopped between two calls, but not in one. */
static void give_back(uintptr_t low, uintptr_t high)
{
    while (low < high) {
        uintptr_t n = high - low < PURGE_BYTES ? high - low : PURGE_BYTES;
        (void)madvise((void *)low, n, MADV_DONTNEED);
        low += n;
    }
}

void spans_purge(struct arena *a)
{
    /* Where the system's pages are larger than ours, only whole ones go. */
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint64_t bins = a->bins_used;
    while (bins != 0) {
        uint32_t at = a->bins[__builtin_ctzll(bins)];
        bins &= bins - 1;
        for (; at != 0; at = a->table[at].next) {
            struct span *s = &a->table[at];
            if (s->dirty == 0) {
                continue;
            }
            uintptr_t low = (uintptr_t)span_start(a, at);
            uintptr_t high = low + ((uintptr_t)s->pages << ARENA_PAGE_SHIFT);
            low = (low + unit - 1) & ~(unit - 1);
            high &= ~(unit - 1);
            give_back(low, high);
            s->dirty = 0;
        }
    }
    a->dirty = 0;
}
