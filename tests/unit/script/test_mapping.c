/* How much the process may map for apps, and the guards. */
#include "script/mapping.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB   ((size_t)1024)
#define BYTES (256 * KIB)
#define MANY  200

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define SANITIZED 1
#    endif
#endif
#ifndef SANITIZED
#    define SANITIZED 0
#endif

static int as_it_is(void **state)
{
    (void)state;
    mapping_pretend(0, true);
    return 0;
}

static size_t count_maps(void)
{
    size_t n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF;) {
        n += c == '\n';
    }
    (void)fclose(f);
    return n;
}

/* Takes as many as there are. */
static size_t take_all(enum mapping_use use, char **out)
{
    size_t n = 0;
    while (n < MANY && (out[n] = mapping_new(use, BYTES)) != NULL) {
        n++;
    }
    return n;
}

static void give_all(enum mapping_use use, char **from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mapping_free(use, from[i], BYTES);
    }
}

static void stacks_leave_some_for_arenas_and_both_for_the_rest(void **state)
{
    (void)state;
    char *stacks[MANY];
    char *arenas[MANY];
    for (int round = 0; round < 2; round++) {
        mapping_pretend(160, false);
        assert_int_equal(mapping_stacks_most(), 60);
        assert_int_equal(take_all(MAPPING_STACK, stacks), 60);
        assert_int_equal(mapping_stacks_left(), 0);
        assert_int_equal(take_all(MAPPING_ARENA, arenas), 10);
        assert_int_equal(mapping_stacks_most(), 50);
        give_all(MAPPING_STACK, stacks, 60);
        assert_int_equal(mapping_stacks_left(), 50);
        give_all(MAPPING_ARENA, arenas, 10);
        assert_int_equal(mapping_stacks_left(), 60);
        assert_int_equal(take_all(MAPPING_ARENA, arenas), 70);
        assert_int_equal(mapping_stacks_most(), 0);
        assert_null(mapping_new(MAPPING_STACK, BYTES));
        give_all(MAPPING_ARENA, arenas, 70);
    }
}

static void a_guard_that_needs_no_mapping_counts_none(void **state)
{
    (void)state;
    mapping_pretend(160, true);
    size_t each = mapping_guards_are_free() ? 1 : 2;
    assert_int_equal(mapping_stacks_most(), 120 / each);
}

static void what_the_system_allows_is_read(void **state)
{
    (void)state;
    unsigned long n = 65530;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
    if (f != NULL) {
        assert_int_equal(fscanf(f, "%lu", &n), 1);
        (void)fclose(f);
    }
    mapping_pretend(0, false);
    assert_int_equal(mapping_stacks_most(), n * 6 / 8 / 2);
}

/* Does a write there end the process? */
static bool is_deadly(char *at)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        (void)close(STDERR_FILENO);
        *(volatile char *)at = 1;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void nobody_gets_over_the_guard_of_either_kind(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        mapping_pretend(0, kind == 1);
        char *p = mapping_new(MAPPING_STACK, BYTES);
        assert_non_null(p);
        /* What is given back and used again has it as before. */
        for (int round = 0; round < 2; round++) {
            assert_true(is_deadly(p));
            assert_true(is_deadly(p + MAPPING_GUARD_BYTES - 1));
            memset(p + MAPPING_GUARD_BYTES, 1, BYTES - MAPPING_GUARD_BYTES);
            assert_int_equal(madvise(p, BYTES, MADV_DONTNEED), 0);
        }
        mapping_free(MAPPING_STACK, p, BYTES);
        p = mapping_new(MAPPING_ARENA, BYTES);
        assert_non_null(p);
        memset(p, 1, BYTES - MAPPING_GUARD_BYTES);
        assert_true(is_deadly(p + BYTES - MAPPING_GUARD_BYTES));
        assert_true(is_deadly(p + BYTES - 1));
        mapping_free(MAPPING_ARENA, p, BYTES);
    }
}

static void no_more_mappings_are_made_than_are_counted(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        mapping_pretend(0, kind == 1);
        bool is_free = mapping_guards_are_free();
        size_t each = is_free ? 1 : 2;
        char *all[MANY];
        size_t before = count_maps();
        assert_int_equal(take_all(MAPPING_STACK, all), MANY);
        for (int i = 0; i < MANY; i++) {
            memset(all[i] + MAPPING_GUARD_BYTES, 1, 4 * KIB);
        }
        size_t many = count_maps() - before;
        if (!SANITIZED) {
            assert_in_range(many, 1, is_free ? MANY / 10 : MANY * each + 4);
        }
        /* The worst that can happen to neighbours. */
        for (int i = 1; i < MANY; i += 2) {
            mapping_free(MAPPING_STACK, all[i], BYTES);
            all[i] = NULL;
        }
        size_t holey = count_maps() - before;
        print_message("%d stacks make %zu mappings, every second one %zu\n",
            MANY, many, holey);
        if (!SANITIZED) { /* they map for themselves */
            assert_in_range(holey, 1, MANY / 2 * each + 4);
        }
        for (int i = 0; i < MANY; i += 2) {
            mapping_free(MAPPING_STACK, all[i], BYTES);
        }
    }
}

/* Mappings that no neighbour has the flags of, until there can be no more. */
static void use_up_all_mappings(void)
{
    for (int i = 0;; i++) {
        if (mmap(NULL, 4 * KIB, i % 2 != 0 ? PROT_READ : PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
            return;
        }
    }
}

static void where_there_are_no_more_mappings_all_can_be_freed(void **state)
{
    (void)state;
    pid_t pid = SANITIZED ? 0 : fork();
    if (SANITIZED) {
        skip(); /* they want mappings of their own */
    }
    if (pid == 0) {
        char *all[10];
        for (int i = 0; i < 10; i++) {
            all[i] = mapping_new(MAPPING_STACK, BYTES);
        }
        use_up_all_mappings();
        if (mapping_new(MAPPING_ARENA, BYTES) != NULL &&
            !mapping_guards_are_free()) {
            _exit(1);
        }
        for (int i = 1; i < 10; i += 2) {
            mapping_free(MAPPING_STACK, all[i], BYTES);
        }
        for (int i = 0; i < 10; i += 2) {
            mapping_free(MAPPING_STACK, all[i], BYTES);
        }
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(
            stacks_leave_some_for_arenas_and_both_for_the_rest, as_it_is),
        cmocka_unit_test_teardown(
            a_guard_that_needs_no_mapping_counts_none, as_it_is),
        cmocka_unit_test_teardown(what_the_system_allows_is_read, as_it_is),
        cmocka_unit_test_teardown(
            nobody_gets_over_the_guard_of_either_kind, as_it_is),
        cmocka_unit_test_teardown(
            no_more_mappings_are_made_than_are_counted, as_it_is),
        cmocka_unit_test_teardown(
            where_there_are_no_more_mappings_all_can_be_freed, as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
