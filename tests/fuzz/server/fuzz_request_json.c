/* fuzz_request_json.c - bodies of POST /generate: whatever is wrong with one,
 * the answer is sound JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server_fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "genreq.h"
#include "json.h"

#define PLACE_BYTES 4096 /* more than the struct that genreq_fields fills    */

static void demand_sound_answer(const struct problem *problem)
{
    char why[200];
    struct buf out;
    struct jdoc *doc;

    buf_init(&out, 1u << 20);
    problem_write(problem, "req_fuzz", &out);
    if (!out.failed) {
        doc = jdoc_parse(out.bytes, out.n, why, sizeof why);
        if (!doc)
            abort();
        jdoc_free(doc);
    }
    buf_fini(&out);
}

void fuzz_request_json(const uint8_t *bytes, size_t n)
{
    static max_align_t place[PLACE_BYTES / sizeof(max_align_t)];
    char why[200] = "";
    struct jdoc *doc = jdoc_parse((const char *)bytes, n, why, sizeof why);
    struct mem_arena *arena = mem_arena_new(4u << 20);
    struct problem problem;

    if (arena && doc) {
        memset(place, 0, sizeof place);
        problem_init(&problem, arena, ERROR_INVALID_PARAMETERS);
        if (!jdoc_read(doc, genreq_fields, place, false, &problem))
            demand_sound_answer(&problem);
        (void)jdoc_text(doc, "/steps", arena);
    } else if (!doc && !*why) {
        abort();
    }
    mem_arena_free(arena);
    jdoc_free(doc);
}

FUZZ_ENTRY(fuzz_request_json)
