/* branch.c -- an app's end on a loop that is not its home: connections that
 * live here while their handlers run there.
 *
 * What a connection tells (net/conn_handler) becomes a letter. What the app
 * decides comes as a letter and is done here, by id: if the connection has gone
 * meanwhile, nothing is done.
 *
 * Back-pressure has to be decided here, without asking (I2). So the branch
 * knows how many messages, and how many bytes of them, are on their way to the
 * app or wait there: what it sent less what has been receipted. That is its
 * share of the app's inbox, and the rules are the inbox's own (inbox.c): a
 * client that has nothing else under way, nor a handler that awaits, may still
 * send when the others have to rest. The end of a client needs no share: the
 * guest is its own letter.
 *
 * Laws: I1, I2, I3 (a client's letters keep their order; its guest's own is
 * the last), I6. */
#include "app/branch_priv.h"
#include "base/late.h"
#include "base/mem.h"
#include "net/reply.h"
#include <string.h>

#ifdef MOONWIRE_TINY
#    define STEP_GUESTS 2
#else
#    define STEP_GUESTS 256 /* that are looked at in one turn */
#endif

static struct loop *home_loop(const struct branch *b)
{
    return b->app->net->loop;
}

static void post_home(struct branch *b, struct letter *l,
    void (*open)(struct letter *l, struct loop *here))
{
    mailbox_post(b->net->loop, home_loop(b), l, open);
}

/* ---- life ---- */

/* Of this loop; made when it is first needed. */
static struct branch *branch_here(struct app *a, struct net *n)
{
    struct branch **at = &a->branches[loop_index(n->loop)];
    if (*at == NULL) {
        struct branch *b = mem_zalloc(sizeof(*b));
        b->app = a;
        b->net = n;
        list_init(&b->guests);
        list_init(&b->waiting);
        *at = b;
    }
    return *at;
}

void branch_free_all(struct app *a)
{
    for (uint32_t i = 0; i < a->loop_count; i++) {
        struct branch *b = a->branches[i];
        ASSERT(b == NULL || list_is_empty(&b->guests), "I3");
        mem_free(b);
    }
    mem_free(a->branches);
}

/* ---- asking to come in ---- */

void branch_knock(struct app *a, struct conn *c, const struct http_request *r)
{
    struct branch *b = branch_here(a, conn_net(c));
    struct knock *k = NULL;

    if (b->knocks < LIMIT_KNOCKS) {
        k = quota_alloc(sizeof(*k));
    }
    if (k == NULL) {
        reply_text(
            c, 503, "the app is busy", "Retry-After: 5\r\n", false, false);
        return;
    }
    b->knocks++;
    k->app = a;
    k->conn = conn_get_id(c);
    conn_ip(c, k->ip);
    k->parser = conn_take_request(c);
    k->path_off = (size_t)(r->path - http_parser_request(k->parser)->path);
    post_home(b, &k->letter, far_on_knock);
}

void branch_on_refusal(struct letter *l, struct loop *here)
{
    struct refusal *r = container_of(l, struct refusal, letter);
    struct conn *c = net_find(r->net, r->conn);

    (void)here;
    branch_here(r->app, r->net)->knocks--;
    if (c != NULL) {
        reply_text(c, r->status, r->text,
            r->status == 503 ? "Retry-After: 5\r\n" : NULL, false, false);
    }
    mem_free(r);
}

/* ---- what a connection tells ---- */

#define SHARES 4 /* a branch has one such part of the app's inbox */

static bool is_below(const struct branch *b, unsigned quarters)
{
    return b->events < b->inbox.events / SHARES / 4 * quarters &&
           b->bytes < b->inbox.bytes / SHARES / 4 * quarters;
}

/* As at home (inbox.c). */
static void note_full(struct branch *b, const struct guest *g)
{
    struct log_fields f = {.app = b->app->name, .event = "inbox"};

    if (!app_is_due(loop_now_ms(b->net->loop), &b->full_logged_ms)) {
        return;
    }
    log_event(LOG_INFO, &f,
        "reading rests until the app has caught up: %u events of a client "
        "wait (inbox.client is %u), %u with those of others (of this loop "
        "%u: a quarter of inbox.events), %zu bytes (%zu: of inbox.bytes)",
        g->sent, b->inbox.client_events, b->events, b->inbox.events / SHARES,
        b->bytes, b->inbox.bytes / SHARES);
}

/* As is_idle() at home: its next message would have its turn soon. */
static bool is_idle(const struct guest *g)
{
    return g->sent == 0 && !g->is_waiting;
}

/* Who is not idle is looked at with his next receipt. */
static void pause_guest(struct guest *g)
{
    g->is_paused = true;
    if (is_idle(g) && list_is_empty(&g->wait_node)) {
        list_push_tail(&g->branch->waiting, &g->wait_node);
    }
}

static bool can_take(void *user)
{
    struct guest *g = user;
    bool has_room = is_idle(g) ? is_below(g->branch, 8)
                               : is_below(g->branch, 4) &&
                                     g->sent < g->branch->inbox.client_events;

    if (!has_room) {
        note_full(g->branch, g);
        pause_guest(g);
    }
    return has_room;
}

static bool is_behind(void *user)
{
    struct guest *g = user;

    if (g->sent == 0 || g->is_waiting) {
        return false;
    }
    pause_guest(g);
    return true;
}

static void on_message(
    void *user, const uint8_t *data, size_t len, bool is_binary)
{
    struct guest *g = user;
    struct branch *b = g->branch;
    uint8_t *taken = net_take_lent(b->net, data, len);
    struct errand *e = quota_alloc(sizeof(*e) + (taken == NULL ? len : 0));

    if (e == NULL) {
        late_free(taken, len, NULL);
        struct conn *c = net_find(b->net, g->conn);
        log_event(LOG_ERROR, &(struct log_fields){.kind = "memory"},
            "no memory to pass a message on");
        if (c != NULL) {
            conn_fail(c, 1013, "overloaded", false);
        }
        return;
    }
    e->client = g->client;
    e->len = len;
    e->is_binary = is_binary;
    e->taken = taken;
    if (taken == NULL && len > 0) {
        memcpy(e->bytes, data, len);
    }
    g->sent++;
    b->events++;
    b->bytes += len;
    post_home(b, &e->letter, far_on_errand);
}

static void on_closed(
    void *user, uint16_t code, const char *reason, size_t reason_len)
{
    struct guest *g = user;

    list_remove(&g->node);
    list_remove(&g->wait_node);
    g->code = code;
    g->reason_len = (uint16_t)reason_len;
    if (reason_len > 0) {
        memcpy(g->reason, reason, reason_len);
    }
    post_home(g->branch, &g->farewell, far_on_farewell);
}

/* Few: each crossing took real traffic from the app. */
static void tell_level(struct guest *g, bool is_slow)
{
    struct conn *c = net_find(g->branch->net, g->conn);
    struct level *l = mem_zalloc(sizeof(*l));

    l->client = g->client;
    l->is_slow = is_slow;
    if (c != NULL) {
        conn_queue(c, &l->queue);
    }
    post_home(g->branch, &l->letter, far_on_level);
}

static void on_slow(void *user)
{
    tell_level(user, true);
}

static void on_drain(void *user)
{
    tell_level(user, false);
}

static const struct conn_handler guest_handler = {
    .can_take = can_take,
    .is_behind = is_behind,
    .on_message = on_message,
    .on_closed = on_closed,
    .on_slow = on_slow,
    .on_drain = on_drain,
};

/* ---- what the app decides ---- */

/* False: it has gone, or there is no memory for it. */
static bool open_guest(struct branch *b, const struct invite *in)
{
    struct conn *c = net_find(b->net, in->conn);

    if (c != NULL && conn_has_left(c)) {
        conn_kill(c, false);
        c = NULL;
    }
    if (c == NULL) {
        return false;
    }
    struct guest *g = quota_alloc(sizeof(*g));
    if (g == NULL) {
        reply_text(c, 503, "no memory for another client", "Retry-After: 5\r\n",
            false, false);
        return false;
    }
    memset(g, 0, sizeof(*g));
    g->branch = b;
    g->client = in->client;
    g->conn = in->conn;
    g->settings_seen = b->settings_count;
    list_init(&g->wait_node);
    list_push_tail(&b->guests, &g->node);
    conn_upgrade(c, in->head, in->len, &guest_handler, g, &b->settings);
    conn_set_deflate(c, in->has_deflate ? &in->deflate : NULL);
    return true;
}

/* The letter goes home with what came of it, ahead of whatever the client
 * says: that is parsed later in this turn. */
void branch_on_invite(struct letter *l, struct loop *here)
{
    struct invite *in = container_of(l, struct invite, letter);
    struct branch *b = branch_here(in->app, in->net);

    (void)here;
    b->knocks--;
    if (!b->has_settings) {
        b->settings = in->settings;
        b->inbox = in->inbox;
        b->has_settings = true;
    }
    in->is_open = open_guest(b, in);
    post_home(b, &in->letter, far_on_invite_back);
}

void branch_on_shut(struct letter *l, struct loop *here)
{
    struct shut *s = container_of(l, struct shut, letter);
    struct conn *c = net_find(s->net, s->conn);

    (void)here;
    if (c != NULL) {
        conn_close(c, s->code, s->reason, s->len);
    }
    mem_free(s);
}

/* Some of them; the letter comes again for the others. Who has been told goes
 * to the tail, where newcomers stand, who know. */
static void tell_guests(struct letter *l, struct loop *here)
{
    struct settings_letter *s = container_of(l, struct settings_letter, letter);
    struct branch *b = s->app->branches[loop_index(here)];

    for (int i = 0; !list_is_empty(&b->guests); i++) {
        struct guest *g = container_of(b->guests.next, struct guest, node);
        struct conn *c = net_find(b->net, g->conn);
        if (g->settings_seen == b->settings_count) {
            break;
        }
        if (i == STEP_GUESTS) {
            mailbox_post(here, here, l, tell_guests);
            return;
        }
        g->settings_seen = b->settings_count;
        list_remove(&g->node);
        list_push_tail(&b->guests, &g->node);
        if (c != NULL) {
            conn_settings_changed(c);
        }
    }
    mem_free(s);
}

void branch_on_settings(struct letter *l, struct loop *here)
{
    struct settings_letter *s = container_of(l, struct settings_letter, letter);
    struct branch *b = s->app->branches[loop_index(here)];

    b->settings = s->settings;
    b->inbox = s->inbox;
    b->settings_count++;
    tell_guests(l, here);
}

/* ---- receipts ---- */

static void read_again(struct guest *g)
{
    struct conn *c = net_find(g->branch->net, g->conn);

    g->is_paused = false;
    list_remove(&g->wait_node);
    if (c != NULL) {
        conn_resume(c);
    }
}

static void note_receipt(struct branch *b, const struct receipt *r)
{
    struct conn *c = net_find(b->net, r->conn);

    b->events -= r->events;
    b->bytes -= (size_t)r->bytes;
    if (c == NULL || conn_get_state(c) != CONN_OPEN) {
        return;
    }
    struct guest *g = conn_user(c);
    g->sent -= r->events;
    g->is_waiting = r->is_waiting != 0;
    if (!g->is_paused) {
        return;
    }
    if (is_idle(g)) {
        pause_guest(g);
    } else if (g->is_waiting ||
               (g->sent <= b->inbox.client_events / 2 && is_below(b, 3))) {
        /* It awaits: the peer's Close may rest, and is not to wait for it. */
        read_again(g);
    }
}

void branch_on_receipts(struct letter *l, struct loop *here)
{
    struct receipts *rs = container_of(l, struct receipts, letter);
    struct branch *b = rs->app->branches[loop_index(here)];

    for (uint32_t i = 0; i < rs->count; i++) {
        note_receipt(b, &rs->of[i]);
    }
    rs->count = 0;
    for (int i = 0; !list_is_empty(&b->waiting) && is_below(b, 7); i++) {
        if (i == STEP_GUESTS) {
            mailbox_post(here, here, l, branch_on_receipts);
            return;
        }
        read_again(container_of(b->waiting.next, struct guest, wait_node));
    }
    mem_free(rs);
}
