/* conn_pack.c -- compression as one connection has agreed to it.
 *
 * Most have agreed that no context is kept in either direction. Then the
 * connection has two bits in its lane and nothing else, and everything is lent
 * by net/pack. Where a context is kept it has a conn_pack.
 *
 * Our own context and a queue that may drop frames do not go together by
 * themselves: what refers to a frame that was never sent cannot be read. So a
 * message refers to those before it only if all of them have left (nothing is
 * queued) and none was dropped since the context began; else the context
 * begins anew with it. A client that keeps up gets all that a context can
 * give, one that lags gets messages that stand alone, which may be dropped.
 *
 * While a form is made for a client (a little at a time, net/pack.c) nothing
 * else is sent to it, so what was decided as it began is true at its end.
 *
 * Laws: I1, I2 (no policy is weaker for a client that compresses). */
#include "base/mem.h"
#include "net/conn_priv.h"
#include "net/pack.h"
#include <string.h>

struct conn_pack {
    struct inflate_source in;
    struct deflater *out; /* NULL: nothing sent yet */
    uint8_t server_bits;
    bool is_cut; /* a frame was dropped since the last message was packed */
};

static struct conn_pack *own_pack(const struct conn *c)
{
    return packer_own(c->net, c->slot);
}

struct inflate_source *conn_inflate(const struct conn *c)
{
    if (LIKELY((conn_lane(c)->flags & LANE_DEFLATE) == 0)) {
        return NULL;
    }
    struct conn_pack *own = own_pack(c);
    return own != NULL ? &own->in : packer_inflate(c->net);
}

static int make_own(struct conn *c, const struct deflate_params *p)
{
    struct conn_pack *own = quota_alloc(sizeof(*own));
    if (own == NULL) {
        return ERR_NOMEM;
    }
    *own = (struct conn_pack){
        .in = {.bits = p->client_bits,
            .keeps = p->client_keeps,
            .lender = p->client_keeps ? NULL : packer_inflate(c->net)},
        .server_bits = p->server_bits,
    };
    int rc = packer_set_own(c->net, c->slot, own);
    if (rc != 0) {
        quota_free(own);
    }
    return rc;
}

void conn_set_deflate(struct conn *c, const struct deflate_params *p)
{
    CHECK(c, CONN_MAGIC);
    if (p == NULL || c->state != CONN_OPEN) {
        return;
    }
    if ((p->client_keeps || p->server_keeps) && make_own(c, p) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
        return;
    }
    c->p.ws.reader.allow_rsv1 = true;
    uint32_t window = p->server_bits - (uint32_t)DEFLATE_BITS_MIN;
    conn_lane(c)->flags |= LANE_DEFLATE |
                           (p->server_keeps ? LANE_CONTEXT : 0u) |
                           window << LANE_WINDOW_SHIFT;
}

void conn_unpack(struct conn *c)
{
    struct conn_pack *own = packer_take_own(c->net, c->slot);
    message_reader_detach(&c->p.ws.reader);
    if (own != NULL) {
        inflate_source_fini(&own->in);
        deflater_free(own->out);
        quota_free(own);
    }
}

void conn_pack_cut(struct conn *c)
{
    struct conn_pack *own = own_pack(c);
    if (own != NULL) {
        own->is_cut = true;
    }
}

void conn_pack_forget(struct conn *c)
{
    struct conn_pack *own = own_pack(c);
    if (own != NULL && own->out != NULL) {
        deflater_forget(own->out);
    }
}

/* False: no memory. */
static bool begin_own(struct conn *c, struct parcel *p)
{
    struct conn_pack *own = own_pack(c);
    if (own->out == NULL) {
        own->out = deflater_new(own->server_bits);
    }
    if (own->out == NULL) {
        return false;
    }
    bool is_clear = conn_lane(c)->blob == NULL && c->outbox == NULL;
    bool keeps = is_clear && !own->is_cut;
    own->is_cut = false;
    parcel_begin_own(p, conn_get_id(c), own->out, keeps);
    return true;
}

/* Its form is over: it has been queued or, with `rc` not 0, refused. */
static void end_own(struct conn *c, struct parcel *p, bool is_packed, int rc)
{
    struct pack_job *j = &p->job;
    size_t len = p->message.len;
    if (is_packed) {
        metric_add(c->net->metrics, METRIC_DEFLATED, 1);
        metric_add(c->net->metrics, METRIC_DEFLATE_SAVED,
            j->out.len < len ? len - j->out.len : 0);
    }
    if (!is_packed || rc != 0) {
        /* What went out plain, or not at all, is no part of the context. */
        deflater_forget(j->deflater);
    }
    blob_unref(j->frame.blob);
    parcel_end_job(p);
}

/* A form that others get as well. What it says is no part of our context, but
 * of the client's: so ours begins anew (RFC 7692 7.2.1). */
static int send_common(struct conn *c, struct parcel *p,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct conn_pack *own = own_pack(c);
    const struct range *usual = &p->forms[p->how.bits - DEFLATE_BITS_MIN];
    bool can_read = own->server_bits >= p->how.bits && usual->blob != NULL;
    own->is_cut |= can_read;
    return net_send(
        c->net, c->slot, can_read ? usual : &p->plain, policy, key, key_len);
}

/* Between two steps nothing else is sent to this client, which would have to
 * come before the form in its context: there is one walk of a hub at a time. So
 * a form that is made can wait, in the job, until there is room for it. */
int conn_send_packed(struct conn *c, struct parcel *p,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct net *n = c->net;
    struct pack_job *j = &p->job;
    if (!(conn_lane(c)->flags & LANE_OPEN)) {
        return ERR_CLOSED;
    }
    if (j->deflater == NULL && !parcel_may_make(p)) {
        return send_common(c, p, policy, key, key_len);
    }
    if (j->deflater == NULL && !begin_own(c, p)) {
        return net_send(n, c->slot, &p->plain, policy, key, key_len);
    }
    if (!parcel_run_job(p)) {
        return PARCEL_MORE;
    }
    bool is_packed = j->rc == 0 && (j->keeps || j->out.len < p->message.len);
    if (is_packed && !parcel_write_frame(p)) {
        return PARCEL_MORE;
    }
    /* Without a blob there was no room for it. */
    is_packed = is_packed && j->frame.blob != NULL;
    const struct range *r = is_packed ? &j->frame : &p->plain;
    int rc = net_send(n, c->slot, r, policy, key, key_len);
    if (rc != NET_MORE) {
        end_own(c, p, is_packed, rc);
    }
    return rc;
}
