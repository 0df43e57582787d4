/* replay.c -- runs a fuzz target over files, without a fuzzer: ctest replays
 * the committed corpora and the vectors with it under every compiler.
 *
 *     replay_NAME [--vectors FILE [--write DIR]] PATH...
 *
 * A PATH is a file or a directory of files. --vectors also runs each vector
 * of FILE as an input, in pieces of 1, 7 and 255 bytes; --write puts those
 * inputs into DIR, as seeds for the fuzzer. */
#include "chunks.h"
#include "support/vectors.h"
#include <dirent.h>
#include <sys/stat.h>

static int runs;

static void run(const uint8_t *data, size_t n)
{
    /* A copy of its exact size, so that a read past the end is caught. */
    uint8_t *copy = malloc(n + (n == 0));
    if (copy == NULL) {
        abort();
    }
    if (n > 0) {
        memcpy(copy, data, n);
    }
    (void)LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    runs++;
}

static void die(const char *path)
{
    perror(path);
    exit(2);
}

static void run_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        die(path);
    }
    size_t n = fread(data, 1, sizeof(data), f);
    fclose(f);
    run(data, n);
}

static void run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        die(path);
    }
    if (!S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    DIR *dir = opendir(path);
    if (dir == NULL) {
        die(path);
    }
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.') {
            run_file(file);
        }
    }
    closedir(dir);
}

static void write_seed(const char *dir, const struct vector *v, size_t piece,
    const void *p, size_t n)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/line%d-%zu", dir, v->line, piece);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(p, 1, n, f) != n || fclose(f) != 0) {
        die(path);
    }
}

static void run_vector(const struct vector *v, void *dir)
{
    static const size_t pieces[] = {1, 7, 255};
    static uint8_t data[2 * VECTOR_IN_BYTES + 1];
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        size_t n = 0;
        data[n++] = (uint8_t)vector_setting(v, "rsv1", 0);
        for (size_t at = 0; at < v->in_len; at += pieces[i]) {
            size_t here = v->in_len - at;
            if (here > pieces[i]) {
                here = pieces[i];
            }
            data[n++] = (uint8_t)here;
            memcpy(data + n, v->in + at, here);
            n += here;
        }
        run(data, n);
        if (dir != NULL && n < 4096) {
            write_seed(dir, v, pieces[i], data, n);
        }
    }
}

int main(int argc, char **argv)
{
    int at = 1;
    if (at + 1 < argc && strcmp(argv[at], "--vectors") == 0) {
        const char *vectors = argv[at + 1];
        char *dir = NULL;
        at += 2;
        if (at + 1 < argc && strcmp(argv[at], "--write") == 0) {
            dir = argv[at + 1];
            at += 2;
        }
        vectors_read(vectors, run_vector, dir);
    }
    for (; at < argc; at++) {
        run_path(argv[at]);
    }
    printf("%d inputs replayed\n", runs);
    return runs > 0 ? 0 : 1;
}
