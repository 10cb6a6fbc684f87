/* diffusers_folder.c - the diffusers layout of a model on disk.
 *
 * model_index.json names the pipeline, and that which components there are.  A
 * component lives in the subfolder of its name, or, in old repositories of one
 * network, at the root.  Weights are one file or an index of shards; where both
 * lie in a folder the reference's networks take the index and its text encoders
 * the file (diffusers 0.42.1, ModelMixin.from_pretrained; transformers 5.24,
 * _get_resolved_checkpoint_files), and so do these.  Behind them the variants
 * fp16 and bf16 are looked for in the same way.
 * Pickle files can run code when they are read and are never opened.
 *
 * The digest covers the bytes of the networks' config.json, of
 * scheduler_config.json, of the tokenizers' files and of all weight files, each
 * with its role; not unstir.json, whose titles and labels change no number.
 *
 * Pitfalls (each with its test in t_diffusers_folder.c): attention names of
 * old files (query, key, value, proj_attn), their weights stored as 1 x 1
 * convolutions, shard names that climb out of the folder, a tensor missing
 * from the shard that the index names.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/diffusers_folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/diffusers_pipelines.h"
#include "format/json.h"
#include "format/late_digest.h"
#include "format/pickle.h"
#include "format/safetensors.h"
#include "format/weights_build.h"

#define MAX_CONFIG_BYTES (1u << 20)
#define MAX_INDEX_BYTES  (64u << 20)
#define MAX_SHARDS       256u
#define MAX_WEIGHT_NAME  128u
#define UNET_STEM        "diffusion_pytorch_model"
#define TEXT_STEM        "model"

/* As bpe.h's ceiling of a tokenizer's file. */
#define MAX_TOKENIZER_BYTES (32u << 20)

/* Behind the stem of a component's weights. */
static const struct {
    const char *plain, *index;
} weight_files[] = {
    {".safetensors", ".safetensors.index.json"},
    {".fp16.safetensors", ".safetensors.index.fp16.json"},
    {".bf16.safetensors", ".safetensors.index.bf16.json"},
};

static const char *const pickle_files[] = {
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
    "diffusion_pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "diffusion_pytorch_model.ckpt",
};

/* Names of the first attention class and today's. */
static const struct {
    const char *old, *new;
} attention_names[] = {
    {"query", "to_q"},
    {"key", "to_k"},
    {"value", "to_v"},
    {"proj_attn", "to_out.0"},
};

/* -- small things ---------------------------------------------------------- */

/* Also of a folder that may not be looked into: opening the file says so. */
static bool has_file(const char *folder, const char *name)
{
    struct stat st;
    char path[PATH_BYTES];
    if (path_join(path, folder, name, NULL) != UNSTIR_OK)
        return false;
    return stat(path, &st) == 0 ? S_ISREG(st.st_mode) : errno == EACCES;
}

/* A JSON object of a file; NULL in *out if there is no such file.  Its bytes
 * go into `digest` (may be NULL) under the file's name. */
static enum unstir_status read_object(struct json **out, const char *folder,
                                      const char *name, size_t max_bytes,
                                      struct late_digest *digest,
                                      struct unstir_error *err)
{
    char path[PATH_BYTES];
    char *text;
    size_t n;
    *out = NULL;
    if (!has_file(folder, name))
        return UNSTIR_OK;
    TRY(path_join(path, folder, name, err));
    TRY(mapfile_read(&text, &n, path, max_bytes, err));
    json_blank_infinities(text, n);
    enum unstir_status status =
        error_prefix(json_parse(out, text, n, err), path, err);
    if (status == UNSTIR_OK && json_type(*out) != JSON_OBJECT)
        status = error_set(err, UNSTIR_ERR_FORMAT, "%s: must be a JSON object",
                           path);
    if (status == UNSTIR_OK && digest)
        late_digest_add(digest, name, text, n);
    alloc_free(text);
    if (status != UNSTIR_OK) {
        json_free(*out);
        *out = NULL;
    }
    return status;
}

/* -- weights --------------------------------------------------------------- */

static enum unstir_status check_shard_name(const char *index, const char *name,
                                           struct unstir_error *err)
{
    if (name[0] == '\0' || name[0] == '.' || strpbrk(name, "/\\") ||
        strstr(name, "..") || strlen(name) > 255 ||
        !affix_ends(name, ".safetensors"))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: \"%.100s\" cannot be the name of a shard: "
                         "must be a plain file name ending in .safetensors",
                         index, name);
    return UNSTIR_OK;
}

/* Load one shard and hold it to the index. */
static enum unstir_status add_shard(struct weights *all, const char *folder,
                                    const char *shard, const char *index,
                                    const struct json *map,
                                    struct unstir_error *err)
{
    char path[PATH_BYTES];
    struct weights *w;
    size_t i = 0;
    const char *tensor;
    const struct json *v;
    TRY(path_join(path, folder, shard, err));
    if (!has_file(folder, shard))
        return error_set(err, UNSTIR_ERR_IO,
                         "%.300s: there is no such file; %.200s names it as a "
                         "shard",
                         path, index);
    TRY(safetensors_open(&w, path, err));
    while (json_each(map, &i, &tensor, &v)) {
        if (strcmp(json_string(v), shard) != 0 || weights_find(w, tensor))
            continue;
        weights_close(w);
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: tensor \"%.100s\" is not in %.100s", index,
                         tensor, shard);
    }
    return weights_merge(all, w, err);
}

static enum unstir_status add_shards(struct weights *all, const char *folder,
                                     const char *index, const struct json *map,
                                     struct unstir_error *err)
{
    const char *shards[MAX_SHARDS];
    size_t n = 0, i = 0;
    const char *tensor;
    const struct json *v;
    if (json_type(map) != JSON_OBJECT || json_len(map) == 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: has no \"weight_map\" object", index);
    while (json_each(map, &i, &tensor, &v)) {
        const char *name = json_string(v);
        size_t k = 0;
        TRY(check_shard_name(index, name, err));
        while (k < n && strcmp(shards[k], name) != 0)
            k++;
        if (k < n)
            continue;
        if (n == MAX_SHARDS)
            return error_set(err, UNSTIR_ERR_LIMIT,
                             "%.200s: more than %u shards", index, MAX_SHARDS);
        shards[n++] = name;
        TRY(add_shard(all, folder, name, index, map, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status open_sharded(struct weights **out, const char *folder,
                                       const char *name,
                                       struct unstir_error *err)
{
    struct json *index = NULL;
    struct weights *w = NULL;
    char path[PATH_BYTES];
    TRY(path_join(path, folder, name, err));
    TRY(read_object(&index, folder, name, MAX_INDEX_BYTES, NULL, err));
    enum unstir_status status = weights_new(&w, err);
    if (status == UNSTIR_OK)
        status =
            add_shards(w, folder, path, json_get(index, "weight_map"), err);
    json_free(index);
    if (status != UNSTIR_OK) {
        weights_close(w);
        return status;
    }
    *out = w;
    return UNSTIR_OK;
}

static enum unstir_status no_weights(const char *folder, const char *stem,
                                     struct unstir_error *err)
{
    char names[700] = "";
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(weight_files) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s%s, %s%s",
                              i ? ", " : "", stem, weight_files[i].plain, stem,
                              weight_files[i].index);
    for (size_t i = 0; i < ARRAY_LEN(pickle_files); i++) {
        char path[PATH_BYTES];

        TRY(path_join(path, folder, pickle_files[i], err));
        if (path_exists(path))
            return pickle_refuse(path, err);
    }
    return error_set(err, UNSTIR_ERR_IO,
                     "%.200s: no weights; one of these files is wanted: %s",
                     folder, names);
}

/* The first weight file that is there; false if there is none. */
static bool find_weights(char name[MAX_WEIGHT_NAME], const char *folder,
                         const char *stem)
{
    bool is_text = strcmp(stem, TEXT_STEM) == 0;

    for (size_t i = 0; i < ARRAY_LEN(weight_files); i++)
        for (int k = 0; k < 2; k++) {
            bool is_plain = (k == 0) == is_text;
            snprintf(name, MAX_WEIGHT_NAME, "%s%s", stem,
                     is_plain ? weight_files[i].plain : weight_files[i].index);
            if (has_file(folder, name))
                return true;
        }
    return false;
}

enum unstir_status diffusers_folder_weights(struct weights **out,
                                            const char *folder,
                                            const char *stem,
                                            struct unstir_error *err)
{
    char path[PATH_BYTES], name[MAX_WEIGHT_NAME];
    *out = NULL;
    if (!find_weights(name, folder, stem))
        return no_weights(folder, stem, err);
    if (affix_ends(name, ".json")) {
        TRY(open_sharded(out, folder, name, err));
        enum unstir_status status = weights_seal(*out, err);
        if (status != UNSTIR_OK) {
            weights_close(*out);
            *out = NULL;
        }
        return status;
    }
    TRY(path_join(path, folder, name, err));
    return safetensors_open(out, path, err);
}

static enum unstir_status open_weights(struct diffusers_folder *f,
                                       struct weights **out, const char *folder,
                                       const char *stem, bool allows_no_weights,
                                       struct unstir_error *err)
{
    char name[MAX_WEIGHT_NAME];
    if (!find_weights(name, folder, stem))
        return allows_no_weights ? UNSTIR_OK : no_weights(folder, stem, err);
    if (strstr(name, "fp16"))
        TRY(notes_add(&f->notes, err, "weights are the fp16 variant (%s)",
                      name));
    else if (strstr(name, "bf16"))
        TRY(notes_add(&f->notes, err, "weights are the bf16 variant (%s)",
                      name));
    return diffusers_folder_weights(out, folder, stem, err);
}

/* -- names ----------------------------------------------------------------- */

/* Buffers and copies that stand in public files and that no network reads. */
static bool is_ignorable(const char *name)
{
    return affix_ends(name, "position_ids") ||
           affix_ends(name, "time_proj.W") ||
           affix_ends(name, "pos_embed.pos_embed") ||
           affix_ends(name, ".num_batches_tracked") ||
           affix_begins(name, "model_ema.");
}

/* ...attentions.0.query.weight -> ...attentions.0.to_q.weight; false if the
 * name is up to date. */
static bool modernise(char *out, size_t size, const char *name)
{
    const char *last = strrchr(name, '.');
    const char *owner = last;
    if (!last || !strstr(name, "attentions."))
        return false;
    while (owner > name && owner[-1] != '.')
        owner--;
    for (size_t i = 0; i < ARRAY_LEN(attention_names); i++) {
        const char *old = attention_names[i].old;
        size_t n = (size_t)(last - owner);
        if (n != strlen(old) || memcmp(owner, old, n) != 0)
            continue;
        snprintf(out, size, "%.*s%s%s", (int)(owner - name), name,
                 attention_names[i].new, last);
        return true;
    }
    return false;
}

/* Old attention weights are 1 x 1 convolutions: [out][in][1][1]. */
static bool squeeze(struct tensor_view *t)
{
    static const char *const ends[] = {".to_q.weight", ".to_k.weight",
                                       ".to_v.weight", ".to_out.0.weight"};
    bool is_attention = false;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        is_attention |= affix_ends(t->name, ends[i]);
    if (!is_attention || t->rank != 4 || t->dims[2] != 1 || t->dims[3] != 1)
        return false;
    t->rank = 2;
    return true;
}

static enum unstir_status update_names(struct diffusers_folder *f,
                                       struct weights *w,
                                       struct unstir_error *err)
{
    bool has_old = false, has_squeezed = false;
    for (size_t i = 0; i < w->n;) {
        char name[600];
        if (is_ignorable(w->views[i].name)) {
            TRY(notes_add(&f->notes, err, "tensor %s is not used",
                          w->views[i].name));
            weights_drop(w, i);
            continue;
        }
        if (modernise(name, sizeof(name), w->views[i].name)) {
            TRY(weights_rename(w, i, name, err));
            has_old = true;
        }
        has_squeezed |= squeeze(&w->views[i]);
        i++;
    }
    if (has_old)
        TRY(notes_add(&f->notes, err,
                      "attention tensors have their old names (%s)",
                      "query, key, value, proj_attn"));
    if (has_squeezed)
        TRY(notes_add(&f->notes, err, "attention weights are stored as %s",
                      "1 x 1 convolutions"));
    return weights_seal(w, err);
}

/* -- the folder ------------------------------------------------------------ */

static enum unstir_status unknown_pipeline(const struct diffusers_folder *f,
                                           struct unstir_error *err)
{
    char names[400];

    diffusers_pipeline_names(names, sizeof names);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%.200s/model_index.json: pipeline class \"%.60s\" "
                     "is not supported (%s are)",
                     f->path, f->pipeline_class, names);
}

/* *out: what the index says, or a pipeline of a UNet2DModel alone. */
static enum unstir_status check_pipeline(struct diffusers_folder *f,
                                         const struct diffusers_pipeline **out,
                                         struct unstir_error *err)
{
    const struct diffusers_pipeline *p = *out =
        diffusers_pipeline_find("DDPMPipeline");
    f->pipeline_class = "";
    if (!f->index)
        return UNSTIR_OK;
    TRY(json_get_string(f->index, "_class_name", "", &f->pipeline_class, err));
    p = diffusers_pipeline_find(f->pipeline_class);
    if (!p)
        return unknown_pipeline(f, err);
    if (!diffusers_pipeline_has(f->index, p->net))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s/model_index.json: has no \"%s\" of the form "
                         "[library, class]",
                         f->path, p->net);
    const char *class = diffusers_pipeline_class(f->index, p->net);
    if (strcmp(class, p->classes[0]) != 0 &&
        (!p->classes[1] || strcmp(class, p->classes[1]) != 0))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%.200s/model_index.json: %s class \"%.60s\" is not "
                         "supported (%s is)",
                         f->path, p->net, class, p->classes[0]);
    *out = p;
    return UNSTIR_OK;
}

/* The subfolder of a component, or the root. */
static enum unstir_status component_folder(char out[PATH_BYTES],
                                           const char *root, const char *name,
                                           struct unstir_error *err)
{
    TRY(path_join(out, root, name, err));
    if (!path_is_folder(out))
        TRY(path_join(out, root, ".", err));
    if (affix_ends(out, "/."))
        out[strlen(out) - 2] = '\0';
    return UNSTIR_OK;
}

/* A component is what the index says, not what its own file does. */
static enum unstir_status settle_class(struct diffusers_folder *f,
                                       struct json **config,
                                       const char *component,
                                       struct late_digest *digest,
                                       struct unstir_error *err)
{
    const char *class = diffusers_pipeline_class(f->index, component);
    const char *written = json_string(json_get(*config, "_class_name"));

    if (class[0] == '\0' || strcmp(class, written) == 0)
        return UNSTIR_OK;
    late_digest_add(digest, component, class, strlen(class));
    if (written[0] != '\0')
        TRY(notes_add(&f->notes, err,
                      "%s is a %s, as model_index.json says, though its own "
                      "file says %s",
                      component, class, written));
    return diffusers_put_class(config, class, err);
}

/* Where weights and configuration of a component go. */
struct component {
    const char *name, *stem;
    struct json **config;
    struct weights **weights;
    char **folder;
    bool allows_no_weights;
};

/* A network: its configuration, and its weights under today's names. */
static enum unstir_status read_network(struct diffusers_folder *f,
                                       const struct component *c,
                                       struct late_digest *digest,
                                       struct unstir_error *err)
{
    char folder[PATH_BYTES];
    struct weights *w;
    TRY(component_folder(folder, f->path, c->name, err));
    TRY(alloc_strdup(c->folder, folder, err));
    TRY(read_object(c->config, folder, "config.json", MAX_CONFIG_BYTES, digest,
                    err));
    if (!*c->config)
        return error_set(err, UNSTIR_ERR_IO,
                         "%.200s: no %s/config.json and no config.json; not "
                         "a model folder in the diffusers layout",
                         f->path, c->name);
    TRY(settle_class(f, c->config, c->name, digest, err));
    TRY(open_weights(f, c->weights, folder, c->stem, c->allows_no_weights,
                     err));
    w = *c->weights;
    if (!w)
        return UNSTIR_OK;
    late_digest_add_files(digest, w, &f->weight_file_bytes);
    return update_names(f, w, err);
}

/* -- text encoders --------------------------------------------------------- */

/* The tokenizer's files count in the digest; bpe.h reads them. */
static enum unstir_status read_tokenizer(struct diffusers_folder *f,
                                         struct diffusers_text *t,
                                         const char *name,
                                         struct late_digest *digest,
                                         struct unstir_error *err)
{
    static const char *const files[] = {
        "vocab.json",        "merges.txt",
        "tokenizer.json",    "tokenizer_config.json",
        "added_tokens.json", "special_tokens_map.json"};
    char folder[PATH_BYTES], path[PATH_BYTES];
    TRY(path_join(folder, f->path, name, err));
    if (!path_is_folder(folder))
        return error_set(err, UNSTIR_ERR_IO,
                         "%.200s: no %s folder beside the text encoder",
                         f->path, name);
    TRY(alloc_strdup(&t->tokenizer, folder, err));
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char *text;
        size_t n;
        if (!has_file(folder, files[i]))
            continue;
        TRY(path_join(path, folder, files[i], err));
        TRY(mapfile_read(&text, &n, path, MAX_TOKENIZER_BYTES, err));
        late_digest_add(digest, files[i], text, n);
        alloc_free(text);
    }
    return UNSTIR_OK;
}

static enum unstir_status check_text_class(const struct diffusers_folder *f,
                                           const char *component,
                                           struct unstir_error *err)
{
    const char *class = diffusers_pipeline_class(f->index, component);

    if (strcmp(class, "CLIPTextModel") == 0 ||
        strcmp(class, "CLIPTextModelWithProjection") == 0)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%.200s/model_index.json: %s class \"%.60s\" is not "
                     "supported (CLIPTextModel and CLIPTextModelWithProjection "
                     "are)",
                     f->path, component, class);
}

static enum unstir_status read_text(struct diffusers_folder *f, size_t i,
                                    bool allows_no_weights,
                                    struct late_digest *digest,
                                    struct unstir_error *err)
{
    static const char *const encoders[] = {"text_encoder", "text_encoder_2"};
    static const char *const tokenizers[] = {"tokenizer", "tokenizer_2"};
    struct diffusers_text *t = &f->texts[i];
    struct component c = {.name = encoders[i],
                          .stem = TEXT_STEM,
                          .config = &t->config,
                          .weights = &t->weights,
                          .folder = &t->folder,
                          .allows_no_weights = allows_no_weights};
    if (!diffusers_pipeline_has(f->index, encoders[i]))
        return UNSTIR_OK;
    TRY(check_text_class(f, encoders[i], err));
    TRY(read_network(f, &c, digest, err));
    return read_tokenizer(f, t, tokenizers[i], digest, err);
}

static enum unstir_status read_texts(struct diffusers_folder *f,
                                     bool allows_no_weights,
                                     struct late_digest *digest,
                                     struct unstir_error *err)
{
    const char *key = "force_zeros_for_empty_prompt";
    char zeros = json_bool(json_get(f->index, key)) ? '1' : '0';
    for (size_t i = 0; i < DIFFUSERS_MAX_TEXTS; i++)
        TRY(read_text(f, i, allows_no_weights, digest, err));
    late_digest_add(digest, "pipeline", f->pipeline_class,
                    strlen(f->pipeline_class));
    late_digest_add(digest, "zeros", &zeros, 1);
    if (diffusers_pipeline_has(f->index, "safety_checker"))
        TRY(notes_add(&f->notes, err, "the folder's %s is not run",
                      "safety_checker"));
    return UNSTIR_OK;
}

/* -- the whole ------------------------------------------------------------- */

static enum unstir_status read_scheduler(struct diffusers_folder *f,
                                         const struct diffusers_pipeline *p,
                                         struct late_digest *digest,
                                         struct unstir_error *err)
{
    char folder[PATH_BYTES];
    TRY(component_folder(folder, f->path, "scheduler", err));
    TRY(alloc_strdup(&f->scheduler_folder, folder, err));
    TRY(read_object(&f->scheduler_config, folder, "scheduler_config.json",
                    MAX_CONFIG_BYTES, digest, err));
    if (!f->scheduler_config)
        return notes_add(&f->notes, err, "no %s: defaults of DDPM",
                         "scheduler_config.json");
    TRY(settle_class(f, &f->scheduler_config, "scheduler", digest, err));
    if (p->scheduler &&
        strcmp(p->scheduler, json_string(json_get(f->scheduler_config,
                                                  "_class_name"))) != 0) {
        late_digest_add(digest, "own", p->scheduler, strlen(p->scheduler));
        TRY(diffusers_put_class(&f->scheduler_config, p->scheduler, err));
    }
    return p->patches ? diffusers_patch_scheduler(&f->scheduler_config,
                                                  p->patches, err)
                      : UNSTIR_OK;
}

static enum unstir_status read_parts(struct diffusers_folder *f,
                                     bool allows_no_weights,
                                     struct late_digest *digest,
                                     struct unstir_error *err)
{
    const struct diffusers_pipeline *p;
    struct component net = {.stem = UNET_STEM,
                            .config = &f->unet_config,
                            .weights = &f->unet_weights,
                            .folder = &f->unet_folder,
                            .allows_no_weights = allows_no_weights};
    struct component vae = {.stem = UNET_STEM,
                            .config = &f->vae_config,
                            .weights = &f->vae_weights,
                            .folder = &f->vae_folder,
                            .allows_no_weights = allows_no_weights};
    TRY(read_object(&f->index, f->path, "model_index.json", MAX_CONFIG_BYTES,
                    NULL, err));
    TRY(check_pipeline(f, &p, err));
    TRY(read_object(&f->unstir, f->path, "unstir.json", MAX_CONFIG_BYTES, NULL,
                    err));
    TRY(read_scheduler(f, p, digest, err));
    net.name = p->net;
    TRY(read_network(f, &net, digest, err));
    TRY(diffusers_tell_scores(&f->unet_config, f->index, err));
    if (p->patches)
        TRY(diffusers_patch_unet(&f->unet_config, err));
    if (!p->vae)
        return UNSTIR_OK;
    vae.name = p->vae;
    /* What a text's pipeline lacks can be given beside it. */
    if (!p->has_texts || diffusers_pipeline_has(f->index, p->vae))
        TRY(read_network(f, &vae, digest, err));
    return p->has_texts ? read_texts(f, allows_no_weights, digest, err)
                        : UNSTIR_OK;
}

enum unstir_status diffusers_folder_open_by(struct diffusers_folder *f,
                                            const char *path,
                                            bool allows_no_weights,
                                            struct late_digest *digest,
                                            struct unstir_error *err)
{
    struct stat st;
    *f = (struct diffusers_folder){.pipeline_class = ""};
    if (stat(path, &st) != 0)
        return error_set(err, UNSTIR_ERR_IO, "%.300s: %s", path,
                         errno == ENOENT ? "no such file or folder"
                                         : strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%.300s: is a file; wanted a folder in the diffusers "
                         "layout",
                         path);
    enum unstir_status status = alloc_strdup(&f->path, path, err);
    if (status == UNSTIR_OK)
        status = read_parts(f, allows_no_weights, digest, err);
    if (status != UNSTIR_OK)
        diffusers_folder_close(f);
    return status;
}

enum unstir_status diffusers_folder_open(struct diffusers_folder *f,
                                         const char *path,
                                         bool allows_no_weights,
                                         struct unstir_error *err)
{
    struct late_digest *digest;
    *f = (struct diffusers_folder){.pipeline_class = ""};
    TRY(late_digest_new(&digest, err));
    enum unstir_status status =
        diffusers_folder_open_by(f, path, allows_no_weights, digest, err);
    if (status == UNSTIR_OK)
        status = late_digest_start(digest, NULL, err);
    if (status == UNSTIR_OK)
        status = late_digest_wait(digest, f->digest, err);
    late_digest_free(digest);
    if (status != UNSTIR_OK)
        diffusers_folder_close(f);
    return status;
}

/* Where a part of a single file's kind lies here. */
static struct component component_of(struct diffusers_folder *f,
                                     enum single_file_part_id part)
{
    size_t i = part == SINGLE_FILE_TEXT_2;

    if (part == SINGLE_FILE_VAE)
        return (struct component){.name = "vae",
                                  .stem = UNET_STEM,
                                  .config = &f->vae_config,
                                  .weights = &f->vae_weights,
                                  .folder = &f->vae_folder};
    return (struct component){.name = i ? "text_encoder_2" : "text_encoder",
                              .stem = TEXT_STEM,
                              .config = &f->texts[i].config,
                              .weights = &f->texts[i].weights,
                              .folder = &f->texts[i].folder};
}

enum unstir_status diffusers_folder_open_part(struct diffusers_folder *f,
                                              const char *path,
                                              enum single_file_part_id part,
                                              struct late_digest *digest,
                                              struct unstir_error *err)
{
    struct component c;
    enum unstir_status status;

    *f = (struct diffusers_folder){.pipeline_class = ""};
    c = component_of(f, part);
    status = alloc_strdup(&f->path, path, err);
    if (status == UNSTIR_OK)
        status = read_network(f, &c, digest, err);
    if (status != UNSTIR_OK)
        diffusers_folder_close(f);
    return status;
}

void diffusers_folder_close(struct diffusers_folder *f)
{
    notes_fini(&f->notes);
    weights_close(f->unet_weights);
    json_free(f->unstir);
    json_free(f->scheduler_config);
    json_free(f->unet_config);
    weights_close(f->vae_weights);
    json_free(f->vae_config);
    for (size_t i = 0; i < DIFFUSERS_MAX_TEXTS; i++) {
        weights_close(f->texts[i].weights);
        json_free(f->texts[i].config);
        alloc_free(f->texts[i].tokenizer);
        alloc_free(f->texts[i].folder);
    }
    json_free(f->index);
    alloc_free(f->unet_folder);
    alloc_free(f->vae_folder);
    alloc_free(f->scheduler_folder);
    alloc_free(f->path);
    *f = (struct diffusers_folder){.pipeline_class = ""};
}
