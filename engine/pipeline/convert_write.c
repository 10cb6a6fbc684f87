/* convert_write.c - a model rewritten: writing it.
 *
 * The output must not be there before: a file that is mapped for reading must
 * not be written over, and half of an old model beside half of a new one would
 * be worse than an error.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/diffusers_pipelines.h"
#include "format/json.h"
#include "format/safetensors_write.h"
#include "format/single_file_config.h"
#include "format/single_file_original.h"
#include "format/weights.h"
#include "pipeline/convert_inside.h"
#include "pipeline/standard_tokenizer.h"
#include "text/inversion.h"

#define EXTENSION ".safetensors"

/* What is copied as it is from folder to folder, if it is there. */
static const char *const plain_files[] = {
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
    "tokenizer/added_tokens.json",
    "tokenizer_2/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/tokenizer.json",
    "tokenizer_2/tokenizer_config.json",
    "tokenizer_2/special_tokens_map.json",
    "tokenizer_2/added_tokens.json",
};

/* -- small things ---------------------------------------------------------- */

const char *convert_stem(enum single_file_part_id part)
{
    return part == SINGLE_FILE_UNET || part == SINGLE_FILE_VAE
               ? "diffusion_pytorch_model"
               : "model";
}

bool convert_leaves_out(const char *component)
{
    static const char *const names[] = {"safety_checker", "feature_extractor",
                                        "image_encoder"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(component, names[i]) == 0)
            return true;
    return false;
}

enum unstir_status convert_json_to_text(char **text, const struct json *v,
                                        struct unstir_error *err)
{
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_put_value(w, NULL, v);
    return json_finish(text, w, true, err);
}

static const char *folder_of(size_t part)
{
    return single_file_part_name((enum single_file_part_id)part);
}

static const char *tokenizer_of(size_t part)
{
    return part == SINGLE_FILE_TEXT     ? "tokenizer"
           : part == SINGLE_FILE_TEXT_2 ? "tokenizer_2"
                                        : NULL;
}

static enum unstir_status make_folder(const char *path,
                                      struct unstir_error *err)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", path, strerror(errno));
    return UNSTIR_OK;
}

/* The folder that a file of the output stands in. */
static enum unstir_status make_parent(const char *path,
                                      struct unstir_error *err)
{
    char folder[PATH_BYTES];
    char *slash;

    snprintf(folder, sizeof folder, "%s", path);
    slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = '\0';
        return make_folder(folder, err);
    }
    return UNSTIR_OK;
}

static enum unstir_status write_text(const char *folder, const char *name,
                                     const char *text, size_t n,
                                     struct unstir_error *err)
{
    char path[PATH_BYTES];

    TRY(path_join(path, folder, name, err));
    TRY(make_parent(path, err));
    return mapfile_write(path, text, n, err);
}

/* The text that a writer holds, which ends here. */
static enum unstir_status write_json(const char *path, struct json_writer *json,
                                     struct unstir_error *err)
{
    enum unstir_status status;
    char *text;

    TRY(json_finish(&text, json, true, err));
    status = make_parent(path, err);
    if (status == UNSTIR_OK)
        status = mapfile_write(path, text, strlen(text), err);
    alloc_free(text);
    return status;
}

/* -- unstir.json ----------------------------------------------------------- */

/* Without what is in the output itself by now. */
static enum unstir_status write_companion(const struct conversion *c,
                                          const char *path,
                                          struct unstir_error *err)
{
    static const char *const done[] = {"vae", "text_encoders",
                                       "prediction_type"};
    const struct json *value;
    struct json_writer *w;
    size_t i = 0, n = 0;
    const char *key;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    while (json_each(c->companion, &i, &key, &value)) {
        size_t k = 0;

        while (k < ARRAY_LEN(done) && strcmp(key, done[k]) != 0)
            k++;
        if (k < ARRAY_LEN(done))
            continue;
        json_put_value(w, key, value);
        n++;
    }
    json_close(w);
    if (n)
        return write_json(path, w, err);
    json_writer_free(w);
    return UNSTIR_OK;
}

/* -- weights ----------------------------------------------------------- */

#define TELLINGS 256

/* As it is: NULL. */
static const enum dtype *stored_dtype(const struct conversion *c)
{
    return c->has_dtype ? &c->dtype : NULL;
}

bool convert_goes_on(const struct conversion *c)
{
    const struct unstir_convert_options *o = c->options;

    return !o->progress ||
           o->progress(o->progress_arg, c->done_bytes, c->total_bytes);
}

static enum unstir_status begin_weights(const struct conversion *c,
                                        struct unstir_error *err)
{
    if (convert_goes_on(c))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_CANCELLED, "stopped before writing");
}

static bool count_bytes(void *conversion, size_t n_bytes)
{
    struct conversion *c = conversion;

    c->done_bytes += n_bytes;
    if (c->done_bytes < c->total_bytes &&
        c->done_bytes - c->told_bytes < c->total_bytes / TELLINGS)
        return true;
    c->told_bytes = c->done_bytes;
    return convert_goes_on(c);
}

static enum unstir_status write_weights(struct conversion *c, const char *path,
                                        const struct weights *w,
                                        const struct safetensors_meta *meta,
                                        size_t n_meta, struct unstir_error *err)
{
    struct safetensors_watch watch = {count_bytes, c};

    return safetensors_write_weights(path, w, stored_dtype(c), meta, n_meta,
                                     &watch, err);
}

/* -- writing a folder -------------------------------------------------- */

static const struct safetensors_meta torch_meta = {"format", "pt"};

static enum unstir_status write_part(struct conversion *c, size_t i,
                                     struct unstir_error *err)
{
    const struct conversion_part *part = &c->parts[i];
    char folder[PATH_BYTES], path[PATH_BYTES], name[64];

    if (!part->weights)
        return UNSTIR_OK;
    TRY(path_join(folder, c->options->output, folder_of(i), err));
    TRY(make_folder(folder, err));
    TRY(write_text(folder, "config.json", part->config, strlen(part->config),
                   err));
    snprintf(name, sizeof name, "%s" EXTENSION,
             convert_stem((enum single_file_part_id)i));
    TRY(path_join(path, folder, name, err));
    return write_weights(c, path, part->weights, &torch_meta, 1, err);
}

static enum unstir_status copy_plain_files(const struct conversion *c,
                                           struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(plain_files); i++) {
        char path[PATH_BYTES], *text;
        enum unstir_status status;
        size_t n;

        TRY(path_join(path, c->options->input, plain_files[i], err));
        if (!path_exists(path))
            continue;
        TRY(mapfile_read(&text, &n, path, CONVERT_CONFIG_BYTES, err));
        status = write_text(c->options->output, plain_files[i], text, n, err);
        alloc_free(text);
        if (status != UNSTIR_OK)
            return status;
    }
    return UNSTIR_OK;
}

/* -- model_index.json ------------------------------------------------------ */

/* The part whose entry, or whose tokenizer's, that is. */
static size_t part_of_key(const char *key)
{
    size_t i = 0;

    while (i < SINGLE_FILE_PARTS && strcmp(key, folder_of(i)) != 0 &&
           (!tokenizer_of(i) || strcmp(key, tokenizer_of(i)) != 0))
        i++;
    return i;
}

static enum unstir_status put_given(struct json_writer *w,
                                    const struct conversion_part *part,
                                    size_t i, struct unstir_error *err)
{
    const struct json *name;
    struct json *config;

    TRY(json_parse(&config, part->config, strlen(part->config), err));
    name = i == SINGLE_FILE_VAE ? json_get(config, "_class_name")
                                : json_at(json_get(config, "architectures"), 0);
    diffusers_put_component(w, folder_of(i),
                            i == SINGLE_FILE_VAE ? "diffusers" : "transformers",
                            json_string(name));
    if (i != SINGLE_FILE_VAE)
        diffusers_put_component(w, tokenizer_of(i), "transformers",
                                "CLIPTokenizer");
    json_free(config);
    return UNSTIR_OK;
}

/* With the entries of what is given in place of those that there are; what is
 * left out is [null, null]. */
static enum unstir_status put_index(const struct conversion *c,
                                    struct json_writer *w,
                                    const struct json *index,
                                    struct unstir_error *err)
{
    const struct json *v;
    const char *key;
    size_t i = 0;

    json_open_object(w, NULL);
    while (json_each(index, &i, &key, &v)) {
        size_t part = part_of_key(key);

        if (part < SINGLE_FILE_PARTS && c->parts[part].is_given)
            continue;
        if (convert_leaves_out(key))
            diffusers_put_component(w, key, NULL, NULL);
        else
            json_put_value(w, key, v);
    }
    for (i = 0; i < SINGLE_FILE_PARTS; i++)
        if (c->parts[i].is_given)
            TRY(put_given(w, &c->parts[i], i, err));
    json_close(w);
    return UNSTIR_OK;
}

static enum unstir_status write_index(const struct conversion *c,
                                      const struct json *index,
                                      struct unstir_error *err)
{
    char path[PATH_BYTES];
    enum unstir_status status;
    struct json_writer *w;

    TRY(path_join(path, c->options->output, "model_index.json", err));
    TRY(json_writer_new(&w, err));
    status = put_index(c, w, index, err);
    if (status == UNSTIR_OK)
        return write_json(path, w, err);
    json_writer_free(w);
    return status;
}

/* -- tokenizers ------------------------------------------------------------ */

/* Of a text encoder that came without one. */
static enum unstir_status write_tokenizer(const struct conversion *c, size_t i,
                                          struct unstir_error *err)
{
    char path[PATH_BYTES];

    if (!c->parts[i].weights)
        return UNSTIR_OK;
    TRY(path_join(path, c->options->input, tokenizer_of(i), err));
    if (!c->is_from_file && path_is_folder(path))
        return UNSTIR_OK;
    TRY(path_join(path, c->options->output, tokenizer_of(i), err));
    TRY(make_folder(path, err));
    return standard_tokenizer_write(
        path, c->options->merges_path,
        i == SINGLE_FILE_TEXT_2 || c->kind == SINGLE_FILE_SD2, err);
}

/* -- textual inversions ---------------------------------------------------- */

static bool is_one_folder(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

/* Beside a file there may be another model's: they are not touched. */
static enum unstir_status leave_inversions(struct conversion *c,
                                           struct unstir_error *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];

    TRY(inversions_find(from, c->options->input, c->is_from_file, err));
    TRY(inversions_find(to, c->options->output, true, err));
    TRY(inversions_count(&c->n_inversions, from, err));
    c->has_left_words = c->n_inversions > 0 && !is_one_folder(from, to);
    return UNSTIR_OK;
}

static enum unstir_status copy_inversions(struct conversion *c,
                                          struct unstir_error *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];

    TRY(inversions_find(from, c->options->input, c->is_from_file, err));
    TRY(inversions_find(to, c->options->output, false, err));
    return inversions_copy(&c->n_inversions, to, from, err);
}

/* -- the outputs ----------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *st, int kind,
                        struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path); /* the first error is the one to tell */
    return 0;
}

static const struct json *scheduler_of(const struct conversion *c)
{
    return c->is_from_file ? c->file.scheduler_config : c->scheduler;
}

static enum unstir_status write_scheduler(const struct conversion *c,
                                          struct unstir_error *err)
{
    const struct json *scheduler = scheduler_of(c);
    char path[PATH_BYTES];
    struct json_writer *w;

    if (!scheduler)
        return UNSTIR_OK;
    TRY(path_join(path, c->options->output, "scheduler/scheduler_config.json",
                  err));
    TRY(json_writer_new(&w, err));
    json_put_value(w, NULL, scheduler);
    return write_json(path, w, err);
}

static enum unstir_status fill_folder(struct conversion *c,
                                      struct unstir_error *err)
{
    const char *output = c->options->output;
    const struct json *index = c->is_from_file ? c->file.index : c->index;

    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        if (c->parts[i].weights)
            c->total_bytes +=
                safetensors_weights_bytes(c->parts[i].weights, stored_dtype(c));
    TRY(begin_weights(c, err));
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        TRY(write_part(c, i, err));
    TRY(write_tokenizer(c, SINGLE_FILE_TEXT, err));
    TRY(write_tokenizer(c, SINGLE_FILE_TEXT_2, err));
    if (!c->is_from_file)
        TRY(copy_plain_files(c, err));
    if (c->is_from_file || c->has_root)
        TRY(write_scheduler(c, err));
    TRY(copy_inversions(c, err));
    if (c->companion) {
        TRY(path_join(c->companion_to, output, "unstir.json", err));
        TRY(write_companion(c, c->companion_to, err));
    }
    return index ? write_index(c, index, err) : UNSTIR_OK;
}

/* All of it or nothing. */
static enum unstir_status write_folder(struct conversion *c,
                                       struct unstir_error *err)
{
    const char *output = c->options->output;
    enum unstir_status status;

    if (mkdir(output, 0777) != 0)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", output, strerror(errno));
    status = fill_folder(c, err);
    if (status != UNSTIR_OK)
        (void)nftw(output, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

/* -- a single file --------------------------------------------------------- */

#define MAX_META 16

struct meta {
    struct safetensors_meta rows[MAX_META];
    char keys[MAX_META][48];
    size_t n;
};

static void put_meta(struct meta *m, const char *prefix, const char *key,
                     const char *value)
{
    if (!value || m->n == MAX_META)
        return;
    snprintf(m->keys[m->n], sizeof m->keys[0], "%s%s", prefix, key);
    m->rows[m->n] = (struct safetensors_meta){m->keys[m->n], value};
    m->n++;
}

/* What no tensor tells: the configurations, and what others read too. */
static void fill_meta(struct meta *m, const struct conversion *c,
                      const char *scheduler)
{
    bool is_v = c->prediction && strcmp(c->prediction, "v_prediction") == 0;

    *m = (struct meta){.n = 0};
    put_meta(m, "", "format", "pt");
    put_meta(m, "modelspec.", "prediction_type", is_v ? "v" : "epsilon");
    put_meta(m, "modelspec.", "title", c->title);
    put_meta(m, SINGLE_FILE_META, "scheduler", scheduler);
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        if (c->parts[i].weights)
            put_meta(m, SINGLE_FILE_META, folder_of(i), c->parts[i].config);
}

static enum unstir_status write_tensors(struct conversion *c,
                                        const char *scheduler,
                                        struct unstir_error *err)
{
    const struct weights *parts[SINGLE_FILE_PARTS];
    enum unstir_status status;
    struct weights *all;
    struct meta meta;

    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        parts[i] = c->parts[i].weights;
    fill_meta(&meta, c, scheduler);
    TRY(single_file_assemble(&all, &c->has_original_names, parts, c->kind,
                             err));
    c->total_bytes = safetensors_weights_bytes(all, stored_dtype(c));
    status = begin_weights(c, err);
    if (status == UNSTIR_OK)
        status =
            write_weights(c, c->options->output, all, meta.rows, meta.n, err);
    weights_close(all);
    return status;
}

static enum unstir_status write_file(struct conversion *c,
                                     struct unstir_error *err)
{
    const struct json *scheduler = scheduler_of(c);
    enum unstir_status status;
    char *text = NULL;

    if (scheduler)
        TRY(convert_json_to_text(&text, scheduler, err));
    status = write_tensors(c, text, err);
    alloc_free(text);
    if (status != UNSTIR_OK)
        return status;
    if (c->companion)
        status = write_companion(c, c->companion_to, err);
    if (status == UNSTIR_OK)
        status = leave_inversions(c, err);
    if (status != UNSTIR_OK) {
        (void)unlink(c->options->output);
        if (c->companion)
            (void)unlink(c->companion_to);
    }
    return status;
}

enum unstir_status convert_write(struct conversion *c, struct unstir_error *err)
{
    return c->is_to_file ? write_file(c, err) : write_folder(c, err);
}
