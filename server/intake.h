/* intake.h - a body that asks for pictures, read.
 *
 * A picture in a body makes it large, and what must be done with all of it
 * takes the time of a thousand small answers: to parse the JSON, to decode
 * base64, to digest the file, to look at its head.  So that the loop does none
 * of this, a body above INTAKE_INLINE_BYTES goes to a lane (lane.h) with its
 * request deferred, and the handler goes on when that is done.  Smaller ones
 * are read on the spot: that costs less than the way there and back.  What the
 * client is told is the same.
 *
 * A client that leaves takes its body with it: at once if its turn has not
 * come, else when it has been read.
 *
 * A part of the service.  Bodies in line count as work under way: a drain waits
 * for them (and the jobs that they ask for are refused).  A stop answers them
 * as shutting_down.
 *
 * Ceilings: bodies in line are within --body-bytes, which counts each until its
 * answer is out; beside them there is one document and its pictures at a time.
 *
 * Threads: loop only, but for what a lane runs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_INTAKE_H
#define SERVER_INTAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "json.h"
#include "request.h"
#include "service.h"
#include "upload.h"

/* Parsing this takes about half a millisecond. */
#define INTAKE_INLINE_BYTES ((size_t)16 << 10)

/* A picture of the body.  Without `is_read` it was not there, or is to be read
 * by who reads the rest: it stands for something that the loop knows. */
struct intake_upload {
    struct upload upload; /* blob NULL: `why`, or no memory if that is empty */
    bool is_read;
    char why[256];
};

struct intake {
    struct jdoc *doc; /* NULL: `why`                                         */
    char why[160];
    char first; /* letter of the body that is no blank                       */
    struct intake_upload init_image, mask;
};

/* The handler's second half.  What is in `in` can be taken out of it. */
typedef void (*intake_fn)(struct service *service, struct request *request,
                          struct intake *in);

/* Read the body, then call `then`: now, or later with the request deferred.
 * It is not called when the client leaves or the server stops meanwhile. */
void intake_read(struct service *service, struct request *request,
                 intake_fn then);

/* The JSON alone, here and now. */
void intake_parse(struct intake *in, const char *body, size_t n);
void intake_fini(struct intake *in);

/* The part (service.h). */
struct intakes;
bool intakes_open(struct service *service, char *why, size_t why_size);
size_t intakes_busy(const struct service *service);
void intakes_stop(struct service *service);
void intakes_close(struct service *service);

#endif
