/* api_model.c - public doors: models, LoRAs, samplers, requests, the forward
 * process.
 *
 * SPDX-License-Identifier: MIT
 */
#include "unstir.h"

#include "base/error.h"
#include "format/lora_details.h"
#include "pipeline/checkpoint.h"
#include "pipeline/convert.h"
#include "pipeline/effort.h"
#include "pipeline/forward.h"
#include "pipeline/inspect.h"
#include "pipeline/model_labels.h"
#include "pipeline/micro.h"
#include "pipeline/relay.h"
#include "pipeline/request.h"
#include "text/prompt.h"

/* -- models ---------------------------------------------------------------- */

enum unstir_status unstir_model_open(struct unstir_model **out,
                                     const char *path,
                                     const struct unstir_model_options *options,
                                     struct unstir_error *err)
{
    *out = NULL;
    if (!path || !*path)
        return error_set(err, UNSTIR_ERR_ARG, "no path of a model given");
    return checkpoint_open(out, path, options, err);
}

void unstir_model_unload(struct unstir_model *model)
{
    checkpoint_unload(model);
}

void unstir_model_close(struct unstir_model *model)
{
    checkpoint_free(model);
}

const struct unstir_model_info *
unstir_model_info(const struct unstir_model *model)
{
    return &model->info;
}

static uint32_t n_embeds(const struct unstir_model *model)
{
    return model->info.n_classes + (model->info.null_class >= 0);
}

enum unstir_status unstir_model_find_class(const struct unstir_model *model,
                                           const char *label, int64_t *class_id,
                                           struct unstir_error *err)
{
    *class_id = UNSTIR_CLASS_NULL;
    if (!label)
        return error_field(err, "class", "no label given");
    return labels_find(&model->info, n_embeds(model), label, class_id, err);
}

enum unstir_status unstir_model_arena_bytes(const struct unstir_model *model,
                                            uint32_t width, uint32_t height,
                                            size_t *bytes,
                                            struct unstir_error *err)
{
    return effort_arena_bytes(model, width, height, bytes, err);
}

enum unstir_status unstir_inspect(const char *path,
                                  const struct unstir_model_options *options,
                                  bool with_tensors, char **json,
                                  struct unstir_error *err)
{
    return inspect_checkpoint(path, options, with_tensors, json, err);
}

enum unstir_status unstir_convert(const struct unstir_convert_options *options,
                                  char **json, struct unstir_error *err)
{
    *json = NULL;
    if (!options->input || !options->output)
        return error_set(err, UNSTIR_ERR_ARG, "input and output are wanted");
    return convert_model(options, json, err);
}

/* -- LoRAs ----------------------------------------------------------------- */

enum unstir_status unstir_model_derive(struct unstir_model **out,
                                       const struct unstir_model *base,
                                       const struct unstir_lora *loras,
                                       size_t n_loras, struct unstir_error *err)
{
    return unstir_model_derive_cancelable(out, base, loras, n_loras, NULL, NULL,
                                          err);
}

enum unstir_status unstir_model_derive_cancelable(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras,
    unstir_canceled_fn is_canceled, void *user, struct unstir_error *err)
{
    struct checkpoint_deriving how = {is_canceled, user};

    return checkpoint_derive(out, base, loras, n_loras, &how, err);
}

enum unstir_status unstir_model_describe_derived(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras, struct unstir_error *err)
{
    return checkpoint_describe_derived(out, base, loras, n_loras, err);
}

enum unstir_status unstir_model_derive_bytes(const struct unstir_model *base,
                                             const struct unstir_lora *loras,
                                             size_t n_loras, size_t *n_bytes,
                                             size_t *peak_bytes,
                                             struct unstir_error *err)
{
    return checkpoint_derive_bytes(base, loras, n_loras, n_bytes, peak_bytes,
                                   err);
}

enum unstir_status unstir_lora_inspect(struct unstir_lora_details *out,
                                       const char *path, const char *name,
                                       size_t max_bytes,
                                       struct unstir_error *err)
{
    enum unstir_status status;
    struct lora lora;

    *out = (struct unstir_lora_details){.n_bytes = 0};
    if (!path || !*path)
        return error_set(err, UNSTIR_ERR_ARG, "no path of a LoRA given");
    TRY(lora_open(&lora, path, name ? name : path, max_bytes, err));
    status = lora_details(out, &lora, err);
    lora_close(&lora);
    return status;
}

enum unstir_status unstir_prompt_loras(const char *prompt,
                                       struct unstir_lora_tag *tags, size_t *n,
                                       struct unstir_error *err)
{
    return prompt_lora_tags(prompt, tags, n, err);
}

/* -- samplers -------------------------------------------------------------- */

const struct unstir_sampler_info *unstir_samplers(size_t *n)
{
    *n = SAMPLER_COUNT;
    return sampler_infos;
}

int unstir_sampler_find(const char *name)
{
    const struct sampler_schedule *schedule;
    const struct sampler *s = sampler_find_scheduled(name, &schedule);

    return s ? (int)sampler_index(s) : -1;
}

int unstir_sampler_nearest(const char *name)
{
    const struct sampler *s = sampler_nearest(name);

    return s ? (int)sampler_index(s) : -1;
}

const struct unstir_schedule_info *unstir_schedules(size_t *n)
{
    *n = SAMPLER_N_SCHEDULES;
    return sampler_schedule_infos;
}

int unstir_schedule_find(const char *name)
{
    const struct sampler_schedule *s = sampler_schedule_find(name);

    return s ? (int)(s - sampler_schedules) : -1;
}

/* -- requests -------------------------------------------------------------- */

enum unstir_status unstir_request_check(const struct unstir_model *model,
                                        const struct unstir_request *request,
                                        struct unstir_request *resolved,
                                        unstir_violation_fn report, void *user,
                                        struct unstir_error *err)
{
    return request_check(model, request, resolved, report, user, err);
}

enum unstir_status unstir_request_check_refined(
    const struct unstir_model *model, const struct unstir_refiner *refiner,
    const struct unstir_request *request, struct unstir_request resolved[2],
    unstir_violation_fn report, void *user, struct unstir_error *err)
{
    return relay_check(model, refiner, request, resolved, report, user, err);
}

double unstir_request_evaluations(const struct unstir_model *model,
                                  const struct unstir_request *resolved)
{
    return effort_of_request(model, resolved);
}

bool unstir_request_has_micro(const struct unstir_model *model,
                              const struct unstir_request *resolved)
{
    return micro_is_said(model, resolved);
}

bool unstir_request_has_interval(const struct unstir_model *model,
                                 const struct unstir_request *resolved)
{
    return request_has_interval(model, resolved);
}

enum unstir_status unstir_request_json(const struct unstir_model *model,
                                       const struct unstir_request *resolved,
                                       char **json, struct unstir_error *err)
{
    struct unstir_request again;

    *json = NULL;
    TRY(request_check(model, resolved, &again, NULL, NULL, err));
    return request_write(model, &again, NULL, NULL, json, err);
}

/* -- the forward process --------------------------------------------------- */

enum unstir_status unstir_forward_image(const struct unstir_forward *forward,
                                        const struct unstir_image *image,
                                        int32_t t, struct unstir_image *out,
                                        struct unstir_error *err)
{
    return forward_image(forward, image, t, out, err);
}
