/* net.c -- the table of connections, their lanes, and the flush.
 *
 * net_send() (in the header) fills lanes; the flush hook empties them, in the
 * order they were first written to in this turn, which for a broadcast is the
 * order of its members. The common case is one send() from here without
 * touching the connection; everything else goes to conn_write.c.
 *
 * A lane outlives its connection by LANE_DIRTY (and its tag) alone: the slot
 * may be given out again while it still stands in the ring, and must not stand
 * there twice.
 *
 * Laws: I1, I2 (the ring has a place for every slot). */
#include "net/net.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/late.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/conn_priv.h"
#include "net/outbox_priv.h"
#include "net/pack.h"
#include "net/tls.h"
#include <string.h>

#ifdef MOONWIRE_TINY
#    define FLUSH_SLICE     2u
#    define TAKE_FROM_BYTES 64u
#else
/* What is shorter is copied: its buffer can be half empty. */
#    define TAKE_FROM_BYTES ((size_t)256 * 1024)
#    define FLUSH_SLICE     ((uint32_t)LIMIT_FLUSH_SLICE)
#endif
#define FIRST_RING     16u
#define CONTROLS_BYTES 4096u /* pongs of a turn that lie together */

/* Turns the ring so that it starts at 0 in a larger array. */
static void grow_ring(struct net *n, uint32_t cap)
{
    uint32_t *p = mem_alloc(cap * sizeof(*p));
    for (uint32_t i = 0; i < n->dirty_count; i++) {
        p[i] = n->dirty[(n->dirty_head + i) & (n->dirty_cap - 1)];
    }
    mem_free(n->dirty);
    n->dirty = p;
    n->dirty_cap = cap;
    n->dirty_head = 0;
}

static void grow_lanes(struct net *n)
{
    uint32_t cap = n->lane_cap != 0 ? n->lane_cap : 1;
    while (cap < slots_end(&n->conns)) {
        cap *= 2;
    }
    if (cap == n->lane_cap) {
        return;
    }
    n->lanes = mem_realloc(n->lanes, cap * sizeof(*n->lanes));
    memset(n->lanes + n->lane_cap, 0, (cap - n->lane_cap) * sizeof(*n->lanes));
    n->lane_cap = cap;
    uint32_t ring = n->dirty_cap;
    while (ring < cap) {
        ring *= 2;
    }
    if (ring > n->dirty_cap) {
        grow_ring(n, ring);
    }
}

void net_add_conn(struct net *n, struct conn *c, int fd)
{
    c->slot = slots_add(&n->conns, c, &c->generation);
    grow_lanes(n);
    struct lane *l = &n->lanes[c->slot];
    ASSERT(l->blob == NULL, "I1: a lane is handed on empty");
    l->fd = fd;
    l->flags = (l->flags & LANE_DIRTY) | c->generation << LANE_TAG_SHIFT;
    l->hard_bytes = 0;
    n->conn_count++;
    metric_add(n->metrics, METRIC_CONNS, 1);
}

void net_remove_conn(struct net *n, struct conn *c)
{
    struct lane *l = &n->lanes[c->slot];
    blob_unref(l->blob);
    l->blob = NULL;
    l->fd = -1;
    l->flags &= LANE_DIRTY;
    slots_retire(&n->conns, c->slot);
    n->conn_count--;
    metric_sub(n->metrics, METRIC_CONNS, 1);
}

struct conn *net_find(const struct net *n, struct conn_id id)
{
    if (id.generation == 0 || id.loop != loop_index(n->loop)) {
        return NULL;
    }
    struct conn *c = slots_get(&n->conns, id.slot, id.generation);
    return c != NULL && c->state <= CONN_OPEN ? c : NULL;
}

void net_mark_dirty(struct net *n, uint32_t slot)
{
    struct lane *l = &n->lanes[slot];
    if (l->flags & LANE_DIRTY) {
        return;
    }
    ASSERT(n->dirty_count < n->dirty_cap, "I2: a place for every slot");
    l->flags |= LANE_DIRTY;
    uint32_t at = (n->dirty_head + n->dirty_count) & (n->dirty_cap - 1);
    n->dirty[at] = slot;
    n->dirty_count++;
}

/* The hot path: one send for one client. */
static void flush_plain(struct net *n, uint32_t slot)
{
    struct lane *l = &n->lanes[slot];
    if (l->blob == NULL) {
        return;
    }
    ssize_t k = tcp_send(l->fd, l->blob->data + l->off, l->len);
    metric_add(n->metrics, METRIC_SENDS, 1);
    if (UNLIKELY(k != (ssize_t)l->len)) {
        conn_flush_partial(slots_at(&n->conns, slot), k);
        return;
    }
    metric_add(n->metrics, METRIC_BYTES_OUT, l->len);
    metric_add(n->metrics, METRIC_FRAMES_OUT, l->frames);
    blob_unref(l->blob);
    l->blob = NULL;
}

static void flush_one(struct net *n)
{
    uint32_t slot = n->dirty[n->dirty_head];
    n->dirty_head = (n->dirty_head + 1) & (n->dirty_cap - 1);
    n->dirty_count--;
    struct lane *l = &n->lanes[slot];
    l->flags &= ~(uint32_t)LANE_DIRTY;
    if (LIKELY((l->flags & (LANE_PLAIN | LANE_SLOW)) == LANE_PLAIN)) {
        flush_plain(n, slot);
        return;
    }
    struct conn *c = slots_at(&n->conns, slot);
    if (c != NULL) {
        conn_flush(c);
    }
}

/* What could not be done where it arose, because somebody was being called.
 * Only what is on the list now: a connection that pauses again at once must
 * not keep us here. */
static void run_todo(struct net *n)
{
    struct list batch;
    list_init(&batch);
    list_append_all(&batch, &n->todo);
    struct list *node;
    while ((node = list_pop_head(&batch)) != NULL) {
        conn_do_todo(container_of(node, struct conn, u.live.todo));
    }
}

static void flush(struct net *n, uint32_t slice)
{
    n->inflated = 0;
    n->deflate_steps = 0;
    if (!list_is_empty(&n->todo)) {
        run_todo(n);
    }
    while (n->dirty_count > 0 && slice > 0) {
        slice--;
        flush_one(n);
    }
    if (n->dirty_count == 0) {
        tape_seal_all(n);
    }
    bool has_late = late_turn();
    if (n->dirty_count > 0 || !list_is_empty(&n->todo) || has_late) {
        loop_keep_polling(n->loop);
    }
}

static void on_flush(struct loop_hook *h)
{
    flush(container_of(h, struct net, flush_hook), FLUSH_SLICE);
}

void net_flush_all(struct net *n)
{
    flush(n, UINT32_MAX);
}

uint8_t *net_take_lent(struct net *n, const void *p, size_t len)
{
    if (n->lent == NULL || n->lent->p != p || len < TAKE_FROM_BYTES) {
        return NULL;
    }
    struct buf *b = n->lent;
    n->lent = NULL;
    return buf_take(b);
}

int net_send_slow(struct net *n, uint32_t slot, const struct range *r,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    if (!(n->lanes[slot].flags & LANE_OPEN)) {
        return ERR_CLOSED;
    }
    return conn_send_data(slots_at(&n->conns, slot), r, policy, key, key_len);
}

struct net *net_new(struct loop *l)
{
    struct net *n = mem_zalloc(sizeof(*n));
    n->loop = l;
    n->metrics = loop_metrics(l);
    n->guard = &guard_default;
    slots_init(&n->conns);
    list_init(&n->todo);
    list_init(&n->tapes);
    list_init(&n->spare_outboxes);
    tape_init(&n->controls, true);
    n->controls.least_bytes = CONTROLS_BYTES;
    n->dirty = mem_alloc(FIRST_RING * sizeof(*n->dirty));
    n->dirty_cap = FIRST_RING;
    loop_hook_add(l, LOOP_FLUSH, &n->flush_hook, on_flush);
    return n;
}

void net_guard(struct net *n, const struct guard *g)
{
    ASSERT(n->conn_count == 0, "I4: frozen before the first connection");
    n->guard = g;
}

void net_meet(struct net *n, struct net *const *peers, uint32_t count,
    const struct conn_router *router, const struct conn_settings *defaults)
{
    ASSERT(peers[loop_index(n->loop)] == n, "I1: each loop has its own net");
    n->peers = peers;
    n->peer_count = count;
    n->router = router;
    n->defaults = defaults;
}

void net_kill_all(struct net *n, bool reset)
{
    for (uint32_t i = 0; i < slots_end(&n->conns); i++) {
        struct conn *c = slots_at(&n->conns, i);
        if (c != NULL) {
            conn_kill(c, reset);
        }
    }
}

/* Somebody thinks about its request, or the whole answer is on its way. Who is
 * about to leave would be asked anew by the loop that it goes to. */
static bool is_answering(const struct conn *c)
{
    return ((c->flags & CONN_THINKING) && c->doom != CONN_DOOM_MOVE) ||
           ((c->flags & CONN_REPLYING) && c->p.http.body == NULL);
}

void net_kill_idle(struct net *n)
{
    for (uint32_t i = 0; i < slots_end(&n->conns); i++) {
        struct conn *c = slots_at(&n->conns, i);
        if (c != NULL && conn_get_state(c) == CONN_HTTP && !is_answering(c)) {
            conn_kill(c, false);
        }
    }
}

void net_set_tls(struct net *n, struct tls *t)
{
    if (t != NULL) {
        tls_adopt(t, n->loop);
        tls_ref(t);
    }
    tls_unref(n->tls);
    n->tls = t;
}

void net_free(struct net *n)
{
    if (n == NULL) {
        return;
    }
    ASSERT(n->conn_count == 0, "I1: a net outlives its connections");
    loop_hook_remove(&n->flush_hook);
    tape_seal_all(n);
    tape_fini(&n->controls);
    outbox_free_spares(n);
    http_parser_free(n->spare_parser);
    packer_free(n->packer);
    tls_unref(n->tls);
    blob_unref(n->read_buf);
    late_finish();
    slots_fini(&n->conns);
    mem_free(n->lanes);
    mem_free(n->dirty);
    mem_free(n);
}
