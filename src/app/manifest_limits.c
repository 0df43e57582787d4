/* manifest_limits.c -- the settings of app.conf.lua that limit something.
 *
 * Each has a range: from what makes sense at all to what the operator allows
 * (ceilings.c; without a word from them that is the ceiling of base/limits.h).
 * A file of ceilings has these keys and is read by the same readers, so the
 * two cannot drift apart. */
#include "app/manifest_priv.h"
#include "base/limits.h"

/* ---- message ---- */

static void read_message_max(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.message_bytes = (uint32_t)manifest_read_bytes(
        L, p, path, 1, p->most->conn.message_bytes);
}

static void read_message_fragments(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.fragments =
        (uint16_t)manifest_read_count(L, p, path, 1, p->most->conn.fragments);
}

void manifest_read_message(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {
        {"max", read_message_max}, {"fragments", read_message_fragments}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

/* ---- inbox ---- */

static void read_inbox_events(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->inbox.events = (uint32_t)manifest_read_count(
        L, p, path, LIMIT_MIN_INBOX_EVENTS, p->most->inbox.events);
}

static void read_inbox_bytes(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->inbox.bytes = (size_t)manifest_read_bytes(
        L, p, path, LIMIT_MIN_INBOX_BYTES, p->most->inbox.bytes);
}

static void read_inbox_client(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->inbox.client_events = (uint32_t)manifest_read_count(
        L, p, path, 1, p->most->inbox.client_events);
}

void manifest_read_inbox(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"events", read_inbox_events},
        {"bytes", read_inbox_bytes}, {"client", read_inbox_client}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

/* ---- outbox ---- */

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
        L, p, path, 1024, p->most->conn.outbox.hard_bytes);
}

static void read_soft(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.outbox.soft_messages = (uint32_t)manifest_read_count(
        L, p, path, 1, p->most->conn.outbox.soft_messages);
}

static void read_soft_for(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->conn.outbox.soft_ms =
        (uint32_t)manifest_read_ms(L, p, path, 0, p->most->conn.outbox.soft_ms);
}

static void read_total(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->outbox_bytes = (size_t)manifest_read_bytes(
        L, p, path, LIMIT_MIN_APP_OUTBOX_BYTES, p->most->outbox_bytes);
}

void manifest_read_outbox(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"policy", read_policy},
        {"hard", read_hard}, {"soft", read_soft}, {"soft_for", read_soft_for},
        {"total", read_total}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

/* ---- limits ---- */

static void read_cpu(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->cpu_ms =
        (uint32_t)manifest_read_ms(L, p, path, 1, p->most->cpu_ms);
}

static void read_load_cpu(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->load_cpu_ms =
        (uint32_t)manifest_read_ms(L, p, path, 10, p->most->load_cpu_ms);
}

static void read_memory(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->memory_bytes = (size_t)manifest_read_bytes(
        L, p, path, LIMIT_MIN_MEMORY_BYTES, p->most->memory_bytes);
}

static void read_clients(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->clients =
        (uint32_t)manifest_read_count(L, p, path, 1, p->most->clients);
}

static void read_share(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->share =
        (uint32_t)manifest_read_count(L, p, path, 1, p->most->share);
}

static void read_rooms(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->rooms =
        (uint32_t)manifest_read_count(L, p, path, 1, p->most->rooms);
}

static void read_rooms_per_client(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->rooms_per_client =
        (uint32_t)manifest_read_count(L, p, path, 1, p->most->rooms_per_client);
}

static void read_tasks(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->tasks = (uint32_t)manifest_read_count(
        L, p, path, LIMIT_MIN_TASKS, p->most->tasks);
}

static void read_timers(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->timers =
        (uint32_t)manifest_read_count(L, p, path, 1, p->most->timers);
}

static void read_requests(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->requests =
        (uint32_t)manifest_read_count(L, p, path, 1, p->most->requests);
}

static void read_response(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->response_bytes = (size_t)manifest_read_bytes(
        L, p, path, LIMIT_MIN_RESPONSE_BYTES, p->most->response_bytes);
}

void manifest_read_limits(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"cpu", read_cpu},
        {"load_cpu", read_load_cpu}, {"memory", read_memory},
        {"clients", read_clients}, {"share", read_share}, {"rooms", read_rooms},
        {"rooms_per_client", read_rooms_per_client}, {"tasks", read_tasks},
        {"timers", read_timers}, {"requests", read_requests},
        {"response", read_response}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

/* ---- answer ---- */

void manifest_read_answer(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->answer_ms =
        (uint32_t)manifest_read_ms(L, p, path, 100, p->most->answer_ms);
}

/* ---- rate: what a client may send; no ceiling, since less is stricter ---- */

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
void manifest_read_rate(
    lua_State *L, struct manifest_parse *p, const char *path)
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

/* ---- a file of ceilings ---- */

static void read_outbox_ceilings(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"hard", read_hard},
        {"soft", read_soft}, {"soft_for", read_soft_for},
        {"total", read_total}};

    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

void manifest_read_ceilings(lua_State *L, struct manifest_parse *p)
{
    static const struct manifest_key keys[] = {
        {"message", manifest_read_message},
        {"inbox", manifest_read_inbox},
        {"outbox", read_outbox_ceilings},
        {"limits", manifest_read_limits},
        {"answer", manifest_read_answer},
    };

    manifest_read_keys(L, p, "", keys, ARRAY_LEN(keys));
}
