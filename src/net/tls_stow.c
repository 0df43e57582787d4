/* tls_stow.c -- an idle connection gives its record buffers back.
 *
 * The library keeps two buffers of a record's size, 33 KB together, for each
 * connection all its life; as Debian builds it there is no setting to shrink
 * them. But between two records nothing in them counts, save the eight bytes
 * that number the incoming ones. So after each call the buffers go to a few
 * spares of the loop, and whoever is called next takes them from there: an
 * idle connection has none.
 *
 * This is the one file that knows how the library uses its memory: pointers
 * into the buffers are moved along, and everything is left in place that is
 * not certain to be idle. Where the library sizes its buffers itself
 * (MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH) nothing is done. */
#include "base/err.h"
#include "base/mem.h"
#include "net/tls_priv.h"
#include <string.h>

/* At least what the library itself takes; both come from malloc, as the
 * library has no allocator of its own in these builds. */
#define BUFFER_BYTES (TLS_PLAIN_BYTES + 2048u)

#if !TLS_IS_3
#    include <mbedtls/ssl_internal.h>
_Static_assert(
    BUFFER_BYTES >= MBEDTLS_SSL_IN_BUFFER_LEN, "a buffer of ours does");
_Static_assert(
    BUFFER_BYTES >= MBEDTLS_SSL_OUT_BUFFER_LEN, "in both directions");
#endif

#if defined(MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH) ||                             \
    defined(MBEDTLS_PLATFORM_MEMORY)

void tls_stow(struct tls *t, mbedtls_ssl_context *ssl, struct tls_stowed *s)
{
    (void)t;
    (void)ssl;
    (void)s;
}

int tls_unstow(struct tls *t, mbedtls_ssl_context *ssl, struct tls_stowed *s)
{
    (void)t;
    (void)ssl;
    (void)s;
    return 0;
}

#else

/* Part of a handshake message may wait for its rest in the buffer. */
static bool has_fragment(const mbedtls_ssl_context *ssl)
{
#    if MBEDTLS_VERSION_NUMBER >= 0x03060300
    return ssl->badmac_seen_or_in_hsfraglen != 0;
#    else
    (void)ssl;
    return false;
#    endif
}

/* After a handshake of TLS 1.3 the library (3.6) keeps what only the handshake
 * needed, 6 KB, to the end of the connection. It has the function that frees
 * it, and calls it itself for TLS 1.2, but does not declare it for others. */
#    if TLS_IS_3 && defined(MBEDTLS_SSL_PROTO_TLS1_3)
void mbedtls_ssl_handshake_wrapup_free_hs_transform(mbedtls_ssl_context *ssl);

static void drop_handshake(mbedtls_ssl_context *ssl)
{
    if (ssl->handshake != NULL && ssl->transform == NULL &&
        ssl->tls_version == MBEDTLS_SSL_VERSION_TLS1_3) {
        mbedtls_ssl_handshake_wrapup_free_hs_transform(ssl);
    }
}
#    else
static void drop_handshake(mbedtls_ssl_context *ssl)
{
    (void)ssl;
}
#    endif

static void give(unsigned char *p, unsigned char **spares, unsigned *count)
{
    if (*count < TLS_SPARES) {
        spares[(*count)++] = p;
    } else {
        quota_free(p);
    }
}

static unsigned char *take(unsigned char **spares, unsigned *count)
{
    return *count > 0 ? spares[--*count] : quota_alloc(BUFFER_BYTES);
}

/* Points as far into `to` as *p did into the buffer at `from`. */
static void move(unsigned char **p, uintptr_t from, unsigned char *to)
{
    if (*p != NULL) {
        *p = to + ((uintptr_t)*p - from);
    }
}

void tls_stow(struct tls *t, mbedtls_ssl_context *ssl, struct tls_stowed *s)
{
    if (ssl->state != MBEDTLS_SSL_HANDSHAKE_OVER) {
        return;
    }
    drop_handshake(ssl);
    if (s->in_base == 0 && ssl->in_left == 0 && ssl->in_offt == NULL &&
        ssl->in_hslen == 0 && ssl->keep_current_message == 0 &&
        !has_fragment(ssl)) {
        memcpy(s->in_counter, ssl->in_ctr, sizeof(s->in_counter));
        s->in_base = (uintptr_t)ssl->in_buf;
        give(ssl->in_buf, t->spare_in, &t->spare_in_count);
        ssl->in_buf = NULL;
    }
    if (s->out_base == 0 && ssl->out_left == 0) {
        s->out_base = (uintptr_t)ssl->out_buf;
        give(ssl->out_buf, t->spare_out, &t->spare_out_count);
        ssl->out_buf = NULL;
    }
}

static void unstow_in(
    mbedtls_ssl_context *ssl, struct tls_stowed *s, unsigned char *b)
{
    ssl->in_buf = b;
    move(&ssl->in_ctr, s->in_base, b);
    move(&ssl->in_hdr, s->in_base, b);
    move(&ssl->in_len, s->in_base, b);
    move(&ssl->in_iv, s->in_base, b);
    move(&ssl->in_msg, s->in_base, b);
#    if defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
    move(&ssl->in_cid, s->in_base, b);
#    endif
    memcpy(ssl->in_ctr, s->in_counter, sizeof(s->in_counter));
    s->in_base = 0;
}

static void unstow_out(
    mbedtls_ssl_context *ssl, struct tls_stowed *s, unsigned char *b)
{
    ssl->out_buf = b;
    move(&ssl->out_ctr, s->out_base, b);
    move(&ssl->out_hdr, s->out_base, b);
    move(&ssl->out_len, s->out_base, b);
    move(&ssl->out_iv, s->out_base, b);
    move(&ssl->out_msg, s->out_base, b);
#    if defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
    move(&ssl->out_cid, s->out_base, b);
#    endif
    s->out_base = 0;
}

int tls_unstow(struct tls *t, mbedtls_ssl_context *ssl, struct tls_stowed *s)
{
    if (s->in_base != 0) {
        unsigned char *b = take(t->spare_in, &t->spare_in_count);
        if (b == NULL) {
            return ERR_NOMEM;
        }
        unstow_in(ssl, s, b);
    }
    if (s->out_base != 0) {
        unsigned char *b = take(t->spare_out, &t->spare_out_count);
        if (b == NULL) {
            return ERR_NOMEM;
        }
        unstow_out(ssl, s, b);
    }
    return 0;
}

#endif

void tls_free_spares(struct tls *t)
{
    while (t->spare_in_count > 0) {
        quota_free(t->spare_in[--t->spare_in_count]);
    }
    while (t->spare_out_count > 0) {
        quota_free(t->spare_out[--t->spare_out_count]);
    }
}
