/* SPDX-License-Identifier: MIT */
/*
 * Fidelity split as a thief with bucket, keys and model sees it: everything in the vault is opened, and holds nothing
 * of the photo but its artifact; the second store alone holds the rest. And fidelity lossy: a crash between any two
 * calls of the backend leaves a content as it was or as it becomes, in tree, store and vault alike.
 */
#include "vault_fixture.h"

#include "lethe/codec.h"

#define SECRET "the words of a caption"

/* A JPEG with a noisy thumbnail in EXIF, a caption and a trailer. thumbnail receives the thumbnail. */
static void make_photo(struct lethe_buf *thumbnail, struct lethe_buf *out)
{
    static const uint8_t tiff[] = {'I', 'I', 42, 0, 8,  0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0,
                                   26,  0,   0,  0, 2,  0, 1, 2, 4, 0, 1,    0, 0, 0, 56, 0, 0, 0, 2, 2, 4, 0,
                                   1,   0,   0,  0, 0,  8, 0, 0, 0, 0, 0,    0};
    struct lethe_raster small = {0}, large = {0};
    struct lethe_buf photo = {0};
    uint64_t seed = 3;
    uint32_t len;

    assert_int_equal(lethe_raster_init(&small, 64, 48, 1, 8), LETHE_OK);
    assert_int_equal(lethe_raster_init(&large, 320, 240, 3, 8), LETHE_OK);
    for (size_t i = 0; i < 64 * 48; i++) {
        small.planes[0][i] = fixture_random(&seed) & 255;
    }
    for (size_t i = 0; i < 320 * 240; i++) {
        for (unsigned c = 0; c < 3; c++) {
            large.planes[c][i] = (uint16_t)((i % 320 / 2 + i / 320 / 2 + fixture_random(&seed) % 9) & 255);
        }
    }
    assert_int_equal(lethe_preview_write(&small, 64, 48, 1 << 20, thumbnail), LETHE_OK);
    assert_int_equal(lethe_preview_write(&large, 320, 240, 1 << 20, &photo), LETHE_OK);
    lethe_raster_release(&small);
    lethe_raster_release(&large);
    len = (uint32_t)(2 + 6 + sizeof tiff + thumbnail->len);
    assert_true(len < 65536);
    lethe_buf_put(out, photo.data, 2);
    lethe_buf_put(out, (const uint8_t[4]){0xff, 0xe1, (uint8_t)(len >> 8), (uint8_t)len}, 4);
    lethe_buf_put(out, "Exif\0", 6);
    lethe_buf_put(out, tiff, sizeof tiff);
    lethe_buf_put(out, thumbnail->data, thumbnail->len);
    lethe_buf_put(out, (const uint8_t[4]){0xff, 0xfe, 0, 2 + sizeof SECRET - 1}, 4);
    lethe_buf_put(out, SECRET, sizeof SECRET - 1);
    lethe_buf_put(out, photo.data + 2, photo.len - 2);
    lethe_buf_put(out, "a trailer", 9);
    assert_int_equal(lethe_buf_status(out), LETHE_OK);
    lethe_buf_release(&photo);
}

static void assert_without(const struct lethe_buf *bytes, const struct lethe_buf *thumbnail)
{
    assert_null(memmem(bytes->data, bytes->len, SECRET, sizeof SECRET - 1));
    assert_null(memmem(bytes->data, bytes->len, "a trailer", 9));
    for (size_t at = 700; at + 8 <= thumbnail->len; at += 8) {
        assert_null(memmem(bytes->data, bytes->len, thumbnail->data + at, 8));
    }
}

/* Keys of the vault that pieces lie in: only artifacts may. */
static enum lethe_err only_artifacts(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct lethe_session *session = context;
    sqlite3_stmt *statement;
    struct lethe_id id;
    bool row = false;

    (void)stat;
    assert_int_equal(lethe_unhex(key + 5, 32, id.bytes, sizeof id.bytes), LETHE_OK);
    lethe_db_lock(session->db);
    assert_int_equal(lethe_db_statement(session->db, "SELECT kind FROM piece WHERE object = ?", &statement), LETHE_OK);
    sqlite3_bind_blob(statement, 1, id.bytes, sizeof id.bytes, SQLITE_STATIC);
    assert_int_equal(lethe_db_step(session->db, statement, &row), LETHE_OK);
    assert_true(!row || sqlite3_column_int(statement, 0) == LETHE_PIECE_ARTIFACT);
    sqlite3_reset(statement);
    lethe_db_unlock(session->db);
    return LETHE_OK;
}

static enum lethe_err count(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)key;
    (void)stat;
    ++*(unsigned *)context;
    return LETHE_OK;
}

/* Every value of a journaled table. */
static void assert_rows_without(struct lethe_session *session, const char *table, const struct lethe_buf *thumbnail)
{
    sqlite3_stmt *statement;
    char sql[64];
    bool row;

    snprintf(sql, sizeof sql, "SELECT * FROM %s", table);
    lethe_db_lock(session->db);
    assert_int_equal(lethe_db_statement(session->db, sql, &statement), LETHE_OK);
    while (!lethe_db_step(session->db, statement, &row) && row) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            struct lethe_buf value = {0};

            lethe_buf_put(&value, sqlite3_column_blob(statement, i), (size_t)sqlite3_column_bytes(statement, i));
            if (value.len > 0) {
                assert_without(&value, thumbnail);
            }
            lethe_buf_release(&value);
        }
    }
    lethe_db_unlock(session->db);
}

static int64_t content_of(struct lethe_session *session, const char *name, struct lethe_id *id)
{
    struct stat attr;
    uint64_t size;

    assert_int_equal(lethe_tree_lookup(session->tree, 1, name, &attr), 0);
    assert_int_equal(lethe_tree_content(session->tree, attr.st_ino, id, &size), 0);
    lethe_tree_forget(session->tree, attr.st_ino, 1);
    return (int64_t)size;
}

static void a_thief_with_keys_and_model(void **state)
{
    static const char *const tables[] = {"inode", "dentry", "xattr", "content", "piece", "object"};
    struct lethe_buf photo = {0}, thumbnail = {0}, text = {0}, artifact = {0}, alone = {0}, whole = {0};
    struct lethe_record record;
    struct lethe_session *session;
    struct fixture fixture;
    struct lethe_id id;
    unsigned objects = 0;

    (void)state;
    fixture_make(&fixture);
    fixture.fidelity = LETHE_FIDELITY_SPLIT;
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    make_photo(&thumbnail, &photo);
    fixture_noise(9, &text, 900000);
    fixture_put(&fixture, "photo.jpg", &photo);
    fixture_put(&fixture, "film", &text);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    session = fixture.session;
    /* Objects: artifacts and the journal's in the vault, all others in the second store. */
    assert_int_equal(lethe_store_list(lethe_vault_store(session->vault), "o/", only_artifacts, session), LETHE_OK);
    assert_int_equal(lethe_store_list(lethe_vault_second(session->vault), "o/", count, &objects), LETHE_OK);
    assert_true(objects >= 2);
    objects = 0;
    assert_int_equal(lethe_store_list(lethe_vault_second(session->vault), "a/", count, &objects), LETHE_OK);
    assert_int_equal(objects, 0);
    /* What the vault's own objects hold once they are open. */
    content_of(session, "photo.jpg", &id);
    assert_int_equal(lethe_record_load(session->db, &id, &record), LETHE_OK);
    assert_int_equal(record.kind, LETHE_RECORD_PHOTO);
    assert_int_equal(
        lethe_restore_piece(session->vault, lethe_restore_find(&record, LETHE_PIECE_ARTIFACT), &artifact), LETHE_OK);
    assert_without(&artifact, &thumbnail);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        assert_rows_without(session, tables[i], &thumbnail);
    }
    /* The picture of the artifact alone: the right way up, nothing else. */
    assert_int_equal(lethe_restore_alone(session->vault, &record, session->pool, &alone), LETHE_OK);
    assert_int_equal(alone.len, record.alone);
    assert_without(&alone, &thumbnail);
    assert_non_null(memmem(alone.data, alone.len, "Exif\0\0MM", 8));
    /* With both, every byte; without the second, an error that says so. */
    assert_int_equal(lethe_restore_photo(session->vault, &record, session->pool, &whole), LETHE_OK);
    assert_int_equal(whole.len, photo.len);
    assert_memory_equal(whole.data, photo.data, whole.len);
    lethe_vault_set_second(session->vault, NULL);
    session->second_watch = NULL;
    lethe_buf_reset(&whole);
    assert_int_equal(lethe_restore_photo(session->vault, &record, session->pool, &whole), LETHE_ERR_UNREACHABLE);
    assert_int_equal(whole.len, 0);
    lethe_record_release(&record);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    lethe_buf_release(&photo);
    lethe_buf_release(&thumbnail);
    lethe_buf_release(&text);
    lethe_buf_release(&artifact);
    lethe_buf_release(&alone);
    lethe_buf_release(&whole);
}

static void read_file(struct fixture *fixture, const char *name, struct lethe_buf *out)
{
    struct lethe_file *file = fixture_file(fixture, name, O_RDONLY);
    size_t got = 1;

    lethe_buf_reset(out);
    while (got > 0) {
        size_t at = out->len;

        assert_int_equal(lethe_buf_resize(out, at + 65536), LETHE_OK);
        assert_int_equal(lethe_tree_read(file, at, out->data + at, 65536, &got), 0);
        out->len = at + got;
    }
    lethe_tree_release_file(file);
}

/* The publication of one photo, ended at each call of the backend in turn. */
static void lossy_crashes(void **state)
{
    struct lethe_buf photo = {0}, thumbnail = {0}, now = {0}, then = {0};
    bool done = false;

    (void)state;
    make_photo(&thumbnail, &photo);
    for (unsigned nth = 1; !done; nth++) {
        struct fixture fixture;
        struct lethe_id id;
        pid_t child;
        int status;

        fixture_make(&fixture);
        fixture.fidelity = LETHE_FIDELITY_LOSSY;
        assert_int_equal(fixture_init(&fixture), LETHE_OK);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            if (fixture_open(&fixture)) {
                _exit(1);
            }
            fixture_put(&fixture, "photo.jpg", &photo);
            if (lethe_commit_wait(fixture.session->committer)) {
                _exit(1);
            }
            fixture_arm(&fixture, nth % 2 ? TROUBLE_CRASH_BEFORE : TROUBLE_CRASH_AFTER, (nth + 1) / 2);
            _exit(fixture_publish(&fixture) ? 1 : 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == FIXTURE_CRASHED || WEXITSTATUS(status) == 0);
        done = WEXITSTATUS(status) == 0;
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        read_file(&fixture, "photo.jpg", &now);
        assert_int_equal(now.len, content_of(fixture.session, "photo.jpg", &id));
        if (now.len != photo.len || memcmp(now.data, photo.data, now.len) != 0) { /* it is the other one, whole */
            assert_memory_equal(now.data + now.len - 9, "a trailer", 9);
            assert_null(memmem(now.data, now.len, thumbnail.data + 1000, 64));
        }
        assert_int_equal(fixture_publish(&fixture), LETHE_OK);
        read_file(&fixture, "photo.jpg", &then);
        assert_true(then.len != photo.len || memcmp(then.data, photo.data, then.len) != 0);
        assert_int_equal(then.len, content_of(fixture.session, "photo.jpg", &id));
        fixture_assert_refs(fixture.session);
        fixture_close(&fixture);
        fixture_remove(&fixture);
    }
    lethe_buf_release(&photo);
    lethe_buf_release(&thumbnail);
    lethe_buf_release(&now);
    lethe_buf_release(&then);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thief_with_keys_and_model),
        cmocka_unit_test(lossy_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
