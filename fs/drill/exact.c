/* SPDX-License-Identifier: MIT */
/*
 * What the vault holds beside artifacts: contents that never went through the Encrypter, by the reason. In
 * fidelity exact that is a matter of size; in split and lossy each is a file that whoever has the keys (and,
 * in split, the second store) has to the byte.
 */
#include <ctype.h>
#include <string.h>

#include "fs/drill/drill.h"
#include "fs/drill/owner.h"

static const struct {
    const char *kind, *endings; /* lower case, each between spaces */
} kinds[] = {
    {"JPEG", " jpg jpeg jpe jfif "},
    {"PNG", " png apng "},
    {"HEIC, AVIF", " heic heif hif avif "},
    {"other pictures", " gif webp bmp tif tiff jxl jp2 svg psd xcf ico pnm ppm pgm "},
    {"camera RAW", " dng cr2 cr3 nef nrw arw orf rw2 raf pef srw "},
    {"video", " mp4 mov m4v avi mkv webm mpg mpeg mts m2ts 3gp wmv "},
};
#define KINDS (sizeof kinds / sizeof *kinds + 1)

/* What a file is by the ending of its name, which is what its owner knows it by; the last kind is everything
 * else. */
static size_t kind_of(const unsigned char *name, size_t len)
{
    char ending[10] = " ";
    size_t at = len, n = 1;

    while (at > 0 && name[at - 1] != '.') {
        at--;
    }
    if (at == 0 || len - at > sizeof ending - 3) {
        return KINDS - 1;
    }
    for (; at < len; at++) {
        ending[n++] = (char)tolower(name[at]);
    }
    memcpy(ending + n, " ", 2);
    for (size_t i = 0; i < KINDS - 1; i++) {
        if (strstr(kinds[i].endings, ending)) {
            return i;
        }
    }
    return KINDS - 1;
}

/* Files that never went through the Encrypter, by kind: to the byte where they lie. */
static enum lethe_err count_kinds(const struct drill_owner *owner, const char *where, json_t *out)
{
    size_t files[KINDS] = {0};
    uint64_t bytes[KINDS] = {0};
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(owner->db);
    err = lethe_db_statement(
        owner->db,
        "SELECT min(d.name), c.size FROM content c JOIN inode i ON i.content = c.id JOIN dentry d ON"
        " d.ino = i.ino WHERE c.kind <> 1 GROUP BY i.ino",
        &statement);
    while (!err && !(err = lethe_db_step(owner->db, statement, &row)) && row) {
        size_t kind = kind_of(sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0));

        files[kind]++;
        bytes[kind] += (uint64_t)sqlite3_column_int64(statement, 1);
    }
    lethe_db_unlock(owner->db);
    for (size_t i = 0; i < KINDS; i++) {
        (void)json_array_append_new(
            out, json_pack("{s:s, s:I, s:I, s:s}", "kind", i < KINDS - 1 ? kinds[i].kind : "other files",
                           "files", (json_int_t)files[i], "bytes", (json_int_t)bytes[i], "where", where));
    }
    return err;
}

/*
 * How many artifacts of one and the same picture the vault holds, older versions that are kept included: what a key
 * holder could average. (What averages are worth is measured by leak.c.)
 */
static enum lethe_err count_versions(struct drill *drill, const struct drill_owner *owner)
{
    sqlite3_stmt *statement;
    json_int_t pictures = 0, artifacts = 0, most = 0;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(owner->db);
    err = lethe_db_statement(owner->db,
                             "SELECT count(*), sum(n), max(n) FROM (SELECT count(DISTINCT p.object) AS n FROM content c JOIN"
                             " piece p ON p.content = c.id AND p.kind = 1 WHERE c.digest IS NOT NULL GROUP BY c.digest)",
                             &statement);
    err = err ? err : lethe_db_step(owner->db, statement, &row);
    if (!err && row) {
        pictures = sqlite3_column_int64(statement, 0);
        artifacts = sqlite3_column_int64(statement, 1);
        most = sqlite3_column_int64(statement, 2);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(owner->db);
    (void)json_object_set_new(json_object_get(drill->report, "keys_leaked"), "kept_artifacts",
                              json_pack("{s:I, s:I, s:I}", "pictures", pictures, "artifacts", artifacts, "most_of_one", most));
    return err;
}

enum lethe_err drill_exact(struct drill *drill, const struct drill_owner *owner)
{
    static const char *const stored[] = {"segments", "photo", "packed"};
    bool split = lethe_vault_file_settings(drill->file)->fidelity == LETHE_FIDELITY_SPLIT;
    json_t *out = json_array(), *unchanged = json_array();
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(owner->db);
    err = lethe_db_statement(
        owner->db,
        "SELECT kind, reason, count(*), sum(size) FROM content WHERE id IN (SELECT content FROM inode"
        " WHERE content IS NOT NULL) GROUP BY kind, reason ORDER BY kind, reason",
        &statement);
    while (!err && !(err = lethe_db_step(owner->db, statement, &row)) && row) {
        int kind = sqlite3_column_int(statement, 0), reason = sqlite3_column_int(statement, 1);

        (void)json_array_append_new(out,
                                    json_pack("{s:s, s:s, s:I, s:I}", "stored_as",
                                              kind >= 0 && kind < 3 ? stored[kind] : "another kind", "reason",
                                              reason >= 0 && reason < LETHE_REASON_COUNT
                                                  ? lethe_reason_name((enum lethe_reason)reason)
                                                  : "?",
                                              "files", (json_int_t)sqlite3_column_int64(statement, 2),
                                              "bytes", (json_int_t)sqlite3_column_int64(statement, 3)));
    }
    lethe_db_unlock(owner->db);
    err = err ? err : count_versions(drill, owner);
    err = err ? err : count_kinds(owner, split ? "the second store" : "the vault", unchanged);
    (void)json_object_set_new(drill->report, "contents", out);
    (void)json_object_set_new(drill->report, "outside_the_encrypter", unchanged);
    return err;
}
