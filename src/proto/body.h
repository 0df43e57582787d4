/* body.h -- the body of a request: its length, or its chunks (RFC 9112 6, 7.1),
 * taken apart in place. No I/O. */
#ifndef PROTO_BODY_H
#define PROTO_BODY_H

#include "proto/http.h"

enum body_result {
    BODY_MORE,    /* everything was eaten, it is not complete */
    BODY_DATA,    /* a piece: call again */
    BODY_END,     /* complete; what is behind it is not touched */
    BODY_TOO_BIG, /* over `max`, found before the byte that would be over */
    BODY_BAD      /* `detail` says why: 400 */
};

struct body_reader {
    uint64_t left;  /* of the body or of the chunk */
    uint64_t total; /* announced so far */
    uint64_t max;
    uint32_t extra; /* bytes of extensions and trailers so far */
    uint8_t state;
    uint8_t digits; /* of the chunk size so far */
};

/* What a call has found; only what its result speaks of is set. */
struct body_piece {
    const uint8_t *p;
    size_t len;
    const char *detail; /* a static sentence */
};

/* For a request with has_body. */
void body_reader_init(
    struct body_reader *b, const struct http_request *r, uint64_t max);
/* Eats from p[0..n), *used says how much; a piece lies in p itself. After
 * BODY_END, BODY_TOO_BIG and BODY_BAD it must not be fed again. */
enum body_result body_read(struct body_reader *b, const uint8_t *p, size_t n,
    size_t *used, struct body_piece *out) NODISCARD;

#endif
