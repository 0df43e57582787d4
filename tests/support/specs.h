/* specs.h -- each *_spec.lua of a directory as a cmocka test of its own, by
 * name. */
#ifndef TESTS_SUPPORT_SPECS_H
#define TESTS_SUPPORT_SPECS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPECS_MAX 64

static inline int spec_by_name(const void *a, const void *b)
{
    const struct CMUnitTest *x = a;
    const struct CMUnitTest *y = b;
    return strcmp(x->name, y->name);
}

static inline size_t specs_find(
    const char *path, CMUnitTestFunction passes, struct CMUnitTest *tests)
{
    size_t n = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL && n < SPECS_MAX;) {
        size_t len = strlen(e->d_name);
        if (len > 9 && strcmp(e->d_name + len - 9, "_spec.lua") == 0) {
            char *name = strdup(e->d_name);
            tests[n++] = (struct CMUnitTest){name, passes, NULL, NULL, name};
        }
    }
    closedir(dir);
    qsort(tests, n, sizeof(tests[0]), spec_by_name);
    return n;
}

/* main() of such a test: `passes` finds the file's name in its state. */
static inline int specs_run(
    const char *group, const char *path, CMUnitTestFunction passes)
{
    struct CMUnitTest tests[SPECS_MAX];
    size_t n = specs_find(path, passes, tests);
    if (n == 0) {
        fprintf(stderr, "no specs in %s\n", path);
        return 1;
    }
    int failed = _cmocka_run_group_tests(group, tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        free(tests[i].initial_state);
    }
    return failed;
}

#endif
