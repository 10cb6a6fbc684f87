/* warm.h - the first steps with a model, before any job has some.
 *
 * They plan, pack and touch the memory that every later one finds ready, and
 * teach what a step costs.  A warm-up is work as a job's is, for the scheduler
 * to give to a worker; its pictures go nowhere.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_WARM_H
#define SERVER_WARM_H

#include "models.h"
#include "worker.h"

struct warm_up {
    struct warm_up *next; /* the scheduler's                                 */
    struct model *model;  /* held                                            */
    struct work work;
    /* A worker gives the work back. */
    void (*turn_over)(struct warm_up *warm);
    void *user;
};

/* NULL: there is none for this model, which was told. */
struct warm_up *warm_up_new(struct model *model, struct loop *loop,
                            int64_t quantum_ns,
                            void (*turn_over)(struct warm_up *warm),
                            void *user);

/* Tell the model how it went, and free it. */
void warm_up_end(struct warm_up *warm);

/* Free it; the model is told nothing. */
void warm_up_free(struct warm_up *warm);

#endif
