#include "base/buf.h"
#include "base/late.h"
#include "base/limits.h"
#include "base/mem.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER sizeof(struct blob)
#define PIECE  ((size_t)LIMIT_LATE_PIECE_BYTES)
#define LARGE  (8 * PIECE)

static struct meter *meter;

static int set_up(void **state)
{
    (void)state;
    meter = meter_new(100 * PIECE);
    assert_false(late_turn());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    late_finish();
    assert_int_equal(meter_used(meter), 0);
    assert_int_equal(meter->refs, 1);
    meter_unref(meter);
    return 0;
}

static struct blob *written(struct meter *m, size_t size)
{
    struct blob *b = blob_new(m, size);
    assert_non_null(b);
    memset(b->data, 'x', size);
    return b;
}

/* Of the pages that lie whole in [p, p + n). */
static size_t pages_in_memory(const void *p, size_t n)
{
    static unsigned char map[LARGE / 4096 + 1];
    size_t unit = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t low = ((uintptr_t)p + unit - 1) & ~(unit - 1);
    uintptr_t high = ((uintptr_t)p + n) & ~(unit - 1);
    size_t count = 0;
    assert_int_equal(mincore((void *)low, high - low, map), 0);
    for (size_t i = 0; i < (high - low) / unit; i++) {
        count += map[i] & 1u;
    }
    return count;
}

static void a_large_blob_goes_a_piece_at_a_time(void **state)
{
    (void)state;
    struct blob *b = written(meter, LARGE);
    const uint8_t *data = b->data;
    size_t before = meter_used(meter);
    assert_int_equal(before, HEADER + LARGE);
    blob_unref(b);
    assert_int_equal(meter_used(meter), before);
    assert_int_not_equal(pages_in_memory(data + LARGE - PIECE, PIECE), 0);

    assert_true(late_work(NULL, PIECE));
    /* The last page may be the block's in part. */
    assert_in_range(before - meter_used(meter), PIECE, PIECE + 65536);
    assert_int_equal(pages_in_memory(data + LARGE - PIECE, PIECE), 0);
    assert_int_not_equal(
        pages_in_memory(data + LARGE - 2 * PIECE, PIECE / 2), 0);

    size_t steps = 1;
    while (late_work(NULL, PIECE)) {
        size_t used = meter_used(meter);
        assert_true(before - used <= (steps + 1) * PIECE + 65536);
        steps++;
    }
    assert_in_range(steps, LARGE / PIECE, LARGE / PIECE + 2);
    assert_int_equal(meter_used(meter), 0);
}

static void a_small_one_goes_at_once(void **state)
{
    (void)state;
    struct blob *b = written(meter, 1000);
    blob_unref(b);
    assert_int_equal(meter_used(meter), 0);
    assert_false(late_work(NULL, PIECE));
}

static void without_turns_all_go_at_once(void **state)
{
    (void)state;
    struct blob *b = written(meter, LARGE);
    late_finish();
    blob_unref(b);
    assert_int_equal(meter_used(meter), 0);
}

static void *free_elsewhere(void *arg)
{
    blob_unref(arg);
    return NULL;
}

static void another_threads_blocks_are_its_own(void **state)
{
    (void)state;
    struct blob *b = written(meter, LARGE);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_elsewhere, b), 0);
    pthread_join(thread, NULL);
    assert_int_equal(meter_used(meter), 0);
    assert_false(late_work(NULL, PIECE));
}

static void work_for_a_meter_is_for_that_meter(void **state)
{
    (void)state;
    struct meter *other = meter_new(100 * PIECE);
    blob_unref(written(meter, LARGE));
    blob_unref(written(other, LARGE));
    blob_unref(written(NULL, LARGE));
    while (late_work(meter, PIECE)) {
        assert_int_equal(meter_used(other), HEADER + LARGE);
    }
    assert_int_equal(meter_used(meter), 0);
    assert_int_equal(meter_used(other), HEADER + LARGE);
    while (late_work(NULL, PIECE)) {
    }
    assert_int_equal(meter_used(other), 0);
    assert_int_equal(other->refs, 1);
    meter_unref(other);
}

static void what_is_late_keeps_nobody_out(void **state)
{
    (void)state;
    meter_set_cap(meter, LARGE + 2 * HEADER);
    blob_unref(written(meter, LARGE));
    struct blob *small = blob_new(meter, 1000);
    assert_non_null(small);
    /* No more than that needs. */
    assert_in_range(meter_used(meter), LARGE - PIECE - 65536, LARGE);
    struct blob *large = blob_new(meter, LARGE - 1000);
    assert_non_null(large);
    assert_null(blob_new(meter, 1000));
    blob_unref(large);
    blob_unref(small);
    /* For what could never fit nothing is hurried. */
    size_t used = meter_used(meter);
    assert_int_not_equal(used, 0);
    assert_null(blob_new(meter, LARGE + 2 * HEADER));
    assert_int_equal(meter_used(meter), used);
}

static void what_heaps_up_goes_faster(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        blob_unref(written(meter, LARGE));
    }
    size_t before = meter_used(meter);
    assert_true(late_turn());
    assert_in_range(before - meter_used(meter), before / LIMIT_TURN_LATE_PARTS,
        before / LIMIT_TURN_LATE_PARTS + 2 * PIECE);
    size_t turns = 1;
    while (late_turn()) {
        turns++;
    }
    assert_true(turns < before / PIECE);
    assert_int_equal(meter_used(meter), 0);
}

static void a_large_buffer_goes_a_piece_at_a_time(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, LARGE);
    assert_int_equal(buf_reserve(&b, LARGE), 0);
    memset(b.p, 'x', LARGE);
    const uint8_t *p = b.p;
    buf_fini(&b);
    assert_int_not_equal(pages_in_memory(p, LARGE), 0);
    size_t steps = 0;
    while (late_work(NULL, PIECE)) {
        steps++;
    }
    assert_true(steps >= LARGE / PIECE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_large_blob_goes_a_piece_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_small_one_goes_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            without_turns_all_go_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            another_threads_blocks_are_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            work_for_a_meter_is_for_that_meter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_is_late_keeps_nobody_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_heaps_up_goes_faster, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_large_buffer_goes_a_piece_at_a_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
