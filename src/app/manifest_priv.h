/* manifest_priv.h -- how the settings of app.conf.lua are read: the file and
 * its keys are in manifest.c, what a value may look like in manifest_read.c. */
#ifndef APP_MANIFEST_PRIV_H
#define APP_MANIFEST_PRIV_H

#include "app/manifest.h"

#define MANIFEST_FILE "app.conf.lua"

struct manifest_key {
    const char *name;
    void (*read)(lua_State *L, struct manifest_parse *p, const char *path);
};

/* Raises `what` with the file and the line that sets `path` ("outbox.soft";
 * "" is the whole). Returns an int for the compiler's sake. */
int manifest_complain(lua_State *L, const struct manifest_parse *p,
    const char *path, const char *what);

/* manifest_compress.c */
void compress_settings_init(struct compress_settings *c);
void manifest_read_compress(
    lua_State *L, struct manifest_parse *p, const char *path);

/* Each reads the value on top of the stack, or complains. */
uint64_t manifest_read_bytes(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t low, uint64_t high);
uint64_t manifest_read_ms(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t low, uint64_t high);
uint64_t manifest_read_count(lua_State *L, struct manifest_parse *p,
    const char *path, uint64_t low, uint64_t high);
/* The index of the word. */
int manifest_read_word(lua_State *L, struct manifest_parse *p, const char *path,
    const char *const *words, size_t n);
/* A table of these keys and no others; each has its reader. */
void manifest_read_keys(lua_State *L, struct manifest_parse *p,
    const char *path, const struct manifest_key *keys, size_t n);

#endif
