/*
 * A configuration as data: what `kpeer config print` shows. Read back as a configuration file it gives the
 * same configuration. Commands and tests use this module.
 */
#ifndef KPEER_CONFIG_REPORT_H
#define KPEER_CONFIG_REPORT_H

#include <jansson.h>

#include "peer/config/config.h"

/* One key's value in the form in which a file has it; NULL for one that is not set, or without memory. */
json_t *config_report_value(const struct config *cfg, const struct config_key *key);

/* All keys that are set, nested as in a file. NULL: out of memory. */
json_t *config_report(const struct config *cfg);

/* Where the value in force comes from: "default", "file", "environment", "flag". */
const char *config_origin_word(const struct config *cfg, const struct config_key *key);

#endif
