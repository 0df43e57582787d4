/* pack.h -- compression (RFC 7692) for all connections of a loop.
 *
 * What a client sends is inflated by an inflater that is lent for a message;
 * what goes to many is compressed once, in a form for each size of window that
 * somebody among them has agreed to, nearly always one. Only where a context
 * is kept between messages a connection has state of its own. */
#ifndef NET_PACK_H
#define NET_PACK_H

#include "net/net.h"
#include "proto/deflate.h"
#include "proto/message_inflate.h"

struct packer;

/* One message on its way out. parcel_fini() when everybody has been served. */
struct parcel {
    struct net *net;
    struct range plain; /* the frame as it is; a reference of ours */
    const void *data;   /* its payload; lent */
    size_t len;
    enum frame_opcode op;
    uint8_t level;
    bool is_packing; /* those who agreed get it compressed */
    struct tape *packed;
    struct meter *meter;
    struct range forms[DEFLATE_BITS_MAX - DEFLATE_BITS_MIN + 1];
};

/* `r` is the message's plain frame, and all that goes out until parcel_pack()
 * is called. */
void parcel_init(struct parcel *p, struct net *n, const struct range *r,
    enum frame_opcode op, const void *data, size_t len);
/* Those who agreed get it compressed. `packed` is where the usual form goes, so
 * that such forms lie one behind the other as well. */
void parcel_pack(
    struct parcel *p, struct tape *packed, struct meter *meter, int level);
void parcel_fini(struct parcel *p);
int parcel_send_packed(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len) NODISCARD;

/* As net_send(), in the form that the connection has agreed to. */
static inline int parcel_send(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct net *n = p->net;
    const uint32_t flags = n->lanes[slot].flags;
    if (LIKELY(!(flags & LANE_DEFLATE) || !p->is_packing)) {
        return net_send(n, slot, &p->plain, policy, key, key_len);
    }
    const struct range *r = &p->forms[flags >> LANE_WINDOW_SHIFT];
    if (LIKELY(r->blob != NULL && !(flags & LANE_CONTEXT))) {
        return net_send(n, slot, r, policy, key, key_len);
    }
    return parcel_send_packed(p, slot, policy, key, key_len);
}

/* ---- for net and conn ---- */

struct conn_pack; /* what a connection keeps that has a context */

/* That of the connection in `slot`; NULL: none. */
struct conn_pack *packer_own(const struct net *n, uint32_t slot);
struct conn_pack *packer_take_own(struct net *n, uint32_t slot);
/* 0 or ERR_NOMEM. */
int packer_set_own(
    struct net *n, uint32_t slot, struct conn_pack *own) NODISCARD;

void packer_free(struct packer *k);
/* The source of inflaters for clients that keep no context. */
struct inflate_source *packer_inflate(struct net *n);
/* Compresses behind the loop's scratch buffer; *out is lent until the next
 * call. 0 or an error. */
int packer_deflate(struct net *n, unsigned bits, int level, const void *p,
    size_t len, const struct buf **out) NODISCARD;

#endif
