/* framing.h - is this request's framing beyond doubt?  Pure functions.
 *
 * The parser below us (libmicrohttpd 0.9.75) accepts requests that another
 * server would cut at a different byte: the first of two Content-Lengths,
 * Content-Length beside Transfer-Encoding, "Content-Length :", two Hosts,
 * control bytes.  framing_check() looks at the parsed head and refuses
 * whatever RFC 9112 leaves no room for; the connection is then closed, so no
 * byte after it is read as a second request.
 *
 * Any thread; nothing is allocated.
 *
 * Source: RFC 9110 sections 5.5, 5.6.2, 7.2, 10.1.1; RFC 9112 sections 3, 6.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "problem.h"

struct framing_header {
    const char *name;
    size_t n_name;
    const char *value;
    size_t n_value;
};

struct framing {
    /* In. */
    const char *method;
    const char *target;  /* as sent                                          */
    const char *version; /* "HTTP/1.1"                                       */
    const struct framing_header *headers;
    size_t n_headers;
    /* Out, when the verdict is right. */
    const char *host; /* value of Host, or of an absolute target; NULL    */
    size_t n_host;
    const char *path; /* in target: after scheme and authority            */
    bool is_chunked;
    bool has_length;
    uint64_t length; /* of the body as announced                         */
    bool expects_continue;
};

/* NULL when all is right; else a fixed text, and *code the error to send
 * (ERROR_MALFORMED_REQUEST or another).                                     */
const char *framing_check(struct framing *framing, enum error_code *code);

/* Does each line end in one CR LF, with nothing but blanks before it?
 * libmicrohttpd 0.9.75 cuts lines in place and hands out pointers into its
 * buffer, so the bytes between two of them (NULs where CR LF was) show what it
 * passed over and the strings do not: NUL bytes, bare CR and LF, folded lines,
 * lines that were dropped.  Only for that version, whose layout is known; the
 * parser was made strict in 1.0.  version and headers as it handed them out;
 * raw_target is where it keeps the target, of which framing may have a copy.
 * tests/http holds large and piecemeal heads against false alarms.         */
bool framing_is_contiguous(const struct framing *framing,
                           const char *raw_target);

/* Is the host (a Host header's value, port included) one of this server?
 * localhost and IP literals always are.  names: n configured ones; without
 * names any is right if has_keys.                                           */
bool framing_host_is_mine(const char *host, size_t n_host, char *const *names,
                          size_t n_names, bool has_keys);

/* Decode %XX of [text, text+n) into out (n + 1 bytes).  False for a bad
 * escape, NUL, or (is_query false) any other control byte.  is_query: + is a
 * space.                                                                    */
bool framing_decode(const char *text, size_t n, bool is_query, char *out);

#endif
