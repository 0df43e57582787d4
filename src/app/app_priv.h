/* app_priv.h -- what the files of this room share: app, state, client. (Events
 * are in inbox_priv.h, what the bindings share in api_priv.h.)
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
#include "app/inbox_priv.h"
#include "app/manifest.h"
#include "app/snapshot.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/slots.h"
#include "base/word.h"
#include "hub/hub.h"
#include "loop/timers.h"
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
    X(ON_STOP, "on_stop")                                                      \
    X(ON_ERROR, "on_error")                                                    \
    X(ON_REQUEST, "on_request")

enum handler {
#define X(name, text) HANDLER_##name,
    HANDLER_LIST(X)
#undef X
        HANDLER_COUNT
};

const char *handler_name(enum handler h);

/* ---- state.c ---- */

/* The metatable of one kind of userdata that is ours (api.c). */
struct api_meta {
    int ref;           /* of the registry; 0: not needed yet */
    const void *table; /* where it is: the registry keeps it there */
};

struct state {
    struct list node; /* in app->draining */
    struct app *app;
    struct vm *vm;
    uint32_t generation;
    struct snapshot *snapshot; /* ref */
    struct settings settings;
    int handlers[HANDLER_COUNT]; /* registry refs; LUA_NOREF: none */
    /* Registry refs: tables by client id, and what api.c keeps. */
    int client_cache;            /* weak values: id -> client userdata */
    int client_data;             /* id -> client.data */
    struct api_meta client_meta; /* metatables of our userdata */
    struct api_meta room_meta;
    struct api_meta request_meta;
    struct api_meta timer_meta;
    struct api_meta limit_meta;
    struct list timers;       /* api_time: struct app_timer ... */
    struct list noted_timers; /* ... that are yet to start ... */
    struct timer starter;     /* ... which this one does */
    struct slots timer_slots;
    uint32_t timer_count;
    bool timers_are_over; /* none of them begins anything any more */
    struct list queued;   /* call.c: struct call, of those that may not have
                             begun */
    struct map locks;     /* api_task: name -> held or waited for */
    struct list rules;    /* api_room: what rooms.define() said */
    uint32_t rule_count;
    uint32_t calls;         /* queued or under way */
    uint32_t failed_begins; /* events in a row that found no memory to begin */
    struct list chores;     /* state.c: to be done when no job is stopped */
    bool is_loading;        /* hub calls raise, timers do not start */
    bool is_draining;       /* an old generation: no new timers, no new rules */
    bool is_ending;         /* and its time is over: nothing of it goes on */
    uint32_t ending_slot;   /* the next client that may have to move for that */
    struct timer drain_timer;
};

/* Without a vm, and loading: state_start() ends that. load.c does what is in
 * between. */
struct state *state_new(
    struct app *a, struct snapshot *snap, uint32_t generation) NODISCARD;
/* As its settings want it. 0 or ERR_NOMEM. */
int state_make_vm(struct state *s) NODISCARD;
/* C functions for its vm, in this order: opens the sandbox and the bindings;
 * runs main.lua and finds the handlers. */
int state_prepare(lua_State *L);
int state_run_main(lua_State *L);
/* It is live from now on: rules go to the hub, timers start. */
void state_start(struct state *s);
void state_free(struct state *s);
/* Does some of that, for one in which nothing goes on any more: of what an app
 * can have thousands of. False: what is left is no work. */
bool state_drop_some(struct state *s);
struct state *state_from(lua_State *L);

/* What the loop does to the Lua state from outside of any job: at once, or
 * while a job of it is stopped, when it is not any more (I10). */
/* Removes client.data of that id, which is set. */
void state_forget_data(struct state *s, uint64_t id);
/* Gives back a registry ref. */
void state_unref(struct state *s, int ref);
/* A job of it is stopped no more. */
void state_do_chores(struct state *s);
/* Its vm has died: drops it, with all that went on in it. The state stays for
 * its settings and its snapshot. */
void state_bury(struct state *s);
/* Takes the frames of our own off the end of a traceback; of one that has no
 * others, nothing stays: to somebody who forgot a bracket it says nothing. */
void state_trim_traceback(char *text);

/* ---- service.c: what the server itself does in a state's vm ---- */

struct service {
    struct job job;
    struct state *state;
    lua_CFunction fn;
    void *arg;
    char *why;
    size_t why_bytes;
    int status;
};

#define SERVICE_STOPPED 1 /* go on with service_go_on(), at the next turn */

/* Runs a C function in the vm's protection; it must not wait. It gets `arg` as
 * a light userdata. 0, SERVICE_STOPPED, or an error with the text in `why`.
 * Everything named stays until it has ended. */
int service_begin(struct service *v, struct state *s, lua_CFunction fn,
    void *arg, char *why, size_t why_bytes) NODISCARD;
int service_go_on(struct service *v) NODISCARD;

/* ---- load.c ---- */

struct load;
/* `fresh` is the callee's; NULL: it failed with `rc`, and `why` says how. */
typedef void (*load_ended_fn)(
    struct app *a, struct state *fresh, int rc, const char *why);

/* A state of the snapshot's files: app->load until it has ended. Refs it. */
void load_begin(struct app *a, struct snapshot *snap, uint32_t generation,
    load_ended_fn ended);
/* As far as this slice goes: SERVICE_STOPPED, or 0 or an error if a step has
 * come to its end. */
int load_go_on(struct app *a);
/* To its end, without regard for anybody; what the last step said. */
int load_settle(struct app *a);
void load_drop(struct app *a);

/* ---- carry.c ---- */

struct carry;
/* `cl`: the one whose data it was about; of all, the one whose data is such
 * that it cannot be carried, or NULL. */
typedef void (*carry_ended_fn)(struct app *a, struct client *cl,
    struct state *to, int rc, const char *why);

/* client.data of one client, or (NULL) of all that are at rest. `to` NULL:
 * nowhere, only to see whether it could be. Until it has ended it is
 * app->carry, and nothing else of the app runs: so no client goes either. */
void carry_begin(struct app *a, struct client *only, struct state *from,
    struct state *to, carry_ended_fn ended);
/* As load_go_on(). */
int carry_go_on(struct app *a);
/* When its states have gone. */
void carry_drop(struct app *a);

/* ---- client.c ---- */

struct client {
    struct member member;
    struct app *app;
    struct state *state; /* whose client_data holds ours */
    uint32_t slot;       /* in app->clients */
    uint32_t generation;
    struct list node;       /* in app->client_list */
    struct list events;     /* waiting, in order */
    struct list ready_node; /* in inbox.ready while it may run; in app->movers
                               while it is_moving; or in restart.gone */
    struct list pause_node; /* in inbox.paused, while idle */
    uint32_t event_count;
    uint32_t handlers;        /* of ours, under way */
    bool is_busy;             /* there are some */
    bool is_exclusive;        /* and it is one that no other may run beside */
    bool is_paused;           /* reads no more until there is room */
    bool is_closed;           /* on_closed came: sends say "closed" */
    bool is_dismissed;        /* the app closed it: hears no more messages */
    bool has_data;            /* state->client_data[id] is set */
    bool is_restored;         /* its app's state died; data is empty */
    bool is_moving;           /* its data is, to the live state: until then
                                 nothing of it runs */
    struct far *far;          /* NULL: it lives on the app's own loop */
    uint64_t connected_at_ms; /* wall clock */
    struct left_rooms *left_rooms; /* after the end; NULL: none */
    /* Path, protocol ("" if none), ip and user, each NUL-ended; where the
     * later ones begin. An idle client should be small. */
    uint16_t protocol_at;
    uint16_t ip_at;
    uint16_t user_at;
    uint16_t user_len; /* 0: no user */
    char strings[];
};

/* The rooms that a client was in: {uint32 length, name}... */
struct left_rooms {
    size_t len;
    char names[];
};

extern const struct conn_handler client_handler;

struct client_identity {
    uint64_t id;
    struct conn_id conn;
    const char *ip;
    const char *path;
    const char *protocol; /* "" if none */
    const char *user;     /* user_len 0: none */
    size_t user_len;
};

/* A client for a connection about to be upgraded. NULL: no memory. */
struct client *client_new(
    struct app *a, const struct client_identity *who) NODISCARD;
/* After its last event. One that lives elsewhere goes when it is known that
 * nobody there writes about it any more. */
void client_free(struct client *cl);
/* Its connection is open: on_open is due. */
void client_opened(struct client *cl);
/* Its connection has told its end: on_close is due, nothing else. */
void client_ended(
    struct client *cl, uint16_t code, const char *reason, size_t len);
/* Its outbox went over its high mark, or below its low one. */
void client_level(struct client *cl, bool is_slow);
/* Closes it, wherever it lives; harmless if it is closed. */
void client_shut(
    struct client *cl, uint16_t code, const char *reason, size_t len);
/* The app closes it. Messages of it that still wait are not heard any more:
 * a handler that shows somebody the door wants to hear nothing from him,
 * whenever it came. False: it has gone already. */
bool client_dismiss(
    struct client *cl, uint16_t code, const char *reason, size_t len);
static inline uint64_t client_id(const struct client *cl)
{
    return cl->member.id;
}

/* ---- reload.c ---- */

/* From the state it is in to the live one, with client.data: at once, or if
 * there is any as soon as it is the app's turn. */
void reload_move(struct client *cl);
/* Is a generation being made, or about to take over? reload_note_end() tells
 * when that has ended. */
bool reload_is_under_way(const struct app *a);
/* Is there anything of that, or clients' data, to go on with? */
bool reload_has_work(const struct app *a);
/* Does so, until the end of a step. False: that was stopped. */
bool reload_go_on(struct app *a);
/* The same from outside of the app's turn, for as long as a slice; unless a
 * job of it is stopped. */
void reload_go_on_now(struct app *a);
/* A load has ended, one way or the other; for the next one. */
void reload_note_end(struct app *a, int rc);
/* Called when a task of a draining state ended. */
void reload_check_drained(struct state *s);

/* ---- obstacle.c ---- */

/* Whose client.data refuses a reload. */
struct obstacle {
    struct timer timer;
    uint32_t slot; /* of the client, if is_set */
    uint32_t generation;
    bool is_set;
    bool is_waiting; /* the new generation is, for that client's on_close */
    bool is_due;     /* it is time to look whether it still does */
    uint64_t wait_end_ms; /* 0: nobody has been waited for */
    uint32_t delay_ms;    /* between two looks */
};

void obstacle_init(struct app *a);
void obstacle_fini(struct app *a);
/* The data of `cl` (NULL: of nobody) cannot be carried. True: it has gone, and
 * a->fresh may wait for its on_close: while obstacle_is_awaited(). */
bool obstacle_may_wait(struct app *a, const struct client *cl) NODISCARD;
bool obstacle_is_awaited(const struct app *a);
/* A reload has failed for that: it is tried again some day. */
void obstacle_note(struct app *a, const struct client *cl);
/* There is nothing to try again. */
void obstacle_forget(struct app *a);
/* It is the app's turn, and a look is due. */
void obstacle_look(struct app *a);

/* ---- connect.c ---- */

/* A request to become a client, wherever its connection is: answered now or
 * later, by id. `request` is lent. */
void connect_begin(struct app *a, struct conn_id conn, const char *ip,
    const struct http_request *request);

/* ---- restart.c ---- */

/* How an app fares whose vm has died. */
struct restart {
    struct timer timer;
    struct timer sweep_timer;
    struct list gone; /* clients that went while nothing runs */
    bool is_down;     /* the live state has no vm; nothing runs */
    bool is_parked;   /* and nobody may come in: it died too often */
    uint32_t slot;    /* the next client to be let go, at a stop */
    uint32_t deaths;
    uint64_t first_ms; /* of those deaths */
    uint32_t delay_ms; /* before the next try */
};

void restart_init(struct app *a);
void restart_fini(struct app *a);
/* A client has gone while its app is down; or its last handler has ended. */
void restart_client_closed(struct client *cl);
/* The vm of `s` has died, of what vm_end() says; `ev` was running. From
 * anywhere on the loop's stack: what follows comes from a timer. */
void restart_after_death(struct state *s, const struct event *ev);
/* A fresh state takes the place of the one that died: before it is the live
 * one; for each client; and when all of them know, if it is the same code. */
void restart_begin(struct app *a);
/* Before that: does some of what has to be done first. True: that was all. */
bool restart_is_ready(struct app *a) NODISCARD;
void restart_tell_client(struct app *a, struct client *cl);
void restart_report(struct app *a);
/* The app stops: if it is down, that is for good. */
void restart_stop(struct app *a);
/* Somebody else's load came to nothing: it tries by itself. */
void restart_go_on(struct app *a);

/* ---- lines.c ---- */

/* So many a second in the log. */
struct lines {
    struct app *app;
    const char *about; /* for the log: "of its own" */
    uint32_t per_s;
    uint32_t count; /* since then */
    uint64_t since_ms;
    uint32_t dropped; /* not told of yet */
    struct timer timer;
};

void lines_init(
    struct lines *l, struct app *a, uint32_t per_s, const char *about);
void lines_fini(struct lines *l);
/* May one more be written? If not it counts as dropped. In a section, or on
 * the loop's stack. */
bool lines_take(struct lines *l);

/* ---- app.c ---- */

struct branch;
struct far_side;

/* What is bounded by a setting of its own, and told in one line. */
enum app_limit { APP_TASKS, APP_TIMERS, APP_REQUESTS, APP_LIMITS };

struct app {
    char *name;
    char *dir;
    struct loop *loop;
    struct net *net;
    struct sched *sched;
    struct sched_unit unit;
    /* Clients on other loops; see branch_priv.h. */
    uint32_t loop_count;
    struct branch **branches;   /* [i] is loop i's alone; NULL: none */
    struct far_side *far_sides; /* by loop index */
    struct loop_hook receipt_hook;
    uint32_t requests;          /* on_request under way or queued */
    size_t request_bytes;       /* of their bodies */
    struct word takes_requests; /* the live state has on_request; any thread
                                   reads it */
    struct word placement;      /* enum placement; any thread reads it */
    const struct ceilings *ceilings;
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
    /* A job of it is stopped: until that is over nothing else runs in any
     * state of the app. NULL: none. */
    struct state *stopped;
    /* The next generation; see reload.c. */
    struct load *load;      /* is being made; NULL: none is */
    struct state *fresh;    /* has been, and waits to take over */
    struct carry *carry;    /* client.data is on its way */
    struct state *retiring; /* has been taken over from; not all clients know.
                               Without a vm: it died */
    uint32_t retiring_slot; /* the next of them */
    struct list movers;     /* clients whose data is to be carried over */
    bool is_held;           /* by a carry or a switch: nothing else runs */
    int load_rc;            /* of the last load that has ended */
    bool wants_reload;      /* when the one under way has ended */
    struct timer reload_timer;
    struct opening *opening; /* until the first generation is there */
    struct obstacle obstacle;
    struct restart restart;
    uint32_t error_events; /* on_error, queued or under way */
    uint64_t rest_logged_ms;
    struct lines own_lines;
    struct lines failure_lines;
    uint64_t full_logged_ms; /* the inbox */
    uint64_t rooms_logged_ms;
    uint64_t outbox_logged_ms;
    uint64_t limit_logged_ms[APP_LIMITS];
    uint64_t share_logged_ms;
    uint64_t refused_seen; /* of hub_refused() */
    _Atomic uint64_t kills;
    struct conn_settings conn_settings; /* of the live state, at one address
                                           for the connections' lives */
    uint32_t drain_old_ms;              /* LIMIT_DRAIN_OLD_MS, but for tests */
    bool is_stopping;
    bool is_closing; /* app_close() is at work: nothing starts any more */
    void (*on_stopped)(void *arg);
    void *stop_arg;
    char *stop_reason;
    struct timer stop_timer;
    struct timer close_timer; /* app_close_clients() */
    uint32_t close_slot;      /* the next of them */
    uint64_t close_started_ms;
    uint64_t close_spread_ms;
    uint32_t close_total;
    uint32_t close_done;
    uint16_t close_code;
    char close_reason[LIMIT_CLOSE_REASON + 1];
};

/* The on_stop event ended (or its state went): on_stopped is called soon, with
 * nothing of the app on the stack. */
void app_stop_finished(struct app *a);
/* Log fields for this app. */
void app_log_fields(
    const struct app *a, const struct state *s, struct log_fields *f);
/* A handler took longer than `answer`: a line in the log, and the count. */
#define APP_LATE_TEXT "the app took too long"
void app_note_late(const struct app *a, const char *ip, const char *handler);
/* The state has met one: a line in the log, now and then. `text` is which
 * setting that is, and how much. */
#define APP_LIMIT_TEXT_BYTES 48
void app_note_limit(const struct state *s, enum app_limit which,
    char text[APP_LIMIT_TEXT_BYTES]);
/* What may go on and on is said in the log every ten seconds. True, with *last
 * set to now: it is time to say it. */
#define APP_NOTE_MS 10000
static inline bool app_is_due(uint64_t now_ms, uint64_t *last_ms)
{
    if (*last_ms != 0 && now_ms - *last_ms < APP_NOTE_MS) {
        return false;
    }
    *last_ms = now_ms;
    return true;
}

#endif
