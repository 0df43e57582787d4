/* ip.h -- addresses as bytes, as text, and as ranges. */
#ifndef PROTO_IP_H
#define PROTO_IP_H

#include "base/base.h"

#define IP_TEXT_BYTES 46

/* Version 4 as ::ffff:a.b.c.d, so that there is one kind of address. All
 * zeros: no address. */
struct ip {
    uint8_t b[16];
};

/* An address and nothing else. False: it is none. */
bool ip_parse(struct ip *out, const char *text, size_t len) NODISCARD;
/* A socket's address; no address for other families. */
struct sockaddr_storage;
void ip_from_socket(struct ip *out, const struct sockaddr_storage *ss);
void ip_write(const struct ip *ip, char out[IP_TEXT_BYTES]);
bool ip_is_none(const struct ip *ip);
/* Whom a limit for an address means: of version 6 the first 64 bits, since
 * everybody has as many addresses below these as they like. */
struct ip ip_owner(const struct ip *ip);

/* "10.0.0.0/8", "::1", "fd00::/8". */
struct cidr {
    struct ip ip;
    uint8_t bits; /* of the 128 */
};

bool cidr_parse(struct cidr *out, const char *text, size_t len) NODISCARD;
bool cidr_has(const struct cidr *ranges, size_t count, const struct ip *ip);

#endif
