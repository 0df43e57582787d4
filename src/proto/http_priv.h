/* http_priv.h -- what the files of HTTP share inside this room: the scanner
 * that stands in front of llhttp, and list walking. */
#ifndef PROTO_HTTP_PRIV_H
#define PROTO_HTTP_PRIV_H

#include "base/base.h"

enum http_scan_state {
    SCAN_START,    /* before the request line; empty lines may come */
    SCAN_START_CR, /* the CR of such an empty line */
    SCAN_METHOD,
    SCAN_TARGET,
    SCAN_VERSION,
    SCAN_LINE, /* at the beginning of a header line */
    SCAN_NAME,
    SCAN_VALUE,
    SCAN_CR,     /* the CR that ends a line */
    SCAN_END_CR, /* the CR of the empty line that ends the head */
    SCAN_DONE
};

struct http_scan {
    /* Bounds, set once. */
    size_t head_bytes;
    size_t headers;
    size_t target_bytes;

    enum http_scan_state state;
    size_t bytes;        /* of the head so far */
    size_t header_count; /* begun so far */
    size_t piece;        /* bytes of the target, or of the version, so far */
    int status;          /* != 0: the head is refused with this */
    const char *detail;
};

/* Ready for a new head; the bounds stay. */
void http_scan_reset(struct http_scan *s);
/* Judges bytes up to the end of the head, the first wrong byte (then
 * s->status is set) or n; returns how many were right. */
size_t http_scan(struct http_scan *s, const uint8_t *p, size_t n);

/* A tchar of RFC 9110 5.6.2. */
bool http_is_token_char(uint8_t c);
/* One or more of them. */
bool http_is_token(const char *s, size_t n);
/* Steps through the elements of a comma list (RFC 9110 5.6.1), empty ones
 * left out. *at begins at the list's text; false at its end. */
bool http_list_next(const char **at, const char **item, size_t *len);

/* The target of a request (RFC 9112 3.2). */
struct http_target {
    const char *authority; /* absolute-form only, else NULL; lent */
    size_t authority_len;
    const char *query; /* lent; "" if none */
};

/* Takes a target apart and writes its percent-decoded path, with a NUL, to
 * `path`, which has room for strlen(target) + 2 bytes. NULL, or a sentence
 * what is wrong. */
const char *http_target_parse(
    const char *target, struct http_target *t, char *path) NODISCARD;
/* Could this be the value of a Host header (RFC 9110 7.2)? A name, an address
 * in brackets, or nothing, and perhaps a port. */
bool http_host_is_valid(const char *host, size_t n);

#endif
