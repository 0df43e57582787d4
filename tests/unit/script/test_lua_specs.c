/* test_lua_specs.c -- runs tests/lua/NAME_spec.lua: each in a fresh sandbox, on
 * a fiber as an app's code runs, and each a test of its own here. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "script/fiber.h"
#include "script/json.h"
#include "script/sandbox.h"
#include "script/task.h"
#include "support/specs.h"
#include <lauxlib.h>

#define MEMORY_BYTES ((size_t)64 * 1024 * 1024)
#define FILE_BYTES   ((size_t)256 * 1024)

struct spec {
    struct job job;
    const char *name;
    lua_Integer count;
    lua_Integer failed;
    char error[2048];
};

static int print(lua_State *L)
{
    print_message("%s\n", luaL_checkstring(L, 1));
    return 0;
}

/* Pushes the chunk of a file below tests/. */
static void load_file(lua_State *L, const char *dir, const char *name)
{
    char path[1024];
    snprintf(path, sizeof(path), TESTS_DIR "/%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        luaL_error(L, "%s cannot be opened", path);
    }
    char *text = lua_newuserdatauv(L, FILE_BYTES, 0);
    size_t len = fread(text, 1, FILE_BYTES, f);
    fclose(f);
    if (len == FILE_BYTES) {
        luaL_error(L, "%s is too long", path);
    }
    if (sandbox_load(L, text, len, name) != LUA_OK) {
        lua_error(L);
    }
    lua_remove(L, -2);
}

/* The name of a spec -> how many tests ran, and how many failed. */
static int run_spec(lua_State *L)
{
    lua_pushcfunction(L, sandbox_open);
    lua_call(L, 0, 0);
    json_open(L);
    lua_setglobal(L, "json");
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");

    load_file(L, "../lua", "spec.lua");
    lua_call(L, 0, 1);
    int runner = lua_gettop(L);
    load_file(L, "lua", luaL_checkstring(L, 1));
    lua_pushvalue(L, runner);
    lua_call(L, 1, 0);
    lua_getfield(L, runner, "finish");
    lua_call(L, 0, 2);
    return 2;
}

static int push_spec(struct job *j, lua_State *T)
{
    lua_pushcfunction(T, run_spec);
    lua_pushstring(T, container_of(j, struct spec, job)->name);
    return 1;
}

/* On the fiber, so nothing is asserted here. */
static void note_result(struct job *j, lua_State *T, int status, int n)
{
    struct spec *s = container_of(j, struct spec, job);
    if (status == LUA_OK && n == 2) {
        s->count = lua_tointeger(T, -2);
        s->failed = lua_tointeger(T, -1);
    } else {
        snprintf(s->error, sizeof(s->error), "%s", lua_tostring(T, -1));
    }
}

static void spec_passes(void **state)
{
    struct spec s = {.name = *state,
        .job = {
            .push = push_spec, .done = note_result, .results = LUA_MULTRET}};
    struct vm_config config = {.memory_bytes = MEMORY_BYTES, .max_tasks = 4};
    struct vm *vm = vm_new(&config);
    assert_non_null(vm);
    assert_int_equal(task_run(vm, &s.job), TASK_DONE);
    vm_free(vm);
    fiber_pool_fini();
    assert_string_equal(s.error, "");
    assert_true(s.count > 0);
    assert_int_equal(s.failed, 0);
}

int main(void)
{
    return specs_run("lua_specs", TESTS_DIR "/lua", spec_passes);
}
