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
#include <string.h>

#define FIRST_TARGETS 16u

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
        quota_free(h->far[i].batch.targets);
    }
    mem_free(h->far);
}

/* For want of room in the app's meter, or of memory; what the window refuses
 * is counted there. */
static void count_dropped(const struct hub *h, uint32_t members)
{
    metric_add(h->net->metrics, METRIC_DROPPED_APP, members);
}

static int post(struct hub *h, uint32_t loop, const struct fanout *f)
{
    struct far_loop *l = far_loop_of(h, loop);
    if (l->window == NULL) {
        l->window = meter_new(LIMIT_WINDOW_BYTES);
        if (l->window == NULL) {
            count_dropped(h, f->list != NULL ? f->count - f->except_count : 1);
            return ERR_FULL;
        }
    }
    return fanout_post(h->net, loop, l->window, f);
}

bool far_collect(struct hub *h, const struct member *m)
{
    struct far_batch *b = &far_loop_of(h, m->conn.loop)->batch;
    if (b->count == b->cap) {
        uint32_t cap = b->cap == 0 ? FIRST_TARGETS : b->cap * 2;
        struct fanout_target *p =
            quota_realloc(b->targets, cap * sizeof(*b->targets));
        if (p == NULL) {
            return false;
        }
        b->targets = p;
        b->cap = cap;
    }
    b->targets[b->count++] =
        (struct fanout_target){m->conn.slot, m->conn.generation};
    return true;
}

/* ---- a room ---- */

struct excepted {
    struct hub *h;
    const struct room *room;
    bool is_incomplete; /* no memory to say who it is not for */
};

/* Those of other loops that are in the room, each once. */
static uint32_t collect_excepted(struct member *m, void *arg)
{
    struct excepted *e = arg;
    struct hub *h = e->h;
    if (m->conn.loop == h->home || m->stamp == h->stamp ||
        member_in(m, e->room) == NULL) {
        return 0;
    }
    m->stamp = h->stamp;
    if (!far_collect(h, m)) {
        e->is_incomplete = true;
    }
    return 1;
}

/* How many of the part it is for, where the excepted are not all collected. */
static uint32_t count_not_hidden(const struct part *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->len; i++) {
        n += (p->slots[i] & ROOM_DEAD) == 0;
    }
    return n;
}

/* Returns whether it is on its way. */
static bool post_part(struct hub *h, struct part *p, struct fanout f)
{
    const struct far_batch *except = &far_loop_of(h, p->loop)->batch;
    f.list = part_list(p, h->meter);
    f.count = part_count(p);
    f.except = except->targets;
    f.except_count = except->count;
    if (f.list == NULL) {
        count_dropped(h, f.count - f.except_count);
        return false;
    }
    return post(h, p->loop, &f) == 0;
}

void far_cast_room(struct hub *h, struct room *r, const struct fanout *f,
    const struct hub_target *to, uint32_t *queued, uint32_t *dropped)
{
    struct excepted e = {.h = h, .room = r};
    h->stamp++;
    cast_each_excepted(h, to, collect_excepted, &e);
    for (struct part *p = r->here.next; p != NULL; p = p->next) {
        struct far_batch *except = &far_loop_of(h, p->loop)->batch;
        uint32_t members = part_count(p) - except->count;
        if (e.is_incomplete) {
            members = count_not_hidden(p);
            count_dropped(h, members);
            *dropped += members;
        } else if (members == 0) {
            /* nobody there, or nobody it is for */
        } else if (post_part(h, p, *f)) {
            *queued += members;
        } else {
            *dropped += members;
        }
        except->count = 0;
    }
}

/* ---- a union, or one ---- */

/* The batch as a blob of its own, which the letter keeps. */
static bool post_batch(struct hub *h, uint32_t loop, struct fanout f)
{
    const struct far_batch *b = &h->far[loop].batch;
    size_t bytes = b->count * sizeof(*b->targets);
    if (b->count == 1) {
        f.to = b->targets[0];
        return post(h, loop, &f) == 0;
    }
    f.list = blob_new(h->meter, bytes);
    if (f.list == NULL) {
        count_dropped(h, b->count);
        return false;
    }
    f.count = b->count;
    memcpy(f.list->data, b->targets, bytes);
    int rc = post(h, loop, &f);
    blob_unref(f.list); /* the letter has its own reference */
    return rc == 0;
}

void far_send_batch(
    struct hub *h, const struct fanout *f, uint32_t *queued, uint32_t *dropped)
{
    for (uint32_t i = 0; i < h->far_count; i++) {
        struct far_batch *b = &h->far[i].batch;
        if (b->count == 0) {
            continue;
        }
        *(post_batch(h, i, *f) ? queued : dropped) += b->count;
        b->count = 0;
    }
}

int far_send(struct hub *h, const struct member *m, const struct fanout *f)
{
    struct fanout one = *f;
    one.to = (struct fanout_target){m->conn.slot, m->conn.generation};
    return post(h, m->conn.loop, &one);
}
