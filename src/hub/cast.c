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
 * and lanes only, 36 bytes a member. Those excepted are hidden in the room and
 * shown again after the walk, which keeps the loop free of comparisons for any
 * number of them. Everything else goes member by member and marks each with
 * the walk's stamp, so that whoever is addressed twice gets one copy, and
 * whoever is excepted bears the stamp beforehand.
 *
 * Either is a row of phases, and each phase can be left off at any member, or
 * any piece of a long frame, when a tick waits, and gone on with (walk.c). All
 * that a phase has to know the next time stands in the hub.
 *
 * Members on other loops are not walked here: far.c writes a letter to each
 * such loop, behind all that was written before, so that the order of
 * broadcasts is the same there.
 *
 * Laws: I2 (net_send judges by the policy; the app's meter bounds the tapes),
 * I10. net never calls on_closed from inside net_send, so membership rests
 * during a step; is_walking holds everybody to that. */
#include "hub/hub_priv.h"
#include "script/preempt.h"
#include <string.h>

/* Lanes are asked for this many members before they are needed. */
#define AHEAD 16u

/* Named one by one and no more than this: a direct send to each. */
#define FEW 8u

static void count_metric(struct hub *h, enum metric metric, uint64_t n)
{
    metric_add(loop_metrics(h->net->loop), metric, n);
}

static enum outbox_policy policy_of(const struct hub *h, const struct room *r)
{
    return r->rule.has_policy ? r->rule.policy : h->policy;
}

/* ---- those excepted ---- */

/* Of a room: hidden in it, and collected for the letter to their loop. */
static bool hide(struct hub *h, struct member *m)
{
    struct room *r = h->walk.room;
    if (member_is_in(m, r) &&
        part_hide(room_part(r, m->conn.loop), m->conn.slot) &&
        m->conn.loop != h->home && !far_collect(h, m)) {
        h->cast.is_incomplete = true;
    }
    return true;
}

static bool skip(struct hub *h, struct member *m)
{
    m->stamp = h->stamp;
    return true;
}

/* Calls fn for members by their ids, as long as it says true and no tick waits.
 * True: for all of them. */
static bool each_id(struct hub *h, const uint64_t *ids, size_t count,
    bool (*fn)(struct hub *h, struct member *m))
{
    struct walk *k = &h->walk;
    while (k->at < count) {
        struct member *m = hub_find(h, ids[k->at]);
        if (m != NULL && !fn(h, m)) {
            return false;
        }
        k->at++;
        if (preempt_is_due()) {
            return false;
        }
    }
    k->at = 0;
    return true;
}

/* The same for all clients of users. */
static bool each_client(struct hub *h, const struct hub_name *users,
    size_t count, bool (*fn)(struct hub *h, struct member *m))
{
    struct walk *k = &h->walk;
    struct member *m;
    for (; k->at < count; k->at++) {
        if (k->user == NULL) {
            walk_enter_user(h, &users[k->at]);
        }
        while ((m = walk_client(h)) != NULL) {
            if (!fn(h, m)) {
                return false;
            }
            walk_pass_client(h);
            if (preempt_is_due()) {
                return false;
            }
        }
        if (preempt_is_due()) {
            k->at++;
            return false;
        }
    }
    k->at = 0;
    return true;
}

/* ---- to a room ---- */

/* The lists that letters carry, of all that are in the room now. */
static bool make_lists(struct hub *h)
{
    struct walk *k = &h->walk;
    for (; k->part != NULL; k->part = k->part->next) {
        if (k->part->loop != h->home && !far_make_list(h, k->part)) {
            return false;
        }
        k->slot = 0;
    }
    return true;
}

static bool encode_for_room(struct hub *h)
{
    struct cast *c = &h->cast;
    if (c->frame == FRAME_NOT_BEGUN) {
        c->addressed = 0;
        for (struct part *p = &h->walk.room->here; p != NULL; p = p->next) {
            c->addressed += part_count(p) - p->hidden;
        }
    }
    if (c->addressed > 0 && !encode_message(h)) {
        return false;
    }
    if (c->addressed == 0 || c->is_refused) {
        c->dropped = c->addressed;
        c->phase = CAST_SHOW - 1;
    }
    return true;
}

/* Letters first: the others can begin while we walk. */
static bool post_letters(struct hub *h)
{
    struct cast *c = &h->cast;
    struct room *r = h->walk.room;
    if (r->here.next == NULL) {
        return true;
    }
    struct fanout f;
    if (!encode_fanout(h, policy_of(h, r), &f)) {
        return false;
    }
    for (struct part *p = r->here.next; p != NULL; p = p->next) {
        if (c->is_incomplete) {
            far_drop_part(h, p, &c->dropped);
        } else {
            far_cast_part(h, p, &f, &c->queued, &c->dropped);
        }
    }
    far_forget_collected(h);
    return true;
}

/* The hot loop. */
static bool walk_room(struct hub *h)
{
    struct cast *c = &h->cast;
    struct walk *k = &h->walk;
    const struct net *n = h->net;
    const enum outbox_policy policy = policy_of(h, k->room);
    const char *key = c->msg.key;
    const size_t key_len = c->msg.key_len;
    struct places s;
    bool is_due = false;
    while (!is_due && part_next(&k->room->here, k->slot, &s)) {
        uint32_t queued = 0;
        uint32_t dropped = 0;
        uint32_t i = 0;
        while (i < s.len && !is_due) {
            if (i + AHEAD < s.len) {
                uint32_t ahead = s.slots[i + AHEAD] & ~ROOM_HIDDEN;
                __builtin_prefetch(&n->lanes[ahead], 1);
            }
            const uint32_t slot = s.slots[i++];
            if (UNLIKELY((slot & ROOM_HIDDEN) != 0)) {
                continue;
            }
            int rc = parcel_send(&c->parcel, slot, policy, key, key_len);
            if (LIKELY(rc == 0)) {
                queued++;
            } else if (UNLIKELY(rc == PARCEL_MORE)) {
                i--;
                is_due = true;
                break;
            } else if (rc != ERR_CLOSED) {
                dropped++;
            }
            is_due = preempt_is_due();
        }
        k->slot = i < s.len ? s.slots[i] & ~ROOM_HIDDEN
                            : (s.slots[i - 1] & ~ROOM_HIDDEN) + 1;
        c->queued += queued;
        c->dropped += dropped;
    }
    return !is_due;
}

/* Whoever joins from now on is shown as well. */
static bool show(struct hub *h)
{
    struct walk *k = &h->walk;
    if (k->hides) {
        k->hides = false;
        k->part = &k->room->here;
        k->slot = 0;
    }
    while (k->part != NULL) {
        if (!part_show_some(k->part, &k->slot)) {
            part_lend_list(k->part, false);
            k->part = k->part->next;
            k->slot = 0;
        }
        if (preempt_is_due()) {
            return false;
        }
    }
    return true;
}

/* ---- to a union ---- */

/* True: they are on their way. */
static bool send_collected(struct hub *h)
{
    struct cast *c = &h->cast;
    struct fanout f;
    if (!c->has_far) {
        return true;
    }
    if (!encode_fanout(h, c->policy, &f)) {
        return false;
    }
    for (; c->far_at < h->far_count; c->far_at++) {
        if (far_collected(h, c->far_at) > 0) {
            if (!far_list_collected(h, c->far_at)) {
                return false;
            }
            far_send_collected(h, c->far_at, &f, &c->queued, &c->dropped);
        }
    }
    c->far_at = 0;
    c->has_far = false;
    return true;
}

/* One letter takes all that are addressed with one policy. */
static void collect(
    struct hub *h, const struct member *m, enum outbox_policy policy)
{
    struct cast *c = &h->cast;
    c->policy = policy;
    if (far_collect(h, m)) {
        c->has_far = true;
    } else {
        c->dropped++;
        count_metric(h, METRIC_DROPPED_APP, 1);
    }
}

/* False: not yet, something else has to be done first and takes its time. */
static bool address(struct hub *h, struct member *m, enum outbox_policy policy)
{
    struct cast *c = &h->cast;
    if (m->stamp == h->stamp) {
        return true;
    }
    /* Only now is there somebody to encode it for. */
    if (c->frame != FRAME_READY && !encode_message(h)) {
        return false;
    }
    bool is_far = m->conn.loop != h->home;
    if (is_far && c->policy != policy && !send_collected(h)) {
        return false;
    }
    int rc = ERR_FULL;
    if (is_far && !c->is_refused) {
        m->stamp = h->stamp;
        collect(h, m, policy);
        return true;
    }
    if (!c->is_refused) {
        rc = parcel_send(
            &c->parcel, m->conn.slot, policy, c->msg.key, c->msg.key_len);
    }
    if (rc == PARCEL_MORE) {
        return false;
    }
    m->stamp = h->stamp;
    if (rc == 0) {
        c->queued++;
    } else if (rc != ERR_CLOSED) {
        c->dropped++;
    }
    return true;
}

static bool address_by_default(struct hub *h, struct member *m)
{
    return address(h, m, h->policy);
}

static struct tape *choose_tape(struct hub *h, const struct hub_target *to)
{
    size_t named = to->id_count;
    if (to->ids == NULL) {
        if (to->room_count > 0 || to->user_count > FEW) {
            return &h->everybody.tape;
        }
        named = 0;
        for (size_t i = 0; i < to->user_count; i++) {
            named += hub_count_user(h, &to->users[i]);
        }
    }
    return named <= FEW ? &h->scratch : &h->everybody.tape;
}

static inline void ask_ahead(
    const struct hub *h, const struct places *s, uint32_t i)
{
    if (i + AHEAD < s->len) {
        uint32_t slot = s->slots[i + AHEAD] & ~ROOM_HIDDEN;
        __builtin_prefetch(&s->members[i + AHEAD]->stamp, 1);
        __builtin_prefetch(&s->members[i + AHEAD]->conn);
        if (h->walk.part->loop == h->home) {
            __builtin_prefetch(&h->net->lanes[slot], 1);
        }
    }
}

/* Of the part that the walk is in. */
static bool walk_members(struct hub *h, enum outbox_policy policy)
{
    struct walk *k = &h->walk;
    struct places s;
    while (part_next(k->part, k->slot, &s)) {
        for (uint32_t i = 0; i < s.len; i++) {
            ask_ahead(h, &s, i);
            if (!address(h, s.members[i], policy)) {
                return false;
            }
            k->slot = (s.slots[i] & ~ROOM_HIDDEN) + 1;
            if (preempt_is_due()) {
                return false;
            }
        }
    }
    return true;
}

static bool cast_to_rooms(struct hub *h)
{
    struct walk *k = &h->walk;
    const struct hub_target *to = &h->cast.to;
    for (; to->ids == NULL && k->at < to->room_count; k->at++) {
        const struct hub_name *name = &to->rooms[k->at];
        struct room *r = k->room;
        if (r == NULL && (r = hub_room(h, name->p, name->len)) != NULL) {
            walk_enter_room(h, r, false);
        }
        while (r != NULL && k->part != NULL) {
            if (!walk_members(h, policy_of(h, r))) {
                return false;
            }
            k->part = k->part->next;
            k->slot = 0;
        }
        walk_leave_room(h);
        if (preempt_is_due()) {
            k->at++;
            return false;
        }
    }
    k->at = 0;
    return true;
}

static bool cast_to_users(struct hub *h)
{
    const struct hub_target *to = &h->cast.to;
    return to->ids != NULL ||
           each_client(h, to->users, to->user_count, address_by_default);
}

static bool cast_to_ids(struct hub *h)
{
    const struct hub_target *to = &h->cast.to;
    return to->ids == NULL ||
           each_id(h, to->ids, to->id_count, address_by_default);
}

/* ---- all of it ---- */

void hub_cast_begin(
    struct hub *h, const struct hub_target *to, const struct hub_message *msg)
{
    struct cast *c = &h->cast;
    walk_begin(h);
    h->walk.is_cast = true;
    memset(c, 0, sizeof(*c));
    c->to = *to;
    c->msg = *msg;
    if (to->ids != NULL || to->user_count > 0 || to->room_count > 1) {
        c->phase = CAST_SKIP_IDS;
        c->tape = choose_tape(h, to);
        c->packed =
            c->tape == &h->scratch ? &h->scratch_packed : &h->everybody.packed;
        return;
    }
    struct room *r = to->room_count == 0
                         ? &h->everybody
                         : hub_room(h, to->rooms[0].p, to->rooms[0].len);
    c->phase = r != NULL ? CAST_LISTS : CAST_DONE;
    if (r != NULL) {
        walk_enter_room(h, r, true);
        c->tape = &r->tape;
        c->packed = &r->packed;
    }
}

/* True: the phase is over. */
static bool go_on(struct hub *h)
{
    const struct hub_target *to = &h->cast.to;
    switch (h->cast.phase) {
    case CAST_LISTS: return make_lists(h);
    case CAST_HIDE_IDS:
        return each_id(h, to->except_ids, to->except_count, hide);
    case CAST_HIDE_USERS:
        return each_client(h, to->except_users, to->except_user_count, hide);
    case CAST_ENCODE: return encode_for_room(h);
    case CAST_LETTERS: return post_letters(h);
    case CAST_ROOM: return walk_room(h);
    case CAST_SHOW: return show(h);
    case CAST_SKIP_IDS:
        return each_id(h, to->except_ids, to->except_count, skip);
    case CAST_SKIP_USERS:
        return each_client(h, to->except_users, to->except_user_count, skip);
    case CAST_ROOMS: return cast_to_rooms(h);
    case CAST_USERS: return cast_to_users(h);
    case CAST_IDS: return cast_to_ids(h);
    case CAST_COLLECTED: return send_collected(h);
    case CAST_DONE: break;
    }
    return true;
}

bool hub_cast_step(struct hub *h)
{
    struct cast *c = &h->cast;
    h->is_walking = true;
    h->net->is_due = encode_is_due;
    while (c->phase != CAST_DONE && go_on(h)) {
        bool is_last = c->phase == CAST_SHOW || c->phase == CAST_COLLECTED;
        c->phase = is_last ? CAST_DONE : c->phase + 1;
        if (preempt_is_due()) {
            break;
        }
    }
    h->is_walking = false;
    h->net->is_due = NULL;
    return c->phase == CAST_DONE;
}

/* Of what the cast has, less what its room has. */
static void let_go(struct hub *h)
{
    struct cast *c = &h->cast;
    blob_unref(c->scribe.range.blob);
    parcel_fini(&c->parcel);
    far_forget_collected(h);
}

void hub_cast_end(struct hub *h, uint32_t *queued, uint32_t *dropped)
{
    struct cast *c = &h->cast;
    ASSERT(c->phase == CAST_DONE, "a walk ends when it is done");
    let_go(h);
    if (c->is_refused) {
        /* The tape has counted its one frame; it was one for each of them. */
        count_metric(h, METRIC_DROPPED_APP, c->dropped - 1);
    }
    *queued = c->queued;
    *dropped = c->dropped;
    walk_end(h);
}

void cast_drop(struct hub *h)
{
    struct cast *c = &h->cast;
    struct room *r = h->walk.room;
    if (!h->walk.is_cast) {
        return;
    }
    let_go(h);
    h->walk.hides = false;
    for (struct part *p = r != NULL ? &r->here : NULL; p != NULL; p = p->next) {
        uint32_t from = 0;
        while (part_show_some(p, &from)) {
        }
        part_lend_list(p, false);
    }
    c->phase = CAST_DONE;
}
