/* manifest.c -- app.conf.lua -> settings; parse only.
 *
 * The file is run in a vm of its own without any library, so all it can do is
 * build a table; a bound on its instructions ends a loop. Then a table of keys
 * drives everything: each key has a reader, anything else is unknown. The
 * line of a wrong key is found by looking for the key in the text, since the
 * table that Lua built does not know where it came from. */
#include "app/manifest.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/units.h"
#include "proto/handshake.h"
#include "script/sandbox.h"
#include "script/task.h"
#include <ctype.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define FILE_NAME        "app.conf.lua"
#define INSTRUCTIONS_MAX 1000000
#define MEMORY_BYTES     (4 * 1024 * 1024)
#define ENV_MAX          256
#define ORIGINS_MAX      64

struct parse {
    struct job job;
    const struct snapshot_file *file;
    struct settings *settings;
    char *why;
    size_t why_bytes;
    size_t text_bytes; /* of origins and env */
    int status;
};

struct key {
    const char *name;
    void (*read)(lua_State *L, struct parse *p, const char *path);
};

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

static int complain(
    lua_State *L, const struct parse *p, const char *path, const char *what)
{
    int line = find_line(p->file, path);

    if (line > 0) {
        return luaL_error(L, "%s:%d: %s", FILE_NAME, line, what);
    }
    return luaL_error(L, "%s: %s", FILE_NAME, what);
}

/* ---- readers: the value is on top of the stack ---- */

/* `write` makes of a number what people read. */
static uint64_t read_range(lua_State *L, struct parse *p, const char *path,
    uint64_t value, uint64_t low, uint64_t high,
    void (*write)(uint64_t, char[UNITS_TEXT_BYTES]))
{
    char text[3][UNITS_TEXT_BYTES];

    if (value < low || value > high) {
        write(low, text[0]);
        write(high, text[1]);
        write(value, text[2]);
        (void)complain(L, p, path,
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

static uint64_t read_bytes(lua_State *L, struct parse *p, const char *path,
    uint64_t low, uint64_t high)
{
    uint64_t bytes = 0;

    if (!get_whole(L, &bytes) &&
        (lua_type(L, -1) != LUA_TSTRING ||
            units_parse_bytes(lua_tostring(L, -1), &bytes) != 0)) {
        (void)complain(L, p, path,
            lua_pushfstring(
                L, "%s must be bytes, as a number or like \"1MB\"", path));
    }
    return read_range(L, p, path, bytes, low, high, units_write_bytes);
}

static uint64_t read_ms(lua_State *L, struct parse *p, const char *path,
    uint64_t low, uint64_t high)
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
        (void)complain(L, p, path,
            lua_pushfstring(
                L, "%s must be seconds, or a text like \"30s\"", path));
    }
    return read_range(L, p, path, ms, low, high, units_write_ms);
}

static void write_count(uint64_t n, char out[UNITS_TEXT_BYTES])
{
    (void)snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64, n);
}

static uint64_t read_count(lua_State *L, struct parse *p, const char *path,
    uint64_t low, uint64_t high)
{
    uint64_t n;

    if (!get_whole(L, &n)) {
        (void)complain(
            L, p, path, lua_pushfstring(L, "%s must be a whole number", path));
    }
    return read_range(L, p, path, n, low, high, write_count);
}

static int read_word(lua_State *L, struct parse *p, const char *path,
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
    return complain(L, p, path,
        lua_pushfstring(L, "%s must be one of %s%s%s%s", path,
            lua_tostring(L, -1), near != NULL ? "; did you mean \"" : "",
            near != NULL ? near : "", near != NULL ? "\"?" : ""));
}

static void read_keys(lua_State *L, struct parse *p, const char *path,
    const struct key *keys, size_t n)
{
    const char *names[16];
    int table = lua_gettop(L);

    if (!lua_istable(L, table)) {
        (void)complain(L, p, path,
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
            (void)complain(
                L, p, path, "settings have names, as in: ping = \"30s\"");
        }
        const char *name = lua_tostring(L, -2);
        const struct key *key = NULL;
        for (size_t i = 0; i < n; i++) {
            key = strcmp(name, keys[i].name) == 0 ? &keys[i] : key;
        }
        const char *full = lua_pushfstring(
            L, "%s%s%s", path, path[0] != '\0' ? "." : "", name);
        if (key == NULL) {
            const char *near = units_suggest(name, names, n);
            (void)complain(L, p, full,
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

/* ---- the keys ---- */

static void read_message_max(lua_State *L, struct parse *p, const char *path)
{
    p->settings->conn.message_bytes =
        (uint32_t)read_bytes(L, p, path, 1, LIMIT_MAX_MESSAGE_BYTES);
}

static void read_message(lua_State *L, struct parse *p, const char *path)
{
    static const struct key keys[] = {{"max", read_message_max}};

    read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

static void read_policy(lua_State *L, struct parse *p, const char *path)
{
    static const char *const words[] = {
        [OUTBOX_CLOSE] = "close",
        [OUTBOX_DROP_OLDEST] = "drop_oldest",
        [OUTBOX_DROP_NEWEST] = "drop_newest",
    };

    p->settings->conn.policy =
        (enum outbox_policy)read_word(L, p, path, words, ARRAY_LEN(words));
}

static void read_hard(lua_State *L, struct parse *p, const char *path)
{
    p->settings->conn.outbox.hard_bytes =
        (uint32_t)read_bytes(L, p, path, 1024, LIMIT_MAX_OUTBOX_HARD_BYTES);
}

static void read_soft(lua_State *L, struct parse *p, const char *path)
{
    p->settings->conn.outbox.soft_messages =
        (uint32_t)read_count(L, p, path, 1, LIMIT_MAX_OUTBOX_SOFT_MESSAGES);
}

static void read_soft_for(lua_State *L, struct parse *p, const char *path)
{
    p->settings->conn.outbox.soft_ms =
        (uint32_t)read_ms(L, p, path, 0, 3600 * 1000);
}

static void read_outbox(lua_State *L, struct parse *p, const char *path)
{
    static const struct key keys[] = {{"policy", read_policy},
        {"hard", read_hard}, {"soft", read_soft}, {"soft_for", read_soft_for}};

    read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

static void read_cpu(lua_State *L, struct parse *p, const char *path)
{
    p->settings->cpu_ms = (uint32_t)read_ms(L, p, path, 1, LIMIT_MAX_CPU_MS);
}

static void read_memory(lua_State *L, struct parse *p, const char *path)
{
    p->settings->memory_bytes = (size_t)read_bytes(
        L, p, path, LIMIT_MIN_MEMORY_BYTES, LIMIT_MAX_MEMORY_BYTES);
}

static void read_clients(lua_State *L, struct parse *p, const char *path)
{
    p->settings->clients =
        (uint32_t)read_count(L, p, path, 1, LIMIT_MAX_CLIENTS);
}

static void read_limits(lua_State *L, struct parse *p, const char *path)
{
    static const struct key keys[] = {
        {"cpu", read_cpu}, {"memory", read_memory}, {"clients", read_clients}};

    read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

static void read_ping(lua_State *L, struct parse *p, const char *path)
{
    p->settings->conn.ping_ms =
        (uint32_t)read_ms(L, p, path, 100, 24 * 3600 * 1000);
}

static void read_placement(lua_State *L, struct parse *p, const char *path)
{
    static const char *const words[] = {
        [PLACEMENT_AUTO] = "auto",
        [PLACEMENT_HOME] = "home",
        [PLACEMENT_SPREAD] = "spread",
    };

    p->settings->placement =
        (enum placement)read_word(L, p, path, words, ARRAY_LEN(words));
}

static void read_concurrent(lua_State *L, struct parse *p, const char *path)
{
    if (!lua_isboolean(L, -1)) {
        (void)complain(
            L, p, path, lua_pushfstring(L, "%s must be true or false", path));
    }
    p->settings->concurrent = lua_toboolean(L, -1);
}

/* The text on top, copied; `full` says whose it is. The file is short, but may
 * have built longer texts than it has bytes (I6). */
static char *copy_text(
    lua_State *L, struct parse *p, const char *path, const char *full)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);

    if (strlen(text) != len) {
        (void)complain(L, p, path,
            lua_pushfstring(L, "%s must not contain a zero byte", full));
    }
    p->text_bytes += len;
    if (p->text_bytes > LIMIT_CONF_BYTES) {
        (void)complain(L, p, path,
            lua_pushfstring(L,
                "all texts together are over %d bytes, with that of %s",
                LIMIT_CONF_BYTES, full));
    }
    return mem_strndup(text, len);
}

/* A table whose keys are 1 to n and no others. */
static bool is_list(lua_State *L, int table, lua_Unsigned n)
{
    lua_Unsigned count = 0;

    if (!lua_istable(L, table)) {
        return false;
    }
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        count++;
        lua_pop(L, 1);
    }
    return count == n;
}

static void read_origins(lua_State *L, struct parse *p, const char *path)
{
    int table = lua_gettop(L);
    lua_Unsigned n = lua_istable(L, table) ? lua_rawlen(L, table) : 0;

    if (!is_list(L, table, n) || n > ORIGINS_MAX) {
        (void)complain(L, p, path,
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
            (void)complain(
                L, p, path, lua_pushfstring(L, "%s must be a string", full));
        }
        if (!handshake_origin_entry_is_valid(lua_tostring(L, -1))) {
            (void)complain(L, p, path,
                lua_pushfstring(L,
                    "%s is no origin: \"%s\"; one is like "
                    "\"https://chat.example.com\", without a path",
                    full, lua_tostring(L, -1)));
        }
        p->settings->origins[i] = copy_text(L, p, path, full);
        lua_pop(L, 2);
    }
}

static void read_env(lua_State *L, struct parse *p, const char *path)
{
    struct settings *s = p->settings;
    int table = lua_gettop(L);

    if (!lua_istable(L, table)) {
        (void)complain(
            L, p, path, lua_pushfstring(L, "%s must be a table", path));
    }
    s->env = mem_zalloc(ENV_MAX * sizeof(*s->env));
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            (void)complain(L, p, path,
                lua_pushfstring(L, "the names in %s must be strings", path));
        }
        const char *full =
            lua_pushfstring(L, "%s.%s", path, lua_tostring(L, -2));
        if (!lua_isstring(L, -2)) {
            (void)complain(L, p, full,
                lua_pushfstring(L, "%s must be a string, got %s", full,
                    luaL_typename(L, -2)));
        }
        if (s->env_count == ENV_MAX) {
            (void)complain(L, p, path,
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

static const struct key top_keys[] = {
    {"message", read_message},
    {"outbox", read_outbox},
    {"limits", read_limits},
    {"ping", read_ping},
    {"placement", read_placement},
    {"origins", read_origins},
    {"concurrent", read_concurrent},
    {"env", read_env},
};

/* ---- the file ---- */

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    luaL_error(
        L, "%s: takes too long; it should just return a table", FILE_NAME);
}

/* (light userdata parse) */
static int run_file(lua_State *L)
{
    struct parse *p = lua_touserdata(L, 1);

    if (sandbox_load(L, p->file->data, p->file->len, FILE_NAME) != LUA_OK) {
        return lua_error(L);
    }
    lua_sethook(L, on_count, LUA_MASKCOUNT, INSTRUCTIONS_MAX);
    lua_call(L, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    read_keys(L, p, "", top_keys, ARRAY_LEN(top_keys));
    return 0;
}

static int push_run(struct job *j, lua_State *T)
{
    lua_pushcfunction(T, run_file);
    lua_pushlightuserdata(T, container_of(j, struct parse, job));
    return 1;
}

static void run_done(struct job *j, lua_State *T, int status, int n)
{
    struct parse *p = container_of(j, struct parse, job);

    (void)n;
    p->status = status;
    if (status != LUA_OK) {
        /* The first line: a traceback through this file helps nobody. */
        const char *text = lua_tostring(T, -1);
        text = text != NULL ? text : "error";
        (void)snprintf(p->why, p->why_bytes, "%s%.*s",
            status == LUA_ERRMEM ? FILE_NAME ": " : "",
            (int)strcspn(text, "\n"), text);
    }
}

static int run(struct parse *p)
{
    struct vm_config config = {.memory_bytes = MEMORY_BYTES, .max_tasks = 1};
    struct vm *vm = vm_new(&config);

    if (vm == NULL) {
        (void)snprintf(p->why, p->why_bytes, "no memory");
        return ERR_NOMEM;
    }
    p->job.push = push_run;
    p->job.done = run_done;
    int rc = task_run(vm, &p->job);
    vm_free(vm);
    if (rc < 0) {
        (void)snprintf(p->why, p->why_bytes, "no fiber is free");
        return rc;
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
    s->cpu_ms = LIMIT_DEFAULT_CPU_MS;
    s->memory_bytes = LIMIT_DEFAULT_MEMORY_BYTES;
    s->clients = LIMIT_DEFAULT_CLIENTS;
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

int manifest_read(const struct snapshot *snap, struct settings *s, char *why,
    size_t why_bytes)
{
    const struct snapshot_file *file = snapshot_find(snap, FILE_NAME);
    struct parse p = {
        .file = file, .settings = s, .why = why, .why_bytes = why_bytes};

    if (file == NULL) {
        return 0;
    }
    if (file->len > LIMIT_CONF_BYTES) {
        (void)snprintf(
            why, why_bytes, "%s is over %d bytes", FILE_NAME, LIMIT_CONF_BYTES);
        return ERR_TOO_BIG;
    }
    int rc = run(&p);
    if (rc != 0) {
        settings_fini(s);
        settings_init(s);
    }
    return rc;
}
