/* version.h - the one place that says which mailtwin this is. */
#ifndef MAILTWIN_VERSION_H
#define MAILTWIN_VERSION_H

#define MAILTWIN_VERSION "0.1.0"

#endif
