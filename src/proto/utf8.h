/* utf8.h -- incremental UTF-8 validation that fails at the first wrong byte
 * (RFC 3629; RFC 6455 8.1). */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include "base/base.h"

#define UTF8_START 0u /* the state between two characters */

/* Goes on from *state over the next bytes of a text. False as soon as no
 * continuation can make the text valid: overlong forms, surrogates and
 * values past U+10FFFF fail at the byte that makes them so. The text is
 * complete where *state is UTF8_START. */
bool utf8_feed(uint32_t *state, const uint8_t *p, size_t n) NODISCARD;
/* A whole text at once. */
bool utf8_is_valid(const uint8_t *p, size_t n) NODISCARD;

#endif
