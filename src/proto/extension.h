/* extension.h -- the Sec-WebSocket-Extensions header of a handshake, item by
 * item (RFC 6455 9.1). What an extension means is not known here. */
#ifndef PROTO_EXTENSION_H
#define PROTO_EXTENSION_H

#include "proto/http.h"

#define EXTENSION_VALUE_BYTES 16

enum extension_kind {
    EXTENSION_END,  /* of the header's text */
    EXTENSION_NAME, /* an extension is offered: its parameters follow */
    EXTENSION_PARAM,
    EXTENSION_BAD /* not what the grammar says; nothing follows */
};

struct extension_item {
    const char *name; /* lent; no NUL behind it */
    size_t name_len;
    bool has_value;
    /* Unquoted. One that is longer stands here cut, and value_len tells. */
    char value[EXTENSION_VALUE_BYTES];
    size_t value_len;
};

/* Where a walk over one header's value stands. */
struct extension_walk {
    const char *at; /* begins at the text */
    bool is_inside; /* an element of the list has begun */
};

enum extension_kind extension_next(
    struct extension_walk *w, struct extension_item *out);
/* Is the item's name this one (compared without case)? */
bool extension_is(const struct extension_item *item, const char *name);
/* Does every header of the request keep to the grammar? A request without
 * one does. */
bool extension_is_well_formed(const struct http_request *r);

#endif
