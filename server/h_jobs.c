/* h_jobs.c - jobs as a resource: list, look, wait, cancel, delete, events.
 *
 * SPDX-License-Identifier: MIT
 */
#include "h_jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "handlers.h"
#include "query.h"
#include "stream.h"
#include "unstir.h"

#define LIST_DEFAULT 20u

/* ------------------------------------------------------ shared with others */

struct job *h_find_job(struct service *service, struct request *request)
{
    const char *id = request_param(request, "id");
    struct job *job = jobs_find(service->jobs, id);

    if (job != NULL)
        return job;
    if (jobs_is_gone(service->jobs, id))
        reply_error(request, ERROR_GONE,
                    "the job has expired; ttl_s says how long one is kept");
    else
        reply_error(request, ERROR_JOB_NOT_FOUND,
                    job_is_id(id) ? "there is no job with this id"
                                  : "an id looks like job_ and 26 letters and "
                                    "digits");
    return NULL;
}

bool h_query_up_to(struct request *request, const char *name, uint64_t max,
                   uint64_t fallback, uint64_t *out)
{
    struct problem *problem;
    char detail[80], nearest[24];

    *out = query_number(request, name, fallback);
    if (request_query(request, name) == NULL || *out <= max)
        return true;
    problem = reply_problem_new(request);
    if (problem == NULL)
        return false;
    (void)snprintf(detail, sizeof detail, "must be at most %" PRIu64 " here",
                   max);
    (void)snprintf(nearest, sizeof nearest, "%" PRIu64, max);
    query_violation(problem, name, request_query(request, name), detail,
                    nearest);
    reply_problem(request, problem);
    return false;
}

unsigned h_query_view(const struct request *request, unsigned fallback)
{
    const char *text = request_query(request, "view");

    if (text == NULL)
        return fallback;
    return strcmp(text, "sample") == 0 ? UNSTIR_VIEW_SAMPLE
                                       : UNSTIR_VIEW_ESTIMATE;
}

static bool check_body(struct request *request, const struct intake *in)
{
    struct problem *problem;

    if (in->doc == NULL) {
        reply_error(request, ERROR_MALFORMED_JSON, "%s%s", in->why,
                    in->first == '{' ? ""
                                     : "; the body must be a JSON object such "
                                       "as {\"prompt\":\"sneaker\"}");
        return false;
    }
    if (jdoc_is_object(in->doc))
        return true;
    problem = reply_problem_new(request);
    if (problem == NULL)
        return false;
    problem_add(problem, "", "the body must be a JSON object", NULL, "[{}]");
    reply_problem(request, problem);
    return false;
}

/* 400 or 422 was sent when the body is not a JSON object.  *doc is NULL when
 * the body is empty and may be. */
static bool parse_body(struct request *request, bool may_be_empty,
                       struct jdoc **doc)
{
    struct intake in = {.doc = NULL};

    *doc = NULL;
    if (request->n_body == 0 && may_be_empty)
        return true;
    intake_parse(&in, request->body, request->n_body);
    if (check_body(request, &in)) {
        *doc = in.doc;
        return true;
    }
    intake_fini(&in);
    return false;
}

bool h_read_genreq(struct service *service, struct request *request,
                   struct intake *in, bool continues_default,
                   struct genreq *req)
{
    struct genreq_options options = {.continues_default = continues_default,
                                     .is_lenient = request_is_lenient(request)};
    struct problem *problem = reply_problem_new(request);

    if (problem == NULL || !check_body(request, in))
        return false;
    if (genreq_read(req, service, in, &options, problem))
        return true;
    if (problem->code != ERROR_INVALID_PARAMETERS)
        reply_header(request, "Retry-After", "1");
    reply_problem(request, problem);
    return false;
}

void h_retry_hint(struct request *request, const struct job *job)
{
    double left_s = job->ahead_s + job->item.cost_s;

    if (!job_is_terminal(job))
        reply_headerf(request, "Retry-After", "%u",
                      cost_retry_after(left_s, 0));
}

void h_reply_job(struct request *request, unsigned status, struct job *job,
                 bool with_bytes)
{
    struct json_out out;
    struct buf buf;
    size_t limit = JOB_BYTES;

    if (!with_bytes) {
        const struct buf *text = job_text(job);
        buf_init(&buf, JOB_BYTES);
        buf.failed = text->failed;
        (void)buf_add(&buf, text->bytes, text->n); /* told by reply_json     */
        reply_json(request, status, &buf);
        return;
    }
    /* base64 is 4/3 of the bytes. */
    for (uint32_t i = 0; i < job->req.n; i++)
        limit += job->pictures[i].n_bytes / 3 * 4 + 8;
    if (!reply_has_room(request, limit))
        return;
    buf_init(&buf, limit);
    (void)buf_reserve(&buf, limit); /* buf.failed remembers                  */
    jout_init(&out, &buf);
    job_write(job, &out, NULL, &job->jobs->artifacts);
    reply_json(request, status, &buf);
}

void h_refuse(struct request *request, const struct jobs_refusal *refusal)
{
    struct problem problem;

    problem_init(&problem, request->arena, refusal->code);
    problem_detail(&problem, "%s", refusal->detail);
    if (refusal->retry_after_s > 0) {
        reply_headerf(request, "Retry-After", "%u", refusal->retry_after_s);
        problem.members = mem_arena_printf(
            request->arena,
            "\"retry_after_s\":%u,\"predicted_s\":%.17g,"
            "\"queue\":{\"length\":%zu,\"backlog_s\":%.17g,"
            "\"running_s\":%.17g}",
            refusal->retry_after_s, refusal->predicted_s, refusal->n_waiting,
            refusal->backlog_s, refusal->running_s);
    }
    reply_problem(request, &problem);
}

/* ------------------------------------------------------------------- look */

struct poll {
    struct job_watch watch; /* first member                                  */
    struct request *request;
    struct job *job;
    struct loop_timer *patience;
    uint32_t version; /* the answer comes when the job has another one       */
};

static void reply_look(struct request *request, struct job *job)
{
    char etag[JOB_ID_SIZE + 16];

    (void)snprintf(etag, sizeof etag, "\"%s-%u\"", job->id, job_version(job));
    reply_header(request, "Cache-Control", "private, no-cache");
    if (reply_not_modified(request, etag))
        return;
    h_retry_hint(request, job);
    h_reply_job(request, 200, job, false);
}

static void poll_free(struct poll *poll)
{
    job_watch_remove(&poll->watch);
    loop_timer_free(poll->patience);
    mem_free(poll);
}

static void poll_answer(void *user)
{
    struct poll *poll = user;

    reply_look(poll->request, poll->job);
    poll_free(poll);
}

/* A terminal state and the last event come in one turn of the loop: wait for
 * both, or the answer would be stale at once. */
static void poll_changed(struct job_watch *watch)
{
    struct poll *poll = (struct poll *)watch;

    if (job_version(poll->job) != poll->version &&
        (!job_is_terminal(poll->job) || job_is_over(poll->job)))
        poll_answer(poll);
}

static void poll_gone(struct request *request, void *user)
{
    (void)request;
    poll_free(user);
}

static bool knows_version(struct request *request, const struct job *job)
{
    char etag[JOB_ID_SIZE + 16];

    (void)snprintf(etag, sizeof etag, "\"%s-%u\"", job->id, job_version(job));
    return request_header(request, "If-None-Match") == NULL ||
           request_none_match(request, etag);
}

void h_jobs_get(struct service *service, struct request *request)
{
    struct job *job = h_find_job(service, request);
    struct poll *poll;
    uint64_t wait_s;

    if (job == NULL)
        return;
    wait_s = query_number(request, "wait", 0);
    if (wait_s == 0 || job_is_over(job) || !knows_version(request, job)) {
        reply_look(request, job);
        return;
    }
    poll = mem_zero(1, sizeof *poll);
    if (poll == NULL || (poll->patience = loop_timer_new(
                             service->loop, poll_answer, poll)) == NULL) {
        mem_free(poll);
        reply_look(request, job); /* without memory: the answer of now */
        return;
    }
    poll->request = request;
    poll->job = job;
    poll->version = job_version(job);
    job_watch_add(job, &poll->watch, poll_changed);
    reply_defer(request, poll_gone, poll);
    loop_timer_start(poll->patience, wait_s * 1000, 0);
}

/* ------------------------------------------------------------------- list */

struct list_query {
    enum job_state state; /* JOB_N_STATES: all                               */
    uint64_t limit, before; /* numbers below `before`; 0: the newest         */
};

static void read_list_query(const struct request *request,
                            struct list_query *query)
{
    const char *status = request_query(request, "status");

    query->state = status != NULL ? job_state_by_name(status) : JOB_N_STATES;
    query->limit = query_number(request, "limit", LIST_DEFAULT);
    query->before = query_number(request, "cursor", 0);
}

static bool is_listed(const struct job *job, const struct list_query *query)
{
    return job->state != JOB_ADMITTING &&
           (query->before == 0 || job->number < query->before) &&
           (query->state == JOB_N_STATES || job->state == query->state);
}

/* Newest first.  The cursor is the number of the last one shown, so jobs that
 * come or go meanwhile shift nothing. */
void h_jobs_list(struct service *service, struct request *request)
{
    const struct jobs *jobs = service->jobs;
    const struct job *last = NULL, *at;
    struct list_query query;
    struct json_out out;
    struct buf buf;
    uint64_t n = 0;
    char cursor[24];

    read_list_query(request, &query);
    buf_init(&buf, JOB_BYTES * (size_t)(query.limit + 1));
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "object", "list");
    jout_array(&out, "data");
    for (at = jobs_newest(jobs); at != NULL; at = jobs_older(jobs, at)) {
        if (!is_listed(at, &query))
            continue;
        if (n++ == query.limit)
            break;
        job_write(at, &out, NULL, NULL);
        last = at;
    }
    jout_end_array(&out);
    if (at != NULL && last != NULL) {
        (void)snprintf(cursor, sizeof cursor, "%" PRIu64, last->number);
        jout_string(&out, "next_cursor", cursor);
    } else {
        jout_null(&out, "next_cursor");
    }
    jout_end_object(&out);
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_json(request, 200, &buf);
}

/* ------------------------------------------------------------------- act */

void h_jobs_delete(struct service *service, struct request *request)
{
    struct job *job = h_find_job(service, request);

    if (job == NULL)
        return;
    jobs_delete(service->jobs, job);
    reply_empty(request, 204);
}

struct cancel_body {
    const char *mode;
};

const struct json_field cancel_fields[] = {
    {.name = "mode",
     .kind = JSON_KIND_STRING,
     .offset = offsetof(struct cancel_body, mode),
     .present = JSON_NO_PRESENT,
     .choices = "abort|finish",
     .summary = "abort (default), or finish: what is there is the result"},
    JSON_FIELD_END};

static bool read_cancel(struct request *request, bool *finish)
{
    struct cancel_body body = {NULL};
    struct problem *problem = reply_problem_new(request);
    struct jdoc *doc;
    bool is_good = true;

    if (problem == NULL || !parse_body(request, true, &doc))
        return false;
    if (doc != NULL)
        is_good = jdoc_read(doc, cancel_fields, &body,
                            request_is_lenient(request), problem);
    jdoc_free(doc);
    if (!is_good)
        reply_problem(request, problem);
    *finish = body.mode != NULL && strcmp(body.mode, "finish") == 0;
    return is_good;
}

void h_jobs_cancel(struct service *service, struct request *request)
{
    struct job *job = h_find_job(service, request);
    bool finish;

    if (job == NULL || !read_cancel(request, &finish))
        return;
    jobs_cancel(service->jobs, job, finish);
    h_reply_job(request, 200, job, false);
}

/* -------------------------------------------------------------- the events */

void h_jobs_events(struct service *service, struct request *request)
{
    struct stream_options options = {.form = STREAM_EVENTS};
    const char *last = request_header(request, "Last-Event-ID");
    struct job *job = h_find_job(service, request);
    uint64_t after = 0;

    if (job == NULL)
        return;
    options.previews = stream_previews(request_query(request, "preview"));
    options.view = h_query_view(request, UNSTIR_VIEW_ESTIMATE);
    /* An id that is no number is none of ours: the whole ring. */
    (void)request_number(last, UINT32_MAX, &after);
    options.after = (uint32_t)after;
    if (job_is_over(job) && after > 0 && after == job_version(job)) {
        reply_empty(request, 204); /* tells an EventSource to stop */
        return;
    }
    stream_start(request, job, &options);
}
