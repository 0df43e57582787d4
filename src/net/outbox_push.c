/* outbox_push.c -- the queue of a client that lags: how data gets in, and what
 * is dropped to make room.
 *
 * net/conn_push.c calls. Everything is judged before anything is changed: a
 * push that fails leaves the queue as it was, so no frame is dropped for one
 * that is refused after all.
 *
 * Laws: I2 (the bounds), I6 (quota_* for the array and the keys). */
#include "base/err.h"
#include "base/mem.h"
#include "net/outbox.h"
#include "net/outbox_priv.h"
#include <string.h>

#define FIRST_HEAP_ENTRIES 16

/* Closes up the empty places. */
static void compact(struct outbox *o)
{
    uint32_t to = 0;
    uint32_t settled = 0;
    for (uint32_t i = o->head; i < o->tail; i++) {
        if (i == o->settled) {
            settled = to;
        }
        if (o->entries[i].blob != NULL) {
            o->entries[to++] = o->entries[i];
        }
    }
    o->settled = o->settled >= o->tail ? to : settled;
    o->head = 0;
    o->tail = to;
}

/* Makes sure of a place at the tail. */
static int reserve(struct outbox *o)
{
    if (o->tail < o->capacity) {
        return 0;
    }
    compact(o);
    /* A quarter free is worth the closing up; less would be done again and
     * again. */
    if (o->tail <= o->capacity - o->capacity / 4) {
        return 0;
    }
    uint32_t capacity = o->capacity * 2;
    if (capacity < FIRST_HEAP_ENTRIES) {
        capacity = FIRST_HEAP_ENTRIES;
    }
    bool is_inline = o->entries == o->first;
    struct outbox_entry *p =
        quota_realloc(is_inline ? NULL : o->entries, capacity * sizeof(*p));
    if (p == NULL) {
        return o->tail < o->capacity ? 0 : ERR_NOMEM;
    }
    if (is_inline) {
        memcpy(p, o->first, o->tail * sizeof(*p));
    }
    o->entries = p;
    o->capacity = capacity;
    return 0;
}

static uint32_t hash_key(const char *key, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a: it only saves comparing */
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (uint8_t)key[i]) * 16777619u;
    }
    return h;
}

static struct outbox_entry *find_key(
    struct outbox *o, uint32_t hash, const char *key, size_t len)
{
    for (uint32_t i = o->tail; o->keyed > 0 && i > o->head; i--) {
        struct outbox_entry *e = &o->entries[i - 1];
        if (e->key != NULL && e->key_hash == hash && e->key->len == len &&
            memcmp(e->key->bytes, key, len) == 0) {
            return e;
        }
    }
    return NULL;
}

static struct outbox_key *new_key(const char *key, size_t len)
{
    ASSERT(len <= LIMIT_KEY_BYTES, "I6: keys are judged by the caller");
    struct outbox_key *k = quota_alloc(sizeof(*k) + len);
    if (k != NULL) {
        k->len = (uint32_t)len;
        memcpy(k->bytes, key, len);
    }
    return k;
}

/* What the queue would be if the range came in. */
struct plan {
    size_t bytes;
    uint32_t messages;
    uint32_t messages_max; /* UINT32_MAX: the soft bound does not count now */
    size_t bytes_max;
};

/* A queue that holds nothing takes a range of any size: it was let through by
 * the limit on messages and is paid for by the app's meter, and a bound that
 * refuses what an idle client could have at once would protect nobody. */
static bool is_too_much(const struct plan *p, const struct range *r)
{
    return (p->bytes > p->bytes_max || p->messages > p->messages_max) &&
           p->messages > r->frames;
}

/* Drops frames from the head until the plan fits; returns how many. */
static uint32_t drop_oldest(
    struct outbox *o, struct plan *p, const struct range *r)
{
    uint32_t dropped = 0;
    for (uint32_t i = o->head; i < o->tail && is_too_much(p, r);) {
        struct outbox_entry *e = &o->entries[i];
        if (e->blob == NULL || e->frames == 0) {
            i++;
            continue;
        }
        uint32_t len = (uint32_t)frame_bytes(e->blob->data + e->off);
        size_t cost = outbox_cost(len, 1);
        dropped++;
        p->bytes -= cost;
        p->messages--;
        if (e->frames == 1) {
            outbox_forget(o, e);
            continue;
        }
        e->off += len;
        e->len -= len;
        e->frames--;
        o->messages--;
        o->bytes -= cost;
    }
    return dropped;
}

/* May the range come in? 0 or ERR_FULL; nothing is changed yet. */
static int judge(const struct outbox *o, const struct plan *p,
    const struct range *r, enum outbox_policy policy,
    struct outbox_drops *drops)
{
    if (!is_too_much(p, r)) {
        return 0;
    }
    if (policy == OUTBOX_DROP_OLDEST) {
        /* All that can be dropped may not be enough: the frame that has
         * begun stays. */
        size_t stays = o->begun.blob != NULL
                           ? outbox_cost(o->begun.total, 1) +
                                 outbox_cost(r->len, r->frames)
                           : 0;
        if (stays <= p->bytes_max) {
            return 0;
        }
    }
    if (policy != OUTBOX_CLOSE) {
        drops->newest += r->frames;
    }
    return ERR_FULL;
}

static void append(
    struct outbox *o, const struct range *r, struct outbox_key *key, uint32_t h)
{
    o->messages += r->frames;
    o->bytes += r->frames != 0 ? outbox_cost(r->len, r->frames) : 0;
    if (o->tail > o->head && key == NULL) {
        struct outbox_entry *last = &o->entries[o->tail - 1];
        if (last->key == NULL && last->blob == r->blob &&
            last->off + last->len == r->off &&
            (last->frames == 0) == (r->frames == 0)) {
            last->len += r->len;
            last->frames += r->frames;
            return;
        }
    }
    o->entries[o->tail++] = (struct outbox_entry){
        .blob = blob_ref(r->blob),
        .off = r->off,
        .len = r->len,
        .frames = r->frames,
        .key_hash = h,
        .key = key,
    };
    o->keyed += key != NULL;
}

/* NOLINTNEXTLINE(readability-function-size): the contract has as many. */
int outbox_push(struct outbox *o, const struct range *r,
    const struct outbox_limits *limits, enum outbox_policy policy, bool is_over,
    const char *key, size_t key_len, struct outbox_drops *drops)
{
    ASSERT(o->close.len == 0, "RFC 6455 5.5.1: nothing follows a Close");
    /* First, because it may move the entries. */
    int rc = reserve(o);
    if (rc != 0) {
        return rc;
    }
    uint32_t hash = key != NULL ? hash_key(key, key_len) : 0;
    struct outbox_entry *old =
        key != NULL ? find_key(o, hash, key, key_len) : NULL;
    bool is_soft = is_over && policy != OUTBOX_CLOSE;
    struct plan p = {
        .bytes = o->bytes + outbox_cost(r->len, r->frames),
        .messages = o->messages + r->frames,
        .bytes_max = limits->hard_bytes,
        .messages_max = is_soft ? limits->soft_messages : UINT32_MAX,
    };
    if (old != NULL) {
        p.bytes -= outbox_cost(old->len, old->frames);
        p.messages -= old->frames;
    }
    rc = r->frames != 0 ? judge(o, &p, r, policy, drops) : 0;
    if (rc != 0) {
        return rc;
    }
    struct outbox_key *k = NULL;
    if (key != NULL) {
        k = new_key(key, key_len);
        if (k == NULL) {
            return ERR_NOMEM;
        }
    }
    if (old != NULL) {
        drops->key += old->frames;
        outbox_forget(o, old);
    }
    if (r->frames != 0 && policy == OUTBOX_DROP_OLDEST) {
        drops->oldest += drop_oldest(o, &p, r);
    }
    outbox_trim(o);
    append(o, r, k, hash);
    return 0;
}

bool outbox_is_full(const struct outbox *o, const struct range *r,
    const struct outbox_limits *limits)
{
    return r->frames != 0 && o->messages != 0 &&
           o->bytes + outbox_cost(r->len, r->frames) > limits->hard_bytes;
}
