/* genreq.h - the one internal form of "make an image".
 *
 * Whatever door a request comes through, it becomes a struct genreq: checked
 * against its model, every default filled in, the seed fixed.  Reading is
 * strict and tells all violations at once, with the nearest values that are
 * allowed.  Fields that only later kinds of models know are answered as not
 * supported by this one.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_GENREQ_H
#define SERVER_GENREQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "intake.h"
#include "json.h"
#include "model_table.h"
#include "problem.h"
#include "sha256.h"
#include "unstir.h"
#include "upload.h"

/* The format of results that are no pictures. */
#define GENREQ_LATENTS      "safetensors"
#define GENREQ_LATENTS_TYPE "application/x-safetensors"

struct genreq {
    struct model *model;            /* referred to, not held: see models.h   */
    struct unstir_request resolved; /* strings are the engine's tables or the
                                      prompts below; its seeds are those
                                      of picture 0                          */
    bool has_own_seed;              /* given by the client, not drawn        */
    bool has_own_variation;         /* so is variation_seed                  */
    uint32_t n;                     /* 1..16, see unstir_request_picture()   */
    uint32_t steps;     /* that each picture takes: fewer than asked for where
                           it begins in another one                         */
    double evaluations; /* of the network, that each picture takes           */
    struct model *refiner; /* goes on with them, or NULL; likewise           */
    struct genreq_refined {
        struct unstir_request resolved; /* what that one is asked            */
        uint32_t steps;                 /* of `steps`, the last              */
        double evaluations;             /* beside `evaluations`              */
        char *negative_prompt;          /* owned                             */
    } refined;
    char *prompt, *negative_prompt, *tag; /* owned; as given, NULL: not
                                             given                           */
    double deadline_s; /* 0: none                               */
    double ttl_s;
    int priority; /* -1, 0, 1                              */
    bool continues_on_disconnect;
    bool has_metadata;
    bool wants_latents;  /* in place of pictures: `file` has no say           */
    bool has_own_format; /* given by the client, else by what it accepts     */
    struct unstir_encode_options file;
    struct upload init_image, mask; /* held until a worker has read them     */
    bool has_previews;
    uint32_t preview_every;
    uint32_t preview_max_edge; /* 0: as it is                           */
    struct unstir_encode_options preview_file;
    enum unstir_preview_decoder preview_decoder;
    bool keeps_previews;
};

/* The table of the JSON body, for the router's OpenAPI text. */
extern const struct json_field genreq_fields[];

struct genreq_options {
    bool is_lenient;        /* unknown fields are passed over               */
    bool continues_default; /* on_disconnect when not given                 */
};

/* Read a parsed body, an object, and take its pictures.  On success *out is the caller's, ended by
 * genreq_fini().  On failure it is empty and `problem` holds the violations
 * (its code may have become LOADING, NO_MODEL or NO_MEMORY). */
bool genreq_read(struct genreq *out, struct service *service, struct intake *in,
                 const struct genreq_options *options, struct problem *problem);
void genreq_fini(struct genreq *req); /* a zeroed one is allowed */

/* The pictures it came with are not needed any more. */
void genreq_drop_pictures(struct genreq *req);

/* The seeds of picture i; variation_strength of the request tells whether the
 * second one counts. */
struct genreq_seeds {
    uint64_t seed, variation_seed;
};
static inline struct genreq_seeds genreq_seeds(const struct genreq *req,
                                               uint32_t i)
{
    struct unstir_request r = req->resolved;

    unstir_request_picture(&r, i);
    return (struct genreq_seeds){r.seed, r.variation_seed};
}

/* Predicted seconds of computing so many of its pictures. */
double genreq_cost_s(const struct genreq *req, double pictures);

/* The canonical request as an object: every default filled in, seed fixed. */
void genreq_write(const struct genreq *req, struct json_out *out,
                  const char *key);

/* Digest of what the client asked for: the canonical request, but a drawn seed
 * does not count.  False without memory. */
bool genreq_digest(const struct genreq *req, uint8_t digest[SHA256_BYTES]);

/* What its results are, by the name of the format and by media type. */
const char *genreq_format(const struct genreq *req);
const char *genreq_media_type(const struct genreq *req);

#endif
