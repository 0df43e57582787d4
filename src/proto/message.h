/* message.h -- bytes of an open connection -> whole messages and control
 * frames: unmasking, fragments, control frames between fragments, UTF-8
 * fail-fast, size limits (RFC 6455 5.4-5.6, 8.1). No I/O.
 *
 * The reader is made to be fast where it matters: a message that lies whole
 * in the caller's buffer is unmasked where it stands and lent out from there;
 * only what is split over reads is copied. Between messages a reader holds
 * no heap. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "base/base.h"

struct inflate_source; /* proto/message_inflate.h */

enum message_kind {
    MESSAGE_MORE, /* everything was eaten, nothing complete yet */
    MESSAGE_TEXT,
    MESSAGE_BINARY,
    MESSAGE_PING,
    MESSAGE_PONG,
    MESSAGE_CLOSE
};

struct message_part; /* what is kept of a split message or frame */

struct message_reader {
    struct message_part *part; /* NULL between messages */
    uint32_t max;              /* bytes of one message; may be changed */
    uint16_t fragments;        /* of one message; may be changed. More are fine
                                  if they bring LIMIT_FRAGMENT_BYTES each */
    bool allow_rsv1;           /* permessage-deflate was negotiated */
    bool skips;                /* see message_reader_skip() */
};

struct buf;

struct message {
    enum message_kind kind;
    const uint8_t *data; /* lent until the next call; never NULL */
    size_t len;
    struct buf *holder;  /* what holds `data`, alone: to be taken, if anybody
                            wants to keep it; NULL: it is the caller's */
    uint32_t frames;     /* begun in this call, whatever came of them */
    uint32_t inflated;   /* bytes that this call has made, whatever it says */
    uint16_t close_code; /* MESSAGE_CLOSE: 1005 if the frame had none; `data`
                            is the reason then */
    bool compressed;     /* RSV1 was set on the first frame, and `data` is
                            still compressed */
    const char *detail;  /* after an error: a static sentence */
};

void message_reader_init(struct message_reader *r, uint32_t max_bytes);
void message_reader_fini(struct message_reader *r);

/* Reads from *p, *n, advances both past what was used and hands out at most
 * one message or control frame. The bytes are written to (unmasking). 0, or
 *   ERR_PROTOCOL (1002), ERR_UTF8 (1007), ERR_TOO_BIG (1009: the announced
 *   or summed length is over `max`; found from the header alone),
 *   ERR_INFLATE (1007: a compressed message is damaged),
 *   ERR_NOMEM (a split message could not be kept)
 * after which the reader must not be fed again. A split message's buffer
 * grows with the bytes that arrived, never with what a header announced.
 *
 * Call it until it says MESSAGE_MORE and no bytes are left: the call that finds
 * nothing gives back what the last message was lent from. While it inflates it
 * leaves off after LIMIT_INFLATE_STEP_BYTES, so that a few bytes that stand for
 * many keep nobody waiting. */
int message_read(struct message_reader *r, uint8_t **p, size_t *n,
    struct message *out) NODISCARD;

/* The same, but compressed messages are inflated as they come, and UTF-8 and
 * bounds are judged by what comes out. The source is always the same one; it
 * has to outlive the reader, or the reader is detached from it. */
int message_read_packed(struct message_reader *r, struct inflate_source *from,
    uint8_t **p, size_t *n, struct message *out) NODISCARD;
/* Between messages: frees what the last one was lent from. */
void message_reader_rest(struct message_reader *r);
/* Nobody wants messages any more: from now on they come out empty, with nothing
 * of them unmasked, judged, inflated or kept, also of one that is under way.
 * Headers and control frames are read as before. */
void message_reader_skip(struct message_reader *r);
/* Gives an inflater that is lent back to its source; the reader must not be
 * fed again, but what it lent out stays. */
void message_reader_detach(struct message_reader *r);

/* True in the midst of a message or frame. */
bool message_is_partial(const struct message_reader *r);

/* What a caller wants to remember along with the message or frame under way:
 * gone when that is complete, zeroed when one begins. NULL between messages.
 * *bytes: payload of it that has come. */
struct message_mark {
    uint64_t bytes;
    uint32_t ms;
    bool is_set;
};
struct message_mark *message_mark(struct message_reader *r, uint64_t *bytes);

#endif
