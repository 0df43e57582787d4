/* value.h -- plain Lua data <-> bytes, between states: client.data over a
 * reload, later the store and the cluster.
 *
 * Plain: nil, booleans, numbers, strings, json.null, and tables of them
 * without metatables (json.array's mark is kept); shared and cyclic tables
 * keep their shape. Anything else is an error that names the path
 * ("data.players[3].update is a function"). */
#ifndef SCRIPT_VALUE_H
#define SCRIPT_VALUE_H

#include "base/buf.h"
#include <lua.h>

/* Appends the value at idx to `out`. 0; or pushes an error text and returns
 * ERR_SYNTAX (not plain), ERR_TOO_BIG or ERR_NOMEM. `name` is the path's
 * first word ("data"). Raises only on memory; runs no metamethods. */
int value_encode(lua_State *L, int idx, const char *name, struct buf *out);
/* Pushes the value of p[0..n) as value_encode() wrote it. 0, or ERR_SYNTAX on
 * bytes that it did not write. Raises on memory. */
int value_decode(lua_State *L, const uint8_t *p, size_t n);

#endif
