/* files.c -- what an app shows the world besides its WebSocket.
 *
 * Called by the router for a path that no app handler claims. One directory is
 * open; a path is walked from there, name by name, and no step follows a
 * symbolic link, so there is no path to clean and no check to race against.
 * What is looked for is asked what it is before it is opened, and opened
 * without waiting: opening a device can do things, a fifo could block.
 *
 * The length is promised in the head, so a file that shrinks on its way ends
 * the connection: anything else would pass off a part as the whole.
 *
 * Reads from disk block the loop, for as long as the page cache does not
 * have the page; the socket's pace bounds them. There is no cache, no
 * compression, no ranges: a server in front does that better. */
#include "net/files.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/files_priv.h"
#include "net/reply.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct files {
    char *dir;
};

/* ---- finding ---- */

const char *files_type(const char *name)
{
    static const struct {
        const char *extension;
        const char *type;
    } types[] = {
        {"html", "text/html; charset=utf-8"},
        {"htm", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},
        {"js", "text/javascript; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"},
        {"json", "application/json"},
        {"map", "application/json"},
        {"webmanifest", "application/manifest+json"},
        {"wasm", "application/wasm"},
        {"txt", "text/plain; charset=utf-8"},
        {"md", "text/markdown; charset=utf-8"},
        {"xml", "application/xml"},
        {"pdf", "application/pdf"},
        {"svg", "image/svg+xml"},
        {"png", "image/png"},
        {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"},
        {"gif", "image/gif"},
        {"webp", "image/webp"},
        {"avif", "image/avif"},
        {"ico", "image/vnd.microsoft.icon"},
        {"woff", "font/woff"},
        {"woff2", "font/woff2"},
        {"mp3", "audio/mpeg"},
        {"ogg", "audio/ogg"},
        {"wav", "audio/wav"},
        {"mp4", "video/mp4"},
        {"webm", "video/webm"},
    };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < ARRAY_LEN(types); i++) {
        if (strcasecmp(dot + 1, types[i].extension) == 0) {
            return types[i].type;
        }
    }
    return "application/octet-stream";
}

/* Opens one name in a directory. The descriptor, or a negated errno. */
static int open_name(int dir_fd, const char *name, struct stat *st)
{
    if (fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) != 0) {
        return -errno;
    }
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
        return -ENOENT;
    }
    int fd = openat(dir_fd, name,
        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    /* It may be another by now; O_NONBLOCK kept us safe, this keeps it so. */
    if (fstat(fd, st) != 0 ||
        (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))) {
        close(fd);
        return -ENOENT;
    }
    return fd;
}

/* Walks `path` down from dir_fd. The descriptor of its end, or an error. */
static int walk(int dir_fd, const char *path, struct stat *st)
{
    int fd = open_name(dir_fd, ".", st);
    path += *path == '/';
    while (fd >= 0 && *path != '\0') {
        char name[NAME_MAX + 1];
        size_t len = strcspn(path, "/");
        int up = fd;
        /* An empty name would make a second address for the same file; ".",
         * ".." and hidden names are not there for the world. */
        if (len == 0 || len >= sizeof(name) || path[0] == '.') {
            fd = -ENOENT;
        } else {
            memcpy(name, path, len);
            name[len] = '\0';
            fd = open_name(up, name, st);
        }
        close(up);
        path += len;
        if (fd >= 0 && *path == '/') {
            path++;
            if (!S_ISDIR(st->st_mode)) {
                close(fd);
                fd = -ENOTDIR;
            }
        }
    }
    return fd;
}

int files_find(int dir_fd, const char *path, struct found_file *out)
{
    struct stat st;
    int fd = walk(dir_fd, path, &st);
    if (fd < 0) {
        return fd;
    }
    const char *name = strrchr(path, '/');
    name = name != NULL ? name + 1 : path;
    out->is_index = S_ISDIR(st.st_mode);
    if (out->is_index) {
        name = "index.html";
        int up = fd;
        fd = open_name(up, name, &st);
        close(up);
        if (fd < 0) {
            return fd;
        }
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return -ENOENT;
    }
    out->fd = fd;
    out->size = (uint64_t)st.st_size;
    out->type = files_type(name);
    (void)snprintf(out->etag, sizeof(out->etag),
        "\"%" PRIx64 "-%" PRIx64 ".%lx-%" PRIx64 "\"", out->size,
        (uint64_t)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec,
        (uint64_t)st.st_ino);
    return 0;
}

/* ---- conditions and redirects ---- */

bool files_etag_matches(const char *list, const char *etag)
{
    size_t etag_len = strlen(etag);
    const char *p = list + strspn(list, " \t,");
    if (*p == '*') {
        p++;
        return p[strspn(p, " \t")] == '\0';
    }
    while (*p != '\0') {
        /* The weak comparison (8.8.3.2): W/ makes no difference. */
        if (p[0] == 'W' && p[1] == '/') {
            p += 2;
        }
        const char *end = *p == '"' ? strchr(p + 1, '"') : NULL;
        if (end == NULL) {
            return false;
        }
        end++;
        if ((size_t)(end - p) == etag_len && memcmp(p, etag, etag_len) == 0) {
            return true;
        }
        p = end + strspn(end, " \t,");
    }
    return false;
}

static bool has_this_version(const struct http_request *r, const char *etag)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcmp(r->headers[i].name, "if-none-match") == 0 &&
            files_etag_matches(r->headers[i].value, etag)) {
            return true;
        }
    }
    return false;
}

bool files_ends_in_slash(const char *target)
{
    size_t len = strcspn(target, "?#");
    return len > 0 && target[len - 1] == '/';
}

/* Relative to what the client asked for: it cannot lead to another host,
 * whatever the target looks like ("//host/x" does, in an absolute path), and
 * holds below any prefix that the router or a proxy took away. */
int files_write_location(const char *target, char *out, size_t cap)
{
    int path_len = (int)strcspn(target, "?#");
    int start = path_len;
    while (start > 0 && target[start - 1] != '/') {
        start--;
    }
    const char *query = target + path_len; /* a fragment is no query */
    int query_len = *query == '?' ? (int)strcspn(query, "#") : 0;
    int n = snprintf(out, cap, "./%.*s/%.*s", path_len - start, target + start,
        query_len, query);
    return n < 0 || (size_t)n >= cap ? ERR_TOO_BIG : 0;
}

/* ---- answering ---- */

struct file_body {
    struct conn_body base;
    int fd;
    uint64_t left;
};

static ssize_t read_body(struct conn_body *b, uint8_t *p, size_t n)
{
    struct file_body *body = container_of(b, struct file_body, base);
    if (n > body->left) {
        n = (size_t)body->left;
    }
    if (n == 0) {
        return 0;
    }
    ssize_t got;
    do {
        got = read(body->fd, p, n);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return got == 0 ? ERR_CHANGED : -errno;
    }
    body->left -= (uint64_t)got;
    return got;
}

static void close_body(struct conn_body *b)
{
    struct file_body *body = container_of(b, struct file_body, base);
    close(body->fd);
    mem_free(body);
}

static void send_file(struct conn *c, const struct http_request *r,
    const struct found_file *file, bool keep_alive)
{
    char head[1024];
    char extra[256];
    (void)snprintf(extra, sizeof(extra),
        "ETag: %s\r\n"
        "Cache-Control: no-cache\r\n"
        "X-Content-Type-Options: nosniff\r\n",
        file->etag);
    int status = has_this_version(r, file->etag) ? 304 : 200;
    size_t len = reply_head(head, sizeof(head), status,
        status == 200 ? file->type : NULL, file->size, extra, keep_alive);
    ASSERT(len > 0, "the head of a file fits");

    metric_add(loop_metrics(conn_net(c)->loop), METRIC_HTTP_SERVED, 1);
    if (status == 304 || file->size == 0 || strcmp(r->method, "HEAD") == 0) {
        close(file->fd);
        conn_reply(c, head, len, keep_alive);
        return;
    }
    struct file_body *body = mem_alloc(sizeof(*body));
    body->base.read = read_body;
    body->base.close = close_body;
    body->fd = file->fd;
    body->left = file->size;
    conn_reply_body(c, head, len, &body->base, keep_alive);
}

static void redirect(
    struct conn *c, const struct http_request *r, bool is_head, bool keep_alive)
{
    static const char name[] = "Location: ";
    char extra[LIMIT_HEAD_BYTES + 32];
    memcpy(extra, name, sizeof(name));
    if (files_write_location(r->target, extra + sizeof(name) - 1,
            sizeof(extra) - sizeof(name) - 2) != 0) {
        reply_text(c, 414, "the target is too long", NULL, is_head, false);
        return;
    }
    memcpy(extra + strlen(extra), "\r\n", 3);
    reply_text(c, 301, "it is a directory", extra, is_head, keep_alive);
}

static bool is_our_trouble(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -EIO;
}

/* What the walk could not open is not there, except for our own troubles. */
static void refuse(struct conn *c, int err, bool is_head, bool keep_alive)
{
    switch (err) {
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
        reply_text(c, 503, "the server is short of resources",
            "Retry-After: 1\r\n", is_head, keep_alive);
        return;
    case -EIO:
        reply_text(
            c, 500, "the file cannot be read", NULL, is_head, keep_alive);
        return;
    default:
        reply_text(c, 404, "there is nothing here", NULL, is_head, keep_alive);
    }
}

/* False: nothing is there, and nothing was answered. */
static bool serve(struct files *f, struct conn *c, const struct http_request *r,
    const char *path, bool is_all)
{
    bool is_head = strcmp(r->method, "HEAD") == 0;
    /* Nobody reads a body here, and what is left of it must not be taken
     * for the next request. */
    bool keep_alive = r->keep_alive && !r->has_body;
    struct found_file file = {0};
    if (!is_head && strcmp(r->method, "GET") != 0) {
        if (!is_all) {
            return false;
        }
        reply_text(c, 405, "only GET and HEAD are served here",
            "Allow: GET, HEAD\r\n", false, keep_alive);
        return true;
    }
    int dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = dir_fd < 0 ? -errno : files_find(dir_fd, path, &file);
    if (dir_fd >= 0) {
        close(dir_fd);
    }
    if (rc != 0 && !is_all && !is_our_trouble(rc)) {
        return false;
    }
    if (rc != 0) {
        refuse(c, rc, is_head, keep_alive);
    } else if (file.is_index && !files_ends_in_slash(r->target)) {
        /* Else the page's relative links would lead beside the directory. */
        close(file.fd);
        redirect(c, r, is_head, keep_alive);
    } else {
        send_file(c, r, &file, keep_alive);
    }
    return true;
}

void files_serve(struct files *f, struct conn *c, const struct http_request *r,
    const char *path)
{
    (void)serve(f, c, r, path, true);
}

bool files_serve_if(struct files *f, struct conn *c,
    const struct http_request *r, const char *path)
{
    return serve(f, c, r, path, false);
}

/* ---- life ---- */

struct files *files_new(const char *dir)
{
    struct files *f = mem_alloc(sizeof(*f));
    f->dir = mem_strndup(dir, strlen(dir));
    return f;
}

void files_free(struct files *f)
{
    if (f != NULL) {
        mem_free(f->dir);
        mem_free(f);
    }
}
