/* observe.h -- the operator's port, with what is to be seen there. */
#ifndef SERVER_OBSERVE_H
#define SERVER_OBSERVE_H

#include "base/base.h"

struct server;

/* Opens it where it was asked for. 0, or an error that has been logged. */
int observe_open(struct server *s) NODISCARD;
/* Closes it, so that the next server can have it; a second time is fine. */
void observe_close(struct server *s);
/* When all connections are gone. */
void observe_free(struct server *s);

#endif
