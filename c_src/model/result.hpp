// Errors are values. No exception crosses a room's border.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace offline_post {

struct Error {
  enum class Kind {
    kInvalid,      // the caller's input: correct it
    kUnavailable,  // the machine or a library refused: the text says what to do
  };
  Kind kind;
  std::string text;  // what failed, on what, what to do; no secrets
};

inline Error Invalid(std::string text) { return {Error::Kind::kInvalid, std::move(text)}; }

// Either a T or the Error that prevented it.
template <typename T>
class Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): `return value;` and `return Error{...};` read well
  Result(T value) : state_(std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<T>(state_); }
  T& value() { return std::get<T>(state_); }
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

// Success, or what prevented it.
using Status = std::optional<Error>;

}  // namespace offline_post
