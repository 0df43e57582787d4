/* outbox_leave.c -- the queue of a client that lags: how things get out.
 *
 * net/conn asks what to write (outbox_peek), writes it and says how much of
 * it has left (outbox_sent): both walk the same order, which is written down
 * in outbox_priv.h. Frames are counted one by one only in an entry that has
 * left in part; whole entries go by their sums.
 *
 * outbox_detach() is what keeps a laggard from holding on to the chunk that
 * all direct sends of a turn share: a few bytes would keep 64 KiB alive.
 *
 * Laws: I2 (the counters are exact: a frame counts in full until its last
 * byte has left). */
#include "base/err.h"
#include "net/outbox.h"
#include "net/outbox_priv.h"
#include <string.h>

struct gather {
    struct iovec *iov;
    int count;
    int max;
    size_t room; /* bytes */
};

/* False: nothing more fits. */
static bool put(struct gather *g, const uint8_t *p, size_t n)
{
    if (g->count == g->max || g->room == 0) {
        return false;
    }
    if (n > g->room) {
        n = g->room;
    }
    g->room -= n;
    /* writev() does not write to what it sends. */
    g->iov[g->count++] = (struct iovec){(void *)(uintptr_t)p, n};
    return true;
}

static bool put_controls(struct gather *g, const struct outbox *o)
{
    for (uint32_t i = 0; i < o->control_count; i++) {
        const struct outbox_control *c = &o->controls[i];
        if (!put(g, c->bytes + c->sent, (size_t)c->len - c->sent)) {
            return false;
        }
    }
    return true;
}

/* Raw bytes at the head, or all that is not raw: returns how far it got. */
static bool put_entries(
    struct gather *g, const struct outbox *o, uint32_t *at, bool is_raw)
{
    for (; *at < o->tail; (*at)++) {
        const struct outbox_entry *e = &o->entries[*at];
        if (e->blob == NULL) {
            continue;
        }
        if (is_raw && e->frames != 0) {
            return true;
        }
        if (!put(g, e->blob->data + e->off, e->len)) {
            return false;
        }
    }
    return true;
}

static bool has_begun_control(const struct outbox *o)
{
    return o->control_count > 0 && o->controls[0].sent > 0;
}

/* Then it is all that was left, and what has come since stands behind it. */
static bool has_begun_close(const struct outbox *o)
{
    return o->close.sent > 0;
}

static bool put_close(struct gather *g, const struct outbox *o)
{
    return o->close.len == 0 || put(g, o->close.bytes + o->close.sent,
                                    (size_t)o->close.len - o->close.sent);
}

int outbox_peek(
    const struct outbox *o, struct iovec *iov, int max, size_t max_bytes)
{
    struct gather g = {.iov = iov, .max = max, .room = max_bytes};
    uint32_t at = o->head;
    bool goes_on = true;
    if (has_begun_close(o)) {
        goes_on = put_close(&g, o);
    }
    if (o->begun.blob != NULL) {
        goes_on = put(&g, o->begun.blob->data + o->begun.off, o->begun.left);
    }
    if (goes_on && !has_begun_control(o)) {
        goes_on = put_entries(&g, o, &at, true);
    }
    if (goes_on) {
        goes_on = put_controls(&g, o);
    }
    if (goes_on) {
        goes_on = put_entries(&g, o, &at, false);
    }
    if (goes_on && !has_begun_close(o)) {
        (void)put_close(&g, o);
    }
    return g.count;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t leave_begun(struct outbox *o, size_t n)
{
    struct outbox_begun *b = &o->begun;
    size_t k = least(n, b->left);
    b->off += (uint32_t)k;
    b->left -= (uint32_t)k;
    if (b->left == 0) {
        o->messages--;
        o->bytes -= outbox_cost(b->total, 1);
        blob_unref(b->blob);
        b->blob = NULL;
    }
    return k;
}

static size_t leave_control(struct outbox *o, size_t n)
{
    struct outbox_control *c = &o->controls[0];
    size_t k = least(n, (size_t)c->len - c->sent);
    c->sent = (uint8_t)(c->sent + k);
    if (c->sent == c->len) {
        o->control_count--;
        memmove(&o->controls[0], &o->controls[1],
            o->control_count * sizeof(o->controls[0]));
    }
    return k;
}

static size_t leave_close(struct outbox *o, size_t n)
{
    struct outbox_control *c = &o->close;
    size_t k = least(n, (size_t)c->len - c->sent);
    ASSERT(k > 0, "I2: no more leaves than there is");
    c->sent = (uint8_t)(c->sent + k);
    if (c->sent == c->len) {
        c->len = 0;
        c->sent = 0;
    }
    return k;
}

/* The first frame of an entry leaves in part: from now on it stands alone. */
static void begin_frame(
    struct outbox *o, struct outbox_entry *e, uint32_t total, uint32_t sent)
{
    o->begun = (struct outbox_begun){
        .blob = blob_ref(e->blob),
        .off = e->off + sent,
        .left = total - sent,
        .total = total,
    };
    e->off += total;
    e->len -= total;
    e->frames--;
    if (e->frames == 0) {
        outbox_clear_entry(o, e);
    }
}

/* Some, but not all of an entry's frames leave. */
static void leave_frames(struct outbox *o, struct outbox_entry *e, size_t n)
{
    while (n > 0) {
        uint32_t total = (uint32_t)frame_bytes(e->blob->data + e->off);
        if (n < total) {
            begin_frame(o, e, total, (uint32_t)n);
            return;
        }
        n -= total;
        e->off += total;
        e->len -= total;
        e->frames--;
        o->messages--;
        o->bytes -= outbox_cost(total, 1);
    }
}

static size_t leave_entry(struct outbox *o, struct outbox_entry *e, size_t n)
{
    size_t k = least(n, e->len);
    if (k == e->len) {
        if (e->frames != 0) {
            o->messages -= e->frames;
            o->bytes -= outbox_cost(e->len, e->frames);
        }
        outbox_clear_entry(o, e);
    } else if (e->frames == 0) {
        e->off += (uint32_t)k;
        e->len -= (uint32_t)k;
    } else {
        leave_frames(o, e, k);
    }
    outbox_trim(o);
    return k;
}

void outbox_sent(struct outbox *o, size_t n)
{
    while (n > 0) {
        struct outbox_entry *e =
            o->head < o->tail ? &o->entries[o->head] : NULL;
        bool is_raw = e != NULL && e->frames == 0 && !has_begun_control(o);
        bool is_close =
            has_begun_close(o) ||
            (o->begun.blob == NULL && o->control_count == 0 && e == NULL);
        if (is_close) {
            n -= leave_close(o, n);
        } else if (o->begun.blob != NULL) {
            n -= leave_begun(o, n);
        } else if (o->control_count > 0 && !is_raw) {
            n -= leave_control(o, n);
        } else {
            n -= leave_entry(o, e, n);
        }
    }
}

static bool is_scratch(const struct blob *b)
{
    return b != NULL && b->is_scratch;
}

/* Bytes of the queue that lie in scratch blobs, and whose meter pays. */
static size_t scratch_bytes(const struct outbox *o, struct meter **meter)
{
    size_t n = 0;
    *meter = NULL;
    if (is_scratch(o->begun.blob)) {
        n = o->begun.left;
        *meter = o->begun.blob->meter;
    }
    for (uint32_t i = o->settled; i < o->tail; i++) {
        const struct outbox_entry *e = &o->entries[i];
        if (is_scratch(e->blob)) {
            n += e->len;
            *meter = e->blob->meter != NULL ? e->blob->meter : *meter;
        }
    }
    return n;
}

/* Copies a stretch to its new place and turns the reference over. */
static void move_bytes(struct blob **from, uint32_t *off, uint32_t len,
    struct blob *to, uint32_t at)
{
    memcpy(to->data + at, (*from)->data + *off, len);
    blob_unref(*from);
    *from = blob_ref(to);
    *off = at;
}

/* Neighbours that lie together now become one. */
static bool can_merge(
    const struct outbox_entry *a, const struct outbox_entry *b)
{
    return a->blob == b->blob && a->off + a->len == b->off && a->key == NULL &&
           b->key == NULL && (a->frames == 0) == (b->frames == 0);
}

int outbox_detach(struct outbox *o)
{
    struct meter *meter;
    size_t n = scratch_bytes(o, &meter);
    if (n == 0) {
        o->settled = o->tail;
        return 0;
    }
    struct blob *to = n <= UINT32_MAX ? blob_new(meter, n) : NULL;
    if (to == NULL) {
        return ERR_FULL;
    }
    uint32_t at = 0;
    if (is_scratch(o->begun.blob)) {
        move_bytes(&o->begun.blob, &o->begun.off, o->begun.left, to, at);
        at += o->begun.left;
    }
    struct outbox_entry *last = NULL;
    for (uint32_t i = o->settled; i < o->tail; i++) {
        struct outbox_entry *e = &o->entries[i];
        if (is_scratch(e->blob)) {
            move_bytes(&e->blob, &e->off, e->len, to, at);
            at += e->len;
            if (last != NULL && can_merge(last, e)) {
                last->len += e->len;
                last->frames += e->frames;
                outbox_clear_entry(o, e);
                continue;
            }
        }
        last = e->blob != NULL ? e : last;
    }
    blob_unref(to);
    outbox_trim(o);
    o->settled = o->tail;
    return 0;
}
