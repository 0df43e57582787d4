/* far.c -- an app's clients that live on other loops, as the home loop has
 * them.
 *
 * To the rest of the app such a client is a client like any other: it is in
 * the hub, in client_list, its events go through the inbox. What is different
 * is here: how it is let in, how it is closed, and that its messages are
 * receipted, since the loop it lives on counts what it may still send.
 *
 * Opening has two halves. The verdict makes the client and reserves its places;
 * the invite goes to the connection, which may have died meanwhile. Only when
 * the invite is back does on_open run, or the client vanishes without a word
 * (I3). If the app closes it in between, its on_close waits for the same news.
 *
 * A client is closed at home at once and over there a moment later; what it
 * said in that moment is not heard. It is freed when its on_close has ended and
 * its guest has sent its own, last letter.
 *
 * Receipts are written once a turn, one letter for each loop (LOOP_END, behind
 * whatever the handlers sent): a client's Close is answered after the messages
 * before it. Laws: I1, I2, I3. */
#include "app/branch_priv.h"
#include "base/late.h"
#include "base/mem.h"
#include <string.h>

static void write_receipts(struct loop_hook *h);

void far_init_app(struct app *a)
{
    a->loop_count = a->net->peer_count != 0 ? a->net->peer_count : 1;
    a->branches = mem_zalloc(a->loop_count * sizeof(struct branch *));
    a->far_sides = mem_zalloc(a->loop_count * sizeof(*a->far_sides));
    for (uint32_t i = 0; i < a->loop_count; i++) {
        list_init(&a->far_sides[i].receipts);
    }
    list_init(&a->receipt_hook.node);
}

void far_fini_app(struct app *a)
{
    loop_hook_remove(&a->receipt_hook);
    for (uint32_t i = 0; i < a->loop_count; i++) {
        struct list *node;
        while ((node = list_pop_head(&a->far_sides[i].receipts)) != NULL) {
            quota_free(container_of(node, struct far, node));
        }
    }
    mem_free(a->far_sides);
    branch_free_all(a);
}

struct far *far_new(struct conn_id conn)
{
    struct far *f = quota_alloc(sizeof(*f));

    if (f != NULL) {
        memset(f, 0, sizeof(*f));
        list_init(&f->node);
        f->conn = conn;
    }
    return f;
}

void far_free(struct far *f)
{
    if (f != NULL && !list_is_empty(&f->node)) {
        f->is_orphan = true;
        return;
    }
    quota_free(f);
}

static void post_to(struct app *a, uint32_t loop, struct letter *l,
    void (*open)(struct letter *l, struct loop *here))
{
    mailbox_post(a->loop, a->net->peers[loop]->loop, l, open);
}

/* ---- coming in ---- */

void far_on_knock(struct letter *l, struct loop *here)
{
    struct knock *k = container_of(l, struct knock, letter);
    struct http_request r = *http_parser_request(k->parser);

    (void)here;
    r.path += k->path_off;
    connect_begin(k->app, k->conn, k->ip, &r);
    http_parser_free(k->parser);
    quota_free(k);
}

void far_refuse(
    struct app *a, struct conn_id conn, int status, const char *text)
{
    size_t len = strlen(text) + 1;
    struct refusal *r = mem_alloc(sizeof(*r) + len);

    r->app = a;
    r->net = a->net->peers[conn.loop];
    r->conn = conn;
    r->status = status;
    memcpy(r->text, text, len);
    post_to(a, conn.loop, &r->letter, branch_on_refusal);
}

int far_invite(struct app *a, struct client *cl,
    const struct deflate_params *deflate, const char *head, size_t len)
{
    struct conn_id conn = cl->member.conn;
    struct invite *in = quota_alloc(sizeof(*in) + len);

    if (in == NULL) {
        return ERR_NOMEM;
    }
    in->app = a;
    in->net = a->net->peers[conn.loop];
    in->client = cl;
    in->conn = conn;
    in->settings = a->conn_settings;
    in->inbox = a->live->settings.inbox;
    in->has_deflate = deflate != NULL;
    if (deflate != NULL) {
        in->deflate = *deflate;
    }
    in->len = len;
    memcpy(in->head, head, len);
    cl->far->is_bound = true;
    cl->far->is_opening = true;
    a->far_sides[conn.loop].has_branch = true;
    post_to(a, conn.loop, &in->letter, branch_on_invite);
    return 0;
}

/* Nobody was there any more: it never was a client. It goes when it is the
 * app's turn, for a script that is stopped may have found it in the hub, and
 * a carry may be about it (I10). */
static void vanish(struct client *cl)
{
    struct event *ev = cl->far->close_event;

    cl->far->is_bound = false;
    cl->far->is_opening = false;
    cl->far->close_event = NULL;
    if (ev == NULL) {
        ev = event_new(cl->app, EVENT_CLOSE);
        ev->client = cl;
        cl->is_closed = true;
        hub_leave(&cl->member);
    }
    ev->is_unheard = true;
    inbox_queue(cl->app, ev);
    if (cl->app->restart.is_down) {
        restart_client_closed(cl);
    }
}

void far_on_invite_back(struct letter *l, struct loop *here)
{
    struct invite *in = container_of(l, struct invite, letter);
    struct client *cl = in->client;
    struct app *a = in->app;
    bool is_open = in->is_open;

    (void)here;
    quota_free(in);
    if (!is_open) {
        vanish(cl);
        return;
    }
    struct event *close_event = cl->far->close_event;
    cl->far->is_opening = false;
    cl->far->close_event = NULL;
    client_opened(cl);
    if (close_event != NULL) {
        inbox_queue(a, close_event);
    }
    if (close_event != NULL && a->restart.is_down) {
        restart_client_closed(cl);
    }
}

/* ---- what it says ---- */

void far_on_errand(struct letter *l, struct loop *here)
{
    struct errand *e = container_of(l, struct errand, letter);
    struct client *cl = e->client;
    struct app *a = cl->app;

    (void)here;
    if (cl->is_closed || a->live->handlers[HANDLER_ON_MESSAGE] == LUA_NOREF) {
        far_taken(cl, e->len);
        late_free(e->taken, e->len, NULL);
        quota_free(e);
        return;
    }
    struct event *ev = event_new(a, EVENT_MESSAGE);
    ev->client = cl;
    ev->len = e->len;
    ev->is_binary = e->is_binary;
    ev->owns_data = true;
    if (e->taken != NULL) {
        ev->data = e->taken;
        quota_free(e);
    } else {
        ev->data = e->bytes;
        ev->block = e;
    }
    /* Queued, not taken: letters are opened in a row, and a handler in between
     * would hold up the others and jump the turns that clients take. */
    inbox_queue(a, ev);
}

void far_on_level(struct letter *l, struct loop *here)
{
    struct level *v = container_of(l, struct level, letter);
    struct client *cl = v->client;

    (void)here;
    cl->far->queue = v->queue;
    if (!cl->is_closed) {
        client_level(cl, v->is_slow);
    }
    mem_free(v);
}

void far_on_farewell(struct letter *l, struct loop *here)
{
    struct guest *g = container_of(l, struct guest, farewell);
    struct client *cl = g->client;

    (void)here;
    cl->far->is_bound = false;
    if (cl->far->is_over) {
        client_free(cl);
    } else {
        client_ended(cl, g->code, g->reason, g->reason_len);
    }
    quota_free(g);
}

/* ---- what it is told ---- */

void far_shut(struct client *cl, uint16_t code, const char *reason, size_t len)
{
    struct app *a = cl->app;

    if (cl->is_closed) {
        return;
    }
    struct shut *s = mem_alloc(sizeof(*s) + len);
    s->conn = cl->member.conn;
    s->net = a->net->peers[s->conn.loop];
    s->code = code;
    s->len = (uint16_t)len;
    if (len > 0) {
        memcpy(s->reason, reason, len);
    }
    post_to(a, s->conn.loop, &s->letter, branch_on_shut);
    client_ended(cl, code, reason, len);
}

void far_settings_changed(struct app *a)
{
    for (uint32_t i = 0; i < a->loop_count; i++) {
        if (!a->far_sides[i].has_branch) {
            continue;
        }
        struct settings_letter *s = mem_alloc(sizeof(*s));
        s->app = a;
        s->settings = a->conn_settings;
        s->inbox = a->live->settings.inbox;
        post_to(a, i, &s->letter, branch_on_settings);
    }
}

/* ---- receipts ---- */

static void want_receipt(struct client *cl)
{
    struct app *a = cl->app;
    struct far *f = cl->far;
    struct far_side *side = &a->far_sides[f->conn.loop];

    if (!list_is_empty(&f->node)) {
        return;
    }
    list_push_tail(&side->receipts, &f->node);
    side->count++;
    if (list_is_empty(&a->receipt_hook.node)) {
        /* Handlers run before this turn's end, never in it. */
        loop_hook_add(a->loop, LOOP_END, &a->receipt_hook, write_receipts);
    }
}

void far_taken(struct client *cl, size_t len)
{
    cl->far->events++;
    cl->far->bytes += len;
    want_receipt(cl);
}

void far_awaits(struct client *cl, bool is_waiting)
{
    if (cl->far->is_waiting != is_waiting) {
        cl->far->is_waiting = is_waiting;
        want_receipt(cl);
    }
}

static void write_for(struct app *a, uint32_t loop, struct far_side *side)
{
    size_t size = side->count * sizeof(struct receipt);
    struct receipts *rs = mem_alloc(sizeof(*rs) + size);
    struct list *node;

    rs->app = a;
    rs->count = 0;
    while ((node = list_pop_head(&side->receipts)) != NULL) {
        struct far *f = container_of(node, struct far, node);
        rs->of[rs->count++] = (struct receipt){
            .conn = f->conn,
            .events = f->events,
            .bytes = f->bytes,
            .is_waiting = f->is_waiting,
        };
        f->events = 0;
        f->bytes = 0;
        if (f->is_orphan) {
            quota_free(f);
        }
    }
    side->count = 0;
    post_to(a, loop, &rs->letter, branch_on_receipts);
}

static void write_receipts(struct loop_hook *h)
{
    struct app *a = container_of(h, struct app, receipt_hook);

    loop_hook_remove(h);
    for (uint32_t i = 0; i < a->loop_count; i++) {
        if (a->far_sides[i].count > 0) {
            write_for(a, i, &a->far_sides[i]);
        }
    }
}
