/* steps.h - the second half of a promotion: what needs other programs than the daemon. Each store
 * of kind queue has its file names repaired, each of kind ldap is brought level, each of kind dump
 * is given back to its program.
 *
 * What is done stands in state-dir/promotion/EPOCH.json, durably, step by step: the same command
 * again does what is missing and nothing twice. What a promotion will have to do is in
 * wanted.json there from before the role moves until the epoch is known; so a crash in between
 * leaves nothing out, and a node that has been the primary all along has no steps to do. */
#ifndef MAILTWIN_CLI_STEPS_H
#define MAILTWIN_CLI_STEPS_H

#include "lib/os/conf.h"

#include <jansson.h>

/* [{"step", "store", "state": "pending"}...] in the order they are done. The caller owns it. */
json_t *steps_plan(const struct conf *conf);
/* Before the role is asked for. Nothing is written where there is nothing to do. */
int steps_want(const struct conf *conf, struct err *e) _must_check_;
/* The role was refused. */
int steps_give_up(const struct conf *conf, struct err *e) _must_check_;
/* This node is the primary of that epoch: does what its record, or what was wanted, has left.
 * *ret_record: {"epoch", "steps": [...]}, the caller's; NULL when nothing is on record. `told`
 * hears of each step when it is done. */
int steps_run(const struct conf *conf, uint64_t epoch, void (*told)(const json_t *step),
              json_t **ret_record, struct err *e) _must_check_;
/* How many steps of the record are not done. */
size_t steps_left(const json_t *record);

/* The steps. *ret_text: what was done, in words, for free(). */
int step_queue(const struct conf *conf, const struct conf_store *store, uint64_t epoch,
               char **ret_text, struct err *e) _must_check_;
int step_directory(const struct conf *conf, const struct conf_store *store, uint64_t epoch,
                   char **ret_text, struct err *e) _must_check_;
int step_dump(const struct conf *conf, const struct conf_store *store, uint64_t epoch,
              char **ret_text, struct err *e) _must_check_;

#endif
