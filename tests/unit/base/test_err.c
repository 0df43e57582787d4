#include "base/err.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void each_error_of_ours_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (int a = ERR_FIRST_ + 1; a < ERR_LAST_; a++) {
        assert_string_not_equal(err_word(a), "error");
        assert_string_not_equal(err_word(a), "");
        assert_string_equal(err_text(a), err_word(a));
        for (int b = a + 1; b < ERR_LAST_; b++) {
            assert_string_not_equal(err_word(a), err_word(b));
        }
    }
}

static void our_errors_are_negative_and_no_errno(void **state)
{
    (void)state;
    assert_true(ERR_LAST_ < -4096);
    assert_string_equal(err_word(ERR_FULL), "full");
    assert_string_equal(err_word(ERR_EOF), "eof");
}

static void errors_of_the_system_tell_their_name_and_sentence(void **state)
{
    (void)state;
    assert_string_equal(err_word(-EPIPE), "EPIPE");
    assert_string_equal(err_word(-EWOULDBLOCK), "EAGAIN");
    assert_string_equal(err_word(-ECONNRESET), "ECONNRESET");
    assert_string_equal(err_text(-ENOENT), "No such file or directory");
}

static void anything_else_is_just_an_error(void **state)
{
    (void)state;
    const int odd[] = {
        0, 1, EPIPE, -1023, -4095, ERR_FIRST_, ERR_LAST_, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        assert_string_equal(err_word(odd[i]), "error");
        assert_string_equal(err_text(odd[i]), "error");
        assert_int_equal(err_close_code(odd[i]), 0);
    }
}

static void close_codes_are_those_of_rfc_6455(void **state)
{
    (void)state;
    assert_int_equal(err_close_code(ERR_PROTOCOL), 1002);
    assert_int_equal(err_close_code(ERR_UTF8), 1007);
    assert_int_equal(err_close_code(ERR_DENIED), 1008);
    assert_int_equal(err_close_code(ERR_TOO_BIG), 1009);
    assert_int_equal(err_close_code(ERR_NOMEM), 1011);
    assert_int_equal(err_close_code(ERR_FULL), 1013);
    assert_int_equal(err_close_code(ERR_CLOSED), 0);
    assert_int_equal(err_close_code(-EPIPE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_error_of_ours_has_a_word_of_its_own),
        cmocka_unit_test(our_errors_are_negative_and_no_errno),
        cmocka_unit_test(errors_of_the_system_tell_their_name_and_sentence),
        cmocka_unit_test(anything_else_is_just_an_error),
        cmocka_unit_test(close_codes_are_those_of_rfc_6455),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
