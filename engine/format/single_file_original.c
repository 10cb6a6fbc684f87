/* single_file_original.c - a whole model under its original names.
 *
 * A name is made by table and then read again by single_file_target(): it must
 * give the name that it was made of, so that a file which is written is one
 * that is read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/single_file_original.h"

#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "format/single_file_names.h"
#include "format/weights_build.h"

#define TEXT_PREFIX "text_model."
#define NAME_BYTES  SINGLE_FILE_NAME_BYTES

static const struct single_file_renaming vae_resnet_rows[] = {
    {"norm1.", "norm1."},
    {"conv1.", "conv1."},
    {"norm2.", "norm2."},
    {"conv2.", "conv2."},
    {"nin_shortcut.", "conv_shortcut."},
};
static const struct single_file_renamings vae_resnet_names = {
    vae_resnet_rows, ARRAY_LEN(vae_resnet_rows)};

/* What the writing of one part depends on. */
struct part {
    enum single_file_part_id id;
    const struct weights *weights;
    struct single_file_layout layout;
};

/* -- names ----------------------------------------------------------------- */

static bool to_old(char out[NAME_BYTES], const char *prefix, const char *name,
                   const struct single_file_renamings *table)
{
    return single_file_rename(out, prefix, name, table, true);
}

/* "<word>.N." in front of *text, which moves behind it. */
static bool take_word(const char **text, const char *word, unsigned *number)
{
    const char *rest;

    if (!affix_strip(*text, word, &rest) || *rest++ != '.' ||
        !single_file_number(&rest, number) || *rest++ != '.')
        return false;
    *text = rest;
    return true;
}

/* Upsamplers stand behind the attention of their level, if it has one. */
static bool has_attention(const struct weights *w, unsigned up_level)
{
    char prefix[64];
    const char *rest;

    snprintf(prefix, sizeof prefix, "up_blocks.%u.attentions.", up_level);
    for (size_t i = 0; i < weights_len(w); i++)
        if (affix_strip(weights_at(w, i)->name, prefix, &rest))
            return true;
    return false;
}

static bool unet_level(char out[NAME_BYTES], const struct part *p, bool is_down,
                       unsigned level, const char *rest)
{
    unsigned layers = p->layout.unet_layers + 1, layer, first = is_down;
    const char *side = is_down ? "input_blocks" : "output_blocks";
    char prefix[64];

    first += level * layers;
    if (take_word(&rest, "resnets", &layer)) {
        snprintf(prefix, sizeof prefix, "%s.%u.0.", side, first + layer);
        return to_old(out, prefix, rest, &single_file_resnet_names);
    }
    if (take_word(&rest, "attentions", &layer)) {
        snprintf(out, NAME_BYTES, "%s.%u.1.%s", side, first + layer, rest);
        return true;
    }
    if (affix_strip(rest, "downsamplers.0.conv.", &rest)) {
        snprintf(out, NAME_BYTES, "%s.%u.0.op.%s", side, first + layers - 1,
                 rest);
        return is_down;
    }
    if (!affix_strip(rest, "upsamplers.0.conv.", &rest))
        return false;
    snprintf(out, NAME_BYTES, "%s.%u.%d.conv.%s", side, first + layers - 1,
             has_attention(p->weights, level) ? 2 : 1, rest);
    return !is_down;
}

static bool unet_name(char out[NAME_BYTES], const struct part *p,
                      const char *name)
{
    unsigned i;

    if (to_old(out, "", name, &single_file_unet_names))
        return true;
    if (take_word(&name, "mid_block.resnets", &i))
        return i < 2 && to_old(out, i ? "middle_block.2." : "middle_block.0.",
                               name, &single_file_resnet_names);
    if (take_word(&name, "down_blocks", &i))
        return unet_level(out, p, true, i, name);
    return take_word(&name, "up_blocks", &i) &&
           unet_level(out, p, false, i, name);
}

static bool vae_level(char out[NAME_BYTES], const char *half, const char *side,
                      unsigned level, const char *rest)
{
    char prefix[96];
    unsigned layer;

    if (take_word(&rest, "resnets", &layer)) {
        snprintf(prefix, sizeof prefix, "%s.%s.%u.block.%u.", half, side, level,
                 layer);
        return to_old(out, prefix, rest, &vae_resnet_names);
    }
    snprintf(prefix, sizeof prefix, "%ssamplers.0.", side);
    if (!affix_strip(rest, prefix, &rest))
        return false;
    snprintf(out, NAME_BYTES, "%s.%s.%u.%ssample.%s", half, side, level, side,
             rest);
    return true;
}

static bool vae_half(char out[NAME_BYTES], const char *half, const char *rest,
                     unsigned n_levels)
{
    const char *tail;
    char prefix[96];
    unsigned i;

    if (take_word(&rest, "down_blocks", &i))
        return vae_level(out, half, "down", i, rest);
    if (take_word(&rest, "up_blocks", &i))
        return i < n_levels &&
               vae_level(out, half, "up", n_levels - 1 - i, rest);
    if (take_word(&rest, "mid_block.resnets", &i)) {
        snprintf(prefix, sizeof prefix, "%s.mid.block_%u.", half, i + 1);
        return to_old(out, prefix, rest, &vae_resnet_names);
    }
    if (take_word(&rest, "mid_block.attentions", &i)) {
        snprintf(prefix, sizeof prefix, "%s.mid.attn_1.", half);
        return i == 0 &&
               to_old(out, prefix, rest, &single_file_vae_attention_names);
    }
    if (affix_strip(rest, "conv_norm_out.", &tail))
        snprintf(out, NAME_BYTES, "%s.norm_out.%s", half, tail);
    else
        snprintf(out, NAME_BYTES, "%s.%s", half, rest);
    return affix_strip(rest, "conv_", &tail);
}

static bool vae_name(char out[NAME_BYTES], const struct part *p,
                     const char *name)
{
    const char *rest;

    if (affix_strip(name, "encoder.", &rest))
        return vae_half(out, "encoder", rest, p->layout.vae_levels);
    if (affix_strip(name, "decoder.", &rest))
        return vae_half(out, "decoder", rest, p->layout.vae_levels);
    snprintf(out, NAME_BYTES, "%s", name);
    return affix_strip(name, "quant_conv.", &rest) ||
           affix_strip(name, "post_quant_conv.", &rest);
}

static bool open_clip_name(char out[NAME_BYTES], const char *name)
{
    const char *rest;
    char prefix[96];
    unsigned layer;

    if (strcmp(name, "text_projection.weight") == 0) {
        snprintf(out, NAME_BYTES, "text_projection");
        return true;
    }
    (void)affix_strip(name, TEXT_PREFIX, &name);
    if (!take_word(&name, "encoder.layers", &layer))
        return to_old(out, "", name, &single_file_open_clip_names);
    snprintf(prefix, sizeof prefix, "transformer.resblocks.%u.", layer);
    if (affix_strip(name, "self_attn.q_proj.", &rest)) {
        snprintf(out, NAME_BYTES, "%sattn.in_proj_%s", prefix, rest);
        return true; /* with k and v behind it */
    }
    return to_old(out, prefix, name, &single_file_open_clip_layer_names);
}

static bool clip_name(char out[NAME_BYTES], const char *name)
{
    (void)affix_strip(name, TEXT_PREFIX, &name);
    snprintf(out, NAME_BYTES, TEXT_PREFIX "%s", name);
    return true;
}

static const char *prefix_of(const struct part *p)
{
    static const char *const texts[] = {
        [SINGLE_FILE_SD1] = "cond_stage_model.transformer.",
        [SINGLE_FILE_SD2] = "cond_stage_model.model.",
        [SINGLE_FILE_SDXL] = "conditioner.embedders.0.transformer.",
        [SINGLE_FILE_REFINER] = "conditioner.embedders.0.transformer.",
    };

    if (p->id == SINGLE_FILE_UNET)
        return "model.diffusion_model.";
    if (p->id == SINGLE_FILE_VAE)
        return "first_stage_model.";
    if (p->id == SINGLE_FILE_TEXT)
        return texts[p->layout.kind];
    return p->layout.kind == SINGLE_FILE_REFINER
               ? "conditioner.embedders.0.model."
               : "conditioner.embedders.1.model.";
}

static bool is_open_clip(const struct part *p)
{
    return p->id == SINGLE_FILE_TEXT_2 ||
           (p->id == SINGLE_FILE_TEXT && p->layout.kind == SINGLE_FILE_SD2);
}

static bool make_name(char out[NAME_BYTES], const struct part *p,
                      const char *name)
{
    char rest[NAME_BYTES];
    bool is_known;

    if (p->id == SINGLE_FILE_UNET)
        is_known = unet_name(rest, p, name);
    else if (p->id == SINGLE_FILE_VAE)
        is_known = vae_name(rest, p, name);
    else
        is_known = is_open_clip(p) ? open_clip_name(rest, name)
                                   : clip_name(rest, name);
    return is_known &&
           snprintf(out, NAME_BYTES, "%s%s", prefix_of(p), rest) < NAME_BYTES;
}

/* Whether the reader makes the old name of the new one again. */
static bool is_read_back(const struct part *p, const char *original,
                         const char *name, struct single_file_target *target)
{
    const char *got = target->name;
    char *mark;

    if (!single_file_target(target, original, &p->layout) ||
        target->part != p->id)
        return false;
    mark =
        target->change == CHANGE_SPLIT_QKV ? strchr(target->name, '%') : NULL;
    if (mark) {
        mark[1] = 'q';
        memmove(mark, mark + 1, strlen(mark));
    }
    (void)affix_strip(got, TEXT_PREFIX, &got);
    (void)affix_strip(name, TEXT_PREFIX, &name);
    return strcmp(got, name) == 0;
}

/* -- tensors --------------------------------------------------------------- */

static enum unstir_status add_named(struct weights *out,
                                    const struct tensor_view *t,
                                    const char *name, struct unstir_error *err)
{
    TRY(weights_add(out, t, err));
    return weights_rename(out, weights_len(out) - 1, name, err);
}

/* Memory for a tensor of that many bytes, which `out` owns. */
static enum unstir_status new_block(struct weights *out, void **memory,
                                    size_t n_bytes, struct unstir_error *err)
{
    struct weights_source source = {.block = NULL};

    TRY(alloc_aligned(memory, n_bytes, 1, err));
    source.block = *memory;
    return weights_add_source(out, &source, err);
}

static bool is_alike(const struct tensor_view *a, const struct tensor_view *b)
{
    return b && a->dtype == b->dtype && a->n_bytes == b->n_bytes &&
           a->n == b->n && a->rank == b->rank && a->rank > 0 &&
           a->dims[0] == b->dims[0];
}

/* The rows of q, k and v, one behind the other; *is_right: k and v are there
 * and fit. */
static enum unstir_status add_joined(struct weights *out, const struct part *p,
                                     const struct tensor_view *q,
                                     const char *name, bool *is_right,
                                     struct unstir_error *err)
{
    struct tensor_view all = *q;
    const struct tensor_view *three[3] = {q, NULL, NULL};
    char other[NAME_BYTES];
    void *memory;

    snprintf(other, sizeof other, "%s", q->name);
    for (int i = 1; i < 3; i++) {
        *strstr(other, i == 1 ? "q_proj." : "k_proj.") = "qkv"[i];
        three[i] = weights_find(p->weights, other);
        if (!is_alike(q, three[i])) {
            *is_right = false;
            return UNSTIR_OK;
        }
    }
    TRY(new_block(out, &memory, 3 * q->n_bytes, err));
    for (size_t i = 0; i < 3; i++)
        memcpy((unsigned char *)memory + i * q->n_bytes, three[i]->data,
               q->n_bytes);
    all.dims[0] *= 3;
    all.n *= 3;
    all.n_bytes *= 3;
    all.data = memory;
    return add_named(out, &all, name, err);
}

static enum unstir_status add_turned(struct weights *out,
                                     const struct tensor_view *t,
                                     const char *name, struct unstir_error *err)
{
    size_t rows = (size_t)t->dims[0], columns = (size_t)t->dims[1];
    size_t size = dtype_size(t->dtype);
    struct tensor_view turned = *t;
    unsigned char *to;
    void *memory;

    TRY(new_block(out, &memory, t->n_bytes, err));
    to = memory;
    for (size_t j = 0; j < columns; j++)
        for (size_t i = 0; i < rows; i++, to += size)
            memcpy(to,
                   (const unsigned char *)t->data + (i * columns + j) * size,
                   size);
    turned.dims[0] = columns;
    turned.dims[1] = rows;
    turned.data = memory;
    return add_named(out, &turned, name, err);
}

/* Comes with q. */
static bool is_k_or_v(const struct part *p, const char *name)
{
    return is_open_clip(p) && (strstr(name, ".self_attn.k_proj.") ||
                               strstr(name, ".self_attn.v_proj."));
}

static enum unstir_status add_tensor(struct weights *out, const struct part *p,
                                     const struct tensor_view *t,
                                     bool *is_original,
                                     struct unstir_error *err)
{
    struct single_file_target target;
    struct tensor_view square = *t;
    char name[NAME_BYTES];

    if (is_k_or_v(p, t->name))
        return UNSTIR_OK;
    *is_original =
        make_name(name, p, t->name) && is_read_back(p, name, t->name, &target);
    if (!*is_original)
        return UNSTIR_OK;
    switch (target.change) {
    case CHANGE_SPLIT_QKV:
        return add_joined(out, p, t, name, is_original, err);
    case CHANGE_TRANSPOSE:
        *is_original = t->rank == 2 && dtype_block(t->dtype) == 1;
        return *is_original ? add_turned(out, t, name, err) : UNSTIR_OK;
    case CHANGE_SQUEEZE: /* a linear layer was a 1x1 convolution */
        if (t->rank == 2) {
            square.rank = 4;
            square.dims[2] = square.dims[3] = 1;
        }
        break;
    case CHANGE_NONE:
        break;
    }
    return add_named(out, &square, name, err);
}

/* -- the whole ------------------------------------------------------------- */

/* How many numbers from 0 the names have that follow `word`. */
static unsigned count(const struct weights *w, const char *word)
{
    unsigned n = 0, i;

    for (size_t k = 0; k < weights_len(w); k++) {
        const char *name = weights_at(w, k)->name;

        if (take_word(&name, word, &i) && i >= n)
            n = i + 1;
    }
    return n;
}

static enum unstir_status add_part(struct weights *out, const struct part *p,
                                   bool *is_original, struct unstir_error *err)
{
    for (size_t i = 0; *is_original && i < weights_len(p->weights); i++)
        TRY(add_tensor(out, p, weights_at(p->weights, i), is_original, err));
    return UNSTIR_OK;
}

static enum unstir_status
add_originals(struct weights *out, bool *is_original,
              const struct weights *const parts[SINGLE_FILE_PARTS],
              enum single_file_kind kind, struct unstir_error *err)
{
    *is_original = true;
    for (int i = 0; i < SINGLE_FILE_PARTS; i++) {
        struct part p = {.id = (enum single_file_part_id)i,
                         .weights = parts[i],
                         .layout = {.kind = kind, .bare = SINGLE_FILE_PARTS}};

        if (!p.weights)
            continue;
        p.layout.unet_layers = count(p.weights, "down_blocks.0.resnets");
        p.layout.vae_levels = count(p.weights, "decoder.up_blocks");
        TRY(add_part(out, &p, is_original, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status
add_plainly(struct weights *out,
            const struct weights *const parts[SINGLE_FILE_PARTS],
            struct unstir_error *err)
{
    char name[NAME_BYTES];

    for (int i = 0; i < SINGLE_FILE_PARTS; i++) {
        for (size_t k = 0; parts[i] && k < weights_len(parts[i]); k++) {
            const struct tensor_view *t = weights_at(parts[i], k);

            snprintf(name, sizeof name, "%s.%s",
                     single_file_part_name((enum single_file_part_id)i),
                     t->name);
            TRY(add_named(out, t, name, err));
        }
    }
    return UNSTIR_OK;
}

enum unstir_status
single_file_assemble(struct weights **out, bool *is_original,
                     const struct weights *const parts[SINGLE_FILE_PARTS],
                     enum single_file_kind kind, struct unstir_error *err)
{
    enum unstir_status status;

    TRY(weights_new(out, err));
    status = add_originals(*out, is_original, parts, kind, err);
    if (status == UNSTIR_OK && !*is_original) {
        weights_close(*out);
        TRY(weights_new(out, err));
        status = add_plainly(*out, parts, err);
    }
    if (status == UNSTIR_OK)
        status = weights_seal(*out, err);
    if (status != UNSTIR_OK) {
        weights_close(*out);
        *out = NULL;
    }
    return status;
}
