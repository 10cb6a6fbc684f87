/* job_json.c - a job and its events as JSON.
 *
 * What is written depends on the job's version alone, never on the moment of
 * asking: equal ETags mean equal bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"

/* Longest link: "/v1/artifacts/" and a digest, or an id and a path. */
#define LINK_SIZE 128

/* Seconds to a tenth of a millisecond: predictions are not better. */
static double rounded(double seconds)
{
    return floor(seconds * 1e4 + 0.5) / 1e4;
}

static void write_link(const struct job *job, struct json_out *out,
                       const char *key, const char *tail)
{
    char link[LINK_SIZE];

    (void)snprintf(link, sizeof link, "/v1/jobs/%s%s", job->id, tail);
    jout_string(out, key, link);
}

static void write_queue(const struct job *job, struct json_out *out)
{
    if (job->position == 0) {
        jout_null(out, "queue");
        return;
    }
    jout_object(out, "queue");
    jout_int(out, "position", job->position);
    jout_number(out, "ahead_s", rounded(job->ahead_s));
    jout_end_object(out);
}

static void write_progress(const struct job *job, struct json_out *out)
{
    uint64_t n_steps = job_n_steps(job);
    bool has_all = job->state == JOB_SUCCEEDED;

    jout_object(out, "progress");
    jout_number(out, "value",
                has_all ? 1
                        : rounded((double)job->n_steps_taken /
                                  (double)(n_steps > 0 ? n_steps : 1)));
    jout_string(out, "stage", job_stage_name(job->stage));
    jout_int(out, "step", job->pictures[job->newest_image].step);
    jout_int(out, "steps", job->req.steps);
    jout_int(out, "image", job->newest_image);
    jout_int(out, "images", job->req.n);
    if (job->step_ms > 0)
        jout_number(out, "step_ms", rounded(job->step_ms));
    else
        jout_null(out, "step_ms");
    if (job_is_terminal(job))
        jout_null(out, "eta_s");
    else
        jout_number(out, "eta_s", rounded(job->ahead_s + job->item.cost_s));
    jout_end_object(out);
}

static void write_model(const struct model *model, struct json_out *out,
                        const char *key)
{
    const struct unstir_model_info *info = model->info;

    jout_object(out, key);
    jout_string(out, "id", info->id);
    jout_string(out, "sha256", info->digest);
    jout_string(out, "fingerprint", info->fingerprint);
    jout_end_object(out);
}

/* One entry of images[]. */
static void write_picture(const struct job *job, uint32_t image,
                          struct json_out *out, const char *key,
                          struct artifacts *artifacts)
{
    const struct genreq_seeds seeds = genreq_seeds(&job->req, image);
    const struct job_picture *picture = &job->pictures[image];
    const struct artifact *artifact =
        artifacts != NULL ? job_artifact(job, image, artifacts) : NULL;
    char link[LINK_SIZE];

    jout_object(out, key);
    jout_int(out, "index", image);
    jout_seed(out, "seed", seeds.seed);
    if (job->req.resolved.variation_strength > 0)
        jout_seed(out, "variation_seed", seeds.variation_seed);
    jout_int(out, "width", picture->width);
    jout_int(out, "height", picture->height);
    jout_string(out, "content_type", genreq_media_type(&job->req));
    jout_uint(out, "bytes", picture->n_bytes);
    jout_string(out, "sha256", picture->hex);
    (void)snprintf(link, sizeof link, "/v1/artifacts/%s", picture->hex);
    jout_string(out, "url", link);
    if (artifact != NULL)
        jout_base64(out, "b64_json", artifact->blob->bytes,
                    artifact->blob->n_bytes);
    jout_end_object(out);
}

static void write_pictures(const struct job *job, struct json_out *out,
                           struct artifacts *artifacts)
{
    jout_array(out, "images");
    for (uint32_t i = 0; i < job->req.n; i++)
        if (job->pictures[i].is_done)
            write_picture(job, i, out, NULL, artifacts);
    jout_end_array(out);
}

static void write_preview(const struct job *job, struct json_out *out)
{
    uint32_t step = job->previews.newest[0];
    char tail[48];

    if (job->previews.n_images == 0 || step == PREVIEWS_NONE) {
        jout_null(out, "preview");
        return;
    }
    (void)snprintf(tail, sizeof tail, "/preview?step=%u", step);
    jout_object(out, "preview");
    jout_int(out, "step", step);
    write_link(job, out, "url", tail);
    jout_end_object(out);
}

static void write_error(const struct job *job, struct json_out *out)
{
    if (!job->has_error) {
        jout_null(out, "error");
        return;
    }
    jout_object(out, "error");
    jout_string(out, "code", error_info(job->error)->code);
    jout_string(out, "message", job->error_detail);
    jout_string(out, "stage", job_stage_name(job->error_stage));
    jout_int(out, "step", job->pictures[job->newest_image].step);
    jout_end_object(out);
}

static void write_metrics(const struct job *job, struct json_out *out)
{
    jout_object(out, "metrics");
    if (job->started_ns != 0)
        jout_int(out, "queue_ms",
                 (job->started_ns - job->created_ns) / 1000000);
    else
        jout_null(out, "queue_ms");
    jout_int(out, "text_ms", job->begin_ms);
    jout_int(out, "denoise_ms", job->denoise_ms);
    jout_int(out, "encode_ms", job->encode_ms);
    jout_int(out, "batched_with",
             (job->req.n < WORK_BATCH ? job->req.n : WORK_BATCH) - 1);
    jout_end_object(out);
}

static void write_links(const struct job *job, struct json_out *out)
{
    jout_object(out, "urls");
    write_link(job, out, "self", "");
    write_link(job, out, "events", "/events");
    write_link(job, out, "cancel", "/cancel");
    write_link(job, out, "preview", "/preview");
    write_link(job, out, "live", "/preview.mjpg");
    write_link(job, out, "timeline", "/timeline");
    jout_end_object(out);
}

void job_write(const struct job *job, struct json_out *out, const char *key,
               struct artifacts *artifacts)
{
    jout_object(out, key);
    jout_string(out, "id", job->id);
    jout_string(out, "object", "job");
    jout_string(out, "status", job_state_name(job->state));
    jout_time(out, "created_at", job->created_ms);
    jout_time(out, "started_at", job->started_ms);
    jout_time(out, "completed_at", job->completed_ms);
    jout_time(out, "expires_at", job->expires_ms);
    write_queue(job, out);
    write_progress(job, out);
    genreq_write(&job->req, out, "request");
    write_model(job->req.model, out, "model");
    if (job->req.refiner != NULL)
        write_model(job->req.refiner, out, "refiner");
    write_pictures(job, out, artifacts);
    write_preview(job, out);
    write_error(job, out);
    write_metrics(job, out);
    write_links(job, out);
    jout_int(out, "version", job_version(job));
    jout_end_object(out);
}

const struct buf *job_text(struct job *job)
{
    struct json_out out;

    if (job->text.n > 0 && job->text_version == job_version(job))
        return &job->text;
    if (job->text.limit == 0)
        buf_init(&job->text, JOB_BYTES);
    buf_clear(&job->text);
    jout_init(&out, &job->text);
    job_write(job, &out, NULL, NULL);
    job->text_version = job_version(job);
    return &job->text;
}

/* ---------------------------------------------------------------- events -- */

static void write_status_event(const struct event *event, struct json_out *out)
{
    jout_object(out, NULL);
    jout_string(out, "status", job_state_name((enum job_state)event->state));
    if (event->position > 0) {
        jout_object(out, "queue");
        jout_int(out, "position", event->position);
        jout_number(out, "ahead_s", rounded((double)event->seconds));
        jout_end_object(out);
    } else {
        jout_null(out, "queue");
    }
    jout_end_object(out);
}

static void write_progress_event(const struct job *job,
                                 const struct event *event,
                                 struct json_out *out)
{
    jout_object(out, NULL);
    jout_number(out, "value", rounded((double)event->value));
    jout_string(out, "stage", job_stage_name((enum job_stage)event->stage));
    jout_int(out, "step", event->step);
    jout_int(out, "steps", job->req.steps);
    jout_int(out, "image", event->image);
    jout_int(out, "images", job->req.n);
    jout_number(out, "eta_s", rounded((double)event->seconds));
    jout_time(out, "at", job->created_ms + event->after_ms);
    jout_end_object(out);
}

void job_write_event(const struct job *job, const struct event *event,
                     struct json_out *out)
{
    switch ((enum event_kind)event->kind) {
    case EVENT_STATUS:
        write_status_event(event, out);
        break;
    case EVENT_PROGRESS:
        write_progress_event(job, event, out);
        break;
    case EVENT_IMAGE:
        write_picture(job, event->image, out, NULL, NULL);
        break;
    case EVENT_DONE:
        job_write(job, out, NULL, NULL);
        break;
    case EVENT_PREVIEW: /* written by the stream, which knows the form */
    case EVENT_N_KINDS:
        break;
    }
}
