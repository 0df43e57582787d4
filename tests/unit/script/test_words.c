/* test_words.c -- which names a source contains: too many are fine, one too
 * few would be a global that is missing. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "script/words.h"
#include "support/lua_state.h"
#include <stdio.h>
#include <string.h>

static struct words words_of(const char *source)
{
    struct words w = {0};
    words_add(&w, source, strlen(source));
    return w;
}

static void assert_has(const char *source, const char *word)
{
    struct words w = words_of(source);
    assert_true(words_has(&w, word));
}

static void assert_lacks(const char *source, const char *word)
{
    struct words w = words_of(source);
    assert_false(words_has(&w, word));
}

static void a_word_is_found_wherever_a_name_could_stand(void **state)
{
    (void)state;
    assert_has("math", "math");
    assert_has("x=math.pi", "math");
    assert_has("math\n", "math");
    assert_has("f(math)", "math");
    assert_has("-- math --", "math");
    assert_has("'math'", "math");
    assert_has("a..math..b", "math");
    assert_has("1,math", "math");
    assert_has("\xc3\xa4math\xc3\xa4", "math");
    assert_has("::math::", "math");
    assert_has("x1 = _math2", "_math2");
}

static void a_part_of_a_word_is_another_word(void **state)
{
    (void)state;
    assert_lacks("", "math");
    assert_lacks("maths", "math");
    assert_lacks("_math", "math");
    assert_lacks("mat h", "math");
    assert_lacks("Math", "math");
    assert_lacks("math2", "math");
}

static void several_sources_make_one_set(void **state)
{
    (void)state;
    struct words w = words_of("local a = math");
    words_add(&w, "table", 5);
    assert_true(words_has(&w, "math"));
    assert_true(words_has(&w, "table"));
    /* A word does not go on in the next file. */
    w = words_of("ma");
    words_add(&w, "th", 2);
    assert_false(words_has(&w, "math"));
}

static void who_can_make_up_names_has_them_all(void **state)
{
    (void)state;
    assert_has("_G[x]", "utf8");
    assert_has("local _ENV = {}", "utf8");
    assert_has("load(x)", "utf8");
    assert_lacks("download(x) upload(y)", "utf8");
    assert_lacks("_GO _ENVY", "utf8");
    assert_true(words_has(NULL, "utf8"));
}

static lua_State *sandbox_for(struct heap *heap, struct words *w)
{
    lua_State *L = lua_bare(heap);
    lua_pushcfunction(L, sandbox_open);
    lua_pushlightuserdata(L, w);
    assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
    return L;
}

static const char *run(lua_State *L, const char *source)
{
    if (sandbox_load(L, source, strlen(source), "main.lua") == LUA_OK) {
        lua_pcall(L, 0, 1, 0);
    }
    return lua_tostring(L, -1);
}

/* Each global of the whole sandbox, in a sandbox for a script that names it
 * and nothing else. */
static void a_global_that_is_named_is_there(void **state)
{
    (void)state;
    struct heap heap;
    struct heap small_heap;
    lua_State *L = lua_bare(&heap);
    int count = 0;
    lua_pushcfunction(L, sandbox_open);
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        char source[64];
        const char *name = lua_tostring(L, -2);
        snprintf(source, sizeof(source), "return %s", name);
        struct words w = words_of(source);
        lua_State *S = sandbox_for(&small_heap, &w);
        run(S, source);
        assert_int_equal(lua_type(S, -1), lua_type(L, -1));
        lua_Integer fields = 0;
        lua_Integer small_fields = 0;
        if (lua_istable(L, -1)) {
            for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
                fields++;
            }
            for (lua_pushnil(S); lua_next(S, -2) != 0; lua_pop(S, 1)) {
                small_fields++;
            }
        }
        assert_int_equal(small_fields, fields);
        lua_close(S);
        count++;
    }
    assert_true(count > 30);
    lua_close(L);
}

static void a_global_that_nobody_names_takes_no_memory(void **state)
{
    (void)state;
    struct heap heap;
    struct words w = words_of("function on_message(client, text) end");
    lua_State *L = sandbox_for(&heap, &w);
    lua_gc(L, LUA_GCCOLLECT);
    print_message("sandbox: %zu bytes\n", heap.live);
    assert_true(heap.live < 9 * 1024);
    lua_pushglobaltable(L);
    lua_pushnil(L);
    assert_int_equal(lua_next(L, -2), 0);
    lua_close(L);
}

static void strings_have_what_needs_no_name(void **state)
{
    (void)state;
    struct heap heap;
    const char *source =
        "local a = ('x'):rep(3) .. #('%d'):format(7) .. ('5' + 1)\n"
        "return a .. (('%s'):gsub('%W', '-'))";
    struct words w = words_of(source);
    lua_State *L = sandbox_for(&heap, &w);
    assert_string_equal(run(L, source), "xxx16-s");
    assert_string_equal(run(L, "return ('x'):dump()"),
        "main.lua:1: string.dump is not available to apps");
    assert_string_equal(run(L, "return ('x'):rep({})"),
        "main.lua:1: bad argument #1 to 'rep' (number expected, got table)");
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_is_found_wherever_a_name_could_stand),
        cmocka_unit_test(a_part_of_a_word_is_another_word),
        cmocka_unit_test(several_sources_make_one_set),
        cmocka_unit_test(who_can_make_up_names_has_them_all),
        cmocka_unit_test(a_global_that_is_named_is_there),
        cmocka_unit_test(a_global_that_nobody_names_takes_no_memory),
        cmocka_unit_test(strings_have_what_needs_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
