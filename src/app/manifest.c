/* manifest.c -- app.conf.lua -> settings; parse only.
 *
 * The file is run in a vm of its own without any library, so all it can do is
 * build a table; a bound on its instructions ends a loop. Then a table of keys
 * drives everything: each key has a reader, anything else is unknown.
 *
 * These are two jobs. The file's own code can be stopped anywhere, and has a
 * budget (I9). Reading what it has built allocates outside of the vm, so it is
 * not stopped (I10); the bounds on what it may find keep it short. */
#include "app/manifest_priv.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/handshake.h"
#include "script/sandbox.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define INSTRUCTIONS_MAX 1000000
#define MEMORY_BYTES     (4 * 1024 * 1024)
#define ENV_MAX          256
#define ORIGINS_MAX      64

/* ---- the keys ---- */

static void read_message_max(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.message_bytes =
        (uint32_t)manifest_read_bytes(L, p, path, 1, LIMIT_MAX_MESSAGE_BYTES);
}

static void read_message(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"max", read_message_max}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

static void read_policy(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const char *const words[] = {
        [OUTBOX_CLOSE] = "close",
        [OUTBOX_DROP_OLDEST] = "drop_oldest",
        [OUTBOX_DROP_NEWEST] = "drop_newest",
    };

    p->settings->conn.policy = (enum outbox_policy)manifest_read_word(
        L, p, path, words, ARRAY_LEN(words));
}

static void read_hard(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.outbox.hard_bytes = (uint32_t)manifest_read_bytes(
        L, p, path, 1024, LIMIT_MAX_OUTBOX_HARD_BYTES);
}

static void read_soft(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.outbox.soft_messages = (uint32_t)manifest_read_count(
        L, p, path, 1, LIMIT_MAX_OUTBOX_SOFT_MESSAGES);
}

static void read_soft_for(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.outbox.soft_ms =
        (uint32_t)manifest_read_ms(L, p, path, 0, 3600 * 1000);
}

static void read_outbox(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"policy", read_policy},
        {"hard", read_hard}, {"soft", read_soft}, {"soft_for", read_soft_for}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

static void read_cpu(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->cpu_ms =
        (uint32_t)manifest_read_ms(L, p, path, 1, LIMIT_MAX_CPU_MS);
}

static void read_memory(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->memory_bytes = (size_t)manifest_read_bytes(
        L, p, path, LIMIT_MIN_MEMORY_BYTES, LIMIT_MAX_MEMORY_BYTES);
}

static void read_clients(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->clients =
        (uint32_t)manifest_read_count(L, p, path, 1, LIMIT_MAX_CLIENTS);
}

static void read_share(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->share = (uint32_t)manifest_read_count(L, p, path, 1, 100);
}

static void read_limits(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"cpu", read_cpu},
        {"memory", read_memory}, {"clients", read_clients},
        {"share", read_share}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

static void read_rate_messages(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.rate_messages.per_s =
        (uint32_t)manifest_read_count(L, p, path, 0, LIMIT_MAX_RATE);
}

static void read_rate_burst(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.rate_messages.burst =
        (uint32_t)manifest_read_count(L, p, path, 1, LIMIT_MAX_RATE);
}

static void read_rate_bytes(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.rate_bytes.per_s =
        (uint32_t)manifest_read_bytes(L, p, path, 0, LIMIT_MAX_RATE);
}

/* A burst is two seconds' worth, if nothing else is said. */
static void read_rate(lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"messages", read_rate_messages},
        {"burst", read_rate_burst}, {"bytes", read_rate_bytes}};
    struct conn_settings *s = &p->settings->conn;

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
    if (s->rate_messages.burst == 0) {
        s->rate_messages.burst = 2 * s->rate_messages.per_s;
    }
    s->rate_bytes.burst = 2 * s->rate_bytes.per_s;
}

static void read_ping(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.ping_ms =
        (uint32_t)manifest_read_ms(L, p, path, 100, 24 * 3600 * 1000);
}

static void read_pong(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.pong_ms =
        (uint32_t)manifest_read_ms(L, p, path, 100, LIMIT_MAX_WAIT_MS);
}

static void read_closing(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.close_ms =
        (uint32_t)manifest_read_ms(L, p, path, 100, LIMIT_MAX_CLOSE_MS);
}

static void read_placement(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const char *const words[] = {
        [PLACEMENT_AUTO] = "auto",
        [PLACEMENT_HOME] = "home",
        [PLACEMENT_SPREAD] = "spread",
    };

    p->settings->placement =
        (enum placement)manifest_read_word(L, p, path, words, ARRAY_LEN(words));
}

static void read_concurrent(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    if (!lua_isboolean(L, -1)) {
        (void)manifest_complain(
            L, p, path, lua_pushfstring(L, "%s must be true or false", path));
    }
    p->settings->concurrent = lua_toboolean(L, -1);
}

/* The text on top, copied; `full` says whose it is. The file is short, but may
 * have built longer texts than it has bytes (I6). */
static char *copy_text(
    lua_State *L, struct manifest_parse *p, const char *path, const char *full)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);

    if (strlen(text) != len) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(L, "%s must not contain a zero byte", full));
    }
    p->text_bytes += len;
    if (p->text_bytes > LIMIT_CONF_BYTES) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(L,
                "all texts together are over %d bytes, with that of %s",
                LIMIT_CONF_BYTES, full));
    }
    return mem_strndup(text, len);
}

/* A table whose keys are 1 to n and no others, and n is one to look at. */
static bool is_list(lua_State *L, int table, lua_Unsigned n)
{
    lua_Unsigned count = 0;

    if (!lua_istable(L, table) || n > ORIGINS_MAX) {
        return false;
    }
    lua_pushnil(L);
    while (count <= n && lua_next(L, table) != 0) {
        count++;
        lua_pop(L, 1);
    }
    return count == n;
}

static void read_origins(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    int table = lua_gettop(L);
    lua_Unsigned n = lua_istable(L, table) ? lua_rawlen(L, table) : 0;

    if (!is_list(L, table, n)) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(L,
                "%s must be a list of at most %d origins, as in: "
                "{ \"https://chat.example.com\" }",
                path, ORIGINS_MAX));
    }
    mem_free(p->settings->origins);
    p->settings->origins = mem_zalloc((n + 1) * sizeof(char *));
    for (lua_Unsigned i = 0; i < n; i++) {
        const char *full = lua_pushfstring(L, "%s[%d]", path, (int)i + 1);
        if (lua_rawgeti(L, table, (lua_Integer)i + 1) != LUA_TSTRING) {
            (void)manifest_complain(
                L, p, path, lua_pushfstring(L, "%s must be a string", full));
        }
        if (!handshake_origin_entry_is_valid(lua_tostring(L, -1))) {
            (void)manifest_complain(L, p, path,
                lua_pushfstring(L,
                    "%s is no origin: \"%s\"; one is like "
                    "\"https://chat.example.com\", without a path",
                    full, lua_tostring(L, -1)));
        }
        p->settings->origins[i] = copy_text(L, p, path, full);
        lua_pop(L, 2);
    }
}

static void read_env(lua_State *L, struct manifest_parse *p, const char *path)
{
    struct settings *s = p->settings;
    int table = lua_gettop(L);

    if (!lua_istable(L, table)) {
        (void)manifest_complain(
            L, p, path, lua_pushfstring(L, "%s must be a table", path));
    }
    s->env = mem_zalloc(ENV_MAX * sizeof(*s->env));
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            (void)manifest_complain(L, p, path,
                lua_pushfstring(L, "the names in %s must be strings", path));
        }
        const char *full =
            lua_pushfstring(L, "%s.%s", path, lua_tostring(L, -2));
        if (!lua_isstring(L, -2)) {
            (void)manifest_complain(L, p, full,
                lua_pushfstring(L, "%s must be a string, got %s", full,
                    luaL_typename(L, -2)));
        }
        if (s->env_count == ENV_MAX) {
            (void)manifest_complain(L, p, path,
                lua_pushfstring(L, "%s has more than %d names", path, ENV_MAX));
        }
        struct setting_pair *pair = &s->env[s->env_count++];
        lua_pushvalue(L, -3);
        pair->name = copy_text(L, p, full, full);
        lua_pushvalue(L, -3);
        pair->value = copy_text(L, p, full, full);
        lua_pop(L, 4);
    }
}

static const struct manifest_key top_keys[] = {
    {"message", read_message},
    {"outbox", read_outbox},
    {"limits", read_limits},
    {"rate", read_rate},
    {"ping", read_ping},
    {"pong", read_pong},
    {"closing", read_closing},
    {"placement", read_placement},
    {"origins", read_origins},
    {"concurrent", read_concurrent},
    {"env", read_env},
    {"compress", manifest_read_compress},
};

/* ---- the file ---- */

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    luaL_error(
        L, "%s: takes too long; it should just return a table", MANIFEST_FILE);
}

/* (light userdata parse): what the file returns is left in the registry. */
static int run_file(lua_State *L)
{
    struct manifest_parse *p = lua_touserdata(L, 1);

    if (sandbox_load(L, p->file->data, p->file->len, MANIFEST_FILE) != LUA_OK) {
        return lua_error(L);
    }
    lua_sethook(L, on_count, LUA_MASKCOUNT, INSTRUCTIONS_MAX);
    lua_call(L, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, p);
    return 0;
}

/* (light userdata parse) */
static int read_table(lua_State *L)
{
    struct manifest_parse *p = lua_touserdata(L, 1);

    lua_rawgetp(L, LUA_REGISTRYINDEX, p);
    manifest_read_keys(L, p, "", top_keys, ARRAY_LEN(top_keys));
    return 0;
}

static int push_run(struct job *j, lua_State *T)
{
    struct manifest_parse *p = container_of(j, struct manifest_parse, job);

    lua_pushcfunction(T, p->is_reading ? read_table : run_file);
    lua_pushlightuserdata(T, p);
    return 1;
}

static void run_done(struct job *j, lua_State *T, int status, int n)
{
    struct manifest_parse *p = container_of(j, struct manifest_parse, job);

    (void)n;
    p->status = status;
    if (status != LUA_OK) {
        /* The first line: a traceback through this file helps nobody. */
        const char *text = lua_tostring(T, -1);
        text = text != NULL ? text : "error";
        (void)snprintf(p->why, p->why_bytes, "%s%.*s",
            status == LUA_ERRMEM ? MANIFEST_FILE ": " : "",
            (int)strcspn(text, "\n"), text);
    }
}

/* What became of a job; after the first comes the second. */
static int judge(struct manifest_parse *p, int rc)
{
    if (rc == TASK_DONE && p->status == LUA_OK && !p->is_reading) {
        p->is_reading = true;
        p->job.cpu_ms = 0;
        rc = task_run(p->vm, &p->job);
    }
    if (rc == TASK_STOPPED) {
        return MANIFEST_STOPPED;
    }
    if (rc == TASK_DEAD) {
        (void)snprintf(
            p->why, p->why_bytes, "%s: %s", MANIFEST_FILE, vm_why(p->vm));
        return ERR_CLOSED;
    }
    if (rc < 0) {
        (void)snprintf(p->why, p->why_bytes, "no fiber is free");
        return rc;
    }
    if (p->status != LUA_OK) {
        settings_fini(p->settings);
        settings_init(p->settings);
    }
    return p->status == LUA_OK ? 0 : ERR_SYNTAX;
}

void settings_init(struct settings *s)
{
    memset(s, 0, sizeof(*s));
    s->conn.message_bytes = LIMIT_DEFAULT_MESSAGE_BYTES;
    s->conn.ping_ms = LIMIT_DEFAULT_PING_MS;
    s->conn.pong_ms = LIMIT_PONG_MS;
    s->conn.close_ms = LIMIT_CLOSE_MS;
    s->conn.outbox.hard_bytes = LIMIT_DEFAULT_OUTBOX_HARD_BYTES;
    s->conn.outbox.soft_messages = LIMIT_DEFAULT_OUTBOX_SOFT_MESSAGES;
    s->conn.outbox.soft_ms = LIMIT_DEFAULT_OUTBOX_SOFT_MS;
    s->conn.policy = OUTBOX_CLOSE;
    compress_settings_init(&s->compress);
    s->cpu_ms = LIMIT_DEFAULT_CPU_MS;
    s->share = 100;
    s->memory_bytes = LIMIT_DEFAULT_MEMORY_BYTES;
    s->clients = LIMIT_DEFAULT_CLIENTS;
    s->placement = PLACEMENT_UNSET;
}

void settings_fini(struct settings *s)
{
    for (size_t i = 0; s->origins != NULL && s->origins[i] != NULL; i++) {
        mem_free(s->origins[i]);
    }
    mem_free(s->origins);
    for (size_t i = 0; i < s->env_count; i++) {
        mem_free(s->env[i].name);
        mem_free(s->env[i].value);
    }
    mem_free(s->env);
    memset(s, 0, sizeof(*s));
}

int manifest_begin(struct manifest_parse *p, const struct snapshot *snap,
    struct settings *s, char *why, size_t why_bytes)
{
    const struct vm_config config = {
        .memory_bytes = MEMORY_BYTES, .max_tasks = 1};

    *p = (struct manifest_parse){
        .job = {.push = push_run,
            .done = run_done,
            .cpu_ms = LIMIT_LOAD_CPU_MS},
        .file = snapshot_find(snap, MANIFEST_FILE),
        .settings = s,
        .why = why,
        .why_bytes = why_bytes,
    };
    if (p->file == NULL) {
        return 0;
    }
    if (p->file->len > LIMIT_CONF_BYTES) {
        (void)snprintf(why, why_bytes, "%s is over %d bytes", MANIFEST_FILE,
            LIMIT_CONF_BYTES);
        return ERR_TOO_BIG;
    }
    p->vm = vm_new(&config);
    if (p->vm == NULL) {
        (void)snprintf(why, why_bytes, "no memory");
        return ERR_NOMEM;
    }
    return judge(p, task_run(p->vm, &p->job));
}

int manifest_go_on(struct manifest_parse *p)
{
    return judge(p, task_resume(p->vm));
}

void manifest_end(struct manifest_parse *p)
{
    vm_free(p->vm);
    p->vm = NULL;
}
