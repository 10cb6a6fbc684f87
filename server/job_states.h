/* job_states.h - the states and stages of a job, and the moves allowed.
 *
 * JOB_STATES(X): X(NAME, "spelling", is_terminal, moves), where moves is the
 * set of states that may follow.  `admitting` never leaves the server: the
 * store has not answered yet.  A job that a worker hands back after its
 * quantum stays `running`: the scheduler's turns are not a client's matter.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_JOB_STATES_H
#define SERVER_JOB_STATES_H

#define JOB_BIT(name) (1u << JOB_##name)

#define JOB_STATES(X)                                             \
    X(ADMITTING, "admitting", false,                              \
      JOB_BIT(QUEUED) | JOB_BIT(FAILED) | JOB_BIT(CANCELED))      \
    X(QUEUED, "queued", false,                                    \
      JOB_BIT(RUNNING) | JOB_BIT(CANCELED) | JOB_BIT(FAILED))     \
    X(RUNNING, "running", false,                                  \
      JOB_BIT(CANCELING) | JOB_BIT(SUCCEEDED) | JOB_BIT(FAILED) | \
          JOB_BIT(CANCELED))                                      \
    X(CANCELING, "canceling", false,                              \
      JOB_BIT(SUCCEEDED) | JOB_BIT(FAILED) | JOB_BIT(CANCELED))   \
    X(SUCCEEDED, "succeeded", true, JOB_BIT(EXPIRED))             \
    X(FAILED, "failed", true, JOB_BIT(EXPIRED))                   \
    X(CANCELED, "canceled", true, JOB_BIT(EXPIRED))               \
    X(EXPIRED, "expired", true, 0u)

enum job_state {
#define X(name, text, is_terminal, moves) JOB_##name,
    JOB_STATES(X)
#undef X
        JOB_N_STATES
};

#define JOB_STAGES(X)     \
    X(QUEUED, "queued")   \
    X(LOADING, "loading") \
    X(TEXT, "text")       \
    X(ENCODE, "encode")   \
    X(DENOISE, "denoise") \
    X(DECODE, "decode")   \
    X(PNG, "png")

enum job_stage {
#define X(name, text) STAGE_##name,
    JOB_STAGES(X)
#undef X
        STAGE_N_STAGES
};

#endif
