/* stream.h - a job's events to one client, as they come: text/event-stream, or
 * a film of its steps (multipart/x-mixed-replace).
 *
 * A stream keeps a cursor into the job's ring and takes the next event when
 * the client has taken the last ones, so a slow reader costs its buffer and
 * nothing more.  Pictures are encoded off the loop while the stream waits.  A
 * slow reader of a film gets the newest step next, not the one in turn; events
 * are never left out while the ring holds them.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_STREAM_H
#define SERVER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "job.h"
#include "request.h"

enum stream_form { STREAM_EVENTS, STREAM_FILM };

enum stream_previews {
    STREAM_PREVIEW_LINK,   /* event with a url                              */
    STREAM_PREVIEW_INLINE, /* and with the bytes as base64                  */
    STREAM_PREVIEW_NONE    /* no preview events                             */
};

struct stream_options {
    enum stream_form form;
    enum stream_previews previews;
    unsigned view;   /* enum unstir_view of the pictures                  */
    uint32_t image;  /* of a film                                         */
    uint32_t zoom;   /* of a film                                         */
    uint32_t after;  /* id of the last event the client has seen          */
    bool is_waiting; /* its end counts as a hang-up (jobs_wait_gone)      */
};

/* Whether one more may be opened; false: 429 was sent. */
bool stream_has_room(struct request *request, const struct jobs *jobs);

/* Gives the request away: answers it with a stream, or with 429 when there are
 * too many. */
void stream_start(struct request *request, struct job *job,
                  const struct stream_options *options);

/* "link", "inline" or "none"; NULL is link. */
enum stream_previews stream_previews(const char *text);

#endif
