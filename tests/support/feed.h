/* feed.h -- the every-split helper: one input, cut in all ways a network may
 * cut it, must give one and the same event log.
 *
 * A target is a reader behind three functions. Each piece is fed from a block
 * of its exact size, freed afterwards: a reader that looks past its piece, or
 * keeps a pointer into it, is caught by the address sanitizer. */
#ifndef TESTS_SUPPORT_FEED_H
#define TESTS_SUPPORT_FEED_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEED_LOG_BYTES  65536
#define FEED_SHOW_BYTES 40 /* of longer data: the rest is in the hash only */
#define FEED_CUTS_MAX   4096

/* One line per event. `hash` covers the data that lines do not show. */
struct feed_log {
    char text[FEED_LOG_BYTES];
    size_t len;
    uint64_t hash;
};

struct feed_target {
    void *(*start)(const void *config);
    /* Takes a piece of the input. False: it wants no more. */
    bool (*feed)(void *state, uint8_t *p, size_t n, struct feed_log *log);
    void (*finish)(void *state, struct feed_log *log);
};

/* What does not fit is counted in the hash only. */
__attribute__((format(printf, 2, 3))) static inline void feed_printf(
    struct feed_log *log, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    for (int i = 0; i < n && i < (int)sizeof(line) - 1; i++) {
        log->hash = (log->hash ^ (uint8_t)line[i]) * 0x100000001b3u;
        if (log->len + 1 < sizeof(log->text)) {
            log->text[log->len++] = line[i];
            log->text[log->len] = '\0';
        }
    }
}

/* Bytes in double quotes, as the vectors write them. */
static inline void feed_quote(struct feed_log *log, const void *data, size_t n)
{
    const uint8_t *p = data;
    feed_printf(log, "\"");
    for (size_t i = 0; i < n && i < FEED_SHOW_BYTES; i++) {
        if (p[i] == '"' || p[i] == '\\') {
            feed_printf(log, "\\%c", p[i]);
        } else if (p[i] >= 0x20 && p[i] < 0x7f) {
            feed_printf(log, "%c", p[i]);
        } else {
            feed_printf(log, "\\x%02x", p[i]);
        }
    }
    feed_printf(log, n > FEED_SHOW_BYTES ? "...\"" : "\"");
    for (size_t i = FEED_SHOW_BYTES; i < n; i++) {
        log->hash = (log->hash ^ p[i]) * 0x100000001b3u;
    }
    if (n > FEED_SHOW_BYTES) {
        feed_printf(log, " %zu", n);
    }
}

/* Feeds bytes[0..n) in the pieces that end at cuts[] (rising) and at n. */
static inline void feed_cut(const struct feed_target *t, const void *config,
    const uint8_t *bytes, size_t n, const size_t *cuts, size_t cut_count,
    struct feed_log *log)
{
    log->len = 0;
    log->text[0] = '\0';
    log->hash = 0xcbf29ce484222325u;
    void *state = t->start(config);
    size_t at = 0;
    bool wants_more = true;
    for (size_t i = 0; i <= cut_count && wants_more; i++) {
        size_t end = i < cut_count ? cuts[i] : n;
        if (end > at || cut_count == 0) {
            uint8_t *piece = malloc(end - at + (end == at));
            if (piece == NULL) {
                abort();
            }
            if (end > at) {
                memcpy(piece, bytes + at, end - at);
            }
            wants_more = t->feed(state, piece, end - at, log);
            free(piece);
            at = end;
        }
    }
    t->finish(state, log);
}

static inline bool feed_is_same(
    const struct feed_log *a, const struct feed_log *b)
{
    return a->hash == b->hash && a->len == b->len &&
           memcmp(a->text, b->text, a->len) == 0;
}

static inline bool feed_try_cuts(const struct feed_target *t,
    const void *config, const uint8_t *bytes, size_t n, const size_t *cuts,
    size_t cut_count, const struct feed_log *whole)
{
    static struct feed_log log;
    feed_cut(t, config, bytes, n, cuts, cut_count, &log);
    if (feed_is_same(&log, whole)) {
        return true;
    }
    fprintf(stderr, "cut in %zu pieces, first at %zu, last at %zu of %zu\n",
        cut_count + 1, cuts[0], cuts[cut_count - 1], n);
    fprintf(stderr, "--- whole:\n%s--- cut:\n%s", whole->text, log.text);
    return false;
}

/* Whole, byte by byte, at every cut in two (long inputs: at 2,000 places
 * spread over it and at both ends), and short inputs at every cut in three.
 * *whole is the log of the input fed at once. False, with a word on stderr:
 * some cut gave other events. */
static inline bool feed_every_split(const struct feed_target *t,
    const void *config, const uint8_t *bytes, size_t n, struct feed_log *whole)
{
    feed_cut(t, config, bytes, n, NULL, 0, whole);
    size_t cuts[FEED_CUTS_MAX];
    if (n >= 2 && n <= FEED_CUTS_MAX) {
        for (size_t i = 1; i < n; i++) {
            cuts[i - 1] = i;
        }
        if (!feed_try_cuts(t, config, bytes, n, cuts, n - 1, whole)) {
            return false;
        }
    }
    size_t stride = n / 2000 + 1;
    for (size_t i = 1; i < n; i += i < 100 || n - i < 100 ? 1 : stride) {
        if (!feed_try_cuts(t, config, bytes, n, &i, 1, whole)) {
            return false;
        }
    }
    for (size_t i = 1; n <= 80 && i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            size_t two[2] = {i, j};
            if (!feed_try_cuts(t, config, bytes, n, two, 2, whole)) {
                return false;
            }
        }
    }
    return true;
}

#endif
