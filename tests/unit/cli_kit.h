/* cli_kit.h - runs the program itself and keeps what it says. */
#ifndef MAILTWIN_CLI_KIT_H
#define MAILTWIN_CLI_KIT_H

#include "tests/unit/scratch_kit.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 32

static char program[PATH_MAX]; /* build/VARIANT/mailtwin */
static char source[PATH_MAX];  /* where the project lies */
static char said[1 << 16];     /* standard output and error of the last run */

static inline void
cut(char *path, unsigned parts)
{
    for (; parts > 0; parts--)
        *strrchr(path, '/') = '\0';
}

/* This program is build/VARIANT/tests/unit/cli. */
__attribute__((constructor)) static void
find_program(void)
{
    char self[PATH_MAX] = "";
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        abort();
    cut(self, 3);
    snprintf(program, sizeof(program), "%.*s/mailtwin", PATH_MAX - 16, self);
    cut(self, 2);
    snprintf(source, sizeof(source), "%s", self);
    unsetenv("MAILTWIN_CONFIG");
    unsetenv("MAILTWIN_NODE");
}

static inline const char *
at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static inline void
put(const char *name, const void *bytes, size_t len)
{
    FILE *file = fopen(at(name), "we");
    CHECK(file != NULL);
    CHECK_INT(fwrite(bytes, 1, len, file), len);
    CHECK_INT(fclose(file), 0);
}

static inline void
put_conf(const char *more)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "cluster = \"c\"\nrun-dir = \"%s\"\nstate-dir = \"%s/state\"\n"
             "node \"a\" { address = \"10.0.0.1\" }\nnode \"b\" { address = \"10.0.0.2\" }\n%s",
             dir, dir, more);
    put("mailtwin.conf", text, strlen(text));
}

static inline void
read_all(int fd)
{
    size_t len = 0;
    for (ssize_t n; (n = read(fd, said + len, sizeof(said) - 1 - len)) != 0;) {
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    said[len] = '\0';
}

static inline int
finish(pid_t pid)
{
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void
become(const char *words, const char *config)
{
    char text[512], *arguments[ARGUMENTS_MAX] = { program };
    size_t count = 1;
    snprintf(text, sizeof(text), "%s", words);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        arguments[count++] = word;
    setenv("MAILTWIN_NODE", "a", 1);
    if (config != NULL)
        setenv("MAILTWIN_CONFIG", config, 1);
    execv(program, arguments);
    perror(program);
    _exit(127);
}

/* Runs mailtwin with these words; what it says is in said. Returns its exit status. */
static inline int
run(const char *words)
{
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(null, STDIN_FILENO);
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        become(words, at("mailtwin.conf"));
    }
    close(fds[1]);
    read_all(fds[0]);
    close(fds[0]);
    return finish(pid);
}

#endif
