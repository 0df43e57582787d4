/* http_feed.h -- the request parser as a target of feed.h; the unit test and
 * the fuzzer share it. Goes on with the next request of a pipeline until one
 * has a body or asks for an upgrade: what follows is not HTTP's. */
#ifndef TESTS_SUPPORT_HTTP_FEED_H
#define TESTS_SUPPORT_HTTP_FEED_H

#include "proto/http.h"
#include "support/feed.h"

struct http_feed_config {
    size_t head_bytes;
    size_t headers;
};

struct http_feed {
    struct http_parser *parser;
    bool is_over; /* no more heads are read */
    size_t eaten; /* of the head under way */
    size_t left;  /* bytes behind the last head */
};

static inline void *http_feed_start(const void *config)
{
    const struct http_feed_config *c = config;
    struct http_feed *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        abort();
    }
    f->parser = http_parser_new(c->head_bytes, c->headers);
    return f;
}

static inline void http_feed_show(
    struct feed_log *log, const struct http_request *r)
{
    feed_printf(log, "request %s ", r->method);
    feed_quote(log, r->target, strlen(r->target));
    feed_printf(log, " 1.%u%s%s%s\n", r->minor, r->keep_alive ? " keep" : "",
        r->upgrade ? " upgrade" : "", r->has_body ? " body" : "");
    if (strcmp(r->path, r->target) != 0) {
        feed_printf(log, "path ");
        feed_quote(log, r->path, strlen(r->path));
        feed_printf(log, " query ");
        feed_quote(log, r->query, strlen(r->query));
        feed_printf(log, "\n");
    }
    for (size_t i = 0; i < r->header_count; i++) {
        feed_printf(log, "%s ", r->headers[i].name);
        feed_quote(log, r->headers[i].value, r->headers[i].value_len);
        feed_printf(log, "\n");
        if (strlen(r->headers[i].value) != r->headers[i].value_len) {
            feed_printf(log, "a NUL inside\n");
        }
    }
}

static inline bool http_feed_feed(
    void *state, uint8_t *p, size_t n, struct feed_log *log)
{
    struct http_feed *f = state;
    while (n > 0 && !f->is_over) {
        size_t used;
        enum http_result result = http_parser_feed(f->parser, p, n, &used);
        p += used;
        n -= used;
        f->eaten += used;
        if (result == HTTP_BAD) {
            const char *detail = NULL;
            int status = http_parser_status(f->parser, &detail);
            feed_printf(log, "%d %s: %s\n", status, http_reason(status),
                detail != NULL ? detail : "(no detail)");
            f->is_over = true;
            return false;
        }
        if (result == HTTP_REQUEST) {
            const struct http_request *r = http_parser_request(f->parser);
            http_feed_show(log, r);
            f->is_over = r->upgrade || r->has_body;
            f->eaten = 0;
            http_parser_reset(f->parser);
        } else if (n > 0) {
            feed_printf(log, "bytes left over\n");
        }
    }
    f->left += n;
    return true;
}

static inline void http_feed_finish(void *state, struct feed_log *log)
{
    struct http_feed *f = state;
    if (f->left > 0) {
        feed_printf(log, "left %zu\n", f->left);
    } else if (!f->is_over && f->eaten > 0) {
        feed_printf(log, "partial\n");
    }
    http_parser_free(f->parser);
    free(f);
}

static const struct feed_target http_feed_target = {
    http_feed_start, http_feed_feed, http_feed_finish};

#endif
