/* sites.c -- the table of the apps that this server hosts.
 *
 * Made by server.c before any loop runs, asked by route.c on every loop, worked
 * on by tenancy.c, each site on its home loop. A directory whose name cannot
 * be part of a path as it stands is passed over with a word in the log: half
 * an app is worse than one that is missing. */
#include "server/sites.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/server.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_CHARS                                                             \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static void init_site(struct site *site, const char *name, const char *dir)
{
    *site = (struct site){
        .name = mem_strndup(name, strlen(name)),
        .dir = mem_strndup(dir, strlen(dir)),
    };
    word_set(&site->state, SITE_LOADING);
}

void sites_init_one(struct sites *s, const char *dir)
{
    char name[SERVER_NAME_BYTES];

    *s = (struct sites){.list = mem_alloc(sizeof(*s->list)), .count = 1};
    map_init(&s->by_name);
    server_app_name(dir, name);
    init_site(&s->list[0], name, dir);
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < SERVER_NAME_BYTES &&
           strspn(name, NAME_CHARS) == len;
}

/* A directory with a main.lua in it. One that is something else than a file
 * was meant to be an app as well, and is spoken of. */
static bool is_app(const char *dir)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/main.lua", dir);

    if (n < 0 || (size_t)n >= sizeof(path) || lstat(path, &st) != 0) {
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        log_event(LOG_WARN, NULL, "%s is not served: its main.lua is %s", dir,
            S_ISLNK(st.st_mode) ? "a symbolic link" : "no regular file");
        return false;
    }
    return true;
}

/* Room for one more, in doublings. */
static struct site *add_site(struct sites *s)
{
    if ((s->count & (s->count + 1)) == 0) {
        s->list = mem_realloc(s->list, (s->count * 2 + 1) * sizeof(*s->list));
    }
    return &s->list[s->count++];
}

static void look_at(struct sites *s, const char *dir, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (name[0] == '.' || n < 0 || (size_t)n >= sizeof(path) || !is_app(path)) {
        return;
    }
    if (!is_name(name)) {
        log_event(LOG_WARN, NULL,
            "%s is not served: a name is 1 to %d of A-Z a-z 0-9 _ -", path,
            SERVER_NAME_BYTES - 1);
        return;
    }
    init_site(add_site(s), name, path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(
        ((const struct site *)a)->name, ((const struct site *)b)->name);
}

int sites_init_below(
    struct sites *s, const char *dir, char *why, size_t why_bytes)
{
    *s = (struct sites){.is_mounted = true};
    map_init(&s->by_name);
    DIR *d = opendir(dir);
    if (d == NULL) {
        int rc = -errno;
        (void)snprintf(why, why_bytes, "%s", err_text(rc));
        return rc;
    }
    /* Nobody else reads this stream, and no other thread runs yet. */
    const struct dirent *e;
    while ((e = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        look_at(s, dir, e->d_name);
    }
    (void)closedir(d);
    if (s->count == 0) {
        (void)snprintf(why, why_bytes, "no directory below it has a main.lua");
        return -ENOENT;
    }
    qsort(s->list, s->count, sizeof(*s->list), by_name);
    for (size_t i = 0; i < s->count; i++) {
        struct site *site = &s->list[i];
        if (map_put(&s->by_name, site->name, strlen(site->name), site) != 0) {
            (void)snprintf(why, why_bytes, "%s", err_text(ERR_NOMEM));
            return ERR_NOMEM;
        }
    }
    return 0;
}

void sites_fini(struct sites *s)
{
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->list[i].name);
        mem_free(s->list[i].dir);
    }
    map_fini(&s->by_name);
    mem_free(s->list);
}

struct site *sites_find(
    const struct sites *s, const char *path, const char **rest)
{
    *rest = path;
    if (!s->is_mounted) {
        return &s->list[0];
    }
    const char *name = path + (*path == '/');
    size_t len = strcspn(name, "/");
    *rest = name + len;
    return map_get(&s->by_name, name, len);
}

enum site_state site_get_state(const struct site *site)
{
    return (enum site_state)word_get(&site->state);
}
