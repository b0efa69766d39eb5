/*
 * Reading YAML of any user's into libyaml's documents, and the few changes that kpeer makes to them.
 *
 * Reading is bounded before anything is built: bytes, documents, depth, nodes; aliases are refused, so that a
 * small file cannot become a large one. Nodes are named by libyaml's indices, since pointers do not outlast
 * an addition. Index 0 is "no such node" everywhere. Used by this folder and its tests.
 */
#ifndef KPEER_YAMLTREE_H
#define KPEER_YAMLTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "protocol/err.h"

#define YAMLTREE_MAX_BYTES     (1024 * 1024)
#define YAMLTREE_MAX_DOCUMENTS 64
#define YAMLTREE_MAX_DEPTH     40
#define YAMLTREE_MAX_NODES     50000

struct yamltree {
    yaml_document_t documents[YAMLTREE_MAX_DOCUMENTS];
    size_t count;
};

/* Reads all documents; empty ones are left out. 0: yamltree_fini is due. KPEER_EINVAL with line and column,
 * KPEER_ELIMIT. */
int yamltree_load(const char *bytes, size_t n, struct yamltree *tree, struct err *err);
void yamltree_fini(struct yamltree *tree);

/* Emits all documents and empties the tree. *out is freed by yamlout_free. */
int yamltree_emit(struct yamltree *tree, char **out, size_t *n, struct err *err);

/* The value of `key` in the map `map`, or 0. */
int yamltree_get(yaml_document_t *d, int map, const char *key);

/* The text of a scalar; NULL where the node is 0 or no scalar. Valid until the next change. */
const char *yamltree_text(yaml_document_t *d, int node);

/* How many elements a sequence has (0 for anything else), and its i-th. */
size_t yamltree_length(yaml_document_t *d, int seq);
int yamltree_item(yaml_document_t *d, int seq, size_t i);

/* Changes; false when out of memory. yamltree_set replaces or adds. `block` writes a text as a literal block.
 */
bool yamltree_set(yaml_document_t *d, int map, const char *key, const char *text, bool block);
bool yamltree_append(yaml_document_t *d, int seq, const char *text);
void yamltree_remove(yaml_document_t *d, int seq, size_t i);

/* Adds an empty sequence or map under `key` of a map, or (map only, `key` NULL) as the last element of a
 * sequence, and answers it; 0 when out of memory. */
int yamltree_add_seq(yaml_document_t *d, int map, const char *key);
int yamltree_add_map(yaml_document_t *d, int parent, const char *key);

#endif
