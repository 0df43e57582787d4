/* tls_priv.h -- what the files of TLS share:
 *
 *   tls.c         the calls of the transport: records in and out, handshakes
 *   tls_config.c  certificates, SNI, ciphers
 *   tls_tickets.c sessions that are resumed
 *   tls_hello.c   the name that a client asks for
 *   tls_stow.c    an idle connection gives its record buffers back
 *
 * The library's two generations (2.28 and 3.6) differ in names only; those
 * differences are here. */
#ifndef NET_TLS_PRIV_H
#define NET_TLS_PRIV_H

/* For tls_stow.c, which looks where the library keeps its buffers, and for
 * tls_tickets.c, which looks into one. */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS

#include "net/tls.h"
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <stdatomic.h>

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#    define TLS_IS_3 1
#else
#    define TLS_IS_3 0
#endif

/* The largest record, with what encryption adds. */
#define TLS_PLAIN_BYTES  16384u
#define TLS_RECORD_BYTES (TLS_PLAIN_BYTES + 1024u)
/* Ciphertext that one read takes. */
#define TLS_READ_BYTES (32u * 1024u)
/* Plaintext that one write takes, and room for the records it makes; a
 * handshake's flight has to fit in there, too. */
#define TLS_WRITE_BYTES (32u * 1024u)
#define TLS_OUT_BYTES   (80u * 1024u)
/* Ciphertext that waits for a peer that does not read. */
#define TLS_PENDING_BYTES (2u * TLS_OUT_BYTES)

#define TLS_SPARES 4

struct tls_pair {
    mbedtls_x509_crt chain;
    mbedtls_pk_context key;
};

/* Shared by threads (I4: the library's own lock guards it). */
struct tls_tickets {
    atomic_uint refs;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context rng;
    mbedtls_ssl_ticket_context context;
};

struct tls {
    unsigned refs;
    struct loop *loop;           /* NULL: nobody's yet */
    struct tls_tickets *tickets; /* ref */
    struct loop_hook end_hook;
    uint64_t spent_ns; /* on handshakes, in this turn */
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context rng;
    mbedtls_ssl_config conf;
    struct tls_pair *pairs;
    size_t count;
    /* Record buffers that no connection needs at the moment. */
    unsigned char *spare_in[TLS_SPARES];
    unsigned char *spare_out[TLS_SPARES];
    unsigned spare_in_count;
    unsigned spare_out_count;
    /* Of the call that is under way. */
    const uint8_t *in; /* ciphertext not used yet */
    size_t in_len;
    bool in_is_end;           /* nothing follows it */
    mbedtls_ssl_context *ssl; /* of the connection that is served, and */
    uint32_t *asked;          /* the name it asks for: a digest; 0: none yet */
    size_t out_len;           /* in out[] */
    uint8_t in_bytes[TLS_READ_BYTES];
    uint8_t out[TLS_OUT_BYTES];
    uint8_t gather[TLS_PLAIN_BYTES];
};

/* Where the pointers into a buffer that was given back had pointed. */
struct tls_stowed {
    uintptr_t in_base; /* 0: the buffer is there */
    uintptr_t out_base;
    uint8_t in_counter[8];
};

/* What is idle of the buffers goes to the spares. */
void tls_stow(struct tls *t, mbedtls_ssl_context *ssl, struct tls_stowed *s);
/* They are there again. 0 or ERR_NOMEM. */
int tls_unstow(
    struct tls *t, mbedtls_ssl_context *ssl, struct tls_stowed *s) NODISCARD;
void tls_free_spares(struct tls *t);

/* Its configuration gives out tickets and takes them. */
void tls_tickets_use(struct tls *t);
/* The handshake under way asks for that name. */
void tls_tickets_name(struct tls *t, const unsigned char *name, size_t len);

/* The host that a ClientHello asks for, in its bytes; *len 0: for none. 0, or
 * -1: it is not written as it should be. */
int tls_hello_name(
    const uint8_t *p, size_t n, const uint8_t **name, size_t *len) NODISCARD;

#endif
