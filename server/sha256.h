/* sha256.h - SHA-256 of bytes (FIPS 180-4), for names of artifacts and for
 * comparing request bodies.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_SHA256_H
#define SERVER_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES    32
#define SHA256_HEX_SIZE 65 /* with the end mark */

void sha256(uint8_t digest[SHA256_BYTES], const void *bytes, size_t n);

/* Lower-case hexadecimal with its end mark. */
void sha256_hex(char hex[SHA256_HEX_SIZE], const uint8_t digest[SHA256_BYTES]);

#endif
