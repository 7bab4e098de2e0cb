/* SPDX-License-Identifier: MIT */
/* The rules of the tree one by one: names, attributes, live and published views, orphans. */
#include "tree_fixture.h"

#include <linux/falloc.h>
#include <sys/xattr.h>

#include "fs/tree/acl.h"

static struct fixture fixture;

static int setup(void **unused)
{
    (void)unused;
    fixture_new(&fixture);
    fixture_start(&fixture);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    fixture_stop(&fixture);
    fixture_free(&fixture);
    return 0;
}

static const uint8_t jpeg[8] = {0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 4};

static uint64_t row_size(uint64_t ino)
{
    char sql[80];

    snprintf(sql, sizeof(sql), "SELECT size FROM inode WHERE ino = %llu", (unsigned long long)ino);
    return (uint64_t)fixture_number(&fixture, sql);
}

static void root_is_made_once(void **unused)
{
    struct stat attr;

    (void)unused;
    assert_int_equal(lethe_tree_getattr(fixture.tree, 1, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFDIR | 0755);
    assert_int_equal(attr.st_uid, 1000);
    assert_int_equal(attr.st_nlink, 2);
    fixture_stop(&fixture);
    fixture_start(&fixture);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode"), 1);
}

static void names_follow_posix(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    char longest[257];
    struct stat attr, dir, other;
    uint64_t file = fixture_make(&fixture, 1, "a");

    (void)unused;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[256] = '\0';
    assert_int_equal(lethe_tree_mknod(tree, 1, longest, S_IFREG, 0, &fixture_owner, &attr), -ENAMETOOLONG);
    assert_int_equal(lethe_tree_lookup(tree, 1, longest, &attr), -ENAMETOOLONG);
    longest[255] = '\0';
    assert_int_equal(lethe_tree_mknod(tree, 1, longest, S_IFREG, 0, &fixture_owner, &attr), 0);
    assert_int_equal(lethe_tree_lookup(tree, 1, longest, &attr), 0);
    assert_int_equal(lethe_tree_mkdir(tree, 1, "a", 0755, &fixture_owner, &attr), -EEXIST);
    assert_int_equal(lethe_tree_mkdir(tree, 1, "d", 0755, &fixture_owner, &dir), 0);
    assert_int_equal(lethe_tree_mkdir(tree, dir.st_ino, "e", 0755, &fixture_owner, &other), 0);
    assert_int_equal(lethe_tree_getattr(tree, dir.st_ino, &attr), 0);
    assert_int_equal(attr.st_nlink, 3);
    assert_int_equal(lethe_tree_rmdir(tree, 1, "d"), -ENOTEMPTY);
    assert_int_equal(lethe_tree_unlink(tree, 1, "d"), -EISDIR);
    assert_int_equal(lethe_tree_rmdir(tree, 1, "a"), -ENOTDIR);
    assert_int_equal(lethe_tree_link(tree, dir.st_ino, 1, "l", &attr), -EPERM);
    assert_int_equal(lethe_tree_link(tree, file, dir.st_ino, "l", &attr), 0);
    assert_int_equal(attr.st_nlink, 2);
    assert_int_equal(lethe_tree_rename(tree, 1, "a", dir.st_ino, "l", 0), 0); /* the same file: nothing */
    assert_int_equal(lethe_tree_lookup(tree, 1, "a", &attr), 0);
    assert_int_equal(lethe_tree_rename(tree, 1, "d", other.st_ino, "x", 0), -EINVAL);
    assert_int_equal(lethe_tree_rename(tree, dir.st_ino, "e", 1, "d", 0), -ENOTEMPTY);
    assert_int_equal(lethe_tree_rename(tree, 1, "a", 1, "d", 0), -EISDIR);
    assert_int_equal(lethe_tree_rename(tree, 1, "d", 1, "a", 0), -ENOTDIR);
    assert_int_equal(lethe_tree_rename(tree, 1, "a", 1, "d", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(lethe_tree_rename(tree, 1, "a", 1, "z", RENAME_EXCHANGE), -ENOENT);
    assert_int_equal(lethe_tree_rename(tree, 1, "a", 1, "z", RENAME_WHITEOUT), -EINVAL);
    assert_int_equal(lethe_tree_rename(tree, 1, "a", dir.st_ino, "e", RENAME_EXCHANGE), 0);
    assert_int_equal(lethe_tree_lookup(tree, 1, "a", &attr), 0);
    assert_int_equal(attr.st_ino, other.st_ino);
    assert_int_equal(lethe_tree_getattr(tree, dir.st_ino, &attr), 0);
    assert_int_equal(attr.st_nlink, 2);
    assert_int_equal(lethe_tree_getattr(tree, 1, &attr), 0);
    assert_int_equal(attr.st_nlink, 4);
    assert_int_equal(lethe_tree_rmdir(tree, 1, "a"), 0);
    /* A removed directory lives on for those who hold it, but nothing can be made in it. */
    assert_int_equal(lethe_tree_getattr(tree, other.st_ino, &attr), 0);
    assert_int_equal(attr.st_nlink, 0);
    assert_int_equal(lethe_tree_mkdir(tree, other.st_ino, "x", 0755, &fixture_owner, &attr), -ENOENT);
    lethe_tree_forget(tree, other.st_ino, 1);
    assert_int_equal(lethe_tree_getattr(tree, other.st_ino, &attr), -ESTALE);
}

static void set_group_id_is_inherited(void **unused)
{
    const struct lethe_owner me = {.uid = 5, .gid = 6};
    struct lethe_tree *tree = fixture.tree;
    struct stat attr, dir, want = {.st_mode = 02755, .st_gid = 77};

    (void)unused;
    assert_int_equal(lethe_tree_mkdir(tree, 1, "d", 0755, &me, &dir), 0);
    assert_int_equal(lethe_tree_setattr(tree, dir.st_ino, LETHE_SET_MODE | LETHE_SET_GID, &want, &attr), 0);
    assert_int_equal(lethe_tree_mkdir(tree, dir.st_ino, "e", 0755, &me, &attr), 0);
    assert_int_equal(attr.st_gid, 77);
    assert_int_equal(attr.st_mode, S_IFDIR | 02755);
    assert_int_equal(lethe_tree_mknod(tree, dir.st_ino, "f", S_IFIFO | 0600, 0, &me, &attr), 0);
    assert_int_equal(attr.st_gid, 77);
    assert_int_equal(attr.st_uid, 5);
    assert_int_equal(attr.st_mode, S_IFIFO | 0600);
}

static void set_id_bits_go(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    uint64_t ino = fixture_make(&fixture, 1, "a");
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR);
    struct stat attr, want = {.st_mode = 06755, .st_uid = 3};

    (void)unused;
    assert_int_equal(lethe_tree_setattr(tree, ino, LETHE_SET_MODE, &want, &attr), 0);
    assert_int_equal(lethe_tree_write(file, 0, "x", 1, false), 0);
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), 0);
    assert_int_equal(attr.st_mode & 07777, 06755);
    assert_int_equal(lethe_tree_write(file, 0, "x", 1, true), 0);
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), 0);
    assert_int_equal(attr.st_mode & 07777, 0755);
    assert_int_equal(lethe_tree_setattr(tree, ino, LETHE_SET_MODE, &want, &attr), 0);
    assert_int_equal(lethe_tree_setattr(tree, ino, LETHE_SET_UID, &want, &attr), 0);
    assert_int_equal(attr.st_mode & 07777, 0755);
    want.st_mode = 02644; /* no execution by the group: this bit means mandatory locking, and stays */
    assert_int_equal(lethe_tree_setattr(tree, ino, LETHE_SET_MODE, &want, &attr), 0);
    assert_int_equal(lethe_tree_setattr(tree, ino, LETHE_SET_UID, &want, &attr), 0);
    assert_int_equal(attr.st_mode & 07777, 02644);
    lethe_tree_release_file(file);
}

static void times_keep_nanoseconds_and_centuries(void **unused)
{
    static const struct timespec times[] = {{-1, 1}, {-2000000000, 999999999}, {4102444800, 5}, {0, 0}};
    uint64_t ino = fixture_make(&fixture, 1, "a");

    (void)unused;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct stat attr, want = {.st_atim = times[i], .st_mtim = times[i]};

        assert_int_equal(
            lethe_tree_setattr(fixture.tree, ino, LETHE_SET_ATIME | LETHE_SET_MTIME, &want, &attr), 0);
        fixture_stop(&fixture);
        fixture_start(&fixture);
        assert_int_equal(lethe_tree_getattr(fixture.tree, ino, &attr), 0);
        assert_memory_equal(&attr.st_atim, &times[i], sizeof(times[i]));
        assert_memory_equal(&attr.st_mtim, &times[i], sizeof(times[i]));
    }
}

static void xattrs_are_kept(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    uint64_t ino = fixture_make(&fixture, 1, "a");
    static char big[65537];
    char value[16], list[64];
    size_t needed;

    (void)unused;
    assert_int_equal(lethe_tree_setxattr(tree, ino, "user.b", "12345", 5, 0), 0);
    assert_int_equal(lethe_tree_setxattr(tree, ino, "user.a", "", 0, 0), 0);
    assert_int_equal(lethe_tree_setxattr(tree, ino, "user.b", "1", 1, XATTR_CREATE), -EEXIST);
    assert_int_equal(lethe_tree_setxattr(tree, ino, "user.c", "1", 1, XATTR_REPLACE), -ENODATA);
    assert_int_equal(lethe_tree_setxattr(tree, ino, "user.c", big, sizeof(big), 0), -E2BIG);
    fixture_stop(&fixture);
    fixture_start(&fixture);
    tree = fixture.tree;
    assert_int_equal(lethe_tree_getxattr(tree, ino, "user.b", value, sizeof(value), &needed), 0);
    assert_int_equal(needed, 5);
    assert_memory_equal(value, "12345", 5);
    assert_int_equal(lethe_tree_getxattr(tree, ino, "user.b", value, 4, &needed), -ERANGE);
    assert_int_equal(lethe_tree_getxattr(tree, ino, "user.a", value, sizeof(value), &needed), 0);
    assert_int_equal(needed, 0);
    assert_int_equal(lethe_tree_listxattr(tree, ino, NULL, 0, &needed), 0);
    assert_int_equal(needed, 14);
    assert_int_equal(lethe_tree_listxattr(tree, ino, list, sizeof(list), &needed), 0);
    assert_memory_equal(list, "user.a\0user.b", 14);
    assert_int_equal(lethe_tree_listxattr(tree, ino, list, 13, &needed), -ERANGE);
    assert_int_equal(lethe_tree_removexattr(tree, ino, "user.b"), 0);
    assert_int_equal(lethe_tree_removexattr(tree, ino, "user.b"), -ENODATA);
    assert_int_equal(lethe_tree_unlink(tree, 1, "a"), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM xattr"), 0);
}

struct walk {
    size_t count, limit;
    uint64_t last;
    char names[64][8];
};

static bool walk_one(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    struct walk *walk = context;

    (void)attr;
    if (walk->count == walk->limit) {
        return false;
    }
    assert_true(entry->cookie > walk->last);
    walk->last = entry->cookie;
    snprintf(walk->names[walk->count++], sizeof(walk->names[0]), "%s", entry->name);
    return true;
}

static void listing_survives_change(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    struct walk walk = {.limit = 12};
    char name[16], other[16];

    (void)unused;
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "f%02d", i);
        fixture_make(&fixture, 1, name);
    }
    assert_int_equal(lethe_tree_readdir(tree, 1, 0, false, walk_one, &walk), 0);
    assert_int_equal(walk.count, 12);
    assert_string_equal(walk.names[11], "f09");
    /* What was listed is renamed and removed, what was not is removed in part. */
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "f%02d", i);
        snprintf(other, sizeof(other), "g%02d", i);
        assert_int_equal(
            i % 2 ? lethe_tree_unlink(tree, 1, name) : lethe_tree_rename(tree, 1, name, 1, other, 0), 0);
    }
    assert_int_equal(lethe_tree_unlink(tree, 1, "f10"), 0);
    walk.limit = 64;
    assert_int_equal(lethe_tree_readdir(tree, 1, walk.last, true, walk_one, &walk), 0);
    assert_int_equal(walk.count, 12 + 9);
    assert_string_equal(walk.names[12], "f11");
    assert_string_equal(walk.names[20], "f19");
}

static void unlinked_files_live_until_their_close(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    uint64_t ino = fixture_make(&fixture, 1, "a");
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR);
    struct stat attr;
    char text[8];
    size_t got;

    (void)unused;
    assert_int_equal(lethe_tree_write(file, 0, "hello", 5, false), 0);
    assert_int_equal(lethe_tree_unlink(tree, 1, "a"), 0);
    assert_int_equal(lethe_tree_write(file, 5, "you", 3, false), 0);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    assert_int_equal(lethe_tree_read(file, 0, text, 8, &got), 0);
    assert_int_equal(got, 8);
    assert_memory_equal(text, "helloyou", 8);
    assert_int_equal(row_size(ino), 0); /* it never reaches the vault */
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), 0);
    assert_int_equal(attr.st_nlink, 0);
    assert_int_equal(lethe_tree_link(tree, ino, 1, "b", &attr), -ENOENT);
    lethe_tree_release_file(file);
    lethe_tree_forget(tree, ino, 1);
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), -ESTALE);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode"), 1);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM working"), 0);
}

/* The kernel's setattr may come before the bytes that it belongs to. */
static void written_back_pages_keep_the_kernels_times(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    uint64_t ino = fixture_make(&fixture, 1, "times");
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR);
    struct stat want = {.st_mtim = {.tv_sec = 1000, .tv_nsec = 5}, .st_ctim = {.tv_sec = 2000, .tv_nsec = 6}};
    struct stat attr;

    (void)unused;
    assert_int_equal(lethe_tree_write_back(file, 0, "one", 3, false), 0);
    assert_int_equal(lethe_tree_setattr(tree, ino, LETHE_SET_MTIME | LETHE_SET_CTIME, &want, &attr), 0);
    assert_int_equal(lethe_tree_write_back(file, 3, "two", 3, false), 0);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), 0);
    assert_int_equal(attr.st_size, 6);
    assert_int_equal(attr.st_mtim.tv_sec, 1000);
    assert_int_equal(attr.st_mtim.tv_nsec, 5);
    assert_int_equal(attr.st_ctim.tv_sec, 2000);
    assert_int_equal(lethe_tree_write(file, 0, "three", 5, false), 0);
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), 0);
    assert_true(attr.st_mtim.tv_sec > 2000);
    lethe_tree_release_file(file);
    lethe_tree_forget(tree, ino, 1);
}

static void orphans_go_at_the_next_open(void **unused)
{
    uint64_t ino = fixture_make(&fixture, 1, "a");
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR);

    (void)unused;
    assert_int_equal(lethe_tree_write(file, 0, "hello", 5, false), 0);
    fixture_cut(&fixture, true);
    assert_int_equal(lethe_tree_unlink(fixture.tree, 1, "a"), 0);
    fixture_stop(&fixture); /* with the file open */
    fixture_start(&fixture);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode"), 1);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM working"), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM local WHERE state = 0"), 0);
}

static void live_and_published_views_differ(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    uint64_t ino = fixture_make(&fixture, 1, "a");
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR);
    struct stat attr;

    (void)unused;
    assert_int_equal(lethe_tree_write(file, 0, "hello", 5, false), 0);
    assert_int_equal(lethe_tree_fsync(file), 0);
    assert_int_equal(row_size(ino), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT size FROM working"), 5);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(row_size(ino), 5);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM working"), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM local WHERE state = 1"), 1);
    /* A write after the cut goes to a clone. */
    assert_int_equal(lethe_tree_write(file, 5, "you", 3, false), 0);
    assert_int_equal(lethe_tree_fsync(file), 0);
    assert_int_equal(row_size(ino), 5);
    lethe_tree_release_file(file);
    fixture_stop(&fixture);
    fixture_start(&fixture);
    tree = fixture.tree;
    assert_int_equal(lethe_tree_getattr(tree, ino, &attr), 0);
    assert_int_equal(attr.st_size, 8);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(row_size(ino), 8);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM dead"), 1);
    /* The published one stays until the next cut shows that it is empty. */
    file = fixture_open(&fixture, ino, O_WRONLY | O_TRUNC);
    lethe_tree_release_file(file);
    assert_int_equal(row_size(ino), 8);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(row_size(ino), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT content IS NULL FROM inode WHERE ino > 1"), 1);
}

static int64_t test_time;

static int64_t test_clock(void)
{
    return test_time;
}

/* An open picture that was begun now. */
static struct lethe_file *begin_picture(uint64_t *ino)
{
    struct lethe_file *file;

    *ino = fixture_make(&fixture, 1, "p");
    file = fixture_open(&fixture, *ino, O_RDWR);
    assert_int_equal(lethe_tree_write(file, 0, jpeg, sizeof(jpeg), false), 0);
    assert_int_equal(fixture_cut(&fixture, false), 1);
    assert_int_equal(row_size(*ino), 0);
    return file;
}

static void end_picture(struct lethe_file *file, uint64_t ino)
{
    assert_int_equal(row_size(ino), sizeof(jpeg));
    lethe_tree_release_file(file);
    assert_int_equal(lethe_tree_unlink(fixture.tree, 1, "p"), 0);
}

static void open_pictures_wait(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    struct lethe_file *file;
    struct stat attr;
    uint64_t ino;

    (void)unused;
    tree->monotonic = test_clock;
    file = begin_picture(&ino);
    test_time += LETHE_TREE_DEFER_NS - 1;
    assert_int_equal(fixture_cut(&fixture, false), 1);
    test_time += 1;
    assert_int_equal(fixture_cut(&fixture, false), 0);
    end_picture(file, ino);

    file = begin_picture(&ino);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    end_picture(file, ino);

    file = begin_picture(&ino);
    assert_int_equal(lethe_tree_fsync(file), 0);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    end_picture(file, ino);

    file = begin_picture(&ino);
    assert_int_equal(lethe_tree_rename(tree, 1, "p", 1, "q", 0), 0);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(lethe_tree_rename(tree, 1, "q", 1, "p", 0), 0);
    end_picture(file, ino);

    file = begin_picture(&ino);
    assert_int_equal(lethe_tree_link(tree, ino, 1, "q", &attr), 0);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(lethe_tree_unlink(tree, 1, "q"), 0);
    end_picture(file, ino);

    /* A second time: what the first cut took does not settle the next writing. */
    file = begin_picture(&ino);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    assert_int_equal(lethe_tree_write(file, 0, jpeg, sizeof(jpeg), false), 0);
    assert_int_equal(fixture_cut(&fixture, false), 1);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    end_picture(file, ino);

    /* Closed, it goes at once. */
    file = begin_picture(&ino);
    lethe_tree_release_file(file);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(row_size(ino), sizeof(jpeg));
}

/* What O_TMPFILE makes: kept while it is open, or from its first link on; also by who finds the device afterwards. */
static void nameless_files_may_be_named(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    struct lethe_file *file, *other;
    struct stat attr, linked;
    uint8_t back[8];
    size_t got;

    (void)unused;
    assert_int_equal(lethe_tree_tmpfile(tree, 1, 0600, O_RDWR, &fixture_owner, &attr, &file), 0);
    assert_int_equal(lethe_tree_tmpfile(tree, 1, 0600, O_RDWR, &fixture_owner, &linked, &other), 0);
    assert_int_equal(attr.st_nlink, 0);
    assert_int_equal(lethe_tree_write(file, 0, "one", 3, false), 0);
    assert_int_equal(lethe_tree_write(other, 0, "two", 3, false), 0);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    assert_int_equal(row_size(attr.st_ino), 0); /* without a name nothing reaches the vault */
    assert_int_equal(lethe_tree_link(tree, attr.st_ino, 1, "named", &linked), 0);
    assert_int_equal(linked.st_nlink, 1);
    lethe_tree_release_file(other);
    lethe_tree_release_file(file);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode"), 2);

    assert_int_equal(lethe_tree_tmpfile(tree, 1, 0600, O_RDWR, &fixture_owner, &linked, &other), 0);
    assert_int_equal(lethe_tree_link(tree, linked.st_ino, 1, "second", &linked), 0);
    assert_int_equal(lethe_tree_write(other, 0, "three", 5, false), 0);
    assert_int_equal(lethe_tree_tmpfile(tree, 1, 0600, O_RDWR, &fixture_owner, &linked, &other), 0);
    assert_int_equal(lethe_tree_write(other, 0, "four", 4, false), 0);
    fixture_stop(&fixture); /* with two files open, one of them nameless */
    fixture_start(&fixture);
    tree = fixture.tree;
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode"), 3);
    assert_int_equal(lethe_tree_lookup(tree, 1, "second", &linked), 0);
    assert_int_equal(linked.st_size, 5);
    file = fixture_open(&fixture, attr.st_ino, O_RDONLY);
    assert_int_equal(lethe_tree_read(file, 0, back, sizeof(back), &got), 0);
    assert_int_equal(got, 3);
    assert_memory_equal(back, "one", 3);
    lethe_tree_release_file(file);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    assert_int_equal(row_size(attr.st_ino), 3);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM working"), 0);
}

/* overlayfs leaves such a thing behind. */
static void whiteouts_take_the_old_name(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    uint64_t ino = fixture_make(&fixture, 1, "a");
    struct stat attr;

    (void)unused;
    assert_int_equal(lethe_tree_rename_whiteout(tree, 1, "a", 1, "b", 0, &fixture_owner), 0);
    assert_int_equal(lethe_tree_lookup(tree, 1, "b", &attr), 0);
    assert_int_equal(attr.st_ino, ino);
    assert_int_equal(lethe_tree_lookup(tree, 1, "a", &attr), 0);
    assert_int_equal(attr.st_mode, S_IFCHR);
    assert_int_equal(attr.st_rdev, 0);
    assert_int_equal(attr.st_uid, 1000);
    assert_int_equal(lethe_tree_rename_whiteout(tree, 1, "b", 1, "a", RENAME_NOREPLACE, &fixture_owner), -EEXIST);
    assert_int_equal(lethe_tree_rename_whiteout(tree, 1, "b", 1, "a", RENAME_EXCHANGE, &fixture_owner), -EINVAL);
    assert_int_equal(lethe_tree_rename_whiteout(tree, 1, "b", 1, "a", 0, &fixture_owner), 0);
    fixture_stop(&fixture);
    fixture_start(&fixture);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode"), 3);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM dentry"), 2);
}

/* A file whose bytes are in the vault alone. */
static uint64_t make_absent(const uint8_t *bytes, size_t len)
{
    char command[160];
    uint64_t ino = fixture_make(&fixture, 1, "v");
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR);

    assert_int_equal(lethe_tree_write(file, 0, bytes, len, false), 0);
    lethe_tree_release_file(file);
    assert_int_equal(fixture_cut(&fixture, false), 0);
    fixture_publish(&fixture);
    fixture_stop(&fixture);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture.cache);
    assert_int_equal(system(command), 0);
    fixture_start(&fixture);
    return ino;
}

static void absent_bytes_are_brought(void **unused)
{
    static uint8_t bytes[100000], back[100000];
    struct lethe_file *file;
    struct stat attr, want = {.st_size = 50001};
    uint64_t ino;
    size_t got;

    (void)unused;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 31 ^ i >> 8);
    }
    ino = make_absent(bytes, sizeof(bytes));
    file = fixture_open(&fixture, ino, O_RDWR);
    fixture.away = true;
    assert_int_equal(lethe_tree_read(file, 10, back, 100, &got), -EIO);
    assert_int_equal(lethe_tree_write(file, 10, "x", 1, false), -EIO);
    fixture.hydrations = 0;
    fixture.away = false;
    assert_int_equal(lethe_tree_write(file, 10, "x", 1, false), 0);
    bytes[10] = 'x';
    assert_true(fixture.hydrations > 0);
    assert_int_equal(lethe_tree_setattr(fixture.tree, ino, LETHE_SET_SIZE, &want, &attr), 0);
    assert_int_equal(attr.st_size, 50001);
    assert_int_equal(lethe_tree_read(file, 0, back, sizeof(back), &got), 0);
    assert_int_equal(got, 50001);
    assert_memory_equal(back, bytes, got);
    lethe_tree_release_file(file);
}

/* Other bytes take the place of the file's, and nothing needs the old ones any more: device and vault drop them. */
static void overtake(const struct lethe_id *content)
{
    struct lethe_file *file = fixture_open(&fixture, fixture_number(&fixture, "SELECT max(ino) FROM inode"),
                                           O_RDWR | O_TRUNC);

    assert_int_equal(lethe_tree_write(file, 0, "new", 3, false), 0);
    lethe_tree_release_file(file);
    assert_int_equal(fixture_cut(&fixture, true), 0);
    lethe_gate_enter(fixture.committer);
    assert_int_equal(lethe_contents_drop(fixture.contents, content), LETHE_OK);
    lethe_gate_leave(fixture.committer, true);
}

static void overtaken_reads_find_the_new_bytes(void **unused)
{
    static const uint8_t bytes[40000] = {1};
    struct lethe_file *file;
    uint8_t back[8];
    size_t got;

    (void)unused;
    file = fixture_open(&fixture, make_absent(bytes, sizeof(bytes)), O_RDONLY);
    fixture.meanwhile = overtake;
    assert_int_equal(lethe_tree_read(file, 0, back, sizeof(back), &got), 0);
    assert_int_equal(got, 3);
    assert_memory_equal(back, "new", 3);
    lethe_tree_release_file(file);
}

static void truncation_to_nothing_brings_no_bytes(void **unused)
{
    static const uint8_t bytes[40000] = {1};
    struct stat attr, want = {0};
    uint64_t ino = make_absent(bytes, sizeof(bytes));

    (void)unused;
    fixture.hydrations = 0;
    assert_int_equal(lethe_tree_setattr(fixture.tree, ino, LETHE_SET_SIZE, &want, &attr), 0);
    assert_int_equal(attr.st_size, 0);
    assert_int_equal(fixture.hydrations, 0);
}

static void holes_are_seen(void **unused)
{
    uint64_t ino = fixture_make(&fixture, 1, "a"), at, done;
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDWR), *copy;
    struct stat attr;
    char text[4];
    size_t got;

    (void)unused;
    assert_int_equal(lethe_tree_write(file, 1 << 20, "data", 4, false), 0);
    assert_int_equal(lethe_tree_getattr(fixture.tree, ino, &attr), 0);
    assert_int_equal(attr.st_size, (1 << 20) + 4);
    assert_true(attr.st_blocks < 100);
    assert_int_equal(lethe_tree_seek(file, 0, SEEK_DATA, &at), 0);
    assert_int_equal(at, 1 << 20);
    assert_int_equal(lethe_tree_seek(file, 0, SEEK_HOLE, &at), 0);
    assert_int_equal(at, 0);
    assert_int_equal(lethe_tree_seek(file, 1 << 20, SEEK_HOLE, &at), 0);
    assert_int_equal(at, (1 << 20) + 4);
    assert_int_equal(lethe_tree_seek(file, (1 << 20) + 4, SEEK_DATA, &at), -ENXIO);
    assert_int_equal(lethe_tree_fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(lethe_tree_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 1 << 20),
                     0);
    assert_int_equal(lethe_tree_read(file, 1 << 20, text, 4, &got), 0);
    assert_int_equal(got, 4);
    assert_memory_equal(text, "\0\0\0\0", 4);
    assert_int_equal(lethe_tree_fallocate(file, 0, 0, 3 << 20), 0);
    assert_int_equal(lethe_tree_getattr(fixture.tree, ino, &attr), 0);
    assert_int_equal(attr.st_size, 3 << 20);
    /* A whole copy shares the blocks. */
    assert_int_equal(lethe_tree_write(file, 5, "data", 4, false), 0);
    copy = fixture_open(&fixture, fixture_make(&fixture, 1, "b"), O_RDWR);
    assert_int_equal(lethe_tree_copy(file, 0, copy, 0, UINT64_MAX, &done), 0);
    assert_int_equal(done, 3 << 20);
    assert_int_equal(lethe_tree_write(file, 5, "atad", 4, false), 0);
    assert_int_equal(lethe_tree_read(copy, 5, text, 4, &got), 0);
    assert_memory_equal(text, "data", 4);
    assert_int_equal(lethe_tree_copy(file, 0, file, 10, 100, &done), -EINVAL);
    assert_int_equal(lethe_tree_copy(file, 0, file, 1 << 20, 100, &done), 0);
    assert_int_equal(lethe_tree_read(file, (1 << 20) + 5, text, 4, &got), 0);
    assert_memory_equal(text, "atad", 4);
    lethe_tree_release_file(file);
    lethe_tree_release_file(copy);
}

static void numbers_are_never_used_twice(void **unused)
{
    uint64_t first = fixture_make(&fixture, 1, "a"), second;

    (void)unused;
    assert_int_equal(lethe_tree_unlink(fixture.tree, 1, "a"), 0);
    fixture_stop(&fixture);
    fixture_start(&fixture);
    second = fixture_make(&fixture, 1, "a");
    assert_true(second > first);
}

static void small_cache_loses_nothing(void **unused)
{
    char name[16];
    struct stat attr;

    (void)unused;
    fixture.tree->lru_max = 2;
    for (int i = 0; i < 50; i++) {
        struct lethe_file *file;

        snprintf(name, sizeof(name), "f%d", i);
        file = fixture_open(&fixture, fixture_make(&fixture, 1, name), O_WRONLY);
        assert_int_equal(lethe_tree_write(file, 0, name, strlen(name), false), 0);
        lethe_tree_release_file(file);
        if (i % 7 == 0) {
            assert_int_equal(lethe_commit_wait(fixture.committer), LETHE_OK);
        }
    }
    assert_int_equal(lethe_commit_wait(fixture.committer), LETHE_OK);
    assert_true(fixture.tree->hash_count <= 3);
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(lethe_tree_lookup(fixture.tree, 1, name, &attr), 0);
        assert_int_equal(attr.st_size, strlen(name));
    }
    assert_int_equal(fixture_cut(&fixture, false), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode WHERE size > 0"), 50);
}

static void numbers_are_handles(void **unused)
{
    struct lethe_tree *tree = fixture.tree;
    struct stat attr, dir;
    uint64_t file;

    (void)unused;
    assert_int_equal(lethe_tree_mkdir(tree, 1, "d", 0755, &fixture_owner, &dir), 0);
    file = fixture_make(&fixture, dir.st_ino, "a");
    assert_int_equal(lethe_tree_lookup_number(tree, file, false, &attr), 0);
    assert_int_equal(attr.st_ino, file);
    assert_int_equal(lethe_tree_lookup_number(tree, file, true, &attr), -ENOTDIR);
    assert_int_equal(lethe_tree_lookup_number(tree, dir.st_ino, true, &attr), 0);
    assert_int_equal(attr.st_ino, 1);
    assert_int_equal(lethe_tree_unlink(tree, dir.st_ino, "a"), 0);
    assert_int_equal(lethe_tree_lookup_number(tree, file, false, &attr), -ESTALE);
    assert_int_equal(lethe_tree_lookup_number(tree, 1u << 30, false, &attr), -ESTALE);
}

static void access_times_as_mounted(void **unused)
{
    struct stat attr, later = {.st_atim = {.tv_sec = 4102444800}}, earlier = {.st_atim = {.tv_sec = 1}};
    struct lethe_file *file = fixture_open(&fixture, fixture_make(&fixture, 1, "a"), O_RDONLY);
    struct lethe_inode *root = lethe_inode_ref(fixture.tree, 1);

    (void)unused;
    assert_int_equal(lethe_tree_setattr(fixture.tree, file->inode->ino, LETHE_SET_ATIME, &later, &attr), 0);
    assert_false(lethe_tree_accessed(file));
    fixture.tree->options.strict_atime = true;
    assert_true(lethe_tree_accessed(file));
    fixture.tree->options.no_dir_atime = true;
    assert_int_equal(lethe_tree_setattr(fixture.tree, 1, LETHE_SET_ATIME, &earlier, &attr), 0);
    assert_false(lethe_attr_accessed(fixture.tree, root));
    fixture.tree->options.no_dir_atime = fixture.tree->options.strict_atime = false;
    assert_true(lethe_attr_accessed(fixture.tree, root));
    lethe_inode_put(fixture.tree, root);
    lethe_tree_release_file(file);
}

/* umount looks at the root before it takes a mount away, whatever became of the database. */
static void root_stays_known(void **unused)
{
    struct stat attr;

    (void)unused;
    fixture_make(&fixture, 1, "a");
    assert_int_equal(lethe_commit_wait(fixture.committer), LETHE_OK);
    fixture.tree->lru_max = 0;
    assert_int_equal(lethe_tree_lookup(fixture.tree, 1, "a", &attr), 0); /* may let go of whom nobody holds */
    lethe_db_lock(fixture.db);
    assert_int_equal(sqlite3_exec(lethe_db_handle(fixture.db), "DROP TABLE inode", NULL, NULL, NULL), SQLITE_OK);
    lethe_db_unlock(fixture.db);
    assert_true(lethe_tree_lookup(fixture.tree, 1, "a", &attr) < 0);
    assert_int_equal(lethe_tree_getattr(fixture.tree, 1, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFDIR | 0755);
}

/* tag, permissions, id; ends with a tag of 0 */
static size_t make_list(const uint32_t (*entries)[3], uint8_t *out)
{
    size_t at = 4;

    lethe_set_u32(out, 2);
    for (; (*entries)[0]; entries++, at += 8) {
        lethe_set_u16(out + at, (uint16_t)(*entries)[0]);
        lethe_set_u16(out + at + 2, (uint16_t)(*entries)[1]);
        lethe_set_u32(out + at + 4, (*entries)[2]);
    }
    return at;
}

static void lists_go_with_the_mode(void **unused)
{
    static const uint32_t extended[][3] = {{1, 6, UINT32_MAX},  {2, 7, 1001},      {4, 4, UINT32_MAX},
                                           {16, 5, UINT32_MAX}, {32, 0, UINT32_MAX}, {0}};
    static const uint32_t minimal[][3] = {{1, 7, UINT32_MAX}, {4, 1, UINT32_MAX}, {32, 2, UINT32_MAX}, {0}};
    struct lethe_owner owner = {.uid = 1000, .gid = 100, .umask = 077};
    uint8_t list[64], back[64];
    size_t len = make_list(extended, list), needed;
    struct stat attr, want = {.st_mode = 0612};
    struct lethe_tree *tree = fixture.tree;
    uint64_t file = fixture_make(&fixture, 1, "a");

    (void)unused;
    assert_int_equal(lethe_tree_set_acl(tree, file, LETHE_ACL_ACCESS, list, len, false), 0);
    assert_int_equal(lethe_tree_getattr(tree, file, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFREG | 0650);
    assert_int_equal(lethe_tree_setattr(tree, file, LETHE_SET_MODE, &want, &attr), 0);
    assert_int_equal(lethe_tree_getxattr(tree, file, LETHE_ACL_ACCESS, back, sizeof(back), &needed), 0);
    assert_int_equal(needed, len);
    assert_int_equal(lethe_get_u16(back + 4 + 3 * 8 + 2), 1); /* the mask */
    assert_int_equal(lethe_get_u16(back + 4 + 2 * 8 + 2), 4); /* the owning group is as it was */
    assert_int_equal(lethe_get_u16(back + 4 + 4 * 8 + 2), 2);
    len = make_list(minimal, list);
    assert_int_equal(lethe_tree_set_acl(tree, file, LETHE_ACL_ACCESS, list, len, false), 0);
    assert_int_equal(lethe_tree_getxattr(tree, file, LETHE_ACL_ACCESS, back, sizeof(back), &needed), -ENODATA);
    assert_int_equal(lethe_tree_getattr(tree, file, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFREG | 0712);
    assert_int_equal(lethe_tree_removexattr(tree, file, LETHE_ACL_ACCESS), 0);
    assert_int_equal(lethe_tree_set_acl(tree, file, LETHE_ACL_DEFAULT, list, len, false), -EACCES);
    assert_int_equal(lethe_tree_set_acl(tree, file, LETHE_ACL_ACCESS, list, len - 1, false), -EINVAL);
    assert_int_equal(lethe_tree_setxattr(tree, file, LETHE_ACL_ACCESS, list, len, 0), -EINVAL);

    assert_int_equal(lethe_tree_mkdir(tree, 1, "masked", 0777, &owner, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFDIR | 0700);
    len = make_list(extended, list);
    assert_int_equal(lethe_tree_set_acl(tree, 1, LETHE_ACL_DEFAULT, list, len, false), 0);
    assert_int_equal(lethe_tree_mkdir(tree, 1, "heir", 0770, &owner, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFDIR | 0650); /* the umask has no say */
    assert_int_equal(lethe_tree_getxattr(tree, attr.st_ino, LETHE_ACL_DEFAULT, back, sizeof(back), &needed), 0);
    assert_memory_equal(back, list, len);
    assert_int_equal(lethe_tree_mknod(tree, attr.st_ino, "file", S_IFREG | 0666, 0, &owner, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFREG | 0640);
    assert_int_equal(lethe_tree_getxattr(tree, attr.st_ino, LETHE_ACL_ACCESS, back, sizeof(back), &needed), 0);
    assert_int_equal(lethe_get_u16(back + 4 + 3 * 8 + 2), 4);
    assert_int_equal(lethe_tree_symlink(tree, "x", 1, "link", &owner, &attr), 0);
    assert_int_equal(attr.st_mode, S_IFLNK | 0777);
    assert_int_equal(lethe_tree_set_acl(tree, attr.st_ino, LETHE_ACL_ACCESS, list, len, false), -EOPNOTSUPP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(root_is_made_once, setup, teardown),
        cmocka_unit_test_setup_teardown(names_follow_posix, setup, teardown),
        cmocka_unit_test_setup_teardown(set_group_id_is_inherited, setup, teardown),
        cmocka_unit_test_setup_teardown(set_id_bits_go, setup, teardown),
        cmocka_unit_test_setup_teardown(times_keep_nanoseconds_and_centuries, setup, teardown),
        cmocka_unit_test_setup_teardown(xattrs_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_go_with_the_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(listing_survives_change, setup, teardown),
        cmocka_unit_test_setup_teardown(unlinked_files_live_until_their_close, setup, teardown),
        cmocka_unit_test_setup_teardown(written_back_pages_keep_the_kernels_times, setup, teardown),
        cmocka_unit_test_setup_teardown(orphans_go_at_the_next_open, setup, teardown),
        cmocka_unit_test_setup_teardown(live_and_published_views_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(open_pictures_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(nameless_files_may_be_named, setup, teardown),
        cmocka_unit_test_setup_teardown(whiteouts_take_the_old_name, setup, teardown),
        cmocka_unit_test_setup_teardown(absent_bytes_are_brought, setup, teardown),
        cmocka_unit_test_setup_teardown(overtaken_reads_find_the_new_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_to_nothing_brings_no_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(holes_are_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_are_never_used_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(small_cache_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_are_handles, setup, teardown),
        cmocka_unit_test_setup_teardown(access_times_as_mounted, setup, teardown),
        cmocka_unit_test_setup_teardown(root_stays_known, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
