/* job_table.c - all jobs, and what is kept of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "job_table.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"

/* Longest canonical request in JSON. */
#define REQUEST_BYTES 65536u

/* ---------------------------------------------------------------- links -- */

/* FNV-1a. */
static size_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return (size_t)(hash % JOBS_BUCKETS);
}

static void link_job(struct jobs *jobs, struct job *job)
{
    struct job **bucket = &jobs->buckets[hash_text(job->id)];

    job->next_hash = *bucket;
    *bucket = job;
    if (job->key != NULL) {
        struct job **keys = &jobs->keys[hash_text(job->key)];

        job->next_key = *keys;
        *keys = job;
    }
    job->number = ++jobs->next_number;
    ring_add(&jobs->by_age, &job->by_age);
    jobs->n++;
}

static void unlink_chains(struct jobs *jobs, struct job *job)
{
    struct job **at = &jobs->buckets[hash_text(job->id)];

    while (*at != job)
        at = &(*at)->next_hash;
    *at = job->next_hash;
    if (job->key == NULL)
        return;
    at = &jobs->keys[hash_text(job->key)];
    while (*at != job)
        at = &(*at)->next_key;
    *at = job->next_key;
}

static void unlink_finished(struct jobs *jobs, struct job *job)
{
    if (!ring_is_in(&job->by_end))
        return;
    ring_remove(&job->by_end);
    jobs->event_bytes -= events_bytes(&job->events);
}

static void link_finished(struct jobs *jobs, struct job *job)
{
    ring_add(&jobs->by_end, &job->by_end);
    jobs->event_bytes += events_bytes(&job->events);
}

static void unlink_job(struct jobs *jobs, struct job *job)
{
    unlink_finished(jobs, job);
    unlink_chains(jobs, job);
    ring_remove(&job->by_age);
    jobs->n--;
}

static struct job *job_at(const struct jobs *jobs, const struct ring *link)
{
    return link == &jobs->by_age ? NULL : RING_OF(link, struct job, by_age);
}

struct job *jobs_newest(const struct jobs *jobs)
{
    return job_at(jobs, jobs->by_age.prev);
}

struct job *jobs_older(const struct jobs *jobs, const struct job *job)
{
    return job_at(jobs, job->by_age.prev);
}

struct job *jobs_find(struct jobs *jobs, const char *id)
{
    struct job *at = jobs->buckets[hash_text(id)];

    while (at != NULL && strcmp(at->id, id) != 0)
        at = at->next_hash;
    return at;
}

struct job *jobs_find_key(struct jobs *jobs, const char *key)
{
    struct job *at = jobs->keys[hash_text(key)];

    while (at != NULL && strcmp(at->key, key) != 0)
        at = at->next_key;
    return at;
}

bool jobs_is_gone(const struct jobs *jobs, const char *id)
{
    for (size_t i = 0; i < jobs->n_gone; i++)
        if (strcmp(jobs->gone[i], id) == 0)
            return true;
    return false;
}

struct artifact *jobs_artifact(const struct job *job, uint32_t image)
{
    return job_artifact(job, image, &job->jobs->artifacts);
}

/* ------------------------------------------------------------ pictures -- */

size_t jobs_picture_bytes(const struct genreq *req)
{
    return upload_bytes(&req->init_image) + upload_bytes(&req->mask);
}

void jobs_drop_pictures(struct job *job)
{
    job->jobs->upload_bytes -= jobs_picture_bytes(&job->req);
    genreq_drop_pictures(&job->req);
}

/* ------------------------------------------------- beginning and end ------ */

void jobs_add(struct jobs *jobs, struct job *job, store_answer_fn answer)
{
    struct store_record row = {.id = job->id,
                               .state = job_state_name(job->state),
                               .created_ms = job->created_ms};
    struct json_out out;
    struct buf buf;

    link_job(jobs, job);
    jobs->n_active++;
    jobs->upload_bytes += jobs_picture_bytes(&job->req);
    jobs->counters.n_submitted++;
    jobs_expire(jobs, job->created_ns / 1000000);
    buf_init(&buf, REQUEST_BYTES);
    jout_init(&out, &buf);
    genreq_write(&job->req, &out, NULL);
    job->is_admitting = true;
    row.request = buf.failed ? "{}" : buf.bytes;
    jobs->store_ops->admit(jobs->store, &row, answer, job);
    buf_fini(&buf);
}

static void settle_record(struct job *job)
{
    struct store_record row = {.id = job->id,
                               .state = job_state_name(job->state),
                               .created_ms = job->created_ms,
                               .completed_ms = job->completed_ms,
                               .expires_ms = job->expires_ms};

    job->jobs->store_ops->settle(job->jobs->store, &row);
}

static int64_t ttl_ms(const struct job *job)
{
    return (int64_t)(job->req.ttl_s * 1e3 + 0.5);
}

void jobs_settle(struct job *job, enum job_state state)
{
    struct jobs *jobs = job->jobs;

    job->position = 0;
    job->ahead_s = 0;
    job->item.cost_s = 0;
    job->completed_ms = clock_wall_ms();
    job->expires_ms = job->completed_ms + ttl_ms(job);
    job->kept_to_ms = clock_mono_ms() + ttl_ms(job);
    jobs->n_active--;
    jobs->counters.n_finished[state]++;
    previews_finish(&job->previews);
    if (!job->is_forgotten)
        settle_record(job);
    job_set_state(job, state);
    job->is_over = true;
    job_emit(job, (struct event){.kind = EVENT_DONE});
    if (!job->is_forgotten)
        link_finished(jobs, job);
}

/* ----------------------------------------------------------- forgetting -- */

static void expire(struct jobs *jobs, struct job *job)
{
    jobs->counters.n_finished[JOB_EXPIRED]++;
    job_set_state(job, JOB_EXPIRED);
    memcpy(jobs->gone[jobs->next_gone], job->id, JOB_ID_SIZE);
    jobs->next_gone = (jobs->next_gone + 1) % JOBS_TOMBSTONES;
    if (jobs->n_gone < JOBS_TOMBSTONES)
        jobs->n_gone++;
    jobs->store_ops->forget(jobs->store, job->id);
    unlink_job(jobs, job);
    job_free(job);
}

/* Somebody is still reading it, or its worker has not come back. */
static bool is_held(const struct job *job)
{
    return !ring_is_empty(&job->watches) || job->is_in_hand ||
           job->is_admitting;
}

static bool is_above_ceilings(const struct jobs *jobs)
{
    return jobs->n > (size_t)jobs->service->config->max_jobs ||
           jobs->event_bytes > JOBS_EVENT_BYTES;
}

void jobs_expire(struct jobs *jobs, int64_t now_ms)
{
    struct ring *next;

    for (struct ring *at = jobs->by_end.next; at != &jobs->by_end; at = next) {
        struct job *job = RING_OF(at, struct job, by_end);

        next = at->next;
        if (!is_held(job) &&
            (job->kept_to_ms <= now_ms || is_above_ceilings(jobs)))
            expire(jobs, job);
    }
    artifacts_expire(&jobs->artifacts, now_ms);
}

void jobs_forget(struct jobs *jobs, struct job *job)
{
    jobs->store_ops->forget(jobs->store, job->id);
    unlink_job(jobs, job);
    job->is_forgotten = true;
    job->next_hash = jobs->forgotten;
    jobs->forgotten = job;
}

void jobs_reap(struct jobs *jobs)
{
    struct job **at = &jobs->forgotten;

    while (*at != NULL) {
        struct job *job = *at;

        if (!job_is_terminal(job) || is_held(job)) {
            at = &job->next_hash;
            continue;
        }
        *at = job->next_hash;
        job_free(job);
    }
}

/* ---------------------------------------------------------- open, close -- */

bool jobs_init(struct jobs *jobs, struct service *service, char *why,
               size_t why_size)
{
    const struct config *config = service->config;

    bool is_kept;

    jobs->service = service;
    jobs->store_ops = &store_memory;
    ring_init(&jobs->by_age);
    ring_init(&jobs->by_end);
    preview_budget_init(&jobs->previews, config->preview_bytes);
    jobs->encodes.max_bytes = JOBS_ENCODE_BYTES;
    is_kept = artifacts_init(&jobs->artifacts, config->result_bytes,
                             service->answers);
    jobs->gone = mem_zero(JOBS_TOMBSTONES, sizeof *jobs->gone);
    (void)snprintf(why, why_size, "out of memory");
    if (jobs->gone == NULL || !is_kept)
        return false;
    jobs->store = jobs->store_ops->open(service->loop, NULL, why, why_size);
    return jobs->store != NULL;
}

void jobs_fini(struct jobs *jobs)
{
    struct job *next;

    if (jobs->store != NULL)
        jobs->store_ops->close(jobs->store);
    while ((next = jobs_newest(jobs)) != NULL) {
        ring_remove(&next->by_age);
        job_free(next);
    }
    for (struct job *at = jobs->forgotten; at != NULL; at = next) {
        next = at->next_hash;
        job_free(at);
    }
    artifacts_fini(&jobs->artifacts);
    mem_free(jobs->gone);
}
