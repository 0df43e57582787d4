/* pack.c -- one compressed form for everybody who can read it.
 *
 * The hub makes a parcel of each message and sends it to members' lanes. Forms
 * are made when the first member asks, so a room without compressing clients
 * pays nothing, and one with them pays once. The usual form, for the window
 * that the app allows, goes to the room's second tape, that ranges of it may
 * merge; forms for smaller windows, which a client can ask for, lie alone, lest
 * one client keeps everybody's ranges from merging.
 *
 * A form that is not smaller than the plain frame is the plain frame.
 *
 * zlib's effort is set by the message: a small one gets a small window and a
 * small hash, which stay in the cache and need not be cleared for nothing.
 *
 * Laws: I2 (forms are charged to the app's meter), I4, I6. */
#include "net/pack.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/conn_priv.h"
#include <string.h>

#define SCRATCH_KEPT_BYTES (64u * 1024u)

struct packer {
    struct inflate_source inflate;
    struct deflater *deflaters[DEFLATE_BITS_MAX + 1]; /* by bits; or NULL */
    struct buf scratch;
    struct conn_pack **own; /* by slot; few have one, so no conn has a place */
    uint32_t own_cap;
};

static struct packer *get_packer(struct net *n)
{
    if (n->packer == NULL) {
        n->packer = mem_zalloc(sizeof(*n->packer));
        n->packer->inflate.bits = DEFLATE_BITS_MAX;
        buf_init(&n->packer->scratch, 2 * (size_t)LIMIT_DEFLATE_BYTES);
    }
    return n->packer;
}

void packer_free(struct packer *k)
{
    if (k == NULL) {
        return;
    }
    inflate_source_fini(&k->inflate);
    for (size_t i = 0; i < ARRAY_LEN(k->deflaters); i++) {
        deflater_free(k->deflaters[i]);
    }
    buf_fini(&k->scratch);
    quota_free(k->own);
    mem_free(k);
}

struct conn_pack *packer_own(const struct net *n, uint32_t slot)
{
    const struct packer *k = n->packer;
    return k != NULL && slot < k->own_cap ? k->own[slot] : NULL;
}

struct conn_pack *packer_take_own(struct net *n, uint32_t slot)
{
    struct conn_pack *own = packer_own(n, slot);
    if (own != NULL) {
        n->packer->own[slot] = NULL;
    }
    return own;
}

int packer_set_own(struct net *n, uint32_t slot, struct conn_pack *own)
{
    struct packer *k = get_packer(n);
    if (slot >= k->own_cap) {
        uint32_t cap = n->lane_cap;
        struct conn_pack **p =
            quota_realloc(k->own, cap * sizeof(struct conn_pack *));
        if (p == NULL) {
            return ERR_NOMEM;
        }
        memset(
            p + k->own_cap, 0, (cap - k->own_cap) * sizeof(struct conn_pack *));
        k->own = p;
        k->own_cap = cap;
    }
    k->own[slot] = own;
    return 0;
}

struct inflate_source *packer_inflate(struct net *n)
{
    return &get_packer(n)->inflate;
}

static void count_form(struct net *n, size_t saved)
{
    metric_add(n->metrics, METRIC_DEFLATED, 1);
    metric_add(n->metrics, METRIC_DEFLATE_SAVED, saved);
}

static struct buf *clear_scratch(struct packer *k)
{
    if (k->scratch.cap > SCRATCH_KEPT_BYTES) {
        buf_fini(&k->scratch);
    }
    k->scratch.len = 0;
    return &k->scratch;
}

int packer_deflate(struct net *n, unsigned bits, int level, const void *p,
    size_t len, const struct buf **out)
{
    struct packer *k = get_packer(n);
    struct deflater **d = &k->deflaters[deflate_fitting_bits(bits, len)];
    if (*d == NULL) {
        *d = deflater_new(deflate_fitting_bits(bits, len));
    }
    struct buf *b = clear_scratch(k);
    *out = b;
    return *d != NULL ? deflater_run(*d, level, false, p, len, b) : ERR_NOMEM;
}

int pack_frame(struct tape *t, struct net *n, struct meter *meter,
    const struct pack_settings *how, const struct pack_message *m,
    struct range *out)
{
    const struct buf *b;
    if (m->len <= LIMIT_DEFLATE_BYTES &&
        packer_deflate(n, how->bits, how->level, m->data, m->len, &b) == 0 &&
        b->len < m->len) {
        count_form(n, m->len - b->len);
        return tape_frame(t, n, meter, m->op, true, b->p, b->len, out);
    }
    return tape_frame(t, n, meter, m->op, false, m->data, m->len, out);
}

/* ---- parcels ---- */

/* A frame in a blob of its own; false: no room for it. */
static bool frame_alone(struct meter *meter, enum frame_opcode op,
    const struct buf *b, struct range *out)
{
    size_t head = frame_header_bytes(b->len);
    struct blob *blob = blob_new(meter, head + b->len);
    if (blob == NULL) {
        return false;
    }
    frame_encode(blob->data, op, true, true, b->len);
    memcpy(blob->data + head, b->p, b->len);
    *out = (struct range){blob, 0, (uint32_t)(head + b->len), 1};
    return true;
}

static bool make_form(struct parcel *p, unsigned bits, struct range *out)
{
    const struct buf *b;
    struct net *n = p->net;
    const struct pack_message *m = &p->message;
    if (packer_deflate(n, bits, p->how.level, m->data, m->len, &b) != 0 ||
        b->len >= m->len) {
        return false;
    }
    count_form(n, m->len - b->len);
    if (bits != p->how.bits || p->packed == NULL) {
        return frame_alone(p->meter, m->op, b, out);
    }
    if (tape_frame(p->packed, n, p->meter, m->op, true, b->p, b->len, out) !=
        0) {
        /* Nothing is dropped: the plain frame is there. */
        metric_sub(n->metrics, METRIC_DROPPED_APP, 1);
        return false;
    }
    blob_ref(out->blob);
    return true;
}

void parcel_init(struct parcel *p, struct net *n, const struct range *r,
    const struct pack_message *m)
{
    *p = (struct parcel){.net = n, .plain = *r, .message = *m};
    blob_ref(r->blob);
}

void parcel_pack(struct parcel *p, struct tape *packed, struct meter *meter,
    const struct pack_settings *how)
{
    p->is_packing = p->message.len <= LIMIT_DEFLATE_BYTES;
    p->packed = packed;
    p->meter = meter;
    p->how = *how;
}

void parcel_give(struct parcel *p, const struct range *usual,
    const struct pack_settings *how)
{
    p->is_packing = true;
    p->is_given = true;
    p->how = *how;
    p->forms[how->bits - DEFLATE_BITS_MIN] = *usual;
    blob_ref(usual->blob);
    count_form(p->net, p->plain.len - usual->len);
}

/* Of a frame of `total` bytes. */
static size_t head_bytes(size_t total)
{
    static const size_t heads[] = {2, 4, 10};
    size_t i = 0;
    while (frame_header_bytes(total - heads[i]) != heads[i]) {
        i++;
        ASSERT(i < ARRAY_LEN(heads), "a whole frame");
    }
    return heads[i];
}

void parcel_open(struct parcel *p, struct net *n, const struct range *plain,
    const struct range *usual, const struct pack_settings *how)
{
    const uint8_t *frame = plain->blob->data + plain->off;
    size_t head = head_bytes(plain->len);
    const struct pack_message m = {.op = (enum frame_opcode)(frame[0] & 0x0f),
        .data = frame + head,
        .len = plain->len - head};
    ASSERT(plain->frames == 1, "a frame alone");
    parcel_init(p, n, plain, &m);
    parcel_pack(p, NULL, plain->blob->meter, how);
    if (usual != NULL) {
        p->is_given = m.len > LIMIT_DEFLATE_HELD_BYTES;
        p->forms[how->bits - DEFLATE_BITS_MIN] = *usual;
        blob_ref(usual->blob);
    }
}

const struct range *parcel_usual_form(struct parcel *p)
{
    struct range *r = &p->forms[p->how.bits - DEFLATE_BITS_MIN];
    if (r->blob == NULL && !make_form(p, p->how.bits, r)) {
        *r = p->plain;
        blob_ref(r->blob);
    }
    return r;
}

void parcel_fini(struct parcel *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->forms); i++) {
        blob_unref(p->forms[i].blob);
    }
    blob_unref(p->plain.blob);
}

/* In a form that was made beforehand, for a window that may be too large: then
 * it goes out plain. */
static int send_given(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct net *n = p->net;
    uint32_t flags = n->lanes[slot].flags;
    const struct range *r = &p->forms[p->how.bits - DEFLATE_BITS_MIN];
    if (LANE_WINDOW(flags) + DEFLATE_BITS_MIN < p->how.bits) {
        r = &p->plain;
    } else if ((flags & LANE_CONTEXT) != 0 &&
               (r->blob != p->plain.blob || r->off != p->plain.off)) {
        conn_pack_forget(n->conns.entries[slot].ptr);
    }
    return net_send(n, slot, r, policy, key, key_len);
}

int parcel_send_packed(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct net *n = p->net;
    uint32_t flags = n->lanes[slot].flags;
    if (p->is_given) {
        return send_given(p, slot, policy, key, key_len);
    }
    if (flags & LANE_CONTEXT) {
        return conn_send_packed(
            n->conns.entries[slot].ptr, p, policy, key, key_len);
    }
    unsigned window = LANE_WINDOW(flags);
    struct range *r = &p->forms[window];
    if (r->blob == NULL && !make_form(p, window + DEFLATE_BITS_MIN, r)) {
        *r = p->plain;
        blob_ref(r->blob);
    }
    return net_send(n, slot, r, policy, key, key_len);
}
