/* ip.c -- addresses as bytes, as text, and as ranges.
 *
 * Used wherever an address is judged instead of shown: trusted proxies, the
 * headers they write, limits for each address. Parsing is inet_pton()'s, which
 * knows neither leading zeros nor zones. */
#include "proto/ip.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define V4_AT   12 /* where version 4 begins in the sixteen bytes */
#define V4_BITS 96 /* in front of it */

static const uint8_t v4_prefix[V4_AT] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const struct ip *ip)
{
    return memcmp(ip->b, v4_prefix, sizeof(v4_prefix)) == 0;
}

bool ip_parse(struct ip *out, const char *text, size_t len)
{
    char copy[IP_TEXT_BYTES];
    if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len) != NULL) {
        return false;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    memcpy(out->b, v4_prefix, sizeof(v4_prefix));
    if (inet_pton(AF_INET, copy, out->b + V4_AT) == 1) {
        return true;
    }
    return inet_pton(AF_INET6, copy, out->b) == 1;
}

void ip_from_socket(struct ip *out, const struct sockaddr_storage *ss)
{
    *out = (struct ip){{0}};
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
        memcpy(out->b, v4_prefix, sizeof(v4_prefix));
        memcpy(out->b + V4_AT, &in->sin_addr, sizeof(in->sin_addr));
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)ss;
        memcpy(out->b, &in->sin6_addr, sizeof(out->b));
    }
}

void ip_write(const struct ip *ip, char out[IP_TEXT_BYTES])
{
    const void *from = is_v4(ip) ? ip->b + V4_AT : ip->b;
    if (ip_is_none(ip) || inet_ntop(is_v4(ip) ? AF_INET : AF_INET6, from, out,
                              IP_TEXT_BYTES) == NULL) {
        out[0] = '\0';
    }
}

bool ip_is_none(const struct ip *ip)
{
    static const struct ip none;
    return memcmp(ip, &none, sizeof(none)) == 0;
}

struct ip ip_owner(const struct ip *ip)
{
    struct ip owner = *ip;
    if (!is_v4(ip)) {
        memset(owner.b + 8, 0, 8);
    }
    return owner;
}

static bool has_prefix(const struct ip *ip, const struct cidr *range)
{
    size_t bytes = range->bits / 8;
    unsigned rest = range->bits % 8;
    if (memcmp(ip->b, range->ip.b, bytes) != 0) {
        return false;
    }
    unsigned mask = 0xff00u >> rest & 0xff;
    return rest == 0 || ((ip->b[bytes] ^ range->ip.b[bytes]) & mask) == 0;
}

/* One to three digits. */
static bool parse_bits(const char *s, size_t n, unsigned *bits)
{
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return false;
        }
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    *bits = v;
    return n > 0 && n <= 3 && (n == 1 || s[0] != '0');
}

bool cidr_parse(struct cidr *out, const char *text, size_t len)
{
    const char *slash = memchr(text, '/', len);
    size_t ip_len = slash != NULL ? (size_t)(slash - text) : len;
    if (!ip_parse(&out->ip, text, ip_len)) {
        return false;
    }
    bool v4 = memchr(text, ':', ip_len) == NULL;
    unsigned most = v4 ? 32 : 128;
    unsigned bits = most;
    if (slash != NULL && !parse_bits(slash + 1, len - ip_len - 1, &bits)) {
        return false;
    }
    if (bits > most) {
        return false;
    }
    out->bits = (uint8_t)(v4 ? V4_BITS + bits : bits);
    /* What stands behind the prefix must be zero: "10.0.0.1/8" was meant to be
     * something else. */
    for (unsigned i = out->bits; i < 128; i++) {
        if ((out->ip.b[i / 8] & 0x80u >> i % 8) != 0) {
            return false;
        }
    }
    return true;
}

bool cidr_has(const struct cidr *ranges, size_t count, const struct ip *ip)
{
    for (size_t i = 0; i < count; i++) {
        if (has_prefix(ip, &ranges[i])) {
            return true;
        }
    }
    return false;
}
