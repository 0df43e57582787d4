/* harden_calls.c -- which system calls the server makes; see harden_filter.c.
 *
 * The table is written for several kernels, C libraries and two processors:
 * what one of them does not know is left out by its #ifdef. A call that is not
 * in the table is refused with ENOSYS, so a new use of the kernel needs its
 * line here; tests/unit/server/test_harden_filter.c tries them. */
#include "server/harden_calls.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#    include <fcntl.h>
#    include <sys/syscall.h>

/* Reading, of what is there. */
#    define FOR_WRITING                                                        \
        ((uint32_t)(O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND |         \
                    (O_TMPFILE & ~O_DIRECTORY)))
static const uint32_t for_writing[] = {FOR_WRITING};
/* A thread, not a process. */
static const uint32_t thread_bit[] = {0x00010000};
static const uint32_t exec_bit[] = {HARDEN_PROT_EXEC};
static const uint32_t no_process[] = {0};
/* AF_UNIX, AF_INET, AF_INET6; AF_NETLINK: libc looks at the interfaces. */
static const uint32_t families[] = {1, 2, 10, 16};
/* FIONBIO, FIONREAD, FIOCLEX, FIONCLEX; isatty(): TCGETS, TCGETS2,
 * TIOCGWINSZ. */
static const uint32_t ioctls[] = {
    0x5421, 0x541b, 0x5451, 0x5450, 0x5401, 0x802c542a, 0x5413};
/* F_DUPFD to F_SETLKW, F_DUPFD_CLOEXEC, the locks of open files. None that
 * sends signals to others. */
static const uint32_t fcntls[] = {0, 1, 2, 3, 4, 5, 6, 7, 1030, 36, 37, 38};
/* PR_SET_NAME, PR_GET_NAME, PR_SET_VMA. */
static const uint32_t prctls[] = {15, 16, 0x53564d41};

#    define LET(name)                                                          \
        {                                                                      \
            __NR_##name, HARDEN_LET, 0, NULL, 0                                \
        }
#    define REFUSE(name)                                                       \
        {                                                                      \
            __NR_##name, HARDEN_REFUSE, 0, NULL, 0                             \
        }
#    define UNKNOWN(name)                                                      \
        {                                                                      \
            __NR_##name, HARDEN_UNKNOWN, 0, NULL, 0                            \
        }
#    define TOOL(name)                                                         \
        {                                                                      \
            __NR_##name, HARDEN_TOOL, 0, NULL, 0                               \
        }
#    define OURS(name)                                                         \
        {                                                                      \
            __NR_##name, HARDEN_OURSELVES, 0, NULL, 0                          \
        }
#    define IF(name, how, arg, values)                                         \
        {                                                                      \
            __NR_##name, HARDEN_##how, arg, values, ARRAY_LEN(values)          \
        }

static const struct harden_call calls[] = {
    /* What each turn of a loop makes. */
    LET(epoll_pwait),
    LET(recvfrom),
    LET(sendto),
    LET(sendmsg),
    LET(read),
    LET(write),
    LET(writev),
    LET(readv),
    LET(futex),
    LET(clock_gettime),
    LET(timer_settime),
    LET(rt_sigreturn),
    LET(rt_sigprocmask),
    LET(epoll_ctl),
    LET(accept4),
    LET(close),
#    ifdef __NR_epoll_wait
    LET(epoll_wait),
#    endif
#    ifdef __NR_epoll_pwait2
    LET(epoll_pwait2),
#    endif

    /* With conditions. */
    IF(openat, NO_BITS, 2, for_writing),
#    ifdef __NR_open
    IF(open, NO_BITS, 1, for_writing),
#    endif
    {__NR_mmap, HARDEN_MAP, 0, NULL, 0},
    IF(mprotect, NO_BITS, 2, exec_bit),
    IF(clone, ALL_BITS, 0, thread_bit),
    IF(socket, ONE_OF, 0, families),
    IF(ioctl, ONE_OF, 1, ioctls),
    IF(fcntl, ONE_OF, 1, fcntls),
    IF(prctl, ONE_OF, 0, prctls),
    IF(prlimit64, ONE_OF, 0, no_process),
    OURS(kill),
    OURS(tgkill),
    OURS(rt_tgsigqueueinfo),

    /* Files that are open, and what is to be read. */
    LET(faccessat),
    LET(dup),
    LET(dup3),
    LET(eventfd2),
    LET(fadvise64),
    LET(flock),
    LET(fstat),
    LET(fstatfs),
    LET(getcwd),
    LET(getdents64),
    LET(inotify_add_watch),
    LET(inotify_init1),
    LET(inotify_rm_watch),
    LET(lseek),
    LET(newfstatat),
    LET(pipe2),
    LET(ppoll),
    LET(pread64),
    LET(preadv),
    LET(pselect6),
    LET(readlinkat),
    LET(sendfile),
    LET(statfs),
    LET(statx),
    LET(epoll_create1),
#    ifdef __NR_access
    LET(access),
#    endif
#    ifdef __NR_faccessat2
    LET(faccessat2),
#    endif
#    ifdef __NR_close_range
    LET(close_range),
#    endif
#    ifdef __NR_dup2
    LET(dup2),
#    endif
#    ifdef __NR_lstat
    LET(lstat),
#    endif
#    ifdef __NR_pipe
    LET(pipe),
#    endif
#    ifdef __NR_poll
    LET(poll),
#    endif
#    ifdef __NR_readlink
    LET(readlink),
#    endif
#    ifdef __NR_select
    LET(select),
#    endif
#    ifdef __NR_stat
    LET(stat),
#    endif

    /* Sockets. */
    LET(accept),
    LET(bind),
    LET(connect),
    LET(getpeername),
    LET(getsockname),
    LET(getsockopt),
    LET(listen),
    LET(recvmmsg),
    LET(recvmsg),
    LET(sendmmsg),
    LET(setsockopt),
    LET(shutdown),
    LET(socketpair),

    /* Memory. */
    LET(brk),
    LET(madvise),
    LET(membarrier),
    LET(mincore),
    LET(mremap),
    LET(msync),
    LET(munmap),

    /* Threads, and this process itself. */
    LET(capget),
    LET(capset),
    LET(exit),
    LET(exit_group),
    LET(get_robust_list),
    LET(getcpu),
    LET(getegid),
    LET(geteuid),
    LET(getgid),
    LET(getgroups),
    LET(getpid),
    LET(getppid),
    LET(getpriority),
    LET(getresgid),
    LET(getresuid),
    LET(getrlimit),
    LET(getrusage),
    LET(gettid),
    LET(getuid),
    LET(restart_syscall),
    LET(sched_get_priority_max),
    LET(sched_get_priority_min),
    LET(sched_getaffinity),
    LET(sched_getparam),
    LET(sched_getscheduler),
    LET(sched_yield),
    LET(set_robust_list),
    LET(set_tid_address),
    LET(sysinfo),
    LET(uname),
    LET(getrandom),
#    ifdef __NR_getpgrp
    LET(getpgrp),
#    endif
#    ifdef __NR_rseq
    LET(rseq),
#    endif

    /* Signals and clocks. */
    LET(clock_getres),
    LET(clock_nanosleep),
    LET(gettimeofday),
    LET(nanosleep),
    LET(rt_sigaction),
    LET(rt_sigpending),
    LET(rt_sigsuspend),
    LET(rt_sigtimedwait),
    LET(sigaltstack),
    LET(timer_create),
    LET(timer_delete),
    LET(timer_getoverrun),
    LET(timer_gettime),
    LET(timerfd_create),
    LET(timerfd_gettime),
    LET(timerfd_settime),
    LET(times),
#    ifdef __NR_time
    LET(time),
#    endif

/* libc and libuv go on with the older calls, whose flags can be seen. */
#    ifdef __NR_clone3
    UNKNOWN(clone3),
#    endif
#    ifdef __NR_openat2
    UNKNOWN(openat2),
#    endif
#    ifdef __NR_io_uring_setup
    UNKNOWN(io_uring_setup),
#    endif
#    ifdef __NR_io_uring_enter
    UNKNOWN(io_uring_enter),
#    endif
#    ifdef __NR_io_uring_register
    UNKNOWN(io_uring_register),
#    endif

    /* Other programs, and other processes. */
    REFUSE(kcmp),
#    ifdef __NR_pidfd_getfd
    REFUSE(pidfd_getfd),
#    endif
#    ifdef __NR_pidfd_open
    REFUSE(pidfd_open),
#    endif
#    ifdef __NR_pidfd_send_signal
    REFUSE(pidfd_send_signal),
#    endif
#    ifdef __NR_process_madvise
    REFUSE(process_madvise),
#    endif
    REFUSE(rt_sigqueueinfo),
    REFUSE(tkill),
    TOOL(execve),
#    ifdef __NR_execveat
    TOOL(execveat),
#    endif
#    ifdef __NR_fork
    TOOL(fork),
#    endif
    TOOL(process_vm_readv),
    TOOL(process_vm_writev),
    TOOL(ptrace),
#    ifdef __NR_vfork
    TOOL(vfork),
#    endif

    /* Files: nothing is made, changed or taken away. */
    REFUSE(fallocate),
    REFUSE(fchmod),
    REFUSE(fchmodat),
    REFUSE(fchown),
    REFUSE(fchownat),
    REFUSE(fremovexattr),
    REFUSE(fsetxattr),
    REFUSE(ftruncate),
    REFUSE(linkat),
    REFUSE(mkdirat),
    REFUSE(mknodat),
    REFUSE(name_to_handle_at),
    REFUSE(open_by_handle_at),
    REFUSE(removexattr),
    REFUSE(setxattr),
    REFUSE(symlinkat),
    REFUSE(truncate),
    REFUSE(unlinkat),
    REFUSE(utimensat),
    REFUSE(memfd_create),
#    ifdef __NR_chmod
    REFUSE(chmod),
#    endif
#    ifdef __NR_chown
    REFUSE(chown),
#    endif
#    ifdef __NR_creat
    REFUSE(creat),
#    endif
#    ifdef __NR_lchown
    REFUSE(lchown),
#    endif
#    ifdef __NR_link
    REFUSE(link),
#    endif
#    ifdef __NR_mkdir
    REFUSE(mkdir),
#    endif
#    ifdef __NR_mknod
    REFUSE(mknod),
#    endif
#    ifdef __NR_rename
    REFUSE(rename),
#    endif
#    ifdef __NR_renameat
    REFUSE(renameat),
#    endif
#    ifdef __NR_renameat2
    REFUSE(renameat2),
#    endif
#    ifdef __NR_rmdir
    REFUSE(rmdir),
#    endif
#    ifdef __NR_symlink
    REFUSE(symlink),
#    endif
#    ifdef __NR_unlink
    REFUSE(unlink),
#    endif
#    ifdef __NR_memfd_secret
    REFUSE(memfd_secret),
#    endif

    /* The machine. */
    REFUSE(acct),
    REFUSE(adjtimex),
    REFUSE(bpf),
    REFUSE(chroot),
    REFUSE(clock_adjtime),
    REFUSE(clock_settime),
    REFUSE(delete_module),
    REFUSE(finit_module),
    REFUSE(init_module),
    REFUSE(kexec_load),
    REFUSE(mount),
    REFUSE(perf_event_open),
    REFUSE(pivot_root),
    REFUSE(quotactl),
    REFUSE(reboot),
    REFUSE(setdomainname),
    REFUSE(sethostname),
    REFUSE(settimeofday),
    REFUSE(swapoff),
    REFUSE(swapon),
    REFUSE(syslog),
    REFUSE(umount2),
    REFUSE(userfaultfd),
    REFUSE(vhangup),
#    ifdef __NR_fsconfig
    REFUSE(fsconfig),
#    endif
#    ifdef __NR_fsmount
    REFUSE(fsmount),
#    endif
#    ifdef __NR_fsopen
    REFUSE(fsopen),
#    endif
#    ifdef __NR_fspick
    REFUSE(fspick),
#    endif
#    ifdef __NR_ioperm
    REFUSE(ioperm),
#    endif
#    ifdef __NR_iopl
    REFUSE(iopl),
#    endif
#    ifdef __NR_kexec_file_load
    REFUSE(kexec_file_load),
#    endif
#    ifdef __NR_mount_setattr
    REFUSE(mount_setattr),
#    endif
#    ifdef __NR_move_mount
    REFUSE(move_mount),
#    endif
#    ifdef __NR_open_tree
    REFUSE(open_tree),
#    endif
#    ifdef __NR_quotactl_fd
    REFUSE(quotactl_fd),
#    endif

    /* Who we are, and where. */
    REFUSE(add_key),
    REFUSE(keyctl),
    REFUSE(request_key),
    REFUSE(setfsgid),
    REFUSE(setfsuid),
    REFUSE(setgid),
    REFUSE(setgroups),
    REFUSE(setns),
    REFUSE(setregid),
    REFUSE(setresgid),
    REFUSE(setresuid),
    REFUSE(setreuid),
    REFUSE(setsid),
    REFUSE(setuid),
    REFUSE(unshare),
#    ifdef __NR_modify_ldt
    REFUSE(modify_ldt),
#    endif
    TOOL(personality),
};

const struct harden_call *harden_calls(size_t *count)
{
    *count = ARRAY_LEN(calls);
    return calls;
}

#endif
