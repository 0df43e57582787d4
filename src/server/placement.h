/* placement.h -- on which loop a connection lives. */
#ifndef SERVER_PLACEMENT_H
#define SERVER_PLACEMENT_H

#include "app/app.h"

struct placement_loop {
    uint32_t load;        /* 0 to 1000 */
    uint64_t connections; /* the one in question counts where it is */
};

/* The loop for a connection that is on `here`, of an app whose home is `home`.
 * PLACEMENT_HOME: its home; SPREAD: the loop with the fewest connections, or
 * here if that has hardly more; AUTO: home, until that is busy and another one
 * is not. */
uint32_t placement_choose(enum placement how,
    const struct placement_loop *loops, uint32_t count, uint32_t home,
    uint32_t here);

#endif
