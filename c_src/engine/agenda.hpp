// Agenda: which of many things are to be looked at now: those that something happened to, and those
// whose time has come. Asking costs what is due, however many things there are.
//
// T has an `id` that no other has, and a member `agenda` of the type AgendaEntry. It is not owned,
// and leaves by Remove before it ends. What is due comes in an order that depends on ids, times and
// calls alone, so that a simulated history can be repeated.
//
// Threads: its owner's.
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "model/clock.hpp"

namespace offline_post {

struct AgendaEntry {
  bool touched = false;
  std::optional<Millis> at_ms;
};

template <typename T>
class Agenda {
 public:
  // Something happened to it: it is due now.
  void Touch(T& one) {
    if (one.agenda.touched) return;
    touched_.push_back(&one);
    one.agenda.touched = true;
  }

  // It is due at this time, instead of any earlier set one; none: not by time alone.
  void SetTime(T& one, std::optional<Millis> at_ms) {
    if (one.agenda.at_ms == at_ms) return;
    if (one.agenda.at_ms) times_.erase({*one.agenda.at_ms, one.id, &one});
    one.agenda.at_ms.reset();
    if (!at_ms) return;
    times_.insert({*at_ms, one.id, &one});
    one.agenda.at_ms = at_ms;
  }

  void Remove(T& one) {
    SetTime(one, std::nullopt);
    if (std::exchange(one.agenda.touched, false)) std::erase(touched_, &one);
  }

  // One that is due, and stays so until Pop; null: nothing is.
  T* Front(Millis now_ms) {
    while (!times_.empty() && std::get<Millis>(*times_.begin()) <= now_ms) {
      T& one = *std::get<T*>(*times_.begin());
      Touch(one);
      SetTime(one, std::nullopt);
    }
    return touched_.empty() ? nullptr : touched_.front();
  }

  // What Front gave was looked at.
  void Pop() {
    touched_.front()->agenda.touched = false;
    touched_.pop_front();
  }

  // When the next is due; 0: now.
  std::optional<Millis> NextMs() const {
    if (!touched_.empty()) return 0;
    if (times_.empty()) return std::nullopt;
    return std::get<Millis>(*times_.begin());
  }

 private:
  std::deque<T*> touched_;
  std::set<std::tuple<Millis, decltype(T::id), T*>> times_;
};

}  // namespace offline_post
