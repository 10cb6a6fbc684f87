/* model.c - one model as the server knows it: its state, and what it tells.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

#include "clock.h"

#define WARM_UP_MAX_S 0.25 /* of a step and its picture, as guessed         */

const char *model_state_name(enum model_state state)
{
    static const char *const names[] = {
#define X(name, text) [MODEL_##name] = text,
        MODEL_STATES(X)
#undef X
    };

    return names[state];
}

const char *model_id(const struct model *model)
{
    return model->info != NULL ? model->info->id : model->name;
}

const char *model_public_why(const struct model *model)
{
    return model->why_is_public  ? model->why
           : model->base != NULL ? "the files of its LoRAs cannot be read or "
                                   "have changed since the request came; send "
                                   "it again"
                                 : "the model could not be loaded; the "
                                   "server's log says why";
}

bool model_is_ready(const struct model *model)
{
    return model->state == MODEL_READY && !model->is_leaving &&
           (model->base == NULL || !model->base->is_leaving);
}

bool model_may_leave(const struct model *model)
{
    return model->n_users == 0 && model->n_derived == 0 && model->is_leaving &&
           model->state == MODEL_READY;
}

size_t model_need(const struct model *model)
{
    return model->base != NULL ? model->need_bytes
                               : (size_t)model->info->weight_bytes;
}

struct cost *model_cost(struct model *model)
{
    return model->base != NULL ? &model->base->cost : &model->cost;
}

/* Evaluations of a step of the default request; of models that only repaint,
 * which have none, as guidance has it. */
static double default_evaluations(const struct model *model)
{
    struct unstir_request request = UNSTIR_REQUEST_INIT;

    request.class_id = model->info->n_classes > 0 ? 0 : UNSTIR_CLASS_UNSET;
    if (unstir_request_check(model->described, &request, &request, NULL, NULL,
                             NULL) != UNSTIR_OK)
        return model->info->takes_guidance ? 2 : 1;
    return unstir_request_evaluations(model->described, &request) /
           unstir_request_steps(model->described, &request);
}

double model_step_s(const struct model *model)
{
    return cost_predict(&model->cost, model->info->default_width,
                        model->info->default_height, default_evaluations(model),
                        0);
}

bool model_is_worth_warming(const struct model *model)
{
    return model_step_s(model) +
               cost_predict(&model->cost, model->info->default_width,
                            model->info->default_height, 0, 1) <=
           WARM_UP_MAX_S;
}

void model_describe(struct model *model, struct unstir_model *engine)
{
    model->described = engine;
    model->info = unstir_model_info(engine);
    model->opened_ms = clock_wall_ms();
    cost_init(&model->cost, model->info->default_width,
              model->info->default_height, model->info->evaluation_gflop,
              model->info->decode_gflop);
}

void model_close(struct model *model)
{
    if (model->engine != model->described)
        unstir_model_close(model->engine);
    unstir_model_close(model->described);
    model->engine = model->described = NULL;
}
