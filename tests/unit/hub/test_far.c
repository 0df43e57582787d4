/* test_far.c -- broadcasts to members of another loop: what is on its way to
 * whom. Two loops on one thread; nobody over there has a connection. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "hub/hub_priv.h"
#include "loop/loop.h"
#include "net/conn.h"
#include <string.h>

#define MEMBERS 16u
#define HOME    0u
#define THERE   1u

static struct loop *loops[2];
static struct net *nets[2];
static struct hub *hub;
static struct meter *meter;
static struct member members[MEMBERS];

static int set_up(void **state)
{
    (void)state;
    static const struct conn_router router;
    static const struct conn_settings settings;
    for (uint32_t i = 0; i < 2; i++) {
        loops[i] = loop_new(i);
        nets[i] = net_new(loops[i]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        net_meet(nets[i], nets, 2, &router, &settings);
    }
    meter = meter_new(1 << 20);
    struct hub_config config = {.net = nets[HOME],
        .meter = meter,
        .rooms_max = 100,
        .rooms_per_client = 100};
    hub = hub_new(&config);
    memset(members, 0, sizeof(members));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        hub_leave(&members[i]);
    }
    for (uint32_t i = 0; i < 2; i++) { /* what is under way arrives */
        loop_turn(loops[i], 0);
    }
    hub_free(hub);
    meter_unref(meter);
    for (uint32_t i = 0; i < 2; i++) {
        loop_turn(loops[i], 0);
        net_free(nets[i]);
        loop_free(loops[i]);
    }
    return 0;
}

/* Members 0 to n - 1, in slots of their own numbers. */
static void enter(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct conn_id conn = {THERE, i, 1};
        assert_int_equal(hub_enter(hub, &members[i], i + 1, conn, NULL, 0), 0);
    }
}

static uint32_t cast(const struct hub_target *to)
{
    struct hub_message msg = {.op = FRAME_TEXT, .data = "x", .len = 1};
    uint32_t queued;
    uint32_t dropped;
    hub_broadcast(hub, to, &msg, &queued, &dropped);
    assert_int_equal(dropped, 0);
    return queued;
}

/* Places and members of that loop point at each other. */
static void check_places(uint32_t count)
{
    const struct room *r = &hub->everybody;
    const struct part *p = r->here.next;
    uint32_t living = 0;
    for (uint32_t i = 0; i < p->len; i++) {
        assert_true(
            ((p->slots[i] & ROOM_DEAD) != 0) == (p->members[i] == NULL));
        if (p->members[i] != NULL) {
            living++;
            assert_int_equal(p->members[i]->conn.slot, p->slots[i]);
            assert_int_equal(member_in(p->members[i], r)->index, i);
        }
    }
    assert_int_equal(living, count);
    assert_int_equal(p->len - p->dead, count);
    assert_int_equal(hub_count(hub), count);
}

static void who_is_excepted_is_a_member_still(void **state)
{
    (void)state;
    /* Gaps that pay for a tidying. */
    enter(10);
    hub_leave(&members[3]);
    hub_leave(&members[4]);
    hub_leave(&members[5]);
    uint64_t except = 2;
    struct hub_target to = {.except_ids = &except, .except_count = 1};
    assert_int_equal(cast(&to), 6);
    check_places(7);
    hub_leave(&members[8]);
    check_places(6);
    assert_int_equal(cast(&(struct hub_target){0}), 6);
}

static void a_tail_is_sorted_with_those_who_are_excepted(void **state)
{
    (void)state;
    static const uint32_t slots[] = {50, 10, 40, 70, 20, 60, 30};
    uint64_t except[] = {2, 5};
    struct hub_target to = {.except_ids = except, .except_count = 2};
    for (uint32_t i = 0; i < ARRAY_LEN(slots); i++) {
        struct conn_id conn = {THERE, slots[i], 1};
        assert_int_equal(hub_enter(hub, &members[i], i + 1, conn, NULL, 0), 0);
    }
    assert_int_equal(cast(&to), 5);
    check_places(7);
    assert_int_equal(cast(&(struct hub_target){0}), 7);
}

static void members_of_all_loops_are_listed_as_far_as_there_is_room(
    void **state)
{
    (void)state;
    uint64_t ids[4] = {0};
    enter(6);
    members[10] = (struct member){0};
    struct conn_id here = {HOME, 0, 1};
    assert_int_equal(hub_enter(hub, &members[10], 11, here, NULL, 0), 0);
    assert_int_equal(room_ids(hub, NULL, NULL, 0), 7); /* asks how many */
    assert_int_equal(room_ids(hub, NULL, ids, 3), 7);
    assert_int_equal(ids[0], 11);
    assert_int_equal(ids[1], 1);
    assert_int_equal(ids[2], 2);
    assert_int_equal(ids[3], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            who_is_excepted_is_a_member_still, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_tail_is_sorted_with_those_who_are_excepted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            members_of_all_loops_are_listed_as_far_as_there_is_room, set_up,
            tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
