/* train.c - `unstir train`: teach a network to undo noise.
 *
 * A thin loop around include/unstir_train.h: advance by one optimiser step,
 * show it, and every so often save the state and look at the result.  Ctrl-C
 * ends the loop between two steps; the state is saved and a line says how to
 * go on.
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"
#include "progress.h"
#include "unstir_train.h"

struct train_values {
    struct opts_common common;
    struct unstir_train_options o;
    const char *channels, *attention, *resume;
    uint32_t threads;
    uint32_t nice;
    uint64_t stop_after, sample_every;
    double save_every;
    bool full_precision, is_forced;
};

#define TRAIN(field) offsetof(struct train_values, field)

static const char *const objectives[] = {
    "epsilon", "x0", "v", "origin", "origin-x0", "origin-bits", "score", NULL};
static const char *const noise_schedules[] = {"linear", "cosine",
                                              "scaled-linear", NULL};
static const char *const precisions[] = {"auto", "f32", "bf16", NULL};
static const char *const lr_schedules[] = {"cosine", "constant", NULL};

static const struct opt options[] = {
    {.name = "data",
     .kind = OPT_TEXT,
     .meta = "DIR",
     .offset = TRAIN(o.data),
     .help = "pictures: a folder with one subfolder of PNG files a class, a "
             "folder of IDX files, or a named set: fashion-mnist, swiss-roll, "
             "heartbeat-bits",
     .group = "What to learn from"},
    {.name = "size",
     .kind = OPT_U32,
     .meta = "N",
     .max = 1024,
     .offset = TRAIN(o.size),
     .fallback = "by data",
     .help = "edge in pixels: pictures are cut square and resized"},
    {.name = "flip",
     .kind = OPT_FLAG,
     .offset = TRAIN(o.flip),
     .help = "mirror half of the pictures"},
    {.name = "label-dropout",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 0,
     .max = 1,
     .offset = TRAIN(o.label_dropout),
     .fallback = "0.1",
     .help = "share of pictures shown without their class, for guidance"},
    {.name = "max-pictures",
     .kind = OPT_U32,
     .meta = "N",
     .offset = TRAIN(o.max_pictures),
     .fallback = "all",
     .help = "learn from the first N only"},
    {.name = "output",
     .letter = 'o',
     .kind = OPT_TEXT,
     .meta = "DIR",
     .offset = TRAIN(o.output),
     .help = "the model being made; state, curve and sheets in DIR/training",
     .group = "Result"},
    {.name = "force",
     .kind = OPT_FLAG,
     .offset = TRAIN(is_forced),
     .help = "replace the model that is there already"},
    {.name = "full-precision",
     .kind = OPT_FLAG,
     .offset = TRAIN(full_precision),
     .help = "write single instead of half precision"},
    {.name = "channels",
     .kind = OPT_TEXT,
     .meta = "A,B,C",
     .offset = TRAIN(channels),
     .fallback = "by data",
     .help = "channels of each level, finest first",
     .group = "Network"},
    {.name = "layers",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 8,
     .offset = TRAIN(o.layers),
     .fallback = "1",
     .help = "residual layers a block"},
    {.name = "attention",
     .kind = OPT_TEXT,
     .meta = "LEVELS",
     .offset = TRAIN(attention),
     .fallback = "the coarsest",
     .help = "levels with attention, 0 the finest: \"2\", \"1,2\", \"none\""},
    {.name = "head-dim",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 1024,
     .offset = TRAIN(o.attention_head_dim),
     .fallback = "32, or what the channels allow",
     .help = "channels of an attention head"},
    {.name = "norm-groups",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 256,
     .offset = TRAIN(o.norm_groups),
     .fallback = "8",
     .help = "groups of a group norm"},
    {.name = "init",
     .kind = OPT_TEXT,
     .meta = "MODEL",
     .offset = TRAIN(o.init),
     .help = "start from the weights of this model folder; with more --layers "
             "or --attention than it has, those start as the identity"},
    {.name = "objective",
     .kind = OPT_CHOICE,
     .meta = "NAME",
     .choices = objectives,
     .offset = TRAIN(o.objective),
     .fallback = "v",
     .help = "epsilon, x0, v; the origin's own: origin (the head says the "
             "noise), origin-x0 (the head says the picture), origin-bits (the "
             "binomial chain, for pictures of pure black and white); or "
             "score, the gradient of the noisy density over geometric levels",
     .group = "Noise"},
    {.name = "noise-schedule",
     .kind = OPT_CHOICE,
     .meta = "NAME",
     .choices = noise_schedules,
     .offset = TRAIN(o.noise_schedule),
     .fallback = "cosine",
     .help = "linear, cosine or scaled-linear"},
    {.name = "timesteps",
     .kind = OPT_U32,
     .meta = "N",
     .min = 2,
     .max = 10000,
     .offset = TRAIN(o.n_timesteps),
     .fallback = "1000",
     .help = "steps from picture to static"},
    {.name = "sigma-min",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 1e-5,
     .max = 1e5,
     .offset = TRAIN(o.sigma_min),
     .fallback = "0.01",
     .help = "score: least noise, for pictures in 0..1"},
    {.name = "sigma-max",
     .kind = OPT_REAL,
     .meta = "F",
     .max = 1e5,
     .offset = TRAIN(o.sigma_max),
     .fallback = "by data",
     .help = "score: most noise"},
    {.name = "steps",
     .kind = OPT_U64,
     .meta = "N",
     .offset = TRAIN(o.steps),
     .help = "optimiser steps; one of --steps, --epochs, --minutes is given",
     .group = "How long"},
    {.name = "epochs",
     .kind = OPT_REAL,
     .meta = "N",
     .min = 0,
     .max = 1e9,
     .offset = TRAIN(o.epochs),
     .help = "times through the pictures"},
    {.name = "minutes",
     .kind = OPT_REAL,
     .meta = "M",
     .min = 0,
     .max = 1e9,
     .offset = TRAIN(o.minutes),
     .help = "minutes of computing; the learning rate follows the clock, so "
             "only --steps and --epochs give the same weights again"},
    {.name = "stop-after",
     .kind = OPT_U64,
     .meta = "K",
     .offset = TRAIN(stop_after),
     .help = "stop after K steps of the planned ones, state saved"},
    {.name = "resume",
     .kind = OPT_TEXT,
     .meta = "DIR",
     .offset = TRAIN(resume),
     .help = "go on from DIR's saved state, with its own options"},
    {.name = "save-every",
     .kind = OPT_REAL,
     .meta = "MINUTES",
     .min = 0,
     .max = 1e6,
     .offset = TRAIN(save_every),
     .fallback = "10",
     .help = "save the state, the model and the loss curve this often"},
    {.name = "sample-every",
     .kind = OPT_U64,
     .meta = "N",
     .offset = TRAIN(sample_every),
     .fallback = "1000",
     .help = "make a sheet of pictures every N steps; 0: never"},
    {.name = "batch",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 65536,
     .offset = TRAIN(o.batch),
     .fallback = "64",
     .help = "pictures an optimiser step",
     .group = "Optimiser"},
    {.name = "accumulate",
     .kind = OPT_U32,
     .meta = "N",
     .max = 65536,
     .offset = TRAIN(o.accumulate),
     .fallback = "by rule",
     .help = "micro-batches that a batch is computed in"},
    {.name = "lr",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 1e-9,
     .max = 10,
     .offset = TRAIN(o.lr),
     .fallback = "1e-3",
     .help = "learning rate"},
    {.name = "lr-schedule",
     .kind = OPT_CHOICE,
     .meta = "NAME",
     .choices = lr_schedules,
     .offset = TRAIN(o.lr_schedule),
     .fallback = "cosine",
     .help = "cosine (down to zero) or constant"},
    {.name = "warmup",
     .kind = OPT_U32,
     .meta = "N",
     .offset = TRAIN(o.warmup),
     .fallback = "200",
     .help = "steps until the full learning rate"},
    {.name = "weight-decay",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 0,
     .max = 10,
     .offset = TRAIN(o.weight_decay),
     .fallback = "0.01",
     .help = "decoupled decay of AdamW"},
    {.name = "beta1",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 0,
     .max = 0.9999999,
     .offset = TRAIN(o.beta1),
     .fallback = "0.9",
     .help = "memory of the first moment"},
    {.name = "beta2",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 0,
     .max = 0.9999999,
     .offset = TRAIN(o.beta2),
     .fallback = "0.99",
     .help = "memory of the second moment"},
    {.name = "clip",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 0,
     .max = 1e9,
     .offset = TRAIN(o.clip),
     .fallback = "1",
     .help = "largest norm of the gradient; 0: any"},
    {.name = "ema",
     .kind = OPT_REAL,
     .meta = "F",
     .min = 0,
     .max = 0.9999999,
     .offset = TRAIN(o.ema),
     .fallback = "0.999",
     .help = "memory of the running mean of the weights, which is the model"},
    {.name = "seed",
     .kind = OPT_U64,
     .meta = "N",
     .offset = TRAIN(o.seed),
     .fallback = "0",
     .help = "same seed, options and data: same weights"},
    {.name = "threads",
     .kind = OPT_U32,
     .meta = "N",
     .max = 64,
     .offset = TRAIN(threads),
     .env = "UNSTIR_THREADS",
     .fallback = "all",
     .help = "computing threads; results do not depend on it",
     .group = "Machine"},
    {.name = "nice",
     .kind = OPT_U32,
     .meta = "N",
     .max = 19,
     .offset = TRAIN(nice),
     .fallback = "0",
     .help = "give way to other work by this much"},
    {.name = "precision",
     .kind = OPT_CHOICE,
     .meta = "NAME",
     .choices = precisions,
     .offset = TRAIN(o.precision),
     .fallback = "auto",
     .help = "of the products' operands: auto, f32 or bf16; weights, sums and "
             "the optimiser stay f32"},
    {.name = "isa",
     .kind = OPT_TEXT,
     .meta = "NAME",
     .offset = TRAIN(o.isa),
     .env = "UNSTIR_ISA",
     .fallback = "the best",
     .help = "instruction set: scalar, portable, avx2, avx512bf16"},
};

/* -- lists ---------------------------------------------------------------- */

/* "32,64,96" to n numbers below `top`; false if it is not such a list. */
static bool parse_list(const char *text, uint32_t *out, uint32_t *n,
                       unsigned long top)
{
    *n = 0;
    do {
        char *end;
        unsigned long v = strtoul(text, &end, 10);
        if (end == text || *text == '-' || v >= top || *n == 8)
            return false;
        out[(*n)++] = (uint32_t)v;
        text = end;
    } while (*text++ == ',');
    return text[-1] == '\0';
}

static int read_lists(struct train_values *v)
{
    uint32_t levels[8], n;
    if (v->channels &&
        !parse_list(v->channels, v->o.channels, &v->o.n_levels, 4097)) {
        cli_error("--channels %s: must be up to 8 numbers such as 32,64,96",
                  v->channels);
        return CLI_USAGE;
    }
    if (v->channels && !v->attention)
        v->o.attention_mask = 1u << (v->o.n_levels - 1);
    if (v->attention && !v->channels) {
        cli_error("--attention needs --channels");
        return CLI_USAGE;
    }
    if (!v->attention || strcmp(v->attention, "none") == 0)
        return OPTS_GO_ON;
    if (!parse_list(v->attention, levels, &n, v->o.n_levels)) {
        cli_error("--attention %s: must be \"none\" or levels 0..%u such as "
                  "\"1,2\"",
                  v->attention, v->o.n_levels - 1);
        return CLI_USAGE;
    }
    for (uint32_t i = 0; i < n; i++)
        v->o.attention_mask |= 1u << levels[i];
    return OPTS_GO_ON;
}

/* -- the loop ------------------------------------------------------------- */

struct training {
    struct train_values *v;
    struct unstir_trainer *trainer;
    const char *folder;
    struct unstir_train_progress at;
    struct progress bar;
    FILE *lines;       /* JSON lines go here, or NULL                         */
    double line_gap_s; /* at least between two of them                       */
    double saved_s, lined_s;
};

/* A terminal gets a bar; --json lines on stdout; a log file that stands for
 * the terminal lines too, or it would be empty for hours. */
static void choose_lines(struct training *t)
{
    const struct opts_common *c = &t->v->common;
    t->line_gap_s = 1;
    if (c->is_json) {
        t->lines = stdout;
    } else if (c->progress == OPTS_PROGRESS_AUTO && !c->is_quiet &&
               t->bar.mode == OPTS_PROGRESS_NONE) {
        t->lines = stderr;
        t->line_gap_s = 10;
    }
}

/* One whole line at once, so that it never mixes with another's. */
static void print_line(const struct training *t)
{
    const struct unstir_train_progress *p = &t->at;
    char line[400];
    size_t n = (size_t)snprintf(
        line, sizeof line,
        "{\"step\":%llu,\"steps\":%llu,\"pictures\":%llu,\"loss\":%.9g,"
        "\"lr\":%.6g,\"grad_norm\":%.5g,\"images_per_s\":%.1f,"
        "\"elapsed_s\":%.1f,\"left_s\":%.1f}\n",
        (unsigned long long)p->step, (unsigned long long)p->steps,
        (unsigned long long)p->pictures, p->loss_smooth, p->lr, p->grad_norm,
        p->images_per_s, p->elapsed_s, p->left_s);
    (void)fwrite(line, 1, n, t->lines); /* a full disk does not stop training */
    (void)fflush(t->lines);
}

static void show(struct training *t)
{
    const struct unstir_train_progress *p = &t->at;
    const struct progress_value values[] = {{"loss", p->loss_smooth},
                                            {"images/s", p->images_per_s}};
    t->bar.total = p->steps;
    progress_show(&t->bar, p->step, values, 2);
    bool is_last = unstir_trainer_is_done(t->trainer);
    if (!t->lines || (!is_last && t->lined_s > 0 &&
                      cli_now_s() - t->lined_s < t->line_gap_s))
        return;
    t->lined_s = cli_now_s();
    print_line(t);
}

/* State, model and curve, and the sheet if asked. */
static enum unstir_status keep(struct training *t, bool with_grid,
                               struct unstir_error *err)
{
    enum unstir_status status = unstir_trainer_save(t->trainer, err);
    if (status == UNSTIR_OK)
        status = unstir_trainer_export(t->trainer, t->folder,
                                       unstir_trainer_is_half(t->trainer), err);
    if (status == UNSTIR_OK)
        status = unstir_trainer_report(t->trainer, with_grid, err);
    t->saved_s = cli_now_s();
    return status;
}

static enum unstir_status advance(struct training *t, struct unstir_error *err)
{
    const struct train_values *v = t->v;
    enum unstir_status status = unstir_trainer_step(t->trainer, &t->at, err);
    if (status != UNSTIR_OK)
        return status;
    if (!t->bar.unit) {
        progress_begin(&t->bar, &v->common, &progress_steps, t->at.step - 1,
                       t->at.steps);
        choose_lines(t);
    }
    show(t);
    bool with_grid = v->sample_every && t->at.step % v->sample_every == 0;
    if (with_grid || cli_now_s() - t->saved_s >= 60 * v->save_every)
        return keep(t, with_grid, err);
    return UNSTIR_OK;
}

static enum unstir_status run(struct training *t, struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    uint64_t taken = 0;
    t->saved_s = cli_now_s();
    while (status == UNSTIR_OK && !unstir_trainer_is_done(t->trainer) &&
           !cli_is_interrupted() &&
           (!t->v->stop_after || taken < t->v->stop_after)) {
        status = advance(t, err);
        taken++;
    }
    progress_clear(&t->bar);
    return status;
}

/* The origin's measure of success: of its own objective only. */
static enum unstir_status tell_bound(struct training *t,
                                     struct unstir_error *err)
{
    struct unstir_train_bound b;
    const char *objective = unstir_trainer_objective(t->trainer);
    if (t->v->common.is_quiet || strncmp(objective, "origin", 6) != 0)
        return UNSTIR_OK;
    enum unstir_status status = unstir_trainer_bound(t->trainer, &b, err);
    if (status != UNSTIR_OK)
        return status;
    bool is_bits = strcmp(objective, "origin-bits") == 0;
    bool is_known = b.known_bits == b.known_bits;
    if (t->v->common.is_json) {
        printf("{\"bound_bits\":%.6g,\"%s_bits\":%.6g,\"known_bits\":", b.bits,
               is_bits ? "coin" : "gaussian", b.null_bits);
        cli_json_real(stdout, b.known_bits); /* NaN: null */
        printf("}\n");
        return UNSTIR_OK;
    }
    printf("bound: %.3f bits a dimension, %+.3f against %s", b.bits,
           b.bits - b.null_bits,
           is_bits ? "fair coins" : "an isotropic Gaussian");
    if (is_known)
        printf(" (all there is to know: %+.3f)", b.known_bits - b.null_bits);
    printf("\n");
    return UNSTIR_OK;
}

/* Of a training that was resumed when all was done: its files stay as they
 * are. */
static int tell_done(struct training *t, struct unstir_error *err)
{
    const struct unstir_train_progress *p = &t->at;
    const struct opts_common *c = &t->v->common;
    if (c->is_json)
        printf("{\"already_done\":true,\"step\":%llu,\"pictures\":%llu,"
               "\"loss\":%.9g,\"elapsed_s\":%.1f}\n",
               (unsigned long long)p->step, (unsigned long long)p->pictures,
               p->loss_smooth, p->elapsed_s);
    else if (!c->is_quiet)
        printf("%s: training was done already, after %llu steps with loss "
               "%.4f; try: unstir generate -m %s\n",
               t->folder, (unsigned long long)p->step, p->loss_smooth,
               t->folder);
    return tell_bound(t, err) == UNSTIR_OK ? CLI_OK : cli_fail(err);
}

static int finish(struct training *t, struct unstir_error *err)
{
    bool is_done = unstir_trainer_is_done(t->trainer);
    /* Of a slow sampler that takes longer than people wait for a sign. */
    if (is_done && t->v->sample_every && t->bar.mode != OPTS_PROGRESS_NONE &&
        !t->v->common.is_quiet)
        cli_note("trained; now it paints what goes into %s/training",
                 t->folder);
    if (keep(t, is_done && t->v->sample_every, err) != UNSTIR_OK)
        return cli_fail(err);
    if (is_done && tell_bound(t, err) != UNSTIR_OK)
        return cli_fail(err);
    if (!is_done)
        cli_note("stopped after step %llu; go on with: unstir train --resume "
                 "%s",
                 (unsigned long long)t->at.step, t->folder);
    else if (!t->v->common.is_json && !t->v->common.is_quiet)
        printf("%s: %llu steps, loss %.4f; try: unstir generate -m %s\n",
               t->folder, (unsigned long long)t->at.step, t->at.loss_smooth,
               t->folder);
    return cli_is_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}

/* Is a name neither a path nor a set, that which is meant may be near. */
static int check_data(const char *data)
{
    static const char *const sets[] = {"fashion-mnist", "swiss-roll",
                                       "heartbeat-bits"};
    const size_t n = sizeof(sets) / sizeof(*sets);
    if (!data || access(data, F_OK) == 0)
        return OPTS_GO_ON;
    for (size_t i = 0; i < n; i++)
        if (strcmp(data, sets[i]) == 0)
            return OPTS_GO_ON;
    int near = unstir_nearest(data, sets, n);
    cli_error("--data %s: no such folder%s%s%s", data,
              near >= 0 ? "; did you mean the set " : "",
              near >= 0 ? sets[near] : "", near >= 0 ? "?" : "");
    return CLI_FAILED;
}

/* What --resume takes: the rest was settled when the training began. */
static int check_resume(const struct train_values *v)
{
    static const char *const free_to_change[] = {
        "resume", "threads", "stop-after", "save-every", "sample-every"};
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        const char *name = options[i].name;
        bool is_free = !opts_is_given(&command_train, v, name);
        for (size_t k = 0; k < sizeof(free_to_change) / sizeof(*free_to_change);
             k++)
            is_free = is_free || strcmp(name, free_to_change[k]) == 0;
        if (is_free)
            continue;
        cli_error("--%s: not beside --resume, which goes on with the options "
                  "of %s's saved state",
                  name, v->resume);
        return CLI_USAGE;
    }
    return OPTS_GO_ON;
}

/* Hours of somebody's computing are not written over by accident. */
static int check_output(const struct train_values *v)
{
    static const char *const marks[] = {"training/state.safetensors",
                                        "model_index.json"};
    char path[PATH_MAX];
    for (size_t i = 0; v->o.output && !v->is_forced && i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", v->o.output, marks[i]);
        if (access(path, F_OK) != 0)
            continue;
        cli_error("--output %s: holds a model already;%s --force replaces it",
                  v->o.output, i == 0 ? " --resume goes on with it," : "");
        return CLI_USAGE;
    }
    return OPTS_GO_ON;
}

static int open_trainer(struct training *t, struct unstir_error *err)
{
    struct train_values *v = t->v;
    enum unstir_status status;
    if (v->resume) {
        t->folder = v->resume;
        status = unstir_trainer_resume(&t->trainer, v->resume, v->threads, err);
    } else {
        t->folder = v->o.output;
        v->o.n_threads = v->threads;
        v->o.nice = (int)v->nice;
        v->o.half = !v->full_precision;
        status = unstir_trainer_new(&t->trainer, &v->o, err);
    }
    return status == UNSTIR_OK ? OPTS_GO_ON : cli_fail(err);
}

static int train_main(int argc, char **argv)
{
    struct train_values v = {.save_every = 10, .sample_every = 1000};
    struct training t = {.v = &v};
    struct unstir_error err;
    unstir_train_defaults(&v.o);
    int rc = opts_parse(&command_train, argc, argv, &v);
    if (rc == OPTS_GO_ON)
        rc = read_lists(&v);
    if (rc == OPTS_GO_ON && v.resume)
        rc = check_resume(&v);
    else if (rc == OPTS_GO_ON)
        rc = check_data(v.o.data);
    if (rc == OPTS_GO_ON && !v.resume)
        rc = check_output(&v);
    if (rc != OPTS_GO_ON)
        return rc;
    cli_catch_interrupts();
    rc = open_trainer(&t, &err);
    if (rc != OPTS_GO_ON)
        return rc;
    unstir_trainer_progress(t.trainer, &t.at);
    if (unstir_trainer_is_done(t.trainer))
        rc = tell_done(&t, &err);
    else if (run(&t, &err) != UNSTIR_OK)
        rc = cli_fail(&err);
    else
        rc = finish(&t, &err);
    unstir_trainer_free(t.trainer);
    return rc;
}

const struct command command_train = {
    .name = "train",
    .summary = "teach a network to undo noise",
    .synopsis = "--data D -o DIR (--steps N | --epochs N | --minutes M)",
    .text =
        "Trains a UNet2DModel and leaves a model folder that this program and "
        "the diffusers library open.  The state is saved as it goes and on "
        "Ctrl-C; --resume goes on from it.",
    .examples =
        "unstir train --data fashion-mnist -o mine --minutes 60\n"
        "unstir train --data pictures/ -o mine --size 32 --epochs 50 --flip\n"
        "unstir train --resume mine\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .has_json = true,
    .main = train_main,
};
