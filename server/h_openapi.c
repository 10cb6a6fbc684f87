/* h_openapi.c - GET /openapi.json, made from the tables of routes, body
 * fields and errors, so that it cannot be out of date.  The answers' schemas
 * stand in page/schemas.json; tests/http/t_b_openapi.sh holds answers to them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <float.h>
#include <stdio.h>
#include <string.h>

#include "handlers.h"
#include "json.h"
#include "page.h"
#include "problem.h"
#include "query.h"
#include "reply.h"
#include "router.h"
#include "unstir.h"

#define OPENAPI_MAX_BYTES (1u << 20)

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

static void write_string(struct json_out *out, const struct json_field *field)
{
    write_types(out, "string", NULL);
    if (field->choices)
        write_choices(out, field->choices);
    else
        jout_uint(out, "maxLength", field->max_bytes ? field->max_bytes : 4096);
}

static void write_object(struct json_out *out, const struct json_field *fields)
{
    jout_object(out, NULL);
    jout_string(out, "type", "object");
    write_fields(out, fields);
    jout_end_object(out);
}

/* A list, or its only item. */
static void write_list(struct json_out *out, const struct json_field *field)
{
    jout_array(out, "type");
    jout_string(out, NULL, "array");
    jout_string(out, NULL, "string");
    jout_string(out, NULL, "object");
    jout_string(out, NULL, "null");
    jout_end_array(out);
    jout_uint(out, "maxItems", field->max_items);
    jout_object(out, "items");
    jout_array(out, "anyOf");
    jout_object(out, NULL);
    jout_string(out, "type", "string");
    jout_end_object(out);
    write_object(out, field->fields);
    jout_end_array(out);
    jout_end_object(out);
    write_fields(out, field->fields);
}

static void write_value(struct json_out *out, const struct json_field *field)
{
    switch (field->kind) {
    case JSON_KIND_STRING:
    case JSON_KIND_FILE:
        write_string(out, field);
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
        write_types(out, "object", NULL);
        write_fields(out, field->fields);
        break;
    case JSON_KIND_LIST:
        write_list(out, field);
        break;
    }
}

static void write_field(struct json_out *out, const struct json_field *field)
{
    char text[160];

    jout_object(out, field->name);
    if (field->summary)
        jout_string(out, "description", field->summary);
    write_value(out, field);
    jout_end_object(out);
    if (!field->alias)
        return;
    (void)snprintf(text, sizeof text, "the same as %s", field->name);
    jout_object(out, field->alias);
    jout_string(out, "description", text);
    write_value(out, field);
    jout_end_object(out);
}

/* Recursion follows our own tables, a few levels deep. */
static void write_fields(struct json_out *out, const struct json_field *fields)
{
    jout_bool(out, "additionalProperties", false);
    jout_object(out, "properties");
    for (; fields->name; fields++)
        write_field(out, fields);
    jout_end_object(out);
}

static void write_ref(struct json_out *out, const char *name)
{
    char text[64];

    (void)snprintf(text, sizeof text, "#/components/schemas/%s", name);
    jout_object(out, "schema");
    jout_string(out, "$ref", text);
    jout_end_object(out);
}

/* -------------------------------------------------------------- operations */

/* The next of a comma separated list; false at its end. */
static bool next_word(const char **list, char *word, size_t size)
{
    size_t n = strcspn(*list, ",");

    if (n == 0)
        return false;
    (void)snprintf(word, size, "%.*s", (int)n, *list);
    *list += n + ((*list)[n] == ',');
    return true;
}

static void begin_parameter(struct json_out *out, const char *name,
                            const char *place)
{
    jout_object(out, NULL);
    jout_string(out, "name", name);
    jout_string(out, "in", place);
    jout_bool(out, "required", strcmp(place, "path") == 0);
}

static void write_text_parameter(struct json_out *out, const char *name,
                                 const char *place, const char *description)
{
    begin_parameter(out, name, place);
    if (description)
        jout_string(out, "description", description);
    jout_object(out, "schema");
    jout_string(out, "type", "string");
    jout_end_object(out);
    jout_end_object(out);
}

static void write_query(struct json_out *out, const struct query_rule *rule)
{
    begin_parameter(out, rule->name, "query");
    jout_object(out, "schema");
    jout_string(out, "type", rule->kind == QUERY_NUMBER ? "integer" : "string");
    if (rule->kind == QUERY_WORD)
        write_choices(out, rule->words);
    if (rule->kind == QUERY_NUMBER) {
        jout_uint(out, "minimum", rule->min);
        jout_uint(out, "maximum", rule->max);
    }
    jout_end_object(out);
    jout_end_object(out);
}

static const char *header_help(const char *name)
{
    static const struct {
        const char *name, *help;
    } rows[] = {
        {"Prefer", "respond-async: 202 at once; wait=N: 202 after N seconds; "
                   "handling=lenient: unknown fields are passed over"},
        {"Idempotency-Key", "the same key and body again: the same job"},
        {"If-None-Match", "an ETag: 304 while nothing has changed"},
        {"Last-Event-ID", "go on after this event"},
        {"Range", "bytes=FIRST-LAST: 206 with this part"},
        {"If-Range", "an ETag: all bytes if it is another one"}};
    size_t i;

    for (i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].help;
    return NULL;
}

static void write_parameters(struct json_out *out, const struct route *route)
{
    const char *p = route->pattern;
    const char *query = route->query;
    const char *headers = route->headers;
    struct query_rule rule;
    char name[32];

    jout_array(out, "parameters");
    while ((p = strchr(p, '{')) != NULL) {
        size_t n = strcspn(++p, "}");

        (void)snprintf(name, sizeof name, "%.*s", (int)n, p);
        write_text_parameter(out, name, "path", NULL);
    }
    while (query_next_rule(&query, &rule))
        write_query(out, &rule);
    while (next_word(&headers, name, sizeof name))
        if (strcmp(name, "Accept") != 0) /* the answers' media types say it  */
            write_text_parameter(out, name, "header", header_help(name));
    jout_end_array(out);
}

/* Every format that is read; the last one is left open. */
static void write_picture_bodies(struct json_out *out)
{
    for (int i = 0; i < UNSTIR_N_FORMATS; i++) {
        jout_object(out, unstir_format_info((enum unstir_format)i)->media_type);
        if (i + 1 < UNSTIR_N_FORMATS)
            jout_end_object(out);
    }
}

static void write_body(struct json_out *out, const struct route *route)
{
    bool is_picture = route->body_limit != ROUTE_BODY_NONE && !route->body;

    if (route->body_limit == ROUTE_BODY_NONE)
        return;
    jout_object(out, "requestBody");
    jout_bool(out, "required", is_picture || route->body == genreq_fields);
    jout_object(out, "content");
    if (is_picture)
        write_picture_bodies(out);
    else
        jout_object(out, "application/json");
    if (route->body == genreq_fields) {
        write_ref(out, "Generate");
    } else if (route->body) {
        jout_object(out, "schema");
        jout_string(out, "type", "object");
        write_fields(out, route->body);
        jout_end_object(out);
    }
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
}

/* "application/json:Job" */
static void write_content(struct json_out *out, const char *types,
                          bool is_json_only)
{
    char type[64];

    jout_object(out, "content");
    while (next_word(&types, type, sizeof type)) {
        char *schema = strchr(type, ':');

        if (schema)
            *schema++ = 0;
        if (is_json_only && strcmp(type, "application/json") != 0)
            continue;
        jout_object(out, type);
        if (schema)
            write_ref(out, schema);
        jout_end_object(out);
    }
    jout_end_object(out);
}

static void write_answer(struct json_out *out, const char *status,
                         const struct route *route)
{
    static const struct {
        const char *status, *help;
        bool has_content;
    } rows[] = {{"200", "Success", true},
                {"202", "Accepted: the job, at Location", true},
                {"204", "Done, nothing to say", false},
                {"206", "The part that was asked for", true},
                {"304", "Not changed", false},
                {"503", "Not ready", true}};
    size_t i = 0;

    while (i + 1 < sizeof rows / sizeof *rows &&
           strcmp(rows[i].status, status) != 0)
        i++;
    jout_object(out, status);
    jout_string(out, "description", rows[i].help);
    if (rows[i].has_content)
        write_content(out, route->produces, strcmp(status, "202") == 0);
    jout_end_object(out);
}

static void write_responses(struct json_out *out, const struct route *route)
{
    const char *answers = route->answers;
    char status[8];

    jout_object(out, "responses");
    while (next_word(&answers, status, sizeof status))
        write_answer(out, status, route);
    jout_object(out, "default");
    jout_string(out, "$ref", "#/components/responses/Problem");
    jout_end_object(out);
    jout_end_object(out);
}

/* The handler's name; of its second address, with the method behind it. */
static void write_operation_id(struct json_out *out, const struct route *route)
{
    const struct route *first;
    size_t n;
    char text[64];

    first = router_routes(&n);
    while (first->handler != route->handler)
        first++;
    (void)snprintf(text, sizeof text, "%s%s", route->name + strlen("h_"),
                   first == route ? "" : "_alias");
    jout_string(out, "operationId", text);
}

static void write_operation(struct json_out *out, const struct route *route)
{
    jout_object(out, method_names[route->method]);
    write_operation_id(out, route);
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

/* What the server writes is described beside the page; what it reads by the
 * tables that it is read with.                                              */
static void write_schemas(struct json_out *out, struct mem_arena *arena)
{
    const struct page_file *file = page_files;
    const char *text;

    while (file->name && strcmp(file->name, "schemas.json") != 0)
        file++;
    jout_object(out, "schemas");
    jout_object(out, "Generate");
    jout_string(out, "type", "object");
    write_fields(out, genreq_fields);
    jout_end_object(out);
    jout_object(out, "ErrorCode");
    jout_array(out, "enum");
    for (size_t i = 0; i < N_ERRORS; i++)
        jout_string(out, NULL, error_info((enum error_code)i)->code);
    jout_end_array(out);
    jout_end_object(out);
    if (file->name && file->n_bytes > 4) {
        /* Without the outermost braces. */
        text = mem_arena_strndup(arena, (const char *)file->bytes + 1,
                                 file->n_bytes - 3);
        if (text)
            jout_raw(out, NULL, text);
    }
    jout_end_object(out);
}

static void write_components(struct json_out *out, struct mem_arena *arena)
{
    jout_object(out, "components");
    write_schemas(out, arena);
    jout_object(out, "responses");
    jout_object(out, "Problem");
    jout_string(out, "description", "What is wrong, as RFC 9457 has it");
    jout_object(out, "content");
    jout_object(out, "application/problem+json");
    write_ref(out, "Problem");
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
    jout_end_object(out);
}

static void write_info(struct json_out *out)
{
    jout_string(out, "openapi", "3.1.0");
    jout_object(out, "info");
    jout_string(out, "title", "unstir");
    jout_string(out, "description",
                "Pictures from noise by reverse diffusion: as bytes, as jobs, "
                "step by step.");
    jout_string(out, "version", UNSTIR_VERSION);
    jout_object(out, "license");
    jout_string(out, "name", "MIT");
    jout_string(out, "identifier", "MIT");
    jout_end_object(out);
    jout_end_object(out);
    jout_array(out, "servers");
    jout_object(out, NULL);
    jout_string(out, "url", "/");
    jout_end_object(out);
    jout_end_array(out);
}

void h_openapi(struct service *service, struct request *request)
{
    struct json_out json;
    struct buf body;

    (void)service;
    buf_init(&body, OPENAPI_MAX_BYTES);
    jout_init(&json, &body);
    jout_object(&json, NULL);
    write_info(&json);
    write_paths(&json);
    write_components(&json, request->arena);
    jout_end_object(&json);
    reply_header(request, "Cache-Control", "no-cache");
    reply_json_tagged(request, &body);
    buf_fini(&body);
}
