/* test_lua_specs.c -- runs tests/lua/NAME_spec.lua, each in a fresh sandbox, each a
 * test of its own here. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "support/lua_state.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define SPECS_MAX 64

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t cap = (size_t)1024 * 1024;
    char *text = malloc(cap);
    assert_non_null(text);
    *len = fread(text, 1, cap, f);
    assert_true(*len < cap);
    fclose(f);
    return text;
}

static int print(lua_State *L)
{
    print_message("%s\n", luaL_checkstring(L, 1));
    return 0;
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

/* Calls the function below its `n` arguments; one result. */
static void call(lua_State *L, int n, int results)
{
    int function = lua_gettop(L) - n;
    lua_pushcfunction(L, traceback);
    lua_insert(L, function);
    if (lua_pcall(L, n, results, function) != LUA_OK) {
        fail_msg("%s", lua_tostring(L, -1));
    }
    lua_remove(L, function);
}

static void load_file(lua_State *L, const char *path, const char *name)
{
    size_t len;
    char *text = read_file(path, &len);
    if (sandbox_load(L, text, len, name) != LUA_OK) {
        fail_msg("%s", lua_tostring(L, -1));
    }
    free(text);
}

static void spec_passes(void **state)
{
    const char *name = *state;
    char path[1024];
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");

    load_file(L, TESTS_DIR "/../lua/spec.lua", "spec.lua");
    call(L, 0, 1);
    snprintf(path, sizeof(path), TESTS_DIR "/lua/%s", name);
    load_file(L, path, name);
    lua_pushvalue(L, -2);
    call(L, 1, 0);

    lua_getfield(L, -1, "finish");
    call(L, 0, 2);
    assert_true(lua_tointeger(L, -2) > 0);
    assert_int_equal(lua_tointeger(L, -1), 0);
    lua_close(L);
    assert_int_equal(heap.live, 0);
}

static int by_name(const void *a, const void *b)
{
    const struct CMUnitTest *x = a;
    const struct CMUnitTest *y = b;
    return strcmp(x->name, y->name);
}

int main(void)
{
    struct CMUnitTest tests[SPECS_MAX];
    size_t n = 0;
    DIR *dir = opendir(TESTS_DIR "/lua");
    if (dir == NULL) {
        perror(TESTS_DIR "/lua");
        return 1;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL && n < SPECS_MAX;) {
        size_t len = strlen(e->d_name);
        if (len > 9 && strcmp(e->d_name + len - 9, "_spec.lua") == 0) {
            char *name = strdup(e->d_name);
            tests[n++] =
                (struct CMUnitTest){name, spec_passes, NULL, NULL, name};
        }
    }
    closedir(dir);
    if (n == 0) {
        fprintf(stderr, "no specs in " TESTS_DIR "/lua\n");
        return 1;
    }
    qsort(tests, n, sizeof(tests[0]), by_name);
    int failed = _cmocka_run_group_tests("lua_specs", tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        free(tests[i].initial_state);
    }
    return failed;
}
