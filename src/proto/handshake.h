/* handshake.h -- RFC 6455 section 4.2: a request -> the 101 response, or
 * the status to refuse it with. */
#ifndef PROTO_HANDSHAKE_H
#define PROTO_HANDSHAKE_H

#include "proto/http.h"

#define HANDSHAKE_ACCEPT_BYTES 28

/* Does this request want a WebSocket at all (an Upgrade header with the
 * token "websocket", or a Sec-WebSocket-Key)? If not it is plain HTTP. */
bool handshake_is_wanted(const struct http_request *r);
/* 0, or the HTTP status to refuse with (400, 405, 426, 505) and *detail, a
 * static sentence. 426 is answered with `Sec-WebSocket-Version: 13` and
 * `Upgrade: websocket`. */
int handshake_check(
    const struct http_request *r, const char **detail) NODISCARD;
/* Sec-WebSocket-Accept for the request's key, NUL-terminated. */
void handshake_accept(
    const struct http_request *r, char out[HANDSHAKE_ACCEPT_BYTES + 1]);
/* Is `protocol` one that the client offered in Sec-WebSocket-Protocol? */
bool handshake_offers(const struct http_request *r, const char *protocol);
/* May a page of the request's Origin connect (RFC 6455 10.2)? Yes without an
 * Origin header, if the origin's host and port are those of Host, or if it is
 * one of `allowed` ("*" allows all; a host that begins with "*." any
 * sub-domain; an entry without a scheme any scheme; `allowed` ends with NULL
 * and may be NULL itself). */
bool handshake_origin_is_allowed(
    const struct http_request *r, const char *const *allowed);
/* Could an entry of `allowed` ever allow anything? "https://a.example/" could
 * not: an origin has no path. */
bool handshake_origin_entry_is_valid(const char *entry);
/* Writes the 101 response; `protocol` may be NULL; `extra` is further header
 * lines, each ending in CRLF, or NULL. Returns its length, or 0 if it does
 * not fit. */
size_t handshake_response(char *out, size_t cap, const char *accept,
    const char *protocol, const char *extra);

#endif
