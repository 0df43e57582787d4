/* main.c -- the program's door; everything is behind cli_main(). */
#include "server/cli.h"

int main(int argc, char **argv)
{
    (void)argc;
    return cli_main((const char *const *)argv);
}
