/* Scripts that do not end by themselves: stopped wherever they are, and in
 * the end ended. */
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "script/preempt_priv.h"
#include "script/sandbox.h"
#include "support/jobs.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#define MIB    ((size_t)1024 * 1024)
#define CPU_MS 40
/* Nothing here is meant to take so many slices. */
#define SLICES_MAX 100000

static struct vm *vm;
static struct vm *other;

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

static struct vm *new_vm(size_t memory, uint32_t cpu_ms)
{
    struct vm_config config = {
        .memory_bytes = memory, .max_tasks = 64, .cpu_ms = cpu_ms};
    struct vm *v = vm_new(&config);
    assert_non_null(v);
    struct test_job open = test_job_of(NULL);
    open.job.push = push_open;
    open.job.cpu_ms = 1000;
    assert_int_equal(task_settle(v, task_run(v, &open.job)), TASK_DONE);
    assert_int_equal(open.status, LUA_OK);
    return v;
}

static int set_up(void **state)
{
    (void)state;
    test_waits = (struct test_waits){0};
    preempt_set_slice_us(0);
    vm = new_vm(16 * MIB, CPU_MS);
    other = new_vm(16 * MIB, CPU_MS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vm_free(vm);
    vm_free(other);
    vm = NULL;
    other = NULL;
    preempt_fini();
    fiber_pool_fini();
    return 0;
}

static struct test_job run(struct vm *v, const char *source)
{
    struct test_job j = test_job_of(source);
    assert_int_equal(task_settle(v, task_run(v, &j.job)), TASK_DONE);
    assert_int_equal(j.done, 1);
    assert_int_equal(j.finished, 1);
    return j;
}

static void expect(struct vm *v, const char *source, const char *text)
{
    struct test_job j = run(v, source);
    assert_string_equal(j.text, text);
    assert_int_equal(j.status, LUA_OK);
}

static void add_function(struct vm *v, const char *name, lua_CFunction fn)
{
    lua_pushcfunction(vm_state(v), fn);
    lua_setglobal(vm_state(v), name);
}

static void a_script_is_stopped_and_goes_on(void **state)
{
    (void)state;
    struct test_job j = test_job_of("x = 0 while x < 500000 do x = x + 1 end\n"
                                    "return x");
    uint64_t before = preempt_count();
    assert_int_equal(task_run(vm, &j.job), TASK_STOPPED);
    assert_true(vm_is_stopped(vm));
    assert_null(task_current(vm));
    assert_true(task_has_ready(vm));
    assert_int_equal(task_count(vm), 1);
    assert_int_equal(j.done, 0);
    /* Somebody else's turn, in the middle of it. */
    expect(other, "return 'mine'", "mine");
    assert_int_equal(task_settle(vm, TASK_STOPPED), TASK_DONE);
    assert_int_equal(j.status, LUA_OK);
    assert_string_equal(j.text, "500000");
    assert_false(vm_is_stopped(vm));
    assert_true(preempt_count() > before);
}

static void a_slice_is_about_a_millisecond(void **state)
{
    (void)state;
    struct test_job j = test_job_of("for i = 1, 2000000 do x = i end");
    uint64_t start = preempt_cpu_ns();
    int slices = 1;
    for (int rc = task_run(vm, &j.job); rc == TASK_STOPPED;
         rc = task_resume(vm)) {
        slices++;
    }
    uint64_t used_us = (preempt_cpu_ns() - start) / 1000;
    /* In wall time a slice is never longer, but a machine with other work
     * takes time away from it. */
    assert_true((uint64_t)slices + 2 >= used_us / LIMIT_SLICE_US);
}

static void an_idle_thread_has_no_timer(void **state)
{
    (void)state;
    expect(vm, "return 'x'", "x");
    struct timespec ms = {.tv_nsec = 1000000};
    for (int i = 0; i < 1000 && preempt_is_ticking(); i++) {
        (void)nanosleep(&ms, NULL);
    }
    assert_false(preempt_is_ticking());
    struct test_job j = test_job_of("while true do end");
    assert_int_equal(task_run(vm, &j.job), TASK_STOPPED);
    assert_int_equal(task_settle(vm, TASK_STOPPED), TASK_DONE);
    assert_int_equal(j.status, TASK_ERRCPU);
}

static void a_vm_without_a_budget_is_not_stopped(void **state)
{
    (void)state;
    struct vm *trusted = new_vm(16 * MIB, 0);
    struct test_job j = test_job_of("for i = 1, 1000000 do x = i end");
    assert_int_equal(task_run(trusted, &j.job), TASK_DONE);
    vm_free(trusted);
}

/* ---- sections ---- */

static bool was_possible_inside;
static uint64_t stops_inside;

static void spin_ms(uint64_t ms)
{
    uint64_t end = preempt_cpu_ns() + ms * 1000000;
    while (preempt_cpu_ns() < end) {
    }
}

static int hold_long(lua_State *L)
{
    (void)L;
    preempt_hold();
    preempt_hold();
    uint64_t before = preempt_count();
    spin_ms(3);
    was_possible_inside = preempt_is_possible();
    preempt_release();
    spin_ms(2);
    stops_inside = preempt_count() - before;
    preempt_release();
    return 0;
}

static void a_section_is_stopped_at_its_end(void **state)
{
    (void)state;
    add_function(vm, "hold_long", hold_long);
    struct test_job j = test_job_of("hold_long() return 'over'");
    stops_inside = 99;
    was_possible_inside = true;
    int rc = task_run(vm, &j.job);
    if (!PREEMPT_HOOK) {
        assert_int_equal(rc, TASK_STOPPED);
        assert_true(preempt_longest_hold_ns() > 1000000);
    }
    assert_false(was_possible_inside);
    assert_int_equal(stops_inside, 0);
    assert_int_equal(task_settle(vm, rc), TASK_DONE);
    assert_string_equal(j.text, "over");
}

/* As if the machine took its time between entering a fiber and the moment in
 * which it may be stopped: nobody looks whether a tick has come. */
static int tarry(lua_State *L)
{
    preempt_set_hold(1);
    spin_ms(50);
    preempt_set_hold(0);
    uint64_t before = preempt_count();
    uint64_t end = preempt_cpu_ns() + UINT64_C(100000000);
    while (preempt_count() == before && preempt_cpu_ns() < end) {
    }
    lua_pushboolean(L, preempt_count() != before);
    return 1;
}

static void the_timer_goes_on_as_long_as_a_fiber_is_entered(void **state)
{
    (void)state;
    struct vm *slow = new_vm(16 * MIB, 1000);
    add_function(slow, "tarry", tarry);
    if (!PREEMPT_HOOK) {
        expect(slow, "return tostring(tarry())", "true");
    }
    vm_free(slow);
}

static void done_slowly(struct job *j, lua_State *T, int status, int n)
{
    spin_ms(10);
    test_job_done(j, T, status, n);
}

static void what_ends_a_job_is_measured_like_a_section(void **state)
{
    (void)state;
    struct test_job j = test_job_of("return 'x'");
    j.job.done = done_slowly;
    assert_int_equal(task_settle(vm, task_run(vm, &j.job)), TASK_DONE);
    if (!PREEMPT_HOOK) {
        assert_true(preempt_longest_hold_ns() > 7000000);
    }
}

/* ---- the soft end ---- */

/* Each begins an endless thing somewhere and tries to stay. */
static const char *const stubborn[] = {
    "while true do end",
    "for i = 1, math.maxinteger do end",
    "goto a ::a:: goto a",
    "local function f() return f() end f()",
    "while true do pcall(function() while true do end end) end",
    "local function f() pcall(f) f() end f()",
    "local function f() pcall(f) while true do pcall(f) end end f()",
    "while true do xpcall(function() while true do end end,\n"
    "  function() while true do end end) end",
    "xpcall(error, function(e) while true do end end)",
    "while true do pcall(xpcall, error, error) end",
    "local co = coroutine.wrap(function() while true do end end) co()",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "while true do local co = coroutine.create(function()\n"
    "  while true do end end) coroutine.resume(co) end",
    "local function deep(n) if n == 0 then while true do end end\n"
    "  while true do pcall(coroutine.wrap(deep), n - 1) end end deep(50)",
    "local co = coroutine.create(function() while true do\n"
    "  coroutine.yield() end end)\n"
    "while true do pcall(coroutine.resume, co) end",
    "table.sort({3, 2, 1, 5}, function(a, b) while true do end end)",
    "string.gsub('abc', '.', function() while true do end end)",
    "local t = setmetatable({}, {__index = function() while true do end end})\n"
    "return t.x",
    "return tostring(setmetatable({}, {__tostring = function()\n"
    "  while true do end end}))",
    "return load(function() while true do end end)",
    "while true do pcall(load, function() while true do end end) end",
    "local t = setmetatable({}, {__close = function() while true do end end})\n"
    "while true do local x <close> = t end",
    "local t = setmetatable({}, {__close = function() while true do end end})\n"
    "local function f(n) local x <close> = t if n > 0 then f(n - 1) end\n"
    "  while true do end end f(50)",
    "local co = coroutine.create(function() local x <close> =\n"
    "  setmetatable({}, {__close = function() while true do end end})\n"
    "  coroutine.yield() end) coroutine.resume(co)\n"
    "while true do pcall(coroutine.close, co) end",
    "while true do pcall(error, setmetatable({}, {__tostring =\n"
    "  function() while true do end end})) end",
    "local s = '' while true do s = s .. 'x' if #s > 1000 then s = '' end end",
    "local t = {} while true do t[#t + 1] = {} if #t > 1000 then t = {} end end",
    "while true do pcall(wait) end",
};

static void nothing_that_is_caught_saves_a_script(void **state)
{
    (void)state;
    test_waits.is_refusing = false;
    for (size_t i = 0; i + 1 < ARRAY_LEN(stubborn); i++) {
        struct test_job j = test_job_of(stubborn[i]);
        uint64_t start = preempt_cpu_ns();
        int rc = task_settle(vm, task_run(vm, &j.job));
        uint64_t ms = (preempt_cpu_ns() - start) / 1000000;
        if (rc != TASK_DONE || j.status != TASK_ERRCPU ||
            strstr(j.text, "of CPU") == NULL) {
            print_error("%d, %d, %s (%s), after %d ms: %s\n", rc, j.status,
                j.text, vm_why(vm), (int)ms, stubborn[i]);
            fail();
        }
        if (!SANITIZE_ASAN && !SANITIZE_TSAN) {
            assert_in_range(ms, CPU_MS - 2, CPU_MS + CPU_MS / 4);
        }
        /* The state is whole. */
        expect(vm, "kept = (kept or 0) + 1 return 'fine'", "fine");
    }
    char count[16];
    snprintf(count, sizeof(count), "%d", (int)ARRAY_LEN(stubborn) - 1);
    expect(vm, "return kept", count);
}

/* There is no memory for the words, or none on the way out. */
static void what_ends_a_script_is_told_without_memory_too(void **state)
{
    (void)state;
    expect(vm, "function spin() while true do end end", "");
    for (unsigned n = 1; n <= 24; n++) {
        struct test_job j = test_job_of(NULL);
        j.function = "spin";
        j.job.cpu_ms = 1;
        mem_fail_at(n);
        int rc = task_settle(vm, task_run(vm, &j.job));
        mem_fail_at(0);
        assert_int_equal(rc, TASK_DONE);
        const char *words = j.status == TASK_ERRCPU
                                ? "used more than 1 ms of CPU (limits.cpu)"
                                : "not enough memory";
        if (strncmp(j.text, words, strlen(words)) != 0) {
            print_error("%u: %d, %s\n", n, j.status, j.text);
            fail();
        }
    }
}

static void who_has_to_end_waits_for_nothing(void **state)
{
    (void)state;
    struct test_job j =
        test_job_of("local c <close> = setmetatable({}, {__close = function()\n"
                    "  wait() end}) while true do end");
    assert_int_equal(task_settle(vm, task_run(vm, &j.job)), TASK_DONE);
    assert_int_equal(j.status, TASK_ERRCPU);
    assert_int_equal(test_waits.n, 0);
}

static void a_budget_is_for_one_job(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct test_job j = test_job_of("local t = os.clock()\n"
                                        "for i = 1, 400000 do x = i end");
        assert_int_equal(task_settle(vm, task_run(vm, &j.job)), TASK_DONE);
        assert_int_equal(j.status, LUA_OK);
    }
    struct test_job j = test_job_of("while true do end");
    j.job.cpu_ms = 5;
    uint64_t start = preempt_cpu_ns();
    assert_int_equal(task_settle(vm, task_run(vm, &j.job)), TASK_DONE);
    assert_int_equal(j.status, TASK_ERRCPU);
    assert_true(preempt_cpu_ns() - start < CPU_MS * UINT64_C(1000000));
    assert_non_null(strstr(j.text, "more than 5 ms of CPU"));
}

static void the_end_says_where(void **state)
{
    (void)state;
    struct test_job j = run(vm, "local function busy()\n"
                                "  while true do\n  end\nend\nbusy()");
    assert_non_null(strstr(j.text, "]:2: in local 'busy'"));
    assert_non_null(strstr(j.text, "stack traceback"));
}

static int fail_late(lua_State *L)
{
    uint64_t ends = preempt_cpu_ns() + CPU_MS * UINT64_C(1200000);
    while (preempt_cpu_ns() < ends) {
    }
    return luaL_error(L, "of its own");
}

static void who_fails_before_he_hears_of_the_end_has_failed(void **state)
{
    (void)state;
    add_function(vm, "fail_late", fail_late);
    struct test_job j = run(vm, "fail_late()");
    assert_non_null(strstr(j.text, "of its own"));
    assert_int_equal(j.status, LUA_ERRRUN);
    expect(vm, "return 'fine'", "fine");
}

/* To hear that it has to end, and to tell where it was, must not take a job so
 * long that it cannot be ended any more. */
static void who_has_gone_deep_is_ended_like_others(void **state)
{
    (void)state;
    struct vm *v = new_vm(64 * MIB, 120);
    for (int i = 0; i < 3; i++) {
        struct test_job j =
            run(v, "kept = (kept or 0) + 1\n"
                   "local function f(n) if n == 0 then while true do end end\n"
                   "  return f(n - 1) + 1 end f(100000)");
        assert_int_equal(j.status, TASK_ERRCPU);
        /* On a busy machine it may still be on its way down. */
        assert_non_null(strstr(j.text, ": in upvalue 'f'"));
        assert_non_null(strstr(j.text, "over 2000 levels"));
    }
    expect(v, "return kept", "3");
    vm_free(v);
}

static void a_job_that_waits_is_counted_over_its_waits(void **state)
{
    (void)state;
    struct test_job j = test_job_of("wait() while true do end");
    assert_int_equal(task_settle(vm, task_run(vm, &j.job)), TASK_PARKED);
    struct test_job busy = test_job_of("for i = 1, 1000000 do x = i end");
    int rc = task_run(vm, &busy.job);
    test_wait_wake(0); /* while the other is in its middle */
    assert_int_equal(task_settle(vm, rc), TASK_DONE);
    assert_int_equal(busy.status, LUA_OK);
    assert_int_equal(task_settle(vm, task_resume(vm)), TASK_DONE);
    assert_int_equal(j.status, TASK_ERRCPU);
}

static void a_new_job_is_not_ended_for_an_old_one(void **state)
{
    (void)state;
    expect(vm,
        "co = coroutine.wrap(function() while true do\n"
        "  coroutine.yield(1) end end) co() return 'x'",
        "x");
    struct test_job j = run(vm, "while true do co() end");
    assert_int_equal(j.status, TASK_ERRCPU);
    /* The hook may be left on that coroutine. */
    struct test_job k = run(vm, "return pcall(co)");
    assert_int_equal(k.status, LUA_OK);
}

/* ---- memory ---- */

static const char *const greedy[] = {
    "while true do pcall(string.rep, 'x', 15 << 20) end",
    "local t = {} while true do pcall(function()\n"
    "  while true do t[#t + 1] = string.rep('x', 100) end end) end",
    "local t = {} local function f()\n"
    "  while true do t[#t + 1] = {#t} end end\n"
    "while true do coroutine.resume(coroutine.create(f)) end",
    "local t = {} while true do xpcall(function()\n"
    "  while true do t[#t + 1] = {} end end, function(e) return e end) end",
};

static void who_lives_on_memory_errors_is_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(greedy); i++) {
        struct test_job j = test_job_of(greedy[i]);
        j.job.cpu_ms = 5000;
        int rc = task_settle(vm, task_run(vm, &j.job));
        if (rc != TASK_DONE || j.status != TASK_ERRFULL) {
            print_error("%d, %d, %s: %s\n", rc, j.status, j.text, greedy[i]);
            fail();
        }
        expect(vm, "collectgarbage() return 'fine'", "fine");
    }
}

static void a_memory_error_or_two_may_be_caught(void **state)
{
    (void)state;
    expect(vm,
        "for i = 1, 10 do\n"
        "  local ok, e = pcall(string.rep, 'x', 1 << 30)\n"
        "  assert(not ok and e == 'not enough memory', e)\n"
        "end return 'still here'",
        "still here");
}

static struct test_job run_to_its_end(const char *source, int end)
{
    struct test_job j = test_job_of(source);
    assert_int_equal(task_settle(vm, task_run(vm, &j.job)), end);
    return j;
}

static const char *const too_much = "local t = {}\n"
                                    "while true do t = {t} end";

static void a_state_that_stays_full_begins_anew(void **state)
{
    (void)state;
    (void)run_to_its_end(
        "kept = {} while true do kept = {kept} end", TASK_DONE);
    for (int i = 2; i < LIMIT_FULL_EVENTS; i++) {
        struct test_job j = run_to_its_end(too_much, TASK_DONE);
        assert_int_equal(j.status, LUA_ERRMEM);
    }
    assert_int_equal(vm_end(vm), VM_ALIVE);
    struct test_job last = run_to_its_end(too_much, TASK_DEAD);
    assert_int_equal(last.done, 0);
    assert_int_equal(vm_end(vm), VM_END_FULL);
    assert_non_null(strstr(vm_why(vm), "limits.memory"));
    task_forget_job(vm);
    expect(other, "return 'mine'", "mine");
}

static void events_that_want_too_much_cost_no_state(void **state)
{
    (void)state;
    expect(vm, "kept = 'still here' return kept", "still here");
    for (int i = 0; i < 3 * LIMIT_FULL_EVENTS; i++) {
        struct test_job j = run_to_its_end(too_much, TASK_DONE);
        assert_int_equal(j.status, LUA_ERRMEM);
        j = run_to_its_end("return string.rep('x', 1 << 30)", TASK_DONE);
        assert_int_equal(j.status, LUA_ERRMEM);
    }
    expect(vm, "return kept", "still here");
}

/* ---- the hard end ---- */

#if !PREEMPT_HOOK

static const char *const deaf[] = {
    "string.find(string.rep('a', 30), string.rep('a?', 30) ..\n"
    "  string.rep('a', 30))",
    "string.find(string.rep('x', 300000), '.-.-.-b')",
    "while true do pcall(string.find, string.rep('a', 5000),\n"
    "  '.-.-.-.-b') end",
    "local t = {} for n = 1, 1 << 16 do t[n * ((1 << 17) - 1)] = true end\n"
    "t.x = 1 local s = {} for i = 1, 1 << 17 do t[-i] = 1 end",
};

static void what_cannot_be_told_is_dropped(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(deaf); i++) {
        struct vm *victim = new_vm(64 * MIB, 20);
        struct test_job j = test_job_of(deaf[i]);
        uint64_t start = preempt_cpu_ns();
        uint64_t longest = 0;
        int rc = task_run(victim, &j.job);
        while (rc == TASK_STOPPED) {
            uint64_t now = preempt_cpu_ns();
            rc = task_resume(victim);
            now = preempt_cpu_ns() - now;
            longest = now > longest ? now : longest;
        }
        uint64_t ms = (preempt_cpu_ns() - start) / 1000000;
        if (rc == TASK_DEAD) {
            assert_int_equal(vm_end(victim), VM_END_CPU);
            assert_non_null(strstr(vm_why(victim), "could not be stopped"));
            assert_int_equal(j.done, 0);
            assert_int_equal(j.finished, 0);
            assert_false(task_has_ready(victim));
        } else {
            /* It may have heard of it between two such calls. */
            assert_int_equal(rc, TASK_DONE);
            assert_int_equal(j.status, TASK_ERRCPU);
        }
        if (!SANITIZE_ASAN) {
            assert_in_range(ms, 19, 40);
            assert_true(longest < 5000000);
        }
        vm_free(victim);
        assert_int_equal(j.finished, 1);
        expect(other, "return 'unharmed'", "unharmed");
    }
}

static void who_gave_a_job_need_not_keep_it_for_a_dead_vm(void **state)
{
    (void)state;
    struct vm *victim = new_vm(64 * MIB, 20);
    struct test_job *j = malloc(sizeof(*j));
    assert_non_null(j);
    *j = test_job_of(deaf[1]);
    assert_int_equal(task_settle(victim, task_run(victim, &j->job)), TASK_DEAD);
    assert_ptr_equal(task_stopped_job(victim), &j->job);
    task_forget_job(victim);
    assert_null(task_stopped_job(victim));
    assert_int_equal(task_count(victim), 0);
    assert_int_equal(j->finished, 0);
    memset(j, 0xff, sizeof(*j));
    free(j);
    vm_free(victim);
    expect(other, "return 'unharmed'", "unharmed");
}

static int __attribute__((noinline)) overrun(int n)
{
    volatile char frame[512];
    frame[0] = (char)n;
    return n == 0 ? frame[0] : overrun(n - 1) + frame[0];
}

static int overrun_stack(lua_State *L)
{
    lua_pushinteger(L, overrun(100000000));
    return 1;
}

/* cmocka has handlers of its own, which it sets before each test. */
static struct sigaction our_fault;

static void a_stack_that_is_full_costs_its_own_app_only(void **state)
{
    (void)state;
    assert_int_equal(sigaction(SIGSEGV, &our_fault, NULL), 0);
    for (int i = 0; i < 20; i++) {
        /* It is to come to the guard, in however short slices. */
        struct vm *victim = new_vm(16 * MIB, 100 * CPU_MS);
        add_function(victim, "overrun", overrun_stack);
        struct test_job j = test_job_of("pcall(overrun)");
        struct test_job parked = test_job_of("wait()");
        assert_int_equal(
            task_settle(victim, task_run(victim, &parked.job)), TASK_PARKED);
        if (i % 2 == 1) {
            preempt_set_slice_us(10 + (uint32_t)i);
        }
        int rc = task_settle(victim, task_run(victim, &j.job));
        preempt_set_slice_us(0);
        assert_int_equal(rc, TASK_DEAD);
        assert_int_equal(vm_end(victim), VM_END_CRASH);
        assert_non_null(strstr(vm_why(victim), "stack"));
        vm_free(victim);
        assert_int_equal(j.finished, 1);
        assert_int_equal(parked.finished, 1);
        assert_int_equal(parked.done, 0);
        expect(other, "for i = 1, 100000 do x = i end return 'unharmed'",
            "unharmed");
    }
}

#endif

static int raise_unprotected(lua_State *L)
{
    /* Nobody ever called anything on the main thread. */
    return luaL_error(vm_state(vm_from(L)), "from nowhere");
}

static void a_panic_costs_its_own_app_only(void **state)
{
    (void)state;
    struct vm *victim = new_vm(16 * MIB, CPU_MS);
    add_function(victim, "raise", raise_unprotected);
    struct test_job j = test_job_of("pcall(raise)");
    assert_int_equal(task_settle(victim, task_run(victim, &j.job)), TASK_DEAD);
    assert_int_equal(vm_end(victim), VM_END_CRASH);
    vm_free(victim);
    assert_int_equal(j.finished, 1);
    expect(other, "return 'unharmed'", "unharmed");
}

static void a_vm_is_dropped_in_the_middle_of_a_script(void **state)
{
    (void)state;
    struct vm *victim = new_vm(16 * MIB, CPU_MS);
    struct test_job waits = test_job_of("wait()");
    struct test_job j = test_job_of("local t = {} while true do t = {t} end");
    assert_int_equal(
        task_settle(victim, task_run(victim, &waits.job)), TASK_PARKED);
    assert_int_equal(task_run(victim, &j.job), TASK_STOPPED);
    vm_free(victim);
    assert_int_equal(j.finished, 1);
    assert_int_equal(j.done, 0);
    assert_int_equal(waits.finished, 1);
    assert_int_equal(test_waits.cancelled, 1);
    expect(other, "return 'unharmed'", "unharmed");
}

static void idle_tasks_of_who_is_stopped_keep_their_fibers(void **state)
{
    (void)state;
    enum { MANY = 80 };
    struct vm *vms[MANY];
    struct test_job two = test_job_of("wait()");
    /* Leaves two idle tasks in vm. */
    assert_int_equal(task_settle(vm, task_run(vm, &two.job)), TASK_PARKED);
    expect(vm, "return 'x'", "x");
    test_wait_wake(0);
    assert_int_equal(task_settle(vm, task_resume(vm)), TASK_DONE);
    struct test_job j = test_job_of("for i = 1, 100000 do x = {i} end");
    assert_int_equal(task_run(vm, &j.job), TASK_STOPPED);
    for (int i = 0; i < MANY; i++) {
        vms[i] = new_vm(MIB, CPU_MS);
        expect(vms[i], "return 'x'", "x");
    }
    assert_int_equal(task_settle(vm, TASK_STOPPED), TASK_DONE);
    assert_int_equal(j.status, LUA_OK);
    for (int i = 0; i < MANY; i++) {
        vm_free(vms[i]);
    }
}

#if !PREEMPT_HOOK

/* As task.all() does when the end of its time comes while it starts many: it is
 * asked whether it may wait, has to end, and waits. */
static int wait_although_killed(lua_State *L)
{
    struct wait w = {.cancel = test_wait_cancel};
    task_check_park(L);
    while (!task_is_killing(L)) {
    }
    preempt_hold();
    test_waits.at[test_waits.n++] = &w;
    task_park(L, &w);
    preempt_release();
    return 0;
}

static void what_a_killed_job_has_to_hear_is_for_no_other_fiber(void **state)
{
    (void)state;
    add_function(vm, "wait_although_killed", wait_although_killed);
    struct test_job j = test_job_of("wait_although_killed() x = 1 return x");
    assert_int_equal(task_settle(vm, task_run(vm, &j.job)), TASK_PARKED);
    test_wait_wake(0);
    assert_int_equal(task_settle(vm, task_resume(vm)), TASK_DONE);
    assert_int_equal(j.status, TASK_ERRCPU);
    assert_null(preempt_self.on_return);
    /* Whoever is stopped next would do it, when its task is no more. */
    vm_free(vm);
    vm = NULL;
    struct test_job k = test_job_of("x = 0 while x < 500000 do x = x + 1 end\n"
                                    "return x");
    assert_int_equal(task_settle(other, task_run(other, &k.job)), TASK_DONE);
    assert_string_equal(k.text, "500000");
}

#endif

int main(void)
{
    log_init(2, LOG_ERROR, LOG_TEXT);
#if !PREEMPT_HOOK
    preempt_arm();
    (void)sigaction(SIGSEGV, NULL, &our_fault);
#endif
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        TEST(a_script_is_stopped_and_goes_on),
        TEST(a_slice_is_about_a_millisecond),
        TEST(an_idle_thread_has_no_timer),
        TEST(a_vm_without_a_budget_is_not_stopped),
        TEST(a_section_is_stopped_at_its_end),
        TEST(the_timer_goes_on_as_long_as_a_fiber_is_entered),
        TEST(what_ends_a_job_is_measured_like_a_section),
        TEST(nothing_that_is_caught_saves_a_script),
        TEST(what_ends_a_script_is_told_without_memory_too),
        TEST(who_has_to_end_waits_for_nothing),
        TEST(a_budget_is_for_one_job),
        TEST(the_end_says_where),
        TEST(who_fails_before_he_hears_of_the_end_has_failed),
        TEST(who_has_gone_deep_is_ended_like_others),
        TEST(a_job_that_waits_is_counted_over_its_waits),
        TEST(a_new_job_is_not_ended_for_an_old_one),
        TEST(who_lives_on_memory_errors_is_ended),
        TEST(a_memory_error_or_two_may_be_caught),
        TEST(a_state_that_stays_full_begins_anew),
        TEST(events_that_want_too_much_cost_no_state),
#if !PREEMPT_HOOK
        TEST(what_cannot_be_told_is_dropped),
        TEST(who_gave_a_job_need_not_keep_it_for_a_dead_vm),
        TEST(a_stack_that_is_full_costs_its_own_app_only),
        TEST(what_a_killed_job_has_to_hear_is_for_no_other_fiber),
#endif
        TEST(a_panic_costs_its_own_app_only),
        TEST(a_vm_is_dropped_in_the_middle_of_a_script),
        TEST(idle_tasks_of_who_is_stopped_keep_their_fibers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
