/* progress.c - what a worker's messages do to a job.
 *
 * SPDX-License-Identifier: MIT
 */
#include "progress.h"

#include "buf.h"
#include "clock.h"
#include "job_table.h"

void progress_learn(struct model *model, const struct work_step *step)
{
    const struct unstir_request *r = &step->work->request;
    struct cost *cost = model_cost(model);

    cost_learn(&cost->evaluation, r->width, r->height, step->evaluations,
               (double)step->network_ns * 1e-9);
    cost_learn(&cost->decode, r->width, r->height, 1,
               (double)step->decode_ns * 1e-9);
}

void progress_drop_step(struct work_step *step)
{
    mem_free(step->views[0]);
    mem_free(step->views[1]);
    mem_free(step);
}

void progress_drop_picture(struct work_png *png)
{
    unstir_free(png->bytes);
    mem_free(png);
}

/* --------------------------------------------------------------- a step -- */

/* True when there are any. */
static bool keep_views(struct job *job, struct work_step *step)
{
    struct previews *previews = &job->previews;

    if (step->views[0] == NULL && step->views[1] == NULL)
        return false;
    previews->width = step->width;
    previews->height = step->height;
    previews->channels = step->channels;
    previews_take(previews, step->image, step->step, step->views);
    return true;
}

/* Who made a step. */
static struct model *model_at(const struct genreq *req, uint32_t step)
{
    return step > req->steps - req->refined.steps ? req->refiner : req->model;
}

static void count_step(struct job *job, const struct work_step *step)
{
    job->jobs->counters.n_steps++;
    job->n_steps_taken++;
    progress_learn(model_at(&job->req, step->step), step);
    job->step_ms = (double)step->step_ns * 1e-6;
    job->denoise_ms += step->step_ns / 1000000;
}

void progress_stepped(struct work_step *step)
{
    struct job *job = step->work->owner;
    struct event event = {
        .stage = STAGE_DENOISE,
        .image = (uint8_t)step->image,
        .step = step->step,
        .after_ms = (uint32_t)((step->ended_ns - job->created_ns) / 1000000)};
    bool has_views;

    if (job_is_terminal(job)) { /* stopped meanwhile */
        progress_drop_step(step);
        return;
    }
    has_views = keep_views(job, step);
    job->pictures[step->image].step = step->step;
    job->newest_image = step->image;
    job->stage = STAGE_DENOISE;
    if (step->step > 0)
        count_step(job, step);
    mem_free(step); /* its views are the previews'                           */
    job->item.cost_s = job_left_s(job);
    event.value =
        (float)((double)job->n_steps_taken / (double)job_n_steps(job));
    event.seconds = (float)job->item.cost_s;
    if (has_views) {
        event.kind = EVENT_PREVIEW;
        events_add(&job->events, event);
    }
    event.kind = EVENT_PROGRESS;
    job_emit(job, event);
}

/* ------------------------------------------------------------ a picture -- */

static void free_png(void *bytes)
{
    unstir_free(bytes);
}

static void keep_picture(struct job *job, struct work_png *png)
{
    struct jobs *jobs = job->jobs;
    struct job_picture *picture = &job->pictures[png->image];
    int64_t expires_ms = clock_mono_ms() + (int64_t)(job->req.ttl_s * 1e3);
    struct blob *blob = blob_new(png->bytes, png->n_bytes, free_png);

    if (blob == NULL) {
        unstir_free(png->bytes);
        return;
    }
    if (artifacts_put(&jobs->artifacts, png->digest, blob,
                      genreq_media_type(&job->req), expires_ms) != NULL) {
        picture->is_done = true;
        picture->width = png->width;
        picture->height = png->height;
        picture->n_bytes = png->n_bytes;
        sha256_hex(picture->hex, png->digest);
        jobs->counters.n_pictures++;
    }
    blob_drop(blob);
}

void progress_encoded(struct work_png *png)
{
    struct job *job = png->work->owner;
    struct event event = {.kind = EVENT_IMAGE, .image = (uint8_t)png->image};

    if (job_is_terminal(job) || job->is_forgotten) {
        progress_drop_picture(png);
        return;
    }
    job->stage = STAGE_PNG;
    keep_picture(job, png);
    mem_free(png);
    if (job->pictures[event.image].is_done)
        job_emit(job, event);
}
