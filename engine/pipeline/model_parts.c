/* model_parts.c - parts of a model that come from elsewhere.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/model_parts.h"

#include "base/path.h"
#include "format/json.h"
#include "format/late_digest.h"
#include "format/weights.h"

#define REFINER_CONTEXT 1280
#define SD2_CONTEXT     1024
#define XL_TIME_IDS     6

enum single_file_kind model_parts_kind(const struct json *unet_config)
{
    int64_t context = json_int(json_get(unet_config, "cross_attention_dim"));
    const struct json *added = json_get(unet_config, "addition_embed_type");

    if (json_type(added) == JSON_STRING)
        return context == REFINER_CONTEXT ? SINGLE_FILE_REFINER
                                          : SINGLE_FILE_SDXL;
    return context == SD2_CONTEXT ? SINGLE_FILE_SD2 : SINGLE_FILE_SD1;
}

/* -- one part ---------------------------------------------------------- */

static void close_part(struct model_part *p)
{
    late_digest_free(p->digest);
    if (p->is_file)
        single_file_close(&p->file);
    else
        diffusers_folder_close(&p->folder);
    *p = (struct model_part){.config = NULL};
}

static enum unstir_status open_folder(struct model_part *p, const char *path,
                                      enum single_file_part_id id,
                                      struct unstir_error *err)
{
    struct diffusers_folder *f = &p->folder;

    TRY(diffusers_folder_open_part(f, path, id, p->digest, err));
    if (id == SINGLE_FILE_VAE) {
        p->config = f->vae_config;
        p->weights = f->vae_weights;
        p->path = f->vae_folder;
    } else {
        p->config = f->texts[id - SINGLE_FILE_TEXT].config;
        p->weights = f->texts[id - SINGLE_FILE_TEXT].weights;
        p->path = f->texts[id - SINGLE_FILE_TEXT].folder;
    }
    return UNSTIR_OK;
}

static enum unstir_status open_file(struct model_part *p, const char *path,
                                    enum single_file_part_id id,
                                    enum single_file_kind kind, size_t *n_bytes,
                                    struct unstir_error *err)
{
    TRY(single_file_open_part(&p->file, path, id, kind, err));
    p->is_file = true;
    p->config = p->file.parts[id].config;
    p->weights = p->file.parts[id].weights;
    p->path = path;
    late_digest_add_files(p->digest, p->file.file, n_bytes);
    return UNSTIR_OK;
}

static enum unstir_status open_part(struct model_parts *all,
                                    struct model_part *p, const char *path,
                                    enum single_file_part_id id,
                                    enum single_file_kind kind,
                                    struct unstir_error *err)
{
    TRY(late_digest_new(&p->digest, err));
    if (!path_is_folder(path))
        return open_file(p, path, id, kind, &all->n_bytes, err);
    TRY(open_folder(p, path, id, err));
    all->n_bytes += p->folder.weight_file_bytes;
    return UNSTIR_OK;
}

/* -- text encoders ----------------------------------------------------- */

/* Floats of a text that the network reads beside the context; 0: not known. */
static uint64_t pooled_width(const struct json *unet_config)
{
    int64_t all = json_int(
        json_get(unet_config, "projection_class_embeddings_input_dim"));
    int64_t each = json_int(json_get(unet_config, "addition_time_embed_dim"));

    return each > 0 && all / XL_TIME_IDS > each
               ? (uint64_t)(all - XL_TIME_IDS * each)
               : 0;
}

/* Whether an encoder, opened in the first place, belongs in the second. */
static bool is_second(const struct model_part *p, uint64_t pooled)
{
    const struct tensor_view *t =
        p->weights ? weights_find(p->weights, "text_projection.weight") : NULL;

    return t && pooled && t->rank == 2 && t->dims[0] == pooled;
}

/* The places of the encoders given, of a model with both. */
static enum unstir_status find_places(enum single_file_part_id ids[2],
                                      const struct model_parts_wish *wish,
                                      const struct json *unet_config,
                                      struct unstir_error *err)
{
    bool second[CONDITIONING_ENCODERS] = {false};

    for (size_t i = 0; i < CONDITIONING_ENCODERS && wish->texts[i]; i++) {
        struct model_parts all = {.n_bytes = 0};
        struct model_part p = {.config = NULL};
        enum unstir_status status;

        status = open_part(&all, &p, wish->texts[i], SINGLE_FILE_TEXT,
                           SINGLE_FILE_SDXL, err);
        second[i] = is_second(&p, pooled_width(unet_config));
        close_part(&p);
        TRY(status);
    }
    bool is_swapped = wish->texts[1] ? second[0] && !second[1] : second[0];
    ids[0] = is_swapped ? SINGLE_FILE_TEXT_2 : SINGLE_FILE_TEXT;
    ids[1] = is_swapped ? SINGLE_FILE_TEXT : SINGLE_FILE_TEXT_2;
    return UNSTIR_OK;
}

static enum unstir_status open_texts(struct model_parts *p,
                                     const struct model_parts_wish *wish,
                                     enum single_file_kind kind,
                                     const struct json *unet_config,
                                     struct unstir_error *err)
{
    enum single_file_part_id ids[CONDITIONING_ENCODERS] = {
        kind == SINGLE_FILE_REFINER ? SINGLE_FILE_TEXT_2 : SINGLE_FILE_TEXT,
        SINGLE_FILE_TEXT_2};

    if (kind == SINGLE_FILE_SDXL)
        TRY(find_places(ids, wish, unet_config, err));
    else if (wish->texts[1])
        return error_set(err, UNSTIR_ERR_ARG,
                         "two text encoders are given; this model has one");
    for (size_t i = 0; i < CONDITIONING_ENCODERS && wish->texts[i]; i++)
        TRY(open_part(p, &p->texts[ids[i] - SINGLE_FILE_TEXT], wish->texts[i],
                      ids[i], kind, err));
    return UNSTIR_OK;
}

/* -- all --------------------------------------------------------------- */

enum unstir_status model_parts_open(struct model_parts *p,
                                    const struct model_parts_wish *wish,
                                    const struct json *unet_config,
                                    struct unstir_error *err)
{
    enum single_file_kind kind = model_parts_kind(unet_config);

    *p = (struct model_parts){.n_bytes = 0};
    if (wish->vae)
        TRY(open_part(p, &p->vae, wish->vae, SINGLE_FILE_VAE, kind, err));
    if (wish->texts[0])
        TRY(open_texts(p, wish, kind, unet_config, err));
    return UNSTIR_OK;
}

void model_parts_close(struct model_parts *p)
{
    close_part(&p->vae);
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        close_part(&p->texts[i]);
}
