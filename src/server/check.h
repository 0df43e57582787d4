/* check.h -- `moonwire check DIR`. */
#ifndef SERVER_CHECK_H
#define SERVER_CHECK_H

struct config;

/* Loads the app aside, tells what came of it, returns the exit code. */
int check_app(const struct config *config);

#endif
