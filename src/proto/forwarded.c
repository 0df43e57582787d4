/* forwarded.c -- X-Forwarded-For and X-Forwarded-Host.
 *
 * Each proxy adds to the end of X-Forwarded-For the address it was called
 * from, so the list is to be believed from its end on, for as long as the one
 * who wrote an element is trusted. The first that is not is the client; what
 * stands in front of it the client may have made up. An element that is no
 * address ends the walk: what is known up to there counts.
 *
 * Forwarded (RFC 7239) is not read: a proxy that writes the one header passes
 * the other on as the client sent it, and there is no telling which it is. */
#include "proto/forwarded.h"
#include "proto/http_priv.h"
#include <string.h>

/* "1.2.3.4", "1.2.3.4:80", "2001:db8::1", "[2001:db8::1]:80" */
static bool parse_element(const char *s, size_t n, struct ip *out)
{
    if (n > 0 && s[0] == '[') {
        const char *end = memchr(s, ']', n);
        bool is_whole = end != NULL && (end == s + n - 1 || end[1] == ':');
        return is_whole && ip_parse(out, s + 1, (size_t)(end - s) - 1);
    }
    const char *colon = memchr(s, ':', n);
    if (colon != NULL &&
        memchr(colon + 1, ':', n - (size_t)(colon - s) - 1) == NULL) {
        n = (size_t)(colon - s); /* one colon: a port of version 4 */
    }
    return ip_parse(out, s, n);
}

/* Steps backwards through a comma list: the element that ends at *end, which
 * then is where the one before it ends. False: there is none. */
static bool list_previous(
    const char *list, const char **end, const char **item, size_t *len)
{
    const char *e = *end;
    while (e > list && strchr(" \t,", e[-1]) != NULL) {
        e--;
    }
    const char *s = e;
    while (s > list && s[-1] != ',') {
        s--;
    }
    *end = s;
    while (s < e && (*s == ' ' || *s == '\t')) {
        s++;
    }
    *item = s;
    *len = (size_t)(e - s);
    return e > s;
}

bool forwarded_for(const struct http_request *r, const struct cidr *trusted,
    size_t count, struct ip *out)
{
    bool is_known = false;
    for (size_t i = r->header_count; i-- > 0;) {
        const struct http_header *h = &r->headers[i];
        if (strcmp(h->name, "x-forwarded-for") != 0) {
            continue;
        }
        const char *end = h->value + h->value_len;
        const char *item;
        size_t len;
        while (list_previous(h->value, &end, &item, &len)) {
            struct ip ip;
            if (!parse_element(item, len, &ip)) {
                return is_known;
            }
            *out = ip;
            is_known = true;
            if (!cidr_has(trusted, count, &ip)) {
                return true;
            }
        }
    }
    return is_known;
}

const char *forwarded_host(const struct http_request *r)
{
    const char *host = http_header_find(r, "x-forwarded-host");
    if (host == NULL || http_header_count(r, "x-forwarded-host") != 1 ||
        host[0] == '\0' || !http_host_is_valid(host, strlen(host))) {
        return NULL;
    }
    return host;
}
