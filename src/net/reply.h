/* reply.h -- small HTTP/1.1 responses. */
#ifndef NET_REPLY_H
#define NET_REPLY_H

#include "net/conn.h"

/* Answers with a status and a line of text (text/plain; charset=utf-8, with
 * nosniff). `extra`: further header lines, each ending in CRLF, or NULL. A
 * HEAD request gets the head alone. `keep_alive`: what the request allows. */
void reply_text(struct conn *c, int status, const char *text, const char *extra,
    bool is_head, bool keep_alive);
/* Writes a response head; returns its length, or 0 if it does not fit. */
size_t reply_head(char *out, size_t cap, int status, const char *type,
    uint64_t length, const char *extra, bool keep_alive);

#endif
