/* replay.c -- runs a fuzz target over the files of a directory, without a
 * fuzzer: what was found once is tried again on every build, with every
 * compiler. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return -1;
    }
    size_t cap = 1u << 20;
    uint8_t *bytes = malloc(cap);
    size_t size = bytes != NULL ? fread(bytes, 1, cap, f) : 0;
    fclose(f);
    /* Exactly sized, so that ASan sees a read past the end. */
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (bytes == NULL || exact == NULL) {
        abort();
    }
    memcpy(exact, bytes, size);
    free(bytes);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    static const uint8_t nothing[1];
    LLVMFuzzerTestOneInput(nothing, 0);
    unsigned count = 1;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (d == NULL) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            if (e->d_name[0] == '.') {
                continue;
            }
            if (replay(argv[i], e->d_name) != 0) {
                closedir(d);
                return 1;
            }
            count++;
        }
        closedir(d);
    }
    printf("%u inputs replayed\n", count);
    return 0;
}
