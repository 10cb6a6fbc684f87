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
ERROR(BODY_TOO_LARGE, 413, "body-too-large", "body_too_large", "Body too large",
      "invalid_request_error",
      "The body is larger than this address takes; the detail says how large "
      "it may be.")
ERROR(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported-media-type",
      "unsupported_media_type", "Unsupported media type",
      "invalid_request_error",
      "Send the body with Content-Type: application/json (or none).")
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
ERROR(HEADERS_TOO_LARGE, 431, "headers-too-large", "headers_too_large",
      "Too many headers", "invalid_request_error",
      "A request may have at most 96 headers and 16 KiB for its line and "
      "headers together.")
ERROR(INTERNAL, 500, "internal", "internal", "Internal error", "server_error",
      "A fault of the server. The log line with this request id says more.")
ERROR(DRAINING, 503, "draining", "draining", "Server is draining",
      "server_error",
      "The server is about to stop: it finishes what it has and takes no new "
      "work. Try again after Retry-After seconds.")
ERROR(LOADING, 503, "loading", "loading", "Model is loading", "server_error",
      "The server has started but its model is not ready. Try again after "
      "Retry-After seconds; /health/ready tells when.")
