/* cli.h -- the commands of the program. */
#ifndef SERVER_CLI_H
#define SERVER_CLI_H

#define EXIT_OK     0
#define EXIT_FAILED 1
#define EXIT_USAGE  2

/* Does what the command line says; returns the exit code. `argv` ends with
 * NULL, argv[0] is the program. */
int cli_main(const char *const *argv);

#endif
