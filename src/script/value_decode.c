/* value_decode.c -- bytes to plain Lua data (value_priv.h has the format).
 *
 * Trusts nothing: whatever the bytes are, it ends with a value or with
 * ERR_SYNTAX, no more than LIMIT_VALUE_DEPTH levels deep, and takes no memory
 * that the bytes have not paid for. Raises when the state's memory is out. */
#include "base/err.h"
#include "base/limits.h"
#include "script/json_priv.h"
#include "script/value.h"
#include "script/value_priv.h"
#include <lauxlib.h>
#include <string.h>

/* A table's length up to which its memory is taken at once. */
#define TRUSTED_ITEMS 1024

struct reader {
    lua_State *L;
    const uint8_t *p;
    const uint8_t *end;
    int memo; /* stack index: number -> table; 0: there are no references */
    lua_Integer tables;
    int depth;
};

static bool read_value(struct reader *r);

static bool take_number(struct reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t b = *r->p++;
        uint64_t bits = b & 0x7f;
        if (shift == 63 && bits > 1) {
            return false;
        }
        *value |= bits << shift;
        if (b < 0x80) {
            return true;
        }
    }
    return false;
}

static bool read_integer(struct reader *r)
{
    uint64_t zigzag;
    if (!take_number(r, &zigzag)) {
        return false;
    }
    uint64_t bits = (zigzag >> 1) ^ (0 - (zigzag & 1));
    lua_pushinteger(r->L, (lua_Integer)bits);
    return true;
}

static bool read_float(struct reader *r)
{
    if (r->end - r->p < 8) {
        return false;
    }
    uint64_t bits = 0;
    for (int i = 7; i >= 0; i--) {
        bits = bits << 8 | r->p[i];
    }
    r->p += 8;
    double value;
    memcpy(&value, &bits, sizeof(value));
    lua_pushnumber(r->L, value);
    return true;
}

static bool read_string(struct reader *r, uint64_t n)
{
    if (n > (uint64_t)(r->end - r->p)) {
        return false;
    }
    lua_pushlstring(r->L, (const char *)r->p, (size_t)n);
    r->p += n;
    return true;
}

static bool read_reference(struct reader *r)
{
    uint64_t number;
    if (!take_number(r, &number) || r->memo == 0 ||
        number >= (uint64_t)r->tables) {
        return false;
    }
    lua_rawgeti(r->L, r->memo, (lua_Integer)number);
    return true;
}

/* May the value on top be a key? Lua raises on nil and NaN. */
static bool is_key(lua_State *L)
{
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
    case LUA_TBOOLEAN: return true;
    case LUA_TNUMBER: return lua_tonumber(L, -1) == lua_tonumber(L, -1);
    default: return false;
    }
}

static bool read_pairs(struct reader *r, int table)
{
    while (r->p < r->end && *r->p != VALUE_TAG_END) {
        if (!read_value(r) || !is_key(r->L) || !read_value(r)) {
            return false;
        }
        lua_rawset(r->L, table);
    }
    if (r->p == r->end) {
        return false;
    }
    r->p++;
    return true;
}

static bool read_table(struct reader *r, bool is_array)
{
    lua_State *L = r->L;
    uint64_t n;
    /* Every item takes a byte at least. */
    if (!take_number(r, &n) || n > (uint64_t)(r->end - r->p) ||
        r->depth == LIMIT_VALUE_DEPTH) {
        return false;
    }
    r->depth++;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    /* Tables that only claim to be long must not cost what they claim. */
    lua_createtable(L, n < TRUSTED_ITEMS ? (int)n : TRUSTED_ITEMS, 0);
    int table = lua_gettop(L);
    if (is_array) {
        json_push_array_mark(L);
        lua_setmetatable(L, table);
    }
    if (r->memo != 0) {
        lua_pushvalue(L, table);
        lua_rawseti(L, r->memo, r->tables++);
    }
    for (lua_Integer i = 1; i <= (lua_Integer)n; i++) {
        if (!read_value(r)) {
            return false;
        }
        lua_rawseti(L, table, i);
    }
    bool ok = read_pairs(r, table);
    r->depth--;
    return ok;
}

/* Pushes one value; false: what is on the stack then is of no use. */
static bool read_value(struct reader *r)
{
    if (r->p == r->end) {
        return false;
    }
    uint8_t tag = *r->p++;
    if (tag >= VALUE_TAG_SMALL_INTEGER) {
        lua_pushinteger(r->L, tag - VALUE_TAG_SMALL_INTEGER);
        return true;
    }
    if (tag >= VALUE_TAG_SMALL_STRING) {
        return read_string(r, tag - VALUE_TAG_SMALL_STRING);
    }
    switch (tag) {
    case VALUE_TAG_NIL: lua_pushnil(r->L); return true;
    case VALUE_TAG_FALSE: lua_pushboolean(r->L, 0); return true;
    case VALUE_TAG_TRUE: lua_pushboolean(r->L, 1); return true;
    case VALUE_TAG_NULL: json_push_null(r->L); return true;
    case VALUE_TAG_INTEGER: return read_integer(r);
    case VALUE_TAG_FLOAT: return read_float(r);
    case VALUE_TAG_STRING: {
        uint64_t n;
        return take_number(r, &n) && read_string(r, n);
    }
    case VALUE_TAG_TABLE: return read_table(r, false);
    case VALUE_TAG_ARRAY: return read_table(r, true);
    case VALUE_TAG_REFERENCE: return read_reference(r);
    default: return false;
    }
}

int value_decode(lua_State *L, const uint8_t *p, size_t n)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    struct reader r = {.L = L, .p = p, .end = p + n};
    bool ok = n > 0 && n <= LIMIT_VALUE_BYTES &&
              (p[0] == VALUE_TREE || p[0] == VALUE_SHARED);
    if (ok) {
        r.p++;
        if (p[0] == VALUE_SHARED) {
            lua_newtable(L);
            r.memo = top + 1;
        }
        ok = read_value(&r) && r.p == r.end;
    }
    if (!ok) {
        lua_settop(L, top);
        lua_pushliteral(L, "not a value's bytes");
        return ERR_SYNTAX;
    }
    if (r.memo != 0) {
        lua_remove(L, r.memo);
    }
    return 0;
}
