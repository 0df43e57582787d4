/* Apps that do not end, that die, that keep dying; and their neighbours. */
#include "app/app_priv.h"
#include "script/preempt_priv.h"
#include "stage.h"
#include "support/unsafe_calls.h"

/* Runs what it is told; keeps a diary. */
#define HOG                                                                    \
    "events = {}\n"                                                            \
    "local function note(s) events[#events + 1] = s end\n"                     \
    "function on_start() note('start') end\n"                                  \
    "function on_open(c)\n"                                                    \
    "  note('open ' .. c.id .. ' ' .. tostring(c.restored) ..\n"               \
    "    ' ' .. tostring(c.data.x))\n"                                         \
    "  if c.restored then c:send('again') else c:join('hall') end\n"           \
    "  c.data.x = 1\n"                                                         \
    "end\n"                                                                    \
    "function on_close(c) note('close ' .. c.id) end\n"                        \
    "function on_error(m, x)\n"                                                \
    "  note(x.event .. ' ' .. x.kind .. ' ' ..\n"                              \
    "    tostring(x.client and x.client.id))\n"                                \
    "  last_error = m\n"                                                       \
    "end\n"                                                                    \
    "function on_message(c, m)\n"                                              \
    "  client = c\n"                                                           \
    "  local f = assert(load(m))\n"                                            \
    "  local r = f(c)\n"                                                       \
    "  if r ~= nil then c:send(tostring(r)) end\n"                             \
    "end\n"

#define DIARY_OF     "return table.concat(events, ', ')"
#define SORTED_DIARY "assert(events[1] == 'start') table.sort(events) " DIARY_OF

/* Not to be stopped by an error: a pattern that tries everything. */
#define DEAF "string.find(string.rep('a', 5000), '.-.-.-.-b')"

struct pair {
    struct stage st;
    struct app *victim;
    struct peer *hog;
    struct peer *other; /* of the victim */
};

static void expect_words(
    struct stage *st, struct peer *p, const char *ask, const char *words)
{
    (void)peer_take(p);
    peer_say(p, ask);
    UNTIL(st, p->messages > 0 && p->words_len > 0);
    assert_string_equal(peer_take(p), words);
}

/* A hog at st.app and, on the same loop, an app that echoes. */
static void start_pair(struct pair *p, const char *conf)
{
    stage_init(&p->st);
    stage_write(&p->st, "main.lua", "function on_message(c, m) c:send(m) end");
    struct app_config config = stage_config(&p->st);
    config.name = "victim";
    assert_int_equal(stage_load(&p->st, &config), 0);
    p->victim = p->st.app;
    p->other = peer_open(&p->st, "/");
    stage_write(&p->st, "app.conf.lua", conf);
    stage_open(&p->st, HOG);
    p->hog = peer_open(&p->st, "/");
    expect_words(&p->st, p->other, "there", "there");
}

static void end_pair(struct pair *p)
{
    struct app *hog = p->st.app;
    app_kill_clients(p->victim);
    app_kill_clients(hog);
    net_kill_all(p->st.conn_net, true);
    UNTIL(&p->st, app_client_count(p->victim) == 0 &&
                      (app_client_count(hog) == 0 || hog->restart.is_down));
    stage_turns(&p->st, 3);
    app_close(p->victim);
    stage_fini(&p->st);
}

static void a_neighbour_is_served_while_a_script_loops(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return { limits = { cpu = '50ms' } }");
    uint64_t before = p.st.app->unit.stats.stops;
    for (int i = 0; i < 3; i++) {
        peer_say(p.hog, "while true do end");
        int answers = 0;
        while (stage_logged(&p.st, "kind=cpu") <= i) {
            expect_words(&p.st, p.other, "x", "x");
            answers++;
        }
        assert_true(answers >= 5);
    }
    assert_true(p.st.app->unit.stats.stops >= before + 30);
    assert_logged(&p.st, "more than 50 ms of CPU");
    assert_logged(&p.st, "event=on_message");
    assert_logged(&p.st, "client=1");
    assert_logged(&p.st, "main.lua:");
    /* Its client and its state are as they were. */
    expect_words(&p.st, p.hog, DIARY_OF,
        "start, open 1 false nil, on_message cpu 1, on_message cpu 1, "
        "on_message cpu 1");
    assert_int_equal(p.st.app->live->generation, 1);
    assert_int_equal(p.st.app->kills, 3);
#if !PREEMPT_HOOK
    struct histogram *waits = &p.victim->unit.stats.wait;
    assert_true(histogram_quantile_ns(waits, 500) <= 2100000);
#endif
    end_pair(&p);
}

#if !PREEMPT_HOOK

static void a_dead_app_begins_anew_with_its_clients(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return { limits = { cpu = '20ms' } }");
    struct peer *b = peer_open(&p.st, "/");
    expect_words(&p.st, p.hog, "lost = 5 return room('hall'):count()", "2");
    expect_words(&p.st, b,
        "timer.every(0.01, function() ticks = 1 end)\n"
        "task.spawn(function() sleep(100) end) return 'ok'",
        "ok");
    peer_say(p.hog, DEAF);
    UNTIL(&p.st, p.st.app->stopped != NULL);
    peer_say(p.hog, "return 'queued ' .. tostring(lost)");
    peer_say(b, "sleep(0) return 'mine'");
    UNTIL(&p.st, peer_has(p.hog, "again queued nil"));
    UNTIL(&p.st, peer_has(b, "again mine"));
    assert_int_equal(p.st.app->live->generation, 2);
    assert_logged(&p.st, "kind=cpu] used ");
    assert_logged(&p.st, "could not be stopped");
    assert_logged(&p.st, "restarted: generation 2, 2 clients stay");
    expect_words(&p.st, p.hog, SORTED_DIARY,
        "on_message cpu 1, open 1 true nil, open 2 true nil, start");
    expect_words(&p.st, p.hog,
        "return room('hall'):count() .. tostring(ticks) .. client.id ..\n"
        "tostring(client.restored) .. client.data.x",
        "2nil1true1");
    /* Whoever comes later is new. */
    struct peer *c = peer_open(&p.st, "/");
    expect_words(&p.st, c, "return tostring(client.restored)", "false");
    expect_words(&p.st, p.other, "there", "there");
    end_pair(&p);
}

static void who_left_a_dead_state_is_not_heard_of_again(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return { limits = { cpu = '20ms' } }");
    struct peer *b = peer_open(&p.st, "/");
    struct peer *c = peer_open(&p.st, "/");
    expect_words(&p.st, c, "return 'c'", "c");
    expect_words(&p.st, b, "return 'b'", "b");
    peer_say(p.hog, DEAF);
    stage_turn(&p.st, 1);
    peer_cut(b); /* while the job is under way */
    UNTIL(&p.st, p.st.app->restart.is_down);
    peer_cut(c); /* while nobody is there */
    UNTIL(&p.st, peer_has(p.hog, "again"));
    stage_pass(&p.st, 20);
    /* Whether c went before or after the new state was there, on_close is
     * for who had an on_open. */
    expect_words(&p.st, p.hog, SORTED_DIARY,
        stage_logged(&p.st, "1 clients stay") != 0
            ? "on_message cpu 1, open 1 true nil, start"
            : "close 3, on_message cpu 1, open 1 true nil, open 3 true nil, "
              "start");
    assert_int_equal(p.st.app->client_count, 1);
    end_pair(&p);
}

/* Its client was not read from any more when the job it died of had begun. */
static void who_was_paused_by_a_job_that_died_reads_on(void **state)
{
    (void)state;
    struct pair p;
    stage_init(&p.st);
    stage_write(&p.st, "app.conf.lua", "return { limits = { cpu = '20ms' } }");
    stage_open(&p.st, "function on_message(c, m)\n"
                      "  if m == 'die' then " DEAF " end\n"
                      "  if m == 'wait' then sleep(100) end\n"
                      "  c:send(m)\n"
                      "end\n");
    struct peer *a = peer_open(&p.st, "/");
    struct peer *b = peer_open(&p.st, "/");
    peer_say(b, "wait");
    UNTIL(&p.st, task_count(p.st.app->live->vm) == 1);
    peer_say(a, "die");
    UNTIL(&p.st, p.st.app->stopped != NULL);
    peer_say_close(a, 1000);
    UNTIL(&p.st, stage_logged(&p.st, "restarted: generation 2") == 1);
    UNTIL(&p.st, a->code == 1000);
#    ifdef STAGE_FAR
    /* The loop of who awaited knows that he does not any more. */
    const struct branch *far = p.st.app->branches[1];
    UNTIL(&p.st, !list_is_empty(&far->guests));
    UNTIL(
        &p.st, !container_of(far->guests.next, struct guest, node)->is_waiting);
#    endif
    expect_words(&p.st, b, "there", "there");
    stage_fini(&p.st);
}

static void an_app_that_keeps_dying_is_parked(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return { limits = { cpu = '5ms' } }");
    for (int i = 1; i <= LIMIT_DEATHS; i++) {
        peer_say(p.hog, DEAF);
        UNTIL(&p.st, stage_logged(&p.st, "could not be stopped") == i);
        expect_words(&p.st, p.other, "there", "there");
    }
    UNTIL(&p.st, p.hog->code != 0);
    assert_int_equal(p.hog->code, 1013);
    assert_logged(&p.st, "parked: died 5 times");
    struct peer *b = peer_ask(&p.st, "/", "");
    UNTIL(&p.st, b->status != 0);
    assert_int_equal(b->status, 503);
    peer_cut(p.hog);
    UNTIL(&p.st, p.st.app->client_count == 0);
    /* A better version. */
    stage_write(
        &p.st, "main.lua", "function on_message(c, m) c:send('better') end");
    assert_int_equal(stage_reload(&p.st), 0);
    struct peer *c = peer_open(&p.st, "/");
    expect_words(&p.st, c, "x", "better");
    expect_words(&p.st, p.other, "there", "there");
    end_pair(&p);
}

static void a_dead_app_can_be_closed(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return { limits = { cpu = '5ms' } }");
    peer_say(p.hog, DEAF);
    UNTIL(&p.st, p.st.app->restart.is_down);
    end_pair(&p);
}

static void a_death_of_the_old_generation_costs_its_own_clients_only(
    void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return { limits = { cpu = '20ms' } }");
    struct peer *b = peer_open(&p.st, "/");
    expect_words(&p.st, b, "client.data.x = 7 return 'b'", "b");
    /* It waits until there is a new generation, however long that takes. */
    peer_say(p.hog, "while room('new'):count() == 0 do sleep(0.001) end " DEAF);
    UNTIL(&p.st, task_count(p.st.app->live->vm) == 1);
    stage_write(&p.st, "main.lua", HOG "-- two\n");
    assert_int_equal(stage_reload(&p.st), 0);
    expect_words(&p.st, b, "client:join('new') return app.generation", "2");
    UNTIL(&p.st, stage_logged(&p.st, "could not be stopped") == 1);
    UNTIL(&p.st, list_is_empty(&p.st.app->draining));
    assert_int_equal(p.st.app->live->generation, 2);
    expect_words(&p.st, b, "return client.data.x", "7");
    expect_words(&p.st, p.hog, "return tostring(client.data.x)", "nil");
    end_pair(&p);
}

#endif

static void loading_has_a_budget(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "main.lua", "while true do end");
    struct app_config config = stage_config(&st);
    assert_true(stage_load(&st, &config) != 0);
    assert_null(st.app);
    assert_contains(st.why, "of CPU");
    assert_contains(st.why, "main.lua:1");
    stage_open(&st, "function on_message(c, m) c:send(m) end");
    struct peer *a = peer_open(&st, "/");
    stage_write(&st, "main.lua", "while true do pcall(error) end");
    assert_true(stage_reload(&st) < 0);
    assert_logged(&st, "reload failed, generation 1 goes on");
    expect_words(&st, a, "still", "still");
    stage_fini(&st);
}

#if !PREEMPT_HOOK

/* What the server itself asks of a state that dies of it. */
static void who_dies_while_it_loads_is_dropped(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "main.lua", DEAF);
    struct app_config config = stage_config(&st);
    assert_true(stage_load(&st, &config) != 0);
    assert_null(st.app);
    assert_contains(st.why, "could not be stopped");
    stage_open(&st, "function on_message(c, m) c:send(m) end");
    struct peer *a = peer_open(&st, "/");
    stage_write(&st, "main.lua", DEAF);
    assert_true(stage_reload(&st) < 0);
    assert_logged(&st, "reload failed, generation 1 goes on");
    expect_words(&st, a, "still", "still");
    stage_fini(&st);
}

#endif

static void handlers_of_a_client_overlap_where_that_is_allowed(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { concurrent = true }");
    stage_open(&st, "function on_open(c) sleep(0.01) c:send('open') end\n"
                    "function on_message(c, m)\n"
                    "  c:send('+' .. m) sleep(tonumber(m)) c:send('-' .. m)\n"
                    "end\n"
                    "function on_close(c) log.info('closed') end\n");
    struct peer *a = peer_open(&st, "/");
    peer_say(a, "0.03");
    peer_say(a, "0.02");
    UNTIL(&st, a->messages == 5);
    assert_string_equal(peer_take(a), "open +0.03 +0.02 -0.02 -0.03");
    peer_say(a, "0.05");
    stage_turns(&st, 2);
    peer_cut(a);
    stage_pass(&st, 10);
    assert_int_equal(stage_logged(&st, "closed"), 0); /* I3 */
    UNTIL(&st, stage_logged(&st, "closed") == 1);
    UNTIL(&st, st.app->client_count == 0);
    stage_fini(&st);
}

static void a_reload_waits_for_a_job_that_is_stopped(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, "return {}");
    expect_words(&p.st, p.hog, "client.data.x = 7 return 'x'", "x");
    struct peer *b = peer_open(&p.st, "/");
    expect_words(&p.st, b, "client.data.y = 1 return 'y'", "y");
    peer_say(p.hog, "for i = 1, 1000000 do x = i end return 'done'");
    UNTIL(&p.st, p.st.app->stopped != NULL);
    stage_write(&p.st, "main.lua", HOG "-- two\n");
    assert_int_equal(app_reload(p.st.app), 0);
    assert_int_equal(p.st.app->live->generation, 1);
    peer_cut(b); /* its data is to be forgotten meanwhile */
    UNTIL(&p.st, peer_has(p.hog, "done"));
    UNTIL(&p.st, p.st.app->live->generation == 2);
    expect_words(&p.st, p.hog, "return client.data.x", "7");
    end_pair(&p);
}

/* Messages are lent from the read buffer; what lies in it changes under a
 * handler that is stopped before it has read them. */
static void messages_are_whole_however_often_a_handler_is_stopped(void **state)
{
    (void)state;
    static char text[20000];
    struct stage st;
    stage_start(&st, "function on_message(c, m)\n"
                     "  local n = 0\n"
                     "  for i = 1, 50 do n = n + #m:sub(-i) end\n"
                     "  c:send(m)\n"
                     "end\n");
    struct peer *peers[4];
    for (int i = 0; i < 4; i++) {
        peers[i] = peer_open(&st, "/");
    }
    preempt_set_slice_us(15);
    uint64_t before = preempt_count();
    for (size_t n = 1; n < sizeof(text); n = n * 2 + n / 3 + 1) {
        for (int i = 0; i < 4; i++) {
            memset(text, 'a' + i, n);
            text[n] = '\0';
            (void)peer_take(peers[i]);
            peer_say(peers[i], text);
            peer_say(peers[i], "end");
        }
        for (int i = 0; i < 4; i++) {
            UNTIL(&st, peer_has(peers[i], "end"));
            memset(text, 'a' + i, n);
            memcpy(text + n, " end", 5);
            assert_string_equal(peer_take(peers[i]), text);
        }
    }
    preempt_set_slice_us(0);
    assert_true(preempt_count() > before);
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_neighbour_is_served_while_a_script_loops),
#if !PREEMPT_HOOK
        cmocka_unit_test(a_dead_app_begins_anew_with_its_clients),
        cmocka_unit_test(who_left_a_dead_state_is_not_heard_of_again),
        cmocka_unit_test(who_was_paused_by_a_job_that_died_reads_on),
        cmocka_unit_test(an_app_that_keeps_dying_is_parked),
        cmocka_unit_test(a_dead_app_can_be_closed),
        cmocka_unit_test(
            a_death_of_the_old_generation_costs_its_own_clients_only),
#endif
        cmocka_unit_test(loading_has_a_budget),
#if !PREEMPT_HOOK
        cmocka_unit_test(who_dies_while_it_loads_is_dropped),
#endif
        cmocka_unit_test(handlers_of_a_client_overlap_where_that_is_allowed),
        cmocka_unit_test(a_reload_waits_for_a_job_that_is_stopped),
        cmocka_unit_test(messages_are_whole_however_often_a_handler_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
