/* arena.c -- one app's memory: blocks.
 *
 * Called by Lua as its allocator (script/vm), from the app's one thread. It
 * promises to be fast, small for small apps, and finished without a walk.
 *
 * Blocks of up to 4 KiB come in 44 classes: every 16 bytes up to 512, then
 * four per doubling. The first ones are cut from the nook (arena_priv.h)
 * whatever their class, later ones from runs: spans of one to four pages
 * that hold one class. A run knows its free blocks and is given back when
 * the last one returns, so what one phase of a script left can serve the
 * next phase, which wants other sizes. One empty run per class is kept:
 * else a script that sits on the edge of a run would take and give it all
 * day. Larger blocks are spans of their own.
 *
 * Blocks have no header. In a run the span's entry knows their size; in the
 * nook the caller must: Lua names a block's size when it returns it, and is
 * trusted in that.
 *
 * No malloc and no lock, in any path: the script may be stopped anywhere in
 * here (I10). Pages are touched when they are first used, so reserving costs
 * address space only (but where the system does not overcommit,
 * vm.overcommit_memory=2, it counts all the same) and a mapping (mapping.c).
 * The address space is twice the cap, which leaves room for holes that fit
 * nobody. */
#include "script/arena.h"
#include "base/mem.h"
#include "script/arena_priv.h"
#include "script/mapping.h"
#include "script/reaper.h"
#include "script/sanitize_priv.h"
#include <string.h>

#define SMALL_MAX     4096
#define LARGE_CLASS   32 /* the first one above 512 bytes */
#define RUN_MAX_PAGES 4
/* Below so many pages runs are kept short: with a cap of 256 KiB a long run
 * of every class would not even fit. */
#define SHORT_RUNS_BELOW 128

static const uint16_t class_bytes[ARENA_CLASSES] = {16, 32, 48, 64, 80, 96, 112,
    128, 144, 160, 176, 192, 208, 224, 240, 256, 272, 288, 304, 320, 336, 352,
    368, 384, 400, 416, 432, 448, 464, 480, 496, 512, 640, 768, 896, 1024, 1280,
    1536, 1792, 2048, 2560, 3072, 3584, 4096};

/* 1 <= n <= SMALL_MAX. */
static inline unsigned class_of(size_t n)
{
    if (LIKELY(n <= 512)) {
        return (unsigned)((n - 1) >> 4);
    }
    unsigned top = (unsigned)n - 1;
    unsigned log = 31u - (unsigned)__builtin_clz(top);
    return 32 + (log - 9) * 4 + ((top >> (log - 2)) & 3);
}

static inline bool is_in_nook(const struct arena *a, const void *p)
{
    return (const char *)p < a->nook_end;
}

static inline struct span *span_of(const struct arena *a, const void *p)
{
    struct span *s = &a->table[span_index(a, p)];
    return s - s->back;
}

/* The link of a free block lies in memory that is poisoned for the rest of
 * the world. */
SANITIZE_EXEMPT static struct block *next_of(const struct block *b)
{
    return b->next;
}

SANITIZE_EXEMPT static void set_next(struct block *b, struct block *next)
{
    b->next = next;
}

static void link_room(struct arena *a, uint32_t at)
{
    struct span *s = &a->table[at];
    s->prev = 0;
    s->next = a->room[s->class];
    if (s->next != 0) {
        a->table[s->next].prev = at;
    }
    a->room[s->class] = at;
}

static void unlink_room(struct arena *a, struct span *s)
{
    if (s->next != 0) {
        a->table[s->next].prev = s->prev;
    }
    if (s->prev != 0) {
        a->table[s->prev].next = s->next;
    } else {
        a->room[s->class] = s->next;
    }
}

static inline bool is_full(const struct span *s)
{
    return s->free == NULL && s->fresh == 0;
}

static inline void *take_from_run(struct arena *a, struct span *s)
{
    struct block *b = s->free;
    if (b != NULL) {
        s->free = next_of(b);
    } else {
        s->fresh--;
        char *start = span_start(a, (uint32_t)(s - a->table));
        b = (struct block *)(void *)(start +
                                     (size_t)s->fresh * class_bytes[s->class]);
    }
    s->used++;
    if (UNLIKELY(is_full(s))) {
        unlink_room(a, s);
    }
    return b;
}

static inline void give_to_run(struct arena *a, struct span *s, void *p)
{
    if (UNLIKELY(is_full(s))) {
        link_room(a, (uint32_t)(s - a->table));
    }
    set_next(p, s->free);
    s->free = p;
    s->used--;
    if (UNLIKELY(s->used == 0) && (s->next | s->prev) != 0) {
        unlink_room(a, s);
        spans_give(a, (uint32_t)(s - a->table));
    }
}

/* The shortest run that wastes at most an eighth on this class. */
static uint32_t short_run(size_t bytes)
{
    uint32_t pages = 1;
    while ((pages * ARENA_PAGE_BYTES) % bytes > pages * ARENA_PAGE_BYTES / 8) {
        pages++;
    }
    return pages;
}

static uint32_t new_run(struct arena *a, unsigned class, uint32_t pages)
{
    uint32_t at = spans_take(a, pages, SPAN_RUN);
    if (at == 0) {
        return 0;
    }
    struct span *s = &a->table[at];
    s->free = NULL;
    s->class = (uint8_t) class;
    s->used = 0;
    s->fresh = (uint16_t)(pages * ARENA_PAGE_BYTES / class_bytes[class]);
    for (uint32_t i = 0; i < pages; i++) {
        s[i].kind = SPAN_RUN;
        s[i].back = (uint16_t)i;
    }
    sanitize_poison(span_start(a, at), pages * ARENA_PAGE_BYTES);
    link_room(a, at);
    return at;
}

/* Gives back the empty runs that were kept. True: there were some. */
static bool release_empty_runs(struct arena *a)
{
    bool released = false;
    for (unsigned c = 0; c < ARENA_CLASSES; c++) {
        uint32_t at = a->room[c];
        while (at != 0) {
            struct span *s = &a->table[at];
            uint32_t next = s->next;
            if (s->used == 0) {
                unlink_room(a, s);
                spans_give(a, at);
                released = true;
            }
            at = next;
        }
    }
    return released;
}

static uint32_t take_run(struct arena *a, unsigned class)
{
    uint32_t pages = short_run(class_bytes[class]);
    if (a->taken >= SHORT_RUNS_BELOW) {
        uint32_t at = new_run(a, class, RUN_MAX_PAGES);
        if (at != 0) {
            return at;
        }
    }
    uint32_t at = new_run(a, class, pages);
    if (at == 0 && release_empty_runs(a)) {
        at = new_run(a, class, pages);
    }
    return at;
}

/* Cuts a block from the unused rest. */
static void *cut_nook(struct arena *a, size_t bytes)
{
    if ((size_t)(a->nook_end - a->nook_at) < bytes) {
        return NULL;
    }
    size_t touched = (size_t)(a->nook_at - (char *)a);
    size_t more = pages_of(touched + bytes) - pages_of(touched);
    if (a->taken + more > a->cap_pages) {
        return NULL;
    }
    void *p = a->nook_at;
    a->nook_at += bytes;
    a->taken += more;
    if (UNLIKELY(a->taken + a->dirty > a->cap_pages)) {
        spans_purge(a);
    }
    return p;
}

static inline void give_to_nook(struct arena *a, void *p, unsigned class)
{
    set_next(p, a->loose[class]);
    a->loose[class] = p;
}

/* Makes [p, p + bytes) of the nook into blocks of whatever classes it fills. */
static void give_pieces(struct arena *a, char *p, size_t bytes)
{
    unsigned c = ARENA_CLASSES - 1;
    while (bytes > 0) {
        while (class_bytes[c] > bytes) {
            c--;
        }
        give_to_nook(a, p, c);
        p += class_bytes[c];
        bytes -= class_bytes[c];
    }
}

/* Makes a nook block smaller where it is. */
static void split_nook(struct arena *a, char *p, size_t old, size_t new_size)
{
    size_t at = class_bytes[class_of(new_size)];
    give_pieces(a, p + at, class_bytes[class_of(old)] - at);
}

/* Small blocks are cut from large ones that came back before the nook's rest
 * is touched: a state that was loaded has some that it never needs again. */
static void *cut_scrap(struct arena *a, size_t bytes)
{
    for (unsigned c = LARGE_CLASS; a->scrap_bytes < bytes; c++) {
        if (c == ARENA_CLASSES) {
            return NULL;
        }
        if (a->loose[c] != NULL) {
            give_pieces(a, a->scrap, a->scrap_bytes);
            a->scrap = (char *)a->loose[c];
            a->scrap_bytes = class_bytes[c];
            a->loose[c] = next_of(a->loose[c]);
        }
    }
    void *p = a->scrap;
    a->scrap += bytes;
    a->scrap_bytes -= bytes;
    return p;
}

static void *take_slowly(struct arena *a, unsigned class)
{
    void *p = NULL;
    if (class < LARGE_CLASS) {
        p = cut_scrap(a, class_bytes[class]);
    }
    if (p == NULL) {
        p = cut_nook(a, class_bytes[class]);
    }
    if (p != NULL) {
        sanitize_poison(p, class_bytes[class]);
        return p;
    }
    uint32_t at = take_run(a, class);
    return at == 0 ? NULL : take_from_run(a, &a->table[at]);
}

static void *take_large(struct arena *a, size_t n)
{
    size_t pages = pages_of(n);
    if (n > a->cap) {
        return NULL;
    }
    uint32_t at = spans_take(a, (uint32_t)pages, SPAN_LARGE);
    if (at == 0 && release_empty_runs(a)) {
        at = spans_take(a, (uint32_t)pages, SPAN_LARGE);
    }
    if (at == 0) {
        return NULL;
    }
    void *p = span_start(a, at);
    sanitize_poison(p, pages * ARENA_PAGE_BYTES);
    return p;
}

static inline void *take(struct arena *a, size_t n)
{
    void *p;
    if (UNLIKELY(n > SMALL_MAX)) {
        p = take_large(a, n);
    } else {
        unsigned class = class_of(n);
        struct block *b = a->loose[class];
        uint32_t at = a->room[class];
        if (b != NULL) {
            a->loose[class] = next_of(b);
            p = b;
        } else if (LIKELY(at != 0)) {
            p = take_from_run(a, &a->table[at]);
        } else {
            p = take_slowly(a, class);
        }
    }
    if (LIKELY(p != NULL)) {
        sanitize_unpoison(p, n);
    }
    return p;
}

static inline void give(struct arena *a, void *p, size_t n)
{
    sanitize_poison(p, n);
    if (is_in_nook(a, p)) {
        give_to_nook(a, p, class_of(n));
        return;
    }
    struct span *s = span_of(a, p);
    if (LIKELY(s->kind == SPAN_RUN)) {
        give_to_run(a, s, p);
    } else {
        ASSERT(s->kind == SPAN_LARGE, "live block");
        spans_give(a, (uint32_t)(s - a->table));
    }
}

/* May the block serve `new_size` bytes where it is? Then it does from now
 * on. */
static bool resize_in_place(
    struct arena *a, void *p, size_t old, size_t new_size)
{
    if (is_in_nook(a, p)) {
        if (new_size > SMALL_MAX) {
            return false;
        }
        if (new_size < old) {
            split_nook(a, p, old, new_size);
            return true;
        }
        return class_of(new_size) == class_of(old);
    }
    struct span *s = span_of(a, p);
    /* Growth within an oversized block (keep_oversized) stays there too. */
    bool grows = new_size > old;
    if (s->kind == SPAN_RUN) {
        return new_size <= class_bytes[s->class] &&
               (grows || class_of(new_size) == s->class);
    }
    ASSERT(s->kind == SPAN_LARGE, "live block");
    if (new_size <= SMALL_MAX) {
        return grows;
    }
    if (new_size > a->cap) {
        return false;
    }
    return spans_resize(
        a, (uint32_t)(s - a->table), (uint32_t)pages_of(new_size));
}

/* A smaller block was wanted and there is none: the old one has to do. */
static void keep_oversized(struct arena *a, void *p)
{
    struct span *s = span_of(a, p);
    if (s->kind == SPAN_LARGE) {
        (void)spans_resize(a, (uint32_t)(s - a->table), 1);
    }
}

static void *resize(struct arena *a, void *p, size_t old, size_t new_size)
{
    if (resize_in_place(a, p, old, new_size)) {
        if (new_size < old) {
            sanitize_poison((char *)p + new_size, old - new_size);
        } else {
            sanitize_unpoison(p, new_size);
        }
        return p;
    }
    void *q = take(a, new_size);
    if (q != NULL) {
        memcpy(q, p, old < new_size ? old : new_size);
        give(a, p, old);
        return q;
    }
    if (new_size < old) {
        keep_oversized(a, p);
        sanitize_poison((char *)p + new_size, old - new_size);
        return p;
    }
    return NULL;
}

/* No size that is asked for: the next request may succeed. */
#define REFUSED_AT_CAP SIZE_MAX

static void refuse(struct arena *a, size_t size)
{
    a->refused = size;
    if (a->on_refusal != NULL) {
        a->on_refusal(a->refusal_arg);
    }
}

/* Lua answers a refusal with a full collection and asks once more; a tortured
 * request must fail then too, or no error would ever come of it. */
static bool is_refused(struct arena *a, size_t new_size)
{
    if (UNLIKELY(a->refused != 0)) {
        bool again = a->refused == new_size;
        a->refused = 0;
        a->least = a->live < a->least ? a->live : a->least;
        if (again) {
            refuse(a, 0);
            return true;
        }
    }
    if (UNLIKELY(mem_is_to_fail())) {
        refuse(a, new_size);
        return true;
    }
    return false;
}

struct arena *arena_new(size_t cap_bytes)
{
    ASSERT(cap_bytes <= (size_t)1 << 40, "I6");
    size_t cap_pages = pages_of(cap_bytes);
    size_t limit = cap_pages * 2 + 64;
    size_t table = pages_of(limit * sizeof(struct span)) * ARENA_PAGE_BYTES;
    size_t usable = ARENA_NOOK_BYTES + table + limit * ARENA_PAGE_BYTES;
    size_t reserved = usable + MAPPING_GUARD_BYTES;
    char *base = mapping_new(MAPPING_ARENA, reserved);
    if (base == NULL) {
        return NULL;
    }
    struct arena *a = (struct arena *)(void *)base;
    a->magic = ARENA_MAGIC;
    a->reserved = reserved;
    a->cap = cap_bytes;
    a->least = SIZE_MAX;
    a->cap_pages = cap_pages;
    a->nook_at = base + ((sizeof(*a) + 15) & ~(size_t)15);
    a->nook_end = base + ARENA_NOOK_BYTES;
    a->table = (struct span *)(void *)a->nook_end;
    /* Page 0 is the table's last: none of ours. */
    a->pages = a->nook_end + table - ARENA_PAGE_BYTES;
    a->limit = (uint32_t)limit;
    a->taken = pages_of((size_t)(a->nook_at - base));
    spans_init(a);
    return a;
}

void arena_free(struct arena *a)
{
    if (a == NULL) {
        return;
    }
    CHECK(a, ARENA_MAGIC);
    /* The next owner of these addresses must not find our poison. */
    sanitize_unpoison(a, ARENA_NOOK_BYTES);
    sanitize_unpoison(span_start(a, 1), (a->top - 1) * ARENA_PAGE_BYTES);
    a->magic = 0;
    reaper_take(
        a, a->reserved, (size_t)((char *)span_start(a, a->top) - (char *)a));
}

void *arena_realloc(struct arena *a, void *p, size_t old_size, size_t new_size)
{
    if (p == NULL) {
        if (new_size == 0 || is_refused(a, new_size)) {
            return NULL;
        }
        p = take(a, new_size);
        if (LIKELY(p != NULL)) {
            a->live += new_size;
        } else {
            refuse(a, REFUSED_AT_CAP);
        }
        return p;
    }
    if (new_size == 0) {
        give(a, p, old_size);
        a->live -= old_size;
        return NULL;
    }
    if (new_size > old_size && is_refused(a, new_size)) {
        return NULL;
    }
    p = resize(a, p, old_size, new_size);
    if (LIKELY(p != NULL)) {
        a->live += new_size - old_size;
    } else {
        refuse(a, REFUSED_AT_CAP);
    }
    return p;
}

void arena_on_refusal(struct arena *a, void (*fn)(void *arg), void *arg)
{
    a->on_refusal = fn;
    a->refusal_arg = arg;
}

size_t arena_used(const struct arena *a)
{
    return (a->taken + a->dirty) * ARENA_PAGE_BYTES;
}

size_t arena_live(const struct arena *a)
{
    return a->live;
}

size_t arena_take_least(struct arena *a)
{
    size_t least = a->least < a->live ? a->least : a->live;
    a->least = SIZE_MAX;
    return least;
}

size_t arena_cap(const struct arena *a)
{
    return a->cap;
}
