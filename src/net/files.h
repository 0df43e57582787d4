/* files.h -- static files below one directory, and nothing else.
 *
 * GET and HEAD; content types by extension; ETag (size, mtime, inode) with
 * If-None-Match -> 304; a directory serves its index.html and never a
 * listing; "/x" -> "/x/" redirects. A path is walked component by component
 * with O_NOFOLLOW below an open directory, so neither ".." nor a symbolic
 * link leaves it; names that begin with a dot are not there. */
#ifndef NET_FILES_H
#define NET_FILES_H

#include "net/conn.h"

struct files;

/* The directory is opened anew for each request: it may come later, and be
 * replaced as a whole, as build tools do. It must not be a symbolic link
 * itself. */
struct files *files_new(const char *dir) NODISCARD;
/* NULL is fine; bodies on their way live on. */
void files_free(struct files *f);
/* Answers `r` on `c`: the file, 304, 301, 404 or 405. `path` is the decoded
 * path below the directory. */
void files_serve(struct files *f, struct conn *c, const struct http_request *r,
    const char *path);
/* The same, but for what is not there: then it answers nothing and returns
 * false. */
bool files_serve_if(struct files *f, struct conn *c,
    const struct http_request *r, const char *path);

#endif
