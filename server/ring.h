/* ring.h - lists whose links are part of what they link.
 *
 * A head and the links of its members form a ring, so that nothing is special
 * about the first or the last one:
 *
 *     struct ring all;                     ring_init(&all);
 *     struct thing { struct ring by_age; };  zeroed: in no list
 *
 *     ring_add(&all, &thing->by_age);
 *     for (struct ring *at = all.next; at != &all; at = at->next)
 *         use(RING_OF(at, struct thing, by_age));
 *     ring_remove(&thing->by_age);
 *
 * A loop that may remove the member at hand takes `next` before it does.  A head
 * must stay where it was initialised.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_RING_H
#define SERVER_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
    struct ring *next, *prev; /* of a member in no list: NULL                */
};

/* The struct of type `type` whose member `member` the link is. */
#define RING_OF(link, type, member) \
    ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void ring_init(struct ring *head)
{
    head->next = head->prev = head;
}

static inline bool ring_is_empty(const struct ring *head)
{
    return head->next == head;
}

static inline bool ring_is_in(const struct ring *link)
{
    return link->next != NULL;
}

/* As the last one. */
static inline void ring_add(struct ring *head, struct ring *link)
{
    link->next = head;
    link->prev = head->prev;
    head->prev->next = link;
    head->prev = link;
}

static inline void ring_remove(struct ring *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

/* All members of `from`, which is empty then; `to` need not be initialised. */
static inline void ring_take(struct ring *to, struct ring *from)
{
    ring_init(to);
    if (ring_is_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    ring_init(from);
}

#endif
