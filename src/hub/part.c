/* part.c -- the members of a room that live on one loop, in the order of their
 * slots.
 *
 * A walk (cast.c, or net/fanout over there) should find the slots ascending,
 * since lanes and the kernel's sockets lie in that order, and it should find
 * them dense. And nothing that is done here may take long, however many they
 * are: joining and leaving happen in sections that cannot be stopped. So the
 * places are cut into rows of at most ROW_PLACES. Whoever joins or leaves moves
 * the places behind him in one row; a row that is full is split in two, two
 * that are nearly empty become one. All of it is O(log n) and a row's worth of
 * moving, at any size.
 *
 * A place knows its member, but no member its place: it is searched by its
 * slot, first in the list of rows, then in the row. That is why moving places
 * costs nothing but the moving.
 *
 * Places that a walk shall pass over are hidden: those excepted from a
 * broadcast, and those who join during one. A walk holds on to nothing but a
 * slot, the next one to look for, so it may be stopped at any place and goes
 * on whatever has changed meanwhile. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include <string.h>

#ifdef MOONWIRE_TINY
#    define ROW_PLACES 4u
#else
#    define ROW_PLACES 512u
#endif
#define FEWEST_PLACES 4u

static uint32_t slot_at(const struct row *w, uint32_t i)
{
    return w->slots[i] & ~ROOM_HIDDEN;
}

void part_init(struct part *p, struct room *r, uint32_t loop)
{
    *p = (struct part){.room = r, .loop = loop};
    p->rows = &p->first;
    p->row_count = 1;
    p->row_cap = 1;
}

void part_fini(struct part *p)
{
    ASSERT(p->count == 0, "a room outlives its members");
    blob_unref(p->list);
    for (uint32_t i = 0; i < p->row_count; i++) {
        quota_free(p->rows[i].members);
    }
    if (p->rows != &p->first) {
        quota_free(p->rows);
    }
}

uint32_t part_count(const struct part *p)
{
    return p->count;
}

/* ---- finding ---- */

/* The row that a slot belongs to. */
static uint32_t find_row(const struct part *p, uint32_t slot)
{
    uint32_t low = 0;
    uint32_t high = p->row_count;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (p->rows[mid].low <= slot) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return low;
}

/* The first place in it whose slot is not below `slot`. */
static uint32_t lower_bound(const struct row *w, uint32_t slot)
{
    uint32_t low = 0;
    uint32_t high = w->len;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (slot_at(w, mid) < slot) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static uint32_t *find_place(struct part *p, uint32_t slot, struct row **row)
{
    struct row *w = &p->rows[find_row(p, slot)];
    uint32_t at = lower_bound(w, slot);
    ASSERT(at < w->len && slot_at(w, at) == slot, "a member has its place");
    *row = w;
    return &w->slots[at];
}

bool part_next(const struct part *p, uint32_t from, struct places *out)
{
    uint32_t at = find_row(p, from);
    uint32_t i = lower_bound(&p->rows[at], from);
    while (i == p->rows[at].len) {
        if (++at == p->row_count) {
            return false;
        }
        i = 0;
    }
    const struct row *w = &p->rows[at];
    *out = (struct places){w->slots + i, w->members + i, w->len - i};
    return true;
}

/* ---- rows ---- */

/* One allocation holds both arrays, so that it fails as a whole. */
static int resize(struct row *w, uint32_t cap)
{
    struct member **members =
        quota_alloc(cap * (sizeof(*members) + sizeof(uint32_t)));
    if (members == NULL) {
        return ERR_NOMEM;
    }
    uint32_t *slots = (uint32_t *)(void *)(members + cap);
    if (w->len > 0) {
        memcpy(members, w->members, w->len * sizeof(*members));
        memcpy(slots, w->slots, w->len * sizeof(*slots));
    }
    quota_free(w->members);
    w->members = members;
    w->slots = slots;
    w->cap = cap;
    return 0;
}

/* Puts the places [from, len) of `a` behind those of `b`, which has room. */
static void move_places(struct row *a, uint32_t from, struct row *b)
{
    uint32_t n = a->len - from;
    if (n == 0) {
        return;
    }
    memcpy(b->slots + b->len, a->slots + from, n * sizeof(*a->slots));
    memcpy(b->members + b->len, a->members + from, n * sizeof(*a->members));
    for (uint32_t i = from; a->hidden > 0 && i < a->len; i++) {
        if ((a->slots[i] & ROOM_HIDDEN) != 0) {
            a->hidden--;
            b->hidden++;
        }
    }
    a->len = from;
    b->len += n;
}

/* Room for one more row in the list of them. */
static int reserve_row(struct part *p)
{
    if (p->row_count < p->row_cap) {
        return 0;
    }
    uint32_t cap = p->row_cap < 4 ? 4 : p->row_cap * 2;
    bool is_inline = p->rows == &p->first;
    struct row *rows =
        quota_realloc(is_inline ? NULL : p->rows, cap * sizeof(*rows));
    if (rows == NULL) {
        return ERR_NOMEM;
    }
    if (is_inline) {
        rows[0] = p->first;
    }
    p->rows = rows;
    p->row_cap = cap;
    return 0;
}

/* The row `at` is full: there is one more behind it, with its upper half, or,
 * if `slot` is above all, with nothing, as slots mostly come in order. */
static int split(struct part *p, uint32_t at, uint32_t slot)
{
    struct row fresh = {0};
    int rc = reserve_row(p);
    if (rc == 0) {
        rc = resize(&fresh, ROW_PLACES);
    }
    if (rc != 0) {
        return rc;
    }
    struct row *w = &p->rows[at];
    bool is_above = at + 1 == p->row_count && slot > slot_at(w, w->len - 1);
    uint32_t keep = is_above ? w->len : w->len / 2;
    fresh.low = is_above ? slot : slot_at(w, keep);
    move_places(w, keep, &fresh);
    size_t behind = p->row_count - (at + 1);
    memmove(w + 2, w + 1, behind * sizeof(*w));
    w[1] = fresh;
    p->row_count++;
    return 0;
}

static void drop_row(struct part *p, uint32_t at)
{
    struct row *w = &p->rows[at];
    quota_free(w->members);
    size_t behind = p->row_count - (at + 1);
    memmove(w, w + 1, behind * sizeof(*w));
    p->row_count--;
    p->rows[0].low = 0;
}

/* Some have left the row `at`: it shall not keep much more than it needs. */
static void tidy(struct part *p, uint32_t at)
{
    struct row *w = &p->rows[at];
    if (w->len == 0 && p->row_count > 1) {
        drop_row(p, at);
        return;
    }
    struct row *other = at > 0 ? w - 1 : NULL;
    if (other != NULL && other->len + w->len <= other->cap / 2) {
        move_places(w, 0, other);
        drop_row(p, at);
        return;
    }
    if (w->cap > 16 * FEWEST_PLACES && w->len < w->cap / 8) {
        /* Without memory for less memory, it stays as it is. */
        (void)resize(w, w->cap / 4);
    }
}

/* ---- members ---- */

int part_reserve(struct part *p, uint32_t slot)
{
    uint32_t at = find_row(p, slot);
    struct row *w = &p->rows[at];
    if (w->len < w->cap) {
        return 0;
    }
    if (w->cap < ROW_PLACES) {
        return resize(w, w->cap == 0 ? FEWEST_PLACES : w->cap * 2);
    }
    return split(p, at, slot);
}

/* The list that letters carry is not true any more. */
static void forget_list(struct part *p)
{
    if (p->is_list_lent) {
        p->is_list_stale = true;
        return;
    }
    blob_unref(p->list);
    p->list = NULL;
}

void part_add(struct part *p, struct member *m, bool is_hidden)
{
    uint32_t slot = m->conn.slot;
    struct row *w = &p->rows[find_row(p, slot)];
    ASSERT(slot < ROOM_HIDDEN && w->len < w->cap, "part_reserve() came first");
    forget_list(p);
    uint32_t at = lower_bound(w, slot);
    size_t behind = w->len - at;
    memmove(w->slots + at + 1, w->slots + at, behind * sizeof(*w->slots));
    memmove(w->members + at + 1, w->members + at, behind * sizeof(*w->members));
    w->slots[at] = slot | (is_hidden ? ROOM_HIDDEN : 0);
    w->members[at] = m;
    w->len++;
    w->hidden += is_hidden;
    p->count++;
    p->hidden += is_hidden;
}

void part_remove(struct part *p, uint32_t slot)
{
    struct row *w;
    uint32_t at = (uint32_t)(find_place(p, slot, &w) - w->slots);
    bool is_hidden = (w->slots[at] & ROOM_HIDDEN) != 0;
    forget_list(p);
    w->len--;
    w->hidden -= is_hidden;
    p->count--;
    p->hidden -= is_hidden;
    size_t behind = w->len - at;
    memmove(w->slots + at, w->slots + at + 1, behind * sizeof(*w->slots));
    memmove(w->members + at, w->members + at + 1, behind * sizeof(*w->members));
    tidy(p, (uint32_t)(w - p->rows));
}

bool part_hide(struct part *p, uint32_t slot)
{
    struct row *w;
    uint32_t *place = find_place(p, slot, &w);
    if ((*place & ROOM_HIDDEN) != 0) {
        return false;
    }
    *place |= ROOM_HIDDEN;
    w->hidden++;
    p->hidden++;
    return true;
}

bool part_show_some(struct part *p, uint32_t *from)
{
    for (uint32_t at = find_row(p, *from); p->hidden > 0; at++) {
        struct row *w = &p->rows[at];
        ASSERT(at < p->row_count, "who is hidden is in a row");
        if (w->hidden == 0) {
            continue;
        }
        for (uint32_t i = 0; i < w->len; i++) {
            w->slots[i] &= ~ROOM_HIDDEN;
        }
        p->hidden -= w->hidden;
        w->hidden = 0;
        *from = w->low;
        return p->hidden > 0;
    }
    return false;
}

void part_lend_list(struct part *p, bool is_lent)
{
    p->is_list_lent = is_lent;
    if (!is_lent && p->is_list_stale) {
        p->is_list_stale = false;
        forget_list(p);
    }
}
