/* digest.c -- hashes, base64 and random bytes.
 *
 * The hash functions are mbedtls's, by their context interface: a context on
 * the stack, no md layer, no allocation, so a script can be stopped in the
 * middle of one. They only fail for arguments we never pass, and that is
 * asserted. mbedtls 2 calls the checked functions x_ret, mbedtls 3 dropped
 * the suffix. HMAC and base64 are short and written here: mbedtls's HMAC
 * allocates, and its base64 wants room for a NUL. */
#include "base/digest.h"
#include <errno.h>
#include <mbedtls/sha1.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <mbedtls/version.h>
#include <string.h>
#include <sys/random.h>

#if MBEDTLS_VERSION_NUMBER < 0x03000000
#    define CHECKED(function) function##_ret
#else
#    define CHECKED(function) function
#endif

#define BLOCK_MAX_BYTES 128 /* of SHA-512; HMAC pads keys to a block */

struct hash {
    enum digest_alg alg;
    union {
        mbedtls_sha1_context sha1;
        mbedtls_sha256_context sha256;
        mbedtls_sha512_context sha512;
    } u;
};

static const struct {
    const char *name;
    size_t bytes;
    size_t block_bytes;
} algs[] = {
    [DIGEST_SHA1] = {"sha1", 20, 64},
    [DIGEST_SHA256] = {"sha256", 32, 64},
    [DIGEST_SHA512] = {"sha512", 64, 128},
};

bool digest_find(const char *name, enum digest_alg *alg)
{
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        if (strcmp(algs[i].name, name) == 0) {
            *alg = (enum digest_alg)i;
            return true;
        }
    }
    return false;
}

size_t digest_bytes(enum digest_alg alg)
{
    ASSERT(alg < ARRAY_LEN(algs), "a hash we know");
    return algs[alg].bytes;
}

static void hash_start(struct hash *h, enum digest_alg alg)
{
    int err = -1;
    h->alg = alg;
    switch (alg) {
    case DIGEST_SHA1:
        mbedtls_sha1_init(&h->u.sha1);
        err = CHECKED(mbedtls_sha1_starts)(&h->u.sha1);
        break;
    case DIGEST_SHA256:
        mbedtls_sha256_init(&h->u.sha256);
        err = CHECKED(mbedtls_sha256_starts)(&h->u.sha256, 0);
        break;
    case DIGEST_SHA512:
        mbedtls_sha512_init(&h->u.sha512);
        err = CHECKED(mbedtls_sha512_starts)(&h->u.sha512, 0);
        break;
    }
    ASSERT(err == 0, "a hash cannot fail");
}

static void hash_update(struct hash *h, const void *p, size_t n)
{
    int err = -1;
    if (n == 0) {
        return; /* p may be NULL then */
    }
    switch (h->alg) {
    case DIGEST_SHA1:
        err = CHECKED(mbedtls_sha1_update)(&h->u.sha1, p, n);
        break;
    case DIGEST_SHA256:
        err = CHECKED(mbedtls_sha256_update)(&h->u.sha256, p, n);
        break;
    case DIGEST_SHA512:
        err = CHECKED(mbedtls_sha512_update)(&h->u.sha512, p, n);
        break;
    }
    ASSERT(err == 0, "a hash cannot fail");
}

/* The free functions also wipe the context: it may have seen a key. */
static void hash_finish(struct hash *h, uint8_t *out)
{
    int err = -1;
    switch (h->alg) {
    case DIGEST_SHA1:
        err = CHECKED(mbedtls_sha1_finish)(&h->u.sha1, out);
        mbedtls_sha1_free(&h->u.sha1);
        break;
    case DIGEST_SHA256:
        err = CHECKED(mbedtls_sha256_finish)(&h->u.sha256, out);
        mbedtls_sha256_free(&h->u.sha256);
        break;
    case DIGEST_SHA512:
        err = CHECKED(mbedtls_sha512_finish)(&h->u.sha512, out);
        mbedtls_sha512_free(&h->u.sha512);
        break;
    }
    ASSERT(err == 0, "a hash cannot fail");
}

void digest_hash(enum digest_alg alg, const void *p, size_t n, uint8_t *out)
{
    struct hash h;
    hash_start(&h, alg);
    hash_update(&h, p, n);
    hash_finish(&h, out);
}

/* One of the two passes of RFC 2104: H(key ^ pad, p). */
static void keyed_pass(enum digest_alg alg, const uint8_t *key, uint8_t pad,
    const void *p, size_t n, uint8_t *out)
{
    uint8_t block[BLOCK_MAX_BYTES];
    size_t block_bytes = algs[alg].block_bytes;
    for (size_t i = 0; i < block_bytes; i++) {
        block[i] = key[i] ^ pad;
    }
    struct hash h;
    hash_start(&h, alg);
    hash_update(&h, block, block_bytes);
    hash_update(&h, p, n);
    hash_finish(&h, out);
    explicit_bzero(block, sizeof(block));
}

void digest_hmac(enum digest_alg alg, const void *key, size_t key_n,
    const void *p, size_t n, uint8_t *out)
{
    uint8_t block_key[BLOCK_MAX_BYTES] = {0};
    uint8_t inner[DIGEST_MAX_BYTES];
    size_t bytes = digest_bytes(alg);
    if (key_n > algs[alg].block_bytes) {
        digest_hash(alg, key, key_n, block_key);
    } else if (key_n != 0) {
        memcpy(block_key, key, key_n);
    }
    keyed_pass(alg, block_key, 0x36, p, n, inner);
    keyed_pass(alg, block_key, 0x5c, inner, bytes, out);
    explicit_bzero(block_key, sizeof(block_key));
    explicit_bzero(inner, sizeof(inner));
}

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t digest_base64_bytes(size_t n)
{
    return n / 3 * 4 + (n % 3 != 0 ? 4 : 0);
}

size_t digest_base64(const void *p, size_t n, char *out)
{
    const uint8_t *in = p;
    char *o = out;
    for (; n >= 3; n -= 3, in += 3) {
        *o++ = alphabet[in[0] >> 2];
        *o++ = alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        *o++ = alphabet[(in[1] & 15) << 2 | in[2] >> 6];
        *o++ = alphabet[in[2] & 63];
    }
    if (n != 0) {
        uint8_t second = n == 2 ? in[1] : 0;
        *o++ = alphabet[in[0] >> 2];
        *o++ = alphabet[(in[0] & 3) << 4 | second >> 4];
        *o++ = alphabet[(second & 15) << 2];
        *o++ = '=';
        if (n == 1) {
            o[-2] = '=';
        }
    }
    return (size_t)(o - out);
}

/* 0..63, or -1. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict: no spaces, all the padding, and the bits it leaves over are zero
 * (RFC 4648 3.5), so that one value has one text only. */
bool digest_unbase64(const char *s, size_t n, uint8_t *out, size_t *out_n)
{
    if (n % 4 != 0) {
        return false;
    }
    size_t padding = 0;
    if (n != 0 && s[n - 1] == '=') {
        padding = s[n - 2] == '=' ? 2 : 1;
    }
    uint8_t *o = out;
    uint32_t bits = 0; /* the last ones read, the newest lowest */
    size_t digits = n - padding;
    for (size_t i = 0; i < digits; i++) {
        int v = base64_value(s[i]);
        if (v < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 != 0) {
            /* 12, 10, 8 bits are there; 4, 2, 0 stay for the next digit. */
            *o++ = (uint8_t)(bits >> (6 - 2 * (i % 4)));
        }
    }
    if (padding != 0 && (bits & (padding == 2 ? 15 : 3)) != 0) {
        return false;
    }
    *out_n = (size_t)(o - out);
    return true;
}

bool digest_is_equal(const void *a, const void *b, size_t n)
{
    /* volatile: the compiler must not see that it could stop early. */
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t differing = 0;
    for (size_t i = 0; i < n; i++) {
        differing |= (uint8_t)(x[i] ^ y[i]);
    }
    return differing == 0;
}

void digest_random(void *out, size_t n)
{
    uint8_t *p = out;
    while (n != 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR) {
            continue; /* the preemption signal comes every millisecond */
        }
        /* Guessable ids and secrets are worse than no server. */
        ASSERT(got > 0, "the kernel has random bytes");
        p += got;
        n -= (size_t)got;
    }
}
