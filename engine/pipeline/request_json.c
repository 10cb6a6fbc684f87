/* request_json.c - a resolved request as canonical JSON, and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "pipeline/checkpoint.h"
#include "pipeline/micro.h"
#include "pipeline/start.h"

/* -- writing --------------------------------------------------------------- */

static enum unstir_status write_digest(struct json_writer *w, const char *key,
                                       const char *known,
                                       const struct unstir_image *image,
                                       struct unstir_error *err)
{
    char hex[65] = "";

    if (!image || (!known && !image->pixels))
        return UNSTIR_OK;
    if (!known)
        TRY(start_digest(image, hex, err));
    json_put_string(w, key, known ? known : hex);
    return UNSTIR_OK;
}

static enum unstir_status write_latents(struct json_writer *w,
                                        const struct unstir_request *r,
                                        const struct start *s,
                                        struct unstir_error *err)
{
    char hex[65] = "";

    if (!s && !r->init_latents->values)
        return UNSTIR_OK;
    if (!s)
        TRY(start_digest_latents(r->init_latents, hex, err));
    json_put_string(w, "init_latents_sha256", s ? s->digest : hex);
    return UNSTIR_OK;
}

static enum unstir_status write_pictures(struct json_writer *w,
                                         const struct unstir_request *r,
                                         const struct start *s,
                                         struct unstir_error *err)
{
    if (!request_has_start(r))
        return UNSTIR_OK;
    json_put_real(w, "strength", r->strength);
    if (r->init_latents)
        return write_latents(w, r, s, err);
    TRY(write_digest(w, "init_image_sha256", s ? s->digest : NULL,
                     r->init_image, err));
    return write_digest(w, "mask_sha256", s ? s->mask_digest : NULL, r->mask,
                        err);
}

static void write_texts(struct json_writer *w, const struct unstir_request *r)
{
    json_put_string(w, "prompt", r->prompt);
    if (r->negative_prompt)
        json_put_string(w, "negative_prompt", r->negative_prompt);
    if (r->clip_skip > 1)
        json_put_int(w, "clip_skip", r->clip_skip);
    if (r->prompt_syntax)
        json_put_string(w, "prompt_syntax", r->prompt_syntax);
}

static void write_loras(struct json_writer *w,
                        const struct unstir_model_info *info)
{
    if (info->n_loras == 0)
        return;
    json_open_array(w, "loras");
    for (size_t i = 0; i < info->n_loras; i++) {
        const struct unstir_lora_info *l = &info->loras[i];

        json_open_object(w, NULL);
        json_put_string(w, "name", l->name);
        json_put_real(w, "scale", l->unet_weight);
        if (l->text_weight != l->unet_weight)
            json_put_real(w, "text_scale", l->text_weight);
        json_put_string(w, "sha256", l->digest);
        json_close(w);
    }
    json_close(w);
}

enum unstir_status request_write(const struct unstir_model *model,
                                 const struct unstir_request *r,
                                 const struct start *start, char **json,
                                 struct unstir_error *err)
{
    struct json_writer *w;

    *json = NULL;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "model", model->info.id);
    write_loras(w, &model->info);
    if (model->info.takes_text)
        write_texts(w, r);
    else if (r->class_id >= 0)
        json_put_int(w, "class", r->class_id);
    else
        json_put_null(w, "class");
    json_put_u64(w, "seed", r->seed);
    if (r->variation_strength > 0) {
        json_put_u64(w, "variation_seed", r->variation_seed);
        json_put_real(w, "variation_strength", r->variation_strength);
    }
    json_put_int(w, "steps", r->steps);
    json_put_string(w, "sampler", r->sampler);
    if (r->schedule)
        json_put_string(w, "schedule", r->schedule);
    json_put_real(w, "guidance_scale", r->guidance);
    if (model->reads_picture)
        json_put_real(w, "image_guidance_scale", r->image_guidance);
    if (r->guidance_rescale > 0)
        json_put_real(w, "guidance_rescale", r->guidance_rescale);
    if (request_has_interval(model, r)) {
        json_put_real(w, "guidance_start", r->guidance_start);
        json_put_real(w, "guidance_end", r->guidance_end);
    }
    json_put_real(w, "eta", r->eta);
    if (r->deep_cache > 1)
        json_put_int(w, "deep_cache", r->deep_cache);
    json_put_int(w, "width", r->width);
    json_put_int(w, "height", r->height);
    if (r->denoising_start > 0)
        json_put_real(w, "denoising_start", r->denoising_start);
    if (r->denoising_end < 1)
        json_put_real(w, "denoising_end", r->denoising_end);
    micro_write(w, model, r);
    enum unstir_status st = write_pictures(w, r, start, err);
    if (st) {
        json_writer_free(w);
        return st;
    }
    json_close(w);
    return json_finish(json, w, false, err);
}

/* -- reading --------------------------------------------------------------- */

static enum unstir_status read_seed(const struct json *v, uint64_t *seed,
                                    struct unstir_error *err)
{
    const char *text = json_string(v);
    char *end;

    if (json_type(v) == JSON_INT && json_int(v) >= 0) {
        *seed = (uint64_t)json_int(v);
        return UNSTIR_OK;
    }
    errno = 0;
    if (json_type(v) == JSON_STRING && *text >= '0' && *text <= '9') {
        unsigned long long u = strtoull(text, &end, 10);
        if (*end == '\0' && errno == 0) {
            *seed = u;
            return UNSTIR_OK;
        }
    }
    return error_set(err, UNSTIR_ERR_FORMAT, "the seed is not a whole number");
}

static enum unstir_status read_texts(struct unstir_request *r,
                                     const struct json *o,
                                     struct unstir_error *err)
{
    int64_t clip_skip;

    TRY(json_get_string(o, "prompt", NULL, &r->prompt, err));
    TRY(json_get_string(o, "negative_prompt", NULL, &r->negative_prompt, err));
    TRY(json_get_string(o, "prompt_syntax", NULL, &r->prompt_syntax, err));
    TRY(json_get_int(o, "clip_skip", 1, 1, UINT32_MAX, &clip_skip, err));
    r->clip_skip = (uint32_t)clip_skip;
    return UNSTIR_OK;
}

static bool is_same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (!a || strcmp(a, b) == 0);
}

enum unstir_status request_read(const struct unstir_model *model,
                                const struct json *o,
                                struct unstir_request *resolved,
                                struct unstir_error *err)
{
    const char *subject = model->info.takes_text ? "prompt" : "class";
    const char *const keys[] = {"model", subject,   "seed",
                                "steps", "sampler", "guidance_scale",
                                "eta",   "width",   "height"};
    static const char *const more[] = {
        "image_guidance_scale",
        "schedule",
        "guidance_rescale",
        "guidance_start",
        "guidance_end",
        "strength",
        "init_image_sha256",
        "mask_sha256",
        "init_latents_sha256",
        "denoising_start",
        "denoising_end",
        "micro_conditioning",
        "negative_micro_conditioning",
        "aesthetic_score",
        "negative_aesthetic_score",
        "negative_prompt",
        "clip_skip",
        "prompt_syntax",
        "deep_cache",
        "variation_seed",
        "variation_strength",
        "loras"}; /* these go by the model's digest */
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    int64_t steps, width, height, deep_cache;
    size_t n_more = 0;

    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        n_more += json_get(o, more[i]) != NULL;
    if (json_type(o) != JSON_OBJECT || json_len(o) != ARRAY_LEN(keys) + n_more)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the request is not an object of %zu keys",
                         ARRAY_LEN(keys));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!json_get(o, keys[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "the request has no \"%s\"", keys[i]);
    TRY(json_get_int(o, "class", UNSTIR_CLASS_NULL, 0, INT32_MAX, &r.class_id,
                     err));
    TRY(read_texts(&r, o, err));
    TRY(read_seed(json_get(o, "seed"), &r.seed, err));
    if (json_get(o, "variation_seed"))
        TRY(read_seed(json_get(o, "variation_seed"), &r.variation_seed, err));
    TRY(json_get_real(o, "variation_strength", 0, &r.variation_strength, err));
    TRY(json_get_int(o, "steps", 0, 1, UINT32_MAX, &steps, err));
    TRY(json_get_int(o, "width", 0, 1, UINT32_MAX, &width, err));
    TRY(json_get_int(o, "height", 0, 1, UINT32_MAX, &height, err));
    TRY(json_get_int(o, "deep_cache", 1, 1, UINT32_MAX, &deep_cache, err));
    TRY(json_get_string(o, "sampler", "", &r.sampler, err));
    TRY(json_get_string(o, "schedule", NULL, &r.schedule, err));
    TRY(json_get_real(o, "guidance_scale", UNSTIR_UNSET_F, &r.guidance, err));
    TRY(json_get_real(o, "image_guidance_scale", UNSTIR_UNSET_F,
                      &r.image_guidance, err));
    TRY(json_get_real(o, "guidance_rescale", 0, &r.guidance_rescale, err));
    TRY(json_get_real(o, "guidance_start", 0, &r.guidance_start, err));
    TRY(json_get_real(o, "guidance_end", 1, &r.guidance_end, err));
    TRY(json_get_real(o, "eta", UNSTIR_UNSET_F, &r.eta, err));
    TRY(json_get_real(o, "strength", UNSTIR_UNSET_F, &r.strength, err));
    TRY(json_get_real(o, "denoising_start", 0, &r.denoising_start, err));
    TRY(json_get_real(o, "denoising_end", 1, &r.denoising_end, err));
    TRY(micro_read(o, &r, err));
    if (json_get(o, "init_latents_sha256"))
        r.init_latents = &request_absent_latents;
    if (json_get(o, "init_image_sha256"))
        r.init_image = &request_absent_picture;
    if (json_get(o, "mask_sha256"))
        r.mask = &request_absent_picture;
    r.deep_cache = (uint32_t)deep_cache;
    r.steps = (uint32_t)steps;
    r.width = (uint32_t)width;
    r.height = (uint32_t)height;
    enum unstir_status st = request_check(model, &r, resolved, NULL, NULL, err);
    if (st == UNSTIR_ERR_NOMEM)
        return st;
    if (st) {
        (void)error_prefix(st, "the request", err); /* of the file's form */
        if (err)
            err->status = UNSTIR_ERR_FORMAT;
        return UNSTIR_ERR_FORMAT;
    }
    if (resolved->class_id != r.class_id || resolved->steps != r.steps ||
        resolved->guidance != r.guidance || resolved->eta != r.eta ||
        resolved->strength != r.strength ||
        resolved->image_guidance != r.image_guidance ||
        resolved->guidance_rescale != r.guidance_rescale ||
        resolved->guidance_start != r.guidance_start ||
        resolved->guidance_end != r.guidance_end ||
        !is_same_text(resolved->sampler, r.sampler) ||
        !is_same_text(resolved->schedule, r.schedule) ||
        !is_same_text(resolved->prompt, r.prompt) ||
        !is_same_text(resolved->negative_prompt, r.negative_prompt) ||
        !is_same_text(resolved->prompt_syntax, r.prompt_syntax) ||
        resolved->clip_skip != r.clip_skip ||
        resolved->deep_cache != r.deep_cache ||
        resolved->denoising_start != r.denoising_start ||
        resolved->denoising_end != r.denoising_end ||
        (micro_is_said(model, resolved) && !micro_is_same(resolved, &r)) ||
        resolved->variation_seed != r.variation_seed ||
        resolved->variation_strength != r.variation_strength)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the request is not in its canonical form");
    return UNSTIR_OK;
}
