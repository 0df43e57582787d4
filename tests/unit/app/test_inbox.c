#include "stage.h"

#include "script/mapping.h"
#include "script/vm_priv.h"
#include <malloc.h>

/* Every event of every client, in the order in which they came; on_close
 * prints those of its client. */
#define DIARY                                                                  \
    "diary = {}\n"                                                             \
    "function note(c, what)\n"                                                 \
    "  diary[c.id] = (diary[c.id] or '') .. ' ' .. what\n"                     \
    "end\n"                                                                    \
    "function on_open(c) note(c, 'open') end\n"                                \
    "function on_message(c, m) note(c, m) end\n"                               \
    "function on_close(c, code)\n"                                             \
    "  note(c, 'close ' .. code)\n"                                            \
    "  print('diary of ' .. c.id .. ':' .. diary[c.id] .. ';')\n"              \
    "end\n"

static void a_clients_events_keep_their_order_across_awaits(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local busy = {}\n"
                     "function on_open(c) sleep(0.005) c:send('open') end\n"
                     "function on_message(c, m)\n"
                     "  assert(not busy[c], 'they overlap')\n"
                     "  busy[c] = true\n"
                     "  if m == 'slow' then sleep(0.005) end\n"
                     "  c:send(m)\n"
                     "  busy[c] = nil\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    static const char *const words[] = {"slow", "1", "2", "slow", "3", "slow"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        peer_say(a, words[i]);
        peer_say(b, words[i]);
    }
    UNTIL(&st, a->messages == 7 && b->messages == 7);
    assert_string_equal(peer_take(a), "open slow 1 2 slow 3 slow");
    assert_string_equal(peer_take(b), "open slow 1 2 slow 3 slow");
    assert_int_equal(stage_logged(&st, "overlap"), 0);
    stage_fini(&st);
}

static void a_handler_that_waits_holds_up_its_own_client_only(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c, m)\n"
                     "  if m == 'stay' then sleep(0.1) end\n"
                     "  c:send(m)\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "stay");
    peer_say(a, "behind");
    peer_say(b, "1");
    UNTIL(&st, b->messages == 1);
    assert_int_equal(a->messages, 0);
    UNTIL(&st, a->messages == 2);
    assert_string_equal(peer_take(a), "stay behind");
    stage_fini(&st);
}

static void a_client_that_floods_delays_others_by_an_event(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "local n = 0\n"
        "function on_message(c, m)\n"
        "  if m == 'spin' then\n" /* this turn's time is used up then */
        "    local t = time.monotonic() + 0.02\n"
        "    while time.monotonic() < t do end\n"
        "  elseif m == 'flood' then n = n + 1\n"
        "  else c:send(tostring(n)) end\n"
        "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "spin");
    for (int i = 0; i < 60; i++) {
        peer_say(a, "flood");
    }
    peer_say(b, "count");
    UNTIL(&st, b->messages == 1);
    assert_true(atoi(peer_take(b)) <= 2);
    stage_fini(&st);
}

static void clients_that_flood_take_turns(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local order = ''\n"
                     "function on_message(c, m)\n"
                     "  if m == 'spin' then\n"
                     "    local t = time.monotonic() + 0.02\n"
                     "    while time.monotonic() < t do end\n"
                     "  else order = order .. m end\n"
                     "  if #order == 60 then print('order ' .. order) end\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    /* Whoever is read first, what comes behind this is queued. */
    peer_say(a, "spin");
    peer_say(b, "spin");
    for (int i = 0; i < 30; i++) {
        peer_say(a, "a");
        peer_say(b, "b");
    }
    UNTIL(&st, stage_logged(&st, "order ") == 1);
    const char *order = strstr(st.log, "order ") + 6;
    for (int i = 3; i < 40; i++) {
        assert_int_not_equal(order[i], order[i + 1]);
    }
    stage_fini(&st);
}

static void a_client_whose_events_pile_up_is_read_no_more(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local held = true\n"
                     "function on_message(c, m)\n"
                     "  if m == 'go' then held = false return end\n"
                     "  while held do sleep(0.002) end\n"
                     "  c:send(m)\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    uint8_t frames[500 * 9];
    for (int i = 0; i < 500; i++) {
        char word[4];
        snprintf(word, sizeof(word), "%03d", i);
        memcpy(frames + 9 * i, "\x81\x83\0\0\0\0", 6);
        memcpy(frames + 9 * i + 6, word, 3);
    }
    assert_int_equal(
        send(a->fd, frames, sizeof(frames), MSG_NOSIGNAL), sizeof(frames));
    stage_pass(&st, 30);
    assert_int_equal(stage_events(&st), LIMIT_DEFAULT_INBOX_CLIENT_EVENTS);
    assert_true(stage_conn_metric(&st, METRIC_PAUSES) > 0);
    peer_say(b, "go");
    UNTIL(&st, a->messages == 500);
    const char *at = peer_take(a);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(strtol(at, (char **)(uintptr_t)&at, 10), i);
    }
    UNTIL(&st, stage_events(&st) == 0);
    assert_int_equal(stage_bytes(&st), 0);
    stage_fini(&st);
}

static void the_bytes_that_wait_are_bounded_too(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local held = true\n"
                     "function on_message(c, m)\n"
                     "  if m == 'go' then held = false return end\n"
                     "  while held do sleep(0.002) end\n"
                     "  c:send('x')\n"
                     "end\n");
    static char text[60000];
    struct peer *gate = peer_open(&st, "/");
    struct peer *p[40];
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 40; i++) {
        p[i] = peer_open(&st, "/");
    }
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 40; i++) {
            uint8_t head[8] = {
                0x82, 0x80 | 126, sizeof(text) >> 8, (uint8_t)sizeof(text)};
            /* What does not go into the socket is not sent. */
            if (send(p[i]->fd, head, 8, MSG_NOSIGNAL) == 8) {
                size_t at = 0;
                while (at < sizeof(text)) {
                    ssize_t n = send(
                        p[i]->fd, text + at, sizeof(text) - at, MSG_NOSIGNAL);
                    at += n > 0 ? (size_t)n : 0;
                    stage_turn(&st, 0);
                    assert_true(stage_bytes(&st) <
                                2 * LIMIT_DEFAULT_INBOX_BYTES + (1 << 20));
                    if (n < 0) {
                        break;
                    }
                }
                if (at < sizeof(text)) {
                    close(p[i]->fd); /* in the midst of a frame */
                    p[i]->fd = -1;
                }
            }
        }
    }
    UNTIL(&st, stage_bytes(&st) > LIMIT_DEFAULT_INBOX_BYTES / 4);
    peer_say(gate, "go");
    UNTIL(&st, stage_events(&st) == 0);
    assert_int_equal(stage_bytes(&st), 0);
    stage_fini(&st);
}

static void each_way_to_leave_ends_in_one_on_close(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, DIARY);
    struct peer *p[5];
    for (int i = 0; i < 5; i++) {
        p[i] = peer_open(&st, "/");
        peer_say(p[i], "hi");
    }
    UNTIL(&st, stage_conn_metric(&st, METRIC_MESSAGES_IN) == 5);
    peer_cut(p[0]);
    peer_say_close(p[1], 4001);
    shutdown(p[2]->fd, SHUT_WR);
    send(p[3]->fd, "\xff\xff\xff", 3, MSG_NOSIGNAL); /* no frame at all */
    UNTIL(&st, st.app->client_count == 1);
    app_kill_clients(st.app);
    net_kill_all(st.conn_net, true);
    UNTIL(&st, st.app->client_count == 0);
    assert_logged(&st, "diary of 1: open hi close 1006;");
    assert_logged(&st, "diary of 2: open hi close 4001;");
    assert_logged(&st, "diary of 3: open hi close 1006;");
    assert_logged(&st, "diary of 4: open hi close 1002;");
    assert_logged(&st, "diary of 5: open hi close 1006;");
    assert_int_equal(stage_logged(&st, "diary of"), 5);
    stage_fini(&st);
}

static void whoever_leaves_while_on_connect_waits_was_never_there(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, DIARY "function on_connect(r)\n"
                           "  sleep(0.02)\n"
                           "  return { data = { path = r.path } }\n"
                           "end\n");
    struct peer *a = peer_ask(&st, "/a", "");
    struct peer *b = peer_ask(&st, "/b", "");
    stage_turns(&st, 3);
    assert_int_equal(st.app->connecting, 2);
    assert_int_equal(app_client_count(st.app), 2);
    peer_cut(a);
    UNTIL(&st, b->status == 101);
    UNTIL(&st, app_client_count(st.app) == 1);
    peer_cut(b);
    UNTIL(&st, st.app->client_count == 0);
    assert_int_equal(stage_logged(&st, "diary of"), 1);
    assert_logged(&st, "diary of 2: open close 1006;");
    /* Neither of them has left its data behind. */
    lua_State *L = vm_state(st.app->live->vm);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st.app->live->client_data);
    lua_pushnil(L);
    assert_int_equal(lua_next(L, -2), 0);
    lua_pop(L, 1);
    stage_fini(&st);
}

static void who_leaves_while_a_handler_waits_is_closed_after_it(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, DIARY "function on_message(c, m)\n"
                           "  sleep(0.02)\n"
                           "  note(c, m .. (c.closed and ' closed' or ''))\n"
                           "  note(c, select(2, c:send('x')) or 'sent')\n"
                           "end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    stage_turns(&st, 3);
    peer_say(a, "2");
    stage_turns(&st, 3);
    peer_cut(a);
    UNTIL(&st, st.app->client_count == 0);
    assert_logged(
        &st, "diary of 1: open 1 closed closed 2 closed closed close 1006;");
    stage_fini(&st);
}

static void on_close_may_wait_and_the_client_is_known_until_it_ends(
    void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st,
        "function on_connect() return { user = 'ann', data = { n = 7 },\n"
        "  rooms = { 'r1', 'r2' } } end\n"
        "function on_close(c, code)\n"
        "  sleep(0.01)\n"
        "  print('left', c.user, c.data.n, table.concat(c:rooms(), '+'),\n"
        "    c:is_in('r1'), clients.count(), #rooms.list())\n"
        "end\n");
    struct peer *a = peer_open(&st, "/");
    peer_cut(a);
    UNTIL(&st, st.app->client_count == 0);
    assert_logged(&st, "left\\tann\\t7\\tr1+r2\\tfalse\\t0\\t0");
    stage_fini(&st);
}

static void an_error_ends_its_event_only(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c, m)\n"
                     "  if m == 'bad' then local x = nil; x.y = 1 end\n"
                     "  if m == 'text' then error('just words', 0) end\n"
                     "  if m == 'table' then error({}) end\n"
                     "  c:send(m)\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    peer_say(a, "bad");
    peer_say(a, "text");
    peer_say(a, "table");
    peer_say(a, "2");
    UNTIL(&st, a->messages == 2);
    assert_string_equal(peer_take(a), "1 2");
    assert_logged(&st, "main.lua:2: attempt to index a nil value");
    assert_logged(&st, "in function 'on_message'");
    assert_logged(&st, "just words");
    assert_logged(&st, "(error object is a table value)");
    assert_int_equal(stage_logged(&st, "[C]: in ?"), 0);
    assert_int_equal(
        metric_get(loop_metrics(st.loop), METRIC_HANDLER_ERRORS), 3);
    stage_fini(&st);
}

static void what_came_in_one_packet_with_the_close_is_heard(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, DIARY);
    struct peer *a = peer_open(&st, "/");
    for (int i = 0; i < 100; i++) {
        peer_say(a, "m");
    }
    peer_say_close(a, 1000);
    UNTIL(&st, st.app->client_count == 0);
    const char *at = strstr(stage_log(&st), "diary of 1:");
    assert_non_null(at);
    int n = 0;
    for (at += 11; *at != ';'; at++) {
        n += at[0] == 'm' && at[1] == ' ';
    }
    assert_int_equal(n, 100);
    stage_fini(&st);
}

/* ... also where a handler has awaited before: it does not any more. */
static void what_came_before_a_close_is_answered_before_it(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c, m)\n"
                     "  if m == 'wait' then sleep(0.005) end\n"
                     "  c:send(m)\n"
                     "end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "wait");
    UNTIL(&st, a->messages == 1);
    stage_turns(&st, 2);
    peer_say(a, "last");
    peer_say_close(a, 1000);
    UNTIL(&st, a->code != 0);
    assert_string_equal(peer_take(a), "wait last");
    stage_fini(&st);
}

static void a_close_does_not_wait_for_a_handler_that_waits(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_open(c)\n"
                     "  while not c.closed do sleep(0.002) end\n"
                     "end\n"
                     "function on_message() end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "behind");
    stage_turns(&st, 3);
    peer_say_close(a, 1000);
    UNTIL(&st, a->code == 1000);
    UNTIL(&st, st.app->client_count == 0);
    stage_fini(&st);
}

#ifndef MOONWIRE_TINY /* megabytes at three bytes a call */

/* What they have queued leaves room for those whose handlers do not wait: here
 * for the one who ends the waiting. */
static void clients_whose_handlers_wait_do_not_keep_others_out(void **state)
{
    (void)state;
    struct stage st;
    static char text[60000];
    struct peer *p[120];
    memset(text, 'x', sizeof(text));
    stage_start(&st, "local held = true\n"
                     "function on_message(c, m)\n"
                     "  if m == 'go' then held = false return end\n"
                     "  while held do sleep(0.002) end\n"
                     "  c:send('x')\n"
                     "end\n");
    struct peer *gate = peer_open(&st, "/");
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        p[i] = peer_open(&st, "/");
        peer_send(p[i], FRAME_TEXT, text, 10);
    }
    stage_turns(&st, 3);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        peer_send(p[i], FRAME_TEXT, text, sizeof(text));
        stage_turn(&st, 0);
    }
    stage_pass(&st, 20);
    peer_say(gate, "go");
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        UNTIL(&st, p[i]->messages == 2);
    }
    UNTIL(&st, stage_events(&st) == 0);
    assert_int_equal(stage_bytes(&st), 0);
    stage_fini(&st);
}

/* It is Lua's by then, and bounded there. */
static void a_handler_that_waits_keeps_no_copy_of_its_message(void **state)
{
    (void)state;
    struct stage st;
    static char text[60000];
    struct peer *p[60];
    memset(text, 'x', sizeof(text));
    stage_start(&st, "function on_message(c, m)\n"
                     "  m = nil\n"
                     "  if c.id > 1 then sleep(0.2) end\n"
                     "  c:send('x')\n"
                     "end\n");
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        p[i] = peer_open(&st, "/");
        peer_send(p[i], FRAME_TEXT, text, 10);
        peer_send(p[i], FRAME_TEXT, text, 10);
    }
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        UNTIL(&st, p[i]->messages == 2);
    }
    size_t before = mallinfo2().uordblks;
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        peer_send(p[i], FRAME_TEXT, text, sizeof(text));
        stage_turn(&st, 0);
    }
    UNTIL(&st,
        metric_get(loop_metrics(st.loop), METRIC_EVENTS) == 3 * ARRAY_LEN(p));
    /* A sanitizer's heap says 0. */
    assert_in_range(mallinfo2().uordblks, 0, before + sizeof(text) * 20);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        UNTIL(&st, p[i]->messages == 3);
    }
    stage_fini(&st);
}

#endif

static void a_client_that_lags_is_told_of_twice(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua",
        "return { outbox = { hard = '256KB', soft = 1000 } }");
    stage_open(&st, "local t\n"
                    "function on_open(c)\n"
                    "  t = timer.every(0.001, function()\n"
                    "    c:send(('x'):rep(4000))\n"
                    "  end)\n"
                    "end\n"
                    "function on_slow(c, queue)\n"
                    "  t:cancel()\n"
                    "  print('slow', queue.messages > 0,\n"
                    "    queue.bytes > 64 * 1024, queue.dropped)\n"
                    "end\n"
                    "function on_drain(c, queue)\n"
                    "  print('drained', queue.bytes < 128 * 1024)\n"
                    "end\n");
    struct peer *p = peer_open(&st, "/");
    p->is_deaf = true;
    UNTIL(&st, stage_logged(&st, "slow") > 0);
    assert_logged(&st, "slow\\ttrue\\ttrue\\t0");
    p->is_deaf = false;
    while (stage_logged(&st, "drained") == 0) {
        stage_turn(&st, 1);
        (void)peer_take(p);
    }
    assert_logged(&st, "drained\\ttrue");
    stage_pass(&st, 5);
    assert_int_equal(stage_logged(&st, "slow"), 1);
    assert_int_equal(stage_logged(&st, "drained"), 1);
    stage_fini(&st);
}

static void without_handlers_nothing_happens_and_nothing_is_kept(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    stage_turns(&st, 3);
    assert_int_equal(st.app->client_count, 1);
    assert_int_equal(st.app->inbox.events, 0);
    peer_cut(a);
    UNTIL(&st, st.app->client_count == 0);
    stage_fini(&st);
}

static void when_all_tasks_are_taken_events_wait_for_one(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "local n, held = 0, true\n"
                     "function on_start()\n"
                     "  for i = 1, 4096 do\n"
                     "    assert(task.spawn(function()\n"
                     "      n = n + 1\n"
                     "      while held do lock('gate', sleep, 0.05) end\n"
                     "    end))\n"
                     "  end\n"
                     "  local ok, err = task.spawn(print)\n"
                     "  print('one more: ' .. tostring(ok) .. ' ' .. err)\n"
                     "  timer.after(0.3, function() held = false end)\n"
                     "end\n"
                     "function on_message(c, m) c:send(m) end\n");
    UNTIL(&st, task_count(st.app->live->vm) == LIMIT_DEFAULT_TASKS);
    assert_logged(&st, "one more: nil quota");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    stage_pass(&st, 20);
    assert_int_equal(a->messages, 0);
    assert_int_equal(stage_events(&st), 1);
    assert_int_equal(
        stage_logged(
            &st, "no other handler or task can begin: limits.tasks is 4096"),
        1);
    /* The server itself still finds a task to reload with. */
    stage_write(&st, "main.lua", "function on_message(c, m) c:send('new') end");
    st.app->drain_old_ms = 20;
    assert_int_equal(stage_reload(&st), 0);
    UNTIL(&st, a->messages == 1);
    assert_string_equal(peer_take(a), "new");
    UNTIL(&st, list_is_empty(&st.app->draining));
    assert_logged(&st, "old generation are not done after 20ms: ended");
    stage_fini(&st);
}

static void an_old_state_that_is_full_does_not_hold_up_the_new(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_start()\n"
                     "  for i = 1, 4096 do task.spawn(sleep, 1000) end\n"
                     "  timer.every(0.001, print, 'a tick')\n"
                     "end\n");
    UNTIL(&st, task_count(st.app->live->vm) == LIMIT_DEFAULT_TASKS);
    stage_pass(&st, 5);
    /* A tick waits for a task, in front of whatever comes now. */
    assert_false(list_is_empty(&st.app->inbox.calls));
    int ticks = stage_logged(&st, "a tick");
    stage_write(&st, "main.lua",
        "function on_connect() task.spawn(print, 'spawned') return true end\n"
        "timer.after(0.001, print, 'a new tick')\n");
    assert_int_equal(stage_reload(&st), 0);
    (void)peer_open(&st, "/");
    UNTIL(&st, stage_logged(&st, "spawned") == 1);
    UNTIL(&st, stage_logged(&st, "a new tick") == 1);
    struct state *old = container_of(st.app->draining.next, struct state, node);
    timer_start(st.loop, &old->drain_timer, 0);
    UNTIL(&st, list_is_empty(&st.app->draining));
    assert_int_equal(stage_logged(&st, "a tick"), ticks);
    stage_fini(&st);
}

static void beyond_its_share_of_stacks_an_apps_events_wait(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_start()\n"
                     "  for i = 1, 100 do task.spawn(sleep, 1000) end\n"
                     "end\n"
                     "function on_message(c, m)\n"
                     "  if m == 'wait' then sleep(1000) end\n"
                     "  c:send(m)\n"
                     "end\n");
    UNTIL(&st, task_count(st.app->live->vm) == 100);
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    UNTIL(&st, a->messages == 1);
    /* 150 stacks: more than half are taken. */
    mapping_pretend(400, false);
    for (int i = 0; i < 5; i++) {
        peer_say(peer_open(&st, "/"), "wait"); /* on what rests there */
    }
    peer_say(a, "2");
    uint64_t end_ns = loop_clock_ns() + LIMIT_BEGIN_MS * UINT64_C(1500000);
    UNTIL(&st, loop_clock_ns() > end_ns);
    assert_int_equal(a->messages, 1);
    assert_int_equal(stage_logged(&st, "stacks are scarce"), 1);
    assert_int_equal(stage_logged(&st, "no memory to begin"), 0);
    assert_true(task_count(st.app->live->vm) < 105);
    /* Nobody tells it that others have given some back. */
    mapping_pretend(0, true);
    UNTIL(&st, a->messages == 2);
    assert_string_equal(peer_take(a), "1 2");
    UNTIL(&st, task_count(st.app->live->vm) == 105);
    stage_fini(&st);
}

/* As if there were no memory for a single task more. */
static uint32_t take_memory(struct stage *st)
{
    struct vm *vm = st->app->live->vm;
    uint32_t most = vm->config.max_tasks;
    vm->config.max_tasks = vm->busy_count;
    return most;
}

static void an_event_that_cannot_begin_is_tried_again(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, DIARY "function on_message(c, m)\n"
                           "  c:send(m)\n"
                           "  task.all { function() c:send('all') end }\n"
                           "end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    UNTIL(&st, a->messages == 2);
    uint32_t most = take_memory(&st);
    peer_say(a, "2");
    stage_pass(&st, 50);
    assert_int_equal(a->messages, 2);
    st.app->live->vm->config.max_tasks = most;
    UNTIL(&st, a->messages == 4);
    assert_string_equal(peer_take(a), "1 all 2 all");
    /* Here one waits for what cannot begin. */
    st.app->live->vm->config.max_tasks = 1;
    peer_say(a, "3");
    UNTIL(&st, stage_logged(&st, "no memory to begin") > 0);
    UNTIL(&st, stage_logged(&st, "task.all: no memory to begin one of them"));
    st.app->live->vm->config.max_tasks = most;
    peer_say(a, "4");
    UNTIL(&st, peer_has(a, "4 all"));
    stage_fini(&st);
}

static void an_event_that_cannot_even_begin_is_over_and_told(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, DIARY "function on_message(c, m) c:send(m) end\n"
                           "function on_connect() return {} end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "1");
    UNTIL(&st, a->messages == 1);
    struct vm *vm = st.app->live->vm;
    uint32_t most = take_memory(&st);
    peer_say(a, "2");
    struct peer *b = peer_ask(&st, "/", "");
    UNTIL(&st, b->status != 0);
    assert_int_equal(b->status, 500);
    UNTIL(&st, stage_logged(&st, "no memory to begin") == 2);
    vm->config.max_tasks = most;
    peer_say(a, "3");
    UNTIL(&st, a->messages == 2);
    assert_string_equal(peer_take(a), "1 3");
    (void)take_memory(&st);
    peer_cut(a);
    UNTIL(&st, st.app->client_count == 0);
    vm->config.max_tasks = most;
    assert_int_equal(stage_logged(&st, "diary of"), 0);
    stage_fini(&st);
}

#define SLEEPERS                                                               \
    "function on_open(c) c:send('gen' .. app.generation) end\n"                \
    "function on_message(c, m)\n"                                              \
    "  if m == 'fill' then\n"                                                  \
    "    while task.spawn(sleep, how_long) do sleep(0) end\n"                  \
    "  end\n"                                                                  \
    "  c:send(m)\n"                                                            \
    "end\n"

static void open_sleepers(struct stage *st, const char *how_long)
{
    char text[1024];
    stage_init(st);
    stage_write(st, "app.conf.lua", "return { limits = { memory = '512KB' } }");
    snprintf(text, sizeof(text), "local how_long = %s\n" SLEEPERS, how_long);
    stage_open(st, text);
}

/* Nothing would ever change that, and nobody would get an answer. */
static void who_sleeps_for_ever_and_holds_all_memory_is_ended(void **state)
{
    (void)state;
    struct stage st;
    open_sleepers(&st, "1e6");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "fill");
    UNTIL(&st, st.app->inbox.failing_since_ms != 0);
    uint64_t begun_ms = loop_now_ms(st.loop);
    preempt_set_slice_us(50); /* it may be stopped on its way, too */
    for (int i = 0; i < 2 * LIMIT_FULL_BEGINS; i++) {
        peer_say(b, "hello");
    }
    /* Few are lost; most are heard by the new one. */
    UNTIL(&st, b->messages > 2 + LIMIT_FULL_BEGINS);
    assert_memory_equal(b->words, "gen1 gen2 hello", 15);
    preempt_set_slice_us(0);
    assert_true(loop_now_ms(st.loop) - begun_ms >=
                (uint64_t)LIMIT_FULL_BEGINS * LIMIT_BEGIN_MS);
    UNTIL(&st, peer_has(a, "gen2"));
    assert_int_equal(stage_logged(&st,
                         "kind=memory] what waits in the app leaves its events "
                         "no memory to begin (limits.memory)"),
        1);
    assert_logged(&st, "restarted: generation 2, 2 clients stay");
    struct metrics *m = loop_metrics(st.loop);
    assert_int_equal(metric_get(m, METRIC_DEATHS), 1);
    assert_int_equal(metric_get(m, METRIC_RESTARTS), 1);
    stage_fini(&st);
}

/* It is ended for what never changes, not for what takes a while. */
static void who_wakes_again_and_again_is_not_ended(void **state)
{
    (void)state;
    struct stage st;
    open_sleepers(&st, "1.5");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "fill");
    UNTIL(&st, st.app->inbox.failing_since_ms != 0);
    stage_pass(&st, (LIMIT_FULL_BEGINS + 2) * (uint64_t)LIMIT_BEGIN_MS);
    peer_say(b, "hello");
    UNTIL(&st, peer_has(b, "hello"));
    assert_string_equal(peer_take(b), "gen1 hello");
    assert_int_equal(metric_get(loop_metrics(st.loop), METRIC_DEATHS), 0);
    stage_fini(&st);
}

/* Its calls cannot begin; those of the new one can. */
static void an_old_state_without_memory_dies_by_itself(void **state)
{
    (void)state;
    struct stage st;
    open_sleepers(&st, "1e6");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(a, "fill");
    UNTIL(&st, st.app->inbox.failing_since_ms != 0);
    st.app->drain_old_ms = 100000;
    stage_write(&st, "main.lua", "function on_message(c, m) c:send('new') end");
    assert_int_equal(stage_reload(&st), 0);
    peer_say(b, "hello");
    UNTIL(&st, peer_has(b, "new"));
    UNTIL(&st, list_is_empty(&st.app->draining));
    assert_logged(&st, "leaves its events no memory to begin");
    assert_false(st.app->restart.is_down);
    peer_say(b, "hello");
    UNTIL(&st, b->messages == 3);
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clients_events_keep_their_order_across_awaits),
        cmocka_unit_test(a_handler_that_waits_holds_up_its_own_client_only),
        cmocka_unit_test(a_client_that_floods_delays_others_by_an_event),
        cmocka_unit_test(clients_that_flood_take_turns),
        cmocka_unit_test(a_client_whose_events_pile_up_is_read_no_more),
        cmocka_unit_test(the_bytes_that_wait_are_bounded_too),
        cmocka_unit_test(each_way_to_leave_ends_in_one_on_close),
        cmocka_unit_test(whoever_leaves_while_on_connect_waits_was_never_there),
        cmocka_unit_test(who_leaves_while_a_handler_waits_is_closed_after_it),
        cmocka_unit_test(
            on_close_may_wait_and_the_client_is_known_until_it_ends),
        cmocka_unit_test(an_error_ends_its_event_only),
        cmocka_unit_test(what_came_in_one_packet_with_the_close_is_heard),
        cmocka_unit_test(what_came_before_a_close_is_answered_before_it),
        cmocka_unit_test(a_close_does_not_wait_for_a_handler_that_waits),
#ifndef MOONWIRE_TINY
        cmocka_unit_test(clients_whose_handlers_wait_do_not_keep_others_out),
        cmocka_unit_test(a_handler_that_waits_keeps_no_copy_of_its_message),
#endif
        cmocka_unit_test(a_client_that_lags_is_told_of_twice),
        cmocka_unit_test(without_handlers_nothing_happens_and_nothing_is_kept),
        cmocka_unit_test(when_all_tasks_are_taken_events_wait_for_one),
        cmocka_unit_test(beyond_its_share_of_stacks_an_apps_events_wait),
        cmocka_unit_test(an_old_state_that_is_full_does_not_hold_up_the_new),
        cmocka_unit_test(an_event_that_cannot_begin_is_tried_again),
        cmocka_unit_test(an_event_that_cannot_even_begin_is_over_and_told),
        cmocka_unit_test(who_sleeps_for_ever_and_holds_all_memory_is_ended),
        cmocka_unit_test(who_wakes_again_and_again_is_not_ended),
        cmocka_unit_test(an_old_state_without_memory_dies_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
