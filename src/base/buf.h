/* buf.h -- a growing byte buffer that is bounded at birth (I2, I6). Its
 * memory comes from quota_*: growing may fail, and then nothing changed. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/base.h"

struct buf {
    uint8_t *p;
    size_t len;
    size_t cap;
    size_t max;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
/* Its memory is the caller's now, to be freed with late_free(); b is as new. */
uint8_t *buf_take(struct buf *b) NODISCARD;
/* Makes room for `more` bytes behind len. 0, ERR_TOO_BIG or ERR_NOMEM. */
int buf_reserve(struct buf *b, size_t more) NODISCARD;
int buf_add(struct buf *b, const void *p, size_t n) NODISCARD;
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3) NODISCARD;

#endif
