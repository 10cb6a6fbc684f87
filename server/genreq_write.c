/* genreq_write.c - the canonical request: as JSON, and its digest.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "buf.h"
#include "genreq.h"

/* Longest canonical request: two prompts and a tag, escaped, and numbers. */
#define CANONICAL_BYTES 131072u

/* Name of the class, or NULL: none, or it has no label. */
static const char *label_of(const struct genreq *req)
{
    const struct unstir_model_info *info = req->model->info;

    for (size_t i = 0; i < info->n_labels; i++)
        if (req->resolved.class_id == (int64_t)info->labels[i].class_id)
            return info->labels[i].name;
    return NULL;
}

static void write_text(struct json_out *out, const char *key, const char *text)
{
    if (text != NULL)
        jout_string(out, key, text);
    else
        jout_null(out, key);
}

static void write_loras(const struct unstir_model_info *info,
                        struct json_out *out)
{
    if (info->n_loras == 0)
        return;
    jout_array(out, "loras");
    for (size_t i = 0; i < info->n_loras; i++) {
        const struct unstir_lora_info *l = &info->loras[i];

        jout_object(out, NULL);
        jout_string(out, "name", l->name);
        jout_number(out, "scale", l->unet_weight);
        if (l->text_weight != l->unet_weight)
            jout_number(out, "text_scale", l->text_weight);
        jout_string(out, "sha256", l->digest);
        jout_end_object(out);
    }
    jout_end_array(out);
}

static void write_micro_side(struct json_out *out, const char *key,
                             const struct unstir_micro *m)
{
    jout_object(out, key);
    jout_int(out, "original_width", m->original_width);
    jout_int(out, "original_height", m->original_height);
    jout_int(out, "crop_left", m->crop_left);
    jout_int(out, "crop_top", m->crop_top);
    if (m->target_width > 0) {
        jout_int(out, "target_width", m->target_width);
        jout_int(out, "target_height", m->target_height);
    }
    jout_end_object(out);
}

static void write_micro(const struct model *model,
                        const struct unstir_request *r, struct json_out *out)
{
    if (!unstir_request_has_micro(model->described, r))
        return;
    write_micro_side(out, "micro_conditioning", &r->micro);
    write_micro_side(out, "negative_micro_conditioning", &r->negative_micro);
    if (!model->info->takes_aesthetic_score)
        return;
    jout_number(out, "aesthetic_score", r->aesthetic_score);
    jout_number(out, "negative_aesthetic_score", r->negative_aesthetic_score);
}

/* How the way back is gone. */
static void write_settings(const struct model *model,
                           const struct unstir_request *r, struct json_out *out)
{
    jout_int(out, "steps", r->steps);
    jout_string(out, "sampler", r->sampler != NULL ? r->sampler : "");
    if (r->schedule != NULL)
        jout_string(out, "schedule", r->schedule);
    jout_number(out, "guidance_scale", r->guidance);
    if (model->info->edits_pictures)
        jout_number(out, "image_guidance_scale", r->image_guidance);
    if (r->guidance_rescale > 0)
        jout_number(out, "guidance_rescale", r->guidance_rescale);
    if (unstir_request_has_interval(model->described, r)) {
        jout_number(out, "guidance_start", r->guidance_start);
        jout_number(out, "guidance_end", r->guidance_end);
    }
    jout_number(out, "eta", r->eta);
    if (r->deep_cache > 1)
        jout_int(out, "deep_cache", r->deep_cache);
}

static bool is_same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static void write_refiner(const struct genreq *req, struct json_out *out)
{
    const struct unstir_request *r = &req->refined.resolved;

    if (req->refiner == NULL)
        return;
    jout_object(out, "refiner");
    jout_string(out, "model", model_id(req->refiner));
    if (r->negative_prompt != NULL &&
        !is_same_text(r->negative_prompt, req->resolved.negative_prompt))
        jout_string(out, "negative_prompt", r->negative_prompt);
    write_settings(req->refiner, r, out);
    write_micro(req->refiner, r, out);
    jout_end_object(out);
}

static void write_engine_part(const struct genreq *req, struct json_out *out)
{
    const struct unstir_request *r = &req->resolved;

    write_text(out, "prompt", req->prompt);
    if (r->negative_prompt != NULL)
        jout_string(out, "negative_prompt", r->negative_prompt);
    if (r->clip_skip > 1)
        jout_int(out, "clip_skip", r->clip_skip);
    if (r->prompt_syntax != NULL)
        jout_string(out, "prompt_syntax", r->prompt_syntax);
    if (r->class_id >= 0)
        jout_int(out, "class", r->class_id);
    else
        jout_null(out, "class");
    write_text(out, "label", label_of(req));
    jout_string(out, "model", model_id(req->model));
    write_loras(req->model->info, out);
    jout_int(out, "n", req->n);
    write_settings(req->model, r, out);
    jout_int(out, "width", r->width);
    jout_int(out, "height", r->height);
    if (r->denoising_start > 0)
        jout_number(out, "denoising_start", r->denoising_start);
    if (r->denoising_end < 1)
        jout_number(out, "denoising_end", r->denoising_end);
    write_micro(req->model, r, out);
    write_refiner(req, out);
    if (r->init_image != NULL || r->init_latents != NULL)
        jout_number(out, "strength", r->strength);
}

/* What the client sent, told apart: for the digest. */
static void write_upload(struct json_out *out, const char *key,
                         const struct upload *upload)
{
    char hex[SHA256_HEX_SIZE];

    if (upload->blob == NULL)
        return;
    sha256_hex(hex, upload->digest);
    jout_string(out, key, hex);
}

/* With `is_whole` also what changes nothing of the job's result, and is left to
 * the address that is used: a key means the same job at all of them. */
static void write_service_part(const struct genreq *req, struct json_out *out,
                               bool is_whole)
{
    jout_object(out, "output");
    jout_string(out, "format", genreq_format(req));
    if (req->file.png_level >= 0)
        jout_int(out, "png_level", req->file.png_level);
    if (req->file.quality > 0)
        jout_int(out, "quality", req->file.quality);
    jout_bool(out, "metadata", req->has_metadata);
    jout_end_object(out);
    jout_object(out, "preview");
    jout_int(out, "every", req->preview_every);
    if (req->preview_decoder != UNSTIR_PREVIEW_MATRIX)
        jout_string(out, "decoder",
                    unstir_preview_decoder_name(req->preview_decoder));
    if (req->preview_file.format != UNSTIR_FORMAT_PNG)
        jout_string(out, "format",
                    unstir_format_info(req->preview_file.format)->name);
    if (req->preview_file.quality > 0)
        jout_int(out, "quality", req->preview_file.quality);
    if (req->preview_max_edge > 0)
        jout_int(out, "max_edge", req->preview_max_edge);
    jout_bool(out, "keep", req->keeps_previews);
    jout_end_object(out);
    if (req->deadline_s > 0)
        jout_number(out, "deadline_s", req->deadline_s);
    else
        jout_null(out, "deadline_s");
    jout_int(out, "priority", req->priority);
    if (is_whole)
        jout_string(out, "on_disconnect",
                    req->continues_on_disconnect ? "continue" : "cancel");
    jout_number(out, "ttl_s", req->ttl_s);
    write_text(out, "tag", req->tag);
}

/* With `is_whole` also what was drawn for the client. */
static void write_seeds(const struct genreq *req, struct json_out *out,
                        bool is_whole)
{
    const struct unstir_request *r = &req->resolved;

    if (is_whole || req->has_own_seed)
        jout_seed(out, "seed", r->seed);
    if (r->variation_strength == 0)
        return;
    if (is_whole || req->has_own_variation)
        jout_seed(out, "variation_seed", r->variation_seed);
    jout_number(out, "variation_strength", r->variation_strength);
}

void genreq_write(const struct genreq *req, struct json_out *out,
                  const char *key)
{
    jout_object(out, key);
    write_engine_part(req, out);
    write_seeds(req, out, true);
    write_service_part(req, out, true);
    jout_end_object(out);
}

bool genreq_digest(const struct genreq *req, uint8_t digest[SHA256_BYTES])
{
    struct json_out out;
    struct buf buf;
    bool is_good;

    buf_init(&buf, CANONICAL_BYTES);
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    write_engine_part(req, &out);
    write_seeds(req, &out, false);
    write_upload(&out, "init_image", &req->init_image);
    write_upload(&out, "mask", &req->mask);
    write_service_part(req, &out, false);
    jout_end_object(&out);
    is_good = !buf.failed;
    if (is_good)
        sha256(digest, buf.bytes, buf.n);
    buf_fini(&buf);
    return is_good;
}
