/* frame.c -- the header in front of every WebSocket payload (RFC 6455 5.2).
 *
 * proto/message reads with it; net/tape and net/reply write with it. It is as
 * strict as the RFC allows and knows one frame only: what may follow what is
 * the message's matter, how long a message may be is the message's limit.
 *
 * A wrong byte is reported as soon as it is there, and of several wrong bytes
 * the first: so the answer never depends on how the network cut the bytes. */
#include "proto/frame.h"
#include "base/err.h"
#include "base/limits.h"
#include "proto/frame_priv.h"
#include <string.h>

#define LENGTH_IS_16   126
#define LENGTH_IS_64   127
#define LENGTH_TOP_BIT 0x80

static int wrong(const char **detail, const char *why)
{
    *detail = why;
    return ERR_PROTOCOL;
}

static uint64_t read_big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

static void write_big_endian(uint8_t *p, size_t n, uint64_t v)
{
    while (n > 0) {
        p[--n] = (uint8_t)v;
        v >>= 8;
    }
}

static const char top_bit[] = "the top bit of a frame length is set";

/* Bytes of the extended length that these seven bits announce (5.2). */
static size_t extended_bytes(unsigned bits)
{
    if (bits < LENGTH_IS_16) {
        return 0;
    }
    return bits == LENGTH_IS_16 ? 2 : 8;
}

static int judge_first_byte(uint8_t b, const char **detail)
{
    if ((b & FRAME_BITS_RSV2_3) != 0) {
        return wrong(detail, "a reserved bit is set");
    }
    switch (b & FRAME_BITS_OPCODE) {
    case FRAME_CONTINUATION:
    case FRAME_TEXT:
    case FRAME_BINARY: return 0;
    case FRAME_CLOSE:
    case FRAME_PING:
    case FRAME_PONG:
        if ((b & FRAME_BIT_FIN) == 0) {
            return wrong(detail, "a control frame is fragmented");
        }
        return 0;
    default: return wrong(detail, "reserved opcode");
    }
}

static int judge_second_byte(uint8_t first, uint8_t b, const char **detail)
{
    if ((b & FRAME_BIT_MASKED) == 0) {
        return wrong(detail, "a frame of a client must be masked");
    }
    if ((first & FRAME_BIT_CONTROL) != 0 &&
        (b & FRAME_BITS_LENGTH) > LIMIT_CONTROL_BYTES) {
        return wrong(detail, "a control frame is longer than 125 bytes");
    }
    return 0;
}

static int judge_length(size_t bytes, uint64_t length, const char **detail)
{
    if (length >> 63 != 0) {
        return wrong(detail, top_bit);
    }
    if ((bytes == 2 && length < LENGTH_IS_16) ||
        (bytes == 8 && length <= UINT16_MAX)) {
        return wrong(detail, "a frame length is not minimal");
    }
    return 0;
}

int frame_decode(
    const uint8_t *p, size_t n, struct frame_header *h, const char **detail)
{
    if (n == 0) {
        return FRAME_MORE;
    }
    int rc = judge_first_byte(p[0], detail);
    if (rc != 0 || n == 1) {
        return rc != 0 ? rc : FRAME_MORE;
    }
    rc = judge_second_byte(p[0], p[1], detail);
    if (rc != 0) {
        return rc;
    }
    uint64_t length = p[1] & FRAME_BITS_LENGTH;
    size_t extended = extended_bytes(p[1] & FRAME_BITS_LENGTH);
    if (extended != 0) {
        if (n < 2 + extended) {
            /* Of what is wrong with a length, one thing shows early. */
            return extended == 8 && n > 2 && (p[2] & LENGTH_TOP_BIT) != 0
                       ? wrong(detail, top_bit)
                       : FRAME_MORE;
        }
        length = read_big_endian(p + 2, extended);
        rc = judge_length(extended, length, detail);
        if (rc != 0) {
            return rc;
        }
    }
    if (n < 2 + extended + 4) {
        return FRAME_MORE;
    }
    h->length = length;
    h->opcode = p[0] & FRAME_BITS_OPCODE;
    h->fin = (p[0] & FRAME_BIT_FIN) != 0;
    h->rsv1 = (p[0] & FRAME_BIT_RSV1) != 0;
    h->masked = true;
    memcpy(h->mask, p + 2 + extended, sizeof(h->mask));
    h->bytes = (uint8_t)(2 + extended + 4);
    return 0;
}

size_t frame_encode(
    uint8_t *out, enum frame_opcode op, bool fin, bool rsv1, uint64_t length)
{
    size_t bytes = frame_header_bytes(length);
    out[0] =
        (uint8_t)((fin ? FRAME_BIT_FIN : 0) | (rsv1 ? FRAME_BIT_RSV1 : 0) | op);
    if (bytes == 2) {
        out[1] = (uint8_t)length;
    } else {
        out[1] = bytes == 4 ? LENGTH_IS_16 : LENGTH_IS_64;
        write_big_endian(out + 2, bytes - 2, length);
    }
    return bytes;
}

size_t frame_header_bytes(uint64_t length)
{
    if (length < LENGTH_IS_16) {
        return 2;
    }
    return length <= UINT16_MAX ? 4 : 10;
}

size_t frame_bytes(const uint8_t *p)
{
    size_t extended = extended_bytes(p[1] & FRAME_BITS_LENGTH);
    uint64_t length = p[1] & FRAME_BITS_LENGTH;
    if (extended != 0) {
        length = read_big_endian(p + 2, extended);
    }
    return 2 + extended + (size_t)length;
}

void frame_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t offset)
{
    /* Turned so that key[0] belongs to p[0], and laid out twice: then words
     * of eight bytes can be masked wherever they begin, in any byte order. */
    uint8_t key[8];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = mask[(offset + i) & 3];
    }
    uint64_t k;
    memcpy(&k, key, sizeof(k));
    for (; n >= 32; n -= 32, p += 32) {
        uint64_t w[4];
        memcpy(w, p, sizeof(w));
        w[0] ^= k;
        w[1] ^= k;
        w[2] ^= k;
        w[3] ^= k;
        memcpy(p, w, sizeof(w));
    }
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, sizeof(w));
        w ^= k;
        memcpy(p, &w, sizeof(w));
    }
    if (n >= 4) {
        uint32_t w;
        memcpy(&w, p, sizeof(w));
        w ^= (uint32_t)k; /* both halves of k are the same */
        memcpy(p, &w, sizeof(w));
        n -= 4;
        p += 4;
    }
    for (size_t i = 0; i < n; i++) {
        p[i] ^= key[i];
    }
}

bool frame_close_code_is_valid(unsigned code)
{
    if (code >= 3000 && code <= 4999) { /* libraries and applications */
        return true;
    }
    if (code < 1000 || code > 1014) {
        return false;
    }
    /* 1004 is reserved; 1005 and 1006 never stand on the wire (7.4.1). 1012
     * to 1014 are registered with IANA. */
    return code != 1004 && code != 1005 && code != 1006;
}
