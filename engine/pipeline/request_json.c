/* request_json.c - a resolved request as canonical JSON, and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request.h"

#include <errno.h>
#include <stddef.h>
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
        TRY(write_latents(w, r, s, err));
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

/* How the way back is gone, but for where it begins. */
static void write_settings(struct json_writer *w,
                           const struct unstir_model *model,
                           const struct unstir_request *r)
{
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
}

static bool is_same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (!a || strcmp(a, b) == 0);
}

static void write_refiner(struct json_writer *w,
                          const struct unstir_refiner *refiner,
                          const struct unstir_request *base)
{
    const struct unstir_request *r = refiner->own;

    json_open_object(w, "refiner");
    json_put_string(w, "model", refiner->model->info.id);
    if (r->negative_prompt &&
        !is_same_text(r->negative_prompt, base->negative_prompt))
        json_put_string(w, "negative_prompt", r->negative_prompt);
    write_settings(w, refiner->model, r);
    micro_write(w, refiner->model, r);
    json_close(w);
}

enum unstir_status request_write(const struct unstir_model *model,
                                 const struct unstir_request *r,
                                 const struct start *start,
                                 const struct unstir_refiner *refiner,
                                 char **json, struct unstir_error *err)
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
    write_settings(w, model, r);
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
    if (refiner)
        write_refiner(w, refiner, r);
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

enum field_kind { FIELD_TEXT, FIELD_REAL, FIELD_COUNT, FIELD_SEED };

/* The members that are fields of a request as they stand; what is absent has
 * the fallback (a text NULL, a seed 0). */
static const struct field {
    const char *key;
    enum field_kind kind;
    size_t at; /* in struct unstir_request                                   */
    double fallback;
} fields[] = {
#define AT(member) offsetof(struct unstir_request, member)
    {"prompt", FIELD_TEXT, AT(prompt), 0},
    {"negative_prompt", FIELD_TEXT, AT(negative_prompt), 0},
    {"prompt_syntax", FIELD_TEXT, AT(prompt_syntax), 0},
    {"clip_skip", FIELD_COUNT, AT(clip_skip), 1},
    {"seed", FIELD_SEED, AT(seed), 0},
    {"variation_seed", FIELD_SEED, AT(variation_seed), 0},
    {"variation_strength", FIELD_REAL, AT(variation_strength), 0},
    {"steps", FIELD_COUNT, AT(steps), 0},
    {"sampler", FIELD_TEXT, AT(sampler), 0},
    {"schedule", FIELD_TEXT, AT(schedule), 0},
    {"guidance_scale", FIELD_REAL, AT(guidance), UNSTIR_UNSET_F},
    {"image_guidance_scale", FIELD_REAL, AT(image_guidance), UNSTIR_UNSET_F},
    {"guidance_rescale", FIELD_REAL, AT(guidance_rescale), 0},
    {"guidance_start", FIELD_REAL, AT(guidance_start), 0},
    {"guidance_end", FIELD_REAL, AT(guidance_end), 1},
    {"eta", FIELD_REAL, AT(eta), UNSTIR_UNSET_F},
    {"deep_cache", FIELD_COUNT, AT(deep_cache), 1},
    {"width", FIELD_COUNT, AT(width), 0},
    {"height", FIELD_COUNT, AT(height), 0},
    {"strength", FIELD_REAL, AT(strength), UNSTIR_UNSET_F},
    {"denoising_start", FIELD_REAL, AT(denoising_start), 0},
    {"denoising_end", FIELD_REAL, AT(denoising_end), 1},
#undef AT
};

/* Beside them: a class, what micro.h reads, pictures by their digests, and what
 * goes by the model's digest. */
static const char *const other_keys[] = {
    "class",
    "micro_conditioning",
    "negative_micro_conditioning",
    "aesthetic_score",
    "negative_aesthetic_score",
    "init_image_sha256",
    "mask_sha256",
    "init_latents_sha256",
    "model",
    "loras",
};

static enum unstir_status read_field(struct unstir_request *r,
                                     const struct field *f,
                                     const struct json *o,
                                     struct unstir_error *err)
{
    void *to = (char *)r + f->at;
    int64_t count;

    switch (f->kind) {
    case FIELD_TEXT:
        return json_get_string(o, f->key, NULL, to, err);
    case FIELD_REAL:
        return json_get_real(o, f->key, f->fallback, to, err);
    case FIELD_COUNT:
        TRY(json_get_int(o, f->key, (int64_t)f->fallback, 1, UINT32_MAX, &count,
                         err));
        *(uint32_t *)to = (uint32_t)count;
        break;
    case FIELD_SEED:
        if (json_get(o, f->key))
            return read_seed(json_get(o, f->key), to, err);
        break;
    }
    return UNSTIR_OK;
}

static bool is_same_field(const struct unstir_request *a,
                          const struct unstir_request *b, const struct field *f)
{
    const void *x = (const char *)a + f->at, *y = (const char *)b + f->at;

    switch (f->kind) {
    case FIELD_TEXT:
        return is_same_text(*(const char *const *)x, *(const char *const *)y);
    case FIELD_REAL:
        return *(const double *)x == *(const double *)y;
    case FIELD_COUNT:
        return *(const uint32_t *)x == *(const uint32_t *)y;
    case FIELD_SEED:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    }
    return false;
}

static bool is_known(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcmp(key, fields[i].key) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(other_keys); i++)
        if (strcmp(key, other_keys[i]) == 0)
            return true;
    return false;
}

/* What stands in every request is there, and nothing that stands in none. */
static enum unstir_status check_keys(const struct unstir_model *model,
                                     const struct json *o,
                                     struct unstir_error *err)
{
    const char *const needed[] = {
        "model",   model->info.takes_text ? "prompt" : "class",
        "seed",    "steps",
        "sampler", "guidance_scale",
        "eta",     "width",
        "height"};
    const struct json *value;
    const char *key;

    if (json_type(o) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "the request is no object");
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (!json_get(o, needed[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "the request has no \"%s\"", needed[i]);
    for (size_t i = 0; json_each(o, &i, &key, &value);)
        if (!is_known(key))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "the request has an unknown member \"%.60s\"",
                             key);
    return UNSTIR_OK;
}

/* A request is written with every default filled in, so that resolving it must
 * give it back. */
static enum unstir_status check_canonical(const struct unstir_model *model,
                                          const struct unstir_request *read,
                                          const struct unstir_request *resolved,
                                          struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (!is_same_field(read, resolved, &fields[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "the request is not in its canonical form: \"%s\"",
                             fields[i].key);
    if (read->class_id != resolved->class_id)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the request is not in its canonical form: \"class\"");
    if (micro_is_said(model, resolved) && !micro_is_same(resolved, read))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the request is not in its canonical form: "
                         "\"micro_conditioning\"");
    return UNSTIR_OK;
}

typedef enum unstir_status (*check_fn)(const struct unstir_model *model,
                                       const struct unstir_request *request,
                                       struct unstir_request *resolved,
                                       unstir_violation_fn report, void *user,
                                       struct unstir_error *err);

static enum unstir_status read_request(const struct unstir_model *model,
                                       const struct json *o, check_fn check,
                                       struct unstir_request *resolved,
                                       struct unstir_error *err)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    enum unstir_status st;

    TRY(check_keys(model, o, err));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        TRY(read_field(&r, &fields[i], o, err));
    TRY(json_get_int(o, "class", UNSTIR_CLASS_NULL, 0, INT32_MAX, &r.class_id,
                     err));
    TRY(micro_read(o, &r, err));
    if (json_get(o, "init_latents_sha256"))
        r.init_latents = &request_absent_latents;
    if (json_get(o, "init_image_sha256"))
        r.init_image = &request_absent_picture;
    if (json_get(o, "mask_sha256"))
        r.mask = &request_absent_picture;
    st = check(model, &r, resolved, NULL, NULL, err);
    if (st == UNSTIR_ERR_NOMEM)
        return st;
    if (st) { /* of the file's form: nobody asked for it                     */
        if (err)
            err->status = UNSTIR_ERR_FORMAT;
        return error_prefix(UNSTIR_ERR_FORMAT, "the request", err);
    }
    return check_canonical(model, &r, resolved, err);
}

enum unstir_status request_read(const struct unstir_model *model,
                                const struct json *object,
                                struct unstir_request *resolved,
                                struct unstir_error *err)
{
    return read_request(model, object, request_check, resolved, err);
}

enum unstir_status request_read_untagged(const struct unstir_model *model,
                                         const struct json *object,
                                         struct unstir_request *resolved,
                                         struct unstir_error *err)
{
    return read_request(model, object, request_check_untagged, resolved, err);
}
