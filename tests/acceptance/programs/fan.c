/* The modules of a fan-out, as small as they can be: `fan split COUNT`, `fan work`, `fan end`.

   Of the parts, every HUNG-th never ends in its first attempt, nor does a child of it: somebody has to kill them. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES 500
#define HUNG 100

static void write_file(const char *path, const char *content, size_t length) {
    FILE *file = fopen(path, "w");
    if (!file || fwrite(content, 1, length, file) != length || fclose(file) != 0) exit(3);
}

static void raise_event(const char *name, const char *type, const char *file, const char *subject) {
    char path[64], event[256];
    snprintf(path, sizeof path, "out/events/%s.json", name);
    snprintf(event, sizeof event, "{\"type\": \"%s\", \"files\": [\"%s\"], \"subject\": \"%s\"}", type, file, subject);
    write_file(path, event, strlen(event));
}

static void split(int count) {
    for (int number = 0; number < count; number++) {
        char name[32], path[64], line[32], content[LINES * 32] = "";
        snprintf(name, sizeof name, "%d", number);
        snprintf(path, sizeof path, "out/data/%d", number);
        int length = snprintf(line, sizeof line, "%d\n", number);
        for (int at = 0; at < LINES; at++) memcpy(content + at * length, line, (size_t)length);
        write_file(path, content, (size_t)length * LINES);
        raise_event(name, "part", name, name);
    }
}

static void work(const char *subject, int attempt) {
    static char content[LINES * 32];
    char path[64];
    snprintf(path, sizeof path, "in/data/%s", subject);
    FILE *file = fopen(path, "r");
    if (!file) exit(4);
    size_t length = fread(content, 1, sizeof content, file);
    write_file("out/data/copy", content, length / 2);
    if (attempt == 1 && atoi(subject) % HUNG == HUNG - 1) {
        fork();
        for (;;) pause();
    }
    write_file("out/data/copy", content, length);
    raise_event("done", "done", "copy", subject);
}

/* The subject of the event that the job is for: the name of its one file. */
static const char *subject(void) {
    DIR *folder = opendir("in/data");
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.') return entry->d_name;
    exit(5);
}

int main(int count, char **words) {
    const char *directory = getenv("ION_DIR"), *attempt = getenv("ION_ATTEMPT");
    if (count < 2 || !directory || !attempt || chdir(directory) != 0) return 2;
    if (strcmp(words[1], "split") == 0) split(atoi(words[2]));
    if (strcmp(words[1], "work") == 0) work(subject(), atoi(attempt));
    return 0;
}
