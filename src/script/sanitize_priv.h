/* sanitize_priv.h -- what AddressSanitizer and ThreadSanitizer must be told
 * about memory and stacks of our own. Everything here is nothing in a plain
 * build. */
#ifndef SCRIPT_SANITIZE_PRIV_H
#define SCRIPT_SANITIZE_PRIV_H

#include "base/base.h"

#if defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define SANITIZE_ASAN 1
#    endif
#    if __has_feature(thread_sanitizer)
#        define SANITIZE_TSAN 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(SANITIZE_ASAN)
#    define SANITIZE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(SANITIZE_TSAN)
#    define SANITIZE_TSAN 1
#endif
#ifndef SANITIZE_ASAN
#    define SANITIZE_ASAN 0
#endif
#ifndef SANITIZE_TSAN
#    define SANITIZE_TSAN 0
#endif

#if SANITIZE_ASAN
#    include <sanitizer/asan_interface.h>
#    include <sanitizer/common_interface_defs.h>
/* For the few functions that keep their own notes in memory that is poisoned
 * for everybody else. */
#    define SANITIZE_EXEMPT __attribute__((no_sanitize("address"), noinline))
#else
#    define SANITIZE_EXEMPT
#endif
#if SANITIZE_TSAN
#    include <sanitizer/tsan_interface.h>
#endif

static inline void sanitize_poison(const void *p, size_t n)
{
#if SANITIZE_ASAN
    __asan_poison_memory_region(p, n);
#else
    (void)p;
    (void)n;
#endif
}

static inline void sanitize_unpoison(const void *p, size_t n)
{
#if SANITIZE_ASAN
    __asan_unpoison_memory_region(p, n);
#else
    (void)p;
    (void)n;
#endif
}

#endif
