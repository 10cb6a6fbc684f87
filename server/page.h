/* page.h - the web page's files, embedded at build time by tools/embed.sh.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PAGE_H
#define PAGE_H

#include <stddef.h>

struct page_file {
    const char *name; /* "index.html" */
    const unsigned char *bytes;
    size_t n_bytes;
};

/* Ends with a row whose name is NULL. */
extern const struct page_file page_files[];

#endif
