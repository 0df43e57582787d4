/* listener.h -- accepts connections and sheds them when descriptors run out.
 *
 * Options that connections inherit are set on the listening socket:
 * TCP_NODELAY, TCP_NOTSENT_LOWAT (LIMIT_NOTSENT_BYTES: the kernel must not
 * hide megabytes per slow reader), SO_SNDBUF if configured. On EMFILE/ENFILE
 * a spare descriptor is given up to accept and close one connection at a
 * time, and accepting pauses for 100 ms, so that the loop does not spin. The
 * log has a line when that begins and one when it is over. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "net/conn.h"

struct listener;

/* Binds "HOST:PORT" ("127.0.0.1:8080", "[::1]:0", ":8080" for all
 * addresses, "localhost:8080"). 0, or a negated errno (EADDRINUSE: somebody
 * listens there already), ERR_SYNTAX for a text that is no address,
 * ERR_NOT_FOUND for a name that nobody knows. */
int listener_open(struct listener **out, struct net *n, const char *address,
    const struct conn_router *router,
    const struct conn_settings *defaults) NODISCARD;
/* The same port for another loop: the kernel deals new connections between
 * the two. Before any of the loops runs. */
int listener_share(struct listener **out, struct net *n,
    const struct listener *first, const struct conn_router *router,
    const struct conn_settings *defaults) NODISCARD;
/* The address it is bound to, "127.0.0.1:43210". */
const char *listener_address(const struct listener *ln);
/* SO_SNDBUF of the connections accepted from now on. 0 or a negated errno. */
int listener_set_send_buffer(struct listener *ln, int bytes) NODISCARD;
/* Stops accepting and closes the port; connections live on. */
void listener_close(struct listener *ln);

#endif
