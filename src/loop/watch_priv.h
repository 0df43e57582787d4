/* watch_priv.h -- shared by watch.c, which sees to a tree, and
 * watch_ground.c, which sees to what lies above it. */
#ifndef LOOP_WATCH_PRIV_H
#define LOOP_WATCH_PRIV_H

#include "base/list.h"
#include "loop/loop_priv.h"
#include <sys/types.h>

/* Who a directory is, apart from its name; all zero: it is not there. */
struct watch_identity {
    dev_t dev;
    ino_t ino;
};

struct watch {
    uint32_t magic;
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
    char *dir;
    struct list handles; /* of struct watch_handle */
    struct timer debounce;
    struct timer poll;
    struct list in_ground;
    struct watch_ground *ground;
    uint64_t first_event_ms; /* of those that wait for the debounce timer */
    struct watch_identity root;
    uint64_t stamps; /* sum over the tree, while has_blind_spots */
    bool is_stale;   /* the tree may have another shape */
    /* Part of the tree has no events: look at the time stamps. */
    bool has_blind_spots;
};

/* watch.c: looks at all of it anew, in a moment. */
void watch_doubt(struct watch *w, uint64_t ms);

/* watch_ground.c */
struct watch_identity watch_identify(const char *dir);
bool watch_is_same(
    const struct watch_identity *a, const struct watch_identity *b);
void watch_ground_join(struct watch *w);
void watch_ground_leave(struct watch *w);

#endif
