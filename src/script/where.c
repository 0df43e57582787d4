/* where.c -- where a script was when its memory came to an end, and what is
 * said of a job that failed.
 *
 * Lua calls no message handler for a memory error, and when it has come to
 * task.c nothing is left of the calls that led there. So the place is noted
 * when the arena says no, for what may be the last time: by the allocator that
 * Lua has just called. In 5.4.4 Lua's stack is whole then, and what is asked of
 * it here only reads. Later versions move a stack with offsets in place of its
 * pointers, so of them nothing is noted. The place is written into a buffer at
 * the foot of the fiber's stack, since there is no other memory to be had.
 *
 * The line is the last one that Lua has noted for itself: the one where memory
 * was asked for, or at worst one that ran just before in that function. */
#include "script/task_priv.h"
#include <stdio.h>
#include <string.h>

/* So many calls are told, if the buffer has room for them. */
#define PLACE_LEVELS 10

/* ---- noted ---- */

#if WHERE_IS_NOTED

/* As luaL_traceback() would write it. False: it has no room. */
static bool add_level(char *text, size_t room, const lua_Debug *ar)
{
    char line[16] = "";
    char what[LUA_IDSIZE + 32];
    if (ar->currentline > 0) {
        (void)snprintf(line, sizeof(line), "%d:", ar->currentline);
    }
    if (*ar->namewhat != '\0') {
        (void)snprintf(what, sizeof(what), "%s '%s'", ar->namewhat, ar->name);
    } else if (*ar->what == 'm') {
        (void)snprintf(what, sizeof(what), "main chunk");
    } else if (*ar->what == 'C') {
        (void)snprintf(what, sizeof(what), "?");
    } else {
        (void)snprintf(what, sizeof(what), "function <%s:%d>", ar->short_src,
            ar->linedefined);
    }
    int n = snprintf(text, room, "\n\t%s:%s in %s", ar->short_src, line, what);
    return n > 0 && (size_t)n < room;
}

/* The calls of L, innermost first, behind what the text holds already. */
static void add_calls(char *text, size_t bytes, lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; level < PLACE_LEVELS && lua_getstack(L, level, &ar);
         level++) {
        size_t n = strlen(text);
        if (lua_getinfo(L, "Slnt", &ar) == 0 ||
            !add_level(text + n, bytes - n, &ar)) {
            text[n] = '\0';
            return;
        }
    }
}

static void note_calls(struct task *t)
{
    (void)snprintf(t->place, PLACE_BYTES, "\nstack traceback:");
    add_calls(t->place, PLACE_BYTES, t->running);
    if (t->running != t->T) {
        add_calls(t->place, PLACE_BYTES, t->T);
    }
}

#else

static void note_calls(struct task *t)
{
    t->place[0] = '\0';
}

#endif

void where_note(void *arg)
{
    const struct vm *vm = arg;
    struct task *t = vm->current;
    if (t == NULL || t->T == NULL || t->step == STEP_DONE) {
        return;
    }
    if (t->running == NULL) {
        t->running = t->T; /* so that the end of the job is looked at */
    }
    note_calls(t);
}

/* ---- told ---- */

void task_describe(lua_State *T, int status, struct task_words *w)
{
    const struct task *t = vm_from(T)->current;
    w->text = lua_tostring(T, -1);
    w->where = "";
    if (status == LUA_ERRMEM) {
        w->where = t->place;
    } else if ((status == TASK_ERRCPU || status == TASK_ERRFULL) &&
               (t->told == NULL || lua_topointer(T, -1) != t->told)) {
        /* It failed in another way on its way out. */
        kill_words(t, status, w->buf);
        w->text = w->buf;
        w->where = t->place;
    }
    if (w->text == NULL) {
        w->text = "error";
    }
}

void where_forget(struct task *t)
{
    t->place[0] = '\0';
    t->told = NULL;
}
