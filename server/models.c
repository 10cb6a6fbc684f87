/* models.c - the registry of models: which are in memory, and why.
 *
 * SPDX-License-Identifier: MIT
 */
#include "models.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "log.h"
#include "model_files.h"
#include "model_room.h"
#include "model_task.h"

/* A deed for a model that is done with it. */
static struct model_task *start(enum model_deed deed, struct model *model,
                                void (*done)(struct model_task *task))
{
    struct models *models = model->models;
    struct model_task *task = model_task_start(
        models->service->loop, models->service->config, deed, model, done);

    models->n_tasks += task != NULL;
    return task;
}

/* ------------------------------------------------------------- telling -- */

void models_listen(struct models *models,
                   const struct models_listener *listener)
{
    static const struct models_listener nobody;

    models->listener = listener != NULL ? *listener : nobody;
}

static void advance(struct models *models);

/* Jobs of what has come begin, and hold it, before anything gives way. */
static void changed(struct models *models)
{
    const struct models_listener *listener = &models->listener;

    if (listener->changed != NULL)
        listener->changed(listener->user);
    advance(models);
}

/* It failed, and so do the jobs that wait for it; model->failure and
 * why_is_public say how. */
static void fail(struct model *model, const char *why)
{
    const struct models_listener *listener = &model->models->listener;
    struct log_line line;

    model->state = MODEL_FAILED;
    model->is_starting = model->is_wanted = model->is_leaving = false;
    models_count(model, 0);
    (void)snprintf(model->why, sizeof model->why, "%s", why);
    log_begin(&line, LOG_LEVEL_ERROR, "model failed");
    log_text(&line, "model", model_id(model));
    log_text(&line, "why", why);
    log_end(&line);
    if (listener->failed != NULL)
        listener->failed(listener->user, model);
}

/* A ceiling is too low for what it `takes`. */
static void fail_too_large(struct model *model, const char *takes,
                           uint64_t n_bytes, const char *when)
{
    char why[200];

    (void)snprintf(why, sizeof why,
                   "%s %llu MiB of memory%s; --models-memory allows %llu MiB "
                   "for all models",
                   takes, (unsigned long long)(n_bytes >> 20) + 1, when,
                   (unsigned long long)(model->models->max_bytes >> 20));
    model->why_is_public = true;
    fail(model, why);
}

void model_warmed(struct model *model, const char *why)
{
    const struct unstir_model_info *info = model->info;
    struct log_line line;

    if (why != NULL) {
        fail(model, why);
        return;
    }
    model->state = MODEL_READY;
    model->is_starting = false;
    models_touch(model);
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

/* Its engine is there. */
static void loaded(struct model *model)
{
    const struct models *models = model->models;
    const struct models_listener *listener = &models->listener;

    model->loaded_ms = clock_wall_ms();
    model->was_loaded = true;
    models_count(model, (size_t)unstir_model_info(model->engine)->weight_bytes);
    if (model->base == NULL && models_has_twin(model))
        fail(model, "another model has the same id");
    else if (!model->is_starting || models->service->is_draining ||
             listener->loaded == NULL || !model_is_worth_warming(model))
        model_warmed(model, NULL);
    else
        listener->loaded(listener->user, model);
}

/* ----------------------------------------------------------- unloading -- */

static void leave_if_idle(struct model *model);

/* What is derived has no engine any more, and no task. */
static void derived_ends(struct model *model)
{
    struct model *base = model->base;

    models_derived_ends(model);
    leave_if_idle(base);
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
    models_count(model, 0);
    if (model->base != NULL) {
        model->models->counters.n_unloaded++;
        derived_ends(model);
    }
}

static void unload_done(struct model_task *task)
{
    struct model *model = task->model;
    struct models *models = model->models;

    models->n_tasks--;
    unloaded(model);
    mem_free(task);
    changed(models);
}

static void unload(struct model *model)
{
    assert(model->n_users == 0 && model->n_derived == 0 &&
           model->engine != model->described);
    model->state = MODEL_UNLOADING;
    if (start(MODEL_UNLOAD, model, unload_done) != NULL)
        return;
    unstir_model_close(model->engine); /* no memory: all the more reason */
    unloaded(model);
}

static void leave_if_idle(struct model *model)
{
    if (model_may_leave(model))
        unload(model);
}

void model_hold(struct model *model)
{
    model->n_users++;
    models_touch(model);
}

void model_drop(struct model *model)
{
    assert(model->n_users > 0);
    model->n_users--;
    leave_if_idle(model);
}

/* ------------------------------------------------------------- loading -- */

static void plan_start(struct models *models);

/* Memory may be there another time, and files that were good once are likely
 * to be in the middle of being replaced: whoever asks next tries again. */
static void load_failed(struct model *model, const struct model_task *task)
{
    bool may_come_back =
        model->info != NULL &&
        (task->status == UNSTIR_ERR_NOMEM || model->was_loaded);

    model->why_is_public = false;
    fail(model, task->error.detail);
    if (may_come_back)
        model->state = MODEL_UNLOADED;
    plan_start(model->models);
}

/* Requests were checked against the files as they were described, and answers
 * name those: others are not used in their place. */
static void refuse_changed(struct model *model, struct unstir_model *engine)
{
    unstir_model_close(engine);
    model->why_is_public = true;
    fail(model, "its files have changed since the server started; start it "
                "again to use them");
    model->state = MODEL_UNLOADED; /* they may be put back                   */
}

static bool has_changed(const struct model *model,
                        const struct unstir_model *engine)
{
    return strcmp(unstir_model_info(engine)->digest, model->info->digest) != 0;
}

static void described(struct model *model)
{
    model->state = MODEL_UNLOADED;
    if (models_has_twin(model))
        fail(model, "another model has the same id");
    else if (model->info->weight_bytes > model->models->max_bytes)
        fail_too_large(model, "its weights take", model->info->weight_bytes,
                       "");
    plan_start(model->models);
}

static void load_done(struct model_task *task)
{
    struct model *model = task->model;
    struct models *models = model->models;

    models->n_tasks--;
    model->load_s = task->seconds;
    if (models->is_stopping) {
        unstir_model_close(task->engine);
        model->state = MODEL_FAILED;
    } else if (task->engine == NULL) {
        load_failed(model, task);
    } else {
        if (model->described == NULL)
            model_describe(model, task->engine);
        if (task->deed == MODEL_DESCRIBE) {
            described(model);
        } else if (has_changed(model, task->engine)) {
            refuse_changed(model, task->engine);
        } else {
            model->engine = task->engine;
            loaded(model);
        }
    }
    mem_free(task);
    changed(models);
}

/* False without memory. */
static bool load(struct model *model, enum model_deed deed)
{
    if (start(deed, model, load_done) == NULL)
        return false;
    model->state = MODEL_LOADING;
    model->is_wanted = false;
    if (model->info != NULL && deed == MODEL_LOAD)
        models_count(model, model_need(model));
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
        at->is_starting = room_fits(at) && load(at, MODEL_LOAD);
    }
}

/* ------------------------------------------------------------ deriving -- */

/* Files that are away or others by now, and missing memory, may be better the
 * next time; what a file holds will not. */
static void derive_failed(struct model *model, const struct model_task *task)
{
    bool is_file = task->status == UNSTIR_ERR_IO;
    bool is_memory = task->status == UNSTIR_ERR_NOMEM;

    model->models->counters.n_failed++;
    model->failure = is_memory ? ERROR_NO_MEMORY : ERROR_LORA_UNUSABLE;
    model->why_is_public = !is_file;
    fail(model, task->error.detail);
    if (is_file || is_memory)
        model->state = MODEL_UNLOADED;
}

/* Whoever waits for it will want it again, knowing whether it fits. */
static void measured(struct model *model, const struct model_task *task)
{
    size_t n_bytes = model_need(model->base);

    model->need_bytes = task->peak_bytes > 0 ? task->peak_bytes : 1;
    n_bytes += model->need_bytes;
    if (n_bytes > model->models->max_bytes)
        fail_too_large(model, "with these LoRAs the model takes", n_bytes,
                       " while it is made");
}

static void derived(struct model *model, const struct model_task *task)
{
    model->engine = task->engine;
    model->load_s = task->seconds;
    model->models->counters.n_made++;
    loaded(model);
}

/* Who has come to wait for it since will want it again. */
static void derive_canceled(struct model *model)
{
    model->models->counters.n_canceled++;
    models_count(model, 0);
}

static void derive_done(struct model_task *task)
{
    struct model *model = task->model;
    struct models *models = model->models;

    models->n_tasks--;
    model->state = MODEL_UNLOADED;
    model->making = NULL;
    model_refer(model); /* jobs that fail may be the last to name it         */
    if (task->status == UNSTIR_ERR_CANCELLED)
        derive_canceled(model);
    else if (task->status != UNSTIR_OK)
        derive_failed(model, task);
    else if (task->deed == MODEL_MEASURE)
        measured(model, task);
    else
        derived(model, task);
    if (task->deed == MODEL_DERIVE && task->engine == NULL)
        derived_ends(model);
    model_release(model);
    mem_free(task);
    if (!models->is_stopping)
        changed(models);
}

/* Make a derived model out of its loaded base, which is kept from now on as if
 * the new engine were there already, or find out what that will take.  False
 * without memory. */
static bool derive(struct model *model, enum model_deed deed)
{
    model->making = start(deed, model, derive_done);
    if (model->making == NULL)
        return false;
    model->state = MODEL_LOADING;
    model->is_wanted = false;
    if (deed == MODEL_MEASURE)
        return true;
    models_derived_begins(model);
    models_count(model, model_need(model));
    return true;
}

static void cancel_deriving(struct models *models)
{
    for (struct model *at = models->first_derived; at != NULL; at = at->next)
        model_unwant(at);
}

/* ---------------------------------------------------------- being wanted -- */

/* Load who has been wanted longest, making room.  Under a ceiling it is asked
 * first what a derived model will take. */
static void advance(struct models *models)
{
    struct model *next, *leaver;

    while (!models->is_stopping && (next = room_next_wanted(models)) != NULL) {
        bool is_derived = next->base != NULL;
        bool only_measures =
            is_derived && models->max_bytes > 0 && next->need_bytes == 0;

        if (!only_measures && !room_fits(next)) {
            room_make(models, next);
            while ((leaver = room_next_leaver(models)) != NULL)
                unload(leaver);
            if (!room_fits(next))
                return;
        }
        if (is_derived
                ? !derive(next, only_measures ? MODEL_MEASURE : MODEL_DERIVE)
                : !load(next, MODEL_LOAD))
            return; /* no memory: tried again when something changes */
    }
}

static bool can_be_wanted(const struct model *model)
{
    return model != NULL && model->info != NULL && !model_is_ready(model);
}

void models_want(struct model *model, struct model *other, bool may_evict)
{
    if (can_be_wanted(model))
        room_want(model, other, may_evict);
    if (can_be_wanted(other))
        room_want(other, model, may_evict);
    advance(model->models);
}

bool models_fit_together(const struct model *a, const struct model *b,
                         char *why, size_t why_size)
{
    const struct models *models = a->models;
    uint64_t n_bytes = room_of_both(a, b);

    if (models->max_bytes == 0 || n_bytes <= models->max_bytes ||
        models_are_ready(a, b))
        return true; /* what is made takes less than its making             */
    (void)snprintf(why, why_size,
                   "%.60s and %.60s together take %llu MiB of memory; "
                   "--models-memory allows %llu MiB for all models",
                   model_id(a), model_id(b),
                   (unsigned long long)(n_bytes >> 20) + 1,
                   (unsigned long long)(models->max_bytes >> 20));
    return false;
}

void model_unwant(struct model *model)
{
    if (model->base == NULL)
        return;
    model->is_wanted = false;
    if (model->making != NULL)
        model_task_cancel(model->making);
}

/* ------------------------------------------------------------ the part -- */

/* The i-th of the options. */
static bool add(struct models *models, size_t i, char *why, size_t why_size)
{
    char place[1024];
    const char *path = model_files_path(models->service->config, i, place,
                                        sizeof place, why, why_size);
    struct model *model;

    if (path == NULL)
        return false;
    model = models_add(models, path);
    if (model != NULL) {
        model->is_starting = true;
        if (load(model, models->max_bytes > 0 ? MODEL_DESCRIBE : MODEL_LOAD))
            return true;
    }
    (void)snprintf(why, why_size, "out of memory");
    return false;
}

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
    models->max_derived = (size_t)config->max_derived;
    service->models = models;
    for (size_t i = 0; i < model_files_n(config); i++)
        if (!add(models, i, why, why_size)) {
            models_close(service);
            return false;
        }
    return true;
}

static const struct model *first_usable(const struct models *models)
{
    const struct model *at = models->first;

    while (at != NULL && (at->info == NULL || at->state == MODEL_FAILED))
        at = at->next;
    return at;
}

void model_say_unusable(const struct model *model, bool is_named, char *out,
                        size_t size)
{
    const struct model *other = is_named ? NULL : first_usable(model->models);
    bool has_failed = model->state == MODEL_FAILED;

    (void)snprintf(
        out, size, "model %s is %s%s%s%s%s", model_id(model),
        model_state_name(model->state), has_failed ? ": " : "",
        has_failed ? model_public_why(model) : "",
        other ? "; requests that name no model are for it, but may name " : "",
        other ? model_id(other) : "");
}

/* The start is over and any model can be used, loaded or not: ready when all
 * can.  Failed when none ever will. */
enum part_state models_state(const struct service *service, char *why,
                             size_t why_size)
{
    const struct models *models = service->models;
    const struct model *failed = NULL;
    bool is_any_usable = false;

    for (const struct model *at = models->first; at != NULL; at = at->next) {
        if (at->is_starting) {
            (void)snprintf(why, why_size, "a model is loading");
            return PART_STARTING;
        }
        is_any_usable |= at->state != MODEL_FAILED;
        if (at->state == MODEL_FAILED && failed == NULL)
            failed = at;
    }
    if (failed == NULL)
        return PART_READY;
    model_say_unusable(failed, failed != models->first, why, why_size);
    return is_any_usable ? PART_DEGRADED : PART_FAILED;
}

void models_stop(struct service *service)
{
    service->models->is_stopping = true;
    cancel_deriving(service->models);
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

    if (models == NULL)
        return;
    models_stop(service);
    while (models->n_tasks > 0 || is_any_held(models))
        loop_run_once(service->loop, 100);
    models_free_all(models);
    mem_free(models);
    service->models = NULL;
}
