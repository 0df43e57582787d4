/* value_encode.c -- plain Lua data to bytes (value_priv.h has the format).
 *
 * Recurses once per level of nesting, at most LIMIT_VALUE_DEPTH deep, and
 * appends to the caller's buffer, whose length it restores if it fails; only
 * its growing is a section (I10): nobody else looks at it meanwhile. An
 * error names its path: the levels on the C stack know their keys. When the
 * state's memory is out this raises, and the buffer may hold half a value. */
#include "base/err.h"
#include "base/limits.h"
#include "script/json_priv.h"
#include "script/preempt.h"
#include "script/value.h"
#include "script/value_priv.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define FEW_BYTES ((size_t)16 * 1024)

/* A table that is being written, for the path of an error. */
struct level {
    const struct level *up;
    int key;           /* stack index of the key in it; 0: see index */
    lua_Integer index; /* of an item */
};

struct writer {
    lua_State *L;
    struct buf *out;
    size_t start; /* of the value in out */
    const char *name;
    int memo; /* stack index: table -> its number; nil before the first */
    lua_Integer tables;
    int depth;
    int error;
};

static bool write_value(struct writer *w, int idx, const struct level *up);

/* Pushes "data.players[3]". Keys are strings, numbers or booleans. */
static void push_path(struct writer *w, const struct level *level)
{
    lua_State *L = w->L;
    lua_pushliteral(L, "");
    for (; level != NULL; level = level->up) {
        if (level->key == 0) {
            lua_pushfstring(L, "[%I]", (LUAI_UACINT)level->index);
        } else if (lua_type(L, level->key) == LUA_TSTRING) {
            char key[40];
            (void)snprintf(key, sizeof(key), "%s", lua_tostring(L, level->key));
            lua_pushfstring(L, ".%s", key);
        } else {
            luaL_tolstring(L, level->key, NULL);
            lua_pushfstring(L, "[%s]", lua_tostring(L, -1));
            lua_remove(L, -2);
        }
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    lua_pushstring(L, w->name);
    lua_insert(L, -2);
    lua_concat(L, 2);
}

/* Pushes "path what" while the levels are still on the C stack. */
__attribute__((noinline)) static bool fail(
    struct writer *w, int error, const struct level *where, const char *what)
{
    luaL_checkstack(w->L, LUA_MINSTACK, NULL);
    push_path(w, where);
    lua_pushfstring(w->L, "%s %s", lua_tostring(w->L, -1), what);
    w->error = error;
    return false;
}

static bool fail_type(struct writer *w, int idx, const struct level *where)
{
    char what[32];
    (void)snprintf(what, sizeof(what), "is a %s", luaL_typename(w->L, idx));
    return fail(w, ERR_SYNTAX, where, what);
}

/* What is there is copied then, in a section. So when it is not little any
 * more there shall be room for all that may come; what of it is not used is
 * not touched, and costs nothing. */
static int grow(struct writer *w, size_t more)
{
    struct buf *out = w->out;
    if (out->len + more > FEW_BYTES) {
        size_t most = out->max - out->len;
        size_t wanted = w->start + LIMIT_VALUE_BYTES - out->len;
        wanted = wanted < most ? wanted : most;
        more = more > wanted ? more : wanted;
    }
    preempt_hold();
    int error = buf_reserve(out, more);
    preempt_release();
    return error;
}

static bool add(struct writer *w, const void *p, size_t n)
{
    struct buf *out = w->out;
    int error = ERR_TOO_BIG;
    size_t so_far = out->len - w->start;
    if (n <= LIMIT_VALUE_BYTES - so_far) {
        error = out->cap - out->len >= n && out->p != NULL ? 0 : grow(w, n);
    }
    if (error == 0) {
        memcpy(out->p + out->len, p, n);
        out->len += n;
        return true;
    }
    return fail(w, error, NULL,
        error == ERR_TOO_BIG ? "is too big" : "does not fit into memory");
}

static bool add_byte(struct writer *w, unsigned byte)
{
    uint8_t b = (uint8_t)byte;
    return add(w, &b, 1);
}

/* A tag and a number. */
static bool add_number(struct writer *w, enum value_tag tag, uint64_t value)
{
    uint8_t bytes[11];
    size_t n = 0;
    bytes[n++] = (uint8_t)tag;
    for (; value >= 0x80; value >>= 7) {
        bytes[n++] = (uint8_t)(value | 0x80);
    }
    bytes[n++] = (uint8_t)value;
    return add(w, bytes, n);
}

static bool write_number(struct writer *w, int idx)
{
    if (lua_isinteger(w->L, idx)) {
        lua_Integer value = lua_tointeger(w->L, idx);
        if (value >= 0 && value <= VALUE_SMALL_MAX) {
            return add_byte(w, VALUE_TAG_SMALL_INTEGER + (unsigned)value);
        }
        uint64_t sign = value < 0 ? UINT64_MAX : 0;
        return add_number(w, VALUE_TAG_INTEGER, ((uint64_t)value << 1) ^ sign);
    }
    double value = lua_tonumber(w->L, idx);
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint8_t bytes[9] = {VALUE_TAG_FLOAT};
    for (int i = 1; i <= 8; i++, bits >>= 8) {
        bytes[i] = (uint8_t)bits;
    }
    return add(w, bytes, sizeof(bytes));
}

static bool write_string(struct writer *w, int idx)
{
    size_t n;
    const char *s = lua_tolstring(w->L, idx, &n);
    bool ok = n <= VALUE_SMALL_MAX
                  ? add_byte(w, VALUE_TAG_SMALL_STRING + (unsigned)n)
                  : add_number(w, VALUE_TAG_STRING, n);
    return ok && add(w, s, n);
}

/* Was the table at idx written before? Then its number, else -1 and it gets
 * the next one. */
static lua_Integer find_or_number(struct writer *w, int idx)
{
    lua_State *L = w->L;
    if (w->tables == 0) {
        lua_newtable(L);
        lua_replace(L, w->memo);
    }
    lua_Integer number = -1;
    lua_pushvalue(L, idx);
    if (lua_rawget(L, w->memo) == LUA_TNUMBER) {
        number = lua_tointeger(L, -1);
    } else {
        lua_pushvalue(L, idx);
        lua_pushinteger(L, w->tables++);
        lua_rawset(L, w->memo);
    }
    lua_pop(L, 1);
    return number;
}

/* How many of 1, 2, 3... are there without a gap. (Lua's length may be any
 * end of such a run, be it at 2^62.) */
static lua_Integer count_items(lua_State *L, int table)
{
    lua_Integer n = 0;
    while (lua_rawgeti(L, table, n + 1) != LUA_TNIL) {
        lua_pop(L, 1);
        n++;
    }
    lua_pop(L, 1);
    return n;
}

static bool write_items(
    struct writer *w, int table, lua_Integer n, const struct level *up)
{
    struct level level = {up, 0, 0};
    for (lua_Integer i = 1; i <= n; i++) {
        level.index = i;
        lua_rawgeti(w->L, table, i);
        if (!write_value(w, lua_gettop(w->L), &level)) {
            return false;
        }
        lua_pop(w->L, 1);
    }
    return true;
}

static bool is_item(lua_State *L, int key, lua_Integer n)
{
    if (!lua_isinteger(L, key)) {
        return false;
    }
    lua_Integer i = lua_tointeger(L, key);
    return i >= 1 && i <= n;
}

static bool write_pairs(
    struct writer *w, int table, lua_Integer n, const struct level *up)
{
    lua_State *L = w->L;
    lua_pushnil(L);
    struct level level = {up, lua_gettop(L), 0};
    while (lua_next(L, table)) {
        int type = lua_type(L, level.key);
        if (type != LUA_TSTRING && type != LUA_TNUMBER &&
            type != LUA_TBOOLEAN) {
            return fail(w, ERR_SYNTAX, up,
                "has a key that is not a string, number or boolean");
        }
        if (!is_item(L, level.key, n) &&
            (!write_value(w, level.key, &level) ||
                !write_value(w, level.key + 1, &level))) {
            return false;
        }
        lua_pop(L, 1);
    }
    return true;
}

static bool write_table(struct writer *w, int idx, const struct level *up)
{
    lua_State *L = w->L;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_Integer number = find_or_number(w, idx);
    if (number >= 0) {
        w->out->p[w->start] = VALUE_SHARED;
        return add_number(w, VALUE_TAG_REFERENCE, (uint64_t)number);
    }
    if (w->depth == LIMIT_VALUE_DEPTH) {
        return fail(w, ERR_SYNTAX, up, "is nested too deep");
    }
    bool is_array = json_is_array(L, idx);
    if (!is_array && lua_getmetatable(L, idx)) {
        lua_pop(L, 1);
        return fail(w, ERR_SYNTAX, up, "has a metatable");
    }
    w->depth++;
    lua_Integer n = count_items(L, idx);
    bool ok = add_number(w, is_array ? VALUE_TAG_ARRAY : VALUE_TAG_TABLE,
                  (uint64_t)n) &&
              write_items(w, idx, n, up) && write_pairs(w, idx, n, up) &&
              add_byte(w, VALUE_TAG_END);
    w->depth--;
    return ok;
}

static bool write_value(struct writer *w, int idx, const struct level *up)
{
    switch (lua_type(w->L, idx)) {
    case LUA_TNIL: return add_byte(w, VALUE_TAG_NIL);
    case LUA_TBOOLEAN:
        return add_byte(
            w, lua_toboolean(w->L, idx) ? VALUE_TAG_TRUE : VALUE_TAG_FALSE);
    case LUA_TNUMBER: return write_number(w, idx);
    case LUA_TSTRING: return write_string(w, idx);
    case LUA_TTABLE: return write_table(w, idx, up);
    default:
        if (json_is_null(w->L, idx)) {
            return add_byte(w, VALUE_TAG_NULL);
        }
        return fail_type(w, idx, up);
    }
}

int value_encode(lua_State *L, int idx, const char *name, struct buf *out)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_pushnil(L);
    int top = lua_gettop(L);
    struct writer w = {
        .L = L, .out = out, .start = out->len, .name = name, .memo = top};
    if (add_byte(&w, VALUE_TREE) && write_value(&w, idx, NULL)) {
        lua_settop(L, top - 1);
        return 0;
    }
    out->len = w.start;
    lua_replace(L, top); /* the error text */
    lua_settop(L, top);
    return w.error;
}
