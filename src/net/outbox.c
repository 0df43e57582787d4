/* outbox.c -- the queue of a client that lags: its life, its control frames,
 * and the upkeep of its entries. Data comes in through outbox_push.c and
 * leaves through outbox_leave.c.
 *
 * Outboxes come and go with every hiccup of a network, so a net keeps some
 * for the next one: a fast client that needs one for a turn costs no malloc.
 *
 * Entries are an array with a head, not a ring: what is dropped from the
 * midst (a key replaced, the oldest behind raw bytes) becomes an empty place
 * that costs nothing to skip, and the array is closed up when it is full.
 *
 * Laws: I2, I6 (quota_* for everything: lagging is a peer's choice). */
#include "net/outbox.h"
#include "base/mem.h"
#include "net/outbox_priv.h"
#include <string.h>

#define SPARE_MAX         64 /* outboxes kept for the next one who lags */
#define SPARE_ENTRIES_MAX 64 /* an array longer than this is not kept */

struct outbox *outbox_new(struct net *n)
{
    struct list *node = list_pop_head(&n->spare_outboxes);
    if (node != NULL) {
        n->spare_outbox_count--;
        return container_of(node, struct outbox, node);
    }
    struct outbox *o = quota_alloc(sizeof(*o));
    if (o == NULL) {
        return NULL;
    }
    memset(o, 0, sizeof(*o));
    list_init(&o->node);
    o->entries = o->first;
    o->capacity = OUTBOX_INLINE_ENTRIES;
    o->controls = o->first_controls;
    o->control_capacity = OUTBOX_CONTROLS;
    return o;
}

static void empty(struct outbox *o)
{
    for (uint32_t i = o->head; i < o->tail; i++) {
        outbox_clear_entry(o, &o->entries[i]);
    }
    blob_unref(o->begun.blob);
    o->begun = (struct outbox_begun){0};
    o->head = 0;
    o->tail = 0;
    o->settled = 0;
    o->messages = 0;
    o->bytes = 0;
    if (o->controls != o->first_controls) {
        quota_free(o->controls);
        o->controls = o->first_controls;
        o->control_capacity = OUTBOX_CONTROLS;
    }
    o->control_count = 0;
    o->close.len = 0;
    o->close.sent = 0;
}

void outbox_free(struct outbox *o, struct net *n)
{
    if (o == NULL) {
        return;
    }
    empty(o);
    ASSERT(o->keyed == 0, "I2: counters are exact");
    if (o->capacity > SPARE_ENTRIES_MAX) {
        quota_free(o->entries);
        o->entries = o->first;
        o->capacity = OUTBOX_INLINE_ENTRIES;
    }
    if (n->spare_outbox_count < SPARE_MAX) {
        list_push_head(&n->spare_outboxes, &o->node);
        n->spare_outbox_count++;
        return;
    }
    if (o->entries != o->first) {
        quota_free(o->entries);
    }
    quota_free(o);
}

void outbox_free_spares(struct net *n)
{
    struct list *node;
    while ((node = list_pop_head(&n->spare_outboxes)) != NULL) {
        struct outbox *o = container_of(node, struct outbox, node);
        if (o->entries != o->first) {
            quota_free(o->entries);
        }
        quota_free(o);
    }
    n->spare_outbox_count = 0;
}

void outbox_clear_entry(struct outbox *o, struct outbox_entry *e)
{
    if (e->key != NULL) {
        quota_free(e->key);
        e->key = NULL;
        o->keyed--;
    }
    blob_unref(e->blob);
    e->blob = NULL;
}

void outbox_forget(struct outbox *o, struct outbox_entry *e)
{
    o->messages -= e->frames;
    o->bytes -= outbox_cost(e->len, e->frames);
    outbox_clear_entry(o, e);
}

void outbox_trim(struct outbox *o)
{
    while (o->head < o->tail && o->entries[o->head].blob == NULL) {
        o->head++;
    }
    while (o->head < o->tail && o->entries[o->tail - 1].blob == NULL) {
        o->tail--;
    }
    if (o->head == o->tail) {
        o->head = 0;
        o->tail = 0;
    }
    if (o->settled < o->head) {
        o->settled = o->head;
    }
    if (o->settled > o->tail) {
        o->settled = o->tail;
    }
}

static void set_control(
    struct outbox_control *c, const uint8_t *frame, size_t len, bool is_pong)
{
    ASSERT(len > 0 && len <= OUTBOX_CONTROL_BYTES, "RFC 6455 5.5");
    c->len = (uint8_t)len;
    c->sent = 0;
    c->is_pong = is_pong;
    memcpy(c->bytes, frame, len);
}

/* The last of its kind that waits. */
static struct outbox_control *find_waiting(struct outbox *o, bool is_pong)
{
    for (uint32_t i = o->control_count; i > 0; i--) {
        struct outbox_control *c = &o->controls[i - 1];
        if (c->sent == 0 && c->is_pong == is_pong) {
            return c;
        }
    }
    return NULL;
}

/* For another of a kind that waits already: the last place is kept for the
 * first of the other. */
static bool has_room_for_control(struct outbox *o)
{
    uint32_t capacity = o->control_capacity;
    if (o->control_count + 1 < capacity) {
        return true;
    }
    capacity =
        capacity * 4 < OUTBOX_CONTROLS_MAX ? capacity * 4 : OUTBOX_CONTROLS_MAX;
    if (capacity == o->control_capacity) {
        return false;
    }
    struct outbox_control *more = quota_alloc(capacity * sizeof(*more));
    if (more == NULL) {
        return false;
    }
    memcpy(more, o->controls, o->control_count * sizeof(*more));
    if (o->controls != o->first_controls) {
        quota_free(o->controls);
    }
    o->controls = more;
    o->control_capacity = capacity;
    return true;
}

void outbox_push_control(struct outbox *o, const uint8_t *frame, size_t len,
    bool is_pong, bool replaces)
{
    struct outbox_control *c = find_waiting(o, is_pong);
    if (c == NULL || (!replaces && has_room_for_control(o))) {
        ASSERT(o->control_count < o->control_capacity, "I2: bounded");
        c = &o->controls[o->control_count++];
    }
    set_control(c, frame, len, is_pong);
}

void outbox_push_close(struct outbox *o, const uint8_t *frame, size_t len)
{
    ASSERT(o->close.len == 0, "RFC 6455 5.5.1: one Close");
    set_control(&o->close, frame, len, false);
}

uint32_t outbox_drop_all(struct outbox *o)
{
    uint32_t dropped = 0;
    for (uint32_t i = o->head; i < o->tail; i++) {
        struct outbox_entry *e = &o->entries[i];
        if (e->blob != NULL && e->frames != 0) {
            dropped += e->frames;
            outbox_forget(o, e);
        }
    }
    outbox_trim(o);
    return dropped;
}

bool outbox_is_empty(const struct outbox *o)
{
    return o->begun.blob == NULL && o->head == o->tail &&
           o->control_count == 0 && o->close.len == 0;
}

uint32_t outbox_messages(const struct outbox *o)
{
    return o->messages;
}

size_t outbox_bytes(const struct outbox *o)
{
    return o->bytes;
}
