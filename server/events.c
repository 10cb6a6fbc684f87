/* events.c - what happened to a job, in order, to be read by many.
 *
 * SPDX-License-Identifier: MIT
 */
#include "events.h"

#include <string.h>

#include "buf.h"

/* A short job (25 steps, progress and preview each) fits without growing. */
#define FIRST_ROOM 64u

void events_init(struct event_ring *ring, size_t n_max)
{
    memset(ring, 0, sizeof *ring);
    ring->n_max = n_max > EVENTS_MAX ? EVENTS_MAX : n_max > 0 ? n_max : 1;
}

void events_fini(struct event_ring *ring)
{
    mem_free(ring->events);
    memset(ring, 0, sizeof *ring);
}

/* Room only grows while nothing has fallen out, so that the oldest is at 0. */
static void grow(struct event_ring *ring)
{
    size_t wanted = ring->n_room > 0 ? 2 * ring->n_room : FIRST_ROOM;

    if (wanted > ring->n_max)
        wanted = ring->n_max;
    if (!mem_grow(&ring->events, &ring->n_room, wanted, sizeof *ring->events))
        return;
    if (ring->n_room > ring->n_max)
        ring->n_room = ring->n_max;
}

void events_add(struct event_ring *ring, struct event event)
{
    event.id = ++ring->last_id;
    if (ring->n == ring->n_room && ring->n_room < ring->n_max &&
        ring->first == 0)
        grow(ring);
    if (ring->n_room == 0)
        return;
    if (ring->n == ring->n_room) {
        ring->first = (ring->first + 1) % ring->n_room;
        ring->n--;
    }
    ring->events[(ring->first + ring->n) % ring->n_room] = event;
    ring->n++;
}

const struct event *events_next(const struct event_ring *ring, uint32_t after)
{
    uint32_t first = events_first_id(ring);
    size_t skip;

    if (ring->n == 0 || after >= ring->last_id)
        return NULL;
    skip = after < first ? 0 : after - first + 1;
    if (skip >= ring->n)
        return NULL;
    return &ring->events[(ring->first + skip) % ring->n_room];
}

uint32_t events_first_id(const struct event_ring *ring)
{
    return ring->n > 0 ? ring->events[ring->first].id : 0;
}

size_t events_bytes(const struct event_ring *ring)
{
    return ring->n_room * sizeof *ring->events;
}

const char *event_kind_name(enum event_kind kind)
{
    static const char *const names[] = {
#define X(name, text) [EVENT_##name] = text,
        EVENT_KINDS(X)
#undef X
    };

    return names[kind];
}
