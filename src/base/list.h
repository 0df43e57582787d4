/* list.h -- intrusive doubly linked list. A head is a node that is its own
 * neighbour when the list is empty; an unlinked node is the same. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

struct list {
    struct list *prev;
    struct list *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l;
    l->next = l;
}

/* True for an empty head and for a node that is in no list. */
static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_push_tail(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_push_head(struct list *head, struct list *node)
{
    node->next = head->next;
    node->prev = head;
    head->next->prev = node;
    head->next = node;
}

/* Unlinks a node; harmless on one that is in no list. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* First node, unlinked; NULL when the list is empty. */
static inline struct list *list_pop_head(struct list *head)
{
    if (list_is_empty(head)) {
        return NULL;
    }
    struct list *node = head->next;
    list_remove(node);
    return node;
}

/* Moves every node of `from` to the tail of `to`; `from` is empty after. */
static inline void list_append_all(struct list *to, struct list *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_each(it, head)                                                    \
    for (struct list *it = (head)->next; it != (head); it = it->next)
/* The body may unlink or free `it`, nothing else of the list. */
#define list_each_safe(it, head)                                               \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);  \
         it = it##_next, it##_next = it->next)

#endif
