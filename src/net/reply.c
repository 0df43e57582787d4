/* reply.c -- small HTTP/1.1 responses, written whole.
 *
 * For refusals, errors, redirects and the heads of static files: whatever
 * fits into one send. Called by the router, by files.c and by conn.c when a
 * request head is bad. Every response says how long it is and whether the
 * connection goes on, in words that an HTTP/1.0 peer understands, too.
 *
 * It does not escape: types, texts and extra header lines are the server's own
 * words, or were judged by who made them (no CR or LF inside a value). */
#include "net/reply.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The longest head without type and extra lines is below 200 bytes. */
#define HEAD_BYTES 384
/* Replies up to this size need no memory. */
#define SMALL_BYTES 2048
#define DATE_BYTES  48

/* RFC 9110 5.6.7, by hand since strftime() speaks the locale's language. */
static void format_date(char out[DATE_BYTES])
{
    static const char days[7][4] = {
        "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    (void)snprintf(out, DATE_BYTES, "%s, %02d %s %04d %02d:%02d:%02d GMT",
        days[t.tm_wday], t.tm_mday, months[t.tm_mon], t.tm_year + 1900,
        t.tm_hour, t.tm_min, t.tm_sec);
}

/* RFC 9110 8.6: no length where there is never content. A 304 might carry the
 * length of what it stands for, but need not. */
static bool has_length(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* NOLINTNEXTLINE(readability-function-size): all of it is one line each. */
size_t reply_head(char *out, size_t cap, int status, const char *type,
    uint64_t length, const char *extra, bool keep_alive)
{
    char date[DATE_BYTES];
    char length_line[48] = "";
    format_date(date);
    if (has_length(status)) {
        (void)snprintf(length_line, sizeof(length_line),
            "Content-Length: %" PRIu64 "\r\n", length);
    }
    int n = snprintf(out, cap,
        "HTTP/1.1 %d %s\r\n"
        "Date: %s\r\n"
        "%s%s%s%s%s"
        "Connection: %s\r\n"
        "\r\n",
        status, http_reason(status), date, type != NULL ? "Content-Type: " : "",
        type != NULL ? type : "", type != NULL ? "\r\n" : "", length_line,
        extra != NULL ? extra : "", keep_alive ? "keep-alive" : "close");
    return n < 0 || (size_t)n >= cap ? 0 : (size_t)n;
}

void reply_text(struct conn *c, int status, const char *text, const char *extra,
    bool is_head, bool keep_alive)
{
    static const char type[] = "text/plain; charset=utf-8\r\n"
                               "X-Content-Type-Options: nosniff";
    char small[SMALL_BYTES];
    size_t text_len = strlen(text);
    size_t cap = HEAD_BYTES + sizeof(type) + text_len + 2 +
                 (extra != NULL ? strlen(extra) : 0);
    char *response = cap <= sizeof(small) ? small : quota_alloc(cap);
    if (response == NULL) {
        conn_kill(c, false);
        return;
    }

    bool has_body = has_length(status);
    size_t len = reply_head(response, cap, status, has_body ? type : NULL,
        text_len + 1, extra, keep_alive);
    ASSERT(len > 0 && len + text_len + 1 <= cap, "a reply fits its buffer");
    if (has_body && !is_head) {
        memcpy(response + len, text, text_len);
        response[len + text_len] = '\n';
        len += text_len + 1;
    }
    if (status >= 400) {
        metric_add(
            loop_metrics(conn_net(c)->loop), METRIC_HANDSHAKE_REFUSED, 1);
    }
    conn_reply(c, response, len, keep_alive);
    if (response != small) {
        quota_free(response);
    }
}
