/* snapshot.c -- an app's Lua files, read at one moment.
 *
 * The directory is walked with descriptors (openat, O_NOFOLLOW), so no
 * symbolic link leads out of it, and a file is judged by fstat before a byte
 * of it is read (I6). "One moment" is made by looking twice: what the walk saw
 * (name, size, times, inode) is compared with what a second walk sees; if an
 * editor was at work in between, everything is read anew. */
#include "app/snapshot.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX   16
#define TRIES       5
#define RETRY_NS    20000000
#define NAME_BYTES  512
#define ENTRIES_MAX 65536u /* of whatever kind: a walk ends */

/* A file as a walk saw it. */
struct seen {
    char *name;
    int64_t size;
    int64_t mtime_s;
    int64_t mtime_ns;
    uint64_t inode;
};

struct walk {
    struct seen *files;
    size_t count;
    size_t cap;
    uint32_t entries;
    int64_t bytes;
    char *why;
    size_t why_bytes;
};

static void walk_fini(struct walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        mem_free(w->files[i].name);
    }
    mem_free(w->files);
}

static int fail(struct walk *w, int err, const char *what, const char *name)
{
    (void)snprintf(w->why, w->why_bytes, "%s%s%s", name,
        name[0] != '\0' ? ": " : "", what);
    return err;
}

static bool is_lua(const char *name)
{
    size_t n = strlen(name);

    return n > 4 && strcmp(name + n - 4, ".lua") == 0;
}

static int note_file(struct walk *w, const char *name, const struct stat *st)
{
    if (w->count == LIMIT_SNAPSHOT_FILES) {
        char text[64];
        (void)snprintf(
            text, sizeof(text), "more than %d Lua files", LIMIT_SNAPSHOT_FILES);
        return fail(w, ERR_TOO_BIG, text, "");
    }
    w->bytes += st->st_size;
    if (w->bytes > LIMIT_SNAPSHOT_BYTES) {
        char text[64];
        (void)snprintf(text, sizeof(text), "more than %d MiB of Lua files",
            LIMIT_SNAPSHOT_BYTES / (1024 * 1024));
        return fail(w, ERR_TOO_BIG, text, "");
    }
    if (w->count == w->cap) {
        w->cap = w->cap == 0 ? 16 : w->cap * 2;
        w->files = mem_realloc(w->files, w->cap * sizeof(*w->files));
    }
    struct seen *s = &w->files[w->count++];
    s->name = mem_strndup(name, strlen(name));
    s->size = st->st_size;
    s->mtime_s = st->st_mtim.tv_sec;
    s->mtime_ns = st->st_mtim.tv_nsec;
    s->inode = st->st_ino;
    return 0;
}

static int walk_dir(struct walk *w, int dir_fd, const char *prefix, int depth);

static int walk_entry(
    struct walk *w, int dir_fd, const char *prefix, const char *name, int depth)
{
    char path[NAME_BYTES];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s%s", prefix, name);

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? 0 : fail(w, -errno, strerror(errno), name);
    }
    bool is_dir =
        S_ISDIR(st.st_mode) && !(depth == 0 && strcmp(name, "public") == 0);
    bool is_ours = is_lua(name) && (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
    if (!is_dir && !is_ours) {
        return 0;
    }
    if (n < 0 || (size_t)n + 1 >= sizeof(path)) {
        return fail(w, ERR_TOO_BIG, "the path is too long", name);
    }
    if (S_ISREG(st.st_mode)) {
        return note_file(w, path, &st);
    }
    if (S_ISLNK(st.st_mode)) {
        return fail(w, ERR_DENIED,
            "is a symbolic link; an app's files lie in its directory", path);
    }
    if (depth == DEPTH_MAX) {
        return fail(w, ERR_TOO_BIG, "is too deep", path);
    }
    int fd =
        openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : fail(w, -errno, strerror(errno), path);
    }
    path[n] = '/';
    path[n + 1] = '\0';
    return walk_dir(w, fd, path, depth + 1);
}

/* Takes the descriptor. */
static int walk_dir(struct walk *w, int dir_fd, const char *prefix, int depth)
{
    DIR *dir = fdopendir(dir_fd);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        rc = fail(w, -errno, strerror(errno), prefix);
        (void)close(dir_fd);
        return rc;
    }
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (++w->entries > ENTRIES_MAX) {
            rc = fail(w, ERR_TOO_BIG,
                "more than 65536 files and directories beside public/", "");
        } else if (entry->d_name[0] != '.') {
            rc = walk_entry(w, dirfd(dir), prefix, entry->d_name, depth);
        }
    }
    (void)closedir(dir);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const struct seen *x = a;
    const struct seen *y = b;

    return strcmp(x->name, y->name);
}

static int walk(struct walk *w, int root, char *why, size_t why_bytes)
{
    memset(w, 0, sizeof(*w));
    w->why = why;
    w->why_bytes = why_bytes;
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail(w, -errno, strerror(errno), "");
    }
    int rc = walk_dir(w, fd, "", 0);
    if (rc == 0 && w->count > 1) {
        qsort(w->files, w->count, sizeof(*w->files), by_name);
    }
    return rc;
}

static bool is_same(const struct walk *a, const struct walk *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct seen *x = &a->files[i];
        const struct seen *y = &b->files[i];
        if (strcmp(x->name, y->name) != 0 || x->size != y->size ||
            x->mtime_s != y->mtime_s || x->mtime_ns != y->mtime_ns ||
            x->inode != y->inode) {
            return false;
        }
    }
    return true;
}

/* ---- reading ---- */

/* Opens "a/b.lua" below root without following a link at any step. */
static int open_below(int root, const char *name)
{
    int dir = root;

    for (;;) {
        char part[NAME_BYTES];
        const char *slash = strchr(name, '/');
        size_t n = slash != NULL ? (size_t)(slash - name) : strlen(name);
        memcpy(part, name, n);
        part[n] = '\0';
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK |
                    (slash != NULL ? O_DIRECTORY : 0);
        int fd = openat(dir, part, flags);
        int err = errno;
        if (dir != root) {
            (void)close(dir);
        }
        if (fd < 0 || slash == NULL) {
            return fd < 0 ? -err : fd;
        }
        dir = fd;
        name = slash + 1;
    }
}

/* ERR_CHANGED: not what the walk saw. */
static int read_file(int root, const struct seen *seen,
    struct snapshot_file *out, char *why, size_t why_bytes)
{
    size_t size = (size_t)seen->size;
    int fd = open_below(root, seen->name);

    if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR) {
        return ERR_CHANGED;
    }
    if (fd < 0) {
        (void)snprintf(why, why_bytes, "%s: %s", seen->name, strerror(-fd));
        return fd;
    }
    out->data = quota_alloc(size + 1);
    if (out->data == NULL) {
        (void)close(fd);
        (void)snprintf(why, why_bytes, "%s: no memory", seen->name);
        return ERR_NOMEM;
    }
    size_t at = 0;
    ssize_t n = 1;
    while (at <= size && n > 0) {
        /* One byte more than expected, to notice a file that grew. */
        n = read(fd, out->data + at, size + 1 - at);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    if (n < 0 || at != size) {
        return ERR_CHANGED;
    }
    out->data[size] = '\0';
    out->len = size;
    out->name = mem_strndup(seen->name, strlen(seen->name));
    return 0;
}

static void hash_files(struct snapshot *s)
{
    uint8_t step[2 * 32 + 32];

    memset(step, 0, sizeof(step));
    for (size_t i = 0; i < s->count; i++) {
        const struct snapshot_file *f = &s->files[i];
        digest_hash(DIGEST_SHA256, f->name, strlen(f->name), step + 32);
        digest_hash(DIGEST_SHA256, f->data, f->len, step + 64);
        digest_hash(DIGEST_SHA256, step, sizeof(step), s->hash);
        memcpy(step, s->hash, sizeof(s->hash));
    }
}

static int read_once(
    int root, struct snapshot **out, char *why, size_t why_bytes)
{
    struct walk before;
    struct walk after;
    struct snapshot *s = NULL;
    int rc = walk(&before, root, why, why_bytes);

    if (rc != 0) {
        walk_fini(&before);
        return rc;
    }
    s = mem_zalloc(sizeof(*s));
    s->refs = 1;
    s->files = mem_zalloc((before.count + 1) * sizeof(*s->files));
    for (size_t i = 0; i < before.count && rc == 0; i++) {
        rc = read_file(root, &before.files[i], &s->files[i], why, why_bytes);
        s->bytes += s->files[i].len;
        s->count++;
    }
    if (rc == 0) {
        rc = walk(&after, root, why, why_bytes);
        if (rc == 0 && !is_same(&before, &after)) {
            rc = ERR_CHANGED;
        }
        walk_fini(&after);
    }
    walk_fini(&before);
    if (rc != 0) {
        snapshot_unref(s);
        return rc;
    }
    hash_files(s);
    *out = s;
    return 0;
}

/* Some other directory's may have been meant, or another command. */
static void tell_no_main(const struct snapshot *s, char *why, size_t why_bytes)
{
    const char *slash = NULL;
    const char *name = NULL;

    for (size_t i = 0; i < s->count && slash == NULL; i++) {
        name = s->files[i].name;
        slash = strchr(name, '/');
        if (slash != NULL && strcmp(slash, "/main.lua") != 0) {
            slash = NULL;
        }
    }
    if (slash == NULL) {
        (void)snprintf(
            why, why_bytes, "there is no main.lua in this directory");
        return;
    }
    (void)snprintf(why, why_bytes,
        "there is no main.lua in this directory, but in %.*s/: "
        "`moonwire serve` is for a directory of apps",
        (int)(slash - name), name);
}

int snapshot_read(
    const char *dir, struct snapshot **out, char *why, size_t why_bytes)
{
    int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = ERR_CHANGED;

    *out = NULL;
    if (root < 0) {
        int err = errno;
        (void)snprintf(why, why_bytes, "%s",
            err == ENOENT    ? "there is no such directory"
            : err == ENOTDIR ? "it is not a directory"
                             : strerror(err));
        return err == ENOENT ? ERR_NOT_FOUND : -err;
    }
    for (int i = 0; i < TRIES && rc == ERR_CHANGED; i++) {
        if (i > 0) {
            const struct timespec pause = {0, RETRY_NS};
            (void)nanosleep(&pause, NULL);
        }
        rc = read_once(root, out, why, why_bytes);
    }
    (void)close(root);
    if (rc == ERR_CHANGED) {
        (void)snprintf(why, why_bytes, "the files keep changing while read");
    } else if (rc == 0 && snapshot_find(*out, "main.lua") == NULL) {
        tell_no_main(*out, why, why_bytes);
        snapshot_unref(*out);
        *out = NULL;
        rc = ERR_NOT_FOUND;
    }
    return rc;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    s->refs++;
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (s == NULL || --s->refs > 0) {
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->files[i].name);
        quota_free(s->files[i].data);
    }
    mem_free(s->files);
    mem_free(s);
}

const struct snapshot_file *snapshot_find(
    const struct snapshot *s, const char *name)
{
    size_t low = 0;
    size_t high = s->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(s->files[mid].name, name);
        if (order == 0) {
            return &s->files[mid];
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}
