/* limits.h -- every default bound of the server, in one list.
 *
 * LIMIT_DEFAULT_*: an operator or an app may set another value; LIMIT_MAX_*:
 * the ceiling for such a setting; LIMIT_*: fixed. Bytes, milliseconds or
 * counts, as the name says. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* The opening handshake, and other requests. The first four are defaults: an
 * operator may set others, up to the ceilings below. */
#define LIMIT_HEAD_BYTES         (16 * 1024)
#define LIMIT_HEADERS            100
#define LIMIT_HANDSHAKE_MS       10000
#define LIMIT_KEEP_ALIVE_MS      10000 /* between two requests */
#define LIMIT_MAX_HEAD_BYTES     (64 * 1024)
#define LIMIT_MAX_HEADERS        1000
#define LIMIT_MAX_WAIT_MS        (3600 * 1000) /* of any wait for a peer */
#define LIMIT_DEFAULT_BODY_BYTES (1024 * 1024) /* of a request */
#define LIMIT_MAX_BODY_BYTES     (64 * 1024 * 1024)
#define LIMIT_BODIES_BYTES       (64 * 1024 * 1024) /* under way on a loop */
#define LIMIT_CHUNK_EXTRA_BYTES  4096 /* extensions and trailers of a body */
#define LIMIT_PROXY_BYTES        4096 /* behind the head of a PROXY header */
#define LIMIT_PROXIES            64   /* ranges of trusted ones */

/* Who is slow: less than this in this time, in the midst of a message or a
 * body. */
#define LIMIT_SLOW_BYTES 1024
#define LIMIT_SLOW_MS    30000

/* Floods. Who is over a rate is not read from; who is over it for that long
 * without a break is closed. */
#define LIMIT_RATE_PATIENCE_MS 10000
#define LIMIT_MAX_RATE         1000000000
#define LIMIT_ADDRESSES        1000000 /* counted at once */

/* Messages from clients. */
#define LIMIT_DEFAULT_MESSAGE_BYTES (1024 * 1024)
#define LIMIT_MAX_MESSAGE_BYTES     (64 * 1024 * 1024)
#define LIMIT_DEFAULT_FRAGMENTS     1024 /* per message, or any number... */
#define LIMIT_MAX_FRAGMENTS         65535
#define LIMIT_FRAGMENT_BYTES        32 /* ...that bring this on average */

/* Compression (RFC 7692). A longer message goes out as it is: to compress it
 * would hold up everybody else. */
#define LIMIT_DEFAULT_DEFLATE_THRESHOLD_BYTES 1024
#define LIMIT_DEFAULT_DEFLATE_LEVEL           3
#define LIMIT_DEFLATE_BYTES                   (1024 * 1024)
#define LIMIT_DEFLATE_STEP_BYTES              256 /* then it can be stopped */

/* Outbox: per client and per app. A queued frame costs its bytes plus
 * LIMIT_FRAME_OVERHEAD_BYTES. */
#define LIMIT_DEFAULT_OUTBOX_HARD_BYTES    (1024 * 1024)
#define LIMIT_MAX_OUTBOX_HARD_BYTES        (64 * 1024 * 1024)
#define LIMIT_DEFAULT_OUTBOX_SOFT_MESSAGES 256
#define LIMIT_MAX_OUTBOX_SOFT_MESSAGES     65536
#define LIMIT_DEFAULT_OUTBOX_SOFT_MS       2000
#define LIMIT_DEFAULT_APP_OUTBOX_BYTES     (64 * 1024 * 1024)
#define LIMIT_MIN_APP_OUTBOX_BYTES         (256 * 1024)
#define LIMIT_MAX_APP_OUTBOX_BYTES         (1024 * 1024 * 1024)
#define LIMIT_FRAME_OVERHEAD_BYTES         64
#define LIMIT_KEY_BYTES                    64
#define LIMIT_NOTSENT_BYTES                (16 * 1024)
#define LIMIT_FLUSH_SLICE                  256 /* clients between polls */

/* Inbox: events waiting for Lua. Twice as many, and as many bytes, with those
 * of clients that have no other. A quarter of it is what each loop may have on
 * its way to an app that lives on another one. */
#define LIMIT_DEFAULT_INBOX_EVENTS        4096
#define LIMIT_MIN_INBOX_EVENTS            16
#define LIMIT_MAX_INBOX_EVENTS            65536
#define LIMIT_DEFAULT_INBOX_BYTES         (8 * 1024 * 1024)
#define LIMIT_MIN_INBOX_BYTES             (64 * 1024)
#define LIMIT_MAX_INBOX_BYTES             (256 * 1024 * 1024)
#define LIMIT_DEFAULT_INBOX_CLIENT_EVENTS 64
#define LIMIT_MAX_INBOX_CLIENT_EVENTS     4096

/* Many loops, and what an app may have on its way to one. */
#define LIMIT_LOOPS           64
#define LIMIT_LOOP_FILES      16   /* descriptors for each, and some to begin */
#define LIMIT_KNOCKS          1024 /* handshakes under way to an app */
#define LIMIT_WINDOW_BYTES    (16 * 1024 * 1024)
#define LIMIT_MAILBOX_LETTERS 16384 /* then newcomers are refused */
#define LIMIT_TURN_LETTERS_US 1000  /* opening them, in one turn */

/* Apps. */
#define LIMIT_DEFAULT_MEMORY_BYTES   (64 * 1024 * 1024)
#define LIMIT_MIN_MEMORY_BYTES       (256 * 1024)
#define LIMIT_MAX_MEMORY_BYTES       (1024 * 1024 * 1024)
#define LIMIT_DEFAULT_CPU_MS         100
#define LIMIT_MAX_CPU_MS             10000
#define LIMIT_DEFAULT_LOAD_CPU_MS    500 /* main.lua, a reload's hand-over */
#define LIMIT_MAX_LOAD_CPU_MS        10000
#define LIMIT_MEMORY_ERRORS          20   /* caught in one event: it ends */
#define LIMIT_FULL_EVENTS            10   /* that find no memory: a new state */
#define LIMIT_BEGIN_MS               1000 /* an event tries to begin, and ... */
#define LIMIT_FULL_BEGINS            5    /* ... so many fail: a new state */
#define LIMIT_CLIENT_HANDLERS        64   /* at once, where settings allow it */
#define LIMIT_ERROR_EVENTS           16   /* on_error, queued at once */
#define LIMIT_RESTART_MS             100  /* before the second; then doubled */
#define LIMIT_MAX_RESTART_MS         10000
#define LIMIT_DEATHS                 5     /* so many ... */
#define LIMIT_DEATHS_MS              30000 /* ... in this time: parked */
#define LIMIT_PARK_MS                30000
#define LIMIT_DEFAULT_CLIENTS        100000
#define LIMIT_MAX_CLIENTS            1000000
#define LIMIT_ROOM_NAME_BYTES        128
#define LIMIT_ROOM_RULES             64
#define LIMIT_USER_BYTES             128
#define LIMIT_PROTOCOL_BYTES         128
#define LIMIT_RESPONSE_HEADER_BYTES  4096
#define LIMIT_DEFAULT_RESPONSE_BYTES (16 * 1024 * 1024) /* without head */
#define LIMIT_MIN_RESPONSE_BYTES     1024
#define LIMIT_MAX_RESPONSE_BYTES     (64 * 1024 * 1024)
#define LIMIT_DEFAULT_REQUESTS       4096 /* on_request under way or queued */
#define LIMIT_MAX_REQUESTS           16384
#define LIMIT_REQUEST_BYTES          (64 * 1024 * 1024) /* of their bodies */
#define LIMIT_DEFAULT_TASKS          4096 /* handlers and tasks at once */
#define LIMIT_MIN_TASKS              16
#define LIMIT_MAX_TASKS              16384
#define LIMIT_SCARCE_TASKS           128 /* once half of all stacks are taken */
#define LIMIT_LAST_TASKS             4   /* once only an eighth is left */
#define LIMIT_LOCKS                  4096 /* held at once */
#define LIMIT_DEFAULT_TIMERS         16384
#define LIMIT_MAX_TIMERS             100000
#define LIMIT_TIMER_MIN_MS           1
#define LIMIT_SNAPSHOT_BYTES         (8 * 1024 * 1024)
#define LIMIT_SNAPSHOT_FILES         1024
#define LIMIT_CONF_BYTES             (64 * 1024)
#define LIMIT_VALUE_BYTES            (16 * 1024 * 1024)
#define LIMIT_VALUE_DEPTH            100
#define LIMIT_JSON_DEPTH             100
#define LIMIT_DRAIN_OLD_MS           5000  /* awaiting handlers of an old gen */
#define LIMIT_OBSTACLE_MS            100   /* a refused reload is looked at */
#define LIMIT_MAX_OBSTACLE_MS        30000 /* again; then doubled, up to this */
#define LIMIT_APP_LOG_LINES_PER_S    100   /* of its own, and ... */
#define LIMIT_FAILURE_LINES_PER_S    20    /* ... of what fails in it */

/* Rooms. Those of one client are looked through one by one. */
#define LIMIT_DEFAULT_ROOMS            100000
#define LIMIT_MAX_ROOMS                1000000
#define LIMIT_DEFAULT_ROOMS_PER_CLIENT 128
#define LIMIT_MAX_ROOMS_PER_CLIENT     1024

/* Mappings of memory, of those that the system allows the process (it is
 * vm.max_map_count): stacks take of so many, then only the states of apps do,
 * then nothing that apps could have more of. */
#define LIMIT_MAPPING_STACK_EIGHTHS 6
#define LIMIT_MAPPING_ARENA_EIGHTHS 7

/* A connection's clock. */
#define LIMIT_DEFAULT_ANSWER_MS 30000 /* for on_connect, on_request */
#define LIMIT_DEFAULT_PING_MS   30000
#define LIMIT_PONG_MS           10000
#define LIMIT_CLOSE_MS          5000
#define LIMIT_MAX_CLOSE_MS      60000
#define LIMIT_CLOSE_REASON      123 /* RFC 6455 5.5.1: 125 less the code */
#define LIMIT_CONTROL_BYTES     125 /* RFC 6455 5.5 */

/* A turn of the loop. */
#define LIMIT_READ_BUFFER_BYTES  (64 * 1024)
#define LIMIT_TURN_INFLATE_BYTES (256 * 1024) /* then others read first */
#define LIMIT_TURN_DEFLATE_STEPS 256 /* of 4 to 7 us, for other loops' apps */
#define LIMIT_INFLATE_STEP_BYTES 256 /* compressed; may become 1,030 times it */
#define LIMIT_TURN_LUA_MS        5
#define LIMIT_SLICE_US           1000 /* of one app, then it is stopped */
#define LIMIT_TURN_UNMAP_BYTES   (2 * 1024 * 1024) /* of dead apps' memory */
#define LIMIT_LATE_PIECE_BYTES   (1024 * 1024) /* of blocks that were freed */
#define LIMIT_TURN_LATE_PARTS    16 /* of them all, where that is more */

/* The operator's port. */
#define LIMIT_ADMIN_TEXT_BYTES (32 * 1024 * 1024)
#define LIMIT_TURN_TLS_MS      4 /* for handshakes */

/* TLS. */
#define LIMIT_TLS_CERTIFICATES 64
#define LIMIT_TLS_TICKET_S     (24 * 3600)

/* Shutdown. */
#define LIMIT_DEFAULT_DRAIN_MS 1000 /* clients are closed spread over this */
#define LIMIT_STOP_HANDLER_MS  2000 /* for on_stop */
#define LIMIT_JOIN_MS          3000 /* for a loop to take down its apps */

#endif
