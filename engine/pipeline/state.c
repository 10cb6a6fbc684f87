/* state.c - a generation as a safetensors file, and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/relay.h"
#include "pipeline/request.h"

#define STATE_FORMAT "unstir-state-1"
#define RNG_WORDS    624

/* -- save ------------------------------------------------------------------ */

static enum unstir_status write_progress(const struct unstir_generation *g,
                                         char **json, struct unstir_error *err)
{
    const struct rng *rng = &g->now.rng;
    struct json_writer *w;
    char cached[20];
    uint64_t bits;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_int(w, "step", g->step);
    json_put_bool(w, "is_early", g->is_early);
    json_put_int(w, "n_held", g->now.n_held);
    json_put_int(w, "rng_index", rng->index);
    memcpy(&bits, &rng->cached_normal, sizeof bits);
    (void)snprintf(cached, sizeof cached, "%016" PRIx64, bits);
    if (rng->has_cached_normal)
        json_put_string(w, "rng_cached", cached);
    else
        json_put_null(w, "rng_cached");
    json_close(w);
    return json_finish(json, w, false, err);
}

/* Samples; all but two of runs from a picture. */
static const char *const tensor_names[] = {"sample", "estimate", "known",
                                           "noise",  "mask",     "masked"};

/* The texts of a state's metadata. */
struct texts {
    char *request, *progress, *refiner;
};

static const char *runs_name(bool is_refiner)
{
    return is_refiner ? "refiner" : "base";
}

static enum unstir_status write_texts(const struct unstir_generation *g,
                                      struct texts *t, struct unstir_error *err)
{
    const struct unstir_generation *first = relay_first(g);
    const struct start latents = {0}; /* named, not described                */

    TRY(request_write(first->model, &first->request, &first->start, NULL,
                      &t->request, err));
    TRY(write_progress(g, &t->progress, err));
    if (!g->relay.model)
        return UNSTIR_OK;
    return request_write(g->relay.model, &g->relay.request, &latents, NULL,
                         &t->refiner, err);
}

static enum unstir_status build(const struct unstir_generation *g,
                                const struct texts *t, unsigned char **bytes,
                                size_t *n_bytes, struct unstir_error *err)
{
    const struct unstir_model *m = g->model;
    const struct unstir_model_info *info = &relay_first(g)->model->info;
    const struct unstir_model *refiner = g->relay.model;
    const struct unstir_request *r = &g->request;
    const struct sampler_state *s = &g->now;
    struct safetensors_meta meta[] = {
        {"format", STATE_FORMAT},
        {"model_digest", info->digest},
        {"fingerprint", info->fingerprint},
        {"request", t->request},
        {"progress", t->progress},
        {"refiner_digest", refiner ? refiner->info.digest : ""},
        {"refiner_fingerprint", refiner ? refiner->info.fingerprint : ""},
        {"refiner_request", t->refiner},
        {"runs", runs_name(g->relay.base != NULL)},
    };
    size_t n_meta = ARRAY_LEN(meta) - (refiner ? 0 : 4);
    const float *const tensors[] = {
        s->sample,      s->estimate,
        g->start.known, g->start.known ? g->start.noise : NULL,
        g->start.mask,  g->start.masked};
    struct safetensors_entry entries[ARRAY_LEN(tensors) + 3];
    uint64_t c = m->sample_channels;
    uint64_t h = r->height / m->factor, w = r->width / m->factor;
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(tensors); i++)
        if (tensors[i])
            entries[n++] = (struct safetensors_entry){
                tensor_names[i], DTYPE_F32, 3, {c, h, w}, tensors[i]};
    entries[n++] = (struct safetensors_entry){
        "rng", DTYPE_I32, 1, {RNG_WORDS}, s->rng.state};
    if (s->n_held)
        entries[n++] = (struct safetensors_entry){
            "history", DTYPE_F32, 4, {s->n_held, c, h, w}, s->history};
    if (g->deep.n_held)
        entries[n++] =
            (struct safetensors_entry){"deep",
                                       DTYPE_F32,
                                       2,
                                       {g->deep.n_held, g->deep.floats},
                                       g->deep.held};

    return safetensors_build(bytes, n_bytes, entries, n, meta, n_meta, err);
}

enum unstir_status state_save(const struct unstir_generation *g,
                              unsigned char **bytes, size_t *n_bytes,
                              struct unstir_error *err)
{
    struct texts t = {0};
    enum unstir_status st;

    *bytes = NULL;
    *n_bytes = 0;
    if (g->start.is_pending)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the picture that the run begins with is not encoded "
                         "yet; a state can be saved after the first step");
    st = write_texts(g, &t, err);
    if (!st)
        st = build(g, &t, bytes, n_bytes, err);
    alloc_free(t.request);
    alloc_free(t.progress);
    alloc_free(t.refiner);
    return st;
}

/* -- restore --------------------------------------------------------------- */

static enum unstir_status meta_get(const struct weights *w, const char *key,
                                   const char **out, struct unstir_error *err)
{
    *out = weights_metadata(w, key);
    if (!*out)
        return error_set(err, UNSTIR_ERR_FORMAT, "no %s in its metadata", key);
    return UNSTIR_OK;
}

static enum unstir_status meta_match(const struct weights *w, const char *key,
                                     const char *wanted,
                                     struct unstir_error *err)
{
    const char *found;

    TRY(meta_get(w, key, &found, err));
    if (strcmp(found, wanted) != 0)
        return error_set(err, UNSTIR_ERR_MISMATCH,
                         "its %s is \"%.80s\", this model's is \"%.80s\"", key,
                         found, wanted);
    return UNSTIR_OK;
}

static enum unstir_status read_format(const struct weights *w,
                                      struct unstir_error *err)
{
    const char *format;

    TRY(meta_get(w, "format", &format, err));
    if (strcmp(format, STATE_FORMAT) != 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "its format is \"%.40s\", this version reads \"%s\"",
                         format, STATE_FORMAT);
    return UNSTIR_OK;
}

static enum unstir_status meta_json(const struct weights *w, const char *key,
                                    struct json **out, struct unstir_error *err)
{
    const char *text;

    *out = NULL;
    TRY(meta_get(w, key, &text, err));
    return error_prefix(json_parse(out, text, strlen(text), err), key, err);
}

/* A tensor of exactly this type and shape. */
static enum unstir_status find_tensor(const struct weights *w, const char *name,
                                      enum dtype type, uint32_t rank,
                                      const uint64_t *dims,
                                      const struct tensor_view **out,
                                      struct unstir_error *err)
{
    const struct tensor_view *v = weights_find(w, name);

    if (!v)
        return error_set(err, UNSTIR_ERR_FORMAT, "no tensor \"%s\"", name);
    if (v->dtype != type || v->rank != rank ||
        memcmp(v->dims, dims, rank * sizeof *dims) != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%s\" has not the type or shape of this "
                         "request",
                         name);
    *out = v;
    return UNSTIR_OK;
}

static enum unstir_status read_floats(const struct weights *w, const char *name,
                                      uint32_t rank, const uint64_t *dims,
                                      float *out, struct unstir_error *err)
{
    const struct tensor_view *v;

    TRY(find_tensor(w, name, DTYPE_F32, rank, dims, &v, err));
    dtype_load(out, v->data, DTYPE_F32, v->n);
    for (size_t i = 0; i < v->n; i++)
        if (!isfinite(out[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "tensor \"%s\" holds a number that is not finite",
                             name);
    return UNSTIR_OK;
}

static enum unstir_status read_cached(const struct json *v, struct rng *rng,
                                      struct unstir_error *err)
{
    const char *text = json_string(v);
    uint64_t bits = 0;

    rng->has_cached_normal = false;
    rng->cached_normal = 0;
    if (v && json_type(v) == JSON_NULL)
        return UNSTIR_OK;
    bool is_hex = strlen(text) == 16;
    for (size_t i = 0; is_hex && i < 16; i++) {
        const char *digits = "0123456789abcdef";
        const char *p = strchr(digits, text[i]);
        is_hex = p != NULL;
        bits = bits << 4 | (uint64_t)(p ? p - digits : 0);
    }
    memcpy(&rng->cached_normal, &bits, sizeof bits);
    if (!is_hex || !isfinite(rng->cached_normal))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "progress: rng_cached is not a number's bits");
    rng->has_cached_normal = true;
    return UNSTIR_OK;
}

static enum unstir_status read_progress(struct unstir_generation *g,
                                        const struct json *o,
                                        struct unstir_error *err)
{
    int64_t step, n_held, index;

    if (json_type(o) != JSON_OBJECT || json_len(o) != 5)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "progress is not an object of 5 keys");
    TRY(json_get_int(o, "step", -1, g->start.first, g->start.end, &step, err));
    TRY(json_get_int(o, "n_held", -1, 0, (int64_t)g->run.sampler->n_history,
                     &n_held, err));
    TRY(json_get_int(o, "rng_index", -1, 0, RNG_WORDS, &index, err));
    TRY(json_get_bool(o, "is_early", false, &g->is_early, err));
    if (step < 0 || n_held < 0 || index < 0)
        return error_set(err, UNSTIR_ERR_FORMAT, "progress lacks a key");
    if (relay_is_ahead(g) && step == g->start.end)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the base has no step left, and the refiner has not "
                         "begun");
    g->step = (uint32_t)step;
    g->now.n_held = (uint32_t)n_held;
    g->now.rng.index = (uint32_t)index;
    return read_cached(json_get(o, "rng_cached"), &g->now.rng, err);
}

static enum unstir_status read_tensors(struct unstir_generation *g,
                                       const struct weights *w,
                                       struct unstir_error *err)
{
    const struct unstir_request *r = &g->request;
    const struct unstir_model *m = g->model;
    uint64_t dims[] = {g->now.n_held, m->sample_channels, r->height / m->factor,
                       r->width / m->factor};
    const uint64_t rng_dims[] = {RNG_WORDS};
    const struct tensor_view *rng;

    float *const tensors[] = {
        g->now.sample,  g->now.estimate,
        g->start.known, g->start.known ? g->start.noise : NULL,
        g->start.mask,  g->start.masked};
    bool is_deep = g->deep.every > 1 && g->step > g->start.first;
    size_t n = 1 + (g->now.n_held > 0) + is_deep;
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++)
        n += tensors[i] != NULL;
    if (weights_len(w) != n)
        return error_set(err, UNSTIR_ERR_FORMAT, "it has %zu tensors, not %zu",
                         weights_len(w), n);
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++)
        if (tensors[i])
            TRY(read_floats(w, tensor_names[i], 3, dims + 1, tensors[i], err));
    if (g->now.n_held)
        TRY(read_floats(w, "history", 4, dims, g->now.history, err));
    TRY(find_tensor(w, "rng", DTYPE_I32, 1, rng_dims, &rng, err));
    memcpy(g->now.rng.state, rng->data, sizeof g->now.rng.state);
    return UNSTIR_OK;
}

/* What the deep layers left; only the first step of a run has nothing yet. */
static enum unstir_status read_deep(struct unstir_generation *g,
                                    const struct weights *w,
                                    struct unstir_error *err)
{
    const struct tensor_view *v = weights_find(w, "deep");
    uint64_t dims[] = {0, g->deep.floats};

    if (g->deep.every < 2 || g->step == g->start.first)
        return UNSTIR_OK; /* one too many is counted */
    if (v)
        dims[0] = v->dims[0];
    if (dims[0] < 1 || dims[0] > DEEP_MAX_PICTURES)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "no tensor \"deep\" of 1 or %d pictures",
                         DEEP_MAX_PICTURES);
    TRY(read_floats(w, "deep", 2, dims, g->deep.held, err));
    g->deep.n_held = (uint32_t)dims[0];
    return UNSTIR_OK;
}

/* The pictures themselves are gone; what names them stays. */
static enum unstir_status read_digests(struct unstir_generation *g,
                                       const struct json *request,
                                       struct unstir_error *err)
{
    const struct {
        const char *key;
        char *hex;
        bool is_there;
    } rows[] = {
        {g->request.init_latents ? "init_latents_sha256" : "init_image_sha256",
         g->start.digest, g->start.has_picture},
        {"mask_sha256", g->start.mask_digest, g->start.has_mask},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *hex = json_string(json_get(request, rows[i].key));
        if (!rows[i].is_there)
            continue;
        if (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "the request's %s is not 64 hexadecimal digits",
                             rows[i].key);
        memcpy(rows[i].hex, hex, 65);
    }
    return UNSTIR_OK;
}

/* The refiner that goes on with it, or has begun to. */
static enum unstir_status join_refiner(struct unstir_generation *g,
                                       const struct unstir_model *refiner,
                                       const struct weights *w,
                                       struct unstir_error *err)
{
    struct unstir_request resolved;
    struct json *request;
    const char *runs;

    if (!refiner)
        return UNSTIR_OK;
    TRY(meta_get(w, "runs", &runs, err));
    bool has_begun = strcmp(runs, runs_name(true)) == 0;
    if (!has_begun && strcmp(runs, runs_name(false)) != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "\"%.40s\" is neither base nor refiner", runs);
    TRY(meta_json(w, "refiner_request", &request, err));
    enum unstir_status st =
        request_read_untagged(refiner, request, &resolved, err);
    if (!st)
        st = relay_restore(g, refiner, &resolved, has_begun, err);
    json_free(request);
    return st;
}

/* Of these two models, or of this one alone. */
static enum unstir_status check_models(const struct weights *w,
                                       const struct unstir_model *model,
                                       const struct unstir_model *refiner,
                                       struct unstir_error *err)
{
    bool has_refiner = weights_metadata(w, "refiner_digest") != NULL;

    TRY(meta_match(w, "model_digest", model->info.digest, err));
    TRY(meta_match(w, "fingerprint", model->info.fingerprint, err));
    if (has_refiner && !refiner)
        return error_set(err, UNSTIR_ERR_MISMATCH,
                         "it is of a base and a refiner, and no refiner is "
                         "given");
    if (!has_refiner && refiner)
        return error_set(
            err, UNSTIR_ERR_MISMATCH,
            "it is of one model, and a refiner is given: \"%.80s\"",
            refiner->info.id);
    if (!refiner)
        return UNSTIR_OK;
    TRY(meta_match(w, "refiner_digest", refiner->info.digest, err));
    return meta_match(w, "refiner_fingerprint", refiner->info.fingerprint, err);
}

static enum unstir_status restore(struct unstir_generation **out,
                                  const struct unstir_model *model,
                                  const struct unstir_model *refiner,
                                  const struct weights *w,
                                  struct unstir_error *err)
{
    struct json *request = NULL, *progress = NULL;
    struct unstir_request resolved;
    enum unstir_status st;

    TRY(read_format(w, err));
    TRY(check_models(w, model, refiner, err));
    st = meta_json(w, "request", &request, err);
    if (!st)
        st = request_read(model, request, &resolved, err);
    if (!st)
        st = meta_json(w, "progress", &progress, err);
    if (!st)
        st = generation_new(out, model, &resolved, NULL, err);
    if (!st)
        st = read_digests(*out, request, err);
    if (!st)
        st = join_refiner(*out, refiner, w, err);
    if (!st)
        st = read_progress(*out, progress, err);
    if (!st)
        st = read_tensors(*out, w, err);
    if (!st)
        st = read_deep(*out, w, err);
    json_free(request);
    json_free(progress);
    return st;
}

enum unstir_status state_restore(struct unstir_generation **out,
                                 const struct unstir_model *model,
                                 const struct unstir_model *refiner,
                                 const unsigned char *bytes, size_t n_bytes,
                                 struct unstir_error *err)
{
    struct unstir_error why = {0};
    struct weights *w;

    *out = NULL;
    TRY(safetensors_parse(&w, bytes, n_bytes, "saved state", err));
    enum unstir_status st = restore(out, model, refiner, w, &why);
    weights_close(w);
    if (st) {
        generation_free(*out);
        *out = NULL;
        return error_set(err, st, "saved state: %.440s", why.detail);
    }
    return UNSTIR_OK;
}
