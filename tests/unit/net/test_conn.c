/* What a peer sees and a handler hears of one WebSocket's life. Requests and
 * their answers are in test_conn_http.c, output in test_net.c. */
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

static void expect_gone(struct scene *s)
{
    assert_int_equal(s->w.net->conn_count, 0);
    assert_int_equal(s->c.closed, 1);
    assert_null(net_find(s->w.net, s->c.id));
}

static void expect_got(struct scene *s, const char *want)
{
    assert_non_null(s->c.got);
    assert_string_equal((const char *)s->c.got, want);
}

static void echo_of_a_message_comes_back(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.echo = true;
    client_text(&s.c, "hello");
    client_settle(&s.c);
    assert_int_equal(s.c.messages, 1);
    assert_false(s.c.is_binary);
    client_frame(&s.c, FRAME_BINARY, "\xff\x00", 2);
    client_settle(&s.c);
    assert_true(s.c.is_binary);
    client_expect(&s.c, FRAME_BINARY, "hello", 5);
    client_expect(&s.c, FRAME_BINARY, "\xff\x00", 2);
    client_expect_nothing(&s.c);
    assert_int_equal(world_metric(&s.w, METRIC_MESSAGES_IN), 2);
    assert_int_equal(world_metric(&s.w, METRIC_CLIENTS), 1);
    assert_int_equal(world_metric(&s.w, METRIC_FRAMES_OUT), 2);
    end(&s);
}

static void messages_sent_with_the_handshake_are_not_lost(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    client_connect(&s.c, &s.w, PAIR_UNIX);
    s.c.echo = true;
    uint8_t b[1024];
    size_t n = strlen(UPGRADE_REQUEST);
    memcpy(b, UPGRADE_REQUEST, n);
    n += make_frame(b + n, FRAME_TEXT, true, "one", 3);
    n += make_frame(b + n, FRAME_TEXT, true, "two", 3);
    s.w.arriving = &s.c;
    client_write(&s.c, b, n);
    client_settle(&s.c);
    client_expect_101(&s.c);
    expect_got(&s, "onetwo");
    client_expect(&s.c, FRAME_BINARY, "one", 3);
    client_expect(&s.c, FRAME_BINARY, "two", 3);
    end(&s);
}

static void peer_that_sends_byte_by_byte_is_understood(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    client_connect(&s.c, &s.w, PAIR_UNIX);
    s.c.echo = true;
    s.w.arriving = &s.c;
    uint8_t b[2048];
    size_t n = strlen(UPGRADE_REQUEST);
    memcpy(b, UPGRADE_REQUEST, n);
    n += make_frame(b + n, FRAME_TEXT, false, "on", 2);
    n += make_frame(b + n, FRAME_PING, true, "p", 1);
    n += make_frame(b + n, FRAME_CONTINUATION, true, "e", 1);
    char long_text[301];
    memset(long_text, 'x', 300);
    long_text[300] = '\0';
    n += make_frame(b + n, FRAME_TEXT, true, long_text, 300);
    n += make_frame(b + n, FRAME_CLOSE, true,
        "\x03\xe8"
        "bye",
        5);
    for (size_t i = 0; i < n; i++) {
        client_write(&s.c, b + i, 1);
        client_turns(&s.c, 1);
    }
    client_settle(&s.c);
    client_expect_101(&s.c);
    client_expect(&s.c, FRAME_PONG, "p", 1);
    client_expect(&s.c, FRAME_BINARY, "one", 3);
    client_expect(&s.c, FRAME_BINARY, long_text, 300);
    client_expect_close(&s.c, 1000, "");
    assert_int_equal(s.c.close_code, 1000);
    assert_string_equal(s.c.close_reason, "bye");
    end(&s);
}

static void pongs_answer_pings_in_order_and_carry_their_bytes(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.echo = true;
    char full[125];
    memset(full, 'f', sizeof(full));
    client_frame(&s.c, FRAME_PING, "a", 1);
    client_frame(&s.c, FRAME_PING, full, sizeof(full));
    client_frame(&s.c, FRAME_PING, NULL, 0);
    client_settle(&s.c);
    client_expect(&s.c, FRAME_PONG, "a", 1);
    client_expect(&s.c, FRAME_PONG, full, sizeof(full));
    client_expect(&s.c, FRAME_PONG, "", 0);
    client_expect_nothing(&s.c);
    client_frame(&s.c, FRAME_PONG, "unasked", 7);
    client_text(&s.c, "x");
    client_settle(&s.c);
    client_expect(&s.c, FRAME_BINARY, "x", 1);
    end(&s);
}

static void data_and_pongs_of_one_turn_all_leave(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.echo = true;
    uint8_t b[256];
    size_t n = make_frame(b, FRAME_PING, true, "1", 1);
    n += make_frame(b + n, FRAME_TEXT, true, "a", 1);
    n += make_frame(b + n, FRAME_TEXT, true, "b", 1);
    client_write(&s.c, b, n);
    client_settle(&s.c);
    client_expect(&s.c, FRAME_PONG, "1", 1);
    client_expect(&s.c, FRAME_BINARY, "a", 1);
    client_expect(&s.c, FRAME_BINARY, "b", 1);
    client_expect_nothing(&s.c);
    assert_null(s.c.conn->outbox);
    assert_int_equal(conn_lane(s.c.conn)->flags & 0xff, LANE_OPEN | LANE_PLAIN);
    end(&s);
}

static void peer_closes_first(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    client_close_frame(&s.c, 4001, "enough");
    client_settle(&s.c);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 4001);
    assert_string_equal(s.c.close_reason, "enough");
    client_expect_close(&s.c, 4001, "");
    assert_true(s.c.eof);
    /* We wait for the peer's end, so that nothing it still reads is lost. */
    assert_int_equal(s.w.net->conn_count, 1);
    assert_null(net_find(s.w.net, s.c.id));
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 2);
    expect_gone(&s);
    end(&s);
}

static void close_without_a_code_is_1005_and_is_answered_empty(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    client_frame(&s.c, FRAME_CLOSE, NULL, 0);
    client_settle(&s.c);
    assert_int_equal(s.c.close_code, 1005);
    assert_string_equal(s.c.close_reason, "");
    client_expect(&s.c, FRAME_CLOSE, "", 0);
    assert_true(s.c.eof);
    end(&s);
}

static void we_close_first_and_hear_only_pings_and_their_close(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    conn_close(s.c.conn, 4000, "done", 4);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 4000);
    assert_string_equal(s.c.close_reason, "done");
    assert_int_equal(client_send(&s.c, "late", 4), ERR_CLOSED);
    conn_close(s.c.conn, 4002, "twice", 5);
    client_settle(&s.c);
    client_expect_close(&s.c, 4000, "done");
    assert_false(s.c.eof);
    client_text(&s.c, "not heard");
    client_frame(&s.c, FRAME_PING, "x", 1);
    client_settle(&s.c);
    assert_int_equal(s.c.messages, 0);
    client_expect(&s.c, FRAME_PONG, "x", 1);
    client_close_frame(&s.c, 4000, "");
    client_frame(&s.c, FRAME_PING, "y", 1);
    client_settle(&s.c);
    client_expect_nothing(&s.c);
    assert_true(s.c.eof);
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 2);
    expect_gone(&s);
    end(&s);
}

static void answer_and_close(struct client *c, const uint8_t *p, size_t n)
{
    assert_int_equal(client_send(c, p, n), 0);
    conn_close(c->conn, 1000, "", 0);
}

static void close_from_inside_a_message_stands_behind_the_answers(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.on_message = answer_and_close;
    client_text(&s.c, "one");
    client_text(&s.c, "two");
    client_settle(&s.c);
    assert_int_equal(s.c.messages, 1);
    client_expect(&s.c, FRAME_BINARY, "one", 3);
    client_expect_close(&s.c, 1000, "");
    client_expect_nothing(&s.c);
    end(&s);
}

static void both_close_at_once(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    client_close_frame(&s.c, 1001, "leaving");
    conn_close(s.c.conn, 4000, "done", 4);
    client_settle(&s.c);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 4000);
    client_expect_close(&s.c, 4000, "done");
    client_expect_nothing(&s.c);
    assert_true(s.c.eof);
    end(&s);
}

static void data_behind_the_peers_close_is_ignored(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    uint8_t b[128];
    size_t n = make_frame(b, FRAME_TEXT, true, "before", 6);
    n += make_frame(b + n, FRAME_CLOSE, true, "\x03\xe8", 2);
    n += make_frame(b + n, FRAME_TEXT, true, "after", 5);
    client_write(&s.c, b, n);
    client_settle(&s.c);
    expect_got(&s, "before");
    client_expect_close(&s.c, 1000, "");
    assert_true(s.c.eof);
    end(&s);
}

static void expect_failed(struct scene *s, unsigned code)
{
    struct seen f = {0};
    client_settle(&s->c);
    assert_true(client_next(&s->c, &f));
    assert_int_equal(f.op, FRAME_CLOSE);
    assert_true(f.n >= 2);
    assert_int_equal(f.p[0] << 8 | f.p[1], code);
    assert_int_equal(s->c.close_code, code);
    assert_int_equal(s->c.closed, 1);
    client_expect_nothing(&s->c);
    assert_true(s->c.eof);
    assert_int_equal(world_metric(&s->w, METRIC_PROTOCOL_ERRORS), 1);
}

static void violation_is_answered_behind_what_was_right(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.echo = true;
    client_text(&s.c, "one");
    client_text(&s.c, "two");
    client_write(&s.c, "\x81\x01x", 3); /* not masked */
    client_settle(&s.c);
    expect_got(&s, "onetwo");
    client_expect(&s.c, FRAME_BINARY, "one", 3);
    client_expect(&s.c, FRAME_BINARY, "two", 3);
    expect_failed(&s, 1002);
    /* What it says from now on is read and forgotten. */
    client_text(&s.c, "more");
    client_turns(&s.c, 3);
    assert_int_equal(s.c.messages, 2);
    end(&s);
}

static void text_that_is_not_utf8_fails_with_1007(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    client_frame(&s.c, FRAME_TEXT, "\xc0\x80", 2);
    expect_failed(&s, 1007);
    assert_int_equal(s.c.messages, 0);
    end(&s);
}

static void message_over_the_limit_fails_with_1009(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.message_bytes = 100;
    client_open(&s.c, &s.w, PAIR_UNIX);
    char big[101] = {0};
    client_frame(&s.c, FRAME_BINARY, big, 100);
    client_settle(&s.c);
    assert_int_equal(s.c.messages, 1);
    client_frame(&s.c, FRAME_BINARY, big, 101);
    expect_failed(&s, 1009);
    end(&s);
}

/* As many messages of a mebibyte of zeros, which are a kilobyte each. */
static void send_bombs(struct client *c, int count)
{
    const size_t bytes = 1024 * 1024;
    uint8_t *zeros = calloc(1, bytes);
    struct buf packed = {.max = bytes};
    struct deflater *d = deflater_new(15);
    assert_true(zeros != NULL && d != NULL);
    assert_int_equal(deflater_run(d, 6, false, zeros, bytes, &packed), 0);
    uint8_t frame[4096];
    assert_true(packed.len + FRAME_HEADER_MAX <= sizeof(frame));
    size_t n = make_frame(frame, FRAME_BINARY, true, packed.p, packed.len);
    frame[0] |= 0x40; /* RSV1 */
    for (int i = 0; i < count; i++) {
        client_write(c, frame, n);
    }
    deflater_free(d);
    buf_fini(&packed);
    free(zeros);
}

/* 256 bytes of a bomb are 258 KiB, which come to what there was already. */
static void inflating_takes_turns_with_those_who_send_plain_bytes(void **state)
{
    (void)state;
    struct scene s;
    static const struct deflate_params params = {
        .server_bits = 15, .client_bits = 15};
    world_init(&s.w);
    s.w.settings.message_bytes = 1024 * 1024;
    client_open(&s.c, &s.w, PAIR_UNIX);
    conn_set_deflate(s.c.conn, &params);
    struct client plain;
    client_open(&plain, &s.w, PAIR_UNIX);
    plain.echo = true;
    send_bombs(&s.c, 4);
    int turns = 0;
    while (s.c.messages < 4) {
        assert_true(++turns < 1000);
        client_text(&plain, "x");
        loop_turn(s.w.loop, 0);
        assert_in_range(s.w.net->inflated, 0,
            LIMIT_TURN_INFLATE_BYTES + LIMIT_INFLATE_STEP_BYTES * 1040);
        assert_int_equal(plain.messages, turns);
    }
    assert_true(turns >= 8);
    assert_int_equal(s.c.got_len, 4 * 1024 * 1024);
    client_fini(&plain);
    end(&s);
}

static void violation_after_our_close_ends_the_wait(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    conn_close(s.c.conn, 1000, "", 0);
    client_write(&s.c, "\xff\xff", 2);
    client_settle(&s.c);
    client_expect_close(&s.c, 1000, "");
    client_expect_nothing(&s.c);
    assert_true(s.c.eof);
    end(&s);
}

static void end_in_the_midst_of_a_frame_is_1006(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    client_text(&s.c, "whole");
    client_write(&s.c, "\x81\x85\x01\x02", 4);
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 8);
    expect_got(&s, "whole");
    assert_int_equal(s.c.close_code, 1006);
    expect_gone(&s);
    end(&s);
}

static void reset_is_1006(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_TCP);
    struct linger now = {1, 0};
    setsockopt(s.c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 3);
    assert_int_equal(s.c.close_code, 1006);
    expect_gone(&s);
    end(&s);
}

static void half_closed_peer_still_gets_our_close(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_TCP);
    client_close_frame(&s.c, 1000, "");
    shutdown(s.c.fd, SHUT_WR);
    client_settle(&s.c);
    client_expect_close(&s.c, 1000, "");
    assert_true(s.c.eof);
    expect_gone(&s);
    end(&s);
}

static void peer_that_never_answers_our_close_is_reset(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.close_ms = 200;
    client_open(&s.c, &s.w, PAIR_TCP);
    conn_close(s.c.conn, 1000, "", 0);
    /* Read now: a reset throws away what the peer has not read. */
    client_turns(&s.c, 8);
    client_expect_close(&s.c, 1000, "");
    uint64_t until = loop_clock_ns() + 5u * 1000 * 1000 * 1000;
    while (s.w.net->conn_count > 0 && loop_clock_ns() < until) {
        loop_turn(s.w.loop, 5);
    }
    expect_gone(&s);
    client_turns(&s.c, 1);
    assert_int_equal(s.c.error, ECONNRESET);
    end(&s);
}

static void peer_that_never_ends_is_reset(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.close_ms = 20;
    client_open(&s.c, &s.w, PAIR_TCP);
    client_close_frame(&s.c, 1000, "");
    client_settle(&s.c);
    assert_int_equal(s.w.net->conn_count, 1);
    uint64_t until = loop_clock_ns() + 5u * 1000 * 1000 * 1000;
    while (s.w.net->conn_count > 0 && loop_clock_ns() < until) {
        loop_turn(s.w.loop, 5);
        (void)send(s.c.fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    expect_gone(&s);
    end(&s);
}

static void kill_tells_the_handler_once(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    conn_kill(s.c.conn, false);
    conn_kill(s.c.conn, true);
    assert_int_equal(s.c.closed, 1);
    assert_int_equal(s.c.close_code, 1006);
    client_turns(&s.c, 1);
    assert_true(s.c.eof);
    expect_gone(&s);
    end(&s);
}

static void kill_a_client(struct client *c, const uint8_t *p, size_t n)
{
    (void)p;
    (void)n;
    conn_kill(c->conn, false);
}

static void kill_from_inside_a_message_is_survived(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.on_message = kill_a_client;
    /* Split, so that the reader holds memory when it happens. */
    uint8_t b[64];
    size_t n = make_frame(b, FRAME_TEXT, true, "split", 5);
    client_write(&s.c, b, n - 2);
    client_turns(&s.c, 3);
    client_write(&s.c, b + n - 2, 2);
    client_turns(&s.c, 3);
    expect_got(&s, "split");
    expect_gone(&s);
    end(&s);
}

static void stale_id_finds_nobody(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    struct conn_id old = s.c.id;
    struct conn_id other = old;
    other.loop++;
    assert_null(net_find(s.w.net, other));
    assert_null(net_find(s.w.net, (struct conn_id){0, old.slot, 0}));
    assert_null(net_find(s.w.net, (struct conn_id){0, 12345, 1}));
    conn_kill(s.c.conn, false);
    client_fini(&s.c);
    client_open(&s.c, &s.w, PAIR_UNIX);
    assert_int_equal(s.c.id.slot, old.slot);
    assert_null(net_find(s.w.net, old));
    end(&s);
}

static void refused_message_pauses_and_resuming_loses_nothing(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.take = 2;
    char want[512] = "";
    for (int i = 0; i < 20; i++) {
        char m[16];
        sprintf(m, "m%d ", i);
        strcat(want, m);
        client_text(&s.c, m);
    }
    client_turns(&s.c, 30);
    assert_int_equal(s.c.messages, 2);
    strcat(want, "last");
    client_text(&s.c, "last");
    client_turns(&s.c, 2);
    assert_int_equal(s.c.conn->watch.events, 0);
    assert_int_equal(world_metric(&s.w, METRIC_PAUSES), 1);
    /* Resumed with room for none: paused again. */
    conn_resume(s.c.conn);
    client_turns(&s.c, 2);
    assert_int_equal(s.c.messages, 2);
    s.c.take = 3;
    conn_resume(s.c.conn);
    assert_int_equal(s.c.messages, 2); /* never from inside the call */
    client_turns(&s.c, 40);
    assert_int_equal(s.c.messages, 5);
    s.c.take = -1;
    conn_resume(s.c.conn);
    client_settle(&s.c);
    expect_got(&s, want);
    end(&s);
}

static void short_pause_costs_no_change_of_interest(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.refuse = true;
    client_frame(&s.c, FRAME_TEXT, NULL, 0);
    loop_turn(s.w.loop, 0);
    assert_true(s.c.conn->flags & CONN_PAUSED);
    assert_int_equal(s.c.conn->watch.events, IO_READ);
    s.c.refuse = false;
    conn_resume(s.c.conn);
    client_turns(&s.c, 1);
    assert_int_equal(s.c.messages, 1);
    assert_int_equal(s.c.conn->watch.events, IO_READ);
    end(&s);
}

static void end_of_a_paused_stream_is_seen_behind_its_messages(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.take = 1;
    client_text(&s.c, "one");
    client_text(&s.c, "two");
    close(s.c.fd);
    s.c.fd = -1;
    client_turns(&s.c, 10);
    assert_int_equal(s.c.closed, 0);
    s.c.take = -1;
    conn_resume(s.c.conn);
    client_turns(&s.c, 10);
    expect_got(&s, "onetwo");
    assert_int_equal(s.c.close_code, 1006);
    expect_gone(&s);
    end(&s);
}

static void peers_close_behind_a_pause_is_found_when_we_close(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.refuse = true;
    client_text(&s.c, "never taken");
    client_close_frame(&s.c, 1001, "");
    client_turns(&s.c, 10);
    assert_int_equal(s.c.closed, 0);
    conn_close(s.c.conn, 1000, "", 0);
    client_settle(&s.c);
    assert_int_equal(s.c.messages, 0);
    client_expect_close(&s.c, 1000, "");
    assert_true(s.c.eof);
    end(&s);
}

static void failed_client_that_was_paused_is_read_over(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    s.c.refuse = true;
    for (int i = 0; i < 10; i++) {
        client_text(&s.c, "never taken");
    }
    client_turns(&s.c, 10);
    conn_fail(s.c.conn, 1008, "rule", false);
    assert_int_equal(s.c.close_code, 1008);
    client_settle(&s.c);
    client_expect_close(&s.c, 1008, "rule");
    assert_true(s.c.eof);
    assert_int_equal(s.c.messages, 0);
    end(&s);
}

static void idle_client_is_pinged_and_its_pong_keeps_it(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.ping_ms = 20;
    s.w.settings.pong_ms = 1000;
    client_open(&s.c, &s.w, PAIR_UNIX);
    for (int pings = 0; pings < 3; pings++) {
        struct seen f = {0};
        for (int i = 0; i < 200 && !client_next(&s.c, &f); i++) {
            loop_turn(s.w.loop, 5);
            client_read(&s.c, SIZE_MAX);
        }
        assert_int_equal(f.op, FRAME_PING);
        assert_true(s.c.conn->flags & CONN_PINGED);
        client_frame(&s.c, FRAME_PONG, f.p, f.n);
        client_settle(&s.c);
        assert_false(s.c.conn->flags & CONN_PINGED);
    }
    assert_int_equal(s.c.closed, 0);
    end(&s);
}

static void silent_client_is_gone_after_the_pong_wait(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.ping_ms = 10;
    s.w.settings.pong_ms = 10;
    client_open(&s.c, &s.w, PAIR_UNIX);
    for (int i = 0; i < 200 && s.c.closed == 0; i++) {
        loop_turn(s.w.loop, 5);
    }
    assert_int_equal(s.c.close_code, 1006);
    assert_int_equal(world_metric(&s.w, METRIC_PONG_TIMEOUTS), 1);
    loop_turn(s.w.loop, 0);
    expect_gone(&s);
    end(&s);
}

static void client_that_talks_is_not_pinged(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.ping_ms = 200;
    client_open(&s.c, &s.w, PAIR_UNIX);
    uint64_t until = loop_clock_ns() + 500u * 1000 * 1000;
    while (loop_clock_ns() < until) {
        client_text(&s.c, "x");
        loop_turn(s.w.loop, 0);
        loop_turn(s.w.loop, 10);
    }
    client_read(&s.c, SIZE_MAX);
    client_expect_nothing(&s.c);
    end(&s);
}

static void clock_of_a_paused_client_stands_still(void **state)
{
    (void)state;
    struct scene s;
    world_init(&s.w);
    s.w.settings.ping_ms = 10;
    s.w.settings.pong_ms = 10;
    client_open(&s.c, &s.w, PAIR_UNIX);
    s.c.refuse = true;
    client_text(&s.c, "x");
    for (int i = 0; i < 20; i++) {
        loop_turn(s.w.loop, 5);
    }
    assert_int_equal(s.c.closed, 0);
    end(&s);
}

static void other_on_message(
    void *user, const uint8_t *p, size_t n, bool is_binary)
{
    (void)p;
    (void)n;
    (void)is_binary;
    ((struct client *)user)->messages += 100;
}

static void reload_swaps_the_handler(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    client_text(&s.c, "a");
    client_settle(&s.c);
    struct conn_handler other = s.w.handler;
    other.on_message = other_on_message;
    conn_set_handler(s.c.conn, &other, &s.c);
    client_text(&s.c, "b");
    client_settle(&s.c);
    assert_int_equal(s.c.messages, 101);
    end(&s);
}

static void address_of_the_peer_is_text(void **state)
{
    (void)state;
    struct scene s;
    char ip[CONN_IP_BYTES];
    begin(&s, PAIR_TCP);
    conn_ip(s.c.conn, ip);
    assert_string_equal(ip, "127.0.0.1");
    end(&s);
    begin(&s, PAIR_UNIX);
    conn_ip(s.c.conn, ip);
    assert_string_equal(ip, "");
    end(&s);
}

static void borrowed_read_buffer_is_left_alone(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, PAIR_UNIX);
    struct blob *held = blob_ref(s.w.net->read_buf);
    uint8_t *copy = malloc(held->size);
    memcpy(copy, held->data, held->size);
    client_text(&s.c, "another message");
    client_settle(&s.c);
    assert_ptr_not_equal(s.w.net->read_buf, held);
    assert_memory_equal(held->data, copy, held->size);
    free(copy);
    blob_unref(held);
    end(&s);
}

/* Fails the n-th allocation of a client's whole life. Whatever happens, the
 * handler hears the end once, and nothing is lost of what is counted. */
static void no_failed_allocation_breaks_a_life(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 30; n++) {
        struct scene s;
        world_init(&s.w);
        client_connect(&s.c, &s.w, PAIR_UNIX);
        s.c.echo = true;
        s.c.take = 1;
        uint8_t b[1024];
        size_t len = strlen(UPGRADE_REQUEST);
        memcpy(b, UPGRADE_REQUEST, len);
        len += make_frame(b + len, FRAME_TEXT, true, "one", 3);
        len += make_frame(b + len, FRAME_PING, true, "x", 1);
        len += make_frame(b + len, FRAME_TEXT, true, "two", 3);
        len += make_frame(b + len, FRAME_CLOSE, true, "\x03\xe8", 2);
        s.w.arriving = &s.c;
        /* The tape of the test's app is no part of the matter. */
        struct range r = world_frame(&s.w, FRAME_TEXT, b, 200);
        (void)r;
        client_write(&s.c, b, len);
        mem_fail_at(n);
        for (int i = 0; i < 100 && s.c.messages == 0; i++) {
            loop_turn(s.w.loop, 0);
            s.c.echo = false;
        }
        if (s.c.opened && s.c.closed == 0) {
            s.c.take = -1;
            conn_resume(s.c.conn);
        }
        client_turns(&s.c, 100);
        mem_fail_at(0);
        client_turns(&s.c, 100);
        assert_int_equal(s.c.closed, s.c.opened);
        end(&s);
    }
}

static struct {
    uint8_t *taken;
    const uint8_t *data;
    size_t len;
} kept;

static void take_it(struct client *c, const uint8_t *p, size_t n)
{
    kept.data = p;
    kept.len = n;
    kept.taken = net_take_lent(c->world->net, p, n);
    assert_null(net_take_lent(c->world->net, p, n));
}

#ifdef MOONWIRE_TINY /* reads 7 bytes in a turn */
#    define LONG_BYTES  300
#    define WRITE_BYTES 100
#    define WRITE_TURNS 20
#else
#    define LONG_BYTES  300000
#    define WRITE_BYTES 50000
#    define WRITE_TURNS 3
#endif

static void send_in_reads(struct client *c, const void *p, size_t n)
{
    uint8_t *frame = malloc(n + FRAME_HEADER_MAX);
    size_t len = make_frame(frame, FRAME_BINARY, true, p, n);
    for (size_t at = 0; at < len; at += WRITE_BYTES) {
        size_t piece = len - at < WRITE_BYTES ? len - at : WRITE_BYTES;
        client_write(c, frame + at, piece);
        client_turns(c, WRITE_TURNS);
    }
    free(frame);
}

static void a_long_message_can_be_kept_without_a_copy(void **state)
{
    (void)state;
    static uint8_t bytes[LONG_BYTES];
    struct scene s;
    begin(&s, PAIR_TCP);
    s.c.on_message = take_it;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 31 + i / 1000);
    }
    for (int i = 0; i < 3; i++) {
        kept.len = 0;
        send_in_reads(&s.c, bytes, sizeof(bytes));
        assert_int_equal(kept.len, sizeof(bytes));
        assert_ptr_equal(kept.taken, kept.data);
        assert_memory_equal(kept.taken, bytes, sizeof(bytes));
        quota_free(kept.taken);
    }
    /* One that lies in the loop's buffer cannot be. */
    s.c.got_len = 0;
    client_text(&s.c, "short");
    client_turns(&s.c, WRITE_TURNS);
    expect_got(&s, "short");
    assert_null(kept.taken);
    assert_null(net_take_lent(s.w.net, kept.data, kept.len));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_message_can_be_kept_without_a_copy),
        cmocka_unit_test(echo_of_a_message_comes_back),
        cmocka_unit_test(messages_sent_with_the_handshake_are_not_lost),
        cmocka_unit_test(peer_that_sends_byte_by_byte_is_understood),
        cmocka_unit_test(pongs_answer_pings_in_order_and_carry_their_bytes),
        cmocka_unit_test(data_and_pongs_of_one_turn_all_leave),
        cmocka_unit_test(peer_closes_first),
        cmocka_unit_test(close_without_a_code_is_1005_and_is_answered_empty),
        cmocka_unit_test(we_close_first_and_hear_only_pings_and_their_close),
        cmocka_unit_test(close_from_inside_a_message_stands_behind_the_answers),
        cmocka_unit_test(both_close_at_once),
        cmocka_unit_test(data_behind_the_peers_close_is_ignored),
        cmocka_unit_test(violation_is_answered_behind_what_was_right),
        cmocka_unit_test(text_that_is_not_utf8_fails_with_1007),
        cmocka_unit_test(message_over_the_limit_fails_with_1009),
        cmocka_unit_test(inflating_takes_turns_with_those_who_send_plain_bytes),
        cmocka_unit_test(violation_after_our_close_ends_the_wait),
        cmocka_unit_test(end_in_the_midst_of_a_frame_is_1006),
        cmocka_unit_test(reset_is_1006),
        cmocka_unit_test(half_closed_peer_still_gets_our_close),
        cmocka_unit_test(peer_that_never_answers_our_close_is_reset),
        cmocka_unit_test(peer_that_never_ends_is_reset),
        cmocka_unit_test(kill_tells_the_handler_once),
        cmocka_unit_test(kill_from_inside_a_message_is_survived),
        cmocka_unit_test(stale_id_finds_nobody),
        cmocka_unit_test(refused_message_pauses_and_resuming_loses_nothing),
        cmocka_unit_test(short_pause_costs_no_change_of_interest),
        cmocka_unit_test(end_of_a_paused_stream_is_seen_behind_its_messages),
        cmocka_unit_test(peers_close_behind_a_pause_is_found_when_we_close),
        cmocka_unit_test(failed_client_that_was_paused_is_read_over),
        cmocka_unit_test(idle_client_is_pinged_and_its_pong_keeps_it),
        cmocka_unit_test(silent_client_is_gone_after_the_pong_wait),
        cmocka_unit_test(client_that_talks_is_not_pinged),
        cmocka_unit_test(clock_of_a_paused_client_stands_still),
        cmocka_unit_test(reload_swaps_the_handler),
        cmocka_unit_test(address_of_the_peer_is_text),
        cmocka_unit_test(borrowed_read_buffer_is_left_alone),
        cmocka_unit_test(no_failed_allocation_breaks_a_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
