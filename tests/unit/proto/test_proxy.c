/* test_proxy.c -- the vectors at every split. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "support/feed_vector.h"
#include "support/proxy_feed.h"

static void try_vector(const struct vector *v, void *arg)
{
    (void)arg;
    feed_vector(v, &proxy_feed_target, NULL);
}

static void every_vector_gives_its_events_at_every_split(void **s)
{
    (void)s;
    int count = vectors_read(TESTS_DIR "/vectors/proxy.txt", try_vector, NULL);
    assert_true(count >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gives_its_events_at_every_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
