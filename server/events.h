/* events.h - what happened to a job, in order, to be read by many.
 *
 * A ring of small records, not of text: an event is written out when a reader
 * takes it.  Ids are integers that rise by one within a job, from 1.  The ring
 * grows up to the ceiling given at its start, which the job chooses to hold
 * all that can happen to it; beyond, the oldest fall out.  Readers keep a
 * cursor (the id they saw last) and never hold the ring up.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_EVENTS_H
#define SERVER_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVENT_KINDS(X)      \
    X(STATUS, "status")     \
    X(PROGRESS, "progress") \
    X(PREVIEW, "preview")   \
    X(IMAGE, "image")       \
    X(DONE, "done")

enum event_kind {
#define X(name, text) EVENT_##name,
    EVENT_KINDS(X)
#undef X
        EVENT_N_KINDS
};

struct event {
    uint32_t id;
    uint8_t kind;      /* enum event_kind                                  */
    uint8_t state;     /* enum job_state (status)                          */
    uint8_t stage;     /* enum job_stage (progress)                        */
    uint8_t image;     /* 0-based (progress, preview, image)               */
    uint32_t step;     /* 1-based; 0 is the first noise (progress, preview) */
    uint32_t position; /* 1-based place in the queue, 0: none (status)     */
    float value;       /* share of the job that is done (progress)         */
    float seconds;     /* left (progress) or ahead in the queue (status)   */
    uint32_t after_ms; /* the step's end after the job's arrival (progress)  */
};

/* Longest ring of any job: 16 pictures of 1,000 steps, progress and preview
 * each, fit in; 28 bytes an event. */
#define EVENTS_MAX 65536u

struct event_ring {
    struct event *events;
    size_t n_room; /* allocated                                           */
    size_t n_max;  /* ceiling                                             */
    size_t first;  /* index of the oldest                                 */
    size_t n;      /* held                                                */
    uint32_t last_id;
};

/* `n_max` is cut to 1..EVENTS_MAX. */
void events_init(struct event_ring *ring, size_t n_max);
void events_fini(struct event_ring *ring);

/* Append a copy; its id is given by the ring.  Without memory to grow the
 * oldest event makes room, and with no room at all the event is lost: a reader
 * sees a gap in the ids, never a wait. */
void events_add(struct event_ring *ring, struct event event);

/* The first event with an id above `after`, or NULL.  Valid until the next
 * events_add(). */
const struct event *events_next(const struct event_ring *ring, uint32_t after);

/* Id of the oldest event held, 0 if none. */
uint32_t events_first_id(const struct event_ring *ring);

size_t events_bytes(const struct event_ring *ring);

const char *event_kind_name(enum event_kind kind);

#endif
