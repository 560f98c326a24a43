/* papers.h - a certificate for people. */
#ifndef MAILTWIN_CLI_PAPERS_H
#define MAILTWIN_CLI_PAPERS_H

#include "lib/os/pki.h"

void paper_print(const char *file, const struct pki_paper *paper);

#endif
