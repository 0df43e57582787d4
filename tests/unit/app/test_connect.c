#include "script/preempt_priv.h"
#include "stage.h"

/* Asks and waits for the answer. */
static struct peer *answer(
    struct stage *st, const char *target, const char *extra)
{
    struct peer *p = peer_ask(st, target, extra);
    UNTIL(st, p->status != 0);
    return p;
}

static const char *body(const struct peer *p)
{
    return (const char *)p->got;
}

static void without_on_connect_everybody_comes_in(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_open(c)\n"
                     "  c:send(tostring(c.user) .. ' ' .. c.path .. ' ' ..\n"
                     "    tostring(c.protocol) .. ' ' .. c.id)\n"
                     "end");
    struct peer *p = peer_open(&st, "/any/path?x=1");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "nil /any/path nil 1");
    stage_fini(&st);
}

static void a_verdict_becomes_the_client(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "function on_connect(r)\n"
        "  return { user = 'ann', data = { n = 1 }, rooms = { 'a', 'b' },\n"
        "    protocol = 'chat.v2', headers = { ['X-One'] = '1',\n"
        "    ['Set-Cookie'] = { 'a=1', 'b=2' } } }\n"
        "end\n"
        "function on_open(c)\n"
        "  c:send(c.user .. c.data.n .. table.concat(c:rooms()) ..\n"
        "    c.protocol .. room('b'):count())\n"
        "end\n");
    struct peer *p = answer(&st, "/",
        "Sec-WebSocket-Protocol: chat.v1\r\n"
        "Sec-WebSocket-Protocol: chat.v2\r\n");
    assert_int_equal(p->status, 101);
    assert_contains(p->head, "X-One: 1\r\n");
    assert_contains(p->head, "Set-Cookie: a=1\r\n");
    assert_contains(p->head, "Set-Cookie: b=2\r\n");
    assert_contains(p->head, "Sec-WebSocket-Protocol: chat.v2\r\n");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "ann1abchat.v21");
    stage_fini(&st);
}

static void each_refusal_has_its_status_and_its_words(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "local says = {\n"
        "  ['/nil'] = {},\n"
        "  ['/false'] = { false },\n"
        "  ['/status'] = { nil, 429 },\n"
        "  ['/words'] = { nil, 401, 'who are you?' },\n"
        "  ['/long'] = { nil, 400, ('x'):rep(1000) },\n"
        "  ['/true'] = { true },\n"
        "  ['/empty'] = { {} },\n"
        "}\n"
        "function on_connect(r) return table.unpack(says[r.path], 1, 3) end");
    struct peer *p = answer(&st, "/nil", "");
    assert_int_equal(p->status, 403);
    p = answer(&st, "/false", "");
    assert_int_equal(p->status, 403);
    p = answer(&st, "/status", "");
    assert_int_equal(p->status, 429);
    p = answer(&st, "/words", "");
    assert_int_equal(p->status, 401);
    UNTIL(&st, p->is_over);
    assert_contains(body(p), "who are you?");
    p = answer(&st, "/long", "");
    assert_int_equal(p->status, 400);
    assert_int_equal(answer(&st, "/true", "")->status, 101);
    assert_int_equal(answer(&st, "/empty", "")->status, 101);
    assert_int_equal(st.app->connecting, 0);
    assert_int_equal(st.app->client_count, 2);
    stage_fini(&st);
}

static void what_makes_no_sense_is_500_and_named_in_the_log(void **state)
{
    (void)state;
    static const struct {
        const char *returns;
        const char *error;
    } cases[] = {
        {"5", "on_connect must return a table, true, or nil, status, reason; "
              "got number"},
        {"nil, 200", "a refusal's status is 400 to 599"},
        {"nil, 'no'", "a refusal's status is 400 to 599"},
        {"{ usr = 'x' }", "unknown field 'usr'; did you mean 'user'?"},
        {"{ 'x' }", "unknown field 'number'"},
        {"{ user = {} }", "'user' must be a string, got table"},
        {"{ user = '' }", "'user' must be 1 to 128 bytes long"},
        {"{ user = ('x'):rep(129) }", "'user' must be 1 to 128 bytes long"},
        {"{ data = 'x' }", "'data' must be a table"},
        {"{ rooms = 'x' }", "'rooms' must be a table of names"},
        {"{ rooms = { 'a', 2 } }", "rooms[2] is not a string"},
        {"{ rooms = { '' } }", "rooms[1] must be 1 to 128 bytes long"},
        {"{ rooms = many }", "limits.rooms_per_client (128)"},
        {"{ protocol = 'p' }", "the client did not offer the protocol 'p'"},
        {"{ headers = 'x' }", "'headers' must be a table"},
        {"{ headers = { 'x' } }", "header names are strings"},
        {"{ headers = { X = 1 } }", "header 'X' is not a string"},
        {"{ headers = { X = 'a\\r\\nY: b' } }", "header 'X' cannot be set"},
        {"{ headers = { ['X: y'] = 'a' } }", "header 'X: y' cannot be set"},
        {"{ headers = { [''] = 'a' } }", "header '' cannot be set"},
        {"{ headers = { Connection = 'a' } }",
            "header 'Connection' cannot be set"},
        {"{ headers = { ['sec-websocket-accept'] = 'a' } }",
            "header 'sec-websocket-accept' cannot be set"},
        {"{ headers = { X = ('x'):rep(5000) } }",
            "headers are over 4096 bytes"},
        {"error('on purpose')", "main.lua:4: on purpose"},
    };
    struct stage st;
    stage_init(&st);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text),
            "local many = {}\nfor i = 1, 129 do many[i] = 'r' .. i end\n"
            "function on_connect()\n  return %s\nend\n",
            cases[i].returns);
        stage_open(&st, text);
        struct peer *p = answer(&st, "/", "");
        assert_int_equal(p->status, 500);
        UNTIL(&st, p->is_over);
        assert_contains(body(p), "the app failed to decide");
        assert_logged(&st, cases[i].error);
        stage_close_app(&st);
    }
    stage_fini(&st);
}

static void on_connect_may_wait(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_connect(r)\n"
                     "  sleep(0.005)\n"
                     "  if r.path == '/no' then return nil, 404 end\n"
                     "  sleep(0.005)\n"
                     "  return { data = { path = r.path } }\n"
                     "end\n"
                     "function on_open(c) c:send(c.data.path) end");
    struct peer *a = peer_ask(&st, "/a", "");
    struct peer *b = peer_ask(&st, "/no", "");
    struct peer *c = peer_ask(&st, "/c", "");
    UNTIL(&st, a->messages == 1 && b->status != 0 && c->messages == 1);
    assert_int_equal(b->status, 404);
    assert_string_equal(peer_take(a), "/a");
    assert_string_equal(peer_take(c), "/c");
    stage_fini(&st);
}

static void what_is_sent_with_the_request_is_heard_after_on_open(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_connect() sleep(0.01) return true end\n"
                     "function on_open(c) sleep(0.01) c:send('open') end\n"
                     "function on_message(c, m) c:send(m) end");
    struct peer *p = peer_ask(&st, "/", "");
    peer_say(p, "early");
    UNTIL(&st, p->messages == 2);
    assert_string_equal(peer_take(p), "open early");
    stage_fini(&st);
}

static void another_origin_is_refused_and_told_what_to_set(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(
        &st, "app.conf.lua", "return { origins = { 'https://good.example' } }");
    stage_open(&st, "function on_connect() print('asked') return true end");
    struct peer *p = answer(&st, "/", "Origin: https://evil.example\r\n");
    assert_int_equal(p->status, 403);
    UNTIL(&st, p->is_over);
    assert_contains(body(p), "origin \"https://evil.example\" is not allowed; "
                             "allowed: the host itself, https://good.example "
                             "(setting \"origins\" in app.conf.lua)");
    assert_int_equal(stage_logged(&st, "asked"), 0);
    assert_int_equal(
        answer(&st, "/", "Origin: https://good.example\r\n")->status, 101);
    assert_int_equal(answer(&st, "/", "Origin: http://test\r\n")->status, 101);
    assert_int_equal(stage_logged(&st, "asked"), 2);
    stage_fini(&st);
}

static void no_more_clients_come_than_the_limit(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { limits = { clients = 2 } }");
    stage_open(&st, "function on_connect() sleep(0.01) return true end\n"
                    "function on_close() sleep(0.02) end");
    struct peer *a = peer_ask(&st, "/", "");
    struct peer *b = peer_ask(&st, "/", "");
    stage_turns(&st, 3);
    /* Those on whom is being decided count as well. */
    struct peer *c = answer(&st, "/", "");
    assert_int_equal(c->status, 503);
    assert_contains(c->head, "Retry-After: ");
    assert_logged(
        &st, "the app is full: 2 clients are there, limits.clients is 2");
    UNTIL(&st, a->status == 101 && b->status == 101);
    peer_cut(a);
    UNTIL(&st, st.app->client_count == 1);
    assert_int_equal(answer(&st, "/", "")->status, 101);
    stage_fini(&st);
}

static void a_full_room_refuses_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "rooms.define('small*', { max_clients = 1 })\n"
        "function on_connect(r)\n"
        "  return { user = 'u', data = {}, rooms = { 'big', 'small1' } }\n"
        "end\n"
        "function on_open(c)\n"
        "  c:send(room('big'):count() .. ' ' .. #clients.of('u'))\n"
        "end\n"
        "function on_close() print('a close') end\n"
        "function on_message(c)\n"
        "  c:send(room('big'):count() .. ' ' .. #clients.of('u'))\n"
        "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = answer(&st, "/", "");
    assert_int_equal(b->status, 503);
    UNTIL(&st, b->is_over);
    assert_contains(body(b), "the room is full");
    peer_say(a, "?");
    UNTIL(&st, a->messages == 2);
    assert_string_equal(peer_take(a), "1 1 1 1");
    assert_int_equal(st.app->client_count, 1);
    assert_int_equal(stage_logged(&st, "a close"), 0);
    stage_fini(&st);
}

static void the_address_of_the_peer_is_known(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_connect(r) print('ip=' .. r.ip .. ';')\n"
                     "  return true end\n"
                     "function on_open(c) c:send(tostring(c.ip)) end");
    /* A socket pair has none. */
    struct peer *p = peer_open(&st, "/");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "nil");
    assert_logged(&st, "ip=;");
    stage_fini(&st);
}

/* A script that is stopped may be looking at the client. */
static void who_never_opens_goes_when_no_script_is_stopped(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_open(c) print('open ' .. c.id) end\n"
                     "function on_close(c) print('close ' .. c.id) end\n"
                     "function on_message(c)\n"
                     "  local x for i = 1, 300000 do x = { i } end\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    if (st.far_loop != NULL) {
        preempt_set_slice_us(50);
        peer_say(a, "x");
        UNTIL(&st, st.app->stopped != NULL);
        struct peer *b = peer_ask(&st, "/", "");
        for (int i = 0; i < 200 && st.app->client_count == 1; i++) {
            loop_turn(st.far_loop, 0);
            loop_turn(st.loop, 0);
        }
        assert_int_equal(st.app->client_count, 2);
        peer_cut(b);
        for (int i = 0; i < 3; i++) {
            loop_turn(st.far_loop, 0);
            loop_turn(st.loop, 0);
        }
        assert_non_null(st.app->stopped);
        assert_int_equal(st.app->client_count, 2);
        preempt_set_slice_us(0);
        UNTIL(&st, st.app->client_count == 1);
        assert_int_equal(stage_logged(&st, "open 2"), 0);
        assert_int_equal(stage_logged(&st, "close 2"), 0);
    }
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_on_connect_everybody_comes_in),
        cmocka_unit_test(a_verdict_becomes_the_client),
        cmocka_unit_test(each_refusal_has_its_status_and_its_words),
        cmocka_unit_test(what_makes_no_sense_is_500_and_named_in_the_log),
        cmocka_unit_test(on_connect_may_wait),
        cmocka_unit_test(what_is_sent_with_the_request_is_heard_after_on_open),
        cmocka_unit_test(another_origin_is_refused_and_told_what_to_set),
        cmocka_unit_test(no_more_clients_come_than_the_limit),
        cmocka_unit_test(a_full_room_refuses_and_leaves_nothing_behind),
        cmocka_unit_test(the_address_of_the_peer_is_known),
        cmocka_unit_test(who_never_opens_goes_when_no_script_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
