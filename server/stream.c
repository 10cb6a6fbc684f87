/* stream.c - a job's events to one client, as they come.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stream.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "encode.h"
#include "jobs.h"
#include "reply.h"

/* Above FULL the cursor waits until the client has taken everything; LIMIT is
 * the ceiling of one write more: a finished job with 16 pictures is 10 KiB, an
 * inline preview of 1024 x 1024 in RGB at most 4 MiB. */
#define FULL_BYTES  (64u << 10)
#define LIMIT_BYTES (8u << 20)

#define PING_MS  15000u
#define PING     ": ping\n\n"
#define BOUNDARY "unstir-step"

struct stream {
    struct job_watch watch; /* first member                                  */
    struct request *request;
    struct jobs *jobs;
    struct job *job; /* good while it is watched                             */
    struct stream_options options;
    struct loop_timer *ping;
    struct encode *encode; /* in the making, of `encoding`              */
    struct event encoding;
    uint32_t cursor;
    bool is_late; /* a film that skips to the newest step      */
};

enum stream_previews stream_previews(const char *text)
{
    if (text != NULL && strcmp(text, "inline") == 0)
        return STREAM_PREVIEW_INLINE;
    if (text != NULL && strcmp(text, "none") == 0)
        return STREAM_PREVIEW_NONE;
    return STREAM_PREVIEW_LINK;
}

static void stream_free(struct stream *s)
{
    encode_abandon(s->encode);
    loop_timer_free(s->ping);
    job_watch_remove(&s->watch);
    s->jobs->n_streams--;
    mem_free(s);
}

/* ------------------------------------------------------------- writing -- */

static bool write_event(struct stream *s, uint32_t id, const char *kind,
                        const struct buf *data)
{
    char head[64];
    int n = snprintf(head, sizeof head, "id: %u\nevent: %s\ndata: ", id, kind);

    if (data->failed)
        return true; /* no memory for this one: a gap, not an end */
    return stream_reserve(s->request, (size_t)n + data->n + 2) &&
           stream_write(s->request, head, (size_t)n) &&
           stream_write(s->request, data->bytes, data->n) &&
           stream_write(s->request, "\n\n", 2);
}

static bool write_plain(struct stream *s, const struct event *event)
{
    struct json_out out;
    struct buf buf;
    bool is_good;

    buf_init(&buf, LIMIT_BYTES);
    jout_init(&out, &buf);
    job_write_event(s->job, event, &out);
    is_good = write_event(s, event->id,
                          event_kind_name((enum event_kind)event->kind), &buf);
    buf_fini(&buf);
    return is_good;
}

static bool write_preview(struct stream *s, const struct event *event,
                          const unsigned char *png, size_t n_png)
{
    const struct previews *p = &s->job->previews;
    struct json_out out;
    struct buf buf;
    char url[160];
    bool is_good;

    (void)snprintf(url, sizeof url, "/v1/jobs/%s/preview?step=%u&image=%u%s",
                   s->job->id, event->step, event->image,
                   s->options.view == UNSTIR_VIEW_SAMPLE ? "&view=sample" : "");
    buf_init(&buf, LIMIT_BYTES);
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_int(&out, "step", event->step);
    jout_int(&out, "image", event->image);
    jout_string(
        &out, "content_type",
        unstir_format_info(s->job->req.preview_file.format)->media_type);
    jout_int(&out, "width", p->width);
    jout_int(&out, "height", p->height);
    jout_string(&out, "url", url);
    if (png != NULL)
        jout_base64(&out, "data_base64", png, n_png);
    jout_end_object(&out);
    is_good = write_event(s, event->id, "preview", &buf);
    buf_fini(&buf);
    return is_good;
}

/* The boundary follows each part at once: browsers show a part when they see
 * where it ends. */
static bool write_part(struct stream *s, const char *media_type,
                       const void *png, size_t n_png, const char *step)
{
    char head[128];
    int n = snprintf(head, sizeof head,
                     "\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                     "X-Step: %s\r\n\r\n",
                     media_type, n_png, step);
    static const char end[] = "\r\n--" BOUNDARY;

    return stream_reserve(s->request, (size_t)n + n_png + sizeof end) &&
           stream_write(s->request, head, (size_t)n) &&
           stream_write(s->request, png, n_png) &&
           stream_write(s->request, end, sizeof end - 1);
}

static void end(struct stream *s)
{
    struct request *request = s->request;
    struct job *job = s->job;
    bool is_waiting = s->options.is_waiting;

    if (s->options.form == STREAM_FILM)
        (void)stream_write(request, "--\r\n", 4); /* the end is seen anyway */
    stream_free(s);
    if (is_waiting)
        jobs_wait_end(job);
    stream_end(request);
}

/* ---------------------------------------------------------- the cursor -- */

static void pump(struct stream *s);

static void encoded(void *user, unsigned char *png, size_t n_png)
{
    struct stream *s = user;
    const struct event *event = &s->encoding;
    char step[16];

    s->encode = NULL;
    s->cursor = event->id;
    (void)snprintf(step, sizeof step, "%u", event->step);
    /* Cannot be over the stream's own limit: the cursor moves only below
     * FULL_BYTES.  Where all large answers have no room for it, the link does
     * (a film leaves it out). */
    if (s->options.form == STREAM_EVENTS) {
        if (!write_preview(s, event, png, n_png))
            (void)write_preview(s, event, NULL, 0);
    } else if (png != NULL)
        (void)write_part(
            s, unstir_format_info(s->job->req.preview_file.format)->media_type,
            png, n_png, step);
    unstir_free(png);
    pump(s);
}

/* True when the stream now waits for a picture. */
static bool start_encode(struct stream *s, const struct event *event)
{
    const struct previews *p = &s->job->previews;
    struct encode_options options = {.zoom = s->options.zoom,
                                     .max_edge = s->job->req.preview_max_edge,
                                     .format = s->job->req.preview_file.format,
                                     .quality =
                                         s->job->req.preview_file.quality};
    const uint8_t *pixels;

    if (previews_find(p, event->image, event->step, s->options.view, &pixels) !=
        PREVIEW_FOUND)
        return false;
    s->encode = encode_new(&s->jobs->encodes, p->width, p->height, p->channels);
    if (s->encode == NULL)
        return false;
    if (!encode_add(s->encode, pixels)) {
        encode_free(s->encode);
        s->encode = NULL;
        return false;
    }
    s->encoding = *event;
    if (encode_start(s->encode, s->jobs->service->loop, &options, encoded, s))
        return true;
    s->encode = NULL;
    return false;
}

/* The newest step's event that the film shows, for one that is late. */
static const struct event *newest_step(const struct stream *s)
{
    const struct event *newest = NULL, *at;
    uint32_t cursor = s->cursor;

    while ((at = events_next(&s->job->events, cursor)) != NULL) {
        cursor = at->id;
        if (at->kind == EVENT_PREVIEW && at->image == s->options.image)
            newest = at;
    }
    return newest;
}

/* The film ends with the finished picture itself. */
static void write_last_part(struct stream *s)
{
    const struct artifact *artifact = jobs_artifact(s->job, s->options.image);

    if (artifact != NULL)
        (void)write_part(s, artifact->content_type, artifact->blob->bytes,
                         artifact->blob->n_bytes, "final");
}

/* One event of a film.  False: wait. */
static bool show(struct stream *s, const struct event *event)
{
    if (s->is_late) {
        const struct event *newest = newest_step(s);

        s->is_late = false;
        if (newest != NULL)
            event = newest;
    }
    if (event->kind == EVENT_DONE)
        write_last_part(s);
    else if (event->kind == EVENT_PREVIEW && event->image == s->options.image &&
             start_encode(s, event))
        return false;
    s->cursor = event->id;
    return true;
}

/* One event as text.  False: wait. */
static bool tell(struct stream *s, const struct event *event)
{
    bool is_preview = event->kind == EVENT_PREVIEW;
    uint32_t id = event->id;

    if (is_preview && s->options.previews == STREAM_PREVIEW_INLINE &&
        start_encode(s, event))
        return false;
    if (is_preview ? s->options.previews != STREAM_PREVIEW_NONE &&
                         !write_preview(s, event, NULL, 0)
                   : !write_plain(s, event))
        return false; /* full: `drained` goes on */
    s->cursor = id;
    return true;
}

/* Move on as far as the client and the encoder allow. */
static void pump(struct stream *s)
{
    const struct event *event;

    if (s->encode != NULL)
        return;
    while ((event = events_next(&s->job->events, s->cursor)) != NULL) {
        bool is_done = event->kind == EVENT_DONE;

        if (stream_pending(s->request) > FULL_BYTES) {
            s->is_late = s->options.form == STREAM_FILM;
            return;
        }
        if (!(s->options.form == STREAM_FILM ? show(s, event) : tell(s, event)))
            return;
        if (is_done && s->cursor >= s->job->events.last_id) {
            end(s);
            return;
        }
    }
    if (job_is_over(s->job) && s->cursor >= s->job->events.last_id)
        end(s);
}

static void changed(struct job_watch *watch)
{
    pump((struct stream *)watch);
}

static void drained(struct request *request, void *user)
{
    (void)request;
    pump(user);
}

static void gone(struct request *request, void *user)
{
    struct stream *s = user;
    struct job *job = s->job;
    bool is_waiting = s->options.is_waiting;

    (void)request;
    stream_free(s);
    if (is_waiting)
        jobs_wait_gone(job);
}

static void ping(void *user)
{
    struct stream *s = user;

    if (s->options.form == STREAM_EVENTS && stream_pending(s->request) == 0)
        (void)stream_write(s->request, PING, sizeof PING - 1); /* has room   */
}

/* ------------------------------------------------------------- starting -- */

static struct stream *stream_new(struct request *request, struct job *job,
                                 const struct stream_options *options)
{
    struct stream *s = mem_zero(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->ping = loop_timer_new(job->jobs->service->loop, ping, s);
    if (s->ping == NULL) {
        mem_free(s);
        return NULL;
    }
    s->request = request;
    s->jobs = job->jobs;
    s->job = job;
    s->options = *options;
    if (s->options.zoom == 0)
        s->options.zoom = 1;
    /* An id from before a restart says nothing here: the whole ring. */
    s->cursor = options->after <= job->events.last_id ? options->after : 0;
    s->jobs->n_streams++;
    return s;
}

static void open_reply(struct stream *s)
{
    bool is_film = s->options.form == STREAM_FILM;
    struct reply_stream reply = {
        .status = 200,
        .content_type = is_film
                            ? "multipart/x-mixed-replace; boundary=" BOUNDARY
                            : "text/event-stream",
        .limit_bytes = LIMIT_BYTES,
        .gone = gone,
        .drained = drained,
        .probe = is_film ? NULL : PING, /* a film has no place for comments  */
        .user = s};

    reply_header(s->request, "X-Job-Id", s->job->id);
    reply_header(s->request, "Cache-Control", "no-store");
    reply_header(s->request, "X-Accel-Buffering", "no"); /* nginx: pass on */
    reply_stream(s->request, &reply);
    if (is_film)
        (void)stream_write(s->request, "--" BOUNDARY, 2 + strlen(BOUNDARY));
    else
        (void)stream_write(s->request, "retry: 3000\n\n", 13);
}

bool stream_has_room(struct request *request, const struct jobs *jobs)
{
    if (jobs->n_streams < (size_t)jobs->service->config->max_streams)
        return true;
    reply_header(request, "Retry-After", "5");
    reply_error(request, ERROR_TOO_MANY_STREAMS,
                "%zu streams are open, the most this server takes",
                jobs->n_streams);
    return false;
}

void stream_start(struct request *request, struct job *job,
                  const struct stream_options *options)
{
    struct stream *s;

    if (options->is_waiting)
        jobs_wait_begin(job);
    if (!stream_has_room(request, job->jobs))
        goto gone;
    s = stream_new(request, job, options);
    if (s == NULL) {
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
        goto gone;
    }
    job_watch_add(job, &s->watch, changed);
    loop_timer_start(s->ping, PING_MS, PING_MS);
    open_reply(s);
    pump(s);
    return;
gone:
    if (options->is_waiting)
        jobs_wait_gone(job);
}
