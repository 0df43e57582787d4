/* sandbox.c -- what a script may see, in one table.
 *
 * The stock libraries are opened into a table that nobody else sees, and only
 * the names of the allowlist below cross over: as they are, wrapped in a
 * function of ours, or replaced by one. What is not in the list does not
 * exist for a script. Names that Lua programs expect and that are left out on
 * purpose are in the list too, as functions that say so; for `io` and
 * `package`, whose fields are used before they are called, looking is enough.
 *
 * The string metatable is ours to guard: strings find their methods in the
 * `string` table that the script sees (and may change: the server never
 * calls through it), and getmetatable("") gives nothing away.
 *
 * Not here: print, require, env and everything else that knows what an app
 * is (app/api*.c); budgets and kills (kill.c), for whose sake pcall and
 * the coroutine library are our own. */
#include "script/sandbox.h"
#include "base/digest.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

enum how {
    KEEP, /* the stock function or value */
    WRAP, /* ours, with the stock one as its first upvalue */
    OURS
};

struct entry {
    const char *name; /* "lib.name", or a global's name alone */
    enum how how;
    lua_CFunction function; /* of WRAP and OURS */
};

/* X(C identifier, name as a script writes it) */
#define ABSENT_LIST(X)                                                         \
    X(dofile, "dofile")                                                        \
    X(loadfile, "loadfile")                                                    \
    X(require, "require")                                                      \
    X(warn, "warn")                                                            \
    X(string_dump, "string.dump")                                              \
    X(os_difftime, "os.difftime")                                              \
    X(os_execute, "os.execute")                                                \
    X(os_exit, "os.exit")                                                      \
    X(os_getenv, "os.getenv")                                                  \
    X(os_remove, "os.remove")                                                  \
    X(os_rename, "os.rename")                                                  \
    X(os_setlocale, "os.setlocale")                                            \
    X(os_tmpname, "os.tmpname")                                                \
    X(debug_debug, "debug.debug")                                              \
    X(debug_gethook, "debug.gethook")                                          \
    X(debug_getinfo, "debug.getinfo")                                          \
    X(debug_getlocal, "debug.getlocal")                                        \
    X(debug_getmetatable, "debug.getmetatable")                                \
    X(debug_getregistry, "debug.getregistry")                                  \
    X(debug_getupvalue, "debug.getupvalue")                                    \
    X(debug_getuservalue, "debug.getuservalue")                                \
    X(debug_sethook, "debug.sethook")                                          \
    X(debug_setlocal, "debug.setlocal")                                        \
    X(debug_setmetatable, "debug.setmetatable")                                \
    X(debug_setupvalue, "debug.setupvalue")                                    \
    X(debug_setuservalue, "debug.setuservalue")                                \
    X(debug_upvalueid, "debug.upvalueid")                                      \
    X(debug_upvaluejoin, "debug.upvaluejoin")

/* A function each, not a closure over the name: a function costs a state
 * nothing, and there are many states. */
#define X(id, name)                                                            \
    static int no_##id(lua_State *L)                                           \
    {                                                                          \
        return luaL_error(L, name " is not available to apps");                \
    }
ABSENT_LIST(X)
#undef X

/* Globals that are tables of nothing but errors. */
static const char *const absent_modules[] = {"io", "package"};

static const struct entry allowlist[] = {
    {"_VERSION", KEEP, NULL}, {"assert", KEEP, NULL},
    {"collectgarbage", OURS, sandbox_base_collectgarbage},
    {"error", KEEP, NULL}, {"getmetatable", KEEP, NULL}, {"ipairs", KEEP, NULL},
    {"load", OURS, sandbox_base_load}, {"next", KEEP, NULL},
    {"pairs", KEEP, NULL}, {"pcall", OURS, sandbox_base_pcall},
    {"rawequal", KEEP, NULL}, {"rawget", KEEP, NULL}, {"rawlen", KEEP, NULL},
    {"rawset", KEEP, NULL}, {"select", KEEP, NULL},
    {"setmetatable", OURS, sandbox_base_setmetatable}, {"tonumber", KEEP, NULL},
    {"tostring", OURS, sandbox_text_tostring}, {"type", KEEP, NULL},
    {"xpcall", OURS, sandbox_coroutine_xpcall},

    {"coroutine.close", OURS, sandbox_coroutine_close},
    {"coroutine.create", OURS, sandbox_coroutine_create},
    {"coroutine.isyieldable", OURS, sandbox_coroutine_isyieldable},
    {"coroutine.resume", OURS, sandbox_coroutine_resume},
    {"coroutine.running", OURS, sandbox_coroutine_running},
    {"coroutine.status", OURS, sandbox_coroutine_status},
    {"coroutine.wrap", OURS, sandbox_coroutine_wrap},
    {"coroutine.yield", OURS, sandbox_coroutine_yield},

    {"debug.traceback", KEEP, NULL},

    {"math.abs", KEEP, NULL}, {"math.acos", KEEP, NULL},
    {"math.asin", KEEP, NULL}, {"math.atan", KEEP, NULL},
    {"math.ceil", KEEP, NULL}, {"math.cos", KEEP, NULL},
    {"math.deg", KEEP, NULL}, {"math.exp", KEEP, NULL},
    {"math.floor", KEEP, NULL}, {"math.fmod", KEEP, NULL},
    {"math.huge", KEEP, NULL}, {"math.log", KEEP, NULL},
    {"math.max", KEEP, NULL}, {"math.maxinteger", KEEP, NULL},
    {"math.min", KEEP, NULL}, {"math.mininteger", KEEP, NULL},
    {"math.modf", KEEP, NULL}, {"math.pi", KEEP, NULL},
    {"math.rad", KEEP, NULL}, {"math.random", KEEP, NULL},
    /* Without arguments the stock one returns the state's address. */
    {"math.randomseed", WRAP, sandbox_math_randomseed},
    {"math.sin", KEEP, NULL}, {"math.sqrt", KEEP, NULL},
    {"math.tan", KEEP, NULL}, {"math.tointeger", KEEP, NULL},
    {"math.type", KEEP, NULL}, {"math.ult", KEEP, NULL},

    {"os.clock", OURS, sandbox_os_clock}, {"os.date", OURS, sandbox_os_date},
    {"os.time", OURS, sandbox_os_time},

    {"string.byte", KEEP, NULL}, {"string.char", KEEP, NULL},
    {"string.find", KEEP, NULL}, {"string.format", WRAP, sandbox_text_format},
    {"string.gmatch", KEEP, NULL}, {"string.gsub", KEEP, NULL},
    {"string.len", KEEP, NULL}, {"string.lower", KEEP, NULL},
    {"string.match", KEEP, NULL}, {"string.pack", KEEP, NULL},
    {"string.packsize", KEEP, NULL}, {"string.rep", WRAP, sandbox_text_rep},
    {"string.reverse", KEEP, NULL}, {"string.sub", KEEP, NULL},
    {"string.unpack", KEEP, NULL}, {"string.upper", KEEP, NULL},

    {"table.concat", WRAP, sandbox_table_concat},
    {"table.insert", WRAP, sandbox_table_insert},
    {"table.move", WRAP, sandbox_table_move}, {"table.pack", KEEP, NULL},
    {"table.remove", WRAP, sandbox_table_remove},
    {"table.sort", WRAP, sandbox_table_sort}, {"table.unpack", KEEP, NULL},

    {"utf8.char", KEEP, NULL}, {"utf8.charpattern", KEEP, NULL},
    {"utf8.codepoint", KEEP, NULL}, {"utf8.codes", KEEP, NULL},
    {"utf8.len", KEEP, NULL}, {"utf8.offset", KEEP, NULL},

#define X(id, name) {name, OURS, no_##id},
    ABSENT_LIST(X)
#undef X
};

void sandbox_push_weak_table(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

static const luaL_Reg stock[] = {
    {"debug", luaopen_debug},
    {"math", luaopen_math},
    {"string", luaopen_string},
    {"table", luaopen_table},
    {"utf8", luaopen_utf8},
};

/* Pushes a table with the stock base library's names and, in fields, those of
 * the other libraries. */
static void open_stock(lua_State *L)
{
    lua_newtable(L);
    /* luaopen_base fills what the registry calls the globals. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushvalue(L, -2);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    for (size_t i = 0; i < ARRAY_LEN(stock); i++) {
        lua_pushcfunction(L, stock[i].func);
        lua_call(L, 0, 1);
        lua_setfield(L, -2, stock[i].name);
    }
}

/* Pushes field `name` of the table at idx; where there is none and `make`
 * says so, a new table that becomes that field. */
static void push_library(
    lua_State *L, int idx, const char *name, size_t len, bool make)
{
    lua_pushlstring(L, name, len);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, idx) == LUA_TNIL && make) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, idx);
    }
    lua_remove(L, -2);
}

/* Copies what entry `e` allows from the table at `from` to the one at `to`. */
static void install(lua_State *L, const struct entry *e, int from, int to)
{
    const char *dot = strchr(e->name, '.');
    const char *name = e->name;
    if (dot != NULL) {
        size_t len = (size_t)(dot - e->name);
        name = dot + 1;
        push_library(L, from, e->name, len, false);
        push_library(L, to, e->name, len, true);
    } else {
        lua_pushvalue(L, from);
        lua_pushvalue(L, to);
    }
    if (e->how != OURS) {
        /* A name that this Lua does not have stays nil. */
        lua_getfield(L, -2, name);
    }
    if (e->how != KEEP) {
        lua_pushcclosure(L, e->function, e->how == WRAP ? 1 : 0);
    }
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

static int refuse_field(lua_State *L)
{
    const char *module = lua_tostring(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING) {
        return luaL_error(L, "%s is not available to apps", module);
    }
    return luaL_error(
        L, "%s.%s is not available to apps", module, lua_tostring(L, 2));
}

/* Sets global `module` of the table at the top to a table of errors. */
static void install_absent_module(lua_State *L, const char *module)
{
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, module);
    lua_pushcclosure(L, refuse_field, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, module);
}

/* luaopen_string() left the strings a metatable that leads to the stock
 * library: turn it to the script's `string` and lock it. */
static void guard_strings(lua_State *L, int globals)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_getfield(L, globals, "string");
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

/* Two states must not roll the same dice, nor dice that can be guessed from
 * the clock. */
static void seed_random(lua_State *L, int globals)
{
    lua_Integer seed[2];
    digest_random(seed, sizeof(seed));
    lua_getfield(L, globals, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, seed[0]);
    lua_pushinteger(L, seed[1]);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
}

/* Lua looks here for the names of functions in tracebacks and in "bad
 * argument" errors ("string.rep", not "?"). No script can reach it. */
static void name_functions(lua_State *L, int globals)
{
    static const char *const libraries[] = {
        "coroutine", "math", "os", "string", "table", "utf8"};
    lua_createtable(L, 0, (int)ARRAY_LEN(libraries) + 1);
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        lua_getfield(L, globals, libraries[i]);
        lua_setfield(L, -2, libraries[i]);
    }
    lua_pushvalue(L, globals);
    lua_setfield(L, -2, LUA_GNAME);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

/* Lua makes the metatable of its string buffers when the first large one is
 * needed, in two steps. If memory runs out between them, every large buffer
 * of the state fails from then on. So it is made now, where a failure ends
 * the state anyway. */
static void make_buffer_metatable(lua_State *L)
{
    luaL_Buffer b;
    luaL_buffinitsize(L, &b, LUAL_BUFFERSIZE + 1);
    luaL_pushresultsize(&b, 0);
    lua_pop(L, 1);
}

int sandbox_open(lua_State *L)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    make_buffer_metatable(L);
    sandbox_text_open(L);
    sandbox_coroutine_open(L);
    lua_pushglobaltable(L);
    int globals = lua_gettop(L);
    open_stock(L);
    for (size_t i = 0; i < ARRAY_LEN(allowlist); i++) {
        install(L, &allowlist[i], globals + 1, globals);
    }
    lua_settop(L, globals);
    for (size_t i = 0; i < ARRAY_LEN(absent_modules); i++) {
        install_absent_module(L, absent_modules[i]);
    }
    lua_pushvalue(L, globals);
    lua_setfield(L, globals, LUA_GNAME);
    guard_strings(L, globals);
    seed_random(L, globals);
    name_functions(L, globals);
    lua_settop(L, globals - 1);
    sandbox_guard_lua(L);
    return 0;
}

struct source {
    const char *p;
    size_t len;
};

static const char *read_source(lua_State *L, void *ud, size_t *len)
{
    (void)L;
    struct source *s = ud;
    *len = s->len;
    s->len = 0;
    return s->p;
}

/* Editors leave a byte order mark, people a "#!" line. The line's end stays,
 * so that errors count lines as the editor does. */
static void skip_decoration(struct source *s)
{
    if (s->len >= 3 && memcmp(s->p, "\xef\xbb\xbf", 3) == 0) {
        s->p += 3;
        s->len -= 3;
    }
    if (s->len > 0 && s->p[0] == '#') {
        const char *end = memchr(s->p, '\n', s->len);
        size_t line = end != NULL ? (size_t)(end - s->p) : s->len;
        s->p += line;
        s->len -= line;
    }
}

int sandbox_load(lua_State *L, const char *source, size_t len, const char *name)
{
    struct source s = {source, len};
    skip_decoration(&s);
    lua_pushfstring(L, "@%s", name);
    int status = lua_load(L, read_source, &s, lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    if (status == LUA_OK) {
        sandbox_mend(L);
    }
    return status;
}
