/* fuzz_http.c -- bytes of a rude client into the request parser, and what
 * comes out of it into the handshake.
 *
 * Settings: bit 0 a short head, bit 1 few headers. The events must not depend
 * on the splits; the sanitizers watch the rest. */
#include "chunks.h"
#include "proto/handshake.h"
#include "support/http_feed.h"

/* Whatever the parser lets through, the handshake must have an answer. */
static void try_handshake(const struct chunks *c, size_t head, size_t headers)
{
    static const char *const rules[] = {
        "https://*.example.com", "example.org:81", "null", NULL};
    struct http_parser *p = http_parser_new(head, headers);
    size_t used;
    if (http_parser_feed(p, c->bytes, c->len, &used) == HTTP_REQUEST) {
        const struct http_request *r = http_parser_request(p);
        const char *detail = NULL;
        if (handshake_check(r, &detail) == 0) {
            char accept[HANDSHAKE_ACCEPT_BYTES + 1];
            handshake_accept(r, accept);
        } else if (detail == NULL) {
            abort();
        }
        (void)handshake_offers(r, "chat");
        (void)handshake_origin_is_allowed(r, rules);
    }
    if (used > c->len) {
        abort();
    }
    http_parser_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chunks c;
    chunks_read(&c, data, size);
    struct http_feed_config config = {
        .head_bytes = (c.settings & 1) != 0 ? 100 : 16384,
        .headers = (c.settings & 2) != 0 ? 3 : 100,
    };
    chunks_try(&http_feed_target, &config, &c);
    try_handshake(&c, config.head_bytes, config.headers);
    return 0;
}
