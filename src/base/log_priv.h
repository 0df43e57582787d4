/* log_priv.h -- a line under construction: log.c decides what goes into it,
 * log_line.c how text from outside is written there. */
#ifndef BASE_LOG_PRIV_H
#define BASE_LOG_PRIV_H

#include "base/base.h"

enum line_style {
    LINE_TEXT,  /* for eyes: controls as \xNN */
    LINE_LINES, /* the same, but a newline starts an indented line */
    LINE_JSON,  /* inside a JSON string */
    LINE_RAW,   /* JSON text as it stands, made harmless */
};

struct line {
    char *p;
    size_t len; /* never more than max */
    size_t max;
};

/* Bytes of our own, as they are; cut at the end of the line. */
void line_put(struct line *l, const char *s);
void line_printf(struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Text from outside, at most `room` bytes of the line. True: all of it; false:
 * it was cut at a whole character and ends in "...". */
bool line_escape(
    struct line *l, enum line_style style, const char *s, size_t room);
/* The wall clock as RFC 3339, UTC, milliseconds. */
void line_put_time(struct line *l);

#endif
