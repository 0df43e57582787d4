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
 * (RFC 9110 5.6.1). What an extension's name and parameters mean is not asked
 * here; neither is which protocol is chosen. */
#include "proto/handshake_priv.h"
#include "proto/http_priv.h"
#include <string.h>

static size_t token_len(const char *s)
{
    size_t n = 0;
    while (http_is_token_char((uint8_t)s[n])) {
        n++;
    }
    return n;
}

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t");
}

/* ---- Sec-WebSocket-Protocol ---- */

static bool is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!http_is_token_char((uint8_t)s[i])) {
            return false;
        }
    }
    return n > 0;
}

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
        if (!is_token(item, len)) {
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

/* ---- Sec-WebSocket-Extensions ---- */

/* A quoted-string whose content, without its backslashes, is a token (RFC
 * 6455 9.1). What is behind it, or NULL. */
static const char *pass_quoted(const char *s)
{
    size_t n = 0;
    for (s++; *s != '"'; s++, n++) {
        if (*s == '\\') {
            s++;
        }
        if (!http_is_token_char((uint8_t)*s)) {
            return NULL;
        }
    }
    return n > 0 ? s + 1 : NULL;
}

/* token ["=" (token / quoted)]; what is behind it, or NULL. */
static const char *pass_parameter(const char *s)
{
    size_t n = token_len(s);
    if (n == 0) {
        return NULL;
    }
    const char *behind = skip_blanks(s + n);
    if (*behind != '=') {
        return behind;
    }
    s = skip_blanks(behind + 1);
    if (*s == '"') {
        s = pass_quoted(s);
    } else {
        n = token_len(s);
        s = n > 0 ? s + n : NULL;
    }
    return s != NULL ? skip_blanks(s) : NULL;
}

static const char *pass_extension(const char *s)
{
    size_t n = token_len(s);
    s = n > 0 ? skip_blanks(s + n) : NULL;
    while (s != NULL && *s == ';') {
        s = pass_parameter(skip_blanks(s + 1));
    }
    return s;
}

static const char *check_extensions(const char *s)
{
    static const char malformed[] = "Sec-WebSocket-Extensions is malformed";
    size_t count = 0;
    for (;;) {
        s += strspn(s, " \t,");
        if (*s == '\0') {
            return count > 0 ? NULL : malformed;
        }
        s = pass_extension(s);
        if (s == NULL || (*s != ',' && *s != '\0')) {
            return malformed;
        }
        count++;
    }
}

const char *handshake_check_lists(const struct http_request *r)
{
    const char *why = NULL;
    size_t protocols = 0;
    for (size_t i = 0; i < r->header_count && why == NULL; i++) {
        const struct http_header *h = &r->headers[i];
        if (strcmp(h->name, "sec-websocket-protocol") == 0) {
            why = check_protocols(r, h->value, &protocols);
        } else if (strcmp(h->name, "sec-websocket-extensions") == 0) {
            why = check_extensions(h->value);
        }
    }
    return why;
}
