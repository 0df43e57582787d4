/* Where frames are encoded: how they lie, what they cost, how long they
 * stay. */
#include "world.h"

struct bench {
    struct loop *loop;
    struct net *net;
    struct meter *meter;
    struct tape tape;
};

static void set_up(struct bench *b, size_t cap)
{
    b->loop = loop_new(0);
    b->net = net_new(b->loop);
    b->meter = meter_new(cap);
    tape_init(&b->tape, false);
}

static void tear_down(struct bench *b)
{
    tape_fini(&b->tape);
    net_free(b->net);
    loop_free(b->loop);
    assert_int_equal(meter_used(b->meter), 0);
    meter_unref(b->meter);
}

static int put(struct bench *b, const void *p, size_t n, struct range *out)
{
    return tape_frame(&b->tape, b->net, b->meter, FRAME_TEXT, false, p, n, out);
}

static void frames_of_a_turn_lie_one_behind_the_other(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    struct range first;
    struct range last;
    /* The first turn teaches the tape how much a turn is. */
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 4; i++) {
            assert_int_equal(put(&b, "abc", 3, i == 0 ? &first : &last), 0);
            assert_int_equal(last.len == 5 || i == 0, 1);
        }
        if (turn == 0) {
            tape_seal_all(b.net);
        }
    }
    assert_ptr_equal(first.blob, last.blob);
    assert_int_equal(first.off, 0);
    assert_int_equal(last.off, 15);
    assert_int_equal(last.frames, 1);
    assert_memory_equal(first.blob->data,
        "\x81\x03"
        "abc"
        "\x81\x03"
        "abc",
        10);
    tear_down(&b);
}

static void lengths_get_the_header_that_fits_them(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536};
    uint8_t *p = calloc(1, 65536);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct range r;
        assert_int_equal(put(&b, p, lengths[i], &r), 0);
        assert_int_equal(r.len, frame_header_bytes(lengths[i]) + lengths[i]);
        assert_int_equal(frame_bytes(r.blob->data + r.off), r.len);
        assert_true(r.off + r.len <= r.blob->size);
    }
    free(p);
    tear_down(&b);
}

static void lone_message_costs_what_it_says(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    struct range r;
    assert_int_equal(put(&b, "abc", 3, &r), 0);
    assert_true(meter_used(b.meter) < 5 + sizeof(struct blob) + 64);
    tape_seal_all(b.net);
    assert_int_equal(meter_used(b.meter), 0);
    assert_null(b.tape.chunk);
    tear_down(&b);
}

static void large_frame_has_a_blob_of_exactly_its_size(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    b.tape.is_scratch = true;
    uint8_t *p = calloc(1, 20000);
    struct range small;
    struct range large;
    assert_int_equal(put(&b, p, 10, &small), 0);
    assert_true(small.blob->is_scratch);
    assert_int_equal(put(&b, p, 20000, &large), 0);
    assert_int_equal(large.blob->size, 20004);
    assert_false(large.blob->is_scratch);
    free(p);
    tear_down(&b);
}

static void full_meter_refuses_and_room_for_one_frame_is_found(void **state)
{
    (void)state;
    struct bench b;
    size_t room = sizeof(struct blob) + 5;
    set_up(&b, 300 + room);
    struct range r;
    uint8_t p[200] = {0};
    /* A chunk of twice the last one's size would be too large by now. */
    assert_int_equal(put(&b, p, 200, &r), 0);
    struct blob *kept = blob_ref(r.blob);
    assert_int_equal(put(&b, "abc", 3, &r), 0);
    assert_ptr_not_equal(r.blob, kept);
    assert_int_equal(put(&b, p, 200, &r), ERR_FULL);
    assert_int_equal(metric_get(loop_metrics(b.loop), METRIC_DROPPED_APP), 1);
    blob_unref(kept);
    tape_seal_all(b.net);
    assert_int_equal(put(&b, p, 200, &r), 0);
    tear_down(&b);
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    struct range r;
    mem_fail_at(1);
    assert_int_equal(put(&b, "abc", 3, &r), ERR_FULL);
    mem_fail_at(0);
    assert_int_equal(put(&b, "abc", 3, &r), 0);
    tear_down(&b);
}

static void range_that_somebody_keeps_outlives_the_turn(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    struct range r;
    struct range later;
    assert_int_equal(put(&b, "abc", 3, &r), 0);
    blob_ref(r.blob);
    tape_seal_all(b.net);
    assert_int_equal(put(&b, "xyz", 3, &later), 0);
    assert_memory_equal(r.blob->data + r.off,
        "\x81\x03"
        "abc",
        5);
    assert_true(meter_used(b.meter) > 0);
    blob_unref(r.blob);
    tear_down(&b);
}

static void message_over_every_limit_is_refused(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, SIZE_MAX);
    struct range r;
    assert_int_equal(
        put(&b, "", (size_t)LIMIT_MAX_MESSAGE_BYTES + 1, &r), ERR_TOO_BIG);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_a_turn_lie_one_behind_the_other),
        cmocka_unit_test(lengths_get_the_header_that_fits_them),
        cmocka_unit_test(lone_message_costs_what_it_says),
        cmocka_unit_test(large_frame_has_a_blob_of_exactly_its_size),
        cmocka_unit_test(full_meter_refuses_and_room_for_one_frame_is_found),
        cmocka_unit_test(no_memory_is_an_answer),
        cmocka_unit_test(range_that_somebody_keeps_outlives_the_turn),
        cmocka_unit_test(message_over_every_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
