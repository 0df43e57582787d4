/* harden_filter.c -- the system calls that the server needs, and no others.
 *
 * Called by harden.c. A seccomp filter of our own making: a table of calls,
 * turned into a BPF program that the kernel runs before each call. It is an
 * allowlist, because the calls that are to be feared are more every year,
 * while those a socket server needs have been the same for long. What is let
 * through can read files, use sockets, memory, clocks, and threads; it cannot
 * start a program, look into another process, open a file for writing, or map
 * memory that is written and run.
 *
 * A refused call gets an error, never a signal: libraries ask the kernel what
 * it can do by trying (libuv for io_uring, libc for clone3), and go on with
 * less. ENOSYS is the answer that they all understand. The calls that nobody
 * makes by accident get EPERM, as an intruder's log of them should say.
 *
 * Arguments are looked at only where they are plain numbers: what a pointer
 * leads to can be changed after the look. That is why openat2 and clone3,
 * whose flags lie in memory, are refused as a whole.
 *
 * With a sanitizer, only the feared calls are refused, less those that its
 * own tools make. */
#include "base/err.h"
#include "server/harden_priv.h"
#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) &&     \
    !defined(MOONWIRE_COVERAGE)
#    define HAS_FILTER 1
#else
#    define HAS_FILTER 0 /* gcov writes its files at the end */
#endif

#if HAS_FILTER
#    include "server/harden_calls.h"
#    include <fcntl.h>
#    include <linux/audit.h>
#    include <linux/filter.h>
#    include <linux/seccomp.h>
#    include <sys/syscall.h>

#    ifdef __x86_64__
#        define ARCH AUDIT_ARCH_X86_64
#    else
#        define ARCH AUDIT_ARCH_AARCH64
#    endif
/* Numbers of the x32 ABI have this bit, on a kernel that has it at all. */
#    define X32_BIT 0x40000000u

/* The kernel takes at most 4096. */
#    define PROGRAM_MAX 1024

#    define NR_OFFSET   ((uint32_t)offsetof(struct seccomp_data, nr))
#    define ARCH_OFFSET ((uint32_t)offsetof(struct seccomp_data, arch))
/* The lower half of an argument: what the kernel looks at, where the
 * argument is an int or a set of flags. Both processors are little-endian. */
#    define ARG_OFFSET(i)                                                      \
        ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)(i)))

struct program {
    struct sock_filter code[PROGRAM_MAX];
    size_t n;
};

static void add(
    struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    ASSERT(p->n < PROGRAM_MAX, "the filter fits its program");
    p->code[p->n++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, uint32_t offset)
{
    add(p, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void verdict(struct program *p, uint32_t what)
{
    add(p, BPF_RET | BPF_K, what, 0, 0);
}

#    define LET_THROUGH ((uint32_t)SECCOMP_RET_ALLOW)
#    define REFUSE      ((uint32_t)SECCOMP_RET_ERRNO | EPERM)
#    define UNKNOWN     ((uint32_t)SECCOMP_RET_ERRNO | ENOSYS)

/* "If the number loaded is k, go on; else leave out `n` instructions." */
static void only_if(struct program *p, uint32_t k, size_t n)
{
    add(p, BPF_JMP | BPF_JEQ | BPF_K, k, 0, (uint8_t)n);
}

/* The call is let through if its argument is one of the values. */
static void add_one_of(struct program *p, const struct harden_call *c)
{
    only_if(p, (uint32_t)c->number, 2 * c->value_count + 2);
    load(p, ARG_OFFSET(c->arg));
    for (size_t i = 0; i < c->value_count; i++) {
        only_if(p, c->values[i], 1);
        verdict(p, LET_THROUGH);
    }
    verdict(p, REFUSE);
}

/* ... if none, or (`want_all`) if all bits of values[0] are set. */
static void add_bits(
    struct program *p, const struct harden_call *c, bool want_all)
{
    only_if(p, (uint32_t)c->number, 5);
    load(p, ARG_OFFSET(c->arg));
    add(p, BPF_ALU | BPF_AND | BPF_K, c->values[0], 0, 0);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, want_all ? c->values[0] : 0, 0, 1);
    verdict(p, LET_THROUGH);
    verdict(p, REFUSE);
}

/* mmap: memory that can be run comes from a file, and is not written to. */
static void add_map(struct program *p, const struct harden_call *c)
{
    only_if(p, (uint32_t)c->number, 7);
    load(p, ARG_OFFSET(2));
    add(p, BPF_JMP | BPF_JSET | BPF_K, HARDEN_PROT_EXEC, 0, 4);
    add(p, BPF_JMP | BPF_JSET | BPF_K, HARDEN_PROT_WRITE, 2, 0);
    load(p, ARG_OFFSET(3));
    add(p, BPF_JMP | BPF_JSET | BPF_K, HARDEN_MAP_ANONYMOUS, 0, 1);
    verdict(p, REFUSE);
    verdict(p, LET_THROUGH);
}

static void add_call(struct program *p, const struct harden_call *c)
{
    if (HARDEN_DENIES_ONLY && c->how != HARDEN_REFUSE &&
        c->how != HARDEN_UNKNOWN) {
        return;
    }
    switch (c->how) {
    case HARDEN_LET:
        only_if(p, (uint32_t)c->number, 1);
        verdict(p, LET_THROUGH);
        break;
    case HARDEN_TOOL:
    case HARDEN_REFUSE:
        only_if(p, (uint32_t)c->number, 1);
        verdict(p, REFUSE);
        break;
    case HARDEN_UNKNOWN:
        only_if(p, (uint32_t)c->number, 1);
        verdict(p, UNKNOWN);
        break;
    case HARDEN_ONE_OF: add_one_of(p, c); break;
    case HARDEN_NO_BITS: add_bits(p, c, false); break;
    case HARDEN_ALL_BITS: add_bits(p, c, true); break;
    case HARDEN_MAP: add_map(p, c); break;
    case HARDEN_OURSELVES: {
        uint32_t pid = (uint32_t)getpid();
        struct harden_call self = *c;
        self.values = &pid;
        self.value_count = 1;
        add_one_of(p, &self);
        break;
    }
    }
}

static void write_program(struct program *p)
{
    size_t count;
    const struct harden_call *calls = harden_calls(&count);
    p->n = 0;
    load(p, ARCH_OFFSET);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    verdict(p, UNKNOWN);
    load(p, NR_OFFSET);
    add(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    verdict(p, UNKNOWN);
    for (size_t i = 0; i < count; i++) {
        add_call(p, &calls[i]);
    }
    verdict(p, HARDEN_DENIES_ONLY ? LET_THROUGH : UNKNOWN);
}

int harden_filter_install(void)
{
    static struct program program;
    write_program(&program);
    struct sock_fprog prog = {
        .len = (unsigned short)program.n, .filter = program.code};
    long rc = syscall(
        SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    if (rc > 0) {
        return -ESRCH; /* a thread that has a filter of its own */
    }
    return rc == 0 ? 0 : -errno;
}

#else

int harden_filter_install(void)
{
    return -ENOSYS;
}

#endif
