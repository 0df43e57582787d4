/* manifest.c -- app.conf.lua -> settings; parse only.
 *
 * The file is run in a vm of its own without any library, so all it can do is
 * build a table; a budget of CPU time ends a loop. Then a table of keys
 * drives everything: each key has a reader, anything else is unknown. The
 * operator's file of ceilings is read the same way (ceilings.c).
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

#define MEMORY_BYTES (4 * 1024 * 1024)
#define ENV_MAX      256
#define ORIGINS_MAX  64

/* ---- the keys ---- */

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
    {"message", manifest_read_message},
    {"inbox", manifest_read_inbox},
    {"outbox", manifest_read_outbox},
    {"limits", manifest_read_limits},
    {"rate", manifest_read_rate},
    {"answer", manifest_read_answer},
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

/* (light userdata parse): what the file returns is left in the registry. */
static int run_file(lua_State *L)
{
    struct manifest_parse *p = lua_touserdata(L, 1);

    if (sandbox_load(L, p->file->data, p->file->len, p->file->name) != LUA_OK) {
        return lua_error(L);
    }
    lua_call(L, 0, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, p);
    return 0;
}

/* (light userdata parse) */
static int read_table(lua_State *L)
{
    struct manifest_parse *p = lua_touserdata(L, 1);

    lua_rawgetp(L, LUA_REGISTRYINDEX, p);
    if (p->is_ceilings) {
        manifest_read_ceilings(L, p);
    } else {
        manifest_read_keys(L, p, "", top_keys, ARRAY_LEN(top_keys));
    }
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
    if (status == TASK_ERRCPU) {
        (void)snprintf(p->why, p->why_bytes,
            "%s: takes too long; it should just return a table", p->file->name);
    } else if (status != LUA_OK) {
        /* The first line: a traceback through this file helps nobody. */
        const char *text = lua_tostring(T, -1);
        text = text != NULL ? text : "error";
        bool is_bare = status == LUA_ERRMEM;
        (void)snprintf(p->why, p->why_bytes, "%s%s%.*s",
            is_bare ? p->file->name : "", is_bare ? ": " : "",
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
            p->why, p->why_bytes, "%s: %s", p->file->name, vm_why(p->vm));
        return vm_end(p->vm) == VM_END_CPU ? ERR_TIMEOUT : ERR_CLOSED;
    }
    if (rc < 0) {
        (void)snprintf(p->why, p->why_bytes, "no fiber is free");
        return rc;
    }
    if (p->status != LUA_OK) {
        settings_fini(p->settings);
        settings_init(p->settings);
    }
    return task_err(p->status);
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
    s->conn.fragments = LIMIT_DEFAULT_FRAGMENTS;
    s->inbox.events = LIMIT_DEFAULT_INBOX_EVENTS;
    s->inbox.bytes = LIMIT_DEFAULT_INBOX_BYTES;
    s->inbox.client_events = LIMIT_DEFAULT_INBOX_CLIENT_EVENTS;
    s->outbox_bytes = LIMIT_DEFAULT_APP_OUTBOX_BYTES;
    s->cpu_ms = LIMIT_DEFAULT_CPU_MS;
    s->load_cpu_ms = LIMIT_DEFAULT_LOAD_CPU_MS;
    s->share = 100;
    s->memory_bytes = LIMIT_DEFAULT_MEMORY_BYTES;
    s->clients = LIMIT_DEFAULT_CLIENTS;
    s->rooms = LIMIT_DEFAULT_ROOMS;
    s->rooms_per_client = LIMIT_DEFAULT_ROOMS_PER_CLIENT;
    s->tasks = LIMIT_DEFAULT_TASKS;
    s->timers = LIMIT_DEFAULT_TIMERS;
    s->requests = LIMIT_DEFAULT_REQUESTS;
    s->response_bytes = LIMIT_DEFAULT_RESPONSE_BYTES;
    s->answer_ms = LIMIT_DEFAULT_ANSWER_MS;
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

int manifest_begin_file(struct manifest_parse *p)
{
    const struct vm_config config = {
        .memory_bytes = MEMORY_BYTES, .max_tasks = 1};

    p->job = (struct job){.push = push_run,
        .done = run_done,
        .cpu_ms = LIMIT_DEFAULT_LOAD_CPU_MS};
    if (p->file->len > LIMIT_CONF_BYTES) {
        (void)snprintf(p->why, p->why_bytes, "%s is over %d bytes",
            p->file->name, LIMIT_CONF_BYTES);
        return ERR_TOO_BIG;
    }
    p->vm = vm_new(&config);
    if (p->vm == NULL) {
        (void)snprintf(p->why, p->why_bytes, "no memory");
        return ERR_NOMEM;
    }
    return judge(p, task_run(p->vm, &p->job));
}

int manifest_begin(struct manifest_parse *p, const struct snapshot *snap,
    const struct settings *most, struct settings *s, char *why,
    size_t why_bytes)
{
    *p = (struct manifest_parse){
        .file = snapshot_find(snap, MANIFEST_FILE),
        .settings = s,
        .most = most,
        .why_bytes = why_bytes,
    };
    p->why = why;
    ceilings_bend(most, s);
    return p->file != NULL ? manifest_begin_file(p) : 0;
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
