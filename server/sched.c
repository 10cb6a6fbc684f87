/* sched.c - who computes now: jobs, workers and what passes between them.
 *
 * The loop keeps one slot a worker.  Whenever something changes, sched_run()
 * gives idle workers the next work and tells waiting jobs their places.  The
 * messages of a worker arrive in order, the turn's end last.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "jobs.h"
#include "log.h"
#include "models.h"

/* The first step of a model also plans, packs and touches its memory: the
 * second one is measured. */
#define WARM_UP_STEPS 2u

struct warm_up {
    struct warm_up *next;
    struct jobs *jobs;
    struct model *model;
    struct work *work;
};

static const struct work_events job_events;

/* ---------------------------------------------------------- predictions -- */

static double cost_s(const struct genreq *req, double pictures)
{
    return cost_predict(model_cost(req->model), req->resolved.width,
                        req->resolved.height, req->evaluations * pictures,
                        pictures);
}

double sched_cost_s(const struct genreq *req)
{
    return cost_s(req, req->n);
}

/* Steps are taken for equal; the decoding is at the end of the last. */
static double left_s(const struct job *job)
{
    uint64_t n_steps = job_n_steps(job);
    double share =
        n_steps > 0 ? (double)(n_steps - job->n_steps_taken) / (double)n_steps
                    : 0;

    return cost_s(&job->req, share * job->req.n);
}

static void learn(struct cost *cost, const struct unstir_request *r,
                  const struct work_step *step)
{
    cost_learn(&cost->evaluation, r->width, r->height, step->evaluations,
               (double)step->network_ns * 1e-9);
    cost_learn(&cost->decode, r->width, r->height, 1,
               (double)step->decode_ns * 1e-9);
}

void sched_load(const struct jobs *jobs, struct queue_load *load)
{
    int64_t now = clock_mono_ns();
    double turn_s = 0;
    bool is_busy = jobs->n_workers > 0;

    *load = (struct queue_load){.n_workers = jobs->n_workers};
    for (unsigned i = 0; i < jobs->n_workers; i++) {
        const struct jobs_slot *slot = &jobs->slots[i];
        const struct job *job;
        double rest_s;

        if (slot->work == NULL || slot->work->events != &job_events) {
            is_busy = false;
            continue;
        }
        job = slot->work->owner;
        load->rest_s += left_s(job);
        rest_s = jobs->queue.quantum_s -
                 (double)(now - slot->turn_started_ns) * 1e-9;
        rest_s = rest_s < left_s(job) ? rest_s : left_s(job);
        if (rest_s > 0 && (turn_s <= 0 || rest_s < turn_s))
            turn_s = rest_s;
    }
    load->turn_s = is_busy ? turn_s : 0;
}

static struct job *job_of(struct queue_item *item)
{
    return (struct job *)(void *)((char *)item - offsetof(struct job, item));
}

/* Tell a job that waits for its first turn where it stands, and what for. */
static void tell_place(void *user, struct queue_item *item, unsigned position,
                       double start_s)
{
    struct job *job = job_of(item);
    enum job_stage stage = STAGE_QUEUED;

    (void)user;
    if (item->has_begun)
        return;
    if (!model_is_ready(job->req.model)) {
        model_want(job->req.model, false); /* while others compute */
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

static void tell_places(struct jobs *jobs)
{
    struct queue_load load;

    if (jobs->queue.n_fresh == 0)
        return;
    sched_load(jobs, &load);
    queue_each(&jobs->queue, &load, tell_place, NULL);
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
    if (job->work == NULL &&
        (job->req.model == wait->model || job->req.model->base == wait->model))
        wait->job = job;
}

/* A model that only this job waited for need not be made. */
static void stop_waiting(const struct job *job)
{
    struct queue_load load = {.n_workers = 1};
    struct model_wait wait = {.model = job->req.model};

    if (model_is_ready(job->req.model))
        return;
    queue_each(&job->jobs->queue, &load, find_waiting, &wait);
    if (wait.job == NULL)
        model_unwant(job->req.model);
}

/* --------------------------------------------------------------- the end -- */

static void settle_record(struct job *job)
{
    struct store_record row = {.id = job->id,
                               .state = job_state_name(job->state),
                               .created_ms = job->created_ms,
                               .completed_ms = job->completed_ms,
                               .expires_ms = job->expires_ms};

    job->jobs->store_ops->settle(job->jobs->store, &row);
}

void sched_drop_work(struct job *job)
{
    if (job->work == NULL)
        return;
    work_free(job->work);
    job->work = NULL;
    model_drop(job->req.model);
}

void sched_settle(struct job *job, enum job_state state)
{
    struct jobs *jobs = job->jobs;

    if (job->item.is_queued) {
        queue_remove(&jobs->queue, &job->item);
        stop_waiting(job);
    }
    if (!job->is_in_hand) {
        sched_drop_work(job);
        jobs_drop_pictures(job);
    }
    job->position = 0;
    job->ahead_s = 0;
    job->item.cost_s = 0;
    job->completed_ms = clock_wall_ms();
    job->expires_ms = job->completed_ms + (int64_t)(job->req.ttl_s * 1e3 + 0.5);
    jobs->n_active--;
    previews_finish(&job->previews);
    if (!job->is_forgotten)
        settle_record(job);
    job_set_state(job, state);
    job->is_over = true;
    job_emit(job, (struct event){.kind = EVENT_DONE});
    if (!job->is_forgotten)
        jobs_link_finished(jobs, job);
}

static void fail(struct job *job, enum error_code code, const char *detail)
{
    job->has_error = true;
    job->error = code;
    job->error_stage = job->stage;
    (void)snprintf(job->error_detail, sizeof job->error_detail, "%s", detail);
    sched_settle(job, JOB_FAILED);
}

static void fail_late(struct job *job)
{
    char detail[128];

    (void)snprintf(detail, sizeof detail,
                   "deadline_s of %g was over after %llu of %llu steps",
                   job->req.deadline_s, (unsigned long long)job->n_steps_taken,
                   (unsigned long long)job_n_steps(job));
    fail(job, ERROR_DEADLINE_EXCEEDED, detail);
}

void jobs_cancel(struct jobs *jobs, struct job *job, bool finish)
{
    if (job_is_terminal(job))
        return;
    /* Nothing to finish before a worker has begun. */
    if (job->state == JOB_ADMITTING || job->state == JOB_QUEUED ||
        (!finish && !job->is_in_hand)) {
        sched_settle(job, JOB_CANCELED);
        sched_run(jobs);
        return;
    }
    job->is_finishing = finish;
    work_stop(job->work, finish ? WORK_FINISH : WORK_ABORT);
    if (job->state == JOB_RUNNING)
        job_set_state(job, JOB_CANCELING);
}

/* --------------------------------------------------- messages of a worker -- */

static void stepped(struct work_step *step)
{
    struct job *job = step->work->owner;
    struct jobs *jobs = job->jobs;
    struct job_picture *picture = &job->pictures[step->image];
    const struct unstir_request *r = &job->req.resolved;
    struct previews *previews = &job->previews;
    bool has_views = step->views[0] != NULL || step->views[1] != NULL;
    struct event event = {
        .stage = STAGE_DENOISE,
        .image = (uint8_t)step->image,
        .step = step->step,
        .after_ms = (uint32_t)((step->ended_ns - job->created_ns) / 1000000)};

    if (job_is_terminal(job)) { /* stopped meanwhile */
        mem_free(step->views[0]);
        mem_free(step->views[1]);
        mem_free(step);
        return;
    }
    if (has_views) {
        previews->width = step->width;
        previews->height = step->height;
        previews->channels = step->channels;
        previews_take(previews, step->image, step->step, step->views);
    }
    picture->step = step->step;
    job->newest_image = step->image;
    job->stage = STAGE_DENOISE;
    if (step->step > 0) {
        jobs->counters.n_steps++;
        job->n_steps_taken++;
        learn(model_cost(job->req.model), r, step);
        job->step_ms = (double)step->step_ns * 1e-6;
        job->denoise_ms += step->step_ns / 1000000;
    }
    job->item.cost_s = left_s(job);
    event.value =
        (float)((double)job->n_steps_taken / (double)job_n_steps(job));
    event.seconds = (float)job->item.cost_s;
    if (has_views) {
        event.kind = EVENT_PREVIEW;
        events_add(&job->events, event);
    }
    event.kind = EVENT_PROGRESS;
    mem_free(step);
    job_emit(job, event);
}

static void free_png(void *bytes)
{
    unstir_free(bytes);
}

static void keep_picture(struct job *job, struct work_png *png)
{
    struct jobs *jobs = job->jobs;
    struct job_picture *picture = &job->pictures[png->image];
    int64_t expires_ms = clock_wall_ms() + (int64_t)(job->req.ttl_s * 1e3);
    struct blob *blob = blob_new(png->bytes, png->n_bytes, free_png);

    if (blob == NULL) {
        unstir_free(png->bytes);
        return;
    }
    if (artifacts_put(&jobs->artifacts, png->digest, blob,
                      unstir_format_info(job->req.file.format)->media_type,
                      expires_ms) != NULL) {
        picture->is_done = true;
        picture->width = png->width;
        picture->height = png->height;
        picture->n_bytes = png->n_bytes;
        sha256_hex(picture->hex, png->digest);
        jobs->counters.n_pictures++;
    }
    blob_drop(blob);
}

static void encoded(struct work_png *png)
{
    struct job *job = png->work->owner;
    struct event event = {.kind = EVENT_IMAGE, .image = (uint8_t)png->image};

    if (job_is_terminal(job) || job->is_forgotten) {
        unstir_free(png->bytes);
        mem_free(png);
        return;
    }
    job->stage = STAGE_PNG;
    keep_picture(job, png);
    mem_free(png);
    if (job->pictures[event.image].is_done)
        job_emit(job, event);
}

static void settle_by_outcome(struct job *job, struct work *work)
{
    job->begin_ms = work->begin_ns / 1000000;
    job->denoise_ms = work->denoise_ns / 1000000;
    job->encode_ms = work->png_ns / 1000000;
    switch (work->outcome) {
    case WORK_DONE:
        for (uint32_t i = 0; i < job->req.n; i++)
            if (!job->pictures[i].is_done && !job->is_forgotten) {
                fail(job, ERROR_NO_MEMORY, "no memory to keep the pictures");
                return;
            }
        sched_settle(job, job->is_forgotten ? JOB_CANCELED : JOB_SUCCEEDED);
        break;
    case WORK_STOPPED:
        sched_settle(job, JOB_CANCELED);
        break;
    case WORK_LATE:
        fail_late(job);
        break;
    case WORK_BROKEN:
        fail(job,
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

static void free_slot(struct jobs *jobs, const struct work *work)
{
    for (unsigned i = 0; i < jobs->n_workers; i++)
        if (jobs->slots[i].work == work)
            jobs->slots[i].work = NULL;
}

static void turn_over(struct work *work)
{
    struct job *job = work->owner;
    struct jobs *jobs = job->jobs;

    free_slot(jobs, work);
    job->is_in_hand = false;
    if (work->has_begun || work->outcome != WORK_TURN_OVER)
        jobs_drop_pictures(job);
    if (job_is_terminal(job)) { /* the service was stopped meanwhile */
        sched_drop_work(job);
    } else if (work->outcome != WORK_TURN_OVER) {
        settle_by_outcome(job, work);
    } else if (atomic_load(&work->stop) == WORK_ABORT) {
        sched_settle(job, JOB_CANCELED);
    } else {
        queue_push(&jobs->queue, &job->item);
    }
    sched_run(jobs);
}

static const struct work_events job_events = {
    .stepped = stepped, .encoded = encoded, .turn_over = turn_over};

/* -------------------------------------------------------------- warm-ups -- */

static void warm_stepped(struct work_step *step)
{
    struct warm_up *warm = step->work->owner;

    if (step->step > 0)
        learn(model_cost(warm->model), &step->work->request, step);
    mem_free(step->views[0]);
    mem_free(step->views[1]);
    mem_free(step);
}

static void warm_encoded(struct work_png *png)
{
    unstir_free(png->bytes);
    mem_free(png);
}

static void free_warm_up(struct warm_up *warm)
{
    work_free(warm->work);
    model_drop(warm->model);
    mem_free(warm);
}

static void warm_over(struct work *work)
{
    struct warm_up *warm = work->owner;
    struct jobs *jobs = warm->jobs;

    free_slot(jobs, work);
    if (work->outcome == WORK_TURN_OVER && !jobs->is_stopped) {
        warm->next = jobs->warm_ups; /* steps longer than the quantum */
        jobs->warm_ups = warm;
    } else {
        model_warmed(warm->model, work->outcome == WORK_DONE ? NULL
                                  : work->outcome == WORK_BROKEN
                                      ? work->error.detail
                                      : "warm-up was stopped");
        free_warm_up(warm);
    }
    sched_run(jobs);
}

static const struct work_events warm_events = {
    .stepped = warm_stepped, .encoded = warm_encoded, .turn_over = warm_over};

static void init_work(struct work *work, struct jobs *jobs,
                      const struct work_events *events, void *owner)
{
    work->loop = jobs->service->loop;
    work->events = events;
    work->owner = owner;
    work->quantum_ns = (int64_t)(jobs->queue.quantum_s * 1e9);
    work->n = 1;
    work->output.file.png_level = -1;
    atomic_init(&work->stop, WORK_GO);
    for (size_t i = 0; i < WORK_MAX_PICTURES; i++)
        atomic_init(&work->generations[i], NULL);
}

/* Some models only repaint or edit: they are given a white pixel to do it on. */
static enum unstir_status check_warm_up(const struct model *model,
                                        struct unstir_request *request,
                                        struct unstir_error *error)
{
    static uint8_t white[] = {255};
    static const struct unstir_image pixel = {1, 1, 1, white};
    const struct unstir_model_info *info = model->info;

    if (unstir_request_check(model->engine, request, request, NULL, NULL,
                             error) == UNSTIR_OK)
        return UNSTIR_OK;
    if (strcmp(error->field, "init_image") != 0)
        return error->status;
    request->init_image = &pixel;
    request->mask = info->edits_pictures ? NULL : &pixel;
    request->width = info->default_width;
    request->height = info->default_height;
    return unstir_request_check(model->engine, request, request, NULL, NULL,
                                error);
}

static void warm_up(void *user, struct model *model)
{
    struct jobs *jobs = user;
    const struct unstir_model_info *info = model->info;
    struct unstir_request request = UNSTIR_REQUEST_INIT;
    struct warm_up *warm = mem_zero(1, sizeof *warm);
    struct work *work = mem_zero(1, sizeof *work);
    struct unstir_error error = {UNSTIR_OK, "", ""};

    request.steps =
        WARM_UP_STEPS < info->max_steps ? WARM_UP_STEPS : info->max_steps;
    request.class_id = info->n_classes > 0 ? 0 : UNSTIR_CLASS_UNSET;
    if (warm == NULL || work == NULL ||
        check_warm_up(model, &request, &error) != UNSTIR_OK) {
        model_warmed(model,
                     error.detail[0] != '\0' ? error.detail : "out of memory");
        mem_free(warm);
        mem_free(work);
        return;
    }
    init_work(work, jobs, &warm_events, warm);
    model_hold(model);
    work->model = model->engine;
    work->request = request;
    *warm = (struct warm_up){
        .jobs = jobs, .model = model, .work = work, .next = jobs->warm_ups};
    jobs->warm_ups = warm;
    sched_run(jobs);
}

/* ---------------------------------------------------------------- giving -- */

static struct work *make_work(struct job *job)
{
    struct work *work = mem_zero(1, sizeof *work);

    if (work == NULL)
        return NULL;
    init_work(work, job->jobs, &job_events, job);
    model_hold(job->req.model);
    work->model = job->req.model->engine;
    work->request = job->req.resolved;
    work->n = job->req.n;
    work->preview_every = job->req.has_previews ? job->req.preview_every : 0;
    work->preview_decoder = job->req.preview_decoder;
    work->output.file = job->req.file;
    work->output.no_metadata = !job->req.has_metadata;
    work->init_image = job->req.init_image.blob;
    work->mask = job->req.mask.blob;
    work->deadline_ns = job->deadline_ns;
    return work;
}

static void give(struct jobs *jobs, struct jobs_slot *slot, struct work *work)
{
    slot->work = work;
    slot->turn_started_ns = clock_mono_ns();
    worker_give(slot->worker, work);
}

static void start_job(struct jobs *jobs, struct jobs_slot *slot,
                      struct job *job)
{
    if (job->work == NULL)
        job->work = make_work(job);
    if (job->work == NULL) {
        fail(job, ERROR_NO_MEMORY, "no memory to start the job");
        return;
    }
    job->is_in_hand = true;
    give(jobs, slot, job->work);
    if (job->state != JOB_QUEUED)
        return;
    job->position = 0;
    job->ahead_s = 0;
    job->started_ms = clock_wall_ms();
    job->started_ns = clock_mono_ns();
    job->stage = STAGE_TEXT;
    job_set_state(job, JOB_RUNNING);
}

/* A job that has begun holds its model, so that is there. */
static bool may_run(void *user, struct queue_item *item)
{
    struct model *model = job_of(item)->req.model;

    (void)user;
    if (job_of(item)->work != NULL || model_is_ready(model))
        return true;
    model_want(model, true);
    return model_is_ready(model);
}

/* Whoever waits past its deadline ends without a turn. */
static struct job *next_job(struct jobs *jobs)
{
    struct queue_item *item;

    while ((item = queue_pop_if(&jobs->queue, may_run, NULL)) != NULL) {
        struct job *job = job_of(item);

        if (job->deadline_ns == 0 || clock_mono_ns() < job->deadline_ns)
            return job;
        fail_late(job);
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

static void no_model(void *user, const struct model *model)
{
    struct jobs *jobs = user;
    struct queue_load load = {.n_workers = 1};
    struct model_wait wait = {.model = model};

    do {
        wait.job = NULL;
        queue_each(&jobs->queue, &load, find_waiting, &wait);
        if (wait.job != NULL)
            fail(wait.job, model->failure, model_public_why(model));
    } while (wait.job != NULL);
}

static void end_all_late(struct jobs *jobs)
{
    struct queue_load load = {.n_workers = 1};
    struct job *late;

    do {
        late = NULL;
        queue_each(&jobs->queue, &load, end_late, &late);
        if (late != NULL)
            fail_late(late);
    } while (late != NULL);
}

void sched_run(struct jobs *jobs)
{
    if (jobs->is_stopped)
        return;
    for (unsigned i = 0; i < jobs->n_workers; i++) {
        struct jobs_slot *slot = &jobs->slots[i];
        struct warm_up *warm = jobs->warm_ups;
        struct job *job;

        if (slot->work != NULL)
            continue;
        if (warm != NULL) {
            jobs->warm_ups = warm->next;
            give(jobs, slot, warm->work);
        } else if ((job = next_job(jobs)) != NULL) {
            start_job(jobs, slot, job);
        }
    }
    end_all_late(jobs);
    tell_places(jobs);
}

/* ---------------------------------------------------------- open, close -- */

static void models_have_changed(void *user)
{
    sched_run(user);
}

bool sched_open(struct jobs *jobs, char *why, size_t why_size)
{
    const struct config *config = jobs->service->config;
    const struct unstir_executor_options options = {
        .n_threads = (unsigned)config->threads,
        .nice = (int)config->nice,
        .pin = strcmp(config->pin, "on") == 0    ? UNSTIR_PIN_ON
               : strcmp(config->pin, "off") == 0 ? UNSTIR_PIN_OFF
                                                 : UNSTIR_PIN_AUTO,
    };

    for (int64_t i = 0; i < config->workers; i++) {
        jobs->slots[i].worker = worker_new(&options, why, why_size);
        if (jobs->slots[i].worker == NULL)
            return false;
        jobs->n_workers++;
    }
    models_listen(jobs->service->models,
                  &(struct models_listener){.user = jobs,
                                            .loaded = warm_up,
                                            .failed = no_model,
                                            .changed = models_have_changed});
    return true;
}

static bool is_any_in_hand(const struct jobs *jobs)
{
    for (unsigned i = 0; i < jobs->n_workers; i++)
        if (jobs->slots[i].work != NULL)
            return true;
    return false;
}

/* Join the workers; what they have posted is run while the jobs still exist. */
void sched_close(struct jobs *jobs)
{
    struct warm_up *next;

    models_listen(jobs->service->models, NULL);
    for (unsigned i = 0; i < jobs->n_workers; i++)
        if (jobs->slots[i].work != NULL)
            work_stop(jobs->slots[i].work, WORK_ABORT);
    for (unsigned i = 0; i < jobs->n_workers; i++)
        worker_free(jobs->slots[i].worker);
    while (is_any_in_hand(jobs))
        loop_run_once(jobs->service->loop, 0);
    for (struct warm_up *warm = jobs->warm_ups; warm != NULL; warm = next) {
        next = warm->next;
        free_warm_up(warm);
    }
    jobs->warm_ups = NULL;
}
