/* test_cast.c -- who gets what, over real connections. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "unit/hub/peers.h"
#include <stdlib.h>

#define PEERS 24

static struct world w;
static struct peer peers[PEERS];

static uint32_t queued;
static uint32_t dropped;

static int set_up_with(size_t meter_cap, uint32_t outbox_bytes)
{
    memset(peers, 0, sizeof(peers));
    world_open(&w, meter_cap, outbox_bytes);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with(1 << 24, 1 << 20);
}

static int set_up_small_outboxes(void **state)
{
    (void)state;
    return set_up_with(1 << 24, 2000);
}

static int set_up_small_meter(void **state)
{
    (void)state;
    return set_up_with(4000, 1 << 20);
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w, peers, PEERS);
    return 0;
}

/* The first n peers come; user of each by its letter, '-' for none. */
static void open_all(const char *users)
{
    for (size_t i = 0; users[i] != '\0'; i++) {
        char user[2] = {users[i], '\0'};
        peer_open(&w, &peers[i], users[i] == '-' ? NULL : user);
    }
}

static void join(size_t i, const char *room)
{
    assert_int_equal(hub_join(&peers[i].m, room, strlen(room)), 0);
}

static void cast(const struct hub_target *to, const char *text)
{
    struct hub_message msg = {
        .op = FRAME_TEXT, .data = text, .len = strlen(text)};
    queued = 777;
    dropped = 777;
    hub_broadcast(w.hub, to, &msg, &queued, &dropped);
}

static void cast_to_all(const char *text)
{
    cast(&(struct hub_target){0}, text);
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

/* want[i] is what peer i has got since it was last asked. */
static void check_words(size_t n, const char *const *want)
{
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(peer_take(&peers[i]), want[i]);
    }
}

#define WANT(...)                                                              \
    check_words(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),        \
        (const char *[]){__VA_ARGS__})

static uint64_t metric(enum metric m)
{
    return metric_get(loop_metrics(w.loop), m);
}

static void everybody_gets_a_broadcast_and_it_is_encoded_once(void **state)
{
    (void)state;
    open_all("----");
    for (size_t i = 0; i < 4; i++) {
        peer_take(&peers[i]);
    }
    cast_to_all("hello");
    assert_int_equal(queued, 4);
    assert_int_equal(dropped, 0);
    assert_int_equal(metric(METRIC_BROADCASTS), 1);
    const struct lane *first = &w.net->lanes[peers[0].m.conn.slot];
    for (size_t i = 0; i < 4; i++) {
        const struct lane *l = &w.net->lanes[peers[i].m.conn.slot];
        assert_ptr_equal(l->blob, first->blob);
        assert_int_equal(l->off, first->off);
    }
    WANT("hello", "hello", "hello", "hello");
}

static void broadcasts_of_a_turn_in_one_room_are_one_range(void **state)
{
    (void)state;
    open_all("--");
    join(0, "a");
    cast_to_room("a", "long enough for three"); /* as below */
    peer_take(&peers[0]);
    cast_to_room("a", "1");
    cast_to_room("a", "2");
    cast_to_room("a", "3");
    const struct lane *l = &w.net->lanes[peers[0].m.conn.slot];
    assert_int_equal(l->flags & LANE_SLOW, 0);
    WANT("1 2 3", "");
}

static void consecutive_sends_to_one_client_are_one_range(void **state)
{
    (void)state;
    open_all("--");
    /* A turn's chunk is sized by what the turn before it has written. */
    assert_int_equal(send_to(0, "long enough for two"), 0);
    peer_take(&peers[0]);
    assert_int_equal(send_to(0, "1"), 0);
    assert_int_equal(send_to(0, "2"), 0);
    const struct lane *l = &w.net->lanes[peers[0].m.conn.slot];
    assert_int_equal(l->frames, 2);
    assert_true(l->blob->is_scratch);
    assert_int_equal(send_to(1, "3"), 0);
    WANT("1 2", "3");
}

static void a_binary_message_is_a_binary_frame(void **state)
{
    (void)state;
    uint8_t head[4];
    open_all("-");
    peer_take(&peers[0]);
    struct hub_message msg = {.op = FRAME_BINARY, .data = "\0x", .len = 2};
    hub_broadcast(w.hub, &(struct hub_target){0}, &msg, &queued, &dropped);
    for (size_t got = 0, turns = 0; got < sizeof(head); turns++) {
        assert_true(turns < 10);
        loop_turn(w.loop, 0);
        ssize_t n = read(peers[0].fd, head + got, sizeof(head) - got);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(head, "\x82\x02\0x", 4);
}

static void a_room_gets_what_is_addressed_to_it_and_nobody_else_does(
    void **state)
{
    (void)state;
    open_all("----");
    join(1, "a");
    join(3, "a");
    join(2, "b");
    cast_to_room("a", "for-a");
    assert_int_equal(queued, 2);
    cast_to_room("b", "for-b");
    assert_int_equal(queued, 1);
    WANT("", "for-a", "for-b", "for-a");
}

static void nobody_addressed_means_nothing_encoded(void **state)
{
    (void)state;
    struct hub_name nobody = {"nobody", 6};
    cast_to_all("x");
    assert_int_equal(queued, 0);
    open_all("a");
    join(0, "a");
    cast_to_room("nobody", "x");
    cast(&(struct hub_target){.users = &nobody, .user_count = 1}, "x");
    uint64_t unknown = 99;
    cast(&(struct hub_target){.ids = &unknown, .id_count = 1}, "x");
    cast(&(struct hub_target){.ids = &unknown, .id_count = 0}, "x");
    uint64_t one = 1;
    cast(&(struct hub_target){.except_ids = &one, .except_count = 1}, "x");
    assert_int_equal(queued, 0);
    assert_int_equal(dropped, 0);
    assert_int_equal(metric(METRIC_BROADCASTS), 0);
    WANT("");
}

static void the_excepted_miss_one_broadcast_and_get_the_next(void **state)
{
    (void)state;
    open_all("-abab-");
    uint64_t ids[] = {1, 99, 6, 1};
    struct hub_name users[] = {{"a", 1}, {"nobody", 6}};
    struct hub_target to = {.except_ids = ids, .except_count = 4};
    cast(&to, "1");
    assert_int_equal(queued, 4);
    to.except_users = users;
    to.except_user_count = 2;
    cast(&to, "2");
    assert_int_equal(queued, 2);
    cast_to_all("3");
    assert_int_equal(queued, 6);
    WANT("3", "1 3", "1 2 3", "1 3", "1 2 3", "3");
}

static void excepting_somebody_who_is_not_in_the_room_changes_nothing(
    void **state)
{
    (void)state;
    open_all("---");
    join(0, "a");
    join(1, "a");
    uint64_t ids[] = {3, 2};
    struct hub_name room = {"a", 1};
    struct hub_target to = {
        .rooms = &room, .room_count = 1, .except_ids = ids, .except_count = 1};
    cast(&to, "1");
    assert_int_equal(queued, 2);
    to.except_count = 2;
    cast(&to, "2");
    assert_int_equal(queued, 1);
    cast_to_all("3");
    WANT("1 2 3", "1 3", "3");
}

static void rooms_and_users_add_up_and_nobody_gets_two_copies(void **state)
{
    (void)state;
    open_all("--ab-a-");
    join(0, "a");
    join(1, "a");
    join(1, "b");
    join(2, "b");
    struct hub_name rooms[] = {{"a", 1}, {"b", 1}, {"a", 1}, {"no", 2}};
    struct hub_name users[] = {{"a", 1}, {"a", 1}, {"no", 2}};
    struct hub_target to = {
        .rooms = rooms, .room_count = 4, .users = users, .user_count = 3};
    cast(&to, "1");
    assert_int_equal(queued, 4);
    uint64_t ids[] = {2, 4};
    struct hub_name a = {"a", 1};
    to.except_ids = ids;
    to.except_count = 2;
    cast(&to, "2");
    assert_int_equal(queued, 3);
    to.except_users = &a;
    to.except_user_count = 1;
    cast(&to, "3");
    assert_int_equal(queued, 1);
    to = (struct hub_target){.users = users, .user_count = 3};
    cast(&to, "4");
    assert_int_equal(queued, 2);
    assert_int_equal(metric(METRIC_BROADCASTS), 4);
    WANT("1 2 3", "1", "1 2 4", "", "", "1 2 4", "");
}

static void a_list_of_ids_is_the_list_itself(void **state)
{
    (void)state;
    open_all("aaaa");
    struct hub_name a = {"a", 1};
    uint64_t ids[] = {3, 1, 99, 3};
    uint64_t except[] = {1};
    struct hub_target to = {
        .ids = ids, .id_count = 4, .users = &a, .user_count = 1};
    cast(&to, "1");
    assert_int_equal(queued, 2);
    to.except_ids = except;
    to.except_count = 1;
    cast(&to, "2");
    assert_int_equal(queued, 1);
    WANT("1", "", "1 2", "");
}

static void long_lists_share_the_frame_and_short_ones_send_it(void **state)
{
    (void)state;
    uint64_t ids[PEERS];
    for (size_t i = 0; i < PEERS; i++) {
        peer_open(&w, &peers[i], "u");
        ids[i] = i + 1;
    }
    peer_take(&peers[0]);
    const struct lane *l = &w.net->lanes[peers[0].m.conn.slot];
    struct hub_target to = {.ids = ids, .id_count = PEERS};
    cast(&to, "1");
    assert_int_equal(queued, PEERS);
    assert_false(l->blob->is_scratch);
    assert_string_equal(peer_take(&peers[0]), "1");
    to.id_count = 2;
    cast(&to, "2");
    assert_int_equal(queued, 2);
    assert_true(l->blob->is_scratch);
    assert_string_equal(peer_take(&peers[0]), "2");
}

static void the_closed_are_neither_queued_nor_dropped(void **state)
{
    (void)state;
    open_all("---");
    uint64_t ids[] = {1, 2, 3};
    uint32_t slot = peers[1].m.conn.slot;
    w.net->lanes[slot].flags &= ~(uint32_t)LANE_OPEN;
    cast_to_all("1");
    assert_int_equal(queued, 2);
    assert_int_equal(dropped, 0);
    cast(&(struct hub_target){.ids = ids, .id_count = 3}, "2");
    assert_int_equal(queued, 2);
    assert_int_equal(dropped, 0);
    assert_int_equal(send_to(1, "3"), ERR_CLOSED);
    w.net->lanes[slot].flags |= LANE_OPEN;
    conn_close(peers[0].conn, 1000, "", 0);
    assert_int_equal(send_to(0, "4"), ERR_CLOSED);
    cast_to_all("5");
    assert_int_equal(queued, 2);
    WANT("1 2", "5", "1 2 5");
}

static void a_room_may_end_before_what_it_said_has_left(void **state)
{
    (void)state;
    open_all("--");
    join(0, "a");
    join(1, "a");
    cast_to_room("a", "last words");
    assert_true(hub_part(&peers[0].m, "a", 1));
    assert_true(hub_part(&peers[1].m, "a", 1));
    assert_null(hub_room(w.hub, "a", 1));
    WANT("last words", "last words");
}

/* 100 bytes. The sockets hold a few of them, a small outbox a dozen, and
 * BURST of them are too many for both. */
#define BURST 100
static const char wide[] = "0123456789012345678901234567890123456789012345678"
                           "90123456789012345678901234567890123456789012345678";

static void drop_newest_counts_what_it_refuses(void **state)
{
    (void)state;
    uint32_t all_queued = 0;
    uint32_t all_dropped = 0;
    open_all("--");
    hub_set_policy(w.hub, OUTBOX_DROP_NEWEST);
    for (int i = 0; i < BURST; i++) {
        cast_to_all(wide);
        assert_int_equal(queued + dropped, 2);
        all_queued += queued;
        all_dropped += dropped;
    }
    assert_true(all_dropped > 0);
    assert_int_equal(send_to(0, wide), ERR_FULL);
    size_t got = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(peer_take(&peers[i]));
        assert_int_equal((len + 1) % sizeof(wide), 0);
        got += (len + 1) / sizeof(wide);
    }
    assert_int_equal(got, all_queued);
    cast_to_all("again");
    assert_int_equal(queued, 2);
    WANT("again", "again");
}

static void a_send_that_has_to_write_first_is_a_long_one(void **state)
{
    (void)state;
    const struct hub_message msg = {
        .op = FRAME_TEXT, .data = "short", .len = 5};
    open_all("-");
    hub_set_policy(w.hub, OUTBOX_DROP_NEWEST);
    peer_take(&peers[0]); /* the response to its handshake */
    uint64_t sends = metric(METRIC_SENDS);
    for (int n = 0; n < 2000 / (2 + 5 + 64); n++) {
        assert_false(hub_is_long(&peers[0].m, &msg));
        assert_int_equal(send_to(0, "short"), 0);
    }
    assert_int_equal(metric(METRIC_SENDS), sends);
    assert_true(hub_is_long(&peers[0].m, &msg));
    (void)send_to(0, "short");
    assert_true(metric(METRIC_SENDS) > sends);
    peer_take(&peers[0]);
    assert_false(hub_is_long(&peers[0].m, &msg));
}

static void a_room_with_a_policy_of_its_own_follows_it(void **state)
{
    (void)state;
    struct room_rule rule = {.has_policy = true, .policy = OUTBOX_DROP_OLDEST};
    assert_int_equal(hub_define(w.hub, "cursor/*", 8, &rule), 0);
    open_all("--");
    hub_set_policy(w.hub, OUTBOX_DROP_NEWEST);
    join(0, "cursor/1");
    join(1, "chat");
    for (int i = 0; i < BURST; i++) {
        cast_to_room("chat", wide);
        cast_to_room("cursor/1", wide);
        assert_int_equal(queued, 1);
        assert_int_equal(dropped, 0);
    }
    cast_to_room("chat", wide);
    assert_int_equal(dropped, 1);
    struct hub_name rooms[] = {{"chat", 4}, {"cursor/1", 8}};
    struct hub_target to = {.rooms = rooms, .room_count = 2};
    char newest[sizeof(wide)];
    memset(newest, 'n', sizeof(newest) - 1);
    newest[sizeof(newest) - 1] = '\0';
    cast(&to, newest);
    assert_int_equal(queued, 1);
    assert_int_equal(dropped, 1);
    assert_non_null(strstr(peer_take(&peers[0]), newest));
    assert_null(strstr(peer_take(&peers[1]), newest));
}

static void a_slow_client_is_closed_after_the_walk_not_in_it(void **state)
{
    (void)state;
    uint32_t all_dropped = 0;
    open_all("---");
    join(0, "a");
    for (int i = 0; i < BURST && all_dropped == 0; i++) {
        cast_to_room("a", wide);
        all_dropped += dropped;
        assert_int_equal(hub_count(w.hub), 3);
    }
    assert_int_equal(all_dropped, 1);
    /* Doomed, but told only at the flush: until then neither here nor there. */
    cast_to_all("off");
    assert_int_equal(queued, 2);
    assert_int_equal(dropped, 0);
    assert_int_equal(hub_count(w.hub), 3);
    for (int i = 0; i < 3; i++) {
        loop_turn(w.loop, 0);
    }
    assert_int_equal(peers[0].code, 1013);
    assert_null(hub_room(w.hub, "a", 1));
    assert_int_equal(hub_count(w.hub), 2);
    cast_to_all("on");
    assert_int_equal(queued, 2);
    assert_string_equal(peer_take(&peers[1]), "off on");
}

static void a_full_app_drops_for_all_who_were_addressed(void **state)
{
    (void)state;
    static char huge[5000];
    memset(huge, 'x', sizeof(huge) - 1);
    open_all("----");
    join(0, "a");
    join(1, "b");
    cast_to_all(huge);
    assert_int_equal(queued, 0);
    assert_int_equal(dropped, 4);
    assert_int_equal(metric(METRIC_DROPPED_APP), 4);
    uint64_t twice[] = {2, 2};
    cast(&(struct hub_target){.except_ids = twice, .except_count = 2}, huge);
    assert_int_equal(dropped, 3);
    assert_int_equal(metric(METRIC_DROPPED_APP), 7);
    struct hub_name rooms[] = {{"a", 1}, {"b", 1}};
    cast(&(struct hub_target){.rooms = rooms, .room_count = 2}, huge);
    assert_int_equal(queued, 0);
    assert_int_equal(dropped, 2);
    assert_int_equal(metric(METRIC_DROPPED_APP), 9);
    assert_int_equal(send_to(0, huge), ERR_FULL);
    assert_int_equal(metric(METRIC_DROPPED_APP), 10);
    assert_int_equal(metric(METRIC_BROADCASTS), 0);
    cast_to_all("small");
    assert_int_equal(queued, 4);
    WANT("small", "small", "small", "small");
}

static void the_newest_of_a_key_replaces_what_waits_in_an_outbox(void **state)
{
    (void)state;
    open_all("--");
    peer_take(&peers[0]);
    join(0, "a");
    cast_to_all("long enough for all that follows");
    peer_take(&peers[0]);
    peer_take(&peers[1]);
    cast_to_room("a", "x");
    cast_to_all("y"); /* from another tape: peer 0 needs an outbox */
    for (int i = 0; i < 5; i++) {
        char text[2] = {(char)('0' + i), '\0'};
        struct hub_message msg = {.op = FRAME_TEXT,
            .data = text,
            .len = 1,
            .key = i % 2 ? "odd" : "even",
            .key_len = i % 2 ? 3 : 4};
        hub_broadcast(w.hub, &(struct hub_target){0}, &msg, &queued, &dropped);
        assert_int_equal(queued, 2);
    }
    cast_to_all("end");
    WANT("x y 3 4 end", "y 0 1 2 3 4 end");
}

/* What each peer should have got: the words that were addressed to it. */
static char expected[PEERS][1 << 15];
static bool in_room[PEERS][3];

static void expect(size_t i, const char *word)
{
    size_t used = strlen(expected[i]);
    assert_true(used + 16 < sizeof(expected[i]));
    snprintf(expected[i] + used, sizeof(expected[i]) - used, "%s%s",
        used > 0 ? " " : "", word);
}

/* One random act; the model is a plain loop over all peers. */
static void act(int step)
{
    static const char *const names[] = {"a", "b", "c"};
    char word[16];
    snprintf(word, sizeof(word), "%d", step);
    size_t i = (size_t)rand() % PEERS;
    size_t k = (size_t)rand() % 3;
    size_t l = (size_t)rand() % 3;
    uint64_t id = i + 1;
    struct hub_name rooms[] = {{names[k], 1}, {names[l], 1}};
    struct hub_target to = {0};
    bool is_except = rand() % 3 == 0;
    int what = rand() % 6;
    if (what == 0) {
        if (in_room[i][k]) {
            assert_true(hub_part(&peers[i].m, names[k], 1));
        } else {
            join(i, names[k]);
        }
        in_room[i][k] = !in_room[i][k];
        return;
    }
    if (what == 1) {
        assert_int_equal(send_to(i, word), 0);
        expect(i, word);
        return;
    }
    if (what >= 3) {
        to.rooms = rooms;
        to.room_count = what == 3 ? 2 : 1;
    }
    if (is_except) {
        to.except_ids = &id;
        to.except_count = 1;
    }
    uint32_t count = 0;
    for (size_t j = 0; j < PEERS; j++) {
        bool is_addressed =
            what == 2 || in_room[j][k] || (what == 3 && in_room[j][l]);
        if (is_addressed && !(is_except && j == i)) {
            expect(j, word);
            count++;
        }
    }
    cast(&to, word);
    assert_int_equal(queued, count);
    assert_int_equal(dropped, 0);
}

static void every_member_sees_all_it_is_sent_in_the_order_of_sending(
    void **state)
{
    (void)state;
    memset(expected, 0, sizeof(expected));
    memset(in_room, 0, sizeof(in_room));
    for (size_t i = 0; i < PEERS; i++) {
        peer_open(&w, &peers[i], NULL);
    }
    srand(5);
    for (int step = 0; step < 6000; step++) {
        act(step);
        if (rand() % 40 == 0) {
            loop_turn(w.loop, 0);
        }
        if (rand() % 200 == 0) {
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
        T(everybody_gets_a_broadcast_and_it_is_encoded_once),
        T(broadcasts_of_a_turn_in_one_room_are_one_range),
        T(consecutive_sends_to_one_client_are_one_range),
        T(a_binary_message_is_a_binary_frame),
        T(a_room_gets_what_is_addressed_to_it_and_nobody_else_does),
        T(nobody_addressed_means_nothing_encoded),
        T(the_excepted_miss_one_broadcast_and_get_the_next),
        T(excepting_somebody_who_is_not_in_the_room_changes_nothing),
        T(rooms_and_users_add_up_and_nobody_gets_two_copies),
        T(a_list_of_ids_is_the_list_itself),
        T(long_lists_share_the_frame_and_short_ones_send_it),
        T(the_closed_are_neither_queued_nor_dropped),
        T(a_room_may_end_before_what_it_said_has_left),
        U(drop_newest_counts_what_it_refuses, set_up_small_outboxes),
        U(a_send_that_has_to_write_first_is_a_long_one, set_up_small_outboxes),
        U(a_room_with_a_policy_of_its_own_follows_it, set_up_small_outboxes),
        U(a_slow_client_is_closed_after_the_walk_not_in_it,
            set_up_small_outboxes),
        U(a_full_app_drops_for_all_who_were_addressed, set_up_small_meter),
        T(the_newest_of_a_key_replaces_what_waits_in_an_outbox),
        T(every_member_sees_all_it_is_sent_in_the_order_of_sending),
    };
    int failed = cmocka_run_group_tests_name("at once", tests, NULL, NULL);
    walks.is_stopped = true;
    return failed + cmocka_run_group_tests_name("in steps", tests, NULL, NULL);
}
