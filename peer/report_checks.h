/*
 * Findings, as a JSON tree and as a table: what a check of this host (`kpeer preflight`) and a trial of the
 * cluster
 * (`kpeer verify`) have seen.
 *
 *   [{"check", "level": "ok"|"warn"|"red", "detail", "next"}]
 */
#ifndef KPEER_REPORT_CHECKS_H
#define KPEER_REPORT_CHECKS_H

#include <jansson.h>

#include "peer/writer.h"
#include "protocol/step.h"

/* A new reference; NULL when out of memory. */
json_t *report_checks(const struct finding *findings, size_t count);

/* A table with a row for each, and below it, where there is room for whole sentences, what to do. */
int report_checks_show(const struct writer *w, const json_t *checks, struct err *err);

#endif
