/* server_fuzz.h - entry points of the service's parsers for hostile bytes.
 *
 * See fuzz.h; the test t_server_corpus.c replays their corpus.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_FUZZ_H
#define SERVER_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "fuzz.h"

/* "METHOD\nTARGET\nVERSION\nName\nvalue\n...": checked, routed, decoded. */
void fuzz_framing(const uint8_t *bytes, size_t n);

/* The body of POST /generate. */
void fuzz_request_json(const uint8_t *bytes, size_t n);

/* A configuration file. */
void fuzz_config(const uint8_t *bytes, size_t n);

/* A list header: Accept, Prefer, If-None-Match. */
void fuzz_accept(const uint8_t *bytes, size_t n);

/* A picture in a request: base64, data: URL, address. */
void fuzz_upload(const uint8_t *bytes, size_t n);

#endif
