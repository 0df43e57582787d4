/* http_target.c -- what stands between the method and the version.
 *
 * Called by http.c with a target whose bytes the scanner has passed: visible
 * ASCII only. Two of the four forms of RFC 9112 3.2 are answered, origin-form
 * ("/path?query") and absolute-form ("http://host/path?query"); "*" and
 * CONNECT's "host:port" ask for things this server does not do.
 *
 * The path is decoded once, here; a NUL in it is refused because everybody
 * behind takes it for the end. It does not resolve "..": that is for those
 * who map a path to something. */
#include "proto/http_priv.h"
#include "proto/ip.h"
#include <string.h>
#include <strings.h>

#define PORT_DIGITS 5

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* Decodes n bytes; NULL, or what is wrong. */
static const char *decode_path(const char *s, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '%') {
            *out++ = s[i];
            continue;
        }
        int high = n - i > 2 ? hex_digit(s[i + 1]) : -1;
        int low = n - i > 2 ? hex_digit(s[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return "a '%' in the path without two hex digits";
        }
        if (high == 0 && low == 0) {
            return "a NUL in the path";
        }
        *out++ = (char)(high << 4 | low);
        i += 2;
    }
    *out = '\0';
    return NULL;
}

/* What follows "scheme://", or NULL if this is no absolute-form we know. */
static const char *behind_scheme(const char *target)
{
    static const char *const schemes[] = {
        "http://", "https://", "ws://", "wss://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], n) == 0) {
            return target + n;
        }
    }
    return NULL;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z');
}

/* RFC 3986 3.2.2: unreserved, sub-delims and whole escapes. */
static bool is_reg_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%') {
            if (n - i < 3 || hex_digit(s[i + 1]) < 0 ||
                hex_digit(s[i + 2]) < 0) {
                return false;
            }
            i += 2;
        } else if (!is_alnum(s[i]) &&
                   (s[i] == '\0' || strchr("-._~!$&'()*+,;=", s[i]) == NULL)) {
            return false;
        }
    }
    return true;
}

/* What stands between the brackets: an address of version 6. */
static bool is_ip_literal(const char *s, size_t n)
{
    struct ip ip;
    return memchr(s, ':', n) != NULL && ip_parse(&ip, s, n);
}

/* RFC 3986 3.2.3, and no more than a port can be. */
static bool is_port(const char *s, size_t n)
{
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || n > PORT_DIGITS) {
            return false;
        }
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    return v <= UINT16_MAX;
}

bool http_host_is_valid(const char *host, size_t n)
{
    size_t name;
    if (n > 0 && host[0] == '[') {
        const char *end = memchr(host, ']', n);
        if (end == NULL || !is_ip_literal(host + 1, (size_t)(end - host) - 1)) {
            return false;
        }
        name = (size_t)(end - host) + 1;
    } else {
        const char *colon = memchr(host, ':', n);
        name = colon != NULL ? (size_t)(colon - host) : n;
        if (!is_reg_name(host, name)) {
            return false;
        }
    }
    if (name == n) {
        return true;
    }
    return name > 0 && host[name] == ':' &&
           is_port(host + name + 1, n - name - 1);
}

const char *http_target_parse(
    const char *target, struct http_target *t, char *path)
{
    *t = (struct http_target){0};
    const char *p = target;
    if (*p != '/') {
        p = behind_scheme(target);
        if (p == NULL) {
            return "the request target is not a path";
        }
        t->authority = p;
        t->authority_len = strcspn(p, "/?#");
        p += t->authority_len;
        if (t->authority_len == 0 ||
            !http_host_is_valid(t->authority, t->authority_len)) {
            return "the host in the request target is malformed";
        }
    }
    size_t path_len = strcspn(p, "?#");
    t->query = p + path_len;
    if (*t->query == '?') {
        t->query++;
    }
    if (strchr(t->query, '#') != NULL) {
        return "a fragment in the request target";
    }
    if (path_len == 0) { /* "http://host", "http://host?query" */
        p = "/";
        path_len = 1;
    }
    return decode_path(p, path_len, path);
}
