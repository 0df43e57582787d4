/* frame.h -- the RFC 6455 section 5 frame header: decode, encode, mask. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "base/base.h"

enum frame_opcode {
    FRAME_CONTINUATION = 0x0,
    FRAME_TEXT = 0x1,
    FRAME_BINARY = 0x2,
    FRAME_CLOSE = 0x8,
    FRAME_PING = 0x9,
    FRAME_PONG = 0xa
};

#define FRAME_HEADER_MAX 14 /* from a client: 2 + 8 + mask */
#define FRAME_MORE       1  /* not enough bytes yet */

struct frame_header {
    uint64_t length; /* of the payload */
    uint8_t opcode;
    bool fin;
    bool rsv1;
    bool masked;
    uint8_t mask[4];
    uint8_t bytes; /* of the header itself */
};

/* Decodes a client's header from p[0..n). 0, FRAME_MORE, or ERR_PROTOCOL
 * with *detail set to a static sentence: a reserved bit or opcode, a length
 * that is not minimal or has the top bit set, a control frame that is
 * fragmented or over 125 bytes, an unmasked frame (5.1). A wrong first byte
 * is reported without waiting for more. RSV1 passes: whether it may stand
 * here is the message's matter. */
int frame_decode(const uint8_t *p, size_t n, struct frame_header *h,
    const char **detail) NODISCARD;

/* Writes a server's (unmasked) header; returns its length, 2 to 10. */
size_t frame_encode(
    uint8_t *out, enum frame_opcode op, bool fin, bool rsv1, uint64_t length);
/* Length of the header frame_encode() makes for this payload. */
size_t frame_header_bytes(uint64_t length);
/* Length of a whole frame of ours that starts at p (its header is complete):
 * how a range of frames is walked. */
size_t frame_bytes(const uint8_t *p);

/* Masks or unmasks in place; `offset` counts from the payload's start. */
void frame_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t offset);

/* May a Close frame carry this code on the wire (7.4)? */
bool frame_close_code_is_valid(unsigned code);

#endif
