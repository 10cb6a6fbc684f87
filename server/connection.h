/* connection.h - one accepted socket, its phase and the phase's deadline.
 *
 * http.c moves a connection from phase to phase; deadline.c cuts those that
 * stay too long.  Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_CONNECTION_H
#define SERVER_CONNECTION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "problem.h"
#include "ring.h"

struct MHD_Connection;
struct answers;
struct exchange;

/* What a connection is doing; a deadline each. */
enum phase {
    PHASE_HEAD,    /* the line and headers of a request arrive               */
    PHASE_IDLE,    /* kept open between requests                             */
    PHASE_BODY,    /* a body arrives                                         */
    PHASE_WAITING, /* suspended, or being handled                            */
    PHASE_SENDING  /* an answer goes out                                     */
};

struct connection {
    struct ring link;
    struct MHD_Connection *mhd;
    struct exchange *exchange; /* the request under way, or NULL             */
    struct answers *answers;
    int fd;
    bool is_tcp;
    bool is_suspended;
    bool has_ended_side; /* seen while it was suspended: nothing more comes  */
    enum phase phase;
    uint64_t since_ms;   /* the phase's start, or its last progress           */
    uint64_t checked_ms; /* the last round of checks, at first the start     */
    uint64_t n_moved;    /* bytes received (IDLE) or taken (SENDING) then     */
    char peer[INET6_ADDRSTRLEN];
};

/* The minimal answer to a request, where none can be queued (it is still
 * arriving, or its head has left no room).  MHD must have sent nothing for it
 * yet, and the connection must end.                                        */
void connection_say_error(const struct connection *connection,
                          enum error_code code);

/* Enter a phase: its deadline counts from now. */
void connection_set_phase(struct connection *connection, enum phase phase);

/* Cut it now, for a reason that the log tells. */
void connection_cut(struct connection *connection, const char *reason);

/* Cut it if it is over its deadline, or has ended its side with a request
 * begun.  Shuts the socket down; MHD then closes.  is_closing: idle ones go
 * at once.                                                                 */
void connection_check(struct connection *connection,
                      const struct config *config, bool is_closing,
                      uint64_t now_ms);

#endif
