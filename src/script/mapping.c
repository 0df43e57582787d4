/* mapping.c -- what apps have the process map is counted, and bounded.
 *
 * Called by fiber.c (stacks), arena.c and reaper.c (arenas), from any loop. Two
 * things are promised: that the process never comes to vm.max_map_count, where
 * every large malloc() and every file that is mapped would fail, and nobody
 * could free a part of anything; and that stacks cannot take what arenas need.
 * So of all mappings there may be
 *
 *   0 ................ 6/8 ............ 7/8 ............ 8/8
 *   stacks and arenas  | arenas only    | everything else
 *
 * Everything else is the program, its libraries, threads, and blocks of malloc
 * of 4 MiB and more (base/mem.c), which memory bounds long before.
 *
 * A guard is a piece of the mapping that nobody can touch. With mprotect() it
 * is a mapping of its own, so a stack or an arena costs two. Linux 6.13 has
 * guards that stand in the page tables (MADV_GUARD_INSTALL): then neighbours
 * have the same flags and the kernel makes one of them, and the worst that can
 * happen, if every second one goes, is one for each. That worst is what is
 * counted here: how many the kernel has made of it at present says nothing of
 * what remains when some are freed. MADV_DONTNEED leaves such a guard where
 * it is, and who touches it gets the same SIGSEGV.
 *
 * The counts are words that loops add to after they have looked, so there can
 * be one too many for each loop: the last eighth does not mind. */
#include "script/mapping.h"
#include "base/limits.h"
#include "base/word.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What Linux has if it does not say. */
#define USUAL_MAX_MAP_COUNT 65530
#define MOST_MAX_MAP_COUNT  ((uint64_t)1 << 31)
#define MAX_MAP_COUNT_FILE  "/proc/sys/vm/max_map_count"

#if defined(__linux__) && !defined(MADV_GUARD_INSTALL)
#    define MADV_GUARD_INSTALL 102
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Written once, or by tests. */
static struct {
    uint64_t max_map_count;
    bool can_guard; /* without a mapping, on this system */
    bool is_guarding;
} system_has;

static struct word held[MAPPING_USES];
/* Pieces that could not be unmapped. */
static struct word lost;

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

static bool install_guard(void *p)
{
#ifdef MADV_GUARD_INSTALL
    return madvise(p, MAPPING_GUARD_BYTES, MADV_GUARD_INSTALL) == 0;
#else
    (void)p;
    return false;
#endif
}

/* Emulators say yes to any advice, so the kernel is asked to write there. */
static bool try_guard(int fd)
{
    void *p = map(MAPPING_GUARD_BYTES);
    if (p == NULL) {
        return false;
    }
    bool works =
        install_guard(p) && pread(fd, p, 1, 0) == -1 && errno == EFAULT;
    (void)munmap(p, MAPPING_GUARD_BYTES);
    return works;
}

static uint64_t read_number(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

static void ask_system(void)
{
    system_has.max_map_count = USUAL_MAX_MAP_COUNT;
    int fd = open(MAX_MAP_COUNT_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    uint64_t n = read_number(fd);
    if (n > 0) {
        system_has.max_map_count =
            n < MOST_MAX_MAP_COUNT ? n : MOST_MAX_MAP_COUNT;
    }
    system_has.can_guard = try_guard(fd);
    system_has.is_guarding = system_has.can_guard;
    (void)close(fd);
}

void mapping_init(void)
{
    int err = pthread_once(&once, ask_system);
    ASSERT(err == 0, "it only fails when it is given nonsense");
}

void mapping_pretend(uint64_t max_map_count, bool needs_none)
{
    mapping_init();
    if (max_map_count == 0) {
        ask_system();
    } else {
        system_has.max_map_count = max_map_count;
    }
    system_has.is_guarding = needs_none && system_has.can_guard;
}

bool mapping_guards_are_free(void)
{
    mapping_init();
    return system_has.is_guarding;
}

/* How many there may be when one of that use is wanted. */
static size_t most_for(enum mapping_use use)
{
    uint64_t eighths = use == MAPPING_STACK ? LIMIT_MAPPING_STACK_EIGHTHS
                                            : LIMIT_MAPPING_ARENA_EIGHTHS;
    uint64_t each = system_has.is_guarding ? 1 : 2;
    return (size_t)(system_has.max_map_count * eighths / 8 / each);
}

static size_t less(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

static size_t left_for(enum mapping_use use)
{
    size_t taken = (size_t)word_get(&lost);
    for (int i = 0; i < MAPPING_USES; i++) {
        taken += (size_t)word_get(&held[i]);
    }
    return less(most_for(use), taken);
}

size_t mapping_stacks_most(void)
{
    mapping_init();
    return less(most_for(MAPPING_STACK),
        (size_t)word_get(&held[MAPPING_ARENA]) + (size_t)word_get(&lost));
}

size_t mapping_stacks_left(void)
{
    mapping_init();
    return left_for(MAPPING_STACK);
}

void *mapping_new(enum mapping_use use, size_t bytes)
{
    mapping_init();
    if (left_for(use) == 0) {
        return NULL;
    }
    char *p = map(bytes);
    if (p == NULL) {
        return NULL;
    }
    /* Neighbours look like one large mapping to the kernel, and one huge page
     * would cost more than a hundred small apps. */
    (void)madvise(p, bytes, MADV_NOHUGEPAGE);
    char *guard = use == MAPPING_STACK ? p : p + bytes - MAPPING_GUARD_BYTES;
    bool is_guarded =
        system_has.is_guarding
            ? install_guard(guard)
            : mprotect(guard, MAPPING_GUARD_BYTES, PROT_NONE) == 0;
    if (!is_guarded) {
        (void)munmap(p, bytes);
        return NULL;
    }
    word_add(&held[use], 1);
    return p;
}

/* A hole in what the kernel has made one mapping takes one more, for which
 * there is room as long as everything else keeps to its eighth. If it does
 * not, the memory goes back all the same, and the addresses stay. */
void mapping_cut(void *p, size_t bytes)
{
    if (munmap(p, bytes) == 0) {
        return;
    }
    ASSERT(errno == ENOMEM, "a mapping of ours");
    (void)madvise(p, bytes, MADV_DONTNEED);
    word_add(&lost, 1);
}

void mapping_free(enum mapping_use use, void *p, size_t bytes)
{
    mapping_cut(p, bytes);
    word_sub(&held[use], 1);
}
