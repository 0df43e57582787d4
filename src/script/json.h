/* json.h -- strict JSON (RFC 8259), straight onto the Lua stack: all memory
 * is the app's own arena. See docs/decisions for why it is ours.
 *
 * Lua -> JSON: a table with only 1..n keys is an array, any other an object
 * (keys: all strings, or all numbers, written as such: a mix is an error, as
 * it is always a slip); an empty table is {} unless it is json.array{}.
 * json.null is null. NaN, infinities, functions, cycles and
 * depth over LIMIT_JSON_DEPTH are errors that name the path ("at .a[3]");
 * strings must be UTF-8. Integers stay integers, floats are written so that
 * they read back the same.
 * JSON -> Lua: null becomes json.null, arrays carry json.array's mark (so an
 * empty one survives a round trip); numbers without fraction or exponent that
 * fit become integers; duplicate keys: the last wins. Errors say "line:column:
 * what". */
#ifndef SCRIPT_JSON_H
#define SCRIPT_JSON_H

#include <lua.h>
#include <stddef.h>

/* Pushes the table {encode, decode, null, array}. */
int json_open(lua_State *L);
/* Pushes the text of the value at idx and returns 0; or pushes an error text
 * and returns ERR_SYNTAX. Raises only on memory. No metamethods are run. */
int json_encode(lua_State *L, int idx);
/* Pushes the value, or an error text (ERR_SYNTAX). */
int json_decode(lua_State *L, const char *text, size_t len);

#endif
