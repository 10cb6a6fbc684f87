/* request_inside.h - what the files that check a request share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_REQUEST_INSIDE_H
#define PIPELINE_REQUEST_INSIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct sampler;
struct sampler_schedule;

/* One check in progress. */
struct check {
    const struct unstir_model *model;
    const struct unstir_request *request;
    struct unstir_request *out;
    unstir_violation_fn report;
    void *user;
    struct unstir_error first;
    const struct sampler_schedule *schedule; /* said, or NULL */
    unsigned n;
    bool is_untagged;      /* LoRAs that texts name are another's           */
    bool is_out_of_memory; /* then nothing is known about the request */
};

/* Note what is wrong with a field; nearest: a JSON value, or NULL. */
void check_violate(struct check *c, const char *field, const char *nearest,
                   const char *format, ...) PRINTF_LIKE(4, 5);

/* Nothing is known about the request: there is no memory to look at it. */
void check_note_memory(struct check *c, const struct unstir_error *err);

/* "text" as JSON if it needs no escapes, else NULL. */
const char *check_quote(char *buffer, size_t size, const char *text);

/* Not NULL, empty or blank. */
bool check_is_said(const char *text);

/* request_words.c.  A model reads classes or texts; texts behind guidance:
 * unguided pictures have no negative prompt. */
void check_class(struct check *c);
void check_no_class(struct check *c);
void check_texts(struct check *c);
void check_no_texts(struct check *c);

/* request_way.c.  NULL: told that there is none. */
const struct sampler *check_sampler(struct check *c);
void check_schedule(struct check *c, const struct sampler *s);
void check_steps(struct check *c, const struct sampler *s);

/* request_start.c.  Pictures before steps and sizes, whose defaults depend on
 * them. */
void check_pictures(struct check *c, const struct sampler *s);
void check_sizes(struct check *c);

#endif
