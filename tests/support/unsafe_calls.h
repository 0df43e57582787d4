/* unsafe_calls.h -- aborts the program when a script that could be stopped
 * at this point enters what keeps state for the whole process: the C
 * library's heap, its files, its locale, its time zones (I10). To be included
 * once. Not with sanitizers, which have a heap of their own. */
#ifndef SUPPORT_UNSAFE_CALLS_H
#define SUPPORT_UNSAFE_CALLS_H

#include "script/preempt_priv.h"

#if !SANITIZE_ASAN && !SANITIZE_TSAN && !PREEMPT_HOOK && defined(__GLIBC__)
#    include <dlfcn.h>
#    include <locale.h>
#    include <stdio.h>
#    include <stdlib.h>
#    include <string.h>
#    include <time.h>
#    include <unistd.h>

static void check_safe(const char *name)
{
    if (UNLIKELY(preempt_is_possible())) {
        preempt_hold();
        (void)!write(2, name, strlen(name));
        (void)!write(2, ": I10: called where a script can be stopped\n", 44);
        abort();
    }
}

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

void *malloc(size_t n)
{
    check_safe("malloc");
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    check_safe("calloc");
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    check_safe("realloc");
    return __libc_realloc(p, n);
}

void free(void *p)
{
    check_safe("free");
    __libc_free(p);
}

#    define UNSAFE(result, name, params, args)                                 \
        result name params                                                     \
        {                                                                      \
            result(*real) params;                                              \
            check_safe(#name);                                                 \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                         \
            return real args;                                                  \
        }

UNSAFE(FILE *, fopen, (const char *path, const char *mode), (path, mode))
UNSAFE(int, fflush, (FILE * f), (f))
UNSAFE(char *, setlocale, (int category, const char *name), (category, name))
UNSAFE(struct tm *, localtime, (const time_t *t), (t))
UNSAFE(struct tm *, localtime_r, (const time_t *t, struct tm *tm), (t, tm))
UNSAFE(time_t, mktime, (struct tm * tm), (tm))
#endif

#endif
