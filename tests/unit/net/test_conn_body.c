/* Bodies of requests: whole for who asks for them, bounded, and given back. */
#include "world.h"

#define POST(extra)                                                            \
    "POST /p HTTP/1.1\r\nHost: example.test\r\n" extra "\r\n\r\n"
#define GET "GET /next HTTP/1.1\r\nHost: example.test\r\n\r\n"
#define OK  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

struct scene {
    struct world w;
    struct client c;
    uint32_t max;
    int bodies;
    char body[4096];
    size_t body_len;
    bool kill; /* in on_body() */
};

static void take(void *user, struct conn *c, const struct http_request *r)
{
    struct scene *s = user;
    if (r->has_body) {
        conn_take_body(c, r, s->max);
    } else {
        on_a_request(&s->w, c, r);
    }
}

static void on_a_body(void *user, struct conn *c, const struct http_request *r,
    const uint8_t *data, size_t len)
{
    struct scene *s = user;
    s->bodies++;
    assert_string_equal(r->path, "/p");
    assert_true(len <= sizeof(s->body));
    if (s->kill) {
        conn_kill(c, false);
    }
    if (len > 0) {
        memcpy(s->body, data, len); /* lent for the whole call */
    }
    s->body_len = len;
    if (!s->kill) {
        conn_reply(c, OK, sizeof(OK) - 1, r->keep_alive);
    }
}

static void begin(struct scene *s)
{
    *s = (struct scene){.max = 1000};
    world_init(&s->w);
    s->w.route = ROUTE_REPLY;
    s->w.router = (struct conn_router){
        .on_request = take, .on_body = on_a_body, .user = s};
    client_connect(&s->c, &s->w, PAIR_TCP);
    s->w.arriving = &s->c;
}

static void end(struct scene *s)
{
    client_fini(&s->c);
    loop_turn(s->w.loop, 0);
    net_kill_all(s->w.net, false);
    loop_turn(s->w.loop, 0);
    assert_int_equal(s->w.net->bodies_bytes, 0);
    world_fini(&s->w);
}

static void expect_in(struct scene *s, const char *want)
{
    assert_int_equal(s->c.in_len, strlen(want));
    assert_memory_equal(s->c.in, want, strlen(want));
}

static void expect_status(struct scene *s, int status)
{
    char want[32];
    snprintf(want, sizeof(want), "HTTP/1.1 %d ", status);
    assert_true(s->c.in_len > strlen(want));
    assert_memory_equal(s->c.in, want, strlen(want));
    assert_true(s->c.eof);
}

static void body_is_handed_out_whole_and_the_next_request_follows(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    client_ask(&s.c, POST("Transfer-Encoding: chunked") "3\r\nabc\r\n");
    client_settle(&s.c);
    assert_int_equal(s.bodies, 0);
    client_ask(&s.c, "2\r\nde\r\n0\r\n\r\n" GET POST("Content-Length: 2") "xy");
    client_settle(&s.c);
    assert_int_equal(s.bodies, 2);
    assert_string_equal(s.w.paths, "/next ");
    assert_int_equal(s.body_len, 2);
    assert_memory_equal(s.body, "xy", 2);
    expect_in(&s, OK OK OK);
    end(&s);
}

static void body_over_the_bound_is_413_from_its_length(void **state)
{
    (void)state;
    static const char *const too_big[] = {POST("Content-Length: 1001"),
        POST("Transfer-Encoding: chunked") "3e9\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(too_big); i++) {
        struct scene s;
        begin(&s);
        client_ask(&s.c, too_big[i]);
        client_settle(&s.c);
        expect_status(&s, 413);
        assert_int_equal(s.bodies, 0);
        end(&s);
    }
}

static void all_bodies_of_a_loop_share_a_bound(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.w.net->bodies_bytes = LIMIT_BODIES_BYTES;
    client_ask(&s.c, POST("Content-Length: 5") "hello");
    client_settle(&s.c);
    expect_status(&s, 503);
    assert_int_equal(s.w.net->bodies_bytes, LIMIT_BODIES_BYTES);
    s.w.net->bodies_bytes = 0;
    end(&s);
}

static void end_of_the_connection_amid_a_body_gives_it_back(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    client_ask(&s.c, POST("Content-Length: 500") "hello");
    client_settle(&s.c);
    assert_true(s.w.net->bodies_bytes > 0);
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 3);
    assert_int_equal(s.w.net->conn_count, 0);
    assert_int_equal(s.w.net->bodies_bytes, 0);
    end(&s);
}

static void body_is_lent_though_its_connection_dies_in_the_call(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.kill = true;
    client_ask(&s.c, POST("Content-Length: 5") "hello" GET);
    client_turns(&s.c, 40);
    assert_int_equal(s.bodies, 1);
    assert_memory_equal(s.body, "hello", 5);
    end(&s);
}

static void without_memory_a_body_is_refused_and_nothing_is_lost(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 24; n++) {
        struct scene s;
        begin(&s);
        mem_fail_at(n);
        client_ask(&s.c, POST("Transfer-Encoding: chunked") "3\r\nabc\r\n");
        client_turns(&s.c, 20);
        client_ask(&s.c, "3\r\ndef\r\n0\r\n\r\n");
        client_turns(&s.c, 80);
        mem_fail_at(0);
        assert_true(s.bodies <= 1);
        if (s.bodies == 1) {
            assert_memory_equal(s.body, "abcdef", 6);
        }
        end(&s);
    }
}

static void slow_body_is_408_and_one_that_comes_is_not(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct guard g;
    guard_init(&g);
    g.slow_ms = 40;
    g.slow_bytes = 2;
    s.w.net->guard = &g;
    client_ask(&s.c, POST("Content-Length: 500") "x");
    client_turns(&s.c, 20); /* with tiny buffers it takes so many */
    for (int i = 0; i < 8; i++) {
        client_ask(&s.c, "xx");
        for (int j = 0; j < 3; j++) {
            loop_turn(s.w.loop, 10);
        }
    }
    assert_int_equal(conn_get_state(s.c.conn), CONN_HTTP);
    for (int i = 0; i < 400 && !s.c.eof; i++) {
        loop_turn(s.w.loop, 2);
        client_read(&s.c, SIZE_MAX);
    }
    expect_status(&s, 408);
    s.w.net->guard = &guard_default;
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_is_handed_out_whole_and_the_next_request_follows),
        cmocka_unit_test(body_over_the_bound_is_413_from_its_length),
        cmocka_unit_test(all_bodies_of_a_loop_share_a_bound),
        cmocka_unit_test(end_of_the_connection_amid_a_body_gives_it_back),
        cmocka_unit_test(body_is_lent_though_its_connection_dies_in_the_call),
        cmocka_unit_test(without_memory_a_body_is_refused_and_nothing_is_lost),
        cmocka_unit_test(slow_body_is_408_and_one_that_comes_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
