/* The arena against malloc, at its cap, and after fragmentation. */
#include "base/mem.h"
#include "script/arena.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* cmocka.h wants the four above before it. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

#ifdef __SANITIZE_ADDRESS__
#    define ASAN 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define ASAN 1
#    endif
#endif
#ifdef ASAN
#    include <sanitizer/asan_interface.h>
#endif

static uint64_t seed;

static uint32_t random_u32(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* Mostly small, sometimes large; any size can come. */
static size_t random_size(void)
{
    uint32_t kind = random_u32() % 100;
    if (kind < 60) {
        return 1 + random_u32() % 128;
    }
    if (kind < 90) {
        return 1 + random_u32() % 2048;
    }
    if (kind < 98) {
        return 1 + random_u32() % (32 * KIB);
    }
    return 1 + random_u32() % (300 * KIB);
}

struct slot {
    uint8_t *p;
    uint8_t *model;
    size_t n;
};

static void fill_both(struct slot *s, size_t from)
{
    for (size_t i = from; i < s->n; i++) {
        s->p[i] = (uint8_t)random_u32();
        s->model[i] = s->p[i];
    }
}

static void one_random_step(struct arena *a, struct slot *s)
{
    size_t n = random_u32() % 3 == 0 ? 0 : random_size();
    uint8_t *p = arena_realloc(a, s->p, s->p == NULL ? 5 : s->n, n);
    if (p == NULL && n != 0) {
        assert_true(n > s->n); /* shrinking never fails */
        assert_true(arena_used(a) + n > arena_cap(a) / 3);
        if (s->p != NULL) {
            assert_memory_equal(s->p, s->model, s->n);
        }
        return;
    }
    assert_int_equal((uintptr_t)p % 16, 0);
    if (n == 0) {
        free(s->model);
        *s = (struct slot){0};
        return;
    }
    size_t kept = s->n < n ? s->n : n;
    uint8_t *model = malloc(n);
    if (kept != 0) {
        assert_memory_equal(p, s->model, kept);
        memcpy(model, s->model, kept);
    }
    free(s->model);
    *s = (struct slot){.p = p, .model = model, .n = n};
    fill_both(s, kept);
}

static void run_random(size_t cap, size_t slots_n, int steps)
{
    struct arena *a = arena_new(cap);
    struct slot *slots = calloc(slots_n, sizeof(*slots));
    for (int i = 0; i < steps; i++) {
        one_random_step(a, &slots[random_u32() % slots_n]);
        assert_true(arena_used(a) <= (cap + 4095) / 4096 * 4096);
        assert_true(arena_live(a) <= arena_used(a));
    }
    size_t live = 0;
    for (size_t i = 0; i < slots_n; i++) {
        live += slots[i].n;
        if (slots[i].p != NULL) {
            assert_memory_equal(slots[i].p, slots[i].model, slots[i].n);
        }
    }
    assert_int_equal(arena_live(a), live);
    for (size_t i = 0; i < slots_n; i++) {
        if (slots[i].p != NULL) {
            assert_null(arena_realloc(a, slots[i].p, slots[i].n, 0));
            free(slots[i].model);
        }
    }
    assert_int_equal(arena_live(a), 0);
    free(slots);
    arena_free(a);
}

static void random_traffic_matches_malloc(void **state)
{
    (void)state;
    for (seed = 1; seed < 4; seed++) {
        run_random(64 * MIB, 1000, 20000);
    }
}

static void random_traffic_at_a_small_cap_matches_malloc(void **state)
{
    (void)state;
    for (seed = 10; seed < 16; seed++) {
        run_random(256 * KIB, 300, 10000);
        run_random(3 * MIB + 1, 500, 10000);
    }
}

static void a_new_arena_takes_next_to_nothing(void **state)
{
    (void)state;
    struct arena *a = arena_new(64 * MIB);
    assert_true(arena_used(a) <= 8 * KIB);
    assert_int_equal(arena_live(a), 0);
    assert_int_equal(arena_cap(a), 64 * MIB);
    /* 200 blocks of all small sizes: about as many pages as bytes. */
    size_t bytes = 0;
    for (size_t i = 0; i < 200; i++) {
        size_t n = 16 + i % 10 * 16;
        assert_non_null(arena_realloc(a, NULL, 0, n));
        bytes += n;
    }
    assert_true(arena_used(a) <= bytes + 12 * KIB);
    arena_free(a);
}

/* As many blocks of `n` bytes as there is room for, chained by their first
 * bytes. */
static size_t fill_up(struct arena *a, size_t n, void **chain)
{
    size_t count = 0;
    void **p;
    while ((p = arena_realloc(a, NULL, 0, n)) != NULL) {
        *p = *chain;
        *chain = (void *)p;
        count++;
    }
    return count;
}

static void empty(struct arena *a, size_t n, void **chain)
{
    while (*chain != NULL) {
        void *p = *chain;
        *chain = *(void **)p;
        (void)arena_realloc(a, p, n, 0);
    }
}

static void the_cap_can_be_reached_again_with_every_size(void **state)
{
    (void)state;
    struct arena *a = arena_new(4 * MIB);
    void *chain = NULL;
    static const size_t sizes[] = {16, 100, 48, 5000, 640, 4096, 64 * KIB, 1500,
        1 * MIB, 16, 2049, 300 * KIB};
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            size_t count = fill_up(a, sizes[i], &chain);
            /* What one size left must serve the next one. */
            assert_true(count * sizes[i] >= arena_cap(a) / 2);
            assert_true(arena_used(a) <= arena_cap(a));
            empty(a, sizes[i], &chain);
        }
    }
    arena_free(a);
}

static void a_block_that_cannot_grow_stays_as_it_was(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 * MIB);
    char *p = arena_realloc(a, NULL, 0, 100);
    memset(p, 'x', 100);
    assert_null(arena_realloc(a, p, 100, 2 * MIB));
    assert_null(arena_realloc(a, p, 100, SIZE_MAX));
    assert_null(arena_realloc(a, p, 100, SIZE_MAX - 4095));
    assert_int_equal(arena_live(a), 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(p[i], 'x');
    }
    arena_free(a);
}

static void shrinking_works_with_no_memory_left(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 * MIB);
    struct slot s[3] = {{.n = 3000}, {.n = 3001}, {.n = 100 * KIB}};
    void *filler = NULL;
    for (int i = 0; i < 3; i++) {
        s[i].p = arena_realloc(a, NULL, 0, s[i].n);
        memset(s[i].p, i + 1, s[i].n);
        if (i == 0) { /* the first lies in the nook, the others do not */
            fill_up(a, 16, &filler);
            empty(a, 16, &filler);
        }
    }
    void *chain = NULL;
    static const size_t to[] = {3000, 2000, 700, 33, 1};
    for (size_t i = 0; i < ARRAY_LEN(to); i++) {
        fill_up(a, 16, &chain);
        for (int k = 0; k < 3; k++) {
            size_t n = to[i];
            s[k].p = arena_realloc(a, s[k].p, s[k].n, n);
            assert_non_null(s[k].p);
            s[k].n = n;
            assert_int_equal(s[k].p[0], k + 1);
            assert_int_equal(s[k].p[n - 1], k + 1);
        }
    }
    for (int k = 0; k < 3; k++) {
        (void)arena_realloc(a, s[k].p, s[k].n, 0);
    }
    empty(a, 16, &chain);
    assert_int_equal(arena_live(a), 0);
    assert_true(fill_up(a, 60 * KIB, &chain) >= 14);
    arena_free(a);
}

static void freed_memory_returns_to_the_system(void **state)
{
    (void)state;
    struct arena *a = arena_new(64 * MIB);
    void *chain = NULL;
    static const size_t sizes[] = {32, 2 * MIB, 1000, 9000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        fill_up(a, sizes[i], &chain);
        assert_true(arena_used(a) > 48 * MIB);
        empty(a, sizes[i], &chain);
        assert_true(arena_used(a) < 2 * MIB);
    }
    arena_free(a);
}

static void a_hole_in_front_is_filled_again(void **state)
{
    (void)state;
    struct arena *a = arena_new(8 * MIB);
    enum { BLOCKS = 28 };
    void *p[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        p[i] = arena_realloc(a, NULL, 0, 256 * KIB);
        assert_non_null(p[i]);
    }
    /* Every second one, then its neighbours: all holes join. */
    for (int i = 0; i < BLOCKS; i += 2) {
        (void)arena_realloc(a, p[i], 256 * KIB, 0);
    }
    assert_non_null(p[0] = arena_realloc(a, NULL, 0, 3 * MIB));
    (void)arena_realloc(a, p[0], 3 * MIB, 0);
    for (int i = 1; i < BLOCKS; i += 2) {
        (void)arena_realloc(a, p[i], 256 * KIB, 0);
    }
    assert_non_null(arena_realloc(a, NULL, 0, 7 * MIB));
    arena_free(a);
}

static void a_large_block_grows_in_place_when_it_can(void **state)
{
    (void)state;
    struct arena *a = arena_new(16 * MIB);
    char *p = arena_realloc(a, NULL, 0, 100 * KIB);
    memset(p, 7, 100 * KIB);
    size_t n = 100 * KIB;
    for (; n < 8 * MIB; n *= 2) {
        assert_ptr_equal(arena_realloc(a, p, n, n * 2), p);
    }
    assert_ptr_equal(arena_realloc(a, p, n, 100 * KIB), p);
    char *next = arena_realloc(a, NULL, 0, 1 * MIB);
    assert_ptr_equal(next, p + 100 * KIB);
    char *moved = arena_realloc(a, p, 100 * KIB, 200 * KIB);
    assert_ptr_not_equal(moved, p);
    assert_int_equal(moved[100 * KIB - 1], 7);
    /* Into the hole its neighbour leaves. */
    p = arena_realloc(a, NULL, 0, 100 * KIB);
    assert_ptr_equal(p, next - 100 * KIB);
    (void)arena_realloc(a, next, 1 * MIB, 0);
    assert_ptr_equal(arena_realloc(a, p, 100 * KIB, 600 * KIB), p);
    arena_free(a);
}

static void torture_reaches_growth_and_holds_for_one_retry(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 * MIB);
    void *p = arena_realloc(a, NULL, 0, 100);
    mem_fail_at(2);
    void *q = arena_realloc(a, NULL, 0, 50);
    assert_non_null(q);
    /* 100 -> 101 bytes fits where it is, and is refused all the same. */
    assert_null(arena_realloc(a, p, 100, 101));
    assert_ptr_equal(arena_realloc(a, p, 100, 99), p);
    assert_null(arena_realloc(a, p, 99, 101));
    assert_non_null(arena_realloc(a, p, 99, 101));
    mem_fail_at(0);
    arena_free(a);
}

static void a_refused_reservation_is_null(void **state)
{
    (void)state;
    struct arena *arenas[256];
    size_t n = 0;
    /* 2 TiB of address space each: 47 bits hold at most 64 of them. */
    while (n < ARRAY_LEN(arenas)) {
        arenas[n] = arena_new((size_t)1 << 40);
        if (arenas[n] == NULL) {
            break;
        }
        n++;
    }
    assert_true(n < ARRAY_LEN(arenas));
    while (n-- > 0) {
        arena_free(arenas[n]);
    }
    arena_free(NULL);
}

static void address_sanitizer_sees_freed_and_unused_bytes(void **state)
{
    (void)state;
#ifdef ASAN
    struct arena *a = arena_new(1 * MIB);
    static const size_t sizes[] = {20, 1000, 10000};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            size_t n = sizes[i];
            char *p = arena_realloc(a, NULL, 0, n);
            assert_false(__asan_address_is_poisoned(p + n - 1));
            assert_true(__asan_address_is_poisoned(p + n));
            assert_ptr_equal(arena_realloc(a, p, n, n - 1), p);
            assert_true(__asan_address_is_poisoned(p + n - 1));
            (void)arena_realloc(a, p, n - 1, 0);
            assert_true(__asan_address_is_poisoned(p));
            assert_true(__asan_address_is_poisoned(p + n / 2));
        }
        void *chain = NULL; /* the second round goes beyond the nook */
        fill_up(a, 64, &chain);
        empty(a, 64, &chain);
    }
    arena_free(a);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_traffic_matches_malloc),
        cmocka_unit_test(random_traffic_at_a_small_cap_matches_malloc),
        cmocka_unit_test(a_new_arena_takes_next_to_nothing),
        cmocka_unit_test(the_cap_can_be_reached_again_with_every_size),
        cmocka_unit_test(a_block_that_cannot_grow_stays_as_it_was),
        cmocka_unit_test(shrinking_works_with_no_memory_left),
        cmocka_unit_test(freed_memory_returns_to_the_system),
        cmocka_unit_test(a_hole_in_front_is_filled_again),
        cmocka_unit_test(a_large_block_grows_in_place_when_it_can),
        cmocka_unit_test(torture_reaches_growth_and_holds_for_one_retry),
        cmocka_unit_test(a_refused_reservation_is_null),
        cmocka_unit_test(address_sanitizer_sees_freed_and_unused_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
