/* SPDX-License-Identifier: MIT */
/*
 * Tampering with what lies inside of objects: the members of packs, which are sealed one by one, and the
 * residuals of photos, wherever they lie. A thief sees no members; he is told where they are, as if he
 * guessed it.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/drill/tamper.h"
#include "fs/vault/record.h"

enum change { SWAP_MEMBERS, MEMBER_OVER_MEMBER, DROP_FIRST, DROP_LAST, OTHER_RESIDUAL };
const char *const drill_piece_changes[DRILL_PIECE_CHANGES] = {
    "swap two members of a pack", "one member of a pack over another", "drop the first member of a pack",
    "drop the last member of a pack", "an artifact with another residual"};

struct range {
    struct lethe_id object;
    size_t offset, len;
};

/* The ranges that sql tells as (object, offset, stored); freed by the caller. LETHE_ERR_NOT_FOUND below two.
 */
static enum lethe_err ranges_of(struct lethe_db *db, const char *sql, struct range **ranges, size_t *count)
{
    sqlite3_stmt *statement;
    size_t room = 0;
    bool row = false;
    enum lethe_err err;

    *ranges = NULL;
    *count = 0;
    lethe_db_lock(db);
    err = lethe_db_statement(db, sql, &statement);
    while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
        struct range *grown = *count < room ? *ranges : realloc(*ranges, (2 * room + 16) * sizeof *grown);

        if (!grown) {
            sqlite3_reset(statement);
            err = LETHE_ERR_NOMEM;
            break;
        }
        room = *count < room ? room : 2 * room + 16;
        *ranges = grown;
        if (sqlite3_column_bytes(statement, 0) == (int)sizeof grown->object) {
            memcpy(&grown[*count].object, sqlite3_column_blob(statement, 0), sizeof grown->object);
            grown[*count].offset = (size_t)sqlite3_column_int64(statement, 1);
            grown[(*count)++].len = (size_t)sqlite3_column_int64(statement, 2);
        }
    }
    lethe_db_unlock(db);
    return err ? err : *count < 2 ? LETHE_ERR_NOT_FOUND : LETHE_OK;
}

static bool inside(const struct range *range, size_t len)
{
    return range->offset <= len && range->len <= len - range->offset;
}

/* The object with one range of it replaced. */
static enum lethe_err splice(struct drill_tamper *t, const struct lethe_buf *object,
                             const struct range *range, const uint8_t *bytes, size_t len)
{
    struct lethe_buf made = {0};
    char key[LETHE_STORE_KEY_MAX + 1];
    enum lethe_err err;

    lethe_vault_object_key(LETHE_OBJECT_PACK, &range->object, key);
    lethe_buf_put(&made, object->data, range->offset);
    lethe_buf_put(&made, bytes, len);
    lethe_buf_put(&made, object->data + range->offset + range->len, object->len - range->offset - range->len);
    err = lethe_buf_status(&made);
    err = err ? err : drill_tamper_set(t, key, made.len ? made.data : (const uint8_t *)"", made.len);
    lethe_buf_release(&made);
    return err;
}

/* Two ranges that do not overlap change places, in one object or two. */
static enum lethe_err exchange(struct drill_tamper *t, const struct range *one, const struct range *two)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf made = {0};
    enum lethe_err err;

    lethe_vault_object_key(LETHE_OBJECT_PACK, &one->object, key);
    err = drill_tamper_get(t, key, &t->a);
    lethe_vault_object_key(LETHE_OBJECT_PACK, &two->object, key);
    err = err ? err : drill_tamper_get(t, key, &t->b);
    if (err || !inside(one, t->a.len) || !inside(two, t->b.len)) {
        return err ? err : LETHE_ERR_NOT_FOUND;
    }
    if (!lethe_id_equal(&one->object, &two->object)) {
        err = splice(t, &t->a, one, t->b.data + two->offset, two->len);
        return err ? err : splice(t, &t->b, two, t->a.data + one->offset, one->len);
    }
    if (one->offset > two->offset) {
        const struct range *swap = one;

        one = two;
        two = swap;
    }
    lethe_buf_put(&made, t->a.data, one->offset);
    lethe_buf_put(&made, t->a.data + two->offset, two->len);
    lethe_buf_put(&made, t->a.data + one->offset + one->len, two->offset - one->offset - one->len);
    lethe_buf_put(&made, t->a.data + one->offset, one->len);
    lethe_buf_put(&made, t->a.data + two->offset + two->len, t->a.len - two->offset - two->len);
    err = lethe_buf_status(&made);
    err = err ? err : drill_tamper_set(t, key, made.data, made.len);
    lethe_buf_release(&made);
    return err;
}

/* Another range than mine: of its object (or of any), of its length if there is one. NULL: none. */
static const struct range *mate(struct drill_tamper *t, const struct range *ranges, size_t count,
                                const struct range *mine, bool same_object)
{
    size_t start = drill_below(&t->random, count);
    const struct range *found = NULL;

    for (size_t i = 0; i < count; i++) {
        const struct range *other = &ranges[(start + i) % count];
        bool same = lethe_id_equal(&other->object, &mine->object);

        if ((same && other->offset == mine->offset) || (same_object && !same)) {
            continue;
        }
        if (other->len == mine->len) {
            return other;
        }
        found = found ? found : other;
    }
    return found;
}

static enum lethe_err change_pack(struct drill_tamper *t, enum change how, const struct range *one,
                                  const struct range *two)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    enum lethe_err err;

    if (how == SWAP_MEMBERS) {
        return exchange(t, one, two);
    }
    lethe_vault_object_key(LETHE_OBJECT_PACK, &one->object, key);
    err = drill_tamper_get(t, key, &t->a);
    if (err || !inside(one, t->a.len) || !inside(two, t->a.len)) {
        return err ? err : LETHE_ERR_NOT_FOUND;
    }
    if (how == MEMBER_OVER_MEMBER) {
        memmove(t->a.data + two->offset, t->a.data + one->offset, one->len < two->len ? one->len : two->len);
        return drill_tamper_set(t, key, t->a.data, t->a.len);
    }
    return splice(t, &t->a, one, NULL, 0);
}

enum lethe_err drill_change_piece(struct drill_tamper *t, size_t how)
{
    static const char members[] = "SELECT DISTINCT object, offset, stored FROM piece WHERE object IN (SELECT "
                                  "object FROM piece GROUP BY object"
                                  " HAVING count(DISTINCT offset) > 1) ORDER BY 1, 2";
    static const char residuals[] =
        "SELECT DISTINCT object, offset, stored FROM piece WHERE kind = 2 ORDER BY 1, 2";
    struct range *ranges = NULL;
    const struct range *one, *two;
    size_t count = 0;
    enum lethe_err err =
        ranges_of(t->owner->db, how == OTHER_RESIDUAL ? residuals : members, &ranges, &count);

    if (!err) {
        one = &ranges[drill_below(&t->random, count)];
        for (; how == DROP_FIRST && one > ranges && lethe_id_equal(&one[-1].object, &one->object); one--) {
        }
        for (; how == DROP_LAST && one + 1 < ranges + count && lethe_id_equal(&one[1].object, &one->object);
             one++) {
        }
        two = mate(t, ranges, count, one, how != OTHER_RESIDUAL);
        err = !two                    ? LETHE_ERR_NOT_FOUND
              : how == OTHER_RESIDUAL ? exchange(t, one, two)
                                      : change_pack(t, (enum change)how, one, two);
    }
    free(ranges);
    return err;
}
