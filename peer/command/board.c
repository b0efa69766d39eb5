#include "peer/command/board.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define NAME_COLUMNS 24 /* a longer name is cut; on a narrow terminal a third of it */

struct row {
    char name[64];
    char role[16];
    char what[24]; /* its phase, or its state where it is not alive */
    char note[120];
    long long since_ms;
};

struct board {
    struct row *row;
    size_t count;
};

struct board *board_new(void)
{
    return calloc(1, sizeof(struct board));
}

void board_free(struct board *b)
{
    if (b)
        free(b->row);
    free(b);
}

static void fill(struct row *r, const json_t *member, long long now_ms)
{
    const char *state = writer_text(member, "state");
    bool alive = strcmp(state, "alive") == 0;

    writer_safe(r->name, sizeof r->name, writer_text(member, "name"));
    writer_safe(r->role, sizeof r->role, writer_text(member, "role"));
    writer_safe(r->what, sizeof r->what, alive ? writer_text(member, "phase") : state);
    r->since_ms = now_ms - json_integer_value(json_object_get(member, alive ? "phase_ms" : "last_heard_ms"));
    writer_safe(r->note, sizeof r->note, writer_text(member, "note"));
}

void board_take(struct board *b, const json_t *answer, long long now_ms)
{
    const json_t *members = json_object_get(answer, "members"), *member;
    size_t i, n = json_array_size(members);
    struct row *rows = calloc(n ? n : 1, sizeof *rows);

    if (!rows)
        return;
    json_array_foreach(members, i, member) fill(&rows[i], member, now_ms);
    free(b->row);
    b->row = rows;
    b->count = n;
}

/* A cell of `pad` columns (0: as wide as it is), and what is left of the line after it. */
static size_t put(const struct writer *w, const char *text, enum writer_tint tint, size_t pad, size_t left)
{
    char cut[160];
    size_t width = writer_cut(cut, sizeof cut, text, pad && pad < left ? pad : left);
    size_t blanks = pad > width ? pad - width : 0;

    if (blanks > left - width)
        blanks = left - width;
    fprintf(w->to, "%s%s%s%*s", writer_tint_on(w, tint), cut, writer_tint_off(w, tint), (int)blanks, "");
    return left - width - blanks;
}

static bool is_ready(const struct row *r)
{
    return strcmp(r->what, "ready") == 0;
}

static void put_row(const struct row *r, const struct writer *w, size_t name_columns, size_t columns,
                    long long now_ms)
{
    char took[32] = "", rest[200];
    long long for_ms = now_ms - r->since_ms;
    size_t left = put(w, "  ", TINT_NONE, 0, columns);

    left = put(w, r->name, TINT_NONE, name_columns, left);
    left = put(w, "", TINT_NONE, 2, left);
    left = put(w, strcmp(r->role, "undecided") == 0 ? "" : r->role, TINT_NONE, 8, left);
    left = put(w, r->what, writer_member_tint(r->what), 0, left);
    if (!is_ready(r) && for_ms >= 120000)
        writer_duration(took, sizeof took, for_ms);
    else if (!is_ready(r) && for_ms >= 1000)
        snprintf(took, sizeof took, "%lld s", for_ms / 1000); /* no digits that flicker */
    snprintf(rest, sizeof rest, "%s%s%s%s", *took ? " " : "", took, *r->note ? " · " : "", r->note);
    put(w, rest, TINT_DIM, 0, left);
    fputc('\n', w->to);
}

static size_t name_width(const struct board *b, size_t columns)
{
    size_t width = 0, most = columns / 3 < NAME_COLUMNS ? columns / 3 : NAME_COLUMNS;

    for (size_t i = 0; i < b->count; i++) {
        char cut[160];
        size_t n = writer_cut(cut, sizeof cut, b->row[i].name, most);

        width = n > width ? n : width;
    }
    return width;
}

size_t board_put(const struct board *b, const struct writer *w, size_t rows, size_t columns, long long now_ms)
{
    size_t names = name_width(b, columns), busy = 0, shown = 0;
    bool all = b->count <= rows;
    size_t room = all ? rows : rows - (rows > 0); /* the last line tells of the others */
    size_t ready_room;
    char line[80];

    for (size_t i = 0; i < b->count; i++)
        busy += !is_ready(&b->row[i]);
    ready_room = busy < room ? room - busy : 0;
    for (size_t i = 0; i < b->count && shown < room; i++) {
        if (is_ready(&b->row[i])) {
            if (!ready_room)
                continue;
            ready_room--;
        }
        put_row(&b->row[i], w, names, columns, now_ms);
        shown++;
    }
    if (all || !rows)
        return shown;
    snprintf(line, sizeof line, "  and %zu more: kpeer members", b->count - shown);
    put(w, line, TINT_DIM, 0, columns);
    fputc('\n', w->to);
    return shown + 1;
}
