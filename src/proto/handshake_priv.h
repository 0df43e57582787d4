/* handshake_priv.h -- what the files of the handshake share. */
#ifndef PROTO_HANDSHAKE_PRIV_H
#define PROTO_HANDSHAKE_PRIV_H

#include "proto/handshake.h"

/* Protocols that a request may offer. */
#define PROTOCOLS_MAX 64

/* NULL if all lists of protocols and extensions are well-formed, else a static
 * sentence about the first that is not. */
const char *handshake_check_lists(const struct http_request *r);

#endif
