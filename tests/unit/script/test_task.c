/* Jobs, waiting in every place a script can wait in, errors, and the end. */
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "script/fiber.h"
#include "script/mapping.h"
#include "script/reaper.h"
#include "script/task_priv.h"
#include "support/jobs.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <stdlib.h>

#define MIB ((size_t)1024 * 1024)

static struct vm *vm;
static int ready_calls;

static int set_up(void **state)
{
    (void)state;
    test_waits = (struct test_waits){0};
    ready_calls = 0;
    vm = test_vm_new(64 * MIB, 64, &ready_calls);
    return vm == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    vm_free(vm);
    fiber_pool_fini();
    return 0;
}

static struct test_job run(const char *source)
{
    struct test_job j = test_job_of(source);
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_int_equal(j.done, 1);
    assert_int_equal(j.finished, 1);
    assert_null(task_current(vm));
    return j;
}

static void expect(const char *source, const char *text)
{
    struct test_job j = run(source);
    assert_string_equal(j.text, text);
    assert_int_equal(j.status, LUA_OK);
}

static void expect_error(const char *source, const char *part)
{
    struct test_job j = run(source);
    assert_int_equal(j.status, LUA_ERRRUN);
    assert_int_equal(j.n, 1);
    if (strstr(j.text, part) == NULL) {
        print_error("no \"%s\" in: %s\n", part, j.text);
        fail();
    }
}

static void a_job_gets_all_results_of_its_call(void **state)
{
    (void)state;
    struct test_job j = run("return 'one', 2, nil");
    assert_int_equal(j.status, LUA_OK);
    assert_int_equal(j.n, 3);
    assert_string_equal(j.text, "one");
    j = run("return table.unpack({}, 1, 5000)");
    assert_int_equal(j.status, LUA_OK);
    assert_int_equal(j.n, 5000);
    j = run("x = 5");
    assert_int_equal(j.n, 0);
    expect("return x", "5");
    assert_int_equal(task_count(vm), 0);
}

static int push_nothing(struct job *j, lua_State *T)
{
    (void)j;
    lua_pushliteral(T, "left over");
    return -1;
}

static void a_job_may_find_nothing_to_call(void **state)
{
    (void)state;
    struct test_job j = test_job_of(NULL);
    j.job.push = push_nothing;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_int_equal(j.done, 1);
    assert_int_equal(j.finished, 1);
    assert_int_equal(j.status, LUA_OK);
    assert_int_equal(j.n, 0);
}

static void a_job_needs_neither_done_nor_finished(void **state)
{
    (void)state;
    struct test_job j = test_job_of("y = 6");
    j.job.done = NULL;
    j.job.finished = NULL;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    expect("return y", "6");
}

static void errors_come_as_text_with_a_traceback(void **state)
{
    (void)state;
    expect_error("local function inner() error('what happened') end\n"
                 "inner()",
        "what happened");
    expect_error("local function inner() error('x') end inner()",
        "stack traceback:\n\t[C]: in function 'error'\n\t[string ");
    expect_error(
        "local function inner() error('x') end inner()", "in local 'inner'");
    expect_error("error(42)", "42\nstack traceback:");
    expect_error("error()", "(error object is a nil value)\nstack traceback");
    expect_error("error({})", "(error object is a table value)");
    expect_error("local x = nil; x()", "attempt to call a nil value");
}

static void an_error_object_is_never_asked_for_its_text(void **state)
{
    (void)state;
    expect_error("asked = 0\n"
                 "local function ask() asked = asked + 1 return 'mine' end\n"
                 "error(setmetatable({}, {__tostring = ask,\n"
                 "    __name = 'mine', __index = ask}))",
        "(error object is a table value)");
    expect("return asked", "0");
}

static int push_failing(struct job *j, lua_State *T)
{
    (void)j;
    lua_pushliteral(T, "half");
    return luaL_error(T, "push failed");
}

static void an_error_in_push_is_reported_and_the_task_goes_on(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct test_job j = test_job_of(NULL);
        j.job.push = push_failing;
        assert_int_equal(task_run(vm, &j.job), TASK_DONE);
        assert_int_equal(j.done, 1);
        assert_int_equal(j.finished, 1);
        assert_int_equal(j.status, LUA_ERRRUN);
        assert_non_null(strstr(j.text, "push failed\nstack traceback"));
        expect("return 'fine'", "fine");
    }
}

static void done_failing(struct job *j, lua_State *T, int status, int n)
{
    test_job_done(j, T, status, n);
    luaL_error(T, "done failed, as this test wants");
}

static void an_error_in_done_is_not_reported_twice(void **state)
{
    (void)state;
    struct test_job j = test_job_of("return 1");
    j.job.done = done_failing;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_int_equal(j.done, 1);
    assert_int_equal(j.finished, 1);
    expect("return 'fine'", "fine");
}

static void expect_words(const struct test_job *j, int status, const char *text)
{
    assert_int_equal(j->status, status);
    assert_string_equal(j->text, text);
}

#if WHERE_IS_NOTED

static void a_memory_error_says_where_it_was(void **state)
{
    (void)state;
    struct test_job j = run("local function fill(t)\n"
                            "  for i = 1, 1e9 do\n"
                            "    t[i] = ('x'):rep(1000) .. i\n"
                            "  end\n"
                            "end\n"
                            "fill({})\n");
    assert_non_null(strstr(j.text, "not enough memory\nstack traceback:\n\t"));
    assert_non_null(strstr(j.text, "fill(t)...\"]:3: in local 'fill'\n\t"));
    assert_non_null(strstr(j.text, "fill(t)...\"]:6: in main chunk"));
    assert_int_equal(j.status, LUA_ERRMEM);
    expect("return 'fine'", "fine");
    assert_true(arena_used(vm_arena(vm)) <= arena_cap(vm_arena(vm)));
}

static void however_deep_it_was_it_is_told_in_short(void **state)
{
    (void)state;
    struct test_job j = run("local function deep(n)\n"
                            "  if n > 0 then deep(n - 1) end\n"
                            "  return ('x'):rep(1 << 30)\n"
                            "end\n"
                            "deep(1000)\n");
    assert_int_equal(j.status, LUA_ERRMEM);
    assert_non_null(strstr(j.text, "]:3: in upvalue 'deep'\n\t"));
    assert_true(strlen(j.text) < 600);
    assert_int_equal(j.text[strlen(j.text) - 1], '\'');
}

/* One that was caught is over, and one that is kept is not from there. */
static void only_its_own_memory_errors_place_is_told(void **state)
{
    (void)state;
    struct test_job j = run("-- mine\n"
                            "pcall(string.rep, 'x', 1 << 30)\n"
                            "error('mine')");
    assert_int_equal(j.status, LUA_ERRRUN);
    assert_null(strstr(j.text, "rep"));
    expect("_, kept = pcall(string.rep, 'x', 1 << 30) return kept",
        "not enough memory");
    j = run("error(kept, 0)");
    expect_words(&j, LUA_ERRMEM, "not enough memory");
    j = run("pcall(string.rep, 'x', 1 << 30) error(kept, 0)");
    assert_non_null(strstr(j.text, "not enough memory\nstack traceback:"));
}

#endif

/* It is to be ended for its CPU time, and fails before it hears of it. */
static int fail_when_doomed(lua_State *L)
{
    vm->current->cpu_ms = 7;
    vm->current->killing = TASK_ERRCPU;
    if (lua_toboolean(L, 1)) {
        (void)lua_newuserdatauv(L, 1 << 30, 0);
    }
    return luaL_error(L, "something else");
}

static int push_doomed(struct job *j, lua_State *T)
{
    lua_pushcfunction(T, fail_when_doomed);
    lua_pushboolean(T, (int)container_of(j, struct test_job, job)->arg);
    return 1;
}

static void what_is_told_agrees_with_the_status(void **state)
{
    (void)state;
    for (int is_memory = 0; is_memory < 2; is_memory++) {
        struct test_job j = test_job_of(NULL);
        j.job.push = push_doomed;
        j.arg = is_memory;
        assert_int_equal(task_run(vm, &j.job), TASK_DONE);
        j.text[strcspn(j.text, "\n")] = '\0';
        expect_words(&j, is_memory ? LUA_ERRMEM : LUA_ERRRUN,
            is_memory ? "not enough memory" : "something else");
    }
}

static void more_tasks_than_allowed_are_refused_untouched(void **state)
{
    (void)state;
    struct test_job jobs[65];
    for (int i = 0; i < 64; i++) {
        jobs[i] = test_job_of("return wait(7)");
        assert_int_equal(task_run(vm, &jobs[i].job), TASK_PARKED);
    }
    assert_int_equal(task_count(vm), 64);
    jobs[64] = test_job_of("return 1");
    assert_int_equal(task_run(vm, &jobs[64].job), ERR_QUOTA);
    assert_int_equal(jobs[64].done + jobs[64].finished, 0);
    test_wait_wake(10);
    assert_int_equal(task_run(vm, &jobs[64].job), ERR_QUOTA);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_int_equal(task_run(vm, &jobs[64].job), TASK_DONE);
    while (test_waits.n > 0) {
        test_wait_wake(0);
    }
    while (task_resume(vm) != TASK_IDLE) {
    }
    for (int i = 0; i < 64; i++) {
        assert_int_equal(jobs[i].finished, 1);
        assert_string_equal(jobs[i].text, "7");
    }
    assert_int_equal(task_count(vm), 0);
}

/* What is left of the arena, for good. */
static void take_all_memory(struct vm *v)
{
    for (size_t bytes = 64 * 1024; bytes >= 16; bytes /= 2) {
        while (arena_realloc(vm_arena(v), NULL, 0, bytes) != NULL) {
        }
    }
}

/* An app that dies with thousands who wait keeps nobody waiting. */
static void those_who_wait_can_be_dropped_in_steps(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static struct test_job jobs[MANY];
    struct vm *full = test_vm_new(64 * MIB, MANY, &ready_calls);
    for (int i = 0; i < MANY; i++) {
        jobs[i] = test_job_of("return wait(1)");
        assert_int_equal(task_run(full, &jobs[i].job), TASK_PARKED);
    }
    int steps = 0;
    int finished = 0;
    bool is_more = true;
    while (is_more) {
        int before = finished;
        is_more = vm_drop_some(full);
        finished = 0;
        for (int i = 0; i < MANY; i++) {
            finished += jobs[i].finished;
            assert_int_equal(jobs[i].done, 0);
        }
        assert_in_range(finished - before, 0, 64);
        steps++;
    }
    assert_int_equal(finished, MANY);
    assert_true(steps > 2 * MANY / 65);
    assert_int_equal(task_count(full), 0);
    vm_free(full);
}

static void where_those_who_wait_hold_all_memory_nobody_begins(void **state)
{
    (void)state;
    struct test_job first = test_job_of("return wait(7)");
    struct test_job j = test_job_of("return 'fine'");
    assert_int_equal(task_run(vm, &first.job), TASK_PARKED);
    take_all_memory(vm);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(task_run(vm, &j.job), ERR_NOMEM);
        assert_int_equal(j.done + j.finished, 0);
        assert_int_equal(task_count(vm), 1);
    }
    test_wait_wake(0);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_int_equal(first.finished, 1);
}

static void garbage_keeps_nobody_from_beginning(void **state)
{
    (void)state;
    const char *waiters[] = {
        "collectgarbage('stop') ; ('x'):rep(400000) wait()",
        "collectgarbage('stop') ; ('x'):rep(40000) wait()",
    };
    struct test_job jobs[3];
    for (int i = 0; i < 2; i++) {
        jobs[i] = test_job_of(waiters[i]);
        assert_int_equal(task_run(vm, &jobs[i].job), TASK_PARKED);
        take_all_memory(vm);
    }
    jobs[2] = test_job_of("return 'fine'");
    assert_int_equal(task_run(vm, &jobs[2].job), TASK_DONE);
    assert_string_equal(jobs[2].text, "fine");
}

static void ready_tasks_go_on_in_the_order_of_waking(void **state)
{
    (void)state;
    struct test_job jobs[4];
    expect("order = ''", "");
    static const char *const sources[] = {"wait() order = order .. 0",
        "wait() order = order .. 1", "wait() order = order .. 2",
        "wait() order = order .. 3 wait() order = order .. 'x'"};
    for (int i = 0; i < 4; i++) {
        jobs[i] = test_job_of(sources[i]);
        assert_int_equal(task_run(vm, &jobs[i].job), TASK_PARKED);
    }
    assert_false(task_has_ready(vm));
    assert_int_equal(task_resume(vm), TASK_IDLE);
    test_wait_wake(2); /* 2 */
    assert_int_equal(ready_calls, 1);
    assert_true(task_has_ready(vm));
    test_wait_wake(2); /* 3 */
    test_wait_wake(0); /* 0 */
    assert_int_equal(ready_calls, 1);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_int_equal(task_resume(vm), TASK_PARKED);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_int_equal(task_resume(vm), TASK_IDLE);
    test_wait_wake(1);
    assert_int_equal(ready_calls, 2);
    test_wait_wake(0);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_int_equal(task_resume(vm), TASK_DONE);
    expect("return order", "230x1");
}

/* Every place a script can wait in. With `pause` a plain function the text
 * that comes out is the right one for wait() too. */
static const char everywhere[] =
    "function everywhere(id, pause)\n"
    "  local out = {}\n"
    "  local function add(x) out[#out + 1] = tostring(x) end\n"
    "  local t = {}\n"
    "  for i = 1, 12 do t[i] = (i * 7 + id) % 13 end\n"
    "  table.sort(t, function(a, b) return pause(a < b) end)\n"
    "  add(table.concat(t, ','))\n"
    "  add((('abc'):gsub('.', function(c) return pause(c .. id) end)))\n"
    "  local mt = {}\n"
    "  mt.__index = function(_, k) return pause(k * id) end\n"
    "  mt.__newindex = function(o, k, v) rawset(o, k, pause(v + 1)) end\n"
    "  mt.__lt = function(a, b) return pause(#a < #b) end\n"
    "  mt.__le = function(a, b) return pause(#a <= #b) end\n"
    "  mt.__eq = function(a, b) return pause(true) end\n"
    "  mt.__len = function(o) return pause(rawlen(o) + id) end\n"
    "  mt.__tostring = function() return pause('object ' .. id) end\n"
    "  mt.__call = function(_, x) return pause(x + id) end\n"
    "  mt.__unm = function() return pause(-id) end\n"
    "  mt.__close = function() add(pause('closed')) end\n"
    "  local o, p = setmetatable({}, mt), setmetatable({1, 2}, mt)\n"
    "  add(o[7]) o.x = id add(o.x) add(o < p) add(o <= p) add(o == p)\n"
    "  add(#p) add(o) add(o(5)) add(-o)\n"
    "  do local c <close> = o add(pause('in scope')) end\n"
    "  add(select(2, pcall(function()\n"
    "    local c <close> = o\n"
    "    error('out ' .. pause(id), 0)\n"
    "  end)))\n"
    "  add(select(2, xpcall(function() error(id, 0) end,\n"
    "    function(m) return pause('handled ' .. m) end)))\n"
    "  local deep = coroutine.wrap(function(a)\n"
    "    local inner = coroutine.wrap(function(b)\n"
    "      for i = 1, 3 do b = b + coroutine.yield(pause(b)) end\n"
    "      local co = coroutine.create(function() error(pause({})) end)\n"
    "      add(select('#', coroutine.resume(co)))\n"
    "      return 'end'\n"
    "    end)\n"
    "    local x = inner(a)\n"
    "    while x ~= 'end' do\n"
    "      coroutine.yield(pause(x))\n"
    "      x = inner(2)\n"
    "    end\n"
    "    return x\n"
    "  end)\n"
    "  for i = 1, 4 do add(deep(id)) end\n"
    "  local function up_to(n, i) i = pause(i + 1)\n"
    "    if i <= n then return i end end\n"
    "  for i in up_to, 4, 0 do add(i) end\n"
    "  local parts, at = {'return ', '1+', tostring(id)}, 0\n"
    "  add(load(function() at = at + 1 return pause(parts[at]) end)())\n"
    "  if id % 5 == 0 then collectgarbage() end\n"
    "  local weak = setmetatable({}, {__mode = 'k'})\n"
    "  weak[{}] = pause(1)\n"
    "  add(pause(('x'):rep(id)))\n"
    "  return table.concat(out, ';')\n"
    "end\n"
    "function expected(id)\n"
    "  return everywhere(id, function(...) return ... end)\n"
    "end\n"
    "function waiting(id) return everywhere(id, wait) end\n";

enum { MANY = 40 };

static uint64_t seed = 1;

static uint32_t random_u32(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static struct test_job call_of(const char *function, lua_Integer arg)
{
    struct test_job j = test_job_of(NULL);
    j.function = function;
    j.arg = arg;
    return j;
}

/* Wakes and resumes in random order until no task is under way. */
static void run_all_in_random_order(void)
{
    while (task_count(vm) > 0) {
        uint32_t n = random_u32() % 4;
        for (uint32_t i = 0; i < n && test_waits.n > 0; i++) {
            test_wait_wake(random_u32() % test_waits.n);
        }
        if (random_u32() % 64 == 0) {
            expect("collectgarbage() return 'collected'", "collected");
        } else if (random_u32() % 8 == 0) {
            expect("collectgarbage('step', 1) return 1", "1");
        }
        for (n = random_u32() % 4; n > 0; n--) {
            assert_true(task_resume(vm) >= 0);
        }
    }
}

static void forty_tasks_wait_everywhere_and_all_come_out_right(void **state)
{
    (void)state;
    expect(everywhere, "");
    struct test_job *want = calloc(MANY, sizeof(*want));
    struct test_job *jobs = calloc(MANY, sizeof(*jobs));
    for (int i = 0; i < MANY; i++) {
        want[i] = call_of("expected", i + 1);
        assert_int_equal(task_run(vm, &want[i].job), TASK_DONE);
        assert_int_equal(want[i].status, LUA_OK);
    }
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < MANY; i++) {
            jobs[i] = call_of("waiting", i + 1);
            assert_int_equal(task_run(vm, &jobs[i].job), TASK_PARKED);
        }
        run_all_in_random_order();
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(jobs[i].finished, 1);
            assert_string_equal(jobs[i].text, want[i].text);
        }
    }
    assert_in_range(test_waits.parked, 10000, 1000000);
    free(jobs);
    free(want);
}

static void a_vm_can_be_dropped_while_tasks_wait_everywhere(void **state)
{
    (void)state;
    expect(everywhere, "");
    struct test_job *jobs = calloc(MANY, sizeof(*jobs));
    for (int i = 0; i < MANY; i++) {
        jobs[i] = call_of("waiting", i + 1);
        assert_int_equal(task_run(vm, &jobs[i].job), TASK_PARKED);
    }
    for (int i = 0; i < 2000 && test_waits.n > 0; i++) {
        test_wait_wake(random_u32() % test_waits.n);
        assert_true(task_resume(vm) >= 0);
    }
    /* Some are ready as well: those have no wait to cancel. */
    for (int i = 0; i < 5; i++) {
        test_wait_wake(random_u32() % test_waits.n);
    }
    size_t waiting = test_waits.n;
    assert_int_equal(waiting + 5, task_count(vm));
    uint32_t ended = MANY - task_count(vm);
    vm_free(vm);
    assert_int_equal(test_waits.cancelled, waiting);
    assert_int_equal(test_waits.n, 0);
    uint32_t done = 0;
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(jobs[i].finished, 1);
        done += (uint32_t)jobs[i].done;
    }
    assert_int_equal(done, ended);
    free(jobs);
    vm = NULL;
}

static int wake_first(lua_State *L)
{
    (void)L;
    test_wait_wake(0);
    return 0;
}

static int add_wake(struct job *j, lua_State *T)
{
    (void)j;
    lua_register(T, "wake_first", wake_first);
    return -1;
}

static void a_task_can_be_woken_by_another_one(void **state)
{
    (void)state;
    struct test_job add = test_job_of(NULL);
    add.job.push = add_wake;
    assert_int_equal(task_run(vm, &add.job), TASK_DONE);
    struct test_job sleeper = test_job_of("return wait('woken')");
    assert_int_equal(task_run(vm, &sleeper.job), TASK_PARKED);
    expect("wake_first() return 'went on'", "went on");
    assert_int_equal(sleeper.finished, 0);
    assert_int_equal(ready_calls, 1);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_string_equal(sleeper.text, "woken");
}

static int forbid(lua_State *L)
{
    task_forbid(L, lua_tostring(L, lua_upvalueindex(1)));
    return 0;
}

static int allow(lua_State *L)
{
    task_allow(L);
    return 0;
}

static int add_forbid(struct job *j, lua_State *T)
{
    (void)j;
    lua_pushliteral(T, "the test");
    lua_pushcclosure(T, forbid, 1);
    lua_setglobal(T, "forbid");
    lua_register(T, "allow", allow);
    return -1;
}

static void waiting_can_be_forbidden(void **state)
{
    (void)state;
    struct test_job add = test_job_of(NULL);
    add.job.push = add_forbid;
    assert_int_equal(task_run(vm, &add.job), TASK_DONE);
    test_waits.is_refusing = true;
    expect_error("forbid() wait()", "cannot wait inside the test");
    expect_error("forbid() forbid() allow() coroutine.wrap(wait)()",
        "cannot wait inside the test");
    test_waits.is_refusing = false;
    /* The count was that job's own. */
    struct test_job j = test_job_of("forbid() allow() return wait('ok')");
    assert_int_equal(task_run(vm, &j.job), TASK_PARKED);
    test_wait_wake(0);
    assert_int_equal(task_resume(vm), TASK_DONE);
    assert_string_equal(j.text, "ok");
}

static int push_waiting(struct job *j, lua_State *T)
{
    (void)j;
    lua_settop(T, 1);
    return test_wait(T);
}

static void done_waiting(struct job *j, lua_State *T, int status, int n)
{
    test_job_done(j, T, status, n);
    (void)test_wait(T);
}

static void push_and_done_must_not_wait(void **state)
{
    (void)state;
    test_waits.is_refusing = true;
    struct test_job j = test_job_of(NULL);
    j.job.push = push_waiting;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_int_equal(j.status, LUA_ERRRUN);
    assert_non_null(strstr(j.text, "cannot wait here"));
    j = test_job_of("return 1");
    j.job.done = done_waiting;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_int_equal(j.finished, 1);
}

static int vm_is_the_same(lua_State *L)
{
    lua_pushboolean(L, vm_from(L) == vm);
    return 1;
}

static int push_vm_is_the_same(struct job *j, lua_State *T)
{
    (void)j;
    lua_register(T, "vm_is_the_same", vm_is_the_same);
    return -1;
}

static void every_thread_leads_to_its_vm(void **state)
{
    (void)state;
    struct test_job add = test_job_of(NULL);
    add.job.push = push_vm_is_the_same;
    assert_int_equal(task_run(vm, &add.job), TASK_DONE);
    expect("return tostring(vm_is_the_same())", "true");
    expect("return coroutine.wrap(function()\n"
           "  return tostring(vm_is_the_same()) end)()",
        "true");
    assert_ptr_equal(vm_from(vm_state(vm)), vm);
}

static void a_task_is_no_coroutine_that_could_yield(void **state)
{
    (void)state;
    expect("return tostring(coroutine.isyieldable())", "false");
    expect_error("coroutine.yield(1)", "attempt to yield");
}

static void runaway_recursion_ends_in_an_error(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "local function f(s) return (s:gsub('.', f)) end f('x')",
        "local function f() local ok, e = pcall(f) error(e, 0) end f()",
        "local function f(a) table.sort({3, 2, 1}, f) return true end f()",
        "local t = {} setmetatable(t, {__index = function(_, k)\n"
        "  return t[k + 1] end}) return t[1]",
        "local t = setmetatable({}, {__tostring = tostring})\n"
        "return tostring(t)",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() return 1 + f() end f()",
        "return load(('('):rep(1000))",
        "local s = ('x'):rep(10)\n"
        "local function f() return string.format('%s %s', s, (s:gsub('(.)',\n"
        "  f))) end f()",
        "local function f() error(xpcall(f, debug.traceback)) end f()",
    };
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct test_job j = run(sources[i]);
        if (j.status == LUA_OK) {
            assert_true(j.n <= 2 && i == 7);
        } else {
            assert_true(j.status == LUA_ERRRUN || j.status == LUA_ERRERR ||
                        j.status == LUA_ERRMEM);
            assert_true(strlen(j.text) > 0);
        }
        expect("return 'fine'", "fine");
    }
}

/* Fails the n-th allocation, for every n, in everything a job does. */
static void every_allocation_of_a_job_may_fail(void **state)
{
    (void)state;
    expect(everywhere, "");
    expect("local ok, e = pcall(expected, 3)\n"
           "collectgarbage('generational') collectgarbage('incremental')",
        "");
    bool was_clean = false;
    int failures = 0;
    for (uint64_t n = 1; !was_clean; n++) {
        struct test_job j = test_job_of(
            "local t = {} for i = 1, 20 do t[i] = {('x'):rep(i)} end\n"
            "local co = coroutine.wrap(function(...) return wait(...) end)\n"
            "local s = ('abc'):gsub('.', function(c) return co and c:upper()\n"
            "  end)\n"
            "if #t == 20 then error('at the end ' .. s) end");
        mem_fail_at(n);
        int rc = task_run(vm, &j.job);
        was_clean = mem_quota_calls() != 0 && rc == TASK_DONE &&
                    j.status == LUA_ERRRUN &&
                    strstr(j.text, "stack traceback") != NULL;
        mem_fail_at(0);
        if (rc == ERR_NOMEM) {
            assert_int_equal(j.done + j.finished, 0);
            continue;
        }
        assert_int_equal(rc, TASK_DONE);
        assert_int_equal(j.done, 1);
        assert_int_equal(j.finished, 1);
        assert_true(j.status == LUA_ERRMEM || j.status == LUA_ERRRUN);
        assert_true(j.n == 1 && strlen(j.text) > 0);
        failures += j.status == LUA_ERRMEM;
        expect("return 'fine'", "fine");
        assert_true(n < 2000);
    }
    assert_true(failures > 20);
    expect("return expected(4) == expected(4) and 'same'", "same");
}

/* The first job of a vm makes its thread; that may fail as well. */
static void every_allocation_of_a_new_vm_may_fail(void **state)
{
    (void)state;
    bool was_made = false;
    for (uint64_t n = 1; !was_made; n++) {
        struct vm_config config = {.memory_bytes = MIB, .max_tasks = 4};
        mem_fail_at(n);
        struct vm *other = vm_new(&config);
        if (other != NULL) {
            struct test_job j = test_job_of("return 5");
            int rc = task_run(other, &j.job);
            was_made = rc == TASK_DONE && j.status == LUA_OK;
            mem_fail_at(0);
            assert_true(rc == TASK_DONE || rc == ERR_NOMEM);
            assert_int_equal(j.done, rc == TASK_DONE);
            /* A refusal holds for one more try (arena.c). */
            j = test_job_of("return 6");
            if (task_run(other, &j.job) != TASK_DONE) {
                assert_int_equal(task_run(other, &j.job), TASK_DONE);
            }
            assert_string_equal(j.text, "6");
            vm_free(other);
        }
        mem_fail_at(0);
        assert_true(n < 1000);
    }
}

static void finished_frees_vm(struct job *j)
{
    test_job_finished(j);
    vm_free(vm);
    vm = NULL;
}

static void the_last_job_may_free_its_vm(void **state)
{
    (void)state;
    struct test_job parked = test_job_of("wait()");
    assert_int_equal(task_run(vm, &parked.job), TASK_PARKED);
    struct test_job j = test_job_of("return 1");
    j.job.finished = finished_frees_vm;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_int_equal(j.finished, 1);
    assert_int_equal(parked.finished, 1);
    assert_int_equal(parked.done, 0);
    assert_int_equal(test_waits.cancelled, 1);
}

static struct test_job next_job;

static void finished_starts_next(struct job *j)
{
    test_job_finished(j);
    assert_int_equal(task_run(vm, &next_job.job), TASK_DONE);
}

static void a_job_may_start_the_next_one_when_it_is_finished(void **state)
{
    (void)state;
    next_job = test_job_of("return 'next'");
    struct test_job j = test_job_of("return 1");
    j.job.finished = finished_starts_next;
    assert_int_equal(task_run(vm, &j.job), TASK_DONE);
    assert_string_equal(next_job.text, "next");
}

static void a_burst_of_tasks_leaves_little_behind(void **state)
{
    (void)state;
    vm_free(vm);
    vm = test_vm_new(64 * MIB, 1001, NULL);
    expect("collectgarbage() collectgarbage()", "");
    size_t before = arena_live(vm_arena(vm));
    struct test_job *jobs = calloc(1000, sizeof(*jobs));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            jobs[i] = test_job_of("return wait(1)");
            assert_int_equal(task_run(vm, &jobs[i].job), TASK_PARKED);
        }
        run_all_in_random_order();
        expect("collectgarbage() collectgarbage()", "");
        /* A thread of 1 KiB for each would be 1 MiB; what is left is the
         * registry, which does not shrink before it next grows. */
        assert_in_range(
            arena_live(vm_arena(vm)), before - 1024, before + 40 * 1024);
    }
    free(jobs);
}

/* Parks jobs in `v` for as long as it may have stacks; -> how many. */
static int park_share(
    struct vm *v, struct test_job *jobs, int most, bool is_awaited)
{
    int n = 0;
    while (n < most && task_has_stack(v, is_awaited)) {
        jobs[n] = test_job_of("return wait(7)");
        assert_int_equal(task_run(v, &jobs[n].job), TASK_PARKED);
        n++;
    }
    return n;
}

static void wake_and_finish_all(struct vm *v)
{
    while (test_waits.n > 0) {
        test_wait_wake(0);
    }
    while (task_resume(v) != TASK_IDLE) {
    }
}

static void those_who_sleep_leave_stacks_for_others(void **state)
{
    (void)state;
    enum { HOSTILE = 10, MOST = 600 };
    struct vm *hostile[HOSTILE];
    struct test_job *jobs = calloc((HOSTILE + 1) * MOST, sizeof(*jobs));
    int taken[HOSTILE];
    reaper_finish();
    mapping_pretend(MOST * 8 / 3, false);
    int half = (int)mapping_stacks_most() / 2;
    for (int i = 0; i < HOSTILE; i++) {
        hostile[i] = test_vm_new(16 * MIB, 5000, NULL);
        assert_non_null(hostile[i]);
        taken[i] = park_share(hostile[i], &jobs[i * MOST], MOST, true);
    }
    /* One of them has half, the next ones what many may have. */
    assert_in_range(taken[0], half - 5, half);
    assert_int_equal(taken[1], LIMIT_SCARCE_TASKS);
    assert_int_equal(taken[HOSTILE - 1], LIMIT_LAST_TASKS);
    assert_false(task_has_stack(hostile[0], true));
    struct test_job *mine = &jobs[HOSTILE * MOST];
    int n = park_share(vm, mine, MOST, false);
    assert_int_equal(n, LIMIT_LAST_TASKS - 1);
    assert_int_equal(park_share(vm, mine + n, MOST, true), 1);
    /* What it gets back of more than its share is for others. */
    test_wait_wake(0);
    assert_int_equal(task_resume(hostile[0]), TASK_DONE);
    assert_false(task_has_stack(hostile[0], true));
    for (int i = 0; i < HOSTILE; i++) {
        vm_free(hostile[i]);
    }
    assert_true(task_has_stack(vm, false));
    wake_and_finish_all(vm);
    mapping_pretend(0, true);
    free(jobs);
}

static void at_the_bound_who_rests_goes_without(void **state)
{
    (void)state;
    struct test_job jobs[64];
    struct vm *other = test_vm_new(MIB, 8, NULL); /* rests since then */
    reaper_finish();
    fiber_pool_fini();
    mapping_pretend(56, false); /* 21, and 2 of them arenas */
    int n = 0;
    for (;;) {
        jobs[n] = test_job_of("return wait(7)");
        if (task_run(vm, &jobs[n].job) != TASK_PARKED) {
            break;
        }
        n++;
    }
    assert_int_equal(n, 19);
    assert_int_equal(jobs[n].done + jobs[n].finished, 0);
    assert_false(task_has_stack(vm, true));
    assert_false(task_has_stack(other, true));
    struct test_job j = test_job_of("return 5");
    assert_int_equal(task_run(other, &j.job), ERR_QUOTA);
    assert_int_equal(j.done + j.finished, 0);
    wake_and_finish_all(vm);
    assert_int_equal(task_run(other, &j.job), TASK_DONE);
    assert_string_equal(j.text, "5");
    vm_free(other);
    mapping_pretend(0, true);
}

static void many_vms_share_few_stacks(void **state)
{
    (void)state;
    enum { VMS = 200 };
    struct vm *vms[VMS];
    for (int i = 0; i < VMS; i++) {
        vms[i] = test_vm_new(MIB, 8, NULL);
        assert_non_null(vms[i]);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < VMS; i++) {
            struct test_job j = test_job_of("n = (n or 0) + 1 return n");
            assert_int_equal(task_run(vms[i], &j.job), TASK_DONE);
            assert_int_equal(j.text[0], '1' + round);
        }
    }
    for (int i = 0; i < VMS; i++) {
        vm_free(vms[i]);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_job_gets_all_results_of_its_call),
        TEST(a_job_may_find_nothing_to_call),
        TEST(a_job_needs_neither_done_nor_finished),
        TEST(errors_come_as_text_with_a_traceback),
        TEST(an_error_object_is_never_asked_for_its_text),
        TEST(an_error_in_push_is_reported_and_the_task_goes_on),
        TEST(an_error_in_done_is_not_reported_twice),
#if WHERE_IS_NOTED
        TEST(a_memory_error_says_where_it_was),
        TEST(however_deep_it_was_it_is_told_in_short),
        TEST(only_its_own_memory_errors_place_is_told),
#endif
        TEST(what_is_told_agrees_with_the_status),
        TEST(more_tasks_than_allowed_are_refused_untouched),
        TEST(those_who_wait_can_be_dropped_in_steps),
        TEST(where_those_who_wait_hold_all_memory_nobody_begins),
        TEST(garbage_keeps_nobody_from_beginning),
        TEST(ready_tasks_go_on_in_the_order_of_waking),
        TEST(forty_tasks_wait_everywhere_and_all_come_out_right),
        TEST(a_vm_can_be_dropped_while_tasks_wait_everywhere),
        TEST(a_task_can_be_woken_by_another_one),
        TEST(waiting_can_be_forbidden),
        TEST(push_and_done_must_not_wait),
        TEST(every_thread_leads_to_its_vm),
        TEST(a_task_is_no_coroutine_that_could_yield),
        TEST(runaway_recursion_ends_in_an_error),
        TEST(every_allocation_of_a_job_may_fail),
        TEST(every_allocation_of_a_new_vm_may_fail),
        TEST(the_last_job_may_free_its_vm),
        TEST(a_job_may_start_the_next_one_when_it_is_finished),
        TEST(a_burst_of_tasks_leaves_little_behind),
        TEST(those_who_sleep_leave_stacks_for_others),
        TEST(at_the_bound_who_rests_goes_without),
        TEST(many_vms_share_few_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
