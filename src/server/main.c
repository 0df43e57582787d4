/* main.c -- the program's door; everything is behind cli_main().
 *
 * One thing comes before: the three standard descriptors have to be there. A
 * number that whoever starts us has closed would be given to the first socket
 * or pipe that is opened, and then the log would be written into that. */
#include "base/base.h"
#include "server/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* False: one is closed, and there is nothing to put in its place. */
static bool has_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", O_RDWR) != fd) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    (void)argc;
    if (!has_standard_descriptors()) {
        return EXIT_FAILED;
    }
    return cli_main((const char *const *)argv);
}
