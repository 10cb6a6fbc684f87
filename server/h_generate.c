/* h_generate.c - POST /generate, POST /v1/jobs, POST /v1/estimate.
 *
 * Each is in two halves: a large body is read elsewhere before the second.
 *
 * A request that waits is deferred and watches its job: it is answered when
 * the job ends, or when its patience (Prefer: wait) does, and its hang-up
 * cancels the job unless somebody else waits or it was asked to go on.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "accept.h"
#include "buf.h"
#include "h_jobs.h"
#include "handlers.h"
#include "stream.h"

/* Longest `Prefer: wait`: above, poll. */
#define MAX_WAIT_S 86400u

#define MULTIPART_BOUNDARY "unstir-picture"
#define PART_BYTES         512u /* at most, around a picture                */

struct wait {
    struct job_watch watch; /* first member                                  */
    struct request *request;
    struct job *job;
    struct loop_timer *patience; /* NULL: none                               */
    enum accept_form form;
    bool is_async;   /* 202 as soon as the job is stored                    */
    bool with_bytes; /* base64 in JSON                                      */
};

/* ---------------------------------------------------------- how it ends -- */

static void reply_failed(struct request *request, const struct job *job)
{
    reply_header(request, "X-Job-Id", job->id);
    if (job->state == JOB_FAILED)
        reply_error(request, job->error, "job %s failed: %s", job->id,
                    job->error_detail);
    else
        reply_error(request, ERROR_JOB_CANCELED, "job %s was canceled",
                    job->id);
}

static void reply_picture(struct request *request, const struct job *job)
{
    const struct artifact *artifact = jobs_artifact(job, 0);

    if (artifact == NULL) {
        reply_error(request, ERROR_GONE, "the picture had to make room");
        return;
    }
    h_picture_headers(request, job, 0);
    h_reply_picture(request, artifact);
}

static bool add_part(struct buf *buf, const struct job *job, uint32_t image)
{
    const struct artifact *artifact = jobs_artifact(job, image);

    if (artifact == NULL)
        return true; /* dropped by the budget: its absence says so */
    return buf_printf(
               buf,
               "--" MULTIPART_BOUNDARY "\r\nContent-Type: %s\r\n"
               "Content-Length: %zu\r\nContent-Location: "
               "/v1/artifacts/%s\r\nX-Seed: %llu\r\n\r\n",
               artifact->content_type, artifact->blob->n_bytes, artifact->hex,
               (unsigned long long)genreq_seeds(&job->req, image).seed) &&
           buf_add(buf, artifact->blob->bytes, artifact->blob->n_bytes) &&
           buf_text(buf, "\r\n");
}

static void reply_multipart(struct request *request, const struct job *job)
{
    size_t limit = PART_BYTES;
    struct buf buf;

    for (uint32_t i = 0; i < job->req.n; i++)
        limit += job->pictures[i].n_bytes + PART_BYTES;
    h_picture_headers(request, job, 0);
    if (!reply_has_room(request, limit))
        return;
    buf_init(&buf, limit);
    (void)buf_reserve(&buf, limit); /* buf.failed remembers                  */
    for (uint32_t i = 0; i < job->req.n; i++)
        (void)add_part(&buf, job, i);
    (void)buf_text(&buf, "--" MULTIPART_BOUNDARY "--\r\n");
    reply_buf(request, 200, "multipart/mixed; boundary=" MULTIPART_BOUNDARY,
              &buf);
}

static void reply_ended(struct wait *w)
{
    struct request *request = w->request;
    struct job *job = w->job;

    if (job->state != JOB_SUCCEEDED) {
        reply_failed(request, job);
    } else if (w->form == FORM_JSON) {
        h_picture_headers(request, job, 0);
        reply_header(request, "Cache-Control", "no-store");
        h_reply_job(request, 200, job, w->with_bytes);
    } else if (w->form == FORM_MULTIPART) {
        reply_multipart(request, job);
    } else {
        reply_picture(request, job);
    }
}

static void reply_accepted(struct request *request, struct job *job)
{
    reply_headerf(request, "Location", "/v1/jobs/%s", job->id);
    reply_header(request, "X-Job-Id", job->id);
    h_retry_hint(request, job);
    h_reply_job(request, 202, job, false);
}

/* --------------------------------------------------------------- waiting -- */

static void wait_free(struct wait *w)
{
    job_watch_remove(&w->watch);
    loop_timer_free(w->patience);
    mem_free(w);
}

static void wait_changed(struct job_watch *watch)
{
    struct wait *w = (struct wait *)watch;
    struct job *job = w->job;

    if (w->is_async ? job->state == JOB_ADMITTING : !job_is_over(job))
        return;
    jobs_wait_end(job);
    if (!w->is_async)
        reply_ended(w);
    else if (job->state == JOB_FAILED)
        reply_failed(w->request, job);
    else
        reply_accepted(w->request, job);
    wait_free(w);
}

static void wait_gone(struct request *request, void *user)
{
    struct wait *w = user;
    struct job *job = w->job;

    (void)request;
    wait_free(w);
    jobs_wait_gone(job);
}

/* The job goes on without this client, so nobody's hang-up ends it. */
static void wait_impatient(void *user)
{
    struct wait *w = user;
    struct job *job = w->job;

    jobs_wait_end(job);
    job->cancels_on_hangup = false;
    reply_accepted(w->request, job);
    wait_free(w);
}

static void wait_start(struct request *request, struct job *job,
                       const struct wait *how, uint64_t patience_s)
{
    struct wait *w = mem_zero(1, sizeof *w);

    jobs_wait_begin(job);
    if (w != NULL && patience_s > 0)
        w->patience =
            loop_timer_new(job->jobs->service->loop, wait_impatient, w);
    if (w == NULL || (patience_s > 0 && w->patience == NULL)) {
        mem_free(w);
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
        jobs_wait_gone(job);
        return;
    }
    w->request = request;
    w->job = job;
    w->form = how->form;
    w->is_async = how->is_async;
    w->with_bytes = how->with_bytes;
    job_watch_add(job, &w->watch, wait_changed);
    reply_defer(request, wait_gone, w);
    if (w->patience != NULL)
        loop_timer_start(w->patience, patience_s * 1000, 0);
    wait_changed(&w->watch); /* it may have ended before */
}

/* ------------------------------------------------------------- the start -- */

struct wishes {
    enum accept_form form;
    bool with_bytes, is_async;
    uint64_t wait_s; /* 0: to the end                                        */
    enum stream_previews previews;
    const char *key; /* Idempotency-Key or NULL                              */
};

static bool read_key(struct request *request, const char **key)
{
    *key = request_header(request, "Idempotency-Key");
    if (*key == NULL)
        return true;
    for (const char *p = *key; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            goto bad;
    if ((*key)[0] != '\0' && strlen(*key) <= JOB_KEY_BYTES)
        return true;
bad:
    reply_error(request, ERROR_BAD_HEADER,
                "Idempotency-Key must be 1..%d printable ASCII characters",
                JOB_KEY_BYTES);
    return false;
}

/* Everything about the answer that does not depend on the body. */
static bool read_wishes(struct request *request, struct wishes *wishes)
{
    const char *image = request_query(request, "image");
    const char *value = NULL;
    uint64_t wait_s;

    wishes->with_bytes = image == NULL || strcmp(image, "url") != 0;
    wishes->previews = stream_previews(request_query(request, "preview"));
    wishes->is_async = request_prefers(request, "respond-async", NULL);
    /* RFC 7240: a preference that cannot be understood is passed over. */
    if (request_prefers(request, "wait", &value) &&
        request_number(value, MAX_WAIT_S, &wait_s)) {
        wishes->wait_s = wait_s;
        wishes->is_async |= wait_s == 0;
    }
    return read_key(request, &wishes->key);
}

static void tell_preferences(struct request *request,
                             const struct wishes *wishes)
{
    if (wishes->wait_s > 0)
        reply_headerf(request, "Preference-Applied", "%swait=%llu",
                      wishes->is_async ? "respond-async, " : "",
                      (unsigned long long)wishes->wait_s);
    else if (wishes->is_async)
        reply_header(request, "Preference-Applied", "respond-async");
}

/* And the format of the pictures, if the body names none. */
static bool choose_form(struct request *request, struct genreq *req,
                        struct wishes *wishes)
{
    const char *fixed = req->has_own_format ? genreq_media_type(req) : NULL;
    char offered[256];

    reply_header(request, "Vary", "Accept, Prefer");
    wishes->form = accept_form(request_header(request, "Accept"), req->n, fixed,
                               &req->file.format);
    if (wishes->form != FORM_NONE)
        return true;
    accept_offered(offered, sizeof offered, req->n, fixed);
    reply_error(request, ERROR_NOT_ACCEPTABLE, "%u picture%s can be had as %s",
                req->n, req->n == 1 ? "" : "s", offered);
    return false;
}

/* respond-async is answered at once, whatever the form. */
static bool is_stream(const struct wishes *wishes)
{
    return wishes->form == FORM_EVENTS &&
           !(wishes->is_async && wishes->wait_s == 0);
}

/* respond-async with wait=N: 202 after N seconds at the latest. */
static void answer(struct request *request, struct job *job,
                   const struct wishes *wishes)
{
    struct wait how = {.form = wishes->form,
                       .with_bytes = wishes->with_bytes,
                       .is_async = wishes->is_async && wishes->wait_s == 0};

    if (is_stream(wishes)) {
        struct stream_options options = {.form = STREAM_EVENTS,
                                         .previews = wishes->previews,
                                         .is_waiting = true};

        stream_start(request, job, &options);
        return;
    }
    if (how.is_async)
        job->cancels_on_hangup = false;
    wait_start(request, job, &how, wishes->wait_s);
}

/* The job of an earlier request with the same key: true, and *job NULL when
 * the answer was sent. */
static bool is_replay(struct service *service, struct request *request,
                      const char *key, const uint8_t *digest, struct job **job)
{
    *job = key != NULL ? jobs_find_key(service->jobs, key) : NULL;
    if (*job == NULL)
        return false;
    if (memcmp((*job)->key_digest, digest, SHA256_BYTES) != 0) {
        reply_error(request, ERROR_IDEMPOTENCY_KEY_REUSE,
                    "this key belongs to job %s, made by another request",
                    (*job)->id);
        *job = NULL;
        return true;
    }
    reply_header(request, "Idempotency-Replayed", "true");
    service->jobs->counters.n_replayed++;
    return true;
}

/* Takes *req.  NULL: the answer was sent. */
static struct job *submit(struct service *service, struct request *request,
                          struct genreq *req, const char *key)
{
    uint8_t digest[SHA256_BYTES];
    struct jobs_options options = {.key = key, .key_digest = digest};
    struct jobs_refusal refusal;
    struct job *job = NULL;

    if (key != NULL && !genreq_digest(req, digest))
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
    else if (!is_replay(service, request, key, digest, &job) &&
             (job = jobs_submit(service->jobs, req, &options, &refusal)) ==
                 NULL)
        h_refuse(request, &refusal);
    genreq_fini(req);
    return job;
}

static void generate(struct service *service, struct request *request,
                     struct intake *in)
{
    struct wishes wishes = {.form = FORM_NONE};
    struct genreq req;
    struct job *job;

    if (!read_wishes(request, &wishes) ||
        !h_read_genreq(service, request, in, wishes.is_async, &req))
        return;
    if (!choose_form(request, &req, &wishes) ||
        (is_stream(&wishes) && !stream_has_room(request, service->jobs))) {
        genreq_fini(&req);
        return;
    }
    job = submit(service, request, &req, wishes.key);
    if (job == NULL)
        return;
    tell_preferences(request, &wishes);
    answer(request, job, &wishes);
}

void h_generate(struct service *service, struct request *request)
{
    intake_read(service, request, generate);
}

static void create(struct service *service, struct request *request,
                   struct intake *in)
{
    struct wishes wishes = {.form = FORM_JSON, .is_async = true};
    struct genreq req;
    struct job *job;

    if (!read_key(request, &wishes.key) ||
        !h_read_genreq(service, request, in, true, &req))
        return;
    job = submit(service, request, &req, wishes.key);
    if (job != NULL)
        answer(request, job, &wishes);
}

void h_jobs_create(struct service *service, struct request *request)
{
    intake_read(service, request, create);
}

/* -------------------------------------------------------------- estimate -- */

/* The weights of all of its models, and the scratch of one at a time. */
static uint64_t peak_bytes(const struct genreq *req)
{
    const struct model *const models[] = {req->model, req->refiner};
    uint64_t weights = 0;
    size_t most = 0;

    for (size_t i = 0; i < 2 && models[i] != NULL; i++) {
        size_t arena = 0;

        weights += models[i]->info->weight_bytes;
        if (models[i]->state == MODEL_READY)
            (void)unstir_model_arena_bytes(
                models[i]->engine, req->resolved.width, req->resolved.height,
                &arena, NULL); /* 0: not known */
        most = arena > most ? arena : most;
    }
    return weights + most;
}

static void estimate(struct service *service, struct request *request,
                     struct intake *in)
{
    struct jobs_refusal refusal = {.code = N_ERRORS};
    double start_s, finish_s;
    struct json_out out;
    struct genreq req;
    struct buf buf;
    bool is_admitted;

    if (!h_read_genreq(service, request, in, true, &req))
        return;
    is_admitted =
        jobs_estimate(service->jobs, &req, &start_s, &finish_s, &refusal);
    buf_init(&buf, 65536 * 2);
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "object", "estimate");
    jout_bool(&out, "admitted", is_admitted);
    if (is_admitted)
        jout_null(&out, "refusal");
    else
        jout_string(&out, "refusal", error_info(refusal.code)->code);
    jout_number(&out, "queue_s", start_s);
    jout_number(&out, "run_s", genreq_cost_s(&req, req.n));
    jout_number(&out, "finish_s", finish_s);
    jout_bool(&out, "measured",
              cost_is_measured(model_cost(req.model), req.resolved.width,
                               req.resolved.height));
    jout_uint(&out, "peak_bytes", peak_bytes(&req));
    genreq_write(&req, &out, "request");
    jout_end_object(&out);
    genreq_fini(&req);
    reply_json(request, 200, &buf);
}

void h_estimate(struct service *service, struct request *request)
{
    intake_read(service, request, estimate);
}
