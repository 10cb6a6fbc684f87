/* model_task.c - what helper threads do for a model.
 *
 * `is_canceled` is read and written relaxed: it is a wish, and carries no data.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_task.h"

#include "buf.h"
#include "clock.h"

static bool is_canceled(void *user)
{
    struct model_task *t = user;

    return atomic_load_explicit(&t->is_canceled, memory_order_relaxed);
}

static enum unstir_status do_deed(struct model_task *t)
{
    const struct model *model = t->model;
    size_t n_bytes;

    switch (t->deed) {
    case MODEL_DESCRIBE:
    case MODEL_LOAD:
        return unstir_model_open(&t->engine, model->path, &t->files.options,
                                 &t->error);
    case MODEL_MEASURE:
        return unstir_model_derive_bytes(t->base, model->loras, model->n_loras,
                                         &n_bytes, &t->peak_bytes, &t->error);
    case MODEL_DERIVE:
        return unstir_model_derive_cancelable(&t->engine, t->base, model->loras,
                                              model->n_loras, is_canceled, t,
                                              &t->error);
    case MODEL_UNLOAD:
        unstir_model_close(model->engine);
        break;
    }
    return UNSTIR_OK;
}

static void run(struct loop_task *task)
{
    struct model_task *t = (struct model_task *)task;
    int64_t started_ns = clock_mono_ns();

    t->status = do_deed(t);
    t->seconds = (double)(clock_mono_ns() - started_ns) * 1e-9;
}

static void done(struct loop_task *task)
{
    struct model_task *t = (struct model_task *)task;

    t->done(t);
}

/* To measure, the base's description is enough, and that is always there. */
static const struct unstir_model *base_for(enum model_deed deed,
                                           const struct model *model)
{
    if (model->base == NULL)
        return NULL;
    return deed == MODEL_MEASURE ? model->base->described : model->base->engine;
}

struct model_task *model_task_start(struct loop *loop,
                                    const struct config *config,
                                    enum model_deed deed, struct model *model,
                                    void (*told)(struct model_task *task))
{
    struct model_task *t = mem_zero(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->task = (struct loop_task){.run = run, .done = done};
    t->deed = deed;
    t->model = model;
    t->base = base_for(deed, model);
    t->done = told;
    atomic_init(&t->is_canceled, false);
    if (deed == MODEL_DESCRIBE || deed == MODEL_LOAD)
        model_files_fill(&t->files, config, deed == MODEL_DESCRIBE);
    if (loop_offload(loop, &t->task))
        return t;
    mem_free(t);
    return NULL;
}

void model_task_cancel(struct model_task *task)
{
    atomic_store_explicit(&task->is_canceled, true, memory_order_relaxed);
}
