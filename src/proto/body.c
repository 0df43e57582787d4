/* body.c -- the body of a request, piece by piece.
 *
 * net/conn_body keeps the pieces. http.c has seen to it that there is one
 * length, or the one coding "chunked"; here the chunks are held to their
 * grammar to the byte, because where one reader forgives and the other does
 * not a second request can hide between them: no bare LF, no space around a
 * size, no sign, no "0x". Extensions and trailers are read over, within a
 * bound, and without control characters.
 *
 * A size is judged when its line ends, before any of its bytes (I6). */
#include "proto/body.h"
#include "base/limits.h"
#include "proto/http_priv.h"
#include <stdlib.h>

#define SIZE_DIGITS 15 /* more than any limit, less than 2^63 */

enum body_state {
    BODY_LENGTH, /* Content-Length */
    CHUNK_SIZE,  /* the first digit, and those behind it */
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_CR, /* behind the data */
    CHUNK_LF,
    TRAILER, /* at the beginning of a line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    TRAILER_END_LF,
    BODY_COMPLETE
};

void body_reader_init(
    struct body_reader *b, const struct http_request *r, uint64_t max)
{
    *b = (struct body_reader){.max = max, .state = CHUNK_SIZE};
    const char *length = http_header_find(r, "content-length");
    if (length != NULL) {
        /* Digits that fit: http.c would have refused any others. */
        b->state = BODY_LENGTH;
        b->left = strtoull(length, NULL, 10);
        b->total = b->left;
    }
}

static enum body_result bad(const char **detail, const char *why)
{
    *detail = why;
    return BODY_BAD;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum body_result take_size(
    struct body_reader *b, uint8_t c, const char **detail)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++b->digits > SIZE_DIGITS) {
            return BODY_TOO_BIG;
        }
        b->left = b->left << 4 | (unsigned)digit;
        return BODY_MORE;
    }
    if (b->digits == 0 || (c != '\r' && c != ';')) {
        return bad(detail, "a chunk size is malformed");
    }
    b->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    return BODY_MORE;
}

static enum body_result end_size(
    struct body_reader *b, uint8_t c, const char **detail)
{
    if (c != '\n') {
        return bad(detail, "a chunk size with a CR and no LF");
    }
    if (b->left > b->max - b->total) {
        return BODY_TOO_BIG;
    }
    b->total += b->left;
    b->state = b->left > 0 ? CHUNK_DATA : TRAILER;
    return BODY_MORE;
}

/* A byte of something that is read over; `end` is where a CR leads. */
static enum body_result take_extra(
    struct body_reader *b, uint8_t c, enum body_state end, const char **detail)
{
    if (++b->extra > LIMIT_CHUNK_EXTRA_BYTES) {
        return bad(detail, "too many extensions or trailers in a body");
    }
    if (c == '\r') {
        b->state = (uint8_t)end;
        return BODY_MORE;
    }
    if ((c < ' ' && c != '\t') || c == 0x7f) {
        return bad(detail, "a control character between chunks");
    }
    return BODY_MORE;
}

static enum body_result take_trailer(
    struct body_reader *b, uint8_t c, const char **detail)
{
    if (b->state == TRAILER && c == '\r') {
        b->state = TRAILER_END_LF;
        return BODY_MORE;
    }
    if (b->state == TRAILER_NAME && c == ':') {
        b->state = TRAILER_VALUE;
        return BODY_MORE;
    }
    if (!http_is_token_char(c)) {
        return bad(detail, "a trailer of a body is malformed");
    }
    b->state = TRAILER_NAME;
    return take_extra(b, c, TRAILER_LF, detail);
}

static enum body_result expect(struct body_reader *b, uint8_t c, uint8_t want,
    enum body_state next, const char **detail)
{
    if (c != want) {
        return bad(detail, "a chunk does not end where its size says");
    }
    b->state = (uint8_t)next;
    return BODY_MORE;
}

static enum body_result take_byte(
    struct body_reader *b, uint8_t c, const char **detail)
{
    switch ((enum body_state)b->state) {
    case CHUNK_SIZE: return take_size(b, c, detail);
    case CHUNK_EXTENSION: return take_extra(b, c, CHUNK_SIZE_LF, detail);
    case CHUNK_SIZE_LF: return end_size(b, c, detail);
    case CHUNK_CR: return expect(b, c, '\r', CHUNK_LF, detail);
    case CHUNK_LF: b->digits = 0; return expect(b, c, '\n', CHUNK_SIZE, detail);
    case TRAILER:
    case TRAILER_NAME: return take_trailer(b, c, detail);
    case TRAILER_VALUE: return take_extra(b, c, TRAILER_LF, detail);
    case TRAILER_LF: return expect(b, c, '\n', TRAILER, detail);
    case TRAILER_END_LF:
        return expect(b, c, '\n', BODY_COMPLETE, detail) == BODY_MORE
                   ? BODY_END
                   : BODY_BAD;
    default: return BODY_BAD;
    }
}

static enum body_result take_piece(struct body_reader *b, const uint8_t *p,
    size_t n, size_t *used, struct body_piece *out)
{
    out->p = p + *used;
    out->len = b->left < n - *used ? (size_t)b->left : n - *used;
    *used += out->len;
    b->left -= out->len;
    if (b->left == 0) {
        b->state = b->state == BODY_LENGTH ? BODY_COMPLETE : CHUNK_CR;
    }
    return BODY_DATA;
}

enum body_result body_read(struct body_reader *b, const uint8_t *p, size_t n,
    size_t *used, struct body_piece *out)
{
    *used = 0;
    if (b->state == BODY_LENGTH && b->total > b->max && n > 0) {
        return BODY_TOO_BIG;
    }
    while (b->state != BODY_COMPLETE) {
        if (*used == n) {
            return BODY_MORE;
        }
        if (b->state == BODY_LENGTH || b->state == CHUNK_DATA) {
            return take_piece(b, p, n, used, out);
        }
        enum body_result rc = take_byte(b, p[*used], &out->detail);
        if (rc == BODY_BAD || rc == BODY_TOO_BIG) {
            return rc;
        }
        (*used)++;
    }
    return BODY_END;
}
