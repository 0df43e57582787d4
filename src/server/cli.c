/* cli.c -- which command, with which words; and the help.
 *
 * Called by main() and nobody else. A wrong command line is answered with one
 * line on stderr and exit code 2; what a command itself cannot do is its own
 * to tell, with exit code 1. Help and results go to stdout. */
#include "server/cli.h"
#include "base/units.h"
#include "server/check.h"
#include "server/config.h"
#include "server/new.h"
#include "server/server.h"
#include <string.h>
#include <unistd.h>

struct command {
    const char *name;
    const char *operand; /* "DIR"; NULL: none */
    const char *summary;
    const char *details;
    unsigned options; /* CONFIG_FOR_... bit, or 0 */
    int (*go)(const struct config *c);
};

static int go_version(const struct config *c)
{
    (void)c;
    (void)puts("moonwire " MOONWIRE_VERSION);
    return EXIT_OK;
}

static int go_run(const struct config *c)
{
    return server_run(c);
}

static int go_serve(const struct config *c)
{
    struct config many = *c;
    many.is_many = true;
    return server_run(&many);
}

static int go_check(const struct config *c)
{
    return check_app(c);
}

static int go_new(const struct config *c)
{
    return new_app(c->operand);
}

static int go_help(const struct config *c);

static const struct command commands[] = {
    {"run", "DIR", "serve the app in DIR",
        "Serves one app: WebSocket clients on any path, plain files from\n"
        "DIR/public, and reloads it when its files change. Logs to stderr.\n"
        "\n"
        "SIGTERM or SIGINT stops gracefully, a second one at once; SIGHUP\n"
        "reloads; SIGUSR1 logs the counters.\n",
        CONFIG_FOR_RUN, go_run},
    {"serve", "DIR", "serve all apps below DIR",
        "Each directory in DIR that has a main.lua is an app, and is served\n"
        "at /ITS-NAME/. The port is opened first; an app that does not load\n"
        "answers 503 until its files are mended, the others serve. Otherwise\n"
        "as `run`.\n",
        CONFIG_FOR_RUN, go_serve},
    {"check", "DIR", "load the app in DIR and say what is wrong",
        "Reads the settings, compiles and runs main.lua as `run` would, and\n"
        "ends. Exit code 0: it loads.\n",
        CONFIG_FOR_CHECK, go_check},
    {"new", "NAME", "write a small working app into ./NAME",
        "NAME: letters, digits, - and _, at most 64. Nothing is overwritten.\n",
        0, go_new},
    {"version", NULL, "print the version", "", 0, go_version},
    {"help", NULL, "print this text", "", 0, go_help},
};

static int go_help(const struct config *c)
{
    (void)c;
    (void)fputs("moonwire serves WebSocket apps written in Lua.\n"
                "\nusage: moonwire COMMAND ...\n\n",
        stdout);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *k = &commands[i];
        (void)printf("  %-7s %-4s   %s\n", k->name,
            k->operand != NULL ? k->operand : "", k->summary);
    }
    (void)fputs("\n`moonwire COMMAND --help` tells more about each.\n"
                "\nExit codes: 0 fine, 1 it failed, 2 wrong command line.\n",
        stdout);
    return EXIT_OK;
}

static int help_on(const struct command *k)
{
    if (k->go == go_help) {
        return go_help(NULL);
    }
    (void)printf("usage: moonwire %s%s%s%s\n\n%s\n", k->name,
        k->options != 0 ? " [OPTIONS]" : "", k->operand != NULL ? " " : "",
        k->operand != NULL ? k->operand : "",
        k->details[0] != '\0' ? k->details : k->summary);
    if (k->options != 0) {
        (void)puts("Options, each with its environment variable:\n");
        config_print_options(k->options, stdout);
    }
    return EXIT_OK;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int refuse_command(const char *name)
{
    const char *names[ARRAY_LEN(commands)];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        names[i] = commands[i].name;
    }
    const char *meant = units_suggest(name, names, ARRAY_LEN(names));
    if (meant != NULL) {
        (void)fprintf(stderr,
            "moonwire: unknown command %s (did you mean %s?); see moonwire "
            "--help\n",
            name, meant);
    } else {
        (void)fprintf(stderr,
            "moonwire: unknown command %s; see moonwire --help\n", name);
    }
    return EXIT_USAGE;
}

static void warn_of_typo(const char *name, const char *meant)
{
    log_event(
        LOG_WARN, NULL, "%s is no setting (did you mean %s?)", name, meant);
}

static int run_command(const struct command *k, const char *const *words)
{
    struct config config;
    char why[CONFIG_WHY_BYTES];
    int rc =
        config_read(&config, k->options, k->operand, words, why, sizeof(why));
    if (rc == CONFIG_HELP) {
        return help_on(k);
    }
    if (rc != 0) {
        (void)fprintf(
            stderr, "moonwire: %s; see moonwire %s --help\n", why, k->name);
        return EXIT_USAGE;
    }
    if (k->options != 0) {
        log_init(STDERR_FILENO, config.log_level, config.log_format);
        config_find_typos(warn_of_typo);
    }
    return k->go(&config);
}

static int choose_command(const char *const *argv)
{
    const char *word = argv[0] != NULL ? argv[1] : NULL;
    if (word == NULL) {
        (void)fputs(
            "moonwire: no command given; see moonwire --help\n", stderr);
        return EXIT_USAGE;
    }
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        return go_help(NULL);
    }
    if (strcmp(word, "--version") == 0) {
        return go_version(NULL);
    }
    /* `help COMMAND` is `COMMAND --help`. */
    bool wants_help =
        strcmp(word, "help") == 0 && argv[2] != NULL && argv[2][0] != '-';
    if (wants_help) {
        word = argv[2];
    }
    const struct command *k = find_command(word);
    if (k == NULL) {
        return refuse_command(word);
    }
    return wants_help ? help_on(k) : run_command(k, argv + 2);
}

int cli_main(const char *const *argv)
{
    int code = choose_command(argv);
    /* What nobody could read was not printed: a full disk behind a pipe. */
    if (fflush(stdout) != 0 && code == EXIT_OK) {
        (void)fputs("moonwire: cannot write to stdout\n", stderr);
        code = EXIT_FAILED;
    }
    return code;
}
