/* message_feed.h -- the message reader as a target of feed.h; the unit test
 * and the fuzzer share it. */
#ifndef TESTS_SUPPORT_MESSAGE_FEED_H
#define TESTS_SUPPORT_MESSAGE_FEED_H

#include "base/err.h"
#include "proto/message.h"
#include "proto/message_inflate.h"
#include "support/feed.h"

struct message_feed_config {
    uint32_t max;
    bool allow_rsv1;
    bool inflates;
    bool keeps; /* the context of the messages before */
    bool skips;
};

struct message_feed {
    struct message_reader reader;
    struct inflate_source source;
    bool inflates;
    bool failed;
};

static inline void *message_feed_start(const void *config)
{
    const struct message_feed_config *c = config;
    struct message_feed *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        abort();
    }
    message_reader_init(&f->reader, c->max);
    f->reader.allow_rsv1 = c->allow_rsv1 || c->inflates;
    f->inflates = c->inflates;
    if (c->skips) {
        message_reader_skip(&f->reader);
    }
    if (c->inflates) {
        f->source = (struct inflate_source){
            .bits = DEFLATE_BITS_MAX, .keeps = c->keeps};
    }
    return f;
}

static inline void message_feed_show(
    struct feed_log *log, const struct message *m)
{
    static const char *const kinds[] = {
        "more", "text", "binary", "ping", "pong", "close"};
    feed_printf(log, "%s ", kinds[m->kind]);
    if (m->kind == MESSAGE_CLOSE) {
        feed_printf(log, "%u ", m->close_code);
    }
    if (m->compressed) {
        feed_printf(log, "compressed ");
    }
    feed_quote(log, m->data, m->len);
    feed_printf(log, "\n");
}

/* Reads all there is, as the contract says: until MESSAGE_MORE and no bytes are
 * left; some may be after a step of inflating only. */
static inline bool message_feed_feed(
    void *state, uint8_t *p, size_t n, struct feed_log *log)
{
    struct message_feed *f = state;
    for (;;) {
        struct message m;
        size_t before = n;
        int rc = message_read_packed(
            &f->reader, f->inflates ? &f->source : NULL, &p, &n, &m);
        if (rc != 0) {
            feed_printf(log, "error %s: %s\n", err_word(rc), m.detail);
            f->failed = true;
            return false;
        }
        if (m.kind == MESSAGE_MORE && n == 0) {
            return true;
        }
        if (m.kind == MESSAGE_MORE) {
            if (!f->inflates || before == n) {
                feed_printf(log, "bytes left over\n");
                return true;
            }
            continue;
        }
        message_feed_show(log, &m);
    }
}

static inline void message_feed_finish(void *state, struct feed_log *log)
{
    struct message_feed *f = state;
    if (!f->failed && message_is_partial(&f->reader)) {
        feed_printf(log, "partial\n");
    }
    if (!f->failed && !message_is_partial(&f->reader) &&
        f->reader.part != NULL) {
        feed_printf(log, "holds heap between messages\n");
    }
    message_reader_fini(&f->reader);
    inflate_source_fini(&f->source);
    free(f);
}

static const struct feed_target message_feed_target = {
    message_feed_start, message_feed_feed, message_feed_finish};

#endif
