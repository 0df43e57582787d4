/* far.c -- members that live on other loops: one letter for each loop.
 *
 * The hub knows every member, wherever it lives; what it cannot do is write to
 * its lane. So a broadcast ends here for the rooms' other parts: net/fanout
 * carries the frame, encoded once, and who it is for. A whole room goes as the
 * list that its part keeps ready; a union, or those who are excepted, are
 * collected for each loop first.
 *
 * Whoever leaves between the posting and the walk over there is passed over by
 * the walk. Whoever joins is not in the list, and not meant: letters keep their
 * order, so the list says who was a member at the moment of the broadcast.
 *
 * cast.c calls. Laws: I1, I2 (a window for each loop; the lists are charged to
 * the app's meter), I6 (quota_*: their size is what an app chose). */
#include "base/limits.h"
#include "base/mem.h"
#include "hub/hub_priv.h"
#include "script/preempt.h"
#include <string.h>

static struct far_loop *far_loop_of(struct hub *h, uint32_t loop)
{
    if (h->far == NULL) {
        h->far_count = h->net->peer_count;
        h->far = mem_zalloc(h->far_count * sizeof(*h->far));
    }
    ASSERT(loop < h->far_count, "I1: the loop is there");
    return &h->far[loop];
}

void far_fini(struct hub *h)
{
    for (uint32_t i = 0; i < h->far_count; i++) {
        meter_unref(h->far[i].window);
        fanout_drop_all(&h->far[i].batch);
    }
    mem_free(h->far);
}

/* For want of room in the app's meter, or of memory; what the window refuses
 * is counted there. */
static void count_dropped(const struct hub *h, uint32_t members)
{
    metric_add(h->net->metrics, METRIC_DROPPED_APP, members);
}

/* Takes f->except. */
static int post(struct hub *h, uint32_t loop, struct fanout *f)
{
    struct far_loop *l = far_loop_of(h, loop);
    if (l->window == NULL) {
        l->window = meter_new(LIMIT_WINDOW_BYTES);
        if (l->window == NULL) {
            count_dropped(h, f->list != NULL ? f->count - f->except.count : 1);
            fanout_drop_all(&f->except);
            return ERR_FULL;
        }
    }
    return fanout_post(h->net, loop, l->window, f);
}

bool far_collect(struct hub *h, const struct member *m)
{
    const struct fanout_target t = {m->conn.slot, m->conn.generation};
    return fanout_add(&far_loop_of(h, m->conn.loop)->batch, &t);
}

/* ---- lists, in steps ---- */

/* So many targets are put into a list before it is asked whether a tick
 * waits. */
#ifdef MOONWIRE_TINY
#    define PIECE 2u
#else
#    define PIECE 64u
#endif

static struct fanout_target *targets_of(const struct blob *list)
{
    return (struct fanout_target *)(void *)(uintptr_t)list->data;
}

static bool begin_list(struct hub *h, uint32_t count)
{
    struct walk *k = &h->walk;
    if (k->list == NULL) {
        k->list = blob_new(h->meter, count * sizeof(struct fanout_target));
        k->filled = 0;
    }
    return k->list != NULL;
}

/* In the walk's list: all that are not hidden. */
static bool list_part(struct hub *h, struct part *p)
{
    struct walk *k = &h->walk;
    struct places s;
    if (!begin_list(h, part_count(p) - p->hidden)) {
        return true;
    }
    while (part_next(p, k->slot, &s)) {
        uint32_t n = s.len < PIECE ? s.len : PIECE;
        struct fanout_target *t = targets_of(k->list);
        for (uint32_t i = 0; i < n; i++) {
            if (i + PIECE / 2 < s.len) {
                __builtin_prefetch(&s.members[i + PIECE / 2]->conn);
            }
            if ((s.slots[i] & ROOM_HIDDEN) == 0) {
                t[k->filled++] = (struct fanout_target){
                    s.slots[i], s.members[i]->conn.generation};
            }
        }
        k->slot = (s.slots[n - 1] & ~ROOM_HIDDEN) + 1;
        if (preempt_is_due()) {
            return false;
        }
    }
    return true;
}

bool far_make_list(struct hub *h, struct part *p)
{
    struct walk *k = &h->walk;
    part_lend_list(p, true);
    if (p->list == NULL && !list_part(h, p)) {
        return false;
    }
    if (p->list == NULL) {
        p->list = k->list; /* or there is no memory for it */
        p->list_len = k->filled;
        k->list = NULL;
    }
    return true;
}

bool far_list_collected(struct hub *h, uint32_t loop)
{
    struct fanout_pieces *b = &h->far[loop].batch;
    struct walk *k = &h->walk;
    if (k->list == NULL && (b->count < 2 || !begin_list(h, b->count))) {
        return true;
    }
    while (b->first != NULL) {
        memcpy(targets_of(k->list) + k->filled, b->first->targets,
            b->first->count * sizeof(b->first->targets[0]));
        k->filled += b->first->count;
        fanout_drop_piece(b);
        if (preempt_is_due() && b->first != NULL) {
            return false;
        }
    }
    return true;
}

/* ---- a room ---- */

/* Returns whether it is on its way. */
static bool post_part(struct hub *h, struct part *p, struct fanout f)
{
    struct fanout_pieces *except = &far_loop_of(h, p->loop)->batch;
    f.list = p->list;
    f.count = p->list_len;
    if (f.list == NULL) {
        count_dropped(h, part_count(p) - p->hidden);
        return false;
    }
    f.except = *except;
    *except = (struct fanout_pieces){0};
    return post(h, p->loop, &f) == 0;
}

void far_cast_part(struct hub *h, struct part *p, const struct fanout *f,
    uint32_t *queued, uint32_t *dropped)
{
    uint32_t members = part_count(p) - p->hidden;
    if (members > 0) {
        *(post_part(h, p, *f) ? queued : dropped) += members;
    }
}

void far_drop_part(struct hub *h, struct part *p, uint32_t *dropped)
{
    uint32_t members = part_count(p) - p->hidden;
    count_dropped(h, members);
    *dropped += members;
}

void far_forget_collected(struct hub *h)
{
    for (uint32_t i = 0; i < h->far_count; i++) {
        fanout_drop_all(&h->far[i].batch);
    }
}

/* ---- a union, or one ---- */

uint32_t far_collected(const struct hub *h, uint32_t loop)
{
    return loop < h->far_count ? h->far[loop].batch.count : 0;
}

static bool post_collected(
    struct hub *h, uint32_t loop, struct fanout f, uint32_t count)
{
    const struct fanout_pieces *b = &h->far[loop].batch;
    if (count == 1) {
        f.to = b->first->targets[0];
    } else if (h->walk.list == NULL) {
        count_dropped(h, count);
        return false;
    }
    f.list = h->walk.list; /* the letter takes its own reference */
    f.count = count;
    return post(h, loop, &f) == 0;
}

void far_send_collected(struct hub *h, uint32_t loop, const struct fanout *f,
    uint32_t *queued, uint32_t *dropped)
{
    struct walk *k = &h->walk;
    struct fanout_pieces *b = &h->far[loop].batch;
    uint32_t count = k->list != NULL ? k->filled : b->count;
    *(post_collected(h, loop, *f, count) ? queued : dropped) += count;
    fanout_drop_all(b);
    blob_unref(k->list);
    k->list = NULL;
}

int far_send(struct hub *h, const struct member *m, const struct fanout *f)
{
    struct fanout one = *f;
    one.to = (struct fanout_target){m->conn.slot, m->conn.generation};
    return post(h, m->conn.loop, &one);
}
