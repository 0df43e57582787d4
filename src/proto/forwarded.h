/* forwarded.h -- what trusted proxies say in X-Forwarded-For and
 * X-Forwarded-Host. Whether to believe them is the caller's matter. */
#ifndef PROTO_FORWARDED_H
#define PROTO_FORWARDED_H

#include "proto/http.h"
#include "proto/ip.h"

/* The client's address: in the list of all X-Forwarded-For headers the last
 * one that is not a trusted proxy's own. False: nothing is said, or nothing
 * that can be believed; *out is not changed then. */
bool forwarded_for(const struct http_request *r, const struct cidr *trusted,
    size_t count, struct ip *out) NODISCARD;
/* The host that the client asked for; NULL if nobody says, or several do. */
const char *forwarded_host(const struct http_request *r);

#endif
