/* routes_table.h - every address of the service.
 *
 * ROUTE(method, pattern, scope, body limit, handler, query names, media
 *       types produced, body fields or NULL, summary)
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
ROUTE(GET, "/health/live", PUBLIC, ROUTE_BODY_NONE, h_health_live, "",
      "application/json", NULL, "Is the process alive")
ROUTE(GET, "/health/ready", PUBLIC, ROUTE_BODY_NONE, h_health_ready, "",
      "application/json", NULL,
      "Can it take work: 503 while loading or draining")
ROUTE(GET, "/health/startup", PUBLIC, ROUTE_BODY_NONE, h_health_startup, "",
      "application/json", NULL, "Has it started: 503 until its model is loaded")
ROUTE(GET, "/openapi.json", PUBLIC, ROUTE_BODY_NONE, h_openapi, "",
      "application/json", NULL, "This interface as OpenAPI 3.1")
ROUTE(GET, "/problems/{slug}", PUBLIC, ROUTE_BODY_NONE, h_problem, "",
      "application/json", NULL, "What an error means and what to do about it")

BODY_TABLE(genreq_fields)
BODY_TABLE(cancel_fields)

ROUTE(GET, "/", PUBLIC, ROUTE_BODY_NONE, h_page, "", "text/html", NULL,
      "The web page")
ROUTE(POST, "/generate", CREATE, ROUTE_BODY_JSON, h_generate, "image,preview",
      "image/png,application/json,text/event-stream,multipart/mixed",
      genreq_fields, "Make pictures and wait for them")
ROUTE(POST, "/v1/generate", CREATE, ROUTE_BODY_JSON, h_generate,
      "image,preview",
      "image/png,application/json,text/event-stream,multipart/mixed",
      genreq_fields, "The same as /generate")
ROUTE(POST, "/v1/jobs", CREATE, ROUTE_BODY_JSON, h_jobs_create, "",
      "application/json", genreq_fields, "Make pictures, do not wait")
ROUTE(GET, "/v1/jobs", READ, ROUTE_BODY_NONE, h_jobs_list,
      "status,limit,cursor", "application/json", NULL,
      "List jobs, newest first")
ROUTE(GET, "/v1/jobs/{id}", READ, ROUTE_BODY_NONE, h_jobs_get, "wait",
      "application/json", NULL, "A job; ?wait=N until it changes")
ROUTE(DELETE, "/v1/jobs/{id}", MANAGE, ROUTE_BODY_NONE, h_jobs_delete, "",
      "application/json", NULL, "Cancel a job, forget it and its pictures")
ROUTE(POST, "/v1/jobs/{id}/cancel", MANAGE, ROUTE_BODY_JSON, h_jobs_cancel, "",
      "application/json", cancel_fields,
      "Stop a job between steps, or finish it early")
ROUTE(GET, "/v1/jobs/{id}/events", READ, ROUTE_BODY_NONE, h_jobs_events,
      "preview,view", "text/event-stream", NULL,
      "Everything that happens to a job; Last-Event-ID goes on")
ROUTE(GET, "/v1/jobs/{id}/preview", READ, ROUTE_BODY_NONE, h_jobs_preview,
      "step,image,view,zoom,format", "image/png", NULL,
      "The newest step as a picture, or step k")
ROUTE(GET, "/v1/jobs/{id}/preview.mjpg", READ, ROUTE_BODY_NONE, h_jobs_film,
      "image,view,zoom", "multipart/x-mixed-replace", NULL,
      "Every step as it is taken, for an <img>")
ROUTE(GET, "/v1/jobs/{id}/timeline", READ, ROUTE_BODY_NONE, h_jobs_timeline,
      "max,image,view,zoom,columns", "image/png", NULL,
      "Steps side by side, static to picture")
ROUTE(GET, "/v1/jobs/{id}/images/{index}", READ, ROUTE_BODY_NONE, h_jobs_image,
      "", "image/png", NULL, "A finished picture")
ROUTE(GET, "/v1/artifacts/{sha256}", READ, ROUTE_BODY_NONE, h_artifact, "",
      "image/png", NULL, "A finished picture by the SHA-256 of its bytes")
ROUTE(POST, "/v1/estimate", READ, ROUTE_BODY_JSON, h_estimate, "",
      "application/json", genreq_fields,
      "How long a request would take, without running it")
ROUTE(POST, "/v1/forward", CREATE, ROUTE_BODY_UPLOAD, h_forward,
      "t,seed,model,steps,zoom", "image/png", NULL,
      "A PNG noised to step t, or as a film strip")
ROUTE(GET, "/v1/models", READ, ROUTE_BODY_NONE, h_models_list, "",
      "application/json", NULL, "The models")
ROUTE(GET, "/v1/models/{id}", READ, ROUTE_BODY_NONE, h_models_get, "",
      "application/json", NULL, "One model")
ROUTE(GET, "/v1/capabilities", READ, ROUTE_BODY_NONE, h_capabilities, "",
      "application/json", NULL, "Limits, samplers, formats, models")
ROUTE(GET, "/v1/status", READ, ROUTE_BODY_NONE, h_status, "",
      "application/json", NULL, "Queue, workers, memory, build")
