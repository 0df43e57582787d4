/* message_inflate.h -- where a reader of compressed messages (RFC 7692) gets
 * its inflaters from.
 *
 * Where the client keeps no context an inflater is lent for the time of a
 * message: one source serves all connections of a loop, and a connection
 * between messages holds nothing. Where it keeps one, a connection has a
 * source of its own, which holds the inflater from the first message on. */
#ifndef PROTO_MESSAGE_INFLATE_H
#define PROTO_MESSAGE_INFLATE_H

#include "proto/deflate.h"

struct inflate_source {
    struct inflater *idle; /* not lent now; NULL: none */
    uint8_t bits;          /* of the client's window, at most */
    bool keeps;            /* the context of one connection's messages */
    /* Lends in our place, where no context is kept. NULL: nobody does. */
    struct inflate_source *lender;
};

void inflate_source_fini(struct inflate_source *s);

/* For proto/message. NULL: no memory. */
struct inflater *inflate_source_take(struct inflate_source *s) NODISCARD;
/* `is_whole`: the message came to its end. */
void inflate_source_give(
    struct inflate_source *s, struct inflater *z, bool is_whole);
/* Bytes that a compressed message may have which inflates to `max`. */
uint64_t inflate_most_bytes(uint64_t max);

#endif
