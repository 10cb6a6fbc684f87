/* server.h - the HTTP service, as the command line sees it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>

#define SERVER_HELP (-1) /* --help was given: nothing was done */

/* `unstir serve`: parse argv (without the command's name) by the table of
 * config_table.h together with UNSTIR_* and a file, run until SIGTERM or
 * SIGINT has drained, return the exit code (README) or SERVER_HELP.         */
int server_main(int argc, char **argv);

/* An option of `serve` as help shows it. */
struct server_option {
    const char *group; /* heading above it, or NULL: that of the one before  */
    const char *flag;
    const char *form; /* of its value: "N", "auto|on|off"; "" of a switch    */
    const char *text;
    char fallback[64]; /* default, "" if there is none                       */
    char env[64];      /* environment variable behind it                     */
};

/* Option i of them, false behind the last. */
bool server_describe(size_t i, struct server_option *out);

/* `unstir healthcheck`: 0 when GET url answers 200 within timeout_ms. url
 * NULL: UNSTIR_LISTEN or http://127.0.0.1:8080, /health/ready. */
int server_healthcheck(const char *url, int timeout_ms);

#endif
