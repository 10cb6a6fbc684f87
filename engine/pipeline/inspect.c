/* inspect.c - what a checkpoint is, without running it or trusting it.
 *
 * The configuration gives the graph, and the graph the list of tensors that
 * the network needs; the file's headers give the list that is there.  Where
 * both agree the model is opened for its limits and its memory; where they do
 * not, the differences are the answer, not an error.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/weights.h"
#include "model/network.h"
#include "ops/graph.h"
#include "pipeline/checkpoint.h"
#include "pipeline/effort.h"

/* Names listed under "odd" in one list; the rest is counted. */
#define MAX_LISTED 100

/* Program, libraries and the picture itself, beside weights and arena:
 * measured 9 MiB for 28 x 28 pixels. */
#define BASE_BYTES ((size_t)12 << 20)

/* Larger models use their weights where they are, in the pages of their files;
 * of smaller ones there are packs beside them. */
#define LARGE_FILE_BYTES ((size_t)256 << 20)

struct inspection {
    const struct unstir_model_options *options; /* or NULL                   */
    struct checkpoint_source source;
    struct checkpoint_parts parts; /* of the source                          */
    struct graph *graph;
    const struct graph_param **needed; /* by name                            */
    size_t n_needed;
    struct json_writer *json;
    size_t n_missing, n_misshapen, n_extra;
};

static int compare_params(const void *a, const void *b)
{
    const struct graph_param *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static const struct graph_param *find_param(const struct inspection *s,
                                            const char *name)
{
    const struct graph_param wanted = {.name = name}, *key = &wanted;
    const struct graph_param **hit =
        s->n_needed == 0 ? NULL
                         : bsearch(&key, s->needed, s->n_needed,
                                   sizeof(*s->needed), compare_params);
    return hit ? *hit : NULL;
}

/* The native size of a configuration, or 0: [h, w] or one edge. */
static void native_size(const struct json *config, uint32_t *w, uint32_t *h)
{
    const struct json *v = json_get(config, "sample_size");
    bool is_pair = json_type(v) == JSON_ARRAY && json_len(v) == 2;
    int64_t y = json_int(is_pair ? json_at(v, 0) : v);
    int64_t x = json_int(is_pair ? json_at(v, 1) : v);
    *h = y > 0 && y <= 16384 ? (uint32_t)y : 0;
    *w = x > 0 && x <= 16384 ? (uint32_t)x : 0;
}

static enum unstir_status list_needed(struct inspection *s,
                                      struct unstir_error *err)
{
    uint32_t w, h;
    native_size(s->parts.unet_config, &w, &h);
    TRY(error_within(network_graph(&s->graph, s->parts.unet_config, 1,
                                   h ? h : 64, w ? w : 64, err),
                     s->parts.unet_names.config, err));
    s->n_needed = graph_n_params(s->graph);
    TRY(alloc_zero(&s->needed, s->n_needed, sizeof(*s->needed), err));
    for (size_t i = 0; i < s->n_needed; i++)
        s->needed[i] = graph_param_at(s->graph, (param_id)i);
    if (s->n_needed > 1)
        qsort(s->needed, s->n_needed, sizeof(*s->needed), compare_params);
    return UNSTIR_OK;
}

static bool has_shape(const struct tensor_view *t, const struct graph_param *p)
{
    if (t->rank != p->rank)
        return false;
    for (uint32_t i = 0; i < t->rank; i++)
        if (t->dims[i] != p->dims[i])
            return false;
    return true;
}

/* -- writing --------------------------------------------------------------- */

static void put_listed(struct inspection *s, size_t *count, const char *name)
{
    if (++*count <= MAX_LISTED)
        json_put_string(s->json, NULL, name);
}

/* "missing", "misshapen", "extra": names of tensors. */
static void put_differences(struct inspection *s)
{
    const struct weights *w = s->parts.weights;
    json_open_array(s->json, "missing");
    for (size_t i = 0; w && i < s->n_needed; i++)
        if (!weights_find(w, s->needed[i]->name))
            put_listed(s, &s->n_missing, s->needed[i]->name);
    json_close(s->json);
    json_open_array(s->json, "misshapen");
    for (size_t i = 0; w && i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);
        const struct graph_param *p = find_param(s, t->name);
        if (p && !has_shape(t, p))
            put_listed(s, &s->n_misshapen, t->name);
    }
    json_close(s->json);
    json_open_array(s->json, "extra");
    for (size_t i = 0; w && i < weights_len(w); i++)
        if (!find_param(s, weights_at(w, i)->name))
            put_listed(s, &s->n_extra, weights_at(w, i)->name);
    json_close(s->json);
}

static void put_odd(struct inspection *s, const struct unstir_model_info *info)
{
    json_open_object(s->json, "odd");
    put_differences(s);
    json_open_array(s->json, "notes");
    for (size_t i = 0; info && i < info->n_notes; i++)
        json_put_string(s->json, NULL, info->notes[i]);
    for (size_t i = 0; !info && i < s->source.notes.n; i++)
        json_put_string(s->json, NULL, s->source.notes.texts[i]);
    json_close(s->json);
    json_close(s->json);
}

/* Tensors of each type: {"F32": 60}. */
static void put_dtypes(struct inspection *s)
{
    const struct weights *w = s->parts.weights;
    size_t counts[DTYPE_COUNT] = {0};
    for (size_t i = 0; w && i < weights_len(w); i++)
        counts[weights_at(w, i)->dtype]++;
    json_open_object(s->json, "dtypes");
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (counts[t] > 0)
            json_put_int(s->json, dtype_name((enum dtype)t),
                         (int64_t)counts[t]);
    json_close(s->json);
}

static void put_tensors(struct inspection *s)
{
    const struct weights *w = s->parts.weights;
    json_open_array(s->json, "tensors");
    for (size_t i = 0; w && i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);
        json_open_object(s->json, NULL);
        json_put_string(s->json, "name", t->name);
        json_put_string(s->json, "dtype", dtype_name(t->dtype));
        json_open_array(s->json, "shape");
        for (uint32_t d = 0; d < t->rank; d++)
            json_put_int(s->json, NULL, (int64_t)t->dims[d]);
        json_close(s->json);
        json_close(s->json);
    }
    json_close(s->json);
}

static void put_optional(struct json_writer *json, const char *key,
                         const char *text)
{
    if (text)
        json_put_string(json, key, text);
    else
        json_put_null(json, key);
}

static void put_parts(struct inspection *s)
{
    const struct checkpoint_parts *p = &s->parts;
    const struct {
        const char *name;
        bool is_there;
    } rows[] = {
        {"unet", true},
        {"vae", p->vae_config != NULL},
        {"text_encoder", p->texts[0].config != NULL},
        {"tokenizer", p->texts[0].tokenizer != NULL},
        {"text_encoder_2", p->texts[1].config != NULL},
        {"tokenizer_2", p->texts[1].tokenizer != NULL},
        {"scheduler", p->scheduler_config != NULL},
        {"unstir.json", p->unstir != NULL},
    };

    json_open_array(s->json, "parts");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].is_there)
            json_put_string(s->json, NULL, rows[i].name);
    json_close(s->json);
}

/* What the files say of themselves. */
static void put_files(struct inspection *s, const char *path)
{
    uint64_t n_parameters = 0;
    uint32_t w, h;
    for (size_t i = 0; i < s->n_needed; i++)
        n_parameters += s->needed[i]->n;
    native_size(s->parts.unet_config, &w, &h);
    json_put_string(s->json, "path", path);
    json_put_string(s->json, "pipeline", s->source.pipeline);
    json_put_string(s->json, "digest", s->source.digest);
    put_parts(s);
    json_put_u64(s->json, "parameters", n_parameters);
    put_dtypes(s);
    json_put_u64(s->json, "bytes_on_disk", s->source.file_bytes);
    json_open_array(s->json, "native_size");
    json_put_int(s->json, NULL, w);
    json_put_int(s->json, NULL, h);
    json_close(s->json);
    json_put_real(s->json, "gflop_per_evaluation", graph_flops(s->graph) / 1e9);
}

static bool is_large(const struct inspection *s)
{
    return s->source.file_bytes > LARGE_FILE_BYTES;
}

static void put_memory(struct inspection *s, size_t weights, size_t arena)
{
    size_t files = is_large(s) ? 0 : s->source.file_bytes;

    json_put_u64(s->json, "arena_bytes", arena);
    json_put_u64(s->json, "peak_memory_bytes",
                 BASE_BYTES + files + weights + arena);
}

static void put_abilities(struct inspection *s,
                          const struct unstir_model_info *info)
{
    json_open_array(s->json, "can");
    json_put_string(s->json, NULL,
                    info->edits_pictures  ? "edit"
                    : info->takes_text    ? "text-to-picture"
                    : info->n_classes > 0 ? "class-conditional"
                                          : "unconditional");
    if (info->takes_guidance)
        json_put_string(s->json, NULL, "guidance");
    if (info->takes_negative_prompt)
        json_put_string(s->json, NULL, "negative-prompt");
    json_close(s->json);
    put_optional(s->json, "autoencoder", info->autoencoder);
    if (info->takes_text)
        json_put_int(s->json, "max_clip_skip", info->max_clip_skip);
    json_put_int(s->json, "classes", info->n_classes);
    json_open_array(s->json, "labels");
    for (size_t i = 0; i < info->n_labels; i++)
        json_put_string(s->json, NULL, info->labels[i].name);
    json_close(s->json);
}

static void put_defaults(struct inspection *s,
                         const struct unstir_model_info *info)
{
    json_open_object(s->json, "defaults");
    json_put_string(s->json, "sampler", info->default_sampler);
    json_put_int(s->json, "steps", info->default_steps);
    json_put_real(s->json, "guidance_scale", info->default_guidance);
    json_put_real(s->json, "guidance_start", info->default_guidance_start);
    json_put_real(s->json, "guidance_end", info->default_guidance_end);
    json_put_int(s->json, "width", info->default_width);
    json_put_int(s->json, "height", info->default_height);
    json_close(s->json);
    json_open_object(s->json, "limits");
    json_put_int(s->json, "min_size", info->min_size);
    json_put_int(s->json, "max_size", info->max_size);
    json_put_int(s->json, "size_multiple", info->size_multiple);
    json_put_int(s->json, "max_steps", info->max_steps);
    json_close(s->json);
}

/* What the opened model says. */
static enum unstir_status put_model(struct inspection *s,
                                    const struct unstir_model *model,
                                    struct unstir_error *err)
{
    const struct unstir_model_info *info = &model->info;
    size_t arena = 0;
    TRY(effort_arena_bytes(model, info->default_width, info->default_height,
                           &arena, err));
    json_put_string(s->json, "id", info->id);
    put_optional(s->json, "title", info->title);
    json_put_string(s->json, "family", info->family);
    put_optional(s->json, "licence", info->licence);
    put_optional(s->json, "source", info->source);
    json_put_int(s->json, "channels", info->channels);
    put_abilities(s, info);
    put_defaults(s, info);
    json_put_int(s->json, "train_timesteps", info->n_train_timesteps);
    json_put_u64(s->json, "weight_bytes", info->weight_bytes);
    put_memory(s, info->weight_bytes, arena);
    return UNSTIR_OK;
}

static bool is_complete(const struct inspection *s)
{
    const struct weights *w = s->parts.weights;
    for (size_t i = 0; w && i < s->n_needed; i++) {
        const struct tensor_view *t = weights_find(w, s->needed[i]->name);
        if (!t || !has_shape(t, s->needed[i]))
            return false;
    }
    return w != NULL;
}

/* *model stays NULL if its tensors are not all there, or if it is well formed
 * but lacks a part: `why` says which then. */
static enum unstir_status open_model(const struct inspection *s,
                                     const char *path,
                                     struct unstir_model **model,
                                     struct unstir_error *why)
{
    struct unstir_model_options o = {.isa = NULL};
    enum unstir_status status;

    *model = NULL;
    why->detail[0] = '\0';
    if (!is_complete(s))
        return UNSTIR_OK;
    if (s->options)
        o = *s->options;
    if (!is_large(s))
        o.pack_cache = NULL; /* to look at a model leaves no packs behind */
    status = checkpoint_open(model, path, &o, why);
    return status == UNSTIR_ERR_UNSUPPORTED ? UNSTIR_OK : status;
}

static enum unstir_status write_all(struct inspection *s, const char *path,
                                    bool with_tensors, struct unstir_error *err)
{
    struct unstir_model *model;
    struct unstir_error why;
    enum unstir_status status = open_model(s, path, &model, &why);

    if (status != UNSTIR_OK)
        return error_set(err, status, "%s", why.detail);
    json_open_object(s->json, NULL);
    put_files(s, path);
    json_put_bool(s->json, "can_run", model != NULL);
    if (why.detail[0] != '\0')
        json_put_string(s->json, "why_not", why.detail);
    if (model)
        status = put_model(s, model, err);
    put_odd(s, model ? &model->info : NULL);
    if (with_tensors)
        put_tensors(s);
    checkpoint_free(model);
    return status;
}

enum unstir_status
inspect_checkpoint(const char *path, const struct unstir_model_options *options,
                   bool with_tensors, char **json, struct unstir_error *err)
{
    struct inspection s = {.options = options};
    struct checkpoint_source_options o = {
        .allows_no_weights = true,
        .merges_path = options ? options->merges_path : NULL,
        .prediction_type = options ? options->prediction_type : NULL,
        .cache = options ? options->pack_cache : NULL};
    *json = NULL;
    if (options)
        o.parts = (struct model_parts_wish){
            options->vae,
            {options->text_encoders[0], options->text_encoders[1]}};
    TRY(checkpoint_source_open(&s.source, path, &o, err));
    s.parts = checkpoint_source_parts(&s.source);
    enum unstir_status status = list_needed(&s, err);
    if (status == UNSTIR_OK) /* before the model is opened: by memo then */
        status = checkpoint_source_settle(&s.source, err);
    if (status == UNSTIR_OK)
        status = json_writer_new(&s.json, err);
    if (status == UNSTIR_OK)
        status = write_all(&s, path, with_tensors, err);
    if (status == UNSTIR_OK)
        status = json_finish(json, s.json, true, err);
    else
        json_writer_free(s.json);
    alloc_free(s.needed);
    graph_free(s.graph);
    checkpoint_source_close(&s.source);
    return status;
}
