/* watch.h -- tells when files below a directory may have changed.
 *
 * uv_fs_event on the directory and its sub-directories (at most
 * WATCH_DIRS_MAX, hidden ones left out), debounced; a slow poll of time
 * stamps stands in where the system has no events or they run out. Editors
 * replace files in many ways: a report means "look", not "this changed". */
#ifndef LOOP_WATCH_H
#define LOOP_WATCH_H

#include "base/base.h"

#define WATCH_DIRS_MAX    256
#define WATCH_DEBOUNCE_MS 100
#define WATCH_POLL_MS     2000

struct loop;
struct watch;

/* NULL if the directory cannot be opened. `fn` runs on the loop. */
struct watch *watch_new(struct loop *l, const char *dir, void (*fn)(void *arg),
    void *arg) NODISCARD;
/* From now on it tells somebody else, also of what it has seen already. */
void watch_hand_on(struct watch *w, void (*fn)(void *arg), void *arg);
void watch_free(struct watch *w);

#endif
