/* h_capabilities.c - what this server can do (/v1/capabilities, the same until
 * its models change) and what it is doing (/v1/status).
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "answers.h"
#include "buf.h"
#include "clock.h"
#include "handlers.h"
#include "http.h"
#include "job_table.h"
#include "loras.h"
#include "reply.h"
#include "request.h"
#include "scheduler.h"
#include "unstir.h"
#include "upload.h"

#define CAPABILITIES_BYTES (256u << 10)
#define STATUS_BYTES       (32u << 10)

static void write_words(struct json_out *out, const char *key,
                        const char *const *words, size_t n)
{
    jout_array(out, key);
    for (size_t i = 0; i < n; i++)
        jout_string(out, NULL, words[i]);
    jout_end_array(out);
}

static void write_samplers(struct json_out *out)
{
    size_t n;
    const struct unstir_sampler_info *samplers = unstir_samplers(&n);

    jout_array(out, "samplers");
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        jout_string(out, "name", samplers[i].name);
        jout_string(out, "title", samplers[i].title);
        jout_string(out, "alias", samplers[i].alias);
        jout_bool(out, "stochastic", samplers[i].is_stochastic);
        jout_int(out, "order", samplers[i].order);
        jout_string(out, "source", samplers[i].source);
        jout_end_object(out);
    }
    jout_end_array(out);
}

static void write_schedules(struct json_out *out)
{
    size_t n;
    const struct unstir_schedule_info *schedules = unstir_schedules(&n);

    jout_array(out, "schedules");
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        jout_string(out, "name", schedules[i].name);
        jout_string(out, "title", schedules[i].title);
        jout_string(out, "alias", schedules[i].alias);
        jout_end_object(out);
    }
    jout_end_array(out);
}

static void write_limits(const struct config *config, struct json_out *out)
{
    jout_object(out, "limits");
    jout_int(out, "n", config->max_n);
    jout_int(out, "queue", config->max_queue);
    jout_number(out, "queue_s", (double)config->max_queue_ms / 1e3);
    jout_number(out, "ttl_s", (double)config->ttl_ms / 1e3);
    jout_number(out, "max_ttl_s", (double)config->max_ttl_ms / 1e3);
    jout_int(out, "body_bytes", ROUTE_BODY_JSON);
    jout_int(out, "upload_bytes", ROUTE_BODY_UPLOAD);
    jout_int(out, "picture_edge", UPLOAD_MAX_EDGE);
    jout_int(out, "json_depth", JSON_MAX_DEPTH);
    jout_int(out, "loras", UNSTIR_MAX_LORAS);
    jout_int(out, "lora_scale", UNSTIR_MAX_LORA_WEIGHT);
    jout_uint(out, "lora_bytes", config->lora_bytes);
    jout_int(out, "streams", config->max_streams);
    jout_uint(out, "result_bytes", config->result_bytes);
    jout_uint(out, "preview_bytes", config->preview_bytes);
    jout_end_object(out);
}

static void write_models(const struct models *models, struct json_out *out)
{
    jout_array(out, "models");
    for (const struct model *at = models->first; at != NULL; at = at->next) {
        jout_object(out, NULL);
        jout_string(out, "id", model_id(at));
        jout_string(out, "status", model_state_name(at->state));
        if (at->info != NULL) {
            jout_string(out, "sha256", at->info->digest);
            jout_int(out, "max_steps", at->info->max_steps);
            jout_bool(out, "guidance", at->info->takes_guidance);
            jout_bool(out, "text", at->info->takes_text);
            jout_bool(out, "negative_prompt", at->info->takes_negative_prompt);
            jout_bool(out, "labels", at->info->n_labels > 0);
        }
        jout_end_object(out);
    }
    jout_end_array(out);
}

void h_capabilities(struct service *service, struct request *request)
{
    static const char *const formats[] = {"image/png", "image/jpeg",
                                          "image/webp"};
    static const char *const outputs[] = {"png", "jpeg", "webp",
                                          GENREQ_LATENTS};
    static const char *const answers[] = {
        "image/png",        "image/jpeg",        "image/webp",
        "application/json", "text/event-stream", "multipart/mixed",
        GENREQ_LATENTS_TYPE};
    static const char *const views[] = {"estimate", "sample"};
    struct json_out out;
    struct buf buf;

    buf_init(&buf, CAPABILITIES_BYTES);
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "object", "capabilities");
    jout_string(&out, "version", UNSTIR_VERSION);
    write_samplers(&out);
    write_schedules(&out);
    write_words(&out, "formats", formats, 3);
    write_words(&out, "output_formats", outputs, 4);
    write_words(&out, "answers", answers, 7);
    write_words(&out, "preview_views", views, 2);
    write_limits(service->config, &out);
    write_models(service->models, &out);
    jout_end_object(&out);
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_json_tagged(request, &buf);
}

/* ---------------------------------------------------------------- status -- */

static void write_queue(const struct sched *sched, struct json_out *out)
{
    jout_object(out, "queue");
    jout_uint(out, "length", sched->queue.n_fresh);
    jout_uint(out, "limit", sched->queue.max_fresh);
    jout_number(out, "backlog_s", sched_backlog_s(sched));
    jout_number(out, "limit_s", sched->queue.max_s);
    jout_end_object(out);
}

static void write_workers(const struct sched *sched, struct json_out *out)
{
    jout_array(out, "workers");
    for (unsigned i = 0; i < sched->n_workers; i++) {
        jout_object(out, NULL);
        jout_bool(out, "busy", sched->slots[i].work != NULL);
        jout_int(out, "threads", worker_threads(sched->slots[i].worker));
        jout_end_object(out);
    }
    jout_end_array(out);
}

static void write_jobs(const struct jobs *jobs, struct json_out *out)
{
    const struct jobs_counters *c = &jobs->counters;

    jout_object(out, "jobs");
    jout_uint(out, "active", jobs->n_active);
    jout_uint(out, "remembered", jobs->n);
    jout_uint(out, "submitted", c->n_submitted);
    jout_uint(out, "refused", c->n_refused);
    jout_uint(out, "replayed", c->n_replayed);
    jout_uint(out, "hangups", c->n_hangups);
    for (int i = JOB_SUCCEEDED; i < JOB_N_STATES; i++)
        jout_uint(out, job_state_name((enum job_state)i), c->n_finished[i]);
    jout_uint(out, "steps", c->n_steps);
    jout_uint(out, "pictures", c->n_pictures);
    jout_end_object(out);
}

/* The models with LoRAs: how many there are now, and what became of all. */
static void write_loras(const struct service *service, struct json_out *out)
{
    const struct models *models = service->models;
    size_t n_ready = 0, n_loading = 0;
    uint64_t n_bytes = 0;

    for (const struct model *at = models->first_derived; at != NULL;
         at = at->next) {
        n_ready += at->state == MODEL_READY;
        n_loading += at->state == MODEL_LOADING;
        n_bytes += at->used_bytes;
    }
    jout_object(out, "loras");
    jout_uint(out, "files", service->loras->n);
    jout_uint(out, "ready", n_ready);
    jout_uint(out, "loading", n_loading);
    jout_uint(out, "bytes", n_bytes);
    jout_uint(out, "made", models->counters.n_made);
    jout_uint(out, "failed", models->counters.n_failed);
    jout_uint(out, "canceled", models->counters.n_canceled);
    jout_uint(out, "unloaded", models->counters.n_unloaded);
    jout_end_object(out);
}

static void write_bytes(const struct service *service, struct json_out *out)
{
    const struct answers *answers = service->answers;
    const struct jobs *jobs = service->jobs;

    jout_object(out, "bytes");
    jout_uint(out, "results", jobs->artifacts.n_bytes);
    jout_uint(out, "results_limit", jobs->artifacts.max_bytes);
    jout_uint(out, "previews", jobs->previews.n_bytes);
    jout_uint(out, "previews_limit", jobs->previews.max_bytes);
    jout_uint(out, "events", jobs->event_bytes);
    jout_uint(out, "encodes", jobs->encodes.n_bytes);
    jout_uint(out, "encodes_limit", jobs->encodes.max_bytes);
    jout_uint(out, "bodies", http_body_bytes(service->http));
    jout_uint(out, "bodies_limit", service->config->body_bytes);
    jout_uint(out, "answers", answers->room.n_bytes);
    jout_uint(out, "answers_limit", answers->room.max_bytes);
    jout_end_object(out);
}

/* Every problem that a client was told, by its code; not those of no one. */
static void write_problems(const struct service *service, struct json_out *out)
{
    const struct answers *answers = service->answers;

    jout_object(out, "problems");
    for (int i = 0; i < N_ERRORS; i++)
        if (answers->n_problems[i] > 0)
            jout_uint(out, error_info((enum error_code)i)->code,
                      answers->n_problems[i]);
    jout_end_object(out);
}

void h_status(struct service *service, struct request *request)
{
    const struct jobs *jobs = service->jobs;
    struct json_out out;
    struct buf buf;
    enum part_state state = service_state(service, NULL, 0);

    buf_init(&buf, STATUS_BYTES);
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "object", "status");
    jout_string(&out, "status",
                service->is_draining ? "draining" : part_state_name(state));
    jout_time(&out, "now", clock_wall_ms());
    write_queue(service->sched, &out);
    write_workers(service->sched, &out);
    write_jobs(jobs, &out);
    write_bytes(service, &out);
    write_loras(service, &out);
    write_problems(service, &out);
    jout_uint(&out, "streams", jobs->n_streams);
    jout_uint(&out, "connections", http_connections(service->http));
    jout_object(&out, "build");
    jout_string(&out, "version", UNSTIR_VERSION);
    jout_string(&out, "isa", unstir_cpu_rungs());
    jout_string(&out, "store", jobs->store_ops->name);
    jout_end_object(&out);
    jout_end_object(&out);
    reply_json(request, 200, &buf);
}
