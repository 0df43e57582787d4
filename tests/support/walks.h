/* walks.h -- whole walks over a hub, as api_hub.c makes them: in one go, or as
 * if a tick waited all the time, so that each step ends where it first may.
 * Between two steps of those anything can be done to the hub. */
#ifndef TESTS_WALKS_H
#define TESTS_WALKS_H

#include "hub/hub.h"
#include "script/preempt.h"
#include <string.h>

static struct {
    bool is_stopped;           /* at each step */
    void (*between)(uint32_t); /* NULL: nothing; so many steps were made */
    uint32_t steps;            /* of the last walk */
} walks;

static inline void walks_before_step(void)
{
    preempt_pending = walks.is_stopped;
}

static inline void walks_after_step(void)
{
    preempt_pending = 0;
    walks.steps++;
    if (walks.between != NULL) {
        walks.between(walks.steps);
    }
}

static inline void hub_broadcast(struct hub *h, const struct hub_target *to,
    const struct hub_message *msg, uint32_t *queued, uint32_t *dropped)
{
    bool is_done = false;
    hub_cast_begin(h, to, msg);
    walks.steps = 0;
    while (!is_done) {
        walks_before_step();
        is_done = hub_cast_step(h);
        walks_after_step();
    }
    hub_cast_end(h, queued, dropped);
}

/* At most `cap` of the ids; returns how many. */
static inline size_t walks_list(struct hub *h, uint64_t *ids, size_t cap)
{
    size_t n = 0;
    bool is_done = false;
    walks.steps = 0;
    while (!is_done) {
        walks_before_step();
        is_done = hub_list_step(h, ids, cap, &n);
        walks_after_step();
    }
    hub_list_end(h);
    return n;
}

static inline size_t room_ids(
    struct hub *h, const char *room, uint64_t *ids, size_t cap)
{
    struct hub_name name = {room, room != NULL ? strlen(room) : 0};
    hub_list_room(h, room != NULL ? &name : NULL);
    return walks_list(h, ids, cap);
}

static inline size_t user_ids(
    struct hub *h, const char *user, size_t len, uint64_t *ids, size_t cap)
{
    struct hub_name name = {user, len};
    hub_list_user(h, &name);
    return walks_list(h, ids, cap);
}

#endif
