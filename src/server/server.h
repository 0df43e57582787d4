/* server.h -- `moonwire run` and `moonwire serve`: boot, signals, graceful
 * stop. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/base.h"

struct config;

/* Serves until it is told to stop; returns the exit code. What kept it from
 * starting has been logged. */
int server_run(const struct config *config);

/* An app's name from its directory: the last part of the path, with whatever
 * a name may not hold as "-", cut to 64 bytes. */
#define SERVER_NAME_BYTES 65
void server_app_name(const char *dir, char out[SERVER_NAME_BYTES]);

#endif
