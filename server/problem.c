/* problem.c - RFC 9457 bodies.
 *
 * The `error` member repeats the first violation in the shape that OpenAI's
 * client libraries read, so that one body serves both kinds of client.
 *
 * SPDX-License-Identifier: MIT
 */
#include "problem.h"

#include <string.h>

#include "json.h"

static const struct error_info infos[] = {
#define ERROR(name, status, slug, code, title, openai_type, help) \
    [ERROR_##name] = {status, slug, code, title, openai_type, help},
#include "errors_table.h"
#undef ERROR
};

const struct error_info *error_info(enum error_code code)
{
    return &infos[code < N_ERRORS ? code : ERROR_INTERNAL];
}

enum error_code error_by_slug(const char *slug)
{
    size_t i;

    for (i = 0; i < N_ERRORS; i++)
        if (strcmp(infos[i].slug, slug) == 0)
            break;
    return (enum error_code)i;
}

void problem_init(struct problem *problem, struct mem_arena *arena,
                  enum error_code code)
{
    problem->code = code;
    problem->arena = arena;
    problem->detail = NULL;
    problem->members = NULL;
    problem->n_violations = 0;
}

void problem_detail(struct problem *problem, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    problem->detail = mem_arena_vprintf(problem->arena, format, args);
    va_end(args);
}

void problem_add(struct problem *problem, const char *pointer,
                 const char *detail, const char *got, const char *nearest)
{
    struct mem_arena *arena = problem->arena;
    struct problem_violation *row;

    problem->n_violations++;
    if (problem->n_violations > PROBLEM_MAX_VIOLATIONS)
        return;
    row = &problem->violations[problem->n_violations - 1];
    row->pointer = mem_arena_strdup(arena, pointer);
    row->detail = mem_arena_strdup(arena, detail);
    row->got = got ? mem_arena_strdup(arena, got) : NULL;
    row->nearest = NULL;
    if (nearest)
        row->nearest = nearest[0] == '['
                           ? mem_arena_strdup(arena, nearest)
                           : mem_arena_printf(arena, "[%s]", nearest);
}

void problem_vadd(struct problem *problem, const char *pointer, const char *got,
                  const char *nearest, const char *format, va_list args)
{
    const char *detail = mem_arena_vprintf(problem->arena, format, args);

    problem_add(problem, pointer, detail ? detail : "is not allowed", got,
                nearest);
}

static size_t kept(const struct problem *problem)
{
    return problem->n_violations < PROBLEM_MAX_VIOLATIONS
               ? problem->n_violations
               : PROBLEM_MAX_VIOLATIONS;
}

static void write_violations(const struct problem *problem,
                             struct json_out *out)
{
    size_t i;

    jout_array(out, "errors");
    for (i = 0; i < kept(problem); i++) {
        const struct problem_violation *row = &problem->violations[i];

        jout_object(out, NULL);
        jout_string(out, "pointer", row->pointer);
        jout_string(out, "detail", row->detail);
        if (row->got)
            jout_raw(out, "got", row->got);
        if (row->nearest)
            jout_raw(out, "nearest", row->nearest);
        jout_end_object(out);
    }
    jout_end_array(out);
}

static const char *summary(const struct problem *problem, struct buf *text)
{
    if (problem->detail)
        return problem->detail;
    if (problem->n_violations == 0)
        return error_info(problem->code)->title;
    (void)buf_printf(text, "%zu parameter%s invalid", problem->n_violations,
                     problem->n_violations == 1 ? " is" : "s are");
    return text->bytes ? text->bytes : "";
}

/* "/width: must be a multiple of 8 (nearest 24, 32)" */
static const char *message(const struct problem *problem, struct buf *text)
{
    const struct problem_violation *first = &problem->violations[0];

    if (problem->n_violations == 0)
        return NULL;
    (void)buf_printf(text, "%s%s%s", first->pointer ? first->pointer : "",
                     first->pointer && *first->pointer ? ": " : "",
                     first->detail ? first->detail : "");
    if (first->nearest && strlen(first->nearest) > 2)
        (void)buf_printf(text, " (nearest %.*s)",
                         (int)strlen(first->nearest) - 2, first->nearest + 1);
    return text->failed ? NULL : text->bytes;
}

static void write_openai(const struct problem *problem, const char *detail,
                         struct json_out *out)
{
    const struct error_info *info = error_info(problem->code);
    const char *pointer =
        problem->n_violations ? problem->violations[0].pointer : NULL;
    struct buf text;
    const char *first;

    buf_init(&text, 4096);
    first = message(problem, &text);
    jout_object(out, "error");
    jout_string(out, "message", first ? first : detail);
    jout_string(out, "type", info->openai_type);
    jout_string(out, "param", pointer && pointer[0] ? pointer + 1 : NULL);
    jout_string(out, "code", info->code);
    jout_end_object(out);
    buf_fini(&text);
}

/* "key": prefix + value */
static void write_joined(struct json_out *out, const char *key,
                         const char *prefix, const char *value)
{
    struct buf text;

    buf_init(&text, 512);
    (void)buf_printf(&text, "%s%s", prefix, value);
    jout_string(out, key, text.failed ? NULL : text.bytes);
    buf_fini(&text);
}

void problem_write(const struct problem *problem, const char *request_id,
                   struct buf *out)
{
    const struct error_info *info = error_info(problem->code);
    struct json_out json;
    struct buf text;
    const char *detail;

    buf_init(&text, 256);
    detail = summary(problem, &text);
    jout_init(&json, out);
    jout_object(&json, NULL);
    write_joined(&json, "type", "/problems/", info->slug);
    jout_string(&json, "title", info->title);
    jout_uint(&json, "status", info->status);
    jout_string(&json, "detail", detail);
    if (request_id)
        write_joined(&json, "instance", "urn:request:", request_id);
    jout_string(&json, "code", info->code);
    if (problem->n_violations)
        write_violations(problem, &json);
    if (problem->members)
        jout_raw(&json, NULL, problem->members);
    write_openai(problem, detail, &json);
    jout_end_object(&json);
    buf_fini(&text);
}
