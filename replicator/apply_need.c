/* apply_need.c - what stood in the way of an operation, or was missing. */
#include "replicator/apply_private.h"

/* 1 a directory, 0 something else, -1 nothing. */
static int
what_is_there(const struct apply_root *root, struct span path)
{
    struct stat st;
    _cleanup_close_ int fd = file_open_beneath(root->fd, path, O_PATH | O_NOFOLLOW, 0, NULL);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    return S_ISDIR(st.st_mode);
}

/* The first component that is no directory or not there, else the name itself: what is asked for
 * behind something in the way would not fit again. */
static void
lacks(struct apply_op *op, struct span path)
{
    struct apply_need *need = &op->needs[op->need_count++];
    for (size_t len = 1; len < path.len; len++) {
        struct span above = span_of(path.ptr, len);
        int there = path.ptr[len] == '/' ? what_is_there(op->root, above) : 1;
        *need = (struct apply_need){ .path = above, .missing = there < 0 };
        if (there != 1)
            return;
    }
    *need = (struct apply_need){ .path = path, .is_dir = what_is_there(op->root, path) == 1 };
}

void
apply_op_lacks(struct apply_op *op)
{
    op->need_count = 0;
    if (op->result != APPLY_NEED)
        return;
    lacks(op, op->record.path);
    if (op->record.op == OP_RENAME) /* and what became of the old name */
        lacks(op, op->record.other);
}
