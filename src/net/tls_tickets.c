/* tls_tickets.c -- tickets, with which a client comes back without a full
 * handshake.
 *
 * Their keys are the same for all loops and outlive a reload of the
 * certificates; the library changes them every so often and never writes them
 * down.
 *
 * A session is not resumed under another name than its own (RFC 6066 3). The
 * library's tickets do not say which that is, so it stands behind each, as a
 * digest: not sealed, since who alters it gains nothing but a handshake.
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

int tls_tickets_name(struct tls *t, const unsigned char *name, size_t len)
{
    struct tls_names *n = t->names;
    n->asked = digest_name(name, len);
    return n->resumed == 0 || n->resumed == n->asked
               ? 0
               : MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
}

static int on_ticket_write(void *arg, const mbedtls_ssl_session *session,
    unsigned char *start, const unsigned char *end, size_t *len,
    uint32_t *lifetime_s)
{
    struct tls *t = arg;
    uint32_t name = t->names->asked;
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

/* An error is a full handshake. Where the ticket stands in front of the name
 * that comes too late: tls_tickets_name() then refuses who asks for another. */
static int on_ticket_parse(
    void *arg, mbedtls_ssl_session *session, unsigned char *p, size_t len)
{
    struct tls *t = arg;
    uint32_t name;
    if (len < sizeof(name)) {
        return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
    }
    len -= sizeof(name);
    memcpy(&name, p + len, sizeof(name));
    if (t->names->asked != 0 && t->names->asked != name) {
        return MBEDTLS_ERR_SSL_INVALID_MAC;
    }
    int rc = mbedtls_ssl_ticket_parse(&t->tickets->context, session, p, len);
    if (rc == 0) {
        t->names->resumed = name;
    }
    return rc;
}

void tls_tickets_use(struct tls *t)
{
    mbedtls_ssl_conf_session_tickets_cb(
        &t->conf, on_ticket_write, on_ticket_parse, t);
}
