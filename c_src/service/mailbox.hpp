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

  struct Node {
    explicit Node(T v) : value(std::move(v)) {}
    T value;
    Node* next = nullptr;
  };
  using Letter = std::unique_ptr<Node>;

  // All that needs memory of a push.
  static Letter Write(T value) { return std::make_unique<Node>(std::move(value)); }

  // Any thread. True: the reader sleeps and must be woken, by this caller alone.
  [[nodiscard]] bool Push(T value) { return Post(Write(std::move(value))); }
  [[nodiscard]] bool Post(Letter node) noexcept {
    node->next = head_.load(std::memory_order_relaxed);
    Node* raw = node.release();
    while (!head_.compare_exchange_weak(raw->next, raw)) {
    }
    int asleep = kSleeping;
    return sleep_.load() == kSleeping && sleep_.compare_exchange_strong(asleep, kAwake);
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
    sleep_.store(kSleeping);
    if (empty()) return true;
    sleep_.store(kAwake);
    return false;
  }
  // Reader only: the same for a sleep so short that no push need end it.
  void PrepareNap() { sleep_.store(kNapping); }
  void EndSleep() { sleep_.store(kAwake); }

  // Any thread: whether the reader must be woken, from a nap too, by this caller alone.
  [[nodiscard]] bool TakeSleeper() { return sleep_.exchange(kAwake) != kAwake; }

 private:
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
  static constexpr int kAwake = 0;
  static constexpr int kNapping = 1;
  static constexpr int kSleeping = 2;
  std::atomic<int> sleep_{kAwake};
};

}  // namespace offline_post
