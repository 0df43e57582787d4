/* handshake.c -- RFC 6455 section 4.2: may this request become a WebSocket,
 * and with which words.
 *
 * Called by net/conn for each request that asks for one. It judges the whole
 * request by the letter of the RFC: a client that gets its handshake wrong is
 * told which header and why, in the body of the refusal. It neither chooses a
 * subprotocol nor agrees on extensions; it says whether a choice is one the
 * client offered, and writes the lines it is given. */
#include "proto/handshake.h"
#include "base/digest.h"
#include "proto/handshake_priv.h"
#include "proto/http_priv.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KEY_BYTES 16 /* decoded */
#define KEY_CHARS 24 /* in base64 */

bool handshake_is_wanted(const struct http_request *r)
{
    return http_header_has_token(r, "upgrade", "websocket") ||
           http_header_find(r, "sec-websocket-key") != NULL;
}

static int refuse(const char **detail, int status, const char *why)
{
    *detail = why;
    return status;
}

static bool key_is_valid(const char *key)
{
    uint8_t bytes[KEY_CHARS / 4 * 3];
    size_t n = 0;
    return strlen(key) == KEY_CHARS &&
           digest_unbase64(key, KEY_CHARS, bytes, &n) && n == KEY_BYTES;
}

static int check_line(const struct http_request *r, const char **detail)
{
    if (strcmp(r->method, "GET") != 0) {
        return refuse(detail, 405, "a WebSocket handshake is a GET");
    }
    if (r->minor < 1) {
        return refuse(detail, 505, "a WebSocket handshake needs HTTP/1.1");
    }
    if (r->has_body) {
        return refuse(detail, 400, "a WebSocket handshake has no body");
    }
    return 0;
}

/* RFC 9110 7.6.1 and 7.8: Connection is a list of tokens, Upgrade one of
 * tokens with a version behind a slash, or without. */
static bool is_list_of_tokens(
    const struct http_request *r, const char *name, bool has_versions)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcmp(r->headers[i].name, name) != 0) {
            continue;
        }
        const char *list = r->headers[i].value;
        const char *item;
        size_t len;
        while (http_list_next(&list, &item, &len)) {
            const char *slash = has_versions ? memchr(item, '/', len) : NULL;
            size_t n = slash != NULL ? (size_t)(slash - item) : len;
            if (!http_is_token(item, n) ||
                (slash != NULL && !http_is_token(slash + 1, len - n - 1))) {
                return false;
            }
        }
    }
    return true;
}

static int check_http_headers(const struct http_request *r, const char **detail)
{
    if (http_header_count(r, "host") != 1) {
        return refuse(detail, 400, "Host must be given once");
    }
    if (http_header_find(r, "host")[0] == '\0') {
        return refuse(detail, 400, "Host is empty");
    }
    if (!is_list_of_tokens(r, "upgrade", true)) {
        return refuse(detail, 400, "Upgrade must be a list of protocols");
    }
    if (!is_list_of_tokens(r, "connection", false)) {
        return refuse(detail, 400, "Connection must be a list of tokens");
    }
    if (!http_header_has_token(r, "upgrade", "websocket")) {
        return refuse(detail, 400, "Upgrade must contain \"websocket\"");
    }
    if (!http_header_has_token(r, "connection", "upgrade")) {
        return refuse(detail, 400, "Connection must contain \"upgrade\"");
    }
    return 0;
}

static int check_own_headers(const struct http_request *r, const char **detail)
{
    /* The version first: of another one we know nothing more. */
    size_t versions = http_header_count(r, "sec-websocket-version");
    if (versions > 1) {
        return refuse(
            detail, 400, "Sec-WebSocket-Version is given more than once");
    }
    if (versions == 0 ||
        strcmp(http_header_find(r, "sec-websocket-version"), "13") != 0) {
        return refuse(detail, 426, "Sec-WebSocket-Version must be 13");
    }
    size_t keys = http_header_count(r, "sec-websocket-key");
    if (keys != 1) {
        return refuse(detail, 400,
            keys == 0 ? "Sec-WebSocket-Key is missing"
                      : "Sec-WebSocket-Key is given more than once");
    }
    if (!key_is_valid(http_header_find(r, "sec-websocket-key"))) {
        return refuse(
            detail, 400, "Sec-WebSocket-Key must be 16 bytes in base64");
    }
    if (http_header_count(r, "origin") > 1) {
        return refuse(detail, 400, "Origin is given more than once");
    }
    const char *why = handshake_check_lists(r);
    return why != NULL ? refuse(detail, 400, why) : 0;
}

int handshake_check(const struct http_request *r, const char **detail)
{
    int status = check_line(r, detail);
    if (status == 0) {
        status = check_http_headers(r, detail);
    }
    return status != 0 ? status : check_own_headers(r, detail);
}

void handshake_accept(
    const struct http_request *r, char out[HANDSHAKE_ACCEPT_BYTES + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *key = http_header_find(r, "sec-websocket-key");
    ASSERT(key != NULL && strlen(key) == KEY_CHARS, "handshake_check first");
    char text[KEY_CHARS + sizeof(guid)];
    memcpy(text, key, KEY_CHARS);
    memcpy(text + KEY_CHARS, guid, sizeof(guid));
    uint8_t hash[DIGEST_MAX_BYTES];
    digest_hash(DIGEST_SHA1, text, sizeof(text) - 1, hash);
    size_t n = digest_base64(hash, digest_bytes(DIGEST_SHA1), out);
    ASSERT(n == HANDSHAKE_ACCEPT_BYTES, "RFC 6455 4.2.2");
    out[n] = '\0';
}

/* Subprotocols are compared with case, unlike most tokens. */
bool handshake_offers(const struct http_request *r, const char *protocol)
{
    size_t want = strlen(protocol);
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcmp(r->headers[i].name, "sec-websocket-protocol") != 0) {
            continue;
        }
        const char *list = r->headers[i].value;
        const char *item;
        size_t len;
        while (http_list_next(&list, &item, &len)) {
            if (len == want && memcmp(item, protocol, len) == 0) {
                return true;
            }
        }
    }
    return false;
}

size_t handshake_response(char *out, size_t cap, const char *accept,
    const char *protocol, const char *extra)
{
    int n = snprintf(out, cap,
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n"
        "%s%s%s%s\r\n",
        accept, protocol != NULL ? "Sec-WebSocket-Protocol: " : "",
        protocol != NULL ? protocol : "", protocol != NULL ? "\r\n" : "",
        extra != NULL ? extra : "");
    return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}
