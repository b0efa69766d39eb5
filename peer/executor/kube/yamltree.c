#include "peer/executor/kube/yamltree.h"

#include <stdint.h>
#include <string.h>

#include "peer/executor/kube/yamlout.h"

static int parse_error(const yaml_parser_t *p, struct err *err)
{
    if (p->error == YAML_MEMORY_ERROR)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    return err_set(err, KPEER_EINVAL, "not YAML: %s, line %zu, column %zu",
                   p->problem ? p->problem : "bad input", p->problem_mark.line + 1,
                   p->problem_mark.column + 1);
}

struct shape {
    size_t documents;
    size_t nodes;
    size_t depth;
};

static int refuse(const yaml_event_t *e, const char *what, struct err *err)
{
    return err_set(err, KPEER_ELIMIT, "%s, line %zu, column %zu", what, e->start_mark.line + 1,
                   e->start_mark.column + 1);
}

static int count_event(const yaml_event_t *e, struct shape *s, struct err *err)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return refuse(e, "an alias (*name), which a manifest may not have here", err);
    case YAML_DOCUMENT_START_EVENT:
        return ++s->documents > YAMLTREE_MAX_DOCUMENTS ? refuse(e, "too many documents", err) : 0;
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        s->nodes++;
        return ++s->depth > YAMLTREE_MAX_DEPTH ? refuse(e, "nested too deep", err) : 0;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        s->depth--;
        return 0;
    case YAML_SCALAR_EVENT:
        return ++s->nodes > YAMLTREE_MAX_NODES ? refuse(e, "too many values", err) : 0;
    default:
        return 0;
    }
}

/* One pass over the events, which build nothing. */
static int check_shape(const char *bytes, size_t n, struct err *err)
{
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return err_set(err, KPEER_ENOMEM, "out of memory");
    yaml_parser_set_input_string(&p, (const unsigned char *)bytes, n);
    struct shape s = {0};
    int rc = 0;
    bool end = false;
    while (rc == 0 && !end) {
        yaml_event_t e;
        if (!yaml_parser_parse(&p, &e)) {
            rc = parse_error(&p, err);
            break;
        }
        end = e.type == YAML_STREAM_END_EVENT;
        rc = count_event(&e, &s, err);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&p);
    return rc;
}

static bool is_empty(yaml_document_t *d)
{
    const yaml_node_t *root = yaml_document_get_root_node(d);
    return root && root->type == YAML_SCALAR_NODE &&
           (root->data.scalar.length == 0 || strcmp((const char *)root->data.scalar.value, "null") == 0);
}

static int load_all(yaml_parser_t *p, struct yamltree *tree, struct err *err)
{
    while (tree->count < YAMLTREE_MAX_DOCUMENTS) {
        yaml_document_t *d = &tree->documents[tree->count];
        if (!yaml_parser_load(p, d))
            return parse_error(p, err);
        if (!yaml_document_get_root_node(d)) {
            yaml_document_delete(d);
            return 0;
        }
        if (is_empty(d))
            yaml_document_delete(d);
        else
            tree->count++;
    }
    return 0; /* check_shape has seen to it that there are no more */
}

int yamltree_load(const char *bytes, size_t n, struct yamltree *tree, struct err *err)
{
    tree->count = 0;
    if (n > YAMLTREE_MAX_BYTES)
        return err_set(err, KPEER_ELIMIT, "larger than %d bytes", YAMLTREE_MAX_BYTES);
    int rc = check_shape(bytes, n, err);
    if (rc != 0)
        return rc;
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return err_set(err, KPEER_ENOMEM, "out of memory");
    yaml_parser_set_input_string(&p, (const unsigned char *)bytes, n);
    rc = load_all(&p, tree, err);
    yaml_parser_delete(&p);
    if (rc != 0)
        yamltree_fini(tree);
    return rc;
}

void yamltree_fini(struct yamltree *tree)
{
    for (size_t i = 0; i < tree->count; i++)
        yaml_document_delete(&tree->documents[i]);
    tree->count = 0;
}

int yamltree_emit(struct yamltree *tree, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    for (size_t i = 0; i < tree->count; i++)
        yamlout_document(&y, &tree->documents[i]);
    tree->count = 0;
    return yamlout_finish(&y, out, n, err);
}

static yaml_node_t *node_of(yaml_document_t *d, int node, yaml_node_type_t type)
{
    yaml_node_t *found = node > 0 ? yaml_document_get_node(d, node) : NULL;
    return found && found->type == type ? found : NULL;
}

static yaml_node_pair_t *pair_of(yaml_document_t *d, int map, const char *key)
{
    yaml_node_t *m = node_of(d, map, YAML_MAPPING_NODE);
    if (!m)
        return NULL;
    for (yaml_node_pair_t *p = m->data.mapping.pairs.start; p < m->data.mapping.pairs.top; p++) {
        const char *name = yamltree_text(d, p->key);
        if (name && strcmp(name, key) == 0)
            return p;
    }
    return NULL;
}

int yamltree_get(yaml_document_t *d, int map, const char *key)
{
    const yaml_node_pair_t *p = pair_of(d, map, key);
    return p ? p->value : 0;
}

const char *yamltree_text(yaml_document_t *d, int node)
{
    const yaml_node_t *n = node_of(d, node, YAML_SCALAR_NODE);
    return n ? (const char *)n->data.scalar.value : NULL;
}

size_t yamltree_length(yaml_document_t *d, int seq)
{
    const yaml_node_t *s = node_of(d, seq, YAML_SEQUENCE_NODE);
    return s ? (size_t)(s->data.sequence.items.top - s->data.sequence.items.start) : 0;
}

int yamltree_item(yaml_document_t *d, int seq, size_t i)
{
    const yaml_node_t *s = node_of(d, seq, YAML_SEQUENCE_NODE);
    return s && i < yamltree_length(d, seq) ? s->data.sequence.items.start[i] : 0;
}

static int add_text(yaml_document_t *d, const char *text, yaml_scalar_style_t style)
{
    const yaml_char_t *value = (const yaml_char_t *)text;
    return yaml_document_add_scalar(d, NULL, (yaml_char_t *)(uintptr_t)value, (int)strlen(text), style);
}

static bool link_value(yaml_document_t *d, int map, const char *key, int value)
{
    yaml_node_pair_t *p = pair_of(d, map, key);
    if (p) {
        p->value = value;
        return true;
    }
    int name = add_text(d, key, YAML_ANY_SCALAR_STYLE);
    return name && yaml_document_append_mapping_pair(d, map, name, value);
}

bool yamltree_set(yaml_document_t *d, int map, const char *key, const char *text, bool block)
{
    int value = add_text(d, text, block ? YAML_LITERAL_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    return value && node_of(d, map, YAML_MAPPING_NODE) && link_value(d, map, key, value);
}

bool yamltree_append(yaml_document_t *d, int seq, const char *text)
{
    int value = add_text(d, text, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    return value && node_of(d, seq, YAML_SEQUENCE_NODE) && yaml_document_append_sequence_item(d, seq, value);
}

void yamltree_remove(yaml_document_t *d, int seq, size_t i)
{
    yaml_node_t *s = node_of(d, seq, YAML_SEQUENCE_NODE);
    size_t count = yamltree_length(d, seq);
    if (!s || i >= count)
        return;
    int *items = s->data.sequence.items.start;
    memmove(items + i, items + i + 1, (count - i - 1) * sizeof *items);
    s->data.sequence.items.top--;
}

int yamltree_add_seq(yaml_document_t *d, int map, const char *key)
{
    int seq = yaml_document_add_sequence(d, NULL, YAML_BLOCK_SEQUENCE_STYLE);
    return seq && node_of(d, map, YAML_MAPPING_NODE) && link_value(d, map, key, seq) ? seq : 0;
}

int yamltree_add_map(yaml_document_t *d, int parent, const char *key)
{
    int map = yaml_document_add_mapping(d, NULL, YAML_BLOCK_MAPPING_STYLE);
    if (!map)
        return 0;
    if (!key)
        return node_of(d, parent, YAML_SEQUENCE_NODE) && yaml_document_append_sequence_item(d, parent, map)
                   ? map
                   : 0;
    return node_of(d, parent, YAML_MAPPING_NODE) && link_value(d, parent, key, map) ? map : 0;
}
