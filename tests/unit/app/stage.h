/* stage.h -- a whole app on a real loop, net and scheduler, with peers at the
 * other ends of socket pairs: for the unit tests of app. What an app logs is
 * kept, and nothing here waits longer than it must.
 *
 * With STAGE_FAR all connections live on a second loop, so that whatever holds
 * for an app holds for clients elsewhere, too. The two loops take turns on this
 * thread. */
#ifndef TESTS_APP_STAGE_H
#define TESTS_APP_STAGE_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "app/branch_priv.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "net/net.h"
#include "proto/frame.h"
#include "script/fiber.h"
#include "script/preempt.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEERS_MAX   512
#define WORDS_BYTES (1 << 18)
#define GOT_BYTES   (1 << 17)

struct stage;

struct peer {
    struct stage *stage;
    int fd; /* -1: none */
    int status;
    char head[2048]; /* of the response */
    size_t got_len;
    bool is_deaf;  /* reads nothing for now */
    bool is_over;  /* FIN or reset has come */
    uint16_t code; /* of the Close that came; 0: none */
    char reason[128];
    uint32_t messages;
    char separator; /* behind each payload; a blank at first */
    size_t words_len;
    char words[WORDS_BYTES]; /* payloads */
    uint8_t got[GOT_BYTES];  /* bytes that make no whole frame yet */
};

struct stage {
    struct loop *loop;
    struct net *net;
    struct loop *far_loop; /* STAGE_FAR; else NULL */
    struct net *nets[2];
    struct net *conn_net; /* where connections live */
    struct sched *sched;
    struct app *app;                     /* NULL: not open */
    void (*on_opened)(struct stage *st); /* before on_start; NULL: none */
    struct conn_router router;
    struct conn_settings settings;
    int log_fd;
    char *log; /* as text, so far */
    char dir[64];
    char why[APP_ERROR_BYTES];
    struct peer *peers[PEERS_MAX];
    size_t peer_count;
};

/* ---- files ---- */

static inline void stage_write_bytes(
    struct stage *st, const char *name, const void *p, size_t n)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", st->dir, name);
    for (char *s = path + strlen(st->dir) + 1; (s = strchr(s, '/')) != NULL;
         s++) {
        *s = '\0';
        mkdir(path, 0755);
        *s = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static inline void stage_write(
    struct stage *st, const char *name, const char *text)
{
    stage_write_bytes(st, name, text, strlen(text));
}

static inline void stage_remove(struct stage *st, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", st->dir, name);
    assert_int_equal(unlink(path), 0);
}

/* ---- the stage ---- */

static inline void stage_on_request(
    void *user, struct conn *c, const struct http_request *r)
{
    app_connect(((struct stage *)user)->app, c, r);
}

static inline void stage_init(struct stage *st)
{
    memset(st, 0, sizeof(*st));
    /* For all of these tests once more, with scripts that are stopped every
     * few microseconds. */
    const char *slice = getenv("MOONWIRE_SLICE_US");
    preempt_set_slice_us(slice != NULL ? (uint32_t)atoi(slice) : 0);
    st->log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(st->log_fd >= 0);
    log_init(st->log_fd, LOG_DEBUG, LOG_TEXT);
    snprintf(st->dir, sizeof(st->dir), "/tmp/moonwire-app-XXXXXX");
    assert_non_null(mkdtemp(st->dir));
    st->loop = loop_new(0);
    st->net = net_new(st->loop);
    st->sched = sched_new(st->loop);
    st->conn_net = st->net;
    st->router =
        (struct conn_router){.on_request = stage_on_request, .user = st};
    settings_init(&(struct settings){0}); /* keeps the linker honest */
    st->settings = (struct conn_settings){
        .message_bytes = 1 << 20,
        .fragments = LIMIT_DEFAULT_FRAGMENTS,
        .ping_ms = 100000,
        .pong_ms = 100000,
        .close_ms = 5000,
        .outbox = {1 << 20, 256, 2000},
        .policy = OUTBOX_CLOSE,
    };
#ifdef STAGE_FAR
    st->far_loop = loop_new(1);
    st->nets[0] = st->net;
    st->nets[1] = net_new(st->far_loop);
    st->conn_net = st->nets[1];
    for (int i = 0; i < 2; i++) {
        net_meet(st->nets[i], st->nets, 2, &st->router, &st->settings);
    }
#endif
}

static inline struct app_config stage_config(struct stage *st)
{
    return (struct app_config){
        .loop = st->loop,
        .net = st->net,
        .sched = st->sched,
        .name = "play",
        .dir = st->dir,
    };
}

struct stage_opening {
    struct stage *stage;
    int rc;
    bool is_over;
};

static inline void stage_on_opened(void *arg, int rc, const char *why)
{
    struct stage_opening *o = arg;
    o->rc = rc;
    o->is_over = true;
    snprintf(o->stage->why, sizeof(o->stage->why), "%s", why);
    if (rc == 0 && o->stage->on_opened != NULL) {
        o->stage->on_opened(o->stage);
    }
}

/* What app_open() comes to; if it is an error, the app is closed. */
static inline int stage_load(struct stage *st, const struct app_config *config)
{
    struct stage_opening o = {.stage = st};
    st->why[0] = '\0';
    st->app = app_open(config, stage_on_opened, &o);
    while (!o.is_over) {
        loop_turn(st->loop, 10);
    }
    if (o.rc != 0) {
        app_close(st->app);
        st->app = NULL;
    }
    return o.rc;
}

/* Opens the app of these words; fails the test if it does not load. */
static inline void stage_open(struct stage *st, const char *main_lua)
{
    struct app_config config = stage_config(st);
    if (main_lua != NULL) {
        stage_write(st, "main.lua", main_lua);
    }
    int rc = stage_load(st, &config);
    assert_string_equal(st->why, "");
    assert_int_equal(rc, 0);
}

/* Begins a reload, and sees it through: what it came to. */
static inline int stage_reload(struct stage *st)
{
    int rc = app_reload(st->app);
    if (rc != 0) {
        return rc;
    }
    for (int i = 0; i < 10000 && reload_has_work(st->app); i++) {
        loop_turn(st->loop, 10);
    }
    assert_false(reload_has_work(st->app));
    return st->app->load_rc;
}

static inline void stage_start(struct stage *st, const char *main_lua)
{
    stage_init(st);
    stage_open(st, main_lua);
}

/* The app's log, from the beginning. */
static inline const char *stage_log(struct stage *st)
{
    off_t n = lseek(st->log_fd, 0, SEEK_END);
    free(st->log);
    st->log = malloc((size_t)n + 1);
    assert_int_equal(pread(st->log_fd, st->log, (size_t)n, 0), n);
    st->log[n] = '\0';
    return st->log;
}

static inline int stage_logged(struct stage *st, const char *text)
{
    int n = 0;
    for (const char *p = stage_log(st); (p = strstr(p, text)) != NULL; p++) {
        n++;
    }
    return n;
}

static inline void assert_logged(struct stage *st, const char *text)
{
    if (stage_logged(st, text) == 0) {
        print_message("not in the log: \"%s\". The log:\n%s", text, st->log);
        fail();
    }
}

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        print_message("not in there: \"%s\". The text:\n%s\n", part, text);
        fail();
    }
}

/* ---- peers ---- */

static inline void peer_forget(struct peer *p, size_t n)
{
    memmove(p->got, p->got + n, p->got_len - n);
    p->got_len -= n;
}

static inline void peer_take_frame(
    struct peer *p, unsigned op, const uint8_t *data, size_t len)
{
    if (op == FRAME_CLOSE) {
        p->code = len >= 2 ? (uint16_t)(data[0] << 8 | data[1]) : 1005;
        if (len > 2) {
            memcpy(p->reason, data + 2, len - 2);
        }
    } else if (op <= FRAME_BINARY) {
        assert_true(p->words_len + len + 2 < WORDS_BYTES);
        memcpy(p->words + p->words_len, data, len);
        p->words_len += len;
        p->words[p->words_len++] = p->separator;
        p->words[p->words_len] = '\0';
        p->messages++;
    }
}

/* Eats whole frames from the front of p->got. */
static inline void peer_eat(struct peer *p)
{
    size_t at = 0;
    while (p->got_len - at >= 2) {
        const uint8_t *f = p->got + at;
        size_t len = f[1] & 0x7f;
        size_t head = 2;
        if (len >= 126) {
            size_t more = len == 126 ? 2 : 8;
            if (p->got_len - at < 2 + more) {
                break;
            }
            len = 0;
            for (size_t i = 0; i < more; i++) {
                len = len << 8 | f[2 + i];
            }
            head = 2 + more;
        }
        if (p->got_len - at < head + len) {
            break;
        }
        peer_take_frame(p, f[0] & 15, f + head, len);
        at += head + len;
    }
    peer_forget(p, at);
}

static inline bool peer_read_head(struct peer *p)
{
    p->got[p->got_len] = '\0';
    char *end = strstr((char *)p->got, "\r\n\r\n");
    if (end == NULL) {
        return false;
    }
    size_t n = (size_t)(end + 4 - (char *)p->got);
    assert_true(n < sizeof(p->head));
    memcpy(p->head, p->got, n);
    p->head[n] = '\0';
    p->status = atoi(p->head + strlen("HTTP/1.1 "));
    peer_forget(p, n);
    return true;
}

static inline void peer_read(struct peer *p)
{
    while (p->fd >= 0 && !p->is_over && !p->is_deaf &&
           p->got_len < GOT_BYTES - 1) {
        ssize_t n = recv(p->fd, p->got + p->got_len, GOT_BYTES - 1 - p->got_len,
            MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            p->is_over = true;
            return;
        }
        p->got_len += (size_t)n;
        if (p->status == 0 && !peer_read_head(p)) {
            continue;
        }
        if (p->status == 101) {
            peer_eat(p);
        } else {
            p->got[p->got_len] = '\0'; /* the body of a refusal */
        }
    }
}

static inline void stage_turn(struct stage *st, int wait_ms)
{
    if (st->far_loop != NULL) {
        loop_turn(st->far_loop, wait_ms);
        loop_turn(st->loop, 0);
        loop_turn(st->far_loop, 0);
    } else {
        loop_turn(st->loop, wait_ms);
    }
    for (size_t i = 0; i < st->peer_count; i++) {
        peer_read(st->peers[i]);
    }
}

/* So many turns, or what it takes instead where a turn does little. */
static inline void stage_turns(struct stage *st, int n)
{
#ifdef MOONWIRE_TINY
    n *= 40;
#endif
    for (int i = 0; i < n; i++) {
        stage_turn(st, 0);
    }
}

/* For that long. */
static inline void stage_pass(struct stage *st, uint64_t ms)
{
    uint64_t end = loop_clock_ns() + ms * 1000000;
    while (loop_clock_ns() < end) {
        stage_turn(st, 1);
    }
}

#define UNTIL(st, condition)                                                   \
    do {                                                                       \
        uint64_t until_end = loop_clock_ns() + UINT64_C(10000000000);          \
        while (!(condition)) {                                                 \
            if (loop_clock_ns() > until_end) {                                 \
                print_message(                                                 \
                    "waited for: %s\nlog:\n%s", #condition, stage_log(st));    \
                fail();                                                        \
            }                                                                  \
            stage_turn(st, 1);                                                 \
        }                                                                      \
    } while (0)

/* A connection that has said nothing yet. */
static inline struct peer *peer_new(struct stage *st)
{
    int fds[2];
    struct peer *p = calloc(1, sizeof(*p));
    assert_true(st->peer_count < PEERS_MAX);
    st->peers[st->peer_count++] = p;
    p->stage = st;
    p->separator = ' ';
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    p->fd = fds[1];
    assert_non_null(conn_new(st->conn_net, fds[0], &st->router, &st->settings));
    return p;
}

/* Asks for a WebSocket at `target`; `extra` are header lines or "". */
static inline struct peer *peer_ask(
    struct stage *st, const char *target, const char *extra)
{
    char text[4096];
    struct peer *p = peer_new(st);
    int n = snprintf(text, sizeof(text),
        "GET %s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
        target, extra);
    assert_int_equal(send(p->fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return p;
}

static inline struct peer *peer_open(struct stage *st, const char *target)
{
    struct peer *p = peer_ask(st, target, "");
    UNTIL(st, p->status != 0);
    assert_int_equal(p->status, 101);
    return p;
}

/* One masked frame; the mask is zero, so the payload stands as it is. */
static inline void peer_send(
    struct peer *p, unsigned op, const void *data, size_t n)
{
    uint8_t head[14] = {(uint8_t)(0x80 | op)};
    size_t at = 2;
    assert_true(n < 65536);
    if (n < 126) {
        head[1] = (uint8_t)(0x80 | n);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(n >> 8);
        head[3] = (uint8_t)n;
        at = 4;
    }
    uint8_t *frame = malloc(at + 4 + n);
    memset(head + at, 0, 4);
    memcpy(frame, head, at + 4);
    memcpy(frame + at + 4, data, n);
    ssize_t k = send(p->fd, frame, at + 4 + n, MSG_NOSIGNAL);
    free(frame);
    assert_int_equal(k, at + 4 + n);
}

static inline void peer_say(struct peer *p, const char *text)
{
    peer_send(p, FRAME_TEXT, text, strlen(text));
}

static inline void peer_say_close(struct peer *p, unsigned code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    peer_send(p, FRAME_CLOSE, payload, 2);
}

/* Gone without a word. */
static inline void peer_cut(struct peer *p)
{
    close(p->fd);
    p->fd = -1;
}

/* The words that have come since the last call. */
static inline const char *peer_take(struct peer *p)
{
    static char words[WORDS_BYTES];
    memcpy(words, p->words, p->words_len + 1);
    if (p->words_len > 0) {
        words[p->words_len - 1] = '\0'; /* the last blank */
    }
    p->words_len = 0;
    p->words[0] = '\0';
    return words;
}

static inline bool peer_has(const struct peer *p, const char *word)
{
    return strstr(p->words, word) != NULL;
}

/* What waits for the app's Lua, of all clients. */
static inline uint32_t stage_events(const struct stage *st)
{
    const struct app *a = st->app;
    return st->far_loop == NULL ? a->inbox.events : a->branches[1]->events;
}

static inline size_t stage_bytes(const struct stage *st)
{
    const struct app *a = st->app;
    return st->far_loop == NULL ? a->inbox.bytes : a->branches[1]->bytes;
}

static inline uint64_t stage_conn_metric(const struct stage *st, enum metric m)
{
    return metric_get(loop_metrics(st->conn_net->loop), m);
}

/* ---- the end ---- */

static inline void stage_close_app(struct stage *st)
{
    if (st->app != NULL) {
        app_kill_clients(st->app);
        net_kill_all(st->conn_net, true);
        while (st->far_loop != NULL && !(mailbox_is_quiet(st->loop) &&
                                           mailbox_is_quiet(st->far_loop))) {
            loop_turn(st->far_loop, 0);
            loop_turn(st->loop, 0);
        }
        app_close(st->app);
        st->app = NULL;
    }
}

/* Ends everything, and finds every connection and byte given back. */
static inline void stage_fini(struct stage *st)
{
    char command[128];
    /* Connections past OPEN still point to the app's settings. */
    net_kill_all(st->conn_net, true);
    stage_close_app(st);
    for (size_t i = 0; i < st->peer_count; i++) {
        if (st->peers[i]->fd >= 0) {
            close(st->peers[i]->fd);
        }
        free(st->peers[i]);
    }
    loop_turn(st->loop, 0);
    loop_turn(st->loop, 0);
    assert_int_equal(st->conn_net->conn_count, 0);
    assert_int_equal(
        metric_get(loop_metrics(st->conn_net->loop), METRIC_CLIENTS), 0);
    if (st->far_loop != NULL) {
        loop_turn(st->far_loop, 0);
        loop_turn(st->far_loop, 0);
        net_free(st->conn_net);
        loop_free(st->far_loop);
    }
    sched_free(st->sched);
    net_free(st->net);
    loop_free(st->loop);
    fiber_pool_fini();
    log_init(STDERR_FILENO, LOG_INFO, LOG_TEXT);
    close(st->log_fd);
    free(st->log);
    snprintf(command, sizeof(command), "rm -rf '%s'", st->dir);
    assert_int_equal(system(command), 0);
}

#endif
