/* convert.c - a model rewritten.
 *
 * Both layouts are read into one form: parts with weights and configuration.
 * LoRAs make derived weights of the parts they touch; then the parts are
 * written, tensor by tensor, as a folder or as one file.
 *
 * The output must not be there before: a file that is mapped for reading must
 * not be written over, and half of an old model beside half of a new one would
 * be worse than an error.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/convert.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "format/lora.h"
#include "format/single_file.h"
#include "format/weights_build.h"
#include "format/weights_write.h"
#include "model/lora_derive.h"
#include "pipeline/model_parts.h"
#include "text/bpe.h"

#define MAX_PATH_BYTES   1024
#define MAX_CONFIG_BYTES (64u << 20) /* a tokenizer.json has megabytes       */
#define EXTENSION        ".safetensors"
#define MAX_LORAS        16

static const struct {
    const char *folder, *stem;
} part_files[SINGLE_FILE_PARTS] = {
    [SINGLE_FILE_UNET] = {"unet", "diffusion_pytorch_model"},
    [SINGLE_FILE_VAE] = {"vae", "diffusion_pytorch_model"},
    [SINGLE_FILE_TEXT] = {"text_encoder", "model"},
    [SINGLE_FILE_TEXT_2] = {"text_encoder_2", "model"},
};

/* What is copied as it is from folder to folder, if it is there. */
static const char *const plain_files[] = {
    "unstir.json",
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

struct part {
    struct weights *opened;  /* ours, or NULL                                */
    struct weights *derived; /* with LoRAs, or NULL                          */
    const struct weights *weights;
    char *config; /* text                                                    */
    bool is_given;
};

struct conversion {
    const struct unstir_convert_options *options;
    bool has_dtype;
    enum dtype dtype;
    bool is_from_file, is_to_file;
    bool is_open_clip; /* the first text encoder, of 2.x                     */
    struct single_file file; /* if is_from_file                              */
    struct model_parts given;
    struct json *index; /* of the output: the input's, with what is given    */
    struct part parts[SINGLE_FILE_PARTS];
    struct lora loras[MAX_LORAS];
    size_t n_loras;
    const char *prediction; /* for the metadata of a single file, or NULL    */
    struct json *scheduler;
    struct json_writer *report;
};

/* -- small things ------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static enum unstir_status join(char path[MAX_PATH_BYTES], const char *folder,
                               const char *name, struct unstir_error *err)
{
    int n = snprintf(path, MAX_PATH_BYTES, "%s/%s", folder, name);

    if (n < 0 || n >= MAX_PATH_BYTES)
        return error_set(err, UNSTIR_ERR_ARG, "path too long: %.200s...",
                         folder);
    return UNSTIR_OK;
}

static bool exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
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
    char folder[MAX_PATH_BYTES];
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
    char path[MAX_PATH_BYTES];

    TRY(join(path, folder, name, err));
    TRY(make_parent(path, err));
    return mapfile_write(path, text, n, err);
}

static enum unstir_status json_to_text(char **text, const struct json *v,
                                       struct unstir_error *err)
{
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_put_value(w, NULL, v);
    return json_finish(text, w, true, err);
}

static enum unstir_status write_json(const char *folder, const char *name,
                                     const struct json *v,
                                     struct unstir_error *err)
{
    enum unstir_status status;
    char *text;

    TRY(json_to_text(&text, v, err));
    status = write_text(folder, name, text, strlen(text), err);
    alloc_free(text);
    return status;
}

/* -- reading ----------------------------------------------------------- */

static enum unstir_status read_file_parts(struct conversion *c,
                                          struct unstir_error *err)
{
    TRY(single_file_open(&c->file, c->options->input,
                         c->options->prediction_type, err));
    c->prediction = c->file.prediction_type;
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        if (!c->file.parts[i].weights)
            continue;
        c->parts[i].weights = c->file.parts[i].weights;
        TRY(json_to_text(&c->parts[i].config, c->file.parts[i].config, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status read_folder_part(struct conversion *c, size_t i,
                                           struct unstir_error *err)
{
    struct part *part = &c->parts[i];
    char folder[MAX_PATH_BYTES], path[MAX_PATH_BYTES];
    size_t n;

    TRY(join(folder, c->options->input, part_files[i].folder, err));
    TRY(join(path, folder, "config.json", err));
    if (!exists(path))
        return UNSTIR_OK;
    TRY(mapfile_read(&part->config, &n, path, MAX_CONFIG_BYTES, err));
    TRY(diffusers_folder_weights(&part->opened, folder, part_files[i].stem,
                                 err));
    part->weights = part->opened;
    return UNSTIR_OK;
}

static enum unstir_status read_json(struct json **out, const char *folder,
                                    const char *name, struct unstir_error *err)
{
    char path[MAX_PATH_BYTES], *text;
    enum unstir_status status;
    size_t n;

    *out = NULL;
    TRY(join(path, folder, name, err));
    if (!exists(path))
        return UNSTIR_OK;
    TRY(mapfile_read(&text, &n, path, MAX_CONFIG_BYTES, err));
    status = json_parse(out, text, n, err);
    alloc_free(text);
    return error_within(status, path, err);
}

static enum unstir_status read_scheduler(struct conversion *c,
                                         struct unstir_error *err)
{
    TRY(read_json(&c->scheduler, c->options->input,
                  "scheduler/scheduler_config.json", err));
    return json_get_string(c->scheduler, "prediction_type", "epsilon",
                           &c->prediction, err);
}

static enum unstir_status read_folder_parts(struct conversion *c,
                                            struct unstir_error *err)
{
    bool has_any = false;

    if (c->options->prediction_type)
        return error_set(err, UNSTIR_ERR_ARG,
                         "what a folder's network predicts stands in its "
                         "scheduler_config.json; it is told for single files "
                         "only");
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        TRY(read_folder_part(c, i, err));
        has_any |= c->parts[i].weights != NULL;
    }
    if (!has_any)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%s: no unet/config.json and none of vae, "
                         "text_encoder, text_encoder_2",
                         c->options->input);
    return read_scheduler(c, err);
}

/* 2.x is known by the width of the text that the network reads. */
static enum unstir_status find_open_clip(struct conversion *c,
                                         struct unstir_error *err)
{
    const char *text = c->parts[SINGLE_FILE_UNET].config;
    struct json *unet;

    if (c->is_from_file)
        c->is_open_clip = c->file.kind == SINGLE_FILE_SD2;
    if (c->is_from_file || !text)
        return UNSTIR_OK;
    TRY(json_parse(&unet, text, strlen(text), err));
    c->is_open_clip = model_parts_kind(unet) == SINGLE_FILE_SD2;
    json_free(unet);
    return UNSTIR_OK;
}

/* -- parts from elsewhere ---------------------------------------------- */

static enum unstir_status take_part(struct conversion *c, size_t i,
                                    const struct model_part *given,
                                    struct unstir_error *err)
{
    struct part *part = &c->parts[i];

    if (!given->config)
        return UNSTIR_OK;
    alloc_free(part->config);
    part->config = NULL;
    TRY(json_to_text(&part->config, given->config, err));
    part->weights = given->weights;
    part->is_given = true;
    return UNSTIR_OK;
}

static enum unstir_status take_given(struct conversion *c,
                                     struct unstir_error *err)
{
    const struct unstir_convert_options *o = c->options;
    const struct model_parts_wish wish = {
        o->vae, {o->text_encoders[0], o->text_encoders[1]}};
    enum unstir_status status;
    struct json *unet;

    if (!wish.vae && !wish.texts[0])
        return UNSTIR_OK;
    if (!c->parts[SINGLE_FILE_UNET].config)
        return error_set(err, UNSTIR_ERR_ARG,
                         "%s: has no unet, whose configuration tells what "
                         "the parts given must be",
                         o->input);
    TRY(json_parse(&unet, c->parts[SINGLE_FILE_UNET].config,
                   strlen(c->parts[SINGLE_FILE_UNET].config), err));
    status = model_parts_open(&c->given, &wish, unet, NULL, err);
    json_free(unet);
    if (status == UNSTIR_OK)
        status = take_part(c, SINGLE_FILE_VAE, &c->given.vae, err);
    for (size_t i = 0; status == UNSTIR_OK && i < CONDITIONING_ENCODERS; i++)
        status = take_part(c, SINGLE_FILE_TEXT + i, &c->given.texts[i], err);
    return status;
}

/* -- LoRAs ------------------------------------------------------------- */

static enum unstir_status derive_part(struct conversion *c, size_t i,
                                      size_t *n_touched,
                                      struct unstir_error *err)
{
    struct part *part = &c->parts[i];
    struct lora_use uses[MAX_LORAS];
    struct lora_task task = {.part = (enum single_file_part_id)i,
                             .uses = uses,
                             .n_uses = c->n_loras};
    size_t n = 0;

    if (!part->weights)
        return UNSTIR_OK;
    for (size_t k = 0; k < c->n_loras; k++)
        uses[k] = (struct lora_use){&c->loras[k], c->options->lora_scales[k],
                                    c->options->loras[k]};
    TRY(lora_derive(&part->derived, part->weights, &task, &n, err));
    part->weights = part->derived;
    *n_touched += n;
    return UNSTIR_OK;
}

static enum unstir_status add_loras(struct conversion *c,
                                    struct unstir_error *err)
{
    const struct unstir_convert_options *o = c->options;
    size_t n_touched = 0;

    if (o->n_loras > MAX_LORAS)
        return error_set(err, UNSTIR_ERR_LIMIT, "%zu LoRAs; at most %d",
                         o->n_loras, MAX_LORAS);
    for (; c->n_loras < o->n_loras; c->n_loras++)
        TRY(lora_open(&c->loras[c->n_loras], o->loras[c->n_loras],
                      o->loras[c->n_loras], 0, err));
    if (c->n_loras == 0)
        return UNSTIR_OK;
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        TRY(derive_part(c, i, &n_touched, err));
    if (n_touched == 0)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the LoRAs touch no layer of this model: they were "
                         "made for another kind");
    json_put_int(c->report, "changed_by_loras", (int64_t)n_touched);
    return UNSTIR_OK;
}

/* -- writing a folder -------------------------------------------------- */

static const struct safetensors_meta torch_meta = {"format", "pt"};

static enum unstir_status write_part(struct conversion *c, size_t i,
                                     struct unstir_error *err)
{
    const struct part *part = &c->parts[i];
    char folder[MAX_PATH_BYTES], path[MAX_PATH_BYTES], name[64];

    if (!part->weights)
        return UNSTIR_OK;
    TRY(join(folder, c->options->output, part_files[i].folder, err));
    TRY(make_folder(folder, err));
    TRY(write_text(folder, "config.json", part->config, strlen(part->config),
                   err));
    snprintf(name, sizeof name, "%s" EXTENSION, part_files[i].stem);
    TRY(join(path, folder, name, err));
    return weights_write(path, part->weights, c->has_dtype ? &c->dtype : NULL,
                         &torch_meta, 1, err);
}

static enum unstir_status copy_plain_files(const struct conversion *c,
                                           struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(plain_files); i++) {
        char path[MAX_PATH_BYTES], *text;
        enum unstir_status status;
        size_t n;

        TRY(join(path, c->options->input, plain_files[i], err));
        if (!exists(path))
            continue;
        TRY(mapfile_read(&text, &n, path, MAX_CONFIG_BYTES, err));
        status = write_text(c->options->output, plain_files[i], text, n, err);
        alloc_free(text);
        if (status != UNSTIR_OK)
            return status;
    }
    return UNSTIR_OK;
}

/* -- model_index.json ------------------------------------------------------ */

static void put_component(struct json_writer *w, const char *name,
                          const char *library, const char *class_name)
{
    json_open_array(w, name);
    json_put_string(w, NULL, library);
    json_put_string(w, NULL, class_name);
    json_close(w);
}

/* The part whose entry, or whose tokenizer's, that is. */
static size_t part_of_key(const char *key)
{
    static const char *const tokenizers[SINGLE_FILE_PARTS] = {
        [SINGLE_FILE_TEXT] = "tokenizer", [SINGLE_FILE_TEXT_2] = "tokenizer_2"};
    size_t i = 0;

    while (i < SINGLE_FILE_PARTS && strcmp(key, part_files[i].folder) != 0 &&
           (!tokenizers[i] || strcmp(key, tokenizers[i]) != 0))
        i++;
    return i;
}

static enum unstir_status put_given(struct json_writer *w,
                                    const struct part *part, size_t i,
                                    struct unstir_error *err)
{
    const struct json *name;
    struct json *config;

    TRY(json_parse(&config, part->config, strlen(part->config), err));
    name = i == SINGLE_FILE_VAE ? json_get(config, "_class_name")
                                : json_at(json_get(config, "architectures"), 0);
    put_component(w, part_files[i].folder,
                  i == SINGLE_FILE_VAE ? "diffusers" : "transformers",
                  json_string(name));
    if (i != SINGLE_FILE_VAE)
        put_component(w, i == SINGLE_FILE_TEXT ? "tokenizer" : "tokenizer_2",
                      "transformers", "CLIPTokenizer");
    json_free(config);
    return UNSTIR_OK;
}

/* With the entries of what is given in place of those that there are. */
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

        if (part == SINGLE_FILE_PARTS || !c->parts[part].is_given)
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
    enum unstir_status status;
    struct json_writer *w;
    char *text;

    TRY(json_writer_new(&w, err));
    status = put_index(c, w, index, err);
    if (status != UNSTIR_OK) {
        json_writer_free(w);
        return status;
    }
    TRY(json_finish(&text, w, true, err));
    status = write_text(c->options->output, "model_index.json", text,
                        strlen(text), err);
    alloc_free(text);
    return status;
}

/* -- the standard tokenizer as files ----------------------------------- */

static enum unstir_status vocab_text(char **text, const struct bpe *b,
                                     struct unstir_error *err)
{
    struct json_writer *w;
    char name[BPE_MAX_TOKEN_BYTES + 1];

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    for (uint32_t id = 0; id < bpe_info(b)->n_tokens; id++) {
        size_t n;
        const char *token = bpe_token(b, id, &n);

        if (!token)
            continue;
        memcpy(name, token, n);
        name[n] = '\0';
        json_put_int(w, name, id);
    }
    json_close(w);
    return json_finish(text, w, false, err);
}

/* The encoders of OpenCLIP pad with "!", which has number 0. */
static enum unstir_status tokenizer_config(char **text, bool is_open_clip,
                                           struct unstir_error *err)
{
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "tokenizer_class", "CLIPTokenizer");
    json_put_int(w, "model_max_length", 77);
    json_put_string(w, "bos_token", "<|startoftext|>");
    json_put_string(w, "eos_token", "<|endoftext|>");
    json_put_string(w, "unk_token", "<|endoftext|>");
    json_put_string(w, "pad_token", is_open_clip ? "!" : "<|endoftext|>");
    json_close(w);
    return json_finish(text, w, true, err);
}

static enum unstir_status write_tokenizer(const struct conversion *c,
                                          const char *name, bool is_open_clip,
                                          const char *vocab, const char *merges,
                                          struct unstir_error *err)
{
    char folder[MAX_PATH_BYTES], *config;
    enum unstir_status status;

    TRY(join(folder, c->options->output, name, err));
    TRY(make_folder(folder, err));
    TRY(write_text(folder, "vocab.json", vocab, strlen(vocab), err));
    TRY(write_text(folder, "merges.txt", merges, strlen(merges), err));
    TRY(tokenizer_config(&config, is_open_clip, err));
    status = write_text(folder, "tokenizer_config.json", config, strlen(config),
                        err);
    alloc_free(config);
    return status;
}

/* The table's own first line names its source; the reference's reader knows
 * only this form of it. */
static enum unstir_status merges_text(char **out, const char *path,
                                      struct unstir_error *err)
{
    static const char version[] = "#version: 0.2";
    enum unstir_status status;
    const char *lines;
    char *text;
    size_t n, size;
    void *memory;

    *out = NULL;
    TRY(mapfile_read(&text, &n, path, BPE_MAX_FILE_BYTES, err));
    lines = strchr(text, '\n');
    size = sizeof version + (lines ? strlen(lines) : 0);
    status = alloc_zero(&memory, size, 1, err);
    if (status == UNSTIR_OK) {
        snprintf(memory, size, "%s%s", version, lines ? lines : "");
        *out = memory;
    }
    alloc_free(text);
    return status;
}

/* A text encoder that came without one. */
static bool lacks_tokenizer(const struct conversion *c, size_t i)
{
    char path[MAX_PATH_BYTES];

    if (!c->parts[i].weights)
        return false;
    return c->is_from_file ||
           join(path, c->options->input,
                i == SINGLE_FILE_TEXT ? "tokenizer" : "tokenizer_2",
                NULL) != UNSTIR_OK ||
           !is_folder(path);
}

static enum unstir_status write_both(const struct conversion *c,
                                     const char *vocab, const char *merges,
                                     struct unstir_error *err)
{
    if (lacks_tokenizer(c, SINGLE_FILE_TEXT))
        TRY(write_tokenizer(c, "tokenizer", c->is_open_clip, vocab, merges,
                            err));
    if (lacks_tokenizer(c, SINGLE_FILE_TEXT_2))
        TRY(write_tokenizer(c, "tokenizer_2", true, vocab, merges, err));
    return UNSTIR_OK;
}

static enum unstir_status write_tokenizers(const struct conversion *c,
                                           struct unstir_error *err)
{
    const char *path = c->options->merges_path;
    char *vocab = NULL, *merges = NULL;
    enum unstir_status status;
    struct bpe *b = NULL;

    if (!lacks_tokenizer(c, SINGLE_FILE_TEXT) &&
        !lacks_tokenizer(c, SINGLE_FILE_TEXT_2))
        return UNSTIR_OK;
    if (!path)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a single file has no tokenizer, and the path of the "
                         "standard one (models/clip-bpe/merges.txt) is not "
                         "known");
    status = bpe_open_merges(&b, path, err);
    if (status == UNSTIR_OK)
        status = vocab_text(&vocab, b, err);
    if (status == UNSTIR_OK)
        status = merges_text(&merges, path, err);
    if (status == UNSTIR_OK)
        status = write_both(c, vocab, merges, err);
    bpe_free(b);
    alloc_free(vocab);
    alloc_free(merges);
    return status;
}

static enum unstir_status write_folder(struct conversion *c,
                                       struct unstir_error *err)
{
    const char *output = c->options->output;

    TRY(make_folder(output, err));
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        TRY(write_part(c, i, err));
    TRY(write_tokenizers(c, err));
    if (c->is_from_file) {
        TRY(write_json(output, "scheduler/scheduler_config.json",
                       c->file.scheduler_config, err));
        return write_index(c, c->file.index, err);
    }
    TRY(copy_plain_files(c, err));
    TRY(read_json(&c->index, c->options->input, "model_index.json", err));
    return c->index ? write_index(c, c->index, err) : UNSTIR_OK;
}

/* -- writing a single file --------------------------------------------- */

static enum unstir_status gather(struct weights *all,
                                 const struct weights *part, const char *folder,
                                 struct unstir_error *err)
{
    for (size_t i = 0; i < weights_len(part); i++) {
        char name[640];

        snprintf(name, sizeof name, "%s.%s", folder, weights_at(part, i)->name);
        TRY(weights_add(all, weights_at(part, i), err));
        TRY(weights_rename(all, weights_len(all) - 1, name, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status write_file(struct conversion *c,
                                     struct unstir_error *err)
{
    bool is_v = c->prediction && strcmp(c->prediction, "v_prediction") == 0;
    const struct safetensors_meta meta[] = {
        torch_meta, {"modelspec.prediction_type", is_v ? "v" : "epsilon"}};
    enum unstir_status status = UNSTIR_OK;
    struct weights *all;

    TRY(weights_new(&all, err));
    for (size_t i = 0; status == UNSTIR_OK && i < SINGLE_FILE_PARTS; i++)
        if (c->parts[i].weights)
            status =
                gather(all, c->parts[i].weights, part_files[i].folder, err);
    if (status == UNSTIR_OK)
        status = weights_seal(all, err);
    if (status == UNSTIR_OK)
        status = weights_write(c->options->output, all,
                               c->has_dtype ? &c->dtype : NULL, meta,
                               ARRAY_LEN(meta), err);
    weights_close(all);
    return status;
}

/* -- the whole --------------------------------------------------------- */

static void report_part(struct conversion *c, size_t i)
{
    const struct weights *w = c->parts[i].weights;
    size_t n = 0;

    if (!w)
        return;
    for (size_t k = 0; k < weights_len(w); k++)
        n += weights_at(w, k)->n;
    json_open_object(c->report, part_files[i].folder);
    json_put_int(c->report, "tensors", (int64_t)weights_len(w));
    json_put_int(c->report, "parameters", (int64_t)n);
    json_close(c->report);
}

static void report(struct conversion *c)
{
    if (c->prediction)
        json_put_string(c->report, "prediction_type", c->prediction);
    json_open_object(c->report, "parts");
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        report_part(c, i);
    json_close(c->report);
    json_open_array(c->report, "notes");
    for (size_t i = 0; i < c->file.n_notes; i++)
        json_put_string(c->report, NULL, c->file.notes[i]);
    json_close(c->report);
}

static enum unstir_status check_options(struct conversion *c,
                                        struct unstir_error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {{"f32", DTYPE_F32}, {"f16", DTYPE_F16}, {"bf16", DTYPE_BF16}};
    const struct unstir_convert_options *o = c->options;

    c->is_to_file = ends_with(o->output, EXTENSION);
    c->is_from_file = !is_folder(o->input);
    if (exists(o->output))
        return error_set(err, UNSTIR_ERR_ARG,
                         "%s: is there already; choose another name or remove "
                         "it",
                         o->output);
    for (size_t i = 0; o->dtype && i < ARRAY_LEN(types); i++) {
        if (strcmp(o->dtype, types[i].name) == 0) {
            c->has_dtype = true;
            c->dtype = types[i].dtype;
        }
    }
    if (o->dtype && !c->has_dtype)
        return error_set(err, UNSTIR_ERR_ARG,
                         "number format \"%.40s\"; allowed: f32, f16, bf16",
                         o->dtype);
    return UNSTIR_OK;
}

static enum unstir_status run(struct conversion *c, struct unstir_error *err)
{
    TRY(check_options(c, err));
    TRY(c->is_from_file ? read_file_parts(c, err) : read_folder_parts(c, err));
    TRY(take_given(c, err));
    TRY(find_open_clip(c, err));
    TRY(add_loras(c, err));
    TRY(c->is_to_file ? write_file(c, err) : write_folder(c, err));
    report(c);
    return UNSTIR_OK;
}

static void conversion_fini(struct conversion *c)
{
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        weights_close(c->parts[i].derived);
        weights_close(c->parts[i].opened);
        alloc_free(c->parts[i].config);
    }
    for (size_t i = 0; i < c->n_loras; i++)
        lora_close(&c->loras[i]);
    single_file_close(&c->file);
    model_parts_close(&c->given);
    json_free(c->index);
    json_free(c->scheduler);
    json_writer_free(c->report);
}

enum unstir_status convert_model(const struct unstir_convert_options *options,
                                 char **report_text, struct unstir_error *err)
{
    struct conversion c = {.options = options};
    enum unstir_status status;

    *report_text = NULL;
    TRY(json_writer_new(&c.report, err));
    json_open_object(c.report, NULL);
    status = run(&c, err);
    if (status == UNSTIR_OK) {
        json_close(c.report);
        status = json_finish(report_text, c.report, true, err);
        c.report = NULL;
    }
    conversion_fini(&c);
    return status;
}
