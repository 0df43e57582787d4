/* obstacle.c -- client.data that cannot be carried refuses a reload: what
 * becomes of that.
 *
 * Called by reload.c, when the data of a client could not be carried over.
 *
 *   a client that has gone   has an on_close to come, which wants to see that
 *           data: it cannot be left behind, and soon nobody asks for it. So
 *           the new generation waits for that event, with nothing held, for
 *           as long as an old one may drain at most
 *   any other   the reload has failed, and the log says whose data it was.
 *           Data changes, and clients go: from time to time that one is
 *           looked at, and when it stands in the way no more the reload is
 *           tried again, with the files as they are then
 *
 * To look is to encode the data of that one client in the app's turn, and to
 * throw it away: no load, no word in the log. Each look that was in vain, and
 * each reload that somebody else's data refuses then, doubles the time to the
 * next. */
#include "app/app_priv.h"

static void forget_client(struct obstacle *r)
{
    r->is_waiting = false;
    r->is_due = false;
    r->is_set = false;
}

/* While carry.c would still ask for its data. */
static struct client *find_client(const struct app *a)
{
    const struct obstacle *r = &a->obstacle;
    struct client *cl = NULL;

    if (r->is_set && !a->restart.is_down) {
        cl = slots_get(&a->clients, r->slot, r->generation);
    }
    return cl != NULL && cl->has_data && !cl->is_busy && cl->state == a->live
               ? cl
               : NULL;
}

static void note_client(struct obstacle *r, const struct client *cl)
{
    r->is_set = true;
    r->slot = cl->slot;
    r->generation = cl->generation;
}

/* ---- one that has gone ---- */

bool obstacle_may_wait(struct app *a, const struct client *cl)
{
    struct obstacle *r = &a->obstacle;
    uint64_t now = loop_now_ms(a->loop);

    if (cl == NULL || !cl->is_closed) {
        return false;
    }
    if (r->wait_end_ms == 0) {
        r->wait_end_ms = now + a->drain_old_ms;
    }
    if (now >= r->wait_end_ms) {
        return false;
    }
    note_client(r, cl);
    r->is_waiting = true;
    timer_start(a->loop, &r->timer, r->wait_end_ms - now);
    return true;
}

bool obstacle_is_awaited(const struct app *a)
{
    return a->obstacle.is_waiting && find_client(a) != NULL;
}

/* ---- any other ---- */

static void look_later(struct app *a)
{
    struct obstacle *r = &a->obstacle;

    r->delay_ms = r->delay_ms == 0 ? LIMIT_OBSTACLE_MS : 2 * r->delay_ms;
    if (r->delay_ms > LIMIT_MAX_OBSTACLE_MS) {
        r->delay_ms = LIMIT_MAX_OBSTACLE_MS;
    }
    timer_start(a->loop, &r->timer, r->delay_ms);
}

void obstacle_note(struct app *a, const struct client *cl)
{
    forget_client(&a->obstacle);
    a->obstacle.wait_end_ms = 0;
    note_client(&a->obstacle, cl);
    look_later(a);
}

void obstacle_forget(struct app *a)
{
    forget_client(&a->obstacle);
    a->obstacle.wait_end_ms = 0;
    a->obstacle.delay_ms = 0;
    timer_stop(&a->obstacle.timer);
}

static void on_looked(
    struct app *a, struct client *cl, struct state *to, int rc, const char *why)
{
    (void)cl;
    (void)to;
    (void)why;
    a->is_held = false;
    if (rc != 0) {
        look_later(a);
    } else {
        timer_start(a->loop, &a->reload_timer, 0);
    }
}

void obstacle_look(struct app *a)
{
    struct client *cl = find_client(a);

    a->obstacle.is_due = false;
    if (cl == NULL) {
        timer_start(a->loop, &a->reload_timer, 0);
        return;
    }
    a->is_held = true;
    carry_begin(a, cl, a->live, NULL, on_looked);
}

static void on_timer(struct timer *t)
{
    struct app *a = container_of(t, struct app, obstacle.timer);
    struct obstacle *r = &a->obstacle;

    if (r->is_waiting) {
        r->is_waiting = false; /* long enough */
    } else if (a->is_stopping) {
        return;
    } else if (reload_is_under_way(a)) {
        timer_start(a->loop, &r->timer, r->delay_ms); /* it may do */
        return;
    } else {
        r->is_due = true;
    }
    inbox_post(a);
}

void obstacle_init(struct app *a)
{
    timer_init(&a->obstacle.timer, on_timer);
}

void obstacle_fini(struct app *a)
{
    timer_stop(&a->obstacle.timer);
}
