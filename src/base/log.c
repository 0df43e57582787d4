/* log.c -- one event, one line, one write(2).
 *
 * Any thread calls log_event(); log_init() comes before the first thread, and
 * its settings do not change after. A line leaves in a single write of at most
 * LOG_LINE_BYTES, which is also what a pipe takes in one piece, so the lines of
 * threads and processes do not mix. In text format a traceback of several lines
 * is part of that same write. It is built in the thread's own memory and not on
 * the stack: that may be a script's, where 8 KB are new pages each time (6 us
 * usually, 25 at worst), in a section (script/preempt.h).
 *
 * Logging never fails and hardly waits, whether or not the descriptor blocks:
 * a pipe nobody empties, or a terminal that is held with Ctrl-S, must not stop
 * the server. So a full reader is given a moment once. From then on it loses
 * lines, until it reads again and is told how many.
 *
 * Who speaks stands before what is said in text, because what is said may
 * come from outside and could look like anything; in JSON the order is part
 * of the contract and the quotes keep them apart. */
#include "base/log.h"
#include "base/err.h"
#include "base/log_priv.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_TRIES 64
#define WORD_BYTES  100 /* of one identifying field */
#define IDS_BYTES   512 /* five of these cannot be longer */
#define LEAST_ERR   512 /* further fields go before err is cut shorter */

static const char *const level_words[] = {"debug", "info", "warn", "error"};
static const char *const format_words[] = {"auto", "text", "json"};
static const char *const colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};

static struct {
    int fd;
    enum log_level least;
    bool is_json;
    bool is_coloured;
    bool is_no_socket;
} log_to = {.fd = STDERR_FILENO, .least = LOG_INFO};

/* Of the line that this thread is writing. */
static _Thread_local char msg[LOG_LINE_BYTES];
static _Thread_local char text[LOG_LINE_BYTES];

/* Lines nobody read since the last one that was. */
static _Atomic uint64_t lost;

void log_init(int fd, enum log_level least, enum log_format format)
{
    bool is_terminal = isatty(fd) != 0;
    struct stat st;
    log_to.fd = fd;
    log_to.is_no_socket = fstat(fd, &st) == 0 && !S_ISSOCK(st.st_mode);
    log_to.least = least;
    log_to.is_json = format == LOG_JSON || (format == LOG_AUTO && !is_terminal);
    log_to.is_coloured =
        is_terminal && !log_to.is_json && getenv("NO_COLOR") == NULL;
}

bool log_is_on(enum log_level level)
{
    return level >= log_to.least;
}

static int find_word(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            return (int)i;
        }
    }
    return ERR_SYNTAX;
}

void log_escape(char *out, size_t cap, const char *s)
{
    struct line l = {.p = out, .max = cap - 1};
    (void)line_escape(&l, LINE_LINES, s, l.max);
    out[l.len] = '\0';
}

int log_parse_level(const char *word, enum log_level *out)
{
    int i = find_word(word, level_words, ARRAY_LEN(level_words));
    if (i < 0) {
        return i;
    }
    *out = (enum log_level)i;
    return 0;
}

int log_parse_format(const char *word, enum log_format *out)
{
    int i = find_word(word, format_words, ARRAY_LEN(format_words));
    if (i < 0) {
        return i;
    }
    *out = (enum log_format)i;
    return 0;
}

static void put_word(struct line *l, const char *key, const char *value)
{
    if (value == NULL) {
        return;
    }
    if (log_to.is_json) {
        line_printf(l, ",\"%s\":\"", key);
        (void)line_escape(l, LINE_JSON, value, WORD_BYTES);
        line_put(l, "\"");
    } else {
        line_printf(l, "%s%s=", l->len != 0 ? " " : "", key);
        (void)line_escape(l, LINE_TEXT, value, WORD_BYTES);
    }
}

static void put_number(struct line *l, const char *key, uint64_t value)
{
    if (value == 0) {
        return;
    }
    if (log_to.is_json) {
        line_printf(l, ",\"%s\":%llu", key, (unsigned long long)value);
    } else {
        line_printf(l, "%s%s=%llu", l->len != 0 ? " " : "", key,
            (unsigned long long)value);
    }
}

/* Whose event it is. Built first: it is short, and the rest is cut to what
 * it leaves. */
static void put_ids(struct line *ids, const struct log_fields *f)
{
    put_word(ids, "app", f->app);
    put_number(ids, "gen", f->gen);
    put_number(ids, "client", f->client);
    put_word(ids, "event", f->event);
    put_word(ids, "kind", f->kind);
    ids->p[ids->len] = '\0'; /* behind a cut there is more than that */
}

/* Writes what fits of s into *room bytes and takes it off them. */
static bool put_share(struct line *l, enum line_style style, const char *s,
    size_t share, size_t *room)
{
    size_t before = l->len;
    bool is_whole = line_escape(l, style, s, share);
    *room -= l->len - before;
    return is_whole;
}

/* What the message may take: half if others want some of it. */
static size_t message_share(const struct log_fields *f, size_t room)
{
    return f->err != NULL || f->fields != NULL ? room / 2 : room;
}

/* What err may take if the app's fields are to follow it. */
static size_t err_share(const struct log_fields *f, size_t room)
{
    size_t wanted = f->fields != NULL ? strlen(f->fields) + 1 : 0;
    return room >= LEAST_ERR + wanted ? room - wanted : room;
}

static void build_json(struct line *l, enum log_level level,
    const struct log_fields *f, const char *ids)
{
    /* Our own words that follow the message at most; with the ids they are
     * kept back from the three texts that share the room. */
    static const char kept[] = "\",\"err\":\"\",\"cut\":true}";
    line_put(l, "{\"ts\":\"");
    line_put_time(l);
    line_printf(l, "\",\"level\":\"%s\",\"msg\":\"", level_words[level]);
    size_t room = l->max - l->len - strlen(ids) - strlen(kept);
    (void)put_share(l, LINE_JSON, msg, message_share(f, room), &room);
    line_put(l, "\"");
    line_put(l, ids);
    if (f->err != NULL) {
        line_put(l, ",\"err\":\"");
        (void)put_share(l, LINE_JSON, f->err, err_share(f, room), &room);
        line_put(l, "\"");
    }
    if (f->fields != NULL && f->fields[0] != '\0') {
        /* Half a field would be no JSON: all of them or none. */
        size_t before = l->len;
        size_t share = room > 0 ? room - 1 : 0; /* the comma */
        line_put(l, ",");
        if (!put_share(l, LINE_RAW, f->fields, share, &room)) {
            l->len = before;
            line_put(l, ",\"cut\":true");
        }
    }
    line_put(l, "}");
}

static void build_text(struct line *l, enum log_level level,
    const struct log_fields *f, const char *ids)
{
    line_put_time(l);
    line_printf(l, " %s%-5s%s ", log_to.is_coloured ? colours[level] : "",
        level_words[level], log_to.is_coloured ? "\033[0m" : "");
    if (ids[0] != '\0') {
        line_put(l, "[");
        line_put(l, ids);
        line_put(l, "] ");
    }
    size_t room = l->max - l->len;
    (void)put_share(l, LINE_TEXT, msg, message_share(f, room), &room);
    if (f->fields != NULL && f->fields[0] != '\0') {
        line_put(l, " ");
        (void)line_escape(
            l, LINE_TEXT, f->fields, f->err != NULL ? room / 2 : room);
    }
    if (f->err != NULL) {
        bool is_long = strchr(f->err, '\n') != NULL;
        line_put(l, is_long ? "\n    " : ": ");
        (void)line_escape(l, LINE_LINES, f->err, l->max - l->len);
    }
}

/* write(), but EAGAIN where it would wait. A socket can be told. What else can
 * be full, a pipe or a terminal, is asked first: it has room for a line, or it
 * is not ready. */
static ssize_t write_now(const char *p, size_t n)
{
    if (!log_to.is_no_socket) {
        ssize_t done = send(log_to.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done >= 0 || errno != ENOTSOCK) {
            return done;
        }
    }
    struct pollfd ready = {.fd = log_to.fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(log_to.fd, p, n);
}

/* The reader is full. False: it stays so, or has been for a while. */
static bool wait_for_reader(void)
{
    if (atomic_load_explicit(&lost, memory_order_relaxed) != 0) {
        return false;
    }
    struct pollfd ready = {.fd = log_to.fd, .events = POLLOUT};
    return poll(&ready, 1, LOG_PATIENCE_MS) != 0;
}

/* False: the reader took none of it, or not all. A line cut off in the middle
 * can happen only where one write is not atomic (a full disk). */
static bool write_all(const char *p, size_t n)
{
    for (int tries = 0; tries < WRITE_TRIES; tries++) {
        ssize_t done = write_now(p, n);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
            if (n == 0) {
                return true;
            }
        } else if (errno == EAGAIN) {
            if (!wait_for_reader()) {
                return false;
            }
        } else if (errno != EINTR) {
            return false;
        }
    }
    return false;
}

/* What `msg` says. */
static bool emit(enum log_level level, const struct log_fields *f)
{
    static const struct log_fields none;
    char ids_text[IDS_BYTES] = "";
    struct line ids = {.p = ids_text, .max = sizeof(ids_text) - 1};
    struct line line = {.p = text, .max = sizeof(text) - 1};
    if (f == NULL) {
        f = &none;
    }
    put_ids(&ids, f);
    if (log_to.is_json) {
        build_json(&line, level, f, ids_text);
    } else {
        build_text(&line, level, f, ids_text);
    }
    text[line.len++] = '\n';
    return write_all(text, line.len);
}

void log_event(
    enum log_level level, const struct log_fields *f, const char *fmt, ...)
{
    if (!log_is_on(level)) {
        return;
    }
    int saved = errno; /* callers log first and look at errno after */
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(msg, sizeof(msg), fmt, args) < 0) {
        msg[0] = '\0';
    }
    va_end(args);
    if (!emit(level, f)) {
        atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
    } else if (atomic_load_explicit(&lost, memory_order_relaxed) != 0) {
        uint64_t n = atomic_exchange_explicit(&lost, 0, memory_order_relaxed);
        (void)snprintf(msg, sizeof(msg), "%llu log lines lost before this",
            (unsigned long long)n);
        if (n != 0 && !emit(LOG_WARN, NULL)) {
            atomic_fetch_add_explicit(&lost, n, memory_order_relaxed);
        }
    }
    errno = saved;
}
