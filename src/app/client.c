/* client.c -- a WebSocket client on the app's side: what its connection tells
 * becomes events.
 *
 * A client is born when its connection is upgraded and freed when its on_close
 * has ended; in between, its id finds it (app->clients). It leaves the hub the
 * moment its connection says so: nobody can address it any more, while its
 * last events are still on their way to Lua (I3). */
#include "app/app_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include <string.h>
#include <time.h>

static uint64_t wall_clock_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* A client with its texts in its own block, nothing else set. */
static struct client *alloc_client(
    const struct client_identity *who, const char *ip)
{
    size_t path_len = strlen(who->path) + 1;
    size_t protocol_len = strlen(who->protocol) + 1;
    size_t ip_len = strlen(ip) + 1;
    size_t total = path_len + protocol_len + ip_len + who->user_len;

    if (total > UINT16_MAX) {
        return NULL; /* no request head is that long (I6) */
    }
    struct client *cl = quota_alloc(sizeof(*cl) + total);
    if (cl == NULL) {
        return NULL;
    }
    memset(cl, 0, sizeof(*cl));
    cl->protocol_at = (uint16_t)path_len;
    cl->ip_at = (uint16_t)(path_len + protocol_len);
    cl->user_at = (uint16_t)(cl->ip_at + ip_len);
    cl->user_len = (uint16_t)who->user_len;
    memcpy(cl->strings, who->path, path_len);
    memcpy(cl->strings + cl->protocol_at, who->protocol, protocol_len);
    memcpy(cl->strings + cl->ip_at, ip, ip_len);
    if (who->user_len != 0) {
        memcpy(cl->strings + cl->user_at, who->user, who->user_len);
    }
    return cl;
}

struct client *client_new(struct app *a, const struct client_identity *who)
{
    struct client *cl = alloc_client(who, who->ip);
    if (cl == NULL) {
        return NULL;
    }
    if (who->conn.loop != loop_index(a->loop)) {
        cl->far = far_new(who->conn);
        if (cl->far == NULL) {
            quota_free(cl);
            return NULL;
        }
    }
    cl->app = a;
    cl->state = a->live;
    cl->member.id = who->id;
    cl->connected_at_ms = wall_clock_ms();
    list_init(&cl->events);
    list_init(&cl->ready_node);
    list_init(&cl->pause_node);
    list_push_tail(&a->client_list, &cl->node);
    cl->slot = slots_add(&a->clients, cl, &cl->generation);
    a->client_count++;
    return cl;
}

void client_free(struct client *cl)
{
    struct app *a = cl->app;

    ASSERT(!cl->is_busy && list_is_empty(&cl->events), "I3");
    hub_leave(&cl->member);
    if (cl->has_data) {
        state_forget_data(cl->state, client_id(cl));
        cl->has_data = false;
    }
    if (cl->far != NULL && cl->far->is_bound) {
        cl->far->is_over = true;
        return;
    }
    far_free(cl->far);
    list_remove(&cl->ready_node);
    list_remove(&cl->pause_node);
    list_remove(&cl->node);
    slots_retire(&a->clients, cl->slot);
    a->client_count--;
    quota_free(cl->left_rooms);
    quota_free(cl);
}

bool client_dismiss(
    struct client *cl, uint16_t code, const char *reason, size_t len)
{
    if (cl->is_closed) {
        return false;
    }
    cl->is_dismissed = true;
    client_shut(cl, code, reason, len);
    return true;
}

void client_shut(
    struct client *cl, uint16_t code, const char *reason, size_t len)
{
    if (cl->far != NULL) {
        far_shut(cl, code, reason, len);
        return;
    }
    struct conn *c = net_find(cl->app->net, cl->member.conn);
    if (c != NULL) {
        conn_close(c, code, reason, len);
    }
}

/* ---- what the connection tells ---- */

static bool has_handler(const struct client *cl, enum handler h)
{
    return cl->app->live->handlers[h] != LUA_NOREF;
}

static bool can_take(void *user)
{
    struct client *cl = user;

    return inbox_has_room(cl->app, cl);
}

static bool is_behind(void *user)
{
    struct client *cl = user;

    return inbox_is_behind(cl->app, cl);
}

static void on_message(
    void *user, const uint8_t *data, size_t len, bool is_binary)
{
    struct client *cl = user;

    if (!has_handler(cl, HANDLER_ON_MESSAGE)) {
        return;
    }
    struct event *ev = event_new(cl->app, EVENT_MESSAGE);
    ev->client = cl;
    ev->data = data;
    ev->len = len;
    ev->is_binary = is_binary;
    inbox_take(cl->app, ev);
}

/* client:rooms() still answers in on_close. */
static void remember_rooms(struct client *cl)
{
    size_t total = 0;

    for (uint32_t i = 1; i < cl->member.room_count; i++) {
        size_t len;
        (void)room_name(cl->member.rooms[i], &len);
        total += sizeof(uint32_t) + len;
    }
    if (total == 0) {
        return;
    }
    cl->left_rooms = quota_alloc(sizeof(*cl->left_rooms) + total);
    if (cl->left_rooms == NULL) {
        return;
    }
    cl->left_rooms->len = total;
    char *p = cl->left_rooms->names;
    for (uint32_t i = 1; i < cl->member.room_count; i++) {
        size_t len;
        const char *name = room_name(cl->member.rooms[i], &len);
        uint32_t len32 = (uint32_t)len;
        memcpy(p, &len32, sizeof(len32));
        memcpy(p + sizeof(len32), name, len);
        p += sizeof(len32) + len;
    }
}

void client_opened(struct client *cl)
{
    if (!has_handler(cl, HANDLER_ON_OPEN)) {
        return;
    }
    struct event *ev = event_new(cl->app, EVENT_OPEN);
    ev->client = cl;
    /* Queued, not taken: this may be the end of another event. */
    inbox_queue(cl->app, ev);
}

void client_ended(
    struct client *cl, uint16_t code, const char *reason, size_t reason_len)
{
    if (cl->is_closed) {
        return;
    }
    struct event *ev = event_new(cl->app, EVENT_CLOSE);

    cl->is_closed = true;
    remember_rooms(cl);
    hub_leave(&cl->member);
    ev->client = cl;
    ev->code = code;
    ev->data = (const uint8_t *)reason;
    ev->len = reason_len;
    if (cl->far != NULL && cl->far->is_opening) {
        /* Whether there was an on_open at all is not known yet. */
        if (!event_own_data(ev)) {
            ev->len = 0; /* the reason is lost, not the event */
        }
        cl->far->close_event = ev;
        return;
    }
    /* Queued, not taken: this may come from inside Lua (client:close()) or
     * from the midst of a flush. */
    inbox_queue(cl->app, ev);
    if (cl->app->restart.is_down) {
        restart_client_closed(cl);
    }
}

static void on_closed(
    void *user, uint16_t code, const char *reason, size_t reason_len)
{
    client_ended(user, code, reason, reason_len);
}

void client_level(struct client *cl, bool is_slow)
{
    enum handler handler = is_slow ? HANDLER_ON_SLOW : HANDLER_ON_DRAIN;

    /* Each crossing took real traffic, so these are few; a client whose
     * handler never ends must not pile them up all the same (I2). */
    if (!has_handler(cl, handler) ||
        cl->event_count >= 2 * cl->app->live->settings.inbox.client_events) {
        return;
    }
    struct event *ev = event_new(cl->app, is_slow ? EVENT_SLOW : EVENT_DRAIN);
    ev->client = cl;
    inbox_queue(cl->app, ev);
}

static void on_slow(void *user)
{
    client_level(user, true);
}

static void on_drain(void *user)
{
    client_level(user, false);
}

const struct conn_handler client_handler = {
    .can_take = can_take,
    .is_behind = is_behind,
    .on_message = on_message,
    .on_closed = on_closed,
    .on_slow = on_slow,
    .on_drain = on_drain,
};
