/* trainer.c - the training loop as a value that is advanced step by step.
 *
 * Everything random follows from (seed, number of the picture): the epoch's
 * order, and for each picture drawn its own generator for timestep, mirror,
 * dropped label and noise.  So a state holds no generator, drawing is shared
 * by all threads, and results depend neither on their number nor on stops.
 *
 * Timesteps of a batch are stratified: picture j of b takes its t from the
 * j-th of b equal slices of the chain.  Each t is still uniform over the
 * chain, but a batch covers it evenly, and the gradient is less noisy.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "base/path.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/size.h"
#include "format/digest.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "train/bit_loss.h"

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* -- one step's pictures -------------------------------------------------- */

/* splitmix64: neighbouring numbers to unrelated seeds. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t trainer_seed(const struct unstir_trainer *t, uint64_t stream,
                      uint64_t i)
{
    return mix(mix(t->options.seed ^ mix(stream)) + i);
}

static void choose_pictures(struct unstir_trainer *t)
{
    uint32_t batch = t->options.batch;
    for (uint32_t j = 0; j < batch; j++) {
        uint64_t k = t->step * batch + j, epoch = k / t->data.n;
        if (epoch != t->order_epoch) {
            struct rng rng;
            rng_seed(&rng, trainer_seed(t, 1, epoch));
            rng_permutation(&rng, t->order, t->data.n);
            t->order_epoch = epoch;
        }
        t->picks[j] = t->order[k % t->data.n];
    }
}

static uint32_t draw_timestep(const struct unstir_trainer *t, struct rng *rng,
                              size_t j)
{
    double u = ((double)j + rng_uniform_f64(rng)) / t->options.batch;
    uint32_t step = (uint32_t)(u * t->options.n_timesteps);
    return step < t->options.n_timesteps ? step : t->options.n_timesteps - 1;
}

/* Noise picture j of the batch: pool_fn. */
static void draw_picture(void *arg, size_t j, unsigned worker)
{
    struct unstir_trainer *t = arg;
    const struct unstir_train_options *o = &t->options;
    size_t m = (size_t)t->data.width * t->data.height * t->data.channels;
    float *x0 = t->sample + j * m, *target = t->target + j * m;
    float *noise = t->noise + worker * m;
    struct rng rng;
    rng_seed(&rng, trainer_seed(t, 2, t->step * o->batch + j));
    uint32_t step = draw_timestep(t, &rng, j);
    int is_mirrored = rng_uniform_f32(&rng) < 0.5f && o->flip;
    bool is_dropped = rng_uniform_f32(&rng) < (float)o->label_dropout;
    dataset_picture(&t->data, t->picks[j], is_mirrored, x0);
    if (t->objective == OBJECTIVE_ORIGIN_BITS)
        rng_fill_uniform_f32(&rng, noise, m);
    else
        rng_normal_f32(&rng, noise, m);
    if (t->objective == OBJECTIVE_ORIGIN_BITS) {
        objective_apply_bits(o->n_timesteps, step, x0, noise, m, x0, target);
        t->timestep[j] = (float)step;
        objective_bit_weights(o->n_timesteps, step,
                              t->weight + j * BIT_WEIGHTS);
    } else if (t->objective == OBJECTIVE_SCORE) {
        double sigma =
            objective_sigma(o->sigma_min, o->sigma_max, o->n_timesteps, step);
        objective_apply_score(sigma, x0, noise, m, x0, target);
        t->timestep[j] = (float)sigma;
        t->weight[j] = (float)(sigma * sigma);
    } else {
        objective_apply(t->objective, &t->schedule, step, x0, noise, m, x0,
                        target);
        t->timestep[j] = (float)step;
        t->weight[j] = objective_weight(t->objective, &t->schedule, step);
    }
    if (t->data.n_classes)
        t->label[j] = (float)(is_dropped ? t->data.n_classes
                                         : t->data.labels[t->picks[j]]);
}

/* -- one step ------------------------------------------------------------- */

/* Share of the plan that is done: of steps, or of time. */
static double fraction_done(const struct unstir_trainer *t)
{
    if (t->total_steps)
        return (double)t->step / (double)t->total_steps;
    return t->elapsed_s / (60 * t->options.minutes);
}

static double learning_rate(const struct unstir_trainer *t)
{
    const struct unstir_train_options *o = &t->options;
    double lr = o->lr, done = fraction_done(t);
    if (strcmp(o->lr_schedule, "cosine") == 0)
        lr *= 0.5 * (1 + cos(acos(-1.0) * (done < 1 ? done : 1)));
    if (t->step < o->warmup)
        lr *= (double)(t->step + 1) / (double)(o->warmup + 1);
    return lr;
}

static struct learner_update update_of(const struct unstir_trainer *t)
{
    const struct unstir_train_options *o = &t->options;
    double n = (double)t->step + 1;
    double warm = n / (n + 9); /* the mean forgets the first weights quickly */
    return (struct learner_update){.lr = learning_rate(t),
                                   .weight_decay = o->weight_decay,
                                   .beta1 = o->beta1,
                                   .beta2 = o->beta2,
                                   .clip = o->clip,
                                   .ema = warm < o->ema ? warm : o->ema,
                                   .step = t->step};
}

static enum unstir_status diverged(const struct unstir_trainer *t, double loss,
                                   struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_LIMIT,
                     "step %llu: loss %g, gradient %g: training has diverged; "
                     "a lower learning rate than %g or a longer warm-up helps",
                     (unsigned long long)t->step, loss, t->norm, t->options.lr);
}

static void note_step(struct unstir_trainer *t, double loss, double seconds)
{
    double keep = t->step < 99 ? (double)t->step / (double)(t->step + 1) : 0.99;
    double rate = t->options.batch / (seconds > 0 ? seconds : 1e-9);
    t->loss_last = loss;
    t->loss_smooth = keep * t->loss_smooth + (1 - keep) * loss;
    keep = t->images_per_s > 0 ? 0.95 : 0;
    t->images_per_s = keep * t->images_per_s + (1 - keep) * rate;
    t->elapsed_s += seconds;
    t->step++;
    struct history_row row = {(double)t->step, loss, t->lr, t->norm,
                              t->elapsed_s};
    history_add(&t->history, &row);
}

const char *unstir_trainer_objective(const struct unstir_trainer *t)
{
    return objective_names[t->objective];
}

bool unstir_trainer_is_half(const struct unstir_trainer *t)
{
    return t->options.half;
}

bool unstir_trainer_is_done(const struct unstir_trainer *t)
{
    return fraction_done(t) >= 1;
}

void unstir_trainer_progress(const struct unstir_trainer *t,
                             struct unstir_train_progress *p)
{
    double done = fraction_done(t);
    p->step = t->step;
    p->steps = t->total_steps;
    if (!p->steps) /* by time: as many as it looks now */
        p->steps = done > 0 ? (uint64_t)((double)t->step / done) : t->step;
    if (p->steps < p->step)
        p->steps = p->step;
    p->pictures = t->step * t->options.batch;
    p->loss = t->loss_last;
    p->loss_smooth = t->loss_smooth;
    p->lr = t->lr;
    p->grad_norm = t->norm;
    p->images_per_s = t->images_per_s;
    p->elapsed_s = t->elapsed_s;
    p->left_s = (double)(p->steps - p->step) * t->options.batch /
                (t->images_per_s > 0 ? t->images_per_s : 1);
    if (!t->total_steps)
        p->left_s = 60 * t->options.minutes - t->elapsed_s;
    if (p->left_s < 0)
        p->left_s = 0;
}

enum unstir_status unstir_trainer_step(struct unstir_trainer *t,
                                       struct unstir_train_progress *progress,
                                       struct unstir_error *err)
{
    double start = now_s(), loss = 0;
    if (unstir_trainer_is_done(t))
        return error_set(err, UNSTIR_ERR_ARG, "all %llu planned steps are done",
                         (unsigned long long)t->step);
    choose_pictures(t);
    pool_run(t->learner.pool, t->options.batch, draw_picture, t);
    struct learner_batch batch = {
        t->sample, t->timestep, t->data.n_classes ? t->label : NULL,
        t->target, t->weight,   t->loss};
    struct learner_update update = update_of(t);
    TRY(learner_gradients(&t->learner, &batch, &loss, err));
    TRY(learner_step(&t->learner, &update, &t->norm, err));
    if (!isfinite(loss) || !isfinite(t->norm))
        return diverged(t, loss, err);
    t->lr = update.lr;
    note_step(t, loss, now_s() - start);
    if (progress)
        unstir_trainer_progress(t, progress);
    return UNSTIR_OK;
}

/* -- history --------------------------------------------------------------- */

static void history_halve(struct history *h)
{
    for (size_t i = 0; i + 1 < h->n; i += 2) {
        struct history_row joined = h->rows[i + 1];
        joined.loss = 0.5 * (h->rows[i].loss + joined.loss);
        h->rows[i / 2] = joined;
    }
    h->n /= 2;
    h->stride *= 2;
}

void history_add(struct history *h, const struct history_row *row)
{
    h->open_loss += row->loss;
    if (++h->open_n < h->stride)
        return;
    h->rows[h->n] = *row;
    h->rows[h->n++].loss = h->open_loss / (double)h->open_n;
    h->open_loss = 0;
    h->open_n = 0;
    if (h->n == HISTORY_ROWS)
        history_halve(h);
}

/* -- building -------------------------------------------------------------- */

enum unstir_status trainer_make_folder(const char *folder, const char *sub,
                                       struct unstir_error *err)
{
    char path[PATH_BYTES];
    TRY(path_join(path, folder, sub ? sub : "", err));
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return error_set(err, UNSTIR_ERR_IO, "%s: %s", path,
                             strerror(errno));
        *p = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", path, strerror(errno));
    return UNSTIR_OK;
}

static void put_blocks(struct json_writer *w, const char *key,
                       const struct unstir_train_options *o, bool is_up)
{
    json_open_array(w, key);
    for (uint32_t i = 0; i < o->n_levels; i++) {
        uint32_t level = is_up ? o->n_levels - 1 - i : i;
        bool has_attention = o->attention_mask >> level & 1;
        json_put_string(
            w, NULL,
            is_up ? (has_attention ? "AttnUpBlock2D" : "UpBlock2D")
                  : (has_attention ? "AttnDownBlock2D" : "DownBlock2D"));
    }
    json_close(w);
}

static enum unstir_status network_config(char **text,
                                         const struct unstir_train_options *o,
                                         const struct dataset *d,
                                         struct unstir_error *err)
{
    struct json_writer *w;
    *text = NULL;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "_class_name", "UNet2DModel");
    json_put_string(w, "_diffusers_version", "0.42.1");
    if (d->width == d->height) {
        json_put_int(w, "sample_size", d->width);
    } else {
        json_open_array(w, "sample_size");
        json_put_int(w, NULL, d->height);
        json_put_int(w, NULL, d->width);
        json_close(w);
    }
    if (strcmp(o->objective, "score") == 0) { /* sees pictures of 0..1 */
        json_put_string(w, "time_embedding_type", "fourier");
        json_put_bool(w, "center_input_sample", true);
    }
    json_put_int(w, "in_channels", d->channels);
    json_put_int(w, "out_channels", d->channels);
    json_put_int(w, "layers_per_block", o->layers);
    json_open_array(w, "block_out_channels");
    for (uint32_t i = 0; i < o->n_levels; i++)
        json_put_int(w, NULL, o->channels[i]);
    json_close(w);
    put_blocks(w, "down_block_types", o, false);
    put_blocks(w, "up_block_types", o, true);
    json_put_int(w, "norm_num_groups", o->norm_groups);
    json_put_int(w, "attention_head_dim", o->attention_head_dim);
    if (d->n_classes) /* and the null class */
        json_put_int(w, "num_class_embeds", d->n_classes + 1);
    json_close(w);
    return json_finish(text, w, true, err);
}

static enum unstir_status open_schedule(struct unstir_trainer *t,
                                        struct unstir_error *err)
{
    struct schedule_config c;
    schedule_config_defaults(&c, METHOD_DDPM);
    c.n_timesteps = t->options.n_timesteps;
    c.beta_schedule = BETA_COSINE;
    if (strcmp(t->options.noise_schedule, "linear") == 0) {
        c.beta_schedule = BETA_LINEAR;
    } else if (strcmp(t->options.noise_schedule, "scaled-linear") == 0) {
        c.beta_schedule = BETA_SCALED_LINEAR;
        c.beta_start = 0.00085;
        c.beta_end = 0.012;
    }
    return schedule_init(&t->schedule, &c, err);
}

static enum unstir_status digest_data(struct unstir_trainer *t,
                                      struct unstir_error *err)
{
    const struct dataset *d = &t->data;
    size_t m = (size_t)d->width * d->height * d->channels;
    struct digest *sha;
    TRY(digest_new(&sha, err));
    digest_add(sha, "pixels", d->pixels, d->n * m);
    if (d->labels)
        digest_add(sha, "labels", d->labels, d->n * sizeof *d->labels);
    digest_finish(sha, t->data_digest);
    return UNSTIR_OK;
}

static enum unstir_precision precision_of(const char *name)
{
    return strcmp(name, "bf16") == 0  ? UNSTIR_PRECISION_BF16
           : strcmp(name, "f32") == 0 ? UNSTIR_PRECISION_F32
                                      : UNSTIR_PRECISION_AUTO;
}

static enum unstir_status open_network(struct unstir_trainer *t,
                                       struct unstir_error *err)
{
    const struct unstir_train_options *o = &t->options;
    TRY(network_config(&t->config_text, o, &t->data, err));
    TRY(json_parse(&t->config, t->config_text, strlen(t->config_text), err));
    struct learner_spec spec = {.config = t->config,
                                .loss = t->objective == OBJECTIVE_ORIGIN_BITS
                                            ? TRAIN_LOSS_BITS
                                            : TRAIN_LOSS_SQUARES,
                                .batch = o->batch,
                                .micro = o->batch / o->accumulate,
                                .h = t->data.height,
                                .w = t->data.width,
                                .isa = o->isa,
                                .precision = precision_of(o->precision),
                                .n_threads = o->n_threads,
                                .nice = o->nice};
    return learner_init(&t->learner, &spec, err);
}

static enum unstir_status open_memory(struct unstir_trainer *t,
                                      struct unstir_error *err)
{
    uint32_t batch = t->options.batch;
    size_t m = (size_t)t->data.width * t->data.height * t->data.channels;
    TRY(alloc_aligned(&t->sample, batch, m * sizeof(float), err));
    TRY(alloc_aligned(&t->target, batch, m * sizeof(float), err));
    TRY(alloc_aligned(&t->noise, pool_threads(t->learner.pool),
                      m * sizeof(float), err));
    TRY(alloc_aligned(&t->timestep, batch, sizeof(float), err));
    TRY(alloc_aligned(&t->label, batch, sizeof(float), err));
    TRY(alloc_aligned(&t->weight, batch, BIT_WEIGHTS * sizeof(float), err));
    TRY(alloc_aligned(&t->loss, batch, sizeof(float), err));
    TRY(alloc_zero(&t->picks, batch, sizeof *t->picks, err));
    TRY(alloc_zero(&t->order, t->data.n, sizeof *t->order, err));
    TRY(alloc_zero(&t->history.rows, HISTORY_ROWS, sizeof *t->history.rows,
                   err));
    t->history.stride = 1;
    t->order_epoch = UINT64_MAX; /* none yet */
    return UNSTIR_OK;
}

static void plan_length(struct unstir_trainer *t)
{
    const struct unstir_train_options *o = &t->options;
    t->total_steps = o->steps;
    if (o->epochs > 0) {
        double n = ceil(o->epochs * t->data.n / o->batch);
        t->total_steps = n < 1 ? 1 : (uint64_t)n;
    }
}

static enum unstir_status check_bits(const struct dataset *d,
                                     struct unstir_error *err)
{
    size_t m = (size_t)d->width * d->height * d->channels;
    for (size_t i = 0; i < d->n * m; i++)
        if (d->pixels[i] != 0 && d->pixels[i] != 255)
            return error_field(err, "data",
                               "picture %zu has a grey of %u; origin-bits "
                               "learns pictures of pure black and white, 0 "
                               "and 255",
                               i / m, d->pixels[i]);
    return UNSTIR_OK;
}

/* Each level but the first halves the edges, and they are doubled again. */
static enum unstir_status check_edges(const struct unstir_train_options *o,
                                      const struct dataset *d,
                                      struct unstir_error *err)
{
    uint32_t step = UINT32_C(1) << (o->n_levels - 1);
    if (d->width % step == 0 && d->height % step == 0)
        return UNSTIR_OK;
    uint32_t edge = d->width > step ? d->width : step;
    return error_field(err, "size",
                       "pictures of %u x %u cannot be halved %u times, as a "
                       "network of %u levels does; nearest: %u",
                       d->width, d->height, o->n_levels - 1, o->n_levels,
                       (edge + step / 2) / step * step);
}

static enum unstir_status build_parts(struct unstir_trainer *t,
                                      struct unstir_error *err)
{
    TRY(train_options_check(&t->options, err));
    TRY(dataset_open(&t->data, t->options.data, t->options.size,
                     t->options.max_pictures, err));
    train_options_fit(&t->options, &t->data);
    TRY(check_edges(&t->options, &t->data, err));
    (void)objective_parse(&t->objective, t->options.objective); /* checked */
    if (t->objective == OBJECTIVE_ORIGIN_BITS)
        TRY(check_bits(&t->data, err));
    TRY(digest_data(t, err));
    TRY(open_schedule(t, err));
    TRY(open_network(t, err));
    TRY(open_memory(t, err));
    plan_length(t);
    return UNSTIR_OK;
}

enum unstir_status trainer_build(struct unstir_trainer **out,
                                 const struct unstir_train_options *options,
                                 struct unstir_error *err)
{
    struct unstir_trainer *t;
    *out = NULL;
    TRY(alloc_zero(&t, 1, sizeof *t, err));
    enum unstir_status status = train_options_copy(&t->options, options, err);
    if (status == UNSTIR_OK)
        status = build_parts(t, err);
    if (status != UNSTIR_OK) {
        unstir_trainer_free(t);
        return status;
    }
    *out = t;
    return UNSTIR_OK;
}

static enum unstir_status load_init(struct unstir_trainer *t,
                                    struct unstir_error *err)
{
    struct diffusers_folder f;
    TRY(diffusers_folder_open(&f, t->options.init, false, err));
    enum unstir_status status =
        params_load(&t->learner.params, t->learner.graph, f.unet_weights, err);
    status = error_prefix(status, t->options.init, err);
    diffusers_folder_close(&f);
    return status;
}

enum unstir_status
unstir_trainer_new(struct unstir_trainer **out,
                   const struct unstir_train_options *options,
                   struct unstir_error *err)
{
    struct unstir_trainer *t;
    TRY(trainer_build(out, options, err));
    t = *out;
    enum unstir_status status = params_draw(
        &t->learner.params, t->learner.graph, trainer_seed(t, 3, 0), err);
    if (status == UNSTIR_OK && t->options.init)
        status = load_init(t, err);
    if (status == UNSTIR_OK)
        status = trainer_make_folder(t->options.output, "training", err);
    if (status != UNSTIR_OK) {
        unstir_trainer_free(t);
        *out = NULL;
        return status;
    }
    params_start_mean(&t->learner.params);
    learner_repack(&t->learner);
    return UNSTIR_OK;
}

void unstir_trainer_free(struct unstir_trainer *t)
{
    if (!t)
        return;
    learner_fini(&t->learner);
    json_free(t->config);
    alloc_free(t->config_text);
    schedule_fini(&t->schedule);
    dataset_close(&t->data);
    void *const blocks[] = {t->sample, t->target,      t->noise, t->timestep,
                            t->label,  t->weight,      t->loss,  t->picks,
                            t->order,  t->history.rows};
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        alloc_free(blocks[i]);
    train_options_fini(&t->options);
    alloc_free(t);
}
