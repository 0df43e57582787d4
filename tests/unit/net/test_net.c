/* The road out: lanes, the flush, and what happens to those who lag. */
#include "world.h"

struct scene {
    struct world w;
    struct client c;
};

static void begin(struct scene *s, enum pair kind)
{
    world_init(&s->w);
    client_open(&s->c, &s->w, kind);
}

static void end(struct scene *s)
{
    client_fini(&s->c);
    world_fini(&s->w);
    assert_int_equal(s->c.closed, s->c.opened);
}

static int send_as(struct client *c, const char *text,
    enum outbox_policy policy, const char *key)
{
    struct range r = world_frame(c->world, FRAME_TEXT, text, strlen(text));
    return net_send(c->world->net, c->id.slot, &r, policy, key,
        key != NULL ? strlen(key) : 0);
}

static void messages_of_a_turn_leave_in_one_send(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    /* The first turn teaches the tape how much a turn is. */
    for (int turn = 0; turn < 2; turn++) {
        uint64_t sends = world_metric(&s.w, METRIC_SENDS);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(client_send(&s.c, "hello", 5), 0);
        }
        client_turns(&s.c, 1);
#ifndef MOONWIRE_TINY
        assert_int_equal(world_metric(&s.w, METRIC_SENDS), sends + 1);
        assert_null(s.c.conn->outbox);
#else
        (void)sends;
#endif
        client_settle(&s.c);
        for (int i = 0; i < 100; i++) {
            client_expect(&s.c, FRAME_BINARY, "hello", 5);
        }
        client_expect_nothing(&s.c);
    }
    assert_int_equal(world_metric(&s.w, METRIC_FRAMES_OUT), 200);
    end(&s);
}

static void stretches_of_two_tapes_keep_their_order(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    struct tape other;
    tape_init(&other, false);
    for (int i = 0; i < 40; i++) {
        struct range r;
        char text[16];
        sprintf(text, "%d", i);
        struct tape *t = i % 2 ? &other : &s.w.tape;
        assert_int_equal(tape_frame(t, s.w.net, s.w.meter, FRAME_BINARY, false,
                             text, strlen(text), &r),
            0);
        assert_int_equal(
            net_send(s.w.net, s.c.id.slot, &r, OUTBOX_CLOSE, NULL, 0), 0);
    }
    uint64_t sends = world_metric(&s.w, METRIC_SENDS);
    client_turns(&s.c, 1);
#ifndef MOONWIRE_TINY
    assert_int_equal(world_metric(&s.w, METRIC_SENDS), sends + 1);
    assert_null(s.c.conn->outbox);
#else
    (void)sends;
#endif
    client_settle(&s.c);
    for (int i = 0; i < 40; i++) {
        char text[16];
        sprintf(text, "%d", i);
        client_expect(&s.c, FRAME_BINARY, text, strlen(text));
    }
    tape_fini(&other);
    end(&s);
}

static void burst_of_500_costs_nobody_the_connection(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    for (int i = 0; i < 500; i++) {
        (void)world_frame(&s.w, FRAME_TEXT, "gap", 3);
        assert_int_equal(client_send(&s.c, &i, sizeof(i)), 0);
    }
    client_settle(&s.c);
    for (int i = 0; i < 500; i++) {
        client_expect(&s.c, FRAME_BINARY, &i, sizeof(i));
    }
    assert_int_equal(s.c.closed, 0);
    end(&s);
}

static bool always(void)
{
    return true;
}

/* Of one that the hard bound would act on: one system call at a time, and only
 * until there is room. `sends`: so many were made. */
static void send_over_the_bound(bool can_wait, unsigned *steps, uint64_t *sends)
{
    static char text[8000];
    struct scene s;
    struct tape other;
    struct range r;
    begin(&s, PAIR_UNIX);
    s.w.settings.outbox.hard_bytes = 20000;
    conn_lane(s.c.conn)->hard_bytes = 20000;
    tape_init(&other, false);
    for (int i = 0; i < 250; i++) {
        struct tape *t = i % 2 ? &other : &s.w.tape;
        assert_int_equal(
            tape_frame(t, s.w.net, s.w.meter, FRAME_BINARY, false, "x", 1, &r),
            0);
        assert_int_equal(
            net_send(s.w.net, s.c.id.slot, &r, OUTBOX_CLOSE, NULL, 0), 0);
    }
    assert_true(net_must_write(s.w.net, s.c.id.slot, sizeof(text)));
    assert_false(net_must_write(s.w.net, s.c.id.slot, 1));
    r = world_frame(&s.w, FRAME_BINARY, text, sizeof(text));
    *sends = world_metric(&s.w, METRIC_SENDS);
    s.w.net->is_due = can_wait ? always : NULL;
    int rc;
    *steps = 0;
    do {
        rc = net_send(s.w.net, s.c.id.slot, &r, OUTBOX_CLOSE, NULL, 0);
        ++*steps;
        assert_true(
            world_metric(&s.w, METRIC_SENDS) <= *sends + *steps || !can_wait);
    } while (rc == NET_MORE);
    assert_int_equal(rc, 0);
    s.w.net->is_due = NULL;
    *sends = world_metric(&s.w, METRIC_SENDS) - *sends;
    client_settle(&s.c);
    for (int i = 0; i < 250; i++) {
        client_expect(&s.c, FRAME_BINARY, "x", 1);
    }
    client_expect(&s.c, FRAME_BINARY, text, sizeof(text));
    tape_fini(&other);
    end(&s);
}

static void what_is_written_early_can_be_left_off_at_each_call(void **state)
{
    (void)state;
    unsigned steps;
    uint64_t sends;
#ifdef MOONWIRE_TINY
    skip(); /* its sockets are full after the first */
#endif
    send_over_the_bound(false, &steps, &sends);
    assert_int_equal(steps, 1);
    assert_int_equal(sends, 2); /* of 64 frames each, not all of four */
    send_over_the_bound(true, &steps, &sends);
    assert_int_equal(steps, sends);
}

static void burst_over_the_hard_bound_is_written_early(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.w.settings.outbox.hard_bytes = 10000;
    conn_lane(s.c.conn)->hard_bytes = 10000;
    static char text[1000];
    for (int i = 0; i < 30; i++) {
        memset(text, 'a' + i % 26, sizeof(text));
#ifdef MOONWIRE_TINY
        client_settle(&s.c);
#endif
        assert_int_equal(client_send(&s.c, text, sizeof(text)), 0);
    }
    client_settle(&s.c);
    for (int i = 0; i < 30; i++) {
        memset(text, 'a' + i % 26, sizeof(text));
        client_expect(&s.c, FRAME_BINARY, text, sizeof(text));
    }
    assert_int_equal(s.c.closed, 0);
    end(&s);
}

#ifndef MOONWIRE_TINY /* at three bytes a call these take too long */

/* Fills the kernel for a client that does not read, so that the socket is
 * known to be full. Returns how many messages were taken. */
static int block(struct client *c)
{
    static char filler[10000];
    int n = 0;
    memset(filler, 'f', sizeof(filler));
    while (!conn_awaits_write(c->conn)) {
        assert_int_equal(client_send(c, filler, sizeof(filler)), 0);
        n++;
        loop_turn(c->world->loop, 0);
        assert_int_equal(c->closed, 0);
    }
    return n;
}

static void expect_fillers(struct client *c, int n)
{
    for (int i = 0; i < n; i++) {
        struct seen f = {0};
        assert_true(client_next(c, &f));
        assert_int_equal(f.n, 10000);
    }
}

static void message_as_large_as_the_bound_reaches_a_healthy_client(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    size_t n = s.w.settings.outbox.hard_bytes;
    char *p = calloc(1, n);
    assert_int_equal(client_send(&s.c, p, n), 0);
    client_settle(&s.c);
    client_expect(&s.c, FRAME_BINARY, p, n);
    assert_int_equal(client_send(&s.c, "on", 2), 0);
    client_settle(&s.c);
    client_expect(&s.c, FRAME_BINARY, "on", 2);
    free(p);
    end(&s);
}

static void client_over_the_hard_bound_is_closed_with_1013(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    static char text[100000];
    int sent = 0;
    int rc = 0;
    for (; sent < 100 && rc == 0; sent++) {
        rc = client_send(&s.c, text, sizeof(text));
        if (rc == 0 && sent % 3 == 0) {
            loop_turn(s.w.loop, 0);
        }
    }
    assert_int_equal(rc, ERR_FULL);
    /* Nobody is called from inside net_send(). */
    assert_int_equal(s.c.closed, 0);
    assert_int_equal(client_send(&s.c, "more", 4), ERR_CLOSED);
    loop_turn(s.w.loop, 0);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 1013);
    assert_string_equal(s.c.close_reason, "slow");
    assert_int_equal(world_metric(&s.w, METRIC_SLOW_CLOSED), 1);
    /* The reader that wakes up gets whole frames and the Close. */
    client_settle(&s.c);
    struct seen f = {0};
    int whole = 0;
    while (client_next(&s.c, &f) && f.op == FRAME_BINARY) {
        assert_int_equal(f.n, sizeof(text));
        whole++;
    }
    assert_int_equal(f.op, FRAME_CLOSE);
    assert_memory_equal(f.p, "\x03\xf5slow", 6);
    client_expect_nothing(&s.c);
    assert_true(s.c.eof);
    assert_true(whole < sent);
    assert_int_equal(
        world_metric(&s.w, METRIC_DROPPED_CLOSE) + (uint64_t)whole, sent);
    end(&s);
}

static void client_over_the_soft_bound_is_closed_when_it_lasts(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.soft_messages = 20;
    s.w.settings.outbox.soft_ms = 60;
    client_open(&s.c, &s.w, PAIR_UNIX);
    block(&s.c);
    for (int i = 0; i < 25; i++) {
        assert_int_equal(client_send(&s.c, "x", 1), 0);
    }
    loop_turn(s.w.loop, 0);
    assert_int_equal(s.c.closed, 0);
    /* Without any further push. */
    uint64_t began = loop_clock_ns();
    for (int i = 0; i < 500 && s.c.closed == 0; i++) {
        loop_turn(s.w.loop, 10);
    }
    assert_int_equal(s.c.close_code, 1013);
    assert_true(loop_clock_ns() - began > 30u * 1000 * 1000);
    assert_int_equal(world_metric(&s.w, METRIC_SLOW_CLOSED), 1);
    end(&s);
}

static void client_that_catches_up_in_time_stays(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.soft_messages = 20;
    s.w.settings.outbox.soft_ms = 60;
    client_open(&s.c, &s.w, PAIR_UNIX);
    int fillers = block(&s.c);
    for (int i = 0; i < 25; i++) {
        assert_int_equal(client_send(&s.c, "x", 1), 0);
    }
    loop_turn(s.w.loop, 0);
    client_settle(&s.c);
    for (int i = 0; i < 12; i++) {
        loop_turn(s.w.loop, 10);
    }
    assert_int_equal(s.c.closed, 0);
    expect_fillers(&s.c, fillers);
    for (int i = 0; i < 25; i++) {
        client_expect(&s.c, FRAME_BINARY, "x", 1);
    }
    assert_int_equal(s.c.conn->over_ms, 0);
    assert_null(s.c.conn->outbox);
    end(&s);
}

static void soft_bound_of_a_dropping_room_closes_nobody(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.soft_messages = 5;
    s.w.settings.outbox.soft_ms = 20;
    client_open(&s.c, &s.w, PAIR_UNIX);
    int fillers = block(&s.c);
    char text[16];
    for (int i = 0; i < 40; i++) {
        sprintf(text, "%d", i);
        assert_int_equal(send_as(&s.c, text, OUTBOX_DROP_OLDEST, NULL), 0);
        loop_turn(s.w.loop, 5);
    }
    assert_int_equal(s.c.closed, 0);
    struct conn_queue q;
    conn_queue(s.c.conn, &q);
    assert_int_equal(q.messages, 5);
    assert_int_equal(q.dropped, world_metric(&s.w, METRIC_DROPPED_OLDEST));
    client_settle(&s.c);
    /* All that was not dropped, the newest to the last. */
    struct seen f = {0};
    int n = 0;
    while (client_next(&s.c, &f)) {
        n++;
    }
    assert_memory_equal(f.p, "39", 2);
    assert_int_equal((uint64_t)n + q.dropped, fillers + 40);
    end(&s);
}

static void newest_is_refused_where_the_policy_says_so(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.hard_bytes = 50000;
    client_open(&s.c, &s.w, PAIR_UNIX);
    int fillers = block(&s.c);
    int taken = 0;
    int rc = 0;
    char text[4000];
    memset(text, 'n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while (rc == 0) {
        rc = send_as(&s.c, text, OUTBOX_DROP_NEWEST, NULL);
        taken += rc == 0;
    }
    assert_int_equal(rc, ERR_FULL);
    assert_int_equal(world_metric(&s.w, METRIC_DROPPED_NEWEST), 1);
    client_settle(&s.c);
    assert_int_equal(s.c.closed, 0);
    expect_fillers(&s.c, fillers);
    for (int i = 0; i < taken; i++) {
        client_expect(&s.c, FRAME_TEXT, text, sizeof(text) - 1);
    }
    client_expect_nothing(&s.c);
    end(&s);
}

static void laggard_gets_the_newest_of_each_key(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    int fillers = block(&s.c);
    char text[16];
    for (int i = 0; i < 300; i++) {
        sprintf(text, "a%d", i);
        assert_int_equal(send_as(&s.c, text, OUTBOX_CLOSE, "a"), 0);
        sprintf(text, "b%d", i);
        assert_int_equal(send_as(&s.c, text, OUTBOX_CLOSE, "b"), 0);
        if (i % 7 == 0) {
            loop_turn(s.w.loop, 0);
        }
    }
    struct conn_queue q;
    conn_queue(s.c.conn, &q);
    assert_int_equal(q.dropped, 598);
    client_settle(&s.c);
    expect_fillers(&s.c, fillers);
    client_expect(&s.c, FRAME_TEXT, "a299", 4);
    client_expect(&s.c, FRAME_TEXT, "b299", 4);
    client_expect_nothing(&s.c);
    end(&s);
}

static void pongs_overtake_the_queue_of_a_laggard(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    block(&s.c);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(client_send(&s.c, "queued", 6), 0);
    }
    client_frame(&s.c, FRAME_PING, "first", 5);
    client_frame(&s.c, FRAME_PING, "second", 6);
    loop_turn(s.w.loop, 0);
    client_settle(&s.c);
    struct seen f = {0};
    int at = 0;
    int pong_at = -1;
    int first_queued = -1;
    for (; client_next(&s.c, &f); at++) {
        if (f.op == FRAME_PONG) {
            assert_int_equal(pong_at, -1);
            assert_memory_equal(f.p, "second", 6);
            pong_at = at;
        } else if (f.n == 6 && first_queued < 0) {
            first_queued = at;
        }
    }
    assert_true(pong_at >= 0 && pong_at < first_queued);
    end(&s);
}

static void marks_are_told_outside_of_sending_and_once_each(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.soft_messages = 40;
    client_open(&s.c, &s.w, PAIR_UNIX);
    block(&s.c);
    s.c.slow = 0; /* the fillers may have crossed the mark in bytes */
    s.c.conn->flags &= (uint16_t)~CONN_TOLD_SLOW;
    for (int i = 0; i < 21; i++) {
        assert_int_equal(client_send(&s.c, "x", 1), 0);
        assert_int_equal(s.c.slow, 0);
    }
    loop_turn(s.w.loop, 0);
    assert_int_equal(s.c.slow, 1);
    assert_int_equal(client_send(&s.c, "x", 1), 0);
    loop_turn(s.w.loop, 0);
    assert_int_equal(s.c.slow, 1);
    assert_int_equal(s.c.drain, 0);
    client_settle(&s.c);
    assert_int_equal(s.c.slow, 1);
    assert_int_equal(s.c.drain, 1);
    end(&s);
}

static void close_it(struct client *c)
{
    conn_close(c->conn, 4000, "too slow for me", 15);
}

static void handler_may_close_from_on_slow(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.soft_messages = 10;
    client_open(&s.c, &s.w, PAIR_UNIX);
    s.c.on_slow = close_it;
    block(&s.c);
    for (int i = 0; i < 9; i++) {
        (void)client_send(&s.c, "x", 1);
    }
    loop_turn(s.w.loop, 0);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 4000);
    client_settle(&s.c);
    struct seen f = {0};
    while (client_next(&s.c, &f) && f.op != FRAME_CLOSE) {
    }
    assert_int_equal(f.op, FRAME_CLOSE);
    client_expect_nothing(&s.c);
    end(&s);
}

static void bound_of_the_app_ends_the_laggard(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    block(&s.c);
    assert_int_equal(client_send(&s.c, "kept?", 5), 0);
    /* The app has no room for the copy that the laggard would need. */
    s.w.meter->cap = 0;
    loop_turn(s.w.loop, 0);
    assert_int_equal(s.c.close_code, 1013);
    assert_string_equal(s.c.close_reason, "outbox limit of the app");
    s.w.meter->cap = SIZE_MAX;
    client_settle(&s.c);
    assert_true(s.c.eof);
    end(&s);
}

static void laggards_keep_no_chunk_of_the_turn(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    block(&s.c);
    loop_turn(s.w.loop, 0);
    size_t before = meter_used(s.w.meter);
    static char other[15000];
    for (int i = 0; i < 50; i++) {
        (void)world_frame(&s.w, FRAME_TEXT, other, sizeof(other));
        assert_int_equal(client_send(&s.c, "x", 1), 0);
        loop_turn(s.w.loop, 0);
    }
    assert_true(meter_used(s.w.meter) - before < 50 * 100);
    end(&s);
}

static void reader_of_many_sizes_gets_everything_in_order(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.outbox.soft_messages = 100000;
    client_open(&s.c, &s.w, PAIR_TCP);
    client_narrow(&s.c);
    static char p[30000];
    size_t received = s.c.in_len;
    srand(7);
    int n = 0;
    for (; n < 400; n++) {
        size_t len = (size_t)rand() % (n % 10 == 0 ? sizeof(p) : 100);
        memset(p, n, len);
        assert_int_equal(client_send(&s.c, p, len), 0);
        received += len + frame_header_bytes(len);
        if (n % 4 == 0) {
            loop_turn(s.w.loop, 0);
            client_read(&s.c, (size_t)rand() % 20000);
        }
        if (conn_lane(s.c.conn)->flags & LANE_SLOW &&
            outbox_bytes(s.c.conn->outbox) > 500000) {
            client_until_received(&s.c, s.c.in_len + 200000);
        }
    }
    client_until_received(&s.c, received);
    srand(7);
    for (int i = 0; i < n; i++) {
        size_t len = (size_t)rand() % (i % 10 == 0 ? sizeof(p) : 100);
        if (i % 4 == 0) {
            (void)rand();
        }
        memset(p, i, len);
        client_expect(&s.c, FRAME_BINARY, p, len);
    }
    client_expect_nothing(&s.c);
    end(&s);
}

#endif

#ifdef MOONWIRE_TINY
#    define MEMBERS 20
#else
#    define MEMBERS 300
#endif

static void broadcast_reaches_all_over_slices_in_order(void **state)
{
    (void)state;
    struct world w;
    static struct client c[MEMBERS];
    world_init(&w);
    for (int i = 0; i < MEMBERS; i++) {
        client_open(&c[i], &w, PAIR_UNIX);
    }
    for (int round = 0; round < 10; round++) {
        struct range r = world_frame(&w, FRAME_TEXT, &round, sizeof(round));
        for (int i = 0; i < MEMBERS; i++) {
            assert_int_equal(
                net_send(w.net, c[i].id.slot, &r, OUTBOX_CLOSE, NULL, 0), 0);
        }
        loop_turn(w.loop, 0);
        /* What was not served yet gets the next one merged in. */
        assert_true(w.net->dirty_count > 0);
    }
    client_settle(&c[0]);
    for (int i = 0; i < MEMBERS; i++) {
        client_settle(&c[i]);
        for (int round = 0; round < 10; round++) {
            client_expect(&c[i], FRAME_TEXT, &round, sizeof(round));
        }
        client_expect_nothing(&c[i]);
        assert_int_equal(c[i].closed, 0);
    }
    assert_int_equal(w.net->dirty_count, 0);
    assert_true(list_is_empty(&w.net->tapes));
    assert_int_equal(meter_used(w.meter), 0);
    for (int i = 0; i < MEMBERS; i++) {
        client_fini(&c[i]);
    }
    world_fini(&w);
}

static struct client *others;

static void tell_the_others(struct client *c)
{
    for (int i = 0; i < 3; i++) {
        int rc = client_send(&others[i], "left", 4);
        assert_int_equal(rc, others[i].closed ? ERR_CLOSED : 0);
    }
    (void)c;
}

static void departure_may_be_broadcast(void **state)
{
    (void)state;
    struct world w;
    static struct client c[3];
    world_init(&w);
    others = c;
    for (int i = 0; i < 3; i++) {
        client_open(&c[i], &w, PAIR_UNIX);
        c[i].on_closed = tell_the_others;
    }
    close(c[0].fd);
    c[0].fd = -1;
    client_turns(&c[1], 3);
    conn_close(c[1].conn, 1000, "", 0);
    client_settle(&c[1]);
    client_settle(&c[2]);
    client_expect(&c[1], FRAME_BINARY, "left", 4);
    client_expect_close(&c[1], 1000, "");
    client_expect(&c[2], FRAME_BINARY, "left", 4);
    client_expect(&c[2], FRAME_BINARY, "left", 4);
    for (int i = 0; i < 3; i++) {
        c[i].on_closed = NULL;
        client_fini(&c[i]);
    }
    world_fini(&w);
}

static void slot_is_given_on_while_it_stands_in_the_ring(void **state)
{
    (void)state;
    struct world w;
    struct client a;
    struct client b;
    world_init(&w);
    client_open(&a, &w, PAIR_UNIX);
    assert_int_equal(client_send(&a, "never leaves", 12), 0);
    conn_kill(a.conn, false);
    client_connect(&b, &w, PAIR_UNIX);
    assert_int_equal(b.id.slot, a.id.slot);
    client_ask(&b, UPGRADE_REQUEST);
    client_settle(&b);
    client_expect_101(&b);
    assert_int_equal(client_send(&b, "hello", 5), 0);
    client_settle(&b);
    client_expect(&b, FRAME_BINARY, "hello", 5);
    client_expect_nothing(&b);
    assert_int_equal(world_metric(&w, METRIC_DROPPED_CLOSE), 1);
    client_fini(&a);
    client_fini(&b);
    world_fini(&w);
}

static void dead_socket_is_found_by_the_flush(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    close(s.c.fd);
    s.c.fd = -1;
    assert_int_equal(client_send(&s.c, "x", 1), 0);
    net_flush_all(s.w.net);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 1006);
    assert_int_equal(client_send(&s.c, "x", 1), ERR_CLOSED);
    end(&s);
}

static void idle_connection_costs_no_more_than_promised(void **state)
{
    (void)state;
    assert_true(sizeof(struct conn) <= 184);
    assert_int_equal(sizeof(struct lane), 32);
}

static void queue_is_counted_exactly(void **state)
{
    (void)state;
    struct scene s;
    struct conn_queue q;
    begin(&s, PAIR_UNIX);
    conn_queue(s.c.conn, &q);
    assert_int_equal(q.messages, 0);
    assert_int_equal(q.bytes, 0);
    assert_int_equal(client_send(&s.c, "hello", 5), 0);
    conn_queue(s.c.conn, &q);
    assert_int_equal(q.messages, 1);
    assert_int_equal(q.bytes, 7 + LIMIT_FRAME_OVERHEAD_BYTES);
    (void)world_frame(&s.w, FRAME_TEXT, "gap", 3);
    assert_int_equal(client_send(&s.c, "hello", 5), 0);
    conn_queue(s.c.conn, &q);
    assert_int_equal(q.messages, 2);
    assert_int_equal(q.bytes, 2 * (7 + LIMIT_FRAME_OVERHEAD_BYTES));
    client_settle(&s.c);
    conn_queue(s.c.conn, &q);
    assert_int_equal(q.messages, 0);
    end(&s);
}

/* Several clients, random frames, random readers, random policies: what each
 * reader gets is well-formed, in order, without repetition, and it and the
 * named drops together are what was sent. */
#define CROWD 6

struct story {
    int sent; /* accepted */
    int received;
    int last;
};

static void random_send(struct client *c, struct story *st, int round)
{
    static const enum outbox_policy policies[] = {
        OUTBOX_DROP_OLDEST, OUTBOX_DROP_OLDEST, OUTBOX_DROP_NEWEST};
    static char text[6000];
    size_t pad = (size_t)rand() % (rand() % 10 == 0 ? 5000 : 200);
    memset(text, '.', sizeof(text));
    int n = sprintf(text, "%d ", round);
    text[n] = '.';
    text[(size_t)n + pad] = '\0';
    char key[4];
    sprintf(key, "%d", rand() % 3);
    bool is_keyed = rand() % 5 == 0;
    int rc = send_as(c, text, policies[rand() % 3], is_keyed ? key : NULL);
    if (rc == 0) {
        st->sent++;
    } else {
        assert_int_equal(rc, ERR_FULL);
    }
}

static void random_read(struct client *c, struct story *st, size_t max)
{
    struct seen f = {0};
    client_read(c, max);
    while (client_next(c, &f)) {
        if (f.op == FRAME_PONG) {
            continue;
        }
        assert_int_equal(f.op, FRAME_TEXT);
        int id = atoi((const char *)f.p);
        assert_true(id > st->last);
        for (size_t i = f.n > 12 ? 12 : f.n; i < f.n; i++) {
            assert_int_equal(f.p[i], '.');
        }
        st->last = id;
        st->received++;
    }
}

static void random_crowd_gets_what_was_sent_less_what_was_dropped(void **state)
{
    (void)state;
#ifdef MOONWIRE_TINY
    int rounds = 300;
#else
    int rounds = 4000;
#endif
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct world w;
        static struct client c[CROWD];
        struct story st[CROWD] = {{0}};
        srand(seed);
        world_init(&w);
        w.settings.outbox.hard_bytes = 60000;
        w.settings.outbox.soft_messages = 100;
        w.settings.outbox.soft_ms = 1;
        for (int i = 0; i < CROWD; i++) {
            client_open(&c[i], &w, PAIR_UNIX);
            client_narrow(&c[i]);
        }
        for (int round = 1; round <= rounds; round++) {
            int i = rand() % CROWD;
            random_send(&c[i], &st[i], round);
            if (rand() % 50 == 0) {
                client_frame(&c[i], FRAME_PING, "p", 1);
            }
            if (rand() % 3 == 0) {
                loop_turn(w.loop, 0);
            }
            i = rand() % CROWD;
            if (rand() % (2 + 4 * i) == 0) {
                random_read(&c[i], &st[i], (size_t)rand() % 30000);
            }
        }
        uint64_t dropped = 0;
        for (int i = 0; i < CROWD; i++) {
            struct conn_queue q;
            client_settle(&c[i]);
            random_read(&c[i], &st[i], SIZE_MAX);
            conn_queue(c[i].conn, &q);
            assert_int_equal(q.messages, 0);
            assert_int_equal(c[i].in_at, c[i].in_len);
            assert_true(st[i].received <= st[i].sent);
            dropped += (uint64_t)(st[i].sent - st[i].received);
            assert_int_equal(c[i].closed, 0);
        }
        assert_int_equal(dropped, world_metric(&w, METRIC_DROPPED_OLDEST) +
                                      world_metric(&w, METRIC_DROPPED_KEY));
        for (int i = 0; i < CROWD; i++) {
            client_fini(&c[i]);
        }
        world_fini(&w);
    }
}

/* Fails each allocation on the way of a laggard's frames. */
static void no_failed_allocation_breaks_the_road_out(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        struct scene s;
        begin(&s, PAIR_UNIX);
        int small = 4096;
        setsockopt(conn_lane(s.c.conn)->fd, SOL_SOCKET, SO_SNDBUF, &small,
            sizeof(small));
        static char text[3000];
        mem_fail_at(n);
        int taken = 0;
        for (int i = 0; i < 12; i++) {
            struct range r;
            if (tape_frame(&s.w.tape, s.w.net, s.w.meter, FRAME_BINARY, false,
                    text, sizeof(text), &r) != 0) {
                continue;
            }
            int rc =
                net_send(s.w.net, s.c.id.slot, &r, OUTBOX_DROP_OLDEST, NULL, 0);
            taken += rc == 0;
            if (i % 3 == 0) {
                loop_turn(s.w.loop, 0);
            }
        }
        mem_fail_at(0);
        client_settle(&s.c);
        struct seen f = {0};
        int whole = 0;
        while (client_next(&s.c, &f) && f.op == FRAME_BINARY) {
            assert_int_equal(f.n, sizeof(text));
            whole++;
        }
        if (s.c.closed == 0) {
            assert_int_equal(whole, taken);
        }
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_a_turn_leave_in_one_send),
        cmocka_unit_test(stretches_of_two_tapes_keep_their_order),
        cmocka_unit_test(burst_of_500_costs_nobody_the_connection),
        cmocka_unit_test(burst_over_the_hard_bound_is_written_early),
        cmocka_unit_test(what_is_written_early_can_be_left_off_at_each_call),
#ifndef MOONWIRE_TINY
        cmocka_unit_test(
            message_as_large_as_the_bound_reaches_a_healthy_client),
        cmocka_unit_test(client_over_the_hard_bound_is_closed_with_1013),
        cmocka_unit_test(client_over_the_soft_bound_is_closed_when_it_lasts),
        cmocka_unit_test(client_that_catches_up_in_time_stays),
        cmocka_unit_test(soft_bound_of_a_dropping_room_closes_nobody),
        cmocka_unit_test(newest_is_refused_where_the_policy_says_so),
        cmocka_unit_test(laggard_gets_the_newest_of_each_key),
        cmocka_unit_test(pongs_overtake_the_queue_of_a_laggard),
        cmocka_unit_test(marks_are_told_outside_of_sending_and_once_each),
        cmocka_unit_test(handler_may_close_from_on_slow),
        cmocka_unit_test(bound_of_the_app_ends_the_laggard),
        cmocka_unit_test(laggards_keep_no_chunk_of_the_turn),
        cmocka_unit_test(reader_of_many_sizes_gets_everything_in_order),
#endif
        cmocka_unit_test(broadcast_reaches_all_over_slices_in_order),
        cmocka_unit_test(departure_may_be_broadcast),
        cmocka_unit_test(slot_is_given_on_while_it_stands_in_the_ring),
        cmocka_unit_test(dead_socket_is_found_by_the_flush),
        cmocka_unit_test(idle_connection_costs_no_more_than_promised),
        cmocka_unit_test(queue_is_counted_exactly),
        cmocka_unit_test(random_crowd_gets_what_was_sent_less_what_was_dropped),
        cmocka_unit_test(no_failed_allocation_breaks_the_road_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
