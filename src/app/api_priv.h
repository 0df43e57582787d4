/* api_priv.h -- what the api_NOUN.c files share: arguments, failures, messages,
 * and how each puts its noun in front of an app.
 *
 * A script can be stopped in the middle of any of these functions (I10, see
 * script/preempt.h): whatever is not in the app's arena is touched between
 * preempt_hold() and preempt_release(). Two things are sure without: while a
 * handler of an app is stopped no event of it ends, so its clients stay where
 * they are in memory (the table that finds them does not); and what a state
 * was given at its birth (its snapshot, its refs, its app's name). */
#ifndef APP_API_PRIV_H
#define APP_API_PRIV_H

#include "app/app_priv.h"
#include "script/preempt.h"
#include "script/words.h"

/* Each api_NOUN() is called once per state, in protection, with the globals on
 * top of the stack, and leaves it so. They set what is named in the words of
 * the app's files (script/words.h). */

int api_open(lua_State *L); /* everything; as sandbox_open() */
void api_hub(lua_State *L, const struct words *w);
void api_room(lua_State *L, const struct words *w);
void api_time(lua_State *L, const struct words *w);
void api_task(lua_State *L, const struct words *w);
void api_module(lua_State *L, const struct words *w); /* require, env, app */
void api_log(lua_State *L, const struct words *w);
void api_limit(lua_State *L, const struct words *w);
void api_crypto(lua_State *L, const struct words *w);

/* A global that is a function, and one that is a table of functions, which end
 * with {NULL, NULL}. */
void api_set_function(
    lua_State *L, const struct words *w, const char *name, lua_CFunction f);
void api_set_library(lua_State *L, const struct words *w, const char *name,
    const luaL_Reg *functions);

/* Pushes that metatable. make() pushes a new one when it is needed for the
 * first time: many apps never do. May raise (memory). */
void api_push_meta(
    lua_State *L, struct api_meta *m, void (*make)(lua_State *L));
/* What the userdata at idx holds if it has that metatable, else NULL. */
void *api_userdata(lua_State *L, int idx, const struct api_meta *m);

/* Pushes the client's userdata (the same one while anybody holds it). May
 * raise (memory). */
void api_push_client(lua_State *L, struct state *s, struct client *cl);
/* What Lua holds of a client. */
struct client_ref {
    uint64_t id;
    uint32_t slot;
    uint32_t generation;
};

/* Raises unless the value at idx is a client. */
const struct client_ref *api_check_client(lua_State *L, int idx);
/* The client itself; NULL if it is gone. In a section. */
struct client *api_find_client(lua_State *L, const struct client_ref *ref);
/* By its number; takes a section of its own. */
struct client *api_client_of_id(struct app *a, uint64_t id);
/* True with *id set if the value is a client userdata. */
bool api_is_client(lua_State *L, int idx, uint64_t *id);
/* Pushes { messages, bytes, dropped } of what waits for it now; NULL: gone. */
void api_push_queue(lua_State *L, const struct client *cl);
/* The request userdata of a flattened request (connect.c). */
void api_push_request(
    lua_State *L, struct state *s, const uint8_t *p, size_t n);
/* Gives the request on top its body. May raise (memory). */
void api_set_request_body(lua_State *L, const char *body, size_t len);
/* Pushes nil, word (of an ERR_*), and detail if it is not NULL; returns how
 * many values. */
int api_fail(lua_State *L, int err, const char *detail);
/* The same for ERR_QUOTA, with which setting that is; the log hears of it. */
int api_fail_limit(lua_State *L, struct state *s, enum app_limit which);
/* Raises "bad argument 'NAME' (WANT expected, got TYPE)". */
int api_bad_argument(lua_State *L, int idx, const char *name, const char *want);
/* Raises the same for a method's own object, which '.' instead of ':' loses. */
int api_bad_self(lua_State *L, int idx, const char *what);
/* A string of 1 to `max` bytes; raises otherwise. */
const char *api_check_string(
    lua_State *L, int idx, const char *name, size_t max, size_t *len);
/* Raises "FUNCTION: unknown WHAT 'KEY'; did you mean ...?" if the table at idx
 * (absolute) has other keys than the known. */
void api_check_keys(lua_State *L, int idx, const char *function,
    const char *what, const char *const *known, size_t n);
/* nil/none, or a table with none but the known keys; raises otherwise. */
void api_check_options(lua_State *L, int idx, const char *function,
    const char *const *known, size_t n);
/* The message at idx: a string, or a table that becomes its JSON text (in
 * place). *err: 0, ERR_TOO_BIG or ERR_UTF8 with *detail. Raises on other
 * types. */
const void *api_check_message(lua_State *L, int idx, bool is_binary,
    size_t *len, int *err, const char **detail);
/* What send and broadcast have in common: binary and key of the table or nil
 * at idx, in one walk that raises on a key that is not in `known`. For a table
 * it pushes one value: what holds the text of the key, whatever becomes of the
 * table. */
void api_message_options(lua_State *L, int idx, const char *function,
    const char *const *known, size_t n, struct hub_message *msg);
/* code, reason at idx and idx + 1, both optional. */
void api_check_close(lua_State *L, int idx, uint16_t *code, const char **reason,
    size_t *reason_len);
/* Ends every broadcast: message and options at these indexes (settop is at
 * least opts), `to` with rooms and users set. Pushes queued, dropped. */
int api_broadcast(lua_State *L, int message, int opts,
    const struct hub_message *parsed, struct hub_target *to);
/* After something was sent: says in the log if the bound over all outboxes had
 * no room for it. In a section. */
void api_note_refusal(struct app *a);
/* Sends the message, whatever its size and to however many; takes sections of
 * its own. Does not raise. */
void api_cast(struct app *a, const struct hub_target *to,
    const struct hub_message *msg, uint32_t *queued, uint32_t *dropped);
/* Pushes a userdata with the ids of the named room's members (NULL:
 * everybody). */
uint64_t *api_snapshot(lua_State *L, const struct hub_name *room, size_t *n);
/* Pushes an iterator over the members as they are now. */
int api_push_iterator(lua_State *L, const struct hub_name *room);
/* Seconds or "5m" at idx -> ms; raises otherwise. */
uint64_t api_check_ms(lua_State *L, int idx, const char *name);
/* Raises "FUNCTION cannot be called while the app loads" if it is loading. */
void api_refuse_loading(lua_State *L, const char *function);
/* What was noted while it loaded begins. */
void api_time_start(struct state *s);
/* No timer of it begins anything any more. */
void api_time_stop(struct state *s);
/* After that: frees so many. True: there are more. */
bool api_time_drop_some(struct state *s, uint32_t most);
void api_task_drop(struct state *s);
void api_room_apply_rules(struct state *s);
void api_room_drop_rules(struct state *s);

#endif
