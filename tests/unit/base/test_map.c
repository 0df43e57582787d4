/* The source itself, for the hash behind it: its values are no part of any
 * contract, but that they are SipHash-1-3 is what keeps strangers from aiming
 * at a chain. */
#include "base/map.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int things[20000];

static int put(struct map *m, int i)
{
    char key[16];
    int n = snprintf(key, sizeof(key), "key-%d", i);
    return map_put(m, key, (size_t)n, &things[i]);
}

static void *get(const struct map *m, int i)
{
    char key[16];
    int n = snprintf(key, sizeof(key), "key-%d", i);
    return map_get(m, key, (size_t)n);
}

static void *drop(struct map *m, int i)
{
    char key[16];
    int n = snprintf(key, sizeof(key), "key-%d", i);
    return map_remove(m, key, (size_t)n);
}

static void an_empty_map_has_nobody(void **state)
{
    (void)state;
    struct map m;
    uint32_t at = 0;
    map_init(&m);
    assert_null(map_get(&m, "x", 1));
    assert_null(map_get(&m, NULL, 0));
    assert_null(map_remove(&m, "x", 1));
    assert_null(map_next(&m, &at));
    map_fini(&m);
    map_fini(&m);
}

static void what_was_put_is_found_and_nothing_else(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(put(&m, i), 0);
    }
    assert_int_equal(m.count, 10000);
    for (int i = 0; i < 10000; i++) {
        assert_ptr_equal(get(&m, i), &things[i]);
    }
    for (int i = 10000; i < 20000; i++) {
        assert_null(get(&m, i));
    }
    map_fini(&m);
}

static void keys_are_bytes_with_a_length(void **state)
{
    (void)state;
    struct map m;
    char key[] = "a\0b";
    map_init(&m);
    assert_int_equal(map_put(&m, key, 3, &things[1]), 0);
    assert_int_equal(map_put(&m, key, 1, &things[2]), 0);
    assert_int_equal(map_put(&m, key, 0, &things[3]), 0);
    key[0] = key[2] = 'z'; /* the map has copies */
    assert_ptr_equal(map_get(&m, "a\0b", 3), &things[1]);
    assert_ptr_equal(map_get(&m, "a", 1), &things[2]);
    assert_ptr_equal(map_get(&m, NULL, 0), &things[3]);
    assert_null(map_get(&m, "a\0", 2));
    assert_null(map_get(&m, "a\0c", 3));
    assert_ptr_equal(map_remove(&m, NULL, 0), &things[3]);
    assert_null(map_get(&m, "", 0));
    map_fini(&m);
}

static void putting_again_replaces_the_value(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    assert_int_equal(map_put(&m, "x", 1, &things[1]), 0);
    assert_int_equal(map_put(&m, "x", 1, &things[2]), 0);
    assert_int_equal(m.count, 1);
    assert_ptr_equal(map_get(&m, "x", 1), &things[2]);
    assert_ptr_equal(map_remove(&m, "x", 1), &things[2]);
    assert_null(map_remove(&m, "x", 1));
    assert_int_equal(m.count, 0);
    map_fini(&m);
}

static void it_agrees_with_a_model_through_many_steps(void **state)
{
    (void)state;
    enum { N = 500 };
    static bool is_in[N];
    struct map m;
    uint32_t seed = 7, count = 0, largest = 0;
    map_init(&m);
    for (int step = 0; step < 100000; step++) {
        seed = seed * 1664525 + 1013904223;
        int i = (int)((seed >> 8) % N);
        if ((seed >> 24) % 2 != 0) {
            assert_int_equal(put(&m, i), 0);
            count += !is_in[i];
            is_in[i] = true;
        } else {
            assert_ptr_equal(drop(&m, i), is_in[i] ? &things[i] : NULL);
            count -= is_in[i];
            is_in[i] = false;
        }
        int other = (int)((seed >> 16) % N);
        assert_ptr_equal(get(&m, other), is_in[other] ? &things[other] : NULL);
        assert_int_equal(m.count, count);
        assert_true(m.filled >= m.count && m.filled < m.now.capacity);
        largest = m.now.capacity > largest ? m.now.capacity : largest;
    }
    assert_true(largest <= 1024);
    map_fini(&m);
}

static void tombstones_do_not_make_it_grow(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(put(&m, i), 0);
        if (i >= 4) {
            assert_non_null(drop(&m, i - 4));
        }
    }
    assert_int_equal(m.count, 4);
    assert_true(m.now.capacity <= 16);
    map_fini(&m);
}

static void iteration_meets_each_entry_once(void **state)
{
    (void)state;
    static unsigned met[1000];
    struct map m;
    uint32_t at = 0;
    const struct map_entry *e;
    map_init(&m);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(put(&m, i), 0);
    }
    for (int i = 0; i < 1000; i += 2) {
        drop(&m, i);
    }
    while ((e = map_next(&m, &at)) != NULL) {
        long i = (int *)e->value - things;
        met[i]++;
        assert_int_equal(strlen(e->key), e->key_len);
        assert_int_equal(strtol(e->key + 4, NULL, 10), i);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(met[i], i % 2);
    }
    map_fini(&m);
}

static void the_entry_just_met_may_be_removed(void **state)
{
    (void)state;
    struct map m;
    uint32_t at = 0;
    const struct map_entry *e;
    unsigned met = 0;
    map_init(&m);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(put(&m, i), 0);
    }
    while ((e = map_next(&m, &at)) != NULL) {
        met++;
        if ((int *)e->value - things != 500) {
            assert_non_null(map_remove(&m, e->key, e->key_len));
        }
    }
    assert_int_equal(met, 1000);
    assert_int_equal(m.count, 1);
    assert_ptr_equal(get(&m, 500), &things[500]);
    map_fini(&m);
}

static void a_table_moves_over_a_few_entries_at_a_time(void **state)
{
    (void)state;
    struct map m;
    uint32_t most = 0;
    uint64_t most_calls = 0;
    map_init(&m);
    for (int i = 0; i < 20000; i++) {
        uint64_t calls = mem_quota_calls();
        uint32_t before = m.moved;
        bool was_moving = m.old.capacity != 0;
        uint32_t old = m.old.capacity;
        assert_int_equal(put(&m, i), 0);
        calls = mem_quota_calls() - calls;
        most_calls = calls > most_calls ? calls : most_calls;
        if (was_moving) {
            uint32_t now =
                m.old.capacity != 0 && m.old.capacity == old ? m.moved : old;
            most = now - before > most ? now - before : most;
        }
    }
    assert_int_equal(most, 32);
    /* A key, a table without its segments, a segment for the key, and those
     * that 32 neighbours come to: two parts, with an end in each. */
    assert_in_range(most_calls, 3, 3 + 2 * (32 / SEGMENT + 2));
    map_fini(&m);
}

/* Freeing a large table at once takes as long as making it. */
static void what_has_moved_of_a_table_is_gone(void **state)
{
    (void)state;
    struct map m;
    unsigned partly = 0;
    map_init(&m);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(put(&m, i), 0);
        if (m.old.capacity <= SEGMENT) {
            continue;
        }
        uint32_t end = m.moved / SEGMENT;
        for (uint32_t k = 0; k < end; k++) {
            assert_null(m.old.u.segments[k]);
        }
        partly += end > 0;
    }
    assert_true(partly > 100);
    map_fini(&m);
}

/* In the middle of moving, of which a third have not. */
static void both_tables_are_one_map(void **state)
{
    (void)state;
    struct map m;
    uint32_t at = 0;
    unsigned met = 0;
    int n = 0;
    map_init(&m);
    while (n < 10000 && (m.old.capacity == 0 || m.old.capacity < 4096 ||
                            m.moved < m.old.capacity / 2)) {
        assert_int_equal(put(&m, n), 0);
        n++;
    }
    assert_true(m.old.capacity != 0);
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(get(&m, i), &things[i]);
    }
    while (map_next(&m, &at) != NULL) {
        met++;
    }
    assert_int_equal(met, n);
    for (int i = 0; i < n; i += 2) {
        assert_ptr_equal(drop(&m, i), &things[i]);
        assert_int_equal(put(&m, i + 1), 0); /* is there: moves nothing */
    }
    assert_int_equal(m.count, n / 2);
    at = 0;
    met = 0;
    for (uint32_t looks = 0; at < map_end(&m); looks++) {
        met += map_look(&m, &at, 10) != NULL;
        assert_true(looks <= map_end(&m));
    }
    assert_int_equal(met, n / 2);
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(get(&m, i), i % 2 ? &things[i] : NULL);
    }
    map_fini(&m);
}

static void whatever_allocation_fails_nothing_is_changed(void **state)
{
    (void)state;
    enum { N = 1300 };
    for (uint64_t n = 1; n < N + 40; n += n < 120 ? 1 : 7) {
        struct map m;
        map_init(&m);
        mem_fail_at(n);
        int failed = -1;
        for (int i = 0; i < N; i++) {
            int err = put(&m, i);
            if (err != 0) {
                assert_int_equal(err, ERR_NOMEM);
                assert_int_equal(failed, -1);
                failed = i;
            }
            assert_int_equal(m.count, i + (failed < 0));
        }
        mem_fail_at(0);
        for (int i = 0; i < N; i++) {
            assert_ptr_equal(get(&m, i), i != failed ? &things[i] : NULL);
        }
        map_fini(&m);
    }
}

/* Values of an independent implementation (CPython hashes bytes with
 * SipHash-1-3; PYTHONHASHSEED=0 is a key of zeros), over bytes 0, 1, 2... */
static void the_hash_is_siphash_1_3(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint32_t hash;
    } known[] = {{1, 0x8e01e473}, {2, 0xc41e3669}, {7, 0xc751325a},
        {8, 0x7ebe2eea}, {9, 0x95124362}, {15, 0xbb91c9ea}, {16, 0x33a5c5b7},
        {17, 0x2c009c1d}, {63, 0xe5f37359}};
    struct map m;
    char bytes[64];
    map_init(&m); /* the secret is drawn; it must not be drawn again */
    for (int i = 0; i < 64; i++) {
        bytes[i] = (char)i;
    }
    uint64_t saved[2] = {secret[0], secret[1]};
    assert_true((saved[0] | saved[1]) != 0);
    secret[0] = secret[1] = 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        assert_int_equal(hash_of(bytes, known[i].n), known[i].hash);
    }
    secret[0] = 1;
    assert_int_not_equal(hash_of(bytes, 8), known[3].hash);
    secret[0] = 0;
    secret[1] = 1;
    assert_int_not_equal(hash_of(bytes, 8), known[3].hash);
    memcpy(secret, saved, sizeof(secret));
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nobody),
        cmocka_unit_test(what_was_put_is_found_and_nothing_else),
        cmocka_unit_test(keys_are_bytes_with_a_length),
        cmocka_unit_test(putting_again_replaces_the_value),
        cmocka_unit_test(it_agrees_with_a_model_through_many_steps),
        cmocka_unit_test(tombstones_do_not_make_it_grow),
        cmocka_unit_test(iteration_meets_each_entry_once),
        cmocka_unit_test(the_entry_just_met_may_be_removed),
        cmocka_unit_test(a_table_moves_over_a_few_entries_at_a_time),
        cmocka_unit_test(what_has_moved_of_a_table_is_gone),
        cmocka_unit_test(both_tables_are_one_map),
        cmocka_unit_test(whatever_allocation_fails_nothing_is_changed),
        cmocka_unit_test(the_hash_is_siphash_1_3),
    };
    mem_fail_at(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
