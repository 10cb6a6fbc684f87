/* single_file.c - a whole model in one file, seen as a folder.
 *
 * Two passes: the first finds the kind and what names depend on, the second
 * gives every tensor its part and name.  The configurations are then read off
 * the renamed tensors (single_file_config.c), the same for both namings.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/single_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "format/diffusers_pipelines.h"
#include "format/json.h"
#include "format/single_file_config.h"
#include "format/single_file_names.h"
#include "format/weights_build.h"

#define UNET             "model.diffusion_model."
#define SD2_CONTEXT      1024 /* width of a token of its text encoder        */
#define REFINER_CONTEXT  1280
#define SD2_EPSILON_STEP 875000 /* of global_step: the base model's          */
#define MAX_LEVELS       16

static const struct {
    const char *folder, *class_name;
} part_names[SINGLE_FILE_PARTS] = {
    [SINGLE_FILE_UNET] = {"unet", "UNet2DConditionModel"},
    [SINGLE_FILE_VAE] = {"vae", "AutoencoderKL"},
    [SINGLE_FILE_TEXT] = {"text_encoder", "CLIPTextModel"},
    [SINGLE_FILE_TEXT_2] = {"text_encoder_2", "CLIPTextModelWithProjection"},
};

const char *single_file_part_name(enum single_file_part_id part)
{
    return part_names[part].folder;
}

/* -- what it is -------------------------------------------------------- */

static bool has(const struct weights *w, const char *name)
{
    return weights_find(w, name) != NULL;
}

/* The name behind the prefix of a part, or all of one without any. */
static bool strip_part(const struct single_file *f, const char *name,
                       enum single_file_part_id part, const char **rest)
{
    enum single_file_part_id found = single_file_part_of(name, rest);

    if (found != SINGLE_FILE_PARTS)
        return found == part;
    *rest = name;
    return f->bare == part;
}

/* Width of a token that the UNet attends to; 0 if no name tells. */
static uint64_t context_width(const struct single_file *f)
{
    static const char suffix[] = ".transformer_blocks.0.attn2.to_k.weight";

    for (size_t i = 0; i < weights_len(f->file); i++) {
        const struct tensor_view *t = weights_at(f->file, i);
        size_t n = strlen(t->name);
        const char *rest;

        if (n >= sizeof suffix && t->rank == 2 &&
            strcmp(t->name + n - (sizeof suffix - 1), suffix) == 0 &&
            strip_part(f, t->name, SINGLE_FILE_UNET, &rest))
            return t->dims[1];
    }
    return 0;
}

/* In the reference's names: what tells the refiner from SDXL. */
static bool has_text_2_alone(const struct weights *w)
{
    bool has_text = false, has_text_2 = false;
    const char *rest;

    for (size_t i = 0; i < weights_len(w); i++) {
        const char *name = weights_at(w, i)->name;

        has_text |= affix_strip(name, "text_encoder.", &rest);
        has_text_2 |= affix_strip(name, "text_encoder_2.", &rest);
    }
    return has_text_2 && !has_text;
}

/* Numbers beside the text, and more of a token: of the two kinds of SDXL. */
static bool reads_sizes(const struct weights *w)
{
    return has(w, UNET "label_emb.0.0.weight") ||
           has(w, "unet.add_embedding.linear_1.weight") ||
           has(w, "label_emb.0.0.weight") ||
           has(w, "add_embedding.linear_1.weight");
}

static bool has_text(const struct single_file *f)
{
    const char *rest;

    for (size_t i = 0; i < weights_len(f->file); i++) {
        enum single_file_part_id part =
            single_file_part_of(weights_at(f->file, i)->name, &rest);

        if (part == SINGLE_FILE_TEXT || part == SINGLE_FILE_TEXT_2)
            return true;
    }
    return false;
}

/* By the text encoders, else by what the UNet reads. */
static enum single_file_kind kind_of(const struct single_file *f)
{
    const struct weights *w = f->file;

    if (has(w, "conditioner.embedders.1.model.ln_final.weight") ||
        has(w, "text_encoder_2.text_model.final_layer_norm.weight") ||
        has(w, "text_encoder_2.final_layer_norm.weight"))
        return has_text_2_alone(w) ? SINGLE_FILE_REFINER : SINGLE_FILE_SDXL;
    if (has(w, "conditioner.embedders.0.model.ln_final.weight"))
        return SINGLE_FILE_REFINER;
    if (reads_sizes(w))
        return !has_text(f) && context_width(f) == REFINER_CONTEXT
                   ? SINGLE_FILE_REFINER
                   : SINGLE_FILE_SDXL;
    if (has(w, "cond_stage_model.model.ln_final.weight") ||
        context_width(f) == SD2_CONTEXT)
        return SINGLE_FILE_SD2;
    return SINGLE_FILE_SD1;
}

/* What a file without such a network is, by a piece of a tensor's name, and
 * what it is good for. */
static const struct {
    const char *piece, *kind;
} others[] = {
    {".lora_", "a LoRA, which is added to a model: --lora FILE"},
    {"_lora.", "a LoRA, which is added to a model: --lora FILE"},
    {".lora.", "a LoRA, which is added to a model: --lora FILE"},
    {"lora_unet_", "a LoRA, which is added to a model: --lora FILE"},
    {".hada_", "a LoHa, which is not supported"},
    {".lokr_", "a LoKr, which is not supported"},
    {"emb_params", "a textual inversion: a file for embeddings/ beside a "
                   "model"},
    {"clip_g", "a textual inversion: a file for embeddings/ beside a model"},
    {"control_model.", "a ControlNet, which is not supported"},
    {"controlnet_cond_embedding.", "a ControlNet, which is not supported"},
    {"double_blocks.", "a network of Flux, which is not supported"},
    {"joint_blocks.", "a network of Stable Diffusion 3, which is not "
                      "supported"},
    {"transformer_blocks.0.norm1_context.", "a network of Stable Diffusion 3, "
                                            "which is not supported"},
    {"first_stage_model.", "an autoencoder without a UNet, a part for another "
                           "model: --vae FILE"},
    {"decoder.conv_in.", "an autoencoder without a UNet, a part for another "
                         "model: --vae FILE"},
    {"cond_stage_model.", "a text encoder without a UNet, a part for another "
                          "model: --text-encoder FILE"},
    {"text_model.", "a text encoder without a UNet, a part for another model: "
                    "--text-encoder FILE"},
};

static enum unstir_status no_unet(const struct weights *w,
                                  struct unstir_error *err)
{
    for (size_t k = 0; k < ARRAY_LEN(others); k++)
        for (size_t i = 0; i < weights_len(w); i++)
            if (strstr(weights_at(w, i)->name, others[k].piece))
                return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                                 "it is %s (it has tensor \"%.150s\")",
                                 others[k].kind, weights_at(w, i)->name);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "no \"" UNET "input_blocks.0.0.weight\" and no "
                     "\"unet.conv_in.weight\", with or without these "
                     "prefixes; supported: Stable Diffusion 1.x, 2.x and SDXL");
}

static enum unstir_status find_kind(struct single_file *f,
                                    struct unstir_error *err)
{
    const struct weights *w = f->file;

    f->bare = SINGLE_FILE_PARTS;
    if (has(w, "input_blocks.0.0.weight") ||
        (has(w, "conv_in.weight") &&
         has(w, "down_blocks.0.resnets.0.conv1.weight")))
        f->bare = SINGLE_FILE_UNET;
    else if (!has(w, UNET "input_blocks.0.0.weight") &&
             !has(w, "unet.conv_in.weight"))
        return no_unet(w, err);
    f->kind = kind_of(f);
    return UNSTIR_OK;
}

/* The first level ends with a downsampler; a network of one level has none. */
static unsigned unet_layers(const struct single_file *f)
{
    unsigned last = 0, op = 0;

    for (size_t i = 0; i < weights_len(f->file); i++) {
        const char *rest;
        unsigned index;

        if (!strip_part(f, weights_at(f->file, i)->name, SINGLE_FILE_UNET,
                        &rest) ||
            !affix_strip(rest, "input_blocks.", &rest) ||
            !single_file_number(&rest, &index))
            continue;
        if (index > last)
            last = index;
        if (strcmp(rest, ".0.op.weight") == 0 && (op == 0 || index < op))
            op = index;
    }
    if (op > 1)
        return op - 1;
    return last ? last : 1;
}

static unsigned vae_levels(const struct single_file *f)
{
    unsigned n = 0;

    for (size_t i = 0; i < weights_len(f->file); i++) {
        const char *rest;
        unsigned index;

        if (strip_part(f, weights_at(f->file, i)->name, SINGLE_FILE_VAE,
                       &rest) &&
            affix_strip(rest, "decoder.up.", &rest) &&
            single_file_number(&rest, &index) && index >= n &&
            index < MAX_LEVELS)
            n = index + 1;
    }
    return n;
}

/* -- tensors into parts ------------------------------------------------ */

static enum unstir_status add_view(struct single_file *f,
                                   enum single_file_part_id part,
                                   const struct tensor_view *view,
                                   const char *name, struct unstir_error *err)
{
    struct weights *w;

    if (!f->parts[part].weights)
        TRY(weights_new(&f->parts[part].weights, err));
    w = f->parts[part].weights;
    w->lender = f->file;
    TRY(weights_add(w, view, err));
    return weights_rename(w, weights_len(w) - 1, name, err);
}

static enum unstir_status add_split(struct single_file *f,
                                    const struct single_file_target *t,
                                    const struct tensor_view *view,
                                    struct unstir_error *err)
{
    struct tensor_view third = *view;
    char *mark, name[SINGLE_FILE_NAME_BYTES];

    if (view->rank < 1 || view->dims[0] == 0 || view->dims[0] % 3 != 0 ||
        view->n / 3 % dtype_block(view->dtype) != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor %.200s: its rows must be those of q, k and v",
                         view->name);
    third.dims[0] /= 3;
    third.n /= 3;
    third.n_bytes /= 3;
    snprintf(name, sizeof name, "%s", t->name);
    mark = strchr(name, '%');
    memmove(mark, mark + 1, strlen(mark));
    for (size_t i = 0; i < 3; i++) {
        third.data = (const unsigned char *)view->data + i * third.n_bytes;
        *mark = "qkv"[i];
        TRY(add_view(f, t->part, &third, name, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status new_block(struct single_file *f, void **block,
                                    size_t n, size_t size,
                                    struct unstir_error *err)
{
    TRY(alloc_zero(block, n, size, err));
    f->blocks[f->n_blocks++] = *block;
    return UNSTIR_OK;
}

/* Numbers of a block cannot be moved one by one: those of quantised types
 * become f32. */
static enum unstir_status unblock(struct single_file *f,
                                  struct tensor_view *view,
                                  struct unstir_error *err)
{
    void *memory;

    if (dtype_block(view->dtype) == 1)
        return UNSTIR_OK;
    TRY(new_block(f, &memory, view->n, sizeof(float), err));
    dtype_load(memory, view->data, view->dtype, view->n);
    view->data = memory;
    view->dtype = DTYPE_F32;
    view->n_bytes = view->n * sizeof(float);
    return UNSTIR_OK;
}

static enum unstir_status add_transposed(struct single_file *f,
                                         const struct single_file_target *t,
                                         struct tensor_view *view,
                                         struct unstir_error *err)
{
    struct tensor_view turned;
    unsigned char *out;
    void *memory;
    size_t size;

    if (view->rank != 2 || f->n_blocks + 2 > SINGLE_FILE_MAX_BLOCKS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor %.200s: must be a matrix", view->name);
    TRY(unblock(f, view, err));
    TRY(new_block(f, &memory, view->n_bytes, 1, err));
    turned = *view;
    size = dtype_size(view->dtype);
    out = memory;
    for (size_t j = 0; j < view->dims[1]; j++)
        for (size_t i = 0; i < view->dims[0]; i++, out += size)
            memcpy(out,
                   (const unsigned char *)view->data +
                       (i * view->dims[1] + j) * size,
                   size);
    turned.dims[0] = view->dims[1];
    turned.dims[1] = view->dims[0];
    turned.data = memory;
    return add_view(f, t->part, &turned, t->name, err);
}

static enum unstir_status add_tensor(struct single_file *f,
                                     const struct single_file_target *t,
                                     const struct tensor_view *view,
                                     struct unstir_error *err)
{
    struct tensor_view flat = *view;

    switch (t->change) {
    case CHANGE_SPLIT_QKV:
        return add_split(f, t, view, err);
    case CHANGE_TRANSPOSE:
        return add_transposed(f, t, &flat, err);
    case CHANGE_SQUEEZE:
        while (flat.rank > 2 && flat.dims[flat.rank - 1] == 1)
            flat.rank--;
        break;
    case CHANGE_NONE:
        break;
    }
    return add_view(f, t->part, &flat, t->name, err);
}

/* Weights of 8 bits that have a scale beside them are other weights without
 * it. */
static enum unstir_status check_scale(const struct tensor_view *view,
                                      struct unstir_error *err)
{
    static const char *const scales[] = {".scale_weight", ".weight_scale",
                                         "scaled_fp8"};

    for (size_t i = 0; i < ARRAY_LEN(scales); i++)
        if (affix_ends(view->name, scales[i]))
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "tensor %.200s: weights with scales beside them "
                             "are not supported; plain f8, f16 and f32 are",
                             view->name);
    return UNSTIR_OK;
}

static enum unstir_status sort_out(struct single_file *f,
                                   struct unstir_error *err)
{
    struct single_file_layout layout = {.kind = f->kind,
                                        .bare = f->bare,
                                        .is_bare_open_clip =
                                            has(f->file, "ln_final.weight"),
                                        .unet_layers = unet_layers(f),
                                        .vae_levels = vae_levels(f)};
    struct single_file_target target;
    size_t n_unused = 0;

    for (size_t i = 0; i < weights_len(f->file); i++) {
        const struct tensor_view *view = weights_at(f->file, i);

        TRY(check_scale(view, err));
        if (single_file_target(&target, view->name, &layout))
            TRY(add_tensor(f, &target, view, err));
        else
            n_unused++;
    }
    if (n_unused)
        TRY(notes_add(&f->notes, err, "%zu tensors of the file are not used",
                      n_unused));
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        if (f->parts[i].weights)
            TRY(weights_seal(f->parts[i].weights, err));
    return UNSTIR_OK;
}

/* -- prediction -------------------------------------------------------- */

static bool is_base_step(const struct weights *w)
{
    const struct tensor_view *t = weights_find(w, "global_step");
    int64_t step;

    if (!t || t->dtype != DTYPE_I64 || t->n != 1)
        return false;
    memcpy(&step, t->data, sizeof step);
    return step == SD2_EPSILON_STEP;
}

static enum unstir_status find_prediction(struct single_file *f,
                                          const char *told,
                                          struct unstir_error *err)
{
    const char *meta = weights_metadata(f->file, "modelspec.prediction_type");
    const char *type = told;

    if (!type && meta)
        type = strcmp(meta, "v") == 0 ? "v_prediction" : meta;
    if (!type && has(f->file, "v_pred"))
        type = "v_prediction";
    if (!type && f->kind == SINGLE_FILE_SD2 && is_base_step(f->file))
        type = "epsilon";
    if (!type && f->kind == SINGLE_FILE_SD2) {
        type = "v_prediction";
        TRY(notes_add(&f->notes, err,
                      "the file does not say what the network predicts; taken: "
                      "v_prediction (base models of SD 2.x: epsilon)"));
    }
    if (!type)
        type = "epsilon";
    if (strcmp(type, "epsilon") == 0)
        f->prediction_type = "epsilon";
    else if (strcmp(type, "v_prediction") == 0)
        f->prediction_type = "v_prediction";
    else
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "prediction type \"%.40s\"; supported: epsilon, "
                         "v_prediction",
                         type);
    return UNSTIR_OK;
}

/* -- few steps --------------------------------------------------------- */

bool single_file_says_few_steps(const char *title)
{
    static const char *const words[] = {"turbo", "lightning"};

    for (size_t i = 0; title && i < ARRAY_LEN(words); i++)
        if (strcasestr(title, words[i]))
            return true;
    return false;
}

static enum unstir_status find_few_steps(struct single_file *f,
                                         struct unstir_error *err)
{
    static const char *const keys[] = {"modelspec.title",
                                       "modelspec.architecture"};

    for (size_t i = 0; i < ARRAY_LEN(keys) && !f->is_few_step; i++) {
        const char *title = weights_metadata(f->file, keys[i]);

        f->is_few_step = single_file_says_few_steps(title);
        if (!f->is_few_step)
            continue;
        TRY(notes_add(&f->notes, err,
                      "taken for a model of few steps without guidance: its "
                      "title is \"%.60s\"",
                      title));
    }
    return UNSTIR_OK;
}

/* -- opening ----------------------------------------------------------- */

static void name_parts(struct single_file *f)
{
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        f->parts[i].folder = part_names[i].folder;
        f->parts[i].class_name = part_names[i].class_name;
    }
}

static enum unstir_status fill(struct single_file *f, const char *told,
                               struct unstir_error *err)
{
    TRY(find_kind(f, err));
    name_parts(f);
    TRY(sort_out(f, err));
    TRY(find_prediction(f, told, err));
    TRY(find_few_steps(f, err));
    return single_file_configure(f, err);
}

enum unstir_status single_file_from_weights(struct single_file *f,
                                            struct weights *file,
                                            const char *prediction_type,
                                            struct unstir_error *err)
{
    enum unstir_status status;

    *f = (struct single_file){.file = file};
    status = fill(f, prediction_type, err);
    if (status != UNSTIR_OK)
        single_file_close(f);
    return status;
}

enum unstir_status single_file_open(struct single_file *f, const char *path,
                                    const char *prediction_type,
                                    struct unstir_error *err)
{
    enum unstir_status status;
    struct weights *file;

    *f = (struct single_file){.file = NULL};
    TRY(weights_open(&file, path, err));
    status = single_file_from_weights(f, file, prediction_type, err);
    return error_prefix(status, path, err);
}

/* A file in which no name has the part's prefix has it without. */
static enum unstir_status fill_part(struct single_file *f,
                                    enum single_file_part_id part,
                                    struct unstir_error *err)
{
    bool has_prefix = false;
    const char *rest;

    for (size_t i = 0; i < weights_len(f->file); i++)
        has_prefix |=
            single_file_part_of(weights_at(f->file, i)->name, &rest) == part;
    f->bare = has_prefix ? SINGLE_FILE_PARTS : part;
    name_parts(f);
    TRY(sort_out(f, err));
    if (!f->parts[part].weights)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "it has no tensors of a %s", part_names[part].folder);
    return single_file_configure_part(f, part, err);
}

enum unstir_status single_file_open_part(struct single_file *f,
                                         const char *path,
                                         enum single_file_part_id part,
                                         enum single_file_kind kind,
                                         struct unstir_error *err)
{
    enum unstir_status status;

    *f = (struct single_file){.kind = kind, .prediction_type = "epsilon"};
    TRY(weights_open(&f->file, path, err));
    status = fill_part(f, part, err);
    if (status != UNSTIR_OK)
        single_file_close(f);
    return error_prefix(status, path, err);
}

enum unstir_status single_file_patch(struct single_file *f,
                                     struct unstir_error *err)
{
    const struct diffusers_pipeline *p =
        diffusers_pipeline_find(json_string(json_get(f->index, "_class_name")));

    if (!p || !p->patches)
        return UNSTIR_OK;
    TRY(diffusers_patch_scheduler(&f->scheduler_config, p->patches, err));
    return diffusers_patch_unet(&f->parts[SINGLE_FILE_UNET].config, err);
}

void single_file_close(struct single_file *f)
{
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        weights_close(f->parts[i].weights);
        json_free(f->parts[i].config);
    }
    notes_fini(&f->notes);
    for (size_t i = 0; i < f->n_blocks; i++)
        alloc_free(f->blocks[i]);
    json_free(f->index);
    json_free(f->scheduler_config);
    weights_close(f->file);
    *f = (struct single_file){.file = NULL};
}
