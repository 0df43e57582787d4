/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "app/ceilings.h"
#include "app/manifest.h"
#include "base/limits.h"
#include "base/mem.h"
#include "script/fiber.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char why[512];

static int read_below(const struct ceilings *most, const struct snapshot *snap,
    struct settings *s)
{
    struct manifest_parse p;
    int rc = manifest_begin(&p, snap, ceilings_most(most), s, why, sizeof(why));
    while (rc == MANIFEST_STOPPED) {
        rc = manifest_go_on(&p);
    }
    manifest_end(&p);
    return rc;
}

static int read_settings(const struct snapshot *snap, struct settings *s)
{
    return read_below(NULL, snap, s);
}

static int read_text(const char *text, size_t len, struct settings *s)
{
    struct snapshot_file file = {.name = (char *)(uintptr_t) "app.conf.lua",
        .data = (char *)(uintptr_t)text,
        .len = len};
    struct snapshot snap = {.files = &file, .count = 1, .refs = 1};

    settings_init(s);
    why[0] = '\0';
    return read_settings(&snap, s);
}

/* The settings of a file that is fine. */
static struct settings settings_of(const char *text)
{
    struct settings s;
    int rc = read_text(text, strlen(text), &s);
    assert_string_equal(why, "");
    assert_int_equal(rc, 0);
    return s;
}

/* What is wrong with this file; the settings are as if it were not there. */
static const char *error_of(const char *text)
{
    struct settings s;
    struct settings standard;
    settings_init(&standard);
    assert_true(read_text(text, strlen(text), &s) < 0);
    assert_memory_equal(&s, &standard, sizeof(s));
    return why;
}

/* Of a file that is returned as a table of this one setting. */
static const char *error_with(const char *setting)
{
    char text[512];
    snprintf(text, sizeof(text), "return { %s }", setting);
    return error_of(text);
}

static void without_a_file_the_defaults_hold(void **state)
{
    (void)state;
    struct snapshot snap = {.refs = 1};
    struct settings s;
    settings_init(&s);
    assert_int_equal(read_settings(&snap, &s), 0);
    assert_int_equal(s.conn.message_bytes, LIMIT_DEFAULT_MESSAGE_BYTES);
    assert_int_equal(s.conn.ping_ms, LIMIT_DEFAULT_PING_MS);
    assert_int_equal(s.memory_bytes, LIMIT_DEFAULT_MEMORY_BYTES);
    assert_int_equal(s.clients, LIMIT_DEFAULT_CLIENTS);
    assert_int_equal(s.conn.policy, OUTBOX_CLOSE);
    assert_null(s.origins);
    settings_fini(&s);
}

static void an_empty_table_sets_nothing(void **state)
{
    (void)state;
    struct settings s = settings_of("return {}");
    assert_int_equal(s.conn.message_bytes, LIMIT_DEFAULT_MESSAGE_BYTES);
    settings_fini(&s);
}

static void every_key_sets_what_it_names(void **state)
{
    (void)state;
    struct settings s = settings_of(
        "local kb = 1024\n"
        "return {\n"
        "  message = { max = '2MB', fragments = 9 },\n"
        "  inbox = { events = 100, bytes = '1MB', client = 5 },\n"
        "  outbox = { policy = 'drop_oldest', hard = 512 * kb, soft = 100,\n"
        "    soft_for = '1.5s', total = '3MB' },\n"
        "  limits = { cpu = 0.25, load_cpu = 2, memory = '1MB',\n"
        "    clients = 7, share = 20, rooms = 11, rooms_per_client = 4,\n"
        "    tasks = 17, timers = 2, requests = 3, response = '2KB' },\n"
        "  answer = '3s',\n"
        "  ping = '1m', placement = 'spread', concurrent = true,\n"
        "  origins = { 'https://a.example', '*.b.example' },\n"
        "  env = { NAME = 'value', NUMBER = 42 },\n"
        "}\n");
    assert_int_equal(s.conn.message_bytes, 2 << 20);
    assert_int_equal(s.conn.fragments, 9);
    assert_int_equal(s.inbox.events, 100);
    assert_int_equal(s.inbox.bytes, 1 << 20);
    assert_int_equal(s.inbox.client_events, 5);
    assert_int_equal(s.outbox_bytes, 3 << 20);
    assert_int_equal(s.load_cpu_ms, 2000);
    assert_int_equal(s.rooms, 11);
    assert_int_equal(s.rooms_per_client, 4);
    assert_int_equal(s.tasks, 17);
    assert_int_equal(s.timers, 2);
    assert_int_equal(s.requests, 3);
    assert_int_equal(s.response_bytes, 2048);
    assert_int_equal(s.answer_ms, 3000);
    assert_int_equal(s.conn.policy, OUTBOX_DROP_OLDEST);
    assert_int_equal(s.conn.outbox.hard_bytes, 512 * 1024);
    assert_int_equal(s.conn.outbox.soft_messages, 100);
    assert_int_equal(s.conn.outbox.soft_ms, 1500);
    assert_int_equal(s.cpu_ms, 250);
    assert_int_equal(s.share, 20);
    assert_int_equal(s.memory_bytes, 1 << 20);
    assert_int_equal(s.clients, 7);
    assert_int_equal(s.conn.ping_ms, 60000);
    assert_int_equal(s.placement, PLACEMENT_SPREAD);
    assert_true(s.concurrent);
    assert_string_equal(s.origins[0], "https://a.example");
    assert_string_equal(s.origins[1], "*.b.example");
    assert_null(s.origins[2]);
    assert_int_equal(s.env_count, 2);
    for (size_t i = 0; i < s.env_count; i++) {
        const char *wanted =
            strcmp(s.env[i].name, "NAME") == 0 ? "value" : "42";
        assert_string_equal(s.env[i].value, wanted);
    }
    settings_fini(&s);
}

static void compression_is_a_switch_or_a_table(void **state)
{
    (void)state;
    struct settings s = settings_of("return {}");
    assert_true(s.compress.policy.is_on);
    assert_false(s.compress.policy.server_keeps);
    assert_false(s.compress.policy.client_keeps);
    assert_int_equal(s.compress.policy.server_bits, 15);
    assert_int_equal(
        s.compress.threshold_bytes, LIMIT_DEFAULT_DEFLATE_THRESHOLD_BYTES);
    settings_fini(&s);
    s = settings_of("return { compress = false }");
    assert_false(s.compress.policy.is_on);
    settings_fini(&s);
    s = settings_of("return { compress = { threshold = '2KB', level = 9,\n"
                    "context = 'server', window = '4KB' } }");
    assert_true(s.compress.policy.is_on);
    assert_true(s.compress.policy.server_keeps);
    assert_false(s.compress.policy.client_keeps);
    assert_int_equal(s.compress.policy.server_bits, 12);
    assert_int_equal(s.compress.policy.client_bits, 12);
    assert_int_equal(s.compress.threshold_bytes, 2048);
    assert_int_equal(s.compress.level, 9);
    settings_fini(&s);
    /* No client that is built on zlib could do 8. */
    s = settings_of("return { compress = { window = 256 } }");
    assert_int_equal(s.compress.policy.server_bits, 8);
    assert_int_equal(s.compress.policy.client_bits, 9);
    settings_fini(&s);
}

static void a_wrong_word_on_compression_is_told(void **state)
{
    (void)state;
    assert_string_equal(error_of("return { compress = 6 }"),
        "app.conf.lua:1: compress must be true, false or a table, as in: "
        "{ level = 6 }");
    assert_string_equal(error_of("return { compress = {\n levle = 6 } }"),
        "app.conf.lua:2: unknown setting 'compress.levle'; "
        "did you mean 'compress.level'?");
    assert_string_equal(error_of("return { compress = { level = 0 } }"),
        "app.conf.lua:1: compress.level must be 1 to 9, got 0");
    assert_string_equal(error_of("return { compress = { window = 1000 } }"),
        "app.conf.lua:1: compress.window must be 256B, 512B, 1KB, 2KB, ... "
        "or 32KB");
    assert_string_equal(error_of("return { compress = { context = 'bth' } }"),
        "app.conf.lua:1: compress.context must be one of \"none\", "
        "\"client\", \"server\", \"both\"; did you mean \"both\"?");
}

static void words_that_choose_are_all_known(void **state)
{
    (void)state;
    static const char *const policies[] = {
        "close", "drop_oldest", "drop_newest"};
    static const char *const placements[] = {"auto", "home", "spread"};
    for (int i = 0; i < 3; i++) {
        char text[128];
        snprintf(text, sizeof(text),
            "return { outbox = { policy = '%s' }, placement = '%s' }",
            policies[i], placements[i]);
        struct settings s = settings_of(text);
        assert_int_equal(s.conn.policy, i);
        assert_int_equal(s.placement, i);
        settings_fini(&s);
    }
}

static void an_unknown_key_is_named_with_its_line_and_the_nearest(void **state)
{
    (void)state;
    assert_string_equal(error_of("return {\n  pnig = 3,\n}"),
        "app.conf.lua:2: unknown setting 'pnig'; did you mean 'ping'?");
    assert_string_equal(error_of("return {\n\n  limits = { memroy = 3 },\n}"),
        "app.conf.lua:3: unknown setting 'limits.memroy'; "
        "did you mean 'limits.memory'?");
    assert_string_equal(error_of("return { wholly_other = 1 }"),
        "app.conf.lua:1: unknown setting 'wholly_other'");
    assert_string_equal(error_of("return { ['ping '] = 1 }"),
        "app.conf.lua:1: unknown setting 'ping '; did you mean 'ping'?");
    assert_string_equal(error_of("return { 'ping' }"),
        "app.conf.lua: settings have names, as in: ping = \"30s\"");
    assert_string_equal(error_of("return { message = { [true] = 1 } }"),
        "app.conf.lua:1: settings have names, as in: ping = \"30s\"");
}

static void a_line_is_looked_for_where_the_key_stands(void **state)
{
    (void)state;
    /* Not in a comment, not in another table, not in another word. */
    assert_string_equal(error_of("-- max = 1\n"
                                 "local max = 3 -- message = {\n"
                                 "return {\n"
                                 "  outbox = { soft = 9 },\n"
                                 "  message = {\n"
                                 "    max = 'lots',\n"
                                 "  },\n"
                                 "}"),
        "app.conf.lua:6: message.max must be bytes, as a number or like "
        "\"1MB\"");
    assert_string_equal(error_of("return {\n  [\"ping\"] = false }"),
        "app.conf.lua:2: ping must be seconds, or a text like \"30s\"");
    /* One that is nowhere in the text. */
    assert_string_equal(
        error_of("local t = {}\nt['pi' .. 'ng'] = {}\nreturn t"),
        "app.conf.lua: ping must be seconds, or a text like \"30s\"");
    assert_string_equal(
        error_of("local t = 1 --"), /* a comment to the very end */
        "app.conf.lua: it must return a table, as in: return "
        "{ ping = \"30s\" }");
}

static void wrong_types_say_what_is_wanted(void **state)
{
    (void)state;
    static const struct {
        const char *setting;
        const char *error;
    } cases[] = {
        {"message = 5", "message must be a table, got number"},
        {"outbox = 'close'", "outbox must be a table, got string"},
        {"limits = true", "limits must be a table, got boolean"},
        {"message = { max = '1 parsec' }",
            "message.max must be bytes, as a number or like \"1MB\""},
        {"message = { max = -1 }",
            "message.max must be bytes, as a number or like \"1MB\""},
        {"message = { max = 1.5 }",
            "message.max must be bytes, as a number or like \"1MB\""},
        {"outbox = { soft = '3' }",
            "outbox.soft must be a whole number, 1 to 65536"},
        {"outbox = { soft = 1.5 }",
            "outbox.soft must be a whole number, 1 to 65536"},
        {"outbox = { soft_for = {} }",
            "outbox.soft_for must be seconds, or a text like \"30s\""},
        {"ping = '3 moons'", "ping must be seconds, or a text like \"30s\""},
        {"ping = -1", "ping must be seconds, or a text like \"30s\""},
        {"ping = 0/0", "ping must be seconds, or a text like \"30s\""},
        {"ping = 1/0", "ping must be seconds, or a text like \"30s\""},
        {"concurrent = 1", "concurrent must be true or false"},
        {"origins = 'x'",
            "origins must be a list of at most 64 origins, as in: "
            "{ \"https://chat.example.com\" }"},
        {"origins = { 'a', x = 'b' }",
            "origins must be a list of at most 64 origins, as in: "
            "{ \"https://chat.example.com\" }"},
        {"origins = { 'a', 'https://b/c' }",
            "origins[2] is no origin: \"https://b/c\"; one is like "
            "\"https://chat.example.com\", without a path"},
        {"origins = { '*', 'https://*.*' }",
            "origins[2] is no origin: \"https://*.*\"; one is like "
            "\"https://chat.example.com\", without a path"},
        {"origins = { '*.b.example', 'a.*.example' }",
            "origins[2] is no origin: \"a.*.example\"; one is like "
            "\"https://chat.example.com\", without a path"},
        {"origins = { '*.' }", "origins[1] is no origin: \"*.\"; one is like "
                               "\"https://chat.example.com\", without a path"},
        {"origins = { 'a', 2 }", "origins[2] must be a string"},
        {"origins = { 'a\\0b' }", "origins[1] must not contain a zero byte"},
        {"env = 3", "env must be a table"},
        {"env = { 'x' }", "the names in env must be strings"},
        {"env = { X = {} }", "env.X must be a string, got table"},
        {"env = { X = 'a\\0' }", "env.X must not contain a zero byte"},
        {"outbox = { policy = 3 }",
            "outbox.policy must be one of \"close\", \"drop_oldest\", "
            "\"drop_newest\""},
        {"outbox = { policy = 'drop_oldset' }",
            "outbox.policy must be one of \"close\", \"drop_oldest\", "
            "\"drop_newest\"; did you mean \"drop_oldest\"?"},
        {"placement = 'hom'",
            "placement must be one of \"auto\", \"home\", \"spread\"; "
            "did you mean \"home\"?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char wanted[256];
        snprintf(wanted, sizeof(wanted), "app.conf.lua:1: %s", cases[i].error);
        assert_string_equal(error_with(cases[i].setting), wanted);
    }
}

static void values_out_of_range_name_the_range(void **state)
{
    (void)state;
    static const struct {
        const char *setting;
        const char *error;
    } cases[] = {
        {"message = { max = 0 }", "message.max must be 1 to 64MB, got 0"},
        {"message = { max = '65MB' }",
            "message.max must be 1 to 64MB, got 65MB"},
        {"outbox = { hard = 1023 }",
            "outbox.hard must be 1KB to 64MB, got 1023"},
        {"outbox = { soft = 0 }", "outbox.soft must be 1 to 65536, got 0"},
        {"outbox = { soft_for = '2h' }",
            "outbox.soft_for must be 0ms to 1h, got 2h"},
        {"limits = { cpu = 11 }", "limits.cpu must be 1ms to 10s, got 11s"},
        {"limits = { cpu = 0 }", "limits.cpu must be 1ms to 10s, got 0ms"},
        {"limits = { share = 0 }", "limits.share must be 1 to 100, got 0"},
        {"limits = { memory = '2GB' }",
            "limits.memory must be 256KB to 1GB, got 2GB"},
        {"limits = { clients = 1000001 }",
            "limits.clients must be 1 to 1000000, got 1000001"},
        {"ping = 0.05", "ping must be 100ms to 1d, got 50ms"},
        {"message = { fragments = 0 }",
            "message.fragments must be 1 to 65535, got 0"},
        {"inbox = { events = 15 }", "inbox.events must be 16 to 65536, got 15"},
        {"inbox = { bytes = '1GB' }",
            "inbox.bytes must be 64KB to 256MB, got 1GB"},
        {"inbox = { client = 5000 }",
            "inbox.client must be 1 to 4096, got 5000"},
        {"outbox = { total = '2GB' }",
            "outbox.total must be 256KB to 1GB, got 2GB"},
        {"limits = { load_cpu = '11s' }",
            "limits.load_cpu must be 10ms to 10s, got 11s"},
        {"limits = { rooms = 0 }", "limits.rooms must be 1 to 1000000, got 0"},
        {"limits = { rooms_per_client = 1025 }",
            "limits.rooms_per_client must be 1 to 1024, got 1025"},
        {"limits = { tasks = 15 }", "limits.tasks must be 16 to 16384, got 15"},
        {"limits = { timers = 0 }", "limits.timers must be 1 to 100000, got 0"},
        {"limits = { requests = 0 }",
            "limits.requests must be 1 to 16384, got 0"},
        {"limits = { response = '65MB' }",
            "limits.response must be 1KB to 64MB, got 65MB"},
        {"answer = '2h'", "answer must be 100ms to 1h, got 2h"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char wanted[256];
        snprintf(wanted, sizeof(wanted), "app.conf.lua:1: %s", cases[i].error);
        assert_string_equal(error_with(cases[i].setting), wanted);
    }
}

static void the_result_must_be_a_table(void **state)
{
    (void)state;
    assert_string_equal(error_of("local x = 1\nreturn 5"),
        "app.conf.lua: it must return a table, as in: return "
        "{ ping = \"30s\" }");
    assert_string_equal(error_of(""),
        "app.conf.lua: it must return a table, as in: return "
        "{ ping = \"30s\" }");
}

static void a_syntax_error_has_file_and_line_and_nothing_else(void **state)
{
    (void)state;
    const char *text = error_of("return {\n  ping = = 3\n}");
    assert_memory_equal(text, "app.conf.lua:2: ", 16);
    assert_null(strchr(text, '\n'));
}

static void a_run_time_error_has_file_and_line(void **state)
{
    (void)state;
    const char *text = error_of("\n\nreturn { ping = nothing.here }");
    assert_memory_equal(text, "app.conf.lua:3: ", 16);
    assert_non_null(strstr(text, "nothing"));
}

static void the_file_has_no_library(void **state)
{
    (void)state;
    static const char *const names[] = {"print", "string", "os", "io",
        "require", "load", "pcall", "setmetatable", "coroutine", "sleep",
        "broadcast", "env"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[64];
        snprintf(
            text, sizeof(text), "return %s == nil and {} or nil", names[i]);
        struct settings s = settings_of(text);
        settings_fini(&s);
    }
    const char *text = error_of("return { ping = ('x'):rep(3) }");
    assert_non_null(strstr(text, "app.conf.lua:1: "));
}

static void a_loop_is_ended(void **state)
{
    (void)state;
    assert_non_null(strstr(error_of("while true do end"), "takes too long"));
    assert_non_null(strstr(
        error_of("local function f() return f() end f()"), "takes too long"));
    assert_non_null(strstr(error_of("::a:: goto a"), "takes too long"));
}

static void endless_recursion_and_memory_end_with_an_error(void **state)
{
    (void)state;
    (void)error_of("local function f() return 1 + f() end f()");
    assert_true(why[0] != '\0');
    (void)error_of("local s = 'x' for i = 1, 40 do s = s .. s end return {}");
    assert_non_null(strstr(why, "memory"));
    (void)error_of("local t = {} for i = 1, 1e9 do t[i] = i end return t");
    assert_true(why[0] != '\0');
}

static void what_the_file_builds_is_bounded(void **state)
{
    (void)state;
    /* I6: 256 names for one megabyte, in a file of a hundred bytes. */
    const char *text =
        error_of("local s = 'x'\nfor i = 1, 20 do s = s .. s end\n"
                 "local env = {}\nfor i = 1, 256 do env['N' .. i] = s end\n"
                 "return { env = env }");
    assert_non_null(strstr(text, "all texts together are over 65536 bytes"));
    text = error_of("local t = {}\n"
                    "for i = 1, 257 do t['N' .. i] = i end\n"
                    "return { env = t }");
    assert_string_equal(text, "app.conf.lua:3: env has more than 256 names");
    text = error_of("local o = {}\nfor i = 1, 65 do o[i] = 'x' end\n"
                    "return { origins = o }");
    assert_string_equal(text,
        "app.conf.lua:3: origins must be a list of at most 64 origins, "
        "as in: { \"https://chat.example.com\" }");
}

static void a_file_that_is_too_long_is_not_read(void **state)
{
    (void)state;
    size_t n = LIMIT_CONF_BYTES + 1;
    char *text = malloc(n + 1);
    struct settings s;
    memset(text, '\n', n);
    text[n] = '\0';
    assert_int_equal(read_text(text, n, &s), ERR_TOO_BIG);
    assert_string_equal(why, "app.conf.lua is over 65536 bytes");
    free(text);
}

static void deep_nesting_and_odd_tables_are_errors_not_crashes(void **state)
{
    (void)state;
    char *text = malloc(40000);
    strcpy(text, "return ");
    for (int i = 0; i < 10000; i++) {
        strcat(text + 7 + i, "{");
    }
    (void)error_of(text);
    free(text);
    (void)error_of("local t = {} t.message = t return t");
    (void)error_of("local t = {} t[t] = t return t");
    (void)error_of("return { [1.5] = 1 }");
    (void)error_of("return { [true] = 1 }");
}

static void a_long_key_and_a_long_value_fit_the_text_of_the_error(void **state)
{
    (void)state;
    char text[4096];
    memset(text, 'k', sizeof(text));
    memcpy(text, "return { ", 9);
    memcpy(text + 4000, " = 1 }", 7);
    (void)error_of(text);
    assert_true(strlen(why) < sizeof(why));
}

static void when_memory_fails_it_is_an_error_or_it_works(void **state)
{
    (void)state;
    const char *text = "return { env = { A = 'b' }, origins = { 'x' } }";
    int failures = 0;
    for (uint64_t n = 1; n < 1000; n++) {
        struct settings s;
        uint64_t before = mem_quota_calls();
        mem_fail_at(n);
        int rc = read_text(text, strlen(text), &s);
        mem_fail_at(0);
        failures += rc != 0;
        assert_true(rc == 0 || why[0] != '\0');
        settings_fini(&s);
        if (mem_quota_calls() - before < n) {
            break; /* it was not reached */
        }
    }
    assert_true(failures > 0);
}

/* ---- ceilings ---- */

/* A file of ceilings with these words; NULL with `why`. */
static struct ceilings *ceilings_of(const char *text)
{
    char path[] = "/tmp/moonwire-ceilings-XXXXXX";
    struct ceilings *c = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    why[0] = '\0';
    int rc = ceilings_read(&c, path, why, sizeof(why));
    unlink(path);
    assert_int_equal(rc == 0, c != NULL);
    assert_int_equal(rc == 0, why[0] == '\0');
    return c;
}

/* What becomes of app.conf.lua under ceilings. */
static int read_conf_below(
    const char *ceilings, const char *conf, struct settings *s)
{
    struct snapshot_file file = {.name = (char *)(uintptr_t) "app.conf.lua",
        .data = (char *)(uintptr_t)conf,
        .len = strlen(conf)};
    struct snapshot snap = {.files = &file, .count = 1, .refs = 1};
    struct ceilings *c = ceilings_of(ceilings);
    assert_non_null(c);
    settings_init(s);
    int rc = read_below(c, &snap, s);
    ceilings_free(c);
    return rc;
}

static void a_ceiling_bounds_what_an_app_may_set(void **state)
{
    (void)state;
    struct settings s;
    assert_int_equal(read_conf_below("return { limits = { memory = '2MB' } }",
                         "return { limits = { memory = '2MB' } }", &s),
        0);
    assert_int_equal(s.memory_bytes, 2 << 20);
    assert_true(read_conf_below("return { limits = { memory = '2MB' } }",
                    "return { limits = { memory = '3MB' } }", &s) < 0);
    assert_string_equal(
        why, "app.conf.lua:1: limits.memory must be 256KB to 2MB, got 3MB");
}

static void defaults_come_down_to_a_ceiling(void **state)
{
    (void)state;
    struct settings s;
    assert_int_equal(
        read_conf_below(
            "return { message = { max = 100, fragments = 2 },\n"
            "  inbox = { events = 20, bytes = '64KB', client = 3 },\n"
            "  outbox = { hard = 1024, soft = 4, soft_for = 0.1,\n"
            "    total = '256KB' },\n"
            "  limits = { cpu = 0.02, load_cpu = 0.05, share = 9,\n"
            "    memory = '256KB', clients = 8, rooms = 7,\n"
            "    rooms_per_client = 6, tasks = 20, timers = 30,\n"
            "    requests = 40, response = '4KB' }, answer = 1 }",
            "return {}", &s),
        0);
    assert_int_equal(s.conn.message_bytes, 100);
    assert_int_equal(s.conn.fragments, 2);
    assert_int_equal(s.inbox.events, 20);
    assert_int_equal(s.inbox.bytes, 64 * 1024);
    assert_int_equal(s.inbox.client_events, 3);
    assert_int_equal(s.conn.outbox.hard_bytes, 1024);
    assert_int_equal(s.conn.outbox.soft_messages, 4);
    assert_int_equal(s.conn.outbox.soft_ms, 100);
    assert_int_equal(s.outbox_bytes, 256 * 1024);
    assert_int_equal(s.cpu_ms, 20);
    assert_int_equal(s.load_cpu_ms, 50);
    assert_int_equal(s.share, 9);
    assert_int_equal(s.memory_bytes, 256 * 1024);
    assert_int_equal(s.clients, 8);
    assert_int_equal(s.rooms, 7);
    assert_int_equal(s.rooms_per_client, 6);
    assert_int_equal(s.tasks, 20);
    assert_int_equal(s.timers, 30);
    assert_int_equal(s.requests, 40);
    assert_int_equal(s.response_bytes, 4096);
    assert_int_equal(s.answer_ms, 1000);
    /* What has no ceiling stays. */
    assert_int_equal(s.conn.ping_ms, LIMIT_DEFAULT_PING_MS);
    settings_fini(&s);
    /* A ceiling over the default raises nothing. */
    assert_int_equal(read_conf_below("return { limits = { memory = '1GB' } }",
                         "return {}", &s),
        0);
    assert_int_equal(s.memory_bytes, LIMIT_DEFAULT_MEMORY_BYTES);
    settings_fini(&s);
}

static void a_wrong_file_of_ceilings_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"return { limits = { mem = 1 } }", "unknown setting 'limits.mem'"},
        {"return { ping = 1 }", "unknown setting 'ping'"},
        {"return { env = {} }", "unknown setting 'env'"},
        {"return { outbox = { policy = 'close' } }",
            "unknown setting 'outbox.policy'"},
        {"return { limits = { memory = '2GB' } }", "must be 256KB to 1GB"},
        {"return 5", "must return a table"},
        {"while true do end", "takes too long"},
        {"return {", "unexpected symbol"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_null(ceilings_of(cases[i].text));
        assert_non_null(strstr(why, cases[i].error));
        assert_non_null(strstr(why, "/tmp/moonwire-ceilings-"));
    }
    struct ceilings *c = NULL;
    assert_true(ceilings_read(&c, "/nowhere/x.lua", why, sizeof(why)) < 0);
    assert_string_equal(why, "/nowhere/x.lua: No such file or directory");
    assert_true(ceilings_read(&c, "/tmp", why, sizeof(why)) < 0);
    char *text = malloc(LIMIT_CONF_BYTES + 2);
    memset(text, ' ', LIMIT_CONF_BYTES + 1);
    text[LIMIT_CONF_BYTES + 1] = '\0';
    assert_null(ceilings_of(text));
    free(text);
}

static int give_stacks_back(void **state)
{
    (void)state;
    fiber_pool_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_the_defaults_hold),
        cmocka_unit_test(an_empty_table_sets_nothing),
        cmocka_unit_test(every_key_sets_what_it_names),
        cmocka_unit_test(compression_is_a_switch_or_a_table),
        cmocka_unit_test(a_wrong_word_on_compression_is_told),
        cmocka_unit_test(words_that_choose_are_all_known),
        cmocka_unit_test(an_unknown_key_is_named_with_its_line_and_the_nearest),
        cmocka_unit_test(a_line_is_looked_for_where_the_key_stands),
        cmocka_unit_test(wrong_types_say_what_is_wanted),
        cmocka_unit_test(values_out_of_range_name_the_range),
        cmocka_unit_test(the_result_must_be_a_table),
        cmocka_unit_test(a_syntax_error_has_file_and_line_and_nothing_else),
        cmocka_unit_test(a_run_time_error_has_file_and_line),
        cmocka_unit_test(the_file_has_no_library),
        cmocka_unit_test(a_loop_is_ended),
        cmocka_unit_test(endless_recursion_and_memory_end_with_an_error),
        cmocka_unit_test(what_the_file_builds_is_bounded),
        cmocka_unit_test(a_file_that_is_too_long_is_not_read),
        cmocka_unit_test(deep_nesting_and_odd_tables_are_errors_not_crashes),
        cmocka_unit_test(a_long_key_and_a_long_value_fit_the_text_of_the_error),
        cmocka_unit_test(when_memory_fails_it_is_an_error_or_it_works),
        cmocka_unit_test(a_ceiling_bounds_what_an_app_may_set),
        cmocka_unit_test(defaults_come_down_to_a_ceiling),
        cmocka_unit_test(a_wrong_file_of_ceilings_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, give_stacks_back);
}
