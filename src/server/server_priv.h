/* server_priv.h -- what boot, signals and the stop share. */
#ifndef SERVER_SERVER_PRIV_H
#define SERVER_SERVER_PRIV_H

#include "loop/loop.h"
#include "loop/timers.h"
#include "net/net.h"
#include "server/route.h"
#include <uv.h>

struct app;
struct config;
struct listener;
struct sched;

/* Only forward. */
enum server_stage {
    SERVER_SERVING,
    SERVER_ASKING,  /* the port is closed, the app's on_stop runs */
    SERVER_CLOSING, /* clients are told 1001, spread over the drain time */
    SERVER_CUTTING, /* who is still there is cut */
    SERVER_STOPPED
};

enum server_signal {
    SERVER_TERM,
    SERVER_INT,
    SERVER_HUP,
    SERVER_USR1,
    SERVER_SIGNALS
};

struct server {
    const struct config *config; /* frozen */
    struct loop *loop;
    struct net *net;
    struct sched *sched;
    struct app *app;
    struct listener *listener; /* NULL: closed */
    struct route route;
    struct conn_router router;
    struct conn_settings settings; /* of connections nobody has claimed */
    uv_signal_t signals[SERVER_SIGNALS];
    unsigned open_signals;
    enum server_stage stage;
    struct timer stop_timer; /* looks whether a stage is over */
    uint64_t stage_ends_ms;  /* when its patience ends */
    uint64_t idle_ends_ms;   /* when requests under way have had their time */
    const char *stop_reason; /* static */
};

/* ---- stop.c ---- */

/* Begins the graceful stop; a second call ends the process. */
void stop_begin(struct server *s, const char *reason);

/* ---- secure.c ---- */

/* 0, or an error that has been logged; the certificates are as before. */
int secure_load(struct server *s) NODISCARD;
void secure_reload(struct server *s);

/* ---- signals.c ---- */

/* 0 or a libuv error. */
int signals_start(struct server *s) NODISCARD;
/* Their memory is free again when the loop has turned. */
void signals_stop(struct server *s);

#endif
