/* diffusers_pipelines.c - what a pipeline's class name says about its parts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/diffusers_pipelines.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"

#define OLD_VERSION_MINOR 9 /* 0.9.0: sample_size is right from there on     */
#define OLD_SAMPLE_SIZE   64

#define PIXELS_BY(class_name, own)                                     \
    {                                                                  \
        .name = class_name, .net = "unet", .classes = {"UNet2DModel"}, \
        .scheduler = own                                               \
    }
#define PIXELS(class_name) PIXELS_BY(class_name, NULL)
#define TEXTS(class_name, patch)                                              \
    {                                                                         \
        .name = class_name, .net = "unet",                                    \
        .classes = {"UNet2DConditionModel"}, .vae = "vae", .has_texts = true, \
        .passes_eta = true, .patches = patch                                  \
    }
#define LCM(class_name)                                                       \
    {                                                                         \
        .name = class_name, .net = "unet",                                    \
        .classes = {"UNet2DConditionModel"}, .vae = "vae", .has_texts = true, \
        .passes_eta = true, .keeps_steps = true                               \
    }
#define CLIPPED  (DIFFUSERS_PATCH_OFFSET | DIFFUSERS_PATCH_CLIP)
#define REPAINTS (DIFFUSERS_PATCH_OFFSET | DIFFUSERS_PATCH_PRK)

static const struct diffusers_pipeline pipelines[] = {
    PIXELS("DDPMPipeline"),
    PIXELS_BY("DDIMPipeline", "DDIMScheduler"),
    PIXELS_BY("PNDMPipeline", "PNDMScheduler"),
    PIXELS("ScoreSdeVePipeline"),
    PIXELS("BinomialDiffusionPipeline"), /* ours                             */
    PIXELS("KarrasVePipeline"),
    PIXELS("ConsistencyModelPipeline"),
    {.name = "LDMPipeline",
     .net = "unet",
     .classes = {"UNet2DModel"},
     .vae = "vqvae",
     .passes_eta = true},
    {.name = "DiTPipeline",
     .net = "transformer",
     .classes = {"DiTTransformer2DModel", "Transformer2DModel"},
     .vae = "vae"},
    TEXTS("StableDiffusionPipeline", CLIPPED),
    TEXTS("StableDiffusionImg2ImgPipeline", CLIPPED),
    TEXTS("StableDiffusionInpaintPipeline", REPAINTS),
    TEXTS("StableDiffusionInstructPix2PixPipeline", 0),
    TEXTS("StableDiffusionXLPipeline", 0),
    TEXTS("StableDiffusionXLImg2ImgPipeline", 0),
    TEXTS("StableDiffusionXLInpaintPipeline", 0),
    TEXTS("StableDiffusionXLInstructPix2PixPipeline", 0),
    LCM("LatentConsistencyModelPipeline"),
    LCM("LatentConsistencyModelImg2ImgPipeline"),
};

const struct diffusers_pipeline *diffusers_pipeline_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(pipelines); i++)
        if (strcmp(name, pipelines[i].name) == 0)
            return &pipelines[i];
    return NULL;
}

void diffusers_pipeline_names(char *text, size_t size)
{
    size_t n = 0;

    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(pipelines) && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "",
                              pipelines[i].name);
}

bool diffusers_pipeline_has(const struct json *index, const char *component)
{
    const struct json *v = json_get(index, component);

    return json_type(v) == JSON_ARRAY && json_len(v) == 2 &&
           json_type(json_at(v, 1)) == JSON_STRING;
}

const char *diffusers_pipeline_class(const struct json *index,
                                     const char *component)
{
    return diffusers_pipeline_has(index, component)
               ? json_string(json_at(json_get(index, component), 1))
               : "";
}

void diffusers_put_component(struct json_writer *w, const char *component,
                             const char *library, const char *class_name)
{
    json_open_array(w, component);
    if (library) {
        json_put_string(w, NULL, library);
        json_put_string(w, NULL, class_name);
    } else {
        json_put_null(w, NULL);
        json_put_null(w, NULL);
    }
    json_close(w);
}

/* -- old configurations ---------------------------------------------------- */

/* Copy all members but that of one name. */
static void copy_members(struct json_writer *w, const struct json *object,
                         const char *but)
{
    const struct json *value;
    const char *key;
    size_t i = 0;

    json_open_object(w, NULL);
    while (json_each(object, &i, &key, &value))
        if (strcmp(key, but) != 0)
            json_put_value(w, key, value);
}

static enum unstir_status replace(struct json **json, struct json_writer *w,
                                  struct unstir_error *err)
{
    struct json *changed;

    json_close(w);
    TRY(json_finish_value(&changed, w, err));
    json_free(*json);
    *json = changed;
    return UNSTIR_OK;
}

enum unstir_status diffusers_put_class(struct json **json,
                                       const char *class_name,
                                       struct unstir_error *err)
{
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    copy_members(w, *json, "_class_name");
    json_put_string(w, "_class_name", class_name);
    return replace(json, w, err);
}

enum unstir_status diffusers_patch_scheduler(struct json **json,
                                             unsigned patches,
                                             struct unstir_error *err)
{
    const struct json *value;
    struct json_writer *w;
    const char *key;
    size_t i = 0;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    while (json_each(*json, &i, &key, &value))
        if (patches & DIFFUSERS_PATCH_OFFSET &&
            strcmp(key, "steps_offset") == 0)
            json_put_int(w, key, 1);
        else if (patches & DIFFUSERS_PATCH_CLIP &&
                 strcmp(key, "clip_sample") == 0)
            json_put_bool(w, key, false);
        else if (patches & DIFFUSERS_PATCH_PRK &&
                 strcmp(key, "skip_prk_steps") == 0)
            json_put_bool(w, key, true);
        else if (strcmp(key, DIFFUSERS_PATCHED) != 0)
            json_put_value(w, key, value);
    json_put_int(w, DIFFUSERS_PATCHED, patches);
    return replace(json, w, err);
}

/* A pipeline's field, but it says how many numbers the network reads.  Where
 * it is missing, two text encoders are never a refiner's. */
enum unstir_status diffusers_tell_scores(struct json **json,
                                         const struct json *index,
                                         struct unstir_error *err)
{
    static const char key[] = "requires_aesthetics_score";
    const struct json *v = json_get(index, key);
    bool is_said = json_type(v) == JSON_BOOL;
    struct json_writer *w;

    if (!is_said && !(diffusers_pipeline_has(index, "text_encoder") &&
                      diffusers_pipeline_has(index, "text_encoder_2")))
        return UNSTIR_OK;
    TRY(json_writer_new(&w, err));
    copy_members(w, *json, key);
    json_put_bool(w, key, is_said && json_bool(v));
    return replace(json, w, err);
}

enum unstir_status diffusers_patch_unet(struct json **json,
                                        struct unstir_error *err)
{
    const struct json *size = json_get(*json, "sample_size");
    const char *version = json_string(json_get(*json, "_diffusers_version"));
    struct json_writer *w;
    int minor;

    if (json_type(size) != JSON_INT || json_int(size) >= OLD_SAMPLE_SIZE ||
        strncmp(version, "0.", 2) != 0 || version[2] < '0' || version[2] > '9')
        return UNSTIR_OK;
    minor = version[2] - '0';
    if (minor >= OLD_VERSION_MINOR || version[3] != '.')
        return UNSTIR_OK;
    TRY(json_writer_new(&w, err));
    copy_members(w, *json, "sample_size");
    json_put_int(w, "sample_size", OLD_SAMPLE_SIZE);
    return replace(json, w, err);
}
