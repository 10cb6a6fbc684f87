/* h_openapi.c - GET /openapi.json, made from the tables of routes, body
 * fields and errors, so that it cannot be out of date.
 *
 * SPDX-License-Identifier: MIT
 */
#include <float.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "problem.h"
#include "reply.h"
#include "router.h"
#include "unstir.h"

#define OPENAPI_MAX_BYTES (1u << 20)

void h_openapi(struct service *service, struct request *request);

static const char *const method_names[] = {"get", "post", "put", "delete",
                                           "options"};

/* ------------------------------------------------------------ body schemas */

static void write_choices(struct json_out *out, const char *choices)
{
    jout_array(out, "enum");
    while (*choices) {
        size_t n = strcspn(choices, "|");

        jout_string_n(out, NULL, choices, n);
        choices += n + (choices[n] == '|');
    }
    jout_end_array(out);
}

static void write_range(struct json_out *out, const struct json_field *field)
{
    if (field->min == 0 && field->max == 0)
        return;
    jout_number(out, "minimum", field->min);
    if (field->max < DBL_MAX)
        jout_number(out, "maximum", field->max);
}

static void write_fields(struct json_out *out, const struct json_field *fields);

static void write_types(struct json_out *out, const char *first,
                        const char *second)
{
    jout_array(out, "type");
    jout_string(out, NULL, first);
    if (second)
        jout_string(out, NULL, second);
    jout_string(out, NULL, "null");
    jout_end_array(out);
}

static void write_field(struct json_out *out, const struct json_field *field)
{
    jout_object(out, field->name);
    if (field->summary)
        jout_string(out, "description", field->summary);
    switch (field->kind) {
    case JSON_KIND_STRING:
        write_types(out, "string", NULL);
        if (field->choices)
            write_choices(out, field->choices);
        else
            jout_uint(out, "maxLength",
                      field->max_bytes ? field->max_bytes : 4096);
        break;
    case JSON_KIND_BOOL:
        write_types(out, "boolean", NULL);
        break;
    case JSON_KIND_INT:
        write_types(out, "integer", NULL);
        write_range(out, field);
        break;
    case JSON_KIND_SEED:
        write_types(out, "integer", "string");
        break;
    case JSON_KIND_NUMBER:
        write_types(out, "number", NULL);
        write_range(out, field);
        break;
    case JSON_KIND_LABEL:
        write_types(out, "string", "integer");
        break;
    case JSON_KIND_OBJECT:
        write_fields(out, field->fields);
        break;
    }
    jout_end_object(out);
}

/* Recursion follows our own tables, a few levels deep. */
static void write_fields(struct json_out *out, const struct json_field *fields)
{
    jout_string(out, "type", "object");
    jout_bool(out, "additionalProperties", false);
    jout_object(out, "properties");
    for (; fields->name; fields++)
        write_field(out, fields);
    jout_end_object(out);
}

/* -------------------------------------------------------------- operations */

static void write_parameter(struct json_out *out, const char *name, size_t n,
                            const char *place)
{
    jout_object(out, NULL);
    jout_string_n(out, "name", name, n);
    jout_string(out, "in", place);
    jout_bool(out, "required", strcmp(place, "path") == 0);
    jout_object(out, "schema");
    jout_string(out, "type", "string");
    jout_end_object(out);
    jout_end_object(out);
}

static void write_parameters(struct json_out *out, const struct route *route)
{
    const char *p = route->pattern;
    const char *query = route->query;

    jout_array(out, "parameters");
    while ((p = strchr(p, '{')) != NULL) {
        size_t n = strcspn(++p, "}");

        write_parameter(out, p, n, "path");
    }
    while (*query) {
        size_t n = strcspn(query, ",");

        write_parameter(out, query, n, "query");
        query += n + (query[n] == ',');
    }
    jout_end_array(out);
}

static void write_body(struct json_out *out, const struct route *route)
{
    if (route->body_limit == ROUTE_BODY_NONE)
        return;
    jout_object(out, "requestBody");
    jout_object(out, "content");
    jout_object(out,
                route->body ? "application/json" : "application/octet-stream");
    if (route->body) {
        jout_object(out, "schema");
        write_fields(out, route->body);
        jout_end_object(out);
    }
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
}

static void write_responses(struct json_out *out, const struct route *route)
{
    const char *type = route->produces;

    jout_object(out, "responses");
    jout_object(out, "200");
    jout_string(out, "description", "Success");
    jout_object(out, "content");
    while (*type) {
        char name[80];
        size_t n = strcspn(type, ",");

        (void)snprintf(name, sizeof name, "%.*s", (int)n, type);
        jout_object(out, name);
        jout_end_object(out);
        type += n + (type[n] == ',');
    }
    jout_end_object(out);
    jout_end_object(out);
    jout_object(out, "default");
    jout_string(out, "$ref", "#/components/responses/Problem");
    jout_end_object(out);
    jout_end_object(out);
}

static void write_operation(struct json_out *out, const struct route *route)
{
    jout_object(out, method_names[route->method]);
    jout_string(out, "summary", route->summary);
    write_parameters(out, route);
    write_body(out, route);
    write_responses(out, route);
    jout_end_object(out);
}

/* Operations of one path stand together; the table may have them apart. */
static void write_paths(struct json_out *out)
{
    size_t n;
    const struct route *routes = router_routes(&n);
    size_t i;
    size_t k;

    jout_object(out, "paths");
    for (i = 0; i < n; i++) {
        for (k = 0; k < i; k++)
            if (strcmp(routes[k].pattern, routes[i].pattern) == 0)
                break;
        if (k < i)
            continue;
        jout_object(out, routes[i].pattern);
        for (k = i; k < n; k++)
            if (strcmp(routes[k].pattern, routes[i].pattern) == 0)
                write_operation(out, &routes[k]);
        jout_end_object(out);
    }
    jout_end_object(out);
}

static void write_problem_schema(struct json_out *out)
{
    size_t i;

    jout_object(out, "schema");
    jout_string(out, "type", "object");
    jout_object(out, "properties");
    jout_object(out, "code");
    jout_string(out, "type", "string");
    jout_array(out, "enum");
    for (i = 0; i < N_ERRORS; i++)
        jout_string(out, NULL, error_info((enum error_code)i)->code);
    jout_end_array(out);
    jout_end_object(out);
    jout_object(out, "status");
    jout_string(out, "type", "integer");
    jout_end_object(out);
    jout_object(out, "detail");
    jout_string(out, "type", "string");
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
}

static void write_components(struct json_out *out)
{
    jout_object(out, "components");
    jout_object(out, "responses");
    jout_object(out, "Problem");
    jout_string(out, "description", "What is wrong, as RFC 9457 has it");
    jout_object(out, "content");
    jout_object(out, "application/problem+json");
    write_problem_schema(out);
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
}

void h_openapi(struct service *service, struct request *request)
{
    struct json_out json;
    struct buf body;

    (void)service;
    buf_init(&body, OPENAPI_MAX_BYTES);
    jout_init(&json, &body);
    jout_object(&json, NULL);
    jout_string(&json, "openapi", "3.1.0");
    jout_object(&json, "info");
    jout_string(&json, "title", "unstir");
    jout_string(&json, "version", UNSTIR_VERSION);
    jout_end_object(&json);
    write_paths(&json);
    write_components(&json);
    jout_end_object(&json);
    reply_header(request, "Cache-Control", "no-cache");
    reply_json(request, 200, &body);
    buf_fini(&body);
}
