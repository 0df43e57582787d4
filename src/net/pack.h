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

struct pack_message {
    enum frame_opcode op;
    const void *data;
    size_t len;
};

/* A form that is being made, a little at a time. */
struct pack_job {
    struct deflater *deflater; /* NULL: none is under way */
    unsigned bits;             /* of the form; 0: one connection's own */
    struct conn_id conn;       /* that one */
    size_t at;                 /* bytes of the message that were deflated */
    bool is_ended;             /* and the end of it as well ... */
    int rc;                    /* ... or an error came */
    bool keeps;                /* it may refer to messages before it */
    struct buf out;
    struct range frame; /* being written; no blob: not yet */
    size_t written;     /* of `out` */
};

/* One message on its way out. parcel_fini() when everybody has been served. */
struct parcel {
    struct net *net;
    struct range plain; /* the frame as it is; a reference of ours */
    struct pack_message message;
    struct pack_settings how;
    bool is_packing; /* those who agreed get it compressed */
    bool is_brief;   /* forms are made at once, or not at all (parcel_open) */
    /* Asked now and then while a form is made: true says that it shall be gone
     * on with later (PARCEL_MORE). NULL: it is made at once. */
    bool (*is_due)(void);
    struct tape *packed;
    struct meter *meter;
    struct range forms[DEFLATE_BITS_MAX - DEFLATE_BITS_MIN + 1];
    struct pack_job job;
};

/* From parcel_send(): nothing was sent yet, call it again for this one (or, if
 * it has gone, for the next). Until parcel_fini() the payload and the net may
 * be used otherwise, but not the parcel. */
#define PARCEL_MORE NET_MORE

/* So many bytes of a message are compressed before it is asked. */
size_t pack_step_bytes(int level);
/* `r` is the message's plain frame, and all that goes out until parcel_pack()
 * is called. The payload is lent. */
void parcel_init(struct parcel *p, struct net *n, const struct range *r,
    const struct pack_message *m);
/* Those who agreed get it compressed. `packed` is where the usual form goes, so
 * that such forms lie one behind the other as well. */
void parcel_pack(struct parcel *p, struct tape *packed, struct meter *meter,
    const struct pack_settings *how);
/* The same for one that came from elsewhere as a plain frame alone, with the
 * usual form that was made of it (NULL: nobody needed it). It is sent in one
 * go: so other forms are made while the turn has time for it
 * (LIMIT_TURN_DEFLATE_STEPS). Then those who would get one get the usual form,
 * if they can read it, or the plain frame. */
void parcel_open(struct parcel *p, struct net *n, const struct range *plain,
    const struct range *usual, const struct pack_settings *how);
/* The usual form, or the plain frame if that is not smaller; lent by the
 * parcel. NULL: PARCEL_MORE. */
const struct range *parcel_usual_form(struct parcel *p);
/* Also in the midst of anything. */
void parcel_fini(struct parcel *p);
/* tape_frame() for a message to one who takes the usual form: compressed, if
 * that makes it smaller. */
int pack_frame(struct tape *t, struct net *n, struct meter *meter,
    const struct pack_settings *how, const struct pack_message *m,
    struct range *out) NODISCARD;
int parcel_send_packed(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len) NODISCARD;

/* As net_send(), in the form that the connection has agreed to; or
 * PARCEL_MORE. */
static inline int parcel_send(struct parcel *p, uint32_t slot,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct net *n = p->net;
    const uint32_t flags = n->lanes[slot].flags;
    if (LIKELY(!(flags & LANE_DEFLATE) || !p->is_packing)) {
        return net_send(n, slot, &p->plain, policy, key, key_len);
    }
    const struct range *r = &p->forms[LANE_WINDOW(flags)];
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

/* For a connection that has a context of its own: the job of making its form,
 * by its deflater. True: it is over, and job->rc says how; `out` has it. */
bool parcel_is_at(const struct parcel *p, struct conn_id id);
void parcel_begin_own(
    struct parcel *p, struct conn_id id, struct deflater *d, bool keeps);
bool parcel_run_job(struct parcel *p) NODISCARD;
/* What it has made becomes a frame in a blob of its own. True: it is whole, and
 * in job->frame, or there is no room for it. */
bool parcel_write_frame(struct parcel *p) NODISCARD;
/* The frame is the caller's now. */
void parcel_end_job(struct parcel *p);
/* May a form be made now? True: it is charged to the turn. */
bool parcel_may_make(struct parcel *p) NODISCARD;

void packer_free(struct packer *k);
/* The source of inflaters for clients that keep no context. */
struct inflate_source *packer_inflate(struct net *n);
/* Compresses behind the loop's scratch buffer; *out is lent until the next
 * call. 0 or an error. */
int packer_deflate(struct net *n, unsigned bits, int level, const void *p,
    size_t len, const struct buf **out) NODISCARD;

#endif
