/* h_artifacts.c - finished pictures: by their hash, and by job and number.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "h_jobs.h"
#include "handlers.h"

/* ------------------------------------------------------------- the bytes -- */

static void cut(void *user)
{
    reply_cut(user);
}

static void end_reading(void *user)
{
    blob_read_end(user);
}

static void reply_piece(struct request *request, unsigned status,
                        const char *content_type, struct blob *blob,
                        size_t first, size_t n)
{
    struct blob_reader *reader =
        mem_arena_zero(request->arena, 1, sizeof *reader);

    if (reader == NULL) {
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
        return;
    }
    reader->cut = cut;
    reader->user = request;
    blob_read(blob, reader);
    reply_shared(request, status, content_type, blob->bytes + first, n,
                 end_reading, reader);
}

static void reply_whole(struct request *request,
                        const struct artifact *artifact)
{
    reply_piece(request, 200, artifact->content_type, artifact->blob, 0,
                artifact->blob->n_bytes);
}

/* RFC 9530: sha-256=:base64:. */
static void add_digest(struct request *request, const uint8_t *digest)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
        "uvwxyz0123456789+/";
    char text[4 * ((SHA256_BYTES + 2) / 3) + 1];
    size_t n = 0;

    for (size_t i = 0; i < SHA256_BYTES; i += 3) {
        size_t left = SHA256_BYTES - i;
        uint32_t bits = (uint32_t)digest[i] << 16;

        bits |= left > 1 ? (uint32_t)digest[i + 1] << 8 : 0;
        bits |= left > 2 ? digest[i + 2] : 0;
        text[n++] = digits[bits >> 18];
        text[n++] = digits[bits >> 12 & 63];
        text[n++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        text[n++] = left > 2 ? digits[bits & 63] : '=';
    }
    text[n] = '\0';
    reply_headerf(request, "Repr-Digest", "sha-256=:%s:", text);
}

static void add_seeds(struct request *request, const struct job *job,
                      uint32_t image)
{
    const struct genreq_seeds seeds = genreq_seeds(&job->req, image);

    reply_headerf(request, "X-Seed", "%" PRIu64, seeds.seed);
    if (job->req.resolved.variation_strength > 0)
        reply_headerf(request, "X-Variation-Seed", "%" PRIu64,
                      seeds.variation_seed);
}

void h_picture_headers(struct request *request, const struct job *job,
                       uint32_t image)
{
    int64_t queue_ms = (job->started_ns - job->created_ns) / 1000000;

    reply_header(request, "X-Job-Id", job->id);
    add_seeds(request, job, image);
    reply_header(request, "X-Model", model_id(job->req.model));
    reply_headerf(request, "Server-Timing",
                  "queue;dur=%" PRId64 ", text;dur=%" PRId64
                  ", denoise;dur=%" PRId64 ", png;dur=%" PRId64,
                  queue_ms, job->begin_ms, job->denoise_ms, job->encode_ms);
}

void h_reply_picture(struct request *request, const struct artifact *artifact)
{
    reply_headerf(request, "Content-Location", "/v1/artifacts/%s",
                  artifact->hex);
    reply_headerf(request, "ETag", "\"%s\"", artifact->hex);
    add_digest(request, artifact->digest);
    reply_whole(request, artifact);
}

/* ------------------------------------------------------------------ range */

enum range { RANGE_NONE, RANGE_PART, RANGE_WRONG };

/* "bytes=0-99", "bytes=100-", "bytes=-50", of GET alone (RFC 9110 14.2).
 * Several ranges and other units are passed over, as RFC 9110 allows: the whole
 * is sent. */
static enum range read_range(const char *text, size_t size, size_t *first,
                             size_t *n)
{
    char from[24] = "", to[24] = "";
    uint64_t a = 0, b = 0;
    const char *dash;
    bool has_from, has_to;

    if (text == NULL || strncasecmp(text, "bytes=", 6) != 0)
        return RANGE_NONE;
    text += 6;
    dash = strchr(text, '-');
    if (dash == NULL || (size_t)(dash - text) >= sizeof from ||
        strlen(dash + 1) >= sizeof to)
        return RANGE_NONE;
    memcpy(from, text, (size_t)(dash - text));
    (void)snprintf(to, sizeof to, "%s", dash + 1);
    has_from = from[0] != '\0';
    has_to = to[0] != '\0';
    if ((!has_from && !has_to) ||
        (has_from && !request_number(from, UINT64_MAX, &a)) ||
        (has_to && !request_number(to, UINT64_MAX, &b)) ||
        (has_from && has_to && b < a))
        return RANGE_NONE;
    if (has_from ? a >= size : b == 0)
        return RANGE_WRONG;
    if (!has_from) {
        a = b < size ? size - b : 0;
        has_to = false;
    }
    *first = (size_t)a;
    *n = has_to && b < size ? (size_t)(b - a + 1) : size - (size_t)a;
    return RANGE_PART;
}

/* Bytes of an artifact, Range and If-None-Match obeyed. */
static void reply_artifact(struct request *request,
                           const struct artifact *artifact)
{
    size_t size = artifact->blob->n_bytes, first = 0, n = 0;
    const char *if_range = request_header(request, "If-Range");
    enum range range;
    char etag[SHA256_HEX_SIZE + 2];

    (void)snprintf(etag, sizeof etag, "\"%s\"", artifact->hex);
    if (reply_not_modified(request, etag))
        return;
    add_digest(request, artifact->digest);
    reply_header(request, "Accept-Ranges", "bytes");
    range =
        request->is_head || (if_range != NULL && strcmp(if_range, etag) != 0)
            ? RANGE_NONE
            : read_range(request_header(request, "Range"), size, &first, &n);
    if (range == RANGE_WRONG) {
        reply_headerf(request, "Content-Range", "bytes */%zu", size);
        reply_error(request, ERROR_BAD_RANGE, "there are %zu bytes", size);
    } else if (range == RANGE_PART) {
        reply_headerf(request, "Content-Range", "bytes %zu-%zu/%zu", first,
                      first + n - 1, size);
        reply_piece(request, 206, artifact->content_type, artifact->blob, first,
                    n);
    } else {
        reply_whole(request, artifact);
    }
}

/* ------------------------------------------------------------- resources -- */

void h_artifact(struct service *service, struct request *request)
{
    struct artifacts *artifacts = &service->jobs->artifacts;
    const char *hex = request_param(request, "sha256");
    struct artifact *artifact = artifacts_find(artifacts, hex);

    if (artifact != NULL) {
        reply_header(request, "Cache-Control",
                     "private, max-age=31536000, immutable");
        reply_artifact(request, artifact);
    } else if (artifacts_is_gone(artifacts, hex)) {
        reply_error(request, ERROR_GONE, "the picture has been dropped");
    } else {
        reply_error(request, ERROR_NOT_FOUND,
                    "there is no picture with this SHA-256");
    }
}

void h_jobs_image(struct service *service, struct request *request)
{
    struct job *job = h_find_job(service, request);
    struct artifact *artifact;
    uint64_t image;

    if (job == NULL)
        return;
    if (!request_number(request_param(request, "index"), UINT32_MAX, &image) ||
        image >= job->req.n) {
        reply_error(request, ERROR_NOT_FOUND, "the job has pictures 0 to %u",
                    job->req.n - 1);
        return;
    }
    artifact = jobs_artifact(job, (uint32_t)image);
    if (artifact != NULL) {
        reply_header(request, "Cache-Control", "private, no-cache");
        reply_header(request, "X-Job-Id", job->id);
        add_seeds(request, job, (uint32_t)image);
        reply_header(request, "X-Model", model_id(job->req.model));
        reply_headerf(request, "Content-Location", "/v1/artifacts/%s",
                      artifact->hex);
        reply_artifact(request, artifact);
    } else if (job->pictures[image].is_done) {
        reply_error(request, ERROR_GONE, "the picture has been dropped");
    } else if (job_is_terminal(job)) {
        reply_error(request, ERROR_NO_RESULT, "the job ended as %s",
                    job_state_name(job->state));
    } else {
        reply_error(request, ERROR_NOT_FINISHED, "the job is %s, step %u of %u",
                    job_state_name(job->state), job->pictures[image].step,
                    job->req.steps);
    }
}
