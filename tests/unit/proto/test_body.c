/* test_body.c -- the vectors at every split. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "support/body_feed.h"
#include "support/feed_vector.h"

static void try_vector(const struct vector *v, void *arg)
{
    (void)arg;
    struct body_feed_config config = {
        .length = vector_setting(v, "length", -1),
        .max = (uint64_t)vector_setting(v, "max", 1000),
    };
    feed_vector(v, &body_feed_target, &config);
}

static void every_vector_gives_its_events_at_every_split(void **s)
{
    (void)s;
    int count = vectors_read(TESTS_DIR "/vectors/body.txt", try_vector, NULL);
    assert_true(count >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gives_its_events_at_every_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
