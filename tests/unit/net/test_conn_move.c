/* test_conn_move.c -- a connection goes to another loop: with all that it has,
 * whole or not at all. */
#include "net/fanout.h"
#include "worlds.h"
#include <fcntl.h>
#include <pthread.h>

struct scene {
    struct worlds ws; /* requests come to a, which sends them to b */
    struct client c;
    int fd; /* of the server's end, before it moved */
};

/* What the routers saw, in both worlds. */
static struct {
    int asked;
    int had_moved;
    bool takes_request; /* over there */
    struct http_parser *taken;
    void (*look)(const struct http_request *r); /* at it, over there */
} router;

static void on_request(
    struct world *w, struct conn *c, const struct http_request *r)
{
    router.asked++;
    router.had_moved += conn_has_moved(c);
    bool is_there = w->move_to == 0;
    if (is_there && router.look != NULL) {
        router.look(r);
    }
    if (is_there && router.takes_request) {
        router.taken = conn_take_request(c);
    }
}

static void begin_with(struct scene *s, enum pair kind, enum route there)
{
    memset(s, 0, sizeof(*s));
    memset(&router, 0, sizeof(router));
    worlds_init(&s->ws);
    s->ws.a.on_request = on_request;
    s->ws.b.on_request = on_request;
    s->ws.a.route = ROUTE_MOVE;
    s->ws.b.route = there;
    client_connect(&s->c, &s->ws.a, kind);
    s->fd = conn_lane(s->c.conn)->fd;
    s->ws.a.arriving = &s->c;
    s->ws.b.arriving = &s->c;
}

static void begin(struct scene *s, enum route there)
{
    begin_with(s, PAIR_UNIX, there);
}

static void end(struct scene *s)
{
    client_fini(&s->c);
    worlds_fini(&s->ws);
    assert_int_equal(s->c.closed, s->c.opened);
}

static uint64_t at_a(struct scene *s, enum metric m)
{
    return world_metric(&s->ws.a, m);
}

static uint64_t at_b(struct scene *s, enum metric m)
{
    return world_metric(&s->ws.b, m);
}

/* Turns of the first loop alone, until the router has been asked: then the
 * connection lies in a letter. */
static void until_it_leaves(struct scene *s)
{
    for (int i = 0; i < 10000 && s->ws.a.requests == 0; i++) {
        loop_turn(s->ws.a.loop, 0);
    }
    assert_int_equal(s->ws.a.requests, 1);
}

static bool is_open_fd(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void expect_it_is_nowhere(struct scene *s)
{
    assert_int_equal(at_a(s, METRIC_CONNS), 0);
    assert_int_equal(at_b(s, METRIC_CONNS), 0);
    assert_false(is_open_fd(s->fd));
    client_read(&s->c, SIZE_MAX);
    assert_int_equal(s->c.in_len, 0);
    assert_true(s->c.eof || s->c.error != 0);
}

/* How many responses the peer has received. */
static int answers(const struct client *c)
{
    int n = 0;
    const uint8_t *p = c->in;
    size_t left = c->in_len;
    const uint8_t *at;
    while (left > 0 && (at = memmem(p, left, "HTTP/1.1 200", 12)) != NULL) {
        left -= (size_t)(at + 12 - p);
        p = at + 12;
        n++;
    }
    return n;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: example.test\r\n\r\n"

/* ---- it arrives ---- */

static void a_websocket_opens_over_there_with_the_frames_behind_it(void **state)
{
    (void)state;
    struct scene s;
    uint8_t bytes[1024];
    size_t n = strlen(UPGRADE_REQUEST);
    begin(&s, ROUTE_UPGRADE);
    struct conn_id old = s.c.id;
    memcpy(bytes, UPGRADE_REQUEST, n);
    n += make_frame(bytes + n, FRAME_TEXT, true, "one ", 4);
    n += make_frame(bytes + n, FRAME_TEXT, false, "tw", 2);
    n += make_frame(bytes + n, FRAME_CONTINUATION, true, "o ", 2);
    n += make_frame(bytes + n, FRAME_BINARY, true, "three", 5);
    client_write(&s.c, bytes, n - 2); /* the last one not as a whole */
    worlds_settle(&s.ws, &s.c);
    client_expect_101(&s.c);
    assert_int_equal(s.c.messages, 2);
    client_write(&s.c, bytes + n - 2, 2);
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(s.c.messages, 3);
    assert_string_equal((char *)s.c.got, "one two three");

    assert_int_equal(s.c.opened, 1);
    assert_int_equal(s.ws.a.requests, 1);
    assert_int_equal(s.ws.b.requests, 1);
    assert_int_equal(at_a(&s, METRIC_MOVED), 1);
    assert_int_equal(at_a(&s, METRIC_CONNS), 0);
    assert_int_equal(at_b(&s, METRIC_CONNS), 1);
    assert_int_equal(at_b(&s, METRIC_CLIENTS), 1);
    assert_null(net_find(s.ws.a.net, old));
    assert_int_equal(s.c.id.loop, 1);
    assert_ptr_equal(net_find(s.ws.b.net, s.c.id), s.c.conn);

    s.c.echo = true;
    client_text(&s.c, "four");
    worlds_settle(&s.ws, &s.c);
    client_expect(&s.c, FRAME_BINARY, "four", 4);
    client_close_frame(&s.c, 1000, "bye");
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 1000);
    end(&s);
}

/* However the bytes come, they are all there, once, and in order. */
static void the_bytes_behind_it_may_end_anywhere(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    size_t head = strlen(UPGRADE_REQUEST);
    size_t n = head;
    memcpy(bytes, UPGRADE_REQUEST, n);
    n += make_frame(bytes + n, FRAME_TEXT, true, "one ", 4);
    n += make_frame(bytes + n, FRAME_TEXT, true, "two", 3);
    for (size_t cut = head - 3; cut < n; cut++) {
        struct scene s;
        begin(&s, ROUTE_UPGRADE);
        client_write(&s.c, bytes, cut);
        worlds_turn(&s.ws);
        client_write(&s.c, bytes + cut, n - cut);
        worlds_settle(&s.ws, &s.c);
        client_expect_101(&s.c);
        assert_string_equal((char *)s.c.got, "one two");
        end(&s);
    }
}

static void bytes_that_come_while_it_is_under_way_are_read_over_there(
    void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    until_it_leaves(&s);
    client_text(&s.c, "early");
    loop_turn(s.ws.a.loop, 0);
    worlds_settle(&s.ws, &s.c);
    client_expect_101(&s.c);
    assert_string_equal((char *)s.c.got, "early");
    end(&s);
}

static void requests_behind_it_are_answered_over_there_in_order(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_write(&s.c, GET("/1") GET("/2") GET("/3"),
        strlen(GET("/1") GET("/2") GET("/3")));
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(answers(&s.c), 3);
    assert_string_equal(s.ws.a.paths, "/1 ");
    assert_string_equal(s.ws.b.paths, "/1 /2 /3 ");
    /* It stays there, and says so to the router. */
    client_write(&s.c, GET("/4"), strlen(GET("/4")));
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(answers(&s.c), 4);
    assert_string_equal(s.ws.b.paths, "/1 /2 /3 /4 ");
    assert_int_equal(router.asked, 5);
    assert_int_equal(router.had_moved, 4);
    assert_false(s.c.eof);
    end(&s);
}

static void a_later_request_of_a_connection_can_be_the_one_that_moves(
    void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    s.ws.a.route = ROUTE_REPLY;
    client_write(&s.c, GET("/1"), strlen(GET("/1")));
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(answers(&s.c), 1);
    s.ws.a.route = ROUTE_MOVE;
    s.c.in_len = 0;
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    worlds_settle(&s.ws, &s.c);
    client_expect_101(&s.c);
    assert_string_equal(s.ws.a.paths, "/1 /chat ");
    assert_string_equal(s.ws.b.paths, "/chat ");
    end(&s);
}

static void move_the_second(
    struct world *w, struct conn *c, const struct http_request *r)
{
    (void)c;
    (void)r;
    w->route = w->requests == 2 ? ROUTE_MOVE : ROUTE_REPLY;
}

/* It is parsed from what was kept, with more behind it. */
static void one_that_waited_behind_another_can_move(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    s.ws.a.on_request = move_the_second;
    client_write(&s.c, GET("/1") GET("/2") GET("/3"),
        strlen(GET("/1") GET("/2") GET("/3")));
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(answers(&s.c), 3);
    assert_string_equal(s.ws.a.paths, "/1 /2 ");
    assert_string_equal(s.ws.b.paths, "/2 /3 ");
    assert_false(s.c.eof);
    end(&s);
}

static void it_counts_as_having_asked_before(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    client_write(&s.c, GET("/1"), strlen(GET("/1")));
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(s.c.conn->flags & CONN_AGAIN, 0);
    assert_true(s.c.conn->flags & CONN_HEAD_BEGUN);
    end(&s);
    begin(&s, ROUTE_LATER);
    s.ws.a.route = ROUTE_REPLY;
    client_write(&s.c, GET("/1"), strlen(GET("/1")));
    worlds_settle(&s.ws, &s.c);
    s.ws.a.route = ROUTE_MOVE;
    client_write(&s.c, GET("/2"), strlen(GET("/2")));
    worlds_settle(&s.ws, &s.c);
    assert_true(s.c.conn->flags & CONN_AGAIN);
    assert_true(s.c.conn->flags & CONN_MOVED);
    end(&s);
}

static void see_a_whole_request(const struct http_request *r)
{
    assert_string_equal(r->method, "POST");
    assert_string_equal(r->path, "/a b/\xc3\xa4");
    assert_string_equal(r->target, "/a%20b/%C3%A4?x=1&y=%20");
    assert_string_equal(r->query, "x=1&y=%20");
    assert_true(r->has_body);
    assert_int_equal(r->minor, 1);
    assert_true(r->keep_alive);
    assert_int_equal(r->header_count, 5);
    assert_string_equal(http_header_find(r, "host"), "example.test");
    assert_int_equal(http_header_count(r, "x-twice"), 2);
    assert_string_equal(r->headers[4].name, "x-last");
    assert_string_equal(r->headers[4].value, "the end");
}

static void the_request_arrives_as_it_was(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    router.look = see_a_whole_request;
    static const char request[] =
        "POST /a%20b/%C3%A4?x=1&y=%20 HTTP/1.1\r\nHost: example.test\r\n"
        "X-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 4\r\n"
        "X-Last:  the end \r\n\r\nbody";
    client_write(&s.c, request, strlen(request));
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(answers(&s.c), 1);
    /* Nobody reads a body, so it is the end, as it would be at home. */
    assert_true(s.c.eof);
    assert_string_equal(s.ws.b.paths, "/a b/\xc3\xa4 ");
    end(&s);
}

static void the_request_can_be_taken_over_there(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    router.takes_request = true;
    client_write(&s.c, GET("/1"), strlen(GET("/1")));
    worlds_settle(&s.ws, &s.c);
    const struct http_request *r = http_parser_request(router.taken);
    assert_string_equal(r->path, "/1");
    assert_string_equal(http_header_find(r, "host"), "example.test");
    http_parser_free(router.taken);
    end(&s);
}

static void who_thinks_about_it_over_there_may_take_his_time(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    client_text(&s.c, "early");
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(conn_get_state(s.c.conn), CONN_UPGRADING);
    assert_false(timer_is_started(&s.c.conn->timer));
    assert_int_equal(s.c.messages, 0);
    assert_ptr_equal(net_find(s.ws.b.net, s.c.id), s.c.conn);
    client_accept(&s.c, CLIENT_ACCEPT);
    worlds_settle(&s.ws, &s.c);
    client_expect_101(&s.c);
    assert_string_equal((char *)s.c.got, "early");
    end(&s);
}

static void the_address_of_the_peer_is_known_over_there(void **state)
{
    (void)state;
    struct scene s;
    char ip[CONN_IP_BYTES];
    begin_with(&s, PAIR_TCP, ROUTE_UPGRADE);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    worlds_settle(&s.ws, &s.c);
    conn_ip(s.c.conn, ip);
    assert_string_equal(ip, "127.0.0.1");
    end(&s);
}

static void the_slot_it_left_is_free_for_others(void **state)
{
    (void)state;
    struct scene s;
    struct client other;
    begin(&s, ROUTE_UPGRADE);
    struct conn_id old = s.c.id;
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    until_it_leaves(&s);
    worlds_turn(&s.ws);
    client_connect(&other, &s.ws.a, PAIR_UNIX);
    assert_int_equal(other.id.slot, old.slot);
    assert_int_not_equal(other.id.generation, old.generation);
    assert_null(net_find(s.ws.a.net, old));
    worlds_settle(&s.ws, &s.c);
    client_expect_101(&s.c);
    client_fini(&other);
    end(&s);
}

static void frames_find_it_by_its_new_id(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    worlds_settle(&s.ws, &s.c);
    client_expect_101(&s.c);
    struct meter *window = meter_new(10000);
    struct range r = world_frame(&s.ws.a, FRAME_TEXT, "hi", 2);
    struct fanout f = {
        .range = &r, .to = {s.c.id.slot, s.c.id.generation}, .count = 1};
    assert_int_equal(fanout_post(s.ws.a.net, 1, window, &f), 0);
    worlds_settle(&s.ws, &s.c);
    client_expect(&s.c, FRAME_TEXT, "hi", 2);
    meter_unref(window);
    end(&s);
}

#define CROWD 40

static void many_move_in_one_turn(void **state)
{
    (void)state;
    struct scene s;
    struct client crowd[CROWD];
    begin(&s, ROUTE_REPLY);
    for (int i = 0; i < CROWD; i++) {
        client_connect(&crowd[i], &s.ws.a, PAIR_UNIX);
        client_write(&crowd[i], GET("/1"), strlen(GET("/1")));
    }
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(at_a(&s, METRIC_MOVED), CROWD);
    assert_int_equal(at_b(&s, METRIC_CONNS), CROWD);
    for (int i = 0; i < CROWD; i++) {
        crowd[i].world = &s.ws.b;
        client_settle(&crowd[i]);
        assert_int_equal(answers(&crowd[i]), 1);
        client_fini(&crowd[i]);
    }
    end(&s);
}

/* ---- it ends on the way ---- */

/* Between the router's word and the flush. */
static struct {
    struct scene *scene;
    void (*act)(struct scene *s);
    struct loop_hook hook;
} between;

static void on_run(struct loop_hook *h)
{
    (void)h;
    if (between.act != NULL && between.scene->ws.a.requests > 0) {
        between.act(between.scene);
        between.act = NULL;
    }
}

/* The request comes, is to move, and then this happens. */
static void let_it_leave_but(struct scene *s, void (*act)(struct scene *s))
{
    between.scene = s;
    between.act = act;
    loop_hook_add(s->ws.a.loop, LOOP_RUN, &between.hook, on_run);
    client_write(&s->c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    client_text(&s->c, "behind");
    until_it_leaves(s);
    assert_null(between.act);
    loop_hook_remove(&between.hook);
}

static void expect_it_never_left(struct scene *s)
{
    assert_true(mailbox_is_quiet(s->ws.a.loop));
    worlds_turn(&s->ws);
    assert_int_equal(at_a(s, METRIC_MOVED), 0);
    assert_int_equal(s->ws.b.requests, 0);
    expect_it_is_nowhere(s);
}

static void kill_it(struct scene *s)
{
    conn_kill(s->c.conn, false);
}

static void one_killed_before_the_flush_does_not_leave(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    let_it_leave_but(&s, kill_it);
    expect_it_never_left(&s);
    end(&s);
}

static void kill_idle(struct scene *s)
{
    net_kill_idle(s->ws.a.net);
}

static void one_that_is_about_to_leave_counts_as_idle_at_the_end(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    let_it_leave_but(&s, kill_idle);
    expect_it_never_left(&s);
    end(&s);
}

static void kill_at_once(
    struct world *w, struct conn *c, const struct http_request *r)
{
    (void)r;
    conn_move(c, w->move_to);
    conn_kill(c, false);
    w->route = ROUTE_LATER; /* nothing more to be said */
}

static void one_killed_by_the_router_itself_does_not_leave(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    s.ws.a.on_request = kill_at_once;
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    until_it_leaves(&s);
    expect_it_never_left(&s);
    end(&s);
}

/* The connections of a loop are killed again until none comes any more. */
static void one_that_arrives_at_a_loop_that_ends_is_ended(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    until_it_leaves(&s);
    net_kill_all(s.ws.b.net, true);
    worlds_turn(&s.ws);
    net_kill_all(s.ws.b.net, true);
    worlds_turn(&s.ws);
    assert_int_equal(s.c.opened, 1);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(at_b(&s, METRIC_CONNS), 0);
    assert_false(is_open_fd(s.fd));
    end(&s);
}

static void a_peer_that_is_gone_meanwhile_is_noticed_over_there(void **state)
{
    (void)state;
    for (int is_reset = 0; is_reset < 2; is_reset++) {
        struct scene s;
        begin_with(&s, is_reset ? PAIR_TCP : PAIR_UNIX, ROUTE_UPGRADE);
        struct linger hard = {1, 0};
        if (is_reset) {
            setsockopt(s.c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        }
        client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
        until_it_leaves(&s);
        close(s.c.fd);
        s.c.fd = -1;
        for (int i = 0; i < 1000 && is_open_fd(s.fd); i++) {
            worlds_turn(&s.ws);
        }
        assert_int_equal(s.ws.b.requests, 1);
        assert_int_equal(s.c.opened, 1);
        assert_int_equal(s.c.closed, 1);
        assert_int_equal(s.c.close_code, 1006);
        assert_int_equal(at_b(&s, METRIC_CONNS), 0);
        assert_false(is_open_fd(s.fd));
        end(&s);
    }
}

static void a_peer_that_is_gone_before_it_leaves_is_noticed_over_there(
    void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_write(&s.c, GET("/1"), strlen(GET("/1")));
    close(s.c.fd);
    s.c.fd = -1;
    for (int i = 0; i < 1000 && is_open_fd(s.fd); i++) {
        worlds_turn(&s.ws);
    }
    assert_int_equal(s.ws.b.requests, 1);
    assert_int_equal(at_a(&s, METRIC_CONNS), 0);
    assert_int_equal(at_b(&s, METRIC_CONNS), 0);
    assert_false(is_open_fd(s.fd));
    end(&s);
}

/* It has said all it will, but listens. */
static void a_peer_that_half_closed_gets_its_answer(void **state)
{
    (void)state;
    struct scene s;
    begin_with(&s, PAIR_TCP, ROUTE_REPLY);
    client_write(&s.c, GET("/1") GET("/2"), strlen(GET("/1") GET("/2")));
    shutdown(s.c.fd, SHUT_WR);
    worlds_settle(&s.ws, &s.c);
    assert_int_equal(answers(&s.c), 2);
    assert_true(s.c.eof);
    end(&s);
}

/* ---- what it needs is not there ---- */

static void deny_memory(struct scene *s)
{
    (void)s;
    mem_fail_at(1);
}

static void without_memory_it_ends_where_it_was(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    let_it_leave_but(&s, deny_memory);
    mem_fail_at(0);
    expect_it_never_left(&s);
    end(&s);
}

static void without_memory_over_there_it_ends_on_arrival(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    client_text(&s.c, "behind");
    until_it_leaves(&s);
    mem_fail_at(1);
    loop_turn(s.ws.b.loop, 0);
    mem_fail_at(0);
    assert_int_equal(at_a(&s, METRIC_MOVED), 1);
    assert_int_equal(s.ws.b.requests, 0);
    expect_it_is_nowhere(&s);
    end(&s);
}

/* A regular file cannot be watched: it stands for whatever else a system may
 * have against a descriptor. */
static void one_that_cannot_be_watched_over_there_ends_on_arrival(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_UPGRADE);
    client_write(&s.c, UPGRADE_REQUEST, strlen(UPGRADE_REQUEST));
    client_text(&s.c, "behind");
    until_it_leaves(&s);
    int file = open(TESTS_DIR "/unit/net/test_conn_move.c", O_RDONLY);
    assert_true(file >= 0);
    assert_int_equal(dup2(file, s.fd), s.fd);
    close(file);
    worlds_turn(&s.ws);
    assert_int_equal(s.ws.b.requests, 0);
    expect_it_is_nowhere(&s);
    end(&s);
}

/* The whole way, with each of its allocations denied in turn: it arrives whole,
 * or it is gone from everywhere. False: nothing was denied. */
static bool survive_one(uint64_t at, bool *has_arrived)
{
    struct scene s;
    uint8_t bytes[1024];
    size_t n = strlen(UPGRADE_REQUEST);
    begin(&s, ROUTE_UPGRADE);
    memcpy(bytes, UPGRADE_REQUEST, n);
    n += make_frame(bytes + n, FRAME_TEXT, true, "one ", 4);
    n += make_frame(bytes + n, FRAME_TEXT, true, "two", 3);
    client_write(&s.c, bytes, n);
    uint64_t calls = mem_quota_calls();
    mem_fail_at(at);
    worlds_settle(&s.ws, &s.c);
    mem_fail_at(0);
    bool has_failed = mem_quota_calls() - calls >= at;
    worlds_settle(&s.ws, &s.c);
    *has_arrived = s.c.opened == 1 && s.c.closed == 0;
    if (*has_arrived) {
        client_expect_101(&s.c);
        assert_string_equal((char *)s.c.got, "one two");
    } else {
        /* A request there is no memory for is answered with 503, and then the
         * peer's end is waited for. */
        close(s.c.fd);
        s.c.fd = -1;
        worlds_turn(&s.ws);
        worlds_turn(&s.ws);
        assert_int_equal(s.c.opened, s.c.closed);
        assert_int_equal(at_a(&s, METRIC_CONNS), 0);
        assert_int_equal(at_b(&s, METRIC_CONNS), 0);
        assert_false(is_open_fd(s.fd));
    }
    end(&s);
    return has_failed;
}

static void it_arrives_or_is_gone_whatever_memory_is_denied(void **state)
{
    (void)state;
    bool has_arrived;
    uint64_t at = 1;
    while (survive_one(at, &has_arrived)) {
        assert_true(at < 1000);
        at++;
    }
    assert_true(has_arrived);
    assert_true(at > 3);
}

/* ---- two threads ---- */

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void stop_loop(struct letter *l, struct loop *here)
{
    (void)l;
    loop_stop(here);
}

/* The peers ask and read in this thread, which turns the first loop; half of
 * them go as soon as they have asked. */
static void connections_move_between_threads(void **state)
{
    (void)state;
    struct scene s;
    pthread_t thread;
    struct letter end_of_b;
    struct client crowd[CROWD];
    struct client at_home = {.take = -1}; /* the router's, to write to */
    begin(&s, ROUTE_REPLY);
    s.ws.a.on_request = NULL;
    s.ws.b.on_request = NULL;
    s.ws.a.arriving = &at_home;
    assert_int_equal(pthread_create(&thread, NULL, run_loop, s.ws.b.loop), 0);
    for (int i = 0; i < CROWD; i++) {
        client_connect(&crowd[i], &s.ws.a, PAIR_UNIX);
        client_write(
            &crowd[i], GET("/1") GET("/2"), strlen(GET("/1") GET("/2")));
        loop_turn(s.ws.a.loop, 0);
        if (i % 2 == 0) {
            client_fini(&crowd[i]);
        }
    }
    uint64_t until = loop_clock_ns() + 60ull * 1000 * 1000 * 1000;
    for (int i = 1; i < CROWD; i += 2) {
        while (answers(&crowd[i]) < 2) {
            assert_true(loop_clock_ns() < until);
            loop_turn(s.ws.a.loop, 0);
            client_read(&crowd[i], SIZE_MAX);
        }
        client_fini(&crowd[i]);
    }
    while (at_a(&s, METRIC_CONNS) > 1) { /* one has never said a word */
        assert_true(loop_clock_ns() < until);
        loop_turn(s.ws.a.loop, 0);
    }
    mailbox_post(s.ws.a.loop, s.ws.b.loop, &end_of_b, stop_loop);
    loop_turn(s.ws.a.loop, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_websocket_opens_over_there_with_the_frames_behind_it),
        cmocka_unit_test(the_bytes_behind_it_may_end_anywhere),
        cmocka_unit_test(
            bytes_that_come_while_it_is_under_way_are_read_over_there),
        cmocka_unit_test(requests_behind_it_are_answered_over_there_in_order),
        cmocka_unit_test(
            a_later_request_of_a_connection_can_be_the_one_that_moves),
        cmocka_unit_test(one_that_waited_behind_another_can_move),
        cmocka_unit_test(it_counts_as_having_asked_before),
        cmocka_unit_test(the_request_arrives_as_it_was),
        cmocka_unit_test(the_request_can_be_taken_over_there),
        cmocka_unit_test(who_thinks_about_it_over_there_may_take_his_time),
        cmocka_unit_test(the_address_of_the_peer_is_known_over_there),
        cmocka_unit_test(the_slot_it_left_is_free_for_others),
        cmocka_unit_test(frames_find_it_by_its_new_id),
        cmocka_unit_test(many_move_in_one_turn),
        cmocka_unit_test(one_killed_before_the_flush_does_not_leave),
        cmocka_unit_test(one_killed_by_the_router_itself_does_not_leave),
        cmocka_unit_test(one_that_is_about_to_leave_counts_as_idle_at_the_end),
        cmocka_unit_test(one_that_arrives_at_a_loop_that_ends_is_ended),
        cmocka_unit_test(a_peer_that_is_gone_meanwhile_is_noticed_over_there),
        cmocka_unit_test(
            a_peer_that_is_gone_before_it_leaves_is_noticed_over_there),
        cmocka_unit_test(a_peer_that_half_closed_gets_its_answer),
        cmocka_unit_test(without_memory_it_ends_where_it_was),
        cmocka_unit_test(without_memory_over_there_it_ends_on_arrival),
        cmocka_unit_test(one_that_cannot_be_watched_over_there_ends_on_arrival),
        cmocka_unit_test(it_arrives_or_is_gone_whatever_memory_is_denied),
        cmocka_unit_test(connections_move_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
