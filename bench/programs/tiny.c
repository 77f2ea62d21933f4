/* The smallest honest module: copies its one input of 1 KB to its output and raises one event. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_file(const char *path, const char *content, size_t length) {
    int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (file < 0 || write(file, content, length) != (ssize_t)length) return 1;
    return close(file);
}

int main(int count, char **words) {
    const char *directory = count > 1 ? words[1] : getenv("ION_DIR");
    if (!directory || chdir(directory) != 0) return 2;
    char content[4096];
    int in = open("in/data/item", O_RDONLY);
    ssize_t length = in < 0 ? -1 : read(in, content, sizeof content);
    if (length < 0) return 3;
    const char *type = getenv("RAISES");
    char event[256];
    snprintf(event, sizeof event, "{\"type\": \"%s\", \"files\": [\"item\"]}", type ? type : "copied");
    return write_file("out/data/item", content, (size_t)length) ||
           write_file("out/events/copied.json", event, strlen(event));
}
