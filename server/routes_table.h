/* routes_table.h - every address of the service.
 *
 * ROUTE(method, pattern, scope, body limit, handler, query rules, headers
 *       read, statuses answered, media types produced, body fields or NULL,
 *       summary)
 *
 * Query rules are those of query.h.  Headers are those that change the answer
 * of this address; statuses are those of answers that are no problem.  A
 * media type of JSON names its schema in page/schemas.json.
 *
 * Handlers are declared by router.c from this table: a handler is any
 * function  void h_name(struct service *, struct request *).  A body table
 * is any  extern const struct json_field name[]  and is named by
 * BODY_TABLE(name) below.
 *
 * Included several times; no guard.
 *
 * SPDX-License-Identifier: MIT
 */
#define ROUTES_FORMS \
    ROUTES_RESULT    \
    ",application/json:Job,text/event-stream,multipart/mixed"
#define ROUTES_PICTURE "image/png,image/jpeg,image/webp"
#define ROUTES_RESULT  ROUTES_PICTURE "," GENREQ_LATENTS_TYPE
#define ROUTES_FILE    "format=png|jpeg|webp,quality=1..100"
#define ROUTES_STATES  "queued|running|canceling|succeeded|failed|canceled"
#define ROUTES_VIEW    "view=estimate|sample"

ROUTE(GET, "/health/live", PUBLIC, ROUTE_BODY_NONE, h_health_live, "", "",
      "200", "application/json:Health", NULL, "Is the process alive")
ROUTE(GET, "/health/ready", PUBLIC, ROUTE_BODY_NONE, h_health_ready, "", "",
      "200,503", "application/json:Health", NULL,
      "Can it take work: 503 while loading or draining")
ROUTE(GET, "/health/startup", PUBLIC, ROUTE_BODY_NONE, h_health_startup, "", "",
      "200,503", "application/json:Health", NULL,
      "Has it started: 503 until its model is loaded")
ROUTE(GET, "/openapi.json", PUBLIC, ROUTE_BODY_NONE, h_openapi, "",
      "If-None-Match", "200,304", "application/json", NULL,
      "This interface as OpenAPI 3.1")
ROUTE(GET, "/problems/{slug}", PUBLIC, ROUTE_BODY_NONE, h_problem, "", "",
      "200", "application/json:Help", NULL,
      "What an error means and what to do about it")

BODY_TABLE(genreq_fields)
BODY_TABLE(cancel_fields)

ROUTE(GET, "/", PUBLIC, ROUTE_BODY_NONE, h_page, "", "If-None-Match", "200,304",
      "text/html", NULL, "The web page")
ROUTE(GET, "/page/{file}", PUBLIC, ROUTE_BODY_NONE, h_page_file, "",
      "If-None-Match", "200,304", "text/css,text/javascript", NULL,
      "Style and scripts of the web page")
ROUTE(POST, "/generate", CREATE, ROUTE_BODY_UPLOAD, h_generate,
      "image=b64|url,preview=link|inline|none", "Accept,Prefer,Idempotency-Key",
      "200,202", ROUTES_FORMS, genreq_fields, "Make pictures and wait for them")
ROUTE(POST, "/v1/generate", CREATE, ROUTE_BODY_UPLOAD, h_generate,
      "image=b64|url,preview=link|inline|none", "Accept,Prefer,Idempotency-Key",
      "200,202", ROUTES_FORMS, genreq_fields, "The same as /generate")
ROUTE(POST, "/v1/jobs", CREATE, ROUTE_BODY_UPLOAD, h_jobs_create, "",
      "Prefer,Idempotency-Key", "202", "application/json:Job", genreq_fields,
      "Make pictures, do not wait")
ROUTE(GET, "/v1/jobs", READ, ROUTE_BODY_NONE, h_jobs_list,
      "status=" ROUTES_STATES ",limit=1..100,cursor=1..18446744073709551615",
      "", "200", "application/json:JobList", NULL, "List jobs, newest first")
ROUTE(GET, "/v1/jobs/{id}", READ, ROUTE_BODY_NONE, h_jobs_get, "wait=0..300",
      "If-None-Match", "200,304", "application/json:Job", NULL,
      "A job; ?wait=N until it changes")
ROUTE(DELETE, "/v1/jobs/{id}", MANAGE, ROUTE_BODY_NONE, h_jobs_delete, "", "",
      "204", "application/json", NULL,
      "Cancel a job, forget it and its pictures")
ROUTE(POST, "/v1/jobs/{id}/cancel", MANAGE, ROUTE_BODY_JSON, h_jobs_cancel, "",
      "", "200", "application/json:Job", cancel_fields,
      "Stop a job between steps, or finish it early")
ROUTE(GET, "/v1/jobs/{id}/events", READ, ROUTE_BODY_NONE, h_jobs_events,
      "preview=link|inline|none," ROUTES_VIEW, "Last-Event-ID", "200,204",
      "text/event-stream", NULL,
      "Everything that happens to a job; Last-Event-ID goes on")
ROUTE(GET, "/v1/jobs/{id}/preview", READ, ROUTE_BODY_NONE, h_jobs_preview,
      "step=0..1000000,image=0..15," ROUTES_VIEW ",zoom=1..16," ROUTES_FILE,
      "Accept,If-None-Match", "200,304", ROUTES_PICTURE, NULL,
      "The newest step as a picture, or step k")
ROUTE(GET, "/v1/jobs/{id}/preview.mjpg", READ, ROUTE_BODY_NONE, h_jobs_film,
      "image=0..15," ROUTES_VIEW ",zoom=1..16", "", "200",
      "multipart/x-mixed-replace", NULL,
      "Every step as it is taken, for an <img>")
ROUTE(GET, "/v1/jobs/{id}/timeline", READ, ROUTE_BODY_NONE, h_jobs_timeline,
      "max=1..64,image=0..15," ROUTES_VIEW
      ",zoom=1..16,columns=1..64," ROUTES_FILE,
      "Accept", "200", ROUTES_PICTURE, NULL,
      "Steps side by side, static to picture")
ROUTE(GET, "/v1/jobs/{id}/images/{index}", READ, ROUTE_BODY_NONE, h_jobs_image,
      "", "If-None-Match,Range,If-Range", "200,206,304", ROUTES_RESULT, NULL,
      "A finished picture, or latents")
ROUTE(GET, "/v1/artifacts/{sha256}", READ, ROUTE_BODY_NONE, h_artifact, "",
      "If-None-Match,Range,If-Range", "200,206,304", ROUTES_RESULT, NULL,
      "A finished picture, or latents, by the SHA-256 of its bytes")
ROUTE(POST, "/v1/estimate", READ, ROUTE_BODY_UPLOAD, h_estimate, "", "Prefer",
      "200", "application/json:Estimate", genreq_fields,
      "How long a request would take, without running it")
ROUTE(POST, "/v1/forward", CREATE, ROUTE_BODY_UPLOAD, h_forward,
      "t=0..1000000,seed=0..18446744073709551615,model,steps=2..16,zoom=1..8",
      "", "200", "image/png", NULL,
      "A picture noised to step t, or as a film strip")
ROUTE(GET, "/v1/models", READ, ROUTE_BODY_NONE, h_models_list, "",
      "If-None-Match", "200,304", "application/json:ModelList", NULL,
      "The models")
ROUTE(GET, "/v1/models/{id}", READ, ROUTE_BODY_NONE, h_models_get, "",
      "If-None-Match", "200,304", "application/json:Model", NULL, "One model")
ROUTE(GET, "/v1/loras", READ, ROUTE_BODY_NONE, h_loras_list, "",
      "If-None-Match", "200,304", "application/json:LoraList", NULL,
      "The LoRAs that requests may name, as they are in the folder now")
ROUTE(GET, "/v1/capabilities", READ, ROUTE_BODY_NONE, h_capabilities, "",
      "If-None-Match", "200,304", "application/json:Capabilities", NULL,
      "Limits, samplers, formats, models")
ROUTE(GET, "/v1/status", READ, ROUTE_BODY_NONE, h_status, "", "", "200",
      "application/json:Status", NULL, "Queue, workers, memory, build")

#undef ROUTES_FORMS
#undef ROUTES_STATES
#undef ROUTES_VIEW
