/* manifest_priv.h -- how the settings of app.conf.lua are read: the file and
 * its keys are in manifest.c, limits in manifest_limits.c, what a value may
 * look like in manifest_read.c. */
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

/* manifest.c: as manifest_begin(), with all that *p names there. */
int manifest_begin_file(struct manifest_parse *p) NODISCARD;

/* manifest_limits.c: the keys that limit something. */
void manifest_read_message(
    lua_State *L, struct manifest_parse *p, const char *path);
void manifest_read_inbox(
    lua_State *L, struct manifest_parse *p, const char *path);
void manifest_read_outbox(
    lua_State *L, struct manifest_parse *p, const char *path);
void manifest_read_limits(
    lua_State *L, struct manifest_parse *p, const char *path);
void manifest_read_rate(
    lua_State *L, struct manifest_parse *p, const char *path);
void manifest_read_answer(
    lua_State *L, struct manifest_parse *p, const char *path);
/* The whole of a file of ceilings. */
void manifest_read_ceilings(lua_State *L, struct manifest_parse *p);

/* ceilings.c: what is over a ceiling comes down to it. */
void ceilings_bend(const struct settings *most, struct settings *s);

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
