// Report: figures beside their targets, one a line, and the verdict.
#pragma once

#include <cstdio>
#include <string>

namespace offline_post::proof {

class Report {
 public:
  void Figure(const char* name, double value) { std::printf("  %s = %.2f\n", name, value); }
  void AtLeast(const char* name, double value, double target) {
    Print(name, value, ">=", target, value >= target);
  }
  void AtMost(const char* name, double value, double target) {
    Print(name, value, "<=", target, value <= target);
  }
  void Check(const char* what, bool good) {
    std::printf("  %s: %s\n", what, good ? "yes" : "NO");
    Count(good);
  }
  // What main returns.
  int End() {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ == 0 ? 0 : 1;
  }

 private:
  void Print(const char* name, double value, const char* sign, double target, bool good) {
    std::printf("  %s = %.2f (target %s %.2f) %s\n", name, value, sign, target,
                good ? "met" : "MISSED");
    Count(good);
  }
  void Count(bool good) {
    ++(good ? passed_ : failed_);
    std::fflush(stdout);
  }

  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace offline_post::proof
