/* lua_state.h -- a Lua state without a vm, for tests of what only needs the
 * state: its memory can be counted, capped, and made to fail. */
#ifndef TESTS_SUPPORT_LUA_STATE_H
#define TESTS_SUPPORT_LUA_STATE_H

#include "script/json.h"
#include "script/sandbox.h"
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct heap {
    uint64_t calls;   /* allocations asked for */
    uint64_t fail_at; /* the n-th of them fails, and all after it; 0: none */
    size_t live;
    size_t cap;
};

static void *heap_realloc(void *ud, void *p, size_t old_size, size_t new_size)
{
    struct heap *h = ud;
    size_t had = p != NULL ? old_size : 0;
    if (new_size == 0) {
        free(p);
        h->live -= had;
        return NULL;
    }
    if (new_size > had) {
        h->calls++;
        if (h->live - had + new_size > h->cap ||
            (h->fail_at != 0 && h->calls >= h->fail_at)) {
            return NULL;
        }
    }
    void *q = realloc(p, new_size);
    if (q == NULL) {
        abort();
    }
    h->live += new_size - had;
    return q;
}

/* Without a library. `h` must outlive it. */
static inline lua_State *lua_bare(struct heap *h)
{
    *h = (struct heap){.cap = (size_t)256 * 1024 * 1024};
    lua_State *L = lua_newstate(heap_realloc, h);
    if (L == NULL) {
        abort();
    }
    *(void **)lua_getextraspace(L) = NULL; /* where a vm would be */
    return L;
}

/* With the sandbox, and json as a global. */
static inline lua_State *lua_sandboxed(struct heap *h)
{
    lua_State *L = lua_bare(h);
    lua_pushcfunction(L, sandbox_open);
    lua_pushcfunction(L, json_open);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        abort();
    }
    lua_setglobal(L, "json");
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        abort();
    }
    return L;
}

#endif
