/* warm.c - the first steps with a model, before any job has some.
 *
 * SPDX-License-Identifier: MIT
 */
#include "warm.h"

#include <string.h>

#include "buf.h"
#include "progress.h"

/* The first step of a model also plans, packs and touches its memory: the
 * second one is measured. */
#define WARM_UP_STEPS 2u

static void stepped(struct work_step *step)
{
    const struct warm_up *warm = step->work->owner;

    if (step->step > 0)
        progress_learn(warm->model, step);
    progress_drop_step(step);
}

static void turn_over(struct work *work)
{
    struct warm_up *warm = work->owner;

    warm->turn_over(warm);
}

static const struct work_events events = {.stepped = stepped,
                                          .encoded = progress_drop_picture,
                                          .turn_over = turn_over};

/* Some models only repaint or edit: they are given a white pixel to do it on. */
static enum unstir_status check_request(const struct model *model,
                                        struct unstir_request *request,
                                        struct unstir_error *error)
{
    static uint8_t white[] = {255};
    static const struct unstir_image pixel = {1, 1, 1, white};
    const struct unstir_model_info *info = model->info;

    if (unstir_request_check(model->engine, request, request, NULL, NULL,
                             error) == UNSTIR_OK)
        return UNSTIR_OK;
    if (strcmp(error->field, "init_image") != 0)
        return error->status;
    request->init_image = &pixel;
    request->mask = info->edits_pictures ? NULL : &pixel;
    request->width = info->default_width;
    request->height = info->default_height;
    return unstir_request_check(model->engine, request, request, NULL, NULL,
                                error);
}

struct warm_up *warm_up_new(struct model *model, struct loop *loop,
                            int64_t quantum_ns,
                            void (*told)(struct warm_up *warm), void *user)
{
    const struct unstir_model_info *info = model->info;
    struct unstir_request request = UNSTIR_REQUEST_INIT;
    struct warm_up *warm = mem_zero(1, sizeof *warm);
    struct unstir_error error = {UNSTIR_OK, "", ""};

    request.steps =
        WARM_UP_STEPS < info->max_steps ? WARM_UP_STEPS : info->max_steps;
    request.class_id = info->n_classes > 0 ? 0 : UNSTIR_CLASS_UNSET;
    if (warm == NULL || check_request(model, &request, &error) != UNSTIR_OK) {
        mem_free(warm);
        model_warmed(model,
                     error.detail[0] != '\0' ? error.detail : "out of memory");
        return NULL;
    }
    work_init(&warm->work, loop, quantum_ns, &events, warm);
    warm->work.model = model->engine;
    warm->work.request = request;
    warm->model = model;
    warm->turn_over = told;
    warm->user = user;
    model_hold(model);
    return warm;
}

void warm_up_end(struct warm_up *warm)
{
    const struct work *work = &warm->work;

    model_warmed(warm->model, work->outcome == WORK_DONE ? NULL
                              : work->outcome == WORK_BROKEN
                                  ? work->error.detail
                                  : "warm-up was "
                                    "stopped");
    warm_up_free(warm);
}

void warm_up_free(struct warm_up *warm)
{
    work_fini(&warm->work);
    model_drop(warm->model);
    mem_free(warm);
}
