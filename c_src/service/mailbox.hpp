// Mailbox: from any thread to the service thread, without a lock. Room is reserved in a Ledger
// before, which is what bounds it.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

namespace offline_post {

template <typename T>
class Mailbox {
 public:
  Mailbox() = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() {
    std::vector<T> unread;
    TakeAll(unread);
  }

  // Any thread. True: the reader sleeps and must be woken, by this caller alone.
  [[nodiscard]] bool Push(T value) {
    auto node = std::make_unique<Node>(std::move(value));
    node->next = head_.load(std::memory_order_relaxed);
    Node* raw = node.release();
    while (!head_.compare_exchange_weak(raw->next, raw)) {
    }
    return sleeping_.load() && sleeping_.exchange(false);
  }

  // Reader only: everything pushed so far, appended to `out` in order of the pushes.
  void TakeAll(std::vector<T>& out) {
    if (empty()) return;
    for (Node* next = Reverse(head_.exchange(nullptr)); next != nullptr;) {
      const std::unique_ptr<Node> node(next);
      next = node->next;
      out.push_back(std::move(node->value));
    }
  }

  // Reader only.
  bool empty() const { return head_.load() == nullptr; }

  // Reader only: announces that the reader will sleep. False: there is something to read, do not.
  // The default (sequentially consistent) order of the atomics makes either this see a push or the
  // push see the sleeper.
  [[nodiscard]] bool PrepareSleep() {
    sleeping_.store(true);
    if (empty()) return true;
    sleeping_.store(false);
    return false;
  }
  void EndSleep() { sleeping_.store(false); }

  // Any thread: whether the reader must be woken for something that is not in the mailbox.
  [[nodiscard]] bool TakeSleeper() { return sleeping_.exchange(false); }

 private:
  struct Node {
    explicit Node(T v) : value(std::move(v)) {}
    T value;
    Node* next = nullptr;
  };

  // The stack's last becomes first.
  static Node* Reverse(Node* node) {
    Node* previous = nullptr;
    while (node != nullptr) {
      Node* next = node->next;
      node->next = previous;
      previous = node;
      node = next;
    }
    return previous;
  }

  std::atomic<Node*> head_{nullptr};
  std::atomic<bool> sleeping_{false};
};

}  // namespace offline_post
