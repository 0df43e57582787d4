/* worlds.h -- two loops in one thread, turned by hand, that know each other. */
#ifndef TESTS_NET_WORLDS_H
#define TESTS_NET_WORLDS_H

#include "world.h"

struct worlds {
    struct world a;
    struct world b;
    struct net *nets[2];
};

static inline void worlds_init(struct worlds *ws)
{
    world_init_at(&ws->a, 0);
    world_init_at(&ws->b, 1);
    ws->nets[0] = ws->a.net;
    ws->nets[1] = ws->b.net;
    net_meet(ws->a.net, ws->nets, 2, &ws->a.router, &ws->a.settings);
    net_meet(ws->b.net, ws->nets, 2, &ws->b.router, &ws->b.settings);
    ws->a.move_to = 1;
    ws->b.move_to = 0;
}

static inline bool worlds_are_quiet(struct worlds *ws)
{
    return mailbox_is_quiet(ws->a.loop) && mailbox_is_quiet(ws->b.loop);
}

/* One turn of each, and more until no letter is under way. */
static inline void worlds_turn(struct worlds *ws)
{
    for (int turns = 0; turns == 0 || !worlds_are_quiet(ws); turns++) {
        assert_true(turns < 10000);
        loop_turn(ws->a.loop, 0);
        loop_turn(ws->b.loop, 0);
    }
}

static inline void worlds_fini(struct worlds *ws)
{
    mem_fail_at(0);
    worlds_turn(ws);
    /* What waits at one may be bytes of the other. */
    net_kill_all(ws->a.net, false);
    net_kill_all(ws->b.net, false);
    worlds_turn(ws);
    world_fini(&ws->a);
    world_fini(&ws->b);
}

/* Turns of both until this client sees nothing new any more. */
static inline void worlds_settle(struct worlds *ws, struct client *c)
{
    for (int i = 0; i < 8; i++) {
        worlds_turn(ws);
        client_settle(c);
    }
}

#endif
