#include "base/err.h"
#include "server/config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config config;
static char why[CONFIG_WHY_BYTES];

#define READ(command, operand, ...)                                            \
    config_read(&config, command, operand,                                     \
        (const char *const[]){__VA_ARGS__, NULL}, why, sizeof(why))
#define RUN(...) READ(CONFIG_FOR_RUN, "DIR", __VA_ARGS__)

static int clean_environment(void **state)
{
    (void)state;
    static const char *const names[] = {"MOONWIRE_LISTEN", "MOONWIRE_DRAIN",
        "MOONWIRE_NO_RELOAD", "MOONWIRE_LOG_LEVEL", "MOONWIRE_LOG_FORMAT",
        "MOONWIRE_LISTEM", "MOONWIRE_SOMETHING_ELSE", "MOONWIRE_TLS_CERT",
        "MOONWIRE_TLS_KEY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsetenv(names[i]);
    }
    why[0] = '\0';
    return 0;
}

static void a_directory_alone_leaves_the_defaults(void **state)
{
    (void)state;
    assert_int_equal(RUN("app"), 0);
    assert_string_equal(config.operand, "app");
    assert_string_equal(config.listen, "127.0.0.1:8080");
    assert_int_equal(config.drain_ms, 1000);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(config.log_format, LOG_AUTO);
    assert_true(config.reload);
}

static void options_stand_before_or_behind_the_directory(void **state)
{
    (void)state;
    assert_int_equal(
        RUN("--drain", "250ms", "app", "--listen=[::1]:0", "--no-reload"), 0);
    assert_int_equal(config.drain_ms, 250);
    assert_string_equal(config.listen, "[::1]:0");
    assert_false(config.reload);
    assert_string_equal(config.operand, "app");
}

static void certificates_come_in_the_order_given_each_with_its_key(void **state)
{
    (void)state;
    assert_int_equal(RUN("app"), 0);
    assert_int_equal(config.tls_cert_count, 0);
    assert_int_equal(RUN("--tls-cert", "a", "--tls-key=b", "app", "--tls-cert",
                         "c", "--tls-key", "d"),
        0);
    assert_int_equal(config.tls_cert_count, 2);
    assert_int_equal(config.tls_key_count, 2);
    assert_string_equal(config.tls_certs[1], "c");
    assert_string_equal(config.tls_keys[0], "b");
    assert_int_equal(RUN("--tls-cert", "a", "--tls-cert", "b", "app"), 0);
    assert_int_equal(
        RUN("--tls-cert", "a", "--tls-cert", "b", "--tls-key", "c", "app"),
        ERR_SYNTAX);
    assert_string_equal(
        why, "1 --tls-key for 2 --tls-cert: one for each, or none");
    assert_int_equal(RUN("--tls-key", "c", "app"), ERR_SYNTAX);
    assert_int_equal(RUN("--tls-cert", "", "app"), ERR_SYNTAX);
}

static void certificates_of_flags_take_the_place_of_the_environments(
    void **state)
{
    (void)state;
    setenv("MOONWIRE_TLS_CERT", "x", 1);
    setenv("MOONWIRE_TLS_KEY", "y", 1);
    assert_int_equal(RUN("app"), 0);
    assert_string_equal(config.tls_certs[0], "x");
    assert_string_equal(config.tls_keys[0], "y");
    assert_int_equal(RUN("app", "--tls-cert", "a"), 0);
    assert_int_equal(config.tls_cert_count, 1);
    assert_int_equal(config.tls_key_count, 0);
    assert_string_equal(config.tls_certs[0], "a");
}

static void a_flag_wins_over_the_environment_and_that_over_the_default(
    void **state)
{
    (void)state;
    setenv("MOONWIRE_LISTEN", "127.0.0.1:1000", 1);
    setenv("MOONWIRE_LOG_LEVEL", "debug", 1);
    assert_int_equal(RUN("app", "--listen", "127.0.0.1:2000"), 0);
    assert_string_equal(config.listen, "127.0.0.1:2000");
    assert_int_equal(config.log_level, LOG_DEBUG);
}

static void a_switch_reads_yes_and_no_from_the_environment(void **state)
{
    (void)state;
    setenv("MOONWIRE_NO_RELOAD", "1", 1);
    assert_int_equal(RUN("app"), 0);
    assert_false(config.reload);
    setenv("MOONWIRE_NO_RELOAD", "0", 1);
    assert_int_equal(RUN("app"), 0);
    assert_true(config.reload);
    setenv("MOONWIRE_NO_RELOAD", "perhaps", 1);
    assert_int_equal(RUN("app"), ERR_SYNTAX);
    assert_string_equal(why, "MOONWIRE_NO_RELOAD=perhaps: not 1 or 0");
}

static void a_misspelt_option_is_refused_with_the_near_one(void **state)
{
    (void)state;
    assert_int_equal(RUN("app", "--lisen", "x:1"), ERR_SYNTAX);
    assert_string_equal(why, "unknown option --lisen (did you mean --listen?)");
    assert_int_equal(RUN("app", "--drian=1s"), ERR_SYNTAX);
    assert_string_equal(why, "unknown option --drian (did you mean --drain?)");
    assert_int_equal(RUN("app", "--xyzzyplugh"), ERR_SYNTAX);
    assert_string_equal(why, "unknown option --xyzzyplugh");
}

static void an_option_of_another_command_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(
        READ(CONFIG_FOR_CHECK, "DIR", "app", "--listen", "x:1"), ERR_SYNTAX);
    assert_string_equal(why, "unknown option --listen");
    assert_int_equal(READ(0, "NAME", "--listen", "x:1"), ERR_SYNTAX);
}

static void a_missing_or_wrong_value_is_named(void **state)
{
    (void)state;
    assert_int_equal(RUN("app", "--drain"), ERR_SYNTAX);
    assert_string_equal(
        why, "--drain needs a value: a time up to 1h such as 500ms or 10s");
    assert_int_equal(RUN("app", "--drain", "soon"), ERR_SYNTAX);
    assert_string_equal(
        why, "--drain soon: not a time up to 1h such as 500ms or 10s");
    assert_int_equal(RUN("app", "--drain", "2h"), ERR_SYNTAX);
    assert_int_equal(RUN("app", "--log-level=loud"), ERR_SYNTAX);
    assert_int_equal(RUN("app", "--no-reload=1"), ERR_SYNTAX);
    assert_string_equal(why, "--no-reload takes no value");
    setenv("MOONWIRE_LOG_FORMAT", "xml", 1);
    assert_int_equal(RUN("app"), ERR_SYNTAX);
    assert_string_equal(why, "MOONWIRE_LOG_FORMAT=xml: not auto, text or json");
}

static void an_address_needs_a_port_of_16_bits(void **state)
{
    (void)state;
    static const char *const bad[] = {"localhost",
        "localhost:", "1.2.3.4:65536", "1.2.3.4:http", ":-1",
        "a:1234567890123456789"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(RUN("app", "--listen", bad[i]), ERR_SYNTAX);
    }
    assert_int_equal(RUN("app", "--listen", ":65535"), 0);
}

static void exactly_one_directory_is_wanted(void **state)
{
    (void)state;
    assert_int_equal(RUN(NULL), ERR_SYNTAX);
    assert_string_equal(why, "no DIR given");
    assert_int_equal(RUN(""), ERR_SYNTAX);
    assert_int_equal(RUN("a", "b"), ERR_SYNTAX);
    assert_string_equal(why, "one word too many: b");
    assert_int_equal(READ(0, NULL, "a"), ERR_SYNTAX);
    assert_int_equal(READ(0, NULL, NULL), 0);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    assert_int_equal(RUN("--", "--help"), 0);
    assert_string_equal(config.operand, "--help");
}

static void help_wins_over_whatever_else_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(RUN("--nonsense", "--help"), CONFIG_HELP);
    assert_int_equal(RUN("-h"), CONFIG_HELP);
}

static char typos[256];

static void note_typo(const char *name, const char *meant)
{
    size_t len = strlen(typos);
    snprintf(typos + len, sizeof(typos) - len, "%s>%s ", name, meant);
}

static void only_near_misses_in_the_environment_are_reported(void **state)
{
    (void)state;
    typos[0] = '\0';
    setenv("MOONWIRE_LISTEM", "x", 1);
    setenv("MOONWIRE_SOMETHING_ELSE", "x", 1);
    setenv("MOONWIRE_LISTEN", "127.0.0.1:1", 1);
    config_find_typos(note_typo);
    assert_string_equal(typos, "MOONWIRE_LISTEM>MOONWIRE_LISTEN ");
}

static void the_help_shows_every_option_with_its_variable(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    config_print_options(CONFIG_FOR_RUN, f);
    fclose(f);
    assert_non_null(strstr(text, "--listen HOST:PORT    (MOONWIRE_LISTEN)\n"));
    assert_non_null(strstr(text, "--no-reload    (MOONWIRE_NO_RELOAD)\n"));
    assert_non_null(strstr(text, "--drain"));
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        assert_in_range(n, 1, 79);
        line += n + 1;
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, clean_environment)
        T(a_directory_alone_leaves_the_defaults),
        T(options_stand_before_or_behind_the_directory),
        T(a_flag_wins_over_the_environment_and_that_over_the_default),
        T(certificates_come_in_the_order_given_each_with_its_key),
        T(certificates_of_flags_take_the_place_of_the_environments),
        T(a_switch_reads_yes_and_no_from_the_environment),
        T(a_misspelt_option_is_refused_with_the_near_one),
        T(an_option_of_another_command_is_unknown),
        T(a_missing_or_wrong_value_is_named),
        T(an_address_needs_a_port_of_16_bits),
        T(exactly_one_directory_is_wanted),
        T(two_dashes_end_the_options),
        T(help_wins_over_whatever_else_is_wrong),
        T(only_near_misses_in_the_environment_are_reported),
        T(the_help_shows_every_option_with_its_variable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
