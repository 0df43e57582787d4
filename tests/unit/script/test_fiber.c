/* Stacks and the switch. */
#include "base/limits.h"
#include "script/fiber.h"
#include "script/mapping.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define SANITIZED 1
#    endif
#endif
#ifndef SANITIZED
#    define SANITIZED 0
#endif

struct counter {
    struct fiber *f;
    int n;
    int step;
    double x;
    void *where;
};

static void count(void *arg)
{
    struct counter *c = arg;
    int local = 0;
    double sum = 0.5;
    c->where = &local;
    for (;;) {
        local += c->step;
        sum += local;
        c->n = local;
        c->x = sum;
        fiber_leave(c->f);
    }
}

static void a_fiber_goes_on_where_it_left(void **state)
{
    (void)state;
    struct counter c[3] = {{.step = 1}, {.step = 2}, {.step = 3}};
    for (int i = 0; i < 3; i++) {
        c[i].f = fiber_new(count, &c[i]);
        assert_non_null(c[i].f);
        assert_int_equal(c[i].n, 0);
    }
    double sum = 0.5;
    for (int round = 1; round < 1000; round++) {
        sum += round;
        for (int i = 0; i < 3; i++) {
            fiber_enter(c[i].f);
            assert_int_equal(c[i].n, round * c[i].step);
        }
        assert_true(c[0].x == sum);
    }
    for (int i = 0; i < 3; i++) {
        fiber_free(c[i].f); /* as it stands */
    }
}

static void a_fiber_that_never_ran_can_be_freed(void **state)
{
    (void)state;
    struct counter c = {0};
    c.f = fiber_new(count, &c);
    fiber_free(c.f);
    assert_int_equal(c.n, 0);
}

static void a_freed_stack_is_used_again(void **state)
{
    (void)state;
    struct counter first = {.step = 1};
    first.f = fiber_new(count, &first);
    fiber_enter(first.f);
    void *where = first.where;
    fiber_free(first.f);
    struct counter second = {.step = 5};
    second.f = fiber_new(count, &second);
    fiber_enter(second.f);
    assert_int_equal(second.n, 5);
#if !SANITIZED
    assert_ptr_equal(second.where, where);
#endif
    (void)where;
    fiber_free(second.f);
}

static void many_fibers_live_side_by_side(void **state)
{
    (void)state;
    enum { MANY = 300 }; /* more than the pool keeps */
    struct counter *c = calloc(MANY, sizeof(*c));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            c[i] = (struct counter){.step = i};
            c[i].f = fiber_new(count, &c[i]);
            fiber_enter(c[i].f);
        }
        for (int i = MANY - 1; i >= 0; i--) {
            fiber_enter(c[i].f);
            assert_int_equal(c[i].n, 2 * i);
            fiber_free(c[i].f);
        }
    }
    free(c);
}

/* Callee-saved registers: keeps many values live over a switch. */
static void juggle(void *arg)
{
    struct counter *c = arg;
    volatile long seed = c->step;
    long a = seed + 1, b = seed + 2, d = seed + 3, e = seed + 4, g = seed + 5;
    double x = (double)seed * 0.5, y = x + 1, z = x + 2;
    for (;;) {
        fiber_leave(c->f);
        a += b;
        b += d;
        d += e;
        e += g;
        g += a;
        x += y;
        y += z;
        z += x;
        c->n = (int)((a ^ b ^ d ^ e ^ g) & 0xffffff);
        c->x = x + y + z;
    }
}

static void registers_survive_the_switch(void **state)
{
    (void)state;
    struct counter c[2] = {{.step = 7}, {.step = 7}};
    for (int i = 0; i < 2; i++) {
        c[i].f = fiber_new(juggle, &c[i]);
        fiber_enter(c[i].f);
    }
    volatile long outer = 42;
    long p = outer, q = outer * 2, r = outer * 3, s = outer * 4, t = outer * 5;
    for (int round = 0; round < 20; round++) {
        fiber_enter(c[0].f);
        fiber_enter(c[1].f);
        assert_int_equal(c[0].n, c[1].n);
        assert_true(c[0].x == c[1].x);
        p += q;
        q += r;
        r += s;
        s += t;
    }
    assert_int_equal(t, 210);
    assert_int_equal(s, 168 + 20 * 210);
    assert_true(p > q);
    fiber_free(c[0].f);
    fiber_free(c[1].f);
}

/* Uses `bytes` of stack. Each frame hands its own to the next one, so that no
 * compiler makes a loop of it; alloca, so that ASan leaves it where it is. */
static __attribute__((noinline)) int dig(size_t bytes, volatile char *above)
{
    volatile char *here = __builtin_alloca(4096);
    for (int i = 0; i < 4096; i += 64) {
        here[i] = (char)(above[0] + 1);
    }
    __asm__ volatile("" : : "r"(here) : "memory");
    if (bytes <= 4096) {
        return 1;
    }
    return dig(bytes - 4096, here) + here[64];
}

static size_t depth;

static void dig_deep(void *arg)
{
    struct counter *c = arg;
    volatile char top[8] = {0};
    for (;;) {
        c->n = dig(depth, top);
        fiber_leave(c->f);
    }
}

static size_t resident(void *low, size_t bytes)
{
    unsigned char vec[FIBER_STACK_BYTES / 4096 + 1];
    memset(vec, 0, sizeof(vec));
    if (mincore(low, bytes, vec) != 0) {
        return SIZE_MAX;
    }
    size_t pages = 0;
    for (size_t i = 0; i < bytes / 4096; i++) {
        pages += vec[i] & 1;
    }
    return pages;
}

static void nearly_all_of_a_stack_can_be_used(void **state)
{
    (void)state;
    struct counter c = {0};
    c.f = fiber_new(dig_deep, &c);
    depth = FIBER_STACK_BYTES / (SANITIZED ? 2 : 1) - 64 * 1024;
    fiber_enter(c.f);
    assert_int_not_equal(c.n, 0);
    fiber_free(c.f);
}

static void a_stack_that_was_used_deeply_gives_its_pages_back(void **state)
{
    (void)state;
    fiber_pool_fini();
    struct counter c = {0};
    c.f = fiber_new(dig_deep, &c);
    char *low = (char *)(((uintptr_t)c.f & ~(uintptr_t)4095) + 4096 -
                         FIBER_STACK_BYTES);
    depth = 1024;
    fiber_enter(c.f);
    assert_in_range(resident(low, FIBER_STACK_BYTES), 1, 16);
    depth = 500 * 1024;
    fiber_enter(c.f);
    assert_true(resident(low, FIBER_STACK_BYTES) > 100);
    fiber_free(c.f);
    assert_false(fiber_reap());
    assert_in_range(resident(low, FIBER_STACK_BYTES), 1, 16);
    fiber_pool_fini();
    assert_true(resident(low, FIBER_STACK_BYTES) == SIZE_MAX);
}

/* An app that dies with thousands of them keeps nobody waiting. */
static void many_that_go_at_once_are_unmapped_in_turns(void **state)
{
    (void)state;
    enum { MANY = 200, POOL = 64, EACH = 16 };
    static struct counter c[MANY];
    fiber_pool_fini();
    mapping_pretend(0, false);
    size_t none = mapping_stacks_left();
    for (size_t i = 0; i < MANY; i++) {
        c[i].f = fiber_new(count, &c[i]);
    }
    size_t all = mapping_stacks_left();
    assert_int_equal(all, none - MANY);
    for (size_t i = 0; i < MANY; i++) {
        fiber_free(c[i].f);
    }
    assert_int_equal(mapping_stacks_left(), all);
    /* Who wants one has one of those. */
    c[0].f = fiber_new(count, &c[0]);
    assert_int_equal(mapping_stacks_left(), all);
    fiber_free(c[0].f);
    size_t left = all;
    while (fiber_has_freed()) {
        (void)fiber_reap();
        assert_in_range(mapping_stacks_left(), left + 1, left + EACH);
        left = mapping_stacks_left();
    }
    assert_int_equal(left, none - POOL);
    fiber_pool_fini();
    assert_int_equal(mapping_stacks_left(), none);
}

static void overflow(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        static struct counter c;
        signal(SIGSEGV, SIG_DFL);
        close(STDERR_FILENO);
        c.f = fiber_new(dig_deep, &c);
        depth = FIBER_STACK_BYTES + 16 * 1024;
        fiber_enter(c.f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!SANITIZED) {
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void an_overflow_hits_the_guard_of_either_kind(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        fiber_pool_fini();
        mapping_pretend(0, kind == 1);
        overflow();
    }
}

static void fewer_are_left_for_those_who_have_many(void **state)
{
    (void)state;
    struct counter c[30] = {0};
    fiber_pool_fini();
    mapping_pretend(80, false); /* 30 stacks */
    for (size_t i = 0; i < 30; i++) {
        uint32_t share = i < 15   ? UINT32_MAX
                         : i < 27 ? LIMIT_SCARCE_TASKS
                                  : LIMIT_LAST_TASKS;
        assert_int_equal(fiber_share(0), share);
        c[i].f = fiber_new(count, &c[i]);
        assert_non_null(c[i].f);
    }
    assert_int_equal(fiber_share(0), 0);
    assert_int_equal(fiber_share(1), LIMIT_LAST_TASKS);
    assert_null(fiber_new(count, &c[0]));
    /* The last ones are not kept: other threads may want them. */
    fiber_free(c[29].f);
    assert_int_equal(fiber_share(0), LIMIT_LAST_TASKS);
    assert_false(fiber_reap());
    assert_int_equal(mapping_stacks_left(), 1);
    assert_int_equal(fiber_share(0), LIMIT_LAST_TASKS);
    for (int i = 28; i >= 0; i--) {
        fiber_free(c[i].f);
    }
    assert_true(mapping_stacks_left() < 30);
    assert_int_equal(fiber_share(0), UINT32_MAX);
    fiber_pool_fini();
    assert_int_equal(mapping_stacks_left(), 30);
    mapping_pretend(0, true);
}

static void look_back(void *arg)
{
    struct counter *c = arg;
    void *frames[32];
    for (;;) {
        c->n = backtrace(frames, 32);
        fiber_leave(c->f);
    }
}

static void a_backtrace_ends_at_the_base(void **state)
{
    (void)state;
    struct counter c = {0};
    c.f = fiber_new(look_back, &c);
    fiber_enter(c.f);
    /* look_back, the first function, the base: not what lies beyond. */
    assert_in_range(c.n, 2, 5);
    fiber_free(c.f);
}

static void *on_a_thread(void *arg)
{
    struct counter c[4];
    for (int i = 0; i < 4; i++) {
        c[i] = (struct counter){.step = i + 1};
        c[i].f = fiber_new(count, &c[i]);
    }
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 4; i++) {
            fiber_enter(c[i].f);
        }
    }
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += c[i].n;
        fiber_free(c[i].f);
    }
    *(int *)arg = sum;
    fiber_pool_fini();
    return NULL;
}

static void each_thread_has_its_own(void **state)
{
    (void)state;
    pthread_t threads[3];
    int sums[3] = {0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, on_a_thread, &sums[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(sums[i], 10000);
    }
}

static int end(void **state)
{
    (void)state;
    fiber_pool_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fiber_goes_on_where_it_left),
        cmocka_unit_test(a_fiber_that_never_ran_can_be_freed),
        cmocka_unit_test(a_freed_stack_is_used_again),
        cmocka_unit_test(many_fibers_live_side_by_side),
        cmocka_unit_test(registers_survive_the_switch),
        cmocka_unit_test(nearly_all_of_a_stack_can_be_used),
        cmocka_unit_test(a_stack_that_was_used_deeply_gives_its_pages_back),
        cmocka_unit_test(many_that_go_at_once_are_unmapped_in_turns),
        cmocka_unit_test(an_overflow_hits_the_guard_of_either_kind),
        cmocka_unit_test(fewer_are_left_for_those_who_have_many),
        cmocka_unit_test(a_backtrace_ends_at_the_base),
        cmocka_unit_test(each_thread_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
