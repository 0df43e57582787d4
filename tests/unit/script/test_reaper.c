#include "base/limits.h"
#include "script/mapping.h"
#include "script/reaper.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>

#define MIB      ((size_t)1024 * 1024)
#define RESERVED (64 * MIB)

static char *map_touched(size_t touched)
{
    char *p = mapping_new(MAPPING_ARENA, RESERVED);
    assert_non_null(p);
    memset(p, 'x', touched);
    return p;
}

/* Is there a mapping at that address? */
static bool is_mapped(const char *p)
{
    unsigned char is_in_core;
    return mincore((void *)(uintptr_t)p, 4096, &is_in_core) == 0;
}

static void what_is_small_goes_at_once(void **state)
{
    (void)state;
    char *p = map_touched(MIB);
    reaper_take(p, RESERVED, MIB);
    assert_false(reaper_has_work());
    assert_false(is_mapped(p));
    assert_false(is_mapped(p + RESERVED - 4096));
    assert_false(reaper_work());
}

static void what_is_large_goes_in_pieces_from_the_top(void **state)
{
    (void)state;
    char *p = map_touched(16 * MIB);
    int pieces = 1;
    reaper_take(p, RESERVED, 16 * MIB);
    assert_true(is_mapped(p + RESERVED - 4096));
    for (; reaper_work(); pieces++) {
        assert_true(is_mapped(p));
        assert_false(is_mapped(p + RESERVED - 4096));
    }
    assert_int_equal(pieces, 16 * MIB / LIMIT_TURN_UNMAP_BYTES);
    assert_false(is_mapped(p));
}

static void one_after_the_other(void **state)
{
    (void)state;
    char *p = map_touched(5 * MIB);
    char *q = map_touched(5 * MIB);
    reaper_take(p, RESERVED, 5 * MIB);
    reaper_take(q, RESERVED, 5 * MIB);
    (void)reaper_work();
    assert_true(is_mapped(q + RESERVED - 4096));
    reaper_finish();
    assert_false(reaper_has_work());
    assert_false(is_mapped(p));
    assert_false(is_mapped(q));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_small_goes_at_once),
        cmocka_unit_test(what_is_large_goes_in_pieces_from_the_top),
        cmocka_unit_test(one_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
