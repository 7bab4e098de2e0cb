/* SPDX-License-Identifier: MIT */
/*
 * Other programs on the same files, where they are installed: cjxl and djxl, cwebp, optipng. Only files that
 * both the program and the engine take count. Times are those of whole runs of the programs, start and file
 * I/O included.
 */
#include "fs/cli/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/file.h"

extern char **environ;

/* IN and OUT stand for paths. back brings the program's file back, NULL: no decoding is measured. */
struct rival {
    const char *name, *group; /* files of this kind */
    enum bench_kind kind;
    const char *suffix;
    const char *argv[10];
    const char *back[6];
};

static const struct rival rivals[] = {
    {"cjxl -e 3",
     "png",
     BENCH_PNG,
     "jxl",
     {"cjxl", "IN", "OUT", "-d", "0", "-e", "3", "--quiet"},
     {"djxl", "OUT", "BACK", "--quiet"}},
    {"cjxl -e 7",
     "png",
     BENCH_PNG,
     "jxl",
     {"cjxl", "IN", "OUT", "-d", "0", "-e", "7", "--quiet"},
     {"djxl", "OUT", "BACK", "--quiet"}},
    {"cwebp -lossless",
     "png",
     BENCH_PNG,
     "webp",
     {"cwebp", "-quiet", "-lossless", "-exact", "IN", "-o", "OUT"},
     {NULL}},
    {"optipng -o2", "png", BENCH_PNG, "png", {"optipng", "-quiet", "-o2", "-out", "OUT", "IN"}, {NULL}},
    {"cjxl --lossless_jpeg=1 -e 7",
     "jpeg",
     BENCH_JPEG,
     "jxl",
     {"cjxl", "IN", "OUT", "--lossless_jpeg=1", "-e", "7", "--quiet"},
     {"djxl", "OUT", "BACK", "--quiet"}},
};
#define RIVALS (sizeof rivals / sizeof *rivals)

struct sums {
    unsigned files;
    uint64_t bytes, rival, ours, pixels;
    int64_t encode_ns, decode_ns;
};

/* -1 when it cannot be started, else 0 or 1. */
static int run_program(const char *const *argv, const char *in, const char *out, const char *back)
{
    char *words[12] = {0};
    posix_spawn_file_actions_t actions;
    int status = 0, failed;
    pid_t pid;

    for (unsigned i = 0; argv[i]; i++) {
        const char *word = strcmp(argv[i], "IN") == 0     ? in
                           : strcmp(argv[i], "OUT") == 0  ? out
                           : strcmp(argv[i], "BACK") == 0 ? back
                                                          : argv[i];

        words[i] = (char *)(uintptr_t)word; /* posix_spawn changes nothing */
    }
    if (posix_spawn_file_actions_init(&actions)) {
        return -1;
    }
    failed = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) ||
             posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) ||
             posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed || waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 127)) {
        return -1;
    }
    return !WIFEXITED(status) || WEXITSTATUS(status);
}

static void try_rival(const struct rival *rival, const char *path, const char *folder,
                      const struct bench_run *run, size_t bytes, struct sums *sums)
{
    char out[4096], back[4096];
    struct stat stat_buf;
    int64_t start = lethe_bench_now_ns(), encoded, decoded = 0;

    snprintf(out, sizeof out, "%s/out.%s", folder, rival->suffix);
    snprintf(back, sizeof back, "%s/back.%s", folder, rival->kind == BENCH_JPEG ? "jpg" : "png");
    if (run_program(rival->argv, path, out, back) == 0 && !stat(out, &stat_buf)) {
        encoded = lethe_bench_now_ns() - start;
        start = lethe_bench_now_ns();
        if (!rival->back[0] || run_program(rival->back, path, out, back) == 0) {
            decoded = rival->back[0] ? lethe_bench_now_ns() - start : 0;
            sums->files++;
            sums->bytes += bytes;
            sums->rival += (uint64_t)stat_buf.st_size;
            sums->ours += run->artifact + run->residual + run->recipe;
            sums->pixels += run->pixels;
            sums->encode_ns += encoded;
            sums->decode_ns += decoded;
        }
    }
    (void)unlink(out);
    (void)unlink(back);
}

enum lethe_err lethe_bench_rivals(struct bench *bench, struct lethe_pool *pool, json_t *object)
{
    struct sums sums[RIVALS] = {0};
    char folder[] = "/tmp/lethefs-bench-XXXXXX";
    json_t *all = json_array();
    enum lethe_err err = mkdtemp(folder) ? LETHE_OK : LETHE_ERR_IO;

    for (size_t i = 0; i < bench->paths.count && !err; i++) {
        struct bench_file file;
        struct bench_run run;

        lethe_progress_update(&bench->progress, i, bench->paths.count);
        err = lethe_bench_read(bench->paths.path[i], &file);
        err = err ? err : lethe_bench_engine(bench, &file, pool, &run);
        for (unsigned r = 0; r < RIVALS && !err && run.learned; r++) {
            if (rivals[r].kind == file.kind) {
                try_rival(&rivals[r], bench->paths.path[i], folder, &run, file.bytes.len, &sums[r]);
            }
        }
        lethe_bench_file_release(&file);
    }
    (void)rmdir(folder);
    for (unsigned r = 0; r < RIVALS; r++) {
        const struct sums *s = &sums[r];

        if (s->files) {
            json_t *entry = json_pack(
                "{s:s, s:s, s:i, s:f, s:f, s:f, s:f}", "program", rivals[r].name, "kind", rivals[r].group,
                "files", (int)s->files, "its_ratio", (double)s->rival / (double)s->bytes, "our_ratio",
                (double)s->ours / (double)s->bytes, "ours_to_its", (double)s->ours / (double)s->rival,
                "its_encode_mp_s", (double)s->pixels * 1e3 / (double)s->encode_ns);

            if (s->decode_ns) {
                json_object_set_new(entry, "its_decode_mp_s",
                                    json_real((double)s->pixels * 1e3 / (double)s->decode_ns));
            }
            json_array_append_new(all, entry);
        }
    }
    json_object_set_new(object, "rivals", all);
    return err;
}
