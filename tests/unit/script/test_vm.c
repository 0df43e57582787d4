/* A vm's life; what runs in it is test_task.c's. */
#include "base/mem.h"
#include "script/fiber.h"
#include "support/jobs.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static void a_new_vm_is_bare_and_small(void **state)
{
    (void)state;
    int owner = 0;
    struct vm_config config = {
        .memory_bytes = 64 * MIB, .max_tasks = 4, .owner = &owner};
    struct vm *vm = vm_new(&config);
    assert_ptr_equal(vm_owner(vm), &owner);
    assert_ptr_equal(vm_from(vm_state(vm)), vm);
    assert_int_equal(arena_cap(vm_arena(vm)), 64 * MIB);
    assert_true(arena_used(vm_arena(vm)) <= 12 * KIB);
    struct test_job j = test_job_of("return tostring(1)");
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_non_null(strstr(j.text, "attempt to call a nil value"));
    vm_free(vm);
    vm_free(NULL);
}

static void a_vm_with_libraries_takes_as_many_pages_as_it_must(void **state)
{
    (void)state;
    struct vm *vm = test_vm_new(64 * MIB, 8, NULL);
    size_t live = arena_live(vm_arena(vm));
    assert_true(arena_used(vm_arena(vm)) <= live + 12 * KIB);
    vm_free(vm);
}

static void vms_know_nothing_of_each_other(void **state)
{
    (void)state;
    struct vm *a = test_vm_new(MIB, 8, NULL);
    struct vm *b = test_vm_new(MIB, 8, NULL);
    struct test_job j = test_job_of("x = 1 string.rep = nil return 'set'");
    assert_int_equal(task_run(a, &j.job), TASK_DONE);
    assert_string_equal(j.text, "set");
    j = test_job_of("return tostring(x) .. type(string.rep)");
    assert_int_equal(task_run(b, &j.job), TASK_DONE);
    assert_string_equal(j.text, "nilfunction");
    vm_free(a);
    assert_int_equal(task_run(b, &j.job), TASK_DONE);
    vm_free(b);
}

static void a_cap_too_small_for_a_state_is_refused(void **state)
{
    (void)state;
    struct vm_config config = {.memory_bytes = 4 * KIB, .max_tasks = 4};
    assert_null(vm_new(&config));
}

static void a_large_heap_goes_without_being_walked(void **state)
{
    (void)state;
    struct vm *vm = test_vm_new(64 * MIB, 8, NULL);
    struct test_job j = test_job_of(
        "t = {} for i = 1, 100000 do t[i] = {i} end\n"
        "setmetatable({}, {__gc = function() error('never called') end})\n"
        "return 'full'");
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_string_equal(j.text, "full");
    vm_free(vm);
}

static void the_cap_can_be_hit_over_and_over(void **state)
{
    (void)state;
    struct vm *vm = test_vm_new(2 * MIB, 8, NULL);
    static const char *const sources[] = {
        "local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(i) end",
        "local function f(...) return f(1, 2, 3, ...) end f()",
        "return ('x'):rep(1 << 40)",
        "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
    };
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
            struct test_job j = test_job_of(sources[i]);
            assert_int_equal(task_run(vm, &j.job), TASK_DONE);
            assert_int_not_equal(j.status, LUA_OK);
            assert_true(arena_used(vm_arena(vm)) <= 2 * MIB);
        }
        struct test_job j =
            test_job_of("collectgarbage() local t = {}\n"
                        "for i = 1, 1000 do t[i] = {i} end return #t");
        assert_int_equal(task_run(vm, &j.job), TASK_DONE);
        assert_string_equal(j.text, "1000");
    }
    vm_free(vm);
}

/* In a child: everything runs protected, so there is no honest way here. */
static void an_unprotected_error_aborts_with_the_law(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(fds[1], STDERR_FILENO);
        struct vm *vm = test_vm_new(MIB, 8, NULL);
        signal(SIGABRT, SIG_DFL);
        luaL_error(vm_state(vm), "out in the open");
        _exit(0);
    }
    close(fds[1]);
    char text[4096];
    ssize_t n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(fds[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "I7"));
    assert_non_null(strstr(text, "out in the open"));
}

static int end(void **state)
{
    (void)state;
    fiber_pool_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_vm_is_bare_and_small),
        cmocka_unit_test(a_vm_with_libraries_takes_as_many_pages_as_it_must),
        cmocka_unit_test(vms_know_nothing_of_each_other),
        cmocka_unit_test(a_cap_too_small_for_a_state_is_refused),
        cmocka_unit_test(a_large_heap_goes_without_being_walked),
        cmocka_unit_test(the_cap_can_be_hit_over_and_over),
        cmocka_unit_test(an_unprotected_error_aborts_with_the_law),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
