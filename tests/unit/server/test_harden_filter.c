/* test_harden_filter.c -- which system calls the filter lets through, tried in
 * a process of its own for each case. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "server/harden_calls.h"
#include "server/harden_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* In the child: what came of a call, 0 or its errno. */
static int result_of(long rc)
{
    return rc < 0 ? errno : 0;
}

#define SKIPPED   255
#define NO_FILTER 254

/* Runs `tries` behind the filter; it returns 0, or says which one failed. */
static int behind_the_filter(int (*tries)(void))
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(60);
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int rc = harden_filter_install();
        _exit(rc == 0 ? tries() : NO_FILTER);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        fail_msg("killed by signal %d", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) == NO_FILTER || WEXITSTATUS(status) == SKIPPED) {
        skip();
    }
    return WEXITSTATUS(status);
}

#define TRY(call, wanted)                                                      \
    do {                                                                       \
        errno = 0;                                                             \
        int tried = result_of((long)(call));                                   \
        if (tried != (wanted)) {                                               \
            (void)fprintf(stderr, "%s: %s, not %s\n", #call, strerror(tried),  \
                strerror(wanted));                                             \
            return __LINE__ % 200 + 1;                                         \
        }                                                                      \
    } while (0)

static int try_feared_calls(void)
{
    char path[] = "/bin/true";
    char *const argv[] = {path, NULL};
    char *const envp[] = {NULL};
    struct iovec iov = {&iov, 1};
    if (!HARDEN_DENIES_ONLY) {
        TRY(syscall(SYS_execve, path, argv, envp), EPERM);
        TRY(syscall(SYS_execveat, AT_FDCWD, path, argv, envp, 0), EPERM);
        TRY(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM);
        TRY(syscall(SYS_process_vm_readv, getppid(), &iov, 1, &iov, 1, 0),
            EPERM);
        TRY(syscall(SYS_process_vm_writev, getppid(), &iov, 1, &iov, 1, 0),
            EPERM);
        TRY(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM);
        TRY(fork(), EPERM);
    }
#ifdef SYS_clone3
    TRY(syscall(SYS_clone3, NULL, 0), ENOSYS);
#endif
    TRY(syscall(SYS_mount, "a", "/", "tmpfs", 0, NULL), EPERM);
    TRY(syscall(SYS_umount2, "/", 0), EPERM);
    TRY(syscall(SYS_pivot_root, "/", "/"), EPERM);
    TRY(chroot("/"), EPERM);
    TRY(syscall(SYS_bpf, 0, NULL, 0), EPERM);
    TRY(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0), EPERM);
    TRY(syscall(SYS_kexec_load, 0, 0, NULL, 0), EPERM);
    TRY(syscall(SYS_init_module, NULL, 0, ""), EPERM);
    TRY(syscall(SYS_finit_module, -1, "", 0), EPERM);
    TRY(syscall(SYS_delete_module, "x", 0), EPERM);
    TRY(syscall(SYS_setns, -1, 0), EPERM);
    TRY(syscall(SYS_unshare, 0x10000000), EPERM);
    TRY(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
    TRY(syscall(SYS_add_key, "user", "x", "y", 1, 0), EPERM);
    TRY(syscall(SYS_request_key, "user", "x", "y", 0), EPERM);
    TRY(syscall(SYS_reboot, 0, 0, 0, NULL), EPERM);
    TRY(syscall(SYS_userfaultfd, 0), EPERM);
    TRY(setuid(getuid()), EPERM);
    TRY(setgid(getgid()), EPERM);
    TRY(syscall(SYS_setsid), EPERM);
    TRY(syscall(SYS_open_by_handle_at, -1, NULL, 0), EPERM);
    TRY(syscall(SYS_memfd_create, "x", 0), EPERM);
#ifdef SYS_pidfd_open
    TRY(syscall(SYS_pidfd_open, getppid(), 0), EPERM);
#endif
#ifdef SYS_io_uring_setup
    TRY(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS);
#endif
    return 0;
}

static void feared_calls_are_refused_and_kill_nobody(void **state)
{
    (void)state;
    assert_int_equal(behind_the_filter(try_feared_calls), 0);
}

static int try_writing(void)
{
    const char *name = "/tmp/moonwire-harden-test";
    TRY(unlink(name), EPERM);
    TRY(mkdir(name, 0700), EPERM);
    TRY(rename("/tmp", name), EPERM);
    TRY(symlink("/tmp", name), EPERM);
    TRY(link("/etc/passwd", name), EPERM);
    TRY(chmod("/etc/passwd", 0644), EPERM);
    TRY(truncate(name, 0), EPERM);
    if (HARDEN_DENIES_ONLY) {
        return 0;
    }
    TRY(open(name, O_WRONLY | O_CREAT, 0600), EPERM);
    TRY(open("/dev/null", O_WRONLY), EPERM);
    TRY(open("/dev/null", O_RDWR), EPERM);
    TRY(open("/dev/null", O_RDONLY | O_TRUNC), EPERM);
    TRY(open("/tmp", O_RDWR | O_TMPFILE, 0600), EPERM);
    TRY(syscall(SYS_openat2, AT_FDCWD, name, NULL, 0), ENOSYS);
    return 0;
}

static void files_can_be_read_only(void **state)
{
    (void)state;
    assert_int_equal(behind_the_filter(try_writing), 0);
}

static int try_conditions(void)
{
    if (HARDEN_DENIES_ONLY) {
        return SKIPPED;
    }
    int prot = PROT_READ | PROT_WRITE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *p = mmap(NULL, 4096, prot, flags, -1, 0);
    TRY(p == MAP_FAILED ? -1 : 0, 0);
    TRY(mprotect(p, 4096, PROT_READ), 0);
    TRY(mprotect(p, 4096, PROT_NONE), 0);
    TRY(mprotect(p, 4096, PROT_READ | PROT_EXEC), EPERM);
    TRY(mmap(NULL, 4096, PROT_READ | PROT_EXEC, flags, -1, 0) == MAP_FAILED ? -1
                                                                            : 0,
        EPERM);
    int fd = open("/proc/self/exe", O_RDONLY);
    TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd,
            0) == MAP_FAILED
            ? -1
            : 0,
        EPERM);
    /* A library that is loaded late is fine. */
    TRY(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) ==
                MAP_FAILED
            ? -1
            : 0,
        0);
    TRY(kill(getppid(), 0), EPERM);
    TRY(kill(-1, 0), EPERM);
    TRY(kill(0, 0), EPERM);
    TRY(kill(getpid(), 0), 0);
    TRY(syscall(SYS_tgkill, getppid(), getppid(), 0), EPERM);
    TRY(syscall(SYS_tgkill, getpid(), getpid(), 0), 0);
    TRY(socket(AF_INET, SOCK_STREAM, 0), 0);
    TRY(socket(AF_INET6, SOCK_STREAM, 0) < 0 && errno == EPERM ? -1 : 0, 0);
    TRY(socket(AF_PACKET, SOCK_RAW, 0), EPERM);
    TRY(socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0), EPERM);
    TRY(socket(40 /* AF_VSOCK */, SOCK_STREAM, 0), EPERM);
    char ch = 'x';
    TRY(ioctl(0, TIOCSTI, &ch), EPERM);
    TRY(ioctl(fd, FIONBIO, &(int){0}), 0);
    TRY(fcntl(fd, F_SETOWN, getppid()), EPERM);
    TRY(fcntl(fd, F_GETFL), 0);
    TRY(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM);
    TRY(prctl(PR_SET_NAME, "moonwire", 0, 0, 0), 0);
    struct rlimit lim;
    TRY(getrlimit(RLIMIT_NOFILE, &lim), 0);
    TRY(prlimit(getppid(), RLIMIT_NOFILE, NULL, &lim), EPERM);
    return 0;
}

static void some_calls_depend_on_what_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(behind_the_filter(try_conditions), 0);
}

static void *be_a_thread(void *arg)
{
    *(int *)arg = 1;
    return NULL;
}

static int try_what_a_server_does(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    TRY(fd, 0);
    TRY(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    TRY(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    TRY(listen(fd, 5), 0);
    TRY(accept4(fd, NULL, NULL, SOCK_CLOEXEC), EAGAIN);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
    TRY(epoll_wait(ep, &ev, 1, 0), 0);
    TRY(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), 0);
    int in = inotify_init1(IN_CLOEXEC);
    TRY(in, 0);
    TRY(inotify_add_watch(in, "/", IN_CREATE), 0);
    struct stat st;
    TRY(stat("/", &st), 0);
    int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TRY(dir, 0);
    TRY(openat(dir, "etc/passwd", O_RDONLY | O_NOFOLLOW), 0);
    char big[64];
    TRY(syscall(SYS_getrandom, big, sizeof(big), 0), 0);
    TRY(write(STDERR_FILENO, "", 0), 0);
    /* A preemption timer, and a thread of the pool that starts late. */
    timer_t timer;
    struct sigevent se = {.sigev_notify = SIGEV_NONE};
    struct itimerspec spec = {.it_value.tv_nsec = 1000000};
    TRY(timer_create(CLOCK_MONOTONIC, &se, &timer), 0);
    TRY(timer_settime(timer, 0, &spec, NULL), 0);
    TRY(timer_delete(timer), 0);
    pthread_t t;
    int ran = 0;
    TRY(-pthread_create(&t, NULL, be_a_thread, &ran), 0);
    TRY(-pthread_join(t, NULL), 0);
    TRY(ran - 1, 0);
    free(malloc(64 * 1024 * 1024));
    return 0;
}

static void what_a_server_does_is_let_through(void **state)
{
    (void)state;
    assert_int_equal(behind_the_filter(try_what_a_server_does), 0);
}

static int try_all_numbers(void)
{
    /* No number, known or not, may kill: each is tried with arguments that
     * are no good, but for those that would end or stop the process. */
    static const long spared[] = {SYS_exit, SYS_exit_group, SYS_rt_sigreturn,
        SYS_rt_sigsuspend, SYS_ppoll, SYS_pselect6, SYS_futex,
#ifdef SYS_pause
        SYS_pause,
#endif
#ifdef __x86_64__
        335, 336, /* uretprobe, uprobe: the kernel's own, passed by seccomp */
#endif
#ifdef SYS_select
        SYS_select,
#endif
#ifdef SYS_poll
        SYS_poll,
#endif
        SYS_close, SYS_munmap, SYS_brk, SYS_close_range, SYS_rt_sigaction,
        SYS_sigaltstack, SYS_set_tid_address, SYS_set_robust_list, SYS_rseq,
        SYS_mremap, SYS_madvise, SYS_kill, SYS_tgkill, SYS_restart_syscall,
        SYS_dup3, SYS_clone,
#ifdef SYS_dup2
        SYS_dup2,
#endif
#ifdef SYS_vfork
        SYS_vfork,
#endif
#ifdef SYS_fork
        SYS_fork,
#endif
        SYS_ptrace};
    if (HARDEN_DENIES_ONLY) {
        return SKIPPED;
    }
    for (long n = 0; n < 600; n++) {
        bool is_spared = false;
        for (size_t i = 0; i < sizeof(spared) / sizeof(spared[0]); i++) {
            is_spared = is_spared || spared[i] == n;
        }
        if (!is_spared) {
            (void)syscall(n, -1L, -1L, -1L, -1L, -1L, -1L);
        }
    }
    TRY(syscall(100000, 0), ENOSYS);
#ifdef __x86_64__
    TRY(syscall(0x40000000 + SYS_getpid, 0), ENOSYS);
#endif
    return 0;
}

static void no_number_at_all_kills_the_process(void **state)
{
    (void)state;
    assert_int_equal(behind_the_filter(try_all_numbers), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feared_calls_are_refused_and_kill_nobody),
        cmocka_unit_test(files_can_be_read_only),
        cmocka_unit_test(some_calls_depend_on_what_is_asked_for),
        cmocka_unit_test(what_a_server_does_is_let_through),
        cmocka_unit_test(no_number_at_all_kills_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
