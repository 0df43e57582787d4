/* manifest_compress.c -- the setting `compress` of app.conf.lua.
 *
 *   compress = false
 *   compress = {
 *     threshold = "1KB",   -- shorter messages go out as they are
 *     level = 3,           -- 1 (fast) to 9 (small)
 *     context = "none",    -- who refers to earlier messages:
 *                          -- "none", "client", "server", "both"
 *     window = "32KB",     -- how far back, 256B to 32KB
 *   }
 *
 * Without a context a broadcast is compressed once for all, and an idle client
 * holds no memory for it; so that is the default. */
#include "app/manifest_priv.h"
#include "base/limits.h"

static void read_threshold(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->compress.threshold_bytes =
        (uint32_t)manifest_read_bytes(L, p, path, 0, LIMIT_DEFLATE_BYTES);
}

static void read_level(lua_State *L, struct manifest_parse *p, const char *path)
{
    p->settings->compress.level =
        (uint8_t)manifest_read_count(L, p, path, 1, 9);
}

static void read_context(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const char *const words[] = {"none", "client", "server", "both"};
    int who = manifest_read_word(L, p, path, words, ARRAY_LEN(words));
    struct deflate_policy *policy = &p->settings->compress.policy;

    policy->client_keeps = (who & 1) != 0;
    policy->server_keeps = (who & 2) != 0;
}

static void read_window(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    uint64_t least = UINT64_C(1) << DEFLATE_BITS_MIN;
    uint64_t most = UINT64_C(1) << DEFLATE_BITS_MAX;
    uint64_t bytes = manifest_read_bytes(L, p, path, least, most);
    uint8_t bits = DEFLATE_BITS_MIN;

    while (UINT64_C(1) << bits < bytes) {
        bits++;
    }
    if (UINT64_C(1) << bits != bytes) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(
                L, "%s must be 256B, 512B, 1KB, 2KB, ... or 32KB", path));
    }
    p->settings->compress.policy.server_bits = bits;
    /* Most clients are built on zlib, which cannot keep to 8 bits; we can. */
    p->settings->compress.policy.client_bits =
        bits > DEFLATE_BITS_MIN ? bits : DEFLATE_BITS_MIN + 1;
}

void manifest_read_compress(
    lua_State *L, struct manifest_parse *p, const char *path)
{
    static const struct manifest_key keys[] = {{"threshold", read_threshold},
        {"level", read_level}, {"context", read_context},
        {"window", read_window}};

    if (lua_isboolean(L, -1)) {
        p->settings->compress.policy.is_on = lua_toboolean(L, -1);
        return;
    }
    if (!lua_istable(L, -1)) {
        (void)manifest_complain(L, p, path,
            lua_pushfstring(L,
                "%s must be true, false or a table, as in: { level = 6 }",
                path));
    }
    manifest_read_keys(L, p, path, keys, ARRAY_LEN(keys));
}

void compress_settings_init(struct compress_settings *c)
{
    *c = (struct compress_settings){
        .policy = {.is_on = true,
            .server_bits = DEFLATE_BITS_MAX,
            .client_bits = DEFLATE_BITS_MAX},
        .threshold_bytes = LIMIT_DEFAULT_DEFLATE_THRESHOLD_BYTES,
        .level = LIMIT_DEFAULT_DEFLATE_LEVEL,
    };
}
