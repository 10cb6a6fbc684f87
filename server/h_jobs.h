/* h_jobs.h - what the handlers of jobs share.
 *
 * Each of these answers the request itself when it cannot do its part, and
 * says so by its result.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_H_JOBS_H
#define SERVER_H_JOBS_H

#include <stdbool.h>

#include "intake.h"
#include "jobs.h"
#include "reply.h"
#include "request.h"

/* 422: what query argument `name` asks for is larger than a picture may be; 0:
 * there is no nearest that is not. */
void h_refuse_size(struct request *request, const char *name, uint32_t nearest);

/* The job that {id} of the path names; NULL: 404 or 410 was sent. */
struct job *h_find_job(struct service *service, struct request *request);

/* A query argument whose limit the route's rule does not know; `fallback` if it
 * is not there.  False: 422 was sent. */
bool h_query_up_to(struct request *request, const char *name, uint64_t max,
                   uint64_t fallback, uint64_t *out);

/* ?view=estimate or sample. */
unsigned h_query_view(const struct request *request, unsigned fallback);

/* The body, which was read, as a request for pictures. */
bool h_read_genreq(struct service *service, struct request *request,
                   struct intake *in, bool continues_default,
                   struct genreq *req);

/* Seconds until it is worth to ask again. */
void h_retry_hint(struct request *request, const struct job *job);

/* The job object, with its ETag. */
void h_reply_job(struct request *request, unsigned status, struct job *job,
                 bool with_bytes);

void h_refuse(struct request *request, const struct jobs_refusal *refusal);

/* The headers that go with a job's pictures in an answer of any form. */
void h_picture_headers(struct request *request, const struct job *job,
                       uint32_t image);

/* The bytes as the answer to a request that made them: digest and address are
 * those of the picture, so no other form has them. */
void h_reply_picture(struct request *request, const struct artifact *artifact);

#endif
