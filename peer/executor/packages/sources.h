/*
 * Where Kubernetes' packages come from: a repository by its layout and version, with its key, or a folder of
 * .deb files made into one. Used by this folder alone.
 */
#ifndef KPEER_PACKAGES_SOURCES_H
#define KPEER_PACKAGES_SOURCES_H

#include "peer/executor/packages/work.h"

/* The newest minor version of Kubernetes that this kpeer knows of. Upstream's repositories of a minor version
 * have no listing: the newest of all is looked for from here, upwards and then downwards. */
#define SOURCES_NEWEST_MINOR 34

#define SOURCES_NAME "kpeer-kubernetes"
#define SOURCES_LIST "/etc/apt/sources.list.d/" SOURCES_NAME ".list"
#define SOURCES_KEY  "/etc/apt/keyrings/" SOURCES_NAME ".gpg"
#define SOURCES_PIN  "/etc/apt/preferences.d/" SOURCES_NAME

/* Finds the repository that has the wanted version (protocol/wanted.h, "" as "stable"), checks its key, reads
 * its lists into the work folder and answers kubeadm's version with its revision ("1.31.4-1.1"). */
int sources_find(struct work *w, const char *wanted, char *version, size_t version_bytes, struct err *err);

/* Makes the repository known to the host's apt as far as the work folder goes: WORK_ALL has it from then on.
 */
int sources_add(struct work *w, struct err *err);

/* Writes what stays on the host, through the journal: source, key and pin. */
int sources_install(struct work *w, const char *version, struct err *err);

/* The repository of a folder of .deb files (deb_folder.c). */
int sources_folder(struct work *w, struct err *err);

#endif
