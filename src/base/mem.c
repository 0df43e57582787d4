/* mem.c -- the only file that calls malloc.
 *
 * mem_* never returns NULL: a core that could go on without its own memory
 * would need an untested path behind every call, so it says one line and
 * aborts. quota_* may return NULL, and the torture switch makes it do so on
 * demand; mem_* is not tortured, since its only answer is to die.
 *
 * Any thread. Size 0 gives a pointer that can be freed, in both families, so
 * that NULL means one thing only. The switch is one for the process and costs
 * a relaxed load while it is off. */
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

#define KEEP_HEAP_BYTES (16 * 1024 * 1024)

/* Calls left until one fails; 0: off. */
static _Atomic uint64_t calls_to_fail;
static _Thread_local uint64_t quota_calls;

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

void mem_free(void *p)
{
    free(p);
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
    free(p);
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

void mem_keep_heap(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_HEAP_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, (int)MEM_OWN_PAGES_BYTES);
    /* Else thousands of small pieces that were freed one by one are joined in
     * the midst of some later allocation: milliseconds. */
    (void)mallopt(M_MXFAST, 0);
#endif
}
