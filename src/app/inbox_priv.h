/* inbox_priv.h -- events on their way into Lua: what one is, where it waits,
 * and the two kinds that are not a client's (connect, call). */
#ifndef APP_INBOX_PRIV_H
#define APP_INBOX_PRIV_H

#include "base/list.h"
#include "loop/timers.h"
#include "script/sched.h"
#include "script/task.h"

struct app;
struct client;
struct state;

/* ---- event.c ---- */

enum event_kind {
    EVENT_OPEN,
    EVENT_MESSAGE,
    EVENT_SLOW,
    EVENT_DRAIN,
    EVENT_CLOSE,
    EVENT_START,
    EVENT_STOP,
    EVENT_CONNECT, /* `extra` is a struct connect (connect.c) */
    EVENT_REQUEST, /* `extra` is a struct exchange (request.c) */
    EVENT_CALL,    /* `extra` is a struct call (call.c): timers, tasks */
    EVENT_ERROR    /* `extra` is a struct failure (failure.c) */
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
    void *block;         /* what holds `data`, if that is owned; NULL: itself */
    struct blob *lender; /* ref, of who has been stopped; else NULL */
    bool owns_data;      /* else `data` is lent while the event is young */
    bool is_binary;
    bool is_receipted; /* of a far client: its loop has been told */
    bool has_failed;   /* until done() says otherwise */
    bool is_unheard;   /* on_close of who never opened: nothing is called */
    uint16_t code;
};

struct event *event_new(struct app *a, enum event_kind kind) NODISCARD;
void event_free(struct event *ev);
/* The name of the handler, for logs. Static. */
const char *event_name(const struct event *ev);
/* May a handler of the app wait for it (task.all, a timer that ends a wait)? */
static inline bool event_is_awaited(const struct event *ev)
{
    return ev->kind == EVENT_CALL;
}
/* It could not even begin: logged, and over. */
void event_abandon(struct event *ev);
/* Lua has what was in it. */
void event_drop_data(struct event *ev);
/* Keeps what was lent. False: there is no memory for it, and `data` is empty
 * now. */
bool event_own_data(struct event *ev) NODISCARD;

/* ---- inbox.c ---- */

struct inbox {
    struct list ready;  /* clients with events that may run */
    struct list calls;  /* events of no client */
    struct list paused; /* clients that wait for room and for nothing else */
    struct list spare;  /* events to use again */
    uint32_t spare_count;
    uint32_t events; /* queued, all clients */
    size_t bytes;    /* of queued messages */
    unsigned turn;   /* which source is asked first */
    uint32_t owed;   /* slices to the next generation */
    struct timer retry_timer;
    struct timer resume_timer; /* for readers who are to be resumed later */
    uint64_t failing_since_ms; /* nothing can begin; 0: not so */
};

void inbox_init(struct inbox *in);
void inbox_fini(struct inbox *in);
/* Queues it; where Lua must not start now (from inside Lua, or from the end
 * of another event). */
void inbox_queue(struct app *a, struct event *ev);
/* Is there room for another message of this client? If not it is noted as
 * paused and resumed later. */
bool inbox_has_room(struct app *a, struct client *cl);
/* Has the app yet to come to events of this client, without waiting for
 * anything but its turn? Then it is noted, and resumed later, too. */
bool inbox_is_behind(struct app *a, struct client *cl);
/* Drops so much of what is queued of no client and has not begun. Lua is not
 * told; who asked for something is refused. True: there is more. */
bool inbox_drop_some(struct app *a, uint32_t most);
/* Drops what is queued for a client. `keep_words`: not its messages. True: its
 * on_open had begun, or has ended. */
bool inbox_drop_client(struct client *cl, bool keep_words);
/* After a death: on_open, before whatever else is queued; and who was paused
 * reads on. */
void inbox_welcome(struct client *cl);

/* For inbox_run.c. */
/* May a handler for this event of the client begin, beside what is under way
 * of it? */
bool inbox_may_start(const struct client *cl, const struct event *ev);
/* The client stands in `ready` if its first event may start. */
void inbox_make_ready(struct client *cl);
/* Takes an event off its list. */
void inbox_unqueue(struct app *a, struct event *ev);
/* A client's event that could not start after all is the first again, and its
 * client, too. */
void inbox_put_back(struct event *ev);
/* The loop of its client may send another message for it; once. */
void inbox_receipt(struct event *ev);
/* An event of `cl` (NULL: of none) has ended, or waits: who was paused may
 * read again where there is room. */
void inbox_resume_readers(struct app *a, struct client *cl);

/* ---- inbox_run.c ---- */

/* Runs the event now if nothing is before it, else queues it. Takes it. For a
 * client's event, or (client NULL) one of the app's own. */
void inbox_take(struct app *a, struct event *ev);
/* Posts the app if it has anything to run. */
void inbox_post(struct app *a);
/* The event whose job is stopped; there is one. */
struct event *inbox_stopped_event(const struct app *a);
/* The handler of this client's event has ended: the client may have the next
 * one run, or is freed if it was its last. */
void inbox_event_ended(struct event *ev);
/* After a death: on_start, before all others. */
void inbox_start_over(struct app *a);
/* Its data has come to the live state: it may have events run again. */
void inbox_client_moved(struct client *cl);
/* sched_unit's run: one job. */
bool inbox_run(struct sched_unit *u);

/* ---- stuck.c: what cannot begin ---- */

/* task_run() has said `rc` to it. True: it has been tried long enough; else it
 * waits where it was, also if its state has been ended for that. */
bool stuck_is_over(struct app *a, const struct event *ev, int rc) NODISCARD;
/* A job of `s` has come to its beginning, whatever it does there. */
void stuck_no_more(struct app *a, struct state *s);
/* The retry timer's. */
void stuck_try_again(struct timer *t);

/* ---- connect.c, verdict.c ---- */

int verdict_push(struct event *ev, lua_State *T);
void connect_finished(struct event *ev);

/* ---- request.c, response.c ---- */

int response_push(struct event *ev, lua_State *T);
void request_finished(struct event *ev);

/* ---- failure.c: what is said of an event that failed ---- */

struct failure {
    uint64_t client; /* its id; 0: none */
    const char *event;
    const char *kind; /* error, cpu, memory, crash */
    size_t len;
    char text[]; /* with a traceback where there is one */
};

/* Logs it, counts it, and tells on_error; `ev` NULL: a reload's. `where` goes
 * behind the text: more of a traceback, or "". In a section, or on the loop's
 * stack. */
void failure_report(struct state *s, const struct event *ev, const char *kind,
    const char *text, const char *where);
/* Counts one that was ended, and that somebody else tells of: a load. */
void failure_count_kill(struct app *a);
int failure_push(struct event *ev, lua_State *T);
void failure_finished(struct event *ev);

/* ---- call.c: a Lua function to be called later, with arguments ---- */

struct call {
    struct list node; /* in state->queued */
    struct event *event;
    int ref;   /* registry ref of {n, fn, args...} in ev->state */
    bool keep; /* a timer owns the ref */
    bool has_begun;
    bool is_cancelled; /* if it has not begun it does not */
    void (*on_finished)(void *owner);
    void *owner;
};

/* Queues a call of what lies behind `ref`. `keep`: the ref is borrowed and not
 * given back at the end. `on_finished` may be NULL; it is called however the
 * call ends, also if it never began, and the call is gone after it. */
struct call *call_queue(struct state *s, int ref, bool keep,
    void (*on_finished)(void *owner), void *owner);
/* A registry ref to the function at idx and everything behind it. May raise. */
int call_pack(lua_State *L, int idx);
int call_push(struct event *ev, lua_State *T);
void call_finished(struct event *ev);
/* Drops so many of the state's that have not begun. True: there may be more. */
bool call_drop_some(struct state *s, uint32_t most);

#endif
