/* Tells how many bytes and which kind of container each file of the event is, as insights.
 *
 *     cc -o tagger tagger.c
 *
 * All it knows is the directory of 2018: files in in/data, key/values in out/insights.json. It raises nothing.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *kind_of(const unsigned char *head, size_t length)
{
    if (length >= 12 && memcmp(head + 4, "ftyp", 4) == 0)
        return "mp4";
    if (length >= 4 && memcmp(head, "\x1a\x45\xdf\xa3", 4) == 0)
        return "matroska";
    return "unknown";
}

static FILE *open_in(const char *base, const char *path, const char *name, const char *mode)
{
    char full[4096];

    if (snprintf(full, sizeof full, "%s/%s%s", base, path, name) >= (int)sizeof full) {
        fprintf(stderr, "the path of %s is too long\n", name);
        exit(1);
    }
    FILE *file = fopen(full, mode);
    if (file == NULL) {
        perror(full);
        exit(1);
    }
    return file;
}

int main(void)
{
    const char *base = getenv("HANDLER_BASE_DIR") ? getenv("HANDLER_BASE_DIR") : "/ion";
    char folder[4096], separator = '[';

    snprintf(folder, sizeof folder, "%s/in/data", base);
    DIR *data = opendir(folder);
    if (data == NULL) {
        perror(folder);
        return 1;
    }
    FILE *insights = open_in(base, "out/", "insights.json", "w");
    for (struct dirent *entry = readdir(data); entry != NULL; entry = readdir(data)) {
        if (entry->d_name[0] == '.')
            continue;
        unsigned char head[12];
        FILE *file = open_in(base, "in/data/", entry->d_name, "rb");
        size_t length = fread(head, 1, sizeof head, file);
        fseek(file, 0, SEEK_END);
        fprintf(insights, "%c{\"key\": \"kind\", \"value\": \"%s\"}, {\"key\": \"bytes\", \"value\": \"%ld\"}", separator,
                kind_of(head, length), ftell(file));
        printf("%s is %s\n", entry->d_name, kind_of(head, length));
        separator = ',';
        fclose(file);
    }
    fputs(separator == '[' ? "[]" : "]", insights);
    closedir(data);
    return fclose(insights) == 0 ? 0 : 1;
}
