/* single_file_names.c - original names of tensors to those of the diffusers
 * layout.
 *
 * Checked name by name against the reference's own conversion
 * (diffusers 0.42, loaders/single_file_utils.py): t_single_file.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "base/compiler.h"
#include "format/single_file_names.h"

#define SD2_DROPPED_LAYER 23 /* SD 2.x takes the state before the last layer */

static const struct single_file_renaming unet_names[] = {
    {"time_embed.0.", "time_embedding.linear_1."},
    {"time_embed.2.", "time_embedding.linear_2."},
    {"time_embed.cond_proj.", "time_embedding.cond_proj."},
    {"label_emb.0.0.", "add_embedding.linear_1."},
    {"label_emb.0.2.", "add_embedding.linear_2."},
    {"input_blocks.0.0.", "conv_in."},
    {"out.0.", "conv_norm_out."},
    {"out.2.", "conv_out."},
    {"middle_block.1.", "mid_block.attentions.0."},
};

static const struct single_file_renaming resnet_names[] = {
    {"in_layers.0.", "norm1."},          {"in_layers.2.", "conv1."},
    {"out_layers.0.", "norm2."},         {"out_layers.3.", "conv2."},
    {"emb_layers.1.", "time_emb_proj."}, {"skip_connection.", "conv_shortcut."},
    {"nin_shortcut.", "conv_shortcut."},
};

static const struct single_file_renaming vae_attention_names[] = {
    {"norm.", "group_norm."},
    {"q.", "to_q."},
    {"k.", "to_k."},
    {"v.", "to_v."},
    {"proj_out.", "to_out.0."},
    {"query.", "to_q."},
    {"key.", "to_k."},
    {"value.", "to_v."},
    {"proj_attn.", "to_out.0."},
};

static const struct single_file_renaming open_clip_names[] = {
    {"positional_embedding", "embeddings.position_embedding.weight"},
    {"token_embedding.", "embeddings.token_embedding."},
    {"ln_final.", "final_layer_norm."},
};

static const struct single_file_renaming open_clip_layer_names[] = {
    {"ln_1.", "layer_norm1."},
    {"ln_2.", "layer_norm2."},
    {"mlp.c_fc.", "mlp.fc1."},
    {"mlp.c_proj.", "mlp.fc2."},
    {"attn.out_proj.", "self_attn.out_proj."},
};

#define TABLE(name)                                                \
    const struct single_file_renamings single_file_##name = {name, \
                                                             ARRAY_LEN(name)}
TABLE(unet_names);
TABLE(resnet_names);
TABLE(vae_attention_names);
TABLE(open_clip_names);
TABLE(open_clip_layer_names);

/* -- small things ------------------------------------------------------ */

bool single_file_number(const char **text, unsigned *out)
{
    unsigned digits = 0;

    *out = 0;
    for (; **text >= '0' && **text <= '9'; ++*text, digits++) {
        if (digits == 3)
            return false;
        *out = *out * 10 + (unsigned)(**text - '0');
    }
    return digits > 0;
}

/* A number and the point behind it. */
static bool number_and_point(const char **text, unsigned *out)
{
    return single_file_number(text, out) && *(*text)++ == '.';
}

bool single_file_rename(char out[SINGLE_FILE_NAME_BYTES], const char *prefix,
                        const char *name,
                        const struct single_file_renamings *table, bool to_old)
{
    const char *rest;

    for (size_t i = 0; i < table->n; i++) {
        const struct single_file_renaming *row = &table->rows[i];
        if (!affix_strip(name, to_old ? row->new : row->old, &rest))
            continue;
        snprintf(out, SINGLE_FILE_NAME_BYTES, "%s%s%s", prefix,
                 to_old ? row->old : row->new, rest);
        return true;
    }
    return false;
}

static bool rename_resnet(char out[SINGLE_FILE_NAME_BYTES], const char *prefix,
                          const char *name)
{
    if (!single_file_rename(out, prefix, name, &single_file_resnet_names,
                            false))
        snprintf(out, SINGLE_FILE_NAME_BYTES, "%s%s", prefix, name);
    return true;
}

/* -- UNet -------------------------------------------------------------- */

/* "input_blocks.I.J." or "output_blocks.I.J.": a level's layer. */
static bool unet_block(char out[SINGLE_FILE_NAME_BYTES], const char *side,
                       unsigned index, const char *rest, unsigned layers)
{
    unsigned level = index / layers, layer = index % layers, kind;
    const char *tail;
    char prefix[64];

    if (!number_and_point(&rest, &kind))
        return false;
    if (affix_strip(rest, "op.", &tail)) {
        snprintf(out, SINGLE_FILE_NAME_BYTES,
                 "%s_blocks.%u.downsamplers.0.conv.%s", side, level, tail);
        return true;
    }
    if (kind && affix_strip(rest, "conv.", &tail)) {
        snprintf(out, SINGLE_FILE_NAME_BYTES, "%s_blocks.%u.upsamplers.0.%s",
                 side, level, rest);
        return true;
    }
    snprintf(prefix, sizeof prefix, "%s_blocks.%u.%s.%u.", side, level,
             kind ? "attentions" : "resnets", layer);
    if (kind == 0)
        return rename_resnet(out, prefix, rest);
    snprintf(out, SINGLE_FILE_NAME_BYTES, "%s%s", prefix, rest);
    return kind == 1;
}

static bool unet_name(char out[SINGLE_FILE_NAME_BYTES], const char *name,
                      unsigned layers)
{
    const char *rest;
    unsigned i;

    if (single_file_rename(out, "", name, &single_file_unet_names, false))
        return true;
    if (affix_strip(name, "middle_block.0.", &rest))
        return rename_resnet(out, "mid_block.resnets.0.", rest);
    if (affix_strip(name, "middle_block.2.", &rest))
        return rename_resnet(out, "mid_block.resnets.1.", rest);
    if (affix_strip(name, "input_blocks.", &rest))
        return number_and_point(&rest, &i) && i > 0 &&
               unet_block(out, "down", i - 1, rest, layers + 1);
    if (affix_strip(name, "output_blocks.", &rest))
        return number_and_point(&rest, &i) &&
               unet_block(out, "up", i, rest, layers + 1);
    snprintf(out, SINGLE_FILE_NAME_BYTES, "%s", name);
    return true;
}

/* -- VAE --------------------------------------------------------------- */

/* "down.I.rest" and "up.I.rest" behind "encoder." or "decoder.". */
static bool vae_level(char out[SINGLE_FILE_NAME_BYTES], const char *half,
                      const char *side, unsigned level, const char *rest)
{
    const char *tail;
    char prefix[96];
    unsigned j;

    if (affix_strip(rest, "block.", &rest)) {
        if (!number_and_point(&rest, &j))
            return false;
        snprintf(prefix, sizeof prefix, "%s.%s_blocks.%u.resnets.%u.", half,
                 side, level, j);
        return rename_resnet(out, prefix, rest);
    }
    if (!affix_strip(rest, "downsample.", &tail) &&
        !affix_strip(rest, "upsample.", &tail))
        return false;
    snprintf(out, SINGLE_FILE_NAME_BYTES, "%s.%s_blocks.%u.%ssamplers.0.%s",
             half, side, level, side, tail);
    return true;
}

static bool vae_mid(char out[SINGLE_FILE_NAME_BYTES], const char *half,
                    const char *rest, enum single_file_change *change)
{
    char prefix[96];
    unsigned j;

    if (affix_strip(rest, "block_", &rest)) {
        if (!number_and_point(&rest, &j) || j < 1)
            return false;
        snprintf(prefix, sizeof prefix, "%s.mid_block.resnets.%u.", half,
                 j - 1);
        return rename_resnet(out, prefix, rest);
    }
    if (!affix_strip(rest, "attn_1.", &rest))
        return false;
    *change = CHANGE_SQUEEZE;
    snprintf(prefix, sizeof prefix, "%s.mid_block.attentions.0.", half);
    return single_file_rename(out, prefix, rest,
                              &single_file_vae_attention_names, false);
}

static bool vae_half(char out[SINGLE_FILE_NAME_BYTES], const char *half,
                     const char *rest, unsigned n_levels,
                     enum single_file_change *change)
{
    const char *tail;
    unsigned i;

    if (affix_strip(rest, "down.", &tail))
        return number_and_point(&tail, &i) &&
               vae_level(out, half, "down", i, tail);
    if (affix_strip(rest, "up.", &tail))
        return number_and_point(&tail, &i) && i < n_levels &&
               vae_level(out, half, "up", n_levels - 1 - i, tail);
    if (affix_strip(rest, "mid.", &tail))
        return vae_mid(out, half, tail, change);
    if (affix_strip(rest, "norm_out.", &tail)) {
        snprintf(out, SINGLE_FILE_NAME_BYTES, "%s.conv_norm_out.%s", half,
                 tail);
        return true;
    }
    if (affix_strip(rest, "mid_block.attentions.0.", &tail)) {
        char prefix[96];

        *change = CHANGE_SQUEEZE;
        snprintf(prefix, sizeof prefix, "%s.mid_block.attentions.0.", half);
        if (single_file_rename(out, prefix, tail,
                               &single_file_vae_attention_names, false))
            return true;
    }
    snprintf(out, SINGLE_FILE_NAME_BYTES, "%s.%s", half, rest);
    return true;
}

static bool vae_name(char out[SINGLE_FILE_NAME_BYTES], const char *name,
                     unsigned n_levels, enum single_file_change *change)
{
    const char *rest;

    if (affix_strip(name, "encoder.", &rest))
        return vae_half(out, "encoder", rest, n_levels, change);
    if (affix_strip(name, "decoder.", &rest))
        return vae_half(out, "decoder", rest, n_levels, change);
    snprintf(out, SINGLE_FILE_NAME_BYTES, "%s", name);
    return affix_strip(name, "quant_conv.", &rest) ||
           affix_strip(name, "post_quant_conv.", &rest);
}

/* -- text encoders ----------------------------------------------------- */

/* The names of the reference's classes, but for what writers of GGUF files
 * keep of OpenCLIP: the turned projection, q, k and v in one, and (2.x) the
 * layer whose output nobody reads. */
static bool clip_name(struct single_file_target *t, const char *name,
                      const struct single_file_layout *layout)
{
    const char *rest, *tail = strstr(name, ".self_attn.in_proj.");
    unsigned k;

    if (strcmp(name, "text_model.text_projection") == 0) {
        t->change = CHANGE_TRANSPOSE;
        snprintf(t->name, sizeof t->name, "text_projection.weight");
        return t->part == SINGLE_FILE_TEXT_2;
    }
    if (layout->kind == SINGLE_FILE_SD2 &&
        affix_strip(name, "text_model.encoder.layers.", &rest) &&
        number_and_point(&rest, &k) && k == SD2_DROPPED_LAYER)
        return false;
    if (tail) {
        t->change = CHANGE_SPLIT_QKV;
        snprintf(t->name, sizeof t->name, "%.*s.self_attn.%%c_proj.%.16s",
                 (int)(tail - name), name,
                 tail + strlen(".self_attn.in_proj."));
        return !strchr(name, '%');
    }
    snprintf(t->name, sizeof t->name, "%s", name);
    return !strstr(name, "position_ids") && strcmp(name, "logit_scale") != 0;
}

static bool open_clip_layer(struct single_file_target *t, const char *rest,
                            const struct single_file_layout *layout)
{
    const char *tail;
    char prefix[96];
    unsigned k;

    if (!number_and_point(&rest, &k) ||
        (layout->kind == SINGLE_FILE_SD2 && k == SD2_DROPPED_LAYER))
        return false;
    snprintf(prefix, sizeof prefix, "text_model.encoder.layers.%u.", k);
    if (affix_strip(rest, "attn.in_proj_", &tail)) {
        t->change = CHANGE_SPLIT_QKV;
        snprintf(t->name, sizeof t->name, "%sself_attn.%%c_proj.%.16s", prefix,
                 tail);
        return true;
    }
    return single_file_rename(t->name, prefix, rest,
                              &single_file_open_clip_layer_names, false);
}

static bool open_clip_name(struct single_file_target *t, const char *name,
                           const struct single_file_layout *layout)
{
    const char *rest;

    if (affix_strip(name, "transformer.resblocks.", &rest))
        return open_clip_layer(t, rest, layout);
    if (strcmp(name, "text_projection") == 0 ||
        strcmp(name, "text_projection.weight") == 0) {
        t->change =
            name[strlen("text_projection")] ? CHANGE_NONE : CHANGE_TRANSPOSE;
        snprintf(t->name, sizeof t->name, "text_projection.weight");
        return layout->kind != SINGLE_FILE_SD2;
    }
    return single_file_rename(t->name, "text_model.", name,
                              &single_file_open_clip_names, false);
}

/* -- the whole --------------------------------------------------------- */

enum naming { NAMING_UNET, NAMING_VAE, NAMING_CLIP, NAMING_OPEN_CLIP };

static const struct prefix {
    const char *prefix;
    enum naming naming;
    enum single_file_part_id part;
} prefixes[] = {
    {"model.diffusion_model.", NAMING_UNET, SINGLE_FILE_UNET},
    {"unet.", NAMING_UNET, SINGLE_FILE_UNET},
    {"first_stage_model.", NAMING_VAE, SINGLE_FILE_VAE},
    {"vae.", NAMING_VAE, SINGLE_FILE_VAE},
    {"cond_stage_model.transformer.", NAMING_CLIP, SINGLE_FILE_TEXT},
    {"cond_stage_model.1.transformer.", NAMING_CLIP, SINGLE_FILE_TEXT_2},
    {"cond_stage_model.model.", NAMING_OPEN_CLIP, SINGLE_FILE_TEXT},
    {"conditioner.embedders.0.transformer.", NAMING_CLIP, SINGLE_FILE_TEXT},
    {"conditioner.embedders.1.model.", NAMING_OPEN_CLIP, SINGLE_FILE_TEXT_2},
    {"conditioner.embedders.0.model.", NAMING_OPEN_CLIP, SINGLE_FILE_TEXT_2},
    {"text_encoder.", NAMING_CLIP, SINGLE_FILE_TEXT},
    {"text_encoder_2.", NAMING_CLIP, SINGLE_FILE_TEXT_2},
};

static const struct prefix *find_prefix(const char *name, const char **rest)
{
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (affix_strip(name, prefixes[i].prefix, rest))
            return &prefixes[i];
    return NULL;
}

enum single_file_part_id single_file_part_of(const char *name,
                                             const char **rest)
{
    const struct prefix *p = find_prefix(name, rest);

    return p ? p->part : SINGLE_FILE_PARTS;
}

static enum naming bare_naming(const struct single_file_layout *layout)
{
    if (layout->bare == SINGLE_FILE_UNET)
        return NAMING_UNET;
    if (layout->bare == SINGLE_FILE_VAE)
        return NAMING_VAE;
    return layout->is_bare_open_clip ? NAMING_OPEN_CLIP : NAMING_CLIP;
}

bool single_file_target(struct single_file_target *out, const char *name,
                        const struct single_file_layout *layout)
{
    const char *rest = name;
    const struct prefix *p = find_prefix(name, &rest);

    if (!p && layout->bare == SINGLE_FILE_PARTS)
        return false;
    out->change = CHANGE_NONE;
    out->part = p ? p->part : layout->bare;
    switch (p ? p->naming : bare_naming(layout)) {
    case NAMING_UNET:
        return unet_name(out->name, rest, layout->unet_layers);
    case NAMING_VAE:
        return vae_name(out->name, rest, layout->vae_levels, &out->change);
    case NAMING_CLIP:
        return clip_name(out, rest, layout);
    default:
        return open_clip_name(out, rest, layout);
    }
}
