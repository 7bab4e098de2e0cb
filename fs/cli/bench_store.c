/* SPDX-License-Identifier: MIT */
/*
 * A store in a bucket beside other programs on the same files, in one run: curl with as many requests at
 * once, which is what the line and the server give; lethefs' transport alone with the same objects; a mount
 * of lethefs from the copy to the end of sync, and from an empty cache; rclone crypt and s3fs where they are
 * installed. The files are random bytes, so that no codec's time counts. Every download is compared. Nothing
 * stays in the bucket.
 */
#include "fs/cli/bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/file.h"
#include "lethe/log.h"
#include "lethe/seal.h"

extern char **environ;

#define ROUNDS_MAX 9
#define WORDS_MAX 24
#define PATH_SIZE 512
enum direction { UP, DOWN, DIRECTIONS };

struct line {
    const struct bench_store_options *options;
    char folder[PATH_SIZE]; /* files, and what the programs need */
    char bucket[64],
        place[PATH_SIZE]; /* where in the bucket this run's objects are, without slashes at the ends */
    const char *endpoint, *access, *secret;
    struct lethe_store *store; /* at place */
    unsigned round;
    struct lethe_buf *files;
};

/* What is timed is up and down; NULL is nothing to do. */
struct program {
    const char *name;
    enum lethe_err (*ready)(struct line *line);
    enum lethe_err (*up)(struct line *line);
    enum lethe_err (*turn)(struct line *line); /* between the two: caches are emptied */
    enum lethe_err (*down)(struct line *line);
    enum lethe_err (*check)(struct line *line);
    void (*after)(struct line *line); /* whatever came of it */
};

/* LETHE_ERR_NOT_FOUND: there is no such program. words end with NULL. */
static enum lethe_err run(const char *const *words)
{
    posix_spawn_file_actions_t actions;
    char *argv[WORDS_MAX + 1] = {0};
    int status = 0, failed;
    pid_t pid;

    for (unsigned i = 0; words[i] && i < WORDS_MAX; i++) {
        argv[i] = (char *)(uintptr_t)words[i]; /* posix_spawn changes nothing */
    }
    if (posix_spawn_file_actions_init(&actions)) {
        return LETHE_ERR_NOMEM;
    }
    failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) ||
             posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) ||
             posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed || waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 127)) {
        return LETHE_ERR_NOT_FOUND;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? LETHE_OK : LETHE_ERR_IO;
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void in_folder(const struct line *line, const char *name, char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%.400s/%.100s", line->folder, name);
}

static void file_name(size_t i, char out[32])
{
    snprintf(out, 32, "%05zu", i);
}

static enum lethe_err write_text(const struct line *line, const char *name, struct lethe_buf *text)
{
    char path[PATH_SIZE];
    enum lethe_err err = lethe_buf_status(text);

    in_folder(line, name, path);
    err = err ? err : lethe_file_write_durably(path, text->data, text->len, 0600);
    lethe_buf_release(text);
    return err;
}

/* All files into a folder, one after the other, as cp does. */
static enum lethe_err copy_in(const struct line *line, const char *folder)
{
    for (size_t i = 0; i < line->options->objects; i++) {
        const struct lethe_buf *file = &line->files[i];
        char path[PATH_SIZE + 40], name[32];
        size_t done = 0;
        int fd;

        file_name(i, name);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        while (fd >= 0 && done < file->len) {
            ssize_t got = write(fd, file->data + done, file->len - done);

            if (got <= 0) {
                break;
            }
            done += (size_t)got;
        }
        if (fd < 0 || close(fd) || done < file->len) {
            return LETHE_ERR_IO;
        }
    }
    return LETHE_OK;
}

static enum lethe_err compare(const struct line *line, const char *folder)
{
    struct lethe_buf there = {0};
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < line->options->objects && !err; i++) {
        char path[PATH_SIZE + 40], name[32];

        file_name(i, name);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        lethe_buf_reset(&there);
        err = lethe_file_read(path, (size_t)line->options->object_size + 1, &there);
        if (!err &&
            (there.len != line->files[i].len || memcmp(there.data, line->files[i].data, there.len) != 0)) {
            err = LETHE_ERR_DIFFERS;
        }
    }
    lethe_buf_release(&there);
    return err;
}

/* --- curl --- */

static enum lethe_err curl(struct line *line, enum direction direction)
{
    struct lethe_buf text = {0};
    char config[PATH_SIZE], most[16];
    enum lethe_err err;

    lethe_buf_print(&text, "user = \"%s:%s\"\n", line->access, line->secret);
    for (size_t i = 0; i < line->options->objects; i++) {
        char name[32];

        file_name(i, name);
        lethe_buf_print(&text, "url = \"%s/%s/%s/curl/%s\"\n", line->endpoint, line->bucket, line->place,
                        name);
        lethe_buf_print(&text,
                        direction == UP ? "upload-file = \"%s/files/%s\"\n" : "output = \"%s/back/%s\"\n",
                        line->folder, name);
    }
    err = write_text(line, "curl.config", &text);
    in_folder(line, "curl.config", config);
    snprintf(most, sizeof most, "%u", (unsigned)line->options->store.in_flight);
    return err ? err
               : RUN("curl", "-sS", "-f", "--no-progress-meter", "--parallel", "--parallel-max", most,
                     "--aws-sigv4", "aws:amz:us-east-1:s3", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                     "--expect100-timeout", "0.001", "-K", config);
}

static enum lethe_err curl_up(struct line *line)
{
    return curl(line, UP);
}

static enum lethe_err curl_down(struct line *line)
{
    return curl(line, DOWN);
}

/* --- lethefs' transport --- */

struct transfer {
    struct line *line;
    enum direction direction;
    atomic_size_t next;
    atomic_int err;
};

static void *transfer_some(void *argument)
{
    struct transfer *transfer = argument;
    struct line *line = transfer->line;
    struct lethe_buf there = {0};
    size_t i;

    while ((i = atomic_fetch_add(&transfer->next, 1)) < line->options->objects &&
           !atomic_load(&transfer->err)) {
        const struct lethe_buf *file = &line->files[i];
        char key[64];
        enum lethe_err err;

        snprintf(key, sizeof key, "store/%u/%05zu", line->round, i);
        if (transfer->direction == UP) {
            err = lethe_store_put(line->store, key, file->data, file->len);
        } else {
            lethe_buf_reset(&there);
            err = lethe_store_get(line->store, key, 0, UINT64_MAX, &there, NULL);
            if (!err && (there.len != file->len || memcmp(there.data, file->data, file->len) != 0)) {
                err = LETHE_ERR_DIFFERS;
            }
        }
        if (err) {
            atomic_store(&transfer->err, (int)err);
        }
    }
    lethe_buf_release(&there);
    return NULL;
}

static enum lethe_err transfer_all(struct line *line, enum direction direction)
{
    struct transfer transfer = {.line = line, .direction = direction};
    pthread_t threads[256];
    unsigned started = 0;

    while (started < line->options->store.in_flight && started < 256 &&
           !pthread_create(&threads[started], NULL, transfer_some, &transfer)) {
        started++;
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    return started ? (enum lethe_err)atomic_load(&transfer.err) : LETHE_ERR_NOMEM;
}

static enum lethe_err transport_up(struct line *line)
{
    return transfer_all(line, UP);
}

static enum lethe_err transport_down(struct line *line)
{
    return transfer_all(line, DOWN);
}

/* --- a mount of lethefs: paths of its own, and this very program --- */

struct paths {
    char self[PATH_SIZE], vault[PATH_SIZE + 128], pass[PATH_SIZE], phrase[PATH_SIZE], state[PATH_SIZE],
        cache[PATH_SIZE], mnt[PATH_SIZE];
};

static enum lethe_err find_paths(const struct line *line, struct paths *paths)
{
    ssize_t len = readlink("/proc/self/exe", paths->self, sizeof paths->self - 1);

    if (len <= 0) {
        return LETHE_ERR_IO;
    }
    paths->self[len] = '\0';
    snprintf(paths->vault, sizeof paths->vault, "s3://%s/%s/vault-%u", line->bucket, line->place,
             line->round);
    in_folder(line, "pass", paths->pass);
    in_folder(line, "phrase", paths->phrase);
    in_folder(line, "state", paths->state);
    in_folder(line, "cache", paths->cache);
    in_folder(line, "mnt", paths->mnt);
    return LETHE_OK;
}

static enum lethe_err mount_vault(const struct paths *paths)
{
    return RUN(paths->self, "mount", paths->vault, paths->mnt, "--passfile", paths->pass, "--state-dir",
               paths->state, "--cache-dir", paths->cache);
}

static enum lethe_err vault_ready(struct line *line)
{
    struct lethe_buf text = {0};
    struct paths paths;
    enum lethe_err err = find_paths(line, &paths);

    lethe_buf_print(&text, "secret\n");
    err = err ? err : write_text(line, "pass", &text);
    (void)unlink(paths.phrase);
    err = err ? err
              : RUN(paths.self, "init", paths.vault, "--passfile", paths.pass, "--recovery-file",
                    paths.phrase, "--state-dir", paths.state, "--kdf-mem", "16");
    if (!err && mkdir(paths.mnt, 0700) && errno != EEXIST) {
        err = LETHE_ERR_IO;
    }
    return err ? err : mount_vault(&paths);
}

static enum lethe_err vault_up(struct line *line)
{
    struct paths paths;
    enum lethe_err err = find_paths(line, &paths);

    err = err ? err : copy_in(line, paths.mnt);
    return err ? err : RUN(paths.self, "sync", paths.mnt);
}

static enum lethe_err vault_turn(struct line *line)
{
    struct paths paths;
    enum lethe_err err = find_paths(line, &paths);

    err = err ? err : RUN(paths.self, "umount", paths.mnt, "--wait");
    err = err ? err : RUN("rm", "-rf", paths.cache, paths.state); /* a device that holds nothing */
    err = err ? err
              : RUN(paths.self, "recover", paths.vault, "--passfile", paths.pass, "--recovery-file", paths.phrase,
                    "--state-dir", paths.state);
    return err ? err : mount_vault(&paths);
}

static enum lethe_err vault_down(struct line *line)
{
    struct paths paths;
    enum lethe_err err = find_paths(line, &paths);

    return err ? err : compare(line, paths.mnt);
}

static void vault_after(struct line *line)
{
    struct paths paths;

    if (!find_paths(line, &paths)) {
        (void)!RUN(paths.self, "umount", paths.mnt, "--wait");
    }
}

/* --- rclone crypt --- */

static enum lethe_err rclone(struct line *line, enum direction direction)
{
    char config[PATH_SIZE], files[PATH_SIZE], back[PATH_SIZE], most[16];
    struct lethe_buf text = {0};
    enum lethe_err err;

    /* The password in the form that rclone keeps it in: AES-CTR under a key that is part of rclone. */
    lethe_buf_print(
        &text,
        "[s]\ntype = s3\nprovider = Other\naccess_key_id = %s\nsecret_access_key = %s\nendpoint = %s\n",
        line->access, line->secret, line->endpoint);
    lethe_buf_print(&text,
                    "[c]\ntype = crypt\nremote = s:%s/%s/rclone-%u\n"
                    "password = KM7MMhplTjVSy8TsHrNekhjsJEDgKQ\n",
                    line->bucket, line->place, line->round);
    err = write_text(line, "rclone.conf", &text);
    in_folder(line, "rclone.conf", config);
    in_folder(line, "files", files);
    in_folder(line, "back", back);
    snprintf(most, sizeof most, "%u", (unsigned)line->options->store.in_flight);
    return err ? err
               : RUN("env", "-u", "AWS_CA_BUNDLE", "rclone", "-q", "--config", config, "--transfers", most,
                     "--checkers", most, "copy",
                     direction == UP ? files : "c:", direction == UP ? "c:" : back);
}

static enum lethe_err rclone_up(struct line *line)
{
    return rclone(line, UP);
}

static enum lethe_err rclone_down(struct line *line)
{
    return rclone(line, DOWN);
}

/* --- s3fs --- */

static enum lethe_err s3fs_mount(const struct line *line)
{
    char mnt[PATH_SIZE], options[2 * PATH_SIZE];

    in_folder(line, "s3fs", mnt);
    snprintf(options, sizeof options, "passwd_file=%s/s3fs.pass,url=%s,use_path_request_style", line->folder,
             line->endpoint);
    return RUN("s3fs", line->bucket, mnt, "-o", options);
}

static void s3fs_umount(const struct line *line)
{
    char mnt[PATH_SIZE];

    in_folder(line, "s3fs", mnt);
    (void)!RUN("fusermount3", "-u", mnt);
}

/* At the bucket's root, for s3fs leaves objects for folders on the way. */
static void s3fs_target(const struct line *line, char out[2 * PATH_SIZE])
{
    const char *slash = strrchr(line->place, '/');

    snprintf(out, 2 * PATH_SIZE, "%.400s/s3fs/%.400s-s3fs", line->folder, slash ? slash + 1 : line->place);
}

static void s3fs_after(struct line *line)
{
    char target[2 * PATH_SIZE];

    s3fs_target(line, target);
    (void)!RUN("rm", "-rf", target);
    s3fs_umount(line);
}

static enum lethe_err s3fs_ready(struct line *line)
{
    char mnt[PATH_SIZE], target[2 * PATH_SIZE];
    struct lethe_buf text = {0};
    enum lethe_err err;

    in_folder(line, "s3fs", mnt);
    lethe_buf_print(&text, "%s:%s\n", line->access, line->secret);
    err = write_text(line, "s3fs.pass", &text);
    if (!err && mkdir(mnt, 0700) && errno != EEXIST) {
        err = LETHE_ERR_IO;
    }
    err = err ? err : s3fs_mount(line);
    s3fs_target(line, target);
    return err ? err : lethe_file_make_folders(target, 0700);
}

static enum lethe_err s3fs_up(struct line *line)
{
    char target[2 * PATH_SIZE];

    s3fs_target(line, target);
    return copy_in(line, target);
}

static enum lethe_err s3fs_turn(struct line *line)
{
    s3fs_umount(line);
    return s3fs_mount(line);
}

static enum lethe_err s3fs_down(struct line *line)
{
    char target[2 * PATH_SIZE];

    s3fs_target(line, target);
    return compare(line, target);
}

/* --- all of them --- */

static enum lethe_err check_back(struct line *line)
{
    char back[PATH_SIZE];
    enum lethe_err err;

    in_folder(line, "back", back);
    err = compare(line, back);
    err = err ? err : RUN("rm", "-rf", back);
    return err ? err : mkdir(back, 0700) ? LETHE_ERR_IO : LETHE_OK;
}

static const struct program programs[] = {
    {"curl", NULL, curl_up, NULL, curl_down, check_back, NULL}, /* first: the others are measured by it */
    {"lethefs transport", NULL, transport_up, NULL, transport_down, NULL, NULL},
    {"lethefs mount", vault_ready, vault_up, vault_turn, vault_down, NULL, vault_after},
    {"rclone crypt", NULL, rclone_up, NULL, rclone_down, check_back, NULL},
    {"s3fs", s3fs_ready, s3fs_up, s3fs_turn, s3fs_down, NULL, s3fs_after},
};
#define PROGRAMS (sizeof programs / sizeof *programs)

static enum lethe_err step(enum lethe_err (*what)(struct line *line), struct line *line, double *seconds)
{
    int64_t start = lethe_bench_now_ns();
    enum lethe_err err = what ? what(line) : LETHE_OK;

    if (seconds) {
        *seconds = (double)(lethe_bench_now_ns() - start) / 1e9;
    }
    return err;
}

struct keys {
    struct lethe_buf text; /* ended by zeros */
};

static enum lethe_err note_key(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct keys *keys = context;

    (void)stat;
    lethe_buf_put(&keys->text, key, strlen(key) + 1);
    return lethe_buf_status(&keys->text);
}

/* What the program left: the server has as much memory for the next. */
static void remove_objects(struct line *line)
{
    struct keys keys = {0};

    if (line->store && !lethe_store_list(line->store, "", note_key, &keys)) {
        for (size_t at = 0; at < keys.text.len; at += strlen((const char *)keys.text.data + at) + 1) {
            (void)!lethe_store_remove(line->store, (const char *)keys.text.data + at);
        }
    }
    lethe_buf_release(&keys.text);
}

static enum lethe_err measure(const struct program *program, struct line *line, double seconds[DIRECTIONS])
{
    enum lethe_err err = step(program->ready, line, NULL);

    err = err ? err : step(program->up, line, &seconds[UP]);
    err = err ? err : step(program->turn, line, NULL);
    err = err ? err : step(program->down, line, &seconds[DOWN]);
    err = err ? err : step(program->check, line, NULL);
    if (program->after) {
        program->after(line);
    }
    remove_objects(line);
    return err;
}

static int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return (one > other) - (one < other);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, by_size);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* "s3://bucket/place" and what the environment says of it. */
static enum lethe_err find_bucket(struct line *line)
{
    const char *rest = line->options->location + 5, *slash = strchr(rest, '/');
    struct lethe_id id;
    char hex[33];

    lethe_random_system()->fill(NULL, id.bytes, sizeof id.bytes);
    lethe_hex(id.bytes, sizeof id.bytes, hex);
    snprintf(line->bucket, sizeof line->bucket, "%.*s", (int)(slash ? slash - rest : (long)strlen(rest)),
             rest);
    snprintf(line->place, sizeof line->place, "%.300s%s%.8s", slash ? slash + 1 : "",
             slash && slash[1] && slash[strlen(slash) - 1] != '/' ? "/bench-" : "bench-", hex);
    line->endpoint =
        line->options->store.endpoint ? line->options->store.endpoint : getenv("AWS_ENDPOINT_URL");
    line->access = getenv("AWS_ACCESS_KEY_ID");
    line->secret = getenv("AWS_SECRET_ACCESS_KEY");
    if (!line->endpoint || !line->access || !line->secret) {
        lethe_log(LETHE_LOG_ERROR,
                  "bench --store hands address and keys to other programs: set AWS_ENDPOINT_URL,"
                  " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        return LETHE_ERR_ARG;
    }
    if (setenv("AWS_ENDPOINT_URL", line->endpoint, 1) ||
        (line->options->store.region && setenv("AWS_REGION", line->options->store.region, 1))) {
        return LETHE_ERR_NOMEM;
    }
    return LETHE_OK;
}

static enum lethe_err make_files(struct line *line)
{
    const struct lethe_random *random = lethe_random_system();
    char files[PATH_SIZE], back[PATH_SIZE];
    enum lethe_err err = LETHE_OK;

    in_folder(line, "files", files);
    in_folder(line, "back", back);
    if (mkdir(files, 0700) || mkdir(back, 0700)) {
        return LETHE_ERR_IO;
    }
    line->files = calloc(line->options->objects, sizeof *line->files);
    if (!line->files) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < line->options->objects && !err; i++) {
        err = lethe_buf_resize(&line->files[i], (size_t)line->options->object_size);
        if (!err) {
            random->fill(random->context, line->files[i].data, line->files[i].len);
        }
    }
    return err ? err : copy_in(line, files);
}

static json_t *report(const struct line *line, double all[][DIRECTIONS][ROUNDS_MAX], const bool *missing)
{
    static const char *const names[DIRECTIONS][2] = {{"up_s", "up_to_curl"}, {"down_s", "down_to_curl"}};
    unsigned rounds = line->options->rounds;
    double curl_s[DIRECTIONS] = {0};
    json_t *list = json_array();

    for (size_t p = 0; p < PROGRAMS; p++) {
        json_t *entry = json_pack("{s:s}", "program", programs[p].name);

        for (int d = UP; d <= DOWN && !missing[p]; d++) {
            double seconds = median(all[p][d], rounds);

            curl_s[d] = p == 0 ? seconds : curl_s[d];
            json_object_set_new(entry, names[d][0], json_real(seconds));
            json_object_set_new(entry, names[d][1], json_real(seconds / curl_s[d]));
        }
        if (missing[p]) {
            json_decref(entry);
        } else {
            json_array_append_new(list, entry);
        }
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "objects", (json_int_t)line->options->objects,
                     "object_bytes", (json_int_t)line->options->object_size, "requests",
                     (json_int_t)line->options->store.in_flight, "rounds", (json_int_t)rounds, "programs",
                     list);
}

static enum lethe_err run_rounds(struct line *line, struct lethe_progress *progress, json_t *object)
{
    static double all[PROGRAMS][DIRECTIONS][ROUNDS_MAX];
    bool missing[PROGRAMS] = {false};

    for (line->round = 0; line->round < line->options->rounds; line->round++) {
        for (size_t p = 0; p < PROGRAMS; p++) {
            double seconds[DIRECTIONS] = {0};
            enum lethe_err err;

            lethe_progress_update(progress, line->round * PROGRAMS + p, line->options->rounds * PROGRAMS);
            err = missing[p] ? LETHE_OK : measure(&programs[p], line, seconds);
            if (err && strncmp(programs[p].name, "lethefs", 7) != 0 && p > 0) {
                if (err != LETHE_ERR_NOT_FOUND) {
                    lethe_log(LETHE_LOG_WARN, "%s fails on this store: it is left out", programs[p].name);
                }
                missing[p] = true;
            } else if (err) {
                lethe_log(LETHE_LOG_ERROR, "%s: %s", programs[p].name,
                          err == LETHE_ERR_NOT_FOUND ? "it is not installed" : lethe_err_str(err));
                return err;
            }
            all[p][UP][line->round] = seconds[UP];
            all[p][DOWN][line->round] = seconds[DOWN];
        }
    }
    json_object_set_new(object, "store", report(line, all, missing));
    return LETHE_OK;
}

enum lethe_err lethe_bench_store(const struct bench_store_options *options, struct lethe_progress *progress,
                                 json_t *object)
{
    struct bench_store_options own = *options;
    struct line line = {.options = &own};
    const char *temporary = getenv("TMPDIR");
    char location[2 * PATH_SIZE];
    enum lethe_err err = lethe_seal_start();

    own.store.in_flight = options->store.in_flight ? options->store.in_flight : 32;
    snprintf(line.folder, sizeof line.folder, "%.300s/lethefs-bench-XXXXXX",
             temporary && temporary[0] == '/' ? temporary : "/tmp");
    err = err ? err : find_bucket(&line);
    if (err) {
        return err;
    }
    if (!mkdtemp(line.folder)) {
        return LETHE_ERR_IO;
    }
    snprintf(location, sizeof location, "s3://%s/%s", line.bucket, line.place);
    err = make_files(&line);
    err = err ? err : lethe_store_open_with(location, false, &own.store, &line.store);
    err = err ? err : run_rounds(&line, progress, object);
    lethe_store_close(line.store);
    for (size_t i = 0; line.files && i < own.objects; i++) {
        lethe_buf_release(&line.files[i]);
    }
    free(line.files);
    (void)!RUN("rm", "-rf", "--one-file-system", line.folder);
    return err;
}
