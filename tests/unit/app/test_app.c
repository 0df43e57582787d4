#include "stage.h"

/* Why an app of these words does not load. */
static const char *error_of(struct stage *st, const char *main_lua)
{
    struct app_config config = stage_config(st);
    stage_write(st, "main.lua", main_lua);
    st->why[0] = '\0';
    assert_true(stage_load(st, &config) < 0);
    assert_null(st->app);
    assert_true(st->why[0] != '\0');
    return st->why;
}

static void an_app_that_does_not_load_says_where_and_why(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    const char *why = error_of(&st, "local x = 1\nlocal y = = 2\n");
    assert_string_equal(why, "main.lua:2: unexpected symbol near '='");
    why = error_of(&st, "\nlocal function f() nothing.here() end\n\nf()\n");
    assert_contains(why, "main.lua:2: attempt to index a nil value "
                         "(global 'nothing')\nstack traceback:\n");
    assert_contains(why, "main.lua:4: in main chunk");
    assert_null(strstr(why, "[C]: in ?"));
    stage_write(&st, "lib/a.lua", "return 1 +");
    why = error_of(&st, "local a = require 'lib.a'");
    assert_memory_equal(why, "lib/a.lua:1: ", 13);
    assert_contains(why, "main.lua:1: in main chunk");
    why = error_of(&st, "function on_open() end\non_close = 'x'");
    assert_string_equal(
        why, "main.lua: 'on_close' must be a function, got string");
    why = error_of(&st, "error('no place', 0)");
    assert_memory_equal(why, "no place", 8);
    why = error_of(&st, "error({ code = 1 })");
    assert_contains(why, "(error object is a table value)");
    why = error_of(&st, "\x1bLua");
    assert_contains(why, "binary chunk");
    why = error_of(&st, "local s = 'x' while true do s = s .. s end");
    assert_contains(why, "not enough memory");
    stage_write(&st, "app.conf.lua", "return {\n pnig = 1 }");
    why = error_of(&st, "");
    assert_string_equal(why, "app.conf.lua:2: unknown setting 'pnig'; "
                             "did you mean 'ping'?");
    stage_fini(&st);
}

/* An app gets the globals that its files name: whichever way it looks at one,
 * it must be what an app sees that can look at all of them. */
static void a_global_that_is_named_is_there(void **state)
{
    (void)state;
    struct stage st;
    char all[APP_ERROR_BYTES];
    char source[128];
    int count = 0;
    stage_init(&st);
    snprintf(all, sizeof(all), "%s",
        error_of(&st, "local t = '' for k, v in pairs(_G) do\n"
                      "t = t .. k .. ' ' .. type(v) .. ' ' end\n"
                      "error(t .. '.', 0)"));
    assert_contains(all, " .\n");
    for (char *p = all; *p != '.'; count++) {
        size_t name = strcspn(p, " ");
        size_t type = strcspn(p + name + 1, " ");
        snprintf(source, sizeof(source), "error(type(%.*s), 0)", (int)name, p);
        const char *why = error_of(&st, source);
        assert_memory_equal(why, p + name + 1, type);
        stage_write(&st, "lib/a.lua", source);
        why = error_of(&st, "require 'lib.a'");
        assert_memory_equal(why, p + name + 1, type);
        stage_remove(&st, "lib/a.lua");
        p += name + 1 + type + 1;
    }
    assert_true(count > 45);
    stage_fini(&st);
}

static void handlers_may_be_globals_or_fields_of_what_main_returns(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_open(c) c:send('global') end");
    struct peer *p = peer_open(&st, "/");
    UNTIL(&st, p->messages == 1);
    stage_close_app(&st);
    stage_open(&st, "function on_open(c) c:send('global') end\n"
                    "return { on_open = function(c) c:send('field') end }");
    struct peer *q = peer_open(&st, "/");
    UNTIL(&st, q->messages == 1);
    assert_string_equal(peer_take(p), "global");
    assert_string_equal(peer_take(q), "field");
    stage_fini(&st);
}

static void a_check_loads_and_starts_nothing(void **state)
{
    (void)state;
    struct stage st;
    char handlers[128];
    char small[12];
    stage_init(&st);
    struct app_config config = stage_config(&st);
    stage_write(&st, "main.lua",
        "print('loaded')\n"
        "timer.after(0, print, 'timer')\n"
        "rooms.define('x', {})\n"
        "function on_start() print('started') end\n"
        "function on_message() end\n");
    assert_int_equal(
        app_check(&config, st.why, sizeof(st.why), handlers, sizeof(handlers)),
        0);
    assert_string_equal(handlers, "on_start on_message");
    assert_int_equal(
        app_check(&config, st.why, sizeof(st.why), small, sizeof(small)), 0);
    assert_string_equal(small, "on_start on");
    stage_pass(&st, 5);
    assert_int_equal(stage_logged(&st, "loaded"), 2);
    assert_int_equal(stage_logged(&st, "timer"), 0);
    assert_int_equal(stage_logged(&st, "started"), 0);
    stage_write(&st, "main.lua", "oh no");
    assert_true(app_check(&config, st.why, sizeof(st.why), handlers,
                    sizeof(handlers)) < 0);
    assert_memory_equal(st.why, "main.lua:1: ", 12);
    assert_string_equal(handlers, "");
    stage_fini(&st);
}

static void on_start_runs_once_before_the_first_client(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local n = 0\n"
                     "function on_start() n = n + 1 end\n"
                     "function on_open(c) c:send('started ' .. n) end\n");
    struct peer *p = peer_open(&st, "/");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "started 1");
    stage_fini(&st);
}

/* ---- the stop ---- */

struct stop {
    struct stage *st;
    int calls;
    uint64_t at_ms;
};

static void on_stopped(void *arg)
{
    struct stop *s = arg;
    s->calls++;
    s->at_ms = loop_now_ms(s->st->loop);
}

static void stopping_tells_on_stop_and_refuses_new_clients(void **state)
{
    (void)state;
    struct stage st;
    struct stop stop = {.st = &st};
    stage_start(&st, "function on_connect(r)\n"
                     "  if r.path == '/slow' then sleep(0.01) end\n"
                     "  return true\n"
                     "end\n"
                     "function on_stop(why)\n"
                     "  broadcast('stopping: ' .. why)\n"
                     "  sleep(0.02)\n"
                     "  broadcast('bye')\n"
                     "end\n");
    struct peer *p = peer_open(&st, "/");
    struct peer *late = peer_ask(&st, "/slow", "");
    stage_turns(&st, 3);
    app_stop(st.app, "shutdown", on_stopped, &stop);
    app_stop(st.app, "again", on_stopped, &stop);
    struct peer *q = peer_ask(&st, "/", "");
    UNTIL(&st, q->status != 0 && late->status != 0);
    assert_int_equal(q->status, 503);
    assert_int_equal(late->status, 503);
    assert_int_equal(stop.calls, 0);
    UNTIL(&st, stop.calls == 1);
    stage_turns(&st, 3);
    assert_string_equal(peer_take(p), "stopping: shutdown bye");
    assert_int_equal(app_reload(st.app), ERR_CLOSED);
    stage_pass(&st, 20);
    assert_int_equal(stop.calls, 1);
    stage_fini(&st);
}

static void without_on_stop_it_is_over_at_once_but_not_within_the_call(
    void **state)
{
    (void)state;
    struct stage st;
    struct stop stop = {.st = &st};
    stage_start(&st, "");
    app_stop(st.app, "shutdown", on_stopped, &stop);
    assert_int_equal(stop.calls, 0);
    UNTIL(&st, stop.calls == 1);
    stage_fini(&st);
}

static void an_on_stop_that_does_not_end_has_a_deadline(void **state)
{
    (void)state;
    struct stage st;
    struct stop stop = {.st = &st};
    stage_start(&st, "function on_stop() sleep(1000) end");
    uint64_t began = loop_now_ms(st.loop);
    app_stop(st.app, "shutdown", on_stopped, &stop);
    UNTIL(&st, stop.calls == 1);
    assert_in_range(stop.at_ms - began, LIMIT_STOP_HANDLER_MS,
        LIMIT_STOP_HANDLER_MS + 1000);
    stage_fini(&st);
}

static void an_on_stop_that_fails_has_ended(void **state)
{
    (void)state;
    struct stage st;
    struct stop stop = {.st = &st};
    stage_start(&st, "function on_stop() error('in on_stop') end");
    app_stop(st.app, "shutdown", on_stopped, &stop);
    UNTIL(&st, stop.calls == 1);
    assert_logged(&st, "in on_stop");
    stage_fini(&st);
}

static void close_it(void *arg)
{
    struct stage *st = arg;
    app_close(st->app);
    st->app = NULL;
}

static void what_is_told_of_the_stop_may_close_the_app(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_stop() sleep(0.001) end\n"
                     "timer.every(0.001, sleep, 0.001)\n");
    app_stop(st.app, "shutdown", close_it, &st);
    UNTIL(&st, st.app == NULL);
    stage_fini(&st);
}

static int rung;

static void ring(struct timer *t)
{
    (void)t;
    rung++;
}

/* An app that is parked closes its clients over a second; then the server
 * stops. Timers that are due together lie in one list. */
static void clients_that_are_being_closed_can_be_closed_sooner(void **state)
{
    (void)state;
    struct stage st;
    struct peer *p[4];
    struct timer timers[40];
    stage_start(&st, "");
    for (int i = 0; i < 4; i++) {
        p[i] = peer_open(&st, "/");
    }
    rung = 0;
    for (int i = 0; i < 40; i++) {
        if (i == 20) {
            app_close_clients(st.app, 1013, "slowly", 1000);
        }
        timer_init(&timers[i], ring);
        timer_start(st.loop, &timers[i], 10);
    }
    app_close_clients(st.app, 1001, "at once", 0);
    UNTIL(&st, rung == 40);
    for (int i = 0; i < 4; i++) {
        UNTIL(&st, p[i]->code == 1001);
    }
    stage_fini(&st);
}

static void an_app_may_be_closed_while_it_stops(void **state)
{
    (void)state;
    struct stage st;
    struct stop stop = {.st = &st};
    stage_start(&st, "function on_stop() sleep(1000) end");
    app_stop(st.app, "shutdown", on_stopped, &stop);
    stage_turns(&st, 3);
    stage_close_app(&st);
    stage_turns(&st, 3);
    assert_int_equal(stop.calls, 0);
    stage_fini(&st);
}

/* ---- sending everybody away ---- */

static size_t closed_peers(struct stage *st)
{
    size_t n = 0;
    for (size_t i = 0; i < st->peer_count; i++) {
        n += st->peers[i]->code != 0;
    }
    return n;
}

static void clients_are_closed_spread_over_the_time(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local n = 0\n"
                     "function on_close(c, code, reason)\n"
                     "  n = n + 1\n"
                     "  if n == 40 then print('all', code, reason) end\n"
                     "end");
    for (int i = 0; i < 40; i++) {
        (void)peer_open(&st, "/");
    }
    app_close_clients(st.app, 1001, "server stops", 200);
    uint64_t began = loop_now_ms(st.loop);
    stage_turns(&st, 2);
    assert_in_range(closed_peers(&st), 1, 12);
    UNTIL(&st, loop_now_ms(st.loop) - began >= 100);
    assert_in_range(closed_peers(&st), 12, 39);
    UNTIL(&st, closed_peers(&st) == 40);
    assert_true(loop_now_ms(st.loop) - began >= 150);
    assert_string_equal(st.peers[7]->reason, "server stops");
    assert_int_equal(st.peers[7]->code, 1001);
    UNTIL(&st, st.app->client_count == 0);
    assert_logged(&st, "all\\t1001\\tserver stops");
    stage_fini(&st);
}

static void without_a_time_they_are_closed_at_once(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_close() sleep(0.02) end");
    for (int i = 0; i < 10; i++) {
        (void)peer_open(&st, "/");
    }
    peer_cut(st.peers[0]);
    stage_turns(&st, 3);
    /* One of them has gone, but its on_close waits. */
    app_close_clients(st.app, 1012, "", 0);
    stage_turns(&st, 3);
    assert_int_equal(closed_peers(&st), 9);
    app_close_clients(st.app, 1012, "nobody is left", 50);
    UNTIL(&st, st.app->client_count == 0);
    stage_fini(&st);
}

/* ---- torture ---- */

static const char torture_main[] =
    "local words = require 'words'\n"
    "local talk = limit.new { rate = 100 }\n"
    "rooms.define('r*', { slow = 'drop_oldest', max_clients = 10 })\n"
    "timer.every(0.001, function() end)\n"
    "function on_start() task.spawn(function() sleep(0.001) end) end\n"
    "function on_connect(r)\n"
    "  return { user = r.query.name, data = { n = 1 }, rooms = { 'r1' } }\n"
    "end\n"
    "function on_open(c)\n"
    "  c:join('r2')\n"
    "  c:send({ type = words[1], rooms = c:rooms() })\n"
    "end\n"
    "function on_message(c, m)\n"
    "  talk:take(c.user)\n"
    "  c.data.text = m\n"
    "  lock('l', function() sleep(0.001) end)\n"
    "  task.all { function() return 1 end, function() sleep(0) end }\n"
    "  broadcast({ m = m }, { room = 'r1', key = 'k', except = 'bob',\n"
    "    where = function(x) return x.id > 0 end })\n"
    "end\n"
    "function on_close(c) log.info('bye', { n = c.data.n }) end\n";

enum { OPENED, SERVED, RELOADED, ENDED, MARKS };

/* A short life, in which the fail_at-th allocation of what an app or a peer
 * may size fails. The calls made by the end of each of its parts. */
static void live_and_die(
    uint64_t fail_at, bool *has_worked, uint64_t marks[MARKS])
{
    struct stage st;
    struct app_config config;
    stage_init(&st);
    config = stage_config(&st);
    stage_write(&st, "main.lua", torture_main);
    stage_write(&st, "words.lua", "return { 'hello' }");
    stage_write(&st, "app.conf.lua",
        "return { env = { A = 'b' }, origins = { 'a.example' } }");
    st.why[0] = '\0';
    uint64_t calls = mem_quota_calls();
    mem_fail_at(fail_at);
    int rc = stage_load(&st, &config);
    marks[OPENED] = mem_quota_calls() - calls;
    if (rc != 0) {
        assert_null(st.app);
        assert_true(st.why[0] != '\0');
    } else {
        int fds[2];
        struct peer *p = calloc(1, sizeof(*p));
        st.peers[st.peer_count++] = p;
        p->stage = &st;
        assert_int_equal(
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        p->fd = fds[1];
        (void)!conn_new(st.conn_net, fds[0], &st.router, &st.settings);
        static const char request[] =
            "GET /?name=ann HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            "\x81\x82\0\0\0\0hi\x81\x82\0\0\0\0ho";
        (void)send(p->fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
        stage_pass(&st, 8);
        marks[SERVED] = mem_quota_calls() - calls;
        stage_write(&st, "words.lua", "return { 'hello again' }");
        st.app->drain_old_ms = 5;
        int reloaded = stage_reload(&st);
        marks[RELOADED] = mem_quota_calls() - calls;
        (void)send(p->fd, "\x81\x82\0\0\0\0hu", 8, MSG_NOSIGNAL);
        stage_pass(&st, 8);
        *has_worked = reloaded == 0 && p->messages >= 3 &&
                      stage_logged(&st, "error") == 0;
        peer_cut(p);
        stage_pass(&st, 4);
        net_kill_all(st.conn_net, true);
        for (int i = 0; i < 200 && st.app->client_count > 0; i++) {
            stage_turn(&st, 1);
        }
        assert_int_equal(st.app->client_count, 0);
        assert_int_equal(st.app->connecting, 0);
    }
    marks[ENDED] = mem_quota_calls() - calls;
    mem_fail_at(0);
    stage_fini(&st);
}

static void whichever_allocation_fails_it_is_an_error_or_it_works(void **state)
{
    (void)state;
    bool has_worked = false;
    uint64_t marks[MARKS];
    uint64_t unused[MARKS];
    int worked = 0;
    int tried = 0;
    live_and_die(0, &has_worked, marks);
    assert_true(has_worked);
    for (uint64_t n = 1; n <= marks[ENDED] + 10; n++) {
        has_worked = false;
        live_and_die(n, &has_worked, unused);
        worked += has_worked;
        tried++;
        /* Loading makes hundreds of calls that are all alike. */
        bool is_loading =
            n < marks[OPENED] || (n > marks[SERVED] && n < marks[RELOADED]);
        n += is_loading && n > 20 ? n / 20 : 0;
    }
    assert_true(tried > 100);
    assert_true(worked < tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_app_that_does_not_load_says_where_and_why),
        cmocka_unit_test(a_global_that_is_named_is_there),
        cmocka_unit_test(
            handlers_may_be_globals_or_fields_of_what_main_returns),
        cmocka_unit_test(a_check_loads_and_starts_nothing),
        cmocka_unit_test(on_start_runs_once_before_the_first_client),
        cmocka_unit_test(stopping_tells_on_stop_and_refuses_new_clients),
        cmocka_unit_test(
            without_on_stop_it_is_over_at_once_but_not_within_the_call),
        cmocka_unit_test(an_on_stop_that_does_not_end_has_a_deadline),
        cmocka_unit_test(an_on_stop_that_fails_has_ended),
        cmocka_unit_test(what_is_told_of_the_stop_may_close_the_app),
        cmocka_unit_test(clients_that_are_being_closed_can_be_closed_sooner),
        cmocka_unit_test(an_app_may_be_closed_while_it_stops),
        cmocka_unit_test(clients_are_closed_spread_over_the_time),
        cmocka_unit_test(without_a_time_they_are_closed_at_once),
        cmocka_unit_test(whichever_allocation_fails_it_is_an_error_or_it_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
