/* base.h -- the few macros every room uses. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODISCARD            __attribute__((warn_unused_result))
#define NORETURN             __attribute__((noreturn))
#define PRINTF_LIKE(fmt, va) __attribute__((format(printf, fmt, va)))
#define LIKELY(x)            __builtin_expect(!!(x), 1)
#define UNLIKELY(x)          __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)         (sizeof(a) / sizeof((a)[0]))

/* The struct that embeds *ptr as its field `member`. */
#define container_of(ptr, type, member)                                        \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Our own bug, never somebody's input: stays on in release builds and prints
 * the law it guards ("I1", ...) before it aborts. */
#define ASSERT(cond, law)                                                      \
    do {                                                                       \
        if (UNLIKELY(!(cond))) {                                               \
            assert_failed(#cond, law, __FILE__, __LINE__);                     \
        }                                                                      \
    } while (0)

/* Objects whose pointer other rooms hold start with a magic number. */
#define CHECK(obj, want) ASSERT((obj)->magic == (want), "live object")

NORETURN void assert_failed(
    const char *cond, const char *law, const char *file, int line);

#endif
