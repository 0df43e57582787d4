/* blob.h -- refcounted bytes, and the meter that bounds them.
 *
 * A blob is the one object that threads share (I4). Bytes that have been
 * handed out in a range never change; the owner of a blob that is still being
 * filled (net/tape) only writes behind the last byte it handed out.
 *
 * A meter counts the memory of all blobs charged to it and says no when its
 * cap is reached: one per app bounds all its outboxes together (I2). Blobs
 * keep their meter alive. Both may be used from any thread. */
#ifndef BASE_BLOB_H
#define BASE_BLOB_H

#include "base/base.h"
#include <stdatomic.h>

struct meter {
    atomic_size_t used; /* bytes, headers of the blobs included */
    atomic_size_t cap;
    atomic_uint refs;
};

struct meter *meter_new(size_t cap_bytes) NODISCARD;
struct meter *meter_ref(struct meter *m);
void meter_unref(struct meter *m);
size_t meter_used(const struct meter *m);
/* What is charged beyond a lower cap stays until it is given back. */
void meter_set_cap(struct meter *m, size_t cap_bytes);
size_t meter_cap(const struct meter *m);
/* Charges n bytes for something that is no blob; false: over the cap, nothing
 * is charged. Given back with meter_release(). */
bool meter_charge(struct meter *m, size_t n) NODISCARD;
void meter_release(struct meter *m, size_t n);

struct blob {
    atomic_uint refs;
    uint32_t size;       /* capacity of data[], bytes */
    struct meter *meter; /* ref; NULL: charged to nobody */
    uint8_t is_scratch;  /* shared by one turn's direct sends: whoever keeps
                             a range of it beyond the turn copies it out */
    _Alignas(8) uint8_t data[]; /* lists of numbers lie in some */
};

/* NULL when the meter is at its cap or memory is out; size < 4 GiB. `meter`
 * may be NULL. The caller holds the one reference. */
struct blob *blob_new(struct meter *meter, size_t size) NODISCARD;
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine */

/* A stretch of a blob that holds whole WebSocket frames. */
struct range {
    struct blob *blob;
    uint32_t off;
    uint32_t len;
    uint32_t frames;
};

#endif
