#include "base/mem.h"
#include "unit/base/death.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Read by the sanitizers: malloc may say no, as it does without them. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static volatile size_t more_than_there_is = SIZE_MAX / 2;

static int no_failures(void **state)
{
    (void)state;
    mem_fail_at(0);
    return 0;
}

static void size_zero_is_memory_too(void **state)
{
    (void)state;
    void *all[] = {mem_alloc(0), mem_zalloc(0), mem_realloc(NULL, 0),
        mem_strndup(NULL, 0), quota_alloc(0), quota_realloc(NULL, 0)};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_non_null(all[i]);
        mem_free(all[i]);
    }
    void *p = quota_realloc(quota_alloc(10), 0);
    assert_non_null(p);
    quota_free(p);
}

static void freeing_nothing_is_fine(void **state)
{
    (void)state;
    mem_free(NULL);
    quota_free(NULL);
}

static void copies_hold_what_the_original_held(void **state)
{
    (void)state;
    char *s = mem_strndup("moon\0wire", 9);
    assert_memory_equal(s, "moon\0wire", 10);
    s = mem_realloc(s, 100000);
    assert_memory_equal(s, "moon\0wire", 10);
    uint8_t *z = mem_zalloc(1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(z[i], 0);
    }
    mem_free(s);
    mem_free(z);
}

static void the_nth_quota_call_fails_and_only_that_one(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 5; n++) {
        mem_fail_at(n);
        for (uint64_t call = 1; call <= 10; call++) {
            void *p = call % 2 != 0 ? quota_alloc(8) : quota_realloc(NULL, 8);
            assert_int_equal(p == NULL, call == n);
            quota_free(p);
        }
    }
    mem_fail_at(2);
    mem_fail_at(0);
    for (int call = 0; call < 4; call++) {
        void *p = quota_alloc(8);
        assert_non_null(p);
        quota_free(p);
    }
}

static void a_failed_realloc_leaves_the_block_alone(void **state)
{
    (void)state;
    char *p = quota_alloc(5);
    memcpy(p, "wire", 5);
    mem_fail_at(1);
    assert_null(quota_realloc(p, 1000));
    assert_string_equal(p, "wire");
    assert_null(quota_realloc(p, more_than_there_is));
    assert_string_equal(p, "wire");
    quota_free(p);
}

static void torture_does_not_reach_what_cannot_say_no(void **state)
{
    (void)state;
    mem_fail_at(1);
    mem_free(mem_alloc(1));
    mem_free(mem_zalloc(1));
    assert_null(quota_alloc(1));
}

static void *two_calls(void *calls)
{
    quota_free(quota_alloc(1));
    quota_free(quota_realloc(NULL, 1));
    *(uint64_t *)calls = mem_quota_calls();
    return NULL;
}

static void each_thread_counts_its_own_quota_calls(void **state)
{
    (void)state;
    uint64_t before = mem_quota_calls();
    quota_free(quota_alloc(1));
    mem_free(mem_alloc(1));
    assert_int_equal(mem_quota_calls() - before, 1);
    uint64_t theirs = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, two_calls, &theirs), 0);
    pthread_join(thread, NULL);
    assert_int_equal(theirs, 2);
    assert_int_equal(mem_quota_calls() - before, 1);
    mem_fail_at(1);
    assert_null(quota_alloc(1));
    assert_int_equal(mem_quota_calls() - before, 2);
}

static void quota_says_no_where_mem_dies(void **state)
{
    (void)state;
    assert_null(quota_alloc(more_than_there_is));
    assert_null(quota_realloc(NULL, more_than_there_is));
}

static void alloc_too_much(void)
{
    mem_free(mem_alloc(more_than_there_is));
}

static void zalloc_too_much(void)
{
    mem_free(mem_zalloc(more_than_there_is));
}

static void realloc_too_much(void)
{
    mem_free(mem_realloc(NULL, more_than_there_is));
}

static void mem_dies_with_one_line_when_memory_is_out(void **state)
{
    (void)state;
    assert_true(dies_saying(alloc_too_much, "out of memory: "));
    assert_true(dies_saying(zalloc_too_much, "out of memory: "));
    assert_true(dies_saying(realloc_too_much, "kind=crash"));
}

/* What the child of the next test does: 0 if just the second call fails. */
static int probe(void)
{
    bool first = quota_alloc(1) != NULL;
    bool second = quota_alloc(1) != NULL;
    bool third = quota_alloc(1) != NULL;
    _exit(first && !second && third ? 0 : 1);
}

static void the_environment_sets_it_at_start(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setenv("MEM_FAIL_AT", "2", 1);
        execl("/proc/self/exe", "test_mem", "probe", (char *)NULL);
        _exit(2);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Under the sanitizers the heap is theirs. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define IS_SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define IS_SANITIZED 1
#    endif
#endif

#if defined(__GLIBC__) && !defined(IS_SANITIZED)
#    define HAS_ITS_HEAP   1
#    define BLOCKS         6000u
#    define BLOCK_BYTES    ((size_t)16 * 1024)
#    define ALL_BYTES      (BLOCKS * BLOCK_BYTES) /* 94 MB */
#    define MOST_AT_A_TIME ((size_t)3 << 20)

static size_t resident_bytes(void)
{
    unsigned long size = 0;
    unsigned long resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
    (void)fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* The last to go is the one at the heap's end. */
static void fill_and_free(void)
{
    static void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = mem_alloc(BLOCK_BYTES);
        memset(blocks[i], 1, BLOCK_BYTES);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        mem_free(blocks[i]);
    }
}

static void *free_and_give_back(void *arg)
{
    (void)arg;
    const size_t before = resident_bytes();
    assert_false(mem_may_have_spare());
    fill_and_free();
    assert_true(mem_may_have_spare());
    size_t now = resident_bytes();
    assert_true(now > before + ALL_BYTES / 10 * 9);
    unsigned steps = 1;
    while (mem_give_back()) {
        size_t then = now;
        now = resident_bytes();
        assert_true(now + MOST_AT_A_TIME > then);
        assert_true(++steps < 1000);
    }
    assert_false(mem_may_have_spare());
    assert_true(now < before + ALL_BYTES / 3);
    return NULL;
}

static void what_is_freed_stays_and_goes_back_a_piece_at_a_time(void **state)
{
    (void)state;
    pthread_t thread;
    if (!mem_keep_heap()) {
        skip();
    }
    (void)free_and_give_back(NULL);
    assert_int_equal(
        pthread_create(&thread, NULL, free_and_give_back, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void giving_back_can_be_left_off(void **state)
{
    (void)state;
    if (!mem_keep_heap()) {
        skip();
    }
    fill_and_free();
    assert_true(mem_give_back());
    mem_stop_giving();
    assert_false(mem_may_have_spare());
}

#endif

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        return probe();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_zero_is_memory_too),
        cmocka_unit_test(freeing_nothing_is_fine),
        cmocka_unit_test(copies_hold_what_the_original_held),
        cmocka_unit_test_teardown(
            the_nth_quota_call_fails_and_only_that_one, no_failures),
        cmocka_unit_test_teardown(
            a_failed_realloc_leaves_the_block_alone, no_failures),
        cmocka_unit_test_teardown(
            torture_does_not_reach_what_cannot_say_no, no_failures),
        cmocka_unit_test_teardown(
            each_thread_counts_its_own_quota_calls, no_failures),
        cmocka_unit_test(quota_says_no_where_mem_dies),
        cmocka_unit_test(mem_dies_with_one_line_when_memory_is_out),
        cmocka_unit_test(the_environment_sets_it_at_start),
#ifdef HAS_ITS_HEAP
        cmocka_unit_test(what_is_freed_stays_and_goes_back_a_piece_at_a_time),
        cmocka_unit_test(giving_back_can_be_left_off),
#endif
    };
    mem_fail_at(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
