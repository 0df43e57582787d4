/* death.h -- asserts are part of a contract: a test can demand one. */
#ifndef UNIT_BASE_DEATH_H
#define UNIT_BASE_DEATH_H

#include "base/log.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `body` in a child. True: it was killed by SIGABRT and its last words
 * hold `words`. */
static inline bool dies_saying(void (*body)(void), const char *words)
{
    char text[LOG_LINE_BYTES + 1];
    size_t len = 0;
    int ends[2];
    if (pipe(ends) != 0) {
        abort();
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        log_init(ends[1], LOG_INFO, LOG_TEXT);
        body();
        _exit(0);
    }
    close(ends[1]);
    ssize_t got;
    while ((got = read(ends[0], text + len, LOG_LINE_BYTES - len)) > 0) {
        len += (size_t)got;
    }
    text[len] = '\0';
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
        fprintf(stderr, "not killed by SIGABRT: status %d\n", status);
        return false;
    }
    if (strstr(text, words) == NULL) {
        fprintf(stderr, "last words without '%s': %s\n", words, text);
        return false;
    }
    return true;
}

#endif
