/* http_scan.c -- the strict doorman in front of llhttp.
 *
 * llhttp is forgiving in places, and differently so from version to version:
 * obs-fold, a header without a name, two spaces in the request line, other
 * protocols' version words. What one end of a chain of proxies forgives and
 * the other does not is how requests are smuggled, so each byte of a head
 * passes this scanner before llhttp sees it. The scanner knows lines and
 * characters (RFC 9112 2.2, 3, 5) and counts; what the words mean is
 * llhttp's and http.c's matter.
 *
 * It keeps all the bounds of a head: nothing is stored before a limit has
 * judged it (I6). It also finds where the head ends, to the byte: what stands
 * behind belongs to somebody else. */
#include "proto/http_priv.h"
#include <string.h>

static bool refuse(struct http_scan *s, int status, const char *why)
{
    s->status = status;
    s->detail = why;
    return false;
}

bool http_is_token_char(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
        (c >= 'a' && c <= 'z')) {
        return true;
    }
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http_is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!http_is_token_char((uint8_t)s[i])) {
            return false;
        }
    }
    return n > 0;
}

static bool scan_start(struct http_scan *s, uint8_t c)
{
    if (c == '\r') { /* RFC 9112 2.2: an empty line before is ignored */
        s->state = SCAN_START_CR;
        return true;
    }
    if (!http_is_token_char(c)) {
        return refuse(s, 400, "this is not HTTP");
    }
    s->state = SCAN_METHOD;
    return true;
}

static bool scan_method(struct http_scan *s, uint8_t c)
{
    if (c == ' ') {
        s->state = SCAN_TARGET;
        s->piece = 0;
        return true;
    }
    return http_is_token_char(c) || refuse(s, 400, "the method is malformed");
}

static bool scan_target(struct http_scan *s, uint8_t c)
{
    if (c == ' ' && s->piece > 0) {
        s->state = SCAN_VERSION;
        s->piece = 0;
        return true;
    }
    if (c == '\r' && s->piece > 0) {
        return refuse(s, 505, "HTTP/0.9 is not spoken here");
    }
    if (c <= ' ' || c >= 0x7f) {
        return refuse(s, 400, "a byte that may not stand in a request target");
    }
    if (++s->piece > s->target_bytes) {
        return refuse(s, 414, "the request target is too long");
    }
    return true;
}

static bool scan_version(struct http_scan *s, uint8_t c)
{
    static const char protocol[] = "HTTP/";
    if (s->piece < sizeof(protocol) - 1) {
        if (c != (uint8_t)protocol[s->piece]) {
            return refuse(s, 400, "the request line does not end in HTTP/1.1");
        }
        s->piece++;
        return true;
    }
    if (c == '\r') {
        s->state = SCAN_CR;
        return true;
    }
    return (c > ' ' && c < 0x7f) ||
           refuse(s, 400, "the request line does not end in HTTP/1.1");
}

static bool scan_line(struct http_scan *s, uint8_t c)
{
    if (c == '\r') {
        s->state = SCAN_END_CR;
        return true;
    }
    if (c == ' ' || c == '\t') { /* RFC 9112 5.2: obs-fold */
        return refuse(s, 400, "a header line begins with a space");
    }
    if (!http_is_token_char(c)) {
        return refuse(s, 400, "a header name is malformed");
    }
    if (++s->header_count > s->headers) {
        return refuse(s, 431, "too many headers");
    }
    s->state = SCAN_NAME;
    return true;
}

static bool scan_name(struct http_scan *s, uint8_t c)
{
    if (c == ':') {
        s->state = SCAN_VALUE;
        return true;
    }
    if (c == ' ' || c == '\t') { /* RFC 9112 5.1: must be refused */
        return refuse(s, 400, "a space in or behind a header name");
    }
    return http_is_token_char(c) ||
           refuse(s, 400, "a header name is malformed");
}

static bool scan_value(struct http_scan *s, uint8_t c)
{
    if (c == '\r') {
        s->state = SCAN_CR;
        return true;
    }
    if ((c < ' ' && c != '\t') || c == 0x7f) {
        return refuse(s, 400, "a control character in a header value");
    }
    return true;
}

static bool scan_lf(struct http_scan *s, uint8_t c, enum http_scan_state next)
{
    s->state = next;
    return c == '\n' || refuse(s, 400, "a CR without a LF");
}

static bool scan_byte(struct http_scan *s, uint8_t c)
{
    if (s->bytes == s->head_bytes) {
        return refuse(s, 431, "the request head is too long");
    }
    s->bytes++;
    switch (s->state) {
    case SCAN_START: return scan_start(s, c);
    case SCAN_START_CR: return scan_lf(s, c, SCAN_START);
    case SCAN_METHOD: return scan_method(s, c);
    case SCAN_TARGET: return scan_target(s, c);
    case SCAN_VERSION: return scan_version(s, c);
    case SCAN_LINE: return scan_line(s, c);
    case SCAN_NAME: return scan_name(s, c);
    case SCAN_VALUE: return scan_value(s, c);
    case SCAN_CR: return scan_lf(s, c, SCAN_LINE);
    case SCAN_END_CR: return scan_lf(s, c, SCAN_DONE);
    case SCAN_DONE: break;
    }
    return false;
}

void http_scan_reset(struct http_scan *s)
{
    s->state = SCAN_START;
    s->bytes = 0;
    s->header_count = 0;
    s->piece = 0;
    s->status = 0;
    s->detail = NULL;
}

size_t http_scan(struct http_scan *s, const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && s->state != SCAN_DONE && scan_byte(s, p[i])) {
        i++;
    }
    return i;
}
