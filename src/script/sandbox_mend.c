/* sandbox_mend.c -- mends what the compiler of Lua 5.4.4 gets wrong.
 *
 * A generic `for` may have a fourth value that is closed when the loop ends.
 * If a `break` leaves an inner block with captured or closed variables, the
 * compiler makes one CLOSE instruction for the break and the loop together,
 * and writes it before it has forgotten the loop's own variables: it closes
 * from the register above them (fixed in Lua 5.4.5). The value stays in the
 * list of what is to be closed while its register is used anew, and the next
 * `<close>` variable below it makes Lua write all over the memory. Ten lines
 * of plain Lua do that, and no function that a script calls is involved.
 *
 *     TFORLOOP base ...
 *     CLOSE    base+4     is to be: CLOSE base
 *
 * So what was compiled is looked through before anything of it can run: each
 * TFORLOOP is followed by its loop's CLOSE, always, and where that has the
 * wrong register it gets the right one. Called by everything that compiles
 * (sandbox_load, and a script's load). The loop then closes in the right order
 * and at the right time; a script sees Lua as it is documented.
 *
 * Lua has no interface for this, so the layout of a function's prototype is
 * written down here, for the one release that is concerned: releases do not
 * change it, and a distribution's fixes may not either, since its own programs
 * would break. Before 5.4.4 other things are wrong as well; nobody ships
 * those. */
#include "base/base.h"
#include "script/sandbox_priv.h"

#if LUA_VERSION_RELEASE_NUM == 50404

#    define OP_BITS      7
#    define OP_MASK      ((1u << OP_BITS) - 1)
#    define A_OF(i)      (((i) >> OP_BITS) & 0xffu)
#    define OP_CLOSE     54u
#    define OP_TFORLOOP  77u
#    define STATE_VALUES 4u /* iterator, state, control, to be closed */

/* Types as the collector names them. */
#    define TYPE_LUA_FUNCTION 6
#    define TYPE_PROTOTYPE    10

/* lobject.h of 5.4.4. */
struct prototype {
    void *next;
    uint8_t type;
    uint8_t marked;
    uint8_t parameters;
    uint8_t is_vararg;
    uint8_t stack_size;
    int upvalue_count;
    int constant_count;
    int code_count;
    int line_count;
    int inner_count;
    int local_count;
    int far_line_count;
    int first_line;
    int last_line;
    void *constants;
    uint32_t *code;
    struct prototype **inner; /* of the functions inside this one */
};

struct closure {
    void *next;
    uint8_t type;
    uint8_t marked;
    uint8_t upvalue_count;
    void *gray;
    struct prototype *prototype;
};

/* As deep as functions are nested, which the parser has limited. */
static void mend(struct prototype *p)
{
    ASSERT(p->type == TYPE_PROTOTYPE && p->code_count > 0,
        "a prototype is laid out as in Lua 5.4.4");
    for (int i = 0; i + 1 < p->code_count; i++) {
        uint32_t loop = p->code[i];
        uint32_t next = p->code[i + 1];
        if ((loop & OP_MASK) == OP_TFORLOOP && (next & OP_MASK) == OP_CLOSE &&
            A_OF(next) == A_OF(loop) + STATE_VALUES) {
            p->code[i + 1] = next - (STATE_VALUES << OP_BITS);
        }
    }
    for (int i = 0; i < p->inner_count; i++) {
        mend(p->inner[i]);
    }
}

void sandbox_mend(lua_State *L)
{
    const struct closure *f = lua_topointer(L, -1);
    ASSERT(!lua_iscfunction(L, -1) && f->type == TYPE_LUA_FUNCTION,
        "a chunk is a Lua function, laid out as in Lua 5.4.4");
    mend(f->prototype);
}

#else

void sandbox_mend(lua_State *L)
{
    (void)L;
}

#endif
