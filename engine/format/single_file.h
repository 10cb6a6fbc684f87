/* single_file.h - a whole model in one safetensors or GGUF file, seen as a
 * folder.
 *
 * Stable Diffusion 1.x, 2.x, SDXL and its refiner, with the original names
 * (CompVis, StabilityAI; "model.diffusion_model.*") or the reference's
 * ("unet.*", "vae.*", "text_encoder.*", "text_encoder_2.*").  Each part is
 * given the names and the configuration that it has in the diffusers layout;
 * its tensors are views of the file, but for the projection of OpenCLIP text
 * encoders, which is stored the other way round and is copied.  GGUF files
 * have original names, but for their text encoders: the reference's, behind
 * "cond_stage_model.transformer." and "cond_stage_model.1.transformer.".
 *
 * Such a file does not say all that a folder does.  Taken from its tensors:
 * sizes, levels, depths, kinds of blocks.  By rule: 8 heads with 1x1
 * convolutions around attention (1.x), heads 64 wide with linear layers
 * around it; 1000 steps, scaled linear from 0.00085 to 0.012.  What the
 * network predicts: as told; else the file's metadata or its "v_pred" mark;
 * else v for 2.x and epsilon for the others, with a note for 2.x, whose base
 * models predict epsilon.  Latent consistency models are known by the embedding
 * of their guidance scale; Turbo and Lightning models by their metadata's title
 * alone: they get the trailing spacing that they are trained for.
 *
 * A file may hold some of the parts: what is missing must come from elsewhere
 * (pipeline/model_parts.h).  A UNet alone may do without its prefix, as files
 * for ComfyUI have it; so may the file of a single other part
 * (single_file_open_part).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SINGLE_FILE_H
#define FORMAT_SINGLE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/notes.h"

struct json;
struct weights;

enum single_file_kind {
    SINGLE_FILE_SD1,
    SINGLE_FILE_SD2,
    SINGLE_FILE_SDXL,
    SINGLE_FILE_REFINER
};

enum single_file_part_id {
    SINGLE_FILE_UNET,
    SINGLE_FILE_VAE,
    SINGLE_FILE_TEXT,
    SINGLE_FILE_TEXT_2,
    SINGLE_FILE_PARTS
};

struct single_file_part {
    const char *folder;      /* "text_encoder_2"                             */
    const char *class_name;  /* "CLIPTextModelWithProjection"                */
    struct weights *weights; /* NULL: the file has no such part              */
    struct json *config;
};

#define SINGLE_FILE_MAX_BLOCKS 8

struct single_file {
    enum single_file_kind kind;
    enum single_file_part_id bare; /* the part without a prefix; PARTS: none */
    struct weights *file;
    struct single_file_part parts[SINGLE_FILE_PARTS];
    struct json *index;            /* as model_index.json                    */
    struct json *scheduler_config; /* as scheduler_config.json               */
    const char *prediction_type;   /* "epsilon" or "v_prediction"            */
    bool is_few_step;              /* by its title: distilled, see below     */
    struct notes notes;
    void *blocks[SINGLE_FILE_MAX_BLOCKS]; /* copied tensors                  */
    size_t n_blocks;
};

/* Its folder in the diffusers layout: "text_encoder_2". */
const char *single_file_part_name(enum single_file_part_id part);

/* prediction_type: "epsilon", "v_prediction" or NULL (by the rule above). A
 * file that is none of the kinds is UNSTIR_ERR_UNSUPPORTED. */
enum unstir_status single_file_open(struct single_file *f, const char *path,
                                    const char *prediction_type,
                                    struct unstir_error *err);
/* The same over tensors, which it takes over, also on failure. */
enum unstir_status single_file_from_weights(struct single_file *f,
                                            struct weights *file,
                                            const char *prediction_type,
                                            struct unstir_error *err);
/* Whether a model's title or origin says that it was distilled to paint in a
 * few steps without guidance: "Turbo", "Lightning".  NULL: it does not. */
bool single_file_says_few_steps(const char *title);

/* One part of a model of that kind, from a file of that part alone, with the
 * names of a whole model or without their prefix, or from a whole model.  Of
 * *f, weights and configuration of that part are filled. */
enum unstir_status single_file_open_part(struct single_file *f,
                                         const char *path,
                                         enum single_file_part_id part,
                                         enum single_file_kind kind,
                                         struct unstir_error *err);
/* Correct the configurations as the reference corrects a folder's when it
 * opens one (diffusers_pipelines.h). */
enum unstir_status single_file_patch(struct single_file *f,
                                     struct unstir_error *err);
void single_file_close(struct single_file *f);

#endif
