/* notify.h - telling the service manager how it goes (sd_notify's datagram).
 *
 * Does nothing when NOTIFY_SOCKET is not set.  Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "STATUS=...", "WATCHDOG=1". */
void notify_send(const char *state);

/* How often WATCHDOG=1 is wanted (half of WATCHDOG_USEC); 0: not at all.   */
uint64_t notify_watchdog_ms(void);

#endif
