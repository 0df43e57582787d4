/* message.c -- frames -> messages.
 *
 * Called by net/conn with whatever a read brought. Two ways lead through this
 * file. The fast one is for a frame that is a message and lies whole in the
 * caller's buffer, which is nearly every one: it is unmasked where it stands,
 * checked and lent out; nothing is copied and no heap is touched. The slow
 * one is for all that is split, over frames or over reads: it keeps a `part`
 * from the first byte that has to wait until the message has been handed out
 * and the caller has come back.
 *
 * Both give the same messages and the same errors for the same bytes, however
 * these are cut: every rule is applied at the first byte that breaks it, and
 * of several the first byte counts. The tests hold it to that.
 *
 * Bounds: a message's size and number of frames are judged from headers,
 * before any memory is asked for (I6); memory grows with the bytes that have
 * come, so a header that announces 64 MiB costs nothing by itself.
 *
 * Compressed messages always go the slow way: their bytes are inflated as they
 * come, and what is kept, bounded and judged is what comes out.
 *
 * It does not answer pings, and after a Close frame goes on if it is fed on:
 * those are the caller's matters. A caller who has ended the conversation has
 * messages skipped: a peer that goes on costs its headers, and no memory. */
#include "proto/message.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/frame.h"
#include "proto/frame_priv.h"
#include "proto/message_inflate.h"
#include "proto/utf8.h"
#include <string.h>

#define CLOSE_CODE_NONE 1005 /* RFC 6455 7.1.5 */

struct message_part {
    /* The message under way. */
    struct buf data;    /* its payload so far, unmasked */
    uint64_t announced; /* payload bytes of all its frames begun so far */
    uint32_t fragments; /* frames begun so far */
    uint32_t utf8;      /* state behind data */
    uint8_t opcode;     /* of its first frame; FRAME_CONTINUATION: none */
    bool compressed;
    struct inflate_source *inflate; /* NULL: compressed data stays so */
    struct inflater *inflater;      /* lent while a compressed message comes */

    /* The frame under way: first its header, then its payload. */
    bool in_payload;
    uint8_t head_len; /* bytes in head[]; 0 in the payload */
    uint8_t head[FRAME_HEADER_MAX];
    struct frame_header frame;
    uint64_t got; /* of its payload */
    struct message_mark mark;
    uint8_t control[LIMIT_CONTROL_BYTES];
};

static const uint8_t no_bytes[1];

static int refuse(struct message *out, int err, const char *why)
{
    out->detail = why;
    return err;
}

/* Nothing under way: what it holds is at most lent out. */
static bool part_is_idle(const struct message_part *part)
{
    return part->opcode == FRAME_CONTINUATION && !part->in_payload &&
           part->head_len == 0;
}

static void give_inflater_back(struct message_part *part, bool is_whole)
{
    if (part->inflater != NULL) {
        inflate_source_give(part->inflate, part->inflater, is_whole);
        part->inflater = NULL;
    }
}

static struct message_part *part_new(void)
{
    struct message_part *part = quota_alloc(sizeof(*part));
    if (part != NULL) {
        *part = (struct message_part){.opcode = FRAME_CONTINUATION};
        buf_init(&part->data, 0);
    }
    return part;
}

/* What a first byte may not be at this place, though it is right in itself.
 * Of one that is wrong in itself frame_decode() says so. */
static int judge_order(
    const struct message_reader *r, uint8_t first, struct message *out)
{
    unsigned opcode = first & FRAME_BITS_OPCODE;
    bool is_first = opcode == FRAME_TEXT || opcode == FRAME_BINARY;
    bool is_inside = r->part != NULL && r->part->opcode != FRAME_CONTINUATION;
    if ((first & FRAME_BIT_RSV1) != 0 && !(is_first && r->allow_rsv1)) {
        return refuse(out, ERR_PROTOCOL,
            r->allow_rsv1 ? "RSV1 is set on other than a first data frame"
                          : "RSV1 is set but no extension was agreed on");
    }
    if (is_first && is_inside) {
        return refuse(
            out, ERR_PROTOCOL, "a new message inside a fragmented one");
    }
    if (opcode == FRAME_CONTINUATION && !is_inside) {
        return refuse(
            out, ERR_PROTOCOL, "a continuation without a message to continue");
    }
    return 0;
}

/* Goes on from *state; `is_end`: the message ends behind these bytes. */
static int judge_text(uint32_t *state, const uint8_t *p, size_t n, bool is_end,
    struct message *out)
{
    if (!utf8_feed(state, p, n)) {
        return refuse(out, ERR_UTF8, "a text message is not UTF-8");
    }
    if (is_end && *state != UTF8_START) {
        return refuse(out, ERR_UTF8, "a text message ends inside a character");
    }
    return 0;
}

static void hand_out_data(struct message *out, unsigned opcode, bool compressed,
    const uint8_t *p, size_t n)
{
    out->kind = opcode == FRAME_TEXT ? MESSAGE_TEXT : MESSAGE_BINARY;
    out->compressed = compressed;
    out->data = p;
    out->len = n;
}

/* RFC 6455 5.5.1: empty, or a code and a reason. */
static int hand_out_close(struct message *out, const uint8_t *p, size_t n)
{
    unsigned code = CLOSE_CODE_NONE;
    if (n == 1) {
        return refuse(out, ERR_PROTOCOL, "a close frame with half a code");
    }
    if (n >= 2) {
        code = (unsigned)p[0] << 8 | p[1];
        if (!frame_close_code_is_valid(code)) {
            return refuse(
                out, ERR_PROTOCOL, "a close code that may not be sent");
        }
        p += 2;
        n -= 2;
        if (!utf8_is_valid(p, n)) {
            return refuse(out, ERR_UTF8, "a close reason is not UTF-8");
        }
    }
    out->kind = MESSAGE_CLOSE;
    out->close_code = (uint16_t)code;
    out->data = p;
    out->len = n;
    return 0;
}

static int hand_out_control(
    struct message *out, unsigned opcode, const uint8_t *p, size_t n)
{
    if (opcode == FRAME_CLOSE) {
        return hand_out_close(out, p, n);
    }
    out->kind = opcode == FRAME_PING ? MESSAGE_PING : MESSAGE_PONG;
    out->data = p;
    out->len = n;
    return 0;
}

/* The fast way, when nothing is kept. FRAME_MORE: not for this frame; then
 * nothing has been touched. */
static int read_whole(struct message_reader *r, bool inflates, uint8_t **p,
    size_t *n, struct message *out)
{
    struct frame_header h;
    int rc = judge_order(r, **p, out);
    if (rc != 0) {
        return rc;
    }
    rc = frame_decode(*p, *n, &h, &out->detail);
    if (rc != 0) {
        return rc;
    }
    bool is_control = (h.opcode & FRAME_BIT_CONTROL) != 0;
    if (h.rsv1 && inflates) {
        return FRAME_MORE;
    }
    if (h.length > r->max && !is_control) {
        return refuse(out, ERR_TOO_BIG, "a message is too big");
    }
    if (!h.fin || h.length > *n - h.bytes) {
        return FRAME_MORE;
    }
    out->frames = 1;
    uint8_t *payload = *p + h.bytes;
    size_t length = (size_t)h.length;
    *p = payload + length;
    *n -= h.bytes + length;
    if (r->skips && !is_control) {
        hand_out_data(out, h.opcode, h.rsv1, no_bytes, 0);
        return 0;
    }
    frame_mask(payload, length, h.mask, 0);
    if (is_control) {
        return hand_out_control(out, h.opcode, payload, length);
    }
    if (h.opcode == FRAME_TEXT && !h.rsv1) {
        uint32_t state = UTF8_START;
        rc = judge_text(&state, payload, length, true, out);
        if (rc != 0) {
            return rc;
        }
    }
    hand_out_data(out, h.opcode, h.rsv1, payload, length);
    return 0;
}

/* A frame costs the same whether it brings one byte or a thousand. So those
 * that bring enough are not counted: 4 MiB in pieces of 64 bytes are fine. */
static bool has_too_many_fragments(
    const struct message_reader *r, const struct message_part *part)
{
    return part->fragments > r->fragments &&
           part->fragments > part->announced / LIMIT_FRAGMENT_BYTES;
}

/* A header is complete: may this frame begin? Counts it in. */
static int begin_frame(struct message_reader *r, struct message *out)
{
    struct message_part *part = r->part;
    const struct frame_header *h = &part->frame;
    out->frames++;
    if ((h->opcode & FRAME_BIT_CONTROL) == 0) {
        if (part->opcode == FRAME_CONTINUATION) {
            part->opcode = h->opcode;
            part->compressed = h->rsv1;
        }
        uint64_t max = r->max;
        if (part->compressed && part->inflate != NULL) {
            max = inflate_most_bytes(max);
        }
        if (h->length > max || part->announced > max - h->length) {
            return refuse(out, ERR_TOO_BIG, "a message is too big");
        }
        part->announced += h->length;
        part->fragments++;
        if (has_too_many_fragments(r, part)) {
            return refuse(out, ERR_TOO_BIG, "a message has too many fragments");
        }
    }
    part->in_payload = true;
    part->got = 0;
    return 0;
}

/* Takes the bytes of a header. FRAME_MORE: all are taken, it is not
 * complete. */
static int read_header(
    struct message_reader *r, uint8_t **p, size_t *n, struct message *out)
{
    struct message_part *part = r->part;
    size_t had = part->head_len;
    size_t more = sizeof(part->head) - had;
    if (more > *n) {
        more = *n;
    }
    if (more == 0) {
        return FRAME_MORE;
    }
    memcpy(part->head + had, *p, more);
    int rc = judge_order(r, part->head[0], out);
    if (rc != 0) {
        return rc;
    }
    rc = frame_decode(part->head, had + more, &part->frame, &out->detail);
    if (rc < 0) {
        return rc;
    }
    if (rc == FRAME_MORE) {
        part->head_len = (uint8_t)(had + more);
        *p += more;
        *n -= more;
        return FRAME_MORE;
    }
    part->head_len = 0;
    *p += part->frame.bytes - had;
    *n -= part->frame.bytes - had;
    return begin_frame(r, out);
}

/* Inflates unmasked bytes of a data frame, and keeps what comes out. */
static int keep_inflated(struct message_reader *r, const uint8_t *p, size_t n,
    bool is_end, struct message *out)
{
    struct message_part *part = r->part;
    if (part->inflater == NULL) {
        part->inflater = inflate_source_take(part->inflate);
        if (part->inflater == NULL) {
            return refuse(out, ERR_NOMEM, "no memory to inflate a message");
        }
    }
    size_t had = part->data.len;
    /* A bound that was lowered meanwhile counts from the next message on. */
    size_t max = had > r->max ? had : r->max;
    part->data.max = max + 1;
    int rc = inflater_feed(part->inflater, p, n, &part->data, max);
    if (rc == 0 && is_end) {
        rc = inflater_end(part->inflater, &part->data, max);
    }
    out->inflated += (uint32_t)(part->data.len - had);
    if (part->opcode == FRAME_TEXT && part->data.len > had) {
        int wrong = judge_text(
            &part->utf8, part->data.p + had, part->data.len - had, false, out);
        if (wrong != 0) {
            return wrong;
        }
    }
    switch (rc) {
    case 0: break;
    case ERR_TOO_BIG:
        return refuse(out, rc, "a message is too big when inflated");
    case ERR_INFLATE: return refuse(out, rc, "a message cannot be inflated");
    default: return refuse(out, rc, "no memory to inflate a message");
    }
    if (!is_end) {
        return 0;
    }
    give_inflater_back(part, true);
    return part->opcode == FRAME_TEXT
               ? judge_text(&part->utf8, no_bytes, 0, true, out)
               : 0;
}

/* Keeps unmasked bytes of a data frame. */
static int keep_data(
    struct message_reader *r, const uint8_t *p, size_t n, struct message *out)
{
    struct message_part *part = r->part;
    bool is_end = part->frame.fin && part->got + n == part->frame.length;
    if (part->compressed && part->inflate != NULL) {
        return keep_inflated(r, p, n, is_end, out);
    }
    if (part->opcode == FRAME_TEXT && !part->compressed) {
        int rc = judge_text(&part->utf8, p, n, is_end, out);
        if (rc != 0) {
            return rc;
        }
    }
    /* The buffer doubles, so it is at most twice what has come. Where the last
     * frame says how much there will be, no more than that; before it, that
     * bound would have each of many small fragments move the whole. What was
     * announced under a higher bound than today's has its place. */
    part->data.max = (size_t)part->announced;
    if (!part->frame.fin && part->data.max < r->max) {
        part->data.max = r->max;
    }
    if (n != 0 && buf_add(&part->data, p, n) != 0) {
        return refuse(out, ERR_NOMEM, "no memory for a split message");
    }
    return 0;
}

/* Takes what is here of a frame's payload. */
static int read_payload(
    struct message_reader *r, uint8_t **p, size_t *n, struct message *out)
{
    struct message_part *part = r->part;
    const struct frame_header *h = &part->frame;
    uint64_t missing = h->length - part->got;
    size_t here = missing < *n ? (size_t)missing : *n;
    bool is_control = (h->opcode & FRAME_BIT_CONTROL) != 0;
    bool inflates = !is_control && part->compressed && part->inflate != NULL;
    if (inflates && !r->skips && here > LIMIT_INFLATE_STEP_BYTES) {
        here = LIMIT_INFLATE_STEP_BYTES;
    }
    if (is_control || !r->skips) {
        frame_mask(*p, here, h->mask, part->got);
    }
    if (is_control) {
        memcpy(part->control + part->got, *p, here);
    } else if (!r->skips) {
        int rc = keep_data(r, *p, here, out);
        if (rc != 0) {
            return rc;
        }
    }
    part->got += here;
    *p += here;
    *n -= here;
    return 0;
}

/* The slow way. */
static int read_split(
    struct message_reader *r, uint8_t **p, size_t *n, struct message *out)
{
    struct message_part *part = r->part;
    for (;;) {
        if (!part->in_payload) {
            int rc = read_header(r, p, n, out);
            if (rc != 0) {
                return rc == FRAME_MORE ? 0 : rc;
            }
        }
        int rc = read_payload(r, p, n, out);
        if (rc != 0 || part->got < part->frame.length) {
            return rc;
        }
        part->in_payload = false;
        if ((part->frame.opcode & FRAME_BIT_CONTROL) != 0) {
            return hand_out_control(
                out, part->frame.opcode, part->control, (size_t)part->got);
        }
        if (part->frame.fin) {
            const uint8_t *data = part->data.len != 0 ? part->data.p : no_bytes;
            hand_out_data(out, part->opcode,
                part->compressed && part->inflate == NULL, data,
                part->data.len);
            out->holder = &part->data;
            /* Idle from here: the data lives until the next call. */
            part->opcode = FRAME_CONTINUATION;
            return 0;
        }
        if (out->inflated >= LIMIT_TURN_INFLATE_BYTES) {
            return 0;
        }
    }
}

void message_reader_init(struct message_reader *r, uint32_t max_bytes)
{
    *r = (struct message_reader){
        .max = max_bytes, .fragments = LIMIT_DEFAULT_FRAGMENTS};
}

void message_reader_fini(struct message_reader *r)
{
    if (r->part != NULL) {
        give_inflater_back(r->part, false);
        buf_fini(&r->part->data);
        quota_free(r->part);
        r->part = NULL;
    }
}

void message_reader_rest(struct message_reader *r)
{
    if (r->part != NULL && part_is_idle(r->part)) {
        message_reader_fini(r);
    }
}

void message_reader_skip(struct message_reader *r)
{
    r->skips = true;
    if (message_is_partial(r)) { /* else it may be lent out */
        give_inflater_back(r->part, false);
        buf_fini(&r->part->data);
    }
}

void message_reader_detach(struct message_reader *r)
{
    if (r->part != NULL) {
        give_inflater_back(r->part, false);
    }
}

int message_read(
    struct message_reader *r, uint8_t **p, size_t *n, struct message *out)
{
    return message_read_packed(r, NULL, p, n, out);
}

int message_read_packed(struct message_reader *r, struct inflate_source *from,
    uint8_t **p, size_t *n, struct message *out)
{
    *out = (struct message){.kind = MESSAGE_MORE, .data = no_bytes};
    message_reader_rest(r); /* the lent bytes come back */
    if (r->part == NULL) {
        if (*n == 0) {
            return 0;
        }
        int rc = read_whole(r, from != NULL, p, n, out);
        if (rc != FRAME_MORE) {
            return rc;
        }
        r->part = part_new();
        if (r->part == NULL) {
            return refuse(out, ERR_NOMEM, "no memory for a split message");
        }
        r->part->inflate = from;
    }
    return read_split(r, p, n, out);
}

bool message_is_partial(const struct message_reader *r)
{
    return r->part != NULL && !part_is_idle(r->part);
}

struct message_mark *message_mark(struct message_reader *r, uint64_t *bytes)
{
    if (!message_is_partial(r)) {
        return NULL;
    }
    struct message_part *part = r->part;
    *bytes = part->announced;
    if (part->in_payload) { /* a control frame was not announced */
        bool is_control = (part->frame.opcode & FRAME_BIT_CONTROL) != 0;
        *bytes += part->got - (is_control ? 0 : part->frame.length);
    }
    return &part->mark;
}
