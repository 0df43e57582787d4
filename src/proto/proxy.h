/* proxy.h -- the PROXY protocol, versions 1 and 2: what a proxy says in front
 * of a connection's first byte about who is behind it. No I/O. */
#ifndef PROTO_PROXY_H
#define PROTO_PROXY_H

#include "proto/ip.h"

enum proxy_result { PROXY_MORE, PROXY_DONE, PROXY_BAD };

#define PROXY_LINE_BYTES 107 /* of version 1, with its CRLF */

/* Zeroed, it is ready. */
struct proxy_reader {
    uint8_t bytes[PROXY_LINE_BYTES + 1];
    uint8_t len;
    uint16_t skip; /* what else version 2 announced */
};

/* Feeds bytes; *used says how many were eaten: what is behind the header is
 * left to the caller. PROXY_DONE: *client is who is behind the proxy, or no
 * address where the proxy speaks for itself or does not know. PROXY_BAD: at
 * the first wrong byte, with a static sentence in *detail. */
enum proxy_result proxy_read(struct proxy_reader *r, const uint8_t *p, size_t n,
    size_t *used, struct ip *client, const char **detail) NODISCARD;

#endif
