/* snapshot.h -- an app's Lua files, read at one moment.
 *
 * Every *.lua below the directory (public/ and hidden names left out, no
 * symbolic links followed), at most LIMIT_SNAPSHOT_BYTES and
 * LIMIT_SNAPSHOT_FILES. After reading, everything is looked at again; if
 * something changed meanwhile it is read anew, a few times. `require` reads
 * here, never the disk, so a reload sees one version of all files (I8). */
#ifndef APP_SNAPSHOT_H
#define APP_SNAPSHOT_H

#include "base/err.h"

struct snapshot_file {
    char *name; /* "main.lua", "lib/words.lua" */
    char *data; /* NUL-terminated, the NUL not counted */
    size_t len;
};

struct snapshot {
    struct snapshot_file *files; /* sorted by name */
    size_t count;
    size_t bytes;
    uint8_t hash[32]; /* over names and contents: has anything changed? */
    uint32_t refs;
};

/* 0; or an error with one line for people in `why`: ERR_NOT_FOUND (no
 * directory, or no main.lua in it), ERR_TOO_BIG, ERR_CHANGED (files kept
 * changing), or a system error. */
int snapshot_read(const char *dir, struct snapshot **out, char *why,
    size_t why_bytes) NODISCARD;
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL is fine */
const struct snapshot_file *snapshot_find(
    const struct snapshot *s, const char *name);

#endif
