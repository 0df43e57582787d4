/* tls.h -- TLS 1.2 and 1.3 (where the library has it) in the place of plain
 * TCP: certificates, and a second table of net/transport.h's calls.
 *
 * A struct tls is what the connections of one loop share: certificates, keys,
 * a random generator, ticket keys, buffers. It is made whole, never changed,
 * and counted; a reload makes another one, and connections keep the one that
 * they began with. It belongs to its loop's thread (I1): each loop has its
 * own, so nothing is locked. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "loop/loop.h"
#include "net/transport.h"

struct tls;
/* Keys that tickets are sealed with: for all loops and through all reloads. */
struct tls_tickets;

struct tls_files {
    const char *const *certs; /* PEM, each a chain, the server's own first */
    const char *const *keys;  /* PEM; an entry may be that of the chain */
    size_t count;             /* of both; the first is for who asks for none */
};

#define TLS_WHY_BYTES 512

/* NULL, with a sentence in `why`. Counted, and that by any thread. */
struct tls_tickets *tls_tickets_new(char *why, size_t why_bytes) NODISCARD;
void tls_tickets_unref(struct tls_tickets *k); /* NULL is fine */

/* NULL, with a sentence in `why` that names the file, if anything is wrong
 * with any of them. The caller holds the one reference, on any thread, until
 * tls_adopt(). */
struct tls *tls_new(struct tls_tickets *tickets, const struct tls_files *files,
    char *why, size_t why_bytes) NODISCARD;
/* It belongs to this loop from now on; more than once is fine. */
void tls_adopt(struct tls *t, struct loop *l);
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls *t); /* NULL is fine */
/* Names and expiry of the certificates, for the log: one line each. */
size_t tls_count(const struct tls *t);
void tls_describe(const struct tls *t, size_t i, char *out, size_t out_bytes);

extern const struct transport transport_tls;

/* The transport state of a connection just accepted; NULL: no memory. */
void *tls_open(struct tls *t) NODISCARD;
/* A connection goes to another loop, its handshake done: it lets go of what is
 * this loop's, and takes up what is the other's. */
void tls_leave(void *state);
void tls_enter(void *state, struct tls *t);

#endif
