/* test_walk.c -- walks that are stopped at every member, while members leave
 * and others come: who gets what is decided by the moment of the call. Over
 * lanes made by hand, whose frames are counted. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/late.h"
#include "base/limits.h"
#include "base/mem.h"
#include "hub/hub_priv.h"
#include "support/walks.h"
#include <stdio.h>
#include <stdlib.h>

#define SLOTS   1400
#define MEMBERS 4000

static struct loop *loop;
static struct net net;
static struct meter *meter;
static struct hub *hub;
static struct member members[MEMBERS];
static uint32_t got[MEMBERS];  /* frames */
static bool has_left[MEMBERS]; /* since the walk began */
static bool is_meant[MEMBERS]; /* by the walk */
static uint32_t owner[SLOTS];  /* member + 1; 0: free */
static uint32_t came;          /* members so far */
static const char *const rooms[] = {"a", "b", "c"};
static const char *const users[] = {NULL, "u", "v"};

static int set_up(void **state)
{
    (void)state;
    memset(&net, 0, sizeof(net));
    memset(members, 0, sizeof(members));
    memset(owner, 0, sizeof(owner));
    memset(&walks, 0, sizeof(walks));
    came = 0;
    loop = loop_new(0);
    net.loop = loop;
    net.metrics = loop_metrics(loop);
    list_init(&net.tapes);
    slots_init(&net.conns);
    net.dirty_cap = 2048;
    net.dirty = mem_alloc(net.dirty_cap * sizeof(*net.dirty));
    net.lanes = mem_zalloc(SLOTS * sizeof(*net.lanes));
    net.lane_cap = SLOTS;
    meter = meter_new(1 << 26);
    struct hub_config config = {
        .net = &net, .meter = meter, .rooms_max = 10, .rooms_per_client = 10};
    hub = hub_new(&config);
    srand(5);
    return 0;
}

/* What the flush does, less the sending. */
static void end_turn(void)
{
    for (; net.dirty_count > 0; net.dirty_count--) {
        uint32_t slot = net.dirty[net.dirty_head];
        struct lane *l = &net.lanes[slot];
        net.dirty_head = (net.dirty_head + 1) & (net.dirty_cap - 1);
        if (l->blob != NULL) {
            got[owner[slot] - 1] += l->frames;
            blob_unref(l->blob);
            l->blob = NULL;
        }
        l->flags &= ~(uint32_t)LANE_DIRTY;
    }
    tape_seal_all(&net);
}

static void leave(uint32_t i)
{
    struct lane *l = &net.lanes[members[i].conn.slot];
    if (l->blob != NULL) {
        got[i] += l->frames;
        blob_unref(l->blob);
        l->blob = NULL;
    }
    l->flags &= LANE_DIRTY;
    owner[members[i].conn.slot] = 0;
    has_left[i] = true;
    hub_leave(&members[i]);
}

/* Into a slot that is free, with rooms and a user by chance. */
static void come(uint32_t slot)
{
    if (owner[slot] != 0 || came == MEMBERS) {
        return;
    }
    uint32_t i = came++;
    const char *user = users[rand() % 3];
    struct conn_id conn = {0, slot, i + 1};
    net.lanes[slot].flags |= LANE_OPEN;
    net.lanes[slot].hard_bytes = 1u << 24;
    owner[slot] = i + 1;
    assert_int_equal(hub_enter(hub, &members[i], i + 1, conn, user,
                         user != NULL ? strlen(user) : 0),
        0);
    for (size_t k = 0; k < 3; k++) {
        if (rand() % 2 == 0) {
            assert_int_equal(hub_join(&members[i], rooms[k], 1), 0);
        }
    }
}

static uint32_t any_member(void)
{
    uint32_t slot;
    do {
        slot = (uint32_t)rand() % SLOTS;
    } while (owner[slot] == 0);
    return owner[slot] - 1;
}

static void people(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        come((uint32_t)rand() % SLOTS);
    }
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < came; i++) {
        if (members[i].hub != NULL) {
            leave(i);
        }
    }
    end_turn();
    assert_int_equal(hub->rooms.count, 0);
    assert_int_equal(hub->users.count, 0);
    hub_free(hub);
    assert_int_equal(meter_used(meter), 0);
    meter_unref(meter);
    slots_fini(&net.conns);
    mem_free(net.dirty);
    mem_free(net.lanes);
    loop_free(loop);
    return 0;
}

/* Between two steps. */
static void live_on(uint32_t steps)
{
    (void)steps;
    switch (rand() % 8) {
    case 0: leave(any_member()); break;
    case 1: come((uint32_t)rand() % SLOTS); break;
    case 2: {
        /* Another one in the very slot. */
        uint32_t i = any_member();
        uint32_t slot = members[i].conn.slot;
        leave(i);
        come(slot);
        break;
    }
    case 3: end_turn(); break;
    default: break;
    }
}

static void note_meant(const struct hub_target *to)
{
    memset(got, 0, sizeof(got));
    memset(has_left, 0, sizeof(has_left));
    memset(is_meant, 0, sizeof(is_meant));
    for (uint32_t i = 0; i < came; i++) {
        const struct member *m = &members[i];
        size_t len;
        const char *user = member_user(m, &len);
        if (m->hub == NULL) {
            continue;
        }
        bool is_in = to->ids == NULL && to->room_count + to->user_count == 0;
        for (size_t k = 0; to->ids == NULL && k < to->room_count; k++) {
            is_in |= hub_is_in(m, to->rooms[k].p, 1);
        }
        for (size_t k = 0; to->ids == NULL && k < to->user_count; k++) {
            is_in |= user != NULL && user[0] == to->users[k].p[0];
        }
        for (size_t k = 0; k < to->id_count; k++) {
            is_in |= to->ids[k] == m->id;
        }
        for (size_t k = 0; k < to->except_count; k++) {
            is_in &= to->except_ids[k] != m->id;
        }
        for (size_t k = 0; k < to->except_user_count; k++) {
            is_in &= user == NULL || user[0] != to->except_users[k].p[0];
        }
        is_meant[i] = is_in;
    }
}

static void check_got(uint32_t queued)
{
    uint32_t stayed = 0;
    uint32_t meant = 0;
    end_turn();
    for (uint32_t i = 0; i < came; i++) {
        meant += is_meant[i];
        if (!is_meant[i]) {
            assert_int_equal(got[i], 0);
        } else if (has_left[i]) {
            assert_true(got[i] <= 1);
        } else {
            assert_int_equal(got[i], 1);
            stayed++;
        }
    }
    assert_in_range(queued, stayed, meant);
}

static void choose_target(struct hub_target *to, uint64_t *ids,
    uint64_t *except, struct hub_name *names)
{
    *to = (struct hub_target){0};
    for (size_t i = 0; i < 40; i++) {
        ids[i] = (uint64_t)rand() % came + 1;
        except[i] = (uint64_t)rand() % came + 1;
    }
    for (size_t k = 0; k < 4; k++) {
        names[k] = (struct hub_name){rooms[rand() % 3], 1};
        names[k + 4] = (struct hub_name){users[1 + rand() % 2], 1};
    }
    switch (rand() % 5) {
    case 0: break;
    case 1: to->room_count = 1; break;
    case 2: to->room_count = 3; break;
    case 3:
        to->room_count = (size_t)rand() % 2;
        to->user_count = 2;
        break;
    default:
        to->ids = ids;
        to->id_count = 40;
        break;
    }
    to->rooms = names;
    to->users = names + 4;
    to->except_ids = except;
    to->except_count = rand() % 2 ? (size_t)rand() % 40 : 0;
    to->except_users = names + 6;
    to->except_user_count = rand() % 4 == 0;
}

static void check_nothing_is_left(void)
{
    assert_false(hub->walk.is_on);
    assert_int_equal(hub->everybody.here.hidden, 0);
    for (size_t k = 0; k < 3; k++) {
        const struct room *r = hub_room(hub, rooms[k], 1);
        assert_true(r == NULL || r->here.hidden == 0);
        assert_true(r == NULL || room_count(r) > 0);
    }
}

static void each_of_those_who_were_there_gets_it_once(void **state)
{
    (void)state;
    uint64_t ids[40];
    uint64_t except[40];
    struct hub_name names[8];
    struct hub_target to;
    struct hub_message msg = {.op = FRAME_TEXT, .data = "hello", .len = 5};
    uint32_t queued;
    uint32_t dropped;
    people(SLOTS);
    walks.is_stopped = true;
    walks.between = live_on;
    for (int round = 0; round < 60 && came + SLOTS < MEMBERS; round++) {
        choose_target(&to, ids, except, names);
        note_meant(&to);
        hub_broadcast(hub, &to, &msg, &queued, &dropped);
        check_got(queued);
        assert_int_equal(dropped, 0);
        check_nothing_is_left();
    }
}

static void a_step_is_one_member_when_a_tick_waits(void **state)
{
    (void)state;
    struct hub_message msg = {.op = FRAME_TEXT, .data = "hello", .len = 5};
    uint32_t queued;
    uint32_t dropped;
    people(SLOTS);
    uint32_t n = hub_count(hub);
    walks.is_stopped = true;
    hub_broadcast(hub, &(struct hub_target){0}, &msg, &queued, &dropped);
    assert_int_equal(queued, n);
    assert_in_range(walks.steps, n, n + 10);
    end_turn();
    struct hub_name two[] = {{"a", 1}, {"b", 1}};
    struct hub_target to = {.rooms = two, .room_count = 2};
    hub_broadcast(hub, &to, &msg, &queued, &dropped);
    assert_true(walks.steps >= queued);
    end_turn();
    /* And the excepted are hidden one by one, shown row by row. */
    uint64_t ids[100];
    for (size_t i = 0; i < 100; i++) {
        ids[i] = i + 1;
    }
    to = (struct hub_target){.except_ids = ids, .except_count = 100};
    hub_broadcast(hub, &to, &msg, &queued, &dropped);
    assert_in_range(walks.steps, queued + 100, queued + 100 + 10 + n / 2);
    end_turn();
    /* Nobody waits: it is all one step. */
    walks.is_stopped = false;
    hub_broadcast(hub, &(struct hub_target){0}, &msg, &queued, &dropped);
    assert_int_equal(walks.steps, 1);
}

static void a_list_is_of_those_who_were_there(void **state)
{
    (void)state;
    static uint64_t ids[MEMBERS];
    people(SLOTS);
    walks.is_stopped = true;
    walks.between = live_on;
    for (int round = 0; round < 9 && came + SLOTS < MEMBERS; round++) {
        struct hub_target to = {0};
        struct hub_name name = {round % 3 == 1 ? "a" : "u", 1};
        if (round % 3 == 1) {
            to = (struct hub_target){.rooms = &name, .room_count = 1};
        } else if (round % 3 == 2) {
            to = (struct hub_target){.users = &name, .user_count = 1};
        }
        note_meant(&to);
        size_t n = round % 3 == 2
                       ? user_ids(hub, "u", 1, ids, MEMBERS)
                       : room_ids(hub, round % 3 ? "a" : NULL, ids, MEMBERS);
        for (size_t i = 0; i < n; i++) {
            got[ids[i] - 1]++;
        }
        check_got((uint32_t)n);
        check_nothing_is_left();
    }
}

static uint32_t last_step;

/* Everybody goes, and the room's name with them. */
static void end_room(uint32_t steps)
{
    if (steps == last_step) {
        for (uint32_t i = 0; i < came; i++) {
            if (members[i].hub != NULL) {
                leave(i);
            }
        }
    }
}

static void a_room_may_end_in_the_midst_of_a_walk_over_it(void **state)
{
    (void)state;
    struct hub_message msg = {.op = FRAME_TEXT, .data = "hello", .len = 5};
    struct hub_name names[] = {{"a", 1}, {"b", 1}};
    uint32_t queued;
    uint32_t dropped;
    walks.is_stopped = true;
    walks.between = end_room;
    for (last_step = 1; last_step < 25; last_step++) {
        people(20);
        struct hub_target to = {.rooms = names,
            .room_count = 1 + last_step % 2,
            .users = &(struct hub_name){"u", 1},
            .user_count = last_step % 3 == 0};
        note_meant(&to);
        hub_broadcast(hub, &to, &msg, &queued, &dropped);
        check_nothing_is_left();
        end_room(last_step);
        assert_int_equal(hub->rooms.count, 0);
        assert_int_equal(hub->users.count, 0);
    }
}

/* A long message, so that it can be dropped in the midst of its encoding. */
static void of_a_walk_that_is_dropped_nothing_is_left(void **state)
{
    (void)state;
    static char text[100000];
    memset(text, 'x', sizeof(text));
    struct hub_message msg = {
        .op = FRAME_TEXT, .data = text, .len = sizeof(text)};
    uint64_t ids[40];
    uint64_t except[40];
    struct hub_name names[8];
    struct hub_target to;
    people(60);
    for (uint32_t round = 0; round < 400; round++) {
        bool is_done = false;
        uint32_t steps = round / 4;
        choose_target(&to, ids, except, names);
        note_meant(&to);
        hub_cast_begin(hub, &to, &msg);
        while (!is_done && steps-- > 0) {
            preempt_pending = 1;
            is_done = hub_cast_step(hub);
            preempt_pending = 0;
        }
        hub_walk_drop(hub);
        hub_walk_drop(hub);
        check_nothing_is_left();
        end_turn();
        assert_int_equal(meter_used(meter), 0);
        for (uint32_t i = 0; i < came; i++) {
            assert_true(got[i] <= is_meant[i]);
        }
    }
    hub_list_room(hub, NULL);
    preempt_pending = 1;
    size_t n = 0;
    assert_false(hub_list_step(hub, ids, 40, &n));
    preempt_pending = 0;
    hub_walk_drop(hub);
    check_nothing_is_left();
}

static void a_long_message_is_copied_piece_by_piece(void **state)
{
    (void)state;
    static char text[3 << 20];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 23);
    }
    struct hub_message msg = {
        .op = FRAME_TEXT, .data = text, .len = sizeof(text)};
    uint32_t queued;
    uint32_t dropped;
    come(3);
    walks.is_stopped = true;
    hub_broadcast(hub, &(struct hub_target){0}, &msg, &queued, &dropped);
    assert_int_equal(queued, 1);
    assert_true(walks.steps >= sizeof(text) / (16 * 1024));
    const struct lane *l = &net.lanes[3];
    assert_int_equal(l->len, sizeof(text) + 10);
    assert_memory_equal(l->blob->data + l->off + 10, text, sizeof(text));
}

/* To everybody; how many steps it takes until the frame is begun. */
static uint32_t steps_before_frame(const struct hub_message *msg)
{
    uint32_t steps = 0;
    uint32_t queued;
    uint32_t dropped;
    bool is_done = false;
    hub_cast_begin(hub, &(struct hub_target){0}, msg);
    while (!is_done) {
        preempt_pending = 1;
        is_done = hub_cast_step(hub);
        preempt_pending = 0;
        steps += hub->cast.frame == FRAME_NOT_BEGUN;
    }
    hub_cast_end(hub, &queued, &dropped);
    assert_int_equal(queued, 1);
    assert_int_equal(dropped, 0);
    end_turn();
    return steps;
}

static void a_long_message_waits_for_room_a_piece_at_a_time(void **state)
{
    (void)state;
    static char text[3 << 20];
    struct hub_message msg = {
        .op = FRAME_BINARY, .data = text, .len = sizeof(text)};
    come(3);
    uint32_t usual = steps_before_frame(&msg);
    assert_false(late_turn());
    struct blob *b = blob_new(meter, (size_t)8 * LIMIT_LATE_PIECE_BYTES);
    meter_set_cap(meter, meter_used(meter) + 10000);
    blob_unref(b);
    uint32_t now = steps_before_frame(&msg);
    assert_int_equal(now - usual, sizeof(text) / LIMIT_LATE_PIECE_BYTES);
    late_finish();
}

static void a_message_the_app_has_no_room_for_is_dropped_in_steps_too(
    void **state)
{
    (void)state;
    static char text[200000];
    struct hub_message msg = {
        .op = FRAME_BINARY, .data = text, .len = sizeof(text)};
    uint32_t queued;
    uint32_t dropped;
    people(30);
    uint32_t n = hub_count(hub);
    assert_true(meter_charge(meter, meter->cap - 1000));
    walks.is_stopped = true;
    hub_broadcast(hub, &(struct hub_target){0}, &msg, &queued, &dropped);
    assert_int_equal(queued, 0);
    assert_int_equal(dropped, n);
    assert_int_equal(metric_get(net.metrics, METRIC_DROPPED_APP), n);
    meter_release(meter, meter->cap - 1000);
    check_nothing_is_left();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(each_of_those_who_were_there_gets_it_once),
        T(a_step_is_one_member_when_a_tick_waits),
        T(a_list_is_of_those_who_were_there),
        T(a_room_may_end_in_the_midst_of_a_walk_over_it),
        T(of_a_walk_that_is_dropped_nothing_is_left),
        T(a_long_message_is_copied_piece_by_piece),
        T(a_long_message_waits_for_room_a_piece_at_a_time),
        T(a_message_the_app_has_no_room_for_is_dropped_in_steps_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
