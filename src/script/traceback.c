/* traceback.c -- where a script is, at a cost that a deep stack does not raise.
 *
 * Called for the log where a job fails (task.c) or is ended (kill.c), and by
 * scripts as debug.traceback.
 *
 * Lua's own luaL_traceback() looks for the stack's outer end, and shows it. It
 * asks for each level by its number, and Lua walks there from the innermost
 * one: some thirty walks over all of it. Where a recursion has no end these are
 * 200,000 levels, and half a second in a C function that nothing but the hard
 * kill ends. So the most ordinary slip of a script cost its app the state. Here
 * a long stack shows its innermost levels and not the others, which are alike.
 *
 * Who calls may be out of stack: so nothing here asks for more of it. */
#include "script/traceback.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <limits.h>

/* A stack with more levels is long. Thirty walks over so many take 0.2 ms. */
#define LONG_LEVELS 2000
/* So many of a long one are shown, as Lua shows of each end. */
#define SHOWN_LEVELS 10

static bool is_long(lua_State *L1)
{
    lua_Debug ar;
    return lua_getstack(L1, LONG_LEVELS, &ar) != 0;
}

/* Appends to the text on top of L. */
static void add_level(lua_State *L, const lua_Debug *ar)
{
    if (ar->currentline > 0) {
        lua_pushfstring(L, "\n\t%s:%d: in ", ar->short_src, ar->currentline);
    } else {
        lua_pushfstring(L, "\n\t%s: in ", ar->short_src);
    }
    if (*ar->namewhat != '\0') {
        lua_pushfstring(L, "%s '%s'", ar->namewhat, ar->name);
    } else if (*ar->what == 'm') {
        lua_pushliteral(L, "main chunk");
    } else if (*ar->what != 'C') {
        lua_pushfstring(L, "function <%s:%d>", ar->short_src, ar->linedefined);
    } else {
        lua_pushliteral(L, "?");
    }
    lua_pushstring(L, ar->istailcall ? "\n\t(...tail calls...)" : "");
    lua_concat(L, 4);
}

static void push_innermost(
    lua_State *L, lua_State *L1, const char *text, int level)
{
    lua_Debug ar;
    lua_pushfstring(
        L, "%s%sstack traceback:", text ? text : "", text ? "\n" : "");
    for (int i = 0; i < SHOWN_LEVELS; i++) {
        if (level > INT_MAX - i || lua_getstack(L1, level + i, &ar) == 0) {
            return;
        }
        lua_getinfo(L1, "Slnt", &ar);
        add_level(L, &ar);
    }
    lua_pushfstring(L, "\n\t...\t(and so on: over %d levels)", LONG_LEVELS);
    lua_concat(L, 2);
}

void traceback_push(lua_State *L, lua_State *L1, const char *text, int level)
{
    if (is_long(L1)) {
        push_innermost(L, L1, text, level);
    } else {
        luaL_traceback(L, L1, text, level);
    }
}

int traceback_for_script(lua_State *L)
{
    bool has_thread = lua_isthread(L, 1);
    lua_State *L1 = has_thread ? lua_tothread(L, 1) : L;
    int arg = has_thread ? 2 : 1;
    bool is_text = lua_isnoneornil(L, arg) || lua_isstring(L, arg);
    if (!is_text || !is_long(L1)) {
        return sandbox_stock.traceback(L);
    }
    int level = (int)luaL_optinteger(L, arg + 1, L == L1 ? 1 : 0);
    push_innermost(L, L1, lua_tostring(L, arg), level);
    return 1;
}
