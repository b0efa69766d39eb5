/*
 * What is left of a worker that was ended by force. The executor alone uses this module.
 */
#ifndef KPEER_SESSION_H
#define KPEER_SESSION_H

#include <sys/types.h>

/* Kills every process of the session whose leader is or was `leader` (each worker leads one, and the programs
 * that it runs are in process groups of their own within it). Returns how many there were. */
int session_kill(pid_t leader);

#endif
