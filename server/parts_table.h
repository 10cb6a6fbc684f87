/* parts_table.h - parts of the service in start order; see service.h.
 *
 * PART(name, members...): name_open and name_close, and what else of struct
 * service_part it has.
 *
 * Included once, by service.c; no guard.
 *
 * SPDX-License-Identifier: MIT
 */
PART(models, .state = models_state, .stop = models_stop)
PART(loras, .state = loras_state, .stop = loras_stop)
PART(jobs, .drain = jobs_drain, .busy = jobs_busy, .stop = jobs_stop)
PART(intakes, .busy = intakes_busy, .stop = intakes_stop)
