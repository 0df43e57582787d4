/* ceilings.h -- how far the apps of a server may set their limits.
 *
 * An app's author writes app.conf.lua, and is not to be trusted with the
 * server. So the operator may say what the most is: a file in the form of
 * app.conf.lua, with the limits alone. It is read once, before any app is. */
#ifndef APP_CEILINGS_H
#define APP_CEILINGS_H

#include "base/base.h"

struct ceilings;

/* 0; or an error with one line in `why`, which names the file. Without a path
 * (NULL) they are those of base/limits.h. */
int ceilings_read(struct ceilings **out, const char *path, char *why,
    size_t why_bytes) NODISCARD;
void ceilings_free(struct ceilings *c); /* NULL is fine */

#endif
