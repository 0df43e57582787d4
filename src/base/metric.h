/* metric.h -- every counter and gauge of the server in one table.
 *
 * Each loop counts in a table of its own, without locks; a reader puts the
 * tables together: their sum, or of a "peak" the largest. Values are atomics
 * only so that a reader on another thread is no data race: the owner's add is
 * a plain load and store. */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/base.h"
#include <stdatomic.h>

/* X(NAME, "prometheus_name", "counter"|"gauge"|"peak", "help") */
#define METRIC_LIST(X)                                                         \
    X(ACCEPTED, "accepted_total", "counter", "connections accepted")           \
    X(SHED, "shed_total", "counter", "connections shed: no descriptors left")  \
    X(MOVED, "connections_moved_total", "counter",                             \
        "connections that went to another loop")                               \
    X(CONNS, "connections", "gauge", "connections now")                        \
    X(CLIENTS, "clients", "gauge", "open WebSocket clients now")               \
    X(HANDSHAKE_REFUSED, "handshakes_refused_total", "counter",                \
        "requests answered with an error status")                              \
    X(HTTP_SERVED, "http_served_total", "counter", "files served")             \
    X(HTTP_ANSWERED, "http_answered_total", "counter",                         \
        "requests answered by apps")                                           \
    X(MESSAGES_IN, "messages_in_total", "counter", "messages received")        \
    X(BYTES_IN, "bytes_in_total", "counter", "bytes received")                 \
    X(FRAMES_OUT, "frames_out_total", "counter", "frames put into outboxes")   \
    X(BYTES_OUT, "bytes_out_total", "counter", "bytes sent")                   \
    X(SENDS, "send_calls_total", "counter", "send system calls")               \
    X(TLS_HANDSHAKES, "tls_handshakes_total", "counter",                       \
        "TLS handshakes completed")                                            \
    X(TLS_FAILED, "tls_failed_total", "counter",                               \
        "TLS connections that broke the protocol")                             \
    X(DEFLATED, "deflated_total", "counter", "messages compressed")            \
    X(DEFLATE_SAVED, "deflate_saved_bytes_total", "counter",                   \
        "bytes that a compressed message was shorter, once for each form")     \
    X(BROADCASTS, "broadcasts_total", "counter", "broadcasts encoded")         \
    X(PROTOCOL_ERRORS, "protocol_errors_total", "counter",                     \
        "connections failed for a protocol violation")                         \
    X(SLOW_CLOSED, "slow_closed_total", "counter", "clients closed with 1013") \
    X(DROPPED_OLDEST, "dropped_oldest_total", "counter",                       \
        "queued frames dropped for newer ones")                                \
    X(DROPPED_NEWEST, "dropped_newest_total", "counter",                       \
        "frames refused by a full outbox")                                     \
    X(DROPPED_KEY, "dropped_key_total", "counter",                             \
        "queued frames replaced by one with the same key")                     \
    X(DROPPED_CLOSE, "dropped_close_total", "counter",                         \
        "queued frames that died with their connection")                       \
    X(DROPPED_APP, "dropped_app_total", "counter",                             \
        "frames refused by the bound over all outboxes of an app")             \
    X(DROPPED_WINDOW, "dropped_window_total", "counter",                       \
        "frames refused for clients of a loop that does not keep up")          \
    X(PAUSES, "read_pauses_total", "counter", "times reading was paused")      \
    X(RATE_PAUSES, "rate_pauses_total", "counter",                             \
        "times reading was paused because a rate was exceeded")                \
    X(FLOODS, "floods_closed_total", "counter",                                \
        "clients closed because they kept exceeding a rate")                   \
    X(SLOW_INPUT, "slow_input_closed_total", "counter",                        \
        "clients closed because a message or a body took too long")            \
    X(ANSWER_TIMEOUTS, "answer_timeouts_total", "counter",                     \
        "requests that their app did not answer in time")                      \
    X(TURNED_AWAY, "turned_away_total", "counter",                             \
        "connections refused by a limit for their address")                    \
    X(PONG_TIMEOUTS, "pong_timeouts_total", "counter", "clients gone silent")  \
    X(HANDLER_ERRORS, "handler_errors_total", "counter", "handler errors")     \
    X(KILLS, "kills_total", "counter",                                         \
        "events and loads that were ended for CPU, memory or a crash")         \
    X(DEATHS, "app_deaths_total", "counter", "apps that lost their state")     \
    X(RESTARTS, "app_restarts_total", "counter", "apps that began anew")       \
    X(STOPS, "preemptions_total", "counter", "scripts stopped for others")     \
    X(HOLD_NS, "longest_hold_nanoseconds", "peak",                             \
        "the longest that a script ran on after its slice")                    \
    X(LOG_DROPPED, "log_lines_dropped_total", "counter",                       \
        "lines of apps, and of what failed in them, over so many a second")    \
    X(EVENTS, "events_total", "counter", "events run in Lua")                  \
    X(RELOADS, "reloads_total", "counter", "apps replaced by a newer version") \
    X(RELOADS_FAILED, "reloads_failed_total", "counter", "reloads refused")

enum metric {
#define X(name, text, type, help) METRIC_##name,
    METRIC_LIST(X)
#undef X
        METRIC_COUNT
};

struct metrics {
    _Atomic uint64_t v[METRIC_COUNT];
};

const char *metric_name(enum metric m);
/* Of Prometheus' types: a peak is a gauge. */
const char *metric_type(enum metric m);
const char *metric_help(enum metric m);

static inline void metric_add(struct metrics *t, enum metric m, uint64_t n)
{
    uint64_t v = atomic_load_explicit(&t->v[m], memory_order_relaxed);
    atomic_store_explicit(&t->v[m], v + n, memory_order_relaxed);
}

static inline void metric_sub(struct metrics *t, enum metric m, uint64_t n)
{
    uint64_t v = atomic_load_explicit(&t->v[m], memory_order_relaxed);
    atomic_store_explicit(&t->v[m], v - n, memory_order_relaxed);
}

static inline uint64_t metric_get(const struct metrics *t, enum metric m)
{
    return atomic_load_explicit(&t->v[m], memory_order_relaxed);
}

/* Of a peak. */
static inline void metric_raise(struct metrics *t, enum metric m, uint64_t n)
{
    if (n > metric_get(t, m)) {
        atomic_store_explicit(&t->v[m], n, memory_order_relaxed);
    }
}

/* Any thread: of all tables together. */
uint64_t metric_total(
    const struct metrics *const *tables, size_t count, enum metric m);

#endif
