/* worker.h - a thread that computes, and the work that is passed to it.
 *
 * A struct work is what a worker needs of a job and nothing else.  It has one
 * owner at a time: the loop gives it to a worker, the worker advances it for a
 * quantum and posts it back by its `turn_over` message.  On the way small
 * messages tell of each step (with its pictures) and of each finished PNG.
 *
 * Two fields are shared while the worker has the work: `stop` says how it
 * shall end, and the generations are published for unstir_generation_cancel(),
 * which the engine polls within a step.  Generations are freed with the work,
 * on the loop, so a published pointer stays good.
 *
 * All pictures of a job advance together, a few in one batch; each gets the
 * bytes that it would get alone.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "sha256.h"
#include "unstir.h"

#define WORK_MAX_PICTURES 16u

/* Pictures in one batch: the arena grows with it, the gain flattens. */
#define WORK_BATCH 4u

enum work_stop { WORK_GO, WORK_FINISH, WORK_ABORT };

enum work_outcome {
    WORK_TURN_OVER, /* the quantum is used up, there is more to do          */
    WORK_DONE,      /* every picture that could be made has been posted     */
    WORK_STOPPED,   /* aborted, or finished before a single step            */
    WORK_LATE,      /* past its deadline                                    */
    WORK_BROKEN     /* `error` says why                                     */
};

struct blob;
struct work_events;

struct work {
    struct loop_message turn_over; /* first member: message == work         */
    struct loop *loop;
    const struct work_events *events;
    void *owner; /* the loop's; a worker never looks at it                  */

    const struct unstir_model *model;
    struct unstir_request request; /* resolved, of picture 0                */
    const struct unstir_model *refiner; /* or NULL                           */
    struct unstir_request refined; /* what it is asked, resolved             */
    uint32_t n;
    uint32_t preview_every; /* 0: no previews                               */
    enum unstir_preview_decoder preview_decoder;
    struct unstir_picture_options output;
    bool wants_latents; /* they are all that is wanted                      */
    const struct blob *init_image, *mask; /* the job's, until it has begun; or
                                             NULL                            */
    uint32_t n_latents;  /* that init_image holds; 0: it is a picture         */
    int64_t deadline_ns; /* monotonic; 0: none                              */
    int64_t quantum_ns;

    /* Shared, see above. */
    atomic_int stop;
    _Atomic(struct unstir_generation *) generations[WORK_MAX_PICTURES];

    /* The worker's, read by the loop when a turn is over. */
    enum work_outcome outcome;
    struct unstir_error error;
    bool has_begun;
    bool has_bad_picture; /* broken by an init_image or mask             */
    uint32_t steps_taken; /* of each picture                               */
    int64_t begin_ns, denoise_ns, png_ns; /* spent, summed up               */
};

/* A step has been taken (step 0: the first noise was drawn). */
struct work_step {
    struct loop_message message;
    struct work *work;
    uint32_t image, step;
    int64_t step_ns; /* of this picture: its batch's time by its size       */
    int64_t network_ns, decode_ns; /* of that                                */
    double evaluations;            /* of the network, in network_ns          */
    int64_t ended_ns; /* monotonic                                           */
    uint32_t width, height, channels;
    uint8_t *views[2]; /* by enum unstir_view; mem_free(); may be NULL       */
};

/* A picture is finished. */
struct work_png {
    struct loop_message message;
    struct work *work;
    uint32_t image;
    uint32_t width, height;
    unsigned char *bytes; /* unstir_free()                                   */
    size_t n_bytes;
    uint8_t digest[SHA256_BYTES];
};

/* What the loop does with the messages; it owns and frees step and png. */
struct work_events {
    void (*stepped)(struct work_step *step);
    void (*encoded)(struct work_png *png);
    void (*turn_over)(struct work *work);
};

/* Of one picture, zeroed but for what every work has. */
void work_init(struct work *work, struct loop *loop, int64_t quantum_ns,
               const struct work_events *events, void *owner);

/* Loop-only; not while a worker has the work.  work_free() also frees the
 * struct itself. */
void work_fini(struct work *work);
void work_free(struct work *work);

/* Loop-only, any time.  Stops between the operations of a step when `stop` is
 * WORK_ABORT, after the step when it is WORK_FINISH. */
void work_stop(struct work *work, enum work_stop stop);

struct worker;

/* Start a thread with an executor of these threads; the thread itself takes
 * their niceness.  NULL and *why on failure. */
struct worker *worker_new(const struct unstir_executor_options *options,
                          char *why, size_t why_size);

/* Hand a work over; the worker must be idle.  Loop-only. */
void worker_give(struct worker *worker, struct work *work);

/* Threads of its executor. */
unsigned worker_threads(const struct worker *worker);

/* Ends after the turn in hand, whose messages are still posted.  NULL allowed.
 * Loop-only. */
void worker_free(struct worker *worker);

#endif
