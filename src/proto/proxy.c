/* proxy.c -- the PROXY protocol, versions 1 and 2.
 *
 * Used by net/conn_peer for connections of trusted proxies, before anything
 * else is read from them. The header's first byte says which version it is;
 * from there on every byte is held to it, so that a stream which is something
 * else is told at once. Nothing is allocated: the part of a header that means
 * anything fits into the reader, what version 2 has behind it (TLVs) is
 * counted and read over, to a bound (I6).
 *
 *   PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n
 *   "\r\n\r\n\0\r\nQUIT\n" 0x2C 0xFP len16  src dst sport dport  TLVs
 */
#include "proto/proxy.h"
#include "base/limits.h"
#include <string.h>

#define V2_HEAD_BYTES 16
#define V2_IPV4_BYTES 12
#define V2_IPV6_BYTES 36

static const uint8_t signature[12] = {
    '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
static const char line_begin[] = "PROXY ";

static enum proxy_result refuse(const char **detail, const char *why)
{
    *detail = why;
    return PROXY_BAD;
}

/* ---- version 1 ---- */

/* The word at *at and the blank behind it, or the line's end if `is_last`. */
static bool next_word(
    const char **at, bool is_last, const char **word, size_t *len)
{
    *word = *at;
    *len = strcspn(*at, " ");
    if (*len == 0 || ((*at)[*len] == ' ') == is_last) {
        return false;
    }
    *at += *len + !is_last;
    return true;
}

static bool is_port(const char *s, size_t n)
{
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || n > 5 || (n > 1 && s[0] == '0')) {
            return false;
        }
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    return v <= UINT16_MAX;
}

static bool parse_v1_address(const char *s, size_t n, bool v4, struct ip *out)
{
    return ip_parse(out, s, n) && (memchr(s, ':', n) == NULL) == v4;
}

/* A whole line, without its CRLF, NUL-terminated. */
static enum proxy_result parse_v1(
    const char *line, struct ip *client, const char **detail)
{
    const char *at = line + sizeof(line_begin) - 1;
    if (strncmp(at, "UNKNOWN", 7) == 0 && (at[7] == '\0' || at[7] == ' ')) {
        return PROXY_DONE; /* what follows means nothing */
    }
    bool v4 = strncmp(at, "TCP4 ", 5) == 0;
    if (!v4 && strncmp(at, "TCP6 ", 5) != 0) {
        return refuse(detail, "a PROXY header of an unknown family");
    }
    at += 5;
    const char *word;
    size_t len;
    struct ip source;
    struct ip destination;
    if (!next_word(&at, false, &word, &len) ||
        !parse_v1_address(word, len, v4, &source) ||
        !next_word(&at, false, &word, &len) ||
        !parse_v1_address(word, len, v4, &destination)) {
        return refuse(detail, "a PROXY header with a malformed address");
    }
    if (!next_word(&at, false, &word, &len) || !is_port(word, len) ||
        !next_word(&at, true, &word, &len) || !is_port(word, len)) {
        return refuse(detail, "a PROXY header with a malformed port");
    }
    *client = source;
    return PROXY_DONE;
}

static enum proxy_result take_v1(
    struct proxy_reader *r, uint8_t c, struct ip *client, const char **detail)
{
    size_t at = r->len;
    bool is_begin = at < sizeof(line_begin) - 1;
    bool is_behind_cr = at > 0 && r->bytes[at - 1] == '\r';
    if (is_begin ? c != (uint8_t)line_begin[at]
                 : (c != '\r' && (c < ' ' || c >= 0x7f) &&
                       !(is_behind_cr && c == '\n'))) {
        return refuse(detail, "a malformed PROXY header");
    }
    if (is_behind_cr && c != '\n') {
        return refuse(detail, "a PROXY header with a CR and no LF");
    }
    if (at == PROXY_LINE_BYTES) {
        return refuse(detail, "a PROXY header of more than 107 bytes");
    }
    r->bytes[r->len++] = c;
    if (c != '\n') {
        return PROXY_MORE;
    }
    r->bytes[r->len - 2] = '\0';
    return parse_v1((char *)r->bytes, client, detail);
}

/* ---- version 2 ---- */

/* How many bytes behind the head mean something; -1: the family is refused. */
static int v2_address_bytes(const uint8_t *head)
{
    if ((head[12] & 0xf) == 0) {
        return 0; /* LOCAL: the proxy itself, whatever follows */
    }
    switch (head[13]) {
    case 0x11: return V2_IPV4_BYTES; /* TCP over IPv4 */
    case 0x21: return V2_IPV6_BYTES; /* TCP over IPv6 */
    case 0x00:                       /* it does not know */
    case 0x31:                       /* a UNIX socket, */
    case 0x32: return 0;             /* of either kind */
    default: return -1;
    }
}

static void v2_client(const uint8_t *bytes, struct ip *client)
{
    static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *source = bytes + V2_HEAD_BYTES;
    if (v2_address_bytes(bytes) == V2_IPV4_BYTES) {
        memcpy(client->b, v4_prefix, sizeof(v4_prefix));
        memcpy(client->b + sizeof(v4_prefix), source, 4);
    } else if (v2_address_bytes(bytes) == V2_IPV6_BYTES) {
        memcpy(client->b, source, sizeof(client->b));
    }
}

/* The sixteen bytes of the head are there. */
static enum proxy_result begin_v2(struct proxy_reader *r, const char **detail)
{
    unsigned announced = (unsigned)r->bytes[14] << 8 | r->bytes[15];
    int means = v2_address_bytes(r->bytes);
    if (means < 0) {
        return refuse(detail, "a PROXY header of an unknown family");
    }
    if (announced < (unsigned)means) {
        return refuse(detail, "a PROXY header too short for its addresses");
    }
    if (announced > LIMIT_PROXY_BYTES) {
        return refuse(detail, "a PROXY header that is too long");
    }
    r->skip = (uint16_t)(announced - (unsigned)means);
    return PROXY_MORE;
}

static enum proxy_result take_v2(
    struct proxy_reader *r, uint8_t c, const char **detail)
{
    size_t at = r->len;
    if (at < sizeof(signature) && c != signature[at]) {
        return refuse(detail, "a malformed PROXY header");
    }
    if (at == 12 && c != 0x20 && c != 0x21) {
        return refuse(detail, "a PROXY header of an unknown version");
    }
    r->bytes[r->len++] = c;
    return r->len == V2_HEAD_BYTES ? begin_v2(r, detail) : PROXY_MORE;
}

static bool v2_is_complete(const struct proxy_reader *r)
{
    return r->len >= V2_HEAD_BYTES &&
           r->len == V2_HEAD_BYTES + v2_address_bytes(r->bytes);
}

static enum proxy_result read_v2(struct proxy_reader *r, const uint8_t *p,
    size_t n, size_t *used, struct ip *client, const char **detail)
{
    enum proxy_result rc = PROXY_MORE;
    while (*used < n && rc == PROXY_MORE && !v2_is_complete(r)) {
        rc = take_v2(r, p[(*used)++], detail);
    }
    if (rc != PROXY_MORE || !v2_is_complete(r)) {
        return rc;
    }
    size_t over = n - *used < r->skip ? n - *used : r->skip;
    r->skip = (uint16_t)(r->skip - over);
    *used += over;
    if (r->skip > 0) {
        return PROXY_MORE;
    }
    v2_client(r->bytes, client);
    return PROXY_DONE;
}

enum proxy_result proxy_read(struct proxy_reader *r, const uint8_t *p, size_t n,
    size_t *used, struct ip *client, const char **detail)
{
    *used = 0;
    *client = (struct ip){{0}};
    if (n == 0) {
        return PROXY_MORE;
    }
    uint8_t first = r->len > 0 ? r->bytes[0] : p[0];
    if (first == signature[0]) {
        return read_v2(r, p, n, used, client, detail);
    }
    enum proxy_result rc = PROXY_MORE;
    while (*used < n && rc == PROXY_MORE) {
        rc = take_v1(r, p[(*used)++], client, detail);
    }
    return rc;
}
