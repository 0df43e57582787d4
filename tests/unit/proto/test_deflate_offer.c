/* test_deflate_offer.c -- offers and answers, RFC 7692 section 7.1. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "proto/deflate.h"
#include "proto/extension.h"
#include <stdio.h>
#include <string.h>

static const struct deflate_policy open_minded = {
    .is_on = true,
    .server_keeps = true,
    .client_keeps = true,
    .server_bits = 15,
    .client_bits = 15,
};

/* A request whose extension headers are the lines of `text`. */
static const struct http_request *request(const char *text)
{
    static struct http_header headers[8];
    static struct http_request r;
    static char copy[1024];
    snprintf(copy, sizeof(copy), "%s", text);
    r = (struct http_request){.method = "GET", .headers = headers};
    char *line = copy;
    while (line != NULL) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end++ = '\0';
        }
        headers[r.header_count++] = (struct http_header){
            "sec-websocket-extensions", line, strlen(line)};
        line = end;
    }
    return &r;
}

/* The parameters of the answer; "-": no offer was taken. */
static const char *answer(const struct deflate_policy *policy, const char *text)
{
    static char out[DEFLATE_ANSWER_BYTES];
    static const char start[] = "Sec-WebSocket-Extensions: permessage-deflate";
    struct deflate_params p;
    assert_true(extension_is_well_formed(request(text)));
    if (!deflate_choose(request(text), policy, &p)) {
        return "-";
    }
    deflate_answer(&p, out);
    size_t n = strlen(out);
    assert_memory_equal(out, start, sizeof(start) - 1);
    assert_string_equal(out + n - 2, "\r\n");
    out[n - 2] = '\0';
    return out + sizeof(start) - 1;
}

struct offer_case {
    const char *offer;
    const char *answer;
};

static void try_cases(
    const struct deflate_policy *policy, const struct offer_case *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *got = answer(policy, c[i].offer);
        if (strcmp(got, c[i].answer) != 0) {
            print_message(
                "%s\nwant: %s\ngot:  %s\n", c[i].offer, c[i].answer, got);
            fail();
        }
    }
}

#define PD "permessage-deflate"

static void each_parameter_is_answered_as_the_rfc_says(void **s)
{
    (void)s;
    static const struct offer_case cases[] = {
        {PD, ""},
        {"Permessage-DEFLATE", ""},
        {PD "; client_max_window_bits", ""},
        {PD "; client_max_window_bits=15", ""},
        {PD "; client_max_window_bits=10", "; client_max_window_bits=10"},
        {PD "; client_max_window_bits=\"8\"", "; client_max_window_bits=8"},
        {PD "; client_max_window_bits = 9", "; client_max_window_bits=9"},
        {PD "; server_max_window_bits=15", "; server_max_window_bits=15"},
        {PD ";server_max_window_bits=8", "; server_max_window_bits=8"},
        {PD "; server_max_window_bits=\"1\\2\"", "; server_max_window_bits=12"},
        {PD "; server_no_context_takeover", "; server_no_context_takeover"},
        {PD "; client_no_context_takeover", "; client_no_context_takeover"},
        {PD "; client_no_context_takeover; server_max_window_bits=11;"
            "client_max_window_bits=9; server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover"
            "; server_max_window_bits=11; client_max_window_bits=9"},
    };
    try_cases(&open_minded, cases, ARRAY_LEN(cases));
}

static void an_offer_that_breaks_a_rule_is_declined(void **s)
{
    (void)s;
    static const struct offer_case cases[] = {
        {PD "; unknown", "-"},
        {PD "; unknown=1", "-"},
        {PD "; server_no_context_takeover=1", "-"},
        {PD "; client_no_context_takeover=true", "-"},
        {PD "; client_no_context_takeover=\"x\"", "-"},
        {PD "; server_max_window_bits", "-"},
        {PD "; server_max_window_bits=7", "-"},
        {PD "; server_max_window_bits=16", "-"},
        {PD "; server_max_window_bits=0", "-"},
        {PD "; server_max_window_bits=08", "-"},
        {PD "; server_max_window_bits=010", "-"},
        {PD "; server_max_window_bits=+9", "-"},
        {PD "; server_max_window_bits=9x", "-"},
        {PD "; server_max_window_bits=1000000000000000000000000010", "-"},
        {PD "; client_max_window_bits=7", "-"},
        {PD "; client_max_window_bits=16", "-"},
        {PD "; client_max_window_bits=\"8.0\"", "-"},
        {PD "; server_max_window_bits=9; server_max_window_bits=9", "-"},
        {PD "; client_max_window_bits; client_max_window_bits=9", "-"},
        {PD "; client_max_window_bits=9; client_max_window_bits", "-"},
        {PD "; server_no_context_takeover; server_no_context_takeover", "-"},
        {PD "; client_no_context_takeover; client_no_context_takeover", "-"},
        {"permessage-deflate2", "-"},
        {"permessage-bzip2; server_max_window_bits=9", "-"},
        {"x-webkit-deflate-frame", "-"},
    };
    try_cases(&open_minded, cases, ARRAY_LEN(cases));
}

static void the_first_good_offer_wins(void **s)
{
    (void)s;
    static const struct offer_case cases[] = {
        {PD "; server_max_window_bits=10, " PD, "; server_max_window_bits=10"},
        {PD ", " PD "; server_max_window_bits=10", ""},
        {PD "; unknown, " PD "; server_max_window_bits=10",
            "; server_max_window_bits=10"},
        {PD "; unknown\n" PD "; client_max_window_bits=10",
            "; client_max_window_bits=10"},
        {"foo; bar=\"baz\", " PD "; server_no_context_takeover, x",
            "; server_no_context_takeover"},
        {"foo; unknown, , ,\t" PD, ""},
        {"foo; server_max_window_bits=99\nbar," PD ",", ""},
        {PD "; server_max_window_bits=16, " PD "; x=y", "-"},
    };
    try_cases(&open_minded, cases, ARRAY_LEN(cases));
}

static void the_policy_may_ask_for_less(void **s)
{
    (void)s;
    static const struct deflate_policy shared = {
        .is_on = true, .server_bits = 15, .client_bits = 15};
    static const struct offer_case cases[] = {
        {PD, "; server_no_context_takeover; client_no_context_takeover"},
        {PD "; client_max_window_bits",
            "; server_no_context_takeover; client_no_context_takeover"},
    };
    try_cases(&shared, cases, ARRAY_LEN(cases));

    static const struct deflate_policy small = {.is_on = true,
        .server_keeps = true,
        .client_keeps = true,
        .server_bits = 10,
        .client_bits = 9};
    static const struct offer_case small_cases[] = {
        /* 7.1.2.2: who does not say client_max_window_bits is not told. */
        {PD, "; server_max_window_bits=10"},
        {PD "; client_max_window_bits",
            "; server_max_window_bits=10; client_max_window_bits=9"},
        {PD "; client_max_window_bits=8; server_max_window_bits=15",
            "; server_max_window_bits=10; client_max_window_bits=8"},
        {PD "; server_max_window_bits=9", "; server_max_window_bits=9"},
    };
    try_cases(&small, small_cases, ARRAY_LEN(small_cases));

    static const struct deflate_policy off = {.server_bits = 15};
    assert_string_equal(answer(&off, PD), "-");
}

static void a_window_that_was_not_told_is_the_largest(void **s)
{
    (void)s;
    struct deflate_policy policy = open_minded;
    policy.client_bits = 9;
    struct deflate_params p;
    assert_true(deflate_choose(request(PD), &policy, &p));
    assert_int_equal(p.client_bits, 15);
}

static void what_breaks_the_grammar_is_noticed(void **s)
{
    (void)s;
    static const char *const bad[] = {"", ",", " , ,", ";", "a;", "a;;b",
        "a; b=", "a; b=,", "a b", "a; b c", "a; b=\"", "a; b=\"c", "a; b=\"\"",
        "a; b=\"c d\"", "a; b=\"c\"d", "a; b=\"\\\"", "a; b=\"c\\", "a; =b",
        "a=b", "a, ;b", "a,, b c", "a; b==c", "(a)", "a\n;b", "a\nb="};
    static const char *const good[] = {"a", "a,b", "a;b", "a ; b = c , d", ",a",
        "a,", "a; b=\"c\"", "a; b=\"\\c\"", "a\nb", "a\n,", "a;b;b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (extension_is_well_formed(request(bad[i]))) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!extension_is_well_formed(request(good[i]))) {
            fail_msg("refused: %s", good[i]);
        }
    }
    struct http_request none = {.method = "GET"};
    assert_true(extension_is_well_formed(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_parameter_is_answered_as_the_rfc_says),
        cmocka_unit_test(an_offer_that_breaks_a_rule_is_declined),
        cmocka_unit_test(the_first_good_offer_wins),
        cmocka_unit_test(the_policy_may_ask_for_less),
        cmocka_unit_test(a_window_that_was_not_told_is_the_largest),
        cmocka_unit_test(what_breaks_the_grammar_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
