/* json_encode.c -- Lua values to JSON text.
 *
 * The text grows in a buffer on the C stack, which is enough for most
 * messages, and moves into userdata of the Lua state when it is not: so an
 * error, which may come as a longjmp when memory is out, leaves nothing
 * behind. No metamethod is run and nothing but memory raises.
 *
 * The writer recurses once per level of nesting, at most LIMIT_JSON_DEPTH
 * deep, with small frames; the frames know their table and key, which is
 * enough to say where an error is and to recognise a cycle. */
#include "base/err.h"
#include "base/limits.h"
#include "script/json.h"
#include "script/json_priv.h"
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIRST_BYTES 1024
/* A path in an error text: components of the innermost levels, and bytes of
 * a key in one. */
#define PATH_LEVELS 16
#define PATH_KEY    32

/* A table that is being written. */
struct level {
    const struct level *up;
    const void *table;
    int key;           /* stack index of the key in it; 0: see index */
    lua_Integer index; /* of an array */
};

struct encoder {
    lua_State *L;
    char *p;
    size_t len;
    size_t cap;
    int buffer; /* stack index of the userdata that p points into, or of nil */
    int depth;
    char first[FIRST_BYTES];
};

static bool write_value(struct encoder *e, int idx, const struct level *up);

/* Slow, and never inlined: its callers are the innermost loops. */
__attribute__((noinline)) static void grow(struct encoder *e, size_t more)
{
    size_t cap = e->cap * 2;
    while (cap - e->len < more) {
        cap *= 2;
    }
    char *p = lua_newuserdatauv(e->L, cap, 0);
    memcpy(p, e->p, e->len);
    lua_replace(e->L, e->buffer);
    e->p = p;
    e->cap = cap;
}

/* Room for `more` bytes. Sizes stay far from overflow: no string and no
 * buffer is larger than the state's memory. */
static inline char *room(struct encoder *e, size_t more)
{
    if (UNLIKELY(e->cap - e->len < more)) {
        grow(e, more);
    }
    return e->p + e->len;
}

static inline void add_byte(struct encoder *e, char c)
{
    *room(e, 1) = c;
    e->len++;
}

static void add(struct encoder *e, const char *s, size_t n)
{
    memcpy(room(e, n), s, n);
    e->len += n;
}

/* Errors */

static bool is_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                (i > 0 && c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return n > 0;
}

/* Pushes how a level's table is indexed: `.name`, `[3]`, `["odd name"]`. */
static void push_component(lua_State *L, const struct level *level)
{
    int key = level->key;
    if (key == 0) {
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)level->index);
        return;
    }
    if (lua_type(L, key) == LUA_TNUMBER) {
        lua_pushvalue(L, key);
        lua_pushfstring(L, "[%s]", lua_tostring(L, -1));
        lua_remove(L, -2);
        return;
    }
    size_t n;
    const char *s = lua_tolstring(L, key, &n);
    if (n <= PATH_KEY && is_name(s, n)) {
        lua_pushfstring(L, ".%s", s);
        return;
    }
    char text[PATH_KEY + 1];
    size_t kept = 0;
    for (; kept < n && kept < PATH_KEY; kept++) {
        char c = s[kept];
        text[kept] = c >= ' ' && c <= '~' && c != '"' ? c : '?';
    }
    text[kept] = '\0';
    lua_pushfstring(L, "[\"%s%s\"]", text, n > PATH_KEY ? "..." : "");
}

/* Pushes " at .a[3]", or "" for the value itself. */
static void push_path(lua_State *L, const struct level *where)
{
    if (where == NULL) {
        lua_pushliteral(L, "");
        return;
    }
    lua_pushliteral(L, "");
    int n = 0;
    for (; where != NULL && n < PATH_LEVELS; where = where->up, n++) {
        push_component(L, where);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    lua_pushfstring(
        L, " at %s%s", where != NULL ? "..." : "", lua_tostring(L, -1));
    lua_remove(L, -2);
}

/* Pushes the error text, while the levels that its path goes through are
 * still on the C stack. */
__attribute__((noinline)) static bool fail(
    struct encoder *e, const struct level *where, const char *problem)
{
    luaL_checkstack(e->L, LUA_MINSTACK, NULL);
    push_path(e->L, where);
    lua_pushfstring(
        e->L, "cannot encode %s%s", problem, lua_tostring(e->L, -1));
    return false;
}

static bool fail_type(struct encoder *e, int idx, const struct level *where)
{
    char problem[32];
    (void)snprintf(problem, sizeof(problem), "a %s", luaL_typename(e->L, idx));
    return fail(e, where, problem);
}

/* Strings */

/* RFC 8259, 7: what stands behind the backslash; 'u': \u00XX; 0: the byte
 * stands for itself, or begins a UTF-8 sequence. */
static char escape_of(unsigned char c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return c < 0x20 ? 'u' : '\0';
    }
}

static void add_escape(struct encoder *e, unsigned char c, char escape)
{
    static const char hex[] = "0123456789abcdef";
    char *out = room(e, 6);
    out[0] = '\\';
    out[1] = escape;
    if (escape != 'u') {
        e->len += 2;
        return;
    }
    out[2] = '0';
    out[3] = '0';
    out[4] = hex[c >> 4];
    out[5] = hex[c & 0x0f];
    e->len += 6;
}

static bool write_string(
    struct encoder *e, const char *s, size_t n, const struct level *up)
{
    const char *end = s + n;
    const char *clean = s; /* from here to s nothing needs an escape */
    add_byte(e, '"');
    while (s < end) {
        unsigned char c = (unsigned char)*s;
        if (LIKELY(c >= 0x20 && c < 0x80 && c != '"' && c != '\\')) {
            s++;
        } else if (c >= 0x80) {
            size_t bytes = json_utf8_bytes(s, end);
            if (bytes == 0) {
                return fail(e, up, "a string is not UTF-8");
            }
            s += bytes;
        } else {
            add(e, clean, (size_t)(s - clean));
            add_escape(e, c, escape_of(c));
            clean = ++s;
        }
    }
    add(e, clean, (size_t)(s - clean));
    add_byte(e, '"');
    return true;
}

/* Numbers */

static bool write_number(struct encoder *e, int idx, const struct level *up)
{
    if (lua_isinteger(e->L, idx)) {
        char *out = room(e, JSON_NUMBER_BYTES);
        e->len += json_put_integer(out, lua_tointeger(e->L, idx));
        return true;
    }
    double value = lua_tonumber(e->L, idx);
    if (!isfinite(value)) {
        return fail(e, up, isnan(value) ? "NaN" : "an infinity");
    }
    e->len += json_put_float(room(e, JSON_NUMBER_BYTES), value);
    return true;
}

/* Tables */

enum shape {
    SHAPE_EMPTY,
    SHAPE_ARRAY,
    SHAPE_OBJECT,
    SHAPE_MIXED,
    SHAPE_BAD_KEY
};

/* Looks at all keys. An array has integer keys only, and as many as the
 * largest of them says. */
static enum shape shape_of(lua_State *L, int table, lua_Integer *length)
{
    lua_Integer count = 0;
    lua_Integer largest = 0;
    bool can_be_array = true;
    bool has_numbers = false;
    bool has_strings = false;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        int type = lua_type(L, -1);
        if (type == LUA_TNUMBER) {
            lua_Integer key = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
            can_be_array = can_be_array && key > 0;
            largest = key > largest ? key : largest;
            has_numbers = true;
            count++;
        } else if (type == LUA_TSTRING) {
            has_strings = true;
        } else {
            lua_pop(L, 1);
            return SHAPE_BAD_KEY;
        }
        if (has_numbers && has_strings) {
            lua_pop(L, 1);
            return SHAPE_MIXED;
        }
    }
    *length = count;
    if (!has_strings && !has_numbers) {
        return SHAPE_EMPTY;
    }
    return has_numbers && can_be_array && largest == count ? SHAPE_ARRAY
                                                           : SHAPE_OBJECT;
}

static bool write_array(
    struct encoder *e, int table, lua_Integer length, struct level *level)
{
    add_byte(e, '[');
    for (lua_Integer i = 1; i <= length; i++) {
        if (i > 1) {
            add_byte(e, ',');
        }
        level->index = i;
        lua_rawgeti(e->L, table, i);
        if (!write_value(e, lua_gettop(e->L), level)) {
            return false;
        }
        lua_pop(e->L, 1);
    }
    add_byte(e, ']');
    return true;
}

static bool write_key(struct encoder *e, int idx, const struct level *level)
{
    if (lua_type(e->L, idx) == LUA_TSTRING) {
        size_t n;
        const char *s = lua_tolstring(e->L, idx, &n);
        return write_string(e, s, n, level);
    }
    /* Not lua_tolstring(): it would change the key under lua_next(). */
    add_byte(e, '"');
    bool ok = write_number(e, idx, level);
    add_byte(e, '"');
    return ok;
}

static bool write_object(struct encoder *e, int table, struct level *level)
{
    bool first = true;
    add_byte(e, '{');
    lua_pushnil(e->L);
    level->key = lua_gettop(e->L);
    while (lua_next(e->L, table)) {
        if (!first) {
            add_byte(e, ',');
        }
        first = false;
        if (!write_key(e, level->key, level)) {
            return false;
        }
        add_byte(e, ':');
        if (!write_value(e, level->key + 1, level)) {
            return false;
        }
        lua_pop(e->L, 1);
    }
    add_byte(e, '}');
    return true;
}

/* Some level too deep: is a table inside of itself? */
static bool has_cycle(const struct level *level, const void *table)
{
    for (; level != NULL; level = level->up) {
        if (level->table == table) {
            return true;
        }
    }
    return false;
}

static bool write_table(struct encoder *e, int idx, const struct level *up)
{
    struct level level = {up, lua_topointer(e->L, idx), 0, 0};
    if (has_cycle(up, level.table)) {
        return fail(e, up, "a table inside itself");
    }
    if (e->depth == LIMIT_JSON_DEPTH) {
        return fail(e, up, "tables nested too deep");
    }
    e->depth++;
    luaL_checkstack(e->L, LUA_MINSTACK, NULL);
    lua_Integer length = 0;
    enum shape shape = shape_of(e->L, idx, &length);
    bool is_marked = json_is_array(e->L, idx);
    bool ok;
    if (shape == SHAPE_BAD_KEY) {
        ok = fail(e, up, "a table whose keys are not strings or numbers");
    } else if (shape == SHAPE_MIXED) {
        ok = fail(e, up, "a table with string and number keys");
    } else if (shape == SHAPE_ARRAY || (is_marked && shape == SHAPE_EMPTY)) {
        ok = write_array(e, idx, length, &level);
    } else if (is_marked) {
        ok = fail(e, up, "an array with holes or other keys");
    } else {
        ok = write_object(e, idx, &level);
    }
    e->depth--;
    return ok;
}

static bool write_value(struct encoder *e, int idx, const struct level *up)
{
    lua_State *L = e->L;
    switch (lua_type(L, idx)) {
    case LUA_TNIL: add(e, "null", 4); return true;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, idx)) {
            add(e, "true", 4);
        } else {
            add(e, "false", 5);
        }
        return true;
    case LUA_TNUMBER: return write_number(e, idx, up);
    case LUA_TSTRING: {
        size_t n;
        const char *s = lua_tolstring(L, idx, &n);
        return write_string(e, s, n, up);
    }
    case LUA_TTABLE: return write_table(e, idx, up);
    default:
        if (json_is_null(L, idx)) {
            add(e, "null", 4);
            return true;
        }
        return fail_type(e, idx, up);
    }
}

int json_encode(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_pushnil(L);
    struct encoder e;
    e.L = L;
    e.p = e.first;
    e.len = 0;
    e.cap = sizeof(e.first);
    e.buffer = lua_gettop(L);
    e.depth = 0;
    if (write_value(&e, idx, NULL)) {
        lua_pushlstring(L, e.p, e.len);
        lua_replace(L, e.buffer);
        return 0;
    }
    lua_replace(L, e.buffer); /* the error text */
    lua_settop(L, e.buffer);
    return ERR_SYNTAX;
}
