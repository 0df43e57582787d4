/* send.c -- to one client.
 *
 * Called by the app in a section of its own, so only for what is short; what is
 * not, is better sent as a broadcast to one, which can be stopped.
 *
 * Laws: I2 (net_send judges by the policy), I10. */
#include "hub/hub_priv.h"

static bool member_takes_usual_form(const struct member *m)
{
    return m->pack_bits == m->hub->compress.bits && !m->has_pack_context;
}

static bool must_write(const struct member *m, const struct hub_message *msg)
{
    const struct hub *h = m->hub;
    return m->conn.loop == h->home &&
           net_must_write(
               h->net, m->conn.slot, frame_header_bytes(msg->len) + msg->len);
}

bool hub_is_long(const struct member *m, const struct hub_message *msg)
{
    return encode_is_long(msg) || must_write(m, msg) ||
           (msg->len > pack_step_bytes(m->hub->compress.level) &&
               m->pack_bits != 0 && encode_is_packed(m->hub, msg));
}

static int send_far(
    struct member *m, const struct hub_message *msg, const struct range *r)
{
    struct hub *h = m->hub;
    struct fanout f = {
        .range = r,
        .policy = h->policy,
        .key = msg->key,
        .key_len = msg->key_len,
    };
    /* It has a context or a window of its own: done over there. */
    if (m->pack_bits != 0 && encode_is_packed(h, msg) &&
        !member_takes_usual_form(m)) {
        f.how = h->compress;
    }
    return far_send(h, m, &f);
}

/* To one who is here and has a context or a window of its own. */
static int send_own_form(
    struct member *m, const struct hub_message *msg, const struct range *r)
{
    struct hub *h = m->hub;
    const struct pack_message pm = {msg->op, msg->data, msg->len};
    struct parcel p;
    parcel_init(&p, h->net, r, &pm);
    parcel_pack(&p, &h->scratch, h->meter, &h->compress);
    int rc = parcel_send(&p, m->conn.slot, h->policy, msg->key, msg->key_len);
    parcel_fini(&p);
    return rc;
}

int hub_send(struct member *m, const struct hub_message *msg)
{
    struct hub *h = m->hub;
    if (h == NULL) {
        return ERR_CLOSED;
    }
    ASSERT(!h->walk.is_on, "a walk borrows the tape");
    struct net *n = h->net;
    bool is_far = m->conn.loop != h->home;
    if (!is_far && !(n->lanes[m->conn.slot].flags & LANE_OPEN)) {
        return ERR_CLOSED; /* no bytes on the tape for nobody */
    }
    const struct pack_message pm = {msg->op, msg->data, msg->len};
    bool is_packed = m->pack_bits != 0 && encode_is_packed(h, msg);
    bool is_usual = is_packed && member_takes_usual_form(m);
    struct range r;
    /* The usual form at once, so that what is sent to one in a turn lies
     * together. */
    int rc = is_usual
                 ? pack_frame(&h->scratch, n, h->meter, &h->compress, &pm, &r)
                 : tape_frame(&h->scratch, n, h->meter, msg->op, false,
                       msg->data, msg->len, &r);
    if (rc != 0) {
        h->refused += rc == ERR_FULL;
        return rc;
    }
    if (is_far) {
        return send_far(m, msg, &r);
    }
    if (is_packed && !is_usual) {
        return send_own_form(m, msg, &r);
    }
    return net_send(n, m->conn.slot, &r, h->policy, msg->key, msg->key_len);
}
