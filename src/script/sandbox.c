/* sandbox.c -- what a script may see, in one table.
 *
 * Only the names of the allowlist below come into a state: with the stock
 * value (sandbox_stock.c), wrapped in a function of ours, or with one of
 * ours. What is not in the list does not exist for a script; calling what
 * Lua programs expect and that is left out on purpose says so
 * (sandbox_absent.c).
 *
 * The string metatable is ours to guard: strings find their methods in the
 * `string` table that the script sees (and may change: the server never
 * calls through it), and getmetatable("") gives nothing away.
 *
 * What is made here is made for each of ten thousand apps. So tables are as
 * long as they will be, functions are no closures where they need not be, and
 * nothing is made that is not kept.
 *
 * Not here: print, require, env and everything else that knows what an app
 * is (app/api*.c); budgets and kills (kill.c), for whose sake pcall and
 * the coroutine library are our own. */
#include "script/sandbox.h"
#include "base/digest.h"
#include "script/preempt.h"
#include "script/sandbox_priv.h"
#include "script/traceback.h"
#include <lauxlib.h>
#include <pthread.h>
#include <string.h>

struct entry {
    const char *name;       /* "lib.name", or a global's name alone */
    bool is_stock;          /* the stock value, or ours needs it */
    bool has_dice;          /* a closure over the state's random generator */
    lua_CFunction function; /* ours; NULL: the stock one as it is */
    lua_CFunction *stock;   /* where ours finds the stock one */
};

struct sandbox_stock sandbox_stock;

/* The entries of a library stand together. */
#define STOCK(name)                                                            \
    {                                                                          \
        name, true, false, NULL, NULL                                          \
    }
#define OURS(name, f)                                                          \
    {                                                                          \
        name, false, false, f, NULL                                            \
    }
#define WRAP(name, f, slot)                                                    \
    {                                                                          \
        name, true, false, f, &sandbox_stock.slot                              \
    }

static const struct entry allowlist[] = {STOCK("_VERSION"), STOCK("assert"),
    OURS("collectgarbage", sandbox_base_collectgarbage), STOCK("error"),
    STOCK("getmetatable"), STOCK("ipairs"), OURS("load", sandbox_base_load),
    STOCK("next"), STOCK("pairs"), OURS("pcall", sandbox_base_pcall),
    STOCK("rawequal"), STOCK("rawget"), STOCK("rawlen"), STOCK("rawset"),
    STOCK("select"), OURS("setmetatable", sandbox_base_setmetatable),
    STOCK("tonumber"), OURS("tostring", sandbox_text_tostring), STOCK("type"),
    OURS("xpcall", sandbox_coroutine_xpcall),

    OURS("coroutine.close", sandbox_coroutine_close),
    OURS("coroutine.create", sandbox_coroutine_create),
    OURS("coroutine.isyieldable", sandbox_coroutine_isyieldable),
    OURS("coroutine.resume", sandbox_coroutine_resume),
    OURS("coroutine.running", sandbox_coroutine_running),
    OURS("coroutine.status", sandbox_coroutine_status),
    OURS("coroutine.wrap", sandbox_coroutine_wrap),
    OURS("coroutine.yield", sandbox_coroutine_yield),

    WRAP("debug.traceback", traceback_for_script, traceback),

    STOCK("math.abs"), STOCK("math.acos"), STOCK("math.asin"),
    STOCK("math.atan"), STOCK("math.ceil"), STOCK("math.cos"),
    STOCK("math.deg"), STOCK("math.exp"), STOCK("math.floor"),
    STOCK("math.fmod"), STOCK("math.huge"), STOCK("math.log"),
    STOCK("math.max"), STOCK("math.maxinteger"), STOCK("math.min"),
    STOCK("math.mininteger"), STOCK("math.modf"), STOCK("math.pi"),
    STOCK("math.rad"), {"math.random", true, true, NULL, NULL},
    /* Without arguments the stock one returns the state's address. */
    {"math.randomseed", true, true, sandbox_math_randomseed,
        &sandbox_stock.randomseed},
    STOCK("math.sin"), STOCK("math.sqrt"), STOCK("math.tan"),
    STOCK("math.tointeger"), STOCK("math.type"), STOCK("math.ult"),

    OURS("os.clock", sandbox_os_clock), OURS("os.date", sandbox_os_date),
    OURS("os.time", sandbox_os_time),

    STOCK("string.byte"), STOCK("string.char"), STOCK("string.find"),
    WRAP("string.format", sandbox_text_format, format), STOCK("string.gmatch"),
    STOCK("string.gsub"), STOCK("string.len"), STOCK("string.lower"),
    STOCK("string.match"), STOCK("string.pack"), STOCK("string.packsize"),
    WRAP("string.rep", sandbox_text_rep, rep), STOCK("string.reverse"),
    STOCK("string.sub"), STOCK("string.unpack"), STOCK("string.upper"),

    WRAP("table.concat", sandbox_table_concat, concat),
    WRAP("table.insert", sandbox_table_insert, insert),
    WRAP("table.move", sandbox_table_move, move), STOCK("table.pack"),
    WRAP("table.remove", sandbox_table_remove, remove),
    WRAP("table.sort", sandbox_table_sort, sort), STOCK("table.unpack"),

    STOCK("utf8.char"), STOCK("utf8.charpattern"), STOCK("utf8.codepoint"),
    STOCK("utf8.codes"), STOCK("utf8.len"), STOCK("utf8.offset"),

    /* The strings' metatable: arithmetic on texts that are numbers. */
    STOCK("strings.__add"), STOCK("strings.__div"), STOCK("strings.__idiv"),
    STOCK("strings.__mod"), STOCK("strings.__mul"), STOCK("strings.__pow"),
    STOCK("strings.__sub"), STOCK("strings.__unm")};

/* Their parts of the allowlist, where name[0] is '\0' for the globals and the
 * last is no library of a script's. */
static struct library {
    const char *name;
    size_t first;
    size_t count;
} libraries[] = {{"", 0, 0}, {"coroutine", 0, 0}, {"debug", 0, 0},
    {"math", 0, 0}, {"os", 0, 0}, {"string", 0, 0}, {"table", 0, 0},
    {"utf8", 0, 0}, {"strings", 0, 0}};

enum { GLOBALS = 0, STRINGS = ARRAY_LEN(libraries) - 1 };

static struct sandbox_value values[ARRAY_LEN(allowlist)];
static size_t dice_bytes;
static pthread_once_t looked_up = PTHREAD_ONCE_INIT;

static bool is_of(const struct entry *e, const struct library *lib)
{
    const char *dot = strchr(e->name, '.');
    size_t len = dot != NULL ? (size_t)(dot - e->name) : 0;
    return strlen(lib->name) == len && memcmp(e->name, lib->name, len) == 0;
}

static void find_libraries(void)
{
    struct library *lib = libraries;
    for (size_t i = 0; i < ARRAY_LEN(allowlist); i++) {
        if (!is_of(&allowlist[i], lib)) {
            lib++;
            lib->first = i;
        }
        ASSERT(is_of(&allowlist[i], lib), "both are in the same order");
        lib->count++;
    }
}

static void look_up(void)
{
    find_libraries();
    lua_State *S = sandbox_stock_open();
    for (size_t i = 0; i < ARRAY_LEN(allowlist); i++) {
        const struct entry *e = &allowlist[i];
        if (e->is_stock) {
            sandbox_stock_read(S, e->name, &values[i]);
        }
        if (e->stock != NULL) {
            *e->stock = values[i].function;
        }
        if (e->has_dice) {
            dice_bytes = values[i].len;
        }
    }
    lua_close(S);
}

/* Sets the library's fields in the table on top; of the globals those that are
 * named. `dice` is the stack index of what the random generator keeps. */
static void fill(
    lua_State *L, const struct library *lib, int dice, const struct words *w)
{
    size_t skip = lib->name[0] != '\0' ? strlen(lib->name) + 1 : 0;
    for (size_t i = lib->first; i < lib->first + lib->count; i++) {
        const struct entry *e = &allowlist[i];
        if (skip == 0 && !words_has(w, e->name)) {
            continue;
        }
        if (e->has_dice) {
            lua_pushvalue(L, dice);
            lua_pushcclosure(
                L, e->function != NULL ? e->function : values[i].function, 1);
        } else if (e->function != NULL) {
            lua_pushcfunction(L, e->function);
        } else {
            sandbox_stock_push(L, &values[i]);
        }
        lua_setfield(L, -2, e->name + skip);
    }
}

/* Strings find their methods in the script's `string`, which is on top. */
static void guard_strings(lua_State *L)
{
    lua_pushliteral(L, "");
    lua_createtable(L, 0, (int)libraries[STRINGS].count + 2);
    fill(L, &libraries[STRINGS], 0, NULL);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

/* Two states must not roll the same dice, nor dice that can be guessed from
 * the clock. On top is `math`. */
static void seed_random(lua_State *L)
{
    lua_getfield(L, -1, "randomseed");
    lua_call(L, 0, 0);
}

/* Of each string, whatever its script says. */
static bool is_string(const struct library *lib)
{
    return strcmp(lib->name, "string") == 0;
}

/* Leaves its table on top. */
static void open_library(
    lua_State *L, const struct library *lib, const struct words *w)
{
    lua_createtable(L, 0, (int)lib->count);
    int table = lua_gettop(L);
    if (strcmp(lib->name, "math") == 0) {
        (void)lua_newuserdatauv(L, dice_bytes, 0);
        lua_pushvalue(L, table);
        fill(L, lib, table + 1, w);
        seed_random(L);
        lua_settop(L, table);
        return;
    }
    fill(L, lib, 0, w);
    if (is_string(lib)) {
        guard_strings(L);
    }
}

/* Globals and libraries. Names of functions in tracebacks and in "bad
 * argument" errors ("string.rep", not "?") are looked for in a table of the
 * registry, which no script can reach. The globals are on top. */
static void open_libraries(lua_State *L, const struct words *w)
{
    int globals = lua_gettop(L);
    fill(L, &libraries[GLOBALS], 0, w);
    lua_newtable(L);
    lua_pushvalue(L, globals);
    lua_setfield(L, -2, LUA_GNAME);
    if (words_has(w, LUA_GNAME)) {
        lua_pushvalue(L, globals);
        lua_setfield(L, globals, LUA_GNAME);
    }
    for (size_t i = GLOBALS + 1; i < STRINGS; i++) {
        const struct library *lib = &libraries[i];
        bool is_named = words_has(w, lib->name);
        if (!is_named && !is_string(lib)) {
            continue;
        }
        open_library(L, lib, w);
        if (is_named) {
            lua_pushvalue(L, -1);
            lua_setfield(L, globals, lib->name);
        }
        lua_setfield(L, globals + 1, lib->name);
    }
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
    const struct words *w = lua_touserdata(L, 1);
    preempt_hold();
    (void)pthread_once(&looked_up, look_up);
    preempt_release();
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    int top = lua_gettop(L);
    make_buffer_metatable(L);
    lua_pushglobaltable(L);
    open_libraries(L, w);
    sandbox_absent_open(L, w);
    lua_settop(L, top);
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
