/* route.h -- who answers a request. One app at "/" for now; host and path
 * will choose between many. */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include "net/conn.h"

struct app;

struct route {
    struct app *app;  /* borrowed */
    bool is_stopping; /* everything is refused with 503 */
};

/* What the listener is given. */
struct conn_router route_router(struct route *route);

#endif
