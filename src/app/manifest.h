/* manifest.h -- app.conf.lua -> settings; parse only.
 *
 * The file is Lua that returns plain data. It runs in a throw-away state
 * without any library, under a bound of instructions. Unknown keys are errors
 * that name file, line and the nearest known key; values out of range name
 * the range. */
#ifndef APP_MANIFEST_H
#define APP_MANIFEST_H

#include "app/app.h"
#include "app/snapshot.h"
#include "net/conn.h"

struct setting_pair {
    char *name;
    char *value;
};

struct settings {
    struct conn_settings conn; /* message, ping, outbox */
    uint32_t cpu_ms;           /* per event (enforced by a later version) */
    size_t memory_bytes;
    uint32_t clients;
    enum placement placement;
    bool concurrent;
    char **origins; /* ends with NULL; NULL: same origin only */
    struct setting_pair *env;
    size_t env_count;
};

/* Defaults from base/limits.h. */
void settings_init(struct settings *s);
void settings_fini(struct settings *s);
/* Reads app.conf.lua of the snapshot over the defaults; without that file
 * the defaults stay. 0, or an error with a text in `why` and `s` left as
 * settings_init() makes it. */
int manifest_read(const struct snapshot *snap, struct settings *s, char *why,
    size_t why_bytes) NODISCARD;

#endif
