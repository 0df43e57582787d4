/* log.h -- one line per event: readable on a terminal, JSON otherwise.
 *
 * Any thread; no allocation; one write(2) a line. Text from outside is
 * escaped (no control characters reach a terminal) and cut at
 * LOG_LINE_BYTES. JSON lines have the keys ts (RFC 3339, UTC, ms), level, msg
 * and those of app gen client event kind err that are set, in this order,
 * then the app's fields. Texts that are too long are cut and end in "...";
 * the app's fields stand whole or not at all, and then "cut":true says so.
 * Text lines put app to kind in [brackets] before the message, and an err of
 * several lines indented under it, in the same write. A reader that is stuck
 * is waited for once, for LOG_PATIENCE_MS; the lines it loses are counted, and
 * it is told when it reads again. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

#define LOG_LINE_BYTES  4096
#define LOG_PATIENCE_MS 100

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

struct log_fields {
    const char *app;    /* NULL: not set, as for all of these */
    uint32_t gen;       /* 0: not set */
    uint64_t client;    /* the client's id; 0: not set */
    const char *event;  /* the handler or step, "on_message" */
    const char *kind;   /* error | cpu | memory | crash */
    const char *err;    /* detail: traceback, system error */
    const char *fields; /* further "key":value JSON text of an app, or NULL */
};

/* LOG_AUTO: text if fd is a terminal, else JSON. */
void log_init(int fd, enum log_level least, enum log_format format);
bool log_is_on(enum log_level level);
/* `f` may be NULL. */
void log_event(enum log_level level, const struct log_fields *f,
    const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Text from outside for a person to read elsewhere than in the log: written
 * as the err of a text line, with a NUL, cut at `cap` bytes. */
void log_escape(char *out, size_t cap, const char *s);
/* 0 or ERR_SYNTAX; words: debug info warn error / auto text json. */
int log_parse_level(const char *word, enum log_level *out) NODISCARD;
int log_parse_format(const char *word, enum log_format *out) NODISCARD;

#endif
