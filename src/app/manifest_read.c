/* manifest_read.c -- what a setting's value may look like, and how a wrong one
 * is told: with the file, the line, what is wanted and what came.
 *
 * Called by manifest.c, inside the throw-away vm. The line of a wrong key is
 * found by looking for the key in the text, since the table that Lua built
 * does not know where it came from. */
#include "app/manifest_priv.h"
#include "base/units.h"
#include <ctype.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

/* Where this key is set, by its text, from `p` on; NULL if it cannot be told.
 * A comment sets nothing. */
static const char *find_key(
    const char *text, const char *p, const char *key, size_t n)
{
    bool is_quoted = false;

    for (; *p != '\0'; p++) {
        if (p[0] == '-' && p[1] == '-' && !is_quoted) {
            p += strcspn(p, "\n");
        }
        if (*p == '\n' || *p == '\0') {
            is_quoted = false;
            p -= *p == '\0';
            continue;
        }
        is_quoted = is_quoted != (*p == '"');
        bool is_start =
            p == text || !(isalnum((unsigned char)p[-1]) || p[-1] == '_');
        if (is_start && strncmp(p, key, n) == 0) {
            const char *q = p + n;
            q += strspn(q, "\"'] \t");
            if (*q == '=' && q[1] != '=') {
                return p;
            }
        }
    }
    return NULL;
}

/* The line of "outbox.soft": that of the last part that can be found behind
 * the one before it; 0 if none can. */
static int find_line(const struct snapshot_file *file, const char *path)
{
    const char *at = NULL;
    const char *from = file->data;
    int line = 1;

    while (*path != '\0') {
        size_t n = strcspn(path, ".");
        const char *found = find_key(file->data, from, path, n);
        if (found == NULL) {
            break;
        }
        at = found;
        from = found + n;
        path += n + (path[n] == '.');
    }
    if (at == NULL) {
        return 0;
    }
    for (const char *p = file->data; p < at; p++) {
        line += *p == '\n';
    }
    return line;
}

int manifest_complain(lua_State *L, const struct manifest_parse *p,
    const char *path, const char *what)
{
    int line = find_line(p->file, path);

    if (line > 0) {
        return luaL_error(L, "%s:%d: %s", p->file->name, line, what);
    }
    return luaL_error(L, "%s: %s", p->file->name, what);
}

/* ---- readers: the value is on top of the stack ---- */

struct bounds {
    uint64_t low;
    uint64_t high;
    /* Makes of a number what people read. */
    void (*write)(uint64_t, char[UNITS_TEXT_BYTES]);
};

static uint64_t check_range(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t value, const struct bounds *r)
{
    char text[3][UNITS_TEXT_BYTES];

    if (value < r->low || value > r->high) {
        r->write(r->low, text[0]);
        r->write(r->high, text[1]);
        r->write(value, text[2]);
        (void)manifest_complain(L, p, path,
            lua_pushfstring(L, "%s must be %s to %s, got %s", path, text[0],
                text[1], text[2]));
    }
    return value;
}

/* 1e6 is a whole number to everybody but Lua. */
static bool get_whole(lua_State *L, uint64_t *out)
{
    int is_whole = 0;
    lua_Integer n = 0;

    if (lua_type(L, -1) == LUA_TNUMBER) {
        n = lua_tointegerx(L, -1, &is_whole);
    }
    *out = (uint64_t)n;
    return is_whole && n >= 0;
}

uint64_t manifest_read_bytes(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t low, uint64_t high)
{
    uint64_t bytes = 0;

    if (!get_whole(L, &bytes) &&
        (lua_type(L, -1) != LUA_TSTRING ||
            units_parse_bytes(lua_tostring(L, -1), &bytes) != 0)) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(
                L, "%s must be bytes, as a number or like \"1MB\"", path));
    }
    const struct bounds bounds = {low, high, units_write_bytes};
    return check_range(L, p, path, bytes, &bounds);
}

uint64_t manifest_read_ms(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t low, uint64_t high)
{
    uint64_t ms = 0;
    bool is_ok = false;

    if (lua_type(L, -1) == LUA_TNUMBER) {
        lua_Number seconds = lua_tonumber(L, -1);
        is_ok = seconds >= 0 && seconds < 1e9;
        ms = is_ok ? (uint64_t)(seconds * 1000) : 0;
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        is_ok = units_parse_ms(lua_tostring(L, -1), &ms) == 0;
    }
    if (!is_ok) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(
                L, "%s must be seconds, or a text like \"30s\"", path));
    }
    const struct bounds bounds = {low, high, units_write_ms};
    return check_range(L, p, path, ms, &bounds);
}

static void write_count(uint64_t n, char out[UNITS_TEXT_BYTES])
{
    (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64, n);
}

uint64_t manifest_read_count(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t low, uint64_t high)
{
    uint64_t n;

    if (!get_whole(L, &n)) {
        char text[2][UNITS_TEXT_BYTES];
        write_count(low, text[0]);
        write_count(high, text[1]);
        (void)manifest_complain(L, p, path,
            lua_pushfstring(L, "%s must be a whole number, %s to %s", path,
                text[0], text[1]));
    }
    const struct bounds bounds = {low, high, write_count};
    return check_range(L, p, path, n, &bounds);
}

int manifest_read_word(lua_State *L, struct manifest_parse *p, const char *path,
    const char *const *words, size_t n)
{
    const char *word =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    luaL_Buffer b;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(word, words[i]) == 0) {
            return (int)i;
        }
    }
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n; i++) {
        luaL_addstring(&b, i == 0 ? "\"" : ", \"");
        luaL_addstring(&b, words[i]);
        luaL_addchar(&b, '"');
    }
    luaL_pushresult(&b);
    const char *near = units_suggest(word, words, n);
    return manifest_complain(L, p, path,
        lua_pushfstring(L, "%s must be one of %s%s%s%s", path,
            lua_tostring(L, -1), near != NULL ? "; did you mean \"" : "",
            near != NULL ? near : "", near != NULL ? "\"?" : ""));
}

void manifest_read_keys(lua_State *L, struct manifest_parse *p,
    const char *path, const struct manifest_key *keys, size_t n)
{
    const char *names[16];
    int table = lua_gettop(L);

    ASSERT(n <= ARRAY_LEN(names), "the tables of keys are ours");
    if (!lua_istable(L, table)) {
        (void)manifest_complain(L, p, path,
            path[0] == '\0'
                ? "it must return a table, as in: return { ping = \"30s\" }"
                : lua_pushfstring(L, "%s must be a table, got %s", path,
                      luaL_typename(L, table)));
    }
    for (size_t i = 0; i < n; i++) {
        names[i] = keys[i].name;
    }
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            (void)manifest_complain(
                L, p, path, "settings have names, as in: ping = \"30s\"");
        }
        const char *name = lua_tostring(L, -2);
        const struct manifest_key *key = NULL;
        for (size_t i = 0; i < n; i++) {
            key = strcmp(name, keys[i].name) == 0 ? &keys[i] : key;
        }
        const char *full = lua_pushfstring(
            L, "%s%s%s", path, path[0] != '\0' ? "." : "", name);
        if (key == NULL) {
            const char *near = units_suggest(name, names, n);
            (void)manifest_complain(L, p, full,
                near == NULL
                    ? lua_pushfstring(L, "unknown setting '%s'", full)
                    : lua_pushfstring(L,
                          "unknown setting '%s'; did you mean '%s%s%s'?", full,
                          path, path[0] != '\0' ? "." : "", near));
            return;
        }
        lua_pushvalue(L, table);
        lua_pushstring(L, name);
        lua_rawget(L, -2);
        key->read(L, p, full);
        lua_settop(L, table + 1);
    }
}
