#include "base/blob.h"
#include "base/mem.h"
#include "unit/base/death.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HEADER sizeof(struct blob)

static void a_blob_is_as_large_as_asked_and_has_one_owner(void **state)
{
    (void)state;
    struct blob *b = blob_new(NULL, 1000);
    assert_non_null(b);
    assert_int_equal(b->size, 1000);
    assert_int_equal(b->refs, 1);
    assert_int_equal(b->is_scratch, 0);
    assert_int_equal((uintptr_t)b->data % sizeof(uint64_t), 0);
    memset(b->data, 'x', 1000);
    blob_unref(b);
    blob_unref(NULL);
    b = blob_new(NULL, 0);
    assert_int_equal(b->size, 0);
    blob_unref(b);
}

static void structs_can_be_laid_into_a_blob(void **state)
{
    (void)state;
    for (size_t size = 0; size < 40; size++) {
        struct blob *b = blob_new(NULL, size);
        assert_int_equal((uintptr_t)b->data % sizeof(void *), 0);
        memset(b->data, 'x', size);
        blob_unref(b);
    }
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    struct meter *m = meter_new(10000);
    struct blob *b = blob_new(m, 100);
    assert_ptr_equal(blob_ref(b), b);
    assert_int_equal(meter_used(m), HEADER + 100);
    blob_unref(b);
    assert_int_equal(meter_used(m), HEADER + 100);
    b->data[99] = 1;
    blob_unref(b);
    assert_int_equal(meter_used(m), 0);
    meter_unref(m);
}

static void the_cap_is_exact(void **state)
{
    (void)state;
    struct meter *m = meter_new(2 * HEADER + 10);
    struct blob *a = blob_new(m, 4);
    assert_null(blob_new(m, 7));
    assert_int_equal(meter_used(m), HEADER + 4);
    struct blob *b = blob_new(m, 6);
    assert_non_null(b);
    assert_int_equal(meter_used(m), 2 * HEADER + 10);
    assert_null(blob_new(m, 0));
    blob_unref(a);
    assert_null(blob_new(m, 5));
    a = blob_new(m, 4);
    assert_non_null(a);
    blob_unref(a);
    blob_unref(b);
    meter_unref(m);
}

static void a_meter_without_room_refuses_any_size(void **state)
{
    (void)state;
    struct meter *m = meter_new(0);
    assert_null(blob_new(m, 0));
    assert_null(blob_new(m, UINT32_MAX));
    assert_int_equal(meter_used(m), 0);
    meter_unref(m);
}

static void a_blob_keeps_its_meter_alive(void **state)
{
    (void)state;
    struct meter *m = meter_new(1000);
    struct blob *b = blob_new(m, 10);
    meter_unref(m);
    assert_int_equal(b->meter->refs, 1);
    assert_int_equal(meter_used(b->meter), HEADER + 10);
    blob_unref(b);
    meter_unref(NULL);
}

static void memory_that_runs_out_is_not_charged(void **state)
{
    (void)state;
    struct meter *m = meter_new(1000);
    mem_fail_at(1);
    assert_null(blob_new(m, 10));
    mem_fail_at(0);
    assert_int_equal(meter_used(m), 0);
    assert_int_equal(m->refs, 1);
    meter_unref(m);
    mem_fail_at(1);
    assert_null(meter_new(10));
    mem_fail_at(0);
}

#define THREADS 4
#define ROUNDS  20000

struct shared {
    struct meter *meter;
    struct blob *blob;
    atomic_uint made;
    atomic_uint over;
};

/* Only two of the four fit under the cap at a time. */
static void *ref_and_make(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct blob *b = blob_ref(s->blob);
        struct blob *mine = blob_new(s->meter, 100);
        if (meter_used(s->meter) > s->meter->cap) {
            s->over++;
        }
        if (mine != NULL) {
            s->made++;
            mine->data[0] = b->data[0];
            blob_unref(mine);
        }
        blob_unref(b);
    }
    blob_unref(s->blob); /* this thread's own reference */
    return NULL;
}

static void threads_share_blobs_and_meters(void **state)
{
    (void)state;
    struct shared s = {.meter = meter_new(3 * (HEADER + 100))};
    pthread_t threads[THREADS];
    s.blob = blob_new(s.meter, 100);
    s.blob->data[0] = 'x';
    for (int i = 0; i < THREADS; i++) {
        blob_ref(s.blob);
        assert_int_equal(
            pthread_create(&threads[i], NULL, ref_and_make, &s), 0);
    }
    blob_unref(s.blob);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(s.over, 0);
    assert_true(s.made > 0);
    assert_int_equal(meter_used(s.meter), 0);
    assert_int_equal(s.meter->refs, 1);
    meter_unref(s.meter);
}

static void ref_the_dead(void)
{
    struct blob b = {.refs = 0};
    blob_ref(&b);
}

static void unref_the_dead(void)
{
    struct blob b = {.refs = 0};
    blob_unref(&b);
}

static void a_reference_to_the_dead_is_a_bug(void **state)
{
    (void)state;
    assert_true(dies_saying(ref_the_dead, "law: I4"));
    assert_true(dies_saying(unref_the_dead, "law: I4"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_is_as_large_as_asked_and_has_one_owner),
        cmocka_unit_test(structs_can_be_laid_into_a_blob),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(the_cap_is_exact),
        cmocka_unit_test(a_meter_without_room_refuses_any_size),
        cmocka_unit_test(a_blob_keeps_its_meter_alive),
        cmocka_unit_test(memory_that_runs_out_is_not_charged),
        cmocka_unit_test(threads_share_blobs_and_meters),
        cmocka_unit_test(a_reference_to_the_dead_is_a_bug),
    };
    mem_fail_at(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
