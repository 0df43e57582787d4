/* harden_calls.h -- the table behind harden_filter.c: one line for each system
 * call that the filter knows. */
#ifndef SERVER_HARDEN_CALLS_H
#define SERVER_HARDEN_CALLS_H

#include "base/base.h"

enum harden_how {
    HARDEN_LET,      /* through */
    HARDEN_REFUSE,   /* EPERM */
    HARDEN_TOOL,     /* EPERM; with a sanitizer, through: its tools make it */
    HARDEN_UNKNOWN,  /* ENOSYS */
    HARDEN_ONE_OF,   /* through if args[arg] is one of the values */
    HARDEN_NO_BITS,  /* through if args[arg] has none of values[0] */
    HARDEN_ALL_BITS, /* through if args[arg] has all of values[0] */
    HARDEN_MAP,      /* mmap: see harden_filter.c */
    HARDEN_OURSELVES /* through if args[arg] is this process */
};

struct harden_call {
    long number;
    enum harden_how how;
    unsigned arg;
    const uint32_t *values;
    size_t value_count;
};

/* <sys/mman.h> has them, behind a name each that differs by nothing. */
#define HARDEN_PROT_WRITE    2u
#define HARDEN_PROT_EXEC     4u
#define HARDEN_MAP_ANONYMOUS 0x20u

#if defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define HARDEN_DENIES_ONLY 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define HARDEN_DENIES_ONLY 1
#endif
#ifndef HARDEN_DENIES_ONLY
/* Only what is refused by name is refused. */
#    define HARDEN_DENIES_ONLY 0
#endif

/* The frequent ones first. */
const struct harden_call *harden_calls(size_t *count);

#endif
