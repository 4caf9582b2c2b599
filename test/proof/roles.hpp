// What main.cpp can be told to do.
#pragma once

#include <string>
#include <vector>

namespace offline_post::proof {

using Role = int (*)(const std::vector<std::string>& args);

int Kill(const std::vector<std::string>& args);          // [KILLS [SEED]]
int BadRecipient(const std::vector<std::string>& args);  // [EVENTS [PAIRS [TARGET]]]
int LongOutage(const std::vector<std::string>& args);    // [EVENTS [TARGET]]

// In a process of their own, started by those above.
int KillDriver(const std::vector<std::string>& args);     // URL DIRECTORY FIRST SEED load|drain
int BacklogDriver(const std::vector<std::string>& args);  // URL DIRECTORY

}  // namespace offline_post::proof
