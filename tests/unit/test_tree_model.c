/* SPDX-License-Identifier: MIT */
/*
 * Random operations on the tree and on a simple model beside it: the same answers, the same tree; across
 * commits, cuts, clean restarts and kills. After a kill the tree must be what the model was after some
 * operation between the last one known to be durable and the last one done. LETHE_SEED and LETHE_OPERATIONS
 * replace the seed and the length.
 */
#include "tree_fixture.h"

#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lethe/bytes.h"

#define NODES 96
#define NAMES 9
#define HANDLES 6
#define SIZE_MAX_TEST 150000u
#define KILL_OPERATIONS 900

struct node {
    bool used;
    mode_t mode;
    unsigned nlink, opens;
    uint64_t ino;
    uint8_t *data;
    size_t size;
    int parent;       /* of a directory */
    int entry[NAMES]; /* of a directory: node or -1 */
};

static struct fixture fixture;
static struct node nodes[NODES];
static struct {
    struct lethe_file *file;
    int node;
} handles[HANDLES];
static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 20) % below);
}

static const char *name_of(int index)
{
    static const char *const names[NAMES] = {
        "a", "b", "c", "d", "e", "f", "g\n", "\xff\xfe", "a longer name"};

    return names[index];
}

static int node_new(mode_t mode)
{
    for (int i = 1; i < NODES; i++) {
        if (!nodes[i].used) {
            nodes[i] = (struct node){.used = true, .mode = mode, .nlink = S_ISDIR(mode) ? 2 : 1};
            for (int k = 0; k < NAMES; k++) {
                nodes[i].entry[k] = -1;
            }
            return i;
        }
    }
    return -1;
}

static void node_check(int index)
{
    if (nodes[index].nlink == 0 && nodes[index].opens == 0) {
        free(nodes[index].data);
        nodes[index] = (struct node){0};
    }
}

static void model_reset(void)
{
    memset(handles, 0, sizeof(handles));
    for (int i = 0; i < NODES; i++) {
        free(nodes[i].data);
        nodes[i] = (struct node){0};
    }
    nodes[0] = (struct node){.used = true, .mode = S_IFDIR | 0755, .nlink = 2, .ino = 1};
    for (int k = 0; k < NAMES; k++) {
        nodes[0].entry[k] = -1;
    }
}

static bool is_empty(int index)
{
    for (int k = 0; k < NAMES; k++) {
        if (nodes[index].entry[k] >= 0) {
            return false;
        }
    }
    return true;
}

static bool is_below(int index, int ancestor)
{
    while (index != ancestor && index != 0) {
        index = nodes[index].parent;
    }
    return index == ancestor;
}

static int some_node(bool directory)
{
    for (;;) {
        int i = (int)draw(NODES);

        if (nodes[i].used && nodes[i].nlink > 0 && (bool)S_ISDIR(nodes[i].mode) == directory) {
            return i;
        }
        if (!directory && draw(NODES) == 0) {
            return -1;
        }
    }
}

/* --- dumps: one line for each path, of the model and of the tree --- */

static void dump_line(struct lethe_buf *out, int depth, const char *name, mode_t mode, unsigned nlink,
                      size_t size)
{
    char line[128];

    snprintf(line, sizeof(line), "%*s%s %o %u %zu ", depth, "", name, (unsigned)mode, nlink, size);
    lethe_buf_put(out, line, strlen(line));
}

static uint64_t digest(const uint8_t *bytes, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    }
    return hash;
}

static void dump_model(int index, int depth, struct lethe_buf *out)
{
    for (int k = 0; k < NAMES; k++) {
        const struct node *node = nodes[index].entry[k] < 0 ? NULL : &nodes[nodes[index].entry[k]];

        if (!node) {
            continue;
        }
        dump_line(out, depth, name_of(k), node->mode, node->nlink, S_ISDIR(node->mode) ? 0 : node->size);
        lethe_buf_put_u64(out, S_ISREG(node->mode) ? digest(node->data, node->size) : 0);
        if (S_ISDIR(node->mode)) {
            dump_model(nodes[index].entry[k], depth + 1, out);
        }
    }
}

static uint64_t digest_file(uint64_t ino, size_t size)
{
    static uint8_t bytes[SIZE_MAX_TEST + 1];
    struct lethe_file *file = fixture_open(&fixture, ino, O_RDONLY);
    size_t got;

    assert_int_equal(lethe_tree_read(file, 0, bytes, sizeof(bytes), &got), 0);
    assert_int_equal(got, size);
    lethe_tree_release_file(file);
    return digest(bytes, got);
}

struct counter {
    unsigned entries;
};

static bool count_entry(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    struct counter *counter = context;
    struct stat again;

    if (entry->cookie > 2) {
        counter->entries++;
        assert_int_equal(lethe_tree_getattr(fixture.tree, entry->ino, &again), 0);
        assert_int_equal(attr->st_size, again.st_size);
        assert_int_equal(attr->st_mode, again.st_mode);
        assert_int_equal(attr->st_nlink, again.st_nlink);
        assert_memory_equal(&attr->st_mtim, &again.st_mtim, sizeof(again.st_mtim));
        assert_memory_equal(&attr->st_ctim, &again.st_ctim, sizeof(again.st_ctim));
    }
    return true;
}

static void dump_tree(uint64_t ino, int depth, struct lethe_buf *out)
{
    struct counter counter = {0};
    unsigned found = 0;

    for (int k = 0; k < NAMES; k++) {
        struct stat attr;
        int error = lethe_tree_lookup(fixture.tree, ino, name_of(k), &attr);

        if (error) {
            assert_int_equal(error, -ENOENT);
            continue;
        }
        found++;
        dump_line(out, depth, name_of(k), attr.st_mode, (unsigned)attr.st_nlink,
                  S_ISDIR(attr.st_mode) ? 0 : (size_t)attr.st_size);
        lethe_buf_put_u64(out, S_ISREG(attr.st_mode) ? digest_file(attr.st_ino, (size_t)attr.st_size) : 0);
        if (S_ISDIR(attr.st_mode)) {
            dump_tree(attr.st_ino, depth + 1, out);
        }
    }
    assert_int_equal(lethe_tree_readdir(fixture.tree, ino, 0, true, count_entry, &counter), 0);
    assert_int_equal(counter.entries, found);
}

static void compare(void)
{
    struct lethe_buf model = {0}, tree = {0};

    dump_model(0, 0, &model);
    dump_tree(1, 0, &tree);
    assert_int_equal(model.len, tree.len);
    if (model.len > 0) {
        assert_memory_equal(model.data, tree.data, model.len);
    }
    for (int h = 0; h < HANDLES; h++) {
        static uint8_t bytes[SIZE_MAX_TEST + 1];
        const struct node *node = &nodes[handles[h].node];
        size_t got;

        if (handles[h].file) {
            assert_int_equal(lethe_tree_read(handles[h].file, 0, bytes, sizeof(bytes), &got), 0);
            assert_int_equal(got, node->size);
            assert_true(got == 0 || memcmp(bytes, node->data, got) == 0);
        }
    }
    lethe_buf_release(&model);
    lethe_buf_release(&tree);
}

/* --- operations --- */

static void op_make(void)
{
    int parent = some_node(true), k = (int)draw(NAMES), expect = nodes[parent].entry[k] >= 0 ? -EEXIST : 0,
        fresh;
    mode_t kinds[] = {S_IFREG | 0644, S_IFREG | 0600, S_IFDIR | 0755, S_IFIFO | 0600, S_IFLNK | 0777};
    mode_t mode = kinds[draw(5)];
    struct stat attr;
    int error;

    fresh = expect ? -1 : node_new(mode);
    if (!expect && fresh < 0) {
        return;
    }
    if (S_ISDIR(mode)) {
        error = lethe_tree_mkdir(fixture.tree, nodes[parent].ino, name_of(k), mode, &fixture_owner, &attr);
    } else if (S_ISLNK(mode)) {
        error =
            lethe_tree_symlink(fixture.tree, "target", nodes[parent].ino, name_of(k), &fixture_owner, &attr);
    } else {
        error = lethe_tree_mknod(fixture.tree, nodes[parent].ino, name_of(k), mode, 0, &fixture_owner, &attr);
    }
    assert_int_equal(error, expect);
    if (!error) {
        nodes[fresh].ino = attr.st_ino;
        nodes[fresh].parent = parent;
        nodes[fresh].size = S_ISLNK(mode) ? 6 : 0;
        nodes[parent].entry[k] = fresh;
        nodes[parent].nlink += S_ISDIR(mode) ? 1 : 0;
    }
}

static void op_link(void)
{
    int parent = some_node(true), k = (int)draw(NAMES), node = some_node(false), error;
    struct stat attr;

    if (node < 0) {
        return;
    }
    error = lethe_tree_link(fixture.tree, nodes[node].ino, nodes[parent].ino, name_of(k), &attr);
    assert_int_equal(error, nodes[parent].entry[k] >= 0 ? -EEXIST : 0);
    if (!error) {
        nodes[node].nlink++;
        nodes[parent].entry[k] = node;
    }
}

static void lose(int node)
{
    nodes[node].nlink = S_ISDIR(nodes[node].mode) ? 0 : nodes[node].nlink - 1;
    if (nodes[node].nlink == 0 && nodes[node].opens == 0) {
        lethe_tree_forget(fixture.tree, nodes[node].ino, 1);
    }
    node_check(node);
}

static void op_remove(void)
{
    int parent = some_node(true), k = (int)draw(NAMES), node = nodes[parent].entry[k], expect, error;
    bool directory = draw(2) == 0;

    if (node < 0) {
        expect = -ENOENT;
    } else if (directory) {
        expect = !S_ISDIR(nodes[node].mode) ? -ENOTDIR : is_empty(node) ? 0 : -ENOTEMPTY;
    } else {
        expect = S_ISDIR(nodes[node].mode) ? -EISDIR : 0;
    }
    error = directory ? lethe_tree_rmdir(fixture.tree, nodes[parent].ino, name_of(k))
                      : lethe_tree_unlink(fixture.tree, nodes[parent].ino, name_of(k));
    assert_int_equal(error, expect);
    if (!error) {
        nodes[parent].entry[k] = -1;
        nodes[parent].nlink -= directory ? 1 : 0;
        lose(node);
    }
}

static int expect_rename(int from_parent, int from, int to_parent, int to, unsigned flags)
{
    bool exchange = flags == RENAME_EXCHANGE;

    if (from < 0) {
        return -ENOENT;
    }
    if (from_parent != to_parent && S_ISDIR(nodes[from].mode) && is_below(to_parent, from)) {
        return -EINVAL;
    }
    if (from_parent != to_parent && to >= 0 && S_ISDIR(nodes[to].mode) && is_below(from_parent, to)) {
        return exchange ? -EINVAL : -ENOTEMPTY;
    }
    if (exchange) {
        return to < 0 ? -ENOENT : 0;
    }
    if (flags == RENAME_NOREPLACE && to >= 0) {
        return -EEXIST;
    }
    if (to < 0 || from == to) {
        return 0;
    }
    if (S_ISDIR(nodes[from].mode) != S_ISDIR(nodes[to].mode)) {
        return S_ISDIR(nodes[to].mode) ? -EISDIR : -ENOTDIR;
    }
    return S_ISDIR(nodes[to].mode) && !is_empty(to) ? -ENOTEMPTY : 0;
}

static void move_directory(int node, int from, int to)
{
    if (S_ISDIR(nodes[node].mode)) {
        nodes[node].parent = to;
        nodes[from].nlink--;
        nodes[to].nlink++;
    }
}

static void op_rename(void)
{
    static const unsigned all_flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    int a = some_node(true), b = draw(2) ? a : some_node(true), i = (int)draw(NAMES), k = (int)draw(NAMES);
    int from = nodes[a].entry[i], to = nodes[b].entry[k], error;
    unsigned flags = all_flags[draw(5)];

    error = lethe_tree_rename(fixture.tree, nodes[a].ino, name_of(i), nodes[b].ino, name_of(k), flags);
    assert_int_equal(error, expect_rename(a, from, b, to, flags));
    if (error || from == to) {
        return;
    }
    move_directory(from, a, b);
    nodes[b].entry[k] = from;
    if (flags == RENAME_EXCHANGE) {
        nodes[a].entry[i] = to;
        move_directory(to, b, a);
        return;
    }
    nodes[a].entry[i] = -1;
    if (to >= 0) {
        nodes[b].nlink -= S_ISDIR(nodes[to].mode) ? 1 : 0;
        lose(to);
    }
}

static void op_open(void)
{
    int h = (int)draw(HANDLES), node = some_node(false);
    bool truncates = draw(4) == 0;

    if (handles[h].file) {
        node = handles[h].node;
        lethe_tree_release_file(handles[h].file);
        handles[h].file = NULL;
        nodes[node].opens--;
        if (nodes[node].nlink == 0 && nodes[node].opens == 0) {
            lethe_tree_forget(fixture.tree, nodes[node].ino, 1);
        }
        node_check(node);
    } else if (node >= 0 && S_ISREG(nodes[node].mode)) {
        handles[h].file = fixture_open(&fixture, nodes[node].ino, O_RDWR | (truncates ? O_TRUNC : 0));
        handles[h].node = node;
        nodes[node].opens++;
        nodes[node].size = truncates ? 0 : nodes[node].size;
    }
}

static void model_resize(struct node *node, size_t size)
{
    if (!node->data) {
        node->data = malloc(SIZE_MAX_TEST);
        assert_non_null(node->data);
    }
    if (size > node->size) {
        memset(node->data + node->size, 0, size - node->size);
    }
    node->size = size;
}

static int some_handle(void)
{
    int h = (int)draw(HANDLES);

    return handles[h].file ? h : -1;
}

static void op_write(void)
{
    static uint8_t bytes[SIZE_MAX_TEST];
    int h = some_handle();
    struct node *node = h < 0 ? NULL : &nodes[handles[h].node];
    uint32_t offset = draw(draw(2) ? SIZE_MAX_TEST : 20000), len;

    if (!node) {
        return;
    }
    len = 1 + draw(draw(3) ? 5000 : 70000);
    len = len < SIZE_MAX_TEST - offset ? len : SIZE_MAX_TEST - offset;
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)draw(256);
    }
    if (draw(4) == 0 && len >= 3) {
        memcpy(bytes, "\xff\xd8\xff", 3); /* perhaps a picture, to be deferred */
    }
    assert_int_equal(lethe_tree_write(handles[h].file, offset, bytes, len, false), 0);
    model_resize(node, offset + len > node->size ? offset + len : node->size);
    memcpy(node->data + offset, bytes, len);
}

static void op_truncate(void)
{
    int index = some_node(false);
    struct node *node = index < 0 ? NULL : &nodes[index];
    struct stat attr, want = {.st_size = (off_t)(draw(3) ? draw(SIZE_MAX_TEST) : 0)};

    if (!node || !S_ISREG(node->mode)) {
        return;
    }
    assert_int_equal(lethe_tree_setattr(fixture.tree, node->ino, LETHE_SET_SIZE, &want, &attr), 0);
    assert_int_equal(attr.st_size, want.st_size);
    model_resize(node, (size_t)want.st_size);
}

static void op_punch(void)
{
    int h = some_handle();
    struct node *node = h < 0 ? NULL : &nodes[handles[h].node];
    uint32_t offset = draw(SIZE_MAX_TEST), len = 1 + draw(50000);
    bool keep = draw(2) == 0;

    if (!node) {
        return;
    }
    len = len < SIZE_MAX_TEST - offset ? len : SIZE_MAX_TEST - offset;
    assert_int_equal(
        lethe_tree_fallocate(handles[h].file,
                             keep ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE, offset,
                             len),
        0);
    if (!keep && offset + len > node->size) {
        model_resize(node, offset + len);
    }
    if (offset < node->size) {
        memset(node->data + offset, 0, len < node->size - offset ? len : node->size - offset);
    }
}

static void op_copy(void)
{
    int a = some_handle(), b = some_handle();
    uint32_t grain = draw(2) ? LETHE_BLOCK_BYTES : 1;
    uint64_t from = draw(3) ? draw(SIZE_MAX_TEST / grain) * grain : 0,
             to = draw(3) ? draw(60000 / grain) * grain : 0;
    uint64_t len = 1 + draw(80000), done, expect;
    struct node *source, *target;
    int error;

    if (a < 0 || b < 0) {
        return;
    }
    source = &nodes[handles[a].node];
    target = &nodes[handles[b].node];
    len = len < SIZE_MAX_TEST - to ? len : SIZE_MAX_TEST - to;
    expect = from >= source->size ? 0 : len < source->size - from ? len : source->size - from;
    error = lethe_tree_copy(handles[a].file, from, handles[b].file, to, len, &done);
    if (source == target && expect > 0 && from < to + expect && to < from + expect) {
        assert_int_equal(error, -EINVAL);
        return;
    }
    assert_int_equal(error, 0);
    assert_true(done <= expect && (done > 0 || expect == 0)); /* short where bytes had to be brought */
    if (done > 0) {
        model_resize(target, to + done > target->size ? to + done : target->size);
        memmove(target->data + to, source->data + from, done);
    }
}

static void op_chmod(void)
{
    int index = some_node(draw(2) == 0);
    struct stat attr, want = {.st_mode = draw(01000)};

    if (index > 0) {
        assert_int_equal(lethe_tree_setattr(fixture.tree, nodes[index].ino, LETHE_SET_MODE, &want, &attr), 0);
        nodes[index].mode = (nodes[index].mode & S_IFMT) | want.st_mode;
    }
}

static void operate(void)
{
    static void (*const operations[])(void) = {op_make,     op_make,   op_make,   op_link,   op_remove,
                                               op_remove,   op_remove, op_rename, op_rename, op_open,
                                               op_open,     op_open,   op_write,  op_write,  op_write,
                                               op_truncate, op_punch,  op_copy,   op_chmod};

    operations[draw(sizeof(operations) / sizeof(operations[0]))]();
}

static void close_handles(void)
{
    for (int h = 0; h < HANDLES; h++) {
        if (handles[h].file) {
            lethe_tree_release_file(handles[h].file);
            nodes[handles[h].node].opens--;
            node_check(handles[h].node);
            handles[h].file = NULL;
        }
    }
}

/* After a forced cut the rows alone say everything. */
static void check_rows(void)
{
    struct lethe_tree_counts counts;

    lethe_tree_count(fixture.tree, &counts);
    assert_int_equal(counts.inodes, fixture_number(&fixture, "SELECT count(*) FROM inode"));
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM working w JOIN inode i ON i.ino = w.ino"
                                              " WHERE i.nlink > 0"),
                     0);
    assert_int_equal(fixture_number(&fixture,
                                    "SELECT count(*) FROM inode i LEFT JOIN local l ON l.content = i.content"
                                    " WHERE i.content IS NOT NULL AND (l.state IS NULL OR l.state = 0)"),
                     0);
}

/* The cache folder may vanish between two runs: everything in it is in the vault too. */
static void lose_cache(void)
{
    char command[160];

    snprintf(command, sizeof(command), "rm -rf '%s'", fixture.cache);
    assert_int_equal(system(command), 0);
}

static uint64_t seed_from_environment(void)
{
    const char *text = getenv("LETHE_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20240607;

    print_message("LETHE_SEED=%llu\n", (unsigned long long)seed);
    return seed * 0x9e3779b97f4a7c15ull | 1;
}

static void agrees_with_the_model(void **unused)
{
    const char *text = getenv("LETHE_OPERATIONS");
    unsigned operations = text ? (unsigned)strtoul(text, NULL, 0) : 6000;

    (void)unused;
    state = seed_from_environment();
    fixture_new(&fixture);
    fixture_start(&fixture);
    model_reset();
    nodes[0].mode = S_IFDIR | 0755;
    fixture.tree->lru_max = 8;
    for (unsigned i = 0; i < operations; i++) {
        operate();
        switch (draw(150)) {
        case 0:
            assert_int_equal(lethe_commit_wait(fixture.committer), LETHE_OK);
            break;
        case 1:
            fixture_cut(&fixture, false);
            break;
        case 2:
            assert_int_equal(fixture_cut(&fixture, true), 0);
            check_rows();
            break;
        case 3:
            fixture_publish(&fixture);
            break;
        case 4:
            compare();
            break;
        case 5:
            if (draw(4) == 0) {
                close_handles();
                fixture_stop(&fixture);
                if (draw(2)) {
                    lose_cache();
                }
                fixture_start(&fixture);
                fixture.tree->lru_max = 8;
                compare();
            }
            break;
        default:
            break;
        }
    }
    compare();
    close_handles();
    /* Everything that was made and removed is gone. */
    for (int i = 1; i < NODES; i++) {
        assert_true(!nodes[i].used || nodes[i].nlink > 0);
    }
    assert_int_equal(fixture_cut(&fixture, true), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM working"), 0);
    assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM local WHERE state = 0"), 0);
    model_reset();
    fixture_stop(&fixture);
    fixture_free(&fixture);
}

struct shared {
    volatile unsigned done, durable;
    volatile uint64_t dumps[KILL_OPERATIONS + 1];
};

static uint64_t dump_digest(bool tree)
{
    struct lethe_buf out = {0};
    uint64_t hash;

    if (tree) {
        dump_tree(1, 0, &out);
    } else {
        dump_model(0, 0, &out);
    }
    hash = digest(out.data, out.len);
    lethe_buf_release(&out);
    return hash;
}

/* In a process of its own: works until it kills itself. */
static void work_and_die(struct shared *shared, unsigned last)
{
    fixture_start(&fixture);
    model_reset();
    shared->dumps[0] = dump_digest(false);
    for (unsigned i = 1; i <= last; i++) {
        operate();
        shared->dumps[i] = dump_digest(false);
        shared->done = i;
        if (draw(60) == 0 && !lethe_commit_wait(fixture.committer)) {
            shared->durable = i;
        }
        if (draw(80) == 0) {
            fixture_cut(&fixture, draw(2) == 0);
            shared->durable = i;
        }
        if (draw(80) == 0) {
            fixture_publish(&fixture);
        }
    }
    kill(getpid(), SIGKILL);
}

static void survives_kills(void **unused)
{
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void)unused;
    assert_true(shared != MAP_FAILED);
    state = seed_from_environment();
    for (int round = 0; round < 12; round++) {
        unsigned last = 20 + draw(KILL_OPERATIONS - 20), at;
        uint64_t found;
        pid_t child;
        int status;

        memset(shared, 0, sizeof(*shared));
        fixture_new(&fixture);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            work_and_die(shared, last);
            _exit(1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture.epoch = 1000;
        fixture_start(&fixture);
        found = dump_digest(true);
        for (at = shared->durable; at <= shared->done && shared->dumps[at] != found; at++) {
        }
        if (at > shared->done) {
            print_message("round %d: %u operations, %u durable\n", round, shared->done, shared->durable);
        }
        assert_true(at <= shared->done);
        assert_int_equal(fixture_number(&fixture, "SELECT count(*) FROM inode WHERE nlink = 0"), 0);
        assert_int_equal(fixture_cut(&fixture, true), 0);
        check_rows();
        assert_int_equal(dump_digest(true), found);
        fixture_stop(&fixture);
        fixture_free(&fixture);
        draw(1);
        state += (uint64_t)round << 1;
    }
    munmap(shared, sizeof(*shared));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_model),
        cmocka_unit_test(survives_kills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
