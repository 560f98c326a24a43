#include "lib/os/file.h"
#include "lib/os/landlock_abi.h"
#include "lib/os/sandbox.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_RIGHTS                                                                              \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                              \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM |  \
     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
#define DEVICE_RIGHTS (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
/* What a rule for something that is no directory may name. */
#define FILE_RIGHTS                                                                              \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
     LANDLOCK_ACCESS_FS_TRUNCATE)

struct sandbox_files {
    int fd;
    uint64_t handled; /* rights on files this ruleset speaks of */
    uint64_t tcp;
};

static uint64_t
rights_of(unsigned access)
{
    uint64_t rights = 0;
    if (access & SANDBOX_READ)
        rights |= READ_RIGHTS;
    if (access & SANDBOX_WRITE)
        rights |= WRITE_RIGHTS;
    if (access & SANDBOX_EXECUTE)
        rights |= LANDLOCK_ACCESS_FS_EXECUTE;
    return rights;
}

static struct landlock_ruleset
ruleset_for(unsigned handled, long abi)
{
    struct landlock_ruleset set = { .fs = rights_of(handled) };
    if (handled & SANDBOX_WRITE)
        set.fs |= DEVICE_RIGHTS;
    if (abi < LANDLOCK_ABI_TRUNCATE)
        set.fs &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
    if ((handled & SANDBOX_TCP) && abi >= LANDLOCK_ABI_TCP)
        set.tcp = LANDLOCK_TCP_BIND | LANDLOCK_TCP_CONNECT;
    return set;
}

int
sandbox_landlock_new(unsigned handled, struct sandbox_files **ret_files, struct err *e)
{
    *ret_files = NULL;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0) {
        err_sys(e, ERR_UNSUITABLE, "this kernel has no Landlock");
        return 0;
    }
    if (abi < LANDLOCK_ABI_REFER) {
        err_set(e, ERR_UNSUITABLE,
                "the Landlock of this kernel is too old (version %ld, needed %d)", abi,
                LANDLOCK_ABI_REFER);
        return 0;
    }
    struct landlock_ruleset set = ruleset_for(handled, abi);
    size_t size = abi < LANDLOCK_ABI_TCP ? sizeof(set.fs) : sizeof(set);
    long fd = syscall(SYS_landlock_create_ruleset, &set, size, 0);
    if (fd < 0)
        return err_sys(e, ERR_IO, "make a Landlock ruleset");
    *ret_files = xcalloc(1, sizeof(**ret_files));
    **ret_files = (struct sandbox_files){ .fd = (int)fd, .handled = set.fs, .tcp = set.tcp };
    return 1;
}

int
sandbox_landlock_allow(struct sandbox_files *files, const char *path, unsigned access,
                       struct err *e)
{
    if (files == NULL)
        return 0;
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "open %s", path);
    uint64_t rights = rights_of(access) & files->handled;
    if (!S_ISDIR(st.st_mode))
        rights &= FILE_RIGHTS;
    struct landlock_path_beneath_attr rule = { .allowed_access = rights, .parent_fd = fd };
    if (rights != 0 &&
        syscall(SYS_landlock_add_rule, files->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return err_sys(e, ERR_IO, "allow access below %s", path);
    return 0;
}

int
sandbox_landlock_allow_connect(struct sandbox_files *files, unsigned port, struct err *e)
{
    if (files == NULL || files->tcp == 0)
        return 0;
    struct landlock_port rule = { .access = LANDLOCK_TCP_CONNECT, .port = port };
    if (syscall(SYS_landlock_add_rule, files->fd, LANDLOCK_TCP_RULE, &rule, 0) < 0)
        return err_sys(e, ERR_IO, "allow connections to port %u", port);
    return 0;
}

int
sandbox_landlock_enter(struct sandbox_files **files, struct err *e)
{
    if (*files == NULL)
        return 0;
    int failed = 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, (*files)->fd, 0) < 0)
        failed = err_sys(e, ERR_IO, "enter the Landlock ruleset");
    sandbox_landlock_free(files);
    return failed;
}

void
sandbox_landlock_free(struct sandbox_files **files)
{
    if (*files != NULL)
        file_closep(&(*files)->fd);
    freep(files);
}
