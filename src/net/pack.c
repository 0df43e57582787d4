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
 * A form can be made a little at a time (is_due): the script that sends may be
 * stopped then, and others compress meanwhile. So the deflater is taken out of
 * the packer for that time, and comes back at the end; who finds none there
 * makes one.
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
/* Copied at once; and the longest form that goes to a tape. */
#define COPY_BYTES (16u * 1024u)
/* zlib refers back no further than its window less this. */
#define WINDOW_MARGIN 262u

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

/* The smallest window that a message of that size can use to the full. */
static unsigned fitting_bits(unsigned most, size_t len)
{
    unsigned bits = DEFLATE_BITS_MIN + 1;
    while (bits < most && ((size_t)1 << bits) < len + WINDOW_MARGIN) {
        bits++;
    }
    return bits < most ? bits : most;
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

/* NULL: no memory. It is the caller's until return_deflater(). */
static struct deflater *take_deflater(struct net *n, unsigned bits, size_t len)
{
    struct packer *k = get_packer(n);
    unsigned fitting = fitting_bits(bits, len);
    struct deflater *d = k->deflaters[fitting];
    k->deflaters[fitting] = NULL;
    return d != NULL ? d : deflater_new(fitting);
}

static void return_deflater(
    struct net *n, struct deflater *d, unsigned bits, size_t len)
{
    struct deflater **place =
        &get_packer(n)->deflaters[fitting_bits(bits, len)];
    if (*place == NULL) {
        *place = d;
    } else {
        deflater_free(d);
    }
}

int packer_deflate(struct net *n, unsigned bits, int level, const void *p,
    size_t len, const struct buf **out)
{
    struct packer *k = get_packer(n);
    struct deflater **d = &k->deflaters[fitting_bits(bits, len)];
    if (*d == NULL) {
        *d = deflater_new(fitting_bits(bits, len));
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

/* ---- a form, a little at a time ---- */

static bool is_due(const struct parcel *p)
{
    return p->is_due != NULL && p->is_due();
}

static void begin_job(
    struct parcel *p, struct deflater *d, unsigned bits, bool keeps)
{
    p->job = (struct pack_job){.deflater = d, .bits = bits, .keeps = keeps};
    buf_init(&p->job.out, 2 * p->message.len + 64);
    /* At once, for what grows is copied. */
    p->job.rc =
        d == NULL ? ERR_NOMEM : buf_reserve(&p->job.out, p->message.len + 64);
    p->job.is_ended = p->job.rc != 0;
    if (d != NULL) {
        deflater_begin(d, p->how.level, keeps);
    }
}

size_t pack_step_bytes(int level)
{
    /* The higher levels look further for each byte. */
    return LIMIT_DEFLATE_STEP_BYTES >> (level > 6 ? 2 : level > 3 ? 1 : 0);
}

bool parcel_run_job(struct parcel *p)
{
    struct pack_job *j = &p->job;
    const struct pack_message *m = &p->message;
    const size_t most = pack_step_bytes(p->how.level);
    while (!j->is_ended && j->at < m->len) {
        size_t n = m->len - j->at;
        n = n < most ? n : most;
        j->rc = deflater_feed(
            j->deflater, (const uint8_t *)m->data + j->at, n, &j->out);
        j->at += n;
        j->is_ended = j->rc != 0;
        if (!j->is_ended && is_due(p)) {
            return false;
        }
    }
    if (!j->is_ended) {
        j->rc = deflater_end(j->deflater, &j->out);
        j->is_ended = true;
    }
    return true;
}

bool parcel_write_frame(struct parcel *p)
{
    struct pack_job *j = &p->job;
    size_t len = j->out.len;
    size_t head = frame_header_bytes(len);
    if (j->frame.blob == NULL) {
        struct blob *b = blob_new(p->meter, head + len);
        if (b == NULL) {
            return true;
        }
        frame_encode(b->data, p->message.op, true, true, len);
        j->frame = (struct range){b, 0, (uint32_t)(head + len), 1};
    }
    while (j->written < len) {
        size_t n = len - j->written;
        n = n < COPY_BYTES ? n : COPY_BYTES;
        memcpy(
            j->frame.blob->data + head + j->written, j->out.p + j->written, n);
        j->written += n;
        if (j->written < len && is_due(p)) {
            return false;
        }
    }
    return true;
}

/* Whose deflater it was has gone, or nobody will go on with it. */
static void abandon_job(struct parcel *p)
{
    struct pack_job *j = &p->job;
    struct net *n = p->net;
    if (j->bits == 0 && net_find(n, j->conn) != NULL) {
        conn_pack_forget(slots_at(&n->conns, j->conn.slot));
    } else if (j->bits != 0) {
        return_deflater(n, j->deflater, j->bits, p->message.len);
    }
    blob_unref(j->frame.blob);
    parcel_end_job(p);
}

void parcel_end_job(struct parcel *p)
{
    buf_fini(&p->job.out);
    p->job = (struct pack_job){0};
}

/* A form of a megabyte takes 16 ms, and each client with a context wants its
 * own. */
bool parcel_may_make(struct parcel *p)
{
    if (!p->is_brief) {
        return true;
    }
    size_t steps = p->message.len / pack_step_bytes(p->how.level) + 1;
    if (steps > LIMIT_TURN_DEFLATE_STEPS - p->net->deflate_steps) {
        return false;
    }
    p->net->deflate_steps += (uint32_t)steps;
    return true;
}

bool parcel_is_at(const struct parcel *p, struct conn_id id)
{
    const struct pack_job *j = &p->job;
    return j->deflater != NULL && j->bits == 0 && j->conn.slot == id.slot &&
           j->conn.generation == id.generation;
}

void parcel_begin_own(
    struct parcel *p, struct conn_id id, struct deflater *d, bool keeps)
{
    begin_job(p, d, 0, keeps);
    p->job.conn = id;
}

/* The usual form goes to the room's tape if it is short. */
static bool write_usual(struct parcel *p)
{
    struct pack_job *j = &p->job;
    struct net *n = p->net;
    int rc = tape_frame(p->packed, n, p->meter, p->message.op, true, j->out.p,
        j->out.len, &j->frame);
    if (rc == 0) {
        blob_ref(j->frame.blob);
    } else {
        /* Nothing is dropped: the plain frame is there. */
        metric_sub(n->metrics, METRIC_DROPPED_APP, 1);
    }
    return true;
}

static bool write_form(struct parcel *p)
{
    struct pack_job *j = &p->job;
    bool is_usual = j->bits == p->how.bits && p->packed != NULL;
    return is_usual && j->out.len <= COPY_BYTES ? write_usual(p)
                                                : parcel_write_frame(p);
}

/* True: forms[] has the form, or the plain frame where that is not larger or
 * there is no room for another. */
static bool make_form(struct parcel *p, unsigned bits)
{
    struct pack_job *j = &p->job;
    if (j->deflater == NULL) {
        begin_job(p, take_deflater(p->net, bits, p->message.len), bits, false);
    } else if (j->bits != bits) {
        /* Somebody for whom another one was begun has gone. */
        if (j->bits == 0) {
            abandon_job(p);
            return make_form(p, bits);
        }
        return make_form(p, j->bits) && make_form(p, bits);
    }
    if (!parcel_run_job(p)) {
        return false;
    }
    bool is_smaller = j->rc == 0 && j->out.len < p->message.len;
    if (is_smaller && !write_form(p)) {
        return false;
    }
    struct range *r = &p->forms[bits - DEFLATE_BITS_MIN];
    if (is_smaller && j->frame.blob != NULL) {
        count_form(p->net, p->message.len - j->out.len);
        *r = j->frame;
    } else {
        *r = p->plain;
        blob_ref(r->blob);
    }
    return_deflater(p->net, j->deflater, bits, p->message.len);
    parcel_end_job(p);
    return true;
}

/* ---- parcels ---- */

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
    p->is_brief = true;
    if (usual != NULL) {
        p->forms[how->bits - DEFLATE_BITS_MIN] = *usual;
        blob_ref(usual->blob);
    }
}

const struct range *parcel_usual_form(struct parcel *p)
{
    struct range *r = &p->forms[p->how.bits - DEFLATE_BITS_MIN];
    return r->blob != NULL || make_form(p, p->how.bits) ? r : NULL;
}

void parcel_fini(struct parcel *p)
{
    if (p->job.deflater != NULL) {
        abandon_job(p);
    }
    for (size_t i = 0; i < ARRAY_LEN(p->forms); i++) {
        blob_unref(p->forms[i].blob);
    }
    blob_unref(p->plain.blob);
}

int parcel_send_packed(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct net *n = p->net;
    uint32_t flags = n->lanes[slot].flags;
    if (flags & LANE_CONTEXT) {
        struct conn *c = slots_at(&n->conns, slot);
        if (p->job.deflater != NULL && p->job.bits != 0 &&
            !make_form(p, p->job.bits)) {
            return PARCEL_MORE;
        }
        if (p->job.deflater != NULL && !parcel_is_at(p, conn_get_id(c))) {
            abandon_job(p);
        }
        return conn_send_packed(c, p, policy, key, key_len);
    }
    unsigned window = LANE_WINDOW(flags);
    struct range *r = &p->forms[window];
    if (r->blob == NULL && !parcel_may_make(p)) {
        r = &p->plain;
    } else if (r->blob == NULL && !make_form(p, window + DEFLATE_BITS_MIN)) {
        return PARCEL_MORE;
    }
    return net_send(n, slot, r, policy, key, key_len);
}
