/* err.h -- every error of moonwire's own: name, word, close code.
 *
 * Failing functions return 0 or a negative int. Errors of the system and of
 * libuv pass through as they are (small negative numbers); ours live in a
 * range of their own. "Not yet" is a value, never an error. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/base.h"

/* X(name, word shown to Lua and logs, WebSocket close code or 0) */
#define ERR_LIST(X)                                                            \
    X(NOMEM, "memory", 1011)                                                   \
    X(QUOTA, "quota", 1013)                                                    \
    X(CLOSED, "closed", 0)                                                     \
    X(FULL, "full", 1013)                                                      \
    X(TOO_BIG, "too_big", 1009)                                                \
    X(TIMEOUT, "timeout", 0)                                                   \
    X(DENIED, "denied", 1008)                                                  \
    X(PROTOCOL, "protocol", 1002)                                              \
    X(UTF8, "utf8", 1007)                                                      \
    X(INFLATE, "inflate", 1007)                                                \
    X(SYNTAX, "syntax", 0)                                                     \
    X(NOT_FOUND, "not_found", 0)                                               \
    X(CHANGED, "changed", 0)                                                   \
    X(EOF, "eof", 0)

enum err {
    ERR_FIRST_ = -20100,
#define X(name, word, code) ERR_##name,
    ERR_LIST(X)
#undef X
        ERR_LAST_
};

/* The stable word of an error ("full"); a system error's name ("EPIPE"),
 * "error" for anything else. Never NULL; static storage. */
const char *err_word(int err);
/* A sentence for people: strerror() for system errors, the word for ours. */
const char *err_text(int err);
/* The close code that tells a client of this error; 0: none fits. */
uint16_t err_close_code(int err);

#endif
