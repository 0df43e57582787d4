/* A connection before it is a WebSocket: requests and their answers. */
#include "world.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: example.test\r\n\r\n"
#define OK        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

struct scene {
    struct world w;
    struct client c;
};

static void begin(struct scene *s, enum route route)
{
    world_init(&s->w);
    s->w.route = route;
    client_connect(&s->c, &s->w, PAIR_TCP);
}

static void end(struct scene *s)
{
    client_fini(&s->c);
    world_fini(&s->w);
    assert_int_equal(s->c.closed, s->c.opened);
}

static void expect_in(struct scene *s, const char *want)
{
    assert_int_equal(s->c.in_len, strlen(want));
    assert_memory_equal(s->c.in, want, strlen(want));
}

static void expect_status(struct scene *s, const char *status)
{
    char want[64];
    sprintf(want, "HTTP/1.1 %s ", status);
    assert_true(s->c.in_len > strlen(want));
    assert_memory_equal(s->c.in, want, strlen(want));
    assert_non_null(memmem(s->c.in, s->c.in_len, "Connection: close\r\n", 19));
    assert_true(s->c.eof);
    assert_int_equal(world_metric(&s->w, METRIC_HANDSHAKE_REFUSED), 1);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_ask(&s.c, GET("/one") GET("/two") GET("/three"));
    client_settle(&s.c);
    assert_string_equal(s.w.paths, "/one /two /three ");
    expect_in(&s, OK OK OK);
    assert_false(s.c.eof);
    client_ask(&s.c, GET("/four"));
    client_settle(&s.c);
    assert_string_equal(s.w.paths, "/one /two /three /four ");
    expect_in(&s, OK OK OK OK);
    end(&s);
}

static void next_request_waits_until_the_answer_has_left(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    client_ask(&s.c, GET("/one") GET("/two"));
    client_settle(&s.c);
    assert_string_equal(s.w.paths, "/one ");
    conn_reply(s.c.conn, "first", 5, true);
    assert_string_equal(s.w.paths, "/one ");
    client_settle(&s.c);
    assert_string_equal(s.w.paths, "/one /two ");
    conn_reply(s.c.conn, "second", 6, true);
    client_settle(&s.c);
    expect_in(&s, "firstsecond");
    end(&s);
}

static void last_answer_is_followed_by_the_end(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    s.w.keep_alive = false;
    client_ask(&s.c, GET("/one") GET("/two"));
    client_settle(&s.c);
    assert_string_equal(s.w.paths, "/one ");
    expect_in(&s, OK);
    assert_true(s.c.eof);
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 3);
    assert_int_equal(s.w.net->conn_count, 0);
    end(&s);
}

static void body_of_a_request_is_not_taken_for_a_head(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_ask(&s.c, "POST /form HTTP/1.1\r\nHost: example.test\r\n"
                     "Content-Length: 40\r\n\r\n" GET("/"));
    client_settle(&s.c);
    assert_string_equal(s.w.paths, "/form ");
    expect_in(&s, OK);
    assert_true(s.c.eof);
    end(&s);
}

static void upgrade_that_is_decided_later_gets_the_waiting_frames(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    uint8_t b[1024];
    size_t n = strlen(UPGRADE_REQUEST);
    memcpy(b, UPGRADE_REQUEST, n);
    n += make_frame(b + n, FRAME_TEXT, true, "early", 5);
    s.w.arriving = &s.c;
    client_write(&s.c, b, n);
    client_settle(&s.c);
    assert_int_equal(conn_get_state(s.c.conn), CONN_UPGRADING);
    assert_ptr_equal(net_find(s.w.net, s.c.id), s.c.conn);
    s.c.echo = true;
    client_accept(&s.c, CLIENT_ACCEPT);
    assert_int_equal(s.c.messages, 0);
    client_settle(&s.c);
    client_expect_101(&s.c);
    client_expect(&s.c, FRAME_BINARY, "early", 5);
    client_text(&s.c, "on");
    client_settle(&s.c);
    client_expect(&s.c, FRAME_BINARY, "on", 2);
    end(&s);
}

static void upgrade_that_is_refused_later_ends_the_connection(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    client_ask(&s.c, UPGRADE_REQUEST);
    client_settle(&s.c);
    conn_reply(s.c.conn, "no", 2, true);
    client_settle(&s.c);
    expect_in(&s, "no");
    assert_true(s.c.eof);
    end(&s);
}

static void upgrade_that_is_refused_at_once_may_be_asked_again(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_ask(&s.c, UPGRADE_REQUEST);
    client_settle(&s.c);
    expect_in(&s, OK);
    s.c.in_len = 0;
    s.w.route = ROUTE_UPGRADE;
    client_ask(&s.c, UPGRADE_REQUEST);
    client_settle(&s.c);
    client_expect_101(&s.c);
    end(&s);
}

static void bad_request_is_answered_and_never_routed(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_ask(&s.c, "\x16\x03\x01\x02\x00 TLS, perhaps\r\n\r\n");
    client_settle(&s.c);
    assert_int_equal(s.w.requests, 0);
    expect_status(&s, "400");
    end(&s);
}

static void head_over_the_limit_is_431(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    s.w.arriving = &s.c;
    static char head[LIMIT_HEAD_BYTES + 200];
    int n = sprintf(head, "GET / HTTP/1.1\r\nX-Long: ");
    memset(head + n, 'x', LIMIT_HEAD_BYTES);
    client_write(&s.c, head, (size_t)n + LIMIT_HEAD_BYTES);
    client_settle(&s.c);
    assert_int_equal(s.w.requests, 0);
    expect_status(&s, "431");
    end(&s);
}

static void slow_head_is_408(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_ask(&s.c, "GET / HTTP/1.1\r\nHost: exa");
    client_settle(&s.c);
    assert_true(timer_is_started(&s.c.conn->timer));
    assert_true(s.c.conn->timer.due_ms <=
                loop_now_ms(s.w.loop) + LIMIT_HANDSHAKE_MS + 1);
    timer_stop(&s.c.conn->timer);
    conn_on_timer(&s.c.conn->timer);
    client_settle(&s.c);
    expect_status(&s, "408");
    end(&s);
}

static void connection_without_a_word_is_closed_without_one(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    conn_on_timer(&s.c.conn->timer);
    client_turns(&s.c, 3);
    expect_in(&s, "");
    assert_true(s.c.eof);
    assert_int_equal(s.w.net->conn_count, 0);
    end(&s);
}

static void idle_kept_alive_connection_is_closed(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    client_ask(&s.c, GET("/one"));
    client_settle(&s.c);
    assert_true(timer_is_started(&s.c.conn->timer));
    conn_on_timer(&s.c.conn->timer);
    client_turns(&s.c, 3);
    expect_in(&s, OK);
    assert_true(s.c.eof);
    end(&s);
}

static void thinking_has_no_deadline_of_ours(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_LATER);
    client_ask(&s.c, UPGRADE_REQUEST);
    client_settle(&s.c);
    assert_false(timer_is_started(&s.c.conn->timer));
    end(&s);
}

struct body {
    struct conn_body body;
    size_t left;
    uint32_t next; /* the bytes count up, so that none can be missing */
    int error;
    int closed;
    int reads;
};

static ssize_t read_body(struct conn_body *b, uint8_t *p, size_t n)
{
    struct body *body = container_of(b, struct body, body);
    body->reads++;
    if (body->left == 0) {
        return body->error;
    }
    size_t k = n < body->left ? n : body->left;
    for (size_t i = 0; i < k; i++) {
        p[i] = (uint8_t)(body->next++ % 251);
    }
    body->left -= k;
    return (ssize_t)k;
}

static void close_body(struct conn_body *b)
{
    container_of(b, struct body, body)->closed++;
}

static void begin_body(struct scene *s, struct body *b, size_t n)
{
    *b = (struct body){.body = {read_body, close_body}, .left = n};
    begin(s, ROUTE_BODY);
    s->w.body = &b->body;
}

static void expect_body(struct scene *s, size_t at, size_t n)
{
    assert_true(s->c.in_len >= at + 19 + n);
    assert_memory_equal(s->c.in + at, "HTTP/1.1 200 OK\r\n\r\n", 19);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(s->c.in[at + 19 + i], i % 251);
    }
}

#ifdef MOONWIRE_TINY
#    define LARGE_BODY 20000
#else
#    define LARGE_BODY 1000000
#endif

static void body_is_made_as_the_socket_drains(void **state)
{
    (void)state;
    struct scene s;
    struct body b;
    begin_body(&s, &b, LARGE_BODY);
    client_narrow(&s.c);
    s.w.arriving = &s.c;
    client_write(&s.c, GET("/"), strlen(GET("/")));
    client_until_routed(&s.c, 1);
    for (int i = 0; i < 50; i++) {
        loop_turn(s.w.loop, 0);
    }
#ifndef MOONWIRE_TINY
    /* Nobody reads: what is made is what the kernel takes and one part. */
    assert_true(b.left > LARGE_BODY / 2);
    assert_true(b.reads < 5);
#endif
    client_until_received(&s.c, 19 + LARGE_BODY);
    client_settle(&s.c);
    assert_int_equal(b.closed, 1);
    assert_int_equal(s.c.in_len, 19 + LARGE_BODY);
    expect_body(&s, 0, LARGE_BODY);
    assert_false(s.c.eof);
    end(&s);
}

static void body_is_followed_by_the_next_answer(void **state)
{
    (void)state;
    struct scene s;
    struct body b;
    begin_body(&s, &b, 5000);
    client_ask(&s.c, GET("/file"));
    client_until_routed(&s.c, 1);
    s.w.route = ROUTE_REPLY;
    s.w.keep_alive = false;
    client_ask(&s.c, GET("/text"));
    client_settle(&s.c);
    expect_body(&s, 0, 5000);
    assert_int_equal(s.c.in_len, 19 + 5000 + strlen(OK));
    assert_memory_equal(s.c.in + 5019, OK, strlen(OK));
    assert_true(s.c.eof);
    assert_int_equal(b.closed, 1);
    end(&s);
}

static void empty_body_is_a_body(void **state)
{
    (void)state;
    struct scene s;
    struct body b;
    begin_body(&s, &b, 0);
    s.w.keep_alive = false;
    client_ask(&s.c, GET("/"));
    client_settle(&s.c);
    expect_in(&s, "HTTP/1.1 200 OK\r\n\r\n");
    assert_true(s.c.eof);
    assert_int_equal(b.closed, 1);
    end(&s);
}

static void body_that_fails_cuts_the_connection(void **state)
{
    (void)state;
    struct scene s;
    struct body b;
    begin_body(&s, &b, 100);
    b.error = -EIO;
    client_ask(&s.c, GET("/"));
    client_settle(&s.c);
    expect_body(&s, 0, 100);
    assert_true(s.c.eof);
    assert_int_equal(b.closed, 1);
    assert_int_equal(s.w.net->conn_count, 0);
    end(&s);
}

static void body_is_closed_when_the_peer_goes(void **state)
{
    (void)state;
    struct scene s;
    struct body b;
    begin_body(&s, &b, LARGE_BODY);
    client_narrow(&s.c);
    client_ask(&s.c, GET("/"));
    client_until_routed(&s.c, 1);
    for (int i = 0; i < 5; i++) {
        loop_turn(s.w.loop, 0);
    }
    struct linger now = {1, 0};
    setsockopt(s.c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 10);
    assert_int_equal(s.w.net->conn_count, 0);
    assert_int_equal(b.closed, 1);
    end(&s);
}

static void reply_without_progress_is_reset(void **state)
{
    (void)state;
    struct scene s;
    struct body b;
    begin_body(&s, &b, LARGE_BODY);
    client_narrow(&s.c);
    client_ask(&s.c, GET("/"));
    client_until_routed(&s.c, 1);
    for (int i = 0; i < 5; i++) {
        loop_turn(s.w.loop, 0);
    }
    /* Some progress: the clock goes on. */
    conn_on_timer(&s.c.conn->timer);
    assert_int_equal(s.w.net->conn_count, 1);
    s.c.conn->heard_ms -= LIMIT_KEEP_ALIVE_MS;
    conn_on_timer(&s.c.conn->timer);
    assert_int_equal(s.w.net->conn_count, 0);
    assert_int_equal(b.closed, 1);
    end(&s);
}

static void parser_is_held_only_while_a_head_is_incomplete(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, ROUTE_REPLY);
    assert_null(s.c.conn->p.http.parser);
    client_ask(&s.c, "GET / HT");
    client_turns(&s.c, 8);
    assert_non_null(s.c.conn->p.http.parser);
    client_ask(&s.c, "TP/1.1\r\nHost: a\r\n\r\n");
    client_settle(&s.c);
    expect_in(&s, OK);
    assert_null(s.c.conn->p.http.parser);
    assert_non_null(s.w.net->spare_parser);
    end(&s);
}

static void no_failed_allocation_breaks_a_request(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 20; n++) {
        struct scene s;
        struct body b;
        begin_body(&s, &b, 100);
        s.w.keep_alive = n % 2 == 0;
        client_ask(&s.c, GET("/one"));
        mem_fail_at(n);
        for (int i = 0; i < 200; i++) {
            loop_turn(s.w.loop, 0);
        }
        mem_fail_at(0);
        client_settle(&s.c);
        end(&s);
        assert_int_equal(b.closed, s.w.requests);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(next_request_waits_until_the_answer_has_left),
        cmocka_unit_test(last_answer_is_followed_by_the_end),
        cmocka_unit_test(body_of_a_request_is_not_taken_for_a_head),
        cmocka_unit_test(upgrade_that_is_decided_later_gets_the_waiting_frames),
        cmocka_unit_test(upgrade_that_is_refused_later_ends_the_connection),
        cmocka_unit_test(upgrade_that_is_refused_at_once_may_be_asked_again),
        cmocka_unit_test(bad_request_is_answered_and_never_routed),
        cmocka_unit_test(head_over_the_limit_is_431),
        cmocka_unit_test(slow_head_is_408),
        cmocka_unit_test(connection_without_a_word_is_closed_without_one),
        cmocka_unit_test(idle_kept_alive_connection_is_closed),
        cmocka_unit_test(thinking_has_no_deadline_of_ours),
        cmocka_unit_test(body_is_made_as_the_socket_drains),
        cmocka_unit_test(body_is_followed_by_the_next_answer),
        cmocka_unit_test(empty_body_is_a_body),
        cmocka_unit_test(body_that_fails_cuts_the_connection),
        cmocka_unit_test(body_is_closed_when_the_peer_goes),
        cmocka_unit_test(reply_without_progress_is_reset),
        cmocka_unit_test(parser_is_held_only_while_a_head_is_incomplete),
        cmocka_unit_test(no_failed_allocation_breaks_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
