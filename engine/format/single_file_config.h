/* single_file_config.h - configurations read off the tensors of a single file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SINGLE_FILE_CONFIG_H
#define FORMAT_SINGLE_FILE_CONFIG_H

#include "base/error.h"
#include "format/single_file.h"

/* Metadata of files that were made of a folder: "unstir.unet" is the text of
 * that part's configuration, "unstir.scheduler" the sampler's.  What stands
 * there need not be found out. */
#define SINGLE_FILE_META "unstir."

/* Fill the configurations of all parts that are there, the index and the
 * scheduler's; kind, prediction_type and weights are set. */
enum unstir_status single_file_configure(struct single_file *f,
                                         struct unstir_error *err);

/* Of one part that is there; kind is set. */
enum unstir_status single_file_configure_part(struct single_file *f,
                                              enum single_file_part_id part,
                                              struct unstir_error *err);

#endif
