/* log_line.c -- writes text from outside so that it stays text.
 *
 * A log line may hold what a stranger sent. Control characters would move the
 * cursor of whoever reads it, newlines would forge lines, bidirectional
 * controls would reorder them and broken UTF-8 would break a JSON reader; all
 * of these become visible escapes. Nothing here allocates or fails: what does
 * not fit is cut. */
#include "base/civil.h"
#include "base/log_priv.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define INDENT "    "

void line_put(struct line *l, const char *s)
{
    size_t n = strlen(s);
    if (n > l->max - l->len) {
        n = l->max - l->len;
    }
    memcpy(l->p + l->len, s, n);
    l->len += n;
}

void line_printf(struct line *l, const char *fmt, ...)
{
    char text[128];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n > 0) {
        line_put(l, text);
    }
}

/* Bytes of the well-formed character at s (RFC 3629), 0 if there is none. A
 * NUL ends the text and is no continuation byte, so this never reads on. */
static size_t decode(const unsigned char *s, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80             ? 1
               : (s[0] & 0xe0) == 0xc0 ? 2
               : (s[0] & 0xf0) == 0xe0 ? 3
               : (s[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    if (n < 2) {
        *point = s[0];
        return n;
    }
    uint32_t v = s[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        v = v << 6 | (s[i] & 0x3fU);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) {
        return 0;
    }
    *point = v;
    return n;
}

/* Characters that act on a terminal or on the text around them. */
static bool is_harmful(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c ||
           (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* The short escapes; NULL: it has none. */
static const char *short_escape(enum line_style style, uint32_t c)
{
    if (style == LINE_LINES && c == '\n') {
        return "\n" INDENT;
    }
    if (style == LINE_LINES && c == '\t') {
        return INDENT; /* what Lua puts before each line of a traceback */
    }
    if (style == LINE_RAW && c < 0x20) {
        return " "; /* legal there only between tokens */
    }
    if (style == LINE_JSON && c == '"') {
        return "\\\"";
    }
    if (style == LINE_JSON && c == '\\') {
        return "\\\\";
    }
    if (style == LINE_RAW) {
        return NULL;
    }
    return c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
}

/* Writes the character at s as the line shall have it. Bytes of s used. */
static size_t next_piece(enum line_style style, const char *s, char out[16])
{
    uint32_t c = 0;
    size_t used = decode((const unsigned char *)s, &c);
    if (used == 0) {
        /* Not UTF-8. JSON text has no way to say a byte. */
        if (style == LINE_TEXT || style == LINE_LINES) {
            (void)snprintf(out, 16, "\\x%02x", (unsigned)(unsigned char)*s);
        } else {
            (void)snprintf(out, 16, "\xef\xbf\xbd"); /* U+FFFD */
        }
        return 1;
    }
    const char *escape = short_escape(style, c);
    if (escape != NULL) {
        (void)snprintf(out, 16, "%s", escape);
    } else if (!is_harmful(c)) {
        memcpy(out, s, used);
        out[used] = '\0';
    } else if (c < 0x80 && (style == LINE_TEXT || style == LINE_LINES)) {
        (void)snprintf(out, 16, "\\x%02x", (unsigned)c);
    } else {
        (void)snprintf(out, 16, "\\u%04x", (unsigned)c);
    }
    return used;
}

bool line_escape(
    struct line *l, enum line_style style, const char *s, size_t room)
{
    static const char mark[] = "...";
    char piece[16];
    if (room > l->max - l->len) {
        room = l->max - l->len;
    }
    size_t end = l->len + room;
    size_t cut = l->len; /* where the mark can still stand */
    while (*s != '\0') {
        if (style == LINE_LINES && strcmp(s, "\n") == 0) {
            break; /* it would leave an empty line behind */
        }
        s += next_piece(style, s, piece);
        if (strlen(piece) > end - l->len) {
            l->len = cut;
            if (end - cut >= sizeof(mark) - 1) {
                line_put(l, mark);
            }
            return false;
        }
        line_put(l, piece);
        if (l->len + sizeof(mark) - 1 <= end) {
            cut = l->len;
        }
    }
    return true;
}

void line_put_time(struct line *l)
{
    struct timespec now = {0};
    char text[CIVIL_ISO_BYTES];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec < 0 || now.tv_sec >= CIVIL_MAX_SECONDS) {
        now.tv_sec = 0; /* a clock that wrong says so best */
    }
    civil_iso((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, text);
    line_put(l, text);
}
