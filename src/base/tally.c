/* tally.c -- how much each of many keys has, counted by all threads.
 *
 * A map from keys to entries behind one lock. Accepting a connection and
 * ending it each look in once; a message does only where a rate for addresses
 * is set. An entry whose count is 0 stays while its buckets remember
 * something, or the next connection would begin with full ones; such entries
 * wait in a list, the longest idle first, and go when that is over or their
 * room is needed. */
#include "base/tally.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include <pthread.h>
#include <string.h>

#define KEEP_MS 60000 /* no bucket is looked at longer than that */

struct tally_entry {
    struct list node; /* in tally->idle while count is 0 */
    uint8_t key[TALLY_KEY_BYTES];
    uint32_t count;
    uint64_t touched_ms; /* when a bucket was, last */
    uint64_t buckets[TALLY_BUCKETS];
};

struct tally {
    pthread_mutex_t lock;
    struct map entries;
    struct list idle;
    uint32_t entries_max;
    uint64_t now_ms; /* the latest anybody has told */
};

struct tally *tally_new(uint32_t entries_max)
{
    struct tally *t = mem_zalloc(sizeof(*t));
    int rc = pthread_mutex_init(&t->lock, NULL);
    ASSERT(rc == 0, "a mutex needs nothing");
    map_init(&t->entries);
    list_init(&t->idle);
    t->entries_max = entries_max;
    return t;
}

/* Under the lock, as all that follows but the exported calls. */
static void drop(struct tally *t, struct tally_entry *e)
{
    (void)map_remove(&t->entries, (const char *)e->key, TALLY_KEY_BYTES);
    list_remove(&e->node);
    quota_free(e);
}

/* Goes through those who are idle for as long as they are to go. */
static void drop_idle(struct tally *t)
{
    while (!list_is_empty(&t->idle)) {
        struct tally_entry *e =
            container_of(t->idle.next, struct tally_entry, node);
        if (t->entries.count < t->entries_max &&
            e->touched_ms + KEEP_MS > t->now_ms) {
            return;
        }
        drop(t, e);
    }
}

void tally_free(struct tally *t)
{
    if (t == NULL) {
        return;
    }
    while (!list_is_empty(&t->idle)) {
        drop(t, container_of(t->idle.next, struct tally_entry, node));
    }
    ASSERT(t->entries.count == 0, "everybody has left");
    map_fini(&t->entries);
    int rc = pthread_mutex_destroy(&t->lock);
    ASSERT(rc == 0, "nobody holds the lock");
    mem_free(t);
}

static struct tally_entry *add(struct tally *t, const uint8_t *key)
{
    drop_idle(t);
    if (t->entries.count >= t->entries_max) {
        return NULL;
    }
    struct tally_entry *e = quota_alloc(sizeof(*e));
    if (e == NULL) {
        return NULL;
    }
    *e = (struct tally_entry){.count = 0};
    memcpy(e->key, key, TALLY_KEY_BYTES);
    list_init(&e->node);
    if (map_put(&t->entries, (const char *)key, TALLY_KEY_BYTES, e) != 0) {
        quota_free(e);
        return NULL;
    }
    return e;
}

struct tally_entry *tally_enter(
    struct tally *t, const uint8_t key[TALLY_KEY_BYTES])
{
    (void)pthread_mutex_lock(&t->lock);
    struct tally_entry *e =
        map_get(&t->entries, (const char *)key, TALLY_KEY_BYTES);
    if (e == NULL) {
        e = add(t, key);
    }
    if (e != NULL) {
        list_remove(&e->node);
        e->count++;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return e;
}

void tally_leave(struct tally *t, struct tally_entry *e)
{
    if (e == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&t->lock);
    ASSERT(e->count > 0, "who leaves has entered");
    if (--e->count == 0) {
        if (e->touched_ms == 0) {
            drop(t, e);
        } else {
            list_push_tail(&t->idle, &e->node);
        }
    }
    (void)pthread_mutex_unlock(&t->lock);
}

uint32_t tally_count(struct tally *t, const uint8_t key[TALLY_KEY_BYTES])
{
    (void)pthread_mutex_lock(&t->lock);
    const struct tally_entry *e =
        map_get(&t->entries, (const char *)key, TALLY_KEY_BYTES);
    uint32_t count = e != NULL ? e->count : 0;
    (void)pthread_mutex_unlock(&t->lock);
    return count;
}

uint32_t tally_wait_ms(struct tally *t, struct tally_entry *e, unsigned bucket,
    const struct rate *r, uint64_t now_ms)
{
    (void)pthread_mutex_lock(&t->lock);
    uint32_t wait = rate_wait_ms(r, e->buckets[bucket], now_ms);
    (void)pthread_mutex_unlock(&t->lock);
    return wait;
}

void tally_take(struct tally *t, struct tally_entry *e, unsigned bucket,
    const struct rate *r, uint64_t now_ms, uint64_t n)
{
    (void)pthread_mutex_lock(&t->lock);
    rate_take(r, &e->buckets[bucket], now_ms, n);
    e->touched_ms = now_ms > 0 ? now_ms : 1;
    if (now_ms > t->now_ms) {
        t->now_ms = now_ms;
    }
    (void)pthread_mutex_unlock(&t->lock);
}
