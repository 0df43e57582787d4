/* route.h -- who answers a request, and where. */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include "app/app.h"

struct sites;

/* Of one loop. */
struct route {
    const struct sites *sites; /* shared, does not change */
    struct net *net;           /* of this loop */
    enum placement placement;  /* where an app does not say */
    bool is_stopping;          /* everything is refused with 503 */
};

/* What the listener is given. */
struct conn_router route_router(struct route *route);

#endif
