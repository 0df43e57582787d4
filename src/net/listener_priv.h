/* listener_priv.h -- addresses, and the sockets that listen on them. */
#ifndef NET_LISTENER_PRIV_H
#define NET_LISTENER_PRIV_H

#include "base/base.h"

#define ADDRESS_HOST_BYTES 256
#define ADDRESS_PORT_BYTES 6

struct address {
    char host[ADDRESS_HOST_BYTES]; /* "": all addresses; no brackets */
    char port[ADDRESS_PORT_BYTES];
    bool is_literal; /* stood in brackets: an IPv6 address, not a name */
};

/* 0 or ERR_SYNTAX; nothing is looked up. */
int address_parse(struct address *out, const char *text) NODISCARD;

/* A listening socket, or a negated errno, or ERR_NOT_FOUND. */
int bind_address(const struct address *a) NODISCARD;
/* Another one, bound to where `fd` is bound, and as that one is. */
int bind_beside(int fd) NODISCARD;
/* Where it is bound, "127.0.0.1:43210". 0 or a negated errno. */
int bind_write(int fd, char *out, size_t cap) NODISCARD;

#endif
