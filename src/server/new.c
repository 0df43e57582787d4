/* new.c -- writes a small working app.
 *
 * The files are those of lua/templates/new, built in; "@NAME@" in them is the
 * app's name. An existing directory is never written to, so there is nothing
 * to overwrite, and what a failure leaves half done is taken away again. */
#include "server/new.h"
#include "base/base.h"
#include "server/cli.h"
#include "server/embedded.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MARK  "@NAME@"
#define NAME_BYTES 64
#define NAME_CHARS                                                             \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static bool is_name(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= NAME_BYTES && name[0] != '-' &&
           strspn(name, NAME_CHARS) == len;
}

static bool path_of(char *out, size_t cap, const char *name, const char *file)
{
    int n = snprintf(out, cap, "%s/%s", name, file);
    return n > 0 && (size_t)n < cap;
}

/* Makes the directories above the file; those that are there are fine. */
static int make_parents(char *path)
{
    for (char *p = strchr(path, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        int rc = mkdir(path, 0777);
        *p = '/';
        if (rc != 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

/* The text with every mark replaced by the name. */
static bool write_text(FILE *f, const struct embedded *file, const char *name)
{
    const char *p = (const char *)file->bytes;
    const char *end = p + file->len;
    while (p < end) {
        const char *mark = strstr(p, NAME_MARK);
        size_t n = mark != NULL ? (size_t)(mark - p) : (size_t)(end - p);
        if (fwrite(p, 1, n, f) != n) {
            return false;
        }
        p += n;
        if (mark != NULL) {
            if (fputs(name, f) == EOF) {
                return false;
            }
            p += strlen(NAME_MARK);
        }
    }
    return true;
}

static int write_file(const struct embedded *file, const char *name)
{
    char path[PATH_MAX];
    if (!path_of(path, sizeof(path), name, file->path)) {
        return -ENAMETOOLONG;
    }
    int rc = make_parents(path);
    if (rc != 0) {
        return rc;
    }
    FILE *f = fopen(path, "wx");
    if (f == NULL) {
        return -errno;
    }
    bool ok = write_text(f, file, name);
    rc = ok ? 0 : -errno;
    if (fclose(f) != 0 && ok) {
        rc = -errno;
    }
    return rc;
}

/* Takes away what this run wrote: it alone made the directory. */
static void take_back(
    const char *name, const struct embedded *files, size_t count)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < count; i++) {
        if (path_of(path, sizeof(path), name, files[i].path)) {
            (void)unlink(path);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!path_of(path, sizeof(path), name, files[i].path)) {
            continue;
        }
        for (char *p; (p = strrchr(path, '/')) != NULL;) {
            *p = '\0';
            (void)rmdir(path);
        }
    }
}

int new_app(const char *name)
{
    if (!is_name(name)) {
        (void)fprintf(stderr,
            "moonwire: \"%s\" is no name for an app: letters, digits, - and "
            "_, at most %d\n",
            name, NAME_BYTES);
        return EXIT_USAGE;
    }
    if (mkdir(name, 0777) != 0) {
        (void)fprintf(stderr, "moonwire: cannot make %s: %s\n", name,
            errno == EEXIST ? "it is already there" : strerror(errno));
        return EXIT_FAILED;
    }
    size_t count;
    const struct embedded *files = new_templates(&count);
    for (size_t i = 0; i < count; i++) {
        int rc = write_file(&files[i], name);
        if (rc != 0) {
            (void)fprintf(stderr, "moonwire: cannot write %s/%s: %s\n", name,
                files[i].path, strerror(-rc));
            take_back(name, files, count);
            return EXIT_FAILED;
        }
    }
    (void)printf("%s is there:\n\n", name);
    for (size_t i = 0; i < count; i++) {
        (void)printf("  %s/%s\n", name, files[i].path);
    }
    (void)printf("\nNow:\n\n  moonwire run %s\n\nand open "
                 "http://127.0.0.1:8080 in two tabs. Change main.lua while\n"
                 "they are open: it is reloaded under them.\n",
        name);
    return EXIT_OK;
}
