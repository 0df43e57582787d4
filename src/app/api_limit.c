/* api_limit.c -- limit.new{rate, burst}: a token bucket per key.
 *
 * Kept as one number per key, the moment at which its bucket is full again
 * (the generic cell rate algorithm of ATM's traffic management). A key whose
 * moment has passed is as good as none, and that is so at the latest when an
 * empty bucket has had the time to fill. So there are two tables: what is
 * taken is noted in the young one; from time to time that becomes the old
 * one, which is only read, and the old one goes as a whole. Nothing is ever
 * searched for keys to forget, and the tables hold whoever was active
 * lately. */
#include "app/api_priv.h"
#include <math.h>

#define LEAST_AGE_S 1.0 /* quick buckets need no quick change of tables */

enum { KEPT_YOUNG = 1, KEPT_OLD };

struct limiter {
    double interval;  /* seconds for one token */
    double burst;     /* tokens */
    double age;       /* seconds after which any bucket is full */
    double change_at; /* when young becomes old */
};

static void change_tables(lua_State *L, struct limiter *m, double now)
{
    if (now < m->change_at) {
        return;
    }
    lua_newtable(L);
    if (now < m->change_at + m->age) {
        lua_getiuservalue(L, 1, KEPT_YOUNG);
    } else {
        lua_newtable(L);
    }
    lua_setiuservalue(L, 1, KEPT_OLD);
    lua_setiuservalue(L, 1, KEPT_YOUNG);
    m->change_at = now + m->age;
}

/* When the bucket of the key at 2 is full again. Pushes nothing. */
static double find_moment(lua_State *L, double now)
{
    double moment = now;

    for (int kept = KEPT_YOUNG; kept <= KEPT_OLD && moment <= now; kept++) {
        lua_getiuservalue(L, 1, kept);
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) == LUA_TNUMBER) {
            moment = lua_tonumber(L, -1);
        }
        lua_pop(L, 2);
    }
    return moment > now ? moment : now;
}

static struct limiter *check_limiter(lua_State *L)
{
    struct limiter *own = api_userdata(L, 1, &state_from(L)->limit_meta);

    if (own == NULL) {
        (void)api_bad_self(L, 1, "limit");
    }
    return own;
}

/* (self, key, n?) -> true | nil, retry_after */
static int limit_take(lua_State *L)
{
    struct limiter *m = check_limiter(L);
    double now = (double)loop_clock_ns() / 1e9;
    double n = 1;

    if (lua_isnoneornil(L, 2)) {
        return api_bad_argument(L, 2, "key", "a key, such as client.user");
    }
    if (!lua_isnoneornil(L, 3)) {
        n = lua_tonumber(L, 3);
        if (lua_type(L, 3) != LUA_TNUMBER || !(n > 0 && n <= m->burst)) {
            return luaL_error(
                L, "bad argument 'n' (above 0 and at most the burst expected)");
        }
    }
    if (lua_type(L, 2) == LUA_TNUMBER && isnan(lua_tonumber(L, 2))) {
        return api_bad_argument(L, 2, "key", "a number other than NaN");
    }
    lua_settop(L, 2);
    change_tables(L, m, now);
    double next = find_moment(L, now) + n * m->interval;
    double wait = next - m->burst * m->interval - now;
    /* A billionth of a second of rounding is nobody's fault. */
    if (wait > 1e-9) {
        lua_pushnil(L);
        lua_pushnumber(L, wait);
        return 2;
    }
    lua_getiuservalue(L, 1, KEPT_YOUNG);
    lua_pushvalue(L, 2);
    lua_pushnumber(L, next);
    lua_rawset(L, -3);
    lua_pushboolean(L, 1);
    return 1;
}

static double read_number(lua_State *L, const char *field, double standard)
{
    lua_pushstring(L, field);
    if (lua_rawget(L, 1) == LUA_TNIL && standard > 0) {
        return standard;
    }
    double v = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(v > 0 && v <= 1e9)) {
        luaL_error(L, "limit.new: '%s' must be a number above 0", field);
    }
    return v;
}

static void make_meta(lua_State *L)
{
    lua_createtable(L, 0, 3);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, limit_take);
    lua_setfield(L, -2, "take");
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "limit");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

/* {rate = tokens a second, burst = tokens at most (default: rate)} */
static int limit_new(lua_State *L)
{
    static const char *const options[] = {"rate", "burst"};

    if (!lua_istable(L, 1)) {
        return api_bad_argument(L, 1, "options", "table");
    }
    lua_settop(L, 1);
    api_check_options(L, 1, "limit.new", options, ARRAY_LEN(options));
    double rate = read_number(L, "rate", 0);
    double burst = read_number(L, "burst", rate < 1 ? 1 : rate);
    if (burst < 1) {
        return luaL_error(L, "limit.new: 'burst' must be at least 1");
    }
    struct limiter *m = lua_newuserdatauv(L, sizeof(*m), 2);
    m->interval = 1 / rate;
    m->burst = burst;
    m->age = burst / rate > LEAST_AGE_S ? burst / rate : LEAST_AGE_S;
    m->change_at = (double)loop_clock_ns() / 1e9 + m->age;
    lua_newtable(L);
    lua_setiuservalue(L, -2, KEPT_YOUNG);
    lua_newtable(L);
    lua_setiuservalue(L, -2, KEPT_OLD);
    api_push_meta(L, &state_from(L)->limit_meta, make_meta);
    lua_setmetatable(L, -2);
    return 1;
}

void api_limit(lua_State *L, const struct words *w)
{
    static const luaL_Reg functions[] = {
        {"new", limit_new},
        {NULL, NULL},
    };

    api_set_library(L, w, "limit", functions);
}
