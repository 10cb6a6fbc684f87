/* model_task.h - what helper threads do for a model.
 *
 * A task reads what it needs of its model while the loop leaves that alone, and
 * changes nothing of it: what came of it is for `done`, on the loop.
 *
 * Threads: loop only, but for what a task runs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODEL_TASK_H
#define SERVER_MODEL_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "loop.h"
#include "model.h"
#include "model_files.h"

enum model_deed {
    MODEL_DESCRIBE, /* open its files without the weights                    */
    MODEL_LOAD,     /* open its files                                        */
    MODEL_MEASURE,  /* what deriving it from its base would take             */
    MODEL_DERIVE,   /* make it out of its loaded base, which must stay       */
    MODEL_UNLOAD    /* close its engine's                                    */
};

struct model_task {
    struct loop_task task; /* first member                                   */
    enum model_deed deed;
    struct model *model;
    struct model_files files;        /* of models with files of their own */
    const struct unstir_model *base; /* of derived ones                   */
    atomic_bool is_canceled;         /* by the loop; see model_task.c     */
    void (*done)(struct model_task *task);

    /* What came of it. */
    struct unstir_model *engine; /* NULL: none                               */
    size_t peak_bytes;           /* measured                                 */
    enum unstir_status status;
    struct unstir_error error;
    double seconds;
};

/* `done` is called once, later; the task is its to free.  NULL without memory:
 * nothing has begun. */
struct model_task *model_task_start(struct loop *loop,
                                    const struct config *config,
                                    enum model_deed deed, struct model *model,
                                    void (*done)(struct model_task *task));

/* A wish: what is being derived may be there all the same. */
void model_task_cancel(struct model_task *task);

#endif
