/* tls_tickets.c -- tickets, with which a client comes back without a full
 * handshake.
 *
 * Their keys are the same for all loops and outlive a reload of the
 * certificates; the library changes them every so often and never writes them
 * down.
 *
 * A session is not resumed under another name than its own (RFC 6066 3). The
 * library's tickets do not say which that is, so it stands behind each, as a
 * digest: not sealed, since who alters it gains nothing but a handshake. A
 * ticket may stand in front of the name in a client's message, and the library
 * cannot be told later that it was no good: so the name is looked up there.
 *
 * Laws: I4 (the library's own lock guards the keys). */
#include "base/limits.h"
#include "base/mem.h"
#include "net/tls_priv.h"
#include <mbedtls/error.h>
#include <stdio.h>
#include <string.h>
#if TLS_IS_3
#    include <psa/crypto.h>
#endif

static void free_tickets(struct tls_tickets *k)
{
    mbedtls_ssl_ticket_free(&k->context);
    mbedtls_ctr_drbg_free(&k->rng);
    mbedtls_entropy_free(&k->entropy);
    mem_free(k);
}

/* Tickets are shared by threads: the library has to be built for that. */
#if defined(MBEDTLS_THREADING_C)
#    define IS_FOR_THREADS 1
#else
#    define IS_FOR_THREADS 0
#endif

struct tls_tickets *tls_tickets_new(char *why, size_t why_bytes)
{
    _Static_assert(IS_FOR_THREADS, "mbedtls with MBEDTLS_THREADING_C");
    struct tls_tickets *k = mem_zalloc(sizeof(*k));
    atomic_init(&k->refs, 1);
    mbedtls_entropy_init(&k->entropy);
    mbedtls_ctr_drbg_init(&k->rng);
    mbedtls_ssl_ticket_init(&k->context);
    int rc = mbedtls_ctr_drbg_seed(
        &k->rng, mbedtls_entropy_func, &k->entropy, NULL, 0);
    if (rc == 0) {
        rc = mbedtls_ssl_ticket_setup(&k->context, mbedtls_ctr_drbg_random,
            &k->rng, MBEDTLS_CIPHER_AES_256_GCM, LIMIT_TLS_TICKET_S);
    }
#if TLS_IS_3
    if (rc == 0 && psa_crypto_init() != PSA_SUCCESS) {
        rc = MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
#endif
    if (rc != 0) {
        char text[160] = "";
        mbedtls_strerror(rc, text, sizeof(text));
        (void)snprintf(why, why_bytes, "TLS tickets: %s", text);
        free_tickets(k);
        return NULL;
    }
    return k;
}

void tls_tickets_unref(struct tls_tickets *k)
{
    if (k != NULL && atomic_fetch_sub(&k->refs, 1) == 1) {
        free_tickets(k);
    }
}

/* FNV-1a of the name in lower case; never 0. */
static uint32_t digest_name(const unsigned char *name, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = name[i];
        h = (h ^ (c >= 'A' && c <= 'Z' ? c | 0x20u : c)) * 16777619u;
    }
    return h != 0 ? h : 1;
}

void tls_tickets_name(struct tls *t, const unsigned char *name, size_t len)
{
    *t->asked = digest_name(name, len);
}

/* The name that the message which holds this ticket asks for. TLS 1.3 looks at
 * tickets behind all else, and not in the message itself. */
static int find_name(
    const struct tls *t, const unsigned char *ticket, uint32_t *out)
{
    const uint8_t *hello = t->ssl->in_msg;
    uintptr_t at = (uintptr_t)ticket - (uintptr_t)hello;
    const uint8_t *name;
    size_t len;
    *out = *t->asked;
    if (*out != 0 || hello == NULL || at >= TLS_PLAIN_BYTES) {
        return 0;
    }
    size_t all =
        4 + ((size_t)hello[1] << 16 | (size_t)hello[2] << 8 | hello[3]);
    if (at >= all || all > TLS_PLAIN_BYTES ||
        tls_hello_name(hello, all, &name, &len) != 0) {
        return -1;
    }
    *out = len != 0 ? digest_name(name, len) : 0;
    return 0;
}

static int on_ticket_write(void *arg, const mbedtls_ssl_session *session,
    unsigned char *start, const unsigned char *end, size_t *len,
    uint32_t *lifetime_s)
{
    struct tls *t = arg;
    uint32_t name = *t->asked;
    if ((size_t)(end - start) < sizeof(name)) {
        return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
    }
    int rc = mbedtls_ssl_ticket_write(&t->tickets->context, session, start,
        end - sizeof(name), len, lifetime_s);
    if (rc == 0) {
        memcpy(start + *len, &name, sizeof(name));
        *len += sizeof(name);
    }
    return rc;
}

/* An error is a full handshake. */
static int on_ticket_parse(
    void *arg, mbedtls_ssl_session *session, unsigned char *p, size_t len)
{
    struct tls *t = arg;
    uint32_t name;
    uint32_t wanted;
    if (len < sizeof(name) || find_name(t, p, &wanted) != 0) {
        return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
    }
    len -= sizeof(name);
    memcpy(&name, p + len, sizeof(name));
    if (name != wanted) {
        return MBEDTLS_ERR_SSL_INVALID_MAC;
    }
    return mbedtls_ssl_ticket_parse(&t->tickets->context, session, p, len);
}

void tls_tickets_use(struct tls *t)
{
    mbedtls_ssl_conf_session_tickets_cb(
        &t->conf, on_ticket_write, on_ticket_parse, t);
}
