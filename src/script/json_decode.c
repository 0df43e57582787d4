/* json_decode.c -- JSON text to Lua values, in one pass.
 *
 * Values go straight onto the Lua stack. The members of an array or an object
 * are collected there, up to a batch, before they are put into their table:
 * so small tables, which is most of them, are made at their final size.
 *
 * The parser recurses once per level of nesting, at most LIMIT_JSON_DEPTH
 * deep, with small frames: it must fit below whatever C stack a script has
 * already used. It returns false on the first error and never raises, but for
 * memory; all memory is the Lua state's. The text may be any bytes and need
 * not end in a NUL. */
#include "base/err.h"
#include "base/limits.h"
#include "script/json.h"
#include "script/json_priv.h"
#include <lauxlib.h>
#include <string.h>

/* Values on the stack before they go into their table. */
#define BATCH 32

struct decoder {
    lua_State *L;
    const char *start;
    const char *p;
    const char *end;
    const char *error; /* static text; what is wrong at p */
    int mark;          /* stack index of json.array's mark */
    int depth;
};

static bool parse_value(struct decoder *d);

static bool fail(struct decoder *d, const char *error)
{
    d->error = error;
    return false;
}

static void skip_space(struct decoder *d)
{
    while (d->p < d->end &&
           (*d->p == ' ' || *d->p == '\n' || *d->p == '\r' || *d->p == '\t')) {
        d->p++;
    }
}

/* The next byte that is no space; 0 at the end (a NUL is no valid byte). */
static char peek(struct decoder *d)
{
    skip_space(d);
    return d->p < d->end ? *d->p : '\0';
}

/* Strings */

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Skips bytes that need no care, and checks those of UTF-8 sequences. Stops
 * at a quote or a backslash; false: at something that may not be there. */
static bool skip_clean(struct decoder *d)
{
    for (;;) {
        while (d->p < d->end && is_plain((unsigned char)*d->p)) {
            d->p++;
        }
        if (d->p == d->end) {
            return fail(d, "expected '\"'");
        }
        unsigned char c = (unsigned char)*d->p;
        if (c == '"' || c == '\\') {
            return true;
        }
        if (c < 0x20) {
            return fail(d, "control character in a string");
        }
        size_t bytes = json_utf8_bytes(d->p, d->end);
        if (bytes == 0) {
            return fail(d, "invalid UTF-8");
        }
        d->p += bytes;
    }
}

/* Four hex digits at p. */
static bool take_hex(struct decoder *d, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, d->p++) {
        char c = d->p < d->end ? *d->p : '\0';
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            digit = (uint32_t)((c | 0x20) - 'a' + 10);
        } else {
            return fail(d, "expected four hex digits");
        }
        *value = *value << 4 | digit;
    }
    return true;
}

/* Behind "\u": one escape, or two that are a surrogate pair (RFC 8259, 7). */
static bool take_code_point(struct decoder *d, uint32_t *code)
{
    const char *first = d->p;
    if (!take_hex(d, code)) {
        return false;
    }
    if (*code < 0xd800 || *code > 0xdfff) {
        return true;
    }
    uint32_t low = 0;
    if (*code <= 0xdbff && d->end - d->p >= 2 && d->p[0] == '\\' &&
        d->p[1] == 'u') {
        d->p += 2;
        if (!take_hex(d, &low)) {
            return false;
        }
    }
    if (low < 0xdc00 || low > 0xdfff) {
        d->p = first;
        return fail(d, "half a surrogate pair");
    }
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* Writes the code point and returns how many bytes that took. An escape is
 * never shorter than what it stands for. */
static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = bytes - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(heads[bytes] | code);
    return bytes;
}

/* At a backslash: appends what the escape stands for. */
static bool take_escape(struct decoder *d, char **out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char bytes[] = "\"\\/\b\f\n\r\t";
    d->p++;
    char c = d->p < d->end ? *d->p : '\0';
    const char *letter = c != '\0' ? strchr(letters, c) : NULL;
    if (letter != NULL) {
        d->p++;
        *(*out)++ = bytes[letter - letters];
        return true;
    }
    if (c != 'u') {
        return fail(d, "invalid escape");
    }
    d->p++;
    uint32_t code;
    if (!take_code_point(d, &code)) {
        return false;
    }
    *out += put_utf8(*out, code);
    return true;
}

/* The end of the string that p is in, wrong ones included: an upper bound for
 * its bytes. */
static const char *find_quote(const struct decoder *d)
{
    const char *p = d->p;
    while (p < d->end && *p != '"') {
        p += *p == '\\' ? 2 : 1;
    }
    return p < d->end ? p : d->end;
}

/* A string with escapes: `start` is its first byte, p at the first backslash.
 * Kept out of its caller, whose frames nest, because of the buffer. */
__attribute__((noinline)) static bool parse_escaped(
    struct decoder *d, const char *start)
{
    luaL_Buffer b;
    size_t most = (size_t)(find_quote(d) - start);
    char *out = luaL_buffinitsize(d->L, &b, most);
    char *first = out;
    while (*d->p != '"') {
        size_t n = (size_t)(d->p - start);
        memcpy(out, start, n);
        out += n;
        if (!take_escape(d, &out)) {
            return false;
        }
        start = d->p;
        if (!skip_clean(d)) {
            return false;
        }
    }
    size_t n = (size_t)(d->p - start);
    memcpy(out, start, n);
    out += n;
    d->p++;
    luaL_pushresultsize(&b, (size_t)(out - first));
    return true;
}

static bool parse_string(struct decoder *d)
{
    const char *start = ++d->p;
    if (!skip_clean(d)) {
        return false;
    }
    if (*d->p == '\\') {
        return parse_escaped(d, start);
    }
    lua_pushlstring(d->L, start, (size_t)(d->p - start));
    d->p++;
    return true;
}

/* Arrays and objects */

/* Moves the array elements above `table` into it; it holds `count` already.
 * The slot holds nil until its first batch. */
static void flush_array(lua_State *L, int table, lua_Integer count)
{
    int n = lua_gettop(L) - table;
    if (lua_isnil(L, table)) {
        lua_createtable(L, n, 0);
        lua_replace(L, table);
    }
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(L, table + i);
        lua_rawseti(L, table, count + i);
    }
    lua_settop(L, table);
}

/* The same with keys and values. In the order of the text: of equal keys, the
 * last wins. */
static void flush_object(lua_State *L, int table)
{
    int n = (lua_gettop(L) - table) / 2;
    if (lua_isnil(L, table)) {
        lua_createtable(L, 0, n);
        lua_replace(L, table);
    }
    for (int i = 0; i < n; i++) {
        lua_pushvalue(L, table + 2 * i + 1);
        lua_pushvalue(L, table + 2 * i + 2);
        lua_rawset(L, table);
    }
    lua_settop(L, table);
}

static bool enter(struct decoder *d)
{
    if (d->depth == LIMIT_JSON_DEPTH) {
        return fail(d, "nested too deep");
    }
    d->depth++;
    d->p++;
    /* A batch, the table, and what flushing and leaf values need. */
    luaL_checkstack(d->L, BATCH + LUA_MINSTACK, NULL);
    lua_pushnil(d->L);
    return true;
}

static bool parse_array(struct decoder *d)
{
    if (!enter(d)) {
        return false;
    }
    int table = lua_gettop(d->L);
    lua_Integer count = 0;
    if (peek(d) == ']') {
        d->p++;
    } else {
        for (;;) {
            if (!parse_value(d)) {
                return false;
            }
            if (lua_gettop(d->L) - table == BATCH) {
                flush_array(d->L, table, count);
                count += BATCH;
            }
            char c = peek(d);
            if (c != ',' && c != ']') {
                return fail(d, "expected ',' or ']'");
            }
            d->p++;
            if (c == ']') {
                break;
            }
        }
    }
    flush_array(d->L, table, count);
    lua_pushvalue(d->L, d->mark);
    lua_setmetatable(d->L, table);
    d->depth--;
    return true;
}

static bool parse_member(struct decoder *d)
{
    if (peek(d) != '"') {
        return fail(d, "expected a string as key");
    }
    if (!parse_string(d)) {
        return false;
    }
    if (peek(d) != ':') {
        return fail(d, "expected ':'");
    }
    d->p++;
    return parse_value(d);
}

static bool parse_object(struct decoder *d)
{
    if (!enter(d)) {
        return false;
    }
    int table = lua_gettop(d->L);
    if (peek(d) == '}') {
        d->p++;
    } else {
        for (;;) {
            if (!parse_member(d)) {
                return false;
            }
            if (lua_gettop(d->L) - table == BATCH) {
                flush_object(d->L, table);
            }
            char c = peek(d);
            if (c != ',' && c != '}') {
                return fail(d, "expected ',' or '}'");
            }
            d->p++;
            if (c == '}') {
                break;
            }
        }
    }
    flush_object(d->L, table);
    d->depth--;
    return true;
}

static bool take_word(struct decoder *d, const char *word, size_t len)
{
    if ((size_t)(d->end - d->p) < len || memcmp(d->p, word, len) != 0) {
        return fail(d, "expected a value");
    }
    d->p += len;
    return true;
}

static bool parse_value(struct decoder *d)
{
    switch (peek(d)) {
    case '"': return parse_string(d);
    case '{': return parse_object(d);
    case '[': return parse_array(d);
    case 't': lua_pushboolean(d->L, 1); return take_word(d, "true", 4);
    case 'f': lua_pushboolean(d->L, 0); return take_word(d, "false", 5);
    case 'n': json_push_null(d->L); return take_word(d, "null", 4);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return json_read_number(d->L, &d->p, d->end, &d->error);
    default: return fail(d, "expected a value");
    }
}

/* Replaces what is above `top` by "line:column: what". Columns count
 * characters, as editors do. */
static void push_error(struct decoder *d, int top)
{
    int line = 1;
    int column = 1;
    for (const char *p = d->start; p < d->p; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            column++;
        }
    }
    lua_settop(d->L, top);
    lua_pushfstring(d->L, "%d:%d: %s%s", line, column, d->error,
        d->p >= d->end ? ", but the text ends" : "");
}

int json_decode(lua_State *L, const char *text, size_t len)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    json_push_array_mark(L);
    struct decoder d = {
        .L = L, .start = text, .p = text, .end = text + len, .mark = top + 1};
    bool ok = parse_value(&d);
    if (ok && peek(&d) != '\0') {
        ok = fail(&d, "expected the end of the text");
    }
    if (ok && d.p < d.end) {
        ok = fail(&d, "expected the end of the text"); /* a NUL */
    }
    if (!ok) {
        push_error(&d, top);
        return ERR_SYNTAX;
    }
    lua_remove(L, d.mark);
    return 0;
}
