/* api_crypto.c -- crypto: random bytes, ids, hashes. mbedtls and the kernel do
 * the work (base/digest); results are built in the app's arena. */
#include "app/api_priv.h"
#include "base/digest.h"
#include <string.h>

#define RANDOM_MAX 65536

static const char *check_bytes(
    lua_State *L, int idx, const char *name, size_t *len)
{
    if (lua_type(L, idx) != LUA_TSTRING) {
        (void)api_bad_argument(L, idx, name, "string");
    }
    return lua_tolstring(L, idx, len);
}

static int crypto_random(lua_State *L)
{
    luaL_Buffer b;

    if (!lua_isinteger(L, 1)) {
        return api_bad_argument(L, 1, "n", "integer");
    }
    lua_Integer n = lua_tointeger(L, 1);
    if (n < 1 || n > RANDOM_MAX) {
        return luaL_error(
            L, "bad argument 'n' (1 to %d bytes expected)", RANDOM_MAX);
    }
    digest_random(luaL_buffinitsize(L, &b, (size_t)n), (size_t)n);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static size_t to_hex(const uint8_t *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    return 2 * n;
}

/* RFC 9562 version 4. */
static int crypto_uuid(lua_State *L)
{
    uint8_t b[16];
    char text[36];
    size_t at = 0;

    digest_random(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text[at++] = '-';
        }
        at += to_hex(&b[i], 1, text + at);
    }
    lua_pushlstring(L, text, at);
    return 1;
}

/* The digest as hex, or as bytes with { raw = true } at idx. */
static int push_digest(lua_State *L, int idx, const uint8_t *p, size_t n)
{
    static const char *const options[] = {"raw"};
    char hex[2 * DIGEST_MAX_BYTES];
    bool is_raw = false;

    if (!lua_isnoneornil(L, idx)) {
        api_check_options(L, idx, "crypto", options, ARRAY_LEN(options));
        lua_pushliteral(L, "raw");
        lua_rawget(L, idx);
        is_raw = lua_toboolean(L, -1);
    }
    if (is_raw) {
        lua_pushlstring(L, (const char *)p, n);
    } else {
        lua_pushlstring(L, hex, to_hex(p, n, hex));
    }
    return 1;
}

static int crypto_sha256(lua_State *L)
{
    uint8_t out[DIGEST_MAX_BYTES];
    size_t n;
    const char *s = check_bytes(L, 1, "s", &n);

    digest_hash(DIGEST_SHA256, s, n, out);
    return push_digest(L, 2, out, digest_bytes(DIGEST_SHA256));
}

/* (algorithm, key, s) */
static int crypto_hmac(lua_State *L)
{
    uint8_t out[DIGEST_MAX_BYTES];
    enum digest_alg alg;
    size_t name_n;
    size_t key_n;
    size_t n;
    const char *name = check_bytes(L, 1, "algorithm", &name_n);
    const char *key = check_bytes(L, 2, "key", &key_n);
    const char *s = check_bytes(L, 3, "s", &n);

    if (!digest_find(name, &alg)) {
        return luaL_error(L, "bad argument 'algorithm' (\"sha1\", \"sha256\" "
                             "or \"sha512\" expected)");
    }
    digest_hmac(alg, key, key_n, s, n, out);
    return push_digest(L, 4, out, digest_bytes(alg));
}

static int crypto_equals(lua_State *L)
{
    size_t a_n;
    size_t b_n;
    const char *a = check_bytes(L, 1, "a", &a_n);
    const char *b = check_bytes(L, 2, "b", &b_n);

    lua_pushboolean(L, a_n == b_n && digest_is_equal(a, b, a_n));
    return 1;
}

static int crypto_base64(lua_State *L)
{
    luaL_Buffer b;
    size_t n;
    const char *s = check_bytes(L, 1, "s", &n);
    char *out = luaL_buffinitsize(L, &b, digest_base64_bytes(n));

    luaL_pushresultsize(&b, digest_base64(s, n, out));
    return 1;
}

/* -> bytes | nil, "syntax" */
static int crypto_unbase64(lua_State *L)
{
    luaL_Buffer b;
    size_t n;
    size_t out_n;
    const char *s = check_bytes(L, 1, "s", &n);
    char *out = luaL_buffinitsize(L, &b, n / 4 * 3 + 1);

    if (!digest_unbase64(s, n, (uint8_t *)out, &out_n)) {
        return api_fail(L, ERR_SYNTAX, "not base64");
    }
    luaL_pushresultsize(&b, out_n);
    return 1;
}

void api_crypto(lua_State *L, const struct words *w)
{
    static const luaL_Reg functions[] = {
        {"random", crypto_random},
        {"uuid", crypto_uuid},
        {"sha256", crypto_sha256},
        {"hmac", crypto_hmac},
        {"equals", crypto_equals},
        {"base64", crypto_base64},
        {"unbase64", crypto_unbase64},
        {NULL, NULL},
    };

    api_set_library(L, w, "crypto", functions);
}
