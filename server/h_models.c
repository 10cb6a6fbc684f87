/* h_models.c - which models there are and what they can do.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "buf.h"
#include "handlers.h"
#include "models.h"
#include "reply.h"
#include "request.h"

/* A model of a thousand labels is about 60 KiB. */
#define MODEL_BYTES (256u << 10)

static void write_or_null(struct json_out *out, const char *key,
                          const char *text)
{
    if (text != NULL)
        jout_string(out, key, text);
    else
        jout_null(out, key);
}

static void write_limits(const struct unstir_model_info *info,
                         struct json_out *out)
{
    jout_object(out, "defaults");
    jout_int(out, "width", info->default_width);
    jout_int(out, "height", info->default_height);
    jout_int(out, "steps", info->default_steps);
    jout_string(out, "sampler", info->default_sampler);
    if (info->default_schedule != NULL)
        jout_string(out, "schedule", info->default_schedule);
    jout_number(out, "guidance_scale", info->default_guidance);
    jout_number(out, "guidance_start", info->default_guidance_start);
    jout_number(out, "guidance_end", info->default_guidance_end);
    jout_end_object(out);
    jout_object(out, "limits");
    jout_int(out, "min_size", info->min_size);
    jout_int(out, "max_size", info->max_size);
    jout_int(out, "size_multiple", info->size_multiple);
    jout_int(out, "max_steps", info->max_steps);
    jout_int(out, "train_timesteps", info->n_train_timesteps);
    jout_end_object(out);
}

static void write_classes(const struct unstir_model_info *info,
                          struct json_out *out)
{
    jout_int(out, "classes", info->n_classes);
    if (info->null_class >= 0)
        jout_int(out, "null_class", info->null_class);
    else
        jout_null(out, "null_class");
    jout_object(out, "labels");
    for (size_t i = 0; i < info->n_labels; i++)
        jout_int(out, info->labels[i].name, info->labels[i].class_id);
    jout_end_object(out);
}

static void write_text_side(const struct unstir_model_info *info,
                            struct json_out *out)
{
    write_or_null(out, "pipeline", info->pipeline[0] ? info->pipeline : NULL);
    write_or_null(out, "autoencoder", info->autoencoder);
    jout_bool(out, "takes_text", info->takes_text);
    jout_bool(out, "takes_guidance", info->takes_guidance);
    jout_bool(out, "takes_negative_prompt", info->takes_negative_prompt);
    jout_bool(out, "has_tiny_decoder", info->has_tiny_decoder);
    jout_bool(out, "edits_pictures", info->edits_pictures);
    jout_bool(out, "takes_picture", info->takes_picture);
    jout_bool(out, "takes_mask", info->takes_mask);
    jout_bool(out, "needs_mask", info->needs_mask);
    jout_bool(out, "takes_micro_conditioning", info->takes_micro_conditioning);
    jout_bool(out, "takes_aesthetic_score", info->takes_aesthetic_score);
    jout_bool(out, "takes_deep_cache", info->takes_deep_cache);
    if (info->takes_text)
        jout_int(out, "max_clip_skip", info->max_clip_skip);
}

static void write_info(const struct unstir_model_info *info,
                       struct json_out *out)
{
    write_or_null(out, "title", info->title);
    jout_string(out, "family", info->family);
    write_or_null(out, "licence", info->licence);
    write_or_null(out, "source", info->source);
    jout_string(out, "sha256", info->digest);
    jout_string(out, "isa", info->isa);
    jout_string(out, "precision", info->precision);
    jout_string(out, "fingerprint", info->fingerprint);
    jout_uint(out, "parameters", info->n_parameters);
    jout_uint(out, "bytes", info->weight_bytes);
    jout_int(out, "channels", info->channels);
    write_limits(info, out);
    write_classes(info, out);
    write_text_side(info, out);
    jout_array(out, "notes");
    for (size_t i = 0; i < info->n_notes; i++)
        jout_string(out, NULL, info->notes[i]);
    jout_end_array(out);
}

/* "created" and "owned_by" are what OpenAI's clients look for. */
static void write_model(const struct model *model, struct json_out *out)
{
    jout_object(out, NULL);
    jout_string(out, "id", model_id(model));
    jout_string(out, "object", "model");
    jout_int(out, "created", model->opened_ms / 1000);
    jout_string(out, "owned_by", "unstir");
    jout_string(out, "status", model_state_name(model->state));
    if (model->state == MODEL_FAILED)
        jout_string(out, "error", model_public_why(model));
    jout_time(out, "loaded_at", model->loaded_ms);
    if (model->info != NULL)
        write_info(model->info, out);
    if (model->state == MODEL_READY)
        jout_number(out, "step_ms", 1e3 * model_step_s(model));
    jout_end_object(out);
}

void h_models_list(struct service *service, struct request *request)
{
    struct json_out out;
    struct buf buf;

    buf_init(&buf, MODEL_BYTES * (service->models->n + 1));
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "object", "list");
    jout_array(&out, "data");
    for (const struct model *at = service->models->first; at != NULL;
         at = at->next)
        write_model(at, &out);
    jout_end_array(&out);
    jout_null(&out, "next_cursor");
    jout_end_object(&out);
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_json_tagged(request, &buf);
}

void h_models_get(struct service *service, struct request *request)
{
    const char *id = request_param(request, "id");
    const struct model *model = models_find(service->models, id);
    const char *nearest;
    struct json_out out;
    struct buf buf;

    if (model == NULL || id[0] == '\0') {
        nearest = models_nearest(service->models, id);
        if (nearest != NULL)
            reply_error(request, ERROR_NOT_FOUND,
                        "there is no such model here; the nearest is %s",
                        nearest);
        else
            reply_error(
                request, ERROR_NOT_FOUND,
                "there is no such model here; GET /v1/models lists all");
        return;
    }
    buf_init(&buf, MODEL_BYTES);
    jout_init(&out, &buf);
    write_model(model, &out);
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_json_tagged(request, &buf);
}
