/* models.c - the registry of models: which there are and in what state.
 *
 * SPDX-License-Identifier: MIT
 */
#include "models.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "jobs.h"
#include "log.h"
#include "models_inside.h"

#define DEFAULT_MODEL "fashion"
#define WARM_UP_MAX_S 0.25 /* of a step and its picture, as guessed         */

const char *model_state_name(enum model_state state)
{
    static const char *const names[] = {
#define X(name, text) [MODEL_##name] = text,
        MODEL_STATES(X)
#undef X
    };

    return names[state];
}

const char *model_id(const struct model *model)
{
    return model->info != NULL ? model->info->id : model->name;
}

struct model *models_find(const struct models *models, const char *id)
{
    struct model *at = models->first;

    if (id == NULL || id[0] == '\0')
        return at;
    while (at != NULL && strcmp(model_id(at), id) != 0)
        at = at->next;
    return at;
}

const char *models_nearest(const struct models *models, const char *id)
{
    const char *ids[CONFIG_MAX_LIST] = {NULL};
    size_t n = 0;
    int nearest;

    for (struct model *at = models->first; at != NULL; at = at->next)
        if (n < CONFIG_MAX_LIST)
            ids[n++] = model_id(at);
    nearest = unstir_nearest(id, ids, n);
    if (nearest >= 0)
        return ids[nearest];
    return n == 1 ? ids[0] : NULL; /* a choice of one is near enough */
}

void model_count(struct model *model, size_t n)
{
    model->models->used_bytes += n;
    model->models->used_bytes -= model->used_bytes;
    model->used_bytes = n;
}

void model_fail(struct model *model, const char *why)
{
    struct log_line line;

    model->state = MODEL_FAILED;
    model->is_starting = model->is_wanted = model->is_leaving = false;
    model_count(model, 0);
    (void)snprintf(model->why, sizeof model->why, "%s", why);
    log_begin(&line, LOG_LEVEL_ERROR, "model failed");
    log_text(&line, "model", model_id(model));
    log_text(&line, "why", why);
    log_end(&line);
    jobs_no_model(model->models->service, model);
}

const char *model_public_why(const struct model *model)
{
    return model->why_is_public  ? model->why
           : model->base != NULL ? "the files of its LoRAs cannot be read or "
                                   "have changed since the request came; send "
                                   "it again"
                                 : "the model could not be loaded; the "
                                   "server's log says why";
}

/* Used now, and its base whenever what was derived from it is. */
static void touch(struct model *model)
{
    model->order = ++model->models->next_order;
    if (model->base != NULL)
        model->base->order = ++model->models->next_order;
}

/* Evaluations of a step of the default request; of models that only repaint,
 * which have none, as guidance has it. */
static double default_evaluations(const struct model *model)
{
    struct unstir_request request = UNSTIR_REQUEST_INIT;

    request.class_id = model->info->n_classes > 0 ? 0 : UNSTIR_CLASS_UNSET;
    if (unstir_request_check(model->described, &request, &request, NULL, NULL,
                             NULL) != UNSTIR_OK)
        return model->info->takes_guidance ? 2 : 1;
    return unstir_request_evaluations(model->described, &request) /
           unstir_request_steps(&request);
}

double model_step_s(const struct model *model)
{
    return cost_predict(&model->cost, model->info->default_width,
                        model->info->default_height, default_evaluations(model),
                        0);
}

void model_warmed(struct model *model, const char *why)
{
    const struct unstir_model_info *info = model->info;
    struct log_line line;

    if (why != NULL) {
        model_fail(model, why);
        return;
    }
    model->state = MODEL_READY;
    model->is_starting = false;
    touch(model);
    log_begin(&line, LOG_LEVEL_INFO, "model ready");
    log_text(&line, "model", model_id(model));
    log_text(&line, "isa", info->isa);
    log_text(&line, "precision", info->precision);
    if (info->n_loras > 0)
        log_int(&line, "loras", (int64_t)info->n_loras);
    log_int(&line, "bytes", (int64_t)model->used_bytes);
    log_int(&line, "load_ms", (int64_t)(model->load_s * 1e3));
    if (cost_is_measured(&model->cost, info->default_width,
                         info->default_height))
        log_number(&line, "step_ms", model_step_s(model) * 1e3);
    log_end(&line);
}

void models_changed(struct models *models)
{
    /* Jobs of what has come begin, and hold it, before anything gives way. */
    if (models->service->jobs != NULL)
        sched_run(models->service->jobs);
    models_advance(models);
}

/* ------------------------------------------------------------- finding -- */

static bool is_folder(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* A model of that name beside the program: installed (../share/unstir/models)
 * or in its build tree (../models, ../../models for build/san-address). */
static bool find_shipped(char *path, size_t size, const char *name)
{
    static const char *const places[] = {"../share/unstir/models", "../models",
                                         "../../models"};
    char program[512];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash;

    if (n <= 0)
        return false;
    program[n] = '\0';
    slash = strrchr(program, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int length = snprintf(path, size, "%s/%s/%s", program, places[i], name);

        if (length > 0 && (size_t)length < size && is_folder(path))
            return true;
    }
    return false;
}

/* Of the standard tokenizer, or NULL. */
static const char *find_merges(char *path, size_t size)
{
    size_t n;

    if (!find_shipped(path, size, "clip-bpe"))
        return NULL;
    n = strlen(path);
    (void)snprintf(path + n, size - n, "/merges.txt");
    return path;
}

/* ----------------------------------------------------------- unloading -- */

struct unloading {
    struct loop_task task;
    struct model *model;
};

static void unload(struct loop_task *task)
{
    unstir_model_close(((struct unloading *)task)->model->engine);
}

static void unloaded(struct model *model)
{
    struct log_line line;

    model->engine = NULL;
    model->state = MODEL_UNLOADED;
    model->is_leaving = false;
    model->loaded_ms = 0;
    log_begin(&line, LOG_LEVEL_INFO, "model unloaded");
    log_text(&line, "model", model_id(model));
    log_int(&line, "bytes", (int64_t)model->used_bytes);
    log_end(&line);
    model_count(model, 0);
    if (model->base != NULL) {
        model->models->counters.n_unloaded++;
        model_derived_ended(model);
    }
}

static void unload_done(struct loop_task *task)
{
    struct unloading *u = (struct unloading *)task;
    struct models *models = u->model->models;

    models->n_tasks--;
    unloaded(u->model);
    mem_free(u);
    models_changed(models);
}

void model_start_unloading(struct model *model)
{
    struct unloading *u = mem_zero(1, sizeof *u);

    assert(model->n_users == 0 && model->n_derived == 0 &&
           model->engine != model->described);
    model->state = MODEL_UNLOADING;
    if (u != NULL) {
        u->task = (struct loop_task){.run = unload, .done = unload_done};
        u->model = model;
        if (loop_offload(model->models->service->loop, &u->task)) {
            model->models->n_tasks++;
            return;
        }
        mem_free(u);
    }
    unstir_model_close(model->engine); /* no memory: all the more reason */
    unloaded(model);
}

void model_hold(struct model *model)
{
    model->n_users++;
    touch(model);
}

void model_leave_if_idle(struct model *model)
{
    if (model->n_users == 0 && model->n_derived == 0 && model->is_leaving &&
        model->state == MODEL_READY)
        model_start_unloading(model);
}

void model_drop(struct model *model)
{
    assert(model->n_users > 0);
    model->n_users--;
    model_leave_if_idle(model);
}

bool model_is_ready(const struct model *model)
{
    return model->state == MODEL_READY && !model->is_leaving &&
           (model->base == NULL || !model->base->is_leaving);
}

/* ------------------------------------------------------------- loading -- */

struct loading {
    struct loop_task task;
    struct model *model;
    struct unstir_model_options options;
    char merges[1024];
    struct unstir_model *engine;
    struct unstir_error error;
    int64_t started_ns;
    int64_t ended_ns;
};

static void load(struct loop_task *task)
{
    struct loading *l = (struct loading *)task;

    l->started_ns = clock_mono_ns();
    (void)unstir_model_open(&l->engine, l->model->path, &l->options,
                            &l->error); /* told by engine == NULL */
    l->ended_ns = clock_mono_ns();
}

static bool has_twin(const struct models *models, const struct model *model)
{
    for (const struct model *at = models->first; at != NULL; at = at->next)
        if (at != model && at->info != NULL &&
            strcmp(at->info->id, model->info->id) == 0)
            return true;
    return false;
}

static void take_description(struct model *model, struct unstir_model *engine)
{
    model->described = engine;
    model->info = unstir_model_info(engine);
    model->opened_ms = clock_wall_ms();
    cost_init(&model->cost, model->info->default_width,
              model->info->default_height, model->info->evaluation_gflop,
              model->info->decode_gflop);
}

static void too_large(struct model *model)
{
    char why[200];

    (void)snprintf(why, sizeof why,
                   "its weights take %llu MiB of memory; --models-memory "
                   "allows %llu MiB for all models",
                   (unsigned long long)(model->info->weight_bytes >> 20) + 1,
                   (unsigned long long)(model->models->max_bytes >> 20));
    model->why_is_public = true;
    model_fail(model, why);
}

/* A warm-up is worth its time where steps are so short that plans and first
 * touches of memory are a good part of the first ones. */
static bool is_worth_warming(const struct model *model)
{
    return model_step_s(model) +
               cost_predict(&model->cost, model->info->default_width,
                            model->info->default_height, 0, 1) <=
           WARM_UP_MAX_S;
}

void model_loaded(struct model *model)
{
    struct models *models = model->models;

    model->loaded_ms = clock_wall_ms();
    model_count(model, (size_t)unstir_model_info(model->engine)->weight_bytes);
    if (model->base == NULL && has_twin(models, model))
        model_fail(model, "another model has the same id");
    else if (!model->is_starting || models->service->is_draining ||
             !is_worth_warming(model))
        model_warmed(model, NULL);
    else
        jobs_warm(models->service, model);
}

static void plan_start(struct models *models);

static void described(struct model *model)
{
    model->state = MODEL_UNLOADED;
    if (has_twin(model->models, model))
        model_fail(model, "another model has the same id");
    else if (model->info->weight_bytes > model->models->max_bytes)
        too_large(model);
    plan_start(model->models);
}

/* Memory may be there another time. */
static void load_failed(struct model *model, const struct unstir_error *error)
{
    bool may_come_back =
        error->status == UNSTIR_ERR_NOMEM && model->info != NULL;

    model_fail(model, error->detail);
    if (may_come_back)
        model->state = MODEL_UNLOADED;
}

static void load_done(struct loop_task *task)
{
    struct loading *l = (struct loading *)task;
    struct model *model = l->model;
    struct models *models = model->models;

    models->n_tasks--;
    model->load_s = (double)(l->ended_ns - l->started_ns) * 1e-9;
    if (models->is_stopping) {
        unstir_model_close(l->engine);
        model->state = MODEL_FAILED;
    } else if (l->engine == NULL) {
        load_failed(model, &l->error);
        plan_start(models);
    } else {
        if (model->described == NULL)
            take_description(model, l->engine);
        if (l->options.without_weights) {
            described(model);
        } else {
            model->engine = l->engine;
            model_loaded(model);
        }
    }
    mem_free(l);
    models_changed(models);
}

static enum unstir_precision precision_of(const char *text)
{
    return strcmp(text, "f32") == 0    ? UNSTIR_PRECISION_F32
           : strcmp(text, "bf16") == 0 ? UNSTIR_PRECISION_BF16
           : strcmp(text, "int8") == 0 ? UNSTIR_PRECISION_INT8
                                       : UNSTIR_PRECISION_AUTO;
}

static void set_parts(struct unstir_model_options *options,
                      const struct config *config)
{
    options->vae = config->vae[0] != '\0' ? config->vae : NULL;
    for (size_t i = 0; i < 2 && i < config->text_encoder.n; i++)
        options->text_encoders[i] = config->text_encoder.items[i];
}

bool model_start_loading(struct model *model, bool without_weights)
{
    struct models *models = model->models;
    const struct config *config = models->service->config;
    struct loading *l = mem_zero(1, sizeof *l);

    if (l == NULL)
        return false;
    l->task = (struct loop_task){.run = load, .done = load_done};
    l->model = model;
    l->options.isa =
        config->isa != NULL && config->isa[0] != '\0' ? config->isa : NULL;
    l->options.precision = precision_of(config->precision);
    l->options.pack_cache = config->pack_cache;
    l->options.without_weights = without_weights;
    l->options.low_memory = config->low_memory;
    l->options.tiny_decoder =
        config->tiny_decoder[0] != '\0' ? config->tiny_decoder : NULL;
    l->options.merges_path = find_merges(l->merges, sizeof l->merges);
    set_parts(&l->options, config);
    if (!loop_offload(models->service->loop, &l->task)) {
        mem_free(l);
        return false;
    }
    models->n_tasks++;
    model->state = MODEL_LOADING;
    model->is_wanted = false;
    if (model->info != NULL && !without_weights)
        model_count(model, model_need(model));
    return true;
}

/* All are described: which of them are loaded now. */
static void plan_start(struct models *models)
{
    for (const struct model *at = models->first; at != NULL; at = at->next)
        if (at->state == MODEL_LOADING)
            return; /* the last one to come plans for all */
    for (struct model *at = models->first; at != NULL; at = at->next) {
        if (!at->is_starting || at->state != MODEL_UNLOADED)
            continue;
        at->is_starting = model_fits(at) && model_start_loading(at, false);
    }
}

/* ------------------------------------------------------------- adding -- */

static const char *last_segment(char *path)
{
    size_t n = strlen(path);
    char *slash;

    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

/* `given` is a path, or the name of a model shipped with the program, whose
 * path is put into `shipped`.  NULL after *why was written. */
static const char *path_of(const char *given, char *shipped,
                           size_t shipped_size, char *why, size_t why_size)
{
    if (strchr(given, '/') != NULL || is_folder(given))
        return given;
    if (find_shipped(shipped, shipped_size, given))
        return shipped;
    (void)snprintf(why, why_size,
                   "model %s: no such folder here or among the models "
                   "that come with the program; give one by -m",
                   given);
    return NULL;
}

static const char *given_path(const struct config *config, size_t i)
{
    return config->model.n > 0 ? config->model.items[i] : DEFAULT_MODEL;
}

static size_t n_given(const struct config *config)
{
    return config->model.n > 0 ? config->model.n : 1;
}

static bool add(struct models *models, const char *given, char *why,
                size_t why_size)
{
    struct model **end = &models->first;
    struct model *model;
    char shipped[1024];
    const char *path = path_of(given, shipped, sizeof shipped, why, why_size);

    if (path == NULL)
        return false;
    model = mem_zero(1, sizeof *model);
    if (model == NULL || (model->path = mem_strdup(path)) == NULL) {
        mem_free(model);
        (void)snprintf(why, why_size, "out of memory");
        return false;
    }
    model->models = models;
    model->failure = ERROR_NO_MODEL;
    model->name = mem_strdup(last_segment(model->path));
    model->is_starting = true;
    while (*end != NULL)
        end = &(*end)->next;
    *end = model;
    models->n++;
    if (model->name != NULL &&
        model_start_loading(model, models->max_bytes > 0))
        return true;
    (void)snprintf(why, why_size, "out of memory");
    return false;
}

/* ---------------------------------------------------------- --check ----- */

/* Is `word` in the list "a,b,c"? */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; *at != '\0'; at += *at == ',') {
        size_t length = strcspn(at, ",");

        if (length == n && strncmp(at, word, n) == 0)
            return true;
        at += length;
    }
    return false;
}

bool models_check(const struct config *config, char *why, size_t why_size)
{
    struct unstir_error error;
    char shipped[1024], merges[1024];
    struct unstir_model_options options = {
        .pack_cache = config->pack_cache,
        .without_weights = true,
        .merges_path = find_merges(merges, sizeof merges)};
    struct unstir_model *model;

    set_parts(&options, config);
    if (config->text_encoder.n > 2) {
        (void)snprintf(why, why_size,
                       "--text-encoder: given %zu times; no model has more "
                       "than 2",
                       config->text_encoder.n);
        return false;
    }
    if (config->isa[0] != '\0' && !has_word(unstir_cpu_rungs(), config->isa)) {
        (void)snprintf(why, why_size, "--isa %.40s: this CPU has %s",
                       config->isa, unstir_cpu_rungs());
        return false;
    }
    for (size_t i = 0; i < n_given(config); i++) {
        const char *path = path_of(given_path(config, i), shipped,
                                   sizeof shipped, why, why_size);

        if (path == NULL)
            return false;
        if (unstir_model_open(&model, path, &options, &error) != UNSTIR_OK) {
            (void)snprintf(why, why_size, "model %.200s: %s", path,
                           error.detail);
            return false;
        }
        unstir_model_close(model);
    }
    return true;
}

/* ------------------------------------------------------------ the part -- */

bool models_open(struct service *service, char *why, size_t why_size)
{
    const struct config *config = service->config;
    struct models *models = mem_zero(1, sizeof *models);

    if (models == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return false;
    }
    models->service = service;
    models->max_bytes = config->models_memory;
    service->models = models;
    for (size_t i = 0; i < n_given(config); i++)
        if (!add(models, given_path(config, i), why, why_size)) {
            models_close(service);
            return false;
        }
    return true;
}

/* Ready when the start is over and any model can be used, loaded or not;
 * failed when none ever will. */
enum part_state models_state(const struct service *service, char *why,
                             size_t why_size)
{
    const struct model *failed = NULL;
    bool is_starting = false, is_any_usable = false;

    for (const struct model *at = service->models->first; at != NULL;
         at = at->next) {
        is_starting |= at->is_starting;
        is_any_usable |= at->state != MODEL_FAILED;
        if (at->state == MODEL_FAILED && failed == NULL)
            failed = at;
    }
    if (is_starting) {
        (void)snprintf(why, why_size, "a model is loading");
        return PART_STARTING;
    }
    if (is_any_usable)
        return PART_READY;
    (void)snprintf(why, why_size, "model %s failed to load",
                   failed != NULL ? model_id(failed) : "(none)");
    return PART_FAILED;
}

/* Jobs that were accepted may still want theirs. */
void models_drain(struct service *service)
{
    (void)service;
}

size_t models_busy(const struct service *service)
{
    (void)service; /* loading is cut short, not waited for */
    return 0;
}

void models_stop(struct service *service)
{
    service->models->is_stopping = true;
    models_cancel_deriving(service->models);
}

/* By a helper thread's task; jobs are gone when the models close. */
static bool is_any_held(const struct models *models)
{
    for (const struct model *at = models->first; at != NULL;
         at = models_after(models, at))
        if (at->n_users > 0)
            return true;
    return false;
}

void models_close(struct service *service)
{
    struct models *models = service->models;
    struct model *next;

    if (models == NULL)
        return;
    models->is_stopping = true;
    models_cancel_deriving(models);
    while (models->n_tasks > 0 || is_any_held(models))
        loop_run_once(service->loop, 100);
    models_free_derived(models);
    for (struct model *at = models->first; at != NULL; at = next) {
        next = at->next;
        if (at->engine != at->described)
            unstir_model_close(at->engine);
        unstir_model_close(at->described);
        mem_free(at->path);
        mem_free(at->name);
        mem_free(at);
    }
    mem_free(models);
    service->models = NULL;
}
