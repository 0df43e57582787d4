/* server_priv.h -- what boot, loops, signals and the stop share. */
#ifndef SERVER_SERVER_PRIV_H
#define SERVER_SERVER_PRIV_H

#include "base/limits.h"
#include "loop/loop.h"
#include "loop/mailbox.h"
#include "loop/timers.h"
#include "net/guard.h"
#include "net/net.h"
#include "server/route.h"
#include "server/sites.h"
#include <uv.h>

struct config;
struct listener;
struct observe;
struct sched;
struct server;
struct tls;
struct tls_tickets;

/* Only forward; loop 0 says when. */
enum server_stage {
    SERVER_SERVING,
    SERVER_ASKING,  /* the ports are closed, the apps' on_stop run */
    SERVER_CLOSING, /* clients are told 1001, spread over the drain time */
    SERVER_CUTTING, /* who is still there is cut */
    SERVER_STOPPED, /* nothing is left but to take down */
    SERVER_STAGES
};

enum server_signal {
    SERVER_TERM,
    SERVER_INT,
    SERVER_HUP,
    SERVER_USR1,
    SERVER_SIGNALS
};

/* Loop 0 tells a loop to go on to a stage. */
struct order {
    struct letter letter;
    struct worker *worker;
    enum server_stage stage;
};

/* One loop and what lives on it. Made and freed by the main thread while the
 * loop's own does not run; in between everything is that thread's, but for the
 * words. */
struct worker {
    struct server *server;
    uint32_t index;
    struct loop *loop;
    struct net *net;
    struct sched *sched;
    struct listener *listener; /* NULL: closed */
    struct route route;
    struct conn_router router;
    uv_thread_t thread; /* not of loop 0, which is the main thread's */
    bool has_thread;
    struct word has_ended;    /* the thread has nothing left to do */
    struct timer round_timer; /* of tenancy.c, and where it is */
    size_t next_site;
    uint32_t apps_to_stop;
    void (*on_apps_stopped)(struct worker *w);
    /* Of the stop. */
    enum server_stage stage;
    struct timer look_timer;
    uint64_t idle_ends_ms; /* when requests under way have had their time */
    struct word is_asked;  /* all on_stop have ended */
    struct word is_cut;    /* no connection */
    struct word is_empty;  /* and no client whose on_close has not ended */
    struct order orders[SERVER_STAGES]; /* each is given once */
};

struct server {
    const struct config *config; /* frozen */
    struct worker *workers;
    struct net **nets;     /* by loop index */
    uint32_t worker_count; /* as configured, from the beginning */
    uv_sem_t gate;         /* where new threads wait */
    bool has_no_threads; /* not all could be made: those that wait are to end */
    struct sites sites;
    struct guard guard; /* of all nets */
    const struct conn_settings
        *settings;                /* of connections nobody has claimed */
    struct tls_tickets *tickets;  /* ref; NULL: no TLS */
    struct tls *tls[LIMIT_LOOPS]; /* refs: read, and not given to a net yet */
    struct ceilings *ceilings;    /* of all apps; frozen */
    /* Loop 0's. */
    struct observe *observe; /* NULL: there is no operator's port */
    uv_signal_t signals[SERVER_SIGNALS];
    unsigned open_signals;
    enum server_stage stage;
    struct timer stop_timer; /* looks whether a stage is over */
    uint64_t stage_ends_ms;  /* when its patience ends */
    bool was_quiet;          /* at the last look */
};

/* ---- server.c ---- */

/* What listener_open() said, for people. */
const char *server_listen_error(int rc);

/* ---- worker.c ---- */

/* Makes the loops, each with net and scheduler, and lets them meet. Behind
 * harden_begin(): what libuv finds in the kernel then, it can go on using. */
void workers_open(struct server *s);
/* The ports; from here on connections wait in their backlogs. 0 or an error of
 * listener_open(). */
int workers_listen(struct server *s) NODISCARD;
/* Threads for all loops but the first, which wait for workers_go(). 0 or a
 * libuv error, and then there are none. */
int workers_start(struct server *s) NODISCARD;
/* All loops may turn; the first one when its thread, this one, comes to it. */
void workers_go(struct server *s);
/* Waits for the threads to end, which they have been told to; see
 * stop_abandon() for one that does not. */
void workers_join(struct server *s);
/* Whatever of it was opened. */
void workers_close(struct server *s);

/* ---- stop.c ---- */

/* Begins the graceful stop; a second call ends the process. */
void stop_begin(struct server *s, const char *reason);
/* A loop does not come to its end: the process does, at once. */
NORETURN void stop_abandon(const struct worker *w);
/* On the worker's own loop: what the stage wants done there. */
void stop_enter(struct worker *w, enum server_stage stage);

/* ---- secure.c ---- */

/* Reads the certificates and keys. 0, or an error that has been logged, and
 * then the nets go on with those they have. */
int secure_read(struct server *s) NODISCARD;
/* Gives each net, while none has a thread, what has been read; if anything. */
void secure_give(struct server *s);
void secure_reload(struct server *s);

/* ---- signals.c ---- */

/* 0 or a libuv error. */
int signals_start(struct server *s) NODISCARD;
/* Their memory is free again when the loop has turned. */
void signals_stop(struct server *s);

#endif
