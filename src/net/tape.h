/* tape.h -- where frames are encoded: an append-only writer over blobs.
 *
 * Frames written one after the other lie one after the other, so a member
 * that gets all of them needs one range and one send. A room has a tape for
 * its broadcasts and an app one for its direct sends; a tape lives for a
 * turn: when the flush has gone round, its chunk is let go (members that lag
 * keep it alive). A turn's first chunk is sized by what the last turn wrote
 * (the very first by its first frame), further ones double up to 64 KiB: so
 * ten thousand rooms with one message each cost what they say, and a busy
 * room has its turn in one stretch. A frame over 16 KiB gets a blob of its
 * own, exactly sized.
 *
 * All memory is charged to the app's meter (I2, I6). */
#ifndef NET_TAPE_H
#define NET_TAPE_H

#include "base/blob.h"
#include "base/list.h"
#include "proto/frame.h"

struct net;

struct tape {
    struct list node;     /* in net->tapes while it holds a chunk */
    struct blob *chunk;   /* ref; NULL: none */
    uint32_t used;        /* bytes written to the chunk */
    uint32_t next_bytes;  /* size of the next chunk */
    uint32_t turn_bytes;  /* written since the chunk was last let go */
    uint32_t least_bytes; /* of a turn's first chunk; 0: no more than needed */
    bool is_scratch;      /* chunks are marked scratch: direct sends */
};

void tape_init(struct tape *t, bool is_scratch);
void tape_fini(struct tape *t);
/* Encodes one unfragmented frame. *out is lent (no reference of its own):
 * valid until the next append or the end of the turn. 0, or ERR_FULL when the
 * meter says no or memory is out (counted: DROPPED_APP), ERR_TOO_BIG over
 * LIMIT_MAX_MESSAGE_BYTES. */
int tape_frame(struct tape *t, struct net *n, struct meter *meter,
    enum frame_opcode op, bool rsv1, const void *p, size_t len,
    struct range *out) NODISCARD;
/* For the flush: lets go of every tape's chunk. */
void tape_seal_all(struct net *n);

#endif
