/* export.c - the running mean of the weights as a model folder.
 *
 * The diffusers layout, so that the reference implementation opens it too.
 * The scheduler is DDIM with trailing spacing, which visits the last timestep
 * with any number of steps: a cosine schedule ends in almost pure noise, and
 * a first step taken at an earlier t would see a picture that is not there.
 * A score network goes out with the predictor-corrector scheduler of its kind,
 * one of bits with a scheduler that the reference does not have and refuses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/json.h"
#include "format/safetensors_write.h"
#include "ops/graph.h"

#define DEFAULT_STEPS       25
#define DEFAULT_SCORE_STEPS 200 /* each with a correction                   */
#define DEFAULT_BIT_STEPS   100 /* bits of one step are drawn apart          */

/* What drives a network of each objective. */
struct driver {
    const char *pipeline, *scheduler, *sampler;
    uint32_t steps;
};

static struct driver driver_of(enum objective o)
{
    switch (o) {
    case OBJECTIVE_SCORE:
        return (struct driver){"ScoreSdeVePipeline", "ScoreSdeVeScheduler",
                               "score_ve", DEFAULT_SCORE_STEPS};
    case OBJECTIVE_ORIGIN_BITS:
        return (struct driver){"BinomialDiffusionPipeline",
                               "BinomialDiffusionScheduler", "binomial",
                               DEFAULT_BIT_STEPS};
    default:
        return (struct driver){"DDIMPipeline", "DDIMScheduler", "ddim",
                               DEFAULT_STEPS};
    }
}

uint32_t trainer_default_steps(const struct unstir_trainer *t)
{
    uint32_t n = driver_of(t->objective).steps;
    return t->options.n_timesteps < n ? t->options.n_timesteps : n;
}

/* Finish `w` and write it to folder/name. */
static enum unstir_status write_json(struct json_writer *w, const char *folder,
                                     const char *name, struct unstir_error *err)
{
    char path[PATH_BYTES], *text = NULL;
    TRY(json_finish(&text, w, true, err));
    enum unstir_status status = path_join(path, folder, name, err);
    if (status == UNSTIR_OK)
        status = mapfile_write(path, text, strlen(text), err);
    alloc_free(text);
    return status;
}

static void put_pair(struct json_writer *w, const char *key, const char *module,
                     const char *class_name)
{
    json_open_array(w, key);
    json_put_string(w, NULL, module);
    json_put_string(w, NULL, class_name);
    json_close(w);
}

static enum unstir_status write_index(const struct unstir_trainer *t,
                                      const char *folder,
                                      struct unstir_error *err)
{
    struct driver driver = driver_of(t->objective);
    struct json_writer *w;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "_class_name", driver.pipeline);
    json_put_string(w, "_diffusers_version", "0.42.1");
    put_pair(w, "scheduler", "diffusers", driver.scheduler);
    put_pair(w, "unet", "diffusers", "UNet2DModel");
    json_close(w);
    return write_json(w, folder, "model_index.json", err);
}

/* Steps of predictor and corrector between the levels it was trained at. */
static enum unstir_status write_score_scheduler(const struct unstir_trainer *t,
                                                const char *folder,
                                                struct unstir_error *err)
{
    struct json_writer *w;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "_class_name", "ScoreSdeVeScheduler");
    json_put_string(w, "_diffusers_version", "0.42.1");
    json_put_int(w, "num_train_timesteps", t->options.n_timesteps);
    json_put_real(w, "snr", 0.15);
    json_put_real(w, "sigma_min", t->options.sigma_min);
    json_put_real(w, "sigma_max", t->options.sigma_max);
    json_put_real(w, "sampling_eps", 1e-5);
    json_put_int(w, "correct_steps", 1);
    json_close(w);
    return write_json(w, folder, "scheduler/scheduler_config.json", err);
}

/* The chain of bits has its betas from its length. */
static enum unstir_status write_bit_scheduler(const struct unstir_trainer *t,
                                              const char *folder,
                                              struct unstir_error *err)
{
    struct json_writer *w;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "_class_name", driver_of(t->objective).scheduler);
    json_put_int(w, "num_train_timesteps", t->options.n_timesteps);
    json_close(w);
    return write_json(w, folder, "scheduler/scheduler_config.json", err);
}

static enum unstir_status write_scheduler(const struct unstir_trainer *t,
                                          const char *folder,
                                          struct unstir_error *err)
{
    static const char *const names[BETA_COUNT] = {
        [BETA_LINEAR] = "linear",
        [BETA_SCALED_LINEAR] = "scaled_linear",
        [BETA_COSINE] = "squaredcos_cap_v2"};
    const struct schedule_config *c = &t->schedule.config;
    struct json_writer *w;
    if (t->objective == OBJECTIVE_SCORE)
        return write_score_scheduler(t, folder, err);
    if (t->objective == OBJECTIVE_ORIGIN_BITS)
        return write_bit_scheduler(t, folder, err);
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "_class_name", "DDIMScheduler");
    json_put_string(w, "_diffusers_version", "0.42.1");
    json_put_int(w, "num_train_timesteps", c->n_timesteps);
    json_put_real(w, "beta_start", c->beta_start);
    json_put_real(w, "beta_end", c->beta_end);
    json_put_string(w, "beta_schedule", names[c->beta_schedule]);
    json_put_null(w, "trained_betas");
    json_put_string(w, "prediction_type", objective_prediction(t->objective));
    json_put_bool(w, "clip_sample", true);
    json_put_real(w, "clip_sample_range", 1.0);
    json_put_bool(w, "thresholding", false);
    json_put_bool(w, "set_alpha_to_one", true);
    json_put_int(w, "steps_offset", 0);
    json_put_string(w, "timestep_spacing", "trailing");
    json_put_bool(w, "rescale_betas_zero_snr", false);
    json_close(w);
    return write_json(w, folder, "scheduler/scheduler_config.json", err);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static enum unstir_status write_card(const struct unstir_trainer *t,
                                     const char *folder,
                                     struct unstir_error *err)
{
    const struct dataset *d = &t->data;
    uint32_t steps = trainer_default_steps(t);
    struct json_writer *w;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "id", last_part(folder));
    if (d->title)
        json_put_string(w, "title", d->title);
    if (d->n_classes) {
        json_open_object(w, "labels");
        for (uint32_t i = 0; i < d->n_classes; i++)
            json_put_int(w, d->class_names[i], i);
        json_close(w);
        json_put_int(w, "null_class", d->n_classes);
    }
    json_open_object(w, "defaults");
    json_put_int(w, "steps", steps);
    json_put_string(w, "sampler", driver_of(t->objective).sampler);
    json_put_real(w, "guidance_scale", 1.0);
    json_put_int(w, "width", d->width);
    json_put_int(w, "height", d->height);
    json_close(w);
    json_open_object(w, "limits");
    json_put_int(w, "max_steps", t->options.n_timesteps);
    json_close(w);
    if (d->licence)
        json_put_string(w, "licence", d->licence);
    if (d->source)
        json_put_string(w, "source", d->source);
    json_close(w);
    return write_json(w, folder, "unstir.json", err);
}

static enum unstir_status write_weights(const struct unstir_trainer *t,
                                        const char *folder, bool half,
                                        struct unstir_error *err)
{
    static const struct safetensors_meta meta[] = {{"format", "pt"}};
    size_t n = graph_n_params(t->learner.graph);
    struct safetensors_entry *entries;
    char path[PATH_BYTES];
    TRY(path_join(path, folder, "unet/diffusion_pytorch_model.safetensors",
                  err));
    TRY(alloc_zero(&entries, n, sizeof *entries, err));
    for (param_id p = 0; p < n; p++) {
        const struct graph_param *gp = graph_param_at(t->learner.graph, p);
        entries[p] = (struct safetensors_entry){
            .name = gp->name,
            .dtype = half ? DTYPE_F16 : DTYPE_F32,
            .rank = gp->rank,
            .data = t->learner.params.ema + t->learner.params.offset[p]};
        for (uint32_t i = 0; i < gp->rank; i++)
            entries[p].dims[i] = gp->dims[i];
    }
    enum unstir_status status =
        safetensors_write(path, entries, n, meta, ARRAY_LEN(meta), err);
    alloc_free(entries);
    return status;
}

enum unstir_status unstir_trainer_export(struct unstir_trainer *t,
                                         const char *folder, bool half,
                                         struct unstir_error *err)
{
    char path[PATH_BYTES];
    TRY(trainer_make_folder(folder, "unet", err));
    TRY(trainer_make_folder(folder, "scheduler", err));
    TRY(write_weights(t, folder, half, err));
    TRY(path_join(path, folder, "unet/config.json", err));
    TRY(mapfile_write(path, t->config_text, strlen(t->config_text), err));
    TRY(write_scheduler(t, folder, err));
    TRY(write_card(t, folder, err));
    return write_index(t, folder, err);
}
