/* placement.c -- on which loop a connection lives: one decision, in one place.
 *
 * At home its messages reach their handlers without a letter. Elsewhere each
 * costs one, but its reads, its writes and its share of a fan-out are another
 * core's work. What pays when is measured in docs/PERFORMANCE.md.
 *
 * A connection moves once, so the answer is given for good. Moving costs
 * little, but more than nothing: where there is hardly a difference, a
 * connection stays where the kernel put it. */
#include "server/placement.h"

#define BUSY       800 /* of 1000: home has no time for more */
#define WORTH_MORE 150 /* another one has so much more time than home */
#define ALIKE      50  /* as good as the same */

/* Where the connection is, unless another one has notably less to do: the
 * figures are a tenth of a second old, and a burst would all go to one. */
static uint32_t least_loaded(
    const struct placement_loop *loops, uint32_t count, uint32_t here)
{
    uint32_t best = here;
    for (uint32_t i = 0; i < count; i++) {
        if (loops[i].load + ALIKE < loops[best].load) {
            best = i;
        }
    }
    return best;
}

static uint32_t spread(
    const struct placement_loop *loops, uint32_t count, uint32_t here)
{
    uint32_t best = here;
    uint64_t fewest = loops[here].connections - 1;
    uint64_t enough = fewest;
    for (uint32_t i = 0; i < count; i++) {
        if (loops[i].connections < fewest) {
            fewest = loops[i].connections;
            best = i;
        }
    }
    return enough <= fewest + fewest / 32 ? here : best;
}

uint32_t placement_choose(enum placement how,
    const struct placement_loop *loops, uint32_t count, uint32_t home,
    uint32_t here)
{
    if (count == 1 || how == PLACEMENT_HOME) {
        return home;
    }
    if (how == PLACEMENT_SPREAD) {
        return spread(loops, count, here);
    }
    uint32_t best = least_loaded(loops, count, here);
    bool is_worth_it = loops[home].load > BUSY &&
                       loops[best].load + WORTH_MORE < loops[home].load;
    return is_worth_it ? best : home;
}
