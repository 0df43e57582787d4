/* manifest.h -- app.conf.lua -> settings; parse only.
 *
 * The file is Lua that returns plain data. It runs in a throw-away state
 * without any library, and has a budget of CPU time. Unknown keys are errors
 * that name file, line and the nearest known key; values out of range name
 * the range. */
#ifndef APP_MANIFEST_H
#define APP_MANIFEST_H

#include "app/app.h"
#include "app/snapshot.h"
#include "net/conn.h"
#include "script/task.h"

struct setting_pair {
    char *name;
    char *value;
};

struct compress_settings {
    struct deflate_policy policy;
    uint32_t threshold_bytes; /* shorter messages are not compressed */
    uint8_t level;
};

/* What may wait for Lua; a quarter of `events` and `bytes` on each loop that
 * is not the app's own. */
struct inbox_limits {
    uint32_t events;
    uint32_t client_events; /* of one client */
    size_t bytes;
};

struct settings {
    struct conn_settings conn; /* message, ping, outbox */
    struct compress_settings compress;
    struct inbox_limits inbox;
    size_t outbox_bytes;  /* of all its outboxes together */
    uint32_t cpu_ms;      /* per event */
    uint32_t load_cpu_ms; /* main.lua, a reload's hand-over */
    uint32_t share; /* of its thread's time, in percent, in the long run */
    size_t memory_bytes;
    uint32_t clients;
    uint32_t rooms;
    uint32_t rooms_per_client;
    uint32_t tasks; /* handlers and tasks under way at once */
    uint32_t timers;
    uint32_t requests;     /* that wait for on_request, or for its end */
    size_t response_bytes; /* of a body that it answers with */
    uint32_t answer_ms;    /* for on_connect and on_request to decide in */
    enum placement placement;
    bool concurrent;
    char **origins; /* ends with NULL; NULL: same origin only */
    struct setting_pair *env;
    size_t env_count;
};

/* Defaults from base/limits.h. */
void settings_init(struct settings *s);
void settings_fini(struct settings *s);
/* Under way: reading app.conf.lua. */
struct manifest_parse {
    struct job job;
    struct vm *vm; /* a throw-away; NULL: there is no such file */
    const struct snapshot_file *file;
    struct settings *settings;
    const struct settings *most; /* what limits may be set to */
    bool is_ceilings;            /* the file says that (ceilings.c) */
    char *why;
    size_t why_bytes;
    size_t text_bytes; /* of origins and env */
    int status;
    bool is_reading; /* the file has run */
};

#define MANIFEST_STOPPED 1 /* go on with manifest_go_on(), at the next turn */

/* Reads app.conf.lua of the snapshot over the defaults in `s`; without that
 * file the defaults stay. `most` is what limits may be set to, and what
 * defaults come down to. 0, MANIFEST_STOPPED, or an error with a text in
 * `why` and `s` as settings_init() makes it. Everything named stays until
 * manifest_end(). On the loop's stack. */
int manifest_begin(struct manifest_parse *p, const struct snapshot *snap,
    const struct settings *most, struct settings *s, char *why,
    size_t why_bytes) NODISCARD;
int manifest_go_on(struct manifest_parse *p) NODISCARD;
/* However far it has come. Harmless if all of *p is zero. */
void manifest_end(struct manifest_parse *p);

/* ---- ceilings.c ---- */

struct ceilings;
/* As settings; NULL: those of base/limits.h. Lives as long as `c`. */
const struct settings *ceilings_most(const struct ceilings *c);

#endif
