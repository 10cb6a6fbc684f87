/* errors_table.h - every error a client can meet, in order of status.
 *
 * ERROR(name, status, slug, code, title, OpenAI type, help)
 *
 * Included several times; no guard.
 *
 * SPDX-License-Identifier: MIT
 */
ERROR(MALFORMED_REQUEST, 400, "malformed-request", "malformed_request",
      "Malformed HTTP request", "invalid_request_error",
      "The request's framing or a header breaks the rules of HTTP/1.1, so it "
      "cannot be read safely. The connection was closed. Check for repeated "
      "Content-Length or Host headers, Content-Length together with "
      "Transfer-Encoding, and control characters.")
ERROR(MALFORMED_JSON, 400, "malformed-json", "malformed_json", "Malformed JSON",
      "invalid_request_error",
      "The body is not JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, no "
      "key twice in one object, at most 8 levels deep. The detail names line "
      "and column.")
ERROR(BAD_HEADER, 400, "bad-header", "bad_header", "Bad header value",
      "invalid_request_error",
      "A header or query argument has a value that cannot be understood; the "
      "detail names it and what is allowed.")
ERROR(NOT_FOUND, 404, "not-found", "not_found", "Not found",
      "invalid_request_error",
      "There is nothing at this address. GET /openapi.json lists every "
      "address.")
ERROR(JOB_NOT_FOUND, 404, "job-not-found", "job_not_found", "No such job",
      "invalid_request_error",
      "There is no job with this id here: it never was, it was deleted, or the "
      "server has been restarted since.")
ERROR(PREVIEW_NOT_FOUND, 404, "preview-not-found", "preview_not_found",
      "No such preview", "invalid_request_error",
      "The job has not taken this step yet, has fewer steps, or was asked to "
      "keep only some (preview.every). The detail says which.")
ERROR(METHOD_NOT_ALLOWED, 405, "method-not-allowed", "method_not_allowed",
      "Method not allowed", "invalid_request_error",
      "The address exists but not with this method; the Allow header lists "
      "those that do.")
ERROR(NOT_ACCEPTABLE, 406, "not-acceptable", "not_acceptable", "Not acceptable",
      "invalid_request_error",
      "None of the media types in Accept can be made here; the detail lists "
      "those that can.")
ERROR(SLOW_BODY, 408, "slow-body", "slow_body", "Request took too long",
      "invalid_request_error", "The request did not arrive within its time.")
ERROR(NOT_FINISHED, 409, "not-finished", "not_finished", "Not finished yet",
      "invalid_request_error",
      "The job has not made this picture yet. Wait for it: GET "
      "/v1/jobs/{id}?wait=30.")
ERROR(NO_RESULT, 409, "no-result", "no_result", "No such result",
      "invalid_request_error",
      "The job ended without this picture; its `error` says why.")
ERROR(JOB_CANCELED, 409, "job-canceled", "job_canceled", "Job was canceled",
      "invalid_request_error",
      "Somebody canceled the job while this request waited for it.")
ERROR(GONE, 410, "gone", "gone", "No longer here", "invalid_request_error",
      "It was here and has been dropped: its time (ttl_s) was over, or newer "
      "ones needed the room. The same request with the same seed makes the "
      "same bytes again.")
ERROR(BODY_TOO_LARGE, 413, "body-too-large", "body_too_large", "Body too large",
      "invalid_request_error",
      "The body is larger than this address takes; the detail says how large "
      "it may be.")
ERROR(URI_TOO_LONG, 414, "uri-too-long", "uri_too_long", "Address too long",
      "invalid_request_error",
      "An address may have 8 KiB and 200 query arguments. What is long belongs "
      "into the body of a POST.")
ERROR(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported-media-type",
      "unsupported_media_type", "Unsupported media type",
      "invalid_request_error",
      "Send the body with Content-Type: application/json (or none).")
ERROR(BAD_RANGE, 416, "bad-range", "bad_range", "Range not satisfiable",
      "invalid_request_error",
      "The Range header asks for bytes beyond the end; Content-Range says how "
      "many there are.")
ERROR(EXPECTATION_FAILED, 417, "expectation-failed", "expectation_failed",
      "Expectation failed", "invalid_request_error",
      "The only expectation that is understood is 100-continue.")
ERROR(MISDIRECTED, 421, "misdirected-request", "misdirected_request",
      "Misdirected request", "invalid_request_error",
      "The Host header names a host that this server was not told about. "
      "Use localhost or an address, or start the server with --host-name. "
      "This keeps web pages from reaching a local server by DNS rebinding.")
ERROR(INVALID_PARAMETERS, 422, "invalid-parameters", "invalid_value",
      "Invalid parameters", "invalid_request_error",
      "The JSON is well formed but some values are not allowed. `errors` "
      "lists every one of them with the nearest values that are.")
ERROR(BAD_PICTURE, 422, "bad-picture", "bad_picture", "Picture cannot be used",
      "invalid_request_error",
      "The body must be a PNG of at most 512 pixels an edge; the detail says "
      "what is wrong with this one.")
ERROR(LORA_UNUSABLE, 422, "lora-unusable", "lora_unusable",
      "LoRA cannot be used", "invalid_request_error",
      "A LoRA of the request cannot be added to its model: it was made for "
      "another kind, or its file is damaged or has changed meanwhile. The "
      "detail names file, layer and reason; GET /v1/loras lists what is "
      "there.")
ERROR(IDEMPOTENCY_KEY_REUSE, 422, "idempotency-key-reuse",
      "idempotency_key_reuse", "Idempotency-Key was used for another request",
      "invalid_request_error",
      "The same Idempotency-Key came with another body before. Use a new key "
      "for a new request.")
ERROR(QUEUE_FULL, 429, "queue-full", "queue_full", "Queue is full",
      "rate_limit_error",
      "As many jobs wait as the server takes. Retry-After is predicted from "
      "measured step times; `predicted_s` is the prediction before rounding "
      "up and jitter, `queue` the work it was made from.")
ERROR(TOO_MANY_STREAMS, 429, "too-many-streams", "too_many_streams",
      "Too many streams", "rate_limit_error",
      "As many event and picture streams are open as the server takes; poll "
      "the job instead.")
ERROR(HEADERS_TOO_LARGE, 431, "headers-too-large", "headers_too_large",
      "Too many headers", "invalid_request_error",
      "A request may have at most 96 headers and 16 KiB for its line and "
      "headers together.")
ERROR(GENERATION_FAILED, 500, "generation-failed", "generation_failed",
      "Generation failed", "server_error",
      "The job failed while running; the detail says where.")
ERROR(INTERNAL, 500, "internal", "internal", "Internal error", "server_error",
      "A fault of the server. The log line with this request id says more.")
ERROR(DRAINING, 503, "draining", "draining", "Server is draining",
      "server_error",
      "The server is about to stop: it finishes what it has and takes no new "
      "work. Try again after Retry-After seconds.")
ERROR(LOADING, 503, "loading", "loading", "Model is loading", "server_error",
      "The server has started but its model is not ready. Try again after "
      "Retry-After seconds; /health/ready tells when.")
ERROR(NO_MODEL, 503, "no-model", "no_model", "Model is not available",
      "server_error", "The model could not be loaded; GET /v1/models says why.")
ERROR(NO_MEMORY, 503, "no-memory", "no_memory", "Not enough memory",
      "server_error",
      "The server is short of memory now. Try again after Retry-After "
      "seconds, or ask for a smaller picture. If the answer has X-Job-Id, "
      "GET /v1/jobs/{id} tells what became of the job: its pictures may be "
      "made, and only this answer have had no room.")
ERROR(SHUTTING_DOWN, 503, "shutting-down", "shutting_down",
      "Server is shutting down", "server_error",
      "The server stopped before the job was done. Send it again to the next "
      "one: the same seed makes the same picture.")
ERROR(DEADLINE_UNMEETABLE, 503, "deadline-unmeetable", "deadline_unmeetable",
      "Deadline cannot be met", "server_error",
      "With the work that is waiting the job would end after its deadline_s; "
      "nothing was started. The detail says how long it would take.")
ERROR(DEADLINE_EXCEEDED, 504, "deadline-exceeded", "deadline_exceeded",
      "Deadline missed", "server_error",
      "The job was stopped because its deadline_s was over.")
ERROR(
    VERSION_NOT_SUPPORTED, 505, "version-not-supported",
    "version_not_supported", "HTTP version not supported",
    "invalid_request_error",
    "Requests are HTTP/1.1 or HTTP/1.0 without TLS; a proxy in front can speak "
    "the others.")
