/* watch_ground.c -- notices that the path to watched directories leads
 * elsewhere now.
 *
 * No event tells that something above a directory was replaced: a release that
 * is moved into place, a link that is pointed at the next one. So the
 * directories in which roots lie are looked at now and then, each once,
 * however many roots it has: ten thousand apps that lie side by side and do
 * nothing cost nothing.
 *
 * That a root itself is moved or deleted, its own events tell (watch.c). */
#include "base/mem.h"
#include "loop/watch.h"
#include "loop/watch_priv.h"
#include <string.h>
#include <sys/stat.h>

/* Roots that are to be looked at, one after the other: so many in one ms. */
#define DOUBTS_PER_MS 4

struct watch_ground {
    struct list node; /* in loop->grounds */
    struct list watches;
    struct loop *loop;
    struct timer poll;
    struct watch_identity identity;
    char dir[];
};

struct watch_identity watch_identify(const char *dir)
{
    struct stat st;
    if (stat(dir, &st) != 0) {
        return (struct watch_identity){0};
    }
    return (struct watch_identity){.dev = st.st_dev, .ino = st.st_ino};
}

bool watch_is_same(
    const struct watch_identity *a, const struct watch_identity *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

static void on_poll(struct timer *t)
{
    struct watch_ground *g = container_of(t, struct watch_ground, poll);
    struct watch_identity now = watch_identify(g->dir);
    uint64_t n = 0;
    timer_start(g->loop, &g->poll, WATCH_POLL_MS);
    if (watch_is_same(&now, &g->identity)) {
        return;
    }
    g->identity = now;
    list_each (node, &g->watches) {
        watch_doubt(container_of(node, struct watch, in_ground),
            WATCH_DEBOUNCE_MS + n++ / DOUBTS_PER_MS);
    }
}

static struct watch_ground *new_ground(
    struct loop *l, const char *dir, size_t len)
{
    struct watch_ground *g = mem_zalloc(sizeof(*g) + len + 1);
    memcpy(g->dir, dir, len);
    g->loop = l;
    g->identity = watch_identify(g->dir);
    list_init(&g->watches);
    list_push_head(&l->grounds, &g->node);
    timer_init(&g->poll, on_poll);
    timer_start(l, &g->poll, WATCH_POLL_MS);
    return g;
}

/* The part of a path that leads to where its last name stands. */
static const char *split(const char *path, size_t *len)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        *len = 1;
        return ".";
    }
    *len = slash == path ? 1 : (size_t)(slash - path);
    return path;
}

void watch_ground_join(struct watch *w)
{
    size_t len;
    const char *dir = split(w->dir, &len);
    w->ground = NULL;
    list_each (node, &w->loop->grounds) {
        struct watch_ground *g = container_of(node, struct watch_ground, node);
        if (strlen(g->dir) == len && memcmp(g->dir, dir, len) == 0) {
            w->ground = g;
            break;
        }
    }
    if (w->ground == NULL) {
        w->ground = new_ground(w->loop, dir, len);
    }
    list_push_tail(&w->ground->watches, &w->in_ground);
}

void watch_ground_leave(struct watch *w)
{
    struct watch_ground *g = w->ground;
    list_remove(&w->in_ground);
    if (list_is_empty(&g->watches)) {
        list_remove(&g->node);
        timer_stop(&g->poll);
        mem_free(g);
    }
}
