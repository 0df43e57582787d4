/* A program that is stopped every few microseconds comes to the same result
 * as one that is not: four vms run it in turn, again and again.
 *
 * MOONWIRE_STOPS=n in the environment: until it was stopped so often. */
#include "base/log.h"
#include "script/preempt_priv.h"
#include "script/sandbox.h"
#include "support/jobs.h"
#include "support/unsafe_calls.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <stdlib.h>

#define VMS   4
#define BYTES 16384

struct runner {
    struct job job;
    struct vm *vm;
    int rc;
    bool is_over;
    int status;
    uint64_t runs;
    char text[BYTES];
};

static char source[65536];
static struct runner runners[VMS];
static char expected[BYTES];

static int open_sandbox(lua_State *L)
{
    lua_pushcfunction(L, sandbox_open);
    lua_call(L, 0, 0);
    lua_register(L, "wait", test_wait);
    return 0;
}

static int push_open(struct job *j, lua_State *T)
{
    (void)j;
    lua_pushcfunction(T, open_sandbox);
    return 0;
}

static int push_program(struct job *j, lua_State *T)
{
    (void)j;
    if (sandbox_load(T, source, strlen(source), "steady.lua") != LUA_OK) {
        lua_error(T);
    }
    return 0;
}

static void keep_text(struct job *j, lua_State *T, int status, int n)
{
    struct runner *r = container_of(j, struct runner, job);
    (void)n;
    r->status = status;
    snprintf(r->text, sizeof(r->text), "%s", lua_tostring(T, -1));
}

static void end_run(struct job *j)
{
    container_of(j, struct runner, job)->is_over = true;
}

static void make_vm(struct runner *r)
{
    struct vm_config config = {
        .memory_bytes = 64 << 20, .max_tasks = 4, .cpu_ms = 1000000};
    r->vm = vm_new(&config);
    assert_non_null(r->vm);
    struct test_job open = test_job_of(NULL);
    open.job.push = push_open;
    assert_int_equal(task_settle(r->vm, task_run(r->vm, &open.job)), TASK_DONE);
    assert_int_equal(open.status, LUA_OK);
    r->job = (struct job){.push = push_program,
        .done = keep_text,
        .finished = end_run,
        .results = 1};
    r->is_over = true;
}

static void check(struct runner *r)
{
    if (r->status != LUA_OK || strcmp(r->text, expected) != 0) {
        print_error("status %d, run %d:\n%s\n---- instead of\n%s\n", r->status,
            (int)r->runs, r->text, expected);
        fail();
    }
}

/* One slice, and whatever it takes to be able to have the next. */
static void step(struct runner *r)
{
    if (r->is_over) {
        r->is_over = false;
        r->rc = task_run(r->vm, &r->job);
    } else {
        r->rc = task_resume(r->vm);
    }
    assert_true(r->rc == TASK_DONE || r->rc == TASK_STOPPED ||
                r->rc == TASK_PARKED || r->rc == TASK_IDLE);
    while (test_waits.n > 0) {
        test_wait_wake(0);
    }
    if (r->is_over) {
        r->runs++;
        check(r);
    }
}

/* At most a few stops, and nothing to compare with. */
static void run_undisturbed(struct runner *r)
{
    r->is_over = false;
    r->rc = task_run(r->vm, &r->job);
    while (!r->is_over) {
        while (test_waits.n > 0) {
            test_wait_wake(0);
        }
        r->rc = task_resume(r->vm);
    }
    assert_int_equal(r->status, LUA_OK);
    memcpy(expected, r->text, sizeof(expected));
}

static void how_often_a_program_is_stopped_makes_no_difference(void **state)
{
    (void)state;
    const char *wanted = getenv("MOONWIRE_STOPS");
    uint64_t stops = wanted != NULL ? strtoull(wanted, NULL, 10)
                     : PREEMPT_HOOK ? 2000
                                    : 20000;
    uint64_t runs = 0;
    for (int i = 0; i < VMS; i++) {
        make_vm(&runners[i]);
    }
    run_undisturbed(&runners[0]);
    assert_non_null(strstr(expected, "coroutines"));
    uint64_t before = preempt_count();
    for (uint32_t i = 0; preempt_count() - before < stops || runs < 1; i++) {
        preempt_set_slice_us(7 + i % 11);
        step(&runners[i % VMS]);
        runs = 0;
        for (int k = 0; k < VMS; k++) {
            runs += runners[k].runs;
        }
    }
    print_message("%d runs, stopped %d times\n", (int)runs,
        (int)(preempt_count() - before));
    preempt_set_slice_us(0);
    for (int i = 0; i < VMS; i++) {
        vm_free(runners[i].vm);
    }
    preempt_fini();
    fiber_pool_fini();
}

int main(void)
{
    log_init(2, LOG_ERROR, LOG_TEXT);
    FILE *f = fopen(TESTS_DIR "/lua/steady.lua", "r");
    if (f == NULL || fread(source, 1, sizeof(source) - 1, f) == 0) {
        return 1;
    }
    fclose(f);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_often_a_program_is_stopped_makes_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
