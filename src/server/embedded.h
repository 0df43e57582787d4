/* embedded.h -- files of lua/ that are built into the program (written by
 * cmake/embed.cmake). */
#ifndef SERVER_EMBEDDED_H
#define SERVER_EMBEDDED_H

#include <stddef.h>

struct embedded {
    const char *path; /* below the embedded directory: "public/index.html" */
    const unsigned char *bytes; /* a NUL follows, not counted */
    size_t len;
};

/* lua/templates/new: what `moonwire new` writes. */
const struct embedded *new_templates(size_t *count);

#endif
