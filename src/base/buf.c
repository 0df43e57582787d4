/* buf.c -- a growing byte buffer with a bound.
 *
 * Capacity doubles up to `max`. One byte more than the capacity is allocated:
 * the NUL that vsnprintf insists on lands there, so a text may fill a buffer
 * to its last byte. Every failure leaves p, len and the bytes as they were. */
#include "base/buf.h"
#include "base/err.h"
#include "base/late.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAPACITY 64

void buf_init(struct buf *b, size_t max)
{
    /* No object is larger than PTRDIFF_MAX; this keeps the sums below. */
    *b = (struct buf){.max = max < PTRDIFF_MAX ? max : PTRDIFF_MAX - 1};
}

void buf_fini(struct buf *b)
{
    late_free(b->p, b->cap, NULL);
    buf_init(b, b->max);
}

uint8_t *buf_take(struct buf *b)
{
    uint8_t *p = b->p;
    buf_init(b, b->max);
    return p;
}

int buf_reserve(struct buf *b, size_t more)
{
    if (more > b->max - b->len) {
        return ERR_TOO_BIG;
    }
    size_t need = b->len + more;
    if (need <= b->cap && b->p != NULL) {
        return 0;
    }
    size_t cap = b->cap != 0 ? b->cap : FIRST_CAPACITY;
    while (cap < need) {
        cap *= 2;
    }
    if (cap > b->max) {
        cap = b->max;
    }
    uint8_t *p = quota_realloc(b->p, cap + 1);
    if (p == NULL) {
        return ERR_NOMEM;
    }
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
    int err = buf_reserve(b, n);
    if (err != 0) {
        return err;
    }
    if (n != 0) {
        memcpy(b->p + b->len, p, n);
        b->len += n;
    }
    return 0;
}

/* What fits is written at once; only a text that did not fit is formatted a
 * second time. */
int buf_printf(struct buf *b, const char *fmt, ...)
{
    int err = buf_reserve(b, 0);
    if (err != 0) {
        return err;
    }
    va_list args;
    va_start(args, fmt);
    size_t room = b->cap - b->len;
    int n = vsnprintf((char *)b->p + b->len, room + 1, fmt, args);
    va_end(args);
    if (n < 0) {
        return ERR_SYNTAX;
    }
    if ((size_t)n > room) {
        err = buf_reserve(b, (size_t)n);
        if (err != 0) {
            return err;
        }
        va_start(args, fmt);
        (void)vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, args);
        va_end(args);
    }
    b->len += (size_t)n;
    return 0;
}
