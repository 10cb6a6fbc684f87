/* fuzz_framing.c - heads of requests: what is found right has one meaning.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server_fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "framing.h"
#include "head.h"
#include "query.h"
#include "router.h"

#define MAX_HEADERS 16

/* The next line of *text, ended by a NUL in place. */
static char *next_line(char **text)
{
    char *line = *text;
    size_t n = strcspn(line, "\n");

    *text = line + n + (line[n] != 0);
    line[n] = 0;
    return line;
}

/* Nothing of what framing.h refuses may be found in a right head. */
static void demand_one_meaning(const struct framing *framing)
{
    size_t n_lengths = 0;
    size_t n_hosts = 0;
    size_t i;

    for (i = 0; i < framing->n_headers; i++) {
        const struct framing_header *header = &framing->headers[i];

        if (memchr(header->value, '\r', header->n_value) ||
            memchr(header->name, ' ', header->n_name))
            abort();
        n_lengths += strcasecmp(header->name, "content-length") == 0;
        n_hosts += strcasecmp(header->name, "host") == 0;
    }
    if (n_lengths > 1 || n_hosts > 1 ||
        (framing->is_chunked && n_lengths > 0) ||
        (framing->has_length && n_lengths != 1))
        abort();
}

static void check_query(struct request *request)
{
    struct problem *problem =
        mem_arena_zero(request->arena, 1, sizeof *problem);
    size_t i;

    if (!problem || !head_read_target(request))
        return;
    problem_init(problem, request->arena, ERROR_INVALID_PARAMETERS);
    if (!query_check(request, request->route->query, false, problem))
        return;
    /* What is right has rules and keeps them. */
    for (i = 0; i < request->n_query; i++)
        if (!strstr(request->route->query, request->query[i].name))
            abort();
}

static void route(struct framing *framing)
{
    struct request *request = mem_zero(1, sizeof *request);
    char allow[64];

    if (!request)
        return;
    request->arena = mem_arena_new(1u << 20);
    request->target = framing->path;
    head_set_method(request, framing->method);
    if (request->arena &&
        router_find(request, allow, sizeof allow) == ROUTE_FOUND) {
        if (strlen(request_param(request, "id")) > strlen(framing->path))
            abort();
        check_query(request);
    }
    mem_arena_free(request->arena);
    mem_free(request);
}

void fuzz_framing(const uint8_t *bytes, size_t n)
{
    struct framing_header headers[MAX_HEADERS];
    char *text = mem_zero(n + 1, 1);
    char *at = text;
    struct framing framing = {.headers = headers};
    enum error_code code;
    char *host_names[] = {(char *)"paint.local"};

    if (!text)
        return;
    memcpy(text, bytes, n);
    framing.method = next_line(&at);
    framing.target = next_line(&at);
    framing.version = next_line(&at);
    while (*at && framing.n_headers < MAX_HEADERS) {
        struct framing_header *header = &headers[framing.n_headers++];

        header->name = next_line(&at);
        header->n_name = strlen(header->name);
        header->value = next_line(&at);
        header->n_value = strlen(header->value);
    }
    if (!framing_check(&framing, &code)) {
        demand_one_meaning(&framing);
        route(&framing);
        if (framing.host)
            (void)framing_host_is_mine(framing.host, framing.n_host, host_names,
                                       1, false);
    } else if (error_info(code)->status / 100 != 4 &&
               code != ERROR_VERSION_NOT_SUPPORTED) {
        abort();
    }
    mem_free(text);
}

FUZZ_ENTRY(fuzz_framing)
