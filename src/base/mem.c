/* mem.c -- the only file that calls malloc.
 *
 * mem_* never returns NULL: a core that could go on without its own memory
 * would need an untested path behind every call, so it says one line and
 * aborts. quota_* may return NULL, and the torture switch makes it do so on
 * demand; mem_* is not tortured, since its only answer is to die.
 *
 * Any thread. Size 0 gives a pointer that can be freed, in both families, so
 * that NULL means one thing only. The switch is one for the process and costs
 * a relaxed load while it is off.
 *
 * The C library gives memory at the end of its heap back to the system, all of
 * it in one call of free(), which can be 2 ms for 100 MB, in a section or not.
 * So it is told never to. What is spare goes back in pieces, from a timer of
 * the loop: pieces are allocated, which finds them wherever the heap has room
 * for one, their pages are given back, and when no more are found with pages
 * in memory, they are freed again. The first few keep theirs: a fifth of the
 * CPU time of an echo of 4 KiB went into page faults where nothing was kept. */
#include "base/mem.h"
#include "base/log.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __GLIBC__
#    include <malloc.h>
#endif

/* Space to grow, without pages. A thread's heap consists of such parts, and
 * where it has less than one to spare none is unmapped. */
#define PAD_BYTES   (64 * 1024 * 1024)
#define PIECE_BYTES ((size_t)1024 * 1024)
#define PIECES_MAX  1024u
#define PIECES_KEPT 16u /* with their pages */
#define PIECES_BARE 8u  /* so many without any: these are all */

/* A piece of the heap that is taken out of it for a moment. */
struct piece {
    struct piece *next;
};

/* Of one thread. */
struct spare {
    size_t freed_bytes; /* since it last gave back */
    struct piece *pieces;
    uint32_t count;
    uint32_t full; /* had pages */
    uint32_t bare; /* had none */
    bool is_letting_go;
};

/* Calls left until one fails; 0: off. */
static _Atomic uint64_t calls_to_fail;
static _Thread_local uint64_t quota_calls;
static _Thread_local struct spare spare;
static bool keeps_heap;

NORETURN static void out_of_memory(size_t size)
{
    struct log_fields f = {.kind = "crash"};
    log_event(LOG_ERROR, &f, "out of memory: %zu bytes", size);
    abort();
}

void *mem_alloc(size_t size)
{
    void *p = malloc(size != 0 ? size : 1);
    if (UNLIKELY(p == NULL)) {
        out_of_memory(size);
    }
    return p;
}

void *mem_zalloc(size_t size)
{
    void *p = calloc(1, size != 0 ? size : 1);
    if (UNLIKELY(p == NULL)) {
        out_of_memory(size);
    }
    return p;
}

void *mem_realloc(void *p, size_t size)
{
    p = realloc(p, size != 0 ? size : 1);
    if (UNLIKELY(p == NULL)) {
        out_of_memory(size);
    }
    return p;
}

char *mem_strndup(const char *s, size_t len)
{
    ASSERT(len < SIZE_MAX, "I6");
    char *copy = mem_alloc(len + 1);
    if (len != 0) {
        memcpy(copy, s, len);
    }
    copy[len] = '\0';
    return copy;
}

static inline void free_counted(void *p)
{
#ifdef __GLIBC__
    if (keeps_heap) {
        spare.freed_bytes += malloc_usable_size(p);
    }
#endif
    free(p);
}

void mem_free(void *p)
{
    free_counted(p);
}

bool mem_is_to_fail(void)
{
    quota_calls++;
    uint64_t left = atomic_load_explicit(&calls_to_fail, memory_order_relaxed);
    while (UNLIKELY(left != 0)) {
        if (atomic_compare_exchange_weak_explicit(&calls_to_fail, &left,
                left - 1, memory_order_relaxed, memory_order_relaxed)) {
            return left == 1;
        }
    }
    return false;
}

void *quota_alloc(size_t size)
{
    return mem_is_to_fail() ? NULL : malloc(size != 0 ? size : 1);
}

void *quota_zalloc(size_t size)
{
    return mem_is_to_fail() ? NULL : calloc(1, size != 0 ? size : 1);
}

void *quota_realloc(void *p, size_t size)
{
    return mem_is_to_fail() ? NULL : realloc(p, size != 0 ? size : 1);
}

void quota_free(void *p)
{
    free_counted(p);
}

size_t mem_drop_end(void *p, size_t size, size_t keep, size_t most)
{
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t low = ((uintptr_t)p + keep + unit - 1) & ~(unit - 1);
    uintptr_t high = ((uintptr_t)p + size) & ~(unit - 1);
    if (low >= high) {
        return 0;
    }
    if (high - low > most) {
        low = high - most;
    }
    (void)madvise((void *)low, high - low, MADV_DONTNEED);
    return (uintptr_t)p + size - low;
}

void mem_fail_at(uint64_t n)
{
    atomic_store_explicit(&calls_to_fail, n, memory_order_relaxed);
}

uint64_t mem_quota_calls(void)
{
    return quota_calls;
}

/* Before main(), so that no call is missed and none has to ask again. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *n = getenv("MEM_FAIL_AT");
    if (n != NULL) {
        mem_fail_at(strtoull(n, NULL, 10));
    }
}

/* ---- what is spare goes back ---- */

void mem_stop_giving(void)
{
    while (spare.pieces != NULL) {
        struct piece *p = spare.pieces;
        spare.pieces = p->next;
        free(p);
    }
    spare = (struct spare){0};
}

bool mem_may_have_spare(void)
{
    return spare.freed_bytes >= PIECES_KEPT * PIECE_BYTES;
}

#ifdef __GLIBC__

/* Its whole pages go, unless it is one of those that keep them. False: none of
 * them is in memory. */
static bool clear_piece(struct piece *p, bool is_kept)
{
    unsigned char is_there[PIECE_BYTES / 4096];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)(p + 1) + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)p + PIECE_BYTES) & ~(page - 1);
    size_t n = (end - from) / page;
    bool has_any = false;
    if (mincore((void *)from, end - from, is_there) != 0) {
        return false;
    }
    for (size_t i = 0; i < n && !has_any; i++) {
        has_any = (is_there[i] & 1) != 0;
    }
    if (has_any && !is_kept) {
        (void)mem_drop_end(p, PIECE_BYTES, sizeof(*p), PIECE_BYTES);
    }
    return has_any;
}

/* False: that was the last there is. */
static bool take_piece(struct spare *s)
{
    struct piece *p = malloc(PIECE_BYTES);
    if (p == NULL) {
        return false;
    }
    p->next = s->pieces;
    s->pieces = p;
    s->count++;
    if (clear_piece(p, s->full < PIECES_KEPT)) {
        s->full++;
    } else {
        s->bare++;
    }
    return s->count < PIECES_MAX && s->bare < PIECES_BARE;
}

bool mem_give_back(void)
{
    struct spare *s = &spare;
    if (!s->is_letting_go) {
        s->is_letting_go = !take_piece(s);
        return true;
    }
    struct piece *p = s->pieces;
    if (p == NULL) {
        *s = (struct spare){0};
        return false;
    }
    s->pieces = p->next;
    free(p);
    return true;
}

#else

bool mem_give_back(void)
{
    return false;
}

#endif

bool mem_keep_heap(void)
{
#ifdef __GLIBC__
    /* Another allocator in its place (a sanitizer's) does not know that. */
    keeps_heap = mallopt(M_TRIM_THRESHOLD, -1) == 1;
    (void)mallopt(M_TOP_PAD, PAD_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, (int)MEM_OWN_PAGES_BYTES);
    /* Else thousands of small pieces that were freed one by one are joined in
     * the midst of some later allocation: milliseconds. */
    (void)mallopt(M_MXFAST, 0);
#endif
    return keeps_heap;
}
