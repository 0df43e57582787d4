/* deflate.h -- permessage-deflate (RFC 7692): what two ends agree on, and the
 * two directions of it. No I/O.
 *
 * A direction that keeps no context between messages needs state only while a
 * message is under way, and what it makes of a message is the same for
 * everybody: so one compressed frame serves a whole room. That is what a
 * server asks for unless an app says otherwise. */
#ifndef PROTO_DEFLATE_H
#define PROTO_DEFLATE_H

#include "base/buf.h"
#include "proto/http.h"

#define DEFLATE_BITS_MIN 8 /* RFC 7692 7.1.2: 256 bytes to 32 KiB */
#define DEFLATE_BITS_MAX 15

/* ---- what is agreed on ---- */

struct deflate_policy {
    bool is_on;
    bool server_keeps;   /* a context between messages, if the client lets us */
    bool client_keeps;   /* it may keep one */
    uint8_t server_bits; /* the largest windows */
    uint8_t client_bits;
};

struct deflate_params {
    bool server_keeps;
    bool client_keeps;
    uint8_t server_bits;
    uint8_t client_bits;
    bool says_server_bits; /* in the answer */
    bool says_client_bits;
};

/* Takes the first of the client's offers that is acceptable, in its order of
 * preference; false: there is none. The headers are well-formed. */
bool deflate_choose(const struct http_request *r,
    const struct deflate_policy *policy, struct deflate_params *out);
#define DEFLATE_ANSWER_BYTES 192
/* The header line that accepts, with its CRLF, NUL-terminated. */
void deflate_answer(
    const struct deflate_params *p, char out[DEFLATE_ANSWER_BYTES]);

/* ---- bytes ---- */

struct inflater;

/* For what was compressed with a window of up to `window_bits`. NULL: no
 * memory. */
struct inflater *inflater_new(unsigned window_bits) NODISCARD;
void inflater_free(struct inflater *z); /* NULL is fine */
/* Forgets the messages before, and one that was under way. */
void inflater_reset(struct inflater *z);
/* Inflates bytes of a message's payload behind out->len, as far as they say;
 * out->max is to be more than `max`. 0, or
 *   ERR_TOO_BIG   out would hold more than `max` bytes; a few more are made,
 *                 never many
 *   ERR_INFLATE   these are no such bytes
 *   ERR_NOMEM
 * and what was right before that stands in `out` nevertheless. */
int inflater_feed(struct inflater *z, const uint8_t *p, size_t n,
    struct buf *out, size_t max) NODISCARD;
/* The message has had its last byte; the same errors. */
int inflater_end(struct inflater *z, struct buf *out, size_t max) NODISCARD;

struct deflater;

struct deflater *deflater_new(unsigned window_bits) NODISCARD;
void deflater_free(struct deflater *d); /* NULL is fine */
/* The next message refers to none before it. */
void deflater_forget(struct deflater *d);
/* Compresses a whole message behind out->len. `keeps`: it may refer to those
 * before it. `level` is zlib's, 1 to 9. 0, ERR_TOO_BIG (out->max) or
 * ERR_NOMEM: then the message counts as forgotten. */
int deflater_run(struct deflater *d, int level, bool keeps, const void *p,
    size_t n, struct buf *out) NODISCARD;
/* The same, a little of the message at a time; after an error it is over. */
void deflater_begin(struct deflater *d, int level, bool keeps);
int deflater_feed(
    struct deflater *d, const void *p, size_t n, struct buf *out) NODISCARD;
int deflater_end(struct deflater *d, struct buf *out) NODISCARD;

#endif
