/* app.h -- one hosted app: its directory, its Lua state, its clients.
 *
 * An app lives on its home loop; what is called elsewhere says so. Its clients
 * may live on any loop whose net knows this one (net_meet()). The server
 * routes requests to it (app_connect) and steers it (reload, stop); what the
 * app's Lua sees is in the api_*.c files.
 *
 * Laws: I3 (order of a client's events), I6, I7, I8. */
#ifndef APP_APP_H
#define APP_APP_H

#include "net/conn.h"
#include "net/files.h"

struct app;
struct sched;
struct sched_stats;
struct ceilings;

#define APP_ERROR_BYTES 4096

struct app_config {
    struct loop *loop;
    struct net *net;
    struct sched *sched;
    const char *name; /* [A-Za-z0-9_-]{1,64}, for logs and app.name */
    const char *dir;
    const struct ceilings *ceilings; /* outlive it; NULL: the built-in ones */
    bool watch;                      /* reload by itself when files change */
    bool quiet;                      /* a check: nothing runs but the load */
};

/* Reads, compiles and runs the app at `dir`, slice by slice. `on_opened` is
 * called once, from the loop: with 0, and the app is there and on_start is
 * queued; or with an error and a text for people (file:line, traceback), and
 * all that may be done with the app is app_close(), at once or later. Until
 * then: app_stop() and app_close() only. */
struct app *app_open(const struct app_config *config,
    void (*on_opened)(void *arg, int rc, const char *why), void *arg) NODISCARD;
/* The watch over the files of one that did not open, for who waits until
 * somebody mends them: between two watches a change could be missed. The
 * caller's; NULL: there is none. */
struct watch *app_take_watch(struct app *a);
/* Loads the app aside and throws it away: what `moonwire check` reports.
 * `handlers` gets a list like "on_open on_message". */
int app_check(const struct app_config *config, char *why, size_t why_bytes,
    char *handlers, size_t handlers_bytes) NODISCARD;
/* No client may be connected any more (app_kill_clients()), nor may any of its
 * connections see the rest of its close handshake through (net_kill_all()):
 * they read the app's settings; and every mailbox must be quiet. Handlers that
 * still wait are dropped, on_close that have not run do not run, on_stopped is
 * not called. */
void app_close(struct app *a);

const char *app_name(const struct app *a);
uint32_t app_generation(const struct app *a);
/* The static files of DIR/public. */
struct files *app_files(const struct app *a);

/* Any thread: where the app wants its connections to live, by its settings. */
enum placement {
    PLACEMENT_AUTO,
    PLACEMENT_HOME,
    PLACEMENT_SPREAD,
    PLACEMENT_UNSET /* the server decides */
};
enum placement app_placement(const struct app *a);
/* Any thread: the index of its home loop. */
uint32_t app_home(const struct app *a);

/* A well-formed WebSocket request (handshake_check() said 0): origin and
 * limits are judged, on_connect is asked, and the connection is upgraded or
 * refused, now or later. `r` is lent for the call; r->path may begin further
 * back than the request's own does. On the connection's loop, which need not
 * be the app's: then its handlers run there, and the connection stays here. */
void app_connect(struct app *a, struct conn *c, const struct http_request *r);

/* Any thread: has it on_request? */
bool app_takes_requests(const struct app *a);
/* A plain request, with its whole body, for on_request: answered now or later.
 * On the connection's loop, as app_connect(); all is lent for the call. */
void app_request(struct app *a, struct conn *c, const struct http_request *r,
    const uint8_t *body, size_t len);

/* Clients that are open or about to be, or whose on_close has not ended. */
uint32_t app_client_count(const struct app *a);

/* Slices, stops, and how long it waited for its turn. Any thread may read. */
const struct sched_stats *app_sched_stats(const struct app *a);
/* Events of it that were ended, for CPU, memory or a crash. */
uint64_t app_kills(const struct app *a);
/* The same as a line in the log. */
void app_log_stats(const struct app *a);

/* Loads the files as they are now aside; if good they take over between two
 * events, with client.data carried; else the present generation goes on and
 * the log says why (I8). 0, ERR_CHANGED if nothing had changed, ERR_CLOSED if
 * the app stops, or an error that showed at once. 0 says that it is done, or
 * under way: it goes on when it is the app's turn. While another load is
 * under way it is put off until that is over. */
int app_reload(struct app *a);
/* What the log calls a load that has failed: error, cpu, memory or crash. */
const char *app_load_kind(int rc);

/* Begins the end: new connections get 503, on_stop(reason) is queued, and
 * when it has ended (or LIMIT_STOP_HANDLER_MS passed) `on_stopped` is called
 * from the loop. Once. */
void app_stop(struct app *a, const char *reason, void (*on_stopped)(void *arg),
    void *arg);
/* Closes every client with `code`, spread evenly over spread_ms. */
void app_close_clients(
    struct app *a, uint16_t code, const char *reason, uint32_t spread_ms);
/* Cuts whoever is still connected here. */
void app_kill_clients(struct app *a);

#endif
