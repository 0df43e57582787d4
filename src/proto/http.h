/* http.h -- bytes -> one HTTP/1.1 request head, behind hard limits. llhttp
 * (strict mode) judges the syntax; this file bounds and keeps the result. */
#ifndef PROTO_HTTP_H
#define PROTO_HTTP_H

#include "base/base.h"

struct http_header {
    const char *name;  /* lower case, NUL-terminated */
    const char *value; /* trimmed, NUL-terminated; may hold no NUL itself */
    size_t value_len;
};

struct http_request {
    const char *method; /* "GET" */
    const char *target; /* as sent, NUL-terminated */
    const char *path;   /* percent-decoded, starts with '/', no NUL inside */
    const char *query;  /* behind '?', not decoded; "" if none */
    const char *host;   /* asked for; NULL if nobody says (HTTP/1.0) */
    uint8_t minor;      /* HTTP/1.minor */
    bool keep_alive;
    bool upgrade;  /* asks for a WebSocket; what else is not heard */
    bool has_body; /* Content-Length > 0 or Transfer-Encoding */
    size_t header_count;
    const struct http_header *headers; /* in wire order */
};

enum http_result { HTTP_MORE, HTTP_REQUEST, HTTP_BAD };

struct http_parser;

struct http_parser *http_parser_new(size_t head_bytes, size_t headers);
void http_parser_free(struct http_parser *p); /* NULL is fine */
/* Ready for the next request of a kept-alive connection. */
void http_parser_reset(struct http_parser *p);

/* Feeds bytes; *used says how many were eaten. HTTP_REQUEST at the end of
 * the head: bytes behind it (a body, pipelined frames, the next request) are
 * left to the caller, and the next feed begins the next request. HTTP_BAD: see
 * http_parser_status(); it stays bad until a reset. */
enum http_result http_parser_feed(struct http_parser *p, const uint8_t *data,
    size_t n, size_t *used) NODISCARD;
/* Lent until the parser is reset, fed or freed. */
const struct http_request *http_parser_request(const struct http_parser *p);
/* Somebody who is to be believed says that another host was asked for; lent
 * for as long as the request. */
void http_parser_set_host(struct http_parser *p, const char *host);
/* After HTTP_BAD: the HTTP status to answer with (400, 413, 414, 431, 501,
 * 503 when memory is out, 505) and a static sentence why. */
int http_parser_status(const struct http_parser *p, const char **detail);

/* A HEAD, as far as it has come: no answer to it has content. */
bool http_parser_is_head(const struct http_parser *p);

/* First header of that (lower-case) name; NULL if none. */
const char *http_header_find(const struct http_request *r, const char *name);
/* How many headers of that name. */
size_t http_header_count(const struct http_request *r, const char *name);
/* Does any header of that name hold `token` in its comma list (RFC 9110
 * 5.6.1), compared without case? */
bool http_header_has_token(
    const struct http_request *r, const char *name, const char *token);
/* The standard reason phrase of a status ("Not Found"); "Unknown" else. */
const char *http_reason(int status);

#endif
