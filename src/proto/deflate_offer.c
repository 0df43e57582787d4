/* deflate_offer.c -- which of a client's offers is taken, and with which
 * words (RFC 7692 5.1, 7.1).
 *
 * Called when a handshake is accepted. An offer that breaks a rule of 7.1 (an
 * unknown parameter, one given twice, a value where none belongs or that is
 * out of range) is declined as a whole, and the next is looked at; without an
 * acceptable one the connection is plain, which is no error.
 *
 * zlib cannot make a raw stream for a window of 256 bytes; but what it makes
 * for one of 512 never refers back further than 512 - 262 bytes, so that also
 * serves (deflate.c), and every offer can be met. */
#include "proto/deflate.h"
#include "proto/extension.h"
#include <stdio.h>
#include <string.h>

#define NAME "permessage-deflate"

/* What one offer says. */
struct offer {
    bool is_ours;
    bool is_bad;
    bool server_no_context;
    bool client_no_context;
    uint8_t server_bits; /* 0: not given */
    uint8_t client_bits;
    bool has_client_bits; /* without a value it only says "may be told" */
};

/* 8 to 15 in decimal digits without a leading zero; 0: it is not. */
static uint8_t parse_bits(const struct extension_item *item)
{
    const char *v = item->value;
    if (item->value_len == 1 && (v[0] == '8' || v[0] == '9')) {
        return (uint8_t)(v[0] - '0');
    }
    if (item->value_len == 2 && v[0] == '1' && v[1] >= '0' && v[1] <= '5') {
        return (uint8_t)(10 + v[1] - '0');
    }
    return 0;
}

/* True: the parameter is given for the first time, and right so far. */
static bool once(bool *seen, bool is_right)
{
    bool is_first = !*seen;
    *seen = true;
    return is_first && is_right;
}

static bool read_param(struct offer *o, const struct extension_item *item)
{
    if (extension_is(item, "server_no_context_takeover")) {
        return once(&o->server_no_context, !item->has_value);
    }
    if (extension_is(item, "client_no_context_takeover")) {
        return once(&o->client_no_context, !item->has_value);
    }
    if (extension_is(item, "server_max_window_bits")) {
        bool is_given = o->server_bits != 0;
        o->server_bits = parse_bits(item);
        return !is_given && o->server_bits != 0;
    }
    if (extension_is(item, "client_max_window_bits")) {
        o->client_bits = parse_bits(item);
        return once(
            &o->has_client_bits, !item->has_value || o->client_bits != 0);
    }
    return false;
}

static uint8_t least(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static void accept_offer(const struct offer *o,
    const struct deflate_policy *policy, struct deflate_params *out)
{
    *out = (struct deflate_params){
        .server_keeps = policy->server_keeps && !o->server_no_context,
        .client_keeps = policy->client_keeps && !o->client_no_context,
        .server_bits = policy->server_bits,
        .client_bits = DEFLATE_BITS_MAX,
    };
    if (o->server_bits != 0) {
        out->server_bits = least(out->server_bits, o->server_bits);
    }
    /* 7.1.2.2: who has not offered it may not be told. */
    if (o->has_client_bits) {
        out->client_bits = policy->client_bits;
        if (o->client_bits != 0) {
            out->client_bits = least(out->client_bits, o->client_bits);
        }
    }
    out->says_server_bits =
        o->server_bits != 0 || out->server_bits < DEFLATE_BITS_MAX;
    out->says_client_bits = out->client_bits < DEFLATE_BITS_MAX;
}

static bool is_acceptable(const struct offer *o)
{
    return o->is_ours && !o->is_bad;
}

/* Of one header. */
static bool find_offer(const char *text, struct offer *o)
{
    struct extension_walk w = {.at = text};
    struct extension_item item;
    *o = (struct offer){0};
    for (;;) {
        switch (extension_next(&w, &item)) {
        case EXTENSION_NAME:
            if (is_acceptable(o)) {
                return true;
            }
            *o = (struct offer){.is_ours = extension_is(&item, NAME)};
            break;
        case EXTENSION_PARAM:
            o->is_bad |= o->is_ours && !read_param(o, &item);
            break;
        case EXTENSION_END: return is_acceptable(o);
        case EXTENSION_BAD: return false;
        }
    }
}

bool deflate_choose(const struct http_request *r,
    const struct deflate_policy *policy, struct deflate_params *out)
{
    for (size_t i = 0; policy->is_on && i < r->header_count; i++) {
        struct offer o;
        if (strcmp(r->headers[i].name, "sec-websocket-extensions") == 0 &&
            find_offer(r->headers[i].value, &o)) {
            accept_offer(&o, policy, out);
            return true;
        }
    }
    return false;
}

void deflate_answer(
    const struct deflate_params *p, char out[DEFLATE_ANSWER_BYTES])
{
    char server_bits[32] = "";
    char client_bits[32] = "";
    if (p->says_server_bits) {
        (void)snprintf(server_bits, sizeof(server_bits),
            "; server_max_window_bits=%u", p->server_bits);
    }
    if (p->says_client_bits) {
        (void)snprintf(client_bits, sizeof(client_bits),
            "; client_max_window_bits=%u", p->client_bits);
    }
    (void)snprintf(out, DEFLATE_ANSWER_BYTES,
        "Sec-WebSocket-Extensions: " NAME "%s%s%s%s\r\n",
        p->server_keeps ? "" : "; server_no_context_takeover",
        p->client_keeps ? "" : "; client_no_context_takeover", server_bits,
        client_bits);
}
