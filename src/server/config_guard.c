/* config_guard.c -- the options against rude peers: text -> struct guard.
 *
 * Called by config.c, whose table of options they are part of. */
#include "base/units.h"
#include "server/config_priv.h"
#include <stdlib.h>
#include <string.h>

#define SLOW_BYTES_MAX (1024 * 1024)
#define HEAD_BYTES_MIN 1024
#define HEADERS_MIN    10
#define WAIT_MS_MIN    100
#define RATE_WANTS     "a number such as 20, or 20/100 with a burst"

/* Digits, up to `end` or one of the characters that may end them. */
static bool read_number(
    const char *text, const char **end, uint64_t most, uint32_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 10) {
        return false;
    }
    unsigned long long v = strtoull(text, NULL, 10);
    *end = text + digits;
    *out = (uint32_t)v;
    return v <= most;
}

static bool read_count(
    const char *text, uint32_t least, uint32_t most, uint32_t *out)
{
    const char *end;
    uint32_t v;
    if (!read_number(text, &end, most, &v) || *end != '\0' || v < least) {
        return false;
    }
    *out = v;
    return true;
}

static bool read_bytes(
    const char *text, uint32_t least, uint32_t most, uint32_t *out)
{
    uint64_t v;
    if (units_parse_bytes(text, &v) != 0 || v < least || v > most) {
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

static bool read_ms(const char *text, uint32_t least, uint32_t *out)
{
    uint64_t v;
    if (units_parse_ms(text, &v) != 0 || v < least || v > LIMIT_MAX_WAIT_MS) {
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

/* "N", whose burst is two seconds' worth, or "N/BURST". */
static bool read_rate(const char *text, struct rate *out)
{
    const char *end;
    struct rate r;
    if (!read_number(text, &end, LIMIT_MAX_RATE, &r.per_s)) {
        return false;
    }
    r.burst = r.per_s * 2;
    if (*end == '/' && (!read_number(end + 1, &end, LIMIT_MAX_RATE, &r.burst) ||
                           r.burst == 0)) {
        return false;
    }
    if (*end != '\0') {
        return false;
    }
    *out = r;
    return true;
}

static bool set_trust_proxy(struct config *c, const char *text)
{
    struct guard *g = &c->guard;
    g->proxy_count = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        if (g->proxy_count == LIMIT_PROXIES ||
            !cidr_parse(&g->proxies[g->proxy_count], text, n)) {
            return false;
        }
        g->proxy_count++;
        text += n;
        if (*text == ',' && *++text == '\0') {
            return false;
        }
    }
    return true;
}

static bool set_proxy_protocol(struct config *c, const char *text)
{
    return config_read_switch(text, &c->guard.proxy_protocol);
}

static bool set_address_connections(struct config *c, const char *text)
{
    return read_count(text, 0, UINT32_MAX, &c->guard.address_connections);
}

static bool set_address_rate(struct config *c, const char *text)
{
    return read_rate(text, &c->guard.address_rate);
}

static bool set_address_messages(struct config *c, const char *text)
{
    return read_rate(text, &c->guard.address_messages);
}

static bool set_rate_patience(struct config *c, const char *text)
{
    return read_ms(text, 0, &c->guard.rate_patience_ms);
}

static bool set_max_head(struct config *c, const char *text)
{
    return read_bytes(
        text, HEAD_BYTES_MIN, LIMIT_MAX_HEAD_BYTES, &c->guard.head_bytes);
}

static bool set_max_headers(struct config *c, const char *text)
{
    return read_count(text, HEADERS_MIN, LIMIT_MAX_HEADERS, &c->guard.headers);
}

static bool set_max_body(struct config *c, const char *text)
{
    return read_bytes(text, 0, LIMIT_MAX_BODY_BYTES, &c->guard.body_bytes);
}

static bool set_head_time(struct config *c, const char *text)
{
    return read_ms(text, WAIT_MS_MIN, &c->guard.handshake_ms);
}

static bool set_idle_time(struct config *c, const char *text)
{
    return read_ms(text, WAIT_MS_MIN, &c->guard.keep_alive_ms);
}

static bool set_slow_bytes(struct config *c, const char *text)
{
    return read_bytes(text, 1, SLOW_BYTES_MAX, &c->guard.slow_bytes);
}

static bool set_slow_time(struct config *c, const char *text)
{
    return read_ms(text, 0, &c->guard.slow_ms);
}

const struct option config_guard_options[CONFIG_GUARD_COUNT] = {
    {"--trust-proxy", "MOONWIRE_TRUST_PROXY", "CIDR[,CIDR...]",
        "whose X-Forwarded-For and X-Forwarded-Host are believed (nobody's)",
        CONFIG_FOR_RUN, set_trust_proxy,
        "addresses or ranges such as 10.0.0.0/8,::1"},
    {"--proxy-protocol", "MOONWIRE_PROXY_PROTOCOL", NULL,
        "connections of trusted proxies begin with a PROXY header, of\n"
        "version 1 or 2",
        CONFIG_FOR_RUN, set_proxy_protocol, "1 or 0"},
    {"--address-connections", "MOONWIRE_ADDRESS_CONNECTIONS", "N",
        "connections that one address may have; 0: any number (0)",
        CONFIG_FOR_RUN, set_address_connections, "a number"},
    {"--address-rate", "MOONWIRE_ADDRESS_RATE", "N[/BURST]",
        "new connections of one address in a second; 0: any number (0)",
        CONFIG_FOR_RUN, set_address_rate, RATE_WANTS},
    {"--address-messages", "MOONWIRE_ADDRESS_MESSAGES", "N[/BURST]",
        "frames of one address in a second, over all its clients; who\n"
        "sends more is read more slowly; 0: any number (0)",
        CONFIG_FOR_RUN, set_address_messages, RATE_WANTS},
    {"--rate-patience", "MOONWIRE_RATE_PATIENCE", "TIME",
        "who is over a rate for that long without a break is closed (10s)",
        CONFIG_FOR_RUN, set_rate_patience, "a time up to 1h"},
    {"--max-head", "MOONWIRE_MAX_HEAD", "SIZE",
        "bytes of a request's head (16KB)", CONFIG_FOR_RUN, set_max_head,
        "a size from 1KB to 64KB"},
    {"--max-headers", "MOONWIRE_MAX_HEADERS", "N", "headers in it (100)",
        CONFIG_FOR_RUN, set_max_headers, "a number from 10 to 1000"},
    {"--max-body", "MOONWIRE_MAX_BODY", "SIZE",
        "bytes of a request's body (1MB)", CONFIG_FOR_RUN, set_max_body,
        "a size up to 64MB"},
    {"--head-time", "MOONWIRE_HEAD_TIME", "TIME",
        "how long a head may take to come (10s)", CONFIG_FOR_RUN, set_head_time,
        "a time from 100ms to 1h"},
    {"--idle-time", "MOONWIRE_IDLE_TIME", "TIME",
        "how long a connection is kept between two requests (10s)",
        CONFIG_FOR_RUN, set_idle_time, "a time from 100ms to 1h"},
    {"--slow-time", "MOONWIRE_SLOW_TIME", "TIME",
        "a message or a body of which less than --slow-bytes comes in this\n"
        "time is too slow; 0: nothing is (30s)",
        CONFIG_FOR_RUN, set_slow_time, "a time up to 1h"},
    {"--slow-bytes", "MOONWIRE_SLOW_BYTES", "SIZE", "see there (1KB)",
        CONFIG_FOR_RUN, set_slow_bytes, "a size up to 1MB"},
};

const char *config_check_guard(const struct config *c)
{
    if (c->guard.proxy_protocol && c->guard.proxy_count == 0) {
        return "--proxy-protocol needs --trust-proxy: whose header is it to "
               "believe?";
    }
    return NULL;
}
