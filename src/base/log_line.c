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

#define INDENT     "    "
#define MARK       "..."
#define MARK_BYTES (sizeof(MARK) - 1)

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

/* What a character becomes. */
struct piece {
    char p[8];
    size_t len;
};

static void set_text(struct piece *out, const char *s, size_t len)
{
    memcpy(out->p, s, len);
    out->len = len;
}

static void set_hex(struct piece *out, char kind, uint32_t c, int digits)
{
    out->p[0] = '\\';
    out->p[1] = kind;
    for (int i = 0; i < digits; i++) {
        out->p[2 + i] = "0123456789abcdef"[c >> 4 * (digits - 1 - i) & 15];
    }
    out->len = 2 + (size_t)digits;
}

/* The character at s as the line shall have it. Bytes of s used. */
static size_t next_piece(
    enum line_style style, const char *s, struct piece *out)
{
    uint32_t c = 0;
    size_t used = decode((const unsigned char *)s, &c);
    bool is_text = style == LINE_TEXT || style == LINE_LINES;
    if (used == 0) {
        /* Not UTF-8. JSON text has no way to say a byte. */
        if (is_text) {
            set_hex(out, 'x', (unsigned char)*s, 2);
        } else {
            set_text(out, "\xef\xbf\xbd", 3); /* U+FFFD */
        }
        return 1;
    }
    const char *escape = short_escape(style, c);
    if (escape != NULL) {
        set_text(out, escape, strlen(escape));
    } else if (!is_harmful(c)) {
        set_text(out, s, used);
    } else if (c < 0x80 && is_text) {
        set_hex(out, 'x', c, 2);
    } else {
        set_hex(out, 'u', c, 4);
    }
    return used;
}

/* Of s, how many bytes stay as they are in every style: nearly all, mostly, and
 * those go at once, for an app cannot be stopped while its line is written. */
static size_t count_plain(const char *s)
{
    size_t n = 0;
    while (s[n] >= ' ' && s[n] <= '~' && s[n] != '"' && s[n] != '\\') {
        n++;
    }
    return n;
}

static void put_bytes(struct line *l, const char *p, size_t len)
{
    memcpy(l->p + l->len, p, len);
    l->len += len;
}

static bool cut_off(struct line *l, size_t cut, size_t room)
{
    l->len = cut;
    if (room >= MARK_BYTES) {
        put_bytes(l, MARK, MARK_BYTES);
    }
    return false;
}

bool line_escape(
    struct line *l, enum line_style style, const char *s, size_t room)
{
    if (room > l->max - l->len) {
        room = l->max - l->len;
    }
    const size_t end = l->len + room;
    /* The last place where the mark can stand, and the last whole character
     * before that. */
    const size_t last = room >= MARK_BYTES ? end - MARK_BYTES : l->len;
    size_t cut = l->len;
    while (*s != '\0') {
        struct piece piece;
        size_t plain = count_plain(s);
        if (plain > 0) {
            size_t fits = plain < end - l->len ? plain : end - l->len;
            bool is_before = l->len <= last;
            put_bytes(l, s, fits);
            if (is_before) {
                cut = l->len < last ? l->len : last;
            }
            if (fits < plain) {
                return cut_off(l, cut, room);
            }
            s += plain;
            continue;
        }
        if (style == LINE_LINES && strcmp(s, "\n") == 0) {
            break; /* it would leave an empty line behind */
        }
        s += next_piece(style, s, &piece);
        if (piece.len > end - l->len) {
            return cut_off(l, cut, room);
        }
        put_bytes(l, piece.p, piece.len);
        cut = l->len <= last ? l->len : cut;
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
