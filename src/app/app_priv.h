/* app_priv.h -- what the files of this room share: app, state, client, event.
 *
 *   app     lives as long as the server hosts it: name, hub, clients, inbox
 *   state   one generation: a vm with the app's code running in it. One is
 *           live; after a reload the old one drains (its awaiting handlers
 *           end) and goes
 *   client  a WebSocket client on the app's side: its member in the hub, its
 *           queue of events. Lua knows it by {slot, generation, id}
 *   event   something to run in Lua; a job of script/task */
#ifndef APP_APP_PRIV_H
#define APP_APP_PRIV_H

#include "app/app.h"
#include "app/manifest.h"
#include "app/snapshot.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/slots.h"
#include "hub/hub.h"
#include "loop/timers.h"
#include "script/sched.h"
#include "script/task.h"
#include <lauxlib.h>
#include <lua.h>

/* The handlers an app may have: globals, or fields of the table that main.lua
 * returns. Looked up once, when main.lua has run. */
#define HANDLER_LIST(X)                                                        \
    X(ON_START, "on_start")                                                    \
    X(ON_CONNECT, "on_connect")                                                \
    X(ON_OPEN, "on_open")                                                      \
    X(ON_MESSAGE, "on_message")                                                \
    X(ON_CLOSE, "on_close")                                                    \
    X(ON_SLOW, "on_slow")                                                      \
    X(ON_DRAIN, "on_drain")                                                    \
    X(ON_STOP, "on_stop")

enum handler {
#define X(name, text) HANDLER_##name,
    HANDLER_LIST(X)
#undef X
        HANDLER_COUNT
};

const char *handler_name(enum handler h);

/* ---- state.c ---- */

struct state {
    struct list node; /* in app->draining */
    struct app *app;
    struct vm *vm;
    uint32_t generation;
    struct snapshot *snapshot; /* ref */
    struct settings settings;
    int handlers[HANDLER_COUNT]; /* registry refs; LUA_NOREF: none */
    /* Registry refs: tables by client id, and what api.c keeps. */
    int client_cache; /* weak values: id -> client userdata */
    int client_data;  /* id -> client.data */
    int client_meta;  /* metatables of our userdata */
    int room_meta;
    int request_meta;
    int timer_meta;
    int limit_meta;
    int modules;        /* require's results */
    struct list timers; /* api_time: struct app_timer */
    struct slots timer_slots;
    uint32_t timer_count;
    struct list locks; /* api_task: held or waited for */
    struct list rules; /* api_room: what rooms.define() said */
    uint32_t rule_count;
    uint32_t calls;   /* queued or under way */
    bool is_loading;  /* hub calls raise, timers do not start */
    bool is_draining; /* an old generation: no new timers, no new tasks */
    struct timer drain_timer;
    uint32_t log_lines; /* of the present second */
    uint64_t log_second;
};

/* A fresh vm with the snapshot's main.lua run in it. 0, or an error with a
 * text in `why`. The state is still loading: state_start() ends that. */
int state_new(struct state **out, struct app *a, struct snapshot *snap,
    uint32_t generation, char *why, size_t why_bytes) NODISCARD;
/* It is live from now on: rules go to the hub, timers start. */
void state_start(struct state *s);
void state_free(struct state *s);
struct state *state_from(lua_State *L);
/* Runs a C function in the vm's protection, now; it must not wait. It gets
 * `arg` as a light userdata. 0, or an error with the text in `why`. */
int state_call(struct state *s, lua_CFunction fn, void *arg, char *why,
    size_t why_bytes) NODISCARD;

/* ---- client.c ---- */

struct client {
    struct member member;
    struct app *app;
    struct state *state; /* whose client_data holds ours */
    uint32_t slot;       /* in app->clients */
    uint32_t generation;
    struct list node;       /* in app->client_list */
    struct list events;     /* waiting, in order */
    struct list ready_node; /* in inbox.ready while it may run */
    struct list pause_node; /* in inbox.paused, while idle */
    uint32_t event_count;
    bool is_busy;             /* a handler of ours is under way */
    bool is_paused;           /* reads no more until there is room */
    bool is_closed;           /* on_closed came: sends say "closed" */
    bool is_dismissed;        /* the app closed it: hears no more messages */
    bool has_data;            /* state->client_data[id] is set */
    uint64_t connected_at_ms; /* wall clock */
    /* These lie in the client's own block. */
    const char *path;
    const char *protocol; /* "" if none */
    const char *user;     /* NULL: none */
    uint32_t user_len;
    char *left_rooms; /* after the end: names, each NUL-ended; or NULL */
    size_t left_rooms_len;
    char ip[CONN_IP_BYTES];
};

extern const struct conn_handler client_handler;

/* A client for a connection about to be upgraded. NULL: no memory. */
struct client *client_new(struct app *a, struct conn *c, uint64_t id,
    const char *path, const char *protocol, const char *user,
    size_t user_len) NODISCARD;
/* After its last event. */
void client_free(struct client *cl);
/* The app closes it. Messages of it that still wait are not heard any more:
 * a handler that shows somebody the door wants to hear nothing from him,
 * whenever it came. False: it has gone already. */
bool client_dismiss(
    struct client *cl, uint16_t code, const char *reason, size_t len);
static inline uint64_t client_id(const struct client *cl)
{
    return cl->member.id;
}

/* ---- inbox.c ---- */

enum event_kind {
    EVENT_OPEN,
    EVENT_MESSAGE,
    EVENT_SLOW,
    EVENT_DRAIN,
    EVENT_CLOSE,
    EVENT_START,
    EVENT_STOP,
    EVENT_CONNECT, /* `extra` is a struct connect (connect.c) */
    EVENT_CALL     /* `extra` is a struct call (call.c): timers, tasks */
};

struct event {
    struct job job;
    struct list node;
    struct app *app;
    struct state *state;   /* where it runs; for calls set at birth */
    struct client *client; /* NULL: the app's own */
    const uint8_t *data;
    size_t len;
    void *extra;
    enum event_kind kind;
    bool owns_data; /* else `data` is lent while the event is young */
    bool is_binary;
    bool has_failed; /* until done() says otherwise */
    uint16_t code;
};

struct inbox {
    struct list ready;  /* clients with events that may run */
    struct list calls;  /* events of no client */
    struct list paused; /* clients that wait for room and for nothing else */
    struct list spare;  /* events to use again */
    uint32_t spare_count;
    uint32_t events; /* queued, all clients */
    size_t bytes;    /* of queued messages */
    unsigned turn;   /* which source is asked first */
};

void inbox_init(struct inbox *in);
void inbox_fini(struct inbox *in);
struct event *inbox_event(struct app *a, enum event_kind kind) NODISCARD;
/* Runs the event now if nothing is before it, else queues it. Takes it. For a
 * client's event, or (client NULL) one of the app's own. */
void inbox_take(struct app *a, struct event *ev);
/* Queues it; where Lua must not start now (from inside Lua, or from the end
 * of another event). */
void inbox_queue(struct app *a, struct event *ev);
/* Posts the app if it has anything to run. */
void inbox_post(struct app *a);
/* Is there room for another message of this client? If not it is noted as
 * paused and resumed later. */
bool inbox_has_room(struct app *a, struct client *cl);
/* Has the app yet to come to events of this client, without waiting for
 * anything but its turn? Then it is noted, and resumed later, too. */
bool inbox_is_behind(struct app *a, struct client *cl);
/* Drops what is queued and has not begun: calls of one state, or (s NULL)
 * everything. Nothing is told. */
void inbox_drop(struct app *a, struct state *s);
/* sched_unit's run: one job. */
bool inbox_run(struct sched_unit *u);

/* ---- connect.c ---- */

int connect_push(struct event *ev, lua_State *T);
void connect_finished(struct event *ev);

/* ---- call.c: a Lua function to be called later, with arguments ---- */

struct call {
    int ref;   /* registry ref of {fn, n, args...} in ev->state */
    bool keep; /* a repeating timer owns the ref */
    void (*on_finished)(void *owner);
    void *owner;
};

/* Queues a call of what lies behind `ref`. `keep`: the ref is borrowed and not
 * given back at the end. `on_finished` may be NULL. */
void call_queue(struct state *s, int ref, bool keep,
    void (*on_finished)(void *owner), void *owner);
/* A registry ref to the function at idx and everything behind it. May raise. */
int call_pack(lua_State *L, int idx);
int call_push(struct event *ev, lua_State *T);
void call_finished(struct event *ev);

/* ---- reload.c ---- */

/* client.data of one client, from the state it is in to the live one. */
void reload_migrate(struct client *cl);
/* Called when a task of a draining state ended. */
void reload_check_drained(struct state *s);

/* ---- app.c ---- */

struct app {
    char *name;
    char *dir;
    struct loop *loop;
    struct net *net;
    struct sched *sched;
    struct sched_unit unit;
    struct hub *hub;
    struct meter *meter; /* ref: bounds all outboxes together */
    struct files *files;
    struct watch *watch; /* NULL: not watched */
    struct state *live;
    struct list draining; /* old states, newest last */
    struct slots clients; /* slot -> struct client * */
    struct list client_list;
    uint32_t client_count;
    uint32_t connecting; /* on_connect under way */
    uint64_t next_id;
    struct inbox inbox;
    struct conn_settings conn_settings; /* of the live state, at one address
                                           for the connections' lives */
    bool is_stopping;
    bool is_closing; /* app_close() is at work: nothing starts any more */
    void (*on_stopped)(void *arg);
    void *stop_arg;
    char *stop_reason;
    struct timer stop_timer;
    struct timer close_timer; /* app_close_clients() */
    uint64_t close_started_ms;
    uint64_t close_spread_ms;
    uint32_t close_total;
    uint32_t close_done;
    uint16_t close_code;
    char close_reason[LIMIT_CLOSE_REASON + 1];
};

/* The on_stop event ended (or its state went). */
void app_stop_finished(struct app *a);
/* Log fields for this app. */
void app_log_fields(
    const struct app *a, const struct state *s, struct log_fields *f);

/* ---- api*.c: what Lua sees. Each api_NOUN() is called once per state, in
 * protection, with the globals on top of the stack, and leaves it so. ---- */

int api_open(lua_State *L); /* everything; a C function body */
void api_client(lua_State *L, struct state *s);
void api_hub(lua_State *L, struct state *s);
void api_room(lua_State *L, struct state *s);
void api_time(lua_State *L, struct state *s);
void api_task(lua_State *L, struct state *s);
void api_module(lua_State *L, struct state *s); /* require, env, app */
void api_log(lua_State *L, struct state *s);
void api_limit(lua_State *L, struct state *s);
void api_crypto(lua_State *L, struct state *s);

/* Pushes the client's userdata (the same one while anybody holds it). May
 * raise (memory). */
void api_push_client(lua_State *L, struct state *s, struct client *cl);
/* The client behind the userdata at idx; NULL if it is gone. Raises unless it
 * is a client. *id, if not NULL, gets its number even then. */
struct client *api_get_client(lua_State *L, int idx, uint64_t *id);
/* True with *id set if the value is a client userdata. */
bool api_is_client(lua_State *L, int idx, uint64_t *id);
/* The request userdata of a flattened request (connect.c). */
void api_push_request(
    lua_State *L, struct state *s, const uint8_t *p, size_t n);
void api_request(lua_State *L, struct state *s);
/* Pushes nil, word (of an ERR_*), and detail if it is not NULL; returns how
 * many values. */
int api_fail(lua_State *L, int err, const char *detail);
/* Raises "bad argument 'NAME' (WANT expected, got TYPE)". */
int api_bad_argument(lua_State *L, int idx, const char *name, const char *want);
/* A string of 1 to `max` bytes; raises otherwise. */
const char *api_check_string(
    lua_State *L, int idx, const char *name, size_t max, size_t *len);
/* nil/none, or a table with none but the known keys; raises otherwise. */
void api_check_options(lua_State *L, int idx, const char *function,
    const char *const *known, size_t n);
/* The message at idx: a string, or a table that becomes its JSON text (in
 * place). *err: 0, ERR_TOO_BIG or ERR_UTF8 with *detail. Raises on other
 * types. */
const void *api_check_message(lua_State *L, int idx, bool is_binary,
    size_t *len, int *err, const char **detail);
/* What send and broadcast have in common: binary and key of the table or nil
 * at idx, in one walk that raises on a key that is not in `known`. Pushes one
 * value: what holds the text of the key, whatever becomes of the table. */
void api_message_options(lua_State *L, int idx, const char *function,
    const char *const *known, size_t n, struct hub_message *msg);
/* code, reason at idx and idx + 1, both optional. */
void api_check_close(lua_State *L, int idx, uint16_t *code, const char **reason,
    size_t *reason_len);
/* Ends every broadcast: message and options at these indexes (settop is at
 * least opts), `to` with rooms and users set. Pushes queued, dropped. */
int api_broadcast(lua_State *L, int message, int opts,
    const struct hub_message *parsed, struct hub_target *to);
/* Pushes a userdata with the ids of a room's members (NULL: everybody). */
uint64_t *api_snapshot(
    lua_State *L, struct hub *h, const struct room *r, size_t *n);
/* Pushes an iterator over the members as they are now. */
int api_push_iterator(lua_State *L, const struct room *r);
/* Seconds or "5m" at idx -> ms; raises otherwise. */
uint64_t api_check_ms(lua_State *L, int idx, const char *name);
/* Raises "FUNCTION cannot be called while the app loads" if it is loading. */
void api_refuse_loading(lua_State *L, const char *function);
/* Queues the function at idx, with everything behind it as its arguments, as a
 * task of its own. 0 or ERR_QUOTA. */
int api_spawn(lua_State *L, struct state *s, int idx,
    void (*on_finished)(void *owner), void *owner);
/* Stops timers; for state_free() and the switch. */
void api_time_start(struct state *s);
void api_time_stop(struct state *s);
void api_task_drop(struct state *s);
void api_room_apply_rules(struct state *s);
void api_room_drop_rules(struct state *s);

#endif
