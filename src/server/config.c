/* config.c -- flags and environment -> one frozen struct.
 *
 * Used by cli.c before anything runs. Whatever a person typed is answered
 * with one line that names the word and, where there is a near one, what may
 * have been meant; nothing typed is ever silently left aside. What a setting
 * is good for is decided elsewhere: an address is looked up by the listener.
 */
#include "server/config.h"
#include "admin/admin.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/units.h"
#include "server/config_priv.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_LISTEN "127.0.0.1:8080"
#define MAX_DRAIN_MS   (3600u * 1000u)
#define ENV_PREFIX     "MOONWIRE_"

extern char **environ;

/* "HOST:PORT" in its outer form. */
static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    return colon != NULL && colon[1] != '\0' && strlen(colon) <= 6 &&
           strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
           strtoul(colon + 1, NULL, 10) <= 65535;
}

static bool set_listen(struct config *c, const char *text)
{
    c->listen = text;
    return is_address(text);
}

static bool set_admin(struct config *c, const char *text)
{
    c->admin = text;
    return is_address(text) && admin_is_loopback(text);
}

static bool set_log_level(struct config *c, const char *text)
{
    return log_parse_level(text, &c->log_level) == 0;
}

static bool set_log_format(struct config *c, const char *text)
{
    return log_parse_format(text, &c->log_format) == 0;
}

static bool set_drain(struct config *c, const char *text)
{
    uint64_t ms;
    if (units_parse_ms(text, &ms) != 0 || ms > MAX_DRAIN_MS) {
        return false;
    }
    c->drain_ms = (uint32_t)ms;
    return true;
}

bool config_read_switch(const char *text, bool *is_on)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off", ""};
    *is_on = text == NULL;
    for (size_t i = 0; text != NULL && i < ARRAY_LEN(no); i++) {
        if (strcmp(text, no[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; !*is_on && i < ARRAY_LEN(yes); i++) {
        *is_on = strcmp(text, yes[i]) == 0;
    }
    return *is_on;
}

static bool set_no_reload(struct config *c, const char *text)
{
    bool is_off = false;
    bool is_right = config_read_switch(text, &is_off);
    c->reload = is_right ? !is_off : c->reload;
    return is_right;
}

static bool set_workers(struct config *c, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long n = digits < 4 ? strtoul(text, NULL, 10) : 0;
    if (digits == 0 || text[digits] != '\0' || n < 1 || n > LIMIT_LOOPS) {
        return false;
    }
    c->workers = (uint32_t)n;
    return true;
}

static bool set_placement(struct config *c, const char *text)
{
    static const char *const words[] = {
        [PLACEMENT_AUTO] = "auto",
        [PLACEMENT_HOME] = "home",
        [PLACEMENT_SPREAD] = "spread",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            c->placement = (enum placement)i;
            return true;
        }
    }
    return false;
}

static bool set_ceilings(struct config *c, const char *text)
{
    c->ceilings = text;
    return text[0] != '\0';
}

static const struct option options[] = {
    {"--listen", "MOONWIRE_LISTEN", "HOST:PORT",
        "where to listen (" DEFAULT_LISTEN "); an empty HOST is every\n"
        "address of the machine, port 0 any free port",
        CONFIG_FOR_RUN, set_listen, "HOST:PORT such as 127.0.0.1:8080"},
    {"--admin", "MOONWIRE_ADMIN", "HOST:PORT",
        "where to show figures as GET /metrics (nowhere); HOST is this\n"
        "machine: 127.0.0.1, [::1] or localhost",
        CONFIG_FOR_RUN, set_admin,
        "a HOST:PORT of this machine such as 127.0.0.1:9090"},
    {"--drain", "MOONWIRE_DRAIN", "TIME",
        "at a stop, close the clients spread over this time (1s)",
        CONFIG_FOR_RUN, set_drain, "a time up to 1h such as 500ms or 10s"},
    {"--workers", "MOONWIRE_WORKERS", "N",
        "loops, each with a thread (one for each processor)", CONFIG_FOR_RUN,
        set_workers, "a number from 1 to 64"},
    {"--placement", "MOONWIRE_PLACEMENT", "HOW",
        "which loop a client lives on, where app.conf.lua does not say:\n"
        "home (that of its app), spread (dealt over all), or auto (home\n"
        "until that is busy) (auto)",
        CONFIG_FOR_RUN, set_placement, "home, spread or auto"},
    {"--ceilings", "MOONWIRE_CEILINGS", "FILE",
        "how far apps may set their limits: a file like app.conf.lua with\n"
        "limits alone (as far as the server allows)",
        CONFIG_FOR_RUN | CONFIG_FOR_CHECK, set_ceilings, "a file"},
    {"--no-reload", "MOONWIRE_NO_RELOAD", NULL,
        "do not reload the app when its files change (SIGHUP still\n"
        "does)",
        CONFIG_FOR_RUN, set_no_reload, "1 or 0"},
    {"--log-level", "MOONWIRE_LOG_LEVEL", "LEVEL",
        "least level to log: debug, info, warn, error (info)",
        CONFIG_FOR_RUN | CONFIG_FOR_CHECK, set_log_level,
        "debug, info, warn or error"},
    {"--log-format", "MOONWIRE_LOG_FORMAT", "FORMAT",
        "text, json or auto: text on a terminal, else json (auto)",
        CONFIG_FOR_RUN | CONFIG_FOR_CHECK, set_log_format,
        "auto, text or json"},
};

#define OPTION_COUNT                                                           \
    (ARRAY_LEN(options) + CONFIG_SECURE_COUNT + CONFIG_GUARD_COUNT)

static const struct option *option_at(size_t i)
{
    if (i < ARRAY_LEN(options)) {
        return &options[i];
    }
    i -= ARRAY_LEN(options);
    return i < CONFIG_SECURE_COUNT
               ? &config_secure_options[i]
               : &config_guard_options[i - CONFIG_SECURE_COUNT];
}

static int refuse(char *why, size_t why_bytes, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static int refuse(char *why, size_t why_bytes, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, why_bytes, fmt, args);
    va_end(args);
    return ERR_SYNTAX;
}

/* The option whose flag is word[0..len); NULL: none for this command. */
static const struct option *find_option(
    unsigned command, const char *word, size_t len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((option_at(i)->commands & command) != 0 &&
            strlen(option_at(i)->flag) == len &&
            strncmp(option_at(i)->flag, word, len) == 0) {
            return option_at(i);
        }
    }
    return NULL;
}

static int refuse_unknown(
    unsigned command, const char *word, char *why, size_t why_bytes)
{
    const char *flags[OPTION_COUNT + 1];
    size_t n = 0;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((option_at(i)->commands & command) != 0) {
            flags[n++] = option_at(i)->flag;
        }
    }
    flags[n++] = "--help";
    char name[128];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    const char *meant = units_suggest(name, flags, n);
    if (meant != NULL) {
        return refuse(why, why_bytes, "unknown option %s (did you mean %s?)",
            name, meant);
    }
    return refuse(why, why_bytes, "unknown option %s", name);
}

/* Reads the option at words[*at], with its value in the same word behind "="
 * or in the next one. */
static int read_option(struct config *c, unsigned command,
    const char *const *words, size_t *at, char *why, size_t why_bytes)
{
    const char *word = words[*at];
    size_t len = strcspn(word, "=");
    const struct option *o = find_option(command, word, len);
    if (o == NULL) {
        return refuse_unknown(command, word, why, why_bytes);
    }
    const char *value = NULL;
    if (word[len] == '=') {
        value = word + len + 1;
    } else if (o->value != NULL) {
        value = words[*at + 1];
        if (value == NULL) {
            return refuse(
                why, why_bytes, "%s needs a value: %s", o->flag, o->wants);
        }
        (*at)++;
    }
    if (o->value == NULL && value != NULL) {
        return refuse(why, why_bytes, "%s takes no value", o->flag);
    }
    if (!o->set(c, value)) {
        return refuse(
            why, why_bytes, "%s %s: not %s", o->flag, value, o->wants);
    }
    return 0;
}

static int read_environment(
    struct config *c, unsigned command, char *why, size_t why_bytes)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = option_at(i);
        const char *value = getenv(o->env);
        if ((o->commands & command) == 0 || value == NULL) {
            continue;
        }
        if (!o->set(c, value)) {
            return refuse(
                why, why_bytes, "%s=%s: not %s", o->env, value, o->wants);
        }
    }
    return 0;
}

static uint32_t processors(void)
{
    unsigned n = uv_available_parallelism();
    return n < LIMIT_LOOPS ? n : LIMIT_LOOPS;
}

static bool asks_for_help(const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], "--") == 0) {
            return false;
        }
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

int config_read(struct config *c, unsigned command, const char *operand,
    const char *const *words, char *why, size_t why_bytes)
{
    *c = (struct config){.listen = DEFAULT_LISTEN,
        .log_level = LOG_INFO,
        .log_format = LOG_AUTO,
        .drain_ms = LIMIT_DEFAULT_DRAIN_MS,
        .reload = true,
        .workers = processors(),
        .placement = PLACEMENT_AUTO};
    guard_init(&c->guard);
    if (asks_for_help(words)) {
        return CONFIG_HELP;
    }
    int rc = read_environment(c, command, why, why_bytes);
    c->tls_is_from_env = true;
    bool options_end = false;
    for (size_t i = 0; rc == 0 && words[i] != NULL; i++) {
        if (!options_end && strcmp(words[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && words[i][0] == '-') {
            rc = read_option(c, command, words, &i, why, why_bytes);
        } else if (operand == NULL || c->operand != NULL) {
            rc = refuse(why, why_bytes, "one word too many: %s", words[i]);
        } else {
            c->operand = words[i];
        }
    }
    if (rc == 0 && operand != NULL &&
        (c->operand == NULL || c->operand[0] == '\0')) {
        rc = refuse(why, why_bytes, "no %s given", operand);
    }
    if (rc == 0) {
        rc = config_check_secure(c, why, why_bytes);
    }
    const char *wrong = config_check_guard(c);
    if (rc == 0 && wrong != NULL) {
        rc = refuse(why, why_bytes, "%s", wrong);
    }
    return rc;
}

void config_print_options(unsigned command, FILE *to)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = option_at(i);
        if ((o->commands & command) == 0) {
            continue;
        }
        (void)fprintf(to, "  %s%s%s    (%s)\n", o->flag,
            o->value != NULL ? " " : "", o->value != NULL ? o->value : "",
            o->env);
        for (const char *line = o->help; *line != '\0';) {
            int len = (int)strcspn(line, "\n");
            (void)fprintf(to, "      %.*s\n", len, line);
            line += len + (line[len] == '\n');
        }
    }
}

void config_find_typos(void (*fn)(const char *name, const char *meant))
{
    const char *names[OPTION_COUNT];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        names[i] = option_at(i)->env + strlen(ENV_PREFIX);
    }
    for (char **e = environ; e != NULL && *e != NULL; e++) {
        if (strncmp(*e, ENV_PREFIX, strlen(ENV_PREFIX)) != 0) {
            continue;
        }
        char name[128];
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(*e, "="), *e);
        const char *rest = name + strlen(ENV_PREFIX);
        const char *meant = units_suggest(rest, names, ARRAY_LEN(names));
        for (size_t i = 0; meant != NULL && i < ARRAY_LEN(names); i++) {
            if (meant == names[i] && strcmp(rest, meant) != 0) {
                fn(name, option_at(i)->env);
            }
        }
    }
}
