/* new.h -- `moonwire new NAME`. */
#ifndef SERVER_NEW_H
#define SERVER_NEW_H

/* Writes the template app into ./NAME and tells what to do next. Returns the
 * exit code; a failure has been told on stderr and left nothing behind. */
int new_app(const char *name);

#endif
