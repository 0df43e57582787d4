/* err.c -- errors as words, sentences and close codes.
 *
 * Everything here is a look-up in static storage: any thread, no allocation,
 * no locale. Our own errors come from the X-table of the header; for those of
 * the system the names are listed here, because the C library that can tell
 * them (strerrorname_np) is not the only one. */
#include "base/err.h"
#include <errno.h>
#include <string.h>

/* Words are API: Lua code and log readers compare them. Aliases (EWOULDBLOCK,
 * ENOTSUP) would be duplicate cases. */
#define ERRNO_LIST(X)                                                          \
    X(E2BIG)                                                                   \
    X(EACCES)                                                                  \
    X(EADDRINUSE)                                                              \
    X(EADDRNOTAVAIL)                                                           \
    X(EAFNOSUPPORT)                                                            \
    X(EAGAIN)                                                                  \
    X(EALREADY)                                                                \
    X(EBADF)                                                                   \
    X(EBUSY)                                                                   \
    X(ECANCELED)                                                               \
    X(ECHILD)                                                                  \
    X(ECONNABORTED)                                                            \
    X(ECONNREFUSED)                                                            \
    X(ECONNRESET)                                                              \
    X(EDEADLK)                                                                 \
    X(EDESTADDRREQ)                                                            \
    X(EDOM)                                                                    \
    X(EDQUOT)                                                                  \
    X(EEXIST)                                                                  \
    X(EFAULT)                                                                  \
    X(EFBIG)                                                                   \
    X(EHOSTUNREACH)                                                            \
    X(EILSEQ)                                                                  \
    X(EINPROGRESS)                                                             \
    X(EINTR)                                                                   \
    X(EINVAL)                                                                  \
    X(EIO)                                                                     \
    X(EISCONN)                                                                 \
    X(EISDIR)                                                                  \
    X(ELOOP)                                                                   \
    X(EMFILE)                                                                  \
    X(EMLINK)                                                                  \
    X(EMSGSIZE)                                                                \
    X(ENAMETOOLONG)                                                            \
    X(ENETDOWN)                                                                \
    X(ENETRESET)                                                               \
    X(ENETUNREACH)                                                             \
    X(ENFILE)                                                                  \
    X(ENOBUFS)                                                                 \
    X(ENODEV)                                                                  \
    X(ENOENT)                                                                  \
    X(ENOEXEC)                                                                 \
    X(ENOLCK)                                                                  \
    X(ENOMEM)                                                                  \
    X(ENOPROTOOPT)                                                             \
    X(ENOSPC)                                                                  \
    X(ENOSYS)                                                                  \
    X(ENOTCONN)                                                                \
    X(ENOTDIR)                                                                 \
    X(ENOTEMPTY)                                                               \
    X(ENOTSOCK)                                                                \
    X(ENOTTY)                                                                  \
    X(ENXIO)                                                                   \
    X(EOPNOTSUPP)                                                              \
    X(EOVERFLOW)                                                               \
    X(EPERM)                                                                   \
    X(EPIPE)                                                                   \
    X(EPROTO)                                                                  \
    X(EPROTONOSUPPORT)                                                         \
    X(EPROTOTYPE)                                                              \
    X(ERANGE)                                                                  \
    X(EROFS)                                                                   \
    X(ESPIPE)                                                                  \
    X(ESRCH)                                                                   \
    X(ESTALE)                                                                  \
    X(ETIMEDOUT)                                                               \
    X(ETXTBSY)                                                                 \
    X(EXDEV)

/* errno values stay below this everywhere; libuv's own codes start above. */
#define ERRNO_MAX 1024

/* In the order of enum err. */
static const struct {
    const char *word;
    uint16_t close_code;
} ours[] = {
#define X(name, word, code) {word, code},
    ERR_LIST(X)
#undef X
};

static bool is_ours(int err)
{
    return err > ERR_FIRST_ && err < ERR_LAST_;
}

const char *err_word(int err)
{
    if (is_ours(err)) {
        return ours[err - ERR_FIRST_ - 1].word;
    }
    switch (err) {
#define X(name)                                                                \
    case -(name): return #name;
        ERRNO_LIST(X)
#undef X
    default: return "error";
    }
}

const char *err_text(int err)
{
    if (is_ours(err) || err >= 0 || err < -ERRNO_MAX) {
        return err_word(err);
    }
    /* strerror() may answer in a buffer that all threads share. */
#ifdef __GLIBC__
    const char *text = strerrordesc_np(-err);
#else
    const char *text = strerror(-err);
#endif
    return text != NULL ? text : "error";
}

uint16_t err_close_code(int err)
{
    return is_ours(err) ? ours[err - ERR_FIRST_ - 1].close_code : 0;
}
