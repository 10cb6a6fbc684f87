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
