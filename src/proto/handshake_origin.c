/* handshake_origin.c -- may a page of this origin connect? (RFC 6455 10.2)
 *
 * Browsers let any page open a WebSocket to anywhere, with the visitor's
 * cookies; only the server can say no. So without a setting only pages of
 * the same host may connect: the one that was asked for, which a trusted proxy
 * may know better than Host (r->host). Clients that are no browsers send no
 * Origin and pass: they could write any, and carry nobody else's cookies.
 *
 * Ports count, with the scheme's own filled in. The scheme itself is not
 * compared with the connection's: behind a proxy that does TLS we do not know
 * it. An allowed entry that names a scheme binds it. */
#include "proto/handshake.h"
#include <string.h>
#include <strings.h>

/* "scheme://host:port"; all lent. */
struct origin {
    const char *scheme; /* NULL: none was named */
    size_t scheme_len;
    const char *host;
    size_t host_len;
    unsigned port; /* 0: none was named and the scheme has none */
};

static unsigned default_port(const struct origin *o)
{
    static const struct {
        const char *scheme;
        unsigned port;
    } known[] = {{"http", 80}, {"https", 443}, {"ws", 80}, {"wss", 443}};
    for (size_t i = 0; o->scheme != NULL && i < ARRAY_LEN(known); i++) {
        if (strlen(known[i].scheme) == o->scheme_len &&
            strncasecmp(o->scheme, known[i].scheme, o->scheme_len) == 0) {
            return known[i].port;
        }
    }
    return 0;
}

/* The digits behind a colon; false: not a port. */
static bool parse_port(const char *s, unsigned *port)
{
    unsigned v = 0;
    for (; *s >= '0' && *s <= '9' && v <= UINT16_MAX; s++) {
        v = v * 10 + (unsigned)(*s - '0');
    }
    *port = v;
    return *s == '\0' && v > 0 && v <= UINT16_MAX;
}

/* False: this is no origin ("null", a path behind, no host, ...). A scheme is
 * optional, so that a Host header can be read as well. */
static bool parse_origin(const char *s, struct origin *o)
{
    *o = (struct origin){0};
    const char *host = strstr(s, "://");
    if (host != NULL) {
        o->scheme = s;
        o->scheme_len = (size_t)(host - s);
        s = host + 3;
    }
    /* A colon inside brackets belongs to an IPv6 address. */
    o->host = s;
    o->host_len = *s == '[' ? strcspn(s, "]") + 1 : strcspn(s, ":/?#@");
    if (o->host_len == 0 || o->host_len > strlen(s)) {
        return false;
    }
    s += o->host_len;
    if (*s == '\0') {
        o->port = default_port(o);
        return true;
    }
    return *s == ':' && parse_port(s + 1, &o->port);
}

static bool is_same_text(
    const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

/* The host of the page is the host it connects to. */
static bool is_same_site(const struct origin *page, const char *host_header)
{
    struct origin host;
    if (host_header == NULL || !parse_origin(host_header, &host) ||
        host.scheme != NULL) {
        return false;
    }
    /* A Host without a port is at the port of a scheme we do not know: the
     * page's port must then be its own scheme's. */
    unsigned port = host.port != 0 ? host.port : default_port(page);
    return page->port == port && page->port != 0 &&
           is_same_text(page->host, page->host_len, host.host, host.host_len);
}

/* "*.example.com" is every sub-domain of example.com, not itself. */
static bool host_matches(const struct origin *page, const struct origin *rule)
{
    if (rule->host_len < 2 || memcmp(rule->host, "*.", 2) != 0) {
        return is_same_text(
            page->host, page->host_len, rule->host, rule->host_len);
    }
    size_t tail = rule->host_len - 1; /* with the dot */
    return page->host_len > tail &&
           strncasecmp(
               page->host + page->host_len - tail, rule->host + 1, tail) == 0;
}

static bool rule_allows(const char *rule, const char *origin)
{
    struct origin page;
    struct origin want;
    if (strcmp(rule, "*") == 0 || strcasecmp(rule, origin) == 0) {
        return true;
    }
    if (!parse_origin(origin, &page) || page.scheme == NULL ||
        !parse_origin(rule, &want) || !host_matches(&page, &want)) {
        return false;
    }
    if (want.scheme != NULL && !is_same_text(page.scheme, page.scheme_len,
                                   want.scheme, want.scheme_len)) {
        return false;
    }
    /* A rule without scheme and port allows a host at its usual port. */
    return page.port == (want.port != 0 ? want.port : default_port(&page));
}

bool handshake_origin_entry_is_valid(const char *entry)
{
    struct origin o;
    if (strcmp(entry, "*") == 0) {
        return true;
    }
    if (!parse_origin(entry, &o)) {
        return false;
    }
    /* One star, for sub-domains of something. */
    size_t star = o.host_len > 1 && memcmp(o.host, "*.", 2) == 0 ? 2 : 0;
    return o.host_len > star &&
           memchr(o.host + star, '*', o.host_len - star) == NULL;
}

bool handshake_origin_is_allowed(
    const struct http_request *r, const char *const *allowed)
{
    const char *origin = http_header_find(r, "origin");
    if (origin == NULL) {
        return true;
    }
    if (http_header_count(r, "origin") > 1) {
        return false; /* which would be the true one? */
    }
    struct origin page;
    const char *host = r->host != NULL ? r->host : http_header_find(r, "host");
    if (parse_origin(origin, &page) && page.scheme != NULL &&
        is_same_site(&page, host)) {
        return true;
    }
    for (; allowed != NULL && *allowed != NULL; allowed++) {
        if (rule_allows(*allowed, origin)) {
            return true;
        }
    }
    return false;
}
