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
#include "format/digest.h"
#include "format/json.h"
#include "format/weights_build.h"
#include "pipeline/checkpoint.h"
#include "text/bpe.h"

/* OpenCLIP's encoders pad with "!", which has number 0. */
static const char open_clip_tokenizer[] =
    "{\"model_max_length\":77,\"bos_token\":\"<|startoftext|>\","
    "\"eos_token\":\"<|endoftext|>\",\"unk_token\":\"<|endoftext|>\","
    "\"pad_token\":\"!\"}";

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

    TRY(diffusers_folder_open(f, path, o->allows_no_weights, err));
    for (size_t i = 0; i < DIFFUSERS_MAX_TEXTS; i++)
        if (f->texts[i].tokenizer)
            TRY(bpe_open_folder(&s->tokenizers[i], f->texts[i].tokenizer, err));
    memcpy(s->digest, f->digest, sizeof s->digest);
    s->pipeline = f->pipeline_class;
    s->file_bytes = f->weight_file_bytes;
    s->notes = (const char *const *)f->notes;
    s->n_notes = f->n_notes;
    return UNSTIR_OK;
}

/* -- single files ---------------------------------------------------------- */

static enum unstir_status open_tokenizer(struct bpe **out, const char *path,
                                         bool is_open_clip,
                                         struct unstir_error *err)
{
    struct bpe_texts texts = {.merges = NULL};
    enum unstir_status status;
    char *merges;

    if (!path)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a single file has no tokenizer, and the path of the "
                         "standard one (models/clip-bpe/merges.txt) is not "
                         "known");
    if (!is_open_clip)
        return bpe_open_merges(out, path, err);
    TRY(mapfile_read(&merges, &texts.n_merges, path, BPE_MAX_FILE_BYTES, err));
    texts.merges = merges;
    texts.config = open_clip_tokenizer;
    texts.n_config = sizeof open_clip_tokenizer - 1;
    status = bpe_parse(out, &texts, err);
    alloc_free(merges);
    return status == UNSTIR_OK ? status : error_prefix(err, path);
}

static enum unstir_status digest_file(struct checkpoint_source *s,
                                      struct unstir_error *err)
{
    const struct weights *w = s->file.file;
    struct digest *digest;

    TRY(digest_new(&digest, err));
    digest_add(digest, "prediction_type", s->file.prediction_type,
               strlen(s->file.prediction_type));
    for (size_t i = 0; i < w->n_sources; i++) {
        const struct mapfile *m = &w->sources[i].map;

        digest_add(digest, "weights", m->bytes, m->n_bytes);
        s->file_bytes += m->n_bytes;
    }
    digest_finish(digest, s->digest);
    weights_forget(w);
    return UNSTIR_OK;
}

static enum unstir_status open_file(struct checkpoint_source *s,
                                    const char *path,
                                    const struct checkpoint_source_options *o,
                                    struct unstir_error *err)
{
    struct single_file *f = &s->file;

    TRY(single_file_open(f, path, o->prediction_type, err));
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        if (f->parts[SINGLE_FILE_TEXT + i].weights)
            TRY(open_tokenizer(&s->tokenizers[i], o->merges_path,
                               i > 0 || f->kind == SINGLE_FILE_SD2, err));
    s->pipeline = json_string(json_get(f->index, "_class_name"));
    s->notes = (const char *const *)f->notes;
    s->n_notes = f->n_notes;
    return digest_file(s, err);
}

/* -- textual inversions ----------------------------------------------------- */

/* They change pictures, so they count in the digest. */
static enum unstir_status digest_inversions(struct checkpoint_source *s,
                                            struct unstir_error *err)
{
    struct digest *digest;

    TRY(digest_new(&digest, err));
    digest_add(digest, "model", s->digest, strlen(s->digest));
    for (size_t i = 0; i < s->inversions.n; i++) {
        const struct inversion *v = &s->inversions.list[i];

        for (size_t k = 0; k < INVERSION_ENCODERS; k++)
            digest_add(digest, v->name, v->vectors[k],
                       v->vectors[k] ? (size_t)v->n_vectors * v->channels[k] *
                                           sizeof(float)
                                     : 0);
    }
    digest_finish(digest, s->digest);
    return UNSTIR_OK;
}

static enum unstir_status open_inversions(struct checkpoint_source *s,
                                          const char *path,
                                          struct unstir_error *err)
{
    const char *slash = s->is_file ? strrchr(path, '/') : path + strlen(path);
    char folder[1024];
    int n;

    if (slash)
        n = snprintf(folder, sizeof folder, "%.*s/embeddings",
                     (int)(slash - path), path);
    else
        n = snprintf(folder, sizeof folder, "embeddings");
    if (n < 0 || n >= (int)sizeof folder)
        return error_set(err, UNSTIR_ERR_ARG, "path too long: %.200s...", path);
    TRY(inversions_open_folder(&s->inversions, folder, err));
    return s->inversions.n ? digest_inversions(s, err) : UNSTIR_OK;
}

/* -- both ------------------------------------------------------------------ */

enum unstir_status
checkpoint_source_open(struct checkpoint_source *s, const char *path,
                       const struct checkpoint_source_options *o,
                       struct unstir_error *err)
{
    enum unstir_status status;
    struct stat st;

    *s = (struct checkpoint_source){.pipeline = ""};
    s->is_file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    TRY(find_name(s, path, err));
    status =
        s->is_file ? open_file(s, path, o, err) : open_folder(s, path, o, err);
    if (status == UNSTIR_OK && (s->tokenizers[0] || s->tokenizers[1]))
        status = open_inversions(s, path, err);
    if (status != UNSTIR_OK)
        checkpoint_source_close(s);
    return status;
}

void checkpoint_source_close(struct checkpoint_source *s)
{
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        bpe_free(s->tokenizers[i]);
    inversions_fini(&s->inversions);
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
}

static struct checkpoint_parts parts_of_file(const struct checkpoint_source *s)
{
    const struct single_file_part *parts = s->file.parts;
    struct checkpoint_parts all = {
        .index = s->file.index,
        .unet_config = parts[SINGLE_FILE_UNET].config,
        .weights = parts[SINGLE_FILE_UNET].weights,
        .scheduler_config = s->file.scheduler_config,
        .vae_config = parts[SINGLE_FILE_VAE].config,
        .vae_weights = parts[SINGLE_FILE_VAE].weights,
    };

    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        all.texts[i].config = parts[SINGLE_FILE_TEXT + i].config;
        all.texts[i].weights = parts[SINGLE_FILE_TEXT + i].weights;
    }
    return all;
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

struct checkpoint_parts
checkpoint_source_parts(const struct checkpoint_source *s)
{
    struct checkpoint_parts all =
        s->is_file ? parts_of_file(s) : parts_of_folder(s);

    all.name = s->name;
    all.digest = s->digest;
    all.pipeline = s->pipeline;
    all.inversions = s->inversions.n ? &s->inversions : NULL;
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        all.texts[i].tokenizer = s->tokenizers[i];
    return all;
}
