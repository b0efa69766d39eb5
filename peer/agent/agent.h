/*
 * The agent: the thin shell round the core. Starts everything in order, turns what comes from sockets, timers
 * and the executor into events of the core, and carries its actions out.
 */
#ifndef KPEER_AGENT_H
#define KPEER_AGENT_H

#include "peer/config/config.h"
#include "protocol/err.h"

/* Runs until this host has left its group or SIGTERM or SIGINT came (0), or something failed. Call from a
 * process with one thread. notify_ready is told from here; telling why a start failed is the caller's. */
int agent_run(const struct config *cfg, struct err *err);

#endif
