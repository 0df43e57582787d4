/* proxy_feed.h -- the reader of PROXY headers as a target of feed.h; the unit
 * test and the fuzzer share it. */
#ifndef TESTS_SUPPORT_PROXY_FEED_H
#define TESTS_SUPPORT_PROXY_FEED_H

#include "proto/proxy.h"
#include "support/feed.h"

struct proxy_feed {
    struct proxy_reader reader;
    bool is_over;
    size_t eaten;
    size_t left; /* bytes behind the header */
};

static inline void *proxy_feed_start(const void *config)
{
    (void)config;
    struct proxy_feed *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        abort();
    }
    return f;
}

static inline bool proxy_feed_feed(
    void *state, uint8_t *p, size_t n, struct feed_log *log)
{
    struct proxy_feed *f = state;
    if (f->is_over) {
        f->left += n;
        return true;
    }
    struct ip client;
    char text[IP_TEXT_BYTES];
    const char *detail = "(no detail)";
    size_t used;
    enum proxy_result rc =
        proxy_read(&f->reader, p, n, &used, &client, &detail);
    f->eaten += used;
    if (rc == PROXY_BAD) {
        feed_printf(log, "bad: %s\n", detail);
        f->is_over = true;
        return false;
    }
    if (rc == PROXY_DONE) {
        ip_write(&client, text);
        feed_printf(log, "client \"%s\"\n", text);
        f->is_over = true;
        f->left = n - used;
    } else if (used != n) {
        feed_printf(log, "bytes left over\n");
    }
    return true;
}

static inline void proxy_feed_finish(void *state, struct feed_log *log)
{
    struct proxy_feed *f = state;
    if (f->left > 0) {
        feed_printf(log, "left %zu\n", f->left);
    } else if (!f->is_over && f->eaten > 0) {
        feed_printf(log, "partial\n");
    }
    free(f);
}

static const struct feed_target proxy_feed_target = {
    proxy_feed_start, proxy_feed_feed, proxy_feed_finish};

#endif
