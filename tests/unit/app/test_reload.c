#include "stage.h"

/* Replaces main.lua and lets it take over. */
static void reload_to(struct stage *st, const char *main_lua)
{
    stage_write(st, "main.lua", main_lua);
    int rc = stage_reload(st);
    if (rc != 0) {
        print_message("%s", stage_log(st));
    }
    assert_int_equal(rc, 0);
}

/* The same, and it must not: everything is as it was. */
static void reload_fails(struct stage *st, const char *main_lua)
{
    struct state *live = st->app->live;
    struct conn_settings settings = st->app->conn_settings;
    uint32_t generation = app_generation(st->app);
    stage_write(st, "main.lua", main_lua);
    assert_true(stage_reload(st) < 0);
    assert_ptr_equal(st->app->live, live);
    UNTIL(st, list_is_empty(&st->app->draining));
    assert_int_equal(app_generation(st->app), generation);
    assert_memory_equal(&st->app->conn_settings, &settings, sizeof(settings));
}

static void data_and_rooms_stay_and_code_and_globals_change(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "mark = 'old'\n"
        "function on_connect(r) return { user = 'ann', data = { n = 1,\n"
        "  deep = { json.null, true, { 'x' } } }, rooms = { 'r' } } end\n"
        "function on_message(c, m) c.data.n = c.data.n + 1 c:send(mark) end\n");
    struct peer *p = peer_open(&st, "/");
    peer_say(p, "1");
    UNTIL(&st, p->messages == 1);
    reload_to(&st,
        "function on_open() error('it was open already') end\n"
        "function on_start() error('it was started already') end\n"
        "function on_message(c, m)\n"
        "  c:send(tostring(mark) .. c.data.n .. c.data.deep[3][1] .. c.user\n"
        "    .. c:rooms()[1] .. tostring(c.data.deep[1] == json.null)\n"
        "    .. c.generation .. app.generation)\n"
        "end\n");
    peer_say(p, "2");
    UNTIL(&st, p->messages == 2);
    assert_string_equal(peer_take(p), "old nil2xannrtrue22");
    assert_int_equal(stage_logged(&st, "already"), 0);
    assert_logged(&st, "reloaded: generation 2, 1 clients stay");
    UNTIL(&st, list_is_empty(&st.app->draining));
    stage_fini(&st);
}

static void the_same_files_are_not_loaded_again(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "");
    struct state *live = st.app->live;
    assert_int_equal(app_reload(st.app), ERR_CHANGED);
    stage_write(&st, "notes.txt", "not Lua");
    assert_int_equal(app_reload(st.app), ERR_CHANGED);
    assert_ptr_equal(st.app->live, live);
    stage_fini(&st);
}

static void whatever_fails_leaves_all_as_it_was(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "rooms.define('r', { max_clients = 5 })\n"
        "function on_connect() return { data = { n = 7 } } end\n"
        "function on_message(c, m) c:send('gen' .. app.generation .. m\n"
        "  .. c.data.n) end\n");
    struct peer *p = peer_open(&st, "/");

    reload_fails(&st, "function on_message(\n");
    assert_logged(&st, "reload failed, generation 1 goes on: main.lua:2:");
    reload_fails(&st, "local x\nx.y = 1\n");
    assert_logged(&st, "generation 1 goes on: main.lua:2: attempt to index");
    reload_fails(&st, "on_message = 5");
    assert_logged(&st, "main.lua: 'on_message' must be a function, got number");
    reload_fails(&st, "require 'nowhere'");
    assert_logged(&st, "module 'nowhere' is not among the app's files");
    reload_fails(&st, "sleep(1)");
    assert_logged(&st, "cannot wait inside the main chunk");
    reload_fails(&st, "broadcast('x')");
    assert_logged(&st, "broadcast cannot be called while the app loads");
    reload_fails(&st, "local t = {} for i = 1, 1e9 do t[i] = {} end");
    assert_logged(&st, "not enough memory");
    reload_fails(&st, "rooms.define('r', { max_clients = 1 })\n"
                      "timer.every(0.001, error, 'it never began')\n"
                      "error('at last')");
    assert_logged(&st, "main.lua:3: at last");
    stage_write(&st, "app.conf.lua", "return { pnig = 1, ping = 2 }");
    reload_fails(&st, "return {}");
    assert_logged(&st, "unknown setting 'pnig'");
    stage_remove(&st, "app.conf.lua");
    stage_remove(&st, "main.lua");
    assert_true(app_reload(st.app) < 0);
    assert_logged(&st, "there is no main.lua");

    stage_pass(&st, 5);
    peer_say(p, "x");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "gen1x7");
    assert_int_equal(stage_logged(&st, "never began"), 0);
    assert_int_equal(
        metric_get(loop_metrics(st.loop), METRIC_RELOADS_FAILED), 10);
    assert_int_equal(metric_get(loop_metrics(st.loop), METRIC_RELOADS), 0);
    stage_fini(&st);
}

static void data_that_is_not_plain_fails_it_and_names_the_path(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "function on_message(c, m)\n"
        "  if m == 'f' then c.data.list = { 1, { f = print } } end\n"
        "  if m == 'ok' then c.data.list = nil end\n"
        "  c:send('gen' .. app.generation)\n"
        "end\n");
    struct peer *p = peer_open(&st, "/");
    peer_say(p, "f");
    UNTIL(&st, p->messages == 1);
    reload_fails(&st, "return {}");
    assert_logged(&st, "client 1: client.data.list[2].f is a function");
    peer_say(p, "ok");
    UNTIL(&st, p->messages == 2);
    reload_to(&st, "return { on_message = function(c) c:send('gen2') end }");
    peer_say(p, "?");
    UNTIL(&st, p->messages == 3);
    assert_string_equal(peer_take(p), "gen1 gen1 gen2");
    stage_fini(&st);
}

static void data_that_does_not_fit_into_the_new_state_fails_it(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_connect()\n"
                     "  return { data = { s = ('x'):rep(400000) } }\n"
                     "end");
    struct peer *p = peer_open(&st, "/");
    (void)p;
    stage_write(
        &st, "app.conf.lua", "return { limits = { memory = '300KB' } }");
    reload_fails(&st, "return {}");
    assert_logged(&st, "reload failed, generation 1 goes on: ");
    stage_fini(&st);
}

static void a_handler_that_waits_ends_in_the_old_state(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c, m)\n"
                     "  c.data.before = m\n"
                     "  sleep(0.2)\n"
                     "  c.data.after = m\n"
                     "  c:send('old ' .. app.generation)\n"
                     "  local t, err = timer.after(1, print)\n"
                     "  c:send('timer ' .. tostring(t) .. ' ' .. err)\n"
                     "  local r, err2 = rooms.define('r', {})\n"
                     "  c:send('rule ' .. tostring(r) .. ' ' .. err2)\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "1");
    stage_turns(&st, 3);
    peer_say(a, "2");
    stage_turns(&st, 3);
    const char *next = "function on_message(c, m)\n"
                       "  c:send('new ' .. tostring(c.data.before) .. "
                       "tostring(c.data.after) .. m)\n"
                       "end -- ";
    char text[256];
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%s%d", next, i);
        reload_to(&st, text);
        stage_turns(&st, 3);
    }
    assert_int_equal(app_generation(st.app), 4);
    peer_say(b, "3");
    UNTIL(&st, b->messages == 1);
    assert_string_equal(peer_take(b), "new nilnil3");
    assert_int_equal(a->messages, 0);
    UNTIL(&st, a->messages == 4);
    assert_string_equal(
        peer_take(a), "old 1 timer nil closed rule nil closed new 112");
    UNTIL(&st, list_is_empty(&st.app->draining));
    stage_fini(&st);
}

static void data_that_an_old_handler_spoilt_is_lost_and_told(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c, m)\n"
                     "  c.data.n = 1\n"
                     "  sleep(0.02)\n"
                     "  c.data.f = print\n"
                     "end");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    stage_turns(&st, 3);
    reload_to(&st, "function on_message(c) c:send(tostring(next(c.data))) end");
    peer_say(a, "2");
    UNTIL(&st, a->messages == 1);
    assert_string_equal(peer_take(a), "nil");
    assert_logged(
        &st, "client.data is lost: client 1: client.data.f is a function");
    stage_fini(&st);
}

/* Every way to wait, in one old generation. */
#define WAITERS                                                                \
    "function on_connect(r)\n"                                                 \
    "  if r.path == '/hang' then sleep(1000) end\n"                            \
    "  return { data = { n = 5 } }\n"                                          \
    "end\n"                                                                    \
    "function on_message(c, m)\n"                                              \
    "  if m == 'sleep' then sleep(1000) end\n"                                 \
    "  if m == 'lock' then lock('l', sleep, 1000) end\n"                       \
    "  if m == 'all' then task.all { function() sleep(1000) end,\n"            \
    "    function() lock('l', print) end, function() end } end\n"              \
    "  if m == 'sort' then table.sort({ 1, 2, 3 },\n"                          \
    "    function() sleep(1000) end) end\n"                                    \
    "  if m == 'co' then coroutine.wrap(function() sleep(1000) end)() end\n"   \
    "  c:send('survived')\n"                                                   \
    "end\n"                                                                    \
    "function on_close() sleep(1000) end\n"                                    \
    "function on_start()\n"                                                    \
    "  for i = 1, 10 do task.spawn(sleep, 1000) end\n"                         \
    "  timer.every(0.001, sleep, 1000)\n"                                      \
    "  sleep(1000)\n"                                                          \
    "end\n"

static const char *const ways[] = {
    "sleep", "lock", "lock", "all", "sort", "co"};

static struct peer *hang_everything(struct stage *st, struct peer **p)
{
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        p[i] = peer_open(st, "/");
        peer_say(p[i], ways[i]);
        peer_say(p[i], "next");
    }
    struct peer *asking = peer_ask(st, "/hang", "");
    struct peer *leaving = peer_open(st, "/");
    peer_cut(leaving);
    stage_pass(st, 10);
    assert_true(st->app->connecting >= 1);
    assert_true(task_count(st->app->live->vm) >= 8);
    return asking;
}

static void what_is_not_done_at_the_deadline_is_ended(void **state)
{
    (void)state;
    struct stage st;
    struct peer *p[ARRAY_LEN(ways)];
    stage_start(&st, WAITERS);
    struct peer *asking = hang_everything(&st, p);
    st.app->drain_old_ms = 20;
    reload_to(&st, "function on_message(c, m)\n"
                   "  c:send('new ' .. m .. c.data.n)\n"
                   "end\n");
    uint32_t clients = st.app->client_count;
    UNTIL(&st, list_is_empty(&st.app->draining));
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        UNTIL(&st, p[i]->messages == 1);
        assert_string_equal(peer_take(p[i]), "new next5");
    }
    UNTIL(&st, asking->status != 0);
    assert_int_equal(asking->status, 500);
    /* Whose on_close was ended has left. */
    assert_int_equal(st.app->client_count, clients - 1);
    assert_int_equal(st.app->connecting, 0);
    assert_logged(&st, "are not done after 20ms: ended");
    stage_fini(&st);
}

#ifdef MOONWIRE_TINY
#    define STEP 2
#    define MANY 20
#else
#    define STEP 256
#    define MANY 400
#endif

static uint32_t clients_of(const struct stage *st, const struct state *s)
{
    uint32_t n = 0;
    list_each (node, &st->app->client_list) {
        n += container_of(node, struct client, node)->state == s;
    }
    return n;
}

/* A hundred thousand clients whose handlers wait stop nobody's clock. */
static void the_end_of_many_handlers_takes_many_turns(void **state)
{
    (void)state;
    struct stage st;
    struct peer *p[MANY];
    stage_start(&st, "function on_message(c) sleep(1000) end");
    for (int i = 0; i < MANY; i++) {
        p[i] = peer_open(&st, "/");
        peer_say(p[i], "wait");
    }
    UNTIL(&st, task_count(st.app->live->vm) == MANY);
    st.app->drain_old_ms = 100000;
    reload_to(&st, "function on_message(c, m) c:send(m) end");
    struct state *old = container_of(st.app->draining.next, struct state, node);
    uint32_t left = clients_of(&st, old);
    assert_int_equal(left, MANY);
    timer_start(st.loop, &old->drain_timer, 0);
    for (int turns = 0; left > 0; turns++) {
        stage_turn(&st, 0);
        uint32_t now = clients_of(&st, old);
        assert_true(left - now <= STEP);
        left = now;
        assert_true(turns < 1000);
    }
    UNTIL(&st, list_is_empty(&st.app->draining));
    assert_int_equal(stage_logged(&st, "handlers and tasks of the old"), 1);
    for (int i = 0; i < MANY; i++) {
        peer_say(p[i], "new");
        UNTIL(&st, p[i]->messages == 1);
    }
    stage_fini(&st);
}

/* Data that has been carried over would not see what it does any more. */
static void who_is_being_ended_does_not_wake_again(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c)\n"
                     "  c.data.n = 1\n"
                     "  sleep(0.5)\n"
                     "  c.data.n = 2\n"
                     "  print('woken')\n"
                     "end\n");
    struct peer *p = peer_open(&st, "/");
    peer_say(p, "wait");
    stage_turns(&st, 3);
    reload_to(&st, "function on_message(c) c:send(tostring(c.data.n)) end");
    struct state *old = container_of(st.app->draining.next, struct state, node);
    old->is_ending = true;
    stage_pass(&st, 550);
    assert_int_equal(stage_logged(&st, "woken"), 0);
    timer_start(st.loop, &old->drain_timer, 0);
    peer_say(p, "?");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "1");
    stage_fini(&st);
}

static void an_app_can_be_closed_with_everything_waiting(void **state)
{
    (void)state;
    struct stage st;
    struct peer *p[ARRAY_LEN(ways)];
    stage_start(&st, WAITERS);
    (void)hang_everything(&st, p);
    stage_fini(&st);

    /* And in the midst of a reload. */
    stage_start(&st, WAITERS);
    (void)hang_everything(&st, p);
    reload_to(&st, WAITERS "-- again");
    (void)hang_everything(&st, p);
    reload_to(&st, WAITERS "-- and again");
    stage_fini(&st);
}

static void timers_of_the_old_state_die_and_those_of_the_new_begin(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "timer.every(0.002, function() print('old beat') end)\n"
                     "function on_message() sleep(1000) end\n");
    /* With a handler that waits, the old state stays for a while. */
    peer_say(peer_open(&st, "/"), "stay");
    UNTIL(&st, stage_logged(&st, "old beat") > 1);
    reload_to(&st, "timer.every(0.002, function() print('new beat') end)\n"
                   "function on_start() print('started') end\n");
    int beats = stage_logged(&st, "old beat");
    UNTIL(&st, stage_logged(&st, "new beat") > 3);
    stage_pass(&st, 15);
    assert_false(list_is_empty(&st.app->draining));
    assert_int_equal(stage_logged(&st, "old beat"), beats);
    assert_int_equal(stage_logged(&st, "started"), 0);
    stage_fini(&st);
}

static void rules_and_settings_are_those_of_the_new_files(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua",
        "return { outbox = { policy = 'drop_oldest' }, env = { E = '1' } }");
    stage_open(&st, "rooms.define('a*', { max_clients = 1 })\n"
                    "rooms.define('b', { max_clients = 1 })\n");
    assert_int_equal(st.app->conn_settings.policy, OUTBOX_DROP_OLDEST);
    stage_write(&st, "app.conf.lua", "return { env = { E = '2' } }");
    reload_to(&st,
        "rooms.define('b', { max_clients = 2 })\n"
        "function on_open(c)\n"
        "  c:send(tostring(c:join('a1')) .. tostring(c:join('b')) .. env.E)\n"
        "end");
    assert_int_equal(st.app->conn_settings.policy, OUTBOX_CLOSE);
    struct peer *p[3];
    for (int i = 0; i < 3; i++) {
        p[i] = peer_open(&st, "/");
        UNTIL(&st, p[i]->messages == 1);
    }
    assert_string_equal(peer_take(p[1]), "truetrue2");
    assert_string_equal(peer_take(p[2]), "truenil2");
    stage_fini(&st);
}

static void a_client_taken_in_by_the_old_state_opens_in_the_new(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_connect(r)\n"
                     "  local data = { n = 1 }\n"
                     "  sleep(0.02)\n"
                     "  return { data = data }\n"
                     "end\n"
                     "function on_open(c) c:send('old') end");
    struct peer *p = peer_ask(&st, "/", "");
    stage_turns(&st, 3);
    reload_to(&st, "function on_open(c) c:send('new' .. c.data.n) end");
    UNTIL(&st, p->messages == 1);
    assert_string_equal(peer_take(p), "new1");
    stage_fini(&st);
}

static void nothing_is_lost_or_out_of_order_in_reload_after_reload(void **state)
{
    (void)state;
    struct stage st;
    const char *code = "function on_connect() return { data = { n = 0 } } end\n"
                       "function on_message(c, m)\n"
                       "  if c.data.n % 3 == 0 then sleep(0.001) end\n"
                       "  c.data.n = c.data.n + 1\n"
                       "  c:send(m .. '=' .. c.data.n)\n"
                       "end -- ";
    char text[512];
    struct peer *p[4];
    snprintf(text, sizeof(text), "%s%d", code, 0);
    stage_start(&st, text);
    for (int i = 0; i < 4; i++) {
        p[i] = peer_open(&st, "/");
    }
    for (int n = 1; n <= 100; n++) {
        for (int i = 0; i < 4; i++) {
            char word[16];
            snprintf(word, sizeof(word), "%d", n);
            peer_say(p[i], word);
        }
        stage_turn(&st, n % 3 == 0);
        if (n % 10 == 0) {
            snprintf(text, sizeof(text), "%s%d", code, n);
            reload_to(&st, text);
        }
    }
    for (int i = 0; i < 4; i++) {
        UNTIL(&st, p[i]->messages == 100);
        const char *at = peer_take(p[i]);
        for (int n = 1; n <= 100; n++) {
            char wanted[32];
            int len = snprintf(wanted, sizeof(wanted), "%d=%d", n, n);
            assert_memory_equal(at, wanted, (size_t)len);
            at += len + 1;
        }
    }
    UNTIL(&st, list_is_empty(&st.app->draining));
    stage_fini(&st);
}

static void an_object_of_the_old_state_is_harmless(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "local other\n"
        "function on_message(c, m)\n"
        "  if m == 'me' then other = c return end\n"
        "  sleep(0.02)\n"
        "  other.data.x = 'from the old'\n" /* it has gone over already */
        "  other.data = { x = 'from the old' }\n"
        "  other:send('from the old')\n"
        "end");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "me");
    peer_say(b, "go");
    stage_turns(&st, 3);
    reload_to(&st, "function on_message(c) c:send(tostring(c.data.x)) end");
    UNTIL(&st, a->messages == 1);
    peer_say(a, "?");
    UNTIL(&st, a->messages == 2);
    assert_string_equal(peer_take(a), "from the old nil");
    stage_fini(&st);
}

#if !defined(MOONWIRE_TINY)

/* Whatever it is at, and however much of that waits. */
static void an_app_that_is_always_at_something_is_reloaded(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { limits = { cpu = '20ms' } }");
    stage_open(&st, "function on_message() while true do end end");
    struct peer *p = peer_open(&st, "/");
    for (int i = 0; i < 60; i++) {
        peer_say(p, "x");
    }
    UNTIL(&st, st.app->stopped != NULL && stage_events(&st) > 50);
    stage_write(&st, "main.lua", "function on_message(c) c:send('new') end");
    assert_int_equal(app_reload(st.app), 0);
    UNTIL(&st, stage_events(&st) == 0);
    UNTIL(&st, st.app->stopped == NULL);
    assert_int_equal(app_generation(st.app), 2);
    assert_true(p->messages > 40);
    stage_fini(&st);
}

#endif

/* Before anybody knows how the first try went. */
static void files_may_change_as_soon_as_they_are_found_broken(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    struct app_config config = stage_config(&st);
    struct stage_opening o = {.stage = &st};
    stage_write(&st, "main.lua", "broken(");
    st.app = app_open(&config, stage_on_opened, &o);
    while (st.app->load != NULL) {
        loop_turn(st.loop, 0);
    }
    assert_false(o.is_over);
    assert_null(st.app->live);
    (void)app_reload(st.app);
    UNTIL(&st, o.is_over);
    assert_true(o.rc < 0);
    app_close(st.app);
    st.app = NULL;
    stage_fini(&st);
}

static void files_that_change_are_noticed(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    struct app_config config = stage_config(&st);
    config.watch = true;
    stage_write(&st, "main.lua", "return {}");
    assert_int_equal(stage_load(&st, &config), 0);
    stage_pass(&st, 10);
    stage_write(&st, "main.lua", "broken(");
    UNTIL(&st, stage_logged(&st, "reload failed") == 1);
    stage_write(&st, "main.lua", "function on_open() end");
    UNTIL(&st, app_generation(st.app) == 2);
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_and_rooms_stay_and_code_and_globals_change),
        cmocka_unit_test(the_same_files_are_not_loaded_again),
        cmocka_unit_test(whatever_fails_leaves_all_as_it_was),
        cmocka_unit_test(data_that_is_not_plain_fails_it_and_names_the_path),
        cmocka_unit_test(data_that_does_not_fit_into_the_new_state_fails_it),
        cmocka_unit_test(a_handler_that_waits_ends_in_the_old_state),
        cmocka_unit_test(data_that_an_old_handler_spoilt_is_lost_and_told),
        cmocka_unit_test(what_is_not_done_at_the_deadline_is_ended),
        cmocka_unit_test(the_end_of_many_handlers_takes_many_turns),
        cmocka_unit_test(who_is_being_ended_does_not_wake_again),
        cmocka_unit_test(an_app_can_be_closed_with_everything_waiting),
        cmocka_unit_test(
            timers_of_the_old_state_die_and_those_of_the_new_begin),
        cmocka_unit_test(rules_and_settings_are_those_of_the_new_files),
        cmocka_unit_test(a_client_taken_in_by_the_old_state_opens_in_the_new),
        cmocka_unit_test(
            nothing_is_lost_or_out_of_order_in_reload_after_reload),
        cmocka_unit_test(an_object_of_the_old_state_is_harmless),
#if !defined(MOONWIRE_TINY)
        cmocka_unit_test(an_app_that_is_always_at_something_is_reloaded),
#endif
        cmocka_unit_test(files_may_change_as_soon_as_they_are_found_broken),
        cmocka_unit_test(files_that_change_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
