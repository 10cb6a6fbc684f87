/* convert.c - a model rewritten: reading it.
 *
 * Both layouts are read into one form: parts with weights and configuration.
 * Parts from elsewhere take the place of its own, LoRAs make derived weights
 * of the parts they touch; then convert_write.c writes them, tensor by tensor,
 * as a folder or as one file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/convert.h"

#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "format/lora_details.h"
#include "format/weights.h"
#include "model/lora_derive.h"
#include "pipeline/convert_inside.h"

#define EXTENSION       ".safetensors"
#define STANDARD_TOKENS 49408 /* of CLIP's tokenizer                        */

static enum unstir_status read_json(struct json **out, const char *folder,
                                    const char *name, struct unstir_error *err)
{
    char path[PATH_BYTES];

    *out = NULL;
    TRY(path_join(path, folder, name, err));
    if (!path_exists(path))
        return UNSTIR_OK;
    return json_read(out, path, CONVERT_CONFIG_BYTES, err);
}

/* -- a single file --------------------------------------------------------- */

/* What its network predicts is told by the option, else by unstir.json. */
static enum unstir_status open_file(struct conversion *c,
                                    struct unstir_error *err)
{
    const char *prediction = c->options->prediction_type;

    if (!prediction)
        TRY(error_within(json_get_string(c->companion, "prediction_type", NULL,
                                         &prediction, err),
                         c->companion_from, err));
    return single_file_open(&c->file, c->options->input, prediction, err);
}

static enum unstir_status read_file(struct conversion *c,
                                    struct unstir_error *err)
{
    TRY(companion_path(c->companion_from, c->options->input, err));
    TRY(companion_read(&c->companion, c->companion_from, err));
    TRY(open_file(c, err));
    c->prediction = c->file.prediction_type;
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        if (!c->file.parts[i].weights)
            continue;
        c->parts[i].weights = c->file.parts[i].weights;
        TRY(convert_json_to_text(&c->parts[i].config, c->file.parts[i].config,
                                 err));
    }
    return UNSTIR_OK;
}

/* -- a folder -------------------------------------------------------------- */

/* Old repositories of one network keep it at the root: the configuration there
 * is a UNet's. */
static enum unstir_status find_root(struct conversion *c,
                                    struct unstir_error *err)
{
    const char *input = c->options->input;
    char path[PATH_BYTES];
    struct json *config;

    TRY(path_join(path, input, single_file_part_name(SINGLE_FILE_UNET), err));
    if (path_is_folder(path))
        return UNSTIR_OK;
    TRY(read_json(&config, input, "config.json", err));
    c->has_root =
        affix_begins(json_string(json_get(config, "_class_name")), "UNet2D");
    json_free(config);
    return UNSTIR_OK;
}

/* The folder of a part: the root, or that of its name. */
static enum unstir_status find_part(char out[PATH_BYTES],
                                    const struct conversion *c,
                                    enum single_file_part_id id,
                                    struct unstir_error *err)
{
    if (id == SINGLE_FILE_UNET && c->has_root) {
        snprintf(out, PATH_BYTES, "%s", c->options->input);
        return UNSTIR_OK;
    }
    return path_join(out, c->options->input, single_file_part_name(id), err);
}

static enum unstir_status read_folder_part(struct conversion *c,
                                           enum single_file_part_id id,
                                           struct unstir_error *err)
{
    struct conversion_part *part = &c->parts[id];
    char folder[PATH_BYTES], path[PATH_BYTES];
    size_t n;

    TRY(find_part(folder, c, id, err));
    TRY(path_join(path, folder, "config.json", err));
    if (!path_exists(path))
        return UNSTIR_OK;
    TRY(mapfile_read(&part->config, &n, path, CONVERT_CONFIG_BYTES, err));
    TRY(diffusers_folder_weights(&part->opened, folder, convert_stem(id), err));
    part->weights = part->opened;
    return UNSTIR_OK;
}

/* Parts that no picture needs are left out; another one that is not known would
 * be missing. */
static enum unstir_status check_index(const struct json *index,
                                      struct unstir_error *err)
{
    static const char *const known[] = {"scheduler", "tokenizer",
                                        "tokenizer_2"};
    const struct json *value;
    const char *key;
    size_t at = 0;

    while (json_each(index, &at, &key, &value)) {
        bool is_known = json_type(value) != JSON_ARRAY ||
                        json_type(json_at(value, 0)) != JSON_STRING ||
                        convert_leaves_out(key);

        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            is_known |= strcmp(key, known[i]) == 0;
        for (int i = 0; i < SINGLE_FILE_PARTS; i++)
            is_known |=
                strcmp(key,
                       single_file_part_name((enum single_file_part_id)i)) == 0;
        if (!is_known)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "model_index.json: \"%.80s\" is no part that is "
                             "rewritten (unet, vae, text_encoder, "
                             "text_encoder_2)",
                             key);
    }
    return UNSTIR_OK;
}

static enum unstir_status read_folder(struct conversion *c,
                                      struct unstir_error *err)
{
    const char *input = c->options->input;
    bool has_any = false;

    if (c->options->prediction_type)
        return error_set(err, UNSTIR_ERR_ARG,
                         "what a folder's network predicts stands in its "
                         "scheduler_config.json; it is told for single files "
                         "only");
    TRY(find_root(c, err));
    for (int i = 0; i < SINGLE_FILE_PARTS; i++) {
        TRY(read_folder_part(c, (enum single_file_part_id)i, err));
        has_any |= c->parts[i].weights != NULL;
    }
    if (!has_any)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%s: no unet/config.json, none of vae, text_encoder, "
                         "text_encoder_2, and no config.json of a UNet",
                         input);
    TRY(path_join(c->companion_from, input, "unstir.json", err));
    TRY(companion_read(&c->companion, c->companion_from, err));
    TRY(read_json(&c->index, input, "model_index.json", err));
    TRY(error_within(check_index(c->index, err), input, err));
    TRY(read_json(&c->scheduler, input,
                  c->has_root ? "scheduler_config.json"
                              : "scheduler/scheduler_config.json",
                  err));
    return json_get_string(c->scheduler, "prediction_type", "epsilon",
                           &c->prediction, err);
}

/* -- parts from elsewhere -------------------------------------------------- */

static enum unstir_status take_part(struct conversion *c, size_t i,
                                    const struct model_part *given,
                                    struct unstir_error *err)
{
    struct conversion_part *part = &c->parts[i];

    if (!given->config)
        return UNSTIR_OK;
    alloc_free(part->config);
    part->config = NULL;
    TRY(convert_json_to_text(&part->config, given->config, err));
    part->weights = given->weights;
    part->is_given = true;
    return UNSTIR_OK;
}

/* By the options, else by unstir.json. */
static enum unstir_status read_wish(struct conversion *c,
                                    struct model_parts_wish *wish,
                                    struct unstir_error *err)
{
    const struct unstir_convert_options *o = c->options;

    *wish = (struct model_parts_wish){
        o->vae, {o->text_encoders[0], o->text_encoders[1]}};
    TRY(alloc_zero(&c->companion_parts, 1, sizeof *c->companion_parts, err));
    return companion_wish(wish, c->companion_parts, c->companion,
                          c->companion_from, err);
}

static enum unstir_status take_given(struct conversion *c,
                                     struct unstir_error *err)
{
    const char *config = c->parts[SINGLE_FILE_UNET].config;
    struct model_parts_wish wish;
    enum unstir_status status;
    struct json *unet;

    TRY(read_wish(c, &wish, err));
    if (!wish.vae && !wish.texts[0])
        return UNSTIR_OK;
    if (!config)
        return error_set(err, UNSTIR_ERR_ARG,
                         "%s: has no unet, whose configuration tells what "
                         "the parts given must be",
                         c->options->input);
    TRY(json_parse(&unet, config, strlen(config), err));
    status = model_parts_open(&c->given, &wish, unet, err);
    json_free(unet);
    if (status == UNSTIR_OK)
        status = take_part(c, SINGLE_FILE_VAE, &c->given.vae, err);
    for (size_t i = 0; status == UNSTIR_OK && i < CONDITIONING_ENCODERS; i++)
        status = take_part(c, SINGLE_FILE_TEXT + i, &c->given.texts[i], err);
    return status;
}

/* -- the kind -------------------------------------------------------------- */

/* Single files are of text to picture; by the network's class and what it
 * reads, of small models by their encoders: the refiner has the second alone,
 * 2.x one of OpenCLIP. */
static enum unstir_status find_folder_kind(struct conversion *c,
                                           const struct json *unet,
                                           struct unstir_error *err)
{
    const char *text = c->parts[SINGLE_FILE_TEXT].config;
    const char *name = json_string(json_get(unet, "_class_name"));
    struct json *config;

    if (c->is_to_file && strcmp(name, "UNet2DConditionModel") != 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%s: a network of the class \"%.60s\" has no form as "
                         "a single file; UNet2DConditionModel has",
                         c->options->input, name);
    c->kind = model_parts_kind(unet);
    if (c->kind == SINGLE_FILE_SDXL && !text &&
        c->parts[SINGLE_FILE_TEXT_2].config)
        c->kind = SINGLE_FILE_REFINER;
    if (c->kind != SINGLE_FILE_SD1 || !text)
        return UNSTIR_OK;
    TRY(json_parse(&config, text, strlen(text), err));
    if (strcmp(json_string(json_get(config, "hidden_act")), "gelu") == 0)
        c->kind = SINGLE_FILE_SD2;
    json_free(config);
    return UNSTIR_OK;
}

static enum unstir_status find_kind(struct conversion *c,
                                    struct unstir_error *err)
{
    const char *text = c->parts[SINGLE_FILE_UNET].config;
    enum unstir_status status;
    struct json *unet;

    if (c->is_from_file)
        c->kind = c->file.kind;
    if (c->is_from_file || !text)
        return UNSTIR_OK;
    TRY(json_parse(&unet, text, strlen(text), err));
    status = find_folder_kind(c, unet, err);
    json_free(unet);
    return status;
}

static const char *text_of(const struct json *object, const char *key)
{
    return json_string(json_get(object, key));
}

/* A model that was distilled says so in its title, or in the name that its
 * folder was loaded from: of that the last piece. */
static void find_title(struct conversion *c)
{
    const char *name = c->is_from_file
                           ? weights_metadata(c->file.file, "modelspec.title")
                           : text_of(c->index, "_name_or_path");
    const char *slash = name ? strrchr(name, '/') : NULL;

    if (slash)
        name = slash + 1;
    c->title = single_file_says_few_steps(name) ? name : NULL;
}

/* -- LoRAs ------------------------------------------------------------- */

static bool is_given_up(void *conversion)
{
    return !convert_goes_on(conversion);
}

static enum unstir_status derive_part(struct conversion *c, size_t i,
                                      size_t *n_touched,
                                      struct unstir_error *err)
{
    struct conversion_part *part = &c->parts[i];
    struct lora_use uses[CONVERT_MAX_LORAS];
    struct lora_task task = {.part = (enum single_file_part_id)i,
                             .uses = uses,
                             .n_uses = c->n_loras,
                             .is_canceled = is_given_up,
                             .user = c};
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

    if (o->n_loras > CONVERT_MAX_LORAS)
        return error_set(err, UNSTIR_ERR_LIMIT, "%zu LoRAs; at most %d",
                         o->n_loras, CONVERT_MAX_LORAS);
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
                         "made for %s",
                         lora_family_title(lora_family(&c->loras[0])));
    json_put_int(c->report, "changed_by_loras", (int64_t)n_touched);
    return UNSTIR_OK;
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
    json_open_object(c->report,
                     single_file_part_name((enum single_file_part_id)i));
    json_put_int(c->report, "tensors", (int64_t)weights_len(w));
    json_put_int(c->report, "parameters", (int64_t)n);
    json_close(c->report);
}

static void put_note(struct conversion *c, const char *text)
{
    json_put_string(c->report, NULL, text);
    if (c->options->note)
        c->options->note(c->options->note_arg, text);
}

/* Tokens of a text encoder that knows fewer than the standard tokenizer, which
 * single files are read with, has; 0: all know as many. */
static int64_t small_vocabulary(const struct conversion *c)
{
    int64_t n = 0;

    for (size_t i = SINGLE_FILE_TEXT; n == 0 && i <= SINGLE_FILE_TEXT_2; i++) {
        const char *text = c->parts[i].config;
        struct json *config;

        if (!text || json_parse(&config, text, strlen(text), NULL) != UNSTIR_OK)
            continue;
        n = json_int(json_get(config, "vocab_size"));
        if (n >= STANDARD_TOKENS)
            n = 0;
        json_free(config);
    }
    return n;
}

static void report_notes(struct conversion *c)
{
    const struct json *value;
    const char *key;
    char text[160];
    size_t at = 0;

    json_open_array(c->report, "notes");
    for (size_t i = 0; i < c->file.notes.n; i++)
        put_note(c, c->file.notes.texts[i]);
    if (c->is_to_file && !c->has_original_names)
        put_note(c, "tensors have the folder's names: some have no "
                    "original ones");
    while (json_each(c->index, &at, &key, &value)) {
        if (json_type(json_at(value, 0)) != JSON_STRING ||
            !convert_leaves_out(key))
            continue;
        snprintf(text, sizeof text, "%s is left out", key);
        put_note(c, text);
    }
    if (c->is_to_file && small_vocabulary(c) > 0) {
        snprintf(text, sizeof text,
                 "the tokenizer is left out: single files are read with the "
                 "standard one, of %d tokens, and the text encoder knows %d",
                 STANDARD_TOKENS, (int)small_vocabulary(c));
        put_note(c, text);
    }
    if (c->has_left_words) {
        snprintf(text, sizeof text,
                 "embeddings/ of the input is not copied (files: %zu): put "
                 "them into embeddings/ beside the output",
                 c->n_inversions);
        put_note(c, text);
    }
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
    report_notes(c);
}

static enum unstir_status must_be_free(const char *path,
                                       struct unstir_error *err)
{
    if (!path_exists(path))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_ARG,
                     "%s: is there already; choose another name or remove it",
                     path);
}

static enum unstir_status must_have_parent(const char *path,
                                           struct unstir_error *err)
{
    char folder[PATH_BYTES];
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    snprintf(folder, sizeof folder, "%.*s", (int)n, path);
    if (n == 0 || path_is_folder(folder))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_ARG, "%s: there is no folder %s", path,
                     folder);
}

static enum unstir_status check_options(struct conversion *c,
                                        struct unstir_error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {{"f32", DTYPE_F32}, {"f16", DTYPE_F16}, {"bf16", DTYPE_BF16}};
    const struct unstir_convert_options *o = c->options;

    c->is_to_file = affix_ends(o->output, EXTENSION);
    c->is_from_file = !path_is_folder(o->input);
    TRY(must_be_free(o->output, err));
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
    TRY(c->is_from_file ? read_file(c, err) : read_folder(c, err));
    if (c->is_to_file && c->companion) {
        TRY(companion_path(c->companion_to, c->options->output, err));
        TRY(must_be_free(c->companion_to, err));
    }
    TRY(take_given(c, err));
    TRY(find_kind(c, err));
    find_title(c);
    TRY(must_have_parent(c->options->output, err));
    TRY(add_loras(c, err));
    TRY(convert_write(c, err));
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
    json_free(c->companion);
    alloc_free(c->companion_parts);
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
