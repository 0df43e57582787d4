/* cast.c -- who gets what: one client, a room, or any union of them.
 *
 * A message is encoded once, on a tape, and then queued as a range of it for
 * each member addressed (net_send): nothing is copied and nothing is written
 * to a socket here. Which tape decides what lies next to what: a room's own
 * tape for its broadcasts, so that all frames of a turn in that room are one
 * range and one send at each member; the tape of everybody for unions; and
 * the scratch tape of direct sends where only a few are named, because who
 * lags copies out of a scratch tape instead of keeping a whole chunk alive.
 *
 * Two ways to walk. One room (or everybody) is the hot one: it touches slots
 * and lanes only, 36 bytes a member. Those excepted are hidden in the room as
 * if they were dead and shown again after the walk, which keeps the loop free
 * of comparisons for any number of them. Everything else goes member by
 * member and marks each with the broadcast's stamp, so that whoever is
 * addressed twice gets one copy, and whoever is excepted bears the stamp
 * beforehand.
 *
 * Laws: I2 (net_send judges by the policy; the app's meter bounds the tapes).
 * net never calls on_closed from inside net_send, so membership rests during
 * a walk; is_walking holds everybody to that. */
#include "hub/hub_priv.h"

/* Lanes are asked for this many members before they are needed. */
#define AHEAD 16u

/* Named one by one and no more than this: a direct send to each. */
#define FEW 8u

struct cast {
    struct hub *h;
    const struct hub_message *msg;
    struct tape *tape;
    struct tape *packed;  /* for the compressed form of it */
    struct parcel parcel; /* no blob in it: not encoded yet */
    bool is_refused;      /* the app's meter said no */
    uint32_t queued;
    uint32_t dropped;
};

static void count_metric(struct hub *h, enum metric metric, uint64_t n)
{
    metric_add(loop_metrics(h->net->loop), metric, n);
}

static bool is_compressed(const struct hub *h, const struct hub_message *msg)
{
    return h->compress.level != 0 && msg->compress != HUB_COMPRESS_NO &&
           (msg->compress == HUB_COMPRESS_YES || msg->len >= h->compress_bytes);
}

static bool encode(struct cast *c)
{
    struct hub *h = c->h;
    const struct hub_message *msg = c->msg;
    struct range r;
    if (tape_frame(c->tape, h->net, h->meter, msg->op, false, msg->data,
            msg->len, &r) != 0) {
        c->is_refused = true;
        return false;
    }
    const struct pack_message pm = {msg->op, msg->data, msg->len};
    parcel_init(&c->parcel, h->net, &r, &pm);
    if (is_compressed(h, msg)) {
        parcel_pack(&c->parcel, c->packed, h->meter, &h->compress);
    }
    count_metric(h, METRIC_BROADCASTS, 1);
    return true;
}

static enum outbox_policy policy_of(const struct hub *h, const struct room *r)
{
    return r->rule.has_policy ? r->rule.policy : h->policy;
}

/* The hot loop. */
static void walk_room(struct cast *c, const struct room *r)
{
    struct net *n = c->h->net;
    const enum outbox_policy policy = policy_of(c->h, r);
    const char *key = c->msg->key;
    const size_t key_len = c->msg->key_len;
    const uint32_t *slots = r->slots;
    const uint32_t len = r->len;
    uint32_t queued = 0;
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (i + AHEAD < len) {
            uint32_t ahead = slots[i + AHEAD] & ~ROOM_DEAD;
            __builtin_prefetch(&n->lanes[ahead], 1);
        }
        if (UNLIKELY((slots[i] & ROOM_DEAD) != 0)) {
            continue;
        }
        int rc = parcel_send(&c->parcel, slots[i], policy, key, key_len);
        if (LIKELY(rc == 0)) {
            queued++;
        } else if (rc != ERR_CLOSED) {
            dropped++;
        }
    }
    c->queued += queued;
    c->dropped += dropped;
}

/* Calls fn for each member that is excepted, for some perhaps twice; returns
 * the sum of what it says. */
static uint32_t each_excepted(struct hub *h, const struct hub_target *to,
    uint32_t (*fn)(struct member *m, void *arg), void *arg)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < to->except_count; i++) {
        struct member *m = hub_find(h, to->except_ids[i]);
        if (m != NULL) {
            sum += fn(m, arg);
        }
    }
    for (size_t i = 0; i < to->except_user_count; i++) {
        const struct hub_name *name = &to->except_users[i];
        struct user_entry *u = user_find(h, name->p, name->len);
        if (u == NULL) {
            continue;
        }
        list_each (it, &u->members) {
            sum += fn(container_of(it, struct member, user_node), arg);
        }
    }
    return sum;
}

static uint32_t hide(struct member *m, void *arg)
{
    struct room *r = arg;
    const struct membership *place = member_in(m, r);
    if (place == NULL || (r->slots[place->index] & ROOM_DEAD) != 0) {
        return 0;
    }
    r->slots[place->index] |= ROOM_DEAD;
    return 1;
}

static uint32_t show(struct member *m, void *arg)
{
    struct room *r = arg;
    const struct membership *place = member_in(m, r);
    if (place != NULL) {
        r->slots[place->index] &= ~ROOM_DEAD;
    }
    return 0;
}

static void cast_to_room(
    struct cast *c, struct room *r, const struct hub_target *to)
{
    room_tidy(r);
    uint32_t addressed = room_count(r) - each_excepted(c->h, to, hide, r);
    c->tape = &r->tape;
    c->packed = &r->packed;
    if (addressed > 0 && encode(c)) {
        walk_room(c, r);
    } else {
        c->dropped = addressed;
    }
    each_excepted(c->h, to, show, r);
}

static uint32_t skip(struct member *m, void *arg)
{
    m->stamp = *(const uint64_t *)arg;
    return 0;
}

static void address(struct cast *c, struct member *m, enum outbox_policy policy)
{
    struct hub *h = c->h;
    if (m->stamp == h->stamp) {
        return;
    }
    m->stamp = h->stamp;
    if (c->parcel.plain.blob == NULL && !c->is_refused) {
        (void)encode(c); /* only now is there somebody to encode it for */
    }
    if (c->is_refused) {
        c->dropped++;
        return;
    }
    int rc = parcel_send(
        &c->parcel, m->conn.slot, policy, c->msg->key, c->msg->key_len);
    if (rc == 0) {
        c->queued++;
    } else if (rc != ERR_CLOSED) {
        c->dropped++;
    }
}

static struct tape *choose_tape(struct hub *h, const struct hub_target *to)
{
    size_t named = to->id_count;
    if (to->ids == NULL) {
        if (to->room_count > 0) {
            return &h->everybody.tape;
        }
        named = 0;
        for (size_t i = 0; i < to->user_count; i++) {
            const struct hub_name *name = &to->users[i];
            struct user_entry *u = user_find(h, name->p, name->len);
            named += u == NULL ? 0 : u->count;
        }
    }
    return named <= FEW ? &h->scratch : &h->everybody.tape;
}

static void walk_members(struct cast *c, const struct room *r)
{
    const struct lane *lanes = c->h->net->lanes;
    const enum outbox_policy policy = policy_of(c->h, r);
    for (uint32_t i = 0; i < r->len; i++) {
        if (i + AHEAD < r->len && r->members[i + AHEAD] != NULL) {
            __builtin_prefetch(&r->members[i + AHEAD]->stamp, 1);
            __builtin_prefetch(&r->members[i + AHEAD]->conn);
            __builtin_prefetch(&lanes[r->slots[i + AHEAD]], 1);
        }
        if (r->members[i] != NULL) {
            address(c, r->members[i], policy);
        }
    }
}

static void cast_to_named_rooms(struct cast *c, const struct hub_target *to)
{
    for (size_t i = 0; i < to->room_count; i++) {
        struct room *r = hub_room(c->h, to->rooms[i].p, to->rooms[i].len);
        if (r == NULL) {
            continue;
        }
        room_tidy(r);
        walk_members(c, r);
    }
}

static void cast_to_named_users(struct cast *c, const struct hub_target *to)
{
    for (size_t i = 0; i < to->user_count; i++) {
        const struct hub_name *name = &to->users[i];
        struct user_entry *u = user_find(c->h, name->p, name->len);
        if (u == NULL) {
            continue;
        }
        list_each (it, &u->members) {
            address(
                c, container_of(it, struct member, user_node), c->h->policy);
        }
    }
}

static void cast_to_union(struct cast *c, const struct hub_target *to)
{
    struct hub *h = c->h;
    c->tape = choose_tape(h, to);
    c->packed = c->tape == &h->scratch ? &h->scratch : &h->everybody.packed;
    h->stamp++;
    each_excepted(h, to, skip, &h->stamp);
    if (to->ids == NULL) {
        cast_to_named_rooms(c, to);
        cast_to_named_users(c, to);
        return;
    }
    for (size_t i = 0; i < to->id_count; i++) {
        struct member *m = hub_find(h, to->ids[i]);
        if (m != NULL) {
            address(c, m, h->policy);
        }
    }
}

void hub_broadcast(struct hub *h, const struct hub_target *to,
    const struct hub_message *msg, uint32_t *queued, uint32_t *dropped)
{
    ASSERT(!h->is_walking, "one walk at a time");
    struct cast c = {.h = h, .msg = msg};
    h->is_walking = true;
    if (to->ids != NULL || to->user_count > 0 || to->room_count > 1) {
        cast_to_union(&c, to);
    } else if (to->room_count == 0) {
        cast_to_room(&c, &h->everybody, to);
    } else {
        struct room *r = hub_room(h, to->rooms[0].p, to->rooms[0].len);
        if (r != NULL) {
            cast_to_room(&c, r, to);
        }
    }
    h->is_walking = false;
    parcel_fini(&c.parcel);
    if (c.is_refused) {
        /* The tape has counted its one frame; it was one for each of them. */
        count_metric(h, METRIC_DROPPED_APP, c.dropped - 1);
    }
    *queued = c.queued;
    *dropped = c.dropped;
}

/* Only in the form that this one client takes, so that what is sent to it in
 * a turn lies together. */
static int send_compressed(struct member *m, const struct hub_message *msg)
{
    struct hub *h = m->hub;
    struct net *n = h->net;
    const uint32_t slot = m->conn.slot;
    const struct pack_message pm = {msg->op, msg->data, msg->len};
    struct range r;
    int rc;
    if (pack_is_usual(&h->compress, &n->lanes[slot])) {
        rc = pack_frame(&h->scratch, n, h->meter, &h->compress, &pm, &r);
        return rc != 0
                   ? rc
                   : net_send(n, slot, &r, h->policy, msg->key, msg->key_len);
    }
    rc = tape_frame(
        &h->scratch, n, h->meter, msg->op, false, msg->data, msg->len, &r);
    if (rc != 0) {
        return rc;
    }
    struct parcel p;
    parcel_init(&p, n, &r, &pm);
    parcel_pack(&p, &h->scratch, h->meter, &h->compress);
    rc = parcel_send(&p, slot, h->policy, msg->key, msg->key_len);
    parcel_fini(&p);
    return rc;
}

int hub_send(struct member *m, const struct hub_message *msg)
{
    struct hub *h = m->hub;
    if (h == NULL) {
        return ERR_CLOSED;
    }
    ASSERT(!h->is_walking, "a walk borrows the tape");
    struct net *n = h->net;
    if (!(n->lanes[m->conn.slot].flags & LANE_OPEN)) {
        return ERR_CLOSED; /* no bytes on the tape for nobody */
    }
    if (is_compressed(h, msg)) {
        return send_compressed(m, msg);
    }
    struct range r;
    int rc = tape_frame(
        &h->scratch, n, h->meter, msg->op, false, msg->data, msg->len, &r);
    if (rc != 0) {
        return rc;
    }
    return net_send(n, m->conn.slot, &r, h->policy, msg->key, msg->key_len);
}
