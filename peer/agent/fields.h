/*
 * An event as fields of the systemd journal, beside its line: `journalctl KPEER_EVENT=step-failed`. One const
 * table has their names; the manual page is checked against it. Only the agent uses this module.
 */
#ifndef KPEER_FIELDS_H
#define KPEER_FIELDS_H

#include "peer/log.h"
#include "protocol/node.h"

#define FIELDS_MAX 12

struct fields {
    size_t count;
    struct log_field field[FIELDS_MAX];
    char member[PEER_ID_TEXT], term[24], took[24];
};

/* `act` is an ACT_EVENT; both are borrowed as long as `out` is used. What does not apply is empty. */
void fields_of_event(const struct action *act, const struct node_status *now, struct fields *out);

/* The i-th field's name; NULL: there are no more. */
const char *fields_name(size_t i);

#endif
