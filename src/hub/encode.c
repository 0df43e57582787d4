/* encode.c -- a broadcast's message becomes the frames that are queued for its
 * members: as it is, and compressed for those who agreed to that.
 *
 * A short one goes behind the others on a tape. A long one is copied into a
 * blob of its own, a piece at a time, and what is there so far belongs to the
 * hub (walk.c). So does the parcel, which makes the compressed forms as it
 * finds somebody to take them, a little at a time as well (net/pack.c).
 *
 * cast.c calls. Laws: I2 (all of it is charged to the app's meter), I6, I10. */
#include "base/late.h"
#include "base/limits.h"
#include "hub/hub_priv.h"
#include "script/preempt.h"
#include <string.h>

/* A payload longer than this is copied in such pieces, to a blob of its own. */
#ifdef MOONWIRE_TINY
#    define PIECE_BYTES 32u
#else
#    define PIECE_BYTES (16u * 1024u)
#endif

static void count_metric(struct hub *h, enum metric metric, uint64_t n)
{
    metric_add(loop_metrics(h->net->loop), metric, n);
}

bool encode_is_packed(const struct hub *h, const struct hub_message *msg)
{
    return h->compress.level != 0 && msg->compress != HUB_COMPRESS_NO &&
           (msg->compress == HUB_COMPRESS_YES || msg->len >= h->compress_bytes);
}

bool encode_is_long(const struct hub_message *msg)
{
    return msg->len > PIECE_BYTES;
}

bool encode_is_due(void)
{
    return preempt_is_due();
}

/* Begins a frame. Nothing in s->range: the meter has no room for it. */
static void write_frame(struct hub *h, struct scribe *s, struct tape *tape,
    bool rsv1, const void *p, size_t len)
{
    enum frame_opcode op = h->cast.msg.op;
    *s = (struct scribe){0};
    if (len <= PIECE_BYTES) {
        if (tape_frame(tape, h->net, h->meter, op, rsv1, p, len, &s->range) ==
            0) {
            blob_ref(s->range.blob);
        }
        return;
    }
    size_t head = frame_header_bytes(len);
    struct blob *b =
        len <= LIMIT_MAX_MESSAGE_BYTES ? blob_new(h->meter, head + len) : NULL;
    if (b == NULL) {
        count_metric(h, METRIC_DROPPED_APP, 1);
        return;
    }
    (void)frame_encode(b->data, op, true, rsv1, len);
    s->range = (struct range){b, 0, (uint32_t)(head + len), 1};
    s->from = p;
    s->left = len;
}

/* True: the frame is whole. */
static bool go_on_writing(struct scribe *s)
{
    while (s->left > 0) {
        size_t n = s->left < PIECE_BYTES ? s->left : PIECE_BYTES;
        uint8_t *to = s->range.blob->data + s->range.len - s->left;
        memcpy(to, s->from, n);
        s->from += n;
        s->left -= n;
        if (preempt_is_due() && s->left > 0) {
            return false;
        }
    }
    return true;
}

static void begin_plain(struct hub *h)
{
    struct cast *c = &h->cast;
    const struct hub_message *msg = &c->msg;
    write_frame(h, &c->scribe, c->tape, false, msg->data, msg->len);
    c->is_refused = c->scribe.range.blob == NULL;
    h->refused += c->is_refused;
    c->frame = c->is_refused ? FRAME_READY : FRAME_PLAIN;
}

static void end_plain(struct hub *h)
{
    struct cast *c = &h->cast;
    const struct hub_message *msg = &c->msg;
    const struct pack_message pm = {msg->op, msg->data, msg->len};
    parcel_init(&c->parcel, h->net, &c->scribe.range, &pm);
    blob_unref(c->scribe.range.blob); /* the parcel has its own reference */
    c->scribe.range.blob = NULL;
    count_metric(h, METRIC_BROADCASTS, 1);
    c->frame = FRAME_READY;
    if (encode_is_packed(h, msg)) {
        parcel_pack(&c->parcel, c->packed, h->meter, &h->compress);
        c->parcel.is_due = encode_is_due;
    }
}

/* The meter is full of what has been freed and is only late in going: a piece
 * of that goes now. blob_new() would wait for all of it. */
static bool makes_room(struct hub *h)
{
    struct meter *m = h->meter;
    return m != NULL && encode_is_long(&h->cast.msg) &&
           meter_used(m) + h->cast.msg.len > meter_cap(m) &&
           late_work(m, LIMIT_LATE_PIECE_BYTES);
}

bool encode_message(struct hub *h)
{
    struct cast *c = &h->cast;
    if (c->frame == FRAME_NOT_BEGUN) {
        if (makes_room(h)) {
            return false;
        }
        begin_plain(h);
    }
    if (c->frame == FRAME_PLAIN && go_on_writing(&c->scribe)) {
        end_plain(h);
    }
    return c->frame == FRAME_READY;
}

bool encode_fanout(struct hub *h, enum outbox_policy policy, struct fanout *f)
{
    struct cast *c = &h->cast;
    *f = (struct fanout){
        .range = &c->parcel.plain,
        .policy = policy,
        .key = c->msg.key,
        .key_len = c->msg.key_len,
    };
    if (c->parcel.is_packing && h->far_packed > 0) {
        f->how = c->parcel.how;
        f->packed = parcel_usual_form(&c->parcel);
        return f->packed != NULL;
    }
    return true;
}
