/* test_far.c -- members on other loops: who gets what, in which order, and what
 * is said to have been queued. Three loops, turned by hand; the hub is that of
 * the first. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/limits.h"
#include "unit/hub/peers.h"
#include <stdlib.h>

#define LOOPS 3
#define PEERS 24
#define METER (1 << 24)

static struct world worlds[LOOPS];
static struct net *nets[LOOPS];
static struct world *const home = &worlds[0];
static struct peer peers[PEERS];

static uint32_t queued;
static uint32_t dropped;

static int set_up_with(size_t meter_cap, uint32_t outbox_bytes)
{
    memset(peers, 0, sizeof(peers));
    world_open(home, meter_cap, outbox_bytes);
    nets[0] = home->net;
    for (uint32_t i = 1; i < LOOPS; i++) {
        world_open_at(&worlds[i], home, i, outbox_bytes);
        nets[i] = worlds[i].net;
    }
    for (uint32_t i = 0; i < LOOPS; i++) {
        net_meet(nets[i], nets, LOOPS, &worlds[i].router, &worlds[i].settings);
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with(METER, 1 << 20);
}

static int set_up_small_outboxes(void **state)
{
    (void)state;
    return set_up_with(METER, 2000);
}

static bool are_quiet(void)
{
    bool is_quiet = true;
    for (uint32_t i = 0; i < LOOPS; i++) {
        is_quiet = is_quiet && mailbox_is_quiet(worlds[i].loop);
    }
    return is_quiet;
}

/* One turn of each, and more until no letter is under way. */
static void turn_all(void)
{
    for (int turns = 0; turns == 0 || !are_quiet(); turns++) {
        assert_true(turns < 100000);
        for (uint32_t i = 0; i < LOOPS; i++) {
            loop_turn(worlds[i].loop, 0);
        }
    }
}

static size_t window_used(uint32_t loop)
{
    const struct hub *h = home->hub;
    bool is_used = h->far != NULL && h->far[loop].window != NULL;
    return is_used ? meter_used(h->far[loop].window) : 0;
}

static int tear_down(void **state)
{
    (void)state;
    mem_fail_at(0);
    turn_all();
    for (uint32_t i = 1; i < LOOPS; i++) {
        assert_int_equal(window_used(i), 0);
        world_close(&worlds[i], peers, PEERS);
    }
    world_close(home, peers, PEERS);
    return 0;
}

/* The next peers come, each to the loop of its digit; `users`: each by its
 * letter, '-' for none. */
static void open_all(const char *loops, const char *users)
{
    for (size_t i = 0; loops[i] != '\0'; i++) {
        char user[2] = {users[i], '\0'};
        peer_open(
            &worlds[loops[i] - '0'], &peers[i], users[i] == '-' ? NULL : user);
    }
}

static void join(size_t i, const char *room)
{
    assert_int_equal(hub_join(&peers[i].m, room, strlen(room)), 0);
}

static void cast_with_key(
    const struct hub_target *to, const char *text, const char *key)
{
    struct hub_message msg = {.op = FRAME_TEXT,
        .data = text,
        .len = strlen(text),
        .key = key,
        .key_len = key != NULL ? strlen(key) : 0};
    queued = 777;
    dropped = 777;
    hub_broadcast(home->hub, to, &msg, &queued, &dropped);
}

static void cast(const struct hub_target *to, const char *text)
{
    cast_with_key(to, text, NULL);
}

static void cast_to_room(const char *room, const char *text)
{
    struct hub_name name = {room, strlen(room)};
    cast(&(struct hub_target){.rooms = &name, .room_count = 1}, text);
}

static int send_to(size_t i, const char *text)
{
    struct hub_message msg = {
        .op = FRAME_TEXT, .data = text, .len = strlen(text)};
    return hub_send(&peers[i].m, &msg);
}

static void check_words(size_t n, const char *const *want)
{
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(peer_take(&peers[i]), want[i]);
    }
}

/* What each peer has got since it was last asked. */
#define WANT(...)                                                              \
    check_words(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),        \
        (const char *[]){__VA_ARGS__})

#define SAID(q, d)                                                             \
    do {                                                                       \
        assert_int_equal(queued, (q));                                         \
        assert_int_equal(dropped, (d));                                        \
    } while (0)

static uint64_t metric(enum metric m)
{
    return metric_get(loop_metrics(home->loop), m);
}

/* ---- who gets it ---- */

static void a_broadcast_reaches_members_of_all_loops(void **state)
{
    (void)state;
    open_all("0011222", "-------");
    for (size_t i = 0; i < 6; i++) {
        join(i, "a");
    }
    cast_to_room("a", "1");
    SAID(6, 0);
    cast(&(struct hub_target){0}, "2");
    SAID(7, 0);
    assert_int_equal(metric(METRIC_BROADCASTS), 2);
    WANT("1 2", "1 2", "1 2", "1 2", "1 2", "1 2", "2");
}

static void a_room_without_anybody_at_home_is_reached(void **state)
{
    (void)state;
    open_all("012", "-aa");
    join(1, "a");
    join(2, "b");
    cast_to_room("a", "1");
    SAID(1, 0);
    cast_to_room("b", "2");
    SAID(1, 0);
    struct hub_name a = {"a", 1};
    cast(&(struct hub_target){.users = &a, .user_count = 1}, "3");
    SAID(2, 0);
    WANT("", "1 3", "2 3");
}

static void a_letter_is_as_small_for_many_as_for_two(void **state)
{
    (void)state;
    open_all("1111111122", "----------");
    cast(&(struct hub_target){0}, "1");
    SAID(10, 0);
    assert_true(window_used(1) > 0);
    assert_int_equal(window_used(1), window_used(2));
    turn_all();
    assert_int_equal(window_used(1), 0);
    assert_int_equal(window_used(2), 0);
}

static void loops_without_a_member_of_the_room_get_no_letter(void **state)
{
    (void)state;
    open_all("012", "---");
    join(0, "a");
    join(2, "a");
    cast_to_room("a", "1");
    SAID(2, 0);
    assert_int_equal(window_used(1), 0);
    /* Nor does one where all have left. */
    assert_true(hub_part(&peers[2].m, "a", 1));
    turn_all();
    cast_to_room("a", "2");
    SAID(1, 0);
    assert_int_equal(window_used(2), 0);
    WANT("1 2", "", "1");
}

static void the_excepted_miss_one_broadcast_and_get_the_next(void **state)
{
    (void)state;
    open_all("00112122", "-ab-ab-c");
    for (size_t i = 0; i < 7; i++) {
        join(i, "a");
    }
    struct hub_name a = {"a", 1};
    struct hub_name users[] = {{"b", 1}, {"nobody", 6}, {"b", 1}};
    /* Twice by number, unknown, not in the room, and by number and user. */
    uint64_t ids[] = {4, 4, 99, 8, 3};
    struct hub_target to = {
        .rooms = &a, .room_count = 1, .except_ids = ids, .except_count = 5};
    cast(&to, "1");
    SAID(5, 0);
    to.except_users = users;
    to.except_user_count = 3;
    cast(&to, "2");
    SAID(4, 0);
    cast_to_room("a", "3");
    SAID(7, 0);
    to.rooms = NULL;
    to.room_count = 0;
    cast(&to, "4"); /* everybody */
    SAID(4, 0);
    WANT("1 2 3 4", "1 2 3 4", "3", "3", "1 2 3 4", "1 3", "1 2 3 4", "");
}

static void a_loop_whose_members_are_all_excepted_gets_no_letter(void **state)
{
    (void)state;
    open_all("0112", "-aab");
    struct hub_name a = {"a", 1};
    cast(&(struct hub_target){.except_users = &a, .except_user_count = 1}, "1");
    SAID(2, 0);
    assert_int_equal(window_used(1), 0);
    uint64_t ids[] = {1, 2, 3, 4};
    cast(&(struct hub_target){.except_ids = ids, .except_count = 4}, "2");
    SAID(0, 0);
    WANT("1", "", "", "1");
}

static void the_excepted_stay_members_though_many_have_left(void **state)
{
    (void)state;
    open_all("11111111", "--------");
    for (size_t i = 0; i < 8; i++) {
        join(i, "a");
    }
    for (size_t i = 0; i < 4; i++) {
        assert_true(hub_part(&peers[i].m, "a", 1));
    }
    struct hub_name a = {"a", 1};
    uint64_t id = peers[5].m.id;
    cast(
        &(struct hub_target){
            .rooms = &a, .room_count = 1, .except_ids = &id, .except_count = 1},
        "1");
    SAID(3, 0);
    cast_to_room("a", "2");
    SAID(4, 0);
    WANT("", "", "", "", "1 2", "2", "1 2", "1 2");
    assert_true(hub_part(&peers[5].m, "a", 1));
    assert_int_equal(room_count(hub_room(home->hub, "a", 1)), 3);
}

static void rooms_and_users_add_up_and_nobody_gets_two_copies(void **state)
{
    (void)state;
    open_all("0112212", "--ab-a-");
    join(0, "a");
    join(1, "a");
    join(1, "b");
    join(2, "b");
    join(4, "b");
    struct hub_name rooms[] = {{"a", 1}, {"b", 1}, {"a", 1}, {"no", 2}};
    struct hub_name users[] = {{"a", 1}, {"a", 1}, {"no", 2}};
    struct hub_target to = {
        .rooms = rooms, .room_count = 4, .users = users, .user_count = 3};
    cast(&to, "1");
    SAID(5, 0);
    uint64_t ids[] = {2, 4, 2};
    struct hub_name a = {"a", 1};
    to.except_ids = ids;
    to.except_count = 3;
    cast(&to, "2");
    SAID(4, 0);
    to.except_users = &a;
    to.except_user_count = 1;
    cast(&to, "3");
    SAID(2, 0);
    WANT("1 2 3", "1", "1 2", "", "1 2 3", "1 2", "");
}

static void a_list_of_ids_is_the_list_itself(void **state)
{
    (void)state;
    open_all("01122", "aaaaa");
    uint64_t ids[] = {3, 1, 99, 3, 5, 2};
    uint64_t except[] = {5, 5, 1};
    struct hub_target to = {.ids = ids, .id_count = 6};
    cast(&to, "1");
    SAID(4, 0);
    to.except_ids = except;
    to.except_count = 3;
    cast(&to, "2");
    SAID(2, 0);
    to.id_count = 0;
    cast(&to, "3");
    SAID(0, 0);
    WANT("1", "1 2", "1 2", "", "1");
}

static void a_long_list_of_ids_reaches_all_of_them(void **state)
{
    (void)state;
    uint64_t ids[PEERS];
    for (size_t i = 0; i < PEERS; i++) {
        peer_open(&worlds[1 + i % 2], &peers[i], NULL);
        ids[i] = PEERS - i;
    }
    cast(&(struct hub_target){.ids = ids, .id_count = PEERS}, "1");
    SAID(PEERS, 0);
    for (size_t i = 0; i < PEERS; i++) {
        assert_string_equal(peer_take(&peers[i]), "1");
    }
}

static void membership_is_that_of_the_moment_of_the_call(void **state)
{
    (void)state;
    open_all("0112", "----");
    join(0, "a");
    join(1, "a");
    cast_to_room("a", "1");
    join(2, "a");
    cast_to_room("a", "2");
    assert_true(hub_part(&peers[1].m, "a", 1));
    cast_to_room("a", "3");
    join(3, "a");
    join(1, "a");
    cast_to_room("a", "4");
    SAID(4, 0);
    WANT("1 2 3 4", "1 2 4", "2 3 4", "4");
}

static void who_has_gone_meanwhile_is_passed_over(void **state)
{
    (void)state;
    open_all("111", "---");
    cast(&(struct hub_target){0}, "1");
    uint64_t id = peers[0].m.id;
    cast(&(struct hub_target){.ids = &id, .id_count = 1}, "2");
    assert_int_equal(send_to(0, "3"), 0);
    uint32_t slot = peers[0].m.conn.slot;
    peer_shut(&peers[0]);
    loop_turn(worlds[1].loop, 0); /* the letters have not left yet */
    peer_open(&worlds[1], &peers[3], NULL);
    assert_int_equal(peers[3].m.conn.slot, slot);
    cast(&(struct hub_target){0}, "4");
    SAID(3, 0);
    assert_string_equal(peer_take(&peers[3]), "4");
    assert_string_equal(peer_take(&peers[1]), "1 4");
    assert_string_equal(peer_take(&peers[2]), "1 4");
}

static void letters_outlive_the_hub_that_wrote_them(void **state)
{
    (void)state;
    open_all("0112", "----");
    cast(&(struct hub_target){0}, "1");
    assert_int_equal(send_to(1, "2"), 0);
    for (size_t i = 0; i < 4; i++) {
        hub_leave(&peers[i].m);
    }
    hub_free(home->hub);
    struct hub_config config = {
        .net = home->net, .meter = home->meter, .rooms_max = 1};
    home->hub = hub_new(&config);
    WANT("1", "1 2", "1", "1");
}

/* ---- policies ---- */

/* 100 bytes. The sockets hold a few of them, a small outbox a dozen, and
 * BURST of them are too many for both. */
#define BURST 100
static const char wide[] = "0123456789012345678901234567890123456789012345678"
                           "90123456789012345678901234567890123456789012345678";

static void define(const char *room, enum outbox_policy policy)
{
    struct room_rule rule = {.has_policy = true, .policy = policy};
    assert_int_equal(hub_define(home->hub, room, strlen(room), &rule), 0);
}

static uint64_t metric_at(uint32_t loop, enum metric m)
{
    return metric_get(loop_metrics(worlds[loop].loop), m);
}

static void a_room_with_a_policy_of_its_own_follows_it_over_there(void **state)
{
    (void)state;
    define("cursor/*", OUTBOX_DROP_OLDEST);
    open_all("12", "--");
    hub_set_policy(home->hub, OUTBOX_DROP_NEWEST);
    join(0, "cursor/1");
    join(1, "chat");
    for (int i = 0; i < BURST; i++) {
        cast_to_room("chat", wide);
        SAID(1, 0);
        cast_to_room("cursor/1", wide);
        SAID(1, 0);
        turn_all();
    }
    cast_to_room("chat", "last");
    cast_to_room("cursor/1", "last");
    turn_all();
    assert_true(metric_at(1, METRIC_DROPPED_OLDEST) > 0);
    assert_int_equal(metric_at(1, METRIC_DROPPED_NEWEST), 0);
    assert_int_equal(metric_at(2, METRIC_DROPPED_OLDEST), 0);
    assert_true(metric_at(2, METRIC_DROPPED_NEWEST) > 0);
    assert_non_null(strstr(peer_take(&peers[0]), "last"));
    (void)peer_take(&peers[1]);
    assert_int_equal(peers[0].code, 0);
    assert_int_equal(peers[1].code, 0);
}

/* Who is in several of the rooms is judged by the first of them. */
static void a_union_takes_each_member_by_the_policy_of_its_room(void **state)
{
    (void)state;
    define("oldest", OUTBOX_DROP_OLDEST);
    define("newest", OUTBOX_DROP_NEWEST);
    open_all("1111220", "------u");
    join(0, "oldest");
    join(1, "newest");
    join(2, "oldest");
    join(2, "newest");
    join(3, "close");
    join(4, "newest");
    join(5, "close");
    struct hub_name rooms[] = {{"oldest", 6}, {"newest", 6}, {"close", 5}};
    struct hub_name u = {"u", 1};
    struct hub_target to = {
        .rooms = rooms, .room_count = 3, .users = &u, .user_count = 1};
    cast(&to, "first");
    SAID(7, 0);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(peer_take(&peers[i]), "first");
    }
    for (int i = 0; i < BURST; i++) {
        cast(&to, wide);
        assert_int_equal(queued + dropped, hub_count(home->hub));
        turn_all();
        (void)peer_take(&peers[6]);
    }
    char newest[sizeof(wide)];
    memset(newest, 'n', sizeof(newest) - 1);
    newest[sizeof(newest) - 1] = '\0';
    cast(&to, newest);
    turn_all();
    assert_non_null(strstr(peer_take(&peers[0]), newest));
    assert_null(strstr(peer_take(&peers[1]), newest));
    assert_non_null(strstr(peer_take(&peers[2]), newest));
    assert_null(strstr(peer_take(&peers[4]), newest));
    assert_int_equal(peers[3].code, 1013);
    assert_int_equal(peers[5].code, 1013);
    assert_int_equal(metric_at(1, METRIC_SLOW_CLOSED), 1);
    assert_int_equal(metric_at(2, METRIC_SLOW_CLOSED), 1);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(peers[i].code, i == 3 ? 1013 : 0);
    }
}

static void the_newest_of_a_key_replaces_what_waits_over_there(void **state)
{
    (void)state;
    open_all("11", "--");
    hub_set_policy(home->hub, OUTBOX_DROP_NEWEST);
    for (int i = 0; metric_at(1, METRIC_DROPPED_NEWEST) == 0; i++) {
        assert_true(i < BURST);
        cast(&(struct hub_target){0}, wide); /* now both lag */
        turn_all();
    }
    worlds[1].settings.outbox.hard_bytes = 1 << 20;
    uint64_t replaced = metric_at(1, METRIC_DROPPED_KEY);
    for (int i = 0; i < 6; i++) {
        char text[8] = {(char)('A' + i), '\0'};
        uint64_t not_for = peers[1].m.id;
        struct hub_target to = {
            .except_ids = &not_for, .except_count = i % 3 == 0};
        cast_with_key(&to, text, i % 2 ? "odd" : "even");
    }
    turn_all();
    /* E has replaced C, C A; F D, D B; the other never saw A and D. */
    assert_int_equal(metric_at(1, METRIC_DROPPED_KEY) - replaced, 4 + 2);
    const char *words = peer_take(&peers[0]);
    assert_string_equal(words + strlen(words) - 4, " E F");
    words = peer_take(&peers[1]);
    assert_string_equal(words + strlen(words) - 4, " E F");
}

/* ---- bounds ---- */

static void a_frame_the_app_has_no_room_for_is_dropped_for_all(void **state)
{
    (void)state;
    static char huge[5000];
    memset(huge, 'x', sizeof(huge) - 1);
    open_all("011220", "------");
    join(1, "a");
    join(3, "a");
    turn_all();
    assert_true(meter_charge(home->meter, METER - 4000));
    cast(&(struct hub_target){0}, huge);
    SAID(0, 6);
    assert_int_equal(metric(METRIC_DROPPED_APP), 6);
    uint64_t twice[] = {2, 2};
    cast(&(struct hub_target){.except_ids = twice, .except_count = 2}, huge);
    SAID(0, 5);
    assert_int_equal(metric(METRIC_DROPPED_APP), 11);
    uint64_t ids[] = {2, 4, 1};
    cast(&(struct hub_target){.ids = ids, .id_count = 3}, huge);
    SAID(0, 3);
    assert_int_equal(metric(METRIC_DROPPED_APP), 14);
    assert_int_equal(send_to(1, huge), ERR_FULL);
    assert_int_equal(metric(METRIC_DROPPED_APP), 15);
    assert_int_equal(window_used(1) + window_used(2), 0);
    meter_release(home->meter, METER - 4000);
    cast_to_room("a", "small");
    SAID(2, 0);
    WANT("", "small", "", "small", "", "");
}

#ifndef MOONWIRE_TINY /* at three bytes a call all lag, and need room as well */
/* The frame has room, the list of who it is for has not. */
static void a_list_the_app_has_no_room_for_drops_for_that_loop_alone(
    void **state)
{
    (void)state;
    for (size_t i = 0; i < 22; i++) {
        peer_open(&worlds[i < 20 ? 1 : (i - 20) * 2], &peers[i], NULL);
    }
    turn_all();
    size_t frame = sizeof(struct blob) + 3;
    size_t list = sizeof(struct blob) + 1 * sizeof(struct fanout_target);
    size_t rest = METER - meter_used(home->meter) - frame - list;
    assert_true(meter_charge(home->meter, rest));
    cast(&(struct hub_target){0}, "1");
    SAID(2, 20);
    assert_int_equal(metric(METRIC_DROPPED_APP), 20);
    assert_int_equal(window_used(1), 0);
    assert_string_equal(peer_take(&peers[20]), "1");
    assert_string_equal(peer_take(&peers[21]), "1");
    uint64_t ids[20];
    for (size_t i = 0; i < 20; i++) {
        ids[i] = i + 1;
    }
    cast(&(struct hub_target){.ids = ids, .id_count = 20}, "2");
    SAID(0, 20);
    assert_int_equal(metric(METRIC_DROPPED_APP), 40);
    turn_all();
    /* One alone needs no list. */
    cast(&(struct hub_target){.ids = ids, .id_count = 1}, "3");
    SAID(1, 0);
    turn_all();
    meter_release(home->meter, rest);
    cast(&(struct hub_target){0}, "4");
    SAID(22, 0);
    assert_string_equal(peer_take(&peers[0]), "3 4");
    assert_string_equal(peer_take(&peers[19]), "4");
    assert_string_equal(peer_take(&peers[20]), "4");
    assert_string_equal(peer_take(&peers[21]), "4");
}

#endif

static void a_full_window_drops_for_its_loop_alone(void **state)
{
    (void)state;
    open_all("0111122", "-------");
    cast(&(struct hub_target){0}, "1"); /* now there is one */
    turn_all();
    struct meter *window = home->hub->far[1].window;
    assert_true(meter_charge(window, LIMIT_WINDOW_BYTES));
    cast(&(struct hub_target){0}, "2");
    SAID(3, 4);
    assert_int_equal(metric(METRIC_DROPPED_WINDOW), 4);
    uint64_t except[] = {2, 3, 6};
    cast(&(struct hub_target){.except_ids = except, .except_count = 3}, "3");
    SAID(2, 2);
    assert_int_equal(metric(METRIC_DROPPED_WINDOW), 6);
    uint64_t ids[] = {1, 2, 3, 7};
    cast(&(struct hub_target){.ids = ids, .id_count = 4}, "4");
    SAID(2, 2);
    assert_int_equal(metric(METRIC_DROPPED_WINDOW), 8);
    assert_int_equal(send_to(1, "5"), ERR_FULL);
    assert_int_equal(send_to(5, "5"), 0);
    assert_int_equal(metric(METRIC_DROPPED_WINDOW), 9);
    assert_int_equal(metric(METRIC_DROPPED_APP), 0);
    meter_release(window, LIMIT_WINDOW_BYTES);
    cast(&(struct hub_target){0}, "6");
    SAID(7, 0);
    WANT("1 2 3 4 6", "1 6", "1 6", "1 6", "1 6", "1 2 5 6", "1 2 3 4 6");
}

/* ---- torture ---- */

enum act { TO_ROOM, TO_ROOM_BUT_SOME, TO_UNION, TO_IDS, TO_ONE };

/* Returns how many were addressed. */
static uint32_t do_act(enum act act)
{
    struct hub_name rooms[] = {{"a", 1}, {"b", 1}};
    struct hub_target to = {.rooms = rooms, .room_count = 1};
    uint64_t except[] = {2, 5, 1, 5};
    uint64_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8};
    switch (act) {
    case TO_ROOM: cast(&to, "word"); return 8;
    case TO_ROOM_BUT_SOME:
        to.except_ids = except;
        to.except_count = 4;
        cast(&to, "word");
        return 5;
    case TO_UNION:
        to.room_count = 2;
        cast(&to, "word");
        return 8;
    case TO_IDS:
        cast(&(struct hub_target){.ids = ids, .id_count = 8}, "word");
        return 8;
    case TO_ONE: break;
    }
    int rc = send_to(1, "word");
    assert_true(rc == 0 || rc == ERR_FULL);
    queued = rc == 0;
    dropped = rc != 0;
    return 1;
}

/* What is said of a broadcast is true, whatever memory it could not have, and
 * what was dropped is counted. False: nothing has failed. */
static bool survive_one(enum act act, uint64_t at)
{
    set_up_with(METER, 1 << 20);
    define("b", OUTBOX_DROP_NEWEST);
    open_all("01112222", "--------");
    for (size_t i = 0; i < 8; i++) {
        join(i, i < 6 ? "a" : "b");
        join(i, "a");
    }
    turn_all();
    uint64_t calls = mem_quota_calls();
    mem_fail_at(at);
    uint32_t addressed = do_act(act);
    mem_fail_at(0);
    bool has_failed = mem_quota_calls() - calls >= at;
    assert_int_equal(queued + dropped, addressed);
    assert_int_equal(
        metric(METRIC_DROPPED_APP) + metric(METRIC_DROPPED_WINDOW), dropped);
    uint32_t got = 0;
    for (size_t i = 0; i < 8; i++) {
        const char *words = peer_take(&peers[i]);
        got += strcmp(words, "word") == 0;
        assert_true(words[0] == '\0' || strcmp(words, "word") == 0);
    }
    assert_int_equal(got, queued);
    assert_int_equal(do_act(act), addressed);
    SAID(addressed, 0);
    (void)tear_down(NULL);
    return has_failed;
}

static void what_is_said_is_true_whatever_memory_is_denied(void **state)
{
    (void)state;
    for (int act = TO_ROOM; act <= TO_ONE; act++) {
        uint64_t at = 1;
        while (survive_one((enum act)act, at)) {
            assert_true(at < 50);
            at++;
        }
        assert_true(at > 2);
    }
    (void)set_up(NULL); /* for tear_down() */
}

/* ---- order ---- */

static char expected[PEERS][1 << 15];
static bool in_room[PEERS][3];

static void expect(size_t i, const char *word)
{
    size_t used = strlen(expected[i]);
    assert_true(used + 16 < sizeof(expected[i]));
    snprintf(expected[i] + used, sizeof(expected[i]) - used, "%s%s",
        used > 0 ? " " : "", word);
}

static const char *const names[] = {"a", "b", "c"};

static void join_or_part(size_t i, size_t k)
{
    if (!hub_part(&peers[i].m, names[k], 1)) {
        join(i, names[k]);
    }
    in_room[i][k] = !in_room[i][k];
}

/* A broadcast to everybody, to a room, to two, or to some by number. */
static void cast_at_random(int step, const char *word)
{
    size_t k = (size_t)rand() % 3;
    size_t l = (size_t)rand() % 3;
    struct hub_name rooms[] = {{names[k], 1}, {names[l], 1}};
    uint64_t ids[12];
    uint64_t except[3];
    size_t id_count = 0;
    int what = rand() % 4;
    for (size_t i = 0; i < 12; i++) {
        ids[i] = (uint64_t)rand() % PEERS + 1;
    }
    for (size_t i = 0; i < 3; i++) {
        except[i] = (uint64_t)rand() % PEERS + 1;
    }
    struct hub_target to = {.except_ids = except,
        .except_count = step % 3 == 0 ? 1 + (size_t)rand() % 3 : 0};
    if (what == 1 || what == 2) {
        to.rooms = rooms;
        to.room_count = (size_t)what;
    } else if (what == 3) {
        to.ids = ids;
        to.id_count = id_count = (size_t)rand() % 12;
    }
    uint32_t count = 0;
    for (size_t j = 0; j < PEERS; j++) {
        bool is_meant = what == 0 || (what <= 2 && in_room[j][k]) ||
                        (what == 2 && in_room[j][l]);
        for (size_t i = 0; what == 3 && i < id_count; i++) {
            is_meant = is_meant || ids[i] == j + 1;
        }
        for (size_t i = 0; i < to.except_count; i++) {
            is_meant = is_meant && except[i] != j + 1;
        }
        is_meant = is_meant && (what != 3 || id_count > 0);
        if (is_meant) {
            expect(j, word);
            count++;
        }
    }
    cast(&to, word);
    SAID(count, 0);
}

static void act_at_random(int step)
{
    char word[16];
    size_t i = (size_t)rand() % PEERS;
    snprintf(word, sizeof(word), "%d", step);
    switch (rand() % 4) {
    case 0: join_or_part(i, (size_t)rand() % 3); break;
    case 1:
        assert_int_equal(send_to(i, word), 0);
        expect(i, word);
        break;
    default: cast_at_random(step, word); break;
    }
}

static void every_member_sees_all_it_is_sent_in_the_order_of_the_calls(
    void **state)
{
    (void)state;
    memset(expected, 0, sizeof(expected));
    memset(in_room, 0, sizeof(in_room));
    define("b", OUTBOX_DROP_OLDEST);
    define("c", OUTBOX_DROP_NEWEST);
    srand(5);
    for (size_t i = 0; i < PEERS; i++) {
        peer_open(&worlds[rand() % LOOPS], &peers[i], NULL);
    }
    for (int step = 0; step < 6000; step++) {
        act_at_random(step);
        if (rand() % 10 == 0) {
            loop_turn(worlds[rand() % LOOPS].loop, 0);
        }
        if (rand() % 60 == 0) {
            size_t i = (size_t)rand() % PEERS;
            assert_string_equal(peer_take(&peers[i]), expected[i]);
            expected[i][0] = '\0';
        }
    }
    for (size_t i = 0; i < PEERS; i++) {
        assert_string_equal(peer_take(&peers[i]), expected[i]);
    }
}

int main(void)
{
#define U(name, up) cmocka_unit_test_setup_teardown(name, up, tear_down)
#define T(name)     U(name, set_up)
    const struct CMUnitTest tests[] = {
        T(a_broadcast_reaches_members_of_all_loops),
        T(a_room_without_anybody_at_home_is_reached),
        T(a_letter_is_as_small_for_many_as_for_two),
        T(loops_without_a_member_of_the_room_get_no_letter),
        T(the_excepted_miss_one_broadcast_and_get_the_next),
        T(a_loop_whose_members_are_all_excepted_gets_no_letter),
        T(the_excepted_stay_members_though_many_have_left),
        T(rooms_and_users_add_up_and_nobody_gets_two_copies),
        T(a_list_of_ids_is_the_list_itself),
        T(a_long_list_of_ids_reaches_all_of_them),
        T(membership_is_that_of_the_moment_of_the_call),
        T(who_has_gone_meanwhile_is_passed_over),
        T(letters_outlive_the_hub_that_wrote_them),
        U(a_room_with_a_policy_of_its_own_follows_it_over_there,
            set_up_small_outboxes),
        U(a_union_takes_each_member_by_the_policy_of_its_room,
            set_up_small_outboxes),
        U(the_newest_of_a_key_replaces_what_waits_over_there,
            set_up_small_outboxes),
        T(a_frame_the_app_has_no_room_for_is_dropped_for_all),
#ifndef MOONWIRE_TINY
        T(a_list_the_app_has_no_room_for_drops_for_that_loop_alone),
#endif
        T(a_full_window_drops_for_its_loop_alone),
        cmocka_unit_test_teardown(
            what_is_said_is_true_whatever_memory_is_denied, tear_down),
        T(every_member_sees_all_it_is_sent_in_the_order_of_the_calls),
    };
    int failed = cmocka_run_group_tests_name("at once", tests, NULL, NULL);
    walks.is_stopped = true;
    return failed + cmocka_run_group_tests_name("in steps", tests, NULL, NULL);
}
