/* body_feed.h -- the reader of bodies as a target of feed.h; the unit test and
 * the fuzzer share it. The pieces are put together, since how they are cut is
 * the network's matter. */
#ifndef TESTS_SUPPORT_BODY_FEED_H
#define TESTS_SUPPORT_BODY_FEED_H

#include "proto/body.h"
#include "support/feed.h"

struct body_feed_config {
    long length; /* < 0: chunked */
    uint64_t max;
};

struct body_feed {
    struct body_reader reader;
    uint8_t *data;
    size_t len;
    bool is_over;
    size_t left; /* bytes behind the body */
};

static inline void *body_feed_start(const void *config)
{
    const struct body_feed_config *c = config;
    struct body_feed *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        abort();
    }
    char number[32];
    snprintf(number, sizeof(number), "%ld", c->length);
    struct http_header h = {"transfer-encoding", "chunked", 7};
    if (c->length >= 0) {
        h = (struct http_header){"content-length", number, strlen(number)};
    }
    struct http_request r = {.headers = &h, .header_count = 1};
    body_reader_init(&f->reader, &r, c->max);
    return f;
}

static inline void body_feed_keep(
    struct body_feed *f, const uint8_t *piece, size_t len)
{
    uint8_t *data = realloc(f->data, f->len + len + 1);
    if (data == NULL) {
        abort();
    }
    memcpy(data + f->len, piece, len);
    f->data = data;
    f->len += len;
    if (f->len > f->reader.max) {
        abort();
    }
}

static inline bool body_feed_feed(
    void *state, uint8_t *p, size_t n, struct feed_log *log)
{
    struct body_feed *f = state;
    while (!f->is_over) {
        struct body_piece piece = {.detail = "(no detail)"};
        size_t used;
        enum body_result rc = body_read(&f->reader, p, n, &used, &piece);
        if (rc == BODY_DATA &&
            (piece.p < p || piece.p + piece.len != p + used)) {
            abort(); /* it lies in the input */
        }
        p += used;
        n -= used;
        switch (rc) {
        case BODY_MORE:
            if (n > 0) {
                feed_printf(log, "bytes left over\n");
            }
            return true;
        case BODY_DATA: body_feed_keep(f, piece.p, piece.len); break;
        case BODY_END: f->is_over = true; break;
        case BODY_TOO_BIG:
            feed_printf(log, "too big\n");
            f->is_over = true;
            return false;
        case BODY_BAD:
            feed_printf(log, "bad: %s\n", piece.detail);
            f->is_over = true;
            return false;
        }
        if (f->is_over) {
            feed_printf(log, "body ");
            feed_quote(log, f->data != NULL ? f->data : p, f->len);
            feed_printf(log, "\n");
        }
    }
    f->left += n;
    return true;
}

static inline void body_feed_finish(void *state, struct feed_log *log)
{
    struct body_feed *f = state;
    if (f->left > 0) {
        feed_printf(log, "left %zu\n", f->left);
    } else if (!f->is_over) {
        feed_printf(log, "partial\n");
    }
    free(f->data);
    free(f);
}

static const struct feed_target body_feed_target = {
    body_feed_start, body_feed_feed, body_feed_finish};

#endif
