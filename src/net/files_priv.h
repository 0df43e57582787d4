/* files_priv.h -- the parts of files.c that tests look at one by one. */
#ifndef NET_FILES_PRIV_H
#define NET_FILES_PRIV_H

#include "base/base.h"

#define FILES_ETAG_BYTES 80

struct found_file {
    int fd; /* the finder's caller owns it */
    uint64_t size;
    const char *type; /* media type; static */
    bool is_index;    /* a directory was asked for */
    char etag[FILES_ETAG_BYTES];
};

/* Opens the regular file that `path` (decoded) means below dir_fd. 0 or a
 * negated errno, -ENOENT for all that is not there for the world. */
int files_find(int dir_fd, const char *path, struct found_file *out) NODISCARD;
const char *files_type(const char *name);
/* RFC 9110 13.1.2: is `etag` in the list of an If-None-Match value? */
bool files_etag_matches(const char *list, const char *etag);
/* Does the path of a request target end in '/'? */
bool files_ends_in_slash(const char *target);
/* "./NAME/?query" for a target whose path ends in NAME. 0 or ERR_TOO_BIG. */
int files_write_location(const char *target, char *out, size_t cap) NODISCARD;

#endif
