/* handshake_list.c -- the two headers of a WebSocket request that are lists.
 *
 * RFC 6455 4.2.1 asks a server to stop at "any violations of the ABNF grammar"
 * of the handshake's headers. Of most of them handshake.c sees to that by
 * comparing; these two have a grammar worth the name:
 *
 *   Sec-WebSocket-Protocol    1#token, each of them once (4.1)
 *   Sec-WebSocket-Extensions  1#(token *(";" token ["=" (token / quoted)]))
 *
 * A list may be spread over several headers, and has empty elements left out
 * (RFC 9110 5.6.1). The grammar of extensions is read in extension.c. What an
 * extension's name and parameters mean is not asked here; neither is which
 * protocol is chosen. */
#include "proto/extension.h"
#include "proto/handshake_priv.h"
#include "proto/http_priv.h"
#include <string.h>

/* ---- Sec-WebSocket-Protocol ---- */

/* How often a protocol is offered, over all headers. At most two are looked
 * for: a head is short, and so are the lists in it. */
static size_t count_offers(
    const struct http_request *r, const char *want, size_t want_len)
{
    size_t count = 0;
    for (size_t i = 0; i < r->header_count && count < 2; i++) {
        if (strcmp(r->headers[i].name, "sec-websocket-protocol") != 0) {
            continue;
        }
        const char *list = r->headers[i].value;
        const char *item;
        size_t len;
        while (http_list_next(&list, &item, &len)) {
            count += len == want_len && memcmp(item, want, len) == 0;
        }
    }
    return count;
}

/* *total: of all headers, since looking for each in all of them is quadratic.
 */
static const char *check_protocols(
    const struct http_request *r, const char *list, size_t *total)
{
    const char *item;
    size_t len;
    size_t before = *total;
    while (http_list_next(&list, &item, &len)) {
        if (!http_is_token(item, len)) {
            return "Sec-WebSocket-Protocol must be a list of tokens";
        }
        if (++*total > PROTOCOLS_MAX) {
            return "Sec-WebSocket-Protocol lists too many protocols";
        }
        if (count_offers(r, item, len) > 1) {
            return "Sec-WebSocket-Protocol lists a protocol twice";
        }
    }
    return *total > before ? NULL : "Sec-WebSocket-Protocol is empty";
}

/* ---- both ---- */

const char *handshake_check_lists(const struct http_request *r)
{
    const char *why = NULL;
    size_t protocols = 0;
    for (size_t i = 0; i < r->header_count && why == NULL; i++) {
        const struct http_header *h = &r->headers[i];
        if (strcmp(h->name, "sec-websocket-protocol") == 0) {
            why = check_protocols(r, h->value, &protocols);
        }
    }
    if (why == NULL && !extension_is_well_formed(r)) {
        why = "Sec-WebSocket-Extensions is malformed";
    }
    return why;
}
