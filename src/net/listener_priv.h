/* listener_priv.h -- what the listener's tests look at. */
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

#endif
