/* watch.c -- notices that an app's files have changed.
 *
 * One uv_fs_event for each directory. They are opened anew whenever the tree
 * may have another shape: a directory that was deleted and made again has the
 * same name, often even the same inode number, and yet the old handle is dead.
 * Opening anew what is watched already costs little, as the kernel knows it.
 * A new directory is watched before it is read, and the report comes after
 * that, so what is written into it meanwhile is not missed.
 *
 * Where the system has no events or none left, a slow poll looks at the time
 * stamps of the whole tree. One looks at the root's identity while there is
 * no root, and when it is a symbolic link, which may be pointed elsewhere
 * without an event. What lies above the root is watch_ground.c's.
 *
 * Called by app/reload. Reads directories on the loop's thread: their number
 * is bounded, and files are looked at only in the second case. */
#include "loop/watch.h"
#include "base/mem.h"
#include "loop/watch_priv.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCH_MAGIC     0x57415443u /* "WATC" */
#define WATCH_FILES_MAX 4096
#define WATCH_DEPTH_MAX 16
/* A tree that is written to without a pause is reported this often. */
#define WATCH_DEBOUNCE_MAX_MS (10 * WATCH_DEBOUNCE_MS)

/* Memory of its own: libuv lets go of it later than the watch does. */
struct watch_handle {
    struct list node;
    uv_fs_event_t event;
    struct watch *watch;
};

/* One walk through the tree. */
struct look {
    struct watch *watch;
    char path[PATH_MAX];
    unsigned dirs;
    unsigned files;
    bool opens_handles;
    uint64_t stamps;
};

/* ---- handles ---- */

static void on_closed(uv_handle_t *handle)
{
    mem_free(container_of((uv_fs_event_t *)handle, struct watch_handle, event));
}

static void close_handles(struct list *handles)
{
    struct list *node;
    while ((node = list_pop_head(handles)) != NULL) {
        struct watch_handle *h = container_of(node, struct watch_handle, node);
        h->watch = NULL;
        uv_close((uv_handle_t *)&h->event, on_closed);
    }
}

static void wait_for_silence(struct watch *w)
{
    uint64_t now_ms = loop_now_ms(w->loop);
    if (!timer_is_started(&w->debounce)) {
        w->first_event_ms = now_ms;
    } else if (now_ms - w->first_event_ms >=
               WATCH_DEBOUNCE_MAX_MS - WATCH_DEBOUNCE_MS) {
        return;
    }
    timer_start(w->loop, &w->debounce, WATCH_DEBOUNCE_MS);
}

/* `name` is that of an entry, or the directory's own, or unknown. */
static void on_event(
    uv_fs_event_t *event, const char *name, int events, int status)
{
    struct watch_handle *h = container_of(event, struct watch_handle, event);
    struct watch *w = h->watch;
    if (w == NULL) {
        return;
    }
    if (status < 0 || events & UV_RENAME) {
        w->is_stale = true;
    }
    /* An editor's swap file is nobody's concern. The root may have a hidden
     * name, though, and then reports about itself under that. */
    if (status == 0 && name != NULL && name[0] == '.') {
        const char *slash = strrchr(w->dir, '/');
        if (strcmp(name, slash != NULL ? slash + 1 : w->dir) != 0) {
            return;
        }
    }
    wait_for_silence(w);
}

static void open_handle(struct watch *w, const char *path)
{
    struct watch_handle *h = mem_zalloc(sizeof(*h));
    h->watch = w;
    list_push_tail(&w->handles, &h->node);
    int rc = uv_fs_event_init(&w->loop->uv, &h->event);
    ASSERT(rc == 0, "uv_fs_event_init does not fail");
    if (w->loop->has_no_fs_events ||
        uv_fs_event_start(&h->event, on_event, path, 0) != 0) {
        w->has_blind_spots = true;
    }
}

/* ---- looking ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* Added up, so the order of the entries does not matter. */
static void add_stamps(struct look *k, const struct stat *st)
{
    uint64_t h = 1;
    for (const char *p = k->path; *p != '\0'; p++) {
        h = mix(h, (uint8_t)*p);
    }
    h = mix(h, (uint64_t)st->st_ino);
    h = mix(h, (uint64_t)st->st_size);
    h = mix(h, (uint64_t)st->st_mtim.tv_sec);
    h = mix(h, (uint64_t)st->st_mtim.tv_nsec);
    h = mix(h, (uint64_t)st->st_ctim.tv_sec);
    h = mix(h, (uint64_t)st->st_ctim.tv_nsec);
    k->stamps += h;
}

static void look_into(struct look *k, size_t path_len, int fd, int depth);

/* A directory that could not be opened because something ran short is not
 * gone: it is looked for again. */
static void note_shortage(struct watch *w, int err)
{
    if (err == EMFILE || err == ENFILE || err == ENOMEM) {
        w->has_blind_spots = true;
    }
}

/* Lets a file or directory count; `entry` is its path for the moment. */
static void look_at(struct look *k, size_t path_len, int dir_fd,
    const struct dirent *entry, int depth)
{
    struct stat st;
    size_t name_len = strlen(entry->d_name);
    bool may_be_dir = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
    if (entry->d_name[0] == '.' || path_len + 1 + name_len >= sizeof(k->path) ||
        /* Events tell of files, so they are only asked where those lack. */
        (!may_be_dir && !k->watch->has_blind_spots) ||
        fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return;
    }
    k->path[path_len] = '/';
    memcpy(k->path + path_len + 1, entry->d_name, name_len + 1);
    if (S_ISDIR(st.st_mode)) {
        int fd = openat(dir_fd, entry->d_name,
            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) {
            look_into(k, path_len + 1 + name_len, fd, depth + 1);
        } else {
            note_shortage(k->watch, errno);
        }
    } else if (k->files < WATCH_FILES_MAX) {
        k->files++;
        add_stamps(k, &st);
    }
    k->path[path_len] = '\0';
}

/* Takes `fd`, the directory whose path stands in k->path. */
static void look_into(struct look *k, size_t path_len, int fd, int depth)
{
    struct stat st;
    if (k->dirs == WATCH_DIRS_MAX || depth > WATCH_DEPTH_MAX) {
        close(fd);
        return;
    }
    k->dirs++;
    if (k->opens_handles) {
        open_handle(k->watch, k->path);
    }
    DIR *dir = fstat(fd, &st) == 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        close(fd);
        return;
    }
    add_stamps(k, &st);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        look_at(k, path_len, fd, entry, depth);
    }
    closedir(dir);
}

/* The sum of the tree's time stamps; 0: there is no such directory. */
static uint64_t look(struct watch *w, bool opens_handles)
{
    struct look k = {.watch = w, .opens_handles = opens_handles};
    size_t len = strlen(w->dir);
    memcpy(k.path, w->dir, len + 1);
    int fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        look_into(&k, len, fd, 0);
    } else {
        note_shortage(w, errno);
    }
    return k.stamps;
}

static bool is_link(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* Watches the tree as it is now. The old handles go last: the kernel's watch
 * of a directory that is still there is handed on and loses nothing. */
static void open_anew(struct watch *w)
{
    struct list old;
    list_init(&old);
    list_append_all(&old, &w->handles);
    w->is_stale = false;
    w->has_blind_spots = false;
    w->root = watch_identify(w->dir);
    w->stamps = look(w, true);
    if (w->has_blind_spots) {
        /* Part of the first walk did not know yet that files count. */
        w->stamps = look(w, false);
    }
    if (w->has_blind_spots || w->root.ino == 0 || is_link(w->dir)) {
        timer_start(w->loop, &w->poll, WATCH_POLL_MS);
    } else {
        timer_stop(&w->poll);
    }
    close_handles(&old);
}

/* ---- telling ---- */

static void on_silence(struct timer *t)
{
    struct watch *w = container_of(t, struct watch, debounce);
    if (w->is_stale) {
        open_anew(w);
    } else if (w->has_blind_spots) {
        w->stamps = look(w, false);
    }
    w->fn(w->arg); /* may free us */
}

static void on_poll(struct timer *t)
{
    struct watch *w = container_of(t, struct watch, poll);
    timer_start(w->loop, &w->poll, WATCH_POLL_MS);
    struct watch_identity root = watch_identify(w->dir);
    if (!watch_is_same(&root, &w->root) ||
        (w->has_blind_spots && look(w, false) != w->stamps)) {
        w->is_stale = true;
        wait_for_silence(w);
    }
}

void watch_doubt(struct watch *w, uint64_t ms)
{
    w->is_stale = true;
    if (!timer_is_started(&w->debounce)) {
        w->first_event_ms = loop_now_ms(w->loop);
        timer_start(w->loop, &w->debounce, ms);
    }
}

struct watch *watch_new(
    struct loop *l, const char *dir, void (*fn)(void *arg), void *arg)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    close(fd);
    struct watch *w = mem_zalloc(sizeof(*w));
    w->magic = WATCH_MAGIC;
    w->loop = l;
    w->fn = fn;
    w->arg = arg;
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') {
        len--;
    }
    w->dir = mem_strndup(dir, len);
    list_init(&w->handles);
    timer_init(&w->debounce, on_silence);
    timer_init(&w->poll, on_poll);
    watch_ground_join(w);
    open_anew(w);
    return w;
}

void watch_hand_on(struct watch *w, void (*fn)(void *arg), void *arg)
{
    CHECK(w, WATCH_MAGIC);
    w->fn = fn;
    w->arg = arg;
}

void watch_free(struct watch *w)
{
    CHECK(w, WATCH_MAGIC);
    close_handles(&w->handles);
    watch_ground_leave(w);
    timer_stop(&w->debounce);
    timer_stop(&w->poll);
    w->magic = 0;
    mem_free(w->dir);
    mem_free(w);
}
