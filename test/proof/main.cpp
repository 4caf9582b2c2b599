// offline_post_proof PROOF [ARGUMENT]...: see roles.hpp. Ends with a line `N passed, N failed`.
#include <exception>
#include <iostream>
#include <map>

#include "roles.hpp"

int main(int argc, char** argv) {
  using namespace offline_post::proof;  // NOLINT(google-build-using-namespace): a main and no more
  const std::map<std::string, Role> roles = {{"kill", &Kill},
                                             {"bad-recipient", &BadRecipient},
                                             {"long-outage", &LongOutage},
                                             {"kill-driver", &KillDriver},
                                             {"backlog-driver", &BacklogDriver}};
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto role = args.empty() ? roles.end() : roles.find(args.front());
  if (role == roles.end()) {
    std::cerr << "usage: offline_post_proof kill [KILLS [SEED]]\n"
                 "       offline_post_proof bad-recipient [EVENTS [PAIRS [TARGET]]]\n"
                 "       offline_post_proof long-outage [EVENTS [TARGET]]\n";
    return 2;
  }
  try {
    return role->second({args.begin() + 1, args.end()});
  } catch (const std::exception& error) {
    std::cerr << args.front() << ": " << error.what() << "\n";
    return 1;
  }
}
