/* diffusers_folder.h - the diffusers layout of a model on disk.
 *
 *   model_index.json, unet/{config.json, diffusion_pytorch_model.safetensors},
 *   scheduler/scheduler_config.json; latent models have an autoencoder beside
 *   (vae/ or vqvae/), and DiT's network is transformer/; old repositories keep
 *   config, weights and scheduler at the root; weights may be sharded by an
 *   index, or stand as an fp16 or bf16 variant; old attention names are brought
 *   up to date.  Pickle files are refused with advice.  unstir.json beside them
 *   gives labels and defaults.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_DIFFUSERS_FOLDER_H
#define FORMAT_DIFFUSERS_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#include "base/notes.h"
#include "format/single_file.h"

struct json;
struct late_digest;
struct weights;

#define DIFFUSERS_MAX_TEXTS 2

/* A text encoder and the tokenizer that it is trained with. */
struct diffusers_text {
    struct json *config;     /* NULL: the model has none                     */
    struct weights *weights; /* as unet_weights                              */
    char *tokenizer;         /* a folder                                     */
    char *folder;            /* where it lies                                */
};

struct diffusers_folder {
    char *path;
    const char *pipeline_class; /* "DDPMPipeline"; "" if no model_index     */
    struct json *index;         /* model_index.json or NULL                 */
    struct json *unet_config; /* of the network, also if it is a transformer */
    struct weights *unet_weights;  /* NULL if there is no weight file and the
                                     caller allowed that                     */
    struct json *scheduler_config; /* NULL: none                             */
    struct json *vae_config;       /* of latent models, else NULL            */
    struct weights *vae_weights;   /* as unet_weights                        */
    struct diffusers_text texts[DIFFUSERS_MAX_TEXTS];
    char *unet_folder, *vae_folder, *scheduler_folder; /* where they lie     */
    struct json *unstir; /* unstir.json or NULL                    */
    char digest[65];     /* SHA-256 over configuration and weights, of
                            diffusers_folder_open()                          */
    size_t weight_file_bytes;
    struct notes notes;
};

enum unstir_status diffusers_folder_open(struct diffusers_folder *f,
                                         const char *path,
                                         bool allows_no_weights,
                                         struct unstir_error *err);
/* With a digest that gets its parts and is started by the caller; it borrows
 * the files. */
enum unstir_status diffusers_folder_open_by(struct diffusers_folder *f,
                                            const char *path,
                                            bool allows_no_weights,
                                            struct late_digest *digest,
                                            struct unstir_error *err);
/* One part alone, of a folder of a model or of that part's own: its
 * configuration and weights; `digest` as above.  The tokenizer is left. */
enum unstir_status diffusers_folder_open_part(struct diffusers_folder *f,
                                              const char *path,
                                              enum single_file_part_id part,
                                              struct late_digest *digest,
                                              struct unstir_error *err);
void diffusers_folder_close(struct diffusers_folder *f);

/* The weights of one component: one file, shards by an index, or the fp16
 * variants of these.  stem: "diffusion_pytorch_model", or "model" for text
 * encoders.  Names are as they are in the files. */
enum unstir_status diffusers_folder_weights(struct weights **out,
                                            const char *folder,
                                            const char *stem,
                                            struct unstir_error *err);

#endif
