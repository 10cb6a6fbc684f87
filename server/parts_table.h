/* parts_table.h - parts of the service in start order; see service.h.
 *
 * PART(name): name_open, name_state, name_drain, name_busy, name_stop,
 * name_close exist with the types of struct service_part (server.c declares
 * them from this table).
 *
 * Included several times; no guard.
 *
 * SPDX-License-Identifier: MIT
 */
PART(models)
PART(loras)
PART(jobs)
PART(intakes)
