/* metrics.c -- GET /metrics: every figure of the server as Prometheus reads it.
 *
 * Called by admin.c. The text is made at once, between two events of the
 * loop, and sent in parts as the reader takes them: a reader that is slow or
 * gone costs nobody anything but that memory. The text has a bound (I2);
 * beyond it the answer is 503, since half of the figures would look like the
 * other half at zero. */
#include "admin/admin_priv.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/metric_text.h"
#include "net/reply.h"
#include <string.h>

#define HEAD_BYTES 512

/* The text on its way out. */
struct text_body {
    struct conn_body base;
    struct buf text;
    size_t at;
};

static ssize_t read_body(struct conn_body *b, uint8_t *p, size_t n)
{
    struct text_body *body = container_of(b, struct text_body, base);
    size_t left = body->text.len - body->at;
    size_t k = n < left ? n : left;
    memcpy(p, body->text.p + body->at, k);
    body->at += k;
    return (ssize_t)k;
}

static void close_body(struct conn_body *b)
{
    struct text_body *body = container_of(b, struct text_body, base);
    buf_fini(&body->text);
    mem_free(body);
}

static int write_about(struct buf *out)
{
    const struct metric_label version = {"version", MOONWIRE_VERSION};
    int rc = metric_text_family(
        out, "build_info", "gauge", "always 1; what is running");
    if (rc == 0) {
        rc = metric_text_value(out, "build_info", &version, 1, 1);
    }
    return rc;
}

static int write_all(const struct admin *a, struct buf *out)
{
    const struct admin_config *config = &a->config;
    int rc = write_about(out);
    if (rc == 0) {
        rc = metric_text_tables(out, config->tables, config->table_count);
    }
    for (size_t i = 0; rc == 0 && i < config->source_count; i++) {
        const struct admin_source *source = &config->sources[i];
        rc = source->write(source->user, out);
    }
    return rc;
}

void admin_reply_metrics(struct admin *a, struct conn *c, bool is_head)
{
    struct text_body *body = mem_zalloc(sizeof(*body));
    body->base.read = read_body;
    body->base.close = close_body;
    buf_init(&body->text, LIMIT_ADMIN_TEXT_BYTES);
    int rc = write_all(a, &body->text);
    if (rc != 0) {
        close_body(&body->base);
        reply_text(c, 503, err_text(rc), NULL, is_head, false);
        return;
    }

    char head[HEAD_BYTES];
    size_t len = reply_head(head, sizeof(head), 200,
        "text/plain; version=0.0.4; charset=utf-8", body->text.len,
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
        false);
    ASSERT(len > 0, "the head of the figures fits");
    if (is_head) {
        close_body(&body->base);
        conn_reply(c, head, len, false);
    } else {
        conn_reply_body(c, head, len, &body->base, false);
    }
}
