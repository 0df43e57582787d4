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
 * Members on other loops are not walked here: far.c writes a letter to each
 * such loop, behind all that was written before, so that the order of
 * broadcasts is the same there.
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
    struct tape *packed;       /* for the compressed form of it */
    struct parcel parcel;      /* no blob in it: not encoded yet */
    bool is_refused;           /* the app's meter said no */
    enum outbox_policy policy; /* of what is collected for other loops */
    bool has_far;              /* something is */
    uint32_t queued;
    uint32_t dropped;
};

static void count_metric(struct hub *h, enum metric metric, uint64_t n)
{
    metric_add(loop_metrics(h->net->loop), metric, n);
}

static bool member_takes_usual_form(const struct member *m)
{
    return m->pack_bits == m->hub->compress.bits && !m->has_pack_context;
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
        h->refused++;
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
    const uint32_t *slots = r->here.slots;
    const uint32_t len = r->here.len;
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

uint32_t cast_each_excepted(struct hub *h, const struct hub_target *to,
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
    if (place == NULL) {
        return 0;
    }
    uint32_t *slot = &room_part(r, m->conn.loop)->slots[place->index];
    if ((*slot & ROOM_DEAD) != 0) {
        return 0;
    }
    *slot |= ROOM_DEAD;
    return 1;
}

static uint32_t show(struct member *m, void *arg)
{
    struct room *r = arg;
    const struct membership *place = member_in(m, r);
    if (place != NULL) {
        room_part(r, m->conn.loop)->slots[place->index] &= ~ROOM_DEAD;
    }
    return 0;
}

/* For other loops: with the compressed form, made once and here, if anybody
 * over there may want it. */
static struct fanout fanout_of(struct cast *c, enum outbox_policy policy)
{
    struct fanout f = {
        .range = &c->parcel.plain,
        .policy = policy,
        .key = c->msg->key,
        .key_len = c->msg->key_len,
    };
    if (c->parcel.is_packing && c->h->far_packed > 0) {
        f.how = c->parcel.how;
        f.packed = parcel_usual_form(&c->parcel);
    }
    return f;
}

static void cast_to_room(
    struct cast *c, struct room *r, const struct hub_target *to)
{
    /* All of them, and before anybody is hidden: closing gaps would take who
     * is only hidden for one that has left. */
    for (struct part *p = &r->here; p != NULL; p = p->next) {
        part_tidy(p);
    }
    uint32_t addressed = room_count(r) - cast_each_excepted(c->h, to, hide, r);
    c->tape = &r->tape;
    c->packed = &r->packed;
    if (addressed > 0 && encode(c)) {
        /* Letters first: the others can begin while we walk. */
        if (r->here.next != NULL) {
            struct fanout f = fanout_of(c, policy_of(c->h, r));
            far_cast_room(c->h, r, &f, to, &c->queued, &c->dropped);
        }
        walk_room(c, r);
    } else {
        c->dropped = addressed;
    }
    cast_each_excepted(c->h, to, show, r);
}

static uint32_t skip(struct member *m, void *arg)
{
    m->stamp = *(const uint64_t *)arg;
    return 0;
}

static void send_collected(struct cast *c)
{
    if (c->has_far) {
        struct fanout f = fanout_of(c, c->policy);
        far_send_batch(c->h, &f, &c->queued, &c->dropped);
        c->has_far = false;
    }
}

/* One letter takes all that are addressed with one policy. */
static void collect(
    struct cast *c, const struct member *m, enum outbox_policy policy)
{
    if (c->policy != policy) {
        send_collected(c);
    }
    c->policy = policy;
    if (far_collect(c->h, m)) {
        c->has_far = true;
    } else {
        c->dropped++;
        count_metric(c->h, METRIC_DROPPED_APP, 1);
    }
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
    if (m->conn.loop != h->home) {
        collect(c, m, policy);
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

static void walk_members(
    struct cast *c, const struct part *p, enum outbox_policy policy)
{
    const struct lane *lanes = c->h->net->lanes;
    bool is_here = p->loop == c->h->home;
    for (uint32_t i = 0; i < p->len; i++) {
        if (i + AHEAD < p->len && p->members[i + AHEAD] != NULL) {
            __builtin_prefetch(&p->members[i + AHEAD]->stamp, 1);
            __builtin_prefetch(&p->members[i + AHEAD]->conn);
            if (is_here) {
                __builtin_prefetch(&lanes[p->slots[i + AHEAD]], 1);
            }
        }
        if (p->members[i] != NULL) {
            address(c, p->members[i], policy);
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
        for (struct part *p = &r->here; p != NULL; p = p->next) {
            part_tidy(p);
            walk_members(c, p, policy_of(c->h, r));
        }
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
    cast_each_excepted(h, to, skip, &h->stamp);
    if (to->ids == NULL) {
        cast_to_named_rooms(c, to);
        cast_to_named_users(c, to);
    }
    for (size_t i = 0; to->ids != NULL && i < to->id_count; i++) {
        struct member *m = hub_find(h, to->ids[i]);
        if (m != NULL) {
            address(c, m, h->policy);
        }
    }
    send_collected(c);
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
    if (m->pack_bits != 0 && is_compressed(h, msg) &&
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
    ASSERT(!h->is_walking, "a walk borrows the tape");
    struct net *n = h->net;
    bool is_far = m->conn.loop != h->home;
    if (!is_far && !(n->lanes[m->conn.slot].flags & LANE_OPEN)) {
        return ERR_CLOSED; /* no bytes on the tape for nobody */
    }
    const struct pack_message pm = {msg->op, msg->data, msg->len};
    bool is_packed = m->pack_bits != 0 && is_compressed(h, msg);
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
