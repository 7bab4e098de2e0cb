/* SPDX-License-Identifier: MIT */
/*
 * What the vault holds beside artifacts: contents that never went through the Encrypter, by the reason. In fidelity
 * exact that is a matter of size; in split and lossy each is a file that whoever has the keys (and, in split, the second
 * store) has to the byte.
 */
#include "fs/drill/drill.h"
#include "fs/drill/owner.h"

enum lethe_err drill_exact(struct drill *drill, const struct drill_owner *owner)
{
    static const char *const kinds[] = {"segments", "photo", "packed"};
    json_t *out = json_array();
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(owner->db);
    err = lethe_db_statement(owner->db,
                             "SELECT kind, reason, count(*), sum(size) FROM content WHERE id IN (SELECT content FROM inode"
                             " WHERE content IS NOT NULL) GROUP BY kind, reason ORDER BY kind, reason",
                             &statement);
    while (!err && !(err = lethe_db_step(owner->db, statement, &row)) && row) {
        int kind = sqlite3_column_int(statement, 0), reason = sqlite3_column_int(statement, 1);

        (void)json_array_append_new(
            out, json_pack("{s:s, s:s, s:I, s:I}", "stored_as", kind >= 0 && kind < 3 ? kinds[kind] : "another kind", "reason",
                           reason >= 0 && reason < LETHE_REASON_COUNT ? lethe_reason_name((enum lethe_reason)reason) : "?",
                           "files", (json_int_t)sqlite3_column_int64(statement, 2), "bytes",
                           (json_int_t)sqlite3_column_int64(statement, 3)));
    }
    lethe_db_unlock(owner->db);
    (void)json_object_set_new(drill->report, "contents", out);
    return err;
}
