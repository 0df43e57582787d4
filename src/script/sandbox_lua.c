/* sandbox_lua.c -- guards against Lua itself: what the installed library does
 * wrong with memory, in reach of a script, and no wrapper can prevent.
 *
 * Both of these need a few lines of plain Lua and end in freed memory:
 *
 *   __concat     If the Lua stack moves while `..` calls the metamethod (that
 *                needs a longer one, or waits while somebody else collects
 *                garbage), luaV_concat() goes on with a pointer into the old
 *                stack. So it is in Lua 5.4.4 as distributions patched it
 *                against CVE-2022-33099 (Debian 12: 5.4.4-3+deb12u1).
 *   weak values  A metatable with weak values does not keep its `__newindex`
 *                alive. If that is a table, and growing it makes the cap on
 *                memory call for a collection, it is freed while it grows
 *                (fixed in Lua 5.4.8).
 *
 * To refuse metatables that have such a field would not do, since it can be
 * put in later. So the name that Lua looks for is changed to one that nobody
 * can know: it finds none. setmetatable says what is not there, as far as it
 * sees it, and gives tables with weak keys, which are safe, a metatable of
 * ours that a script cannot get at.
 *
 * The compiler's own mistake is mended where something is compiled
 * (sandbox_mend.c).
 *
 * And when an error strikes in a message handler, Lua makes a text for it at
 * a place where, in some states of a coroutine, nothing catches the error if
 * there is no memory: it would abort the process (fixed in Lua 5.4.8). A text
 * that is there already needs no memory. */
#include "base/digest.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <string.h>

/* The header's version will do: who builds against a later Lua does not run
 * with an earlier one. */
#define HAS_CONCAT      (LUA_VERSION_RELEASE_NUM >= 50406)
#define HAS_WEAK_VALUES (LUA_VERSION_RELEASE_NUM >= 50408)

/* Of 5.4.4 itself see sandbox_mend.c. Before that a `<close>` variable is as
 * dangerous, and nobody has looked at how. */
#define HAS_CLOSE (LUA_VERSION_RELEASE_NUM >= 50404)

/* In the registry: the metatable of tables with weak keys. */
static const char weak_keys_key;

/* A traceback through a metamethod shows its name from here on ("__" is left
 * out), as text: so the text ends here. Nobody is told the other bytes, which
 * are five at least. */
#define SHOWN_FROM 2

/* Short strings are interned: this is the very one that Lua looks up. It
 * stays in the list that its old hash leads to, so a script that writes the
 * name gets a string of its own (unless that hashes into the same list, so the
 * name must not be found out), and a table that has it as a key by now keeps
 * it. */
static void hide(lua_State *L, const char *event)
{
    lua_pushstring(L, event);
    char *name = (char *)(uintptr_t)lua_tostring(L, -1);
    digest_random(name, strlen(event));
    name[SHOWN_FROM] = '\0';
    lua_pop(L, 1);
}

void sandbox_guard_lua(lua_State *L)
{
    lua_pushliteral(L, "error in error handling");
    (void)luaL_ref(L, LUA_REGISTRYINDEX);

    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &weak_keys_key);

    if (!HAS_CONCAT) {
        hide(L, "__concat");
    }
    if (!HAS_WEAK_VALUES) {
        hide(L, "__mode");
    }
    if (!HAS_CLOSE) {
        hide(L, "__close");
    }
}

void sandbox_push_weak_table(lua_State *L)
{
    lua_newtable(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_keys_key);
    lua_setmetatable(L, -2);
}

static bool has_other_fields(lua_State *L, int idx)
{
    lua_pushnil(L);
    if (lua_next(L, idx) == 0) {
        return false;
    }
    lua_pop(L, 1);
    bool has_second = lua_next(L, idx) != 0;
    lua_pop(L, has_second ? 2 : 0);
    return has_second;
}

void sandbox_judge_metatable(lua_State *L, int idx)
{
    lua_pushliteral(L, "__concat");
    if (!HAS_CONCAT && lua_rawget(L, idx) != LUA_TNIL) {
        luaL_error(L, "__concat is not available to apps: " LUA_RELEASE
                      " is not safe with it");
    }
    lua_pushliteral(L, "__mode");
    if (HAS_WEAK_VALUES || lua_rawget(L, idx) != LUA_TSTRING) {
        lua_pop(L, 2);
        return;
    }
    const char *mode = lua_tostring(L, -1);
    bool has_weak_keys = strchr(mode, 'k') != NULL;
    if (strchr(mode, 'v') != NULL) {
        luaL_error(L, "weak values are not available to apps: " LUA_RELEASE
                      " is not safe with them");
    }
    lua_pop(L, 2);
    if (has_weak_keys) {
        if (has_other_fields(L, idx)) {
            luaL_error(L, "with " LUA_RELEASE " an app's weak table has "
                          "nothing but __mode in its metatable");
        }
        lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_keys_key);
        lua_replace(L, idx);
    }
}
