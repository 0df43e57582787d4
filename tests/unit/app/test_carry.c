/* client.data on its way to the next state, stopped again and again. */
#include "script/preempt_priv.h"
#include "stage.h"

#define KEEPER                                                                 \
    "function on_connect(r)\n"                                                 \
    "  local t = {}\n"                                                         \
    "  for i = 1, 2000 do t[i] = { r.query.n, i } end\n"                       \
    "  if r.path == '/late' then sleep(0.05) end\n"                            \
    "  return { data = { t = t, n = r.query.n } }\n"                           \
    "end\n"                                                                    \
    "function on_message(c, m)\n"                                              \
    "  if m == 'wait' then sleep(0.05) c.data.n = c.data.n .. 'w' end\n"       \
    "  c:send(app.generation .. c.data.n .. #c.data.t .. c.data.t[9][1])\n"    \
    "end\n"                                                                    \
    "function on_close(c) print('closed ' .. #c.data.t) end\n"

#define CLIENTS 6

static void open_all(struct stage *st, struct peer *peers[])
{
    for (int i = 0; i < CLIENTS; i++) {
        char path[16];
        snprintf(path, sizeof(path), "/?n=%d", i);
        peers[i] = peer_open(st, path);
    }
}

static void reload_under_small_slices(struct stage *st, const char *main_lua)
{
    stage_write(st, "main.lua", main_lua);
    preempt_set_slice_us(50);
    assert_int_equal(app_reload(st->app), 0);
    assert_int_equal(app_generation(st->app), 1);
}

static void data_is_whole_however_often_it_is_stopped(void **state)
{
    (void)state;
    struct stage st;
    struct peer *peers[CLIENTS];
    stage_start(&st, KEEPER);
    open_all(&st, peers);
    stage_turns(&st, 3);
    uint64_t stops = preempt_count();
    reload_under_small_slices(&st, KEEPER "-- two");
    /* What is said meanwhile is heard by the new one. */
    UNTIL(&st, st.app->is_held);
    for (int i = 0; i < CLIENTS; i++) {
        peer_say(peers[i], "x");
    }
    for (int i = 0; i < CLIENTS; i++) {
        char words[32];
        UNTIL(&st, peers[i]->messages == 1);
        snprintf(words, sizeof(words), "2%d2000%d", i, i);
        assert_string_equal(peer_take(peers[i]), words);
    }
    preempt_set_slice_us(0);
#if !PREEMPT_HOOK
    assert_true(preempt_count() > stops + 5);
#else
    (void)stops;
#endif
    stage_fini(&st);
}

static void who_comes_and_goes_meanwhile_is_where_he_belongs(void **state)
{
    (void)state;
    struct stage st;
    struct peer *peers[CLIENTS];
    stage_start(&st, KEEPER);
    open_all(&st, peers);
    stage_turns(&st, 3);
    reload_under_small_slices(&st, KEEPER "-- two");
    UNTIL(&st, st.app->is_held);
    peer_cut(peers[0]);
    peer_cut(peers[CLIENTS - 1]);
    struct peer *late = peer_ask(&st, "/?n=late", "");
    UNTIL(&st, late->status == 101);
    preempt_set_slice_us(0);
    peer_say(late, "x");
    UNTIL(&st, late->messages == 1);
    assert_string_equal(peer_take(late), "2late2000late");
    UNTIL(&st, stage_logged(&st, "closed 2000") == 2);
    assert_logged(&st, "reloaded: generation 2");
    stage_fini(&st);
}

/* A handler of the old code that awaits: its client moves when it has ended,
 * and what it says meanwhile waits. */
static void one_client_moves_later(void **state)
{
    (void)state;
    struct stage st;
    struct peer *peers[CLIENTS];
    stage_start(&st, KEEPER);
    open_all(&st, peers);
    peer_say(peers[2], "wait");
    stage_turns(&st, 3);
    stage_write(&st, "main.lua", KEEPER "-- two");
    assert_int_equal(stage_reload(&st), 0);
    preempt_set_slice_us(20);
    peer_say(peers[2], "x");
    UNTIL(&st, peers[2]->messages == 2);
    assert_string_equal(peer_take(peers[2]), "12w20002 22w20002");
    preempt_set_slice_us(0);
    UNTIL(&st, list_is_empty(&st.app->draining));
    assert_true(list_is_empty(&st.app->movers));
    stage_fini(&st);
}

#if !PREEMPT_HOOK
/* The old settings let a client's handlers overlap, so the next event of a
 * busy one may stand in line when its state stops being the live one. */
static void what_overlapped_waits_after_the_switch(void **state)
{
    (void)state;
    struct stage st;
    struct peer *peers[CLIENTS];
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { concurrent = true }");
    stage_open(&st, KEEPER);
    open_all(&st, peers);
    peer_say(peers[1], "wait");
    stage_turns(&st, 3);
    reload_under_small_slices(&st, KEEPER "-- two");
    UNTIL(&st, st.app->carry != NULL);
    peer_say(peers[1], "x");
    UNTIL(&st, !list_is_empty(&st.app->inbox.ready));
    assert_non_null(st.app->carry);
    UNTIL(&st, peers[1]->messages == 2);
    assert_string_equal(peer_take(peers[1]), "11w20001 21w20001");
    preempt_set_slice_us(0);
    stage_fini(&st);
}
#endif

#if !PREEMPT_HOOK
/* Entries in the live state's table of client.data. */
static int kept_data(struct stage *st)
{
    struct state *s = st->app->live;
    lua_State *L = vm_state(s->vm);
    int n = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        n++;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return n;
}

/* In whatever moment of the reload he goes: at rest, on his way in, or with a
 * handler in the old generation. */
static void who_goes_meanwhile_leaves_no_data_behind(void **state)
{
    (void)state;
    struct stage st;
    struct peer *peers[CLIENTS];
    stage_start(&st, KEEPER);
    open_all(&st, peers);
    struct peer *stays = peer_open(&st, "/?n=stays");
    stage_turns(&st, 3);
    for (int i = 0; i < CLIENTS; i++) {
        char text[1024];
        struct peer *late = peer_ask(&st, "/late?n=late", "");
        peer_say(peers[i], "wait");
        UNTIL(&st, st.app->connecting == 1);
        snprintf(text, sizeof(text), KEEPER "-- %d", i);
        stage_write(&st, "main.lua", text);
        preempt_set_slice_us(50);
        assert_int_equal(app_reload(st.app), 0);
        UNTIL(&st, st.app->carry != NULL);
        stage_turns(&st, i * i);
        peer_cut(peers[i]);
        peer_cut(late);
        UNTIL(&st, st.app->client_count == (uint32_t)(CLIENTS - i));
        UNTIL(&st, !reload_has_work(st.app) && st.app->connecting == 0 &&
                       list_is_empty(&st.app->draining));
        preempt_set_slice_us(0);
        assert_int_equal(app_generation(st.app), i + 2);
        assert_int_equal(kept_data(&st), CLIENTS - i);
    }
    peer_say(stays, "x");
    UNTIL(&st, peer_has(stays, "7stays2000stays"));
    stage_fini(&st);
}
#endif

static void an_app_can_be_closed_with_data_on_its_way(void **state)
{
    (void)state;
    struct stage st;
    struct peer *peers[CLIENTS];
    stage_start(&st, KEEPER);
    open_all(&st, peers);
    stage_turns(&st, 3);
    reload_under_small_slices(&st, KEEPER "-- two");
    UNTIL(&st, st.app->carry != NULL);
    preempt_set_slice_us(0);
    stage_close_app(&st);
    stage_fini(&st);
}

/* Its data is on its way when it turns out that it has long gone. */
static void who_has_not_waited_for_the_answer_is_no_client(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, KEEPER);
    struct peer *stays = peer_open(&st, "/?n=1");
    struct peer *p = peer_ask(&st, "/late?n=2", "");
    UNTIL(&st, st.app->connecting == 1);
    reload_under_small_slices(&st, KEEPER "-- two");
    UNTIL(&st, app_generation(st.app) == 2);
    peer_cut(p);
    UNTIL(&st, st.app->connecting == 0);
    UNTIL(&st, !reload_has_work(st.app));
    preempt_set_slice_us(0);
    UNTIL(&st, st.app->client_count == 1);
    peer_say(stays, "x");
    UNTIL(&st, stays->messages == 1);
    stage_fini(&st);
}

/* With an end of the old state's that waits, and a reader to be told of it. */
static void an_app_can_be_closed_in_the_midst_of_the_switch(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_close() sleep(1000) end");
    struct peer *p = peer_open(&st, "/");
    struct app *a = st.app;
    peer_cut(p);
    UNTIL(&st, task_count(a->live->vm) == 1);
    stage_write(&st, "main.lua", "return {}");
    assert_int_equal(stage_reload(&st), 0);
    /* As it is while there are clients left that have to be told. */
    a->retiring = container_of(a->draining.next, struct state, node);
    list_remove(&a->retiring->node);
    a->is_held = true;
    struct client *cl = container_of(a->client_list.next, struct client, node);
    cl->is_paused = true;
    list_push_tail(&a->inbox.paused, &cl->pause_node);
    stage_close_app(&st);
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_is_whole_however_often_it_is_stopped),
        cmocka_unit_test(who_comes_and_goes_meanwhile_is_where_he_belongs),
        cmocka_unit_test(one_client_moves_later),
#if !PREEMPT_HOOK /* else it is carried in one go */
        cmocka_unit_test(what_overlapped_waits_after_the_switch),
#endif
#if !PREEMPT_HOOK
        cmocka_unit_test(who_goes_meanwhile_leaves_no_data_behind),
#endif
        cmocka_unit_test(an_app_can_be_closed_with_data_on_its_way),
        cmocka_unit_test(who_has_not_waited_for_the_answer_is_no_client),
        cmocka_unit_test(an_app_can_be_closed_in_the_midst_of_the_switch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
