// What must be true of a spool's file at any moment at which its process may die.
#pragma once

#include <string>

namespace offline_post::test {

// What is wrong with the file at `path` (which no one has open): the law of the counters, the sum
// of bytes, rows that belong to nothing. Empty: nothing.
std::string FaultsOfFile(const std::string& path);

// The same of a copy, while the file is in use.
std::string FaultsOfOpenFile(const std::string& path);

// One number from the file (which no one has open).
long NumberFrom(const std::string& path, const std::string& sql);

}  // namespace offline_post::test
