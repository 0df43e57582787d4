/* sandbox_lua.c -- guards against Lua itself: what the installed library does
 * wrong with memory, in reach of a script, and no wrapper can prevent.
 *
 * sandbox.c calls this once for each state, before any script runs.
 *
 * `..` on a table calls its `__concat`. If the Lua stack moves meanwhile (the
 * function needs a longer one, or waits while another handler collects
 * garbage), luaV_concat() goes on with a pointer into the old stack: it reads
 * and writes freed memory. That is so in Lua 5.4.4 as distributions patched
 * it against CVE-2022-33099 (Debian 12: 5.4.4-3+deb12u1), it needs no more
 * than three lines of plain Lua, and 5.4.6 does it right. Refusing metatables
 * that have a `__concat` would not do, since it can be put in later. So the
 * operator is made to look for a name that nobody can know, and finds no
 * metamethod: "attempt to concatenate a table value".
 *
 * When an error strikes in a message handler Lua makes a text for it at a
 * place where, in some states of a coroutine, nothing catches the error if
 * there is no memory: it would abort the process (fixed in Lua 5.4.8). A text
 * that is there already needs no memory. */
#include "base/digest.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <string.h>

static void hide_concat(lua_State *L)
{
    static const char event[] = "__concat";
    /* Short strings are interned: this is the very one that the operator
     * looks up. It stays in the list that its old hash leads to, so a script
     * that writes "__concat" gets a string of its own. */
    lua_pushstring(L, event);
    char *name = (char *)(uintptr_t)lua_tostring(L, -1);
    digest_random(name, strlen(event));
    lua_pop(L, 1);
}

static void keep_error_text(lua_State *L)
{
    lua_pushliteral(L, "error in error handling");
    (void)luaL_ref(L, LUA_REGISTRYINDEX);
}

void sandbox_guard_lua(lua_State *L)
{
    if (!SANDBOX_HAS_CONCAT) {
        hide_concat(L);
    }
    keep_error_text(L);
}
