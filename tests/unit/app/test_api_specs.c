/* test_api_specs.c -- runs tests/lua/app/NAME_spec.lua, each as part of a real
 * app with a loop, a net and peers, and each a test of its own here. */
#include "stage.h"
#include "support/specs.h"
#include "support/unsafe_calls.h"

#define FILE_BYTES ((size_t)256 * 1024)

static const char main_lua[] =
    "peers = {}\n"
    "local spec = require 'spec'\n"
    "spec.defer()\n"
    "require 'play'\n"
    "require 'the_spec'\n"
    "function on_start()\n"
    "  spec.run()\n"
    "  local count, failed = spec.finish()\n"
    "  log.error(count .. ' tests, ' .. failed .. ' failed')\n"
    "end\n";

static struct stage *stage; /* of the spec that runs */

/* ---- what the specs see as `peers`: nothing of it turns the loop. Peers are
 * not the app's, so sections are needed as in the bindings themselves. ---- */

static struct peer *check_peer(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(
        L, n >= 1 && n <= (lua_Integer)stage->peer_count, 1, "no such peer");
    return stage->peers[n - 1];
}

static int peers_open(lua_State *L)
{
    const char *target = luaL_checkstring(L, 1);
    const char *extra = luaL_checkstring(L, 2);
    preempt_hold();
    peer_ask(stage, target, extra)->separator = '\0';
    lua_Integer n = (lua_Integer)stage->peer_count;
    preempt_release();
    lua_pushinteger(L, n);
    return 1;
}

static int peers_status(lua_State *L)
{
    lua_pushinteger(L, check_peer(L)->status);
    return 1;
}

static int peers_head(lua_State *L)
{
    lua_pushstring(L, check_peer(L)->head);
    return 1;
}

static int peers_body(lua_State *L)
{
    const struct peer *p = check_peer(L);
    lua_pushlstring(L, (const char *)p->got, p->got_len);
    return 1;
}

static int peers_code(lua_State *L)
{
    const struct peer *p = check_peer(L);
    lua_pushinteger(L, p->code);
    lua_pushstring(L, p->reason);
    return 2;
}

static int peers_words(lua_State *L)
{
    struct peer *p = check_peer(L);
    luaL_Buffer b;
    char *words = luaL_buffinitsize(L, &b, WORDS_BYTES);
    preempt_hold();
    size_t n = p->words_len;
    memcpy(words, p->words, n);
    p->words_len = 0;
    preempt_release();
    luaL_pushresultsize(&b, n);
    return 1;
}

static int peers_send(lua_State *L)
{
    size_t len;
    const char *data = luaL_checklstring(L, 3, &len);
    struct peer *p = check_peer(L);
    unsigned op = (unsigned)luaL_checkinteger(L, 2);
    preempt_hold();
    peer_send(p, op, data, len);
    preempt_release();
    return 0;
}

static int peers_cut(lua_State *L)
{
    struct peer *p = check_peer(L);
    preempt_hold();
    peer_cut(p);
    preempt_release();
    return 0;
}

static int give_peers(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open", peers_open},
        {"status", peers_status},
        {"head", peers_head},
        {"body", peers_body},
        {"code", peers_code},
        {"words", peers_words},
        {"send", peers_send},
        {"cut", peers_cut},
        {NULL, NULL},
    };
    lua_getglobal(L, "peers");
    for (const luaL_Reg *f = functions; f->name != NULL; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    lua_pushboolean(L, stage->far_loop != NULL);
    lua_setfield(L, -2, "are_far");
    return 0;
}

/* ---- the run ---- */

static void copy_file(struct stage *st, const char *from, const char *to)
{
    char path[1024];
    snprintf(path, sizeof(path), TESTS_DIR "/%s", from);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = malloc(FILE_BYTES);
    size_t n = fread(text, 1, FILE_BYTES, f);
    fclose(f);
    assert_true(n < FILE_BYTES);
    stage_write_bytes(st, to, text, n);
    free(text);
}

static void write_files(struct stage *st, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "lua/app/%s", name);
    copy_file(st, path, "the_spec.lua");
    copy_file(st, "lua/app/play.lua", "play.lua");
    copy_file(st, "../lua/spec.lua", "spec.lua");
    copy_file(st, "../lua/api.lua", "api.lua");
    stage_write(st, "app.conf.lua",
        "return { env = { GREETING = 'hello', NUMBER = 42 } }");
    stage_write(st, "lib/values.lua",
        "times = (times or 0) + 1\n"
        "return { name = ..., times = rawget(_G, 'times') }");
    stage_write(st, "lib/package/init.lua", "return { is = 'init.lua' }");
    stage_write(st, "lib/nothing.lua", "local _ = 1");
    stage_write(st, "lib/syntax.lua", "return 1\nreturn 2");
    stage_write(st, "lib/raises.lua", "error('on purpose')");
    stage_write(st, "lib/circle.lua", "return require 'lib.square'");
    stage_write(st, "lib/square.lua", "return require 'lib.circle'");
    stage_write(st, "lib/waits.lua", "sleep(0)");
}

static void show_failures(const char *log)
{
    for (const char *p = log; (p = strstr(p, "not ok ")) != NULL; p++) {
        print_message("%.*s\n", (int)strcspn(p, "\n"), p);
    }
    print_message("%s", log);
}

static void every_event_is_a_handler(struct stage *st)
{
    const char *at = stage_log(st);
    for (enum handler h = 0; h < HANDLER_COUNT; h++) {
        char line[64];
        snprintf(line, sizeof(line), "# event %s\n", handler_name(h));
        at = strstr(st->log, line);
        assert_non_null(at);
    }
    assert_int_equal(stage_logged(st, "# event "), HANDLER_COUNT);
}

static void give_peers_to(struct stage *st)
{
    struct service v;
    int rc = service_begin(
        &v, st->app->live, give_peers, NULL, st->why, sizeof(st->why));
    while (rc == SERVICE_STOPPED) {
        rc = service_go_on(&v);
    }
    assert_int_equal(rc, 0);
}

static void spec_passes(void **state)
{
    struct stage st;
    const char *name = *state;
    stage = &st;
    stage_init(&st);
    write_files(&st, name);
    st.on_opened = give_peers_to;
    stage_open(&st, main_lua);
    uint64_t end = loop_clock_ns() + UINT64_C(60000000000);
    while (stage_logged(&st, " tests, ") == 0 && loop_clock_ns() < end) {
        stage_pass(&st, 20);
    }
    if (stage_logged(&st, "not ok ") != 0 ||
        stage_logged(&st, " tests, 0 failed") != 1) {
        show_failures(stage_log(&st));
        fail();
    }
    assert_int_equal(stage_logged(&st, " 0 tests, "), 0);
    if (strcmp(name, "reference_spec.lua") == 0) {
        every_event_is_a_handler(&st);
    }
    stage_fini(&st);
}

int main(void)
{
    return specs_run("api_specs", TESTS_DIR "/lua/app", spec_passes);
}
