/* Each line is read from a socket that keeps the bounds of writes, so "one
 * write a line" is tested wherever a line is. */
#include "base/err.h"
#include "base/log.h"
#include "unit/base/death.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <ucontext.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
static int ends[2];
static char got[LOG_LINE_BYTES * 2];

static int open_socket(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends);
}

static int close_socket(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    log_init(STDERR_FILENO, LOG_INFO, LOG_TEXT);
    return 0;
}

/* The next write, without its newline; NULL: there was none. */
static char *next_write(void)
{
    ssize_t n = recv(ends[1], got, sizeof(got) - 1, 0);
    if (n < 0) {
        assert_int_equal(errno, EAGAIN);
        return NULL;
    }
    assert_in_range(n, 1, LOG_LINE_BYTES);
    assert_int_equal(got[n - 1], '\n');
    got[n - 1] = '\0';
    assert_int_equal(strlen(got), n - 1);
    return got;
}

/* The line behind its time stamp, whose form is checked. */
static char *behind_time(char *line, const char *form)
{
    assert_non_null(line);
    size_t n = strlen(form);
    for (size_t i = 0; i < n; i++) {
        if (form[i] == '0') {
            assert_in_range(line[i], '0', '9');
        } else {
            assert_int_equal(line[i], form[i]);
        }
    }
    return line + n;
}

static char *next_text(void)
{
    return behind_time(next_write(), "0000-00-00T00:00:00.000Z ");
}

static char *next_json(void)
{
    return behind_time(next_write(), "{\"ts\":\"0000-00-00T00:00:00.000Z\",");
}

static const struct log_fields all = {
    .app = "chat",
    .gen = 3,
    .client = 77,
    .event = "on_message",
    .kind = "error",
    .err = "main.lua:3: boom",
    .fields = "\"room\":\"a b\",\"n\":[1,{}]",
};

static void json_lines_have_their_keys_in_order(void **state)
{
    (void)state;
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_WARN, &all, "handler %s", "failed");
    assert_string_equal(next_json(),
        "\"level\":\"warn\",\"msg\":\"handler failed\",\"app\":\"chat\","
        "\"gen\":3,\"client\":77,\"event\":\"on_message\",\"kind\":\"error\","
        "\"err\":\"main.lua:3: boom\",\"room\":\"a b\",\"n\":[1,{}]}");
}

static void text_lines_say_who_before_what(void **state)
{
    (void)state;
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_WARN, &all, "handler %s", "failed");
    assert_string_equal(next_text(),
        "warn  [app=chat gen=3 client=77 event=on_message kind=error] handler "
        "failed \"room\":\"a b\",\"n\":[1,{}]: main.lua:3: boom");
}

static void fields_that_are_not_set_do_not_show(void **state)
{
    (void)state;
    struct log_fields f = {.client = UINT64_MAX};
    log_init(ends[0], LOG_DEBUG, LOG_JSON);
    log_event(LOG_DEBUG, NULL, "x");
    assert_string_equal(next_json(), "\"level\":\"debug\",\"msg\":\"x\"}");
    log_event(LOG_INFO, &f, "x");
    assert_string_equal(next_json(),
        "\"level\":\"info\",\"msg\":\"x\",\"client\":18446744073709551615}");
    f = (struct log_fields){.fields = ""};
    log_event(LOG_ERROR, &f, "%s", "");
    assert_string_equal(next_json(), "\"level\":\"error\",\"msg\":\"\"}");
    log_init(ends[0], LOG_DEBUG, LOG_TEXT);
    log_event(LOG_INFO, NULL, "x");
    assert_string_equal(next_text(), "info  x");
    f = (struct log_fields){.gen = UINT32_MAX, .kind = "cpu"};
    log_event(LOG_INFO, &f, "x");
    assert_string_equal(next_text(), "info  [gen=4294967295 kind=cpu] x");
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    for (int least = LOG_DEBUG; least <= LOG_ERROR; least++) {
        log_init(ends[0], (enum log_level)least, LOG_TEXT);
        for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
            log_event((enum log_level)level, NULL, "x");
            assert_int_equal(next_write() != NULL, level >= least);
            assert_int_equal(log_is_on((enum log_level)level), level >= least);
        }
    }
}

static void a_traceback_is_one_write_indented_in_text(void **state)
{
    (void)state;
    struct log_fields f = {
        .err = "main.lua:3: boom\nstack traceback:\n\tmain.lua:3: in f\n"};
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_ERROR, &f, "handler failed");
    assert_string_equal(next_text(), "error handler failed\n"
                                     "    main.lua:3: boom\n"
                                     "    stack traceback:\n"
                                     "        main.lua:3: in f");
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_ERROR, &f, "handler failed");
    assert_string_equal(next_json(),
        "\"level\":\"error\",\"msg\":\"handler failed\",\"err\":"
        "\"main.lua:3: boom\\nstack traceback:\\n\\tmain.lua:3: in f\\n\"}");
    assert_null(next_write());
}

static void a_message_cannot_forge_a_line(void **state)
{
    (void)state;
    struct log_fields f = {.app = "a\nb", .err = "x\n2026-01-01 fake\r\ry"};
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_INFO, &f, "one\ntwo\rthree\tfour");
    assert_string_equal(next_text(),
        "info  [app=a\\nb] one\\ntwo\\rthree\\tfour\n"
        "    x\n    2026-01-01 fake\\r\\ry");
}

static void each_control_character_is_escaped(void **state)
{
    (void)state;
    for (int c = 1; c < 0x20; c++) {
        if (c == '\n' || c == '\r' || c == '\t') {
            continue;
        }
        char want[64];
        log_init(ends[0], LOG_INFO, LOG_TEXT);
        log_event(LOG_INFO, NULL, "a%cb", c);
        snprintf(want, sizeof(want), "info  a\\x%02xb", c);
        assert_string_equal(next_text(), want);
        log_init(ends[0], LOG_INFO, LOG_JSON);
        log_event(LOG_INFO, NULL, "a%cb", c);
        snprintf(
            want, sizeof(want), "\"level\":\"info\",\"msg\":\"a\\u%04xb\"}", c);
        assert_string_equal(next_json(), want);
    }
}

/* C1 controls, and what turns the direction of text or ends a line. */
static void characters_that_act_on_the_text_are_escaped(void **state)
{
    (void)state;
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_INFO, NULL,
        "\x7f \xc2\x80 \xc2\x9b \xc2\x9f \xd8\x9c \xe2\x80\x8e \xe2\x80\x8f "
        "\xe2\x80\xa8 \xe2\x80\xae \xe2\x81\xa6 \xe2\x81\xa9 \xef\xbb\xbf");
    assert_string_equal(next_text(),
        "info  \\x7f \\u0080 \\u009b \\u009f \\u061c \\u200e \\u200f "
        "\\u2028 \\u202e \\u2066 \\u2069 \\ufeff");
    const char *neighbours =
        "\xc2\xa0 \xd8\x9b \xd8\x9d \xe2\x80\x8d \xe2\x80\x90 \xe2\x80\xa7 "
        "\xe2\x80\xaf \xe2\x81\xa5 \xe2\x81\xaa \xef\xbb\xbe \xef\xbc\x80";
    log_event(LOG_INFO, NULL, "%s", neighbours);
    assert_string_equal(next_text() + 6, neighbours);
}

static void good_utf8_is_left_alone(void **state)
{
    (void)state;
    const char *good = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x99 \xed\x9f\xbf "
                       "\xee\x80\x80 \xf4\x8f\xbf\xbf \xc2\xa0 \xe0\xa0\x80";
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_INFO, NULL, "%s", good);
    assert_string_equal(next_text() + 6, good);
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_INFO, NULL, "%s", good);
    assert_non_null(strstr(next_json(), good));
}

static void bad_utf8_is_shown_as_bytes_or_replaced(void **state)
{
    (void)state;
    /* In order: stray, cut, overlong, surrogate, too large. */
    static const struct {
        const char *text;
        const char *shown;
        int marks;
    } bad[] = {
        {"\x80", "\\x80", 1},
        {"\xff", "\\xff", 1},
        {"\xc3", "\\xc3", 1},
        {"\xc3(", "\\xc3(", 1},
        {"\xe2\x82", "\\xe2\\x82", 2},
        {"\xf0\x9f\x8c", "\\xf0\\x9f\\x8c", 3},
        {"\xc0\xaf", "\\xc0\\xaf", 2},
        {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf", 3},
        {"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf", 4},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", 3},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        log_init(ends[0], LOG_INFO, LOG_TEXT);
        log_event(LOG_INFO, NULL, "%s", bad[i].text);
        assert_string_equal(next_text() + 6, bad[i].shown);
        log_init(ends[0], LOG_INFO, LOG_JSON);
        log_event(LOG_INFO, NULL, "%s", bad[i].text);
        int marks = 0;
        for (char *p = next_json(); (p = strstr(p, "\xef\xbf\xbd")); p += 3) {
            marks++;
        }
        assert_int_equal(marks, bad[i].marks);
    }
}

static void json_strings_are_quoted(void **state)
{
    (void)state;
    struct log_fields f = {.app = "a\"b", .err = "c\\d"};
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_INFO, &f, "\"\\/");
    assert_string_equal(next_json(),
        "\"level\":\"info\",\"msg\":\"\\\"\\\\/\",\"app\":\"a\\\"b\","
        "\"err\":\"c\\\\d\"}");
}

static void fields_of_an_app_cannot_break_the_line(void **state)
{
    (void)state;
    struct log_fields f = {.fields = "\"a\":\n\t1,\"b\":\"\xff\xe2\x80\xae\""};
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_INFO, &f, "x");
    assert_string_equal(next_json(), "\"level\":\"info\",\"msg\":\"x\",\"a\":"
                                     "  1,\"b\":\"\xef\xbf\xbd\\u202e\"}");
}

/* A string of n times `unit`; one at a time. */
static const char *many(const char *unit, size_t n)
{
    static char text[30000];
    text[0] = '\0';
    char *end = text;
    for (size_t i = 0; i < n; i++) {
        end = stpcpy(end, unit);
    }
    return text;
}

static void long_messages_are_cut_and_say_so(void **state)
{
    (void)state;
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_INFO, NULL, "%s", many("x", 20000));
    char *line = next_text();
    assert_string_equal(line + strlen(line) - 4, "x...");
    assert_true(strlen(line) > LOG_LINE_BYTES - 100);
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_INFO, NULL, "%s", many("x", 20000));
    line = next_json();
    assert_string_equal(line + strlen(line) - 6, "x...\"}");
}

static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    static const char *const units[] = {
        "\xc3\xa9", "\xf0\x9f\x8c\x99", "\"", "\x01", "\xff"};
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        for (int shift = 0; shift < 12; shift++) {
            log_init(ends[0], LOG_INFO, LOG_JSON);
            log_event(LOG_INFO, NULL, "%.*s%s", shift, "abcdefghijkl",
                many(units[u], 4000));
            char *line = next_json();
            char *end = strstr(line, "...\"}");
            assert_non_null(end);
            assert_string_equal(end, "...\"}");
            const char *want = u == 2   ? "\\\""
                               : u == 3 ? "\\u0001"
                               : u == 4 ? "\xef\xbf\xbd"
                                        : units[u];
            size_t n = strlen(want);
            char *p = strstr(line, "msg\":\"") + 6 + shift;
            for (; p < end; p += n) {
                assert_memory_equal(p, want, n);
            }
            assert_ptr_equal(p, end);
        }
    }
}

static void who_and_what_survive_texts_of_any_length(void **state)
{
    (void)state;
    struct log_fields f = all;
    f.err = many("e\n", 9000);
    log_init(ends[0], LOG_INFO, LOG_JSON);
    log_event(LOG_ERROR, &f, "%s", f.err);
    char *line = next_json();
    assert_non_null(
        strstr(line, "...\",\"app\":\"chat\",\"gen\":3,\"client\":77,\"event\":"
                     "\"on_message\",\"kind\":\"error\",\"err\":\"e\\ne"));
    assert_non_null(strstr(line, "...\",\"room\":\"a b\",\"n\":[1,{}]}"));
    f.app = f.event = f.kind = f.err;
    log_event(LOG_ERROR, &f, "%s", f.err);
    line = next_json();
    assert_non_null(strstr(line, "\"client\":77,\"event\":\"e"));
    assert_non_null(strstr(line, "\"err\":\"e\\ne"));
    assert_string_equal(line + strlen(line) - 7, "[1,{}]}");
}

static void fields_stand_whole_or_not_at_all(void **state)
{
    (void)state;
    struct log_fields f = {.fields = "\"n\":1", .err = "short"};
    char fields[5000] = "\"k\":\"";
    log_init(ends[0], LOG_INFO, LOG_JSON);
    for (size_t n = 0; n < 4900; n += n < 3800 ? 7 : 1) {
        memset(fields + 5, 'v', n);
        memcpy(fields + 5 + n, "\"", 2);
        f.fields = fields;
        log_event(LOG_INFO, &f, "hello");
        char *line = next_json();
        assert_non_null(strstr(line, "\"err\":\"short\""));
        if (strstr(line, ",\"cut\":true}") == NULL) {
            char *at = strstr(line, ",\"k\":\"");
            assert_non_null(at);
            assert_int_equal(strspn(at + 6, "v"), n);
            assert_string_equal(at + 6 + n, "\"}");
        } else {
            assert_null(strchr(line + 15, 'k'));
            assert_true(n > 3500);
        }
    }
}

/* No control characters, and quotes and braces in balance. */
static void expect_sound_json(const char *line)
{
    bool in_string = false;
    int depth = 0;
    for (const char *p = line; *p != '\0'; p++) {
        assert_in_range((unsigned char)*p, 0x20, 0xf4);
        if (*p == '"') {
            in_string = !in_string;
        } else if (in_string && *p == '\\') {
            p++;
            assert_non_null(memchr("\"\\nrtu", *p, 6));
        } else if (!in_string && (*p == '{' || *p == '}')) {
            depth += *p == '{' ? 1 : -1;
        }
    }
    assert_false(in_string);
    assert_int_equal(depth, 0);
    assert_int_equal(line[strlen(line) - 1], '}');
}

static void noise_of_any_kind_makes_sound_lines(void **state)
{
    (void)state;
    static char noise[4][6000];
    uint32_t seed = 3;
    for (int round = 0; round < 1500; round++) {
        for (int i = 0; i < 4; i++) {
            seed = seed * 1664525 + 1013904223;
            size_t n = (seed >> 8) % (round % 3 == 0 ? 5999 : 200);
            for (size_t j = 0; j < n; j++) {
                seed = seed * 1664525 + 1013904223;
                char c = (char)(seed >> 24);
                noise[i][j] = c != '\0' ? c : ' ';
            }
            noise[i][n] = '\0';
        }
        struct log_fields f = {.app = noise[0],
            .gen = seed,
            .client = seed,
            .event = noise[1],
            .kind = noise[2],
            .err = round % 2 != 0 ? noise[3] : NULL,
            .fields = round % 5 != 0 ? "\"k\":{\"v\":1}" : NULL};
        log_init(ends[0], LOG_INFO, LOG_JSON);
        log_event(LOG_INFO, &f, "%s", noise[round % 4]);
        expect_sound_json(next_write());
        log_init(ends[0], LOG_INFO, LOG_TEXT);
        log_event(LOG_INFO, &f, "%s", noise[round % 4]);
        for (char *p = next_text(); *p != '\0'; p++) {
            assert_true((unsigned char)*p >= 0x20 || *p == '\n');
        }
    }
}

static void auto_is_json_unless_a_terminal_reads_it(void **state)
{
    (void)state;
    log_init(ends[0], LOG_INFO, LOG_AUTO);
    log_event(LOG_INFO, NULL, "x");
    assert_string_equal(next_json(), "\"level\":\"info\",\"msg\":\"x\"}");

    char text[200] = {0};
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    int terminal = -1;
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0) {
        terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    }
    if (terminal < 0) {
        skip(); /* a chroot without /dev/pts has no terminals */
    }
    unsetenv("NO_COLOR");
    log_init(terminal, LOG_INFO, LOG_AUTO);
    log_event(LOG_ERROR, NULL, "x");
    assert_true(read(master, text, sizeof(text) - 1) > 0);
    assert_string_equal(text + 24, " \033[31merror\033[0m x\r\n");
    setenv("NO_COLOR", "1", 1);
    log_init(terminal, LOG_INFO, LOG_AUTO);
    log_event(LOG_ERROR, NULL, "x");
    memset(text, 0, sizeof(text));
    assert_true(read(master, text, sizeof(text) - 1) > 0);
    assert_string_equal(text + 24, " error x\r\n");
    unsetenv("NO_COLOR");
    close(terminal);
    close(master);
}

static void a_slow_reader_loses_lines_and_is_told(void **state)
{
    (void)state;
    int written = 0, lost = 0;
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    for (int i = 0; i < 1000; i++) {
        log_event(LOG_INFO, NULL, "%s", many("x", 4000));
    }
    while (next_write() != NULL) {
        written++;
    }
    assert_in_range(written, 1, 999);
    log_event(LOG_INFO, NULL, "back");
    assert_string_equal(next_text(), "info  back");
    assert_int_equal(
        sscanf(next_text(), "warn  %d log lines lost before this", &lost), 1);
    assert_int_equal(written + lost, 1000);
    log_event(LOG_INFO, NULL, "again");
    assert_string_equal(next_text(), "info  again");
    assert_null(next_write());
}

static void a_stuck_reader_of_a_pipe_holds_nobody_up(void **state)
{
    (void)state;
    int stuck[2], lost = 0;
    long read_bytes = 0, line_bytes = 25 + 6 + 3000 + 1;
    assert_int_equal(pipe(stuck), 0); /* its writes block */
    log_init(stuck[1], LOG_INFO, LOG_TEXT);
    alarm(60);
    for (int i = 0; i < 1000; i++) {
        log_event(LOG_INFO, NULL, "%s", many("x", 3000));
    }
    alarm(0);
    assert_int_equal(fcntl(stuck[0], F_SETFL, O_NONBLOCK), 0);
    for (ssize_t n; (n = read(stuck[0], got, sizeof(got))) > 0;) {
        read_bytes += n;
    }
    assert_in_range(read_bytes, line_bytes, 999 * line_bytes);
    assert_int_equal(read_bytes % line_bytes, 0);

    log_event(LOG_INFO, NULL, "back");
    ssize_t n = read(stuck[0], got, sizeof(got) - 1);
    assert_in_range(n, 1, sizeof(got) - 1);
    got[n] = '\0';
    const char *told = strchr(got, '\n');
    assert_non_null(told);
    assert_int_equal(
        sscanf(told + 26, "warn  %d log lines lost before this", &lost), 1);
    assert_int_equal(read_bytes / line_bytes + lost, 1000);
    close(stuck[0]);
    close(stuck[1]);
}

static void a_reader_that_is_only_slow_loses_nothing(void **state)
{
    (void)state;
    int slow[2];
    assert_int_equal(pipe(slow), 0);
    log_init(slow[1], LOG_INFO, LOG_TEXT);
    pid_t reader = fork();
    assert_return_code(reader, errno);
    if (reader == 0) {
        close(slow[1]);
        for (ssize_t n; (n = read(slow[0], got, sizeof(got))) > 0;) {
            usleep(2000);
        }
        _exit(0);
    }
    for (int i = 0; i < 300; i++) {
        log_event(LOG_INFO, NULL, "%s", many("x", 3000));
    }
    close(slow[0]);
    close(slow[1]);
    assert_int_equal(waitpid(reader, NULL, 0), reader);
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    log_event(LOG_INFO, NULL, "all");
    assert_string_equal(next_text(), "info  all");
    assert_null(next_write()); /* of no loss */
}

static void a_reader_that_is_gone_is_no_failure(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    int gone[2];
    assert_int_equal(pipe(gone), 0);
    close(gone[0]);
    log_init(gone[1], LOG_INFO, LOG_TEXT);
    errno = 42;
    log_event(LOG_INFO, NULL, "x");
    assert_int_equal(errno, 42);
    close(gone[1]);
    log_event(LOG_INFO, NULL, "x");
    assert_int_equal(errno, 42);
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    errno = 42;
    log_event(LOG_INFO, NULL, "x");
    assert_int_equal(errno, 42);
    next_write();
    assert_string_equal(next_text(), "warn  2 log lines lost before this");
}

static void *write_lines(void *letter)
{
    for (int i = 0; i < 300; i++) {
        char text[1000];
        memset(text, *(char *)letter, sizeof(text));
        log_event(LOG_INFO, NULL, "%.*s", (int)sizeof(text), text);
    }
    return NULL;
}

static void lines_of_threads_do_not_mix_in_a_pipe(void **state)
{
    (void)state;
    int lines = 0;
    int both[2];
    pthread_t threads[4];
    char letters[] = "abcd", line[LOG_LINE_BYTES];
    assert_int_equal(pipe(both), 0);
    log_init(both[1], LOG_INFO, LOG_TEXT);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_lines, &letters[i]), 0);
    }
    FILE *in = fdopen(both[0], "r");
    while (lines < 1200 && fgets(line, sizeof(line), in) != NULL) {
        assert_int_equal(strlen(line), 25 + 6 + 1000 + 1);
        char letter[] = {line[31], '\0'};
        assert_int_equal(strspn(line + 31, letter), 1000);
        lines++;
    }
    assert_int_equal(lines, 1200);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    fclose(in);
    close(both[1]);
}

static void text_for_people_is_escaped_and_cut(void **state)
{
    (void)state;
    char out[64];
    log_escape(out, sizeof(out), "main.lua:1: \033[2J\n\tin f\n");
    assert_string_equal(out, "main.lua:1: \\x1b[2J\n        in f");
    memset(out, 'x', sizeof(out));
    log_escape(out, 32, many("y", 40));
    assert_string_equal(out, "yyyyyyyyyyyyyyyyyyyyyyyyyyyy...");
    log_escape(out, 1, "y");
    assert_string_equal(out, "");
}

static void a_cut_leaves_the_most_whole_characters_that_fit(void **state)
{
    (void)state;
    static const char text[] = "ab\xc3\xa4"
                               "cd\xe2\x82\xac\xe2\x82\xac"
                               "ef"
                               "\xf0\x9f\x98\x80"
                               "ghij\xc3\xa4";
    const size_t len = strlen(text);
    for (size_t room = 0; room <= len + 2; room++) {
        char out[64];
        char want[64];
        size_t n = len;
        if (room < len) {
            n = room < 3 ? 0 : room - 3;
            while (n > 0 && (text[n] & 0xc0) == 0x80) {
                n--;
            }
        }
        snprintf(want, sizeof(want), "%.*s%s", (int)n, text,
            room < len && room >= 3 ? "..." : "");
        log_escape(out, room + 1, text);
        assert_string_equal(out, want);
    }
}

static void words_name_levels_and_formats(void **state)
{
    (void)state;
    enum log_level level = LOG_DEBUG;
    enum log_format format = LOG_AUTO;
    assert_int_equal(log_parse_level("error", &level), 0);
    assert_int_equal(level, LOG_ERROR);
    assert_int_equal(log_parse_level("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_parse_level("Warn", &level), ERR_SYNTAX);
    assert_int_equal(log_parse_level("", &level), ERR_SYNTAX);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_parse_format("json", &format), 0);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(log_parse_format("text", &format), 0);
    assert_int_equal(format, LOG_TEXT);
    assert_int_equal(log_parse_format("auto", &format), 0);
    assert_int_equal(format, LOG_AUTO);
    assert_int_equal(log_parse_format("jso", &format), ERR_SYNTAX);
    assert_int_equal(format, LOG_AUTO);
}

static void break_a_law(void)
{
    int two = 2;
    ASSERT(two == 3, "I99");
}

static void a_broken_law_is_named_and_ends_the_process(void **state)
{
    (void)state;
    assert_true(dies_saying(break_a_law, "two == 3 (law: I99) at "));
    assert_true(dies_saying(break_a_law, "test_log.c:"));
}

#define WITH_SOCKET(test)                                                      \
    cmocka_unit_test_setup_teardown(test, open_socket, close_socket)

/* Under the sanitizers every frame is larger. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define IS_SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define IS_SANITIZED 1
#    endif
#endif

#ifndef IS_SANITIZED

static char a_stack[64 * 1024];
static ucontext_t back;

static void log_a_long_line(void)
{
    static char words[LOG_LINE_BYTES];
    memset(words, 'w', sizeof(words) - 1);
    log_event(LOG_INFO, &(struct log_fields){.app = "chat"}, "%s", words);
}

/* That of a script is new pages each time. */
static void a_line_takes_little_of_the_stack(void **state)
{
    (void)state;
    ucontext_t on_it;
    log_init(ends[0], LOG_INFO, LOG_TEXT);
    memset(a_stack, '?', sizeof(a_stack));
    assert_int_equal(getcontext(&on_it), 0);
    on_it.uc_stack.ss_sp = a_stack;
    on_it.uc_stack.ss_size = sizeof(a_stack);
    on_it.uc_link = &back;
    makecontext(&on_it, log_a_long_line, 0);
    assert_int_equal(swapcontext(&back, &on_it), 0);
    size_t free_bytes = 0;
    while (a_stack[free_bytes] == '?') {
        free_bytes++;
    }
    assert_true(sizeof(a_stack) - free_bytes < 6 * 1024);
    assert_non_null(strstr(next_text(), "wwww..."));
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SOCKET(json_lines_have_their_keys_in_order),
        WITH_SOCKET(text_lines_say_who_before_what),
        WITH_SOCKET(fields_that_are_not_set_do_not_show),
        WITH_SOCKET(lines_below_the_level_are_not_written),
        WITH_SOCKET(a_traceback_is_one_write_indented_in_text),
        WITH_SOCKET(a_message_cannot_forge_a_line),
        WITH_SOCKET(each_control_character_is_escaped),
        WITH_SOCKET(characters_that_act_on_the_text_are_escaped),
        WITH_SOCKET(good_utf8_is_left_alone),
        WITH_SOCKET(bad_utf8_is_shown_as_bytes_or_replaced),
        WITH_SOCKET(json_strings_are_quoted),
        WITH_SOCKET(fields_of_an_app_cannot_break_the_line),
        WITH_SOCKET(long_messages_are_cut_and_say_so),
        WITH_SOCKET(a_cut_never_splits_a_character),
        WITH_SOCKET(who_and_what_survive_texts_of_any_length),
        WITH_SOCKET(fields_stand_whole_or_not_at_all),
        WITH_SOCKET(noise_of_any_kind_makes_sound_lines),
        WITH_SOCKET(auto_is_json_unless_a_terminal_reads_it),
        WITH_SOCKET(a_slow_reader_loses_lines_and_is_told),
        WITH_SOCKET(a_stuck_reader_of_a_pipe_holds_nobody_up),
        WITH_SOCKET(a_reader_that_is_only_slow_loses_nothing),
        WITH_SOCKET(a_reader_that_is_gone_is_no_failure),
        WITH_SOCKET(lines_of_threads_do_not_mix_in_a_pipe),
        cmocka_unit_test(text_for_people_is_escaped_and_cut),
        cmocka_unit_test(a_cut_leaves_the_most_whole_characters_that_fit),
#ifndef IS_SANITIZED
        WITH_SOCKET(a_line_takes_little_of_the_stack),
#endif
        cmocka_unit_test(words_name_levels_and_formats),
        cmocka_unit_test(a_broken_law_is_named_and_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
