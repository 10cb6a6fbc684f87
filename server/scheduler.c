/* scheduler.c - who computes now: the queue, the workers, and what passes between
 * them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "scheduler.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "models.h"
#include "progress.h"
#include "warm.h"

static const struct work_events job_events;

static struct job *job_of(struct queue_item *item)
{
    return (struct job *)(void *)((char *)item - offsetof(struct job, item));
}

/* ---------------------------------------------------------- predictions -- */

void sched_load(const struct sched *sched, struct queue_load *load)
{
    int64_t now = clock_mono_ns();
    double turn_s = 0;
    bool is_busy = sched->n_workers > 0;

    *load = (struct queue_load){.n_workers = sched->n_workers};
    for (unsigned i = 0; i < sched->n_workers; i++) {
        const struct sched_slot *slot = &sched->slots[i];
        const struct job *job;
        double rest_s;

        if (slot->work == NULL || slot->work->events != &job_events) {
            is_busy = false;
            continue;
        }
        job = slot->work->owner;
        load->rest_s += job_left_s(job);
        rest_s = sched->queue.quantum_s -
                 (double)(now - slot->turn_started_ns) * 1e-9;
        rest_s = rest_s < job_left_s(job) ? rest_s : job_left_s(job);
        if (rest_s > 0 && (turn_s <= 0 || rest_s < turn_s))
            turn_s = rest_s;
    }
    load->turn_s = is_busy ? turn_s : 0;
}

double sched_backlog_s(const struct sched *sched)
{
    struct queue_load load;

    sched_load(sched, &load);
    return queue_backlog_s(&sched->queue, &load);
}

/* Tell a job that waits for its first turn where it stands, and what for. */
static void tell_place(void *user, struct queue_item *item, unsigned position,
                       double start_s)
{
    struct job *job = job_of(item);
    enum job_stage stage = STAGE_QUEUED;

    (void)user;
    if (item->has_begun || job->state == JOB_ADMITTING)
        return;
    if (!models_are_ready(job->req.model, job->req.refiner)) {
        models_want(job->req.model, job->req.refiner, false); /* while others
                                                                 compute */
        stage = STAGE_LOADING;
    }
    if (job->position == position && job->stage == stage)
        return;
    job->stage = stage;
    job->position = position;
    job->ahead_s = start_s;
    job_emit(job, (struct event){.kind = EVENT_STATUS,
                                 .state = (uint8_t)job->state,
                                 .position = position,
                                 .seconds = (float)start_s});
}

static void tell_places(struct sched *sched)
{
    struct queue_load load;

    if (sched->queue.n_fresh == 0)
        return;
    sched_load(sched, &load);
    queue_each(&sched->queue, &load, tell_place, NULL);
}

/* As one of its two, or as what one of them is made of. */
static bool needs(const struct genreq *req, const struct model *model)
{
    return req->model == model || req->model->base == model ||
           req->refiner == model;
}

struct model_wait {
    const struct model *model;
    struct job *job;
};

static void find_waiting(void *user, struct queue_item *item, unsigned position,
                         double start_s)
{
    struct model_wait *wait = user;
    struct job *job = job_of(item);

    (void)position;
    (void)start_s;
    if (job->work == NULL && needs(&job->req, wait->model))
        wait->job = job;
}

/* A model that only this job waited for need not be made. */
static void stop_waiting(const struct sched *sched, const struct job *job)
{
    struct queue_load load = {.n_workers = 1};
    struct model_wait wait = {.model = job->req.model};

    if (model_is_ready(job->req.model))
        return;
    queue_each(&sched->queue, &load, find_waiting, &wait);
    if (wait.job == NULL)
        model_unwant(job->req.model);
}

/* --------------------------------------------------------------- the end -- */

/* Free its work, which no worker has, and let go of the model. */
static void drop_work(struct job *job)
{
    if (job->work == NULL)
        return;
    work_free(job->work);
    job->work = NULL;
    model_drop(job->req.model);
    if (job->req.refiner != NULL)
        model_drop(job->req.refiner);
}

/* End a job in a terminal state. */
static void settle(struct sched *sched, struct job *job, enum job_state state)
{
    if (ring_is_in(&job->item.link)) {
        queue_remove(&sched->queue, &job->item);
        stop_waiting(sched, job);
    }
    if (!job->is_in_hand) {
        drop_work(job);
        jobs_drop_pictures(job);
    }
    jobs_settle(job, state);
}

void sched_fail(struct sched *sched, struct job *job, enum error_code code,
                const char *detail)
{
    job->has_error = true;
    job->error = code;
    job->error_stage = job->stage;
    (void)snprintf(job->error_detail, sizeof job->error_detail, "%s", detail);
    settle(sched, job, JOB_FAILED);
}

static void fail_late(struct sched *sched, struct job *job)
{
    char detail[128];

    (void)snprintf(detail, sizeof detail,
                   "deadline_s of %g was over after %llu of %llu steps",
                   job->req.deadline_s, (unsigned long long)job->n_steps_taken,
                   (unsigned long long)job_n_steps(job));
    sched_fail(sched, job, ERROR_DEADLINE_EXCEEDED, detail);
}

void sched_cancel(struct sched *sched, struct job *job, bool finish)
{
    if (job_is_terminal(job))
        return;
    /* Nothing to finish before a worker has begun. */
    if (job->state == JOB_ADMITTING || job->state == JOB_QUEUED ||
        (!finish && !job->is_in_hand)) {
        settle(sched, job, JOB_CANCELED);
        sched_run(sched);
        return;
    }
    job->is_finishing = finish;
    work_stop(job->work, finish ? WORK_FINISH : WORK_ABORT);
    if (job->state == JOB_RUNNING)
        job_set_state(job, JOB_CANCELING);
}

/* ------------------------------------------------- the end of a turn ------ */

static void settle_by_outcome(struct sched *sched, struct job *job,
                              const struct work *work)
{
    job->begin_ms = work->begin_ns / 1000000;
    job->denoise_ms = work->denoise_ns / 1000000;
    job->encode_ms = work->png_ns / 1000000;
    switch (work->outcome) {
    case WORK_DONE:
        for (uint32_t i = 0; i < job->req.n; i++)
            if (!job->pictures[i].is_done && !job->is_forgotten) {
                sched_fail(sched, job, ERROR_NO_MEMORY,
                           "no memory to keep the pictures");
                return;
            }
        settle(sched, job, job->is_forgotten ? JOB_CANCELED : JOB_SUCCEEDED);
        break;
    case WORK_STOPPED:
        settle(sched, job, JOB_CANCELED);
        break;
    case WORK_LATE:
        fail_late(sched, job);
        break;
    case WORK_BROKEN:
        sched_fail(sched, job,
                   work->has_bad_picture ? ERROR_BAD_PICTURE
                   : work->error.status == UNSTIR_ERR_NOMEM ||
                           work->error.status == UNSTIR_ERR_LIMIT
                       ? ERROR_NO_MEMORY
                       : ERROR_GENERATION_FAILED,
                   work->error.detail);
        break;
    case WORK_TURN_OVER: /* handled by the caller */
        break;
    }
}

static void free_slot(struct sched *sched, const struct work *work)
{
    for (unsigned i = 0; i < sched->n_workers; i++)
        if (sched->slots[i].work == work)
            sched->slots[i].work = NULL;
}

static void turn_over(struct work *work)
{
    struct job *job = work->owner;
    struct sched *sched = job->jobs->service->sched;

    free_slot(sched, work);
    job->is_in_hand = false;
    if (work->has_begun || work->outcome != WORK_TURN_OVER)
        jobs_drop_pictures(job);
    if (job_is_terminal(job)) { /* the service was stopped meanwhile */
        drop_work(job);
    } else if (work->outcome != WORK_TURN_OVER) {
        settle_by_outcome(sched, job, work);
    } else if (atomic_load(&work->stop) == WORK_ABORT) {
        settle(sched, job, JOB_CANCELED);
    } else {
        queue_push(&sched->queue, &job->item);
    }
    sched_run(sched);
}

static const struct work_events job_events = {.stepped = progress_stepped,
                                              .encoded = progress_encoded,
                                              .turn_over = turn_over};

/* ---------------------------------------------------------------- giving -- */

static int64_t quantum_ns(const struct sched *sched)
{
    return (int64_t)(sched->queue.quantum_s * 1e9);
}

static struct work *make_work(const struct sched *sched, struct job *job)
{
    struct work *work = mem_zero(1, sizeof *work);

    if (work == NULL)
        return NULL;
    work_init(work, sched->service->loop, quantum_ns(sched), &job_events, job);
    model_hold(job->req.model);
    work->model = job->req.model->engine;
    work->request = job->req.resolved;
    if (job->req.refiner != NULL) {
        model_hold(job->req.refiner);
        work->refiner = job->req.refiner->engine;
        work->refined = job->req.refined.resolved;
    }
    work->n = job->req.n;
    work->preview_every = job->req.has_previews ? job->req.preview_every : 0;
    work->preview_decoder = job->req.preview_decoder;
    work->output.file = job->req.file;
    work->output.no_metadata = !job->req.has_metadata;
    work->wants_latents = job->req.wants_latents;
    work->n_latents = job->req.init_image.n_latents;
    work->init_image = job->req.init_image.blob;
    work->mask = job->req.mask.blob;
    work->deadline_ns = job->deadline_ns;
    return work;
}

static void give(struct sched_slot *slot, struct work *work)
{
    slot->work = work;
    slot->turn_started_ns = clock_mono_ns();
    worker_give(slot->worker, work);
}

static void start_job(struct sched *sched, struct sched_slot *slot,
                      struct job *job)
{
    if (job->work == NULL)
        job->work = make_work(sched, job);
    if (job->work == NULL) {
        sched_fail(sched, job, ERROR_NO_MEMORY, "no memory to start the job");
        return;
    }
    job->is_in_hand = true;
    give(slot, job->work);
    if (job->state != JOB_QUEUED)
        return;
    job->position = 0;
    job->ahead_s = 0;
    job->started_ms = clock_wall_ms();
    job->started_ns = clock_mono_ns();
    job->stage = STAGE_TEXT;
    job_set_state(job, JOB_RUNNING);
}

/* Its two models are larger together than all may be: so much is known of some
 * only when they are wanted. */
static bool is_hopeless(const struct job *job, char *why, size_t why_size)
{
    return job->work == NULL && job->req.refiner != NULL &&
           !models_fit_together(job->req.model, job->req.refiner, why,
                                why_size);
}

/* A job that has begun holds its models, so they are there. */
static bool may_run(void *user, struct queue_item *item)
{
    struct job *job = job_of(item);
    char why[200];

    (void)user;
    if (job->state == JOB_ADMITTING)
        return false;
    if (job->work != NULL ||
        models_are_ready(job->req.model, job->req.refiner) ||
        is_hopeless(job, why, sizeof why))
        return true;
    models_want(job->req.model, job->req.refiner, true);
    return models_are_ready(job->req.model, job->req.refiner);
}

/* Whoever waits past its deadline ends without a turn. */
static struct job *next_job(struct sched *sched)
{
    struct queue_item *item;

    while ((item = queue_pop_if(&sched->queue, may_run, NULL)) != NULL) {
        struct job *job = job_of(item);
        char why[200];

        if (job->deadline_ns != 0 && clock_mono_ns() >= job->deadline_ns)
            fail_late(sched, job);
        else if (is_hopeless(job, why, sizeof why))
            sched_fail(sched, job, ERROR_NO_MEMORY, why);
        else
            return job;
    }
    return NULL;
}

static void end_late(void *user, struct queue_item *item, unsigned position,
                     double start_s)
{
    struct job **late = user;
    struct job *job = job_of(item);

    (void)position;
    (void)start_s;
    if (job->deadline_ns != 0 && clock_mono_ns() >= job->deadline_ns)
        *late = job;
}

static void end_all_late(struct sched *sched)
{
    struct queue_load load = {.n_workers = 1};
    struct job *late;

    do {
        late = NULL;
        queue_each(&sched->queue, &load, end_late, &late);
        if (late != NULL)
            fail_late(sched, late);
    } while (late != NULL);
}

void sched_run(struct sched *sched)
{
    if (sched->is_stopped)
        return;
    for (unsigned i = 0; i < sched->n_workers; i++) {
        struct sched_slot *slot = &sched->slots[i];
        struct warm_up *warm = sched->warm_ups;
        struct job *job;

        if (slot->work != NULL)
            continue;
        if (warm != NULL) {
            sched->warm_ups = warm->next;
            give(slot, &warm->work);
        } else if ((job = next_job(sched)) != NULL) {
            start_job(sched, slot, job);
        }
    }
    end_all_late(sched);
    tell_places(sched);
}

void sched_add(struct sched *sched, struct job *job)
{
    queue_push(&sched->queue, &job->item);
}

void sched_admitted(struct sched *sched, struct job *job)
{
    job_set_state(job, JOB_QUEUED);
    sched_run(sched);
}

/* ------------------------------------------------- what becomes of models -- */

static void add_warm_up(struct sched *sched, struct warm_up *warm)
{
    warm->next = sched->warm_ups;
    sched->warm_ups = warm;
}

static void warm_over(struct warm_up *warm)
{
    struct sched *sched = warm->user;

    free_slot(sched, &warm->work);
    if (warm->work.outcome == WORK_TURN_OVER && !sched->is_stopped)
        add_warm_up(sched, warm); /* steps longer than the quantum           */
    else
        warm_up_end(warm);
    sched_run(sched);
}

static void model_loaded(void *user, struct model *model)
{
    struct sched *sched = user;
    struct warm_up *warm = warm_up_new(model, sched->service->loop,
                                       quantum_ns(sched), warm_over, sched);

    if (warm == NULL)
        return;
    add_warm_up(sched, warm);
    sched_run(sched);
}

static void model_failed(void *user, const struct model *model)
{
    struct sched *sched = user;
    struct queue_load load = {.n_workers = 1};
    struct model_wait wait = {.model = model};

    do {
        wait.job = NULL;
        queue_each(&sched->queue, &load, find_waiting, &wait);
        if (wait.job != NULL)
            sched_fail(sched, wait.job, model->failure,
                       model_public_why(model));
    } while (wait.job != NULL);
}

static void models_changed(void *user)
{
    sched_run(user);
}

/* ---------------------------------------------------------- open, close -- */

static bool start_workers(struct sched *sched, char *why, size_t why_size)
{
    const struct config *config = sched->service->config;
    const struct unstir_executor_options options = {
        .n_threads = (unsigned)config->threads,
        .nice = (int)config->nice,
        .pin = strcmp(config->pin, "on") == 0    ? UNSTIR_PIN_ON
               : strcmp(config->pin, "off") == 0 ? UNSTIR_PIN_OFF
                                                 : UNSTIR_PIN_AUTO,
    };

    for (int64_t i = 0; i < config->workers; i++) {
        sched->slots[i].worker = worker_new(&options, why, why_size);
        if (sched->slots[i].worker == NULL)
            return false;
        sched->n_workers++;
    }
    return true;
}

struct sched *sched_new(struct service *service, char *why, size_t why_size)
{
    const struct config *config = service->config;
    struct sched *sched = mem_zero(1, sizeof *sched);

    if (sched == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return NULL;
    }
    sched->service = service;
    queue_init(&sched->queue, (size_t)config->max_queue,
               (double)config->max_queue_ms / 1e3,
               (double)config->quantum_ms / 1e3);
    if (!start_workers(sched, why, why_size)) {
        sched_free(sched);
        return NULL;
    }
    models_listen(service->models,
                  &(struct models_listener){.user = sched,
                                            .loaded = model_loaded,
                                            .failed = model_failed,
                                            .changed = models_changed});
    return sched;
}

static bool is_any_in_hand(const struct sched *sched)
{
    for (unsigned i = 0; i < sched->n_workers; i++)
        if (sched->slots[i].work != NULL)
            return true;
    return false;
}

void sched_stop(struct sched *sched)
{
    sched->is_stopped = true;
    for (unsigned i = 0; i < sched->n_workers; i++)
        if (sched->slots[i].work != NULL)
            work_stop(sched->slots[i].work, WORK_ABORT);
}

void sched_free(struct sched *sched)
{
    struct warm_up *next;

    if (sched == NULL)
        return;
    models_listen(sched->service->models, NULL);
    sched_stop(sched);
    for (unsigned i = 0; i < sched->n_workers; i++)
        worker_free(sched->slots[i].worker);
    while (is_any_in_hand(sched))
        loop_run_once(sched->service->loop, 0);
    for (struct warm_up *warm = sched->warm_ups; warm != NULL; warm = next) {
        next = warm->next;
        warm_up_free(warm);
    }
    mem_free(sched);
}
