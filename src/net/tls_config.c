/* tls_config.c -- certificates, keys, and what is spoken with them.
 *
 * TLS 1.2 with forward secrecy and authenticated encryption only, and TLS 1.3
 * where the library has it. A client is given the certificate whose names
 * match the one it asks for (SNI), or the first.
 *
 * Called by the server at start, and again on SIGHUP; reads files, so never
 * from within a turn that serves somebody. */
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/tls_priv.h"
#include <errno.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SAN_DNS_NAME 0x82 /* [2] IA5String, RFC 5280 4.2.1.6 */

static const int ciphersuites[] = {
#if defined(MBEDTLS_SSL_PROTO_TLS1_3)
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    0,
};

#if TLS_IS_3
static const uint16_t groups[] = {
    MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
    MBEDTLS_SSL_IANA_TLS_GROUP_NONE,
};
#else
static const mbedtls_ecp_group_id groups[] = {
    MBEDTLS_ECP_DP_CURVE25519,
    MBEDTLS_ECP_DP_SECP256R1,
    MBEDTLS_ECP_DP_SECP384R1,
    MBEDTLS_ECP_DP_NONE,
};
#endif

/* The library keeps the pointer. */
static const char *alpn[] = {"http/1.1", NULL};

/* Of a file that cannot be read the library says just that; errno, which was
 * 0 before, says why. */
static void write_why(
    char *why, size_t why_bytes, int rc, const char *what, const char *file)
{
    int err = errno;
    char text[160] = "";
    if (err != 0 && (rc == MBEDTLS_ERR_X509_FILE_IO_ERROR ||
                        rc == MBEDTLS_ERR_PK_FILE_IO_ERROR)) {
        (void)snprintf(text, sizeof(text), "%s", err_text(-err));
    } else {
        mbedtls_strerror(rc, text, sizeof(text));
    }
    (void)snprintf(why, why_bytes, "%s %s: %s", what, file, text);
}

/* ---- names ---- */

/* "*.example.com" stands for one more label (RFC 6125 6.4.3). */
static bool name_matches(
    const char *pattern, size_t n, const char *name, size_t len)
{
    if (n > 2 && pattern[0] == '*' && pattern[1] == '.') {
        const char *dot = memchr(name, '.', len);
        if (dot == NULL || dot == name) {
            return false;
        }
        len -= (size_t)(dot - name);
        name = dot;
        pattern++;
        n--;
    }
    return n == len && strncasecmp(pattern, name, n) == 0;
}

/* Calls `fn` with each DNS name of the certificate until it says true. The
 * subject's common name counts only where there are none. */
static bool each_name(const mbedtls_x509_crt *crt,
    bool (*fn)(const char *name, size_t n, void *arg), void *arg)
{
    bool has_any = false;
    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s != NULL;
         s = s->next) {
        if (s->buf.tag == SAN_DNS_NAME && s->buf.len > 0) {
            has_any = true;
            if (fn((const char *)s->buf.p, s->buf.len, arg)) {
                return true;
            }
        }
    }
    for (const mbedtls_x509_name *x = &crt->subject; !has_any && x != NULL;
         x = x->next) {
        if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &x->oid) == 0 &&
            fn((const char *)x->val.p, x->val.len, arg)) {
            return true;
        }
    }
    return false;
}

struct wanted_name {
    const char *p;
    size_t len;
};

static bool is_wanted(const char *name, size_t n, void *arg)
{
    const struct wanted_name *w = arg;
    return name_matches(name, n, w->p, w->len);
}

/* Of several that match (RSA and ECDSA, say) the library takes the one that
 * goes with the cipher suite. None: those of the configuration. */
static int on_sni(
    void *arg, mbedtls_ssl_context *ssl, const unsigned char *name, size_t len)
{
    struct tls *t = arg;
    struct wanted_name w = {(const char *)name, len};
    tls_tickets_name(t, name, len);
    for (size_t i = 0; i < t->count; i++) {
        struct tls_pair *pair = &t->pairs[i];
        if (each_name(&pair->chain, is_wanted, &w)) {
            int rc = mbedtls_ssl_set_hs_own_cert(ssl, &pair->chain, &pair->key);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

struct name_line {
    char *out;
    size_t room;
};

static bool add_name(const char *name, size_t n, void *arg)
{
    struct name_line *line = arg;
    int k = snprintf(line->out, line->room, " %.*s", (int)n, name);
    if (k < 0 || (size_t)k >= line->room) {
        return true;
    }
    line->out += k;
    line->room -= (size_t)k;
    return false;
}

size_t tls_count(const struct tls *t)
{
    return t->count;
}

void tls_describe(const struct tls *t, size_t i, char *out, size_t out_bytes)
{
    const mbedtls_x509_crt *crt = &t->pairs[i].chain;
    const mbedtls_x509_time *end = &crt->valid_to;
    const char *word =
        mbedtls_x509_time_is_past(end) ? "expired on" : "valid until";
    int k = snprintf(out, out_bytes, "%s %04d-%02d-%02d, for", word, end->year,
        end->mon, end->day);
    if (k > 0 && (size_t)k < out_bytes) {
        struct name_line line = {out + k, out_bytes - (size_t)k};
        (void)each_name(crt, add_name, &line);
    }
}

/* ---- files ---- */

static int read_key(struct tls *t, mbedtls_pk_context *key, const char *file)
{
#if TLS_IS_3
    return mbedtls_pk_parse_keyfile(
        key, file, NULL, mbedtls_ctr_drbg_random, &t->rng);
#else
    (void)t;
    return mbedtls_pk_parse_keyfile(key, file, NULL);
#endif
}

static int check_pair(struct tls *t, struct tls_pair *pair)
{
#if TLS_IS_3
    return mbedtls_pk_check_pair(
        &pair->chain.pk, &pair->key, mbedtls_ctr_drbg_random, &t->rng);
#else
    (void)t;
    return mbedtls_pk_check_pair(&pair->chain.pk, &pair->key);
#endif
}

static int read_pair(struct tls *t, struct tls_pair *pair, const char *cert,
    const char *key, char *why, size_t why_bytes)
{
    errno = 0;
    int rc = mbedtls_x509_crt_parse_file(&pair->chain, cert);
    if (rc > 0) {
        (void)snprintf(why, why_bytes,
            "%s: %d of the certificates in it cannot be read", cert, rc);
        return rc;
    }
    if (rc != 0) {
        write_why(why, why_bytes, rc, "certificate", cert);
        return rc;
    }
    errno = 0;
    rc = read_key(t, &pair->key, key);
    if (rc != 0) {
        write_why(why, why_bytes, rc, "key", key);
        return rc;
    }
    rc = check_pair(t, pair);
    if (rc != 0) {
        (void)snprintf(why, why_bytes,
            "key %s does not belong to certificate %s", key, cert);
    }
    return rc;
}

/* ---- the whole ---- */

static int configure(struct tls *t)
{
    mbedtls_ssl_config *conf = &t->conf;
    int rc = mbedtls_ssl_config_defaults(conf, MBEDTLS_SSL_IS_SERVER,
        MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0) {
        return rc;
    }
    mbedtls_ssl_conf_rng(conf, mbedtls_ctr_drbg_random, &t->rng);
#if TLS_IS_3
    mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_groups(conf, groups);
#else
    mbedtls_ssl_conf_min_version(
        conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_curves(conf, groups);
#endif
    mbedtls_ssl_conf_ciphersuites(conf, ciphersuites);
    mbedtls_ssl_conf_renegotiation(conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    rc = mbedtls_ssl_conf_alpn_protocols(conf, alpn);
    if (rc == 0) {
        rc = mbedtls_ssl_conf_own_cert(
            conf, &t->pairs[0].chain, &t->pairs[0].key);
    }
    mbedtls_ssl_conf_sni(conf, on_sni, t);
    tls_tickets_use(t);
    return rc;
}

static void on_turn_end(struct loop_hook *h)
{
    container_of(h, struct tls, end_hook)->spent_ns = 0;
}

static void free_tls(struct tls *t)
{
    if (t->loop != NULL) {
        loop_hook_remove(&t->end_hook);
    }
    mbedtls_ssl_config_free(&t->conf);
    tls_tickets_unref(t->tickets);
    for (size_t i = 0; i < t->count; i++) {
        mbedtls_x509_crt_free(&t->pairs[i].chain);
        mbedtls_pk_free(&t->pairs[i].key);
    }
    mem_free(t->pairs);
    mbedtls_ctr_drbg_free(&t->rng);
    mbedtls_entropy_free(&t->entropy);
    tls_free_spares(t);
    mem_free(t);
}

static struct tls *alloc_tls(struct tls_tickets *tickets, size_t count)
{
    struct tls *t = mem_zalloc(sizeof(*t));
    t->refs = 1;
    t->tickets = tickets;
    atomic_fetch_add(&tickets->refs, 1);
    t->count = count;
    t->pairs = mem_zalloc(count * sizeof(*t->pairs));
    mbedtls_entropy_init(&t->entropy);
    mbedtls_ctr_drbg_init(&t->rng);
    mbedtls_ssl_config_init(&t->conf);
    for (size_t i = 0; i < count; i++) {
        mbedtls_x509_crt_init(&t->pairs[i].chain);
        mbedtls_pk_init(&t->pairs[i].key);
    }
    return t;
}

void tls_adopt(struct tls *t, struct loop *l)
{
    ASSERT(t->loop == NULL || t->loop == l, "I1: one loop's");
    if (t->loop == NULL) {
        t->loop = l;
        loop_hook_add(l, LOOP_END, &t->end_hook, on_turn_end);
    }
}

struct tls *tls_new(struct tls_tickets *tickets, const struct tls_files *files,
    char *why, size_t why_bytes)
{
    ASSERT(files->count > 0, "a certificate at least");
    struct tls *t = alloc_tls(tickets, files->count);
    int rc = mbedtls_ctr_drbg_seed(
        &t->rng, mbedtls_entropy_func, &t->entropy, NULL, 0);
    if (rc != 0) {
        write_why(why, why_bytes, rc, "TLS", "random numbers");
    }
    for (size_t i = 0; rc == 0 && i < files->count; i++) {
        rc = read_pair(
            t, &t->pairs[i], files->certs[i], files->keys[i], why, why_bytes);
    }
    if (rc == 0) {
        rc = configure(t);
        if (rc != 0) {
            write_why(why, why_bytes, rc, "TLS", "settings");
        }
    }
    if (rc != 0) {
        free_tls(t);
        return NULL;
    }
    return t;
}

struct tls *tls_ref(struct tls *t)
{
    t->refs++;
    return t;
}

void tls_unref(struct tls *t)
{
    if (t != NULL && --t->refs == 0) {
        free_tls(t);
    }
}
