/* fanout.c -- frames for connections of another loop.
 *
 * The hub posts these; nobody else sends to a connection that is not here (I1).
 * The walk over there touches lanes and nothing else, like a broadcast's at
 * home: whether a slot is still whose it was shows in the lane's tag. Those
 * excepted are marked in their lanes for the time of the walk, which spares a
 * comparison for each member.
 *
 * A walk is done in one go: some nanoseconds for each member, where the sends
 * that follow cost microseconds and are sliced by the flush. What is compressed
 * on the way is bounded for a turn (parcel_open). Letters of which there are
 * many are sliced by the mailbox.
 *
 * Laws: I1, I2 (the window), I4 (a blob that is still being filled is only
 * written behind what was handed out), I6. */
#include "net/fanout.h"
#include "base/limits.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "net/pack.h"
#include <string.h>

/* Lanes are asked for so many members before they are needed. */
#define AHEAD 16u

#define FIRST_TARGETS 16u

struct fanout_letter {
    struct letter letter;
    struct net *to;
    struct meter *window; /* ref */
    size_t cost;          /* charged to it */
    struct range range;   /* ref */
    struct range packed;  /* ref; no blob: there is none */
    struct pack_settings how;
    struct blob *list; /* ref; NULL: `one` */
    struct fanout_target one;
    struct fanout_pieces except;
    uint32_t count;
    uint32_t key_len;
    enum outbox_policy policy;
    char key[];
};

/* ---- pieces ---- */

static bool add_piece(struct fanout_pieces *p)
{
    uint32_t cap = p->last != NULL ? p->last->cap * 2 : FIRST_TARGETS;
    cap = cap < FANOUT_PIECE ? cap : FANOUT_PIECE;
    struct fanout_piece *piece =
        quota_alloc(sizeof(*piece) + cap * sizeof(piece->targets[0]));
    if (piece == NULL) {
        return false;
    }
    piece->next = NULL;
    piece->count = 0;
    piece->cap = cap;
    *(p->last != NULL ? &p->last->next : &p->first) = piece;
    p->last = piece;
    return true;
}

bool fanout_add(struct fanout_pieces *p, const struct fanout_target *t)
{
    if ((p->last == NULL || p->last->count == p->last->cap) && !add_piece(p)) {
        return false;
    }
    p->last->targets[p->last->count++] = *t;
    p->count++;
    return true;
}

void fanout_drop_piece(struct fanout_pieces *p)
{
    struct fanout_piece *piece = p->first;
    p->count -= piece->count;
    p->first = piece->next;
    if (p->first == NULL) {
        p->last = NULL;
    }
    quota_free(piece);
}

void fanout_drop_all(struct fanout_pieces *p)
{
    while (p->first != NULL) {
        fanout_drop_piece(p);
    }
}

/* ---- over there ---- */

/* The lane of a target that is still who it was; NULL: it has gone. */
static struct lane *find_lane(
    const struct net *n, const struct fanout_target *t)
{
    if (t->slot >= n->lane_cap) {
        return NULL;
    }
    struct lane *lane = &n->lanes[t->slot];
    uint32_t wanted = t->generation << LANE_TAG_SHIFT;
    uint32_t tag = lane->flags & ~((1u << LANE_TAG_SHIFT) - 1);
    return tag == wanted ? lane : NULL;
}

static void mark_excepted(const struct fanout_letter *l, bool is_marked)
{
    for (const struct fanout_piece *p = l->except.first; p != NULL;
         p = p->next) {
        for (uint32_t i = 0; i < p->count; i++) {
            struct lane *lane = find_lane(l->to, &p->targets[i]);
            if (lane != NULL && is_marked) {
                lane->flags |= LANE_SKIP;
            } else if (lane != NULL) {
                lane->flags &= ~(uint32_t)LANE_SKIP;
            }
        }
    }
}

/* To one; `parcel` NULL: the range as it is. */
static int send_to(const struct fanout_letter *l, struct parcel *parcel,
    uint32_t slot, const char *key)
{
    return parcel != NULL
               ? parcel_send(parcel, slot, l->policy, key, l->key_len)
               : net_send(l->to, slot, &l->range, l->policy, key, l->key_len);
}

static void walk(const struct fanout_letter *l, struct parcel *parcel)
{
    struct net *n = l->to;
    const char *key = l->key_len != 0 ? l->key : NULL;
    const struct fanout_target *targets = &l->one;
    uint32_t dropped = 0;
    if (l->list != NULL) {
        targets = (const struct fanout_target *)(const void *)l->list->data;
    }
    for (uint32_t i = 0; i < l->count; i++) {
        if (i + AHEAD < l->count && targets[i + AHEAD].slot < n->lane_cap) {
            __builtin_prefetch(&n->lanes[targets[i + AHEAD].slot], 1);
        }
        const struct lane *lane = find_lane(n, &targets[i]);
        if (UNLIKELY(lane == NULL || (lane->flags & LANE_SKIP) != 0)) {
            continue;
        }
        if (send_to(l, parcel, targets[i].slot, key) == ERR_CLOSED) {
            dropped += l->range.frames;
        }
    }
    metric_add(n->metrics, METRIC_DROPPED_CLOSE, dropped);
}

static void open_fanout(struct letter *letter, struct loop *here)
{
    struct fanout_letter *l =
        container_of(letter, struct fanout_letter, letter);
    ASSERT(l->to->loop == here, "I1");
    mark_excepted(l, true);
    if (l->how.level != 0) {
        struct parcel p;
        parcel_open(&p, l->to, &l->range,
            l->packed.blob != NULL ? &l->packed : NULL, &l->how);
        walk(l, &p);
        parcel_fini(&p);
    } else {
        walk(l, NULL);
    }
    mark_excepted(l, false);
    blob_unref(l->range.blob);
    blob_unref(l->packed.blob);
    blob_unref(l->list);
    fanout_drop_all(&l->except);
    meter_release(l->window, l->cost);
    meter_unref(l->window);
    quota_free(l);
}

/* ---- here ---- */

static struct fanout_letter *new_letter(
    struct meter *window, const struct fanout *f)
{
    size_t size = sizeof(struct fanout_letter) + f->key_len;
    bool has_packed = f->packed != NULL && f->packed->blob != f->range->blob;
    size_t cost = size + f->except.count * sizeof(struct fanout_target) +
                  f->range->len + (has_packed ? f->packed->len : 0);
    /* One that is larger than the window takes all of it: as an outbox that
     * holds nothing, it lets a message of any size through. */
    if (cost > window->cap) {
        cost = window->cap;
    }
    if (!meter_charge(window, cost)) {
        return NULL;
    }
    struct fanout_letter *l = quota_alloc(size);
    if (l == NULL) {
        meter_release(window, cost);
        return NULL;
    }
    *l = (struct fanout_letter){
        .window = meter_ref(window),
        .cost = cost,
        .range = *f->range,
        .how = f->how,
        .list = f->list != NULL ? blob_ref(f->list) : NULL,
        .one = f->to,
        .count = f->list != NULL ? f->count : 1,
        .except = f->except,
        .key_len = (uint32_t)f->key_len,
        .policy = f->policy,
    };
    l->range.blob = blob_ref(f->range->blob);
    if (f->packed != NULL) {
        l->packed = *f->packed;
        blob_ref(l->packed.blob);
    }
    return l;
}

int fanout_post(
    struct net *n, uint32_t loop, struct meter *window, const struct fanout *f)
{
    ASSERT(loop < n->peer_count && loop != loop_index(n->loop), "I1");
    ASSERT(f->key_len <= LIMIT_KEY_BYTES, "I6");
    struct fanout_letter *l = new_letter(window, f);
    if (l == NULL) {
        uint32_t members = f->list != NULL ? f->count - f->except.count : 1;
        struct fanout_pieces except = f->except;
        fanout_drop_all(&except);
        metric_add(n->metrics, METRIC_DROPPED_WINDOW,
            (uint64_t)members * f->range->frames);
        return ERR_FULL;
    }
    if (f->key_len > 0) {
        memcpy(l->key, f->key, f->key_len);
    }
    l->to = n->peers[loop];
    mailbox_post(n->loop, l->to->loop, &l->letter, open_fanout);
    return 0;
}
