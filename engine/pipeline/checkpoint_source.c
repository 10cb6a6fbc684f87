/* checkpoint_source.c - a model on disk, folder or single file, as parts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/checkpoint_source.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "format/json.h"
#include "format/late_digest.h"
#include "format/weights.h"
#include "model/pack_cache.h"
#include "pipeline/checkpoint.h"
#include "pipeline/companion.h"
#include "pipeline/standard_tokenizer.h"
#include "text/bpe.h"

/* The last part of the path, also of "." and paths that end with a slash,
 * without a file's extension. */
static enum unstir_status find_name(struct checkpoint_source *s,
                                    const char *path, struct unstir_error *err)
{
    const char *real, *text, *slash;
    void *memory;
    char *dot;

    TRY(alloc_zero(&memory, PATH_MAX, 1, err));
    real = realpath(path, memory);
    text = real ? real : path;
    slash = strrchr(text, '/');
    (void)snprintf(s->name, sizeof s->name, "%.100s", slash ? slash + 1 : text);
    alloc_free(memory);
    dot = strrchr(s->name, '.');
    if (s->is_file && dot && dot > s->name)
        *dot = '\0';
    return UNSTIR_OK;
}

/* -- folders --------------------------------------------------------------- */

static enum unstir_status open_folder(struct checkpoint_source *s,
                                      const char *path,
                                      const struct checkpoint_source_options *o,
                                      struct unstir_error *err)
{
    struct diffusers_folder *f = &s->folder;

    TRY(diffusers_folder_open_by(f, path, o->allows_no_weights, s->late, err));
    for (size_t i = 0; i < DIFFUSERS_MAX_TEXTS; i++)
        if (f->texts[i].tokenizer)
            TRY(bpe_open_folder(&s->tokenizers[i], f->texts[i].tokenizer, err));
    s->pipeline = f->pipeline_class;
    s->file_bytes = f->weight_file_bytes;
    s->notes = f->notes;
    return UNSTIR_OK;
}

/* -- single files ---------------------------------------------------------- */

static enum unstir_status read_companion(struct checkpoint_source *s,
                                         const char *path,
                                         struct unstir_error *err)
{
    char name[PATH_BYTES];

    TRY(companion_path(name, path, err));
    TRY(alloc_strdup(&s->unstir_name, name, err));
    return companion_read(&s->unstir, name, err);
}

static enum unstir_status open_file(struct checkpoint_source *s,
                                    const char *path,
                                    const struct checkpoint_source_options *o,
                                    struct unstir_error *err)
{
    const char *prediction = o->prediction_type;
    struct single_file *f = &s->file;

    TRY(read_companion(s, path, err));
    if (!prediction)
        TRY(json_get_string(s->unstir, "prediction_type", NULL, &prediction,
                            err));
    TRY(single_file_open(f, path, prediction, err));
    TRY(error_within(single_file_patch(f, err), path, err));
    s->pipeline = json_string(json_get(f->index, "_class_name"));
    s->notes = f->notes;
    late_digest_add(s->late, "prediction_type", f->prediction_type,
                    strlen(f->prediction_type));
    late_digest_add_files(s->late, f->file, &s->file_bytes);
    return UNSTIR_OK;
}

/* -- names in errors ------------------------------------------------------ */

/* "PLACE/NAME", or of what a file's tensors tell "PLACE: NAME". */
static enum unstir_status make_name(char **out, const char *place, bool is_file,
                                    const char *name, struct unstir_error *err)
{
    char text[PATH_MAX + 64];

    alloc_free(*out);
    *out = NULL;
    (void)snprintf(text, sizeof text, "%s%s%s", place, is_file ? ": " : "/",
                   name); /* cut is fine */
    return alloc_strdup(out, text, err);
}

/* Of a part in a file or in a folder of its own; place may be NULL: no such
 * part. */
static enum unstir_status name_part(struct checkpoint_source *s, size_t id,
                                    const char *place, bool is_file,
                                    struct unstir_error *err)
{
    const char *part = single_file_part_name((enum single_file_part_id)id);

    if (!place)
        return UNSTIR_OK;
    TRY(make_name(&s->names[id].config, place, is_file,
                  is_file ? part : "config.json", err));
    if (is_file)
        return make_name(&s->names[id].weights, place, true, part, err);
    alloc_free(s->names[id].weights);
    s->names[id].weights = NULL;
    return alloc_strdup(&s->names[id].weights, place, err);
}

static enum unstir_status name_own(struct checkpoint_source *s,
                                   const char *path, struct unstir_error *err)
{
    const struct diffusers_folder *f = &s->folder;
    const char *places[SINGLE_FILE_PARTS] = {
        [SINGLE_FILE_UNET] = f->unet_folder,
        [SINGLE_FILE_VAE] = f->vae_folder,
        [SINGLE_FILE_TEXT] = f->texts[0].folder,
        [SINGLE_FILE_TEXT_2] = f->texts[1].folder};

    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        TRY(name_part(s, i, s->is_file ? path : places[i], s->is_file, err));
    if (s->is_file)
        return make_name(&s->scheduler_name, path, true, "scheduler", err);
    TRY(make_name(&s->scheduler_name, f->scheduler_folder, false,
                  "scheduler_config.json", err));
    return make_name(&s->unstir_name, path, false, "unstir.json", err);
}

static enum unstir_status name_given(struct checkpoint_source *s,
                                     struct unstir_error *err)
{
    const struct model_part *vae = &s->given.vae, *text = s->given.texts;

    TRY(name_part(s, SINGLE_FILE_VAE, vae->path, vae->is_file, err));
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        TRY(name_part(s, SINGLE_FILE_TEXT + i, text[i].path, text[i].is_file,
                      err));
    return UNSTIR_OK;
}

/* -- what changes pictures beside the model counts in the digest ----------- */

/* A digest begun with that of all so far. */
static enum unstir_status wrap_digest(struct checkpoint_source *s,
                                      struct unstir_error *err)
{
    struct late_digest *outer;

    TRY(late_digest_new(&outer, err));
    late_digest_add_late(outer, "model", s->late);
    s->late = outer;
    return UNSTIR_OK;
}

/* -- textual inversions ---------------------------------------------------- */

static enum unstir_status digest_inversions(struct checkpoint_source *s,
                                            struct unstir_error *err)
{
    TRY(wrap_digest(s, err));
    for (size_t i = 0; i < s->inversions.n; i++) {
        const struct inversion *v = &s->inversions.list[i];

        for (size_t k = 0; k < INVERSION_ENCODERS; k++)
            late_digest_add(s->late, v->name, v->vectors[k],
                            v->vectors[k] ? (size_t)v->n_vectors *
                                                v->channels[k] * sizeof(float)
                                          : 0);
    }
    return UNSTIR_OK;
}

static enum unstir_status open_inversions(struct checkpoint_source *s,
                                          const char *path,
                                          struct unstir_error *err)
{
    char folder[PATH_BYTES];

    TRY(inversions_find(folder, path, s->is_file, err));
    TRY(inversions_open_folder(&s->inversions, folder, err));
    return s->inversions.n ? digest_inversions(s, err) : UNSTIR_OK;
}

/* -- parts from elsewhere ---------------------------------------------- */

/* Takes the digest of a part, or that there is none. */
static void digest_part(struct checkpoint_source *s, const char *name,
                        struct model_part *part)
{
    late_digest_add_late(s->late, name, part->digest);
    part->digest = NULL;
}

static enum unstir_status digest_given(struct checkpoint_source *s,
                                       struct unstir_error *err)
{
    TRY(wrap_digest(s, err));
    digest_part(s, "vae", &s->given.vae);
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        digest_part(s, "text_encoder", &s->given.texts[i]);
    s->file_bytes += s->given.n_bytes;
    return UNSTIR_OK;
}

static enum unstir_status open_given(struct checkpoint_source *s,
                                     const struct checkpoint_source_options *o,
                                     struct unstir_error *err)
{
    struct checkpoint_parts own = checkpoint_source_parts(s);
    struct model_parts_wish wish = o->parts;
    enum unstir_status status;
    void *memory;

    TRY(alloc_zero(&memory, 1, sizeof(struct companion_parts), err));
    status = companion_wish(&wish, memory, own.unstir, s->unstir_name, err);
    if (status == UNSTIR_OK && (wish.vae || wish.texts[0]))
        status = model_parts_open(&s->given, &wish, own.unet_config, err);
    if (status == UNSTIR_OK)
        status = name_given(s, err);
    alloc_free(memory);
    if (status == UNSTIR_OK && (wish.vae || wish.texts[0]))
        status = digest_given(s, err);
    return status;
}

/* Encoders without one of their own are written for the standard one. */
static enum unstir_status
open_tokenizers(struct checkpoint_source *s,
                const struct checkpoint_source_options *o,
                struct unstir_error *err)
{
    struct checkpoint_parts all = checkpoint_source_parts(s);
    enum single_file_kind kind = model_parts_kind(all.unet_config);

    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        if (all.texts[i].config && !s->tokenizers[i])
            TRY(standard_tokenizer_open(
                &s->tokenizers[i], o->merges_path,
                i > 0 || (s->is_file ? s->file.kind : kind) == SINGLE_FILE_SD2,
                err));
    return UNSTIR_OK;
}

/* -- both ------------------------------------------------------------------ */

static enum unstir_status open_all(struct checkpoint_source *s,
                                   const char *path,
                                   const struct checkpoint_source_options *o,
                                   struct unstir_error *err)
{
    char memos[PATH_BYTES];
    bool has_memos = pack_cache_folder(memos, o->cache);

    TRY(find_name(s, path, err));
    TRY(late_digest_new(&s->late, err));
    TRY(s->is_file ? open_file(s, path, o, err) : open_folder(s, path, o, err));
    TRY(name_own(s, path, err));
    TRY(open_given(s, o, err));
    TRY(open_tokenizers(s, o, err));
    if (s->tokenizers[0] || s->tokenizers[1])
        TRY(open_inversions(s, path, err));
    return late_digest_start(s->late, has_memos ? memos : NULL, err);
}

enum unstir_status
checkpoint_source_open(struct checkpoint_source *s, const char *path,
                       const struct checkpoint_source_options *o,
                       struct unstir_error *err)
{
    enum unstir_status status;
    struct stat st;

    *s = (struct checkpoint_source){.pipeline = ""};
    s->is_file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    status = open_all(s, path, o, err);
    if (status != UNSTIR_OK)
        checkpoint_source_close(s);
    return status;
}

enum unstir_status checkpoint_source_settle(struct checkpoint_source *s,
                                            struct unstir_error *err)
{
    return late_digest_wait(s->late, s->digest, err);
}

void checkpoint_source_stop(const struct checkpoint_source *s)
{
    late_digest_stop(s->late);
}

void checkpoint_source_close(struct checkpoint_source *s)
{
    late_digest_free(s->late); /* it reads the files below */
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        bpe_free(s->tokenizers[i]);
    inversions_fini(&s->inversions);
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        alloc_free(s->names[i].config);
        alloc_free(s->names[i].weights);
    }
    alloc_free(s->scheduler_name);
    alloc_free(s->unstir_name);
    model_parts_close(&s->given);
    json_free(s->unstir);
    if (s->is_file)
        single_file_close(&s->file);
    else
        diffusers_folder_close(&s->folder);
    *s = (struct checkpoint_source){.pipeline = ""};
}

void checkpoint_source_forget(const struct checkpoint_source *s)
{
    weights_forget(s->file.file);
    weights_forget(s->folder.unet_weights);
    weights_forget(s->folder.vae_weights);
    for (size_t i = 0; i < DIFFUSERS_MAX_TEXTS; i++)
        weights_forget(s->folder.texts[i].weights);
    /* What was given stays until it is used: it is small. */
}

static struct checkpoint_parts parts_of_file(const struct checkpoint_source *s)
{
    const struct single_file_part *parts = s->file.parts;
    struct checkpoint_parts all = {
        .index = s->file.index,
        .unstir = s->unstir,
        .unet_config = parts[SINGLE_FILE_UNET].config,
        .weights = parts[SINGLE_FILE_UNET].weights,
        .scheduler_config = s->file.scheduler_config,
        .is_few_step = s->file.is_few_step,
        .vae_config = parts[SINGLE_FILE_VAE].config,
        .vae_weights = parts[SINGLE_FILE_VAE].weights,
    };

    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        all.texts[i].config = parts[SINGLE_FILE_TEXT + i].config;
        all.texts[i].weights = parts[SINGLE_FILE_TEXT + i].weights;
    }
    return all;
}

/* Folders keep the address that they were loaded from. */
static bool has_few_step_origin(const struct json *config)
{
    const struct json *origin = json_get(config, "_name_or_path");

    return json_type(origin) == JSON_STRING &&
           single_file_says_few_steps(json_string(origin));
}

static struct checkpoint_parts
parts_of_folder(const struct checkpoint_source *s)
{
    const struct diffusers_folder *f = &s->folder;
    struct checkpoint_parts all = {
        .index = f->index,
        .unet_config = f->unet_config,
        .weights = f->unet_weights,
        .scheduler_config = f->scheduler_config,
        .is_few_step = has_few_step_origin(f->index) ||
                       has_few_step_origin(f->unet_config),
        .unstir = f->unstir,
        .vae_config = f->vae_config,
        .vae_weights = f->vae_weights,
    };

    for (size_t i = 0; i < DIFFUSERS_MAX_TEXTS; i++) {
        all.texts[i].config = f->texts[i].config;
        all.texts[i].weights = f->texts[i].weights;
    }
    return all;
}

static struct network_names names_of(const struct checkpoint_source *s,
                                     size_t id)
{
    return (struct network_names){s->names[id].config, s->names[id].weights};
}

struct checkpoint_parts
checkpoint_source_parts(const struct checkpoint_source *s)
{
    struct checkpoint_parts all =
        s->is_file ? parts_of_file(s) : parts_of_folder(s);

    all.unet_names = names_of(s, SINGLE_FILE_UNET);
    all.vae_names = names_of(s, SINGLE_FILE_VAE);
    all.scheduler_name = s->scheduler_name;
    all.unstir_name = s->unstir_name;
    all.name = s->name;
    all.digest = s->digest;
    all.late = s->late;
    all.pipeline = s->pipeline;
    all.inversions = s->inversions.n ? &s->inversions : NULL;
    if (s->given.vae.config) {
        all.vae_config = s->given.vae.config;
        all.vae_weights = s->given.vae.weights;
    }
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        if (s->given.texts[i].config) {
            all.texts[i].config = s->given.texts[i].config;
            all.texts[i].weights = s->given.texts[i].weights;
        }
        all.texts[i].tokenizer = s->tokenizers[i];
        all.texts[i].names = names_of(s, SINGLE_FILE_TEXT + i);
    }
    return all;
}
