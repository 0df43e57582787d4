/* json_priv.h -- json.null and json.array's mark, for the files that must
 * know them, and what the encoder and the decoder share. */
#ifndef SCRIPT_JSON_PRIV_H
#define SCRIPT_JSON_PRIV_H

#include "base/base.h"
#include <lua.h>

/* json.null is a light userdata, the same one in every state. */
void json_push_null(lua_State *L);
bool json_is_null(lua_State *L, int idx);
/* The mark is a metatable, one per state, that scripts cannot get at. Pushes
 * it; makes it where there is none yet. */
void json_push_array_mark(lua_State *L);
/* Has the value at idx the mark? Raises nothing. */
bool json_is_array(lua_State *L, int idx);

/* The bytes of the UTF-8 sequence that begins at p, at least 2; 0: it is none
 * (the first byte must not be ASCII). */
size_t json_utf8_bytes(const char *p, const char *end);

/* Room for any number, and a NUL. */
#define JSON_NUMBER_BYTES 40
/* Both return the bytes written. `value` is finite. The shortest of 14 to 17
 * digits that reads back the same, always with a point or an exponent. */
size_t json_put_integer(char *out, lua_Integer value);
size_t json_put_float(char *out, double value);
/* Pushes the number that begins at *p (a digit or a '-') and moves *p behind
 * it. False: *p is where *error is. Raises on memory. */
bool json_read_number(lua_State *L, const char **p, const char *end,
    const char **error) NODISCARD;

#endif
