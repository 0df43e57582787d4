/* digest.h -- hashes, base64 and random bytes, from mbedtls and the kernel.
 *
 * None of these allocates, so a script may be preempted inside them. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/base.h"

#define DIGEST_MAX_BYTES 64

enum digest_alg { DIGEST_SHA1, DIGEST_SHA256, DIGEST_SHA512 };

/* "sha1", "sha256", "sha512" -> alg; false: no such algorithm. */
bool digest_find(const char *name, enum digest_alg *alg);
size_t digest_bytes(enum digest_alg alg);
void digest_hash(enum digest_alg alg, const void *p, size_t n, uint8_t *out);
/* RFC 2104. */
void digest_hmac(enum digest_alg alg, const void *key, size_t key_n,
    const void *p, size_t n, uint8_t *out);
/* Writes base64 (RFC 4648 4, padded) without a NUL; `out` has room for
 * digest_base64_bytes(n). Returns the bytes written. */
size_t digest_base64(const void *p, size_t n, char *out);
size_t digest_base64_bytes(size_t n);
/* False: not strict base64. `out` has room for n / 4 * 3 bytes. */
bool digest_unbase64(const char *s, size_t n, uint8_t *out, size_t *out_n);
/* Time independent of where the bytes differ. */
bool digest_is_equal(const void *a, const void *b, size_t n);
/* Unpredictable bytes (getrandom); never fails. */
void digest_random(void *out, size_t n);

#endif
